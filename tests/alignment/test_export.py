from __future__ import annotations

import posixpath
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facenet_core.alignment import export as exporting
from facenet_core.alignment.crops import crop
from facenet_core.alignment.export import export
from facenet_core.config import AlignConfig
from facenet_core.errors import StorageError
from facenet_core.imaging.decode import decode
from facenet_core.storage import create_file, safe_path
from tests.support.raw_shards import aligned, face, raw_artifact, rows

PNG = AlignConfig(image_format="png", image_size=182, margin=44, exif="ignore")
PHOTOGRAPHS = {
    "Ann/Ann_0001.jpg": face(0),
    "Ann/Ann_0002.jpg": b"not an image",
    "Bob Ó Sé/Bob_0001.png": face(1),
}


def two_faces() -> bytes:
    pair = Image.new("RGB", (500, 250))
    for n in (0, 1):
        pair.paste(Image.open(BytesIO(face(n))), (250 * n, 0))
    stream = BytesIO()
    pair.save(stream, "PNG")
    return stream.getvalue()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".txt"
    }


def test_it_is_the_folder_that_the_original_wrote(root: str, tmp_path: Path) -> None:
    uri, _ = aligned(root, raw_artifact(root, [PHOTOGRAPHS, {"Eve/Eve_0001.jpg": face(2)}]), PNG)
    out = tmp_path / "out"
    text = export(uri, out)
    assert list(files(out)) == [
        "Ann/Ann_0001.png",
        "Bob Ó Sé/Bob_0001.png",
        "Eve/Eve_0001.png",
    ]
    lines = text.read_text().splitlines()
    assert text.parent == out
    assert text.name.startswith("bounding_boxes_")
    assert lines[1] == f"{out}/Ann/Ann_0002.png", "one that could not be aligned, as there"
    sources = [face(0), face(1), face(2)]
    for line, photograph in zip([lines[0], *lines[2:]], sources, strict=True):
        file, *corners = line.rsplit(" ", 4)
        x1, y1, x2, y2 = map(int, corners)
        cut = Image.fromarray(decode(photograph)[y1:y2, x1:x2])
        expected = np.asarray(cut.resize((182, 182), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(decode(Path(file).read_bytes()), expected)


def test_several_faces_have_numbers(root: str, tmp_path: Path) -> None:
    config = PNG.model_copy(update={"detect_multiple_faces": True})
    uri, _ = aligned(root, raw_artifact(root, [{"Ann/pair.png": two_faces()}]), config)
    text = export(uri, tmp_path / "out")
    names = [line.split(" ")[0] for line in text.read_text().splitlines()]
    assert names == [f"{tmp_path}/out/Ann/pair_{n}.png" for n in range(len(names))]
    assert len(names) >= 2
    assert list(files(tmp_path / "out").values()) == [
        row["image"]["bytes"] for row in rows(uri, "crops")
    ]


def test_files_have_the_format_of_the_crops(root: str, tmp_path: Path) -> None:
    uri, _ = aligned(root, raw_artifact(root, [PHOTOGRAPHS]), AlignConfig())
    export(uri, tmp_path / "out")
    assert list(files(tmp_path / "out")) == ["Ann/Ann_0001.jpg", "Bob Ó Sé/Bob_0001.jpg"]


def test_photographs_of_one_stem_both_come_out(root: str, tmp_path: Path) -> None:
    photographs = {"Ann/1.jpg": face(0), "Ann/1.png": face(1)}
    uri, _ = aligned(root, raw_artifact(root, [photographs]), PNG)
    text = export(uri, tmp_path / "out")
    assert list(files(tmp_path / "out")) == ["Ann/1.png", "Ann/1.png.png"]
    assert [line.rsplit(" ", 4)[0] for line in text.read_text().splitlines()] == [
        f"{tmp_path}/out/Ann/1.png",
        f"{tmp_path}/out/Ann/1.png.png",
    ]


def test_names_stay_below_the_folder(root: str, tmp_path: Path) -> None:
    photographs = {"../../evil.jpg": face(0), "/etc/evil.jpg": face(1), "a\nb/..": face(2)}
    uri, _ = aligned(root, raw_artifact(root, [photographs]), PNG)
    text = export(uri, tmp_path / "deep" / "out")
    names = sorted(files(tmp_path / "deep" / "out"))
    digest = "~[0-9a-f]{12}"
    for name, pattern in zip(
        names,
        [f"_{digest}/_{digest}/evil.png", f"_{digest}/etc/evil.png", f"a_b{digest}/_{digest}.png"],
        strict=True,
    ):
        assert re.fullmatch(pattern, name)
    assert len(text.read_text().splitlines()) == 3
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out"]


LONG = "n" * 251
STRANGE = {
    "three names that differ in control characters": ["A\x01/1.jpg", "A\x02/1.jpg", "A_/1.jpg"],
    "and within a folder": ["A/1\x01.jpg", "A/1\x02.jpg", "A/1_.jpg"],
    "a photograph called as a folder": ["Ann.jpg", "Ann.jpg/b.jpg", "Ann.jpg/c.jpg"],
    "the folder first": ["Ann.jpg/b.jpg", "Ann.jpg", "Bob.jpg"],
    "names as long as names can be": [f"{LONG}.jpg", f"{LONG}.png", f"{LONG[1:]}é.jpg"],
    "long names in other scripts": [
        "名" * 85 + "/1.jpg",
        "名" * 400 + "/1.jpg",
        "名" * 401 + "/1.jpg",
    ],
    "deep folders": [f"{'d/' * 1500}1.jpg", f"{'d/' * 1501}1.jpg", f"{'d/' * 1501}2.jpg"],
    "names that others are given": ["a/1.jpg", "a/1.png", "a/1.jpg.jpg"],
    "no names": ["..", ".", "a/../.."],
}


@pytest.mark.parametrize("image_ids", STRANGE.values(), ids=STRANGE)
def test_names_given_by_strangers_neither_collide_nor_fail(
    image_ids: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    paths = []
    for image_id in image_ids:
        stem, extension = posixpath.splitext(image_id)
        path, stream = create_file(tmp_path / "out", [stem, stem + extension], "_0.jpg")
        with stream:
            stream.write(image_id.encode())
        assert (tmp_path / "out" / path).read_bytes() == image_id.encode()
        paths.append(path)
    assert sorted(files(tmp_path / "out")) == sorted(paths)
    folders = {image_id.rpartition("/")[0] for image_id in image_ids}
    assert len({path.rpartition("/")[0] for path in paths}) == len(folders), "one of each person"


def test_a_whole_export_of_strange_names_comes_out(root: str, tmp_path: Path) -> None:
    names = ["A\x01/1.jpg", "A\x02/1.jpg", "Ann.jpg", "Ann.jpg/b.jpg", f"{LONG}.jpg"]
    photographs = {name: face(n) for n, name in enumerate(names)}
    uri, _ = aligned(root, raw_artifact(root, [photographs]), AlignConfig())
    text = export(uri, tmp_path / "out")
    lines = [line.rsplit(" ", 4)[0] for line in text.read_text().splitlines()]
    crops = [row["image"]["bytes"] for row in rows(uri, "crops")]
    assert [Path(line).read_bytes() for line in lines] == crops
    assert len(crops) == len(names)


@given(st.text())
def test_any_image_id_is_a_path_below_the_folder(image_id: str) -> None:
    path = safe_path(image_id)
    assert path
    assert not path.startswith("/")
    assert not {"", ".", ".."} & set(path.split("/"))
    assert not any(c < " " for c in path)
    assert all(len(name.encode()) <= 255 for name in path.split("/"))


def test_an_export_that_breaks_off_leaves_no_folder_and_can_be_done_again(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _ = aligned(root, raw_artifact(root, [PHOTOGRAPHS]), PNG)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def interrupt(done: int, total: int | None) -> None:
            if done == 2:
                raise KeyboardInterrupt

        patch.chdir(tmp_path)
        export(uri, Path("out"), interrupt)
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*unfinished"))
    export(uri, tmp_path / "out")
    assert len(files(tmp_path / "out")) == 2
    assert [p.name for p in tmp_path.iterdir() if p.name != "store"] == ["out"]


def test_an_export_that_is_there_stays_and_anything_else_is_not_written_over(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, _ = aligned(root, raw_artifact(root, [PHOTOGRAPHS]), PNG)
    empty = tmp_path / "empty"
    empty.mkdir()
    first = export(uri, empty)
    with monkeypatch.context() as patch:
        patch.delattr(exporting, "_write")
        assert export(uri, empty) == first
    other, _ = aligned(root, raw_artifact(root, [PHOTOGRAPHS]), AlignConfig())
    before = files(empty)
    with pytest.raises(StorageError, match="something else already"):
        export(other, empty)
    assert files(empty) == before


def test_boxes_are_clipped_at_the_photographs_edges(root: str, tmp_path: Path) -> None:
    wide = PNG.model_copy(update={"margin": 400})
    uri, _ = aligned(root, raw_artifact(root, [{"Ann/1.jpg": face(0)}]), wide)
    (line,) = export(uri, tmp_path / "out").read_text().splitlines()
    assert line.endswith(" 0 0 250 250")
    (row,) = rows(uri, "crops")
    expected = crop(decode(face(0)), row["box"], 182, 400)
    np.testing.assert_array_equal(decode(row["image"]["bytes"]), expected)
