"""One writer: H.264 mp4 that players open, with the source's timestamps, size and sound."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from muybridge.errors import BrokenMedia, InputError, MissingInput, OptionError, OutputError
from muybridge.media.outputs import atomic_output, output_error
from muybridge.media.video_reader import COLOR_CONVERSION, ffmpeg_address, start_of

VIDEO_SUFFIXES_WRITTEN = (".mp4", ".mov", ".mkv")
# Sound that an mp4 may hold as it is. Anything else is encoded anew, as AAC.
_COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_AUDIO_BIT_RATE = 192_000
# Timestamps that come from seconds alone are kept in this unit, as most cameras and editors do.
_FINE_TIME_BASE = Fraction(1, 90_000)


def exact_time_base(source: Fraction) -> Fraction | None:
    """A source's own unit of time where an mp4 can hold it, so that times stay exact; else None, the writer's."""
    return source if source.numerator == 1 and source.denominator <= 1_000_000 else None


class VideoWriter:
    """Writes frames to a video file; a context manager. The file appears when the body succeeds, else nothing does.

    Even sizes are written as yuv420p. H.264 cannot crop a yuv420p picture to an odd size, so odd sizes are written
    as yuv444p, which keeps every pixel and opens in software players, but not in every hardware decoder.

    Args:
        path: .mp4, .mov or .mkv.
        width, height: of the frames, kept exactly.
        rate: nominal frames per second; also the spacing of frames written without a timestamp.
        time_base: unit of the timestamps; None takes a fine one that holds any common rate exactly.
        audio_from: file whose sound tracks are copied; without any, or None, the result is silent.
        crf: constant rate factor of x264, 0 (lossless) to 51; 18 looks like the source.
        preset: x264's trade of speed for size.
        reproducible: the same frames give the same bytes; somewhat larger files. x264's macroblock tree is left out
            for it, which at some small sizes (160x120) depends on memory that nobody wrote.

    Raises:
        OptionError: another suffix, or a rate or size that is not positive.
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
        audio_from: str | Path | None = None,
        crf: int = 18,
        preset: str = "veryfast",
        reproducible: bool = False,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in VIDEO_SUFFIXES_WRITTEN:
            raise OptionError(
                f"cannot write a video as {self.path.name!r}: use one of {', '.join(VIDEO_SUFFIXES_WRITTEN)}"
            )
        if rate <= 0 or width < 1 or height < 1:
            raise OptionError(
                f"a video of {width}x{height} at {rate} frames/s cannot be written: all must be positive"
            )
        self.width, self.height, self.rate = width, height, Fraction(rate)
        self.time_base = time_base or _FINE_TIME_BASE
        self._audio_from = audio_from
        self._options: dict[str, object] = {"crf": str(crf), "preset": preset}
        if reproducible:
            self._options["x264-params"] = "mbtree=0"
        self._reformatter = VideoReformatter()
        self._count = 0
        self._last_pts: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        with ExitStack() as stack:
            beside = stack.enter_context(atomic_output(self.path))
            self._container = stack.enter_context(_opened_for_writing(beside, self.time_base))
            self._stream = self._add_video_stream(self._container)
            self._sound = _Sound(self._audio_from, self._container) if self._audio_from else None
            if self._sound:
                stack.callback(self._sound.close)
            self._stack = stack.pop_all()
        return self

    def _add_video_stream(self, container: OutputContainer) -> VideoStream:
        stream = container.add_stream("libx264", rate=self.rate)
        stream.width, stream.height = self.width, self.height
        stream.pix_fmt = "yuv420p" if self.width % 2 == 0 and self.height % 2 == 0 else "yuv444p"
        stream.options = self._options
        stream.time_base = self.time_base
        context = stream.codec_context
        context.time_base = self.time_base
        context.colorspace = Colorspace.ITU709.value
        context.color_primaries = context.color_trc = 1  # BT.709, what players assume and screens show
        context.color_range = ColorRange.MPEG.value
        return stream

    def write(self, image: NDArray[np.uint8], pts_seconds: Fraction | None = None) -> None:
        """Append one frame.

        Args:
            image: (height, width, 3) uint8 RGB.
            pts_seconds: when it is shown; later than the frame before. None follows at the nominal rate.

        Raises:
            InputError: another shape or dtype.
            OutputError: the disk is full.
        """
        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            raise InputError(
                f"a frame must be ({self.height}, {self.width}, 3) uint8, got {image.shape} {image.dtype}"
            )
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = self._reformatter.reformat(
            frame,
            format=self._stream.pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=COLOR_CONVERSION,
        )
        seconds = self._count / self.rate if pts_seconds is None else pts_seconds
        pts = round(seconds / self.time_base)
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1  # a source that repeats a timestamp still shows every frame
        frame.pts, frame.time_base = pts, self.time_base
        self._last_pts, self._count = pts, self._count + 1
        self._mux(self._encoded(frame))

    def _encoded(self, frame: VideoFrame | None) -> "Sequence[av.Packet[Any]]":
        try:
            return self._stream.encode(frame)
        except av.error.FFmpegError as error:
            raise OutputError(
                f"H.264 cannot take frames of {self.width}x{self.height} for {self.path}: {error.strerror}. "
                "Scale them down"
            ) from error

    def _mux(self, packets: "Sequence[av.Packet[Any]]") -> None:
        try:
            for packet in packets:
                if packet.dts is not None and packet.time_base:
                    self._mux_sound_until(packet.dts * packet.time_base)
                self._container.mux(packet)
        except OSError as error:
            raise output_error(self.path, error) from error

    def _mux_sound_until(self, seconds: Fraction | None) -> None:
        if self._sound:
            for packet in self._sound.until(seconds):
                self._container.mux(packet)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._count == 0:
                raise InputError(f"no frame was written to {self.path}")
            self._mux(self._encoded(None))
            if self._sound:
                self._mux_sound_until(None)


