"""In production: every call carries a token, a refused one is replaced, and no token goes where it does not belong."""
import re
import threading
import time

from fake_cloud import *  # noqa: F403
from harness import call, equal, wait_until
from house import HTML, STAGES, House
from modes import PRODUCTION_ONLY
from production import FOREIGN

# what is not a step of a job without faults: how to get there, and what is answered
SIDE_STEPS = ["fail", "release", "delete:edited.jpg", "progress"]


def side_step(h, w, op, session):
    """A job in which this call is made."""
    body = h.job(session, **({"photo": b"this is no picture at all"} if op == "fail" else {}))
    if op == "release":
        h.cloud.on("stat:original.jpg", answer(403, b"{}"), 1)
    elif op == "delete:edited.jpg":
        h.cloud.on("complete", before(lambda: h.cloud.delete(session)))
    elif op == "progress":
        h.cloud.on("stat:edited.jpg", h.cloud.late(1.3))
    equal(w.push(body), 503 if op == "release" else 204, op)
    status = text_at(h.cloud.fields(session) or {}, "processingStatus")
    equal(status, {"fail": "failed", "release": "pending", "progress": "completed"}.get(op), op)
    equal(h.output(session) is not None, op == "progress", op)


@PRODUCTION_ONLY
def test_every_call_carries_a_token():
    for credentials in ("key", "file", "metadata"):
        with House(f"token-{credentials}", credentials) as h:
            w = h.worker()
            equal(w.push(h.job("plain")), 204)
            h.check_completed("plain")
            for op in SIDE_STEPS:
                side_step(h, w, op, op.split(":")[0])
            equal({*STAGES, *SIDE_STEPS} - {op for op, _ in h.cloud.guard.seen}, set(), "calls with a token")
            equal(len(h.cloud.guard.tokens()), 1, "one token serves for an hour")
            equal(w.push(h.job("unsigned"), {"Authorization": "Bearer x"}), 401, "nor does a push without one run")


@PRODUCTION_ONLY
def test_refused_token_is_replaced_at_every_call():
    with House("renewed", "metadata") as h:
        w, guard = h.worker(), h.cloud.guard

        def check(session, op, body, status):
            equal(status, 204)
            h.check_completed(session)

        def replaced(op, run):
            with h.case(f"{op} refused"):
                h.cloud.on(op, guard.revoke)
                tokens, refusals = len(guard.tokens()), guard.refusals
                run()
                equal(len(guard.tokens()) - tokens, 1, "one new token")
                assert 1 <= guard.refusals - refusals <= 2, "downloads run side by side; no call brings a refused token twice"
        equal(w.push(h.job("first")), 204)
        for i, op in enumerate(STAGES):
            body = h.job(f"n{i}")
            replaced(op, lambda i=i, op=op, body=body: check(f"n{i}", op, body, w.push(body)))
        for op in SIDE_STEPS:
            replaced(op, lambda op=op: side_step(h, w, op, op.split(":")[0]))


@PRODUCTION_ONLY
def test_refused_token_of_a_key_is_signed_anew():
    with House("resigned") as h:
        w, guard = h.worker(), h.cloud.guard
        equal(w.push(h.job("first")), 204)
        for i, op in enumerate(("get", "claim", "media:original.jpg", "upload:edited.jpg", "complete")):
            with h.case(op):
                time.sleep(1.05)  # a token of another second is another token
                tokens = len(guard.tokens())
                h.cloud.on(op, guard.revoke)
                equal(w.push(h.job(f"n{i}")), 204)
                h.check_completed(f"n{i}")
                equal(len(guard.tokens()) - tokens, 1, "one new token")


@PRODUCTION_ONLY
def test_token_is_renewed_near_its_end():
    with House("ending", "metadata") as h:
        w, guard = h.worker(), h.cloud.guard
        guard.revoke()  # whatever the start has asked for
        guard.lifetime = 226  # it counts as near its end 225 s before

        def tokens_of(session):
            start = len(guard.seen)
            equal(w.push(h.job(session)), 204)
            h.check_completed(session)
            return list(dict.fromkeys(token for _, token in guard.seen[start:] if token not in guard.revoked))
        first = tokens_of("young")
        time.sleep(1.2)
        h.cloud.on("metadata:token", HTML, 9)
        equal(tokens_of("refused"), first[-1:], "the old one serves while there is no other")
        h.cloud.rules.clear()
    with House("ending-2", "metadata") as h:
        w, guard = h.worker(), h.cloud.guard
        guard.revoke()
        guard.lifetime = 226
        equal(w.push(h.job("young")), 204)
        time.sleep(1.2)
        guard.lifetime = 3600
        old, start = guard.tokens(), len(guard.seen)
        equal(w.push(h.job("renewed")), 204)
        used = {token for _, token in guard.seen[start:]}
        equal((len(used), used & set(old)), (1, set()), "a new token, from the first call on")


