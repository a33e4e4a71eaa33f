'use strict';
/*
 * The page of the local cloud. It asks the server for the state of one session (`/state`) again and again, and shows it.
 * A snapshot has state and pictures embedded instead. brush.js, which comes before this file, makes new sessions.
 * Everything that comes from outside is put into the page as text, never as HTML.
 */

const AMPLIFIED = 20;  // times, for the difference of two pictures
const SQUARE = 8;      // pixels, the squares in which JPEG works
const POLL_MS = { busy: 400, idle: 2000 };
const MASK_COLOUR = [255, 45, 120];
const DEMO_ENDED = 'The demo has ended: its server does not answer. Start “make demo” again and open the address it prints.';

const STAGES = [
  ['download', 'reads photo and mask from Storage'],
  ['decode', 'turns both files into pixels'],
  ['encode', 'compresses the picture for the model'],
  ['denoise', 'paints the marked area, step by step'],
  ['compose', 'decompresses the painting into the photo'],
  ['upload', 'stores the edited photo and a preview'],
];

const STATUS_MEANING = {
  200: 'done', 204: 'acknowledged', 401: 'the token was refused', 403: 'another account', 404: 'the session was not there yet',
  409: 'already being worked on', 429: 'the queue is full', 500: 'the worker failed', 503: 'not now, deliver again',
};

const $ = (id) => document.getElementById(id);
const embedded = JSON.parse($('embedded').textContent);
const wanted = { session: new URLSearchParams(location.search).get('session') };
let state = null;
let connected = true;

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

