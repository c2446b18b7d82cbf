"""Seeded splits that keep clips of one source together and the classes in proportion."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from muybridge.data.clips.lists import ClipList
from muybridge.errors import AnnotationError, OptionError


def split_by_group(clips: ClipList, *, fraction: float = 0.2, seed: int = 0) -> tuple[ClipList, ClipList]:
    """The larger part to train on, and about `fraction` of each class held out; no group is in both.

    Raises:
        OptionError: `fraction` is not between 0 and 1.
        AnnotationError: a class whose clips all come from one source cannot be in both parts.
    """
    if not 0 < fraction < 1:
        raise OptionError(f"fraction={fraction} is not between 0 and 1. Choose such as 0.2.")
    # More folds than clips are empty, and would not change the first.
    folds = max(2, round(min(1 / fraction, len(clips))))
    return _parts_of(clips, _fold_of_clips(clips, folds, seed), 0)


def k_folds(clips: ClipList, *, folds: int, seed: int = 0) -> list[tuple[ClipList, ClipList]]:
    """(train, held out) for each fold; every clip is held out once.

    Groups are dealt out from the largest to the smallest, each to the fold that has least of its classes so far.

    Raises:
        OptionError: fewer than two folds.
        AnnotationError: a class whose clips all come from one source.
    """
    if folds < 2:
        raise OptionError(f"folds={folds} leaves nothing to hold out. Choose 2 or more.")
    fold_of = _fold_of_clips(clips, folds, seed)
    return [_parts_of(clips, fold_of, fold) for fold in range(folds)]


def _fold_of_clips(clips: ClipList, folds: int, seed: int) -> NDArray[np.int64]:
    members: dict[str, list[int]] = defaultdict(list)
    for index, entry in enumerate(clips.entries):
        members[entry.group].append(index)
    _require_two_sources(clips, members)
    random = np.random.default_rng(seed)
    names = [sorted(members)[i] for i in random.permutation(len(members))]
    names.sort(key=lambda name: -len(members[name]))
    counts = np.zeros((folds, len(clips.classes)))
    sizes = np.zeros(folds)
    fold_of = np.zeros(len(clips.entries), np.int64)
    for name in names:
        own = np.zeros(len(clips.classes))
        for index in members[name]:
            own[list(clips.entries[index].labels)] += 1
        fold = int(np.lexsort((sizes, counts @ own))[0])
        counts[fold] += own
        sizes[fold] += len(members[name])
        fold_of[members[name]] = fold
    return fold_of


def _parts_of(clips: ClipList, fold_of: NDArray[np.int64], fold: int) -> tuple[ClipList, ClipList]:
    others, own = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
    return clips.select(others.tolist()), clips.select(own.tolist())


def _require_two_sources(clips: ClipList, members: dict[str, list[int]]) -> None:
    sources: dict[int, set[str]] = defaultdict(set)
    for group, indices in members.items():
        for index in indices:
            for label in clips.entries[index].labels:
                sources[label].add(group)
    for label, groups in sources.items():
        if len(groups) < 2:
            raise AnnotationError(
                f"all clips of the class {clips.classes.names[label]!r} come from one source ({next(iter(groups))}), "
                "so none can be held out. Add clips from another, or give train and val folders"
            )
