"""CVAT for video 1.1: tracks of boxes in XML, with actions as an attribute of the boxes or as the track's label.

CVAT writes frames, not seconds, so the frame rate is an argument. A track may list key frames only: between two boxes
the missing frames are interpolated linearly, as CVAT's player does. Boxes marked outside are not there; occluded ones
are.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.safe_xml import read_xml
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.errors import AnnotationError, OptionError
from muybridge.escapes import printable
from muybridge.media.outputs import atomic_output

_EDGES = ("xtl", "ytl", "xbr", "ybr")
# AVA's own class names hold commas.
_SEPARATOR = ";"
ACTIONS_ATTRIBUTE = "actions"


def read_cvat(
    path: str | Path,
    *,
    rate_fps: float,
    labels: LabelMap | None = None,
    video: str | None = None,
    action_attribute: str | None = None,
) -> Annotations:
    """Read a CVAT for video 1.1 file; boxes are in pixels, one row a box and action, frames in order within a track.

    Args:
        path: annotations.xml.
        rate_fps: frames a second of the annotated video.
        labels: gives names their ids; None numbers the names of the file from 0, as `cvat_label_names` lists them.
        video: name to give; the file's own `source` where None.
        action_attribute: box attribute that holds the actions, several separated by ";", "" or "none" for no action.
            None takes the attribute "actions" of boxes that have it, and the track's label of all others.

    Raises:
        MissingInput: no such file.
        AnnotationError: broken XML, a missing or bad number, a name that is not in the label map.
        OptionError: rate_fps is not positive.
    """
    path = Path(path)
    _check_rate(rate_fps)
    root = read_xml(path)
    if root.tag != "annotations":
        raise AnnotationError(f"{path}: the root is <{root.tag}>, not <annotations>. Export 'CVAT for video 1.1'.")
    if root.find("image") is not None and root.find("track") is None:
        raise AnnotationError(f"{path}: this is 'CVAT for images'. Export the task as 'CVAT for video 1.1'.")
    name = video or _source(root, path)
    rows = AnnotationRows("pixel")
    size = root.find(".//original_size")
    if size is not None:
        width, height = (size.findtext(side, "0") for side in ("width", "height"))
        if width.isdecimal() and height.isdecimal() and int(width) and int(height):
            rows.frame_sizes[name] = (int(width), int(height))
    labels = labels or _labels_of(path, root, action_attribute)
    for position, track in enumerate(root.iter("track")):
        person = _whole(path, f"track number {position}", "id", track.get("id", str(position)))
        boxes = _track_boxes(path, track, person)
        for frame, box, element in _interpolated(boxes):
            for label in _actions(path, track, element, person, labels, action_attribute):
                rows.add(name, frame / rate_fps, box, label=label, person=person)
    return rows.annotations()


def write_cvat(path: str | Path, annotations: Annotations, *, rate_fps: float, labels: LabelMap) -> None:
    """Write one video's rows as CVAT for video 1.1: one track a person, labelled "person", every box a key frame.

    Actions go into the box attribute "actions", separated by ";". A gap in a track is closed by a box marked outside,
    so that nothing is interpolated across it. Rows without a person become tracks of one box. Scores are not kept, as
    CVAT has no place for them.

    Args:
        path: the XML file.
        annotations: of exactly one video, in pixels.
        rate_fps: frames a second; times are rounded to the nearest frame.
        labels: names of the actions.

    Raises:
        AnnotationError: several videos, boxes not in pixels, an unknown class id, a person with two boxes in a frame.
        OptionError: rate_fps is not positive.
        OutputError: it cannot be written.
    """
    path = Path(path)
    _check_rate(rate_fps)
    if annotations.unit != "pixel" or len(np.unique(annotations.video)) > 1:
        raise AnnotationError(f"{path}: CVAT takes one video with boxes in pixels. Use .of_video() and .in_pixels().")
    name = annotations.videos[int(annotations.video[0])] if len(annotations) else path.stem
    frames = np.rint(annotations.time_seconds * rate_fps).astype(int)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    root.append(_meta(printable(name), int(frames.max(initial=-1)) + 1, annotations.frame_sizes.get(name)))
    for number, boxes in _tracks(path, annotations, frames, labels):
        _write_track(ElementTree.SubElement(root, "track", id=str(number), label="person", source="auto"), boxes)
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


def _check_rate(rate_fps: float) -> None:
    if not rate_fps > 0:
        raise OptionError(f"rate_fps is {rate_fps}. It must be the video's positive frames a second.")


def _source(root: ElementTree.Element, path: Path) -> str:
    return root.findtext(".//source") or root.findtext(".//task/name") or path.stem


def cvat_label_names(path: str | Path, *, action_attribute: str | None = None) -> tuple[str, ...]:
    """The action names that a file uses, sorted: what `read_cvat` numbers from 0 when it is given no label map."""
    path = Path(path)
    return _labels_of(path, read_xml(path), action_attribute).names


def _labels_of(path: Path, root: ElementTree.Element, action_attribute: str | None) -> LabelMap:
    names = {
        name
        for track in root.iter("track")
        for box in track.iter("box")
        for name in _action_names(track, box, action_attribute)
    }
    ordered = sorted(names) or ["person"]
    return LabelMap(tuple(ordered), tuple(range(len(ordered))))


def _action_names(track: ElementTree.Element, box: ElementTree.Element, action_attribute: str | None) -> list[str]:
    wanted = action_attribute or ACTIONS_ATTRIBUTE
    texts = [found.text or "" for found in box.iter("attribute") if found.get("name") == wanted]
    if not texts and action_attribute is None:
        return [track.get("label", "")]
    names = [name.strip() for text in texts for name in text.split(_SEPARATOR)]
    return [name for name in names if name not in ("", "none", "__undefined__")]


def _actions(
    path: Path,
    track: ElementTree.Element,
    box: ElementTree.Element,
    person: int,
    labels: LabelMap,
    action_attribute: str | None,
) -> list[int]:
    names = _action_names(track, box, action_attribute)
    unknown = [name for name in names if name not in labels.names]
    if unknown:
        raise AnnotationError(
            f"{path}, track {person}: the label {unknown[0]!r} is not in the label map. Add it, or correct the label."
        )
    return [labels.ids[labels.names.index(name)] for name in names] or [NO_LABEL]


TrackBox = tuple[int, list[float], ElementTree.Element, bool]


def _track_boxes(path: Path, track: ElementTree.Element, person: int) -> list[TrackBox]:
    boxes: list[TrackBox] = []
    for element in track.iter("box"):
        where = f"track {person}, frame {element.get('frame')}"
        frame = _whole(path, where, "frame", element.get("frame", ""))
        try:
            box = [float(element.attrib[edge]) for edge in _EDGES]
        except (KeyError, ValueError) as error:
            raise AnnotationError(f"{path}, {where}: a box needs numbers {', '.join(_EDGES)}.") from error
        if not np.isfinite(box).all() or box[2] < box[0] or box[3] < box[1]:
            raise AnnotationError(f"{path}, {where}: the box {box} is reversed or not finite. Correct or delete it.")
        boxes.append((frame, box, element, element.get("outside") == "1"))
    boxes.sort(key=lambda entry: entry[0])
    for one, other in pairwise(boxes):
        if one[0] == other[0]:
            raise AnnotationError(f"{path}, track {person}: two boxes in frame {one[0]}. Delete one.")
    return boxes


def _interpolated(boxes: list[TrackBox]) -> list[tuple[int, list[float], ElementTree.Element]]:
    """Every frame at which the track is seen; frames between keep the attributes of the box before them."""
    seen: list[tuple[int, list[float], ElementTree.Element]] = []
    for number, (frame, box, element, outside) in enumerate(boxes):
        if outside:
            continue
        seen.append((frame, box, element))
        if number + 1 < len(boxes):
            later, target, _, leaves = boxes[number + 1]
            for between in range(frame + 1, later):
                share = 0.0 if leaves else (between - frame) / (later - frame)
                moved = [a + (b - a) * share for a, b in zip(box, target, strict=True)]
                seen.append((between, moved, element))
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


def _write_track(track: ElementTree.Element, boxes: list[WrittenBox]) -> None:
    def write(frame: int, box: list[float], actions: list[str], outside: Literal["0", "1"]) -> None:
        edges = dict(zip(_EDGES, (repr(float(edge)) for edge in box), strict=True))
        state = {"frame": str(frame), "outside": outside, "occluded": "0", "keyframe": "1", "z_order": "0"}
        element = ElementTree.SubElement(track, "box", {**state, **edges})
        ElementTree.SubElement(element, "attribute", name=ACTIONS_ATTRIBUTE).text = printable(
            _SEPARATOR.join(actions)
        )

    for number, (frame, box, actions) in enumerate(boxes):
        write(frame, box, actions, "0")
        following = boxes[number + 1][0] if number + 1 < len(boxes) else None
        if following is None or following > frame + 1:
            write(frame + 1, box, actions, "1")


def _whole(path: Path, where: str, name: str, text: str) -> int:
    if not text.isdecimal():
        raise AnnotationError(f"{path}, {where}: {name} is {text!r}. It must be a whole number, 0 or more.")
    return int(text)
