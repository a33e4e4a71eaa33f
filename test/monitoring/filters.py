"""Filters of metrics, of the dashboard and of docs/OPERATIONS.md, over real lines of the real worker's log."""
import collections
import glob
import json
import os
import re

from harness import ROOT, equal
from logging_query import Query, entry_of, field
from worker_lines import all_lines

SERVICE = "pawfect-edit-inpaint"
FOLDER = os.path.join(ROOT, "deploy", "monitoring")
# What a line counts in, by its message and its outcome or error code, if that decides. A line that is not here counts nowhere.
WANTED = {
    ("push answered", "completed"): {"inpaint_pushes", "inpaint_job_ms"},
    ("push answered", "failed"): {"inpaint_pushes"},
    ("push answered", "duplicate"): {"inpaint_pushes"},
    ("push answered", "busy"): {"inpaint_pushes"},
    ("push answered", "superseded"): {"inpaint_pushes"},
    ("push answered", "exhausted"): {"inpaint_pushes"},
    ("push answered", "released"): {"inpaint_pushes"},
    ("push turned away", None): {"inpaint_pushes"},
    ("push refused", None): {"inpaint_refused"},
    ("the model is loaded", None): {"inpaint_load_ms"},
    ("ready", None): {"inpaint_starts"},
    ("not ready: the cloud refuses what a job needs", None): {"inpaint_not_ready", "inpaint_errors"},
    ("not ready: the cloud does not answer yet", None): {"inpaint_not_ready"},
    ("poison message: acknowledged and dropped", None): {"inpaint_errors"},
    ("the job did not work", "BACKEND_UNAVAILABLE"): {"inpaint_errors"},
    ("bad setting", None): {"inpaint_errors"},
    ("cannot start", None): {"inpaint_errors"},
    ("the model cannot be loaded", None): {"inpaint_errors"},
}
QUERY = re.compile(r"gcloud logging read '([^']+)'")


def read(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def metrics():
    """-> {name: the metric}"""
    return {m["name"]: m for m in map(read, sorted(glob.glob(f"{FOLDER}/metrics/*.json")))}


def key(line):
    return line["message"], line.get("outcome", line.get("code"))


def entries():
    return [(line, entry_of(line, SERVICE)) for line in all_lines()]


def test_each_line_of_the_log_counts_in_exactly_the_metrics_that_it_should():
    queries = {name: Query(m["filter"]) for name, m in metrics().items()}
    for line, entry in entries():
        equal({name for name, q in queries.items() if q.matches(entry)}, WANTED.get(key(line), set()), str(line))


def test_each_kind_of_line_that_counts_was_really_written():
    equal(set(WANTED) - {key(line) for line in all_lines()}, set())
    equal(set().union(*WANTED.values()), set(metrics()), "every metric has lines here that it counts")


def test_lines_of_another_service_count_nowhere():
    queries = [Query(m["filter"]) for m in metrics().values()]
    for line in all_lines():
        assert not any(q.matches(entry_of(line, SERVICE + "-other")) for q in queries), line


def test_a_line_counts_whether_its_message_is_in_the_payload_or_is_the_text():
    for name, m in metrics().items():
        for line in all_lines():
            entry = entry_of(line, SERVICE)
            if "textPayload" in entry:
                text = Query(m["filter"]).matches(entry)
                entry["jsonPayload"] = {"message": entry.pop("textPayload")}
                equal(Query(m["filter"]).matches(entry), text, f"{name} {line}")


def test_the_platforms_errors_count_and_its_log_of_requests_does_not():
    errors = Query(metrics()["inpaint_errors"]["filter"])
    line = {"severity": "ERROR", "time": "", "message": "Memory limit of 32768 MiB exceeded with 33000 MiB used."}
    assert errors.matches(entry_of(line, SERVICE, "run.googleapis.com/varlog/system"))
    assert not errors.matches(entry_of(line, SERVICE, "run.googleapis.com/requests"))


def test_values_and_labels_are_in_the_lines_that_count():
    seen = collections.defaultdict(set)
    for name, m in metrics().items():
        wanted = {**m.get("labelExtractors", {}), **({"value": m["valueExtractor"]} if "valueExtractor" in m else {})}
        for _, entry in entries():
            if Query(m["filter"]).matches(entry):
                seen[name] |= {k for k, path in wanted.items() if field(entry, path[8:-1]) not in (None, "")}
                if "value" in wanted:
                    assert field(entry, wanted["value"][8:-1]) >= 0
        equal(seen[name], set(wanted), f"{name}: each label and value is found in some line")


def test_labels_are_declared_and_extracted():
    for name, m in metrics().items():
        equal({d["key"] for d in m["metricDescriptor"].get("labels", [])}, set(m.get("labelExtractors", {})), name)
        equal("bucketOptions" in m, m["metricDescriptor"]["valueType"] == "DISTRIBUTION", name)


def test_the_buckets_reach_beyond_the_longest_job():
    for name in ("inpaint_job_ms", "inpaint_load_ms"):
        linear = metrics()[name]["bucketOptions"]["linearBuckets"]
        assert linear["offset"] + linear["width"] * linear["numFiniteBuckets"] > 300000, name


def queries_of_operations():
    with open(os.path.join(ROOT, "docs", "OPERATIONS.md"), encoding="utf-8") as f:
        return QUERY.findall(f.read())


def test_each_query_of_the_operations_document_finds_a_real_line_and_not_all():
    queries = queries_of_operations()
    assert len(queries) >= 6, "the document lists queries for the common questions"
    for text in queries:
        for name, value in (("SERVICE", SERVICE), ("USER", "u1"), ("SESSION", "held"), ("MESSAGE", "m-held")):
            text = text.replace(name, value)
        found = [line for line, entry in entries() if Query(text).matches(entry)]
        assert 0 < len(found) < len(entries()) / 2, f"{text}: {len(found)} lines"


def test_the_query_about_starts_finds_all_that_a_start_says():
    text, = (q for q in queries_of_operations() if "the model is loaded" in q)
    query = Query(text.replace("SERVICE", SERVICE))
    for message in ("listening", "the model is loaded", "ready"):
        assert any(query.matches(entry) for line, entry in entries() if line["message"] == message), message


def test_the_dashboards_panel_shows_warnings_and_errors():
    panels = [t["widget"]["logsPanel"] for t in read(f"{FOLDER}/dashboard.json")["mosaicLayout"]["tiles"] if "logsPanel" in t["widget"]]
    equal(len(panels), 1)
    for line, entry in entries():
        equal(Query(panels[0]["filter"]).matches(entry), line["severity"] in ("WARNING", "ERROR", "CRITICAL"), str(line))


# ---- the evaluation itself ----

def test_or_binds_closer_than_and_and_not_closest():
    entry = {"a": "1", "b": "2", "c": 3}
    for text, want in (('a="1" OR a="2" b="x"', False), ('a="1" b="2" OR b="x"', True), ('NOT a="1" OR b="2"', True),
                       ('NOT (a="1" OR b="2")', False), ("c>=3 AND c<4", True), ('c="3"', True), ('a=("x" OR "1")', True),
                       ('d="1"', False), ('NOT d="1"', True), ('a=~"^[0-9]$"', True), ('b:"2"', True)):
        equal(Query(text).matches(entry), want, text)


def test_a_query_that_is_not_understood_is_an_error():
    for text in ('a="1" XOR', 'a', 'a=', '(a="1"', 'a="1")', 'a ~ "1"', '"text"', 'SEARCH("x")'):
        try:
            Query(text)
        except (ValueError, IndexError):
            continue
        raise AssertionError(f"{text} was taken")
