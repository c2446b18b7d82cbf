"""A second look at each person: a linear classifier on how they move, whose log-odds are added to the head's.

The trunk's map says what is there and how that changes; the motion vector (`muybridge.data.person_motion`) says where
parts of a person go, whatever they look like. Both are taken as independent witnesses: their probabilities are
multiplied, what both knew beforehand counted once (Kittler et al. 1998, product rule), among classes that exclude
each other, and of each other class against its absence.

One letter an axis: N people, M numbers of a motion vector, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import KeyFrame
from muybridge.data.person_motion import motion_at, person_motion_hash
from muybridge.models.acar.loss import ExclusiveGroups, action_loss
from muybridge.models.dense_motion.codebook import Codebook
from muybridge.pretrained import built_in_codebook
from muybridge.progress import progress_line
from muybridge.training.linear import least_penalized

WEIGHT, BIAS, SHARE = "motion.weight", "motion.bias", "motion.share"
# On vectors of length 1.
PENALTY = 0.003
# To whose motion a classifier is fitted, two gigabytes with their mirror images.
_MOST_PEOPLE = 10_000


@dataclass(frozen=True, eq=False)
class PersonMotionReadout:
    """What somebody's motion says of the classes, on the CPU.

    Attributes:
        codebook: makes the vectors.
        weight, bias: (K, M) and (K,) float32: log-odds, what was known beforehand taken out.
        share: (K,) float32 how much the head's logits count where motion has its say.
    """

    codebook: Codebook
    weight: Tensor
    bias: Tensor
    share: Tensor

    @property
    def hash(self) -> str:
        """How a model file calls the vectors that it reads."""
        return person_motion_hash(self.codebook)

    def log_odds(self, motion_NM: Tensor) -> Tensor:
        """(N, K); nothing is said of whose vector is zero."""
        return (motion_NM @ self.weight.mT + self.bias) * motion_NM.any(dim=1, keepdim=True)

    def joined(self, logits_NK: Tensor, motion_NM: Tensor) -> Tensor:
        """Logits (N, K) of both, from those of the head; of whose vector is zero, the head's."""
        motion = motion_NM.to(self.weight)
        known = motion.any(dim=1, keepdim=True).to(logits_NK.device)
        share, odds = self.share.to(logits_NK.device), self.log_odds(motion).to(logits_NK.device)
        return torch.where(known, logits_NK * share + odds, logits_NK)

    def tensors(self) -> dict[str, Tensor]:
        """For a model file."""
        return {WEIGHT: self.weight.half(), BIAS: self.bias, SHARE: self.share}


def train_person_motion(
    frames: Sequence[KeyFrame],
    labels: LabelMap,
    *,
    class_weights: Tensor | None = None,
    in_mirror: bool = False,
    quiet: bool = False,
    tell: Callable[[str], None] = print,
) -> PersonMotionReadout | None:
    """Read how the people of key frames move, or of very many some, and fit a classifier to it; None where nobody's
    motion can be read.

    Args:
        class_weights: (K,) as `action_loss` takes them.
        in_mirror: learn from the films in a mirror too; not where classes tell left from right.
        tell: takes a line for the user.

    Raises:
        InputError: a film cannot be read.
    """
    codebook = built_in_codebook()
    people = np.cumsum([len(frame.boxes) for frame in frames])
    if people[-1] > _MOST_PEOPLE:  # evenly over all
        wanted = np.linspace(0, len(frames) - 1, max(1, int(len(frames) * _MOST_PEOPLE / people[-1])))
        frames = [frames[place] for place in np.unique(wanted.round().astype(int)).tolist()]
    vectors: list[Tensor] = []
    targets: list[Tensor] = []
    with progress_line("reading motion", total=len(frames), unit="key frames", quiet=quiet) as line:
        for frame in frames:
            views = motion_at(frame.file.path, frame.seconds, frame.boxes, codebook, in_mirror=in_mirror)
            moving = views[0].any(dim=1)
            for found in views:
                vectors.append(found[moving].half())
                targets.append(torch.from_numpy(frame.targets)[moving])
            line.advance()
    motion, truth = torch.cat(vectors), torch.cat(targets)
    if not len(motion):
        tell("motion: nobody's can be read, as where frames are few or far apart; the localizer does without")
        return None
    tell(f"motion: a classifier of {truth.shape[1]} classes on {codebook.length:,} numbers of how they move")

    def loss(logits: Tensor) -> Tensor:
        # A sum over classes, as penalties are meant, in place of their mean.
        return logits.shape[1] * action_loss(logits, truth, labels.exclusive, class_weights=class_weights)

    return fit_person_motion(codebook, motion, truth, loss, exclusive=labels.exclusive)


def fit_person_motion(
    codebook: Codebook,
    motion_NM: Tensor,
    targets_NK: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    exclusive: ExclusiveGroups = (),
    alike: Sequence[Sequence[int]] = (),
    penalty: float = PENALTY,
) -> PersonMotionReadout:
    """The classifier at the minimum of its penalized loss.

    What the loss knows of the classes beforehand, the best answer to somebody of whom nothing is seen, is taken out.

    Args:
        motion_NM: of people, none of them zeros.
        targets_NK: of 0 and 1.
        loss: of logits (N, K), a mean over people.
        alike: groups of classes that motion does not tell apart.
        penalty: of squared weights, over all people.
    """
    count = targets_NK.shape[1]
    share = penalty / len(motion_NM)
    weight, bias = least_penalized(motion_NM.float(), count, loss, penalty=share, alike=alike)
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
    return PersonMotionReadout(codebook, weight.half().float(), bias, torch.ones(count))
