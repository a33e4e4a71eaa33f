"""One job on its whole path, as people see it: `python3 -m tools.local_cloud.demo run|demo`, from the root of the tree.

A push with a signed token, a session in Firestore, pictures in Cloud Storage, all on loopback, with the real worker in
between. `run` ends with the job; `demo` shows a page in the browser until Ctrl-C. Settings: scripts/demo.sh without
arguments lists them.
"""
import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the modules are loaded ends the process without a traceback

import argparse
import contextlib
import glob
import json
import os
import sys
import time

from . import page
from .cloud import Cloud
from .emulators import Absent, Emulators
from .pictures import jpeg_size
from .worker import Worker, free_port, told, worst

OUT = "build/demo"
LOG = f"{OUT}/worker.log"
USER, SESSION = "demo-user", "demo-session"
DEMO_MODEL = "models/demo"
MODEL = os.environ.get("DEMO_MODEL") or DEMO_MODEL
STEPS = os.environ.get("STEPS") or "4"
READY_SECONDS = 180
JOB_SECONDS = 3500
# As long as the worker allows: the demo works on any machine, however slow or busy, and waits as long as its user does. With
# a deadline of minutes a worker is not ready where the largest photo would take longer.
PATIENCE = {"JOB_DEADLINE_SECONDS": JOB_SECONDS - 100, "LEASE_SECONDS": JOB_SECONDS}
HOPELESS = (401, 403)  # the worker does not accept our tokens, and will not


class Failed(Exception):
    """What went wrong and what to do, for people."""


def say(text=""):
    print(text, flush=True)


# ---- what is shown while the job runs ----

class Progress:
    """One line that is rewritten on a terminal; elsewhere a new line for each change."""

    def __init__(self, stream=sys.stdout):
        self.stream, self.live = stream, stream.isatty()
        self.started, self.shown, self.eta = time.monotonic(), None, (None, 0.0)

    def show(self, document):
        own = document.get("inpaint", {})
        key = (document.get("processingStatus"), own.get("stage"), own.get("progress"), own.get("etaSeconds"))
        now = time.monotonic()
        if key != self.shown:
            self.eta = (own.get("etaSeconds"), now)
        if self.live or key != self.shown:
            text = self.line(document, own, now)
            self.stream.write(f"\r  {text}\x1b[K" if self.live else f"  {text}\n")
            self.stream.flush()
        self.shown = key

    def line(self, document, own, now):
        eta, since = self.eta
        what = own.get("stage", "") if document.get("processingStatus") == "processing" else document.get("processingStatus", "")
        rest = f", about {max(0, eta - (now - since)):.0f} s left" if eta is not None else ""
        return f"{what:10} {own.get('progress', 0):3} %   {now - self.started:.0f} s{rest}"

    def end(self):
        if self.live and self.shown:
            self.stream.write("\r\x1b[K")
            self.stream.flush()


# ---- the job ----

def wait_ready(cloud):
    end = time.monotonic() + READY_SECONDS
    while cloud.worker_state() != "ready":
        if cloud.worker_state() == "gone":
            raise Failed(f"The worker ended before it was ready: {worst(cloud.log_lines(50))}.\n{remedy()}")
        if time.monotonic() > end:
            raise Failed(f"The worker is not ready after {READY_SECONDS} s: {worst(cloud.log_lines(50))}.\nIts log: {LOG}")
        time.sleep(0.1)


def remedy():
    if MODEL == DEMO_MODEL and not glob.glob(f"{MODEL}/*.gguf"):
        return f"The demo's model belongs in {MODEL}: `git checkout -- {MODEL}` restores it."
    return f"Its log: {LOG}. Settings: scripts/demo.sh without arguments lists them."


def wait_finished(cloud):
    """-> the document of the session that was completed."""
    progress = Progress()
    end = time.monotonic() + JOB_SECONDS
    try:
        while time.monotonic() < end:
            document = cloud.document(USER, SESSION) or {}
            progress.show(document)
            if document.get("processingStatus") == "completed":
                return document
            if document.get("processingStatus") == "failed":
                code = document.get("inpaint", {}).get("errorCode", "")
                raise Failed(f"The job failed ({code}): {document.get('errorMessage', 'no reason is given')}\nIts log: {LOG}")
            if cloud.worker_state() == "gone":
                raise Failed(f"The worker ended during the job. Its last lines ({LOG}):\n" + last_lines(cloud))
            answers = [d["status"] for d in cloud.deliveries(USER, SESSION)]
            if answers[-1:] and answers[-1] in HOPELESS:
                raise Failed(f"The worker refuses the push with {answers[-1]}: {worst(cloud.log_lines(50))}.\nIts log: {LOG}")
            time.sleep(0.2)
    finally:
        progress.end()
    raise Failed(f"The job is not done after {JOB_SECONDS} s: {worst(cloud.log_lines(50))}.\nIts log: {LOG}")


def last_lines(cloud, n=5):
    return "\n".join("  " + told(line) for line in cloud.log_lines(n)) or "  (none)"


def answered(cloud):
    """The deliveries, once the last has its answer, which follows the document's end at once."""
    end = time.monotonic() + 5
    while time.monotonic() < end and any(d["open"] for d in cloud.deliveries(USER, SESSION)):
        time.sleep(0.02)
    return cloud.deliveries(USER, SESSION)


