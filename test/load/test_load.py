#!/usr/bin/env python3
"""The load test itself, small: `test_load.py [parts of names]`. Needs the build, build/models/tiny and python3 alone."""
import collections
import contextlib
import dataclasses
import io
import math
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, ROOT, os.path.join(os.path.dirname(HERE), "integration")]
import load
import queueing
from front import Front
from harness import MODEL, Suite, call, dumps, equal, run_suites, tests_of, wait_until
from load import Load, judge, percentile, run_load
from tools.local_cloud.pubsub import Subscription
from tools.local_cloud.server import TEXT, Reply, Server

FOLDER = os.path.join(ROOT, "build", "load", "test")
# A lease that a kill leaves behind lasts LEASE_SECONDS, ten seconds more than the deadline.
SMALL = {"jobs": 12, "model": MODEL, "steps": 1, "deadline": 8, "slow": 0.02}


class Stand:
    """An instance that takes `seconds` for a push, one at a time, and answers 204."""

    def __init__(self, front, seconds, ready=True):
        self.seconds, self.ready, self.turn, self.most, self.now = seconds, ready, threading.Lock(), 0, 0
        self.counting = threading.Lock()
        self.server = Server()
        self.server.route("GET", "/ready", lambda _: Reply(200 if self.ready else 503, b"", TEXT))
        self.server.route("POST", "/inpaint", self.push)
        self.instance = front.add(self.server.server_port)

    def push(self, _):
        with self.counting:
            self.now += 1
            self.most = max(self.most, self.now)
        with self.turn:
            time.sleep(self.seconds)
        with self.counting:
            self.now -= 1
        return Reply(204)


@contextlib.contextmanager
def stands(n, seconds, concurrency, pending, ready=True):
    front = Front(concurrency, pending)
    made = [Stand(front, seconds, ready) for _ in range(n)]
    front.look()
    try:
        yield front, made
    finally:
        front.stop()
        for s in made:
            s.server.stop()


def push_all(front, n):
    """-> the answers to n pushes at once."""
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(call("POST", front.url, b"{}")[0])) for _ in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return collections.Counter(answers)


# ---- the front end ----

def test_front_spreads_pushes_and_keeps_to_the_concurrency():
    with stands(3, 0.5, concurrency=2, pending=10) as (front, made):
        equal(push_all(front, 3), {204: 3})
        equal([s.most for s in made], [1, 1, 1], "a push goes to who has the fewest")
        equal(push_all(front, 6), {204: 6})
        equal([s.most for s in made], [2, 2, 2])
        equal([s.instance.answered for s in made], [3, 3, 3])


def test_front_answers_429_when_there_is_no_room_for_too_long():
    with stands(1, 1.0, concurrency=2, pending=0.2) as (front, _):
        equal(push_all(front, 5), {204: 2, 429: 3})
        equal(front.refused, 3)


def test_front_lets_a_push_wait_for_an_instance_that_becomes_ready():
    with stands(1, 0.0, concurrency=1, pending=20, ready=False) as (front, made):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(push_all(front, 1)))
        thread.start()
        time.sleep(0.3)
        equal(answers, [])
        made[0].ready = True
        front.look()
        thread.join()
        equal(answers, [{204: 1}])


def test_front_answers_503_for_an_instance_that_is_gone():
    with stands(1, 0.0, concurrency=1, pending=0.2) as (front, made):
        made[0].server.stop()
        equal(push_all(front, 1), {503: 1})
        equal((front.broken, made[0].instance.is_ready), (1, False))
        equal(push_all(front, 1), {429: 1}, "nothing goes there until it is ready again")


# ---- the workers ----

def test_load_with_duplicates_and_a_kill_loses_nothing():
    folder = os.path.join(FOLDER, "kills")
    calm = run_load(Load(workers=1, **SMALL), folder)
    equal(judge(calm, calm.pictures), [])
    jobs = SMALL["jobs"]
    # The calls of one job that nothing disturbs, as docs/SCALE.md has them; a look for each delivery.
    calls = {name: n / jobs for name, n in calm.calls.items()}
    equal(calls, {"look": sum(calm.statuses.values()) / jobs, "get": 1, "claim": 1, "progress": calls["progress"], "complete": 1,
                  "stat:original.jpg": 1, "media:original.jpg": 1, "stat:mask_auto.png": 1, "media:mask_auto.png": 1,
                  "stat:edited.jpg": 1, "upload:edited.jpg": 1, "stat:preview.jpg": 1, "upload:preview.jpg": 1})
    assert 1 <= calls["progress"] <= 1.5, calls  # before the upload; more only where a job takes longer than a second
    disturbed = run_load(Load(workers=2, duplicates=0.25, kill_every=0.5, kills=1, **SMALL), folder)
    equal(judge(disturbed, calm.pictures), [])
    equal((disturbed.kills, disturbed.states), (1, {"completed": jobs}))
    assert disturbed.messages == jobs + 3, disturbed.messages
    assert len(set(calm.pictures.values())) == jobs, "the pictures differ, or the comparison proves nothing"


def test_load_with_a_cloud_that_fails_loses_nothing():
    small, folder = {**SMALL, "jobs": 8}, os.path.join(FOLDER, "faults")
    calm = run_load(Load(workers=1, **{**small, "slow": 0.0}), folder)
    disturbed = run_load(Load(workers=2, faulty=0.05, **small), folder)
    equal(judge(disturbed, calm.pictures), [])
    assert disturbed.faults > 0, "nothing failed"


def test_load_that_is_not_over_in_time_is_told():
    result = run_load(Load(workers=1, limit=0.0, **{**SMALL, "jobs": 1}), os.path.join(FOLDER, "late"))
    assert "1 messages were not acknowledged within 0 s" in result.wrong, result.wrong


