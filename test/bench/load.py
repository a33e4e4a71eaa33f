#!/usr/bin/env python3
"""How fast weights come into memory here, beside dd of the same file: a table for test/bench/RESULTS.md.

Each round reads the file with dd past the cache (iflag=direct), with dd after the file was dropped from the cache, through
`inpaint-worker bench load` (which drops it before each of its own ways), and with dd once more from the cache. Rounds take turns,
because a disk that others use is never twice the same. Caches below this machine's disk cannot be dropped."""
import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "build", "inpaint-worker")
ROWS, COLS = 12288, 3072  # a matrix of FLUX.1
Q8_0, BLOCK_BYTES, BLOCK_VALUES, ALIGNMENT = 8, 34, 32, 32
MATRIX_BYTES = ROWS * COLS // BLOCK_VALUES * BLOCK_BYTES
WRITE_BYTES = 16 << 20
DD_RATE = re.compile(r"(\d+) bytes .* copied, ([\d.e+-]+) s")


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def write_gguf(path, n_bytes):
    """Random matrices as Q8_0; -> the size of the file. Format: GGUF 3."""
    n = max(1, n_bytes // MATRIX_BYTES)
    head = struct.pack("<4sIQQ", b"GGUF", 3, n, 1) + text("general.architecture") + struct.pack("<I", 8) + text("flux")
    for i in range(n):
        head += text(f"matrix.{i}.weight") + struct.pack("<IQQIQ", 2, COLS, ROWS, Q8_0, i * MATRIX_BYTES)
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % ALIGNMENT))
        left = n * MATRIX_BYTES
        while left:
            left -= f.write(os.urandom(min(left, WRITE_BYTES)))
        f.flush()
        os.fsync(f.fileno())
        return f.tell()


def forget(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def dd(path, *flags):
    """-> MB/s"""
    done = subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=1M", *flags], capture_output=True, text=True, check=True,
                          env={**os.environ, "LC_ALL": "C"})
    n, seconds = DD_RATE.search(done.stderr).groups()
    return int(n) / float(seconds) / 1e6


def loads(path, backend):
    """-> {way: MB/s} as the program prints them"""
    done = subprocess.run([PROGRAM, "bench", "load", "--file", path, "--backend", backend], capture_output=True, text=True,
                          check=True, cwd=ROOT)
    return {m[1].strip(): float(m[2]) for m in re.finditer(r"(?m)^(.+?)\s{2,}.*?([\d.]+) MB/s", done.stdout)}


def processor():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        said = f.read()

    def value(name):
        return re.search(rf"(?m)^{name}\s*: (.*)$", said)[1]
    return f"{value('model name')}, family {value('cpu family')}, model {value('model')}, {os.cpu_count()} cores"


def measure(path, rounds, backend):
    table = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        row = {"dd, direct": dd(path, "iflag=direct")}
        forget(path)
        row["dd, cold"] = dd(path)
        row.update(loads(path, backend))
        dd(path)
        row["dd, warm"] = dd(path)
        table.append(row)
    return table


def main():
    p = argparse.ArgumentParser(prog="test/bench/load.py", description=__doc__)
    p.add_argument("--gb", type=float, default=2, help="size of the file that is made (default: 2)")
    p.add_argument("--file", help="read this file instead")
    p.add_argument("--dir", default=os.environ.get("TMPDIR", "/tmp"), help="where the file is made (default: $TMPDIR or /tmp)")
    p.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    p.add_argument("--backend", default="cpu", help="into which matrices are loaded (default: cpu)")
    a = p.parse_args()
    if a.gb <= 0 or a.rounds < 1:
        p.error("--gb is above 0, and --rounds at least 1")
    with tempfile.TemporaryDirectory(dir=a.dir) as folder:
        path = a.file or os.path.join(folder, "random.gguf")
        try:
            if a.file:
                open(path, "rb").close()  # says what is wrong with it
            else:
                write_gguf(path, int(a.gb * 1e9))
            table = measure(path, a.rounds, a.backend)
        except (OSError, subprocess.CalledProcessError) as e:
            print(f"load: {e}{getattr(e, 'stderr', None) or ''}", file=sys.stderr)
            return 1
        print(f"{os.path.getsize(path)} bytes; {processor()}; load average {os.getloadavg()[0]:.1f}; MB/s\n")
    print("| " + " | ".join(table[0]) + " |\n" + "| --- " * len(table[0]) + "|")
    for row in table:
        print("| " + " | ".join(f"{rate:.0f}" for rate in row.values()) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
