"""Every setting of hvit: frozen, declared once, checked at birth, saved beside every output.

The sentence under a field is its documentation everywhere: `sentence(TilingSettings,
"region_px")` gives it to the command line's help, and `as_recipe` turns an instance into the
plain dictionary that is stored with results. Nothing here imports anything heavy.
"""

from hvit_cli.settings.aggregator import AggregatorSettings, Head
from hvit_cli.settings.embedding import EmbeddingSettings, EncoderInput, Normalisation
from hvit_cli.settings.figure import FigureKind, FigureSettings
from hvit_cli.settings.heatmap import (
    GRADE_MAPS,
    SIGNED_MAPS,
    HeatmapSettings,
    MapKind,
    MapLevel,
    Scale,
    Unit,
)
from hvit_cli.settings.kinds import Attention, MaskLevel, Precision
from hvit_cli.settings.measures import (
    LABEL_PRESETS,
    MEASURED_MAPS,
    LabelPreset,
    LabelScheme,
    MeasureSettings,
)
from hvit_cli.settings.pretraining import (
    AugmentationSettings,
    CropSettings,
    Level,
    PretrainingSettings,
    ProbeSettings,
    sizes_of,
)
from hvit_cli.settings.reading import ReadingSettings
from hvit_cli.settings.recipe import as_recipe, from_recipe, sentence
from hvit_cli.settings.report import ReportSettings, SheetLayout
from hvit_cli.settings.running import Engine, RunSettings
from hvit_cli.settings.stress import GlassKind, StressSettings
from hvit_cli.settings.tiling import Grid, TilingSettings
from hvit_cli.settings.tissue import MissingMask, TissueSettings
from hvit_cli.settings.training import (
    Objective,
    SplitSettings,
    Task,
    TaskSettings,
    TrainingSettings,
)

__all__ = [
    "GRADE_MAPS",
    "LABEL_PRESETS",
    "MEASURED_MAPS",
    "SIGNED_MAPS",
    "AggregatorSettings",
    "Attention",
    "AugmentationSettings",
    "CropSettings",
    "EmbeddingSettings",
    "EncoderInput",
    "Engine",
    "FigureKind",
    "FigureSettings",
    "GlassKind",
    "Grid",
    "Head",
    "HeatmapSettings",
    "LabelPreset",
    "LabelScheme",
    "Level",
    "MapKind",
    "MapLevel",
    "MaskLevel",
    "MeasureSettings",
    "MissingMask",
    "Normalisation",
    "Objective",
    "Precision",
    "PretrainingSettings",
    "ProbeSettings",
    "ReadingSettings",
    "ReportSettings",
    "RunSettings",
    "Scale",
    "SheetLayout",
    "SplitSettings",
    "StressSettings",
    "Task",
    "TaskSettings",
    "TilingSettings",
    "TissueSettings",
    "TrainingSettings",
    "Unit",
    "as_recipe",
    "from_recipe",
    "sentence",
    "sizes_of",
]
