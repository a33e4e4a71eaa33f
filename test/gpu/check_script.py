#!/usr/bin/env python3
"""Tests scripts/gpu_check.sh with stand-ins for make, nvidia-smi, compute-sanitizer and the two programs: its report, and
that a stage which fails, hangs or dies does not keep the next from running. Takes seconds, needs no card and no nvcc."""
import atexit
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

PASSING_TESTS = 'echo "[   0.0 s] cuda__copy"; echo "ok   cuda__copy (1 ms)"; echo "12 passed, 0 failed, 0 skipped in 3 s"'
PASSING_BENCH = """
echo "card          Stand-in L4, driver 535.1, CUDA 13.0, cuBLASLt 13.0.2"
echo "step              118.4 ms    74400.0 GFLOP  628000.0 GFLOP/s  +- 0.30 ms (25 runs, 117.9 to 119.1)"
echo "encode             12.0 ms"
echo "T5                 20.0 ms"
echo "bf16 -> bf16        790.1 TOP/s"
"""


class Check:
    """A folder with stand-ins, and one run of the script among them."""

    def __init__(self, tests=PASSING_TESTS, bench=PASSING_BENCH, limit=60, make="exit 0", command="check", sanitizer=None,
                 after=None):
        self.dir = after.dir if after else pathlib.Path(tempfile.mkdtemp(prefix="gpu-check-"))
        atexit.register(shutil.rmtree, self.dir, ignore_errors=True)
        self.out = self.dir / f"out-{command}"
        self.stand_in("gpu-tests", tests)
        self.stand_in("gpu-bench", bench)
        self.stand_in("make", make)
        self.stand_in("nvidia-smi", 'case "$*" in *compute_cap*) echo 8.9;; *name*) echo "Stand-in L4";; *) echo 1;; esac')
        if sanitizer:
            self.stand_in("compute-sanitizer", sanitizer)
        begin = time.monotonic()
        env = dict(os.environ, PATH=f"{self.dir}:{os.environ['PATH']}", PROGRAMS=str(self.dir), OUT=str(self.out),
                   LIMIT_S=str(limit))
        run = subprocess.run([ROOT / "scripts/gpu_check.sh", command], env=env, capture_output=True, text=True, timeout=300)
        self.seconds = time.monotonic() - begin
        self.status = run.returncode
        self.errors = run.stderr
        table = self.out / "table.txt"
        self.table = table.read_text() if table.exists() else ""

    def stand_in(self, name, script):
        path = self.dir / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def row(self, name):
        return next(line for line in self.table.splitlines() if line.startswith(name))


def passes_when_every_stage_passes():
    c = Check()
    assert c.status == 0, c.table
    assert "everything passed" in c.table
    assert "12 passed, 0 failed, 0 skipped" in c.row("tests of networks")
    assert "build for sm_89" in c.table and "Stand-in L4" in c.table
    assert "    step              118.4 ms" in c.table, c.table
    assert len(list(c.out.iterdir())) <= 8, "more files than travel back"
    assert len(c.table.splitlines()) <= 60 and max(map(len, c.table.splitlines())) <= 200


def a_failing_test_is_named_and_the_rest_runs():
    c = Check(tests='case "$*" in *gpu_model*) echo "FAIL gpu_model__velocity (2 ms)  off by 3"; echo "1 passed, 1 failed, 0 skipped in 1 s"; '
                    f'exit 1;; *) {PASSING_TESTS};; esac')
    assert c.status == 1
    assert " FAIL " in c.row("tests of networks") and "off by 3" in c.table
    assert " ok " in c.row("tests of whole jobs") and " ok " in c.row("rates")
    assert "failed: gpu_model__velocity" in c.table and "NOT everything passed" in c.table
    more = Check(command="more", after=c, sanitizer='echo "memcheck of $*"; echo "Invalid __global__ read of size 4"; exit 9')
    assert more.status == 1 and "gpu_model__velocity: Invalid" in more.row("memcheck"), more.table


