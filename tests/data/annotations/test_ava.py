"""AVA CSV: real samples, both readers on the same rows, round trips, bad rows."""

import numpy as np
import pytest

from muybridge.data.annotations.ava import read_ava, read_frame_list, write_ava
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, AnnotationRows
from muybridge.errors import AnnotationError, MissingInput

ROW = "vid,0902,0.1,0.2,0.5,0.6,12"


def test_real_sample(real_data):
    folder = real_data / "annotations" / "ava"
    rows = read_ava(folder / "ava_sample.csv", eighth="person")
    assert (len(rows), rows.videos, rows.unit) == (8, ("0f39OWEqJ24", "_-Z6wFjXtGQ"), "normalised")
    assert rows.time_seconds.tolist() == [902.0] * 3 + [903.0] * 2 + [902.0] * 3
    assert rows.boxes_xyxy[3].tolist() == [0.034, 0.189, 0.669, 0.98]
    assert rows.label.tolist() == [12, 17, 79, 12, 17, 12, 74, 80]
    assert rows.person is not None and not rows.person.any()
    assert read_frame_list(folder / "ava_excluded_timestamps_sample.csv") == [
        ("0f39OWEqJ24", 903.0),
        ("_-Z6wFjXtGQ", 902.0),
    ]


@pytest.mark.parametrize("eighth", ["person", "score"])
def test_fast_and_exact_readers_agree(tmp_path, eighth):
    random = np.random.default_rng(0)
    lines = []
    for number in range(200):
        edges = np.sort(random.random((2, 2)), axis=0).ravel()
        last = repr(float(random.random())) if eighth == "score" else str(number % 3)
        time = f"{1 + number % 22:04d}" if number % 2 else repr(number / 7)
        lines.append(f"clip{number % 3},{time},{','.join(map(repr, edges.tolist()))},{number % 80},{last}")
    uniform, mixed = tmp_path / "uniform.csv", tmp_path / "mixed.csv"
    uniform.write_text("\n".join(lines) + "\n")
    mixed.write_text("\n".join([*lines, "clip0,0099"]) + "\n")  # the last row sends the file to the exact reader
    fast, exact = read_ava(uniform, eighth=eighth), read_ava(mixed, eighth=eighth)
    assert [fast.videos[v] for v in fast.video] == [exact.videos[v] for v in exact.video]
    for name in ("time_seconds", "boxes_xyxy", "label", "person" if eighth == "person" else "score"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(exact, name))
    assert exact.empty_time_seconds.tolist() == [99.0]


def test_long_names_quotes_blank_lines_and_order_mark(tmp_path):
    path = tmp_path / "truth.csv"
    name = "n" * 100
    path.write_text(f'\ufeff{name},1,0,0,1,1,3\n\n"b, c",2.5,0,0,1,1,4\n', encoding="utf-8")
    rows = read_ava(path, eighth="person")
    assert [rows.videos[v] for v in rows.video] == [name, "b, c"]
    assert rows.person is None
    path.write_text("été,1,0,0,1,1,3\n", encoding="utf-8")
    assert read_ava(path, eighth="person").videos == ("été",)


