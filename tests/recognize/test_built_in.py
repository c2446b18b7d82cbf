"""The built-in recognizers on clips that nobody trained on: made here, so that the truth is known."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import muybridge
from muybridge.media.images import read_image
from muybridge.recognize.recognizer import Recognizer
from muybridge.stage import Scene, SceneSpec
from muybridge.stage.camera import CAMERA_MOVES, OPPOSITE_MOVES, CameraClipConfig, camera_clip

PICTURES = [next(iter(muybridge.__path__)) + f"/pictures/{name}.jpg" for name in ("chelsea", "coffee")]


@pytest.fixture(scope="module")
def camera() -> Recognizer:
    return Recognizer.from_pretrained("camera", device="cpu")


@pytest.fixture(scope="module")
def stage_actions() -> Recognizer:
    return Recognizer.from_pretrained("stage_actions", device="cpu")


def answer(recognizer: Recognizer, frames: object) -> str:
    return recognizer(frames).label


def test_camera_tells_moves_and_their_reversals(camera: Recognizer) -> None:
    right = backwards = 0
    for number, path in enumerate(PICTURES):
        photo = read_image(path).rgb
        for move in CAMERA_MOVES:
            clip = camera_clip(photo, move=move, seed=5_000 + number, config=CameraClipConfig())
            right += answer(camera, clip) == move
            backwards += answer(camera, clip[::-1].copy()) == OPPOSITE_MOVES[move]
    assert right >= 15 and backwards >= 15  # of 18, by chance 2, without the order of frames at best 10


def test_stage_actions_tells_actions_and_their_reversals(stage_actions: Recognizer) -> None:
    first = SceneSpec(
        seed=900_000, scenario="action", actors=1, width=160, height=120, rate=Fraction(12), duration_seconds=2.5,
        figure_share=0.9,
    )  # fmt: skip
    seen = right = pairs = turned = 0
    for number in range(130):
        scene = Scene(replace(first, seed=first.seed + number))
        if scene.label not in stage_actions.labels.names:
            continue
        clip = scene.clip().frames
        seen += 1
        right += answer(stage_actions, clip) == scene.label
        if scene.label in ("sit down", "stand up"):
            pairs += 1
            other = "stand up" if scene.label == "sit down" else "sit down"
            turned += answer(stage_actions, clip[::-1].copy()) == other
    assert seen >= 20 and right >= 0.6 * seen  # by chance a seventh
    assert pairs >= 4 and turned >= 0.7 * pairs


def test_actions_says_what_people_do_or_nothing(real_data: Path) -> None:
    """On clips of its training: file, head and sampling fit each other. Figures on others are in its card."""
    actions = Recognizer.from_pretrained("actions", device="cpu")
    assert len(actions.labels) == 31 and actions.threshold == 0.58
    clips = {
        "golf": "clips/jhmdb/train/golf",
        "pull up": "clips/jhmdb/train/pullup",
        "bend": "clips/weizmann/bend",
        "hug": "clips/ut_interaction/hug",
    }
    answers = [
        (label, actions(path))
        for label, folder in clips.items()
        for path in sorted((real_data / folder).iterdir())[:2]
    ]
    assert all(answer.label == label and answer.score >= actions.threshold for label, answer in answers)
    grey = actions(np.full((8, 240, 320, 3), 127, np.uint8))
    assert grey.score < actions.threshold
