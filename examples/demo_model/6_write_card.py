"""Writes the model card from what was measured; no number in it is typed.

python examples/demo_model/6_write_card.py /tmp/demo-model docs/reference/demo-model.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from hvit_cli.demo.composition import measure_pattern
from hvit_cli.demo.gleason import TISSUE_PATTERNS
from hvit_cli.demo.model import DEMO_NOTE
from hvit_cli.demo.scanner import SCANNERS, UNSEEN_SCANNER
from hvit_cli.storage.models import read_model

COLUMNS = ("masked", "plain", "glass only", "tissue area only", "mean colour only")
PATTERN_SEEDS = (1, 2, 3, 4)
NAMES = {1: "benign", 3: "Gleason 3", 4: "Gleason 4", 5: "Gleason 5"}


def main() -> None:
    """Reads `measured.json` and the packed model, measures the patterns, writes the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder that 5_measure.py filled")
    parser.add_argument("card", type=Path)
    arguments = parser.parse_args()
    measured = json.loads((arguments.out / "measured.json").read_text(encoding="utf-8"))
    sections = (
        introduction(),
        results(measured),
        what_it_is(arguments.out / "model"),
        how_drawn(measured),
        matched(),
        repeat(),
    )
    arguments.card.write_text("\n".join(sections), encoding="utf-8")


def introduction() -> str:
    """What the model is for, and what it is not."""
    return f"""# The demonstration model

**{DEMO_NOTE[0].upper()}{DEMO_NOTE[1:]}.** Every table, picture and report made
with it says so.

It comes with the package (`hvit_cli/demo/model/`, `--model demo`), so that `hvit demo`, and
`hvit predict` or `hvit heatmap` on a single slide, show what they do without a download. It has
the classes of the real model in smaller sizes, one patch encoder and two aggregators trained on
the same features: one with masked attention, one with plain.

It must not be used to grade tissue, to compare with published results, to start training on
real slides, or to claim anything about pathology. On a real slide it gives a number that means
nothing. This page is written by `examples/demo_model/6_write_card.py` from measurements.
"""


