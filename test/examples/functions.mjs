/**
 * The functions of examples/node/index.js as Firebase calls them, between Google's emulators and with the real worker.
 * `node functions.mjs PHOTO MASK`, beside index.js and its packages. The first check that fails ends it.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Storage } from '@google-cloud/storage';
import express from 'express';
import { FieldValue, getFirestore } from 'firebase-admin/firestore';
import { getStorage } from 'firebase-admin/storage';
import * as functions from './index.js';
import { Sessions } from './lib/sessions.js';
import { waitForEnd } from './lib/watch.js';

// As Firebase starts functions: without the names that it keeps to itself, which node/.env may not have either.
process.env.FIREBASE_CONFIG = JSON.stringify({ projectId: process.env.GOOGLE_CLOUD_PROJECT, storageBucket: process.env.FIREBASE_STORAGE_BUCKET });
delete process.env.FIREBASE_STORAGE_BUCKET;
const [photo, mask] = process.argv.slice(2, 4).map((path) => readFileSync(path));
const USER = 'u-functions';
const call = (name, data, uid = USER) => functions[name].run({
  data, auth: uid ? { uid, token: {} } : undefined, rawRequest: {},
});
const refused = (code, message) => (error) => error.code === code && message.test(error.message);
const reference = (sessionId) => getFirestore().doc(`users/${USER}/sessions/${sessionId}`);
const upload = (sessionId, file, data) => getStorage().bucket().file(`users/${USER}/sessions/${sessionId}/${file}`)
  .save(data, { resumable: false, contentType: file.endsWith('png') ? 'image/png' : 'image/jpeg' });
const uploadBoth = (sessionId) => Promise.all([upload(sessionId, 'original.jpg', photo), upload(sessionId, 'mask_auto.png', mask)]);

const checks = {
  async 'a request without a token of App Check does not reach the code'() {
    const server = express().use(express.json()).post('/', functions.createSession).listen(0, '127.0.0.1');
    await new Promise((resolve) => { server.once('listening', resolve); });
    const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ data: {} }),
    });
    server.close();
    assert.equal(answer.status, 401);
    assert.equal((await answer.json()).error.message, 'Unauthenticated'); // our own refusal says "Please sign in."
  },

  async 'nobody acts without signing in, or for another user'() {
    await assert.rejects(call('createSession', {}, null), refused('unauthenticated', /sign in/));
    await assert.rejects(call('createSession', { userId: 'somebody' }), refused('permission-denied', /not yours/));
    await assert.rejects(call('requestEdit', { userId: 'somebody', sessionId: 's' }), refused('permission-denied', /not yours/));
  },

  async 'a session is made once, with the wishes that are allowed'() {
    const forbidden = { cost: 0, inpaint: { attempts: 9 } };
    const { sessionId } = await call('createSession', { sessionId: 'f1', prompt: 'short grass', ...forbidden });
    await call('createSession', { sessionId: 'f1', prompt: 'another' });
    const fields = (await reference(sessionId).get()).data();
    assert.deepEqual(Object.keys(fields).sort(), ['createdAt', 'processingStatus', 'prompt']);
    assert.deepEqual([fields.processingStatus, fields.prompt], ['pending', 'short grass']);
    await assert.rejects(call('createSession', { sessionId: 'a/b' }), refused('invalid-argument', /id/));
    await assert.rejects(call('createSession', { prompt: 'x'.repeat(2001) }), refused('invalid-argument', /2000 bytes/));
  },

  async 'no message is sent before both pictures are there'() {
    await assert.rejects(call('requestEdit', { sessionId: 'f1' }), refused('failed-precondition', /photo is not uploaded/));
    await upload('f1', 'original.jpg', photo);
    await assert.rejects(call('requestEdit', { sessionId: 'f1' }), refused('failed-precondition', /mask is not uploaded/));
    await upload('f1', 'mask_auto.png', mask);
    await uploadBoth('never-made');
    await assert.rejects(call('requestEdit', { sessionId: 'never-made' }), refused('not-found', /no such session/));
  },

  async 'asked twice at once, a session is edited once'() {
    const answers = await Promise.all([call('requestEdit', { sessionId: 'f1' }), call('requestEdit', { sessionId: 'f1' })]);
    assert.ok(answers.some(({ messageId }) => messageId));
    const statuses = [];
    const end = await waitForEnd(reference('f1'), { show: ({ status }) => statuses.push(status), timeoutSeconds: 120 });
    assert.equal(end.status, 'completed');
    assert.ok(statuses.includes('processing'), statuses.join());
    assert.equal(end.editedImagePath, `users/${USER}/sessions/f1/edited.jpg`);
    const { prompt, inpaint } = (await reference('f1').get()).data();
    assert.deepEqual([prompt, inpaint.attempts], ['short grass', 1]);
  },

  async 'a completed session is edited anew with other wishes'() {
    const before = (await reference('f1').get()).data().inpaint.messageId;
    await call('requestEdit', { sessionId: 'f1', wishes: { prompt: 'sand' } });
    assert.equal((await waitForEnd(reference('f1'), { timeoutSeconds: 120 })).status, 'completed');
    const { prompt, inpaint } = (await reference('f1').get()).data();
    assert.equal(prompt, 'sand');
    assert.notEqual(inpaint.messageId, before);
    assert.deepEqual(await call('cancelEdit', { sessionId: 'f1' }), { status: 'completed' });
  },

  async 'a session at work is left alone'() {
    await reference('f2').set({ processingStatus: 'processing', inpaint: { attempts: 1 } });
    await uploadBoth('f2');
    assert.deepEqual(await call('requestEdit', { sessionId: 'f2' }), { status: 'processing', messageId: null });
    assert.equal((await reference('f2').get()).get('processingStatus'), 'processing');
    assert.deepEqual(await call('cancelEdit', { sessionId: 'f2' }), { status: 'cancelled' });
    assert.deepEqual((await reference('f2').get()).data(), { processingStatus: 'cancelled', inpaint: { attempts: 1 } });
  },

  async 'the document is committed before the message is sent, and a failed message can be sent again'() {
    const seen = [];
    const publish = async () => {
      seen.push((await reference('f2').get()).data());
      if (seen.length === 1) throw new Error('Pub/Sub is away');
      return 'm1';
    };
    await reference('f2').set({ processingStatus: 'failed', errorMessage: 'old' });
    const sessions = new Sessions({ db: getFirestore(), FieldValue, bucket: getStorage().bucket(), publish });
    await assert.rejects(sessions.requestEdit(USER, 'f2', { prompt: 'sand' }), /away/);
    assert.deepEqual(await sessions.requestEdit(USER, 'f2'), { status: 'pending', messageId: 'm1' });
    assert.deepEqual(seen, [{ processingStatus: 'pending', prompt: 'sand' }, { processingStatus: 'pending', prompt: 'sand' }]);
  },

  async 'the trigger sends a message for a new request and for nothing else'() {
    const sent = [];
    const sessions = new Sessions({ publish: async (payload) => sent.push(payload) });
    const asked = { processingStatus: 'pending', editRequestId: 'r1' };
    await sessions.onWritten(undefined, { processingStatus: 'pending' }, 'u', 's'); // made, not asked
    await sessions.onWritten(asked, { ...asked, processingStatus: 'processing' }, 'u', 's'); // the claim
    await sessions.onWritten(asked, { ...asked, prompt: 'x' }, 'u', 's');
    await sessions.onWritten(asked, undefined, 'u', 's'); // deleted
    assert.deepEqual(sent, []);
    await sessions.onWritten({ processingStatus: 'pending' }, asked, 'u', 's');
    await sessions.onWritten({ ...asked, processingStatus: 'failed' }, { ...asked, editRequestId: 'r2' }, 'u', 's');
    assert.deepEqual(sent, [{ userId: 'u', sessionId: 's' }, { userId: 'u', sessionId: 's' }]);
  },

  async 'the trigger leads to an edit'() {
    await call('createSession', { sessionId: 'f3' });
    await uploadBoth('f3');
    const before = await reference('f3').get();
    await reference('f3').update({ editRequestId: 'r1' });
    const event = { data: { before, after: await reference('f3').get() }, params: { userId: USER, sessionId: 'f3' } };
    await functions.sessionWritten.run(event);
    assert.equal((await waitForEnd(reference('f3'), { timeoutSeconds: 120 })).status, 'completed');
  },

  async 'old sessions are removed with their pictures, new ones stay'() {
    await reference('f3').update({ createdAt: new Date(Date.now() - 40 * 24 * 3600e3) });
    await functions.cleanUpSessions.run({});
    const [files] = await getStorage().bucket().getFiles({ prefix: `users/${USER}/` });
    const owners = new Set(files.map(({ name }) => name.split('/')[3]));
    assert.deepEqual([(await reference('f3').get()).exists, owners.has('f3')], [false, false]);
    assert.deepEqual([(await reference('f1').get()).exists, owners.has('f1')], [true, true]);
    await call('deleteSession', { sessionId: 'f1' });
    assert.equal((await reference('f1').get()).exists, false);
  },

  async 'a session that cannot be removed, or with an odd id, does not keep old sessions'() {
    const createdAt = new Date(0);
    const [bad, odd, last] = ['auth0/sessions/bad', 'auth0|7/sessions/odd', 'auth0/sessions/last'].map((id) => getFirestore().doc(`users/${id}`));
    await bad.set({ createdAt });
    await odd.set({ createdAt: new Date(1) });
    await last.set({ createdAt: new Date(2) });
    const deleteFiles = async ({ prefix }) => { if (prefix === `${bad.path}/`) throw new Error('storage is away'); };
    const sessions = new Sessions({ db: getFirestore(), FieldValue, bucket: { deleteFiles } });
    assert.equal(await sessions.cleanUp(new Date(3)), 2);
    await assert.rejects(sessions.cleanUp(new Date(3)), /storage is away/);
    const left = await Promise.all([bad, odd, last].map(async (ref) => (await ref.get()).exists));
    assert.deepEqual(left, [true, false, false]);
    await bad.delete();
  },

  async 'an upload address is for one file, one type and a size'() {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const credentials = { client_email: 'a@demo.iam.gserviceaccount.com', private_key: key };
    const emulator = process.env.STORAGE_EMULATOR_HOST;
    delete process.env.STORAGE_EMULATOR_HOST;
    const bucket = new Storage({ projectId: 'demo', credentials }).bucket('demo-bucket');
    process.env.STORAGE_EMULATOR_HOST = emulator;
    const sessions = new Sessions({ db: getFirestore(), bucket });
    const { photo: { url, headers } } = await sessions.uploadUrls(USER, 's1', { photoType: 'image/webp' });
    const { pathname, searchParams } = new URL(url);
    assert.ok(pathname.endsWith(`/users/${USER}/sessions/s1/original.jpg`), pathname);
    assert.equal(searchParams.get('X-Goog-SignedHeaders'), 'content-type;host;x-goog-content-length-range');
    assert.ok(Math.abs(Number(searchParams.get('X-Goog-Expires')) - 900) <= 1, url);
    assert.deepEqual(headers, { 'Content-Type': 'image/webp', 'x-goog-content-length-range': '1,67108864' });
    const another = sessions.uploadUrls(USER, 's1', { photoType: 'text/html' });
    await assert.rejects(another, refused('invalid-argument', /photo is one of/));
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check().catch((error) => {
    console.error(`failed: ${name}\n${error.stack}`);
    process.exit(1);
  });
  console.log(`passed: ${name}`);
}
process.exit(0); // the clients keep connections open