# ---- what is left behind ----

def keep(cloud, document, seconds):
    """Writes pictures and document into build/demo, and tells of them."""
    own = document.get("inpaint", {})
    pushes = answered(cloud)
    attempts = own.get("attempts", 1)
    answers = ", push answered " + ", ".join(str(d["status"]) for d in pushes) if pushes else ""
    say(f"completed in {seconds:.1f} s, cost ${document.get('cost', 0.0):.5f}, "
        f"{attempts} attempt{'s' * (attempts != 1)}{answers}")
    for name in ("edited.jpg", "preview.jpg"):
        found = cloud.object(USER, SESSION, name)
        if not found:
            raise Failed(f"The session is completed, but {name} is not in the bucket.\nThe worker's log: {LOG}")
        with open(f"{OUT}/{name}", "wb") as f:
            f.write(found["data"])
        size = jpeg_size(found["data"])
        size = f"{size[0]} x {size[1]}" if size else "size unknown"
        say(f"  {name[:-4] + ':':10} {OUT}/{name}  ({size}, {len(found['data']) // 1024} KiB)")
    with open(f"{OUT}/document.json", "w", encoding="utf-8") as f:
        json.dump(document, f, indent=2, ensure_ascii=False)
        f.write("\n")
    say(f"  {'document:':10} {OUT}/document.json")
    say(f"  {'log:':10} {LOG}")


# ---- the order of things ----

def read(name):
    with open(f"{OUT}/{name}", "rb") as f:
        return f.read()


def start(stack, kind):
    """-> (cloud with a session of the demo's photo, worker): both end with the stack."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}/inpaint"
    for name in ("edited.jpg", "preview.jpg", "document.json", "index.html"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{OUT}/{name}")
    cloud = Emulators(endpoint, LOG, f"{OUT}/emulators") if kind == "emulators" else Cloud(endpoint, LOG)
    stack.callback(cloud.stop)
    say("emulators  Firestore, Pub/Sub and Cloud Storage, on loopback" if kind == "emulators" else
        f"cloud      {cloud.server.url}  Firestore, Cloud Storage, Pub/Sub push, issuer of tokens")
    cloud.write_env(f"{OUT}/env")
    worker = Worker({**cloud.env, **PATIENCE, "MODEL_DIR": MODEL, "STEPS": STEPS}, port, LOG)
    stack.callback(worker.stop)
    cloud.worker_ended = worker.ended
    cloud.create_session(USER, SESSION, read("original.jpg"), read("mask_auto.png"))
    say(f"worker     http://127.0.0.1:{port}  {MODEL}, STEPS={STEPS}, PUSH_AUTH={cloud.env['PUSH_AUTH']}")
    return cloud, worker


def edit(cloud):
    """Publishes the session once the worker is ready, waits for its end, and keeps what comes of it."""
    wait_ready(cloud)
    message_id = cloud.publish(USER, SESSION)
    say(f'published  {{"userId": "{USER}", "sessionId": "{SESSION}"}} as message {message_id}')
    started = time.monotonic()
    document = wait_finished(cloud)
    keep(cloud, document, time.monotonic() - started)


def run(stack, kind):
    cloud, _ = start(stack, kind)
    edit(cloud)
    page.write_snapshot(cloud, USER, SESSION, f"{OUT}/index.html")
    say(f"  {'page:':10} {OUT}/index.html  (open it in a browser; `make demo` shows it while a job runs)")


def demo(stack, kind):
    cloud, worker = start(stack, kind)
    server = page.start_page(cloud, user=USER, session=SESSION)
    stack.callback(server.stop)
    say(f"\n  Open {server.url}/ in a browser\n")
    edit(cloud)
    say(f"\n  Open {server.url}/ in a browser. Ctrl-C ends everything.\n")
    while not worker.ended():
        time.sleep(0.2)
    raise Failed(f"The worker has ended. Its last lines ({LOG}):\n" + last_lines(cloud))


def perform(action, kind):
    """Does it, and ends whatever was started, however it ends."""
    with contextlib.ExitStack() as stack:
        try:
            action(stack, kind)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):  # the terminal may be gone
                say("\nending what was started; the worker may need a few seconds")
            raise


def interrupt(*_):
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, signal.SIG_IGN)  # what was started is ended in peace
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.split("\n\n")[1])
    parser.add_argument("action", choices=("run", "demo"), help="end with the job, or stay with a page")
    parser.add_argument("--cloud", choices=("local", "emulators"), default="local",
                        help="tools/local_cloud (the default), or Google's emulators")
    args = parser.parse_args()
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, interrupt)
    try:
        perform({"run": run, "demo": demo}[args.action], args.cloud)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            say("ended")
        return 0 if args.action == "demo" else 130
    except (Failed, RuntimeError) as e:
        return complain(e)
    except OSError as e:
        return complain(f"{e.strerror or e}{f': {e.filename}' if e.filename else ''}. All files of the demo are in {OUT}.")
    except Absent:
        return complain("CLOUD=local takes the same path without them.")
    return 0


def complain(why):
    """-> the exit status of a failure."""
    with contextlib.suppress(OSError):
        print(f"demo: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
