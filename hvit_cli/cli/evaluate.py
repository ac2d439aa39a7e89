"""`hvit evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hvit_cli.cli import console, options

if TYPE_CHECKING:
    from hvit_cli.pipelines.evaluate import Evaluation, EvaluationForecast
    from hvit_cli.training.matching import Match
    from hvit_cli.training.measures import Measures

_TABLES, _PARTS, _INTERVALS = "Tables", "Parts", "Intervals"


def _option(panel: str, *names: str, text: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel)


def _maps_are_elsewhere(wanted: bool) -> None:
    from hvit_cli.errors import UsageError

    if wanted:
        raise UsageError(
            "maps are measured by a command of their own: they need slides or features and a "
            "model, and no predictions",
            where="--maps",
            hint="hvit measure SLIDES --model MODEL --truth MASKS --preset panda-radboud",
        )


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="Table of slide ids and predicted grades, as hvit predict writes it.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        Path, typer.Argument(help="Table of slide ids and labels (CSV).", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the numbers (JSON) and figures (PNG)."),
    ] = None,
    id_column: options.IdColumn = None,
    prediction_column: options.PredictionColumn = None,
    score_column: options.ScoreColumn = None,
    label_column: options.LabelColumn = None,
    grades: options.ClassCount = 6,
    model: Annotated[
        str | None, _option(_TABLES, "--model", text="Judge the rows of this model.")
    ] = None,
    attention: Annotated[
        str | None, _option(_TABLES, "--attention", text="Judge the rows of masked or of plain.")
    ] = None,
    cases: Annotated[
        bool,
        _option(_TABLES, "--cases", text="Judge cases (case_id of LABELS), by their worst slide."),
    ] = False,
    allow_missing: Annotated[
        bool, _option(_TABLES, "--allow-missing", text="Judge the slides that have a grade.")
    ] = False,
    by: Annotated[
        list[str] | None,
        _option(_PARTS, "--by", text="Judge slides apart by a column, or by scanner."),
    ] = None,
    fold_column: Annotated[
        str | None,
        _option(_PARTS, "--fold-column", text="Heading of the folds, in either table."),
    ] = None,
    folds: Annotated[
        Path | None,
        _option(_PARTS, "--folds", text="Table of hvit split: folds, test sets and groups."),
    ] = None,
    part: Annotated[
        str | None,
        _option(_PARTS, "--set", text="Judge one test set of --folds, all tests, or the folds."),
    ] = None,
    group_column: options.GroupColumn = None,
    group_table: options.GroupTable = None,
    draws: Annotated[
        int, _option(_INTERVALS, "--draws", text="Draws of the bootstrap, 0 for no intervals.")
    ] = 2000,
    seed: options.Seed = 0,
    worst: Annotated[
        int,
        typer.Option(
            "--worst", min=0, help="Slides of the largest errors, on a contact sheet in --out."
        ),
    ] = 0,
    _maps: Annotated[
        bool,
        typer.Option(
            "--maps",
            is_eager=True,
            callback=_maps_are_elsewhere,
            help="Heatmaps are measured by hvit measure.",
        ),
    ] = False,
    work: options.Work = options.WORK_DEFAULT,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure predictions against labels: kappa and company, with intervals."""
    from hvit_cli.errors import UsageError
    from hvit_cli.pipelines import evaluate as pipeline
    from hvit_cli.storage.work import WorkFolder

    if worst and out is None:
        raise UsageError("a contact sheet needs a folder", where="--worst", hint="-o evaluation")
    request = pipeline.EvaluationRequest(
        predictions=predictions,
        labels=labels,
        id_column=id_column,
        prediction_column=prediction_column,
        score_column=score_column,
        label_column=label_column,
        fold_column=fold_column,
        model=model,
        attention=attention,
        by=tuple(by or ()),
        group_columns=tuple(group_column or ()),
        group_tables=tuple(group_table or ()),
        folds=folds,
        part=part,
        cases=cases,
        allow_missing=allow_missing,
        draws=draws,
        seed=seed,
        grades=grades,
    )
    if dry_run:
        _foretell(pipeline.forecast_evaluation(request, out, worst=worst), cases, as_json)
        return
    done = pipeline.evaluate(request)
    if as_json:
        console.say_json(pipeline.summary(done))
    else:
        _say(done, cases)
    if out is None:
        return
    written = pipeline.write_evaluation(done, out, worst=worst, work=WorkFolder(work))
    console.note(f"Written: {', '.join(map(str, written.files))}")
    if written.without_picture:
        lacking = written.without_picture
        console.note(
            f"{len(lacking)} of the worst slides have no heatmap or overview in {work}: "
            f"{', '.join(lacking[:5])}{', …' if len(lacking) > 5 else ''}; "
            "hvit heatmap makes them."
        )


