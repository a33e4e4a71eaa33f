#!/usr/bin/env python3
"""The real program between the real emulators, where they are installed, and in the local cloud: `run.py [parts of names]`.

Each function named test_* is a test. The worker's logs stay in build/integration.
"""
import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *  # noqa: F403 (the harness is this file's vocabulary)

E = None  # Emulators, or Embedded
W = None  # the worker that most tests share: PUSH_AUTH=none


def folder(user, session):
    return f"users/{user}/sessions/{session}"


def upload(user, session, photo=None, mask=None):
    if photo is not ...:
        E.put_object(f"{folder(user, session)}/original.jpg", photo or photo_png(), "image/jpeg")
    if mask is not ...:
        E.put_object(f"{folder(user, session)}/mask_auto.png", mask or mask_png(), "image/png")


def finished(user, session, seconds=90):
    def look():
        document = E.session(user, session)
        return document if document and document["processingStatus"] in ("completed", "failed") else None
    return wait_until(f"{folder(user, session)} is finished", look, seconds)


def check_failed(session, code, retryable, photo=None, mask=None):
    upload("u1", session, photo, mask)
    E.create_session("u1", session)
    equal(W.push(dumps(envelope("u1", session, f"m-{session}"))), 204, "a final failure is acked")
    document = E.session("u1", session)
    equal(document["processingStatus"], "failed")
    equal(document["inpaint"]["errorCode"], code)
    equal(document["inpaint"]["retryable"], retryable)
    assert document["errorMessage"].endswith(".") and code not in document["errorMessage"], document["errorMessage"]
    assert "lease" not in document["inpaint"]
    assert isinstance(document["cost"], float), document["cost"]
    equal(E.get_object(f"{folder('u1', session)}/edited.jpg")[0], None, "no output")


# ---- the path that works ----

def test_published_message_becomes_edited_and_preview():
    demo = os.path.join(WORK, "demo")
    os.makedirs(demo, exist_ok=True)
    os.system(f"{ROOT}/build/demo-inputs {demo}")
    with open(f"{demo}/original.jpg", "rb") as f:
        photo = f.read()
    with open(f"{demo}/mask_auto.png", "rb") as f:
        mask = f.read()
    upload("u1", "published", photo, mask)
    E.create_session("u1", "published", {"processingStatus": "pending", "sceneLabels": ["grass", "fence"], "note": "the app's"})
    E.subscribe("edits", W.base + "/inpaint")
    message_id = E.publish_to("edits", {"userId": "u1", "sessionId": "published"})
    document = finished("u1", "published")
    equal(document["processingStatus"], "completed")
    equal(document["editedImagePath"], f"{folder('u1', 'published')}/edited.jpg")
    equal(document["previewImagePath"], f"{folder('u1', 'published')}/preview.jpg")
    equal(document["note"], "the app's", "fields of the app stay")
    assert isinstance(document["cost"], float) and 0 < document["cost"] < 1, document["cost"]
    assert "errorMessage" not in document
    own = document["inpaint"]
    equal(own["messageId"], message_id)
    equal(own["attempts"], 1)
    equal(own["progress"], 100)
    assert "lease" not in own and "errorCode" not in own, own
    for key in ("steps", "guidance", "seed", "prompt", "crop", "precision"):
        assert key in own["recipe"], own["recipe"]
    assert {"download", "decode", "encode", "denoise", "compose", "upload"} & set(own["timings"]), own["timings"]
    width, height = jpeg_size(photo)
    meta, edited = E.get_object(document["editedImagePath"])
    equal(jpeg_size(edited), (width, height))
    equal(meta["contentType"], "image/jpeg")
    _, preview = E.get_object(document["previewImagePath"])
    equal(max(jpeg_size(preview)), 512)


def test_second_identical_push_does_nothing():
    upload("u1", "twice")
    E.create_session("u1", "twice")
    body = dumps(envelope("u1", "twice", "m-twice"))
    equal(W.push(body), 204)
    before = E.session("u1", "twice")
    equal(before["processingStatus"], "completed")
    first = E.get_object(f"{folder('u1', 'twice')}/edited.jpg")[0]["generation"]
    started = time.monotonic()
    equal(W.push(body), 204)
    assert time.monotonic() - started < 2
    equal(E.session("u1", "twice"), before, "the document is untouched")
    equal(E.get_object(f"{folder('u1', 'twice')}/edited.jpg")[0]["generation"], first)
    equal(W.push(dumps(envelope("u1", "twice", "m-another"))), 204, "completed is never run again")
    equal(E.session("u1", "twice"), before)


def test_same_message_gives_the_same_bytes():
    upload("u1", "again")
    E.create_session("u1", "again")
    equal(W.push(dumps(envelope("u1", "again", "m-again"))), 204)
    first = E.get_object(f"{folder('u1', 'again')}/edited.jpg")[1]
    E.create_session("u1", "again")  # back to pending, as a new job with the same inputs
    equal(W.push(dumps(envelope("u1", "again", "m-again-2"))), 204)
    equal(E.session("u1", "again")["processingStatus"], "completed")
    equal(E.get_object(f"{folder('u1', 'again')}/edited.jpg")[1], first)


