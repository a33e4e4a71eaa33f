#!/usr/bin/env python3
"""The whole path of a message in the local cloud, with the real worker and signed tokens: `local_path.py [parts of names]`.

Nothing but the build and python3 is needed.
"""
import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import local_services
from harness import (MODEL, PROGRAM, ROOT, WORK, Skip, Suite, Worker, call, dumps, equal, free_port, jpeg_size, mask_png, photo_png,
                     raw_request, run_suites, serving, status_of, tests_of, wait_until)
from tools.local_cloud.cloud import POISON_TOPIC, SUBSCRIPTION, Cloud
from tools.local_cloud.issuer import Issuer, b64url
from tools.local_cloud.pubsub import DELIVERIES_KEPT, Subscription
from tools.local_cloud.server import Reply, Server

DEFAULTS = {"STEPS": 1, "OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"}
PHOTO, MASK = photo_png(64, 64), mask_png(64, 64, (20, 20, 40, 40))


class Town:
    """A cloud that pushes to one port, and the workers that listen there one after the other."""

    def __init__(self, name, retry=(0.1, 0.4)):
        self.name, self.port, self.workers = name, free_port(), []
        self.cloud = Cloud(f"http://127.0.0.1:{self.port}/inpaint", retry=retry)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for w in self.workers:
            w.process.kill()
            w.process.wait()
        self.cloud.stop()

    def worker(self, **settings):
        w = Worker(self.cloud, f"local-{self.name}-{len(self.workers)}", PORT=self.port, **{**DEFAULTS, **settings})
        self.workers.append(w)
        return w

    def publish(self, session, photo=PHOTO, mask=MASK):
        self.cloud.create_session("u1", session, photo, mask, {"note": "the app's"})
        return self.cloud.publish("u1", session)

    def answers(self, session):
        return [d["status"] for d in self.cloud.deliveries("u1", session)]

    def wait_acked(self, session, seconds=60):
        wait_until(f"{session} is acknowledged", lambda: self.answers(session)[-1:] == [204], seconds)

    def wait_claimed(self, session):
        def stage():
            return self.cloud.document("u1", session).get("inpaint", {}).get("stage")
        wait_until("the job runs", lambda: stage() in ("encode", "denoise"))

    def check_completed(self, session, message_id, attempts=1, size=(64, 64)):
        document = self.cloud.document("u1", session)
        own = document["inpaint"]
        equal((document["processingStatus"], own["progress"], own["attempts"], own["messageId"], document["note"]),
              ("completed", 100, attempts, message_id, "the app's"))
        for file in ("edited.jpg", "preview.jpg"):
            found = self.cloud.object("u1", session, file)
            equal((found["content_type"], jpeg_size(found["data"])), ("image/jpeg", size), file)
        equal([d["attempt"] for d in self.cloud.deliveries("u1", session)], list(range(1, len(self.answers(session)) + 1)))


def test_push_with_a_signed_token_becomes_two_pictures():
    with Town("signed") as town:
        w = town.worker()
        equal(town.cloud.worker_state(), "ready")
        message_id = town.publish("signed")
        town.wait_acked("signed")
        equal(town.answers("signed"), [204])
        town.check_completed("signed", message_id)
        assert "eyJ" not in w.log(), "no token in the log"
        w.stop()
        wait_until("its end is seen", lambda: town.cloud.worker_state() == "gone")


def test_bad_tokens_are_refused_and_the_message_comes_again():
    with Town("tokens") as town:
        town.worker()
        issuer = town.cloud.issuer
        other = Issuer(issuer.audience, issuer.account, issuer.kid)  # the same name, another key
        now = int(time.time())
        cases = {"audience": (issuer.sign(issuer.claims(aud="https://other.example")), 401),
                 "key": (other.sign(), 401),
                 "expired": (issuer.sign(issuer.claims(iat=now - 3700, exp=now - 100)), 401),
                 "account": (issuer.sign(issuer.claims(email="other@demo.iam.gserviceaccount.com")), 403),
                 "none": (None, 401)}
        for name, (token, status) in cases.items():
            tokens = [token, token]
            town.cloud.subscription.token = lambda tokens=tokens: tokens.pop() if tokens else issuer.sign()
            message_id = town.publish(name)
            town.wait_acked(name)
            equal(town.answers(name), [status, status, 204], name)
            town.check_completed(name, message_id)


CHAIN = [f"{phase}Seconds" for phase in ("containerToMain", "settings", "context", "download", "weights", "selfCheck", "files",
                                         "speed", "cloudWait")]


