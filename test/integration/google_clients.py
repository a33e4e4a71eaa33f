#!/usr/bin/env python3
"""Sessions, pictures and messages made with Google's own client libraries, run by the worker, read back with them.

Needs google-cloud-firestore, google-cloud-storage and google-cloud-pubsub in addition to the emulators; without either the
tests are skipped. Run it, or everything.py, with the interpreter of a virtual environment that has these packages.
"""
import contextlib
import datetime
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Skip, Suite, Worker, emulators, jpeg_size, mask_png, photo_png, run_suites, wait_until

try:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore, pubsub_v1, storage
except ImportError:
    firestore = None


PENDING = {"processingStatus": "pending"}
# Sessions as an app may have written them; the worker must process each and keep every field that is not its own.
DOCUMENTS = {
    "every-type": lambda db: {
        **PENDING, "createdAt": firestore.SERVER_TIMESTAMP, "imageWidth": 64, "ratio": 1.5,
        "meta": {"a": {"b": [1, 2, "x", None]}, "empty": {}}, "sceneLabels": ["grass", "fence"],
        "userRef": db.document("users/u1"), "where": firestore.GeoPoint(1, 2), "blob": b"\x00\xff",
        "nothing": None, "weird key!": 1, "prompt": None},
    "no-status": lambda db: {"createdAt": firestore.SERVER_TIMESTAMP},
    "label-map": lambda db: {**PENDING, "sceneLabels": {"surface": "wood", "n": 3}},
    "mixed-labels": lambda db: {**PENDING, "sceneLabels": [1, {"a": 1}, "stone", None]},
    "inpaint-is-text": lambda db: {**PENDING, "inpaint": "surprise"},
    "inpaint-is-null": lambda db: {**PENDING, "inpaint": None},
    "attempts-are-double": lambda db: {**PENDING, "inpaint": {"attempts": 1.0, "messageId": "another"}},
    "nearly-a-megabyte": lambda db: {**PENDING, "history": ["y" * 1000] * 900},
}


def check(document, before, message_id, bucket):
    assert document["processingStatus"] == "completed", document
    own = document["inpaint"]
    assert own["messageId"] == message_id and own["attempts"] == 1 and isinstance(own["attempts"], int), own
    assert isinstance(document["cost"], float) and all(isinstance(ms, int) for ms in own["timings"].values()), document
    for name, value in before.items():
        if value is firestore.SERVER_TIMESTAMP:
            assert isinstance(document[name], datetime.datetime), name
        elif name not in ("processingStatus", "inpaint"):
            assert document[name] == value, name
    for path in (document["editedImagePath"], document["previewImagePath"]):
        blob = bucket.get_blob(path)
        assert blob.content_type == "image/jpeg" and jpeg_size(blob.download_as_bytes(checksum="crc32c")) == (64, 64), path


class App:
    """A worker, and an app that uses Google's clients: it creates sessions and publishes messages."""

    def __init__(self, services):
        os.environ.update(services.env)
        self.worker = Worker(services, "google", STEPS=1)
        self.db = firestore.Client(project="demo")
        self.bucket = storage.Client(project="demo", credentials=AnonymousCredentials()).bucket(services.bucket)
        self.publisher = pubsub_v1.PublisherClient(publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True))
        self.topic = self.publisher.topic_path("demo", "from-google-clients")
        self.publisher.create_topic(request={"name": self.topic})
        subscriber = pubsub_v1.SubscriberClient()
        subscriber.create_subscription(request={
            "name": subscriber.subscription_path("demo", "to-the-worker"), "topic": self.topic, "ack_deadline_seconds": 600,
            "enable_message_ordering": True, "push_config": {"push_endpoint": self.worker.base + "/inpaint"}})

    def run(self, session):
        fields = DOCUMENTS[session](self.db)
        reference = self.db.document(f"users/u1/sessions/google-{session}")
        reference.set(fields)
        self.upload(f"{reference.path}/original.jpg", photo_png(64, 64), "image/jpeg")
        self.upload(f"{reference.path}/mask_auto.png", mask_png(64, 64, (20, 20, 40, 40)), "image/png")
        payload = {"userId": "u1", "sessionId": reference.id, "more": {"x": [1]}}
        message_id = self.publisher.publish(self.topic, json.dumps(payload).encode(), ordering_key=reference.id, origin="test").result()
        wait_until(session, lambda: reference.get().to_dict().get("processingStatus") in ("completed", "failed"))
        check(reference.get().to_dict(), fields, message_id, self.bucket)

    def upload(self, name, data, content_type):
        self.bucket.blob(name).upload_from_string(data, content_type)


APP = None


@contextlib.contextmanager
def opened():
    global APP
    if firestore is None:
        raise Skip("Google's client libraries for Python are not installed")
    with emulators() as services:
        APP = App(services)
        try:
            yield
        finally:
            APP.worker.stop()


SUITE = Suite([(f"google_clients_{session.replace('-', '_')}", lambda session=session: APP.run(session)) for session in DOCUMENTS],
              opened)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
