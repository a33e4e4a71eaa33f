#!/usr/bin/env python3
"""`serve` with WEIGHTS=gs://BUCKET/PREFIX: the model comes out of the local cloud's bucket into memory, is ready and does a job;
and what becomes of a start when the bucket fails. `weights_starts.py [parts of names]`. Each test runs behind the switches for
emulators and as in production (modes.py). Standard library only.
"""
import functools
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
from fake_cloud import BUCKET, RESET, after, answer, mangled
from harness import MODEL, PROGRAM, ROOT, Suite, call, equal, mask_png, photo_png, run_suites, tests_of, wait_until
from house import House, cut, whole_of_range
from modes import EMULATORS, PRODUCTION_ONLY, in_all_modes, only
from tools.local_cloud.objects import crc32c

EMULATORS_ONLY = only(EMULATORS)
PREFIX, URL = "models/tiny", f"gs://{BUCKET}/models/tiny"
SMALL = os.path.join(ROOT, "test", "golden", "small", "models")
DEMO, DEMO_TRANSFORMER = os.path.join(ROOT, "models", "demo"), "flux1-fill-demo-Q8_0.gguf"
HEAD_BYTES = 2 << 20  # of each file of tensors, which is looked at before it is chosen
TRANSFORMER, VAE = "flux1-fill-tiny-Q8_0.gguf", "ae.safetensors"
NO_ACCESS = answer(403, {"error": {"code": 403, "message": f"worker@demo does not have storage.objects.list access to {BUCKET}."}})


