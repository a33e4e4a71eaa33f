"""Sessions that can be reached but not understood, a database that is not there, and messages that have come too often."""
import threading
import time

from fake_cloud import *  # noqa: F403
from harness import PROGRAM, dumps, envelope, equal, nested, now_text, to_value, wait_until
from house import House


def array(values):
    return {"arrayValue": {"values": values}}


def code_of(h, session):
    return text_at(h.cloud.fields(session), "inpaint.errorCode")


LEGAL = [  # fields, and what the session comes to: None: completed
    ({"prompt": to_value("a\0b")}, "PROMPT_INVALID"),
    ({"prompt": {"stringValue": "a\ud800"}}, "PROMPT_INVALID"),
    ({"prompt": nested(19, {"geoPointValue": {"latitude": 1, "longitude": 2}})}, "PROMPT_INVALID"),
    ({"prompt": {"bytesValue": "AAAA"}}, "PROMPT_INVALID"),
    ({"prompt": to_value("\0" * 1000000)}, "PROMPT_INVALID"),
    ({"prompt": {"nullValue": None}}, None),
    ({"sceneLabels": to_value(["a\0b", "grass"])}, None),
    ({"sceneLabels": array([{"stringValue": "\ud800"}, {"doubleValue": 5e-324}, {"integerValue": str(-2**63)}])}, None),
    ({"sceneLabels": nested(19, to_value("x"))}, None),
    ({"sceneLabels": array([to_value("a:b")] * 39000 + [to_value("grass")])}, None),
    ({"sceneLabels": array([{"booleanValue": False}] * 1000000)}, None),
    ({"processingStatus": to_value("queued")}, None),
    ({"processingStatus": to_value(["completed"])}, None),
    ({"processingStatus": nested(15, to_value("completed"))}, None),
    ({"inpaint": to_value("mine")}, None),
    ({"inpaint": to_value({"attempts": -5, "messageId": 3, "lease": "x"})}, None),
    ({"inpaint": to_value({"attempts": 1.5, "lease": {"expiresAt": "x", "id": ["y"]}})}, None),
]


def test_documents_of_every_kind_end_at_once():
    with House("legal") as h:
        w = h.worker()
        for n, (fields, want) in enumerate(LEGAL):
            with h.case(f"{n}: {list(fields)[0]}"):
                session = f"legal-{n}"
                body = h.job(session, **fields)
                since = w.processor_seconds()
                equal(h.deliver(w, session, body), [204])
                took = w.processor_seconds() - since
                assert took < (30 if "tsan" in PROGRAM else 2), f"{took:.1f} s of processor time, the job included"
                equal(code_of(h, session), want)
                if not want:
                    h.check_completed(session)


def test_what_cannot_be_understood_is_failed_and_acked():
    def body_of(text):
        def act(request, apply):
            reply = apply(request)
            if b"prompt" in urllib.parse.unquote(str(request.query)).encode():
                reply.body = text
            return reply
        return act
    with House("unreadable") as h:
        w = h.worker()
        for n, text in enumerate([b"{", b"[" * 100000, b" " * 40000000, b"{}", b"{\"name\":\"x\"}", b"\xff"]):
            with h.case(text[:20]):
                session = f"unreadable-{n}"
                body = h.job(session)
                h.cloud.on("get", body_of(text), 99)
                equal(h.deliver(w, session, body), [204])
                fields = h.cloud.fields(session)
                equal(text_at(fields, "processingStatus"), "failed")
                equal(code_of(h, session), "SESSION_UNREADABLE")
                equal(value_at(fields, "inpaint.attempts"), {"integerValue": "1"})
                equal(text_at(fields, "note"), "the app's")
                h.cloud.rules.clear()
                equal(w.push(body), 204, "a duplicate")
                h.cloud.put(session, {**fields, "processingStatus": to_value("pending"), "inpaint": to_value({})})
                equal(w.push(dumps(envelope("u1", session, f"again-{session}"))), 204)
                equal(text_at(h.cloud.fields(session), "processingStatus"), "completed")


def test_a_claim_that_firestore_finds_invalid_ends_the_session():
    with House("invalid") as h:
        w = h.worker()
        body = h.job("invalid")
        h.cloud.on("claim", rpc_error(400, "INVALID_ARGUMENT"), 1)
        equal(w.push(body), 204)
        equal(code_of(h, "invalid"), "SESSION_UNREADABLE")
        for n, foreign in enumerate([answer(400, b"<html>"), answer(302), answer(404, {"error": "none"}), rpc_error(400, "NEW"), answer(413)]):
            with h.case(f"an answer that is not Firestore's: {n}"):
                body = h.job(f"proxy-{n}")
                h.cloud.on("claim", foreign, 1)
                equal(w.push(body), 503, "it says nothing about the document")
                equal(w.push(body), 204)
                h.check_completed(f"proxy-{n}")


