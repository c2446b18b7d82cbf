"""Films and pictures to break, and ways to break them that know how their formats are built.

Each seed writes one sound file into a folder and returns its path; each mutator is a function of bytes and of chance.
"""

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

# ---- seeds ----

_FILMS = {
    "film.mp4": ("libx264", "aac", {}),
    "fragments.mp4": ("libx264", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    "film.mov": ("mpeg4", "aac", {}),
    "film.mkv": ("libx264", "flac", {}),
    "film.webm": ("libvpx-vp9", "libopus", {}),
    "film.avi": ("mpeg4", "mp2", {}),
    "film.ts": ("libx264", "mp2", {}),
    "film.mpg": ("mpeg2video", "mp2", {}),
    "film.flv": ("flv", None, {}),
    "film.gif": ("gif", None, {}),
    "film.h264": ("libx264", None, {}),
}
_PICTURES = ("png", "jpg", "webp", "tif", "gif", "bmp", "tga", "ppm", "avif")


def _film(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import av

        codec, sound, options = _FILMS[name]
        _pictures_beside(folder)
        path = folder / name
        chance = np.random.default_rng(0)
        with av.open(str(path), "w", options=options) as container:
            track = container.add_stream(codec, rate=25)
            track.width, track.height = 64, 48
            track.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            track.codec_context.gop_size = 6
            tone = container.add_stream(sound, rate=48000, layout="stereo") if sound else None
            for number in range(16):
                pixels = np.roll(_texture(chance), 2 * number, axis=1)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(track.encode(frame))
            container.mux(track.encode(None))
            if tone is not None:
                _write_tone(container, tone)
        return path

    write.__name__ = name
    return write


def _texture(chance: np.random.Generator) -> np.ndarray:
    coarse = chance.integers(0, 256, (6, 8, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1))


def _write_tone(container: "av.container.OutputContainer", tone: "av.AudioStream") -> None:  # noqa: F821
    import av

    resampler = av.AudioResampler(format=tone.format, layout="stereo", rate=48000, frame_size=tone.frame_size or 1024)
    wave = (np.sin(np.arange(30720) / 20) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave], axis=1).reshape(1, -1), format="s16", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    for piece in (*resampler.resample(frame), *resampler.resample(None)):
        container.mux(tone.encode(piece))
    container.mux(tone.encode(None))


def _picture(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        from PIL import Image

        _pictures_beside(folder)
        path = folder / f"photo.{suffix}"
        pixels = _texture(np.random.default_rng(1))
        extra = {"exif": _exif()} if suffix in ("jpg", "webp", "tif", "png") else {}
        Image.fromarray(pixels).save(path, **extra)
        return path

    write.__name__ = f"photo.{suffix}"
    return write


def _exif() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    return exif.tobytes()


def _pictures_beside(folder: Path) -> None:
    """What commands need besides the mutant: a style, and boxes of the film."""
    from PIL import Image

    Image.fromarray(_texture(np.random.default_rng(2))).save(folder / "style.png")
    (folder / "boxes.csv").write_text("film,0.2,0.1,0.1,0.6,0.9,,0\n")


FILMS = tuple(_film(name) for name in _FILMS)
PICTURES = tuple(_picture(suffix) for suffix in _PICTURES)

# ---- mutators ----

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, 1 << 62)


def _put(data: bytearray, place: int, width: int, value: int, order: str) -> None:
    mask = (1 << (8 * width)) - 1
    data[place : place + width] = (value & mask).to_bytes(width, "big" if order == ">" else "little")


def extreme_fields(data: bytes, chance: random.Random) -> bytes:
    """A few numbers, of one to eight bytes, are as small or as large as can be; mostly in the headers."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        width = chance.choice((1, 2, 4, 8))
        area = chance.choice((256, 1024, 4096, len(broken)))
        start = chance.choice((0, max(0, len(broken) - area)))
        place = start + chance.randrange(max(1, min(area, len(broken) - start) - width))
        _put(broken, place, width, chance.choice(_EXTREMES), chance.choice("<>"))
    return bytes(broken)


def _boxes(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of all boxes of an mp4, outer ones before those inside."""
    found: list[tuple[int, int]] = []
    waiting = [(0, len(data))]
    while waiting:
        place, limit = waiting.pop()
        while place + 8 <= limit:
            size = int.from_bytes(data[place : place + 4], "big")
            if size < 8 or place + size > limit:
                break
            found.append((place, place + size))
            if data[place + 4 : place + 8] in (
                b"moov",
                b"trak",
                b"mdia",
                b"minf",
                b"stbl",
                b"edts",
                b"moof",
                b"traf",
            ):
                waiting.append((place + 8, place + size))
            place += size
    return found


def boxes_edited(data: bytes, chance: random.Random) -> bytes:
    """Boxes of an mp4 are gone, doubled, swapped, renamed, of another size, or filled with extremes."""
    boxes = _boxes(data)
    if len(boxes) < 2:
        return extreme_fields(data, chance)
    start, end = chance.choice(boxes)
    how = chance.randrange(6)
    if how == 0:
        return data[:start] + data[end:]
    if how == 1:
        return data[:end] + data[start:end] * chance.choice((1, 3)) + data[end:]
    if how == 2:
        other_start, other_end = chance.choice(boxes)
        if other_start >= end:
            return (
                data[:start]
                + data[other_start:other_end]
                + data[end:other_start]
                + data[start:end]
                + data[other_end:]
            )
    broken = bytearray(data)
    if how == 3:
        broken[start + 4 : start + 8] = chance.choice((b"free", b"moov", b"trak", b"stsz", b"mdat", b"\0\0\0\0"))
    elif how == 4:
        _put(broken, start, 4, chance.choice((*_EXTREMES, end - start + 1, end - start - 1)), ">")
    else:
        for place in range(start + 8, min(end, start + 400) - 4, 4):
            if chance.random() < 0.3:
                _put(broken, place, 4, chance.choice(_EXTREMES), ">")
    return bytes(broken)


def times_edited(data: bytes, chance: random.Random) -> bytes:
    """Tables of times and offsets, or the clocks of a transport stream, are other than they were."""
    broken = bytearray(data)
    for name in (b"stts", b"ctts", b"elst", b"stco", b"stsz", b"stsc", b"mdhd", b"mvhd", b"tfdt", b"trun"):
        place = data.find(name)
        while place >= 0 and chance.random() < 0.5:
            at = place + 8 + 4 * chance.randrange(6)
            if at + 4 <= len(broken):
                _put(broken, at, 4, chance.choice(_EXTREMES), ">")
            place = data.find(name, place + 4)
    if data[:1] == b"G":
        for packet in range(0, len(broken) - 188, 188):
            if chance.random() < 0.1:
                broken[packet + 9 : packet + 14] = chance.randbytes(5)
    return bytes(broken)


def spliced(data: bytes, chance: random.Random) -> bytes:
    """The file behind itself, whole or from anywhere on."""
    return data + data[chance.choice((0, chance.randrange(len(data)))) :]


def size_edited(data: bytes, chance: random.Random) -> bytes:
    """Where width and height may stand, as 64 and 48, other numbers stand."""
    broken = bytearray(data)
    for width in (1, 2, 4):
        for order in "<>":
            for value in (64, 48, 63, 47):
                wanted = value.to_bytes(width, "big" if order == ">" else "little")
                place = data.find(wanted)
                if place >= 0 and width > 1 and chance.random() < 0.5:
                    _put(broken, place, width, chance.choice((*_EXTREMES, 16384, 65500)), order)
    return bytes(broken) if bytes(broken) != data else extreme_fields(data, chance)


MEDIA = (extreme_fields, boxes_edited, times_edited, spliced, size_edited)


# ---- readers ----


def read_film(path: Path) -> None:
    """All that the reader of films offers."""
    from muybridge.media.frame_times import FrameTimes
    from muybridge.media.masks import MaskTrack
    from muybridge.media.sources import expand_sources
    from muybridge.media.video_reader import VideoReader

    (source,) = expand_sources([str(path)])
    with VideoReader(source.location, short_side=32) as reader:
        frames = [frame.pts_seconds for frame in reader]
        reader.timestamps()
        reader.frames_at_seconds([*frames[::5], Fraction(1, 3), Fraction(-1), Fraction(100)])
    FrameTimes(path)
    mask = MaskTrack(path)
    mask.at(Fraction(1, 10), 48, 64)
    mask.close()


def read_picture(path: Path) -> None:
    """All that the reader of pictures offers."""
    from muybridge.media.images import read_image
    from muybridge.media.sources import expand_sources

    expand_sources([str(path)])
    read_image(path)
