"""How much the network and motion each count: found on clips left out, against naive fits, and kept in the file."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from muybridge.artifacts import load_artifact
from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.label_maps import LabelMap
from muybridge.errors import ModelError
from muybridge.recognize.model_file import RecognizerFile
from muybridge.recognize.motion import LeftOut, MotionReadout, fit_motion, motion_left_out
from muybridge.recognize.objective import balance_classes, prior_log_odds
from muybridge.recognize.options import ClipData, RecognizerConfig, RecognizerFitConfig, SamplingOptions, TrainingPlan
from muybridge.recognize.prefixes import SeenFeatures
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.stacking import Weights, fit_weights, network_left_out, weighed
from muybridge.recognize.train import train
from tests.data.clips.drawn_motion import small_codebook, wandering, write_film
from tests.recognize.labelled_clips import write_backbone


def _witnesses(count: int, *, network: float, motion: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Of clips of three classes the network's probabilities, motion's log-odds, and labels (N, K) as they follow
    where the one counts so much, and the other."""
    draw = torch.Generator().manual_seed(seed)
    own = torch.randn(count, 3, generator=draw).log_softmax(dim=1)
    odds = torch.randn(count, 3, generator=draw)
    truth = torch.multinomial((network * own + motion * odds).softmax(dim=1), 1, generator=draw)[:, 0]
    return own.exp(), odds, F.one_hot(truth, 3).float()


def _penalized(network: Tensor, odds: Tensor, labels: Tensor, at: tuple[float, float], pull: float) -> float:
    """By NumPy, in float64: classes weigh alike, so that nothing is known of them beforehand."""
    logits = at[0] * np.log(network.double().numpy()) + at[1] * odds.double().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    counts = labels.numpy().sum(axis=0)
    weights = (len(labels) / (3 * counts))[labels.numpy().argmax(axis=1)]
    loss = -(weights * np.log(shares[np.arange(len(labels)), labels.numpy().argmax(axis=1)])).sum()
    return float(loss + 0.5 * pull * ((at[0] - 1) ** 2 + (at[1] - 1) ** 2))


@pytest.mark.parametrize("pull", [0.0, 3.0, 100.0])
def test_the_weights_are_those_of_the_least_loss(pull) -> None:
    network, odds, labels = _witnesses(60, network=0.4, motion=1.6)
    balance = balance_classes(labels, multi_label=False)
    found = fit_weights(network, odds, labels, multi_label=False, class_weights=balance, pull=pull)
    best = _penalized(network, odds, labels, (found.network, found.motion), pull)
    tried = np.arange(0, 3.001, 0.02)
    least = min(_penalized(network, odds, labels, (a, b), pull) for a in tried for b in tried)
    assert best <= least + 1e-4


def test_of_many_clips_the_weights_are_found_by_which_labels_were_drawn() -> None:
    network, odds, labels = _witnesses(20_000, network=0.4, motion=1.6)
    found = fit_weights(network, odds, labels, multi_label=False)
    assert found.network == pytest.approx(0.4, abs=0.05)
    assert found.motion == pytest.approx(1.6, abs=0.05)


def test_of_several_labels_too() -> None:
    draw = torch.Generator().manual_seed(1)
    own, odds = torch.randn(2, 10_000, 2, generator=draw)
    labels = torch.bernoulli((0.3 * own + 1.5 * odds).sigmoid(), generator=draw)
    found = fit_weights(own.sigmoid(), odds, labels, multi_label=True)
    assert found.network == pytest.approx(0.3, abs=0.06)
    assert found.motion == pytest.approx(1.5, abs=0.06)


def test_who_is_sure_and_wrong_is_not_heard_and_who_knows_nothing_does_no_harm() -> None:
    _, odds, labels = _witnesses(200, network=0.0, motion=2.0)
    wrong = F.one_hot((labels.argmax(dim=1) + 1) % 3, 3) * 0.96 + 0.01
    assert fit_weights(wrong, odds, labels, multi_label=False).network == 0
    balance = balance_classes(labels, multi_label=False)
    found = fit_weights(torch.full((200, 3), 1 / 3), odds, labels, multi_label=False, class_weights=balance)
    assert found.network == pytest.approx(1.0, abs=1e-3)


def test_few_clips_move_the_weights_little() -> None:
    wrong = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    few = fit_weights(wrong, torch.zeros(2, 2), labels, multi_label=False).network
    many = fit_weights(wrong.repeat(50, 1), torch.zeros(100, 2), labels.repeat(50, 1), multi_label=False).network
    assert many == 0
    assert few > 0.2


# ---- what is said of clips left out ----


