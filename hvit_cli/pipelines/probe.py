"""`hvit probe`: how well encoders, and features that were never learned, tell patches apart."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from hvit_cli.errors import UsageError
from hvit_cli.models.colour_histogram import WIDTH, colour_histogram
from hvit_cli.models.device import choose_device
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.models.named_encoder import load_encoder
from hvit_cli.models.random_encoder import random_encoder
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.pretraining.labelled_patches import (
    LabelledPatches,
    PatchTable,
    read_labelled_patches,
    read_patch_table,
)
from hvit_cli.pretraining.probe import Embed, ProbeResult, features_of, probe_features
from hvit_cli.pretraining.probe_measures import ProbeMeasures, difference
from hvit_cli.settings import EmbeddingSettings, ProbeSettings, ReadingSettings, TilingSettings
from hvit_cli.storage.tables import write_table
from hvit_cli.training.bootstrap import DRAWS
from hvit_cli.training.leaks import refuse_leaks
from hvit_cli.training.metrics import confusion_matrix

Baseline = Literal["colour-histogram", "random"]

_TRIED = 32

COLUMNS = (
    "features", "width", "spacing_um", "patches", "bank", "groups", "classes", "neighbours",
    "temperature", "balanced_accuracy", "balanced_accuracy_low", "balanced_accuracy_high",
    "accuracy", "accuracy_low", "accuracy_high", "auroc", "auroc_low", "auroc_high",
    "seen_slides",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """What is to be probed, and how.

    Attributes:
        patches: Table of labelled patches.
        encoders: What `--encoder` takes, each.
        baselines: Features that were never learned, to compare with.
        spacing_um: At which spacing patches are read; None for the encoders' own.
        reading: Where slides' spacings come from; its target spacing counts where neither
            `spacing_um` nor an encoder says one.
        patch_px: Side of a patch at that spacing.
        embedding: Normalisation, input, device, precision and batch size of every encoder.
        probe: Neighbours and temperature.
        draws: Draws of groups for the intervals; 0 gives none.
        seed: Seed of the draws and of the random encoder.
        allow_seen: Judge encoders by slides they were trained on, and say so.
    """

    patches: Path
    encoders: tuple[str, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    spacing_um: float | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    patch_px: int = TilingSettings.patch_px
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    draws: int = DRAWS
    seed: int = 0
    allow_seen: bool = False

    def __post_init__(self) -> None:
        if not self.encoders and not self.baselines:
            raise UsageError(
                "what is to be probed?",
                where="--encoder",
                wanted="one or more encoders, or --baseline colour-histogram random",
            )
        if self.draws < 0:
            raise UsageError("out of range", where="--draws", found=self.draws, wanted="0 or more")


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What was found about one kind of features.

    Attributes:
        features: What `--encoder` or `--baseline` named.
        width: Numbers per patch.
        spacing_um: At which spacing the patches were read.
        settings: Neighbours and temperature.
        result: The numbers.
        learned: Whether it is an encoder, not a baseline.
        seen: Slides that judged the encoder and had trained it.
    """

    features: str
    width: int
    spacing_um: float
    settings: ProbeSettings
    result: ProbeResult
    learned: bool
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What an encoder's features tell more than a baseline's.

    Attributes:
        features: The encoder.
        baseline: What it is measured by.
        gain: Its measures less those of the baseline, groups drawn for both at once.
    """

    features: str
    baseline: str
    gain: ProbeMeasures


def probe(request: ProbeRequest) -> Iterator[Probed]:
    """Probes encoders, then baselines, on the same patches.

    The random encoder has the sizes of the first encoder that is a plain Vision Transformer,
    of a ViT-S/16 where there is none.

    Yields:
        Each result as it is found.

    Raises:
        LabelError: The table cannot be used, or slides would judge an encoder they trained.
        UsageError: The encoders expect different spacings.
        ModelError: An encoder cannot be loaded.
        SlideError: A slide cannot be read.
    """
    table = read_patch_table(request.patches)
    for one in _candidates(request, table, table):
        features = features_of(one.patches, one.embed, request.embedding.batch_size)
        yield _probed(one, features, request)


@dataclass(frozen=True, kw_only=True)
class ProbeForecast:
    """What a probe would do.

    Attributes:
        patches: Labelled patches.
        slides: Slides that they lie on.
        labels: Patches of each label.
        groups: Groups of patches.
        features: Encoders and baselines, in the order in which they would be judged.
        seen: Slides that judge an encoder which was trained on them, where that is allowed.
        seconds: Time to read and embed all patches, as a few took just now; without the votes.
        memory_bytes: Of the pixels.
    """

    patches: int
    slides: int
    labels: dict[str, int]
    groups: int
    features: tuple[str, ...]
    seen: tuple[str, ...]
    seconds: float
    memory_bytes: int


def forecast_probe(request: ProbeRequest) -> ProbeForecast:
    """Loads the encoders and tries them on a few patches; nothing is written.

    Raises:
        HvitError: As `probe`.
    """
    table = read_patch_table(request.patches)
    rows = len(table.rows)
    few = replace(table, rows=table.rows[:: max(1, rows // _TRIED)][:_TRIED])
    names: list[str] = []
    seen: set[str] = set()
    seconds = 0.0
    for one in _candidates(request, table, few):
        started = time.perf_counter()
        if not names:
            reading = replace(request.reading, spacing_um=one.patches.spacing_um)
            read_labelled_patches(few, reading, patch_px=request.patch_px)
        features_of(one.patches, one.embed, request.embedding.batch_size)
        seconds += (time.perf_counter() - started) * rows / len(few.rows)
        names.append(one.name)
        seen.update(one.seen or ())
    return ProbeForecast(
        patches=rows,
        slides=len({row.slide_id for row in table.rows}),
        labels=dict(sorted(Counter(row.label for row in table.rows).items())),
        groups=len({row.group for row in table.rows}),
        features=tuple(names),
        seen=tuple(sorted(seen)),
        seconds=seconds,
        memory_bytes=3 * rows * request.patch_px**2,
    )


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """Features that are to be judged: of an encoder, or of a baseline, which has seen nothing."""

    name: str
    width: int
    patches: LabelledPatches
    embed: Embed
    seen: tuple[str, ...] | None = None


def _candidates(
    request: ProbeRequest, table: PatchTable, shown: PatchTable
) -> Iterator[_Candidate]:
    """Encoders, then baselines, each with the pixels of the patches that are shown to it."""
    patches: LabelledPatches | None = None
    shape = VitShape()
    plain = False
    for name in request.encoders:
        encoder = _load(name, request)
        seen = _seen(name, encoder, table, request)
        patches = _pixels(patches, shown, encoder.spec.spacing_um, name, request)
        if isinstance(encoder.network, VisionTransformer) and not plain:
            shape, plain = encoder.network.shape, True
        yield _Candidate(
            name=name,
            width=encoder.spec.width,
            patches=patches,
            embed=encoder.embed,
            seen=seen,
        )
    for baseline in request.baselines:
        patches = _pixels(patches, shown, None, baseline, request)
        width, embed = WIDTH, colour_histogram
        if baseline == "random":
            how = request.embedding
            fresh = random_encoder(
                shape,
                request.seed,
                encoder_input=how.encoder_input,
                device=choose_device(how.device),
            )
            width, embed = shape.width, fresh.embed
        yield _Candidate(name=baseline, width=width, patches=patches, embed=embed)


def gains(found: Sequence[Probed], *, draws: int, seed: int) -> list[Gain]:
    """Compares each encoder with each baseline, on the same draws of groups."""
    return [
        Gain(
            features=one.features,
            baseline=other.features,
            gain=difference(one.result.told, other.result.told, draws=draws, seed=seed),
        )
        for one in found
        for other in found
        if one.learned and not other.learned
    ]


def row_of(probed: Probed) -> dict[str, Any]:
    """The numbers as one row of a table, under `COLUMNS`."""
    result = probed.result
    row: dict[str, Any] = {
        "features": probed.features,
        "width": probed.width,
        "spacing_um": probed.spacing_um,
        "patches": result.patches,
        "bank": result.bank,
        "groups": result.groups,
        "classes": " ".join(result.classes),
        "neighbours": probed.settings.neighbours,
        "temperature": probed.settings.temperature,
        "seen_slides": len(probed.seen),
    }
    for name in ("balanced_accuracy", "accuracy", "auroc"):
        measured = getattr(result.measures, name)
        row |= {name: measured.value, f"{name}_low": measured.low, f"{name}_high": measured.high}
    return row


def summary(probed: Probed) -> dict[str, Any]:
    """The row with the confusion matrix (rows: labels, columns: what was said)."""
    told, classes = probed.result.told, probed.result.classes
    confusion = confusion_matrix(told.label, told.said, len(classes)).tolist()
    return {**row_of(probed), "classes": list(classes), "confusion": confusion}


def write_probes(path: Path, found: Sequence[Probed]) -> None:
    """Writes the numbers as CSV."""
    write_table(path, COLUMNS, map(row_of, found))


def _load(name: str, request: ProbeRequest) -> PatchEncoder:
    how = request.embedding
    return load_encoder(
        name,
        normalisation=how.normalisation,
        encoder_input=how.encoder_input,
        device=how.device,
        precision=how.precision,
    )


def _seen(
    name: str, encoder: PatchEncoder, table: PatchTable, request: ProbeRequest
) -> tuple[str, ...]:
    trained_on = frozenset(encoder.spec.pretraining_slides)
    if not request.allow_seen:
        refuse_leaks(trained_on, table.judged_slides, where=name, what="judge it")
    return tuple(sorted(trained_on & table.judged_slides))


def _pixels(
    read: LabelledPatches | None,
    table: PatchTable,
    own_um: float | None,
    name: str,
    request: ProbeRequest,
) -> LabelledPatches:
    """The patches at the spacing asked for, or the encoder's own; all must agree."""
    asked = request.spacing_um
    if read is None:
        wanted = asked or own_um or request.reading.spacing_um
        reading = replace(request.reading, spacing_um=wanted)
        return read_labelled_patches(table, reading, patch_px=request.patch_px)
    if asked is None and own_um is not None and own_um != read.spacing_um:
        raise UsageError(
            "the encoders expect different spacings, and would not see the same patches",
            where=name,
            found=f"{own_um:g} µm/px",
            wanted=f"{read.spacing_um:g} µm/px, as before it",
            hint="--spacing for all, or one command for each",
        )
    return read


def _probed(one: _Candidate, features: npt.NDArray[np.float32], request: ProbeRequest) -> Probed:
    result = probe_features(
        one.patches, features, request.probe, draws=request.draws, seed=request.seed
    )
    return Probed(
        features=one.name,
        width=one.width,
        spacing_um=one.patches.spacing_um,
        settings=request.probe,
        result=result,
        learned=one.seen is not None,
        seen=one.seen or (),
    )
