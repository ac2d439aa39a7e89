"""The app `hvit`: its commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hvit_cli import __version__
from hvit_cli.cli import (
    bench,
    compare,
    console,
    convert,
    demo,
    doctor,
    embed,
    encoders,
    evaluate,
    heatmap,
    info,
    measure,
    predict,
    pretrain,
    probe,
    report,
    segment,
    split,
    status,
    stress,
    tile,
    train,
    view,
)
from hvit_cli.cli.several import spread
from hvit_cli.errors import HvitError, InterruptedRunError


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Takes SIGTERM, by which schedulers end a job, for Ctrl-C: what was done is told and kept."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class HvitGroup(TyperGroup):
    """Turns every `HvitError` into one line on stderr and its exit code; bugs keep tracebacks."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the command, and lets its options take several values."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command, spread(rest, command.params if command is not None else ())

    def invoke(self, ctx: Any) -> Any:
        """Runs a command of the group."""
        try:
            with _ended_like_ctrl_c():
                return super().invoke(ctx)
        except HvitError as error:
            console.say_error(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            stopped = InterruptedRunError(
                "stopped; what was done is kept", hint="the same command again, which goes on"
            )
            console.say_error(stopped)
            raise typer.Exit(stopped.exit_code) from error


app = typer.Typer(
    name="hvit",
    cls=HvitGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a whole-slide image to an ISUP grade and a masked-attention heatmap. "
    + console.NOT_A_DEVICE,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hvit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


# In the order in which a newcomer meets them.
for _command in (
    info.info,
    segment.segment,
    tile.tile,
    encoders.encoders,
    embed.embed,
    split.split,
    pretrain.pretrain,
    probe.probe,
    train.train,
    predict.predict,
    evaluate.evaluate,
    compare.compare,
    heatmap.heatmap,
    stress.stress,
    measure.measure,
    report.report,
    view.view,
    convert.convert,
    demo.demo,
    bench.bench,
    status.status,
    doctor.doctor,
):
    app.command()(_command)
