"""Google's emulators instead of the local cloud, with the same methods (cloud.py). scripts/emulators.sh starts them."""
import base64
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from .cloud import Seen, folder, payload, picture_type
from .values import from_fields, to_fields

SCRIPT = "scripts/emulators.sh"
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


def demanded(*request):
    status, _, text = call(*request)
    if status >= 300:
        raise RuntimeError(f"{request[0]} {request[1]}: {status} {text[:200]!r}")
    return text


class Emulators(Seen):
    def __init__(self, push_endpoint, log_path, directory):
        super().__init__(push_endpoint, log_path)
        self.directory = directory
        try:
            self.start()
        except BaseException:  # Ctrl-C, too: some of them may run by now
            self.stop()
            raise

    def start(self):
        status = subprocess.run([SCRIPT, "start", self.directory], check=False).returncode
        if status:
            raise Absent() if status == NOT_INSTALLED else RuntimeError("the emulators did not start")
        with open(f"{self.directory}/env", encoding="ascii") as f:
            self.env = {**dict(re.findall(r"export (\w+)=(\S+)", f.read())), "PUSH_AUTH": "none"}  # they sign no tokens
        project = self.env["GOOGLE_CLOUD_PROJECT"]
        self.documents = f"http://{self.env['FIRESTORE_EMULATOR_HOST']}/v1/projects/{project}/databases/(default)/documents"
        self.pubsub = f"http://{self.env.pop('PUBSUB_EMULATOR_HOST')}/v1/projects/{project}"
        self.storage, self.bucket = self.env["STORAGE_EMULATOR_HOST"], self.env["FIREBASE_STORAGE_BUCKET"]
        self.subscribe(project)

    def subscribe(self, project):
        demanded("PUT", f"{self.pubsub}/topics/edits", b"{}")
        demanded("PUT", f"{self.pubsub}/subscriptions/edits-push", json.dumps(
            {"topic": f"projects/{project}/topics/edits", "ackDeadlineSeconds": 600,
             "pushConfig": {"pushEndpoint": self.push_endpoint}}).encode())

    def stop(self):
        subprocess.run([SCRIPT, "stop", self.directory], check=False)

    def create_session(self, user, session, photo_bytes, mask_bytes, fields=None):
        path = folder(user, session)
        for file, data in (("original.jpg", photo_bytes), ("mask_auto.png", mask_bytes)):
            name = urllib.parse.quote(f"{path}/{file}", safe="")
            demanded("POST", f"{self.storage}/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={name}", data,
                     {"Content-Type": picture_type(data)})
        body = {"fields": to_fields({"processingStatus": "pending", **(fields or {})})}
        demanded("PATCH", f"{self.documents}/{path}", json.dumps(body).encode())

    def publish(self, user, session):
        data = base64.b64encode(json.dumps(payload(user, session)).encode()).decode()
        return json.loads(demanded("POST", f"{self.pubsub}/topics/edits:publish",
                                   json.dumps({"messages": [{"data": data}]}).encode()))["messageIds"][0]

    def document(self, user, session):
        status, _, text = call("GET", f"{self.documents}/{folder(user, session)}")
        return from_fields(json.loads(text).get("fields", {})) if status == 200 else None

    def object(self, user, session, file):
        name = urllib.parse.quote(f"{folder(user, session)}/{file}", safe="")
        url = f"{self.storage}/storage/v1/b/{self.bucket}/o/{name}"
        status, _, text = call("GET", url)
        if status != 200:
            return None
        meta = json.loads(text)
        return {"data": demanded("GET", url + "?alt=media"), "generation": meta["generation"],
                "content_type": meta["contentType"]}

    def deliveries(self, user, session):
        """The emulator keeps none."""
        return []
