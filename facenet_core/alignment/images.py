"""Photographs from bytes to pixels and back.

Pillow decodes, as it did under the original's ``scipy.misc.imread``, so that the detector sees
the same pixels. Whatever the bytes are, the outcome is an image or an ``UndecodableImage``.
"""

from __future__ import annotations

import re
from functools import cache
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from facenet_core.errors import FacenetError

MIN_SIDE = 12  # pixels: in a smaller image not one window of the detector fits

# Formats that photographs come in. Others that Pillow knows stay shut: some run other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")

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


def decode(
    data: bytes,
    *,
    exif: Literal["apply", "ignore"] = "apply",
    max_pixels: int = 40_000_000,
    tolerate_truncated: bool = False,
) -> np.ndarray:
    """The pixels of an encoded image.

    Grey and palette images become RGB, CMYK is converted, of 16 bits the upper 8 are kept,
    transparent images are laid on white, of an animation the first frame is taken.

    Args:
        data: JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, PNM or JPEG 2000.
        exif: turn the image as its EXIF orientation says, or not, as the original did.
        max_pixels: the most that are decoded; checked before any is. Pillow's own limit of
            179 million holds besides.
        tolerate_truncated: take a JPEG that ends early, with the missing part grey.

    Returns:
        uint8 RGB ``[h, w, 3]``, writable.

    Raises:
        UndecodableImage: the only exception, for any bytes.
    """
    if not data:
        raise UndecodableImage("undecodable", "the file is empty")
    if tolerate_truncated and data.startswith(b"\xff\xd8"):
        data += b"\xff\xd9"  # an end marker: libjpeg fills up what it has not seen by then
    try:
        with Image.open(BytesIO(data), formats=_formats()) as image:
            _check_size(*image.size, max_pixels)
            image.load()
            turned = _turned_upright(image) if exif == "apply" else image
            return _to_rgb(turned)
    except UndecodableImage:
        raise
    except UnidentifiedImageError:
        raise UndecodableImage("undecodable", "not an image in a known format") from None
    except Image.DecompressionBombError as error:
        raise UndecodableImage("too_large", _reproducible(error)) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise UndecodableImage("undecodable", _reproducible(error)) from error


def encode(image: np.ndarray, format: Literal["jpeg", "png"] = "jpeg", quality: int = 95) -> bytes:
    """uint8 RGB ``[h, w, 3]`` as a JPEG of full colour resolution (4:4:4), or as a PNG."""
    stream = BytesIO()
    picture = Image.fromarray(image)
    if format == "jpeg":
        picture.save(stream, "JPEG", quality=quality, subsampling="4:4:4")
    else:
        picture.save(stream, "PNG")
    return stream.getvalue()


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(f for f in _FORMATS if f in Image.OPEN)  # AVIF is new in Pillow 11.3


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise UndecodableImage("too_large", f"{width}x{height} pixels, at most {max_pixels}")
    if min(width, height) < MIN_SIDE:
        raise UndecodableImage("too_small", f"{width}x{height} pixels, at least {MIN_SIDE} a side")


def _turned_upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # unreadable EXIF says nothing about the pixels
        return image
    # Cameras write rubbish here, too: a list, a string, 0.
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        grey = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def _reproducible(error: Exception) -> str:
    """The error's text without addresses in memory: equal for equal bytes."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error)) or type(error).__name__
    return text[:200]
