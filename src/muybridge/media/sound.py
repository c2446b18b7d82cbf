"""The sound and subtitles of a film, handed to the file that its new pictures are written to.

                  ┌── copied, where the file may hold it as it is
track of a film ──┼── sound encoded anew as AAC, gaps filled with silence      all with the film's start as 0
                  ├── written subtitles encoded anew
                  └── left out, and said so
"""

import io
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, cast

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.codec.codec import Properties
from av.container import OutputContainer
from av.stream import Stream
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.stream import SubtitleStream

from muybridge.counts import counted
from muybridge.media.clock import ContinuousClock
from muybridge.media.container import open_container, start_of

# Sound that an mp4 may hold as it is. Anything else is encoded anew, as AAC.
_COPIED_IN_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
_TEXT_CODECS: Mapping[str, str] = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt"}
# What every player of AAC knows, by channels; other layouts go into the next that has room for them.
_AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_ROOMY_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_AAC_BIT_RATE = 192_000
_AAC_FRAME = 1024
# Fills gaps with silence and cuts overlaps, from half an AAC frame on; less is how files round their times.
_STEADY = {"async": "1", "min_hard_comp": "0.012"}
_KEPT_METADATA = ("language", "title")
# What FFmpeg says of a packet that a format cannot take. A full disk is another error.
REFUSED = (av.error.ArgumentError, av.error.InvalidDataError, av.error.PatchWelcomeError)


class _DamagedError(Exception):
    """A packet cannot be decoded."""


class _Track(Protocol):
    """One track on its way from file to file."""

    def converted(self, packet: "av.Packet[Any]") -> "Iterator[av.Packet[Any]]":
        """Packets for the output, of one of the input whose times begin at 0.

        Raises:
            _DamagedError: it cannot be decoded.
        """
        ...

    def rest(self) -> "Iterator[av.Packet[Any]]":
        """What is still in an encoder."""
        ...


class KeptTracks:
    """Sound and subtitle tracks of one file on their way into another.

    Args:
        source: file or address they are read from.
        output: where they are added; before its first packet is written.

    Raises:
        MissingInput, BrokenMedia: the source cannot be opened.
    """

    def __init__(self, source: str | Path, output: OutputContainer) -> None:
        self._source, self._output = str(source), output
        self._input = open_container(self._source)
        self._start, self._clock = start_of(self._input), ContinuousClock(self._input)
        self._notes: list[str] = []
        self._spoilt = 0
        self._tracks: dict[int, _Track] = {}
        for kind, tracks in (("sound", self._input.streams.audio), ("subtitle", self._input.streams.subtitles)):
            for number, track in enumerate(tracks, 1):
                self._add(track, f"{kind} track {number}" if len(tracks) > 1 else f"{kind} track")
        others = {"chapter": len(self._input.chapters()), "attached file": len(self._input.streams.attachments)}
        lost = [counted(count, kind) for kind, count in others.items() if count]
        if lost:
            self._notes.append(f"{self._source}: left out: {' and '.join(lost)}")
        wanted = {self._input.streams[index] for index in self._tracks}
        if wanted and self._clock.is_needed:
            wanted |= set(self._clock.tracks)
        self._packets = self._input.demux(*wanted) if wanted else iter(())
        self._time = Fraction(-1)
        self._latest: dict[int, tuple[int | None, int]] = {}  # stated time, and what follows it from the film's start

    def _add(self, track: AudioStream | SubtitleStream, name: str) -> None:
        made = _kept_sound(track, self._output) if isinstance(track, AudioStream) else _kept_text(track, self._output)
        if isinstance(made, str):
            self._notes.append(f"{self._source}: the {name}{_described(track)} is left out: {made}")
            return
        self._tracks[track.index] = made
        if isinstance(made, _Encoded) and made.change:
            self._notes.append(f"{self._source}: the {name} is {made.change}")

    @property
    def notes(self) -> list[str]:
        """What was lost or changed, in sentences for the user; complete when everything is written."""
        left_out = (
            f"{self._source}: left out: {counted(self._spoilt, 'damaged or misplaced packet')} of sound or subtitles"
        )
        return [*self._notes, *([left_out] if self._spoilt else [])]

    def refuse(self) -> None:
        """Count a packet that the output took first, and refused when its turn came."""
        self._spoilt += 1

    def close(self) -> None:
        """Release the source."""
        self._input.close()

    def write_until(self, seconds: Fraction | None) -> None:
        """Write what lies before a time; None writes all, but for what is still in encoders.

        Raises:
            OSError: the output cannot be written.
        """
        while seconds is None or self._time <= seconds:
            packet = self._next()
            if packet is None:
                break
            if packet.size == 0:  # the marker at the end of each track
                continue
            if packet.stream in self._clock.tracks:
                self._clock.set_right(packet)
            track = self._tracks.get(packet.stream_index)
            if track is None:  # a picture, read for the clock alone
                continue
            self._set_times(packet)
            try:
                self._write(track.converted(packet))
            except _DamagedError:
                self._spoilt += 1

    def finish(self) -> None:
        """Write what is still in encoders; once, at the end.

        Raises:
            OSError: the output cannot be written.
        """
        for track in self._tracks.values():
            self._write(track.rest())

    def _write(self, packets: "Iterator[av.Packet[Any]]") -> None:
        for packet in packets:
            try:
                self._output.mux_one(packet)
            except REFUSED:
                self._spoilt += 1

    def _next(self) -> "av.Packet[Any] | None":
        try:
            return next(self._packets, None)
        except (av.error.FFmpegError, IndexError) as error:  # PyAV's for a track that the file did not announce
            reason = "it changes its tracks" if isinstance(error, IndexError) else error.strerror
            self._notes.append(f"{self._source}: the sound ends early ({reason})")
            return None

    def _set_times(self, packet: "av.Packet[Any]") -> None:
        """Count a packet's times from the film's start. Sound without a time of its own follows what came before."""
        place = packet.stream_index
        stated = packet.dts if packet.dts is not None else packet.pts
        before, follows = self._latest.get(place, (None, 0))
        if stated is None or (stated == before and packet.stream.type == "audio"):
            packet.dts = packet.pts = follows
        else:
            shift = round(self._start / packet.time_base)
            packet.pts = (packet.pts if packet.pts is not None else stated) - shift
            packet.dts = stated - shift
        self._latest[place] = (stated, packet.dts + (packet.duration or 0))
        self._time = packet.dts * packet.time_base


