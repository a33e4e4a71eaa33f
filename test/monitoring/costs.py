"""scripts/deploy/cost.py: its counts against a real job in the local cloud, its month against a simulation, and docs/COST.md."""
import importlib.util
import os
import random
import re
import subprocess
import sys

from harness import ROOT, equal, mask_png, photo_png
from local_path import Town

PATH = os.path.join(ROOT, "scripts", "deploy", "cost.py")
spec = importlib.util.spec_from_file_location("cost", PATH)
cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cost)


def settings(*args):
    return cost.options().parse_args(args)


def kind_of(request):
    """What a request is billed as."""
    if ":commit" in request.path:
        return "write"
    if "/documents/" in request.path or ":batchGet" in request.path:
        return "read"
    return {"GET": "class B", "POST": "class A", "PUT": "class A", "DELETE": "free"}[request.method]


def requests_of_a_job(**job):
    """-> ({kind: how many}, seconds of the job)"""
    with Town("monitoring-cost") as town:
        w = town.worker(**job)
        counts, answer = {}, town.cloud.server.reply_to

        def counted(request):
            counts[kind_of(request)] = counts.get(kind_of(request), 0) + 1
            return answer(request)
        town.cloud.server.reply_to = counted
        town.publish("counted", photo_png(512, 512), mask_png(512, 512, (0, 0, 300, 300)))
        town.wait_acked("counted", 200)
        w.stop()
        return counts, w.lines("push answered")[0]["ms"] / 1000


def test_a_job_asks_as_much_of_the_cloud_as_the_document_counts():
    counts, seconds = requests_of_a_job(STEPS=8)
    a = settings("--seconds", str(max(1, seconds)), "--steps", "8")
    progress = counts["write"] - cost.FIRESTORE_WRITES
    equal((counts["read"], counts["class A"], counts["class B"]), (cost.FIRESTORE_READS, cost.STORAGE_A, cost.STORAGE_B), str(counts))
    assert 0 <= progress <= cost.progress_writes(a) + 1, f"{progress} progress writes in {seconds:.1f} s; {cost.progress_writes(a)} counted"


def simulated(a, edits, months):
    """One instance and edits at random, one after the other; -> (billed seconds, starts) of a month."""
    draw = random.Random(1)
    length = cost.DAYS * a.hours_a_day * cost.HOUR * months
    now = billed = 0.0
    starts = 0
    free_at = None  # when the instance has done all of its work
    while True:
        now += draw.expovariate(edits * months / length)
        if now > length:
            return billed / months, starts / months
        if free_at is None or now > free_at + a.idle:
            billed += a.start + (0 if free_at is None else a.idle)
            starts += 1
            free_at = now + a.seconds
        else:
            billed += max(0.0, now - free_at)
            free_at = max(now, free_at) + a.seconds
        billed += a.seconds


def test_the_month_is_what_a_simulation_gives():
    for edits, months in ((300, 300), (3000, 40), (20000, 6)):
        for args in ((), ("--idle", "60"), ("--hours-a-day", "12", "--start", "30")):
            a = settings(*args)
            got, want = cost.billed(a, edits), simulated(a, edits, months)
            for name, g, w in zip(("billed seconds", "starts"), got, want):
                assert abs(g - w) <= 0.03 * w + 3, f"{edits} edits {args}: {name} {g:.0f}, simulated {w:.0f}"


def test_an_instance_that_is_always_there_costs_all_hours_of_the_month():
    a = settings("--min-instances", "1", "--hours-a-day", "12")
    seconds, starts = cost.billed(a, 100)
    equal((round(seconds), starts), (round(30.4 * 86400), 0.0))
    assert cost.billed(settings(), 10 ** 6)[0] > 10 ** 6 * a.seconds, "several instances, none of them busy all the time"


def test_the_default_price_of_a_second_is_that_of_the_instance():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        default = float(re.search(r"^\| `COST_PER_SECOND` \| ([0-9.]+) \|", f.read(), re.MULTILINE).group(1))
    assert abs(cost.per_second() - default) < 0.02 * default, f"{cost.per_second()} and {default}"
    equal(f"{cost.per_second():.7f}", "0.0003947", "0.0001867 + 8 * 0.000018 + 32 * 0.000002")


def test_the_documents_tables_are_what_the_script_prints():
    printed = subprocess.run([sys.executable, PATH], capture_output=True, text=True, check=True).stdout
    with open(os.path.join(ROOT, "docs", "COST.md"), encoding="utf-8") as f:
        text = f.read()
    for table in printed.strip().split("\n\n"):
        assert table in text, f"docs/COST.md lacks this table:\n{table}"


def test_figures_in_the_documents_sentences_are_what_the_script_computes():
    a = settings()
    edit = sum(part[2] for part in cost.edit_parts(a))
    wake_up = cost.wake_up_seconds(a) * cost.per_second()
    always = cost.billed(settings("--min-instances", "1"), 3000)[0] * cost.per_second()
    figures = [f"an edit costs {100 * edit:.0f} cents, a lone wake-up {100 * wake_up:.0f} cents",
               f"costs {wake_up / (a.seconds * cost.per_second()):.0f} times as much",
               f"then cost {cost.month(settings('--hours-a-day', '12'), 3000)[6]:.2f} instead of {cost.month(a, 3000)[6]:.2f}",
               f"{always:,.2f} a month", f"cost {a.weights_gb * cost.price('storage_gb'):.2f} a month"]
    equal(missing_in("COST.md", figures), [])


def missing_in(document, figures):
    with open(os.path.join(ROOT, "docs", document), encoding="utf-8") as f:
        text = " ".join(f.read().split())
    return [figure for figure in figures if figure not in text]


def test_the_page_on_scale_counts_and_calculates_with_the_same_figures():
    a = settings()
    progress = cost.progress_writes(a)
    writes, reads = cost.FIRESTORE_WRITES + progress, cost.FIRESTORE_READS + cost.FIRESTORE_WRITES + progress
    dollars = 1e5 * (writes * cost.price("firestore_write") + reads * cost.price("firestore_read"))
    equal(missing_in("SCALE.md", [f"**{a.seconds:g} s**", f"at most {progress} writes of progress and {writes} in all",
                                  f"{writes} writes, {reads} reads with the app's listener", f"| {dollars:.2f} $ |",
                                  f"up to {a.idle / 60:.0f} minutes".replace("10", "ten")]), [])


def test_values_that_cannot_be_are_refused():
    for args in (["--seconds", "0"], ["--busy-share", "2"], ["--edits-per-month", "-3"], ["--speed", "1"]):
        done = subprocess.run([sys.executable, PATH, *args], capture_output=True, text=True, check=False)
        equal(done.returncode, 2, str(args))
    for args in ([], ["--help"], ["--edits-per-month", "30"]):
        equal(subprocess.run([sys.executable, PATH, *args], capture_output=True, check=False).returncode, 0, str(args))
