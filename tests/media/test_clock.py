"""Transport streams joined end to end, whose clock starts anew at each seam."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from muybridge.media.clock import ContinuousClock
from muybridge.media.video_reader import VideoReader
from tests.media.numbered_clips import number_in, write_clip


def joined(folder: Path, *, suffix: str = "ts", tones: tuple[str, ...] = ("mp2",)) -> Path:
    """Clips of 30, 20 and 25 frames at 25 a second, one behind another as bytes."""
    path = folder / f"joined.{suffix}"
    codec = "libx264" if suffix == "ts" else "mpeg2video"
    parts = [
        write_clip(folder / f"{count}.{suffix}", count, codec=codec, b_frames=0, tones=tones)
        for count in (30, 20, 25)
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize("tones", [(), ("mp2",)])
def test_stretches_follow_one_another(tmp_path: Path, suffix: str, tones: tuple[str, ...]) -> None:
    path = joined(tmp_path, suffix=suffix, tones=tones)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.timestamps() == [frame.pts_seconds for frame in frames]
        (late,) = reader.frames_at_seconds([frames[60].pts_seconds])
    numbers = [number_in(frame.image) for frame in frames]
    assert numbers == [*range(30), *range(20), *range(25)]
    steps = [float(b.pts_seconds - a.pts_seconds) for a, b in itertools.pairwise(frames)]
    assert all(step == pytest.approx(1 / 25, abs=1e-4) for i, step in enumerate(steps) if i not in (29, 49))
    # At a seam, the next stretch waits for the sound, whose last packet may reach a little beyond the picture.
    assert all(1 / 25 - 1e-4 <= steps[i] < 0.12 for i in (29, 49))
    assert number_in(late.image) == 10


def test_sound_is_shifted_as_its_picture_is_whoever_asks(tmp_path: Path) -> None:
    path = joined(tmp_path)

    def times(kind: str) -> list[Fraction]:
        with av.open(str(path)) as container:
            clock = ContinuousClock(container)
            found: list[Fraction] = []
            for packet in container.demux(*clock.tracks):
                before = packet.dts
                clock.set_right(packet)
                if before is not None and packet.dts is not None and packet.stream.type == kind:
                    found.append((packet.dts - before) * packet.time_base)
            return found

    video, audio = times("video"), times("audio")
    assert sorted(set(video)) == sorted(set(audio))
    assert len(set(video)) == 3
    assert video == sorted(video) and audio == sorted(audio)
    assert [len(list(group)) for _, group in itertools.groupby(video)] == [30, 20, 25]


def test_other_files_keep_their_times(tmp_path: Path) -> None:
    with av.open(str(write_clip(tmp_path / "clip.mp4", 5))) as container:
        clock = ContinuousClock(container)
        packets = [packet for packet in container.demux() if packet.pts is not None]
        before = [packet.pts for packet in packets]
        for packet in packets:
            clock.set_right(packet)
        assert [packet.pts for packet in packets] == before
        assert not clock.is_needed


def test_an_ordinary_stream_keeps_its_times(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.ts", 60, b_frames=3, tones=["mp2"])
    with VideoReader(path) as reader:
        steps = np.diff([float(frame.pts_seconds) for frame in reader])
    np.testing.assert_allclose(steps, 1 / 25, atol=1e-4)
