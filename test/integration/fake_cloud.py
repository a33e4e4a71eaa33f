"""The local cloud (tools/local_cloud), faulty on demand, with a judge of what the worker writes.

Each request is named after what it does (`claim`, `media:original.jpg`, ...). A rule for a name wraps the call: it may
answer itself, let it happen and hide that, change the store first, or keep silent. What was applied is in the journal;
what a worker must never do is in `violations`. Standard library only.
"""
import fnmatch
import json
import os
import re
import socket
import struct
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tools.local_cloud.cloud import BUCKET, PROJECT, REQUEST_MAX_BYTES, settings_of
from tools.local_cloud.documents import Documents
from tools.local_cloud.objects import Objects
from tools.local_cloud.server import Reply, Server
from tools.local_cloud.values import has_path, set_path, stamp, text_at, value_at

PROBE, PROBE_OBJECTS = "users/inpaint-worker/sessions/probe", "inpaint-worker-probe/"  # what the worker asks for before it is ready
RESET = object()  # instead of an answer, the connection is reset


# ---- what a rule may do: action(request, apply) -> Reply or RESET ----

def answer(status, body=b"", headers=None):
    return lambda request, apply: Reply(status, body, headers)


def rpc_error(code, status, message="on demand"):
    return answer(code, {"error": {"code": code, "message": message, "status": status}})


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


NO_DATABASE = rpc_error(404, "NOT_FOUND", "The database (default) does not exist for project demo Please visit "
                        "https://console.cloud.google.com/datastore/setup?project=demo to add a Cloud Datastore or "
                        "Cloud Firestore database. ")


# ---- the parts of the cloud, watched ----

def name_commit(request):
    try:
        update = json.loads(request.body)["writes"][0]["update"]
        fields = update["fields"]
    except (ValueError, KeyError, IndexError):
        return "unknown"
    if update["name"].endswith(f"/documents/{PROBE}"):
        return "probe-commit"
    names = {"processing": "claim", "completed": "complete", "failed": "fail", "pending": "release"}
    return names.get(text_at(fields, "processingStatus"), "progress")


def name_request(request, uploads):
    """What the request does; None if no worker may make such a request."""
    path = urllib.parse.unquote(request.path)
    method, file = request.method, path.rsplit("/", 1)[1]
    if method == "GET" and path.startswith("/v1/") and path.endswith(f"/documents/{PROBE}"):
        return "probe-get"
    if method == "GET" and re.fullmatch("/storage/v1/b/[^/]+/iam/testIamPermissions", path):
        return "permissions"
    if PROBE_OBJECTS in path:
        file = "probe"
    if path.startswith("/v1/"):
        if method == "POST" and path.endswith("/documents:commit"):
            return name_commit(request)
        if method != "GET" or not re.fullmatch(".*/documents/users/[^/]+/sessions/[^/]+", path):
            return None
        return "get" if "prompt" in request.query.get("mask.fieldPaths", []) else "look"  # for a claim; at the state alone
    if method == "GET" and path == f"/storage/v1/b/{BUCKET}":
        return "bucket"
    if method == "GET" and re.fullmatch("/storage/v1/b/[^/]+/o", path):
        return "list"
    if path.startswith(f"/storage/v1/b/{BUCKET}/o/"):
        what = "media" if request.option("alt") == "media" else "stat"
        return {"DELETE": f"delete:{file}", "GET": f"{what}:{file}"}.get(method)
    if method == "PUT":
        return f"chunk:{uploads[path].name.rsplit('/', 1)[1]}" if path in uploads else "unknown"
    if method == "POST" and path == f"/upload/storage/v1/b/{BUCKET}/o":
        if request.option("uploadType") == "resumable":
            return f"start:{request.option('name').rsplit('/', 1)[1]}"
        if request.option("uploadType") == "multipart":
            if PROBE_OBJECTS.encode() in request.body:
                return "upload:probe"
            return "upload:" + re.search(rb'"name": ?"[^"]*/([^"/]+)"', request.body).group(1).decode()
    return None


class WatchedDocuments(Documents):
    def __init__(self, cloud):
        super().__init__(PROJECT, cloud.lock, databases=("(default)", "eur3-two"))
        self.cloud, self.leases = cloud, set()  # ids written by claims

    def commit(self, request):
        if request.op == "probe-commit":  # it cannot succeed, and so needs no precondition on a time
            return super().commit(request)
        with self.lock:
            writes = json.loads(request.body)["writes"]
            if len(writes) != 1 or "update" not in writes[0]:
                self.cloud.violation(f"a commit of {len(writes)} writes, or of another kind than an update")
            write = writes[0]
            mask, condition = write.get("updateMask", {}).get("fieldPaths"), write.get("currentDocument", {})
            if not mask or list(condition) != ["updateTime"]:
                self.cloud.violation(f"{request.op}: no mask, or a precondition other than updateTime: {condition}")
            name = write["update"]["name"]
            old = self.fields(name[len(self.root) + 1:])
            reply = super().commit(request)
            if reply.status == 200:
                self.judge(request.op, old, write["update"]["fields"])
                self.cloud.note(request, name.rsplit("/", 1)[1])
            return reply

    def judge(self, op, old, new):
        """Records writes that no worker may ever make to a document in its present state."""
        status = text_at(old, "processingStatus")
        lease = text_at(old, "inpaint.lease.id")
        if status in ("completed", "cancelled", "canceled", "deleted"):
            self.cloud.violation(f"{op} of a session that is {status}")
        if op == "claim":
            self.leases.add(text_at(new, "inpaint.lease.id"))
            return
        if op != "fail" and (status != "processing" or lease not in self.leases):
            self.cloud.violation(f"{op} without holding the lease: {status}, {lease}")


