"""Folders and lists of clips: who is in which class, split and group, and what is refused."""

import json
from pathlib import Path

import pytest

from muybridge.data.clip_lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.label_maps import LabelMap
from muybridge.data.splits import k_folds, split_by_group
from muybridge.errors import AnnotationError, MissingInput, OptionError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not read here")
    return path


def names_of(clips: ClipList) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [] for name in clips.classes.names}
    for entry in clips.entries:
        for label in entry.labels:
            found[clips.classes.names[label]].append(entry.path.name)
    return found


def test_a_folder_a_class(tmp_path):
    for name in ("walk/b 2.mp4", "walk/b 10.MP4", "run/deep/c.mkv", "run/notes.txt", "run/.hidden.mp4"):
        touch(tmp_path / name)
    lists = read_clip_list(tmp_path)
    assert list(lists) == ["all"]
    assert names_of(lists["all"]) == {"run": ["c.mkv"], "walk": ["b 2.mp4", "b 10.MP4"]}
    assert lists["all"].class_counts() == [1, 2]


def test_folders_of_frames_are_clips(tmp_path):
    for name in ("run/film/0001.png", "run/film/0002.png", "walk/other/1.jpg", "walk/b.mp4"):
        touch(tmp_path / name)
    clips = read_clip_list(tmp_path)["all"]
    assert names_of(clips) == {"run": ["film"], "walk": ["b.mp4", "other"]}


