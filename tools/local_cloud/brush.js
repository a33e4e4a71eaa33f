'use strict';
/*
 * The brush: a photo on an easel is marked with pointer or keyboard, and sent with its mask as a new session. page.js, which
 * comes after this file, shows what becomes of it.
 */

const LONGER_SIDE = 512;  // pixels, what the demo model paints
const easel = { photo: null, strokes: [], current: null, sending: false, problem: '', at: null };

/* A file or an object -> a canvas on the easel. The browser turns the photo upright by its Exif orientation. */
async function takePhoto(blob) {
  let bitmap;
  easel.problem = '';
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: 'from-image' });
  } catch {
    easel.problem = 'The browser cannot read this file as a picture. Choose a JPEG, PNG or WebP photo.';
    showWhy();
    return;
  }
  const scale = Math.min(1, LONGER_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale)), height = Math.max(1, Math.round(bitmap.height * scale));
  for (const id of ['photo', 'strokes']) {
    $(id).width = width;
    $(id).height = height;
  }
  const context = $('photo').getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.fillStyle = '#fff';  // behind transparent pixels, as in the worker
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  $('easel').style.setProperty('--shape', `${width} / ${height}`);
  $('easel').style.width = height > width ? `${Math.round(68 * width / height)}vh` : '100%';
  easel.photo = { width, height };
  easel.at = { x: width / 2, y: height / 2 };
  easel.strokes = [];
  $('drop').hidden = true;
  $('easel').hidden = false;
  drawStrokes();
}

function drawStroke(context, stroke) {
  context.lineWidth = stroke.size;
  context.lineCap = context.lineJoin = 'round';
  context.beginPath();
  context.moveTo(stroke.points[0].x, stroke.points[0].y);
  for (const p of stroke.points) context.lineTo(p.x, p.y);
  context.stroke();
}

function drawStrokes() {
  const context = $('strokes').getContext('2d');
  context.clearRect(0, 0, $('strokes').width, $('strokes').height);
  context.strokeStyle = `rgb(${MASK_COLOUR.join(' ')})`;
  for (const stroke of easel.strokes) drawStroke(context, stroke);
  showWhy();
}

/* White on black, each pixel 0 or 255: the smooth edge of a stroke is cut where it is half covered. */
function drawMask() {
  const { width, height } = easel.photo;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.strokeStyle = '#fff';
  for (const stroke of easel.strokes) drawStroke(context, stroke);
  const mask = context.getImageData(0, 0, width, height);
  for (let at = 0; at < mask.data.length; at += 4) {
    mask.data.fill(mask.data[at + 3] >= 128 ? 255 : 0, at, at + 3);
    mask.data[at + 3] = 255;
  }
  context.putImageData(mask, 0, 0);
  return canvas;
}

