"""Which clips there are, what they show, and which belong together.

Read from a folder a class, or from a list: CSV, text, and the lists of Kinetics, Something-Something and UCF101
(`muybridge.data.clips.layouts`).
"""

import csv
import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from muybridge.counts import counted
from muybridge.data.clips.layouts import Row, rows_of_kinetics, rows_of_something_something, rows_of_ucf101
from muybridge.data.clips.shards import are_shards, rows_of_shards
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import exists, is_possible, read_text, shown
from muybridge.errors import AnnotationError, MissingInput, OptionError
from muybridge.media.frame_folder import pictures_in
from muybridge.media.sources import VIDEO_SUFFIXES, natural_order

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}  # fmt: skip
_COLUMNS = {
    "path": ("path", "video", "file", "filename", "clip", "video_path", "clip_path", "file_path", "filepath"),
    "label": ("label", "labels", "class", "action", "category", "class_name", "label_name"),
    "group": ("group", "source", "subject", "scene"),
    "start": ("start", "start_seconds", "time_start"),
    "end": ("end", "end_seconds", "time_end"),
    "split": ("split", "subset", "set"),
}
# In a list without tabs or commas, the path ends with the suffix of a video.
_PATH_AND_LABEL = re.compile(rf"(.+?\.(?:{'|'.join(s[1:] for s in sorted(VIDEO_SUFFIXES))}))\s+(.+)", re.IGNORECASE)
# Clips cut from one source, by the names that data sets are known to use: UCF101, and Kinetics with its two times.
_KNOWN_GROUPS = (re.compile(r"(.+_g\d+)_c\d+"), re.compile(r"(.+)_\d{6}_\d{6}"))
# A class that is the number of one, within 64 bits.
_NUMBER = re.compile(r"[0-9]{1,18}")


_Place = tuple[Path, float | None, float | None]


