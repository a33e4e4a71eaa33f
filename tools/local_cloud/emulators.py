"""Google's emulators instead of the local cloud, with the same methods (cloud.py). scripts/emulators.sh starts them."""
import base64
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from .cloud import Seen, folder, payload
from .pictures import content_type
from .values import from_fields, to_fields

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "scripts", "emulators.sh")
TOPIC = "edits"
NOT_INSTALLED = 3  # its exit status


class Absent(Exception):
    """They are not installed; the script has said how to get them."""


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy knows nothing of this machine's loopback


def call(method, url, body=None, headers=None, timeout=60):
    """-> (status, headers, body); any status is an answer."""
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with DIRECT.open(request, timeout=timeout) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def answer(accepted, *request):
    """-> status and body; RuntimeError unless it is below 300 or accepted."""
    status, _, text = call(*request)
    if status >= 300 and status not in accepted:
        raise RuntimeError(f"{request[0]} {request[1]}: {status} {text[:200]!r}")
    return status, text


def demanded(*request):
    return answer((), *request)[1]


def found(*request):
    """-> the JSON that the answer has, or None after 404."""
    status, text = answer((404,), *request)
    return None if status == 404 else json.loads(text)


def quoted(name):
    return urllib.parse.quote(name, safe="")


class Services:
    """Google's emulators, started in a folder of their own, and what they hold. `env` has their addresses."""

    def __init__(self, directory):
        self.directory = directory
        try:
            self.start()
        except BaseException:  # Ctrl-C, too: some of them may run by now
            self.stop()
            raise

    def start(self):
        status = subprocess.run([SCRIPT, "start", self.directory], cwd=ROOT, check=False).returncode
        if status:
            raise Absent() if status == NOT_INSTALLED else RuntimeError("the emulators did not start")
        with open(os.path.join(ROOT, self.directory, "env"), encoding="ascii") as f:
            self.env = dict(re.findall(r"export (\w+)=(\S+)", f.read()))
        self.project, self.bucket = self.env["GOOGLE_CLOUD_PROJECT"], self.env["FIREBASE_STORAGE_BUCKET"]
        self.documents = (f"http://{self.env['FIRESTORE_EMULATOR_HOST']}/v1/projects/{self.project}"
                          "/databases/(default)/documents")
        self.pubsub = f"http://{self.env['PUBSUB_EMULATOR_HOST']}/v1/projects/{self.project}"
        self.storage = self.env["STORAGE_EMULATOR_HOST"]

    def stop(self):
        subprocess.run([SCRIPT, "stop", self.directory], cwd=ROOT, check=False)

    def put_document(self, path, fields):
        demanded("PATCH", f"{self.documents}/{urllib.parse.quote(path)}", json.dumps({"fields": to_fields(fields)}).encode())

    def get_document(self, path):
        """-> the document as Firestore describes it, or None."""
        return found("GET", f"{self.documents}/{urllib.parse.quote(path)}")

    def put_object(self, name, data, content_type="application/octet-stream"):
        demanded("POST", f"{self.storage}/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={quoted(name)}", data,
                 {"Content-Type": content_type})

    def get_object(self, name):
        """-> what Cloud Storage says of the object, and its bytes; or None, None."""
        url = f"{self.storage}/storage/v1/b/{self.bucket}/o/{quoted(name)}"
        meta = found("GET", url)
        return (meta, demanded("GET", url + "?alt=media")) if meta else (None, None)

    def subscribe(self, topic, endpoint, **push_config):
        """Without an endpoint, messages wait to be pulled."""
        call("PUT", f"{self.pubsub}/topics/{topic}", b"{}")  # it may be there
        body = {"topic": f"projects/{self.project}/topics/{topic}", "ackDeadlineSeconds": 600,
                "pushConfig": {"pushEndpoint": endpoint, **push_config} if endpoint else {}}
        demanded("PUT", f"{self.pubsub}/subscriptions/{topic}-push", json.dumps(body).encode())

    def pull(self, topic):
        """-> the messages that wait, which are acknowledged."""
        subscription = f"{self.pubsub}/subscriptions/{topic}-push"
        body = json.dumps({"maxMessages": 100, "returnImmediately": True}).encode()
        received = json.loads(demanded("POST", subscription + ":pull", body)).get("receivedMessages", [])
        if received:
            demanded("POST", subscription + ":acknowledge", json.dumps({"ackIds": [r["ackId"] for r in received]}).encode())
        return received

    def publish_to(self, topic, value, attributes=None):
        """-> the id of the message that carries this JSON value, or these bytes."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        body = {"messages": [{"data": base64.b64encode(data).decode(), "attributes": attributes or {}}]}
        return json.loads(demanded("POST", f"{self.pubsub}/topics/{topic}:publish", json.dumps(body).encode()))["messageIds"][0]


class Emulators(Seen):
    """The emulators as a cloud of the demo."""

    def __init__(self, push_endpoint, log_path, directory):
        super().__init__(push_endpoint, log_path)
        self.services = Services(directory)
        self.stop = self.services.stop
        self.env = {**self.services.env, "PUSH_AUTH": "none"}  # they sign no tokens
        del self.env["PUBSUB_EMULATOR_HOST"]
        try:
            self.services.subscribe(TOPIC, push_endpoint)
        except BaseException:
            self.stop()
            raise

    def create_session(self, user, session, photo_bytes, mask_bytes, fields=None):
        path = folder(user, session)
        for file, data in (("original.jpg", photo_bytes), ("mask_auto.png", mask_bytes)):
            self.services.put_object(f"{path}/{file}", data, content_type(data))
        self.services.put_document(path, {"processingStatus": "pending", **(fields or {})})

    def publish(self, user, session):
        return self.services.publish_to(TOPIC, payload(user, session))

    def document(self, user, session):
        document = self.services.get_document(folder(user, session))
        return document and from_fields(document.get("fields", {}))

    def object(self, user, session, file):
        meta, data = self.services.get_object(f"{folder(user, session)}/{file}")
        return meta and {"data": data, "generation": meta["generation"], "content_type": meta["contentType"]}

    def deliveries(self, user, session):
        """The emulator keeps none."""
        return []
