"""Weights between the start of a training and its end."""

import pytest
import torch
from torch import nn

from muybridge.recognize.interpolation import halfway, move_towards, trained_weights


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    return network


def test_halfway_is_the_mean_of_both_ends_and_leaves_what_is_frozen(network):
    start = trained_weights(network)
    assert sorted(start) == ["1.bias", "1.weight"]
    frozen = {name: p.clone() for name, p in network[0].named_parameters()}
    with torch.no_grad():
        network[1].weight.add_(2.0)
        network[1].bias.sub_(1.0)
    with halfway(network, start):
        torch.testing.assert_close(network[1].weight.detach(), start["1.weight"] + 1.0)
        torch.testing.assert_close(network[1].bias.detach(), start["1.bias"] - 0.5)
        assert all(torch.equal(p, frozen[name]) for name, p in network[0].named_parameters())
    torch.testing.assert_close(network[1].weight.detach(), start["1.weight"] + 2.0)


def test_the_weights_come_back_after_an_error(network):
    start = trained_weights(network)
    with torch.no_grad():
        network[1].weight.add_(2.0)
    reached = trained_weights(network)
    with pytest.raises(KeyError), halfway(network, start):
        raise KeyError
    assert all(torch.equal(p, reached[name]) for name, p in trained_weights(network).items())


def test_the_way_back_has_a_share(network):
    start = trained_weights(network)
    with torch.no_grad():
        network[1].bias.add_(4.0)
    move_towards(network, start, 0.25)
    torch.testing.assert_close(network[1].bias.detach(), start["1.bias"] + 3.0)
