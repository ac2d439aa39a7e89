"""`hvit report --blind`: sheets that hide which map is which, and the key that tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from hvit_cli.engine.attempt import Step
from hvit_cli.engine.execute import ALONE, run_job
from hvit_cli.engine.job import SlideJob
from hvit_cli.engine.run import SlideRecord
from hvit_cli.errors import UsageError
from hvit_cli.report.blind import ANSWER_COLUMNS, KEY_COLUMNS, Sheet, key_row, plan_sheets
from hvit_cli.settings import (
    EmbeddingSettings,
    HeatmapSettings,
    ReadingSettings,
    ReportSettings,
    RunSettings,
    TissueSettings,
)
from hvit_cli.slides.manifest import SlideEntry
from hvit_cli.steps.blind import BlindPainter
from hvit_cli.steps.choose import ChosenModel, ModelRequest
from hvit_cli.steps.report_inputs import report_entries, report_models, report_preparer
from hvit_cli.storage.atomic import require_writable
from hvit_cli.storage.plan import record_exclusion
from hvit_cli.storage.status import StatusRow
from hvit_cli.storage.tables import write_table
from hvit_cli.storage.work import WorkFolder

STAGE = "report"


@dataclass(frozen=True, kw_only=True)
class BlindJob(SlideJob[tuple[Path, ...]]):
    """Draws the sheets of a slide.

    Attributes:
        models: One for each kind of attention.
        maps: What the maps show and how they are painted.
        sheets: Those of all slides.
        folder: Where they go.
    """

    stage: ClassVar[str] = STAGE

    models: tuple[ChosenModel, ...]
    maps: HeatmapSettings
    reading: ReadingSettings
    tissue: TissueSettings
    embedding: EmbeddingSettings
    sheets: tuple[Sheet, ...] = field(repr=False)
    folder: Path
    overwrite: bool = False

    def sheets_of(self, slide_id: str) -> list[Sheet]:
        """The sheets of one slide, in the order of the product's files."""
        return [sheet for sheet in self.sheets if sheet.slide_id == slide_id]

    def open(self) -> Step[tuple[Path, ...]]:
        """Loads the models and their patch encoder.

        Raises:
            HvitError: They cannot be loaded.
        """
        preparer = report_preparer(
            self.models, self.work, self.reading, self.tissue, self.embedding, self.overwrite
        )
        painter = BlindPainter(
            models=self.models, maps=self.maps, embedding=self.embedding, work=self.work
        )

        def step(entry: SlideEntry) -> tuple[StatusRow, tuple[Path, ...]]:
            prepared = preparer.features(entry)
            row = prepared.row(entry, STAGE)
            if prepared.features is None:
                return row, ()
            mine = self.sheets_of(entry.slide_id)
            target = self.folder / "sheets"
            paths = painter.draw(entry, preparer.reading, prepared.features, mine, target)
            return row, tuple(paths)

        return step


def blind(
    sources: Sequence[Path],
    *,
    work: WorkFolder,
    out: Path | None,
    maps: HeatmapSettings,
    settings: ReportSettings,
    request: ModelRequest,
    reading: ReadingSettings,
    tissue: TissueSettings,
    embedding: EmbeddingSettings,
    exclude: Path | None = None,
    overwrite: bool = False,
    running: RunSettings = ALONE,
) -> Iterator[SlideRecord[tuple[Path, ...]]]:
    """Draws randomised sheets of masked and plain maps, and writes the key.

    The arguments are those of `report`; `out` is a folder, `blind/` in the work folder by
    default. It gets `sheets/`, with the form for the answers, and `key.csv` beside it.

    Yields:
        A record per slide; its product is its sheets.

    Raises:
        HvitError: Nothing can be done at all.
    """
    if request.attention is not None:
        raise UsageError(
            "blinded sheets compare both kinds of attention",
            where="--blind",
            hint="without --masked and --plain",
        )
    if maps.shown_scale == "raw" and not maps.signed and maps.map != "single":
        raise UsageError(
            "raw weights of masked and plain attention differ in size, which tells them apart",
            where="--scale",
            found="raw",
            wanted="relative, rank or minmax",
        )
    folder = out or work.path / "blind"
    if folder.is_file() or folder.suffix:
        raise UsageError("blinded sheets go into a folder", where=folder)
    # Sheets that no key names would be judged for nothing, so none are ever mixed.
    if (folder / "key.csv").exists() or any((folder / "sheets").glob("*")):
        raise UsageError(
            "other sheets lie here", where=folder, hint="another folder with -o, or removing them"
        )
    require_writable(folder)
    entries = report_entries(sources, exclude, tissue, maps)
    models = report_models(request, work, len(entries), maps)
    record_exclusion(work.path, STAGE, exclude)
    sheets = plan_sheets([e.slide_id for e in entries], settings.sheets, settings.seed)
    job = BlindJob(
        work=work,
        models=tuple(models),
        maps=maps,
        reading=reading,
        tissue=tissue,
        embedding=embedding,
        sheets=tuple(sheets),
        folder=folder,
        overwrite=overwrite,
    )
    key: dict[str, dict[str, object]] = {}
    shown = (maps.map, maps.level, maps.shown_scale)
    try:
        for record in run_job(entries, job, replace(running, claim=False, shard=None)):
            if record.product:
                mine = job.sheets_of(record.row.slide_id)
                for sheet, path in zip(mine, record.product, strict=True):
                    key[sheet.name] = key_row(
                        sheet, path, model=models[0].folder.name, shown=shown, seed=settings.seed
                    )
            yield record
    finally:
        if key:
            drawn = [sheet for sheet in sheets if sheet.name in key]
            write_table(folder / "key.csv", KEY_COLUMNS, (key[sheet.name] for sheet in drawn))
            form = ANSWER_COLUMNS[settings.sheets]
            write_table(
                folder / "sheets" / "answers.csv", form, [{"sheet": sheet.name} for sheet in drawn]
            )
