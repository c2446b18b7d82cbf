"""Films painted in segments: an interruption is not seen, times and sound are the film's, parts are copied."""

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from muybridge.errors import InputError, OptionError
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import JoinedVideo, VideoWriter
from muybridge.stylize.files import PaintJob, StylesAtSize, paint_file
from muybridge.stylize.options import StylizeConfig, TemporalConfig
from muybridge.stylize.segments import paint_in_segments
from tests.apps.test_stylize_command import sound_packets, write_clip
from tests.stylize.conftest import smooth_picture

TWO_FIFTHS = Fraction(2, 5)  # ten frames a segment


@pytest.fixture
def film(tmp_path, monkeypatch) -> Source:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "film.mp4", frames=34)
    return Source(str(tmp_path / "film.mp4"), "video", Path("film.mp4"))


@pytest.fixture
def job(stylizer) -> PaintJob:
    style = stylizer.encode_style(smooth_picture(40, 40, 2), size=32)
    temporal = TemporalConfig(motion="features", picture_share=0.3)
    config = StylizeConfig(style_size=32)
    return PaintJob(stylizer, StylesAtSize(stylizer, [style], config), [1.0], (), config, temporal, resume=True)


class Interrupted:
    """A stylizer that Ctrl-C meets when so many frames are painted."""

    def __init__(self, stylizer, frames: int) -> None:
        self._stylizer, self._left = stylizer, frames

    def __getattr__(self, name: str):
        return getattr(self._stylizer, name)

    def stream(self, *arguments, **options):
        for frame in self._stylizer.stream(*arguments, **options):
            if self._left == 0:
                raise KeyboardInterrupt
            self._left -= 1
            yield frame


def interrupt(job: PaintJob, film: Source, target: Path, frames: int) -> None:
    stopped = replace(job, stylizer=Interrupted(job.stylizer, frames))
    with pytest.raises(KeyboardInterrupt):
        paint_in_segments(stopped, film, target, seconds=TWO_FIFTHS, quiet=True)
    assert not target.exists()


@pytest.fixture
def written(monkeypatch) -> dict[Path, list[np.ndarray]]:
    """What is handed to each file before x264, whose choices depend on what else it sees; of a file that is written
    again, the later."""
    files: dict[Path, list[np.ndarray]] = {}
    enter, write = VideoWriter.__enter__, VideoWriter.write

    def begin(writer):
        files[writer.path] = []
        return enter(writer)

    def note(writer, image, *times):
        files[writer.path].append(image)
        write(writer, image, *times)

    monkeypatch.setattr(VideoWriter, "__enter__", begin)
    monkeypatch.setattr(VideoWriter, "write", note)
    return files


def painted(written: dict[Path, list[np.ndarray]], target: Path) -> np.ndarray:
    """All frames of a film that was painted in segments."""
    folder = target.with_name(f"{target.name}.parts")
    return np.concatenate([np.stack(written[path]) for path in sorted(written) if path.parent == folder])


def test_an_interrupted_painting_ends_as_one_that_was_not(film, job, tmp_path, written):
    whole, resumed = tmp_path / "whole.mp4", tmp_path / "resumed.mp4"
    paint_in_segments(job, film, whole, seconds=TWO_FIFTHS, quiet=True)
    interrupt(job, film, resumed, 3)  # before any segment is whole
    interrupt(job, film, resumed, 25)
    parts = tmp_path / "resumed.mp4.parts"
    assert sorted(path.name for path in parts.glob("*.mp4")) == ["00000.mp4", "00001.mp4"]
    interrupt(job, film, resumed, 11)  # the third segment's frames, and one of the fourth's
    assert paint_in_segments(job, film, resumed, seconds=TWO_FIFTHS, quiet=True) == []
    assert np.array_equal(painted(written, resumed), painted(written, whole))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "resumed.mp4", "whole.mp4"]
    for target in (whole, resumed):
        with VideoReader(target) as result, VideoReader(film.path) as original:
            assert result.timestamps() == original.timestamps()
            assert result.info.duration_seconds == original.info.duration_seconds
        assert sound_packets(target) == sound_packets(film.path)


def test_no_seam_is_seen(film, job, tmp_path, written):
    """What is remembered goes over from segment to segment: the same pictures as painted in one go."""
    parts, once, alone = tmp_path / "parts.mp4", tmp_path / "once.mp4", tmp_path / "alone.mp4"
    paint_in_segments(job, film, parts, seconds=TWO_FIFTHS, quiet=True)
    paint_file(replace(job, resume=False), film, once, quiet=True)
    assert np.array_equal(painted(written, parts), np.stack(written[once]))
    paint_file(replace(job, temporal=None, resume=False), film, alone, quiet=True)
    assert not np.array_equal(written[alone][20], written[once][20])  # so what is remembered is seen at all


