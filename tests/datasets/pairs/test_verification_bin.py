import contextlib
import os
import pickle
import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core.datasets.pairs import verification_bin
from facenet_core.errors import PairsError

IMAGES = [b"\xff\xd8one", b"\xff\xd8two", b"\xff\xd8\x00\xe9", b"\xff\xd8one"]


def stored(tmp_path, content, protocol=4):
    file = tmp_path / "set.bin"
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    return str(file)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        (IMAGES, [True, False]),
        [tuple(IMAGES), (1, 0)],
        ([bytearray(image) for image in IMAGES], [True, False]),
        (IMAGES, np.array([True, False])),
        (IMAGES, [np.bool_(True), np.bool_(False)]),
        ([np.frombuffer(image, np.uint8) for image in IMAGES], [True, False]),
    ],
    ids=["lists", "tuples", "bytearrays", "array of labels", "NumPy labels", "arrays of bytes"],
)
def test_sets_as_they_are_found_are_read(tmp_path, content, protocol):
    verification_set = verification_bin.read(stored(tmp_path, content, protocol))
    assert verification_set.images == tuple(IMAGES)
    assert verification_set.same.tolist() == [True, False]


def test_a_pickle_of_python_2_is_read(tmp_path):
    # As Python 2 writes (["\xff\xd8", "\xe9"], [True]) with protocol 2.
    (tmp_path / "old.bin").write_bytes(
        b"\x80\x02]q\x00(U\x02\xff\xd8q\x01U\x01\xe9q\x02e]q\x03\x88a\x86q\x04."
    )
    verification_set = verification_bin.read(str(tmp_path / "old.bin"))
    assert verification_set.images == (b"\xff\xd8", b"\xe9")


class Call:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def touch(tmp_path):
    return f"touch {tmp_path}/touched"


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(tmp_path, protocol):
    hostile = Call(os.system, touch(tmp_path))
    for content in (([hostile] * 2, [True]), ([b"a", b"b"], hostile), hostile):
        with pytest.raises(PairsError, match=r"wants to call .*system, which is not done"):
            verification_bin.read(stored(tmp_path, content, protocol))
    assert not (tmp_path / "touched").exists()


def test_numpys_own_objects_hide_nothing(tmp_path):
    hidden = np.array([Call(os.system, touch(tmp_path))], object)
    with pytest.raises(PairsError, match="wants to call"):
        verification_bin.read(stored(tmp_path, (IMAGES[:2], hidden)))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((IMAGES, [True]), "4 images for 1 pair;"),
        (([], []), "0 images for 0 pairs"),
        ({"images": IMAGES}, "cannot be read"),
        ((IMAGES, [True, 2]), "has the label 2"),
        ((["text", b"b"], [True]), "holds a str in place of an encoded image"),
        ((IMAGES, np.array([0.5, 1.0])), "holds an array of f8"),
        (IMAGES, "cannot be read"),
    ],
)
def test_other_pickles_are_refused(tmp_path, content, message):
    with pytest.raises(PairsError, match=message):
        verification_bin.read(stored(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\xff.",  # remember this as number 4294967295
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes, 2^63 of them
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a frame of as many
        b"\x80\x05\x96" + (2**36).to_bytes(8, "little") + b".",  # a bytearray of 64 GiB
    ],
)
def test_large_numbers_in_a_file_take_no_memory(tmp_path, content):
    (tmp_path / "set.bin").write_bytes(content)
    with pytest.raises(PairsError, match="cannot be read"):
        verification_bin.read(str(tmp_path / "set.bin"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert used < 8 * 2**20  # KiB


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PairsError, match="no such file; expected an InsightFace"):
        verification_bin.read(str(tmp_path / "set.bin"))


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_or_are_pairs(tmp_path_factory, content):
    """Even few bytes may be a whole set, of images that are empty."""
    file = tmp_path_factory.getbasetemp() / "any.bin"
    file.write_bytes(content)
    with contextlib.suppress(PairsError):
        verification_set = verification_bin.read(str(file))
        assert len(verification_set.images) == 2 * len(verification_set.same) > 0
