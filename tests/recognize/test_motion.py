"""Recognizers that read motion: two witnesses joined, what is learned of clips that differ in movement alone."""

import io
import math
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from muybridge.apps.cli import main
from muybridge.artifacts import Artifact, load_artifact
from muybridge.data.clips.dataset import load_views
from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.clips.motion import motion_of_clip
from muybridge.data.label_maps import LabelMap
from muybridge.errors import ModelMismatch, OptionError
from muybridge.media.video_reader import VideoReader
from muybridge.models.st_adapter.video_vit import AdapterConfig
from muybridge.pretrained import built_in_codebook
from muybridge.recognize import export as export_module
from muybridge.recognize import motion as motion_module
from muybridge.recognize.evaluate import evaluate
from muybridge.recognize.export import ExportReport
from muybridge.recognize.motion import MotionReadout, fit_motion, motion_left_out, motion_of_clips, train_motion
from muybridge.recognize.objective import balance_classes, balance_draws, prior_log_odds
from muybridge.recognize.options import (
    ClipData,
    EvaluateConfig,
    RecognizerConfig,
    RecognizerFitConfig,
    SamplingOptions,
    TrainingPlan,
)
from muybridge.recognize.recognizer import Recognizer, RecognizerBank
from muybridge.recognize.train import Outcome, train
from muybridge.recognize.windows import WindowConfig, window_predictions
from muybridge.serve.batching import SharedRecognizer
from tests.data.clips.drawn_motion import small_codebook, wandering, write_film
from tests.recognize.labelled_clips import write_backbone

# ---- two witnesses ----


def readout_of(seed: int, classes: int = 3) -> MotionReadout:
    codebook, draw = small_codebook(), torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, codebook.length, generator=draw)
    return MotionReadout(codebook, weight, torch.randn(classes, generator=draw))


def unit_vectors(count: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(count, small_codebook().length, generator=torch.Generator().manual_seed(seed))
    )


def test_probabilities_of_one_label_are_multiplied() -> None:
    readout, vectors = readout_of(1), unit_vectors(5)
    network = torch.rand(5, 3, generator=torch.Generator().manual_seed(2)).softmax(dim=1)
    found = readout.joined(network, vectors, multi_label=False)
    for row in range(5):
        products = []
        for k in range(3):
            odds = float(readout.bias[k]) + sum(
                float(a) * float(b) for a, b in zip(readout.weight[k], vectors[row], strict=True)
            )
            products.append(float(network[row, k]) * math.exp(odds))
        np.testing.assert_allclose(found[row], np.array(products) / sum(products), rtol=1e-4)


def test_odds_of_several_labels_are_multiplied() -> None:
    readout, vectors = readout_of(3), unit_vectors(5)
    network = torch.rand(5, 3, generator=torch.Generator().manual_seed(4))
    found = readout.joined(network, vectors, multi_label=True)
    for row in range(5):
        for k in range(3):
            odds = float(network[row, k]) / (1 - float(network[row, k]))
            odds *= math.exp(float(readout.bias[k]) + float(readout.weight[k] @ vectors[row]))
            assert float(found[row, k]) == pytest.approx(odds / (1 + odds), rel=1e-4)


@pytest.mark.parametrize("multi_label", [False, True])
def test_of_a_clip_without_motion_the_networks_answer_stays(multi_label) -> None:
    network = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    vectors = torch.stack([torch.zeros(small_codebook().length), unit_vectors(1)[0]])
    found = readout_of(5).joined(network, vectors, multi_label=multi_label)
    torch.testing.assert_close(found[0], network[0], rtol=0, atol=1e-5)
    assert (found[1] - network[1]).abs().max() > 0.01


@pytest.mark.parametrize("multi_label", [False, True])
def test_no_witness_decides_for_ever(multi_label) -> None:
    readout = readout_of(6)
    sure = MotionReadout(readout.codebook, readout.weight * 0, torch.tensor([0.0, 30.0, 0.0]))
    found = sure.joined(torch.tensor([[1.0, 0.0, 0.0]]), unit_vectors(1), multi_label=multi_label)
    assert found.isfinite().all()
    assert found[0, 1] > 0.99


COUNTS = (7, 2, 1)


