import numpy as np
import pytest

from facenet_core.errors import PairsError
from facenet_core.evaluation.protocol.groups import Decisions, by_group, read_attributes


def written(tmp_path, text):
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_attributes_of_people_hold_for_their_images(tmp_path):
    attributes = read_attributes(written(tmp_path, "identity,sex,age\nAda,f,36\nBo,m,\n"))
    assert attributes.key == "identity"
    ids, who = ["Ada/1", "Bo/1", "Cy/1"], ["Ada", "Bo", "Cy"]
    assert attributes.of("sex", ids, who).tolist() == ["f", "m", ""]
    assert attributes.of("age", ids, who).tolist() == ["36", "", ""]


def test_attributes_may_come_from_a_spreadsheet_on_windows(tmp_path):
    attributes = read_attributes(written(tmp_path, "\ufeffimage_id;sex\r\nZoe\u0308\\1.jpg;f\r\n"))
    assert attributes.values["sex"] == {"Zo\u00eb/1.jpg": "f"}


def test_attributes_of_images_come_before_those_of_people(tmp_path):
    attributes = read_attributes(written(tmp_path, "identity,age, image_id\nAda,20,a\nAda,30,b\n"))
    assert attributes.key == "image_id"
    assert attributes.of("age", ["b", "a"], ["Ada", "Ada"]).tolist() == ["30", "20"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,sex\nAda,f\n", "header has image_id or identity"),
        ("identity\nAda\n", "at least one attribute"),
        ("", "header has image_id or identity"),
        ("identity,sex\nAda,f\nAda,m\n", "line 3: a second row of identity 'Ada'"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    with pytest.raises(PairsError, match=rf"groups.csv.*{message}"):
        read_attributes(written(tmp_path, text))
    with pytest.raises(PairsError, match="no such file; expected a CSV of attributes"):
        read_attributes(str(tmp_path / "none.csv"))


def test_groups_are_judged_within_themselves_at_the_same_thresholds():
    # Five pairs of women, four of men, one of both, one whose sex is not known.
    a = np.array(["f"] * 5 + ["m"] * 4 + ["f", ""], object)
    b = np.array(["f"] * 5 + ["m"] * 4 + ["m", ""], object)
    same = np.array([1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1], bool)
    distances = np.array([0.2, 1.2, 0.5, 1.4, 1.5, 0.3, 0.4, 1.1, 1.3, 0.1, 0.1])
    women, men = by_group("sex", a, b, Decisions(same, distances, distances < 1, distances < 0.45))
    assert (women.group, women.one_person, women.two_people) == ("f", 2, 3)
    assert (women.fmr, women.fnmr, women.accuracy) == (1 / 3, 1 / 2, 3 / 5)
    assert (women.val_rate, women.far) == (1 / 2, 0)
    assert (men.fmr, men.fnmr, men.accuracy, men.auc, men.eer) == (0, 0, 1, 1, 0)
    # Of the 5 pairs of two people within groups 1 is a false match, of the 4 of one 1 is missed.
    assert women.fmr_ratio == pytest.approx((1 / 3) / (1 / 5))
    assert women.fnmr_ratio == pytest.approx((1 / 2) / (1 / 4))
    assert men.fmr_ratio == men.fnmr_ratio == 0
    assert women.auc == pytest.approx(5 / 6)  # only 1.2 of one person is above 0.5 of two


def test_a_group_without_pairs_of_a_kind_has_no_rate_of_it():
    only = np.array(["x", "x"], object)
    accepted = np.array([True, True])
    (group,) = by_group("g", only, only, Decisions(accepted, np.zeros(2), accepted, accepted))
    assert (group.fmr, group.far, group.auc, group.eer, group.fmr_ratio) == (None,) * 5
    assert (group.fnmr, group.accuracy) == (0, 1)
