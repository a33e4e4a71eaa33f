#!/usr/bin/env python3
"""Several workers on one subscription in the local cloud, with many jobs, duplicates and kills: what becomes of each session.

Before anything else the same sessions run once in one worker that nobody disturbs: its pictures are the right ones, because
an edit depends on its session and inputs alone. Then the load runs with each number of workers. The status is 0 only if every
session is completed with those bytes, once, and nothing was painted twice but for a kill or a claim that was given back."""
import argparse
import collections
import dataclasses
import hashlib
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, ROOT, os.path.join(os.path.dirname(HERE), "integration")]
import counted
from counted import Counted
from front import Front
from harness import mask_png, photo_png
from tools.local_cloud.cloud import payload
from tools.local_cloud.worker import Worker, free_port, worst

USER = "u1"
LOOK_SECONDS = 0.05
PROGRESS_SECONDS = 5
START_SECONDS = 150  # on a busy machine a worker is "too slow" for a while
LEASE_SLACK_SECONDS = 10  # LEASE_SECONDS is at least the deadline of a job and this
RESULTS = ("edited.jpg", "preview.jpg")


@dataclasses.dataclass
class Load:
    """What is run. A duplicate is, in turn, the same message once more and another message for the same session."""
    workers: int
    jobs: int
    duplicates: float = 0.0  # share of the jobs
    kill_every: float = 0.0  # seconds; 0: never
    kills: int = 1000        # at most
    rate: float = 0.0        # jobs a second, at random; 0: all at once
    faulty: float = 0.0
    slow: float = 0.0
    queue_depth: int = 8
    pending: float = 10.0
    retry: tuple = (0.5, 5.0)
    deadline: int = 20
    steps: int = 4
    model: str = "models/demo"
    size: tuple = (96, 72)
    limit: float = 600.0
    seed: int = 1


@dataclasses.dataclass
class Result:
    load: Load
    seconds: float                   # from the first publication to the last "completed"
    states: collections.Counter      # of the sessions' documents
    wrong: list                      # sentences
    pictures: dict                   # session -> digests of its results
    claims: int
    releases: int
    kills: int
    statuses: collections.Counter    # answers to pushes; None: there was none
    messages: int
    latencies: list                  # seconds from the publication to "completed"
    firestore_reads: int
    firestore_writes: int
    storage_reads: int
    storage_writes: int
    calls: dict
    faults: int

    @property
    def redeliveries(self):
        return sum(self.statuses.values()) - self.messages


