"""People without actions: found, followed, written; and how long someone unseen is remembered."""

import numpy as np
import pytest

from muybridge.data.feature_bank import StreamFeatureBank
from muybridge.errors import OptionError
from muybridge.localize.options import LocalizeConfig
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.people.detector import Detections
from tests.localize.localized_videos import noise_frames, two_people, write_frames


class Walker:
    """Finds one person in the middle, but not between two times, as told by the number of the look."""

    classes = ("person",)

    def __init__(self, hidden: range) -> None:
        self.hidden, self.looks = hidden, 0

    def __call__(self, frames):
        self.looks += 1
        seen = self.looks - 1 not in self.hidden
        boxes = np.array([[30, 10, 60, 60]], np.float32)[: int(seen)]
        return [
            Detections(boxes, np.full(len(boxes), 0.75, np.float32), np.zeros(len(boxes), np.int64)) for _ in frames
        ]


def test_people_are_found_and_followed_without_a_model_of_actions() -> None:
    localizer = PeopleLocalizer(Walker(range(0)), device="cpu")
    found = list(localizer.stream(noise_frames(12), every=0.5, look_every=0.1))
    assert localizer.labels.names == ("person",)
    assert [each.people.ids.tolist() for each in found] == [[0]] * 12
    for each in found:
        np.testing.assert_allclose(each.people.boxes, [[30 / 96, 10 / 64, 60 / 96, 60 / 64]], rtol=1e-6)
        np.testing.assert_allclose(each.people.actions, [[0.75]])


def test_the_timeline_says_when_each_person_is_there(tmp_path) -> None:
    video = write_frames(tmp_path / "yard.mp4", noise_frames(32))
    result = PeopleLocalizer(device="cpu")(video, boxes=two_people("yard", [0.0, 1.0, 2.0, 3.0]), every=1.0)
    spans = [(span.person, span.start, round(span.end, 6), span.score) for span in result.spans(threshold=0.0)]
    assert spans == [(0, 0.0, 3.2, 1.0), (1, 0.0, 3.2, 1.0)]
    rows = result.annotations()
    assert len(rows) == 8
    np.testing.assert_array_equal(rows.score, 1.0)


def test_a_bank_is_refused() -> None:
    localizer = PeopleLocalizer(Walker(range(0)), device="cpu")
    with pytest.raises(OptionError, match="without a feature bank"):
        list(localizer.stream(noise_frames(2), bank=StreamFeatureBank()))


@pytest.mark.parametrize("per_second", [2, 5, 10])
@pytest.mark.parametrize(("away", "same"), [(1.5, True), (3.0, False)])
def test_someone_unseen_is_remembered_for_seconds_not_looks(per_second, away, same) -> None:
    walker = Walker(range(per_second, round(per_second * (1 + away))))
    config = LocalizeConfig(every=1.0, look_every=1 / per_second, skip_still=False)
    people = PeopleLocalizer(walker, device="cpu").people(None, config)
    image = np.zeros((64, 96, 3), np.uint8)
    seen = [people.look(image, number / per_second) for number in range(round(per_second * (2 + away)))]
    assert seen[0].ids.tolist() == [0]
    assert seen[-1].ids.tolist() == [0 if same else 1]
