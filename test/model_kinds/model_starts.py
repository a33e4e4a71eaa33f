"""`serve` with the folders that people have: ready with no setting of the model but MODEL_DIR, with Fill, and doing a job; and with
folders that it must not serve, where it says why and is never ready. Standard library only.
"""
import contextlib
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import model_files as files
import model_kinds as kinds
from harness import Suite, call, equal, run_suites
from house import House

OFFICIAL, SINGLE = r"diffusion_pytorch_model-\d+-of-\d+\.safetensors", r"flux1-fill-dev\.safetensors"
SERVED = [
    ("the_official_repository", files.official, OFFICIAL),
    ("the_official_repository_with_single_files", files.official_and_single_files, f"{SINGLE}|{OFFICIAL}"),
    ("links_as_in_the_cache_of_hugging_face", files.hugging_face_cache, OFFICIAL),
    ("comfyui_with_unet_and_clip", files.comfy, SINGLE),
    ("comfyui_with_diffusion_models_and_text_encoders", lambda: files.comfy("diffusion_models", "text_encoders"), SINGLE),
    ("dev_and_fill_and_lora_and_nf4_side_by_side", files.side_by_side, SINGLE),
]


def with_a_hole(made, name):
    """One of a folder's files lacks a part of its middle."""
    data = made[name]
    if callable(data):  # a link
        data = files.read_whole(name, made)
    start = len(data) // 2 // 4096 * 4096
    return made | {name: data[:start] + bytes(3 * 4096) + data[start + 3 * 4096:]}


@contextlib.contextmanager
def house(name, make):
    with kinds.Folder(make()) as folder, House(f"starts-{name}") as h:
        yield folder, h


def check_served(name, make, file):
    with house(name, make) as (folder, h):
        w = h.worker(MODEL_DIR=folder.models)
        (said,) = w.lines("the model is loaded")
        assert re.fullmatch(file, said["model"]), said
        h.deliver(w, "s1", h.job("s1"))
        h.check_completed("s1")
        equal(w.stop(), 0)
