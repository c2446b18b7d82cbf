"""VGG Image Annotator 3: temporal and spatial regions of videos, as its JSON project or its CSV export.

A region has a file, a time in seconds (`z`), a shape (`xy`, rectangles only: [2, left, top, width, height] in pixels)
and attribute values (`av`). Regions without a shape, or with a time span, do not say who is where and are left out.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from muybridge.counts import counted
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import csv_rows, is_number, parse_json, parse_whole, read_text, shown
from muybridge.decimals import PIXELS
from muybridge.errors import AnnotationError
from muybridge.media.outputs import atomic_output

ACTIONS_ATTRIBUTE = "actions"
PERSON_ATTRIBUTE = "person"
_RECTANGLE = 2
_CSV_HEADER = ("metadata_id", "file_list", "flags", "temporal_coordinates", "spatial_coordinates", "metadata")


def read_via(
    path: str | Path,
    labels: LabelMap | None,
    *,
    actions: str = ACTIONS_ATTRIBUTE,
    person: str | None = PERSON_ATTRIBUTE,
) -> Annotations:
    """Read a VIA 3 project (.json) or export (.csv): boxes in pixels, one row a box and action.

    Args:
        path: told apart by suffix.
        labels: values of the attribute are names of this map, or ids where no name fits; None leaves actions out.
        actions: name of the attribute that holds them; option values separated by commas when several are ticked.
        person: name of the attribute that holds a whole number per person; None where there is none.

    Raises:
        MissingInput: no such file.
        AnnotationError: the file breaks the format, holds shapes other than rectangles, or an action is unknown.
    """
    path = Path(path)
    rows = AnnotationRows("pixel")
    for where, video, times, shape, values in (
        _regions_csv(path) if path.suffix.lower() == ".csv" else _regions_json(path)
    ):
        if len(times) != 1 or not shape:
            continue
        if shape[0] != _RECTANGLE or len(shape) != 5:
            raise AnnotationError(f"{where}: shape {shown(shape[0])} is no rectangle. Draw rectangles around people.")
        numbers = [*times, *shape[1:]]
        if not all(map(is_number, numbers)):
            raise AnnotationError(f"{where}: {shown(numbers)} are not all numbers. Export the file again.")
        time, left, top, width, height = (float(number) for number in numbers)
        if time < 0 or width < 0 or height < 0:
            raise AnnotationError(f"{where}: time {time} or size {width} x {height} is negative. Draw it again.")
        identity = _identity(where, values.get(person, "")) if person is not None else None
        done = [NO_LABEL] if labels is None else _labels(where, values.get(actions, ""), labels)
        for label in done:
            rows.add(video, time, (left, top, left + width, top + height), label=label, person=identity)
    return rows.annotations()


def _regions_json(path: Path) -> Iterator[tuple[str, str, list[Any], list[Any], Mapping[str, str]]]:
    content = parse_json(path, read_text(path))
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), dict) for key in ("metadata", "view", "file", "attribute")
    ):
        raise AnnotationError(f"{path}: not a VIA 3 project (metadata, view, file, attribute). Save it in VIA 3.")
    for key in ("metadata", "view", "file", "attribute"):
        if not all(isinstance(entry, dict) for entry in content[key].values()):
            raise AnnotationError(f"{path}: an entry of {key!r} is no object. Save it again in VIA 3.")
    names = {key: str(entry.get("aname", key)) for key, entry in content["attribute"].items()}
    options = {names[key]: _of_kind(dict, entry.get("options")) for key, entry in content["attribute"].items()}
    for key, region in content["metadata"].items():
        where = f"{path}, region {key}"
        view = content["view"].get(str(region.get("vid")), {})
        files = _of_kind(list, view.get("fid_list"))
        if len(files) != 1 or str(files[0]) not in content["file"]:
            raise AnnotationError(
                f"{where}: view {shown(region.get('vid'))} leads to no single file. Save it again in VIA 3."
            )
        video = str(content["file"][str(files[0])].get("fname", ""))
        values: dict[str, str] = {}
        for number, value in _of_kind(dict, region.get("av")).items():
            name = names.get(str(number), str(number))
            chosen = [options.get(name, {}).get(part, part) for part in str(value).split(",")]
            # Names of actions hold commas: option ids are resolved here, and set apart by line ends.
            values[name] = "\n".join(map(str, chosen)) if options.get(name) else str(value)
        yield where, video, _of_kind(list, region.get("z")), _of_kind(list, region.get("xy")), values


def _of_kind(kind: Callable[[], Any], value: Any) -> Any:
    """The value if it is a dict or a list as expected, else an empty one: VIA writes null for what is not there."""
    empty = kind()
    return value if isinstance(value, type(empty)) else empty


def _regions_csv(path: Path) -> Iterator[tuple[str, str, list[Any], list[Any], Mapping[str, str]]]:
    for line, row in csv_rows(path):
        if row[0].startswith("#"):
            continue
        where = f"{path}, line {line}"
        if len(row) != len(_CSV_HEADER):
            raise AnnotationError(f"{where}: {counted(len(row), 'column')}. VIA 3 writes {', '.join(_CSV_HEADER)}.")
        files, times, shape, values = (parse_json(where, row[place]) for place in (1, 3, 4, 5))
        if not isinstance(files, list) or len(files) != 1 or not isinstance(values, dict):
            raise AnnotationError(f"{where}: expected one file and an object of attributes. Export it again.")
        if not isinstance(times, list) or not isinstance(shape, list):
            raise AnnotationError(f"{where}: times and shape must be lists. Export it again.")
        yield where, str(files[0]), times, shape, {name: str(value) for name, value in values.items()}


def _labels(where: str, text: str, labels: LabelMap) -> list[int]:
    found: list[int] = []
    for part in text.split("\n"):
        part = part.strip()
        whole = part in labels.id_of
        for name in [part] if whole else [piece.strip() for piece in part.split(",")]:
            if not name:
                continue
            number = labels.id_of.get(name, parse_whole(name))
            if number is None or not labels.has_id(number):
                raise AnnotationError(
                    f"{where}: the action {shown(name)} is not in the label map. Add it or correct it."
                )
            found.append(number)
    return found or [NO_LABEL]


def _identity(where: str, text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    number = parse_whole(text)
    if number is None:
        raise AnnotationError(f"{where}: person is {shown(text)}. It must be a whole number, 0 or more.")
    return number


def write_via(path: str | Path, annotations: Annotations, labels: LabelMap) -> None:
    """Write a VIA 3 project (.json) or export (.csv); actions are option ids of the attribute "actions".

    Rows of one video, time, person and box become one region. Edges are written to the hundredth of a pixel, scores
    are not kept.

    Raises:
        AnnotationError: boxes are not in pixels, or an unknown class id.
        OutputError: it cannot be written.
    """
    path = Path(path)
    if annotations.unit != "pixel":
        raise AnnotationError(f"{path}: VIA boxes are in pixels, these are normalised. Call .in_pixels() first.")
    labels.columns(annotations.label[annotations.label != NO_LABEL])
    annotations = annotations.rounded()
    regions: dict[tuple[Any, ...], list[int]] = {}
    for row, box in enumerate(annotations.boxes_xyxy.tolist()):
        person = NO_PERSON if annotations.person is None else int(annotations.person[row])
        key = (int(annotations.video[row]), float(annotations.time_seconds[row]), person, *box)
        actions = regions.setdefault(key, [])
        if annotations.label[row] != NO_LABEL:
            actions.append(int(annotations.label[row]))
    listed: list[tuple[int, float, list[float], str, str]] = []
    for (video, time, person, left, top, right, bottom), actions in regions.items():
        shape: list[float] = [_RECTANGLE, left, top, round(right - left, PIXELS), round(bottom - top, PIXELS)]
        listed.append((video, time, shape, ",".join(map(str, actions)), "" if person == NO_PERSON else str(person)))
    with atomic_output(path) as beside:
        if path.suffix == ".csv":
            _write_csv(beside, annotations.videos, listed)
        else:
            beside.write_text(json.dumps(_project(annotations.videos, listed, labels)), encoding="utf-8")


def _write_csv(path: Path, videos: tuple[str, ...], regions: list[tuple[int, float, list[float], str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {','.join(_CSV_HEADER)}\n")
        writer = csv.writer(file, lineterminator="\n")
        for number, (video, time, shape, actions, person) in enumerate(regions, start=1):
            values = {ACTIONS_ATTRIBUTE: actions, PERSON_ATTRIBUTE: person}
            cells = [json.dumps(value) for value in ([videos[video]], 0, [time], shape, values)]
            writer.writerow([f"1_{number}", *cells])


def _project(
    videos: tuple[str, ...], regions: list[tuple[int, float, list[float], str, str]], labels: LabelMap
) -> dict[str, Any]:
    options = {str(number): name for number, name in zip(labels.ids, labels.names, strict=True)}
    shared = {"anchor_id": "FILE1_Z1_XY1", "desc": "", "default_option_id": ""}
    return {
        "project": {
            "pid": "__VIA_PROJECT_ID__",
            "rev": "__VIA_PROJECT_REV_ID__",
            "pname": "muybridge",
            "data_format_version": "3.1.1",
            "creator": "muybridge",
            "vid_list": [str(number + 1) for number in range(len(videos))],
        },
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
        "attribute": {
            "1": {"aname": ACTIONS_ATTRIBUTE, "type": 2, "options": options, **shared},
            "2": {"aname": PERSON_ATTRIBUTE, "type": 1, "options": {}, **shared},
        },
        "file": {
            str(number): {"fid": str(number), "fname": name, "type": 4, "loc": 1, "src": name}
            for number, name in enumerate(videos, start=1)
        },
        "metadata": {
            f"{video + 1}_{number}": {
                "vid": str(video + 1),
                "flg": 0,
                "z": [time],
                "xy": shape,
                "av": {"1": actions, "2": person},
            }
            for number, (video, time, shape, actions, person) in enumerate(regions, start=1)
        },
        "view": {str(number + 1): {"fid_list": [str(number + 1)]} for number in range(len(videos))},
    }
