"""Report pages, read back with the standard library's parsers."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from muybridge.errors import OutputError
from muybridge.evaluation.report_page import (
    Bar,
    Chart,
    Facts,
    Matrix,
    Strip,
    Strips,
    Table,
    Text,
    Timeline,
    Track,
    nice_ticks,
    report_page,
    write_report_page,
)


class Elements(HTMLParser):
    """All start tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "i", "line", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag != "i":
            assert self.open.pop() == tag  # the page is well nested

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def clip(seed: int = 0) -> np.ndarray:
    ramp = np.linspace(0, 200, 40, dtype=np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (3, 20, 40, 3)).copy()
    frames[1] += 50
    return frames + np.uint8(seed)


def every_part() -> list:
    return [
        Facts("Scores", [("top-1", "81.0 %")]),
        Text("Command", ["muybridge train", "recognizer <clips>"]),
        Chart("Loss", {"loss": [(1, 2.0), (2, 1.0), (3, float("nan")), (4, 0.5)]}),
        Table("Classes", ["class", "clips"], [["a <b> & 'c'", "3"]]),
        Matrix("Confusion", ["up", "down"], np.array([[3, 1], [0, 0]])),
        Strips("Confused", [Strip("fil<m>.mp4: up", clip())]),
    ]


def test_a_page_is_well_formed_and_fetches_nothing():
    page = report_page("Report <1>", every_part(), subtitle="of today")
    elements = Elements(page)
    assert elements.open == []
    addresses = [a[key] for _, a in elements.tags for key in ("src", "href", "data", "action") if key in a]
    assert addresses and all(str(address).startswith("data:") for address in addresses)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)


def test_names_with_markup_are_shown_as_they_are():
    elements = Elements(report_page("Report <1>", every_part()))
    for text in ("Report <1>", "a <b> & 'c'", "fil<m>.mp4: up", "recognizer <clips>"):
        assert any(text in shown for shown in elements.texts), text


def test_a_film_strip_holds_the_frames():
    picture = next(a["src"] for a in Elements(report_page("r", [every_part()[-1]])).all("img"))
    assert picture is not None
    kind, data = picture.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), dtype=np.float64)
    assert strip.shape == (96, 3 * 192, 3)
    first, second = strip[:, 20:170].mean(), strip[:, 192 + 20 : 192 + 170].mean()
    assert second - first == pytest.approx(50, abs=3)


def test_a_matrix_shows_counts_and_shades_rows():
    elements = Elements(report_page("r", [every_part()[4]]))
    cells = [a for a in elements.all("td") if "style" in a]
    assert [a["style"] for a in cells] == ["--share: 75%", "--share: 25%", "--share: 0%", "--share: 0%"]
    assert elements.texts[-4:] == ["up", "3", "1", "down"]


def test_a_matrix_of_many_classes_is_a_picture():
    counts = np.diag(np.full(60, 4))
    elements = Elements(report_page("r", [Matrix("m", [str(k) for k in range(60)], counts)]))
    picture = next(a["src"] for a in elements.all("img"))
    assert picture is not None
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.split(",", 1)[1]))))
    assert pixels.shape == (60, 60, 3)
    assert (pixels[np.arange(60), np.arange(60)] == 0).all() and pixels[0, 1, 0] == 255


def test_a_chart_places_points_by_their_values():
    layout = Chart("c", {"a": [(0, 0.0), (5, 10.0), (10, 5.0)], "b": [(0, 2.5)]}).layout()
    points = [tuple(map(float, pair.split(","))) for pair in layout.lines[0].points.split()]
    width, height = layout.right - layout.left, layout.bottom - layout.top
    expected = [
        (layout.left, layout.bottom),
        (layout.left + width / 2, layout.top),
        (layout.right, layout.bottom - height / 2),
    ]
    assert np.array(points) == pytest.approx(np.array(expected))
    assert layout.lines[0].end == points[-1]
    assert layout.lines[1].points == f"{layout.left},{layout.bottom - height / 4:g}"
    assert [line.last for line in layout.lines] == ["5", "2.5"]