def _clips(classes: int, groups: int) -> tuple[ClipList, Tensor]:
    """Of each group a clip of each class, and the labels (N, K)."""
    entries = tuple(ClipEntry(Path(f"{g}_{k}.mp4"), (k,), str(g)) for g in range(groups) for k in range(classes))
    names = tuple("abcdef"[:classes])
    labels = torch.eye(classes).repeat(groups, 1)
    return ClipList(entries, LabelMap(names, tuple(range(classes)))), labels


def test_motion_is_asked_of_groups_that_it_was_not_fitted_to() -> None:
    clips, labels = _clips(3, 7)
    draw = torch.Generator().manual_seed(4)
    own, in_mirror = F.normalize(torch.randn(2, 21, small_codebook().length, generator=draw), dim=2)
    found = motion_left_out(clips, own, in_mirror, labels)
    assert found is not None
    assert found.clips.tolist() == list(range(21))
    assert len(found.folds.unique()) == 3
    for group in range(7):
        assert len(found.folds[3 * group : 3 * group + 3].unique()) == 1
    for fold in range(3):
        seen, unseen = found.folds != fold, found.folds == fold
        vectors = torch.cat([own[seen], in_mirror[seen]]) if found.in_mirror else own[seen]
        readout = fit_motion(
            small_codebook(), vectors, labels[seen].repeat(1 + found.in_mirror, 1), multi_label=False
        )
        wanted = own[unseen] @ readout.weight.mT + readout.bias
        torch.testing.assert_close(found.odds[unseen], wanted, rtol=0.02, atol=0.02)


