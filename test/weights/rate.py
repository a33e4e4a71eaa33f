#!/usr/bin/env python3
"""How fast `serve` fetches a model from Cloud Storage into memory, beside a plain download of the same file from the same server in
the same run: `rate.py [--gb N] [--rounds N] [--plain]`. Standard library, curl, nginx and openssl.

A transformer of a few MB is made longer by bytes that belong to no tensor, and put behind nginx (two processes, sendfile) as a bucket
has it. In each round, one after the other: curl writes it to /dev/null, curl writes it to a file in memory (/dev/shm), `serve`
starts with WEIGHTS=gs://... and its log says how long it took from the list of objects to the last checksum. By default over TLS,
as from Cloud Storage; --plain: over http. A table for RESULTS.md is printed.
"""
import argparse
import base64
import contextlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)
from tools.local_cloud.objects import POLYNOMIAL, crc32c
from tools.local_cloud.worker import free_port

MODEL = os.path.join(ROOT, "build", "models", "tiny")
PROGRAM = os.environ.get("PROGRAM", os.path.join(ROOT, "build", "inpaint-worker"))
BIG = "flux1-fill-tiny-Q8_0.gguf"
BLOCK_BYTES = 1 << 20
SECONDS_MAX = 600
SERVER = """
worker_processes 2; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{
    listen 127.0.0.1:{port} {tls};
    location = /storage/v1/b/bench/o {{ default_type application/json; alias {dir}/list.json; }}
    location ~ ^/storage/v1/b/bench/o/(.+)$ {{ default_type application/octet-stream; alias {dir}/$1; }}
  }}
}}
"""


# ---- the checksum of a long file

def times(a, b):
    """The product of two polynomials modulo that of CRC-32C, the highest bit being the power 0."""
    product = 0
    for power in range(31, -1, -1):
        if a >> power & 1:
            product ^= b
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product


def joined(first, second, second_bytes):
    square = 1 << 23
    while second_bytes:
        if second_bytes & 1:
            first = times(square, first)
        square, second_bytes = times(square, square), second_bytes >> 1
    return first ^ second


def number(crc):
    return int.from_bytes(base64.b64decode(crc), "big")


def text(crc):
    return base64.b64encode(crc.to_bytes(4, "big")).decode()


# ---- the bucket

