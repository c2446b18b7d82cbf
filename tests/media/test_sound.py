"""Sound and subtitles on their way into the new file: in step with the pictures, past any damage, as they were."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from muybridge.media.sources import expand_sources
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import rewriting
from tests.media.clapper import CLAP, PITCH, SECONDS, claps, loud_times, write_clapper


def rewrite(source: Path | str, target: Path, *, frames: int | None = None) -> list[str]:
    """The same pictures in a new file, as every verb writes them; returns the notes."""
    with VideoReader(source) as reader:
        size = reader.info.width, reader.info.height
        with rewriting(target, str(source), reader.info, size=size) as writer:
            for frame in itertools.islice(reader, frames):
                writer.write(frame.image, frame.pts_seconds, frame.duration_seconds)
            if frames is not None:
                writer.cut_short()
        return [*reader.notes, *writer.notes]


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize(
    ("name", "video", "sound"),
    [
        ("tv.ts", "libx264", "mp2"),
        ("tv_aac.ts", "libx264", "aac"),
        ("dvd.mpg", "mpeg2video", "mp2"),
        ("film.mkv", "libx264", "pcm_s16le"),
        ("film.mp4", "libx264", "aac"),
    ],
)
def test_sound_is_in_step(tmp_path: Path, name: str, video: str, sound: str, out: str) -> None:
    source = write_clapper(tmp_path / name, video=video, sounds=[sound], rate=48_000)
    before = claps(source)
    assert rewrite(source, tmp_path / out) == []
    picture, heard = claps(tmp_path / out)
    assert heard - picture == pytest.approx(before[1] - before[0], abs=0.003)
    assert abs(heard - picture) < 0.03  # and so it was made


@pytest.mark.parametrize(
    ("name", "video", "sound", "rate", "layout", "note"),
    [
        ("recorder.mov", "libx264", "pcm_s24le", 192_000, "stereo", "96000 Hz instead of 192000"),
        ("camera.avi", "mpeg4", "libmp3lame", 8000, "mono", ""),
        ("slow.mkv", "libx264", "pcm_s16le", 6000, "mono", "7350 Hz instead of 6000"),
        ("woofer.mkv", "libx264", "pcm_s16le", 48_000, "2.1", "6 channels instead of 3"),
        ("cinema.mkv", "libx264", "pcm_s16le", 48_000, "6.1", "8 channels instead of 7"),
        ("dome.mkv", "libx264", "pcm_s16le", 48_000, "22.2", "8 channels instead of 24"),
    ],
)
def test_rates_and_layouts_that_aac_has_not(
    tmp_path: Path, name: str, video: str, sound: str, rate: int, layout: str, note: str
) -> None:
    source = write_clapper(tmp_path / name, video=video, sounds=[sound], rate=rate, layout=layout)
    notes = rewrite(source, tmp_path / "out.mp4")
    told = [line for line in notes if "sound" in line]
    assert [note in line for line in told] == ([True] if note else [])
    picture, heard = claps(tmp_path / "out.mp4")
    assert heard - picture == pytest.approx(0, abs=0.04)
    with av.open(str(tmp_path / "out.mp4")) as container:
        track = container.streams.audio[0]
        mono = av.AudioResampler(format="flt", layout="mono")
        samples = np.concatenate([f.to_ndarray()[0] for d in container.decode(audio=0) for f in mono.resample(d)])
        second = samples[-track.rate :][: track.rate // 2]
        assert np.argmax(np.abs(np.fft.rfft(second))) * 2 == pytest.approx(PITCH, abs=3)


def damaged(source: Path, target: Path, start: float, end: float, *, every: int = 1) -> Path:
    """A copy in which some packets of sound between two times hold noise."""
    rng = np.random.default_rng(0)
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        streams = {stream.index: after.add_stream_from_template(stream) for stream in before.streams}
        count = itertools.count()
        for packet in before.demux():
            if packet.size == 0:
                continue
            stream = streams[packet.stream_index]
            if stream.type == "audio" and start <= packet.pts * packet.time_base < end and next(count) % every == 0:
                noise: av.Packet[Any] = av.Packet(rng.bytes(packet.size))
                noise.pts, noise.dts, noise.time_base = packet.pts, packet.dts, packet.time_base
                noise.duration = packet.duration
                packet = noise
            packet.stream = stream
            after.mux(packet)
    return target


@pytest.mark.parametrize("sound", ["mp2", "aac", "ac3", "eac3", "flac", "libmp3lame", "libopus"])
@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_damaged_packets_are_left_out_and_the_rest_stays_in_step(tmp_path: Path, sound: str, out: str) -> None:
    source = write_clapper(tmp_path / "whole.mkv", sounds=[sound], rate=48_000)
    spoilt = damaged(source, tmp_path / "spoilt.mkv", 0.2, 0.6)
    notes = rewrite(spoilt, tmp_path / out)
    assert len(notes) <= 1  # some decoders take noise for music
    assert all("damaged" in note and "spoilt.mkv" in note for note in notes)
    picture, _ = claps(tmp_path / out)
    times = np.array(loud_times(tmp_path / out))
    clean = times[times > picture - 0.02]
    assert clean[0] == pytest.approx(picture, abs=0.03)
    assert len(clean) > 0.9 * 48_000 * float(SECONDS - CLAP)


def test_a_track_that_is_all_noise_costs_nothing_else(tmp_path: Path) -> None:
    source = write_clapper(tmp_path / "whole.mkv", sounds=["mp2", "mp2"], rate=48_000)
    spoilt = damaged(source, tmp_path / "spoilt.mkv", 0, 9, every=2)
    rewrite(spoilt, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 50


def test_sound_whose_time_stands_still_goes_on(tmp_path: Path) -> None:
    source = write_clapper(tmp_path / "whole.mkv", sounds=["aac"])
    with av.open(str(source)) as before, av.open(str(tmp_path / "still.mkv"), "w") as after:
        streams = {stream.index: after.add_stream_from_template(stream) for stream in before.streams}
        for packet in before.demux():
            if packet.size == 0:
                continue
            packet.stream = streams[packet.stream_index]
            if packet.stream.type == "audio":
                packet.pts = packet.dts = min(packet.dts, 400)
            after.mux(packet)
    assert rewrite(tmp_path / "still.mkv", tmp_path / "out.mp4") == []
    picture, heard = claps(tmp_path / "out.mp4")
    assert heard - picture == pytest.approx(0, abs=0.03)


def test_sound_goes_over_the_seam_of_joined_films(tmp_path: Path) -> None:
    part = write_clapper(tmp_path / "part.ts", sounds=["mp2"], rate=48_000)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() * 2)
    rewrite(joined, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        pictures = [(f.time, f.to_ndarray(format="gray").mean() > 127) for f in container.decode(video=0)]
    flashes = [now[0] for before, now in itertools.pairwise(pictures) if now[1] and not before[1]]
    times = np.array(loud_times(tmp_path / "out.mp4"))
    starts = times[np.flatnonzero(np.diff(times, prepend=-1) > 0.5)]
    assert len(flashes) == len(starts) == 2
    np.testing.assert_allclose(starts, flashes, atol=0.04)


def test_sound_of_a_film_that_is_left_early_ends_with_it(tmp_path: Path) -> None:
    source = write_clapper(tmp_path / "film.mkv", sounds=["pcm_s16le"])
    rewrite(source, tmp_path / "out.mp4", frames=10)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(0.4, abs=0.1)


# --- what tracks say of themselves ---


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("sounds", [["aac", "aac"], ["mp2", "mp2"]], ids=["copied", "encoded"])
def test_languages_and_the_default_track_stay(tmp_path: Path, out: str, sounds: list[str]) -> None:
    source = write_clapper(tmp_path / "film.mkv", sounds=sounds, rate=48_000, languages=["eng", "deu"], default=1)
    assert rewrite(source, tmp_path / out) == []
    with av.open(str(tmp_path / out)) as container:
        tracks = container.streams.audio
        assert [track.language for track in tracks] == ["eng", "deu"]
        assert [bool(track.disposition & av.stream.Disposition.default) for track in tracks] == [False, True]


def with_subtitles(source: Path, target: Path, codec: str) -> Path:
    """A copy with a track of subtitles, one from 0.5 s to 1.2 s."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        streams = {stream.index: after.add_stream_from_template(stream) for stream in before.streams}
        text = after.add_mux_stream(codec, time_base=Fraction(1, 1000))
        text.metadata["language"] = "fra"
        words: av.Packet[Any] = av.Packet(b"Bonjour\nle monde")
        words.pts = words.dts = 500
        words.duration, words.time_base, words.stream = 700, Fraction(1, 1000), text
        after.mux(words)
        for packet in before.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                after.mux(packet)
    return target


