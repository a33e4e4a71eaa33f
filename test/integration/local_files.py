"""The commands that run whole jobs on local files, as a person runs them: `audit` and its page, `edit --record`, `replay`."""
import html.parser
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from harness import MODEL, PROGRAM, WORK, Suite, equal, mask_png, photo_png, tests_of

VOID = {"meta", "img", "br", "input"}


def run(*args, **env):
    """-> exit status, stdout, stderr"""
    done = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=300, env={**os.environ, **env}, check=False)
    return done.returncode, done.stdout, done.stderr


def fresh_folder(name):
    path = os.path.join(WORK, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def inputs(folder):
    """-> the paths of a photo and its mask; their names are not harmless in a page."""
    paths = os.path.join(folder, "a&b <i>.png"), os.path.join(folder, "mask \"x\".png")
    for path, data in zip(paths, (photo_png(), mask_png())):
        with open(path, "wb") as f:
            f.write(data)
    return paths


def audit(folder, *args):
    photo, mask = inputs(folder)
    return [PROGRAM, "audit", "--image", photo, "--mask", mask, "--models", MODEL, "--backend", "cpu", "--out",
            os.path.join(folder, "audit"), *args]


class Page(html.parser.HTMLParser):
    """What a page refers to, and what is open where it should be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.count, self.text = [], [], {}, ""
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [value for name, value in attributes if name in ("src", "href")]
        assert not [name for name, _ in attributes if name.startswith("on")], attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        equal(self.open.pop(), tag)

    def handle_data(self, data):
        self.text += data


def test_audit_page_is_sound_and_refers_to_files_that_are_there():
    folder = fresh_folder("audit")
    done = subprocess.run(audit(folder, "--guidance", "2,30", "--steps", "1,2"), capture_output=True, text=True, timeout=300, check=False)
    equal(done.returncode, 0, done.stderr)
    assert "4 cells, 4 of them new" in done.stdout, done.stdout
    out = os.path.join(folder, "audit")
    with open(f"{out}/index.html", encoding="utf-8") as f:
        page = Page(f.read())
    equal((page.count["tr"], page.count["img"], page.count["script"], page.count["html"], page.count.get("i", 0)), (5, 12, 1, 1, 0))
    for link in page.links:
        assert os.path.isfile(os.path.join(out, link)), link
    assert "a&b <i>.png" in page.text and "mask \"x\".png" in page.text, page.text
    with open(f"{out}/audit.json", encoding="utf-8") as f:
        cells = json.load(f)["cells"]
    equal([(c["request"]["guidance"], c["request"]["steps"]) for c in cells], [(2, 1), (2, 2), (30, 1), (30, 2)])
    for cell in cells:
        equal(run("replay", f"{out}/{cell['folder']}/record.json", "--dir", out, "--models", MODEL)[0], 0)


def test_audit_that_is_interrupted_ends_orderly_and_goes_on():
    folder = fresh_folder("audit-stopped")
    command = audit(folder, "--seeds", ",".join(str(n) for n in range(12)), "--guidance", "2", "--steps", "2")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    cells = os.path.join(folder, "audit", "cells")
    end = time.monotonic() + 60
    while not (os.path.isdir(cells) and len(os.listdir(cells)) > 1) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    equal(process.returncode, 1, errors)
    assert "ends after this cell" in errors and "of 12 cells; the same command goes on from there" in errors, errors
    assert "index.html" in out, out
    for name in os.listdir(cells):
        assert os.path.isfile(f"{cells}/{name}/record.json"), name
    there = len(os.listdir(cells))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    equal((done.returncode, done.stderr.count("is there already")), (0, there))
    assert f"12 cells, {12 - there} of them new" in done.stdout, done.stdout


def test_the_table_of_prompts_makes_a_pack_that_no_label_leaves():
    """What `prompts --plain` prints is what `embed --pack --prompts builtin` encodes and what jobs ask for."""
    folder = fresh_folder("pack")
    code, plain, _ = run("prompts", "--plain")
    equal(code, 0)
    for name in os.listdir(MODEL):
        if name.endswith(".gguf") or name == "ae.safetensors":
            os.symlink(os.path.join(MODEL, name), os.path.join(folder, name))
    pack = os.path.join(folder, "prompts.safetensors")
    code, _, errors = run("embed", "--models", MODEL, "--pack", "--prompts", "builtin", "--t5-len", "16", "--backend", "cpu", "--out", pack)
    equal(code, 0, errors)
    with open(pack, "rb") as f:
        metadata = json.loads(f.read(int.from_bytes(f.read(8), "little")))["__metadata__"]
    equal([metadata[f"{n}.prompt"] for n in range(len(plain.splitlines()))], plain.splitlines())
    with open(f"{folder}/original.jpg", "wb") as photo, open(f"{folder}/mask_auto.png", "wb") as mask:
        photo.write(photo_png())
        mask.write(mask_png())
    for labels, prompt in ((["Dog", "Lawn"], 1), (["Dog", "Leash"], 0), ({"surface": "Wood_Flooring"}, None)):
        with open(f"{folder}/session.json", "w", encoding="utf-8") as f:
            json.dump({"sceneLabels": labels}, f)
        code, _, errors = run("edit", folder, "--models", folder, "--steps", "1", "--backend", "cpu")
        equal(code, 0, errors)
        with open(f"{folder}/session.json", encoding="utf-8") as f:
            inpaint = json.load(f)["inpaint"]
        assert "PROMPT_NOT_IN_PACK" not in inpaint.get("warnings", []), inpaint
        assert prompt is None or inpaint["recipe"]["prompt"] == plain.splitlines()[prompt], inpaint


SUITE = Suite(tests_of(sys.modules[__name__]))
