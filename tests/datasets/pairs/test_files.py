import contextlib
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facenet_core import storage
from facenet_core.datasets.pairs import files
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.errors import PairsError
from facenet_core.storage import Outcome

ROWS = [
    (0, "Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg", True),
    (0, "Ada/Ada_0001.jpg", "Bo, the 2nd/x.jpg", False),
    (1, "Zoë/1.png", "Zoë/2.png", True),
    (1, "Zoë/1.png", "Ada/Ada_0001.jpg", False),
]


def rows(pairs: Pairs) -> list[tuple[int, str, str, bool]]:
    columns = (pairs.fold, pairs.image_id_a, pairs.image_id_b, pairs.same)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_tables_are_read_as_they_were_written(tmp_path, extension):
    path = str(tmp_path / f"pairs.{extension}")
    files.write(Pairs.of(ROWS, "drawn"), path)
    read = files.read(path, nrof_folds=10)
    assert rows(read) == ROWS
    assert read.folding == "file"


def test_lfws_format_is_written_where_names_allow(tmp_path):
    path = str(tmp_path / "pairs.txt")
    some = [(0, "A/A_0001.jpg", "A/A_0002.jpg", True), (0, "A/A_0001.jpg", "B/B_0001.png", False)]
    files.write(Pairs.of(some, "drawn"), path)
    assert (tmp_path / "pairs.txt").read_text() == "1\t1\nA\t1\t2\nA\t1\tB\t1\n"
    with pytest.raises(PairsError, match=r"Zoë/1.png is not; write .csv or .parquet"):
        files.write(Pairs.of(ROWS[2:], "drawn"), path)


def test_other_extensions_are_not_written(tmp_path):
    with pytest.raises(PairsError, match=r"written as .csv, .parquet or .txt"):
        files.write(Pairs.of(ROWS, "drawn"), str(tmp_path / "pairs.xlsx"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_table_may_come_from_a_spreadsheet(tmp_path, encoding, separator):
    lines = ["fold,image_id_a,image_id_b,same", "0,Zoë/1.png,b,TRUE", "0,c,d,FALSE", ""]
    text = "\r\n".join(lines).replace(",", separator)
    (tmp_path / "p.csv").write_bytes(text.encode(encoding))
    read = files.read(str(tmp_path / "p.csv"), nrof_folds=2)
    assert rows(read) == [(0, "Zoë/1.png", "b", True), (0, "c", "d", False)]


def test_a_table_without_folds_is_cut(tmp_path):
    header = "same,image_id_a,image_id_b,note\n"
    (tmp_path / "p.csv").write_text(header + "1,a,b,x\n0,c,d,y\n TRUE,e,f,\nfalse,g,h,\n")
    read = files.read(str(tmp_path / "p.csv"), nrof_folds=2)
    assert rows(read) == [
        (0, "a", "b", True),
        (0, "c", "d", False),
        (1, "e", "f", True),
        (1, "g", "h", False),
    ]
    assert read.folding == "position"


HEADER = "fold,image_id_a,image_id_b,same\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold,image_id_a,same\n0,a,1\n", "no column image_id_b"),
        (HEADER, "holds no pairs"),
        (HEADER + "0,a,b,1\n0,a,b,maybe\n", "line 3: expected a fold number"),
        (HEADER + "x,a,b,1\n", "line 2: expected a fold number"),
        (HEADER + "0,a,,1\n", "line 2: expected a fold number"),
        (HEADER + "0,a\n", "line 2: expected a fold number"),
        (HEADER + "0,a,a,1\n", "line 2: expected two different images"),
    ],
)
def test_malformed_csv_is_refused_with_its_line(text, message):
    with pytest.raises(PairsError, match=f"pairs.csv.*{message}"):
        files.parse(text, "pairs.csv", nrof_folds=2)