@pytest.mark.parametrize(("out", "codec"), [("out.mp4", "mov_text"), ("out.mov", "mov_text"), ("out.mkv", "subrip")])
def test_written_subtitles_stay(tmp_path: Path, out: str, codec: str) -> None:
    plain = write_clapper(tmp_path / "plain.mkv")
    source = with_subtitles(plain, tmp_path / "film.mkv", "subrip")
    assert rewrite(source, tmp_path / out) == []
    with av.open(str(tmp_path / out)) as container:
        track = container.streams.subtitles[0]
        assert (track.codec_context.codec.canonical_name, track.language) == (codec, "fra")
        shown = [packet for packet in container.demux(track) if packet.size > 2]
        (packet,) = [packet for packet in shown if b"Bonjour" in bytes(packet)]
        assert packet.pts * packet.time_base == pytest.approx(0.5, abs=0.03)
        assert packet.duration * packet.time_base == Fraction(7, 10)
        assert b"Bonjour\nle monde" in bytes(packet)


def test_subtitles_that_are_pictures_are_said_to_be_lost(tmp_path: Path) -> None:
    plain = write_clapper(tmp_path / "plain.mkv")
    source = with_subtitles(plain, tmp_path / "film.mkv", "hdmv_pgs_subtitle")
    (note,) = [line for line in rewrite(source, tmp_path / "out.mp4") if "subtitle track" in line]
    assert "subtitle track (hdmv_pgs_subtitle, fra) is left out" in note
    assert ".mkv" in note


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_chapters_and_attached_files_are_said_to_be_lost(tmp_path: Path, out: str) -> None:
    plain, source = write_clapper(tmp_path / "plain.mkv"), tmp_path / "film.mkv"
    with av.open(str(plain)) as before, av.open(str(source), "w") as after:
        after.set_chapters(
            [{"id": n, "start": n, "end": n + 1, "time_base": Fraction(1), "metadata": {}} for n in range(2)]
        )
        after.add_attachment("font.ttf", "application/x-truetype-font", b"letters")
        copied = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.dts is not None:
                packet.stream = copied
                after.mux(packet)
    assert rewrite(source, tmp_path / out) == [f"{source}: left out: 2 chapters and 1 attached file"]


