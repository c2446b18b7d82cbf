"""CVAT for video 1.1: tracks of boxes in XML, with actions as an attribute of the boxes or as the track's label.

CVAT writes frames, not seconds, so the frame rate, or the film, is an argument. A track may list key frames only:
between two boxes the missing frames are interpolated linearly, as CVAT's player does. Boxes marked outside are not
there; occluded ones are. A turned box, a polygon, an ellipse or a mask counts as the upright box around it.

A file is of one task, or of a project of several, whose tracks then name their task.
"""

from collections.abc import Container
from itertools import pairwise
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.frame_clock import FrameClock, clock_of
from muybridge.data.annotations.safe_xml import read_xml
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import parse_whole, shown
from muybridge.decimals import PIXELS
from muybridge.errors import AnnotationError
from muybridge.escapes import printable
from muybridge.media.outputs import atomic_output

_EDGES = ("xtl", "ytl", "xbr", "ybr")
# AVA's own class names hold commas.
_SEPARATOR = ";"
ACTIONS_ATTRIBUTE = "actions"
_SHAPES = ("box", "polygon", "ellipse", "mask")
_OTHER_SHAPES = ("polyline", "points", "cuboid", "skeleton")
# Between two boxes of a track, where no film tells how long it is: nine hours at 30 frames a second.
_LONGEST_SPAN = 1_000_000


def read_cvat(
    path: str | Path,
    *,
    rate_fps: float | FrameClock,
    labels: LabelMap | None = None,
    video: str | None = None,
    action_attribute: str | None = None,
) -> Annotations:
    """Read a CVAT for video 1.1 file; boxes are in pixels, one row a box and action, frames in order within a track.

    Args:
        path: annotations.xml.
        rate_fps: frames a second of the annotated videos, or a clock that knows when each frame is shown.
        labels: gives names their ids; None numbers the names of the file from 0, as `cvat_label_names` lists them.
        video: name to give, if the file is of one video; the file's own `source` where None.
        action_attribute: box attribute that holds the actions, several separated by ";", "" or "none" for no action.
            None takes the attribute "actions" of boxes that have it, and the track's label of all others.

    Raises:
        MissingInput: no such file.
        AnnotationError: broken XML, a missing or bad number, a name that is not in the label map, a shape that is no
            area, a track of no task.
        OptionError: rate_fps is not positive.
    """
    path, clock = Path(path), clock_of(rate_fps)
    root = read_xml(path)
    if root.tag != "annotations":
        raise AnnotationError(f"{path}: the root is <{root.tag}>, not <annotations>. Export 'CVAT for video 1.1'.")
    if any(len(image) for image in root.iter("image")) or (
        root.find("image") is not None and root.find("track") is None
    ):
        raise AnnotationError(f"{path}: this is 'CVAT for images'. Export the task as 'CVAT for video 1.1'.")
    rows = AnnotationRows("pixel")
    tasks = _tasks(path, root, video, rows.frame_sizes)
    labels = labels or _labels_of(root, action_attribute)
    for position, track in enumerate(root.iter("track")):
        person = _whole(path, f"track number {position}", "id", track.get("id", str(position)))
        name = _video_of(path, tasks, track, person)
        boxes = _track_boxes(path, track, person)
        seen = _interpolated(path, person, boxes, clock.num_frames(name)) if boxes else []
        times = clock.seconds(name, [frame for frame, *_ in seen]).tolist() if seen else []
        for time, (_, box, element) in zip(times, seen, strict=True):
            for label in _actions(path, track, element, person, labels, action_attribute):
                rows.add(name, time, box, label=label, person=person)
    return rows.annotations()


def _tasks(
    path: Path, root: ElementTree.Element, video: str | None, frame_sizes: dict[str, tuple[int, int]]
) -> dict[str, str]:
    """The names of a file's videos by the ids of their tasks; `frame_sizes` receives those that are stated."""
    found = root.findall("./meta/project/tasks/task") or root.findall("./meta/task") or root.findall("./meta/job")
    tasks: dict[str, str] = {}
    for number, element in enumerate(found or [root]):
        own = element.findtext("source") or root.findtext("./meta/source") if len(found) < 2 else None
        name = own or element.findtext("source") or element.findtext("name") or path.stem
        name = video if video is not None and len(found) < 2 else name
        size = element.find("original_size")
        size = root.find(".//original_size") if size is None and len(found) < 2 else size
        if size is not None:
            width, height = (parse_whole(size.findtext(side, "")) for side in ("width", "height"))
            if width and height:
                frame_sizes[name] = (width, height)
        tasks[element.findtext("id", str(number))] = name
    return tasks


