"""The base of the integration tests: the emulators, the worker, a token issuer, small clients, and how tests are run and
counted. Standard library only."""
import base64
import collections
import concurrent.futures
import contextlib
import functools
import glob
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)
from tools.local_cloud import issuer, pictures
from tools.local_cloud.cloud import BUCKET, PROJECT, REQUEST_MAX_BYTES, settings_of
from tools.local_cloud.documents import Documents
from tools.local_cloud.emulators import Absent, Services, call
from tools.local_cloud.objects import Objects
from tools.local_cloud.pubsub import Subscription
from tools.local_cloud.server import Server
from tools.local_cloud.values import from_fields, stamp, to_value
from tools.local_cloud.worker import free_port

WORK = os.path.join(ROOT, "build", "integration")
PROGRAM = os.environ.get("PROGRAM", os.path.join(ROOT, "build", "inpaint-worker"))  # may be a build of another flavour
FAULTY = os.path.join(ROOT, "build", "faulty-worker")  # FAKE_DEVICE=n: its n-th product breaks the device
MODEL = os.path.join(ROOT, "build", "models", "tiny")
AUDIENCE = "https://worker.example/inpaint"
PUSHER = "push@demo.iam.gserviceaccount.com"


def once(make):
    """make(), which is called when its result is first wanted; the tests that want it may run side by side."""
    lock, made = threading.Lock(), functools.cache(make)

    @functools.wraps(make)
    def get():
        with lock:
            return made()
    return get


def wait_until(what, condition, seconds=60, every=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"timed out after {seconds} s: {what}")


# ---- the emulators and their contents ----

class Skip(Exception):
    """This machine lacks what a test needs; the text says what."""


class Emulators(Services):
    def __init__(self):
        try:
            super().__init__(WORK)
        except Absent:
            if os.environ.get("EMULATORS") == "required":
                raise AssertionError("google-cloud-cli is not installed, and EMULATORS=required") from None
            raise Skip("google-cloud-cli is not installed") from None

    def create_session(self, user, session, fields=None):
        self.put_document(f"users/{user}/sessions/{session}", fields or {"processingStatus": "pending"})

    def session(self, user, session):
        """-> the document as plain values, or None."""
        document = self.get_document(f"users/{user}/sessions/{session}")
        return document and {**from_fields(document.get("fields", {})), "__updateTime": document["updateTime"]}

    def delete_session(self, user, session):
        call("DELETE", f"{self.documents}/users/{user}/sessions/{session}")


class Embedded(Emulators):
    """The local cloud in place of the emulators."""

    def start(self):
        self.server, self.subscriptions = Server(body_max=REQUEST_MAX_BYTES), {}
        for part in (Documents(PROJECT, databases=("(default)", "second")), Objects(BUCKET)):
            part.serve(self.server)
        self.project, self.bucket, self.storage = PROJECT, BUCKET, self.server.url
        self.documents = f"{self.server.url}/v1/projects/{PROJECT}/databases/(default)/documents"
        self.env = settings_of(self.server)

    def stop(self):
        for subscription in self.subscriptions.values():
            subscription.stop()
        self.server.stop()

    def subscribe(self, topic, endpoint):
        self.subscriptions[topic] = Subscription(f"projects/{PROJECT}/subscriptions/{topic}-push", endpoint, retry=(0.1, 0.4))

    def publish_to(self, topic, value):
        return self.subscriptions[topic].publish(dumps(value))


@contextlib.contextmanager
def emulators(kind=Emulators):
    running = kind()
    try:
        yield running
    finally:
        running.stop()


# ---- the worker ----