def test_ready_says_where_the_time_of_the_start_went():
    with Town("start") as town:
        def late_keys(_):
            time.sleep(1.5)
            return Reply(200, call("GET", town.cloud.issuer.url)[2])
        with serving(late_keys) as keys:
            before = time.monotonic()
            w = town.worker(OIDC_CERTS_URL=f"http://{keys}/certs")
            took = time.monotonic() - before
        (said,) = w.lines("ready")[-1:]
        ms = {name: round(1000 * value) for name, value in said.items() if name.endswith("Seconds")}
        equal(sum(ms[name] for name in CHAIN), ms["totalSeconds"], "the phases add up")
        assert 1.4 < said["totalSeconds"] < took + 0.02, (said, took)  # the kernel counts a start in hundredths of a second
        assert 1.5 <= said["cloudKeysSeconds"] <= said["cloudAskedSeconds"] <= said["totalSeconds"], said
        assert said["cloudWaitSeconds"] >= 1.498 - sum(said[name] for name in CHAIN[2:8]), said  # the model loads meanwhile
        weights = sum(os.path.getsize(os.path.join(at, file)) for at, _, files in os.walk(MODEL) for file in files)
        assert 0.9 * weights < said["weightsBytes"] < weights, (said, weights)
        labels = ("process", "settings", "context", "download", "weights", "self-check", "files", "speed", "cloud", "total")
        series = w.metrics()
        equal([series[f'inpaint_start_seconds{{phase="{label}"}}'] for label in labels],
              [said[name] for name in CHAIN + ["totalSeconds"]])


# ---- refusals, one for each reason that a sender can cause ----

def refused_tokens(issuer):
    """-> {reason: (values of the Authorization headers, status, what the log must say besides)}"""
    now = int(time.time())
    c, good = issuer.claims, issuer.sign()
    head, claims, signature = good.split(".")

    def bearer(token, status=401, *words):
        return ["Bearer " + token], status, words

    def wanted(key, value, want, status=401):
        return bearer(issuer.sign(c(**{key: value})), status, f'"received":"{value}"', f'"wanted":"{want}')

    return {
        "no_header": ([], 401, ()),
        "many_headers": (["Bearer " + good] * 2, 401, ()),
        "not_bearer": (["Basic dTpw"], 401, ()),
        "token_size": bearer("A" * 8193),
        "token_shape": bearer(f"{head}.{claims}"),
        "header": bearer(f"{b64url(b'{')}.{claims}.{signature}"),
        "algorithm": bearer(issuer.sign(header={"alg": "RS512"})),
        "type": bearer(issuer.sign(header={"typ": "at+jwt"})),
        "extension": bearer(issuer.sign(header={"crit": ["b64"]})),
        "key_id": bearer(issuer.sign(header={"kid": "../x"})),
        "key_unknown": bearer(issuer.sign(header={"kid": "other"})),
        "signature": bearer(f"{head}.{claims}.{signature[:-9]}{'A' if signature[-9] != 'A' else 'B'}{signature[-8:]}"),
        "signature_removed": bearer(f"{head}.{claims}.SIGNATURE_REMOVED_BY_GOOGLE", 401, "--no-invoker-iam-check"),
        "claims": bearer(issuer.sign(raw_claims=dumps(c()) + b"x")),
        "times": bearer(issuer.sign(c(exp="soon"))),
        "expired": bearer(issuer.sign(c(iat=now - 3700, exp=now - 100))),
        "not_yet": bearer(issuer.sign(c(iat=now + 600))),
        "lifetime": bearer(issuer.sign(c(exp=now + 90000))),
        "issuer": wanted("iss", "https://evil.example", "https://accounts.google.com, accounts.google.com"),
        "audience": wanted("aud", issuer.audience + "/", issuer.audience),
        "email_unverified": bearer(issuer.sign(c(email_verified=False)), 403),
        "email": wanted("email", "human@example.com", issuer.account, 403),
    }


def refusals(w):
    """-> {reason: how often}"""
    counted = {re.fullmatch(r'inpaint_push_refusals_total{reason="(\w+)"}', series): n for series, n in w.metrics().items()}
    return {found[1]: n for found, n in counted.items() if found}


def send(port, authorizations):
    """A push with these Authorization headers; -> its status."""
    lines = ["POST /inpaint HTTP/1.1", "Host: x", *(f"Authorization: {a}" for a in authorizations), "Content-Length: 2",
             "Connection: close"]
    return status_of(raw_request(port, ("\r\n".join(lines) + "\r\n\r\n{}").encode(), 10))


def test_refusals_are_counted_by_reason_and_say_what_was_wanted():
    with Town("refusals") as town:
        w = town.worker()
        counted = refusals(w)
        cases = refused_tokens(town.cloud.issuer)
        equal(set(counted) - set(cases), {"keys_unavailable", "internal"}, "reasons that no sender can cause")
        equal(set(counted.values()), {0}, "every series is there from the start")
        for reason, (authorizations, status, words) in cases.items():
            before = len(w.log())
            equal(send(w.port, authorizations), status, reason)
            counted[reason] += 1
            equal(refusals(w), counted, reason)
            said = w.log()[before:]
            for word in ('"message":"push refused"', f'"status":{status}', *words):
                assert word in said, (reason, word, said)
        assert "eyJ" not in w.log(), "no token in the log"
        equal(w.stop(), 0)


def test_refusals_while_the_keys_cannot_be_fetched_are_counted():
    with Town("no-keys") as town:
        w = town.worker(OIDC_CERTS_URL=f"http://127.0.0.1:{free_port()}/certs", ready=False)
        wait_until("it is told", lambda: "does not answer yet" in w.log(), 30)
        equal(send(w.port, ["Bearer " + town.cloud.issuer.sign()]), 503)
        equal({r: n for r, n in refusals(w).items() if n}, {"keys_unavailable": 1})
        assert "OIDC_CERTS_URL" in w.log()
        equal(w.stop(), 0)


