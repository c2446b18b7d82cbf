"""A film with a clapper board: at one known moment the picture turns white and the sound sets in."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.video.frame import VideoFrame

RATE = Fraction(25)
SECONDS = 2
CLAP = Fraction(1)
PITCH = 440


def write_clapper(
    path: Path,
    *,
    video: str = "libx264",
    sounds: Sequence[str] = ("aac",),
    rate: int = 44_100,
    layout: str = "mono",
    languages: Sequence[str] = (),
    default: int = 0,
) -> Path:
    """Two seconds of black, then white from `CLAP` on; silent, then a tone of `PITCH`, in every track."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(video, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if video == "libx264":
            stream.codec_context.max_b_frames = 0
        tracks = [container.add_stream(name, rate=rate, layout=layout) for name in sounds]
        for number, (track, language) in enumerate(zip(tracks, languages, strict=False)):
            track.metadata["language"] = language
            track.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for index in range(int(SECONDS * RATE)):
            frame = VideoFrame.from_ndarray(np.full((48, 64, 3), 255 * (index >= CLAP * RATE), np.uint8), "rgb24")
            frame.pts, frame.time_base = index, 1 / RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for track in tracks:
            _write_tone(container, track, rate, layout)
    return path


def _write_tone(container: "av.container.OutputContainer", track: "av.AudioStream", rate: int, layout: str) -> None:
    times = np.arange(SECONDS * rate) / rate
    wave = np.where(times >= CLAP, 0.5 * np.sin(2 * np.pi * PITCH * times), 0).astype(np.float32)
    channels = AudioLayout(layout).nb_channels
    resampler = av.AudioResampler(format=track.format, layout=layout, rate=rate, frame_size=track.frame_size or 1024)
    for start in range(0, len(wave), 1024):
        part = np.repeat(wave[start : start + 1024], channels)[None]
        frame = AudioFrame.from_ndarray(part, format="flt", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for ready in resampler.resample(frame):
            container.mux(track.encode(ready))
    for ready in resampler.resample(None):
        container.mux(track.encode(ready))
    container.mux(track.encode())


def claps(path: Path, *, track: int = 0) -> tuple[float, float]:
    """When the first white picture is shown and when the sound sets in, in the file's seconds; through PyAV alone."""
    with av.open(str(path)) as container:
        white = next(f for f in container.decode(video=0) if f.to_ndarray(format="gray").mean() > 127)
    return float(white.time), loud_times(path, track=track)[0]


def loud_times(path: Path, *, track: int = 0) -> list[float]:
    """Seconds of all samples in which the tone is heard, in any channel."""
    times: list[float] = []
    # One channel, since PyAV reads past the end of eight.
    mono = av.AudioResampler(format="flt", layout="mono")
    with av.open(str(path)) as container:
        for decoded in container.decode(audio=track):
            for frame in mono.resample(decoded):
                loud = np.flatnonzero(np.abs(frame.to_ndarray()[0]) > 0.05)
                times += (frame.time + loud / frame.sample_rate).tolist()
    return times
