"""What the bytes of a picture say about it."""
import struct

JPEG, PNG = b"\xff\xd8", b"\x89PNG"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1")


def content_type(data):
    """-> the type of a picture that the worker reads, by its first bytes; application/octet-stream: it is none of them."""
    if data.startswith(JPEG + b"\xff"):
        return "image/jpeg"
    if data.startswith(PNG):
        return "image/png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return "image/heic" if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS else "application/octet-stream"


def jpeg_size(data):
    """-> (width, height) from the frame header; None if the segments before it are not in order, or there is none."""
    at = len(JPEG)
    while data.startswith(JPEG) and at + 9 <= len(data) and data[at] == 0xff:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2:at + 4])[0]
        if marker in (0xc0, 0xc1, 0xc2):
            height, width = struct.unpack(">HH", data[at + 5:at + 9])
            return width, height
        at += 2 + length
    return None
