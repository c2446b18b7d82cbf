"""Linear classifiers of few, very long vectors.

One letter an axis: N vectors, M numbers of one, R directions that they span, K classes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Vectors whose products with each other are worked out.
_MOST_SPANNED = 4_000
_ITERATIONS = 100
# Of the largest product, added to those of vectors with themselves: some may be alike.
_JITTER = 1e-6

# What a model file may hold of a classifier beside a network: weights and biases as large as 16 bits have them, and
# how much the network counts.
LARGEST_ODDS, LARGEST_SHARE = 65504.0, 1000.0


def in_their_span(vectors_NM: Tensor) -> tuple[Tensor, Tensor | None]:
    """Vectors, where they are fewer than their numbers, in coordinates (N, R) of the space that they span, and its
    orthonormal basis (M, R): a penalized linear classifier lies in that space, and is found there sooner."""
    count, length = vectors_NM.shape
    if count >= min(length, _MOST_SPANNED):
        return vectors_NM, None
    values, directions = torch.linalg.eigh((vectors_NM @ vectors_NM.mT).double())
    kept = values > max(float(values.max()) * 1e-7, 1e-12)
    if not kept.any():  # nothing moves in any of them
        return vectors_NM, None
    scales = values[kept].sqrt()
    coordinates = directions[:, kept] * scales
    basis = vectors_NM.mT @ (directions[:, kept] / scales).float()
    return coordinates.float(), basis


def least_penalized(
    vectors_NM: Tensor,
    count: int,
    loss: Callable[[Tensor], Tensor],
    *,
    penalty: float,
    alike: Sequence[Sequence[int]] = (),
) -> tuple[Tensor, Tensor]:
    """Weights (K, M) and bias (K,) at the least loss plus half the squared weights times `penalty`, by L-BFGS.

    Where vectors are few, the weights are a combination of them, which is looked for in place of the weights.

    Args:
        count: K.
        loss: of logits (N, K), a mean over N.
        alike: groups of classes with the same weights, which count once, and biases of their own.
    """
    row = torch.arange(count)
    for group in alike:
        row[list(group)] = min(group)
    rows, row = row.unique(return_inverse=True)
    factor = _factor_of_products(vectors_NM)
    points = vectors_NM if factor is None else factor.float()
    weight = torch.zeros(len(rows), points.shape[1], requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-9
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss((points @ weight.mT)[:, row] + bias) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    found = weight.detach()[row]
    if factor is None:
        return found, bias.detach()
    shares = torch.linalg.solve_triangular(factor.mT, found.mT.double(), upper=True)
    return shares.mT.float() @ vectors_NM, bias.detach()


def _factor_of_products(vectors_NM: Tensor) -> Tensor | None:
    """Of vectors that are fewer than their numbers, the Cholesky factor (N, N) float64 of their products with each
    other: they themselves in coordinates of the space that they span."""
    count, length = vectors_NM.shape
    if count >= min(length, _MOST_SPANNED):
        return None
    products = (vectors_NM @ vectors_NM.mT).double()
    largest = float(products.diagonal().max())
    if not largest:
        return None
    products.diagonal().add_(_JITTER * largest)
    return torch.linalg.cholesky(products)
