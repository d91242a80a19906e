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
# Rooms that the stages stand on, and what each imports of the others. A module's room is the
# longest name here that its own begins with.
FOUNDATION = {
    "facenet_core.privacy.url_secrets": {"errors"},  # whose messages have no secrets
    "facenet_core.errors": {"privacy.url_secrets"},
    "facenet_core.extras": {"errors"},
    "facenet_core.text": {"errors"},
    "facenet_core.progress": set(),
    "facenet_core.prefetch": set(),
    "facenet_core.cache": set(),
    "facenet_core.runtime": {"errors"},
    "facenet_core.config": {"errors", "privacy.url_secrets", "text"},
    "facenet_core.storage": {"errors", "privacy.url_secrets", "text"},
    "facenet_core.imaging": {"errors", "storage", "text"},
    "facenet_core.fetch": {
        "config",
        "errors",
        "privacy.url_secrets",
        "progress",
        "storage",
        "text",
    },
    "facenet_core.privacy.deny_list": {"cache", "errors", "storage", "text"},
}
# All other rooms of the library may use the foundation, and of one another what is said here.
ROOMS = {
    "facenet_core": {"recognition"},  # FaceEmbedder
    "facenet_core.synthetic_faces": set(),
    "facenet_core.datasets": {"synthetic_faces"},
    "facenet_core.alignment": set(),
    "facenet_core.models": set(),
    "facenet_core.embedding": {"models"},
    "facenet_core.evaluation": {
        *("alignment", "datasets", "embedding", "housekeeping.promotion", "models")
    },
    "facenet_core.training": {"models", "embedding", "evaluation"},
    "facenet_core.audit": {"alignment", "embedding", "evaluation", "recognition"},
    "facenet_core.recognition": {
        *("alignment", "datasets", "embedding", "evaluation", "housekeeping.promotion", "models")
    },
    "facenet_core.housekeeping.promotion": {"models"},
    "facenet_core.housekeeping": {"alignment", "housekeeping.promotion", "training"},
    "facenet_core.privacy": {"alignment", "datasets", "embedding", "housekeeping"},
}
# Prefect, Dask and the command line may use the whole library, and of ours beside it what is said.
ABOVE = {
    "tasks.prefect": set(),
    "tasks.dask": {"tasks.prefect"},
    "tasks": {"tasks.prefect", "tasks.dask"},
    "flows": {"tasks", "tasks.prefect", "tasks.dask"},
    "flows.cli": {"flows", "tasks.prefect"},
}
LIBRARY = (*FOUNDATION, *ROOMS)
ALLOWED = {
    **{room: {f"facenet_core.{name}" for name in names} for room, names in FOUNDATION.items()},
    **{
        room: {*FOUNDATION, *(f"facenet_core.{name}" for name in names)}
        for room, names in ROOMS.items()
    },
    **{room: {*LIBRARY, *names} for room, names in ABOVE.items()},
}
# What no module of the library imports: it runs without Prefect and Dask.
FOREIGN = {"prefect", "dask", "distributed"}


def room_of(module: str) -> str | None:
    """The room that a dotted name lies in; None for what is not ours."""
    rooms = [room for room in ALLOWED if f"{module}.".startswith(f"{room}.")]
    return max(rooms, key=len, default=None)


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


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


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    files = [file for package in OURS for file in modules(package)]
    mine = [file for file in files if room_of(module_name(file)) == room]
    assert mine, f"{room}: no such room any more"
    for file in mine:
        names = imported(file)
        whole = {n for n in names if not any(other.startswith(f"{n}.") for other in names)}
        rooms = {room_of(name) for name in whole} - {None, room, "facenet_core"}
        assert rooms <= ALLOWED[room], f"{file}: {rooms - ALLOWED[room]}"
        if room in LIBRARY:
            assert not {name.split(".")[0] for name in names} & FOREIGN, file


def test_every_room_of_the_library_is_named_here_and_in_its_map() -> None:
    folder = REPOSITORY / "facenet_core"
    names = {path.parent.name for path in folder.glob("*/__init__.py")}
    names |= {path.stem for path in folder.glob("*.py")} - {"__init__"}
    roomless = {name for name in names if room_of(f"facenet_core.{name}") == "facenet_core"}
    assert roomless == set()
    documented = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert {name for name in names if not re.search(rf"^ +{name}\b", documented, re.M)} == set()