def results(measured: dict[str, Any]) -> str:
    """Kappa in every condition, beside the dumb models."""
    mask = measured["mask_changes"]
    lines = [
        "## How well it grades drawings",
        "",
        f"Quadratic weighted kappa over the six grades on {measured['slides']} held-out slides "
        f"with unseen seeds, {measured['unseen_scanner_slides']} of them from a scanner "
        f"(`{UNSEEN_SCANNER}`) that no training slide comes from; 95 % percentile intervals of "
        "2000 bootstrap samples of slides. The conditions are the same slides with and without "
        "the confounder, a label dot on the glass.",
        "",
        "| held-out slides | " + " | ".join(COLUMNS) + " | masked − plain |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for condition, found in measured["conditions"].items():
        cells = [interval(found[name]) for name in (*COLUMNS, "masked minus plain")]
        lines.append(f"| {condition} ({found['dots']} dots) | " + " | ".join(cells) + " |")
    lines += [
        "",
        "*Glass only*: ridge regression on mean, largest and smallest features of the patches "
        "without tissue. *Tissue area only*: tissue in mm² and the number of regions. *Mean "
        "colour only*: mean red, green and blue of the tissue. All three are fitted on the same "
        "training slides.",
        "",
        f"The dot moves plain scores by {measured['plain_change_by_dot']:+.2f} grades on average. "
        f"On the {mask['slides_with_same_mask']} slides on which segmentation finds the same "
        f"tissue with and without the dot, it moves masked scores by at most "
        f"{mask['largest_change_with_same_mask']:g}. On the others the dot changes "
        "what segmentation, which looks at the whole slide, finds, by up to "
        f"{mask['largest_mask_change_mm2']:.3f} mm²; masked scores that change by more than "
        f"0.01: {mask['scores_changed_with_other_mask']}, the largest by "
        f"{mask['largest_change_with_other_mask']:.2f}. Masking hides what the mask "
        "calls glass; it cannot make the mask itself ignorant of the glass.",
        "",
        "Without the dot, by scanner:",
        "",
        "| | known scanners | unseen scanner |",
        "|---|---|---|",
    ]
    for name in ("masked", "plain"):
        known, unseen = (
            interval(measured["scanners"][f"{name}, {which}"])
            for which in ("known scanners", "unseen scanner")
        )
        lines.append(f"| {name} | {known} | {unseen} |")
    lines += [
        "",
        "Masked attention without the dot; rows are the true grade, columns the model's:",
        "",
        "| ISUP | 0 | 1 | 2 | 3 | 4 | 5 |",
        "|---|---|---|---|---|---|---|",
    ]
    for grade, row in enumerate(measured["confusion_masked"]):
        lines.append(f"| **{grade}** | " + " | ".join(map(str, row)) + " |")
    return "\n".join([*lines, ""])


def interval(found: list[float]) -> str:
    """A number and its interval, as in `0.91 (0.88 to 0.93)`."""
    value, low, high = found
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def what_it_is(folder: Path) -> str:
    """Sizes of networks and files."""
    model = read_model(folder)
    files = [model.encoder.file, *(member.file for member in model.members)]
    sizes = {file: (folder / file).stat().st_size for file in files}
    epochs = model.training["masked"]["recipe"]["settings"]["training"]
    described, sizes_of = model.encoder.architecture, model.aggregator
    rows = "\n".join(f"| `{file}` | {size / 1e6:.2f} MB |" for file, size in sizes.items())
    tuned = "; ".join(
        f"{member.attention}: epoch {member.metrics['epoch']}, tuning kappa "
        f"{member.metrics['tune_kappa']:.3f}"
        for member in model.members
    )
    return f"""## What it is

| file | size |
|---|---|
{rows}
| together | {sum(sizes.values()) / 1e6:.2f} MB |

Weights are float16 in safetensors and computed in float32. Patch encoder: plain ViT, patches of
256 px at 0.5 µm per pixel in tokens of {described["token_px"]} px, width {described["width"]},
depth {described["depth"]}, {described["heads"]} heads. Region Transformer: width
{sizes_of.region_dim}, depth {sizes_of.region_depth}, {sizes_of.region_heads} heads. Slide
Transformer: width {sizes_of.slide_dim}, {sizes_of.slide_depth} layers,
{sizes_of.slide_heads} heads. Epochs kept: {tuned}. Licence: {model.licence}.

The encoder was trained **supervised**, on the share of each pattern in patches of the training
slides, and to give back a thumbnail of the patch. It was shown no patch with the dot, and no
glass with ink of any kind, so it was not taught to overlook them. An encoder pretrained without
labels for minutes on a processor does not carry the grade (measured in
[examples/demo_model](../../examples/demo_model/README.md)). The aggregators were trained as
`hvit train` trains: region and slide Transformer together, mean squared error on the ISUP grade,
{epochs["epochs"]} epochs, {epochs["batch_slides"]} slides a step, Adam with a learning rate of
{epochs["learning_rate"]:g} halved every {epochs["step_epochs"]} epochs, seed {epochs["seed"]}.
Features were embedded in {model.encoder.precision}, for training and for the numbers above.
"""


def how_drawn(measured: dict[str, Any]) -> str:
    """Data, seeds and the confounder."""
    dots = measured["train_dots"]
    scanners = "\n".join(
        f"| `{s.name}`{' (held out only)' if s.name == UNSEEN_SCANNER else ''} "
        f"| {s.spacing_um} | {s.glass_rgb} | {s.jpeg_quality} ± 5 |"
        for s in SCANNERS.values()
    )
    return f"""## How its slides are drawn

{measured["train_slides"]} training, {measured["tune_slides"]} tuning and {measured["slides"]}
held-out slides, seeds 11, 12 and 13, balanced over the grades; whole slides of 1 to 3 cores with
pixel truth. Tumour share is log-uniform from 1 to 80 % and independent of the grade. The label
is the Gleason score of the areas in the truth's pixels (primary: the largest; secondary: the
highest of the others with at least 5 % of the tumour), turned into the ISUP grade.

Scanner, stain, glass tone, JPEG quality, number and direction of cores, folds and pen marks are
independent of the grade.

| scanner | µm per pixel | glass | JPEG quality |
|---|---|---|---|
{scanners}

**The confounder** is a dot of red ink, 0.1 mm wide, on the glass: inside a region, so that plain
attention reads it, and more than one patch away from all tissue, so that no patch shows both. In
60 % of the training slides it goes with the grade (phi 0.9 between dot and ISUP 3 or more); the
others have none. As drawn, {dots["low"]:.0%} of the training slides of ISUP 0 to 2 and
{dots["high"]:.0%} of those of ISUP 3 to 5 bear it, phi {dots["phi"]:.2f} over all.
"""


def matched() -> str:
    """The composition of each pattern, measured here and now."""
    lines = [
        "## The patterns differ in architecture alone",
        "",
        f"Measured on {len(PATTERN_SEEDS)} squares of about 1 mm² of each pattern alone "
        "(scanner `alder`). The first columns must agree and do; the last two must differ.",
        "",
        "| pattern | mean RGB | deviation RGB | nuclei per mm² | epithelium | lumen or cleft "
        "| lumina per mm² | stroma around lumina |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pattern in TISSUE_PATTERNS:
        found = measure_pattern(pattern, SCANNERS["alder"], PATTERN_SEEDS)
        mean, deviation = (
            " ".join(f"{value:.1f}" for value in values)
            for values in (found.mean_rgb, found.deviation_rgb)
        )
        lines.append(
            f"| {NAMES[pattern]} | {mean} | {deviation} | {found.nuclei_per_mm2:.0f} "
            f"| {found.epithelium_share:.1%} | {found.lumen_share:.1%} "
            f"| {found.lumina_per_mm2:.0f} | {found.stromal_border:.0%} |"
        )
    return "\n".join([*lines, ""])


def repeat() -> str:
    """The commands."""
    return """## Repeating it

From a checkout, about half an hour on two free processor cores and 4 GB of disk:

```
python examples/demo_model/1_draw_cohort.py /tmp/demo-model
python examples/demo_model/2_train_encoder.py /tmp/demo-model
python examples/demo_model/3_embed_cohorts.py /tmp/demo-model
python examples/demo_model/4_train_aggregators.py /tmp/demo-model --install
python examples/demo_model/5_measure.py /tmp/demo-model
python examples/demo_model/6_write_card.py /tmp/demo-model docs/reference/demo-model.md
```

Drawing is the same to the bit for the same versions of numpy and OpenCV, and so is the training
of the aggregators for the same features and version of PyTorch. The encoder repeats to the noise
of summation, which depends on processor and threads; the numbers above then differ a little.
"""


if __name__ == "__main__":
    main()
