#!/usr/bin/env python3
"""check_harness.py PROGRAM - what the two harnesses report for tests that crash, hang, are skipped or do not exist.

PROGRAM is built from stand_in.c and test/support/check.c. The harness of the integration tests runs stand-ins, too.
Takes seconds.
"""
import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test/integration"))
from harness import Skip, Suite, run_suites, tests_of

PROGRAM = None
OURS = ("CI", "DEVICE", "CHECK_TIMEOUT_S", "CHECK_TESTS_PER_CHILD", "GOLDEN_DIR")


class Run:
    def __init__(self, *filters, **settings):
        env = {name: value for name, value in os.environ.items() if name not in OURS}
        env.update({name: str(value) for name, value in settings.items()})
        begin = time.monotonic()
        run = subprocess.run([PROGRAM, *filters], env=env, capture_output=True, text=True, cwd=ROOT, timeout=60)
        self.seconds = time.monotonic() - begin
        self.status, self.out, self.all = run.returncode, run.stdout, run.stdout + run.stderr
        lines = self.out.splitlines()
        self.last = lines[-1] if lines else ""

    def line(self, test):
        return next(line for line in self.out.splitlines() if re.match(rf"\S+ +{test} \(", line))


def sanitized():
    return "/asan/" in PROGRAM


def says(run, status, total):
    assert (run.status != 0) == (status != 0) and run.last.startswith(total), run.all


# ---- test/support/check.c ----

def test_each_test_has_a_process_of_its_own():
    says(Run("pass__"), 0, "2 passed, 0 failed, 0 skipped")
    run = Run("pass__", CHECK_TESTS_PER_CHILD=2)
    says(run, 1, "1 passed, 1 failed, 0 skipped")
    assert "++n_begun = 2, want 1" in run.line("pass__another_that_must_not_see_the_first"), run.all
    says(Run("pass__", CHECK_TESTS_PER_CHILD=0), 1, "1 passed, 1 failed, 0 skipped")


def test_a_failed_check_is_named():
    run = Run("fail__")
    says(run, 1, "0 passed, 1 failed, 0 skipped")
    assert re.search(r"test/harness/stand_in\.c:\d+: 1 \+ 1 = 2, want 3", run.line("fail__at_a_check")), run.all


def test_a_crash_costs_one_test():
    run = Run("crash__", "pass__")
    says(run, 1, "2 passed, 4 failed, 0 skipped")
    wanted = "with status 1 in the test" if sanitized() else "killed by signal 11 (Segmentation fault) in the test"
    assert wanted in run.line("crash__by_an_address"), run.all
    assert "killed by signal 6 (Aborted) in the test" in run.line("crash__by_abort"), run.all
    assert "ended with status 0 in the test" in run.line("crash__by_exit"), run.all
    assert "killed by signal 6 (Aborted) when it left" in run.line("crash__when_it_leaves"), run.all


def test_a_crash_costs_one_test_where_all_share_a_process():
    run = Run("crash__by", "fail__", "pass__one", DEVICE="there")
    says(run, 1, "1 passed, 4 failed, 0 skipped")
    assert "killed by signal 6" in run.line("crash__by_abort"), run.all


def test_a_crash_after_the_result_costs_the_test():
    run = Run("late__", "pass__", CHECK_TIMEOUT_S=10)
    says(run, 1, "2 passed, 1 failed, 0 skipped")
    assert "killed by signal 6 (Aborted) when it left" in run.line("late__crash_after_it_has_passed"), run.all
    assert run.seconds < 5, run.seconds


def test_a_test_that_ends_the_only_process_fails():
    run = Run("crash__by_exit", "pass__one", CHECK_TESTS_PER_CHILD=0)
    assert run.status == 1 and "a test has ended the process" in run.all, run.all


def test_a_process_that_a_test_forks_does_not_answer_for_it():
    run = Run("fork__")
    says(run, 1, "0 passed, 1 failed, 0 skipped")
    assert "1 + 1 = 2, want 3" in run.line("fork__only_the_other_process_passes"), run.all
    assert "a process that the test forked has left the test" in run.all, run.all


def test_a_hang_costs_one_test():
    run = Run("hang__", "pass__", CHECK_TIMEOUT_S=1)
    says(run, 1, "2 passed, 2 failed, 0 skipped")
    assert "killed after the time limit of 1 s (CHECK_TIMEOUT_S)" in run.line("hang__in_the_test"), run.all
    assert "time limit of 1 s when it left" in run.line("hang__when_it_leaves"), run.all
    assert run.seconds < 10, run.seconds


def test_processes_that_a_test_leaves_are_ended():
    run = Run("stray__")
    says(run, 1, "1 passed, 1 failed, 0 skipped")
    assert run.seconds < 10, run.seconds
    pid = int(re.search(r"^stray (\d+)$", run.out, re.MULTILINE).group(1))
    stat = pathlib.Path(f"/proc/{pid}/stat")
    for _ in range(50):
        if not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} is alive")


