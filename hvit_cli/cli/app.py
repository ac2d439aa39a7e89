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
from hvit_cli.cli.commands import NOT_A_DEVICE, TOPICS, CommandsOnDemand
from hvit_cli.cli.front_page import front_page
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


def _say(error: HvitError) -> None:
    # Rich takes half of the time of a run without an error.
    from hvit_cli.cli.console import say_error

    say_error(error)


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
            _say(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            stopped = InterruptedRunError(
                "stopped; what was done is kept", hint="the same command again, which goes on"
            )
            _say(stopped)
            raise typer.Exit(stopped.exit_code) from error


class AllCommands(HvitGroup):
    """Every command of hvit, none of which is loaded before it is needed."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = CommandsOnDemand()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the same in any context
        """The names, without loading what bears them."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as Typer's own
        """Prints the page of the whole program."""
        options = [record for p in self.get_params(ctx) if (record := p.get_help_record(ctx))]
        typer.echo(front_page(self.get_usage(ctx), self.help or "", options, TOPICS))


app = typer.Typer(
    name="hvit",
    cls=AllCommands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a whole-slide image to an ISUP grade and a masked-attention heatmap. "
    + NOT_A_DEVICE,
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
