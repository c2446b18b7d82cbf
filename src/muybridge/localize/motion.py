"""A second look at each person: a linear classifier on how they move, whose log-odds are added to the head's.

The trunk's map says what is there and how that changes; the motion vector (`muybridge.data.person_motion`) says where
parts of a person go, whatever they look like. Both are taken as independent witnesses: their probabilities are
multiplied, what both knew beforehand counted once (Kittler et al. 1998, product rule), among classes that exclude
each other, and of each other class against its absence.

One letter an axis: N people, M numbers of a motion vector, K classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from muybridge.data.person_motion import person_motion_hash
from muybridge.models.acar.loss import ExclusiveGroups
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.training.linear import least_penalized

WEIGHT, BIAS = "motion.weight", "motion.bias"
# On vectors of length 1.
PENALTY = 0.003


@dataclass(frozen=True, eq=False)
class PersonMotionReadout:
    """What somebody's motion says of the classes, on the CPU.

    Attributes:
        codebook: makes the vectors.
        weight, bias: (K, M) and (K,) float32: log-odds, what was known beforehand taken out.
    """

    codebook: Codebook
    weight: Tensor
    bias: Tensor

    @property
    def hash(self) -> str:
        """How a model file calls the vectors that it reads."""
        return person_motion_hash(self.codebook)

    def log_odds(self, motion_NM: Tensor) -> Tensor:
        """(N, K), to be added to the head's logits; nothing is said of whose vector is zero."""
        return (motion_NM @ self.weight.mT + self.bias) * motion_NM.any(dim=1, keepdim=True)

    def tensors(self) -> dict[str, Tensor]:
        """For a model file."""
        return {WEIGHT: self.weight.half(), BIAS: self.bias}


def fit_person_motion(
    codebook: Codebook,
    motion_NM: Tensor,
    targets_NK: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    exclusive: ExclusiveGroups = (),
    penalty: float = PENALTY,
) -> PersonMotionReadout:
    """The classifier at the minimum of its penalized loss.

    What the loss knows of the classes beforehand, the best answer to somebody of whom nothing is seen, is taken out.

    Args:
        motion_NM: of people, none of them zeros.
        targets_NK: of 0 and 1.
        loss: of logits (N, K), a mean over people.
        penalty: of squared weights, over all people.
    """
    count = targets_NK.shape[1]
    weight, bias = least_penalized(motion_NM.float(), count, loss, penalty=penalty / len(motion_NM))
    _, prior = least_penalized(torch.zeros(len(motion_NM), 1), count, loss, penalty=1.0)
    bias = bias - prior
    # Of a class that all have, or none of these, motion can tell nothing.
    varies = targets_NK.amin(dim=0) < targets_NK.amax(dim=0)
    for group in exclusive:  # log-odds up to a constant, so that nothing is their mean
        told = [column for column in group if varies[column]]
        weight[told] -= weight[told].mean(dim=0)
        bias[told] -= bias[told].mean()
    weight, bias = weight * varies[:, None], bias * varies
    # As a model file keeps it, so that a file answers as the localizer that was saved.
    return PersonMotionReadout(codebook, weight.half().float(), bias)
