"""The lists that Kinetics, Something-Something and UCF101 come with, as their owners write them."""

import json
from pathlib import Path

import pytest

from muybridge.data.clips.lists import ClipEntry, read_clip_list
from muybridge.errors import AnnotationError
from tests.data.clips.test_lists import names_of, touch


def test_kinetics(tmp_path):
    cut, whole = touch(tmp_path / "abseiling" / "-3B32lodo2M_000059_000069.mp4"), touch(tmp_path / "zorb" / "xyz.mp4")
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split,is_cc\n"
        "abseiling,-3B32lodo2M,59,69,train,0\nzorb,xyz,4,14,validate,0\nzorb,gone,0,10,train,0\n",
        encoding="utf-8",
    )
    lists = read_clip_list(tmp_path / "train.csv")
    first, missing = lists["train"].entries
    assert (first.path, first.group, first.start_seconds) == (cut, "-3B32lodo2M", None)
    assert missing.path == tmp_path / "gone_000000_000010.mp4"
    assert lists["val"].entries == (ClipEntry(whole, (1,), "xyz", 4.0, 14.0),)


def test_something_something(tmp_path):
    touch(tmp_path / "78687.webm")
    items = [
        {
            "id": "78687",
            "label": "holding potato next to vicks",
            "template": "Holding [something] next to [something]",
        },
        {"id": "42326", "label": "stacking cups", "template": "Stacking [number of] [something]"},
    ]
    (tmp_path / "something-something-v2-train.json").write_text(json.dumps(items), encoding="utf-8")
    clips = read_clip_list(tmp_path / "something-something-v2-train.json")["train"]
    assert names_of(clips) == {
        "Holding something next to something": ["78687.webm"],
        "Stacking number of something": ["42326.webm"],
    }


def test_ucf101(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 Archery\n2 BabyCrawling\n", encoding="utf-8")
    (tmp_path / "trainlist01.txt").write_text("Archery/v_Archery_g08_c01.avi 1\n", encoding="utf-8")
    (tmp_path / "testlist01.txt").write_text(
        "Archery/v_Archery_g01_c01.avi\nBabyCrawling/v_BabyCrawling_g01_c02.avi\n", encoding="utf-8"
    )
    lists = read_clip_list(tmp_path / "trainlist01.txt", root=Path("/ucf"))
    assert [e.path.as_posix() for e in lists["train"].entries] == ["/ucf/Archery/v_Archery_g08_c01.avi"]
    assert names_of(lists["test"]) == {
        "Archery": ["v_Archery_g01_c01.avi"],
        "BabyCrawling": ["v_BabyCrawling_g01_c02.avi"],
    }
    assert lists["train"].entries[0].group == "v_Archery_g08"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split\nx,abc,soon,9,train\n",
            "line 2: not a line of Kinetics",
        ),
        ("train.json", "[", "line 1: not JSON"),
        ("train.json", "{}", "is not a list"),
        ("train.json", '[{"id": "1"}]', 'item 1: has no "template"'),
        ("train.json", '[{"template": "x"}]', 'item 1: needs "id"'),
        ("train.json", '[{"path": "a.mp4", "labels": "wave"}]', 'item 1: "labels" is no list of names'),
        ("train.json", '[{"path": null, "label": "x"}]', 'item 1: "id" or "path" is empty'),
        ("train.json", "[" * 100_000, "JSON nested too deeply"),
        ("train.json", f"[{'9' * 5000}]", "a number of thousands of digits"),
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split\nx,abc,inf,9,train\n",
            "line 2: not a line of Kinetics",
        ),
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split\n,abc,0,9,train\n",
            "line 2: not a line of Kinetics",
        ),
        (
            "train.csv",
            "label,youtube_id,time_start,time_end,split\nx,abc,0,9,train\n" + "x" * 200_000 + ",abc,0,9,train\n",
            "after line 2: not CSV: field larger than field limit",
        ),
        (
            "train.csv",
            f"label,youtube_id,time_start,time_end,split\nx,{'a' * 5000},0,9,train\n",
            "line 2: .* can be no path",
        ),
        ("train.json", json.dumps([{"path": "a\0.mp4", "label": "x"}]), r"line 1: .* can be no path"),
    ],
    ids=range(14),
)
def test_lines_that_break_a_layout_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError, match=message):
        read_clip_list(tmp_path / name)


def test_splits_are_known_by_all_their_names(tmp_path):
    (tmp_path / "list.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nx,abc,0,9,TRAIN\nx,abd,0,9,testing\n", encoding="utf-8"
    )
    assert list(read_clip_list(tmp_path / "list.csv")) == ["train", "test"]
    items = [{"id": 0, "label": "x", "split": "validation"}, {"id": 1, "label": "x", "split": None, "group": None}]
    (tmp_path / "list.json").write_text(json.dumps(items), encoding="utf-8")
    lists = read_clip_list(tmp_path / "list.json")
    assert list(lists) == ["val", "all"]
    assert lists["all"].entries[0].group == (tmp_path / "1.webm").as_posix()


def test_a_line_of_ucf101_without_a_class(tmp_path):
    (tmp_path / "classInd.txt").write_text("1 Archery\n", encoding="utf-8")
    (tmp_path / "trainlist01.txt").write_text("v_Archery_g08_c01.avi 1\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match=r"line 1: .* is not CLASS/CLIP\.avi"):
        read_clip_list(tmp_path / "trainlist01.txt")
