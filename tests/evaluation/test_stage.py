import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto
from PIL import Image

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.errors import ArtifactError, ModelError, PairsError
from facenet_core.evaluation.evaluated_pairs import choose_pairs
from facenet_core.evaluation.protocol.verification import IndexedPairs, verify
from facenet_core.evaluation.stage import check_pairs, finish, plan_validate, validate
from facenet_core.models import import_model
from facenet_core.models.networks import registry
from facenet_core.storage import schemas
from tests.support.onnx_models import linear, save
from tests.support.small_artifacts import SIZE, image_id, publish_model

FILES = {
    "det.png",
    "embeddings.parquet",
    "histogram.png",
    "metrics.json",
    "pairs.parquet",
    "report.html",
    "roc.png",
}
GENERATED = {"lfw_nrof_folds": 3, "pairs_per_fold": 20}


@pytest.fixture(scope="module")
def report(store, crops_uri, model_uri, pairs_file):
    """A published report on the pairs file: its URI and what `validate` returned."""
    config = ValidateConfig(pairs=pairs_file)
    plan = plan_validate(store, crops_uri, model_uri, config)
    validated = validate(plan, config)
    finish(plan, validated, {"run_id": "test"})
    return plan.uri, validated


def test_the_report_is_an_artifact(report, crops_uri, model_uri):
    uri, validated = report
    manifest = storage.open_artifact(uri, "validate")
    assert {part.name for part in manifest.parts} == FILES
    assert manifest.name == "tiny"
    assert [source.uri for source in manifest.inputs] == [crops_uri, model_uri]
    # In each of 3 folds 4 + 4 pairs, one of each kind without a crop; 4 + 3 images remain.
    assert manifest.counts == {"pairs": 24, "pairs_skipped": 6, "images": 21}
    assert manifest.counts == validated.counts


def test_metrics_are_what_the_parquet_files_give(report):
    uri, validated = report
    metrics = json.loads(storage.read_bytes(storage.join(uri, "metrics.json")))
    assert metrics == validated.details["metrics"]
    pairs = pq.read_table(storage.join(uri, "pairs.parquet")).drop_null()
    table = pq.read_table(storage.join(uri, "embeddings.parquet"))
    row_of = {name: row for row, name in enumerate(table["image_id"].to_pylist())}
    again = verify(
        np.array(table["embedding"].to_pylist(), np.float32),
        IndexedPairs(
            np.array([row_of[name] for name in pairs["image_id_a"].to_pylist()]),
            np.array([row_of[name] for name in pairs["image_id_b"].to_pylist()]),
            pairs["same"].to_numpy(),
            pairs["fold"].to_numpy(),
        ),
    )
    for name in ("accuracy", "accuracy_std", "val_rate", "far", "auc", "eer", "threshold"):
        assert metrics[name] == getattr(again, name)
    np.testing.assert_allclose(pairs["distance"], again.distances, rtol=1e-6)


def test_figures_have_intervals_by_identity(report):
    metrics = report[1].details["metrics"]
    assert metrics["interval_unit"] == "identity"
    for name in ("accuracy", "auc", "eer"):
        low, high = metrics[f"{name}_interval"]
        assert low <= metrics[name] <= high
    assert metrics["val_rate_interval"] is None  # 12 pairs of two people are too few
    assert metrics["folding"] == "file"


def test_no_replicates_no_intervals(root, crops_uri, model_uri):
    config = ValidateConfig(**GENERATED, bootstrap_replicates=0)
    metrics = validate(plan_validate(root, crops_uri, model_uri, config), config).details["metrics"]
    assert metrics["accuracy_interval"] is metrics["auc_interval"] is None


def test_quality_is_that_of_the_crops(report):
    quality = report[1].details["metrics"]["quality"]
    (part,) = quality["face_size"]  # all of one size
    assert (part["low"], part["high"], part["pairs"]) == (32, 32, 18)
    assert part["accuracy"] == pytest.approx(report[1].details["metrics"]["accuracy"])


def test_identification_embeds_all_crops(root, crops_uri, model_uri, pairs_file):
    config = ValidateConfig(pairs=pairs_file, identification=True)
    validated = validate(plan_validate(root, crops_uri, model_uri, config), config)
    assert validated.counts["images"] == 12 * 6
    metrics = validated.details["metrics"]["identification"]
    assert (metrics["gallery"], metrics["probes"]) == (12, 60)
    assert metrics["rank_1"] == metrics["cmc"][0] <= metrics["rank_5"]
    assert "cmc.png" in {part.name for part in validated.parts}


