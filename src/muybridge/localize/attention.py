"""What the ACAR head looks at, drawn over frames: where others' relations to the scene count for a person.

In the head's last layer, at each place of the scene, everybody weighs what all who are there have to do with that
place; the weights are shares, 1 together. A picture is about one person: the heat is the share of the others, and on
each person stands theirs, as the mean over places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates

from muybridge.data.localization import scaled_picture
from muybridge.localize.localizer import Localizer
from muybridge.localize.results import LocalizeResult, People
from muybridge.media.box_overlays import BoxLabel, draw_people, person_colour
from muybridge.media.films import open_film
from muybridge.media.overlays import overlay_font, text_size
from muybridge.models.acar.head import ACARHead

RGB = NDArray[np.uint8]
_HEAT = np.array((255, 96, 0), np.float64)
_MOST_HEAT = 0.55  # of the colour; the picture shows through
_LEAST_RANGE = 0.1  # of shares from cold to hot, so that next to nothing does not look like something
_GREY = 0.6  # so much of the frame's own colours is taken out, that the heat's are told apart
_INK, _PAPER = (232, 232, 232), (12, 12, 16)


@dataclass(frozen=True, eq=False)
class AttentionPicture:
    """What the head looks at for one person at a time in seconds; the picture is the frame with a line beneath."""

    person: int
    seconds: float
    image: RGB


def attention_pictures(localizer: Localizer, video: str | Path, result: LocalizeResult) -> Iterator[AttentionPicture]:
    """A picture of everybody who was seen with others, at the key frame where what they do is surest.

    Args:
        video: the file or folder of frames that `result` is of; it is read again.

    Raises:
        OptionError: the model has no such attention.
    """
    localizer.check_attention()
    asked: dict[int, list[tuple[int, str]]] = {}
    for person, (place, title) in _moments(result).items():
        asked.setdefault(place, []).append((person, title))
    with open_film(video) as reader:
        for place, those in sorted(asked.items()):
            key = result.key_frames[place]
            sampling = localizer.sampling
            *shown, frame = reader.frames_at_seconds([*sampling.seconds(key.seconds).tolist(), key.seconds])
            height, width = frame.image.shape[:2]
            size = sampling.size(width, height)
            clip = [scaled_picture(each.image, size, preprocessing=sampling.preprocessing) for each in shown]
            shares, grid = localizer.attention_of(key.people, torch.stack(clip))
            for person, title in those:
                row = key.people.ids.tolist().index(person)
                image = draw_attention(frame.image, key.people, row, shares[row], grid, title=title)
                yield AttentionPicture(person, key.seconds, image)


def _moments(result: LocalizeResult) -> dict[int, tuple[int, str]]:
    """By person the number of the key frame, and its line of words."""
    best: dict[int, tuple[float, int, str]] = {}
    for number, key in enumerate(result.key_frames):
        known = ~np.isnan(key.people.actions).any(axis=1)
        if known.sum() < 2:
            continue
        for row in np.flatnonzero(known).tolist():
            person, column = int(key.people.ids[row]), int(key.people.actions[row].argmax())
            score = float(key.people.actions[row, column])
            if person not in best or score > best[person][0]:
                does = f"{result.labels.names[column]} {score:.2f}"
                best[person] = score, number, f"{key.seconds:g} s, person {person}: {does}. Heat: share of the others"
    return {person: (number, title) for person, (_, number, title) in sorted(best.items())}


def over_frame(map_hw: NDArray[np.floating], grid: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """A map of the head's places over the frame, (height, width): linear between places, level beyond the outermost.

    Args:
        grid: the context map's rows and columns.
        size: (width, height) of the frame in pixels.
    """
    width, height = size
    rows, columns = (
        np.array([ACARHead.map_place((pixel + 0.5) / pixels, cells) for pixel in range(pixels)])
        for pixels, cells in zip((height, width), grid, strict=True)
    )
    places = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(np.asarray(map_hw, np.float64), places, order=1, mode="nearest")


def draw_attention(
    frame: RGB,
    people: People,
    row: int,
    shares_nhw: NDArray[np.floating],
    grid: tuple[int, int],
    *,
    title: str = "",
) -> RGB:
    """The frame (H, W, 3) with the heat of one person, who has a thick outline, and a line of words beneath.

    Cold is the least share that the others have at any place, hot the most; the line says which they are.

    Args:
        row: of the person among `people`.
        shares_nhw: of everybody for that person, see `Localizer.attention_of`.
        grid: the context map's rows and columns.
    """
    height, width = frame.shape[:2]
    others = 1 - shares_nhw[row]
    low = float(others.min())
    high = max(float(others.max()), low + _LEAST_RANGE)
    heat = over_frame((others - low) / (high - low), grid, (width, height))[..., None] * _MOST_HEAT
    plain = frame.astype(np.float64)
    plain += _GREY * (plain @ np.array((0.299, 0.587, 0.114)))[..., None] - _GREY * plain
    image = np.rint(plain * (1 - heat) + _HEAT * heat).astype(np.uint8)
    labels = [
        BoxLabel((left, top, right, bottom), person, [("itself" if place == row else "other", share)])
        for place, ((left, top, right, bottom), person, share) in enumerate(
            zip(
                people.pixel_boxes(width, height).tolist(),
                people.ids.tolist(),
                shares_nhw.mean((1, 2)).tolist(),
                strict=True,
            )
        )
    ]
    drawn = Image.fromarray(draw_people(image, labels))
    left, top, right, bottom = labels[row].box_xyxy
    thick = max(2, round(height / 100))
    outline = (left - thick, top - thick, right + thick, bottom + thick)
    ImageDraw.Draw(drawn).rectangle(outline, outline=person_colour(int(people.ids[row])), width=thick)
    return _captioned(np.asarray(drawn), title, f"{low:.2f}", f"{high:.2f}")


def _captioned(image: RGB, title: str, low: str, high: str) -> RGB:
    """With a line of words and the scale of the heat beneath."""
    height, width = image.shape[:2]
    size = max(11, round(text_size(height) * 0.75))
    line = round(2 * size)
    font = overlay_font(size)
    strip = Image.new("RGB", (width, line), _PAPER)
    draw = ImageDraw.Draw(strip)
    scale = min(6 * size, width // 4)
    left = width - scale - 4 * size
    while title and font.getlength(title) > left - 5 * size:
        title = title[:-2].rstrip("…") + "…" if len(title) > 2 else ""
    draw.text((size, line // 2), title, fill=_INK, font=font, anchor="lm")
    for step in range(scale):
        share = _MOST_HEAT * step / max(1, scale - 1)
        colour = tuple(round(128 * (1 - share) + float(heat) * share) for heat in _HEAT)
        draw.line((left + step, size // 2, left + step, line - size // 2), fill=colour)
    draw.text((left - size // 2, line // 2), low, fill=_INK, font=font, anchor="rm")
    draw.text((left + scale + size // 2, line // 2), high, fill=_INK, font=font, anchor="lm")
    return np.concatenate([image, np.asarray(strip)])
