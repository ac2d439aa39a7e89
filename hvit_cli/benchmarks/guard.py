"""Ratios that must not fall: each of two things that took turns on the same machine.

Seconds differ from machine to machine and from hour to hour; ratios hardly do. Every ratio is
so written that more is better.

    decode        pixels of whole regions, as hvit decodes them, over plain OpenSlide
    glass         what masked attention saves over plain, as a share of what the glass is
    packing       packed training over a loop over slides with every patch a token
    embed         the patch encoder over the matrix products of its own shapes
    end to end    from the first region read to the score, over the patch encoder alone
    start         importing Typer and Rich over all of `hvit --help`
    loading       a training step from features in memory over one from feature files
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import openslide

from hvit_cli.benchmarks.computing import EMBED, TOGETHER, embed_stage, together
from hvit_cli.benchmarks.loading import FROM_FILES, FROM_MEMORY, feature_files, loading_ways
from hvit_cli.benchmarks.startup import HELP, LIBRARIES, startup_ways
from hvit_cli.benchmarks.turns import Cold, Way, ratio_of, take_turns, warm_up
from hvit_cli.benchmarks.workload import Workload
from hvit_cli.slides.decoders.openslide_decoder import OpenSlideDecoder
from hvit_cli.slides.geometry import round_px
from hvit_cli.slides.reader import Slide
from hvit_cli.steps.embed import embed_slide
from hvit_cli.training.benchmark import ALL_SLOTS, PACKED, BenchmarkSettings, run_benchmark

_OPENSLIDE, _OWN, _MASKED, _PLAIN = "OpenSlide", "own decoder", "masked", "plain"
_SLIDES = 8


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One ratio.

    Attributes:
        median: Median of the rounds.
        lowest: Of the rounds.
        highest: Of the rounds.
    """

    median: float
    lowest: float
    highest: float


def measure_ratios(workload: Workload, *, repeats: int, patches: int = 32) -> dict[str, Ratio]:
    """Measures every ratio in one run.

    Args:
        workload: Slide and model.
        repeats: Rounds.
        patches: Tissue patches that are embedded in a round.

    Raises:
        HvitError: The slide cannot be decoded, or a network fails.
    """
    sample = min(patches, workload.tissue_patches)
    part = workload.part(sample)
    with ExitStack() as stack:
        embed, ways = embed_stage(workload, sample)
        files = stack.enter_context(feature_files(workload.made_up_features, _SLIDES))
        ways |= {
            EMBED: embed.run,
            TOGETHER: together(workload, sample).run,
            **_decoding(workload),
            **startup_ways(),
            **loading_ways(workload, files),
        }
        plain = replace(workload.embedder, attention="plain")
        ways[_MASKED] = Cold(
            workload.fresh_slide,
            lambda slide: embed_slide(slide, part, workload.embedder, part.recipe),
        )
        ways[_PLAIN] = Cold(
            workload.fresh_slide, lambda slide: embed_slide(slide, part, plain, part.recipe)
        )
        warm_up(ways)
        seconds = take_turns(ways, repeats)
    kept = sample / part.regions.tissue_count.size
    trained = run_benchmark(
        BenchmarkSettings(
            slides=_SLIDES,
            repeats=repeats,
            device=str(workload.device),
            sizes=replace(workload.model.folder.aggregator, dropout=0.0),
        )
    ).seconds
    found = {
        "decode": ratio_of(seconds[_OPENSLIDE], seconds[_OWN]) if _OWN in seconds else None,
        "glass": ratio_of(seconds[_PLAIN], seconds[_MASKED], kept),
        "packing": ratio_of(trained[ALL_SLOTS], trained[PACKED]),
        "end to end": ratio_of(seconds[EMBED], seconds[TOGETHER]),
        "start": ratio_of(seconds[LIBRARIES], seconds[HELP]),
        "loading": ratio_of(seconds[FROM_MEMORY], seconds[FROM_FILES]),
    }
    if embed.limit is not None:
        factor = embed.amount / embed.limit.amount
        found["embed"] = ratio_of(seconds[embed.limit.way], seconds[EMBED], factor)
    return {
        name: Ratio(median=each[0], lowest=each[1], highest=each[2])
        for name, each in sorted(found.items())
        if each is not None
    }


def _decoding(workload: Workload) -> dict[str, Way]:
    """Whole regions through hvit's decoder and through OpenSlide; empty without OpenSlide."""
    plan, regions, path = workload.plan, workload.tiles.regions, workload.entry.path
    try:
        openslide.OpenSlide(path).close()
    except openslide.OpenSlideError:
        return {}
    side = round(regions.region_level0 / plan.downsample)
    width, height = workload.slide.geometry.sizes[plan.level]
    inside = [
        ((x, y), (min(side, width - x), min(side, height - y)))
        for x, y in np.maximum(round_px(regions.origin_level0 / plan.downsample), 0).tolist()
    ]

    def read(decoder: OpenSlideDecoder | Slide) -> None:
        reading = decoder.read_level if isinstance(decoder, Slide) else decoder.read
        for xy, size in inside:
            reading(plan.level, xy, size)
        decoder.close()

    return {
        _OPENSLIDE: Cold(lambda: OpenSlideDecoder(path), read),
        _OWN: Cold(workload.fresh_slide, read),
    }
