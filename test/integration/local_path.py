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
from harness import (MODEL, ROOT, WORK, Suite, Worker, call, dumps, equal, free_port, jpeg_size, mask_png, photo_png, raw_request,
                     run_suites, status_of, tests_of, wait_until)
from tools.local_cloud.cloud import SUBSCRIPTION, Cloud
from tools.local_cloud.issuer import Issuer, b64url
from tools.local_cloud.pubsub import DELIVERIES_KEPT, Subscription
from tools.local_cloud.server import Reply, Server

DEFAULTS = {"STEPS": 1, "OMP_NUM_THREADS": 1, "OMP_WAIT_POLICY": "passive"}
PHOTO, MASK = photo_png(64, 64), mask_png(64, 64, (20, 20, 40, 40))


class Town:
    """A cloud that pushes to one port, and the workers that listen there one after the other."""

    def __init__(self, name):
        self.name, self.port, self.workers = name, free_port(), []
        self.cloud = Cloud(f"http://127.0.0.1:{self.port}/inpaint", retry=(0.1, 0.4))

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
        time.sleep(0.6)
        equal(town.cloud.worker_state(), "gone")


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


def refusals(base):
    text = call("GET", base + "/metrics")[2].decode()
    return {reason: int(n) for reason, n in re.findall(r'^inpaint_push_refusals_total{reason="(\w+)"} (\d+)$', text, re.MULTILINE)}


def send(port, authorizations):
    """A push with these Authorization headers; -> its status."""
    lines = ["POST /inpaint HTTP/1.1", "Host: x", *(f"Authorization: {a}" for a in authorizations), "Content-Length: 2",
             "Connection: close"]
    return status_of(raw_request(port, ("\r\n".join(lines) + "\r\n\r\n{}").encode(), 10))


def test_refusals_are_counted_by_reason_and_say_what_was_wanted():
    with Town("refusals") as town:
        w = town.worker()
        counted = refusals(w.base)
        cases = refused_tokens(town.cloud.issuer)
        equal(set(counted) - set(cases), {"keys_unavailable", "internal"}, "reasons that no sender can cause")
        equal(set(counted.values()), {0}, "every series is there from the start")
        for reason, (authorizations, status, words) in cases.items():
            before = len(w.log())
            equal(send(w.port, authorizations), status, reason)
            counted[reason] += 1
            equal(refusals(w.base), counted, reason)
            said = w.log()[before:]
            for word in ('"message":"push refused"', f'"status":{status}', *words):
                assert word in said, (reason, word, said)
        assert "eyJ" not in w.log(), "no token in the log"
        equal(w.stop(), 0)


def test_refusals_while_the_keys_cannot_be_fetched_are_counted():
    with Town("no-keys") as town:
        w = town.worker(OIDC_CERTS_URL=f"http://127.0.0.1:{free_port()}/certs")
        equal(send(w.port, ["Bearer " + town.cloud.issuer.sign()]), 503)
        equal({r: n for r, n in refusals(w.base).items() if n}, {"keys_unavailable": 1})
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
             ({"GOOGLE_APPLICATION_CREDENTIALS": whole}, "a key itself belongs in FIREBASE_CREDENTIALS"),
             ({"GCE_METADATA_HOST": f"127.0.0.1:{free_port()}"}, "GCE_METADATA_HOST"),
             ({"GCE_METADATA_HOST": "no-such-host.invalid"}, "resolve")]
    with Town("credentials") as town:
        for settings, word in cases:
            w = town.worker(**{"FIRESTORE_EMULATOR_HOST": "", "GOOGLE_CLOUD_PROJECT": "", **settings}, ready=False)
            equal(w.process.wait(60), 1, str(settings))
            assert word in w.log(), (settings, w.log())
            assert "CANARY" not in w.log() and "Q0FOQVJZ" not in w.log(), w.log()


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


# A job that lasts, on a fast machine, too: a worker is killed in the middle of it, or told to stop and would still end it
# within its 7.5 s if it could.
LASTING = {"STEPS": 1000, "JOB_DEADLINE_SECONDS": 5, "LEASE_SECONDS": 15}
LASTING_SIZE = (512, 512)
LASTING_INPUTS = photo_png(*LASTING_SIZE), mask_png(*LASTING_SIZE, (200, 200, 300, 300))


def test_worker_killed_in_a_job_is_replaced_when_its_lease_is_over():
    with Town("killed") as town:
        first = town.worker(**LASTING)
        message_id = town.publish("killed", *LASTING_INPUTS)
        town.wait_claimed("killed")
        first.process.kill()
        first.process.wait()
        town.worker()
        town.wait_acked("killed")
        answers = town.answers("killed")
        assert answers[0] is None and answers[-1] == 204 and 409 in answers and set(answers) <= {None, 409, 204}, answers
        town.check_completed("killed", message_id, attempts=2, size=LASTING_SIZE)


def test_worker_told_to_stop_gives_its_job_to_the_next():
    with Town("stopped") as town:
        first = town.worker(**{**LASTING, "JOB_DEADLINE_SECONDS": 100, "LEASE_SECONDS": 200})
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


@contextlib.contextmanager
def opened():
    os.makedirs(WORK, exist_ok=True)
    yield


SUITE = Suite(tests_of(local_services, sys.modules[__name__]), opened)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
