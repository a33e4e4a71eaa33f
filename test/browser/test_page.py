#!/usr/bin/env python3
"""The page of the local cloud in a real browser, with the real worker and the demo model behind it: `test_page.py [parts of
names]`. A photo is chosen, brushed and sent as a person would, and what comes back is compared with what the cloud stores.
Screenshots go to build/browser."""
import base64
import contextlib
import functools
import http.client
import json
import os
import subprocess
import sys
import tempfile
import types
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, folder) for folder in ("test/browser", "test/integration", "")]
from browser import ABSENT, Browser, find_browser  # noqa: E402
from harness import Skip, Suite, equal, exif_with_gps, free_port, run_suites, tests_of, wait_until  # noqa: E402
from harness import mask_png, photo_png  # noqa: E402
from tools.local_cloud import page  # noqa: E402
from tools.local_cloud.cloud import Cloud  # noqa: E402
from tools.local_cloud.worker import Worker  # noqa: E402

OUT = os.path.join(ROOT, "build", "browser")
MODEL = os.path.join(ROOT, "models", "demo")
JOB_SECONDS = 120
HAS_ENDED = ".status.completed, .status.failed"
DIFFERENCE_IS_SHOWN = "!document.querySelector('#difference').hidden"
here = types.SimpleNamespace()  # what the tests share: cloud, worker, server, browser, photo


# ---- what the tests share ----

def start_worker():
    """The cloud with a worker that is ready, and a file with the demo photo."""
    port = free_port()
    log_path = os.path.join(OUT, "worker.log")
    here.cloud = Cloud(f"http://127.0.0.1:{port}/inpaint", log_path)
    os.chdir(ROOT)
    settings = {"MODEL_DIR": MODEL, "BACKEND": "cpu", "STEPS": "1", "OMP_WAIT_POLICY": "passive"}
    here.worker = Worker({**here.cloud.env, **settings}, port, log_path)
    here.cloud.worker_ended = here.worker.ended
    subprocess.run([os.path.join(ROOT, "build", "demo-inputs"), OUT], check=True)
    here.photo = os.path.join(OUT, "original.jpg")
    wait_until("the worker is ready", lambda: here.cloud.worker_state() == "ready")


@contextlib.contextmanager
def everything():
    program = find_browser()
    if not program:
        raise Skip(ABSENT)
    if not os.path.isdir(MODEL):
        raise Skip("models/demo, the folder of the demo model, is not there")
    assert os.path.isfile(page.RESAVE), "build/resave is not there: make build/resave"
    os.makedirs(OUT, exist_ok=True)
    start_worker()
    try:
        here.server = page.start_page(here.cloud)
        here.browser = Browser(program)
        yield
    finally:
        if hasattr(here, "browser"):
            here.browser.stop()
        here.worker.stop()
        here.cloud.stop()


@contextlib.contextmanager
def opened(path="/", server=None, expected=(), **size):
    """A tab; errors in its console and violations of its policy fail the test, except those with an expected part."""
    url = path if "://" in path else (server or here.server).url + path
    tab = here.browser.open(url, **size)
    try:
        yield tab
        complaints = [text for text in tab.complaints if not any(part in text for part in expected)]
        assert not complaints, complaints
    finally:
        tab.close()


def choose_photo(tab, path=None):
    tab.choose_file("#file", path or here.photo)
    tab.wait_for("!document.querySelector('#easel').hidden")


def point_on_photo(tab, x, y):
    """Shares of width and height -> a point of the window."""
    left, top, width, height = tab.box("#strokes")
    return left + x * width, top + y * height


def brush_the_ball(tab):
    """The red ball of the demo photo and its shadow: three strokes."""
    for y in (0.68, 0.74, 0.80):
        tab.drag([point_on_photo(tab, x, y) for x in (0.72, 0.76, 0.80, 0.86)])


def follow_job(tab):
    """Presses the button -> the id of the new session, when its job is done and shown."""
    tab.click("#remove")
    session = tab.wait_for("new URLSearchParams(location.search).get('session')")
    tab.wait_for(f"state.session === {json.dumps(session)}")  # until then an older job may be shown
    tab.wait_for_element(HAS_ENDED, JOB_SECONDS)
    return session


