"""Frame numbers and times against clips whose times the test chose."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from muybridge.errors import OptionError
from muybridge.media.frame_times import FrameTimes
from muybridge.media.video_reader import VideoReader
from tests.media.numbered_clips import number_in, write_clip


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames at 10 a second, then 60 at 30."""
    stamps = [*range(0, 200, 10), *(200 + round(10 * n / 3) for n in range(60))]
    path = tmp_path_factory.mktemp("phone") / "phone.mp4"
    return write_clip(path, 80, pts=stamps, time_base=Fraction(1, 100), rate=Fraction(100))


def test_numbers_become_the_times_at_which_the_frames_are_shown(phone: Path) -> None:
    times = FrameTimes(phone)
    assert len(times) == 80
    np.testing.assert_allclose(times.of([0, 19, 20, 21, 79]), [0, 1.9, 2.0, 2.03, 3.97], atol=1e-9)
    np.testing.assert_array_equal(times.numbers(times.of(range(80))), np.arange(80))
    # A time between two frames belongs to the one on display, and rounded seconds to the frame that they name.
    np.testing.assert_array_equal(times.numbers([-1.0, 1.999, 2.0299999, 2.0329, 99.0]), [0, 19, 21, 21, 79])


def test_the_decoded_frame_at_that_time_shows_that_number(phone: Path) -> None:
    wanted = [3, 20, 41, 79]
    with VideoReader(phone) as reader:
        shown = reader.frames_at_seconds(
            [Fraction(float(t)).limit_denominator(1000) for t in FrameTimes(phone).of(wanted)]
        )
    assert [number_in(frame.image) for frame in shown] == wanted


@pytest.mark.parametrize("number", [-1, 80])
def test_numbers_that_the_film_has_not_are_refused(phone: Path, number: int) -> None:
    with pytest.raises(OptionError, match=rf"frame {number} was asked of .*phone.mp4, which has frames 0 to 79"):
        FrameTimes(phone).of([0, number])
