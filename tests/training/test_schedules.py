import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.errors import ConfigError
from facenet_core.training.schedules import Rates, Schedule, choose, parse, read

CASIA = """
# Learning rate schedule
0:  0.05
60: 0.005   # after 60 epochs
80: 0.0005
91: -1
"""


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(1, 0.05), (59, 0.05), (60, 0.005), (80, 0.0005), (90, 0.0005), (91, None), (99, None)],
)
def test_a_rate_holds_until_the_next(epoch, rate):
    assert parse(CASIA, "casia.txt").rate(epoch) == rate


def test_the_last_rate_stays():
    assert parse("1: 0.1\n5: 0.01", "f").rate(10_000) == 0.01


@pytest.mark.parametrize("stop", ["-1", "-", "0", "-0.5"])
def test_a_rate_that_is_not_positive_stops_training(stop):
    schedule = parse(f"0: 0.1\n5: {stop}", "f")
    assert (schedule.rate(4), schedule.rate(5)) == (0.1, None)
    assert schedule.epochs(most=100) == 4
    assert schedule.epochs(most=3) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0: 0.1\nten: 0.01", r"f\.txt, line 2: `ten: 0\.01`: expected lines `epoch: rate`"),
        ("0: fast", r"line 1: `0: fast`: expected"),
        ("0", r"line 1: `0`: expected"),
        ("0: nan", r"line 1"),
        ("-3: 0.1", r"line 1"),
        ("0: 0.1\n\n5: 0.1\n5: 0.2", r"line 4: `5: 0\.2`: epochs must grow"),
        ("2: 0.1", r"line 1: .*first line must be of epoch 0 or 1"),
        ("# nothing", r"f\.txt: an empty learning rate schedule"),
        ("1: -1", r"f\.txt: the schedule stops before the first epoch"),
    ],
)
def test_errors_name_file_and_line(text, message):
    with pytest.raises(ConfigError, match=message):
        parse(text, "f.txt")


@given(
    st.lists(st.integers(2, 1000), unique=True),
    st.lists(st.floats(1e-9, 10), min_size=1),
)
def test_its_text_reads_as_the_same_schedule(epochs, rates):
    steps = tuple(zip([1, *sorted(epochs)], rates, strict=False))
    assert parse(Schedule(steps).text(), "text") == Schedule(steps)


@given(st.text() | st.from_regex(r"(-?[0-9]+:[ 0-9.e-]*\n)+", fullmatch=True))
def test_any_text_is_a_schedule_or_a_config_error(text):
    with contextlib.suppress(ConfigError):
        assert parse(text, "f").rate(1) > 0


def test_a_positive_learning_rate_needs_no_file():
    assert choose(0.1, None).rate(500) == 0.1
    with pytest.raises(ConfigError, match="set learning_rate_schedule_file"):
        choose(-1, None)


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.txt: cannot be read"):
        read(str(tmp_path / "none.txt"))


def test_the_schedules_that_come_with_the_project_can_be_read(pytestconfig):
    files = list((pytestconfig.rootpath / "configs/learning_rate_schedules").glob("*.txt"))
    assert files
    for file in files:
        assert read(str(file)).rate(1) > 0


def rates(text="1: 0.1", **options):
    return Rates(parse(text, "f"), **{"epoch_steps": 10, "epochs": 20, **options})


@pytest.mark.parametrize(
    ("epoch", "rate"), [(59, 0.05), (60, 0.005), (80, 0.0005), (90, 0.0005), (91, None)]
)
def test_the_first_and_last_step_of_an_epoch_have_its_rate(epoch, rate):
    schedule = rates(CASIA, epochs=90)
    for step in ((epoch - 1) * 10, epoch * 10 - 1):
        if rate is None:
            with pytest.raises(ValueError, match="after the end of the schedule"):
                schedule.at(step)
        else:
            assert schedule.at(step) == rate


def test_exponential_decay_is_a_staircase_of_epochs():
    schedule = rates(decay_epochs=4, decay_factor=0.5)
    assert [schedule.at(step) for step in (0, 39, 40, 79, 80)] == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_a_cosine_falls_from_the_rate_to_zero():
    schedule = rates(cosine=True)
    assert schedule.at(0) == 0.1
    assert schedule.at(100) == pytest.approx(0.05)
    assert 0 < schedule.at(199) < 1e-4
    values = [schedule.at(step) for step in range(200)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("cosine", [False, True])
def test_a_warm_up_rises_to_the_rate_step_by_step(cosine):
    schedule = rates(cosine=cosine, warmup_epochs=2.5)
    rising = [schedule.at(step) for step in range(25)]
    np.testing.assert_allclose(np.diff(rising), 0.1 / 26)
    assert rising[0] > 0
    assert schedule.at(25) == pytest.approx(0.1)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_schedule_may_be_written_on_windows(tmp_path, encoding):
    (tmp_path / "rates.txt").write_bytes("0: 0.05\r\n60: 0.005\r\n".encode(encoding))
    assert read(str(tmp_path / "rates.txt")).steps == ((0, 0.05), (60, 0.005))
