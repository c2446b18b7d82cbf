"""One reader for everything FFmpeg reads: files, webcams and streams, with exact timestamps.

A folder or glob of numbered pictures is read by `frame_folder.FrameFolder`, which offers the same. Both decode as
they go and hold one frame at a time.

Time is a `Fraction` of seconds since the start of the file, never a frame number over a rounded rate: a variable
frame rate comes out right, and sound stays in step.
"""

import bisect
import contextlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from muybridge.errors import BrokenMedia, InputError, MissingInput, NoVideoStream, OptionError

UInt8 = NDArray[np.uint8]
_Timed = tuple[Fraction, VideoFrame]

DEFAULT_RATE = Fraction(25)
# swscale's fast paths darken every round trip through yuv420p by more than one level of 255; these do not.
COLOR_CONVERSION = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
_OPEN_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself before it is decoded.

    Attributes:
        width, height: in pixels as displayed, after rotation, before any scaling by the reader.
        average_rate: frames per second; None where the file does not say.
        duration_seconds: None for a live stream.
        num_frames: as the header states or the duration implies; None where neither is known.
        time_base: unit of the file's timestamps in seconds.
        has_audio: whether there is at least one sound track.
        rotation_degrees: counter-clockwise turn that the reader applies.
    """

    width: int
    height: int
    average_rate: Fraction | None
    duration_seconds: Fraction | None
    num_frames: int | None
    time_base: Fraction
    has_audio: bool
    rotation_degrees: int


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        pts_seconds: when it is shown, from the start of the file.
        index: its place in order of display; after a seek, -1 where it is not known.
    """

    image: UInt8
    pts_seconds: Fraction
    index: int

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.index}, {float(self.pts_seconds):.3f} s, {width}x{height})"


class FrameSource(Protocol):
    """What a task needs of a video."""

    @property
    def info(self) -> VideoInfo: ...
    @property
    def notes(self) -> Sequence[str]: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def frames_at_seconds(self, seconds: Sequence[Fraction | float]) -> list[Frame]: ...
    def frames_at_indices(self, indices: Sequence[int]) -> list[Frame]: ...
    def close(self) -> None: ...


