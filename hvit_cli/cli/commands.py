"""The commands by name, each loaded when it is asked for.

Loading every command's settings and options takes longer than everything else that
`hvit --help` does. What the help says of a command is therefore kept here beside its name; a
test keeps it equal to the first sentence of the command itself.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import typer
import typer.main

NOT_A_DEVICE = "Research software, not a medical device: not for diagnosis."

# In the order in which a newcomer meets them.
TOPICS: dict[str, dict[str, str]] = {
    "Slides": {
        "info": "Say what slides are, where their spacing comes from, and what would be done "
        "with them.",
        "segment": "Tell tissue from glass: a mask, outlines for QuPath and an overview for "
        "each slide.",
        "tile": "Cut tissue into regions and patches, and draw what is kept, rejected and "
        "left out.",
        "encoders": "List patch encoders: what they are, what they expect, and under which "
        "licence.",
        "embed": "Turn patches into features with a patch encoder; glass is neither read nor "
        "embedded.",
    },
    "Training": {
        "split": "Divide slides into folds and test sets, before anything is trained.",
        "pretrain": "Train a patch encoder (or region Transformer) without labels; stopped runs "
        "go on.",
        "probe": "Tell labelled patches by their nearest neighbours: what features are worth.",
        "train": "Train region and slide Transformers on features and labels; stopped runs go on.",
    },
    "Grades": {
        "predict": "Grade slides: a score and an ISUP grade each, with what was and was not "
        "looked at.",
        "evaluate": "Measure predictions against labels: kappa and company, with intervals.",
        "compare": "Say whether predictions A are as good as B: yes, no or undecided.",
    },
    "What the model looks at": {
        "heatmap": "Draw where the model looked over the slide; what it could not see stays clear.",
        "stress": "Put the same tissue on other glass and see whether the grade changes; needs "
        "no labels.",
        "measure": "Measure heatmaps: on glass, on tumour, against the model itself, when slides "
        "shift.",
        "report": "Report on slides: one page each and one for all, or blinded sheets for "
        "pathologists.",
        "view": "Look at a slide and its maps in deep zoom, on a page of this machine alone.",
    },
    "hvit itself": {
        "convert": "Bring features and models from other programs, or hand hvit's features to "
        "them.",
        "demo": "Draw a synthetic biopsy, grade it, and show where the model looked, masked and "
        "plain.",
        "bench": "Measure on this machine what hvit says about its speed.",
        "status": "Say what is done, what failed and why, what is left, who works on it and "
        "until when.",
        "doctor": "Try whether hvit can work here: libraries, decoders, devices, output folder, "
        "models.",
    },
}


class CommandsOnDemand(MutableMapping[str, Any]):
    """Every command as Typer knows it, by name; its module is imported when it is looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = dict.fromkeys(
            name for commands in TOPICS.values() for name in commands
        )

    def __getitem__(self, name: str) -> Any:
        if self._loaded[name] is None:
            module = import_module(f"hvit_cli.cli.{name}")
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command()(getattr(module, name))
            self._loaded[name] = typer.main.get_command(alone)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
