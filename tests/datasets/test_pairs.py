import contextlib
import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.datasets import pairs
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


def people(nrof: int, images: int) -> dict[str, str]:
    return {f"P{p}/P{p}_{i:04d}.jpg": f"P{p}" for p in range(nrof) for i in range(images)}


def test_view_2_brings_its_folds():
    read = pairs.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    assert read.fold.tolist() == [0, 0, 1, 1]
    assert read.fold.dtype == np.int32
    assert read.same.tolist() == [True, False, True, False]
    assert read.image_id_a[0] == "Ada_Lovelace/Ada_Lovelace_0001"
    assert read.image_id_b[1] == "Alan_Turing/Alan_Turing_0003"
    assert read.image_id_b[2] == "Grace_Hopper/Grace_Hopper_0010"


def test_view_1_is_cut_into_folds_with_pairs_of_both_kinds():
    read = pairs.parse(view_1(20), "pairsDevTest.txt", nrof_folds=10)
    assert read.fold.tolist() == [n // 2 for n in range(20)] * 2
    assert read.same.tolist() == [True] * 20 + [False] * 20


def test_lfws_own_development_view(shared):
    read = pairs.read(str(shared / "data/lfw-dev/pairsDevTest.txt"), nrof_folds=10)
    assert np.bincount(read.fold[read.same]).tolist() == [50] * 10
    assert np.bincount(read.fold[~read.same]).tolist() == [50] * 10
    assert read.image_id_a[0] == "Abdullah_Gul/Abdullah_Gul_0013"
    assert len({*read.image_id_a, *read.image_id_b}) == 1549


def test_windows_line_ends_byte_order_mark_and_blank_end(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_bytes(b"\xef\xbb\xbf" + VIEW_2.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert len(pairs.read(str(path), nrof_folds=10)) == 4


def test_tabs_allow_spaces_in_names():
    text = "1 1\nAda Lovelace\t1\t2\nAda Lovelace\t1\tAlan 2\t3\n"
    read = pairs.parse(text, "pairs.txt", nrof_folds=10)
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
    read = pairs.parse("\n".join(lines), "pairs.txt", nrof_folds=10)
    found = zip(read.fold, read.image_id_a, read.image_id_b, read.same, strict=True)
    assert list(found) == expected


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(PairsError):
        assert len(pairs.parse(text, "pairs.txt", nrof_folds=2)) > 0


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
        pairs.parse(text, "pairs.txt", nrof_folds=10)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(PairsError, match="no such pairs file"):
        pairs.read(str(tmp_path / "pairs.txt"), nrof_folds=10)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(PairsError, match="not a text file"):
        pairs.read(str(tmp_path / "photo.jpg"), nrof_folds=10)


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
    read = pairs.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    resolved, missing = pairs.resolve(read, CROPS, REJECTS, "pairs.txt")
    assert resolved.image_id_b[0] == "lfw/Ada_Lovelace/Ada_Lovelace_0002.png"
    assert missing.tolist() == [False, True, False, False]
    assert resolved.fold.tolist() == read.fold.tolist()


def test_decomposed_names_are_found():
    read = pairs.parse("1 1\nZoe\u0308 1 2\nZoe\u0308 1 Bo 1\n", "pairs.txt", nrof_folds=2)
    crops = ["Zoë/Zoë_0001.jpg", "Zoë/Zoë_0002.jpg", "Bo/Bo_0001.jpg"]
    _, missing = pairs.resolve(read, crops, [], "pairs.txt")
    assert not missing.any()


def test_names_in_neither_crops_nor_rejects_are_listed():
    read = pairs.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    with pytest.raises(
        PairsError, match=r"pairs.txt: 1 of 7 images .*Alan_Turing/Alan_Turing_0003"
    ):
        pairs.resolve(read, CROPS, [], "pairs.txt")


def test_two_images_of_one_name_are_refused():
    read = pairs.parse(VIEW_2, "pairs.txt", nrof_folds=10)
    twin = "lfw/Ada_Lovelace/Ada_Lovelace_0001.png"
    with pytest.raises(PairsError, match=r"Ada_Lovelace_0001.jpg, .*Ada_Lovelace_0001.png"):
        pairs.resolve(read, [*CROPS, twin], REJECTS, "pairs.txt")


def in_fold(drawn: pairs.Pairs, fold: int) -> set[str]:
    rows = drawn.fold == fold
    return {*drawn.image_id_a[rows], *drawn.image_id_b[rows]}


@pytest.mark.parametrize(
    "identity_of",
    [
        people(30, 10),
        people(20, 8),  # just enough
        people(12, 10) | {f"single/{n}.jpg": f"single {n}" for n in range(500)},
    ],
    ids=["plenty", "just enough", "many people with one image"],
)
def test_generated_pairs_are_balanced_and_folds_share_no_people(identity_of):
    nrof_folds = 10 if len(identity_of) < 500 else 4
    drawn = pairs.generate(identity_of, nrof_folds, per_fold=50, seed=0)
    assert np.bincount(drawn.fold[drawn.same]).tolist() == [50] * nrof_folds
    assert np.bincount(drawn.fold[~drawn.same]).tolist() == [50] * nrof_folds
    both = list(zip(drawn.image_id_a, drawn.image_id_b, drawn.same, strict=True))
    assert all((identity_of[a] == identity_of[b]) == same for a, b, same in both)
    assert len({frozenset((a, b)) for a, b, _ in both}) == len(drawn)
    assert all(a != b for a, b, _ in both)
    for one, other in itertools.combinations(range(nrof_folds), 2):
        seen = ({identity_of[i] for i in in_fold(drawn, fold)} for fold in (one, other))
        assert not set.intersection(*seen)


def test_people_with_one_image_are_spread_over_the_folds():
    identity_of = people(4, 10) | {f"single/{n}.jpg": f"single {n}" for n in range(100)}
    drawn = pairs.generate(identity_of, 2, per_fold=40, seed=0)
    for fold in range(2):
        assert sum(image.startswith("single/") for image in in_fold(drawn, fold)) > 20


def test_a_person_with_many_images_does_not_prevail():
    identity_of = people(20, 10) | {f"X/X_{n:04d}.jpg": "X" for n in range(500)}
    drawn = pairs.generate(identity_of, 2, per_fold=50, seed=0)
    assert sum(identity_of[a] == "X" for a in drawn.image_id_a[drawn.same]) < 20


def test_generated_pairs_depend_on_nothing_but_images_and_seed():
    identity_of = people(30, 10)
    reversed_order = dict(reversed(identity_of.items()))
    first = pairs.generate(identity_of, 10, 50, seed=1)
    again = pairs.generate(reversed_order, 10, 50, seed=1)
    other = pairs.generate(identity_of, 10, 50, seed=2)
    assert first.image_id_a.tolist() == again.image_id_a.tolist()
    assert first.image_id_b.tolist() == again.image_id_b.tolist()
    assert first.image_id_a.tolist() != other.image_id_a.tolist()


@pytest.mark.parametrize(
    ("nrof", "images", "needed"),
    [
        (5, 10, "20 people with 8 images"),
        (0, 0, "20 people with 8 images"),
        (50, 1, "50 people with 5 images"),
        (20, 7, "20 people with 8 images"),
    ],
)
def test_too_few_people_or_images_are_refused_with_what_is_needed(nrof, images, needed):
    with pytest.raises(PairsError, match=f"from {nrof} people .*needed are at least {needed}"):
        pairs.generate(people(nrof, images), 10, 50, seed=0)


@given(st.integers(2, 5), st.integers(1, 30), st.integers(0, 12), st.integers(0, 6))
def test_what_the_refusal_asks_for_is_enough(nrof_folds, per_fold, nrof, images):
    try:
        pairs.generate(people(nrof, images), nrof_folds, per_fold, seed=0)
    except PairsError as error:
        words = str(error).split("at least ")[1].split()
        enough = people(int(words[0]), int(words[3]))
        assert (
            len(pairs.generate(enough, nrof_folds, per_fold, seed=0)) == 2 * nrof_folds * per_fold
        )
