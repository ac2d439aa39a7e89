"""Which model a command uses, and what of it runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.demo.model import demo_model_folder
from hvit_cli.errors import ModelError, UsageError
from hvit_cli.settings import Attention, MaskLevel, ReadingSettings, TissueSettings
from hvit_cli.storage.models import MODEL_FILE, ModelFolder, ModelMember, read_model
from hvit_cli.storage.work import WorkFolder
from hvit_cli.tissue.tokens import fine_enough

DEMO = "demo"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """What the user said about the model; None leaves it to the model.

    Attributes:
        model: A model folder, its `model.json`, `hf-hub:owner/name`, "demo", or None for the
            only model of the work folder and else, for a single slide, the bundled one.
        attention: The attention to run with; None takes the trained one, masked first.
        region_px: Must be the model's.
        patch_px: Must be the model's.
        spacing_um: Must be the model's.
        spacing_tolerance: Must be the model's.
        encoder: Must be the model's.
        mask_level: Must be the model's.
    """

    model: str | None = None
    attention: Attention | None = None
    region_px: int | None = None
    patch_px: int | None = None
    spacing_um: float | None = None
    spacing_tolerance: float | None = None
    encoder: str | None = None
    mask_level: MaskLevel | None = None


@dataclass(frozen=True, kw_only=True)
class ChosenModel:
    """A model, the attention it runs with, and what must be said about that.

    Attributes:
        folder: The model.
        attention: The attention that runs.
        members: The aggregators that run; several are averaged.
        note: What goes beside every result: the model's own note, and a remark where the
            attention that runs is not the one that was trained. "" where there is none.
        is_demo: Whether this is the bundled demonstration model.
    """

    folder: ModelFolder
    attention: Attention
    members: tuple[ModelMember, ...]
    note: str
    is_demo: bool


def choose_model(request: ModelRequest, work: WorkFolder, *, slides: int) -> ChosenModel:
    """Finds the model to use: the named one, the only one at hand, or for one slide the demo's.

    Args:
        request: What the user said.
        work: The work folder.
        slides: Number of slides of the run.

    Raises:
        UsageError: Several models could be meant, many slides and none named, or a setting
            contradicts the model.
        ModelError: The model cannot be read.
    """
    folder = _find(request.model, work, slides)
    is_demo = folder == demo_model_folder()
    description = read_model(folder)
    _require_agreement(request, description)
    runs = request.attention or description.attentions[0]
    require_level_fits(description.mask_level, runs)
    members = description.members_for(runs)
    notes = [description.note] if description.note else []
    if not members:
        members = description.members
        notes.append(f"trained with {description.attentions[0]} attention, run with {runs}")
    return ChosenModel(
        folder=description,
        attention=runs,
        members=members,
        note="; ".join(notes),
        is_demo=is_demo,
    )


def _require_agreement(request: ModelRequest, model: ModelFolder) -> None:
    asked_known = {
        "--region": (request.region_px, model.tiling.region_px),
        "--patch": (request.patch_px, model.tiling.patch_px),
        "--spacing": (request.spacing_um, model.reading.spacing_um),
        "--spacing-tolerance": (request.spacing_tolerance, model.reading.spacing_tolerance),
        "--mask-level": (request.mask_level, model.mask_level),
        "--encoder": (request.encoder, model.encoder.source or model.encoder.name),
    }
    for option, (asked, known) in asked_known.items():
        if asked is not None and asked != known:
            raise UsageError(
                f"the option contradicts the model {model.name}, which was trained otherwise",
                where=option,
                found=asked,
                wanted=known,
                hint=f"leaving out {option}, or another --model",
            )


def require_level_fits(level: MaskLevel, attention: Attention) -> None:
    """Refuses kinds of attention in the region Transformer that contradict what is masked.

    Raises:
        UsageError: They do.
    """
    wanted: dict[MaskLevel, Attention] = {"both": "masked", "patch": "plain"}
    if level in wanted and attention != wanted[level]:
        raise UsageError(
            f"--mask-level {level} and --{attention} contradict each other: "
            f"its region Transformer runs with {wanted[level]} attention",
            hint=f"--{wanted[level]}",
        )


def _find(model: str | None, work: WorkFolder, slides: int) -> Path:
    if model == DEMO:
        return demo_model_folder()
    if model is not None and model.startswith("hf-hub:"):
        return _download(model.removeprefix("hf-hub:"))
    if model is not None:
        path = Path(model)
        if not path.exists():
            raise ModelError("no such model", where=model, wanted=f"a folder with {MODEL_FILE}")
        return path
    trained = sorted(file.parent for file in work.models.glob(f"*/{MODEL_FILE}"))
    if len(trained) > 1:
        raise UsageError(
            "several models could be meant",
            where=work.models,
            found=", ".join(folder.name for folder in trained),
            hint=f"--model {trained[0]}",
        )
    if trained:
        return trained[0]
    if slides == 1:
        _LOG.warning(
            "no model was named and %s holds none: the demonstration model is used, "
            "whose number means nothing on real tissue",
            work.models,
        )
        return demo_model_folder()
    raise UsageError(
        "no model was named and the work folder holds none",
        where=work.models,
        hint="--model FOLDER, or --model demo for the demonstration model, whose numbers mean "
        "nothing on real tissue",
    )


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            "the model could not be fetched from the hub",
            where=f"hf-hub:{repository}",
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            hint="a local model folder with --model",
        ) from error


def reading_of(model: ChosenModel, reading: ReadingSettings) -> ReadingSettings:
    """The model's target spacing and tolerance, with the user's sources of the slide's own."""
    return replace(
        model.folder.reading,
        spacing_override=reading.spacing_override,
        spacing_from_objective=reading.spacing_from_objective,
    )


def tissue_of(model: ChosenModel, tissue: TissueSettings) -> TissueSettings:
    """How tissue is found for a model: finely enough for tokens, where it masks them."""
    return tissue_at(model.folder.mask_level, tissue)


def tissue_at(level: MaskLevel, tissue: TissueSettings) -> TissueSettings:
    """How tissue is found for a mask level."""
    return tissue if level == "region" else fine_enough(tissue)