def test_png_named_jpg_is_accepted_and_exif_is_applied_and_dropped():
    upload("u1", "png")
    E.create_session("u1", "png")
    equal(W.push(dumps(envelope("u1", "png", "m-png"))), 204)
    equal(E.session("u1", "png")["processingStatus"], "completed")
    equal(jpeg_size(E.get_object(f"{folder('u1', 'png')}/edited.jpg")[1]), (160, 120))
    with open(os.path.join(ROOT, "test/golden/pictures/decode_444.jpg"), "rb") as f:
        plain = f.read()
    width, height = jpeg_size(plain)
    turned = plain[:2] + exif_with_gps(6) + plain[2:]
    upload("u1", "turned", turned, mask_png(height, width, (4, 4, 14, 14)))
    E.create_session("u1", "turned")
    equal(W.push(dumps(envelope("u1", "turned", "m-turned"))), 204)
    equal(E.session("u1", "turned")["processingStatus"], "completed")
    for name in ("edited.jpg", "preview.jpg"):
        data = E.get_object(f"{folder('u1', 'turned')}/{name}")[1]
        equal(jpeg_size(data), (height, width), "upright")
        assert b"SECRETPLACE" not in data and b"\x88\x25" not in data[:600] and b"\x25\x88" not in data[:600], "no GPS"


# ---- inputs that cannot work ----

def test_missing_original():
    check_failed("no-original", "INPUT_MISSING", True, photo=...)


def test_missing_mask():
    check_failed("no-mask", "INPUT_MISSING", True, mask=...)


def test_broken_mask():
    check_failed("broken-mask", "INPUT_CORRUPT", False, mask=mask_png()[:-40])


def test_mask_that_is_all_black():
    check_failed("black-mask", "MASK_EMPTY", False, mask=png(160, 120, lambda x, y: 0, 1))


def test_mask_that_is_all_white():
    check_failed("white-mask", "MASK_FULL", False, mask=png(160, 120, lambda x, y: 255, 1))


def test_mask_of_another_picture():
    check_failed("other-mask", "MASK_SIZE_MISMATCH", False, mask=mask_png(120, 160))


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100  # a head and nothing that could be decoded


def test_photo_that_is_text_or_heic():
    check_failed("text", "INPUT_NOT_AN_IMAGE", False, photo=b"hello, I am not a picture" * 10)
    with open(W.log_path, encoding="utf-8") as f:
        jail = next(json.loads(line) for line in f if '"heicRefused"' in line)
    check_failed("heic", "INPUT_HEIC_UNSUPPORTED" if jail["heicRefused"] else "INPUT_CORRUPT", False, photo=HEIC)


def test_photo_that_is_heic_where_that_is_switched_off():
    global W
    shared = W
    W = Worker(E, "no-heic", HEIC="off")
    try:
        check_failed("no-heic", "INPUT_HEIC_UNSUPPORTED", False, photo=HEIC)
    finally:
        W.stop()
        W = shared


def test_edit_and_the_worker_give_the_same_bytes():
    """The seed of a job is derived from its session and its inputs, so it is handed over; all else must be the same."""
    with open(f"{ROOT}/test/golden/pictures/decode_444.jpg", "rb") as f:
        photo = f.read()
    turned = photo[:2] + exif_with_gps(6) + photo[2:]
    width, height = jpeg_size(photo)
    fields = {"processingStatus": "pending", "sceneLabels": ["Lawn"], "maskKind": "white", "maskOrientation": "displayed"}
    for session, files in (("bytes-png", (photo_png(), mask_png())), ("bytes-turned", (turned, mask_png(height, width, (4, 4, 14, 14))))):
        upload("u1", session, *files)
        E.create_session("u1", session, fields)
        equal(W.push(dumps(envelope("u1", session, f"m-{session}"))), 204)
        own = E.session("u1", session)["inpaint"]
        here = os.path.join(WORK, session)
        os.makedirs(here, exist_ok=True)
        for name, data in zip(("original.jpg", "mask_auto.png", "session.json"), (*files, json.dumps(fields).encode())):
            with open(f"{here}/{name}", "wb") as f:
                f.write(data)
        done = subprocess.run([PROGRAM, "edit", here, "--models", MODEL, "--backend", "cpu", "--precision", own["recipe"]["precision"],
                               "--steps", str(own["recipe"]["steps"]), "--seed", str(own["recipe"]["seed"])], capture_output=True, text=True, timeout=120, check=False)
        equal(done.returncode, 0, done.stderr)
        for name in ("edited.jpg", "preview.jpg"):
            with open(f"{here}/{name}", "rb") as f:
                equal(f.read() == E.get_object(f"{folder('u1', session)}/{name}")[1], True, f"{session}/{name}")
        with open(f"{here}/session.json", encoding="utf-8") as f:
            local = json.load(f)["inpaint"]
        for key in ("recipe", "mask", "crops", "colour", "scores", "match", "warnings"):
            equal(local.get(key), own.get(key), f"{session}: {key}")


def test_no_record_of_an_earlier_job_stays():
    old = {"recipe": {"model": "old"}, "secondPass": {"kept": "first"}, "shadow": {"result": "old"}, "scores": {"old": 1.0},
           "mask": {"old": True}, "crops": [{"x": 1}], "match": {"old": 1}, "output": {"mode": "splice", "changedOutside": 7},
           "colour": {"space": "old"}, "warnings": ["OLD"]}
    fields = {"processingStatus": "pending", "inpaint": old}
    upload("u1", "record-done")
    upload("u1", "record-failed", photo=b"no picture")
    upload("u1", "record-speck", mask=png(160, 120, lambda x, y: 255 * (x == 50 and y == 50), 1))
    for session, kept in (("record-done", {"recipe", "scores", "mask", "crops", "match", "output", "colour"}), ("record-failed", set()),
                          ("record-speck", {"colour"})):
        E.create_session("u1", session, fields)
        equal(W.push(dumps(envelope("u1", session, f"m-{session}"))), 204)
        own = E.session("u1", session)["inpaint"]
        equal(set(own) & set(old), kept, session)
        equal([name for name in kept if "old" in str(own[name])], [], session)


