"""`hvit bench`: measurements that a user can repeat on their own machine."""

from __future__ import annotations

from hvit_cli.training.benchmark import BenchmarkResult, BenchmarkSettings, run_benchmark

__all__ = ["BenchmarkResult", "BenchmarkSettings", "bench_train"]


def bench_train(settings: BenchmarkSettings) -> BenchmarkResult:
    """Times the packed training step beside loops over slides, one at a time."""
    return run_benchmark(settings)
