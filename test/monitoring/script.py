"""scripts/deploy/monitoring.sh with a stand-in for gcloud that keeps what it was told."""
import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

from files import FOLDER, alerts, complaints
from filters import metrics
from harness import ROOT, Skip, equal

sys.path.append(os.path.join(ROOT, "scripts", "deploy"))
import gcloud_commands

SCRIPT = os.path.join(ROOT, "scripts", "deploy", "monitoring.sh")
# A project of one folder: channels, metrics, policies and dashboards, a line for each that a create makes.
STAND_IN = r"""#!/bin/bash
echo "$*" >> "$STATE/calls"
calls=$(wc -l < "$STATE/calls")
if [ "$calls" = "${FAIL_AT:-}" ]; then echo "ERROR: (gcloud) PERMISSION_DENIED" >&2; exit 1; fi
file() { sed -n 's/.*-from-file=\([^ ]*\).*/\1/p' <<< "$*"; }
top() { sed -n 's/^  "'"$1"'": "\(.*\)",\{0,1\}$/\1/p' "$2" | head -n 1; }
kind=$(sed -n 's/.*\(channels\|metrics\|policies\|dashboards\) \(list\|create\|update\).*/\1/p' <<< "$*")
case "$*" in
*" list "*) cat "$STATE/$kind" 2> /dev/null || true ;;
*channels\ create*) echo "projects/p/notificationChannels/7"; printf 'projects/p/notificationChannels/7\t%s\n' "$(sed 's/.*email_address=\([^ ]*\).*/\1/' <<< "$*")" > "$STATE/channels" ;;
*metrics\ create*) top name "$(file "$@")" >> "$STATE/metrics" ;;
*policies\ create*)
    if [ -e "$STATE/unknown" ]; then rm "$STATE/unknown"; echo "ERROR: INVALID_ARGUMENT: Cannot find metric that matches type" >&2; exit 1; fi
    f=$(file "$@"); printf 'projects/p/alertPolicies/%s\t%s\t%s\tprojects/p/notificationChannels/by-hand\n' "$calls" "$(top displayName "$f")" \
        "$(sed -n 's/^    "service": "\(.*\)"/\1/p' "$f")" >> "$STATE/policies" ;;
*dashboards\ create*) printf 'projects/1/dashboards/d\t%s\tetag-1\n' "$(top displayName "$(file "$@")")" >> "$STATE/dashboards" ;;
*dashboards\ update*) grep -q '"etag": "etag-1"' "$(file "$@")" || { echo "ERROR: the etag is missing" >&2; exit 1; } ;;
esac
"""


class Project:
    """An empty project, as the stand-in keeps it."""

    def __init__(self, folder):
        self.folder = folder
        self.out = f"{folder}/out"
        os.mkdir(f"{folder}/bin")
        with open(f"{folder}/bin/gcloud", "w", encoding="ascii") as f:
            f.write(STAND_IN)
        os.chmod(f"{folder}/bin/gcloud", 0o755)

    def run(self, *args, **env):
        env = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "STATE": self.folder, "MONITORING_RETRY_SECONDS": "0", **env}
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{self.folder}/calls")
        return subprocess.run([SCRIPT, "--project", "my-project", "--out", self.out, *args], env=env, capture_output=True, text=True,
                              check=False)

    def calls(self):
        with contextlib.suppress(FileNotFoundError), open(f"{self.folder}/calls", encoding="utf-8") as f:
            return f.read().splitlines()
        return []

    def known(self, kind):
        with contextlib.suppress(FileNotFoundError), open(f"{self.folder}/{kind}", encoding="utf-8") as f:
            return f.read().splitlines()
        return []

    def verbs(self):
        return [re.search(r"(channels|metrics|policies|dashboards) (create|update)", c).group(0) for c in self.calls() if " list " not in c]


@contextlib.contextmanager
def project():
    with tempfile.TemporaryDirectory() as folder:
        yield Project(folder)


def expected(verb, first=()):
    return [*first, *[f"metrics {verb}"] * len(metrics()), *[f"policies {verb}"] * len(alerts()), f"dashboards {verb}"]


def test_a_first_run_creates_everything_and_a_second_updates_it():
    with project() as p:
        done = p.run("--email", "on-call@example.com")
        equal(done.returncode, 0, done.stderr)
        equal(p.verbs(), expected("create", ["channels create"]))
        equal(sum("--notification-channels=projects/p/notificationChannels/7" in c for c in p.calls()), len(alerts()))
        done = p.run("--email", "on-call@example.com")
        equal(done.returncode, 0, done.stderr)
        equal(p.verbs(), expected("update"))
        both = "--set-notification-channels=projects/p/notificationChannels/by-hand,projects/p/notificationChannels/7"
        equal(sum(both in c for c in p.calls()), len(alerts()), "channels that somebody added stay")


def test_a_second_service_of_a_project_has_alerts_of_its_own():
    with project() as p:
        equal(p.run().returncode, 0)
        other = ("--service", "other-service", "--prefix", "other_")
        equal((p.run(*other).returncode, p.verbs()), (0, expected("create")))
        equal((p.run(*other).returncode, p.verbs()), (0, expected("update")))
        equal((p.run().returncode, p.verbs()), (0, expected("update")))
        numbers = re.findall(r"policies update projects/p/alertPolicies/(\S+)", "\n".join(p.calls()))
        equal(len(set(numbers)), len(alerts()), "each alert is itself again")


