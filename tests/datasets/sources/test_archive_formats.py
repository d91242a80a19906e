"""Our readers of tar and zip beside Python's, on archives in every dialect that Python writes."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from facenet_core.datasets.members import Limits, Member
from facenet_core.datasets.rows import DigestSet
from facenet_core.datasets.sources import archive
from facenet_core.errors import SourceError
from facenet_core.imaging.header import picture_size

LIMITS = Limits(image_bytes=10_000, total_bytes=10**9, ratio=1000)
NAMES = st.text(st.characters(exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1)
PATHS = st.lists(NAMES, min_size=1, max_size=8).map("/".join)
FILES = st.lists(st.tuples(PATHS, st.binary(max_size=1500)), max_size=8)


def read(data: bytes) -> list[tuple[str, bytes]]:
    items = archive.read(io.BytesIO(data), "archive", LIMITS)
    return [(item.path, item.data) for item in items if isinstance(item, Member)]


def tar(files: list[tuple[str, bytes]], dialect: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=dialect) as written:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            written.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("dialect", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@settings(deadline=None)
@given(files=FILES)
def test_any_tar_is_read_as_tarfile_reads_it(dialect: int, files: list[tuple[str, bytes]]) -> None:
    data = tar(files, dialect)
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        members = [
            entry for entry in theirs if entry.isfile() and not archive.is_nested(entry.name)
        ]
        expected = [(entry.name, theirs.extractfile(entry).read()) for entry in members]
    if files:  # an archive of nothing does not begin like one
        assert read(data) == expected


@pytest.mark.parametrize("name", ["d" * 99 + "/" + "f" * 90, "a" * 100])
def test_ustar_splits_long_names(name: str) -> None:
    assert read(tar([(name, b"x")], tarfile.USTAR_FORMAT)) == [(name, b"x")]


def test_a_tar_from_before_posix() -> None:
    entry = bytearray(tarfile.TarInfo("Ann/1.jpg").tobuf(tarfile.USTAR_FORMAT))
    entry[257:512] = bytes(255)
    entry[124:136] = b"%11o " % 3
    entry[148:156] = b" " * 8
    entry[148:156] = b"%06o\0 " % sum(entry)
    assert read(bytes(entry) + b"abc".ljust(512, b"\0") + bytes(1024)) == [("Ann/1.jpg", b"abc")]


def test_a_binary_size_as_gnu_tar_writes_above_8_gigabytes() -> None:
    data = bytearray(tar([("1.jpg", b"abc")], tarfile.GNU_FORMAT))
    data[124:136] = b"\x80" + struct.pack(">3xQ", 3)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert read(bytes(data)) == [("1.jpg", b"abc")]


def test_sparse_files_are_skipped_whole() -> None:
    entry = bytearray(tarfile.TarInfo("sparse.jpg").tobuf(tarfile.GNU_FORMAT))
    entry[156:157], entry[482] = b"S", 1
    entry[124:136] = b"%011o\0" % 3
    entry[148:156] = b" " * 8
    entry[148:156] = b"%06o\0 " % sum(entry)
    data = bytes(entry) + bytes(512) + b"abc".ljust(512, b"\0") + tar([("1.jpg", b"x")], 1)
    items = list(archive.read(io.BytesIO(data), "archive", LIMITS))
    assert [item.path for item in items] == ["sparse.jpg", "1.jpg"]
    assert items[0].reason == "not_a_file"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@settings(deadline=None)
@example(files=[("a.jpg", b"1")], front=b"", comment=b"PK\x05\x06")
@example(files=[("a.jpg", b"1")], front=b"front", comment=b"PK\x05\x06 and more than a record")
@given(files=FILES, front=st.binary(max_size=40), comment=st.binary(max_size=40))
def test_any_zip_is_read_as_zipfile_reads_it(
    method: int, files: list[tuple[str, bytes]], front: bytes, comment: bytes
) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as written:
        for number, (name, data) in enumerate(files):
            written.writestr(f"{number}{name}", data)
        written.comment = comment
    data = stream.getvalue()
    expected = [
        (f"{n}{name}", content)
        for n, (name, content) in enumerate(files)
        if not archive.is_nested(name)
    ]
    assert read(data) == expected
    if not front.startswith(b"PK"):
        start = b"PK\x03\x04" if files else b"PK\x05\x06"
        assert read(start + front + data) == expected


def test_a_zip_with_64_bit_fields() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("Ann/1.jpg", b"abc")
    data = bytearray(stream.getvalue())
    at = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    # The directory's entry with its three 64-bit values, then the 64-bit end and its locator.
    entry = bytearray(data[at:end])
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<I", entry, 42, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, 28)
    entry += struct.pack("<HHQQQ", 1, 24, 3, 3, 0)
    end64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), at)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at + len(entry), 1)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert read(bytes(data[:at] + entry + end64 + locator + last)) == [("Ann/1.jpg", b"abc")]


@settings(deadline=None)
@given(
    data=st.binary(max_size=3000), start=st.sampled_from([b"PK\3\4", b"PK\5\6", b"\x1f\x8b", b""])
)
def test_rubbish_is_an_error_of_ours(data: bytes, start: bytes) -> None:
    with pytest.raises(SourceError, match=r"^archive: the archive is"):
        list(archive.read(io.BytesIO(start + data), "archive", LIMITS))


@pytest.mark.parametrize("make", ["tar", "zip"])
@settings(deadline=None)
@given(place=st.integers(0, 4000), value=st.integers(0, 255))
def test_one_changed_byte_never_crashes(make: str, place: int, value: int) -> None:
    files = [("Ann/1.jpg", b"abc" * 300), ("Ann/2.jpg", b"def" * 200)]
    data = bytearray(tar(files, tarfile.PAX_FORMAT))
    if make == "zip":
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
            for name, content in files:
                written.writestr(name, content)
        data = bytearray(stream.getvalue())
    data[place % len(data)] = value
    try:
        list(archive.read(io.BytesIO(bytes(data)), "archive", LIMITS))
    except SourceError:
        pass


# --- Headers of pictures ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + bytes(500)}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(50)}),
        ("TIFF", {}),
        ("PPM", {}),
        ("JPEG2000", {}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (321, 123), (17, 400)])
def test_the_size_of_a_picture_is_in_its_header(
    kind: str, options: dict, size: tuple[int, int]
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, kind, **options)
    assert picture_size(stream.getvalue()) == size


STARTS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"RIFF....WEBPVP8 ",
    b"II*\0",
]


@settings(deadline=None)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_a_header_of_rubbish_never_crashes(start: bytes, rest: bytes) -> None:
    picture_size(start + rest)


# --- Keys seen before -------------------------------------------------------------------------


@settings(deadline=None)
@given(keys=st.lists(st.binary(max_size=2), max_size=80), in_memory=st.integers(0, 20))
def test_seen_is_a_set_wherever_its_keys_are(keys: list[bytes], in_memory: int) -> None:
    expected: set[bytes] = set()
    with DigestSet(in_memory) as seen:
        for key in keys:
            assert seen.add(key) == (key not in expected)
            expected.add(key)
        assert seen.count == len(expected)
