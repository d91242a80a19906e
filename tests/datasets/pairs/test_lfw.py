import contextlib
import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.datasets.pairs import files, lfw
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.errors import PairsError

VIEW_2 = """2\t1
Ada_Lovelace\t1\t2
Ada_Lovelace\t1\tAlan_Turing\t3
Grace_Hopper\t4\t10
Grace_Hopper\t1\tAlan_Turing\t1
"""


def view_1(nrof: int) -> str:
    same = [f"A\t{n}\t{n + 1}" for n in range(1, nrof + 1)]
    different = [f"A\t{n}\tB\t{n}" for n in range(1, nrof + 1)]
    return "\n".join([str(nrof), *same, *different]) + "\n"


def test_view_2_brings_its_folds():
    read = lfw.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    assert read.fold.tolist() == [0, 0, 1, 1]
    assert read.fold.dtype == np.int32
    assert read.same.tolist() == [True, False, True, False]
    assert read.image_id_a[0] == "Ada_Lovelace/Ada_Lovelace_0001"
    assert read.image_id_b[1] == "Alan_Turing/Alan_Turing_0003"
    assert read.image_id_b[2] == "Grace_Hopper/Grace_Hopper_0010"


def test_view_1_is_cut_into_folds_with_pairs_of_both_kinds():
    read = lfw.parse(view_1(20), "pairsDevTest.txt", nrof_folds=10)
    assert read.fold.tolist() == [n // 2 for n in range(20)] * 2
    assert read.same.tolist() == [True] * 20 + [False] * 20


def test_lfws_own_development_view(shared):
    read = files.read(str(shared / "data/lfw-dev/pairsDevTest.txt"), nrof_folds=10)
    assert np.bincount(read.fold[read.same]).tolist() == [50] * 10
    assert np.bincount(read.fold[~read.same]).tolist() == [50] * 10
    assert read.image_id_a[0] == "Abdullah_Gul/Abdullah_Gul_0013"
    assert len({*read.image_id_a, *read.image_id_b}) == 1549


def test_windows_line_ends_byte_order_mark_and_blank_end(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xef\xbb\xbf" + VIEW_2.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert len(files.read(str(path), nrof_folds=10)) == 4


def test_tabs_allow_spaces_in_names():
    text = "1 1\nAda Lovelace\t1\t2\nAda Lovelace\t1\tAlan 2\t3\n"
    read = lfw.parse(text, "pairs.txt", nrof_folds=10)
    assert read.image_id_a[0] == "Ada Lovelace/Ada Lovelace_0001"
    assert read.image_id_b[1] == "Alan 2/Alan 2_0003"


names = st.text(st.characters(categories=["Lu", "Ll", "Nd"], include_characters="_-."), min_size=1)
numbers = st.integers(0, 99_999)


def image(name: str, number: int) -> str:
    return unicodedata.normalize("NFC", f"{name}/{name}_{number:04d}")


@given(st.data(), st.integers(1, 4), st.integers(1, 5))
def test_what_is_written_is_read(data, folds, half):
    lines, expected = [f"{folds}\t{half}"], []
    for fold, is_same, _ in itertools.product(range(folds), (True, False), range(half)):
        people = data.draw(st.lists(names, min_size=2, max_size=2, unique_by=str))
        n, m = data.draw(st.lists(numbers, min_size=2, max_size=2, unique=True))
        first, second = (people[0], people[0]) if is_same else people
        lines.append(f"{first}\t{n}\t{m}" if is_same else f"{first}\t{n}\t{second}\t{m}")
        expected.append((fold, image(first, n), image(second, m), is_same))
    read = lfw.parse("\n".join(lines), "pairs.txt", nrof_folds=10)
    results = zip(read.fold, read.image_id_a, read.image_id_b, read.same, strict=True)
    assert list(results) == expected


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(PairsError):
        assert len(lfw.parse(text, "pairs.txt", nrof_folds=2)) > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected `folds n`"),
        ("Ada\t1\t2\n", "line 1: expected `folds n`"),
        ("0 300\n", "line 1: expected `folds n`"),
        ("1 2 3\n", "line 1: expected `folds n`"),
        (view_1(3), "set lfw_nrof_folds to at most 3"),
        (VIEW_2.rsplit("Grace", 1)[0], r"announces 2 × \(1 pairs .* 4 lines; found 3"),
        (VIEW_2 + "Ada\t1\t2\n", "4 lines; found 5"),
        (VIEW_2.replace("4\t10", "4"), "line 4: expected `Name N M`.*found 'Grace_Hopper.t4'"),
        (VIEW_2.replace("4\t10", "four\t10"), "line 4: expected `Name N M`"),
        (VIEW_2.replace("4\t10", "4\t4"), "line 4: expected two different images"),
        (VIEW_2.replace("1\tAlan_Turing\t3", "1\t3"), "line 3: expected `Name N Other M`"),
        (VIEW_2.replace("Alan_Turing\t3", "Ada_Lovelace\t3"), "line 3: .* images of two people"),
    ],
)
def test_malformed_files_are_refused_with_their_line(text, message):
    with pytest.raises(PairsError, match=message):
        lfw.parse(text, "pairs.txt", nrof_folds=10)


def test_what_was_read_is_written_as_it_was():
    read = lfw.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    assert lfw.format_pairs(read, "pairs.txt") == VIEW_2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a/a_0001.jpg", "a/a_0002.jpg"), ("a/a_0001.jpg", "17/003.jpg")], "17/003.jpg is not"),
        ([("a/a_1.jpg", "a/a_0002.jpg"), ("a/a_0001.jpg", "b/b_0001.jpg")], "a/a_1.jpg is not"),
        ([("a/a_0001.jpg", "a/a_0002.jpg"), ("a/a_0001.jpg", "b/b_0001.jpg")] * 2, None),
        ([("a/a_0001.jpg", "a/a_0002.jpg")] * 3, "these have 0 to 3"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(rows, message):
    pairs = Pairs.of([(0, a, b, a[0] == b[0]) for a, b in rows], "file")
    if message is None:
        assert lfw.format_pairs(pairs, "pairs.txt").startswith("1\t2\n")
        return
    with pytest.raises(PairsError, match=f"pairs.txt: .*{message}.*write .csv or .parquet"):
        lfw.format_pairs(pairs, "pairs.txt")
