"""Models that are lost while they are in use, and workers that must compute the same bytes."""
import hashlib
import os
import re
import shutil
import time

from fake_cloud import *  # noqa: F403
from harness import FAULTY, MODEL, ROOT, WORK, call, dumps, envelope, equal, mask_png, photo_png, to_value, wait_until
from house import House


def model_copy(name):
    """A model folder of the test's own; -> its path."""
    path = os.path.join(WORK, f"model-{name}")
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(MODEL, path)
    return path


def shorten(path, size):
    os.truncate(path, size)


def overwrite(path, _):
    """As `cp` does it: the file is emptied and written again, as long as it was."""
    with open(path, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(bytes(len(data)))


def model_files(folder):
    """The files that a job reads: -> {what it is: path}"""
    files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    large = [f for f in files if f.endswith((".gguf", ".safetensors"))]
    assert len(large) >= 3, files
    return {os.path.relpath(f, folder): f for f in large}


def lose(h, name, harm, size_of, stage):
    """Harms each of the files in turn while a job runs: the claim is given back, and the process ends."""
    survivor = h.worker(MODEL_DIR=model_copy(f"{name}-whole"))
    for i, part in enumerate(model_files(model_copy(name))):
        with h.case(part):
            folder = model_copy(f"{name}-{i}")
            path = os.path.join(folder, part)
            w = h.worker(MODEL_DIR=folder)
            session = f"{name}-{i}"
            body = h.job(session)
            h.cloud.on(stage, before(lambda path=path: harm(path, size_of(os.path.getsize(path)))))
            equal(w.push(body), 500, "the answer")
            h.check_waits_or_leased(session)
            equal(text_at(h.cloud.fields(session), "processingStatus"), "pending", "the claim is given back")
            assert h.output(session) is None, "a picture of zeros was uploaded"
            equal(w.process.wait(20), 1, "exit status")
            assert part in w.log() and "start the worker again" in w.log(), w.log()[-2000:]
            equal(h.deliver(survivor, session, body), [204])
            h.check_completed(session, attempts=2)


def test_a_model_file_that_is_emptied_while_a_job_runs():
    with House("emptied") as h:
        lose(h, "emptied", shorten, lambda size: 0, "media:original.jpg")


def test_a_model_file_that_is_halved_while_a_job_runs():
    with House("halved") as h:
        lose(h, "halved", shorten, lambda size: size // 2, "media:mask_auto.png")


def test_a_model_file_that_loses_its_last_byte_while_a_job_runs():
    with House("last-byte") as h:
        lose(h, "last-byte", shorten, lambda size: size - 1, "media:original.jpg")


def test_a_model_file_that_is_overwritten_while_a_job_runs():
    with House("overwritten") as h:
        lose(h, "overwritten", overwrite, lambda size: size, "media:original.jpg")


def test_a_model_file_that_is_lost_before_a_job():
    """The worker is idle, so nothing notices: the next job gives its claim back."""
    with House("lost-idle") as h:
        folder = model_copy("lost-idle")
        w = h.worker(MODEL_DIR=folder)
        body = h.job("idle")
        equal(w.push(body), 204)
        for path in model_files(folder).values():
            os.truncate(path, 0)
        equal(call("GET", w.base + "/health")[0], 200)
        body = h.job("after")
        equal(w.push(body), 500)
        equal(text_at(h.cloud.fields("after"), "processingStatus"), "pending")
        equal(w.process.wait(20), 1, "exit status")


def test_a_file_that_is_replaced_by_renaming_disturbs_no_job():
    with House("renamed") as h:
        folder = model_copy("renamed")
        w = h.worker(MODEL_DIR=folder)
        equal(w.push(h.job("one")), 204)
        for path in model_files(folder).values():
            with open(path + ".new", "wb") as f:
                f.write(b"something else")
            os.rename(path + ".new", path)
        equal(w.push(h.job("two")), 204)
        h.check_completed("two")


def test_a_worker_that_is_too_slow_is_not_ready():
    """As a CPU in the place of a GPU: the probe and the last lines of the log say what is wrong, and nothing is claimed."""
    with House("slow-device") as h:
        w = h.worker(ready=False, program=FAULTY, BACKEND="cuda", FAKE_DEVICE=0, FAKE_DEVICE_SLOW=1e7)
        wait_until("the worker has measured its speed", lambda: "too slow" in w.log())
        status, _, body = call("GET", w.base + "/ready")
        equal(status, 503)
        assert b'"reason":"a picture of 1024 x 1024 pixels takes about' in body, body
        equal(call("GET", w.base + "/health")[0], 200, "another process would be no faster")
        message = h.job("slow")
        for _ in range(12):
            equal(w.push(message), 503)
        equal([op for op, _ in h.cloud.journal if op != "certs"], [], "nothing is claimed")
        last = w.last_lines()
        for text in ('"severity":"ERROR"', "BACKEND=cuda", "JOB_DEADLINE_SECONDS", "STEPS", "the deadline is 280 s"):
            assert text in last, last
        time.sleep(7)  # it has measured again
        equal(len(w.lines("too slow")), 1, "it is said rarely")
        equal(w.stop(), 0)


def test_cuda_that_is_asked_for_and_absent_ends_the_start():
    with House("no-device") as h:
        w = h.worker(ready=False, program=FAULTY, BACKEND="cuda", FAKE_DEVICE=-1)
        equal(w.process.wait(30), 1, "exit status")
        for text in ("the model cannot be loaded", "no device", "give the service a GPU", "BACKEND=cpu"):
            assert text in w.log(), (text, w.log())


def test_a_model_that_is_not_there_is_told_with_its_setting():
    for name, settings in (("folder", {"MODEL_DIR": "/there/is/no/such/folder"}), ("file", {"TRANSFORMER": "nothing.gguf"})):
        with House(f"no-model-{name}") as h:
            w = h.worker(ready=False, **settings)
            equal(w.process.wait(30), 1, "exit status")
            for text in ("the model cannot be loaded", next(iter(settings.values())), "MODEL_DIR names the folder", "doctor"):
                assert text in w.log(), (text, w.log())


def seed_of(h, session):
    """The rule of PROTOCOL.md 11.2, computed with another library."""
    folder = f"users/u1/sessions/{session}"
    generations = [h.cloud.objects.find(f"{folder}/{name}")["generation"] for name in ("original.jpg", "mask_auto.png")]
    text = "\n".join([folder, *map(str, generations)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def test_loras_are_told_in_the_log_and_in_the_document():
    """What LORAS lists is merged, and named with scales and digests; without it neither has a word of LoRAs."""
    loras = [os.path.join(ROOT, "test", "golden", "lora", f"{name}.safetensors") for name in ("peft", "kohya")]
    results = []
    for setting in ({"LORAS": f"{loras[0]}:0.8,{loras[1]}"}, {}):
        with House("loras", MODEL_DIR=os.path.join(ROOT, "test", "golden", "small", "models"), TRANSFORMER="flux1-fill-Q8_0", **setting) as h:
            w = h.worker()
            h.deliver(w, "painted", h.job("painted", photo_png(200, 120), mask_png(200, 120)))
            h.check_completed("painted")
            told, = [line for line in w.lines() if line["message"] == "the model is loaded"]
            results.append((told["loras"], text_at(h.cloud.fields("painted"), "inpaint.recipe.loras"), h.output("painted")))
            equal("+lora-" in told["digests"], bool(setting), told)
    (merged, recipe, with_loras), (none, no_recipe, without) = results
    assert re.fullmatch(r"peft\.safetensors:0\.8 \(\d+-[0-9a-f]+\), kohya\.safetensors:1 \(\d+-[0-9a-f]+\)", merged), merged
    equal(recipe, merged)
    equal((none, no_recipe or ""), ("none", ""))
    assert with_loras != without
    with House("no-lora", LORAS="absent:0.8") as h:
        w = h.worker(ready=False)
        equal(w.process.wait(30), 1, "exit status")
        for text in ("the model cannot be loaded", "there is no LoRA 'absent' in ", "LORAS"):
            assert text in w.log(), (text, w.log())


def test_two_workers_give_the_same_bytes():
    """Whatever their number of threads; and again in the same worker."""
    for precision in ("f32", "bf16"):
        with House(f"same-{precision}", PRECISION=precision, STEPS=2) as h:
            h.job("same", photo_png(200, 120), mask_png(200, 120))
            results = []
            for i, w in enumerate([h.worker(OMP_NUM_THREADS=1), h.worker(OMP_NUM_THREADS=3)] * 2):
                h.cloud.put("same", {"processingStatus": to_value("pending")})
                equal(w.push(dumps(envelope("u1", "same", f"m-{i}"))), 204)
                fields = h.cloud.fields("same")
                equal(value_at(fields, "inpaint.recipe.seed"), {"integerValue": str(seed_of(h, "same"))})
                results.append((h.output("same"), h.output("same", "preview.jpg")))
            equal([r == results[0] for r in results], [True] * 4, "the same files")