def test_a_level_curve_lies_where_its_value_does():
    shares = Chart("c", {"a": [(0, 1.0), (3, 1.0)]}, y_range=(0, 1)).layout()
    assert shares.lines[0].points == f"{shares.left},{shares.top} {shares.right},{shares.top}"
    assert (shares.bottom, "0") in shares.y_ticks and (shares.top, "1") in shares.y_ticks
    rate = Chart("c", {"a": [(0, 0.001), (3, 0.001)]}).layout()
    assert rate.lines[0].end[1] == rate.top and (rate.bottom, "0") in rate.y_ticks
    beyond = Chart("c", {"a": [(0, -1.0), (1, 3.0)]}, y_range=(0, 1)).layout()
    assert [line.end[1] for line in beyond.lines] == [beyond.top]


def test_steps_are_counted_in_whole_numbers():
    steps = Chart("c", {"a": [(1, 0.5), (2, 0.2), (3, 0.4)]}).layout()
    assert [text for _, text in steps.x_ticks] == ["1", "2", "3"]
    seconds = Chart("c", {"a": [(0.5, 0.5), (1, 0.2)]}).layout()
    assert "0.6" in [text for _, text in seconds.x_ticks]


def test_long_curves_are_averaged_in_equal_stretches():
    layout = Chart("c", {"a": [(x, float(x % 2)) for x in range(6000)]}).layout()
    values = [float(pair.split(",")[1]) for pair in layout.lines[0].points.split()]
    assert len(values) == 300
    assert len(set(values)) == 1


@pytest.mark.parametrize("curves", [{}, {"a": []}, {"a": [(1, float("inf"))]}, {"a": [(3, 0.0)]}])
def test_charts_of_nothing_and_of_one_point_are_drawn(curves):
    Elements(report_page("r", [Chart("c", curves)]))


@given(low=st.floats(-1e6, 1e6), span=st.floats(0, 1e6), most=st.integers(2, 10))
def test_ticks_are_round_few_and_within_reach(low, span, most):
    ticks = nice_ticks(low, low + span, most)
    assert 1 <= len(ticks) <= most + 1
    assert ticks == sorted(set(ticks))


def test_ticks_read_well():
    assert nice_ticks(0, 1, 5) == pytest.approx([0, 0.5, 1.0])
    assert nice_ticks(0, 100, 6) == [0, 20, 40, 60, 80, 100]
    assert nice_ticks(0.12, 0.19, 5) == pytest.approx([0.12, 0.14, 0.16, 0.18])


def test_the_page_is_written_whole_or_not_at_all(tmp_path):
    write_report_page(tmp_path / "new" / "report.html", "r", every_part())
    assert (tmp_path / "new" / "report.html").read_text().endswith("</html>\n")
    with pytest.raises(OutputError):
        write_report_page(tmp_path / "new", "r", every_part())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def timeline(film: str = "") -> Timeline:
    tracks = [
        Track(
            "person <1>", (86, 180, 233), [Bar(0, 4)], {"wa<l>k": [Bar(1, 3, 0.5)], "wave": [Bar(2, 2)]}, clip()[0]
        ),
        Track("person 2", (230, 159, 0), [Bar(2.5, 4), Bar(7, 12)], {}),
    ]
    return Timeline("Who is who", tracks, 10.0, film)


def test_a_timeline_places_bars_by_time_and_plays_the_film_beside_it():
    elements = Elements(report_page("r", [timeline("a b#%ü.mp4")]))
    assert elements.open == []
    assert [a["src"] for a in elements.all("video")] == ["./a%20b%23%25%C3%BC.mp4"]
    buttons = [a for a in elements.all("button") if "left" in (a["style"] or "")]
    places = [(a["data-seconds"], *re.findall(r"(?:left|width): ([\d.]+)%", a["style"] or "")) for a in buttons]
    # By hand: 10 s are 100 %; what reaches beyond the end is cut; what has no length can still be clicked.
    assert places == [
        ("0.000", "0.0", "40.0"),
        ("1.000", "10.0", "20.0"),
        ("2.000", "20.0", "0.2"),
        ("2.500", "25.0", "15.0"),
        ("7.000", "70.0", "30.0"),
    ]
    assert len(elements.all("img")) == 1


def test_a_timeline_without_a_film_has_nothing_to_play():
    page = report_page("r", [timeline()])
    assert "<script" not in page and "<video" not in page
    assert "person &lt;1&gt;: wa&lt;l&gt;k" in page
