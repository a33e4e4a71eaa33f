#!/usr/bin/env python3
"""The commands that speak to a running worker, with the real worker in the local cloud and with stand-ins that break the
contract: `remote_commands.py [parts of names]`."""
import base64
import calendar
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), "integration")]
from harness import PROGRAM, WORK, Suite, call, equal, free_port, run_suites, tests_of, wait_until
from local_path import LASTING_INPUTS, MASK, PHOTO, Town
from tools.local_cloud.cloud import POISON_TOPIC, SUBSCRIPTION
from tools.local_cloud.server import Reply, Server

# How many checks need nothing, a token, --poison, a session.
BARE, TOKEN, POISON, SESSION = 19, 7, 20, 3
TIMEOUT_S = 30
SUBSCRIBED = ("--token-file", "-", "--subscription", SUBSCRIPTION)  # the local cloud's workers know this one alone


def run(*args, text=None, **env):
    """-> exit status, stdout, stderr of the program."""
    done = subprocess.run([PROGRAM, *args], input=text, capture_output=True, text=True, timeout=180, cwd=WORK, check=False,
                          env={"PATH": os.environ["PATH"], **env})
    assert "eyJ" not in done.stdout + done.stderr, "no token is printed"
    return done.returncode, done.stdout, done.stderr


def conform(base, *args, text=None, timeout=TIMEOUT_S):
    """-> exit status, the report, {name: the check}"""
    status, out, errors = run("conform", base, "--json", "-", "--timeout", str(timeout), *args, text=text)
    assert out, errors
    report = json.loads(out)
    return status, report, {c["name"]: c for c in report["checks"]}


def failed(report):
    return sorted(c["name"] for c in report["checks"] if c["verdict"] == "failed")


def counts(report):
    return report["ok"], report["failed"], report["skipped"]


# ---- a worker that keeps the contract ----

def test_get_slash_names_program_version_and_routes():
    with Town("about") as town:
        w = town.worker(K_REVISION="revision-7")
        status, headers, body = call("GET", w.base + "/")
        about = json.loads(body)
        equal((status, headers["Content-Type"], about["name"]), (200, "application/json", "inpaint-worker"))
        version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
        number, commit = version.split()[1].rstrip(","), version.split()[3].rstrip(",")
        equal(about["version"], f"{number}-{commit}", "the program's, not the revision's")
        equal(about["routes"], ["POST /inpaint", "POST /", "GET /", "HEAD /", "GET /ready", "GET /health", "GET /metrics"])
        assert about["documentation"], about
        equal(sorted(about), ["documentation", "name", "routes", "version"], "nothing else")
        status, headers, body = call("HEAD", w.base + "/")
        equal((status, body, headers["Content-Type"]), (200, b"", "application/json"))
        equal(call("GET", w.base + "/", b"x")[0], 400, "a body that nobody asked for")


def test_conform_finds_nothing_wrong_with_a_good_worker():
    with Town("conform") as town:
        w = town.worker(POISON_TOPIC=POISON_TOPIC, PUBSUB_EMULATOR_HOST=town.cloud.env["FIRESTORE_EMULATOR_HOST"])
        equal(run("conform", w.base + "/", "--timeout", "30")[0], 0)
        status, report, checks = conform(w.base)
        equal((status, counts(report)), (0, (BARE, 0, TOKEN + POISON + SESSION)), str(failed(report)))
        token = town.cloud.issuer.sign()
        status, report, checks = conform(w.base + "/inpaint", *SUBSCRIBED, text=token + "\n")
        equal((status, counts(report)), (0, (BARE + TOKEN, 0, POISON + SESSION)), str(failed(report)))
        equal([x for x in w.lines() if x["severity"] in ("ERROR", "CRITICAL")], [], "nobody is woken without --poison")
        equal(checks["unknown-young"]["got"], "404")
        assert "ERROR" in checks["poison-null"]["note"], checks["poison-null"]
        status, report, checks = conform(w.base, *SUBSCRIBED, "--poison", text=token)
        equal((status, counts(report)), (0, (BARE + TOKEN + POISON, 0, SESSION)), str(failed(report)))
        kept = town.cloud.subscription.kept[POISON_TOPIC]
        equal(len(kept), POISON, "each poison came through")
        marked = [a for _, a in kept if a.get("inpaint-conform") == "1" and a["messageId"].startswith("conform-")]
        assert len(marked) >= 8, kept
        assert report["version"] in call("GET", w.base + "/")[2].decode()


