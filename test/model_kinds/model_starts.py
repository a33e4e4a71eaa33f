"""`serve` with the folders that people have: ready with no setting of the model but MODEL_DIR, with Fill, and doing a job; and with
folders that it must not serve, where it says why and is never ready. Standard library only.
"""
import contextlib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import model_files as files
import model_kinds as kinds
from harness import Suite, call, equal, run_suites, wait_until
from house import House

OFFICIAL, SINGLE = r"diffusion_pytorch_model\.safetensors\.index\.json", r"flux1-fill-dev\.safetensors"
SERVED = [
    ("the_official_repository", files.official, OFFICIAL),
    ("the_official_repository_with_single_files", files.official_and_single_files, f"{SINGLE}|{OFFICIAL}"),
    ("links_as_in_the_cache_of_hugging_face", files.hugging_face_cache, OFFICIAL),
    ("comfyui_with_unet_and_clip", files.comfy, SINGLE),
    ("comfyui_with_diffusion_models_and_text_encoders", lambda: files.comfy("diffusion_models", "text_encoders"), SINGLE),
    ("dev_and_fill_and_lora_and_nf4_side_by_side", files.side_by_side, SINGLE),
]


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


def check_not_served(name, make, part):
    """The service is never ready, says which file it is, and ends."""
    with house(name, make) as (folder, h):
        w = h.worker(MODEL_DIR=folder.models, ready=False)
        seen = []
        wait_until("the worker has ended", lambda: seen.append(readiness(w)) or w.process.poll() is not None, 60)
        equal(w.process.returncode, 1, "its exit status")
        assert 200 not in seen, "it was ready"
        (said,) = w.lines("the model cannot be loaded")
        assert os.path.basename(part) in said["error"] and re.search("fetch", said["error"]), said


def readiness(w):
    try:
        return call("GET", w.base + "/ready", timeout=5)[0]
    except OSError:  # it does not listen yet, or any more
        return None


def unfinished(part):
    """A folder one of whose files ends in zeros from its middle on."""
    def make():
        made = files.reference()
        where = os.path.join(files.SMALL, {"clip_l.safetensors": "text_encoder/model.safetensors",
                                           "t5xxl_fp16.safetensors": "text_encoder_2/model.safetensors"}.get(part, part))
        data = made[part] if isinstance(made[part], bytes) else read(where)
        return made | {part: data[:len(data) // 2].ljust(len(data), b"\0")}
    return make


def read(path):
    with open(path, "rb") as f:
        return f.read()


UNFINISHED = ["flux1-fill-dev.safetensors", "ae.safetensors", "clip_l.safetensors", "t5xxl_fp16.safetensors", "tokenizer/vocab.json",
              "tokenizer/merges.txt", "tokenizer_2/tokenizer.json"]


def test_of(name, check, *args):
    return f"model_starts__{name}", lambda: check(name, *args)


SUITE = Suite([test_of(name, check_served, make, want) for name, make, want in SERVED] +
              [test_of(f"not_with_an_unfinished_{os.path.basename(part).replace('.', '_')}", check_not_served, unfinished(part), part) for part in UNFINISHED])

if __name__ == "__main__":
    sys.exit(run_suites(sys.argv[1:], SUITE))