class Worker:
    """The real program with settings of its own; `stop` ends it and returns its status."""

    def __init__(self, emulators, name, ready=True, program=PROGRAM, **settings):
        self.ahead_seconds = settings.pop("AHEAD_SECONDS", 0)  # what its clock is ahead, so that tokens are fresh for it
        stderr = settings.pop("STDERR", None)  # a file descriptor, where the log does not go to a file
        self.port = settings.pop("PORT", None) or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PORT": str(self.port), "MODEL_DIR": MODEL,
               "BACKEND": "cpu", "STEPS": "4", "PUSH_AUTH": "none"}
        env.update({k: v for k, v in emulators.env.items() if k != "PUBSUB_EMULATOR_HOST"})
        preloaded = [e["LD_PRELOAD"] for e in (env, settings) if "LD_PRELOAD" in e]
        env.update({k: str(v) for k, v in settings.items()})
        if preloaded:
            env["LD_PRELOAD"] = ":".join(preloaded)
        self.push_token = getattr(emulators, "push_token", lambda ahead_seconds: None)
        self.log_path = os.path.join(WORK, f"worker-{name}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([program, "serve"], env=env, stderr=stderr or log, stdout=log, cwd=ROOT)
        if ready:
            wait_until(f"worker {name} is ready", self.is_ready, 150)  # on a busy machine it is "too slow" for a while

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended with {self.process.returncode}: {self.log()[-2000:]}")
        try:
            return call("GET", self.base + "/ready", timeout=5)[0] == 200
        except OSError:
            return False

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def log(self):
        """All lines so far. A thread of its own writes them, so the last may come a little later than an answer."""
        read = [None, None]
        for _ in range(20):
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                read.append(f.read())
            if read[-1] == read[-2] == read[-3] or self.process.poll() is not None:
                break
            time.sleep(0.05)
        return read[-1]

    def lines(self, message=""):
        """The log's lines as objects, those with this text in their message."""
        return [line for line in map(json.loads, self.log().splitlines()) if message in line["message"]]

    def last_lines(self, n=10):
        """What an operator sees first."""
        return "\n".join(self.log().splitlines()[-n:])

    def metrics(self):
        """-> {series, as Prometheus writes it: its value}"""
        text = call("GET", self.base + "/metrics")[2].decode()
        series = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in series}

    def processor_seconds(self):
        """The processor time that it has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")

    def push_headers(self):
        """As this worker's cloud sends them."""
        token = self.push_token(self.ahead_seconds)
        return {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}

    def push(self, body, headers=None, path="/inpaint", timeout=300):
        return call("POST", self.base + path, body, {**self.push_headers(), **(headers or {})}, timeout)[0]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds=15):
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the worker did not end within {seconds} s of SIGTERM") from None


def faketime(clock):
    """Settings of a worker whose wall clock is `clock`, as libfaketime understands it: "+3h", "@2023-11-14 22:15:00"."""
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library:
        raise Skip("libfaketime is not installed")
    if "tsan" in PROGRAM:
        raise Skip("libfaketime hides from ThreadSanitizer that a wait gives its lock back")
    return {"LD_PRELOAD": library[0], "FAKETIME": clock, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def now_text(seconds_ago=0):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - seconds_ago))


def envelope(user, session, message_id, publish_time=None, **extra):
    """A push as production sends it; `message` and other keywords replace parts of it, `...` removes one."""
    data = base64.b64encode(json.dumps({"userId": user, "sessionId": session}).encode()).decode()
    at = publish_time or now_text()
    message = {"attributes": {"k": "v"}, "data": data, "messageId": message_id, "message_id": message_id,
               "orderingKey": "", "publishTime": at, "publish_time": at}
    message.update(extra.pop("message", {}))
    message = {k: v for k, v in message.items() if v is not ...}
    return {"message": message, "subscription": "projects/demo/subscriptions/s", "deliveryAttempt": 1, **extra}


def lease_of_somebody(message_id, seconds=300):
    """As another worker writes it; it ends so many seconds from now."""
    return {"mapValue": {"fields": {"id": to_value("somebody"), "messageId": to_value(message_id),
                                    "expiresAt": {"timestampValue": stamp(int((time.time() + seconds) * 1e6))}}}}


def nested(levels, value):
    """A value of Firestore within so many maps."""
    for _ in range(levels):
        value = {"mapValue": {"fields": {"k": value}}}
    return value


def dumps(value):
    return json.dumps(value).encode()


# ---- tokens: an issuer with its own keys on loopback ----

class Issuer(issuer.Issuer):
    """Signs tokens with a fresh RSA key and serves the key set, plus any fixed keys given."""

    def __init__(self, extra_keys=()):
        super().__init__(AUDIENCE, PUSHER, "test-1", extra_keys)
        self.public_pem = self.key.public_pem()
        self.server = Server()
        self.serve(self.server)

    def stop(self):
        self.server.stop()


@contextlib.contextmanager
def serving(answer_to):
    """A server whose answer to each GET is answer_to(request); -> its address, host and port."""
    server = Server()
    server.route("GET", ".*", answer_to)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.stop()


# ---- pictures ----

