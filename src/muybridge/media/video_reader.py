"""One reader for everything FFmpeg reads: files, webcams and streams, with exact timestamps.

A folder or glob of numbered pictures is read by `frame_folder.FrameFolder`, which offers the same. Both decode as
they go and hold one frame at a time.

Time is a `Fraction` of seconds since the start of the file, never a frame number over a rounded rate: a variable
frame rate comes out right, and sound stays in step.
"""

import bisect
import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.errors import BrokenMedia, OptionError
from muybridge.media.clock import ContinuousClock
from muybridge.media.colour import HDR_TRANSFERS, RgbConverter, has_transparency
from muybridge.media.container import MOST_PIXELS, end_of, has_end, open_video, start_of
from muybridge.media.geometry import Orientation, check_size, orientation_of, scaled_size, shown_size
from muybridge.media.interlacing import deinterlaced
from muybridge.media.truncation import is_cut_short
from muybridge.stages import staged

UInt8 = NDArray[np.uint8]
_Timed = tuple[Fraction, VideoFrame]

DEFAULT_RATE = Fraction(25)
# A picture that stays for longer than this is a gap in the recording, and nothing is said of it.
LONGEST_STILL_SECONDS = 60
# A display matrix that differs from a right angle by less is a rounded one.
_LEAST_TILT_DEGREES = 1.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file says of itself before it is decoded.

    Attributes:
        width, height: in square pixels as displayed, after rotation, before any scaling by the reader.
        average_rate: frames per second; None where the file does not say.
        duration_seconds: when the last picture ends, counted as the frames' times are; None for a live stream.
        num_frames: as the header states or the duration implies; None where neither is known.
        time_base: unit of the file's timestamps in seconds.
        has_audio: whether there is at least one sound track.
        rotation_degrees: counter-clockwise turn that the reader applies.
        is_mirrored: whether the reader swaps left and right before it turns.
        is_live: whether it goes on for as long as somebody looks, and cannot be read twice.
    """

    width: int
    height: int
    average_rate: Fraction | None
    duration_seconds: Fraction | None
    num_frames: int | None
    time_base: Fraction
    has_audio: bool
    rotation_degrees: int
    is_mirrored: bool = False
    is_live: bool = False


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded frame.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright.
        pts_seconds: when it is shown, from the start of the file.
        index: its place in order of display; after a seek, -1 where it is not known.
        duration_seconds: for how long, as the file says; None where it does not.
    """

    image: UInt8
    pts_seconds: Fraction
    index: int
    duration_seconds: Fraction | None = None

    def grey(self, short_side: int) -> UInt8:
        """The picture in grey, (h, w) uint8, as `muybridge.media.optical_flow.to_grey` has it."""
        from muybridge.media.optical_flow import to_grey  # OpenCV takes its time to load

        return to_grey(self.image, short_side)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.index}, {float(self.pts_seconds):.3f} s, {width}x{height})"


