"""The size of a picture from its header, without decoding: cheap enough for every member."""

from __future__ import annotations

import re
import struct
from io import BytesIO

from facenet_core.imaging import formats

_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 … SOF15
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a length
# ISO/IEC 23008-12, 6.5.3: image spatial extents, a box of 20 bytes and of version 0.
_EXTENTS = re.compile(rb"\0\0\0\x14ispe\0{4}(.{8})", re.DOTALL)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels as the header says, or None where no header is understood.

    TIFF, PNM and JPEG 2000 are asked of Pillow, which opens a file without decoding it.
    """
    format = formats.of_content(data)
    try:
        if format is formats.JPEG:
            return _jpeg(data)
        if format is formats.PNG:
            return struct.unpack_from(">II", data, 16)
        if format is formats.GIF:
            return struct.unpack_from("<HH", data, 6)
        if format is formats.BMP:
            return _bmp(data)
        if format is formats.WEBP:
            return _webp(data)
        if format in (formats.AVIF, formats.HEIF):
            return _largest_extents(data)
    except struct.error:  # the header is cut
        return None
    pillows = (formats.TIFF, formats.PPM, formats.JPEG2000)
    return _pillow(data) if format in pillows or data.startswith(b"P") else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """ITU T.81, B.1: segments of marker and length up to the first frame header."""
    offset, end = 2, len(data) - 9
    while offset <= end:
        if data[offset] != 0xFF:
            return None
        marker = data[offset + 1]
        if marker in _FRAME:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker in _BARE:
            offset += 2
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
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


def _largest_extents(data: bytes) -> tuple[int, int] | None:
    """Of a picture, its tiles and thumbnails, as they are decoded: before they are cropped.

    It is the same whatever is installed.
    """
    sizes = [struct.unpack(">II", match[1]) for match in _EXTENTS.finditer(data)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _pillow(data: bytes) -> tuple[int, int] | None:
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=("TIFF", "PPM", "JPEG2000")) as image:
            return image.size
    except Image.DecompressionBombError:
        return (2**31 - 1, 2**31 - 1)
    except Exception:  # plugins raise nearly anything; what decodes is decided by the align stage
        return None
