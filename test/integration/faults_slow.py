"""Senders that are slow on purpose, or go to sleep: half-sent heads and bodies, answers that nobody reads, a log that
nobody reads. Probes and pushes are answered as if they were not there."""
import contextlib
import json
import os
import resource
import signal
import socket
import struct
import threading
import time

from fake_cloud import *  # noqa: F403
from harness import Skip, call, equal, wait_until
from house import House, wrapped

CROWD = 200
SANITIZED = "PROGRAM" in os.environ  # a build of another flavour, many times slower
PATIENCE = 60 if SANITIZED else 2  # seconds in which a probe and a push must be answered
HEAD_SECONDS = 10  # http_server's default for the head of a request
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(32))

HEAD = b"POST /inpaint HTTP/1.1\r\nHost: x\r\n"
SLOW = {
    "half-sent request line": (b"GET /rea", b"d"),
    "half-sent heads": (HEAD + b"X-Long: ", b"x"),
    "half-sent heads of many lines": (HEAD, b"a: b\r\n"),
    "half-sent heads of 60 KiB": (HEAD + b"X-Long: " + b"x" * 60000, b"x"),
    "empty lines before the request": (b"\r\n", b"\r\n"),
    "the second request of a connection": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /hea", b"l"),
    "a TLS hello": (TLS_HELLO, b"\0"),
    "bodies with a length": (HEAD + b"Content-Length: 1000000\r\n\r\n{", b" "),
    "chunked bodies": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n \r\n"),
    "the extension of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;a=", b"b"),
    "the trailer of a body": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ", b"y"),
    "nothing at all": (b"", b""),
}


def end_by_reset(s):
    """Thousands of ports that wait for late packets would leave none for the other tests."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.setblocking(False)


class Crowd:
    """`n` connections that send `first` and then `more` every second; one that is closed comes back."""

    def __init__(self, port, n, kinds):
        self.port, self.kinds, self.closed = port, kinds, 0
        self.members = [None] * n
        self.over = threading.Event()
        for i in range(n):
            self.come(i)
        self.thread = threading.Thread(target=self.dribble)
        self.thread.start()

    def come(self, i):
        with contextlib.suppress(OSError):
            s = socket.create_connection(("127.0.0.1", self.port), timeout=1)
            end_by_reset(s)
            self.members[i] = s
            s.send(self.kinds[i % len(self.kinds)][0])

    def dribble(self):
        while not self.over.wait(1):
            for i, s in enumerate(self.members):
                try:
                    if s.recv(4096) == b"":
                        raise ConnectionResetError
                except BlockingIOError:
                    pass
                except (OSError, AttributeError):
                    self.closed += 1
                    if s:
                        s.close()
                    self.come(i)
                    continue
                with contextlib.suppress(OSError):
                    s.send(self.kinds[i % len(self.kinds)][1])

    def go(self):
        self.over.set()
        self.thread.join()
        for s in self.members:
            if s:
                s.close()


@contextlib.contextmanager
def crowd(worker, kinds, n=CROWD):
    c = Crowd(worker.port, n, kinds)
    try:
        yield c
    finally:
        c.go()


def soon(what, ask):
    """-> what `ask` returns; fails when that takes longer than PATIENCE."""
    started = time.monotonic()
    try:
        answer = ask()
    except OSError as e:
        answer = e
    took = time.monotonic() - started
    assert took < PATIENCE, f"{what}: {answer!r} after {took:.1f} s"
    return answer


def all_is_well(h, w, label, session):
    body = h.job(session)
    for path in ("/ready", "/health", "/metrics"):
        equal(soon(f"{label}: {path}", lambda p=path: call("GET", w.base + p, timeout=PATIENCE)[0]), 200, label)
    equal(soon(f"{label}: a push", lambda: w.push(body, timeout=PATIENCE)), 204, label)
    h.check_completed(session)


def test_slow_senders_silence_nobody():
    with House("slow-senders") as h:
        w, started = h.worker(), time.monotonic()
        for i, (label, kind) in enumerate(SLOW.items()):
            with h.case(label), crowd(w, [kind]):
                time.sleep(0.3)
                all_is_well(h, w, label, f"crowd-{i}")
        with h.case("all of them at once"), crowd(w, list(SLOW.values()), 2 * CROWD):
            for k in range(3):
                time.sleep(1)
                all_is_well(h, w, "all of them", f"crowd-all-{k}")
        equal(w.stop(9), 0, "exit status")
        reports = w.lines("slow connections were closed")
        equal({r["severity"] for r in reports}, {"WARNING"})
        assert len(reports) <= 1 + (time.monotonic() - started) / 60, "more than one report a minute"
        assert reports[0]["toMakeRoom"] > 0, reports


@contextlib.contextmanager
def connected_at_once(worker, n):
    """n connections that are opened without a pause and have sent half a head."""
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        end_by_reset(s)
        with contextlib.suppress(BlockingIOError):
            s.connect(("127.0.0.1", worker.port))
    for s in sockets:
        with contextlib.suppress(OSError):
            s.send(HEAD)
    try:
        yield
    finally:
        for s in sockets:
            s.close()


def test_slow_senders_that_come_all_at_once():
    """More than the kernel keeps for a server that does not take them."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with House("slow-burst") as h:
        w = h.worker()
        with connected_at_once(w, min(5000, most - 1000)):
            all_is_well(h, w, "a burst", "burst")


