"""A pool of coloured noise from which crops are drawn: eight colours that a network can learn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from hvit_cli.pretraining.views import CropBatch
from hvit_cli.settings import CropSettings, PretrainingSettings
from hvit_cli.training.workers import ALONE, Workers

CROPS = CropSettings(global_px=32, local_px=16, local_crops=3)
SETTINGS = PretrainingSettings(
    width=24,
    depth=2,
    heads=2,
    token_px=8,
    out_dim=32,
    head_hidden=32,
    head_bottleneck=16,
    epochs=3,
    batch=8,
    patches_per_epoch=40,
    learning_rate=0.02,
    warmup_epochs=1,
    teacher_momentum=0.98,
)


def colour(patch: Tensor) -> Tensor:
    """(n,) → (n, 3), -1 or 1 in each channel."""
    return 2.0 * torch.stack([patch // 4 % 2, patch // 2 % 2, patch % 2], dim=1) - 1


class ToySource:
    """Crops of a patch share its colour; brightness and noise are the crop's own."""

    def __init__(
        self,
        settings: PretrainingSettings = SETTINGS,
        crops: CropSettings = CROPS,
        *,
        pool: int = 64,
        workers: Workers = ALONE,
    ) -> None:
        self.settings, self.crops, self.pool, self.workers = settings, crops, pool, workers
        self.asked: list[int] = []
        self.closed = False

    def __len__(self) -> int:
        return self.pool

    @property
    def skipped(self) -> Mapping[str, str]:
        return {"slide7": "truncated"} if self.asked else {}

    def close(self) -> None:
        self.closed = True

    def batches(self, steps: range) -> Iterator[CropBatch]:
        crops, size = self.crops, self.settings.batch
        mine = list(self.workers.share(range(size)))
        for step in steps:
            self.asked.append(step)
            generator = torch.Generator().manual_seed(1000 * self.settings.seed + step)
            patch = torch.randint(self.pool, (size,), generator=generator)
            views, counts = [], []
            for count, px in (
                (crops.global_crops, crops.global_px),
                (crops.local_crops, crops.local_px),
            ):
                if not count:
                    continue
                bright = torch.rand(count, size, 1, 1, 1, generator=generator) + 0.5
                noise = torch.randn(count, size, 3, px, px, generator=generator)
                drawn = bright * colour(patch)[None, :, :, None, None] + 0.3 * noise
                views.append(drawn[:, mine].flatten(0, 1))
                counts.append(count)
            yield CropBatch(views=tuple(views), counts=tuple(counts), size=len(mine))
