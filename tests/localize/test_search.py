"""The pass that looks for people: whom it finds, what it says, and what it refuses."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from muybridge.errors import InputError, OptionError
from muybridge.localize.masks import PeopleChoice
from muybridge.localize.search import PeopleSearch
from muybridge.media.sources import Source, expand_sources
from muybridge.people.detector import Detections
from tests.localize.localized_videos import LABELS, SIZE, noise_frames, small_localizer, two_people, write_frames


class TwoBoxes:
    """Finds one person at the left and a surer one at the right, in every frame."""

    classes = ("person",)

    def __init__(self, count: int = 2) -> None:
        self.count = count

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        height, width = frames.shape[1:3]
        boxes = np.array([[0.6, 0.2, 0.9, 0.9], [0.1, 0.2, 0.3, 0.9]], np.float32) * [width, height, width, height]
        found = Detections(boxes.astype(np.float32), np.array([0.9, 0.8], np.float32), np.zeros(2, np.int64))
        one = Detections(found.boxes[: self.count], found.scores[: self.count], found.class_ids[: self.count])
        return [one for _ in frames]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    path = write_frames(tmp_path_factory.mktemp("people") / "film.mp4", noise_frames(15))
    return expand_sources([str(path)])[0]


def search(choice: PeopleChoice | None = None, **options) -> PeopleSearch:
    return PeopleSearch(choice or PeopleChoice(), **({"detector": TwoBoxes()} | options))


def at(mask, seconds: float = 0.5) -> np.ndarray:
    return mask.at(Fraction(seconds), 60, 90)


def test_everybody_in_a_video_is_covered_and_named(source, capsys):
    mask, notes = search().in_video(source)
    values = at(mask)
    assert values[33, 18] == 1 and values[33, 67] == 1  # the middles of the boxes
    assert values[33, 40] == 0 and values[2, 2] == 0
    assert len(notes) == 1 and "2 people" in notes[0] and "right" in notes[0] and "left" in notes[0]
    assert "film.mp4, looking for people: 15/15 frames" in capsys.readouterr().err


def test_numbers_are_those_of_the_localizer(source):
    localizer = small_localizer(detector=TwoBoxes())
    result = localizer(source.path)
    box = dict(zip(result.looks[-1].people.ids.tolist(), result.looks[-1].people.boxes, strict=True))
    for person in (0, 1):
        mask, _ = search(PeopleChoice(ids=frozenset({person}))).in_video(source, quiet=True)
        columns = np.flatnonzero(at(mask)[33] > 0.5)
        assert abs((columns.mean() + 0.5) / 90 - box[person][[0, 2]].mean()) < 0.02


def test_a_number_that_nobody_has_tells_who_is_there(source):
    with pytest.raises(InputError, match=r"nobody has the number 9: film.mp4 shows 2 people: 0 .*right.*, 1 .*left"):
        search(PeopleChoice(ids=frozenset({9}))).in_video(source, quiet=True)
    _, notes = search(PeopleChoice(ids=frozenset({1, 9}))).in_video(source, quiet=True)
    assert notes[0] == "nobody in film.mp4 has the number 9"


def test_nobody_at_all_is_said(source):
    mask, notes = search(detector=TwoBoxes(0)).in_video(source, quiet=True)
    assert at(mask).max() == 0
    assert notes == ["film.mp4 shows nobody, so it is not painted"]
    mask, notes = search(PeopleChoice(all_but=True), detector=TwoBoxes(0)).in_video(source, quiet=True)
    assert at(mask).min() == 1 and "all of it is painted" in notes[0]


def test_boxes_stand_in_for_the_detector(source):
    boxes = two_people("film", [0.0, 0.5, 1.0, 1.5])
    mask, _ = search(PeopleChoice(ids=frozenset({0})), detector=None, boxes=boxes).in_video(source, quiet=True)
    assert at(mask)[33, 15] == 1 and at(mask, 0.6)[:, 50:].max() == 0


def test_only_those_who_do_it(source):
    localizer = small_localizer(detector=TwoBoxes())
    key = localizer(source.path).key_frames[0].people
    column = int(np.abs(key.actions[0] - key.actions[1]).argmax())
    doer = int(key.actions[:, column].argmax())
    threshold = float(key.actions[:, column].mean())
    choice = PeopleChoice(actions=(LABELS.names[column],), threshold=threshold)
    mask, _ = search(choice, localizer=localizer).in_video(source, quiet=True)
    values = mask.at(Fraction(0), 60, 90)
    middles = key.boxes[:, [0, 2]].mean(1) * 90
    assert values[33, int(middles[doer])] == 1 and values[33, int(middles[1 - doer])] == 0
    never = PeopleChoice(actions=(LABELS.names[column],), threshold=1.0)
    mask, notes = search(never, localizer=localizer).in_video(source, quiet=True)
    assert at(mask).max() == 0 and "nobody is seen to" in notes[0]


def test_an_unknown_action_is_refused_before_any_video_is_read():
    with pytest.raises(OptionError, match=r"'fly'.*stand, walk, carry"):
        search(PeopleChoice(actions=("fly",)), localizer=small_localizer())
    with pytest.raises(OptionError, match="no localizer was given"):
        search(PeopleChoice(actions=("walk",)))
    with pytest.raises(OptionError, match="detector"):
        PeopleSearch(PeopleChoice())


def test_people_of_a_picture():
    picture = noise_frames(1)[0].image
    mask, notes = search(PeopleChoice(ids=frozenset({0}))).in_picture(picture, "photo.jpg")
    values = mask.at(Fraction(0), SIZE[1], SIZE[0])
    assert values[:, 72].max() == 1 and values[:, :45].max() == 0
    assert notes == ["photo.jpg shows 2 people: 0 (right), 1 (left)"]
    with pytest.raises(InputError, match="leave --doing out"):
        search(PeopleChoice(actions=("walk",)), localizer=small_localizer()).in_picture(picture, "photo.jpg")
    with pytest.raises(InputError, match="leave --boxes out"):
        search(detector=None, boxes=two_people("film", [0.0])).in_picture(picture, "photo.jpg")


def test_a_live_stream_cannot_be_read_twice():
    stream = Source("rtsp://camera/1", "stream", Path("camera"))
    with pytest.raises(InputError, match="live stream"):
        search().in_video(stream)
