"""A report as one HTML file: charts, tables, confusion matrices and film strips, with nothing fetched from outside.

A page is a list of parts; `report_page.html.jinja` draws each by its `kind`.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from muybridge.escapes import printable_lines
from muybridge.media.images import resize_image
from muybridge.media.outputs import atomic_output

UInt8 = NDArray[np.uint8]

_MOST_POINTS = 300
_MOST_WRITTEN_CLASSES = 40


@dataclass(frozen=True)
class Facts:
    """A few named values, written large: (name, value) pairs."""

    kind: ClassVar[str] = "facts"
    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Text:
    """Lines as they are."""

    kind: ClassVar[str] = "text"
    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells; numbers come as the text they are to be."""

    kind: ClassVar[str] = "table"
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Line:
    """A curve in the chart's own pixels.

    Attributes:
        points: as SVG takes them.
        end: x, y of the last point.
        last: its value, as text.
    """

    name: str
    points: str
    end: tuple[float, float]
    last: str


@dataclass(frozen=True)
class ChartLayout:
    """A chart in pixels: its frame, the places and texts of ticks, its curves."""

    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    lines: Sequence[Line]
    width: int = 720
    height: int = 280
    left: int = 52
    right: int = 704
    top: int = 10
    bottom: int = 236


@dataclass(frozen=True)
class Chart:
    """Curves over one axis.

    Attributes:
        curves: (x, y) points by name of curve, x ascending. Points that are not finite are left out; of many, equal
            stretches are averaged.
        x_label: what x counts. Where all x are whole numbers, so are the ticks.
        y_range: what the upright axis reaches over at least. Without it, as far as the values do; of a single value
            from 0, so that a level line does not lie where one expects 0.
    """

    kind: ClassVar[str] = "chart"
    title: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    x_label: str = "step"
    y_range: tuple[float, float] | None = None

    def layout(self) -> ChartLayout:
        curves = {name: _thinned(points) for name, points in self.curves.items()}
        curves = {name: points for name, points in curves.items() if len(points)}
        every = np.concatenate([*curves.values(), np.zeros((0, 2))])
        if not len(every):
            return ChartLayout((), (), ())
        (x_low, y_low), (x_high, y_high) = every.min(axis=0), every.max(axis=0)
        y_range = self.y_range or ((0.0,) if y_low == y_high else ())
        y_low, y_high = min((y_low, *y_range)), max((y_high, *y_range))
        x_ticks, y_ticks = nice_ticks(x_low, x_high, 8), nice_ticks(y_low, y_high, 5)
        if (every[:, 0] % 1 == 0).all():
            x_ticks = [tick for tick in x_ticks if tick % 1 == 0]
        y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])
        frame = ChartLayout((), (), ())

        def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
            x = frame.left + (points[:, 0] - x_low) / ((x_high - x_low) or 1) * (frame.right - frame.left)
            y = frame.bottom - (points[:, 1] - y_low) / ((y_high - y_low) or 1) * (frame.bottom - frame.top)
            return np.stack([x, y], axis=1).round(1)

        lines: list[Line] = []
        for name, points in curves.items():
            placed = place(points)
            end = (float(placed[-1, 0]), float(placed[-1, 1]))
            lines.append(Line(name, " ".join(f"{x:g},{y:g}" for x, y in placed), end, f"{points[-1, 1]:.4g}"))
        x_places = place(np.array([(x, y_low) for x in x_ticks]))[:, 0].tolist()
        y_places = place(np.array([(x_low, y) for y in y_ticks]))[:, 1].tolist()
        return ChartLayout(
            [(place, f"{tick:g}") for place, tick in zip(x_places, x_ticks, strict=True)],
            [(place, f"{tick:g}") for place, tick in zip(y_places, y_ticks, strict=True)],
            lines,
        )


@dataclass(frozen=True, eq=False)
class Matrix:
    """Counts of classes against classes.

    Attributes:
        names: K classes.
        counts: (K, K), a row the truth. Beyond 40 classes it is drawn as a picture, without numbers.
    """

    kind: ClassVar[str] = "matrix"
    title: str
    names: Sequence[str]
    counts: NDArray[np.int64]

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        return self.counts / self.counts.sum(axis=1, keepdims=True).clip(1)

    def shaded_rows(self) -> list[tuple[str, list[tuple[int, float]]]]:
        """For each class its name, and for each column the count and its share of the row."""
        pairs = zip(self.counts.tolist(), self._shares.tolist(), strict=True)
        rows = [list(zip(counts, shares, strict=True)) for counts, shares in pairs]
        return list(zip(self.names, rows, strict=True))

    @property
    def picture(self) -> str:
        """A data URI where there are too many classes for numbers; else empty."""
        if len(self.names) <= _MOST_WRITTEN_CLASSES:
            return ""
        grey = (255 - 255 * np.sqrt(self._shares)).astype(np.uint8)
        return data_uri(np.repeat(grey[..., None], 3, axis=2), form="PNG")


