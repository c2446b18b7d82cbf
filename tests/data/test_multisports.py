"""Tubes as JSON, and the refusal of pickles."""

import json
import pickle

import pytest

from muybridge.data.multisports import read_multisports
from muybridge.data.tubes import write_tubes
from muybridge.errors import AnnotationError, OptionError

CONTENT = {
    "labels": ["serve", "spike"],
    "gttubes": {"v/a": {"1": [[[1, 10, 20, 30, 40], [2, 11, 20, 31, 40]], [[26, 0, 0, 5, 5]]]}},
    "resolution": {"v/a": [720, 1280]},
    "train_videos": [["v/a"]],
    "test_videos": [["v/b"]],
}


def write(path, **changes):
    path.write_text(json.dumps({**CONTENT, **changes}))
    return path


def test_read_and_round_trip(tmp_path):
    tubes = read_multisports(write(tmp_path / "gt.json"))
    rows = tubes.annotations
    assert rows.time_seconds.tolist() == [0.0, 0.04, 1.0] and rows.person.tolist() == [0, 0, 1]
    assert rows.boxes_xyxy[1].tolist() == [11, 20, 31, 40] and rows.label.tolist() == [1, 1, 1]
    assert rows.frame_sizes == {"v/a": (1280, 720)} and tubes.splits == ((("v/a",), ("v/b",)),)
    write_tubes(tmp_path / "out.json", tubes, rate_fps=25)
    assert json.loads((tmp_path / "out.json").read_text()) == CONTENT
    with pytest.raises(OptionError):
        write_tubes(tmp_path / "out.json", tubes, rate_fps=0)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was executed')",))


@pytest.mark.parametrize("name", ["multisports_GT.pkl", "multisports_GT.json"])
def test_pickles_are_refused_unread(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(AnnotationError, match=r"is a pickle.*Convert one you trust"):
        read_multisports(path)


@pytest.mark.parametrize(
    ("tubes", "message"),
    [
        ({"2": []}, "class 2: no such class"),
        ({"0": [[[1, 2, 3]]]}, "shape"),
        ({"0": [[[2, 0, 0, 1, 1], [1, 0, 0, 1, 1]]]}, "increase"),
        ({"0": [[[1, 5, 0, 1, 1]]]}, "reversed"),
        ({"0": [[["x", 5, 0, 1, 1]]]}, "not a table of numbers"),
    ],
)
def test_errors(tmp_path, tubes, message):
    with pytest.raises(AnnotationError, match=message):
        read_multisports(write(tmp_path / "gt.json", gttubes={"v": tubes}))
