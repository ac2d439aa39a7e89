"""The pathology mask of a slide, found by its name and read for its patches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import TissueError
from hvit_cli.measures.patch_truth import PatchTruth, patch_truth
from hvit_cli.settings import LabelScheme
from hvit_cli.storage.features import SlideFeatures
from hvit_cli.tissue.external import read_labels


@dataclass(frozen=True, kw_only=True)
class TruthSource:
    """Where pathology masks lie and what they mean.

    Attributes:
        folder: Their folder.
        pattern: Name of a slide's mask, with {slide_id}.
        scheme: What the values mean.
    """

    folder: Path
    pattern: str
    scheme: LabelScheme

    def path(self, slide_id: str) -> Path:
        """Where a slide's mask is looked for."""
        return self.folder / self.pattern.format(slide_id=slide_id)

    def of(self, features: SlideFeatures) -> PatchTruth:
        """The truth of a slide's patches.

        Raises:
            TissueError: There is no mask, or it does not fit the slide or the scheme.
        """
        path = self.path(features.slide_id)
        if not path.is_file():
            raise TissueError(
                "the slide has no pathology mask",
                where=path,
                hint="--truth-pattern, or --exclude for slides without one",
            )
        labels = read_labels(path, features.size_level0, features.spacing_um_level0)
        return patch_truth(labels, features, self.scheme, path)
