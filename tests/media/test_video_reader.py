"""The reader against clips whose frames show their own number and whose timestamps the test chose."""

import gc
import itertools
import struct
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from muybridge.errors import (
    BrokenMedia,
    InputError,
    MissingInput,
    MuybridgeError,
    NoVideoStream,
    OptionError,
)
from muybridge.media.frame_folder import FrameFolder
from muybridge.media.pipeline import prefetch
from muybridge.media.video_reader import VideoReader
from tests.media.numbered_clips import HEIGHT, WIDTH, number_in, picture_of, write_clip

COUNT = 40
NTSC = Fraction(30000, 1001)

CLIPS = {
    "b_frames.mp4": {},
    "ntsc.mp4": {"rate": NTSC},
    "long_gop.mp4": {"gop": 250},
    "closed_intra.mp4": {"gop": 1, "b_frames": 0},
    "matroska.mkv": {},
    "stream_from_1.4_s.ts": {},
    "mpeg4.avi": {"codec": "mpeg4", "gop": 10},
    "h264_b_frames.avi": {"gop": 10},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "pictures.gif": {"codec": "gif", "pix_fmt": "rgb8", "rate": Fraction(10)},
    "odd.mp4": {"pix_fmt": "yuv444p", "size": (75, 33)},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "bare.h264": {"gop": 250, "b_frames": 0},
}


