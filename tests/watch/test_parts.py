"""The parts give what their tasks give: windows, streams, people between looks, actions of a clip, painted frames."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from muybridge.data.clips.sampling import ViewConfig
from muybridge.data.localization import BankSpan
from muybridge.errors import OptionError
from muybridge.localize.results import People
from muybridge.media.video_reader import Frame
from muybridge.recognize.windows import WindowConfig, window_predictions
from muybridge.stylize.stylizer import StylizeConfig
from muybridge.stylize.temporal import TemporalConfig
from muybridge.watch.parts import ActionPart, LabelPart, PaintPart, Part, PeoplePart, StreamLabelPart
from tests.apps.test_recognize_command import write_model
from tests.localize.localized_videos import LABELS, MovingPeople, noise_frames, small_localizer
from tests.recognize.labelled_clips import write_backbone
from tests.recognize.test_files import Brightness as ShownBrightness


class Brightness(ShownBrightness):
    views = ViewConfig()


def drive(part: Part, frames: list[Frame]) -> dict[float, object]:
    """All frames in turn; what was answered, by the time of the frame."""
    answers: dict[float, object] = {}
    for frame in frames:
        part.see(frame)
        if part.is_due(frame):
            result = part.work(frame)
            if result is not None:
                answers[float(frame.pts_seconds)] = result
    return answers


def test_labels_are_those_of_the_windows_of_the_whole_film() -> None:
    frames = noise_frames(61, rate=20, size=(24, 16))
    config = WindowConfig(0.5, 0.25)
    answers = drive(LabelPart(Brightness(), config), frames)
    expected = {w.end: w.prediction for w in window_predictions(Brightness(), frames, config)}
    ends = [0.5 + 0.25 * i for i in range(11)]
    assert list(answers) == pytest.approx(ends)
    for end, answer in answers.items():
        torch.testing.assert_close(answer.probabilities, expected[end].probabilities, rtol=0, atol=0)
        assert answer.seconds == end
    assert len({float(answer.probabilities[0]) for answer in answers.values()}) == len(ends)


def test_a_part_that_was_busy_answers_about_the_window_up_to_now() -> None:
    frames = noise_frames(81, rate=20, size=(24, 16))
    part = LabelPart(Brightness(), WindowConfig(0.5, 0.25))
    for frame in frames[:-1]:
        part.see(frame)
    assert not part.is_due(frames[0])
    part.see(frames[-1])
    assert part.is_due(frames[-1])
    answer = part.work(frames[-1])
    (expected,) = window_predictions(
        Brightness(), frames[-12:], WindowConfig(0.5, 0.5), shots=[(3.5, 4.0)], batch_size=1
    )
    torch.testing.assert_close(answer.probabilities, expected.prediction.probabilities, rtol=0, atol=0)
    assert answer.seconds == 4.0
    assert not part.is_due(frames[-1])


def test_a_causal_model_answers_as_its_stream_does(tmp_path) -> None:
    from muybridge.recognize.recognizer import Recognizer

    weights = tmp_path / "vit.safetensors"
    write_backbone(weights)
    path = write_model(tmp_path / "causal.safetensors", weights, causal=True)
    recognizer = Recognizer.from_pretrained(path, backbone_weights=weights, device="cpu")
    frames = noise_frames(20, rate=12, size=(48, 32))
    answers = drive(StreamLabelPart(recognizer), frames)
    expected = list(recognizer.stream(frames))
    assert list(answers) == [answer.seconds for answer in expected]
    assert len(answers) < len(frames)
    for answer, other in zip(answers.values(), expected, strict=True):
        torch.testing.assert_close(answer.probabilities, other.probabilities)
        assert answer.seconds == other.seconds


def test_people_are_looked_for_as_often_as_asked_and_known_in_between() -> None:
    source = MovingPeople(blind=frozenset({0.6}))
    part = PeoplePart(source, num_classes=3, look_every=0.3, remember=1.0)
    frames = noise_frames(30, size=(12, 8))
    assert part.at(0.0) is None
    looks = drive(part, frames)
    assert source.asked == pytest.approx([0.3 * i for i in range(10)])
    assert list(looks) == pytest.approx([0.3 * i for i in range(10) if i != 2])
    for seconds, look in looks.items():
        assert look.seconds == seconds
        np.testing.assert_allclose(look.people.boxes, source.boxes_at(seconds), atol=1e-6)
        assert np.isnan(look.people.actions).all() and look.people.actions.shape == (2, 3)
    for seconds in (1.9, 2.2, 2.5):
        people = part.at(seconds)
        assert people is not None
        np.testing.assert_allclose(people.boxes, source.boxes_at(seconds), atol=1e-5)
    assert len(part._looks) <= 5  # no more than are remembered


def test_actions_are_those_of_the_clip_around_a_moment_half_a_clip_ago() -> None:
    localizer = small_localizer()
    source = MovingPeople()
    people = PeoplePart(source, num_classes=len(LABELS), look_every=0.1, remember=2.0)
    part = ActionPart(localizer, people, every=0.5)
    frames = noise_frames(24)
    answers = {}
    for frame in frames:
        drive(people, [frame])
        answers |= drive(part, [frame])
    assert list(answers) == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    images = [torch.from_numpy(frame.image).permute(2, 0, 1) for frame in frames]
    seen = []
    for seconds, key in answers.items():
        # Four frames, five a second; the third is the moment itself, so one lies after it.
        moment = max(seconds - 0.2, 0.0)
        assert key.seconds == pytest.approx(moment)
        times = [moment - 0.4, moment - 0.2, moment, moment + 0.2]
        # A frame is on display from its own time on; what has not come yet is stood in for by the newest.
        clip = torch.stack([images[int(np.clip(np.floor(t * 10 + 1e-6), 0, round(seconds * 10)))] for t in times])
        boxes = source.boxes_at(moment)
        np.testing.assert_allclose(key.people.boxes, boxes, atol=1e-5)
        expected = localizer.actions(clip, boxes)
        np.testing.assert_allclose(key.people.actions, expected, atol=1e-4)
        seen.append(expected)
    assert np.ptp(np.stack(seen), axis=0).max() > 1e-3  # the moments can be told apart


class FarPeople(MovingPeople):
    """Small enough for their speed to say something."""

    def boxes_at(self, seconds: float) -> np.ndarray:
        boxes = super().boxes_at(seconds)
        boxes[:, 3] = 0.5
        return boxes


@pytest.mark.parametrize("speed", [0.0, 0.2])
def test_people_are_known_with_how_fast_they_went_of_late(speed) -> None:
    part = PeoplePart(FarPeople(speed=speed), num_classes=len(LABELS), look_every=0.2, remember=2.0)
    drive(part, noise_frames(20))
    now, early = part.at(1.5), part.at(0.2)
    assert now is not None and now.velocity is not None and early is not None and early.velocity is not None
    np.testing.assert_allclose(now.velocity, [[speed, 0.0]] * 2, atol=1e-5)
    assert np.isnan(early.velocity).all()  # two looks are too few


@pytest.mark.parametrize(("speed", "share"), [(0.0, 0.125), (0.2, 1.0)])
def test_who_does_not_move_is_not_said_to_walk(speed, share) -> None:
    # Speeds in heights a second, 0.1 added, as logarithms; who moves goes 0.2 * 96 pixels in a height of 0.3 * 64.
    usual = {"stand": (np.log(0.1), 0.3), "walk": (np.log(0.1 + 1.0), 0.3)}
    answers = []
    for speeds in (usual, None):
        people = PeoplePart(FarPeople(speed=speed), num_classes=len(LABELS), look_every=0.2, remember=2.0)
        part = ActionPart(small_localizer(usual_speeds=speeds), people, every=0.5)
        frames = noise_frames(24)
        still = [replace(frame, image=frames[0].image) for frame in frames]
        for frame in still:
            drive(people, [frame])
            answers += drive(part, [frame]).values()
    doubted, plain = answers[4].people.actions, answers[-1].people.actions
    assert len(answers) == 10
    walk = LABELS.names.index("walk")
    np.testing.assert_allclose(doubted[:, walk], share * plain[:, walk], rtol=1e-3)


def test_actions_wait_for_the_first_look_and_cost_nothing_where_nobody_is() -> None:
    people = PeoplePart(MovingPeople(count=0), num_classes=len(LABELS))
    part = ActionPart(small_localizer(), people, every=1.0)
    first, second = noise_frames(2)
    part.see(first)
    assert part.is_due(first) and part.work(first) is None
    drive(people, [second])
    part.see(second)
    assert part.is_due(second)
    key = part.work(second)
    assert key is not None and isinstance(key.people, People) and len(key.people) == 0
    assert not part.is_due(second)


def test_a_model_that_reads_a_bank_is_refused() -> None:
    localizer = small_localizer(bank_span=BankSpan(1.0, 1.0))
    with pytest.raises(OptionError, match="feature bank"):
        ActionPart(localizer, PeoplePart(MovingPeople(), num_classes=3), every=1.0)


@pytest.mark.parametrize("temporal", [None, TemporalConfig(motion="features")])
def test_painting_is_that_of_the_frames_it_was_given(stylizer, photo, painting, temporal) -> None:
    style = stylizer.encode_style(painting, size=64)
    config = StylizeConfig(strength=0.7)
    frames = [Frame(np.roll(photo, 3 * i, axis=1), Fraction(i, 4), i) for i in range(4)]
    part = PaintPart(stylizer, [style], config=config, temporal=temporal)
    painted = drive(part, [frames[0], frames[1], frames[3]])  # one was dropped
    expected = stylizer.stream([frames[0], frames[1], frames[3]], [style], config=config, temporal=temporal)
    for got, wanted in zip(painted.values(), expected, strict=True):
        np.testing.assert_array_equal(got.image, wanted.image)
        assert (got.pts_seconds, got.index) == (wanted.pts_seconds, wanted.index)


def test_painting_smaller_keeps_the_size_of_the_frame(stylizer, photo, painting) -> None:
    style = stylizer.encode_style(painting, size=64)
    config = StylizeConfig(size=40)
    frame = Frame(photo, Fraction(3), 7)
    painted = PaintPart(stylizer, [style], config=config).work(frame)
    small = stylizer(photo, style, config=config)
    assert small.shape == (40, 54, 3)
    assert (painted.image.shape, painted.pts_seconds, painted.index) == (photo.shape, 3, 7)
    # Enlarged and made small again by plain means over blocks, both agree.
    back = torch.from_numpy(painted.image).permute(2, 0, 1)[None].float()
    back = torch.nn.functional.interpolate(back, (40, 54), mode="area")[0].permute(1, 2, 0).numpy()
    assert np.abs(back - small).mean() < 0.35 * np.abs(small - small.mean((0, 1))).mean()
