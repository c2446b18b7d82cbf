"""One pass over frames: what each frame is given, when it comes out, how much is held."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from muybridge.data.localization import KeyFrameSampling
from muybridge.errors import OptionError
from muybridge.localize.options import LocalizeConfig
from muybridge.localize.stream import LocalizeRun
from tests.localize.localized_videos import MovingPeople, noise_frames

SAMPLING = KeyFrameSampling(frames=4, rate=5.0, short_side=8)


def told_time(seconds, clip, people):
    """An answer from which one can tell which key frame it came from."""
    return np.full((len(people), 1), seconds, np.float32)


def run_of(people: MovingPeople, config: LocalizeConfig, **options) -> LocalizeRun:
    return LocalizeRun(SAMPLING, 1, people, told_time, config, **options)


def frames(count: int, rate: int = 10):
    return noise_frames(count, rate=rate, size=(12, 8))


def test_every_frame_comes_out_once_in_order_with_its_own_people() -> None:
    people = MovingPeople()
    run = run_of(people, LocalizeConfig(every=1.0, look_every=0.25))
    given = frames(57, rate=24)
    found = list(run.walk(given))
    assert [each.frame for each in found] == given
    for each in found:
        seconds = float(each.frame.pts_seconds)
        # They walk evenly, so that between looks their places are known exactly.
        np.testing.assert_allclose(each.people.boxes, people.boxes_at(seconds), atol=1e-5)
        assert each.people.ids.tolist() == [1, 2]


@pytest.mark.parametrize("every", [0.5, 1.0, 0.3])
def test_actions_are_those_of_the_nearest_key_frame(every) -> None:
    run = run_of(MovingPeople(), LocalizeConfig(every=every))
    found = list(run.walk(frames(43)))
    last_key = np.floor(4.2 / every + 1e-9) * every
    for each in found:
        seconds = float(each.frame.pts_seconds)
        nearest = min(np.floor(seconds / every + 0.5) * every, last_key)
        assert each.people.actions[:, 0] == pytest.approx(nearest, abs=1e-5)
    assert [key.seconds for key in run.key_frames] == pytest.approx(np.arange(0, 4.21, every))


def test_frames_wait_no_longer_than_half_a_step_and_half_a_clip() -> None:
    config = LocalizeConfig(every=1.0, look_every=0.2)
    taken = 0
    most_held = 0

    def counted():
        nonlocal taken
        for frame in frames(400, rate=20):
            taken += 1
            yield frame

    for number, _ in enumerate(run_of(MovingPeople(), config, keep=False).walk(counted())):
        most_held = max(most_held, taken - number)
    lag = 20 * (config.every / 2 + (SAMPLING.frames // 2) / SAMPLING.rate)
    assert most_held <= lag + 3


def test_a_run_that_keeps_nothing_records_nothing() -> None:
    run = run_of(MovingPeople(), LocalizeConfig(), keep=False)
    assert len(list(run.walk(frames(40)))) == 40
    assert (run.looks, run.key_frames, run.frame_seconds) == ([], [], [])
    assert len(run._shown_people._looks) <= 3
    assert len(run._shown_people._keys) <= 4


def test_a_look_that_fails_is_made_good_by_those_around_it() -> None:
    people = MovingPeople(blind=frozenset({0.4, 1.0}))
    found = list(run_of(people, LocalizeConfig(every=1.0, look_every=0.2)).walk(frames(20)))
    assert {0.4, 1.0} <= {round(t, 3) for t in people.asked}
    for each in found:
        np.testing.assert_allclose(each.people.boxes, people.boxes_at(float(each.frame.pts_seconds)), atol=1e-5)
        assert np.isfinite(each.people.actions).all()


def test_a_frame_is_looked_at_once_however_slow_the_video() -> None:
    people = MovingPeople()
    run = run_of(people, LocalizeConfig(every=0.25, look_every=0.05))
    assert len(list(run.walk(frames(5, rate=1)))) == 5
    assert people.asked == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [key.seconds for key in run.key_frames] == pytest.approx(np.arange(0, 4.01, 0.25))


def test_in_a_gap_of_hours_nobody_is_looked_for() -> None:
    before, after = frames(20), frames(20)
    late = [replace(frame, pts_seconds=frame.pts_seconds + 10**7) for frame in after]
    people = MovingPeople()
    run = run_of(people, LocalizeConfig(every=1.0, look_every=0.5))
    found = list(run.walk([*before, *late]))
    assert [each.frame for each in found] == [*before, *late]
    assert all(seconds < 2 or seconds >= 10**7 for seconds in people.asked)
    assert [key.seconds for key in run.key_frames] == [0, 1, 10**7, 10**7 + 1]
    for each in found:
        np.testing.assert_allclose(each.people.boxes, people.boxes_at(float(each.frame.pts_seconds)), atol=1e-5)
        nearest = (
            min(int(each.frame.pts_seconds % 10**7 + Fraction(1, 2)), 1) + each.frame.pts_seconds // 10**7 * 10**7
        )
        assert each.people.actions[:, 0] == pytest.approx(float(nearest), abs=1e-5)


def test_nobody_and_nothing_at_all() -> None:
    found = list(run_of(MovingPeople(count=0), LocalizeConfig()).walk(frames(25)))
    assert len(found) == 25
    assert all(len(each.people) == 0 for each in found)
    assert list(run_of(MovingPeople(), LocalizeConfig()).walk([])) == []


@pytest.mark.parametrize(
    "options", [{"every": 0.0}, {"look_every": -1.0}, {"threshold": 1.5}, {"min_score": float("nan")}]
)
def test_options_that_mean_nothing_are_refused_with_a_remedy(options) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        LocalizeConfig(**options)
