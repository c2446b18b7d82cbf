"""Boxes of who acts in 150 clips of JHMDB, drawn and checked by eye: the draw, sheets to look at, and the reader.

    python recipes/jhmdb_truth_boxes.py --out FOLDER            # the boxes of jhmdb_truth_boxes.tsv on their frames
    python recipes/jhmdb_truth_boxes.py --out FOLDER --found    # all boxes that the built-in detector finds there

JHMDB's official boxes are not at hand, so these stand in for them. The clips are drawn from all 660 of the training
part, seven of each of the 21 classes and an eighth of three of them, whether or not a detector finds anybody there.
Each first, tenth, twentieth ... and last frame has a box: all that is to be seen of who acts, head, hands and feet,
within the frame; what is held does not count, nor what something hides. Between those frames boxes go evenly from one
to the next. Frames are numbered from 0, x and y are pixels of the frame.

Of the 662 boxes, 397 are the detector's as they were, where one was seen to be right (387 times its surest), 260 are
one that it found, corrected by eye, and of 5 it found nothing that overlapped by half. All were looked at again on
sheets drawn closer, which corrected nearly a fifth, and those that were corrected or dark a third time.
"""

import argparse
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from localizer_moments import RGB, Floats, pictures_of
from PIL import Image, ImageDraw

from muybridge.people.detectors import load_detector

COUNT, SEED = 150, 150
EVERY = 10
LEAST = 0.1  # of the detector's score, to be drawn
FOLDER = "clips/jhmdb/train"
TABLE = Path(__file__).with_name("jhmdb_truth_boxes.tsv")
SIDES = ("x1", "y1", "x2", "y2")
_SCALE, _CLIPS_A_SHEET, _GRID = 1.5, 4, 40
_COLOURS = ("lime", "red", "yellow", "cyan", "magenta", "orange", "white", "deepskyblue")


def drawn(data: Path, *, count: int = COUNT, seed: int = SEED) -> list[str]:
    """Names of clips under `FOLDER`, as many of each class as can be, in the order of `train.tsv`."""
    classes: dict[str, list[str]] = defaultdict(list)
    with (data / FOLDER).with_suffix(".tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            classes[row["class"]].append(row["clip"])
    chance = np.random.default_rng(seed)
    more = set(chance.permutation(len(classes))[: count % len(classes)].tolist())
    chosen: set[str] = set()
    for place, clips in enumerate(classes.values()):
        share = count // len(classes) + int(place in more)
        chosen |= {clips[i] for i in chance.permutation(len(clips))[:share].tolist()}
    return [clip for clips in classes.values() for clip in clips if clip in chosen]


def key_frames(length: int) -> list[int]:
    """Of a clip of so many frames: the first, each tenth, and the last; none shortly before the last."""
    inner = [frame for frame in range(0, length - 1, EVERY) if frame == 0 or length - 1 - frame > EVERY // 2]
    return [*inner, length - 1]


@cache
def truth(table: Path = TABLE) -> Mapping[str, Mapping[int, Floats]]:
    """For each clip its key frames and, of each, the box (4,) float32 x1 y1 x2 y2 in pixels."""
    found: dict[str, dict[int, Floats]] = defaultdict(dict)
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found[row["clip"]][int(row["frame"])] = np.array([float(row[side]) for side in SIDES], np.float32)
    return found


def box_at(keys: Mapping[int, Floats], frame: int) -> Floats:
    """(4,) of any frame, evenly between those of the key frames around it."""
    frames = sorted(keys)
    return np.array(
        [np.interp(frame, frames, [keys[each][side] for each in frames]) for side in range(4)], np.float32
    )


def tile(picture: RGB, boxes: Sequence[tuple[str, Sequence[float]]], title: str) -> Image.Image:
    """A frame enlarged, with a grid of pixels of the frame and boxes with their names."""
    height, width = picture.shape[:2]
    image = Image.fromarray(picture).resize((round(width * _SCALE), round(height * _SCALE)), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image, "RGBA")
    for number in range(_GRID, max(width, height), _GRID):
        at = number * _SCALE
        draw.line((at, 0, at, image.height), fill=(255, 255, 255, 70))
        draw.line((0, at, image.width, at), fill=(255, 255, 255, 70))
        draw.text((at + 1, image.height - 11), str(number), fill=(255, 255, 0, 220))
        draw.text((1, at + 1), str(number), fill=(255, 255, 0, 220))
    for (name, box), colour in zip(boxes, _COLOURS, strict=False):
        x1, y1, x2, y2 = (side * _SCALE for side in box)
        draw.rectangle((x1, y1, x2, y2), outline=colour, width=2 if colour == _COLOURS[0] else 1)
        draw.text((x1 + 3, y1 + 2), name, fill=colour, stroke_width=1, stroke_fill="black")
    draw.text((3, 0), title, fill="white", stroke_width=1, stroke_fill="black")
    return image


def sheets(rows: Sequence[Sequence[Image.Image]], out: Path) -> None:
    """`NN.png`, a row for each clip."""
    out.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(rows), _CLIPS_A_SHEET):
        part = rows[first : first + _CLIPS_A_SHEET]
        width, height = (max(getattr(each, side) for row in part for each in row) for side in ("width", "height"))
        sheet = Image.new("RGB", (width * max(map(len, part)), height * len(part)))
        for y, row in enumerate(part):
            for x, each in enumerate(row):
                sheet.paste(each, (x * width, y * height))
        sheet.save(out / f"{first // _CLIPS_A_SHEET:02d}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--found", action="store_true", help="boxes of the detector, from 0.1 on, the surest first")
    args = parser.parse_args()
    detector = load_detector("person", min_score=LEAST, device="cpu") if args.found else None
    rows: list[list[Image.Image]] = []
    for number, clip in enumerate(drawn(args.data)):
        pictures = [picture for _, picture in pictures_of(args.data / FOLDER / clip)]
        row: list[Image.Image] = []
        for frame in key_frames(len(pictures)):
            if detector is not None:
                seen = detector(np.ascontiguousarray(pictures[frame])[None])[0]
                boxes = [(str(place), box) for place, box in enumerate(seen.boxes.tolist())]
            else:
                boxes = [("", truth()[clip][frame].tolist())]
            row.append(tile(pictures[frame], boxes, f"{number} {clip.partition('/')[0]} #{frame}"))
        rows.append(row)
    sheets(rows, args.out)


if __name__ == "__main__":
    main()
