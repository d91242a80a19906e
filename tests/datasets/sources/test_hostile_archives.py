"""Archives that mean harm: each such member is skipped with its reason, and the rest taken."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets import stage
from facenet_core.errors import SourceError
from tests.support.ingesting import contents, manifests, rows, run, skipped
from tests.support.photographs import files, jpeg, write_tar, write_zip


def png(width: int, height: int) -> bytes:
    """A header that claims a size, and nothing behind it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
    )


def claiming(kind: str, width: int, height: int) -> bytes:
    """A small picture whose header is changed to another size."""
    if kind == "PNG":
        return png(width, height)
    stream = io.BytesIO()
    Image.new("RGB", (321, 123)).save(stream, kind)
    data = bytearray(stream.getvalue())
    old, new = {
        "JPEG": (struct.pack(">HH", 123, 321), struct.pack(">HH", height, width)),
        "BMP": (struct.pack("<ii", 321, 123), struct.pack("<ii", width, height)),
        "GIF": (struct.pack("<HH", 321, 123), struct.pack("<HH", width, height)),
    }[kind]
    assert old in data
    data[data.index(old) : data.index(old) + len(old)] = new
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_a_picture_of_50000_pixels_a_side_is_skipped_by_its_header(
    root: str, tmp_path: Path, kind: str
) -> None:
    members = {"Ann/huge.jpg": claiming(kind, 50_000, 50_000), "Ann/good.jpg": jpeg(1)}
    artifact = run(root, write_tar(tmp_path / "faces.tgz", members))
    assert skipped(artifact) == {"faces/Ann/huge.jpg": "too_many_pixels"}
    assert rows(artifact, "skipped")[0]["detail"] == "50000x50000"
    assert list(contents(artifact)) == ["Ann/good.jpg"]


def bomb_tar(path: Path, size: int) -> Path:
    """A tar with one member of zeros among photographs, compressed a thousandfold."""
    with tarfile.open(path, "w:gz", compresslevel=9) as tar:
        for name, data in (("Ann/1.jpg", jpeg(1)), ("Ann/b.jpg", None), ("Ann/2.jpg", jpeg(2))):
            entry = tarfile.TarInfo(f"faces/{name}")
            entry.size = size if data is None else len(data)
            source = Zeros(size) if data is None else io.BytesIO(data)
            tar.addfile(entry, source)
    return path


class Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


@pytest.mark.parametrize(
    ("size", "reason"), [(40 * 2**20, "too_high_ratio"), (200 * 2**20, "too_many_bytes")]
)
def test_a_bomb_in_a_compressed_tar_is_skipped(
    root: str, tmp_path: Path, size: int, reason: str
) -> None:
    artifact = run(root, bomb_tar(tmp_path / "faces.tgz", size))
    assert skipped(artifact) == {"faces/Ann/b.jpg": reason}
    assert list(contents(artifact)) == ["Ann/1.jpg", "Ann/2.jpg"]


