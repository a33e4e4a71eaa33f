"""Cloud Storage: objects of one bucket in memory behind its JSON API: list, metadata, media, three kinds of uploads, delete."""
import base64
import gzip
import hashlib
import json
import re
import secrets
import struct
import threading
import time

from .server import TEXT, Reply

POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
TABLE = []
WRITABLE = ("cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "metadata")
PIECE_BYTES = 256 << 10  # each piece of an upload but the last is a multiple of it
PERMISSIONS = ("storage.objects.get", "storage.objects.create", "storage.objects.delete", "storage.objects.list")  # what a caller has here
PAGE_MAX = 1000  # objects of one answer to a list
UPLOADS_MAX = 100  # the oldest is forgotten, as after a week by Cloud Storage
CONDITION = {"ifGenerationMatch": lambda there, wanted: there.get("generation", "0") == wanted,
             "ifGenerationNotMatch": lambda there, wanted: there.get("generation", "0") != wanted,
             "ifMetagenerationMatch": lambda there, wanted: there.get("metageneration", "0") == wanted}


def crc32c(data):
    """As Cloud Storage sends it: big-endian in base64."""
    if not TABLE:
        for n in range(256):
            for _ in range(8):
                n = n >> 1 ^ (POLYNOMIAL if n & 1 else 0)
            TABLE.append(n)
    table, crc = TABLE, 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return base64.b64encode(struct.pack(">I", crc ^ 0xFFFFFFFF)).decode()


def refused(code, reason, message=None):
    return Reply(code, {"error": {"code": code, "message": message or reason,
                                  "errors": [{"domain": "global", "reason": reason, "message": message or reason}]}})


class Upload:
    """A resumable upload; `size` is None until a piece tells it, `reply` until the object is stored."""

    def __init__(self, name, meta, query, size):
        self.name, self.meta, self.query, self.size, self.data, self.reply = name, meta, query, size, b"", None


class Objects:
    def __init__(self, bucket, lock=None):
        self.bucket, self.url = bucket, ""
        self.lock = lock or threading.RLock()
        self.stored = {}   # name -> its metadata as sent, and `data`
        self.uploads = {}  # path of the session -> Upload
        self.generation = int(time.time() * 1e6)
        self.deleted = False  # the whole bucket

    def serve(self, server):
        """Adds the routes of Cloud Storage to a server."""
        self.url = server.url
        bucket = "(?:/storage/v1)?/b/([^/]+)"  # without it, as Google's client for Node asks an emulator
        server.route("GET", bucket, self.within(self.describe))
        server.route("GET", bucket + "/o", self.within(self.list))
        server.route("GET", bucket + "/o/([^/]+)",
                     self.within(lambda r, name: (self.media if r.option("alt") == "media" else self.stat)(r, name)))
        server.route("GET", f"/download{bucket}/o/([^/]+)", self.within(self.media))  # as Google's clients for Python ask
        server.route("DELETE", bucket + "/o/([^/]+)", self.within(self.remove))
        server.route("POST", f"/upload{bucket}/o", self.within(self.upload))
        server.route("GET", bucket + "/iam/testIamPermissions", self.within(self.permissions))
        server.route("PUT", "/upload/session/[0-9a-f]+", lambda r: self.piece(r, r.path))

    def within(self, serve):
        """The handler of a route whose first part is the bucket."""
        def handle(request):
            if request.parts[0] == self.bucket and not self.deleted:
                return serve(request, *request.parts[1:])
            message = "The specified bucket does not exist."
            return Reply(404, message, TEXT) if request.option("alt") == "media" else refused(404, "notFound", message)
        return handle

    # ---- for the owner of the cloud ----

    def put(self, name, data, **meta):
        """Stores an object whatever is there; meta replaces what would be computed, and None leaves it out."""
        meta = meta if "crc32c" in meta else {**meta, "crc32c": crc32c(data)}  # slow, so outside the lock
        with self.lock:
            return self.store(name, data, meta)

    def find(self, name):
        with self.lock:
            return self.stored.get(name)

    # ---- the calls ----

    def permissions(self, request):
        asked = request.query.get("permissions", [])
        return Reply(200, {"kind": "storage#testIamPermissionsResponse",
                           "permissions": [name for name in asked if name in PERMISSIONS]})

    def describe(self, request):
        return shown({"kind": "storage#bucket", "name": self.bucket, "id": self.bucket}, request)

    def list(self, request):
        """Objects below a prefix in the order of their names, a page at a time; the token is the last name of the page before."""
        prefix, after = request.option("prefix") or "", request.option("pageToken") or ""
        fields = re.fullmatch(r"items\(([\w,]+)\),nextPageToken", request.option("fields") or "")
        names = fields.group(1).split(",") if fields else []
        with self.lock:
            found = sorted(name for name in self.stored if name.startswith(prefix) and name > after)
            page = found[:min(int(request.option("maxResults") or PAGE_MAX), PAGE_MAX)]
            items = [metadata(self.stored[name], names) for name in page]
        return Reply(200, {"kind": "storage#objects"} | ({"items": items} if items else {}) |
                     ({"nextPageToken": page[-1]} if len(page) < len(found) else {}))

    def stat(self, request, name):
        with self.lock:
            return self.checked(request, name) or shown(self.stored[name], request)

    def media(self, request, name):
        with self.lock:
            refusal = self.checked(request, name)
            if refusal:
                return refusal if refusal.status != 404 else Reply(404, f"No such object: {self.bucket}/{name}", TEXT)
            o = self.stored[name]
        data, headers = o["data"], {"Content-Type": o["contentType"], "x-goog-generation": o["generation"]}
        hashes = [f"{label}={o[key]}" for label, key in (("crc32c", "crc32c"), ("md5", "md5Hash")) if o[key] is not None]
        if hashes:
            headers["x-goog-hash"] = ",".join(hashes)
        if (o.get("contentEncoding") or "").lower() == "gzip":
            if "gzip" in (request.headers.get("Accept-Encoding") or ""):
                headers["Content-Encoding"] = "gzip"
            else:
                return Reply(200, unpacked(data), {**headers, "Warning": "214 UploadServer gunzipped"})
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        if not found:
            return Reply(200, data, headers)
        first = int(found.group(1))
        if first >= len(data):
            return Reply(416, b"")
        last = min(int(found.group(2) or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return Reply(206, data[first:last + 1], headers)

    def remove(self, request, name):
        with self.lock:
            refusal = self.checked(request, name)
            if refusal:
                return refusal
            del self.stored[name]
            return Reply(204)

    def upload(self, request):
        kind = request.option("uploadType")
        try:
            if kind == "media":
                return self.insert(request, request.query["name"][0], request.body,
                                   {"contentType": request.headers.get("Content-Type") or "application/octet-stream"})
            if kind == "multipart":
                meta, data = parts(request)
                return self.insert(request, request.option("name") or meta["name"], data, meta)
            if kind == "resumable":
                return self.start(request)
        except (ValueError, KeyError, AttributeError, TypeError) as e:
            return refused(400, "invalid", f"the upload is not understood: {e!r:.200}")
        return refused(400, "invalid", "uploadType is media, multipart or resumable")

    def insert(self, request, name, data, meta):
        """Stores what was uploaded if precondition and checksums allow it."""
        crc, md5 = crc32c(data), base64.b64encode(hashlib.md5(data).digest()).decode()
        with self.lock:
            refusal = self.condition(request, name)
            if refusal:
                return refusal
            if not all(isinstance(v, str) for v in meta.get("metadata", {}).values()):
                return refused(400, "invalid", "the values of metadata are texts")
            if meta.get("crc32c", crc) != crc or meta.get("md5Hash", md5) != md5:
                return refused(400, "invalid", f"the checksum does not fit the {len(data)} bytes of {name}")
            own = {key: meta[key] for key in WRITABLE if key in meta}
            return shown(self.store(name, data, {**own, "crc32c": crc, "md5Hash": md5}), request)

    def start(self, request):
        meta = json.loads(request.body or b"{}")
        name = request.option("name") or meta["name"]
        size = request.headers.get("X-Upload-Content-Length")
        with self.lock:
            refusal = self.condition(request, name)
            if refusal:
                return refusal
            while len(self.uploads) >= UPLOADS_MAX:
                del self.uploads[next(iter(self.uploads))]
            path = f"/upload/session/{secrets.token_hex(16)}"
            self.uploads[path] = Upload(name, meta, request.query, int(size) if size else None)
            return Reply(200, b"", {"Location": self.url + path})

    def piece(self, request, path, keep=None):
        """keep: how many of the bytes received so far are stored; the rest is discarded."""
        with self.lock:
            upload = self.uploads.get(path)
            if not upload:
                return refused(404, "notFound")
            if upload.reply:
                return upload.reply
            problem = take_piece(upload, request, keep)
            if problem:
                return refused(400, "invalid", problem)
            if upload.size is None or len(upload.data) < upload.size:
                return Reply(308, b"", {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {})
            request.query = upload.query
            reply = self.insert(request, upload.name, upload.data, upload.meta)
            upload.data, upload.reply = b"", reply
            if reply.status != 200:
                del self.uploads[path]
            return reply

    # ---- what they share ----

    def condition(self, request, name):
        """A refusal where the generation there is not one that the request allows."""
        there = self.stored.get(name, {})
        for key, holds in CONDITION.items():
            wanted = request.option(key)
            if wanted is not None and not wanted.isdecimal():
                return refused(400, "invalid", f"{key} is a number")
            if wanted is not None and not holds(there, wanted):
                return refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
        return None

    def checked(self, request, name):
        """A refusal where the object, or the generation asked for, is not there, or not allowed by the precondition."""
        wanted = request.option("generation")
        if name not in self.stored or wanted not in (None, self.stored[name]["generation"]):
            return refused(404, "notFound", f"No such object: {self.bucket}/{name}")
        return self.condition(request, name)

    def store(self, name, data, meta):
        self.generation = max(self.generation + 1, int(time.time() * 1e6))
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        self.stored[name] = {"data": data, "name": name, "bucket": self.bucket, "generation": str(self.generation),
                             "metageneration": "1", "size": str(len(data)), "md5Hash": md5,
                             "contentType": "application/octet-stream", **meta}
        return self.stored[name]


def shown(o, request):
    """The metadata of an object, or those that the request names in `fields`."""
    return Reply(200, metadata(o, [name for name in (request.option("fields") or "").split(",") if name]))


def metadata(o, names):
    """What an answer says of an object: these names, or all where there are none."""
    return {key: value for key, value in o.items() if key != "data" and value is not None and (not names or key in names)}


def unpacked(data):
    """As Cloud Storage sends a packed object to a caller that does not accept gzip."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError):
        return data


def take_piece(upload, request, keep):
    """Adds the body to an upload; a body without a place only asks. -> what is wrong with it, or None."""
    if "Content-Range" not in request.headers and not upload.data:  # the whole object at once
        upload.size, upload.data = len(request.body), request.body[:keep]
        return None
    found = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\d+|\*)", request.headers.get("Content-Range") or "")
    if not found:
        return "a piece needs a Content-Range"
    first, last, size = found.groups()
    if size != "*":
        if upload.size not in (None, int(size)):
            return f"a piece of an upload of {size} bytes, which began as one of {upload.size}"
        upload.size = int(size)
    if first is None:
        return None
    first, end = int(first), int(last) + 1
    if first > len(upload.data) or end - first != len(request.body):
        return "a piece that leaves a gap or has another length than it says"
    if end != upload.size and (end - first) % PIECE_BYTES:
        return f"a piece that is not the last has a multiple of {PIECE_BYTES} bytes"
    upload.data = (upload.data[:first] + request.body)[:keep]
    return None


def parts(request):
    """-> (metadata, bytes) of a multipart/related upload."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers["Content-Type"]).group(1).encode()
    _, first, rest = request.body.split(b"--" + boundary, 2)
    meta = json.loads(first.split(b"\r\n\r\n", 1)[1])
    head, data = rest.split(b"\r\n\r\n", 1)
    sent = re.search(rb"(?im)^content-type: *([^\r\n;]+)", head)
    if sent and sent.group(1).decode() != meta.setdefault("contentType", sent.group(1).decode()):
        raise ValueError("the metadata and the part of the data have different content types")
    return meta, data[:data.rindex(b"\r\n--" + boundary + b"--")]
