"""The shape of the package: imports point downward, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hvit_cli"

# Lowest first; names on one line are siblings and do not know each other.
LAYERS = [
    {"errors"},
    {"settings"},
    {"slides"},
    {"tissue", "models", "storage", "heatmaps"},
    {"training"},
    {"pretraining"},
    {"attribution"},
    {"measures"},
    {"demo", "health", "report", "viewer"},
    {"steps"},
    {"engine"},
    {"pipelines"},
    {"cli"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_modules(file: Path) -> set[str]:
    """Every `hvit_cli` module that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("hvit_cli.")}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_downward(file: Path) -> None:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] in ("__init__", "__main__"):
        return
    for module in imported_modules(file):
        target = module.split(".")[1]
        if target not in HEIGHT or target == parts[0]:
            continue
        assert HEIGHT[target] < HEIGHT[parts[0]], f"{'.'.join(parts)} imports {module}"


@pytest.mark.parametrize("package", ["pipelines", "cli"])
def test_commands_do_not_know_each_other(package: str) -> None:
    shared = {
        "app",
        "console",
        "epochs",
        "options",
        "pretrainings",
        "several",
        "trainings",
        "__init__",
    }
    commands = {f.stem for f in (PACKAGE / package).glob("*.py")} - shared
    for file in (PACKAGE / package).glob("*.py"):
        if file.stem in ("app", "__init__"):
            continue
        siblings = {
            module.split(".")[2]
            for module in imported_modules(file)
            if module.startswith(f"hvit_cli.{package}.")
        }
        assert not siblings & commands, file


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_only_the_command_line_knows_typer_and_rich(file: Path) -> None:
    if file.relative_to(PACKAGE).parts[0] == "cli":
        return
    tree = ast.parse(file.read_text())
    names = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }
    assert not names & {"typer", "rich", "click"}
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & {"print", "exit", "quit"}


def test_no_file_is_a_drawer() -> None:
    drawers = {"utils", "helpers", "common", "misc"}
    assert not [f for f in FILES if f.stem.strip("_") in drawers]


def modules_after(*arguments: str) -> set[str]:
    """The modules that are loaded when `hvit ARGUMENTS` has ended."""
    script = (
        "import sys; sys.argv = ['hvit', *sys.argv[1:]]\n"
        "from hvit_cli.__main__ import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return set(ended.stderr.split("\n"))


def test_help_loads_no_torch_nor_anything_else_that_is_slow() -> None:
    loaded = modules_after("--help")
    slow = {"torch", "timm", "cv2", "openslide", "pyvips", "matplotlib", "sklearn", "scipy"}
    assert "typer" in loaded
    assert not loaded & slow


@pytest.mark.parametrize("command", ["segment", "tile"])
def test_cutting_a_slide_loads_neither_torch_nor_timm(
    command: str, data: Path, tmp_path: Path
) -> None:
    slide = data / "slides" / "CMU-1-Small-Region.svs"
    loaded = modules_after(command, str(slide), "-w", str(tmp_path))
    assert "openslide" in loaded
    assert not loaded & {"torch", "timm", "matplotlib", "sklearn"}


@pytest.mark.parametrize(
    "module",
    [
        "models.device",
        "steps.choose",
        "training.metrics",
        "steps.grade",
        "pipelines.predict",
        "pipelines.train",
    ],
)
def test_openslide_is_imported_before_torch(module: str) -> None:
    script = (
        f"import sys, hvit_cli.{module}\n"
        "names = list(sys.modules)\n"
        "if 'torch' in names:\n    assert names.index('openslide') < names.index('torch')\n"
        "else:\n    assert 'openslide' in names\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
