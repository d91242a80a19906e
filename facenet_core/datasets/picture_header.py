"""The size of a picture from its header, without decoding: cheap enough for every member."""

from __future__ import annotations

import struct
from io import BytesIO

_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 … SOF15
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length
_TIFF_LIKE = (b"II*\0", b"MM\0*")


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the header says, or None where no header is understood.

    JPEG, PNG, GIF, BMP and WebP are read here; what else Pillow knows is asked of Pillow, which
    opens a file without decoding it.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return struct.unpack_from(">II", data, 16)
        if data.startswith((b"GIF87a", b"GIF89a")):
            return struct.unpack_from("<HH", data, 6)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
    except struct.error:  # the header is cut
        return None
    if data.startswith((*_TIFF_LIKE, b"P")) or data[4:8] in (b"ftyp", b"jP  "):
        return _pillow(data)
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """ITU T.81, B.1: segments of marker and length up to the first frame header."""
    place, end = 2, len(data) - 9
    while place <= end:
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker in _FRAME:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _BARE:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _bmp(data: bytes) -> tuple[int, int]:
    if int.from_bytes(data[14:18], "little") == 12:  # the header of OS/2
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)


def _webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: the three kinds of first chunk."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = data[24:27], data[27:30]
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    return None


def _pillow(data: bytes) -> tuple[int, int] | None:
    from PIL import Image

    formats = [f for f in ("TIFF", "PPM", "JPEG2000", "AVIF") if Image.init() or f in Image.OPEN]
    try:
        with Image.open(BytesIO(data), formats=formats) as image:
            return image.size
    except Image.DecompressionBombError:
        return (2**31 - 1, 2**31 - 1)
    except Exception:  # plugins raise nearly anything; whether it decodes is the alignment's word
        return None
