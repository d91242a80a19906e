"""Forgetting a person: nothing of them stays, all others do, no rerun brings them back."""

from __future__ import annotations

from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.alignment import stage as shard
from facenet_core.cache import cache_folder
from facenet_core.config import IngestConfig
from facenet_core.datasets import stage as ingest
from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.housekeeping import inventory, objects, verification
from facenet_core.privacy import deny_list
from facenet_core.privacy.forget import carry_out, plan_forgetting
from facenet_core.storage import parquet, schemas
from tests.support.embedding import embedded, rows
from tests.support.small_artifacts import publish_model
from tests.support.stored import (
    CONFIG,
    PEOPLE,
    PHOTOGRAPHS,
    Site,
    aligned,
    ingested,
    published,
    report_of,
    table,
    tree,
    write_archive,
)

ANN = PEOPLE[0]
EACH = PHOTOGRAPHS + 1  # with the broken one


def forget(root: str, identity: str = ANN, **options: bool) -> list[str]:
    return carry_out(plan_forgetting(root, identity), **options)


def others(rows: list[dict]) -> list[dict]:
    return [row for row in rows if row["identity"] != ANN]


def test_a_person_is_taken_out_and_everybody_else_stays(anywhere: Site) -> None:
    before = {name: table(anywhere.raw, name) for name in ("images", "skipped")}
    before |= {name: table(anywhere.crops, name) for name in ("crops", "rejects")}
    raw, crops = forget(anywhere.root)
    assert table(raw, "images") == others(before["images"])
    assert table(crops, "crops") == others(before["crops"])
    assert table(crops, "rejects") == others(before["rejects"])
    assert {row["path"].split("/")[1] for row in table(raw, "skipped")} == set(PEOPLE) - {ANN}
    assert not storage.exists(anywhere.raw)
    assert not storage.exists(anywhere.crops)
    counts = storage.open_artifact(raw, "ingest").counts
    assert (counts["seen"], counts["images"], counts["skipped"], counts["redacted"]) == (
        len(PEOPLE) * (EACH + 1),
        len(PEOPLE) * EACH - EACH,
        len(PEOPLE) - 1,
        EACH + 1,
    )
    assert storage.open_artifact(crops, "align").counts["redacted"] == EACH
    stock = inventory.take(anywhere.root)
    assert [a.uri for a in stock.artifacts] == [raw, crops]
    assert verification.verify(stock.artifacts).damages == ()


def test_a_rerun_finds_what_was_written_and_does_nothing(anywhere: Site) -> None:
    raw, crops = forget(anywhere.root)
    before = tree(anywhere.root)
    assert ingested(anywhere.root, anywhere.archive) == raw
    assert aligned(anywhere.root, raw) == crops
    assert tree(anywhere.root) == before


def test_what_is_written_is_what_ingest_would_make_byte_for_byte(site: Site) -> None:
    [raw, _] = forget(site.root)
    written, manifest = tree(raw), storage.read_manifest(raw)
    objects.remove_folder(raw)
    assert ingested(site.root, site.archive) == raw
    again = storage.read_manifest(raw)
    assert manifest
    assert again
    assert (again.parts, again.counts) == (manifest.parts, manifest.counts)
    assert {name for name, digest in tree(raw).items() if written[name] != digest} == {"/run.json"}


