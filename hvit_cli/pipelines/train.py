"""`hvit train`: features and labels to trained aggregators in a model folder.

One training, or a cross-validation of many with the table that the paper reports.
"""

from __future__ import annotations

from hvit_cli.training.cross_validation import (
    CrossValidation,
    CrossValidationRequest,
    MemberEpoch,
    plan_cross_validation,
)
from hvit_cli.training.forecast import forecast_cross_validation, forecast_training
from hvit_cli.training.job import TrainingJob, prepare
from hvit_cli.training.request import TrainingRequest
from hvit_cli.training.run import train
from hvit_cli.training.workers import joined_workers

__all__ = [
    "CrossValidation",
    "CrossValidationRequest",
    "MemberEpoch",
    "TrainingJob",
    "TrainingRequest",
    "forecast_cross_validation",
    "forecast_training",
    "joined_workers",
    "plan_cross_validation",
    "prepare",
    "train",
]
