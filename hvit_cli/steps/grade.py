"""From one slide's features to a score, an ISUP grade, and where the model looked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hvit_cli.errors import ModelError
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.models.checkpoints import read_state_dict
from hvit_cli.models.device import choose_device
from hvit_cli.models.loading import load_aggregator_weights
from hvit_cli.settings import EmbeddingSettings
from hvit_cli.steps.choose import ChosenModel
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.training.metrics import grade_of
from hvit_cli.training.objectives import score_of

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Grading:
    """What the model says about one slide.

    Attributes:
        score: Mean of the members' scores, not clipped.
        grade: The score, rounded half to even and kept within the classes (0-5 for ISUP).
        member_scores: One score per member.
        visible: (P,) rows of the feature file that the model saw.
        patch_attention: (P_visible, H) attention from CLS to each visible patch in the last
            block of the region Transformer, mean of the members; None unless asked for.
        prefix_attention: (M, H) what CLS and registers keep; None unless asked for.
        slide_attention: (M,) weight of each region, mean of the members.
    """

    score: float
    grade: int
    member_scores: tuple[float, ...]
    visible: npt.NDArray[np.bool_]
    patch_attention: npt.NDArray[np.float32] | None
    prefix_attention: npt.NDArray[np.float32] | None
    slide_attention: npt.NDArray[np.float32]

    @property
    def score_sd(self) -> float | None:
        """Standard deviation over members (ddof 1); None for a single one."""
        if len(self.member_scores) < 2:
            return None
        return float(np.std(self.member_scores, ddof=1))


class Grader:
    """The aggregators of a model, ready to grade.

    Args:
        model: The model, and which of its members run.
        embedding: Says on which device.
    """

    def __init__(self, model: ChosenModel, embedding: EmbeddingSettings) -> None:
        self.model = model
        self.device = choose_device(embedding.device)
        self.aggregators = [self._load(member.file) for member in model.members]

    def _load(self, file: str) -> Aggregator:
        aggregator = Aggregator(self.model.folder.aggregator)
        path = self.model.folder.path / file
        for remark in load_aggregator_weights(aggregator, read_state_dict(path), where=path):
            _LOG.warning("%s: %s", path, remark)
        return aggregator.float().eval().to(self.device)

    @torch.inference_mode()
    def grade(self, features: SlideFeatures, *, with_attention: bool = False) -> Grading:
        """Grades one slide.

        Args:
            features: The slide's features, made with the model's encoder.
            with_attention: Also return where the model looked.

        Raises:
            ModelError: The features are another encoder's, spacing's or normalisation's, or
                lack patches that this attention must see.
        """
        self.require_fit(features)
        visible = features.visible(self.model.attention)
        bag = patch_bag(features, visible).to(self.device)
        outputs = [model([bag], with_attention=with_attention) for model in self.aggregators]
        task = self.model.folder.task
        scores = tuple(float(score_of(output.score, task)[0]) for output in outputs)
        score = float(np.mean(scores))
        return Grading(
            score=score,
            grade=int(grade_of([score], task.grades)[0]),
            member_scores=scores,
            visible=visible,
            patch_attention=_mean(
                [output.patch_attention[0] for output in outputs if output.patch_attention]
            ),
            prefix_attention=_mean(
                [o.prefix_attention for o in outputs if o.prefix_attention is not None]
            ),
            slide_attention=np.mean([o.slide_attention.cpu().numpy() for o in outputs], axis=0),
        )

    def require_fit(self, features: SlideFeatures) -> None:
        """Refuses features that this model cannot have been trained on.

        Raises:
            ModelError: Names every field in which they differ.
        """
        model = self.model.folder
        found_wanted = {
            "encoder weights": (features.encoder_hash, model.encoder.weights_hash),
            "normalisation": (features.normalisation, model.encoder.normalisation),
            "mask level": (features.mask_level, model.mask_level),
            "region": (features.region_px, model.tiling.region_px),
            "patch": (features.patch_px, model.tiling.patch_px),
            "spacing": (features.spacing_um_target, model.reading.spacing_um),
        }
        differing = {k: pair for k, pair in found_wanted.items() if pair[0] != pair[1]}
        if differing:
            raise ModelError(
                f"these features do not fit the model {model.name}",
                where=features.slide_id,
                found=", ".join(f"{k} {found}" for k, (found, _) in differing.items()),
                wanted=", ".join(f"{k} {wanted}" for k, (_, wanted) in differing.items()),
                hint="features embedded with --model of this model",
            )


def patch_bag(features: SlideFeatures, visible: npt.NDArray[np.bool_]) -> PatchBag:
    """The visible rows of a feature file as the aggregator's input, float32."""
    return PatchBag(
        features=torch.from_numpy(features.features[visible].astype(np.float32)),
        region_index=torch.from_numpy(features.region_index[visible]),
        patch_index=torch.from_numpy(features.patch_index[visible]),
        regions=features.n_regions,
    )


def _mean(parts: Sequence[torch.Tensor]) -> npt.NDArray[np.float32] | None:
    if not parts:
        return None
    return np.asarray(np.mean([p.float().cpu().numpy() for p in parts], axis=0), np.float32)