def test_a_bomb_in_a_zip_is_skipped_unread(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("faces/Ann/bomb.jpg", bytes(30_000_000))
        archive.writestr("faces/Ann/1.jpg", jpeg(1))
    assert skipped(run(root, path)) == {"faces/Ann/bomb.jpg": "too_high_ratio"}
    mild = run(root, path, max_ratio=2000)
    assert mild[1].counts["images"] == 2


@pytest.mark.parametrize("kind", ["tar", "zip", "nested"])
def test_a_total_over_its_limit_fails_the_ingest(root: str, tmp_path: Path, kind: str) -> None:
    members = {f"Ann/{n}.jpg": jpeg(n) + bytes(30_000) for n in range(40)}
    if kind == "zip":
        path = write_zip(tmp_path / "faces.zip", members)
    else:
        path = write_tar(tmp_path / "faces.tgz", members)
    if kind == "nested":
        path = write_zip(tmp_path / "outer.zip", {"faces.tgz": path.read_bytes()})
    with pytest.raises(SourceError, match="--max-total-bytes"):
        run(root, path, max_total_bytes=1_000_000)
    assert manifests(root) == []


def test_too_many_members_fail_the_ingest(root: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--max-members"):
        run(root, write_tar(tmp_path / "faces.tgz", files()), max_members=5)
    assert manifests(root) == []


def test_a_hundred_thousand_empty_files_stay_small(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.tgz"
    empty = tarfile.TarInfo("faces/Ann/none.jpg").tobuf()
    with gzip.open(path, "wb", compresslevel=1) as tar:
        tar.write(empty * 100_000)
        entry = tarfile.TarInfo("faces/Ann/1.jpg")
        entry.size = len(jpeg(1))
        tar.write(entry.tobuf() + jpeg(1) + bytes(-len(jpeg(1)) % 512) + bytes(1024))
    before = psutil.Process().memory_info().rss
    artifact = run(root, path)
    assert psutil.Process().memory_info().rss - before < 100 * 2**20
    assert artifact[1].counts["skipped.empty"] == 100_000
    assert len(contents(artifact)) == 1


def lying_zip(path: Path, field: str, value: int) -> Path:
    """A zip whose directory gives another value for its first member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("faces/Ann/1.jpg", jpeg(1))
        archive.writestr("faces/Ann/2.jpg", jpeg(2))
    data = bytearray(path.read_bytes())
    offset = data.index(b"PK\x01\x02") + {"size": 24, "packed": 20, "offset": 42}[field]
    data[offset : offset + 4] = struct.pack("<I", value)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("value", [1, 100, 5_000])
def test_a_member_that_lies_about_its_size_is_skipped(
    root: str, tmp_path: Path, value: int
) -> None:
    artifact = run(root, lying_zip(tmp_path / "faces.zip", "size", value))
    assert skipped(artifact) == {"faces/Ann/1.jpg": "wrong_size"}
    assert list(contents(artifact)) == ["Ann/2.jpg"]


@pytest.mark.parametrize(("field", "value"), [("packed", 2**31), ("offset", 2**31), ("offset", 7)])
def test_a_directory_that_points_nowhere_is_no_crash(
    root: str, tmp_path: Path, field: str, value: int
) -> None:
    path = lying_zip(tmp_path / "faces.zip", field, value)
    if field == "packed":
        assert skipped(run(root, path)) == {"faces/Ann/1.jpg": "too_many_bytes"}
    else:
        with pytest.raises(SourceError, match="damaged"):
            run(root, path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_gigabytes_is_refused(root: str, tmp_path: Path, kind: bytes) -> None:
    entry = tarfile.TarInfo("long")
    entry.type, entry.size = kind, 8 * 2**30
    path = tmp_path / "faces.tgz"
    with gzip.open(path, "wb") as tar:
        tar.write(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000))
    tracemalloc.start()
    with pytest.raises(SourceError, match="a header of 8589934592 bytes"):
        run(root, path)
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()


NAMES = {
    "/etc/passwd.jpg": "unsafe_name",
    "faces/../../up.jpg": "unsafe_name",
    "..\\up.jpg": "unsafe_name",
    "C:\\Windows\\1.jpg": "unsafe_name",
    "faces/Ann/1.jpg": "duplicate_name",
    "faces/./Ann//1.jpg": "duplicate_name",
    "n" * 5000 + ".jpg": "unsafe_name",
}


@pytest.mark.parametrize("make", [write_tar, write_zip])
def test_hostile_names_never_leave_the_storage_root(
    root: str, tmp_path: Path, make: Callable[..., Path]
) -> None:
    path = tmp_path / "archive"
    if make is write_zip:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("faces/Ann/1.jpg", jpeg(1))
            for name in NAMES:
                entry = zipfile.ZipInfo("x")
                entry.filename = name
                archive.writestr(entry, jpeg(2))
    else:
        with tarfile.open(path, "w") as tar:
            for name in ("faces/Ann/1.jpg", *NAMES):
                entry = tarfile.TarInfo(name)
                entry.size = len(jpeg(1))
                tar.addfile(entry, io.BytesIO(jpeg(1)))
    artifact = run(root, path)
    assert [row["reason"] for row in rows(artifact, "skipped")] == list(NAMES.values())
    assert list(contents(artifact)) == ["Ann/1.jpg"]
    assert all(uri.startswith(root) for uri in storage.list_files(str(tmp_path)) if "part" in uri)


def test_names_in_odd_encodings_in_a_zip(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("aaa/1.jpg", "bbb/1.jpg"):
            archive.writestr(f"faces/{name}", jpeg(1))
    data = path.read_bytes()
    data = data.replace(b"aaa", "Zoë".encode("cp437")).replace(b"bbb", b"\xc3\xab!")
    path.write_bytes(data)
    assert set(contents(run(root, path))) == {"Zoë/1.jpg", "ë!/1.jpg"}


@pytest.mark.parametrize(
    "name", ["../up.jpg", "Ann/Ann_0001.jpg", "Ann/empty.jpg", "Ann/huge.jpg", "Ann/notes.txt"]
)
def test_strict_refuses_what_would_be_skipped(root: str, tmp_path: Path, name: str) -> None:
    content = {"Ann/empty.jpg": b"", "Ann/huge.jpg": png(50_000, 50_000)}.get(name, b"x")
    path = tmp_path / "faces.tar"
    write_tar(path, files(), "w")
    with tarfile.open(path, "a") as tar:
        entry = tarfile.TarInfo(f"faces/{name}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    assert run(root, path)[1].counts["images"] == 6
    strict = str(tmp_path / "strict")
    if name == "Ann/notes.txt":  # a file that is no image harms nobody
        assert run(strict, path, strict=True)[1].counts["skipped"] == 1
    else:
        with pytest.raises(SourceError, match="without --strict"):
            run(strict, path, strict=True)
        assert manifests(strict) == []


def test_strict_refuses_what_was_ingested_with_skips(root: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tgz", {**files(), "Ann/empty.jpg": b""})
    plan, manifest = run(root, path)
    strict = IngestConfig(source=str(path), strict=True)
    assert stage.plan_ingest(root, strict).fingerprint == plan.fingerprint
    with pytest.raises(SourceError, match=r"refused.*\(empty\)"):
        stage.check_accepted(str(path), manifest.counts, strict)
    stage.check_accepted(str(path), manifest.counts, IngestConfig(source=str(path)))


def test_a_refusal_leaves_what_another_run_made(root: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tgz", {**files(), "Ann/empty.jpg": b""})
    plan, _ = run(root, path)
    with pytest.raises(SourceError, match="refused"):
        stage.stream(root, plan, IngestConfig(source=str(path), strict=True))
    assert storage.open_artifact(plan.uri, "ingest")


@pytest.mark.parametrize("extra", [b"\1\0\0\0", b"\1\0\x08\0\0\0\0", b"\1\0\x08\0" + b"\xff" * 8])
def test_a_64_bit_field_that_is_cut_or_mad_is_an_error(
    root: str, tmp_path: Path, extra: bytes
) -> None:
    entry = zipfile.ZipInfo("faces/Ann/1.jpg")
    entry.extra = extra
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, jpeg(1))
    data = bytearray(path.read_bytes())
    offset = data.index(b"PK\x01\x02") + 42  # the offset of the member
    data[offset : offset + 4] = b"\xff" * 4
    path.write_bytes(data)
    with pytest.raises(SourceError, match="damaged"):
        run(root, path)


def test_the_total_is_that_of_all_nested_archives(root: str, tmp_path: Path) -> None:
    inner = write_tar(tmp_path / "a.tgz", {"Ann/1.jpg": jpeg(1) + bytes(60_000)}).read_bytes()
    path = write_zip(tmp_path / "outer.zip", {f"{n}.tgz": inner for n in range(20)})
    with pytest.raises(SourceError, match="--max-total-bytes"):
        run(root, path, max_total_bytes=600_000)


def test_duplicates_are_counted_and_dropped_on_demand(root: str, tmp_path: Path) -> None:
    members = {**files(), "Eve/again.jpg": files()["Ann/Ann_0001.jpg"]}
    path = write_tar(tmp_path / "faces.tgz", members)
    remaining, dropped = run(root, path), run(root, path, drop_duplicates=True)
    assert (remaining[1].counts["images"], remaining[1].counts["duplicates"]) == (7, 1)
    assert remaining[1].counts["skipped"] == 0
    assert (dropped[1].counts["images"], dropped[1].counts["skipped.duplicate_content"]) == (6, 1)
    assert skipped(dropped) == {"faces/Eve/again.jpg": "duplicate_content"}


def test_the_counts_close(root: str, tmp_path: Path) -> None:
    members = {**files(), "Ann/notes.txt": b"x", "Ann/empty.jpg": b""}
    counts = run(root, write_tar(tmp_path / "faces.tgz", members))[1].counts
    reasons = {name: n for name, n in counts.items() if name.startswith("skipped.")}
    assert reasons == {"skipped.empty": 1, "skipped.not_an_image": 1}
    assert counts["seen"] == counts["images"] + counts["skipped"] == 8