def test_conform_runs_one_job_and_knows_a_duplicate():
    with Town("conform-job") as town:
        w = town.worker(STEPS=30)
        town.cloud.create_session("u1", "job", *LASTING_INPUTS)
        token = town.cloud.issuer.sign()
        args = (*SUBSCRIBED, "--user", "u1", "--session", "job")
        status, report, checks = conform(w.base, *args, text=token, timeout=150)
        equal((status, counts(report)), (0, (BARE + TOKEN + SESSION, 0, POISON)), str(failed(report)))
        equal((checks["job"]["got"], checks["job-beside"]["got"], checks["job-again"]["got"]), ("204", "409", "204"))
        document = town.cloud.document("u1", "job")
        equal((document["processingStatus"], document["inpaint"]["attempts"]), ("completed", 1))
        assert document["inpaint"]["messageId"].startswith("conform-"), document
        # a session that was done before needs no job; one that is not there is told as that
        status, report, checks = conform(w.base, *args, text=token)
        equal(status, 0)
        assert "ended before" in checks["job"]["note"] and "over by then" in checks["job-beside"]["note"], checks
        status, report, checks = conform(w.base, *args[:-1], "none", text=token)
        equal((status, failed(report), checks["job-again"]["verdict"]), (1, ["job", "job-beside"], "skipped"))
        assert "there is no session users/u1/sessions/none" in checks["job"]["note"], checks["job"]


def test_conform_tells_what_is_wrong_with_the_token_or_the_subscription():
    with Town("conform-token") as town:
        w = town.worker()
        issuer, now = town.cloud.issuer, int(time.time())
        for token, words in ((issuer.sign(issuer.claims(iat=now - 7200, exp=now - 3600)), "is it fresh"),
                             (issuer.sign(issuer.claims(email="human@example.com")), "PUSH_SERVICE_ACCOUNT")):
            status, report, checks = conform(w.base, "--token-file", "-", "--poison", text=token)
            equal((status, failed(report)), (1, ["unknown-young"]))
            assert words in checks["unknown-young"]["note"], checks["unknown-young"]
            equal((checks["unknown-old"]["verdict"], checks["unknown-old"]["note"]), ("skipped", "the token is not accepted"))
        status, report, checks = conform(w.base, "--token-file", "-", text=issuer.sign())
        equal((status, failed(report)), (1, ["unknown-young"]))
        assert "give --subscription" in checks["unknown-young"]["note"], checks
        equal(checks["unknown-old"]["note"], "pushes are taken for poison: see unknown-young")
        equal(len([x for x in w.lines() if x["severity"] == "ERROR"]), 1, "no more than it takes to find out")
        equal(conform(w.base, *SUBSCRIBED, "--poison", text=issuer.sign())[0], 0)


def test_conform_says_why_it_is_not_ready_and_asks_no_more_than_it_can():
    with Town("conform-early") as town:
        w = town.worker(ready=False, OIDC_CERTS_URL=f"http://127.0.0.1:{free_port()}/certs")
        wait_until("it listens", w.listens)
        status, report, checks = conform(w.base, "--token-file", "-", text=town.cloud.issuer.sign(), timeout=6)
        equal(status, 1)
        assert "ready" in failed(report) and "not ready after" in checks["ready"]["note"], checks["ready"]
        equal(checks["unknown-young"]["note"], "the worker is not ready")
        status, report, checks = conform(f"http://127.0.0.1:{free_port()}")
        equal((status, failed(report), report["skipped"]), (1, ["about"], BARE + TOKEN + POISON + SESSION - 1))


# ---- stand-ins that break it ----

