"""Firestore: documents in memory behind its REST calls: get, batchGet, commit, patch, delete, transactions."""
import base64
import copy
import json
import re
import secrets
import threading
import time

from .server import Reply
from .values import accepted_fields, from_stamp, has_path, is_part_of, set_path, stamp, value_at

WRITES_MAX = 500
TRANSACTIONS_MAX = 100
REQUEST_TIME = 1  # as Google's clients write this value of an enumeration


class Refused(Exception):
    """A request that is answered with an error of Firestore's form."""

    def __init__(self, code, status, message):
        super().__init__(message)
        self.reply = Reply(code, {"error": {"code": code, "message": message, "status": status}})


def invalid(message):
    return Refused(400, "INVALID_ARGUMENT", message)


def known(part, *names):
    """The part of a request; Refused if it has a member of another name, which Firestore does not overlook either."""
    unknown = set(part) - set(names)
    if unknown:
        raise invalid(f"not known, or not supported here: {', '.join(sorted(unknown)):.200}")
    return part


class Document:
    def __init__(self, fields, created_us, updated_us):
        self.fields, self.created_us, self.updated_us = fields, created_us, updated_us


def answers_refusals(handler):
    def handle(self, request):
        try:
            with self.lock:
                return handler(self, request)
        except Refused as e:
            return e.reply
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:  # JSON of another shape
            return invalid(f"the request is not understood: {e!r:.200}").reply
    return handle


