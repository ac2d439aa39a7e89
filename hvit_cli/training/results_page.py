"""`results.md`: the results of a cross-validation as a page, its first table the paper's."""

from __future__ import annotations

from pathlib import Path

from hvit_cli.storage.atomic import write_text
from hvit_cli.storage.markdown import as_text, table
from hvit_cli.storage.tables import write_table
from hvit_cli.training.member_predictions import TUNE
from hvit_cli.training.results import RESULT_COLUMNS, Results, TableCell, as_json, as_rows

_NAMES = {"kappa": "Quadratic weighted kappa", "auroc": "Area under the ROC curve"}
_OBJECTIVES = {
    "regression": "regression",
    "classification": "classification (expected class)",
    "ordinal": "ordinal ranks (CORAL)",
}


def write_results(folder: Path, results: Results) -> None:
    """Writes `results.csv`, `results.json` and `results.md` into a folder."""
    write_table(folder / "results.csv", RESULT_COLUMNS, as_rows(results))
    write_text(folder / "results.json", as_json(results))
    write_text(folder / "results.md", page(results))


def headings(results: Results) -> list[str]:
    """Of the first table: attention, then a mean and an ensemble for the sets."""
    judged = [name for name in results.sets if name != TUNE]
    return ["attention", "tune*", *judged, *(f"{name}, ensemble" for name in judged)]


def rows(results: Results) -> list[list[str]]:
    """Of the first table: mean ± deviation over folds, then the ensemble with its interval."""
    lines = []
    for attention in dict.fromkeys(cell.attention for cell in results.table):
        cells = [cell for cell in results.table if cell.attention == attention]
        lines.append(
            [
                attention,
                *(_mean(cell) for cell in cells),
                *(_ensemble(cell) for cell in cells if cell.set != TUNE),
            ]
        )
    return lines


def footnotes(results: Results) -> list[str]:
    """What must be said beside the first table."""
    folds = {fold for cell in results.table for fold in cell.by_fold}
    seeds = {member.seed for member in results.members}
    sizes = {cell.set: cell.slides for cell in results.table}
    measured = _NAMES[results.measure]
    notes = [
        f"{measured}; {_OBJECTIVES[results.task.objective]}, {results.task.grades} classes. "
        + (
            f"Mean ± standard deviation (ddof 1) over {len(folds)} folds"
            if len(folds) > 1
            else f"One fold ({min(folds)}), so no deviation"
        )
        + (f", each the mean of {len(seeds)} seeds." if len(seeds) > 1 else ", one seed each."),
        "* The tuning slides chose the epoch of each model: their value is optimistic.",
    ]
    tests = [f"{name}: {size}" for name, size in sizes.items() if name != TUNE]
    if tests:
        notes.append("Slides tested on: " + ", ".join(tests) + ".")
        notes.append("Ensemble: the mean score of all folds' and seeds' models, rounded once.")
    else:
        notes.append("There is no test set: nothing here was measured on unused slides.")
    if tests and results.measure == "kappa":
        notes.append(
            f"[ ]: 95 % bootstrap interval over {results.resampled}, {results.draws} draws, "
            f"seed {results.bootstrap_seed}."
        )
    return notes


def page(results: Results) -> str:
    """The whole page in Markdown."""
    folds = sorted({fold for cell in results.table for fold in cell.by_fold})
    by_fold = [
        [
            cell.attention,
            _starred(cell.set),
            *(_number(cell.by_fold.get(k)) for k in folds),
            _number(cell.seed_sd),
        ]
        for cell in results.table
    ]
    return "\n".join(
        [
            "# Results",
            "",
            *table(headings(results), rows(results)),
            "",
            *(f"- {as_text(note)}" for note in footnotes(results)),
            "",
            "## Each fold",
            "",
            *table(
                ["attention", "set", *(f"fold {k}" for k in folds), "sd between seeds"], by_fold
            ),
            "",
        ]
    )


def _starred(name: str) -> str:
    return f"{name}*" if name == TUNE else name


def _mean(cell: TableCell) -> str:
    if cell.mean is None:
        return "undefined"
    return _number(cell.mean) + ("" if cell.sd is None else f" ± {cell.sd:.3f}")


def _ensemble(cell: TableCell) -> str:
    if cell.ensemble is None:
        return "undefined"
    interval = ""
    if cell.ensemble_low is not None and cell.ensemble_high is not None:
        interval = f" [{cell.ensemble_low:.3f}, {cell.ensemble_high:.3f}]"
    return _number(cell.ensemble) + interval


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
