"""The part of Firestore and Cloud Storage that the worker uses: in memory, strict, and faulty on demand.

Each request is named after what it does (`claim`, `media:original.jpg`, ...). A rule for a name wraps the call: it may
answer itself, let it happen and hide that, change the store first, or keep silent. What was applied is in the journal;
what a worker must never do is in `violations`. Standard library only.
"""
import base64
import copy
import fnmatch
import hashlib
import http.server
import json
import re
import socket
import struct
import threading
import time
import urllib.parse

DOCUMENTS = "projects/demo/databases/(default)/documents"
BUCKET = "demo-bucket"
RESET = object()  # instead of an answer, the connection is reset


class Request:
    def __init__(self, method, target, headers, body):
        path, _, query = target.partition("?")
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.query = urllib.parse.parse_qs(query, keep_blank_values=True)
        self.op = "unknown"


class Reply:
    def __init__(self, status, body=b"", headers=None, cut=None):
        self.status, self.headers, self.cut, self.drops = status, dict(headers or {}), cut, False
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


# ---- what a rule may do: action(request, apply) -> Reply or RESET ----

def answer(status, body=b"", headers=None):
    return lambda request, apply: Reply(status, body, headers)


def rpc_error(code, status):
    return answer(code, {"error": {"code": code, "message": "on demand", "status": status}})


def lose(request, apply):
    """The request never arrives."""
    return RESET


def applied(action):
    """The request is carried out, but answered with something else."""
    def act(request, apply):
        apply(request)
        return action(request, apply)
    return act


def before(change):
    def act(request, apply):
        change()
        return apply(request)
    return act


def after(change):
    def act(request, apply):
        reply = apply(request)
        change()
        return reply
    return act


def mangled(change):
    """The right answer, modified by change(reply)."""
    def act(request, apply):
        reply = apply(request)
        change(reply)
        return reply
    return act


# ---- values ----

def crc32c(data, crc=0, table=[]):  # noqa: B006 (the table is made once)
    if not table:
        for n in range(256):
            for _ in range(8):
                n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
            table.append(n)
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return base64.b64encode(struct.pack(">I", crc ^ 0xFFFFFFFF)).decode()