def edited_session():
    """A session that was made with the brush; made once, and shared by the tests that look at it."""
    if not hasattr(here, "session"):
        with opened() as tab:
            choose_photo(tab)
            brush_the_ball(tab)
            here.session = follow_job(tab)
    return here.session


def finished_job(session, photo, mask):
    here.cloud.create_session(page.USER, session, photo, mask)
    here.cloud.publish(page.USER, session)
    wait_until("the job ended", lambda: status_of_session(session) in ("completed", "failed"), JOB_SECONDS)


def status_of_session(session):
    return here.cloud.document(page.USER, session)["processingStatus"]


@functools.lru_cache(maxsize=None)
def read_mask(session):
    """-> width, height and the bytes of the mask that the page made, by a reader of our own."""
    data = here.cloud.object(page.USER, session, "mask_auto.png")["data"]
    width, height, depth, kind = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24], data[25])
    channels = {0: 1, 2: 3, 6: 4}[kind]
    equal(depth, 8, "depth of the mask")
    idat, at = b"", 8
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "big")
        idat += data[at + 8:at + 8 + length] if data[at + 4:at + 8] == b"IDAT" else b""
        at += 12 + length
    rows = unfiltered(zlib.decompress(idat), width * channels, height, channels)
    return width, height, [row[x * channels:(x + 1) * channels] for row in rows for x in range(width)]


def unfiltered(raw, row_bytes, height, step):
    """The rows of a PNG without their filters (PNG specification, 9.2)."""
    def paeth(a, b, c):
        nearness = [(abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c)]
        return min(nearness)[2]

    above, rows = bytearray(row_bytes), []
    for y in range(height):
        start = y * (row_bytes + 1)
        kind, row = raw[start], bytearray(raw[start + 1:start + 1 + row_bytes])
        for x in range(row_bytes):
            a, b, c = (row[x - step] if x >= step else 0), above[x], (above[x - step] if x >= step else 0)
            row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]) & 255
        rows.append(bytes(row))
        above = row
    return rows


