#!/usr/bin/env python3
"""The real program between a faulty Firestore and a faulty Cloud Storage (fake_cloud.py): `faults.py [part of a name]`.

Each function named test_* is a test with a cloud and workers of its own; several run at once. The rules of the house:
a job is never lost, never run to two different ends, nothing is written without the lease, every push is answered.
"""
import concurrent.futures
import glob
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_cloud import *  # noqa: F403
from harness import (WORK, Skip, Worker, call, close, dumps, envelope, equal, jpeg_size, mask_png, now_text, photo_png,
                     run_test, to_value, wait_until)

PHOTO, MASK = photo_png(64, 64), mask_png(64, 64, (20, 20, 40, 40))
# several workers share this machine: threads that spin for each other would take all of it
DEFAULTS = {"STEPS": 1, "OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"}
AT_ONCE = 4

# every request of a job without faults, in its order
STAGES = ["get", "claim", "stat:original.jpg", "media:original.jpg", "stat:mask_auto.png", "media:mask_auto.png",
          "stat:edited.jpg", "upload:edited.jpg", "stat:preview.jpg", "upload:preview.jpg", "complete"]


class House:
    """A cloud, its workers, and what must hold at the end of any test."""

    def __init__(self, name, **settings):
        self.name, self.settings, self.workers = name, settings, []
        self.cloud = Cloud()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for w in self.workers:
            if w.process.poll() is None:
                w.process.kill()
            w.process.wait()
        self.cloud.stop()
        if kind is None:
            equal(self.cloud.violations, [])
            for w in self.workers:
                for line in w.log().splitlines():
                    assert "Sanitizer" not in line and "runtime error" not in line, line

    def worker(self, name="", **settings):
        w = Worker(self.cloud, f"faults-{self.name}-{len(self.workers)}{name}", **{**DEFAULTS, **self.settings, **settings})
        self.workers.append(w)
        return w

    def job(self, session, photo=PHOTO, mask=MASK, **fields):
        self.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", photo)
        self.cloud.put_object(f"users/u1/sessions/{session}/mask_auto.png", mask)
        self.cloud.put(session, {"processingStatus": to_value("pending"), "note": to_value("the app's"), **fields})
        return dumps(envelope("u1", session, f"m-{session}"))

    def output(self, session, file="edited.jpg"):
        return self.cloud.objects.get(f"users/u1/sessions/{session}/{file}", {}).get("data")

    def expire(self, session):
        """Time passes: the lease of a worker that is no more ends."""
        fields = self.cloud.fields(session)
        if text_at(fields, "processingStatus") == "processing":
            self.cloud.touch(session, inpaint__lease__expiresAt={"timestampValue": "2020-01-01T00:00:00Z"})

    def deliver(self, worker, session, body, most=6):
        """As Pub/Sub does, until it is acked; -> the answers."""
        answers = []
        while len(answers) < most:
            answers.append(worker.push(body))
            if answers[-1] == 204:
                return answers
            time.sleep(0.05)
        raise AssertionError(f"{session} is never acked: {answers}")

    def check_completed(self, session, attempts=1):
        fields = self.cloud.fields(session)
        equal(text_at(fields, "processingStatus"), "completed", session)
        equal(value_at(fields, "inpaint.attempts"), {"integerValue": str(attempts)}, session)
        assert not has_path(fields, "inpaint.lease"), fields
        equal(text_at(fields, "note"), "the app's")
        for file in ("edited.jpg", "preview.jpg"):
            assert jpeg_size(self.output(session, file)), file
        equal(sum(j == ("complete", session) for j in self.cloud.journal), 1, f"{session} completed exactly once")

    def check_waits_or_leased(self, session):
        """What a nacked job may leave behind: pending without a lease, or a lease that is alive."""
        fields = self.cloud.fields(session)
        status = text_at(fields, "processingStatus")
        if status == "processing":
            assert has_path(fields, "inpaint.lease.expiresAt"), fields
        else:
            equal(status, "pending", session)
            assert not has_path(fields, "inpaint.lease"), fields


def run_cases(name, cases, **settings):
    """One worker, one session per case: (label, [(op, action, times)], answers it may give until the ack)."""
    with House(name, **settings) as h:
        w = h.worker()
        bad = []
        for i, (label, rules, first) in enumerate(cases):
            session = f"case-{i}"
            h.cloud.rules.clear()
            body = h.job(session)
            for op, action, times in rules:
                h.cloud.on(op, action(h, session) if getattr(action, "needs_house", False) else action, times)
            try:
                answers = h.deliver(w, session, body)
                equal(answers[0], first, "first answer")
                h.check_completed(session, text_attempts(h, session))
                equal(h.cloud.violations, [])
            except AssertionError as e:
                bad.append(f"{label}: {e}")
                h.cloud.violations.clear()
        assert not bad, "\n  " + "\n  ".join(bad)


