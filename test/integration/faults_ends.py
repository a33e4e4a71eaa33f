"""Workers that are killed or told to stop at every stage of a job, while services do not answer."""
import concurrent.futures
import signal
import threading
import time

from fake_cloud import *  # noqa: F403
from harness import FAULTY, call, dumps, envelope, equal, wait_until
from house import STAGES, House, text_attempts, wrapped


def test_killed_at_every_stage():
    with House("killed") as h:
        survivor = h.worker()
        body = h.job("reference")
        equal(survivor.push(body), 204)
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
            with h.case(f"{when.__name__} {op}"):
                one(i, op, when)


def ended_by_sigterm(h, op, session, action, seconds, **settings):
    """Sends SIGTERM when `op` arrives, then does `action`; -> the answer to the push, or None. Checks that the worker
    exits cleanly."""
    w = h.worker(**settings)
    body = h.job(session)

    told = []

    def terminate_then(request, apply):
        told.append(time.monotonic())
        w.terminate()
        wait_until("the worker has noticed", lambda: call("GET", w.base + "/ready")[0] == 503)
        return action(request, apply)
    h.cloud.on(op, terminate_then)
    try:
        status = w.push(body)
    except OSError:
        status = None
    equal(w.stop(seconds), 0, "exit status")
    took = time.monotonic() - told[0]
    assert took < seconds, f"{took:.1f} s: Cloud Run kills after 10"
    return status


def test_sigterm_at_every_stage():
    with House("sigterm") as h:
        survivor = h.worker()
        for i, op in enumerate(STAGES):
            with h.case(op):
                session = f"t{i}"
                status = ended_by_sigterm(h, op, session, lambda r, a: a(r), 9.5)
                assert status in (204, 503), status
                if status == 503:
                    h.check_waits_or_leased(session)
                    equal(text_at(h.cloud.fields(session), "processingStatus"), "pending", "the claim is given back")
                equal(h.deliver(survivor, session, dumps(envelope("u1", session, f"m-{session}"))), [204])
                assert text_attempts(h, session) in (1, 2)
                h.check_completed(session, text_attempts(h, session))


def test_every_way_to_stop():
    """Also where whoever started the worker had blocked the signal, and nohup's ignoring of SIGHUP."""
    with House("stop") as h:
        for number, blocked in ((signal.SIGINT, ()), (signal.SIGHUP, ()), (signal.SIGTERM, {signal.SIGTERM, signal.SIGHUP})):
            with h.case(f"{number}, blocked: {blocked}"):
                signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
                try:
                    w = h.worker()
                finally:
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
                session = f"stop-{len(h.workers)}"
                h.cloud.on("media:original.jpg", before(lambda w=w, n=number: w.process.send_signal(n)))
                equal(w.push(h.job(session)), 204)
                equal(w.process.wait(5), 0, "exit status")
                h.check_completed(session)
        w = h.worker(program=wrapped("nohup.sh", "trap '' HUP\nRUN"))
        w.process.send_signal(signal.SIGHUP)
        equal(w.push(h.job("nohup")), 204)
        equal(w.stop(9), 0)


def silent_after_sigterm(name, ops):
    with House(name) as h:
        survivor = h.worker()
        for i, op in enumerate(ops):
            with h.case(op):
                session = f"h{i}"
                status = ended_by_sigterm(h, op, session, h.cloud.hang(30), 9.8)
                assert status in (503, None), status
                h.check_waits_or_leased(session)
                h.cloud.rules.clear()
                h.expire(session)
                equal(h.deliver(survivor, session, dumps(envelope("u1", session, f"m-{session}"))), [204])
                h.check_completed(session, text_attempts(h, session))


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
    """At each stage in turn, the service does not answer for longer than the job may take."""
    with House("slow", JOB_DEADLINE_SECONDS=5, LEASE_SECONDS=16) as h:
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
                    h.bad.append(f"{op}: {e}")
        for i, op in enumerate(stages):
            with h.case(f"{op}, delivered again"):
                h.expire(f"z{i}")
                h.deliver(workers[0], f"z{i}", dumps(envelope("u1", f"z{i}", f"m-z{i}")))
                h.check_completed(f"z{i}", text_attempts(h, f"z{i}"))


def test_broken_device_ends_the_worker():
    with House("device") as h:
        w = h.worker(program=FAULTY, BACKEND="cuda", FAKE_DEVICE=600)
        answers = []
        while not answers or answers[-1] == 204:  # jobs, until the device breaks during one of them
            assert len(answers) < 50, "the device never breaks"
            session = f"device-{len(answers)}"
            body = h.job(session)
            answers.append(w.push(body))
        equal(answers[-1], 500, f"after {len(answers) - 1} jobs")
        equal(text_at(h.cloud.fields(session), "processingStatus"), "pending")
        h.check_waits_or_leased(session)
        while w.process.poll() is None:
            try:
                equal(call("GET", w.base + "/health", timeout=5)[0], 503)
                equal(call("GET", w.base + "/ready", timeout=5)[0], 503)
            except OSError:  # the worker has already exited
                pass
        equal(w.process.wait(15), 1, "exit status")
        equal(h.deliver(h.worker(), session, body), [204])
        h.check_completed(session, attempts=2)


def test_hanging_device_ends_the_worker():
    with House("device-hangs") as h:
        w = h.worker(program=FAULTY, BACKEND="cuda", FAKE_DEVICE=600, FAKE_DEVICE_HANGS=1, JOB_DEADLINE_SECONDS=5, LEASE_SECONDS=3500)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            for i in range(50):  # jobs, until the device hangs during one of them
                session = f"hangs-{i}"
                body = h.job(session)
                answer = pool.submit(push_or_cut, w, body)
                if concurrent.futures.wait([answer], 15).not_done:
                    break
            equal(answer.result(60), None, f"the answer after {i} jobs")
        equal(w.process.wait(30), 1, "exit status")
        equal(text_at(h.cloud.fields(session), "processingStatus"), "pending")
        equal(h.deliver(h.worker(), session, body), [204])
        h.check_completed(session, attempts=2)


def push_or_cut(worker, body):
    try:
        return worker.push(body)
    except OSError:
        return None  # the connection ended without an answer


def test_device_that_breaks_while_the_model_loads_ends_the_worker():
    with House("device-load") as h:
        w = h.worker(ready=False, program=FAULTY, BACKEND="cuda", FAKE_DEVICE=30)
        equal(w.process.wait(30), 1, "exit status")
        assert "illegal memory access" in w.log(), w.log()
