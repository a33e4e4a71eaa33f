#!/usr/bin/env python3
"""Tests of scripts/deploy.sh with a stand-in for gcloud: `test_deploy.py [parts of names]`.

The stand-in (gcloud.py) keeps a project in a file, so that a second run, a run after a failure and a project that the
predecessor left can be tried without an account.
"""
import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "test", "integration"))
from harness import Skip, Suite, run_suites, tests_of

SCRIPT = os.path.join(ROOT, "scripts", "deploy.sh")
PROJECT, NUMBER = "my-pets-1", "123456789012"
URL = f"https://pawfect-edit-inpaint-{NUMBER}.us-east4.run.app"
TOKEN = "hf_thisIsTheSecretValue"
IMAGE = "us-east4-docker.pkg.dev/my-pets-1/workers/inpaint-worker:given"
READS = re.compile(r"\b(describe|list|get-iam-policy|access)\b")
# It starts a thousand times: so without site packages, and as a module, which is compiled once.
GCLOUD = f"""#!/bin/sh
exec {sys.executable} -S -E -c 'import sys; sys.path.insert(0, "{HERE}"); import gcloud; gcloud.main()' "$@"
"""
OPENING = {  # a project of Firebase, as an app has it
    "account": "owner@example.com", "enabled": ["firestore.googleapis.com"],
    f"projects/{PROJECT}": {"projectNumber": NUMBER},
    f"storage buckets/gs://{PROJECT}.firebasestorage.app": {"name": "bucket"},
    "firestore databases/(default)": {"type": "FIRESTORE_NATIVE"},
}


