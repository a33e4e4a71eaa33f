"""Several workers, long jobs, and peers that disappear in the middle."""
import os
import re
import signal
import socket
import struct
import threading
import time

import modes
from fake_cloud import *  # noqa: F403
from harness import Worker, call, dumps, envelope, equal, serving, to_value, wait_until
from house import DEFAULTS, PHOTO, House, cut, flip, text_attempts


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
            head = "".join(f"{name}: {value}\r\n" for name, value in {**w.push_headers(), "Content-Length": len(body)}.items())
            s.sendall(f"POST /inpaint HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode() + body)
            wait_until(session, lambda: ("complete", session) in h.cloud.journal, 20)
            wait_until("its place is free", lambda: not w.metrics()["inpaint_job_running"])
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
        wait_until("the others wait", lambda: w.metrics()["inpaint_queue_depth"] == len(threads) - 1)
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


@modes.only(modes.EMULATORS)  # faults_tokens.py has it for production
def test_project_from_the_metadata_server():
    def project(request):
        known = request.path == "/computeMetadata/v1/project/project-id" and request.headers["Metadata-Flavor"] == "Google"
        return Reply(200 if known else 404, b"demo" if known else b"", {"Metadata-Flavor": "Google"})
    with serving(project) as address, House("metadata") as h:
        del h.cloud.env["GOOGLE_CLOUD_PROJECT"]
        w = h.worker(GCE_METADATA_HOST=address)
        equal(w.push(h.job("meta")), 204)
        h.check_completed("meta")


@modes.only(modes.EMULATORS)
def test_sigterm_while_the_metadata_server_is_silent():
    asked, over = threading.Event(), threading.Event()

    def silent(request):
        asked.set()
        over.wait(40)
        return Reply(404)
    with serving(silent) as address, House("no-metadata") as h:
        del h.cloud.env["GOOGLE_CLOUD_PROJECT"]
        w = h.worker(ready=False, GCE_METADATA_HOST=address)
        try:
            assert asked.wait(20), "nobody asks"
            w.terminate()
            equal(w.process.wait(9), 0, "exit status")
            assert not w.listens(), "nobody listens any more"
        finally:
            over.set()