def test_a_failed_session_runs_again_for_a_new_message_only():
    upload("u1", "second-try", photo=...)
    E.create_session("u1", "second-try")
    equal(W.push(dumps(envelope("u1", "second-try", "m-1"))), 204)
    before = E.session("u1", "second-try")
    equal(before["processingStatus"], "failed")
    upload("u1", "second-try")
    equal(W.push(dumps(envelope("u1", "second-try", "m-1"))), 204, "the same message is a duplicate")
    equal(E.session("u1", "second-try"), before)
    equal(W.push(dumps(envelope("u1", "second-try", "m-2"))), 204)
    document = E.session("u1", "second-try")
    equal(document["processingStatus"], "completed")
    equal(document["inpaint"]["attempts"], 1)
    assert "errorMessage" not in document and "errorCode" not in document["inpaint"]


def test_missing_session_is_nacked_while_it_may_still_appear():
    equal(W.push(dumps(envelope("u1", "nowhere", "m-n1"))), 404)
    equal(W.push(dumps(envelope("u1", "nowhere", "m-n2", now_text(3600)))), 204)
    equal(E.session("u1", "nowhere"), None, "nothing was created")


def test_attempts_run_out():
    upload("u1", "worn-out")
    E.create_session("u1", "worn-out", {"processingStatus": "pending", "inpaint": {"messageId": "m-worn", "attempts": 5}})
    equal(W.push(dumps(envelope("u1", "worn-out", "m-worn"))), 204)
    document = E.session("u1", "worn-out")
    equal((document["processingStatus"], document["inpaint"]["errorCode"]), ("failed", "ATTEMPTS_EXHAUSTED"))
    equal(document["cost"], 0.0 if isinstance(document["cost"], float) else 0)


# ---- what an app may write into a session ----

WILD = [  # fields as Firestore takes them, and the error code; None: completed
    ({"prompt": {"stringValue": "a\0b"}}, "PROMPT_INVALID"),
    ({"prompt": nested(19, {"stringValue": "x"})}, "PROMPT_INVALID"),
    ({"prompt": {"geoPointValue": {"latitude": 1, "longitude": 2}}}, "PROMPT_INVALID"),
    ({"sceneLabels": {"arrayValue": {"values": [{"stringValue": "a\0b"}, {"stringValue": "grass"}]}}}, None),
    ({"sceneLabels": nested(19, {"bytesValue": "AAAA"})}, None),
    ({"sceneLabels": {"arrayValue": {"values": [{"booleanValue": False}] * 39000}}}, None),
    ({"sceneLabels": {"arrayValue": {"values": [{"stringValue": "a:b"}] * 39000}}}, None),
    ({"sceneLabels": {"mapValue": {"fields": {"surface": {"doubleValue": 5e-324}}}}}, None),
    ({"note": {"stringValue": "x" * 1000000}}, None),
    ({"processingStatus": {"stringValue": "uploaded"}}, None),
    ({"processingStatus": {"arrayValue": {"values": []}}}, None),
    ({"processingStatus": {"timestampValue": "0001-01-01T00:00:00Z"}}, None),
    ({"inpaint": {"mapValue": {"fields": {"attempts": {"doubleValue": "NaN"}, "lease": {"stringValue": "x"}}}}}, None),
    ({"inpaint": {"stringValue": "mine"}}, None),
]


def test_sessions_that_hold_anything_end_at_once():
    for n, (fields, code) in enumerate(WILD):
        session = f"wild-{n}"
        upload("u1", session)
        status, _, text = call("PATCH", f"{E.documents}/users/u1/sessions/{session}", dumps({"fields": fields}))
        equal(status, 200, text)
        started = time.monotonic()
        equal(W.push(dumps(envelope("u1", session, f"m-{session}"))), 204, list(fields))
        document = E.session("u1", session)
        equal(document["processingStatus"], "failed" if code else "completed", list(fields))
        equal(document["inpaint"].get("errorCode"), code)
        assert time.monotonic() - started < 20, list(fields)


def test_statuses_that_end_a_session():
    for status in ("completed", "cancelled", "canceled", "deleted"):
        E.create_session("u1", status, {"processingStatus": status})
        before = E.session("u1", status)
        equal(W.push(dumps(envelope("u1", status, f"m-{status}"))), 204)
        equal(E.session("u1", status), before, status)


def test_a_named_database_has_sessions_of_its_own():
    w = Worker(E, "named", FIRESTORE_DATABASE="second")
    try:
        upload("u1", "named")
        other = E.documents.replace("(default)", "second")
        equal(call("PATCH", f"{other}/users/u1/sessions/named", dumps({"fields": {}}))[0], 200)
        equal(w.push(dumps(envelope("u1", "named", "m-named"))), 204)
        fields = json.loads(call("GET", f"{other}/users/u1/sessions/named")[2])["fields"]
        equal(fields["processingStatus"], {"stringValue": "completed"})
        equal(E.session("u1", "named"), None, "nothing in the other database")
    finally:
        w.stop()


# ---- leases ----

def put_lease(session, message_id, seconds, attempts=1):
    """A session that another worker holds."""
    fields = {"processingStatus": to_value("processing"),
              "inpaint": {"mapValue": {"fields": {"messageId": to_value(message_id), "attempts": to_value(attempts),
                                                  "lease": lease_of_somebody(message_id, seconds)}}}}
    status, _, text = call("PATCH", f"{E.documents}/users/u1/sessions/{session}", dumps({"fields": fields}))
    equal(status, 200, text)


