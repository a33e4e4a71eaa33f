"""The files of deploy/monitoring: by Google's own protocol buffers, and against one another."""
import glob
import json
import os
import re
import subprocess
import sys

from filters import FOLDER, metrics, read
from harness import ROOT, Skip, equal

VENV = os.path.join(ROOT, "build", "monitoring-venv")
# The messages of these packages are the schema.
PINNED = ("google-cloud-monitoring==2.32.0", "google-cloud-monitoring-dashboards==3.2.0", "google-cloud-logging==3.17.0")
PARSE = """
import sys
from google.protobuf import json_format
from google.cloud import monitoring_dashboard_v1, monitoring_v3
from google.cloud.logging_v2.types import LogMetric
KINDS = {"alerts": monitoring_v3.AlertPolicy, "metrics": LogMetric}
for path in sys.argv[1:]:
    kind = KINDS.get(path.split("/")[-2], monitoring_dashboard_v1.Dashboard)
    try:
        with open(path, encoding="utf-8") as f:
            json_format.Parse(f.read(), kind.pb()(), ignore_unknown_fields=False)
    except json_format.ParseError as e:
        print(f"{path}: {e}")
"""
# Metrics of Google that are used here, with their labels, as its list of metrics has them
# (https://cloud.google.com/monitoring/api/metrics_gcp_p_z).
OF_GOOGLE = {
    "run.googleapis.com/container/billable_instance_time": set(),
    "run.googleapis.com/container/completed_probe_count": {"probe_action", "is_healthy", "container_name", "is_default", "probe_type"},
    "run.googleapis.com/container/cpu/utilizations": set(),
    "run.googleapis.com/container/gpu/memory_utilizations": set(),
    "run.googleapis.com/container/gpu/utilizations": set(),
    "run.googleapis.com/container/instance_count": {"state"},
    "run.googleapis.com/container/memory/utilizations": set(),
    "pubsub.googleapis.com/subscription/num_undelivered_messages": set(),
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": set(),
}
OURS = "logging.googleapis.com/user/"
ALERT_PERIOD_MAX_SECONDS = 90000
CLOSE_MIN_SECONDS = 1800


def paths():
    return sorted(glob.glob(f"{FOLDER}/*.json") + glob.glob(f"{FOLDER}/*/*.json"))


def alerts():
    return {os.path.basename(p)[:-5]: read(p) for p in sorted(glob.glob(f"{FOLDER}/alerts/*.json"))}


def conditions():
    return [(name, c["conditionThreshold"]) for name, a in alerts().items() for c in a["conditions"]]


def everything_in(value, name):
    """Each value of this name, however deep."""
    if isinstance(value, dict):
        for k, v in value.items():
            if k == name:
                yield v
            yield from everything_in(v, name)
    elif isinstance(value, list):
        for v in value:
            yield from everything_in(v, name)


def python_with_the_schemas():
    python = f"{VENV}/bin/python3"
    known = f"{VENV}/installed"
    if not (os.path.exists(known) and open(known, encoding="ascii").read() == " ".join(PINNED)):
        made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False)
        if not made.returncode:
            made = subprocess.run([python, "-m", "pip", "install", "-q", *PINNED], capture_output=True, text=True, check=False)
        if made.returncode:
            why = f"pip cannot install {' '.join(PINNED)}: {(made.stderr or made.stdout).strip()[-200:]}"
            if os.environ.get("CI"):
                raise AssertionError(why)
            raise Skip(why)
        with open(known, "w", encoding="ascii") as f:
            f.write(" ".join(PINNED))
    return python


def complaints(files):
    done = subprocess.run([python_with_the_schemas(), "-c", PARSE, *files], capture_output=True, text=True, check=False)
    equal(done.returncode, 0, done.stderr)
    return done.stdout.splitlines()


def test_every_file_is_what_the_api_takes():
    equal(complaints(paths()), [])


def test_a_field_that_the_api_does_not_know_is_found():
    there = os.path.join(ROOT, "build", "integration", "alerts")
    os.makedirs(there, exist_ok=True)
    bad = alerts()["errors"]
    bad["conditions"][0]["conditionThreshold"]["treshold"] = 1
    with open(f"{there}/bad.json", "w", encoding="utf-8") as f:
        json.dump(bad, f)
    assert "treshold" in "".join(complaints([f"{there}/bad.json"]))