def kinds(calls):
    """-> the number of each call that is another kind than the one before or after it: first and last of each kind."""
    kind = [re.search(r"(channels|metrics|policies|dashboards) \w+", c).group(0) for c in calls]
    return [n for n in range(1, len(kind) + 1) if n in (1, len(kind)) or len({kind[n - 2], kind[n - 1], kind[n]}) > 1]


def test_a_run_that_fails_at_any_step_says_so_and_the_next_goes_on():
    with project() as p:
        equal(p.run("--email", "a@example.com").returncode, 0)
        steps = kinds(p.calls())
    assert len(steps) >= 10, steps
    for step in steps:
        with project() as p:
            done = p.run("--email", "a@example.com", FAIL_AT=str(step))
            equal(done.returncode, 1, f"step {step}")
            assert "failed" in done.stderr and "PERMISSION_DENIED" in done.stderr, done.stderr
            equal(len(p.calls()), step, "nothing is tried after a failure")
            done = p.run("--email", "a@example.com")
            equal(done.returncode, 0, done.stderr)
            equal([len(p.known(kind)) for kind in ("channels", "metrics", "policies", "dashboards")],
                  [1, len(metrics()), len(alerts()), 1], f"after step {step}: everything is there once")


def test_an_alert_waits_for_a_metric_that_is_not_known_yet():
    with project() as p:
        open(f"{p.folder}/unknown", "w", encoding="ascii").close()
        done = p.run()
        equal(done.returncode, 0, done.stderr)
        equal(p.verbs().count("policies create"), len(alerts()) + 1)
        assert "is not known to Cloud Monitoring yet" in done.stdout


def test_a_dry_run_prints_each_command_and_runs_none():
    with project() as p:
        done = p.run("--dry-run", "--email", "a@example.com")
        equal((done.returncode, p.calls()), (0, []), done.stderr)
        equal(sum(line.startswith("gcloud ") for line in done.stdout.splitlines()), len(expected("create", ["channel"])))


def test_names_are_filled_in_everywhere():
    with project() as p:
        done = p.run("--dry-run", "--service", "other-service", "--subscription", "other-push", "--dead-subscription", "other-dead",
                     "--prefix", "other_", "--daily-instance-seconds", "4711")
        equal(done.returncode, 0, done.stderr)
        files = [os.path.join(at, name) for at, _, names in os.walk(p.out) for name in names if name.endswith(".json")]
        equal(len(files), len(metrics()) + len(alerts()) + 1)
        text = ""
        for path in files:
            with open(path, encoding="utf-8") as f:
                text += f.read()
        for old in ("pawfect", "session-processing", "user/inpaint_", '"name": "inpaint_', "21600"):
            assert old not in text, old
        for new in ("other-service", "other-push", "other-dead", "user/other_pushes", '"name": "other_pushes"', "4711"):
            assert new in text, new
        equal(complaints(files), [])


def test_without_options_the_files_are_as_they_are_in_the_repository():
    with project() as p:
        equal(p.run("--dry-run").returncode, 0)
        equal(subprocess.run(["diff", "-r", FOLDER, p.out], capture_output=True, text=True, check=False).stdout, "")


def test_wrong_options_are_refused_with_what_is_allowed():
    for args, word in ((["--service", "Big"], "service"), (["--email", "nobody"], "e-mail"), (["--speed", "9"], "--help"),
                       (["--daily-instance-seconds", "-1"], "whole number"), (["--prefix", "a|b"], "a-z"), (["--email"], "value"),
                       (["--subscription", "a b"], "subscription")):
        with project() as p:
            done = p.run(*args)
            equal((done.returncode, p.calls()), (2, []), str(args))
            assert word in done.stderr, done.stderr
    equal(subprocess.run([SCRIPT], capture_output=True, check=False).returncode, 2, "the project is required")
    equal(subprocess.run([SCRIPT, "--help"], capture_output=True, check=False).returncode, 0)


# ---- gcloud's own parser ----

def lint(found):
    """{command: where it stands} -> what gcloud's parser says against them"""
    if not shutil.which("gcloud"):
        why = "gcloud is not installed (google-cloud-cli), so no command was parsed"
        if os.environ.get("CI"):
            raise AssertionError(why)
        raise Skip(why)
    return list(gcloud_commands.check(found))


def test_gclouds_parser_takes_every_command_of_the_script():
    with project() as p:
        commands = [c.strip() for c in p.run("--dry-run", "--email", "a@example.com").stdout.splitlines() if c.startswith("gcloud ")]
        p.run("--email", "a@example.com")
        first = p.calls()
        p.run("--email", "a@example.com")
        commands += [shlex.join(["gcloud", *c.replace("inpaint: ", "inpaint-").split(" ")]) for c in first + p.calls()]
    equal(lint(dict.fromkeys(commands, "monitoring.sh")), [])


def test_gclouds_parser_takes_every_command_of_the_documents():
    found = gcloud_commands.collect((d, gcloud_commands.blocks_of(d)) for d in ("docs/OPERATIONS.md", "docs/COST.md"))
    assert len(found) > 20, found
    equal(lint(found), [])


def test_gclouds_parser_finds_a_flag_that_there_is_not():
    equal(len(lint({"gcloud logging metrics create x --config-file=y": "here"})), 1)