class StandIn(Server):
    """A server that keeps the contract as far as `conform` without a session can tell, but for what a test changes:
    `changes` has {a deed: an answer, or a function of the request}."""

    def __init__(self, **changes):
        self.changes = changes
        super().__init__()

    def reply_to(self, request):
        deed = self.deed_of(request)
        change = self.changes.get(deed)
        return change(request) if callable(change) else change or self.good(deed)

    @staticmethod
    def deed_of(request):
        path, token = request.path, request.headers.get_all("Authorization") or []
        if request.headers.get("X-Conform"):
            return "big"
        if path == "/inpaint" and request.method == "POST":
            if token != ["Bearer good.good.good"]:
                return "bad_token"
            at = json.loads(request.body)["message"]["publishTime"]
            age_s = time.time() - calendar.timegm(time.strptime(at[:19], "%Y-%m-%dT%H:%M:%S"))
            return "old" if age_s > 60 else "young"
        known = {"/": ("GET", "HEAD"), "/ready": ("GET",), "/health": ("GET",), "/metrics": ("GET",), "/inpaint": ("POST",)}
        if path not in known:
            return "nowhere"
        return path.strip("/") or "about" if request.method in known[path] else f"other_{path.strip('/')}"

    @staticmethod
    def good(deed):
        json_type = {"Content-Type": "application/json"}
        return {"big": Reply(431), "bad_token": Reply(401, b"", {"WWW-Authenticate": 'Bearer error="invalid_token"'}),
                "old": Reply(204), "young": Reply(404), "nowhere": Reply(404),
                "about": Reply(200, b'{"name":"inpaint-worker","version":"9.9.9-stand-in"}', json_type),
                "ready": Reply(200, b'{"status":"ready"}', json_type), "health": Reply(200, b"{}", json_type),
                "metrics": Reply(200, b"inpaint_pushes_total 0\n"), "other_inpaint": Reply(405, b"", {"Allow": "POST"}),
                "other_ready": Reply(405, b"", {"Allow": "GET"})}[deed]

    def conform(self, *args, timeout=4):
        return conform(self.url, "--token-file", "-", *args, text="good.good.good", timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def test_conform_finds_nothing_wrong_with_a_good_stand_in():
    with StandIn() as good:
        status, report, _ = good.conform("--expect-version", "9.9.9", "--header", "X-Tag: candidate")
        equal((status, counts(report)), (0, (BARE + TOKEN, 0, POISON + SESSION)), str(failed(report)))
        status, report, checks = good.conform("--expect-version", "9.9.8")
        equal((status, failed(report)), (1, ["about"]))
        assert "9.9.8" in checks["about"]["note"], checks["about"]


REFUSALS = ["body-huge", "own-claims", "own-headers", "own-signature", "token-alg-none", "token-basic", "token-expired",
            "token-headers", "token-hs256", "token-malformed", "token-none", "token-query", "token-signature"]


def test_conform_fails_each_broken_promise_by_its_line():
    def accepts(word):
        """Accepts tokens whose header says this."""
        def answer(request):
            head = request.headers.get("Authorization", "").removeprefix("Bearer ").split(".")[0]
            said = base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)) if head.startswith("ey") else b"{}"
            return Reply(204) if json.loads(said).get("alg") == word else StandIn.good("bad_token")
        return answer

    def third_is_busy(request):
        seen.append(request)
        return Reply(409 if len(seen) == 3 else 204)
    seen = []
    page = b"<html><title>Error 404 (Not Found)!!1</title>The requested URL / was not found on this server.</html>"
    for changes, want, words in (
            ({"bad_token": Reply(204)}, REFUSALS, "whoever sends this may push"),
            ({"bad_token": Reply(401)}, REFUSALS, "WWW-Authenticate"),
            ({"bad_token": Reply(500)}, REFUSALS, "the worker has failed"),
            ({"bad_token": lambda r: Reply(204) if not r.headers.get("Authorization") and len(r.body) < 9999 else StandIn.good("bad_token")},
             ["token-none", "token-query"], "may push"),
            ({"bad_token": lambda r: Reply(204) if len(r.headers.get_all("Authorization") or []) > 1 else StandIn.good("bad_token")},
             ["own-headers", "token-headers"], "may push"),
            ({"bad_token": accepts("none")}, ["token-alg-none"], "may push"),
            ({"bad_token": accepts("HS256")}, ["token-hs256"], "may push"),
            ({"old": Reply(202)}, ["chunked", "unknown-old", "unknown-twice"], "answers 204 alone"),
            ({"young": Reply(202)}, ["unknown-young"], "answers 204 alone"),
            ({"young": Reply(204)}, ["unknown-young"], "give --subscription"),
            ({"young": Reply(503), "old": Reply(503)}, ["chunked", "unknown-old", "unknown-twice", "unknown-young"],
             "the worker loads its model"),
            ({"old": third_is_busy}, ["unknown-twice"], "being worked on"),
            ({"other_inpaint": Reply(405), "other_ready": Reply(405)}, ["method-probe", "method-push"], "no header Allow"),
            ({"other_inpaint": Reply(405, b"", {"Allow": "PUT"})}, ["method-push"], "Allow is 'PUT'"),
            ({"ready": Reply(503, b'{"status":"loading","stage":"weights","progress":40}')}, ["ready"], "loading, weights, 40 %"),
            ({"health": Reply(503, b'{"status":"broken"}')}, ["health"], "it says: broken"),
            ({"nowhere": Reply(200)}, ["path"], ""),
            ({"about": Reply(200, b'{"name":"other","version":"1"}')}, ["about"], "another program"),
            ({"about": Reply(404, page)}, ["about", "about-head"], "no such service"),
            ({"about": Reply(302, b"", {"Location": "https://elsewhere.example/"})}, ["about", "about-head"], "is the URL right"),
            ({"metrics": Reply(200, b"up 1\n")}, ["metrics"], "inpaint_pushes_total"),
            ({"big": Reply(200)}, ["headers-big"], "not refused")):
        with StandIn(**changes) as broken:
            status, report, checks = broken.conform()
            equal((status, failed(report)), (1, sorted(want)), str(changes))
            assert any(words in f"{checks[name]['got']} {checks[name]['note']}" for name in want), (words, [checks[n] for n in want])


