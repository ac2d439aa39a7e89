"""Checks that every settings class makes at birth, and the names of its options."""

from __future__ import annotations

import math

from hvit_cli.errors import SettingsError

# Options whose name is not simply that of their field.
_OPTION_OF = {
    "spacing_um": "--spacing",
    "region_px": "--region",
    "patch_px": "--patch",
    "min_tissue_fraction": "--min-tissue",
    "tissue_values": "--tissue-value",
    "max_px": "--size",
    "stability_slides": "--stability",
}


def require(holds: bool, field: str, found: object, wanted: str) -> None:
    """Refuses the value of a field.

    Raises:
        SettingsError: `holds` is false.
    """
    if not holds:
        raise SettingsError(
            f"the setting {field} is out of range",
            where=_OPTION_OF.get(field, "--" + field.replace("_", "-")),
            found=repr(found),
            wanted=wanted,
        )


def is_positive(value: float) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


def is_share(value: float) -> bool:
    """Whether a value is a number from 0 to 1."""
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1
