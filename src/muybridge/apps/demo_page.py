"""The demo's page: exhibits with pictures, films, timelines, and the command that made each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from muybridge.evaluation.report_page import nice_ticks, shown
from muybridge.media.box_overlays import person_colour

# Okabe and Ito's colours, which all eyes tell apart, without the black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_WIDTH, _ROW, _NAMES = 900, 30, 190
_FILM_WIDTH, _FILM_HEIGHT = 800, 600


@dataclass(frozen=True)
class Film:
    """A video file of the page's folder.

    Attributes:
        poster: picture file that stands there until it plays.
        strip: some of its frames in a row, as a data URI.
        width, height: of its frames in pixels; it is never shown larger.
    """

    kind: ClassVar[str] = "film"
    file: str
    caption: str
    poster: str
    strip: str = field(repr=False)
    width: int
    height: int

    @property
    def shown_width(self) -> int:
        """Pixels of the page that it takes, at most."""
        return round(self.width * min(1.0, _FILM_WIDTH / self.width, _FILM_HEIGHT / self.height))


@dataclass(frozen=True)
class Pictures:
    """Picture files side by side, each with a caption.

    Attributes:
        subject: what they show, for those who do not see them.
    """

    kind: ClassVar[str] = "pictures"
    subject: str
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Slider:
    """Two pictures of one size, the second one uncovered by a handle; never shown larger than they are."""

    kind: ClassVar[str] = "slider"
    before: str
    after: str
    caption: str


@dataclass(frozen=True)
class Bar:
    """A stretch of time, in seconds.

    Attributes:
        row: name of the line that it stands in.
        text: stands in it where it is long enough, and appears where the mouse rests on it.
    """

    row: str
    start: float
    end: float
    text: str = ""
    colour: str = ""


@dataclass(frozen=True)
class PlacedBar:
    """A bar in the drawing's own pixels.

    Attributes:
        colour: as #rrggbb, or #rrggbbaa where it lets the page through.
        text: all that is to be said of it.
        shown: as much of it as fits.
    """

    x: float
    y: float
    width: float
    colour: str
    text: str
    shown: str

    @property
    def is_light(self) -> bool:
        """Whether dark letters are read better on it."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return 0.3 * red + 0.59 * green + 0.11 * blue > 125 or len(self.colour) > 7


@dataclass(frozen=True)
class Timeline:
    """What happens when: a line for each row, bars where it does. Bars that overlap stand under one another.

    Attributes:
        end: of the film in seconds.
    """

    kind: ClassVar[str] = "timeline"
    caption: str
    bars: Sequence[Bar]
    end: float
    width: ClassVar[int] = _WIDTH
    row_height: ClassVar[int] = _ROW
    names: ClassVar[int] = _NAMES

    left: ClassVar[int] = _NAMES
    right: ClassVar[int] = _WIDTH - 16

    @cached_property
    def _lanes(self) -> dict[str, list[list[Bar]]]:
        """For each row as few lines of bars as need be."""
        rows: dict[str, list[list[Bar]]] = {bar.row: [] for bar in self.bars}
        for bar in self.bars:
            lanes = rows[bar.row]
            free = next((lane for lane in lanes if all(_apart(bar, other) for other in lane)), None)
            if free is None:
                lanes.append([bar])
            else:
                free.append(bar)
        return rows

    def rows(self) -> list[tuple[str, int]]:
        """Name of each, and y of its upper edge."""
        found: list[tuple[str, int]] = []
        y = 0
        for name, lanes in self._lanes.items():
            found.append((name, y))
            y += _ROW * len(lanes)
        return found

    @property
    def height(self) -> int:
        return _ROW * (sum(len(lanes) for lanes in self._lanes.values()) + 1)

    def _x(self, seconds: float) -> float:
        return self.left + (self.right - self.left) * min(max(seconds / max(self.end, 1e-9), 0), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """x and text of each."""
        return [(self._x(t), f"{t:g} s") for t in nice_ticks(0, self.end, 9) if t <= self.end + 1e-9]

    def placed(self) -> list[PlacedBar]:
        found: list[PlacedBar] = []
        for number, (name, top) in enumerate(self.rows()):
            for lane, bars in enumerate(self._lanes[name]):
                found += [self._place(bar, top + lane * _ROW + 4, _COLOURS[number % len(_COLOURS)]) for bar in bars]
        return found

    def _place(self, bar: Bar, y: int, colour: str) -> PlacedBar:
        left = self._x(bar.start)
        width = max(3.0, self._x(bar.end) - left - 1)
        # A letter is about 7 pixels wide; the label says more than its score.
        label = bar.text.rpartition(" ")[0] if bar.text[-1:].isdigit() else bar.text
        shown = next((text for text in (bar.text, label) if 7 * len(text) + 8 < width), "")
        times = f"{bar.row}, {bar.start:.1f} to {bar.end:.1f} s"
        return PlacedBar(left, y, width, bar.colour or colour, f"{bar.text}: {times}" if bar.text else times, shown)


def _apart(one: Bar, other: Bar) -> bool:
    # Those without words are the ground on which the others stand.
    return not (one.text and other.text) or one.end <= other.start + 1e-6 or other.end <= one.start + 1e-6


@dataclass(frozen=True)
class Facts:
    """A few named values."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


Part = Film | Pictures | Slider | Timeline | Facts


@dataclass(frozen=True)
class Exhibit:
    """A section of the page.

    Attributes:
        text: a paragraph.
        commands: that made its files, as a user types them in the page's folder.
        files: others that they wrote, to be opened.
        prepared: where the commands' inputs come from, in a sentence.
    """

    title: str
    text: str
    parts: Sequence[Part]
    commands: Sequence[str] = ()
    files: Sequence[str] = ()
    prepared: str = ""


def person_hex(identity: int) -> str:
    """The colour of a person, as in overlays."""
    return "#{:02x}{:02x}{:02x}".format(*person_colour(identity))


def write_demo_page(path: Path, title: str, lead: str, exhibits: Sequence[Exhibit]) -> None:
    """Write the page. Its files lie beside it; nothing is fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("muybridge", "apps"),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("demo_page.html.jinja")
    path.write_text(template.render(title=title, lead=lead, exhibits=exhibits).strip() + "\n", encoding="utf-8")
