"""Recorded ratios: the file they are kept in, and what has fallen below it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from hvit_cli.benchmarks.guard import Ratio
from hvit_cli.benchmarks.machine import Machine
from hvit_cli.errors import DamagedFileError, StorageError
from hvit_cli.storage.atomic import write_text

KIND, SCHEMA = "hvit-ratios", 1
# How far below the record a ratio may lie: machines differ, and busy ones tremble.
TOLERANCE = 0.25


@dataclass(frozen=True, kw_only=True)
class RecordedRatio:
    """What a ratio was, and how far it may fall.

    Attributes:
        ratio: The ratio.
        tolerance: Largest part of it that may be missing.
    """

    ratio: float
    tolerance: float

    @property
    def least(self) -> float:
        """What a measured ratio must reach."""
        return self.ratio * (1 - self.tolerance)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A measured ratio beside the recorded one.

    Attributes:
        name: Of the ratio.
        measured: What was measured; None where it could not be.
        recorded: What it is compared with; None for a ratio that is not in the record.
        fallen: Whether the measured one is too low, or is missing.
    """

    name: str
    measured: Ratio | None
    recorded: RecordedRatio | None
    fallen: bool


def shipped_record() -> Path:
    """The file of ratios that comes with hvit."""
    return Path(str(files("hvit_cli.benchmarks") / "ratios.json"))


def write_record(path: Path, ratios: Mapping[str, Ratio], machine: Machine, slide_id: str) -> None:
    """Writes ratios as a record to compare with, whole or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    record = {
        "kind": KIND,
        "schema": SCHEMA,
        "slide": slide_id,
        "machine": asdict(machine),
        "ratios": {
            name: {
                "ratio": round(ratio.median, 3),
                "lowest": round(ratio.lowest, 3),
                "highest": round(ratio.highest, 3),
                "tolerance": TOLERANCE,
            }
            for name, ratio in ratios.items()
        },
    }
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_record(path: Path) -> dict[str, RecordedRatio]:
    """The ratios of a record.

    Raises:
        StorageError: There is no such file.
        DamagedFileError: It is no record of ratios.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError("the recorded ratios cannot be read", where=path, found=error) from error
    except UnicodeDecodeError as error:
        raise _no_record(path, error) from error
    try:
        return _ratios(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_record(path, error) from error


def _ratios(record: dict[str, Any]) -> dict[str, RecordedRatio]:
    if (record["kind"], record["schema"]) != (KIND, SCHEMA):
        raise ValueError(f"{record['kind']} version {record['schema']}")
    found = {
        str(name): RecordedRatio(ratio=float(each["ratio"]), tolerance=float(each["tolerance"]))
        for name, each in record["ratios"].items()
    }
    if not all(each.ratio > 0 and 0 <= each.tolerance < 1 for each in found.values()):
        raise ValueError("a ratio or tolerance out of range")
    return found


def _no_record(path: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        "not a record of ratios of this version",
        where=path,
        found=error,
        wanted=f"{KIND} version {SCHEMA}",
        hint="hvit bench --record FILE",
    )


def judge(
    measured: Mapping[str, Ratio], recorded: Mapping[str, RecordedRatio]
) -> tuple[Verdict, ...]:
    """Every ratio that was measured or recorded, and whether it has fallen.

    The median counts. A ratio that is recorded and was not measured has fallen, too: nobody
    would notice otherwise.
    """
    verdicts = []
    for name in sorted(set(measured) | set(recorded)):
        found, wanted = measured.get(name), recorded.get(name)
        fallen = wanted is not None and (found is None or found.median < wanted.least)
        verdicts.append(Verdict(name=name, measured=found, recorded=wanted, fallen=fallen))
    return tuple(verdicts)
