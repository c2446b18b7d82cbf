"""Which actions are shown of whom, so that words do not flicker: what is shown stays until it is clearly over."""

import numpy as np
from numpy.typing import NDArray

from muybridge.data.label_maps import LabelMap
from muybridge.errors import OptionError
from muybridge.localize.results import People

_STAYS = 0.7  # of the threshold: what is shown stays down to this share
_AHEAD = 0.15  # what is to take the place of a shown action must be so much likelier


class SteadyActions:
    """The actions shown of each person, from one frame to the next.

    An action appears when its probability reaches the threshold, and stays until it falls clearly below. One that
    is shown gives way only to one that is clearly likelier. Asked again about the same people and probabilities, the
    answer is the same.

    Args:
        labels: which of them exclude each other; only one of such is shown.
        threshold: actions less probable do not appear.
        top: most actions of a person.

    Raises:
        OptionError: top is negative.
    """

    def __init__(self, labels: LabelMap, *, threshold: float, top: int) -> None:
        if top < 0:
            raise OptionError(f"top={top} is no number of actions. Choose 0 or more.")
        self._threshold, self._top = threshold, top
        self._group = np.arange(len(labels))  # a class that excludes no other is a group of its own
        for number, columns in enumerate(labels.exclusive):
            self._group[list(columns)] = len(labels) + number
        self._shown: dict[int, list[int]] = {}

    def shown(self, people: People) -> list[list[int]]:
        """Columns of each person's actions in this frame, likeliest first; people who left are forgotten."""
        self._shown = {
            person: self._chosen(self._shown.get(person, []), actions)
            for person, actions in zip(people.ids.tolist(), people.actions, strict=True)
        }
        return [self._shown[person] for person in people.ids.tolist()]

    def _chosen(self, before: list[int], actions: NDArray[np.float32]) -> list[int]:
        least = np.full(len(actions), self._threshold)
        least[before] *= _STAYS
        worth = actions.astype(np.float64)
        worth[before] += _AHEAD
        candidates = np.flatnonzero(actions >= least)
        chosen: list[int] = []
        groups: set[int] = set()
        for column in candidates[np.argsort(-worth[candidates], kind="stable")].tolist():
            if self._group[column] not in groups and len(chosen) < self._top:
                groups.add(int(self._group[column]))
                chosen.append(column)
        return sorted(chosen, key=lambda column: -float(actions[column]))
