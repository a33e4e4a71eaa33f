"""The two clients, end to end: each in the embedded cloud and between Google's emulators, with the real worker."""
import base64
import contextlib
import json
import os

import installs
import services
from harness import Suite, call, equal, jpeg_size, mask_png, wait_until

PHOTO_SIZE = (512, 384)  # of build/demo-inputs
NOBODY_READS = "poison"  # a topic whose messages no worker gets
BACKEND = None
AT_ONCE = 4  # each test has a session of its own, and most of its time is that of clients that start


def picture(name):
    return os.path.join(services.inputs(), name)


def black_mask():
    path = os.path.join(installs.OUT, "black.png")
    with open(path, "wb") as f:
        f.write(mask_png(*PHOTO_SIZE, box=(0, 0, 0, 0)))
    return path


def path_of(name):
    return f"users/u1/sessions/{name}"


def document_of(name):
    return BACKEND.document(path_of(name))


def of(name):
    return ("--user", "u1", "--session", name)


def begin(client, name, *words, mask=None):
    pictures = ("--photo", picture("original.jpg"), "--mask", mask or picture("mask_auto.png"))
    return client(BACKEND, "edit", *of(name), *pictures, "--out", os.path.join(installs.OUT, "out", name), *words)


def succeeded(result):
    """-> what the command printed."""
    status, said, complained = result
    equal(status, 0, said + complained)
    return said


def publish(name):
    """A message by the plain REST call, as any other publisher sends it."""
    data = base64.b64encode(json.dumps({"userId": "u1", "sessionId": name}).encode()).decode()
    url = f"http://{BACKEND.env['PUBSUB_EMULATOR_HOST']}/v1/projects/demo/topics/{services.TOPIC}:publish"
    status, _, text = call("POST", url, json.dumps({"messages": [{"data": data}]}).encode())
    equal(status, 200, text)


def acknowledged(name):
    """How many messages for the session the worker has acknowledged."""
    return sum(status == 204 for status, _ in BACKEND.answers(path_of(name)))


def an_edit_is_completed_and_both_pictures_arrive(client, name):
    said = succeeded(begin(client, name))
    for file in ("edited.jpg", "preview.jpg"):
        with open(os.path.join(installs.OUT, "out", name, file), "rb") as f:
            data = f.read()
        equal(jpeg_size(data), PHOTO_SIZE, file)
        equal(data, BACKEND.objects.find(f"{path_of(name)}/{file}")["data"], file)
    document = document_of(name)
    equal((document["processingStatus"], document["inpaint"]["attempts"]), ("completed", 1))
    assert document["createdAt"] and "completed" in said, said


def a_failure_is_told_and_another_mask_mends_it(client, name):
    status, said, complained = begin(client, name, mask=black_mask())
    equal(status, 1, said + complained)
    document = document_of(name)
    equal((document["processingStatus"], document["inpaint"]["errorCode"]), ("failed", "MASK_EMPTY"))
    assert document["errorMessage"] in complained and "to do: mask" in complained, complained
    succeeded(client(BACKEND, "again", *of(name), "--mask", picture("mask_auto.png"), "--no-wait", "--topic", NOBODY_READS))
    document = document_of(name)
    assert document["processingStatus"] == "pending" and "errorMessage" not in document, document
    succeeded(client(BACKEND, "again", *of(name), "--out", os.path.join(installs.OUT, "out", name)))
    equal(document_of(name)["processingStatus"], "completed")


def three_messages_are_one_edit(client, name):
    succeeded(begin(client, name, "--no-wait"))
    publish(name)
    wait_until("the session is completed", lambda: document_of(name)["processingStatus"] == "completed", 120)
    publish(name)
    wait_until("all three are acknowledged", lambda: acknowledged(name) == 3, 60)
    equal(document_of(name)["inpaint"]["attempts"], 1)
    equal([outcome for _, outcome in BACKEND.answers(path_of(name))].count("completed"), 1)


