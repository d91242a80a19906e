"""The audit stage: what it writes, what it refuses, and training without what it found."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from facenet_core import storage
from facenet_core.audit.stage import DEFAULT_THRESHOLD, audit, finish, plan_audit
from facenet_core.config import AuditConfig, TrainConfig
from facenet_core.errors import ArtifactError, ConfigError
from facenet_core.housekeeping import inventory, verification
from facenet_core.privacy.find_person import affected
from facenet_core.storage import parquet, schemas
from facenet_core.training.input.data import open_data
from facenet_core.training.stage import plan_train
from tests.audit.test_rules import DIMENSIONS, embeddings
from tests.support.small_artifacts import IMAGES, PEOPLE, crop, image_id, publish_crops

MODEL = storage.Input("model", "0" * 16)
WRONG = image_id(0, 1)


def crop_rows(people: range) -> list[dict]:
    """Rows of crops; one of the first person's images shows the third, another is there twice."""
    rows = [crop(person, image) for person in people for image in range(IMAGES)]
    rows[1]["image"] = crop(people[2], 50)["image"]
    copy = {**crop(people[0], 0), "image_id": image_id(people[0], 90)}
    return [*rows, copy, crop(people[0], 0, face=1)]


def vectors_of(rows: list[dict]) -> np.ndarray:
    """The embeddings of `crop_rows`."""
    people = [int(row["identity"].split("_")[1]) for row in rows]
    people[1] = people[2 * IMAGES]
    vectors = embeddings(people)
    vectors[-2] = vectors[0]
    return vectors


def publish_embeddings(
    root: str, crops_uri: str, rows: list[dict], model=MODEL, vectors: np.ndarray | None = None
) -> str:
    crops = storage.open_artifact(crops_uri, "align")
    vectors = vectors_of(rows) if vectors is None else vectors
    plan = storage.plan_stage(root, "embed", crops.name, {}, [crops.as_input(), model], 1)
    part = f"embeddings/{parquet.part_name(0)}"
    schema = schemas.crop_embeddings(DIMENSIONS)
    with parquet.PartWriter(storage.join(plan.uri, part), schema, plan.fingerprint) as writer:
        for row, vector in zip(rows, vectors, strict=True):
            columns = ("image_id", "identity", "face_index", "score")
            writer.write({**{c: row[c] for c in columns}, "embedding": vector})
    parts = [parquet.describe_part(plan.uri, part)]
    counts = {"crops": len(rows), "embeddings": len(rows)}
    storage.publish(plan, storage.Outcome(parts, counts), {})
    return plan.uri


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("audit") / "store")


@pytest.fixture(scope="module")
def crops_uri(store) -> str:
    return publish_crops(store, [crop_rows(range(PEOPLE))], [])


@pytest.fixture(scope="module")
def embeddings_uri(store, crops_uri) -> str:
    return publish_embeddings(store, crops_uri, crop_rows(range(PEOPLE)))


@pytest.fixture(scope="module")
def against_uri(store) -> str:
    people = range(PEOPLE - 1, PEOPLE + 6)
    rows = [crop(person, image) for person in people for image in range(3, IMAGES)] * 2
    rows = [{**row, "image_id": f"{n}.jpg"} for n, row in enumerate(rows)]
    return publish_embeddings(store, publish_crops(store, [rows], []), rows)


def run(store: str, *uris: str, **fields) -> str:
    # Images of one person are more alike here than photographs are.
    config = AuditConfig(duplicate_correlation=0.9999, **fields)
    plan = plan_audit(store, uris[0], config, *uris[1:])
    finish(plan, audit(plan, config), {})
    return plan.uri


@pytest.fixture(scope="module")
def audit_uri(store, embeddings_uri) -> str:
    return run(store, embeddings_uri)


def test_findings_name_image_other_distance_and_reason_and_the_rest_is_kept(audit_uri) -> None:
    table = pq.read_table(storage.join(audit_uri, "findings.parquet"))
    assert table.schema.equals(schemas.FINDINGS)
    rows = {(row["kind"], row["image_id"]): row for row in table.to_pylist()}
    assert {*rows} == {("wrong_label", WRONG), ("duplicate", image_id(0, 90))}
    wrong, copy = rows["wrong_label", WRONG], rows["duplicate", image_id(0, 90)]
    assert (wrong["identity"], wrong["other_identity"]) == ("Person_0", "Person_2")
    assert 0 < wrong["distance"] < DEFAULT_THRESHOLD
    assert 0 < wrong["severity"] <= 1
    assert copy["other_image_id"] == image_id(0, 0)
    assert "same photograph" in copy["reason"]
    keep = pq.read_table(storage.join(audit_uri, "keep.parquet"))
    assert keep.schema.equals(schemas.KEEP)
    assert len(keep) == PEOPLE * IMAGES - 1
    manifest = storage.open_artifact(audit_uri, "audit")
    assert manifest.counts["wrong_label"] == manifest.counts["duplicate"] == 1
    assert manifest.counts["kept"] == len(keep)


def test_crops_of_people_who_were_forgotten_since_are_passed_over(store) -> None:
    rows = crop_rows(range(PEOPLE))
    forgotten = [crop(PEOPLE + 9, image) for image in range(IMAGES)]
    crops_uri = publish_crops(store, [[*forgotten, *rows]], [])
    findings = pq.read_table(
        storage.join(run(store, publish_embeddings(store, crops_uri, rows)), "findings.parquet")
    )
    assert findings["image_id"].to_pylist() == [image_id(0, 90), WRONG]
    assert findings["kind"].to_pylist() == ["duplicate", "wrong_label"]


