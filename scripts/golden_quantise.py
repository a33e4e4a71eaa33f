#!/usr/bin/env python3
"""golden_quantise.py: makes test/golden/common/quantise.safetensors: f32 values, and each type's blocks of them.

    scripts/golden_quantise.py test/golden/common/quantise.safetensors

`values` F32 [N] holds rows that resemble weights and rows at the edges of the formats; TYPE U8 holds the bytes that the
official quantisers make of all of them: ggml's own, from the library that the wheel of pywhispercpp carries, which
gguf-py has to confirm where it has the type. `pip install gguf==0.19.0 numpy pywhispercpp==1.5.1` into an environment of
its own.
"""
import ctypes
import importlib.metadata
import json
import pathlib
import struct
import sys

import gguf
import numpy as np

RUN, BLOCK = 256, 32
TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]


def edges():
    """Eight blocks: zeros, constants, one value, magnitudes alike, one sign, values near nothing, the largest halves."""
    rng = np.random.default_rng(3)
    one = np.zeros(BLOCK)
    one[17] = -0.3
    alike = np.where(rng.random(BLOCK) < 0.5, -0.625, 0.625)
    tiny = rng.integers(-1 << 20, 1 << 20, BLOCK) * 2.0**-149
    return [np.zeros(BLOCK), np.full(BLOCK, -0.7), one, alike, rng.uniform(0.5, 2, BLOCK), rng.uniform(-2, -0.5, BLOCK),
            tiny, rng.uniform(-60000, 60000, BLOCK)]


def ties():
    """Eight blocks of half steps, whose extreme is where the levels end: of either sign, and for each type's range."""
    rng = np.random.default_rng(4)
    blocks = []
    for extreme, least, most in ((-8, -8, 8), (8, -8, 8), (-16, -16, 16), (16, -16, 16), (127, -127, 127), (-127, -127, 127),
                                 (15, 0, 15), (31, 0, 31)):
        halves = rng.integers(2 * least, 2 * most + 1, BLOCK) / 2
        halves[rng.integers(BLOCK)] = extreme
        halves[rng.integers(BLOCK)] = least if least == 0 else 0.5
        halves[rng.integers(BLOCK)] = extreme
        blocks.append(halves * 2.0 ** rng.integers(-9, 3))
    return blocks


def values():
    rng = np.random.default_rng(2921)  # of many seeds, that with which most searches are decided by their last step
    normal = rng.standard_normal(RUN)
    runs = [np.zeros(RUN), normal * 0.02, rng.laplace(0, 0.03, RUN), *edges(), *ties(),
            rng.standard_normal((RUN // BLOCK, BLOCK)) * 10.0 ** rng.uniform(-9, 2, (RUN // BLOCK, 1)),
            rng.integers(-9, 10, RUN), np.where(rng.random(RUN) < 0.1, normal, 0), 1 + normal * 0.01,
            (np.float32(rng.uniform(-0.05, 0.05, RUN)).view(np.uint32) & 0xFFFF0000).view(np.float32)]
    return np.concatenate([np.ravel(run) for run in runs]).astype(np.float32) + np.float32(0)  # no negative zeros


def ggml():
    """ggml_quantize_chunk(type, values, result, first value, rows, values a row, importance), which returns bytes."""
    files = importlib.metadata.files("pywhispercpp")
    call = ctypes.CDLL(str(next(f for f in files if f.name.startswith("libggml-base")).locate())).ggml_quantize_chunk
    call.restype, at = ctypes.c_size_t, ctypes.c_void_p
    call.argtypes = [ctypes.c_int, at, at, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, at]
    return call


def quantised(call, name, row):
    kind = gguf.GGMLQuantizationType[name]
    packed = ctypes.create_string_buffer(row.nbytes)
    size = call(kind, row.ctypes.data, packed, 0, 1, row.size, None)
    if not name.endswith("K"):
        with np.errstate(all="ignore"):
            if gguf.quants.quantize(row[None], kind).tobytes() != packed.raw[:size]:
                sys.exit(f"golden_quantise.py: gguf-py and ggml differ in {name}")
    return packed.raw[:size]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    row, call = values(), ggml()
    tensors = {"values": ("F32", row.size, row.tobytes())}
    for name in TYPES:
        packed = quantised(call, name, row)
        tensors[name] = ("U8", len(packed), packed)
    header, at = {}, 0
    for name, (dtype, count, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": [count], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(sys.argv[1]).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[2] for t in tensors.values()))


if __name__ == "__main__":
    main()
