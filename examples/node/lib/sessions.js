/**
 * What an app's server does with sessions: make, ask for the edit, cancel, delete, clean up.
 *
 * Everything from outside is injected, so the same code runs in a function, in a script and in a test:
 *   db          Firestore of @google-cloud/firestore, or firebase-admin's getFirestore()
 *   FieldValue  the class of the same library
 *   bucket      a bucket of @google-cloud/storage, or firebase-admin's getStorage().bucket()
 *   publish     async (payload) => id of the message; sends {userId, sessionId} to the topic
 * A userId must be the caller's, as Firebase Auth verified it: who calls these functions checks that (see index.js).
 */
import { randomUUID } from 'node:crypto';
import {
  File, MASK_TYPES, PHOTO_TYPES, PROMPT_MAX_BYTES, State, UPLOAD_MAX_BYTES, isId, objectPath, sessionPath,
} from './protocol.js';

const UPLOAD_URL_SECONDS = 15 * 60;
const CLEAN_UP_AT_ONCE = 100;
const SESSION_PATH = /^users\/[^/]+\/sessions\/[^/]+$/;

/** `code` is one of the words of HttpsError; `message` is for people. */
export class SessionError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const refuse = (code, message) => {
  throw new SessionError(code, message);
};

/** The wishes of the app, checked; only these get into a document. */
function checkedWishes({ prompt, sceneLabels, maskKind, maskOrientation }) {
  if (prompt != null && (typeof prompt !== 'string' || Buffer.byteLength(prompt) > PROMPT_MAX_BYTES)) {
    refuse('invalid-argument', `A prompt is a text of at most ${PROMPT_MAX_BYTES} bytes.`);
  }
  const isLabel = (label) => typeof label === 'string' && label.length <= 64;
  if (sceneLabels != null && !(Array.isArray(sceneLabels) && sceneLabels.length <= 64 && sceneLabels.every(isLabel))) {
    refuse('invalid-argument', 'sceneLabels are at most 64 texts of at most 64 characters.');
  }
  for (const [name, word] of Object.entries({ maskKind, maskOrientation })) {
    if (word != null && typeof word !== 'string') refuse('invalid-argument', `${name} is a word.`);
  }
  const wishes = { prompt, sceneLabels, maskKind, maskOrientation };
  return Object.fromEntries(Object.entries(wishes).filter(([, value]) => value != null));
}

export class Sessions {
  constructor({ db, FieldValue, bucket, publish }) {
    Object.assign(this, { db, FieldValue, bucket, publish });
  }

  ref(userId, sessionId) {
    if (!isId(userId) || !isId(sessionId)) refuse('invalid-argument', 'An id has 1 to 128 of A-Z, a-z, 0-9, _ and -.');
    return this.db.doc(sessionPath(userId, sessionId));
  }

  /** Makes a session that waits for its pictures; -> its id. Called again with the same id it changes nothing. */
  async create(userId, { sessionId = randomUUID(), ...wishes } = {}) {
    const ref = this.ref(userId, sessionId);
    const fields = checkedWishes(wishes);
    await this.db.runTransaction(async (transaction) => {
      if ((await transaction.get(ref)).exists) return;
      const createdAt = this.FieldValue.serverTimestamp();
      transaction.create(ref, { ...fields, processingStatus: State.PENDING, createdAt });
    });
    return sessionId;
  }

  /**
   * Addresses to which the owner may PUT photo and mask for a quarter of an hour, each with the headers it must send.
   * Only for clients without Firebase's SDK: with it, storage.rules are the simpler way. In Cloud Functions the service
   * account needs roles/iam.serviceAccountTokenCreator on itself, since signing there is a call of IAM.
   */
  async uploadUrls(userId, sessionId, { photoType = 'image/jpeg', maskType = 'image/png' } = {}) {
    this.ref(userId, sessionId);
    if (!PHOTO_TYPES.includes(photoType) || !MASK_TYPES.includes(maskType)) {
      refuse('invalid-argument', `A photo is one of ${PHOTO_TYPES.join(', ')}, a mask one of ${MASK_TYPES.join(', ')}.`);
    }
    const signed = async (file, contentType) => {
      const extensionHeaders = { 'x-goog-content-length-range': `1,${UPLOAD_MAX_BYTES}` };
      const expires = Date.now() + UPLOAD_URL_SECONDS * 1000;
      const [url] = await this.bucket.file(objectPath(userId, sessionId, file))
        .getSignedUrl({ version: 'v4', action: 'write', expires, contentType, extensionHeaders });
      return { url, headers: { 'Content-Type': contentType, ...extensionHeaders } };
    };
    return { photo: await signed(File.PHOTO, photoType), mask: await signed(File.MASK, maskType) };
  }

