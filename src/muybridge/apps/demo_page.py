"""The demo's page: exhibits with pictures, films, timelines, and the command that made each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from muybridge.evaluation.report_page import nice_ticks
from muybridge.media.box_overlays import person_colour

# Okabe and Ito's colours, which all eyes tell apart, without the black.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_WIDTH, _ROW, _NAMES = 900, 30, 190


@dataclass(frozen=True)
class Film:
    """A video file of the page's folder."""

    kind: ClassVar[str] = "film"
    file: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Picture files side by side, each with a caption."""

    kind: ClassVar[str] = "pictures"
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Slider:
    """Two pictures of one size, the second one uncovered by a handle."""

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
    """What happens when: a line for each row, bars where it does.

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

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(bar.row for bar in self.bars))

    @property
    def height(self) -> int:
        return _ROW * (len(self.rows) + 1)

    def _x(self, seconds: float) -> float:
        return _NAMES + (_WIDTH - _NAMES - 16) * min(max(seconds / max(self.end, 1e-9), 0), 1)

    def ticks(self) -> list[tuple[float, str]]:
        """x and text of each."""
        return [(self._x(t), f"{t:g} s") for t in nice_ticks(0, self.end, 9) if t <= self.end + 1e-9]

    def placed(self) -> list[PlacedBar]:
        found: list[PlacedBar] = []
        for bar in self.bars:
            row = self.rows.index(bar.row)
            left, right = self._x(bar.start), self._x(bar.end)
            width = max(3.0, right - left - 1)
            colour = bar.colour or _COLOURS[row % len(_COLOURS)]
            # A letter is about 7 pixels wide; the label says more than its score.
            label = bar.text.rpartition(" ")[0] if bar.text[-1:].isdigit() else bar.text
            shown = next((text for text in (bar.text, label) if 7 * len(text) + 8 < width), "")
            found.append(PlacedBar(left, row * _ROW + 4, width, colour, bar.text, shown))
        return found


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
    """

    title: str
    text: str
    parts: Sequence[Part]
    commands: Sequence[str] = ()
    files: Sequence[str] = ()


def person_hex(identity: int) -> str:
    """The colour of a person, as in overlays."""
    return "#{:02x}{:02x}{:02x}".format(*person_colour(identity))


def write_demo_page(path: Path, title: str, lead: str, exhibits: Sequence[Exhibit]) -> None:
    """Write the page. Its files lie beside it; nothing is fetched from elsewhere."""
    environment = Environment(
        loader=PackageLoader("muybridge", "apps"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("demo_page.html.jinja")
    path.write_text(template.render(title=title, lead=lead, exhibits=exhibits).strip() + "\n", encoding="utf-8")
