#!/usr/bin/env python3
"""The pictures of the VAE cases as safetensors, beside their PNGs: the GPU tests run where there is no picture library.

    scripts/golden_gpu.py [test/golden/small/cases]
"""
import json
import pathlib
import struct
import sys
import zlib


def paeth(a, b, c):
    """Of left, above and above left, the one that is nearest to a + b - c."""
    p = a + b - c
    if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c):
        return a
    return b if abs(p - b) <= abs(p - c) else c


def read_png(path):
    """Width, height and RGB bytes of an 8-bit PNG that is not interlaced."""
    data = path.read_bytes()
    at, packed = 8, b""
    while at < len(data):
        (n,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + n]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if (depth, colour, interlaced) != (8, 2, 0):
                sys.exit(f"{path}: not plain 8-bit RGB")
        elif kind == b"IDAT":
            packed += body
        at += 12 + n
    lines, stride, rows = zlib.decompress(packed), 3 * width, []
    above = bytearray(stride)
    for y in range(height):
        kind, line = lines[y * (stride + 1)], bytearray(lines[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for x in range(stride):
            a = line[x - 3] if x >= 3 else 0
            c = above[x - 3] if x >= 3 else 0
            line[x] = (line[x] + (0, a, above[x], (a + above[x]) // 2, paeth(a, above[x], c))[kind]) & 255
        rows.append(bytes(line))
        above = line
    return width, height, b"".join(rows)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "test/golden/small/cases")
    for png in sorted(folder.glob("vae_*.png")):
        width, height, pixels = read_png(png)
        header = {"picture": {"dtype": "U8", "shape": [height, width, 3], "data_offsets": [0, len(pixels)]}}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        png.with_suffix(".picture.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + pixels)


main()