def _described(track: Stream) -> str:
    codec = cast(Any, track.codec_context)  # none where FFmpeg does not know it
    known = [word for word in (codec.codec.canonical_name if codec else None, track.language) if word]
    return f" ({', '.join(known)})" if known else ""


def _labelled(stream: Stream, track: Stream) -> None:
    """Language, title, and which track plays by default, as they were."""
    stream.metadata.update({key: track.metadata[key] for key in _KEPT_METADATA if key in track.metadata})
    stream.disposition = track.disposition


def _decoded(packet: "av.Packet[Any]") -> list[Any]:
    try:
        return packet.decode()
    except av.error.FFmpegError as error:  # of any kind, since decoders say what they like
        raise _DamagedError from error


class _Copied:
    """A track as it is, but for packets that nobody could decode: formats that look into them would end there."""

    def __init__(self, track: AudioStream | SubtitleStream, output: OutputContainer) -> None:
        self._stream = output.add_stream_from_template(track)
        _labelled(self._stream, track)

    def converted(self, packet: "av.Packet[Any]") -> "Iterator[av.Packet[Any]]":
        _decoded(packet)
        packet.stream = self._stream
        yield packet

    def rest(self) -> "Iterator[av.Packet[Any]]":
        return iter(())


def _may_be_copied(track: AudioStream | SubtitleStream, output: OutputContainer) -> bool:
    """Whether the output's format takes a track as it is, found by writing the head of such a file."""
    name = track.codec_context.codec.canonical_name
    if output.format.name == "mp4" and isinstance(track, AudioStream) and name not in _COPIED_IN_MP4:
        return False
    try:
        with av.open(io.BytesIO(), "w", format=output.format.name) as trial:
            trial.add_stream_from_template(track)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


# --- sound ---