def a_program_that_ran_nothing_has_not_passed():
    c = Check(tests='echo "skipped 3: no GPU: cudaErrorNoDevice"; echo "nothing was tested: every test was skipped"; '
                    'echo "0 passed, 0 failed, 3 skipped in 1 s"; exit 1')
    assert c.status == 1 and " NONE " in c.row("tests of operations"), c.table
    assert "skipped 3: no GPU: cudaErrorNoDevice" in c.row("tests of operations")
    c = Check(tests='echo "0 passed, 0 failed, 3 skipped in 1 s"')
    assert c.status == 1 and " NONE " in c.row("tests at real sizes"), c.table
    c = Check(tests='echo "[   0.0 s] cuda__copy"')
    assert c.status == 1 and " NONE " in c.row("tests of operations"), c.table


def tests_that_were_skipped_are_counted_by_reason():
    c = Check(tests='echo "ok   cuda__copy (1 ms)"; echo "skip cuda__wide (0 ms)  no golden set"; '
                    'echo "skipped 1: no golden set"; echo "1 passed, 0 failed, 1 skipped in 1 s"')
    assert c.status == 0 and "\n    skipped 1: no golden set\n" in c.table and "    skip " not in c.table, c.table


def a_test_that_dies_is_the_one_that_failed():
    c = Check(tests='echo "[   0.0 s] cuda__attention"; kill -SEGV $$')
    assert c.status == 1 and "failed: cuda__attention" in c.table, c.table


def everything_ends_within_the_limit():
    c = Check(tests='echo "[   0.0 s] cuda__attention"; sleep 1000', bench="sleep 1000", limit=12)
    assert c.status == 1 and c.seconds < 30, (c.seconds, c.table)
    assert " TIME " in c.row("tests of operations") and " late " in c.row("tests of loading")
    assert "failed: cuda__attention" in c.table, c.table


def a_build_that_fails_says_what_and_ends():
    c = Check(make='echo "kernels/x.cu(3): error: no"; exit 2')
    assert c.status == 1 and "kernels/x.cu(3): error: no" in c.row("build for sm_89"), c.table
    assert "tests of operations" not in c.table


def no_test_of_the_tree_is_in_no_stage():
    c = Check(tests=f'echo "$*" >> "$OUT/asked"; {PASSING_TESTS}')
    asked = (c.out / "asked").read_text().split()
    sources = "".join(p.read_text() for p in (ROOT / "test/gpu").glob("*.c"))
    names = [line[5:line.index(")")] for line in sources.splitlines() if line.startswith("TEST(")]
    assert len(names) > 40
    left = [n for n in names if not any(a in n for a in asked)]
    assert not left, left


class Skip(Exception):
    pass


def without_a_card_the_real_programs_are_built_and_say_so():
    if not subprocess.run(["scripts/cuda_paths.sh"], cwd=ROOT, capture_output=True, text=True).stdout.count("CUBLASLT_LIB"):
        raise Skip("no nvcc, or no cuBLASLt (make cuda-libs)")
    if pathlib.Path("/dev/nvidiactl").exists():
        raise Skip("there is a card: run scripts/gpu_check.sh")
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as out:
        run = subprocess.run([ROOT / "scripts/gpu_check.sh"], env=dict(os.environ, OUT=out), capture_output=True, text=True)
        table = (pathlib.Path(out) / "table.txt").read_text()
    rows = {line[:24].strip(): line for line in table.splitlines()}
    assert run.returncode == 1 and "no card" in table and "NOT everything passed" in table, table
    assert " ok " in rows["build for sm_90"], table
    assert all(" NONE " in line and "no GPU" in line for name, line in rows.items() if name.startswith("tests of")), table
    assert all(" FAIL " in line and "cuda: " in line for name, line in rows.items() if name[:4] in ("step", "text", "rate")), table


def main():
    failed = skipped = 0
    tests = [f for name, f in globals().items() if callable(f) and getattr(f, "__module__", "") == "__main__"
             and name not in ("Check", "Skip", "main")]
    for test in tests:
        begin = time.monotonic()
        try:
            test()
            print(f"ok   gpu_check__{test.__name__} ({1e3 * (time.monotonic() - begin):.0f} ms)", flush=True)
        except Skip as why:
            skipped += 1
            print(f"skip gpu_check__{test.__name__}  {why}", flush=True)
        except (AssertionError, StopIteration) as error:
            failed += 1
            print(f"FAIL gpu_check__{test.__name__}  {error!r}", flush=True)
    print(f"{len(tests) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
