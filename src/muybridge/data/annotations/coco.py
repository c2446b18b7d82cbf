"""COCO JSON: images, annotations and categories, or a results list. Boxes are [left, top, width, height] in pixels.

A picture is a frame of a video in one of three ways, tried in this order:

1. the image has `video` (a name) and `time_seconds`, as `write_coco` writes;
2. the image has `video_id` and `frame_id` (frames from 0), and the file has `videos`: needs `rate_fps`, or the films;
3. otherwise every image is a video of its own, named as its file, at time 0.

A person's identity is `track_id` (or `instance_id`). A box with several actions is several annotations.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muybridge.data.annotations.frame_clock import FrameClock, clock_of
from muybridge.data.annotations.table import NO_LABEL, NO_PERSON, AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import is_number, is_whole, parse_json, read_text, shown
from muybridge.decimals import PIXELS
from muybridge.errors import AnnotationError
from muybridge.media.outputs import atomic_output


def read_coco(  # noqa: C901 - a flat list of checks
    path: str | Path, *, rate_fps: float | FrameClock | None = None, results: str | Path | None = None
) -> tuple[Annotations, LabelMap]:
    """Read a COCO file: rows in the order of `annotations`, and its categories as the label map.

    Images without annotations are frames known to be empty. Annotations of crowds (`iscrowd` 1) are left out.

    Args:
        path: the file with images and categories.
        rate_fps: for files that count frames: frames a second, or a clock that knows when each frame is shown.
        results: a results list (image_id, category_id, bbox, score) to read instead of the file's annotations.

    Raises:
        MissingInput: no such file.
        AnnotationError: the file breaks the format; names the annotation.
    """
    path = Path(path)
    content = parse_json(path, read_text(path))
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise AnnotationError(
            f"{path}: no list of 'images'. A results list alone does not say which frame is which:"
            " give the file with the images, and the list as results."
        )
    labels = _categories(path, content.get("categories"))
    rows = AnnotationRows("pixel")
    frames = _frames(path, content, rate_fps, rows)
    source, listed = path, content.get("annotations", [])
    if results is not None:
        source = Path(results)
        listed = parse_json(source, read_text(source))
    if not isinstance(listed, list):
        raise AnnotationError(f"{source}: the annotations are no list. Export the file again.")
    seen: set[Any] = set()
    known = set(labels.ids)
    for position, entry in enumerate(listed):
        where = f"{source}, annotation number {position}"
        if not isinstance(entry, dict):
            raise AnnotationError(f"{where}: not an object. Export the file again.")
        if entry.get("iscrowd"):
            continue
        image = entry.get("image_id")
        if not isinstance(image, int | str) or image not in frames:
            raise AnnotationError(
                f"{where}: the image {shown(image)} is not among the images. Add it or drop the row."
            )
        seen.add(image)
        label = entry.get("category_id")
        if not is_whole(label) or label not in known:
            raise AnnotationError(f"{where}: the category {shown(label)} is not among the categories. Add it.")
        person = entry.get("track_id", entry.get("instance_id"))
        score = entry.get("score")
        if not is_number(score) and (results is not None or score is not None):
            raise AnnotationError(f"{where}: score is {shown(score)}. Each result needs a number.")
        video, time = frames[image]
        rows.add(
            video, time, _box(where, entry.get("bbox")), label=label, person=_identity(where, person), score=score
        )
    if results is None:
        for image, (video, time) in frames.items():
            if image not in seen:
                rows.add_empty(video, time)
    return rows.annotations(), labels


def write_coco(path: str | Path, annotations: Annotations, labels: LabelMap) -> None:
    """Write images (one a video and time), annotations and categories. Scores, where there are any, are kept.

    Edges and scores are written as `Annotations.rounded` has them.

    Raises:
        AnnotationError: boxes are not in pixels, or rows have no label.
        OutputError: it cannot be written.
    """
    path = Path(path)
    if annotations.unit != "pixel":
        raise AnnotationError(f"{path}: COCO boxes are in pixels, these are normalised. Call .in_pixels() first.")
    if (annotations.label == NO_LABEL).any():
        raise AnnotationError(f"{path}: some rows have no class, and COCO needs one. Give them one in the label map.")
    labels.columns(annotations.label)
    annotations = annotations.rounded()
    images: dict[tuple[int, float], dict[str, Any]] = {}

    def image_of(video: int, time: float) -> int:
        if (video, time) not in images:
            name, number = annotations.videos[video], len(images) + 1
            size = annotations.frame_sizes.get(name)
            sides = {} if size is None else {"width": size[0], "height": size[1]}
            image = {"id": number, "file_name": f"{name}/{time:.3f}", "video": name, "time_seconds": time, **sides}
            images[video, time] = image
        return images[video, time]["id"]

    entries: list[dict[str, Any]] = []
    for row, (video, time, box) in enumerate(
        zip(
            annotations.video.tolist(),
            annotations.time_seconds.tolist(),
            annotations.boxes_xyxy.tolist(),
            strict=True,
        )
    ):
        left, top, right, bottom = box
        width, height = round(right - left, PIXELS), round(bottom - top, PIXELS)
        entry: dict[str, Any] = {
            "id": row + 1,
            "image_id": image_of(video, time),
            "category_id": int(annotations.label[row]),
            "bbox": [left, top, width, height],
            "area": round(width * height, PIXELS),
            "iscrowd": 0,
        }
        if annotations.person is not None and annotations.person[row] != NO_PERSON:
            entry["track_id"] = int(annotations.person[row])
        if annotations.score is not None:
            entry["score"] = float(annotations.score[row])
        entries.append(entry)
    for video, time in zip(annotations.empty_video.tolist(), annotations.empty_time_seconds.tolist(), strict=True):
        image_of(video, time)
    categories = [{"id": number, "name": name} for number, name in zip(labels.ids, labels.names, strict=True)]
    content = {"images": list(images.values()), "annotations": entries, "categories": categories}
    with atomic_output(path) as beside:
        beside.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8", errors="backslashreplace")


def _categories(path: Path, categories: Any) -> LabelMap:
    if not isinstance(categories, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) and is_whole(entry.get("id"))
        for entry in categories
    ):
        raise AnnotationError(f"{path}: 'categories' must be a list of objects with id and name. Export it again.")
    return LabelMap(tuple(entry["name"] for entry in categories), tuple(entry["id"] for entry in categories))


def _frames(
    path: Path, content: Mapping[str, Any], rate_fps: float | FrameClock | None, rows: AnnotationRows
) -> dict[Any, tuple[str, float]]:
    """Video and seconds of each image by its id; frame sizes go into `rows`."""
    listed = content.get("videos", [])
    if not isinstance(listed, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("id"), int | str) for entry in listed
    ):
        raise AnnotationError(f"{path}: 'videos' must be a list of objects with id and name. Export it again.")
    videos = {entry["id"]: str(entry.get("name", entry.get("file_name"))) for entry in listed}
    clock = None if rate_fps is None else clock_of(rate_fps)
    frames: dict[Any, tuple[str, float]] = {}
    for position, image in enumerate(content["images"]):
        where = f"{path}, image number {position}"
        if not isinstance(image, dict) or not isinstance(image.get("id"), int | str):
            raise AnnotationError(f"{where}: an image needs an id. Export the file again.")
        if image["id"] in frames:
            raise AnnotationError(f"{where}: the id {shown(image['id'])} stands twice. Make each one different.")
        if "video" in image and is_number(image.get("time_seconds")):
            if image["time_seconds"] < 0:
                raise AnnotationError(
                    f"{where}: time_seconds is {image['time_seconds']}. Count from the film's start."
                )
            frames[image["id"]] = (str(image["video"]), float(image["time_seconds"]))
        elif "video_id" in image and is_number(image.get("frame_id")):
            frames[image["id"]] = _counted_frame(where, image, videos, clock)
        else:
            frames[image["id"]] = (str(image.get("file_name", image["id"])), 0.0)
        width, height = image.get("width"), image.get("height")
        if is_whole(width) and is_whole(height) and width and height:
            rows.frame_sizes[frames[image["id"]][0]] = (width, height)
    return frames


def _counted_frame(
    where: str, image: dict[str, Any], videos: Mapping[Any, str], clock: FrameClock | None
) -> tuple[str, float]:
    """Video and seconds of an image that counts frames."""
    if clock is None:
        raise AnnotationError(f"{where}: times are frame numbers. Give rate_fps, the frames a second.")
    video, frame = image["video_id"], image["frame_id"]
    if not isinstance(video, int | str) or video not in videos:
        raise AnnotationError(f"{where}: the video {shown(video)} is not among 'videos'. Add it.")
    if not is_whole(frame):
        raise AnnotationError(f"{where}: frame_id is {shown(frame)}. It must be a whole number, 0 or more.")
    return videos[video], float(clock.seconds(videos[video], [frame])[0])


def _box(where: str, box: Any) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(edge) for edge in box):
        raise AnnotationError(f"{where}: bbox is {shown(box)}. It must be four numbers: left, top, width, height.")
    left, top, width, height = (float(edge) for edge in box)
    if width < 0 or height < 0:
        raise AnnotationError(
            f"{where}: bbox {shown(box)} has a negative size. Order it as left, top, width, height."
        )
    return left, top, left + width, top + height


def _identity(where: str, person: Any) -> int | None:
    if person is None or person == NO_PERSON:
        return None
    if not is_whole(person):
        raise AnnotationError(f"{where}: track_id is {shown(person)}. It must be a whole number, 0 or more.")
    return person