@pytest.mark.parametrize("package", [*OURS, "benchmarks"])
def test_nothing_that_is_installed_imports_what_only_tests_use(package: str) -> None:
    for file in modules(package):
        tops = {name.split(".")[0] for name in imported(file)}
        assert not tops & {"tests", "qa"}, file


def test_programs_beside_the_packages_import_what_exists() -> None:
    """The fault runs, fuzzing and benchmarks import much of it only when they have started."""
    for file in [
        file for folder in ("qa", "benchmarks", "deployments") for file in modules(folder)
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.ImportFrom) or room_of(node.module or "") is None:
                continue
            base = REPOSITORY / str(node.module).replace(".", "/")
            sources = [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()]
            assert sources, f"{file}: {node.module}"
            for alias in node.names:
                submodule = (base / f"{alias.name}.py").is_file() or (base / alias.name).is_dir()
                named = re.search(rf"\b{alias.name}\b", sources[0].read_text())
                assert submodule or named, f"{file}: {node.module}.{alias.name}"


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


def test_flows_load_nothing_that_only_a_stage_at_work_uses() -> None:
    heavy = {
        "tensorflow", "keras", "sklearn", "matplotlib", "pandas", "openvino", "boto3",
        "distributed", "prefect.server",
    }  # fmt: skip
    script = f"import sys, flows.pipeline; print('loaded:', {heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert done.stdout == "loaded: set()\n"


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
    ("ingest x --identity-pattern (", "not a valid regular expression"),
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
    ("embed x --model y --engine fast", "engine: Input should be"),
    ("embed a b --model y --use-flipped-images", "goes with one data set"),
    ("embed a b --model y --precision float32", "--precision: goes with one data set"),
    ("embed a b --model y --margin 4", "--margin: goes with one data set"),
    ("pairs x --folds 1", "greater than or equal to 2"),
    ("export x --float16", "--format tflite"),
    ("import nowhere", "nowhere: no such file"),
    ("import README.md --preset arcface", "--preset is only for an .onnx"),
    ("import README.md --mean 1,2", "expected one number or three"),
    ("credentials A_B", "invalid block name"),
    ("audit x --model no/where", "--model: no/where: no such file"),
    ("audit x --threshold 2", "threshold"),
    ("train x --drop blurred", "drop"),
    ("storage gc --older-than long", "long"),
    ("storage forget", "whom?"),
    ("inspect x --sample y", "did you mean --samples?"),
    ("doctor --workers 2", "unknown option --workers"),
    ("align no/where", "RAW: no/where: no such file"),
    ("train no/where", "CROPS: no/where: no such file"),
    ("validate no/where x", "CROPS: no/where: no such file"),
    ("validate newest:x no/where", "MODEL: no/where: no such file"),
    ("compare no/a.jpg no/b.jpg --model newest:x", "PHOTOGRAPH: no/a.jpg: no such file"),
]
MISSING = [
    ("validate v 20180402-11475", "did you mean 20180402-114759"),
    ("export 2017512-110547", "did you mean 20170512-110547"),
    ("ingest nowhere", "nowhere: no such folder or archive"),
    ("ingest lfw-funneledx", "did you mean `lfw-funneled`?"),
    ("run --config demo --set ingest.source=no/where", "no/where: no such folder or archive"),
]


def test_wrong_options_and_inputs_are_refused_before_anything_heavy_is_loaded() -> None:
    """Neither a server nor Dask starts, and no library whose import takes long is there."""
    script = (
        "import contextlib, io, json, sys\n"
        "from flows.cli.main import main\n"
        "for words in json.load(sys.stdin):\n"
        "    said = io.StringIO()\n"
        "    with contextlib.redirect_stderr(said):\n"
        "        try: status = main(words.split())\n"
        "        except SystemExit as ended: status = ended.code\n"
        "    heavy = {'tensorflow', 'keras', 'prefect', 'distributed', 'sklearn', 'scipy',\n"
        "             'matplotlib', 'pandas', 'pyarrow', 'openvino'}\n"
        "    print(json.dumps([status, said.getvalue(), sorted(heavy & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([words for words, _ in WRONG + MISSING]),
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    statuses = [2] * len(WRONG) + [1] * len(MISSING)
    for (words, message), expected, (status, said, heavy) in zip(
        WRONG + MISSING, statuses, answers, strict=True
    ):
        assert (status, heavy) == (expected, []), (words, said)
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


def test_tests_that_share_fixtures_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """A group is in the name of each of its tests once xdist has seen it."""
    grouped = getattr(request.config.option, "loadgroup", False)
    assert ("@test_housetests" in request.node.nodeid) == grouped
