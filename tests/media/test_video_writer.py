"""The writer, read back by plain PyAV."""

import shutil
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from muybridge.errors import InputError, MuybridgeError, OptionError, OutputError
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from tests.media.numbered_clips import number_in, picture_of, write_clip

RATE = Fraction(25)
NTSC = Fraction(30000, 1001)


def shown(path: Path) -> list[tuple[Fraction, int]]:
    """Times and numbers of all frames, through PyAV alone."""
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, number_in(f.to_ndarray(format="rgb24"))) for f in container.decode(video=0)]


def sound_of(path: Path) -> list[list[bytes]]:
    """The packets of every sound track."""
    with av.open(str(path)) as container:
        tracks: dict[int, list[bytes]] = {stream.index: [] for stream in container.streams.audio}
        for packet in container.demux(*container.streams.audio) if tracks else ():
            if packet.size:
                tracks[packet.stream.index].append(bytes(packet))
        return list(tracks.values())


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("time_base", [None, Fraction(1, 30000)])
def test_timestamps_are_kept_exactly(tmp_path: Path, suffix: str, time_base: Fraction | None) -> None:
    gaps = [1, 1, 2, 1, 9, 1, 1, 40, 1, 3, 1, 1]
    times = [Fraction(1001, 30000) * int(value) for value in np.cumsum([0, *gaps])]
    path = tmp_path / f"clip{suffix}"
    with VideoWriter(path, width=72, height=48, rate=NTSC, time_base=time_base) as writer:
        for index, seconds in enumerate(times):
            writer.write(picture_of(index), seconds)
    assert shown(path) == [(seconds, index) for index, seconds in enumerate(times)]


def test_frames_without_timestamps_follow_at_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=72, height=48, rate=NTSC) as writer:
        for index in range(30):
            writer.write(picture_of(index))
    assert shown(path) == [(index / NTSC, index) for index in range(30)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert abs(stream.duration * stream.time_base - 30 / NTSC) <= 1 / NTSC
        assert stream.codec_context.colorspace == 1  # BT.709


def test_a_repeated_timestamp_still_shows_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=72, height=48, rate=RATE) as writer:
        for index, tick in enumerate([0, 1, 1, 2]):
            writer.write(picture_of(index), tick / RATE)
    assert [number for _, number in shown(path)] == [0, 1, 2, 3]


@pytest.mark.parametrize(("width", "height"), [(75, 33), (72, 33), (75, 34), (1, 1), (18, 2)])
def test_sizes_are_kept_exactly(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=width, height=height, rate=RATE) as writer:
        for _ in range(3):
            writer.write(np.full((height, width, 3), 200, np.uint8))
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(width, height)] * 3


def smooth_picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(20, 236, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(("width", "height"), [(160, 120), (161, 121)], ids=["yuv420p", "yuv444p"])
def test_colours_come_back_close_and_without_bias(tmp_path: Path, width: int, height: int) -> None:
    image = smooth_picture(height, width)
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=width, height=height, rate=RATE, crf=1) as writer:
        writer.write(image)
    with VideoReader(path) as reader:
        difference = next(iter(reader)).image.astype(float) - image
    assert np.abs(difference).mean() < 1.5
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.2


def test_a_real_photograph_keeps_its_brightness(tmp_path: Path, real_data: Path) -> None:
    photo = sorted((real_data / "photos" / "people").iterdir())[0]
    image = np.asarray(Image.open(photo).convert("RGB").resize((320, 240)))
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=320, height=240, rate=RATE) as writer:
        for _ in range(3):
            writer.write(image)
    with VideoReader(path) as reader:
        for frame in reader:
            assert np.abs((frame.image.astype(float) - image).mean(axis=(0, 1))).max() < 0.3


# --- sound ---


def rewrite(source: Path, target: Path) -> None:
    with (
        VideoReader(source) as reader,
        VideoWriter(target, width=72, height=48, rate=RATE, tracks_from=source) as writer,
    ):
        for frame in reader:
            writer.write(frame.image, frame.pts_seconds)


@pytest.mark.parametrize(
    ("name", "codec", "tones", "out"),
    [
        ("two_tracks.mp4", "libx264", ["aac", "aac"], "out.mp4"),
        ("mp3.avi", "mpeg4", ["libmp3lame"], "out.mp4"),
        ("flac.mkv", "libx264", ["flac"], "out.mp4"),
        ("late_start.ts", "libx264", ["libmp3lame"], "out.mp4"),
        ("pcm.mkv", "libx264", ["pcm_s16le"], "out.mkv"),
        ("pcm.mov", "libx264", ["pcm_s16le"], "out.mov"),
    ],
)
def test_sound_is_copied_byte_for_byte(tmp_path: Path, name: str, codec: str, tones: list[str], out: str) -> None:
    source = write_clip(tmp_path / name, 50, codec=codec, tones=tones)
    rewrite(source, tmp_path / out)
    before, after = sound_of(source), sound_of(tmp_path / out)
    assert len(after) == len(tones)
    assert [b"".join(track) for track in after] == [b"".join(track) for track in before]
    # Time starts with what comes first: in the ts that is the sound, by the delay of its encoder.
    with av.open(str(source)) as container:
        start = min(packet.pts * packet.time_base for packet in container.demux() if packet.pts is not None)
    if name.endswith(".avi"):
        start = shown(source)[0][0]  # avi stores no display times
    start = 0 if name.endswith((".mp4", ".mkv", ".mov")) else start
    assert shown(tmp_path / out) == [(seconds - start, number) for seconds, number in shown(source)]


