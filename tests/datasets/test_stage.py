"""Ingest: the same rows from a folder and from any archive, nothing lost, nothing half made."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.config import IngestConfig
from facenet_core.datasets import stage
from facenet_core.errors import SourceError, StorageError
from facenet_core.storage import parquet
from tests.support.ingesting import contents, rows, run
from tests.support.photographs import PEOPLE, files, jpeg, write_folder, write_tar, write_zip

ARCHIVES = {
    "faces.tar": lambda path: write_tar(path, files(), "w"),
    "faces.tgz": lambda path: write_tar(path, files(), "w:gz"),
    "faces.tar.bz2": lambda path: write_tar(path, files(), "w:bz2"),
    "faces.tar.xz": lambda path: write_tar(path, files(), "w:xz"),
    "faces.zip": lambda path: write_zip(path, files()),
}


@pytest.fixture(params=ARCHIVES)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    ARCHIVES[request.param](path)
    return path


def test_a_folder_becomes_raw_rows(root: str, folder: Path) -> None:
    plan, manifest = run(root, folder)
    assert contents((plan, manifest)) == files()
    assert manifest.counts["images"] == 6
    assert manifest.counts["identities"] == len(PEOPLE)
    assert {row["identity"] for row in rows((plan, manifest))} == set(PEOPLE)
    assert plan.uri.startswith(storage.join(root, "raw", "faces"))


def test_an_archive_holds_the_same_rows_as_its_folder(root: str, archive: Path) -> None:
    plan, manifest = run(root, archive)
    assert contents((plan, manifest)) == files()
    assert plan.name == "faces"


def test_the_same_source_gives_the_same_bytes_anywhere(tmp_path: Path, archive: Path) -> None:
    _, one = run(str(tmp_path / "one"), archive, shards=3)
    _, two = run(str(tmp_path / "two"), archive, shards=3)
    assert one.parts == two.parts
    assert one.fingerprint == two.fingerprint


def test_a_folder_that_moved_is_the_same_source(root: str, tmp_path: Path, folder: Path) -> None:
    before = stage.plan_ingest(root, IngestConfig(source=str(folder)))
    (tmp_path / "moved").mkdir()
    folder.rename(tmp_path / "moved" / "faces")
    after = stage.plan_ingest(root, IngestConfig(source=str(tmp_path / "moved" / "faces")))
    assert before.fingerprint == after.fingerprint


def test_a_changed_file_is_another_source(root: str, folder: Path) -> None:
    before = stage.plan_ingest(root, IngestConfig(source=str(folder)))
    (folder / "Ann" / "Ann_0001.jpg").write_bytes(jpeg(99))
    after = stage.plan_ingest(root, IngestConfig(source=str(folder)))
    assert before.fingerprint != after.fingerprint


def test_a_file_put_back_in_time_is_still_seen_to_have_changed(root: str, folder: Path) -> None:
    file = folder / "Ann" / "Ann_0001.jpg"
    before = stage.plan_ingest(root, IngestConfig(source=str(folder)))
    stat = file.stat()
    file.unlink()
    file.write_bytes(bytes(stat.st_size))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = stage.plan_ingest(root, IngestConfig(source=str(folder)))
    assert before.fingerprint != after.fingerprint


def test_shards_are_about_as_many_as_asked_for(root: str, folder: Path) -> None:
    _, manifest = run(root, folder, shards=3)
    shards = [part for part in manifest.parts if part.name.startswith("images/")]
    assert len(shards) == 3
    assert sum(part.rows for part in shards) == 6


def test_shards_stay_few_where_a_source_unpacks_to_much_more(root: str, tmp_path: Path) -> None:
    members = {f"Ann/{n:04d}.jpg": jpeg(n) + bytes(20_000) for n in range(400)}
    _, manifest = run(root, write_tar(tmp_path / "faces.tgz", members), shards=8)
    shards = [part.rows for part in manifest.parts if part.name.startswith("images/")]
    assert sum(shards) == 400
    assert manifest.counts["bytes"] > 50 * (tmp_path / "faces.tgz").stat().st_size
    assert 8 < len(shards) < 30


def test_broken_images_are_taken_and_other_files_skipped_with_a_reason(
    root: str, folder: Path
) -> None:
    write_folder(
        folder,
        {
            "Ann/Ann_0009.jpg": b"a text file by an image's name",
            "Ann/photo-without-extension": jpeg(7),
            "Ann/notes.txt": b"not an image",
            "Ann/empty.jpg": b"",
            "Eve/big.jpg": jpeg(1) + bytes(5000),
        },
    )
    (folder / "Ann" / "link.jpg").symlink_to(folder / "nowhere")
    plan, manifest = run(root, folder, max_image_bytes=4000)
    taken = contents((plan, manifest))
    assert "Ann/Ann_0009.jpg" in taken
    assert "Ann/photo-without-extension" in taken
    skipped = {row["path"]: row["reason"] for row in rows((plan, manifest), "skipped")}
    assert skipped == {
        "Ann/notes.txt": "not_an_image",
        "Ann/empty.jpg": "empty",
        "Eve/big.jpg": "too_many_bytes",
        "Ann/link.jpg": "not_a_file",
    }
    assert manifest.counts["seen"] == manifest.counts["images"] + manifest.counts["skipped"]


def test_hostile_members_are_skipped_with_a_reason(root: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.type, entry.linkname = len(data), kind, "/etc/passwd"
            tar.addfile(entry, io.BytesIO(data))

        add("faces/Ann/Ann_0001.jpg", jpeg(1))
        add("faces/Ann/Ann_0001.jpg", jpeg(2))
        add("/etc/Ann_0002.jpg", jpeg(3))
        add("faces/../../Ann_0003.jpg", jpeg(4))
        add("faces/Ann/link.jpg", kind=tarfile.SYMTYPE)
        add("faces/Ann/hard.jpg", kind=tarfile.LNKTYPE)
        add("faces/Ann/device.jpg", kind=tarfile.CHRTYPE)
    plan, manifest = run(root, path)
    assert contents((plan, manifest)) == {"Ann/Ann_0001.jpg": jpeg(1)}
    reasons = [row["reason"] for row in rows((plan, manifest), "skipped")]
    assert reasons == ["duplicate_name", "unsafe_name", "unsafe_name"] + ["not_a_file"] * 3


def test_names_are_composed_and_need_not_be_utf8(root: str, tmp_path: Path) -> None:
    path = tmp_path / "names.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        for name in ("faces/Zoë/1.jpg", "faces/Ann/./2.jpg"):
            entry = tarfile.TarInfo(name)
            entry.size = len(jpeg(1))
            tar.addfile(entry, io.BytesIO(jpeg(1)))
    plan, manifest = run(root, path)
    assert set(contents((plan, manifest))) == {"Zoë/1.jpg", "Ann/2.jpg"}
    decomposed = write_folder(tmp_path / "folder", {"Zoe\u0308/1.jpg": jpeg(1)})
    assert set(contents(run(root, decomposed))) == {"Zo\u00eb/1.jpg"}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_an_archive_cut_short_is_an_error_and_leaves_no_artifact(
    root: str, archive: Path, share: float
) -> None:
    data = archive.read_bytes()
    if archive.suffix == ".tar":
        data = data.rstrip(b"\0")  # a tar may lose its padding, and nothing is lost
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SourceError, match=r"cut short|damaged"):
        run(root, archive)
    assert not [uri for uri in storage.list_files(root) if uri.endswith(storage.MANIFEST)]


def test_a_tar_that_ends_between_two_members_is_cut_short(root: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tar", files(), "w")
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    path.write_bytes(path.read_bytes()[:third])
    with pytest.raises(SourceError, match="cut short"):
        run(root, path)


def test_a_tar_with_a_damaged_header_is_an_error(root: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tar", files(), "w")
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    data = bytearray(path.read_bytes())
    data[third + 150] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SourceError, match="damaged"):
        run(root, path)


def test_folders_behind_links_are_read(root: str, folder: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"Zed_0001.jpg": jpeg(50)})
    (folder / "Zed").symlink_to(tmp_path / "elsewhere")
    assert "Zed/Zed_0001.jpg" in contents(run(root, folder))
    (folder / "Ann" / "loop").symlink_to(folder)
    with pytest.raises(SourceError, match="reached twice"):
        run(root, folder)


def test_a_storage_root_inside_the_source_is_refused(folder: Path) -> None:
    with pytest.raises(SourceError, match="--storage"):
        run(str(folder / "facenet-store"), folder)


def test_a_source_that_changes_while_it_is_read_leaves_no_artifact(root: str, folder: Path) -> None:
    config = IngestConfig(source=str(folder))
    plan = stage.plan_ingest(root, config)
    (folder / "Eve" / "Eve_0001.jpg").write_bytes(jpeg(77))
    with pytest.raises(SourceError, match="changed while it was read"):
        stage.stream(root, plan, config)
    assert storage.list_files(root) == []


def test_damaged_bytes_inside_an_archive_are_an_error(root: str, tmp_path: Path) -> None:
    for path in (write_tar(tmp_path / "a.tgz", files()), write_zip(tmp_path / "a.zip", files())):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(SourceError):
            run(root, path)


def test_an_encrypted_zip_member_is_skipped(root: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "faces.zip", files())
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1  # the flag in the directory's first entry
    path.write_bytes(data)
    _, manifest = run(root, path)
    assert (manifest.counts["images"], manifest.counts["skipped"]) == (5, 1)


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "no images", "text file"])
def test_a_source_without_images_is_an_error(root: str, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "empty folder":
        source.mkdir()
    elif kind == "no images":
        write_folder(source, {"Ann/notes.txt": b"hello"})
    elif kind == "text file":
        source.write_text("hello")
    with pytest.raises(SourceError, match="source"):
        run(root, source)
    assert not [uri for uri in storage.list_files(root) if uri.endswith(storage.MANIFEST)]


def test_an_interrupted_pass_goes_on_with_the_shards_that_are_there(
    root: str, folder: Path
) -> None:
    config = IngestConfig(source=str(folder), shards=3)
    plan = stage.plan_ingest(root, config)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done == 5:
            raise Stopped

    with pytest.raises(Stopped):
        stage.stream(root, plan, config, stop)
    first = Path(storage.join(plan.uri, "images", parquet.part_name(0)))
    before = first.stat().st_ino, first.stat().st_mtime_ns
    assert len(list(first.parent.iterdir())) == 2  # the third shard was not finished
    stage.finish(plan, stage.stream(root, plan, config), {})
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == before
    assert contents((plan, storage.open_artifact(plan.uri, "ingest"))) == files()


def test_an_archive_in_object_storage_is_read_from_there(bucket: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tgz", files())
    storage.copy_file(path, storage.join(bucket, "faces.tgz"))
    plan, manifest = run(bucket, storage.join(bucket, "faces.tgz"))
    assert contents((plan, manifest)) == files()
    local, _ = run(str(tmp_path / "store"), path)
    assert plan.fingerprint == local.fingerprint


@pytest.mark.parametrize("name", ["faces.tgz", "faces.zip", "faces.tar.xz"])
def test_storage_that_fails_for_a_while_is_not_damage(
    root: str, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    ARCHIVES[name](path)
    config = IngestConfig(source=str(path), shards=3)
    plan = stage.plan_ingest(root, config)

    class Failing(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            if self.tell() > 512:
                raise TimeoutError("the store does not answer")
            return super().read(size)

    @contextmanager
    def failing(uri: str) -> Iterator[io.FileIO]:
        with Failing(uri) as file:
            yield file

    with monkeypatch.context() as patched:
        patched.setattr(storage, "open_input", failing)
        with pytest.raises(StorageError, match="cannot be read") as failure:
            stage.stream(root, plan, config)
    assert failure.value.retryable
    assert stage.stream(root, plan, config).counts["images"] == 6


def test_synthetic_shards_join_to_the_same_rows_in_any_number(tmp_path: Path) -> None:
    results = []
    for shards in (1, 3):
        config = IngestConfig(identities=2, images_per_identity=3, shards=shards)
        plan = stage.plan_ingest(str(tmp_path / str(shards)), config)
        parts = [stage.draw_shard(plan, number) for number in range(shards)]
        manifest = stage.finish(plan, stage.join_shards(plan, parts), {})
        assert manifest.counts["images"] == 6
        results.append(rows((plan, manifest)))
    assert results[0] == results[1]


def test_a_zip_whose_directory_lies_about_sizes_does_not_fill_memory(
    root: str, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("faces/Ann/bomb.jpg", bytes(50_000_000))
        archive.writestr("faces/Ann/Ann_0001.jpg", jpeg(1))
    _, manifest = run(root, path, max_image_bytes=100_000)
    assert (manifest.counts["images"], manifest.counts["skipped"]) == (1, 1)
