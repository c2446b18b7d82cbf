"""Films whose clock jumps by hours."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from muybridge.media.gaps import stretches
from muybridge.media.newest_frame import Player
from muybridge.media.video_reader import Frame, VideoReader
from tests.media.numbered_clips import write_clip

IMAGE = np.zeros((2, 2, 3), np.uint8)


def frames(*seconds: float) -> list[Frame]:
    return [Frame(IMAGE, Fraction(value), index) for index, value in enumerate(seconds)]


@pytest.mark.parametrize(
    ("times", "parts"),
    [
        ([], []),
        ([0.0], [1]),
        ([0, 1, 61, 62], [4]),
        ([0, 1, 61.5, 62], [2, 2]),
        ([5000, 5001, 0, 1], [4]),
        ([0, 100, 200, 201], [1, 1, 2]),
    ],
)
def test_stretches_end_where_a_gap_begins(times: list[float], parts: list[int]) -> None:
    found = [list(stretch) for stretch in stretches(frames(*times))]
    assert [len(part) for part in found] == parts
    assert [frame.pts_seconds for part in found for frame in part] == times


def test_frames_are_taken_as_they_are_wanted() -> None:
    taken: list[int] = []

    def source():
        for frame in frames(0, 1, 2, 3):
            taken.append(frame.index)
            yield frame

    first = next(iter(stretches(source())))
    next(first)
    assert taken == [0]


def test_the_reader_notes_a_gap(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "jump.mkv", 20, pts=[*range(10), *range(180010, 180020)], time_base=Fraction(1, 25))
    with VideoReader(path) as reader:
        assert len(list(reader)) == 20
        assert [note for note in reader.notes if "jump.mkv holds no pictures from 0.4 to 7200.4 s" in note]


class StoppedClock:
    """Adds up what it is asked to wait."""

    def __init__(self) -> None:
        self.waited = 0.0

    def now(self) -> float:
        return self.waited

    def wait(self, seconds: float, stopped: object) -> None:
        self.waited += seconds


def test_nobody_sits_through_a_gap() -> None:
    clock = StoppedClock()
    player = Player(frames(0, 1, 9000, 9001), speed=1.0, clock=clock)
    player.start()
    while not player.newest.ended:
        pass
    player.close()
    assert player.newest.count == 4
    assert clock.waited == pytest.approx(2.0)