def test_lease_of_another_worker_is_respected_until_it_ends():
    upload("u1", "leased")
    put_lease("leased", "m-l", 300)
    before = E.session("u1", "leased")
    equal(W.push(dumps(envelope("u1", "leased", "m-l"))), 409, "acking would drop the first delivery's insurance")
    equal(W.push(dumps(envelope("u1", "leased", "m-other"))), 204)
    equal(E.session("u1", "leased"), before)
    put_lease("leased", "m-l", -5, attempts=2)
    equal(W.push(dumps(envelope("u1", "leased", "m-l"))), 204)
    document = E.session("u1", "leased")
    equal((document["processingStatus"], document["inpaint"]["attempts"]), ("completed", 3))
    put_lease("leased", "m-l", -5, attempts=4)
    equal(W.push(dumps(envelope("u1", "leased", "m-new"))), 204)
    equal(E.session("u1", "leased")["inpaint"]["attempts"], 1, "another message starts over")


def test_a_worker_whose_clock_is_off_leaves_a_live_lease_alone():
    for name, offset in (("ahead", "+3h"), ("behind", "-3h")):
        w = Worker(E, f"clock-{name}", **faketime(offset))
        try:
            upload("u1", name)
            put_lease(name, f"m-{name}", 300)
            equal(w.push(dumps(envelope("u1", name, f"m-{name}"))), 409)
            put_lease(name, f"m-{name}", -1)
            equal(w.push(dumps(envelope("u1", name, f"m-{name}"))), 204)
            equal(E.session("u1", name)["processingStatus"], "completed")
            equal(w.push(dumps(envelope("u1", f"no-{name}", "m-no"))), 404, "published this minute")
        finally:
            w.stop()


# ---- timing, load, end ----

def slow_worker(name, **settings):
    """Its jobs last; it is fast enough for its deadline, or it would not become ready."""
    return Worker(E, name, **{"STEPS": 1000, "JOB_DEADLINE_SECONDS": 1000, "LEASE_SECONDS": 2000, **settings})


def test_one_job_at_a_time_with_probes_and_duplicates_answered():
    w = slow_worker("busy", STEPS=120, QUEUE_DEPTH=1)
    try:
        for s in ("busy-1", "busy-2", "busy-3"):
            upload("u1", s, photo_png(480, 360), mask_png(480, 360))
            E.create_session("u1", s)
        answers = {}

        def push(key, *args):
            answers[key] = w.push(dumps(envelope("u1", *args)))

        first = threading.Thread(target=push, args=("first", "busy-1", "m-b1"))
        first.start()
        wait_until("the first job runs", lambda: E.session("u1", "busy-1")["processingStatus"] == "processing")
        equal(w.push(dumps(envelope("u1", "busy-1", "m-b1"))), 409, "the same message while it runs")
        equal(w.push(dumps(envelope("u1", "busy-1", "m-bx"))), 204, "another message for the same session")
        second = threading.Thread(target=push, args=("second", "busy-2", "m-b2"))
        second.start()
        wait_until("the second waits", lambda: w.metrics()["inpaint_queue_depth"] == 1)
        equal(w.push(dumps(envelope("u1", "busy-3", "m-b3"))), 429, "the queue is full")
        for path in ("/ready", "/health", "/metrics"):
            equal(call("GET", w.base + path)[0], 200, path)
        equal(E.session("u1", "busy-1")["processingStatus"], "processing", "probes are answered while a job runs")
        progress = wait_until("progress shows", lambda: E.session("u1", "busy-1")["inpaint"].get("progress"))
        assert 0 < progress <= 100
        first.join()
        second.join()
        equal(answers, {"first": 204, "second": 204})
        equal(w.push(dumps(envelope("u1", "busy-1", "m-b1"))), 204, "after it is done")
    finally:
        equal(w.stop(), 0, "exit status after SIGTERM")


def test_session_deleted_in_the_middle_stops_the_job_and_its_uploads():
    w = slow_worker("deleted", STEPS=1000)
    try:
        upload("u1", "gone", photo_png(480, 360), mask_png(480, 360))
        E.create_session("u1", "gone")
        answer = []
        t = threading.Thread(target=lambda: answer.append(w.push(dumps(envelope("u1", "gone", "m-g")))))
        t.start()
        wait_until("the job runs", lambda: E.session("u1", "gone")["processingStatus"] == "processing")
        E.delete_session("u1", "gone")
        t.join(30)
        equal(answer, [204])
        equal(E.session("u1", "gone"), None, "not created again")
        equal(E.get_object(f"{folder('u1', 'gone')}/edited.jpg")[0], None)
    finally:
        w.stop()


def test_sigterm_gives_the_claim_back():
    w = slow_worker("drain", STEPS=1000)
    upload("u1", "drained", photo_png(640, 480), mask_png(640, 480))
    E.create_session("u1", "drained")
    answer = []
    t = threading.Thread(target=lambda: answer.append(w.push(dumps(envelope("u1", "drained", "m-d")))))
    t.start()
    wait_until("the job runs", lambda: E.session("u1", "drained")["processingStatus"] == "processing")
    started = time.monotonic()
    w.terminate()
    wait_until("draining shows", lambda: w.process.poll() is not None or not w.is_ready(), 5)
    equal(w.stop(12), 0)
    assert time.monotonic() - started < 9.5, "Cloud Run kills after 10 s"
    t.join(5)
    equal(answer, [503])
    document = E.session("u1", "drained")
    equal(document["processingStatus"], "pending")
    assert "lease" not in document["inpaint"], document["inpaint"]
    equal(document["inpaint"]["messageId"], "m-d", "duplicates are judged by it")
    equal(W.push(dumps(envelope("u1", "drained", "m-d"))), 204)
    document = E.session("u1", "drained")
    equal((document["processingStatus"], document["inpaint"]["attempts"]), ("completed", 2))


