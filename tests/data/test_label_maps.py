"""Label maps: real lists, the published block forms, and what breaks them."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from muybridge.data.label_maps import LabelMap, read_label_map, write_label_map
from muybridge.errors import AnnotationError, MissingInput


def test_real_lists(real_data):
    folder = real_data / "annotations"
    ava = read_label_map(folder / "ava" / "ava_action_list_60.pbtxt")
    assert (len(ava), ava.ids[0], ava.ids[-1]) == (60, 1, 80)
    assert ava.name_of(80) == "watch (a person)"
    # The first 13 of the 60 columns are poses; the list itself does not say so.
    assert ava.exclusive == (tuple(range(13)),)
    assert [ava.ids[column] for column in ava.exclusive[0]] == [1, *range(3, 15)]
    assert read_label_map(folder / "ava" / "ava_action_list_60.pbtxt", exclusive_ids=()).exclusive == ()
    chosen = read_label_map(folder / "ava" / "ava_action_list_60.pbtxt", exclusive_ids=[[11, 12]])
    assert chosen.exclusive == ((9, 10),)
    everything = read_label_map(folder / "labels" / "ava80.txt")
    assert all(everything.name_of(number) == name for name, number in zip(ava.names, ava.ids, strict=True))
    assert read_label_map(folder / "ava_eval_toy" / "action_list.txt").ids == (1, 2, 3)
    kinetics = read_label_map(folder / "labels" / "kinetics400.txt")
    assert (len(kinetics), kinetics.names[0], kinetics.ids[:2]) == (400, "abseiling", (0, 1))
    assert read_label_map(folder / "labels" / "ucf101.txt").name_of(2) == "ApplyLipstick"


def test_ids_with_gaps_become_columns():
    labels = LabelMap(("stand", "watch", "bend"), (12, 80, 1))
    assert labels.columns(np.array([1, 80, 80, 12])).tolist() == [2, 1, 1, 0]
    with pytest.raises(AnnotationError, match="class id 2 is not in the label map"):
        labels.columns(np.array([12, 2]))


def test_label_blocks_make_poses_exclusive(tmp_path):
    path = tmp_path / "list.pbtxt"
    path.write_text(
        """# AVA's own form
