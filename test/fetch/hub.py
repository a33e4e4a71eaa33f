"""hub.py - two sites on loopback, as Hugging Face has them: a hub that says where a file is, and a content network that
sends its bytes. Tests put faults into both; each keeps a list of what it was asked."""
import functools
import hashlib
import http.server
import re
import threading
import time


sha256 = functools.lru_cache(lambda body: hashlib.sha256(body).hexdigest())
etag_of = functools.lru_cache(lambda body: f'"{hashlib.md5(body).hexdigest()}"')


class Reply:
    def __init__(self, status=200, headers=None, body=b"", cut=None, stall=None, rate=None):
        self.status = status
        self.headers = dict(headers or {})
        self.body = body
        self.cut = cut  # the connection is closed after so many bytes of the body
        self.stall = stall  # seconds of silence in the middle of the body
        self.rate = rate  # bytes a second


class Request:
    def __init__(self, method, path, headers):
        self.method = method
        self.path = path
        self.headers = {k.lower(): v for k, v in headers.items()}
        self.at = time.monotonic()
        self.status = None
        self.sent = 0

    @property
    def span(self):
        """The first and the last byte that are asked for, or None."""
        m = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(m[1]), int(m[2])) if m else None


class Site:
    """An HTTP server whose replies come from answer(Request) -> Reply."""

    def __init__(self, answer, host="127.0.0.1"):
        self.log = []
        self.answer = answer
        self.lock = threading.Lock()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                request = Request(self.command, self.path, self.headers)
                with site.lock:
                    site.log.append(request)
                site.send(self, request, site.answer(request))

            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client_address):
                pass  # clients that go away are what is tested

        self.server = Server((host, 0), Handler)
        self.address = f"http://{host}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @staticmethod
    def send(handler, request, reply):
        request.status = reply.status
        handler.send_response(reply.status)
        reply.headers.setdefault("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            if value is not None:
                handler.send_header(name, value)
        if reply.cut is not None:
            handler.close_connection = True
        handler.end_headers()
        if request.method == "HEAD":
            return
        body = reply.body if reply.cut is None else reply.body[: reply.cut]
        step = max(1024, reply.rate // 20) if reply.rate else 4096 if reply.stall else 65536
        for at in range(0, len(body), step):
            if reply.stall and at >= len(body) // 2:
                handler.wfile.flush()
                time.sleep(reply.stall)
                reply.stall = None
            handler.wfile.write(body[at : at + step])
            request.sent += len(body[at : at + step])
            if reply.rate:
                time.sleep(step / reply.rate)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Hub:
    """Both sites, with files = {"owner/name/file": bytes}. The faults are functions of (Request, Reply) -> Reply."""

    def __init__(self, files, token=None, announce=True, cdn_host="127.0.0.1"):
        self.files = dict(files)
        self.token = token
        self.announce = announce
        self.hub_fault = self.cdn_fault = lambda request, reply: reply
        self.etags = True
        self.hub = Site(self.answer_hub)
        self.cdn = Site(self.answer_cdn, cdn_host)

    def answer_hub(self, request):
        m = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", request.path)
        name = f"{m[1]}/{m[3]}" if m else ""
        if name not in self.files:
            return self.hub_fault(request, Reply(404))
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return self.hub_fault(request, Reply(401))
        body = self.files[name]
        headers = {"Location": f"{self.cdn.address}/{name}?signature=of-the-address"}
        if self.announce:
            headers["X-Linked-Size"] = str(len(body))
            headers["X-Linked-Etag"] = f'"{sha256(body)}"'
        return self.hub_fault(request, Reply(302, headers))

    def answer_cdn(self, request):
        return self.cdn_fault(request, self.range_reply(request))

    def range_reply(self, request):
        body = self.files[request.path[1:].split("?")[0]]
        etag = etag_of(body)
        headers = {"ETag": etag, "Accept-Ranges": "bytes"} if self.etags else {}
        if request.span is None or request.headers.get("if-range", etag) != etag:
            return Reply(200, headers, body)
        first, last = request.span[0], min(request.span[1], len(body) - 1)
        if first > last:
            return Reply(416, {"Content-Range": f"bytes */{len(body)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return Reply(206, headers, body[first : last + 1])

    def sent(self):
        """Bytes of bodies that the content network has sent."""
        return sum(r.sent for r in self.cdn.log)

    def pieces(self):
        """The requests to the content network, without those for one byte that ask whether it knows ranges."""
        return [r for r in self.cdn.log if r.span != (0, 0)]

    def close(self):
        self.hub.close()
        self.cdn.close()
