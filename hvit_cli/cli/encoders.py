"""`hvit encoders`."""

from __future__ import annotations

from hvit_cli.cli import console, options


def encoders(as_json: options.Json = False, verbose: options.Verbose = False) -> None:
    """List patch encoders: what they are, what they expect, and under which licence."""
    from hvit_cli.pipelines.encoders import list_encoders

    specs = list_encoders()
    if as_json:
        console.say_json(specs)
        return
    console.say_table(
        ("--encoder", "width", "input px", "µm/px", "mean / std", "licence", "gate", "pretraining"),
        (
            (
                spec.name,
                spec.width,
                spec.input_px,
                console.number(spec.spacing_um, 2),
                f"{_triple(spec.mean)} / {_triple(spec.std)}",
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


def _triple(values: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.3f}" for value in values)
