"""One writer: H.264 mp4 that players open, or a GIF, with the source's timestamps, size, sound and subtitles."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import av
import av.error
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from muybridge.errors import InputError, OptionError, OutputError
from muybridge.media.colour import COLOR_CONVERSION
from muybridge.media.container import ffmpeg_address, open_video
from muybridge.media.gif import GifPictures, gif_loops, gif_options, set_last_delay
from muybridge.media.outputs import atomic_output, output_error
from muybridge.media.sound import REFUSED, KeptTracks
from muybridge.media.video_reader import DEFAULT_RATE, VideoInfo
from muybridge.stages import staged

# What is written, and the longest side in pixels that x264, or a GIF, holds.
_MOST_SIDE = {".mp4": 16_384, ".mov": 16_384, ".mkv": 16_384, ".gif": 65_535}
VIDEO_SUFFIXES_WRITTEN = tuple(_MOST_SIDE)
# Timestamps that come from seconds alone are kept in this unit, as most cameras and editors do.
_FINE_TIME_BASE = Fraction(1, 90_000)


def check_video_suffix(path: Path) -> None:
    """Refuse a name that no video can be written to.

    Raises:
        OptionError: its suffix is not of a video.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES_WRITTEN:
        raise OptionError(f"cannot write a video as {path.name!r}: use one of {', '.join(VIDEO_SUFFIXES_WRITTEN)}")


def check_video_size(path: Path, width: int, height: int) -> None:
    """Refuse a size in pixels that no such video has.

    Raises:
        OptionError: a side is below 1, or longer than the format holds.
    """
    most = _MOST_SIDE.get(path.suffix.lower(), _MOST_SIDE[".mp4"])
    if not 1 <= min(width, height) <= max(width, height) <= most:
        raise OptionError(f"{path.name} cannot hold {width}x{height} pixels: a side has 1 to {most}. Scale it down")


def exact_time_base(source: Fraction) -> Fraction | None:
    """A source's own unit of time where an mp4 can hold it, so that times stay exact; else None, the writer's."""
    return source if source.numerator == 1 and source.denominator <= 1_000_000 else None


class _Pictures(Protocol):
    """Turns frames into packets of a file.

    Attributes:
        time_base: unit of times in seconds.
        least_gap: between two frames, in that unit.
    """

    time_base: Fraction
    least_gap: int

    def encode(self, image: NDArray[np.uint8] | None, pts: int = 0) -> "Sequence[av.Packet[Any]]": ...


