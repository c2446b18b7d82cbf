"""What was found, in every form that other tools read."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from muybridge.data.annotations.ava import read_ava, write_ava
from muybridge.data.annotations.cvat import read_cvat, write_cvat
from muybridge.data.annotations.table import NO_LABEL
from muybridge.data.localization import KeyFrameSampling
from muybridge.errors import MissingExtra
from muybridge.localize.results import LocalizeResult, Moment, People, between
from muybridge.localize.stream import LocalizeConfig, LocalizeRun
from tests.localize.localized_videos import LABELS, MovingPeople, noise_frames

WIDTH, HEIGHT, RATE = 200, 100, 10.0
SAMPLING = KeyFrameSampling(4, 5.0, 64)


def walking(seconds, clip, there) -> np.ndarray:
    """Everybody walks."""
    return np.tile(np.array([[0.1, 0.9, 0.0]], np.float32), (len(there), 1))


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
        (5, "stand", 1.8, 3.1, 0.95),  # first seen at 2 s, not at 1.5 s: 1.8 s is the first frame nearer to 2 s
    ]


@pytest.mark.parametrize("every", [0.3, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("frames", [1, 7, 34, 38, 40, 41])
@pytest.mark.parametrize("rate", [5, 10])
def test_whoever_walks_all_the_time_walks_from_the_first_frame_to_the_end_of_the_last(every, frames, rate) -> None:
    config = LocalizeConfig(every=every)
    run = LocalizeRun(SAMPLING, len(LABELS), MovingPeople(count=1), walking, config)
    for _ in run.walk(noise_frames(frames, rate=rate)):
        pass
    found = LocalizeResult(
        "yard", LABELS, 96, 64, rate, every, run.looks, run.key_frames, np.array(run.frame_seconds)
    )
    (span,) = found.spans(threshold=0.5)
    assert (span.person, span.start, span.label) == (1, 0.0, "walk")
    assert span.end == pytest.approx(frames / rate)
    ((start, end),) = found.presence[1]
    assert (start, end) == pytest.approx((0, frames / rate))
    assert found.to_json(threshold=0.5)["seconds"] == pytest.approx(frames / rate)


def test_a_span_ends_with_the_film_before_and_after_a_gap_in_the_recording() -> None:
    nothing, walking_now = np.full((1, 3), np.nan), [(0.0, 0.9, 0.0)]
    times = [*np.arange(18) / 10, *(100.3 + np.arange(8) / 10)]
    looks = [Moment(seconds, people([walker(0)], [1], nothing)) for seconds in times[::2]]
    keys = [Moment(seconds, people([walker(0)], [1], walking_now)) for seconds in (0.0, 1.0, 101.0)]
    found = LocalizeResult("yard", LABELS, WIDTH, HEIGHT, 10.0, 1.0, looks, keys, np.array(times))
    stays = [(span.start, span.end) for span in found.spans(threshold=0.5)]
    assert stays == [pytest.approx((0, 1.8)), pytest.approx((100.3, 101.1))]


def test_people_are_there_as_long_as_the_frame_that_shows_them_stands() -> None:
    """One leaves and one comes over a frame that stands from 0.9 s to 9 s, less than a gap in the recording."""
    nothing, walking_now = np.full((1, 3), np.nan), [(0.0, 0.9, 0.0)]
    times = [*np.arange(10) / 10, *(9.0 + np.arange(6) / 10)]
    looks = [Moment(t, people([walker(0)], [1 if t < 5 else 2], nothing)) for t in (0.0, 0.4, 0.8, 9.0, 9.4)]
    keys = [Moment(float(t), people([walker(0)], [1 if t < 9 else 2], walking_now)) for t in range(10)]
    found = LocalizeResult("yard", LABELS, WIDTH, HEIGHT, 10.0, 1.0, looks, keys, np.array(times))
    assert found.presence == {1: [pytest.approx((0, 9.0))], 2: [pytest.approx((9.0, 9.6))]}
    stays = [(span.person, span.start, span.end) for span in found.spans(threshold=0.5)]
    assert stays == [pytest.approx((1, 0, 9.0)), pytest.approx((2, 9.0, 9.6))]
    tracks = found.tracks(threshold=0.5)
    assert [int(person) for person in tracks.person] == [1] * 10 + [2] * 6


def test_spans_say_what_the_frames_say() -> None:
    """People who come and go, and do now this, now that: a span is the frames whose rows have its label."""
    random = np.random.default_rng(3)
    rate, every, length = 47.0, 0.7, 6.13  # no frame lies on the line between two looks or key frames
    looks, keys = [], []
    for seconds in np.arange(0, length, 0.2):
        there = [person for person in range(1, 5) if np.sin(seconds * (0.5 + person)) > -0.4]
        looks.append(
            Moment(float(seconds), people([walker(0)] * len(there), there, np.full((len(there), 3), np.nan)))
        )
    for number in range(int(length / every) + 1):
        look = max((look for look in looks if look.seconds <= number * every + 1e-9), key=lambda look: look.seconds)
        there = look.people.ids.tolist()
        actions = random.uniform(0, 1, (len(there), 3))
        keys.append(Moment(number * every, people([walker(0)] * len(there), there, actions)))
    times = np.arange(round(length * rate)) / rate
    found = LocalizeResult("yard", LABELS, WIDTH, HEIGHT, rate, every, looks, keys, times)
    tracks = found.tracks(threshold=0.5)
    told = {
        (person, label, frame)
        for person, label, frame in zip(
            tracks.person.tolist(),
            tracks.label.tolist(),
            (tracks.time_seconds * rate).round().astype(int).tolist(),
            strict=True,
        )
        if label != NO_LABEL
    }
    spanned = {
        (span.person, dict(zip(LABELS.names, LABELS.ids, strict=True))[span.label], frame)
        for span in found.spans(threshold=0.5)
        for frame, seconds in enumerate(times)
        if span.start - 1e-9 <= seconds < span.end - 1e-9
    }
    assert len(told) > 300
    assert told == spanned


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
    np.testing.assert_allclose(edges, np.array(walker(3.0)) * [WIDTH, HEIGHT, WIDTH, HEIGHT], atol=0.0051)
    assert actions == {"walk", "carry"}


def test_json_says_what_people_do(result) -> None:
    content = result.to_json(threshold=0.5)
    last = content["key_frames"][-1]
    assert last["seconds"] == 3.0
    assert last["people"][0]["id"] == 1
    assert last["people"][0]["actions"] == {"walk": 0.9, "carry": 0.6}
    assert last["people"][1]["box_xyxy"] == pytest.approx([140, 10, 180, 90], abs=0.01)


def floats_in(content) -> list[float]:
    if isinstance(content, (dict, list)):
        return [
            each for item in (content.values() if isinstance(content, dict) else content) for each in floats_in(item)
        ]
    return [content] if isinstance(content, float) else []


def test_json_is_what_was_found_to_a_few_decimals() -> None:
    random = np.random.default_rng(5)
    rate, every = 30000 / 1001, 0.7
    corners = [random.uniform(0.1, 0.2, (2, 2)) for _ in range(3)]
    shown = [people(np.concatenate([c, c + 0.5], 1), [1, 2], random.random((2, 3))) for c in corners]
    moments = [Moment(number * every, each) for number, each in enumerate(shown)]
    found = LocalizeResult("yard", LABELS, 1917, 1081, rate, every, moments, moments, np.arange(50) / rate)
    content = json.loads(json.dumps(found.to_json(threshold=0.3)))
    assert content.pop("rate") == rate  # frames are counted with it
    assert len(floats_in(content)) > 50
    assert all(round(number, 4) == number for number in floats_in(content))
    spans = found.spans(threshold=0.3)
    assert len(spans) > 3
    for told, span in zip(content["spans"], spans, strict=True):
        assert told["start"] == pytest.approx(span.start, abs=5e-4)
        assert told["end"] == pytest.approx(span.end, abs=5e-4)
        assert told["score"] == pytest.approx(span.score, abs=5e-5)
        assert (told["person"], told["label"]) == (span.person, span.label)
    for told, moment in zip(content["key_frames"], moments, strict=True):
        boxes = [person["box_xyxy"] for person in told["people"]]
        np.testing.assert_allclose(boxes, moment.people.pixel_boxes(1917, 1081), rtol=0, atol=0.005 + 1e-3)
        assert told["seconds"] == pytest.approx(moment.seconds, abs=5e-4)


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