def test_deadline_gives_the_claim_back():
    w = slow_worker("deadline", STEPS=16, JOB_DEADLINE_SECONDS=8, LEASE_SECONDS=60)
    try:
        upload("u1", "late", photo_png(1024, 1024), mask_png(1024, 1024))
        E.create_session("u1", "late")
        answers = []
        t = threading.Thread(target=lambda: answers.append(w.push(dumps(envelope("u1", "late", "m-late")))))
        t.start()
        wait_until("the job runs", lambda: E.session("u1", "late")["processingStatus"] == "processing", every=0.01)
        w.process.send_signal(signal.SIGSTOP)  # the machine is busy with something else
        time.sleep(8)
        w.process.send_signal(signal.SIGCONT)
        t.join()
        equal(answers, [503])
        document = E.session("u1", "late")
        equal(document["processingStatus"], "pending")
        assert "lease" not in document["inpaint"]
    finally:
        w.stop()


def test_push_while_the_model_loads_is_not_lost():
    upload("u1", "early")
    E.create_session("u1", "early")
    w = Worker(E, "loading", ready=False)
    try:
        wait_until("the worker listens", w.listens, every=0.002)
        equal(w.push(dumps(envelope("u1", "early", "m-early"))), 204)
        equal(E.session("u1", "early")["processingStatus"], "completed")
    finally:
        w.stop()
    E.create_session("u1", "early-2")
    upload("u1", "early-2")
    port_holder = Worker(E, "later", ready=False)
    try:
        E.subscribe("early", port_holder.base + "/inpaint")
        E.publish_to("early", {"userId": "u1", "sessionId": "early-2"})
        equal(finished("u1", "early-2")["processingStatus"], "completed")
    finally:
        port_holder.stop()


def test_metrics_are_prometheus_text():
    status, headers, text = call("GET", W.base + "/metrics")
    equal(status, 200)
    assert headers["Content-Type"].startswith("text/plain")
    for line in text.decode().splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0, line


# ---- tokens (PROTOCOL.md 9.1, 2.8) ----

KAT_KEY = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "kat-1", "e": "AQAB", "n": (
    "m3ZFR7WUHIFMHhDKqSZr5Imzkktg7ttD41j7T31MS_31UfPhpI94ySnvGU9vqYLoJMCGvdrg0DiCfwlakb-AYmI_U7H9A0pYb_GmXqCr0wCmWh7Yz"
    "mPRNsNpXP2XVEIV-0puquxrDN-G4itPGG2jOWLnUMyAtp6eZNicQZPCWjgxGKvMPwDrCGIL4D4vf3CXENuy8DWnY9BuZtPVjBbWS0pM8KJCkreX0-5"
    "pKuzCHA1yWhF8PlDPnjrkYQWS0OiICZoCBeozRegSmD9NJy9EOkpIQyq-U1GottkhyyEpUOR_txTNyJCCw9LmvKhZVPpRQR241X6vYo3LJgBCBQcsiw")}
KAT_CLAIMS = ("eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20iLCJhdWQiOiJodHRwczovL3cuZXhhbXBsZS9wIiwiYXpwIjoiMSIsInN1YiI"
              "6IjEiLCJlbWFpbCI6InB1c2hAZGVtby5pYW0uZ3NlcnZpY2VhY2NvdW50LmNvbSIsImVtYWlsX3ZlcmlmaWVkIjp0cnVlLCJpYXQiOjE3MDAw"
              "MDAwMDAsImV4cCI6MTcwMDAwMzYwMH0")
KAT_T1 = ("eyJhbGciOiJSUzI1NiIsImtpZCI6ImthdC0xIiwidHlwIjoiSldUIn0." + KAT_CLAIMS +
          ".ldI7XPsy96Rk7L4zOkQ5CyFqVEU_8t3BL25NoitDFgL6t-mCiz2nJj1lVT_S-DSxz-2krsjUqRMWldjKecteHqT61FCtuzdWOeRMUSabOaKJ0n"
          "1cDWoZdieRp5q1TV2ug9dMFhac2bHH2JnLXRoaGMp-_6zkuq_l7uUzNL6yckvaAb4NeqZW94rPLosOfJUKb90URqvEiZdecWZQe7iNIFdX8PDVY"
          "wOS2e5euKiPsYINx62sgU6ziDzu2F79f7WpTyO6tHZgnl8uUSZHaTWW3tLfiBkJ5LNFmV8IWZQVihHpqymZEivYwt8nrSEQNF8Te6eyS_wi7bgb"
          "ibSoAnSOhg")
KAT_T2 = ("eyJhbGciOiJIUzI1NiIsImtpZCI6ImthdC0xIiwidHlwIjoiSldUIn0." + KAT_CLAIMS +
          ".DBLq1g60EAyinypSMBedFXqWS037aBPrV_L2EUKRJ7s")
# a message this old is acknowledged (204) without a job
NOBODY = dumps(envelope("u1", "token-session", "m-token", "2020-01-01T00:00:00Z"))


def kat_worker(clock, issuer, **settings):
    """The program with its wall clock set to the time of the published vectors."""
    stamp = "@" + time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(clock))
    defaults = {"PUSH_AUTH": "oidc", "PUSH_AUDIENCE": "https://w.example/p", "PUSH_SERVICE_ACCOUNT": PUSHER,
                "OIDC_CERTS_URL": issuer.url, "TZ": "UTC", **faketime(stamp)}
    return Worker(E, f"kat-{clock}", **{**defaults, **settings})


def bearer(token):
    return {"Authorization": "Bearer " + token}


