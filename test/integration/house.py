"""The base of the tests with a faulty cloud: a cloud, its workers, and what must hold at the end of any test."""
import contextlib
import os
import time

import modes
from fake_cloud import *  # noqa: F403
from harness import PROGRAM, WORK, Worker, dumps, envelope, equal, jpeg_size, mask_png, noise_png, once, photo_png, to_value

PHOTO, MASK = photo_png(64, 64), mask_png(64, 64, (20, 20, 40, 40))
LARGE = (2600, 1700)
large_pictures = once(lambda: (noise_png(*LARGE), mask_png(*LARGE, (400, 300, 600, 500))))
# several workers share this machine: threads that spin for each other would use all of it
DEFAULTS = {"STEPS": 1, "OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"}

# every request of a job without faults, in its order; both inputs are downloaded at the same time, and so are the
# results uploaded
STAGES = ["get", "claim", "stat:original.jpg", "media:original.jpg", "stat:mask_auto.png", "media:mask_auto.png",
          "stat:edited.jpg", "upload:edited.jpg", "stat:preview.jpg", "upload:preview.jpg", "complete"]


class House:
    """A cloud, its workers, and what must hold at the end of any test. In production the workers have a service account's
    key, or tokens of the metadata server (credentials="metadata")."""

    def __init__(self, name, credentials="key", **settings):
        self.name, self.settings, self.workers, self.bad = name + modes.suffix(), settings, [], []
        self.cloud = modes.cloud(credentials)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for w in self.workers:
            if w.process.poll() is None:
                w.process.kill()
            w.process.wait()
        self.cloud.stop()
        if kind is None:
            assert not self.bad, "\n  " + "\n  ".join(self.bad)
            equal(self.cloud.violations, [])
            for w in self.workers:
                equal(self.cloud.secrets_in(w.log()), [], "secrets in the log")
                for line in w.log().splitlines():
                    assert "Sanitizer" not in line and "runtime error" not in line, line

    @contextlib.contextmanager
    def case(self, label):
        """One of several cases in a test; it begins without rules. A failure is reported at the end, after the other
        cases."""
        self.cloud.rules.clear()
        try:
            yield
            equal(self.cloud.violations, [])
        except AssertionError as e:
            self.bad.append(f"{label}: {e}")
            self.cloud.violations.clear()

    def worker(self, name="", **settings):
        w = Worker(self.cloud, f"faults-{self.name}-{len(self.workers)}{name}", **{**DEFAULTS, **self.settings, **settings})
        self.workers.append(w)
        return w

    def job(self, session, photo=PHOTO, mask=MASK, **fields):
        self.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", photo)
        self.cloud.put_object(f"users/u1/sessions/{session}/mask_auto.png", mask)
        self.cloud.put(session, {"processingStatus": to_value("pending"), "note": to_value("the app's"), **fields})
        return dumps(envelope("u1", session, f"m-{session}"))

    def large_job(self, session):
        """One whose edited.jpg is uploaded in pieces."""
        photo, mask = large_pictures()
        body = self.job(session, b"", mask)
        # without a checksum, which takes a while in Python
        self.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", photo, crc32c=None)
        return body

    def output(self, session, file="edited.jpg"):
        return (self.cloud.objects.find(f"users/u1/sessions/{session}/{file}") or {}).get("data")

    def expire(self, session):
        """Lets the lease of a dead worker expire."""
        fields = self.cloud.fields(session)
        if text_at(fields, "processingStatus") == "processing":
            self.cloud.touch(session, inpaint__lease__expiresAt={"timestampValue": "2020-01-01T00:00:00Z"})

    def deliver(self, worker, session, body, most=6):
        """Delivers a message until it is acknowledged, as Pub/Sub does; -> the answers."""
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


def wrapped(name, script):
    """-> a program: these lines of a shell, in which RUN becomes the worker."""
    wrapper = os.path.join(WORK, name)
    with open(wrapper, "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n" + script.replace("RUN", f'exec "{PROGRAM}" "$@"') + "\n")
    os.chmod(wrapper, 0o755)
    return wrapper


def run_cases(name, cases, **settings):
    """Runs one worker with one session per case: (label, [(op, action, times)], the answers allowed before the ack)."""
    with House(name, **settings) as h:
        w = h.worker()
        for i, (label, rules, first) in enumerate(cases):
            with h.case(label):
                session = f"case-{i}"
                body = h.job(session)
                for op, action, times in rules:
                    h.cloud.on(op, action(h, session) if getattr(action, "needs_house", False) else action, times)
                answers = h.deliver(w, session, body)
                equal(answers[0], first, "first answer")
                h.check_completed(session, text_attempts(h, session))


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


def cut(reply):
    reply.cut = len(reply.body) // 2


def flip(reply):
    reply.body = reply.body[:50] + bytes([reply.body[50] ^ 1]) + reply.body[51:]


def whole_of_range(request, apply):
    del request.headers["Range"]
    return apply(request)


def at_every_stage(h, w, prefix, change, check, when=before, stages=STAGES):
    for i, op in enumerate(stages):
        with h.case(op):
            session = f"{prefix}-{i}"
            body = h.job(session)
            h.cloud.on(op, when(lambda s=session: change(s)))
            check(session, op, body, w.push(body))
