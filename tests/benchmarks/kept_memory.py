"""A step of training that keeps the memory it frees, beside one that gives it back.

    python tests/benchmarks/kept_memory.py [--slides 8 32] [--steps 9] [--threads 2]

Two processes with the same weights and drawn slides take turns. Prints the median seconds of a
step, how many pages the system had to hand out in it, and the most memory each held.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from statistics import median

WAYS = ("returned", "kept")


def serve(asked: argparse.Namespace) -> None:
    """Runs a step for each line on stdin; prints its seconds and the pages handed out so far."""
    import torch

    from hvit_cli.settings import AggregatorSettings, TrainingSettings
    from hvit_cli.training.benchmark import BenchmarkSettings, draw_slides
    from hvit_cli.training.fit import new_aggregator
    from hvit_cli.training.gradients import accumulate_gradients, tokens_at_once
    from hvit_cli.training.kept_memory import keep_freed_memory

    torch.set_num_threads(asked.threads)
    if asked.serve == "kept":
        assert keep_freed_memory(), "memory cannot be kept here"
    sizes = AggregatorSettings()
    drawn = draw_slides(BenchmarkSettings(slides=asked.slides[0], sizes=sizes))
    bags, labels = [slide.bag for slide in drawn], [slide.label for slide in drawn]
    aggregator = new_aggregator(sizes, TrainingSettings(), labels).train()
    optimiser = torch.optim.Adam(aggregator.parameters(), lr=1e-6, fused=True)
    budget = tokens_at_once(None, torch.device("cpu"))
    for _ in range(3):
        _step(lambda: accumulate_gradients(aggregator, bags, labels, budget=budget), optimiser)
    print("ready", flush=True)  # noqa: T201
    for _ in sys.stdin:
        started = time.perf_counter()
        _step(lambda: accumulate_gradients(aggregator, bags, labels, budget=budget), optimiser)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(time.perf_counter() - started, used.ru_minflt, used.ru_maxrss, flush=True)  # noqa: T201


def _step(gradients, optimiser) -> None:  # type: ignore[no-untyped-def]  # torch is imported late
    optimiser.zero_grad(set_to_none=True)
    gradients()
    optimiser.step()


def turn(process: subprocess.Popen[str]) -> list[float]:
    """Seconds, pages so far and peak KiB of one step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [float(word) for word in process.stdout.readline().split()]


def main() -> None:
    """Prints a line for each way and number of slides."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--slides", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked)
        return
    threads = f"--threads={asked.threads}"
    for slides in asked.slides:
        processes = {
            way: subprocess.Popen(
                [sys.executable, __file__, f"--serve={way}", f"--slides={slides}", threads],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for way in WAYS
        }
        for process in processes.values():
            assert process.stdout is not None
            process.stdout.readline()
        found: dict[str, list[list[float]]] = {way: [turn(processes[way])] for way in WAYS}
        for number in range(asked.steps):
            for way in WAYS if number % 2 else WAYS[::-1]:
                found[way].append(turn(processes[way]))
        for process in processes.values():
            process.communicate()
        seconds = {way: [step[0] for step in steps[1:]] for way, steps in found.items()}
        for way, steps in found.items():
            pages = (steps[-1][1] - steps[0][1]) / asked.steps
            print(  # noqa: T201
                f"{slides:4} slides, {way:8} {median(seconds[way]):8.3f} s a step,"
                f" {pages:8.0f} pages, at most {steps[-1][2] / 1024:5.0f} MiB"
            )
        turns = zip(seconds["returned"], seconds["kept"], strict=True)
        print(f"{slides:4} slides: kept is {median(r / k for r, k in turns):.2f} times as fast")  # noqa: T201


if __name__ == "__main__":
    main()
