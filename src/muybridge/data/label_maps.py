"""Classes, their ids in files, and which of them exclude each other; from pbtxt, text or JSON."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.text_files import csv_rows, is_whole, parse_json, parse_whole, read_text, shown
from muybridge.errors import AnnotationError
from muybridge.media.outputs import atomic_output

_TOKEN = re.compile(
    r"\s+|#[^\n]*|(?P<open>[A-Za-z_]\w*\s*(?::\s*)?\{)|(?P<close>\})|"
    r'(?P<key>[A-Za-z_]\w*)\s*:\s*(?P<value>"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|[\w.+-]+)[,;]?'
)
# In AVA's own list the poses are the movements; a person has exactly one of them.
_EXCLUSIVE_TYPE = "PERSON_MOVEMENT"
# AVA v2.2's poses by id. Its list of the 60 evaluated classes names no types and lacks "crawl".
AVA_POSES = {
    1: "bend/bow (at the waist)", 2: "crawl", 3: "crouch/kneel", 4: "dance", 5: "fall down", 6: "get up",
    7: "jump/leap", 8: "lie/sleep", 9: "martial art", 10: "run/jog", 11: "sit", 12: "stand", 13: "swim", 14: "walk",
}  # fmt: skip
_NUMBERED = re.compile(r"(\d+)\s*[:,\t ]\s*(\S.*)")


@dataclass(frozen=True)
class LabelMap:
    """Class names in the order of a model's columns.

    Attributes:
        names: (K,) one a class, all different.
        ids: (K,) how files number the classes: any non-negative integers, gaps allowed (AVA uses 60 of 1..80).
        exclusive: groups of columns of which a person has exactly one, as `muybridge.models.acar.loss` takes them.

    Raises:
        AnnotationError: no class at all, a repeated name or id, a group that is not sound.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    exclusive: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise AnnotationError("A label map needs at least one class. Add an item with name and id.")
        if len(self.names) != len(self.ids):
            raise AnnotationError(
                f"{counted(len(self.names), 'name')} beside {counted(len(self.ids), 'id')}. Give one id a name."
            )
        for what, values in (("name", self.names), ("id", self.ids)):
            repeated = next((value for value, count in Counter[str | int](values).items() if count > 1), None)
            if repeated is not None:
                raise AnnotationError(f"The class {what} {repeated!r} stands twice. Make each one different.")
        if min(self.ids) < 0 or max(self.ids) >= 2**63:
            wrong = min(self.ids) if min(self.ids) < 0 else f"{float(max(self.ids)):g}"
            raise AnnotationError(f"The class id {wrong} is out of range. Number classes from 0 or 1.")
        members = [column for group in self.exclusive for column in group]
        if any(len(group) < 2 for group in self.exclusive) or len(set(members)) < len(members):
            raise AnnotationError("Exclusive groups need two classes or more, each class in one group at most.")
        if members and not 0 <= min(members) <= max(members) < len(self.names):
            raise AnnotationError(f"An exclusive group names a column outside 0 to {len(self.names) - 1}.")

    def __len__(self) -> int:
        return len(self.names)

    def name_of(self, class_id: int) -> str:
        """The name of a class as files number it."""
        return self.names[int(self.columns(np.array([class_id]))[0])]

    def columns(self, class_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Columns of (N,) class ids: (N,) int64 in [0, K).

        Raises:
            AnnotationError: an id is not in the map.
        """
        known, order = self._sorted_ids
        place = np.searchsorted(known, class_ids).clip(max=len(known) - 1)
        wrong = known[place] != class_ids
        if wrong.any():
            raise AnnotationError(
                f"The class id {int(class_ids[wrong][0])} is not in the label map, whose ids are"
                f" {known[0]} to {known[-1]} ({counted(len(known), 'class')}). Use the list that belongs to "
                "these annotations."
            )
        return order[place]

    @cached_property
    def id_of(self) -> Mapping[str, int]:
        """How files number each class, by its name."""
        return dict(zip(self.names, self.ids, strict=True))

    def has_id(self, class_id: int) -> bool:
        """Whether files may number a class so."""
        known, _ = self._sorted_ids
        place = int(np.searchsorted(known, class_id))
        return place < len(known) and int(known[place]) == class_id

    @cached_property
    def _sorted_ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids in ascending order and the columns that they have."""
        order = np.argsort(self.ids)
        return np.array(self.ids, np.int64)[order], order


def read_label_map(path: str | Path, *, exclusive_ids: Sequence[Sequence[int]] | None = None) -> LabelMap:
    """Read a label map by its suffix: .pbtxt, .json, .csv, or text; a text file of `item {` blocks is read as pbtxt.

    - pbtxt: blocks `item { name: "..." id: 1 }`, or AVA's `label { name label_id label_type }`, in which the classes
      of type PERSON_MOVEMENT exclude each other. `exclusive_group: "..."` is understood in either.
    - text: one class a line, numbered from 0, or every line begins with its id ("12: stand", "12 stand").
    - CSV: a name and a whole number in each line, in either order, or a name alone; a header is passed over.
    - JSON: a list of names; an object {name: id} or {id: name}; a list of {"name", "id"}; or the whole map
      {"labels": [{"name", "id"}], "exclusive": [[name, ...]]}.

    Where neither the file nor `exclusive_ids` names a group, AVA's own classes are known: if every id up to 14 has
    the name of AVA's pose of that id, those poses exclude each other. `exclusive_ids=()` states that none do.

    Args:
        path: UTF-8.
        exclusive_ids: groups of class ids; replace what the file says.

    Raises:
        MissingInput: no such file.
        AnnotationError: the file breaks its format; names file, line and rule.
    """
    path = Path(path)
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        parse: Callable[[Path, str], LabelMap] = _parse_json
    elif suffix == ".csv":
        parse = _parse_csv
    elif suffix == ".pbtxt" or re.search(r"^[ \t]*\w+\s*(?::\s*)?\{", text, re.MULTILINE):
        parse = _parse_pbtxt
    else:
        parse = _parse_text
    try:
        labels = parse(path, text)
        if exclusive_ids is None:
            states_groups = suffix == ".json" and '"exclusive"' in text
            return labels if labels.exclusive or states_groups else _with_ava_poses(labels)
        groups = [tuple(labels.columns(np.array(group)).tolist()) for group in exclusive_ids]
        return LabelMap(labels.names, labels.ids, tuple(groups))
    except AnnotationError as error:
        if str(path) in str(error):
            raise
        raise AnnotationError(f"{path}: {error}") from error


def _with_ava_poses(labels: LabelMap) -> LabelMap:
    """The same with the poses as one exclusive group, if these are AVA's; otherwise unchanged."""
    poses = tuple(column for column, number in enumerate(labels.ids) if number <= max(AVA_POSES))
    ours = len(poses) > 1 and all(AVA_POSES.get(labels.ids[column]) == labels.names[column] for column in poses)
    return LabelMap(labels.names, labels.ids, (poses,)) if ours else labels


def write_label_map(path: str | Path, labels: LabelMap) -> None:
    """Write a label map by its suffix, with exclusive groups: .pbtxt, .json; .csv, and any other as text, without.

    Raises:
        OutputError: it cannot be written.
    """
    path = Path(path)
    group_of = {column: number for number, group in enumerate(labels.exclusive) for column in group}
    if path.suffix.lower() == ".json":
        items = [{"name": name, "id": number} for name, number in zip(labels.names, labels.ids, strict=True)]
        groups = [[labels.names[column] for column in group] for group in labels.exclusive]
        text = json.dumps({"labels": items, "exclusive": groups}, indent=2, ensure_ascii=False) + "\n"
    elif path.suffix.lower() == ".pbtxt":
        blocks: list[str] = []
        for column, (name, number) in enumerate(zip(labels.names, labels.ids, strict=True)):
            group = f'  exclusive_group: "{group_of[column]}"\n' if column in group_of else ""
            blocks.append(f"item {{\n  name: {json.dumps(name, ensure_ascii=False)}\n  id: {number}\n{group}}}\n")
        text = "".join(blocks)
    elif path.suffix.lower() == ".csv":
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(
            [("id", "name"), *zip(labels.ids, labels.names, strict=True)]
        )
        text = lines.getvalue()
    else:
        text = "".join(f"{number}: {name}\n" for name, number in zip(labels.names, labels.ids, strict=True))
    with atomic_output(path) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def _parse_pbtxt(path: Path, text: str) -> LabelMap:
    items: list[tuple[str, int]] = []
    groups: dict[str, list[int]] = {}
    fields: dict[str, str] | None = None
    start, line, position = 1, 1, 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        wrong_place = (
            token is not None and token.lastgroup is not None and (token["open"] is None) == (fields is None)
        )
        if token is None or wrong_place:
            found = text[position:].split("\n", 1)[0].strip()
            raise AnnotationError(
                f"{path}, line {line}: {shown(found)} is not expected. Write blocks like item"
                ' { name: "walk" id: 14 }.'
            )
        line_of_token = line
        line += text.count("\n", position, token.end())
        position = token.end()
        if token["open"] is not None:
            fields, start = {}, line_of_token
        elif token["key"] is not None and fields is not None:
            fields[token["key"]] = token["value"]
        elif token["close"] is not None and fields is not None:
            name, number = _pbtxt_item(path, start, fields)
            group = fields.get("exclusive_group")
            if group is None and fields.get("label_type") == _EXCLUSIVE_TYPE:
                group = _EXCLUSIVE_TYPE
            if group is not None:
                groups.setdefault(group, []).append(len(items))
            items.append((name, number))
            fields = None
    if fields is not None:
        raise AnnotationError(f"{path}, line {start}: this block is never closed. Add its closing brace.")
    exclusive = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    return LabelMap(tuple(name for name, _ in items), tuple(number for _, number in items), exclusive)


def _pbtxt_item(path: Path, line: int, fields: dict[str, str]) -> tuple[str, int]:
    number = parse_whole(fields.get("id", fields.get("label_id", "")))
    name = fields.get("display_name", fields.get("name"))
    if number is None or name is None:
        raise AnnotationError(f"{path}, line {line}: a block needs a name and a whole id (or label_id).")
    if name[0] in "\"'":
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return name, number


def _parse_csv(path: Path, text: str) -> LabelMap:
    del text
    rows = [(line, [cell for cell in cells if cell]) for line, cells in csv_rows(path)]
    if any(len(cells) > 2 for _, cells in rows):
        line, cells = next((line, cells) for line, cells in rows if len(cells) > 2)
        raise AnnotationError(
            f"{path}, line {line}: {counted(len(cells), 'column')}. Write a class's id and its name."
        )
    if all(len(cells) == 1 for _, cells in rows):
        return LabelMap(tuple(cells[0] for _, cells in rows), tuple(range(len(rows))))
    if rows and not any(parse_whole(cell) is not None for cell in rows[0][1]):
        rows = rows[1:]  # the header
    # Names may be numbers too, so that the column of ids is the one that holds nothing else.
    place = next((n for n in (0, 1) if all(len(c) == 2 and parse_whole(c[n]) is not None for _, c in rows)), None)
    if place is None:
        line = next((n for n, c in rows if len(c) != 2 or not any(parse_whole(cell) is not None for cell in c)), 1)
        raise AnnotationError(f"{path}, line {line}: not an id and a name. Write a class's id and its name.")
    return LabelMap(tuple(c[1 - place] for _, c in rows), tuple(int(c[place]) for _, c in rows))


def _parse_text(path: Path, text: str) -> LabelMap:
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    matches = [_NUMBERED.fullmatch(line) for _, line in lines]
    if any(matches) and not all(matches):
        first = next(number for (number, _), match in zip(lines, matches, strict=True) if match is None)
        # Class names may begin with a digit; a file is numbered when its very first line is.
        if matches[0] is not None:
            raise AnnotationError(f"{path}, line {first}: no id, though line 1 has one. Number every line, or none.")
        if all(matches[1:]) and len(lines) > 2:
            raise AnnotationError(
                f"{path}, line 1: {lines[0][1]!r} has no id, though all other lines have one. Remove the header, or "
                "number every line."
            )
    if lines and all(matches):
        pairs = [
            (line, match[2], parse_whole(match[1])) for (line, _), match in zip(lines, matches, strict=True) if match
        ]
        beyond = next((line for line, _, number in pairs if number is None), None)
        if beyond is not None:
            raise AnnotationError(f"{path}, line {beyond}: the id is beyond 64 bits. Number classes from 0 or 1.")
        return LabelMap(
            tuple(name for _, name, _ in pairs), tuple(number for *_, number in pairs if number is not None)
        )
    return LabelMap(tuple(line for _, line in lines), tuple(range(len(lines))))


def _parse_json(path: Path, text: str) -> LabelMap:
    content = parse_json(path, text)
    groups: Any = []
    if isinstance(content, dict) and "labels" in content:
        groups, content = content.get("exclusive", []), content["labels"]
    pairs: list[tuple[Any, Any]]
    if isinstance(content, dict):
        numbers = [parse_whole(key) for key in content]
        flipped = None not in numbers
        pairs = [
            (value, number) if flipped else (key, value)
            for (key, value), number in zip(content.items(), numbers, strict=True)
        ]
    elif isinstance(content, list) and all(isinstance(item, dict) for item in content):
        pairs = [(item.get("name"), item.get("id")) for item in content]
    elif isinstance(content, list):
        pairs = [(name, number) for number, name in enumerate(content)]
    else:
        raise AnnotationError(f"{path}: expected a list of names or an object of names and ids.")
    for name, number in pairs:
        if not isinstance(name, str) or not is_whole(number):
            raise AnnotationError(
                f"{path}: class {shown(name)} with id {shown(number)}: names are text, an id is a whole number."
            )
    names = tuple(str(name) for name, _ in pairs)
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise AnnotationError(f"{path}: 'exclusive' must be a list of lists of class names.")
    column_of = {name: column for column, name in enumerate(names)}
    unknown = [name for group in groups for name in group if not isinstance(name, str) or name not in column_of]
    if unknown:
        raise AnnotationError(
            f"{path}: the exclusive group names {shown(unknown[0])}, which is no class. Use class names."
        )
    exclusive = tuple(tuple(column_of[name] for name in group) for group in groups)
    return LabelMap(names, tuple(int(number) for _, number in pairs), exclusive)
