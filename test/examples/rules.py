"""The security rules, by the rules engine of Google's Firestore emulator.

A user's request carries an unsigned token, which the emulator believes. The rules for Storage have an emulator of their own, in
firebase-tools, which downloads its engine; so their conditions, which are in the same language, are evaluated here as those of
documents: the file `F` of a session is the document `files/F`, its size and content type are fields of it. Whether Firebase
takes the file as it is, only a deployment tells.
"""
import base64
import itertools
import json
import os

import installs
from harness import call, equal
from tools.local_cloud.values import to_fields

PROJECTS = {"firestore": "firestore-rules", "storage": "storage-rules"}
NUMBERS = itertools.count(1)
MIB = 1 << 20
DENIED, ALLOWED = False, True


def read(name):
    with open(os.path.join(installs.EXAMPLES, "rules", name), encoding="utf-8") as f:
        return f.read()


def as_documents(rules):
    """The rules for Storage as rules for documents; each replacement must be needed, or the file is not what we think."""
    replacements = (("service firebase.storage", "service cloud.firestore"),
                    ("match /b/{bucket}/o {", "match /databases/{database}/documents {"),
                    ("/sessions/{sessionId}/{file} {", "/sessions/{sessionId}/files/{file} {"),
                    ("request.resource.size", "request.resource.data.size"),
                    ("request.resource.contentType", "request.resource.data.contentType"))
    for old, new in replacements:
        assert old in rules, f"storage.rules has no '{old}'"
        rules = rules.replace(old, new)
    return rules


def token_of(user):
    """An unsigned token of Firebase Auth."""
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part({'sub': user, 'user_id': user, 'iat': 1, 'exp': 1 << 40})}."


class Client:
    """Documents of one project, as a user of the app, as nobody (None) or as the owner of the project."""

    def __init__(self, backend, project, user):
        host = backend.services.env["FIRESTORE_EMULATOR_HOST"]
        self.name = f"projects/{project}/databases/(default)/documents"
        self.url = f"http://{host}/v1/{self.name}"
        token = "owner" if user == "owner" else user and token_of(user)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method, path, value=None):
        """-> whether it was allowed; any answer but yes and 403 is a fault of the test."""
        status, _, text = call(method, self.url + path, None if value is None else json.dumps(value).encode(), self.headers)
        assert status in (200, 403), f"{method} {path}: {status} {text[:300]}"
        return status == 200

    def get(self, path):
        return self.ask("GET", f"/{path}")

    def list(self, path):
        return self.ask("GET", f"/{path}")

    def delete(self, path):
        return self.ask("DELETE", f"/{path}")

    def write(self, path, fields, mask=None, now=()):
        """`mask`: only these fields; those that are not in `fields` are deleted. `now`: set to the server's time."""
        write = {"update": {"name": f"{self.name}/{path}", "fields": to_fields(fields)},
                 "updateTransforms": [{"fieldPath": name, "setToServerValue": "REQUEST_TIME"} for name in now]}
        if mask is not None:
            write.update(updateMask={"fieldPaths": mask}, currentDocument={"exists": True})
        return self.ask("POST", ":commit", {"writes": [write]})


def load(backend, kind, rules):
    host = backend.services.env["FIRESTORE_EMULATOR_HOST"]
    body = json.dumps({"rules": {"files": [{"name": f"{kind}.rules", "content": rules}]}}).encode()
    status, _, text = call("PUT", f"http://{host}/emulator/v1/projects/{PROJECTS[kind]}:securityRules", body)
    equal(status, 200, text)


def clients(backend, kind):
    return (Client(backend, PROJECTS[kind], user) for user in ("alice", "bob", None, "owner"))


def verdicts(expected):
    """expected: {what: (verdict, wanted)}; tells all that differ."""
    wrong = {what: verdict for what, (verdict, wanted) in expected.items() if verdict is not wanted}
    equal(wrong, {}, "allowed (True) or denied (False) against what the rules shall do")


def new_path(user="alice"):
    return f"users/{user}/sessions/s{next(NUMBERS)}"