def test_train_and_val_folders(tmp_path):
    for name in ("Train/a/1.mp4", "Train/b/2.mp4", "valid/a/3.mp4", "valid/b/4.mp4"):
        touch(tmp_path / name)
    lists = read_clip_list(tmp_path)
    assert {split: names_of(clips) for split, clips in lists.items()} == {
        "train": {"a": ["1.mp4"], "b": ["2.mp4"]},
        "val": {"a": ["3.mp4"], "b": ["4.mp4"]},
    }


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nmy clips/a 1.mp4,jump high\nb.mp4,sit\n",
        "Video\tClass\nmy clips/a 1.mp4\tjump high\nb.mp4\tsit\n",
        "my clips/a 1.mp4,jump high\nb.mp4,sit\n",
        '"my clips/a 1.mp4";"jump high"\nb.mp4;sit\n',
        "\ufefflabel,path\njump high,my clips/a 1.mp4\n\nsit,b.mp4\n",
    ],
)
def test_lists_with_and_without_header_and_with_spaces(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    clips = read_clip_list(tmp_path / "list.csv")["all"]
    assert names_of(clips) == {"jump high": ["a 1.mp4"], "sit": ["b.mp4"]}
    assert clips.entries[0].path == tmp_path / "my clips" / "a 1.mp4"


def test_text_with_a_space_before_the_number_of_the_class(tmp_path):
    (tmp_path / "list.txt").write_text("# comment\nsome clips/one.mp4 10\ntwo.mp4 2\n", encoding="utf-8")
    clips = read_clip_list(tmp_path / "list.txt", root=Path("/data"))["all"]
    assert clips.classes == LabelMap(("2", "10"), (2, 10))  # by value, not as text
    assert [(e.path.as_posix(), e.labels) for e in clips.entries] == [
        ("/data/some clips/one.mp4", (1,)),
        ("/data/two.mp4", (0,)),
    ]


def test_columns_for_times_groups_splits_and_several_labels(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,start,end,label,group,split\n"
        "a.mp4,1.5,3,run|wave,film 1,training\na.mp4,4,6,,film 1,training\nb.mp4,,,run,film 2,validation\n",
        encoding="utf-8",
    )
    lists = read_clip_list(tmp_path / "list.csv")
    assert lists["train"].multi_label
    assert lists["train"].entries == (
        ClipEntry(tmp_path / "a.mp4", (0, 1), "film 1", 1.5, 3.0),
        ClipEntry(tmp_path / "a.mp4", (), "film 1", 4.0, 6.0),
    )
    assert lists["val"].entries == (ClipEntry(tmp_path / "b.mp4", (0,), "film 2"),)


def test_ids_of_a_label_map_are_understood(tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4,7\nb.mp4,sit\n", encoding="utf-8")
    clips = read_clip_list(tmp_path / "list.csv", labels=LabelMap(("sit", "stand"), (3, 7)))["all"]
    assert [entry.labels for entry in clips.entries] == [(1,), (0,)]


def test_a_clip_that_stands_twice_counts_once_and_is_told(tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4,x\nb.mp4,y\na.mp4,x\n", encoding="utf-8")
    clips = read_clip_list(tmp_path / "list.csv")["all"]
    assert len(clips) == 2
    assert "1 clips stand twice" in clips.notes[0]


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
    ("files", "message"),
    [
        ({}, "no folder for a class"),
        ({"a.mp4": ""}, "1 clips, but no folder for a class"),
        ({"a/x.mp4": "", "b/notes.txt": ""}, "b holds no clip"),
    ],
)
def test_folders_that_cannot_be_meant(tmp_path, files, message):
    for name in files:
        touch(tmp_path / name)
    with pytest.raises(AnnotationError, match=message):
        read_clip_list(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4\n", "line 1"),
        ("a.mp4,run\nb.mp4,fly\n", "line 2: 'fly' is no class"),
        ("path,label,start\na.mp4,run,soon\n", "'soon' is no number of seconds"),
        ("", "names no clip"),
    ],
)
def test_lists_that_cannot_be_meant(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError, match=message):
        read_clip_list(tmp_path / "list.csv", labels=LabelMap(("run", "sit"), (0, 1)))


def test_nothing_there(tmp_path):
    with pytest.raises(MissingInput, match="nowhere"):
        read_clip_list(tmp_path / "nowhere")


def test_given_files_of_the_dark_clips(real_data):
    lists = read_clip_list(real_data / "clips" / "dark_actions")
    assert lists["train"].class_counts() == [25] * 6
    assert lists["val"].class_counts() == [17, 15, 15, 16, 17, 16]


# ---- splits ----


def clips_of(groups: dict[str, list[int]]) -> ClipList:
    entries = [
        ClipEntry(Path(f"{group}_{number}.mp4"), (label,), group)
        for group, labels in groups.items()
        for number, label in enumerate(labels)
    ]
    return ClipList(tuple(entries), LabelMap(("a", "b"), (0, 1)))


def test_groups_stay_whole_and_classes_in_proportion():
    clips = clips_of({f"film {i}": [0, 0, 1] if i % 2 else [1, 1, 0, 0] for i in range(40)})
    train, held_out = split_by_group(clips, fraction=0.25, seed=5)
    groups = [{entry.group for entry in part.entries} for part in (train, held_out)]
    assert not groups[0] & groups[1]
    assert set(train.entries) | set(held_out.entries) == set(clips.entries)
    for counts, whole in zip(held_out.class_counts(), clips.class_counts(), strict=True):
        assert abs(counts / whole - 0.25) < 0.04


def test_the_seed_decides_and_repeats():
    clips = clips_of({f"{i}": [i % 2] for i in range(50)})
    first, again, other = (split_by_group(clips, seed=seed)[1].entries for seed in (1, 1, 2))
    assert first == again != other


def test_every_clip_is_held_out_once():
    clips = clips_of({f"{i}": [i % 2] * (1 + i % 3) for i in range(31)})
    held_out = [entry for _, part in k_folds(clips, folds=5, seed=0) for entry in part.entries]
    assert sorted(held_out, key=str) == sorted(clips.entries, key=str)


def test_a_class_from_one_source_cannot_be_split():
    with pytest.raises(AnnotationError, match="class 'b' come from one source"):
        split_by_group(clips_of({"1": [0, 0], "2": [0], "3": [1, 1, 1]}))


def test_a_share_that_is_none():
    with pytest.raises(OptionError, match="fraction=1"):
        split_by_group(clips_of({"1": [0, 1], "2": [0, 1]}), fraction=1)