def test_the_network_is_asked_of_clips_that_its_head_was_not_fitted_to() -> None:
    draw = torch.Generator().manual_seed(5)
    centers = torch.randn(2, 6, generator=draw)
    truth = torch.arange(40) % 2
    features = centers[truth][:, None] + torch.randn(40, 3, 6, generator=draw)
    seen = SeenFeatures(features, truth[:, None].expand(-1, 3))
    # The third view is none of a test, and clips of which motion knows nothing are not asked about.
    places = torch.arange(2, 40)
    left_out = LeftOut(places, places // 2 % 4, torch.zeros(38, 2), in_mirror=False)
    found = network_left_out(seen, left_out, F.cross_entropy, classes=2, looks=2, multi_label=False)
    for fold in range(4):
        rest = places[left_out.folds != fold]
        head = nn.Linear(6, 2)
        SeenFeatures(features[rest], truth[rest][:, None].expand(-1, 3)).fit(head, F.cross_entropy)
        for row in torch.nonzero(left_out.folds == fold)[:, 0].tolist():
            wanted = head(features[places[row], :2]).softmax(dim=1).mean(dim=0)
            torch.testing.assert_close(found[row], wanted.detach(), rtol=1e-4, atol=1e-4)


def test_a_network_that_goes_by_the_place_is_found_out_by_places_left_out() -> None:
    """Of two dark places and two bright ones, in one of each most clips are of class a, in the other of class b."""
    place = torch.arange(4).repeat_interleave(40)
    mostly = torch.tensor([0, 1, 1, 0])[place]
    truth = torch.where(torch.arange(160) % 10 == 0, 1 - mostly, mostly)
    light = torch.tensor([-1.0, 1.0, -1.0, 1.0])[place]
    # Beside the light each place has something of its own, by which a head tells the clips that it was fitted to.
    own = 2 * F.one_hot(place, 4).float() - 0.5
    features = torch.cat([light[:, None].expand(-1, 100), own.repeat(1, 25)], dim=1)[:, None]
    seen, labels = SeenFeatures(features, truth[:, None]), F.one_hot(truth, 2).float()
    weights = {}
    for kind, folds in (("by place", place), ("by clip", torch.arange(160) // 2 % 4)):
        left_out = LeftOut(torch.arange(160), folds, torch.zeros(160, 2), in_mirror=False)
        network = network_left_out(seen, left_out, F.cross_entropy, classes=2, looks=1, multi_label=False)
        weights[kind] = fit_weights(network, left_out.odds, labels, multi_label=False).network
    assert weights["by place"] == 0
    assert weights["by clip"] > 0.9


# ---- counted so in answers, and kept ----


def test_joined_as_powers_and_what_was_known_beforehand_counts_once() -> None:
    codebook, draw = small_codebook(), torch.Generator().manual_seed(6)
    readout = MotionReadout(codebook, torch.randn(2, codebook.length, generator=draw), torch.tensor([0.3, -0.3]))
    labels = torch.eye(2)[[0, 0, 0, 1]]
    prior = prior_log_odds(labels, multi_label=False)
    found = readout.weighed(network=0.5, motion=2.0, prior_K=prior)
    network = torch.tensor([[0.6, 0.4]])
    vector = F.normalize(torch.randn(1, codebook.length, generator=draw))
    answer = found.joined(network, vector, multi_label=False)[0]
    odds = (vector @ readout.weight.mT + readout.bias)[0]
    known = (0.75, 0.25)
    parts = [known[k] * (float(network[0, k]) / known[k]) ** 0.5 * math.exp(2 * float(odds[k])) for k in range(2)]
    np.testing.assert_allclose(answer, np.array(parts) / sum(parts), rtol=2e-3)
    # Where nothing moves the network's answer stays.
    still = found.joined(network, vector * 0, multi_label=False)
    torch.testing.assert_close(still, network, rtol=0, atol=1e-5)


def test_a_classifier_is_weighed_by_what_was_left_out() -> None:
    network, odds, labels = _witnesses(300, network=0.2, motion=1.0)
    left_out = LeftOut(torch.arange(300), torch.arange(300) % 3, odds, in_mirror=False)
    readout = MotionReadout(small_codebook(), torch.ones(3, small_codebook().length), torch.zeros(3))
    found, weights = weighed(readout, left_out, network, labels, multi_label=False)
    assert weights == fit_weights(network, odds, labels, multi_label=False)
    assert found.network == weights.network != 1
    torch.testing.assert_close(found.weight, weights.motion * readout.weight, rtol=1e-3, atol=0)
    assert Weights() == Weights(1.0, 1.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """Two ways to go, filmed in dark and bright places."""
    root = tmp_path_factory.mktemp("places")
    for place, (light, ways) in enumerate(((0.3, "rrrl"), (1.0, "lllr"), (0.4, "llrl"), (0.9, "rrlr"))):
        for number, way in enumerate(ways):
            film = wandering("right", 12, seed=10 * place + number)
            film = np.stack([(frame * light).astype(np.uint8) for frame in film])
            name = {"r": "right", "l": "left"}[way]
            write_film(root / name / f"{place}-{number}.mp4", film if way == "r" else film[::-1])
    return root


def _trained(source: Path, weights: Path, out: Path, **changes) -> list[str]:
    model = RecognizerConfig(
        backbone="test_vit", backbone_weights=weights, **{"method": "head", "over_time": "mean", **changes}
    )
    plan = TrainingPlan(
        data=ClipData(source, held_out=0.0, group_pattern=r"(\d)-"),
        model=model,
        sampling=SamplingOptions(frames=4, rate=10.0, size=32, focus=False, dense_rate=0.0),
        config=RecognizerFitConfig(steps=1, batch_size=4, validations=1, workers=0),
    )
    told: list[str] = []
    train(plan, out, device="cpu", tell=told.append)
    return told


@pytest.fixture(scope="module")
def trained(places, weights, tmp_path_factory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("trained") / "ways.safetensors"
    return out, _trained(places, weights, out)


def test_what_was_found_is_told_and_kept(trained, weights) -> None:
    path, told = trained
    counted = load_artifact(path, task="recognize").architecture["network_weight"]
    recognizer = Recognizer.from_pretrained(path, backbone_weights=weights, device="cpu")
    assert recognizer.motion is not None
    assert recognizer.motion.network == counted != 1
    assert any(f"the network is best counted {counted:.2f}, motion" in line for line in told)
    assert recognizer(wandering("right", 20, seed=90)).label == "right"


def test_where_every_block_is_trained_both_count_alike_and_that_is_said(places, weights, tmp_path) -> None:
    told = _trained(places, weights, tmp_path / "full.safetensors", method="full")
    assert load_artifact(tmp_path / "full.safetensors", task="recognize").architecture["network_weight"] == 1
    assert any("count alike" in line for line in told)


@pytest.mark.parametrize("wrong", [-0.1, 1e9, "much", float("nan"), None])
def test_a_weight_that_is_none_is_refused(trained, tmp_path, wrong) -> None:
    artifact = load_artifact(trained[0], task="recognize")
    broken = replace(artifact, architecture={**artifact.architecture, "network_weight": wrong})
    with pytest.raises((ModelError, ValueError)):
        broken.save(tmp_path / "broken.safetensors")
        RecognizerFile.open(tmp_path / "broken.safetensors")


def test_files_from_before_count_both_alike(trained, weights, tmp_path) -> None:
    artifact = load_artifact(trained[0], task="recognize")
    older = {name: value for name, value in artifact.architecture.items() if name != "network_weight"}
    replace(artifact, architecture=older).save(tmp_path / "older.safetensors")
    again = Recognizer.from_pretrained(tmp_path / "older.safetensors", backbone_weights=weights, device="cpu")
    assert again.motion is not None
    assert again.motion.network == 1
