"""scripts/deploy/stuck_sessions.py, on documents as the real worker leaves them."""
import json
import os
import subprocess
import sys
import time

from harness import ROOT, equal, lease_of_somebody, mask_png, photo_png
from local_path import Town
from tools.local_cloud.cloud import folder
from tools.local_cloud.values import stamp, to_fields, to_value

SCRIPT = os.path.join(ROOT, "scripts", "deploy", "stuck_sessions.py")
PREFIX = "projects/p/databases/(default)/documents/"


def run(rows, *args):
    text = rows if isinstance(rows, str) else json.dumps(rows)
    done = subprocess.run([sys.executable, SCRIPT, *args], input=text, capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(line)["sessionId"] for line in done.stdout.splitlines()], done.stderr


def row(session, fields, changed_seconds_ago=0):
    now_us = int(time.time() * 1e6)
    return {"readTime": stamp(now_us), "document": {"name": f"{PREFIX}users/u é/sessions/{session}", "fields": fields,
                                                    "updateTime": stamp(now_us - int(changed_seconds_ago * 1e6))}}


def processing(lease_seconds):
    return {"processingStatus": to_value("processing"),
            "inpaint": {"mapValue": {"fields": {"lease": lease_of_somebody("m", lease_seconds)} if lease_seconds else {}}}}


def test_sessions_whose_lease_is_long_over_or_that_wait_for_hours_are_stuck():
    rows = [{"readTime": "2026-11-30T12:00:00Z"}, row("alive", processing(100)), row("just-over", processing(-600)),
            row("stuck", processing(-1300)), row("no-lease", processing(0)), row("waits", to_fields({"processingStatus": "pending"}), 600),
            row("lost", to_fields({"processingStatus": "pending"}), 7300), row("done", to_fields({"processingStatus": "completed"}), 9000),
            row("odd", {"processingStatus": {"integerValue": "3"}}, 9000)]
    status, stuck, text = run(rows)
    equal((status, stuck), (0, ["stuck", "no-lease", "lost"]), text)
    assert "3 of 8 sessions are stuck" in text
    equal(run(rows, "--lease-over-seconds", "300", "--pending-seconds", "60")[1], ["just-over", "stuck", "no-lease", "waits", "lost"])
    equal(run(rows, "--now", "2020-01-01T00:00:00.123456789Z")[1], ["no-lease"])


def test_the_document_of_a_running_job_is_understood():
    with Town("monitoring-stuck") as town:
        w = town.worker(STEPS=40)
        town.publish("runs", photo_png(1024, 1024), mask_png(1024, 1024, (0, 0, 700, 700)))
        town.wait_claimed("runs")
        fields = town.cloud.documents.fields(folder("u1", "runs"))
        w.process.kill()
    equal(run([row("runs", fields)])[1], [])
    equal(run([row("runs", fields)], "--now", "2099-01-01T00:00:00Z")[1], ["runs"])


def test_what_is_no_answer_of_firestore_is_refused():
    for text in ("", "{", '{"error": {"code": 403}}', '[{"error": {"code": 403}}]', "[1]", '[{"document": {}}]'):
        status, stuck, said = run(text)
        equal((status, stuck), (1, []), text)
        assert "runQuery" in said
    equal(run([], "--now", "yesterday")[0], 2)
    equal(run("[]")[0], 0)
