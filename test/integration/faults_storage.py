"""Cloud Storage as apps and operators use it: what an overwritten picture keeps, packed objects, a bucket that is not there,
an upload session that leads elsewhere."""
import concurrent.futures
import contextlib
import gzip
import re
import threading

from fake_cloud import *  # noqa: F403
from harness import equal, mask_png, wait_until
from house import PHOTO, House
from faults_services import header

TOKENS = "firebaseStorageDownloadTokens"
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def name_of(session, file):
    return f"users/u1/sessions/{session}/{file}"


# ---- what an overwritten picture keeps ----

def written(h, w, session, file="edited.jpg", **old):
    """Runs a job over an older picture with these metadata; -> those of the new one."""
    body = h.job(session)
    if old:
        h.cloud.put_object(name_of(session, file), b"an older picture", **old)
    equal(w.push(body), 204)
    h.check_completed(session)
    return h.cloud.objects.find(name_of(session, file))


def test_an_overwritten_picture_keeps_its_links():
    for mode in ("keep", "create", "none"):
        with House(f"links-{mode}", DOWNLOAD_TOKENS=mode) as h:
            w = h.worker()
            for file in ("edited.jpg", "preview.jpg"):
                o = written(h, w, f"old-{file[0]}", file, metadata={TOKENS: "one,two", "owner": "u1", "jobId": "another's"},
                            cacheControl="no-store", contentDisposition="inline; filename*=utf-8''x.jpg", contentLanguage="de")
                equal(o["metadata"].get(TOKENS), None if mode == "none" else "one,two")
                equal(o["metadata"]["owner"], "u1")
                assert re.fullmatch(UUID, o["metadata"]["jobId"]), o["metadata"]
                equal((o["cacheControl"], o["contentDisposition"], o["contentLanguage"], o["contentType"]),
                      ("no-store", "inline; filename*=utf-8''x.jpg", "de", "image/jpeg"))
            for session, old in (("none", {}), ("bare", {"metadata": {"owner": "u1"}})):
                o = written(h, w, session, **old)
                token = o["metadata"].get(TOKENS)
                assert re.fullmatch(UUID, token) if mode == "create" else token is None, (mode, token)
                equal(o["cacheControl"], "private, max-age=3600")
            assert "one,two" not in w.log() and not (token and token in w.log()), "a token in the log"


def test_odd_metadata_are_dropped_with_a_warning():
    with House("odd-metadata") as h:
        w = h.worker()
        o = written(h, w, "odd", metadata={"n": 7, "nul": "a\0b", "half": "\ud800", "huge": "x" * 9000, "good": "g", TOKENS: "t"})
        equal(o["metadata"], {"jobId": o["metadata"]["jobId"], TOKENS: "t", "good": "g"})
        told = w.lines("metadata of a picture that was replaced could not be kept")
        equal([(line["severity"], line["entries"]) for line in told], [("WARNING", 4)])
        body = h.job("input")  # those of an input do not matter
        h.cloud.put_object(name_of("input", "original.jpg"), PHOTO, metadata={"nul": "a\0b", "half": "\udc00"})
        equal(w.push(body), 204)
        h.check_completed("input")


def test_links_survive_a_lost_answer():
    """The tokens of a first try that landed stay: the second try replaces our own picture."""
    with House("links-lost", DOWNLOAD_TOKENS="create") as h:
        w = h.worker()
        body = h.job("lost")
        h.cloud.on("upload:edited.jpg", applied(lose), 1)
        h.cloud.on("complete", rpc_error(403, "PERMISSION_DENIED"), 1)
        equal(w.push(body), 503)
        token = h.cloud.objects.find(name_of("lost", "edited.jpg"))["metadata"][TOKENS]
        equal(w.push(body), 204)
        h.check_completed("lost", 2)
        equal(h.cloud.objects.find(name_of("lost", "edited.jpg"))["metadata"][TOKENS], token)


