/**
 * Names of the protocol (docs/PROTOCOL.md): where things are, the words of a session, what a failure asks of the user.
 * The Python and the Flutter example have the same tables; `make examples-test` compares all of them with the document.
 */

export const TOPIC = 'session-processing';

export const State = Object.freeze({
  PENDING: 'pending', // waits, or is not asked for yet
  PROCESSING: 'processing', // a worker has it
  COMPLETED: 'completed',
  FAILED: 'failed', // errorMessage says why
  CANCELLED: 'cancelled', // by the user; the worker stops
  DELETED: 'deleted', // the same, and to be cleaned up
});

/** Fields that the app writes, and no others. The worker writes the rest. */
export const APP_FIELDS = Object.freeze([
  'processingStatus', 'createdAt', 'editRequestId', 'prompt', 'sceneLabels', 'maskKind', 'maskOrientation',
]);

export const File = Object.freeze({
  PHOTO: 'original.jpg', // JPEG, PNG, WebP or HEIC: the content counts, not the name
  MASK: 'mask_auto.png',
  EDITED: 'edited.jpg',
  PREVIEW: 'preview.jpg',
});

export const UPLOAD_MAX_BYTES = 64 * 1024 * 1024; // of the photo, and of the mask
export const PROMPT_MAX_BYTES = 2000;
export const PHOTO_TYPES = Object.freeze(['image/jpeg', 'image/png', 'image/webp', 'image/heic', 'image/heif']);
export const MASK_TYPES = Object.freeze(['image/png', 'image/jpeg', 'image/webp']);

/** What the user can do about a failure, by inpaint.errorCode. */
export const REMEDY = Object.freeze({
  INPUT_MISSING: 'upload', // upload photo and mask again
  INPUT_NOT_AN_IMAGE: 'photo', // choose another photo
  INPUT_HEIC_UNSUPPORTED: 'photo',
  INPUT_TOO_LARGE: 'photo',
  INPUT_CORRUPT: 'photo',
  MASK_EMPTY: 'mask', // mark again
  MASK_FULL: 'mask',
  MASK_SIZE_MISMATCH: 'mask',
  MASK_TOO_LARGE: 'mask',
  MASK_AMBIGUOUS: 'mask',
  PROMPT_INVALID: 'prompt', // word it differently
  SESSION_UNREADABLE: 'new', // begin a new session
  ATTEMPTS_EXHAUSTED: 'retry', // the same once more, later
  NUMERIC_FAULT: 'retry',
  DEADLINE: 'retry',
});

export const sessionPath = (userId, sessionId) => `users/${userId}/sessions/${sessionId}`;
export const objectPath = (userId, sessionId, file) => `${sessionPath(userId, sessionId)}/${file}`;

/** Ids of our own. The worker takes more (PROTOCOL.md 1.2), but these need no escaping anywhere. */
export const isId = (text) => typeof text === 'string' && /^[A-Za-z0-9_-]{1,128}$/.test(text) && !/^__.*__$/.test(text);

const ENDED = [State.COMPLETED, State.FAILED, State.CANCELLED, State.DELETED];

/** A session as a screen shows it. `fields` are those of its document. */
export function describe(fields) {
  const status = fields.processingStatus === 'canceled' ? State.CANCELLED : (fields.processingStatus ?? State.PENDING);
  const own = fields.inpaint ?? {};
  const failed = status === State.FAILED;
  return {
    status,
    ended: ENDED.includes(status),
    progress: status === State.PROCESSING ? (own.progress ?? 0) : status === State.COMPLETED ? 100 : 0,
    etaSeconds: status === State.PROCESSING ? (own.etaSeconds ?? null) : null,
    editedImagePath: status === State.COMPLETED ? fields.editedImagePath : null,
    previewImagePath: status === State.COMPLETED ? fields.previewImagePath : null,
    message: failed ? (fields.errorMessage ?? 'The edit failed.') : null,
    errorCode: failed ? (own.errorCode ?? null) : null,
    retryable: failed && own.retryable === true,
    remedy: failed ? (REMEDY[own.errorCode] ?? (own.retryable ? 'retry' : 'new')) : null,
  };
}
