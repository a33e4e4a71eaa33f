"""A page in the browser: what the worker makes of a photo, and a brush to try it on one's own.

`start_page` serves it on loopback, `write_snapshot` writes it with one finished session as a file that needs no server.
page.html, page.css, brush.js and page.js are put together here; nothing is loaded from elsewhere, and the policy that is sent
along (Content-Security-Policy) allows nothing else. Only a page of this server can create a session: the Host header is checked
(server.py), and a POST needs a header that a browser sends to no other site without asking it first.
"""
import base64
import binascii
import hashlib
import json
import os
import secrets
import subprocess
import tempfile
import threading
import time

from .pictures import content_type
from .server import Reply, Server
from .worker import fields_of

HERE = os.path.dirname(os.path.abspath(__file__))
RESAVE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "resave")
RESAVE_SECONDS = 30
USER = "demo-user"
FILES = ("original.jpg", "mask_auto.png", "edited.jpg", "preview.jpg")
RESAVED = "resaved.jpg"  # made here, not stored: test/tools/resave.c tells what it is good for
UPLOAD_MAX_BYTES = 12 << 20
SESSIONS_MAX = 200  # everything stays in memory
LOG_LINES = 60
CUSTOM_HEADER = "X-Local-Cloud"
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


class Refusal(Exception):
    """An answer that says what is wrong and what to do."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def hash_source(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def put_together():
    """-> (the page, its policy): the style and the script are allowed by their hashes."""
    style, script = "\n" + read("page.css"), "\n" + read("brush.js") + "\n" + read("page.js")
    html = read("page.html").replace("/* page.css */", style).replace("/* page.js */", script)
    policy = (f"default-src 'none'; script-src {hash_source(script)}; style-src {hash_source(style)}; img-src 'self' data:; "
              "connect-src 'self'; base-uri 'none'; form-action 'none'")
    return html, policy


def parse_log_line(line):
    """-> time, severity, message, and the other fields of the line."""
    fields = fields_of(line)
    known = {name: str(fields.pop(name, default)) for name, default in (("time", ""), ("severity", "DEFAULT"), ("message", ""))}
    return {**known, "fields": {name: value for name, value in fields.items() if not name.startswith("logging.googleapis.com/")}}


class Resaver:
    """original.jpg, saved as the worker saves edited.jpg; kept for the pictures asked for last."""
    KEPT = 8

    def __init__(self):
        self.lock, self.made = threading.Lock(), {}

    def file(self, cloud, user, session):
        inputs = [cloud.object(user, session, name) for name in ("original.jpg", "mask_auto.png")]
        if None in inputs:
            return None
        key = (user, session, *(o["generation"] for o in inputs))
        with self.lock:
            if key not in self.made:
                while len(self.made) >= self.KEPT:
                    del self.made[next(iter(self.made))]
                self.made[key] = self.make(*(o["data"] for o in inputs))
            return self.made[key]

    @staticmethod
    def make(photo, mask):
        if not os.access(RESAVE, os.X_OK):
            raise Refusal(503, "build/resave is not there: run `make build/resave` to see the difference")
        with tempfile.TemporaryDirectory() as folder:
            for name, data in (("original.jpg", photo), ("mask_auto.png", mask)):
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(data)
            try:
                subprocess.run([RESAVE, folder], check=True, capture_output=True, timeout=RESAVE_SECONDS)
                with open(os.path.join(folder, RESAVED), "rb") as f:
                    return f.read()
            except (subprocess.SubprocessError, OSError) as e:
                raise Refusal(422, "the photo or its mask cannot be read, so there is no difference to show") from e


def state_of(cloud, user, session, demo=None):
    """What the page shows, as JSON; times are seconds since 1970."""
    objects, document, deliveries = {}, None, []
    if session:
        document, deliveries = cloud.document(user, session), cloud.deliveries(user, session)
        found = {name: cloud.object(user, session, name) for name in FILES}
        objects = {name: {"generation": o["generation"], "size": len(o["data"])} for name, o in found.items() if o}
    return {"session": session, "demo": demo, "now": time.time(), "document": document, "objects": objects,
            "deliveries": deliveries, "worker": cloud.worker_state(),
            "log": [parse_log_line(line) for line in cloud.log_lines(LOG_LINES)]}


class Page:
    def __init__(self, cloud, user, session):
        self.cloud, self.user, self.demo, self.latest = cloud, user, session, session
        self.created, self.lock, self.resaver = 0, threading.Lock(), Resaver()

    def serve(self, server):
        server.route("GET", "/", self.guarded(self.show))
        server.route("GET", "/state", self.guarded(self.state))
        server.route("GET", "/object/([^/]+)/([^/]+)", self.guarded(self.object))
        server.route("POST", "/sessions", self.guarded(self.create))

    @staticmethod
    def guarded(handler):
        def answer(request):
            try:
                reply = handler(request)
            except Refusal as e:
                reply = Reply(e.status, {"error": str(e)})
            except ValueError as e:  # an id of another form
                reply = Reply(404, {"error": str(e)})
            reply.headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
                             "Cross-Origin-Resource-Policy": "same-origin", **reply.headers}
            return reply
        return answer

    def show(self, _):
        html, policy = put_together()  # each time, so that a change of the page is seen at once
        return Reply(200, html, {"Content-Type": "text/html; charset=utf-8",
                                 "Content-Security-Policy": policy + "; frame-ancestors 'none'"})

    def state(self, request):
        has_photo = self.demo and self.cloud.object(self.user, self.demo, "original.jpg")
        session = request.option("session") or self.latest
        return Reply(200, state_of(self.cloud, self.user, session, self.demo if has_photo else None))

    def object(self, request):
        session, name = request.parts
        if name == RESAVED:
            data = self.resaver.file(self.cloud, self.user, session)
        else:
            found = self.cloud.object(self.user, session, name) if name in FILES else None
            data = found and found["data"]
        if data is None:
            raise Refusal(404, f"there is no {name} in this session")
        # not the type that the object was stored with, for that may be one that a browser runs
        return Reply(200, data, {"Content-Type": content_type(data)})

    def create(self, request):
        photo, mask = pictures_of(request)
        with self.lock:
            if self.created >= SESSIONS_MAX:
                raise Refusal(429, f"this demo has kept {SESSIONS_MAX} photos in memory: start `make demo` again")
            self.created += 1
        session = f"try-{secrets.token_hex(6)}"
        self.cloud.create_session(self.user, session, photo, mask)
        self.cloud.publish(self.user, session)
        self.latest = session
        return Reply(201, {"session": session})


def pictures_of(request):
    """-> (photo, mask) of a POST that comes from our own page."""
    if CUSTOM_HEADER not in request.headers:
        raise Refusal(403, f"a session can only be created from this page, which sends the header {CUSTOM_HEADER}")
    if (request.headers.get("Content-Type") or "").split(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "the body must have the type application/json")
    try:
        body = json.loads(request.body)
        photo, mask = (base64.b64decode(body[name], validate=True) for name in ("photo", "mask"))
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise Refusal(400, 'the body must be {"photo": "<base64>", "mask": "<base64>"}') from None
    if not content_type(photo).startswith("image/"):
        raise Refusal(400, "the photo must be a JPEG, PNG, WebP or HEIC file")
    if content_type(mask) != "image/png":
        raise Refusal(400, "the mask must be a PNG file")
    return photo, mask


def start_page(cloud, port=0, user=USER, session=None):
    """-> the running server. `session` is shown until another one is made here, and its photo is the demo photo."""
    server = Server(port, UPLOAD_MAX_BYTES)
    Page(cloud, user, session).serve(server)
    return server


def write_snapshot(cloud, user, session, path):
    """The page with one session as it is now, in one file, without the part for uploads."""
    def data_url(data):
        return f"data:{content_type(data)};base64,{base64.b64encode(data).decode()}"

    found = {name: cloud.object(user, session, name) for name in FILES}
    files = {name: data_url(o["data"]) for name, o in found.items() if o}
    try:
        resaved = Resaver().file(cloud, user, session)
    except Refusal:
        resaved = None
    if resaved:
        files[RESAVED] = data_url(resaved)
    embedded = json.dumps({"state": state_of(cloud, user, session), "files": files}).replace("<", "\\u003c")
    html, policy = put_together()
    html = html.replace("<!-- policy -->", f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    html = html.replace('id="embedded">null<', f'id="embedded">{embedded}<')
    with open(path, "w", encoding="utf-8") as f:
        f.write(html)
