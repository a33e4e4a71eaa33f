#!/usr/bin/env python3
"""Sessions, pictures and messages made with Google's own client libraries, run by the worker, read back with them.

Needs google-cloud-firestore, google-cloud-storage and google-cloud-pubsub beside the emulators; without either the tests are
skipped. Run it with the interpreter of a virtual environment that has them.
"""
import datetime
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import Emulators, NoEmulators, Worker, jpeg_size, mask_png, photo_png, wait_until

try:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore, pubsub_v1, storage
except ImportError:
    firestore = None


def documents(db):
    """What an app may have put into its sessions; the worker must run them and keep every field that is not its own."""
    pending = {"processingStatus": "pending"}
    return {
        "every-type": {**pending, "createdAt": firestore.SERVER_TIMESTAMP, "imageWidth": 64, "ratio": 1.5,
                       "meta": {"a": {"b": [1, 2, "x", None]}, "empty": {}}, "sceneLabels": ["grass", "fence"],
                       "userRef": db.document("users/u1"), "where": firestore.GeoPoint(1, 2), "blob": b"\x00\xff",
                       "nothing": None, "weird key!": 1, "prompt": None},
        "no-status": {"createdAt": firestore.SERVER_TIMESTAMP},
        "label-map": {**pending, "sceneLabels": {"surface": "wood", "n": 3}},
        "mixed-labels": {**pending, "sceneLabels": [1, {"a": 1}, "stone", None]},
        "inpaint-is-text": {**pending, "inpaint": "surprise"},
        "inpaint-is-null": {**pending, "inpaint": None},
        "attempts-are-double": {**pending, "inpaint": {"attempts": 1.0, "messageId": "another"}},
        "nearly-a-megabyte": {**pending, "history": ["y" * 1000] * 900},
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


def run(emulators):
    os.environ.update(emulators.env)
    worker = Worker(emulators, "google", STEPS=1)
    db = firestore.Client(project="demo")
    bucket = storage.Client(project="demo", credentials=AnonymousCredentials()).bucket(emulators.bucket)
    publisher = pubsub_v1.PublisherClient(publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True))
    topic = publisher.topic_path("demo", "from-google-clients")
    publisher.create_topic(request={"name": topic})
    subscriber = pubsub_v1.SubscriberClient()
    subscriber.create_subscription(request={
        "name": subscriber.subscription_path("demo", "to-the-worker"), "topic": topic, "ack_deadline_seconds": 600,
        "enable_message_ordering": True, "push_config": {"push_endpoint": worker.base + "/inpaint"}})
    passed = failed = 0
    try:
        for session, fields in documents(db).items():
            reference = db.document(f"users/u1/sessions/google-{session}")
            folder = reference.path
            reference.set(fields)
            bucket.blob(f"{folder}/original.jpg").upload_from_string(photo_png(64, 64), content_type="image/jpeg")
            bucket.blob(f"{folder}/mask_auto.png").upload_from_string(mask_png(64, 64, (20, 20, 40, 40)), "image/png")
            payload = {"userId": "u1", "sessionId": reference.id, "more": {"x": [1]}}
            message_id = publisher.publish(topic, json.dumps(payload).encode(), ordering_key=reference.id, origin="test").result()
            try:
                wait_until(session, lambda: reference.get().to_dict().get("processingStatus") in ("completed", "failed"))
                check(reference.get().to_dict(), fields, message_id, bucket)
                passed += 1
                print(f"passed  {session}", flush=True)
            except AssertionError as e:
                failed += 1
                print(f"failed  {session}: {e}", flush=True)
    finally:
        worker.stop()
    return passed, failed


def main():
    passed = failed = 0
    skipped = firestore is None
    try:
        emulators = Emulators() if not skipped else None
    except NoEmulators:
        skipped = True
    if skipped:
        print("skipped: Google's client libraries or the emulators are not installed")
    else:
        try:
            passed, failed = run(emulators)
        finally:
            emulators.stop()
    print(f"{passed} passed, {failed} failed, {int(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