def _video_of(path: Path, tasks: dict[str, str], track: ElementTree.Element, person: int) -> str:
    if len(tasks) == 1:
        return next(iter(tasks.values()))
    number = track.get("task_id", "")
    if number not in tasks:
        raise AnnotationError(
            f"{path}, track {person}: its task_id {shown(number)} is none of the project's {len(tasks)} tasks, so"
            " its film is not known. Export the project again, or its tasks one by one."
        )
    return tasks[number]


def write_cvat(path: str | Path, annotations: Annotations, *, rate_fps: float | FrameClock, labels: LabelMap) -> None:
    """Write one video's rows as CVAT for video 1.1: one track a person, labelled "person", every box a key frame.

    Edges are written to the hundredth of a pixel, as CVAT does. Actions go into the box attribute "actions",
    separated by ";". A gap in a track is closed by a box marked outside, so that nothing is interpolated across it.
    Rows without a person become tracks of one box. Scores are not kept, as CVAT has no place for them.

    Args:
        path: the XML file.
        annotations: of exactly one video, in pixels.
        rate_fps: frames a second, where times are rounded to the nearest frame; or a clock.
        labels: names of the actions.

    Raises:
        AnnotationError: several videos, boxes not in pixels, an unknown class id, a person with two boxes in a frame.
        OptionError: rate_fps is not positive.
        OutputError: it cannot be written.
    """
    path, clock = Path(path), clock_of(rate_fps)
    if annotations.unit != "pixel" or len(np.unique(annotations.video)) > 1:
        raise AnnotationError(f"{path}: CVAT takes one video with boxes in pixels. Use .of_video() and .in_pixels().")
    annotations = annotations.rounded()
    name = annotations.videos[int(annotations.video[0])] if len(annotations) else path.stem
    frames = clock.numbers(name, annotations.time_seconds) if len(annotations) else np.zeros(0, np.int64)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    root.append(_meta(printable(name), int(frames.max(initial=-1)) + 1, annotations.frame_sizes.get(name)))
    for number, boxes in _tracks(path, annotations, frames, labels):
        track = ElementTree.SubElement(root, "track", id=str(number), label="person", source="auto")
        _write_track(path, track, boxes)
    ElementTree.indent(root)
    with atomic_output(path) as beside:
        ElementTree.ElementTree(root).write(beside, encoding="utf-8", xml_declaration=True)


def _meta(name: str, num_frames: int, size: tuple[int, int] | None) -> ElementTree.Element:
    meta = ElementTree.Element("meta")
    task = ElementTree.SubElement(meta, "task")
    for key, text in (("name", name), ("size", str(num_frames)), ("mode", "interpolation")):
        ElementTree.SubElement(task, key).text = text
    label = ElementTree.SubElement(ElementTree.SubElement(task, "labels"), "label")
    ElementTree.SubElement(label, "name").text = "person"
    attribute = ElementTree.SubElement(ElementTree.SubElement(label, "attributes"), "attribute")
    kind = (("name", ACTIONS_ATTRIBUTE), ("mutable", "True"), ("input_type", "text"), ("values", ""))
    for key, text in kind:
        ElementTree.SubElement(attribute, key).text = text
    if size is not None:
        sizes = ElementTree.SubElement(task, "original_size")
        for side, pixels in zip(("width", "height"), size, strict=True):
            ElementTree.SubElement(sizes, side).text = str(pixels)
    ElementTree.SubElement(task, "source").text = name
    return meta


def cvat_label_names(path: str | Path, *, action_attribute: str | None = None) -> tuple[str, ...]:
    """The action names that a file uses, sorted: what `read_cvat` numbers from 0 when it is given no label map."""
    return _labels_of(read_xml(Path(path)), action_attribute).names


def _labels_of(root: ElementTree.Element, action_attribute: str | None) -> LabelMap:
    names = {
        name
        for track in root.iter("track")
        for box in _shapes(track)
        for name in _action_names(track, box, action_attribute)
    }
    ordered = sorted(names) or ["person"]
    return LabelMap(tuple(ordered), tuple(range(len(ordered))))


