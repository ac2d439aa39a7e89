"""A training whose inputs have been checked: which slides, which labels, which model folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hvit_cli.settings import as_recipe
from hvit_cli.storage.models import ModelFolder, ModelMember
from hvit_cli.storage.recipe import Recipe, recipe8, recipe_of, require_same_recipe
from hvit_cli.training import cohort, members
from hvit_cli.training.encoder_record import EncoderRecord
from hvit_cli.training.folds import Fold
from hvit_cli.training.labels import labels_hash
from hvit_cli.training.leaks import refuse_leaks
from hvit_cli.training.region_start import RegionStart, region_start
from hvit_cli.training.request import TrainingRequest
from hvit_cli.training.survey import Survey, fold_asked, survey

# Raised when the same settings begin to give other weights.
METHOD = 1


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A training whose inputs have been checked, ready to run.

    Attributes:
        request: What was asked for.
        name: Name of the member that is trained.
        folder: The folder of the features.
        paths: Feature file by slide id.
        fold: Which slides train and which tune.
        left_out: Slides that are not used, by reason.
        model: The model folder as it will be, with the members that stay.
        encoder: The patch encoder, and where its weights are copied from.
        region: The pretrained region Transformer to start from, if any.
        recipe: What decides the weights.
    """

    request: TrainingRequest
    name: str
    folder: Path
    paths: dict[str, Path]
    fold: Fold
    left_out: dict[str, list[str]]
    model: ModelFolder
    encoder: EncoderRecord
    region: RegionStart | None
    recipe: Recipe

    @property
    def folder_path(self) -> Path:
        """Where everything about the training of this member lies."""
        return members.training_folder(self.request.out, self.name)

    @property
    def metrics_path(self) -> Path:
        """Table of the epochs."""
        return self.folder_path / "metrics.csv"

    @property
    def state_path(self) -> Path:
        """State of the run while it is unfinished."""
        return self.folder_path / "training_state.pt"

    @property
    def done(self) -> ModelMember | None:
        """The member that an equal run has trained already."""
        record = self.model.training.get(self.name)
        file = f"{self.name}.safetensors"
        found = [member for member in self.model.members if member.file == file]
        if not found or record is None or record["recipe"] != self.recipe:
            return None
        return found[0]


def prepare(request: TrainingRequest) -> TrainingJob:
    """Checks features, labels and the model folder before anything is trained.

    Raises:
        LabelError: Labels cannot be used as they are, or do not match the features.
        RecipeError: Features of different making are mixed, or the model folder holds
            something made otherwise.
        ModelError: Plain attention was asked for, and features of tissue are all there is.
        UsageError: No, or several, folders of features could be meant.
    """
    return job_of(request, survey(request))


def job_of(request: TrainingRequest, found: Survey) -> TrainingJob:
    """The training that is asked for, of features and labels that were looked over before.

    Raises:
        HvitError: As `prepare`.
    """
    cohort.require_visible_patches(found.headers, request.settings.attention)
    fold = fold_asked(request, found)
    refuse_leaks(found.pretrained_on, fold.tune, where=found.folder, what="choose the epoch")
    header = found.header
    region = region_start(request, header)
    if region is not None:
        refuse_region_leaks(region, fold.tune, "choose the epoch")
    sizes = request.asked_sizes if region is None else region.sizes
    encoder = found.encoder
    model = ModelFolder(
        path=request.out,
        name=request.out.resolve().name,
        note=request.note,
        watermark=request.watermark,
        licence=request.licence,
        encoder=encoder.identity,
        reading=members.reading_of(header),
        tiling=members.tiling_of(header),
        aggregator=members.aggregator_of(header, sizes, request.task),
        members=(),
        task=request.task,
        mask_level=header.mask_level,
    )
    before = members.existing_model(model, overwrite=request.overwrite)
    if before is not None:
        model = replace(model, members=before.members, training=before.training)
        if before.encoder.file:
            # The folder holds these very weights already, whether or not they were named again.
            model = replace(model, encoder=before.encoder)
            encoder = EncoderRecord(identity=before.encoder)
    recipe = recipe_of(
        settings={
            "method": METHOD,
            "training": as_recipe(request.settings),
            "task": as_recipe(request.task),
            "aggregator": as_recipe(model.aggregator),
        },
        inputs={
            "train": labels_hash(fold.train),
            "tune": labels_hash(fold.tune),
            "encoder": header.encoder_hash,
            "features": recipe8(header.recipe.get("settings", {})),
            **({} if region is None else {"region_checkpoint": region.sha256}),
        },
    )
    job = TrainingJob(
        request=request,
        name=request.name,
        folder=found.folder,
        paths=found.paths(),
        fold=fold,
        left_out=dict(found.left_out),
        model=model,
        encoder=encoder,
        region=region,
        recipe=recipe,
    )
    trained = model.training.get(request.name)
    if trained is not None and not request.overwrite:
        require_same_recipe(request.out, trained["recipe"], recipe)
    return job


def refuse_region_leaks(region: RegionStart, judged: Iterable[str], what: str) -> None:
    """Refuses to judge a model by slides that its region Transformer was pretrained on.

    Raises:
        LabelError: There are such slides.
    """
    refuse_leaks(
        region.checkpoint.slides,
        judged,
        where=region.checkpoint.path,
        what=what,
        network="region Transformer",
    )
