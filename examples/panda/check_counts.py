"""Checks a copy of PANDA against the counts that the paper reports, as far as files allow.

    python examples/panda/check_counts.py train.csv
    python examples/panda/check_counts.py train.csv --info info.csv --masks train_label_masks

Labels alone tell slides per centre and grade. The two scanners of Karolinska differ by the
spacing of their slides alone, so that `hvit info train_images --csv info.csv` must have read
them. Whatever cannot be checked is said to be so; the exit code is 1 where a count differs.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CENTRES = {"radboud": 5160, "karolinska": 5456}
GRADES = {"0": 2892, "1": 2666, "2": 1343, "3": 1242, "4": 1249, "5": 1224}
MASKS = 10_516
# The paper's Table 2: slides of Karolinska by scanner, told apart by spacing.
SCANNERS = (2193, 3263)
# PANDA's spacings in µm per pixel; between them lies nothing.
SPACINGS = {"radboud": (0.486,), "karolinska": (0.4523, 0.5032)}
_NEAR = 0.02

Verdict = Literal["ok", "differs", "cannot be checked"]
Row = Mapping[str, str]


@dataclass(frozen=True)
class Count:
    """One number of the paper, and what was found.

    Attributes:
        what: What is counted.
        wanted: The paper's number.
        found: The number here; None where the files do not tell.
        note: What would be needed, or what differs.
    """

    what: str
    wanted: object
    found: object | None
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether both agree."""
        if self.found is None:
            return "cannot be checked"
        return "ok" if self.found == self.wanted else "differs"


def label_counts(rows: Sequence[Row]) -> Iterator[Count]:
    """Slides in all, per centre and per grade, from a table of labels."""
    yield Count("slides", sum(CENTRES.values()), len(rows))
    centres = Counter(row["data_provider"] for row in rows)
    for centre, wanted in CENTRES.items():
        yield Count(f"slides of {centre}", wanted, centres[centre])
    grades = Counter(row["isup_grade"] for row in rows)
    for grade, wanted in GRADES.items():
        yield Count(f"slides of ISUP grade {grade}", wanted, grades[grade])


def scanner_counts(rows: Sequence[Row], info: Sequence[Row] | None) -> Iterator[Count]:
    """Slides of Karolinska by spacing, and slides whose spacing is none of their centre's."""
    what = f"slides of karolinska by scanner ({SPACINGS['karolinska']} µm per pixel)"
    if info is None:
        yield Count(what, SCANNERS, None, "needs --info, from hvit info train_images --csv")
        return
    spacing_of = {row["slide_id"]: row["spacing_um_level0"] for row in info}
    nearest: Counter[tuple[str, float]] = Counter()
    unread, strange = [], []
    for row in rows:
        slide_id, centre = row["image_id"], row["data_provider"]
        text = spacing_of.get(slide_id, "")
        if not text:
            unread.append(slide_id)
            continue
        known = min(SPACINGS[centre], key=lambda spacing: abs(spacing - float(text)))
        if abs(known - float(text)) / known > _NEAR:
            strange.append(f"{slide_id} {text}")
        nearest[centre, known] += 1
    if unread:
        note = f"the spacing of {len(unread)} slides is not known, such as {unread[0]}"
        yield Count(what, SCANNERS, None, note)
    else:
        found = tuple(nearest["karolinska", spacing] for spacing in SPACINGS["karolinska"])
        # The paper names the scanners' counts, not their spacings: either order is its.
        yield Count(what, tuple(sorted(SCANNERS)), tuple(sorted(found)), f"found {found}")
    note = f"such as {strange[0]} µm per pixel" if strange else ""
    yield Count("slides of a spacing that is not their centre's", 0, len(strange), note)


def mask_count(rows: Sequence[Row], masks: Path | None) -> Count:
    """Slides with a label mask."""
    if masks is None:
        return Count("slides with a label mask", MASKS, None, "needs --masks")
    there = sum((masks / f"{row['image_id']}_mask.tiff").is_file() for row in rows)
    return Count("slides with a label mask", MASKS, there)


def check(labels: Path, info: Path | None = None, masks: Path | None = None) -> list[Count]:
    """Every count that the files allow, and the others as such."""
    rows = _read(labels)
    scanners = scanner_counts(rows, None if info is None else _read(info))
    return [*label_counts(rows), *scanners, mask_count(rows, masks)]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def main() -> int:
    """Prints a line per count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("labels", type=Path, help="train.csv of PANDA")
    parser.add_argument("--info", type=Path, help="table of hvit info --csv")
    parser.add_argument("--masks", type=Path, help="train_label_masks")
    asked = parser.parse_args()
    counts = check(asked.labels, asked.info, asked.masks)
    for count in counts:
        found = "" if count.found is None else f"{count.found} of "
        note = f"  ({count.note})" if count.note and count.verdict != "ok" else ""
        print(f"{count.verdict:18} {found}{count.wanted} {count.what}{note}")
    return int(any(count.verdict == "differs" for count in counts))


if __name__ == "__main__":
    raise SystemExit(main())