def test_parts_are_copied_and_not_encoded_again(film, job, tmp_path):
    target, kept = tmp_path / "out.mp4", list[bytes]()
    interrupt(job, film, target, 33)
    for part in sorted((tmp_path / "out.mp4.parts").glob("*.mp4")):
        with av.open(str(part)) as container:
            kept += [bytes(packet) for packet in container.demux(video=0) if packet.size]
    paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)
    with av.open(str(target)) as container:
        assert [bytes(packet) for packet in container.demux(video=0) if packet.size][: len(kept)] == kept
    assert len(kept) == 30


def test_a_variable_rate_and_gaps_keep_their_times(job, tmp_path):
    path = tmp_path / "uneven.mp4"
    ticks = np.cumsum(np.random.default_rng(0).choice([1, 2, 9, 400], 40)) * 3  # in 90ths of a second
    times = [Fraction(0), *(Fraction(int(tick), 90) for tick in ticks)]
    with VideoWriter(path, width=40, height=32, rate=Fraction(30)) as writer:
        for number, seconds in enumerate(times):
            writer.write(smooth_picture(32, 40, number % 5), seconds)
    source = Source(str(path), "video", Path("uneven.mp4"))
    target = tmp_path / "out.mp4"
    interrupt(job, source, target, 17)
    paint_in_segments(job, source, target, seconds=TWO_FIFTHS, quiet=True)
    with VideoReader(target) as result:
        assert result.timestamps() == times


def test_parts_of_another_painting_are_refused(film, job, tmp_path):
    target = tmp_path / "out.mp4"
    interrupt(job, film, target, 12)
    for other in (
        replace(job, config=StylizeConfig(style_size=32, strength=0.5)),
        replace(job, weights=[2.0]),
        replace(job, styles=StylesAtSize(job.stylizer, [smooth_picture(40, 40, 3)], job.config)),
        replace(job, temporal=None),
    ):
        with pytest.raises(OptionError, match="parts of another painting"):
            paint_in_segments(other, film, target, seconds=TWO_FIFTHS, quiet=True)
    shutil.copy(film.path, tmp_path / "copy.mp4")
    write_clip(film.path, frames=20)  # another film of that name
    with pytest.raises(OptionError, match="parts of another painting"):
        paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)


def test_parts_that_are_damaged_are_told(film, job, tmp_path):
    target, parts = tmp_path / "out.mp4", tmp_path / "out.mp4.parts"
    interrupt(job, film, target, 12)
    for name in ("00000.json", "00000.safetensors"):
        whole = (parts / name).read_bytes()
        (parts / name).write_bytes(whole[:9])
        with pytest.raises(OptionError, match=f"{name} is damaged"):
            paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)
        (parts / name).write_bytes(whole)
    for name in ("00000.mp4", "00000.safetensors"):  # a disk that lost some of what was written
        whole = (parts / name).read_bytes()
        for data in (whole[: len(whole) * 9 // 10], whole[:-40] + bytes(255 - byte for byte in whole[-40:])):
            (parts / name).write_bytes(data)
            with pytest.raises(OptionError, match=f"{name} is damaged"):
                paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)
        (parts / name).write_bytes(whole)
    about = (parts / "job.json").read_bytes()
    (parts / "job.json").unlink()
    with pytest.raises(OptionError, match="parts of another painting"):  # nobody knows of which
        paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)
    (parts / "job.json").write_bytes(about)
    note = json.loads((parts / "00000.json").read_text())
    for change in ({"start": "1"}, {"start": "9" * 40}, {"following": None}, {"frames": 11}):
        (parts / "00000.json").write_text(json.dumps(note | change))
        with pytest.raises(OptionError, match=r"00000\.mp4 is damaged"):
            paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)
    altered = [note | change for change in (
        {"start": "1e9"}, {"start": 1}, {"following": "1/0"}, {"following": [1]}, {"frames": "1"}, {"frames": 2**70},
        {"frames": None}, {"extra": 1},
    )]  # fmt: skip
    for text in ("[" * 100_000, "[]", "null", *map(json.dumps, altered)):
        (parts / "00000.json").write_text(text)
        with pytest.raises(OptionError, match=r"00000\.json is damaged"):
            paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)
    (parts / "00000.mp4").unlink()
    paint_in_segments(job, film, target, seconds=TWO_FIFTHS, quiet=True)  # painted again
    assert target.exists() and not parts.exists()


def test_what_cannot_be_painted_in_segments(film, job, tmp_path):
    with pytest.raises(OptionError, match="is written at once"):
        paint_in_segments(job, film, tmp_path / "out.gif", quiet=True)
    parts = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path, size in zip(parts, (32, 48), strict=True):
        with VideoWriter(path, width=size, height=size, rate=Fraction(10)) as writer:
            writer.write(smooth_picture(size, size))
    with (
        VideoReader(film.path) as reader,
        pytest.raises(InputError, match="written otherwise than the first"),
        JoinedVideo(tmp_path / "joined.mp4", parts, film.location, reader.info) as joined,
    ):
        for number, part in enumerate(parts):
            joined.append(part, Fraction(number))
    assert not (tmp_path / "joined.mp4").exists()
