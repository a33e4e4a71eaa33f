"""The kinds of files that people have in a model folder, made small: whole ones, damaged ones, other people's.

Each function gives {name in the folder: its bytes, or what makes it at a path}. Standard library only.
"""
import bisect
import functools
import io
import json
import os
import pickle
import random
import struct
import zipfile

import tiny_fill as fill
from tiny_fill import Stored, changed, family, floats, gguf, safetensors, stored

FILE = "flux1-fill.safetensors"
GGUF = "flux1-fill.gguf"
SMALL = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden", "small", "models")
QKV, BIAS, FINAL = "double_blocks.1.img_attn.qkv.weight", "double_blocks.1.img_attn.qkv.bias", "final_layer.linear.weight"


@functools.cache
def model():
    return fill.model()


@functools.cache
def bf16():
    return stored(model(), "BF16")


def one(stores, name=FILE, **how):
    return {name: safetensors(stores, **how)}


def one_gguf(stores, name=GGUF, **how):
    return {name: gguf(stores, **how)}


def link(path):
    return functools.partial(os.symlink, path)


# ---- fp8 with scales

def scaled_fp8(scale_name, shape=(), input_scale="", marker=False, kind="F8_E4M3", change=lambda t: t, scale_kind="F32", start=""):
    """Matrices of integers in fp8 whose unit is in a tensor beside them; everything else is BF16. `shape`: (), (1,), or
    "rows", "columns" of rows or "blocks" of 128 x 128, whose scales differ."""
    out = [Stored("scaled_fp8", kind, (2,), bytes(2))] if marker else []
    for name, t in change(model()).items():
        if len(t.shape) < 2:
            out += stored({start + name: t}, "BF16")
            continue
        base, unit = start + name.removesuffix("weight"), 2.0 ** -t.places
        t, scales, sides = fp8_and_scales(t, unit, shape)
        out += [Stored(start + name, kind, t.shape, fill.as_bytes(t, kind)), floats(base + scale_name, scales, sides, scale_kind)]
        if input_scale:
            out.append(floats(base + input_scale, [1.0], ()))
    return out


