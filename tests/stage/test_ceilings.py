"""What cannot be known without the cause, shown with the best predictor there is for each restricted view.

The oracle below memorises every input with all the labels it ever came with, and answers the most frequent one: no
predictor of the same view does better. Its accuracy over a scene and all its siblings is the view's ceiling.
"""

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest

from muybridge.stage import ACTIONS, Scene, SceneSpec, blind_ceiling, clip_labels, num_siblings
from muybridge.stage.labels import PERFORMANCES, SIGNAL_COLOURS
from muybridge.stage.scenarios import ANSWER_SECONDS, FLASH_SECONDS


def best_accuracy(samples: list[tuple[bytes, str]]) -> float:
    seen: dict[bytes, Counter[str]] = defaultdict(Counter)
    for view, label in samples:
        seen[view][label] += 1
    return sum(max(labels.values()) for labels in seen.values()) / len(samples)


def siblings(scenario: str, seed: int, **options: object) -> list[Scene]:
    return [
        Scene(SceneSpec(seed=seed, scenario=scenario, sibling=sibling, **options))
        for sibling in range(num_siblings(scenario))
    ]


def test_reversal_bags_of_frames_are_at_chance_and_order_tells_all() -> None:
    bags: list[tuple[bytes, str]] = []
    ordered: list[tuple[bytes, str]] = []
    labels: set[str] = set()
    for seed in range(12):
        pair = siblings("reversal", seed, actors=2, width=64, height=36, rate=Fraction(4), grain=1.5, shake=0.01)
        clips = [scene.clip() for scene in pair]
        np.testing.assert_array_equal(clips[0].frames, clips[1].frames[::-1])
        np.testing.assert_array_equal(clips[0].boxes_xyxy, clips[1].boxes_xyxy[::-1])
        np.testing.assert_array_equal(clips[0].present, clips[1].present[::-1])
        for clip in clips:
            assert clip.label is not None
            labels.add(clip.label)
            bags.append((b"".join(sorted(frame.tobytes() for frame in clip.frames)), clip.label))
            ordered.append((clip.frames.tobytes(), clip.label))
    assert best_accuracy(bags) == blind_ceiling("reversal") == 0.5
    assert best_accuracy(ordered) == 1.0
    assert labels <= set(clip_labels("reversal")) and len(labels) > 7


def test_reversed_spans_run_backwards_under_the_opposite_name() -> None:
    last = 3.0 - 1 / 25
    for seed in range(6):
        scenes = siblings("reversal", seed, actors=1, duration_seconds=3.0)
        forth, back = ({(s.action, round(s.start_seconds, 6), round(s.end_seconds, 6)) for s in scene.spans()
                        if s.action == scene.label} for scene in scenes)  # fmt: skip
        ((action, start, end),) = forth
        ((opposite, start_back, end_back),) = back
        assert ACTIONS[action].reversal == opposite
        assert (start_back, end_back) == pytest.approx((max(0, last - end), last - start if start else 3.0), abs=1e-5)


def test_relation_boxes_say_nothing_and_the_picture_says_all() -> None:
    boxes: list[tuple[bytes, str]] = []
    pictures: list[tuple[bytes, str]] = []
    margin = 0.05
    for seed in range(4):
        scenes = siblings("relation", seed, actors=4, width=160, height=90, rate=Fraction(5), duration_seconds=2.0,
                          separation=margin, shake=0.01, grain=1.0)  # fmt: skip
        assert {scene.label for scene in scenes} == set(PERFORMANCES)
        for scene in scenes:
            clip = scene.clip()
            for actor in range(1, 4):
                names = {scene.labels.names[k] for k in np.flatnonzero(clip.actions[:, actor].any(axis=0))}
                assert names <= {f"watch {scene.label}", "unaware"} and len(names) == 1
                if names == {"unaware"}:
                    continue
                # The box over the whole clip, grown by the promised gap.
                present = clip.boxes_xyxy[clip.present[:, actor], actor]
                pad = int(margin * 160)
                x0, y0 = np.maximum(present[:, :2].min(axis=0).astype(int) - pad, 0)
                x1, y1 = present[:, 2:].max(axis=0).astype(int) + pad
                view = clip.frames[:, y0:y1, x0:x1].tobytes() + bytes([actor, seed])
                (label,) = names
                boxes.append((view, label))
                pictures.append((clip.frames.tobytes() + bytes([actor]), label))
    assert best_accuracy(boxes) == pytest.approx(blind_ceiling("relation")) == 0.25
    assert best_accuracy(pictures) == 1.0


