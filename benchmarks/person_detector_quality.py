"""Detectors of people on photographs and film that the built-in one never saw, in one run.

    python benchmarks/person_detector_quality.py [--detectors person FILE.onnx ...] [--pictures FOLDER]

    street     the photographs of streets that training leaves out; people in crowds often have no box
    campus     TUD-Campus and TUD-Stadtmitte, every fifth frame; measured on, never trained on (CC-BY-NC-SA)
    far        nine of these frames side by side in one of 768x576, so that people are 50 to 110 pixels tall

AP is the area under the envelope of precision over recall at IoU 0.5 (VOC 2010), over the boxes of all frames. Beside
it stand precision and recall of what is sure enough to be shown, and frames a second, all detectors in turn on the
same frames, so that their ratios hold on a busy machine.
"""

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torchvision.ops import box_iou

from muybridge.media.video_reader import VideoReader
from muybridge.people.detector import Detections
from muybridge.people.detectors import load_detector

MATCH = 0.5
HELD_OUT_EVERY = 4  # of the street photographs, in order of their names


@dataclass(frozen=True, eq=False)
class Labelled:
    """A frame (H, W, 3) and its people, (n, 4) xyxy in pixels."""

    name: str
    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def street(data: Path, *, held_out: bool = True) -> Iterator[Labelled]:
    """The photographs that are held out, or all the others."""
    people: dict[str, list[list[float]]] = defaultdict(list)
    folder = data / "boxes/street"
    with (folder / "boxes.tsv").open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            people[row["photo"]].append([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
    for number, name in enumerate(sorted(people)):
        if (number % HELD_OUT_EVERY == 0) != held_out:
            continue
        with Image.open(folder / name) as photo:
            image = np.asarray(photo.convert("RGB"))
        size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
        yield Labelled(name, image, np.array(people[name], np.float32) * size)


def campus(data: Path, *, every: int = 5) -> Iterator[Labelled]:
    """Frames of both films, one in `every`."""
    for film in ("TUD-Campus", "TUD-Stadtmitte"):
        rows = np.loadtxt(data / f"boxes/mot/{film}/gt.txt", delimiter=",")
        with VideoReader(data / f"boxes/mot/{film}/{film}.mp4") as reader:
            for number, frame in enumerate(reader):
                if number % every:
                    continue
                boxes = rows[rows[:, 0] == number + 1, 2:6]
                boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
                yield Labelled(f"{film}#{number}", frame.image, boxes.astype(np.float32))


def far(frames: Sequence[Labelled]) -> Iterator[Labelled]:
    """Nine frames, of moments far apart, as one of 768x576."""
    count = len(frames) // 9
    for number in range(count):
        sheet = Image.new("RGB", (768, 576))
        boxes: list[NDArray[np.float32]] = []
        for place, frame in enumerate(frames[number::count][:9]):
            corner = place % 3 * 256, place // 3 * 192
            sheet.paste(Image.fromarray(frame.image).resize((256, 192), Image.Resampling.BOX), corner)
            boxes.append(frame.boxes * (256 / frame.image.shape[1]) + np.array(corner * 2, np.float32))
        yield Labelled(f"far#{number}", np.asarray(sheet), np.concatenate(boxes))


def average_precision(found: Sequence[Detections], truth: Sequence[Labelled]) -> float:
    """Boxes take the best true box that is left, the surest first."""
    hits, scores = matches(found, truth)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    people = sum(len(each.boxes) for each in truth)
    recall, precision = right / max(1, people), right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


def matches(found: Sequence[Detections], truth: Sequence[Labelled]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Whether each box is right, and its score, over all frames."""
    hits: list[bool] = []
    for each, true in zip(found, truth, strict=True):
        overlaps = box_iou(torch.from_numpy(each.boxes), torch.from_numpy(true.boxes)).numpy()
        free = np.ones(len(true.boxes), bool)
        for row in overlaps:
            best = int(np.where(free, row, 0).argmax()) if len(row) else 0
            hit = bool(len(row)) and bool(free[best]) and row[best] >= MATCH
            if hit:
                free[best] = False
            hits.append(hit)
    return np.array(hits, bool), np.concatenate([each.scores for each in found])


def line(found: Sequence[Detections], truth: Sequence[Labelled], threshold: float) -> str:
    """One set's figures."""
    hits, scores = matches(found, truth)
    shown = scores >= threshold
    people = sum(len(each.boxes) for each in truth)
    return (
        f"AP {average_precision(found, truth):.3f}   from {threshold:.2f} on: "
        f"precision {hits[shown].sum() / max(1, shown.sum()):.3f}, "
        f"recall {hits[shown].sum() / max(1, people):.3f}   ({people} people)"
    )


def draw(truth: Sequence[Labelled], found: Sequence[Detections], path: Path, threshold: float) -> None:
    """A sheet of frames: what was found yellow, the truth green."""
    size, columns = (400, 300), 4
    rows = -(-len(truth) // columns)
    sheet = Image.new("RGB", (columns * size[0], rows * size[1]))
    for place, (true, each) in enumerate(zip(truth, found, strict=True)):
        image = Image.fromarray(true.image)
        thick = max(1, image.width // 400)
        pen = ImageDraw.Draw(image)
        for box in true.boxes.tolist():
            pen.rectangle(box, outline="lime", width=thick)
        for box, score in zip(each.boxes.tolist(), each.scores.tolist(), strict=True):
            if score >= threshold:
                pen.rectangle(box, outline="yellow", width=thick)
                pen.text((box[0] + 2, max(0, box[1])), f"{score:.2f}", fill="yellow", font_size=12 * thick)
        image.thumbnail(size)
        sheet.paste(image, (place % columns * size[0], place // columns * size[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def sets(data: Path) -> dict[str, list[Labelled]]:
    """All that is measured on, by name."""
    frames = list(campus(data))
    return {"street": list(street(data)), "campus": frames, "far": list(far(list(campus(data, every=2))))}


def some(items: Sequence[Labelled], count: int = 16) -> Iterable[int]:
    """Places of `count` of them, evenly apart."""
    return range(0, len(items), max(1, len(items) // count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--detectors", nargs="+", default=["person"])
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    detectors = {name: load_detector(name, device="cpu") for name in args.detectors}
    for name, truth in sets(args.data).items():
        found: dict[str, list[Detections]] = {each: [] for each in detectors}
        seconds: dict[str, list[float]] = {each: [] for each in detectors}
        for true in truth:
            for each, detector in detectors.items():
                start = time.perf_counter()
                found[each].append(detector(true.image[None])[0])
                seconds[each].append(time.perf_counter() - start)
        for each in detectors:
            rate = 1 / np.median(seconds[each])
            print(f"{name:8} {Path(each).name:24} {line(found[each], truth, args.threshold)}   {rate:.1f} frames/s")
            if args.pictures:
                places = list(some(truth))
                chosen = [truth[i] for i in places], [found[each][i] for i in places]
                draw(*chosen, args.pictures / f"{name}_{Path(each).stem}.png", args.threshold)


if __name__ == "__main__":
    main()
