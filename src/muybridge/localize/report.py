"""The report page of a localized video: who is who, and when each does what, beside the film."""

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.evaluation.report_page import Bar, Facts, Part, Text, Timeline, Track
from muybridge.localize.results import LocalizeResult
from muybridge.localize.video_localizer import PERSON
from muybridge.media.box_overlays import person_colour

RGB = NDArray[np.uint8]
_MOST_PEOPLE = 40


def report_parts(
    result: LocalizeResult, thumbnails: dict[int, RGB], *, threshold: float, film: str = ""
) -> list[Part]:
    """A timeline of those who did something for longest, then facts.

    Args:
        thumbnails: a picture (h, w, 3) of a person by id.
        threshold: actions less probable are left out.
        film: name of the annotated video beside the page; empty for none.
    """
    spans = result.spans(threshold=threshold)
    length = {person: sum(s.end - s.start for s in spans if s.person == person) for person in result.ids}
    seen = {person: [Bar(start, stop) for start, stop in stays] for person, stays in result.presence.items()}
    there = {person: sum(bar.end - bar.start for bar in seen[person]) for person in result.ids}
    chosen = sorted(sorted(result.ids, key=lambda person: (-length[person], -there[person]))[:_MOST_PEOPLE])
    tracks: list[Track] = []
    for person in chosen:
        rows: dict[str, list[Bar]] = {}
        for span in sorted((span for span in spans if span.person == person), key=lambda s: s.start - s.end):
            if result.labels != PERSON:
                rows.setdefault(span.label, []).append(Bar(span.start, span.end, span.score))
        tracks.append(Track(f"person {person}", person_colour(person), seen[person], rows, thumbnails.get(person)))
    facts = [
        ("people", str(len(result.ids))),
        ("key frames", str(len(result.key_frames))),
        ("seconds", f"{result.seconds:.1f}"),
        ("most at once", str(max((len(look.people) for look in result.looks or result.key_frames), default=0))),
    ]
    if result.labels != PERSON:
        facts.append(("shown from probability", f"{threshold:g}"))
    parts: list[Part] = []
    if tracks:
        parts.append(Timeline("Who is who, and when", tracks, result.seconds, film))
    parts.append(Facts("Found", facts))
    if len(result.ids) > len(chosen):
        parts.append(
            Text("Left out", [f"{counted(len(result.ids) - len(chosen), 'person', 'people')} who did the least"])
        )
    if result.notes:
        parts.append(Text("Notes", list(result.notes)))
    return parts
