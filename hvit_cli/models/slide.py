"""The slide Transformer: the region embeddings of a slide become its score."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hvit_cli.settings import AggregatorSettings


class GatedAttentionPool(nn.Module):
    """Weighs regions by w · (tanh(a x) ⊙ sigmoid(b x)), softmax over the slide's regions.

    Source: Ilse, Tomczak and Welling (2018), equation 9.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.tanh = nn.Linear(dim, dim)
        self.sigmoid = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)
        self.logit = nn.Linear(dim, 1)

    def forward(self, x: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Pools (S, M, C) to (S, C), and returns the weights (S, M), 0 where not present."""
        gated = self.drop(self.tanh(x).tanh()) * self.drop(self.sigmoid(x).sigmoid())
        logits = self.logit(gated).squeeze(-1)
        if present is not None:
            logits = logits.masked_fill(~present, float("-inf"))
        weights = logits.softmax(dim=-1)
        return torch.einsum("sm,smc->sc", weights, x), weights


class RankLinear(nn.Linear):
    """One weight vector for all outputs and a bias for each.

    Outputs then differ by their biases alone, so that the ranks of an ordinal model (is the
    grade above 0, above 1, …) never contradict each other once the biases descend.
    Source: Cao, Mirjalili and Raschka (2020), CORAL.
    """

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__(dim, 1)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) → (…, outputs)."""
        return F.linear(x, self.weight) + self.bias


class SlideTransformer(nn.Module):
    """Relates the regions of a slide, pools them, and regresses the score.

    Regions carry no position: a slide is a set of regions. The layers are PyTorch's own,
    post-norm with ReLU and no final norm, and keep PyTorch's initialisation (Xavier for the
    attention's input projection, Kaiming-uniform for the rest), like the original.

    Letters: S slides, M regions of the longest slide, C width of a region embedding.
    """

    def __init__(self, settings: AggregatorSettings) -> None:
        super().__init__()
        dim = settings.slide_dim
        self.project = nn.Linear(settings.region_dim, dim)
        layer = nn.TransformerEncoderLayer(
            d_model=dim,
            nhead=settings.slide_heads,
            dim_feedforward=dim,
            dropout=settings.dropout,
            activation="relu",
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, num_layers=settings.slide_depth, enable_nested_tensor=False
        )
        self.pool = GatedAttentionPool(dim, settings.dropout)
        self.rho = nn.Linear(dim, dim)
        self.act = nn.ReLU()
        self.drop = nn.Dropout(settings.dropout)
        head = RankLinear if settings.head == "ranks" else nn.Linear
        self.classifier = head(dim, settings.outputs)

    def forward(self, x: Tensor, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores slides.

        Args:
            x: (S, M, C) region embeddings, padded with finite numbers.
            present: (S, M) bool, False at padding, at least one True a row; None pads nothing.

        Returns:
            Scores (S, outputs), and the weight of each region (S, M), 0 at padding.
        """
        x = self.drop(self.act(self.project(x)))
        x = self.encoder(x, src_key_padding_mask=None if present is None else ~present)
        x, weights = self.pool(x, present)
        x = self.drop(self.act(self.rho(x)))
        x = self.classifier(x)
        return x, weights