def test_iam_says_at_the_start_what_it_trusts():
    with Town("iam") as town:
        w = town.worker(PUSH_AUTH="iam")
        notices = [line for line in w.log().splitlines() if "PUSH_AUTH=iam" in line]
        equal(len(notices), 1)
        for word in ('"severity":"NOTICE"', "must not be public", "K_SERVICE", "PUSH_AUTH=oidc"):
            assert word in notices[0], (word, notices)
        head, claims, _ = town.cloud.issuer.sign().split(".")
        equal(send(w.port, [f"Bearer {head}.{claims}.SIGNATURE_REMOVED_BY_GOOGLE"]), 401, "this is not Cloud Run")
        equal(send(w.port, ["Bearer " + town.cloud.issuer.sign()]), 204, "a whole token is verified in full")
        equal(w.stop(), 0)
        quiet = town.worker()
        assert "PUSH_AUTH" not in quiet.log()
        equal(quiet.stop(), 0)


# ---- credentials ----

def test_bad_credentials_are_told_with_their_setting_and_without_their_text():
    nothing = os.path.join(WORK, "no-such-key.json")
    whole = json.dumps({"type": "service_account", "client_email": "w@demo.example", "private_key": "CANARY"})
    cases = [({"FIREBASE_CREDENTIALS": "CANARY!"}, "FIREBASE_CREDENTIALS: the text is neither JSON nor base64"),
             ({"FIREBASE_CREDENTIALS": base64.b64encode(b"CANARY").decode()}, "FIREBASE_CREDENTIALS: the key is not JSON"),
             ({"FIREBASE_CREDENTIALS": nothing}, "set GOOGLE_APPLICATION_CREDENTIALS to a path"),
             ({"FIREBASE_CREDENTIALS": '{"type":"authorized_user","x":"CANARY"}'}, "must be service_account"),
             ({"FIREBASE_CREDENTIALS": whole}, "FIREBASE_CREDENTIALS: the JSON's member 'private_key'"),
             ({"FIREBASE_CREDENTIALS": whole.replace("private_key", "public_key")}, "no member 'private_key'"),
             ({"GOOGLE_APPLICATION_CREDENTIALS": nothing}, f"GOOGLE_APPLICATION_CREDENTIALS: {nothing} cannot be opened"),
             ({"GOOGLE_APPLICATION_CREDENTIALS": WORK}, "cannot be read"),
             ({"GOOGLE_APPLICATION_CREDENTIALS": whole}, "a key itself belongs in FIREBASE_CREDENTIALS")]
    with Town("credentials") as town:
        for settings, word in cases:
            w = town.worker(**{"FIRESTORE_EMULATOR_HOST": "", "GOOGLE_CLOUD_PROJECT": "", **settings}, ready=False)
            equal(w.process.wait(60), 1, str(settings))
            assert word in w.log(), (settings, w.log())
            assert "CANARY" not in w.log() and "Q0FOQVJZ" not in w.log(), w.log()


def test_a_metadata_server_that_is_not_there_is_told_and_asked_again():
    with Town("no-metadata") as town:
        for host, word in ((f"127.0.0.1:{free_port()}", "GCE_METADATA_HOST"), ("no-such-host.invalid", "resolve")):
            w = town.worker(FIRESTORE_EMULATOR_HOST="", GOOGLE_CLOUD_PROJECT="", GCE_METADATA_HOST=host, ready=False)
            wait_until(f"it says why: {word}", lambda: word in w.log())
            equal(call("GET", w.base + "/ready")[0], 503)
            equal(w.stop(), 0)


def test_message_waits_for_a_worker_that_is_not_there_yet():
    with Town("early") as town:
        equal(town.cloud.worker_state(), "starting")
        message_id = town.publish("early")
        wait_until("three pushes", lambda: len(town.answers("early")) >= 3)
        equal(set(town.answers("early")), {None})
        equal(town.cloud.document("u1", "early")["processingStatus"], "pending")
        town.worker()
        town.wait_acked("early")
        town.check_completed("early", message_id)


# Jobs that last, on a fast machine, too: a worker is killed in the middle of one whose lease is soon over, or told to stop in
# one that it would still end within its 7.5 s if it could. A worker that is too slow for its deadline would not begin.
LEASED_BRIEFLY = {"STEPS": 40, "JOB_DEADLINE_SECONDS": 15, "LEASE_SECONDS": 25}
LASTING = {"STEPS": 1000, "JOB_DEADLINE_SECONDS": 1000, "LEASE_SECONDS": 2000}
LASTING_SIZE = (512, 512)
LASTING_INPUTS = photo_png(*LASTING_SIZE), mask_png(*LASTING_SIZE, (200, 200, 300, 300))


def test_worker_killed_in_a_job_is_replaced_when_its_lease_is_over():
    with Town("killed", retry=(0.5, 2)) as town:
        first = town.worker(**LEASED_BRIEFLY)
        message_id = town.publish("killed", *LASTING_INPUTS)
        town.wait_claimed("killed")
        first.process.kill()
        first.process.wait()
        town.worker(JOB_DEADLINE_SECONDS=5, LEASE_SECONDS=15)  # who takes over says how long a lease may be
        town.wait_acked("killed")
        answers = town.answers("killed")
        assert answers[0] is None and answers[-1] == 204 and 409 in answers and set(answers) <= {None, 409, 204}, answers
        town.check_completed("killed", message_id, attempts=2, size=LASTING_SIZE)


