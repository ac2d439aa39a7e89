"""`hvit compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvit_cli.cli import console, options

if TYPE_CHECKING:
    from hvit_cli.training.bootstrap import Interval
    from hvit_cli.training.comparison import Comparison

_TABLES, _INTERVALS = "Tables", "Intervals"


def _option(panel: str, *names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


def _table(text: str) -> Any:
    return typer.Argument(help=text, show_default=False)


def compare(
    a: Annotated[Path, _table("Predictions in question.")],
    b: Annotated[Path, _table("Predictions they are measured by.")],
    labels: Annotated[Path, _table("Table of slide ids and labels (CSV).")],
    margin: Annotated[
        float, typer.Option("--margin", help="Loss of kappa that still counts as equally good.")
    ],
    model_a: Annotated[
        str | None, _option(_TABLES, "--model-a", text="Take the rows of this model from A.")
    ] = None,
    model_b: Annotated[
        str | None, _option(_TABLES, "--model-b", text="Take the rows of this model from B.")
    ] = None,
    attention_a: Annotated[
        str | None, _option(_TABLES, "--attention-a", text="Take masked or plain rows from A.")
    ] = None,
    attention_b: Annotated[
        str | None, _option(_TABLES, "--attention-b", text="Take masked or plain rows from B.")
    ] = None,
    id_column: options.IdColumn = None,
    prediction_column: options.PredictionColumn = None,
    score_column: options.ScoreColumn = None,
    label_column: options.LabelColumn = None,
    fold_column: Annotated[
        str | None, _option(_TABLES, "--fold-column", text="Heading of the folds.")
    ] = None,
    grades: options.ClassCount = 6,
    allow_missing: Annotated[
        bool, _option(_TABLES, "--allow-missing", text="Compare the slides that both graded.")
    ] = False,
    group_column: options.GroupColumn = None,
    group_table: options.GroupTable = None,
    folds: Annotated[
        Path | None,
        _option(_INTERVALS, "--folds", text="Table of hvit split, whose groups are drawn."),
    ] = None,
    part: Annotated[
        str | None,
        _option(_TABLES, "--set", text="Compare on one test set of --folds, all tests, or folds."),
    ] = None,
    draws: Annotated[
        int, _option(_INTERVALS, "--draws", text="Draws of the bootstrap, 2000 at least.")
    ] = 2000,
    confidence: Annotated[
        float, _option(_INTERVALS, "--confidence", text="Of the two-sided intervals.")
    ] = 0.95,
    seed: options.Seed = 0,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Say whether predictions A are as good as B: yes, no or undecided."""
    from hvit_cli.pipelines import compare as pipeline

    done = pipeline.compare(
        pipeline.ComparisonRequest(
            a=pipeline.Arm(predictions=a, model=model_a, attention=attention_a),
            b=pipeline.Arm(predictions=b, model=model_b, attention=attention_b),
            labels=labels,
            margin=margin,
            id_column=id_column,
            prediction_column=prediction_column,
            score_column=score_column,
            label_column=label_column,
            fold_column=fold_column,
            group_columns=tuple(group_column or ()),
            group_tables=tuple(group_table or ()),
            folds=folds,
            part=part,
            allow_missing=allow_missing,
            draws=draws,
            seed=seed,
            confidence=confidence,
            grades=grades,
        )
    )
    if as_json:
        console.say_json(done)
    else:
        _say(done)


def _say(done: Comparison) -> None:
    if len(done.pairs) > 1:
        console.say_table(
            ("models", "n", "κ of A", "κ of B", "A − B"),
            (
                (
                    pair.name,
                    pair.slides,
                    console.number(pair.kappa_a, 4),
                    console.number(pair.kappa_b, 4),
                    console.number(_gap(pair.kappa_a, pair.kappa_b), 4),
                )
                for pair in done.pairs
            ),
        )
    console.say_table(
        ("quadratic weighted κ", "", f"{done.confidence:.0%} interval"),
        (
            ("A", *_cells(done.kappa_a)),
            ("B", *_cells(done.kappa_b)),
            ("A − B", *_cells(done.difference)),
        ),
    )
    models = f" and {len(done.pairs)} pairs of models" if len(done.pairs) > 1 else ""
    console.say(
        f"{done.slides} slides; {done.draws} draws of {done.groups} groups or single "
        f"slides{models}, seed {done.seed}."
    )
    if done.undefined_draws:
        console.say(f"κ was undefined in {done.undefined_draws} draws, which are left out.")
    console.say(f"Is A as good as B, within {done.margin:g}? {done.non_inferior}")


def _cells(interval: Interval) -> tuple[str, str]:
    if interval.value is None:
        return "undefined", ""
    ends = "" if interval.low is None else f"{interval.low:.4f} to {interval.high:.4f}"
    return f"{interval.value:.4f}", ends


def _gap(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
