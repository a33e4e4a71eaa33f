/**
 * Google's clients for a script. With the usual settings of a project they speak gRPC. With `rest` they speak HTTP, which is
 * what the cloud of `make demo` understands; Firestore cannot be listened to then, and the document is asked for instead.
 * Emulators are found by the usual variables: FIRESTORE_EMULATOR_HOST, STORAGE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST.
 */
import { FieldValue, Firestore } from '@google-cloud/firestore';
import { PubSub } from '@google-cloud/pubsub';
import { Storage } from '@google-cloud/storage';
import { OAuth2Client } from 'google-auth-library';
import { publisher } from './publisher.js';

/** What emulators take for a token. Over gRPC the clients send it themselves, over REST they look for credentials. */
function emulatorAuth() {
  const authClient = new OAuth2Client();
  authClient.setCredentials({ access_token: 'owner', expiry_date: Date.now() + 24 * 3600 * 1000 });
  return { authClient };
}

export function openClients({ projectId, bucketName, topicName, rest = false }) {
  const overRest = (emulator, settings) => (rest ? { ...settings, ...(process.env[emulator] ? emulatorAuth() : {}) } : {});
  const db = new Firestore({ projectId, ...overRest('FIRESTORE_EMULATOR_HOST', { preferRest: true }) });
  const apiEndpoint = process.env.STORAGE_EMULATOR_HOST;
  const storage = new Storage({ projectId, ...(apiEndpoint ? { apiEndpoint } : {}) });
  const protocol = process.env.PUBSUB_EMULATOR_HOST ? 'http' : 'https';
  const pubsub = new PubSub({ projectId, ...overRest('PUBSUB_EMULATOR_HOST', { fallback: true, protocol }) });
  return {
    db, FieldValue, bucket: storage.bucket(bucketName), publish: publisher(pubsub.topic(topicName)),
    close: () => Promise.all([db.terminate(), pubsub.close()]),
  };
}