@dataclass(frozen=True)
class ClipEntry:
    """One clip.

    Attributes:
        path: a video file or a folder of frames.
        labels: columns of the label map: one, or any number where clips may have several.
        group: clips cut from one source share it, so that a split keeps them together.
        start_seconds, end_seconds: of the clip within the file; None for its own start and end.
    """

    path: Path
    labels: tuple[int, ...]
    group: str
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True)
class ClipList:
    """Clips and what their labels mean.

    Attributes:
        entries: the clips.
        classes: of the labels.
        multi_label: whether a clip may have several labels, or none.
        notes: what was found on the way, in sentences for the user.
    """

    entries: tuple[ClipEntry, ...]
    classes: LabelMap
    multi_label: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def class_counts(self) -> list[int]:
        """How many clips have each label, in the order of `classes`."""
        counts = Counter(label for entry in self.entries for label in entry.labels)
        return [counts[column] for column in range(len(self.classes))]

    def fingerprint(self) -> str:
        """16 hex digits by which the same clips are known again, in whatever folder they lie and in any order.

        Known by their names, classes, times and the sizes of their files; contents are not read.
        """
        names = self.classes.names
        lines = sorted(
            json.dumps(
                [
                    entry.path.name,
                    [names[k] for k in entry.labels],
                    entry.start_seconds,
                    entry.end_seconds,
                    _size_of(entry.path),
                ]
            )
            for entry in self.entries
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def select(self, indices: Iterable[int]) -> "ClipList":
        """The same classes, some of the clips."""
        return replace(self, entries=tuple(self.entries[i] for i in indices))


def read_clip_list(
    source: Path,
    *,
    labels: LabelMap | None = None,
    root: Path | None = None,
    group_pattern: str | None = None,
) -> dict[str, ClipList]:
    """All clips of a data set by split: train, val and test where the source has them, else "all".

    - A folder with a folder for each class; or folders train, val, test with these. ("train" with clips of its own
      beside other classes is a class.)
    - CSV or TSV with a header that names path and label, and perhaps group, start, end, split; several labels are
      separated by "|". Without a header: path, label.
    - Tar shards as webdataset lays them out, `muybridge.data.clips.shards`.
    - Text: a path and a label in each line, parted by a tab, a comma or a space; paths may hold spaces.
    - The lists of Kinetics (CSV), Something-Something (JSON) and UCF101 (text beside classInd.txt).

    Args:
        labels: the classes; by default those found, in alphabetical order, numbers in that of their value.
        root: folder that paths in a list are relative to; by default the list's own.
        group_pattern: regular expression whose first group, searched in a path, names the source a clip was cut
            from. By default the patterns of UCF101 and Kinetics are known, and any other clip is its own source.

    Raises:
        MissingInput: no such file or folder.
        AnnotationError: no clip in it, a class that `labels` does not have, a folder of a class without clips, one
            clip with two classes that are not several labels of it, a line that breaks the format.
        OptionError: `group_pattern` is no regular expression.
    """
    source = Path(source)
    notes: Sequence[str] = ()
    shards = are_shards(source)
    if not shards and not exists(source):
        raise MissingInput(f"there is no {source}. Give a folder with a folder for each class, or a list of clips")
    try:
        pattern = re.compile(group_pattern) if group_pattern else None
    except re.error as error:
        raise OptionError(
            f"group_pattern={group_pattern!r} is no regular expression ({error}). Write such as '(camera\\d+)_'"
        ) from error
    if shards:
        rows, notes = rows_of_shards(source)
    else:
        rows = _rows_of_folder(source) if source.is_dir() else _rows_of_list(source, root or source.parent)
    if not rows:
        raise AnnotationError(
            f"{source} names no clip{': ' + notes[0] if notes else ''}. Give a folder with a folder for each class, "
            "or a list of clips"
        )
    splits = _by_split(source, rows, labels, pattern)
    return {split: replace(clips, notes=(*notes, *clips.notes)) for split, clips in splits.items()}


# ---- rows of each kind of source ----


def _rows_of_folder(folder: Path) -> list[Row]:
    splits = {
        child: _SPLIT_NAMES[child.name.lower()] for child in _folders(folder) if child.name.lower() in _SPLIT_NAMES
    }
    others = [child for child in _folders(folder) if child not in splits] if splits else []
    classes_beside = [child.name for child in others if any(map(_is_clip, child.rglob("*")))]
    if classes_beside and not all(any(map(_is_clip, child.iterdir())) for child in splits):
        raise AnnotationError(
            f"{folder} holds both {next(iter(splits)).name!r} and {classes_beside[0]!r}: parts of a split, or "
            "classes? Move one kind into a folder of its own"
        )
    if splits and not classes_beside:
        return [row for child, split in splits.items() for row in _rows_of_class_folders(child, split)]
    return _rows_of_class_folders(folder, "")


def _rows_of_class_folders(folder: Path, split: str) -> list[Row]:
    rows: list[Row] = []
    for child in _folders(folder):
        clips = sorted((path for path in child.rglob("*") if _is_clip(path)), key=natural_order)
        if not clips:
            raise AnnotationError(f"{child} holds no clip. Put clips of the class {child.name!r} there, or remove it")
        rows += [Row(path, (child.name,), split=split) for path in clips]
    if not rows:
        loose = sum(_is_clip(path) for path in folder.iterdir())
        found = f"{counted(loose, 'clip')}, but no folder for a class" if loose else "no folder for a class"
        raise AnnotationError(f"{folder} holds {found}. Put the clips of each class into a folder of its name")
    return rows


def _folders(folder: Path) -> list[Path]:
    return sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_order)


def _is_clip(path: Path) -> bool:
    """Whether this is a video file, or a folder of frames."""
    if path.name.startswith("."):
        return False
    return bool(pictures_in(path)) if path.is_dir() else path.suffix.lower() in VIDEO_SUFFIXES