async function base64Of(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = '';
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

/* Why the button does nothing now; '' when it works. */
function obstacle() {
  if (easel.sending) return 'Sending the photo and the mask.';
  if (!easel.photo) return 'Choose a photo first.';
  if (!easel.strokes.length) return 'Brush over what should go first.';
  if (!connected) return 'The demo has ended: start “make demo” again.';
  if (state?.worker === 'gone') return 'The worker has ended: start “make demo” again.';
  return '';
}

function showWhy() {
  const why = obstacle();
  $('remove').disabled = Boolean(why);
  $('why').className = easel.problem ? 'why bad' : 'why muted';
  setText($('why'), easel.problem || why || 'Ready.');
  for (const id of ['undo', 'clear']) $(id).disabled = !easel.strokes.length || easel.sending;
  $('another').disabled = !easel.photo || easel.sending;
  const step = !easel.photo ? 0 : !easel.strokes.length ? 1 : 2;
  ['step-photo', 'step-stroke', 'step-send'].forEach((id, n) => {
    $(id).className = n < step ? 'done' : n === step ? 'now' : '';
  });
}

async function send() {
  easel.sending = true;
  easel.problem = '';
  showWhy();
  try {
    const photo = await new Promise((done) => $('photo').toBlob(done, 'image/jpeg', 0.95));
    const mask = await drawMask().convertToBlob({ type: 'image/png' });
    const answer = await fetch('/sessions', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Local-Cloud': 'page' },
      body: JSON.stringify({ photo: await base64Of(photo), mask: await base64Of(mask) }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    wanted.session = body.session;
    history.replaceState(null, '', `?session=${encodeURIComponent(body.session)}`);
    await poll();
    scrollToResult();
  } catch (e) {
    easel.problem = e instanceof TypeError ? DEMO_ENDED : `The photo was not taken: ${e.message}.`;
  }
  easel.sending = false;
  showWhy();
}

function scrollToResult() {
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  $('result').scrollIntoView({ behavior: calm ? 'auto' : 'smooth' });
  $('result').focus({ preventScroll: true });
}

/* ---- Pointer and keyboard on the easel ---- */

function pointOf(event) {
  const box = $('strokes').getBoundingClientRect();
  const { width, height } = easel.photo;
  return { x: (event.clientX - box.left) * width / box.width, y: (event.clientY - box.top) * height / box.height };
}

function showRing(point) {
  const { width, height } = easel.photo;
  const ring = $('ring');
  ring.hidden = false;
  ring.style.left = `${100 * point.x / width}%`;
  ring.style.top = `${100 * point.y / height}%`;
  ring.style.width = `${100 * $('size').value / width}%`;
  ring.style.height = `${100 * $('size').value / height}%`;
}

function beginStroke(point) {
  easel.current = { size: Number($('size').value), points: [point] };
  easel.strokes.push(easel.current);
  drawStrokes();
}

function extendStroke(points) {
  easel.current.points.push(...points);
  drawStrokes();
}

function onPointerDown(event) {
  if (event.button !== 0 || easel.sending) return;
  $('strokes').setPointerCapture(event.pointerId);
  easel.at = pointOf(event);
  showRing(easel.at);
  beginStroke(easel.at);
}

function onPointerMove(event) {
  easel.at = pointOf(event);
  showRing(easel.at);
  if (!easel.current) return;
  const events = event.getCoalescedEvents?.() || [];
  extendStroke((events.length ? events : [event]).map(pointOf));
}

function onKey(event) {
  const step = Math.max(2, $('size').value / 2);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  const [dx, dy] = moves[event.key] || [0, 0];
  const limit = (value, most) => Math.min(Math.max(value, 0), most);
  if (easel.sending || (!dx && !dy && event.key !== ' ')) return;
  event.preventDefault();
  const from = easel.at;
  easel.at = { x: limit(from.x + dx, easel.photo.width), y: limit(from.y + dy, easel.photo.height) };
  showRing(easel.at);
  if (event.key === ' ') beginStroke(easel.at);
  else if (event.shiftKey && easel.current) extendStroke([easel.at]);
  else if (event.shiftKey) {
    beginStroke(from);
    extendStroke([easel.at]);
  } else easel.current = null;
}

function undo() {
  easel.current = null;
  easel.strokes.pop();
  drawStrokes();
}

function listenToEasel() {
  const strokes = $('strokes');
  const endStroke = () => { easel.current = null; };
  strokes.addEventListener('pointerdown', onPointerDown);
  strokes.addEventListener('pointermove', onPointerMove);
  for (const name of ['pointerup', 'pointercancel']) strokes.addEventListener(name, endStroke);
  strokes.addEventListener('pointerleave', () => { if (!easel.current) $('ring').hidden = true; });
  strokes.addEventListener('keydown', onKey);
  strokes.addEventListener('keyup', (event) => { if (event.key === 'Shift') endStroke(); });
  strokes.addEventListener('focus', () => { if (strokes.matches(':focus-visible')) showRing(easel.at); });
  strokes.addEventListener('blur', () => { $('ring').hidden = true; endStroke(); });
  document.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 'z' && easel.strokes.length && !easel.sending) {
      event.preventDefault();
      undo();
    }
  });
}

function listenToControls() {
  $('file').addEventListener('change', () => { if ($('file').files.length) takePhoto($('file').files[0]); });
  $('demo').addEventListener('click', async () => {
    try {
      const answer = await fetch(`/object/${encodeURIComponent(state.demo)}/original.jpg`);
      await takePhoto(await answer.blob());
    } catch {
      easel.problem = DEMO_ENDED;
      showWhy();
    }
  });
  $('size').addEventListener('input', () => setText($('size-text'), `${$('size').value} px`));
  $('undo').addEventListener('click', undo);
  $('clear').addEventListener('click', () => { easel.strokes = []; easel.current = null; drawStrokes(); });
  $('another').addEventListener('click', () => {
    Object.assign(easel, { photo: null, strokes: [], current: null, problem: '' });
    $('file').value = '';
    $('easel').hidden = true;
    $('drop').hidden = false;
    showWhy();
    $('file').focus();
  });
  $('remove').addEventListener('click', send);
  const board = $('board');
  // A file that is dropped next to the board does not replace the page.
  for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
  const mark = (on) => (event) => { event.preventDefault(); board.classList.toggle('over', on); };
  board.addEventListener('dragover', mark(true));
  board.addEventListener('dragleave', mark(false));
  board.addEventListener('drop', (event) => {
    mark(false)(event);
    if (event.dataTransfer.files.length && !easel.sending) takePhoto(event.dataTransfer.files[0]);
  });
}