class _Encoded:
    """A sound track as AAC.

    Attributes:
        change: how the sound itself differs, for the user; empty where it does not.
    """

    def __init__(self, track: AudioStream, output: OutputContainer, rate: int, layout: str) -> None:
        self._rate, self._layout = rate, layout
        self._stream = output.add_stream("aac", rate=rate, bit_rate=_AAC_BIT_RATE)
        self._stream.layout = layout
        _labelled(self._stream, track)
        self._form: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None
        told = track.rate or rate
        parts = [f"{rate} Hz instead of {told}"] if rate != told else []
        channels, now = track.layout.nb_channels, AudioLayout(layout).nb_channels
        parts += [f"{counted(now, 'channel')} instead of {channels}"] if channels and now != channels else []
        self.change = f"encoded anew with {' and '.join(parts)}, which AAC takes" if parts else ""

    def converted(self, packet: "av.Packet[Any]") -> "Iterator[av.Packet[Any]]":
        for frame in _decoded(packet):
            yield from self._packets(cast(AudioFrame, frame))

    def _packets(self, frame: AudioFrame) -> "Iterator[av.Packet[Any]]":
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._form:  # at the start, and where broadcasts go from stereo to more
            yield from self._drained()
            self._form, self._resampler = form, _resampler(self._rate, self._layout)
        assert self._resampler is not None
        for resampled in self._resampler.resample(frame):
            yield from self._stream.encode(resampled)

    def _drained(self) -> "Iterator[av.Packet[Any]]":
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                yield from self._stream.encode(resampled)

    def rest(self) -> "Iterator[av.Packet[Any]]":
        yield from self._drained()
        yield from self._stream.encode(None)


def _resampler(rate: int, layout: str) -> AudioResampler:
    return AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=_AAC_FRAME, options=_STEADY)


def _kept_sound(track: AudioStream, output: OutputContainer) -> "_Track | str":
    """How a sound track is kept, or why it cannot be."""
    if cast(Any, track.codec_context) is None:
        return "FFmpeg does not know its codec"
    if _may_be_copied(track, output):
        return _Copied(track, output)
    told, rates = track.rate or 48_000, av.Codec("aac", "w").audio_rates or []
    rate = min(rates, key=lambda rate: abs(rate - told))
    layout = next((name for name in _layouts_for(track) if _mixes(track, rate, name)), None)
    if layout is None:
        return f"its {track.layout.nb_channels} channels fit into no layout of AAC"
    return _Encoded(track, output, rate, layout)


def _layouts_for(track: AudioStream) -> list[str]:
    """Layouts of AAC from the likest to one that everything can be mixed to."""
    channels = track.layout.nb_channels
    same = [track.layout.name] if track.layout.name in _AAC_LAYOUTS.values() else []
    roomy = [name for count, name in _ROOMY_LAYOUTS.items() if count >= channels] or ["7.1"]
    return [*same, *roomy, "stereo", "mono"]


def _mixes(track: AudioStream, rate: int, layout: str) -> bool:
    """Whether FFmpeg turns sound as the track's into that of a layout, tried on a frame that says nothing."""
    empty = AudioFrame(format=track.format.name, layout=track.layout.name, samples=_AAC_FRAME)
    empty.sample_rate = track.rate or rate
    empty.pts, empty.time_base = 0, Fraction(1, empty.sample_rate)
    try:
        _resampler(rate, layout).resample(empty)
    except av.error.FFmpegError:
        return False
    return True


# --- subtitles ---


class _Text:
    """A track of written subtitles in the form that the output knows."""

    def __init__(self, track: SubtitleStream, output: OutputContainer) -> None:
        self._decoder = track.codec_context
        self._decoder.open()
        self._stream = output.add_stream(_TEXT_CODECS[output.format.name])
        self._stream.time_base = Fraction(1, 1000)
        self._encoder = cast(SubtitleCodecContext, self._stream.codec_context)
        self._encoder.subtitle_header = self._decoder.subtitle_header
        _labelled(self._stream, track)

    def converted(self, packet: "av.Packet[Any]") -> "Iterator[av.Packet[Any]]":
        try:
            words = self._decoder.decode2(packet)
        except av.error.FFmpegError as error:
            raise _DamagedError from error
        if words is None:
            return
        written = self._encoder.encode_subtitle(words)
        written.pts, written.dts, written.duration = packet.pts, packet.dts, packet.duration
        written.time_base, written.stream = packet.time_base, self._stream
        yield written

    def rest(self) -> "Iterator[av.Packet[Any]]":
        return iter(())


def _kept_text(track: SubtitleStream, output: OutputContainer) -> "_Track | str":
    """How a subtitle track is kept, or why it cannot be."""
    if cast(Any, track.codec_context) is None:
        return "FFmpeg does not know its codec"
    if _may_be_copied(track, output):
        return _Copied(track, output)
    if track.codec_context.codec.properties & Properties.TEXT_SUB.value:
        return _Text(track, output)
    return f"{output.format.name} holds written subtitles alone, these are pictures. Write an .mkv to keep them"
