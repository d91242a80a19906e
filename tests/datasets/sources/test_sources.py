"""Every kind of source gives the same photographs: nested archives, buckets, tables, records."""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facenet_core import storage
from facenet_core.datasets import memo
from facenet_core.datasets.sources.recordio import MAGIC
from facenet_core.errors import ConfigError, FacenetError, SourceError, StorageError
from facenet_core.privacy import url_secrets
from facenet_core.storage import parquet as records
from tests.support.ingesting import contents, identities, manifests, run, skipped
from tests.support.photographs import files, jpeg, write_folder, write_tar, write_zip


def zstd(path: Path, data: bytes) -> Path:
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream:
        stream.write(data)
    return path


def test_a_tar_compressed_with_zstandard(root: str, tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", files(), "w").read_bytes()
    assert contents(run(root, zstd(tmp_path / "faces.tar.zst", tar))) == files()


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_zstandard_stream_cut_short_is_an_error(root: str, tmp_path: Path, share: float) -> None:
    tar = write_tar(tmp_path / "a.tar", files(), "w").read_bytes()
    path = zstd(tmp_path / "faces.tar.zst", tar)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(SourceError, match=r"cut short|damaged"):
        run(root, path)


# --- Archives in archives and folders ---------------------------------------------------------


def vggface2(folder: Path) -> Path:
    """Two archives beside one another, as VGGFace2 was given out."""
    folder.mkdir()
    train = {f"n000001/{n:04d}_01.jpg": jpeg(n) for n in range(3)}
    test = {f"n000009/{n:04d}_01.jpg": jpeg(n + 10) for n in range(2)}
    write_tar(folder / "vggface2_train.tar.gz", train, top="train")
    write_zip(folder / "vggface2_test.zip", test, top="test")
    (folder / "readme.txt").write_text("VGGFace2")
    return folder


def archived(folder: Path, kind: str) -> Path:
    members = {path.name: path.read_bytes() for path in folder.iterdir()}
    if kind == "folder":
        return folder
    if kind == "zip":
        return write_zip(folder.with_suffix(".zip"), members)
    return write_tar(folder.with_suffix(".tgz"), members)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_archives_inside_a_source_are_read_in_place(root: str, tmp_path: Path, kind: str) -> None:
    artifact = run(root, archived(vggface2(tmp_path / "vggface2"), kind))
    people = identities(artifact)
    assert len(people) == 5
    assert set(people.values()) == {"n000001", "n000009"}
    assert any(image.endswith("vggface2_train/train/n000001/0000_01.jpg") for image in people)
    assert list(skipped(artifact).values()) == ["not_an_image"]


def test_folders_with_signs_of_patterns_in_their_names(root: str, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "[2024] *", files())
    assert contents(run(root, source)) == files()


def test_an_archive_of_one_person_names_the_person(root: str, tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    for person in ("Ann", "Bob"):
        write_tar(tmp_path / "people" / f"{person}.tar", {"1.jpg": jpeg(1)}, "w", top="")
    assert identities(run(root, tmp_path / "people")) == {"Ann/1.jpg": "Ann", "Bob/1.jpg": "Bob"}


def test_archives_three_deep_are_skipped(root: str, tmp_path: Path) -> None:
    inner = write_tar(tmp_path / "c.tar", files(), "w").read_bytes()
    middle = write_tar(tmp_path / "b.tar", {"c.tar": inner, "Ann/1.jpg": jpeg(1)}, "w").read_bytes()
    outer = write_tar(tmp_path / "a.tar", {"b.tar": middle}, "w")
    artifact = run(root, outer)
    assert list(contents(artifact).values()) == [jpeg(1)]
    assert list(skipped(artifact).values()) == ["nested_archive"]


def test_a_broken_archive_inside_a_source_is_an_error(root: str, tmp_path: Path) -> None:
    folder = vggface2(tmp_path / "vggface2")
    train = folder / "vggface2_train.tar.gz"
    train.write_bytes(train.read_bytes()[:200])
    with pytest.raises(SourceError, match=r"vggface2_train\.tar\.gz"):
        run(root, folder)
    assert manifests(root) == []


# --- Object storage ---------------------------------------------------------------------------


def test_images_below_a_prefix_of_a_bucket(root: str, bucket: str, tmp_path: Path) -> None:
    prefix = storage.join(bucket, "people")
    for name, data in {**files(), "notes.txt": b"hello", "Ann/big.jpg": bytes(5000)}.items():
        storage.write_bytes(storage.join(prefix, name), data)
    artifact = run(root, prefix, max_image_bytes=4000)
    assert contents(artifact) == files()
    assert skipped(artifact) == {"notes.txt": "not_an_image", "Ann/big.jpg": "too_many_bytes"}
    again = run(str(tmp_path / "other"), prefix, max_image_bytes=4000)
    assert again[1].parts == artifact[1].parts
    storage.write_bytes(storage.join(prefix, "Ann/Ann_0001.jpg"), jpeg(99))
    assert run(root, prefix)[0].fingerprint != artifact[0].fingerprint


def test_a_bucket_that_is_not_there_is_a_clear_error(root: str, s3_server: str) -> None:
    with pytest.raises(FacenetError, match="s3://no-such-bucket/faces"):
        run(root, "s3://no-such-bucket/faces")


# --- Parquet ----------------------------------------------------------------------------------


def hugging_face(folder: Path) -> Path:
    """As `datasets` writes it: two shards, pictures as structs, class labels."""
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["Bob", "Ann"])}
    )
    for shard, people in enumerate(([1, 1, 0], [0, 1])):
        pictures = [{"bytes": jpeg(10 * shard + n), "path": "a.jpg"} for n in range(len(people))]
        table = datasets.Dataset.from_dict({"image": pictures, "label": people}, features=features)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        table.to_parquet(folder / "data" / f"train-0000{shard}-of-00002.parquet")
    return folder


