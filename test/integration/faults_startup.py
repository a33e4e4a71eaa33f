"""The start, and outages later: what the worker says before it is ready, and why."""
import base64
import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time

import modes
from fake_cloud import *  # noqa: F403
from fake_cloud import BUCKET, PROBE_OBJECTS
from harness import MODEL, PROGRAM, ROOT, call, equal, serving, wait_until
from house import HTML, House
from tools.local_cloud.issuer import RsaKey

LISTENS_SECONDS = 4  # the machine may be busy
ALL = ["storage.objects.get", "storage.objects.create", "storage.objects.delete"]
DENIED = rpc_error(403, "PERMISSION_DENIED", "Missing or insufficient permissions.")
FOR_EVER = 10 ** 6


def permissions(*granted):
    granted = (*granted, "storage.objects.list") if list(granted) == ALL else granted
    return answer(200, {"kind": "storage#testIamPermissionsResponse", **({"permissions": list(granted)} if granted else {})})


def readiness(w):
    """-> (status, the JSON of /ready)"""
    status, _, body = call("GET", w.base + "/ready", timeout=5)
    return status, json.loads(body)


def state(w):
    try:
        return readiness(w)[1]["status"]
    except OSError:
        return "silent"


def started(h, wanted, *rules, **settings):
    """A worker that comes into a state other than ready; -> (worker, what /ready says)."""
    for op, action in rules:
        h.cloud.on(op, action, FOR_EVER)
    w = h.worker(ready=False, **settings)
    wait_until(f"{h.name} is {wanted}", lambda: state(w) == wanted, 30)
    return w, readiness(w)[1]


def check_refused(name, rules, words, remedy, **settings):
    """The worker listens, is not ready, says why in /ready and in one line of the log with the way to mend it, and ends
    cleanly."""
    with House(name) as h:
        w, told = started(h, "refused", *rules, **settings)
        equal(readiness(w)[0], 503)
        for word in words:
            assert word in told["reason"], (word, told)
        wait_until("the model is loaded", lambda: "the model is loaded" in w.log(), 120)
        errors = [line for line in w.lines() if line["severity"] == "ERROR"]
        equal(len(errors), 1, w.last_lines())
        equal(errors[0]["message"], "not ready: the cloud refuses what a job needs")
        equal(errors[0]["reason"], told["reason"])
        for word in remedy:
            assert word in errors[0]["remedy"], (word, errors[0])
        assert errors[0]["reason"] in w.last_lines(), w.last_lines()
        assert '"message":"ready"' not in w.log(), w.last_lines()
        equal(call("GET", w.base + "/health", timeout=5)[0], 200)
        equal(w.stop(9), 0, "exit status")


# ---- as an operator would ----

def test_startup_with_the_wrong_bucket():
    check_refused("wrong-bucket", [], ["the bucket no-such-bucket does not exist"],
                  ["FIREBASE_STORAGE_BUCKET", "gcloud storage buckets list --project=demo"], FIREBASE_STORAGE_BUCKET="no-such-bucket")


def test_startup_without_the_role_on_the_bucket():
    for name, granted, missing in (("reader", ALL[:1], ALL[1:]), ("creator", ALL[1:2], [ALL[0], ALL[2]]), ("nobody", [], ALL)):
        check_refused(f"bucket-{name}", [("permissions", permissions(*granted))], [BUCKET, "roles/storage.objectUser", *missing],
                      ["gcloud storage buckets add-iam-policy-binding gs://" + BUCKET, "--role=roles/storage.objectUser"])


def test_startup_without_the_permission_to_list():
    """Then 403 is the answer about results that are not there yet, and no job could be done."""
    granted = answer(200, {"permissions": ALL})
    check_refused("bucket-no-list", [("permissions", granted), ("stat:probe", answer(403, b"{}"))], ["storage.objects.list"],
                  ["--role=roles/storage.objectUser"])
    with House("bucket-no-list-needed") as h:
        h.cloud.on("permissions", granted, FOR_EVER)
        equal(h.worker().push(h.job("no-list")), 204)


def test_startup_with_a_bucket_that_answers_403():
    check_refused("bucket-403", [("permissions", answer(403, b"Forbidden"))], [BUCKET, "roles/storage.objectUser"],
                  ["add-iam-policy-binding"])


def test_startup_without_the_role_on_the_database():
    check_refused("database-denied", [("probe-get", DENIED)], ["roles/datastore.user", "datastore.entities.get", "insufficient"],
                  ["gcloud projects add-iam-policy-binding demo", "--role=roles/datastore.user"])


