"""The rules of the house: who imports whom, and what a command may load."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
OURS = ("flows", "tasks", "facenet_core")
FORBIDDEN = {
    "facenet_core": {"prefect", "dask", "distributed", "tasks", "flows"},
    "tasks": {"flows"},
}
# Stage packages of facenet_core know one another only so far.
MAY_USE = {
    "datasets": set(),
    "alignment": set(),
    "models": set(),
    "evaluation": {"models", "datasets", "alignment"},
    "training": {"models", "evaluation"},
    "recognition": {"datasets", "alignment", "models", "evaluation"},
}


def modules(package: str) -> list[Path]:
    return sorted((REPOSITORY / package).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Dotted names of all modules that a file imports, also inside its functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_from_flows_to_tasks_to_the_library(package: str) -> None:
    for file in modules(package):
        tops = {name.split(".")[0] for name in imported(file)}
        assert not tops & FORBIDDEN[package], file


@pytest.mark.parametrize("package", MAY_USE)
def test_stage_packages_keep_to_themselves(package: str) -> None:
    others = set(MAY_USE) - {package} - MAY_USE[package]
    for file in modules(f"facenet_core/{package}"):
        used = {n.split(".")[1] for n in imported(file) if n.startswith("facenet_core.")}
        assert not used & others, file


def test_help_loads_neither_tensorflow_nor_prefect_nor_dask() -> None:
    script = (
        "import sys\n"
        "from flows.cli.main import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "print('loaded:', {'tensorflow', 'keras', 'prefect', 'distributed'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout.endswith("loaded: set()\n")
    assert "--center-loss-factor" in done.stdout


WRONG = [
    ("train x --optimizer nonsense", "optimizer"),
    ("train x --model-def resnet50", "no network `resnet50`"),
    ("train x --model-def inception_resnet_v1 --image-size 64", "75 pixels or more"),
    ("train x --learning-rate -1", "asks for a schedule"),
    ("train x --learning-rate -1 --learning-rate-schedule-file nowhere.txt", "nowhere.txt"),
    ("train x --set train.seed=-1", "train.seed"),
    ("align x --set cluster.memory_limit=alot --workers 2", "memory_limit"),
    ("train x --storage-credentials A_B", "invalid block name"),
    ("train x --config nowhere.yaml", "nowhere.yaml: no such configuration"),
    ("ingest x --identity-pattern (", "no regular expression"),
    ("ingest x --catalogue nowhere.yaml", "nowhere.yaml"),
    ("ingest synthetic --identities 9999999", "expected numbers from 0 to"),
    ("align x --workers 0", "workers"),
    ("align x --margin 2.5", "margin"),
    ("validate v x y z", "3 models"),
    ("validate x y --pairs nowhere.txt", "pairs: nowhere.txt: no such file"),
    ("validate x y --groups nowhere.csv", "groups: nowhere.csv: no such file"),
    ("run", "holdout"),
    ("run --set holdout.ingest.source=synthetic --set train.model_def=x", "no network `x`"),
    ("compare a.jpg --model x", "two photographs or more"),
    ("compare a.jpg b.jpg --model x --threshold nan", "finite number"),
    ("compare a.jpg b.jpg --model no/where", "--model: no/where: no such file"),
    ("cluster x --model y --max-distance 3", "less than 2"),
    ("cluster x --model y --folders flows", "not empty"),
    ("classify train x --neighbours 0", "greater than or equal to 1"),
    ("classify predict x --classifier nowhere.parquet", "nowhere.parquet: no such file"),
    ("embed x --model y --engine fast", "invalid choice"),
    ("pairs x --folds 1", "greater than or equal to 2"),
    ("export x --float16", "--format tflite"),
    ("import-tf1 nowhere", "nowhere: no such file"),
    ("credentials A_B", "invalid block name"),
    ("storage gc --older-than long", "long"),
    ("storage forget", "whom?"),
    ("inspect x --sample y", "did you mean --samples?"),
    ("doctor --workers 2", "unknown option --workers"),
]


def test_wrong_options_are_refused_before_a_server_starts_or_anything_heavy_is_loaded() -> None:
    script = (
        "import contextlib, io, json, sys\n"
        "from flows.cli.main import main\n"
        "for words in json.load(sys.stdin):\n"
        "    said = io.StringIO()\n"
        "    with contextlib.redirect_stderr(said):\n"
        "        try: status = main(words.split())\n"
        "        except SystemExit as ended: status = ended.code\n"
        "    heavy = {'tensorflow', 'keras', 'prefect', 'distributed', 'sklearn', 'pyarrow'}\n"
        "    print(json.dumps([status, said.getvalue(), sorted(heavy & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([words for words, _ in WRONG]),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for (words, message), (status, said, heavy) in zip(WRONG, answers, strict=True):
        assert (status, heavy) == (2, []), (words, said)
        assert message in said, (words, said)


def test_every_configuration_field_has_a_description() -> None:
    from facenet_core import config

    for model in vars(config).values():
        if isinstance(model, type) and issubclass(model, config.Config):
            for name, field in model.model_fields.items():
                section = config.field_model(model, [name])
                assert field.description or section, f"{model.__name__}.{name}"


def test_every_file_of_the_packages_is_in_the_wheel() -> None:
    """`facenet run --config demo` works without a checkout, and reports find their templates."""
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]
    shipped = {
        file
        for package, globs in patterns.items()
        for glob in globs
        for file in (REPOSITORY / package.replace(".", "/")).glob(glob)
    }
    files = {
        file
        for package in (*OURS, "configs")
        for file in (REPOSITORY / package).rglob("*.*")
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    assert files == shipped


def test_every_package_that_is_imported_is_a_declared_dependency() -> None:
    project = PYPROJECT["project"]
    extras = project["optional-dependencies"].values()
    needed = [*project["dependencies"], *(text for extra in extras for text in extra)]
    declared = {re.split(r"[^\w.-]", text)[0].lower() for text in needed}
    distributions = packages_distributions()
    undeclared = {}
    for file in [file for package in OURS for file in modules(package)]:
        for module in imported(file):
            top = module.partition(".")[0]
            names = {name.lower().replace("_", "-") for name in distributions.get(top, [top])}
            ours = top in OURS or top in sys.stdlib_module_names
            if not ours and not names & declared:
                undeclared[top] = str(file)
    assert undeclared == {}
