"""CVAT for video 1.1: interpolation by hand, round trip, a second reader, bad files."""

from xml.dom import minidom

import numpy as np
import pytest

from muybridge.data.annotations.cvat import cvat_label_names, read_cvat, write_cvat
from muybridge.data.annotations.table import NO_LABEL, AnnotationRows
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, OptionError

LABELS = LabelMap(("talk to (e.g., self, a group)", "sit"), (79, 11))


def document(tracks: str) -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>t</name>
<original_size><width>640</width><height>480</height></original_size><source>clip.mp4</source></task></meta>
{tracks}</annotations>"""


def box(frame, left, *, outside=0, occluded=0, inside=""):
    return (
        f'<box frame="{frame}" outside="{outside}" occluded="{occluded}" keyframe="1" xtl="{left}" ytl="10"'
        f' xbr="{left + 50}" ybr="90" z_order="0">{inside}</box>'
    )


def test_interpolated_outside_and_occluded_boxes(tmp_path):
    path = tmp_path / "annotations.xml"
    track = box(10, 100) + box(14, 120, occluded=1) + box(16, 500, outside=1) + box(20, 200)
    path.write_text(document(f'<track id="3" label="sit">{track}</track>'))
    rows = read_cvat(path, rate_fps=10, labels=LABELS)
    assert np.rint(rows.time_seconds * 10).tolist() == [10, 11, 12, 13, 14, 15, 20]
    assert rows.boxes_xyxy[:, 0].tolist() == [100, 105, 110, 115, 120, 120, 200]
    assert rows.boxes_xyxy[0].tolist() == [100, 10, 150, 90]
    assert set(rows.label.tolist()) == {11} and set(rows.person.tolist()) == {3}
    assert rows.videos == ("clip.mp4",) and rows.frame_sizes == {"clip.mp4": (640, 480)}
    assert rows.normalised().boxes_xyxy[0, 0] == 100 / 640


def test_actions_from_attributes_and_names_numbered(tmp_path):
    path = tmp_path / "annotations.xml"
    inside = '<attribute name="doing">wave;sit</attribute>'
    path.write_text(document(f'<track id="0" label="person">{box(0, 1, inside=inside)}{box(1, 1)}</track>'))
    assert cvat_label_names(path, action_attribute="doing") == ("sit", "wave")
    rows = read_cvat(path, rate_fps=1, action_attribute="doing")
    assert rows.label.tolist() == [1, 0, NO_LABEL]
    with pytest.raises(AnnotationError, match="track 0: the label 'wave' is not in the label map"):
        read_cvat(path, rate_fps=1, labels=LABELS, action_attribute="doing")


def test_a_project_of_several_films(tmp_path):
    """Each track names its task; a task names its film and size."""

    def task(number, name, width):
        size = f"<original_size><width>{width}</width><height>240</height></original_size>"
        return f"<task><id>{number}</id><name>{name}</name>{size}</task>"

    def track(number, task_id, frame):
        boxes = box(frame, 1) + box(frame + 1, 1, outside=1)
        return f'<track id="{number}" label="sit" task_id="{task_id}">{boxes}</track>'

    path = tmp_path / "project.xml"
    meta = f"<meta><project><tasks>{task(11, 'one.mp4', 320)}{task(12, 'two.mp4', 640)}</tasks></project></meta>"
    path.write_text(f"<annotations>{meta}{track(0, 12, 5)}{track(1, 11, 20)}</annotations>")
    rows = read_cvat(path, rate_fps=10, labels=LABELS)
    assert [rows.videos[index] for index in rows.video] == ["two.mp4", "one.mp4"]
    assert rows.time_seconds.tolist() == [0.5, 2.0]
    assert rows.frame_sizes == {"one.mp4": (320, 240), "two.mp4": (640, 240)}
    path.write_text(f"<annotations>{meta}{track(0, 13, 5)}</annotations>")
    with pytest.raises(AnnotationError, match="track 0: its task_id '13' is none of the project's 2 tasks"):
        read_cvat(path, rate_fps=10, labels=LABELS)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ('<box frame="0" xtl="100" ytl="60" xbr="200" ybr="100" rotation="90.0"/>', (130, 30, 170, 130)),
        ('<box frame="0" xtl="-1" ytl="-1" xbr="1" ybr="1" rotation="45"/>', (-(2**0.5),) * 2 + (2**0.5,) * 2),
        ('<polygon frame="0" points="10,10;50,10;50,90"/>', (10, 10, 50, 90)),
        ('<ellipse frame="0" cx="50" cy="40" rx="30" ry="10" rotation="90"/>', (40, 10, 60, 70)),
        ('<ellipse frame="0" cx="0" cy="0" rx="3" ry="3" rotation="30"/>', (-3, -3, 3, 3)),
        ('<mask frame="0" rle="1" left="5" top="6" width="7" height="8"/>', (5, 6, 12, 14)),
    ],
)
def test_other_shapes_are_the_upright_boxes_around_them(tmp_path, shape, expected):
    path = tmp_path / "annotations.xml"
    path.write_text(document(f'<track id="0" label="sit">{shape}</track>'))
    assert read_cvat(path, rate_fps=1, labels=LABELS).boxes_xyxy[0] == pytest.approx(expected, abs=1e-8)


def test_a_turning_box_goes_the_short_way(tmp_path):
    """From 350 to 10 degrees it stands upright in the middle."""
    edges = 'xtl="100" ytl="60" xbr="200" ybr="100"'
    shapes = f'<box frame="0" {edges} rotation="350"/><box frame="2" {edges} rotation="10"/>'
    path = tmp_path / "annotations.xml"
    path.write_text(document(f'<track id="0" label="sit">{shapes}</track>'))
    assert read_cvat(path, rate_fps=1, labels=LABELS).boxes_xyxy[1] == pytest.approx((100, 60, 200, 100))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (document('<track id="0" label="sit"><points frame="0" points="1,2"/></track>'), "drawn as <points>"),
        (document('<track id="0" label="sit"><polygon frame="0" points="1,2;x"/></track>'), "a polygon needs"),
        (document(f'<track id="{"9" * 5000}" label="sit"/>'), "id is '999"),
        (document(f'<track id="0" label="sit">{box("9" * 5000, 1)}</track>'), "frame is '999"),
        (
            document(f'<track id="0" label="sit">{box(0, 1)}{box(2_000_000_000, 1)}</track>'),
            "track 0: its boxes of the frames 0 and 2000000000 lie hours apart",
        ),
        ('<?xml version="1.0" encoding="klingon"?><annotations/>', "its encoding cannot be read"),
        ('<?xml version="1.0" encoding="utf-7"?><annotations/>', "its encoding cannot be read"),
        ("<annotations>" + "<a>" * 100_000, "nested too deeply"),
        (document('<image id="0" name="a.png"><box label="sit"/></image>'), "CVAT for images"),
    ],
)
def test_files_beyond_reason_are_one_line(tmp_path, text, message):
    path = tmp_path / "annotations.xml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_cvat(path, rate_fps=10, labels=LABELS)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_round_trip_and_a_second_reader(tmp_path):
    rows = AnnotationRows("pixel", {"v.mp4": (640, 480)})
    for second, person in [(0, 0), (1, 0), (2, 5), (3, 0)]:
        for label in (79, 11):
            rows.add("v.mp4", float(second), (second + 0.25, 2, 30, 40), label=label, person=person)
    rows.add("v.mp4", 1.0, (7, 8, 9, 10))
    original = rows.annotations()
    path = tmp_path / "out.xml"
    write_cvat(path, original, rate_fps=25, labels=LABELS)
    again = read_cvat(path, rate_fps=25, labels=LABELS)

    def facts(annotations):
        boxes = map(tuple, annotations.boxes_xyxy.tolist())
        people = [max(person, -1) if person != 6 else -1 for person in annotations.person.tolist()]
        return sorted(zip(annotations.time_seconds.tolist(), boxes, annotations.label.tolist(), people, strict=True))

    assert facts(again) == facts(original)
    assert again.frame_sizes == original.frame_sizes
    tracks = minidom.parse(str(path)).getElementsByTagName("track")
    assert [track.getAttribute("id") for track in tracks] == ["0", "5", "6"]
    seen = [
        [b.getAttribute("frame") for b in track.getElementsByTagName("box") if b.getAttribute("outside") == "0"]
        for track in tracks
    ]
    assert seen == [["0", "25", "75"], ["50"], ["25"]]


@pytest.mark.parametrize(
    "name", ["none", "__undefined__", "walk; run", ";", "a\nb", " blanks ", "x\x1b[2J", "tab\tbed"]
)
def test_every_name_comes_back(tmp_path, name):
    labels = LabelMap((name, "sit"), (0, 1))
    rows = AnnotationRows("pixel", {"v.mp4": (64, 48)})
    rows.add("v.mp4", 0.0, (1, 2, 3, 4), label=0, person=0)
    path = tmp_path / "out.xml"
    write_cvat(path, rows.annotations(), rate_fps=25, labels=labels)
    assert read_cvat(path, rate_fps=25, labels=labels).label.tolist() == [0]
    rows.add("v.mp4", 0.0, (1, 2, 3, 4), label=1, person=0)
    if ";" in name:
        with pytest.raises(AnnotationError, match=r"out\.xml: '.*;.*' cannot stand beside"):
            write_cvat(path, rows.annotations(), rate_fps=25, labels=labels)
    else:
        write_cvat(path, rows.annotations(), rate_fps=25, labels=labels)
        assert sorted(read_cvat(path, rate_fps=25, labels=labels).label.tolist()) == [0, 1]


def test_labels_and_names_with_control_characters_are_still_xml(tmp_path):
    rows = AnnotationRows("pixel", {"v\x1b[2J": (64, 48)})
    rows.add("v\x1b[2J", 0.0, (1, 2, 3, 4), label=0, person=0)
    path = tmp_path / "out.xml"
    write_cvat(path, rows.annotations(), rate_fps=25, labels=LabelMap(("a\x00b\nc\udce9",), (0,)))
    found = minidom.parse(str(path))
    assert found.getElementsByTagName("source")[0].firstChild.data == r"v\x1b[2J"
    texts = [element.firstChild.data for element in found.getElementsByTagName("attribute") if element.firstChild]
    assert r"a\x00b\nc\udce9" in texts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "line 1: a document type declaration"),
        ("<annotations>\n<track></annotations>", "line 2: not XML: mismatched tag"),
        ("<other/>", "the root is <other>"),
        (document('<image id="0"/>'), "CVAT for images"),
        (document('<track id="2" label="sit"><box frame="4" xtl="1"/></track>'), "track 2, frame 4: a box needs"),
        (document(f'<track id="2" label="sit">{box(4, 1).replace("xbr", "xtr")}</track>'), "track 2, frame 4"),
        (document(f'<track id="2" label="sit">{box(4, float("nan"))}</track>'), "reversed or not finite"),
        (document(f'<track id="2" label="sit">{box(4, 1)}{box(4, 2)}</track>'), "two boxes in frame 4"),
        (document(f'<track id="2" label="sit">{box(-4, 1)}</track>'), "frame is '-4'"),
    ],
)
def test_errors(tmp_path, text, message):
    path = tmp_path / "annotations.xml"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_cvat(path, rate_fps=25, labels=LABELS)
    assert str(path) in str(caught.value)


def test_frame_rate_must_be_positive(tmp_path):
    with pytest.raises(OptionError, match="rate_fps"):
        read_cvat(tmp_path / "a.xml", rate_fps=0)