function seconds(s) {
  if (s < 9.95) return `${s.toFixed(1)} s`;
  return s < 89.5 ? `${Math.round(s)} s` : `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
}

const milliseconds = (ms) => (ms < 1000 ? `${ms} ms` : seconds(ms / 1000));
const kilobytes = (n) => (n < 1e6 ? `${Math.max(1, Math.round(n / 1000))} kB` : `${(n / 1e6).toFixed(1)} MB`);
const number = (n) => n.toLocaleString('en');

function setText(node, text) {  // only where it changes, so that a screen reader is not told again
  if (node.textContent !== text) node.textContent = text;
}

/* ---- Where state and pictures come from ---- */

function urlOf(file, generation) {
  if (embedded) return embedded.files[file];
  return `/object/${encodeURIComponent(state.session)}/${file}?generation=${encodeURIComponent(generation)}`;
}

async function loadPicture(file, generation) {
  const url = urlOf(file, generation);
  const picture = new Image();
  picture.src = url;
  try {
    await picture.decode();
  } catch {
    throw new Error(`${file} cannot be shown`);
  }
  return picture;
}

function pixelsOf(picture, width = picture.naturalWidth, height = picture.naturalHeight) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/* ---- The pictures ---- */

const PICTURES = ['compare-before', 'compare-after', 'before', 'mask', 'after', 'difference'];
const shown = {};  // what a part of the page shows now: session and generations

/* Runs `show` when the pictures behind `part` are others than those shown. */
async function refresh(part, files, show) {
  const generations = files.map((file) => state.objects[file]?.generation);
  const key = generations.includes(undefined) ? '' : [state.session, ...generations].join(' ');
  if (shown[part] === key) return;
  shown[part] = key;
  if (!key) return;
  const isCurrent = () => shown[part] === key;
  try {
    await show(generations, isCurrent);
  } catch (e) {
    if (isCurrent()) showBanner(e.message);
  }
}

function clearPictures() {
  for (const id of PICTURES) $(id).hidden = true;
  for (const id of ['split', 'divider', 'tag-before', 'tag-after', 'download']) $(id).hidden = true;
  for (const part of Object.keys(shown)) delete shown[part];
  setVerdict('', 'Black means that both are the same.');
}

function setShape(picture) {
  $('result').style.setProperty('--shape', `${picture.naturalWidth} / ${picture.naturalHeight}`);
  $('result').style.setProperty('--ratio', picture.naturalWidth / picture.naturalHeight);
}

function showImage(ids, picture, alt) {
  for (const id of ids) {
    $(id).src = picture.src;
    $(id).alt = alt;
    $(id).hidden = false;
  }
}

async function showBefore([generation], isCurrent) {
  const photo = await loadPicture('original.jpg', generation);
  if (!isCurrent()) return;
  setShape(photo);
  showImage(['before', 'compare-before'], photo, 'The photo before');
}

async function showMask(generations, isCurrent) {
  const photo = await loadPicture('original.jpg', generations[0]);
  const mask = await loadPicture('mask_auto.png', generations[1]);
  if (!isCurrent()) return;
  const canvas = $('mask');
  canvas.width = photo.naturalWidth;
  canvas.height = photo.naturalHeight;
  const context = canvas.getContext('2d');
  context.drawImage(photo, 0, 0);
  const picture = context.getImageData(0, 0, canvas.width, canvas.height);
  const marks = pixelsOf(mask, canvas.width, canvas.height);
  for (let at = 0; at < marks.data.length; at += 4) {
    const strength = (marks.data[at] / 255) * 0.6;
    for (let c = 0; c < 3; c++) picture.data[at + c] += (MASK_COLOUR[c] - picture.data[at + c]) * strength;
  }
  context.putImageData(picture, 0, 0);
  canvas.hidden = false;
  moveDivider(middleOf(marks));
}

/* Where the marked area has its middle, in percent of the width: the divider starts there, so that it shows both sides. */
function middleOf(marks) {
  let sum = 0, n = 0;
  for (let at = 0; at < marks.data.length; at += 4)
    if (marks.data[at]) {
      sum += (at / 4) % marks.width;
      n++;
    }
  return n ? Math.round(100 * (sum / n + 0.5) / marks.width) : 50;
}

async function showAfter([generation], isCurrent) {
  const edited = await loadPicture('edited.jpg', generation);
  if (!isCurrent()) return;
  showImage(['after', 'compare-after'], edited, 'The photo after');
  $('download').href = edited.src;
  for (const id of ['split', 'divider', 'tag-before', 'tag-after', 'download']) $(id).hidden = false;
}

/* Which squares of 8 x 8 pixels have a pixel of the mask, or are within `grow` pixels of such a square: the worker paints a
 * little beyond the mask. */
function markedSquares(marks, grow) {
  const across = Math.ceil(marks.width / SQUARE), down = Math.ceil(marks.height / SQUARE), reach = Math.ceil(grow / SQUARE);
  const marked = new Uint8Array(across * down), grown = new Uint8Array(across * down);
  for (let y = 0, at = 0; y < marks.height; y++)
    for (let x = 0; x < marks.width; x++, at += 4)
      if (marks.data[at]) marked[Math.floor(y / SQUARE) * across + Math.floor(x / SQUARE)] = 1;
  for (let y = 0; y < down; y++)
    for (let x = 0; x < across; x++)
      for (let j = Math.max(y - reach, 0); marked[y * across + x] && j <= Math.min(y + reach, down - 1); j++)
        grown.fill(1, j * across + Math.max(x - reach, 0), j * across + Math.min(x + reach + 1, across));
  return (x, y) => grown[Math.floor(y / SQUARE) * across + Math.floor(x / SQUARE)];
}

/* -> the amplified difference as a picture, and how many of the pixels outside the marked squares are not equal */
function differenceOf(before, after, marks, grow) {
  const out = new ImageData(after.width, after.height);
  const isMarked = markedSquares(marks, grow);
  let outside = 0, unequal = 0;
  for (let y = 0, at = 0; y < after.height; y++)
    for (let x = 0; x < after.width; x++, at += 4) {
      let sum = 0;
      for (let c = 0; c < 3; c++) {
        const difference = Math.abs(before.data[at + c] - after.data[at + c]);
        out.data[at + c] = AMPLIFIED * difference;
        sum += difference;
      }
      out.data[at + 3] = 255;
      if (isMarked(x, y)) continue;
      outside++;
      if (sum) unequal++;
    }
  return { picture: out, outside, unequal };
}

function setVerdict(className, text) {
  $('verdict').className = className;
  setText($('verdict'), text);
}

async function loadResaved(generation) {
  if (!embedded) {
    const answer = await fetch(urlOf('resaved.jpg', generation));
    if (!answer.ok) return { problem: (await answer.json()).error };
  } else if (!embedded.files['resaved.jpg']) {
    return { problem: 'There is no difference in this snapshot.' };
  }
  return { picture: await loadPicture('resaved.jpg', generation) };
}

async function showDifference([, maskGeneration, editedGeneration], isCurrent) {
  const resaved = await loadResaved(editedGeneration);
  if (!isCurrent()) return;
  if (resaved.problem) {
    setVerdict('bad', resaved.problem);
    return;
  }
  const after = pixelsOf(await loadPicture('edited.jpg', editedGeneration));
  const marks = pixelsOf(await loadPicture('mask_auto.png', maskGeneration), after.width, after.height);
  if (!isCurrent()) return;
  const grow = state.document?.inpaint?.mask?.growModel || 0;
  const { picture, outside, unequal } = differenceOf(pixelsOf(resaved.picture, after.width, after.height), after, marks, grow);
  const canvas = $('difference');
  canvas.width = after.width;
  canvas.height = after.height;
  canvas.getContext('2d').putImageData(picture, 0, 0);
  canvas.hidden = false;
  if (unequal) setVerdict('bad', `${number(unequal)} of ${number(outside)} pixels away from the mask differ, and none should.`);
  else setVerdict('good', `Away from the mask it is black: all ${number(outside)} pixels there are equal.`);
}

function showPictures() {
  refresh('before', ['original.jpg'], showBefore);
  refresh('mask', ['original.jpg', 'mask_auto.png'], showMask);
  refresh('after', ['edited.jpg'], showAfter);
  refresh('difference', ['original.jpg', 'mask_auto.png', 'edited.jpg'], showDifference);
  const { width, height } = state.document?.inpaint?.recipe?.fillSize || {};
  const edited = state.objects['edited.jpg'], original = state.objects['original.jpg'];
  $('compare-text').hidden = Boolean(original);
  const size = width ? ` Painted at ${width} × ${height} pixels.` : '';
  const caption = edited ? 'Drag across the picture to compare.' + size
    : original ? 'The photo. The result appears here when the job is done.' : 'The photo and the result appear here.';
  setText($('compare-caption'), caption);
}

function moveDivider(percent) {
  $('split').value = percent;
  $('compare').style.setProperty('--split', `${percent}%`);
}

/* ---- The status ---- */

/* What has become of the session -> class, headline and sentence. */
function summary() {
  const { document: session, deliveries, worker } = state;
  const own = session?.inpaint || {};
  const status = session?.processingStatus;
  if (!session) {
    return ['', 'No photo yet', 'Choose a photo below, brush over what should go, and press “Remove it”.'];
  }
  if (status === 'completed') {
    return ['completed', `Done in ${seconds(elapsedSeconds())}`, 'The edited photo and a small preview are stored.'];
  }
  if (status === 'failed') {
    const next = own.retryable ? 'A new try can help.' : 'The same photo and mask would fail again: change one of them.';
    const reason = session.errorMessage || 'The worker gave no reason.';
    return ['failed', 'The job failed', `${reason} ${next} (${own.errorCode || 'no code'})`];
  }
  if (status === 'cancelled') return ['', 'Cancelled', 'The app cancelled this session before the worker came to it.'];
  if (worker === 'gone') return ['failed', 'Stopped', 'The worker has ended. The message waits until a worker answers again.'];
  if (status === 'processing') {
    const stage = STAGES.find(([name]) => name === own.stage);
    return ['processing', 'Working', stage ? `Now the worker ${stage[1]}.` : 'The worker has begun.'];
  }
  if (worker === 'starting') return ['', 'Waiting', 'The worker is still loading its model.'];
  if (deliveries.some((d) => !d.open)) {
    return ['', 'Waiting for the next delivery', 'The worker did not take the message. It is delivered again after a pause.'];
  }
  return ['', 'Waiting', 'The message is on its way to the worker.'];
}

const isOver = () => !state.document || ['completed', 'failed', 'cancelled'].includes(state.document.processingStatus);

/* From the first delivery to now, or to the answer to the last one. An emulator does not tell of deliveries: then the
 * stages are added up. */
function elapsedSeconds() {
  const { deliveries, now } = state;
  if (!deliveries.length) return Object.values(state.document?.inpaint?.timings || {}).reduce((a, b) => a + b, 0) / 1000;
  const last = deliveries[deliveries.length - 1];
  return (last.open ? now : last.at + last.seconds) - deliveries[0].at;
}

function showStatus() {
  const [className, headline, sentence] = summary();
  const own = state.document?.inpaint || {};
  const card = $('status-title').parentElement;
  card.className = `card status ${className}`;
  setText($('status-title'), headline);
  setText($('status-text'), sentence);
  const progress = own.progress ?? 0;
  $('bar').style.width = `${progress}%`;
  $('track').setAttribute('aria-valuenow', progress);
  const elapsed = elapsedSeconds();
  setText($('elapsed'), elapsed ? seconds(elapsed) : '–');
  setText($('remaining'), isOver() && state.document ? 'none' : own.etaSeconds !== undefined ? seconds(own.etaSeconds) : '–');
  setText($('attempts'), own.attempts !== undefined ? String(own.attempts) : '–');
  showStages(own);
  showDeliveries();
}

function showStages(own) {
  const status = state.document?.processingStatus;
  const at = STAGES.findIndex(([name]) => name === own.stage);
  const stopped = status === 'failed' && own.timings ? STAGES.findIndex(([name]) => own.timings[name] === undefined) : -1;
  const rows = STAGES.map(([name, what], n) => {
    const isDone = status === 'completed' || (status && n < at) || own.timings?.[name] !== undefined;
    const kind = isDone ? 'done' : n === stopped ? 'stopped' : n === at && status === 'processing' ? 'now' : 'later';
    const row = element('li', kind);
    const mark = element('span', 'mark', { done: '✓', stopped: '×', now: '●', later: '·' }[kind]);
    mark.setAttribute('aria-label', { done: 'done', stopped: 'stopped here', now: 'now', later: 'to come' }[kind]);
    mark.setAttribute('role', 'img');
    const time = own.timings?.[name];
    row.append(mark, element('span', 'name', name), element('span', 'what', what),
      element('span', 'time', time === undefined ? '' : milliseconds(time)));
    return row;
  });
  $('stages').replaceChildren(...rows);
}

function showDeliveries() {
  if (!state.deliveries.length) {
    $('deliveries').replaceChildren(element('p', 'muted', 'None yet.'));
    return;
  }
  const table = element('table');
  const head = element('tr');
  for (const title of ['Attempt', 'HTTP status', 'Took']) {
    const cell = element('th', '', title);
    cell.scope = 'col';
    head.append(cell);
  }
  table.append(head);
  for (const d of state.deliveries.slice(-6)) {
    const row = element('tr');
    const meaning = d.open ? 'waiting for the answer' : d.status ? `${d.status} ${STATUS_MEANING[d.status] || ''}` : 'no answer';
    const kind = d.open ? '' : d.status >= 200 && d.status < 300 ? 'good' : 'bad';
    row.append(element('td', '', String(d.attempt)), element('td', kind, meaning.trim()), element('td', '', seconds(d.seconds)));
    table.append(row);
  }
  $('deliveries').replaceChildren(table);
}

function showBanner(text) {
  $('banner').hidden = !text;
  setText($('banner'), text || '');
}

function showWorker() {
  const texts = { ready: 'Worker ready', starting: 'Worker loading its model', gone: 'Worker has ended' };
  $('worker').className = `pill ${connected ? state.worker : 'gone'}`;
  setText($('worker'), embedded ? 'Snapshot' : connected ? texts[state.worker] : 'Demo ended');
  if (!connected) showBanner(DEMO_ENDED);
  else if (embedded || state.worker !== 'gone') showBanner('');
  else showBanner('The worker has ended. The end of its log below says why. Start “make demo” again.');
}

/* ---- Behind the scenes ---- */

function logLine(entry) {
  const line = element('p', /^[A-Z]+$/.test(entry.severity) ? entry.severity : '');
  const time = element('time', '', entry.time && new Date(entry.time).toLocaleTimeString('en-GB'));
  time.dateTime = entry.time;
  const text = element('span', 'text', entry.message);
  const fields = Object.entries(entry.fields).filter(([, value]) => value !== '' && typeof value !== 'object');
  if (fields.length) text.append(element('span', 'fields', '  ' + fields.map(([name, value]) => `${name}=${value}`).join(' ')));
  line.append(time, element('span', 'severity', entry.severity), text);
  return line;
}

let shownLog = '';
function showLog() {
  const key = JSON.stringify(state.log);
  if (key === shownLog) return;
  shownLog = key;
  const log = $('log');
  const followed = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
  const lines = state.log.map(logLine);
  if (!lines.length) lines.push(element('span', 'muted', 'The worker has not written anything yet.'));
  log.replaceChildren(...lines);
  if (followed) log.scrollTop = log.scrollHeight;
}

function showSession() {
  const recipe = state.document?.inpaint?.recipe;
  const rows = [['Session', state.session || 'none']];
  if (recipe) rows.push(['Model', recipe.model], ['Steps', recipe.steps], ['Guidance', recipe.guidance], ['Seed', recipe.seed],
    ['Precision', recipe.precision], ['Prompt', recipe.prompt]);
  if (state.document?.inpaint?.warnings) rows.push(['Warnings', state.document.inpaint.warnings.join(', ')]);
  $('recipe').replaceChildren(...rows.map(([name, value]) => {
    const row = element('div');
    row.append(element('dt', '', name), element('dd', '', String(value)));
    return row;
  }));
  setText($('document'), state.document ? JSON.stringify(state.document, null, 2) : 'There is none yet.');
}

let shownObjects = '';
function showObjects() {
  const objects = Object.entries(state.objects);
  const key = JSON.stringify([state.session, objects]);
  if (key === shownObjects) return;
  shownObjects = key;
  $('objects').replaceChildren(...objects.map(([name, o]) => {
    const row = element('li');
    const link = element('a', '', name);
    link.href = urlOf(name, o.generation);
    link.download = name;
    row.append(link, element('span', 'muted', kilobytes(o.size)));
    return row;
  }));
  if (!objects.length) $('objects').replaceChildren(element('li', 'muted', 'None yet.'));
}

/* ---- Following a session ---- */

function show() {
  showWorker();
  showPictures();
  showStatus();
  showLog();
  showSession();
  showObjects();
  $('demo').hidden = !state.demo;
  document.body.classList.toggle('unpublished', !state.document);
  showWhy();
}

async function poll() {
  const asked = wanted.session;
  try {
    const answer = await fetch('/state' + (asked ? `?session=${encodeURIComponent(asked)}` : ''));
    const body = await answer.json();
    connected = true;
    if (asked !== wanted.session) return;  // another session was published meanwhile
    if (!answer.ok) {
      wanted.session = null;
      return;
    }
    if (state?.session !== body.session) clearPictures();
    state = body;
  } catch {
    connected = false;
  }
  if (state) show();
  else showBanner(DEMO_ENDED);
}

async function follow() {
  for (;;) {
    await poll();
    await new Promise((wake) => setTimeout(wake, connected && state && !isOver() ? POLL_MS.busy : POLL_MS.idle));
  }
}

/* ---- Start ---- */

$('split').addEventListener('input', () => moveDivider($('split').value));
if (embedded) {
  $('try').hidden = true;
  $('saved').hidden = false;
  state = embedded.state;
  show();
} else {
  listenToEasel();
  listenToControls();
  showWhy();
  follow();
}
