"""Sheets of the films that docs/localize.md counts: who is said to do what at each key frame, to be judged by eye.

    python benchmarks/localize_films.py --out FOLDER [--model people_actions] [--films FILE ...]

Films that the built-in localizer was not trained on, with the looks, tracker and defaults of `muybridge localize`.
Beside each key frame, and two pictures before and one after it, stand the actions from --threshold on: "still" by the
model without what it reads of motion, "now" by all of it. The same numbers are printed.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from muybridge.localize.localizer import Localizer
from muybridge.localize.options import LocalizeConfig
from muybridge.localize.results import People
from muybridge.localize.stream import LocalizeRun
from muybridge.media.video_reader import VideoReader

FILMS = (
    "people/walking.mp4",
    "people/test_video_structuralize.mp4",
    "people/test2.mp4",
    "people/schoolgirls.mp4",
    "people/test1.mp4",
    "misc/test.mp4",
)
PLACES = (1, 3, 4, 6)  # of a clip, the key picture third
WIDTH, TEXT = 260, 420


@dataclass(frozen=True, eq=False)
class Key:
    """A key frame with somebody in it; actions (n, K)."""

    seconds: float
    clip: Tensor
    people: People
    still: NDArray[np.float32]
    now: NDArray[np.float32]


def keys_of(film: Path, localizer: Localizer, seconds: float) -> list[Key]:
    """Both answers of each."""
    keys: list[Key] = []

    def answer(seconds: float, clip: Tensor, people: People) -> NDArray[np.float32]:
        still = localizer.actions_of(replace(people, motion=None), clip)
        now = localizer.actions_of(people, clip)
        if len(people):
            keys.append(Key(seconds, clip, people, still, now))
        return now

    config = LocalizeConfig()
    codebook = None if localizer.motion is None else localizer.motion.codebook
    source = localizer.people(None, config)
    run = LocalizeRun(localizer.sampling, len(localizer.labels), source, answer, config, codebook=codebook)
    with VideoReader(film) as reader:
        for _ in run.walk(takewhile(lambda frame: frame.pts_seconds <= seconds, reader)):
            pass
    return keys


def said(actions: NDArray[np.float32], names: tuple[str, ...], threshold: float) -> str:
    """From the threshold on, the likeliest first; in brackets the likeliest where that is nothing."""
    order = np.argsort(-actions)
    told = [f"{names[i]} {actions[i]:.2f}" for i in order.tolist() if actions[i] >= threshold]
    return ", ".join(told) or f"({names[int(order[0])]} {actions[order[0]]:.2f})"


def lines(key: Key, names: tuple[str, ...], threshold: float) -> Iterator[str]:
    """One of each person."""
    for person, still, now in zip(key.people.ids.tolist(), key.still, key.now, strict=True):
        yield f"#{person} still {said(still, names, threshold)}; now {said(now, names, threshold)}"


def row(key: Key, names: tuple[str, ...], threshold: float) -> Image.Image:
    """A strip of the sheet."""
    height = round(WIDTH * key.clip.shape[-2] / key.clip.shape[-1])
    strip = Image.new("RGB", (len(PLACES) * WIDTH + TEXT, max(height, 14 * len(key.people))))
    pen = ImageDraw.Draw(strip)
    for column, place in enumerate(PLACES):
        picture = Image.fromarray(key.clip[place].permute(1, 2, 0).numpy()).resize((WIDTH, height))
        strip.paste(picture, (column * WIDTH, 0))
    left = PLACES.index(key.clip.shape[0] // 2) * WIDTH
    for person, box in zip(key.people.ids.tolist(), key.people.pixel_boxes(WIDTH, height).tolist(), strict=True):
        corners = [box[0] + left, box[1], box[2] + left, box[3]]
        pen.rectangle(corners, outline="yellow")
        pen.text((corners[0] + 2, corners[1]), str(person), fill="red")
    for number, line in enumerate(lines(key, names, threshold)):
        pen.text((len(PLACES) * WIDTH + 4, 14 * number), f"{key.seconds:g} s {line}", fill="white")
    return strip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--films", nargs="+", default=FILMS)
    parser.add_argument("--model", default="people_actions")
    parser.add_argument("--threshold", type=float, default=LocalizeConfig.threshold)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="of each film")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    localizer = Localizer.from_pretrained(args.model, device="cpu")
    for name in args.films:
        keys = keys_of(args.data / name, localizer, args.seconds)
        print(name)
        for key in keys:
            for line in lines(key, localizer.labels.names, args.threshold):
                print(f"  {key.seconds:g} s {line}", flush=True)
        strips = [row(key, localizer.labels.names, args.threshold) for key in keys]
        sheet = Image.new("RGB", (len(PLACES) * WIDTH + TEXT, sum(each.height + 2 for each in strips)))
        top = 0
        for strip in strips:
            sheet.paste(strip, (0, top))
            top += strip.height + 2
        sheet.save(args.out / f"{Path(name).stem}.png")


if __name__ == "__main__":
    main()