class VideoWriter:
    """Writes frames to a video file; a context manager. The file appears when the body succeeds, else nothing does.

    Even sizes are written as yuv420p. H.264 cannot crop a yuv420p picture to an odd size, so odd sizes are written
    as yuv444p, which keeps every pixel and opens in software players, but not in every hardware decoder.

    A GIF is silent, has 256 colours a frame, and shows at most 50 frames a second; more are left out, and said so.

    Args:
        path: .mp4, .mov, .mkv or .gif.
        width, height: of the frames, kept exactly.
        rate: nominal frames per second; also the spacing of frames written without a timestamp.
        time_base: unit of the timestamps; None takes a fine one that holds any common rate exactly.
        tracks_from: file or address whose sound and subtitles are kept; without any, or None, the result is silent.
        loops: how often a GIF is repeated, 0 for ever, None once.
        crf: constant rate factor of x264, 0 (lossless) to 51; 18 looks like the source.
        preset: x264's trade of speed for size.
        reproducible: the same frames give the same bytes; somewhat larger files. x264's macroblock tree is left out
            for it, which at some small sizes (160x120) depends on memory that nobody wrote.

    Raises:
        OptionError: another suffix, or a rate or size that is not positive, or a size that the format cannot hold.
        OutputError: the file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        rate: Fraction,
        time_base: Fraction | None = None,
        tracks_from: str | Path | None = None,
        loops: int | None = 0,
        crf: int = 18,
        preset: str = "veryfast",
        reproducible: bool = False,
    ) -> None:
        self.path = Path(path)
        check_video_suffix(self.path)
        check_video_size(self.path, width, height)
        if rate <= 0:
            raise OptionError(f"a video at {rate} frames/s cannot be written: choose a rate above 0")
        self.width, self.height, self.rate = width, height, Fraction(rate)
        self._end: Fraction | None = None
        self._time_base = time_base or _FINE_TIME_BASE
        self._tracks_from, self._loops = tracks_from, loops
        self._options: dict[str, object] = {"crf": str(crf), "preset": preset}
        if reproducible:
            self._options["x264-params"] = "mbtree=0"
        self._notes: list[str] = []
        self._count = self._left_out = 0
        self._first_pts: int | None = None
        self._last_pts: int | None = None
        self._first_dts: int | None = None
        self._whole = True
        self._tracks: KeptTracks | None = None
        self._stack = ExitStack()

    @property
    def is_gif(self) -> bool:
        """Whether the file is a GIF."""
        return self.path.suffix.lower() == ".gif"

    @property
    def notes(self) -> list[str]:
        """What was lost or changed, in sentences for the user; complete after the body."""
        kept = [*self._notes, *(self._tracks.notes if self._tracks else [])]
        if self._left_out:
            total = self._count + self._left_out
            kept.append(f"{self.path} shows {self._count} of {total} frames: a GIF has at most 50 a second")
        return kept

    def add_note(self, sentence: str) -> None:
        """Add to `notes`."""
        self._notes.append(sentence)

    @staged("writing")
    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._beside = stack.enter_context(atomic_output(self.path))
            options = gif_options(self._loops) if self.is_gif else self._muxing_options()
            self._container = stack.enter_context(_opened_for_writing(self._beside, self.path, options))
            self._pictures = self._add_pictures(self._container)
            if self._tracks_from and not self.is_gif:
                self._tracks = KeptTracks(self._tracks_from, self._container)
                stack.callback(self._tracks.close)
            self._stack = stack.pop_all()
        return self

    def _muxing_options(self) -> dict[str, str]:
        if self.path.suffix.lower() == ".mkv":
            return {}
        # The start of each track is kept in the movie's own unit, by default a rounded millisecond.
        return {"movflags": "+faststart", "movie_timescale": str(self._time_base.denominator)}

    def _add_pictures(self, container: OutputContainer) -> _Pictures:
        if self.is_gif:
            return GifPictures(container, self.width, self.height)
        return _H264Pictures(container, self.width, self.height, self.rate, self._time_base, self._options)

    @staged("writing")
    def write(
        self,
        image: NDArray[np.uint8],
        pts_seconds: Fraction | None = None,
        duration_seconds: Fraction | None = None,
    ) -> None:
        """Append one frame.

        Args:
            image: (height, width, 3) uint8 RGB.
            pts_seconds: when it is shown; later than the frame before. None follows at the nominal rate.
            duration_seconds: for how long, which counts for the last frame; None for the nominal rate's interval.

        Raises:
            InputError: another shape or dtype.
            OutputError: the disk is full.
        """
        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            raise InputError(
                f"a frame must be ({self.height}, {self.width}, 3) uint8, got {image.shape} {image.dtype}"
            )
        seconds = (self._count + self._left_out) / self.rate if pts_seconds is None else pts_seconds
        self._end = None if duration_seconds is None else seconds + duration_seconds
        pts = round(seconds / self._pictures.time_base)
        if self._last_pts is not None and pts < self._last_pts + self._pictures.least_gap:
            if self.is_gif:
                self._left_out += 1
                return
            pts = self._last_pts + 1  # a source that repeats a timestamp still shows every frame
        self._first_pts = pts if self._first_pts is None else self._first_pts
        self._last_pts, self._count = pts, self._count + 1
        self._mux(self._encoded(np.ascontiguousarray(image), pts))

    def cut_short(self) -> None:
        """Let sound and subtitles end with the frames written so far, for a film that the user ends early."""
        self._whole = False

    def _encoded(self, image: NDArray[np.uint8] | None, pts: int = 0) -> "Sequence[av.Packet[Any]]":
        try:
            return self._pictures.encode(image, pts)
        except av.error.FFmpegError as error:
            raise OutputError(
                f"no frames of {self.width}x{self.height} can be written to {self.path}: {error.strerror}. "
                "Scale them down"
            ) from error

    def _mux(self, packets: "Sequence[av.Packet[Any]]") -> None:
        try:
            for packet in packets:
                if packet.dts is not None and packet.time_base:
                    self._first_dts = packet.dts if self._first_dts is None else self._first_dts
                    if self._tracks:
                        self._tracks.write_until(packet.dts * packet.time_base)
                self._mux_one(packet)
        except OSError as error:
            raise output_error(self.path, error) from error

    def _mux_one(self, packet: "av.Packet[Any]") -> None:
        try:
            self._container.mux_one(packet)
        except REFUSED:
            # Pictures from x264 never are: it was sound from before that waited for its turn.
            if self._tracks is None:
                raise
            self._tracks.refuse()

    @staged("writing")
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._count == 0:
                raise InputError(f"no frame was written to {self.path}")
            self._finish()

    def _finish(self) -> None:
        base, last = self._pictures.time_base, self._last_pts or 0
        end = None if self._end is None else round(self._end / base)
        packets = list(self._encoded(None))
        if end is not None and end > last:
            self._lengthen(packets, end)
        self._mux(packets)
        if self._tracks:
            try:
                self._tracks.write_until(None if self._whole else (last * base))
                self._tracks.finish()
            except OSError as error:
                raise output_error(self.path, error) from error
        written = self._beside.stat().st_size
        try:
            self._container.close()
        except OSError as error:
            raise output_error(self.path, error) from error
        except av.error.FFmpegError as error:
            raise OutputError(
                f"{self.path} cannot hold the sound or subtitles as they are ({error.strerror}). Write an .mkv"
            ) from error
        if self.is_gif and end is not None and self._count > 1:
            set_last_delay(self._beside, written, end - last)

    def _lengthen(self, packets: "list[av.Packet[Any]]", end: int) -> None:
        """Let the last frame stay until `end`. Players go by the last packet, which may hold another frame."""
        if not packets:
            return
        last = max(packets, key=lambda packet: packet.pts or 0)
        last.duration = end - (last.pts or 0)
        first_dts = packets[0].dts if self._first_dts is None else self._first_dts
        packets[-1].duration = end - (self._first_pts or 0) - ((packets[-1].dts or 0) - (first_dts or 0))


class JoinedVideo(VideoWriter):
    """A film of parts that were written before, whose pictures are copied and not encoded again.

    Args:
        parts: at least one, in their order, all written by a `VideoWriter` with the same options.
        info, source: of the film whose sound and subtitles are kept, as for `rewriting`.
    """

    def __init__(self, path: Path, parts: Sequence[Path], source: str, info: VideoInfo) -> None:
        with _opened_for_reading(parts[0]) as (_, track):
            width, height = track.codec_context.width, track.codec_context.height
        rate = info.average_rate or DEFAULT_RATE
        base = exact_time_base(info.time_base)
        super().__init__(path, width=width, height=height, rate=rate, time_base=base, tracks_from=source)
        self._parts = parts

    def _add_pictures(self, container: OutputContainer) -> _Pictures:
        with _opened_for_reading(self._parts[0]) as (_, track):
            self._copied = _CopiedPictures(container, track)
        return self._copied

    def append(self, part: Path, start: Fraction) -> None:
        """Copy a part.

        Args:
            start: when its first frame is shown.

        Raises:
            InputError: it is not like the first part.
            OutputError: the disk is full.
        """
        with _opened_for_reading(part) as (container, track):
            for packet in container.demux(track):
                if packet.size:
                    self._count += 1
                    self._mux([self._copied.moved(packet, track, start)])


class _CopiedPictures:
    """Puts packets of one file after those of another."""

    least_gap = 1

    def __init__(self, container: OutputContainer, track: VideoStream) -> None:
        self._stream = container.add_stream_from_template(track)
        self.time_base = self._stream.time_base = track.time_base or _FINE_TIME_BASE
        self._header = track.codec_context.extradata
        self._last: int | None = None

    def moved(self, packet: "av.Packet[Any]", track: VideoStream, start: Fraction) -> "av.Packet[Any]":
        """The packet, shown later by `start`."""
        if track.codec_context.extradata != self._header or track.time_base != self.time_base:
            raise InputError("a part was written otherwise than the first. Remove the parts, and paint again")
        shift = round(start / self.time_base)
        pts, dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
        # Where frames come at a variable rate, a part may begin to be decoded before the one before it ended.
        dts = dts if self._last is None else max(dts, self._last + 1)
        packet.stream, packet.pts, packet.dts, self._last = self._stream, pts, dts, dts
        return packet

    def encode(self, image: NDArray[np.uint8] | None, pts: int = 0) -> "Sequence[av.Packet[Any]]":
        """Nothing: there is no encoder."""
        del image, pts
        return []


@contextmanager
def _opened_for_reading(path: Path) -> Generator[tuple[InputContainer, VideoStream]]:
    container, track = open_video(str(path))
    with container:
        yield container, track


def rewriting(
    target: Path, source: str, info: VideoInfo, *, size: tuple[int, int], silent: bool = False
) -> VideoWriter:
    """A writer of new pictures for a film: its times, sound and subtitles stay, and how often a GIF repeats.

    Args:
        source: file, folder of frames or address that the pictures come from.
        info: of the source.
        size: (width, height) of the new pictures.
        silent: leave sound and subtitles out.
    """
    writer = VideoWriter(
        target,
        width=size[0],
        height=size[1],
        rate=info.average_rate or DEFAULT_RATE,
        time_base=exact_time_base(info.time_base),
        tracks_from=None if silent or info.is_live or Path(source).is_dir() else source,
        loops=gif_loops(source),
    )
    if info.has_audio and not silent and (info.is_live or writer.is_gif):
        why = "a GIF has none" if writer.is_gif else "it is live"
        writer.add_note(f"{source}: its sound is left out, since {why}")
    return writer


class _H264Pictures:
    """Encodes frames with x264, in BT.709, which players assume and screens show."""

    least_gap = 1

    def __init__(
        self,
        container: OutputContainer,
        width: int,
        height: int,
        rate: Fraction,
        time_base: Fraction,
        options: dict[str, object],
    ) -> None:
        self.time_base = time_base
        self._reformatter = VideoReformatter()
        self._stream = stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        stream.options = options
        stream.time_base = time_base
        context = stream.codec_context
        context.time_base = time_base
        context.colorspace = Colorspace.ITU709.value
        context.color_primaries = context.color_trc = 1  # BT.709 again
        context.color_range = ColorRange.MPEG.value

    def encode(self, image: NDArray[np.uint8] | None, pts: int = 0) -> "Sequence[av.Packet[Any]]":
        """Packets that are ready after a frame (height, width, 3) uint8 RGB; None ends."""
        if image is None:
            return self._stream.encode(None)
        frame = self._reformatter.reformat(
            VideoFrame.from_ndarray(image, format="rgb24"),
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=COLOR_CONVERSION,
        )
        frame.pts, frame.time_base = pts, self.time_base
        return self._stream.encode(frame)


@contextmanager
def _opened_for_writing(path: Path, target: Path, options: dict[str, str]) -> Generator[OutputContainer]:
    try:
        container = av.open(ffmpeg_address(path), "w", options=options)
    except OSError as error:
        raise output_error(target, error) from error
    with container:
        yield container
