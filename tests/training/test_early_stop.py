import pytest

from facenet_core.training.trainer import best_row, exhausted


def history(*accuracies):
    return [
        {"epoch": epoch, "step": 10 * epoch, "lfw_accuracy": accuracy}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


def test_the_best_epoch_is_the_first_with_the_highest_figure():
    assert best_row(history(0.5, 0.7, None, 0.7, 0.6), "lfw_accuracy")["epoch"] == 2
    assert best_row(history(None, None), "lfw_accuracy") is None


@pytest.mark.parametrize(
    ("accuracies", "stops"),
    [
        ((0.5,), False),
        ((0.7, 0.6), False),
        ((0.7, 0.6, 0.7), True),
        ((0.7, 0.6, None), False),  # epochs that were not measured do not count
        ((0.7, None, 0.6, 0.5), True),
        ((0.7, 0.6, 0.8), False),
    ],
)
def test_patience_is_counted_in_measurements_since_the_best(accuracies, stops):
    assert exhausted(history(*accuracies), "lfw_accuracy", 2) is stops
    assert exhausted(history(*accuracies), "lfw_accuracy", None) is False