def a_user_makes_only_waiting_sessions_of_the_own(backend):
    load(backend, "firestore", read("firestore.rules"))
    alice, bob, nobody, _ = clients(backend, "firestore")
    pending = {"processingStatus": "pending"}

    def made(client, fields=None, path=None, now=("createdAt",)):
        return client.write(path or new_path(), {**pending, **(fields or {})}, now=now)

    verdicts({
        "own": (made(alice), ALLOWED),
        "with wishes": (made(alice, {"prompt": "grass", "sceneLabels": ["grass"], "maskKind": "white", "maskOrientation": "displayed",
                                     "editRequestId": "r"}), ALLOWED),
        "prompt null": (made(alice, {"prompt": None}), ALLOWED),
        "of another user": (made(bob), DENIED),
        "of nobody": (made(nobody), DENIED),
        "completed": (made(alice, {"processingStatus": "completed"}), DENIED),
        "processing": (made(alice, {"processingStatus": "processing"}), DENIED),
        "no status": (alice.write(new_path(), {}, now=("createdAt",)), DENIED),
        "no time": (made(alice, now=()), DENIED),
        "a time of its own": (made(alice, {"createdAt": "2020-01-01"}, now=()), DENIED),
        "cost": (made(alice, {"cost": 0.0}), DENIED),
        "inpaint": (made(alice, {"inpaint": {"attempts": 0}}), DENIED),
        "editedImagePath": (made(alice, {"editedImagePath": "users/bob/sessions/s/edited.jpg"}), DENIED),
        "errorMessage": (made(alice, {"errorMessage": "x"}), DENIED),
        "prompt of 2000 bytes": (made(alice, {"prompt": "é" * 1000}), ALLOWED),
        "prompt of 2002 bytes": (made(alice, {"prompt": "é" * 1001}), DENIED),
        "prompt is a number": (made(alice, {"prompt": 1}), DENIED),
        "65 labels": (made(alice, {"sceneLabels": ["x"] * 65}), DENIED),
        "another mask kind": (made(alice, {"maskKind": "guess"}), DENIED),
        "another orientation": (made(alice, {"maskOrientation": "upside-down"}), DENIED),
        "an id with a percent sign": (made(alice, path="users/alice/sessions/a%25b"), DENIED),
        "another collection": (made(alice, path="users/alice/others/o1"), DENIED),
        "the user's own document": (made(alice, path="users/alice"), DENIED),
    })


WORKERS = {"cost": 0.01, "inpaint": {"attempts": 1, "progress": 40}, "editedImagePath": "e", "previewImagePath": "p"}


def a_user_asks_cancels_and_gives_up_and_changes_nothing_else(backend):
    load(backend, "firestore", read("firestore.rules"))
    alice, bob, nobody, owner = clients(backend, "firestore")

    def changed(client, status, fields, mask=None, **there):
        path = new_path()
        assert owner.write(path, {"processingStatus": status, **WORKERS, **there}, now=("createdAt",))
        return client.write(path, fields, mask or list(fields))

    def to(status, **more):
        return {"processingStatus": status, **more}

    asks = to("pending", editRequestId="r2")
    expected = {
        "cancel of another user": (changed(bob, "pending", to("cancelled")), DENIED),
        "cancel of nobody": (changed(nobody, "pending", to("cancelled")), DENIED),
        "cancel with cost": (changed(alice, "pending", to("cancelled", cost=0.0)), DENIED),
        "retry without the old message": (changed(alice, "failed", asks, [*asks, "errorMessage"], errorMessage="old"), ALLOWED),
        "retry with a message of the own": (changed(alice, "failed", {**asks, "errorMessage": "mine"}, errorMessage="old"), DENIED),
        "retry with another prompt": (changed(alice, "failed", {**asks, "prompt": "sand"}), ALLOWED),
        "retry with a long prompt": (changed(alice, "failed", {**asks, "prompt": "x" * 2001}), DENIED),
        "retry of another user": (changed(bob, "failed", asks), DENIED),
        "retry with attempts": (changed(alice, "failed", {**asks, "inpaint": {"attempts": 0}}), DENIED),
        "retry that deletes inpaint": (changed(alice, "failed", asks, [*asks, "inpaint"]), DENIED),
        "another createdAt": (changed(alice, "pending", {"createdAt": 1}), DENIED),
        "prompt while it is at work": (changed(alice, "processing", {"prompt": "sand"}), DENIED),
        "a path of another user": (changed(alice, "completed", {"editedImagePath": "x"}), DENIED),
        "gives up with cost": (changed(alice, "completed", to("deleted", cost=0.0)), DENIED),
    }
    for status in ("pending", "processing", "completed", "failed", "cancelled", "canceled", "deleted"):
        waits, over = status in ("pending", "processing"), status in ("processing", "deleted")
        expected[f"{status}: cancel"] = (changed(alice, status, to("cancelled")), waits)
        expected[f"{status}: ask"] = (changed(alice, status, asks), not over)
        expected[f"{status}: give up"] = (changed(alice, status, to("deleted")), ALLOWED)
        for word in ("processing", "completed", "failed", "anything"):
            if word != status:
                expected[f"{status}: {word}"] = (changed(alice, status, to(word)), DENIED)
    verdicts(expected)


