"""Formats of pictures: the one list of their extensions and signatures, and of what is read.

A file may be a picture that cannot be read here, such as a camera's raw file; such files are
reported.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile


@dataclass(frozen=True, slots=True)
class Format:
    """A format of pictures.

    Attributes:
        name: of a format that is read, Pillow's name for it.
        extensions: in lower case; the first is that of pictures which come without a name.
        signatures: what a file begins with; WebP and formats in ISO media files have others.
        read: whether an installation with all extras decodes it.
    """

    name: str
    extensions: tuple[str, ...]
    signatures: tuple[bytes, ...] = ()
    read: bool = False


# Formats that photographs come in. Others that Pillow knows stay shut: some run other programs.
JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), (b"\xff\xd8\xff",), True)
PNG = Format("PNG", (".png",), (b"\x89PNG\r\n",), True)
GIF = Format("GIF", (".gif",), (b"GIF8",), True)
BMP = Format("BMP", (".bmp",), (b"BM",), True)
WEBP = Format("WEBP", (".webp",), read=True)
TIFF = Format("TIFF", (".tif", ".tiff"), (b"II*\0", b"MM\0*"), True)
PPM = Format("PPM", (".ppm", ".pgm", ".pbm", ".pnm"), (b"P5", b"P6"), True)
JPEG2000 = Format(
    "JPEG2000",
    (".jp2", ".j2k", ".jpx", ".jpf"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    True,
)
AVIF = Format("AVIF", (".avif",), read=True)  # by Pillow from 11.3 on
HEIF = Format("HEIF", (".heic", ".heif", ".hif"), read=True)  # by the package pi-heif
DNG = Format("Adobe DNG", (".dng",))  # by its bytes a TIFF
_CR3 = Format("Canon raw", (".cr3",))
NOT_EVERYWHERE = (AVIF, HEIF)  # these are read

_READ = (JPEG, PNG, GIF, BMP, WEBP, TIFF, PPM, JPEG2000, AVIF, HEIF)
_NOT_READ = (
    Format("Canon raw", (".cr2", ".crw"), (b"II*\0\x10\0\0\0CR", b"II\x1a\0\0\0HEAPCCDR")),
    _CR3,
    Format("Nikon raw", (".nef", ".nrw")),
    Format("Sony raw", (".arw", ".sr2", ".srf")),
    DNG,
    Format("Olympus raw", (".orf",), (b"IIRO", b"IIRS", b"MMOR")),
    Format("Panasonic raw", (".rw2", ".rwl"), (b"IIU\0",)),
    Format("Fujifilm raw", (".raf",), (b"FUJIFILMCCD-RAW",)),
    Format("Sigma raw", (".x3f",), (b"FOVb",)),
    Format("Minolta raw", (".mrw",), (b"\0MRM",)),
    Format("camera raw", (".pef", ".srw", ".3fr", ".fff", ".iiq", ".dcr", ".kdc", ".erf", ".mef")),
    Format("JPEG XL", (".jxl",), (b"\0\0\0\x0cJXL \r\n\x87\n",)),
    Format("JPEG XR", (".jxr", ".wdp", ".hdp"), (b"II\xbc\x01",)),
    Format("BPG", (".bpg",), (b"BPG\xfb",)),
    Format("Photoshop", (".psd", ".psb"), (b"8BPS",)),
    Format("GIMP", (".xcf",), (b"gimp xcf",)),
    Format("OpenEXR", (".exr",), (b"v/1\x01",)),
    Format("Radiance", (".hdr",), (b"#?RADIANCE",)),
    Format("QOI", (".qoi",), (b"qoif",)),
    Format("Targa", (".tga",)),
    Format("PCX", (".pcx",)),
    Format("DDS", (".dds",), (b"DDS ",)),
    Format("DjVu", (".djvu",), (b"AT&TFORM",)),
    Format("icon", (".ico", ".icns")),
    Format("vector graphics", (".svg", ".eps", ".wmf", ".emf")),
)

EXTENSIONS = frozenset(extension for format in _READ for extension in format.extensions)

_BY_EXTENSION = {e: format for format in (*_READ, *_NOT_READ) for e in format.extensions}
# Raw files of Canon begin as a TIFF does, and JPEG is what most files are.
_BY_SIGNATURE = (JPEG, *_NOT_READ, *_READ)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_LONGEST_FTYP = 512  # bytes
_DNG_VERSION = 0xC612  # a tag of TIFF


def of_name(name: str) -> Format | None:
    """The format that a file's extension promises, or None where it is no picture's."""
    return _BY_EXTENSION.get(posixpath.splitext(name)[1].lower())


def of_content(data: bytes) -> Format | None:
    """The format that a file's first bytes show, or None where they are no picture's."""
    for format in _BY_SIGNATURE:
        if data.startswith(format.signatures):
            return format
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    return _of_brands(data) if data[4:8] == b"ftyp" else None


def of_file(name: str, data: bytes) -> Format | None:
    """The format of a file by extension or signature, or None where it is no picture at all.

    The signature goes before the extension, except that raw files of cameras have the signature of
    a TIFF. The extension of a format that is read is trusted whatever the bytes are.
    """
    by_content = of_content(data)
    if by_content is not None and by_content.read and by_content is not TIFF:
        return by_content
    by_name = of_name(name)
    if by_name is None or (by_content is TIFF and by_name.read):
        return by_content
    return by_name


@cache
def openable() -> tuple[str, ...]:
    """The formats that are read, as far as this installation can, as `Image.open` takes them."""
    Image.init()
    try:
        import pi_heif
    except ImportError:
        pass
    else:
        # One thread, for there is a worker for each processor; and nothing but the picture itself.
        pi_heif.register_heif_opener(
            decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
        )
    return tuple(format.name for format in _READ if format.name in Image.OPEN)


def unsupported(format: Format | None) -> str | None:
    """Why pictures of a format cannot be read, and what to do; None where they can."""
    if format is None or format.name in openable():
        return None
    if format is HEIF:
        return "HEIF needs the package pi-heif: pip install 'facenet-pipeline[heif]'"
    if format.read:
        return f"{format.name} needs a newer Pillow: pip install --upgrade pillow"
    return f"{format.name} is not read; export such pictures as JPEG, PNG or TIFF"


def count_name(format: Format) -> str:
    """What the pictures of one format are called among the counts of a raw artifact."""
    return f"images.{format.name.lower()}"


def not_read_here(counts: Mapping[str, int]) -> list[str]:
    """Formats that a raw artifact has, by its counts, and that this installation does not read."""
    return [
        format.name
        for format in NOT_EVERYWHERE
        if counts.get(count_name(format)) and unsupported(format)
    ]


def is_dng(image: Image.Image) -> bool:
    """Whether an opened TIFF is a raw file of which Pillow sees the preview alone."""
    return isinstance(image, TiffImageFile) and _DNG_VERSION in image.tag_v2


def _of_brands(data: bytes) -> Format | None:
    """By the brands of an ISO media file (ISO/IEC 14496-12, 4.3), such as a film is, too."""
    end = min(int.from_bytes(data[:4], "big"), _LONGEST_FTYP)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if data[8:12] == b"crx ":
        return _CR3
    if brands & {b"avif", b"avis"}:
        return AVIF
    return HEIF if brands & _HEIF_BRANDS else None
