"""A cloud with the real worker and the demo's model behind it, and the two command lines as an app's developer runs them."""
import contextlib
import json
import os
import subprocess

from harness import ROOT, Services, Skip, call, once, wait_until
from tools.local_cloud.cloud import BUCKET, POISON_TOPIC, PROJECT, REQUEST_MAX_BYTES, Cloud
from tools.local_cloud.emulators import Absent
from tools.local_cloud.objects import Objects
from tools.local_cloud.server import Server
from tools.local_cloud.values import from_fields
from tools.local_cloud.worker import PROGRAM, Worker, free_port

import installs

TOPIC = "session-processing"
READY_SECONDS, COMMAND_SECONDS = 120, 240
SETTINGS = {"MODEL_DIR": os.path.join(ROOT, "models", "demo"), "STEPS": "2", "BACKEND": "cpu",
            # one that is slow is still ready: other things may run on this machine
            "JOB_DEADLINE_SECONDS": "3400", "LEASE_SECONDS": "3500"}


@once
def inputs():
    """-> the folder with the demo's photo and mask."""
    folder = os.path.join(installs.OUT, "inputs")
    os.makedirs(folder, exist_ok=True)
    subprocess.run([os.path.join(ROOT, "build", "demo-inputs"), folder], check=True)
    return folder


class Backend:
    """`env` is what an example is started with, `documents` the address of Firestore's documents."""
    rest = False

    def worker(self, settings, port, name):
        self.log = os.path.join(installs.OUT, f"worker-{name}.log")
        process = Worker({**settings, **SETTINGS}, port, self.log)
        self.base = f"http://127.0.0.1:{port}"
        try:
            wait_until("the worker is ready", lambda: self.is_ready(process), READY_SECONDS)
        except BaseException:
            process.stop()
            raise
        return process

    def is_ready(self, process):
        if process.ended():
            raise AssertionError("the worker ended; its log is in build/examples")
        with contextlib.suppress(OSError):
            return call("GET", self.base + "/ready", timeout=5)[0] == 200
        return False

    def answers(self, path):
        """-> [(status, outcome or None)] of the pushes for a session, as the worker's log has them."""
        with open(self.log, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f.read().rpartition("\n")[0].splitlines() if f'"{path}"' in line]
        return [(line["status"], line.get("outcome")) for line in lines if "status" in line]


class Embedded(Backend):
    """tools/local_cloud: what `make demo` runs on. It speaks REST."""
    rest = True

    def __init__(self):
        port = free_port()
        self.cloud = Cloud(f"http://127.0.0.1:{port}/inpaint", retry=(0.1, 1.0))
        self.objects, server = self.cloud.objects, self.cloud.server
        address = f"127.0.0.1:{server.server_port}"
        self.env = {"GOOGLE_CLOUD_PROJECT": PROJECT, "FIREBASE_STORAGE_BUCKET": BUCKET, "FIRESTORE_EMULATOR_HOST": address,
                    "PUBSUB_EMULATOR_HOST": address, "STORAGE_EMULATOR_HOST": server.url}
        try:
            self.process = self.worker(self.cloud.env, port, "embedded")
        except BaseException:
            self.cloud.stop()
            raise

    def document(self, path):
        fields = self.cloud.documents.fields(path)
        return None if fields is None else from_fields(fields)

    def stop(self):
        self.process.stop()
        self.cloud.stop()


class Emulated(Backend):
    """Google's emulators for Firestore and Pub/Sub, with gRPC, and the storage of tools/local_cloud: all clients speak REST
    to storage, and Google has no emulator for it that needs no download."""

    def __init__(self):
        try:
            self.services = Services(os.path.relpath(os.path.join(installs.OUT, "emulators"), ROOT))
        except Absent:
            installs.lacking("google-cloud-cli with its Firestore and Pub/Sub emulators is not installed")
        self.server, self.objects = Server(body_max=REQUEST_MAX_BYTES), Objects(BUCKET)
        self.objects.serve(self.server)
        self.documents = self.services.documents
        port = free_port()
        self.env = {**self.services.env, "FIREBASE_STORAGE_BUCKET": BUCKET, "STORAGE_EMULATOR_HOST": self.server.url}
        worker = {name: value for name, value in self.env.items() if name != "PUBSUB_EMULATOR_HOST"}
        try:
            self.services.subscribe(TOPIC, f"http://127.0.0.1:{port}/inpaint")
            self.services.subscribe(POISON_TOPIC.rsplit("/", 1)[1], None)
            self.process = self.worker({**worker, "PUSH_AUTH": "none"}, port, "emulators")
        except BaseException:
            self.services.stop()
            self.server.stop()
            raise

    def document(self, path):
        document = self.services.get_document(path)
        return document and from_fields(document.get("fields", {}))

    def stop(self):
        self.process.stop()
        self.services.stop()
        self.server.stop()


def run(command, backend, cwd=ROOT):
    """-> (exit status, stdout, stderr)."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**inherited, "METADATA_SERVER_DETECTION": "none", **backend.env}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


def python_edit(backend, *words):
    rest = ["--rest"] if backend.rest else []
    return run([installs.python(), os.path.join(installs.EXAMPLES, "python", "edit.py"), *words, *rest], backend)


def node_edit(backend, *words):
    rest = ["--rest"] if backend.rest else []
    return run(["node", os.path.join(installs.node(), "cli.js"), *words, *rest], backend)


LANGUAGES = {"python": python_edit, "node": node_edit}


@contextlib.contextmanager
def opened(kind):
    """A backend of this kind; a Skip where it cannot be had."""
    if not os.access(PROGRAM, os.X_OK):
        raise Skip(f"{PROGRAM} is not there: `make` builds it")
    os.makedirs(installs.OUT, exist_ok=True)
    backend = kind()
    try:
        yield backend
    finally:
        backend.stop()
