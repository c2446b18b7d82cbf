"""People drawn on frames: a box each, an identity, what they do and how surely; readable on any background.

Each outline lies on a dark one, and words stand on plates nearly opaque, so that neither snow nor night hides them.
Plates are put above, below, beside or inside their boxes, or near them at the end of a line, where they cover neither
another plate nor another person (`plate_places.py`). Where there is no such room, words are left out first, then the
identity; feet are covered rather than faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from muybridge.escapes import printable
from muybridge.media.overlays import overlay_font, text_size
from muybridge.media.plate_places import PlatePlaces, Rectangle, Wanted

RGB = NDArray[np.uint8]
Colour = tuple[int, int, int]

# Told apart by all eyes (Okabe and Ito, the lighter six, and two more of the kind), on dark plates.
_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 190, 140),
    (240, 228, 66),
    (235, 130, 190),
    (255, 120, 60),
    (160, 150, 255),
    (190, 235, 150),
)
_DARK = (12, 12, 16)
_PLATE_SHARE = 0.78
_LETTERS = 0.75  # smaller than those of a caption, since each person has some
_LEAST_LETTERS = 11  # pixels; smaller ones cannot be read
_MOST_WITH_ACTIONS = 25  # beyond so many people words would hide the picture; identities stay
_MOST_WITH_IDENTITY = 80


@dataclass(frozen=True)
class BoxLabel:
    """A person to be drawn.

    Attributes:
        box_xyxy: in pixels.
        identity: number that stands beside the box and chooses its colour; -1 for none.
        actions: name and probability, likeliest first; the probability of what is known, not guessed, is None.
    """

    box_xyxy: tuple[float, float, float, float]
    identity: int = -1
    actions: Sequence[tuple[str, float | None]] = ()


def person_colour(identity: int) -> Colour:
    """The colour of a person, the same in pictures and in reports."""
    return _COLOURS[identity % len(_COLOURS)]


class PeopleDrawer:
    """Draws people on the frames of one film, in order, so that plates keep their places.

    Args:
        most_actions: lines of a plate.
    """

    def __init__(self, *, most_actions: int = 3) -> None:
        self._most_actions = most_actions
        self._places = PlatePlaces()

    def draw(self, frame: RGB, people: Sequence[BoxLabel]) -> RGB:
        """A copy of the next frame (H, W, 3) with people drawn on it."""
        if not people:
            return frame.copy()
        height, width = frame.shape[:2]
        image = Image.fromarray(np.ascontiguousarray(frame))
        draw = ImageDraw.Draw(image)
        size = max(_LEAST_LETTERS, round(text_size(height) * _LETTERS))
        thickness = max(1, round(height / 300))
        # Nearer people, whose boxes end lower, are drawn over those behind.
        ordered = sorted(people, key=lambda person: person.box_xyxy[3])
        for person in ordered:
            _outline(draw, person, thickness)
        if len(people) > _MOST_WITH_IDENTITY:
            return np.asarray(image)
        most = self._most_actions if len(people) <= _MOST_WITH_ACTIONS else 0
        plates = [_plates(person, most, size) for person in ordered]
        wanted = [
            Wanted(_grown(_rounded(person.box_xyxy), 2 * thickness), person.identity, [p.size for p in choices])
            for person, choices in zip(ordered, plates, strict=True)
        ]
        places = self._places.place(wanted, (width, height))
        placed = [
            (person, choices[place.choice], place.corner)
            for person, choices, place in zip(ordered, plates, places, strict=True)
            if place is not None
        ]
        for person, plate, corner in placed:
            _tie(draw, person, (*corner, corner[0] + plate.width, corner[1] + plate.height), thickness)
        for _, plate, corner in placed:
            image.paste(plate, corner, plate)
        return np.asarray(image)


def draw_people(frame: RGB, people: Sequence[BoxLabel], *, most_actions: int = 3) -> RGB:
    """A copy of a frame (H, W, 3), which stands alone, with people drawn on it.

    Args:
        most_actions: lines of a plate.
    """
    return PeopleDrawer(most_actions=most_actions).draw(frame, people)


def _plates(person: BoxLabel, most: int, size: int) -> list[Image.Image]:
    """With all lines; where there is no room for them, with the likeliest action alone, or at last the identity."""
    lines = dict.fromkeys((min(most, len(person.actions)), min(most, len(person.actions), 1), 0))
    return [_plate(person.identity, tuple(person.actions[:each]), size) for each in lines]


def _tie(draw: ImageDraw.ImageDraw, person: BoxLabel, plate: Rectangle, thickness: int) -> None:
    """A line in the person's colour from their box to a plate that does not touch it, and along the plate's edge."""
    left, top, right, bottom = plate[0], plate[1] - 1, plate[2] - 1, plate[3]  # the pixels around it, above and below
    box = _rounded(person.box_xyxy)
    x1, x2 = _nearest((box[0], box[2]), (left - 1, right + 1))
    y1, y2 = _nearest((box[1], box[3]), (top, bottom))
    if max(abs(x1 - x2), abs(y1 - y2)) <= 3 * thickness:
        return
    edge = (left, y2, right, y2) if y1 != y2 else (x2, top, x2, bottom)
    for width, colour in ((3 * thickness, _DARK), (thickness, person_colour(person.identity))):
        for line in ((x1, y1, x2, y2), edge):
            draw.line(line, fill=colour, width=width)


def _nearest(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The points of two spans that are nearest to each other, in the middle of what they share."""
    if one[1] < other[0]:
        return one[1], other[0]
    if other[1] < one[0]:
        return one[0], other[1]
    middle = (max(one[0], other[0]) + min(one[1], other[1])) // 2
    return middle, middle


