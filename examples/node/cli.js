#!/usr/bin/env node
/** One whole edit from the command line, by the same code as the functions. `node cli.js --help` tells how. */
import { readFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openClients } from './lib/clients.js';
import { File, State, TOPIC, isId, objectPath } from './lib/protocol.js';
import { Sessions } from './lib/sessions.js';
import { waitForEnd } from './lib/watch.js';

const HELP = `usage: node cli.js [edit] --user ID --photo FILE --mask FILE [--session ID] [--prompt TEXT] [--out DIR]
       node cli.js again  --user ID --session ID [--photo FILE] [--mask FILE] [--prompt TEXT] [--out DIR]
       node cli.js cancel --user ID --session ID
       node cli.js delete --user ID --session ID

edit uploads both pictures, asks for the edit, waits and writes edited.jpg and preview.jpg to DIR (.).
again asks once more: after a failure, or for another result, with the pictures that are given in place of the old ones.

  --topic NAME       where messages go (${TOPIC})
  --timeout SECONDS  how long to wait (600)
  --rest             HTTP instead of gRPC, and asking instead of listening: for the cloud of \`make demo\`
  --no-wait          end as soon as the message is sent

GOOGLE_CLOUD_PROJECT and FIREBASE_STORAGE_BUCKET name project and bucket; credentials are the usual ones (\`gcloud auth
application-default login\`, or GOOGLE_APPLICATION_CREDENTIALS). Exit status: 0 done, 1 failed, 2 wrong usage.`;

const OPTIONS = {
  user: { type: 'string' }, session: { type: 'string' }, photo: { type: 'string' }, mask: { type: 'string' },
  prompt: { type: 'string' }, out: { type: 'string', default: '.' }, topic: { type: 'string', default: TOPIC },
  timeout: { type: 'string', default: '600' }, rest: { type: 'boolean', default: false },
  'no-wait': { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h', default: false },
};

class Usage extends Error {}

/** -> {action, ...options}; throws Usage where they make no sense. */
function readArguments(argv) {
  let parsed;
  try {
    parsed = parseArgs({ args: argv, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new Usage(error.message);
  }
  const { values, positionals: [action = 'edit', ...rest] } = parsed;
  if (values.help) return { ...values, action: 'help' };
  if (rest.length || !['edit', 'again', 'cancel', 'delete'].includes(action)) {
    throw new Usage(`not known: ${[action, ...rest].join(' ')}`);
  }
  const needed = action === 'edit' ? ['user', 'photo', 'mask'] : ['user', 'session'];
  const missing = needed.filter((name) => !values[name]);
  if (missing.length) throw new Usage(`${action} needs --${missing.join(' and --')}`);
  for (const name of ['user', 'session']) {
    if (values[name] !== undefined && !isId(values[name])) {
      throw new Usage(`--${name}: an id has 1 to 128 of A-Z, a-z, 0-9, _ and -`);
    }
  }
  if (!(Number(values.timeout) > 0)) throw new Usage('--timeout is a number of seconds');
  for (const name of ['GOOGLE_CLOUD_PROJECT', 'FIREBASE_STORAGE_BUCKET']) {
    if (!process.env[name]) throw new Usage(`${name} is not set`);
  }
  return { ...values, action };
}

/** Prints a view where it says something new. */
function printer() {
  let last = '';
  return ({ status, progress, etaSeconds }) => {
    const eta = etaSeconds === null ? '' : `, ${Math.ceil(etaSeconds)} s left`;
    const line = status === State.PROCESSING ? `${status}: ${progress} %${eta}` : status;
    if (line !== last) console.log(line);
    last = line;
  };
}

const typeOf = (bytes) => (bytes[0] === 0xff ? 'image/jpeg' : bytes[0] === 0x89 ? 'image/png'
  : bytes.toString('latin1', 0, 4) === 'RIFF' ? 'image/webp' : 'image/heic');

/** Uploads what is given, asks for the edit and waits for its end; -> the exit status. */
async function edit(clients, sessions, options) {
  const { user, prompt } = options;
  const pictures = [];
  for (const [path, file] of [[options.photo, File.PHOTO], [options.mask, File.MASK]]) {
    if (path) pictures.push([file, await readFile(path)]);
  }
  const sessionId = options.action === 'again' ? options.session
    : await sessions.create(user, { sessionId: options.session, prompt });
  for (const [file, bytes] of pictures) {
    await clients.bucket.file(objectPath(user, sessionId, file)).save(bytes, { resumable: false, contentType: typeOf(bytes) });
  }
  const { messageId } = await sessions.requestEdit(user, sessionId, { prompt });
  console.log(`session ${sessionId}, ${messageId ? `message ${messageId}` : 'already at work'}`);
  if (options['no-wait']) return 0;
  const end = await waitForEnd(sessions.ref(user, sessionId),
    { show: printer(), timeoutSeconds: Number(options.timeout), poll: options.rest });
  if (end.status !== State.COMPLETED) {
    console.error(end.message ? `${end.message} (${end.errorCode}; to do: ${end.remedy})` : `The session is ${end.status}.`);
    return 1;
  }
  await mkdir(options.out, { recursive: true });
  for (const [path, file] of [[end.editedImagePath, File.EDITED], [end.previewImagePath, File.PREVIEW]]) {
    await clients.bucket.file(path).download({ destination: join(options.out, file) });
    console.log(join(options.out, file));
  }
  return 0;
}

async function main(argv) {
  const options = readArguments(argv);
  if (options.action === 'help') {
    console.log(HELP);
    return 0;
  }
  const clients = openClients({
    projectId: process.env.GOOGLE_CLOUD_PROJECT, bucketName: process.env.FIREBASE_STORAGE_BUCKET,
    topicName: options.topic, rest: options.rest,
  });
  try {
    const sessions = new Sessions(clients);
    if (options.action === 'cancel') console.log(await sessions.cancel(options.user, options.session));
    else if (options.action === 'delete') await sessions.remove(options.user, options.session);
    else return await edit(clients, sessions, options);
    return 0;
  } finally {
    await clients.close();
  }
}

main(process.argv.slice(2)).then((status) => { process.exitCode = status; }, (error) => {
  console.error(`cli: ${error.message}`);
  process.exitCode = error instanceof Usage ? 2 : 1;
});