# ---- the verdict ----

def a_result(**changes):
    right = load.Result(load=Load(workers=2, jobs=2), seconds=2.0, states=collections.Counter(completed=2), wrong=[],
                        pictures={"s0": ("a", "b"), "s1": ("c", "d")}, claims=2, releases=0, kills=0,
                        statuses=collections.Counter({204: 2}), messages=2, latencies=[1.0, 2.0], firestore_reads=4,
                        firestore_writes=6, storage_reads=12, storage_writes=4, calls={"claim": 2}, faults=0)
    return dataclasses.replace(right, **changes)


def test_verdict_finds_each_thing_that_may_not_be():
    right = a_result().pictures
    equal(judge(a_result(), right), [])
    for changes, words in (({"pictures": {**right, "s1": ("c", "x")}}, "s1: other bytes"),
                           ({"pictures": {**right, "s0": ("a", None)}}, "s0: other bytes"),
                           ({"wrong": ["s1 is failed"]}, "s1 is failed"),
                           ({"claims": 3}, "1 claims beyond one a session"),
                           ({"claims": 5, "kills": 1, "releases": 1}, "3 claims beyond one a session")):
        (said,) = judge(a_result(**changes), right)
        assert words in said, (changes, said)
    equal(judge(a_result(claims=4, kills=1, releases=1), right), [], "a kill and a release each cost a claim")


def test_report_says_what_happened():
    said = "\n".join(load.lines_of(a_result(statuses=collections.Counter({204: 2, None: 1, 429: 3}), claims=3, kills=1), ["s9 is lost"]))
    for words in ("2 workers: 2 completed, 0 failed, 0 lost of 2 in 2.0 s; 0.50 jobs a second and worker", "p50 2.00 s",
                  "2 messages, 4 redeliveries (2.00 a job); answers: 204: 2, 429: 3, no answer: 1", "3 claims with 1 kills",
                  "Firestore 2.00 reads, 3.00 writes; Storage 6.00 reads, 2.00 writes", "WRONG: s9 is lost"):
        assert words in said, (words, said)
    equal(percentile([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.95), 10)


def status_of_command(*options):
    done = subprocess.run([os.path.join(ROOT, "scripts", "load.sh"), *options], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_command_says_what_it_takes():
    status, said = status_of_command("--help")
    equal(status, 0)
    assert "--kill-every" in said and "duplicates" in said, said
    for bad in (["--jobs", "0"], ["--workers", "0"], ["--duplicates", "101"], ["--retry-seconds", "5,1"], ["--what"]):
        status, said = status_of_command(*bad)
        equal(status, 2, f"{bad}: {said}")
    status, said = status_of_command("--model", "nowhere", "--jobs", "1")
    equal(status, 1, said)
    assert "does not become ready" in said and "nowhere" in said, said


# ---- the computed queue ----

def test_mean_wait_is_that_of_the_published_formulas():
    # M/D/1: load times service / (2 (1 - load)); with many instances Erlang C, here from tables: C(10, 8) = 0.4092
    assert math.isclose(queueing.wait_in_line(1, 42, 0.5 / 42), 0.5 * 42 / (2 * 0.5)), "one instance, half used"
    assert math.isclose(queueing.wait_in_line(10, 1, 8), 0.4092 / (10 - 8) / 2, rel_tol=1e-3), "ten instances"
    equal(queueing.wait_in_line(2, 1, 2), math.inf)


def test_computed_queue_waits_as_long_as_the_formula_where_nothing_is_refused():
    for instances, share in ((1, 0.5), (4, 0.7)):
        # one push at an instance and the others in the front end: the one line that the formula is about
        model = queueing.Model(instances, 1.0, share * instances, jobs=20000, queue_depth=0, pending=1e9, deadline=1e9)
        run = queueing.Run(model).run()
        mean = sum(run.latencies) / len(run.latencies) - 1.0
        assert math.isclose(mean, queueing.wait_in_line(instances, 1.0, model.rate), rel_tol=0.12), (instances, mean)
        equal(run.redeliveries, 0)


def test_computed_redeliveries_are_those_of_the_real_front_end():
    """A burst that does not fit: what the local cloud's subscription and the front end do with it, and what was computed."""
    n, seconds, depth, pending, retry = 24, 0.3, 1, 0.2, (0.2, 1.6)
    with stands(2, seconds, depth + 1, pending) as (front, _):
        subscription = Subscription("projects/demo/subscriptions/s", front.url, retry=retry)
        for i in range(n):
            subscription.publish(dumps({"n": i}))
        wait_until("all are acknowledged", lambda: all(m.over.is_set() for m in subscription.messages.values()))
        pushes = sum(len(m.deliveries) for m in subscription.messages.values())
    run = queueing.Run(queueing.Model(2, seconds, 0, n, depth, pending, deadline=100, retry=retry)).run()
    equal(len(run.latencies), n)
    measured, computed = pushes - n, run.redeliveries
    print(f"  redeliveries of {n} messages: {measured} measured, {computed} computed")
    assert computed > n, "the burst does not fit"
    assert math.isclose(measured, computed, rel_tol=0.25), (measured, computed)


def test_computed_command_prints_its_figures():
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        equal(queueing.main(["--instances", "4", "--utilisation", "0.5", "--jobs", "200"]), 0)
    assert "200 jobs, 4 instances" in out.getvalue(), out.getvalue()


def is_long(name):
    """Those that wait for workers run side by side; the others count fractions of a second."""
    return name.startswith(("load_", "command_"))


TESTS = tests_of(sys.modules[__name__])
QUICK = Suite([t for t in TESTS if not is_long(t[0])])
LONG = Suite([t for t in TESTS if is_long(t[0])], at_once=3)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], QUICK, LONG))
