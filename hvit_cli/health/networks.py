"""Whether networks compute here: every device, and masked attention that is exact."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from hvit_cli.health.check import Check
from hvit_cli.models.aggregator import Aggregator
from hvit_cli.models.bags import PatchBag
from hvit_cli.models.vit import VisionTransformer, VitShape
from hvit_cli.settings import AggregatorSettings

_SHAPE = VitShape(width=64, depth=2, heads=2, grid_side=4)
_SIZES = AggregatorSettings(
    patch_dim=32,
    region_px=1024,
    patch_px=256,
    region_dim=24,
    region_depth=2,
    region_heads=3,
    slide_dim=24,
    slide_depth=1,
    slide_heads=3,
)
# Devices order their sums differently; float32 keeps about 7 digits.
_MOST_OFF = 1e-3
_MASKED_MOST_OFF = 1e-5
_GIB = 1024**3


def check_devices() -> Iterator[Check]:
    """Lets a small Vision Transformer run on every device, beside the processor's numbers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = VisionTransformer(_SHAPE).eval()
        images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(images)
        is_finite = bool(torch.isfinite(expected).all())
        yield Check(
            name=f"cpu, {torch.get_num_threads()} threads",
            state="fine" if is_finite else "broken",
            found="a forward pass" if is_finite else "a forward pass that is not finite",
            hint="" if is_finite else "another build of PyTorch",
        )
        devices = [torch.device("mps")] * torch.backends.mps.is_available()
        devices += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
        for device in devices:
            yield _on(device, network, images, expected)
    if not devices:
        yield Check(name="gpu", state="fine", found="none; the processor does the work")


def _on(
    device: torch.device,
    network: VisionTransformer,
    images: torch.Tensor,
    expected: torch.Tensor,
) -> Check:
    name = str(device)
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        name += (
            f", {torch.cuda.get_device_name(device)}, {free / _GIB:.1f} of {whole / _GIB:.1f} GiB"
        )
    try:
        found = network.to(device)(images.to(device)).cpu()
    except (RuntimeError, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        hint = "a PyTorch build for this driver, or --device cpu"
        return Check(name=name, state="broken", found=said, hint=hint)
    finally:
        network.to("cpu")
    off = float((found - expected).abs().max())
    if not off <= _MOST_OFF:
        return Check(
            name=name,
            state="broken",
            found=f"numbers differ from the processor's by {off:.2g}",
            hint="--device cpu, and another build of PyTorch",
        )
    return Check(name=name, state="fine", found=f"a forward pass, off by {off:.1g}")


def check_masked_attention() -> Check:
    """Masking background must equal leaving it out, and attend to it with exactly 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        aggregator = Aggregator(_SIZES).eval()
        regions, patches = 3, _SIZES.side**2
        features = torch.randn(regions, patches, _SIZES.patch_dim)
        visible = torch.rand(regions, patches) < 0.4
    # What stands at background must not matter, whatever it is.
    features[~visible] = float("nan")
    region_index, patch_index = torch.nonzero(visible, as_tuple=True)
    bag = PatchBag(
        features=features[visible],
        region_index=region_index,
        patch_index=patch_index,
        regions=regions,
    )
    with torch.inference_mode():
        dropped = aggregator([bag])
        masked = aggregator.forward_dense(features, visible)
    off = float((dropped.score - masked.score).abs().max())
    leaked = float(masked.region_cls_attention[..., -patches:].transpose(1, 2)[~visible].max())
    if not off <= _MASKED_MOST_OFF or leaked != 0.0:
        return Check(
            name="masked attention",
            state="broken",
            found=f"masked and dropped differ by {off:.2g}, attention to glass {leaked:.2g}",
            hint="another version of PyTorch; do not use masked attention with this one",
        )
    return Check(
        name="masked attention",
        state="fine",
        found=f"masked equals dropped (off by {off:.1g}), attention to glass is exactly 0",
    )