@dataclass(frozen=True, eq=False)
class Strip:
    """Frames of a clip side by side.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        height: pixels of the strip.
    """

    caption: str
    frames: UInt8 = field(repr=False)
    height: int = 96

    @property
    def picture(self) -> str:
        width = max(1, round(self.frames.shape[2] * self.height / self.frames.shape[1]))
        small = [resize_image(frame, width, self.height) for frame in self.frames]
        return data_uri(np.concatenate(small, axis=1))


@dataclass(frozen=True)
class Strips:
    """Film strips under one another."""

    kind: ClassVar[str] = "strips"
    title: str
    strips: Sequence[Strip]


@dataclass(frozen=True)
class Bar:
    """A stretch of time, in seconds, and how strongly it is drawn, 0 to 1."""

    start: float
    end: float
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Track:
    """Somebody over time.

    Attributes:
        colour: red, green, blue, 0 to 255.
        seen: when they are there.
        rows: what they do, by name, and when.
        picture: (h, w, 3) uint8 RGB cut out of the film; None for none.
    """

    name: str
    colour: tuple[int, int, int]
    seen: Sequence[Bar]
    rows: Mapping[str, Sequence[Bar]]
    picture: UInt8 | None = field(default=None, repr=False)

    @property
    def picture_uri(self) -> str:
        """Empty where there is none."""
        return "" if self.picture is None else data_uri(self.picture)


@dataclass(frozen=True, eq=False)
class Timeline:
    """A strip of who is who, and under it when each is there and does what. A click plays the film from there.

    Attributes:
        end: seconds of the film.
        film: file name beside the page; empty where there is none to play.
    """

    kind: ClassVar[str] = "timeline"
    title: str
    tracks: Sequence[Track]
    end: float
    film: str = ""

    @property
    def film_address(self) -> str:
        """The file name as an address relative to the page."""
        return f"./{quote(self.film, errors='surrogateescape')}"

    def ticks(self) -> list[tuple[float, str]]:
        """Places in per cent, and their seconds."""
        return [(100 * tick / self.end, f"{tick:g} s") for tick in nice_ticks(0, self.end, 10) if tick <= self.end]

    def place(self, bar: Bar) -> tuple[float, float]:
        """Left edge and width of a bar in per cent."""
        start, end = (100 * min(max(time / self.end, 0.0), 1.0) for time in (bar.start, bar.end))
        return round(start, 3), round(max(end - start, 0.2), 3)


Part = Facts | Text | Table | Chart | Matrix | Strips | Timeline


def shown(value: object) -> object:
    """What a template puts into a page: text as it can be shown, all else as it is."""
    return printable_lines(value) if type(value) is str else value


def report_page(title: str, parts: Sequence[Part], *, subtitle: str = "") -> str:
    """The page as HTML. Names and captions may hold any characters."""
    environment = Environment(
        loader=PackageLoader("muybridge", "evaluation"),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report_page.html.jinja")
    return template.render(title=title, subtitle=subtitle, parts=parts).strip() + "\n"


def write_report_page(path: Path, title: str, parts: Sequence[Part], *, subtitle: str = "") -> None:
    """Write the page, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    text = report_page(title, parts, subtitle=subtitle)
    with atomic_output(path) as beside:
        beside.write_text(text, encoding="utf-8")


def data_uri(picture: UInt8, *, form: str = "JPEG") -> str:
    """A picture (H, W, 3) uint8 RGB as an address that holds the picture itself."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form, **({"quality": 80} if form == "JPEG" else {}))
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """About so many values in [low, high], 1, 2 or 5 times a power of ten apart; at least one, perhaps above."""
    largest = max(abs(low), abs(high), 1e-200)
    span = high - low if high - low > 1e-9 * largest else largest
    raw = span / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, max(last, first) + 1)]


def _thinned(points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
    """(N, 2) finite points, of many the means of equal stretches."""
    array = np.array(points, dtype=np.float64).reshape(-1, 2)
    array = array[np.isfinite(array).all(axis=1)]
    if len(array) <= _MOST_POINTS:
        return array
    return np.stack([stretch.mean(axis=0) for stretch in np.array_split(array, _MOST_POINTS)])
