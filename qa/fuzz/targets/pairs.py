"""Lists that name images: pairs of every format, groups, lists of photographs."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from facenet_core.datasets.pairs import files
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.datasets.sources.listing import Listed
from facenet_core.evaluation.protocol.groups import read_attributes

from ..target import Target
from .archives import LIMITS, jpeg

_VIEW_2 = b"2\t2\nAnn\t1\t2\nBob\t1\t3\nAnn\t1\tBob\t1\nBob\t2\tEve\t1\n" + (
    b"Eve\t1\t2\nBob\t1\t2\nAnn\t2\tBob\t1\nBob\t2\tAnn\t1\n"
)
_VIEW_1 = b"2\nAnn\t1\t2\nBob\t1\t3\nAnn\t1\tBob\t1\nBob\t2\tEve\t1\n"
_TRIPLES = b"a.jpg b.jpg 1\nc.jpg d.jpg 1\na.jpg c.jpg 0\nb.jpg d.jpg -1\n"
_TWINS = b"A_0001.jpg 1\nA_0002.jpg 1\nB_0001.jpg 2\nB_0002.jpg 2\nA_0001.jpg 0\nB_0001.jpg 0\n" * 2
_TABLE = b"fold,image_id_a,image_id_b,same\n0,a,b,true\n0,a,c,false\n1,b,c,1\n1,a,d,0\n"
_WINDOWS = b"\xef\xbb\xbf" + _TABLE.replace(b"\n", b"\r\n")
_GROUPS = b"identity,sex,age\nAnn,f,30\nBob,m,41\n"


# As people's programs write text; those of Windows put a mark in front.
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")


def read_pairs(data: bytes, folder: Path) -> None:
    (folder / "pairs.txt").write_bytes(data)
    _require_whole(files.read(str(folder / "pairs.txt"), 2))


def _require_whole(pairs: Pairs) -> None:
    """Folds from 0 without gaps, and what was read can be written and read again."""
    assert set(pairs.fold) == set(range(pairs.nrof_folds))
    assert len(pairs) == len(pairs.image_id_a) == len(pairs.image_id_b) == len(pairs.same)


def pairs_texts() -> st.SearchStrategy[bytes]:
    names = st.sampled_from(
        ["Ann", "Bob", "Zoë", "a b", "A_0001.jpg", "x/y.png", "x\\y.png", "", "\x1b[31m", "=1+1"]
    )
    numbers = st.sampled_from(["0", "1", "2", "10", "-1", "01", "²", "١", "1.0", "9" * 12])
    gap = st.sampled_from(["\t", " ", ",", "  ", ";"])
    heads = [
        "10\t300",
        "1",
        "2 2",
        "fold,image_id_a,image_id_b,same",
        "image_id_a,image_id_b,same",
        "-3",
        "²",
    ]
    head = st.sampled_from(heads)
    line = st.tuples(gap, st.lists(names | numbers, max_size=5)).map(lambda t: t[0].join(t[1]))
    end, encoding = st.sampled_from(["\n", "\n", "\r\n"]), st.sampled_from(ENCODINGS)
    return st.tuples(head, st.lists(line, max_size=8), end, encoding).map(
        lambda t: t[2].join([t[0], *t[1]]).encode(t[3], "replace")
    )


def pairs_tables() -> list[bytes]:
    import pyarrow.parquet as pq

    from facenet_core.datasets.pairs import tables as tables

    pairs = files.parse(_TABLE.decode(), "seed", 2)
    whole, bare = io.BytesIO(), io.BytesIO()
    pq.write_table(tables.to_table(pairs), whole)
    pq.write_table(tables.to_table(pairs).drop_columns("fold"), bare, compression="zstd")
    return [whole.getvalue(), bare.getvalue()]


def read_cfp(data: bytes, folder: Path) -> None:
    """The input is four files, apart by a line of `--`."""
    places = ("Pair_list_F.txt", "Pair_list_P.txt", "Split/FP/01/same.txt", "Split/FP/01/diff.txt")
    for path, part in zip(places, data.split(b"\n--\n"), strict=False):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(part)
    (folder / "Split/FP").mkdir(parents=True, exist_ok=True)
    pairs = files.read(str(folder / "Split/FP"), 2)
    for image_id in (*pairs.image_id_a, *pairs.image_id_b):
        assert ".." not in image_id.split("/")


def _cfp() -> list[bytes]:
    names = b"1 ../Data/Images/001/frontal/01.jpg\n2 ../Data/Images/002/frontal/01.jpg"
    return [b"\n--\n".join([names, names, b"1,1\n2,2", b"1,2\n2,1"])]


def read_groups(data: bytes, folder: Path) -> None:
    (folder / "groups.csv").write_bytes(data)
    attributes = read_attributes(str(folder / "groups.csv"))
    for name in attributes.values:
        assert len(attributes.of(name, ["a"], ["Ann"])) == 1


def read_list(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        (folder / "Ann").mkdir()
        (folder / "Ann" / "1.jpg").write_bytes(jpeg())
        os.mkfifo(folder / "pipe.jpg")
        data = data.replace(b"FOLDER", os.fsencode(folder))
        (folder / f"list.{suffix}").write_bytes(data)
        for item in Listed(str(folder / f"list.{suffix}")).items(LIMITS):
            assert item.path is not None

    return read


def lists() -> st.SearchStrategy[bytes]:
    cells = st.sampled_from(
        ["Ann/1.jpg", "path", "identity", "Ann", "/etc/hostname", "../x", "file:///x"]
    )
    odd = st.sampled_from(
        ["memory://a", "nosuch://x", "\0", "a" * 5000, '"', '"a\nb"', "~", "*", "http://"]
    )
    endless = st.sampled_from(
        ["file:///dev/zero", "/dev/zero", "pipe.jpg", "file://FOLDER/pipe.jpg", "FOLDER", "."]
    )
    chained = st.sampled_from(
        ["simplecache::file:///dev/zero", "zip://a::file:///x.zip", "a::b", "file:///a%2Fb%00c"]
    )
    named = st.sampled_from(["Ann\\1.jpg", ".\\Ann\\1.jpg", "Zoe\u0308", "\u202eAnn", "n" * 5000])
    line = st.tuples(
        st.sampled_from([",", ",", ";", "\t"]),
        st.lists(cells | odd | endless | chained | named, max_size=3),
    ).map(lambda parts: parts[0].join(parts[1]))
    end = st.sampled_from(["\n", "\n", "\r\n", "\r"])
    text = st.tuples(end, st.lists(line, max_size=5)).map(lambda parts: parts[0].join(parts[1]))
    return st.tuples(text, st.sampled_from(ENCODINGS)).map(lambda t: t[0].encode(t[1], "replace"))


TARGETS = (
    Target(
        "pairs",
        read_pairs,
        lambda: [_VIEW_2, _VIEW_1, _TRIPLES, _TWINS, _TABLE, _WINDOWS],
        weight=12,
        text=True,
        drawn=pairs_texts,
    ),
    Target("pairs in Parquet", read_pairs, pairs_tables, weight=3),
    Target("pairs of CFP", read_cfp, _cfp, weight=2, text=True),
    Target("groups", read_groups, lambda: [_GROUPS], weight=2, text=True),
    Target(
        "list of photographs",
        read_list("csv"),
        lambda: [b"path,identity\nAnn/1.jpg,Ann\n", b"Ann/1.jpg\n", b"Ann/1.jpg,Zo\xeb\n"],
        weight=3,
        text=True,
        drawn=lists,
    ),
)
