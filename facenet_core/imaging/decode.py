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
from typing import Literal, cast

import numpy as np
from PIL import Image, ImageChops, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from facenet_core.errors import FacenetError
from facenet_core.imaging import formats

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
_UNDONE_BY = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}  # the others undo themselves
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS = 256, 257, 258

Reason = Literal["undecodable", "unsupported_format", "too_large", "too_small"]


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
    frame is taken. TIFFs of 32 bits or of floats do not say what white is: it is the least of 255,
    65535 and 2³² - 1, or of 1, 255, 65535 and their maximum, that no value exceeds.

    Args:
        data: JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF, PNM, JPEG 2000, or HEIF where the package
            pi-heif is installed.
        exif: turn the image as its EXIF orientation says, or not, as the original did. How a HEIF
            is turned is no matter of EXIF.
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
        width, height = _stored_size(image)
        _check_size(width, height, max_pixels)
        factor = math.ceil(math.sqrt(width * height / scale_above))
        if factor > 1:
            image.draft(None, (max(width // factor, 1), max(height // factor, 1)))
        orientation = _orientation(image)
        bits = image.tag_v2.get(_TIFF_BITS, (16,))[0] if isinstance(image, TiffImageFile) else 16
        image.load()
        factor = math.ceil(math.sqrt(math.prod(image.size) / scale_above))
        inks = ImageChops.invert(image) if _wrongly_inverted(image) else image
        white = _white(inks, bits)
        pixels = _to_rgb(inks, white) if factor == 1 else _reduced(inks, factor, white)
        turn = orientation if exif == "apply" else None
        if image.format == "TIFF":  # these are turned by `load`
            turn = None
            if exif == "ignore" and orientation is not None:
                turn = _UNDONE_BY.get(orientation, orientation)
    if turn is not None:
        pixels = np.array(Image.fromarray(pixels).transpose(turn))
    if exif == "apply" and orientation in _SIDEWAYS:
        width, height = height, width
    return Photograph(pixels, width, height)


def to_rgb(image: Image.Image) -> np.ndarray:
    """An image of Pillow as `decode` gives it, uint8 RGB ``[h, w, 3]``; it is not turned.

    Raises:
        UndecodableImage: its pixels cannot be read, or cannot become RGB.
    """
    with _undecodable():
        image.load()
        return _to_rgb(image, _white(image, 16))


def full_size(data: bytes, exif: Literal["apply", "ignore"]) -> tuple[int, int]:
    """Width and height of an image in full resolution, by its header alone.

    Raises:
        UndecodableImage: there is no header of an image.
    """
    with _opened(data) as image:
        width, height = _stored_size(image)
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
    if problem := formats.unsupported(formats.of_content(data)):
        raise UndecodableImage("unsupported_format", problem)
    with _undecodable(), Image.open(BytesIO(data), formats=formats.openable()) as image:
        if formats.is_dng(image):
            raise UndecodableImage("unsupported_format", str(formats.unsupported(formats.DNG)))
        yield image


@contextmanager
def _undecodable() -> Iterator[None]:
    """Whatever goes wrong inside is an UndecodableImage."""
    try:
        with warnings.catch_warnings():
            # Of many pixels, and of EXIF that it cannot read: neither is the user's concern here.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
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


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height before the image is turned. Pillow gives those of a TIFF as turned."""
    if isinstance(image, TiffImageFile):
        return int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
    return image.size


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


def _white(image: Image.Image, bits: int) -> float:
    """The value of white in a grey image of more than 8 bits; see `decode_photograph`.

    Args:
        bits: of a value, of which Pillow's modes do not say whether they are 12 or 16.
    """
    if image.mode.startswith("I;16"):
        return 2**bits - 1
    if image.mode == "I" and bits <= 16:  # PNM is scaled to 16 bits
        return 65535
    if image.mode not in ("I", "F"):
        return 255
    least, most = cast(tuple[float, float], image.getextrema())  # of one band
    if not math.isfinite(most):
        raise UndecodableImage("undecodable", "floats that are not finite")
    if image.mode == "I":
        if least < 0:  # Pillow takes unsigned numbers for signed ones
            return 2**32 - 1
        return next(white for white in (255, 65535, 2**32 - 1) if most <= white)
    return next((white for white in (1.0, 255.0, 65535.0) if most <= white), most)


def _to_rgb(image: Image.Image, white: float) -> np.ndarray:
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if image.mode == "F":
            grey = (np.nan_to_num(values).clip(0, white) * (255 / white)).round().astype(np.uint8)
        else:
            if white == 2**32 - 1:
                values = values.view(np.uint32)
            bits = int(white).bit_length() - 8
            grey = (values.clip(0, white) >> bits).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # convert copies


def _reduced(image: Image.Image, factor: int, white: float) -> np.ndarray:
    """`_to_rgb`, scaled down by averaging; converted in strips, for conversion takes copies."""
    width, height = image.size
    rows = max(_STRIP_PIXELS // width // factor, 1) * factor
    strips = []
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strips.append(np.asarray(Image.fromarray(_to_rgb(strip, white)).reduce(factor)))
    return np.concatenate(strips)


def _reproducible(error: Exception) -> str:
    """The error's text without addresses in memory: equal for equal bytes."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", str(error)) or type(error).__name__
    return text[:200]