def _rows_of_list(path: Path, root: Path) -> list[Row]:
    text = read_text(path)
    if path.suffix.lower() == ".json":
        return rows_of_something_something(path, text, root)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    lines = [(number, line) for number, line in lines if not line.lstrip().startswith("#")]
    if not lines:
        return []
    if "youtube_id" in lines[0][1]:
        return rows_of_kinetics(path, text, root)
    if path.suffix.lower() == ".txt" and (path.parent / "classInd.txt").is_file():
        return rows_of_ucf101(path, lines, root)
    return _rows_of_table(path, lines, root)


def _rows_of_table(path: Path, lines: Sequence[tuple[int, str]], root: Path) -> list[Row]:
    first = lines[0][1]
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in first), None)
    header = [cell.lower().replace(" ", "_") for cell in _cells(path, lines[0], delimiter)]
    columns = _columns(header)
    if columns is None:
        columns = {"path": 0, "label": 1}
    else:
        lines = lines[1:]
    rows: list[Row] = []
    for number, line in lines:
        cells = _cells(path, (number, line), delimiter)
        if len(cells) <= max(columns["path"], columns["label"]) or not cells[columns["path"]]:
            raise AnnotationError(f"{path}, line {number}: {shown(line)} is not a path and a label. Correct the line")
        rows.append(_row_of_cells(path, number, cells, columns, root))
    return rows


def _cells(path: Path, numbered: tuple[int, str], delimiter: str | None) -> list[str]:
    number, line = numbered
    if delimiter:
        try:
            return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]
        except csv.Error as error:
            raise AnnotationError(f"{path}, line {number}: not CSV: {error}. Correct the line") from error
    found = _PATH_AND_LABEL.fullmatch(line.strip())
    return [found[1], found[2]] if found else line.rsplit(maxsplit=1)


def _columns(header: Sequence[str]) -> dict[str, int] | None:
    """Places of the columns that a header names, or None where the line is no header."""
    found = {name: header.index(alias) for name, aliases in _COLUMNS.items() for alias in aliases if alias in header}
    return found if {"path", "label"} <= found.keys() else None


def _row_of_cells(path: Path, number: int, cells: list[str], columns: Mapping[str, int], root: Path) -> Row:
    def cell(name: str) -> str:
        return cells[columns[name]] if name in columns and columns[name] < len(cells) else ""

    def seconds(name: str) -> float | None:
        try:
            value = float(cell(name) or "0")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise AnnotationError(
                f"{path}, line {number}: {name} {shown(cell(name))} is no number of seconds. Correct the line"
            )
        return value if cell(name) else None

    start, end = seconds("start"), seconds("end")
    if end is not None and end <= (start or 0.0):
        raise AnnotationError(f"{path}, line {number}: the clip ends at {end} s, before it begins. Correct the line")
    return Row(
        root / cell("path"),
        tuple(part.strip() for part in cell("label").split("|") if part.strip()),
        split=cell("split"),
        group=cell("group"),
        start=start,
        end=end,
        line=number,
    )


# ---- from rows to lists ----


