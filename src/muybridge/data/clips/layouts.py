"""The lists that Kinetics, Something-Something and UCF101 come with."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from muybridge.data.text_files import exists, parse_json, read_text, shown
from muybridge.errors import AnnotationError


@dataclass(frozen=True)
class Row:
    """One line of a list, names not yet turned into columns.

    Attributes:
        path: of the clip.
        labels: names, or ids as text.
        split: train, val, test, or empty where the list does not tell.
        group: which source the clip was cut from, or empty.
        start, end: seconds within the file.
        line: its number in the list, 0 where there is none.
    """

    path: Path
    labels: tuple[str, ...]
    split: str = ""
    group: str = ""
    start: float | None = None
    end: float | None = None
    line: int = 0


def rows_of_kinetics(path: Path, text: str, root: Path) -> list[Row]:
    """Kinetics' CSV: label, youtube_id, time_start, time_end, split.

    Clips are looked for as ID_SSSSSS_EEEEEE.mp4 (the download tools' name) or ID.mp4, in `root`, in a folder of the
    class, or of the split.
    """
    rows: list[Row] = []
    for number, record in _records(path, text):
        try:
            name, label = record["youtube_id"], record["label"]
            start, end = int(float(record["time_start"])), int(float(record["time_end"]))
            if not (name and label):
                raise ValueError("youtube_id or label is empty")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise AnnotationError(
                f"{path}, line {number}: not a line of Kinetics (label, youtube_id, time_start, time_end, split)"
            ) from error
        split = (record.get("split") or "").lower()
        split = {"validate": "val", "validation": "val"}.get(split, split)
        cut = f"{name}_{start:06d}_{end:06d}.mp4"
        folders = (root, root / label, root / label.replace(" ", "_"), root / split, root / split / label)
        found = next((folder / cut for folder in folders if exists(folder / cut)), None)
        whole = next((folder / f"{name}.mp4" for folder in folders if exists(folder / f"{name}.mp4")), None)
        if found is None and whole is not None:
            rows.append(Row(whole, (label,), split, name, float(start), float(end), number))
        else:
            rows.append(Row(found or root / cut, (label,), split, name, line=number))
    return rows


def _records(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text))
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise AnnotationError(f"{path}, after line {reader.line_num}: not CSV: {error}. Correct it") from error
        if record is None:
            return
        yield reader.line_num, record


def rows_of_something_something(path: Path, text: str, root: Path) -> list[Row]:
    """Something-Something's JSON: a list of {"id", "template" or "label"}; videos are ID.webm or ID.mp4 in `root`.

    A list may also hold {"path", "label"}, with "labels" for several.
    """
    items = parse_json(path, text)
    if not isinstance(items, list):
        raise AnnotationError(f'{path} is not a list of objects such as {{"id": "74225", "template": "..."}}')
    split = next((s for s in ("train", "val", "test") if s in path.stem.lower()), "")
    rows: list[Row] = []
    for number, item in enumerate(cast(list[Any], items), 1):
        if not isinstance(item, dict) or not ({"id", "path"} & item.keys()):
            raise AnnotationError(f'{path}, item {number}: needs "id" (or "path") and "template" or "label"')
        record = cast(dict[str, Any], item)
        several: Any = record.get("labels") or [record.get("template") or record.get("label")]
        if not isinstance(several, list):
            raise AnnotationError(f'{path}, item {number}: "labels" is no list of names. Write one as "label"')
        given = cast(list[Any], several)
        labels = [label for label in given if isinstance(label, str)]
        if len(labels) < len(given):
            raise AnnotationError(f'{path}, item {number}: has no "template" or "label"')
        if record.get("path", record.get("id")) in (None, ""):
            raise AnnotationError(f'{path}, item {number}: "id" or "path" is empty. Correct the item')
        clip = root / str(record["path"]) if "path" in record else _with_suffix(root, str(record["id"]))
        # Templates mark what is to be filled in with brackets, the list of classes does not.
        names = tuple(label.replace("[", "").replace("]", "") for label in labels)
        part, group = str(record.get("split") or split), str(record.get("group") or "")
        rows.append(Row(clip, names, part, group, line=number))
    return rows


def _with_suffix(root: Path, name: str) -> Path:
    for suffix in (".webm", ".mp4", ""):
        if exists(root / f"{name}{suffix}"):
            return root / f"{name}{suffix}"
    return root / f"{name}.webm"


def rows_of_ucf101(path: Path, lines: Sequence[tuple[int, str]], root: Path) -> list[Row]:
    """UCF101's trainlist01.txt and testlist01.txt, and the one beside that belongs to it."""
    rows = _rows_of_ucf101_part(path, lines, root)
    other = path.with_name(
        path.name.replace("train", "test") if "train" in path.name else path.name.replace("test", "train")
    )
    if other != path and other.is_file():
        numbered = [(n, line) for n, line in enumerate(read_text(other).splitlines(), 1) if line.strip()]
        rows += _rows_of_ucf101_part(other, numbered, root)
    return rows


def _rows_of_ucf101_part(path: Path, lines: Sequence[tuple[int, str]], root: Path) -> list[Row]:
    split = "train" if "train" in path.name else "test"
    rows: list[Row] = []
    for number, line in lines:
        head, _, tail = line.strip().rpartition(" ")
        name = head if head and tail.isdigit() else line.strip()
        label, separator, _ = name.partition("/")
        if not separator:
            raise AnnotationError(f"{path}, line {number}: {shown(line)} is not CLASS/CLIP.avi. Correct the line")
        rows.append(Row(root / name, (label,), split, line=number))
    return rows
