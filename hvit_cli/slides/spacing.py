"""Where a slide's spacing comes from: every source asked in order, each answer recorded.

Spacing is micrometres per pixel, elsewhere often called mpp. The ladder is: manifest,
`--spacing-override`, the vendor's metadata, the resolution tags of the TIFF, and, only when
asked for, the objective's power. The first plausible answer wins.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hvit_cli.errors import SpacingError
from hvit_cli.settings import ReadingSettings

SpacingKind = Literal["manifest", "override", "vendor", "tiff", "objective"]

FINEST_UM, COARSEST_UM = 0.05, 10.0
LARGEST_ANISOTROPY = 0.01
# 72 dots per inch, which image libraries write for want of anything better.
_DEFAULT_UM = 25_400 / 72
_UM_PER_UNIT = {"inch": 25_400.0, "centimeter": 10_000.0}
_UNASKED = "a guess, taken only with --spacing-from-objective"
# An objective of power 10 shows about 1 µm per pixel on common scanners.
_UM_AT_POWER_1 = 10.0
_UM_OF_OME_UNIT = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "\N{GREEK SMALL LETTER MU}m": 1.0, "mm": 1e3}


@dataclass(frozen=True, kw_only=True)
class SpacingSource:
    """One answer to the question for the spacing of level 0.

    Attributes:
        kind: Which rung of the ladder answered.
        spacing_um: (x, y) in µm per level-0 pixel, or nothing where the answer is no number.
        text: The answer as it was found.
        accepted: Whether it is plausible.
        reason: Why it was refused; empty when accepted.
    """

    kind: SpacingKind
    spacing_um: tuple[float, float] | None
    text: str
    accepted: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SpacingReport:
    """The spacing of level 0, and every source that had something to say.

    Attributes:
        spacing_um: µm per level-0 pixel, mean of x and y; nothing where no source was accepted.
        kind: The source that won.
        sources: All answers, in the order of the ladder.
    """

    spacing_um: float | None
    kind: SpacingKind | None
    sources: tuple[SpacingSource, ...]

    def required_um(self, where: Path) -> float:
        """The spacing in µm per level-0 pixel.

        Raises:
            SpacingError: No source was accepted; the line names what was found.
        """
        if self.spacing_um is not None:
            return self.spacing_um
        unasked = [s for s in self.sources if s.reason == _UNASKED]
        refused = [f"{s.text}: {s.reason}" for s in self.sources if s not in unasked]
        hint = "--spacing-override with the µm per pixel of level 0"
        if unasked:
            hint += f", or --spacing-from-objective ({unasked[0].text})"
        raise SpacingError(
            "the slide's spacing is refused" if refused else "the slide states no spacing",
            where=where,
            found=", ".join(refused) or None,
            wanted=f"{FINEST_UM} to {COARSEST_UM:g} µm/px" if refused else None,
            hint=hint,
        )


def find_spacing(
    properties: Mapping[str, str],
    reading: ReadingSettings,
    *,
    vendor: str,
    manifest_spacing_um: float | None = None,
    where: Path,
) -> SpacingReport:
    """Asks every source of the ladder for the spacing of level 0.

    Args:
        properties: What the file says about itself, under OpenSlide's names.
        reading: Holds the override and whether the objective may answer.
        vendor: OpenSlide's vendor; a generic TIFF has resolution tags and no vendor metadata.
        manifest_spacing_um: µm per level-0 pixel from the manifest.
        where: The slide, for the error.

    Raises:
        SpacingError: The spacing given in the manifest or by the user is implausible.
    """
    given = [
        _judged(kind, value, value, f"{value:g} µm/px ({name})")
        for kind, value, name in _given(reading, manifest_spacing_um)
    ]
    for source in given:
        if not source.accepted:
            raise SpacingError(
                f"the spacing is refused: {source.reason}",
                where=where,
                found=source.text,
                wanted=f"{FINEST_UM} to {COARSEST_UM:g} µm/px",
            )
    candidates = [
        *given,
        _from_vendor(properties, vendor),
        _from_tags(properties),
        _from_objective(properties, reading.spacing_from_objective),
    ]
    sources = tuple(source for source in candidates if source is not None)
    winner = next((source for source in sources if source.accepted), None)
    if winner is None or winner.spacing_um is None:
        return SpacingReport(spacing_um=None, kind=None, sources=sources)
    return SpacingReport(spacing_um=sum(winner.spacing_um) / 2, kind=winner.kind, sources=sources)


def _given(
    reading: ReadingSettings, manifest_spacing_um: float | None
) -> list[tuple[SpacingKind, float, str]]:
    given: list[tuple[SpacingKind, float, str]] = []
    if manifest_spacing_um is not None:
        given.append(("manifest", manifest_spacing_um, "manifest"))
    if reading.spacing_override is not None:
        given.append(("override", reading.spacing_override, "--spacing-override"))
    return given


def _from_vendor(properties: Mapping[str, str], vendor: str) -> SpacingSource | None:
    if vendor == "generic-tiff":
        return _from_ome(properties.get("tiff.ImageDescription", ""))
    # OpenSlide leaves its own entry out where the vendor's is no number.
    names = ("openslide.mpp-x", "openslide.mpp-y")
    if not any(name in properties for name in names):
        names = ("aperio.MPP", "aperio.MPP")
    x, y = (properties.get(name) for name in names)
    if x is None and y is None:
        return None
    shown = " × ".join(dict.fromkeys(_short(um) for um in (x, y) if um is not None))
    return _judged("vendor", x, y, f"{shown} µm/px ({vendor} metadata)")


def _from_ome(description: str) -> SpacingSource | None:
    """The physical pixel size in OME-XML, in µm unless it names another unit."""
    axes = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]*)"', description)
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', description)
        if size is None:
            return None
        scale = _UM_OF_OME_UNIT.get(unit.group(1) if unit else "µm", math.nan)
        axes.append(_number(size.group(1)) * scale)
    x_um, y_um = axes
    return _judged("vendor", x_um, y_um, f"{x_um:g} × {y_um:g} µm/px (OME-XML)")


def _from_tags(properties: Mapping[str, str]) -> SpacingSource | None:
    x, y = properties.get("tiff.XResolution"), properties.get("tiff.YResolution")
    if x is None or y is None:
        return None
    unit = properties.get("tiff.ResolutionUnit", "none")
    shown = " × ".join(dict.fromkeys(_short(r) for r in (x, y)))
    stated = f"{shown} px per {unit}, TIFF resolution tags"
    um_per_unit = _UM_PER_UNIT.get(unit)
    if um_per_unit is None:
        return SpacingSource(
            kind="tiff", spacing_um=None, text=stated, accepted=False, reason="no unit of length"
        )
    x_um, y_um = (um_per_unit / r if r > 0 else math.nan for r in (_number(x), _number(y)))
    text = f"{(x_um + y_um) / 2:.4g} µm/px ({stated})"
    if all(abs(um / _DEFAULT_UM - 1) < LARGEST_ANISOTROPY for um in (x_um, y_um)):
        return SpacingSource(
            kind="tiff",
            spacing_um=(x_um, y_um),
            text=text,
            accepted=False,
            reason="72 dpi is a default of image programs, not a spacing",
        )
    return _judged("tiff", x_um, y_um, text)


def _from_objective(properties: Mapping[str, str], asked: bool) -> SpacingSource | None:
    power = properties.get("openslide.objective-power")
    if power is None:
        return None
    number = _number(power)
    spacing_um = _UM_AT_POWER_1 / number if number > 0 else math.nan
    source = _judged(
        "objective", spacing_um, spacing_um, f"objective {power}x, {spacing_um:.4g} µm/px"
    )
    if asked or not source.accepted:
        return source
    return SpacingSource(
        kind="objective",
        spacing_um=source.spacing_um,
        text=source.text,
        accepted=False,
        reason=_UNASKED,
    )


def _judged(kind: SpacingKind, x: object, y: object, text: str) -> SpacingSource:
    x_um, y_um = _number(x), _number(y)
    reason = _objection(x_um, y_um)
    return SpacingSource(
        kind=kind,
        spacing_um=None if math.isnan(x_um + y_um) else (x_um, y_um),
        text=text,
        accepted=not reason,
        reason=reason,
    )


def _objection(x_um: float, y_um: float) -> str:
    if not math.isfinite(x_um) or not math.isfinite(y_um):
        return "not a number"
    if min(x_um, y_um) <= 0:
        return "not above 0"
    if max(x_um, y_um) > COARSEST_UM:
        return f"coarser than {COARSEST_UM:g} µm/px"
    if min(x_um, y_um) < FINEST_UM:
        return f"finer than {FINEST_UM} µm/px"
    if abs(x_um - y_um) > LARGEST_ANISOTROPY * min(x_um, y_um):
        return f"x and y differ by more than {LARGEST_ANISOTROPY:.0%}"
    return ""


def _short(text: str) -> str:
    """A number with six digits; anything else as it was found."""
    number = _number(text)
    return text if math.isnan(number) else f"{number:.6g}"


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan
