"""Writes the model folder: ae.safetensors (F16), flux1-fill-demo-Q8_0.gguf, prompts.safetensors.

The product's autoencoder normalises 32 groups of channels; this one must not normalise at all. So each group holds one
channel that carries something, x, and two more: K and -K - x. The group's mean is then 0 at each pixel, and its deviation
K sqrt(2 / 3) but for a part of x / 2 K: GroupNorm becomes multiplication by a constant, which its weight undoes. The
product keeps what GroupNorm reads in F32, also where it computes in bf16. silu(x) - silu(-x) = x makes the end of the
encoder linear.
"""
import os

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import transformer
from .codec import SCALE, SHIFT, Codec
from .decoder import CHANNELS, Decoder

K = 2048.0
GROUPS = 32
WIDTH = 3 * GROUPS
UNDO = K * (2 / 3) ** 0.5  # weight of GroupNorm that gives x back
# The worker's own where no label of the scene is known: the first line of `inpaint-worker prompts --plain`.
PROMPT = "A photo of the surrounding background, the same surface, texture and light continuing naturally"
# What depends on nothing but the constant prompt and guidance may be coarse.
COARSE = ("txt_", "guidance_in", "vector_in")


class Tensors(dict):
    """The tensors of one half of the autoencoder, under Black Forest Labs' names."""

    def __init__(self, half):
        super().__init__()
        self.half = half

    def put(self, name, weight, bias=None):
        self[f"{self.half}.{name}.weight"] = weight
        self[f"{self.half}.{name}.bias"] = torch.zeros(weight.shape[0]) if bias is None else bias

    def no_attention(self, n):
        """The attention in the middle, adding nothing."""
        self.put("mid.attn_1.norm", torch.ones(n))
        for part in ("q", "k", "v", "proj_out"):
            self.put(f"mid.attn_1.{part}", torch.zeros(n, n, 1, 1))

    def no_block(self, name, inputs, outputs):
        """A residual block that adds nothing to its shortcut."""
        self.put(f"{name}.norm1", torch.ones(inputs))
        self.put(f"{name}.conv1", torch.zeros(outputs, inputs, 3, 3))
        self.put(f"{name}.norm2", torch.ones(outputs))
        self.put(f"{name}.conv2", torch.zeros(outputs, outputs, 3, 3))


def spread_rows(weight, bias, constant):
    """Outputs x of a convolution to the first channels of their groups; the others become the constant and -constant - x."""
    w, b = torch.zeros(GROUPS, 3, *weight.shape[1:]), torch.zeros(GROUPS, 3)
    w[:, 0], w[:, 2] = weight, -weight
    b[:, 0], b[:, 1], b[:, 2] = bias, constant, -constant - bias
    return w.flatten(0, 1), b.flatten()


def spread_columns(weight):
    w = torch.zeros(weight.shape[0], GROUPS, 3, *weight.shape[2:])
    w[:, :, 0] = weight
    return w.flatten(1, 2)


def decoder(net):
    o = Tensors("decoder")

    def conv(name, c, constant=K):
        o.put(name, *spread_rows(spread_columns(c.weight), c.bias, constant))

    def act(name, a):
        w, b = torch.zeros(GROUPS, 3), torch.zeros(GROUPS, 3)
        w[:, 0], b[:, 0] = a.w * UNDO, a.b
        o.put(name, w.flatten(), b.flatten())

    def block(name, r):
        act(f"{name}.norm1", r.n1)
        conv(f"{name}.conv1", r.c1)
        act(f"{name}.norm2", r.n2)
        conv(f"{name}.conv2", r.c2, 0.0)

    weight = net.conv_in.weight * SCALE  # it is given z / SCALE + SHIFT
    o.put("conv_in", *spread_rows(weight, net.conv_in.bias - SHIFT * weight.sum((1, 2, 3)), K))
    o.no_attention(WIDTH)
    for i, r in enumerate(net.mid):
        block(f"mid.block_{i + 1}", r)
    for i, r in enumerate(net.levels):
        block(f"up.{i}.block.0", r)
    for i, c in enumerate(net.ups):
        conv(f"up.{i + 1}.upsample.conv", c)
    act("norm_out", net.out_act)
    o.put("conv_out", spread_columns(net.conv_out.weight), net.conv_out.bias)
    return o


