"""Files cut anywhere, as copying and recording leave them."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from muybridge.media.truncation import is_cut_short
from muybridge.media.video_reader import VideoReader
from tests.media.numbered_clips import number_in, trim, write_clip

NAMES = ["clip.mp4", "clip.mov", "clip.mkv", "clip.webm", "clip.avi", "clip.ts"]


def write(path: Path, *, fragments: bool = False) -> Path:
    codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
    if not fragments:
        return write_clip(
            path, 60, codec=codec, gop=10, faststart=True, **({"tones": ["aac"]} if codec != "libvpx-vp9" else {})
        )
    source = write_clip(path.with_stem("source"), 60, gop=10)
    with (
        av.open(str(source)) as before,
        av.open(str(path), "w", options={"movflags": "frag_keyframe+empty_moov"}) as after,
    ):
        copied = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
    return path


@pytest.mark.parametrize("name", [*NAMES, "fragments.mp4"])
def test_whole_files_are_whole_and_cut_ones_are_said_to_be(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, fragments=name.startswith("fragments"))
    whole = path.read_bytes()
    assert not is_cut_short(path)
    with VideoReader(path) as reader:
        count = len(list(reader))
        assert not reader.notes
    cut = path.with_stem("cut")
    for share in (0.5, 0.6180, 0.9):
        cut.write_bytes(whole[: int(len(whole) * share) // 188 * 188 + 77])
        assert is_cut_short(cut)
    cut.write_bytes(whole[: int(len(whole) * 0.6)])
    with VideoReader(cut) as reader:
        shown = len(list(reader))
        assert 10 < shown < count
        assert len(reader.notes) == 1
        assert f"cut short: {shown} frames, until" in reader.notes[0]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_lossless_trim_is_whole_and_begins_where_it_was_trimmed(tmp_path: Path, name: str) -> None:
    source = write_clip(tmp_path / "source.mp4", 60, gop=20)
    path = trim(source, tmp_path / name, 23, gop=20)
    with VideoReader(path) as reader:
        shown = list(reader)
        assert not reader.notes
        assert [number_in(frame.image) for frame in reader.frames_at_indices([0, 1, 20])] == [23, 24, 43]
    assert [number_in(frame.image) for frame in shown] == list(range(23, 60))
    assert [round(float(frame.pts_seconds) * 25) for frame in shown] == list(range(37))


def test_empty_chunks_of_an_avi_are_no_damage(tmp_path: Path) -> None:
    """Encoders with B-frames leave chunks without pictures, so that an avi counts more frames than it shows."""
    stamps = list(range(2, 42))
    path = write_clip(
        tmp_path / "clip.avi", 40, codec="mpeg4", gop=10, b_frames=2, pts=stamps, time_base=Fraction(1, 25)
    )
    with VideoReader(path) as reader:
        assert len(list(reader)) == 40 < (reader.info.num_frames or 0)
        assert not reader.notes


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"\x00\x00\x00\x08ftyp", b"\x1a\x45\xdf\xa3", b"G" * 500, bytes(64)]
)
def test_scraps_of_files_are_looked_at_without_harm(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scrap").write_bytes(content)
    is_cut_short(tmp_path / "scrap")


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.ts", "clip.mov"])
def test_a_film_whose_clock_starts_late_lasts_for_as_long_as_it_is_shown(tmp_path: Path, name: str) -> None:
    late = tmp_path / f"late.{name}"
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    with (
        av.open(str(write_clip(tmp_path / name, 60, codec=codec, b_frames=0))) as before,
        av.open(str(late), "w", options={"output_ts_offset": "1000"}) as after,
    ):
        copied = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
    with VideoReader(late) as reader:
        frames = list(reader)
        assert not reader.notes
        shown = frames[-1].pts_seconds - frames[0].pts_seconds + Fraction(1, 25)
        assert len(frames) == 60 and reader.info.duration_seconds is not None
        assert abs(reader.info.duration_seconds - shown) <= Fraction(1, 20)