def _action_names(
    track: ElementTree.Element,
    box: ElementTree.Element,
    action_attribute: str | None,
    known: Container[str] = (),
) -> list[str]:
    """Names of a box; a text that is a known one is not taken apart."""
    wanted = action_attribute or ACTIONS_ATTRIBUTE
    texts = [found.text or "" for found in box.iter("attribute") if found.get("name") == wanted]
    if not texts and action_attribute is None:
        return [track.get("label", "")]
    parts = [[text] if text in known else text.split(_SEPARATOR) for text in texts]
    names = [name if name in known else name.strip() for part in parts for name in part]
    return [name for name in names if name in known or name not in ("", "none", "__undefined__")]


def _actions(
    path: Path,
    track: ElementTree.Element,
    box: ElementTree.Element,
    person: int,
    labels: LabelMap,
    action_attribute: str | None,
) -> list[int]:
    known = {printable(name): name for name in labels.names}
    names = [known.get(name, name) for name in _action_names(track, box, action_attribute, known)]
    unknown = [name for name in names if name not in labels.id_of]
    if unknown:
        raise AnnotationError(
            f"{path}, track {person}: the label {shown(unknown[0])} is not in the label map. Add it, or correct the"
            " label."
        )
    return [labels.id_of[name] for name in names] or [NO_LABEL]


# Frame; left, top, right, bottom and the turn in degrees; its element; whether the track leaves here.
TrackBox = tuple[int, list[float], ElementTree.Element, bool]


def _shapes(track: ElementTree.Element) -> list[ElementTree.Element]:
    return [element for element in track if element.tag in _SHAPES]


def _track_boxes(path: Path, track: ElementTree.Element, person: int) -> list[TrackBox]:
    boxes: list[TrackBox] = []
    other = next((element.tag for element in track if element.tag in _OTHER_SHAPES), None)
    if other is not None:
        raise AnnotationError(f"{path}, track {person}: it is drawn as <{other}>, not as a box. Draw boxes.")
    for element in _shapes(track):
        frame = _whole(path, f"track {person}", "frame", element.get("frame", ""))
        where = f"{path}, track {person}, frame {frame}"
        try:
            box = _box_of(element)
        except (KeyError, ValueError) as error:
            raise AnnotationError(f"{where}: a {element.tag} needs numbers: {_NEEDED[element.tag]}.") from error
        if not np.isfinite(box).all() or box[2] < box[0] or box[3] < box[1]:
            raise AnnotationError(f"{where}: the box {box[:4]} is reversed or not finite. Correct or delete it.")
        boxes.append((frame, box, element, element.get("outside") == "1"))
    boxes.sort(key=lambda entry: entry[0])
    for one, following in pairwise(boxes):
        if one[0] == following[0]:
            raise AnnotationError(f"{path}, track {person}: two boxes in frame {one[0]}. Delete one.")
    return boxes


_NEEDED = {
    "box": ", ".join(_EDGES),
    "polygon": "points as x,y;x,y;...",
    "ellipse": "cx, cy, rx, ry",
    "mask": "left, top, width, height",
}


def _box_of(element: ElementTree.Element) -> list[float]:
    """Left, top, right, bottom and the turn in degrees, clockwise around the middle, of a shape."""
    if element.tag == "polygon":
        points = [tuple(map(float, point.split(","))) for point in element.attrib["points"].split(";")]
        across, down = zip(*points, strict=True)
        return [min(across), min(down), max(across), max(down), 0.0]
    turn = float(element.get("rotation", "0"))
    if element.tag == "ellipse":
        middle_x, middle_y, wide, high = (float(element.attrib[name]) for name in ("cx", "cy", "rx", "ry"))
        return [middle_x - wide, middle_y - high, middle_x + wide, middle_y + high, turn]
    if element.tag == "mask":
        left, top, width, height = (float(element.attrib[name]) for name in ("left", "top", "width", "height"))
        return [left, top, left + width, top + height, 0.0]
    return [*(float(element.attrib[edge]) for edge in _EDGES), turn]


