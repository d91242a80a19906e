import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from facenet_core.datasets.pairs import lfw
from facenet_core.datasets.pairs.resolve import Pairs, resolve, with_folds
from facenet_core.errors import PairsError

VIEW_2 = """2\t1
Ada_Lovelace\t1\t2
Ada_Lovelace\t1\tAlan_Turing\t3
Grace_Hopper\t4\t10
Grace_Hopper\t1\tAlan_Turing\t1
"""
CROPS = [
    "lfw/Ada_Lovelace/Ada_Lovelace_0001.jpg",
    "lfw/Ada_Lovelace/Ada_Lovelace_0002.png",
    "lfw/Alan_Turing/Alan_Turing_0001.jpg",
    "lfw/Grace_Hopper/Grace_Hopper_0001.jpg",
    "lfw/Grace_Hopper/Grace_Hopper_0004.jpg",
    "lfw/Grace_Hopper/Grace_Hopper_0010.jpg",
]
REJECTS = ["lfw/Alan_Turing/Alan_Turing_0003.jpg"]


def test_names_are_found_below_any_folder_with_any_extension():
    read = lfw.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    resolved, missing = resolve(read, CROPS, REJECTS, "pairs.txt")
    assert resolved.image_id_b[0] == "lfw/Ada_Lovelace/Ada_Lovelace_0002.png"
    assert missing.tolist() == [False, True, False, False]
    assert resolved.fold.tolist() == read.fold.tolist()


def test_decomposed_names_are_found():
    read = lfw.parse("1 1\nZoe\u0308 1 2\nZoe\u0308 1 Bo 1\n", "pairs.txt", nrof_folds=2)
    crops = ["Zoë/Zoë_0001.jpg", "Zoë/Zoë_0002.jpg", "Bo/Bo_0001.jpg"]
    _, missing = resolve(read, crops, [], "pairs.txt")
    assert not missing.any()


def test_names_may_be_paths_as_windows_writes_them():
    pairs = Pairs.of([(0, r"Ann\Ann_0001.jpg", r"Ann\Ann_0002", True)], "file")
    crops = ["faces/Ann/Ann_0001.jpg", "faces/Ann/Ann_0002.jpg"]
    resolved, _ = resolve(pairs, crops, [], "pairs.csv")
    assert [resolved.image_id_a[0], resolved.image_id_b[0]] == crops


def test_names_in_neither_crops_nor_rejects_are_listed():
    read = lfw.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    with pytest.raises(
        PairsError, match=r"pairs.txt: 1 of 7 images .*Alan_Turing/Alan_Turing_0003"
    ):
        resolve(read, CROPS, [], "pairs.txt")


def test_two_images_of_one_name_are_refused():
    read = lfw.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    twin = "lfw/Ada_Lovelace/Ada_Lovelace_0001.png"
    with pytest.raises(PairsError, match=r"Ada_Lovelace_0001.jpg, .*Ada_Lovelace_0001.png"):
        resolve(read, [*CROPS, twin], REJECTS, "pairs.txt")


def named(*names: str) -> Pairs:
    return Pairs.of([(0, first, names[0], True) for first in names[1:]], "file")


@pytest.mark.parametrize(
    "name",
    ["lfw/Ada_Lovelace/Ada_Lovelace_0002.png", "Ada_Lovelace_0002.jpg", "Ada_Lovelace_0002"],
)
def test_images_are_named_by_any_end_of_their_path_and_any_extension(name):
    resolved, missing = resolve(named(CROPS[0], name), CROPS, REJECTS, "pairs.csv")
    assert resolved.image_id_a.tolist() == ["lfw/Ada_Lovelace/Ada_Lovelace_0002.png"]
    assert not missing.any()


def test_a_whole_image_id_comes_before_others_that_end_like_it():
    crops = ["a.jpg", "x/a.jpg", "b.jpg"]
    resolved, _ = resolve(named("b.jpg", "a.jpg"), crops, [], "pairs.csv")
    assert resolved.image_id_a.tolist() == ["a.jpg"]


def test_a_part_of_a_name_is_no_name():
    with pytest.raises(PairsError, match="Lovelace_0001"):
        resolve(named(CROPS[2], "Lovelace_0001"), CROPS, REJECTS, "pairs.csv")


# --- Folds for lists without -------------------------------------------------------------------


def listed(same: list[bool]) -> Pairs:
    return Pairs.of([(0, f"a{n}", f"b{n}", s) for n, s in enumerate(same)], "file")


@given(st.integers(2, 7), st.integers(0, 30))
def test_mixed_lists_are_cut_by_position_as_kfold_cuts_them(nrof_folds, more):
    same = [True, False] * (nrof_folds + more)
    pairs = with_folds(listed(same), nrof_folds, "pairs.txt")
    assert pairs.folding == "position"
    for fold, (_, test) in enumerate(KFold(nrof_folds, shuffle=False).split(same)):
        assert np.flatnonzero(pairs.fold == fold).tolist() == test.tolist()


def test_lists_of_one_kind_after_the_other_are_cut_kind_by_kind():
    pairs = with_folds(listed([True] * 4 + [False] * 6), 2, "pairs.txt")
    assert pairs.folding == "stratified"
    assert pairs.fold.tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]


def test_too_few_pairs_of_a_kind_for_the_folds_are_refused():
    message = "3 pairs of one person and 9 of two cannot fill 4 folds; .* at most 3"
    with pytest.raises(PairsError, match=message):
        with_folds(listed([True] * 3 + [False] * 9), 4, "pairs.txt")


def test_folds_are_numbered_without_gaps():
    pairs = Pairs.of([(3, "a", "b", True), (7, "c", "d", False), (3, "e", "f", False)], "file")
    assert pairs.fold.tolist() == [0, 1, 0]
    assert dataclasses.replace(pairs).nrof_folds == 2
