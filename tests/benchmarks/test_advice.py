from __future__ import annotations

from dataclasses import replace

from hvit_cli.benchmarks.advice import Trials, advice
from hvit_cli.benchmarks.stage import StageResult

TRIALS = Trials(
    precision="float32",
    precisions={"bfloat16": 1.0},
    batch=32,
    batches={},
    threads=2,
    cores=2,
    one_thread=0.5,
    kept=0.5,
    on_gpu=False,
)


def stage(name: str, share: float | None, of_limit: float | None = None) -> StageResult:
    return StageResult(
        name=name,
        unit="x",
        rate=1,
        fewest=1,
        most=1,
        seconds_per_slide=1,
        share=share,
        memory_mib=None,
        limit="",
        limit_rate=None,
        share_of_limit=of_limit,
    )


EMBEDDING = (stage("decode", 0.1), stage("embed", 0.9), stage("read to score", None, 0.95))


def test_nothing_is_advised_that_was_not_measured_to_help_but_masked_attention() -> None:
    (only,) = advice(EMBEDDING, TRIALS)
    assert "50%" in only
    assert "2.0×" in only


def test_a_number_format_is_advised_by_how_much_faster_it_was() -> None:
    first, *_ = advice(EMBEDDING, replace(TRIALS, precisions={"bfloat16": 1.8}))
    assert first.startswith("--precision bfloat16")
    assert "1.80×" in first


def test_idle_cores_and_threads_that_do_not_add_up_are_told() -> None:
    said = "\n".join(advice(EMBEDDING, replace(TRIALS, cores=8, threads=4, one_thread=0.4)))
    assert "--threads 8" in said
    assert "1.60×" in said


def test_a_reader_that_the_encoder_waits_for_is_told() -> None:
    waiting = (*EMBEDDING[:2], stage("read to score", None, 0.6))
    assert any("60%" in line for line in advice(waiting, TRIALS))


def test_where_reading_takes_longest_other_number_formats_do_not_matter() -> None:
    results = (stage("decode", 0.8), stage("embed", 0.2))
    said = "\n".join(advice(results, replace(TRIALS, precisions={"bfloat16": 3.0})))
    assert "decode takes most" in said
    assert "bfloat16" not in said
