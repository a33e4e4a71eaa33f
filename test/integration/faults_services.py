"""Firestore and Storage that answer wrongly, late or not at all."""
import time

from fake_cloud import *  # noqa: F403
from harness import equal, jpeg_size, mask_png, photo_png
from house import HTML, LARGE, PHOTO, SHAPES, House, app_touches, cut, flip, for_house, run_cases, whole_of_range


# ---- Firestore's faults ----

def set_body(body):
    def change(reply):
        reply.body = body
    return mangled(change)


def test_claim_faults():
    run_cases("claim", [
        ("lost", [("claim", lose, 1)], 204),
        ("applied, reset", [("claim", applied(lose), 1)], 204),
        ("applied, then the read fails too", [("claim", applied(lose), 1), ("get", lambda r, a: a(r), 1), ("get", lose, 1)], 204),
        ("applied, 503", [("claim", applied(HTML), 1)], 204),
        ("applied, 504", [("claim", applied(rpc_error(504, "DEADLINE_EXCEEDED")), 1)], 204),
        ("applied, {}", [("claim", set_body(b"{}"), 1)], 204),
        ("applied, HTML with 200", [("claim", set_body(b"<html>"), 1)], 204),
        ("applied, cut", [("claim", mangled(cut), 1)], 204),
        ("ABORTED", [("claim", rpc_error(409, "ABORTED"), 3)], 204),
        ("ALREADY_EXISTS", [("claim", rpc_error(409, "ALREADY_EXISTS"), 1)], 204),
        ("FAILED_PRECONDITION", [("claim", rpc_error(400, "FAILED_PRECONDITION"), 1)], 204),
        ("the app was faster", [("claim", app_touches, 4)], 204),
        ("storm", [("claim", HTML, 3)], 204),
        ("slower, please", [("claim", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("slower, please, in words", [("claim", answer(429, b"", {"Retry-After": "soon"}), 1)], 204),
        ("token refused once", [("claim", rpc_error(401, "UNAUTHENTICATED"), 1)], 204),
        ("token refused", [("claim", rpc_error(401, "UNAUTHENTICATED"), 2)], 503),
        ("not allowed", [("claim", rpc_error(403, "PERMISSION_DENIED"), 1)], 503),
    ] + [(f"a body that is {name}", [("claim", action, 1)], 204) for name, action in SHAPES])


def test_read_faults():
    def other_name(reply):
        reply.body = reply.body.replace(b"/sessions/", b"/sessions/x")
    run_cases("read", [
        ("{}", [("get", answer(200, b"{}"), 1)], 204),
        ("another document", [("get", mangled(other_name), 1)], 204),
        ("HTML with 200", [("get", answer(200, b"<html>"), 1)], 204),
        ("10 MB", [("get", answer(200, b" " * 10000000), 1)], 204),
        ("40 MB", [("get", answer(200, b" " * 40000000), 1)], 204),
        ("no document at all", [("get", answer(200, b"{}"), 2), ("look", lambda r, a: a(r), 1), ("look", answer(200, b"{}"), 4)], 503),
        ("the look before the queue is lost", [("look", lose, 1)], 204),
        ("the look before the queue is refused", [("look", rpc_error(403, "PERMISSION_DENIED"), 1)], 204),
        ("the look before the queue is garbled", [("look", answer(200, b"<html>"), 1)], 204),
        ("deep", [("get", answer(200, b"[" * 100000), 1)], 204),
        ("cut", [("get", mangled(cut), 2)], 204),
        ("lost", [("get", lose, 3)], 204),
        ("storm", [("get", HTML, 4)], 204),
        ("longer storm", [("get", HTML, 5)], 503),
        ("ABORTED", [("get", rpc_error(409, "ABORTED"), 2)], 204),
        ("token refused", [("get", rpc_error(401, "UNAUTHENTICATED"), 2)], 503),
    ])


def test_result_faults():
    run_cases("result", [
        ("lost", [("complete", lose, 1)], 204),
        ("applied, reset", [("complete", applied(lose), 1)], 204),
        ("applied, reset, storm of reads", [("complete", applied(lose), 1), ("look", lambda r, a: a(r), 1), ("look", HTML, 3)], 204),
        ("applied, nobody knows", [("complete", applied(lose), 1), ("look", lambda r, a: a(r), 1), ("look", HTML, 5)], 503),
        ("applied, 503", [("complete", applied(HTML), 1)], 204),
        ("applied, {}", [("complete", set_body(b"{}"), 1)], 204),
        ("ABORTED", [("complete", rpc_error(409, "ABORTED"), 3)], 204),
        ("FAILED_PRECONDITION", [("complete", rpc_error(400, "FAILED_PRECONDITION"), 1)], 204),
        ("the app was faster", [("complete", app_touches, 4)], 204),
        ("storm", [("complete", HTML, 4)], 204),
        ("slower, please", [("complete", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("not allowed", [("complete", rpc_error(403, "PERMISSION_DENIED"), 1)], 503),
    ])


def test_progress_faults_change_nothing():
    for_all = [("lost", lose), ("applied, reset", applied(lose)), ("storm", HTML), ("ABORTED", rpc_error(409, "ABORTED")),
               ("slower", answer(429, b"", {"Retry-After": "30"})), ("denied", rpc_error(403, "PERMISSION_DENIED")),
               ("nonsense", set_body(b"{}"))]
    with House("progress") as h:
        w = h.worker()
        for i, (label, action) in enumerate(for_all):
            h.cloud.rules.clear()
            body = h.job(f"p{i}")
            h.cloud.on("stat:edited.jpg", h.cloud.late(1.3))
            h.cloud.on("progress", action, 2)
            equal(w.push(body), 204, label)
            h.check_completed(f"p{i}")


# ---- Storage's faults ----

def header(name, value):
    def change(reply):
        if value is None:
            reply.headers.pop(name, None)
        else:
            reply.headers[name] = value
    return mangled(change)


@for_house
def replaced_meanwhile(h, session):
    return before(lambda: h.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", photo_png(170, 120))
                  and h.cloud.put_object(f"users/u1/sessions/{session}/mask_auto.png", mask_png(170, 120)))


@for_house
def foreign_edited(h, session):
    return before(lambda: h.cloud.put_object(f"users/u1/sessions/{session}/edited.jpg", b"somebody else's"))


def test_download_faults():
    run_cases("download", [
        ("503", [("media:original.jpg", HTML, 2)], 204),
        ("429", [("media:mask_auto.png", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("lost", [("media:original.jpg", lose, 1)], 204),
        ("cut", [("media:original.jpg", mangled(cut), 1)], 204),
        ("cut twice", [("media:original.jpg", mangled(cut), 2)], 204),
        ("cut, then another range", [("media:original.jpg", mangled(cut), 1),
                                     ("media:original.jpg", header("Content-Range", "bytes 0-9/10"), 1)], 204),
        ("cut, then the whole", [("media:original.jpg", mangled(cut), 1), ("media:original.jpg", whole_of_range, 1)], 204),
        ("one bit", [("media:original.jpg", mangled(flip), 1)], 204),
        ("one bit, no hash", [("media:original.jpg", mangled(lambda r: (flip(r), r.headers.pop("x-goog-hash"))), 1)], 204),
        ("another hash", [("media:original.jpg", header("x-goog-hash", "crc32c=AAAAAA=="), 1)], 204),
        ("no hash", [("media:original.jpg", header("x-goog-hash", None), 1)], 204),
        ("longer", [("media:original.jpg", mangled(lambda r: setattr(r, "body", r.body + b"x")), 1)], 204),
        ("shorter", [("media:original.jpg", mangled(lambda r: setattr(r, "body", r.body[:-1])), 1)], 204),
        ("HTML with 200", [("media:original.jpg", answer(200, b"<html>"), 1)], 204),
        ("another generation", [("media:original.jpg", header("x-goog-generation", "7"), 1)], 204),
        ("replaced", [("media:original.jpg", replaced_meanwhile, 1)], 204),
        ("replaced, seen at the mask", [("media:mask_auto.png", replaced_meanwhile, 1)], 204),
        ("metadata 503", [("stat:original.jpg", HTML, 2)], 204),
        ("metadata {}", [("stat:original.jpg", answer(200, b"{}"), 1)], 503),
        ("metadata HTML", [("stat:mask_auto.png", answer(200, b"<html>"), 1)], 503),
        ("metadata 403", [("stat:original.jpg", answer(403, b"{}"), 1)], 503),
        ("never right", [("media:original.jpg", mangled(flip), 6)], 503),
    ])


def test_an_original_that_is_missing_is_told_while_the_mask_is_silent():
    with House("missing") as h:
        w = h.worker()
        body = h.job("missing")
        h.cloud.on("stat:original.jpg", answer(404), 9)
        h.cloud.on("media:mask_auto.png", h.cloud.hang(30), 9)
        started = time.monotonic()
        equal(w.push(body), 204)
        took = time.monotonic() - started
        assert took < 10, f"after {took:.1f} s"
        equal(text_at(h.cloud.fields("missing"), "inpaint.errorCode"), "INPUT_MISSING")


def test_upload_faults():
    run_cases("upload", [
        ("503", [("upload:edited.jpg", HTML, 1)], 204),
        ("lost", [("upload:preview.jpg", lose, 1)], 204),
        ("applied, 503, so 412 ours", [("upload:edited.jpg", applied(HTML), 1)], 204),
        ("applied, reset, so 412 ours", [("upload:preview.jpg", applied(lose), 1)], 204),
        ("applied, cut", [("upload:edited.jpg", mangled(cut), 1)], 204),
        ("412 foreign", [("upload:edited.jpg", foreign_edited, 1)], 503),
        ("429", [("upload:edited.jpg", answer(429, b"", {"Retry-After": "1"}), 1)], 204),
        ("applied, HTML with 200", [("upload:edited.jpg", applied(answer(200, b"<html>")), 1)], 503),
        ("403", [("upload:edited.jpg", answer(403, b""), 1)], 503),
        ("404, which is the bucket's", [("upload:edited.jpg", answer(404, b""), 1)], 503),
        ("400", [("upload:preview.jpg", answer(400, b""), 1)], 500),
    ])


def test_stored_sums():
    with House("stored") as h:
        w = h.worker()
        for session, sums in (("md5", {"crc32c": None}), ("bare", {"crc32c": None, "md5Hash": None})):
            body = h.job(session)
            h.cloud.put_object(f"users/u1/sessions/{session}/original.jpg", PHOTO, **sums)
            equal(w.push(body), 204)
            h.check_completed(session)


def test_large_upload_in_pieces():
    with House("large") as h:
        w = h.worker()
        body = h.large_job("large")

        def part(request, apply):  # only the beginning of the chunk arrives
            return h.cloud.chunk(request, request.path, 1 << 20)
        h.cloud.on("start:edited.jpg", HTML, 1)
        h.cloud.on("chunk:edited.jpg", lose, 1)
        h.cloud.on("chunk:edited.jpg", lambda r, a: a(r), 1)  # the worker asks how much has arrived
        h.cloud.on("chunk:edited.jpg", part, 1)
        h.cloud.on("chunk:edited.jpg", answer(410), 1)  # the upload session has expired
        h.cloud.on("chunk:edited.jpg", applied(HTML), 1)
        equal(h.deliver(w, "large", body), [204])
        h.check_completed("large")
        assert len(h.output("large")) > 8 << 20, f"{len(h.output('large'))} bytes: not what this test is about"
        equal(jpeg_size(h.output("large")), LARGE)