def test_startup_with_a_role_that_may_only_read_the_database():
    check_refused("database-viewer", [("probe-commit", DENIED)], ["roles/datastore.user", "datastore.entities.update"],
                  ["gcloud projects add-iam-policy-binding demo"])


def test_startup_without_the_database():
    check_refused("no-database", [("probe-get", NO_DATABASE)], ["the database (default) does not exist", "demo"],
                  ["gcloud firestore databases create --project=demo --database='(default)'"])


def test_startup_without_the_project():
    gone = rpc_error(404, "NOT_FOUND", "Project demo not found or deleted.")
    check_refused("no-project", [("probe-get", gone)], ["the project demo does not exist"], ["GOOGLE_CLOUD_PROJECT"])


def test_startup_with_an_api_that_is_switched_off():
    off = rpc_error(403, "PERMISSION_DENIED", "Cloud Firestore API has not been used in project demo before or it is disabled.")
    check_refused("switched-off", [("probe-get", off)], ["not enabled"], ["gcloud services enable firestore.googleapis.com"])


def test_startup_with_a_token_that_is_refused():
    check_refused("no-token", [("probe-get", rpc_error(401, "UNAUTHENTICATED"))], ["401", "token"], ["clock", "keys list"])


def test_startup_with_another_server_on_the_port():
    check_refused("stranger", [("probe-get", answer(404, b"<html>nothing here</html>"))], ["is not Firestore"], ["FIRESTORE_EMULATOR_HOST"])


@modes.only(modes.EMULATORS)
def test_startup_with_a_host_that_does_not_resolve():
    with House("no-host") as h:
        w, told = started(h, "waiting", FIRESTORE_EMULATOR_HOST="firestore.invalid:8080")
        assert "firestore.invalid" in told["reason"], told
        warnings = [line for line in w.lines() if line["severity"] == "WARNING" and line.get("part") == "database"]
        equal([line["message"] for line in warnings], ["not ready: the cloud does not answer yet"])
        assert "does not resolve" in warnings[0]["remedy"] and "key" not in warnings[0]["remedy"], warnings
        time.sleep(5)
        equal(len([line for line in w.lines() if line.get("part") == "database"]), 1, "it is said rarely")
        equal(w.stop(9), 0, "exit status")


def test_startup_shows_two_troubles_at_once():
    with House("two") as h:
        w, _ = started(h, "refused", ("probe-get", NO_DATABASE), ("permissions", permissions()))
        wait_until("both are told", lambda: sum(line["severity"] == "ERROR" for line in w.lines()) == 2, 10)
        equal(sorted(line["part"] for line in w.lines() if line["severity"] == "ERROR"), ["bucket", "database"])


# ---- what mends itself, and what is mended ----

def test_a_role_that_is_granted_makes_the_worker_ready():
    with House("mended") as h:
        w, _ = started(h, "refused", ("permissions", permissions(*ALL[:1])))
        body, answers = h.job("mended"), []
        push = threading.Thread(target=lambda: answers.append(w.push(body)))
        push.start()
        time.sleep(1)
        equal(text_at(h.cloud.fields("mended"), "processingStatus"), "pending", "nothing is claimed")
        h.cloud.rules.clear()
        wait_until("it is ready", w.is_ready, 45)
        push.join(60)
        equal(answers, [204], "the push has waited")
        h.check_completed("mended")
        said = [line["message"] for line in w.lines()]
        assert said.index("the cloud is mended") < said.index("ready"), said


def test_what_may_pass_is_asked_again():
    for name, op, action, times in (("storm", "probe-get", HTML, 4), ("lost", "probe-get", lose, 5), ("bucket", "permissions", HTML, 5),
                                    ("commit", "probe-commit", rpc_error(503, "UNAVAILABLE"), 4)):
        with House(f"passes-{name}") as h:
            h.cloud.on(op, action, times)
            w = h.worker()
            assert any(line["message"] == "not ready: the cloud does not answer yet" for line in w.lines()), w.last_lines()
            equal(w.push(h.job("after")), 204)
            h.check_completed("after")


def test_a_bucket_that_is_closed_later_uses_up_no_attempts():
    with House("later") as h:
        w = h.worker()
        equal(w.push(h.job("before")), 204)
        h.cloud.on("permissions", permissions(*ALL[1:]), FOR_EVER)
        h.cloud.on("stat:*", answer(403, b"{}"), FOR_EVER)
        body = h.job("during")
        equal(w.push(body), 503)
        wait_until("it is refused", lambda: state(w) == "refused", 25)
        assert "storage.objects.get" in readiness(w)[1]["reason"], readiness(w)
        answers = []
        push = threading.Thread(target=lambda: answers.append(w.push(body)))
        push.start()
        time.sleep(2)
        attempts = value_at(h.cloud.fields("during"), "inpaint.attempts")
        equal(attempts, {"integerValue": "1"}, "no further attempt is made")
        h.cloud.rules.clear()
        wait_until("it is ready again", w.is_ready, 45)
        push.join(60)
        equal(answers, [204])
        h.check_completed("during", attempts=2)