def make_bucket(folder, gb):
    """The files of the tiny model, one of them long, and the list of them as Cloud Storage gives it. -> bytes of the long one"""
    items, block = [], os.urandom(BLOCK_BYTES)
    for at, _, names in os.walk(MODEL):
        for name in names:
            path = os.path.relpath(os.path.join(at, name), MODEL)
            target = os.path.join(folder, "m", path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(os.path.join(at, name), target)
            with open(target, "rb") as f:
                crc = number(crc32c(f.read()))
            if path == BIG:
                crc = lengthen(target, crc, block, gb)
            items.append({"name": f"m/{path}", "generation": "1", "size": str(os.path.getsize(target)), "crc32c": text(crc)})
    with open(os.path.join(folder, "list.json"), "w", encoding="ascii") as f:
        json.dump({"items": items}, f)
    return os.path.getsize(os.path.join(folder, "m", BIG))


def lengthen(path, crc, block, gb):
    of_block = number(crc32c(block))
    with open(path, "ab") as f:
        while f.tell() < gb * 1e9:
            f.write(block)
            crc = joined(crc, of_block, len(block))
    return crc


@contextlib.contextmanager
def bucket(folder, plain):
    """-> the server's URL"""
    port = free_port()
    tls = ""
    if not plain:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem",
                        "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        tls = f"ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem"
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as f:
        f.write(SERVER.format(dir=folder, port=port, tls=tls))
    server = subprocess.Popen([shutil.which("nginx") or "/usr/sbin/nginx", "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        yield f"{'http' if plain else 'https'}://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


# ---- the two ways

def download(folder, url, to):
    """-> (MB/s, processor seconds a GB)"""
    before, began = processor(resource.RUSAGE_CHILDREN), time.monotonic()
    trusted = ["--cacert", f"{folder}/cert.pem"] if url.startswith("https") else []
    subprocess.run(["curl", "-sS", "--fail", "--noproxy", "*", *trusted, "-o", to,
                    f"{url}/storage/v1/b/bench/o/{urllib.parse.quote('m/' + BIG, safe='')}?alt=media"], check=True)
    seconds, gb = time.monotonic() - began, os.path.getsize(os.path.join(folder, "m", BIG)) / 1e9
    if to.startswith("/dev/shm/"):
        os.remove(to)
    return gb * 1000 / seconds, (processor(resource.RUSAGE_CHILDREN) - before) / gb


def processor(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def fetch(folder, url):
    """-> (MB/s, processor seconds a GB): of all that `serve` does until the weights have arrived"""
    env = {"PATH": os.environ["PATH"], "BACKEND": "cpu", "PUSH_AUTH": "none", "PORT": str(free_port()), "WEIGHTS": "gs://bench/m",
           "STORAGE_EMULATOR_HOST": url, "FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "FIREBASE_STORAGE_BUCKET": "bench", "GOOGLE_CLOUD_PROJECT": "demo", "PRECISION": "f32",
           "OMP_WAIT_POLICY": "passive"}
    if url.startswith("https"):
        env["SSL_CERT_FILE"] = f"{folder}/cert.pem"
    path = f"{folder}/serve.log"
    with open(path, "wb") as log:
        worker = subprocess.Popen([PROGRAM, "serve"], env=env, stderr=log)
    try:
        return arrived(worker, path)
    finally:
        worker.kill()
        worker.wait()


def arrived(worker, path):
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end and worker.poll() is None:
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = [json.loads(line) for line in f.read().splitlines(True) if line.endswith("\n")]
        for line in lines:
            if line["message"] == "the weights have arrived":
                with open(f"/proc/{worker.pid}/stat", encoding="ascii") as f:
                    used = sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")
                return line["bytes"] / line["ms"] / 1000, used / (line["bytes"] / 1e9)
        time.sleep(0.02)
    with open(path, encoding="utf-8", errors="replace") as f:
        sys.exit(f"the weights have not arrived; the log of `serve`:\n{f.read()}")


def processor_name():
    with open("/proc/cpuinfo", encoding="ascii") as f:
        lines = f.read()
    name = next((line.split(":", 1)[1].strip() for line in lines.splitlines() if line.startswith("model name")), "?")
    extras = [flag for flag in ("avx2", "avx512f", "amx_tile", "aes", "sse4_2") if f" {flag} " in lines + " "]
    return f"{name} ({' '.join(extras)}), {os.cpu_count()} cores, load average {os.getloadavg()[0]:.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=2.0, help="size of the file (default: 2)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain", action="store_true", help="http in place of https")
    args = parser.parse_args()
    for program in ("curl", "nginx", "openssl"):
        if not shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"{program} is not installed: apt-get install {program if program != 'nginx' else 'nginx-light'}")
    if not os.path.exists(os.path.join(MODEL, BIG)):
        sys.exit("the tiny model is not there: make tiny-model")
    print(f"{processor_name()}\n", flush=True)
    print("| round | curl to /dev/null | curl to /dev/shm | WEIGHTS=gs:// | (processor seconds a GB) |\n| --- | --- | --- | --- | --- |", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(dir=os.path.join(ROOT, "build")) as folder:
        os.chmod(folder, 0o755)
        size = make_bucket(folder, args.gb)
        with bucket(folder, args.plain) as url:
            download(folder, url, "/dev/null")  # the file is in the system's cache from here on
            for i in range(args.rounds):
                rows.append([download(folder, url, "/dev/null"), download(folder, url, f"/dev/shm/rate-{os.getpid()}"), fetch(folder, url)])
                print(f"| {i + 1} | {rows[-1][0][0]:.0f} | {rows[-1][1][0]:.0f} | {rows[-1][2][0]:.0f} | "
                      f"{' / '.join(f'{way[1]:.2f}' for way in rows[-1])} |", flush=True)
    medians = [statistics.median(row[i][0] for row in rows) for i in range(3)]
    print(f"| median | {medians[0]:.0f} | {medians[1]:.0f} | {medians[2]:.0f} | |")
    print(f"\nMB/s; a file of {size:,} bytes, {'http' if args.plain else 'https'}, nginx on the same machine")


if __name__ == "__main__":
    main()
