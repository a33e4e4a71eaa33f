"""Cloud Run's front end in small: pushes go to the instance with the fewest under way, at most `concurrency` to each. A push
for which there is no room waits; then its answer is 429, as Cloud Run's. An instance gets pushes once GET /ready is 200."""
import http.client
import os
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from tools.local_cloud.emulators import call
from tools.local_cloud.server import TEXT, Reply, Server

ANSWER_SECONDS = 300  # as --timeout: the longest that a push may last
BODY_MAX_BYTES = 1 << 20
FORWARDED = ("Authorization", "Content-Type")


class Instance:
    """One worker by its port; `under_way` pushes are with it."""

    def __init__(self, port):
        self.url, self.is_ready, self.under_way, self.answered = f"http://127.0.0.1:{port}", False, 0, 0

    def ask_ready(self):
        try:
            return call("GET", self.url + "/ready", timeout=1)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def push(self, request):
        """-> the status of the answer; OSError or HTTPException where there is none."""
        headers = {name: request.headers[name] for name in FORWARDED if name in request.headers}
        return call("POST", self.url + request.path, request.body, headers, ANSWER_SECONDS)[0]


class Front:
    """`concurrency` as --concurrency, `pending_seconds` how long a push may wait for room."""

    def __init__(self, concurrency, pending_seconds):
        self.concurrency, self.pending_seconds = concurrency, pending_seconds
        self.instances, self.refused, self.broken = [], 0, 0
        self.changed = threading.Condition()
        self.server = Server(body_max=BODY_MAX_BYTES)
        self.server.route("POST", "/inpaint", self.push)
        self.url = f"{self.server.url}/inpaint"

    def stop(self):
        self.server.stop()

    def add(self, port):
        instance = Instance(port)
        with self.changed:
            self.instances.append(instance)
        return instance

    def remove(self, instance):
        with self.changed:
            self.instances.remove(instance)

    def look(self):
        """Asks those that are not ready yet; whoever owns this calls it every now and then."""
        for instance in list(self.instances):
            if not instance.is_ready and instance.ask_ready():
                with self.changed:
                    instance.is_ready = True
                    self.changed.notify_all()

    def take(self):
        """-> the instance for a push, or None where there is no room for too long."""
        end = time.monotonic() + self.pending_seconds
        with self.changed:
            while True:
                free = [i for i in self.instances if i.is_ready and i.under_way < self.concurrency]
                if free:
                    chosen = min(free, key=lambda i: i.under_way)
                    chosen.under_way += 1
                    return chosen
                if not self.changed.wait(max(0.0, end - time.monotonic())) and time.monotonic() >= end:
                    return None

    def give_back(self, instance):
        with self.changed:
            instance.under_way -= 1
            self.changed.notify_all()

    def push(self, request):
        instance = self.take()
        if not instance:
            self.refused += 1
            return Reply(429, "Rate exceeded.\n", TEXT)
        try:
            status = instance.push(request)
            instance.answered += 1
        except (OSError, http.client.HTTPException):
            with self.changed:
                instance.is_ready = False  # until it is asked again
            self.broken += 1
            status = 503
        finally:
            self.give_back(instance)
        return Reply(status, b"", TEXT)
