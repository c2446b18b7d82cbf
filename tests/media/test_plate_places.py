"""Plates stay where they are, away from others, and are tied to whom they name."""

from itertools import pairwise

import numpy as np
from scipy import ndimage

from muybridge.media.box_overlays import BoxLabel, PeopleDrawer, person_colour
from muybridge.media.plate_places import Place, PlatePlaces, Wanted

FRAME = (640, 360)
WORDS, TAG = (90, 16), (16, 16)


def wanted(*boxes: tuple[float, float, float, float]) -> list[Wanted]:
    return [Wanted(tuple(round(edge) for edge in box), who, [WORDS, TAG]) for who, box in enumerate(boxes)]


def offsets(found: list[Place | None], people: list[Wanted]) -> list[tuple[int, int, int]]:
    """Choice, and corner from the box's upper left, of each."""
    placed = [(place, person.box) for place, person in zip(found, people, strict=True) if place is not None]
    return [(place.choice, place.corner[0] - box[0], place.corner[1] - box[1]) for place, box in placed]


def rectangle(place: Place, person: Wanted) -> tuple[int, int, int, int]:
    width, height = person.sizes[place.choice]
    return (*place.corner, place.corner[0] + width, place.corner[1] + height)


def pixels_shared(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> int:
    canvas = np.zeros((2, FRAME[1], FRAME[0]), bool)
    for layer, (left, top, right, bottom) in zip(canvas, (one, other), strict=True):
        layer[max(top, 0) : bottom, max(left, 0) : right] = True
    return int(canvas.all(0).sum())


def test_plates_of_people_who_sway_keep_their_sides() -> None:
    random = np.random.default_rng(0)
    kept = PlatePlaces()
    remembered: set[tuple[tuple[int, int, int], ...]] = set()
    forgotten: set[tuple[tuple[int, int, int], ...]] = set()
    for _ in range(60):
        sway = random.integers(-3, 4, (3, 2)).tolist()
        corners = [(x + a, y + b) for (x, y), (a, b) in zip([(100, 100), (150, 100), (300, 98)], sway, strict=True)]
        people = wanted(*((x, y, x + 40, y + 150) for x, y in corners))
        remembered.add(tuple(offsets(kept.place(people, FRAME), people)))
        forgotten.add(tuple(offsets(PlatePlaces().place(people, FRAME), people)))
    assert len(remembered) == 1 < len(forgotten)


def test_nothing_covers_a_plate_and_words_cover_nobody() -> None:
    random = np.random.default_rng(1)
    places = PlatePlaces()
    state = random.uniform((40, 60), (560, 160), (7, 2))
    for _ in range(80):
        state = (state + random.normal(0, 4, state.shape)).clip((0, 0), (600, 200))
        people = wanted(*((x, y, x + 36, y + 130) for x, y in state.tolist()))
        found = places.place(people, FRAME)
        drawn = [
            (rectangle(place, person), place, person) for place, person in zip(found, people, strict=True) if place
        ]
        for number, (mine, place, person) in enumerate(drawn):
            assert min(mine[:2]) >= 0 and mine[2] <= FRAME[0] and mine[3] <= FRAME[1]
            assert not any(pixels_shared(mine, other) for other, _, _ in drawn[:number])
            if place.choice == 0:
                covered = sum(pixels_shared(mine, other.box) for other in people if other is not person)
                assert covered <= 0.25 * WORDS[0] * WORDS[1]


def test_a_plate_goes_at_once_when_somebody_comes_before_it_and_returns_in_time() -> None:
    places = PlatePlaces()
    at, alone = (200, 150, 240, 300), wanted((200, 150, 240, 300))
    first = offsets(places.place(alone, FRAME), alone)
    crossing = wanted(at, (190, 60, 300, 320))
    (now, _) = places.place(crossing, FRAME)
    assert now is not None
    assert not pixels_shared(rectangle(now, crossing[0]), crossing[1].box) or now.choice == 1
    later = [offsets(places.place(alone, FRAME), alone) for _ in range(30)]
    assert later[-1] == first
    assert later[0] == later[5]  # not at once
    assert sum(one != other for one, other in pairwise(later)) <= 1


def test_words_come_back_to_the_same_side() -> None:
    places = PlatePlaces()
    people = wanted((200, 150, 240, 300))
    before = offsets(places.place(people, FRAME), people)
    silent = [Wanted(people[0].box, 0, [TAG])]
    assert offsets(places.place(silent, FRAME), silent)[0][1:] == before[0][1:]
    assert offsets(places.place(people, FRAME), people) == before


def test_who_is_not_known_again_is_not_remembered() -> None:
    places = PlatePlaces()
    people = [Wanted((100, 100, 140, 250), -1, [WORDS, TAG]), Wanted((100, 100, 140, 250), -1, [WORDS, TAG])]
    assert places.place(people, FRAME) == places.place(people, FRAME) == PlatePlaces().place(people, FRAME)


def test_a_plate_away_from_its_box_is_tied_to_it() -> None:
    # Taller people at both sides leave room for words only a step away.
    boxes = [(300, 150, 330, 240), (258, 128, 294, 262), (336, 128, 372, 262)]
    people = [BoxLabel(box, who, [("stand", 0.8)]) for who, box in enumerate(boxes)]
    drawn = PeopleDrawer().draw(np.full((360, 640, 3), 128, np.uint8), people)
    mine = (np.abs(drawn.astype(int) - person_colour(0)) <= 3).all(-1)
    rows = np.flatnonzero(mine.any(1))
    assert rows.min() < 120 or rows.max() > 270  # the plate
    parts, count = ndimage.label(ndimage.binary_dilation(mine, iterations=2))
    assert count == 1, ndimage.sum_labels(mine, parts, range(1, count + 1))  # outline, line, tag, bar


def test_a_plate_at_its_box_leaves_the_outline_to_be_seen() -> None:
    for box in ((300, 150, 340, 240), (300, 2, 340, 200)):
        outline = PeopleDrawer().draw(np.full((360, 640, 3), 128, np.uint8), [BoxLabel(box, 0)])
        labelled = PeopleDrawer().draw(np.full((360, 640, 3), 128, np.uint8), [BoxLabel(box, 0, [("stand", 0.8)])])
        left, top, right, bottom = box
        for line in (np.s_[top, left:right], np.s_[bottom, left:right], np.s_[top:bottom, left]):
            assert (outline[line] == person_colour(0)).all()
            assert (labelled[line] == person_colour(0)).all()
