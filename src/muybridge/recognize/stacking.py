"""How much the network and motion each count, told by clips that neither was fitted to: stacking (Wolpert 1992).

    training clips ── folds by group ── of each a head and a classifier on motion ── what they say of the others
                                                        two numbers, at the least loss of both together ──┘

The product rule takes each witness to be as sure as it should be. A network that knows the places of its training
films is sure elsewhere too, and wrong; a fold in which other places are left out shows it.

One letter an axis: S clips left out of a fold's training, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from muybridge.recognize.motion import LEAST, LeftOut, MotionReadout
from muybridge.recognize.objective import classification_loss, prior_log_odds, to_probabilities
from muybridge.recognize.prefixes import SeenFeatures
from muybridge.training.linear import LARGEST_SHARE

# How many clips' worth of loss it takes to move a weight by one: few clips do not tell much. Chosen by
# cross-validation over six data sets (docs/recognize.md).
_PULL = 10.0


@dataclass(frozen=True)
class Weights:
    """How much the logarithms of probability of each count, 0 or more."""

    network: float = 1.0
    motion: float = 1.0


def network_left_out(
    seen: SeenFeatures,
    left_out: LeftOut,
    loss: Callable[..., Tensor],
    *,
    classes: int,
    looks: int,
    multi_label: bool,
    draws: Tensor | None = None,
) -> Tensor:
    """Probabilities (S, K), on the CPU, of the clips that motion was asked of, by heads fitted to the other folds.

    Args:
        loss, draws: as `fit_head` takes them.
        looks: views of a test, whose answers are averaged; as many of them as were seen.
    """
    found = torch.zeros(len(left_out.clips), classes)
    for fold in left_out.folds.unique():
        unseen = left_out.folds == fold
        head = nn.Linear(seen.features.shape[-1], classes, device=seen.features.device)
        seen.fit(head, loss, draws=draws, clips=left_out.clips[~unseen])
        with torch.no_grad():
            logits = head(seen.features[left_out.clips[unseen], :looks])
            found[unseen] = to_probabilities(logits, multi_label=multi_label).mean(dim=1).cpu()
    return found


def fit_weights(
    network_SK: Tensor,
    odds_SK: Tensor,
    labels_SK: Tensor,
    *,
    multi_label: bool,
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
    pull: float = _PULL,
) -> Weights:
    """The weights of the least loss of both together, which is convex, drawn a little towards 1.

    Args:
        network_SK: probabilities of the network.
        odds_SK: log-odds of motion.
        labels_SK: 0 and 1.
        class_weights, weights: as `classification_loss` takes them.
        pull: times half the squared way from 1 is added to the loss of all clips.
    """
    prior = prior_log_odds(labels_SK, multi_label=multi_label, class_weights=class_weights, weights=weights)
    known = network_SK.clamp(LEAST, 1 - LEAST)
    own = (known.logit() if multi_label else known.log()) - prior
    truth = labels_SK if multi_label else labels_SK.argmax(dim=1)
    loss = partial(classification_loss, multi_label=multi_label, class_weights=class_weights, weights=weights)

    def lost(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = torch.from_numpy(at).float().requires_grad_()
        # Of several labels each is a question of its own, and the mean is of these.
        value = loss(prior + both[0] * own + both[1] * odds_SK, truth) * truth.numel()
        value = value + 0.5 * pull * (both - 1).square().sum()
        value.backward()
        assert both.grad is not None
        return float(value.detach()), both.grad.double().numpy()

    with torch.enable_grad():
        found = minimize(lost, np.ones(2), jac=True, method="L-BFGS-B", bounds=[(0, LARGEST_SHARE)] * 2)
    return Weights(*map(float, found.x))


def weighed(
    readout: MotionReadout,
    left_out: LeftOut,
    network_SK: Tensor,
    labels_NK: Tensor,
    *,
    multi_label: bool,
    class_weights: Tensor | None = None,
    draws: Tensor | None = None,
) -> tuple[MotionReadout, Weights]:
    """What motion says, so much of it and of the network as clips left out say.

    Args:
        network_SK: see `network_left_out`.
        labels_NK: of all training clips.
        class_weights, draws: of the training, see `balance_classes` and `balance_draws`.
    """
    labels = labels_NK[left_out.clips]
    of_clips = None if draws is None else draws[left_out.clips] / draws[left_out.clips].mean()
    found = fit_weights(
        network_SK, left_out.odds, labels, multi_label=multi_label, class_weights=class_weights, weights=of_clips
    )
    prior = prior_log_odds(
        labels_NK,
        multi_label=multi_label,
        class_weights=class_weights,
        weights=None if draws is None else draws / draws.mean(),
    )
    return readout.weighed(network=found.network, motion=found.motion, prior_K=prior), found