def test_relation_watchers_do_not_betray_the_cause_when_siblings_are_not_paired() -> None:
    """Over seeds alone, the cause is drawn apart from the layout: all are about equally frequent."""
    count = Counter(
        Scene(SceneSpec(seed=seed, scenario="relation", width=32, height=18)).label for seed in range(100)
    )
    assert set(count) == set(PERFORMANCES) and min(count.values()) > 12


def test_memory_answers_look_alike_and_the_flash_tells() -> None:
    delay = 3.0
    now: list[tuple[bytes, str]] = []
    remembered: list[tuple[bytes, str]] = []
    for seed in range(2):
        scenes = siblings("memory", seed, actors=2, width=64, height=36, rate=Fraction(4), duration_seconds=24.0,
                          delay_seconds=delay, grain=1.0)  # fmt: skip
        assert {scene.label for scene in scenes} == set(SIGNAL_COLOURS)
        clips = [scene.clip() for scene in scenes]
        frames = np.stack([clip.frames for clip in clips])
        lit = (frames != frames[:1]).any(axis=(0, 2, 3, 4))  # frames in which siblings differ
        assert 0 < lit.sum() <= 3 * (FLASH_SECONDS * 4 + 1)
        for scene, clip in zip(scenes, clips, strict=True):
            for actor in range(2):
                for t in range(len(clip.frames)):
                    (column,) = np.flatnonzero(clip.actions[t, actor]) if clip.present[t, actor] else (0,)
                    label = scene.labels.names[column]
                    if not label.startswith("answer"):
                        continue
                    window = slice(max(0, t - int(ANSWER_SECONDS * 4)), t + 1)
                    assert not lit[window].any()
                    key = bytes([actor, seed, t])
                    now.append((clip.frames[window].tobytes() + key, label))
                    longer = slice(max(0, t - int((delay + ANSWER_SECONDS + 1) * 4)), t + 1)
                    remembered.append((clip.frames[longer].tobytes() + key, label))
    assert len(now) > 40
    assert best_accuracy(now) == pytest.approx(blind_ceiling("memory")) == pytest.approx(1 / 3)
    assert best_accuracy(remembered) == 1.0


def test_memory_answers_come_after_the_delay_and_name_the_last_colour() -> None:
    """Against the picture: the colour that the whole scene takes during the last flash before each answer."""
    scene = Scene(SceneSpec(seed=5, scenario="memory", actors=1, width=64, height=36, rate=Fraction(8),
                            duration_seconds=60.0, background="studio"))  # fmt: skip
    frames = scene.clip(range(len(scene))).frames.astype(float).mean(axis=(1, 2))
    excess = frames - np.median(frames, axis=0)
    flashing = np.flatnonzero(np.abs(excess).max(axis=1) > 4)
    answers = [span for span in scene.spans() if span.action.startswith("answer")]
    assert len(answers) >= 2
    for answer in answers:
        before = flashing[flashing < answer.start_seconds * 8]
        last_flash = before[before > before[-1] - FLASH_SECONDS * 8]
        assert answer.start_seconds - last_flash[0] / 8 == pytest.approx(8.0, abs=0.5)
        strongest = np.argmax(excess[last_flash].mean(axis=0))
        assert answer.action == "answer " + ("red", "green", "blue")[strongest]