def test_links_that_are_made_during_the_upload_stay():
    with House("links-meanwhile") as h:
        w = h.worker()

        def link(session):
            o = h.cloud.objects.find(name_of(session, "edited.jpg"))
            o.update(metadata={TOKENS: "new"}, metageneration=str(int(o["metageneration"]) + 1))
        body = h.job("m")
        h.cloud.put_object(name_of("m", "edited.jpg"), b"an older picture", metadata={"owner": "u1"})
        h.cloud.on("upload:edited.jpg", before(lambda: link("m")))
        equal(w.push(body), 204)
        h.check_completed("m")
        equal(h.cloud.objects.find(name_of("m", "edited.jpg"))["metadata"][TOKENS], "new")


# ---- packed objects ----

def unpacked_on_its_way(request, apply):
    del request.headers["Accept-Encoding"]
    return apply(request)


def unpacked_in_silence(request, apply):
    reply = unpacked_on_its_way(request, apply)
    reply.headers.pop("Warning")
    return reply


def test_packed_originals():
    bomb = gzip.compress(b"\0" * (65 << 20), 9)
    cases = [  # label, stored bytes, contentEncoding, how the session ends
        ("gzip", gzip.compress(PHOTO), "gzip", "completed"),
        ("capitals", gzip.compress(PHOTO), "GZIP", "completed"),
        ("x-gzip", gzip.compress(PHOTO), "x-gzip", "completed"),
        ("members", gzip.compress(PHOTO[:99]) + gzip.compress(PHOTO[99:]), "gzip", "completed"),
        ("trailing", gzip.compress(PHOTO) + b"garbage", "gzip", "completed"),
        ("twice", gzip.compress(gzip.compress(PHOTO)), "gzip, gzip", "completed"),
        ("not packed", PHOTO, "gzip", "completed"),
        ("identity", PHOTO, "identity", "completed"),
        ("chunked", PHOTO, "aws-chunked", "completed"),
        ("empty label", PHOTO, "", "completed"),
        ("cut", gzip.compress(PHOTO)[:-9], "gzip", "INPUT_CORRUPT"),
        ("damaged", gzip.compress(PHOTO)[:-5] + b"00000", "gzip", "INPUT_CORRUPT"),
        ("other", PHOTO, "br", "INPUT_CORRUPT"),
        ("bomb", bomb, "gzip", "INPUT_TOO_LARGE"),
        ("text", gzip.compress(b"no picture"), "gzip", "INPUT_NOT_AN_IMAGE"),
    ]
    with House("packed") as h:
        w = h.worker()
        for i, (label, data, encoding, end) in enumerate(cases):
            with h.case(label):
                body = h.job(f"p{i}")
                h.cloud.put_object(name_of(f"p{i}", "original.jpg"), data, contentEncoding=encoding)
                equal(w.push(body), 204)
                if end == "completed":
                    h.check_completed(f"p{i}")
                else:
                    equal(text_at(h.cloud.fields(f"p{i}"), "inpaint.errorCode"), end)
        with h.case("a mask, in pieces"):
            body = h.job("mask")
            packed = gzip.compress(mask_png(64, 64, (20, 20, 40, 40)))
            h.cloud.put_object(name_of("mask", "mask_auto.png"), packed, contentEncoding="gzip")
            h.cloud.on("media:mask_auto.png", mangled(lambda r: setattr(r, "cut", 40)), 2)
            equal(w.push(body), 204)
            h.check_completed("mask")
        with h.case("unpacked on its way"):
            body = h.job("way")
            h.cloud.put_object(name_of("way", "original.jpg"), gzip.compress(PHOTO), contentEncoding="gzip")
            h.cloud.on("media:original.jpg", unpacked_on_its_way, 9)
            equal(w.push(body), 204)
            h.check_completed("way")
        with h.case("unpacked on its way, and nobody says so"):
            body = h.job("silence")
            h.cloud.put_object(name_of("silence", "original.jpg"), gzip.compress(PHOTO), contentEncoding="gzip")
            h.cloud.on("media:original.jpg", unpacked_in_silence, 6)
            equal(h.deliver(w, "silence", body), [503, 204])
            h.check_completed("silence", 2)