  /** Both pictures must be there before a message is sent; the worker would fail the job, and the user wait for that. */
  async checkUploads(userId, sessionId) {
    for (const [file, what] of [[File.PHOTO, 'photo'], [File.MASK, 'mask']]) {
      const [{ size }] = await this.bucket.file(objectPath(userId, sessionId, file)).getMetadata().catch((error) => {
        if (error.code === 404) refuse('failed-precondition', `The ${what} is not uploaded yet.`);
        throw error;
      });
      if (Number(size) > UPLOAD_MAX_BYTES) refuse('invalid-argument', `The ${what} has more than ${UPLOAD_MAX_BYTES} bytes.`);
    }
  }

  /**
   * Asks for the edit: the first time, again after a failure, or anew once it is done, with other wishes if there are any.
   *
   * The document is committed before the message is sent: a worker that gets a message finds the session as it shall be.
   * Calling it twice does no harm. A session at work is left alone, and of two messages for one session the worker takes one.
   * If publishing fails, the session waits and the caller gets the error; calling again sends the message.
   * -> {status, messageId}, messageId being null where a worker already has the session.
   */
  async requestEdit(userId, sessionId, wishes = {}) {
    const ref = this.ref(userId, sessionId);
    const changed = checkedWishes(wishes);
    await this.checkUploads(userId, sessionId);
    const before = await this.change(ref, (status) => {
      if (status === State.PROCESSING) return null;
      if (status === State.DELETED) refuse('failed-precondition', 'The session is deleted.');
      // Without the old message, which the screen would otherwise show until the new job ends.
      return { ...changed, processingStatus: State.PENDING, errorMessage: this.FieldValue.delete() };
    });
    if (before === State.PROCESSING) return { status: before, messageId: null };
    return { status: State.PENDING, messageId: await this.publish({ userId, sessionId }) };
  }

  /** The user no longer wants it. A worker that has it notices within a second and writes nothing more. -> the status. */
  async cancel(userId, sessionId) {
    const waits = (status) => status === State.PENDING || status === State.PROCESSING;
    const before = await this.change(this.ref(userId, sessionId), (status) => (
      waits(status) ? { processingStatus: State.CANCELLED } : null));
    return waits(before) ? State.CANCELLED : before;
  }

  /**
   * Removes a session with its pictures. The status comes first, so that a worker stops; one that was just uploading may
   * still leave a file, which the next cleanUp, or a lifecycle rule of the bucket, takes.
   */
  async remove(userId, sessionId) {
    await this.removeAt(this.ref(userId, sessionId));
  }

  async removeAt(ref) {
    if (await this.change(ref, () => ({ processingStatus: State.DELETED }), true) === null) return;
    await this.bucket.deleteFiles({ prefix: `${ref.path}/` });
    await ref.delete();
  }

  /**
   * Removes up to a hundred sessions that were made before `cutoff`, a Date, the oldest first; -> how many. One that cannot be
   * removed keeps none of the others; an error is thrown when only such are left.
   */
  async cleanUp(cutoff) {
    const old = await this.db.collectionGroup('sessions').where('createdAt', '<', cutoff).orderBy('createdAt')
      .limit(CLEAN_UP_AT_ONCE).get();
    // By what was found, not by its ids: those of other makers than this file are other than isId() allows.
    const ours = old.docs.filter((doc) => SESSION_PATH.test(doc.ref.path));
    const errors = [];
    await Promise.all(ours.map(({ ref }) => this.removeAt(ref).catch((error) => errors.push(error))));
    if (errors.length && errors.length === ours.length) throw errors[0];
    return ours.length - errors.length;
  }

  /**
   * For the variant without a callable function: the app writes a new editRequestId into the document, and a trigger on it
   * calls this. Events come at least once, and for the worker's own writes, too: only a new id sends a message.
   * -> the message's id or null.
   */
  async onWritten(before, after, userId, sessionId) {
    const asked = after?.editRequestId;
    if (!asked || asked === before?.editRequestId || after.processingStatus !== State.PENDING) return null;
    if (!isId(userId) || !isId(sessionId)) return null;
    return this.publish({ userId, sessionId });
  }

  /** In a transaction: fields(status) are written, or nothing where it gives null. -> the status before. */
  change(ref, fields, mayBeAbsent = false) {
    return this.db.runTransaction(async (transaction) => {
      const snapshot = await transaction.get(ref);
      if (!snapshot.exists && mayBeAbsent) return null;
      if (!snapshot.exists) refuse('not-found', 'There is no such session.');
      const status = snapshot.get('processingStatus') ?? State.PENDING;
      const wanted = fields(status);
      if (wanted) transaction.update(ref, wanted);
      return status;
    });
  }
}