def test_slow_senders_leave_files_for_others():
    """Each connection is an open file, of which the process may have few."""
    with House("few-files") as h:
        for limit, crowd_size, queue in (("-n 64", 100, 8), ("-S -n 1024", 1100, 1000)):
            with h.case(limit):
                w = h.worker(program=wrapped(f"few-files-{queue}.sh", f"ulimit {limit}\nRUN"), QUEUE_DEPTH=queue)
                with connected_at_once(w, crowd_size):
                    all_is_well(h, w, limit, f"files-{queue}")


def test_slow_senders_do_not_delay_the_end():
    with House("slow-senders-end") as h:
        w = h.worker()
        with crowd(w, list(SLOW.values())):
            time.sleep(0.3)
            all_is_well(h, w, "before the end", "crowd-end")
            equal(w.stop(7.5), 0, "exit status")


def test_half_sent_heads_have_a_total_time():
    """Few of them, so that nobody needs their room."""
    with House("slow-heads") as h:
        w = h.worker()
        kinds = [SLOW[k] for k in ("half-sent request line", "half-sent heads", "empty lines before the request", "nothing at all")]
        with crowd(w, kinds, len(kinds)) as c:
            time.sleep(HEAD_SECONDS - 3)
            equal(c.closed, 0, f"closed before {HEAD_SECONDS} s")
            wait_until("all are closed", lambda: c.closed >= len(kinds), 8)


def test_answers_that_nobody_reads():
    """Connections that ask for the metrics without end and never read; then one that reads a byte now and then."""
    with House("slow-readers") as h:
        w = h.worker()
        asked = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 400
        sockets = []
        for _ in range(CROWD):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            s.connect(("127.0.0.1", w.port))
            s.setblocking(False)
            with contextlib.suppress(OSError):
                s.send(asked)
            sockets.append(s)
        all_is_well(h, w, "answers that nobody reads", "unread")
        for s in sockets:
            s.close()
        equal(w.stop(9), 0, "exit status")


# ---- the log ----

