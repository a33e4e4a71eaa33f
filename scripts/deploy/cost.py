#!/usr/bin/env python3
"""cost.py - what an edit, a lone wake-up and a month cost, in US dollars, as the tables of docs/COST.md.

Without options it prints the document's tables; `make monitoring-test` compares them. With --edits-per-month the month of that
many edits is printed alone. Prices are list prices of Google Cloud in us-east4 with their day and page; nothing is asked for
over the network. Exit status: 0 done, 2 wrong usage.
"""
import argparse
import math
import sys

DAYS = 30.4
HOUR = 3600
GIB = 1 << 30

# name: (dollars, unit, page). `SEEN` is the day on which the pages were read.
SEEN = "2026-11-30"
PRICES = {
    "gpu": (0.0001867, "L4 second, no zonal redundancy", "cloud.google.com/run/pricing"),
    "cpu": (0.000018, "vCPU second, instance-based billing", "cloud.google.com/run/pricing"),
    "memory": (0.000002, "GiB second, instance-based billing", "cloud.google.com/run/pricing"),
    "firestore_read": (0.06 / 1e5, "document read (multi-region price, the higher one)", "cloud.google.com/firestore/pricing"),
    "firestore_write": (0.18 / 1e5, "document write (multi-region price, the higher one)", "cloud.google.com/firestore/pricing"),
    "storage_a": (0.005 / 1e3, "Storage operation of class A: an upload", "cloud.google.com/storage/pricing"),
    "storage_b": (0.0004 / 1e3, "Storage operation of class B: a download, metadata", "cloud.google.com/storage/pricing"),
    "storage_gb": (0.023, "GB of standard storage, a month", "cloud.google.com/storage/pricing"),
    "egress_gb": (0.12, "GB to the internet, first TB of a month", "cloud.google.com/storage/pricing"),
    "pubsub_byte": (40 / 1024 ** 4, "byte published or delivered, 1000 at least a request", "cloud.google.com/pubsub/pricing"),
    "logging_gib": (0.50, "GiB of log beyond the first 50 of a month", "cloud.google.com/stackdriver/pricing"),
    "registry_gb": (0.10, "GB in Artifact Registry, a month", "cloud.google.com/artifact-registry/pricing"),
    "secret": (0.06, "version of a secret, a month (six are free)", "cloud.google.com/secret-manager/pricing"),
    "build_minute": (0.064, "minute of E2_HIGHCPU_32 in Cloud Build", "cloud.google.com/build/pricing"),
}

CPUS, MEMORY_GIB = 8, 32
# What one job asks of the cloud: counted in the local cloud by test/monitoring/costs.py. Progress is written once a second
# at most, and only where there is something new: the steps and some stages.
FIRESTORE_READS = 2
FIRESTORE_WRITES = 3  # the claim, the fence before the upload, the end
STAGES_TOLD = 5
STORAGE_A = 2
STORAGE_B = 6
PUBSUB_BYTES = 2 * 1000
LOG_BYTES = 2500  # two lines of the worker and one of Cloud Run's log of requests


def price(name):
    return PRICES[name][0]


def per_second():
    """An instance, whether it works, starts or waits."""
    return price("gpu") + CPUS * price("cpu") + MEMORY_GIB * price("memory")


def progress_writes(a):
    return min(math.floor(a.seconds), a.steps + STAGES_TOLD)


def edit_parts(a):
    """-> [(what, how it is counted, dollars)] of one edit by an instance that is there already."""
    writes = FIRESTORE_WRITES + progress_writes(a)
    return [
        ("instance", f"{a.seconds:g} s", a.seconds * per_second()),
        ("Firestore, the worker", f"{FIRESTORE_READS} reads, {writes} writes",
         FIRESTORE_READS * price("firestore_read") + writes * price("firestore_write")),
        ("Firestore, the app that watches", f"{writes} reads", writes * price("firestore_read")),
        ("Storage operations", f"{STORAGE_A} of class A, {STORAGE_B} of class B",
         STORAGE_A * price("storage_a") + STORAGE_B * price("storage_b")),
        ("pictures kept for a month", f"{a.kept_mb:g} MB", a.kept_mb / 1000 * price("storage_gb")),
        ("download by the app", f"{a.result_mb:g} MB", a.result_mb / 1000 * price("egress_gb")),
        ("Pub/Sub", f"{PUBSUB_BYTES} bytes", PUBSUB_BYTES * price("pubsub_byte")),
        ("log, beyond the free 50 GiB", f"{LOG_BYTES} bytes", LOG_BYTES / GIB * price("logging_gib")),
    ]


def requests_cost(a):
    """Everything of an edit but the instance."""
    return sum(dollars for what, _, dollars in edit_parts(a) if what != "instance")


def wake_up_seconds(a):
    return a.start + a.seconds + a.idle


def billed(a, edits):
    """-> (billed seconds, starts) of a month.

    Edits come at random, evenly over the hours in use, to one instance: busy times are edits * seconds; after each busy period
    the instance waits until the next edit, but no longer than `idle`, and then the next edit starts it anew. Where that is too
    much for one instance there are several, each of them busy for `busy_share` of its time.
    """
    month = DAYS * a.hours_a_day * HOUR
    rate = edits / month
    load = rate * a.seconds
    if a.min_instances:
        more = max(0.0, load / a.busy_share - a.min_instances) * month
        return a.min_instances * DAYS * 24 * HOUR + more, 0.0
    if load >= a.busy_share:
        return edits * a.seconds / a.busy_share, math.ceil(load / a.busy_share)
    periods = edits * (1 - load)
    cold = math.exp(-rate * a.idle)
    return edits * a.seconds + periods * cold * a.start + periods * (1 - cold) / rate, periods * cold


