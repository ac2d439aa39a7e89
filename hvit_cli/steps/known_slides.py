"""Spacing and size of slides whose features come from elsewhere."""

from __future__ import annotations

from pathlib import Path

from hvit_cli.errors import StorageError
from hvit_cli.settings import ReadingSettings
from hvit_cli.slides.entry import SlideEntry
from hvit_cli.slides.manifest import find_slides
from hvit_cli.slides.reader import open_slide
from hvit_cli.steps.regrouping import Known


class KnownSlides:
    """What is known of each slide: from the slide itself, or from an option.

    Args:
        slides: The slides, a folder of them or a manifest; None where they are not at hand.
        reading: `spacing_override` is what the user says of level 0.
    """

    def __init__(self, slides: Path | None, reading: ReadingSettings) -> None:
        self._reading = reading
        self._entries: dict[str, SlideEntry] | None = None
        if slides is not None:
            found = find_slides([slides], exclude=None)
            self._entries = {entry.slide_id: entry for entry in found}

    def of(self, slide_id: str) -> Known:
        """Spacing and size of one slide, and where they come from.

        Raises:
            StorageError: The slides are at hand, and this one is not among them.
            SlideError: It cannot be opened, or states no spacing.
        """
        spacing = self._reading.spacing_override
        if self._entries is None:
            source = "nothing" if spacing is None else "option"
            return Known(spacing_um_level0=spacing, spacing_from=source)
        if slide_id not in self._entries:
            raise StorageError("these features have no slide", where=slide_id, wanted="--slides")
        entry = self._entries[slide_id]
        with open_slide(
            entry.path,
            self._reading,
            slide_id=slide_id,
            manifest_spacing_um=entry.spacing_um,
        ) as slide:
            return Known(
                spacing_um_level0=slide.geometry.spacing_um,
                spacing_from="slide",
                size_level0=slide.geometry.size_level0,
                geometry=slide.geometry,
            )
