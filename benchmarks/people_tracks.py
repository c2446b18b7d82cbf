"""Who is shown, frame by frame, by detector and tracker together, against all people with their identities.

    python benchmarks/people_tracks.py [--detectors person FILE.onnx ...]

    campus     TUD-Campus and TUD-Stadtmitte, 10 s (measured on, never trained on: CC-BY-NC-SA)
    far        nine moments of these films side by side in one of 768x576, people 50 to 110 pixels tall, 2.8 and 7 s

Looks, interpolation and defaults are those of `muybridge localize`. A box is right when it overlaps a person's by
half, each claimed once; people are those of the annotations, also where others hide them. A change is a person whose
box has another number than when it was last found (MOTA's identity switches).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.people.detector import Detector
from muybridge.people.detectors import load_detector

FILMS = ("TUD-Campus", "TUD-Stadtmitte")
MATCH = 0.5


@dataclass(frozen=True, eq=False)
class Film:
    """Frames, and for each (n, 5): identity and xyxy in pixels."""

    name: str
    frames: Sequence[Frame]
    people: Sequence[NDArray[np.float64]]


def film(data: Path, name: str) -> Film:
    """One of the two."""
    rows = np.loadtxt(data / f"boxes/mot/{name}/gt.txt", delimiter=",")
    with VideoReader(data / f"boxes/mot/{name}/{name}.mp4") as reader:
        frames = list(reader)
    people: list[NDArray[np.float64]] = []
    for number in range(len(frames)):
        mine = rows[rows[:, 0] == number + 1]
        people.append(np.concatenate([mine[:, 1:2], mine[:, 2:4], mine[:, 2:4] + mine[:, 4:6]], axis=1))
    return Film(name, frames, people)


def far(one: Film) -> Film:
    """Nine moments of a film, each running on from there and round again, in one picture."""
    count = len(one.frames)
    frames: list[Frame] = []
    people: list[NDArray[np.float64]] = []
    for number, frame in enumerate(one.frames):
        sheet = Image.new("RGB", (768, 576))
        here: list[NDArray[np.float64]] = []
        for place in range(9):
            moment = number + place * count // 9
            turn, moment = divmod(moment, count)
            corner = place % 3 * 256, place // 3 * 192
            small = Image.fromarray(one.frames[moment].image).resize((256, 192), Image.Resampling.BOX)
            sheet.paste(small, corner)
            rows = one.people[moment] * ([1] + [256 / frame.image.shape[1]] * 4) + ([0, *corner, *corner])
            rows[:, 0] += 1000 * place + 100 * turn
            here.append(rows)
        frames.append(Frame(np.asarray(sheet), frame.pts_seconds, number))
        people.append(np.concatenate(here))
    return Film(f"far {one.name}", frames, people)


def shown(one: Film, detector: Detector) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Boxes in pixels and numbers of each frame."""
    height, width = one.frames[0].image.shape[:2]
    for each in PeopleLocalizer(detector, device="cpu").stream(one.frames):
        yield each.people.pixel_boxes(width, height), each.people.ids


def counts(one: Film, found: Sequence[tuple[NDArray[np.float32], NDArray[np.int64]]]) -> dict[str, int]:
    """right, shown, people, changes."""
    total = {"right": 0, "shown": 0, "people": 0, "changes": 0}
    last: dict[int, int] = {}
    for truth, (boxes, ids) in zip(one.people, found, strict=True):
        overlap = box_iou(torch.from_numpy(truth[:, 1:]), torch.from_numpy(boxes.astype(np.float64))).numpy()
        rows, columns = linear_sum_assignment(np.where(overlap >= MATCH, overlap, 0), maximize=True)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if overlap[row, column] < MATCH:
                continue
            person, number = int(truth[row, 0]), int(ids[column])
            total["right"] += 1
            total["changes"] += last.get(person, number) != number
            last[person] = number
        total["shown"] += len(boxes)
        total["people"] += len(truth)
    return total


def line(name: str, detector: str, total: dict[str, int]) -> str:
    """One row."""
    recall, precision = total["right"] / total["people"], total["right"] / max(1, total["shown"])
    return (
        f"{name:20} {detector:24} recall {recall:.3f}, precision of what is shown {precision:.3f}, "
        f"{total['changes']} changes of identity   ({total['people']} boxes)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--detectors", nargs="+", default=["person"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    films = [film(args.data, name) for name in FILMS]
    for one in [*films, *(far(each) for each in films)]:
        for name in args.detectors:
            found = list(shown(one, load_detector(name, device="cpu")))
            print(line(one.name, Path(name).name, counts(one, found)), flush=True)


if __name__ == "__main__":
    main()