def test_the_report_shows_the_photographs_side_by_side(audit_uri) -> None:
    page = storage.read_bytes(storage.join(audit_uri, "report.html")).decode()
    assert page.count("data:image/jpeg;base64,") == 4
    assert "looks like Person_2" in page


def test_a_pair_of_unlike_images_is_shown_once_and_none_beside_itself(store) -> None:
    rows = [crop(person, image) for person in range(4) for image in range(IMAGES)]
    people = [person for person in range(4) for _ in range(IMAGES)]
    rows += [{**crop(8, image), "image": crop(8 + image, 0)["image"]} for image in range(2)]
    vectors = embeddings([*people, 70, 71])
    crops = publish_crops(store, [rows], [])
    uri = run(store, publish_embeddings(store, crops, rows, vectors=vectors))
    findings = pq.read_table(storage.join(uri, "findings.parquet")).to_pylist()
    unlike = {row["image_id"]: row["other_image_id"] for row in findings if "8" in row["identity"]}
    assert unlike == {image_id(8, 0): image_id(8, 1), image_id(8, 1): image_id(8, 0)}
    page = storage.read_bytes(storage.join(uri, "report.html")).decode()
    for figure in re.findall(r'<figure class="pair">(.*?)</figure>', page, re.DOTALL):
        assert len({*re.findall(r'alt="([^"]+)"', figure)}) == figure.count("<img")
    assert page.count(f'alt="{image_id(8, 0)}"') == page.count(f'alt="{image_id(8, 1)}"') == 1
    assert "All 2 images" in page


def test_people_of_the_other_set_are_leaks(store, embeddings_uri, against_uri) -> None:
    uri = run(store, embeddings_uri, against_uri)
    rows = pq.read_table(storage.join(uri, "findings.parquet")).to_pylist()
    leaked = [row for row in rows if row["kind"] == "leak"]
    assert {row["identity"] for row in leaked} == {f"Person_{PEOPLE - 1}"}
    assert len(leaked) == IMAGES
    assert "In the other set, too" in storage.read_bytes(storage.join(uri, "report.html")).decode()


def test_an_audit_against_another_models_embeddings_is_refused(store, embeddings_uri) -> None:
    rows = [crop(person, image) for person in range(2) for image in range(IMAGES)] * 2
    crops = publish_crops(store, [rows[:20]], [])
    other = publish_embeddings(store, crops, [*rows[:20]], storage.Input("model", "1" * 16))
    with pytest.raises(ConfigError, match="another model"):
        plan_audit(store, embeddings_uri, AuditConfig(), other)


def test_what_is_no_embeddings_artifact_is_refused(store, crops_uri) -> None:
    with pytest.raises(ArtifactError, match="expected an output of `embed`"):
        plan_audit(store, crops_uri, AuditConfig())


def test_thresholds_are_part_of_the_fingerprint_and_the_model_reference_is_not(
    store, embeddings_uri
) -> None:
    plain = plan_audit(store, embeddings_uri, AuditConfig())
    assert plain.config["threshold"] == DEFAULT_THRESHOLD
    assert plan_audit(store, embeddings_uri, AuditConfig(model="m")) == plain
    assert plan_audit(store, embeddings_uri, AuditConfig(threshold=1.0)) != plain


def test_training_leaves_out_what_it_is_told_to(store, crops_uri, audit_uri) -> None:
    config = TrainConfig(image_size=32, audit=audit_uri, drop=("wrong_label",))
    data = open_data(crops_uri, config)
    ids = {data.crops.image_id(row) for row in data.selection.training.tolist()}
    assert data.dropped == 1
    assert WRONG not in ids
    assert image_id(0, 90) in ids
    assert open_data(crops_uri, TrainConfig(image_size=32, audit=audit_uri)).dropped == 2
    stream = TrainConfig(image_size=32, audit=audit_uri, read_crops="stream")
    rows = open_data(crops_uri, stream).selection.training
    assert np.array_equal(
        rows, open_data(crops_uri, TrainConfig(audit=audit_uri, image_size=32)).selection.training
    )


def test_an_audit_is_part_of_a_trainings_fingerprint_only_where_there_is_one(
    store, crops_uri, audit_uri
) -> None:
    plain = plan_train(store, crops_uri, TrainConfig(image_size=32))
    assert not {"audit", "drop"} & {*plain.config}
    plans = [
        plan_train(store, crops_uri, TrainConfig(image_size=32, audit=audit_uri, drop=drop))
        for drop in (("leak",), ("leak", "duplicate"))
    ]
    assert len({plan.fingerprint for plan in (plain, *plans)}) == 3
    assert plans[0].config["audit"] == audit_uri.rsplit("/", 1)[-1]
    assert plans[0].inputs[-1].uri == audit_uri


def test_the_audit_of_other_crops_is_refused(store, audit_uri) -> None:
    other = publish_crops(store, [[crop(1, 1), crop(2, 1)]], [])
    with pytest.raises(ConfigError, match="not of"):
        plan_train(store, other, TrainConfig(image_size=32, audit=audit_uri))


def test_audits_are_listed_verified_and_found_for_forgetting(store, audit_uri) -> None:
    stock = inventory.take(store)
    [stored] = [a for a in stock.artifacts if a.uri == audit_uri]
    assert verification.verify([stored]).damages == ()
    assert verification.remake(stored).startswith("facenet audit ")
    assert stored in [one.artifact for one in affected(stock, "Person_3", [])]
    assert stored not in [one.artifact for one in affected(stock, "Nobody", [])]
