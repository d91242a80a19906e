"""Archives and record files, from their first byte to the raw rows that are made of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import posixpath
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow as pa
from hypothesis import strategies as st
from PIL import Image

from facenet_core.datasets.members import Fingerprint, Item, Limits
from facenet_core.datasets.pairs import verification_bin
from facenet_core.datasets.rows import RowMaker, RowRules, Skip, clean_path
from facenet_core.datasets.sources import archive, nested, recordio
from facenet_core.storage import create_file, safe_path

from ..target import Target

LIMITS = Limits(image_bytes=2**20, total_bytes=2**24, ratio=200.0)
_HOSTILE_NAMES = (
    "../up.jpg",
    "/etc/x.jpg",
    "a/../../b.jpg",
    "C:\\x.jpg",
    "a\x00b.jpg",
    "\x1b[2J.jpg",
    "Ann\x01/1.jpg",
    "Ann\x02/1.jpg",
    "Ann.jpg",
    "Ann.jpg/b.jpg",
    "._Ann/1.jpg",
    "__MACOSX/Ann/1.jpg",
)
_NOT_UTF_8 = ("Zo\udceb/1.jpg", "\udcff")
_NAMES = ("Ann/Ann_0001.jpg", "Bob/Bob_0001.jpg", "Zoë/Zoë_0001.png", "notes.txt", "a/b/c/d.jpg")


def jpeg(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16 + seed, 16), (seed * 40 % 256, 90, 128)).save(stream, "JPEG")
    return stream.getvalue()


class _Bytes:
    """A source that is an archive in memory."""

    wrapped = True

    def __init__(self, data: bytes) -> None:
        self._data = data

    def fingerprint(self) -> Fingerprint:
        raise NotImplementedError

    def items(self, limits: Limits) -> Iterator[Item]:
        yield from archive.read(io.BytesIO(self._data), "input", limits)


class _Records(_Bytes):
    wrapped = False

    def items(self, limits: Limits) -> Iterator[Item]:
        yield from recordio.read(io.BytesIO(self._data), "input.rec", limits)


def _ingest(source: _Bytes) -> None:
    """The rows of a source; what they promise to the stages behind holds for any bytes."""
    maker = RowMaker(RowRules("input", source.wrapped, max_pixels=10**8))
    seen: set[str] = set()
    for row in maker.rows(nested.items(source, "input", LIMITS)):
        if isinstance(row, Skip):
            _require_text(row.path, row.reason, row.detail)
            continue
        image_id = row["image_id"]
        _require_text(image_id, row["identity"])
        require_inside(image_id)
        assert image_id not in seen
        assert 0 < len(row["image"]["bytes"]) <= LIMITS.image_bytes
        seen.add(image_id)


def require_inside(image_id: str) -> None:
    """An image_id becomes a path below a folder when crops are exported."""
    for path in (image_id, safe_path(image_id)):
        assert not posixpath.isabs(path), path
        assert ".." not in path.split("/"), path
        assert "\0" not in path, path


def _require_text(*texts: str) -> None:
    for text in texts:
        text.encode()  # as Arrow will: no half surrogates


def read_archive(data: bytes, folder: Path) -> None:
    _ingest(_Bytes(data))


def read_records(data: bytes, folder: Path) -> None:
    _ingest(_Records(data))


def read_verification_set(data: bytes, folder: Path) -> None:
    (folder / "set.bin").write_bytes(data)
    verification_bin.read(str(folder / "set.bin"))


def tar(names: tuple[str, ...] = _NAMES, format: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as out:
        for number, name in enumerate(names):
            entry = tarfile.TarInfo(f"faces/{name}")
            entry.size = len(jpeg(number))
            out.addfile(entry, io.BytesIO(jpeg(number)))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"faces/special-{kind.decode()}.jpg")
            entry.type, entry.linkname = kind, "../../etc/passwd"
            out.addfile(entry)
    return stream.getvalue()


def tars() -> list[bytes]:
    long = ("n" * 120 + "/" + "m" * 150 + ".jpg", *_NAMES)
    formats = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
    hostile = tar((*_HOSTILE_NAMES, *_NOT_UTF_8), tarfile.GNU_FORMAT)
    return [*(tar(long, format) for format in formats), tar(format=tarfile.USTAR_FORMAT), hostile]


def zipped(names: tuple[str, ...] = _NAMES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as out:
        for number, name in enumerate(names):
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.compress_type = name, method
            out.writestr(entry, jpeg(number))
    return stream.getvalue()


def _zip64() -> bytes:
    """With a 64-bit directory, which `zipfile` writes for huge archives only."""
    data = zipped(_NAMES[:2], zipfile.ZIP_STORED)
    end = data.rfind(b"PK\x05\x06")
    count, size, start = struct.unpack_from("<HII", data, end + 10)
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:end] + record + locator + last


def zips() -> list[bytes]:
    return [zipped(), zipped(method=zipfile.ZIP_STORED), zipped(_HOSTILE_NAMES), _zip64()]


def _bomb() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        entry = tarfile.TarInfo("faces/Ann/bomb.jpg")
        entry.size = 2**22
        out.addfile(entry, io.BytesIO(bytes(entry.size)))
    return gzip.compress(stream.getvalue(), 9, mtime=0)


_PACKERS = (
    lambda data: gzip.compress(data, 1, mtime=0),
    lambda data: bz2.compress(data, 1),
    lambda data: lzma.compress(data, preset=0),
    lambda data: pa.compress(data, codec="zstd", asbytes=True),
)


def compressed_tars() -> list[bytes]:
    return [*(pack(tar(_NAMES[:3])) for pack in _PACKERS), _bomb()]


def repacked(data: bytes, random: Random) -> bytes:
    """What is a plain tar is packed, so that damage lies inside a stream that is whole."""
    return random.choice(_PACKERS)(data) if data[257:262] == b"ustar" else data


def packed_seeds() -> list[bytes]:
    return [*compressed_tars(), *tars()]


def nests() -> list[bytes]:
    inner = {"a.tgz": gzip.compress(tar(_NAMES[:2]), 1, mtime=0), "b.zip": zipped(_NAMES[:2])}
    inner |= {"c.tar": tar(_NAMES[:2]), "d.rec": records(), "e.zip": zipped(("x.zip", "y.jpg"))}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as out:
        for name, data in inner.items():
            out.writestr(name, data)
    results = [stream.getvalue()]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        for name, data in inner.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))
    return [*results, stream.getvalue()]


def record(data: bytes, flag: int = 0, label: float = 3.0, number: int = 1, *more: float) -> bytes:
    """One record of MXNet's RecordIO with InsightFace's header."""
    data = struct.pack("<IfQQ", flag, label, number, 0) + struct.pack(f"<{flag}f", *more) + data
    padded = data + bytes(-len(data) % 4)
    return struct.pack("<II", recordio.MAGIC, len(data)) + padded


def records() -> bytes:
    pictures = b"".join(record(jpeg(n), 0, float(n), n) for n in (1, 2))
    several = record(jpeg(4), 2, 0.0, 3, 7.0, 0.0)
    return record(b"", 2, 0.0, 0, 4.0, 5.0) + pictures + several + record(b"", 2, 0.0, 4, 1.0, 2.0)


def split_records() -> bytes:
    """A record in three pieces, as one is written whose data holds the magic number."""
    head = struct.pack("<IfQQ", 0, 1.0, 1, 0)
    pieces = ((1, head), (2, jpeg()[:100]), (3, jpeg()[100:]))
    return b"".join(
        struct.pack("<II", recordio.MAGIC, part << 29 | len(data)) + data + bytes(-len(data) % 4)
        for part, data in pieces
    )


def verification_sets() -> list[bytes]:
    import numpy as np

    images = [jpeg(n) for n in range(4)]
    contents = (
        (images, [True, False]),
        (images, np.array([True, False])),
        ([np.frombuffer(image, np.uint8) for image in images], [True, False]),
    )
    results = [pickle.dumps(content, protocol) for content in contents for protocol in (0, 2, 4, 5)]
    return [*results, b"\x80\x02]q\x00(U\x02\xff\xd8q\x01U\x01\xe9q\x02e]q\x03\x88a\x86q\x04."]


def opcodes() -> st.SearchStrategy[bytes]:
    """Programs of pickle's own words, with calls of what a pickle must not call."""
    names = [b"cos\nsystem\n", b"cbuiltins\neval\n", b"c_codecs\nencode\n", b"cnumpy\nndarray\n"]
    names += [b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n", b"cbuiltins\nbytes\n"]
    words = [bytes([byte]) for byte in b"()]}ltdseaburR\x81\x85\x86\x87\x88\x890N12.q\x94\x92\x93"]
    words += [b"X\x04\0\0\0true", b"C\x02\xff\xd8", b"K\x01", b"J\xff\xff\xff\x7f", b"Vtouch x\n"]
    words += [b"\x80\x04", b"\x95\xff\xff\0\0\0\0\0\0", b"r\xff\xff\xff\x7f", b"Pid\n", *names]
    return st.lists(st.sampled_from(words), max_size=24).map(b"".join).map(lambda b: b + b".")


def read_names(data: bytes, folder: Path) -> None:
    """As an export calls the crops of photographs: every name has a file of its own."""
    contents = {}
    for line in data.split(b"\n")[:50]:
        name, problem = clean_path(os.fsdecode(line))
        if problem:
            continue
        stem, extension = posixpath.splitext(name)
        path, stream = create_file(folder, [stem, stem + extension], ".jpg")
        require_inside(path)
        with stream:
            stream.write(line)
        assert path not in contents
        contents[path] = line
    for path, line in contents.items():
        assert (folder / path).read_bytes() == line


_FILE_NAMES = b"Ann/1.jpg\nAnn/1.png\nAnn.jpg\nAnn.jpg/1.jpg\nA\x01/1.jpg\nA\x02/1.jpg\nZo\xeb.jpg"


def file_names() -> st.SearchStrategy[bytes]:
    odd = ["", ".", "..", "~", "con", "\x01", "\u2028", "\u202e", "e\u0301", "\\", "n" * 300]
    part = st.sampled_from(["Ann", "Ann.jpg", "ann", "1", "名" * 90, "d/" * 400, *odd])
    name = st.lists(part | st.text(max_size=3), min_size=1, max_size=4).map("/".join)
    end = st.sampled_from(["", ".jpg", ".png", ".jpg.jpg", "." + "e" * 260])
    lines = st.lists(st.tuples(name, end).map("".join), max_size=12).map("\n".join)
    return lines.map(lambda text: text.encode("utf-8", "replace"))


TARGETS = (
    Target("tar", read_archive, tars, weight=8),
    Target("tar, compressed", read_archive, packed_seeds, weight=6, packed=repacked),
    Target("zip", read_archive, zips, weight=8),
    Target("nested archives", read_archive, nests, weight=5),
    Target("RecordIO", read_records, lambda: [records(), split_records()], weight=6),
    Target("names of files", read_names, lambda: [_FILE_NAMES], 2, text=True, drawn=file_names),
    Target("verification set", read_verification_set, verification_sets, weight=5, drawn=opcodes),
)
