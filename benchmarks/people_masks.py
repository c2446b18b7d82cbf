"""How far boxes and masks of people tremble, as they are found and as `muybridge stylize --who` steadies them.

    python benchmarks/people_masks.py FILM

Edges: the mean change of an edge's speed from frame to frame, as a share of the person's height. Mask: the mean
absolute second difference over time, as a share of its area.
"""

import argparse
from collections import defaultdict
from fractions import Fraction

import numpy as np

from muybridge.data.localization import KeyFrameSampling
from muybridge.localize.masks import PeopleChoice, PeopleMask, steady_looks
from muybridge.localize.results import Moment, ShownPeople
from muybridge.localize.stream import LocalizeConfig, LocalizeRun
from muybridge.media.video_reader import VideoReader
from muybridge.people.detectors import load_detector
from muybridge.people.sightings import DetectedPeople
from muybridge.people.tracks import Tracker


def shown(looks: list[Moment]) -> ShownPeople:
    people = ShownPeople(1.0, 0)
    for look in looks:
        people.add_look(look)
    return people


def measure(looks: list[Moment], times: list[Fraction], height: int, width: int) -> str:
    tracks: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    people = shown(looks)
    for number, time in enumerate(times):
        now = people.at(float(time))
        for person, box in zip(now.ids.tolist(), now.boxes, strict=True):
            tracks[person].append((number, box * [width, height, width, height]))
    changes, absences = [], 0
    for track in tracks.values():
        absences += int((np.diff([number for number, _ in track]) > 1).sum())
        boxes = np.array([box for _, box in track])
        if len(boxes) > 4:
            changes.append(np.abs(np.diff(boxes, 2, axis=0)).mean() / (boxes[:, 3] - boxes[:, 1]).mean())
    mask = PeopleMask(shown(looks), PeopleChoice())
    masks = [mask.at(time, height, width) for time in times]
    triples = [(a, b, c) for a, b, c in zip(masks, masks[1:], masks[2:], strict=False) if b.any()]
    flicker = np.mean([np.abs(a - 2 * b + c).mean() / b.mean() for a, b, c in triples])
    return f"edges {100 * np.mean(changes):.2f} %, absences {absences}, mask {100 * flicker:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("film")
    film = parser.parse_args().film
    with VideoReader(film) as reader:
        people = DetectedPeople(load_detector(), Tracker(rate=5.0), min_score=LocalizeConfig.min_score)
        run = LocalizeRun(KeyFrameSampling(1, 1.0, 8), 0, people, lambda _, __, seen: seen.actions, LocalizeConfig())
        for _ in run.walk(reader):
            pass
        looks = run.looks
    with VideoReader(film) as reader:
        times = [frame.pts_seconds for frame in reader]
        size = reader.info.height, reader.info.width
    print(f"as found: {measure(looks, times, *size)}")
    print(f"steadied: {measure(steady_looks(looks), times, *size)}")


if __name__ == "__main__":
    main()
