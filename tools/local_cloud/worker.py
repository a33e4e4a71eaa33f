"""The worker as a child process: started with settings of its own, ended with whoever started it; what its log says."""
import ctypes
import json
import os
import signal
import socket
import subprocess

PROGRAM = "build/inpaint-worker"
DRAIN_SECONDS = 10  # the worker ends within 7.5 s of SIGTERM
# The rest of the environment stays outside: settings for another purpose, and secrets.
INHERITED = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY",
             "BACKEND", "PRECISION", "COST_PER_SECOND")
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # loaded here, because between fork and exec a lock may be held for ever


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end_with_parent():
    """The kernel ends the worker even where its parent is killed and cannot do so itself."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Worker:
    def __init__(self, settings, port, log_path):
        env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        env.update({name: str(value) for name, value in settings.items()}, PORT=str(port))
        if not os.access(PROGRAM, os.X_OK):
            raise OSError(f"{PROGRAM} is not there: `make` builds it")
        with open(log_path, "wb") as log:
            # a session of its own: Ctrl-C in the terminal is its parent's affair
            self.process = subprocess.Popen([PROGRAM, "serve"], env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            start_new_session=True, preexec_fn=end_with_parent)

    def ended(self):
        return self.process.poll() is not None

    def stop(self):
        if not self.ended():
            self.process.terminate()
        try:
            self.process.wait(DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def fields_of(line):
    """The fields of a line of the log; a line that is no JSON object is a message."""
    try:
        fields = json.loads(line, parse_constant=str)  # JSON has no NaN: a browser would refuse it
    except (ValueError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else {"message": line}


def told(line):
    """A line of the log for people: what happened and why."""
    fields = fields_of(line)
    why = fields.get("error") or fields.get("reason") or fields.get("code")
    return str(fields.get("message", line)) + (f": {why}" if why else "")


def worst(lines):
    """The last line that tells of an error, else the last warning, else the last line; for people."""
    for wanted in (("CRITICAL", "ALERT", "EMERGENCY", "ERROR"), ("WARNING",)):
        for line in reversed(lines):
            if fields_of(line).get("severity") in wanted:
                return told(line)
    return told(lines[-1]) if lines else "its log is empty"
