"""The pages that people read: what they name exists, links lead somewhere, lines fit a screen."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MAPS = ("docs/architecture.md", "CONTRIBUTING.md")
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))


def definitions(file: Path) -> set[str]:
    """The functions, classes, methods (`Class.method`) and constants that a module defines."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("page", MAPS)
def test_what_the_maps_name_exists(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    files = re.findall(r"`((?:facenet_core|flows|tasks|tests|configs|docs|qa)/[\w/.-]*)", text)
    assert [file for file in files if not (REPOSITORY / file).exists()] == []
    functions = re.findall(r"`([\w/]+\.py):([\w.]+)`", text)
    assert functions
    recorded = {file: definitions(REPOSITORY / file) for file, _ in functions}
    gone = [f"{file}:{name}" for file, name in functions if name not in recorded[file]]
    assert gone == []


def test_every_room_is_on_the_map() -> None:
    rooms = {file.parent.name for file in (REPOSITORY / "facenet_core").glob("*/__init__.py")}
    table = (REPOSITORY / MAPS[0]).read_text().partition("## The rooms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == rooms


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, target


@each_page
def test_lines_fit_a_screen(page: Path) -> None:
    """Tables may be wider."""
    width = 100 if page == REPOSITORY / "README.md" else 120
    lines = page.read_text().splitlines()
    assert [line for line in lines if len(line) > width and not line.startswith("|")] == []


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 110
