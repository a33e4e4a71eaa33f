#!/usr/bin/env python3
"""golden.py: makes a golden set: a random FLUX.1-Fill model folder, and what the official libraries compute with it.

    make golden SET=build/golden/mine ARGS="heads=3 head_dim=64 quants=Q8_0,Q4_K t5=gguf seed=9"

Every setting below can be given as name=value; an unknown name is an error. The set has the form of test/golden/small:
models/, cases/, RECIPE.json (test/golden/README.md lists the tensors). The weights are random; the numbers are computed
in f32 by
    torch 2.13.0 (CPU), diffusers 0.42.1, transformers 5.23.0, tokenizers 0.23.3, sentencepiece 0.2.3, gguf 0.19.0,
    safetensors, protobuf, Pillow 13.0.0, numpy
`pip install` these into an environment of their own. Other versions work as long as their interfaces do. The 128
frequencies of the sinusoid are fixed here, because torch's own are not the same on every processor; RECIPE.json tells
on which one a set was made.
"""
import collections
import importlib.metadata
import io
import json
import math
import os
import pathlib
import platform
import re
import sys
import zlib

import diffusers
import gguf
import golden_gpu
import numpy as np
import sentencepiece
import tokenizers
import torch
import transformers
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
from diffusers.models import embeddings
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTokenizer, PreTrainedTokenizerFast, T5Config,
                          T5EncoderModel)

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SETTINGS = {
    "seed": 1,
    # transformer; quants: GGUF types, MIX for all K types in one file, or F32/F16/BF16 + ".safetensors"
    "heads": 2, "head_dim": 32, "double": 2, "single": 2, "quants": "F32,Q8_0", "family": "A", "prefix": "",
    "norm": "scale",
    # T5: folder (text_encoder_2), shards (the same in several files with an index), file (t5xxl_*.safetensors) or gguf
    "t5": "folder", "t5_type": "f16", "t5_dim": 64, "t5_kv": 32, "t5_heads": 2, "t5_layers": 2, "t5_ff": 160,
    "t5_vocab": 400, "t5_vocabulary": "json,spiece", "t5_prepend": "first",
    # CLIP: folder (text_encoder) or file (clip_l.safetensors)
    "clip": "folder", "clip_type": "f32", "clip_prefix": "", "clip_dim": 128, "clip_layers": 2, "clip_merges": 200,
    "clip_config": "plain",
    # VAE: bfl (ae.safetensors) or diffusers (vae/)
    "vae": "bfl", "vae_type": "bf16", "vae_widths": "32,32,64,64", "vaes": "64x64,40x104",
    # cases: fills are WxH:steps:guidance:t5_len:prompt:mask mode[:seed[:strength]]; with a seed the pipeline draws the noise
    "texts": "0:512,1:64,2:128,3:256", "grid": "3x5", "text_tokens": 7, "guidance": 30.0,
    "fills": "64x64:4:30:128:0:L,96x80:3:10:64:1:RGB,80x64:3:30:64:4:L:42",
}
PROMPTS = [
    "seamless grass behind the dog, soft evening light", "", "It's 2024!! 100% #1 (test) [x] {y} & more...",
    "stone " * 600, "a white paper cup", "  leading,   inner\tand\ntrailing  ",
    "café naïve — “quoted” über Ångström", "犬が草の上にいる", "emoji 🐶🌿 dog 👩‍👩‍👧",
    "fullＷＩＤＴＨ ﬁ Ⅰ ½ ﷺ", "zero\u200bwidth nbsp\xa0here soft\xadhyphen e\u0301",
    "</s> <pad> <extra_id_0> literal <unk>x", "<|startoftext|>a<|endoftext|>b <|ENDOFTEXT|>",
    "don't they've I'm we'll he'd you'RE", "a" * 300, "MiXeD CaSe İSTANBUL ΣΊΣΥΦΟΣ",
    "0 1 22 333 4444 3.14159 1,000,000", "ไทย აბ أب हिन्दी", "-- -x --prompt", "▁▁ low ▁ line",
]