class _FrameToConvert(Frame):
    """A frame whose picture is turned into RGB when it is first asked for."""

    def __init__(
        self,
        convert: Callable[[], UInt8],
        to_small: Callable[[int], UInt8],
        pts_seconds: Fraction,
        index: int,
        duration_seconds: Fraction | None,
    ) -> None:
        # Not through the parent's: the picture is not there yet, and a frozen dataclass takes nothing otherwise.
        vars(self).update(convert=convert, pts_seconds=pts_seconds, index=index, duration_seconds=duration_seconds)
        vars(self).update(to_small=to_small)

    @cached_property
    def image(self) -> UInt8:  # pyright: ignore[reportIncompatibleVariableOverride]
        image = vars(self)["convert"]()
        vars(self)["convert"] = lambda: image  # the decoded picture is let go; asked twice at once, both get theirs
        return image

    def grey(self, short_side: int) -> UInt8:
        """Of the decoded picture, made RGB at about that size, which is a fraction of the work."""
        from muybridge.media.optical_flow import to_grey

        return to_grey(vars(self)["to_small"](short_side), short_side)

    def converted(self) -> Frame:
        """As others are."""
        return Frame(self.image, self.pts_seconds, self.index, self.duration_seconds)


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

    @staged("reading")
    def __init__(
        self, source: str | Path, *, size: tuple[int, int] | None = None, short_side: int | None = None
    ) -> None:
        check_size(size, short_side)
        self.source = str(source)
        self._notes: list[str] = []
        self._timestamps: list[Fraction] | None = None
        self._closed = False
        self._open()
        # Only these find a wanted time in their index; others guess, and lose frames after the guess.
        self._has_index = self._container.format.name.startswith(("mov", "matroska", "avi", "gif"))
        self._begun: Iterator[VideoFrame] | None = None  # of a live source, from the frame that told the size
        self._start = start_of(self._container)
        self._converter = RgbConverter()
        self._small_converter = RgbConverter(Interpolation.AREA)  # each has the tables of one size
        self._undecodable = 0
        try:
            first = self._first_frame()
            is_live = not has_end(self._container, self.source)
            self._info, self._orientation = _describe(self._container, self._stream, first, is_live=is_live)
            self._size = size or scaled_size(self._info.width, self._info.height, short_side, name=self.source)
        except BrokenMedia:
            self._container.close()
            raise
        is_stamped = first.pts is not None or self._stream.start_time is not None
        # What avi calls display times are guesses: there, only the order and the decoding times count.
        self._times: Literal["display", "decoding", "none"] = (
            "none" if not is_stamped else "decoding" if self._container.format.name == "avi" else "display"
        )
        self._stored_size = first.width, first.height
        self._first_time = self._seconds(first.pts or 0)
        self._note_what_is_lost(first)

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

    @staged("reading")
    def __iter__(self) -> Generator[Frame, None, None]:
        """All frames from the start, in order of display."""
        for frame in self._convertible():
            yield frame.converted()

    @staged("reading")
    def convertible(self) -> Generator[Frame, None, None]:
        """The same, but a picture is turned into RGB only when it is first asked for, which may be in another thread.

        Whoever looks at few of the frames saves much of the time of reading. A picture that cannot be turned into
        RGB raises BrokenMedia when it is asked for.
        """
        yield from self._convertible()

    def _convertible(self) -> "Generator[_FrameToConvert, None, None]":
        self._rewind()
        self._undecodable = 0
        count, before, end = 0, Fraction(0), Fraction(0)
        for seconds, decoded in self._timed():
            if seconds - before > LONGEST_STILL_SECONDS:
                self._note(f"{self.source} holds no pictures from {float(before):.1f} to {float(seconds):.1f} s")
            frame = self._frame(seconds, decoded, count)
            yield frame
            count, before = count + 1, seconds
            end = seconds + (frame.duration_seconds or 1 / self._rate())
        if self._closed:
            return
        if count == 0:
            raise BrokenMedia(f"{self.source} holds no frame that is to be shown")
        self._note_damage(count, end)

    def timestamps(self) -> list[Fraction]:
        """Display times of all frames in seconds, from the packets where these tell, else by decoding."""
        if self._timestamps is None:
            self._rewind()
            stamps = [
                packet.pts if self._times == "display" else packet.dts
                for packet in self._packets()
                if packet.size and not packet.is_discard
            ]
            self._rewind()
            known = [stamp for stamp in stamps if stamp is not None]
            if self._times != "none" and len(known) == len(stamps):
                self._timestamps = sorted(self._seconds(stamp) for stamp in known)
            else:  # as in a bare H.264 stream
                self._timestamps = [seconds for seconds, _ in self._timed(listed=())]
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
            found[target] = self._frame(*current, -1).converted()
        return [found[target] for target in exact]

    def frames_from(self, seconds: Fraction) -> Generator[Frame, None, None]:
        """The frames that are shown from a time on, in order of display; of what lies before, little is decoded."""
        for frame in self.convertible_from(seconds):
            yield frame.converted()

    def convertible_from(self, seconds: Fraction) -> "Generator[_FrameToConvert, None, None]":
        """The same, as `convertible` has them."""
        decoding, first = self._start_before(seconds, self._key_frame_times())
        for shown, decoded in chain([] if first is None else [first], decoding):
            if shown >= seconds:
                yield self._frame(shown, decoded, -1)

    # --- between FFmpeg and the above ---

    def _open(self) -> None:
        self._container, self._stream = open_video(self.source)
        self._clock = ContinuousClock(self._container)

    def _first_frame(self) -> VideoFrame:
        self._can_seek_to_start = self._finds_start_by_seeking()
        decoding = self._decode()
        first = next(decoding, None)
        if first is None:
            raise BrokenMedia(
                f"{self.source} holds no frame that can be decoded. It is damaged, or no video, or its frames have "
                f"more than {MOST_PIXELS / 1e6:.0f} million pixels"
            )
        if self._can_rewind:
            self._rewind()
        else:
            self._begun = chain([first], decoding)
        return first

    def _finds_start_by_seeking(self) -> bool:
        """Matroska's index may leave out what lies before the film's zero, without which the start is not decoded."""
        if not (self._container.format.name.startswith("matroska") and Path(self.source).is_file()):
            return True
        places = list[int | None]()
        for _ in range(2):
            places.append(next((packet.pos for packet in self._packets()), None))
            self._seek(Fraction(0))
        self._container.close()
        self._open()
        return places[0] == places[1]

    def _decode(self) -> Generator[VideoFrame, None, None]:
        """Frames from where the file stands; packets that cannot be decoded are skipped."""
        return deinterlaced(self._decode_woven())

    def _decode_woven(self) -> Generator[VideoFrame, None, None]:
        for packet in self._packets():
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._undecodable += 1
                continue
            if any(frame.interlaced_frame for frame in frames):
                self._note(f"{self.source} is interlaced: its fields are made into whole pictures")
            yield from frames
        if not self._closed:  # frames still in the decoder when the file ended in an error
            with contextlib.suppress(av.error.FFmpegError):
                yield from self._stream.decode(None)

    def _packets(self) -> "Iterator[av.Packet[VideoStream]]":
        # The clock of a transport stream is that of all its tracks.
        tracks = self._clock.tracks if self._clock.is_needed else [self._stream]
        packets = iter(()) if self._closed else self._container.demux(*tracks)
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
            self._clock.set_right(packet)
            # What is left of a packet at the cut of a file would take whole frames down with it.
            if packet.stream_index == self._stream.index and not (packet.is_corrupt and self._has_index):
                yield cast("av.Packet[VideoStream]", packet)

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)

    @property
    def _can_rewind(self) -> bool:
        """Whether the start can be had again; a server's film that has an end can be asked for once more."""
        return self._has_index or has_end(self._container, self.source)

    def _rewind(self) -> None:
        """Back to the start; a live source stays where it is."""
        if self._has_index and self._can_seek_to_start:
            self._seek(Fraction(0))
        elif not self._closed and self._can_rewind:
            self._container.close()
            self._open()

    def _seek(self, seconds: Fraction) -> None:
        if self._closed:
            return
        base = self._stream.time_base or Fraction(1, av.time_base)
        offset = int((seconds + self._start) / base)
        with contextlib.suppress(av.error.FFmpegError):  # a source that cannot seek is read on from where it is
            self._container.seek(offset, stream=self._stream, backward=True)

    def _seconds(self, pts: int) -> Fraction:
        return pts * (self._stream.time_base or Fraction(1, av.time_base)) - self._start

    def _timed(self, listed: Sequence[Fraction] | None = None) -> Generator[_Timed, None, None]:
        """Frames from where the file stands, with their display times; from the start where only order is known.

        Args:
            listed: times by order, where the frames' own do not count; None for those of the packets.
        """
        if listed is None:
            listed = self.timestamps() if self._times == "decoding" else ()
        interval = 1 / self._rate()
        seconds = -interval
        frames, self._begun = self._begun or self._decode(), None
        for index, frame in enumerate(frames):
            if self._times == "display" and frame.pts is not None:
                seconds = self._seconds(frame.pts)
            elif self._times == "display" and seconds < 0:  # it lies before the film's zero, and is not shown
                continue
            else:
                seconds = listed[index] if index < len(listed) else seconds + interval
            yield seconds, frame

    def _rate(self) -> Fraction:
        """Frames a second; of a stream without times, as its pictures' own headers say."""
        return _rate_of(self._stream) or DEFAULT_RATE

    def _key_frame_times(self) -> list[Fraction]:
        """When key frames are shown, as far as the file's index tells."""
        if not (self._has_index and self._times == "display"):
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

    def _frame(self, seconds: Fraction, frame: VideoFrame, index: int) -> _FrameToConvert:
        width, height = self._size
        if self._orientation.is_sideways:
            width, height = height, width
        if (frame.width, frame.height) != self._stored_size:
            first, now = ("x".join(map(str, size)) for size in (self._stored_size, (frame.width, frame.height)))
            self._note(
                f"{self.source} changes its size on the way, from {first} to {now}: all is scaled to the first"
            )
        duration = frame.duration * frame.time_base if frame.duration and frame.time_base else None

        def convert(converter: RgbConverter, width: int, height: int) -> UInt8:
            try:
                image = converter(frame, width, height)
            except (av.error.FFmpegError, ValueError) as error:
                raise BrokenMedia(f"the pictures of {self.source} cannot be turned into RGB: {error}") from error
            return self._orientation.upright(image)

        def to_small(short_side: int) -> UInt8:
            if min(width, height) <= short_side:
                return convert(self._converter, width, height)
            scale = short_side / min(width, height)
            return convert(self._small_converter, *(max(short_side, round(side * scale)) for side in (width, height)))

        whole = partial(convert, self._converter, width, height)
        return _FrameToConvert(whole, to_small, seconds, index, duration)

    def _note_what_is_lost(self, first: VideoFrame) -> None:
        """What of the film a picture of 8-bit RGB cannot hold, or is not shown as it is stored."""
        hdr = HDR_TRANSFERS.get(int(first.color_trc))
        if hdr:
            self._note(f"{self.source} is HDR ({hdr}): its colours are brought down to those of BT.709 screens")
        if self._stream.metadata.get("alpha_mode") == "1" or has_transparency(first):
            self._note(f"{self.source} is transparent in places, which is left out: all is shown as opaque")
        if self._orientation.tilt_degrees >= _LEAST_TILT_DEGREES:
            self._note(
                f"{self.source} is to be tilted by {self._orientation.tilt_degrees:.0f} degrees: it is left level"
            )

    def _note_damage(self, count: int, end: Fraction) -> None:
        stated = self._info.duration_seconds or Fraction(0)
        lacks_seconds = stated - end > max(Fraction(1, 2), stated / 50)
        # What is stated for the whole file alone may be the length of its sound.
        is_short = lacks_seconds and self._stream.duration is not None
        if not is_short and not (Path(self.source).is_file() and is_cut_short(Path(self.source))):
            if self._undecodable:
                self._note(f"{self.source} is damaged: {counted(self._undecodable, 'packet')} could not be decoded")
            return
        of = f" of {float(stated):.1f}" if lacks_seconds else ""
        self._note(
            f"{self.source} is damaged or cut short: {counted(count, 'frame')}, until {float(end):.1f}{of} s, could "
            "be read and used"
        )


