"""One slide of a run, as a file, folder or manifest names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hvit_cli.errors import ManifestError

LONGEST_ID_BYTES = 180
"""File systems allow 255 bytes; the names of products are longer than the slide's."""


@dataclass(frozen=True, kw_only=True)
class SlideEntry:
    """A slide to work on, and what a manifest says about it.

    Attributes:
        slide_id: The slide's name, unique in a run; files are named after it.
        path: Its file, or the folder of a DICOM slide.
        case_id: Patient or specimen.
        spacing_um: µm per level-0 pixel, which wins over every other source.
        mask_path: Tissue mask that replaces segmentation.
        label: Label, as text.
        group: What must not be divided between folds, such as a hospital.
        is_bare: Whether nothing but the file itself is known, no manifest naming it.
    """

    slide_id: str
    path: Path
    case_id: str | None = None
    spacing_um: float | None = None
    mask_path: Path | None = None
    label: str | None = None
    group: str | None = None
    is_bare: bool = True

    def __post_init__(self) -> None:
        try:
            str(self.path).encode()
        except UnicodeEncodeError as error:
            raise ManifestError(
                "the path is no text in UTF-8, and so fits no table",
                where=ascii(str(self.path)),
                hint="another name, or a link that has one",
            ) from error
        if not names_files(self.slide_id):
            raise ManifestError(
                "a slide_id names files and cannot be this",
                where=self.path,
                found=repr(self.slide_id[:80]),
                wanted="a name without slashes, control characters and spaces at its ends, of at "
                f"most {LONGEST_ID_BYTES} bytes",
            )


def names_files(slide_id: str) -> bool:
    """Whether files can be named after a slide, and none of them lies outside its folder."""
    return not (
        slide_id in {"", ".", ".."}
        or any(letter in "/\\" or not letter.isprintable() for letter in slide_id)
        or slide_id != slide_id.strip()
        or len(slide_id.encode(errors="surrogateescape")) > LONGEST_ID_BYTES
    )
