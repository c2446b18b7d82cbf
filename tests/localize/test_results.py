"""What was found, in every form that other tools read."""

from xml.etree import ElementTree

import numpy as np
import pytest

from muybridge.data.annotations.ava import read_ava, write_ava
from muybridge.data.annotations.cvat import read_cvat, write_cvat
from muybridge.data.annotations.table import NO_LABEL
from muybridge.errors import MissingExtra
from muybridge.localize.results import LocalizeResult, Moment, People, between
from tests.localize.localized_videos import LABELS

WIDTH, HEIGHT, RATE = 200, 100, 10.0


def people(boxes, ids, actions) -> People:
    count = len(ids)
    return People(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ids, np.int64),
        np.full(count, 0.8, np.float32),
        np.array(actions, np.float32).reshape(-1, 3),
    )


def walker(seconds: float) -> tuple[float, ...]:
    return (0.1 + 0.1 * seconds, 0.2, 0.2 + 0.1 * seconds, 0.8)


@pytest.fixture
def result() -> LocalizeResult:
    """Person 1 walks for 3 s; person 5 stands there from 2 s on."""
    nothing = [np.nan] * 3
    looks, keys = [], []
    for step in range(7):
        seconds = step * 0.5
        there = [1, 5] if seconds >= 2 else [1]
        boxes = [walker(seconds), (0.7, 0.1, 0.9, 0.9)][: len(there)]
        looks.append(Moment(seconds, people(boxes, there, [nothing] * len(there))))
        if step % 2 == 0:
            actions = [(0.1, 0.9, 0.2 * seconds), (0.95, 0.05, 0.0)][: len(there)]
            keys.append(Moment(seconds, people(boxes, there, actions)))
    times = np.arange(31) / RATE
    return LocalizeResult("yard", LABELS, WIDTH, HEIGHT, RATE, 1.0, looks, keys, times)


def test_rows_of_key_frames_are_what_was_found_there(result) -> None:
    rows = result.annotations(threshold=0.5)
    found = {
        (time, person, label): round(score, 4)
        for time, person, label, score in zip(
            rows.time_seconds.tolist(), rows.person.tolist(), rows.label.tolist(), rows.score.tolist(), strict=True
        )
    }
    assert found == {
        (0.0, 1, 7): 0.9,
        (1.0, 1, 7): 0.9,
        (2.0, 1, 7): 0.9,
        (3.0, 1, 7): 0.9,
        (3.0, 1, 12): 0.6,
        (2.0, 5, 3): 0.95,
        (3.0, 5, 3): 0.95,
    }


def test_ava_rows_open_again(result, tmp_path) -> None:
    write_ava(tmp_path / "yard.csv", result.annotations(), eighth="score")
    again = read_ava(tmp_path / "yard.csv", eighth="score")
    assert len(again) == 6 * 3
    np.testing.assert_allclose(again.boxes_xyxy, result.annotations().boxes_xyxy)


def test_spans_join_key_frames_that_follow_each_other_and_stay_in_the_film(result) -> None:
    spans = [(s.person, s.label, s.start, round(s.end, 6), round(s.score, 3)) for s in result.spans(threshold=0.5)]
    assert spans == [  # the last of 31 frames ends at 3.1 s
        (1, "walk", 0.0, 3.1, 0.9),
        (1, "carry", 2.5, 3.1, 0.6),
        (5, "stand", 1.5, 3.1, 0.95),
    ]


def test_tracks_have_a_box_in_every_frame(result) -> None:
    tracks = result.tracks(threshold=0.5)
    mine = tracks.select((tracks.person == 1) & (tracks.label == 7))
    assert mine.time_seconds.tolist() == pytest.approx(np.arange(31) / RATE)
    expected = np.array([walker(t) for t in np.arange(31) / RATE]) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    np.testing.assert_allclose(mine.boxes_xyxy, expected, atol=1e-3)


def test_someone_who_does_nothing_is_still_there(result) -> None:
    tracks = result.tracks(threshold=0.99)
    assert set(tracks.label.tolist()) == {NO_LABEL}
    assert set(tracks.person.tolist()) == {1, 5}