def test_worker_told_to_stop_gives_its_job_to_the_next():
    with Town("stopped") as town:
        first = town.worker(**LASTING)
        message_id = town.publish("stopped", *LASTING_INPUTS)
        town.wait_claimed("stopped")
        equal(first.stop(), 0)
        town.worker()
        town.wait_acked("stopped")
        answers = town.answers("stopped")
        assert answers[0] == 503 and 409 not in answers, answers
        town.check_completed("stopped", message_id, attempts=2, size=LASTING_SIZE)


# ---- the subscription, with an endpoint of the test ----

class Endpoint:
    """Answers pushes with the given statuses, the last of them again and again; keeps what came."""

    def __init__(self, statuses, **subscription):
        self.statuses, self.pushes = list(statuses), []
        self.server = Server()
        self.server.route("POST", "/push", self.answer)
        self.subscription = Subscription(SUBSCRIPTION, self.server.url + "/push", lambda: "a.b.c",
                                         **{"retry": (0.05, 0.2), **subscription})

    def answer(self, request):
        self.pushes.append((request.headers["Authorization"], json.loads(request.body)))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return status() if callable(status) else Reply(status)

    def deliver(self, seconds=10):
        message_id = self.subscription.publish(b"some data", {"k": "v"})
        assert self.subscription.messages[message_id].over.wait(seconds), self.subscription.deliveries(message_id)
        return message_id, self.subscription.deliveries(message_id)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.subscription.stop()
        self.server.stop()


def test_pushes_are_repeated_with_growing_pauses_until_an_ack():
    with Endpoint([500, 404, 409, 429, 302, 204]) as endpoint:
        message_id, deliveries = endpoint.deliver()
        equal([d["status"] for d in deliveries], [500, 404, 409, 429, 302, 204])
        pauses = [b["at"] - a["at"] - a["seconds"] for a, b in zip(deliveries, deliveries[1:])]
        for pause, least in zip(pauses, (0.05, 0.1, 0.2, 0.2, 0.2)):
            assert least - 0.01 <= pause < least + 2, pauses
        for attempt, (token, body) in enumerate(endpoint.pushes, 1):
            equal(token, "Bearer a.b.c")
            equal((sorted(body), body["subscription"]), (["message", "subscription"], SUBSCRIPTION))
            equal(deliveries[attempt - 1]["attempt"], attempt)
            message = body["message"]
            equal((message["messageId"], message["message_id"], message["attributes"]), (message_id, message_id, {"k": "v"}))
            equal(base64.b64decode(message["data"]), b"some data")
            equal(message["publishTime"], endpoint.pushes[0][1]["message"]["publishTime"], "that of the first push")
    for status in (200, 201, 202):
        with Endpoint([status]) as endpoint:
            equal([d["status"] for d in endpoint.deliver()[1]], [status])


def test_answer_after_the_ack_deadline_is_worth_nothing():
    def late():
        time.sleep(0.6)
        return Reply(204)
    with Endpoint([late, 204], ack_deadline=0.3) as endpoint:
        statuses = [d["status"] for d in endpoint.deliver()[1]]
        equal((statuses[0], set(statuses[1:-1]) <= {None}, statuses[-1]), (None, True, 204), repr(statuses))


def test_message_that_nobody_takes_costs_little_memory():
    with Endpoint([503], retry=(0, 0)) as endpoint:
        message_id = endpoint.subscription.publish(b"x")

        def deliveries():
            return endpoint.subscription.deliveries(message_id)
        wait_until("many pushes", lambda: deliveries()[-1:] and deliveries()[-1]["attempt"] > 3 * DELIVERIES_KEPT)
        kept = deliveries()
        equal((len(kept), kept[0]["attempt"]), (DELIVERIES_KEPT, 1))
        assert kept[-1]["attempt"] - kept[1]["attempt"] == DELIVERIES_KEPT - 2, "the last ones"


def test_message_published_by_rest_is_pushed():
    with Town("rest") as town:
        town.worker()
        town.cloud.create_session("u1", "rest", PHOTO, MASK)
        data = base64.b64encode(b'{"userId": "u1", "sessionId": "rest"}').decode()
        publish = f"{town.cloud.server.url}/v1/projects/demo/topics/edits:publish"
        status, _, text = call("POST", publish, dumps({"messages": [{"data": data}]}))
        equal(status, 200)
        wait_until("it is done", lambda: town.cloud.document("u1", "rest")["processingStatus"] == "completed")
        town.wait_acked("rest")
        equal(town.cloud.document("u1", "rest")["inpaint"]["messageId"], json.loads(text)["messageIds"][0])
        for message in ({}, {"data": ""}, {"data": "*"}, {"data": 1}, {"data": data, "attributes": {"k": 1}}):
            equal(call("POST", publish, dumps({"messages": [message]}))[0], 400, repr(message))


# ---- what a push may be ----

STRANGE_IDS = ["a|b@c.d:\u00e9\u4e2d", "google-oauth2|103547991597142817347", "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "a b+c&d=e",
               "...", "\U0001f600" * 128, "e\u0301", "\u2028~'\"<>"]