def _outline(draw: ImageDraw.ImageDraw, person: BoxLabel, thickness: int) -> None:
    box = _rounded(person.box_xyxy)
    for grown, colour in ((thickness, _DARK), (0, person_colour(person.identity))):
        draw.rectangle(_grown(box, grown), outline=colour, width=thickness + 2 * grown)


def _grown(box: Rectangle, margin: int) -> Rectangle:
    left, top, right, bottom = box
    return left - margin, top - margin, right + margin, bottom + margin


def _rounded(box: tuple[float, float, float, float]) -> Rectangle:
    left, top, right, bottom = (round(edge) for edge in box)
    return left, top, max(right, left), max(bottom, top)


@lru_cache(maxsize=512)
def _plate(identity: int, actions: tuple[tuple[str, float | None], ...], size: int) -> Image.Image:
    """RGBA: the identity on its colour, then a line and a bar for each action."""
    return _drawn_plate(
        identity, tuple((name, None if score is None else round(score, 2)) for name, score in actions), size
    )


@lru_cache(maxsize=512)
def _drawn_plate(identity: int, actions: tuple[tuple[str, float | None], ...], size: int) -> Image.Image:
    font, colour = overlay_font(size), person_colour(identity)
    tag = str(identity) if identity >= 0 else ""
    pad, row = max(2, size // 4), round(size * 1.35)
    texts = [printable(name) + ("" if score is None else f" {score:.2f}") for name, score in actions]
    tag_width = int(font.getlength(tag)) + 2 * pad if tag else 0
    text_width = max((int(font.getlength(text)) for text in texts), default=0)
    width = max(tag_width + (text_width + 2 * pad if texts else 0), 1)
    height = row * max(len(texts), 1) if tag or texts else 1
    plate = Image.new("RGBA", (width, height), (*_DARK, round(255 * _PLATE_SHARE)))
    draw = ImageDraw.Draw(plate)
    if tag:
        draw.rectangle((0, 0, tag_width - 1, height), fill=(*colour, 255))
        draw.text((tag_width // 2, row // 2), tag, fill=(*_DARK, 255), font=font, anchor="mm")
    for number, (text, (_, score)) in enumerate(zip(texts, actions, strict=True)):
        top, left = number * row, tag_width
        if score is not None:
            bar = round((width - left) * min(max(score, 0.0), 1.0))
            thickness = max(1, size // 8)
            draw.rectangle((left, top + row - thickness, left + bar, top + row - 1), fill=(*colour, 255))
        draw.text((left + pad, top + row // 2), text, fill=(255, 255, 255, 255), font=font, anchor="lm")
    return plate