def settings(words):
    s = dict(SETTINGS)
    for word in words:
        name, _, value = word.partition("=")
        if name not in s:
            sys.exit(f"golden.py: no setting {name}; there are: {' '.join(s)}")
        s[name] = type(s[name])(value)
    return s


def corpus():
    """Text to learn vocabularies from: the docstrings of the libraries, so it is fixed by their versions."""
    said = [FluxFillPipeline, FluxFillPipeline.__call__, FluxTransformer2DModel, AutoencoderKL, CLIPTokenizer, T5Config,
            FlowMatchEulerDiscreteScheduler, PreTrainedTokenizerFast, CLIPTextConfig, torch.nn.Linear, torch.nn.Conv2d]
    text = " ".join(c.__doc__ for c in said)
    return [w for w in re.split(r"(?<=[.;])\s+", text) if w.strip()] + PROMPTS[:3] + PROMPTS[4:7]


def tensors(model):
    return {k: v.detach().clone().contiguous() for k, v in model.state_dict().items()}


def stir(model, gain=1.0):
    """Randomises norm weights and biases: torch initialises them to 1 and 0, which would hide mistakes."""
    for p in model.parameters():
        p.data = p.data + 0.1 * torch.randn_like(p) if p.dim() == 1 else p.data * gain
    return model.eval().requires_grad_(False)


def store_as(model, dtype):
    """Rounds the weights in the model too, so that file and reference agree; returns them as stored."""
    stored = {k: v.to(dtype) for k, v in tensors(model).items()}
    model.load_state_dict({k: v.float() for k, v in stored.items()})
    return stored


def write(path, stored, **settings_of_case):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: torch.as_tensor(v).contiguous() for k, v in stored.items()}, path,
              {k: str(v) for k, v in settings_of_case.items()} or None)


# ---- the sinusoid and the processor

RESTRICTIONS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")  # settings that forbid instructions
HIGHER = (13, 44, 119)  # the frequencies that torch's exp makes one ulp higher than a correctly rounded one, with AVX-512
FREQUENCIES_CRC32 = 0x9c865126


def exponents():
    """What the frequencies are the exponentials of, rounded as diffusers rounds it."""
    return -math.log(10000) * torch.arange(128, dtype=torch.float32) / 128


def fixed_frequencies():
    """The sinusoid's frequencies as torch computes them with AVX-512: the same bits on every processor."""
    rounded = np.array([math.exp(x) for x in exponents().tolist()], np.float32).view(np.int32)
    rounded[list(HIGHER)] += 1
    assert zlib.crc32(rounded.astype("<i4").tobytes()) == FREQUENCIES_CRC32, "math.exp is not accurate here"
    return torch.from_numpy(rounded.view(np.float32))


def pin_frequencies():
    """Gives diffusers' embedding of times and guidances fixed frequencies; returns in which places torch's own differ.

    torch takes exp from MKL, which has another one for each instruction set; at guidance 100 one ulp of a frequency
    moves a velocity by 3e-4, because random embedders amplify it."""
    fixed = fixed_frequencies()

    def pinned(timesteps, embedding_dim, **how):
        assert (embedding_dim, how) == (256, {"flip_sin_to_cos": True, "downscale_freq_shift": 0, "scale": 1}), how
        angles = timesteps[:, None].float() * fixed
        return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)

    own = torch.exp(exponents())
    embeddings.get_timestep_embedding = pinned
    return torch.nonzero(own != fixed).flatten().tolist()


def processor():
    """On which processor this runs, and which of its instructions are used as far as torch tells or was told."""
    said = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    field = dict(re.findall(r"^(model name|flags)\s*: (.*)$", said, re.M))
    flags = field.get("flags", "").split()
    return {"model": field.get("model name", platform.processor()), "machine": platform.machine(),
            "flags": [f for f in flags if f == "avx2" or f.startswith(("avx512", "amx"))],
            "torch capability": torch.backends.cpu.get_cpu_capability(), "mkl": torch.backends.mkl.is_available(),
            "environment": {k: os.environ[k] for k in RESTRICTIONS if k in os.environ}}


# ---- vocabularies


