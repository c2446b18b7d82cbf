"""Checkpoints that ACAR-Net's authors trained: their sampling, whom they show to the network, AVA's poses."""

import json
import struct
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from muybridge.data.label_maps import AVA_POSES
from muybridge.localize.localizer import Localizer
from muybridge.people.sightings import Sighting
from tests.localize.localized_videos import MovingPeople, noise_frames, small_localizer, write_frames
from tests.models.acar.test_checkpoint import FIRST, HIDDEN, authors_backbone, authors_head, saved


def authors_file(path: Path, classes: int) -> Path:
    torch.manual_seed(0)
    head = authors_head(1, 3)
    head["fc2.weight"] = torch.randn(classes, 2 * HIDDEN)
    torch.save(saved(authors_backbone(**FIRST), head, parallel="once"), path)
    return path


def ava_like(count: int) -> list[str]:
    """The poses first, in AVA's order; the 60 evaluated classes lack "crawl"."""
    poses = [name for name in AVA_POSES.values() if count == 80 or name != "crawl"]
    return poses + [f"action {number}" for number in range(count - len(poses))]


@pytest.mark.parametrize(
    ("names", "exclusive", "told"),
    [
        (ava_like(60), (tuple(range(13)),), None),
        (ava_like(80), (tuple(range(14)),), None),
        ([f"class {number}" for number in range(60)], (), "60 classes speak of AVA, whose poses exclude each other"),
        ([f"class {number}" for number in range(24)], (), None),
    ],
)
def test_the_poses_of_ava_exclude_each_other(tmp_path: Path, names, exclusive, told) -> None:
    path = authors_file(tmp_path / "theirs.pth", len(names))
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        localizer = Localizer.from_authors_checkpoint(path, names, device="cpu")
    assert localizer.labels.exclusive == exclusive
    clip = torch.randint(0, 256, (32, 3, 64, 80), dtype=torch.uint8)
    found = localizer.actions(clip, np.array([[0.1, 0.2, 0.5, 0.9]], np.float32))
    if exclusive:
        assert found[0, list(exclusive[0])].sum() == pytest.approx(1, abs=1e-5)


def test_sampling_and_threshold_are_the_authors_and_stay_with_the_file(tmp_path: Path) -> None:
    localizer = Localizer.from_authors_checkpoint(authors_file(tmp_path / "a.pth", 5), list("abcde"), device="cpu")
    localizer.save(tmp_path / "ours.safetensors")
    again = Localizer.from_pretrained(tmp_path / "ours.safetensors", device="cpu")
    for each in (localizer, again):
        assert each.sampling.preprocessing == "authors"
        assert (each.sampling.frames, each.sampling.rate, each.sampling.short_side) == (32, 15.0, 256)
        assert each.actor_score == 0.85


def test_a_file_from_before_there_was_a_choice_shows_everybody(tmp_path: Path) -> None:
    small_localizer().save(tmp_path / "new.safetensors")
    data = (tmp_path / "new.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    inner = json.loads(header["__metadata__"]["muybridge"])
    del inner["contract"]["actor_score"], inner["contract"]["sampling"]["preprocessing"]
    header["__metadata__"]["muybridge"] = json.dumps(inner)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (tmp_path / "old.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    old = Localizer.from_pretrained(tmp_path / "old.safetensors", device="cpu")
    assert (old.actor_score, old.sampling) == (0.0, small_localizer().sampling)


class UnsurePeople(MovingPeople):
    """The second of three was found with a score of 0.6."""

    def look(self, image: NDArray[np.uint8], seconds: float) -> Sighting:
        scores = np.array([0.9, 0.6, 0.86], np.float32)
        return Sighting(self.boxes_at(seconds), np.arange(3) + 1, scores)


def test_unsure_people_are_seen_by_the_viewer_but_not_by_the_network() -> None:
    frames = noise_frames(12)
    everybody, sure = small_localizer(), small_localizer(actor_score=0.85)
    shown = list(sure.stream(frames, people=UnsurePeople(3), every=0.5))[5].people
    clip = torch.stack([torch.from_numpy(frames[i].image).permute(2, 0, 1) for i in (1, 3, 5, 7)])
    expected = everybody.actions(clip, UnsurePeople(3).boxes_at(0.5)[[0, 2]])
    assert len(shown) == 3
    np.testing.assert_allclose(shown.actions[[0, 2]], expected, atol=1e-6)
    assert np.isnan(shown.actions[1]).all()
    # The third person's relations would be others with the unsure one among them.
    among_all = list(everybody.stream(frames, people=UnsurePeople(3), every=0.5))[5].people
    assert np.abs(among_all.actions[[0, 2]] - expected).max() > 1e-4


def test_results_pass_over_what_was_not_asked(tmp_path: Path) -> None:
    video = write_frames(tmp_path / "yard.mp4", noise_frames(12))
    sure = small_localizer(actor_score=0.85)
    sure.people = lambda boxes, config: UnsurePeople(3)  # type: ignore[method-assign]
    result = sure(video, every=0.5)
    annotations = result.annotations()
    assert set(annotations.person.tolist()) == {1, 3}
    assert {span.person for span in result.spans(threshold=0.0)} == {1, 3}
    assert "NaN" not in json.dumps(result.to_json(threshold=0.0))
