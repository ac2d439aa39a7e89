"""What is asked of a pretraining: the options of `hvit pretrain` as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hvit_cli.errors import UsageError
from hvit_cli.settings import (
    AugmentationSettings,
    CropSettings,
    EmbeddingSettings,
    EncoderInput,
    PretrainingSettings,
    ProbeSettings,
    ReadingSettings,
    RunSettings,
    TilingSettings,
    TissueSettings,
)
from hvit_cli.storage.work import WorkFolder
from hvit_cli.training.fold_table import read_folds

ONE_AT_A_TIME = RunSettings(jobs=1)
"""One slide after another in this process: what a Python program gets unless it asks."""


@dataclass(frozen=True, kw_only=True)
class PretrainingRequest:
    """What is to be pretrained.

    Attributes:
        sources: Slides, folders, manifests; one folder of features for the region level.
        work: The work folder.
        out: The encoder folder; `encoders/<name>` in the work folder by default.
        name: The encoder's name; that of its folder by default.
        exclude: Table of slides to leave out.
        folds: Table of folds.
        fold: Learn from the training slides of this fold alone.
        cache: Folder of decoded patches; None reads from the slides throughout.
        reading: The spacing at which patches are read, and where the slides' own comes from.
        tissue: How tissue is found.
        tiling: Regions and patches.
        crops: Which parts of a patch are cut out.
        augmentation: How they are altered.
        settings: Network and training.
        start_from: Encoder whose weights to begin with.
        probe: Table of labelled patches.
        probe_settings: How the probe votes.
        probe_input: How the probe's patches are fitted to the network.
        note: Sentence for the card.
        licence: Licence of the weights.
        threads: Threads that read and crop; None takes one fewer than there are cores.
        device: auto, cpu, cuda, …
        overwrite: Start anew where another run's files lie.
        running: How the slides are spread over processes, guarded and shared, while their
            patches are found and cached.
    """

    sources: tuple[Path, ...]
    work: WorkFolder
    out: Path | None = None
    name: str | None = None
    exclude: Path | None = None
    folds: Path | None = None
    fold: int | None = None
    cache: Path | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    tissue: TissueSettings = field(default_factory=TissueSettings)
    tiling: TilingSettings = field(default_factory=TilingSettings)
    crops: CropSettings = field(default_factory=CropSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    settings: PretrainingSettings = field(default_factory=PretrainingSettings)
    start_from: str | None = None
    probe: Path | None = None
    probe_settings: ProbeSettings = field(default_factory=ProbeSettings)
    probe_input: EncoderInput = EmbeddingSettings.encoder_input
    note: str = ""
    licence: str = ""
    threads: int | None = None
    device: str = EmbeddingSettings.device
    overwrite: bool = False
    running: RunSettings = ONE_AT_A_TIME

    def __post_init__(self) -> None:
        if (self.folds is None) != (self.fold is None):
            raise UsageError(
                "a fold and the table that it is of are given together",
                where="--folds and --fold",
                found="one of them",
                hint="--folds folds.csv --fold 0, a pretraining for each fold",
            )
        if self.probe is None and self.probe_input != EmbeddingSettings.encoder_input:
            raise UsageError(
                "only the probe is given patches as an encoder is",
                where="--encoder-input",
                found=f"{self.probe_input} without --probe",
                hint="--probe PATCHES",
            )
        if self.settings.level == "region":
            self._refuse_what_features_have_decided()

    def _refuse_what_features_have_decided(self) -> None:
        given = {
            "--probe": self.probe,
            "--cache": self.cache,
            "--start-from": self.start_from,
            "--network": self.settings.network,
            "--name": self.name,
            "--licence": self.licence or None,
            "--threads": self.threads,
            "how slides are spread": (
                None if self.running in (ONE_AT_A_TIME, RunSettings()) else self.running
            ),
            "how slides are read": None if self.reading == ReadingSettings() else self.reading,
            "how tissue is found": None if self.tissue == TissueSettings() else self.tissue,
            "regions and patches": None if self.tiling == TilingSettings() else self.tiling,
        }
        for what, value in given.items():
            if value is not None:
                raise UsageError(
                    "the region level is learned from features, not from pixels",
                    where=what,
                    found=value if what.startswith("--") else "options for it",
                    hint=f"without {what if what.startswith('--') else 'them'}, or --level patch",
                )

    @property
    def folder(self) -> Path:
        """Where the result goes."""
        default = self.settings.level if self.fold is None else f"{self.settings.level}-{self.fold}"
        return self.out or self.work.encoders / default

    @property
    def training_slides(self) -> frozenset[str] | None:
        """The training slides of the fold; None where every slide may be learned from.

        Raises:
            LabelError: There is no such fold.
        """
        if self.folds is None or self.fold is None:
            return None
        return frozenset(read_folds(self.folds).fold(self.fold).train)