def test_published_token_vectors_at_their_own_time():
    issuer = Issuer(extra_keys=[KAT_KEY])
    lookalike = KAT_T1[:-1] + chr(ord(KAT_T1[-1]) + 1)
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + KAT_CLAIMS + "."
    marked = KAT_T1.rsplit(".", 1)[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"
    cases = {
        1700000100: [("T1", KAT_T1, 204), ("T1e", lookalike, 401), ("T1f", KAT_T1 + "==", 401), ("T1f", KAT_T1 + ".x", 401),
                     ("T2", KAT_T2, 401), ("T3", unsigned, 401), ("T4", marked, 401)],
        1700003640: [("T1a", KAT_T1, 204)],
        1700003662: [("T1b", KAT_T1, 401)],
        1699999942: [("T1c", KAT_T1, 204)],
        1699999920: [("T1d", KAT_T1, 401)],
    }
    for clock, tokens in cases.items():
        w = kat_worker(clock, issuer)
        try:
            for name, token, want in tokens:
                equal(w.push(NOBODY, bearer(token)), want, name)
            assert "eyJ" not in w.log(), "no token in the log"
        finally:
            w.stop()
    for name, settings, want in (("T5", {"PUSH_AUDIENCE": "https://other.example"}, 401),
                                 ("T6", {"PUSH_SERVICE_ACCOUNT": "other@demo.iam.gserviceaccount.com"}, 403)):
        w = kat_worker(1700000100, issuer, **settings)
        try:
            equal(w.push(NOBODY, bearer(KAT_T1)), want, name)
        finally:
            w.stop()
    issuer.stop()


def test_tokens_of_a_test_issuer():
    issuer = Issuer()
    w = Worker(E, "oidc", PUSH_AUTH="oidc", PUSH_AUDIENCE=AUDIENCE, PUSH_SERVICE_ACCOUNT=PUSHER, OIDC_CERTS_URL=issuer.url)
    try:
        now = int(time.time())
        good = issuer.sign()
        c = issuer.claims
        cases = [
            ("good", good, 204),
            ("bare issuer", issuer.sign(c(iss="accounts.google.com")), 204),
            ("ended 50 s ago", issuer.sign(c(exp=now - 50)), 204),
            ("ended 70 s ago", issuer.sign(c(exp=now - 70)), 401),
            ("from 50 s ahead", issuer.sign(c(iat=now + 50)), 204),
            ("from 75 s ahead", issuer.sign(c(iat=now + 75)), 401),
            ("nbf 75 s ahead", issuer.sign(c(nbf=now + 75)), 401),
            ("ten years", issuer.sign(c(exp=now + 315360000)), 401),
            ("no exp", issuer.sign(c(exp=...)), 401),
            ("exp text", issuer.sign(c(exp=str(now + 100))), 401),
            ("exp fraction", issuer.sign(c(exp=now + 100.5)), 401),
            ("issuer with slash", issuer.sign(c(iss="https://accounts.google.com/")), 401),
            ("audience with slash", issuer.sign(c(aud=AUDIENCE + "/")), 401),
            ("audience list", issuer.sign(c(aud=[AUDIENCE])), 401),
            ("no audience", issuer.sign(c(aud=...)), 401),
            ("other account", issuer.sign(c(email="human@example.com")), 403),
            ("account in capitals", issuer.sign(c(email=PUSHER.upper())), 403),
            ("unverified", issuer.sign(c(email_verified=False)), 403),
            ("verified as text", issuer.sign(c(email_verified="true")), 403),
            ("RS512 claimed", issuer.sign(header={"alg": "RS512"}), 401),
            ("rs256 in small letters", issuer.sign(header={"alg": "rs256"}), 401),
            ("unknown key", issuer.sign(header={"kid": "other"}), 401),
            ("path as key", issuer.sign(header={"kid": "../../x"}), 401),
            ("no key id", issuer.sign(header={"kid": ...}), 401),
            ("crit", issuer.sign(header={"crit": ["b64"], "b64": False}), 401),
            ("zip", issuer.sign(header={"zip": "DEF"}), 401),
            ("jku is not fetched", issuer.sign(header={"jku": issuer.url}), 204),
            ("duplicate audience", issuer.sign(raw_claims=dumps(c())[:-1] + b',"aud":"' + AUDIENCE.encode() + b'"}'), 401),
            ("claims and more", issuer.sign(raw_claims=dumps(c()) + b" x"), 401),
            ("claims a list", issuer.sign(raw_claims=b"[]"), 401),
            ("flipped signature", good[:-20] + ("A" if good[-20] != "A" else "B") + good[-19:], 401),
            ("no signature", good.rsplit(".", 1)[0] + ".", 401),
            ("two parts", good.rsplit(".", 1)[0], 401),
            ("padding", good + "==", 401),
            ("9 KiB", issuer.sign(c(pad="x" * 9000)), 401),
        ]
        for name, token, want in cases:
            equal(w.push(NOBODY, bearer(token)), want, name)
        equal(w.push(NOBODY), 401, "no header")
        equal(w.push(NOBODY, {"Authorization": "Basic dTpw"}), 401)
        equal(w.push(NOBODY, {"Authorization": "Bearer"}), 401)
        equal(w.push(NOBODY, {"Authorization": "bearer " + good}), 204, "the scheme has no case")
        equal(w.push(NOBODY, path="/inpaint?access_token=" + good), 401)
        status, headers, _ = call("POST", w.base + "/inpaint", NOBODY)
        equal((status, headers["WWW-Authenticate"]), (401, 'Bearer error="invalid_token"'))
        two = (f"POST /inpaint HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n"
               f"Content-Length: {len(NOBODY)}\r\nConnection: close\r\n\r\n").encode() + NOBODY
        equal(status_of(raw_request(w.port, two, 10)), 401, "two Authorization headers")
        big = b"POST /inpaint HTTP/1.1\r\nHost: x\r\nContent-Length: 14000000\r\n\r\n"
        equal(status_of(raw_request(w.port, big, 10)), 401, "without a token no body is read")
        assert issuer.fetches <= 3, f"{issuer.fetches} key fetches: a flood of made-up keys must not become one"
        assert "eyJ" not in w.log(), "no token in the log"
        # and a whole job with a good token
        upload("u1", "token-session")
        E.create_session("u1", "token-session")
        equal(w.push(dumps(envelope("u1", "token-session", "m-token")), bearer(good)), 204)
        equal(E.session("u1", "token-session")["processingStatus"], "completed")
    finally:
        w.stop()
        issuer.stop()


# ---- push bodies (PROTOCOL.md 9.2) ----

def test_push_bodies_that_run():
    def runs(name, body, headers=None):
        session = f"body-{name}"
        upload("u1", session)
        E.create_session("u1", session)
        equal(W.push(body(session), headers), 204, name)
        equal(E.session("u1", session)["processingStatus"], "completed", name)

    runs("P1", lambda s: dumps(envelope("u1", s, "m-p1")))
    runs("P3", lambda s: dumps(envelope("u1", s, "m-p3", deliveryAttempt=None, message={"attributes": ..., "orderingKey": ...})))
    runs("P4", lambda s: dumps(envelope("u1", s, "m-p4", message={"messageId": ...})))
    for i, attempt in enumerate(('"5"', "-1", "1e99", "null")):
        runs(f"P7-{i}", lambda s, a=attempt: dumps(envelope("u1", s, "m-" + s)).replace(
            b'"deliveryAttempt": 1', b'"deliveryAttempt": ' + a.encode()))
    runs("P6", lambda s: dumps(envelope("u1", s, "m-p6", message={"messageId": 90071992547409931, "message_id": ...})))
    equal(E.session("u1", "body-P6")["inpaint"]["messageId"], "90071992547409931")
    runs("P28", lambda s: dumps(envelope("u1", s, "m-p28", message={"data": base64.b64encode(base64.encodebytes(
        dumps({"userId": "u1", "sessionId": s}))).decode()})))
    runs("P29", lambda s: dumps(envelope("u1", s, "m-p29", message={"data": base64.b64encode(
        dumps({"user_id": "u1", "session_id": s})).decode()})))
    runs("P26", lambda s: dumps({"userId": "u1", "sessionId": s}), {"X-Goog-Pubsub-Message-Id": "m-p26"})
    runs("P27-structured", lambda s: dumps({"specversion": "1.0", "id": "1", "data": envelope("u1", s, "m-p27")}),
         {"Content-Type": "application/cloudevents+json; charset=utf-8"})
    runs("P27-binary", lambda s: dumps(envelope("u1", s, "m-p27")),
         {"ce-id": "1", "ce-type": "google.cloud.pubsub.topic.v1.messagePublished"})
    runs("P19-text", lambda s: dumps(envelope("u1", s, "m-p19")), {"Content-Type": "text/plain"})

    session = "body-P18"
    upload("u1", session)
    E.create_session("u1", session)
    body = dumps(envelope("u1", session, "m-p18"))
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunked += b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (50, body[:50], len(body) - 50, body[50:])
    equal(status_of(raw_request(W.port, chunked, 60)), 204, "P18, on /")
    equal(E.session("u1", session)["processingStatus"], "completed")


def test_push_bodies_that_are_poison():
    def poison():
        return sum(value for name, value in W.metrics().items() if "poison" in name)

    def message(**changes):
        return dumps(envelope("u1", "poison", "m-x", message=changes))

    good = dumps(envelope("u1", "poison", "m-x"))
    emulator = (b'{"subscription":"projects\\/demo\\/subscriptions\\/s","message":{"publishTime":"2026-11-20T09:39:12.000Z",'
                b'"data":"eyJoZWxsbyI6IndvcmxkIn0=","publish_time":"2026-11-20T09:39:12.000Z","messageId":"1","attributes":{},'
                b'"message_id":"1"}}')
    bodies = [emulator, message(messageId="1", message_id="2"), message(messageId=5.0, message_id=...),
              message(messageId=-5, message_id=...), dumps({"userId": "u1", "sessionId": "poison"}),
              b"", b"null", b"[]", b'"x"', b"{}", b'{"message":null}', b'{"message":[]}',
              message(data=...), message(data=""), message(data=None), message(data=5)]
    bodies += [message(data=d) for d in ("_-_-", "eyJ9", "eyJ=9A==", "ey J9", "eyJ9\n", "=", "AB==")]
    bodies += [good + b"x", good + good, good + b"\0", b"\xef\xbb\xbf" + good,
               good.replace(b'"k": "v"', b'"k": "\xff"'), good.replace(b"m-x", b"m\\u0000"),
               good.replace(b'"message"', b'"message": {}, "message"', 1), good.replace(b'"data"', b'"data": "", "data"', 1),
               b"[" * 100000, b'{"a":' * 100000]
    bodies += [dumps(envelope(user, "s", "m-id")) for user in
               ("../x", "a/b", "a%2Fb", "__x__", ".", "", "x" * 129, "\u0085", "a?b", "\U0001f600" * 128 + "x", -5, None)]
    bodies.append(dumps(envelope("\U0001f600" * 128, "\U0001f600" * 128, "m-id")))
    before = poison()
    for body in bodies:
        equal(W.push(body), 204, repr(body[:120]))
    equal(poison() - before, len(bodies), "each is counted")
    for cut in range(0, len(good), 7):
        equal(W.push(good[:cut]), 204, f"cut at {cut}")
    huge = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 14000000\r\nConnection: close\r\n\r\n" + b" " * 2000000
    equal(status_of(raw_request(W.port, huge, 20)), 204, "P16")
    equal(E.session("u1", "poison"), None)
    equal(call("GET", W.base + "/health")[0], 200)


def test_ids_of_any_script_in_the_emulators():
    for n, (user, session) in enumerate((("a|b@c.d:\u00e9\u4e2d", "\u0627\u0644 b+c&d=e"), ("google-oauth2|1", "..."),
                                         ("u", "\U0001f600" * 128))):
        upload(user, session)
        E.create_session(user, session)
        equal(W.push(dumps(envelope(user, session, f"m-script-{n}"))), 204, repr(session))
        document = E.session(user, session)
        equal(document["processingStatus"], "completed", repr(session))
        equal(jpeg_size(E.get_object(document["editedImagePath"])[1]), (160, 120), repr(session))


def test_pushes_that_the_emulator_unwraps():
    E.subscribe("bare", W.base + "/inpaint", noWrapper={"writeMetadata": True})
    for n, data in enumerate((dumps({"userId": "u1", "sessionId": "bare-0"}),
                              base64.b64encode(dumps({"user_id": "u1", "session_id": "bare-1"})))):
        upload("u1", f"bare-{n}")
        E.create_session("u1", f"bare-{n}")
        message_id = E.publish_to("bare", data, {"origin": "app", "content-type": "application/cloudevents+json"})
        document = finished("u1", f"bare-{n}")
        equal((document["processingStatus"], document["inpaint"]["messageId"]), ("completed", message_id))


def test_poison_goes_to_its_topic_in_the_emulator():
    E.subscribe("poison", None)
    w = Worker(E, "poison", POISON_TOPIC=f"projects/{E.project}/topics/poison", PUBSUB_EMULATOR_HOST=E.env["PUBSUB_EMULATOR_HOST"],
               PUBSUB_SUBSCRIPTION="projects/demo/subscriptions/s")
    try:
        equal(w.push(dumps(envelope("u1", "__s__", "m-poison"))), 204)
        equal(w.push(dumps(envelope("u1", "s", "m-other", subscription="projects/demo/subscriptions/other"))), 204)
        first, other = wait_until("both are there", lambda: (lambda got: got if len(got) == 2 else None)(E.pull("poison")), 20)
        equal(base64.b64decode(first["message"]["data"]), dumps({"userId": "u1", "sessionId": "__s__"}))
        equal((first["message"]["attributes"]["messageId"], other["message"]["attributes"]["messageId"]), ("m-poison", "m-other"))
        assert "sessionId is not an id" in first["message"]["attributes"]["reason"], first
        assert "PUBSUB_SUBSCRIPTION" in other["message"]["attributes"]["reason"], other
    finally:
        w.stop()


def test_routes_and_methods():
    for path, allowed in (("/", "POST, GET, HEAD"), ("/inpaint", "POST"), ("/ready", "GET")):
        for method in {"GET", "PUT", "HEAD", "DELETE"} - set(allowed.split(", ")):
            status, headers, _ = call(method, W.base + path)
            equal((status, headers["Allow"]), (405, allowed), f"{method} {path}")
    equal(call("POST", W.base + "/other", b"{}")[0], 404)
    equal(call("GET", W.base + "/nothing")[0], 404)


def test_a_body_that_never_ends_is_cut_off():
    head = b"POST /inpaint HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + b"x" * 50
    started = time.monotonic()
    raw = raw_request(W.port, head, 50)
    waited = time.monotonic() - started
    assert status_of(raw) in (408, None), raw
    assert 20 < waited < 45, f"closed after {waited:.0f} s, want about 30"
    equal(call("GET", W.base + "/health")[0], 200)


def test_other_subscriptions_are_refused_where_one_is_named():
    w = Worker(E, "subscription", PUBSUB_SUBSCRIPTION="projects/demo/subscriptions/ours")
    try:
        upload("u1", "subscribed")
        E.create_session("u1", "subscribed")
        equal(w.push(dumps(envelope("u1", "subscribed", "m-s1"))), 204)
        equal(E.session("u1", "subscribed")["processingStatus"], "pending", "nothing runs")
        equal(w.push(dumps(envelope("u1", "subscribed", "m-s2", subscription="projects/demo/subscriptions/ours"))), 204)
        equal(E.session("u1", "subscribed")["processingStatus"], "completed")
    finally:
        w.stop()


def test_bad_settings_stop_the_start_with_a_message():
    for settings, word in (({"PUSH_AUTH": "maybe"}, "PUSH_AUTH"), ({"STEPS": "0"}, "STEPS"), ({"INPAINT_TYPO": "1"}, "INPAINT_TYPO"),
                           ({"PUSH_AUTH": "oidc"}, "PUSH_AUDIENCE"), ({"LEASE_SECONDS": "100"}, "LEASE_SECONDS"),
                           ({"K_SERVICE": "x"}, "EMULATOR"), ({"MODEL_DIR": "/nowhere"}, "/nowhere")):
        w = Worker(E, "settings", ready=False, **settings)
        equal(w.process.wait(30), 1, str(settings))
        assert word in w.log(), (settings, w.log())


def opened_in(kind):
    @contextlib.contextmanager
    def opened():
        global E, W
        with emulators(kind) as E:
            W = Worker(E, "main")
            try:
                yield
                W.stop()
            finally:
                if W.process.poll() is None:
                    W.process.kill()
    return opened


WITHOUT_A_CLOUD = ("routes_and_methods", "a_body_that_never_ends_is_cut_off", "metrics_are_prometheus_text",
                   "bad_settings_stop_the_start_with_a_message")  # once is enough
OF_PUBSUB = ("pushes_that_the_emulator_unwraps", "poison_goes_to_its_topic_in_the_emulator")  # local_path.py has them, too
TESTS = tests_of(sys.modules[__name__])
SUITE = Suite([t for t in TESTS if t[0] not in WITHOUT_A_CLOUD], opened_in(Emulators))
EMBEDDED = Suite([(f"{name}_embedded", test) for name, test in TESTS if name not in OF_PUBSUB],
                 opened_in(Embedded))

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], EMBEDDED, SUITE))
