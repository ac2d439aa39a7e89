"""What `--dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvit_cli.cli import console

if TYPE_CHECKING:
    from hvit_cli.pipelines.dry_run import Forecast


def say_forecast(told: Forecast, as_json: bool) -> None:
    """Prints what a command would do."""
    if as_json:
        console.say_json(told)
        return
    formats = ", ".join(f"{count} {suffix}" for suffix, count in told.formats.items())
    console.say(f"slides: {told.slides} ({formats})")
    console.say(
        f"{told.stage}: {told.done} done by the logs, {told.failed} failed, {told.pending} pending"
    )
    if told.spacings_um is not None:
        low, high = told.spacings_um
        console.say(
            f"spacing: {low:.4g} to {high:.4g} µm/px at level 0, of {told.looked_at} slides"
        )
    if told.regions is None:
        console.say("regions: unknown, no slide could be looked at")
    else:
        how = (
            f"estimated: {told.known} slides known from the logs, {told.looked_at} looked at"
            if told.is_estimated
            else "from the logs"
        )
        console.say(f"regions: {told.regions}, patches with tissue: {told.patches} ({how})")
    time = "unknown, none was done before"
    if told.seconds is not None:
        time = f"{told.seconds / 3600:.2f} h, one slide after another, as earlier slides took"
    console.say(f"time: {time}")
    disk = "" if told.feature_bytes is None else f"{told.feature_bytes / 1e9:.2f} GB of features, "
    console.say(f"disk: {disk}{told.free_bytes / 1e9:.1f} GB free")
    for problem in told.problems:
        console.say(f"problem: {problem}")
    console.say("Nothing was written.")
