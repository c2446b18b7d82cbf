"""A contact sheet of a painted film: what hours of work would give, in a minute."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from muybridge.errors import OptionError
from muybridge.media.images import resize_image, write_image
from muybridge.media.outputs import check_writable
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.progress import progress_line
from muybridge.stylize.files import PaintJob, open_film
from muybridge.stylize.options import check_preview
from muybridge.stylize.pictures import RGB

MOST_MOMENTS = 100
_CELL, _CAPTION, _GAP = 320, 18, 4
# Frames that are held at once.
_READ_TOGETHER = 4


def paint_preview(
    job: PaintJob, source: Source, target: Path, *, every_seconds: float, quiet: bool = False
) -> list[str]:
    """Paint a film's frame at every so many seconds, each alone, in its full size, and write them as one picture.

    Returns:
        As `paint_file`.

    Raises:
        InputError, OptionError, OutputError: see `muybridge.errors`; also no film, no end, or too many moments.
    """
    check_preview(source)
    check_writable(target)
    with ExitStack() as stack:
        film = open_film(job, source, target, stack, quiet=True)
        moments = moments_of(film.reader.info.duration_seconds, every_seconds, source.location)
        frames = film.painted(replace(job, temporal=None), _shown_at(film.reader, moments), stack)
        line = stack.enter_context(
            progress_line(source.relative.name, total=len(moments), unit="moments", quiet=quiet)
        )
        cells: list[RGB] = []
        for frame in frames:
            height, width = frame.image.shape[:2]
            scale = min(1.0, _CELL / max(width, height))
            cells.append(resize_image(frame.image, max(1, round(width * scale)), max(1, round(height * scale))))
            line.advance()
        notes = [*film.notes, *(note for note in film.reader.notes if note not in film.notes)]
    write_image(target, contact_sheet(cells, [_clock(moment) for moment in moments]))
    return notes


def moments_of(duration_seconds: Fraction | None, every_seconds: float, name: str) -> list[Fraction]:
    """0, and every so many seconds after it, up to the end.

    Raises:
        OptionError: there is no end, or more than `MOST_MOMENTS` of them.
    """
    if duration_seconds is None:
        raise OptionError(f"--preview needs a film that ends, and {name} does not say when it does")
    every = Fraction(every_seconds).limit_denominator(1000)
    count = max(1, math.ceil(duration_seconds / every))
    if count > MOST_MOMENTS:
        least = math.ceil(duration_seconds / MOST_MOMENTS)
        raise OptionError(
            f"--preview {every_seconds:g} asks for {count} pictures of {name}, and a sheet has room for "
            f"{MOST_MOMENTS}: choose {least} or more"
        )
    return [every * number for number in range(count)]


def contact_sheet(cells: list[RGB], captions: list[str]) -> RGB:
    """(H, W, 3) uint8: pictures of one size in rows, on white, each with its caption below."""
    height, width = cells[0].shape[:2]
    # About as wide as a screen.
    columns = min(len(cells), max(1, round(math.sqrt(len(cells) * 1.6 * (height + _CAPTION) / width))))
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _CAPTION + _GAP) + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    for number, (cell, caption) in enumerate(zip(cells, captions, strict=True)):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (width + _GAP), _GAP + row * (height + _CAPTION + _GAP)
        sheet.paste(Image.fromarray(cell), (x, y))
        draw.text((x, y + height + 1), caption, fill="black", font=font)
    return np.asarray(sheet)


def _shown_at(reader: VideoReader, moments: list[Fraction]) -> Iterator[Frame]:
    for start in range(0, len(moments), _READ_TOGETHER):
        yield from reader.frames_at_seconds(moments[start : start + _READ_TOGETHER])


def _clock(moment: Fraction) -> str:
    minutes, seconds = divmod(moment, 60)
    hours, minutes = divmod(minutes, 60)
    whole = f"{int(seconds):02}" if seconds.denominator == 1 else f"{float(seconds):04.1f}"
    return f"{hours}:{minutes:02}:{whole}" if hours else f"{minutes}:{whole}"
