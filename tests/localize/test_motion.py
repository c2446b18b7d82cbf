"""Localizers that read how each person moves: what is learned, how it is joined, kept and asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from muybridge.apps.cli import main
from muybridge.artifacts import Artifact, load_artifact
from muybridge.data.localization import key_frames
from muybridge.data.person_motion import motion_at
from muybridge.data.video_files import video_file
from muybridge.localize.evaluate import logits_of, predict_key_frames
from muybridge.localize.localizer import Localizer
from muybridge.localize.motion import PersonMotionReadout, fit_person_motion, train_person_motion
from muybridge.models.acar.loss import action_loss, action_probabilities
from muybridge.pretrained import built_in_codebook
from muybridge.watch.parts import ActionPart, PeoplePart
from tests.data.clips.drawn_motion import small_codebook
from tests.localize.localized_videos import (
    LABELS,
    MovingPeople,
    noise_frames,
    small_localizer,
    two_people,
    write_frames,
)


def readout_of(codebook=None, classes: int = 3, seed: int = 0) -> PersonMotionReadout:
    codebook = codebook or built_in_codebook()
    draw = torch.Generator().manual_seed(seed)
    weight = 3 * torch.randn(classes, codebook.length, generator=draw)
    bias, share = torch.randn(classes, generator=draw), torch.tensor([0.7, 0.7, 1.2])
    return PersonMotionReadout(codebook, weight.half().float(), bias, share)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("video") / "yard.mp4", noise_frames(32))


def test_log_odds_are_added_and_of_whom_nothing_is_known_nothing_is_said() -> None:
    localizer = small_localizer(trunk="muybridge_vit", head="baseline", motion=readout_of())
    clip = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    boxes = MovingPeople(3).boxes_at(0)
    motion = torch.nn.functional.normalize(torch.randn(3, built_in_codebook().length))
    motion[1] = 0
    without, found = localizer.actions(clip, boxes), localizer.actions(clip, boxes, motion_nM=motion)
    np.testing.assert_allclose(found[1], without[1], atol=1e-6)
    weight, bias = localizer.motion.weight.double().numpy(), localizer.motion.bias.double().numpy()
    for person in (0, 2):
        odds = weight @ motion[person].double().numpy() + bias
        poses = without[person, :2] ** 0.7 * np.exp(odds[:2])
        np.testing.assert_allclose(found[person, :2], poses / poses.sum(), rtol=1e-3)
        other = (without[person, 2] / (1 - without[person, 2])) ** 1.2 * np.exp(odds[2])
        np.testing.assert_allclose(found[person, 2], other / (1 + other), rtol=1e-3)


def test_saved_and_loaded_it_says_the_same(tmp_path) -> None:
    localizer = small_localizer(motion=readout_of())
    localizer.save(tmp_path / "m.safetensors")
    again = Localizer.from_pretrained(tmp_path / "m.safetensors", device="cpu")
    assert again.motion is not None
    torch.testing.assert_close(again.motion.weight, localizer.motion.weight, rtol=0, atol=0)
    torch.testing.assert_close(again.motion.bias, localizer.motion.bias, rtol=0, atol=0)
    torch.testing.assert_close(again.motion.share, localizer.motion.share, rtol=0, atol=0)


def _altered(contract: dict, tensors: dict, how: str) -> None:
    weight, share = tensors["motion.weight"], tensors["motion.share"]
    if how == "another hash":
        contract["motion"] = "0123456789abcdef" * 4
    elif how == "a hash that paints":
        contract["motion"] = "\x1b[31m\n" * 20
    elif how == "no word of it":
        del contract["motion"]
    elif how.startswith("no "):
        del tensors[f"motion.{how[3:]}"]
    elif how == "another shape":
        tensors["motion.weight"] = weight[:, :-1].contiguous()
    elif how == "a lone number":
        tensors["motion.share"] = torch.tensor(1.0)
    elif how == "64 bits":
        tensors["motion.bias"] = torch.full((3,), 1e300, dtype=torch.float64)
    elif how == "large weight":
        tensors["motion.weight"] = weight.float() - 1e38
    else:
        share[1] = float(how)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("another hash", "hash 0123456789ab, which this version"),
        ("a hash that paints", "hash"),
        ("no word of it", "unknown motion.bias"),
        ("no weight", "missing motion.weight"),
        ("no bias", "missing motion.bias"),
        ("no share", "missing motion.share"),
        ("another shape", "motion.weight is (3, 24575) instead of (3, 24576)"),
        ("a lone number", "motion.share is () instead of (3,)"),
        ("64 bits", "NaN or infinity in motion.bias"),
        ("large weight", "-1e+38 in motion.weight, not between -65504 and 65504"),
        ("nan", "NaN or infinity in motion.share"),
        ("-inf", "NaN or infinity in motion.share"),
        ("-1", "-1 in motion.share, not between 0 and 1000"),
        ("1e30", "1e+30 in motion.share, not between 0 and 1000"),
    ],
)
def test_a_file_that_is_not_sound_is_one_line(video, tmp_path, capsys, how, says) -> None:
    small_localizer(motion=readout_of()).save(tmp_path / "m.safetensors")
    found = load_artifact(tmp_path / "m.safetensors", task="localize")
    contract, tensors = dict(found.contract), dict(found.tensors)
    _altered(contract, tensors, how)
    model, out = tmp_path / "spoilt.safetensors", tmp_path / "out.mp4"
    Artifact("localize", found.architecture, tensors, {}, {}, contract).save(model)
    with pytest.raises(SystemExit) as stopped:
        main(["localize", str(video), "--model", str(model), "-o", str(out), "--device", "cpu"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert says in said and "spoilt.safetensors" in said
    assert len(said.strip().splitlines()) == 1 and "\x1b" not in said
    assert not out.exists()


def test_reading_on_and_seeking_lead_to_the_same_actions(video) -> None:
    localizer = small_localizer(motion=readout_of())
    seconds = [0.0, 1.0, 2.0, 3.0]
    result = localizer(video, boxes=two_people("yard", seconds), every=1.0)
    truth = key_frames(two_people("yard", seconds), LABELS, {"yard": video_file(video)})
    ask = (logits_of(localizer), truth, LABELS, localizer.sampling)
    expected = predict_key_frames(*ask, motion=localizer.motion, quiet=True)
    without = predict_key_frames(*ask, quiet=True)
    for key, actions in zip(result.key_frames, expected, strict=True):
        np.testing.assert_allclose(key.people.actions, actions, atol=2e-3)
    assert np.abs(np.stack(expected) - np.stack(without)).max() > 0.02, "motion must say something here"


def test_watched_live_it_says_the_same() -> None:
    localizer = small_localizer(motion=readout_of())
    frames = noise_frames(32)
    source = MovingPeople()
    people = PeoplePart(source, num_classes=len(LABELS), look_every=0.1, remember=3.0)
    part = ActionPart(localizer, people, every=1.0)
    answers = {}
    for frame in frames:
        part.see(frame)
        if people.is_due(frame):
            people.work(frame)
        if part.is_due(frame) and (answer := part.work(frame)) is not None:
            answers[answer.seconds] = answer.people
    watched = list(localizer.stream(frames, people=MovingPeople(), every=0.125))
    for seconds, found in list(answers.items())[1:]:
        there = min(watched, key=lambda each: abs(float(each.frame.pts_seconds) - seconds))
        if abs(float(there.frame.pts_seconds) - seconds) < 1e-6:
            np.testing.assert_allclose(found.actions, there.people.actions, atol=1e-4)


def test_it_asks_for_no_motion_where_it_reads_none(video) -> None:
    result = small_localizer()(video, boxes=two_people("yard", [0.0, 1.0]), every=1.0)
    assert all(key.people.motion is None for key in result.key_frames)


# ---- what is learned ----


def test_it_is_the_minimum_of_the_penalized_loss_less_what_was_known_before() -> None:
    codebook = small_codebook()
    draw = torch.Generator().manual_seed(1)
    motion = torch.nn.functional.normalize(torch.randn(40, codebook.length, generator=draw))
    truth = torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 1, 0], [1, 0, 0]]).repeat(8, 1)
    exclusive = [(0, 1)]

    def loss(logits):
        return 3 * action_loss(logits, truth, exclusive)

    found = fit_person_motion(codebook, motion, truth, loss, exclusive=exclusive, penalty=0.4)

    # The same by another optimizer, in double precision, within the span of the vectors.
    basis = torch.linalg.qr(motion.double().mT).Q
    points = motion.double() @ basis

    def value(flat):
        x = torch.tensor(flat, requires_grad=True)
        weight, bias = x[:-3].view(3, -1), x[-3:]
        total = 3 * action_loss(points @ weight.mT + bias, truth.double(), exclusive)
        total = total + 0.5 * 0.4 / 40 * weight.square().sum()
        total.backward()
        return float(total.detach()), x.grad.numpy()

    best = minimize(value, np.zeros(3 * points.shape[1] + 3), jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    weight = torch.tensor(best.x[:-3]).view(3, -1)
    logits = points @ weight.mT + torch.tensor(best.x[-3:])
    # Known beforehand: three fifths stand, two fifths do the other.
    logits = logits - torch.tensor([np.log(0.6), np.log(0.4), np.log(0.4 / 0.6)])
    logits[:, :2] -= (weight[:2].mean(0) @ points.mT + logits.new_tensor(best.x[-3:-1]).mean())[:, None]
    logits[:, :2] += np.log([0.6, 0.4]).mean()
    np.testing.assert_allclose(found.log_odds(motion), logits, atol=0.03)


def test_of_a_class_that_nobody_has_nothing_is_said() -> None:
    codebook = small_codebook()
    motion = torch.nn.functional.normalize(torch.randn(12, codebook.length))
    truth = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(6, 1)
    found = fit_person_motion(
        codebook, motion, truth, lambda logits: 3 * action_loss(logits, truth, [(0, 1)]), exclusive=[(0, 1)]
    )
    assert not found.weight[2].any() and found.bias[2] == 0
    assert found.weight[0].any()
    odds = found.log_odds(motion)
    np.testing.assert_allclose(odds[:, 0], -odds[:, 1], atol=0.02)
    assert ((odds[:, 0] > 0) == (truth[:, 0] > 0)).all()


def test_it_is_trained_on_key_frames(video) -> None:
    seconds = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    frames = key_frames(two_people("yard", seconds), LABELS, {"yard": video_file(video)})
    told: list[str] = []
    readout = train_person_motion(frames, LABELS, quiet=True, tell=told.append)
    assert readout is not None and "motion" in told[0]
    motion = torch.cat([motion_at(f.file.path, f.seconds, f.boxes, readout.codebook)[0] for f in frames])
    odds = readout.log_odds(motion)
    truth = torch.from_numpy(np.concatenate([frame.targets for frame in frames]))
    known = action_probabilities(torch.zeros_like(odds), LABELS.exclusive)
    better = action_probabilities(odds, LABELS.exclusive)
    varies = (truth.amin(0) < truth.amax(0)).nonzero()[:, 0].tolist()
    for column in varies:
        right = truth[:, column] > 0
        assert (better[right, column] > known[right, column] - 1e-3).all()


def test_where_frames_are_too_few_it_does_without(tmp_path) -> None:
    path = write_frames(tmp_path / "slow.mp4", noise_frames(6, rate=2), rate=2)
    frames = key_frames(two_people("slow", [0.0, 1.0]), LABELS, {"slow": video_file(path)})
    told: list[str] = []
    assert train_person_motion(frames, LABELS, quiet=True, tell=told.append) is None
    assert "without" in told[0]


def test_a_run_without_people_reads_nothing() -> None:
    localizer = small_localizer(motion=readout_of())
    found = list(localizer.stream(noise_frames(16), people=MovingPeople(count=0), every=0.5))
    assert len(found) == 16
    assert all(len(replace(each).people) == 0 for each in found)
