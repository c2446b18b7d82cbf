"""The order in which public evaluators of AVA list rows before they sort them, on which equal scores depend.

All list frame after frame, as frames first occur in the file. Within a frame the challenge's program reads rows into
a heap, which may be bounded, and sorts what its array then holds by score.

Letters of shapes: R rows, C of them counted, S spare ones.
"""

import heapq
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
WithinFrame = Literal["heap", "file"]


@dataclass(frozen=True)
class ListedRows:
    """What is counted, and what another order of the file's equal scores would have counted.

    Attributes:
        counted: (C,) places of the rows that count, in the evaluator's order.
        undecided: (C,) bool, those of them that another order could have kept out of the limit.
        spare: (S,) places of the rows that only their order kept out of the limit.
    """

    counted: NDArray[np.intp]
    undecided: NDArray[np.bool_]
    spare: NDArray[np.intp]


def listed_rows(
    frame: Integers, score: Floats, label: Integers, boxes_xyxy: Floats, *, limit: int | None, within: WithinFrame
) -> ListedRows:
    """Rows as an evaluator lists them.

    Args:
        frame: (R,) frame numbers.
        score: (R,).
        label: (R,) class ids.
        boxes_xyxy: (R, 4).
        limit: rows of a frame that count, the best-scored ones, all classes together; None counts all.
        within: how equal scores of a frame, whose rows stand by score, follow each other. "heap": as they lie in a
            heap of (score, class, top, left, bottom, right), where among rows that tie at the limit the earlier ones
            came in and of these the greatest stayed. "file": as in the file.
    """
    _, first, inverse = np.unique(frame, return_index=True, return_inverse=True)
    appearance = first[inverse]
    in_file_order = np.argsort(appearance, kind="stable")
    listed = in_file_order[np.lexsort((-score[in_file_order], appearance[in_file_order]))]
    ordered_score, group = score[listed], appearance[listed]
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))[: len(group)]
    sizes = np.diff(np.append(starts, len(group)))
    rank = np.arange(len(group)) - np.repeat(starts, sizes)
    bound = len(group) if limit is None else limit
    ties_with_next = (ordered_score[1:] == ordered_score[:-1]) & (group[1:] == group[:-1])
    if within == "heap":
        matters = np.flatnonzero(ties_with_next & (rank[:-1] < bound))
        for number in np.unique(np.searchsorted(starts, matters, side="right") - 1).tolist():
            part = slice(int(starts[number]), int(starts[number] + sizes[number]))
            _list_by_heap(listed[part], in_file_order[part], score, label, boxes_xyxy, limit)
    crowded = starts[sizes > bound]
    tied = crowded[ties_with_next[crowded + bound - 1]]
    # A score that no row has stands for frames whose limit cuts between different scores.
    cut = np.full(len(starts), np.nan)
    cut[np.searchsorted(starts, tied)] = ordered_score[tied + bound - 1]
    undecided = ordered_score == np.repeat(cut, sizes)
    counts = rank < bound
    return ListedRows(listed[counts], undecided[counts], listed[undecided & ~counts])


def _list_by_heap(
    listed: NDArray[np.intp],
    in_file_order: NDArray[np.intp],
    score: Floats,
    label: Integers,
    boxes_xyxy: Floats,
    limit: int | None,
) -> None:
    """Put the rows of one frame, which are sorted by score, into the order that a heap leaves them in."""
    left, top, right, bottom = boxes_xyxy[in_file_order].T.tolist()
    columns = (score[in_file_order].tolist(), label[in_file_order].tolist(), top, left, bottom, right)
    entries = list(zip(*columns, strict=True))
    heap: list[tuple[float, ...]] = []
    for entry in entries:
        if limit is None or len(heap) < limit:
            heapq.heappush(heap, entry)
        elif entry[0] > heap[0][0]:
            heapq.heapreplace(heap, entry)
    heap.sort(key=lambda entry: -entry[0])
    # Equal entries must not be told apart by the heap, so that it is the objects that lead back to their rows.
    place_of = dict(zip(map(id, entries), in_file_order.tolist(), strict=True))
    chosen = [place_of.pop(id(entry)) for entry in heap]
    rest = np.array(list(place_of.values()), np.intp)
    listed[: len(chosen)] = chosen
    listed[len(chosen) :] = rest[np.argsort(-score[rest], kind="stable")]