class Stand:
    """A project, and deploy.sh with the stand-in on its PATH."""

    def __init__(self, folder, **more):
        self.folder = folder
        self.write({**OPENING, **more})
        os.mkdir(self.path("bin"))
        os.chmod(self.path("bin/gcloud", GCLOUD), 0o755)
        self.env = {**os.environ, "STAND_IN": folder, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"]}
        self.path("token", TOKEN + "\n")

    def path(self, name, text=None):
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return path

    def write(self, state):
        self.path("state.json", json.dumps(state))

    @property
    def state(self):
        with open(self.path("state.json"), encoding="utf-8") as f:
            return json.load(f)

    def log(self):
        path = self.path("log")
        return open(path, encoding="utf-8").read().splitlines() if os.path.exists(path) else []

    def changes(self):
        return [line for line in self.log() if not READS.search(" ".join(w for w in line.split() if not w.startswith("--")))]

    def run(self, *options, expect=0, stdin=None, project=PROJECT, tries=1):
        self.path("log", "")
        env = {**self.env, "DEPLOY_TRIES": str(tries), "DEPLOY_RETRY_SECONDS": "0"}
        got = subprocess.run([SCRIPT, f"--project={project}", *options], env=env, input=stdin, capture_output=True, text=True, timeout=120,
                             stdin=subprocess.DEVNULL if stdin is None else None)
        assert got.returncode == expect, f"exit status {got.returncode}, not {expect}:\n{got.stdout[-2000:]}\n{got.stderr[-2000:]}"
        return got.stdout + got.stderr


@contextlib.contextmanager
def stand(**more):
    with tempfile.TemporaryDirectory() as folder:
        yield Stand(folder, **more)


def test_a_first_run_makes_everything_and_a_second_changes_nothing():
    with stand() as s:
        s.run(f"--hf-token-file={s.path('token')}")
        state = s.state
        push = state["pubsub subscriptions/session-processing-push"]
        assert push["topic"] == f"projects/{PROJECT}/topics/session-processing"
        assert push["pushConfig"] == {"pushEndpoint": URL + "/inpaint", "oidcToken": {
            "serviceAccountEmail": f"inpaint-push@{PROJECT}.iam.gserviceaccount.com", "audience": URL + "/inpaint"}}
        assert push["ackDeadlineSeconds"] == "600" and push["retryPolicy"] == {"minimumBackoff": "10s", "maximumBackoff": "600s"}
        assert push["deadLetterPolicy"]["maxDeliveryAttempts"] == "100" and push["expirationPolicy"] == {}
        assert state["pubsub subscriptions/session-processing-dead-pull"]["topic"].endswith("/session-processing-dead")
        flags = state["run services/pawfect-edit-inpaint"]["flags"]
        for flag, value in {"--gpu": "1", "--gpu-type": "nvidia-l4", "--cpu": "8", "--memory": "32Gi", "--concurrency": "9", "--timeout": "300",
                            "--min-instances": "0", "--max-instances": "1", "--no-gpu-zonal-redundancy": "", "--no-cpu-throttling": "",
                            "--execution-environment": "gen2", "--no-invoker-iam-check": ""}.items():
            assert flags[flag] == value, (flag, flags.get(flag))
        assert "path=/ready" in flags["--startup-probe"] and "failureThreshold=60" in flags["--startup-probe"]
        assert "path=/health" in flags["--liveness-probe"] and f"PUSH_AUDIENCE={URL}/inpaint" in flags["--set-env-vars"]
        assert len(s.changes()) > 25
        said = s.run()
        assert s.changes() == [] and "0 changes" in said, s.changes()
        asked = [line for line in s.log() if "get-iam-policy" in line]
        assert len(asked) == len(set(asked)) > 5, asked  # one question a resource


def test_each_step_can_fail_and_a_repeat_goes_on_from_there():
    with stand() as s:
        options = (f"--hf-token-file={s.path('token')}", "--github=me/worker", "--credentials-secret=FIREBASE_CREDENTIALS",
                   f"--credentials-file={s.path('key', '{}')}")
        steps = (("APIs", "services enable"), ("registry", "repositories create"), ("registry", "buckets create"),
                 ("accounts", "service-accounts create inpaint-push"), ("accounts", "identity create"), ("secrets", "secrets create HF_TOKEN"),
                 ("secrets", "versions add FIREBASE"), ("bucket", "buckets describe gs://my-pets-1.fire"), ("database", "databases describe"),
                 ("topics", "topics create session-processing-dead"), ("topics", "subscriptions create session-processing-dead-pull"),
                 ("GitHub", "create-oidc"), ("roles", "roles/datastore.user"), ("roles", "roles/iam.workloadIdentityUser"),
                 ("image", "builds submit"), ("service", "run deploy"), ("subscription", "subscriptions create session-processing-push"),
                 ("subscription", "roles/pubsub.subscriber"))
        for step, text in steps:
            s.path("fail", f"{text}\tINTERNAL: something broke in {step}\n")
            said = s.run(*options, expect=1)
            assert f'the step "{step}" failed' in said and f"something broke in {step}" in said, said
            assert "repeat the same command" in said and "--github=me/worker" in said, said
        s.run(*options)
        assert s.run(*options) and s.changes() == []
        assert s.state["run services/pawfect-edit-inpaint"]["revisions"] == 1
        assert len(s.state["secrets/HF_TOKEN"]["versions"]) == 1


PREDECESSOR = {
    "pubsub topics/session-processing": {"name": "t"},
    "pubsub subscriptions/session-processing-push": {
        "topic": f"projects/{PROJECT}/topics/session-processing", "ackDeadlineSeconds": "10", "expirationPolicy": {"ttl": "2678400s"},
        "pushConfig": {"pushEndpoint": "https://old-uk.a.run.app/", "oidcToken": {"serviceAccountEmail": "old@x.com", "audience": "old"}}},
    "run services/pawfect-edit-inpaint": {
        "metadata": {"labels": {}}, "revisions": 41,
        "spec": {"template": {"spec": {"containers": [{"image": "old"}], "containerConcurrency": "1"}}, "traffic": [{"latestRevision": True, "percent": 100}]},
        "status": {"latestCreatedRevisionName": "pawfect-edit-inpaint-00041-old", "latestReadyRevisionName": "pawfect-edit-inpaint-00041-old"}}}


def test_what_the_predecessor_left_is_taken_over_and_the_way_back_is_printed():
    with stand(**PREDECESSOR) as s:
        said = s.run(f"--image={IMAGE}")
        log = s.changes()
        assert not any("topics create session-processing " in line or "subscriptions create session-processing-push" in line for line in log), log
        deployed = next(i for i, line in enumerate(log) if line.startswith("run deploy"))
        assert "--no-traffic" in log[deployed] and "--tag=candidate" in log[deployed]
        moved = next(i for i, line in enumerate(log) if "update-traffic" in line)
        connected = next(i for i, line in enumerate(log) if "subscriptions update session-processing-push" in line)
        assert deployed < moved < connected, log
        assert s.state["run services/pawfect-edit-inpaint"]["revisions"] == 42
        assert "--to-revisions=pawfect-edit-inpaint-00041-old=100" in said and "--push-endpoint=https://old-uk.a.run.app/" in said, said
        s.run(f"--image={IMAGE}")
        assert s.changes() == []


def test_beside_the_predecessor_the_last_run_moves_the_subscription_alone():
    with stand(**PREDECESSOR) as s:
        options = (f"--hf-token-file={s.path('token')}", "--service=pawfect-edit-inpaint-c")
        s.run(*options, "--topic=inpaint-trial", "--subscription=inpaint-trial-push")
        for name, record in PREDECESSOR.items():
            assert s.state[name] == record, name
        s.run(*options)
        assert not any("run deploy" in line or "builds submit" in line for line in s.changes()), s.changes()
        push = s.state["pubsub subscriptions/session-processing-push"]["pushConfig"]
        assert push["pushEndpoint"] == f"https://pawfect-edit-inpaint-c-{NUMBER}.us-east4.run.app/inpaint"
        assert s.state["run services/pawfect-edit-inpaint"] == PREDECESSOR["run services/pawfect-edit-inpaint"]


def test_on_a_terminal_it_asks_and_a_no_changes_nothing():
    for reply, changed in (("n", False), ("y", True)):
        with stand() as s:
            ours, theirs = pty.openpty()
            child = subprocess.Popen([SCRIPT, f"--project={PROJECT}", f"--image={IMAGE}"], env=s.env, stdin=theirs, stdout=theirs, stderr=theirs)
            os.close(theirs)
            os.write(ours, reply.encode() + b"\n")
            said = b""
            with contextlib.suppress(OSError):  # the end of a terminal
                while chunk := os.read(ours, 4096):
                    said += chunk
            os.close(ours)
            assert child.wait(60) == 0 and b"is changed" in said, said
            assert bool(s.changes()) == changed and (b"nothing was changed" in said) != changed, said


def test_one_thing_changed_by_hand_is_set_right_alone():
    with stand() as s:
        s.run(f"--image={IMAGE}")
        for change, wanted in ((lambda st: st["pubsub subscriptions/session-processing-push"].update(ackDeadlineSeconds="60"), "pubsub subscriptions update"),
                               (lambda st: st["run services/pawfect-edit-inpaint"]["spec"]["template"]["spec"].update(containerConcurrency="1"), "run deploy"),
                               (lambda st: st["policies"].pop(f"storage buckets/gs://{PROJECT}.firebasestorage.app"), "storage buckets add-iam-policy-binding")):
            state = s.state
            change(state)
            s.write(state)
            s.run(f"--image={IMAGE}")
            assert s.changes() and s.changes()[0].startswith(wanted), s.changes()
            assert len(s.changes()) <= 2, s.changes()  # a deployment moves the traffic, too


def test_a_revision_that_did_not_become_ready_is_deployed_again():
    with stand() as s:
        s.run(f"--image={IMAGE}")
        state = s.state
        state["run services/pawfect-edit-inpaint"]["status"]["latestReadyRevisionName"] = "another"
        s.write(state)
        s.run(f"--image={IMAGE}")
        assert any(line.startswith("run deploy") for line in s.changes())


def test_a_subscription_of_another_topic_is_refused():
    state = json.loads(json.dumps(PREDECESSOR))
    state["pubsub subscriptions/session-processing-push"]["topic"] = f"projects/{PROJECT}/topics/elsewhere"
    with stand(**state) as s:
        assert "--topic elsewhere" in s.run(f"--image={IMAGE}", expect=1)
        assert not any("subscriptions update" in line for line in s.changes())


def test_the_usual_obstacles_are_named_with_their_remedy():
    for fault, remedy in (
            ("run deploy\tmetadata.annotations[run.googleapis.com/maxScale]: You do not have quota for using GPUs without zonal redundancy.", "quotas?project="),
            ("services list\tPERMISSION_DENIED: owner@example.com does not have permission to access projects instance", "roles/owner"),
            ("topics describe\tPERMISSION_DENIED: Cloud Pub/Sub API has not been used in project 1 before or it is disabled. SERVICE_DISABLED", "Wait two minutes"),
            ("run deploy\tspec.template.spec.containers[0].startup_probe.failureThreshold: too large", "--startup-seconds 240"),
            ("run deploy\tSetting invoker IAM check disabled is not allowed by constraint", "--auth iam"),
            ("services enable\tFAILED_PRECONDITION: Billing account for project is not found", "billing")):
        with stand() as s:
            s.path("fail", fault + "\n")
            assert remedy in s.run(f"--image={IMAGE}", expect=1), fault
    with stand(account="") as s:
        assert "gcloud auth login" in s.run(expect=1) and s.changes() == []
    with stand() as s:
        assert "there is no project other-project" in s.run(project="other-project", expect=1) and s.changes() == []
    with stand(**{"firestore databases/(default)": {"type": "DATASTORE_MODE"}}) as s:
        assert "native mode" in s.run(f"--image={IMAGE}", expect=1)


def test_what_google_does_not_know_yet_is_tried_again():
    with stand() as s:
        s.path("fail", "roles/datastore.user\tINVALID_ARGUMENT: Service account inpaint-worker@x does not exist.\n"
               "topics describe\tPERMISSION_DENIED: Cloud Pub/Sub API has not been used in project 1 before or it is disabled. SERVICE_DISABLED\n")
        s.run(f"--image={IMAGE}", tries=2)
        assert sum("roles/datastore.user" in line for line in s.changes()) == 2
        s.path("fail", "get-iam-policy\tPERMISSION_DENIED: the resource is not found\n")
        s.run(f"--image={IMAGE}", tries=2, expect=1)  # a refusal is none of these


def test_a_secret_is_in_no_argument_and_no_output_and_is_stored_once():
    with stand() as s:
        assert "--hf-token-file" in s.run(expect=1)  # there is none yet
        said = s.run("--hf-token-file=-", stdin=TOKEN + "\n")
        assert s.state["secrets/HF_TOKEN"]["versions"] == [TOKEN + "\n"]
        said += s.run(f"--hf-token-file={s.path('token')}")
        assert len(s.state["secrets/HF_TOKEN"]["versions"]) == 1
        s.path("token", "hf_another\n")
        said += s.run(f"--hf-token-file={s.path('token')}") + "\n".join(s.log())
        assert len(s.state["secrets/HF_TOKEN"]["versions"]) == 2
        assert TOKEN not in said and "hf_another" not in said


def test_a_key_is_used_from_a_pinned_version_and_only_if_asked_for():
    with stand() as s:
        s.run(f"--image={IMAGE}")
        assert "--clear-secrets" in s.state["run services/pawfect-edit-inpaint"]["flags"]
        s.run(f"--image={IMAGE}", "--credentials-secret=FIREBASE_CREDENTIALS", f"--credentials-file={s.path('key', '{}')}")
        assert s.state["run services/pawfect-edit-inpaint"]["flags"]["--set-secrets"] == "FIREBASE_CREDENTIALS=FIREBASE_CREDENTIALS:1"
        assert "roles/secretmanager.secretAccessor" in s.state["policies"]["secrets/FIREBASE_CREDENTIALS"]


def test_iam_keeps_cloud_runs_check_and_lets_the_push_account_in():
    with stand() as s:
        s.run(f"--image={IMAGE}", "--auth=iam")
        flags = s.state["run services/pawfect-edit-inpaint"]["flags"]
        assert "--invoker-iam-check" in flags and flags["--set-custom-audiences"] == URL + "/inpaint" and "--no-invoker-iam-check" not in flags
        assert s.state["policies"]["run services/pawfect-edit-inpaint"] == {
            "roles/run.invoker": [f"serviceAccount:inpaint-push@{PROJECT}.iam.gserviceaccount.com"]}


def test_tiny_stands_beside_the_real_service_and_needs_no_gpu():
    with stand(**PREDECESSOR) as s:
        s.run("--tiny")
        flags = s.state["run services/inpaint-tiny"]["flags"]
        assert flags["--gpu"] == "0" and flags["--cpu"] == "2" and "STEPS=4" in flags["--set-env-vars"]
        assert any("_MODEL=demo" in line and "_BACKEND=cpu" in line and "_BASE=debian:bookworm" in line for line in s.log())
        for name, record in PREDECESSOR.items():
            assert s.state[name] == record, name


def test_weights_of_a_bucket_are_a_setting_and_a_role():
    with stand(**{"storage buckets/gs://my-weights": {"name": "w"}}) as s:
        s.run("--weights=gs://my-weights/flux")
        assert "WEIGHTS=gs://my-weights/flux" in s.state["run services/pawfect-edit-inpaint"]["flags"]["--set-env-vars"]
        assert list(s.state["policies"]["storage buckets/gs://my-weights"]) == ["roles/storage.objectViewer"]
        assert "secrets/HF_TOKEN" not in s.state


def test_instances_that_stay_and_the_longest_pause_can_be_chosen_and_stay_chosen():
    with stand() as s:
        options = (f"--hf-token-file={s.path('token')}", "--max-instances=3", "--min-instances=1", "--max-retry-delay=120")
        s.run(*options)
        flags = s.state["run services/pawfect-edit-inpaint"]["flags"]
        assert (flags["--min-instances"], flags["--max-instances"]) == ("1", "3")
        assert s.state["pubsub subscriptions/session-processing-push"]["retryPolicy"] == {"minimumBackoff": "10s", "maximumBackoff": "120s"}
        said = s.run(*options)
        assert s.changes() == [] and "0 changes" in said, s.changes()


def test_destroy_prints_what_was_made_and_runs_nothing():
    with stand() as s:
        said = s.run("--tiny", "--destroy")
        assert "topics delete inpaint-tiny-dead inpaint-tiny --project" in said and "services delete inpaint-tiny " in said, said
        assert "service-accounts delete" not in said, "the real service has them, too"
        assert "delete mine-dead --project" in s.run("--tiny", "--topic=mine", "--destroy"), "a topic of the app stays"
        said = s.run("--destroy")
        assert "topics delete session-processing-dead --project" in said and "service-accounts delete inpaint-worker@" in said, said
        assert s.log() == []


def test_options_that_cannot_be_right_are_refused_before_anything_is_asked():
    with stand() as s:
        for options, words in ((["--job-deadline=300"], "--timeout"), (["--timeout=600"], "--ack-deadline"), (["--ack-deadline=601"], "600 s at most"),
                               (["--lease=285"], "--job-deadline + 10"), (["--lease=600"], "next delivery"), (["--startup-seconds=245"], "tens"),
                               (["--weights=image:Q3"], "image:Q8_0"), (["--region=moon"], "us-east4"), (["--auth=none"], "oidc, iam"),
                               (["--hf-token-file=/nowhere"], "cannot be read"), (["--max-instances=0"], "whole number"), (["--bogus=1"], "no option"),
                               (["--min-instances=2"], "at most --max-instances"), (["--max-retry-delay=601"], "10 to 600"),
                               (["--max-retry-delay=9"], "10 to 600"),
                               (["--service=" + "a" * 49], "small letters, digits"), (["extra"], "no option"), (["--env=STEPS"], "NAME=VALUE")):
            assert words in s.run(*options, expect=2), options
        assert s.log() == []


def test_a_dry_run_asks_nobody_and_needs_no_gcloud():
    with stand() as s:
        said = s.run("--dry-run", f"--hf-token-file={s.path('token')}")
        assert s.log() == [] and TOKEN not in said and "\ngcloud run deploy " in said
        tools = s.path("tools")
        os.mkdir(tools)
        for tool in ("bash", "sed", "git", "mktemp", "rm", "cat", "dirname", "readlink", "sha256sum", "cut", "grep", "env", "head", "tail", "find", "sort",
                     "xargs"):
            real = next(os.path.join(p, tool) for p in os.environ["PATH"].split(os.pathsep) if os.path.exists(os.path.join(p, tool)))
            os.symlink(real, os.path.join(tools, tool))
        got = subprocess.run([SCRIPT, f"--project={PROJECT}", "--dry-run", "--weights=image:none"], env={"PATH": tools}, capture_output=True, text=True,
                             timeout=60, check=False)
        assert got.returncode == 0, got.stderr
        # What it prints is a shell's text, and run by a shell it makes the same project.
        with stand() as other:
            pasted = subprocess.run(["bash", "-c", got.stdout], env=other.env,
                                    capture_output=True, text=True, timeout=60, check=False)
            assert pasted.returncode == 0, pasted.stderr
            other.run("--weights=image:none")
            assert other.changes() == [], other.changes()


def test_a_dry_run_can_be_pasted_whatever_a_setting_holds():
    with stand() as s:
        said = s.run("--dry-run", f"--image={IMAGE}", "--env=A=$(touch pasted) \"`id`\" \\\\ it's  --two --flags")
        pasted = subprocess.run(["bash", "-c", said], env=s.env, cwd=s.folder, capture_output=True, text=True, timeout=60, check=False)
        assert pasted.returncode == 0, pasted.stderr
        env = s.state["run services/pawfect-edit-inpaint"]["flags"]["--set-env-vars"]
        assert env.endswith("|A=$(touch pasted) \"`id`\" \\\\ it's  --two --flags") and f"|PUSH_AUDIENCE={URL}/inpaint|" in env, env
        assert not os.path.exists(s.path("pasted"))


def test_names_from_outside_cannot_become_other_flags_or_settings():
    with stand() as s:
        for option in ("--bucket=gs://mine", "--bucket=a,STEPS=1", "--bucket=two words", "--database=a,b", "--credentials-secret=a:1,B=c", "--image=two words",
                       "--project=example.com:mine", "--topic=" + "t" * 246):
            assert "allowed: " in s.run(option, expect=2), option
        assert "--credentials-secret" in s.run("--env=FIREBASE_CREDENTIALS={}", expect=2) and "of its own" in s.run("--env=QUEUE_DEPTH=2", expect=2)
        assert "one of them must be a file" in s.run("--hf-token-file=-", "--credentials-file=-", "--credentials-secret=C", expect=2, stdin="x")
        assert s.log() == []
        s.run(f"--image={IMAGE}", "--queue-depth=08", "--env=LORAS=a:0.9,b")
        flags = s.state["run services/pawfect-edit-inpaint"]["flags"]
        assert flags["--concurrency"] == "9" and flags["--set-env-vars"].startswith("^|^") and "|LORAS=a:0.9,b" in flags["--set-env-vars"]


def test_a_first_deployment_that_failed_is_repeated_with_traffic():
    service = {"metadata": {"labels": {}}, "revisions": 1, "spec": {"traffic": [{"latestRevision": True, "percent": 100}]},
               "status": {"latestCreatedRevisionName": "pawfect-edit-inpaint-00001-abc", "latestReadyRevisionName": None}}
    with stand(**{"run services/pawfect-edit-inpaint": service}) as s:
        s.run(f"--image={IMAGE}")
        assert s.state["run services/pawfect-edit-inpaint"]["status"]["latestReadyRevisionName"] == "pawfect-edit-inpaint-00002-abc"


def test_the_way_back_is_to_the_revisions_that_had_the_traffic():
    state = json.loads(json.dumps(PREDECESSOR))
    state["run services/pawfect-edit-inpaint"]["spec"]["traffic"] = [{"revisionName": "good", "percent": 90}, {"revisionName": "better", "percent": 10},
                                                                     {"revisionName": "pawfect-edit-inpaint-00041-old", "tag": "candidate"}]
    with stand(**state) as s:
        assert "--to-revisions=good=90,better=10" in s.run(f"--image={IMAGE}")


def test_a_build_that_fails_is_not_repeated_whatever_its_log_says():
    with stand() as s:
        s.path("fail", "builds submit\tcache manifest: not found\n")
        s.run(f"--hf-token-file={s.path('token')}", tries=3, expect=1)
        assert sum("builds submit" in line for line in s.log()) == 1


def test_github_is_told_which_weights_and_no_other_repository_is_cut_off():
    with stand() as s:
        assert "--hf-token-file" in s.run(f"--image={IMAGE}", "--github=me/worker", expect=1)  # its builds fetch weights
        said = s.run(f"--image={IMAGE}", "--github=me/worker", "--weights=image:Q6_K", f"--hf-token-file={s.path('token')}")
        assert "DEPLOY_SUBSTITUTIONS=_MODEL=Q6_K,_TEXT=t5,_BACKEND=cuda" in said and f"projects/{NUMBER}/locations" in said, said
        said = s.run(f"--image={IMAGE}", "--github=me/another", "--weights=image:none", expect=1)
        assert "assertion.repository=='me/worker'" in said and "update-oidc github" in said and "me/another" in said, said


def test_the_version_is_that_of_make_and_the_tag_names_what_no_commit_does():
    def build(folder, **env):
        got = subprocess.run([os.path.join(folder, "scripts", "deploy.sh"), f"--project={PROJECT}", "--dry-run", "--weights=image:none"],
                             env={**os.environ, **env}, capture_output=True, text=True, check=True).stdout
        return dict(pair.split("=", 1) for pair in re.search(r"--substitutions=(\S+)", got).group(1).split(","))
    assert build(ROOT, VERSION="v7.8.9-2")["_VERSION"] == "7.8.9-2"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(os.path.join(ROOT, "scripts"), os.path.join(folder, "scripts"), ignore=shutil.ignore_patterns("__pycache__", "demo_model"))
        for name in ("Dockerfile", "Makefile", "kernels/k", "models/m", "worker/w"):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                f.write("version:\n\t@echo 1.2.3\n")
        first = build(folder, GIT_CEILING_DIRECTORIES=os.path.dirname(folder))
        assert first["_VERSION"] == "1.2.3" and re.fullmatch("unknown-none-t5-[0-9a-f]{8}", first["_TAG"]), first
        with open(os.path.join(folder, "worker", "w"), "w", encoding="ascii") as f:
            f.write("changed")
        assert build(folder, GIT_CEILING_DIRECTORIES=os.path.dirname(folder))["_TAG"] != first["_TAG"]


def test_keys_and_weights_that_the_documents_put_here_do_not_travel_to_cloud_build():
    if not shutil.which("gcloud"):
        raise Skip("gcloud is not installed")
    with tempfile.TemporaryDirectory() as folder:
        for name in (".gitignore", ".gcloudignore"):
            shutil.copy(os.path.join(ROOT, name), folder)
        ours, theirs = ("Makefile", "worker/main.c", "models/demo/prompts.safetensors"), (
            "TOKEN", "token", "key.json", "gha-creds-0123.json", "before.yaml", "flux/ae.safetensors", "build/x", ".git/x")
        for name in (*ours, *theirs):
            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
            with open(os.path.join(folder, name), "w", encoding="ascii") as f:
                f.write("x")
        got = subprocess.run(["gcloud", "meta", "list-files-for-upload", folder], capture_output=True, text=True, check=True,
                             env={**os.environ, "CLOUDSDK_CONFIG": os.path.join(folder, "build")}).stdout.split()
        assert sorted(got) == sorted((*ours, ".gitignore", ".gcloudignore")), got
        subprocess.run(["git", "init", "-q", folder], check=True)
        kept = subprocess.run(["git", "-C", folder, "ls-files", "-o", "--exclude-standard"], capture_output=True, text=True, check=True).stdout.split()
        assert sorted(kept) == sorted((*ours, ".gitignore", ".gcloudignore")), kept


DOCKER = """#!/bin/bash
echo "docker $*" >> "$STAND_IN/log"
[ "$1" != run ] || exit "$CONFORM"
"""


def steps_of_the_pipeline():
    """-> [(id, script)] of cloudbuild.yaml"""
    with open(os.path.join(ROOT, "cloudbuild.yaml"), encoding="utf-8") as f:
        found = re.findall(r"^  - id: (\w+)\n(?:    .*\n)*?    script: \|\n((?:      .*\n|\n)+)", f.read(), re.MULTILINE)
    return [(name, re.sub(r"^ {6}", "", script, flags=re.MULTILINE)) for name, script in found]


def run_pipeline(s, conform=0, **substitutions):
    """Runs the steps as Cloud Build would, until one fails; -> the id of that one, or None."""
    service = "pawfect-edit-inpaint"
    values = {"PROJECT_ID": PROJECT, "PROJECT_NUMBER": NUMBER, "BUILD_ID": "0a1b2c3d-4e5f", "_DEPLOY": "yes", "_REGION": "us-east4", "_SERVICE": service,
              "_IMAGE": "us-docker.pkg.dev/p/r/inpaint-worker", "_TAG": "new", "_CANDIDATE": "candidate", "_AUDIENCE": URL + "/inpaint", "_MODEL": "Q8_0",
              "_PUSH_ACCOUNT": f"inpaint-push@{PROJECT}.iam.gserviceaccount.com", "_TEXT": "t5", "_BACKEND": "cuda", "_TOKEN_SECRET": "HF_TOKEN",
              **{name: "" for name in ("_BASE", "_RUNTIME", "_COMMIT", "_VERSION", "_BUCKET", "_CREDENTIALS_SECRET", "_SUBSCRIPTION", "_CONFORM_USER", "_CONFORM_SESSION")},
              **substitutions}
    os.chmod(s.path("bin/docker", DOCKER), 0o755)
    env = {**s.env, **values, "CONFORM": str(conform)}
    s.path("log", "")
    for folder in ("build", "workspace"):
        os.makedirs(s.path(folder), exist_ok=True)
    for name, script in steps_of_the_pipeline():
        script = re.sub(r"/(build|workspace)/", lambda m: s.path(m.group(1)) + "/", script)
        got = subprocess.run(["bash", "-c", script], env=env, cwd=s.folder, capture_output=True, text=True, check=False)
        if got.returncode:
            return f"{name}: {got.stderr}"
    return None


def test_the_pipeline_gives_traffic_to_what_has_conformed():
    with stand() as s:
        s.run(f"--hf-token-file={s.path('token')}")
        assert run_pipeline(s) is None
        log = "\n".join(s.log())
        order = [log.index(part) for part in ("versions access", "--cache-to", "--target test", "--push", "run deploy", "print-identity-token",
                                              "docker run", "update-traffic")]
        assert order == sorted(order), log
        assert "conform https://candidate---pawfect-edit-inpaint-x.a.run.app --token-file /push_token" in log, log
        assert "--no-traffic" in log and "MODEL=none --tag conform" in log and TOKEN not in log
        service = s.state["run services/pawfect-edit-inpaint"]
        assert service["spec"]["traffic"] == [{"revisionName": "pawfect-edit-inpaint-b-0a1b2c3d", "percent": 100}]
        assert service["flags"]["--concurrency"] == "9"  # the service's own settings stay
        token = open(s.path("workspace/push_token"), encoding="utf-8").read()
        assert token == f"token of inpaint-push@{PROJECT}.iam.gserviceaccount.com for {URL}/inpaint\n"


def test_the_pipeline_leaves_the_traffic_alone_when_conform_fails():
    with stand() as s:
        s.run(f"--hf-token-file={s.path('token')}")
        assert run_pipeline(s, conform=1).startswith("conform:")
        traffic = s.state["run services/pawfect-edit-inpaint"]["spec"]["traffic"]
        assert [t for t in traffic if t.get("percent")] == [{"revisionName": "pawfect-edit-inpaint-00001-abc", "percent": 100}], traffic


def test_the_pipeline_of_deploy_sh_ends_with_the_push():
    with stand() as s:
        assert run_pipeline(s, _DEPLOY="no", _MODEL="demo", _BACKEND="cpu", _BASE="debian:bookworm", _RUNTIME="debian:bookworm-slim") is None
        log = s.log()
        assert "--push" in log[-1] and not any("run deploy" in line or "versions access" in line for line in log), log
        assert all("BASE=debian:bookworm " in line + " " and "BACKEND=cpu" in line for line in log if "buildx build" in line), log


def test_the_scripts_of_the_pipeline_pass_shellcheck():
    if not shutil.which("shellcheck"):
        raise Skip("shellcheck is not installed")
    steps = steps_of_the_pipeline()
    assert [name for name, _ in steps] == ["token", "build", "test", "push", "deploy", "conform", "traffic"]
    for name, script in steps:  # what another step or Cloud Build sets is not known to it
        got = subprocess.run(["shellcheck", "--exclude=SC1091,SC2154", "-"], input=script, capture_output=True, text=True, check=False)
        assert got.returncode == 0, f"{name}: {got.stdout}"


def test_the_roles_of_the_document_are_those_that_are_granted():
    with open(os.path.join(ROOT, "scripts", "deploy", "roles.sh"), encoding="utf-8") as f:
        rows = re.findall(r'^    "[^|"]+\|([^|"]+)\|([^|"]+)\|([^|"]+)\|([^|"]+)"$', f.read(), re.MULTILINE)
    with open(os.path.join(ROOT, "docs", "DEPLOY.md"), encoding="utf-8") as f:
        told = re.findall(r"^\| (runtime|push|build|agent|github) \| `(roles/[^`]+)` \| ([^|]+) \| ([^|]+) \|$", f.read(), re.MULTILINE)
    assert len(rows) > 15 and sorted((m, r, on, why) for m, on, r, why in rows) == sorted(told), set((m, r, on, why) for m, on, r, why in rows) ^ set(told)


if __name__ == "__main__":
    if "--help" in sys.argv[1:]:
        sys.exit(print(__doc__))
    sys.exit(run_suites(sys.argv[1:], Suite(tests_of(sys.modules[__name__]), at_once=os.cpu_count())))  # each has a project of its own