class Town:
    """A cloud, a front end and the workers behind it."""

    def __init__(self, load, folder):
        self.load, self.folder, self.random = load, folder, random.Random(load.seed)
        self.front = Front(load.queue_depth + 1, load.pending)
        self.cloud = Counted(self.front.url, load.retry, load.deadline + 60, load.faulty, load.slow)
        self.settings = {**self.cloud.env, "MODEL_DIR": load.model, "BACKEND": "cpu", "STEPS": load.steps,
                         "OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive", "QUEUE_DEPTH": load.queue_depth,
                         "JOB_DEADLINE_SECONDS": load.deadline, "LEASE_SECONDS": load.deadline + LEASE_SLACK_SECONDS,
                         "MAX_ATTEMPTS": 100}
        self.running, self.n_started, self.kills = {}, 0, 0  # Instance -> Worker
        self.again = []  # threads that deliver a message a second time

    def start_worker(self):
        port = free_port()
        self.running[self.front.add(port)] = Worker(self.settings, port, self.log_path(self.n_started))
        self.n_started += 1

    def start(self):
        for _ in range(self.load.workers):
            self.start_worker()
        end = time.monotonic() + START_SECONDS
        while not all(i.is_ready for i in self.running):
            gone = [w for w in self.running.values() if w.ended()]
            if gone or time.monotonic() > end:
                raise OSError(f"a worker does not become ready: {self.last_word()}")
            self.front.look()
            time.sleep(LOOK_SECONDS)

    def last_word(self):
        """What the log of the last worker says of its trouble, and where it is."""
        path = self.log_path(self.n_started - 1)
        with open(path, encoding="utf-8", errors="replace") as log:
            return f"{worst(log.read().splitlines())} ({path})"

    def log_path(self, number):
        return os.path.join(self.folder, f"worker-{self.load.workers}-{number}.log")

    def stop(self):
        self.cloud.subscription.stop()
        for worker in self.running.values():
            worker.process.terminate()
        for worker in self.running.values():
            worker.stop()
        self.front.stop()
        self.cloud.stop()

    def kill_one(self):
        """SIGKILL for one that has work, where one has; a new one takes its place."""
        busy = [i for i in self.running if i.under_way] or list(self.running)
        instance = self.random.choice(busy)
        worker = self.running.pop(instance)
        worker.process.kill()
        worker.process.wait()
        self.front.remove(instance)
        self.kills += 1
        self.start_worker()

    # ---- the jobs ----

    def sessions(self):
        return [f"s{n}" for n in range(self.load.jobs)]

    def create_sessions(self):
        w, h = self.load.size
        photo, mask = photo_png(w, h), mask_png(w, h, (w // 4, h // 4, w // 2, h // 2))
        for session in self.sessions():
            self.cloud.create_session(USER, session, photo, mask)

    def schedule(self):
        """-> [(second, session, what)] in order: the message, and for some the same again or another one."""
        at, plan = 0.0, []
        n_twice = round(self.load.duplicates * self.load.jobs)
        twice = set(self.random.sample(self.sessions(), n_twice))
        for n, session in enumerate(self.sessions()):
            at += self.random.expovariate(self.load.rate) if self.load.rate else 0.0
            plan.append((at, session, "first"))
            if session in twice:
                plan.append((at + self.random.uniform(0, 2), session, "again" if n % 2 else "another"))
        return sorted(plan)

    def publish(self, session, what):
        if what == "again":  # at least once: Pub/Sub itself delivers a message a second time
            message = self.cloud.subscription.messages[self.cloud.subscription.ids_of(payload(USER, session))[0]]
            self.again.append(threading.Thread(target=self.cloud.subscription.deliver, args=(message,), daemon=True))
            self.again[-1].start()
        else:
            self.cloud.publish(USER, session)

    def unfinished(self):
        """How many messages are not acknowledged, and second deliveries not answered."""
        return (sum(not m.over.is_set() for m in list(self.cloud.subscription.messages.values()))
                + sum(t.is_alive() for t in self.again))

    def run(self, say):
        """Publishes, kills, looks, until every message is acknowledged or the time is up. -> how many are not."""
        begin, plan = time.monotonic(), self.schedule()
        next_kill = self.load.kill_every or float("inf")
        next_word = PROGRESS_SECONDS
        while plan or self.unfinished():
            now = time.monotonic() - begin
            while plan and plan[0][0] <= now:
                self.publish(*plan.pop(0)[1:])
            if now >= next_kill and self.kills < self.load.kills and not self.all_completed():
                self.kill_one()
                next_kill = now + self.load.kill_every
            if now >= next_word:
                say(f"{now:4.0f} s: {len(self.cloud.completed_at)} of {self.load.jobs} completed, {self.kills} kills")
                next_word += PROGRESS_SECONDS
            if now > self.load.limit:
                break
            self.front.look()
            time.sleep(LOOK_SECONDS)
        return len(plan) + self.unfinished()

    def all_completed(self):
        return len(self.cloud.completed_at) == self.load.jobs

    # ---- what has become of them ----

    def picture(self, session):
        found = [self.cloud.object(USER, session, file) for file in RESULTS]
        return tuple(hashlib.sha256(f["data"]).hexdigest() if f else None for f in found)

    def result(self):
        cloud, sessions = self.cloud, self.sessions()
        messages = list(cloud.subscription.messages.values())
        pushes = [d for m in messages for d in cloud.subscription.deliveries(m.id)]
        published = {}
        for m in messages:
            published.setdefault(m.value["sessionId"], m.published_us / 1e6)
        states = {s: (cloud.document(USER, s) or {}).get("processingStatus", "lost") for s in sessions}
        return Result(
            load=self.load, seconds=max(cloud.completed_at.values(), default=time.time()) - min(published.values()), states=collections.Counter(states.values()),
            wrong=[f"{s} is {state}" for s, state in states.items() if state != "completed"],
            pictures={s: self.picture(s) for s in sessions},
            claims=sum(cloud.times(s, "claim") for s in sessions), releases=sum(cloud.times(s, "release") for s in sessions),
            kills=self.kills, statuses=collections.Counter(d["status"] for d in pushes),
            messages=len(messages) + sum(1 for m in messages for d in m.deliveries[1:] if d["attempt"] == 1),
            latencies=sorted(at - published[s] for s, at in cloud.completed_at.items()),
            firestore_reads=cloud.total(*counted.FIRESTORE_READS), firestore_writes=cloud.total(*counted.FIRESTORE_WRITES),
            storage_reads=cloud.total(*counted.STORAGE_READS), storage_writes=cloud.total(*counted.STORAGE_WRITES),
            calls=dict(cloud.calls), faults=cloud.n_faults)


def run_load(load, folder, say=lambda text: None):
    """-> the Result; what must hold of one session is judged here, what needs the right pictures by `judge`."""
    os.makedirs(folder, exist_ok=True)
    town = Town(load, folder)
    try:
        town.create_sessions()
        town.start()
        left = town.run(say)
        result = town.result()
        if left:
            result.wrong.append(f"{left} messages were not acknowledged within {load.limit:.0f} s")
        for s in town.sessions():
            done, uploads, claims = (town.cloud.times(s, name) for name in ("complete", "upload:edited.jpg", "claim"))
            if done != 1:
                result.wrong.append(f"{s} was completed {done} times")
            if not 1 <= uploads <= claims:
                result.wrong.append(f"{s} was claimed {claims} times and its picture uploaded {uploads} times")
        return result
    finally:
        town.stop()


def judge(result, right):
    """-> sentences about what may not be; `right` are the pictures of the run that nobody disturbed."""
    wrong = list(result.wrong)
    wrong += [f"{s}: other bytes than undisturbed" for s, picture in result.pictures.items()
              if None in picture or picture != right[s]]
    extra = result.claims - result.load.jobs
    if extra > result.kills + result.releases:
        wrong.append(f"{extra} claims beyond one a session, with {result.kills} kills and {result.releases} claims given back")
    return wrong


# ---- the report ----

def percentile(sorted_values, p):
    return sorted_values[min(len(sorted_values) - 1, int(p * len(sorted_values)))] if sorted_values else float("nan")


def lines_of(result, wrong):
    r, jobs = result, result.load.jobs
    names = {None: "no answer"}
    answers = ", ".join(f"{names.get(s, s)}: {n}" for s, n in sorted(r.statuses.items(), key=lambda item: str(item[0])))
    calls = ", ".join(f"{name} {n / jobs:.2f}" for name, n in sorted(r.calls.items()))
    yield (f"{r.load.workers} worker{'s' if r.load.workers > 1 else ''}: {r.states['completed']} completed, "
           f"{r.states['failed']} failed, {jobs - r.states['completed'] - r.states['failed']} lost of {jobs} in {r.seconds:.1f} s; "
           f"{jobs / r.seconds / r.load.workers:.2f} jobs a second and worker")
    yield (f"  latency: p50 {percentile(r.latencies, 0.5):.2f} s, p95 {percentile(r.latencies, 0.95):.2f} s, "
           f"max {max(r.latencies, default=float('nan')):.2f} s")
    yield f"  {r.messages} messages, {r.redeliveries} redeliveries ({r.redeliveries / jobs:.2f} a job); answers: {answers}"
    yield f"  {r.claims} claims with {r.kills} kills, {r.releases} given back; {r.faults} faulty answers"
    yield (f"  a job: Firestore {r.firestore_reads / jobs:.2f} reads, {r.firestore_writes / jobs:.2f} writes; "
           f"Storage {r.storage_reads / jobs:.2f} reads, {r.storage_writes / jobs:.2f} writes")
    yield f"  a job's calls: {calls}"
    for sentence in wrong[:20]:
        yield f"  WRONG: {sentence}"


# ---- the command ----

def numbers(text):
    values = [int(part) for part in text.split(",")]
    if not all(1 <= v <= 64 for v in values):
        raise ValueError(text)
    return values


def pauses(text):
    first, longest = (float(part) for part in text.split(","))
    if not 0 <= first <= longest < 1e6:
        raise ValueError(text)
    return first, longest


def between(low, high, kind=float):
    def parse(text):
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low} to {high}")
        return value
    return parse


def parser():
    p = argparse.ArgumentParser(prog="scripts/load.sh", description=__doc__, epilog="Logs of the workers: build/load.")
    share = between(0, 100)
    p.add_argument("--workers", type=numbers, default=[1, 2, 4], metavar="N,...", help="a run with each (default: 1,2,4)")
    p.add_argument("--jobs", type=between(1, 10000, int), default=40, metavar="M", help="sessions of a run (default: 40)")
    p.add_argument("--duplicates", type=share, default=10, metavar="PERCENT", help="messages that come twice (default: 10)")
    p.add_argument("--kill-every", type=between(0, 3600), default=5, metavar="SECONDS",
                   help="kill -9 a worker with work that often, and start another; 0: never (default: 5)")
    p.add_argument("--kills", type=between(0, 1000, int), default=1000, metavar="N", help="at most so many (default: 1000)")
    p.add_argument("--rate", type=between(0, 1000), default=0, metavar="R", help="jobs a second at random; 0: all at once (default)")
    p.add_argument("--faulty", type=share, default=0, metavar="PERCENT", help="calls to the cloud answered with 503 (default: 0)")
    p.add_argument("--slow", type=between(0, 5000), default=0, metavar="MS", help="before each answer of the cloud (default: 0)")
    p.add_argument("--queue-depth", type=between(0, 1000, int), default=8, metavar="N",
                   help="QUEUE_DEPTH; the front end gives each worker one push more (default: 8)")
    p.add_argument("--pending", type=between(0, 300), default=10, metavar="SECONDS",
                   help="how long the front end lets a push wait for room before its 429 (default: 10)")
    p.add_argument("--retry-seconds", type=pauses, default=(0.5, 5.0), metavar="FIRST,LONGEST",
                   help="pauses before a message is pushed again (default: 0.5,5; Pub/Sub has 10,600)")
    p.add_argument("--deadline", type=between(5, 3000, int), default=20, metavar="SECONDS", help="JOB_DEADLINE_SECONDS (default: 20)")
    p.add_argument("--steps", type=between(1, 1000, int), default=4, help="of the model (default: 4)")
    p.add_argument("--model", default="models/demo", metavar="DIR", help="the model folder (default: models/demo)")
    p.add_argument("--seed", type=int, default=1, help="of kills, duplicates and arrivals (default: 1)")
    return p


def say(text):
    print(text, flush=True)


def main(argv=None):
    args = parser().parse_args(argv)
    os.chdir(ROOT)
    folder, failed = os.path.join("build", "load"), False
    common = {"jobs": args.jobs, "queue_depth": args.queue_depth, "pending": args.pending, "retry": args.retry_seconds,
              "deadline": args.deadline, "steps": args.steps, "model": args.model, "seed": args.seed}
    try:
        say(f"undisturbed: {args.jobs} jobs, one worker")
        calm = run_load(Load(workers=1, **common), folder, say)
        right = calm.pictures
        runs = [calm]
        for n in args.workers:
            say(f"under load: {args.jobs} jobs, {n} worker{'s' if n > 1 else ''}")
            runs.append(run_load(Load(workers=n, duplicates=args.duplicates / 100, kill_every=args.kill_every, kills=args.kills,
                                      rate=args.rate, faulty=args.faulty / 100, slow=args.slow / 1000, **common), folder, say))
    except OSError as e:
        print(f"load: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("load: ended before the last session was completed", file=sys.stderr)
        return 1
    for number, result in enumerate(runs):
        wrong = judge(result, right)
        failed = failed or bool(wrong)
        say("\n" + ("undisturbed, " if number == 0 else "") + "\n".join(lines_of(result, wrong)))
    say("\n" + ("not every session ended as it must" if failed
                else "every session was completed once, with the bytes of the undisturbed run"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
