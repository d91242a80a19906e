"""Photographs in, a table of embeddings out; whatever gave none is in the other table."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facenet_core.errors import ArtifactError, SourceError
from facenet_core.models.face_model import fit
from facenet_core.recognition import tables
from facenet_core.recognition.photographs import read_rows
from facenet_core.recognition.stream import embed_rows
from flows.cli.embedding import embed_sources
from flows.cli.main import main


@pytest.fixture(scope="module")
def archive(photographs, tmp_path_factory):
    """The photographs with a broken one, one of nobody and a text, as an archive."""
    folder = tmp_path_factory.mktemp("archive")
    blank = folder / "blank.png"
    Image.new("RGB", (60, 60), "white").save(blank)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (folder / "notes.txt").write_text("no photograph")
    with tarfile.open(folder / "faces.tgz", "w:gz") as tar:
        for person in sorted(photographs.iterdir()):
            tar.add(person, arcname=f"faces/{person.name}")
        for name in ("blank.png", "broken.jpg", "notes.txt"):
            tar.add(folder / name, arcname=f"faces/Nobody/{name}")
    return folder / "faces.tgz"


def test_every_photograph_is_in_one_of_two_tables(archive, embedder, root, tmp_path):
    path = str(tmp_path / "out.parquet")
    counts = tables.write(path, embed_rows(read_rows([str(archive)], root), embedder), "m" * 16)
    assert counts == {
        "faces": 6,
        "aligned": 6,
        "rejects": 2,
        "rejects.no_face": 1,
        "rejects.undecodable": 1,
    }
    frame = pandas.read_parquet(path)
    assert list(frame.columns) == tables.FACES.names
    assert frame.embedding[0].dtype == np.float32
    assert frame.identity.nunique() == 2
    rejects = pandas.read_parquet(tables.rejects_of(path))
    assert set(rejects.reason) == {"no_face", "undecodable"}


def test_the_rows_are_those_that_the_embedder_gives(photographs, files, embedder, root, tmp_path):
    path = str(tmp_path / "out.parquet")
    tables.write(path, embed_rows(read_rows([str(photographs)], root), embedder), "m" * 16)
    faces = tables.read(path)
    by_file = dict(zip(files, embedder.embed(files), strict=True))
    for image_id, vector in zip(faces.image_ids, faces.vectors, strict=True):
        np.testing.assert_allclose(vector, by_file[str(photographs / image_id)], atol=1e-5)
    assert faces.model == "m" * 16


def test_crops_are_embedded_as_they_are(embedder, files, root, tmp_path):
    from facenet_core.imaging.decode import encode

    crop = embedder.detect(files[0])[0].pixels
    (tmp_path / "Ann").mkdir()
    (tmp_path / "Ann" / "a.png").write_bytes(encode(crop, "png"))
    rows = read_rows([str(tmp_path)], root)
    [face] = embed_rows(rows, embedder, aligned=True)
    assert (face.box, face.score) == (None, None)
    np.testing.assert_allclose(face.vector, embedder.embed([files[0]])[0], atol=1e-5)


def test_single_photographs_are_a_source_too(files, root):
    assert [row["image_id"] for row in read_rows(files[:2], root)] == files[:2]
    with pytest.raises(SourceError, match=r"gone\.jpg: no such photograph"):
        list(read_rows(["gone.jpg"], root))


def test_a_command_says_which_formats_were_not_read(embedder, root, tmp_path, capsys):
    (tmp_path / "a.nef").write_bytes(b"II*\0" + bytes(50))
    [rejected] = embed_sources([str(tmp_path / "a.nef")], embedder, root)
    assert rejected.reason == "unsupported_format"
    assert "photographs not read: 1 (Nikon raw is not read" in capsys.readouterr().err


def test_an_interrupted_run_leaves_no_table(embedder, files, root, tmp_path):
    path = str(tmp_path / "out.parquet")
    with pytest.raises(SourceError):
        tables.write(path, embed_rows(read_rows([files[0], "gone.jpg"], root), embedder), "")
    assert not Path(path).exists()


def test_single_photographs_become_a_table_alone(files, model, tmp_path, capsys):
    path = str(tmp_path / "faces.parquet")
    assert main(["embed", *files, "--model", model, "--output", path, "--engine", "keras"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == path
    assert pq.read_metadata(path).num_rows == 6


def test_the_commands_on_photographs_work_together(photographs, files, model, tmp_path, capsys):
    arguments = ["--model", model, "--engine", "keras"]
    picture = str(tmp_path / "compare.png")
    assert main(["compare", files[0], files[3], *arguments, "--picture", picture]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == picture
    assert "Euclidean distances" in printed
    assert "The line is drawn at a Euclidean distance of 0.7071" in printed
    trained = str(tmp_path / "classifier.parquet")
    learn = ["classify", "train", str(photographs), *arguments, "--classifier", trained]
    assert main(learn) == 0
    assert "Cross-validation, 3 folds" in capsys.readouterr().out
    assert main(["classify", "predict", files[0], *arguments, "--classifier", trained]) == 0
    printed = capsys.readouterr().out
    assert Path(files[0]).parent.name in printed
    assert "Euclidean distance" in printed
    folders, table = tmp_path / "people", str(tmp_path / "clusters.parquet")
    gather = ["cluster", str(photographs), *arguments, "--max-distance", "1.9", "--output", table]
    assert main([*gather, "--folders", str(folders)]) == 0
    assert len(list((folders / "0000").iterdir())) == 6
    assert pandas.read_parquet(table).cluster.tolist() == [0] * 6


def table_of_two_people(place, model):
    """Three faces around each of two directions at a right angle, the last without a name."""
    turns = np.radians([0, 5, 10, 90, 95, 100])
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
    rows = {
        "image_id": [f"{n}.jpg" for n in range(6)],
        "identity": ["Ann"] * 3 + ["Bob"] * 2 + [""],
        "face_index": [0, 0, 1, 0, 0, 0],
        "box": [None] * 6,
        "score": [None] * 6,
        "embedding": list(vectors),
    }
    schema = tables.FACES.with_metadata({"facenet:model": model})
    pq.write_table(pyarrow.table(rows, schema=schema), place)


def test_a_table_of_embeddings_is_clustered_by_the_validation_of_its_model(model, tmp_path, capsys):
    table, output = str(tmp_path / "faces.parquet"), str(tmp_path / "clusters.parquet")
    table_of_two_people(table, model.rsplit("/", 1)[1])
    root = model.rsplit("/", 3)[0]
    command = ["cluster", table, "--storage", root, "--output", output]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["max_distance"] == pytest.approx(0.83 * 0.5**0.5)
    assert printed["metric"].startswith("Euclidean")
    assert printed["agreement"]["adjusted_rand"] == 1
    clusters = pandas.read_parquet(output)
    assert clusters.cluster.tolist() == [0, 0, 0, 1, 1, 1]
    assert clusters.face_index.tolist() == [0, 0, 1, 0, 0, 0]
    assert main(command) == 0
    assert "adjusted Rand index 1.0000" in capsys.readouterr().out
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--folders", "people"], "--folders needs the photographs"),
        (["other.jpg"], "a table of embeddings; name it alone"),
        (["--output", "faces.parquet"], "name another file with --output"),
    ],
)
def test_what_a_table_of_embeddings_cannot_do_is_said(more, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table_of_two_people("faces.parquet", "m" * 16)
    before = Path("faces.parquet").read_bytes()
    assert main(["cluster", "faces.parquet", *more]) == 2
    assert message in capsys.readouterr().err
    assert Path("faces.parquet").read_bytes() == before


@pytest.mark.parametrize("command", [["cluster"], ["classify", "train"]])
def test_photographs_need_a_model(command, files, capsys):
    assert main([*command, files[0]]) == 2
    assert "--model is needed to embed photographs" in capsys.readouterr().err


def test_of_crops_with_several_faces_the_first_is_taken_unless_all_are_wanted(embedder, files):
    photograph = Path(files[0]).read_bytes()
    rows = [
        {"image_id": "a", "identity": "Ann", "face_index": n, "image": {"bytes": photograph}}
        for n in range(3)
    ]
    first = list(embed_rows(rows, embedder, aligned=True))
    assert [face.face_index for face in first] == [0]
    every = list(embed_rows(rows, embedder, aligned=True, every_face=True))
    assert [face.face_index for face in every] == [0, 1, 2]


def test_embeddings_of_a_table_come_at_unit_length(tmp_path):
    table = pandas.DataFrame(
        {
            "image_id": ["a", "a", "b"],
            "identity": ["Ann", "Ann", "Bob"],
            "face_index": [0, 1, 0],
            "embedding": [[1.0, 1.0], [3.0, 4.0], [0.0, 2.0]],
        }
    )
    table.to_parquet(tmp_path / "faces.parquet")
    faces = tables.read(str(tmp_path / "faces.parquet"), every_face=False)
    np.testing.assert_allclose(faces.vectors, [[0.5**0.5, 0.5**0.5], [0, 1]], atol=1e-6)
    table.drop(columns="identity").to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ArtifactError, match="no column identity"):
        tables.read(str(tmp_path / "other.parquet"))


@pytest.mark.parametrize(("width", "height"), [(50, 100), (100, 50), (100, 100), (250, 200)])
def test_crops_that_are_not_square_are_padded_and_counted(width, height, embedder, files, caplog):
    size = embedder.face_model.image_size
    picture = Image.open(files[0]).convert("RGB").resize((width, height))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    row = {"image_id": "a", "identity": "Ann", "image": {"bytes": stream.getvalue()}}
    (face,) = embed_rows([row], embedder, aligned=True)
    assert face.pixels.shape == (size, size, 3)
    if min(width, height) >= size or width == height:
        assert not caplog.messages
        return
    assert f"1 crops are not square (most of them {width}x{height})" in caplog.text
    side = max(width, height)
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = np.asarray(picture)
    np.testing.assert_array_equal(face.pixels, fit(square[None], size)[0])


def test_photographs_of_one_name_are_each_in_the_folder_of_their_cluster(
    photographs, model, tmp_path
):
    source = next(photographs.rglob("*.jpg"), None) or next(photographs.rglob("*.png"))
    names = [
        "a/Ann/1.jpg",
        "b/Ann/1.jpg",
        "Ann/Ann_1.jpg",
        "c/Ann/Ann_1.jpg",
        f"d/Ann/{'n' * 251}.jpg",
    ]
    for name in names:
        (tmp_path / "people" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "people" / name).write_bytes(source.read_bytes())
    folders = tmp_path / "clusters"
    command = ["cluster", str(tmp_path / "people"), "--model", model, "--engine", "keras"]
    command += ["--aligned", "--output", str(tmp_path / "clusters.parquet")]
    assert main([*command, "--folders", str(folders)]) == 0
    assert len(list((folders / "0000").iterdir())) == len(names)
