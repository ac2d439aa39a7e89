"""The shape of the package: imports point downward, and the command line starts light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
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
    {"benchmarks"},
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
        "commands",
        "console",
        "epochs",
        "forecasts",
        "front_page",
        "options",
        "patch_bars",
        "pretrainings",
        "several",
        "speeds",
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
    # Rich's console, and the settings and options of every command, take longer than the rest.
    assert not loaded & {"rich.console", "hvit_cli.settings", "hvit_cli.cli.predict"}


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


# Functions that write to the path they are given; whoever calls them gives a temporary.
GIVEN_A_PATH = {
    "heatmaps/cells.py": "write_cells",
    "heatmaps/encode.py": "encode",
    "heatmaps/export.py": "write_scores write_picture",
    "heatmaps/overlay.py": "write_overlay",
    "storage/states.py": "_seal",
    "tissue/mask.py": "write_mask",
}
# Nothing that a reader takes for a result: logs and rows that grow by whole, claims that exist or
# not, trials of a folder in a folder of their own, pictures in memory, the kernel's count of
# memory set back, and `whole_file` itself.
NO_RESULTS = {
    "storage/atomic.py",
    "storage/lines.py",
    "storage/partial.py",
    "engine/claims.py",
    "health/folder.py",
    "health/decoders.py",
    "viewer/site.py",
    "report/pictures.py",
    "storage/pictures.py",
    "benchmarks/turns.py",
}
WRITING = {
    *("write_text", "write_bytes", "save", "savefig", "savez", "savez_compressed", "tiffsave"),
    *("save_file", "save_model", "write_to_file", "imwrite", "to_csv", "tofile", "dump", "copy2"),
    *("copyfile", "copytree", "move"),
}


def writers_imported(tree: ast.AST) -> set[str]:
    """Those of `GIVEN_A_PATH` that a file imports."""
    functions = {
        f"hvit_cli.{file.removesuffix('.py').replace('/', '.')}": names.split()
        for file, names in GIVEN_A_PATH.items()
    }
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in functions.get(node.module or "", ())
    }


def writes(call: ast.Call, given_a_path: set[str]) -> bool:
    """Whether a call writes a file to a place that it names."""
    function, modes = call.func, [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    if isinstance(function, ast.Name):
        name, known = function.id, {"save_file", "save_model", *given_a_path}
    elif isinstance(function, ast.Attribute):
        name, known = function.attr, WRITING
    else:
        return False
    if name in ("open", "fdopen", "File", "NamedTemporaryFile"):
        return any(
            isinstance(mode, ast.Constant)
            and isinstance(mode.value, str)
            and len(mode.value) <= 3
            and bool(set(mode.value) & set("wxa+"))
            for mode in modes
        )
    return name in known


def unguarded(tree: ast.AST, exempt: set[str], given_a_path: set[str]) -> Iterator[ast.Call]:
    """Calls that write outside `with whole_file(…)` and outside the functions that are exempt."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.With):
            opened = [item.context_expr for item in node.items]
            names = {ast.unparse(call.func) for call in opened if isinstance(call, ast.Call)}
            if "whole_file" in names:
                continue
        if isinstance(node, ast.FunctionDef) and node.name in exempt:
            continue
        if isinstance(node, ast.Call) and writes(node, given_a_path):
            yield node
        yield from unguarded(node, exempt, given_a_path)


def test_every_file_is_written_whole_or_not_at_all() -> None:
    found = []
    for file in FILES:
        name = file.relative_to(PACKAGE).as_posix()
        if name in NO_RESULTS:
            continue
        tree = ast.parse(file.read_text())
        exempt = set(GIVEN_A_PATH.get(name, "").split())
        found += [
            f"{name}:{call.lineno}: {ast.unparse(call)[:70]}"
            for call in unguarded(tree, exempt, writers_imported(tree))
        ]
    assert not found