def test_conform_fails_a_worker_that_works_on_after_its_ack():
    def third_is_done(request):
        if b'"s"' not in base64.b64decode(json.loads(request.body)["message"]["data"]):
            return StandIn.good("young")
        seen.append(request)
        return Reply(409 if len(seen) == 2 else 204)
    seen = []
    with StandIn(young=third_is_done) as hasty:
        status, report, checks = hasty.conform("--user", "u", "--session", "s")
        equal((status, failed(report)), (1, ["job-beside"]))
        assert "worked on still" in checks["job-beside"]["note"], checks["job-beside"]


def test_conform_tells_cloud_runs_own_answers_from_the_workers():
    page = b"<html><head><title>403 Forbidden</title></head><h2>Your client does not have permission to get URL.</h2></html>"
    with StandIn(bad_token=Reply(403, page), metrics=Reply(403, page)) as closed:
        status, report, checks = closed.conform()
        equal((status, failed(report)), (0, []))
        assert "IAM check" in checks["token-none"]["note"], checks["token-none"]
    def too_large(request):
        return Reply(413, b"<html>too large") if len(request.body) > 9999 else StandIn.good("bad_token")
    with StandIn(bad_token=too_large) as proxy:
        status, report, checks = proxy.conform()
        equal((status, failed(report)), (0, []))
        assert "before the worker" in checks["body-huge"]["note"], checks["body-huge"]
    with StandIn(young=Reply(429, b"Rate exceeded.")) as busy:
        status, report, checks = busy.conform()
        equal(failed(report), ["unknown-young"])
        assert "no free instance" in checks["unknown-young"]["note"], checks["unknown-young"]

    def only_with_token(request):
        return StandIn.good("about") if request.headers.get("Authorization") else Reply(403, page)
    with StandIn(about=only_with_token, health=only_with_token) as closed:
        status, report, checks = closed.conform()
        equal((status, failed(report)), (0, []))
        for name in ("about", "about-head", "health"):
            assert "wants a token" in checks[name]["note"], checks[name]
        equal(failed(conform(closed.url)[1]), ["about", "about-head", "health"], "without one")


def test_conform_waits_with_progress_until_it_is_ready():
    answers = [503, 503]
    with StandIn(ready=lambda r: Reply(answers.pop(), b'{"status":"loading"}') if answers else Reply(200)) as slow:
        status, out, errors = run("conform", slow.url, "--timeout", "20")
        equal(status, 0, out)
        assert "GET /ready: 503 (loading); 0 of 20 s" in errors, errors
        lines = out.splitlines()
        equal(len(lines), BARE + TOKEN + POISON + SESSION + 1)
        assert lines[3].startswith("ok       ready  ") and lines[-1].startswith("49 checks: 19 ok, 0 failed, 30 skipped"), out


def test_conform_refuses_what_would_be_unsafe_or_wrong():
    secret = os.path.join(WORK, "conform-token")
    with open(secret, "w", encoding="ascii") as f:
        f.write("secret token\n")
    here = "http://127.0.0.1:9"
    for status, args, words in ((1, ("http://worker.example",), "neither https"), (1, (here + "/other",), "has a path"),
                                (1, ("https://user:pw@host",), "a user before it"),
                                (1, ("http://user:pw@host",), "a user before it"),
                                (1, (here, "--token-file", secret), "not a token"),
                                (1, (here, "--header", "Authorization: Bearer x"), "no place for a credential"),
                                (1, (here, "--header", "Cookie pw"), "NAME: VALUE"),
                                (1, (here, "--header", "X: a\nb"), "in one line"),
                                (1, (here, "--subscription", "s"), "projects/PROJECT/subscriptions"),
                                (2, (here, "--user", "u"), "belong together"), (2, (here, "--poison"), "need a token"),
                                (2, (here, "--user", "u", "--session", "s"), "need a token"), (2, (), "URL"),
                                (2, (here, "--token-file", "a", "--audience", "b"), "exclude each other"),
                                (1, (here, "--token-file", "-", "--user", "u", "--session", "../x"), "sessionId is not an id")):
        code, out, errors = run("conform", *args, text="a.b.c")
        equal((code, out), (status, ""), repr(args))
        assert words in errors and "secret token" not in errors and "pw" not in errors, errors


