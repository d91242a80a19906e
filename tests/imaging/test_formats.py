"""One list says what is a picture, and what of it can be read."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from facenet_core import storage
from facenet_core.alignment import stage as align_stage
from facenet_core.config import AlignConfig
from facenet_core.datasets import stage as ingest_stage
from facenet_core.datasets.pairs.resolve import Pairs, resolve
from facenet_core.errors import SourceError
from facenet_core.imaging import formats
from facenet_core.imaging.decode import UndecodableImage, decode
from facenet_core.recognition.photographs import read_rows
from tests.support.heic import HEIC
from tests.support.ingesting import contents, run, skipped

RAW_OF_CAMERA = b"II*\0\x08\0\0\0" + bytes(100)  # a TIFF by its bytes, as NEF and DNG are
JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50)


def saved(format: str) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, format)
    return stream.getvalue()


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch):
    """An installation without the extra that reads HEIF."""
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    formats.openable.cache_clear()
    yield
    formats.openable.cache_clear()


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF"]
)
def test_pictures_without_an_extension_are_known_by_their_content(format: str) -> None:
    data = HEIC if format == "HEIF" else saved(format)
    recorded = formats.of_file("Ann/IMG_0001", data)
    assert recorded is not None
    assert recorded.name == format
    assert recorded.read


@pytest.mark.parametrize("brand", [b"isom", b"qt  ", b"mp42"])
def test_films_are_no_pictures(brand: bytes) -> None:
    assert formats.of_file("IMG_0001.MOV", b"\0\0\0\x14ftyp" + brand + bytes(100)) is None


@pytest.mark.parametrize("extension", sorted(formats.EXTENSIONS))
def test_pairs_name_images_of_every_format_that_is_aligned(extension: str) -> None:
    pairs = Pairs.of([(0, "Ann/Ann_0001", "Ann/Ann_0002.jpg", True)], "file")
    crops = [f"Ann/Ann_0001{extension}", f"Ann/Ann_0002{extension.upper()}"]
    resolved, missing = resolve(pairs, crops, [], "pairs.txt")
    assert [resolved.image_id_a[0], resolved.image_id_b[0]] == crops
    assert not missing.any()


def test_pictures_that_nothing_reads_are_told_from_files_that_are_none(
    root: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unread = {"a.NEF": RAW_OF_CAMERA, "b.dng": RAW_OF_CAMERA, "c.jxl": b"\xff\x0a", "d": JXL}
    for name, data in {**unread, "notes.txt": b"text"}.items():
        (folder / "Ann" / name).write_bytes(data)
    artifact = run(root, folder)
    assert skipped(artifact) == {
        **{f"Ann/{name}": "unsupported_format" for name in unread},
        "Ann/notes.txt": "not_an_image",
    }
    ingest_stage.warn_of_skipped(artifact[0], artifact[1].counts)
    assert "4 of 11 files were left out (4 unsupported_format)" in caplog.text
    with pytest.raises(SourceError, match="unsupported_format"):
        run(root, folder, strict=True, max_image_bytes=10**6)
    rejected = [row for row in read_rows([str(folder)], root) if "reason" in row]
    assert {row["reason"] for row in rejected} == {"unsupported_format"}
    assert len(rejected) == len(unread)


def test_a_single_raw_file_of_a_camera_is_a_reject_that_says_why(root: str, tmp_path: Path) -> None:
    (tmp_path / "a.nef").write_bytes(RAW_OF_CAMERA)
    [row] = read_rows([str(tmp_path / "a.nef")], root)
    assert row["reason"] == "unsupported_format"
    assert row["detail"] == "Nikon raw is not read; export such pictures as JPEG, PNG or TIFF"


def test_of_a_dng_the_preview_is_not_taken_for_the_picture() -> None:
    stream = BytesIO()
    preview = Image.new("RGB", (40, 30), "red")
    preview.save(stream, "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    with pytest.raises(UndecodableImage, match="unsupported_format: Adobe DNG"):
        decode(stream.getvalue())


def test_a_heic_is_taken_whatever_is_installed_and_named_where_it_is_not_read(
    root: str, tmp_path: Path, without_heif: None
) -> None:
    (tmp_path / "photos" / "Ann").mkdir(parents=True)
    for name in ("IMG_1.HEIC", "IMG_2.jpg", "IMG_3"):  # the second was renamed, not converted
        (tmp_path / "photos" / "Ann" / name).write_bytes(HEIC)
    plan, manifest = run(root, tmp_path / "photos")
    assert len(contents((plan, manifest))) == 3
    assert manifest.counts["images.heif"] == 3
    with pytest.raises(UndecodableImage, match=r"unsupported_format: HEIF needs .*\[heif\]"):
        decode(HEIC)


def test_crops_made_before_heif_could_be_read_are_not_taken_afterwards(
    root: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    request: pytest.FixtureRequest,
) -> None:
    pytest.importorskip("pi_heif")
    (tmp_path / "photos" / "Ann").mkdir(parents=True)
    (tmp_path / "photos" / "Ann" / "IMG_1.HEIC").write_bytes(HEIC)
    raw = storage.open_artifact(run(root, tmp_path / "photos")[0].uri, "ingest")
    with_heif = align_stage.plan_align(root, raw, AlignConfig())
    request.getfixturevalue("without_heif")
    without = align_stage.plan_align(root, raw, AlignConfig())
    assert "formats_not_read" not in with_heif.config
    assert without.config["formats_not_read"] == ["HEIF"]
    assert without.fingerprint != with_heif.fingerprint
    align_stage.warn_of_formats(without, {"rejects.unsupported_format": 1})
    assert "photographs in formats that are not read here: 1;" in caplog.text
