"""The feature files of a training run: found, matched with labels, and of one making."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from hvit_cli.errors import ModelError, RecipeError, StorageError, UsageError
from hvit_cli.settings import Attention
from hvit_cli.storage.feature_headers import FeatureHeader, read_feature_header
from hvit_cli.training.labels import LabelTable
from hvit_cli.training.problems import Problem, problem, refuse

# What must be equal in all files of a run, and the words for it.
_MAKING: dict[str, Callable[[FeatureHeader], object]] = {
    "encoder": lambda header: f"{header.encoder} ({header.encoder_hash[:12]})",
    "width": lambda header: header.width,
    "normalisation": lambda header: header.normalisation,
    "precision": lambda header: header.precision,
    "spacing in µm": lambda header: header.spacing_um_target,
    "region": lambda header: header.region_px,
    "patch": lambda header: header.patch_px,
    "mask level": lambda header: header.mask_level,
    "background below": lambda header: header.background_below,
}


def find_features_folder(path: Path) -> Path:
    """The folder of feature files meant by a path: itself, or the only one of a work folder.

    Raises:
        UsageError: There is none, or there are several.
    """
    if not path.is_dir():
        raise UsageError("no such folder of features", where=path)
    if list_features(path):
        return path
    # A work folder holds other .h5 files too (its tiles); only its features are meant.
    parent = path / "features" if (path / "features").is_dir() else path
    found = sorted(
        folder for folder in parent.iterdir() if folder.is_dir() and list_features(folder)
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            "several folders of features could be meant",
            where=path,
            found=", ".join(folder.name for folder in found),
            hint=str(found[0]),
        )
    raise UsageError(
        "no feature files here",
        where=path,
        wanted="*.h5 in it, or in features/<encoder>-<recipe>/ below it",
        hint="hvit embed, which writes them",
    )


def list_features(folder: Path) -> dict[str, Path]:
    """The feature files of a folder by slide id, in the order of the ids."""
    return {file.stem: file for file in sorted(folder.glob("*.h5")) if file.name[0] != "."}


def mismatches(
    tables: Sequence[LabelTable],
    slide_ids: Iterable[str],
    *,
    allow_missing: bool = False,
    allow_unlabelled: bool = False,
) -> list[Problem]:
    """Slides of the tables without features, and features without a row, as problems.

    Args:
        tables: The tables of a run; together they should name every slide with features.
        slide_ids: The slides with features.
        allow_missing: Slides without features are no problem.
        allow_unlabelled: Features without a row are no problem.
    """
    named = list(dict.fromkeys(slide_id for table in tables for slide_id in table.rows))
    known, present = set(named), set(slide_ids)
    missing = [] if allow_missing else [i for i in named if i not in present]
    unlabelled = [] if allow_unlabelled else sorted(present - known)
    if missing and not present & known and any(Path(i).stem in present for i in missing):
        hint = "ids without the file's suffix"
    else:
        hint = "--allow-missing to train without them"
    return [
        *problem("labelled slides without features", missing, hint),
        *problem(
            "feature files without a row in the table",
            unlabelled,
            "--allow-unlabelled to leave them out",
        ),
    ]


def refuse_mismatches(
    tables: Sequence[LabelTable],
    slide_ids: Iterable[str],
    *,
    allow_missing: bool = False,
    allow_unlabelled: bool = False,
    further: Sequence[Problem] = (),
) -> None:
    """Raises one error with every problem of the tables and of their match with features.

    Args:
        tables: The tables of a run.
        slide_ids: The slides with features.
        allow_missing: Slides without features are no problem.
        allow_unlabelled: Features without a row are no problem.
        further: Problems that were found elsewhere, reported with these.

    Raises:
        LabelError: There is a problem.
    """
    problems = [found for table in tables for found in table.problems]
    problems += mismatches(
        tables, slide_ids, allow_missing=allow_missing, allow_unlabelled=allow_unlabelled
    )
    problems += further
    refuse(
        "labels and features cannot be used together as they are",
        " and ".join(str(table.path) for table in tables),
        problems,
    )


def read_headers(paths: Mapping[str, Path]) -> dict[str, FeatureHeader]:
    """The header of every file by slide id.

    Raises:
        LabelError: Files cannot be read or hold another slide than their name says.
    """
    headers: dict[str, FeatureHeader] = {}
    unreadable, renamed = [], []
    for slide_id, path in paths.items():
        try:
            header = read_feature_header(path)
        except StorageError as error:
            unreadable.append(f"{path.name}: {error.what}")
            continue
        if header.slide_id == slide_id:
            headers[slide_id] = header
        else:
            renamed.append(f"{path.name} holds {header.slide_id}")
    refuse(
        "feature files cannot be used as they are",
        next(iter(paths.values())).parent if paths else None,
        [
            *problem("unreadable files", unreadable, "hvit embed again"),
            *problem("files named after another slide", renamed),
        ],
    )
    return headers


def require_one_making(headers: Mapping[str, FeatureHeader], folder: Path) -> FeatureHeader:
    """A header that stands for all: encoder, normalisation, spacing and sizes are the same.

    Raises:
        RecipeError: They are not; the message names each field, its values and how many
            slides have each.
    """
    differing = []
    for field, value_of in _MAKING.items():
        slides: dict[object, list[str]] = {}
        for slide_id, header in headers.items():
            slides.setdefault(value_of(header), []).append(slide_id)
        if len(slides) > 1:
            values = (
                f"{value} ({len(having)} slides, such as {having[0]})"
                for value, having in slides.items()
            )
            differing.append(f"{field}: " + ", ".join(values))
    if differing:
        raise RecipeError(
            "features of different making cannot train one model",
            where=folder,
            found="; ".join(differing),
            hint="a folder of features that one hvit embed made",
        )
    return next(iter(headers.values()))


def require_visible_patches(headers: Mapping[str, FeatureHeader], attention: Attention) -> None:
    """Refuses to train plain attention on features of tissue alone, and what contradicts tokens.

    Raises:
        ModelError: Plain attention needs every patch, and some files hold tissue only; or tokens
            were masked for the other kind of attention.
    """
    contrary = {"masked": "patch", "plain": "both"}[attention]
    unfit = [i for i, header in headers.items() if header.mask_level == contrary]
    if unfit:
        wanted = {"masked": "both", "plain": "patch"}[attention]
        raise ModelError(
            f"tokens of these features were masked for other attention than {attention}",
            found=problem(f"files of mask level {contrary}", unfit)[0],
            wanted=f"mask level region or {wanted}",
            hint=f"hvit embed --{attention} --mask-level {wanted}",
        )
    lacking = [i for i, header in headers.items() if header.patches != "all"]
    if attention == "plain" and lacking:
        raise ModelError(
            "plain attention sees every patch, and these features hold only those with tissue",
            found=problem("files of tissue patches", lacking)[0],
            wanted="features of all patches",
            hint="hvit embed --plain, whose files serve masked attention as well, or --masked",
        )