def test_sound_starts_where_it_did(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 30, tones=["libmp3lame"])
    rewrite(source, tmp_path / "out.mp4")

    def starts(path: Path) -> Fraction:
        with av.open(str(path)) as container:
            picture, sound = container.streams.video[0], container.streams.audio[0]
            return sound.start_time * sound.time_base - picture.start_time * picture.time_base

    assert abs(starts(source) - starts(tmp_path / "out.mp4")) <= Fraction(3, 1000)


@pytest.mark.parametrize("name", ["pcm.mov", "pcm.mkv"])
def test_sound_an_mp4_cannot_hold_is_encoded_anew(tmp_path: Path, name: str) -> None:
    source = write_clip(tmp_path / name, 50, tones=["pcm_s16le"])
    rewrite(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        track = container.streams.audio[0]
        assert track.codec_context.name == "aac"
        assert abs(track.duration * track.time_base - 2) <= Fraction(1024, 44100)
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    spectrum = np.abs(np.fft.rfft(samples[8192:40960]))
    assert abs(np.argmax(spectrum) * 44100 / 32768 - 440) < 3  # the tone is still there


def test_a_real_clip_with_mp3_in_avi(tmp_path: Path, real_data: Path) -> None:
    source = real_data / "misc" / "test.avi"
    with VideoWriter(tmp_path / "out.mp4", width=8, height=8, rate=RATE, tracks_from=source) as writer:
        for _ in range(164):
            writer.write(np.zeros((8, 8, 3), np.uint8))
    assert b"".join(sound_of(tmp_path / "out.mp4")[0]) == b"".join(sound_of(source)[0])


def test_a_silent_source_gives_a_silent_result(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "silent.mp4", 5)
    rewrite(source, tmp_path / "out.mp4")
    assert sound_of(tmp_path / "out.mp4") == []


def test_a_sound_source_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x01" * 1000)
    for source in (tmp_path / "gone.mp4", broken):
        with (
            pytest.raises(InputError, match=source.name),
            VideoWriter(tmp_path / "out.mp4", width=8, height=8, rate=RATE, tracks_from=source),
        ):
            pass
    assert list(tmp_path.iterdir()) == [broken]


@pytest.mark.parametrize("name", ["12:30.mp4", "concat:a|b.mp4", "100% %04d ü.mov", "-i.mp4"])
def test_any_name_is_a_files_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_clip(tmp_path / "source.mp4", 5, tones=["aac"])
    monkeypatch.chdir(tmp_path)
    rewrite(Path("source.mp4"), Path(name))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "source.mp4"])
    rewrite(Path(name), Path("again.mp4"))  # pictures and sound are read from it
    assert shown(Path("again.mp4")) == shown(Path("source.mp4"))
    assert sound_of(Path("again.mp4")) == sound_of(Path("source.mp4"))


# --- whole or not at all ---


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, InputError])
def test_nothing_half_written_stays(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the result of yesterday")

    def work() -> None:
        with VideoWriter(path, width=72, height=48, rate=RATE) as writer:
            for index in range(60):
                writer.write(picture_of(index))
            raise error("stop")

    with pytest.raises(error):
        work()
    assert path.read_bytes() == b"the result of yesterday"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frame_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "o.mp4", width=8, height=8, rate=RATE):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_frames_and_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.mp4"):
        VideoWriter(tmp_path / "out.xyz", width=8, height=8, rate=RATE)
    for width, rate, rule in ((0, RATE, "1 to 16384"), (20_000, RATE, "1 to 16384"), (8, Fraction(0), "above 0")):
        with pytest.raises(OptionError, match=rule):
            VideoWriter(tmp_path / "out.mp4", width=width, height=8, rate=rate)
    for image in (np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8)):
        with pytest.raises(InputError), VideoWriter(tmp_path / "out.mp4", width=8, height=8, rate=RATE) as writer:
            writer.write(image)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "out.mp4", tmp_path / "file" / "deeper" / "out.mp4"):
        with pytest.raises(OutputError, match=r"out\.mp4"), VideoWriter(path, width=8, height=8, rate=RATE):
            pass
    (tmp_path / "taken.mp4").mkdir()
    with (
        pytest.raises(OutputError, match="folder"),
        VideoWriter(tmp_path / "taken.mp4", width=8, height=8, rate=RATE),
    ):
        pass


FULL_DISK = textwrap.dedent("""
    import resource, signal, sys
    from fractions import Fraction
    from pathlib import Path
    import numpy as np
    from muybridge.errors import OutputError
    from muybridge.media.video_writer import VideoWriter

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    rng = np.random.default_rng(0)
    try:
        with VideoWriter(Path(sys.argv[1]), width=64, height=64, rate=Fraction(25), crf=1) as writer:
            for _ in range(int(sys.argv[3])):
                writer.write(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    except OutputError as error:
        print(error)
        sys.exit(7)
""")


# Full while frames are written; full only when the last ones and the index are.
@pytest.mark.parametrize(("limit", "count"), [(30_000, 120), (60, 4), (20_000, 8)])
def test_a_disk_that_fills_up(tmp_path: Path, limit: int, count: int) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "out.mp4"), str(limit), str(count)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 7, result.stderr
    assert "full" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_error_is_one_of_ours(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "clip.mkv", 5, tones=["flac"])
    with (  # no preset of x264
        pytest.raises(MuybridgeError, match="8x8"),
        VideoWriter(tmp_path / "out.mp4", width=8, height=8, rate=RATE, tracks_from=source, preset="none") as writer,
    ):
        writer.write(np.zeros((8, 8, 3), np.uint8))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.gif"])
def test_a_disk_that_goes_away_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "disk" / name
    with (
        pytest.raises(OutputError, match=f"cannot write .*{name}"),
        VideoWriter(path, width=72, height=48, rate=RATE) as writer,
    ):
        for index in range(60):
            writer.write(picture_of(index))
        shutil.rmtree(path.parent)
    assert list(tmp_path.iterdir()) == []
