"""The commands that work on local files, as a person runs them: `audit` and its page, `edit --record`, `replay`, `convert`."""
import glob
import hashlib
import html.parser
import json
import math
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

from harness import MODEL, PROGRAM, ROOT, WORK, Suite, equal, mask_png, photo_png, tests_of, wait_until

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


# ---- convert ----

GOLDEN = os.path.join(ROOT, "test", "golden", "small")
ORIGINAL = os.path.join(GOLDEN, "models", "flux1-fill-F32.gguf")
CASE = os.path.join(GOLDEN, "cases", "transformer.safetensors")
GGUF_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 30: "BF16"}
BLOCK_BYTES = {"F32": (1, 4), "F16": (1, 2), "BF16": (1, 2), "Q4_0": (32, 18), "Q4_1": (32, 20), "Q5_0": (32, 22), "Q5_1": (32, 24),
               "Q8_0": (32, 34)}
QUARTER = "double_blocks.0.img_attn.qkv"


def convert(*args, **more):
    return run("convert", *args, "--self-check", "off", **more)


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def read_gguf(path):
    """-> {key: value}, {name: (type, rows first, bytes)}"""
    data, at = contents(path), 0

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n:at].decode()

    def value(kind):
        if kind == 9:
            inner, n = take("IQ")
            return [value(inner) for _ in range(n)]
        return text() if kind == 8 else take({4: "I", 5: "i", 6: "f", 10: "Q"}[kind])

    magic, version, n_tensors, n_pairs = take("4sIQQ")
    equal((magic, version), (b"GGUF", 3))
    pairs = {}
    for _ in range(n_pairs):
        key = text()
        pairs[key] = value(take("I"))
    infos = {}
    for _ in range(n_tensors):
        name, n_dims = text(), take("I")
        dims = [take("Q") for _ in range(n_dims)]
        infos[name] = (GGUF_TYPES[take("I")], dims[::-1], take("Q"))
    at += -at % 32
    tensors = {}
    for name, (kind, dims, offset) in infos.items():
        elements, size = BLOCK_BYTES[kind]
        tensors[name] = (kind, dims, data[at + offset:at + offset + math.prod(dims) // elements * size])
    return pairs, tensors


def read_safetensors(path):
    """-> {name: f32 values}"""
    data = contents(path)
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: struct.unpack_from(f"<{math.prod(t['shape'])}f", data, 8 + n + t["data_offsets"][0])
            for name, t in header.items() if t["dtype"] == "F32"}


def write_safetensors(path, tensors):
    """{name: (type, shape, bytes)}"""
    header, at = {}, 0
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for _, _, data in tensors.values():
            f.write(data)


def relative(got, want):
    return math.sqrt(sum((g - w) ** 2 for g, w in zip(got, want)) / sum(w * w for w in want))


def velocity(models, transformer, *args, out=None):
    """What a transformer of a folder computes of the golden case, in f32."""
    path = f"{out or models}/v.safetensors"
    code, _, errors = run("transformer", "--models", models, "--transformer", transformer, "--in", CASE, "--out", path, "--backend", "cpu",
                          "--precision", "f32", *args)
    equal(code, 0, errors)
    return read_safetensors(path)["velocity"]


def test_converted_files_compute_what_the_official_library_computes_with_its_own_files():
    folder = fresh_folder("convert")
    want = read_safetensors(CASE)
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"):
        out = f"{folder}/{kind}.gguf"
        code, _, errors = convert("--in", ORIGINAL, "--out", out, "--type", kind)
        equal(code, 0, errors)
        equal(read_gguf(out)[1], read_gguf(os.path.join(GOLDEN, "models", f"flux1-fill-{kind}.gguf"))[1], kind)
        off = relative(velocity(folder, f"{kind}.gguf"), want[f"velocity.{kind}"])
        assert off < 1e-5, (kind, off)


def test_convert_says_what_it_wrote_and_writes_it_again_to_the_same_bytes():
    one, two = fresh_folder("convert-one"), fresh_folder("convert-two")
    equal(convert("--in", ORIGINAL, "--out", f"{one}/a.gguf", "--type", "Q8_0")[0], 0)
    code, said, errors = convert("--in", ORIGINAL, "--out", f"{two}/b c.gguf", "--type=Q8_0", OMP_NUM_THREADS="1")
    equal(code, 0, errors)
    data = contents(f"{two}/b c.gguf")
    equal(contents(f"{one}/a.gguf"), data)
    assert f"sha256 {hashlib.sha256(data).hexdigest()}\n" in said and f"{len(data)} bytes" in said, said
    assert f"from {ORIGINAL}: 84 tensors, 26 matrices as Q8_0, 5 as BF16, 5 as F32; " in said, said
    assert f"next: inpaint-worker fill --models {two} --transformer 'b c.gguf' " in said, said
    pairs, _ = read_gguf(f"{one}/a.gguf")
    equal((pairs["general.architecture"], pairs["general.quantization_version"], pairs["general.file_type"]), ("flux", 2, 7))
    equal(pairs["inpaint.convert.inputs"], ["flux1-fill-F32.gguf"])
    equal(pairs["inpaint.convert.inputs.sha256"], [hashlib.sha256(contents(ORIGINAL)).hexdigest()])
    assert pairs["inpaint.convert.program"].startswith("inpaint-worker ") and ROOT.encode() not in data, pairs


def test_convert_of_what_is_quantised_already_copies_or_warns():
    folder = fresh_folder("convert-again")
    quantised = os.path.join(GOLDEN, "models", "flux1-fill-Q8_0.gguf")
    code, _, errors = convert("--in", quantised, "--out", f"{folder}/a.gguf", "--type", "Q8_0")
    equal((code, "quantised already" in errors), (0, False), errors)
    equal(read_gguf(f"{folder}/a.gguf")[1], read_gguf(quantised)[1])
    code, _, errors = convert("--in", quantised, "--out", f"{folder}/b.gguf", "--type", "Q4_0")
    equal((code, "quantised already" in errors), (0, True), errors)


def test_convert_reads_a_folder_with_an_index():
    folder, out = fresh_folder("convert-index"), fresh_folder("convert-index-out")
    tensors = read_gguf(ORIGINAL)[1]
    parts = [dict(list(tensors.items())[n::2]) for n in (0, 1)]
    names = [f"diffusion_pytorch_model-0000{n + 1}-of-00002.safetensors" for n in (0, 1)]
    for name, part in zip(names, parts):
        write_safetensors(f"{folder}/{name}", part)
    index = f"{folder}/diffusion_pytorch_model.safetensors.index.json"
    with open(index, "w", encoding="utf-8") as f:
        json.dump({"metadata": {"total_size": sum(len(data) for _, _, data in tensors.values())},
                   "weight_map": {t: name for name, part in zip(names, parts) for t in part}}, f)
    code, _, errors = convert("--in", index, "--out", f"{out}/a.gguf", "--type", "Q5_0")
    equal(code, 0, errors)
    equal(read_gguf(f"{out}/a.gguf")[1], read_gguf(os.path.join(GOLDEN, "models", "flux1-fill-Q5_0.gguf"))[1])
    equal(read_gguf(f"{out}/a.gguf")[0]["inpaint.convert.inputs"], names)
    code, _, errors = convert("--in", folder, "--out", f"{out}/b.gguf", "--type", "Q5_0")
    equal(code, 0, errors)
    equal(contents(f"{out}/a.gguf"), contents(f"{out}/b.gguf"))
    for name in ("a", "b"):  # the file of an earlier run is not what is read
        code, said, errors = convert("--in", folder, "--out", f"{folder}/{name}.gguf", "--type", "Q5_0")
        equal(code, 0, errors)
        assert f"from {index}" in said, said
        equal(contents(f"{folder}/{name}.gguf"), contents(f"{out}/b.gguf"))


def test_convert_merges_loras():
    folder = fresh_folder("convert-lora")
    chance = random.Random(5)
    down, up = [chance.gauss(0, 0.1) for _ in range(4 * 64)], [chance.gauss(0, 0.1) for _ in range(192 * 4)]
    write_safetensors(f"{folder}/l.safetensors", {f"diffusion_model.{QUARTER}.lora_A.weight": ("F32", [4, 64], struct.pack("<256f", *down)),
                                                  f"diffusion_model.{QUARTER}.lora_B.weight": ("F32", [192, 4], struct.pack("<768f", *up))})

    def with_lora(name, kind, *loras):
        code, said, errors = convert("--in", ORIGINAL, "--out", f"{folder}/{name}.gguf", "--type", kind, *loras)
        equal(code, 0, errors)
        return said

    with_lora("none", "Q8_0")
    with_lora("zero", "Q8_0", "--lora", f"{folder}/l.safetensors:0")
    equal(contents(f"{folder}/none.gguf"), contents(f"{folder}/zero.gguf"))
    said = with_lora("half", "F32", "--lora", f"{folder}/l.safetensors:0.5")
    assert "1 LoRA merged into 1 tensors" in said, said
    pairs, after = read_gguf(f"{folder}/half.gguf")
    before = read_gguf(ORIGINAL)[1]
    equal([name for name in before if before[name] != after[name]], [QUARTER + ".weight"])
    old, new = (struct.unpack("<12288f", t[QUARTER + ".weight"][2]) for t in (before, after))
    want = [old[64 * r + c] + 0.5 * sum(up[4 * r + k] * down[64 * k + c] for k in range(4)) for r in range(192) for c in range(64)]
    assert relative(new, want) < 1e-6
    equal((pairs["inpaint.convert.loras"], pairs["inpaint.convert.loras.scale"]), (["l.safetensors"], ["0.5"]))
    merged = velocity(folder, "half.gguf")
    assert relative(merged, velocity(os.path.join(GOLDEN, "models"), "flux1-fill-F32.gguf", "--lora", f"{folder}/l.safetensors:0.5",
                                     out=folder)) < 1e-6
    assert relative(merged, velocity(os.path.join(GOLDEN, "models"), "flux1-fill-F32.gguf", out=folder)) > 1e-3
    equal(pairs["inpaint.convert.loras.sha256"], [hashlib.sha256(contents(f"{folder}/l.safetensors")).hexdigest()])


def test_convert_stores_self_check_values_that_doctor_finds():
    folder = fresh_folder("convert-check")
    for name in os.listdir(os.path.join(GOLDEN, "models")):
        if not name.endswith((".gguf", ".check")):
            os.symlink(os.path.join(GOLDEN, "models", name), f"{folder}/{name}")
    code, said, errors = run("convert", "--in", ORIGINAL, "--out", f"{fresh_folder('convert-alone')}/a.gguf", "--type", "Q8_0")
    equal((code, "has no VAE yet" in said), (0, True), errors + said)
    code, said, errors = run("convert", "--in", ORIGINAL, "--out", f"{folder}/a.gguf", "--type", "Q8_0")
    equal(code, 0, errors)
    assert "self-check values are stored" in said and "next: inpaint-worker fill" in said, said
    equal(len(glob.glob(f"{folder}/a.gguf.cpu-*.check")), 1)
    code, said, _ = run("doctor", "--offline", "--self-check", MODEL_DIR=folder, TRANSFORMER="a.gguf", BACKEND="cpu", PUSH_AUTH="oidc",
                        PUSH_AUDIENCE="https://worker.example", PUSH_SERVICE_ACCOUNT="push@demo.iam.gserviceaccount.com")
    equal((code, "as stored" in said), (0, True), said)


def test_convert_refuses_what_it_would_spoil_and_what_it_does_not_know():
    folder = fresh_folder("convert-refusals")
    out = f"{folder}/a.gguf"
    with open(out, "w", encoding="utf-8") as f:
        f.write("mine")
    shutil.copy(ORIGINAL, f"{folder}/in.gguf")
    cases = [(["--in", ORIGINAL, "--out", out, "--type", "Q8_0"], 1, "exists: --force replaces it"),
             (["--in", f"{folder}/in.gguf", "--out", f"{folder}/in.gguf", "--type", "Q8_0", "--force"], 1, "would be read"),
             (["--in", ORIGINAL, "--out", out, "--type", "Q9_0"], 2, "F32|F16|BF16|Q8_0|Q4_0|"),
             (["--in", ORIGINAL, "--out", out], 2, "--type is required"),
             (["--in", ORIGINAL, "--type", "Q8_0"], 2, "--out is required"),
             (["--in", ORIGINAL, "--out", f"{folder}/a.bin", "--type", "Q8_0"], 2, "must end in .gguf"),
             (["--in", ORIGINAL, "--out", out, "--type", "Q8_0", "--keep", "mod"], 2, "NAME=TYPE"),
             (["--in", ORIGINAL, "--out", out, "--type", "Q8_0", "--lora", "x:99"], 2, "-10 to 10"),
             (["--in", f"{folder}/none", "--out", f"{folder}/b.gguf", "--type", "Q8_0"], 1, "none"),
             (["--in", os.path.join(GOLDEN, "models", "ae.safetensors"), "--out", f"{folder}/b.gguf", "--type", "Q8_0"], 1, "img_in")]
    for args, status, part in cases:
        code, _, errors = convert(*args)
        equal((code, len(errors.splitlines())), (status, 1), errors)
        assert part in errors, (part, errors)
    equal((sorted(os.listdir(folder)), contents(out)), (["a.gguf", "in.gguf"], b"mine"))
    code, said, _ = convert("--type", "list")
    equal((code, "Q8_0" in said, "12.73 GB" in said), (0, True, True), said)
    code, said, _ = convert("--help")
    equal((code, "\nexample:\n  inpaint-worker convert --in " in said), (0, True), said)


def large_model(path):
    """A transformer of 110 MB, for which a conversion takes long enough to be disturbed."""
    chance, d = random.Random(7), 1024
    block = struct.pack("<65536H", *(chance.getrandbits(16) & 0x80ff | 0x3c00 for _ in range(65536)))  # BF16, all about 0.01
    shapes = {"img_in": (d, 384), "txt_in": (d, 64), "final_layer.linear": (64, d), "final_layer.adaLN_modulation.1": (2 * d, d),
              "single_blocks.0.modulation.lin": (3 * d, d), "single_blocks.0.linear1": (7 * d, d), "single_blocks.0.linear2": (d, 5 * d)}
    for name, inputs in (("time_in", 256), ("guidance_in", 256), ("vector_in", 64)):
        shapes |= {f"{name}.in_layer": (d, inputs), f"{name}.out_layer": (d, d)}
    for name in ("double_blocks.0.img_", "double_blocks.0.txt_"):
        shapes |= {name + "mod.lin": (6 * d, d), name + "attn.qkv": (3 * d, d), name + "attn.proj": (d, d), name + "mlp.0": (4 * d, d),
                   name + "mlp.2": (d, 4 * d)}
    tensors = {}
    for name, shape in shapes.items():
        n = 2 * shape[0] * shape[1]
        tensors[name + ".weight"] = ("BF16", shape, (block * (n // len(block) + 1))[:n])
        tensors[name + ".bias"] = ("BF16", shape[:1], block[:2 * shape[0]])
    for name in ("double_blocks.0.img_attn", "double_blocks.0.txt_attn", "single_blocks.0"):
        tensors |= {f"{name}.norm.{part}_norm.scale": ("BF16", [128], block[:256]) for part in ("query", "key")}
    write_safetensors(path, tensors)


def test_convert_that_is_stopped_or_killed_leaves_no_broken_file():
    folder, out = fresh_folder("convert-stopped"), fresh_folder("convert-stopped-out")
    large_model(f"{folder}/m.safetensors")
    command = [PROGRAM, "convert", "--in", f"{folder}/m.safetensors", "--out", f"{out}/a.gguf", "--type", "F32"]
    for sign, status, left in ((signal.SIGINT, 1, 0), (signal.SIGTERM, 1, 0), (signal.SIGKILL, -signal.SIGKILL, 1)):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until("it writes", lambda: glob.glob(f"{out}/*.tmp"), 60, every=0.002)
        process.send_signal(sign)
        _, errors = process.communicate(timeout=60)
        equal((process.returncode, len(os.listdir(out))), (status, left), errors)
        assert left or "stopped; no file was written" in errors, errors
        assert not os.path.exists(f"{out}/a.gguf")
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    equal((done.returncode, done.stderr.count(".tmp is left of a run that was killed")), (0, 1), done.stderr)
    equal(len(read_gguf(f"{out}/a.gguf")[1]), 52)


def test_convert_on_a_full_disk_says_so_and_leaves_nothing():
    folder = fresh_folder("convert-full")

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))

    done = subprocess.run([PROGRAM, "convert", "--in", ORIGINAL, "--out", f"{folder}/a.gguf", "--type", "Q8_0"], capture_output=True, text=True,
                          timeout=60, check=False, preexec_fn=little_room)
    equal((done.returncode, os.listdir(folder)), (1, []), done.stderr)
    assert f"{folder}/a.gguf: cannot be written: File too large" in done.stderr, done.stderr


SUITE = Suite(tests_of(sys.modules[__name__]))
