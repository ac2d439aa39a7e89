"""`hvit encoders`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvit_cli.cli import console, options

if TYPE_CHECKING:
    from hvit_cli.models.encoder_specs import EncoderSpec


def encoders(as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """List patch encoders: what they are, what they expect, and under which licence."""
    from hvit_cli.pipelines.encoders import list_encoders

    specs = list_encoders()
    if as_json:
        console.say_json(specs)
        return
    console.say_table(
        (
            "--encoder",
            "width",
            "input px",
            "µm/px",
            "normalisation",
            "licence",
            "gate",
            "pretraining",
        ),
        (
            (
                spec.name,
                spec.width,
                spec.input_px,
                console.number(spec.spacing_um, 2),
                _normalisation(spec),
                spec.licence,
                spec.gate,
                spec.pretraining,
            )
            for spec in specs
        ),
    )
    console.note(
        "Any other timm name or hf-hub: address works too, and so do local files and folders: "
        "DINO snapshots, state dicts, folders with encoder.json or timm's config.json."
    )


def _normalisation(spec: EncoderSpec) -> str:
    from hvit_cli.models.encoder_specs import IMAGENET_MEAN, IMAGENET_STD

    if (spec.mean, spec.std) == (IMAGENET_MEAN, IMAGENET_STD):
        return "imagenet"
    mean, std = (" ".join(f"{value:.3f}" for value in v) for v in (spec.mean, spec.std))
    return f"{mean} / {std}"
