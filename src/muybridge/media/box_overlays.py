"""People drawn on frames: a box each, an identity, what they do and how surely; readable on any background.

Each outline lies on a dark one, and words stand on plates nearly opaque, so that neither snow nor night hides them.
Plates are put above, below, beside or inside their boxes, where they cover neither another plate nor another person.
Where there is no such room, words are left out first, then the identity; feet are covered rather than faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from muybridge.escapes import printable
from muybridge.media.overlays import overlay_font, text_size

RGB = NDArray[np.uint8]
Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]

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


def draw_people(frame: RGB, people: Sequence[BoxLabel], *, most_actions: int = 3) -> RGB:
    """A copy of a frame (H, W, 3) with people drawn on it.

    Args:
        most_actions: lines of a plate.
    """
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
    most = most_actions if len(people) <= _MOST_WITH_ACTIONS else 0
    taken: list[Rectangle] = []
    boxes = [_rounded(person.box_xyxy) for person in ordered]
    for number, person in reversed(list(enumerate(ordered))):
        others = boxes[:number] + boxes[number + 1 :]
        found = _plate_and_place(person, most, size, (width, height), taken, others)
        if found is not None:
            plate, (left, top) = found
            taken.append((left, top, left + plate.width, top + plate.height))
            image.paste(plate, (left, top), plate)
    return np.asarray(image)


def _plate_and_place(
    person: BoxLabel,
    most: int,
    size: int,
    frame: tuple[int, int],
    taken: Sequence[Rectangle],
    others: Sequence[Rectangle],
) -> tuple[Image.Image, tuple[int, int]] | None:
    """The plate of a person and its upper left corner; None where even the identity would cover another plate.

    Where there is no room for all lines, the likeliest action alone may have it, or at last the identity.
    """
    for lines in dict.fromkeys((min(most, len(person.actions)), min(most, 1), 0)):
        plate = _plate(person.identity, tuple(person.actions[:lines]), size)
        corner, on_plates, on_people = _place(person.box_xyxy, plate.size, frame, taken, others)
        if not on_plates and (not on_people or not lines):
            return plate, corner
    return None


def _outline(draw: ImageDraw.ImageDraw, person: BoxLabel, thickness: int) -> None:
    left, top, right, bottom = _rounded(person.box_xyxy)
    for grown, colour in ((thickness, _DARK), (0, person_colour(person.identity))):
        outer = (left - grown, top - grown, right + grown, bottom + grown)
        draw.rectangle(outer, outline=colour, width=thickness + 2 * grown)


def _rounded(box: tuple[float, float, float, float]) -> Rectangle:
    left, top, right, bottom = (round(edge) for edge in box)
    return left, top, max(right, left), max(bottom, top)


def _place(
    box: tuple[float, float, float, float],
    plate: tuple[int, int],
    frame: tuple[int, int],
    taken: Sequence[Rectangle],
    others: Sequence[Rectangle],
) -> tuple[tuple[int, int], bool, bool]:
    """Upper left corner of a plate, within the frame as far as it fits; whether it covers another plate, and whether
    other people.

    Args:
        taken: plates that are there.
        others: boxes of other people.
    """
    left, top, right, bottom = own = _rounded(box)
    width, height = plate
    middle = (left + right - width) // 2
    corners = [(x, y) for y in (top - height, bottom) for x in (left, right - width, middle)]
    corners += [(x, y) for y in (top, bottom - height) for x in (right, left - width)]
    corners += [(left, top), (left, bottom - height)]
    inside = [(_within(x, width, frame[0]), _within(y, height, frame[1])) for x, y in corners]
    places = [(x, y, x + width, y + height) for x, y in inside]
    plates = [sum(_overlap(place, other) for other in taken) for place in places]
    # A large box has room for its own plate, whoever stands behind it.
    roomy = min(right - left, (bottom - top) // 3) >= max(height, width // 2)
    people = [
        0 if roomy and _overlap(place, own) == width * height else sum(_overlap(place, other) for other in others)
        for place in places
    ]
    heads = [_head(other) for other in (own, *others)]
    faces = [sum(_overlap(place, head) for head in heads) for place in places]
    # A plate that had to be moved into the frame is farther from its box.
    moved = [abs(x - a) + abs(y - b) for (x, y), (a, b) in zip(inside, corners, strict=True)]
    best = min(range(len(corners)), key=lambda i: (plates[i], faces[i], people[i], moved[i] > 0, i))
    return inside[best], plates[best] > 0, people[best] > 0


def _head(box: Rectangle) -> Rectangle:
    """Where the head of a person is likely: in the middle of the box's upper quarter."""
    left, top, right, bottom = box
    side = (right - left) // 4
    return left + side, top, right - side, top + (bottom - top) // 4


def _within(start: int, length: int, limit: int) -> int:
    return max(0, min(start, limit - length))


def _overlap(one: Rectangle, other: Rectangle) -> int:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0, wide) * max(0, high)


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
