"""The recognizer a user holds: files, arrays, batches, windows, streams, swapped adapters, saving and refusing."""

import weakref
from dataclasses import replace
from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from muybridge.artifacts import Artifact
from muybridge.data.clips.dataset import load_views
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, normalize
from muybridge.data.label_maps import LabelMap
from muybridge.errors import InputError, ModelError, ModelMismatch, OptionError
from muybridge.media.sources import Source
from muybridge.media.video_reader import Frame, VideoReader
from muybridge.models.st_adapter.sets import trained_state
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize.files import RecognizeJob, recognize_file
from muybridge.recognize.recognizer import Prediction, Recognizer, RecognizerBank
from muybridge.recognize.windows import (
    WindowConfig,
    WindowPrediction,
    iter_spans,
    join_spans,
    window_predictions,
)
from tests.media.numbered_clips import number_in, write_clip

SAMPLING = SamplingConfig(frames=4, rate=5.0, size=(32, 48))


def shaken(model: VideoViT, seed: int) -> VideoViT:
    """Adapters that do something, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (*model.adapters.parameters(), *model.head.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(load_backbone("test_vit", random=True)[0].state_dict(), path)
    return path


def make(weights: Path, *names: str, seed: int = 1, **adapters) -> Recognizer:
    backbone, identity = load_backbone("test_vit", weights=weights)
    config = AdapterConfig(width=8, **adapters)
    model = shaken(VideoViT(backbone, len(names), adapters=config), seed)
    labels = LabelMap(names, tuple(range(len(names))))
    return Recognizer(model, labels, SAMPLING, backbone=identity, device="cpu", provenance={"clips": 3})


@pytest.fixture(scope="module")
def recognizer(weights) -> Recognizer:
    return make(weights, "run", "sit", "wave")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """4 s at 25 frames a second, each frame showing its number."""
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", 100)


def test_a_file_and_its_frames_say_what_the_model_says(recognizer, film):
    frames = load_views(film, SAMPLING)
    with torch.no_grad():
        wanted = recognizer.model(normalize(frames, SAMPLING)).softmax(-1)[0]
    answer = recognizer(film)
    torch.testing.assert_close(answer.probabilities, wanted, rtol=0, atol=1e-6)
    assert answer.label == ("run", "sit", "wave")[int(wanted.argmax())]
    assert [score for _, score in answer.top(3)] == sorted(wanted.tolist(), reverse=True)


def test_views_are_averaged(recognizer, film):
    views = ViewConfig(temporal=3, spatial=3)
    each = recognizer.probabilities(load_views(film, SAMPLING, views))
    assert len(each) == 9
    torch.testing.assert_close(recognizer(film, views=views).probabilities, each.mean(0), rtol=0, atol=1e-6)


def test_the_files_own_views_are_the_default(weights, tmp_path):
    make(weights, "run", "sit").save(tmp_path / "one.safetensors")
    assert Recognizer.from_pretrained(tmp_path / "one.safetensors", backbone_weights=weights).views == ViewConfig()
    wide = make(weights, "run", "sit")
    wide.views = ViewConfig(spatial=3)
    wide.save(tmp_path / "wide.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "wide.safetensors", backbone_weights=weights, device="cpu")
    pictures = np.zeros((4, 32, 144, 3), np.uint8)  # dark, grey noise and white, side by side
    pictures[:, :, 48:96] = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), np.uint8)
    pictures[:, :, 96:] = 255
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    thirds = torch.stack([frames[..., left : left + 48] for left in (0, 48, 96)])
    each = again.model(normalize(thirds, SAMPLING)).softmax(dim=-1).detach()
    torch.testing.assert_close(again(pictures).probabilities, each.mean(0), rtol=0, atol=1e-6)
    film = (Frame(picture, Fraction(place, 5), place) for place, picture in enumerate(pictures))
    (window,) = window_predictions(again, film, WindowConfig(0.8, 0.8))
    torch.testing.assert_close(window.prediction.probabilities, each.mean(0), rtol=0, atol=1e-6)
    assert (each - each.mean(0)).abs().max() > 1e-4


def test_a_batch_answers_as_one_by_one(recognizer, film):
    array = np.random.default_rng(0).integers(0, 256, (6, 50, 60, 3), np.uint8)
    together = recognizer.batch([film, array])
    for answer, clip in zip(together, (film, array), strict=True):
        torch.testing.assert_close(answer.probabilities, recognizer(clip).probabilities, rtol=0, atol=1e-5)
    assert recognizer.batch([]) == []


def test_saved_and_read_again_it_answers_the_same(recognizer, weights, film, tmp_path):
    recognizer.save(tmp_path / "model.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "model.safetensors", backbone_weights=weights, device="cpu")
    torch.testing.assert_close(again(film).probabilities, recognizer(film).probabilities, rtol=0, atol=0)
    assert (again.labels, again.sampling, again.provenance) == (recognizer.labels, SAMPLING, {"clips": 3})
    trained = sum(tensor.numel() for tensor in trained_state(recognizer.model).values())
    assert (tmp_path / "model.safetensors").stat().st_size < 4 * trained + 8192  # no frozen tensor inside


def test_a_fully_trained_backbone_is_inside_the_file(film, tmp_path):
    torch.manual_seed(5)
    backbone, identity = load_backbone("test_vit", random=True)
    model = shaken(VideoViT(backbone, 2, adapters=None, train_backbone=True), 3)
    whole = Recognizer(model, LabelMap(("a", "b"), (0, 1)), SAMPLING, backbone=identity, device="cpu")
    whole.save(tmp_path / "model.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "model.safetensors", device="cpu")
    torch.testing.assert_close(again(film).probabilities, whole(film).probabilities, rtol=0, atol=0)


def test_another_backbone_is_refused(recognizer, tmp_path):
    recognizer.save(tmp_path / "model.safetensors")
    torch.manual_seed(9)
    save_file(load_backbone("test_vit", random=True)[0].state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ModelMismatch, match="hash"):
        Recognizer.from_pretrained(tmp_path / "model.safetensors", backbone_weights=tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="--backbone-weights"):
        Recognizer.from_pretrained(tmp_path / "model.safetensors")


def test_a_model_for_another_task_is_refused(tmp_path):
    Artifact("stylize", {}, {"x": torch.zeros(1)}).save(tmp_path / "painter.safetensors")
    with pytest.raises(ModelMismatch, match="'stylize'"):
        Recognizer.from_pretrained(tmp_path / "painter.safetensors")


def test_labels_must_fit_the_head(recognizer):
    with pytest.raises(ModelMismatch, match="2 labels"):
        Recognizer(recognizer.model, LabelMap(("a", "b"), (0, 1)), SAMPLING, backbone=recognizer.backbone)


def test_too_little_memory_says_which_flag_helps(recognizer, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(recognizer.model, "forward", full)
    with pytest.raises(OptionError, match="--batch-size"):
        recognizer.logits(torch.zeros(2, 4, 3, 32, 48, dtype=torch.uint8))


def test_several_labels_each_have_their_own_probability(weights, film):
    several = make(weights, "a", "b", "c")
    several.multi_label = True
    logits = several.logits(load_views(film, SAMPLING))[0]
    torch.testing.assert_close(several(film).probabilities, 1 / (1 + torch.exp(-logits)), rtol=0, atol=1e-6)


# ---- adapters swapped ----


def test_adapters_are_swapped_without_the_backbone(recognizer, weights, film, tmp_path):
    other = make(weights, "x", "y", seed=2)
    other.save(tmp_path / "other.safetensors")
    before = recognizer(film).probabilities
    swapped = recognizer.with_adapters(tmp_path / "other.safetensors")
    assert swapped.model.backbone is recognizer.model.backbone
    torch.testing.assert_close(swapped(film).probabilities, other(film).probabilities, rtol=0, atol=1e-6)
    torch.testing.assert_close(recognizer(film).probabilities, before, rtol=0, atol=0)


def test_one_batch_with_different_adapters(recognizer, weights, film, tmp_path):
    other = make(weights, "x", "y", seed=2)
    other.views = ViewConfig(spatial=3)  # each file's own number of views
    other.save(tmp_path / "other.safetensors")
    swapped = recognizer.with_adapters(tmp_path / "other.safetensors")
    array = np.random.default_rng(1).integers(0, 256, (5, 40, 160, 3), np.uint8)
    array[:, :, :60] //= 8
    answers = RecognizerBank([recognizer, swapped]).batch([film, array, array, film], [1, 1, 0, 0])
    wanted = [swapped(film), swapped(array), recognizer(array), recognizer(film)]
    for answer, alone in zip(answers, wanted, strict=True):
        assert answer.names == alone.names
        torch.testing.assert_close(answer.probabilities, alone.probabilities, rtol=0, atol=1e-5)


def test_adapters_of_another_backbone_are_refused(recognizer, tmp_path):
    torch.manual_seed(9)
    save_file(load_backbone("test_vit", random=True)[0].state_dict(), tmp_path / "weights.safetensors")
    make(tmp_path / "weights.safetensors", "x", "y").save(tmp_path / "other.safetensors")
    with pytest.raises(ModelMismatch, match="from_pretrained"):
        recognizer.with_adapters(tmp_path / "other.safetensors")


# ---- streams ----


def test_a_stream_says_what_the_whole_clip_so_far_says(weights):
    causal = make(weights, "a", "b", "c", causal=True)
    frames = np.random.default_rng(2).integers(0, 256, (4, 32, 48, 3), np.uint8)
    answers = list(causal.stream(frames))
    assert len(answers) == 4
    for seen, answer in enumerate(answers, 1):
        whole = causal.probabilities(torch.from_numpy(frames[:seen]).permute(0, 3, 1, 2)[None])[0]
        torch.testing.assert_close(answer.probabilities, whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("rate", "expected"), [(25, 10), (240, 10), (5, 10), (2, 4)])
def test_frames_of_a_stream_are_taken_at_the_models_rate(weights, rate, expected):
    causal = make(weights, "a", "b", causal=True)
    image = np.zeros((32, 48, 3), np.uint8)
    frames = (Frame(image, Fraction(i, rate), i) for i in range(2 * rate))
    assert len(list(causal.stream(frames))) == expected


def test_a_model_that_looks_ahead_cannot_follow_a_stream(recognizer):
    with pytest.raises(ModelMismatch, match="causal"):
        recognizer.stream([np.zeros((32, 48, 3), np.uint8)])


def test_a_stream_of_a_model_of_every_nth_frame_takes_every_nth_frame(weights):
    causal = make(weights, "a", "b", causal=True)
    causal.sampling = replace(SAMPLING, stride=3)
    frames = [Frame(np.full((32, 48, 3), 9 * i, np.uint8), Fraction(i, 25), i) for i in range(10)]
    answers = list(causal.stream(frames))
    assert [answer.seconds for answer in answers] == pytest.approx([0, 0.12, 0.24, 0.36])
    clip = torch.from_numpy(np.stack([frame.image for frame in frames[::3]])).permute(0, 3, 1, 2)
    wanted = causal.probabilities(clip[None])[0]
    torch.testing.assert_close(answers[-1].probabilities, wanted, rtol=0, atol=1e-4)
    with pytest.raises(OptionError, match="every 3-th frame"):
        causal.stream(frames, window_seconds=2.0)


@pytest.mark.parametrize("seconds", [0.0, float("nan"), float("inf")])
def test_windows_that_are_no_length_of_time(weights, seconds):
    causal = make(weights, "a", "b", causal=True)
    with pytest.raises(OptionError, match=r"must be .+ and finite"):
        causal.stream([], window_seconds=seconds)
    with pytest.raises(OptionError, match=r"must be .+ and finite"):
        WindowConfig(seconds)


def test_frames_of_a_stream_may_lie_backwards_in_memory(weights):
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    causal = make(weights, "a", "b", causal=True)
    flipped, copied = (list(causal.stream(f)) for f in (frames[..., ::-1], frames[..., ::-1].copy()))
    assert torch.equal(flipped[1].probabilities, copied[1].probabilities)
    with pytest.raises(InputError, match=r"must be \(N, H, W, 3\)"):
        list(causal.stream(frames[..., 0]))


def test_an_endless_stream_answers_as_it_goes(weights):
    causal = make(weights, "a", "b", causal=True)
    assert causal.is_causal and not make(weights, "a", "b").is_causal
    endless = (Frame(np.zeros((32, 48, 3), np.uint8), Fraction(i, 25), i) for i in count())
    answers = causal.stream(endless)
    assert [next(answers).seconds for _ in range(3)] == pytest.approx([0, 0.2, 0.4])


# ---- windows ----


class Numbers:
    """Stands for a recognizer: its answer tells which numbered frames it was shown."""

    sampling = replace(SAMPLING, size=(48, 72))
    labels = LabelMap(("a", "b", "c", "d"), (0, 1, 2, 3))
    multi_label = False
    motion = None
    views = ViewConfig()

    def each_frame(self, clips: torch.Tensor) -> torch.Tensor:
        return clips

    def probabilities_of(self, clips: torch.Tensor) -> torch.Tensor:
        shown = [[number_in(frame.permute(1, 2, 0).numpy()) for frame in clip] for clip in clips]
        return torch.tensor(shown, dtype=torch.float32)


def windows_of(film: Path, config: WindowConfig | None = None, **options):
    with VideoReader(film) as reader:
        found = list(window_predictions(Numbers(), reader, config, **options))
    return [(round(w.start, 3), round(w.end, 3), [int(n) for n in w.prediction.probabilities]) for w in found]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_overlapping_windows_answer_as_clips_do_and_look_at_no_frame_twice(recognizer, film, batch_size, monkeypatch):
    config = WindowConfig(0.8, 0.4)
    looked_at: list[int] = []
    each_frame = Recognizer.each_frame

    def counted(self: Recognizer, clips: torch.Tensor) -> torch.Tensor:
        looked_at.append(clips.shape[0] * clips.shape[1])
        return each_frame(self, clips)

    monkeypatch.setattr(Recognizer, "each_frame", counted)
    with VideoReader(film) as reader:
        found = list(window_predictions(recognizer, reader, config, batch_size=batch_size))
    # Windows of four frames, 0.2 s apart, each two frames further on than the one before.
    assert len(found) == 9
    assert sum(looked_at) == 2 * 8 + 4
    for window in found:
        clip = load_views(film, SAMPLING, start=window.start, end=window.end)
        wanted = recognizer.probabilities(clip).mean(0)
        torch.testing.assert_close(window.prediction.probabilities, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_windows_see_the_frames_of_their_time(film, batch_size):
    found = windows_of(film, WindowConfig(0.8, 0.4), batch_size=batch_size)
    assert [(start, end) for start, end, _ in found] == [
        (round(0.4 * i, 3), round(0.4 * i + 0.8, 3)) for i in range(9)
    ]
    for start, _, shown in found:
        assert shown == [round(25 * start) + 5 * i for i in range(4)]


def test_a_window_longer_than_a_clip_looks_at_its_middle(film):
    assert windows_of(film, WindowConfig(2.0, 2.0)) == [
        (0.0, 2.0, [15, 20, 25, 30]),
        (2.0, 4.0, [65, 70, 75, 80]),
    ]


def test_a_video_shorter_than_a_window_is_one_window(tmp_path):
    short = write_clip(tmp_path / "short.mp4", 10)
    job = RecognizeJob(Numbers(), WindowConfig(3.0, 1.0))
    found = recognize_file(job, Source(str(short), "video", Path("short.mp4")), quiet=True)
    assert [(w.start, round(w.end, 6)) for w in found.windows] == [(0.0, 0.4)]
    assert found.windows[0].prediction.probabilities.tolist() == [0, 5, 9, 9]  # the whole of it, the end repeated


def test_a_stream_that_ends_early_still_answers(tmp_path):
    short = write_clip(tmp_path / "short.mp4", 10)
    assert [window[:2] for window in windows_of(short, WindowConfig(3.0, 1.0))] == [(0.0, 0.4)]


def test_a_rest_of_a_video_is_looked_at(film):
    found = windows_of(film, WindowConfig(1.5, 1.5))
    assert [(start, end) for start, end, _ in found] == [(0.0, 1.5), (1.5, 3.0), (3.0, 4.0)]


def test_windows_stay_within_shots(film):
    found = windows_of(film, WindowConfig(0.8, 0.8), shots=[(0.0, 0.5), (0.5, 2.4), (2.4, 4.0)])
    assert [(start, end) for start, end, _ in found] == [
        (0.0, 0.5), (0.5, 1.3), (1.3, 2.1), (1.6, 2.4), (2.4, 3.2), (3.2, 4.0),
    ]  # fmt: skip
    for start, end, shown in found:
        assert all(25 * start - 1 <= number < 25 * end for number in shown)


@pytest.mark.parametrize("shots", [None, [(0.0, 1.0), (1.0, 10**9)], [(0.0, 10**9), (10**9, float("inf"))]])
def test_of_a_gap_of_hours_nothing_is_said(film, shots):
    def jumping():
        with VideoReader(film) as reader:
            for frame in reader:
                late = Fraction(10**6) if frame.index >= 50 else Fraction(0)
                yield replace(frame, pts_seconds=frame.pts_seconds + late)

    found = list(window_predictions(Numbers(), jumping(), WindowConfig(0.5, 0.5), shots=shots, batch_size=3))
    starts = [round(window.start, 3) for window in found]
    assert starts == [0, 0.5, 1, 1.5, *(10**6 + second for second in (2, 2.5, 3, 3.5))]
    assert all(round(window.end - window.start, 3) == 0.5 for window in found)
    for window, start in zip(found, np.arange(0, 4, 0.5), strict=True):
        shown = window.prediction.probabilities.tolist()
        assert all(25 * start - 1 <= number <= 25 * (start + 0.5) for number in shown)


def test_windows_of_a_model_of_every_nth_frame_count_frames_too(film):
    numbers = Numbers()
    numbers.sampling = replace(Numbers.sampling, stride=2)
    with VideoReader(film) as reader:
        found = list(window_predictions(numbers, reader, frame_rate=25.0))
    assert (found[0].start, found[0].end) == (0.0, pytest.approx(8 / 25))  # 4 frames, every 2nd
    shown = [[int(n) for n in w.prediction.probabilities] for w in found]
    assert shown[0] == [0, 2, 4, 6]
    assert shown[10] == [40, 42, 44, 46]


def test_no_more_frames_are_held_than_are_on_display():
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0

    def endless():
        nonlocal most
        for i in range(2000):
            frame = Frame(np.zeros((48, 72, 3), np.uint8), Fraction(i, 25), i)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame

    found = sum(1 for _ in window_predictions(Numbers(), endless(), WindowConfig(4.0, 0.5)))
    assert found > 140
    assert most <= 3


def answer(start: float, end: float, *probabilities: float) -> WindowPrediction:
    return WindowPrediction(start, end, Prediction(("a", "b"), torch.tensor(probabilities)))


def test_neighbours_with_one_label_are_joined_and_overlaps_averaged():
    spans = join_spans([answer(0, 2, 0.9, 0.1), answer(1, 3, 0.7, 0.3), answer(2, 4, 0.1, 0.9)])
    # Seconds 0-1: a .9; 1-2: a .8; 2-3: (.7 + .1) / 2 = .4 for a, so b .6; 3-4: b .9.
    assert [(s.start, s.end, s.label) for s in spans] == [(0, 2, "a"), (2, 4, "b")]
    assert [s.score for s in spans] == pytest.approx([0.85, 0.75])


def test_a_threshold_leaves_gaps():
    spans = join_spans([answer(0, 1, 0.9, 0.1), answer(1, 2, 0.55, 0.45), answer(2, 3, 0.8, 0.2)], threshold=0.6)
    assert [(s.start, s.end) for s in spans] == [(0, 1), (2, 3)]


def test_several_labels_have_spans_of_their_own():
    listed = [answer(0, 1, 0.9, 0.1), answer(1, 2, 0.8, 0.7), answer(2, 3, 0.1, 0.9)]
    spans = join_spans(listed, threshold=0.5, multi_label=True)
    assert [(s.start, s.end, s.label) for s in spans] == [(0, 2, "a"), (1, 3, "b")]


def test_spans_of_endless_windows_come_as_they_end():
    windows = (answer(i, i + 2, float(i // 5 % 2), 1 - float(i // 5 % 2)) for i in count())
    spans = iter_spans(windows)
    # Windows 0 to 4 say b, 5 to 9 a: where two disagree, both have a half, and the first class is named.
    assert [(s.start, s.end, s.label) for s in islice(spans, 3)] == [(0, 5, "b"), (5, 11, "a"), (11, 15, "b")]


def test_nobody_knows_what_is_between_windows_that_do_not_touch():
    spans = join_spans([answer(3, 4, 0.8, 0.2), answer(0, 1, 0.9, 0.1)])
    assert [(s.start, s.end, s.label) for s in spans] == [(0, 1, "a"), (3, 4, "a")]


def test_windows_must_make_sense():
    for wrong in ({"window_seconds": 0.0}, {"step_seconds": -1.0}, {"window_seconds": 1.0, "step_seconds": 2.0}):
        with pytest.raises(OptionError):
            WindowConfig(**wrong)