def test_groups_are_those_of_a_file(root, tmp_path, crops_uri, model_uri):
    path = tmp_path / "groups.csv"
    path.write_text("identity,half\n" + "".join(f"Person_{n},{n % 2}\n" for n in range(10)))
    config = ValidateConfig(**GENERATED, groups=str(path))
    plan = plan_validate(root, crops_uri, model_uri, config)
    metrics = validate(plan, config).details["metrics"]
    assert [group["group"] for group in metrics["groups"]] == ["0", "1"]
    assert metrics["groups_unknown"] == {"half": 12}
    assert 0 < sum(group["one_person"] for group in metrics["groups"]) < 60
    page = storage.read_bytes(storage.join(plan.uri, "report.html")).decode()
    assert "By group" in page
    path.write_text(path.read_text().replace("Person_9,1", "Person_9,0"))
    assert plan_validate(root, crops_uri, model_uri, config) != plan
    with pytest.raises(PairsError, match=r"groups.csv: changed since this run began"):
        validate(plan, config)


def test_groups_of_nobody_and_pairs_that_are_not_drawn_are_said(
    root, tmp_path, crops_uri, model_uri, pairs_file, caplog
):
    path = tmp_path / "groups.csv"
    path.write_text("identity,half\nNobody,1\n")
    fields = {"pairs": pairs_file, "pairs_per_fold": 7, "lfw_nrof_folds": 9}
    config = ValidateConfig(groups=str(path), bootstrap_replicates=0, **fields)
    validate(plan_validate(root, crops_uri, model_uri, config), config)
    assert [message.split(":")[0] for message in caplog.messages] == [
        "pairs_per_fold has no effect",
        "lfw_nrof_folds has no effect",
        "groups",
    ]


def test_skipped_pairs_have_no_distance_and_count_as_wrong_in_accuracy_all(report):
    uri, validated = report
    table = pq.read_table(storage.join(uri, "pairs.parquet"))
    assert table.schema.equals(schemas.PAIRS)
    skipped = table.filter(table["distance"].is_null())
    assert skipped["image_id_b"][0].as_py() == image_id(0, 7)
    assert skipped["image_id_a"][1].as_py() == image_id(0, 7)
    assert len(skipped) == validated.details["metrics"]["pairs_skipped"] == 6
    # 6 of 8 pairs of every fold were evaluated.
    expected = validated.details["metrics"]["accuracy"] * 6 / 8
    assert validated.details["metrics"]["accuracy_all"] == pytest.approx(expected)


def test_equal_inputs_give_equal_files(root, crops_uri, model_uri):
    config = ValidateConfig(**GENERATED, use_flipped_images=True, lfw_batch_size=7)
    first = plan_validate(root, crops_uri, model_uri, config)
    parts = validate(first, config).parts
    again = plan_validate(root, crops_uri, model_uri, config)
    assert again == first
    assert validate(again, config).parts == parts


def test_a_squeezenet_measures_the_same_on_openvino_as_on_keras(root, crops_uri):
    pytest.importorskip("openvino")
    network = registry.build("squeezenet", image_size=SIZE, embedding_size=16)
    model_uri = publish_model(root, "squeezenet", network=network)
    options = {"use_flipped_images": True, "identification": True}
    metrics = {}
    for engine in ("keras", "openvino"):
        config = ValidateConfig(**GENERATED, **options, engine=engine)
        plan = plan_validate(f"{root}/{engine}", crops_uri, model_uri, config)
        manifest = finish(plan, validate(plan, config), {})
        assert manifest.details["runtime"] == {"engine": engine, "precision": "float32"}
        metrics[engine] = manifest.details["metrics"]
    assert 0 < metrics["keras"]["auc"] < 1
    assert_close(metrics["openvino"], metrics["keras"])


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_onnx_network_is_validated(root, tmp_path, crops_uri, engine):
    pytest.importorskip(engine)
    file = save(linear("NHWC", side=SIZE, dtype=TensorProto.UINT8), tmp_path / "linear.onnx")
    model_uri = import_model.bring_in(root, file, {})
    config = ValidateConfig(**GENERATED, engine=engine)
    plan = plan_validate(root, crops_uri, model_uri, config)
    manifest = finish(plan, validate(plan, config), {})
    assert manifest.details["runtime"] == {"engine": engine, "precision": "float32"}
    assert 0.5 < manifest.details["metrics"]["auc"] <= 1


