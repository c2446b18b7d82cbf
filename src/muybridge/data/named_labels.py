"""From the action names in annotation tools' files to the ids of a label map, given or made on the way."""

import difflib
from collections.abc import Iterable
from pathlib import Path

from muybridge.data.annotation_files import annotation_error
from muybridge.data.label_maps import LabelMap


class NamedLabels:
    """Ids by name: those of a label map, or numbered from 0 in the order the names turn up."""

    def __init__(self, path: str | Path, labels: LabelMap | None) -> None:
        self._path = path
        self._given = labels
        self._ids = {} if labels is None else dict(zip(labels.names, labels.ids, strict=True))

    def knows(self, name: str) -> bool:
        """Whether a given label map has the name; true for any name where none was given."""
        return self._given is None or name in self._ids

    def id_of(self, name: str, *, where: int | str) -> int:
        """The id of a name.

        Raises:
            AnnotationError: a label map was given that does not have it.
        """
        if self._given is None:
            return self._ids.setdefault(name, len(self._ids))
        if name not in self._ids:
            close = difflib.get_close_matches(name, self._ids, 1)
            hint = f"Was {close[0]!r} meant? " if close else ""
            raise annotation_error(
                self._path,
                f"the action {name!r} is not in the label map",
                f"{hint}Rename it, or read with the label map it belongs to",
                where=where,
            )
        return self._ids[name]

    def learn(self, names: Iterable[str]) -> None:
        """Number names before they turn up, where no label map was given."""
        if self._given is None:
            for name in names:
                self._ids.setdefault(name, len(self._ids))

    def label_map(self) -> LabelMap | None:
        """The given label map, else that of the names seen; None where there was no name at all."""
        if self._given is not None or not self._ids:
            return self._given
        return LabelMap(tuple(self._ids), tuple(self._ids.values()))