def test_a_database_that_disappears_later():
    with House("vanished-database") as h:
        w = h.worker()
        h.cloud.on("get", DENIED, FOR_EVER)
        h.cloud.on("probe-get", NO_DATABASE, FOR_EVER)
        equal(w.push(h.job("vanished")), 503)
        wait_until("it is refused", lambda: state(w) == "refused", 25)
        assert "does not exist" in readiness(w)[1]["reason"], readiness(w)


# ---- other servers ----

def test_servers_that_do_not_know_the_question_for_permissions():
    for name, action in (("404", answer(404, b"Not Found\n")), ("405", answer(405, b"")), ("400", answer(400, b"{}")),
                         ("501", answer(501, b"")), ("empty", answer(200, b"{}")), ("html", answer(200, b"<html>"))):
        with House(f"unknown-{name}") as h:
            h.cloud.on("permissions", action, FOR_EVER)
            h.worker()
            equal([name for name in h.cloud.objects.stored if name.startswith(PROBE_OBJECTS)], [], "the probe is removed")
            equal(h.cloud.count("upload:probe"), 1)


def test_servers_that_do_not_know_the_question_and_refuse():
    for name, op, word in (("put", "upload:probe", ALL[1]), ("stat", "stat:probe", ALL[0]), ("delete", "delete:probe", ALL[2])):
        check_refused(f"refuses-{name}", [("permissions", answer(404, b"")), (op, answer(403, b"{}"))], [word], ["add-iam-policy-binding"])
    check_refused("refuses-bucket", [("permissions", answer(404, b"")), ("upload:probe", answer(404, b"Not Found"))], ["does not exist"],
                  ["FIREBASE_STORAGE_BUCKET"])


# ---- the bucket of the project ----

@contextlib.contextmanager
def house_without_bucket(name, there):
    with House(name) as h:
        del h.cloud.env["FIREBASE_STORAGE_BUCKET"]

        def ask(request, apply):
            bucket = request.path.split("/")[4]
            return permissions(*there.get(bucket, []))(request, apply) if bucket in there else apply(request)
        h.cloud.on("permissions", ask, FOR_EVER)
        yield h


def test_the_bucket_of_the_project_is_found():
    for name, there, want in (("new", ["demo.firebasestorage.app"], "demo.firebasestorage.app"), ("old", ["demo.appspot.com"], "demo.appspot.com"),
                              ("both", ["demo.appspot.com", "demo.firebasestorage.app"], "demo.firebasestorage.app")):
        with house_without_bucket(f"derived-{name}", {bucket: ALL for bucket in there}) as h:
            w = h.worker()
            told = [line for line in w.lines() if line["message"] == "FIREBASE_STORAGE_BUCKET is not set: the bucket of the project is used"]
            equal([(line["severity"], line["bucket"]) for line in told], [("NOTICE", want)])


def test_a_bucket_of_the_project_that_is_closed_is_not_passed_over():
    with house_without_bucket("derived-closed", {"demo.firebasestorage.app": [], }) as h:
        _, told = started(h, "refused")
        assert "demo.firebasestorage.app refuses us" in told["reason"], told
    with house_without_bucket("derived-closed-old", {"demo.firebasestorage.app": [], "demo.appspot.com": ALL}) as h:
        _, told = started(h, "refused")
        assert "demo.firebasestorage.app refuses us" in told["reason"], told


def test_a_bucket_of_the_project_that_does_not_answer_is_waited_for():
    with house_without_bucket("derived-late", {"demo.firebasestorage.app": ALL, "demo.appspot.com": ALL}) as h:
        h.cloud.rules.insert(0, ["permissions", HTML, 2, 0])
        w = h.worker()
        assert '"bucket":"demo.firebasestorage.app"' in w.log(), w.last_lines()


def test_no_bucket_of_the_project_is_there():
    with house_without_bucket("derived-none", {}) as h:
        w, told = started(h, "refused")
        for word in ("FIREBASE_STORAGE_BUCKET is not set", "demo.firebasestorage.app", "demo.appspot.com"):
            assert word in told["reason"], told
        assert "gcloud storage buckets list" in w.log(), w.last_lines()