def a_cancelled_session_is_left_alone_until_it_is_asked_for_again(client, name):
    succeeded(begin(client, name, "--no-wait", "--topic", NOBODY_READS))
    equal(document_of(name)["processingStatus"], "pending")
    equal(succeeded(client(BACKEND, "cancel", *of(name))).strip(), "cancelled")
    publish(name)
    wait_until("the message is acknowledged", lambda: acknowledged(name) == 1, 60)
    equal(document_of(name)["processingStatus"], "cancelled")
    succeeded(client(BACKEND, "again", *of(name), "--out", os.path.join(installs.OUT, "out", name)))
    equal(succeeded(client(BACKEND, "cancel", *of(name))).strip(), "completed")  # it has ended: nothing to cancel


def a_deleted_session_leaves_nothing(client, name):
    succeeded(begin(client, name, "--no-wait", "--topic", NOBODY_READS))
    assert BACKEND.objects.find(f"{path_of(name)}/original.jpg")
    for _ in range(2):  # the second time there is nothing to do
        succeeded(client(BACKEND, "delete", *of(name)))
    equal(document_of(name), None)
    equal([o for o in BACKEND.objects.stored if o.startswith(path_of(name) + "/")], [])


def wrong_usage_and_a_missing_file_are_told_apart(client, _):
    status, said, _ = client(BACKEND, "--help")
    assert status == 0 and "again" in said, said
    for words in (("edit", "--user", "u1"), ("forget", *of("x")), ("cancel", "--user", "u/1", "--session", "x")):
        status, _, complained = client(BACKEND, *words)
        assert status == 2 and complained, (words, status, complained)
    status, _, complained = client(BACKEND, "edit", "--user", "u1", "--photo", "/nowhere.jpg", "--mask", "/nowhere.png")
    assert status == 1 and "nowhere.jpg" in complained, (status, complained)
    status, _, complained = client(BACKEND, "cancel", *of("never-made"))
    assert status == 1 and "no such session" in complained, (status, complained)


CLEAN_UP = """
import datetime, os, sys
sys.path.insert(0, sys.argv[1])
from clients import open_clients
from sessions import Sessions
db, bucket, publish = open_clients("old-sessions", os.environ["FIREBASE_STORAGE_BUCKET"], "t")
at = datetime.datetime(1960, 1, 1, tzinfo=datetime.timezone.utc)
for path in ("users/of|others/sessions/old", "users/of/sessions/old"):
    db.document(path).set({"createdAt": at})
print(Sessions(db, bucket, publish).clean_up(at + datetime.timedelta(seconds=1)))
print([s.reference.path for s in db.collection_group("sessions").get() if "old" in s.reference.path])
"""


def python_removes_old_sessions_whatever_their_ids(backend):
    # in a project of its own: those of others clean up, too
    status, said, complained = services.run([installs.python(), "-c", CLEAN_UP, os.path.join(installs.EXAMPLES, "python")], backend)
    equal((status, said), (0, "2\n[]\n"), complained)


BEHAVIOURS = (an_edit_is_completed_and_both_pictures_arrive, a_failure_is_told_and_another_mask_mends_it,
              three_messages_are_one_edit, a_cancelled_session_is_left_alone_until_it_is_asked_for_again,
              a_deleted_session_leaves_nothing, wrong_usage_and_a_missing_file_are_told_apart)
# What differs between REST and gRPC: how a document is read, written and waited for.
OVER_GRPC = (an_edit_is_completed_and_both_pictures_arrive, a_failure_is_told_and_another_mask_mends_it,
             a_deleted_session_leaves_nothing)
MORE = (("python_emulators_removes_old_sessions_whatever_their_ids", python_removes_old_sessions_whatever_their_ids),)


def suite(kind, where, behaviours=BEHAVIOURS, more=()):
    """The behaviours of both clients, and other tests, test(backend), that share the backend."""
    @contextlib.contextmanager
    def opened():
        global BACKEND
        with services.opened(kind) as BACKEND:
            yield

    def test(language, behaviour):
        session = f"{language}-{behaviours.index(behaviour)}"
        return f"{language}_{where}_{behaviour.__name__}", lambda: behaviour(services.LANGUAGES[language], session)

    tests = [test(language, behaviour) for language in services.LANGUAGES for behaviour in behaviours]
    return Suite([*tests, *((name, lambda run=run: run(BACKEND)) for name, run in more)], opened, at_once=AT_ONCE)
