"""Slides that a network was pretrained on must neither tune nor test what is built on it.

An encoder folder's `encoder.json` may list them under `pretraining_slides`; `hvit embed` writes
the list beside the features that the encoder made. A region Transformer's folder lists its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from pathlib import Path

from hvit_cli.errors import LabelError, ModelError
from hvit_cli.models.local_encoder import DESCRIPTION_FILE, PRETRAINING_SLIDES
from hvit_cli.settings.seal import alteration
from hvit_cli.training.problems import problem


def pretraining_slides(features: Path, encoder: str | None) -> frozenset[str]:
    """The slides that made the encoder, as far as they are recorded.

    Args:
        features: Folder of the features.
        encoder: What `--encoder` gave.

    Raises:
        ModelError: A record exists and is no list of slide ids.
    """
    folders = [features] if encoder is None else [features, Path(encoder), Path(encoder).parent]
    found: set[str] = set()
    for file in (folder / DESCRIPTION_FILE for folder in folders):
        if file.is_file():
            found |= _listed(file)
    return frozenset(found)


def refuse_leaks(
    pretrained_on: Set[str],
    judged: Iterable[str],
    *,
    where: object,
    what: str,
    network: str = "patch encoder",
) -> None:
    """Refuses to judge a model by slides that its pretrained part has seen.

    Args:
        pretrained_on: Slides of that part's own training.
        judged: Slides that choose the epoch or test.
        where: The features, or the pretrained weights.
        what: What those slides do, such as "tune or test fold 2".
        network: What was pretrained.

    Raises:
        LabelError: There are such slides.
    """
    (seen,) = problem("slides", sorted(pretrained_on & set(judged))) or (None,)
    if seen is not None:
        raise LabelError(
            f"slides that trained the {network} would {what}",
            where=where,
            found=seen,
            hint=f"a {network} that was trained on this fold's training slides alone",
        )


def _listed(file: Path) -> set[str]:
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        slides = description.get(PRETRAINING_SLIDES, [])
        if alteration(description) is not None:
            raise ValueError("not what was written (checksum)")
        if not all(isinstance(slide, str) for slide in slides):
            raise TypeError(f"{PRETRAINING_SLIDES} holds something that is no text")
        return set(slides)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            "the record of the encoder's training slides cannot be read",
            where=file,
            found=error,
        ) from error
