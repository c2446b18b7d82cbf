"""The stage: a procedural world of articulated figures with exactly known boxes, tracks and actions."""

from muybridge.stage.actions import ACTIONS, REVERSAL_PAIRS
from muybridge.stage.backgrounds import BACKGROUND_KINDS
from muybridge.stage.labels import (
    SCENARIOS,
    blind_ceiling,
    clip_labels,
    num_siblings,
    stage_labels,
)
from muybridge.stage.scene import ActionSpan, Clip, Frame, Scene, SceneSpec

__all__ = [
    "ACTIONS",
    "BACKGROUND_KINDS",
    "REVERSAL_PAIRS",
    "SCENARIOS",
    "ActionSpan",
    "Clip",
    "Frame",
    "Scene",
    "SceneSpec",
    "blind_ceiling",
    "clip_labels",
    "num_siblings",
    "stage_labels",
]
