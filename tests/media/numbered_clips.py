"""Clips whose every frame shows its own number as black and white bars, so that a test can read what it was given."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

BITS = 9
WIDTH, HEIGHT = 8 * BITS, 48


def picture_of(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """(height, width, 3) with one bar a bit, the lowest bit on the left."""
    bars = [255 if number >> bit & 1 else 0 for bit in range(BITS)]
    row = np.array([bars[x * BITS // width] for x in range(width)], np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number_in(image: NDArray[np.uint8]) -> int:
    """The number that a picture shows."""
    centres = [(2 * bit + 1) * image.shape[1] // (2 * BITS) for bit in range(BITS)]
    return sum((image[:, x].mean() > 127) << bit for bit, x in enumerate(centres))


def write_clip(
    path: Path,
    count: int,
    *,
    codec: str = "libx264",
    rate: Fraction = Fraction(25),
    gop: int = 12,
    b_frames: int = 2,
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
    rotation: int = 0,
    tones: Sequence[str] = (),
    faststart: bool = False,
) -> Path:
    """A clip of `count` numbered frames, with one sine tone a codec named in `tones`, as long as the pictures."""
    muxing = {"movflags": "+faststart"} if faststart else {}
    with av.open(str(path), "w", options=muxing) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        if codec == "libx264":  # a key frame exactly every `gop` frames
            stream.options = {"x264-params": "scenecut=0", **stream.options}
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.codec_context.gop_size = gop
        if codec != "gif":
            stream.codec_context.max_b_frames = b_frames
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        sounds = [(container.add_stream(name, rate=44100, layout="mono"), name) for name in tones]
        for index in range(count):
            frame = VideoFrame.from_ndarray(picture_of(index, *size), format="rgb24")
            frame.pts = pts[index] if pts is not None else index
            frame.time_base = time_base or 1 / Fraction(rate)
            if pts is not None and index + 1 < count:
                frame.duration = pts[index + 1] - pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for place, (sound, _) in enumerate(sounds):
            _write_tone(container, sound, 220.0 * (place + 2), count / Fraction(rate))
    return path


def trim(source: Path, target: Path, first: int, gop: int, rate: Fraction = Fraction(25)) -> Path:
    """Copy a clip from its key frame before frame `first` on, with that frame at time 0, as lossless editors do."""
    zero = Fraction(first) / rate
    with (
        av.open(str(source)) as before,
        av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as after,
    ):
        track = before.streams.video[0]
        copied = after.add_stream_from_template(track)
        start = Fraction(first // gop * gop) / rate
        for packet in before.demux(track):
            if packet.dts is None or packet.pts is None or not packet.time_base:
                continue
            if packet.pts * packet.time_base >= start:
                shift = round(zero / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                after.mux(packet)
    return target


def _write_tone(container: "av.container.OutputContainer", stream: "av.AudioStream", pitch: float, length: Fraction):
    samples = round(44100 * length)
    wave = np.sin(2 * np.pi * pitch * np.arange(samples) / 44100)
    wave = (wave * 8000).astype(np.int16)[None]
    resampler = av.AudioResampler(
        format=stream.format, layout="mono", rate=44100, frame_size=stream.frame_size or 1024
    )
    done = 0
    while done < samples:
        frame = av.AudioFrame.from_ndarray(wave[:, done : done + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, done, Fraction(1, 44100)
        done += 1024
        for ready in resampler.resample(frame):
            container.mux(stream.encode(ready))
    for ready in resampler.resample(None):
        container.mux(stream.encode(ready))
    container.mux(stream.encode())