def assert_close(value, expected):
    """Numbers within 1e-4, anything else equal."""
    if isinstance(expected, dict):
        assert value.keys() == expected.keys()
        for name in expected:
            assert_close(value[name], expected[name])
    elif isinstance(expected, list):
        for a, b in zip(value, expected, strict=True):
            assert_close(a, b)
    elif isinstance(expected, float):
        assert value == pytest.approx(expected, abs=1e-4)
    else:
        assert value == expected


def test_pairs_are_generated_from_the_crops(root, crops_uri, model_uri):
    config = ValidateConfig(**GENERATED, distance_metric="cosine", subtract_mean=True)
    plan = plan_validate(root, crops_uri, model_uri, config)
    metrics = validate(plan, config).details["metrics"]
    assert [fold["pairs"] for fold in metrics["folds"]] == [40] * 3
    assert (metrics["pairs"], metrics["pairs_skipped"]) == (120, 0)
    assert metrics["accuracy"] == metrics["accuracy_all"]
    assert 0 < metrics["threshold"] < 1


def test_people_that_training_saw_are_counted(root, crops_uri, report):
    model_uri = publish_model(root, "seen", labels=("Person_0", "Person_3", "Somebody_Else"))
    config = ValidateConfig(**GENERATED)
    metrics = validate(plan_validate(root, crops_uri, model_uri, config), config).details["metrics"]
    assert (metrics["people"], metrics["people_in_training"]) == (12, 2)
    assert report[1].details["metrics"]["people_in_training"] == 0


def test_progress_counts_images(root, crops_uri, model_uri, pairs_file):
    seen = []
    config = ValidateConfig(pairs=pairs_file, lfw_batch_size=10)
    plan = plan_validate(root, crops_uri, model_uri, config)
    validate(plan, config, progress=lambda *counts: seen.append(counts))
    assert seen == [(10, 21), (20, 21), (21, 21)]


def test_plots_are_pictures(report):
    uri, _ = report
    for name in ("roc.png", "histogram.png", "det.png"):
        with Image.open(storage.join(uri, name)) as picture:
            assert min(picture.size) > 600
            assert len(picture.convert("RGB").getcolors(2**20)) > 20


# --- The plan ---------------------------------------------------------------------------------


def test_the_plan_knows_the_pairs_by_content(root, tmp_path, crops_uri, model_uri, pairs_file):
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(storage.read_bytes(pairs_file))
    plan = plan_validate(root, crops_uri, model_uri, ValidateConfig(pairs=pairs_file))
    assert plan.config["pairs"] == f"sha256:{storage.sha256(pairs_file)}"
    assert plan == plan_validate(root, crops_uri, model_uri, ValidateConfig(pairs=str(moved)))
    moved.write_text(moved.read_text().replace("Person_0\t1\t2", "Person_0\t1\t3"))
    assert plan != plan_validate(root, crops_uri, model_uri, ValidateConfig(pairs=str(moved)))


@pytest.mark.parametrize(
    "unused", [{"pairs_per_fold": 7}, {"pairs_seed": 7}, {"lfw_nrof_folds": 7}]
)
def test_what_only_drawing_needs_does_not_name_a_report_on_a_file(
    root, crops_uri, model_uri, pairs_file, unused
):
    plain = plan_validate(root, crops_uri, model_uri, ValidateConfig(pairs=pairs_file))
    other = plan_validate(root, crops_uri, model_uri, ValidateConfig(pairs=pairs_file, **unused))
    assert plain == other


@pytest.mark.parametrize(
    "option",
    [
        {"pairs_seed": 1},
        {"far_target": 0.01},
        {"distance_metric": "cosine"},
        {"subtract_mean": True},
        {"use_flipped_images": True},
        {"identification": True},
        {"bootstrap_replicates": 10},
        {"missing": "centre-crop"},
        {"precision": "bfloat16"},
    ],
)
def test_what_changes_the_figures_changes_the_fingerprint(root, crops_uri, model_uri, option):
    plain = plan_validate(root, crops_uri, model_uri, ValidateConfig())
    other = plan_validate(root, crops_uri, model_uri, ValidateConfig(**option))
    elsewhere = ValidateConfig(lfw_batch_size=7, engine="keras")
    same = plan_validate(root, crops_uri, model_uri, elsewhere)
    assert plain.fingerprint != other.fingerprint
    assert plain.fingerprint == same.fingerprint