def fixed_parts(a):
    """-> [(what, how it is counted, dollars)] of a month, whatever the number of edits."""
    return [
        ("image with weights", f"{a.weights_gb:g} + {a.code_gb:g} GB in Artifact Registry", (a.weights_gb + a.code_gb) * price("registry_gb")),
        ("secrets", "2 versions", 2 * price("secret")),
        ("one build", f"{a.build_minutes:g} minutes", a.build_minutes * price("build_minute")),
    ]


def month(a, edits):
    """-> (edits, starts, hours billed, dollars of instances, of requests, of what is fixed, all, all an edit)"""
    seconds, starts = billed(a, edits)
    instances, requests = seconds * per_second(), edits * requests_cost(a)
    fixed = sum(dollars for _, _, dollars in fixed_parts(a))
    total = instances + requests + fixed
    return edits, starts, seconds / HOUR, instances, requests, fixed, total, total / edits


# ---- tables ----

def table(head, rows):
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows]])


def dollars(x, digits=2):
    return f"{x:,.{digits}f}"


def price_table():
    rows = [[unit, f"{value:.10f}".rstrip("0") if value >= 1e-7 else f"{value:.3g}", page] for value, unit, page in PRICES.values()]
    return table(["price of one", "US dollars", f"page ({SEEN}, V)"], rows)


def second_table():
    rows = [["one L4", "1", price("gpu")], ["CPU", f"{CPUS} vCPU", CPUS * price("cpu")],
            ["memory", f"{MEMORY_GIB} GiB", MEMORY_GIB * price("memory")], ["**together**", "", per_second()],
            ["an hour of it", "3600 s", HOUR * per_second()]]
    return table(["one second of an instance", "", "US dollars"], [[a, b, f"{c:.7f}"] for a, b, c in rows])


def edit_table(a):
    parts = edit_parts(a)
    rows = [[what, how, f"{d:.6f}"] for what, how, d in parts]
    return table(["one edit", "counted", "US dollars"], rows + [["**together**", "", f"{sum(p[2] for p in parts):.6f}"]])


def wake_up_table(a):
    rows = [[name, f"{s:g}", f"{s * per_second():.4f}"] for name, s in
            (("start", a.start), ("edit", a.seconds), ("wait for another edit", a.idle), ("**together**", wake_up_seconds(a)))]
    return table(["a lone wake-up", "s", "US dollars"], rows)


def fixed_table(a):
    return table(["a month, whatever is edited", "counted", "US dollars"], [[w, h, dollars(d)] for w, h, d in fixed_parts(a)])


def month_table(a, counts):
    rows = [[f"{n:,}", f"{starts:,.0f}", f"{hours:,.1f}", dollars(i), dollars(r), dollars(f), dollars(t), dollars(e, 4)]
            for n, starts, hours, i, r, f, t, e in (month(a, n) for n in counts)]
    return table(["edits a month", "starts", "hours billed", "instances", "requests", "fixed", "all", "all, an edit"], rows)


def options():
    parser = argparse.ArgumentParser(prog="cost.py", description=__doc__.split("\n\n", maxsplit=1)[1],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("--edits-per-month", type=int, metavar="N", help="print the month of so many edits alone")
    add("--seconds", type=float, default=44.6, help="of a job: 28 steps of 1.5 s and 2.6 s for the rest, the forecast for an L4")
    add("--steps", type=int, default=28, help="denoising steps, each of which is a progress write")
    add("--start", type=float, default=90, help="seconds from nothing to ready (assumed)")
    add("--idle", type=float, default=600, help="seconds that Cloud Run keeps an instance with a GPU after its last request")
    add("--hours-a-day", type=float, default=24, help="hours of a day over which the edits are spread")
    add("--min-instances", type=int, default=0, help="instances that are always there")
    add("--busy-share", type=float, default=0.8, help="share of an instance's time that can be used when there is always work")
    add("--result-mb", type=float, default=4, help="MB that the app downloads: the result and its preview")
    add("--kept-mb", type=float, default=8, help="MB that stay in the bucket: photo, result, preview")
    add("--weights-gb", type=float, default=18.4, help="GB of weights in the image: Q8_0 with T5, CLIP and VAE")
    add("--code-gb", type=float, default=0.4, help="GB of the image without weights")
    add("--build-minutes", type=float, default=15, help="minutes of one build (assumed)")
    return parser


def check(parser, a):
    for name, least, most in (("edits_per_month", 1, 10 ** 9), ("seconds", 0.1, 3600), ("steps", 1, 1000), ("start", 0, 3600),
                              ("idle", 0, 86400), ("hours_a_day", 0.1, 24), ("min_instances", 0, 10 ** 6), ("busy_share", 0.1, 1),
                              ("result_mb", 0, 1000), ("kept_mb", 0, 1000), ("weights_gb", 0, 1000), ("code_gb", 0, 1000),
                              ("build_minutes", 0, 1000)):
        value = getattr(a, name)
        if value is not None and not least <= value <= most:
            parser.error(f"--{name.replace('_', '-')} is {value:g}, but must be from {least:g} to {most:g}")


def main(args=None):
    parser = options()
    a = parser.parse_args(args)
    check(parser, a)
    if a.edits_per_month:
        print(month_table(a, [a.edits_per_month]))
        return 0
    print("\n\n".join((price_table(), second_table(), edit_table(a), wake_up_table(a), fixed_table(a),
                       month_table(a, (30, 300, 3000, 30000, 300000)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
