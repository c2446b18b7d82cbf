"""The report page of a localized video: a timeline for each person, with their picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from muybridge.escapes import printable
from muybridge.evaluation.report_page import Facts, Part, Strip, Strips, Text, nice_ticks
from muybridge.localize.results import ActionSpan, LocalizeResult
from muybridge.localize.video_localizer import PERSON
from muybridge.media.box_overlays import person_colour
from muybridge.media.images import resize_image
from muybridge.media.overlays import overlay_font

RGB = NDArray[np.uint8]
_MOST_PEOPLE = 40
_WIDTH, _ROW, _NAMES, _THUMBNAIL = 1400, 30, 300, 120
_LETTERS, _LEAST_BAR_WITH_TEXT = 18, 60
_INK, _QUIET, _PAPER = (27, 36, 48), (92, 104, 117), (251, 250, 247)


def report_parts(result: LocalizeResult, thumbnails: dict[int, RGB], *, threshold: float) -> list[Part]:
    """Facts, and for those who did something for longest a timeline.

    Args:
        thumbnails: a picture (h, w, 3) of a person by id.
        threshold: actions less probable are left out.
    """
    spans = result.spans(threshold=threshold)
    length = {person: sum(s.end - s.start for s in spans if s.person == person) for person in result.ids}
    chosen = sorted(sorted(result.ids, key=lambda person: -length[person])[:_MOST_PEOPLE])
    end = float(result.frame_seconds[-1]) if len(result.frame_seconds) else 0.0
    facts = [
        ("people", str(len(result.ids))),
        ("key frames", str(len(result.key_frames))),
        ("seconds", f"{end:.1f}"),
        ("most at once", str(max((len(key.people) for key in result.key_frames), default=0))),
    ]
    if result.labels != PERSON:
        facts.append(("shown from probability", f"{threshold:g}"))
    strips: list[Strip] = []
    for person in chosen:
        seen = [key.seconds for key in result.key_frames if person in key.people.ids]
        mine = [span for span in spans if span.person == person]
        picture = draw_timeline(person, mine, seen, max(end, result.every), result.every, thumbnails.get(person))
        caption = f"person {person}, {seen[0]:.1f} s to {seen[-1]:.1f} s"
        strips.append(Strip(caption, picture[None], height=picture.shape[0]))
    parts: list[Part] = [Facts("Found", facts)]
    if strips:
        parts.append(Strips("Timelines", strips))
    if len(result.ids) > len(chosen):
        parts.append(Text("Left out", [f"{len(result.ids) - len(chosen)} people who did the least"]))
    if result.notes:
        parts.append(Text("Notes", list(result.notes)))
    return parts


def draw_timeline(
    person: int, spans: Sequence[ActionSpan], seen: Sequence[float], end: float, every: float, thumbnail: RGB | None
) -> RGB:
    """A picture (H, W, 3): a row for each action, bars where it happens, darker where it is likelier.

    Args:
        seen: key frames that show the person, in seconds; they are the thin line at the top.
        end: of the video in seconds.
        every: seconds from key frame to key frame.
        thumbnail: stands at the left.
    """
    names = list(dict.fromkeys(span.label for span in sorted(spans, key=lambda s: s.start - s.end)))
    height = max(_THUMBNAIL, _ROW * (len(names) + 2))
    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(image)
    font, colour = overlay_font(_LETTERS), person_colour(person)
    if thumbnail is not None:
        scale = min(_THUMBNAIL / thumbnail.shape[0], _THUMBNAIL / thumbnail.shape[1])
        size = max(1, round(thumbnail.shape[1] * scale)), max(1, round(thumbnail.shape[0] * scale))
        image.paste(Image.fromarray(resize_image(thumbnail, *size)), (0, 0))
    left, right = _THUMBNAIL + _NAMES, _WIDTH - 20

    def place(seconds: float) -> float:
        return left + (right - left) * min(max(seconds / end, 0.0), 1.0)

    for tick in nice_ticks(0, end, 10):
        if tick <= end:
            draw.line((place(tick), 0, place(tick), height - _ROW), fill=(220, 216, 207))
            draw.text((place(tick), height - _ROW // 2), f"{tick:g} s", fill=_QUIET, font=font, anchor="mm")
    for seconds in seen:
        draw.rectangle((place(seconds - every / 2), 6, place(seconds + every / 2), 10), fill=colour)
    for row, name in enumerate(names):
        middle = _ROW * (row + 1)
        draw.text((left - 10, middle), _fitting(name, _NAMES - 20), fill=_INK, font=font, anchor="rm")
        for span in (span for span in spans if span.label == name):
            start, stop = place(span.start), max(place(span.end), place(span.start) + 2)
            draw.rectangle((start, middle - _ROW // 3, stop, middle + _ROW // 3), fill=_shade(colour, span.score))
            if stop - start > _LEAST_BAR_WITH_TEXT:
                draw.text(((start + stop) / 2, middle), f"{span.score:.2f}", fill=_INK, font=font, anchor="mm")
    return np.asarray(image)


def _fitting(name: str, width: int) -> str:
    """A name cut until it fits."""
    font, name = overlay_font(_LETTERS), printable(name)
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + "…") > width:
        name = name[:-1]
    return name.rstrip() + "…"


def _shade(colour: tuple[int, int, int], score: float) -> tuple[int, int, int]:
    """The paper's colour at 0, nearly the person's at 1."""
    weight = 0.3 + 0.7 * score
    red, green, blue = (round(p + (c - p) * weight) for p, c in zip(_PAPER, colour, strict=True))
    return red, green, blue
