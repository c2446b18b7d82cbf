"""Splits that keep groups whole and classes in proportion."""

from pathlib import Path

import pytest

from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.clips.splits import k_folds, split_by_group
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, OptionError


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
