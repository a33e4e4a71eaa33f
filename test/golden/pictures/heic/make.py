#!/usr/bin/env python3
"""make.py FOLDER - writes the HEIC samples of this folder: needs Pillow and heif-enc (Debian: libheif-examples).

The picture is 64 x 48 pixels in four quarters: red, green, blue, yellow (COLOURS), row by row.
"""
import struct
import subprocess
import sys
import tempfile

from PIL import Image, ImageCms

COLOURS = [(200, 40, 40), (40, 180, 60), (40, 60, 200), (220, 200, 40)]
W, H = 64, 48
OUT = sys.argv[1]
WORK = tempfile.TemporaryDirectory()


def quarters(alpha=None):
    im = Image.new("RGBA" if alpha else "RGB", (W, H))
    for i, c in enumerate(COLOURS):
        box = ((i % 2) * W // 2, (i // 2) * H // 2)
        im.paste(c + ((alpha[i],) if alpha else ()), (box[0], box[1], box[0] + W // 2, box[1] + H // 2))
    return im


def png16(path):
    """The quarters in 16 bits a channel, which Pillow does not write."""
    import zlib
    rows = b""
    for y in range(H):
        rows += b"\0" + b"".join(struct.pack(">3H", *(257 * v for v in COLOURS[(y >= H // 2) * 2 + (x >= W // 2)]))
                                 for x in range(W))
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 16, 2, 0, 0, 0)) +
                           chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def encode(name, *sources, more=()):
    subprocess.run(["heif-enc", "-q", "90", *more, *sources, "-o", f"{OUT}/{name}"], check=True, capture_output=True)


def boxes(data, at, end):
    while at < end:
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        yield at, size, kind
        at += size


def with_property(name, source, box, essential):
    """Gives the last item, the picture as shown, one more property: three boxes grow, and the pixels move."""
    data = bytearray(open(source, "rb").read())
    meta, meta_size = next((a, s) for a, s, k in boxes(data, 0, len(data)) if k == b"meta")
    iprp, iprp_size = next((a, s) for a, s, k in boxes(data, meta + 12, meta + meta_size) if k == b"iprp")
    ipco, ipco_size = next((a, s) for a, s, k in boxes(data, iprp + 8, iprp + iprp_size) if k == b"ipco")
    ipma, ipma_size = next((a, s) for a, s, k in boxes(data, iprp + 8, iprp + iprp_size) if k == b"ipma")
    iloc = next(a for a, s, k in boxes(data, meta + 12, meta + meta_size) if k == b"iloc")
    number = len(list(boxes(data, ipco + 8, ipco + ipco_size))) + 1
    at = ipma + 16  # version 0: a count of items; of each its id, the number of associations, and those
    for _ in range(struct.unpack(">I", data[ipma + 12:ipma + 16])[0]):
        last, at = at + 2, at + 3 + data[at + 2]
    data[last] += 1
    data[at:at] = bytes([0x80 * essential | number])
    data[ipco + ipco_size:ipco + ipco_size] = box
    grown = len(box) + 1
    for at, by in ((meta, grown), (iprp, grown), (ipco, len(box)), (ipma + len(box), 1)):
        data[at:at + 4] = struct.pack(">I", struct.unpack(">I", data[at:at + 4])[0] + by)
    move_extents(data, iloc if iloc < ipco else iloc + grown, grown)
    open(f"{OUT}/{name}", "wb").write(data)


def move_extents(data, iloc, by):
    """Version 1 with offsets, lengths and base offsets of 4 bytes: what libheif writes. Data inside the box itself stay."""
    assert data[iloc + 8] == 1 and data[iloc + 12] == 0x44 and data[iloc + 13] == 0x40, data[iloc:iloc + 16].hex()
    at = iloc + 16
    for _ in range(struct.unpack(">H", data[iloc + 14:iloc + 16])[0]):
        _, method, _, base, n = struct.unpack(">HHHIH", data[at:at + 12])
        at += 12
        for _ in range(n):
            if method == 0 and base == 0:
                data[at:at + 4] = struct.pack(">I", struct.unpack(">I", data[at:at + 4])[0] + by)
            at += 8
        if method == 0 and base:
            data[at - 8 * n - 6:at - 8 * n - 2] = struct.pack(">I", base + by)


exif = Image.Exif()
exif[0x0112] = 6
quarters().save(f"{WORK.name}/plain.png")
quarters().save(f"{WORK.name}/exif.jpg", quality=100, subsampling=0, exif=exif,
                icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
quarters((255, 128, 0, 255)).save(f"{WORK.name}/alpha.png")
png16(f"{WORK.name}/deep.png")
encode("plain.heic", f"{WORK.name}/plain.png")
encode("exif_icc.heic", f"{WORK.name}/exif.jpg")
encode("alpha.heic", f"{WORK.name}/alpha.png")
encode("ten_bits.heic", f"{WORK.name}/deep.png", more=("-b", "10"))
encode("two.heic", f"{WORK.name}/plain.png", f"{WORK.name}/alpha.png", more=("--no-alpha",))
encode("coded_av1.avif", f"{WORK.name}/plain.png", more=("-A",))
with_property("turned.heic", f"{OUT}/exif_icc.heic", struct.pack(">I4sB", 9, b"irot", 1), True)
with_property("nclx.heic", f"{OUT}/plain.heic", struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", 1, 13, 6, 128), False)
