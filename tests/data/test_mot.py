"""MOTChallenge text: rows written by hand, and back."""

import numpy as np
import pytest

from muybridge.data.annotations import NO_LABEL, NO_PERSON
from muybridge.data.mot import read_mot, write_mot
from muybridge.errors import AnnotationError, MissingInput, OptionError

TRUTH = """1,7,10,20,30,40,1,1,0.9
1,8,11,21,31,41,0,1,0.9
1,9,12,22,32,42,1,3,0.9
26,7,15,25,30,40,1,1,0.5
"""
DETECTIONS = "1,-1,10.5,20.25,30,40,0.75,-1,-1,-1\n3,-1,1,2,3,4,55.5,-1,-1,-1\n"


def test_truth_leaves_out_what_is_ignored_and_what_is_no_pedestrian(tmp_path):
    (tmp_path / "gt.txt").write_text(TRUTH)
    rows = read_mot(tmp_path / "gt.txt", kind="truth", rate=25, video="walk")
    assert rows.videos == ("walk",) and rows.unit == "pixel" and rows.score is None
    assert rows.boxes_xyxy.tolist() == [[10, 20, 40, 60], [15, 25, 45, 65]]
    assert rows.time_seconds.tolist() == [0, 1]
    assert rows.person.tolist() == [7, 7]
    assert rows.label.tolist() == [NO_LABEL, NO_LABEL]


def test_detections_keep_their_confidence_and_have_no_ids(tmp_path):
    (tmp_path / "det.txt").write_text(DETECTIONS)
    rows = read_mot(tmp_path / "det.txt", kind="predictions", rate=10)
    assert rows.score.tolist() == [0.75, 55.5]
    assert rows.person is None
    np.testing.assert_allclose(rows.time_seconds, [0, 0.2])


def test_rate_size_and_name_from_seqinfo(tmp_path):
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "gt.txt").write_text(TRUTH)
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nname=MOT17-02\nframeRate=50\nimWidth=1920\nimHeight=1080\n")
    rows = read_mot(tmp_path / "gt" / "gt.txt", kind="truth")
    assert rows.videos == ("MOT17-02",)
    assert rows.time_seconds.tolist() == [0, 0.5]
    np.testing.assert_allclose(rows.normalised().boxes_xyxy[0], [10 / 1920, 20 / 1080, 40 / 1920, 60 / 1080])


def test_round_trip(tmp_path):
    (tmp_path / "det.txt").write_text("1,3,10.5,20.25,30,40,0.75,-1,-1,-1\n1,4,10.5,20.25,30,40,0.5,-1,-1,-1\n")
    rows = read_mot(tmp_path / "det.txt", kind="predictions", rate=30)
    write_mot(tmp_path / "out.txt", rows, rate=30)
    again = read_mot(tmp_path / "out.txt", kind="predictions", rate=30)
    for name in ("boxes_xyxy", "time_seconds", "person", "score"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rows, name))


def test_someone_with_two_actions_is_written_once(tmp_path):
    (tmp_path / "det.txt").write_text("1,3,10,20,30,40,0.75\n")
    rows = read_mot(tmp_path / "det.txt", kind="predictions", rate=30)
    write_mot(tmp_path / "out.txt", rows.select(np.array([0, 0])), rate=30)
    assert (tmp_path / "out.txt").read_text().count("\n") == 1


def test_unknown_people_stay_unknown(tmp_path):
    (tmp_path / "det.txt").write_text("1,-1,10,20,30,40,1\n1,2,10,20,30,40,1\n")
    assert read_mot(tmp_path / "det.txt", kind="predictions", rate=1).person.tolist() == [NO_PERSON, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,1,1,1,1,1\n1,1,1\n", "line 2: the row has 3 columns"),
        ("0,1,1,1,1,1,1\n", "line 1: the frame is 0"),
        ("1,1,1,1,-5,1,1\n", "line 1: the box is -5 wide"),
        ("1,1,nan,1,5,1,1\n", "line 1: a number is 'nan'"),
        ("1,x,1,1,5,1,1\n", "line 1: the id is 'x'"),
        ("1.5,1,1,1,5,1,1\n", "line 1: the frame is '1.5'"),
    ],
)
def test_broken_rows_are_named(tmp_path, text, message):
    (tmp_path / "gt.txt").write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_mot(tmp_path / "gt.txt", kind="predictions", rate=25)


def test_what_is_missing(tmp_path):
    with pytest.raises(MissingInput):
        read_mot(tmp_path / "none.txt", kind="truth", rate=25)
    (tmp_path / "gt.txt").write_text(TRUTH)
    with pytest.raises(OptionError, match="rate="):
        read_mot(tmp_path / "gt.txt", kind="truth")
    with pytest.raises(OptionError, match="rate=0"):
        read_mot(tmp_path / "gt.txt", kind="truth", rate=0)