def _upright(box: list[float], kind: str) -> list[float]:
    """The upright box around a box, or an ellipse in a box, turned around its middle."""
    left, top, right, bottom, degrees = box
    if not degrees:
        return box[:4]
    middle_x, middle_y, wide, high = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    across, down = abs(np.cos(np.radians(degrees))), abs(np.sin(np.radians(degrees)))
    if kind == "ellipse":
        reach_x, reach_y = np.hypot(wide * across, high * down), np.hypot(wide * down, high * across)
    else:
        reach_x, reach_y = wide * across + high * down, wide * down + high * across
    # Quarter turns must come out in whole pixels where they went in so.
    return [
        round(float(edge), 9)
        for edge in (middle_x - reach_x, middle_y - reach_y, middle_x + reach_x, middle_y + reach_y)
    ]


def _interpolated(
    path: Path, person: int, boxes: list[TrackBox], num_frames: int | None
) -> list[tuple[int, list[float], ElementTree.Element]]:
    """Every frame at which the track is seen; frames between keep the attributes of the box before them."""
    seen: list[tuple[int, list[float], ElementTree.Element]] = []
    for number, (frame, box, element, outside) in enumerate(boxes):
        if outside:
            continue
        seen.append((frame, _upright(box, element.tag), element))
        if number + 1 == len(boxes):
            continue
        later, target, _, leaves = boxes[number + 1]
        end = later if num_frames is None else min(later, num_frames)
        if end - frame > _LONGEST_SPAN:
            raise AnnotationError(
                f"{path}, track {person}: its boxes of the frames {frame} and {later} lie hours apart. Correct one,"
                " or give the film."
            )
        turn = (target[4] - box[4] + 180) % 360 - 180
        for between in range(frame + 1, end):
            share = 0.0 if leaves else (between - frame) / (later - frame)
            moved = [a + (b - a) * share for a, b in zip(box[:4], target[:4], strict=True)]
            seen.append((between, _upright([*moved, box[4] + turn * share], element.tag), element))
    return seen


WrittenBox = tuple[int, list[float], list[str]]


def _tracks(
    path: Path, annotations: Annotations, frames: NDArray[np.int_], labels: LabelMap
) -> list[tuple[int, list[WrittenBox]]]:
    """(track id, boxes in order of time); the ids of rows without a person follow those of the people."""
    tracks: dict[int, dict[int, WrittenBox]] = {}
    people = np.full(len(annotations), NO_PERSON) if annotations.person is None else annotations.person
    following = int(people.max(initial=-1)) + 1
    for row in np.argsort(frames, kind="stable").tolist():
        person, frame, box = int(people[row]), int(frames[row]), annotations.boxes_xyxy[row].tolist()
        if person == NO_PERSON:
            person, following = following, following + 1
        label = int(annotations.label[row])
        entry = tracks.setdefault(person, {}).setdefault(frame, (frame, box, []))
        if entry[1] != box:
            raise AnnotationError(
                f"{path}: person {person} has two different boxes in frame {frame}. Keep one, or raise rate_fps."
            )
        if label != NO_LABEL:
            entry[2].append(labels.name_of(label))
    return [(person, list(boxes.values())) for person, boxes in sorted(tracks.items())]


def _write_track(path: Path, track: ElementTree.Element, boxes: list[WrittenBox]) -> None:
    def write(frame: int, box: list[float], actions: list[str], outside: Literal["0", "1"]) -> None:
        edges = dict(zip(_EDGES, (f"{edge:.{PIXELS}f}" for edge in box), strict=True))
        state = {"frame": str(frame), "outside": outside, "occluded": "0", "keyframe": "1", "z_order": "0"}
        element = ElementTree.SubElement(track, "box", {**state, **edges})
        ElementTree.SubElement(element, "attribute", name=ACTIONS_ATTRIBUTE).text = printable(
            _SEPARATOR.join(actions)
        )

    for number, (frame, box, actions) in enumerate(boxes):
        joined = next((name for name in actions if _SEPARATOR in name), None)
        if joined is not None and len(actions) > 1:
            raise AnnotationError(
                f"{path}: {shown(joined)} cannot stand beside other actions, which CVAT files separate by "
                f"{_SEPARATOR!r}. Rename the class."
            )
        write(frame, box, actions, "0")
        following = boxes[number + 1][0] if number + 1 < len(boxes) else None
        if following is None or following > frame + 1:
            write(frame + 1, box, actions, "1")


def _whole(path: Path, where: str, name: str, text: str) -> int:
    value = parse_whole(text)
    if value is None:
        raise AnnotationError(f"{path}, {where}: {name} is {shown(text)}. It must be a whole number, 0 or more.")
    return value