# ---- publish, and push for a session ----

def emulator(town):
    return {"PUBSUB_EMULATOR_HOST": town.cloud.env["FIRESTORE_EMULATOR_HOST"]}


def test_publish_sends_messages_as_the_app_does():
    with Town("publish") as town:
        kept = town.cloud.subscription.kept[POISON_TOPIC]  # the local cloud's topic that keeps what comes
        topic = ("--topic", POISON_TOPIC)
        status, out, errors = run("publish", *topic, "--check", **emulator(town))
        equal((status, errors, kept), (0, "", []), out)
        status, out, errors = run("publish", *topic, "--user", "u|1", "--session", "\u00e9", "--attribute", "k=v=w", "--check",
                                  **emulator(town))
        equal((status, errors), (0, ""), out)
        (data, attributes), = kept
        equal((json.loads(data), attributes), ({"userId": "u|1", "sessionId": "\u00e9"}, {"k": "v=w"}))
        assert out.splitlines()[-1].endswith(" users/u|1/sessions/\u00e9"), out
        many = "".join(f'{{"userId":"u","sessionId":"s{i}"}}\n' for i in range(30))
        status, out, errors = run("publish", *topic, "--file", "-", "--from", "11", text=many, **emulator(town))
        equal((status, len(out.splitlines()), len(kept)), (0, 20, 21))
        equal(json.loads(kept[1][0])["sessionId"], "s10")
        assert "20 messages" in errors, errors


def test_publish_refuses_before_it_sends():
    with Town("publish-bad") as town:
        kept = town.cloud.subscription.kept[POISON_TOPIC]
        one = ("--user", "u", "--session", "s")
        for status, args, text, words in (
                (1, ("--topic", "session-processing", *one), None, "--topic 'session-processing' is not projects/"),
                (1, ("--topic", POISON_TOPIC, "--user", "u", "--session", "a/b"), None, "sessionId is not an id"),
                (1, ("--topic", POISON_TOPIC, *one, "--attribute", "k"), None, "KEY=VALUE"),
                (1, ("--topic", POISON_TOPIC, *one, "--attribute", "googclient=1"), None, "begin with goog"),
                (1, ("--topic", POISON_TOPIC, "--file", "-"), '{"userId":"u","sessionId":"s"}\n{"userId":"u"}\n', "line 2"),
                (1, ("--topic", POISON_TOPIC, "--file", "-"), "\n\n", "no session"),
                (2, ("--topic", POISON_TOPIC, "--user", "u"), None, "belong together"),
                (2, ("--topic", POISON_TOPIC), None, "give --user"),
                (2, one, None, "--topic")):
            code, out, errors = run("publish", *args, text=text, **emulator(town))
            equal((code, out), (status, ""), repr(args))
            assert words in errors, (words, errors)
        equal(kept, [], "nothing was published")
        code, out, errors = run("publish", "--topic", "projects/demo/topics/other", *one,
                                PUBSUB_EMULATOR_HOST=f"127.0.0.1:{free_port()}")
        equal((code, out), (1, ""))
        assert "publish: 'projects/demo/topics/other'" in errors, errors


def test_push_for_a_session_runs_its_job():
    with Town("push-session") as town:
        w = town.worker()
        town.cloud.create_session("u1", "direct", PHOTO, MASK)
        args = ("push", "--user", "u1", "--session", "direct", "--url", w.base + "/inpaint", *SUBSCRIBED)
        status, out, errors = run(*args, text=town.cloud.issuer.sign())
        equal((status, errors), (0, ""), out)
        assert out.startswith("push-") and ": 204, acknowledged" in out, out
        equal(town.cloud.document("u1", "direct")["processingStatus"], "completed")
        for bad, code, words in ((("--user", "u1", "--session", "__s__"), 1, "sessionId is not an id"),
                                 (("--user", "u1"), 2, "belong together"), ((), 2, "either FILE"),
                                 (("x", "--user", "u1", "--session", "s"), 2, "either FILE")):
            code_now, out, errors = run("push", *bad, "--url", w.base + "/inpaint")
            equal((code_now, out), (code, ""), repr(bad))
            assert words in errors, errors


SUITE = Suite(tests_of(sys.modules[__name__]), at_once=2)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