@pytest.mark.parametrize("balance", ["none", "loss", "draws"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_what_both_knew_beforehand_counts_once(balance, multi_label) -> None:
    """Ten clips that all move alike: of their motion nothing can be told, so the network's answer stays."""
    labels = torch.zeros(10, 3)
    if multi_label:
        for k, count in enumerate(COUNTS):
            labels[:count, k] = 1
    else:
        labels[torch.arange(10), torch.arange(3).repeat_interleave(torch.tensor(COUNTS))] = 1
    draws = balance_draws(labels)
    readout = fit_motion(
        small_codebook(),
        unit_vectors(1).expand(10, -1),
        labels,
        multi_label=multi_label,
        class_weights=balance_classes(labels, multi_label=multi_label) if balance == "loss" else None,
        weights=draws / draws.mean() if balance == "draws" else None,
    )
    network = torch.tensor([[0.7, 0.2, 0.1]])
    found = readout.joined(network, unit_vectors(1), multi_label=multi_label)
    torch.testing.assert_close(found, network, rtol=0, atol=0.01)


def test_what_a_loss_knows_beforehand_counted_by_hand() -> None:
    one = torch.eye(3)[torch.arange(3).repeat_interleave(torch.tensor(COUNTS))]
    found = prior_log_odds(one, multi_label=False)
    torch.testing.assert_close(found.exp(), torch.tensor([0.7, 0.2, 0.1]))
    balanced = prior_log_odds(one, multi_label=False, class_weights=balance_classes(one, multi_label=False))
    torch.testing.assert_close(balanced.exp(), torch.full((3,), 1 / 3))
    several = torch.zeros(10, 2)
    several[:8, 0] = several[:2, 1] = 1
    odds = prior_log_odds(several, multi_label=True).exp()
    torch.testing.assert_close(odds, torch.tensor([4.0, 0.25]))
    # 8 of 10 weigh 1 at least; 2 of 10 weigh 4, and so are as many as the 8 others.
    weighed = prior_log_odds(several, multi_label=True, class_weights=balance_classes(several, multi_label=True))
    torch.testing.assert_close(weighed.exp(), torch.tensor([4.0, 1.0]))
    # Drawn as its labels are rare: clips 0 and 1 have both, 2 to 7 the frequent one, 8 and 9 none.
    weights = torch.tensor([2.0, 2, 1, 1, 1, 1, 1, 1, 0.5, 0.5])
    drawn = prior_log_odds(several, multi_label=True, weights=weights)
    torch.testing.assert_close(drawn.exp(), torch.tensor([10.0, 4 / 7]))


@pytest.mark.parametrize("everywhere", [0, 1])
def test_of_a_label_that_all_clips_have_or_none_motion_says_nothing(everywhere) -> None:
    labels = torch.zeros(20, 2)
    labels[::2, 0], labels[:, 1] = 1, everywhere
    readout = fit_motion(small_codebook(), unit_vectors(20), labels, multi_label=True)
    for vector in unit_vectors(4, seed=9):
        for known in (0.05, 0.5, 0.95):
            found = readout.joined(torch.tensor([[0.5, known]]), vector[None], multi_label=True)
            assert float(found[0, 1]) == pytest.approx(known, abs=0.02)


def test_of_a_class_that_none_of_these_clips_has_motion_says_nothing() -> None:
    labels = torch.zeros(20, 3)
    labels[torch.arange(20), torch.arange(20) % 2] = 1
    readout = fit_motion(small_codebook(), unit_vectors(1).expand(20, -1), labels, multi_label=False)
    network = torch.tensor([[0.3, 0.5, 0.2]])
    torch.testing.assert_close(
        readout.joined(network, unit_vectors(1), multi_label=False), network, rtol=0, atol=0.01
    )


@pytest.mark.parametrize("multi_label", [False, True])
def test_what_differs_in_motion_is_learned(multi_label) -> None:
    centers, draw = unit_vectors(3, seed=1), torch.Generator().manual_seed(2)
    truth = torch.arange(60) % 3
    noise = torch.randn(60, centers.shape[1], generator=draw) / centers.shape[1] ** 0.5
    vectors = torch.nn.functional.normalize(centers[truth] + 0.5 * noise)
    labels = torch.eye(3)[truth]
    readout = fit_motion(small_codebook(), vectors[:30].half(), labels[:30], multi_label=multi_label)
    torch.testing.assert_close(readout.weight, readout.weight.half().float(), rtol=0, atol=0)
    answers = readout.joined(torch.full((30, 3), 1 / 3), vectors[30:], multi_label=multi_label)
    assert torch.equal(answers.argmax(dim=1), truth[30:])


def test_of_clips_that_show_no_class_all_are_held_for_alike() -> None:
    centers = unit_vectors(4, seed=1)
    labels = torch.cat([torch.eye(3), torch.full((1, 3), 1 / 3)]).repeat(10, 1)
    vectors = centers.repeat(10, 1)
    shown, told = fit_motion(small_codebook(), vectors, labels, multi_label=False), torch.arange(40) % 4 < 3
    unaware = fit_motion(small_codebook(), vectors[told], labels[told], multi_label=False)
    even, near = torch.full((1, 3), 1 / 3), torch.nn.functional.normalize(centers[3:] + 0.3 * centers[:1])
    found, before = (readout.joined(even, near, multi_label=False).max() for readout in (shown, unaware))
    assert found < before - 0.05
    answers = shown.joined(even.expand(3, -1), centers[:3], multi_label=False)
    assert answers.argmax(dim=1).tolist() == [0, 1, 2] and answers.amax(dim=1).min() > 0.6


def test_few_clips_are_fitted_as_many_numbers_would_be() -> None:
    """A classifier found in the space that clips span is that of the least penalized loss, found by Newton's way."""
    vectors, labels = unit_vectors(12).double(), torch.zeros(12, 1)
    labels[::3] = 1
    penalty = motion_module._PENALTY / 12
    length = vectors.shape[1]
    at = torch.zeros(length + 1, dtype=torch.float64)
    points = torch.cat([vectors, torch.ones(12, 1)], dim=1)
    ridge = torch.full((length + 1,), penalty, dtype=torch.float64)
    ridge[-1] = 0
    for _ in range(50):
        share = (points @ at).sigmoid()
        slope = points.mT @ (share - labels[:, 0]) / 12 + ridge * at
        curve = points.mT @ (points * (share * (1 - share))[:, None]) / 12 + ridge.diag()
        at = at - torch.linalg.solve(curve, slope)
    readout = fit_motion(small_codebook(), vectors.float(), labels, multi_label=True)
    bias = float(readout.bias[0]) + math.log(4 / 8)
    assert bias == pytest.approx(float(at[-1]), abs=0.05)
    torch.testing.assert_close(readout.weight[0].double(), at[:-1], rtol=0.02, atol=0.02 * float(at[:-1].abs().max()))


# ---- trained on clips that differ in their movement alone ----


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Of each class the same pictures, forwards and backwards."""
    root = tmp_path_factory.mktemp("data") / "clips"
    for number in range(5):
        film = wandering("right", 12, seed=number)
        write_film(root / "right" / f"{number}r.mp4", film)
        write_film(root / "left" / f"{number}l.mp4", film[::-1])
    return root


def plan_for(source: Path, weights: Path, *, held_out: float = 0.2, **changes) -> TrainingPlan:
    """A head on what a random network sees of frames, in whatever order: the same of films that run backwards."""
    model = RecognizerConfig(
        backbone="test_vit", backbone_weights=weights, **{"method": "head", "over_time": "mean", **changes}
    )
    return TrainingPlan(
        data=ClipData(source, held_out=held_out),
        model=model,
        sampling=SamplingOptions(frames=4, rate=10.0, size=32, focus=False, dense_rate=0.0),
        config=RecognizerFitConfig(steps=1, batch_size=4, validations=1, workers=0),
    )


def run(plan: TrainingPlan, out: Path) -> Outcome:
    return train(plan, out, device="cpu", tell=lambda _: None)


@pytest.fixture(scope="module")
def trained(clips, weights, tmp_path_factory) -> tuple[Path, Outcome]:
    out = tmp_path_factory.mktemp("trained") / "ways.safetensors"
    return out, run(plan_for(clips, weights), out)


@pytest.fixture(scope="module")
def recognizer(trained, weights) -> Recognizer:
    return Recognizer.from_pretrained(trained[0], backbone_weights=weights, device="cpu")


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Right, then left, then right: 12 frames each, at 25 frames a second."""
    parts = [wandering(way, 12, seed=70 + i) for i, way in enumerate(("right", "left", "right"))]
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", np.concatenate(parts))


def test_the_joined_answers_are_right_where_the_network_cannot_know(recognizer, tmp_path) -> None:
    assert recognizer.motion is not None
    assert not recognizer.is_causal
    forwards = wandering("right", 12, seed=50)
    files = {
        "right": write_film(tmp_path / "a.mp4", forwards),
        "left": write_film(tmp_path / "b.mp4", forwards[::-1]),
    }
    for name, clip in files.items():
        assert recognizer(clip).label == name
        assert recognizer(clip).score > 0.6
    alone = torch.stack([recognizer.probabilities(load_views(f, recognizer.sampling))[0] for f in files.values()])
    assert (alone[0] - alone[1]).abs().max() < 0.05
    assert recognizer(wandering("right", 20, seed=50)).label == "right"  # frames from memory, too
    # A few frames may be those of a long clip, and their motion is not read.
    network = recognizer.probabilities(load_views(forwards, recognizer.sampling))[0]
    torch.testing.assert_close(recognizer(forwards).probabilities, network, rtol=0, atol=1e-5)
    together = recognizer.batch([*files.values()])
    for answer, clip in zip(together, files.values(), strict=True):
        torch.testing.assert_close(answer.probabilities, recognizer(clip).probabilities, rtol=0, atol=1e-5)


def test_training_told_what_evaluation_finds(trained, recognizer, clips, weights) -> None:
    outcome = trained[1]
    assert outcome.evaluation is not None
    assert recognizer.scores["top1"] == outcome.evaluation.report.numbers["top1"] == 1.0
    with pytest.warns(UserWarning, match="clips that were held out"):
        again = evaluate(EvaluateConfig(clips, model=str(trained[0]), backbone_weights=weights, device="cpu"))
    torch.testing.assert_close(again.probabilities, outcome.evaluation.probabilities, rtol=0, atol=1e-6)
    assert again.numbers() == pytest.approx(recognizer.scores)
    # What is told of the order of frames is of the network, which does not know it.
    assert outcome.evaluation.order is not None
    assert outcome.evaluation.order.accuracy < 1
    one_by_one = recognizer.batch([entry.path for entry in again.clips.entries])
    for answer, row in zip(one_by_one, again.probabilities, strict=True):
        torch.testing.assert_close(answer.probabilities, row, rtol=0, atol=2e-3)  # vectors of half precision there


def test_saved_and_read_again_it_answers_the_same(trained, recognizer, weights, film, tmp_path) -> None:
    recognizer.save(tmp_path / "again.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "again.safetensors", backbone_weights=weights, device="cpu")
    assert torch.equal(again(film).probabilities, recognizer(film).probabilities)
    architecture = load_artifact(trained[0], task="recognize").architecture
    assert architecture["motion"] == built_in_codebook().hash


def test_windows_answer_as_the_clips_that_they_are(recognizer, film) -> None:
    assert recognizer.motion is not None
    config = WindowConfig(0.48, 0.24)
    with VideoReader(film) as reader:
        found = list(window_predictions(recognizer, reader, config, batch_size=2))
    assert len(found) == 5
    assert [window.prediction.label for window in found[::2]] == ["right", "left", "right"]
    for window in found:
        views = load_views(film, recognizer.sampling, start=window.start, end=window.end)
        vector = motion_of_clip(film, recognizer.motion.codebook, start=window.start, end=window.end)
        wanted = recognizer.motion.joined(recognizer.probabilities(views), vector[None], multi_label=False)[0]
        torch.testing.assert_close(window.prediction.probabilities, wanted, rtol=0, atol=1e-4)
    with VideoReader(film) as reader:
        (whole,) = window_predictions(recognizer, reader, WindowConfig(1.44, 1.44))
    torch.testing.assert_close(whole.prediction.probabilities, recognizer(film).probabilities, rtol=0, atol=1e-4)


def test_shared_by_clients_it_answers_the_same(recognizer, film) -> None:
    shared = SharedRecognizer(recognizer)
    try:
        torch.testing.assert_close(shared(film).probabilities, recognizer(film).probabilities, rtol=0, atol=1e-5)
        answers = []
        for asked in (shared, recognizer):
            with VideoReader(film) as reader:
                windows = window_predictions(asked, reader, WindowConfig(0.48, 0.48))
                answers.append(torch.stack([window.prediction.probabilities for window in windows]))
        torch.testing.assert_close(*answers, rtol=0, atol=1e-5)
    finally:
        shared.close()


def made_up(per_class: int) -> tuple[ClipList, Tensor]:
    """Clips of two classes, each of a source of its own, and their labels."""
    entries = tuple(ClipEntry(Path(f"{i}.mp4"), (i % 2,), str(i)) for i in range(2 * per_class))
    clips = ClipList(entries, LabelMap(("a", "b"), (0, 1)))
    return clips, torch.eye(2)[torch.arange(len(entries)) % 2]


def test_mirrors_help_where_classes_do_not_differ_in_left_and_right() -> None:
    clips, labels = made_up(12)
    centers, noise = unit_vectors(4, seed=1), unit_vectors(48, seed=2).view(2, 24, -1)

    def seen(way: Tensor, look: int) -> Tensor:
        return torch.nn.functional.normalize(centers[way] + noise[look], dim=1)

    kind, side = torch.arange(24) % 2, torch.arange(24) // 2 % 2
    # Class a is seen as 0 or, in the mirror, 1; class b as 2 or 3: the other side is known from the mirror.
    own, in_mirror = seen(2 * kind + side, 0), seen(2 * kind + 1 - side, 1)
    assert _mirrors_help(clips, own, in_mirror, labels)
    # Class a goes to the left, b to the right: in the mirror each looks like the other.
    assert not _mirrors_help(clips, seen(kind, 0), seen(1 - kind, 1), labels)
    few, labels_of_few = made_up(1)
    assert motion_left_out(few, own[:2], in_mirror[:2], labels_of_few) is None


def _mirrors_help(clips: ClipList, own: Tensor, in_mirror: Tensor, labels: Tensor) -> bool:
    found = motion_left_out(clips, own, in_mirror, labels)
    assert found is not None
    return found.in_mirror


def test_who_trains_is_told_whether_mirrors_were_looked_at(clips, monkeypatch) -> None:
    found = read_clip_list(clips)["all"]
    labels = torch.eye(2)[[entry.labels[0] for entry in found.entries]]
    centers = torch.nn.functional.normalize(
        torch.randn(2, built_in_codebook().length, generator=torch.Generator().manual_seed(3))
    )
    own = centers[labels.argmax(dim=1)]
    for in_mirror, helps in ((own, None), (own.flip(0), False)):
        told: list[str] = []
        monkeypatch.setattr(motion_module, "motion_of_clips", lambda *_, both=(own, in_mirror), **__: both)
        train_motion(found, labels, "none", quiet=True, tell=told.append)
        assert "a classifier of 2 classes" in told[0]
        if helps is False:
            assert "mirror" not in told[0]


@pytest.fixture(scope="module")
def unmoved(clips, weights, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unmoved") / "unmoved.safetensors"
    run(plan_for(clips, weights, motion=False, held_out=0.0), out)
    return out


def test_without_motion_the_file_has_none_and_does_not_know(unmoved, weights, tmp_path) -> None:
    artifact = load_artifact(unmoved, task="recognize")
    assert artifact.architecture["motion"] is None
    assert not any(name.startswith("motion") for name in artifact.tensors)
    recognizer = Recognizer.from_pretrained(unmoved, backbone_weights=weights, device="cpu")
    assert recognizer.motion is None
    forwards = wandering("right", 12, seed=50)
    difference = recognizer(forwards).probabilities - recognizer(forwards[::-1].copy()).probabilities
    assert difference.abs().max() < 0.05


def test_files_from_before_there_was_motion_are_read(unmoved, weights, tmp_path) -> None:
    artifact = load_artifact(unmoved, task="recognize")
    older = {name: value for name, value in artifact.architecture.items() if name != "motion"}
    replace(artifact, architecture=older).save(tmp_path / "older.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "older.safetensors", backbone_weights=weights, device="cpu")
    assert again.motion is None


def test_in_a_bank_each_answers_as_alone(recognizer, unmoved, trained, film) -> None:
    still, moved = recognizer.with_adapters(unmoved), recognizer.with_adapters(trained[0])
    bank = RecognizerBank([recognizer, still, moved])
    short = np.asarray(wandering("left", 12, seed=80))
    answers = bank.batch([film, film, short, short], [0, 1, 1, 2])
    alone = [recognizer(film), still(film), still(short), moved(short)]
    for answer, wanted in zip(answers, alone, strict=True):
        torch.testing.assert_close(answer.probabilities, wanted.probabilities, rtol=0, atol=1e-5)
    assert answers[3].label == "left"


def test_after_every_frame_it_cannot_answer(recognizer) -> None:
    with pytest.raises(ModelMismatch, match=r"reads motion.*--no-motion"):
        recognizer.stream([wandering("right", 1)[0]])


def test_causal_recognizers_read_no_motion_unless_that_is_contradicted(clips, weights, tmp_path) -> None:
    causal = AdapterConfig(width=8, causal=True)
    assert RecognizerConfig().reads_motion
    assert not RecognizerConfig(motion=False).reads_motion
    assert not RecognizerConfig(adapters=causal).reads_motion
    with pytest.raises(OptionError, match="--no-motion"):
        RecognizerConfig(adapters=causal, motion=True)
    out = tmp_path / "causal.safetensors"
    run(plan_for(clips, weights, held_out=0.0, method="adapters", adapters=causal), out)
    recognizer = Recognizer.from_pretrained(out, backbone_weights=weights, device="cpu")
    assert recognizer.motion is None
    assert recognizer.is_causal
    assert len(list(recognizer.stream(list(wandering("left", 3))))) == 3


def test_training_may_start_from_a_recognizer_that_reads_motion(trained, clips, weights, tmp_path) -> None:
    plan = replace(plan_for(clips, weights, held_out=0.0, motion=False), initialize=str(trained[0]))
    run(plan, tmp_path / "next.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "next.safetensors", backbone_weights=weights, device="cpu")
    assert again.labels.names == ("left", "right")


def test_clips_of_several_labels(clips, weights, tmp_path) -> None:
    """All show a square, some to the left, some to the right."""
    rows = [f'"{clip}",square|{clip.parent.name}' for clip in sorted(clips.glob("*/*.mp4")) if clip.stem[0] in "012"]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    out = tmp_path / "several.safetensors"
    run(plan_for(tmp_path / "list.csv", weights, held_out=0.0), out)
    recognizer = Recognizer.from_pretrained(out, backbone_weights=weights, device="cpu")
    assert recognizer.multi_label
    for way, other in (("left", "right"), ("right", "left")):
        answer = dict(recognizer(wandering(way, 20, seed=61)).top(3))
        assert answer[way] > 0.5 > answer[other]
        assert answer["square"] > 0.9


@pytest.mark.parametrize("balance", ["none", "loss", "draws"])
def test_classes_of_unequal_size_are_balanced_as_the_network_is(clips, monkeypatch, balance) -> None:
    found = read_clip_list(clips)["all"]
    entries = [e for e in found.entries if e.path.parent.name == "left"] + [found.entries[-1]]
    few, vectors = replace(found, entries=tuple(entries)), torch.zeros(6, built_in_codebook().length)
    vectors[:] = torch.nn.functional.normalize(torch.ones(vectors.shape[1]), dim=0)
    monkeypatch.setattr(motion_module, "motion_of_clips", lambda *_, **__: (vectors, vectors))
    labels = torch.eye(2)[[entry.labels[0] for entry in entries]]
    readout, _ = train_motion(few, labels, balance, quiet=True, tell=lambda _: None)
    # Where motion tells nothing, nothing is added, whatever the balance.
    torch.testing.assert_close(
        readout.joined(torch.tensor([[0.3, 0.7]]), vectors[:1], multi_label=False),
        torch.tensor([[0.3, 0.7]]),
        rtol=0,
        atol=0.01,
    )


def test_of_shards_a_clip_that_cannot_be_read_has_no_motion(clips, tmp_path) -> None:
    """As nobody looks at clips in shards before, and training goes on without such ones."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for key, label, content in (
            ("0", "left", (clips / "left" / "0l.mp4").read_bytes()),
            ("1", "right", b"no film"),
            ("2", "right", (clips / "right" / "0r.mp4").read_bytes()),
        ):
            for suffix, data in ((".mp4", content), (".cls", label.encode())):
                about = tarfile.TarInfo(key + suffix)
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
    shards = next(iter(read_clip_list(tmp_path / "a.tar").values()))
    with pytest.warns(RuntimeWarning, match="1.mp4"):
        own, in_mirror = motion_of_clips(shards, built_in_codebook(), in_mirror=True, quiet=True)
    assert [bool(row.any()) for row in own] == [bool(row.any()) for row in in_mirror] == [True, False, True]


# ---- strangers' files ----


ALTERED = {
    "another codebook": {"motion": "0" * 64},
    "a hash that paints": {"motion": "\x1b[31m\n" * 20},
    "no text": {"motion": 7},
    "no word of it": {"motion": None},
    "counts below nothing": {"network_weight": -1.0},
    "counts too much": {"network_weight": 1e9},
    "counts in words": {"network_weight": "much"},
}


def spoilt(path: Path, target: Path, how: str) -> Path:
    artifact = load_artifact(path, task="recognize")
    architecture, tensors = dict(artifact.architecture), dict(artifact.tensors)
    architecture |= ALTERED.get(how, {})
    if how == "no weight":
        del tensors["motion.weight"]
    elif how == "no bias":
        del tensors["motion.bias"]
    elif how == "another shape":
        tensors["motion.weight"] = tensors["motion.weight"][:, 1:].contiguous()
    elif how == "whole numbers":
        tensors["motion.weight"] = tensors["motion.weight"].to(torch.int16)
    elif how == "not a number":
        tensors["motion.weight"][0, 0] = math.nan
    elif how == "a large bias":
        tensors["motion.bias"][0] = 3e38
    Artifact(artifact.task, architecture, tensors, artifact.provenance, artifact.scores, artifact.contract).save(
        target
    )
    return target


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("another codebook", "hash 000000000000, which this version"),
        ("a hash that paints", "hash"),
        ("no text", "motion"),
        ("no word of it", "motion.weight"),
        ("no weight", "motion.weight"),
        ("no bias", "motion.bias"),
        ("another shape", "motion.weight"),
        ("whole numbers", "motion.weight"),
        ("not a number", "NaN or infinity in motion.weight"),
        ("a large bias", "3e+38 in motion.bias, not between -65504 and 65504"),
        ("counts below nothing", "architecture.network_weight is -1.0"),
        ("counts too much", "architecture.network_weight is 1000000000.0"),
        ("counts in words", "architecture.network_weight is 'much'"),
    ],
)
def test_a_file_that_is_not_sound_is_one_line(trained, weights, film, tmp_path, capsys, how, says) -> None:
    model = spoilt(trained[0], tmp_path / "spoilt.safetensors", how)
    out = tmp_path / "out.json"
    with pytest.raises(SystemExit) as stopped:
        main(["recognize", str(film), "--model", str(model), "--backbone-weights", str(weights), "-o", str(out),
              "--device", "cpu"])  # fmt: skip
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert says in said and "spoilt.safetensors" in said
    assert len(said.strip().splitlines()) == 1 and "\x1b" not in said
    assert not out.exists()


def test_who_exports_it_is_told_that_motion_is_left_out(trained, weights, tmp_path, capsys, monkeypatch) -> None:
    out = tmp_path / "ways.pt2"
    monkeypatch.setattr(export_module, "export_recognizer", lambda *_, **__: ExportReport(out, 0.0, 1))
    with pytest.raises(SystemExit) as stopped:
        main(["export", str(trained[0]), "-o", str(out), "--backbone-weights", str(weights)])
    assert stopped.value.code == 0
    assert "says of motion is not in it" in capsys.readouterr().out
