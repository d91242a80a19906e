"""Photographs from bytes to pixels and back.

Pillow decodes, as it did under the original's ``scipy.misc.imread``, so that the detector sees
the same pixels. Whatever the bytes are, the outcome is an image or an ``UndecodableImage``.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError

from facenet_core.errors import FacenetError
from facenet_core.picture_formats import picture_formats

MIN_SIDE = 12  # pixels: in a smaller image not one window of the detector fits

_STRIP_PIXELS = 2**20  # of a large image are converted at a time

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[number] for number in (5, 6, 7, 8)}

Reason = Literal["undecodable", "too_large", "too_small"]


class UndecodableImage(FacenetError):
    """These bytes give no image to look for faces in.

    Attributes:
        reason: the reject's reason.
        detail: what exactly is wrong; the same for the same bytes.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[UndecodableImage], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


@dataclass(frozen=True)
class Photograph:
    """A decoded image, scaled down where it was very large.

    Attributes:
        pixels: uint8 RGB ``[h, w, 3]``, writable.
        width, height: of the photograph in full resolution, turned as ``pixels`` are.
    """

    pixels: np.ndarray
    width: int
    height: int

    @property
    def scale(self) -> np.ndarray:
        """float64 ``[2]``: full-resolution pixels to one of ``pixels``, along x and y."""
        height, width = self.pixels.shape[:2]
        return np.array([self.width / width, self.height / height])


def decode(
    data: bytes,
    *,
    exif: Literal["apply", "ignore"] = "apply",
    max_pixels: int = 40_000_000,
    tolerate_truncated: bool = False,
) -> np.ndarray:
    """The pixels of an encoded image, uint8 RGB ``[h, w, 3]``: see ``decode_photograph``."""
    return decode_photograph(
        data,
        exif=exif,
        max_pixels=max_pixels,
        scale_above=max_pixels,
        tolerate_truncated=tolerate_truncated,
    ).pixels


def decode_photograph(
    data: bytes,
    *,
    exif: Literal["apply", "ignore"] = "apply",
    max_pixels: int = 120_000_000,
    scale_above: int = 40_000_000,
    tolerate_truncated: bool = False,
) -> Photograph:
    """Decode an image of any common format and any size.

    Grey and palette images become RGB, CMYK is converted (inverted where Adobe's marker says so),
    of 16 bits the upper 8 are kept, transparent images are laid on white, of an animation the first
    frame is taken.

    Args:
        data: JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, PNM or JPEG 2000.
        exif: turn the image as its EXIF orientation says, or not, as the original did.
        max_pixels: the most that an image may have; checked before any is decoded. Pillow's own
            limit of 179 million holds besides.
        scale_above: an image of more pixels comes scaled down by the least whole factor that
            leaves so many. JPEGs are decoded at a half, quarter or eighth, so the memory that they
            need does not grow; other formats take 4 bytes a pixel of full resolution.
        tolerate_truncated: take a JPEG that ends early, with the missing part grey.

    Raises:
        UndecodableImage: the only exception, for any bytes.
    """
    if tolerate_truncated and data.startswith(b"\xff\xd8"):
        data += b"\xff\xd9"  # an end marker: libjpeg fills up what it has not seen by then
    with _opened(data) as image:
        width, height = image.size
        _check_size(width, height, max_pixels)
        factor = math.ceil(math.sqrt(width * height / scale_above))
        if factor > 1:
            image.draft(None, (max(width // factor, 1), max(height // factor, 1)))
        orientation = _orientation(image) if exif == "apply" else None
        image.load()
        factor = math.ceil(math.sqrt(math.prod(image.size) / scale_above))
        inks = ImageChops.invert(image) if _wrongly_inverted(image) else image
        pixels = _to_rgb(inks) if factor == 1 else _reduced(inks, factor)
    if orientation is not None:
        turned = Image.fromarray(pixels).transpose(orientation)
        pixels = np.array(turned)
        if orientation in _SIDEWAYS:
            width, height = height, width
    return Photograph(pixels, width, height)


def full_size(data: bytes, exif: Literal["apply", "ignore"]) -> tuple[int, int]:
    """Width and height of an image in full resolution, by its header alone.

    Raises:
        UndecodableImage: there is no header of an image.
    """
    with _opened(data) as image:
        width, height = image.size
        sideways = exif == "apply" and _orientation(image) in _SIDEWAYS
        return (height, width) if sideways else (width, height)


def encode(image: np.ndarray, format: Literal["jpeg", "png"] = "jpeg", quality: int = 95) -> bytes:
    """uint8 RGB ``[h, w, 3]`` as a JPEG of full colour resolution (4:4:4), or as a PNG."""
    stream = BytesIO()
    picture = Image.fromarray(image)
    if format == "jpeg":
        picture.save(stream, "JPEG", quality=quality, subsampling="4:4:4")
    else:
        picture.save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The image in `data`, its header read; whatever goes wrong inside is an UndecodableImage."""
    if not data:
        raise UndecodableImage("undecodable", "the file is empty")
    try:
        with warnings.catch_warnings():
            # Of many pixels, and of EXIF that it cannot read: neither is the user's concern here.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(BytesIO(data), formats=picture_formats()) as image:
                yield image
    except UndecodableImage:
        raise
    except UnidentifiedImageError:
        raise UndecodableImage("undecodable", "not an image in a known format") from None
    except Image.DecompressionBombError as error:
        raise UndecodableImage("too_large", _reproducible(error)) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise UndecodableImage("undecodable", _reproducible(error)) from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UndecodableImage("too_large", f"{width}x{height} pixels, at most {max_pixels}")
    if min(width, height) < MIN_SIDE:
        raise UndecodableImage("too_small", f"{width}x{height} pixels, at least {MIN_SIDE} a side")


def _orientation(image: Image.Image) -> Image.Transpose | None:
    """How to turn the image upright; None where it is, or where nothing sensible is said."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # unreadable EXIF says nothing about the pixels
        return None
    # Cameras write rubbish here, too: a list, a string, 0.
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _wrongly_inverted(image: Image.Image) -> bool:
    """Pillow takes every CMYK JPEG for one of Adobe's, which hold the inverse and say so."""
    return image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        grey = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # convert copies


def _reduced(image: Image.Image, factor: int) -> np.ndarray:
    """`_to_rgb`, scaled down by averaging; converted in strips, for conversion takes copies."""
    width, height = image.size
    rows = max(_STRIP_PIXELS // width // factor, 1) * factor
    strips = []
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strips.append(np.asarray(Image.fromarray(_to_rgb(strip)).reduce(factor)))
    return np.concatenate(strips)


def _reproducible(error: Exception) -> str:
    """The error's text without addresses in memory: equal for equal bytes."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error)) or type(error).__name__
    return text[:200]