def test_a_hugging_face_data_set_image_for_image(root: str, tmp_path: Path) -> None:
    artifact = run(root, hugging_face(tmp_path / "hf"))
    assert list(contents(artifact).values()) == [jpeg(0), jpeg(1), jpeg(2), jpeg(10), jpeg(11)]
    assert list(identities(artifact).values()) == ["Ann", "Ann", "Bob", "Bob", "Ann"]
    assert "Ann/00000001.jpg" in contents(artifact)


def test_a_table_with_columns_of_other_names(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    table = {"thumb": [b"x"], "photo": [jpeg(1)], "who": [7]}
    pq.write_table(pa.table(table), path)
    with pytest.raises(ConfigError, match=r"thumb, photo, who; name one with --image-column"):
        run(root, path)
    artifact = run(root, path, image_column="photo", identity_column="who")
    assert identities(artifact) == {"7/00000000.jpg": "7"}
    with pytest.raises(ConfigError, match="--identity-column"):
        run(root, path, image_column="photo", identity_column="whom")


def test_columns_of_what_is_no_table_are_said_to_have_no_effect(
    root: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(root, folder, image_column="photo", identities=3)
    assert [message.split(":")[0] for message in caplog.messages] == [
        "identities has no effect",
        "image_column has no effect",
    ]


def test_rows_without_a_picture_or_an_identity_are_skipped(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    table = {"image": [None, jpeg(1), jpeg(2), jpeg(3)], "label": ["Ann", None, "Ann", ""]}
    pq.write_table(pa.table(table), path)
    artifact = run(root, path)
    assert list(identities(artifact).values()) == ["Ann"]
    assert sorted(skipped(artifact).values()) == ["no_content", "no_identity", "no_identity"]


def test_numbers_may_be_the_ids_of_a_table(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    table = {"image_id": [1, 2], "image": [jpeg(1), jpeg(2)], "label": ["Ann", "Bob"]}
    pq.write_table(pa.table(table), path)
    assert identities(run(root, path)) == {"1": "Ann", "2": "Bob"}


def test_an_identity_is_one_person_however_its_letters_are_composed(
    root: str, tmp_path: Path
) -> None:
    path = tmp_path / "faces.parquet"
    table = {"image": [jpeg(1), jpeg(2)], "identity": ["Zo\u00eb", "Zoe\u0308"]}
    pq.write_table(pa.table(table), path)
    plan, manifest = run(root, path)
    assert set(identities((plan, manifest)).values()) == {"Zo\u00eb"}
    assert manifest.counts["identities"] == 1


def test_a_class_label_may_be_half_a_pair_of_surrogates(root: str, tmp_path: Path) -> None:
    features = {"label": {"names": ["Ann", "\ud800"]}}
    table = pa.table({"image": [jpeg(1), jpeg(2)], "label": [0, 1]})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "faces.parquet")
    people = identities(run(root, tmp_path / "faces.parquet"))
    assert set(people.values()) == {"Ann", "&#55296;"}


def test_a_column_without_pictures_is_refused(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"url": ["https://x"], "label": ["Ann"]}), path)
    with pytest.raises(ConfigError, match="column url holds string, no pictures"):
        run(root, path, image_column="url")


def test_raw_shards_can_be_ingested_again(root: str, folder: Path) -> None:
    first = run(root, folder)
    again = run(root, storage.join(first[0].uri, "images"), name="again")
    assert contents(again) == files()
    assert identities(again) == identities(first)


# As a bug in pyarrow would, in the second file of a data set; children import it when they start.
BUG = """
import os, signal
import pyarrow.parquet as pq

def die(self, *args, **options):
    if self.metadata.num_rows == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    return iter_batches(self, *args, **options)

iter_batches, pq.ParquetFile.iter_batches = pq.ParquetFile.iter_batches, die
"""


def test_a_table_that_crashes_its_reader_is_named(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = hugging_face(tmp_path / "hf")
    (tmp_path / "sitecustomize.py").write_text(BUG)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SourceError, match=r"train-00001-of-00002\.parquet: .* died \(SIGSEGV\)"):
        run(root, source)


def test_where_the_reader_failed_is_told_beside_its_error(root: str, tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    path.write_bytes(b"PAR1, and no table")
    with pytest.raises(SourceError, match="damaged, or not a Parquet file") as caught:
        run(root, path)
    assert "in read" in "".join(caught.value.__notes__)


def test_no_credentials_are_told_beside_an_error(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "http://ann:pass-word@faces.example/f.parquet"
    url_secrets.hide(secret)
    patch = (
        f"import pyarrow.parquet as pq\npq.ParquetFile = lambda *a, **o: 1 / len('{secret}' and '')"
    )
    (tmp_path / "sitecustomize.py").write_text(patch)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "faces.parquet"
    pq.write_table(pa.table({"image": [jpeg(1)], "label": ["Ann"]}), path)
    with pytest.raises(SourceError) as caught:
        run(root, path)
    (note,) = caught.value.__notes__
    assert "ZeroDivisionError" in note
    assert "pass-word" not in note


def test_no_reader_outlives_an_error(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: records.PartWriter, row: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "faces.parquet"
    many = 5000  # more than a pipe holds
    pq.write_table(pa.table({"image": [jpeg(1)] * many, "label": ["Ann"] * many}), path)
    monkeypatch.setattr(records.PartWriter, "write", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        run(root, path)
    assert caught.tb is not None  # which still holds all that was under way
    readers = [child for child in psutil.Process().children() if "sources.apart" in command(child)]
    assert not readers


def command(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline())
    return ""


# --- InsightFace's records --------------------------------------------------------------------


def record(number: int, label: float, picture: bytes, labels: tuple[float, ...] = ()) -> bytes:
    """One record as MXNet writes it: in pieces where the data holds the magic number, aligned."""
    header = struct.pack("<IfQQ", len(labels), label, number, 0)
    data = header + struct.pack(f"<{len(labels)}f", *labels) + picture
    magic = struct.pack("<I", MAGIC)
    pieces, start = [], 0
    for path in range(0, len(data) - 3, 4):
        if data[path : path + 4] == magic:
            pieces.append(data[start:path])
            start = path + 4
    pieces.append(data[start:])
    written = b""
    for index, piece in enumerate(pieces):
        kind = 0 if len(pieces) == 1 else 1 if index == 0 else 3 if piece is pieces[-1] else 2
        written += magic + struct.pack("<I", kind << 29 | len(piece)) + piece
        written += bytes(-len(piece) % 4)
    return written


def insightface(folder: Path, pictures: list[tuple[int, bytes]], two_labels: bool = False) -> Path:
    """`train.rec`, `train.idx` and `property`, with the records of identities at the end."""
    folder.mkdir()
    records = [
        record(n, label, data, (label, 0.0) if two_labels else ())
        for n, (label, data) in enumerate(pictures, 1)
    ]
    people = sorted({label for label, _ in pictures})
    end = len(pictures) + 1
    for number, label in enumerate(people, end):
        mine = [n for n, (who, _) in enumerate(pictures, 1) if who == label]
        records.append(record(number, label, b"", (mine[0], mine[-1] + 1)))
    records.insert(0, record(0, 0, b"", (end, end + len(people))))
    path, index = 0, []
    for number, written in enumerate(records):
        index.append(f"{number}\t{path}")
        path += len(written)
    (folder / "train.rec").write_bytes(b"".join(records))
    (folder / "train.idx").write_text("\n".join(index) + "\n")
    (folder / "property").write_text(f"{len(people)},24,24\n")
    return folder


def tricky(seed: int) -> bytes:
    """A picture with the magic number in its comment, at every place modulo 4."""
    with_magic = b"".join(struct.pack("<I", MAGIC) + b"." for _ in range(4))
    comment = b"\xff\xfe" + struct.pack(">H", 2 + len(with_magic)) + with_magic
    picture = jpeg(seed)
    return picture[:2] + comment + picture[2:]


@pytest.mark.parametrize("two_labels", [False, True])
def test_insightface_records_image_for_image(root: str, tmp_path: Path, two_labels: bool) -> None:
    pictures = [(0, jpeg(1)), (0, tricky(2)), (12, tricky(3)), (12, jpeg(4))]
    source = insightface(tmp_path / "faces_webface", pictures, two_labels)
    artifact = run(root, source)
    assert list(contents(artifact).values()) == [data for _, data in pictures]
    assert identities(artifact) == {
        "0000000/00000001.jpg": "0000000",
        "0000000/00000002.jpg": "0000000",
        "0000012/00000003.jpg": "0000012",
        "0000012/00000004.jpg": "0000012",
    }
    assert artifact[0].name == "faces_webface"
    zipped = write_zip(
        tmp_path / "faces_webface.zip",
        {path.name: path.read_bytes() for path in source.iterdir()},
        top="faces_webface",
    )
    assert list(contents(run(root, zipped)).values()) == [data for _, data in pictures]


@pytest.mark.parametrize("label", [float("nan"), float("inf"), -1.0, 0.5])
def test_a_label_that_is_none_is_skipped(root: str, tmp_path: Path, label: float) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(record(1, 3, jpeg(1)) + record(2, label, jpeg(2)))
    artifact = run(root, path)
    assert list(identities(artifact).values()) == ["0000003"]
    assert skipped(artifact) == {"record-2": "no_identity"}


@pytest.mark.parametrize("damage", ["cut", "cut between records", "flipped", "index too long"])
def test_damaged_records_are_an_error(root: str, tmp_path: Path, damage: str) -> None:
    source = insightface(tmp_path / "faces", [(0, jpeg(1)), (1, jpeg(2))])
    rec, idx = source / "train.rec", source / "train.idx"
    data = rec.read_bytes()
    offsets = [int(line.split()[1]) for line in idx.read_text().splitlines()]
    if damage == "cut":
        rec.write_bytes(data[: offsets[2] + 100])
    elif damage == "cut between records":
        idx.unlink()
        rec.write_bytes(data[: offsets[2]])
    elif damage == "flipped":
        rec.write_bytes(data[: offsets[2]] + b"\0" + data[offsets[2] + 1 :])
    else:
        idx.write_text(idx.read_text() + "9\t999999\n")
    with pytest.raises(SourceError, match=r"train\.rec: cut short or damaged"):
        run(root, rec)
    assert manifests(root) == []


# --- Files of operating systems and file servers ----------------------------------------------

SYSTEM_FILES = {
    "Ann/._Ann_0001.jpg": b"\0\5\x16\7 as macOS writes beside each file",
    "._faces.tgz": b"\0\5\x16\7",
    "._train.rec": b"\0\5\x16\7",
    "__MACOSX/Ann/._Ann_0001.jpg": b"\0\5\x16\7",
    "Ann/.DS_Store": b"\0\0\0\1Bud1",
    "Eve/@eaDir/Eve_0001.jpg/SYNOPHOTO_THUMB_M.jpg": jpeg(9),
    "Eve/Thumbs.db": b"\xd0\xcf\x11\xe0",
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "bucket"])
def test_system_files_are_nobodys_photographs(
    root: str, folder: Path, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    everything = {**files(), **SYSTEM_FILES}
    source: Path | str = write_folder(folder, SYSTEM_FILES)
    if kind == "zip":
        source = write_zip(tmp_path / "faces.zip", everything)
    elif kind == "tar":
        source = write_tar(tmp_path / "faces.tgz", everything)
    elif kind == "bucket":
        source = request.getfixturevalue("bucket")
        for name, data in everything.items():
            storage.write_bytes(storage.join(source, name), data)
    artifact = run(root, source, strict=True)
    assert contents(artifact) == files()
    assert set(skipped(artifact).values()) == {"system_file"}
    assert len(skipped(artifact)) == len(SYSTEM_FILES)


def test_system_files_do_not_change_what_a_folder_is(root: str, tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "hf")
    for name in ("._train-00000-of-00002.parquet", "._preview.jpg"):
        (folder / "data" / name).write_bytes(b"\0\5\x16\7")
    assert len(contents(run(root, folder))) == 5


# --- Lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path,identity\nAnn/Ann_0001.jpg,A\nEve/Eve_0001.jpg,E\n",
        "identity,image,score\nA,Ann/Ann_0001.jpg,1\nE,Eve/Eve_0001.jpg,2\n",
        'Ann/Ann_0001.jpg,A\n\n"Eve/Eve_0001.jpg",E\n',
        "\ufeffAnn/Ann_0001.jpg,A\r\nEve/Eve_0001.jpg,E\r\n",
    ],
)
def test_a_list_of_paths_and_identities(root: str, folder: Path, text: str) -> None:
    (folder / "list.csv").write_text(text, newline="")
    assert identities(run(root, folder / "list.csv")) == {
        "Ann/Ann_0001.jpg": "A",
        "Eve/Eve_0001.jpg": "E",
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("list.csv", b"path;identity\r\nAnn\\Ann_0001.jpg;A\r\nEve\\Eve_0001.jpg;E\r\n"),
        ("list.csv", b"Ann\\Ann_0001.jpg;A\r\nEve\\Eve_0001.jpg;E\r\n"),
        ("list.csv", b"Ann/Ann_0001.jpg\tA\nEve/Eve_0001.jpg\tE\n"),
        ("list.tsv", "Ann\\Ann_0001.jpg\tA\r\nEve\\Eve_0001.jpg\tE\r\n".encode("utf-16")),
    ],
)
def test_a_list_may_be_written_on_windows(root: str, folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    assert identities(run(root, folder / name)) == {
        "Ann/Ann_0001.jpg": "A",
        "Eve/Eve_0001.jpg": "E",
    }


def test_a_list_in_another_encoding_is_refused_with_a_remedy(root: str, folder: Path) -> None:
    (folder / "list.csv").write_bytes("Ann/Ann_0001.jpg,Zoë\n".encode("cp1252"))
    with pytest.raises(SourceError, match=r"list.csv: not a text file in UTF-8.*`CSV UTF-8`"):
        run(root, folder / "list.csv")


@pytest.mark.parametrize("path", ["../faces/Ann/Ann_0001.jpg", "/{folder}/Ann/Ann_0001.jpg"])
def test_a_list_may_lie_elsewhere(root: str, folder: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "lists").mkdir()
    listed = path.format(folder=str(folder).lstrip("/"))
    (tmp_path / "lists" / "train.csv").write_text(f"{listed},A\n")
    [image] = contents(run(root, tmp_path / "lists" / "train.csv"))
    assert image.endswith("faces/Ann/Ann_0001.jpg")
    assert not image.startswith(("/", "."))


def test_a_line_of_a_list_without_its_path_is_an_error(root: str, folder: Path) -> None:
    (folder / "list.csv").write_text("identity,path\nAnn\n")
    with pytest.raises(SourceError, match="line 2: 1 columns, expected 2"):
        run(root, folder / "list.csv")


def test_a_list_may_name_files_anywhere(
    root: str, folder: Path, tmp_path: Path, bucket: str
) -> None:
    storage.write_bytes(storage.join(bucket, "Zed.jpg"), jpeg(7))
    lines = [f"{folder}/Ann/Ann_0001.jpg\tA", f"{bucket}/Zed.jpg\tZ", "nowhere.jpg\tN"]
    path = tmp_path / "list.tsv"
    path.write_text("\n".join(lines))
    artifact = run(root, path)
    assert sorted(identities(artifact).values()) == ["A", "Z"]
    assert skipped(artifact) == {"nowhere.jpg": "missing"}
    before = artifact[0].fingerprint
    (folder / "Ann" / "Ann_0001.jpg").write_bytes(jpeg(8))
    assert run(root, path)[0].fingerprint != before


# --- Who it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", [r"^([a-z]+)_", r"(?P<identity>[a-z]+)_(\d+)\.jpg$"])
def test_an_identity_pattern_reads_file_names(root: str, tmp_path: Path, pattern: str) -> None:
    names = ("ann_1.jpg", "ann_2.jpg", "bob_1.jpg", "7.jpg")
    flat = write_folder(tmp_path / "flat", {name: jpeg(n) for n, name in enumerate(names)})
    artifact = run(root, flat, identity_pattern=pattern)
    assert list(identities(artifact).values()) == ["ann", "ann", "bob"]
    assert skipped(artifact) == {"7.jpg": "no_identity"}
    assert artifact[0].fingerprint != run(root, flat)[0].fingerprint


@pytest.mark.parametrize(
    ("pattern", "message"), [("([", "not a valid regular expression"), ("a+", "group")]
)
def test_a_wrong_identity_pattern_is_a_clear_error(
    root: str, folder: Path, pattern: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(root, folder, identity_pattern=pattern)


def test_a_memo_that_another_process_holds_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(memo, "_PATIENCE", 0.01)
    file = tmp_path / "faces.tar"
    file.write_bytes(b"faces")
    assert memo.file_sha256(file) == hashlib.sha256(b"faces").hexdigest()
    (database,) = tmp_path.rglob("sha256.sqlite")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        file.write_bytes(b"other faces")
        assert memo.file_sha256(file) == hashlib.sha256(b"other faces").hexdigest()
        with closing(memo.Memo()) as stock, pytest.raises(StorageError, match="holds it"):
            stock.forget("Ann_Lee")  # not silently
