"""COCO JSON: images, annotations and categories; and lists of results that point into such a file.

A frame of a video is an image. Which video and time it is of is told by `video_id` with `videos` and `frame_id` (from
0), as in COCO's video descendants, or by its file name: `FOLDER/000123.jpg` is frame 123 of FOLDER.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from muybridge.data.annotation_files import annotation_error, read_json, write_json
from muybridge.data.annotations import AnnotationRows, Annotations
from muybridge.data.frame_numbers import check_rate, frame_numbers, person_boxes
from muybridge.data.label_maps import LabelMap
from muybridge.data.named_labels import NamedLabels

PERSON = "person"
_NUMBER = re.compile(r"(\d+)\D*$")


@dataclass(frozen=True)
class _Image:
    video: str
    time_seconds: float


def read_coco(
    path: str | Path,
    *,
    rate: float,
    labels: LabelMap | None = None,
    results: str | Path | None = None,
    only_people: bool = False,
) -> tuple[Annotations, LabelMap | None]:
    """Read boxes in pixels and the label map of the categories; the category `person` is a box without an action.

    Args:
        path: the file with images and categories.
        rate: frames a second that frame numbers are counted at.
        labels: ids to use for category names; None keeps the categories' own.
        results: a list of `{image_id, category_id, bbox, score}` to read instead of the file's annotations.
        only_people: leave out all categories but `person`, as for a detector of many things.

    Returns:
        Annotations, and the label map, None where no category but `person` is there.

    Raises:
        MissingInput: a file is not there.
        AnnotationError: a file breaks the format, or a category is not in `labels`; names the entry.
    """
    check_rate(rate)
    content = _object(path, read_json(path), "the file")
    rows = AnnotationRows("pixel")
    images = _images(path, content, rate, rows)
    entries, source, place = content.get("annotations", []), path, "annotations"
    if results is not None:
        entries, source, place = read_json(results), results, ""
    categories = _categories(path, content, labels)
    people_in: set[Any] = set()
    for index, entry in enumerate(_list(source, entries, place or "the file")):
        where = f"{place}[{index}]"
        box = _object(source, entry, where)
        image, category = box.get("image_id"), box.get("category_id")
        if image not in images:
            raise annotation_error(source, f"there is no image {image!r}", "Add it to images", where=where)
        if category not in categories:
            raise annotation_error(source, f"there is no category {category!r}", "Add it to categories", where=where)
        people_in.add(image)
        label = categories[category]
        if only_people and label is not None:
            continue
        left, top, width, height = _box(source, box.get("bbox"), where)
        extras = {} if label is None else {"label": label}
        rows.add(
            images[image].video,
            images[image].time_seconds,
            (left, top, left + width, top + height),
            person=_optional(source, box, "track_id", int, where),
            score=_optional(source, box, "score", float, where),
            **extras,
        )
    for number, image in images.items():
        if number not in people_in:
            rows.add_empty(image.video, image.time_seconds)
    return rows.annotations(), labels if labels is not None else _label_map(path, content)


def write_coco(path: str | Path, annotations: Annotations, labels: LabelMap | None, *, rate: float) -> None:
    """Write frames as images, with `videos`, `frame_id` and file names `VIDEO/000123.jpg`.

    A person with several actions has one annotation each, with the same box and `track_id`; one without any has the
    category `person`. Categories keep the label map's ids.

    Raises:
        AnnotationError: boxes are normalised and a size is not known, or a label is not in `labels`.
        OutputError: it cannot be written.
    """
    in_pixels = annotations.in_pixels()
    names = {} if labels is None else dict(zip(labels.ids, labels.names, strict=True))
    person_id = max(names, default=0) + 1
    content: dict[str, list[dict[str, Any]]] = {"videos": [], "images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": number, "name": name} for number, name in {**names, person_id: PERSON}.items()]
    for number, video in enumerate(in_pixels.videos, 1):
        width, height = in_pixels.frame_sizes.get(video, (None, None))
        size = {} if width is None else {"width": width, "height": height}
        content["videos"].append({"id": number, "name": video, **size})
        boxes = list(person_boxes(in_pixels, video, rate))
        empty = in_pixels.empty_time_seconds[in_pixels.empty_video == number - 1]
        frames = sorted({*frame_numbers(empty, rate).tolist(), *(one.frame for one in boxes)})
        image_of = {frame: index for index, frame in enumerate(frames, len(content["images"]) + 1)}
        content["images"] += [
            {"id": image, "video_id": number, "frame_id": frame, "file_name": f"{video}/{frame:06d}.jpg", **size}
            for frame, image in image_of.items()
        ]
        for one in boxes:
            for label, score in one.labels or ((person_id, one.score),):
                if label != person_id and label not in names:
                    raise annotation_error(path, f"label {label} is not in the label map", "Pass the map it is of")
                content["annotations"].append(
                    _entry(len(content["annotations"]) + 1, image_of[one.frame], label, one.box_xyxy)
                    | ({} if one.person is None else {"track_id": one.person})
                    | ({} if score is None else {"score": score})
                )
    write_json(path, content)


def _entry(number: int, image: int, category: int, box: tuple[float, float, float, float]) -> dict[str, Any]:
    left, top, right, bottom = box
    bbox = [left, top, right - left, bottom - top]
    area = bbox[2] * bbox[3]
    return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, "area": area, "iscrowd": 0}


def _images(path: str | Path, content: dict[str, Any], rate: float, rows: AnnotationRows) -> dict[Any, _Image]:
    videos: dict[Any, str] = {}
    for index, video in enumerate(_list(path, content.get("videos", []), "videos")):
        about = _object(path, video, f"videos[{index}]")
        videos[about.get("id")] = str(about.get("name", about.get("id")))
    images: dict[Any, _Image] = {}
    for index, image in enumerate(_list(path, content.get("images"), "images")):
        where = f"images[{index}]"
        about = _object(path, image, where)
        if "id" not in about:
            raise annotation_error(path, "an image has no id", "Number the images", where=where)
        video, frame = _place_of(path, about, videos, where)
        images[about["id"]] = _Image(video, frame / rate)
        width, height = about.get("width"), about.get("height")
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
            rows.frame_sizes.setdefault(video, (width, height))
    return images


def _place_of(path: str | Path, about: dict[str, Any], videos: dict[Any, str], where: str) -> tuple[str, float]:
    frame = about.get("frame_id", about.get("frame_index"))
    file_name = PurePosixPath(str(about.get("file_name", "")).replace("\\", "/"))
    if "video_id" in about:
        if about["video_id"] not in videos:
            raise annotation_error(path, f"there is no video {about['video_id']!r}", "Add it to videos", where=where)
        video = videos[about["video_id"]]
    else:
        parent = str(file_name.parent)
        video = file_name.stem if parent == "." else parent
    if isinstance(frame, (int, float)) and not isinstance(frame, bool):
        return video, float(frame)
    if str(file_name.parent) == "." and "video_id" not in about:
        return video, 0.0  # a picture by itself
    number = _NUMBER.search(file_name.stem)
    if number is None:
        raise annotation_error(
            path, f"{str(file_name)!r} does not tell its frame", "Add frame_id, or number the files", where=where
        )
    return video, float(number[1])


def _categories(path: str | Path, content: dict[str, Any], labels: LabelMap | None) -> dict[Any, int | None]:
    named = NamedLabels(path, labels)
    found: dict[Any, int | None] = {}
    for index, category in enumerate(_list(path, content.get("categories"), "categories")):
        where = f"categories[{index}]"
        about = _object(path, category, where)
        number, name = about.get("id"), about.get("name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise annotation_error(path, "a category needs a whole id and a name", "Give it both", where=where)
        own = number if labels is None else None
        found[number] = None if name == PERSON else own if own is not None else named.id_of(name, where=where)
    return found


def _label_map(path: str | Path, content: dict[str, Any]) -> LabelMap | None:
    actions = [(one["name"], one["id"]) for one in content["categories"] if one["name"] != PERSON]
    return LabelMap(tuple(name for name, _ in actions), tuple(number for _, number in actions)) if actions else None


def _box(path: str | Path, value: Any, where: str) -> list[float]:
    numbers = cast("list[Any]", value) if isinstance(value, list) else []
    if len(numbers) != 4 or not all(_is_number(one) for one in numbers) or not (numbers[2] > 0 and numbers[3] > 0):
        raise annotation_error(
            path, f"bbox is {value!r}", "Write [left, top, width, height] in pixels, both sizes above 0", where=where
        )
    return [float(one) for one in numbers]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _optional(path: str | Path, entry: dict[str, Any], key: str, kind: type[int] | type[float], where: str) -> Any:
    value = entry.get(key)
    if value is None:
        return None
    if not _is_number(value) or (kind is int and not float(value).is_integer()):
        raise annotation_error(path, f"{key} is {value!r}", "Give a number, or leave it out", where=where)
    return kind(value)


def _object(path: str | Path, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise annotation_error(path, "it is not an object {...}", "Export it as COCO detection", where=where)
    return cast("dict[str, Any]", value)


def _list(path: str | Path, value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise annotation_error(path, "it is not a list [...]", "Export it as COCO detection", where=where)
    return cast("list[Any]", value)
