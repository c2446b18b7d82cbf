"""Test views: the mean of the logits of clips that are scaled and mirrored by hand."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from muybridge.data.localization import key_frames, read_key_clip
from muybridge.data.video_files import video_file
from muybridge.errors import OptionError
from muybridge.localize.evaluate import logits_of, predict_key_frames
from muybridge.localize.views import TestViews
from muybridge.models.acar.actors import Actors
from tests.localize.localized_videos import (
    LABELS,
    MovingPeople,
    noise_frames,
    small_localizer,
    two_people,
    write_frames,
)

VIEWS = [TestViews(flip=True), TestViews((48, 64)), TestViews((80, 48), flip=True)]


def logits_by_hand(localizer, clip, boxes):
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (localizer.sampling.mean, localizer.sampling.std))
    with torch.no_grad():
        return localizer.network(((clip.float() / 255 - mean) / std)[None], Actors.from_clips([boxes]))


def probabilities_by_hand(logits):
    poses, other = logits[:, :2].softmax(1), logits[:, 2:].sigmoid()
    return torch.cat([poses, other], dim=1).numpy()


def mirror(boxes):
    left, top, right, bottom = boxes.unbind(1)
    return torch.stack([1 - right, top, 1 - left, bottom], 1)


def views_by_hand(localizer, clip_of, boxes, views):
    found = []
    for side in views.scales or (64,):
        clip = clip_of(side)
        found.append(logits_by_hand(localizer, clip, boxes))
        if views.flip:
            found.append(logits_by_hand(localizer, clip.flip(-1), mirror(boxes)))
    return probabilities_by_hand(sum(found) / len(found))


@pytest.mark.parametrize("views", VIEWS)
def test_a_clip_seen_in_several_ways(views) -> None:
    localizer = small_localizer()
    side = max(views.scales, default=64)
    clip = torch.randint(0, 256, (4, 3, side, side * 3 // 2), dtype=torch.uint8)
    boxes = torch.from_numpy(MovingPeople(3).boxes_at(0))

    def clip_of(side):
        return resize(clip, [side, side * 3 // 2], InterpolationMode.BICUBIC, antialias=True)

    expected = views_by_hand(localizer, clip_of, boxes, views)
    once = localizer.actions(clip, boxes)
    localizer.views = views
    found = localizer.actions(clip, boxes)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - once).max() > 1e-3, "the views must change something for this test to say anything"


@pytest.mark.parametrize("views", VIEWS[1:])
def test_measuring_reads_each_scale_from_the_video(views, tmp_path) -> None:
    video = write_frames(tmp_path / "yard.mp4", noise_frames(12))
    localizer = small_localizer()
    truth = key_frames(two_people("yard", [0.0, 0.5, 1.0]), LABELS, {"yard": video_file(video)})
    found = predict_key_frames(
        logits_of(localizer), truth, LABELS, localizer.sampling, batch_size=2, views=views, quiet=True
    )
    for frame, probabilities in zip(truth, found, strict=True):
        seconds, file = localizer.sampling.seconds(frame.seconds), frame.file

        def clip_of(side, file=file, seconds=seconds):
            return read_key_clip(file, seconds, (side * 3 // 2, side))

        expected = views_by_hand(localizer, clip_of, torch.from_numpy(frame.boxes), views)
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)


def test_a_video_is_seen_at_the_largest_scale() -> None:
    localizer = small_localizer(views=TestViews((48, 80)))
    frames = noise_frames(12)
    found = list(localizer.stream(frames, people=MovingPeople(), every=0.5))
    clip = torch.stack([torch.from_numpy(frames[i].image).permute(2, 0, 1) for i in (1, 3, 5, 7)])
    large = resize(clip, [80, 120], InterpolationMode.BICUBIC, antialias=True)
    expected = localizer.actions(large, MovingPeople().boxes_at(0.5))
    np.testing.assert_allclose(found[5].people.actions, expected, atol=1e-6)


@pytest.mark.parametrize("scales", [(0,), (64, 64)])
def test_scales_that_make_no_sense(scales) -> None:
    with pytest.raises(OptionError, match="scales="):
        TestViews(scales)