label { name: "bend (at the {waist})" label_id: 1 label_type: PERSON_MOVEMENT }
label {
  label_id: 11
  label_type: PERSON_MOVEMENT
  name: "sit"
}
label: { name: 'say "hi"' label_id: 80 label_type: PERSON_INTERACTION }
"""
    )
    labels = read_label_map(path)
    assert labels == LabelMap(("bend (at the {waist})", "sit", 'say "hi"'), (1, 11, 80), ((0, 1),))
    assert read_label_map(path, exclusive_ids=[[80, 1]]).exclusive == ((2, 0),)


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("11: sit\n12: stand\n80: watch\n", ((0, 1),)),
        ("11: stand\n12: sit\n", ()),  # AVA's names with other ids are someone's own classes
        ("11: sit\n12: stand\n3: wave\n", ()),  # and so are AVA's among others of these ids
        ("12: stand\n80: watch\n", ()),  # nothing to exclude
    ],
)
def test_poses_of_ava_exclude_each_other_where_the_classes_are_its_own(tmp_path, text, group):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert read_label_map(path).exclusive == group


def test_a_file_that_states_no_groups_has_none(tmp_path):
    path = tmp_path / "labels.json"
    write_label_map(path, LabelMap(("sit", "stand"), (11, 12)))
    assert read_label_map(path).exclusive == ()


@pytest.mark.parametrize("suffix", [".pbtxt", ".json"])
def test_round_trip_with_exclusive_groups(tmp_path, suffix):
    labels = LabelMap(('say "hi", wave', "sit", "stand", "äéß", "10 pins"), (3, 7, 80, 0, 5), ((1, 2), (0, 4)))
    path = tmp_path / f"labels{suffix}"
    write_label_map(path, labels)
    again = read_label_map(path)
    assert (again.names, again.ids) == (labels.names, labels.ids)
    assert sorted(again.exclusive) == sorted(labels.exclusive)


def test_text_round_trip_and_json_forms(tmp_path):
    path = tmp_path / "labels.txt"
    write_label_map(path, LabelMap(("sit", "stand"), (4, 9)))
    assert read_label_map(path) == LabelMap(("sit", "stand"), (4, 9))
    json_path = tmp_path / "labels.json"
    for text in ('["sit", "stand"]', '{"sit": 0, "stand": 1}', '{"0": "sit", "1": "stand"}'):
        json_path.write_text(text)
        assert read_label_map(json_path) == LabelMap(("sit", "stand"), (0, 1))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.pbtxt", 'item {\n  name: "a"\n}\n', r"line 1: a block needs a name and a whole id"),
        ("a.pbtxt", 'item {\n  name: "a"\n  id: 1\n', r"line 1: this block is never closed"),
        ("a.pbtxt", 'item {\n  name: "a"\n  id 1\n}\n', r"line 3: 'id 1' is not expected"),
        ("a.pbtxt", 'item { name: "a" id: 1 }\nitem { name: "b" id: 1 }', r"a\.pbtxt: The class id 1 stands twice"),
        ("a.json", '["a", "a"]', "name 'a' stands twice"),
        ("a.json", '{"a": 1,\n oops}', r"a\.json, line 2: not JSON"),
        ("a.json", '[{"name": "a"}]', "an id is a whole number"),
        ("a.json", '{"labels": [{"name": "a", "id": 1}], "exclusive": [["a", "b"]]}', "'b', which is no class"),
        ("a.txt", "1: sit\nstand\n", "line 2: no id"),
        ("a.txt", "\n", "at least one class"),
        ("a.txt", "id name\n1 sit\n2 lie\n", "line 1: 'id name' has no id, though all other lines have one"),
        ("a.txt", "9" * 5000 + " sit\n", "line 1: the id is beyond 64 bits"),
        ("a.pbtxt", f"item {{ name: 'a' id: {'9' * 5000} }}", "line 1: a block needs a name and a whole id"),
        ("a.json", '{"a": ' + "9" * 5000 + "}", "a number of thousands of digits"),
        ("a.json", '{"a": ' + "9" * 30 + "}", "an id is a whole number"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '{"labels": [{"name": "a", "id": 1}], "exclusive": 3}', "'exclusive' must be a list of lists"),
        ("a.csv", "id,name\n1,sit\n2,lie,x\n", "line 3: 3 columns"),
        ("a.csv", "id,name\n1,sit\nx,lie\n", "line 3: not an id and a name"),
        ("a.csv", '1,"' + "x" * 200_000 + '"\n', "field larger than field limit"),
    ],
)
def test_errors_name_file_and_rule(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_label_map(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ['id,name\n4,sit\n9,"stand, up"\n', 'sit,4\n"stand, up",9\n'])
def test_csv_with_and_without_header_in_either_order(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    assert read_label_map(path) == LabelMap(("sit", "stand, up"), (4, 9))
    write_label_map(path, LabelMap(("sit", "stand, up"), (4, 9)))
    assert read_label_map(path) == LabelMap(("sit", "stand, up"), (4, 9))
    path.write_text("sit\nstand\n")
    assert read_label_map(path) == LabelMap(("sit", "stand"), (0, 1))


@pytest.mark.parametrize("suffix", [".pbtxt", ".json", ".csv", ".txt"])
def test_eighty_thousand_classes(tmp_path, suffix):
    """Time must not grow with the square of the classes: it would be minutes here."""
    labels = LabelMap(tuple(f"class {number}" for number in range(80_000)), tuple(range(0, 160_000, 2)))
    write_label_map(tmp_path / f"labels{suffix}", labels)
    again = read_label_map(tmp_path / f"labels{suffix}")
    assert again == labels and again.id_of["class 79999"] == 159_998 and again.has_id(2) and not again.has_id(3)


def test_a_path_that_no_system_takes(tmp_path):
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(MissingInput, match="is not a file"):
            read_label_map(tmp_path / name)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(MissingInput):
        read_label_map(tmp_path / "none.txt")
    (tmp_path / "labels.txt").write_bytes(b"\x80\x04\x95\xff")
    with pytest.raises(AnnotationError, match="pickle"):
        read_label_map(tmp_path / "labels.txt")


@pytest.mark.parametrize("suffix", ["txt", "pbtxt"])
@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\n\t "])
@pytest.mark.parametrize("before", ["", "x", "x:", "item", "item :"])
def test_blanks_without_end_are_passed_over_in_one_go(tmp_path: Path, suffix: str, blank: str, before: str) -> None:
    """By trials that grow with the square of them, these would take hours."""
    path = tmp_path / f"labels.{suffix}"
    path.write_text(before + blank * 300_000 + ";")
    with contextlib.suppress(AnnotationError):
        assert 1 <= len(read_label_map(path)) <= 2
