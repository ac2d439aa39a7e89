"""Every error hvit raises on purpose, and the exit code each one ends the command with.

    HvitError                       1   something could not be done
    ├── UsageError                  2   the command or its options contradict themselves
    │   └── SettingsError           2   a setting holds a value it cannot hold
    ├── SlideError                  1   one slide; a run over many records it and goes on
    │   ├── UnreadableSlideError    1   the file cannot be opened as a slide
    │   ├── PixelError              1   the file opened, but some pixels cannot be decoded
    │   └── SpacingError            1   the spacing is missing, implausible or too coarse
    ├── TissueError                 1   a mask or outline does not fit its slide
    ├── ManifestError               1   a list of slides cannot be understood
    ├── LabelError                  1   a table of labels cannot be used as it is
    ├── StorageError                1   a file could not be written or read
    │   ├── DamagedFileError        1   a file of ours is not what was written
    │   └── RecipeError             1   a file of ours was made with other settings
    ├── ModelError                  1   a model or encoder cannot be used as asked
    │   └── CheckpointError         1   a state dict does not fit the network
    ├── WorkerError                 1   processes or a cluster cannot be had or reached
    ├── SomeSlidesFailedError       3   the rest is done
    └── InterruptedRunError       130   stopped from outside; the same command goes on

A message is one line: what happened, where, what was found, what was wanted, what to try.
The library raises these and never prints or exits; `hvit_cli.cli` catches `HvitError` in
one place. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class HvitError(Exception):
    """Something hvit was asked to do cannot be done.

    Args:
        what: What happened, as a short sentence without a full stop.
        where: The file, slide, table row or option concerned.
        found: The value that was met.
        wanted: The value that would have been accepted.
        hint: What the user can try next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        found: object = None,
        wanted: object = None,
        hint: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.found = found
        self.wanted = wanted
        self.hint = hint
        super().__init__(self._line())

    def _line(self) -> str:
        line = self.what if self.where is None else f"{self.where}: {self.what}"
        if self.found is not None:
            line += f"; found {self.found}"
        if self.wanted is not None:
            line += f"; wanted {self.wanted}"
        if self.hint is not None:
            line += f"; try {self.hint}"
        return " ".join(line.split())

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments are lost by Exception's own pickling, and records of failed
        # slides travel between processes.
        return (_rebuild, (type(self), self.what, self.where, self.found, self.wanted, self.hint))


def _rebuild(
    kind: type[HvitError], what: str, where: object, found: object, wanted: object, hint: str | None
) -> HvitError:
    return kind(what, where=where, found=found, wanted=wanted, hint=hint)


class UsageError(HvitError):
    """The command, or a combination of its options, makes no sense."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting holds a value it cannot hold."""


class SlideError(HvitError):
    """One slide cannot be processed; others are not concerned."""


class UnreadableSlideError(SlideError):
    """The file cannot be opened as a slide."""


class PixelError(SlideError):
    """Some of the slide's pixels cannot be decoded."""


class SpacingError(SlideError):
    """The slide's spacing is missing, implausible, or too coarse for the target."""


class TissueError(HvitError):
    """A tissue mask or outline cannot be used for its slide."""


class ManifestError(HvitError):
    """A folder, list or manifest of slides cannot be understood."""


class LabelError(HvitError):
    """A table of labels cannot be used as it is."""


class StorageError(HvitError):
    """A file could not be written or read."""


class DamagedFileError(StorageError):
    """A file that hvit wrote does not hold what was written."""


class RecipeError(StorageError):
    """A file that hvit wrote was made with other settings than those asked for now."""


class ModelError(HvitError):
    """A model or patch encoder cannot be used as asked."""


class CheckpointError(ModelError):
    """The entries of a state dict do not fit the network."""


class WorkerError(HvitError):
    """The processes of a run cannot be started, or a cluster does not provide them."""


class SomeSlidesFailedError(HvitError):
    """A run finished, and some of its slides failed."""

    exit_code = 3


class InterruptedRunError(HvitError):
    """A run was stopped from outside and can be resumed."""

    exit_code = 130
