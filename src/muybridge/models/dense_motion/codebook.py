"""One vector for any number of descriptors: how they differ from what descriptors are in general.

What they are in general is a mixture of Gaussians over their principal components, one for each histogram: the
codebook. A clip's Fisher vector is the mean, over its descriptors, of the gradient of their likelihood by the
mixture's means and variances (Perronnin et al. 2010), on signed roots and of length 1.

One letter an axis: N descriptors, D numbers of one, E of them after projection, G Gaussians.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from muybridge.models.dense_motion.descriptors import HISTOGRAMS, SIZES, VERSION, MotionConfig


@dataclass(frozen=True, eq=False)
class Mixture:
    """What descriptors of one histogram are in general, float32.

    Attributes:
        center: (D,) their mean.
        components: (D, E) whitening projection.
        weights: (G,) of the Gaussians; they sum to 1.
        means, variances: (G, E).
    """

    center: Tensor
    components: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    @property
    def length(self) -> int:
        """Numbers of a Fisher vector."""
        return 2 * self.means.numel()

    def fisher_vector(self, descriptors_ND: Tensor) -> Tensor:
        """(2 G E,) of length 1, or 0 where nothing differs."""
        points = (descriptors_ND - self.center) @ self.components
        shares = self._shares(points)
        of_each, deviations = shares.sum(dim=0), self.variances.sqrt()
        first, second = shares.mT @ points, shares.mT @ points.square()
        by_means = (first - of_each[:, None] * self.means) / deviations
        squares = second - 2 * first * self.means + of_each[:, None] * (self.means.square() - self.variances)
        by_variances = squares / (self.variances * math.sqrt(2))
        gradient = torch.cat([(by / self.weights.sqrt()[:, None]).flatten() for by in (by_means, by_variances)])
        roots = gradient.sign() * (gradient.abs() / len(points)).sqrt()
        return roots / roots.norm().clamp_min(1e-9)

    def _shares(self, points_NE: Tensor) -> Tensor:
        """(N, G): how likely each point is to come from each Gaussian."""
        precisions = self.variances.reciprocal()
        squared = points_NE.square() @ precisions.mT - 2 * points_NE @ (self.means * precisions).mT
        squared = squared + (self.means.square() * precisions).sum(dim=1)
        return (self.weights.log() - 0.5 * (squared + self.variances.log().sum(dim=1))).softmax(dim=1)


@dataclass(frozen=True, eq=False)
class Codebook:
    """A mixture for each of `HISTOGRAMS`, and how closely was looked when they were learned.

    Attributes:
        mixtures: by the name of their histogram.
        config: of the descriptors.
        hash: SHA-256 of all its numbers, and of which descriptors it was learned.
    """

    mixtures: Mapping[str, Mixture]
    config: MotionConfig
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(f"{VERSION} {self.config!r}".encode())
        for name, tensor in sorted(self.tensors().items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        object.__setattr__(self, "hash", digest.hexdigest())

    @property
    def length(self) -> int:
        """Numbers of a clip's vector."""
        return sum(mixture.length for mixture in self.mixtures.values())

    def vector(self, descriptors_ND: Tensor) -> Tensor:
        """(length,) float32 of length 1: the Fisher vectors of all histograms in a row, each counting the same; zeros
        where there is no descriptor.

        Args:
            descriptors_ND: as `blocks_that_move` gives them.
        """
        if not len(descriptors_ND):
            return torch.zeros(self.length)
        parts = zip(self.mixtures.values(), descriptors_ND.split(list(SIZES.values()), dim=1), strict=True)
        vectors = [mixture.fisher_vector(part) for mixture, part in parts]
        return torch.cat(vectors) / math.sqrt(len(vectors))

    def tensors(self) -> dict[str, Tensor]:
        """By name, as they are kept in a file."""
        return {
            f"{name}.{part.name}": getattr(mixture, part.name)
            for name, mixture in self.mixtures.items()
            for part in fields(mixture)
        }

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], config: MotionConfig) -> "Codebook":
        """From what `tensors` gave."""
        parts = [part.name for part in fields(Mixture)]
        mixtures = {name: Mixture(*(tensors[f"{name}.{part}"].float() for part in parts)) for name in HISTOGRAMS}
        return cls(mixtures, config)