class CountingReader(VideoReader):
    """Counts the frames that leave the decoder."""

    decoded = 0

    def _decode(self) -> Iterator[VideoFrame]:
        for frame in super()._decode():
            self.decoded += 1
            yield frame


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Fraction]:
    settings = CLIPS[request.param]
    path = write_clip(tmp_path_factory.mktemp("clips") / request.param, COUNT, **settings)
    return path, settings.get("rate", Fraction(25))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 frames at 25 a second, a key frame every 50."""
    return write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", 200, gop=50, faststart=True)


# --- frames and times ---


def test_all_frames_come_in_order_with_exact_times(clip: tuple[Path, Fraction]) -> None:
    path, rate = clip
    with VideoReader(path) as reader:
        frames = list(reader)
        assert reader.timestamps() == [frame.pts_seconds for frame in frames]
        assert not reader.notes
    assert [number_in(frame.image) for frame in frames] == list(range(COUNT))
    assert [frame.index for frame in frames] == list(range(COUNT))
    # Matroska counts milliseconds, everything else here holds the rate exactly.
    assert [frame.pts_seconds for frame in frames] == [index / rate for index in range(COUNT)]
    assert all(isinstance(frame.pts_seconds, Fraction) for frame in frames)


def test_a_second_iteration_gives_the_same(plain: Path) -> None:
    with VideoReader(plain) as reader:
        first = next(iter(reader))
        again = [number_in(frame.image) for frame in reader]
    assert number_in(first.image) == 0
    assert again == list(range(200))


def test_pictures_that_nobody_asks_for_are_not_turned_into_rgb(
    clip: tuple[Path, Fraction], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = clip
    with VideoReader(path) as reader:
        wanted = list(reader)
        converted: list[int] = []
        convert = reader._converter.__call__

        def counted(frame: VideoFrame, width: int, height: int) -> np.ndarray:
            converted.append(1)
            return convert(frame, width, height)

        monkeypatch.setattr(reader, "_converter", counted)
        found = list(reader.convertible())
        assert not converted
        # The reader has gone on to the end by now, and what it decoded is still there.
        for place in (len(found) - 1, 3, 3):
            np.testing.assert_array_equal(found[place].image, wanted[place].image)
    assert len(converted) == 2
    assert [(f.pts_seconds, f.index, f.duration_seconds) for f in found] == [
        (f.pts_seconds, f.index, f.duration_seconds) for f in wanted
    ]
    assert repr(found[3]) == repr(wanted[3])


def test_a_picture_that_cannot_be_turned_into_rgb_says_so_each_time_that_it_is_asked_for(
    clip: tuple[Path, Fraction], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(frame: VideoFrame, width: int, height: int) -> np.ndarray:
        raise ValueError("no such format")

    with VideoReader(clip[0]) as reader:
        monkeypatch.setattr(reader, "_converter", broken)
        frame = next(reader.convertible())
        for _ in range(2):
            with pytest.raises(BrokenMedia, match="cannot be turned into RGB: no such format"):
                _ = frame.image


def test_frames_by_index_in_any_order_and_repeated(clip: tuple[Path, Fraction]) -> None:
    path, rate = clip
    wanted = [COUNT - 1, 0, 11, 12, 13, 12, 25, 1, COUNT - 2, 39]
    with VideoReader(path) as reader:
        frames = reader.frames_at_indices(wanted)
        once_more = reader.frames_at_indices(wanted)
    assert [number_in(frame.image) for frame in frames] == wanted
    assert [number_in(frame.image) for frame in once_more] == wanted
    assert [frame.index for frame in frames] == wanted
    assert [frame.pts_seconds for frame in frames] == [index / rate for index in wanted]


@pytest.mark.parametrize("index", range(COUNT))
def test_each_frame_alone_by_index(index: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "alone.mp4"
    if not path.exists():
        write_clip(path, COUNT, gop=7, b_frames=3)
    with VideoReader(path) as reader:
        assert number_in(reader.frames_at_indices([index])[0].image) == index


def test_frames_by_time_are_the_ones_on_display(clip: tuple[Path, Fraction]) -> None:
    path, rate = clip
    interval = 1 / rate
    asked = [7 * interval, 7 * interval + interval / 3, 8 * interval - interval / 99, 30 * interval, -interval]
    asked += [1000 * interval, Fraction(0)]
    with VideoReader(path) as reader:
        shown = [number_in(frame.image) for frame in reader.frames_at_seconds(asked)]
    assert shown == [7, 7, 7, 30, 0, COUNT - 1, 0]


def test_a_float_finds_the_timestamp_it_was_rounded_from(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "ntsc.mp4", COUNT, rate=NTSC)
    times = [float(index / NTSC) for index in range(COUNT)]
    assert any(Fraction(seconds) < index / NTSC for index, seconds in enumerate(times))  # rounded down
    with VideoReader(path) as reader:
        assert [number_in(frame.image) for frame in reader.frames_at_seconds(times)] == list(range(COUNT))


def test_variable_frame_rate(tmp_path: Path) -> None:
    # A steady end: of a few very short last frames FFmpeg drops some, by its reading of the edit list.
    gaps = [1, 1, 7, 2, 30, 1, 1, 1, 90, 3, 500, 2, 2, 2, 45, 1, 1, 8, 60, 60, 60, 60]
    pts = [int(value) for value in np.cumsum([0, *gaps])]
    base = Fraction(1, 600)
    path = write_clip(tmp_path / "variable.mp4", len(pts), pts=pts, time_base=base, gop=4, b_frames=0)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert [frame.pts_seconds for frame in frames] == [value * base for value in pts]
        between = [(a + b) * base / 2 for a, b in itertools.pairwise(pts)]
        shown = [number_in(frame.image) for frame in reader.frames_at_seconds(between)]
        alone = [number_in(reader.frames_at_seconds([seconds])[0].image) for seconds in between]
        by_index = [number_in(reader.frames_at_indices([index])[0].image) for index in range(len(pts))]
    assert shown == alone == list(range(len(gaps)))
    assert by_index == list(range(len(pts)))


def test_an_index_outside_the_video_is_refused(plain: Path) -> None:
    with VideoReader(plain) as reader:
        for index in (200, -1):
            with pytest.raises(OptionError, match=f"frame {index} .* 0 to 199"):
                reader.frames_at_indices([0, index])


REAL_CLIPS = [
    "misc/av1_video.mkv",
    "misc/h264_10bits.mp4",
    "misc/h265_10bits.mp4",
    "misc/h265_video.mp4",
    "misc/nasa_13013.mp4",
    "misc/part_0.mp4",
    "misc/test.avi",
    "misc/var_fps_video.mp4",
    "people/people-detection.gif",
    "people/schoolgirls.mp4",
]


@pytest.mark.parametrize("name", REAL_CLIPS)
def test_picking_from_a_real_clip_gives_what_iterating_gives(real_data: Path, name: str) -> None:
    with VideoReader(real_data / name, short_side=24) as reader:
        all_frames = list(reader)
        count = len(all_frames)
        times = [frame.pts_seconds for frame in all_frames]
        assert times == sorted(set(times)) == reader.timestamps()
        assert count == reader.info.num_frames
        picked = [count - 1, 0, count // 2, count // 3, 2 * count // 3, 1, count // 2]
        for frame, index in zip(reader.frames_at_indices(picked), picked, strict=True):
            np.testing.assert_array_equal(frame.image, all_frames[index].image)
        late = [times[count * 9 // 10], (times[count // 4] + times[count // 4 + 1]) / 2]
        for frame, index in zip(reader.frames_at_seconds(late), (count * 9 // 10, count // 4), strict=True):
            np.testing.assert_array_equal(frame.image, all_frames[index].image)


# --- only what is needed ---


def test_only_what_is_needed_is_decoded(plain: Path) -> None:
    with CountingReader(plain) as reader:
        reader.decoded = 0
        reader.frames_at_seconds([Fraction(160, 25)])  # ten frames after the key frame 150
        assert reader.decoded <= 12
        reader.decoded = 0
        reader.frames_at_seconds([Fraction(49, 25)])  # the key frame 50 must not draw the reader past it
        assert reader.decoded <= 51
        reader.decoded = 0
        reader.frames_at_seconds([Fraction(n, 25) for n in (5, 10, 20)])  # one group: read on
        assert reader.decoded <= 22
        reader.decoded = 0
        reader.frames_at_indices([3, 55, 103])  # each from its own key frame
        assert reader.decoded <= 5 + 7 + 5


def test_matroska_seeks_too(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 120, gop=30)
    with CountingReader(path) as reader:
        reader.decoded = 0
        assert number_in(reader.frames_at_seconds([Fraction(95, 25)])[0].image) == 95
        assert reader.decoded <= 7


def test_an_iteration_decodes_as_it_goes(plain: Path) -> None:
    with CountingReader(plain) as reader:
        reader.decoded = 0
        frames = iter(reader)
        for _ in range(5):
            next(frames)
        assert reader.decoded == 5


def test_a_running_reader_holds_few_frames(plain: Path) -> None:
    alive: weakref.WeakSet = weakref.WeakSet()

    class Watched(VideoReader):
        def __iter__(self):
            for frame in super().__iter__():
                alive.add(frame)
                yield frame

    most = count = 0
    with Watched(plain) as reader:
        for _ in prefetch(reader, depth=2):
            count += 1
            gc.collect(0)
            most = max(most, len(alive))
    assert count == 200
    # Two in the queue, one waiting to enter it, one in the making, one with the caller and the one it lets go.
    assert 1 <= most <= 6


# --- how pictures come out ---


def quadrants(width: int, height: int) -> np.ndarray:
    """Red, green over blue, white."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 255
    return image