def space_to_depth(channels, width):
    """Channel k of each 2 x 2 pixels to channels 4 k + 2 dy + dx, by a convolution with a stride of 2."""
    w = torch.zeros(width, width, 3, 3)
    for k in range(channels):
        for t in range(4):
            w[4 * k + t, k, t // 2, t % 2] = 1
    return w


def identity(outputs, inputs, used, size=1):
    w = torch.zeros(outputs, inputs, size, size)
    w[range(used), range(used), size // 2, size // 2] = 1
    return w


def encoder(codec):
    """3 -> 12 -> 48 channels by space-to-depth, then the projection on the codec's vectors, then x and -x in groups."""
    o = Tensors("encoder")
    o.put("conv_in", identity(32, 3, 3, 3))
    o.no_block("down.0.block.0", 32, 32)
    o.put("down.0.downsample.conv", space_to_depth(3, 32))
    o.no_block("down.1.block.0", 32, 64)
    o.put("down.1.block.0.nin_shortcut", identity(64, 32, 12))
    o.put("down.1.downsample.conv", space_to_depth(12, 64))
    o.no_block("down.2.block.0", 64, 64)
    parts = codec.down.view(16, 3, 2, 2, 2, 2, 2, 2)  # k, c, y's bits from the highest, x's likewise
    w = torch.zeros(64, 64, 3, 3)
    w[:16, :48, :2, :2] = parts.permute(0, 1, 4, 7, 3, 6, 2, 5).reshape(16, 48, 2, 2)
    o.put("down.2.downsample.conv", w)
    o.no_block("down.3.block.0", 64, WIDTH)
    signs = torch.zeros(GROUPS, 64, 1, 1)
    signs[range(16), range(16)], signs[range(16, 32), range(16)] = 1, -1
    o.put("down.3.block.0.nin_shortcut", *spread_rows(signs, torch.zeros(GROUPS), K))
    o.no_block("mid.block_1", WIDTH, WIDTH)
    o.no_attention(WIDTH)
    o.no_block("mid.block_2", WIDTH, WIDTH)
    o.put("norm_out", torch.full((WIDTH,), UNDO))
    w, b = torch.zeros(32, WIDTH, 3, 3), torch.full((32,), -20.0)  # the second half: the logarithm of a variance of almost 0
    for k in range(16):
        w[k, 3 * k, 1, 1], w[k, 3 * (16 + k), 1, 1] = 1 / SCALE, -1 / SCALE
    b[:16] = SHIFT
    o.put("conv_out", w, b)
    return o


def write_gguf(net, path):
    w = gguf.GGUFWriter(path, "flux")
    w.add_quantization_version(2)
    w.add_name("flux1-fill-demo")
    kinds = gguf.GGMLQuantizationType
    for name, value in net.state_dict().items():
        x = value.numpy().astype(np.float32)
        if x.ndim == 1:
            w.add_tensor(name, x)
            continue
        kind = kinds.Q4_0 if any(c in name for c in COARSE) else kinds.Q8_0
        w.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def shortest(v):
    """Vectors stay F32: F16 would round -K - x to whole numbers. Half of the matrices hold zeros and ones, exact in 8 bits."""
    if v.ndim == 1:
        return v
    byte = v.to(torch.float8_e4m3fn)
    return byte if torch.equal(byte.float(), v) else v.half()


def write_pack(folder, embeddings):
    save_file(embeddings, f"{folder}/prompts.safetensors", metadata={"prompt": PROMPT})


def name_prompt(folder):
    """Gives the pack of an exported model the prompt of today; the embeddings, which were learned, stay as they are."""
    write_pack(folder, load_file(f"{folder}/prompts.safetensors"))


@torch.no_grad()
def write(out, folder, say):
    os.makedirs(folder, exist_ok=True)
    codec, dec, net = Codec(torch.load(f"{out}/codec.pt")), Decoder(), transformer.Transformer()
    dec.load_state_dict(torch.load(f"{out}/decoder.pt"))
    net.load_state_dict(torch.load(f"{out}/transformer.pt"))
    assert CHANNELS == GROUPS
    both = {**encoder(codec), **decoder(dec)}
    save_file({k: shortest(v).contiguous() for k, v in both.items()}, f"{folder}/ae.safetensors")
    write_pack(folder, {"prompt_embeds": net.text.contiguous(), "pooled_prompt_embeds": net.pooled.contiguous()})
    write_gguf(net, f"{folder}/flux1-fill-demo-Q8_0.gguf")
    for name in sorted(os.listdir(folder)):
        say(f"{folder}/{name}: {os.path.getsize(f'{folder}/{name}') / 1e6:.2f} MB")
