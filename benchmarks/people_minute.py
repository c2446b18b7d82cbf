"""Sheets of the minute that docs/localize.md counts: who is shown, with numbers and scores, one frame a second.

    python benchmarks/people_minute.py --out FOLDER [--detector person]

Four films of `people`, none of which the built-in detector was trained on, 60 frames in all, with the looks, tracker
and defaults of `muybridge localize`. They are counted by eye: people missed, boxes on nobody or on somebody a second
time, and numbers that change.
"""

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from muybridge.localize.options import LocalizeConfig
from muybridge.localize.stream import LocalizedFrame
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.media.video_reader import VideoReader
from muybridge.people.detectors import load_detector

FILMS = {
    "one-by-one-person-detection.mp4": (65, 95),
    "test_video_structuralize.mp4": (0, 10),
    "test2.mp4": (0, 10),
    "test1.mp4": (0, 10),
}
SIZE, COLUMNS = (380, 285), 5


def drawn(shown: LocalizedFrame) -> Image.Image:
    """The frame with boxes, numbers and scores."""
    image = Image.fromarray(shown.frame.image.copy())
    pen = ImageDraw.Draw(image)
    people = shown.people
    for box, number, score in zip(
        people.pixel_boxes(image.width, image.height).tolist(), people.ids, people.scores, strict=True
    ):
        pen.rectangle(box, outline="yellow", width=max(2, image.width // 250))
        pen.text((box[0] + 3, box[1]), f"{number} {score:.2f}", fill="red", font_size=image.width // 16)
    image.thumbnail(SIZE)
    return image


def sheet(path: Path, span: tuple[int, int], localizer: PeopleLocalizer) -> tuple[Image.Image, list[str]]:
    """A frame each second from half a second on, and what is to be said."""
    with VideoReader(path) as reader:
        frames = [frame for frame in reader if span[0] <= frame.pts_seconds < span[1]]
    people = localizer.people(None, LocalizeConfig())
    wanted = span[0] + 0.5
    pictures: list[Image.Image] = []
    for shown in localizer.stream(frames, people=people):
        if shown.frame.pts_seconds >= wanted - 1e-6:
            pictures.append(drawn(shown))
            wanted += 1
    whole = Image.new("RGB", (COLUMNS * SIZE[0], -(-len(pictures) // COLUMNS) * SIZE[1]))
    for place, picture in enumerate(pictures):
        whole.paste(picture, (place % COLUMNS * SIZE[0], place // COLUMNS * SIZE[1]))
    return whole, people.notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--detector", default="person")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    localizer = PeopleLocalizer(load_detector(args.detector, device="cpu"), device="cpu")
    for name, span in FILMS.items():
        whole, notes = sheet(args.data / "people" / name, span, localizer)
        whole.save(args.out / f"{Path(name).stem}.png")
        print(name, *notes, sep="\n    ")


if __name__ == "__main__":
    main()