class WatchedObjects(Objects):
    def __init__(self, cloud):
        super().__init__(BUCKET, cloud.lock)
        self.cloud = cloud

    def insert(self, request, name, data, meta):
        with self.lock:
            reply = super().insert(request, name, data, meta)
            if request.option("ifGenerationMatch") is None:
                self.cloud.violation(f"an upload of {name} without ifGenerationMatch")
            if "crc32c" not in meta or reply.status == 400:
                self.cloud.violation(f"an upload of {name} with no crc32c, or a wrong one")
            if reply.status == 200:
                self.cloud.note(request, name)
            return reply

    def start(self, request):
        if request.option("ifGenerationMatch") is None:
            self.cloud.violation(f"an upload of {request.option('name')} without ifGenerationMatch")
        return super().start(request)

    def remove(self, request, name):
        with self.lock:
            reply = super().remove(request, name)
            if request.option("ifGenerationMatch") is None:
                self.cloud.violation(f"{name} is deleted without ifGenerationMatch")
            if reply.status == 204:
                self.cloud.note(request, name)
            return reply

    def piece(self, request, path, keep=None):
        if "authorization" in {name.lower() for name in request.headers.keys()}:
            self.cloud.violation("a token sent to the address of an upload session")
        reply = super().piece(request, path, keep)
        if reply.status == 400:
            self.cloud.violation(f"a piece that is refused: {reply.body.decode()}")
        return reply


class FaultyServer(Server):
    def __init__(self, cloud, **more):
        self.cloud = cloud
        super().__init__(body_max=REQUEST_MAX_BYTES, **more)

    def name_of(self, request):
        return self.cloud.name_of(request)

    def refusal(self, request):
        """The answer to a request that is not to be carried out, whatever the rules say; or None."""

    def reply_to(self, request):
        request.op = self.name_of(request)
        refused = self.refusal(request)
        if refused:
            return refused
        if not request.op:
            self.cloud.violation(f"{request.method} {request.path}")
            return Reply(404, b"Not Found\n")
        action = self.cloud.action_for(request.op)
        return action(request, super().reply_to) if action else super().reply_to(request)

    def answer(self, connection, reply):
        if reply is RESET:
            connection.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close_connection = True
            connection.connection.close()
        elif getattr(reply, "drops", False):
            connection.send_head(reply)
            self.trickle(connection, reply.body)
        elif getattr(reply, "cut", None) is not None:
            connection.send_head(reply)
            connection.wfile.write(reply.body[:reply.cut])
            connection.wfile.flush()
            connection.close_connection = True
        else:
            connection.send(reply)

    def trickle(self, connection, body):
        for i in range(len(body)):
            connection.wfile.write(body[i:i + 1])
            connection.wfile.flush()
            if self.cloud.closing.wait(0.3):
                return


class Cloud:
    """Behind the switches for emulators: no TLS, no tokens. production.py has the same cloud without any switch."""

    def __init__(self):
        self.lock = threading.RLock()
        self.rules = []
        self.journal = []    # (op, what) of every request that was carried out
        self.violations = []
        self.closing = threading.Event()
        self.documents, self.objects = WatchedDocuments(self), WatchedObjects(self)
        self.server = self.make_server()
        self.documents.serve(self.server)
        self.objects.serve(self.server)
        self.chunk = self.objects.piece
        self.env = self.settings()

    def make_server(self):
        return FaultyServer(self)

    def settings(self):
        """Of a worker in this cloud."""
        return settings_of(self.server)

    def name_of(self, request):
        return name_request(request, self.objects.uploads)

    def push_token(self, ahead_seconds=0):
        """What a push to a worker in this cloud carries; None: nothing."""

    def secrets_in(self, text):
        """-> what a log should not hold."""
        return []

    def stop(self):
        self.closing.set()
        self.server.stop()

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
        self.documents.put(f"users/u1/sessions/{session}", fields)

    def touch(self, session, **paths):
        """Sets fields by path ("__" for "."), as the app does, without regard to the worker."""
        with self.lock:
            fields = self.fields(session)
            for path, value in paths.items():
                set_path(fields, path.replace("__", "."), value)
            self.put(session, fields)

    def delete(self, session):
        self.documents.remove(f"users/u1/sessions/{session}")

    def fields(self, session):
        return self.documents.fields(f"users/u1/sessions/{session}")

    def put_object(self, name, data, **more):
        return self.objects.put(name, data, **more)

    def count(self, op):
        with self.lock:
            return sum(fnmatch.fnmatch(o, op) for o, _ in self.journal)

    # ---- for the parts ----

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


__all__ = [name for name in dir() if not name.startswith("_")]
_ = (has_path, stamp, value_at)  # the vocabulary of the tests