def second_reader(path) -> dict[int, dict[int, tuple[list[float], set[str]]]]:
    """CVAT for video 1.1 as its format text describes it (docs.cvat.ai, "XML annotation format"), strictly.

    A track is a list of boxes by frame; one that is not outside lasts, moving evenly, until the next one of its
    track. Every attribute must be declared for its label in the meta part.
    """
    root = ElementTree.parse(path).getroot()
    assert root.tag == "annotations"
    assert root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert task is not None
    assert task.findtext("mode") == "interpolation"
    size, width, height = (int(task.findtext(k)) for k in ("size", "original_size/width", "original_size/height"))
    declared = {
        label.findtext("name"): {
            a.findtext("name"): (a.findtext("mutable"), a.findtext("input_type")) for a in label.iter("attribute")
        }
        for label in task.find("labels")
    }
    people: dict[int, dict[int, tuple[list[float], set[str]]]] = {}
    for track in root.findall("track"):
        attributes = declared[track.attrib["label"]]
        boxes = track.findall("box")
        frames = [int(box.attrib["frame"]) for box in boxes]
        assert frames == sorted(set(frames))
        person = people.setdefault(int(track.attrib["id"]), {})
        for box, following in zip(boxes, [*frames[1:], size], strict=True):
            for name in ("outside", "occluded", "keyframe"):
                assert box.attrib[name] in ("0", "1")
            edges = [float(box.attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr")]
            assert 0 <= edges[0] < edges[2] <= width + 1e-3
            assert 0 <= edges[1] < edges[3] <= height + 1e-3
            actions: set[str] = set()
            for attribute in box.findall("attribute"):
                assert attributes[attribute.attrib["name"]] == ("True", "text")
                actions |= set(filter(None, (attribute.text or "").split(";")))
            if box.attrib["outside"] == "0":
                for frame in range(int(box.attrib["frame"]), following):
                    assert frame < size
                    person[frame] = (edges, actions)
    return people


def test_cvat_opens_again_in_our_reader_and_in_a_second_one(result, tmp_path) -> None:
    path = tmp_path / "yard.xml"
    tracks = result.tracks(threshold=0.5)
    write_cvat(path, tracks, rate_fps=RATE, labels=LABELS)
    ours = read_cvat(path, rate_fps=RATE, labels=LABELS)
    key = lambda rows: sorted(  # noqa: E731
        zip(rows.person.tolist(), rows.time_seconds.round(6).tolist(), rows.label.tolist(), strict=True)
    )
    assert key(ours) == key(tracks)
    theirs = second_reader(path)
    assert {person: (min(frames), max(frames), len(frames)) for person, frames in theirs.items()} == {
        1: (0, 30, 31),
        5: (18, 30, 13),  # seen at 2 s, and from the middle between that look and the one before
    }
    edges, actions = theirs[1][30]
    np.testing.assert_allclose(edges, np.array(walker(3.0)) * [WIDTH, HEIGHT, WIDTH, HEIGHT], atol=1e-3)
    assert actions == {"walk", "carry"}


def test_json_says_what_people_do(result) -> None:
    content = result.to_json(threshold=0.5)
    last = content["key_frames"][-1]
    assert last["seconds"] == 3.0
    assert last["people"][0]["id"] == 1
    assert last["people"][0]["actions"] == {"walk": 0.9, "carry": 0.6}
    assert last["people"][1]["box_xyxy"] == pytest.approx([140, 10, 180, 90], abs=0.01)


def test_supervision_is_asked_for_where_it_is_not_installed(result) -> None:
    try:
        import supervision  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match="supervision"):
            result.supervision(0)
        return
    found = result.supervision(3)
    np.testing.assert_allclose(found.xyxy[1], [140, 10, 180, 90], atol=1e-3)
    assert found.tracker_id.tolist() == [1, 5]
    assert found.class_id.tolist() == [1, 0]
    assert found.confidence.tolist() == pytest.approx([0.9, 0.95])
    assert found.data["class_name"].tolist() == ["walk", "stand"]


def test_between_two_looks() -> None:
    before = Moment(1.0, people([(0, 0, 0.2, 0.2), (0.5, 0.5, 0.6, 0.6)], [1, 2], np.zeros((2, 3))))
    after = Moment(2.0, people([(0.4, 0, 0.6, 0.2), (0.8, 0.8, 0.9, 0.9)], [1, 3], np.zeros((2, 3))))
    early, late = between(before, after, 1.25), between(before, after, 1.75)
    assert early.ids.tolist() == [1, 2]
    assert late.ids.tolist() == [1, 3]
    np.testing.assert_allclose(early.boxes[0], (0.1, 0, 0.3, 0.2), atol=1e-6)
    np.testing.assert_allclose(late.boxes[0], (0.3, 0, 0.5, 0.2), atol=1e-6)
    assert between(before, None, 9.0) is before.people
    assert between(None, None, 0.0) is None