@modes.only(modes.EMULATORS)
def test_the_key_of_an_account_names_project_and_bucket_and_who_needs_a_role():
    account = {"type": "service_account", "project_id": "demo", "private_key": RsaKey().private_pem().decode(),
               "client_email": "worker@demo.iam.gserviceaccount.com"}
    credentials = base64.b64encode(json.dumps(account).encode()).decode()
    for there, wanted in (({"demo.firebasestorage.app": ALL}, "ready"), ({"demo.firebasestorage.app": ALL[:1]}, "refused")):
        with house_without_bucket(f"predecessor-{wanted}", there) as h:
            del h.cloud.env["GOOGLE_CLOUD_PROJECT"]
            w, _ = started(h, wanted, FIREBASE_CREDENTIALS=credentials)
            assert ('"bucket":"demo.firebasestorage.app"' in w.log()) == (wanted == "ready"), w.last_lines()
            if wanted == "refused":
                assert ("gcloud storage buckets add-iam-policy-binding gs://demo.firebasestorage.app "
                        "--member=serviceAccount:worker@demo.iam.gserviceaccount.com --role=roles/storage.objectUser") in w.log(), w.last_lines()
            assert "PRIVATE" not in w.log() and credentials[:40] not in w.log()


# ---- a start that waits for nobody ----

@contextlib.contextmanager
def silent_server():
    """Takes connections and does not answer; -> its address."""
    over = threading.Event()

    def silent(request):
        over.wait(60)
        return Reply(404)
    with serving(silent) as address:
        try:
            yield address
        finally:
            over.set()


OIDC = {"PUSH_AUTH": "oidc", "PUSH_AUDIENCE": "https://w.example/p", "PUSH_SERVICE_ACCOUNT": "push@demo.iam.gserviceaccount.com"}


def check_listens_and_ends(h, seconds_until_term, **settings):
    began = time.monotonic()
    w = h.worker(ready=False, **settings)
    wait_until("it listens", w.listens, LISTENS_SECONDS)
    equal(readiness(w)[0], 503)
    time.sleep(max(0, began + seconds_until_term - time.monotonic()))
    assert state(w) in ("asking", "waiting", "loading"), readiness(w)
    equal(call("GET", w.base + "/health", timeout=5)[0], 200)
    w.terminate()
    equal(w.process.wait(9), 0, "exit status")


def test_the_start_listens_while_the_keys_stall():
    with silent_server() as address, House("keys-stall") as h:
        for seconds in (1, 8):
            check_listens_and_ends(h, seconds, **OIDC, OIDC_CERTS_URL=f"http://{address}/certs")


@modes.only(modes.EMULATORS)
def test_the_start_listens_while_the_project_is_asked_for():
    with silent_server() as address, House("project-stalls") as h:
        del h.cloud.env["GOOGLE_CLOUD_PROJECT"]
        check_listens_and_ends(h, 2, GCE_METADATA_HOST=address)


def test_the_start_listens_while_the_cloud_is_silent():
    for op in ("probe-get", "probe-commit", "permissions"):
        with House(f"silent-{op}") as h:
            h.cloud.on(op, h.cloud.hang(30), FOR_EVER)
            check_listens_and_ends(h, 2)


def test_keys_that_are_not_there_are_told():
    with House("no-keys") as h:
        w, told = started(h, "waiting", **OIDC, OIDC_CERTS_URL=h.cloud.server.url + "/nothing")
        assert "HTTP 404" in told["reason"], told
        assert "OIDC_CERTS_URL" in w.last_lines(), w.last_lines()
        h.cloud.violations.clear()


# ---- settings ----