class _Sound:
    """The sound tracks of one file, handed to the muxer in step with the pictures."""

    def __init__(self, source: str | Path, output: OutputContainer) -> None:
        self._input = _open_sound(source)
        self._start = start_of(self._input)
        self._copied: dict[int, AudioStream] = {}
        self._encoded: dict[int, tuple[AudioStream, AudioResampler]] = {}
        for track in self._input.streams.audio:
            if _fits(track, output):
                self._copied[track.index] = output.add_stream_from_template(track)
            else:
                stream = output.add_stream("aac", rate=track.rate, bit_rate=_AUDIO_BIT_RATE)
                # Some files state the number of channels alone.
                layout = _LAYOUTS.get(track.layout.nb_channels, track.layout.name)
                stream.layout = layout
                resampler = AudioResampler(format="fltp", layout=layout, rate=track.rate, frame_size=1024)
                self._encoded[track.index] = (stream, resampler)
        tracks = self._input.streams.audio
        self._packets = self._input.demux(*tracks) if tracks else iter(())
        self._time = Fraction(-1)

    def close(self) -> None:
        self._input.close()

    def until(self, seconds: Fraction | None) -> "Iterator[av.Packet[Any]]":
        """Packets for the output up to a time; None for all that are left, those still in the encoders included."""
        while seconds is None or self._time <= seconds:
            packet = next(self._packets, None)
            if packet is None:
                break
            if packet.dts is None:  # the marker at the end of each track
                continue
            self._time = packet.dts * packet.time_base - self._start
            yield from self._converted(packet)
        if seconds is None:
            for stream, resampler in self._encoded.values():
                for frame in resampler.resample(None):
                    yield from stream.encode(frame)
                yield from stream.encode(None)

    def _converted(self, packet: "av.Packet[Any]") -> "Iterator[av.Packet[Any]]":
        index = packet.stream.index
        if index in self._copied:
            shift = round(self._start / packet.time_base)
            packet.dts = packet.dts - shift if packet.dts is not None else None
            packet.pts = packet.pts - shift if packet.pts is not None else packet.dts
            packet.stream = self._copied[index]
            yield packet
            return
        stream, resampler = self._encoded[index]
        for decoded in packet.decode():
            for frame in resampler.resample(decoded):  # pyright: ignore[reportArgumentType] - audio packets
                yield from stream.encode(frame)


def _open_sound(source: str | Path) -> InputContainer:
    try:
        return av.open(ffmpeg_address(source), metadata_errors="replace")
    except av.error.FileNotFoundError as error:
        raise MissingInput(f"there is no file {source} to take the sound from") from error
    except av.error.FFmpegError as error:
        raise BrokenMedia(f"the sound of {source} cannot be read: {error.strerror}") from error


def _fits(track: AudioStream, output: OutputContainer) -> bool:
    name = track.codec_context.codec.canonical_name
    if output.format.name == "mp4":
        return name in _COPIED_CODECS
    # FFmpeg knows opus and flac to be legal in mov, but writes them to mp4 alone.
    return name in output.supported_codecs and not (output.format.name == "mov" and name in {"opus", "flac"})


@contextmanager
def _opened_for_writing(path: Path, time_base: Fraction) -> Generator[OutputContainer]:
    options: dict[str, str] = {}
    if path.suffix.lower() != ".mkv":
        # The start of each track is kept in the movie's own unit, by default a rounded millisecond.
        options = {"movflags": "+faststart", "movie_timescale": str(time_base.denominator)}
    container = av.open(ffmpeg_address(path), "w", options=options)
    with container:
        yield container
