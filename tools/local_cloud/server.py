"""An HTTP server on loopback: routes, requests, replies. Each request runs in a thread of its connection."""
import http.server
import json
import re
import threading
import traceback
import urllib.parse

BODY_MAX_BYTES = 32 << 20
CONNECTIONS_MAX = 256
SILENCE_MAX_SECONDS = 600  # between two requests of a connection, and between two pieces of one
HANDSHAKE_MAX_SECONDS = 30
HOSTS = ("127.0.0.1", "localhost")
TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class Request:
    """`path` is as it was sent; `parts` are the groups of the route's pattern, percent-decoded. `query` has a list of
    texts for each name."""

    def __init__(self, method, target, headers, body):
        path, _, query = target.partition("?")
        self.method, self.path, self.headers, self.body, self.parts = method, path, headers, body, ()
        self.query = urllib.parse.parse_qs(query, keep_blank_values=True)

    def option(self, name):
        """The first value of a name in the query, or None."""
        return self.query.get(name, [None])[0]


class Reply:
    """A body that is neither bytes nor text is sent as JSON."""

    def __init__(self, status, body=b"", headers=None):
        self.status, self.headers = status, dict(headers or {})
        self.body = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection of a Server, by which it answers."""
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = SILENCE_MAX_SECONDS

    def serve(self):
        request = self.received()
        if not request:
            return
        try:
            reply = self.server.owner.reply_to(request)
        except Exception:  # a fault of a handler costs its request, not the server
            traceback.print_exc()
            reply = Reply(500, "Internal Server Error\n", TEXT)
        self.server.owner.answer(self, reply)

    def received(self):
        """The whole request; or None, after an answer that says what is wrong with it."""
        problem = self.refusal()
        body = b"" if problem else self.chunks() if "Transfer-Encoding" in self.headers else self.rfile.read(self.length())
        if body is None:
            problem = self.too_long()
        if problem:
            self.close_connection = True
            problem.headers = {**TEXT, "Connection": "close"}
            self.send(problem)
            return None
        if len(body) < self.length():
            self.close_connection = True
            return None
        return Request(self.command, self.path, self.headers, body)

    def refusal(self):
        """What is wrong with the head of a request, as the answer to it, or None."""
        host, origin = self.headers.get("Host") or "", self.headers.get("Origin")
        coding, length = self.headers.get("Transfer-Encoding"), self.headers.get("Content-Length")
        if not self.server.owner.is_mine(host):  # a page of another site whose name leads to this machine
            return Reply(403, "this server answers to 127.0.0.1 and localhost alone\n")
        if origin not in (None, f"http://{host}"):  # a page of another site that sends a form to this machine
            return Reply(403, "this server answers to no page of another site\n")
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            return Reply(411, "a body has a Content-Length, or comes in chunks\n")
        if length is not None and not re.fullmatch(r"\d{1,18}", length):
            return Reply(411, "a body needs a Content-Length that is a number\n")
        return self.too_long() if self.length() > self.server.owner.body_max else None

    def length(self):
        return int(self.headers.get("Content-Length") or 0)

    def too_long(self):
        return Reply(413, f"a body may have at most {self.server.owner.body_max} bytes\n")

    def chunks(self):
        """A body in chunks, as Google's clients for Node send it; or None if it is too long or not in chunks."""
        body = b""
        while found := re.fullmatch(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r\n", self.rfile.readline(1024)):
            size = int(found.group(1), 16)
            if len(body) + size > self.server.owner.body_max:
                break
            piece = self.rfile.read(size)
            if len(piece) < size or self.rfile.readline(1024) != b"\r\n":
                break
            body += piece
            if not size:  # the last; nobody sends trailers here
                return body
        return None

    def send_head(self, reply):
        headers = reply.headers
        if reply.status != 204:  # which has no body, and may not say so
            headers = {"Content-Type": "application/json", "Content-Length": str(len(reply.body)), **headers}
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, reply):
        self.send_head(reply)
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def handle(self):
        try:
            super().handle()
        except (OSError, ValueError):  # the peer is gone, or we closed the connection ourselves
            pass

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def version_string(self):
        return "local-cloud"

    def log_message(self, *_):
        pass

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve


class Listener(http.server.ThreadingHTTPServer):
    """Refuses connections beyond a number of them, so that whoever opens many cannot use up the process's threads."""
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args):
        super().__init__(*args)
        self.free = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request, client_address):
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(self.owner.secured(request), client_address)
        except OSError as e:  # there will be no TLS with this peer
            self.owner.is_refused(e)
            self.shutdown_request(request)
        finally:
            self.free.release()


class Server:
    """Listens as soon as it is made, and answers what is routed by then or later. With an ssl.SSLContext it is one for
    https alone."""

    def __init__(self, port=0, body_max=BODY_MAX_BYTES, tls=None):
        self.body_max, self.routes, self.tls = body_max, [], tls
        self.listener = Listener(("127.0.0.1", port), Connection)
        self.listener.owner = self
        self.server_port = self.listener.server_port
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def is_mine(self, host):
        """Whether a request with this Host header is meant for this server."""
        return host.rsplit(":", 1)[0] in HOSTS

    def secured(self, connection):
        """The connection as it is to be used; runs in its thread. OSError if the peers do not agree."""
        if not self.tls:
            return connection
        connection.settimeout(HANDSHAKE_MAX_SECONDS)
        return self.tls.wrap_socket(connection, server_side=True)

    def is_refused(self, error):
        """Called where the peers did not agree."""

    def route(self, method, pattern, handler):
        """Requests whose whole path fits the regular expression are answered by handler(request) -> Reply."""
        self.routes.append((method, re.compile(pattern), handler))

    def reply_to(self, request):
        """The answer of the first route that fits."""
        there = False
        for method, pattern, handler in self.routes:
            found = pattern.fullmatch(request.path)
            if found and request.method in (method, "HEAD" if method == "GET" else method):
                request.parts = tuple(urllib.parse.unquote(part) for part in found.groups(""))
                return handler(request)
            there = there or bool(found)
        return Reply(405, "Method Not Allowed\n", TEXT) if there else Reply(404, "Not Found\n", TEXT)

    def answer(self, connection, reply):
        connection.send(reply)

    def stop(self):
        self.listener.shutdown()
        self.listener.server_close()
