"""Writes one table of labels per centre: `radboud.csv` and `karolinska.csv`.

python examples/panda/by_centre.py train.csv centres
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path


def by_centre(labels: Path, out: Path) -> dict[str, int]:
    """Divides a table by `data_provider` and returns the rows of each centre."""
    with labels.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        centres: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in reader:
            centres[row["data_provider"]].append(row)
    out.mkdir(parents=True, exist_ok=True)
    for centre, rows in centres.items():
        with (out / f"{centre}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return {centre: len(rows) for centre, rows in sorted(centres.items())}


def main() -> None:
    """Prints the rows of each table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("labels", type=Path, help="train.csv of PANDA")
    parser.add_argument("out", type=Path, help="folder for the tables")
    asked = parser.parse_args()
    for centre, rows in by_centre(asked.labels, asked.out).items():
        print(f"{asked.out / centre}.csv  {rows} slides")


if __name__ == "__main__":
    main()