def labels_of(metric):
    return OF_GOOGLE[metric] if metric in OF_GOOGLE else {d["key"] for d in metrics()[metric[len(OURS):]]["metricDescriptor"].get("labels", [])}


def test_filters_name_metrics_and_labels_that_there_are():
    found = set()
    for path in paths():
        if "/metrics/" in path:
            continue
        for series in [*everything_in(read(path), "timeSeriesFilter"), *everything_in(read(path), "conditionThreshold")]:
            for text in [series["filter"], *everything_in(series, "denominatorFilter")]:
                metric = re.search(r'metric\.type="([^"]+)"', text).group(1)
                found.add(metric)
                used = set(re.findall(r"metric\.labels\.(\w+)", text))
                used |= {g.split(".")[-1] for by in everything_in(series, "groupByFields") for g in by}
                equal(used - labels_of(metric), set(), f"{path}: labels of {metric}")
    equal({m for m in found if m.startswith(OURS)}, {OURS + name for name in metrics()}, "each of our metrics is used")
    equal({m for m in found if not m.startswith(OURS)}, set(OF_GOOGLE))


def test_outcomes_in_filters_are_those_of_the_program():
    with open(os.path.join(ROOT, "worker", "job", "outcome.h"), encoding="utf-8") as f:
        names = set(re.findall(r'X\(\w+,\s*\d+,\s*"([a-z-]+)"', f.read()))
    for path in paths():
        for text in everything_in(read(path), "filter"):
            for listed in re.findall(r'(?:metric\.labels|jsonPayload)\.outcome=(?:one_of\(([^)]*)\)|("[^"]*"))', text):
                for outcome in re.findall(r'"([^"]+)"', "".join(listed)):
                    assert outcome in names, f"{path}: {outcome}"


def test_each_alert_says_what_it_means_what_to_do_and_where_to_read_on():
    with open(os.path.join(ROOT, "docs", "OPERATIONS.md"), encoding="utf-8") as f:
        headings = set(re.findall(r"^#{2,4} (.+)$", f.read(), re.MULTILINE))
    for name, alert in alerts().items():
        text = alert["documentation"]["content"]
        assert "**What it means.**" in text and "**What to do.**" in text, name
        section = re.search(r'More: docs/OPERATIONS\.md, "([^"]+)"\.$', text).group(1)
        assert section in headings, f"{name}: docs/OPERATIONS.md has no section '{section}'"
        assert len(text) < 8192 and alert["severity"] in ("CRITICAL", "ERROR", "WARNING"), name
        close = int(alert["alertStrategy"]["autoClose"][:-1])
        assert CLOSE_MIN_SECONDS <= close <= 7 * 86400, name


def test_periods_and_durations_are_those_that_alerts_may_have():
    for name, c in conditions():
        assert int(c["duration"][:-1]) % 60 == 0, name
        for a in c["aggregations"]:
            period = int(a["alignmentPeriod"][:-1])
            assert 60 <= period <= ALERT_PERIOD_MAX_SECONDS and period % 60 == 0, name
        equal("denominatorFilter" in c, "denominatorAggregations" in c, name)


def test_the_table_of_the_operations_document_has_each_alert_with_its_threshold():
    with open(os.path.join(ROOT, "docs", "OPERATIONS.md"), encoding="utf-8") as f:
        rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+?) \|", f.read(), re.MULTILINE))
    for name, alert in alerts().items():
        assert name in rows, f"the table lacks {name}"
        for c in alert["conditions"]:
            threshold = c["conditionThreshold"]["thresholdValue"]
            told = {f"{threshold:g}", f"{threshold / 1000:g} s", f"{threshold * 100:g} %"}
            assert any(re.search(rf"\b{re.escape(t)}(?!\w)", rows[name]) for t in told), f"{name}: {told} is not in '{rows[name]}'"


def test_tiles_of_the_dashboard_lie_side_by_side():
    layout = read(f"{FOLDER}/dashboard.json")["mosaicLayout"]
    taken = {}
    for tile in layout["tiles"]:
        assert tile["xPos"] + tile["width"] <= layout["columns"], tile["widget"]["title"]
        for x in range(tile["xPos"], tile["xPos"] + tile["width"]):
            for y in range(tile["yPos"], tile["yPos"] + tile["height"]):
                equal(taken.setdefault((x, y), tile["widget"]["title"]), tile["widget"]["title"])
