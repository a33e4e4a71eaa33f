"""The local cloud with every call of the workers counted by what it does, and with faults on demand."""
import collections
import os
import random
import re
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.dirname(os.path.dirname(HERE)), os.path.join(os.path.dirname(HERE), "integration")]
from fake_cloud import name_request
from tools.local_cloud.cloud import Cloud
from tools.local_cloud.server import Reply

# What Google bills or limits a call as, by its name (fake_cloud.name_request).
FIRESTORE_READS, FIRESTORE_WRITES = ("get", "look"), ("claim", "progress", "complete", "fail", "release")
STORAGE_READS, STORAGE_WRITES = ("stat", "media"), ("upload", "start", "chunk", "delete")
AT_THE_START = ("probe", "permissions", "bucket")
GENERATION = 4 * 10 ** 15  # of the first object; above the clock, so that every run gives the same, and with them the seeds
SESSION = re.compile(r"users/[^/\"]+/sessions/([^/\"?]+)")
LOOKED_AT_BYTES = 4096  # of a body, for the session's name


class Counted(Cloud):
    """`faulty` is the share of calls that are answered with 503 and not carried out, `slow` seconds before each answer."""

    def __init__(self, push_endpoint, retry, ack_deadline, faulty=0.0, slow=0.0):
        self.calls, self.by_session, self.completed_at = collections.Counter(), collections.Counter(), {}
        self.faulty, self.slow, self.n_faults, self.random = faulty, slow, 0, random.Random(1)
        self.counting = threading.Lock()
        super().__init__(push_endpoint, retry=retry, ack_deadline=ack_deadline)
        self.objects.generation = GENERATION
        self.carry_out = self.server.reply_to
        self.server.reply_to = self.reply_to

    def is_faulty(self):
        with self.counting:
            bad = self.random.random() < self.faulty
            self.n_faults += bad
            return bad

    def reply_to(self, request):
        name = name_request(request, self.objects.uploads)
        if not name or name.split(":")[0].startswith(AT_THE_START) or name.endswith(":probe"):
            return self.carry_out(request)
        if self.slow:
            time.sleep(self.slow)
        reply = Reply(503, {"error": {"code": 503, "status": "UNAVAILABLE"}}) if self.is_faulty() else self.carry_out(request)
        self.count(name, request, reply.status)
        return reply

    def count(self, name, request, status):
        text = urllib.parse.unquote(request.path) + request.body[:LOOKED_AT_BYTES].decode(errors="replace")
        found = SESSION.search(text)
        with self.counting:
            self.calls[name] += 1
            if found and status == 200:
                self.by_session[found[1], name] += 1
                if name == "complete":
                    self.completed_at.setdefault(found[1], time.time())

    def total(self, *kinds):
        """Calls of these kinds."""
        with self.counting:
            return sum(n for name, n in self.calls.items() if name.split(":")[0] in kinds)

    def times(self, session, name):
        """How often a call of this name has changed or read something of the session."""
        with self.counting:
            return self.by_session[session, name]
