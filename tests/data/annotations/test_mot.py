"""MOT text: rows by hand, round trip, bad rows."""

import pytest

from muybridge.data.annotations.mot import read_mot, write_mot
from muybridge.errors import AnnotationError, OptionError


def test_rows_and_round_trip(tmp_path):
    path = tmp_path / "clip.txt"
    path.write_text("1,-1,10,20,30,40,0.5,-1,-1,-1\n51, 7, 1.5, 2, 3, 4, 1, 1, 0.8\n\n")
    rows = read_mot(path, rate_fps=25)
    assert rows.videos == ("clip",) and rows.unit == "pixel"
    assert rows.time_seconds.tolist() == [0.0, 2.0]
    assert rows.boxes_xyxy.tolist() == [[10, 20, 40, 60], [1.5, 2, 4.5, 6]]
    assert rows.person.tolist() == [-1, 7] and rows.score.tolist() == [0.5, 1.0]
    write_mot(tmp_path / "out.txt", rows, rate_fps=25)
    assert (tmp_path / "out.txt").read_text().splitlines() == [
        "1,-1,10.0,20.0,30.0,40.0,0.5,-1,-1,-1",
        "51,7,1.5,2.0,3.0,4.0,1.0,-1,-1,-1",
    ]


@pytest.mark.parametrize("text", ["3 6 10 20 30 40 .5", "3\t6\t10\t20\t30\t40\t.5", "3, 6,10 ,20,30,40,.5,"])
def test_cells_are_parted_by_commas_or_by_blanks(tmp_path, text):
    (tmp_path / "clip.txt").write_text(text + "\n")
    rows = read_mot(tmp_path / "clip.txt", rate_fps=25)
    assert (rows.person.tolist(), rows.boxes_xyxy.tolist(), rows.score.tolist()) == ([6], [[10, 20, 40, 60]], [0.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,2,3,4\n", "line 1: 5 columns"),
        ("\n1,1,2,3,x,5\n", "line 2: '1,1,2,3,x,5'"),
        ("0,1,2,3,4,5\n", "frames count from 1"),
        ("1,1,2,3,-4,5\n", "sizes are not negative"),
        ("1,1,2,3,nan,5\n", "line 1: NaN"),
        ("1,,6,13,32,45,0.9\n", "line 1: '1,,6,13,32,45,0.9'"),
        ("1,2,,3,4,5,6\n", "line 1"),
        ("1,2,3,4,5,\n", "line 1: 5 columns"),
        ("1 2,3,4,5,6,7\n", "line 1"),
    ],
)
def test_errors(tmp_path, text, message):
    path = tmp_path / "clip.txt"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message):
        read_mot(path, rate_fps=25)
    with pytest.raises(OptionError):
        read_mot(path, rate_fps=-1)