def text_attempts(h, session):
    return int(value_at(h.cloud.fields(session), "inpaint.attempts").get("integerValue", "0"))


def for_house(f):
    f.needs_house = True
    return f


HTML = answer(503, b"<html><body><h1>503</h1>Server Error</body></html>", {"Content-Type": "text/html"})
SHAPES = [("empty", answer(503)), ("HTML", HTML), ("a list", answer(503, [{"error": {"status": "UNAVAILABLE"}}])),
          ("text", answer(503, {"error": "invalid_grant"})), ("no JSON", answer(502, b"{\"error\":")),
          ("10 MB", answer(503, b"x" * 10000000))]


@for_house
def app_touches(h, session):
    return before(lambda: h.cloud.touch(session, title=to_value("new")))


# ---- Firestore's faults ----

def cut(reply):
    reply.cut = len(reply.body) // 2


def set_body(body):
    def change(reply):
        reply.body = body
    return mangled(change)


def test_claim_faults():
    run_cases("claim", [
        ("lost", [("claim", lose, 1)], 204),
        ("applied, reset", [("claim", applied(lose), 1)], 204),
        ("applied, then the read fails too", [("claim", applied(lose), 1), ("get", lambda r, a: a(r), 1), ("get", lose, 1)], 204),
        ("applied, 503", [("claim", applied(HTML), 1)], 204),
        ("applied, 504", [("claim", applied(rpc_error(504, "DEADLINE_EXCEEDED")), 1)], 204),
        ("applied, {}", [("claim", set_body(b"{}"), 1)], 204),
        ("applied, HTML with 200", [("claim", set_body(b"<html>"), 1)], 204),
        ("applied, cut", [("claim", mangled(cut), 1)], 204),
        ("ABORTED", [("claim", rpc_error(409, "ABORTED"), 3)], 204),
        ("ALREADY_EXISTS", [("claim", rpc_error(409, "ALREADY_EXISTS"), 1)], 204),
        ("FAILED_PRECONDITION", [("claim", rpc_error(400, "FAILED_PRECONDITION"), 1)], 204),
        ("the app was faster", [("claim", app_touches, 4)], 204),
        ("storm", [("claim", HTML, 3)], 204),
        ("slower, please", [("claim", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("slower, please, in words", [("claim", answer(429, b"", {"Retry-After": "soon"}), 1)], 204),
        ("token refused once", [("claim", rpc_error(401, "UNAUTHENTICATED"), 1)], 204),
        ("token refused", [("claim", rpc_error(401, "UNAUTHENTICATED"), 2)], 503),
        ("not allowed", [("claim", rpc_error(403, "PERMISSION_DENIED"), 1)], 503),
        ("our mistake", [("claim", rpc_error(400, "INVALID_ARGUMENT"), 1)], 503),
    ] + [(f"a body that is {name}", [("claim", action, 1)], 204) for name, action in SHAPES])


def test_read_faults():
    def other_name(reply):
        reply.body = reply.body.replace(b"/sessions/", b"/sessions/x")
    run_cases("read", [
        ("{}", [("get", answer(200, b"{}"), 1)], 503),
        ("another document", [("get", mangled(other_name), 1)], 503),
        ("HTML with 200", [("get", answer(200, b"<html>"), 1)], 503),
        ("10 MB", [("get", answer(200, b" " * 10000000), 1)], 503),
        ("deep", [("get", answer(200, b"[" * 100000), 1)], 503),
        ("cut", [("get", mangled(cut), 2)], 204),
        ("lost", [("get", lose, 3)], 204),
        ("storm", [("get", HTML, 4)], 204),
        ("longer storm", [("get", HTML, 5)], 503),
        ("ABORTED", [("get", rpc_error(409, "ABORTED"), 2)], 204),
        ("token refused", [("get", rpc_error(401, "UNAUTHENTICATED"), 2)], 503),
    ])


def test_result_faults():
    run_cases("result", [
        ("lost", [("complete", lose, 1)], 204),
        ("applied, reset", [("complete", applied(lose), 1)], 204),
        ("applied, reset, storm of reads", [("complete", applied(lose), 1), ("get", lambda r, a: a(r), 1), ("get", HTML, 3)], 204),
        ("applied, nobody knows", [("complete", applied(lose), 1), ("get", lambda r, a: a(r), 1), ("get", HTML, 5)], 503),
        ("applied, 503", [("complete", applied(HTML), 1)], 204),
        ("applied, {}", [("complete", set_body(b"{}"), 1)], 204),
        ("ABORTED", [("complete", rpc_error(409, "ABORTED"), 3)], 204),
        ("FAILED_PRECONDITION", [("complete", rpc_error(400, "FAILED_PRECONDITION"), 1)], 204),
        ("the app was faster", [("complete", app_touches, 4)], 204),
        ("storm", [("complete", HTML, 4)], 204),
        ("slower, please", [("complete", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("not allowed", [("complete", rpc_error(403, "PERMISSION_DENIED"), 1)], 503),
    ])


def test_progress_faults_change_nothing():
    for_all = [("lost", lose), ("applied, reset", applied(lose)), ("storm", HTML), ("ABORTED", rpc_error(409, "ABORTED")),
               ("slower", answer(429, b"", {"Retry-After": "30"})), ("denied", rpc_error(403, "PERMISSION_DENIED")),
               ("nonsense", set_body(b"{}"))]
    with House("progress") as h:
        w = h.worker()
        for i, (label, action) in enumerate(for_all):
            h.cloud.rules.clear()
            body = h.job(f"p{i}")
            h.cloud.on("stat:edited.jpg", h.cloud.late(1.3))
            h.cloud.on("progress", action, 2)
            equal(w.push(body), 204, label)
            h.check_completed(f"p{i}")


# ---- Storage's faults ----

def flip(reply):
    reply.body = reply.body[:50] + bytes([reply.body[50] ^ 1]) + reply.body[51:]


def header(name, value):
    def change(reply):
        if value is None:
            reply.headers.pop(name, None)
        else:
            reply.headers[name] = value
    return mangled(change)


def whole_of_range(request, apply):
    del request.headers["Range"]
    return apply(request)


@for_house
def replaced_meanwhile(h, session):
    return before(lambda: h.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", photo_png(170, 120))
                  and h.cloud.put_object(f"users/u1/sessions/{session}/mask_auto.png", mask_png(170, 120)))


@for_house
def foreign_edited(h, session):
    return before(lambda: h.cloud.put_object(f"users/u1/sessions/{session}/edited.jpg", b"somebody else's"))


def test_download_faults():
    run_cases("download", [
        ("503", [("media:original.jpg", HTML, 2)], 204),
        ("429", [("media:mask_auto.png", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("lost", [("media:original.jpg", lose, 1)], 204),
        ("cut", [("media:original.jpg", mangled(cut), 1)], 204),
        ("cut twice", [("media:original.jpg", mangled(cut), 2)], 204),
        ("cut, then another range", [("media:original.jpg", mangled(cut), 1),
                                     ("media:original.jpg", header("Content-Range", "bytes 0-9/10"), 1)], 204),
        ("cut, then the whole", [("media:original.jpg", mangled(cut), 1), ("media:original.jpg", whole_of_range, 1)], 204),
        ("one bit", [("media:original.jpg", mangled(flip), 1)], 204),
        ("one bit, no hash", [("media:original.jpg", mangled(lambda r: (flip(r), r.headers.pop("x-goog-hash"))), 1)], 204),
        ("another hash", [("media:original.jpg", header("x-goog-hash", "crc32c=AAAAAA=="), 1)], 204),
        ("no hash", [("media:original.jpg", header("x-goog-hash", None), 1)], 204),
        ("longer", [("media:original.jpg", mangled(lambda r: setattr(r, "body", r.body + b"x")), 1)], 204),
        ("shorter", [("media:original.jpg", mangled(lambda r: setattr(r, "body", r.body[:-1])), 1)], 204),
        ("HTML with 200", [("media:original.jpg", answer(200, b"<html>"), 1)], 204),
        ("another generation", [("media:original.jpg", header("x-goog-generation", "7"), 1)], 204),
        ("replaced", [("media:original.jpg", replaced_meanwhile, 1)], 204),
        ("metadata 503", [("stat:original.jpg", HTML, 2)], 204),
        ("metadata {}", [("stat:original.jpg", answer(200, b"{}"), 1)], 503),
        ("metadata HTML", [("stat:mask_auto.png", answer(200, b"<html>"), 1)], 503),
        ("metadata 403", [("stat:original.jpg", answer(403, b"{}"), 1)], 503),
        ("never right", [("media:original.jpg", mangled(flip), 6)], 503),
    ])


def test_upload_faults():
    run_cases("upload", [
        ("503", [("upload:edited.jpg", HTML, 1)], 204),
        ("lost", [("upload:preview.jpg", lose, 1)], 204),
        ("applied, 503, so 412 ours", [("upload:edited.jpg", applied(HTML), 1)], 204),
        ("applied, reset, so 412 ours", [("upload:preview.jpg", applied(lose), 1)], 204),
        ("applied, cut", [("upload:edited.jpg", mangled(cut), 1)], 204),
        ("412 foreign", [("upload:edited.jpg", foreign_edited, 1)], 503),
        ("429", [("upload:edited.jpg", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("applied, HTML with 200", [("upload:edited.jpg", applied(answer(200, b"<html>")), 1)], 503),
        ("403", [("upload:edited.jpg", answer(403, b""), 1)], 503),
        ("404", [("upload:edited.jpg", answer(404, b""), 1)], 500),
        ("400", [("upload:preview.jpg", answer(400, b""), 1)], 500),
    ])


def test_stored_encodings_and_sums():
    with House("stored") as h:
        w = h.worker()
        body = h.job("gzip")
        h.cloud.put_object("users/u1/sessions/gzip/original.jpg", PHOTO, contentEncoding="gzip")
        equal(w.push(body), 204)
        equal(text_at(h.cloud.fields("gzip"), "processingStatus"), "failed")
        equal(h.output("gzip"), None)
        for session, sums in (("md5", {"crc32c": None}), ("bare", {"crc32c": None, "md5Hash": None})):
            body = h.job(session)
            h.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", PHOTO, **sums)
            equal(w.push(body), 204)
            h.check_completed(session)


def noise_png(width, height):
    rows = b"".join(b"\0" + random.Random(y).randbytes(3 * width) for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


def test_large_upload_in_pieces():
    with House("large") as h:
        w = h.worker()
        width, height = 2600, 1700
        photo = noise_png(width, height)
        mask = mask_png(width, height, (400, 300, 600, 500))
        body = h.job("large", b"", mask)
        h.cloud.put_object("users/u1/sessions/large/original.jpg", photo, crc32c=None)

        def part(request, apply):  # only the beginning arrives
            return h.cloud.chunk(request, request.path, 1 << 20)
        h.cloud.on("start:edited.jpg", HTML, 1)
        h.cloud.on("chunk:edited.jpg", lose, 1)
        h.cloud.on("chunk:edited.jpg", lambda r, a: a(r), 1)  # the question how far it came
        h.cloud.on("chunk:edited.jpg", part, 1)
        h.cloud.on("chunk:edited.jpg", answer(410), 1)  # the session is gone
        h.cloud.on("chunk:edited.jpg", applied(HTML), 1)
        equal(h.deliver(w, "large", body), [204])
        h.check_completed("large")
        assert len(h.output("large")) > 8 << 20, f"{len(h.output('large'))} bytes: not what this test is about"
        equal(jpeg_size(h.output("large")), (width, height))


# ---- what others do in the middle ----

def at_every_stage(h, w, prefix, change, check, when=before, stages=STAGES):
    bad = []
    for i, op in enumerate(stages):
        session = f"{prefix}-{i}"
        h.cloud.rules.clear()
        body = h.job(session)
        h.cloud.on(op, when(lambda s=session: change(s)))
        try:
            check(session, op, body, w.push(body))
            equal(h.cloud.violations, [])
        except AssertionError as e:
            bad.append(f"{op}: {e}")
            h.cloud.violations.clear()
    assert not bad, "\n  " + "\n  ".join(bad)


def test_session_deleted_at_every_stage():
    with House("deleted") as h:
        def check(session, op, body, status):
            equal(status, 404 if op in ("get", "claim") else 204)
            equal(h.cloud.fields(session), None, "not created again")
            equal((h.output(session), h.output(session, "preview.jpg")), (None, None), "uploads are removed")
        at_every_stage(h, h.worker(), "d", h.cloud.delete, check)


def test_session_cancelled_at_every_stage():
    with House("cancelled") as h:
        w = h.worker()

        def cancel(session):
            h.cloud.touch(session, processingStatus=to_value("cancelled"))

        def check(session, op, body, status):
            assert status in (204, 409), status
            equal(text_at(h.cloud.fields(session), "processingStatus"), "cancelled")
            equal(h.deliver(w, session, body), [204])
            equal(h.cloud.count("complete"), 0)
        at_every_stage(h, w, "c", cancel, check)


def test_session_changed_at_every_stage():
    with House("changed") as h:
        def check(session, op, body, status):
            equal(status, 204)
            h.check_completed(session)
            equal(text_at(h.cloud.fields(session), "title"), "new")
        at_every_stage(h, h.worker(), "t", lambda s: h.cloud.touch(s, title=to_value("new")), check)


def test_session_reset_at_every_stage():
    """The app starts over while a worker is at it: that worker stops, the next delivery runs."""
    with House("reset") as h:
        w = h.worker()

        def start_over(session):
            h.cloud.touch(session, processingStatus=to_value("pending"), inpaint=None)

        def check(session, op, body, status):
            assert status in (204, 409), status
            equal(h.deliver(w, session, body), [204])
            h.check_completed(session)
        at_every_stage(h, w, "r", start_over, check)


def lease_of_somebody(message_id, seconds=300):
    return {"mapValue": {"fields": {"id": to_value("somebody"), "messageId": to_value(message_id),
                                    "expiresAt": {"timestampValue": stamp(int((time.time() + seconds) * 1e6))}}}}


def test_lease_stolen_at_every_stage():
    with House("stolen") as h:
        w = h.worker()
        taken = {}

        def steal(session, message_id=None):
            message_id = message_id or f"m-{session}"
            h.cloud.touch(session, processingStatus=to_value("processing"), inpaint__messageId=to_value(message_id),
                          inpaint__lease=lease_of_somebody(message_id))
            taken[session] = (h.cloud.fields(session), len(h.cloud.journal))

        def check(session, op, body, status):
            equal(status, 409)
            fields, at = taken[session]
            equal(h.cloud.fields(session), fields, "not a byte of it changes")
            wrote = [j for j in h.cloud.journal[at:] if session in j[1]]
            if not op.startswith(("stat:edited", "upload", "stat:preview", "complete")):
                equal(wrote, [], "nothing is written after the lease is lost")
            equal(w.push(body), 409)
        at_every_stage(h, w, "s", steal, check)

        def check_other(session, op, body, status):
            assert status in (204, 409), status
            equal(h.cloud.fields(session), taken[session][0], "not a byte of it changes")
            equal(w.push(body), 204, "that message stays responsible")
        at_every_stage(h, w, "o", lambda s: steal(s, "m-another"), check_other, stages=STAGES[1::3] + ["complete"])


def test_duplicates_during_every_stage():
    with House("duplicates") as h:
        w = h.worker()
        answers = {}

        def push_again(session):
            answers[session] = (w.push(dumps(envelope("u1", session, f"m-{session}"))),
                                w.push(dumps(envelope("u1", session, "m-another"))))

        def check(session, op, body, status):
            equal(status, 204)
            equal(answers[session], (409, 204))
            h.check_completed(session)
            equal(w.push(body), 204)
        at_every_stage(h, w, "d", push_again, check)


def test_two_workers_get_the_same_message_at_once():
    with House("two") as h:
        workers = [h.worker(), h.worker()]
        for n in range(8):
            body = h.job(f"both-{n}")
            answers = []
            threads = [threading.Thread(target=lambda w=w: answers.append(w.push(body))) for w in workers]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            assert sorted(answers) in ([204, 204], [204, 409]), answers
            h.check_completed(f"both-{n}")


def test_a_worker_whose_clock_is_ahead_takes_over():
    library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")
    if not library:
        raise Skip("libfaketime is not installed")
    with House("skew") as h:
        first = h.worker()
        second = h.worker("-ahead", LD_PRELOAD=library[0], FAKETIME="+600s", FAKETIME_DONT_FAKE_MONOTONIC="1")
        body = h.job("skew")
        h.cloud.on("media:mask_auto.png", h.cloud.late(2))
        answers = []
        t = threading.Thread(target=lambda: answers.append(first.push(body)))
        t.start()
        wait_until("the first has it", lambda: h.cloud.count("claim") == 1)
        equal(second.push(body), 204)
        t.join()
        equal(answers, [409], "it must notice")
        h.check_completed("skew", attempts=2)


# ---- the end of a worker ----

def test_killed_at_every_stage():
    with House("killed") as h:
        survivor = h.worker()
        body = h.job("reference")
        equal(survivor.push(body), 204)
        bad = []
        cases = [(op, when) for op in STAGES for when in (before, after) if (op, when) != ("get", before)]

        def one(i, op, when):
            session = f"k{i}"
            victim = h.worker()
            done = threading.Event()

            def kill():
                victim.process.kill()
                victim.process.wait()
                done.set()
            body = h.job(session)
            h.cloud.on(op, when(kill))
            try:
                victim.push(body)
                raise AssertionError("an answer from the dead")
            except OSError:
                pass
            assert done.wait(10)
            had_claimed = ("claim", session) in h.cloud.journal
            fields = h.cloud.fields(session)
            ended = text_at(fields, "processingStatus") == "completed"
            if had_claimed and not ended:
                assert has_path(fields, "inpaint.lease.expiresAt"), fields
                equal(survivor.push(body), 409, "the lease is alive")
                h.expire(session)
            equal(h.deliver(survivor, session, body), [204])
            h.check_completed(session, attempts=1 + (had_claimed and not ended))

        for i, (op, when) in enumerate(cases):
            h.cloud.rules.clear()
            try:
                one(i, op, when)
                equal(h.cloud.violations, [])
            except AssertionError as e:
                bad.append(f"{when.__name__} {op}: {e}")
        assert not bad, "\n  " + "\n  ".join(bad)


def ended_by_sigterm(h, op, session, action, seconds, **settings):
    """SIGTERM when `op` arrives, then `action`; -> the answer to the push, or None. The worker has ended well."""
    w = h.worker(**settings)
    body = h.job(session)

    def terminate_then(request, apply):
        w.terminate()
        time.sleep(0.15)  # until it has noticed
        return action(request, apply)
    h.cloud.on(op, terminate_then)
    started = time.monotonic()
    try:
        status = w.push(body)
    except OSError:
        status = None
    equal(w.stop(seconds), 0, "exit status")
    took = time.monotonic() - started
    assert took < seconds, f"{took:.1f} s: Cloud Run kills after 10"
    return status


def test_sigterm_at_every_stage():
    with House("sigterm") as h:
        survivor = h.worker()
        bad = []
        for i, op in enumerate(STAGES):
            h.cloud.rules.clear()
            session = f"t{i}"
            try:
                status = ended_by_sigterm(h, op, session, lambda r, a: a(r), 9.5)
                assert status in (204, 503), status
                if status == 503:
                    h.check_waits_or_leased(session)
                    equal(text_at(h.cloud.fields(session), "processingStatus"), "pending", "the claim is given back")
                equal(h.deliver(survivor, session, dumps(envelope("u1", session, f"m-{session}"))), [204])
                assert text_attempts(h, session) in (1, 2)
                h.check_completed(session, text_attempts(h, session))
                equal(h.cloud.violations, [])
            except AssertionError as e:
                bad.append(f"{op}: {e}")
                h.cloud.violations.clear()
        assert not bad, "\n  " + "\n  ".join(bad)


def silent_after_sigterm(name, ops):
    with House(name) as h:
        survivor = h.worker()
        bad = []
        for i, op in enumerate(ops):
            h.cloud.rules.clear()
            session = f"h{i}"
            try:
                status = ended_by_sigterm(h, op, session, h.cloud.hang(30), 9.8)
                assert status in (503, None), status
                h.check_waits_or_leased(session)
                h.cloud.rules.clear()
                h.expire(session)
                equal(h.deliver(survivor, session, dumps(envelope("u1", session, f"m-{session}"))), [204])
                h.check_completed(session, text_attempts(h, session))
                equal(h.cloud.violations, [])
            except AssertionError as e:
                bad.append(f"{op}: {e}")
                h.cloud.violations.clear()
        assert not bad, "\n  " + "\n  ".join(bad)


def test_sigterm_while_storage_is_silent():
    silent_after_sigterm("silent-storage", ["media:original.jpg", "stat:edited.jpg", "upload:preview.jpg"])


def test_sigterm_while_firestore_is_silent():
    silent_after_sigterm("silent-firestore", ["get", "claim", "complete"])


def test_sigterm_while_everything_is_silent():
    with House("silent") as h:
        for i, op in enumerate(("media:mask_auto.png", "complete")):
            h.cloud.rules.clear()
            h.cloud.on("release", h.cloud.hang(30), 9)
            status = ended_by_sigterm(h, op, f"s{i}", h.cloud.hang(30), 9.8)
            assert status in (503, None), status
            h.check_waits_or_leased(f"s{i}")


def test_slow_answers_end_at_the_deadline():
    """Each stage in turn falls silent for longer than the job may take."""
    with House("slow", JOB_DEADLINE_SECONDS=5, LEASE_SECONDS=16) as h:
        bad = []
        stages = ["get", "claim", "media:original.jpg", "stat:edited.jpg", "upload:edited.jpg", "complete"]
        workers = [h.worker() for _ in stages]

        def one(i, op):
            session, w = f"z{i}", workers[i]
            body = h.job(session)
            armed = f"/{session}"

            def silent(request, apply):
                if armed in urllib.parse.unquote(request.path) or armed.encode() in request.body:
                    h.cloud.closing.wait(14)
                    return RESET
                return apply(request)
            h.cloud.on(op, silent, 3 * len(stages))
            started = time.monotonic()
            status = w.push(body)
            took = time.monotonic() - started
            assert status == 503, status
            assert took < 5 + 8 + 2, f"answered after {took:.1f} s"
            h.check_waits_or_leased(session)
        with concurrent.futures.ThreadPoolExecutor(len(stages)) as pool:
            for op, future in [(op, pool.submit(one, i, op)) for i, op in enumerate(stages)]:
                try:
                    future.result()
                except AssertionError as e:
                    bad.append(f"{op}: {e}")
        h.cloud.rules.clear()
        for i, op in enumerate(stages):
            try:
                h.expire(f"z{i}")
                h.deliver(workers[0], f"z{i}", dumps(envelope("u1", f"z{i}", f"m-z{i}")))
                h.check_completed(f"z{i}", text_attempts(h, f"z{i}"))
            except AssertionError as e:
                bad.append(f"{op}, delivered again: {e}")
        assert not bad, "\n  " + "\n  ".join(bad)


# ---- more than one, longer than usual, gone in the middle ----

def test_job_longer_than_a_silent_connection_may_live():
    with House("long") as h:
        w = h.worker()
        body = h.job("long")
        for op in ("get", "stat:original.jpg", "stat:mask_auto.png", "stat:edited.jpg", "stat:preview.jpg"):
            h.cloud.on(op, h.cloud.late(7))
        equal(w.push(body), 204)
        h.check_completed("long")


def test_publisher_that_hangs_up_changes_nothing():
    with House("hung-up") as h:
        w = h.worker()
        for i, op in enumerate(("get", "media:original.jpg", "complete")):
            session = f"up{i}"
            body = h.job(session)
            s = socket.create_connection(("127.0.0.1", w.port))

            def hang_up(s=s):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
            h.cloud.on(op, before(hang_up))
            s.sendall(b"POST /inpaint HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            wait_until(session, lambda: ("complete", session) in h.cloud.journal, 20)
            equal(h.deliver(w, session, body), [204])
            h.check_completed(session)


def test_sigterm_sends_back_what_waits():
    with House("queue", QUEUE_DEPTH=4) as h:
        w = h.worker()
        bodies = [h.job(f"q{n}") for n in range(4)]
        answers = {}

        def push(n):
            answers[n] = w.push(bodies[n])
        h.cloud.on("media:original.jpg", h.cloud.late(2))
        threads = [threading.Thread(target=push, args=(n,)) for n in range(4)]
        threads[0].start()
        wait_until("the first runs", lambda: h.cloud.count("claim") == 1)
        for t in threads[1:]:
            t.start()
        time.sleep(0.5)
        w.terminate()
        for t in threads[1:]:
            t.join(3)
        equal({n: answers.get(n) for n in (1, 2, 3)}, {1: 503, 2: 503, 3: 503}, "at once")
        threads[0].join(10)
        equal(answers[0], 204, "it was nearly done")
        equal(w.stop(9), 0)
        equal(h.cloud.count("claim"), 1)


def test_sigterm_while_the_model_loads():
    with House("loading") as h:
        for n in range(6):
            w = Worker(h.cloud, f"faults-loading-{n}", ready=False, **DEFAULTS)
            h.workers.append(w)
            time.sleep(0.03 * n)
            status = w.process.poll()
            w.terminate()
            assert w.process.wait(9) in (0, -signal.SIGTERM), (status, w.process.returncode)


def test_burst_of_pushes():
    with House("burst", QUEUE_DEPTH=2) as h:
        w = h.worker()
        bodies = {n: h.job(f"b{n}") for n in range(40)}
        left, counts, lock = set(bodies), {}, threading.Lock()

        def push(n):
            status = w.push(bodies[n])
            with lock:
                counts[status] = counts.get(status, 0) + 1
                if status == 204:
                    left.discard(n)
        end = time.monotonic() + 60
        while left and time.monotonic() < end:
            threads = [threading.Thread(target=push, args=(n,)) for n in list(left)[:20] * 2]
            for t in threads:
                t.start()
            equal(call("GET", w.base + "/health", timeout=5)[0], 200)
            for t in threads:
                t.join()
        equal(left, set(), f"answers {counts}")
        assert set(counts) <= {204, 409, 429}, counts
        for n in bodies:
            h.check_completed(f"b{n}")


def test_two_messages_for_one_session_at_two_workers():
    with House("rivals") as h:
        workers = [h.worker(), h.worker()]
        for n in range(6):
            h.job(f"v{n}")
            answers = []

            def push(i):
                answers.append(workers[i].push(dumps(envelope("u1", f"v{n}", f"m-{n}-{i}"))))
            threads = [threading.Thread(target=push, args=(i,)) for i in (0, 1)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            equal(answers, [204, 204], "the one that came late is acked: the other stays responsible")
            h.check_completed(f"v{n}")


def test_inputs_that_lie_about_their_size():
    def end(h, w, session, code):
        equal(h.deliver(w, session, dumps(envelope("u1", session, f"m-{session}"))), [204])
        fields = h.cloud.fields(session)
        equal((text_at(fields, "processingStatus"), text_at(fields, "inpaint.errorCode")), ("failed", code), session)
    with House("sizes") as h:
        w = h.worker()
        h.job("empty", b"")
        end(h, w, "empty", "INPUT_NOT_AN_IMAGE")
        h.job("huge")
        h.cloud.put_object("users/u1/sessions/huge/original.jpg", PHOTO, size=str(600 << 20))
        end(h, w, "huge", "INPUT_TOO_LARGE")
        h.job("enormous")
        h.cloud.put_object("users/u1/sessions/enormous/original.jpg", PHOTO, size="9223372036854775807")
        end(h, w, "enormous", "INPUT_TOO_LARGE")
        body = h.job("small")
        h.cloud.on("media:original.jpg", answer(200, b"x" * (20 << 20)), 2)
        equal(w.push(body), 204, "more bytes than were told are not kept")
        h.check_completed("small")


def test_bytes_that_trickle():
    with House("trickle", JOB_DEADLINE_SECONDS=5, LEASE_SECONDS=16) as h:
        w = h.worker()
        body = h.job("drops")

        def trickle(request, apply):
            reply = apply(request)
            reply.drops = True
            return reply
        for op in ("media:original.jpg", "get"):
            h.cloud.on(op, trickle, 9)
            started = time.monotonic()
            equal(w.push(body), 503, op)
            assert time.monotonic() - started < 15, f"{op}: {time.monotonic() - started:.1f} s"
            h.check_waits_or_leased("drops")
            h.cloud.rules.clear()
        equal(h.deliver(w, "drops", body), [204])
        h.check_completed("drops", text_attempts(h, "drops"))


def test_attempts_run_out_over_crashes():
    with House("attempts", MAX_ATTEMPTS=2) as h:
        w = h.worker()
        body = h.job("worn")
        h.cloud.on("stat:original.jpg", answer(403), 9)
        equal([w.push(body) for _ in range(4)], [503, 503, 204, 204])
        fields = h.cloud.fields("worn")
        equal((text_at(fields, "processingStatus"), text_at(fields, "inpaint.errorCode")), ("failed", "ATTEMPTS_EXHAUSTED"))
        assert not has_path(fields, "inpaint.lease")
        h.cloud.on("fail", applied(lose), 1)
        body = h.job("worn-2")
        h.cloud.touch("worn-2", inpaint=to_value({"messageId": "m-worn-2", "attempts": 2}))
        equal(w.push(body), 204, "its answer was lost")
        equal(text_at(h.cloud.fields("worn-2"), "processingStatus"), "failed")


def test_failure_that_cannot_be_written_is_not_acked():
    with House("failing") as h:
        w = h.worker()
        body = h.job("bad", b"this is no picture at all")
        h.cloud.on("fail", rpc_error(403, "PERMISSION_DENIED"), 1)
        equal(w.push(body), 503)
        h.check_waits_or_leased("bad")
        h.cloud.on("fail", applied(lose), 1)
        equal(w.push(body), 204)
        equal(text_at(h.cloud.fields("bad"), "processingStatus"), "failed")


def test_memory_stays_flat():
    def resident(w):
        with open(f"/proc/{w.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    with House("memory") as h:
        w = h.worker()
        faults = [("claim", applied(lose)), ("media:original.jpg", mangled(cut)), ("upload:edited.jpg", applied(lose)),
                  ("complete", applied(lose)), ("media:mask_auto.png", mangled(flip)), ("get", answer(200, b"{}"))]
        sizes = []
        for n in range(36):
            h.cloud.rules.clear()
            if n % 2:
                h.cloud.on(*faults[n // 2 % len(faults)])
            body = h.job(f"m{n}")
            h.deliver(w, f"m{n}", body)
            h.check_completed(f"m{n}", text_attempts(h, f"m{n}"))
            sizes.append(resident(w))
            descriptors = len(os.listdir(f"/proc/{w.process.pid}/fd"))
        assert sizes[-1] - sizes[5] < 1024, f"kB resident: {sizes}"
        assert descriptors < 60, descriptors
        equal(w.stop(10), 0)
        assert "Bearer" not in w.log()


def test_project_from_the_metadata_server():
    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.path == "/computeMetadata/v1/project/project-id" and self.headers["Metadata-Flavor"] == "Google"
            body = b"demo" if known else b"no"
            self.send_response(200 if known else 404)
            self.send_header("Metadata-Flavor", "Google")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with House("metadata") as h:
            del h.cloud.env["GOOGLE_CLOUD_PROJECT"]
            w = h.worker(GCE_METADATA_HOST=f"127.0.0.1:{server.server_port}")
            equal(w.push(h.job("meta")), 204)
            h.check_completed("meta")
    finally:
        server.shutdown()


def main():
    os.makedirs(WORK, exist_ok=True)
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    tests = [(name, f) for name, f in globals().items() if name.startswith("test_") and part in name]
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(lambda t: run_test(*t), tests))
    return close(outcomes)


if __name__ == "__main__":
    sys.exit(main())
