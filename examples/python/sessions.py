"""What a server does with sessions: make, upload, ask for the edit, wait, cancel, delete, clean up.

Everything from outside is injected, so that the same code runs in a server, in a script and in a test: `db` is a
google.cloud.firestore.Client, `bucket` a bucket of google.cloud.storage, `publish` a function that takes bytes and returns the
id of the message. A user_id must be the caller's: a server takes it from the verified token, never from the request's body.
"""
import json
import re
import threading
import time
import uuid

from google.api_core.exceptions import GoogleAPIError
from google.cloud import firestore

import protocol
from protocol import CANCELLED, DELETED, PENDING, PROCESSING, PROMPT_MAX_BYTES, UPLOAD_MAX_BYTES

CLEAN_UP_AT_ONCE = 100
POLL_SECONDS = 0.5
LISTENER_CHECK_SECONDS = 5
WISHES = ("prompt", "sceneLabels", "maskKind", "maskOrientation")


class SessionError(Exception):
    """What was asked for cannot be done; the text is for people."""


def content_type(data):
    """Cloud Storage keeps it with the object; the worker itself looks at the bytes."""
    for begin, name in ((b"\xff\xd8", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "image/webp")):
        if data.startswith(begin):
            return name
    return "image/heic"


def checked_wishes(wishes):
    """Those that are given; only these get into a document."""
    if unknown := set(wishes) - set(WISHES):
        raise SessionError(f"Not a wish: {', '.join(sorted(unknown))}. Wishes are {', '.join(WISHES)}.")
    prompt = wishes.get("prompt")
    if prompt is not None and not (isinstance(prompt, str) and len(prompt.encode()) <= PROMPT_MAX_BYTES):
        raise SessionError(f"A prompt is a text of at most {PROMPT_MAX_BYTES} bytes.")
    return {name: value for name, value in wishes.items() if value is not None}


