"""Linear layers without gradients: weights laid out once, and what follows joined to them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Weights are laid out for products of about this many rows; others work, too.
_ROWS = 2048

_OPERATORS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")


class FastLinear:
    """A linear layer without gradients.

    On a processor with oneDNN its weights are laid out as the matrix product reads them, and the
    GELU or the sum behind it is computed while its results are at hand. Measured on one thread
    of an EPYC 9004 for a ViT-S/16: 12 % faster in float32 and 7 % in bfloat16 than `F.linear`,
    whose library lays them out again at every call.

    Args:
        weight: (out, in).
        bias: (out,) or None.
        dtype: Number format of weights, inputs and results.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.detach().to(dtype).contiguous()
        self.bias = None if bias is None else bias.detach().to(dtype).contiguous()
        self.laid_out = can_lay_out(self.weight)
        if self.laid_out:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, _ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        """(T, in) → (T, out)."""
        if not self.laid_out:
            return F.linear(x, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return out

    def gelu(self, x: Tensor) -> Tensor:
        """(T, in) → (T, out), followed by the exact (erf) GELU."""
        if not self.laid_out:
            return F.gelu(F.linear(x, self.weight, self.bias))
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, "gelu", [], "none"
        )
        return out

    def added_to(self, x: Tensor, other: Tensor) -> Tensor:
        """(T, in) → (T, out), added to `other` (T, out)."""
        if not self.laid_out:
            return other + F.linear(x, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, other, self.weight, self.bias, "add"
        )
        return out


def can_lay_out(weight: Tensor) -> bool:
    """Whether this PyTorch and this processor have such products for weights of this kind."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if weight.device.type != "cpu" or not has_onednn:
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32
