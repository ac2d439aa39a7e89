"""A training whose inputs have been checked: which slides, which labels, which model folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.settings import AggregatorSettings, TrainingSettings, as_recipe
from hvit_cli.storage.feature_headers import FeatureHeader
from hvit_cli.storage.models import ModelFolder, ModelMember
from hvit_cli.storage.recipe import Recipe, recipe8, recipe_of, require_same_recipe
from hvit_cli.training import cohort, members
from hvit_cli.training.bags import CACHE_BYTES
from hvit_cli.training.encoder_record import EncoderRecord, record_encoder
from hvit_cli.training.folds import Fold, draw_fold, fold_of_column, fold_of_table, restrict
from hvit_cli.training.labels import LabelTable, labels_hash, read_labels, read_slide_ids
from hvit_cli.training.problems import problem, refuse

# Raised when the same settings begin to give other weights.
METHOD = 1


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What is to be trained, on what, and where to.

    Attributes:
        features: Folder of feature files, or a work folder with one such folder.
        labels: Table of labels.
        out: The model folder.
        settings: How to train.
        sizes: Sizes of the aggregator; width and region come from the features.
        id_column: Heading of the slide ids; None guesses.
        label_column: Heading of the labels; None guesses.
        tune_table: Table that names the tuning slides.
        fold_column: Column of `labels` that says each slide's fold.
        fold: The fold that tunes.
        allow_missing: Train without labelled slides that have no features.
        allow_unlabelled: Leave out features that have no label.
        encoder: Where the patch encoder of the features is found, to be copied into the model
            folder or named by it; None takes the features' word for it.
        copy_encoder: Copy the weights of an encoder that lies in a local file.
        note: A sentence that goes with every result of the model.
        watermark: A sentence written across its pictures.
        licence: Licence note of its weights.
        device: Where to train.
        cache_bytes: Memory for features that are read once and kept.
        overwrite: Replace a member, a model or an unfinished run made with other settings.
    """

    features: Path
    labels: Path
    out: Path
    settings: TrainingSettings = field(default_factory=TrainingSettings)
    sizes: AggregatorSettings = field(default_factory=AggregatorSettings)
    id_column: str | None = None
    label_column: str | None = None
    tune_table: Path | None = None
    fold_column: str | None = None
    fold: str | None = None
    allow_missing: bool = False
    allow_unlabelled: bool = False
    encoder: str | None = None
    copy_encoder: bool = True
    note: str = ""
    watermark: str = ""
    licence: str = ""
    device: str = "auto"
    cache_bytes: int = CACHE_BYTES
    overwrite: bool = False

    def __post_init__(self) -> None:
        if (self.fold_column is None) != (self.fold is None):
            raise UsageError("--fold-column and --fold belong together")
        if self.fold is not None and self.tune_table is not None:
            raise UsageError("--tune and --fold both say which slides tune; one of them is enough")


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
    recipe: Recipe

    @property
    def metrics_path(self) -> Path:
        """Table of the epochs."""
        return members.training_folder(self.request.out, self.name) / "metrics.csv"

    @property
    def state_path(self) -> Path:
        """State of the run while it is unfinished."""
        return members.training_folder(self.request.out, self.name) / "training_state.pt"

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
    folder = cohort.find_features_folder(request.features)
    tables = _tables(request)
    present = cohort.list_features(folder)
    cohort.refuse_mismatches(
        tables,
        present,
        allow_missing=request.allow_missing,
        allow_unlabelled=request.allow_unlabelled,
    )
    named = {slide_id for table in tables for slide_id in table.rows}
    headers = cohort.read_headers({i: path for i, path in present.items() if i in named})
    if not headers:
        raise LabelError(
            "no slide has both a label and features", where=request.labels, found=folder
        )
    header = cohort.require_one_making(headers, folder)
    cohort.require_visible_patches(headers, request.settings.attention)
    without_region = sorted(i for i, header in headers.items() if header.n_regions == 0)
    if not request.allow_missing:
        refuse(
            "slides cannot be trained on",
            folder,
            problem("slides without any region", without_region, "--allow-missing"),
        )
    fold = restrict(_fold(request, tables), headers.keys() - set(without_region))
    left_out = {
        "without features": sorted(named - present.keys()),
        "without a label": sorted(present.keys() - named),
        "without a region": without_region,
    }
    return _job(request, folder, headers, header, fold, left_out)


def _tables(request: TrainingRequest) -> list[LabelTable]:
    labels = read_labels(
        request.labels, id_column=request.id_column, label_column=request.label_column
    )
    if request.tune_table is None:
        return [labels]
    tuning = read_slide_ids(
        request.tune_table, id_column=request.id_column, label_column=request.label_column
    )
    return [labels, tuning]


def _fold(request: TrainingRequest, tables: list[LabelTable]) -> Fold:
    if request.fold_column is not None and request.fold is not None:
        return fold_of_column(tables[0], request.fold_column, request.fold)
    if len(tables) == 2:
        return fold_of_table(*tables)
    return draw_fold(tables[0].labels, request.settings.tune_fraction, request.settings.seed)


def _job(
    request: TrainingRequest,
    folder: Path,
    headers: dict[str, FeatureHeader],
    header: FeatureHeader,
    fold: Fold,
    left_out: dict[str, list[str]],
) -> TrainingJob:
    encoder = record_encoder(header, request.encoder, copy=request.copy_encoder)
    model = ModelFolder(
        path=request.out,
        name=request.out.resolve().name,
        note=request.note,
        watermark=request.watermark,
        licence=request.licence,
        encoder=encoder.identity,
        reading=members.reading_of(header),
        tiling=members.tiling_of(header),
        aggregator=members.aggregator_of(header, request.sizes),
        members=(),
    )
    before = members.existing_model(model, overwrite=request.overwrite)
    if before is not None:
        model = replace(model, members=before.members, training=before.training)
        if before.encoder.file:
            # The folder holds these very weights already, whether or not they were named again.
            model = replace(model, encoder=before.encoder)
            encoder = EncoderRecord(identity=before.encoder)
    name = str(request.settings.attention)
    recipe = recipe_of(
        settings={
            "method": METHOD,
            "training": as_recipe(request.settings),
            "aggregator": as_recipe(model.aggregator),
        },
        inputs={
            "train": labels_hash(fold.train),
            "tune": labels_hash(fold.tune),
            "encoder": header.encoder_hash,
            "features": recipe8(header.recipe.get("settings", {})),
        },
    )
    job = TrainingJob(
        request=request,
        name=name,
        folder=folder,
        paths={slide_id: folder / f"{slide_id}.h5" for slide_id in headers},
        fold=fold,
        left_out={reason: slides for reason, slides in left_out.items() if slides},
        model=model,
        encoder=encoder,
        recipe=recipe,
    )
    trained = model.training.get(name)
    if trained is not None and not request.overwrite:
        require_same_recipe(request.out, trained["recipe"], recipe)
    return job