def test_ids_of_any_script_run_from_the_message_to_the_pictures():
    with Town("ids") as town:
        w = town.worker()
        for n, session in enumerate(STRANGE_IDS):
            user = STRANGE_IDS[0] if len(session.encode()) > 400 else session
            town.cloud.create_session(user, session, PHOTO, MASK)
            message_id = town.cloud.publish(user, session)
            wait_until(f"{session!r} is acknowledged", lambda u=user, s=session: [d["status"] for d in town.cloud.deliveries(u, s)] == [204])
            document = town.cloud.document(user, session)
            equal((document["processingStatus"], document["inpaint"]["messageId"]), ("completed", message_id), repr(session))
            equal(document["editedImagePath"], f"users/{user}/sessions/{session}/edited.jpg")
            for file in ("edited.jpg", "preview.jpg"):
                equal(jpeg_size(town.cloud.object(user, session, file)["data"]), (64, 64), file)
            line = json.loads(w.log().splitlines()[-1])
            equal((line["message"], line["session"]), ("push answered", f"users/{user}/sessions/{session}"), str(n))
        for line in w.log().splitlines():
            assert "\u2028" not in line, "characters that break lines are escaped"
            json.loads(line)


def test_integers_and_other_spellings_are_ids():
    with Town("spellings") as town:
        town.worker()
        for n, value in enumerate((b'{"user_id":"17","session_id":"%d"}', b'{"userId":17,"sessionId":%d}',
                                   b'{"user_id":17,"userId":"17","session_id":"%d"}')):
            town.cloud.create_session("17", str(n), PHOTO, MASK)
            message_id = town.cloud.subscription.publish(value % n)
            assert town.cloud.subscription.messages[message_id].over.wait(60)
            equal(town.cloud.document("17", str(n))["inpaint"]["messageId"], message_id, value)


def test_unwrapped_pushes_run():
    with Town("unwrapped") as town:
        w = town.worker()
        subscription = town.cloud.subscription
        subscription.unwrapped = True
        data = json.dumps({"userId": "u1", "sessionId": "\u00e9|1"}).encode()
        for n, layers in enumerate((data, base64.b64encode(data), base64.encodebytes(base64.b64encode(data)))):
            town.cloud.create_session("u1", "\u00e9|1", PHOTO, MASK, {"n": n})
            message_id = subscription.publish(layers, {"origin": "app", "Content-Type": "application/cloudevents+json"})
            assert subscription.messages[message_id].over.wait(60)
            document = town.cloud.document("u1", "\u00e9|1")
            equal((document["processingStatus"], document["inpaint"]["messageId"], document["n"]), ("completed", message_id, n))
        many = {f"attribute-{i}": "v" * 100 for i in range(100)}  # as many as a message may have; each becomes a header
        town.cloud.create_session("u1", "many", PHOTO, MASK)
        message_id = subscription.publish(b'{"userId":"u1","sessionId":"many"}', many)
        assert subscription.messages[message_id].over.wait(60)
        equal([d["status"] for d in subscription.deliveries(message_id)], [204])
        # a publisher that forges the header of the id is not believed
        message_id = subscription.publish(data, {"X-Goog-Pubsub-Message-Id": "forged"})
        assert subscription.messages[message_id].over.wait(60)
        line = json.loads(w.log().splitlines()[-1])
        equal((line["severity"], line["payloadBytes"]), ("ERROR", len(data)))
        assert "x-goog-pubsub-message-id is there 2 times" in line["error"], line
        equal([d["status"] for d in subscription.deliveries(message_id)], [204])


