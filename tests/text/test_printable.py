"""What strangers write into names and files comes out fit for terminals, pages and spreadsheets."""

from __future__ import annotations

import ast
import csv
import io
import json
from pathlib import Path

import pyarrow.csv
import pytest

import flows
from facenet_core.config import PipelineConfig
from facenet_core.datasets.pairs.resolve import Pairs
from facenet_core.datasets.pairs.tables import format_csv, parse_csv
from facenet_core.evaluation.report.page import template
from facenet_core.text.printable import from_cell, printable, shortened, to_cell
from flows.cli import output
from flows.cli.commands import classify
from flows.cli.main import main

HOSTILE = "Ann\x1b[2J\u202egnp\x9b\u061c\udce9"
SPELLED = "Ann\\x1b[2J\\u202egnp\\x9b\\u061c\\udce9"


@pytest.mark.parametrize("command", ["ls", "forget"])
def test_storage_prints_no_characters_of_control(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"forget": ["--identity", HOSTILE[:-1]], "ls": [str(tmp_path / HOSTILE[:-1])]}
    (tmp_path / "raw" / "faces" / "0123456789abcdef").mkdir(parents=True)
    main(["storage", command, *words[command], "--storage", str(tmp_path)])
    said = capsys.readouterr()
    assert SPELLED[:-6] in said.out + said.err
    assert printable(said.out + said.err) == said.out + said.err


def test_lines_errors_tables_and_json_are_fit_for_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rich.table import Table

    output.echo(HOSTILE)
    output.echo_error(HOSTILE)
    output.echo_json({"name": HOSTILE})
    table = Table("name")
    table.add_row(HOSTILE)
    output.console(width=80).print(table)
    said = capsys.readouterr()
    assert said.err == f"{SPELLED}\n"
    assert said.out.count(SPELLED) == 2
    assert json.loads(said.out.splitlines()[1]) == {"name": HOSTILE}
    assert printable(said.out) == said.out


def test_commands_print_by_the_output_module_alone() -> None:
    folder = Path(flows.__file__).parent
    for file in folder.rglob("*.py"):
        if file.name == "output.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            assert getattr(called, "id", None) not in ("print", "Console") or any(
                word.arg == "stderr" for word in node.keywords
            ), f"{file.name}, line {node.lineno}: use flows.cli.output"


def test_a_value_of_any_length_is_cut_with_its_end_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("train:\n  optimizer: '" + "x" * 300_000 + "'\n")
    assert main(["run", "--config", str(file)]) == 2
    assert main(["run", "--set", f"train.optimizer={'y' * 200_000}"]) == 2
    with pytest.raises(SystemExit):
        main(["storage", "z" * 200_000])
    said = capsys.readouterr().err
    assert "train.optimizer" in said
    assert "characters" in said
    assert len(said) < 20_000
    assert shortened("a" * 90 + "b" * 10, 40) == "a" * 30 + "… (100 characters) …" + "b" * 10


def test_reports_show_no_characters_of_control() -> None:
    source = template("report.html.j2").environment.from_string("<b title='{{ a }}'>{{ a }}</b>")
    assert source.render(a=f"<{HOSTILE}") == f"<b title='&lt;{SPELLED}'>&lt;{SPELLED}</b>"


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "\t=1", "''-x"]


def test_pairs_that_we_write_hold_no_formulas_and_are_read_back() -> None:
    rows = [(0, name, "Ann/Ann_0001.jpg", True) for name in (*FORMULAS, "Ann/'n.jpg", "'x")]
    text = format_csv(Pairs.of(rows, "file"))
    cells = [row[1] for row in csv.reader(io.StringIO(text))]
    assert not any(cell.lstrip("\t").startswith(("=", "+", "-", "@")) for cell in cells)
    assert list(parse_csv(text, "pairs.csv", 2).image_id_a) == [row[1] for row in rows]
    assert [from_cell(to_cell(name)) for name in FORMULAS] == FORMULAS


def test_answers_as_csv_hold_no_formulas(tmp_path: Path) -> None:
    answers = [{"image_id": name, "name": name, "distance": -0.5} for name in FORMULAS]
    classify._write(str(tmp_path / "answers.csv"), answers)
    written = pyarrow.csv.read_csv(tmp_path / "answers.csv").to_pydict()
    assert [from_cell(name) for name in written["name"]] == FORMULAS
    assert all(name.startswith("'") for name in written["image_id"])
    assert written["distance"] == [-0.5] * len(FORMULAS)


def test_a_name_in_a_message_of_the_configuration_is_cut() -> None:
    from facenet_core.config import build
    from facenet_core.errors import ConfigError

    with pytest.raises(ConfigError) as caught:
        build(PipelineConfig, {"train": {"optimizer": "x" * 10_000}}, "the command line")
    assert len(str(caught.value)) < 600