def full_pipe():
    """-> the reader's end and the writer's end of a pipe that holds nothing more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4095 + b"\n")
    os.set_blocking(writer, True)
    return reader, writer


def poison_pushes(w, n):
    for i in range(n):
        equal(w.push(b"poison %d" % i, timeout=5), 204)


def read_all(fd, seconds):
    """-> what comes out of a pipe until nothing has come for a while."""
    os.set_blocking(fd, False)
    got, quiet = b"", time.monotonic() + seconds
    while time.monotonic() < quiet:
        try:
            piece = os.read(fd, 1 << 20)
        except BlockingIOError:
            time.sleep(0.02)
            continue
        if not piece:
            break
        got, quiet = got + piece, time.monotonic() + seconds
    return got


def check_lines(text):
    """Every line is a whole JSON object, but for those that filled the pipe; -> the objects."""
    lines = [line for line in text.split(b"\n") if line and not line.startswith(b"xxx")]
    return [json.loads(line) for line in lines]


def test_log_that_nobody_reads_stops_nothing():
    with House("deaf") as h:
        reader, writer = full_pipe()
        w = h.worker(STDERR=writer)
        os.close(writer)
        started = time.monotonic()
        poison_pushes(w, 1000)
        all_is_well(h, w, "a log that nobody reads", "deaf")
        took = time.monotonic() - started
        assert took < 30 * PATIENCE, f"1000 pushes in {took:.1f} s"
        started = time.monotonic()
        equal(w.stop(7.5), 0, f"exit status after {time.monotonic() - started:.1f} s")
        os.close(reader)


def test_log_reports_what_it_dropped():
    with House("deaf-for-a-while") as h:
        reader, writer = full_pipe()
        w = h.worker(STDERR=writer, LOG_LEVEL="info")
        os.close(writer)
        pushes = 4000  # more than pipe and buffer hold
        poison_pushes(w, pushes)
        dropped = w.metrics()["inpaint_log_dropped_total"]
        assert dropped > 0, "the buffer holds everything"
        lines = check_lines(read_all(reader, 1))
        poison_pushes(w, 10)
        lines += check_lines(read_all(reader, 1))
        reports = [line for line in lines if line.get("lines")]
        equal([r["severity"] for r in reports], ["WARNING"] * len(reports))
        equal(sum(r["lines"] for r in reports), dropped, "what the reports count")
        assert all(r["since"] <= r["time"] for r in reports), reports
        equal(len(lines) - len(reports) + dropped >= pushes + 10, True, "lines and dropped lines")
        equal([line["time"] for line in lines], sorted(line["time"] for line in lines), "the order of the lines")
        equal(w.stop(7.5), 0, "exit status")
        last = check_lines(read_all(reader, 0.5))
        equal(last[-1]["message"], "ended", "the last line")
        os.close(reader)


def test_log_that_nobody_reads_does_not_keep_a_crash_from_ending():
    if SANITIZED:
        raise Skip("a sanitizer handles signals itself")
    with House("deaf-crash") as h:
        for number in (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS):
            reader, writer = full_pipe()
            w = h.worker(STDERR=writer)
            os.close(writer)
            poison_pushes(w, 20)
            w.process.send_signal(number)
            equal(w.process.wait(3), -number, "how it ended")
            check_lines(read_all(reader, 0.2))
            os.close(reader)


def test_log_is_whole_after_a_crash():
    """A reader who is slow, not gone: what is in the buffer is written before the process ends."""
    with House("log-crash") as h:
        reader, writer = full_pipe()
        w = h.worker(STDERR=writer)
        os.close(writer)
        poison_pushes(w, 200)
        w.process.send_signal(signal.SIGABRT)
        lines = check_lines(read_all(reader, 1))
        equal(w.process.wait(3), -signal.SIGABRT, "how it ended")
        equal(sum("poison" in line["message"] or line["severity"] == "ERROR" for line in lines), 200, "lines of the pushes")
        os.close(reader)


def test_reader_of_the_log_goes_away():
    with House("log-cut") as h:
        reader, writer = os.pipe()
        w = h.worker(STDERR=writer)
        os.close(writer)
        os.close(reader)
        poison_pushes(w, 300)
        all_is_well(h, w, "no reader", "log-cut")
        before = w.processor_seconds()
        time.sleep(1)
        took = w.processor_seconds() - before
        assert took < 0.25, f"{took:.2f} s of a processor in a second: it spins"
        equal(w.stop(7.5), 0, "exit status")


def test_standard_streams_that_are_closed():
    """What is opened next takes their numbers: lines of the log would go to a connection."""
    with House("log-closed") as h:
        w = h.worker(program=wrapped("closed-streams.sh", "RUN <&- >&- 2>&-"))
        equal([os.readlink(f"/proc/{w.process.pid}/fd/{n}") for n in range(3)], ["/dev/null"] * 3)
        poison_pushes(w, 20)
        all_is_well(h, w, "closed streams", "log-closed")
        equal(w.stop(7.5), 0, "exit status")


def test_log_on_a_full_disk_stops_nothing():
    with House("log-full") as h, open("/dev/full", "wb") as full:
        w = h.worker(STDERR=full.fileno())
        poison_pushes(w, 20)
        all_is_well(h, w, "a full disk", "log-full")
        dropped = w.metrics()["inpaint_log_dropped_total"]
        assert dropped >= 20, dropped
        equal(w.stop(7.5), 0, "exit status")


def test_severe_lines_are_error_reports():
    with House("reports") as h:
        w = h.worker(K_REVISION="worker-00042-abc")
        poison_pushes(w, 1)
        equal(w.push(h.job("reports")), 204)
        equal(w.stop(9), 0)
        lines = w.lines()
        severe = [line for line in lines if line["severity"] in ("ERROR", "CRITICAL")]
        mild = [line for line in lines if line not in severe]
        assert mild and not any("@type" in line or "serviceContext" in line for line in mild), mild
        for line in severe:
            equal(line["@type"], "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent")
            equal(line["serviceContext"], {"service": h.cloud.env.get("K_SERVICE", "inpaint-worker"), "version": "worker-00042-abc"})
            where = line["context"]["reportLocation"]
            assert where["filePath"].startswith("worker/") and where["lineNumber"] > 0 and where["functionName"], where
        assert severe, [line["severity"] for line in lines]
