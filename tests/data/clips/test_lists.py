"""Folders and lists of clips: who is in which class, split and group, and what is refused."""

from pathlib import Path

import pytest

from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.label_maps import LabelMap
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
    assert "used once: 1 clip of" in clips.notes[0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no folder for a class"),
        ({"a.mp4": ""}, "1 clip, but no folder for a class"),
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
        ("path,label,start,end\na.mp4,run,4,3\n", "line 2: the clip ends at 3.0 s, before it begins"),
        ("a.mp4,run\na.mp4,sit\n", r"line 2: .*a.mp4 is 'sit', but 'run' before \(line 1\)"),
        ("path,label\na.mp4,run\nb.mp4,\n", "line 3: .*b.mp4 has no label"),
        ("path,label,start\na.mp4,run,nan\n", "line 2: start 'nan' is no number of seconds"),
        ("path,label,end\na.mp4,run,inf\n", "line 2: end 'inf' is no number of seconds"),
        ("path,label\n,run\n", "line 2: ',run' is not a path and a label"),
        ("", "names no clip"),
    ],
)
def test_lists_that_cannot_be_meant(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError, match=message):
        read_clip_list(tmp_path / "list.csv", labels=LabelMap(("run", "sit"), (0, 1)))


@pytest.mark.parametrize(
    "names",
    [("²", "³"), ("01", "1"), ("1", "٢"), ("1", "9" * 20), ("1", "9" * 5000)],
    ids=["superscript", "leading zero", "Arabic", "beyond 64 bits", "beyond what int reads"],
)
def test_classes_that_look_like_numbers_but_are_none_are_names(tmp_path, names):
    (tmp_path / "list.csv").write_text("".join(f"{i}.mp4,{n}\n" for i, n in enumerate(names)), encoding="utf-8")
    assert read_clip_list(tmp_path / "list.csv")["all"].classes == LabelMap(tuple(sorted(names)), (0, 1))


