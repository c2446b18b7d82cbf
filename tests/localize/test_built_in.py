"""The localizer that ships: small, labels people in real clips that it never saw, and others may start from it."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from muybridge.artifacts import load_artifact
from muybridge.data.annotations.ava import write_ava
from muybridge.data.label_maps import write_label_map
from muybridge.data.localization import read_key_clip
from muybridge.data.person_motion import motion_at
from muybridge.data.video_files import video_file
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import BUILT_IN, BoxData, LocalizerConfig, LocalizerPlan
from muybridge.localize.train import train
from muybridge.media.video_writer import VideoWriter
from muybridge.training.fit_config import ClipFitConfig
from tests.localize.localized_videos import LABELS, annotations_of

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "src" / "muybridge" / "weights" / BUILT_IN["people_actions"]


@pytest.fixture(scope="module")
def built_in() -> Localizer:
    return Localizer.from_pretrained("people_actions", device="cpu")


def test_it_is_small_and_says_how_it_was_made() -> None:
    assert WEIGHTS.stat().st_size <= 5e6
    artifact = load_artifact(WEIGHTS, task="localize")
    assert (ROOT / artifact.provenance["recipe"]).is_file()
    card = WEIGHTS.with_suffix(".md").read_text()
    for label in artifact.contract["labels"]:
        assert label in card


def test_a_person_has_one_pose_and_any_other_actions(built_in) -> None:
    random = np.random.default_rng(0)
    clip = random.integers(0, 255, (built_in.sampling.frames, 3, 224, 288), dtype=np.uint8)
    found = built_in.actions(torch.from_numpy(clip), np.array([[0.1, 0.1, 0.5, 0.9], [0.5, 0, 1, 1]], np.float32))
    assert found.shape == (2, len(built_in.labels))
    (poses,) = built_in.labels.exclusive
    assert {"stand", "sit", "walk", "run", "fall"} < {built_in.labels.names[column] for column in poses}
    assert found[:, list(poses)].sum(1) == pytest.approx([1, 1], abs=1e-5)
    others = [column for column in range(len(built_in.labels)) if column not in poses]
    assert not np.allclose(found[:, others].sum(1), 1, atol=0.05)


# People of films that nobody trained on, by eye: seconds, box in shares of the frame, pose.
SEEN = {
    "people/schoolgirls.mp4": [
        (0.5, (0.42, 0.28, 0.545, 0.82), "stand"),
        (1.5, (0.285, 0.345, 0.4, 0.85), "stand"),
        (2.0, (0.27, 0.35, 0.4, 0.85), "stand"),
        (1.0, (0.45, 0.3, 0.56, 0.82), "stand"),
    ],
    "people/walking.mp4": [
        (1.0, (0.58, 0.74, 0.632, 0.935), "walk"),
        (3.0, (0.52, 0.76, 0.565, 0.91), "walk"),
        (4.0, (0.35, 0.81, 0.4, 1.0), "walk"),
        (4.0, (0.535, 0.81, 0.585, 1.0), "walk"),
    ],
}


@pytest.mark.real_data
@pytest.mark.slow
def test_it_tells_who_stands_and_who_walks_in_films_it_was_not_trained_on(built_in, real_data) -> None:
    told: list[bool] = []
    for name, people in SEEN.items():
        assert name in built_in.provenance["never trained on"]
        file = video_file(real_data / name)
        for seconds, box, pose in people:
            times = built_in.sampling.seconds(seconds)
            clip = read_key_clip(file, times, built_in.sampling.size(file.width, file.height))
            boxes = np.array([box], np.float32)
            motion = motion_at(file.path, seconds, boxes, built_in.motion.codebook)[0]
            chances = built_in.actions(clip, boxes, motion_nM=motion)[0]
            told.append(chances[built_in.labels.names.index(pose)] >= 0.5)
    assert sum(told) >= 7, told


def test_a_training_with_other_classes_starts_from_it(tmp_path) -> None:
    """The file says which adapters and head to build; only the trunk is named."""
    (tmp_path / "videos").mkdir()
    random = np.random.default_rng(0)
    with VideoWriter(tmp_path / "videos" / "a.mp4", width=64, height=48, rate=Fraction(10)) as writer:
        for _ in range(8):
            writer.write(random.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    write_ava(tmp_path / "truth.csv", annotations_of([("a", 0.5, (0.1, 0.2, 0.6, 0.9), 3, 0)]))
    write_label_map(tmp_path / "labels.pbtxt", LABELS)
    plan = LocalizerPlan(
        data=BoxData(
            tmp_path / "truth.csv", videos=tmp_path / "videos", labels=tmp_path / "labels.pbtxt", held_out=0.0
        ),
        model=LocalizerConfig(trunk="efficientnet_lite0", head="baseline", short_side=96),
        config=ClipFitConfig(steps=1, batch_size=1, learning_rate=1e-9, warmup=0, workers=0),
        initialize="people_actions",
    )
    train(plan, tmp_path / "model.safetensors", device="cpu", tell=lambda line: None)
    theirs, ours = (
        load_artifact(WEIGHTS, task="localize"),
        load_artifact(tmp_path / "model.safetensors", task="localize"),
    )
    assert ours.contract["sampling"] == {
        "preprocessing": "own",
        **theirs.contract["sampling"],
        "short_side": 96,
    }
    assert ours.contract["labels"] == list(LABELS.names)
    for name, tensor in theirs.tensors.items():
        if not name.startswith(("head.fc.", "motion.")):
            torch.testing.assert_close(ours.tensors[name].float(), tensor.float(), rtol=0, atol=1e-6)
