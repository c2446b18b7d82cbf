"""Probabilities and loss of action localization, where some classes exclude each other (arXiv 2006.07976, section 4).

A person has one pose and any number of other actions: within a group of exclusive classes probabilities come from a
softmax, those of all other classes from sigmoids, and binary cross-entropy is taken of the probabilities of both.
All is worked out from log p and log(1 - p), so that neither extreme logits nor half precision lose the loss.

Shapes: V views, N actors, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from muybridge.errors import OptionError

ExclusiveGroups = Sequence[Sequence[int]]

# AVA's first 13 outputs are poses.
AVA_EXCLUSIVE: tuple[tuple[int, ...], ...] = (tuple(range(13)),)


def check_exclusive(groups: ExclusiveGroups, num_classes: int) -> None:
    """Raise OptionError unless every group has at least two classes, all are in range and none is in two groups."""
    for group in groups:
        if len(group) < 2:
            raise OptionError(f"The exclusive group {list(group)} needs at least two classes. Leave it out.")
    members = [index for group in groups for index in group]
    outside = [index for index in members if not 0 <= index < num_classes]
    if outside:
        raise OptionError(f"Exclusive classes {outside} are not among the {num_classes} classes. Number them from 0.")
    if len(set(members)) < len(members):
        raise OptionError("A class stands twice in the exclusive groups. Merge those groups.")


def log_probabilities(logits_NK: Tensor, exclusive: ExclusiveGroups = ()) -> tuple[Tensor, Tensor]:
    """log p and log(1 - p) of every class, (N, K) each, float32 or float64.

    Args:
        logits_NK: any floating type.
        exclusive: groups of class indices of which a person has exactly one.

    Raises:
        OptionError: the groups are not sound.
    """
    check_exclusive(exclusive, logits_NK.shape[1])
    logits = logits_NK if logits_NK.dtype == torch.float64 else logits_NK.float()
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    for group in exclusive:
        columns = torch.tensor(group, device=logits.device)
        chosen = logits[:, columns]
        everyone = chosen.logsumexp(1, keepdim=True)
        # The sum over all others, never the difference 1 - p, which vanishes when p is nearly 1.
        oneself = torch.eye(len(group), dtype=torch.bool, device=logits.device)
        others = chosen[:, None, :].masked_fill(oneself, -torch.inf).logsumexp(2)
        log_p = log_p.index_copy(1, columns, chosen - everyone)
        log_not_p = log_not_p.index_copy(1, columns, others - everyone)
    return log_p, log_not_p


def action_probabilities(logits_NK: Tensor, exclusive: ExclusiveGroups = ()) -> Tensor:
    """Softmax within each exclusive group, sigmoid elsewhere: (N, K), float32 or float64."""
    return log_probabilities(logits_NK, exclusive)[0].exp()


def action_loss(
    logits_NK: Tensor,
    targets_NK: Tensor,
    exclusive: ExclusiveGroups = (),
    *,
    focal_gamma: float = 0.0,
    class_weights: Tensor | None = None,
    count: float | None = None,
) -> Tensor:
    """Binary cross-entropy of the probabilities, averaged over N x K; zero, with zero gradients, without actors.

    Args:
        logits_NK: any floating type; worked on in at least float32.
        targets_NK: in [0, 1].
        exclusive: as for `log_probabilities`.
        focal_gamma: how strongly well-classified cases are played down, as 1 minus the probability given to the
            truth to this power (Lin et al. 2017, arXiv 1708.02002). 0 is the published loss.
        class_weights: (K,) factors for rare classes; not normalised by their sum.
        count: actors to divide by in place of N. Where several processes train together, the number of actors of
            all of them over the number of processes makes the averaged gradient that of the whole batch.

    Raises:
        OptionError: shapes differ, focal_gamma is negative, or the groups are not sound.
    """
    if targets_NK.shape != logits_NK.shape:
        raise OptionError(
            f"targets has the shape {tuple(targets_NK.shape)}, logits {tuple(logits_NK.shape)}. "
            "Give one row an actor and one column a class."
        )
    if focal_gamma < 0:
        raise OptionError(f"focal_gamma={focal_gamma} must not be negative. Choose 0 for none, 2 as published.")
    log_p, log_not_p = log_probabilities(logits_NK, exclusive)
    targets = targets_NK.to(log_p.dtype)
    present, absent = -targets * log_p, (targets - 1) * log_not_p
    if focal_gamma > 0:
        present, absent = present * (focal_gamma * log_not_p).exp(), absent * (focal_gamma * log_p).exp()
    loss = present + absent
    if class_weights is not None:
        loss = loss * class_weights.to(loss)
    return loss.sum() / ((len(loss) if count is None else count) * loss.shape[1] or 1)


def merge_views(logits_VNK: Tensor, exclusive: ExclusiveGroups = (), *, seen: Tensor | None = None) -> Tensor:
    """Probabilities (N, K) from several views of the same actors: logits are averaged, then activated.

    Args:
        logits_VNK: one slice a view (scale, mirror image), actors in the same order.
        seen: (V, N) bool, false where an actor is not in a view; its logits there do not count. An actor seen in no
            view gets NaN.
    """
    logits = logits_VNK if logits_VNK.dtype == torch.float64 else logits_VNK.float()
    if seen is None:
        return action_probabilities(logits.mean(0), exclusive)
    mean = logits.masked_fill(~seen[:, :, None], 0).sum(0) / seen.sum(0)[:, None]
    return action_probabilities(mean, exclusive)