def test_malformed_parquet_is_refused(tmp_path):
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(PairsError, match="not a Parquet file that can be read"):
        files.read(str(tmp_path / "cut.parquet"), 10)
    pq.write_table(pa.table({"image_id_a": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(PairsError, match="no column image_id_b, same"):
        files.read(str(tmp_path / "other.parquet"), 10)
    holes = pa.table({"image_id_a": ["a", None], "image_id_b": ["b", "c"], "same": [True, False]})
    pq.write_table(holes, tmp_path / "holes.parquet")
    with pytest.raises(PairsError, match="row 2: expected"):
        files.read(str(tmp_path / "holes.parquet"), 10)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(PairsError, match="no such pairs file"):
        files.read(str(tmp_path / "pairs.txt"), nrof_folds=10)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(PairsError, match="not a text file"):
        files.read(str(tmp_path / "photo.jpg"), nrof_folds=10)


@given(st.text())
def test_any_text_is_read_or_refused_whatever_its_format(text):
    for start in ("", HEADER, "a.jpg b.jpg 1\n", "a.jpg 1\n"):
        with contextlib.suppress(PairsError):
            assert len(files.parse(start + text, "pairs", nrof_folds=2)) > 0


# --- The lists of LFW's relatives --------------------------------------------------------------


def test_agedb_lists_have_two_images_and_a_label_a_line():
    text = "a/1.jpg a/2.jpg 1\na/1.jpg b/1.jpg 0\nb/1.jpg b/2.jpg 1\nb/2.jpg c/1.jpg -1\n"
    read = files.parse(text, "agedb_30_pair.txt", nrof_folds=2)
    assert rows(read)[1] == (0, "a/1.jpg", "b/1.jpg", False)
    assert read.fold.tolist() == [0, 0, 1, 1]
    assert read.same.tolist() == [True, False, True, False]
    with pytest.raises(
        PairsError, match=r"line 2: expected `image image label`.*found 'a/1.jpg 0'"
    ):
        files.parse("a/1.jpg a/2.jpg 1\na/1.jpg 0\n", "agedb_30_pair.txt", 2)


def test_calfw_lists_have_a_pair_on_two_lines_and_folds_of_the_pairs_of_one_person():
    same = [
        f"Ann_000{n}.jpg {fold}\nAnn_001{n}.jpg {fold}\n" for n, fold in enumerate([1, 1, 2, 2])
    ]
    different = [f"Ann_000{n}.jpg 0\nBob_000{n}.jpg 0\n" for n in range(4)]
    read = files.parse("".join(same + different), "pairs_CALFW.txt", nrof_folds=10)
    assert read.fold.tolist() == [0, 0, 1, 1] * 2
    assert read.same.tolist() == [True] * 4 + [False] * 4
    assert (read.image_id_a[4], read.image_id_b[4]) == ("Ann_0000.jpg", "Bob_0000.jpg")
    assert read.folding == "file"


def test_cplfw_lists_whose_number_is_only_a_label_are_cut():
    pair = "Ann_1.jpg {0}\nBob_1.jpg {0}\n"
    read = files.parse((pair.format(1) + pair.format(0)) * 4, "pairs_CPLFW.txt", nrof_folds=2)
    assert read.fold.tolist() == [0] * 4 + [1] * 4
    assert read.folding == "position"


@pytest.mark.parametrize(
    "text", ["Ann_1.jpg 1\nBob_1.jpg 0\n", "Ann_1.jpg 1\n", "Ann_1.jpg 1\nBob_1.jpg x\n"]
)
def test_two_lines_that_are_no_pair_are_refused(text):
    with pytest.raises(PairsError, match="line 1: expected two lines `image fold`"):
        files.parse(text, "pairs_CPLFW.txt", nrof_folds=2)


@pytest.fixture
def cfp(tmp_path):
    """CFP's protocol folder: two folds, frontal and profile images of two people."""
    protocol = tmp_path / "Protocol"
    for kind, name in (("frontal", "F"), ("profile", "P")):
        images = [f"{n} ../Data/Images/00{n}/{kind}/01.jpg" for n in (1, 2)]
        protocol.mkdir(exist_ok=True)
        (protocol / f"Pair_list_{name}.txt").write_text("\n".join(images) + "\n")
    for split in ("FF", "FP"):
        for fold in ("01", "02"):
            folder = protocol / "Split" / split / fold
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text("1,1\n2,2\n")
            (folder / "diff.txt").write_text("1,2\n2,1\n")
    return protocol


def test_cfp_pairs_frontal_with_profile_images(cfp):
    read = files.read(str(cfp / "Split/FP"), nrof_folds=10)
    assert read.fold.tolist() == [0] * 4 + [1] * 4
    assert rows(read)[0] == (
        0,
        *(f"Data/Images/001/{k}/01.jpg" for k in ("frontal", "profile")),
        True,
    )
    assert rows(read)[2] == (
        0,
        "Data/Images/001/frontal/01.jpg",
        "Data/Images/002/profile/01.jpg",
        False,
    )
    assert files.read(str(cfp / "Split/FF"), 10).image_id_b[0].endswith("frontal/01.jpg")


def test_cfps_content_is_that_of_all_its_files(cfp):
    folder = str(cfp / "Split/FP")
    before = files.content_of(folder)
    assert files.content_of(folder) == before
    (cfp / "Pair_list_P.txt").write_text("1 ../Data/Images/002/profile/01.jpg\n")
    assert files.content_of(folder) != before


def test_a_broken_cfp_folder_is_refused(cfp):
    with pytest.raises(PairsError, match="of CFP give the folder Protocol/Split/FP"):
        files.read(str(cfp), 10)
    (cfp / "Split/FP/02/diff.txt").write_text("1,2\n1,9\n")
    with pytest.raises(PairsError, match=r"02/diff.txt, line 2: expected `i,j`"):
        files.read(str(cfp / "Split/FP"), 10)
    (cfp / "Pair_list_F.txt").unlink()
    with pytest.raises(PairsError, match=r"Pair_list_F.txt: no such file"):
        files.read(str(cfp / "Split/FP"), 10)


def test_the_pairs_of_a_data_set_are_those_fetched_with_it(tmp_path):
    uris = [str(tmp_path / name) for name in ("lfw.tgz", "pairsDevTest.txt", "pairs.txt")]
    details = {"files": [{"uri": uri} for uri in uris]}
    plan = storage.plan_stage(str(tmp_path), "ingest", "lfw", {}, [], 1)
    raw = storage.publish(plan, Outcome((), {"images": 0}, details), {})
    with pytest.raises(PairsError, match=r"the pairs of lfw are gone; .*facenet ingest lfw"):
        files.of_data_set(raw)
    (tmp_path / "pairs.txt").write_text("")
    assert files.of_data_set(raw) == uris[2]
    assert files.of_data_set(replace(raw, details={})) is None
