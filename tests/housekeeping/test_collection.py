"""What may go from a storage root: nothing that is in use, referred to, or being written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from facenet_core import storage
from facenet_core.errors import ArtifactError
from facenet_core.housekeeping import inventory
from facenet_core.housekeeping.collection import Decision, Rules, carry_out, decide
from tests.support.stored import age, promote, published, unfinished

HALF = "crops/faces/0123456789abcdef"


def collect(root: str, later: float = 0, **rules: object) -> list[Decision]:
    """Judge a root as it will be `later` days from now, and carry it out."""
    stock = inventory.take(root)
    named = frozenset(inventory.named(stock, rules.pop("named", ())))  # type: ignore[arg-type]
    for key in ("older_than", "unfinished_after"):
        if key in rules:
            rules[key] = timedelta(days=float(rules[key]))  # type: ignore[arg-type]
    now = datetime.now(UTC) + timedelta(days=later)
    return carry_out(stock, decide(stock, Rules(named, **rules), now))  # type: ignore[arg-type]


def removed(decisions: list[Decision]) -> list[str]:
    return [verdict.label for verdict in decisions if verdict.remove]


def label(uri: str, root: str) -> str:
    return uri.removeprefix(root + "/")


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store")
    return request.getfixturevalue("bucket")


def test_unfinished_folders_go_once_nothing_was_written_for_long(place: str) -> None:
    half, whole = unfinished(place, HALF), published(place, "ingest", "faces")
    assert removed(collect(place, later=6)) == []
    assert removed(collect(place, later=8)) == [HALF]
    assert not storage.exists(half)
    assert storage.read_manifest(whole) is not None


def test_one_new_object_keeps_an_unfinished_folder(root: str) -> None:
    half = unfinished(root, HALF)
    age(half, days=30)
    storage.write_bytes(f"{half}/rejects/part-00001.parquet", b"new")
    assert removed(collect(root)) == []


def test_a_folder_that_is_written_to_between_looking_and_removing_stays(root: str) -> None:
    half = unfinished(root, HALF)
    age(half, days=30)
    stock = inventory.take(root)
    decisions = decide(stock, Rules(), datetime.now(UTC))
    assert removed(decisions) == [HALF]
    storage.write_bytes(f"{half}/rejects/part-00001.parquet", b"new")
    assert removed(carry_out(stock, decisions)) == []
    assert storage.exists(f"{half}/crops/part-00000.parquet")


def test_finished_artifacts_go_by_name_or_age_alone(place: str) -> None:
    old = published(place, "align", "old", days=40)
    new = published(place, "align", "new", days=2)
    assert removed(collect(place, later=400)) == []
    assert removed(collect(place, older_than=30)) == [label(old, place)]
    assert removed(collect(place, named=[new])) == [label(new, place)]
    assert not [uri for uri in storage.list_files(place) if "/crops/" in uri]


def test_reports_models_in_use_and_what_they_were_made_from_stay(root: str) -> None:
    raw = published(root, "ingest", "faces")
    crops = published(root, "align", "faces", [raw])
    teacher = published(root, "train", "teacher")
    model = published(root, "train", "used", [crops, teacher])
    promote(root, model)
    other_crops = published(root, "align", "holdout")
    reported = published(root, "train", "reported")
    report = published(root, "validate", "figures", [other_crops, reported])
    loose = published(root, "train", "loose", [crops])
    every = [raw, crops, teacher, model, other_crops, reported, report, loose]
    decisions = collect(root, later=400, older_than=1, named=every)
    assert removed(decisions) == [label(loose, root)]
    why = {verdict.label: verdict.why for verdict in decisions if verdict.refused}
    assert set(why) == {label(uri, root) for uri in every} - {label(loose, root)}
    assert why[label(report, root)] == "a report"
    assert "in use" in why[label(model, root)]
    assert label(model, root) in why[label(raw, root)]


def test_what_something_that_stays_was_made_from_does_not_go_for_its_age(root: str) -> None:
    raw = published(root, "ingest", "faces", days=90)
    crops = published(root, "align", "faces", [raw], days=90)
    published(root, "train", "young", [crops], days=1)
    assert removed(collect(root, older_than=30)) == []
    assert removed(collect(root, named=[crops])) == [label(crops, root)]


def test_lineage_holds_in_a_root_that_was_moved(root: str) -> None:
    raw = published(root, "ingest", "faces", days=90)
    published(root, "validate", "figures", [raw.replace(root, "s3://elsewhere")])
    assert removed(collect(root, older_than=30)) == []


@pytest.mark.parametrize(
    ("writer", "stays"),
    [
        (HALF, "raw"),
        ("models/any/0123456789abcdef", "crops"),
        ("reports/any/0123456789abcdef", "crops"),
    ],
)
def test_what_a_run_at_work_may_read_stays(root: str, writer: str, stays: str) -> None:
    raw = published(root, "ingest", "faces", days=90)
    published(root, "align", "other", [raw], days=90)
    unfinished(root, writer)
    gone = removed(collect(root, older_than=30))
    assert not [one for one in gone if one.startswith(stays)]
    age(f"{root}/{writer}", days=30)
    assert writer in removed(collect(root, older_than=30))


def test_checkpoints_that_a_finished_model_does_not_keep_go(root: str) -> None:
    files = {f"attempts/a/checkpoints/step-{n:09d}.npz": b"state" for n in (10, 20, 30)}
    files["attempts/b/checkpoints/step-000000040.npz"] = b"state"
    model = published(
        root, "train", "m", files={"model.keras": b"m", **files}, details={"best_step": 20}
    )
    collect(root, later=8)
    left = [label(uri, model) for uri in storage.list_files(f"{model}/attempts")]
    assert [name[-13:] for name in left] == ["000000020.npz", "000000040.npz"]
    assert storage.read_manifest(model) is not None


def test_old_temporary_files_and_remembered_shards_go(root: str) -> None:
    done = published(root, "align", "faces")
    half = unfinished(root, HALF)
    names = [
        f"{label(done, root)}/.part.host.1.0.tmp",
        "raw/faces/.stray.host.1.0.tmp",
        "downloads/lfw/.lfw.tgz.part",
        ".probe-" + "0" * 32,
        f".prefect/shards/align/{done.rsplit('/', 1)[-1]}/00000",
        f".prefect/shards/align/{half.rsplit('/', 1)[-1]}/00000",
        "downloads/lfw/lfw.tgz",
        "forgotten.json",
        "notes/mine.txt",
    ]
    for name in names:
        Path(root, name).parent.mkdir(parents=True, exist_ok=True)
        Path(root, name).write_text("{}")
    age(root, days=8)
    Path(half, "crops/part-00000.parquet").write_bytes(b"still at it")
    collect(root)
    assert [name for name in names if Path(root, name).exists()] == names[5:]
    assert storage.read_manifest(done) is not None


def test_links_are_neither_followed_nor_are_their_ends_removed(root: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious/0123456789abcdef"
    precious.mkdir(parents=True)
    (precious / "photo.jpg").write_text("x")
    half = unfinished(root, HALF)
    Path(half, "linked").symlink_to(precious)
    Path(root, "raw").mkdir()
    Path(root, "raw/faces").symlink_to(precious.parent)
    age(half, days=8)
    age(str(precious), days=8)
    stock = inventory.take(root)
    assert set(stock.links) == {f"{HALF}/linked", "raw/faces"}
    collect(root, later=8)
    assert not Path(half).exists()
    assert (precious / "photo.jpg").exists()
    assert Path(root, "raw/faces").is_symlink()


def test_folders_that_are_no_artifacts_are_left_alone(root: str) -> None:
    published(root, "ingest", "faces")
    for name in ("raw/faces/backup/part-00000.parquet", "raw/0123456789abcdef", "crops/x.txt"):
        storage.write_bytes(f"{root}/{name}", b"mine")
    decisions = collect(root, later=400, older_than=1)
    assert all(storage.exists(f"{root}/raw/{n}") for n in ("faces/backup", "0123456789abcdef"))
    assert {v.why for v in decisions if not v.remove} == {"not of this program"}


@pytest.mark.parametrize("uri", ["/etc", "raw/faces", "raw/../../x", "s3://elsewhere/raw/a/b"])
def test_only_artifacts_of_the_root_can_be_named(root: str, uri: str) -> None:
    published(root, "ingest", "faces")
    with pytest.raises(ArtifactError, match="no artifact of"):
        collect(root, named=[uri])


def test_a_removal_that_is_interrupted_leaves_nothing_that_looks_whole(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = published(root, "align", "faces", files={f"a/{n}.parquet": b"x" for n in range(4)})
    unlink = Path.unlink
    steps = iter([True])

    def once(path: Path, missing_ok: bool = False) -> None:
        if not next(steps, False):
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", once)
        with pytest.raises(KeyboardInterrupt):
            collect(root, named=[uri])
    assert [a.state for a in inventory.take(root).artifacts] == ["unfinished"]
    assert removed(collect(root, later=8)) == [label(uri, root)]