def test_seven_and_eight_columns_mix_in_a_ground_truth(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(f"{ROW}\n{ROW},5\nvid,0903\n")
    rows = read_ava(path, eighth="person")
    assert rows.person is not None and rows.person.tolist() == [NO_PERSON, 5]
    assert rows.empty_time_seconds.tolist() == [903.0]
    again = tmp_path / "again.csv"
    write_ava(again, rows)
    assert again.read_text() == f"{ROW}\n{ROW},5\nvid,0903\n"


def test_an_empty_action_is_a_box_without_action(tmp_path):
    """The lists of detected people that circulate with SlowFast."""
    path = tmp_path / "detected.csv"
    text = "vid,0902,0.1,0.2,0.5,0.6,,0.95\nvid,0902,0.3,0.2,0.5,0.6,,0.5\n"
    path.write_text(text)
    boxes = read_ava(path, eighth="score")
    assert boxes.label.tolist() == [NO_LABEL] * 2 and boxes.score.tolist() == [0.95, 0.5]
    write_ava(tmp_path / "again.csv", boxes)
    assert (tmp_path / "again.csv").read_text() == text
    path.write_text(f"{ROW}\nvid,0902,0.1,0.2,0.5,0.6,\n")
    assert read_ava(path, eighth="person").label.tolist() == [12, NO_LABEL]


@pytest.mark.parametrize(
    ("text", "eighth", "message"),
    [
        (f"{ROW}\n{ROW},1\n{ROW},1,2\n", "person", "line 3: 9 columns"),
        (f"{ROW}\n{ROW},0.5\n", "score", "line 2: rows with and without a score"),
        (f"{ROW}\nvid,0902,0.1,nan,0.5,0.6,12\n", "person", "line 2: top is 'nan'"),
        (f"{ROW}\nvid,0902,0.5,0.2,0.1,0.6,12\n", "person", "line 2: the box .* is reversed"),
        (f"{ROW},0\nvid,0902,0.1,0.2,0.5,0.6,12,x\n", "score", "line 2: score is 'x', not a number"),
        (f"{ROW},inf\n", "score", "line 1: score is 'inf'"),
        ("vid,0902,0.1,0.2,0.5,0.6,1.5\n", "person", "line 1: action is '1.5'"),
        (f"vid,0902,0.1,0.2,0.5,0.6,{10**30}\n", "person", "line 1: action is '10"),
        (f"{ROW},0\n{ROW},{10**30}\n", "person", "line 2: person is '10"),
        ("vid,-3,0.1,0.2,0.5,0.6,1\n", "person", "line 1: the time '-3' is negative"),
        (",3,0.1,0.2,0.5,0.6,1\n", "person", "line 1: the video's name is empty"),
    ],
)
def test_errors_name_line_and_rule(tmp_path, text, eighth, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_ava(path, eighth=eighth)
    assert str(path) in str(caught.value)


def test_predictions_may_be_degenerate_and_files_empty(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("vid,1,0.5,0.2,0.1,0.6,12,0.25\n")
    assert read_ava(path, eighth="score").boxes_xyxy.tolist() == [[0.5, 0.2, 0.1, 0.6]]
    path.write_text("")
    assert len(read_ava(path, eighth="score")) == 0
    with pytest.raises(MissingInput):
        read_ava(tmp_path / "none.csv", eighth="score")


def test_write_refuses_pixels_and_leaves_no_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(f"{ROW}\n")
    pixels = read_ava(path, eighth="person").in_pixels({"vid": (100, 50)})
    assert pixels.boxes_xyxy.tolist() == [[10.0, 10.0, 50.0, 30.0]]
    with pytest.raises(AnnotationError, match=r"\.normalised\(\)"):
        write_ava(tmp_path / "out.csv", pixels)
    assert not (tmp_path / "out.csv").exists()
    write_ava(tmp_path / "out.csv", pixels.normalised())
    assert (tmp_path / "out.csv").read_text() == f"{ROW}\n"


def test_no_name_is_a_formula_and_each_is_read_back(tmp_path):
    names = ["=HYPERLINK(1)", "-5KQ66BBWC4", "@x", "plain"]
    rows = AnnotationRows("normalised")
    for name in names:
        rows.add(name, 902.0, (0.1, 0.1, 0.5, 0.5), label=1, person=0)
    path = tmp_path / "out.csv"
    write_ava(path, rows.annotations())
    first = [line.split(",")[0] for line in path.read_text().splitlines()]
    assert sorted(first) == sorted(["'=HYPERLINK(1)", "-5KQ66BBWC4", "'@x", "plain"])
    assert sorted(read_ava(path, eighth="person").videos) == sorted(names)
