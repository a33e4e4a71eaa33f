#!/usr/bin/env python3
"""What many workers behind one push subscription do with a stream of jobs, computed event by event without any worker.

Pub/Sub pushes a message; the front end gives it to the instance with the fewest pushes under way, lets it wait where there is
no room, and answers 429 in the end; an instance works on one job and lets QUEUE_DEPTH others wait, until a job could no longer
end by its deadline (503). What is refused comes again after a pause that doubles. test_load.py compares this with the real
front end and the local cloud's subscription."""
import argparse
import dataclasses
import heapq
import itertools
import math
import random
import sys


@dataclasses.dataclass
class Model:
    instances: int
    service: float             # seconds a job
    rate: float = 0.0          # jobs a second, at random; 0: all at once
    jobs: int = 10000
    queue_depth: int = 8
    pending: float = 10.0      # seconds that the front end lets a push wait
    deadline: float = 280.0    # of a job, from the arrival of its push at the worker
    reserve: float = 0.43      # share of it kept for the job itself: QUEUE_RESERVE_PERCENT of worker/serve/handler.c
    retry: tuple = (10.0, 600.0)
    seed: int = 1


class Instance:
    def __init__(self):
        self.waiting, self.busy = [], False

    def under_way(self):
        return len(self.waiting) + self.busy


class Run:
    """Events in the order of their times; `latencies` from publication to the end of each job."""

    def __init__(self, model):
        self.m, self.now, self.order = model, 0.0, itertools.count()
        self.events, self.instances = [], [Instance() for _ in range(model.instances)]
        # (under_way, number) of each instance, most of them out of date: what is popped is compared with the instance
        self.free = [(0, n) for n in range(model.instances)]
        self.held = []  # pushes that wait in the front end: (since, message)
        self.latencies, self.refused, self.timed_out = [], 0, 0

    def at(self, time, what, *args):
        heapq.heappush(self.events, (time, next(self.order), what, args))

    def run(self):
        rng, t = random.Random(self.m.seed), 0.0
        for _ in range(self.m.jobs):
            t += rng.expovariate(self.m.rate) if self.m.rate else 0.0
            self.at(t, self.push, (t, self.m.retry[0]))
        while self.events:
            self.now, _, what, args = heapq.heappop(self.events)
            what(*args)
        self.latencies.sort()
        return self

    # ---- the front end ----

    def choose(self):
        """-> the instance with the fewest under way that has room, or None."""
        while self.free:
            under_way, n = self.free[0]
            if under_way == self.instances[n].under_way():
                return n if under_way <= self.m.queue_depth else None
            heapq.heappop(self.free)
        return None

    def offer(self, n):
        heapq.heappush(self.free, (self.instances[n].under_way(), n))

    def push(self, message):
        n = self.choose()
        if n is not None:
            self.accept(n, message)
            return
        entry = [self.now, message]
        self.held.append(entry)
        self.at(self.now + self.m.pending, self.give_up, entry)

    def give_up(self, entry):
        if entry in self.held:
            self.held.remove(entry)
            self.refused += 1
            self.again(entry[1])

    def again(self, message):
        published, pause = message
        self.at(self.now + pause, self.push, (published, min(2 * pause, self.m.retry[1])))

    # ---- an instance ----

    def accept(self, n, message):
        instance, entry = self.instances[n], (self.now, message)
        instance.waiting.append(entry)
        self.at(self.now + (1 - self.m.reserve) * self.m.deadline, self.expire, n, entry)
        self.offer(n)
        self.begin(n)

    def begin(self, n):
        instance = self.instances[n]
        if instance.waiting and not instance.busy:
            _, message = instance.waiting.pop(0)
            instance.busy = True
            self.at(self.now + self.m.service, self.finish, n, message)

    def finish(self, n, message):
        self.latencies.append(self.now - message[0])
        self.instances[n].busy = False
        self.begin(n)
        self.has_room(n)

    def expire(self, n, entry):
        """Its turn did not come in time."""
        if entry in self.instances[n].waiting:
            self.instances[n].waiting.remove(entry)
            self.timed_out += 1
            self.again(entry[1])
            self.has_room(n)

    def has_room(self, n):
        self.offer(n)
        if self.held:
            _, message = self.held.pop(0)
            self.accept(self.choose(), message)

    # ---- results ----

    @property
    def redeliveries(self):
        return self.refused + self.timed_out

    def percentile(self, p):
        return self.latencies[min(len(self.latencies) - 1, int(p * len(self.latencies)))]


def wait_in_line(instances, service, rate):
    """Mean seconds before a turn with one line for all instances: Erlang C, halved because all jobs take the same."""
    load = rate * service
    if load >= instances:
        return math.inf
    blocked = 1.0  # Erlang B, by its recurrence
    for n in range(1, instances + 1):
        blocked = load * blocked / (n + load * blocked)
    waits = blocked / (1 - load / instances * (1 - blocked))
    return waits * service / (instances - load) / 2


def pauses(text):
    first, longest = (float(part) for part in text.split(","))
    if not 0 < first <= longest:
        raise ValueError(text)
    return first, longest


def main(argv=None):
    p = argparse.ArgumentParser(prog="test/load/queueing.py", description=__doc__)
    p.add_argument("--instances", type=int, default=1, help="(default: %(default)s)")
    p.add_argument("--service", type=float, default=44.6, metavar="SECONDS", help="of a job (default: %(default)s)")
    p.add_argument("--utilisation", type=float, default=0.7, metavar="SHARE",
                   help="arrivals times service over instances; 0: all at once (default: %(default)s)")
    p.add_argument("--jobs", type=int, default=10000, help="(default: %(default)s)")
    p.add_argument("--queue-depth", type=int, default=8, help="(default: %(default)s)")
    p.add_argument("--pending", type=float, default=10.0, metavar="SECONDS", help="(default: %(default)s)")
    p.add_argument("--deadline", type=float, default=280.0, metavar="SECONDS", help="(default: %(default)s)")
    p.add_argument("--retry-seconds", type=pauses, default=(10.0, 600.0), metavar="FIRST,LONGEST", help="(default: 10,600)")
    a = p.parse_args(argv)
    if min(a.instances, a.jobs) < 1 or min(a.service, a.deadline) <= 0 or min(a.utilisation, a.queue_depth, a.pending) < 0:
        p.error("instances and jobs are at least 1, seconds of a job and its deadline above 0, and nothing else is below 0")
    rate = a.utilisation * a.instances / a.service
    run = Run(Model(a.instances, a.service, rate, a.jobs, a.queue_depth, a.pending, a.deadline, retry=a.retry_seconds)).run()
    n = len(run.latencies)
    print(f"{n} jobs, {a.instances} instances, utilisation {a.utilisation:.2f}: latency p50 {run.percentile(0.5):.0f} s, "
          f"p95 {run.percentile(0.95):.0f} s, max {run.latencies[-1]:.0f} s; redeliveries {run.redeliveries / n:.3f} a job "
          f"({run.refused} refused, {run.timed_out} timed out); mean wait in one line "
          f"{wait_in_line(a.instances, a.service, rate):.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