def _rate_of(stream: VideoStream) -> Fraction | None:
    """As stated; of a bare stream FFmpeg assumes an average, and its pictures' own headers are better."""
    if stream.start_time is None:
        return stream.codec_context.framerate or stream.guessed_rate or stream.average_rate
    return stream.average_rate or stream.guessed_rate


def _describe(
    container: InputContainer, stream: VideoStream, first: VideoFrame, *, is_live: bool
) -> tuple[VideoInfo, Orientation]:
    matrix = first.side_data.get(Type.DISPLAYMATRIX)  # pyright: ignore[reportCallIssue, reportArgumentType]
    orientation = Orientation() if matrix is None else orientation_of(np.frombuffer(matrix, np.int32).tolist())
    width, height = shown_size(first.width, first.height, stream.sample_aspect_ratio, orientation)
    end, rate = end_of(container, stream), _rate_of(stream)
    base = stream.time_base or Fraction(1, av.time_base)
    length = None if end is None else end + start_of(container) - (stream.start_time or 0) * base
    info = VideoInfo(
        width=width,
        height=height,
        average_rate=rate,
        duration_seconds=end,
        num_frames=stream.frames or (round(length * rate) if length and rate else None),
        time_base=base,
        has_audio=bool(container.streams.audio),
        rotation_degrees=orientation.quarter_turns * 90,
        is_mirrored=orientation.mirrored,
        is_live=is_live,
    )
    return info, orientation


def exact_seconds(seconds: Fraction | float) -> Fraction:
    """Seconds as a fraction; a float as the timestamp that it was rounded from."""
    return Fraction(seconds).limit_denominator(1_000_000) if isinstance(seconds, float) else Fraction(seconds)
