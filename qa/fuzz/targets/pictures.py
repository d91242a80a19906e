"""Pictures: their headers, and Pillow and OpenCV behind our doors."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, features

from facenet_core.imaging import contact_sheet
from facenet_core.imaging.decode import MIN_SIDE, UndecodableImage, decode_photograph, full_size
from facenet_core.imaging.header import picture_size

from ..target import Target


def pictures() -> list[bytes]:
    """A small picture of every format that is read, and of odd modes."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (24, 20, 3), np.uint8)
    picture = Image.fromarray(pixels)
    formats = {"JPEG": {}, "PNG": {}, "GIF": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {}}
    formats |= {"TIFF ": {"compression": "tiff_lzw"}, "TIFF  ": {"compression": "jpeg"}}
    formats |= {"JPEG ": {"progressive": True}, "WEBP ": {"lossless": True}}
    if features.check("jpg_2000"):
        formats["JPEG2000"] = {}
    if features.check("avif"):
        formats["AVIF"] = {}
    exif = Image.Exif()
    exif[0x0112] = 6
    formats["JPEG  "] = {"exif": exif.tobytes()}
    results = []
    for name, options in formats.items():
        stream = io.BytesIO()
        picture.save(stream, name.strip(), **options)
        results.append(stream.getvalue())
    for mode, name in (
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("I;16", "PNG"),
    ):
        stream = io.BytesIO()
        odd = Image.new(mode, (20, 24)) if mode == "I;16" else picture.convert(mode)
        odd.save(stream, name)
        results.append(stream.getvalue())
    for mode in ("F", "I", "I;16", "LA", "1", "CMYK"):
        stream = io.BytesIO()
        odd = Image.new(mode, (20, 24)) if mode == "I;16" else picture.convert("L").convert(mode)
        odd.save(stream, "TIFF")
        results.append(stream.getvalue())
    for orientation in (3, 6, 8):
        stream = io.BytesIO()
        picture.save(stream, "TIFF", tiffinfo={0x0112: orientation})
        results.append(stream.getvalue())
    stream = io.BytesIO()
    picture.save(stream, "EPS")  # Pillow would start another program to read it
    return [*results, stream.getvalue()]


def read_header(data: bytes, folder: Path) -> None:
    size = picture_size(data)
    assert size is None or (len(size) == 2 and all(isinstance(side, int) for side in size))


def read_picture(data: bytes, folder: Path) -> None:
    """As a worker of the alignment does."""
    limits = {"max_pixels": 4_000_000, "scale_above": 100_000}
    for tolerate in (False, True):
        photograph = decode_photograph(data, tolerate_truncated=tolerate, **limits)
        assert photograph.pixels.dtype == np.uint8
        assert photograph.pixels.ndim == 3
        assert photograph.pixels.shape[2] == 3
        assert min(photograph.width, photograph.height) >= MIN_SIDE
    assert full_size(data, "apply") == (photograph.width, photograph.height)


def read_crop(data: bytes, folder: Path) -> None:
    """As training does with crops, which the alignment encoded."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise UndecodableImage("undecodable", str(error)) from None
    if pixels is None:
        raise UndecodableImage("undecodable", "OpenCV gives nothing")


def read_sample(data: bytes, folder: Path) -> None:
    """As `facenet inspect` does with pictures of an artifact."""
    tile = contact_sheet.Tile(contact_sheet.thumbnail(data, 120), ["Ann"], "does not decode")
    contact_sheet.draw([tile], columns=1)


TARGETS = (
    Target("picture header", read_header, pictures, weight=5),
    Target("picture (Pillow)", read_picture, pictures, weight=8),
    Target("sample (Pillow)", read_sample, pictures, weight=2),
    Target("crop (OpenCV)", read_crop, lambda: pictures()[:2], weight=3),
)