class Sessions:
    def __init__(self, db, bucket, publish):
        self.db, self.bucket, self.publish = db, bucket, publish

    def reference(self, user_id, session_id):
        if not (protocol.is_id(user_id) and protocol.is_id(session_id)):
            raise SessionError("An id has 1 to 128 of A-Z, a-z, 0-9, _ and -.")
        return self.db.document(protocol.session_path(user_id, session_id))

    def create(self, user_id, session_id=None, **wishes):
        """Makes a session that waits for its pictures; -> its id. Called again with the same id it changes nothing."""
        session_id = session_id or str(uuid.uuid4())
        reference = self.reference(user_id, session_id)
        fields = {**checked_wishes(wishes), "processingStatus": PENDING, "createdAt": firestore.SERVER_TIMESTAMP}

        @firestore.transactional
        def make(transaction):
            if not reference.get(transaction=transaction).exists:
                transaction.create(reference, fields)

        make(self.db.transaction())
        return session_id

    def upload(self, user_id, session_id, photo=None, mask=None):
        """The bytes of the photo and of the mask: white on black, of the size of the photo as it is displayed."""
        self.reference(user_id, session_id)
        for file, data in ((protocol.PHOTO, photo), (protocol.MASK, mask)):
            if data is None:
                continue
            if not 0 < len(data) <= UPLOAD_MAX_BYTES:
                raise SessionError(f"{file} has {len(data)} bytes; 1 to {UPLOAD_MAX_BYTES} are accepted.")
            name = protocol.object_path(user_id, session_id, file)
            self.bucket.blob(name).upload_from_string(data, content_type(data))

    def request_edit(self, user_id, session_id, **wishes):
        """Asks for the edit: the first time, again after a failure, or anew once it is done.

        The document is committed before the message is sent: a worker that gets a message finds the session as it shall be.
        Calling it twice does no harm. A session at work is left alone, and of two messages for one session the worker takes
        one. If publishing fails, the session waits and the caller gets the error; calling again sends the message.
        -> the message's id, or None where a worker already has the session.
        """
        reference, changed = self.reference(user_id, session_id), checked_wishes(wishes)
        for file in (protocol.PHOTO, protocol.MASK):
            if not self.bucket.blob(protocol.object_path(user_id, session_id, file)).exists():
                raise SessionError(f"{file} is not uploaded yet.")

        def fields(status):
            if status == DELETED:
                raise SessionError("The session is deleted.")
            # Without the old message, which the screen would otherwise show until the new job ends.
            waits = {**changed, "processingStatus": PENDING, "errorMessage": firestore.DELETE_FIELD}
            return None if status == PROCESSING else waits

        if self.change(reference, fields) == PROCESSING:
            return None
        return self.publish(json.dumps({"userId": user_id, "sessionId": session_id}).encode())

    def cancel(self, user_id, session_id):
        """The user no longer wants it. A worker that has it notices within a second and writes nothing more. -> the status."""
        waits = (PENDING, PROCESSING)
        before = self.change(self.reference(user_id, session_id),
                             lambda status: {"processingStatus": CANCELLED} if status in waits else None)
        return CANCELLED if before in waits else before

    def remove(self, user_id, session_id):
        """Removes a session with its pictures. The status comes first, so that a worker stops; one that was just uploading
        may still leave a file, which a lifecycle rule of the bucket takes."""
        self.remove_at(self.reference(user_id, session_id))

    def remove_at(self, reference):
        if self.change(reference, lambda _: {"processingStatus": DELETED}, may_be_absent=True) is None:
            return
        for blob in self.bucket.list_blobs(prefix=f"{reference.path}/"):
            blob.delete()
        reference.delete()

    def clean_up(self, cutoff):
        """Removes up to a hundred sessions that were made before `cutoff`, a datetime, the oldest first; -> how many. One that
        cannot be removed keeps none of the others; an error is raised when only such are left."""
        made_before = firestore.FieldFilter("createdAt", "<", cutoff)
        query = self.db.collection_group("sessions").where(filter=made_before).order_by("createdAt").limit(CLEAN_UP_AT_ONCE)
        # By what was found, not by its ids: those of other makers than this file are other than is_id() allows.
        ours = [found.reference for found in query.get() if re.fullmatch(r"users/[^/]+/sessions/[^/]+", found.reference.path)]
        errors = []
        for reference in ours:
            try:
                self.remove_at(reference)
            except GoogleAPIError as e:
                errors.append(e)
        if errors and len(errors) == len(ours):
            raise errors[0]
        return len(ours) - len(errors)

    def wait(self, user_id, session_id, show=lambda view: None, timeout_seconds=600, poll=False):
        """Waits until the session has ended; show(view) is called at each change. -> what describe() says of it then.
        `poll` asks twice a second instead of listening."""
        follow = polled if poll else listened
        for snapshot in follow(self.reference(user_id, session_id), time.monotonic() + timeout_seconds):
            if not snapshot.exists:
                raise SessionError("The session was deleted.")
            view = protocol.describe(snapshot.to_dict())
            show(view)
            if view["ended"]:
                return view
        raise SessionError(f"The edit has not ended within {timeout_seconds} s. Its document still tells when it does.")

    def download(self, view):
        """-> {file name: bytes} of a completed session."""
        paths = (view["edited_image_path"], view["preview_image_path"])
        return {path.rsplit("/", 1)[1]: self.bucket.blob(path).download_as_bytes() for path in paths}

    def change(self, reference, fields, may_be_absent=False):
        """In a transaction: fields(status) are written, or nothing where it gives None. -> the status before."""
        @firestore.transactional
        def carry_out(transaction):
            snapshot = reference.get(transaction=transaction)
            if not snapshot.exists:
                if may_be_absent:
                    return None
                raise SessionError("There is no such session.")
            status = snapshot.to_dict().get("processingStatus") or PENDING
            wanted = fields(status)
            if wanted:
                transaction.update(reference, wanted)
            return status

        return carry_out(self.db.transaction())


def polled(reference, end):
    while time.monotonic() < end:
        yield reference.get()
        time.sleep(POLL_SECONDS)


def listened(reference, end):
    """Each state of the document that the listener is told of; the last one, where several came at once."""
    latest, news = [], threading.Event()

    def told(snapshots, _changes, _read_time):
        latest[:] = snapshots
        news.set()

    watch = reference.on_snapshot(told)
    try:
        while (left := end - time.monotonic()) > 0:
            if news.wait(min(left, LISTENER_CHECK_SECONDS)):
                news.clear()
                yield from latest[-1:] or [reference.get()]  # a document that is gone is in no list
            elif not watch.is_active:  # it is told of no error
                raise SessionError("Firestore no longer tells of changes: the right to read may be missing.")
    finally:
        watch.unsubscribe()