# ---- a bucket that is not there ----

def test_a_missing_bucket_is_the_operators():
    """It goes while one worker uploads and another begins its downloads: both find it again in the same half minute."""
    with House("no-bucket", JOB_DEADLINE_SECONDS=10) as h:
        asked, gone = threading.Event(), threading.Event()

        def wait_for_its_end(request, apply):
            asked.set()
            gone.wait(30)
            return apply(request)

        def end_it():
            h.cloud.objects.deleted = True
            gone.set()
        h.cloud.on("media:original.jpg", wait_for_its_end)
        h.cloud.on("upload:preview.jpg", before(end_it))
        cases = [(f"gone-{i}", h.worker(), h.job(f"gone-{i}")) for i in range(2)]
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            first = pool.submit(cases[0][1].push, cases[0][2])
            assert asked.wait(20), "nobody downloads"
            equal([cases[1][1].push(cases[1][2]), first.result()], [503, 503])
            for session, _, _ in cases:
                equal(text_at(h.cloud.fields(session), "processingStatus"), "pending")
            for _ in range(2):  # an outage costs no attempts beyond the one that met it
                equal(list(pool.map(lambda case: case[1].push(case[2]), cases)), [503, 503])
        for _, w, _ in cases:
            assert "FIREBASE_STORAGE_BUCKET" in w.last_lines(), "the last lines name it"
        h.cloud.objects.deleted = False
        for session, w, body in cases:
            wait_until("the bucket is found again", w.is_ready, 45)
            equal(w.push(body), 204)
            h.check_completed(session, 2)


def test_a_404_that_does_not_say_what_is_missing():
    for label, reply in (("empty", answer(404)), ("text", answer(404, b"Not Found")),
                         ("JSON", answer(404, {"error": {"message": "Not Found"}}))):
        with House(f"unclear-{label}") as h:
            w = h.worker()
            body = h.job("bucket")
            h.cloud.on("stat:*", reply, 2)
            h.cloud.on("bucket", answer(404), 2)
            equal(w.push(body), 503)
            equal(text_at(h.cloud.fields("bucket"), "processingStatus"), "pending")
            h.cloud.rules.clear()
            equal(w.push(body), 204)
            h.check_completed("bucket", 2)
            body = h.job("object")
            h.cloud.on("stat:original.jpg", reply, 1)
            equal(w.push(body), 204)
            equal(text_at(h.cloud.fields("object"), "inpaint.errorCode"), "INPUT_MISSING")


def test_an_object_that_is_missing_is_the_users():
    with House("no-object") as h:
        w = h.worker()
        body = h.job("missing")
        del h.cloud.objects.stored[name_of("missing", "original.jpg")]
        equal(w.push(body), 204)
        equal(text_at(h.cloud.fields("missing"), "inpaint.errorCode"), "INPUT_MISSING")


# ---- an upload session that leads elsewhere ----

class Elsewhere(Server):
    def __init__(self):
        self.seen = []
        super().__init__(body_max=REQUEST_MAX_BYTES)

    def reply_to(self, request):
        self.seen.append((request.method, request.path))
        return Reply(200)


@contextlib.contextmanager
def elsewhere():
    server = Elsewhere()
    try:
        yield server
    finally:
        server.stop()


def test_an_upload_session_on_another_host():
    with House("elsewhere", MAX_ATTEMPTS=9) as h, elsewhere() as other:
        w = h.worker()
        body = h.large_job("far")
        places = [other.url + "/upload/session/00", h.cloud.server.url.replace("//", "//user:pass@") + "/upload/session/00"]
        for place in places:
            h.cloud.on("start:edited.jpg", header("Location", place), 1)
        equal(h.deliver(w, "far", body, 9)[:len(places)], [503] * len(places))
        equal(other.seen, [], "nothing was sent there")
        assert "pass@" not in w.log(), "a password in the log"
        h.check_completed("far", len(places) + 1)