def _foretell(told: EvaluationForecast, cases: bool, as_json: bool) -> None:
    if as_json:
        console.say_json(told)
        return
    console.say(_matched(told.match, cases))
    console.say(f"judged apart: {told.parts} subgroups, folds and seeds")
    console.say(f"time: {told.seconds:.0f} s for intervals, as a few draws took just now")
    for file in told.files:
        console.say(f"file: {file}{', replaced' if file in told.replaced else ''}")
    if told.free_bytes is not None:
        console.say(f"disk: less than 1 MB a file, {told.free_bytes / 1e9:.1f} GB free")
    console.say("Nothing was written.")


def _matched(found: Match, cases: bool) -> str:
    return (
        f"{'Cases' if cases else 'Slides'}: {found.expected} expected, {found.found} found, "
        f"{len(found.missing)} without a row, {len(found.ungraded)} without a grade; "
        f"{len(found.unlabelled)} predictions without a label are left out."
    )


def _say(done: Evaluation, cases: bool) -> None:
    console.say(_matched(done.match, cases))
    rows = [("all", "", done.measures)]
    rows += [(s.column, s.value, s.measures) for s in done.subgroups]
    console.say_table(
        (
            "slides of",
            "",
            "n",
            "quadratic weighted κ",
            "accuracy",
            "within one",
            f"MAE of the {done.measures.mae_of}",
            *(["AUROC"] if done.measures.auroc is not None else []),
        ),
        ((column, value, *_cells(measures)) for column, value, measures in rows),
    )
    if done.draws:
        console.say(
            f"Intervals: 95 %, {done.draws} draws of {done.measures.groups} "
            f"{'groups' if done.graded.group else 'slides'}, seed {done.seed}."
        )
    if done.runs:
        _say_runs(done)
    console.say("Confusion (rows: label, columns: predicted grade)")
    classes = [str(grade) for grade in range(len(done.confusion))]
    console.say_table(
        ("label", *classes, "n"),
        ((g, *row, sum(row)) for g, row in zip(classes, done.confusion, strict=True)),
    )
    if done.calibration is not None:
        c = done.calibration
        slope, zero = console.number(c.slope, 4), console.number(c.intercept, 4)
        line = "undefined" if slope is None else f"label = {slope} · score + {zero}"
        console.say(
            f"Calibration: {line}; mean of score − label {c.bias:+.4f}, error {c.error:.4f}"
        )
    if len(done.label_counts) > 1:
        console.say_table(
            ("labels of", *classes, "n"),
            ((name, *counts, sum(counts)) for name, counts in done.label_counts.items()),
        )
    for remark in done.remarks:
        console.say(f"To look at: {remark}")


def _say_runs(done: Evaluation) -> None:
    console.say_table(
        ("fold", "seed", "n", "κ", "accuracy", "within one"),
        (
            (
                run.fold,
                run.seed,
                run.slides,
                console.number(run.kappa, 4),
                console.number(run.accuracy, 4),
                console.number(run.within_one, 4),
            )
            for run in done.runs
        ),
    )
    mean, sd = console.number(done.kappa_mean, 4), console.number(done.kappa_sd, 4)
    of = "folds" if len({run.fold for run in done.runs}) > 1 else "seeds"
    console.say(f"κ of the {of}: mean {mean or 'undefined'} ± {sd or 'undefined'} (sd, ddof 1)")


def _cells(measures: Measures) -> tuple[object, ...]:
    auroc = [] if measures.auroc is None else [f"{measures.auroc:.4f}"]
    return (
        measures.slides,
        console.interval(measures.kappa, 6),
        console.interval(measures.accuracy, 4),
        console.interval(measures.within_one, 4),
        console.interval(measures.mae, 4),
        *auroc,
    )