@PRODUCTION_ONLY
def test_without_a_token_nothing_is_sent():
    def without_flavor(reply):
        reply.headers.clear()
    token = {"access_token": "ya29.x", "expires_in": 3600, "token_type": "Bearer"}
    flavor = {"Metadata-Flavor": "Google"}
    cases = [("resets", lose), ("HTML with 503", HTML), ("404", answer(404, b"", flavor)), ("403", answer(403, b"", flavor)),
             ("another server", mangled(without_flavor)), ("no JSON", answer(200, b"<html>", flavor)),
             ("{}", answer(200, b"{}", flavor)), ("a list", answer(200, [token], flavor)),
             ("a line break", answer(200, {**token, "access_token": "ya29.x\r\nX-Y: z"}, flavor)),
             ("a token that is none", answer(200, {**token, "access_token": 5}, flavor)),
             ("another type", answer(200, {**token, "token_type": "MAC"}, flavor)),
             ("too long", answer(200, {**token, "access_token": "y" * 9000}, flavor)),
             ("an endless answer", answer(200, b" " * (1 << 20), flavor))]
    with House("tokenless", "metadata") as h:
        w, guard = h.worker(), h.cloud.guard
        guard.lifetime = 1  # each call needs a token of its own
        guard.revoke()
        equal(w.push(h.job("first")), 204)
        for i, (label, action) in enumerate(cases):
            with h.case(label):
                body, calls, lines = h.job(f"w{i}"), len(guard.seen), len(w.log())
                h.cloud.on("metadata:token", action, 99)
                equal(w.push(body), 503)
                equal(guard.seen[calls:], [], "calls")
                wait_until("the log tells", lambda: re.search("token|metadata", w.log()[lines:]), 5)  # it has a thread of its own
                assert "HTTP -" not in w.log()[lines:], w.log()[lines:]
                h.cloud.rules.clear()
                equal(h.deliver(w, f"w{i}", body), [204])


@PRODUCTION_ONLY
def test_metadata_server_that_is_silent_at_the_start_does_not_delay_the_end():
    with House("silent-metadata", "metadata") as h:
        asked = threading.Event()

        def silent(request, apply):
            asked.set()
            return h.cloud.hang(40)(request, apply)
        h.cloud.on("metadata:*", silent, 99)
        w = h.worker(ready=False)
        assert asked.wait(20), "nobody asks"
        w.terminate()
        equal(w.process.wait(9), 0, "exit status")


@PRODUCTION_ONLY
def test_redirection_is_never_followed():
    with House("elsewhere", MAX_ATTEMPTS=100) as h:
        w, n = h.worker(), 0
        for op in ("get", "claim", "stat:original.jpg", "media:original.jpg", "upload:edited.jpg", "complete"):
            for status, place in ((302, f"https://{FOREIGN}/x"), (307, f"https://{FOREIGN}/x"), (301, "http://storage.googleapis.com/x")):
                with h.case(f"{op}: {status} {place}"):
                    n += 1
                    h.cloud.on(op, answer(status, b"", {"Location": place}))
                    w.push(h.job(f"e{n}"))


@PRODUCTION_ONLY
def test_poison_is_published_with_a_token_for_it():
    for credentials in ("key", "metadata"):
        with House(f"poison-{credentials}", credentials, POISON_TOPIC="projects/demo/topics/dead") as h:
            w, guard = h.worker(), h.cloud.guard
            equal(w.push(b"{}"), 204)
            equal((len(h.cloud.published), {"publish", "may-publish"} - {op for op, _ in guard.seen}), (1, set()))
            time.sleep(1.05)  # a token of another second is another token
            h.cloud.on("publish", guard.revoke)
            equal(w.push(b"[]"), 204)
            equal((len(h.cloud.published), len(guard.tokens())), (2, 2))
            h.cloud.on("publish", answer(302, b"", {"Location": f"https://{FOREIGN}/x"}), 9)
            w.push(b"null")
            equal(len(h.cloud.published), 2)
            equal(w.push(h.job("good")), 204)
            h.check_completed("good")


@PRODUCTION_ONLY
def test_topic_of_poison_that_refuses_us_is_told_at_the_start():
    with House("poison-denied", POISON_TOPIC="projects/demo/topics/dead") as h:
        h.cloud.on("may-publish", answer(200, b"{}"), 10 ** 6)
        w = h.worker(ready=False)
        wait_until("it is refused", lambda: "not ready: the cloud refuses" in w.log(), 30)
        for word in ('"part":"poison topic"', "roles/pubsub.publisher", "gcloud pubsub topics add-iam-policy-binding projects/demo/topics/dead"):
            assert word in w.log(), (word, w.log())
        equal(call("GET", w.base + "/ready")[0], 503)
        equal(w.stop(9), 0)


# ---- where an upload goes on ----

# one job each: all spellings are in the unit tests
ELSEWHERE = [f"https://{FOREIGN}/upload/session/1", f"https://storage.googleapis.com@{FOREIGN}/upload/session/1",
             f"https://{FOREIGN}/?x=https://storage.googleapis.com/", "https://user:word@storage.googleapis.com/upload/session/1",
             "http://storage.googleapis.com/upload/session/1", "https://oauth2.googleapis.com/token"]


@PRODUCTION_ONLY
def test_upload_goes_on_at_the_storage_host_alone():
    with House("session", "metadata", MAX_ATTEMPTS=100) as h:
        w, guard = h.worker(), h.cloud.guard
        body = h.large_job("large")
        for place in ELSEWHERE:
            with h.case(f"goes on at {place}"):
                h.cloud.on("start:edited.jpg", answer(200, b"", {"Location": place}), 9)
                refused = len(h.cloud.server.handshakes_refused)
                status = w.push(body)
                assert status >= 500, f"answered {status}"
                h.check_waits_or_leased("large")
                equal(h.cloud.server.handshakes_refused[refused:], [], "not even a connection")
            if h.bad:
                return
        with h.case("the token ends before the upload begins"):
            h.cloud.on("start:edited.jpg", guard.revoke)
            h.cloud.on("chunk:edited.jpg", lose)
            equal(h.deliver(w, "large", body), [204])
            assert len(h.output("large")) > 8 << 20, "not what this test is about"
