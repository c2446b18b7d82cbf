"""Recognizer, Localizer and Stylizer asked from eight threads at once answer as they do alone, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from muybridge import Localizer, Recognizer, Stylizer
from muybridge.recognize.recognizer import RecognizerBank
from muybridge.stylize.stylizer import StylizeConfig
from tests.localize.localized_videos import noise_frames, small_localizer, two_people, write_frames
from tests.running_threads import in_threads
from tests.stylize.conftest import smooth_picture

THREADS = 8


def pictures(count: int, *, height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def equal(found: list[list[NDArray[np.float32]]], alone: list[list[NDArray[np.float32]]]) -> bool:
    return len(found) == len(alone) and all(
        np.array_equal(a, b)
        for mine, truth in zip(found, alone, strict=True)
        for a, b in zip(mine, truth, strict=True)
    )


def test_one_recognizer() -> None:
    recognizer = Recognizer.from_pretrained("camera", device="cpu")
    clips = [pictures(8 + 2 * number, seed=number) for number in range(THREADS)]
    alone = [recognizer(clip).probabilities for clip in clips]
    found = in_threads(lambda clip: recognizer(clip).probabilities, clips)
    assert all(mine.equal(truth) for mine, truth in zip(found, alone, strict=True))


def test_recognizers_over_one_backbone_their_bank_and_one_that_is_just_loaded(tmp_path: Path) -> None:
    first = Recognizer.from_pretrained("camera", device="cpu")
    first.save(tmp_path / "again.safetensors")
    again = first.with_adapters(tmp_path / "again.safetensors")
    other = first.with_adapters("stage_actions")
    bank = RecognizerBank([first, again])
    clip = pictures(12)

    def ask(number: int) -> list[NDArray[np.float32]]:
        if number < 3:
            answers = [(first, other, again)[number](clip)]
        elif number < 5:
            answers = bank.batch([clip, clip], [0, 1])
        else:
            answers = [first.with_adapters(("stage_actions", "camera")[number % 2])(clip)]
        return [answer.probabilities.numpy() for answer in answers]

    alone = [ask(number) for number in range(THREADS)]
    found = in_threads(ask, range(THREADS))
    assert equal(found, alone)


@pytest.mark.parametrize("trunk", ["slowfast", "muybridge_vit"])
def test_one_localizer(tmp_path: Path, trunk: str) -> None:
    localizer = small_localizer(trunk=trunk)
    videos = [
        write_frames(tmp_path / f"{number}.mp4", noise_frames(16 + number, seed=number)) for number in range(THREADS)
    ]

    def actions(video: Path) -> list[NDArray[np.float32]]:
        result = localizer(video, boxes=two_people(video.stem, [0.0, 1.0, 1.5]), every=0.5)
        return [key.people.actions for key in result.key_frames]

    alone = [actions(video) for video in videos]
    assert any(key.size for key in alone[0])
    found = in_threads(actions, videos)
    assert equal(found, alone)


def test_a_localizers_detector_is_loaded_once() -> None:
    localizer = Localizer.from_pretrained(device="cpu")
    found = in_threads(lambda _: localizer.detector, range(THREADS))
    assert all(detector is found[0] for detector in found)
    frames = [pictures(1, height=96, width=128 + 8 * number, seed=number) for number in range(THREADS)]
    alone = [found[0](each)[0].boxes for each in frames]
    boxes = in_threads(lambda each: found[0](each)[0].boxes, frames)
    assert all(np.array_equal(mine, truth) for mine, truth in zip(boxes, alone, strict=True))


def test_one_stylizer() -> None:
    stylizer = Stylizer.from_pretrained(device="cpu")
    photographs = [smooth_picture(48, 64 + 8 * number, number) for number in range(THREADS)]
    styles = [("ember", "glass")[number % 2] for number in range(THREADS)]
    frames = noise_frames(3, size=(72, 48))

    def paint(number: int) -> NDArray[np.uint8]:
        config = StylizeConfig(style_size=64, projection=("zca", "adain")[number % 2])
        if number == 0:
            return np.stack([frame.image for frame in stylizer.stream(frames, "ember", config=config)])
        return stylizer(photographs[number], styles[number], config=config)

    alone = [paint(number) for number in range(THREADS)]
    found = in_threads(paint, range(THREADS))
    assert all(np.array_equal(mine, truth) for mine, truth in zip(found, alone, strict=True))