def png_of(width, rows, channels=3, level=-1):
    """An 8-bit PNG of these rows of samples."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), 8, 2 if channels == 3 else 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), level)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png(width, height, pixel, channels=3):
    """pixel(x, y) -> a value or a tuple."""
    def row(y):
        values = [pixel(x, y) for x in range(width)]
        return bytes(values) if channels == 1 else b"".join(map(bytes, values))
    return png_of(width, [row(y) for y in range(height)], channels)


def noise_png(width, height):
    """A photo that no coder makes shorter."""
    return png_of(width, [random.Random(y).randbytes(3 * width) for y in range(height)], level=0)


def photo_png(width=160, height=120):
    return png(width, height, lambda x, y: (x * 255 // width, y * 255 // height, (x + y) % 256))


def mask_png(width=160, height=120, box=(40, 30, 80, 70)):
    return png(width, height, lambda x, y: 255 if box[0] <= x < box[2] and box[1] <= y < box[3] else 0, channels=1)


def jpeg_size(data):
    """(width, height) of a JPEG, from its frame header; also proves that the segments are in order."""
    size = pictures.jpeg_size(data)
    assert size, "not a JPEG, one whose segments are not in order, or one without a frame"
    return size


def exif_with_gps(orientation):
    """An APP1 segment: orientation, and a GPS directory with a latitude that no output may contain."""
    gps = struct.pack("<H", 1) + struct.pack("<HHI4s", 1, 2, 2, b"N\0\0\0") + struct.pack("<I", 0)
    ifd = struct.pack("<H", 2) + struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    ifd += struct.pack("<HHII", 0x8825, 4, 1, 8 + 2 + 2 * 12 + 4) + struct.pack("<I", 0)
    tiff = b"II*\0" + struct.pack("<I", 8) + ifd + gps + b"SECRETPLACE"
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def raw_request(port, data, timeout, then=b"", after=0.0):
    """Sends bytes unchanged; -> everything that comes back until the peer closes the connection or the time is up."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        s.sendall(data)
        if then:
            time.sleep(after)
            s.sendall(then)
        got = b""
        s.settimeout(timeout)
        try:
            while chunk := s.recv(65536):
                got += chunk
        except TimeoutError:
            pass
        except ConnectionResetError:
            pass
        return got


def status_of(raw):
    match = re.match(rb"HTTP/1\.1 (\d+)", raw)
    return int(match.group(1)) if match else None


# ---- running tests ----

def equal(got, want, what=""):
    assert got == want, f"{what}: got {got!r}, want {want!r}"


def run_test(name, test):
    """-> ("passed", "failed" or "skipped", why), which is also printed, with the time."""
    started = time.monotonic()
    try:
        test()
        outcome, why = "passed", ""
    except Skip as e:
        outcome, why = "skipped", str(e)
    except (Exception, SystemExit):  # a test fails by whatever it raises
        outcome, why = "failed", traceback.format_exc()
    print(f"{outcome:7} {name} ({time.monotonic() - started:.1f} s) {why}", flush=True)
    return outcome, why


@contextlib.contextmanager
def nothing():
    yield


class Suite:
    """Tests, as (name, function), that share what `opened`, a context manager, sets up. If that raises Skip, all of them
    are skipped. `at_once` of them run side by side."""

    def __init__(self, tests, opened=nothing, at_once=1):
        self.tests, self.opened, self.at_once = tests, opened, at_once

    def matching(self, parts):
        """Those with one of the parts in their name or in the name of their file; all where there are no parts."""
        def names(name, test):
            return name, getattr(test, "__module__", "")
        return [t for t in self.tests if not parts or any(part in name for part in parts for name in names(*t))]

    def run(self, tests):
        outcomes = []
        try:
            with self.opened(), concurrent.futures.ThreadPoolExecutor(self.at_once) as pool:
                outcomes += pool.map(lambda t: run_test(*t), tests)
        except Skip as e:
            outcomes += [("skipped", str(e))] * len(tests)
        except (Exception, SystemExit):  # what the tests share did not start, or ended badly
            traceback.print_exc()
            outcomes += [("failed", "")] * max(1, len(tests) - len(outcomes))
        return outcomes


def tests_of(*modules):
    """The functions named test_*, without that prefix."""
    return [(name[5:], f) for module in modules for name, f in vars(module).items() if name.startswith("test_")]


def run_suites(parts, *suites):
    """Runs the tests that match the parts, or all; -> the exit status. A run that tests nothing fails."""
    outcomes = []
    os.makedirs(WORK, exist_ok=True)
    for suite in suites:
        tests = suite.matching(parts)
        if tests:
            outcomes += suite.run(tests)
    for why, n in collections.Counter(why for outcome, why in outcomes if outcome == "skipped").items():
        print(f"skipped {n}: {why}")
    count = collections.Counter(outcome for outcome, _ in outcomes)
    if not count["passed"] and not count["failed"]:
        print("nothing was tested:", "every test was skipped" if outcomes else "no test has such a part in its name")
    print(", ".join(f"{count[what]} {what}" for what in ("passed", "failed", "skipped")))
    return 0 if count["passed"] and not count["failed"] else 1


__all__ = [name for name in dir() if not name.startswith("_")]