def test_a_gif_says_that_it_is_silent(tmp_path: Path) -> None:
    source = write_clapper(tmp_path / "film.mkv")
    (note,) = rewrite(source, tmp_path / "out.gif")
    assert "sound is left out" in note


# --- films that a server hands over ---


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Endless(_Quiet):
    """Tells no size, as a live source."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":
            super().send_header(keyword, value)


@contextmanager
def served(folder: Path, handler: type[SimpleHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("name", ["film.ts", "film.mp4", "film.mkv"])
def test_a_servers_film_is_as_the_same_file(tmp_path: Path, name: str) -> None:
    source = write_clapper(tmp_path / name)
    rewrite(source, tmp_path / "file.mp4")
    with served(tmp_path, _Quiet) as address:
        assert rewrite(f"{address}/{name}", tmp_path / "server.mp4") == []
    assert count_frames(tmp_path / "server.mp4") == count_frames(source) == 50
    assert claps(tmp_path / "server.mp4") == claps(tmp_path / "file.mp4")
    assert len(loud_times(tmp_path / "server.mp4")) == len(loud_times(tmp_path / "file.mp4"))


def test_a_live_source_loses_its_sound_and_no_frame(tmp_path: Path) -> None:
    source = write_clapper(tmp_path / "film.ts")
    with served(tmp_path, _Endless) as address:
        notes = rewrite(f"{address}/film.ts", tmp_path / "out.mp4")
    assert ["sound is left out, since it is live" in note for note in notes].count(True) == 1
    assert count_frames(tmp_path / "out.mp4") == count_frames(source)


def test_a_files_address_is_its_path(tmp_path: Path) -> None:
    source = write_clapper(tmp_path / "my film.mp4")
    for name in (f"file://{source}", source.as_uri()):
        (found,) = expand_sources([name])
        assert (found.kind, found.path) == ("video", source)