def _by_split(
    source: Path, rows: Sequence[Row], labels: LabelMap | None, pattern: re.Pattern[str] | None
) -> dict[str, ClipList]:
    rows = [_in_one_spelling(row) for row in rows]
    classes = labels or _label_map(rows)
    columns = {_composed(name): column for column, name in enumerate(classes.names)}
    # Lists may number the classes as the label map does.
    by_id = {str(number): column for number, column in zip(classes.ids, classes.names, strict=True)}
    multi_label = _have_several_labels(source, rows)
    result: dict[str, list[ClipEntry]] = {}
    first_of: dict[_Place, Row] = {}
    seen: set[tuple[_Place, str]] = set()
    repeated = 0
    for row in rows:
        unknown = [name for name in row.labels if name not in columns and name not in by_id]
        if unknown:
            raise AnnotationError(
                f"{_where(source, row)}: {shown(unknown[0])} is no class of the {len(classes)} known ones "
                f"({', '.join(classes.names[:5])}{', ...' if len(classes) > 5 else ''}). Correct the list or the "
                "classes"
            )
        if not is_possible(row.path):
            raise AnnotationError(f"{_where(source, row)}: {shown(str(row.path))} can be no path. Correct the line")
        place = (row.path, row.start, row.end)
        first = first_of.setdefault(place, row)
        if set(first.labels) != set(row.labels):
            raise AnnotationError(
                f"{_where(source, row)}: {row.path} is {'|'.join(row.labels)!r}, but {'|'.join(first.labels)!r} "
                f"before{f' (line {first.line})' if first.line else ''}. Correct one, or write both as 'a|b' in one "
                "line"
            )
        if (place, row.split) in seen:
            repeated += 1
            continue
        seen.add((place, row.split))
        of_row = tuple(columns[name if name in columns else by_id[name]] for name in row.labels)
        entry = ClipEntry(row.path, of_row, row.group or _group(row.path, pattern), row.start, row.end)
        result.setdefault(row.split or "all", []).append(entry)
    notes = (f"used once: {counted(repeated, 'clip')} of {source} that it names twice",) if repeated else ()
    if "all" in result and "train" in result:
        notes += (f"left out: {counted(len(result['all']), 'clip')} of {source} without a split, which others have",)
    shared = len(seen) - len(first_of)
    if shared:
        notes += (
            f"scores will flatter: {counted(shared, 'clip')} of {source} in more than one of {', '.join(result)}",
        )
    return {split: ClipList(tuple(entries), classes, multi_label, notes) for split, entries in result.items()}


def _in_one_spelling(row: Row) -> Row:
    """The same row where equal names are equal text, and no label stands twice."""
    split = row.split.lower()
    labels = dict.fromkeys(map(_composed, row.labels))
    return replace(row, labels=tuple(labels), split=_SPLIT_NAMES.get(split, split))


def _composed(name: str) -> str:
    """A name in composed form: folders of some systems write an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def _where(source: Path, row: Row) -> str:
    return f"{source}, line {row.line}" if row.line else str(source)


def _have_several_labels(source: Path, rows: Sequence[Row]) -> bool:
    """Whether clips may have several labels, or none, which some clip with several must show."""
    if any(len(row.labels) > 1 for row in rows):
        return True
    bare = next((row for row in rows if not row.labels), None)
    if bare is not None:
        raise AnnotationError(f"{_where(source, bare)}: {bare.path} has no label. Give it one, or take it out")
    return False


def _label_map(rows: Sequence[Row]) -> LabelMap:
    names = {name for row in rows for name in row.labels}
    if not names:
        raise AnnotationError("no clip has a label. Give each clip at least one")
    numbers = {int(name) for name in names if _NUMBER.fullmatch(name)}
    if len(numbers) == len(names):  # "1" and "01" are names, then
        ordered = sorted(names, key=int)
        return LabelMap(tuple(ordered), tuple(int(name) for name in ordered))
    ordered = sorted(names)
    return LabelMap(tuple(ordered), tuple(range(len(ordered))))


def _group(path: Path, pattern: re.Pattern[str] | None) -> str:
    if pattern is not None:
        found = pattern.search(path.as_posix())
        name = found[1 if pattern.groups else 0] if found is not None else None
        if name:
            return name
    for known in _KNOWN_GROUPS:
        found = known.fullmatch(path.stem)
        if found is not None:
            return found[1]
    return path.as_posix()


def _size_of(path: Path) -> int | None:
    """Bytes of a file, of the first picture of a folder of frames, None of what is no file by itself."""
    try:
        if path.is_dir():
            pictures = pictures_in(path)
            return len(pictures) and pictures[0].stat().st_size
        return path.stat().st_size
    except (OSError, ValueError):
        return None