def test_an_accent_is_one_class_however_it_is_written(tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4,caf\u00e9\nb.mp4,cafe\u0301\n", encoding="utf-8")
    assert read_clip_list(tmp_path / "list.csv")["all"].class_counts() == [2]
    theirs = LabelMap(("cafe\u0301",), (0,))  # a model's classes stay as they are
    assert read_clip_list(tmp_path / "list.csv", labels=theirs)["all"].classes is theirs


def test_a_label_that_stands_twice_in_a_line_does_not_make_several(tmp_path):
    (tmp_path / "list.csv").write_text("a.mp4,run|run\nb.mp4,sit\n", encoding="utf-8")
    clips = read_clip_list(tmp_path / "list.csv")["all"]
    assert not clips.multi_label
    assert clips.entries[0].labels == (0,)


def test_a_pattern_for_groups_that_is_none_or_whose_group_takes_no_part(tmp_path):
    touch(tmp_path / "x" / "cam1_a.mp4")
    touch(tmp_path / "x" / "b.mp4")
    with pytest.raises(OptionError, match=r"group_pattern='\(cam' is no regular expression"):
        read_clip_list(tmp_path, group_pattern="(cam")
    clips = read_clip_list(tmp_path, group_pattern=r"/(cam\d)?_?[ab]+\w*\.mp4")["all"]
    assert [e.group for e in clips.entries] == [(tmp_path / "x" / "b.mp4").as_posix(), "cam1"]


def test_clips_without_a_split_beside_others_with_one_are_told(tmp_path):
    (tmp_path / "list.csv").write_text("path,label,split\na.mp4,x,Train\nb.mp4,x,\n", encoding="utf-8")
    assert "left out: 1 clip of" in read_clip_list(tmp_path / "list.csv")["train"].notes[0]


def test_a_header_of_capitals_and_spaces(tmp_path):
    (tmp_path / "list.csv").write_text("Video Path;Class Name\na.mp4;run\n", encoding="utf-8")
    assert names_of(read_clip_list(tmp_path / "list.csv")["all"]) == {"run": ["a.mp4"]}


def test_a_list_with_spaces_only_has_headers_and_labels_of_several_words_too(tmp_path):
    (tmp_path / "list.txt").write_text("path label\nmy clips/a 1.mp4 jump high\nb.MKV sit\n", encoding="utf-8")
    clips = read_clip_list(tmp_path / "list.txt")["all"]
    assert names_of(clips) == {"jump high": ["a 1.mp4"], "sit": ["b.MKV"]}


def test_a_clip_in_both_parts_of_a_split_is_told(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,split\na.mp4,x,train\nb.mp4,y,train\na.mp4,x,val\n", encoding="utf-8"
    )
    lists = read_clip_list(tmp_path / "list.csv")
    assert (len(lists["train"]), len(lists["val"])) == (2, 1)
    assert "1 clip of" in lists["val"].notes[0]
    assert "more than one of train, val" in lists["val"].notes[0]


def test_a_class_of_the_name_train(tmp_path):
    for name in ("train/1.mp4", "car/2.mp4"):
        touch(tmp_path / name)
    assert names_of(read_clip_list(tmp_path)["all"]) == {"car": ["2.mp4"], "train": ["1.mp4"]}
    touch(tmp_path / "val" / "deeper" / "3.mp4")
    with pytest.raises(AnnotationError, match=r"holds both .* 'car': parts of a split, or classes"):
        read_clip_list(tmp_path)


def test_other_folders_beside_train_and_val_are_no_classes(tmp_path):
    for name in ("train/a/1.mp4", "val/a/2.mp4", "annotations/list.csv"):
        touch(tmp_path / name)
    assert sorted(read_clip_list(tmp_path)) == ["train", "val"]


def test_nothing_there(tmp_path):
    with pytest.raises(MissingInput, match="nowhere"):
        read_clip_list(tmp_path / "nowhere")


def test_given_files_of_the_dark_clips(real_data):
    lists = read_clip_list(real_data / "clips" / "dark_actions")
    assert lists["train"].class_counts() == [25] * 6
    assert lists["val"].class_counts() == [17, 15, 15, 16, 17, 16]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n" + "x" * 5000 + ".mp4,a\n", "line 2: .* can be no path"),
        ("path,label\na\0b.mp4,a\n", "line 2: .*can be no path|line 2: not CSV"),
        ("path,label\na.mp4," + "x" * 200_000 + "\n", "line 2: not CSV: field larger than field limit"),
        ("path,label,start\na.mp4,a," + "9" * 5000 + "\n", "line 2: start '999"),
    ],
)
def test_lines_beyond_reason_are_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_clip_list(tmp_path / "list.csv")
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


def test_a_list_whose_name_no_system_takes(tmp_path):
    with pytest.raises(MissingInput, match="there is no"):
        read_clip_list(tmp_path / ("x" * 5000))


def test_the_same_clips_are_known_again_wherever_they_lie(tmp_path):
    for name in (
        "a/run/1.mp4",
        "a/walk/2.mp4",
        "b/clips/walk/2.mp4",
        "b/clips/run/1.mp4",
        "c/run/2.mp4",
        "c/walk/1.mp4",
    ):
        touch(tmp_path / name)
    swapped = LabelMap(("walk", "run"), (0, 1))
    first, same, other = (read_clip_list(tmp_path / name)["all"].fingerprint() for name in ("a", "b/clips", "c"))
    assert read_clip_list(tmp_path / "a", labels=swapped)["all"].fingerprint() == first == same
    assert other != first
    assert read_clip_list(tmp_path / "a")["all"].select([0]).fingerprint() != first
    (tmp_path / "b/clips/walk/2.mp4").write_bytes(b"recorded another day")
    assert read_clip_list(tmp_path / "b/clips")["all"].fingerprint() != first
