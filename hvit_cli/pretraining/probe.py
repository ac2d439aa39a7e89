"""The k-nearest-neighbour probe: how well frozen features tell labelled patches apart.

The probe trains nothing, so that its numbers are the features' own. It watches a pretraining,
and judges finished encoders beside baselines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from hvit_cli.models.encoder_specs import EncoderSpec
from hvit_cli.models.encoders import PatchEncoder
from hvit_cli.pretraining.labelled_patches import LabelledPatches, Pixels
from hvit_cli.pretraining.neighbours import vote
from hvit_cli.pretraining.probe_measures import ProbeMeasures, Told, measure
from hvit_cli.settings import EmbeddingSettings, EncoderInput, Precision, ProbeSettings

Embed = Callable[[Pixels], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        patches: Patches that were told.
        bank: Patches that told them; all patches where groups took turns.
        in_turns: Whether each group was told by all the others.
        groups: Groups of the patches that were told.
        classes: The labels.
        balanced_accuracy: Mean share of right answers over classes; chance is 1 / classes.
        accuracy: Share of right answers.
        auroc: See `ProbeMeasures`; None where only one class is told.
        measures: The same with intervals, where they were drawn.
        told: The answers.
    """

    patches: int
    bank: int
    in_turns: bool
    groups: int
    classes: tuple[str, ...]
    balanced_accuracy: float
    accuracy: float
    auroc: float | None
    measures: ProbeMeasures
    told: Told


class Probe:
    """Probes a network while it trains; one object serves all epochs.

    Args:
        patches: Labelled patches with their pixels.
        spec: What the network expects: width, input size, tokens, normalisation.
        settings: Neighbours and temperature.
        precision: Number format of the network's arithmetic.
        batch_size: Patches per step of the network.
        encoder_input: How patches are fitted to the network.
    """

    def __init__(
        self,
        patches: LabelledPatches,
        spec: EncoderSpec,
        settings: ProbeSettings = ProbeSettings(),  # noqa: B008 - frozen
        *,
        precision: Precision = "float32",
        batch_size: int = EmbeddingSettings.batch_size,
        encoder_input: EncoderInput = EmbeddingSettings.encoder_input,
    ) -> None:
        self.patches = patches
        self.spec = spec
        self.settings = settings
        self.precision = precision
        self.batch_size = batch_size
        self.encoder_input: EncoderInput = encoder_input

    def score(self, backbone: nn.Module) -> ProbeResult:
        """Probes a network as it is, on the device where it lies.

        Nothing random is drawn, and each module is left in the mode it was in.

        Raises:
            ModelError: The features are not finite, or not of the width that was announced.
        """
        modes = {module: module.training for module in backbone.modules()}
        try:
            encoder = PatchEncoder(
                backbone,
                self.spec,
                precision=self.precision,
                encoder_input=self.encoder_input,
            )
            features = features_of(self.patches, encoder.embed, self.batch_size)
        finally:
            for module, training in modes.items():
                module.training = training
        return probe_features(self.patches, features, self.settings)


def features_of(patches: LabelledPatches, embed: Embed, batch_size: int) -> npt.NDArray[np.float32]:
    """(n, D) features of labelled patches, a batch at a time."""
    pixels = patches.pixels
    starts = range(0, len(pixels), batch_size)
    return np.concatenate([embed(pixels[start : start + batch_size]) for start in starts])


def probe_features(
    patches: LabelledPatches,
    features: npt.NDArray[np.float32],
    settings: ProbeSettings = ProbeSettings(),  # noqa: B008 - frozen
    *,
    draws: int = 0,
    seed: int = 0,
) -> ProbeResult:
    """Tells labelled patches by their features, and measures the answers.

    Args:
        patches: Labels, groups and parts.
        features: (n, D) of the patches.
        settings: Neighbours and temperature.
        draws: Draws of groups for intervals; 0 gives none.
        seed: Their seed.
    """
    label, group, is_bank = patches.label, patches.group, patches.is_bank
    told, share = vote(features, label, group, is_bank, settings)
    answers = Told(label=label[told], share=share, group=group[told])
    measures = measure(answers, draws=draws, seed=seed)
    balanced, accuracy = measures.balanced_accuracy.value, measures.accuracy.value
    assert balanced is not None and accuracy is not None  # A table has patches that are told.
    return ProbeResult(
        patches=len(told),
        bank=len(label) if is_bank is None else int(is_bank.sum()),
        in_turns=is_bank is None,
        groups=len(np.unique(answers.group)),
        classes=patches.table.classes,
        balanced_accuracy=balanced,
        accuracy=accuracy,
        auroc=measures.auroc.value,
        measures=measures,
        told=answers,
    )
