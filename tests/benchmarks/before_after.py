"""Each stage of two versions of hvit, in turns: this checkout and an older one.

    git worktree add ../older <commit>
    python tests/benchmarks/before_after.py ../older SLIDE… [--repeats 5] [--threads 1]

Each version runs in a process of its own, in which everything is loaded and warm; both take
turns, stage by stage. The ways of this checkout's benchmark are used for both, on the older
version's library. Prints a table for each slide, and JSON with `--json`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parents[2]
# The processor's own seconds are for a machine that others use as well; with one thread only.
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
HELP, LIBRARIES = "hvit --help", "typer and rich"


def use_benchmarks_of_this_checkout() -> None:
    """Lays the package `hvit_cli.benchmarks` of this file over whichever hvit is imported."""
    import hvit_cli

    folder = HERE / "hvit_cli" / "benchmarks"
    spec = importlib.util.spec_from_file_location(
        "hvit_cli.benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules["hvit_cli.benchmarks"] = package
    spec.loader.exec_module(package)
    hvit_cli.benchmarks = package
    models: Any = importlib.import_module("hvit_cli.storage.models")
    if not hasattr(models.ModelFolder, "mask_level"):
        # The older version knows no other level.
        models.ModelFolder.mask_level = "region"
    if not (Path(hvit_cli.__file__).parent / "training/kept_memory.py").exists():
        # The older version gives memory back after every step.
        kept: Any = ModuleType("hvit_cli.training.kept_memory")
        kept.keep_freed_memory = lambda: False
        sys.modules[kept.__name__] = kept
    if not (Path(hvit_cli.__file__).parent / "slides/decoders/jpeg_stream.py").exists():
        # The older version does not read JPEG tiles itself, so it has no limit to show.
        absent: Any = ModuleType("hvit_cli.benchmarks.jpeg_tiles")
        absent.jpeg_tiles = lambda *_: None
        absent.JpegTiles = absent.decode_streams = absent.LIBRARY = None
        sys.modules[absent.__name__] = absent


def stages_of(stack: ExitStack, slide: Path, patches: int, precisions: list[str]) -> dict[str, Any]:
    """The ways of every stage on one slide, by name."""
    from hvit_cli.benchmarks import computing, loading, reading
    from hvit_cli.benchmarks.workload import prepared
    from hvit_cli.settings import EmbeddingSettings, ReadingSettings

    ways: dict[str, Any] = {}
    for precision in precisions:
        embedding = EmbeddingSettings(device="cpu", precision=precision)  # type: ignore[arg-type]
        workload = stack.enter_context(
            prepared(slide, model=None, embedding=embedding, reading=ReadingSettings())
        )
        sample = min(patches, workload.tissue_patches)
        embed, limit = computing.embed_stage(workload, sample)
        ways[f"embed, {precision}"] = embed.run
        ways |= {f"{name}, {precision}": way for name, way in limit.items()}
        ways[f"read to score, {precision}"] = computing.together(workload, sample).run
        if precision != precisions[0]:
            continue
        ways |= {stage.name: stage.run for stage in reading.reading_stages(workload)[0]}
        for stage, _ in (computing.aggregate_stage(workload), computing.train_stage(workload, 8)):
            ways[stage.name] = stage.run
        ways["heatmap"] = computing.heatmap_stage(workload).run
        paths = stack.enter_context(loading.feature_files(workload.made_up_features, 8))
        ways[loading.LOAD] = loading.loading_ways(workload, paths)[loading.LOAD]
    return ways


def serve(asked: argparse.Namespace) -> None:
    """Prepares the stages, then runs one for each name on stdin and prints its seconds."""
    use_benchmarks_of_this_checkout()
    import torch

    from hvit_cli.benchmarks.turns import Cold

    torch.set_num_threads(asked.threads)
    with ExitStack() as stack:
        ways = stages_of(stack, asked.serve, asked.patches, asked.precision)
        for way in ways.values():
            way()
        print(json.dumps(list(ways)), flush=True)  # noqa: T201
        for line in sys.stdin:
            way = ways[line.strip()]
            turn: Callable[[], object] = way.ready() if isinstance(way, Cold) else way
            started = CLOCKS[asked.clock]()
            turn()
            print(CLOCKS[asked.clock]() - started, flush=True)  # noqa: T201


class Version:
    """A process that runs the stages of one checkout."""

    def __init__(self, checkout: Path, slide: Path, arguments: list[str]) -> None:
        code = f"import sys; sys.path.insert(0, {str(checkout)!r}); import runpy; " + (
            f"runpy.run_path({str(Path(__file__).resolve())!r}, run_name='__main__')"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "--serve", str(slide), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout,
        )
        self.checkout = checkout
        self.stages: list[str] = []

    def wait_until_ready(self) -> None:
        """Waits until everything is warm."""
        assert self.process.stdout is not None
        self.stages = json.loads(self.process.stdout.readline())

    def seconds(self, stage: str) -> float:
        """One turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(stage + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def start(checkout: Path, what: str, clock: str) -> float:
    """Seconds of a fresh interpreter that shows the help, or imports Typer and Rich."""
    code = "import typer, rich" if what == LIBRARIES else (
        f"import sys; sys.path.insert(0, {str(checkout)!r}); sys.argv = ['hvit', '--help']; "
        "from hvit_cli.__main__ import main; main()"
    )  # fmt: skip
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=checkout)
    if clock == "wall":
        return time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compare(
    older: Path, slide: Path, repeats: int, clock: str, arguments: list[str]
) -> dict[str, dict[str, list[float]]]:
    """Seconds of every turn, by stage and version."""
    versions = {
        "before": Version(older, slide, arguments),
        "after": Version(HERE, slide, arguments),
    }
    for version in versions.values():
        version.wait_until_ready()
    stages = [s for s in versions["after"].stages if s in versions["before"].stages]
    found: dict[str, dict[str, list[float]]] = {
        stage: {"before": [], "after": []} for stage in (*stages, HELP, LIBRARIES)
    }
    for number in range(repeats):
        order = list(versions) if number % 2 == 0 else list(versions)[::-1]
        for stage in stages:
            for name in order:
                found[stage][name].append(versions[name].seconds(stage))
        for stage in (HELP, LIBRARIES):
            for name in order:
                found[stage][name].append(start(versions[name].checkout, stage, clock))
    for version in versions.values():
        version.close()
    return found


def main() -> None:
    """Prints a table for each slide."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("older", nargs="?", type=Path)
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--patches", type=int, default=32)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked)
        return
    arguments = ["--threads", str(asked.threads), "--patches", str(asked.patches)]
    arguments += ["--clock", asked.clock]
    arguments += ["--precision", *asked.precision]
    for slide in asked.slides:
        found = compare(
            asked.older.resolve(), slide.resolve(), asked.repeats, asked.clock, arguments
        )
        if asked.json:
            print(json.dumps({"slide": slide.name, "seconds": found}), flush=True)  # noqa: T201
            continue
        print(f"\n{slide.name:28} {'before s':>10} {'after s':>10} {'times as fast':>14}")  # noqa: T201
        for stage, turns in found.items():
            ratio = median(b / a for b, a in zip(turns["before"], turns["after"], strict=True))
            before, after = median(turns["before"]), median(turns["after"])
            print(f"{stage:28} {before:10.4f} {after:10.4f} {ratio:14.2f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