def events(session, message_id):
    """Bodies and headers of one message, as Eventarc sends it: structured, structured with bytes, binary."""
    envelope = {"message": {"data": base64.b64encode(dumps({"userId": "u1", "sessionId": session})).decode(), "messageId": message_id,
                            "publishTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, "subscription": SUBSCRIPTION}
    event = {"specversion": "1.0", "id": message_id, "source": "//pubsub.googleapis.com/projects/demo/topics/edits",
             "type": "google.cloud.pubsub.topic.v1.messagePublished", "datacontenttype": "application/json"}
    structured = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    yield dumps({**event, "data": envelope}), structured
    yield dumps({**event, "data_base64": base64.b64encode(dumps(envelope)).decode()}), structured
    yield dumps(envelope), {f"ce-{name}": value for name, value in event.items() if name != "datacontenttype"}


def test_events_of_eventarc_run():
    with Town("events") as town:
        w = town.worker()
        for n in range(3):
            session, message_id = f"event-{n}", f"m-{n}"
            town.cloud.create_session("u1", session, PHOTO, MASK)
            body, headers = list(events(session, message_id))[n]
            equal(w.push(body, {"Authorization": f"Bearer {town.cloud.issuer.sign()}", **headers}), 204, str(n))
            equal(town.cloud.document("u1", session)["inpaint"]["messageId"], message_id, str(n))


# ---- poison ----

NO_JOB = b'{"userId": "u1", "sessionId": "__reserved__", "note": "\xff\x00"}'


def poison_line(w, text="", n=1):
    """The n-th such line; the log has a thread of its own, so the answer may be there before the line."""
    return wait_until("the line of poison", lambda: w.lines("poison message: " + text)[n - 1:])[0]


def test_poison_is_acked_and_its_log_line_says_what_it_was():
    with Town("poison") as town:
        w = town.worker()
        message_id = town.cloud.subscription.publish(NO_JOB, {"origin": "a\u001b[31m"})
        assert town.cloud.subscription.messages[message_id].over.wait(30)
        line = poison_line(w)
        equal((line["severity"], line["messageId"], line["payloadBytes"]), ("ERROR", message_id, len(NO_JOB)))
        equal(line["payload"], NO_JOB.decode(errors="backslashreplace").replace("\0", "\\x00"))
        equal(json.loads(line["attributes"]), {"origin": "a\u001b[31m"})
        assert "\x1b" not in w.log() and "\\x1b" not in line["payload"]


def test_poison_is_refused_where_the_subscription_has_a_dead_letter_policy():
    with Town("nack") as town:
        w = town.worker(POISON="nack", MAX_MESSAGE_AGE_SECONDS=600)
        message_id = town.cloud.subscription.publish(NO_JOB)
        wait_until("it comes again", lambda: len(town.cloud.subscription.deliveries(message_id)) >= 3)
        equal({d["status"] for d in town.cloud.subscription.deliveries(message_id)[:2]}, {400})
        town.cloud.subscription.messages[message_id].published_us -= 700 * 1000000
        assert town.cloud.subscription.messages[message_id].over.wait(30), "beyond the age of a message it is acknowledged"
        poison_line(w, "acknowledged and dropped")
        metrics = w.metrics()
        assert metrics['inpaint_pushes_total{code="400"}'] > 0 and metrics["inpaint_poison_total"] > 0, metrics


def test_poison_is_published_to_its_topic():
    with Town("topic") as town:
        w = town.worker(POISON_TOPIC=POISON_TOPIC, PUBSUB_EMULATOR_HOST=town.cloud.env["FIRESTORE_EMULATOR_HOST"])
        kept = town.cloud.subscription.kept[POISON_TOPIC]
        message_id = town.cloud.subscription.publish(NO_JOB, {"k": "v"})
        assert town.cloud.subscription.messages[message_id].over.wait(30)
        (data, attributes), = kept
        equal((data, attributes["k"], attributes["messageId"], attributes["subscription"]), (NO_JOB, "v", message_id, SUBSCRIPTION))
        assert "broken UTF-8" in attributes["reason"], attributes
        poison_line(w, "published to POISON_TOPIC and acknowledged")
        # its topic may lead back to the worker, but a message goes there only once
        again = town.cloud.subscription.publish(data, attributes)
        assert town.cloud.subscription.messages[again].over.wait(30)
        equal(len(kept), 1)


def test_poison_whose_topic_is_not_there_comes_again():
    with Town("no-topic") as town:
        w = town.worker(POISON_TOPIC="projects/demo/topics/poison", PUBSUB_EMULATOR_HOST=f"127.0.0.1:{free_port()}")
        message_id = town.cloud.subscription.publish(NO_JOB)
        wait_until("it comes again", lambda: len(town.cloud.subscription.deliveries(message_id)) >= 2, 60)
        equal(town.cloud.subscription.deliveries(message_id)[0]["status"], 503)
        assert "it cannot be published to POISON_TOPIC" in w.log(), w.log()


# ---- pushing again ----

def pushed(*args, text=None, **env):
    """`inpaint-worker push` -> exit status, stdout, stderr."""
    done = subprocess.run([PROGRAM, "push", *args], input=text, capture_output=True, text=True, timeout=120,
                          env={"PATH": os.environ["PATH"], **env}, cwd=WORK, check=False)
    return done.returncode, done.stdout, done.stderr


def test_what_the_log_kept_is_pushed_again():
    with Town("again") as town:
        w = town.worker()
        with open(f"{WORK}/push-token", "w", encoding="ascii") as f:
            f.write(town.cloud.issuer.sign() + "\n")
        options = ("--url", w.base + "/inpaint", "--token-file", f"{WORK}/push-token")
        # a job whose session was created too late; then from the log's line about it
        town.cloud.subscription.publish(dumps({"userId": "u|1", "sessionId": "\u00e9"}))
        wait_until("it is not there", lambda: '"outcome":"missing"' in w.log())
        line = [x for x in w.log().splitlines() if '"outcome":"missing"' in x][0]
        town.cloud.subscription.stop()
        time.sleep(0.5)
        town.cloud.create_session("u|1", "\u00e9", PHOTO, MASK)
        status, out, errors = pushed("-", *options, "--subscription", SUBSCRIPTION, text=line)
        equal((status, errors), (0, ""), out)
        assert out.startswith(f"{json.loads(line)['messageId']}: 204, acknowledged") and "completed" in out, out
        equal(town.cloud.document("u|1", "\u00e9")["processingStatus"], "completed")
        # a poison, from its line: it is poison again, by the same id
        poison = dumps({"message": {"data": base64.b64encode(b'{"userId":"__u__","sessionId":"s"}').decode(), "messageId": "77"},
                        "subscription": SUBSCRIPTION})
        equal(w.push(poison, {"Authorization": f"Bearer {town.cloud.issuer.sign()}"}), 204)
        first = poison_line(w)
        equal(pushed("-", *options, text=json.dumps(first))[0], 0)
        again = poison_line(w, n=2)
        for field in ("message", "messageId", "payload", "error", "subscription"):
            equal(again[field], first[field], field)
        with open(f"{WORK}/push-token", encoding="ascii") as f:
            assert f.read().strip() not in out + errors + w.log()


def test_push_says_what_each_answer_means():
    with Endpoint([204]) as endpoint:
        url = endpoint.server.url + "/push"
        pulled = json.dumps([{"ackId": "a", "message": {"data": base64.b64encode(b'{"userId":1,"sessionId":2}').decode(),
                                                        "messageId": "5", "attributes": {"k": "v"}}}])
        for status, words in ((204, "acknowledged"), (401, "--token-file"), (404, "no such session"), (409, "being worked on"),
                              (429, "too many"), (503, "again"), (418, "is the URL right")):
            endpoint.statuses = [status]
            code, out, errors = pushed("-", "--url", url, text=pulled)
            equal(code, 0 if status == 204 else 1, out)
            assert out.startswith(f"5: {status}, ") and words in out, out
            equal(errors, "" if status == 204 else "inpaint-worker push: 1 of 1 messages were not acknowledged\n")
        token, body = endpoint.pushes[-1]
        equal(token, None)
        equal((body["message"]["messageId"], body["message"]["attributes"]), ("5", {"k": "v"}))
        equal(base64.b64decode(body["message"]["data"]), b'{"userId":1,"sessionId":2}')
        assert abs(time.time() - time.mktime(time.strptime(body["message"]["publishTime"][:19], "%Y-%m-%dT%H:%M:%S")) +
                   time.timezone) < 60, body
        code, out, _ = pushed("-", "--url", url, "--message-id", "own", "--subscription", "s", text='{"userId":"u","sessionId":"s"}')
        equal((endpoint.pushes[-1][1]["message"]["messageId"], endpoint.pushes[-1][1]["subscription"]), ("own", "s"))
        pushed("-", "--url", url, text='{"userId":"u","sessionId":"s"}')
        assert re.fullmatch("push-[0-9a-f]{24}", endpoint.pushes[-1][1]["message"]["messageId"]), endpoint.pushes[-1]


def test_push_takes_its_token_from_the_metadata_server():
    asked = []

    def identity(request):
        asked.append((request.path, request.query, request.headers["Metadata-Flavor"]))
        return Reply(200, b"aaa.bbb.ccc", {"Metadata-Flavor": "Google"})
    with Endpoint([204]) as endpoint, serving(identity) as address:
        code, out, errors = pushed("-", "--url", endpoint.server.url + "/push", "--audience", "https://w.example/p?x=1&y",
                                   text='{"userId":"u","sessionId":"s"}', GCE_METADATA_HOST=address)
        equal((code, errors), (0, ""), out)
        equal(asked, [("/computeMetadata/v1/instance/service-accounts/default/identity",
                       {"audience": ["https://w.example/p?x=1&y"], "format": ["full"]}, "Google")])
        equal(endpoint.pushes[0][0], "Bearer aaa.bbb.ccc")
        assert "aaa.bbb" not in out


def test_push_refuses_what_it_cannot_send_safely():
    with open(f"{WORK}/push-token", "w", encoding="ascii") as f:
        f.write("secret token\n")
    one = '{"userId":"u","sessionId":"s"}'
    for args, text, words in ((("--url", "http://worker.example/"), one, "neither https nor http on this machine"),
                              (("--url", "http://localhost.evil.example/"), one, "neither https"),
                              (("--url", "ftp://127.0.0.1/"), one, "neither https"),
                              (("--url", "https://user@host/"), one, "a user before it"),
                              (("--url", "https:///x"), one, "no host"),
                              (("--url", "http://127.0.0.1:9/a b"), one, "not a URL"),
                              (("--url", "http://127.0.0.1:9/", "--token-file", f"{WORK}/push-token"), one, "not a token"),
                              (("--url", "http://127.0.0.1:9/", "--token-file", "/nowhere"), one, "/nowhere"),
                              (("--url", "http://127.0.0.1:9/", "--message-id", "a b"), one, "id is not"),
                              (("--url", "http://127.0.0.1:9/", "--message-id", "a"), one + "\n" + one, "for one message"),
                              (("--url", "http://127.0.0.1:9/"), "{}", "neither a message nor a payload"),
                              (("--url", "http://127.0.0.1:9/"), one, "no answer")):
        code, out, errors = pushed("-", *args, text=text)
        equal((code, out), (1, ""), repr(args))
        assert words in errors and "secret" not in errors and errors.count("\n") == 1, errors
    equal(pushed("-")[0], 2)
    equal(pushed("-", "--url", "http://127.0.0.1:9/", "--token-file", "a", "--audience", "b", text=one)[0], 2)


# ---- the demo ----

OUT = os.path.join(ROOT, "build", "demo")


def demo(action, start_new_session=False, **settings):
    env = {**os.environ, "CLOUD": "local", "DEMO_MODEL": MODEL, "STEPS": "1", **settings}
    return subprocess.Popen([f"{ROOT}/scripts/demo.sh", action], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, cwd=WORK, start_new_session=start_new_session)


def answers_ready(base):
    try:
        return call("GET", base + "/ready")[0] == 200
    except OSError:
        return False


def test_demo_run_leaves_pictures_and_a_completed_document():
    process = demo("run")
    text = process.communicate(timeout=120)[0]
    equal(process.returncode, 0, text)
    assert re.search(r"^completed in [\d.]+ s, cost \$[\d.]+, 1 attempt, push answered 204$", text, re.MULTILINE), text
    with open(f"{OUT}/document.json", encoding="utf-8") as f:
        document = json.load(f)
    equal((document["processingStatus"], document["inpaint"]["progress"]), ("completed", 100))
    for name, size in (("edited.jpg", (512, 384)), ("preview.jpg", (512, 384))):
        with open(f"{OUT}/{name}", "rb") as f:
            equal(jpeg_size(f.read()), size, name)
    assert "ended" in open(f"{OUT}/worker.log", encoding="utf-8").read(), "the worker was told to end, and did"


def test_demo_is_ready_however_slow_the_machine_is():
    """As with a thousand steps: the largest photo would take a quarter of an hour and more."""
    model, log = os.path.join(ROOT, "models", "demo"), f"{OUT}/worker.log"
    if not os.path.isdir(model):
        raise Skip("models/demo, the folder of the demo model, is not there")
    if os.path.exists(log):
        os.remove(log)
    process = demo("demo", STEPS="1000", DEMO_MODEL=model)
    try:
        wait_until("the worker is ready", lambda: os.path.exists(log) and '"message":"ready"' in open(log, encoding="utf-8").read(), 60)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_demo_says_why_a_worker_does_not_start():
    process = demo("run", DEMO_MODEL="/nowhere")
    text = process.communicate(timeout=60)[0]
    equal(process.returncode, 1, text)
    assert "The worker ended before it was ready" in text and "/nowhere" in text, text
    assert not os.path.exists(f"{OUT}/edited.jpg"), "what an earlier run left is gone"


def test_demo_says_when_the_disk_is_full():
    path = f"{OUT}/env"
    os.makedirs(OUT, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    os.symlink("/dev/full", path)
    try:
        process = demo("run")
        text = process.communicate(timeout=60)[0]
    finally:
        os.remove(path)
    equal((process.returncode, text.splitlines()[-1]),
          (1, "demo: No space left on device. All files of the demo are in build/demo."), text)


def test_demo_ends_what_it_started_when_it_is_told_to():
    for sign in (signal.SIGINT, signal.SIGHUP):
        process = demo("demo")
        for line in process.stdout:
            port = re.search(r"^worker +http://127\.0\.0\.1:(\d+)", line)
            if port:
                base = f"http://127.0.0.1:{port.group(1)}"
            if "Ctrl-C" in line:
                break
        equal(answers_ready(base), True)
        process.send_signal(sign)
        text = process.communicate(timeout=30)[0]
        equal(process.returncode, 0, text)
        equal(answers_ready(base), False, "nobody listens any more")


def test_demo_is_ended_at_any_moment_without_a_trace():
    for n in range(3):  # while the worker is started, the job done, the page shown
        process = demo("demo", start_new_session=True)
        first_line = process.stdout.readline()
        time.sleep(0.6 * n)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all that it started
        text = process.communicate(timeout=60)[0]
        assert process.returncode == 0 and text.endswith("ended\n") and "Traceback" not in text, (n, process.returncode, text)
        assert first_line.startswith("cloud "), first_line


def test_second_demo_leaves_the_first_alone():
    first = demo("demo")
    try:
        for line in first.stdout:
            if "Ctrl-C" in line:
                break
        with open(f"{OUT}/document.json", encoding="utf-8") as f:
            before = f.read()
        second = demo("run")
        text = second.communicate(timeout=30)[0]
        equal(second.returncode, 1, text)
        assert "another `make run` or `make demo`" in text, text
        with open(f"{OUT}/document.json", encoding="utf-8") as f:
            equal(f.read(), before)
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=30)


# ---- the local cloud alone ----

def alone(*options):
    return subprocess.Popen([sys.executable, "-m", "tools.local_cloud", "--env", f"{WORK}/local-cloud.env", *options],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def test_cloud_alone_writes_settings_serves_its_page_and_ends():
    process = alone("--push-endpoint", "http://127.0.0.1:9/inpaint?a=1&b=$HOME")
    lines = [process.stdout.readline() for _ in range(4)]
    address = {line.split(":", 1)[0]: line.split(":", 1)[1].strip() for line in lines}
    equal(list(address), ["cloud", "settings", "pushes", "page"], repr(lines))
    env = subprocess.run(["bash", "-c", f". {WORK}/local-cloud.env; printf %s $PUSH_AUDIENCE"], capture_output=True, text=True,
                         check=True).stdout
    equal(env, "http://127.0.0.1:9/inpaint?a=1&b=$HOME", "the shell changes nothing")
    equal(call("GET", address["page"])[0], 200)
    port = re.search(r":(\d+)$", address["cloud"]).group(1)
    second = alone("--port", port)
    equal((second.communicate(timeout=60)[0], second.returncode), (f"local_cloud: --port {port}: Address already in use\n", 1))
    process.send_signal(signal.SIGTERM)
    equal((process.communicate(timeout=60)[0], process.returncode), ("", 0))


SUITE = Suite(tests_of(local_services, sys.modules[__name__]))

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
