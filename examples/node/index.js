/**
 * Functions for Firebase (2nd generation). They check who calls; everything else is in lib/sessions.js.
 *
 * Deploy either the callable functions alone (`firebase deploy --only functions:inpaint:createSession,...`, as README.md has
 * it), or sessionWritten in place of requestEdit. The trigger is invoked at each write of the document, the worker's progress
 * included, some forty times a job; the callable once.
 */
import { PubSub } from '@google-cloud/pubsub';
import { initializeApp } from 'firebase-admin/app';
import { FieldValue, getFirestore } from 'firebase-admin/firestore';
import { getStorage } from 'firebase-admin/storage';
import { onDocumentWritten } from 'firebase-functions/v2/firestore';
import { HttpsError, onCall } from 'firebase-functions/v2/https';
import { onSchedule } from 'firebase-functions/v2/scheduler';
import { TOPIC } from './lib/protocol.js';
import { publisher } from './lib/publisher.js';
import { SessionError, Sessions } from './lib/sessions.js';

const REGION = 'us-east4'; // not a setting: node/.env is not read when Firebase asks this file where to deploy
const KEEP_DAYS = Number(process.env.INPAINT_KEEP_DAYS || 30);
if (!(KEEP_DAYS >= 1)) throw new Error(`INPAINT_KEEP_DAYS is '${process.env.INPAINT_KEEP_DAYS}'; days, 1 or more, are allowed`);
// Without App Check anybody with the app's public configuration can call. Off is for emulators, and until the app has it.
const enforceAppCheck = process.env.INPAINT_APP_CHECK !== 'off';

let made;
/** Made at the first call, so that loading this file, as the deployment does, needs no project. */
function sessions() {
  if (!made) {
    const app = initializeApp(); // project and default bucket are those that Firebase tells its functions
    const topic = new PubSub().topic(process.env.INPAINT_TOPIC || TOPIC);
    const bucket = getStorage(app).bucket(process.env.INPAINT_BUCKET || undefined);
    made = new Sessions({ db: getFirestore(app), FieldValue, bucket, publish: publisher(topic) });
  }
  return made;
}

/** The id that Firebase Auth verified. A userId in the data is not needed, and must not be another one. */
function callerOf(request) {
  if (!request.auth) throw new HttpsError('unauthenticated', 'Please sign in.');
  if (request.data?.userId !== undefined && request.data.userId !== request.auth.uid) {
    throw new HttpsError('permission-denied', 'This session is not yours.');
  }
  return request.auth.uid;
}

/** A callable function: run(userId, data) -> what the app gets. What we did not foresee stays in the log. */
function callable(run) {
  return onCall({ region: REGION, enforceAppCheck }, async (request) => {
    const userId = callerOf(request);
    try {
      return await run(userId, request.data ?? {});
    } catch (error) {
      if (error instanceof SessionError) throw new HttpsError(error.code, error.message);
      throw error;
    }
  });
}

export const createSession = callable(async (userId, { userId: _, signUploads, photoType, maskType, ...data }) => {
  const sessionId = await sessions().create(userId, data);
  const uploads = signUploads ? await sessions().uploadUrls(userId, sessionId, { photoType, maskType }) : null;
  return { sessionId, uploads };
});

export const requestEdit = callable((userId, { sessionId, wishes }) => sessions().requestEdit(userId, sessionId, wishes ?? {}));

export const cancelEdit = callable(async (userId, { sessionId }) => ({ status: await sessions().cancel(userId, sessionId) }));

export const deleteSession = callable(async (userId, { sessionId }) => {
  await sessions().remove(userId, sessionId);
  return {};
});

export const sessionWritten = onDocumentWritten(
  { document: 'users/{userId}/sessions/{sessionId}', region: REGION, retry: true },
  async ({ data, params }) => {
    await sessions().onWritten(data?.before?.data(), data?.after?.data(), params.userId, params.sessionId);
  },
);

export const cleanUpSessions = onSchedule({ schedule: 'every 24 hours', region: REGION, timeoutSeconds: 540 }, async () => {
  const cutoff = new Date(Date.now() - KEEP_DAYS * 24 * 3600 * 1000);
  while (await sessions().cleanUp(cutoff)) { /* a hundred at a time */ }
});