def fp8_and_scales(t, unit, shape):
    """-> integers as fp8 holds them, the scales, and the shape of these"""
    rows, cols = t.shape
    if not isinstance(shape, str):
        return fill.Tensor(t.shape, t.integers, 0), [unit], shape
    if shape == "blocks":
        high, wide = -(-rows // 128), -(-cols // 128)
        factor = [[2 ** ((i + j) % 3) for j in range(wide)] for i in range(high)]
        integers = [v * factor[i // cols // 128][i % cols // 128] for i, v in enumerate(t.integers)]
        return fill.Tensor(t.shape, integers, 0), [unit / f for line in factor for f in line], (high, wide)
    factor = [2 ** (i % 3) for i in range(rows)]
    integers = [v * factor[i // cols] for i, v in enumerate(t.integers)]
    return fill.Tensor(t.shape, integers, 0), [unit / f for f in factor], (rows, 1) if shape == "columns" else (rows,)


def widened(stores, by=13):
    """Matrices of E5M2 with values up to its largest and smaller scales, as files with a scale for each matrix have them."""
    def widen(s):
        if s.name.endswith(".scale_weight"):
            return Stored(s.name, s.kind, s.shape, struct.pack("<f", struct.unpack("<f", s.data)[0] * 2.0 ** -by))
        if s.kind == "F8_E5M2" and s.name.endswith(".weight"):
            return Stored(s.name, s.kind, s.shape, bytes(b + 4 * by if b & 0x7f else b for b in s.data))
        return s
    return [widen(s) for s in stores]


ODD_SCALE = struct.unpack("<f", struct.pack("<f", 0.0123))[0]  # no power of two


def odd_scale():
    """One matrix in fp8 whose products with the scale are rounded."""
    name = QKV.replace("weight", "weight_scale")
    return one(changed(scaled_fp8("weight_scale"), name, lambda _: struct.pack("<f", ODD_SCALE)))


def odd_scale_in_f32():
    values = [k * ODD_SCALE for k in model()[QKV].integers]
    return one(changed(stored(model(), "F32"), QKV, lambda _: struct.pack(f"<{len(values)}f", *values)))


def comfy_quant():
    """As newer ComfyUI writes fp8: what a layer is, as JSON, beside it."""
    said = json.dumps({"format": "float8_e4m3fn"}).encode()
    out = scaled_fp8("weight_scale")
    return out + [Stored(s.name.replace("weight_scale", "comfy_quant"), "U8", (len(said),), said) for s in out if s.name.endswith("weight_scale")]


# ---- several files

def in_order(i, n, total):
    return i * n // total


def by_turns(i, n, _):
    """Neighbours, as q, k and v of a layer, in different shards."""
    return i % n


def sharded(stores, n, folder="transformer/", name="diffusion_pytorch_model", by=in_order, also=()):
    """n shards and an index; by(i, n, total) is the shard of the tensor i. `also`: (shard, tensor) that the index does
    not list."""
    names = [f"{name}-{i + 1:05}-of-{n:05}.safetensors" for i in range(n)]
    where = {s.name: by(i, n, len(stores)) for i, s in enumerate(stores)}
    found = {folder + names[k]: safetensors([s for s in stores if where[s.name] == k] + [s for at, s in also if at == k]) for k in range(n)}
    index = {"metadata": {"total_size": sum(len(s.data) for s in stores)}, "weight_map": {k: names[v] for k, v in where.items()}}
    return found | {f"{folder}{name}.safetensors.index.json": json.dumps(index).encode()}


def of_a_variant(files, variant="fp16"):
    """The names that diffusers and transformers give to the files of a variant."""
    def named(name):
        return name.replace(".index.json", f".index.{variant}.json").replace("model-0", f"model.{variant}-0")
    return {named(name): data.replace(b"model-0", f"model.{variant}-0".encode()) if name.endswith("json") else data for name, data in files.items()}


def with_index(files, change):
    """Another index, as a function of the one that is there."""
    name = next(n for n in files if n.endswith("index.json"))
    return files | {name: json.dumps(change(json.loads(files[name]))).encode()}


def moved(index, tensor, file):
    return index | {"weight_map": index["weight_map"] | {tensor: file}}


def split_gguf(n=3, without=None):
    """As llama.cpp splits: the pairs of the model in the first part, the numbers of the split in each."""
    stores = stored(model(), family("A", "Q8_0"))
    per, found = -(-len(stores) // n), {}
    for k in range(n):
        pairs = {"split.no": fill.u16(k), "split.count": fill.u16(n), "split.tensors.count": fill.i32(len(stores))}
        pairs = (fill.PLAIN_PAIRS if k == 0 else {}) | pairs
        if k != without:
            found[f"flux1-fill-{k + 1:05}-of-{n:05}.gguf"] = gguf(stores[k * per:k * per + per], pairs)
    return found


def reshaped_gguf(kind, shape=(32, 384)):
    """img_in with rows of 256, as ComfyUI's converter stores what does not fit its blocks, and the true shape beside."""
    stores = [Stored(s.name, s.kind, (48, 256), s.data) if s.name == "img_in.weight" else s for s in stored(model(), family("C", kind))]
    return one_gguf(stores, pairs_of_file=fill.PLAIN_PAIRS | {"comfy.gguf.orig_shape.img_in.weight": list(shape)})


# ---- damage

def zeroed(files, start, stop):
    """Zeros from one part of the file to another, as in a download whose room was reserved before it ended."""
    (name, data), = files.items()
    a, b = int(len(data) * start), int(len(data) * stop)
    return {name: data[:a] + bytes(b - a) + data[b:]}


def cut(files, n_bytes):
    """Without the last n bytes."""
    (name, data), = files.items()
    return {name: data[:-n_bytes]}


def put(at, packed):
    """Other bytes at a place of a tensor, from its end where that is negative."""
    def change(data):
        start = at % len(data)
        return data[:start] + packed + data[start + len(packed):]
    return change


def with_f16_scale(value, tensor=QKV, kind="Q8_0", at=34 * 100):
    return one_gguf(changed(stored(model(), family("A", kind)), tensor, put(at, struct.pack("<e", value))))


# ---- other people's files

def chroma():
    kept = {n: t for n, t in fill.model(fill.DEV).items() if not n.startswith(("time_in", "vector_in", "guidance_in")) and "mod" not in n}
    extra = {f"distilled_guidance_layer.{n}.weight": fill.Tensor((32, 64), [1] * 2048, 6) for n in ("in_proj", "layers.0.in_layer", "out_proj")}
    return one(stored(kept | extra, "BF16"), "chroma.safetensors")


def flux_2():
    kept = {n: t for n, t in fill.model(fill.CANNY).items() if n.endswith("weight") and "mod" not in n and not n.startswith("vector_in")}
    extra = {f"{n}.lin.weight": fill.Tensor((192, 32), [1] * 6144, 6)
             for n in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation")}
    return one(stored(kept | extra, "BF16"), "flux2.safetensors")


def other_inputs(inputs, guidance=True, name="flux1-other.safetensors"):
    return one(stored(fill.model(inputs, guidance), "BF16"), name)


def noise(name, kind, shape, size, seed=17):
    return Stored(name, kind, shape, random.Random(seed).randbytes(size * fill.count(shape)))


def nf4():
    """As bitsandbytes writes it."""
    said, out = b'{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16"}', []
    for s in bf16():
        if not (s.name.startswith(("double", "single")) and len(s.shape) == 2):
            out.append(s)
            continue
        n = fill.count(s.shape)
        out += [noise(s.name, "U8", (n // 2, 1), 1), floats(s.name + ".absmax", [0.25] * (n // 64)),
                floats(s.name + ".quant_map", [k / 8 - 1 for k in range(16)]),
                Stored(s.name + ".quant_state.bitsandbytes__nf4", "U8", (len(said),), said)]
    return one(out, "flux1-fill-nf4.safetensors")


def svdquant():
    """As nunchaku writes it."""
    out = [s for s in stored(fill.diffusers(model()), "BF16") if "blocks" not in s.name]
    for block in range(2):
        start = f"transformer_blocks.{block}.qkv_proj"
        out += [noise(f"{start}.qweight", "I8", (96, 16), 1), noise(f"{start}.wscales", "BF16", (1, 96), 2), noise(f"{start}.smooth_factor", "BF16", (32,), 2),
                noise(f"{start}.proj_down", "BF16", (32, 16), 2), noise(f"{start}.proj_up", "BF16", (96, 16), 2)]
    return one(out, "svdq-int4-flux.1-fill-dev.safetensors")


def quanto():
    out = []
    for s in stored(fill.diffusers(model()), "BF16"):
        if "blocks" in s.name and len(s.shape) == 2:
            out += [noise(s.name + "._data", "I8", s.shape, 1), floats(s.name + "._scale", [0.25] * s.shape[0], (s.shape[0], 1)),
                    floats(s.name.replace("weight", "input_scale"), [1.0], ())]
        else:
            out.append(s)
    return one(out, "flux1-fill-quanto.safetensors")


def unread_gguf(kind, size, per):
    stores = changed(stored(model(), family("A", "F16")), "time_in.in_layer.weight", lambda _: bytes([7]) * (size * 32 * 256 // per), kind=kind)
    return one_gguf(stores)


def lora_only():
    out = []
    for name in ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_out"):
        cols = 32 if "to_q" in name else 160
        out += [noise(f"transformer.{name}.lora_A.weight", "BF16", (4, cols), 2), noise(f"transformer.{name}.lora_B.weight", "BF16", (32, 4), 2)]
    return one(out, "removal-lora.safetensors")


def zipped_pickle():
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps({"img_in.weight": list(range(100))}, 2))
        z.writestr("archive/data/0", bytes(4096))
    return made.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"5a" * 32 + b"\nsize 23802816640\n"
HTML = b"<!DOCTYPE html>\n<html><head><title>Access to this model is restricted</title></head><body>401</body></html>\n" * 20


def linked(path, name):
    """One of the files of a golden set, by another name."""
    return {name: link(os.path.join(SMALL, path))}


# ---- folders

def vae_of_diffusers():
    """ae.safetensors under diffusers' names."""
    return safetensors([vae_tensor(name, *e) for name, e in read_small("ae.safetensors").items()])


def vae_tensor(name, kind, shape, data):
    part, _, rest = name.partition(".")
    steps = rest.split(".")
    if steps[0] in ("down", "up") and steps[2] == "block":
        number = steps[1] if steps[0] == "down" else str(3 - int(steps[1]))
        steps = [f"{steps[0]}_blocks", number, "resnets", *steps[3:]]
    elif steps[0] in ("down", "up"):
        number = steps[1] if steps[0] == "down" else str(3 - int(steps[1]))
        steps = [f"{steps[0]}_blocks", number, f"{steps[0]}samplers", "0", *steps[3:]]
    elif steps[0] == "mid" and steps[1].startswith("block"):
        steps = ["mid_block", "resnets", str(int(steps[1][-1]) - 1), *steps[2:]]
    elif steps[0] == "mid":
        part_of = {"norm": "group_norm", "proj_out": "to_out.0", "q": "to_q", "k": "to_k", "v": "to_v"}[steps[2]]
        steps = ["mid_block", "attentions", "0", part_of, *steps[3:]]
        shape = shape[:2]
    elif steps[0] == "norm_out":
        steps = ["conv_norm_out", *steps[1:]]
    return Stored(f"{part}." + ".".join("conv_shortcut" if s == "nin_shortcut" else s for s in steps), kind, shape, data)


VAE_OF_DIFFUSERS = "vae/diffusion_pytorch_model.safetensors"
TOKENIZERS = ["tokenizer/vocab.json", "tokenizer/merges.txt", "tokenizer/tokenizer_config.json", "tokenizer_2/tokenizer.json",
              "tokenizer_2/spiece.model"]


def tokenizers():
    return {name: link(os.path.join(SMALL, name)) for name in TOKENIZERS}


def official():
    """The repository of FLUX.1-Fill-dev as from_pretrained caches it."""
    configs = {f"{part}/config.json": b"{}" for part in ("transformer", "vae", "text_encoder", "text_encoder_2")}
    said = {"model_index.json": b'{"_class_name": "FluxFillPipeline"}', "scheduler/scheduler_config.json": b"{}"}
    return {**said, **configs, **sharded(stored(fill.diffusers(model()), "BF16"), 3),
            **parts(VAE_OF_DIFFUSERS, "text_encoder/model.safetensors", "text_encoder_2/model.safetensors"),
            VAE_OF_DIFFUSERS: vae_of_diffusers()}


def official_and_single_files():
    """The same with the files that lie beside the folders in the repository."""
    return official() | one(bf16(), "flux1-fill-dev.safetensors") | linked("ae.safetensors", "ae.safetensors") | {"README.md": b"# FLUX.1 Fill [dev]\n"}


def parts(vae, clip, t5):
    """The other networks of the pipeline under these names, and the vocabularies."""
    return {**linked("ae.safetensors", vae), **linked("text_encoder/model.safetensors", clip),
            **linked("text_encoder_2/model.safetensors", t5), **tokenizers()}


def comfy(transformers="unet", encoders="clip"):
    """ComfyUI's models folder, with a LoRA and the note that lies in an empty one."""
    (_, a_lora), = lora_only().items()
    return {**one(bf16(), f"{transformers}/flux1-fill-dev.safetensors"), f"{transformers}/put_unet_files_here": b"",
            **parts("vae/ae.safetensors", f"{encoders}/clip_l.safetensors", f"{encoders}/t5xxl_fp16.safetensors"),
            "loras/removal.safetensors": a_lora}


def encoders_and_vae():
    return parts("ae.safetensors", "clip_l.safetensors", "t5xxl_fp16.safetensors")


def side_by_side():
    """dev (in F32 the largest of all), Fill, a LoRA and NF4, and parts of other models."""
    return {"flux1-dev.safetensors": safetensors(stored(fill.model(fill.DEV), "F32")), **one(bf16(), "flux1-fill-dev.safetensors"), **lora_only(), **nf4(),
            **svdquant(), **encoders_and_vae()}


def reference():
    """What each folder must compute like."""
    return one(stored(model(), "F32"), "flux1-fill-dev.safetensors") | encoders_and_vae()


def odd_names():
    return one(bf16(), "model-b.safetensors") | parts("flux-vae-bf16.safetensors", "text-a.safetensors", "google_t5-v1_1-xxl_encoderonly.safetensors")


def every_other_kind():
    """Fill beside all that is not Fill, or not whole."""
    half = {"half.gguf": one_gguf(stored(model(), family("A", "Q8_0")))[GGUF][:-150000]}
    odd = {"page.safetensors": HTML, "lfs.gguf": LFS, "pipe.gguf": os.mkfifo, "iq2.gguf": unread_gguf("IQ2_XXS", 66, 256)[GGUF]}
    others = lora_only() | nf4() | svdquant() | quanto() | chroma() | flux_2() | other_inputs(fill.CANNY)
    return one(bf16(), "a.safetensors") | others | odd | half


def hugging_face_cache():
    """The official repository as its cache keeps it: a folder of links to files that are named by digests."""
    found = {}
    for i, (name, what) in enumerate(official().items()):
        if callable(what):
            found[name] = what
        else:
            found[f"../blobs/{i:064x}"] = what
            found[name] = link(os.path.join("../" * (name.count("/") + 1) + "blobs", f"{i:064x}"))
    return found


def read_small(path):
    """-> the tensors of one of the golden set's files"""
    with open(os.path.join(SMALL, path), "rb") as f:
        return fill.read_safetensors(f.read())


def merged_checkpoint():
    """All networks in one file, under the names that ComfyUI saves, and nothing else but the vocabularies."""
    networks = [("vae.", "ae.safetensors"), ("text_encoders.clip_l.transformer.text_model.", "text_encoder/model.safetensors"),
                ("text_encoders.t5xxl.transformer.", "text_encoder_2/model.safetensors")]
    out = stored(fill.prefixed("model.diffusion_model.", model()), "BF16")
    out += [Stored(start + name, *e) for start, path in networks for name, e in read_small(path).items()]
    return one(out, "flux1-fill-all-in-one.safetensors") | tokenizers()


def unfinished_neighbours():
    """What downloads leave behind while they run, beside a whole file."""
    begun = bytes(1000)
    return {**one(bf16(), "flux1-fill-dev.safetensors"), **encoders_and_vae(), "flux1-fill-dev-Q8_0.gguf.part": begun, "flux1-fill-dev-Q8_0.gguf.aria2": begun,
            "flux1-dev.safetensors.incomplete": begun, ".cache/huggingface/download/x.safetensors.lock": b"", "flux1-fill-dev-Q4_0.gguf": b"",
            "link.gguf": link("/nowhere/at/all.gguf")}


def t5_in_fp8(as_f32=False):
    """The golden set's T5 with matrices in fp8 whose scales use its range, as ComfyUI's t5xxl_fp8_e4m3fn_scaled; or the
    same values in F32."""
    out = [] if as_f32 else [Stored("scaled_fp8", "F8_E4M3", (2,), bytes(2))]
    for name, (kind, shape, data) in read_small("text_encoder_2/model.safetensors").items():
        if len(shape) < 2 or "SelfAttention" not in name and "DenseReluDense" not in name or "bias" in name:
            out.append(Stored(name, kind, shape, data))
            continue
        values = [v for v, in struct.iter_unpack("<e", data)]
        scale = struct.unpack("<f", struct.pack("<f", max(map(abs, values)) / 448))[0]
        nearest = {v: nearest_e4m3(v / scale) for v in set(values)}
        if as_f32:
            out.append(Stored(name, "F32", shape, b"".join(struct.pack("<f", nearest[v] * scale) for v in values)))
        else:
            out += [Stored(name, "F8_E4M3", shape, b"".join(fill.E4M3[nearest[v]] for v in values)),
                    floats(name.removesuffix("weight") + "scale_weight", [scale], ())]
    return safetensors(out)


@functools.cache
def sorted_e4m3():
    return sorted(v for v in fill.E4M3 if abs(v) <= 448)


def nearest_e4m3(value):
    known = sorted_e4m3()
    at = bisect.bisect_left(known, value)
    return min(known[max(at - 1, 0):at + 1], key=lambda v: abs(v - value))


def with_t5_in_fp8(as_f32=False):
    """A folder whose T5 is that one."""
    return one(bf16(), "flux1-fill-dev.safetensors") | encoders_and_vae() | {"t5xxl_fp16.safetensors": t5_in_fp8(as_f32)}


def t5_without_charsmap():
    """A T5 encoder GGUF whose vocabulary lacks the normaliser."""
    with open(os.path.join(os.path.dirname(os.path.dirname(SMALL)), "gguf", "models", "t5-encoder-Q8_0.gguf"), "rb") as f:
        data = f.read()
    key = b"tokenizer.ggml.precompiled_charsmap"
    assert key in data
    return {"t5-encoder-Q8_0.gguf": data.replace(key, b"tokenizer.ggml.precompiled_charsmaq")}
