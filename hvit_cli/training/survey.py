"""A first look over features and labels: every problem is found before anything is trained.

A cross-validation looks once and trains many times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import LabelError, UsageError
from hvit_cli.storage.feature_headers import FeatureHeader
from hvit_cli.training import cohort
from hvit_cli.training.encoder_record import EncoderRecord, record_encoder
from hvit_cli.training.fold_table import Folds, read_folds
from hvit_cli.training.folds import Fold, draw_fold, fold_of_column, fold_of_table, restrict
from hvit_cli.training.labels import LabelTable, read_labels, read_slide_ids
from hvit_cli.training.leaks import pretraining_slides
from hvit_cli.training.problems import problem, refuse
from hvit_cli.training.request import TrainingRequest


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The features and labels of one or more trainings, checked against each other.

    Attributes:
        folder: The folder of the features.
        tables: Labels, and the table of tuning slides or of folds where there is one.
        folds: The folds, where a table gives them.
        headers: Header of each labelled feature file by slide id.
        header: One that stands for all.
        usable: Slides with a label, features and a region.
        left_out: Slides that are not used, by reason.
        encoder: The patch encoder, and where its weights are copied from.
        pretrained_on: Slides on which the patch encoder was trained, as far as it is recorded.
    """

    folder: Path
    tables: tuple[LabelTable, ...]
    folds: Folds | None
    headers: Mapping[str, FeatureHeader]
    header: FeatureHeader
    usable: frozenset[str]
    left_out: Mapping[str, list[str]]
    encoder: EncoderRecord
    pretrained_on: frozenset[str]

    def paths(self) -> dict[str, Path]:
        """Feature file by slide id."""
        return {slide_id: self.folder / f"{slide_id}.h5" for slide_id in self.headers}


def survey(request: TrainingRequest) -> Survey:
    """Reads labels, folds and the headers of all features, and checks that they fit.

    Raises:
        LabelError: Labels cannot be used as they are, or do not match the features.
        RecipeError: Features of different making are mixed.
        UsageError: No, or several, folders of features could be meant.
    """
    folder = cohort.find_features_folder(request.features)
    tables, folds = _tables(request)
    present = cohort.list_features(folder)
    cohort.refuse_mismatches(
        tables,
        present,
        allow_missing=request.allow_missing,
        allow_unlabelled=request.allow_unlabelled,
        further=() if folds is None else folds.contradictions(tables[0]),
    )
    named = {slide_id for table in tables for slide_id in table.rows}
    headers = cohort.read_headers({i: path for i, path in present.items() if i in named})
    if not headers:
        raise LabelError(
            "no slide has both a label and features", where=request.labels, found=folder
        )
    header = cohort.require_one_making(headers, folder)
    without_region = sorted(i for i, header in headers.items() if header.n_regions == 0)
    if not request.allow_missing:
        refuse(
            "slides cannot be trained on",
            folder,
            problem("slides without any region", without_region, "--allow-missing"),
        )
    left_out = {
        "without features": sorted(named - present.keys()),
        "without a label": sorted(present.keys() - named),
        "without a region": without_region,
    }
    return Survey(
        folder=folder,
        tables=tables,
        folds=folds,
        headers=headers,
        header=header,
        usable=frozenset(headers.keys() - set(without_region)),
        left_out={reason: slides for reason, slides in left_out.items() if slides},
        encoder=record_encoder(header, request.encoder, copy=request.copy_encoder),
        pretrained_on=pretraining_slides(folder, request.encoder),
    )


def fold_asked(request: TrainingRequest, found: Survey) -> Fold:
    """The division into training and tuning slides that a request asks for.

    Raises:
        LabelError: A part is empty, there is no such fold, or only one label trains.
        UsageError: The fold is no number of the table of folds.
    """
    fold = restrict(_fold(request, found), set(found.usable))
    if len(set(fold.train.values())) < 2:
        raise LabelError(
            "all training slides have one label, and there is nothing to learn",
            where=request.labels,
            found=f"{len(fold.train)} slides of label {next(iter(fold.train.values()))}",
        )
    return fold


def _fold(request: TrainingRequest, found: Survey) -> Fold:
    if found.folds is not None:
        if request.fold is None or not request.fold.isdecimal():
            raise UsageError(
                "a fold of the table of folds is a number",
                where="--fold",
                found=request.fold,
                wanted=", ".join(map(str, found.folds.numbers)),
            )
        return found.folds.fold(int(request.fold))
    if request.fold_column is not None and request.fold is not None:
        return fold_of_column(found.tables[0], request.fold_column, request.fold)
    if request.tune_table is not None:
        return fold_of_table(found.tables[0], found.tables[1])
    return draw_fold(found.tables[0].labels, request.settings.tune_fraction, request.settings.seed)


def _tables(request: TrainingRequest) -> tuple[tuple[LabelTable, ...], Folds | None]:
    grades = request.task.grades
    labels = read_labels(
        request.labels,
        id_column=request.id_column,
        label_column=request.label_column,
        grades=grades,
    )
    if request.folds is not None:
        folds = read_folds(request.folds, grades=grades)
        table = read_labels(
            request.folds, id_column="slide_id", label_column="label", grades=grades
        )
        return (labels, table), folds
    if request.tune_table is None:
        return (labels,), None
    tuning = read_slide_ids(
        request.tune_table, id_column=request.id_column, label_column=request.label_column
    )
    return (labels, tuning), None
