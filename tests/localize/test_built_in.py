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
from muybridge.data.video_files import video_file
from muybridge.localize.localizer import Localizer
from muybridge.localize.model_file import BUILT_IN
from muybridge.localize.options import BoxData, LocalizerConfig, LocalizerPlan
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


def test_its_actions_exclude_each_other(built_in) -> None:
    random = np.random.default_rng(0)
    clip = random.integers(0, 255, (built_in.sampling.frames, 3, 96, 128), dtype=np.uint8)
    found = built_in.actions(torch.from_numpy(clip), np.array([[0.1, 0.1, 0.5, 0.9], [0.5, 0, 1, 1]], np.float32))
    assert found.shape == (2, 8)
    assert found.sum(1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.real_data
def test_it_tells_actions_in_clips_that_it_was_not_trained_on(built_in, real_data) -> None:
    names = [name for name in built_in.provenance["held_out"] if name.startswith("dark-train-")]
    assert len(names) > 25
    expected = {"Jump": "jump", "Run": "run", "Sit": "sit down", "Stand": "stand up", "Turn": "turn", "Walk": "walk"}
    asked = right = 0
    for name in names[::4]:
        stem = name.removeprefix("dark-train-")
        action = stem.partition("_")[0]
        file = video_file(real_data / f"clips/dark_actions/train/{action}/{stem}.mp4")
        times = built_in.sampling.seconds(file.duration_seconds / 2)
        clip = read_key_clip(file, times, built_in.sampling.size(file.width, file.height))
        key = np.ascontiguousarray(clip[len(clip) // 2].permute(1, 2, 0).numpy())
        people = built_in.detector(key[None])[0]
        if len(people):
            box = people.boxes[:1] / np.array([key.shape[1], key.shape[0]] * 2, np.float32)
            asked += 1
            right += built_in.labels.names[int(built_in.actions(clip, box).argmax())] == expected[action]
    assert asked >= 6
    assert right / asked > 1.4 / 8  # clearly more than by chance, 1 in 8


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
        model=LocalizerConfig(trunk="muybridge_vit", short_side=64),
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
        "short_side": 64,
    }
    assert ours.contract["labels"] == list(LABELS.names)
    for name, tensor in theirs.tensors.items():
        if name != "head.fc2.weight":
            torch.testing.assert_close(ours.tensors[name].float(), tensor.float(), rtol=0, atol=1e-6)