def test_a_leak_fails_the_test_that_has_it():
    run = Run("leak__", "pass__")
    if not sanitized():  # this build has no leak checker
        says(run, 0, "3 passed, 0 failed, 0 skipped")
        return
    says(run, 1, "2 passed, 1 failed, 0 skipped")
    assert "ended with status" in run.line("leak__is_found_when_it_leaves") and "LeakSanitizer" in run.all, run.all


def test_skips_are_counted_by_reason():
    run = Run("skip__", "pass__")
    says(run, 0, "2 passed, 0 failed, 3 skipped")
    assert "\nskipped 2: no such device\nskipped 1: it rains\n" in run.out, run.all


def test_a_run_that_skips_everything_fails():
    run = Run("skip__")
    says(run, 1, "0 passed, 0 failed, 3 skipped")
    assert "nothing was tested: every test was skipped" in run.out, run.all


def test_a_run_that_matches_nothing_fails():
    run = Run("no_such_test")
    says(run, 1, "0 passed, 0 failed, 0 skipped")
    assert "nothing was tested: no test has such a part in its name" in run.out, run.all


def test_without_a_device_everything_is_skipped():
    run = Run("pass__", DEVICE="none")
    says(run, 1, "0 passed, 0 failed, 2 skipped in ")
    assert "\nskipped 2: no device\n" in run.out, run.all


def test_a_device_that_cannot_be_opened_ends_the_run():
    run = Run("pass__", DEVICE="broken")
    says(run, 1, "0 passed, 0 failed, 0 skipped in ")
    assert "\nstopped: the device is lost\n" in run.out, run.all


def test_a_device_that_vanishes_during_the_run_fails():
    run = Run("pass__", DEVICE="vanishing")
    says(run, 1, "1 passed, 0 failed, 0 skipped in ")
    assert "\nstopped: no device any more\n" in run.out, run.all


def test_a_device_that_a_test_loses_is_opened_again():
    run = Run("device__", DEVICE="there")
    says(run, 1, "2 passed, 0 failed, 0 skipped in ")
    assert "\nstopped: the device is lost; a new process goes on\n" in run.out, run.all


def test_golden_sets_of_the_repository_are_required_by_ci():
    says(Run("golden__", "pass__"), 0, "2 passed, 0 failed, 2 skipped")
    run = Run("golden__", "pass__", CI="true")
    says(run, 1, "2 passed, 1 failed, 1 skipped")
    assert "test/golden/small/no-such-file is part of the repository" in run.line("golden__set_of_the_repository"), run.all
    assert '\nskipped 1: no golden set "no-such-set" (GOLDEN_DIR)\n' in run.out, run.all


# ---- test/integration/harness.py ----

def good():
    pass


def bad():
    raise ValueError("bad")


def leaves():
    sys.exit(0)


def not_here():
    raise Skip("there is no moon")


@contextlib.contextmanager
def missing():
    raise Skip("there is no sun")
    yield


@contextlib.contextmanager
def ends_badly():
    yield
    raise AssertionError("it did not end")


def joined(parts, *suites):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = run_suites(parts, *suites)
    return status, out.getvalue().splitlines()


GOOD = Suite([("good", good), ("good_too", good)], at_once=2)
MISSING = Suite([("needs_sun", good), ("needs_sun_too", good)], missing)


def test_suites_have_one_total():
    status, lines = joined([], MISSING, GOOD, Suite([("no_moon", not_here)]))
    assert status == 0 and lines[-3:] == ["skipped 2: there is no sun", "skipped 1: there is no moon",
                                          "2 passed, 0 failed, 3 skipped"], lines


def test_a_failure_in_any_suite_fails():
    status, lines = joined([], GOOD, Suite([("bad", bad)]))
    assert status == 1 and lines[-1] == "2 passed, 1 failed, 0 skipped", lines
    status, lines = joined([], Suite([("leaves", leaves)]), GOOD)
    assert status == 1 and lines[-1] == "2 passed, 1 failed, 0 skipped", lines
    status, lines = joined([], Suite([("good", good)], ends_badly))
    assert status == 1 and lines[-1] == "1 passed, 1 failed, 0 skipped", lines


def test_a_part_of_a_name_counts_in_all_suites():
    status, lines = joined(["too"], MISSING, GOOD)
    assert status == 0 and lines[-1] == "1 passed, 0 failed, 1 skipped", lines
    status, lines = joined(["nothing like it"], MISSING, GOOD)
    assert status == 1 and "no test has such a part in its name" in lines[-2], lines


def test_the_name_of_a_file_stands_for_its_tests():
    here = Suite([("good", good)])
    assert [name for name, _ in here.matching([good.__module__])] == ["good"]
    assert here.matching(["other_file"]) == []


def test_suites_that_skip_everything_fail():
    status, lines = joined([], MISSING)
    assert status == 1 and lines[-2:] == ["nothing was tested: every test was skipped", "0 passed, 0 failed, 2 skipped"], lines


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    sys.exit(run_suites(sys.argv[2:], Suite(tests_of(sys.modules[__name__]))))