class VideoReader:
    """Reads one video through FFmpeg; a context manager and an iterable of frames.

    Args:
        source: a path, a URL that FFmpeg opens, or a capture device such as /dev/video0.
        size: (width, height) to scale to inside FFmpeg; None keeps the video's own.
        short_side: scale so that the short side has this many pixels, aspect kept; not together with `size`.

    Raises:
        MissingInput, BrokenMedia, NoVideoStream: see `muybridge.errors`.
    """

    def __init__(
        self, source: str | Path, *, size: tuple[int, int] | None = None, short_side: int | None = None
    ) -> None:
        check_size(size, short_side)
        self.source = str(source)
        self._notes: list[str] = []
        self._timestamps: list[Fraction] | None = None
        self._closed = False
        self._container, self._stream = _open_video(self.source)
        # Only these find a wanted time in their index; others guess, and lose frames after the guess.
        self._has_index = self._container.format.name.startswith(("mov", "matroska", "avi", "gif"))
        self._start = start_of(self._container)
        try:
            first = self._first_frame()
        except BrokenMedia:
            self._container.close()
            raise
        self._info = _describe(self._container, self._stream, first)
        self._size = size or scaled_size(self._info, short_side)
        self._reformatter = VideoReformatter()
        # What avi calls display times are guesses: there, only the order and the decoding times count.
        self._has_display_times = self._container.format.name != "avi" and first.pts is not None
        self._first_time = self._seconds(first.pts or 0)

    @property
    def info(self) -> VideoInfo:
        """What the file says of itself."""
        return self._info

    @property
    def notes(self) -> Sequence[str]:
        """What was lost or guessed so far, in sentences for the user; complete after an iteration."""
        return tuple(self._notes)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file. Iterators of a closed reader end."""
        self._closed = True
        self._container.close()

    def __iter__(self) -> Generator[Frame, None, None]:
        """All frames from the start, in order of display."""
        self._rewind()
        count = 0
        for seconds, frame in self._timed():
            yield Frame(self._to_rgb(frame), seconds, count)
            count += 1
        stated = self._stream.frames
        if stated and count < stated:
            self._note(
                f"{self.source} is damaged or cut short: {count} of {stated} frames could be read and are used"
            )

    def timestamps(self) -> list[Fraction]:
        """Display times of all frames in seconds, from the packets where these tell, else by decoding."""
        if self._timestamps is None:
            self._rewind()
            stamps = [
                packet.pts if self._has_display_times else packet.dts
                for packet in self._packets()
                if packet.size and not packet.is_discard
            ]
            self._rewind()
            if all(stamp is not None for stamp in stamps):
                self._timestamps = sorted(self._seconds(stamp) for stamp in stamps if stamp is not None)
            else:  # as in a bare H.264 stream
                interval = 1 / (self._stream.average_rate or DEFAULT_RATE)
                self._timestamps = [index * interval for index, _ in enumerate(self._decode())]
                self._rewind()
        return self._timestamps

    def frames_at_indices(self, indices: Sequence[int]) -> list[Frame]:
        """Frames by their place in order of display, in the order asked for; only what is needed is decoded.

        Raises:
            OptionError: an index outside the video.
        """
        times = self.timestamps()
        beyond = [i for i in indices if not 0 <= i < len(times)]
        if beyond:
            raise OptionError(f"frame {beyond[0]} was asked of {self.source}, which has frames 0 to {len(times) - 1}")
        frames = self.frames_at_seconds([times[i] for i in indices])
        return [replace(frame, index=i) for frame, i in zip(frames, indices, strict=True)]

    def frames_at_seconds(self, seconds: Sequence[Fraction | float]) -> list[Frame]:
        """The frames on display at the given times, in the order asked for; only what is needed is decoded.

        A time before the first frame gives the first, a time after the last gives the last. Between wanted frames
        the reader reads on, unless the file's index tells of a later key frame before the next one: only then does
        seeking save decoding (see benchmarks/read_video.py).
        """
        found: dict[Fraction, Frame] = {}
        exact = [exact_seconds(s) for s in seconds]
        key_frames = self._key_frame_times()
        decoding: Generator[_Timed, None, None] | None = None
        current: _Timed | None = None
        ahead: _Timed | None = None
        for target in sorted(set(exact)):
            place = bisect.bisect_right(key_frames, target) - 1
            key_frame_between = ahead is not None and place >= 0 and key_frames[place] > ahead[0]
            if decoding is None or key_frame_between:
                current = None
                decoding, ahead = self._start_before(target, key_frames)
            while ahead is not None and (current is None or ahead[0] <= target):
                current, ahead = ahead, next(decoding, None)
            if current is None:
                raise BrokenMedia(f"{self.source} holds no frame that can be decoded")
            found[target] = Frame(self._to_rgb(current[1]), current[0], -1)
        return [found[target] for target in exact]

    # --- between FFmpeg and the above ---

    def _first_frame(self) -> VideoFrame:
        first = next(self._decode(), None)
        if first is None:
            raise BrokenMedia(f"{self.source} holds no frame that can be decoded. Is it a video?")
        self._rewind()
        return first

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Frames from where the file stands; packets that cannot be decoded are skipped."""
        for packet in self._packets():
            with contextlib.suppress(av.error.InvalidDataError):
                yield from packet.decode()  # pyright: ignore[reportReturnType] - a video stream yields VideoFrames
        if not self._closed:  # frames still in the decoder when the file ended in an error
            with contextlib.suppress(av.error.FFmpegError):
                yield from self._stream.decode(None)

    def _packets(self) -> "Iterator[av.Packet[VideoStream]]":
        packets = iter(()) if self._closed else self._container.demux(self._stream)
        while not self._closed:  # FFmpeg does not survive being asked of a closed file
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                # The rest of the file cannot be read; what was read so far counts.
                self._note(f"{self.source} ends in an error ({error.strerror})")
                return
            except IndexError:  # PyAV meets a track that the file did not announce
                self._note(f"{self.source} cannot be read to its end: it changes its tracks on the way")
                return
            # What is left of a packet at the cut of a file would take whole frames down with it.
            if not (packet.is_corrupt and self._has_index):
                yield packet

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)

    def _rewind(self) -> None:
        """Back to the start; a live source stays where it is, its first frame told the size and is given up."""
        if self._has_index:
            self._seek(Fraction(0))
        elif not self._closed and Path(self.source).is_file():
            self._container.close()
            self._container, self._stream = _open_video(self.source)

    def _seek(self, seconds: Fraction) -> None:
        if self._closed:
            return
        base = self._stream.time_base or Fraction(1, av.time_base)
        offset = int((seconds + self._start) / base)
        with contextlib.suppress(av.error.FFmpegError):  # a source that cannot seek is read on from where it is
            self._container.seek(offset, stream=self._stream, backward=True)

    def _seconds(self, pts: int) -> Fraction:
        return pts * (self._stream.time_base or Fraction(1, av.time_base)) - self._start

    def _timed(self) -> Generator[_Timed, None, None]:
        """Frames from where the file stands, with their display times; from the start where only order is known."""
        listed = None if self._has_display_times else self.timestamps()
        interval = 1 / (self._stream.average_rate or DEFAULT_RATE)
        seconds = -interval
        for index, frame in enumerate(self._decode()):
            if listed is not None and index < len(listed):
                seconds = listed[index]
            else:
                seconds = seconds + interval if listed is not None or frame.pts is None else self._seconds(frame.pts)
            yield seconds, frame

    def _key_frame_times(self) -> list[Fraction]:
        """When key frames are shown, as far as the file's index tells."""
        if not (self._has_index and self._has_display_times):
            return []
        self._seek(Fraction(0))  # the index of mkv is only read when needed
        entries = self._stream.index_entries
        indexed = sorted(self._seconds(entry.timestamp) for entry in entries if entry.is_keyframe)
        # An mp4's index counts in decoding time, which lies before display by as much as frames are reordered.
        delay = max(Fraction(0), self._first_time - indexed[0]) if indexed else Fraction(0)
        return [seconds + delay for seconds in indexed]

    def _start_before(
        self, target: Fraction, key_frames: list[Fraction]
    ) -> tuple[Generator[_Timed, None, None], _Timed | None]:
        """Decoding from the last key frame shown at or before `target`, with its first frame."""
        place = bisect.bisect_right(key_frames, target)
        while True:
            # One key frame further back when the index pointed past the target, as it can at a variable rate.
            place -= 1
            if place >= 0:
                self._seek(key_frames[place])
            else:
                self._rewind()
            decoding = self._timed()
            first = next(decoding, None)
            if first is None or first[0] <= target or place < 0:
                return decoding, first

    def _to_rgb(self, frame: VideoFrame) -> UInt8:
        turned = frame.rotation // 90 % 2 == 1
        width, height = self._size
        image = self._reformatter.reformat(
            frame,
            width=height if turned else width,
            height=width if turned else height,
            format="rgb24",
            src_colorspace=_source_colorspace(frame),
            interpolation=COLOR_CONVERSION,
        ).to_ndarray()
        image = cast(UInt8, image)
        return np.ascontiguousarray(np.rot90(image, frame.rotation // 90)) if frame.rotation else image


def ffmpeg_address(source: str | Path) -> str:
    """How FFmpeg is told of a file or a stream; it takes what stands before a colon in a bare name for a protocol."""
    return str(source) if "://" in str(source) else str(Path(source).absolute())


def _open(source: str) -> InputContainer:
    live = source.startswith("/dev/video")
    if "://" not in source and not live:
        path = Path(source)
        if not path.exists():
            raise MissingInput(f"there is no video {source}")
        if path.is_dir():
            raise InputError(f"{source} is a folder. Give the files in it, or read its pictures as frames")
        if path.stat().st_size == 0:
            raise BrokenMedia(f"{source} is empty (0 bytes). Copy it again")
    try:
        container = av.open(
            ffmpeg_address(source),
            format="v4l2" if live else None,
            timeout=_OPEN_TIMEOUT_SECONDS,
            metadata_errors="replace",
        )
    except av.error.FFmpegError as error:
        raise BrokenMedia(f"{source} cannot be opened as a video: {error.strerror}") from error
    if container.format.name == "tty":  # FFmpeg would play any text as a terminal recording
        container.close()
        raise BrokenMedia(f"{source} is a text file, not a video")
    return container


def _open_video(source: str) -> tuple[InputContainer, VideoStream]:
    container = _open(source)
    # A cover picture in a sound file is stored as a video track.
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not pictures:
        container.close()
        raise NoVideoStream(f"{source} holds no pictures, only sound or data. Give a video file")
    pictures[0].thread_type = "AUTO"
    return container, pictures[0]


def _describe(container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    turned = first.rotation // 90 % 2 == 1
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    duration: Fraction | None = None
    if stream.duration is not None and stream.time_base is not None:
        duration = stream.duration * stream.time_base
    elif container.duration is not None:
        duration = Fraction(container.duration, av.time_base)
    rate = stream.average_rate or stream.guessed_rate
    num_frames = stream.frames or (round(duration * rate) if duration and rate else None)
    return VideoInfo(
        width=width,
        height=height,
        average_rate=rate,
        duration_seconds=duration,
        num_frames=num_frames,
        time_base=stream.time_base or Fraction(1, av.time_base),
        has_audio=bool(container.streams.audio),
        rotation_degrees=first.rotation,
    )


def start_of(container: InputContainer) -> Fraction:
    """Time of the first picture or sound in seconds, which players count as 0; not rounded to microseconds."""
    tracks = [*container.streams.video, *container.streams.audio]
    starts = [s.start_time * s.time_base for s in tracks if s.start_time is not None and s.time_base is not None]
    return min(starts, default=Fraction(0))


def check_size(size: tuple[int, int] | None, short_side: int | None) -> None:
    """Refuse sizes below one pixel, and two wishes at once."""
    if size is not None and short_side is not None:
        raise OptionError("size and short_side were both given: choose one")
    if size is not None and min(size) < 1:
        raise OptionError(f"size={size} must be 1 or more pixels each way")
    if short_side is not None and short_side < 1:
        raise OptionError(f"short_side={short_side} must be 1 or more pixels")


def scaled_size(info: VideoInfo, short_side: int | None) -> tuple[int, int]:
    """(width, height) with the short side as asked, aspect kept."""
    if short_side is None:
        return info.width, info.height
    scale = Fraction(short_side, min(info.width, info.height))
    return max(1, round(info.width * scale)), max(1, round(info.height * scale))


def exact_seconds(seconds: Fraction | float) -> Fraction:
    """Seconds as a fraction; a float as the timestamp that it was rounded from."""
    return Fraction(seconds).limit_denominator(1_000_000) if isinstance(seconds, float) else Fraction(seconds)


def _source_colorspace(frame: VideoFrame) -> Colorspace:
    """The matrix that a player would use: the stated one, else BT.709 from 720 lines up, as is the convention."""
    stated = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
    stated |= {9: Colorspace.BT2020, 10: Colorspace.BT2020}
    default = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return stated.get(int(frame.colorspace), default)
