"""Which frames make up the clip of a key frame, against a reader that looks at all of them at once."""

import numpy as np
import pytest
import torch

from muybridge.data.localization import KeyFrameSampling, scaled_picture
from muybridge.localize.clips import KeyClips
from tests.media.numbered_clips import HEIGHT, WIDTH, number_in, picture_of


def cut(times: list[float], sampling: KeyFrameSampling, every: float) -> dict[float, list[int]]:
    """Frame numbers of each clip, by time of its key frame."""
    clips = KeyClips(sampling, every)
    complete = []
    for number, seconds in enumerate(times):
        complete += clips.push(picture_of(number), seconds)
    complete += clips.finish()
    return {clip.seconds: [number_in(frame.permute(1, 2, 0).numpy()) for frame in clip.clip()] for clip in complete}


def on_display(times: list[float], wanted: float) -> int:
    """The frame shown at a time: the last one that began by then, or the first."""
    return max([number for number, seconds in enumerate(times) if seconds <= wanted + 1e-9], default=0)


@pytest.mark.parametrize(("frames", "rate", "every"), [(4, 5.0, 1.0), (8, 15.0, 0.5), (1, 4.0, 0.3), (5, 2.0, 0.7)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clips_hold_the_frames_on_display_at_their_times(frames, rate, every, seed) -> None:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.uniform(0.01, 0.12, 60)).round(6)
    times = (times - times[0]).tolist()
    sampling = KeyFrameSampling(frames=frames, rate=rate, short_side=HEIGHT)
    found = cut(times, sampling, every)
    keys = [k * every for k in range(1000) if k * every <= times[-1]]
    assert list(found) == pytest.approx(keys)
    for key, numbers in found.items():
        wanted = [key + (i - frames // 2) / rate for i in range(frames)]
        assert numbers == [on_display(times, seconds) for seconds in wanted]


def test_a_video_of_one_frame_is_one_clip_of_that_frame() -> None:
    assert cut([0.0], KeyFrameSampling(frames=4, rate=5.0, short_side=HEIGHT), 1.0) == {0.0: [0, 0, 0, 0]}


def test_no_frames_make_no_clips() -> None:
    assert KeyClips(KeyFrameSampling(), 1.0).finish() == []


def test_a_stream_that_begins_late_has_its_first_key_frame_at_the_next_whole_multiple() -> None:
    times = [7.3 + 0.1 * i for i in range(12)]
    assert list(cut(times, KeyFrameSampling(frames=2, rate=5.0, short_side=HEIGHT), 0.5)) == [7.5, 8.0]


def test_frames_that_change_size_midway_are_scaled_to_the_first_ones() -> None:
    clips = KeyClips(KeyFrameSampling(frames=4, rate=5.0, short_side=HEIGHT), 0.5)
    complete = []
    for number in range(20):
        size = (WIDTH, HEIGHT) if number < 8 else (2 * WIDTH, 3 * HEIGHT)
        complete += clips.push(picture_of(number, *size), number / 10)
    complete += clips.finish()
    assert {tuple(clip.clip().shape) for clip in complete} == {(4, 3, HEIGHT, WIDTH)}
    assert number_in(complete[-1].clip()[0].permute(1, 2, 0).numpy()) > 8


def test_only_frames_that_are_still_wanted_are_held() -> None:
    sampling = KeyFrameSampling(frames=4, rate=10.0, short_side=HEIGHT)
    clips = KeyClips(sampling, 1.0)
    for number in range(300):
        clips.push(picture_of(number), number / 30)
        held = sum(len(clip.pictures) for clip in clips._waiting)
        assert held <= sampling.frames


def test_pictures_are_scaled_whole() -> None:
    picture = torch.from_numpy(picture_of(5)).permute(2, 0, 1)
    assert torch.equal(scaled_picture(picture_of(5), (WIDTH, HEIGHT)), picture)
    assert number_in(scaled_picture(picture_of(5), (WIDTH * 2, HEIGHT * 2)).permute(1, 2, 0).numpy()) == 5
