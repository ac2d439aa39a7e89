"""Settings worth trying, each said by a number that was measured a moment ago."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hvit_cli.benchmarks.computing import EMBED, HEATMAP, TOGETHER
from hvit_cli.benchmarks.reading import DECODE, READ, REDUCE, SEGMENT
from hvit_cli.benchmarks.stage import StageResult, bottleneck_of

# Less than this is noise on a machine that does other things as well.
_WORTH_IT = 1.1
# Of the patch encoder alone; below it reading is what the encoder waits for.
_KEEPS_UP = 0.9


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What was tried beside the settings that were asked for.

    Attributes:
        precision: Number format of the patch encoder.
        precisions: Rate of the encoder's matrix products in other formats, over that in its own.
        batch: Patches of a step.
        batches: Patches a second at other batch sizes, over that at its own.
        threads: Threads of PyTorch.
        cores: Cores that may be used.
        one_thread: Patches a second of the encoder on one thread, over that on all of them.
        kept: Part of the regions' patches that holds tissue.
        on_gpu: Whether networks run on a GPU.
    """

    precision: str
    precisions: dict[str, float]
    batch: int
    batches: dict[int, float]
    threads: int
    cores: int
    one_thread: float | None
    kept: float
    on_gpu: bool


def advice(results: Sequence[StageResult], trials: Trials) -> tuple[str, ...]:
    """What to try, most promising first; empty where nothing measured speaks for a change."""
    worst = bottleneck_of(results)
    found: list[str] = []
    if worst == EMBED:
        found += _for_embedding(trials)
    elif worst in (READ, DECODE, REDUCE, SEGMENT):
        found.append(
            f"{worst} takes most of the time: --jobs {trials.cores} reads as many slides at a time"
            if trials.cores > 1
            else f"{worst} takes most of the time, and one core is all there is"
        )
    elif worst == HEATMAP:
        found.append("the picture takes most of the time: a smaller one with --size")
    both = next((r for r in results if r.name == TOGETHER), None)
    if both is not None and both.share_of_limit is not None and both.share_of_limit < _KEEPS_UP:
        found.append(
            f"reading and embedding together reach {both.share_of_limit:.0%} of the patch "
            "encoder alone: --jobs 2 lets one slide be read while another is embedded"
        )
    found.append(
        f"masked attention looks at {trials.kept:.0%} of the patches: --plain would take about "
        f"{1 / trials.kept:.1f}× as long"
    )
    return tuple(found)


def _for_embedding(trials: Trials) -> Iterator[str]:
    for name, ratio in sorted(trials.precisions.items(), key=lambda item: -item[1]):
        if ratio >= _WORTH_IT:
            yield (
                f"--precision {name}: the encoder's matrix products run {ratio:.2f}× as fast in it "
                f"as in {trials.precision}"
            )
    if trials.threads < trials.cores and not trials.on_gpu:
        yield f"--threads {trials.cores}: PyTorch uses {trials.threads} of {trials.cores} cores"
    if trials.one_thread is not None and trials.threads > 1:
        alone = trials.one_thread * trials.threads
        if alone >= _WORTH_IT:
            yield (
                f"--jobs {trials.threads}: {trials.threads} slides at a time on a thread each "
                f"would embed {alone:.2f}× as many patches as all threads on one slide"
            )
    best = max(trials.batches, key=lambda size: trials.batches[size], default=None)
    if best is not None and trials.batches[best] >= _WORTH_IT:
        faster = f"{trials.batches[best]:.2f}× as many patches a second"
        yield f"--batch-size {best}: {faster} as with {trials.batch}"