@functools.cache
def files_of(folder):
    """-> {name: (bytes, crc32c)}; the checksum takes a while in Python."""
    found = {}
    for path in glob.glob(f"{folder}/**", recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                data = f.read()
            found[os.path.relpath(path, folder)] = data, crc32c(data)
    return found


def upload(h, folder=MODEL, prefix=PREFIX, **names):
    """Puts a folder's files below the prefix; `names`: more files, as (bytes, crc32c)."""
    for name, (data, crc) in {**files_of(folder), **names}.items():
        h.cloud.put_object(f"{prefix}/{name}", data, crc32c=crc)


def check_ends(h, *words, seconds=60, **settings):
    """The worker is never ready, says why in one line with these words, and ends."""
    w = h.worker(ready=False, **{"WEIGHTS": URL, **settings})
    equal(w.process.wait(seconds), 1, "exit status")
    (said,) = w.lines("the model cannot be loaded")
    for word in words:
        assert word in said["error"] + said["remedy"], (word, said)
    assert not w.lines("the model is loaded")


def check_serves(h, **settings):
    w = h.worker(**{"WEIGHTS": URL, **settings})
    h.deliver(w, "s1", h.job("s1", photo_png(200, 120), mask_png(200, 120)))
    h.check_completed("s1")
    return w


def picture_by(h, w):
    """-> the bytes of edited.jpg, of a job that has the same seed in every House"""
    body = h.job("s1", photo_png(200, 120), mask_png(200, 120))
    for name in ("original.jpg", "mask_auto.png"):  # the seed is made of these
        h.cloud.objects.find(f"users/u1/sessions/s1/{name}")["generation"] = "7"
    h.deliver(w, "s1", body)
    h.check_completed("s1")
    return h.output("s1")


def counted(h, op):
    """Counts the requests of this name, which are answered as ever."""
    seen = []
    h.cloud.on(op, lambda request, apply: seen.append(request) or apply(request), times=10 ** 6)
    return seen


# ---- it works

def test_a_model_in_the_bucket_is_fetched_into_memory_and_does_a_job():
    with House("weights") as h:
        upload(h)
        parts = counted(h, f"media:{VAE}")
        w = check_serves(h, MODEL_DIR="/there/is/no/such/folder")
        size = len(files_of(MODEL)[VAE][0])
        equal(sorted(r.headers["Range"] for r in parts), [f"bytes=0-{HEAD_BYTES - 1}", f"bytes={HEAD_BYTES}-{size - 1}"])
        generation = h.cloud.objects.find(f"{PREFIX}/{VAE}")["generation"]
        equal({r.option("generation") for r in parts}, {generation}, "the generation that was listed")
        (said,) = w.lines("the weights have arrived")
        equal((said["weights"], said["bytes"] == said["ofBytes"]), (URL, True), said)
        equal(w.lines("the model is loaded")[0]["model"], TRANSFORMER)
        equal(w.stop(), 0)


def test_the_picture_is_that_of_the_same_files_in_a_folder():
    pictures = []
    for settings in ({"MODEL_DIR": SMALL}, {"WEIGHTS": SMALL, "MODEL_DIR": "/nowhere"}, {"WEIGHTS": URL + "/"}):
        with House("weights-same", TRANSFORMER="flux1-fill-Q8_0", VERIFY="digest", **settings) as h:
            upload(h, SMALL)
            w = h.worker()
            pictures.append((picture_by(h, w), w.lines("the model is loaded")[0]["digests"]))
    equal([p == pictures[0] for p in pictures], [True] * 3, "the same bytes of edited.jpg, the same digests")


def test_nothing_is_written_to_a_disk():
    with House("weights-disk") as h:
        upload(h)
        w = check_serves(h)
        files = {fd: os.readlink(f"/proc/{w.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{w.process.pid}/fd")}
        written = [path for fd, path in files.items() if fd not in "012" and path.startswith("/") and "memfd:" not in path
                   and not path.startswith(("/dev/", "/proc/")) and is_writable(w.process.pid, fd)]
        equal(written, [], "files that are open for writing")
        assert any("memfd:model-file" in path for path in files.values()), files


def is_writable(pid, fd):
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
        return int(re.search(r"flags:\s*(\d+)", f.read()).group(1), 8) & 3 != 0


def test_of_several_transformers_only_one_is_fetched():
    with House("weights-one", TRANSFORMER="chosen.gguf") as h:
        padded = files_of(MODEL)[TRANSFORMER][0] + bytes(HEAD_BYTES)  # longer than what is looked at
        upload(h, **dict.fromkeys(("other.gguf", "chosen.gguf"), (padded, crc32c(padded))))
        other, chosen = counted(h, "media:other.gguf"), counted(h, "media:chosen.gguf")
        w = h.worker(WEIGHTS=URL)
        equal(w.lines("the model is loaded")[0]["model"], "chosen.gguf")
        equal((len(other), len(chosen)), (1, 2), "requests for each")


def test_loras_prompt_packs_and_stored_results_are_taken_from_the_bucket():
    lora = os.path.join(ROOT, "test", "golden", "lora", "peft.safetensors")
    with open(lora, "rb") as f:
        data = f.read()
    with House("weights-lora", TRANSFORMER="flux1-fill-Q8_0", LORAS="peft:0.8") as h:
        upload(h, SMALL, **{"loras/peft.safetensors": (data, crc32c(data))})
        w = check_serves(h)
        assert w.lines("the model is loaded")[0]["loras"].startswith("peft:0.8 ("), w.log()
    with House("weights-demo") as h:
        upload(h, DEMO)
        w = check_serves(h, STEPS=2)
        equal(w.lines("the model is loaded")[0]["model"], DEMO_TRANSFORMER)


def test_stored_results_beside_the_transformer_are_compared():
    with House("weights-check") as h:
        broken = b"no results at all"
        upload(h, **{f"{TRANSFORMER}.cpu-F32.check": (broken, crc32c(broken))})
        check_ends(h, f"{URL}/{TRANSFORMER}.cpu-F32.check", "cannot be read", PRECISION="f32")


def doctor(h, *options, **settings):
    """-> (status, what it prints)"""
    env = {"PATH": os.environ["PATH"], "BACKEND": "cpu", "PUSH_AUTH": "none", **h.cloud.env, "WEIGHTS": URL, **settings}
    done = subprocess.run([PROGRAM, "doctor", *options], env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


@EMULATORS_ONLY
def test_doctor_says_which_objects_a_start_would_take():
    with House("weights-doctor") as h:
        upload(h)
        vae = counted(h, f"media:{VAE}")
        code, said = doctor(h)
        equal((code, len(vae)), (0, 1), said)  # no more than the directory has been fetched
        for pattern in (rf"ok +transformer +{URL}/{TRANSFORMER}", rf"ok +VAE +{URL}/{VAE}", "ok +model +.* GiB of weights", "Everything is there"):
            assert re.search(pattern, said), (pattern, said)
        code, said = doctor(h, "--self-check")
        equal(code, 0, said)
        assert re.search("note +self-check +passed, but its values are not stored", said), said
        code, said = doctor(h, "--offline")
        assert re.search(r"note +weights +not looked at \(--offline\)", said), said
        code, said = doctor(h, WEIGHTS=URL + "-none")
        equal(code, 1, said)
        assert re.search(rf"wrong +weights +weights: there is no object below {URL}-none/", said), said


@EMULATORS_ONLY
def test_the_commands_for_local_files_say_that_they_need_a_folder():
    with House("weights-edit"):
        env = {"PATH": os.environ["PATH"], "BACKEND": "cpu", "WEIGHTS": URL}
        with tempfile.TemporaryDirectory() as folder:
            for name, picture in (("original.jpg", photo_png()), ("mask_auto.png", mask_png())):
                with open(os.path.join(folder, name), "wb") as f:
                    f.write(picture)
            done = subprocess.run([PROGRAM, "edit", folder], env=env, capture_output=True, text=True, timeout=60, check=False)
        equal(done.returncode, 1, done.stderr)
        assert f"the model files are in Cloud Storage, {URL}" in done.stderr, done.stderr


def test_a_model_is_loaded_while_it_arrives_and_paints_what_it_paints_from_a_folder():
    """Half of the transformer comes seconds after everything else: the loader waits for it in the middle."""
    pictures = []
    for settings in ({"MODEL_DIR": DEMO}, {"WEIGHTS": URL}):
        with House("weights-late", STEPS=2, **settings) as h:
            upload(h, DEMO)
            h.cloud.on(f"media:{DEMO_TRANSFORMER}", h.cloud.late(3), times=1, skip=1)
            pictures.append(picture_by(h, h.worker()))
    assert pictures[0] == pictures[1], "other bytes of edited.jpg"


def test_a_loader_that_waits_is_told_what_has_failed():
    with House("weights-fails-late") as h:
        upload(h, DEMO)
        h.cloud.on(f"media:{DEMO_TRANSFORMER}", NO_ACCESS, times=100, skip=1)
        check_ends(h, DEMO_TRANSFORMER, "roles/storage.objectViewer")


# ---- the bucket fails

def short(reply):
    reply.body = reply.body[:-10]


def shifted(reply):
    reply.headers["Content-Range"] = "bytes 1-" + reply.headers["Content-Range"].split("-", 1)[1]


HEALED = {
    "a_connection_that_breaks_in_the_middle": (f"media:{VAE}", mangled(cut), 3),
    "a_connection_that_is_reset": (f"media:{VAE}", lambda request, apply: RESET, 2),
    "503_and_then_an_answer": ("media:*", answer(503), 3),
    "503_to_the_list": ("list", answer(503), 2),
    "a_body_that_is_shorter_than_its_range": (f"media:{VAE}", mangled(short), 1),
    "an_answer_with_everything": (f"media:{VAE}", whole_of_range, 1),
    "another_range_than_was_asked_for": (f"media:{VAE}", mangled(shifted), 2),
}


def test_faults_that_pass_are_overcome():
    for name, (op, action, times) in HEALED.items():
        with House(f"weights-{name}") as h:
            upload(h)
            h.cloud.on(op, action, times)
            w = h.worker(WEIGHTS=URL)
            assert w.lines("the weights have arrived"), name
            equal(w.stop(), 0, name)


def test_a_slow_bucket_keeps_health_and_says_how_far_it_has_come():
    with House("weights-slow") as h:
        upload(h)
        h.cloud.on(f"media:{VAE}", h.cloud.late(7), times=1, skip=1)  # a part of the rest
        w = h.worker(ready=False, WEIGHTS=URL)
        wait_for_download(w)
        equal(call("GET", w.base + "/health", timeout=5)[0], 200)
        equal(call("GET", w.base + "/ready", timeout=5)[0], 503)
        wait_until("it is ready", w.is_ready, 60)


def wait_for_download(w):
    wait_until("the download has begun", lambda: w.process.poll() is None and w.listens() and stage_of(w) == "download", 30)


def stage_of(w):
    found = re.search(rb'"stage": ?"([^"]*)"', call("GET", w.base + "/ready", timeout=5)[2])
    return found and found.group(1).decode()


def test_it_ends_at_once_when_it_is_told_to_while_it_fetches():
    with House("weights-term") as h:
        upload(h)
        h.cloud.on(f"media:{VAE}", h.cloud.hang(60), times=1, skip=1)
        w = h.worker(ready=False, WEIGHTS=URL)
        wait_for_download(w)
        equal(w.stop(10), 0)


def test_wrong_bytes_are_noticed():
    with House("weights-crc") as h:
        data, crc = files_of(MODEL)[VAE]
        upload(h, **{VAE: (data[:-5] + b"\x01" + data[-4:], crc)})
        check_ends(h, VAE, "CRC32C", "upload the object again")


def test_an_object_that_is_replaced_meanwhile_is_noticed():
    with House("weights-replaced") as h:
        upload(h)
        data, crc = files_of(MODEL)[VAE]
        h.cloud.on(f"media:{VAE}", after(lambda: h.cloud.put_object(f"{PREFIX}/{VAE}", data, crc32c=crc)))
        check_ends(h, VAE, "was replaced or removed while it was being fetched")


def test_what_is_missing_or_forbidden_is_named():
    with House("weights-denied") as h:
        upload(h)
        h.cloud.on("list", NO_ACCESS, times=100)
        check_ends(h, "roles/storage.objectViewer", f"'{BUCKET}'")
    with House("weights-denied-media") as h:
        upload(h)
        h.cloud.on(f"media:{VAE}", NO_ACCESS, times=100)
        check_ends(h, "roles/storage.objectViewer", VAE)
    with House("weights-empty") as h:
        upload(h, prefix="models/tiny-2")  # not below the prefix
        check_ends(h, f"no object below {URL}/")
    with House("weights-unreachable") as h:
        upload(h)
        h.cloud.on(f"media:{VAE}", answer(503), times=1000)
        check_ends(h, VAE, "HTTP 503", seconds=120)


def test_a_part_that_is_missing_is_told_as_of_a_folder():
    with House("weights-part") as h:
        upload(h)
        with h.cloud.lock:
            del h.cloud.objects.stored[f"{PREFIX}/{VAE}"]
        check_ends(h, URL, "no VAE", "looked for ae.safetensors")


def test_other_buckets_and_packed_objects_are_refused():
    with House("weights-bucket") as h:
        check_ends(h, "there is no bucket 'another-bucket'", WEIGHTS="gs://another-bucket/models")
    with House("weights-gzip") as h:
        upload(h)
        data, crc = files_of(MODEL)[VAE]
        h.cloud.put_object(f"{PREFIX}/{VAE}", data, crc32c=crc, contentEncoding="gzip")
        check_ends(h, VAE, "contentEncoding")


@PRODUCTION_ONLY
def test_a_token_of_the_metadata_server_serves_as_well():
    with House("weights-metadata", credentials="metadata") as h:
        upload(h)
        check_serves(h)


SUITE = Suite([(f"weights__{name}", test) for name, test in in_all_modes(tests_of(sys.modules[__name__]))], at_once=2)

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
