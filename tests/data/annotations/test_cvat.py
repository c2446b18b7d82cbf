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