class Documents:
    """The documents of one project, in databases that are there from the start. No update time is ever given twice."""

    def __init__(self, project, lock=None, databases=("(default)",)):
        self.project, self.databases = project, databases
        self.root = f"projects/{project}/databases/{databases[0]}/documents"  # of the documents that the owner puts
        self.lock = lock or threading.RLock()
        self.stored = {}  # full name -> Document
        self.transactions = {}  # name -> {full name of a document: its version as read}
        self.clock_us = 0

    def serve(self, server):
        """Adds the routes of Firestore to a server."""
        documents = "/v1/projects/([^/]+)/databases/([^/]+)/documents"
        server.route("POST", documents + ":commit", self.commit)
        server.route("POST", documents + ":batchGet", self.batch_get)
        server.route("POST", documents + ":beginTransaction", lambda r: Reply(200, {"transaction": self.begin()}))
        server.route("POST", documents + ":rollback", self.rollback)
        server.route("GET", documents + "/(.+)", self.get)
        server.route("PATCH", documents + "/(.+)", self.patch)
        server.route("DELETE", documents + "/(.+)", self.delete)

    # ---- for the owner of the cloud ----

    def fields(self, path):
        """A copy of the fields of a document, or None."""
        with self.lock:
            document = self.stored.get(f"{self.root}/{path}")
            return copy.deepcopy(document.fields) if document else None

    def put(self, path, fields):
        """Replaces a document; its update time is new even where its fields are the same."""
        with self.lock:
            name, at = f"{self.root}/{path}", self.tick()
            there = self.stored.get(name)
            self.stored[name] = Document(copy.deepcopy(fields), there.created_us if there else at, at)

    def remove(self, path):
        with self.lock:
            self.stored.pop(f"{self.root}/{path}", None)

    # ---- the REST calls ----

    @answers_refusals
    def get(self, request):
        name = self.name_in(request)
        if name not in self.stored:
            raise Refused(404, "NOT_FOUND", f"Document ({name}) not found.")
        return Reply(200, self.shown(name, request.query.get("mask.fieldPaths")))

    @answers_refusals
    def batch_get(self, request):
        """Documents, also within a transaction, which ends well if none of them has changed until then."""
        asked = known(json.loads(request.body), "documents", "mask", "transaction", "newTransaction")
        names = [self.checked_name(name) for name in asked.get("documents", [])]
        mask, at = (asked.get("mask") or {}).get("fieldPaths"), stamp(self.tick())
        transaction = self.begin() if "newTransaction" in asked else asked.get("transaction")
        if transaction:
            self.reads(transaction).update({name: self.version(name) for name in names})
        return Reply(200, [*([{"transaction": transaction}] if "newTransaction" in asked else []),
                           *({**self.found_or_missing(name, mask), "readTime": at} for name in names)])

    @answers_refusals
    def commit(self, request):
        """All writes are made, or none."""
        asked = known(json.loads(request.body), "writes", "transaction")
        writes = asked.get("writes", [])
        if len(writes) > WRITES_MAX:
            raise invalid(f"more than {WRITES_MAX} writes are not supported here")
        if asked.get("transaction"):
            reads = self.reads(asked["transaction"])
            del self.transactions[asked["transaction"]]
            if any(self.version(name) != version for name, version in reads.items()):
                raise Refused(409, "ABORTED", "a document that the transaction has read was changed meanwhile")
        changes = [self.checked(write) for write in writes]
        if len({name for name, _ in changes}) < len(changes):
            raise invalid("two writes to one document are not supported here")
        results = [self.carry_out(name, fields) for name, fields in changes]
        return Reply(200, {"writeResults": results, "commitTime": stamp(self.tick())})

    @answers_refusals
    def rollback(self, request):
        self.transactions.pop(json.loads(request.body).get("transaction"), None)
        return Reply(200, {})

    @answers_refusals
    def patch(self, request):
        name = self.name_in(request)
        write = {"update": {"name": name, "fields": json.loads(request.body or b"{}").get("fields", {})},
                 "currentDocument": self.condition_in(request)}
        if "updateMask.fieldPaths" in request.query:
            write["updateMask"] = {"fieldPaths": request.query["updateMask.fieldPaths"]}
        self.carry_out(*self.checked(write))
        return Reply(200, self.shown(name, None))

    @answers_refusals
    def delete(self, request):
        name = self.name_in(request)
        return Reply(200, self.carry_out(*self.checked({"delete": name, "currentDocument": self.condition_in(request)})))

    # ---- what they share ----

    def begin(self):
        """-> the name of a new transaction; the oldest is forgotten, as after some minutes by Firestore."""
        with self.lock:
            while len(self.transactions) >= TRANSACTIONS_MAX:
                del self.transactions[next(iter(self.transactions))]
            transaction = base64.b64encode(secrets.token_bytes(12)).decode()
            self.transactions[transaction] = {}
            return transaction

    def reads(self, transaction):
        """-> what it has read so far: the version of each document."""
        if transaction not in self.transactions:
            raise invalid("the transaction is not known, or is over")
        return self.transactions[transaction]

    def version(self, name):
        return self.stored[name].updated_us if name in self.stored else None

    def found_or_missing(self, name, mask):
        return {"found": self.shown(name, mask)} if name in self.stored else {"missing": name}

    def name_in(self, request):
        project, database, path = request.parts
        return self.checked_name(f"projects/{project}/databases/{database}/documents/{path}")

    @staticmethod
    def condition_in(request):
        exists, at = request.option("currentDocument.exists"), request.option("currentDocument.updateTime")
        return {**({"exists": exists == "true"} if exists else {}), **({"updateTime": at} if at else {})}

    def checked_name(self, name):
        found = re.fullmatch(f"projects/{re.escape(self.project)}/databases/([^/]+)/documents/(.+)", name, re.DOTALL)
        if found and found[1] not in self.databases:
            raise Refused(404, "NOT_FOUND", f"The database {found[1]:.100} does not exist for project {self.project}")
        segments = found[2].split("/") if found else []
        if not segments or len(segments) % 2:
            raise invalid(f"not the name of a document of this project: {name:.200}")
        if any(s in ("", ".", "..") or re.fullmatch("__.*__", s) or len(s.encode()) > 1500 for s in segments):
            raise invalid(f"a reserved or empty id in {name:.200}")
        return name

    def checked(self, write):
        """-> (name, the fields that the document will have, or None where it will be gone); Refused if it may not be."""
        known(write, "update", "delete", "updateMask", "updateTransforms", "currentDocument")
        name = self.checked_name(write["delete"] if "delete" in write else write["update"]["name"])
        self.check_condition(name, write.get("currentDocument") or {})
        if "delete" in write:
            return name, None
        fields = accepted_fields(known(write["update"], "name", "fields").get("fields", {}))
        if "updateMask" in write:
            new, fields = fields, copy.deepcopy(self.stored[name].fields) if name in self.stored else {}
            for path in self.checked_mask(write["updateMask"]):
                value = value_at(new, path)
                set_path(fields, path, value if value != {} else None)
        for transform in write.get("updateTransforms") or []:
            if known(transform, "fieldPath", "setToServerValue").get("setToServerValue") not in (REQUEST_TIME, "REQUEST_TIME"):
                raise invalid(f"the only transform here is setToServerValue REQUEST_TIME: {transform!r:.200}")
            set_path(fields, transform["fieldPath"], {"timestampValue": stamp(self.tick())})
        return name, fields

    @staticmethod
    def checked_mask(mask):
        """-> its paths; Refused if one of them leads into another, so that it would not be clear which value counts."""
        paths = known(mask, "fieldPaths").get("fieldPaths", [])
        if any(is_part_of(a, b) for n, a in enumerate(paths) for m, b in enumerate(paths) if n != m):
            raise invalid("a path of the mask is part of another")
        return paths

    def check_condition(self, name, condition):
        document = self.stored.get(name)
        if len(known(condition, "exists", "updateTime")) > 1:
            raise invalid("a precondition is either exists or updateTime")
        if "exists" in condition and condition["exists"] != (document is not None):
            if document:
                raise Refused(409, "ALREADY_EXISTS", f"Document already exists: {name}")
            raise Refused(404, "NOT_FOUND", f"No document to update: {name}")
        if "updateTime" in condition:
            try:
                wanted = from_stamp(condition["updateTime"])
            except ValueError as e:
                raise invalid(str(e)) from None
            if not document or document.updated_us != wanted:
                raise Refused(400, "FAILED_PRECONDITION", "the stored version does not match the required base version")

    def carry_out(self, name, fields):
        """-> the result of a write; one that changes nothing leaves the update time as it was."""
        document = self.stored.get(name)
        if fields is None:
            self.stored.pop(name, None)
            return {}
        if not document or document.fields != fields:
            at = self.tick()
            document = self.stored[name] = Document(fields, document.created_us if document else at, at)
        return {"updateTime": stamp(document.updated_us)}

    def tick(self):
        self.clock_us = max(self.clock_us + 1, int(time.time() * 1e6))
        return self.clock_us

    def shown(self, name, mask):
        document = self.stored[name]
        answer = {"name": name, "createTime": stamp(document.created_us), "updateTime": stamp(document.updated_us)}
        fields = copy.deepcopy(document.fields)
        if mask:
            fields = {}
            for path in mask:
                if has_path(document.fields, path):
                    set_path(fields, path, copy.deepcopy(value_at(document.fields, path)))
        if fields:
            answer["fields"] = fields
        return answer
