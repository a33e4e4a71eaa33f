"""client.py - calls scripts/fetch_weights.sh for tests, with a table of its own and a hub on loopback."""
import hashlib
import json
import os
import random
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "scripts", "fetch_weights.sh")
KEYS = ("part", "choice", "repository", "revision", "file", "to", "bytes", "size", "sha256", "licence")
REPOSITORY = "owner/name"
PIECE = 65536


def content(length, seed=1):
    return random.Random(seed).randbytes(length)


def row(file, body=None, part="vae", digest=True, size=True, **others):
    """A line of the table for a file of REPOSITORY, with size and digest of body where they are known."""
    values = {
        "part": part, "choice": None, "repository": REPOSITORY, "revision": "main", "file": file, "to": file,
        "bytes": len(body) if body is not None and size else None, "size": None,
        "sha256": hashlib.sha256(body).hexdigest() if body is not None and digest else None, "licence": "MIT",
    }
    values.update(others)
    return values


def table_text(rows):
    lines = ",\n".join("    " + json.dumps({k: r[k] for k in KEYS}) for r in rows)
    licence = '    {"licence": "MIT", "page": "https://example.org/", "consequence": "None."}'
    return '{\n  "about": "a test",\n  "licences": [\n' + licence + '\n  ],\n  "files": [\n' + lines + "\n  ]\n}\n"


class Client:
    """A folder for one test: the table, the model folder, and calls of the program."""

    def __init__(self, hub=None, rows=(), **env):
        self.temporary = tempfile.TemporaryDirectory(prefix="fetch-test-")
        self.folder = self.temporary.name
        self.out = os.path.join(self.folder, "models")
        self.table = os.path.join(self.folder, "weights.json")
        with open(self.table, "w", encoding="utf-8") as f:
            f.write(table_text(rows))
        self.env = {
            "PATH": os.environ["PATH"], "HOME": self.folder, "TMPDIR": self.folder, "no_proxy": "*",
            "HF_ENDPOINT": hub.hub.address if hub else "http://127.0.0.1:9",
            "FETCH_BACKOFF_MILLISECONDS": "20", "FETCH_PIECE_BYTES": str(PIECE), "FETCH_LOCK_SECONDS": "1",
        }
        self.env.update(env)

    def command(self, *args, shell=()):
        return [*shell, SCRIPT, "--out", self.out, "--table", self.table, *args]

    def start(self, *args, shell=(), **env):
        return subprocess.Popen(self.command(*args, shell=shell), env={**self.env, **env}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *args, shell=(), timeout=50, **env):
        with self.start(*args, shell=shell, **env) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def path(self, name):
        return os.path.join(self.out, name)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def left(self):
        """Every file in the model folder, by its path from there."""
        return sorted(os.path.relpath(os.path.join(d, f), self.out) for d, _, files in os.walk(self.out) for f in files)

    def close(self):
        self.temporary.cleanup()
