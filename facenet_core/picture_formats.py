"""The formats of pictures that are opened, wherever pictures from elsewhere are."""

from __future__ import annotations

from functools import cache

from PIL import Image

# Formats that photographs come in. Others that Pillow knows stay shut: some run other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")


@cache
def picture_formats() -> tuple[str, ...]:
    """Those of them that this Pillow has, as `Image.open` takes them."""
    Image.init()
    return tuple(f for f in _FORMATS if f in Image.OPEN)  # AVIF is new in Pillow 11.3