def test_a_missing_database_loses_no_job():
    with House("database") as h:
        w = h.worker()
        old = dumps(envelope("u1", "early", "m-early", now_text(3600)))
        h.cloud.on("look", NO_DATABASE, 9)
        h.cloud.on("get", NO_DATABASE, 9)
        h.cloud.on("claim", NO_DATABASE, 9)
        equal(w.push(old), 503, "before the database has ever answered")
        assert "FIRESTORE_DATABASE" in w.log(), w.log()[-2000:]
        h.cloud.rules.clear()
        h.job("early")
        equal(w.push(old), 204)
        h.check_completed("early")
        body = h.job("late")
        for op in ("get", "claim"):
            h.cloud.rules.clear()
            h.cloud.on(op, NO_DATABASE, 99)
            equal(w.push(body), 503, op)
            equal(text_at(h.cloud.fields("late"), "processingStatus"), "pending")
        h.cloud.rules.clear()
        equal(w.push(body), 204)
        h.check_completed("late")
        equal(w.metrics()["inpaint_sessions_missing_total"], 0)


def test_a_session_that_is_not_there_is_counted_and_told():
    with House("missing-session") as h:
        w = h.worker()
        equal(w.push(dumps(envelope("u1", "nowhere", "m1"))), 404)
        equal(w.push(dumps(envelope("u1", "nowhere", "m1", now_text(3600)))), 204)
        h.cloud.on("look", rpc_error(404, "NOT_FOUND", "Requested entity was not found."), 1)
        equal(w.push(dumps(envelope("u1", "nowhere", "m1", now_text(3600)))), 204, "the database has answered before")
        equal(w.metrics()["inpaint_sessions_missing_total"], 3)
        lines = w.lines("the session was not found")
        equal([line["severity"] for line in lines], ["WARNING"] * 3)
        for line, word in zip(lines, ("within a minute", "FIRESTORE_DATABASE", "FIRESTORE_DATABASE")):
            assert word in line["remedy"], line


def test_a_named_database_is_used():
    with House("named", FIRESTORE_DATABASE="eur3-two") as h:
        seen = []
        h.cloud.on("look", lambda request, apply: seen.append(request.path) or answer(503)(request, apply), 9)
        h.cloud.on("get", lambda request, apply: seen.append(request.path) or answer(403)(request, apply), 9)
        w = h.worker()
        equal(w.push(h.job("named")), 503)
        assert seen and all("/databases/eur3-two/documents/" in path for path in seen), seen


def test_finished_sessions_are_answered_beside_a_running_job():
    with House("beside", QUEUE_DEPTH=1) as h:
        w = h.worker()
        finished = [h.job(f"done-{n}") for n in range(8)]
        for body in finished:
            equal(w.push(body), 204)
        answers = {}

        def push(session, body):
            answers[session] = w.push(body)
        h.cloud.on("media:original.jpg", h.cloud.late(4), 1)
        running = threading.Thread(target=push, args=("running", h.job("running")))
        running.start()
        wait_until("it runs", lambda: h.cloud.count("claim") == 9)
        threads = [threading.Thread(target=push, args=(n, body)) for n, body in enumerate(finished)]
        since = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        took = time.monotonic() - since
        assert took < 2 and running.is_alive(), f"{took:.1f} s"
        waiting = threading.Thread(target=push, args=("waiting", h.job("waiting")))
        waiting.start()
        running.join()
        waiting.join()
        equal(answers, {"running": 204, "waiting": 204, **{n: 204 for n in range(8)}})
        for session in ("running", "waiting"):
            h.check_completed(session)


def test_the_last_delivery_ends_a_session():
    with House("last") as h:
        w = h.worker()
        h.cloud.on("upload:*", answer(403, b"{}"), 99)
        for session, extra in (("often", {"deliveryAttempt": 51}), ("old", {"publish_time": now_text(8 * 86400)})):
            body = h.job(session)
            equal(w.push(body), 503, "its results cannot be written")
            equal(w.push(dumps(envelope("u1", session, f"m-{session}", **extra))), 204)
            equal(text_at(h.cloud.fields(session), "processingStatus"), "failed")
            equal(code_of(h, session), "ATTEMPTS_EXHAUSTED")
            equal(w.push(body), 204, "a duplicate")
        h.job("denied")
        last = dumps(envelope("u1", "denied", "m-denied", deliveryAttempt=51))
        h.cloud.on("fail", answer(503), 99)
        equal(w.push(last), 503, "Firestore cannot be reached")
        h.cloud.rules.clear()
        h.cloud.on("fail", rpc_error(403, "PERMISSION_DENIED"), 99)
        equal(w.push(last), 204)
        equal(w.metrics()["inpaint_given_up_total"], 1)
        wait_until("it is said", lambda: "can be neither read nor failed" in w.log(), 5)
