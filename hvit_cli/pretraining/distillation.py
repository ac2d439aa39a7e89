"""One step of DINO: the student learns from its teacher, and the teacher follows the student."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hvit_cli.errors import ModelError
from hvit_cli.models.device import choose_precision
from hvit_cli.pretraining.head import ProjectionHead
from hvit_cli.pretraining.loss import (
    cross_entropy_sum,
    entropy_sum,
    moved_centre,
    teacher_distribution,
)
from hvit_cli.pretraining.memory import says_what_to_lower
from hvit_cli.pretraining.networks import Backbones
from hvit_cli.pretraining.schedules import Schedules
from hvit_cli.pretraining.views import CropBatch
from hvit_cli.training.workers import ALONE, Workers

# A stream of random numbers of its own; see `training.sampling`.
_DROP_PATH_STREAM = 11


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """What one step came to, over all processes.

    Attributes:
        step: Number of the step in the run, from 0.
        patches: Patches of the batch.
        loss: Mean cross-entropy between teacher and student, in nats.
        teacher_entropy: Mean entropy of what the teacher says of one crop, in nats.
        learning_rate: Of this step.
        weight_decay: Of this step.
        teacher_momentum: Of this step.
        features: (b, D) float32, the teacher's features of the first large crops that this
            process saw.
        said: (K,) float32, sum of what the teacher said of this process's crops.
    """

    step: int
    patches: int
    loss: float
    teacher_entropy: float
    learning_rate: float
    weight_decay: float
    teacher_momentum: float
    features: Tensor
    said: Tensor

    @property
    def kl(self) -> float:
        """How far the student is from the teacher, in nats: the loss beyond the entropy."""
        return self.loss - self.teacher_entropy


class Distillation:
    """Student and teacher with their heads, the centre, and the optimiser.

    Args:
        backbones: Trained in place, on their device.
        schedules: The settings of the run and the values of every step.
        workers: The processes that train these networks together.
    """

    def __init__(
        self, backbones: Backbones, schedules: Schedules, workers: Workers = ALONE
    ) -> None:
        settings = schedules.settings
        self.backbones = backbones
        self.schedules = schedules
        self.workers = workers
        self.device = backbones.device
        self._precision = choose_precision(settings.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_words(settings.seed, _DROP_PATH_STREAM))
            heads = [ProjectionHead(backbones.width, settings) for _ in range(2)]
        heads[1].load_state_dict(heads[0].state_dict())
        self.student = nn.ModuleList([backbones.student, heads[0].to(self.device)])
        self.teacher = nn.ModuleList([backbones.teacher, heads[1].to(self.device)])
        self.teacher.requires_grad_(False)
        self.centre = torch.zeros(settings.out_dim, device=self.device)
        decayed, others = decay_groups(self.student)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": others, "weight_decay": 0}]
        self._optimiser = torch.optim.AdamW(
            groups,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def step(self, batch: CropBatch, step: int) -> StepRecord:
        """Learns from one batch.

        Args:
            batch: This process's share.
            step: Number of the step in the run, from 0.

        Raises:
            ModelError: The loss is not a finite number any more, or memory ran out; the
                weights are then those before the step.
        """
        share, crops = self._require_share(batch), sum(batch.counts)
        self._set_up(step)
        crops_said = " + ".join(map(str, batch.counts))
        with says_what_to_lower(f"{batch.size} patches of {crops_said} crops on {self.device}"):
            batch = batch.to(self.device)
            features, outputs = self._teach(batch)
            teacher = teacher_distribution(
                outputs, self.centre, self.schedules.teacher_temperature(step)
            )
            loss = cross_entropy_sum(
                self._study(batch),
                teacher,
                crops,
                self.schedules.settings.student_temperature,
            )
            torch.autograd.backward(loss / share)
            summed = torch.stack([loss.detach(), entropy_sum(teacher)])
            loss_sum, entropies = self.workers.add(summed).tolist()
            if not math.isfinite(loss_sum):
                raise ModelError(
                    "pretraining diverged: the loss is no finite number",
                    where=f"step {step + 1}",
                    found=loss_sum,
                    hint="a lower --learning-rate, a longer --warmup-epochs or --precision float32",
                )
            self._learn(step)
        large = batch.counts[0]
        mean_output = self.workers.add(outputs.float().sum(0)) / (share * large)
        self.centre = moved_centre(
            self.centre, mean_output, self.schedules.settings.centre_momentum
        )
        return StepRecord(
            step=step,
            patches=share,
            loss=loss_sum / share,
            teacher_entropy=entropies / (share * large),
            learning_rate=self.schedules.learning_rate(step),
            weight_decay=self.schedules.weight_decay(step),
            teacher_momentum=self.schedules.teacher_momentum(step),
            features=features[: batch.size].float(),
            said=teacher.sum(0),
        )

    def state(self) -> dict[str, object]:
        """Everything a resumed run needs, for `pretraining.state`."""
        return {
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "centre": self.centre,
            "optimiser": self._optimiser.state_dict(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Goes back to where `state` was taken."""
        self.student.load_state_dict(state["student"])  # type: ignore[arg-type]  # as saved
        self.teacher.load_state_dict(state["teacher"])  # type: ignore[arg-type]  # as saved
        self.centre = state["centre"].to(self.device)  # type: ignore[attr-defined]  # as saved
        self._optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]  # as saved

    def _require_share(self, batch: CropBatch) -> int:
        """The patches of the whole batch; refuses another share of them than this process's."""
        whole = self.schedules.settings.batch
        wanted = len(self.workers.share(range(whole)))
        if batch.size != wanted or len(batch.views) != len(batch.counts):
            raise ValueError(f"a share of {batch.size} patches, wanted {wanted}")
        return whole

    def _set_up(self, step: int) -> None:
        """Sets rates, what is frozen, and the randomness of this step."""
        decayed, others = self._optimiser.param_groups
        decayed["lr"] = others["lr"] = self.schedules.learning_rate(step)
        decayed["weight_decay"] = self.schedules.weight_decay(step)
        self._optimiser.zero_grad(set_to_none=True)
        frozen = self.schedules.last_layer_frozen(step)
        head = self.student[1]
        assert isinstance(head, ProjectionHead)
        # Without a gradient AdamW leaves it alone, decay included.
        head.last_layer.weight_v.requires_grad_(not frozen)
        if not self.schedules.settings.norm_last_layer:
            head.last_layer.weight_g.requires_grad_(not frozen)
        self.student.train()
        self.teacher.eval()
        seed = self.schedules.settings.seed
        torch.manual_seed(_words(seed, _DROP_PATH_STREAM, 1 + step, self.workers.rank))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self._precision == "bfloat16"
        )

    @torch.no_grad()
    def _teach(self, batch: CropBatch) -> tuple[Tensor, Tensor]:
        """The teacher's features (g · b, D) and outputs (g · b, K) of the large crops."""
        backbone, head = self.teacher
        with self._autocast():
            features: Tensor = backbone(batch.views[0])
            return features, head(features)

    def _study(self, batch: CropBatch) -> Tensor:
        """The student's outputs (m · b, K) of all crops, one forward pass for each size."""
        backbone, head = self.student
        with self._autocast():
            outputs: Tensor = head(torch.cat([backbone(views) for views in batch.views]))
        return outputs

    @torch.no_grad()
    def _learn(self, step: int) -> None:
        """One step of AdamW, then one of the teacher towards the student."""
        learning = [p for p in self.student.parameters() if p.requires_grad]
        self.workers.add_gradients(learning)
        clip_each(learning, self.schedules.settings.clip)
        self._optimiser.step()
        torch._foreach_lerp_(
            list(self.teacher.parameters()),
            list(self.student.parameters()),
            1 - self.schedules.teacher_momentum(step),
        )


def decay_groups(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that weight decay shrinks, and those it leaves alone.

    As in DINO: biases and everything of one dimension (norms) are left alone; tokens and
    position embeddings are not.
    """
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            alone = name.endswith(".bias") or parameter.ndim == 1
            (others if alone else decayed).append(parameter)
    return decayed, others


def clip_each(parameters: Sequence[nn.Parameter], most: float) -> None:
    """Shortens the gradient of each parameter to a norm of `most`, as DINO does.

    Not the norm of all gradients together, which `torch.nn.utils.clip_grad_norm_` limits.
    0 leaves them as they are.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not most or not gradients:
        return
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = (most / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, list(factors.unbind()))


def _words(*key: int) -> int:
    """A seed for PyTorch from several numbers."""
    words = np.random.SeedSequence(key).generate_state(2)
    return (int(words[0]) << 31) ^ int(words[1])
