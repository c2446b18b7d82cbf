"""What it saves to leave out looks at a picture that is as it was, and what it loses.

    python benchmarks/people_looks.py FILM [FILM ...] [--seconds 60] [--turns 1]

Each film is followed with and without `skip_still`, by turns: how often the detector was asked, processor time of all
looks (medians over the turns), and frames in which other people are told of, or somebody elsewhere (an overlap under
a half).
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from muybridge.localize.options import LocalizeConfig
from muybridge.localize.results import People
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.people.detector import Detections, Detector
from muybridge.people.detectors import load_detector


class Counted:
    """A detector that counts how often it is asked."""

    def __init__(self, detector: Detector) -> None:
        self.classes, self.asked, self._detector = detector.classes, 0, detector

    def __call__(self, frames: NDArray[np.uint8]) -> list[Detections]:
        self.asked += len(frames)
        return self._detector(frames)


def beginning(path: Path, seconds: float) -> Iterator[Frame]:
    with VideoReader(path) as reader:
        for frame in reader:
            if frame.pts_seconds > seconds:
                return
            yield frame


def followed(path: Path, seconds: float, detector: Detector, *, skip: bool) -> tuple[int, float, list[People]]:
    """Times that the detector was asked, processor time of looks, and the people of each frame."""
    counted, spent = Counted(detector), 0.0
    localizer, config = PeopleLocalizer(counted, device="cpu"), LocalizeConfig(skip_still=skip)
    people = localizer.people(None, config)
    look = people.look

    def timed(image: NDArray[np.uint8], seconds: float):
        nonlocal spent
        start = time.thread_time()
        sighting = look(image, seconds)
        spent += time.thread_time() - start
        return sighting

    people.look = timed
    shown = [each.people for each in localizer.stream(beginning(path, seconds), people=people, config=config)]
    return counted.asked, spent, shown


def differ(one: People, other: People) -> bool:
    """Whether other people are told of, or somebody elsewhere."""
    if one.ids.tolist() != other.ids.tolist():
        return True
    overlap = box_iou(torch.from_numpy(one.boxes), torch.from_numpy(other.boxes)).diagonal()
    return bool((overlap < 0.5).any())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--turns", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    detector = load_detector(device="cpu")
    for film in args.films:
        turns = [
            [followed(film, args.seconds, detector, skip=skip) for skip in (True, False)] for _ in range(args.turns)
        ]
        (skipping, _, some), (looking, _, every) = turns[0]
        share = median(skip[1] for skip, _ in turns) / median(full[1] for _, full in turns)
        others = sum(differ(one, other) for one, other in zip(some, every, strict=True))
        print(f"{film.name}: asked {skipping} of {looking} times, {share:.2f} of the processor time of all looks; "
              f"{others} of {len(every)} frames differ", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
