"""The local cloud: Firestore, Cloud Storage, a push subscription and its issuer of tokens, tied together on one port."""
import http.client
import json
import os
import re
import shlex
import threading
import time
import urllib.parse

from .documents import Documents
from .issuer import Issuer
from .objects import Objects
from .pictures import content_type
from .pubsub import ACK_DEADLINE_SECONDS, RETRY_SECONDS, Subscription
from .server import Server
from .values import from_fields, to_fields

PROJECT = "demo"
BUCKET = "demo-bucket"
SUBSCRIPTION = f"projects/{PROJECT}/subscriptions/edits-push"
PUSHER = f"push@{PROJECT}.iam.gserviceaccount.com"
REQUEST_MAX_BYTES = 96 << 20  # a photo may have 64 MiB
POISON_TOPIC = f"projects/{PROJECT}/topics/poison"  # messages published here are kept, not pushed
ID = re.compile(r"(?!\.{1,2}\Z|__.*__\Z)[^\x00-\x1f\x7f-\x9f/\\%#?*\[\]\ud800-\udfff]{1,128}", re.DOTALL)
NAME_MAX_BYTES = 1024  # of an object
STATE_AGE_SECONDS = 0.5
LOG_TAIL_BYTES = 256 << 10


def folder(user, session):
    """users/U/sessions/S; ValueError if an id is none that the worker accepts."""
    for name in (user, session):
        if not isinstance(name, str) or not ID.fullmatch(name):
            raise ValueError("an id is 1 to 128 characters without control characters and / \\ % # ? * [ ], not . or .. or "
                             f"__like_this__: {name!r:.150}")
    path = f"users/{user}/sessions/{session}"
    if len(f"{path}/mask_auto.png".encode()) > NAME_MAX_BYTES:
        raise ValueError(f"both ids together are too long for the name of an object: {user!r:.100} and {session!r:.100}")
    return path


def payload(user, session):
    """The data of a message."""
    folder(user, session)
    return {"userId": user, "sessionId": session}


class Seen:
    """What can be seen of a worker from outside: its log and its GET /ready. `push_endpoint` is its address for pushes,
    `log_path` the file that its log goes to."""

    def __init__(self, push_endpoint, log_path=None):
        self.push_endpoint, self.log_path = push_endpoint, log_path
        self.has_answered, self.state, self.state_at = False, "starting", 0.0
        self.state_lock = threading.Lock()
        self.worker_ended = lambda: False  # replaced by whoever starts the worker and knows better
        self.env = {}  # the worker's settings

    def write_env(self, path):
        """The worker's settings, as a file to be sourced by a shell."""
        with open(path, "w", encoding="ascii") as f:
            f.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in self.env.items())

    def log_lines(self, n):
        """-> the last n lines of the worker's log."""
        try:
            with open(self.log_path or os.devnull, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
                return log.read().decode(errors="replace").splitlines()[-n:] if n > 0 else []
        except OSError:
            return []

    def worker_state(self):
        """-> "starting", "ready" or "gone"."""
        with self.state_lock:
            if time.monotonic() - self.state_at >= STATE_AGE_SECONDS or not self.state_at:
                self.state, self.state_at = self.ask_state(), time.monotonic()
            return self.state

    def ask_state(self):
        if self.worker_ended():
            return "gone"
        url = urllib.parse.urlsplit(self.push_endpoint)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=2)
        try:
            connection.request("GET", "/ready")
            status = connection.getresponse().status
            self.has_answered = True
            return "ready" if status == 200 else "starting"
        except (OSError, http.client.HTTPException):
            return "gone" if self.has_answered else "starting"
        finally:
            connection.close()


def settings_of(server):
    """The worker's settings for a server that is Firestore and Cloud Storage."""
    return {"FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{server.server_port}", "STORAGE_EMULATOR_HOST": server.url,
            "FIREBASE_STORAGE_BUCKET": BUCKET, "GOOGLE_CLOUD_PROJECT": PROJECT}


class Cloud(Seen):
    def __init__(self, push_endpoint, log_path=None, port=0, retry=RETRY_SECONDS, ack_deadline=ACK_DEADLINE_SECONDS):
        super().__init__(push_endpoint, log_path)
        self.issuer = Issuer(push_endpoint, PUSHER)
        self.documents, self.objects = Documents(PROJECT), Objects(BUCKET)
        self.subscription = Subscription(SUBSCRIPTION, push_endpoint, self.issuer.sign, ack_deadline, retry,
                                         kept_topics=(POISON_TOPIC,))
        self.server = Server(port, REQUEST_MAX_BYTES)
        for part in (self.documents, self.objects, self.issuer, self.subscription):
            part.serve(self.server)
        self.env = {**settings_of(self.server), "PUSH_AUTH": "oidc", "PUSH_AUDIENCE": push_endpoint,
                    "PUSH_SERVICE_ACCOUNT": PUSHER, "OIDC_CERTS_URL": self.issuer.url, "PUBSUB_SUBSCRIPTION": SUBSCRIPTION}

    def stop(self):
        self.subscription.stop()
        self.server.stop()

    # ---- what an app does ----

    def create_session(self, user, session, photo_bytes, mask_bytes, fields=None):
        """Stores photo and mask, and a document that waits; `fields` are further plain values of the document."""
        path = folder(user, session)
        self.objects.put(f"{path}/original.jpg", photo_bytes, contentType=content_type(photo_bytes))
        self.objects.put(f"{path}/mask_auto.png", mask_bytes, contentType=content_type(mask_bytes))
        self.documents.put(path, to_fields({"processingStatus": "pending", **(fields or {})}))

    def publish(self, user, session):
        """-> the id of the message, which is pushed in the background until the worker acknowledges it."""
        return self.subscription.publish(json.dumps(payload(user, session)).encode())

    def document(self, user, session):
        """-> the document as plain values, times as texts; or None."""
        fields = self.documents.fields(folder(user, session))
        return None if fields is None else from_fields(fields)

    def object(self, user, session, file):
        """-> dict(data, generation, content_type), or None."""
        found = self.objects.find(f"{folder(user, session)}/{file}")
        return found and {"data": found["data"], "generation": found["generation"], "content_type": found["contentType"]}

    def deliveries(self, user, session):
        """-> each push for the session: dict(at, attempt, status, seconds, open); status None: there was no answer, or,
        where it is open, not yet."""
        ids = self.subscription.ids_of(payload(user, session))
        pushes = [d for message_id in ids for d in self.subscription.deliveries(message_id)]
        return sorted(pushes, key=lambda d: d["at"])