def stamp(us):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(us // 1000000)) + f".{us % 1000000:06d}Z"


def value_at(fields, path):
    for i, name in enumerate(path.split(".")):
        fields = fields if i == 0 else fields.get("mapValue", {}).get("fields", {})
        fields = fields.get(name, {})
    return fields


def text_at(fields, path):
    return value_at(fields, path).get("stringValue")


def has_path(fields, path):
    return value_at(fields, path) != {}


def set_path(fields, path, value):
    """Sets a field; the value None deletes it."""
    *parents, last = path.split(".")
    for name in parents:
        if "mapValue" not in fields.get(name, {}):
            if value is None:
                return
            fields[name] = {"mapValue": {"fields": {}}}
        fields = fields[name]["mapValue"].setdefault("fields", {})
    if value is None:
        fields.pop(last, None)
    else:
        fields[last] = value


class Cloud:
    def __init__(self):
        self.lock = threading.RLock()
        self.documents = {}  # name -> [fields, updateTime in us]
        self.objects = {}    # name -> dict
        self.uploads = {}    # resumable sessions
        self.rules = []
        self.journal = []    # (op, what) of every request that was carried out
        self.violations = []
        self.leases = set()  # ids written by claims
        self.closing = threading.Event()
        self.clock = int(time.time() * 1e6)
        self.generation = 1700000000000000
        self.servers = [self.start(self.firestore), self.start(self.storage)]
        firestore, storage = (s.server_port for s in self.servers)
        self.env = {"FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{firestore}", "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{storage}",
                    "FIREBASE_STORAGE_BUCKET": BUCKET, "GOOGLE_CLOUD_PROJECT": "demo"}

    def stop(self):
        self.closing.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def on(self, op, action, times=1, skip=0):
        with self.lock:
            self.rules.append([op, action, times, skip])

    def hang(self, seconds):
        """There is no answer for this many seconds, then the connection is reset."""
        def act(request, apply):
            self.closing.wait(seconds)
            return RESET
        return act

    def late(self, seconds):
        """The request is carried out, but only after this many seconds."""
        def act(request, apply):
            self.closing.wait(seconds)
            return apply(request)
        return act

    # ---- for tests: what the cloud holds ----

    def put(self, session, fields):
        with self.lock:
            self.documents[f"{DOCUMENTS}/users/u1/sessions/{session}"] = [copy.deepcopy(fields), self.tick()]

    def touch(self, session, **paths):
        """Sets fields by path ("__" for "."), as the app does, without regard to the worker."""
        with self.lock:
            entry = self.documents[f"{DOCUMENTS}/users/u1/sessions/{session}"]
            for path, value in paths.items():
                set_path(entry[0], path.replace("__", "."), value)
            entry[1] = self.tick()

    def delete(self, session):
        with self.lock:
            self.documents.pop(f"{DOCUMENTS}/users/u1/sessions/{session}", None)

    def fields(self, session):
        with self.lock:
            entry = self.documents.get(f"{DOCUMENTS}/users/u1/sessions/{session}")
            return copy.deepcopy(entry[0]) if entry else None

    def put_object(self, name, data, **more):
        with self.lock:
            return self.store(name, data, more)

    def count(self, op):
        with self.lock:
            return sum(fnmatch.fnmatch(o, op) for o, _ in self.journal)

    # ---- plumbing ----

    def tick(self):
        self.clock = max(self.clock + 1, int(time.time() * 1e6))
        return self.clock

    def note(self, request, what=""):
        self.journal.append((request.op, what))

    def violation(self, text):
        self.violations.append(text)

    def action_for(self, op):
        with self.lock:
            for rule in self.rules:
                if not fnmatch.fnmatch(op, rule[0]) or rule[2] == 0:
                    continue
                if rule[3] > 0:
                    rule[3] -= 1
                    continue
                rule[2] -= 1
                return rule[1]
        return None

    def start(self, service):
        cloud = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = 1 << 16

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, self.headers, body)
                apply = service(request)
                action = cloud.action_for(request.op)
                reply = action(request, apply) if action else apply(request)
                if reply is RESET:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    self.connection.close()
                else:
                    self.answer(reply)

            def answer(self, reply):
                headers = {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **reply.headers}
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.drops:
                    return self.trickle(reply.body)
                self.wfile.write(reply.body if reply.cut is None else reply.body[:reply.cut])
                self.wfile.flush()
                self.close_connection = reply.cut is not None

            def trickle(self, body):
                for i in range(len(body)):
                    self.wfile.write(body[i:i + 1])
                    self.wfile.flush()
                    if cloud.closing.wait(0.3):
                        return

            def handle(self):
                try:
                    super().handle()
                except (OSError, ValueError):  # the worker was killed, or we closed the connection ourselves
                    pass

            def finish(self):
                try:
                    super().finish()
                except (OSError, ValueError):
                    pass

            def log_message(self, *_):
                pass

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    # ---- Firestore ----

    def firestore(self, request):
        path = urllib.parse.unquote(request.path)
        if request.method == "POST" and path == f"/v1/{DOCUMENTS}:commit":
            request.op = self.name_commit(request)
            return self.commit
        if request.method == "GET" and re.fullmatch(f"/v1/{re.escape(DOCUMENTS)}/users/[^/]+/sessions/[^/]+", path):
            request.op = "get"
            return self.get
        self.violation(f"Firestore: {request.method} {request.path}")
        return lambda r: Reply(404, b"Not Found\n")

    @staticmethod
    def name_commit(request):
        try:
            fields = json.loads(request.body)["writes"][0]["update"]["fields"]
        except (ValueError, KeyError, IndexError):
            return "unknown"
        names = {"processing": "claim", "completed": "complete", "failed": "fail", "pending": "release"}
        return names.get(text_at(fields, "processingStatus"), "progress")

    def get(self, request):
        name = urllib.parse.unquote(request.path)[len("/v1/"):]
        mask = request.query.get("mask.fieldPaths", [])
        with self.lock:
            if name not in self.documents:
                return Reply(404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}})
            fields, at = self.documents[name]
            document = {"name": name, "createTime": stamp(at), "updateTime": stamp(at)}
            shown = {}
            for path in mask:
                if has_path(fields, path):
                    set_path(shown, path, copy.deepcopy(value_at(fields, path)))
            if shown or not mask:
                document["fields"] = shown if mask else copy.deepcopy(fields)
            return Reply(200, document)

    def commit(self, request):
        with self.lock:
            body = json.loads(request.body)
            if len(body["writes"]) != 1 or "currentDocument" not in body["writes"][0]:
                self.violation(f"a commit of {len(body['writes'])} writes, or without a precondition")
                return Reply(400, {"error": {"code": 400, "message": "?", "status": "INVALID_ARGUMENT"}})
            write = body["writes"][0]
            name, mask, condition = write["update"]["name"], write["updateMask"]["fieldPaths"], write["currentDocument"]
            entry = self.documents.get(name)
            if not mask or "updateTime" not in condition:
                self.violation(f"{request.op}: no mask, or a precondition other than updateTime: {condition}")
            if not entry or stamp(entry[1]) != condition.get("updateTime"):
                return Reply(400, {"error": {"code": 400, "message": "stale", "status": "FAILED_PRECONDITION"}})
            self.judge(request.op, entry[0], write["update"]["fields"])
            fields = copy.deepcopy(entry[0])
            for path in mask:
                new = value_at(write["update"]["fields"], path)
                set_path(fields, path, new if new != {} else None)
            if fields != entry[0]:  # a write that changes nothing keeps updateTime
                self.documents[name] = [fields, self.tick()]
            self.note(request, name.rsplit("/", 1)[1])
            at = stamp(self.documents[name][1])
            return Reply(200, {"writeResults": [{"updateTime": at}], "commitTime": stamp(self.tick())})

    def judge(self, op, old, new):
        """Records writes that no worker may ever make to a document in its present state."""
        status = text_at(old, "processingStatus")
        lease = text_at(old, "inpaint.lease.id")
        if status in ("completed", "cancelled"):
            self.violation(f"{op} of a session that is {status}")
        if op == "claim":
            self.leases.add(text_at(new, "inpaint.lease.id"))
            return
        if op != "fail" and (status != "processing" or lease not in self.leases):
            self.violation(f"{op} without holding the lease: {status}, {lease}")

    # ---- Cloud Storage ----

    def storage(self, request):
        path = request.path
        found = re.fullmatch(f"/storage/v1/b/{BUCKET}/o/([^/]+)", path)
        if found:
            name = urllib.parse.unquote(found.group(1))
            file = name.rsplit("/", 1)[1]
            if request.method == "DELETE":
                request.op = f"delete:{file}"
                return lambda r: self.remove(r, name)
            if request.query.get("alt") == ["media"]:
                request.op = f"media:{file}"
                return lambda r: self.media(r, name)
            request.op = f"stat:{file}"
            return lambda r: self.stat(name)
        if request.method == "POST" and path == f"/upload/storage/v1/b/{BUCKET}/o":
            kind = request.query.get("uploadType")
            if kind == ["multipart"]:
                meta, _, data = self.parts(request)
                request.op = f"upload:{meta['name'].rsplit('/', 1)[1]}"
                return lambda r: self.insert(r, meta["name"], data, meta)
            if kind == ["resumable"]:
                name = request.query["name"][0]
                request.op = f"start:{name.rsplit('/', 1)[1]}"
                return lambda r: self.start_upload(r, name)
        if request.method == "PUT" and path in self.uploads:
            request.op = f"chunk:{self.uploads[path]['name'].rsplit('/', 1)[1]}"
            return lambda r: self.chunk(r, path)
        if request.method != "PUT":
            self.violation(f"Storage: {request.method} {request.path}")
        return lambda r: Reply(404, b"Not Found")

    @staticmethod
    def parts(request):
        boundary = re.search(r'boundary="?([^";]+)', request.headers["Content-Type"]).group(1).encode()
        _, first, rest = request.body.split(b"--" + boundary, 2)
        meta = json.loads(first.split(b"\r\n\r\n", 1)[1])
        head, data = rest.split(b"\r\n\r\n", 1)
        return meta, head, data[:data.rindex(b"\r\n--" + boundary + b"--")]

    def store(self, name, data, meta):
        self.generation += 1000003
        crc = meta["crc32c"] if "crc32c" in meta else crc32c(data)
        self.objects[name] = {"data": data, "name": name, "generation": str(self.generation), "size": str(len(data)),
                              "metageneration": "1", "contentType": "application/octet-stream",
                              "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(), **meta, "crc32c": crc}
        return self.objects[name]

    @staticmethod
    def shown(o):
        return {k: v for k, v in o.items() if k != "data" and v is not None}

    def refused(self, code, reason):
        return Reply(code, {"error": {"code": code, "message": reason, "errors": [{"domain": "global", "reason": reason}]}})

    def stat(self, name):
        with self.lock:
            o = self.objects.get(name)
            return Reply(200, self.shown(o)) if o else self.refused(404, "notFound")

    def media(self, request, name):
        with self.lock:
            o = self.objects.get(name)
            wanted = request.query.get("generation", [None])[0]
            if not o or (wanted and wanted != o["generation"]):
                return Reply(404, f"No such object: {BUCKET}/{name}".encode(), {"Content-Type": "text/plain"})
            data, headers = o["data"], {"Content-Type": o["contentType"], "x-goog-generation": o["generation"]}
            hashes = [f"crc32c={o['crc32c']}"] * (o["crc32c"] is not None) + [f"md5={o['md5Hash']}"] * (o["md5Hash"] is not None)
            if hashes:
                headers["x-goog-hash"] = ",".join(hashes)
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
            if not found:
                return Reply(200, data, headers)
            first = int(found.group(1))
            if first >= len(data):
                return Reply(416, b"")
            last = min(int(found.group(2) or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return Reply(206, data[first:last + 1], headers)

    def insert(self, request, name, data, meta):
        with self.lock:
            there = self.objects.get(name, {}).get("generation", "0")
            if request.query.get("ifGenerationMatch") is None:
                self.violation(f"an upload of {name} without ifGenerationMatch")
            elif request.query["ifGenerationMatch"] != [there]:
                return self.refused(412, "conditionNotMet")
            if len(data) < 1 << 20 and meta.get("crc32c") != crc32c(data):
                self.violation(f"an upload of {name} with a wrong crc32c")
                return self.refused(400, "invalid")
            self.note(request, name)
            return Reply(200, self.shown(self.store(name, data, meta)))

    def remove(self, request, name):
        with self.lock:
            o = self.objects.get(name)
            if not o:
                return self.refused(404, "notFound")
            if request.query.get("ifGenerationMatch") != [o["generation"]]:
                return self.refused(412, "conditionNotMet")
            del self.objects[name]
            self.note(request, name)
            return Reply(204)

    def start_upload(self, request, name):
        with self.lock:
            path = f"/session/{len(self.uploads)}"
            self.uploads[path] = {"name": name, "meta": json.loads(request.body), "query": request.query, "data": b"",
                                  "size": int(request.headers["X-Upload-Content-Length"])}
            there = self.objects.get(name, {}).get("generation", "0")
            if request.query.get("ifGenerationMatch") != [there]:
                return self.refused(412, "conditionNotMet")
            return Reply(200, b"", {"Location": self.env["STORAGE_EMULATOR_HOST"] + path})

    def chunk(self, request, path, keep=None):
        """keep: how many of the received bytes are stored; the rest is discarded."""
        with self.lock:
            u = self.uploads[path]
            if "authorization" in {k.lower() for k in request.headers.keys()}:
                self.violation("a token sent to the address of an upload session")
            found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+)", request.headers["Content-Range"])
            if int(found.group(3)) != u["size"]:
                self.violation("a piece of another size")
            if found.group(1) is not None:
                first = int(found.group(1))
                if first > len(u["data"]) or int(found.group(2)) - first + 1 != len(request.body):
                    self.violation("a piece that leaves a gap or lies about its length")
                    return self.refused(400, "invalid")
                u["data"] = (u["data"][:first] + request.body)[:keep]
            if len(u["data"]) < u["size"]:
                return Reply(308, b"", {"Range": f"bytes=0-{len(u['data']) - 1}"} if u["data"] else {})
            request.query = u["query"]
            return self.insert(request, u["name"], u["data"], u["meta"])
