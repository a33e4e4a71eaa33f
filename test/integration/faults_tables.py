"""A model folder whose prompt pack has tables for jobs of one size: jobs of other sizes work, and the log mentions them."""
import os
import subprocess

from harness import MODEL, PROGRAM, WORK, equal, mask_png, once, photo_png
from house import House

MESSAGE = "no table of the prompt pack covers such a job, so a quarter of the weights is read again for each"


@once
def packed_model():
    folder = os.path.join(WORK, "packed")
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(MODEL):
        if name.endswith((".gguf", ".safetensors")) and not os.path.lexists(os.path.join(folder, name)):
            os.symlink(os.path.join(MODEL, name), os.path.join(folder, name))
    prompts = os.path.join(WORK, "prompts.txt")
    with open(prompts, "w", encoding="ascii") as f:
        f.write("grass\n")
    subprocess.run([PROGRAM, "embed", "--models", MODEL, "--pack", "--prompts", prompts, "--t5-len", "16", "--sizes",
                    "64x64", "--steps", "2", "--backend", "cpu", "--out", os.path.join(folder, "prompts.safetensors")],
                   check=True)
    return folder


def rereads(worker):
    return worker.metrics()["inpaint_modulation_rereads_total"]


def warnings(worker):
    return [(line["severity"], line["width"], line["height"], line["steps"]) for line in worker.lines(MESSAGE)]


def test_jobs_that_no_table_covers_are_counted_and_told_once():
    with House("tables", MODEL_DIR=packed_model(), STEPS=2) as h:
        w = h.worker()

        def edit(session, width, height):
            body = h.job(session, photo_png(width, height), mask_png(width, height, (20, 20, 40, 40)))
            equal(h.deliver(w, session, body), [204])
            h.check_completed(session)
        edit("covered", 64, 64)
        equal((rereads(w), warnings(w)), (0, []))
        edit("wide", 96, 64)
        edit("wide-again", 96, 64)
        edit("high", 64, 96)
        equal(rereads(w), 3)
        equal(warnings(w), [("WARNING", 96, 64, 2), ("WARNING", 64, 96, 2)])
