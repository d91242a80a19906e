import json

import pytest

from facenet_core import storage
from facenet_core.config import ValidateConfig
from facenet_core.errors import PairsError
from facenet_core.evaluation.compare_reports import compare_reports, finish, plan_compare
from facenet_core.evaluation.stage import finish as finish_report
from facenet_core.evaluation.stage import plan_validate, validate
from tests.support.small_artifacts import publish_model


def made(root, crops_uri, model_uri, **options):
    config = ValidateConfig(
        lfw_nrof_folds=3, pairs_per_fold=20, bootstrap_replicates=50, far_target=0.2, **options
    )
    plan = plan_validate(root, crops_uri, model_uri, config)
    finish_report(plan, validate(plan, config), {})
    return plan.uri, config


@pytest.fixture
def models(root, model_uri):
    return model_uri, publish_model(root, "other-2", labels=("Nobody",))


def test_two_reports_become_a_comparison(root, crops_uri, models):
    (first, config), (second, _) = (made(root, crops_uri, model) for model in models)
    plan = plan_compare(root, first, second, config)
    assert plan.name == "tiny-vs-other-2"
    compared = compare_reports(plan, config)
    manifest = finish(plan, compared, {})
    assert {part.name for part in manifest.parts} == {"comparison.json", "report.html"}
    figures = json.loads(storage.read_bytes(storage.join(plan.uri, "comparison.json")))
    results = figures["comparison"]
    assert results["models"] == ["tiny", "other-2"]
    for uri, side in ((first, "first"), (second, "second")):
        metrics = json.loads(storage.read_bytes(storage.join(uri, "metrics.json")))
        for name in ("accuracy", "val_rate", "auc", "eer"):
            assert results["figures"][name][side] == metrics[name]
    # Both models have the same weights.
    assert results["mcnemar_p"] == 1
    page = storage.read_bytes(storage.join(plan.uri, "report.html")).decode()
    assert "only by other-2" in page
    assert page.count("<svg ") == 1


def test_reports_on_other_pairs_are_refused(root, crops_uri, models):
    first, config = made(root, crops_uri, models[0])
    second, _ = made(root, crops_uri, models[1], pairs_seed=1)
    with pytest.raises(PairsError, match="reports on different pairs"):
        compare_reports(plan_compare(root, first, second, config), config)
