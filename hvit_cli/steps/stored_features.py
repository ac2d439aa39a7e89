"""Feature files in place of slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hvit_cli.errors import UsageError
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.steps.prepare import Prepared
from hvit_cli.storage.features import read_features


def feature_files(sources: Sequence[Path]) -> list[Path]:
    """The feature files that were given, or that lie in the folders given; [] for slides.

    Raises:
        UsageError: Feature files and slides were given together.
    """
    found = [_features_in(source) for source in sources]
    if any(found) and not all(found):
        raise UsageError(
            "slides and feature files cannot be used in one run",
            found=", ".join(map(str, sources)),
        )
    return [file for files in found for file in files]


def is_stored(entry: SlideEntry) -> bool:
    """Whether an entry is a feature file and no slide."""
    return entry.path.suffix == ".h5"


def stored_entries(files: Sequence[Path]) -> list[SlideEntry]:
    """Feature files as the entries of a run."""
    return [SlideEntry(slide_id=file.stem, path=file) for file in files]


def _features_in(source: Path) -> list[Path]:
    if source.is_dir():
        return sorted(source.glob("*.h5"))
    return [source] if source.suffix == ".h5" else []


def stored_features(entry: SlideEntry) -> Prepared:
    """What a feature file holds.

    Raises:
        StorageError: The file is missing or damaged.
    """
    return Prepared(status="done", features=read_features(entry.path))