def test_nothing_takes_the_person_in_again(site: Site, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    theirs = ingested(elsewhere, write_archive(tmp_path / "more.tar", (ANN, "Eve")))
    forget(site.root)
    mine = ingested(site.root, tmp_path / "more.tar")
    assert {row["identity"] for row in table(mine, "images")} == {"Eve"}
    crops = aligned(site.root, theirs)  # photographs of another root, where nobody was forgotten
    assert {row["identity"] for row in table(crops, "crops")} == {"Eve"}
    counts = storage.open_artifact(crops, "align").counts
    assert counts["redacted"] == EACH
    assert counts["images"] == counts["aligned"] + counts["rejects"] == EACH


def test_the_file_and_the_manifests_do_not_name_the_person(site: Site) -> None:
    forget(site.root)
    for uri in storage.list_files(site.root):
        if uri.endswith(".json"):
            assert ANN.encode() not in storage.read_bytes(uri)


def test_artifacts_without_the_person_keep_their_fingerprints(site: Site, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "more.tar", ("Eve", "Fay"))
    raw = ingested(site.root, archive)
    crops = aligned(site.root, raw)
    before = tree(raw) | tree(crops)
    forget(site.root)
    forget(site.root, "Bob_Ó_Sé")
    assert tree(raw) | tree(crops) == before
    assert (ingested(site.root, archive), aligned(site.root, raw)) == (raw, crops)


def test_people_are_forgotten_one_after_another(site: Site) -> None:
    forget(site.root)
    raw, crops = forget(site.root, PEOPLE[1])
    assert {row["identity"] for row in table(crops, "crops")} == set(PEOPLE[2:])
    assert storage.open_artifact(raw, "ingest").counts["redacted"] == 2 * (EACH + 1)
    assert ingested(site.root, site.archive) == raw
    assert aligned(site.root, raw) == crops
    assert len(inventory.take(site.root).artifacts) == 2


def test_synthetic_people_can_be_forgotten_too(root: str) -> None:
    options = {"identities": 3, "images_per_identity": 2}
    ingested(root, "synthetic", **options)
    [raw] = forget(root, "Synthetic_00001")
    written = storage.read_manifest(raw)
    objects.remove_folder(raw)
    assert ingested(root, "synthetic", **options) == raw
    again = storage.read_manifest(raw)
    assert written
    assert again
    assert (written.parts, written.counts) == (again.parts, again.counts)
    assert again.counts["redacted"] == 2


@pytest.mark.parametrize("stop_after", [0, 1, 4, 9, 16, 21, 25])
def test_forgetting_that_was_interrupted_goes_on(
    site: Site, stop_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(stop_after))
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)  # at the end of each file written, and for each one removed
        if next(steps, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            forget(site.root)
    for artifact in inventory.take(site.root).artifacts:
        assert artifact.state != "damaged"
    forget(site.root)
    raw = ingested(site.root, site.archive)
    crops = aligned(site.root, raw)
    stock = inventory.take(site.root)
    assert [a.uri for a in stock.artifacts if a.state == "finished"] == [raw, crops]
    for uri in storage.list_files(site.root):  # an interrupted removal may leave others' parts
        if uri.endswith(".parquet") and "/skipped/" not in uri:
            assert ANN not in parquet.read_table(uri, ["identity"])["identity"].to_pylist()
    assert {row["identity"] for row in table(crops, "crops")} == set(PEOPLE) - {ANN}


def test_unfinished_work_that_holds_the_person_is_removed(site: Site) -> None:
    for uri in (site.raw, site.crops):
        objects.remove(uri, [storage.MANIFEST])
    half = storage.join(site.root, "crops/other/0123456789abcdef")
    rows = [{"image_id": "Eve/1.jpg", "identity": "Eve", "reason": "no_face", "detail": "none"}]
    with parquet.PartWriter(f"{half}/rejects/part-00000.parquet", schemas.REJECTS, "x") as part:
        part.write(rows[0])
    forget(site.root)
    assert [a.uri for a in inventory.take(site.root).artifacts] == [half]


def test_a_stage_that_began_before_does_not_publish(site: Site, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "more.tar", (ANN, "Eve"))
    config = IngestConfig(source=str(archive))
    plan = ingest.plan_ingest(site.root, config)
    written = ingest.stream(site.root, plan, config)
    raw = storage.open_artifact(site.raw, "ingest")
    crops_plan = shard.plan_align(site.root, raw, CONFIG.model_copy(update={"margin": 9}))
    shards = [
        shard.align_shard(crops_plan, part, number, CONFIG)
        for number, part in enumerate(raw.part_uris("images"))
    ]
    forget(site.root)
    with pytest.raises(ArtifactError, match=r"somebody was forgotten .* run it again"):
        ingest.finish(plan, written, {})
    with pytest.raises(ArtifactError, match="somebody was forgotten"):
        shard.finish(crops_plan, raw, shards, {})


def test_models_and_reports_are_named_and_removed_on_request(site: Site) -> None:
    theirs = published(site.root, "train", "theirs", [site.crops], details={"labels": [ANN, "Eve"]})
    child = published(site.root, "train", "child", [theirs], details={"labels": ["Eve"]})
    stranger = published(site.root, "train", "stranger", details={"labels": ["Eve"]})
    report_uri = report_of(site.root, site.crops, stranger, [ANN, ANN, "Eve"])
    harmless = published(site.root, "validate", "harmless", [stranger])
    plan = plan_forgetting(site.root, ANN)
    reasons = {one.artifact.uri: one.why for one in plan.affected}
    assert set(reasons) == {theirs, child, report_uri}
    assert "trained on the person" in reasons[theirs]
    assert "goes on from models/theirs/" in reasons[child]
    assert "2 embeddings" in reasons[report_uri]
    carry_out(plan)
    assert all(storage.read_manifest(uri) for uri in (theirs, child, report_uri, harmless))
    forget(site.root, delete_affected=True)
    left = {a.uri for a in inventory.take(site.root).artifacts if a.stage in ("train", "validate")}
    assert left == {stranger, harmless}


def test_embeddings_are_written_again_without_the_person(site: Site) -> None:
    model = publish_model(site.root, "linear")
    before = embedded(site.root, site.crops, model, use_flipped_images=True)
    every = rows(before)
    expected = [row for row in every if row["identity"] != ANN]
    _, crops, uri = forget(site.root)
    assert storage.read_manifest(before.uri) is None
    artifact = storage.open_artifact(uri, "embed")
    assert rows(artifact) == expected
    assert artifact.counts["redacted"] == len(every) - len(expected) > 0
    assert [source.uri for source in artifact.inputs] == [crops, model]
    assert ANN not in tree(uri)
    # The stage finds it, and would make the same.
    assert embedded(site.root, crops, model, use_flipped_images=True).uri == uri
    assert verification.verify(inventory.take(site.root).artifacts).damages == ()


def test_unfinished_embeddings_that_hold_the_person_are_removed(site: Site) -> None:
    artifact = embedded(site.root, site.crops, publish_model(site.root, "linear"))
    storage.remove(artifact.file_uri(storage.MANIFEST))
    plan = plan_forgetting(site.root, ANN)
    assert [removed.uri for removed, _ in plan.removed] == [artifact.uri]
    carry_out(plan)
    assert not storage.exists(artifact.uri)


def test_copies_of_photographs_and_crops_go_too(site: Site) -> None:
    copies = [cache_folder() / "crops" / "some.arrow", cache_folder() / "faces" / "some.faiss"]
    for copy in copies:
        storage.write_bytes(str(copy), b"crops or their embeddings")
    remembered = f".prefect/shards/align/{site.crops.rsplit('/', 1)[-1]}/00000"
    storage.write_bytes(storage.join(site.root, remembered), b"{}")
    download = storage.join(site.root, "downloads/more/more.tar")
    archive = write_archive(Path(site.root).parent / "more.tar", (ANN, "Eve"))
    storage.copy_file(archive, download)
    storage.write_bytes(f"{download}.json", b"{}")
    config = IngestConfig(source=download)
    plan = ingest.plan_ingest(site.root, config)
    remaining = ingest.Stored(download, "http://example.org/more.tar", 1, "")
    ingest.finish(plan, ingest.stream(site.root, plan, config), {}, [remaining])
    forget(site.root)
    assert not any(copy.exists() for copy in copies)
    for name in (remembered, "downloads/more/more.tar", "downloads/more/more.tar.json"):
        assert not storage.exists(storage.join(site.root, name))


def test_a_name_that_is_nowhere_is_kept_out_all_the_same(site: Site) -> None:
    plan = plan_forgetting(site.root, "ann lee")
    assert plan.nowhere
    assert plan.similar == (ANN,)
    before = tree(site.raw)
    carry_out(plan)
    assert tree(site.raw) == before
    assert deny_list.read(site.root).covers("ann lee")


def test_a_name_is_the_same_however_its_accents_are_encoded(site: Site) -> None:
    decomposed = "Bob_O\u0301_Se\u0301"
    [raw, _] = forget(site.root, decomposed)
    assert {row["identity"] for row in table(raw, "images")} == set(PEOPLE) - {"Bob_Ó_Sé"}


def test_nobody_is_no_name(site: Site) -> None:
    with pytest.raises(ConfigError, match="--identity"):
        plan_forgetting(site.root, " ")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"format": 2}',
        '{"format": 1, "salt": "x", "people": [], "entering": {}}',
        '{"format": 1, "salt": "ab", "people": [], "entering": {"f": [0]}}',
    ],
)
def test_a_damaged_list_stops_everything(site: Site, content: str) -> None:
    storage.write_bytes(storage.join(site.root, "forgotten.json"), content.encode())
    for stage in (ingested, lambda root, archive: aligned(root, site.raw), plan_forgetting):
        with pytest.raises(ArtifactError, match="restore it from a backup"):
            stage(site.root, str(site.archive))