def a_user_reads_and_lists_the_own_sessions_and_deletes_none(backend):
    load(backend, "firestore", read("firestore.rules"))
    alice, bob, nobody, owner = clients(backend, "firestore")
    path = new_path()
    assert owner.write(path, {"processingStatus": "completed", **WORKERS})
    verdicts({
        "own": (alice.get(path), ALLOWED), "of another": (bob.get(path), DENIED), "of nobody": (nobody.get(path), DENIED),
        "own list": (alice.list("users/alice/sessions"), ALLOWED), "another's list": (bob.list("users/alice/sessions"), DENIED),
        "all users": (alice.list("users"), DENIED), "delete": (alice.delete(path), DENIED), "other document": (alice.get("x/y"), DENIED),
    })


def a_user_uploads_photo_and_mask_and_only_reads_the_results(backend):
    load(backend, "storage", as_documents(read("storage.rules")))
    alice, bob, nobody, owner = clients(backend, "storage")

    def put(client, file, content_type="image/jpeg", size=MIB, path=None):
        return client.write(f"{path or new_path()}/files/{file}", {"size": size, "contentType": content_type})

    expected = {
        "of another": (put(bob, "original.jpg"), DENIED), "of nobody": (put(nobody, "original.jpg"), DENIED),
        "empty": (put(alice, "original.jpg", size=0), DENIED), "64 MiB": (put(alice, "original.jpg", size=64 * MIB), ALLOWED),
        "more": (put(alice, "original.jpg", size=64 * MIB + 1), DENIED), "big mask": (put(alice, "mask_auto.png", "image/png", 65 * MIB), DENIED),
        "html": (put(alice, "original.jpg", "text/html"), DENIED), "svg": (put(alice, "mask_auto.png", "image/svg+xml"), DENIED),
        "hidden type": (put(alice, "original.jpg", "text/html;image/jpeg"), DENIED),
        "HEIC photo": (put(alice, "original.jpg", "image/heic"), ALLOWED), "HEIC mask": (put(alice, "mask_auto.png", "image/heic"), DENIED),
        "result": (put(alice, "edited.jpg"), DENIED), "preview": (put(alice, "preview.jpg"), DENIED),
        "other file": (put(alice, "other.jpg"), DENIED), "odd id": (put(alice, "original.jpg", path="users/alice/sessions/a%25b"), DENIED),
    }
    for file, content_type in (("original.jpg", "image/jpeg"), ("mask_auto.png", "image/png"), ("edited.jpg", "image/jpeg"),
                               ("preview.jpg", "image/jpeg"), ("other.jpg", "image/jpeg")):
        path, is_input, is_ours = new_path(), file in ("original.jpg", "mask_auto.png"), file != "other.jpg"
        expected[f"{file}: first"] = (put(alice, file, content_type, path=path), is_input)
        assert put(owner, file, content_type, path=path)
        expected[f"{file}: over it"] = (put(alice, file, content_type, 2 * MIB, path), is_input)
        expected[f"{file}: read"] = (alice.get(f"{path}/files/{file}"), is_ours)
        expected[f"{file}: read by another"] = (bob.get(f"{path}/files/{file}"), DENIED)
        expected[f"{file}: read by nobody"] = (nobody.get(f"{path}/files/{file}"), DENIED)
        expected[f"{file}: delete"] = (alice.delete(f"{path}/files/{file}"), DENIED)
        expected[f"{file}: list"] = (alice.list(f"{path}/files"), DENIED)
    verdicts(expected)


TESTS = tuple((f"rules_{test.__name__}", test) for test in (
    a_user_makes_only_waiting_sessions_of_the_own, a_user_asks_cancels_and_gives_up_and_changes_nothing_else,
    a_user_reads_and_lists_the_own_sessions_and_deletes_none, a_user_uploads_photo_and_mask_and_only_reads_the_results))