def run(command, **env):
    return subprocess.run([PROGRAM, *command], env={"PATH": os.environ["PATH"], **env}, cwd=ROOT, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


@modes.only(modes.EMULATORS)  # there is no cloud
def test_bad_settings_are_all_told_and_each_once():
    got = run(["serve"], PORT="x", STEPS="0", PUSH_AUTH="maybe", PUSH_AUDIENCE="a,,b", INPAINT_TYPO="1", LEASE_SECONDS="7s",
              JOB_DEADLINE_SECONDS="3400", PUBSUB_SUBSCRIPTION="s", FIREBASE_CREDENTIALS="CANARY!", SSL_CERT_FILE="/nowhere",
              SSL_CERT_DIR="/nowhere", HTTPS_PROXY="no proxy")
    equal(got.returncode, 1, got.stdout)
    told = [json.loads(line) for line in got.stdout.splitlines()]
    problems = [line["problem"] for line in told if line["message"] == "bad setting"]
    for name in ("PORT", "STEPS", "PUSH_AUTH", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT", "INPAINT_TYPO", "LEASE_SECONDS", "PUBSUB_SUBSCRIPTION",
                 "FIREBASE_CREDENTIALS", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY"):
        equal(sum(bool(re.match(rf"{name}\b", text)) for text in problems), 1, f"{name} in {problems}")
    equal(len(problems), 12, str(problems))
    assert "12 settings are wrong" in told[-1]["error"] and "CANARY" not in got.stdout, got.stdout


@modes.only(modes.EMULATORS)
def test_the_predecessors_environment_asks_for_what_it_lacks_at_once():
    got = run(["serve"], GOOGLE_CLOUD_PROJECT="demo")
    equal(got.returncode, 1, got.stdout)
    told = [json.loads(line) for line in got.stdout.splitlines()]
    problems = [line["problem"] for line in told if line["message"] == "bad setting"]
    equal(len(problems), 1, got.stdout)
    for line in ("PUSH_AUTH=oidc", "PUSH_AUDIENCE=https://AUDIENCE-OF-THE-SUBSCRIPTION",
                 "PUSH_SERVICE_ACCOUNT=ACCOUNT-OF-THE-SUBSCRIPTION@demo.iam.gserviceaccount.com"):
        assert line in problems[0].splitlines(), problems


def test_a_port_that_is_taken_is_told_with_its_setting():
    with socket.create_server(("0.0.0.0", 0)) as taken, House("port-taken") as h:
        w = h.worker(ready=False, PORT=taken.getsockname()[1])
        equal(w.process.wait(30), 1, "exit status")
        assert f"cannot listen on port {taken.getsockname()[1]}" in w.last_lines() and "set PORT to another" in w.last_lines(), w.last_lines()


# ---- doctor ----

def doctor(h, *options, **settings):
    env = {**h.cloud.env, "PUSH_AUTH": "none", "MODEL_DIR": MODEL, "BACKEND": "cpu", **settings}
    return run(["doctor", *options], **env)


@modes.only(modes.EMULATORS)
def test_doctor_asks_the_cloud():
    with House("doctor") as h:
        for options in ([], ["--online"]):
            got = doctor(h, *options)
            equal(got.returncode, 0, got.stdout)
            assert "Everything is there." in got.stdout and "can be read and written" in got.stdout, got.stdout
        equal([name for name in h.cloud.objects.stored if name.startswith(PROBE_OBJECTS)], [], "the probe is removed")
        equal(h.cloud.count("upload:probe"), 2)
        for label, rules, words, settings in (
                ("bucket", [("permissions", permissions(ALL[0]))], ["storage.objects.create", "roles/storage.objectUser", "gcloud"], {}),
                ("attempt", [("upload:probe", answer(403, b"{}"))], ["storage.objects.create", "roles/storage.objectUser"], {}),
                ("no bucket", [], ["does not exist", "gcloud storage buckets list"], {"FIREBASE_STORAGE_BUCKET": "no-such-bucket"}),
                ("database", [("probe-get", DENIED)], ["roles/datastore.user", "gcloud projects add-iam-policy-binding"], {}),
                ("no database", [("probe-get", NO_DATABASE)], ["gcloud firestore databases create"], {}),
                ("no host", [], ["firestore.invalid", "does not resolve"], {"FIRESTORE_EMULATOR_HOST": "firestore.invalid:80"}),
                ("proxy", [], ["HTTPS_PROXY", "NO_PROXY"], {"HTTPS_PROXY": "http://127.0.0.1:9", "STORAGE_EMULATOR_HOST": "https://storage.invalid"}),
                ("plain", [], ["cannot be trusted"], {"STORAGE_EMULATOR_HOST": h.cloud.server.url.replace("http:", "https:")}),
                ("nobody", [], ["nothing answers"], {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:9"})):
            with h.case(label):
                for op, action in rules:
                    h.cloud.on(op, action, FOR_EVER)
                got = doctor(h, **settings)
                equal(got.returncode, 1, got.stdout)
                for word in words:
                    assert word in got.stdout, (word, got.stdout)
                assert "Everything is there" not in got.stdout and not re.search(r"\bkey\b", got.stdout), got.stdout
                equal(got.stdout.count("\nwrong  "), 1, got.stdout)
                h.cloud.rules.clear()
                equal(doctor(h, "--offline", **settings).returncode, 0)


def test_doctor_finds_the_bucket_of_the_project():
    with house_without_bucket("doctor-derived", {}) as h:
        got = doctor(h)
        equal(got.returncode, 1, got.stdout)
        assert "FIREBASE_STORAGE_BUCKET is not set" in got.stdout, got.stdout
