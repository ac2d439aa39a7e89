"""Every map of a slide at the level of its patches and regions, by one name each."""

from hvit_cli.attribution.attention import (
    region_attention,
    region_slide_attention,
    slide_attention,
)
from hvit_cli.attribution.contributions import contributions, single_patch
from hvit_cli.attribution.gradients import gradient_attention, integrated_gradients
from hvit_cli.attribution.rollout import rollout

__all__ = [
    "contributions",
    "gradient_attention",
    "integrated_gradients",
    "region_attention",
    "region_slide_attention",
    "rollout",
    "single_patch",
    "slide_attention",
]
