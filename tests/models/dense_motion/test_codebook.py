"""Fisher vectors against the gradient that autograd finds in float64, and the codebook that is built in."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from muybridge.models.dense_motion.codebook import Codebook, Mixture
from muybridge.models.dense_motion.descriptors import HISTOGRAMS, LENGTH, SIZES, MotionConfig
from muybridge.pretrained import built_in_codebook

COMPONENTS, GAUSSIANS = 4, 5


def mixture_of(seed: int, length: int) -> Mixture:
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw)

    return Mixture(
        normal(length) * 0.1,
        normal(length, COMPONENTS) / math.sqrt(length),
        normal(GAUSSIANS).softmax(dim=0),
        normal(GAUSSIANS, COMPONENTS),
        normal(GAUSSIANS, COMPONENTS).exp(),
    )


@pytest.fixture
def codebook() -> Codebook:
    return Codebook({name: mixture_of(seed, SIZES[name]) for seed, name in enumerate(HISTOGRAMS)}, MotionConfig())


def fisher_by_autograd(mixture: Mixture, descriptors: Tensor) -> Tensor:
    """Mean gradient of the log-likelihood by means and deviations, over the root of their Fisher information."""
    points = (descriptors.double() - mixture.center.double()) @ mixture.components.double()
    weights = mixture.weights.double()
    means = mixture.means.double().requires_grad_()
    deviations = mixture.variances.double().sqrt().requires_grad_()
    model = MixtureSameFamily(Categorical(weights), Independent(Normal(means, deviations), 1))
    by_means, by_deviations = torch.autograd.grad(model.log_prob(points).mean(), (means, deviations))
    with torch.no_grad():
        # Of a mean w / s^2, of a deviation 2 w / s^2 (Perronnin et al. 2010, section 2.1).
        by_means = by_means * deviations / weights.sqrt()[:, None]
        by_deviations = by_deviations * deviations / (2 * weights).sqrt()[:, None]
        gradient = torch.cat([by_means.flatten(), by_deviations.flatten()])
        roots = gradient.sign() * gradient.abs().sqrt()
        return roots / roots.norm()


@pytest.mark.parametrize("count", [1, 2, 70])
def test_a_fisher_vector_is_the_gradient_that_autograd_finds(count: int) -> None:
    mixture = mixture_of(1, 20)
    descriptors = torch.randn(count, 20, generator=torch.Generator().manual_seed(2))
    found, wanted = mixture.fisher_vector(descriptors), fisher_by_autograd(mixture, descriptors)
    assert len(found) == mixture.length == 2 * GAUSSIANS * COMPONENTS
    assert wanted.abs().max() > 0.1
    # Roots have no slope at zero, so what is all but zero is less exact.
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(found.double().square(), wanted.square(), rtol=1e-3, atol=1e-5)


def test_the_built_in_mixtures_gradient_too() -> None:
    """Descriptors as there are: shares of histograms under the root."""
    draw = torch.Generator().manual_seed(3)
    for name, mixture in built_in_codebook().mixtures.items():
        counts = torch.rand(200, SIZES[name], generator=draw).pow(4)
        descriptors = (counts / counts.sum(dim=1, keepdim=True)).sqrt()
        found, wanted = mixture.fisher_vector(descriptors), fisher_by_autograd(mixture, descriptors)
        torch.testing.assert_close(found.double(), wanted, rtol=1e-2, atol=5e-3)


def test_a_clips_vector_is_that_of_each_histogram_in_a_row(codebook: Codebook) -> None:
    descriptors = torch.rand(30, LENGTH, generator=torch.Generator().manual_seed(4))
    vector = codebook.vector(descriptors)
    assert vector.shape == (codebook.length,) == (4 * 2 * GAUSSIANS * COMPONENTS,)
    assert vector.dtype == torch.float32
    assert float(vector.norm()) == pytest.approx(1.0, abs=1e-5)
    start, parts = 0, []
    for name, size in SIZES.items():
        parts.append(fisher_by_autograd(codebook.mixtures[name], descriptors[:, start : start + size]) / 2)
        start += size
    torch.testing.assert_close(vector.double(), torch.cat(parts), rtol=1e-3, atol=2e-3)


def test_the_order_and_number_of_the_same_descriptors_do_not_matter(codebook: Codebook) -> None:
    descriptors = torch.rand(30, LENGTH, generator=torch.Generator().manual_seed(5))
    vector = codebook.vector(descriptors)
    for other in (descriptors.flip(0), descriptors.repeat(3, 1)):
        torch.testing.assert_close(codebook.vector(other), vector, rtol=1e-3, atol=1e-3)


def test_without_descriptors_it_is_nothing(codebook: Codebook) -> None:
    vector = codebook.vector(torch.zeros(0, LENGTH))
    assert vector.shape == (codebook.length,)
    assert not vector.any()


def test_its_hash_knows_every_number(codebook: Codebook) -> None:
    tensors, hashes = codebook.tensors(), {codebook.hash}
    assert Codebook.of(tensors, codebook.config).hash == codebook.hash
    for name, tensor in tensors.items():
        other = tensor.clone()
        other.view(-1)[-1] += 1e-3
        hashes.add(Codebook.of(tensors | {name: other}, codebook.config).hash)
    for changed in ({"cell": 12}, {"rate": 24.0}, {"still": 0.5}, {"most_pairs": 10}):
        hashes.add(Codebook.of(tensors, replace(codebook.config, **changed)).hash)
    assert len(hashes) == 1 + len(tensors) + 4


def test_in_a_file_and_back_it_is_the_same(codebook: Codebook) -> None:
    tensors = codebook.tensors()
    assert set(tensors) == {
        f"{name}.{part}" for name in HISTOGRAMS for part in ("center", "components", "weights", "means", "variances")
    }
    again = Codebook.of(dict(reversed(tensors.items())), codebook.config)
    assert again.hash == codebook.hash
    descriptors = torch.rand(9, LENGTH, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(again.vector(descriptors), codebook.vector(descriptors), rtol=0, atol=0)


def test_what_is_built_in_is_sound() -> None:
    codebook = built_in_codebook()
    assert codebook is built_in_codebook()
    for name, mixture in codebook.mixtures.items():
        assert mixture.center.shape == (SIZES[name],)
        assert float(mixture.weights.sum()) == pytest.approx(1, abs=1e-4)
        assert (mixture.weights > 0).all() and (mixture.variances > 0).all()
        assert all(tensor.isfinite().all() for tensor in codebook.tensors().values())
    assert codebook.length == sum(2 * m.means.numel() for m in codebook.mixtures.values())
