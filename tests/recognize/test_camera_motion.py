"""The built-in `camera` with a look at the picture's own motion: joined, over windows, kept in its file."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import muybridge
from muybridge.artifacts import Artifact, load_artifact
from muybridge.data.clips.dataset import load_views
from muybridge.data.clips.motion import motion_of_clip, motion_of_frames
from muybridge.errors import ModelError, ModelMismatch
from muybridge.media.images import read_image
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.models.dense_motion.camera import CameraMotion
from muybridge.recognize.model_file import RecognizerFile
from muybridge.recognize.motion import BIAS, WEIGHT
from muybridge.recognize.options import BUILT_IN
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.windows import WindowConfig, window_predictions
from muybridge.stage.camera import CAMERA_MOVES

PHOTO = read_image(next(iter(muybridge.__path__)) + "/pictures/coffee.jpg").rgb
SHIPPED = Path(muybridge.__file__).parent / "weights" / BUILT_IN["camera"]
FRAMES = 20


@pytest.fixture(scope="module")
def camera() -> Recognizer:
    return Recognizer.from_pretrained("camera", device="cpu")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Still, then a pan to the left, then still: 20 frames each at 25 a second, 160 x 120 pixels."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    places = [*[200] * FRAMES, *np.linspace(200, 136, FRAMES), *[136] * FRAMES]
    with VideoWriter(path, width=160, height=120, rate=Fraction(25)) as writer:
        for place in places:
            writer.write(cv2.warpAffine(PHOTO, np.array([[1, 0, -place], [0, 1, -100.0]]), (160, 120)))
    return path


def test_windows_answer_as_the_clips_that_they_are(camera, film) -> None:
    assert camera.motion is not None
    with VideoReader(film) as reader:
        found = list(window_predictions(camera, reader, WindowConfig(0.8, 0.4), batch_size=2))
    assert [window.prediction.label for window in found[::2]] == ["static", "pan left", "static"]
    for window in found:
        views = load_views(film, camera.sampling, camera.views, start=window.start, end=window.end)
        network = camera.probabilities(views).mean(dim=0, keepdim=True)
        vector = motion_of_clip(film, camera.motion.codebook, start=window.start, end=window.end)
        wanted = camera.motion.joined(network, vector[None], multi_label=False)[0]
        torch.testing.assert_close(window.prediction.probabilities, wanted, rtol=0, atol=1e-3)


def test_numbers_of_a_window_are_those_of_the_move(camera, film) -> None:
    """64 of 160 pixels, of which the window's pairs see all."""
    vector = motion_of_clip(film, camera.motion.codebook, start=0.8, end=1.6)
    assert float(vector[5].expm1() * 0.01) == pytest.approx(0.4, abs=0.03)
    assert vector[1] == vector[5] > vector[6:].max()


def test_mirrored_pictures_move_the_other_way(camera) -> None:
    places = np.linspace(100, 60, 12)
    crops = [PHOTO[100:220, int(place) : int(place) + 160] for place in places]
    clip = np.stack(crops)
    one, other = (motion_of_frames(each, camera.motion.codebook) for each in (clip, clip[:, :, ::-1].copy()))
    knows_nothing = torch.full((1, 9), 1 / 9)
    left, right = (camera.motion.joined(knows_nothing, v[None], multi_label=False)[0] for v in (one, other))
    assert CAMERA_MOVES[int(left.argmax())] == "pan left" and CAMERA_MOVES[int(right.argmax())] == "pan right"
    assert float(left.max()) == pytest.approx(float(right.max()), abs=0.02)


def test_of_one_picture_the_network_answers_alone(camera) -> None:
    one = PHOTO[None, :120, :160]
    network = camera.probabilities(load_views(one, camera.sampling, camera.views)).mean(dim=0)
    torch.testing.assert_close(camera(one).probabilities, network, rtol=0, atol=1e-5)


def test_its_file_says_so_and_saves_to_the_same(camera, film, tmp_path) -> None:
    artifact = load_artifact(SHIPPED, task="recognize")
    assert artifact.architecture["motion"] == "camera"
    assert artifact.tensors[WEIGHT].shape == (9, CameraMotion().length)
    camera.save(tmp_path / "again.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "again.safetensors", device="cpu")
    assert torch.equal(again(film).probabilities, camera(film).probabilities)


def without_motion(artifact: Artifact) -> Artifact:
    architecture = {name: value for name, value in artifact.architecture.items() if name != "motion"}
    return replace(artifact, architecture=architecture)


def with_weight(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Artifact], Artifact]:
    return lambda artifact: replace(
        artifact, tensors={**artifact.tensors, WEIGHT: change(artifact.tensors[WEIGHT]).contiguous()}
    )


def missing(artifact: Artifact) -> Artifact:
    return replace(artifact, tensors={n: t for n, t in artifact.tensors.items() if n != BIAS})


@pytest.mark.parametrize(
    "change",
    [
        without_motion,
        missing,
        with_weight(lambda weight: weight[:, :-1]),
        with_weight(lambda weight: weight[:-1]),
        with_weight(lambda weight: weight * float("nan")),
        lambda artifact: replace(artifact, architecture={**artifact.architecture, "motion": "cameras"}),
    ],
    ids=["not said", "missing", "narrow", "short", "nan", "unknown"],
)
def test_a_file_that_does_not_fit_is_refused(change, tmp_path) -> None:
    path = tmp_path / "changed.safetensors"
    change(load_artifact(SHIPPED, task="recognize")).save(path)
    with pytest.raises((ModelError, ModelMismatch)) as refused:
        Recognizer.from_pretrained(path, device="cpu")
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_from_before_there_was_motion_is_read(film, tmp_path) -> None:
    older = without_motion(load_artifact(SHIPPED, task="recognize"))
    tensors = {name: tensor for name, tensor in older.tensors.items() if name not in (WEIGHT, BIAS)}
    replace(older, tensors=tensors).save(tmp_path / "older.safetensors")
    network = Recognizer.from_pretrained(tmp_path / "older.safetensors", device="cpu")
    assert network.motion is None and RecognizerFile.open(tmp_path / "older.safetensors").codebook() is None
    assert network(film).probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_after_every_frame_it_cannot_answer(camera) -> None:
    assert not camera.is_causal
    with pytest.raises(ModelMismatch, match="reads motion"):
        camera.stream([PHOTO])
