"""The loss against the published formula, probability by probability, in float64."""

import math

import pytest
import torch

from muybridge.errors import OptionError
from muybridge.models.acar.loss import (
    AVA_EXCLUSIVE,
    action_loss,
    action_probabilities,
    log_probabilities,
    merge_views,
)

GROUPS = [(), [(0, 1, 2)], [(4, 1), (2, 5, 0)], [tuple(range(6))]]


def naive_probabilities(row, exclusive):
    grouped = {index: group for group in exclusive for index in group}
    values = []
    for index, logit in enumerate(row):
        if index in grouped:
            values.append(math.exp(logit) / sum(math.exp(row[j]) for j in grouped[index]))
        else:
            values.append(1 / (1 + math.exp(-logit)))
    return values


def naive_loss(logits, targets, exclusive, gamma=0.0, weights=None):
    total, classes = 0.0, logits.shape[1]
    for row, truth in zip(logits.tolist(), targets.tolist(), strict=True):
        for k, (p, t) in enumerate(zip(naive_probabilities(row, exclusive), truth, strict=True)):
            each = -t * (1 - p) ** gamma * math.log(p) - (1 - t) * p**gamma * math.log(1 - p)
            total += each * (1 if weights is None else float(weights[k]))
    return total / (len(logits) * classes)


def material(rows=4, classes=6, scale=2.0):
    torch.manual_seed(rows)
    logits = torch.randn(rows, classes, dtype=torch.float64) * scale
    return logits, (torch.rand(rows, classes) < 0.4).double()


@pytest.mark.parametrize("exclusive", GROUPS, ids=str)
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_equals_the_formula(exclusive, gamma, weighted):
    logits, targets = material()
    weights = torch.rand(6, dtype=torch.float64) + 0.5 if weighted else None
    ours = action_loss(logits, targets, exclusive, focal_gamma=gamma, class_weights=weights)
    assert math.isclose(ours.item(), naive_loss(logits, targets, exclusive, gamma, weights), rel_tol=1e-12)


def test_sigmoids_alone_are_torch_s_loss():
    logits, targets = material(5, 7)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)
    assert torch.allclose(action_loss(logits, targets), expected, rtol=1e-12)


def test_ava_groups_are_the_published_thirteen_poses():
    logits, _ = material(2, 60)
    ours = action_probabilities(logits, AVA_EXCLUSIVE)
    assert torch.allclose(ours[:, :13], logits[:, :13].softmax(1))
    assert torch.allclose(ours[:, 13:], logits[:, 13:].sigmoid())


@pytest.mark.parametrize("exclusive", GROUPS, ids=str)
def test_gradients(exclusive):
    logits, targets = material(3)
    logits.requires_grad_()
    for gamma in (0.0, 1.5):
        assert torch.autograd.gradcheck(
            lambda x, gamma=gamma: action_loss(x, targets, exclusive, focal_gamma=gamma), logits
        )


@pytest.mark.parametrize("scale", [30.0, 300.0, 1e4])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_extreme_logits_keep_loss_and_gradient_finite(scale, gamma):
    logits, targets = material(8, 6, scale)
    logits = logits.float().requires_grad_()
    loss = action_loss(logits, targets, [(0, 1, 2)], focal_gamma=gamma)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    if gamma == 0:
        # Confidently wrong costs about the logit's distance: a clamped logarithm would have lost that.
        assert loss > scale / 20


def test_near_certain_softmax_keeps_the_log_of_the_rest():
    """In float32, 1 - p is exactly zero here; its logarithm is about -50."""
    logits = torch.tensor([[50.0, 0.0, -1.0]])
    _, log_not_p = log_probabilities(logits, [(0, 1, 2)])
    assert math.isclose(log_not_p[0, 0].item(), math.log(1 + math.exp(-1)) - 50, rel_tol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_lose_nothing_further(dtype):
    logits, targets = material(6, 6, 5.0)
    half = logits.to(dtype)
    ours = action_loss(half, targets, [(0, 1, 2)])
    assert ours.dtype == torch.float32
    assert math.isclose(ours.item(), naive_loss(half.double(), targets, [(0, 1, 2)]), rel_tol=1e-5)


def test_no_actors():
    logits = torch.zeros(0, 6, requires_grad=True)
    loss = action_loss(logits, torch.zeros(0, 6), [(0, 1)])
    loss.backward()
    assert loss == 0
    assert action_probabilities(torch.zeros(0, 6), [(0, 1)]).shape == (0, 6)


def test_two_processes_average_to_the_whole_batch():
    logits, targets = material(5)
    whole = action_loss(logits, targets)
    parts = [action_loss(logits[part], targets[part], count=5 / 2) for part in (slice(0, 4), slice(4, 5))]
    assert torch.allclose(sum(parts) / 2, whole)


def test_views_average_logits_before_activation():
    torch.manual_seed(0)
    views = torch.randn(3, 2, 6, dtype=torch.float64)
    ours = merge_views(views, [(0, 1, 2)])
    for n in range(2):
        mean = [sum(views[v, n, k].item() for v in range(3)) / 3 for k in range(6)]
        assert torch.allclose(ours[n], torch.tensor(naive_probabilities(mean, [(0, 1, 2)]), dtype=torch.float64))


def test_views_that_miss_an_actor_do_not_count():
    torch.manual_seed(0)
    views = torch.randn(3, 2, 6)
    views[1, 0] = torch.nan
    seen = torch.tensor([[True, True], [False, True], [True, True]])
    ours = merge_views(views, [(0, 1)], seen=seen)
    assert torch.allclose(ours[0], merge_views(views[[0, 2], :1], [(0, 1)])[0])
    assert torch.allclose(ours[1], merge_views(views[:, 1:], [(0, 1)])[0])


@pytest.mark.parametrize(
    ("exclusive", "says"),
    [([(3,)], "two classes"), ([(0, 6)], "among"), ([(0, 1), (1, 2)], "twice"), ([(-1, 2)], "among")],
)
def test_unsound_groups_are_refused(exclusive, says):
    with pytest.raises(OptionError, match=says):
        action_probabilities(torch.zeros(1, 6), exclusive)


def test_wrong_options_are_refused():
    with pytest.raises(OptionError, match="one row an actor"):
        action_loss(torch.zeros(2, 6), torch.zeros(2, 5))
    with pytest.raises(OptionError, match="focal_gamma"):
        action_loss(torch.zeros(2, 6), torch.zeros(2, 6), focal_gamma=-1)