# The matrix (a b; c d) of ISO 14496-12, 8.5.2: x' = a x + c y, y' = b x + d y with y downwards.
@pytest.mark.parametrize(
    ("matrix", "turns_left", "mirrored"),
    [
        ((0, 1, -1, 0), -1, False),
        ((-1, 0, 0, -1), 2, False),
        ((0, -1, 1, 0), 1, False),
        ((-1, 0, 0, 1), 0, True),
        ((0, 1, 1, 0), 1, True),
    ],
    ids=["quarter right", "half", "quarter left", "front camera", "front camera on its side"],
)
def test_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, ...], turns_left: int, mirrored: bool) -> None:
    path = tmp_path / "turned.mp4"
    image = quadrants(64, 32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv444p"
        container.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    content = bytearray(path.read_bytes())
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    place = content.index(identity, content.index(b"tkhd"))
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)

    upright = np.rot90(image[:, ::-1] if mirrored else image, turns_left)
    with VideoReader(path) as reader:
        info, frame = reader.info, next(iter(reader))
        assert info.is_mirrored == mirrored
        assert not reader.notes
        assert (info.height, info.width) == upright.shape[:2] == frame.image.shape[:2]
        assert info.rotation_degrees % 360 == turns_left * 90 % 360
        assert np.abs(frame.image.astype(int) - upright).mean() < 12
    with VideoReader(path, short_side=16) as reader:
        small = next(iter(reader)).image
        assert small.shape == (upright.shape[0] // 2, upright.shape[1] // 2, 3)
        assert np.abs(small.astype(int) - upright[::2, ::2]).mean() < 20


# (kr, kb) of ITU-T H.273, table 4.
@pytest.mark.parametrize(("stated", "kr", "kb"), [(1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_colours_follow_the_stated_matrix(
    tmp_path: Path, stated: int, kr: float, kb: float, full_range: bool, pix_fmt: str
) -> None:
    path = tmp_path / "colours.mp4"
    deep = pix_fmt.endswith("10le")
    levels = [(120, 90, 170), (60, 140, 120), (180, 128, 128), (100, 150, 100)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 16, pix_fmt
        stream.codec_context.colorspace = stated
        stream.codec_context.color_range = 2 if full_range else 1
        for level in levels:
            frame = VideoFrame(32, 16, pix_fmt)
            for plane, value in zip(frame.planes, level, strict=True):
                filling = np.full(plane.buffer_size, value, np.uint8)
                plane.update(
                    np.full(plane.buffer_size // 2, value * 4, "<u2").tobytes() if deep else filling.tobytes()
                )
            frame.color_range, frame.colorspace = (2 if full_range else 1), stated
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoReader(path) as reader:
        for frame, (y, u, v) in zip(reader, levels, strict=True):
            luma = y / 255 if full_range else (y - 16) / 219
            chroma = 255 if full_range else 224
            red = luma + 2 * (1 - kr) * (v - 128) / chroma
            blue = luma + 2 * (1 - kb) * (u - 128) / chroma
            green = (luma - kr * red - kb * blue) / (1 - kr - kb)
            expected = np.clip(np.array([red, green, blue]) * 255, 0, 255)
            assert np.abs(frame.image.reshape(-1, 3).mean(0) - expected).max() < 1.5


def test_scaling_keeps_the_aspect_and_states_the_files_own_size(plain: Path) -> None:
    with VideoReader(plain, short_side=24) as reader:
        assert next(iter(reader)).image.shape == (24, 36, 3)
        assert (reader.info.width, reader.info.height) == (WIDTH, HEIGHT)
    with VideoReader(plain, size=(30, 50)) as reader:
        assert next(iter(reader)).image.shape == (50, 30, 3)
    with pytest.raises(OptionError, match="choose one"):
        VideoReader(plain, size=(30, 50), short_side=10)
    with pytest.raises(OptionError, match="short_side=0"):
        VideoReader(plain, short_side=0)
    with pytest.raises(OptionError, match="size"):
        VideoReader(plain, size=(0, 10))


def test_a_tilted_picture_is_left_level_and_said_to_be(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "tilted.mp4", 3)
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
    cos, sin = round(65536 * np.cos(np.radians(4))), round(65536 * np.sin(np.radians(4)))
    content[place : place + 36] = struct.pack(">9i", cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    with VideoReader(path) as reader:
        assert [number_in(frame.image) for frame in reader] == [0, 1, 2]
        assert len(reader.notes) == 1
        assert "tilted.mp4 is to be tilted by 4 degrees" in reader.notes[0]


def test_anamorphic_films_are_shown_as_wide_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv444p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        container.mux(stream.encode(VideoFrame.from_ndarray(quadrants(64, 32), format="rgb24")))
        container.mux(stream.encode())
    with VideoReader(path) as reader:
        (frame,) = list(reader)
        assert (reader.info.width, reader.info.height) == (96, 32)
    assert frame.image.shape == (32, 96, 3)
    assert np.abs(frame.image.astype(int) - quadrants(96, 32)).mean() < 6
    with VideoReader(path, short_side=16) as reader:
        assert next(iter(reader)).image.shape == (16, 48, 3)


def test_the_default_picture_track_is_shown_not_the_first(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("ffv1", rate=25) for _ in range(2)]
        for track, size in zip(tracks, ((64, 32), (48, 40)), strict=True):
            track.width, track.height, track.pix_fmt = *size, "yuv420p"
        tracks[0].disposition, tracks[1].disposition = av.stream.Disposition(0), av.stream.Disposition.default
        for track, level in zip(tracks, (50, 200), strict=True):
            pixels = np.full((track.height, track.width, 3), level, np.uint8)
            container.mux(track.encode(VideoFrame.from_ndarray(pixels, format="rgb24")))
        for track in tracks:
            container.mux(track.encode())
    with VideoReader(path) as reader:
        (frame,) = list(reader)
    assert frame.image.shape == (40, 48, 3)
    assert frame.image.mean() == pytest.approx(200, abs=2)


def test_a_second_size_is_scaled_to_the_first_and_noted(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "first.h264", 10, b_frames=0)
    second = write_clip(tmp_path / "second.h264", 10, b_frames=0, size=(108, 72))
    path = tmp_path / "both.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    with VideoReader(path) as reader:
        frames = list(reader)
        assert len(reader.notes) == 1
        assert "both.h264 changes its size on the way, from 72x48 to 108x72" in reader.notes[0]
    assert [number_in(frame.image) for frame in frames] == [*range(10), *range(10)]
    assert {frame.image.shape for frame in frames} == {(48, 72, 3)}


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts"])
def test_a_picture_that_starts_after_its_sound_ends_when_it_ends(tmp_path: Path, suffix: str) -> None:
    stamps = list(range(15, 40))
    path = write_clip(
        tmp_path / f"late.{suffix}", 25, pts=stamps, time_base=Fraction(1, 25), b_frames=0, tones=["aac"]
    )
    with VideoReader(path) as reader:
        frames = list(reader)
        info = reader.info
        assert not reader.notes
    # 1,024 samples of the encoder's start lie before the sound.
    assert [float(frame.pts_seconds) for frame in frames] == pytest.approx(
        [(15 + n) / 25 for n in range(25)], abs=0.025
    )
    assert float(info.duration_seconds or 0) == pytest.approx(40 / 25, abs=0.025)
    assert info.num_frames == 25


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "h264"), ("libx265", "h265")])
@pytest.mark.parametrize("rate", [Fraction(50), NTSC, Fraction(12)])
def test_a_bare_stream_runs_at_the_rate_that_its_pictures_state(
    tmp_path: Path, codec: str, suffix: str, rate: Fraction
) -> None:
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    path = write_clip(tmp_path / f"bare.{suffix}", 12, codec=codec, rate=rate, b_frames=0, options=options)
    with VideoReader(path) as reader:
        frames = list(reader)
        assert [frame.pts_seconds for frame in frames] == [n / rate for n in range(12)] == reader.timestamps()
        assert reader.info.average_rate == rate
    assert [number_in(frame.image) for frame in frames] == list(range(12))


def test_how_long_the_last_picture_stays_is_told(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture_of(n)) for n in range(3)]
    pictures[0].save(tmp_path / "title.gif", save_all=True, append_images=pictures[1:], duration=[100, 200, 3000])
    with VideoReader(tmp_path / "title.gif") as reader:
        frames = list(reader)
        assert reader.info.duration_seconds == Fraction(33, 10)
        assert not reader.notes
    assert [frame.pts_seconds for frame in frames] == [0, Fraction(1, 10), Fraction(3, 10)]
    assert [frame.duration_seconds for frame in frames] == [Fraction(1, 10), Fraction(1, 5), Fraction(3)]


def test_info_tells_what_the_file_says(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 30, rate=NTSC, tones=["aac"])
    with VideoReader(path) as reader:
        info = reader.info
    assert (info.width, info.height, info.num_frames, info.has_audio) == (WIDTH, HEIGHT, 30, True)
    assert info.average_rate == NTSC
    assert info.duration_seconds == 30 / NTSC


# --- bad input ---


def test_a_clip_cut_short_gives_what_is_there_and_says_what_is_lost(plain: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    content = plain.read_bytes()
    cut.write_bytes(content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2])
    with VideoReader(cut) as reader:
        frames = list(reader)
        numbers = [number_in(frame.image) for frame in frames]
        list(reader)
        notes = reader.notes
        usable = reader.timestamps()
        last = reader.frames_at_indices([len(numbers) - 2])[0]
    assert 60 < len(numbers) < 160
    assert [frame.pts_seconds * 25 for frame in frames] == numbers
    # Stored in decoding order: of the last group, the frame shown last may lie before the cut, one before it after.
    assert numbers[:-3] == list(range(len(numbers) - 3))
    assert len(notes) == 1 and f"{len(numbers)} frames, until" in notes[0] and "of 8.0 s" in notes[0]
    assert str(cut) in notes[0]
    assert len(usable) == len(numbers)
    assert number_in(last.image) == numbers[-2]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_noise_in_the_middle_never_ends_in_a_foreign_exception(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 60, gop=10)
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    read = 0
    for _ in range(4):
        content = bytearray(whole)
        for place in rng.integers(len(whole) // 10, len(whole), 12):
            content[place] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            with VideoReader(path) as reader:
                read += sum(1 for _ in reader)
                reader.frames_at_seconds([Fraction(1), Fraction(3, 2)])
        except MuybridgeError:
            continue
    assert read > 20


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"nowhere.mp4"):
        VideoReader(tmp_path / "nowhere.mp4")


def test_a_folder_is_not_a_video(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        VideoReader(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"this is a shopping list\n" * 40, b"\x00" * 5000, bytes(range(256)) * 20, b"\x00\x00\x00\x18ftypisom"],
    ids=["zero bytes", "text", "zeros", "noise", "only the head of an mp4"],
)
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(BrokenMedia, match=r"clip.mp4"):
        VideoReader(path)


@pytest.mark.parametrize(
    ("suffix", "old", "new"), [("mp4", b"avc1", b"zzzz"), ("mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XYZ")]
)
def test_a_format_that_ffmpeg_does_not_know_is_refused(tmp_path: Path, suffix: str, old: bytes, new: bytes) -> None:
    path = write_clip(tmp_path / f"clip.{suffix}", 5)
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(BrokenMedia, match=r"clip\..* that FFmpeg cannot decode here\. Convert it"):
        VideoReader(path)


def plain_film(path: Path, width: int, height: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "qp": "40"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        container.mux(stream.encode(VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "h264", "avi"])
def test_frames_beyond_the_limit_of_pictures_are_refused_undecoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = plain_film(tmp_path / f"wall.{suffix}", 640, 320)
    monkeypatch.setattr("muybridge.media.container.MOST_PIXELS", 640 * 320)
    with VideoReader(path) as reader:
        assert (reader.info.width, reader.info.height) == (640, 320)
    monkeypatch.setattr("muybridge.media.container.MOST_PIXELS", 640 * 320 - 1)
    with pytest.raises(BrokenMedia, match=r"wall\..* is too large to open safely: its frames of 640x320"):
        VideoReader(path)


def test_frames_that_grow_beyond_the_limit_on_the_way_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = write_clip(tmp_path / "small.h264", 400, b_frames=0)  # more than FFmpeg looks at to learn of the tracks
    large = plain_film(tmp_path / "large.h264", 640, 320)
    path = tmp_path / "both.h264"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    monkeypatch.setattr("muybridge.media.container.MOST_PIXELS", 10_000)
    with VideoReader(path) as reader:
        assert [number_in(frame.image) for frame in reader] == list(range(400))


def test_a_thread_of_pixels_is_not_blown_up(tmp_path: Path) -> None:
    path = plain_film(tmp_path / "thread.mkv", 4096, 2)
    with VideoReader(path) as reader:
        assert next(iter(reader)).image.shape == (2, 4096, 3)
    with pytest.raises(BrokenMedia, match=r"thread.mkv has frames of 4096x2, which at a short side of 224"):
        VideoReader(path, short_side=224)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(NoVideoStream, match=r"song.m4a"):
        VideoReader(path)


def test_a_song_with_a_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(VideoFrame.from_ndarray(quadrants(64, 32), format="rgb24")))
        container.mux(cover.encode())
        for place in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, place * 1152
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.streams.video  # the cover is there, as a video track
    with pytest.raises(NoVideoStream, match=r"song.mp3"):
        VideoReader(path)


def test_iterators_of_a_closed_reader_end(plain: Path) -> None:
    reader = VideoReader(plain)
    frames = iter(reader)
    next(frames)
    reader.close()
    assert list(frames) == []
    reader.close()


# --- folders of frames ---


def numbered_pictures(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"frame_{index}.png" for index in range(count)]
    for index, path in enumerate(paths):
        Image.fromarray(picture_of(index)).save(path)
    return paths


def test_a_folder_of_frames_reads_like_a_video(tmp_path: Path) -> None:
    with FrameFolder(numbered_pictures(tmp_path, 12), rate=NTSC) as folder:
        frames = list(folder)
        assert [number_in(frame.image) for frame in frames] == list(range(12))
        assert [frame.pts_seconds for frame in frames] == [index / NTSC for index in range(12)]
        assert [number_in(frame.image) for frame in folder.frames_at_indices([11, 3, 3])] == [11, 3, 3]
        asked = [Fraction(-1), 5 / NTSC, 6 / NTSC - Fraction(1, 10**6), Fraction(99), float(7 / NTSC)]
        assert [number_in(frame.image) for frame in folder.frames_at_seconds(asked)] == [0, 5, 5, 11, 7]
        assert folder.info.duration_seconds == 12 / NTSC
        with pytest.raises(OptionError, match="frame 12"):
            folder.frames_at_indices([12])
    small = next(iter(FrameFolder(folder.paths, short_side=24)))
    assert small.image.shape == (24, 36, 3)


def test_frames_of_differing_sizes_are_refused(tmp_path: Path) -> None:
    paths = numbered_pictures(tmp_path, 3)
    Image.new("RGB", (9, 7)).save(paths[2])
    frames = iter(FrameFolder(paths))
    next(frames), next(frames)
    with pytest.raises(InputError, match=r"frame_2.png is 9x7, .* one size"):
        next(frames)


def test_no_frames_and_no_rate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInput):
        FrameFolder([])
    with pytest.raises(OptionError, match="rate"):
        FrameFolder(numbered_pictures(tmp_path, 1), rate=Fraction(0))