def test_a_report_can_have_a_name(root, crops_uri, model_uri):
    plan = plan_validate(root, crops_uri, model_uri, ValidateConfig(name="monday"))
    assert plan.uri == storage.join(root, "reports", "monday", plan.fingerprint)


def test_planning_does_not_load_the_backend(root, crops_uri, model_uri):
    code = (
        "import sys\n"
        "from facenet_core.config import ValidateConfig\n"
        "from facenet_core.evaluation.stage import plan_validate\n"
        f"plan_validate({root!r}, {crops_uri!r}, {model_uri!r}, ValidateConfig())\n"
        "print(sorted({'keras', 'tensorflow', 'matplotlib', 'sklearn'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_pairs_are_drawn_once_for_checking_and_validating(crops_uri):
    config = ValidateConfig(**GENERATED, pairs_seed=8)
    crops = storage.open_artifact(crops_uri, "align")
    check_pairs(crops_uri, config)
    assert choose_pairs(crops, config).pairs is choose_pairs(crops, config).pairs


def test_pairs_can_be_checked_before_there_is_a_model(crops_uri, pairs_file):
    check_pairs(crops_uri, ValidateConfig(pairs=pairs_file))
    check_pairs(crops_uri, ValidateConfig(**GENERATED))
    with pytest.raises(PairsError, match="cannot be drawn from 12 people"):
        check_pairs(crops_uri, ValidateConfig())
    with pytest.raises(PairsError, match="3 images gave no crop"):
        check_pairs(crops_uri, ValidateConfig(pairs=pairs_file, missing="error"))


# --- What goes wrong --------------------------------------------------------------------------


def test_a_missing_image_can_be_an_error(root, crops_uri, model_uri, pairs_file):
    config = ValidateConfig(pairs=pairs_file, missing="error")
    plan = plan_validate(root, crops_uri, model_uri, config)
    message = r"3 images gave no crop, which leaves 6 of 24 pairs out: Person_0/.* \(no_face: none"
    with pytest.raises(PairsError, match=message):
        validate(plan, config)


def test_a_pairs_file_that_changes_after_planning_is_an_error(
    root, tmp_path, crops_uri, model_uri, pairs_file
):
    mine = tmp_path / "pairs.txt"
    mine.write_bytes(storage.read_bytes(pairs_file))
    config = ValidateConfig(pairs=str(mine))
    plan = plan_validate(root, crops_uri, model_uri, config)
    mine.write_text(mine.read_text() + "\n")
    with pytest.raises(PairsError, match="changed since this run began"):
        validate(plan, config)


def test_pairs_of_other_people_are_an_error(root, tmp_path, crops_uri, model_uri):
    path = tmp_path / "pairs.txt"
    path.write_text("1 1\nAda_Lovelace 1 2\nAda_Lovelace 1 Alan_Turing 1\n")
    config = ValidateConfig(pairs=str(path))
    plan = plan_validate(root, crops_uri, model_uri, config)
    with pytest.raises(PairsError, match="3 of 3 images are in neither the crops nor the rejects"):
        validate(plan, config)


@pytest.mark.parametrize(
    ("bias", "error", "message"),
    [
        (np.nan, ModelError, r"1 of 2 weights are not finite.*diverged"),
        # The square is infinite, and what is divided by it zero.
        (3e38, ArtifactError, r"no finite embedding for Person_\d+/.*diverged"),
    ],
)
def test_a_model_that_diverged_is_an_error(root, crops_uri, bias, error, message):
    config = ValidateConfig(**GENERATED)
    plan = plan_validate(root, crops_uri, publish_model(root, "diverged", bias=bias), config)
    with pytest.raises(error, match=message):
        validate(plan, config)


def test_crops_and_model_in_the_wrong_order_are_an_error(root, crops_uri, model_uri):
    with pytest.raises(ArtifactError, match="made by `train`, expected an output of `align`"):
        plan_validate(root, model_uri, crops_uri, ValidateConfig())
