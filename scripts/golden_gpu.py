#!/usr/bin/env python3
"""Writes the pictures of a golden set's cases as safetensors, next to their PNGs: GPU tests have no picture library.

    scripts/golden_gpu.py test/golden/small/cases      # golden.py calls it for the sets that it makes

    vae_WxH.png                    -> vae_WxH.picture.safetensors   picture U8 [H, W, 3]
    fill_I.image.png, .mask.png    -> fill_I.picture.safetensors    picture U8 [H, W, 3], mask U8 [H, W, 1 or 3]
"""
import json
import pathlib
import struct
import sys
import zlib

CHANNELS = {0: 1, 2: 3}  # of PNG's colour types grey and RGB


def paeth(a, b, c):
    """PNG's predictor: of left (a), above (b) and above left (c), the one that is nearest to a + b - c."""
    p = a + b - c
    if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c):
        return a
    return b if abs(p - b) <= abs(p - c) else c


def read_png(path):
    """Shape [H, W, channels] and bytes of an 8-bit PNG, grey or RGB, not interlaced."""
    data = path.read_bytes()
    at, packed = 8, b""
    while at < len(data):
        (n,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + n]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            if depth != 8 or colour not in CHANNELS or interlaced:
                raise ValueError(f"{path} is not an 8-bit grey or RGB picture without interlacing")
        elif kind == b"IDAT":
            packed += body
        at += 12 + n
    step = CHANNELS[colour]
    lines, stride, rows = zlib.decompress(packed), step * width, []
    above = bytearray(stride)
    for y in range(height):
        kind, line = lines[y * (stride + 1)], bytearray(lines[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        for x in range(stride):
            a = line[x - step] if x >= step else 0
            c = above[x - step] if x >= step else 0
            line[x] = (line[x] + (0, a, above[x], (a + above[x]) // 2, paeth(a, above[x], c))[kind]) & 255
        rows.append(bytes(line))
        above = line
    return [height, width, step], b"".join(rows)


def write(path, pictures):
    header, at = {}, 0
    for name, (shape, pixels) in pictures.items():
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [at, at + len(pixels)]}
        at += len(pixels)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(p for _, p in pictures.values()))


def convert(cases):
    for png in sorted(cases.glob("vae_*.png")):
        write(png.with_suffix(".picture.safetensors"), {"picture": read_png(png)})
    for image in sorted(cases.glob("fill_*.image.png")):
        name = image.name.removesuffix(".image.png")
        try:
            found = {"picture": read_png(image), "mask": read_png(cases / f"{name}.mask.png")}
        except ValueError as other_mode:
            print(f"{name} is skipped in the GPU tests: {other_mode}")
            continue
        write(cases / f"{name}.picture.safetensors", found)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    convert(pathlib.Path(sys.argv[1]))