def t5_vocabulary(s, models):
    learnt = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=learnt, vocab_size=s["t5_vocab"], model_type="unigram", pad_id=0,
        eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0, hard_vocab_limit=False, num_threads=1, minloglevel=2)
    spiece = sentencepiece_model_pb2.ModelProto.FromString(learnt.getvalue())
    sentinels = [f"<extra_id_{99 - k}>" for k in range(100)]
    pieces = [[p.piece, p.score] for p in spiece.pieces] + [[name, 0.0] for name in sentinels]
    special = ["<pad>", "</s>", "<unk>"] + sentinels
    fast = tokenizers.Tokenizer(tokenizers.models.Unigram([(p, v) for p, v in pieces], unk_id=2))
    n = tokenizers.normalizers
    fast.normalizer = n.Sequence([n.Precompiled(spiece.normalizer_spec.precompiled_charsmap), n.Strip(left=False),
                                  n.Replace(tokenizers.Regex(" {2,}"), "▁")])
    fast.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=s["t5_prepend"])
    fast.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    fast.add_special_tokens(special)
    folder = models / "tokenizer_2"
    if s["t5_vocabulary"]:
        folder.mkdir(parents=True, exist_ok=True)
    if "json" in s["t5_vocabulary"]:
        fast.save(str(folder / "tokenizer.json"))
    if "spiece" in s["t5_vocabulary"]:
        (folder / "spiece.model").write_bytes(learnt.getvalue())
    words = PreTrainedTokenizerFast(tokenizer_object=fast, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    return words, spiece


def clip_merges(n):
    """Learns n merges from the corpus as BPE does. Of pairs that are equally frequent the first in order is taken: the
    trainer of tokenizers takes any of them, another one in another run."""
    cut = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Whitespace(), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
    said = collections.Counter(word for text in corpus() for word, _ in cut.pre_tokenize_str(text.lower()))
    words, merges = {(*word[:-1], word[-1] + "</w>"): count for word, count in said.items()}, []
    while len(merges) < n:
        seen = collections.Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                seen[pair] += count
        made = {a + b for a, b in merges}
        best = min((-count, pair) for pair, count in seen.items() if "".join(pair) not in made)[1]
        merges.append(best)
        words = {tuple(merged(word, best)): count for word, count in words.items()}
    return merges


def merged(word, pair):
    """The symbols of a word, with this pair made one wherever it occurs."""
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def clip_vocabulary(s, models):
    merges = clip_merges(s["clip_merges"])
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(b) for b in own] + [chr(256 + k) for k in range(256 - len(own))]
    words = symbols + [c + "</w>" for c in symbols] + ["".join(m) for m in merges]
    words = list(dict.fromkeys(words)) + ["<|startoftext|>", "<|endoftext|>"]
    assert len(words) == 514 + len(merges), "a merge makes a word that exists already"
    folder = models / "tokenizer"
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    config = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "errors": "replace"}
    if s["clip_config"] == "published":
        for name, word in (("bos_token", "<|startoftext|>"), ("eos_token", "<|endoftext|>")):
            config[name] = {"__type": "AddedToken", "content": word, "normalized": True, "lstrip": False,
                            "rstrip": False, "single_word": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder), len(words)


# ---- models


def make_clip(s, models, rows):
    config = CLIPTextConfig(vocab_size=rows, hidden_size=s["clip_dim"], intermediate_size=4 * s["clip_dim"],
                            num_hidden_layers=s["clip_layers"], num_attention_heads=s["clip_dim"] // 64, eos_token_id=2,
                            bos_token_id=rows - 2, pad_token_id=rows - 1)
    model = stir(CLIPTextModel(config))
    name = {"folder": "text_encoder/model.safetensors", "file": "clip_l.safetensors"}[s["clip"]]
    stored = store_as(model, DTYPES[s["clip_type"]])
    write(models / name, {s["clip_prefix"] + k.removeprefix("text_model."): v for k, v in stored.items()
                          if "position_ids" not in k})
    return model


T5_GGUF = {"shared": "token_embd", "final_layer_norm": "enc.output_norm", "SelfAttention.q": "attn_q",
           "SelfAttention.k": "attn_k", "SelfAttention.v": "attn_v", "SelfAttention.o": "attn_o",
           "SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.layer_norm": "attn_norm",
           "DenseReluDense.wi_0": "ffn_gate", "DenseReluDense.wi_1": "ffn_up", "DenseReluDense.wo": "ffn_down",
           "layer.1.layer_norm": "ffn_norm"}