def request(method, path, body=None, headers=None):
    """-> (status, body, headers) of a request without a browser; a Host header may be given."""
    connection = http.client.HTTPConnection("127.0.0.1", here.server.server_port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in (headers or {}))
        for name, value in {**(headers or {}), **({"Content-Length": str(len(body))} if body is not None else {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


# ---- what a newcomer does ----

def test_an_empty_page_says_what_to_do():
    with opened("/?session=none-yet") as tab:
        tab.wait_for("document.querySelector('#worker').innerText === 'Worker ready'")
        equal(tab.text("#status-title"), "No photo yet")
        equal(tab.evaluate("document.querySelector('#tiles').offsetHeight"), 0, "height of the empty pictures")
        assert "Remove it" in tab.text("#status-text")
        assert tab.evaluate("document.querySelector('#remove').disabled")
        equal(tab.text("#why"), "Choose a photo first.")
        tab.screenshot(os.path.join(OUT, "empty.png"))


def test_a_photo_is_brushed_and_comes_back_edited():
    with opened() as tab:
        choose_photo(tab)
        equal(tab.evaluate("[easel.photo.width, easel.photo.height]"), [512, 384], "size of the photo on the easel")
        equal(tab.text("#why"), "Brush over what should go first.")
        brush_the_ball(tab)
        equal(tab.text("#why"), "Ready.")
        tab.screenshot(os.path.join(OUT, "brushed.png"))
        here.session = follow_job(tab)
        tab.wait_for(DIFFERENCE_IS_SHOWN)
        assert tab.text("#status-title").startswith("Done in "), tab.text("#status-title")
        equal(tab.evaluate("document.querySelector('#track').getAttribute('aria-valuenow')"), "100", "progress")
        assert "204 acknowledged" in tab.text("#deliveries")
        tab.wait_for("Math.abs(document.querySelector('#result').getBoundingClientRect().top) < 40")
        url, shown = tab.loaded("edited.jpg")
        stored = here.cloud.object(page.USER, here.session, "edited.jpg")
        assert shown == stored["data"], "the picture shown is not the object"
        assert stored["generation"] in url
        for part in ("#after", "#compare-after"):
            equal(tab.evaluate(f"document.querySelector('{part}').src"), url, part)
        tab.evaluate("window.scrollTo(0, 0)")
        tab.screenshot(os.path.join(OUT, "done.png"))


def test_only_the_mask_differs():
    with opened(f"/?session={edited_session()}") as tab:
        tab.wait_for(DIFFERENCE_IS_SHOWN, JOB_SECONDS)
        assert "pixels there are equal" in tab.text("#verdict"), tab.text("#verdict")
        data = tab.evaluate("""(() => { const c = document.querySelector('#difference');
            const rgba = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
            return base64Of(new Blob([rgba])).then((text) => [c.width, c.height, text]); })()""")
    width, height, rgba = data[0], data[1], base64.b64decode(data[2])
    mask_width, mask_height, mask = read_mask(here.session)
    equal((width, height), (mask_width, mask_height), "size of the difference")
    squares = {(n % width // 8 + i, n // width // 8 + j) for n, v in enumerate(mask) if v[0]
               for i in (-1, 0, 1) for j in (-1, 0, 1)}  # the mask grows by 8 pixels
    unmarked = [n for n in range(width * height) if (n % width // 8, n // width // 8) not in squares]
    outside = [max(rgba[4 * n:4 * n + 3]) for n in unmarked]
    inside = [rgba[4 * n] for n in range(width * height) if mask[n][0]]
    assert len(outside) > width * height / 2, "nearly everything is marked"
    equal(max(outside), 0, "the largest difference outside the mask")
    assert sum(inside) / len(inside) > 50, "nothing was painted"


def test_the_page_notices_a_pixel_that_differs_outside_the_mask():
    with opened(f"/?session={edited_session()}") as tab:
        tab.wait_for(DIFFERENCE_IS_SHOWN, JOB_SECONDS)
        got = tab.evaluate("""(() => { const blank = () => new ImageData(32, 16), after = blank(), marks = blank();
            marks.data[0] = 255;                      // the first square
            after.data[4 * 7] = 1;                    // in it
            after.data[4 * (32 * 9 + 20) + 2] = 3;    // outside
            const { picture, outside, unequal } = differenceOf(blank(), after, marks, 0);
            return [outside, unequal, picture.data[4 * 7], picture.data[4 * (32 * 9 + 20) + 2]]; })()""")
    equal(got, [32 * 16 - 64, 1, 20, 60])


def test_the_mask_is_exactly_black_and_white():
    session = edited_session()
    width, height, mask = read_mask(session)
    equal((width, height), (512, 384), "size of the mask")
    equal({bytes(v[:3]) for v in mask}, {b"\0\0\0", b"\xff\xff\xff"}, "colours of the mask")
    equal({v[3:] for v in mask} - {b"", b"\xff"}, set(), "opacities of the mask")
    assert mask[int(0.74 * height) * width + int(0.78 * width)][0] == 255, "the ball is not marked"
    assert mask[int(0.3 * height) * width + int(0.3 * width)][0] == 0, "the sky is marked"


def test_a_photo_taken_upright_is_shown_upright():
    with open(here.photo, "rb") as f:
        jpeg = f.read()
    path = os.path.join(OUT, "turned.jpg")
    with open(path, "wb") as f:
        f.write(jpeg[:2] + exif_with_gps(6) + jpeg[2:])
    with opened() as tab:
        choose_photo(tab, path)
        equal(tab.evaluate("[easel.photo.width, easel.photo.height]"), [384, 512], "size of the photo on the easel")
        tab.drag([point_on_photo(tab, x, 0.8) for x in (0.2, 0.25, 0.3)])
        tab.screenshot(os.path.join(OUT, "portrait-brushed.png"))
        follow_job(tab)
        tab.wait_for(DIFFERENCE_IS_SHOWN)
        equal(tab.evaluate("[after.naturalWidth, after.naturalHeight]"), [384, 512], "size of the result")
        assert "pixels there are equal" in tab.text("#verdict"), tab.text("#verdict")
        tab.screenshot(os.path.join(OUT, "portrait.png"))


def test_a_small_photo_is_not_enlarged():
    path = os.path.join(OUT, "small.png")
    with open(path, "wb") as f:
        f.write(photo_png(160, 120))
    with opened() as tab:
        choose_photo(tab, path)
        equal(tab.evaluate("[easel.photo.width, easel.photo.height]"), [160, 120], "size of the photo on the easel")


def test_a_file_that_is_no_picture_is_explained():
    path = os.path.join(OUT, "note.jpg")
    with open(path, "w", encoding="ascii") as f:
        f.write("not a picture")
    with opened() as tab:
        tab.choose_file("#file", path)
        tab.wait_for("document.querySelector('#why').classList.contains('bad')")
        assert "cannot read this file" in tab.text("#why")


def test_the_demo_photo_can_be_brushed():
    server = page.start_page(here.cloud, session=edited_session())
    try:
        with opened(server=server) as tab:
            tab.wait_for("!document.querySelector('#demo').hidden")
            tab.click("#demo")
            tab.wait_for("easel.photo && easel.photo.width === 512")
    finally:
        server.stop()


# ---- brush, keyboard, labels ----

COUNT = "easel.strokes.length"


def test_strokes_can_be_undone_and_cleared():
    with opened() as tab:
        choose_photo(tab)
        brush_the_ball(tab)
        equal(tab.evaluate(COUNT), 3)
        tab.click("#undo")
        equal(tab.evaluate(COUNT), 2)
        tab.press("z", control=True)
        equal(tab.evaluate(COUNT), 1)
        tab.click("#clear")
        equal(tab.evaluate(COUNT), 0)
        assert tab.evaluate("document.querySelector('#remove').disabled && document.querySelector('#undo').disabled")


def test_a_finger_can_brush():
    with opened() as tab:
        choose_photo(tab)
        tab.touch([point_on_photo(tab, x, 0.5) for x in (0.3, 0.4, 0.5)])
        equal(tab.evaluate(COUNT), 1)
        assert abs(tab.evaluate("easel.strokes[0].points.at(-1).x") - 256) < 8


def test_the_keyboard_can_brush_and_send():
    with opened() as tab:
        choose_photo(tab)
        tab.evaluate("document.querySelector('#strokes').focus()")
        for key in ("ArrowRight", "ArrowDown", " "):
            tab.press(key)
        tab.press("ArrowLeft", shift=True)
        equal(tab.evaluate(COUNT), 1)
        equal(tab.evaluate("easel.strokes[0].points.map((p) => [p.x, p.y])"), [[274, 210], [256, 210]])
        for _ in range(10):
            tab.press("Tab")
            if tab.evaluate("document.activeElement.id") == "remove":
                return
        raise AssertionError("Tab does not lead to the button")


def test_the_divider_is_moved_by_keys_and_by_dragging():
    with opened(f"/?session={edited_session()}") as tab:
        tab.wait_for("!document.querySelector('#split').hidden && !document.querySelector('#mask').hidden", JOB_SECONDS)
        start = float(tab.evaluate("document.querySelector('#split').value"))
        assert 70 < start < 90, f"the divider begins at {start} %, not on the ball"
        tab.evaluate("document.querySelector('#split').focus()")
        tab.press("ArrowLeft")
        equal(tab.evaluate("document.querySelector('#compare').style.getPropertyValue('--split')"), f"{start - 0.5:g}%")
        x, y, width, height = tab.box("#split")
        tab.drag([(x + width * start / 100, y + height / 2), (x + width / 2, y + height / 2)])
        assert abs(float(tab.evaluate("document.querySelector('#split').value")) - 50) < 3


ROLES = ("button", "slider", "textbox", "link", "application", "image", "progressbar", "log")


def test_every_control_has_a_name():
    with opened(f"/?session={edited_session()}") as tab:
        choose_photo(tab)
        controls = [(role, name) for role, name in tab.names() if role in ROLES]
        nameless = [role for role, name in controls if not name]
        assert len(controls) > 12 and not nameless, (nameless, controls)


WINDOWS = (("wide", 1600, "light"), ("dark", 1280, "dark"), ("tablet", 800, "light"), ("narrow", 360, "light"),
           ("narrow-dark", 360, "dark"))


def test_no_width_makes_the_page_scroll_sideways():
    with opened(f"/?session={edited_session()}") as tab:
        tab.wait_for(DIFFERENCE_IS_SHOWN, JOB_SECONDS)
        choose_photo(tab)
        brush_the_ball(tab)
        for name, width, scheme in WINDOWS:
            tab.resize(width, scale=2 if width < 500 else 1)
            tab.prefer(prefers_color_scheme=scheme)
            equal(tab.evaluate("document.documentElement.scrollWidth"), width, f"width of the page in a window of {width} pixels")
            tab.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            tab.screenshot(os.path.join(OUT, f"{name}.png"))


# ---- what goes wrong ----

def test_a_job_that_failed_says_why():
    finished_job("all-marked", photo_png(), mask_png(box=(0, 0, 160, 120)))
    with opened("/?session=all-marked") as tab:
        tab.wait_for_element(".status.failed")
        text = tab.text("#status-text")
        assert "MASK_FULL" in text and "change one of them" in text, text
        tab.screenshot(os.path.join(OUT, "failed.png"))


def test_a_running_job_shows_stage_progress_and_time():
    own = {"stage": "denoise", "progress": 40, "etaSeconds": 3.2, "attempts": 2}
    running = {"processingStatus": "processing", "inpaint": own}
    here.cloud.create_session(page.USER, "running", photo_png(), mask_png(), running)
    with opened("/?session=running") as tab:
        tab.wait_for_element(".status.processing")
        equal(tab.text("#status-text"), "Now the worker paints the marked area, step by step.")
        equal(tab.text("#stages .now .name"), "denoise")
        equal(tab.evaluate("document.querySelectorAll('#stages .done').length"), 3, "stages that are done")
        equal([tab.text(f"#{name}") for name in ("remaining", "attempts")], ["3.2 s", "2"])
        equal(tab.evaluate("document.querySelector('#bar').style.width"), "40%")


def test_texts_from_outside_are_shown_as_text():
    here.cloud.create_session(page.USER, "hostile", photo_png(), mask_png(), {
        "processingStatus": "failed", "errorMessage": "<img src=x onerror=alert(1)><b>bold</b>"})
    with opened("/?session=hostile") as tab:
        tab.wait_for_element(".status.failed")
        assert "<b>bold</b>" in tab.text("#status-text")
        equal(tab.evaluate("document.querySelectorAll('.status img, .status b').length"), 0)


def test_a_violation_of_the_policy_is_noticed():
    def is_it(text):
        return "Content Security Policy" in text and "example.invalid" in text

    with opened(expected=("Content Security Policy",)) as tab:
        tab.evaluate("(() => { const i = new Image(); i.src = 'https://example.invalid/x.png'; })()")
        wait_until("the violation is reported", lambda: any(is_it(text) for text in tab.complaints), 10)


def test_a_page_whose_server_does_not_answer_says_so_and_recovers():
    with opened(expected=("ERR_INTERNET_DISCONNECTED",)) as tab:
        tab.wait_for("document.querySelector('#worker').innerText === 'Worker ready'")
        choose_photo(tab)
        brush_the_ball(tab)
        tab.go_offline(True)
        tab.wait_for("document.querySelector('#worker').innerText === 'Demo ended'")
        assert "make demo" in tab.text("#banner")
        assert tab.evaluate("document.querySelector('#remove').disabled")
        tab.go_offline(False)
        tab.wait_for("document.querySelector('#worker').innerText === 'Worker ready'")
        assert tab.evaluate("document.querySelector('#banner').hidden && !document.querySelector('#remove').disabled")


def test_a_worker_that_has_ended_is_reported():
    ended, here.cloud.worker_ended = here.cloud.worker_ended, lambda: True
    try:
        with opened() as tab:
            tab.wait_for("document.querySelector('#worker').innerText === 'Worker has ended'")
            assert "The worker has ended" in tab.text("#banner")
            tab.screenshot(os.path.join(OUT, "worker-gone.png"))
    finally:
        here.cloud.worker_ended = ended


# ---- who may ask ----

def pictures(photo=None, mask=None):
    files = {"photo": photo or photo_png(), "mask": mask or mask_png()}
    return json.dumps({name: base64.b64encode(data).decode() for name, data in files.items()}).encode()


OURS = {"Content-Type": "application/json", page.CUSTOM_HEADER: "page"}


def test_another_host_is_refused():
    for path in ("/", "/state"):
        equal(request("GET", path, headers={"Host": "attacker.example"})[0], 403, path)
        equal(request("GET", path, headers={"Host": f"127.0.0.1.attacker.example:{here.server.server_port}"})[0], 403, path)
        equal(request("GET", path, headers={"Host": f"localhost:{here.server.server_port}"})[0], 200, path)


def test_a_post_that_another_site_could_send_is_refused():
    equal(request("POST", "/sessions", pictures(), {"Content-Type": "application/json"})[0], 403, "without the header")
    equal(request("POST", "/sessions", pictures(), {**OURS, "Content-Type": "text/plain"})[0], 415, "as a form could")
    asking = {"Origin": "https://attacker.example", "Access-Control-Request-Method": "POST"}
    status, _, headers = request("OPTIONS", "/sessions", b"", asking)
    assert status >= 400 and "Access-Control-Allow-Origin" not in headers, f"another site may send requests: {status}"


def test_bad_bodies_are_refused():
    for body, what in ((b"{}", "no pictures"), (b"[1]", "an array"), (b"\xff", "no text"), (b"[" * 100000, "depth"),
                       (b'{"photo":"%","mask":""}', "no base64"), (pictures(photo=b"GIF89a"), "a GIF"),
                       (pictures(mask=b"\xff\xd8\xff"), "a mask that is a JPEG")):
        status, answer, _ = request("POST", "/sessions", body, OURS)
        equal(status, 400, what)
        assert json.loads(answer)["error"].startswith(("the body must be", "the photo must be", "the mask must be")), answer
    equal(request("POST", "/sessions", None, {**OURS, "Content-Length": str(page.UPLOAD_MAX_BYTES + 1)})[0], 413, "too large")


def test_photos_of_every_kind_that_the_worker_reads_are_taken():
    for kind, photo in (("png", photo_png()), ("jpeg", b"\xff\xd8\xff\xe0"), ("webp", b"RIFF\x1a\0\0\0WEBPVP8L"),
                        ("heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")):
        status, answer, _ = request("POST", "/sessions", pictures(photo=photo), OURS)
        equal(status, 201, kind)
        status, data, headers = request("GET", f"/object/{json.loads(answer)['session']}/original.jpg")
        equal((status, data, headers["Content-Type"]), (200, photo, f"image/{kind}"))


def test_only_the_files_of_a_session_are_served():
    for path in ("/object/none/edited.jpg", "/object/none/resaved.jpg", "/object/..%2Fx/edited.jpg",
                 "/object/none/..%2F..%2Fx", "/page.js", "/state?session=../x"):
        equal(request("GET", path)[0], 404, path)


def test_answers_carry_a_strict_policy():
    headers = request("GET", "/")[2]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy and "unsafe" not in policy, policy
    for path in ("/", "/state", f"/object/{edited_session()}/edited.jpg"):
        equal(request("GET", path)[2]["X-Content-Type-Options"], "nosniff", path)


def test_a_stored_file_is_never_sent_as_a_page():
    here.cloud.create_session(page.USER, "typed", b"<script>alert(1)</script>", mask_png())
    here.cloud.objects.put(f"users/{page.USER}/sessions/typed/edited.jpg", b"<html>", contentType="text/html")
    unknown = "application/octet-stream"  # no picture by its content; nor does a browser look for another type (nosniff)
    for name, kind in (("original.jpg", unknown), ("mask_auto.png", "image/png"), ("edited.jpg", unknown)):
        headers = request("GET", f"/object/typed/{name}")[2]
        equal((headers["Content-Type"], headers["X-Content-Type-Options"]), (kind, "nosniff"), name)


def test_a_log_line_of_any_kind_leaves_the_state_readable():
    for line in ('{"message": "x", "rate": NaN, "worst": -Infinity}', "[" * 100000, "\xff", "null", "{}",
                 '{"time": 5, "message": {}}'):
        json.loads(json.dumps(page.parse_log_line(line), allow_nan=False))
    equal(page.parse_log_line('{"message": "x", "rate": NaN}')["fields"], {"rate": "NaN"})


# ---- the snapshot ----

def test_a_snapshot_shows_the_result_without_a_server():
    path = os.path.join(OUT, "snapshot.html")
    page.write_snapshot(here.cloud, page.USER, edited_session(), path)
    with opened("file://" + path) as tab:
        tab.wait_for(DIFFERENCE_IS_SHOWN)
        assert tab.text("#status-title").startswith("Done in ")
        assert "pixels there are equal" in tab.text("#verdict")
        assert tab.evaluate("document.querySelector('#try').hidden")
        stored = here.cloud.object(page.USER, here.session, "edited.jpg")["data"]
        equal(tab.evaluate("document.querySelector('#after').src"), "data:image/jpeg;base64," + base64.b64encode(stored).decode())
        asked = [p["request"]["url"][:80] for method, p in tab.events if method == "Network.requestWillBeSent"]
        assert all(url.startswith(("file://", "data:", "about:")) for url in asked), asked
        tab.screenshot(os.path.join(OUT, "snapshot.png"))


def test_a_snapshot_cannot_be_broken_out_of():
    hostile = "</script><script>document.title = 'broken'</script><!--"
    fields = {"processingStatus": "failed", "errorMessage": hostile}
    here.cloud.create_session(page.USER, "hostile-snapshot", photo_png(), mask_png(), fields)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "snapshot.html")
        page.write_snapshot(here.cloud, page.USER, "hostile-snapshot", path)
        with opened("file://" + path) as tab:
            tab.wait_for_element(".status.failed")
            equal(tab.evaluate("document.title"), "inpaint-worker")
            assert hostile in tab.text("#status-text")


# ---- the page of an audit ----

def test_the_page_of_an_audit_shows_its_pictures_from_a_file_and_sorts():
    with tempfile.TemporaryDirectory() as folder:
        mask = os.path.join(OUT, "mask_auto.png")
        subprocess.run([os.path.join(ROOT, "build", "inpaint-worker"), "audit", "--image", here.photo, "--mask", mask, "--models", MODEL,
                        "--guidance", "30,2", "--steps", "1", "--backend", "cpu", "--out", folder], check=True, capture_output=True)
        with opened("file://" + os.path.join(folder, "index.html")) as tab:
            tab.evaluate("for (const i of document.images) i.loading = 'eager'")  # those out of sight, too
            tab.wait_for("[...document.images].length === 6 && [...document.images].every(i => i.complete)")
            equal(tab.evaluate("[...document.images].filter(i => i.naturalWidth !== 512).length"), 0)
            column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[2].innerText)"
            equal(tab.evaluate(column), ["30", "2"])
            for order in (["2", "30"], ["30", "2"]):
                tab.click("th:nth-child(3) button")
                equal(tab.evaluate(column), order)
            small = tab.box("tbody img")[2]
            tab.click("#native")
            assert small < 300 and tab.box("tbody img")[2] == 512, small
            asked = [p["request"]["url"] for method, p in tab.events if method == "Network.requestWillBeSent"]
            assert asked and all(url.startswith(("file://", "about:")) for url in asked), asked
            tab.screenshot(os.path.join(OUT, "audit.png"))


SUITE = Suite(tests_of(sys.modules[__name__]), everything)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