def t5_gguf(s, models, model, spiece):
    """Writes the file as llama.cpp's converter does: the matrices in one type, the rest f32, the vocabulary inside."""
    out = gguf.GGUFWriter(models / f"t5-encoder-{s['t5_type']}.gguf", "t5encoder")
    out.add_block_count(s["t5_layers"])
    out.add_embedding_length(s["t5_dim"])
    out.add_head_count(s["t5_heads"])
    out.add_key_length(s["t5_kv"])
    out.add_layer_norm_rms_eps(1e-6)
    rows = model.config.vocab_size
    sentinels = [f"<extra_id_{99 - k}>" for k in range(100)]
    pads = rows - len(spiece.pieces) - 100
    out.add_tokenizer_model("t5")
    out.add_token_list([p.piece for p in spiece.pieces] + sentinels + [f"[PAD{k}]" for k in range(pads)])
    out.add_token_scores([p.score for p in spiece.pieces] + [0.0] * 100 + [-10000.0] * pads)
    out.add_token_types([p.type for p in spiece.pieces] + [4] * 100 + [5] * pads)
    out.add_precompiled_charsmap(spiece.normalizer_spec.precompiled_charsmap)
    for add, token in ((out.add_eos_token_id, 1), (out.add_pad_token_id, 0), (out.add_unk_token_id, 2)):
        add(token)
    loaded = {}
    for name, value in tensors(model).items():
        if name == "encoder.embed_tokens.weight":
            continue
        part = next(v for k, v in T5_GGUF.items() if name.removesuffix(".weight").endswith(k))
        block = re.search(r"block\.(\d+)\.", name)
        kind = s["t5_type"].upper() if value.dim() == 2 and part != "attn_rel_b" else "F32"
        loaded[name] = add_tensor(out, (f"enc.blk.{block[1]}." if block else "") + part + ".weight", value, kind)
    close(out)
    loaded["encoder.embed_tokens.weight"] = loaded["shared.weight"]
    model.load_state_dict(loaded)


def make_t5(s, models, spiece):
    rows = -(-(len(spiece.pieces) + 100) // 32) * 32
    model = stir(T5EncoderModel(T5Config(
        vocab_size=rows, d_model=s["t5_dim"], d_kv=s["t5_kv"], d_ff=s["t5_ff"], num_layers=s["t5_layers"],
        num_heads=s["t5_heads"], feed_forward_proj="gated-gelu")))
    if s["t5"] == "gguf":
        t5_gguf(s, models, model, spiece)
        return model
    stored = {k: v for k, v in store_as(model, DTYPES[s["t5_type"]]).items() if k != "encoder.embed_tokens.weight"}
    if s["t5"] == "file":
        write(models / f"t5xxl_{s['t5_type']}.safetensors", stored)
    elif s["t5"] == "folder":
        write(models / "text_encoder_2/model.safetensors", stored)
    else:
        names = [f"model-0000{i + 1}-of-00003.safetensors" for i in range(3)]
        where = {k: names[i % 3] for i, k in enumerate(sorted(stored))}
        for name in names:
            write(models / "text_encoder_2" / name, {k: v for k, v in stored.items() if where[k] == name})
        (models / "text_encoder_2/model.safetensors.index.json").write_text(json.dumps(
            {"metadata": {"total_size": sum(v.nbytes for v in stored.values())}, "weight_map": where}))
    return model


VAE_BFL = [(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block."), (r"downsamplers\.0", "downsample"),
           (r"up_blocks\.(\d)\.", lambda m: f"up.{3 - int(m[1])}."), (r"resnets\.", "block."),
           (r"upsamplers\.0", "upsample"), (r"down_blocks", "down"),
           (r"mid_block\.block\.0", "mid.block_1"), (r"mid_block\.block\.1", "mid.block_2"),
           (r"mid_block\.attentions\.0\.", "mid.attn_1."), (r"group_norm", "norm"), (r"to_out\.0", "proj_out"),
           (r"to_([qkv])", r"\1"), (r"conv_shortcut", "nin_shortcut"), (r"conv_norm_out", "norm_out")]


def make_vae(s, models):
    widths = [int(w) for w in s["vae_widths"].split(",")]
    model = stir(AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=widths,
        layers_per_block=2, latent_channels=16, norm_num_groups=32, scaling_factor=0.3611, shift_factor=0.1159,
        use_quant_conv=False, use_post_quant_conv=False))
    stored = store_as(model, DTYPES[s["vae_type"]])
    if s["vae"] == "diffusers":
        write(models / "vae/diffusion_pytorch_model.safetensors", stored)
        return model
    renamed = {}
    for name, value in stored.items():
        for pattern, by in VAE_BFL:
            name = re.sub(pattern, by, name)
        renamed[name] = value[..., None, None] if "attn_1" in name and value.dim() == 2 else value
    write(models / "ae.safetensors", renamed)
    return model


# ---- transformer files


def bfl_names(t, s):
    """diffusers' tensors under BFL's names: q, k, v stacked, the halves of the last modulation swapped."""
    out, norm = {}, s["norm"]
    single = {"img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out"}
    for ours, theirs in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance")):
        for way, n in (("in", 1), ("out", 2)):
            single[f"{ours}.{way}_layer"] = f"time_text_embed.{theirs}_embedder.linear_{n}"
    for i in range(s["double"]):
        b, d = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        for part, ctx, qkv, proj, added in (("img", "", "to_{}", "to_out.0", ""),
                                            ("txt", "_context", "add_{}_proj", "to_add_out", "added_")):
            single |= {f"{b}{part}_mod.lin": f"{d}norm1{ctx}.linear", f"{b}{part}_attn.proj": f"{d}attn.{proj}",
                       f"{b}{part}_mlp.0": f"{d}ff{ctx}.net.0.proj", f"{b}{part}_mlp.2": f"{d}ff{ctx}.net.2"}
            for kind in ("weight", "bias"):
                out[f"{b}{part}_attn.qkv.{kind}"] = torch.cat([t[f"{d}attn.{qkv.format(x)}.{kind}"] for x in "qkv"])
            for x, name in (("q", "query"), ("k", "key")):
                out[f"{b}{part}_attn.norm.{name}_norm.{norm}"] = t[f"{d}attn.norm_{added}{x}.weight"]
    for i in range(s["single"]):
        b, d = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        single |= {f"{b}modulation.lin": f"{d}norm.linear", f"{b}linear2": f"{d}proj_out"}
        for kind in ("weight", "bias"):
            parts = [f"{d}{x}.{kind}" for x in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
            out[f"{b}linear1.{kind}"] = torch.cat([t[x] for x in parts])
        for x, name in (("q", "query"), ("k", "key")):
            out[f"{b}norm.{name}_norm.{norm}"] = t[f"{d}attn.norm_{x}.weight"]
    for ours, theirs in single.items():
        for kind in ("weight", "bias"):
            out[f"{ours}.{kind}"] = t[f"{theirs}.{kind}"]
    for kind in ("weight", "bias"):
        out[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat(t[f"norm_out.linear.{kind}"].chunk(2)[::-1])
    return out


def diffusers_names(b, t, s):
    """The inverse of bfl_names(): gives the tensors b of a file the names and shapes of the reference t."""
    index = {k: torch.arange(v.numel()).reshape(v.shape) + offset for (k, v), offset in
             zip(t.items(), np.cumsum([0] + [v.numel() for v in t.values()]).tolist())}
    flat = torch.empty(sum(v.numel() for v in t.values()))
    for name, where in bfl_names(index, s).items():
        flat[where.flatten()] = b[name].float().flatten()
    return {k: flat[where] for k, where in index.items()}


# offsets of d and dmin in a block, and the ratio dmin / d that gives a mean near zero
RANDOM = {"Q2_K": (80, 82, 1.5), "Q3_K": (108, None, 0), "Q4_K": (0, 2, 7.5), "Q5_K": (0, 2, 15.5),
          "Q6_K": (208, None, 0), "IQ4_NL": (0, None, 0), "IQ4_XS": (0, None, 0)}


def encoded(value, kind):
    """The bytes of a matrix in a block type: quantised where gguf-py can, else random blocks of the matrix's size."""
    t = gguf.GGMLQuantizationType[kind]
    if kind not in RANDOM:
        return gguf.quants.quantize(value, t)
    elements, size = gguf.GGML_QUANT_SIZES[t]
    d_at, min_at, ratio = RANDOM[kind]
    raw = torch.randint(0, 256, (value.size // elements, size), dtype=torch.uint8).numpy()
    scale = np.ones(len(raw))
    for _ in range(2):  # blocks at scale 1 show which scale gives the spread of the matrix
        for at, by in ((d_at, 1), (min_at, ratio)):
            if at is not None:
                raw[:, at:at + 2] = (scale * by).astype(np.float16).view(np.uint8).reshape(-1, 2)
        scale = (0.5 + torch.rand(len(raw)).numpy()) * value.std() / gguf.quants.dequantize(raw, t).std()
    return raw.reshape(value.shape[0], -1)


def add_tensor(out, name, value, kind):
    """Adds a tensor to a GGUF file in a type that fits its rows; returns its values as stored."""
    value = value.float().numpy()
    if value.ndim < 2:
        kind = "F32"
    elements = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0]
    if value.ndim > 1 and value.shape[1] % elements:
        kind = "F16"
    if kind in ("F32", "F16"):
        value = value.astype(np.float32 if kind == "F32" else np.float16)
        out.add_tensor(name, value)
        return torch.from_numpy(value.astype(np.float32))
    t = gguf.GGMLQuantizationType[kind]
    raw = encoded(value, kind)
    out.add_tensor(name, raw, raw_dtype=t)
    return torch.from_numpy(gguf.quants.dequantize(raw, t).reshape(value.shape).astype(np.float32))


def close(out):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def flux_type(s, name, quant, count):
    """Which type a tensor gets. Family A: in- and output f32, other global matrices bf16; B: both f32; C: all alike."""
    inner = name.startswith(("double", "single")) or s["family"] == "C"
    if quant == "MIX" and inner:
        return [*RANDOM, "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16", "F32"][count % 15]
    if inner or quant in ("F32", "F16", "BF16"):
        return quant
    wide = re.match(r"img_in|(time|vector|guidance)_in\.in_layer|final_layer\.linear", name)
    return "F32" if wide or s["family"] == "B" else "BF16"


def write_flux(s, models, quant, start):
    """Writes one transformer file; returns its name, and its values as tensors of the reference."""
    b, loaded, prefix = bfl_names(start, s), {}, s["prefix"]
    if quant.endswith(".safetensors"):
        stored = {k: v.to(DTYPES[quant.split(".")[0].lower()]) for k, v in b.items()}
        write(models / f"flux1-fill-{quant}", {prefix + k: v for k, v in stored.items()})
        return f"flux1-fill-{quant}", diffusers_names(stored, start, s)
    name = f"flux1-fill-{quant}.gguf"
    out = gguf.GGUFWriter(models / name, "flux")
    out.add_quantization_version(2)
    for count, (k, v) in enumerate(b.items()):
        loaded[k] = add_tensor(out, prefix + k, v, flux_type(s, k, quant, count))
    close(out)
    return name, diffusers_names(loaded, start, s)


# ---- cases


def case_transformer(s, cases, flux, references):
    rows, columns = (int(x) for x in s["grid"].split("x"))
    t = {"hidden_states": torch.randn(rows * columns, 384), "pooled": torch.randn(s["clip_dim"]),
         "encoder_hidden_states": torch.randn(s["text_tokens"], s["t5_dim"])}
    ids = torch.zeros(rows * columns, 3)
    ids[:, 1], ids[:, 2] = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    sigma = 0.7595109
    taps = {}
    for quant, (_, reference) in references.items():
        label = quant.split(".")[0]
        flux.load_state_dict(reference)
        hooks = []
        for kind, blocks in (("double", flux.transformer_blocks), ("single", flux.single_transformer_blocks)):
            for i, block in enumerate(blocks):
                def keep(_, __, pair, name=f"{kind}_{i}"):
                    taps[f"{name}.txt.{label}"], taps[f"{name}.img.{label}"] = (x[0].clone() for x in pair)
                hooks.append(block.register_forward_hook(keep))
        t[f"velocity.{label}"] = flux(
            hidden_states=t["hidden_states"][None], encoder_hidden_states=t["encoder_hidden_states"][None],
            pooled_projections=t["pooled"][None], timestep=torch.tensor([sigma]),
            guidance=torch.tensor([s["guidance"]]),
            img_ids=ids, txt_ids=torch.zeros(s["text_tokens"], 3), return_dict=False)[0][0]
        for hook in hooks:
            hook.remove()
        t, taps = t | taps, {}
    write(cases / "transformer.safetensors", t, sigma=sigma, guidance=s["guidance"], grid=s["grid"])


def case_text(s, cases, pipe):
    t, said = {}, {}
    for i, case in enumerate(s["texts"].split(",")):
        k, length = (int(x) for x in case.split(":"))
        prompt = PROMPTS[k]
        how = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        ids = pipe.tokenizer_2(prompt, max_length=length, **how).input_ids
        clip = pipe.tokenizer(prompt, max_length=77, **how).input_ids
        embeds, pooled, _ = pipe.encode_prompt(prompt, None, max_sequence_length=length)
        t |= {f"{i}.t5_ids": ids[0].int(), f"{i}.clip_ids": clip[0].int(), f"{i}.prompt_embeds": embeds[0],
              f"{i}.pooled_prompt_embeds": pooled[0]}
        said |= {f"{i}.prompt": prompt, f"{i}.t5_len": length}
    write(cases / "text.safetensors", t, **said)
    (cases / "tokenizer.json").write_text(json.dumps([
        {"text": p, "t5": pipe.tokenizer_2(p, max_length=512, truncation=True).input_ids,
         "clip": pipe.tokenizer(p, max_length=77, truncation=True).input_ids} for p in PROMPTS], ensure_ascii=False))


def picture(width, height):
    """Smooth colours with some noise, so that resampling and encoding change the picture."""
    small = torch.rand(1, 3, max(2, height // 12), max(2, width // 12))
    smooth = torch.nn.functional.interpolate(small, (height, width), mode="bicubic")[0]
    noisy = smooth + 0.05 * torch.randn(3, height, width)
    return Image.fromarray((noisy.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())


def mask(width, height, mode):
    """An ellipse to paint, with grey levels on both sides of the threshold, in the given Pillow mode."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    level = np.where((x - 0.4) ** 2 + (y - 0.6) ** 2 < 0.1, 255, 0).astype(np.uint8)
    level[: height // 8] = 127
    level[height - height // 8:] = 200
    grey = Image.fromarray(level)
    if mode == "RGB":
        moved = [Image.fromarray(np.roll(level, by, axis)) for by, axis in ((2, 1), (3, 0))]
        return Image.merge("RGB", [grey, *moved])
    return grey.convert(mode)


def case_vae(s, cases, vae):
    for size in filter(None, s["vaes"].split(",")):
        w, h = (int(x) for x in size.split("x"))
        p = picture(w, h)
        p.save(cases / f"vae_{size}.png")
        x = torch.from_numpy(np.asarray(p).copy()).permute(2, 0, 1)[None].float() / 255 * 2 - 1
        found = vae.encode(x).latent_dist
        z = torch.randn(1, 16, h // 8, w // 8)
        write(cases / f"vae_{size}.safetensors", {"mean": found.mean[0], "logvar": found.logvar[0], "z": z,
                                                  "decoded": vae.decode(z).sample[0]})


def case_fill(s, cases, pipe, flux, references, i, text):
    size, steps, guidance, length, prompt, mode, *seeded = text.split(":")
    w, h = (int(x) for x in size.split("x"))
    quant = list(references)[i % len(references)]
    file, reference = references[quant]
    flux.load_state_dict(reference)
    image, holes = picture(w + 37 * i, h + 21 * i), mask(w + 37 * i, h + 21 * i, mode)
    image.save(cases / f"fill_{i}.image.png")
    holes.save(cases / f"fill_{i}.mask.png")
    lw, lh = w // 16 * 2, h // 16 * 2
    t, how = {}, {"posterior": "sample", "seed": seeded[0]} if seeded else {"posterior": "mean"}
    draws = {}
    if seeded:
        draws = {"generator": torch.Generator().manual_seed(int(seeded[0])), "strength": float((seeded + [1])[1])}
        how |= {"strength": draws["strength"]} if len(seeded) > 1 else {}
    else:
        t["noise"] = torch.randn(1, 16, lh, lw)
        draws = {"latents": pipe._pack_latents(t["noise"], 1, 16, lh, lw)}

    def inputs(_, args, given):
        t["masked_latents"], t["mask"] = (x.clone() for x in given["hidden_states"][0, :, 64:].split((64, 256), 1))

    def step(_, k, __, given):
        t[f"latents_{len([n for n in t if n.startswith('latents_')])}"] = given["latents"][0].clone()
        return {}

    hook = flux.register_forward_pre_hook(inputs, with_kwargs=True)
    # For the memory layout of a PIL picture torch uses different f32 convolutions, which are off by 1e-4 and more.
    prepare = pipe.image_processor.preprocess
    pipe.image_processor.preprocess = lambda *args, **named: prepare(*args, **named).contiguous()
    drawn = DiagonalGaussianDistribution.sample
    if not seeded:
        DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    found = pipe(prompt=PROMPTS[int(prompt)], image=image, mask_image=holes, width=w, height=h,
                 num_inference_steps=int(steps), guidance_scale=float(guidance), max_sequence_length=int(length),
                 output_type="np", callback_on_step_end=step, **draws).images
    DiagonalGaussianDistribution.sample = drawn
    pipe.image_processor.preprocess = prepare
    hook.remove()
    t["image_f32"] = torch.from_numpy(found[0])
    pipe.numpy_to_pil(found)[0].save(cases / f"fill_{i}.expected.png")
    write(cases / f"fill_{i}.safetensors", t, prompt=PROMPTS[int(prompt)], width=w, height=h, steps=steps,
          guidance=guidance, t5_len=length, transformer=file, **how)


def main():
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder, s = pathlib.Path(sys.argv[1]), settings(sys.argv[2:])
    models, cases = folder / "models", folder / "cases"
    cases.mkdir(parents=True)
    torch.manual_seed(s["seed"])
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    diffusers.logging.set_verbosity_error()
    moved = pin_frequencies()
    t5_words, spiece = t5_vocabulary(s, models)
    clip_words, rows = clip_vocabulary(s, models)
    d = s["head_dim"]
    flux = stir(FluxTransformer2DModel(
        in_channels=384, out_channels=64, num_layers=s["double"], num_single_layers=s["single"], attention_head_dim=d,
        num_attention_heads=s["heads"], joint_attention_dim=s["t5_dim"], pooled_projection_dim=s["clip_dim"],
        guidance_embeds=True, axes_dims_rope=(d // 8, d * 7 // 16, d * 7 // 16)), gain=1.7)
    pipe = FluxFillPipeline(
        FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), make_vae(s, models),
        make_clip(s, models, rows), clip_words, make_t5(s, models, spiece), t5_words, flux)
    pipe.set_progress_bar_config(disable=True)
    start = tensors(flux)
    references = {q: write_flux(s, models, q, start) for q in s["quants"].split(",")}
    case_transformer(s, cases, flux, references)
    case_text(s, cases, pipe)
    case_vae(s, cases, pipe.vae)
    for i, text in enumerate(filter(None, s["fills"].split(","))):
        case_fill(s, cases, pipe, flux, references, i, text)
    golden_gpu.convert(cases)
    names = ("torch diffusers transformers tokenizers sentencepiece gguf safetensors pillow numpy").split()
    (folder / "RECIPE.json").write_text(json.dumps(
        {"settings": s, "versions": {n: importlib.metadata.version(n) for n in names}, "processor": processor(),
         "frequencies": {"pinned": True, "torch's own that differ": len(moved), "in places": moved}}, indent=1))


if __name__ == "__main__":
    main()
