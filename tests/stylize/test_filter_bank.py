"""The filter bank against waves whose answers are known."""

import math

import pytest
import torch

from muybridge.stylize.filter_bank import FilterBank, energy_distance, gabor_kernels, response_distance


def waves(angle: float, length: float, amplitude: float = 40.0, side: int = 96) -> torch.Tensor:
    """(1, 3, side, side) grey waves around 128."""
    y, x = torch.meshgrid(torch.arange(side).float(), torch.arange(side).float(), indexing="ij")
    grey = 128 + amplitude * torch.sin(2 * math.pi / length * (x * math.cos(angle) + y * math.sin(angle)))
    return grey.expand(1, 3, side, side).clone()


def test_kernels_know_no_brightness_and_have_one_size():
    kernels = gabor_kernels()
    assert kernels.sum((1, 2, 3)).abs().max() < 1e-6
    torch.testing.assert_close(kernels.square().sum((1, 2, 3)), torch.ones(8))


@pytest.mark.parametrize("direction", range(4))
def test_waves_are_answered_in_their_direction_and_at_their_octave(direction):
    for octave in (0, 1, 2):
        octaves = FilterBank()(waves(math.pi * direction / 4, 4.5 * 2**octave, side=192))
        energy = torch.stack([o.square().mean((3, 4))[0, 0].view(4, 2).sum(1) for o in octaves])
        assert energy.argmax().item() == octave * 4 + direction


def test_grey_is_no_colour_and_each_opponent_pair_is_seen_alone():
    bank = FilterBank()
    grey = bank(waves(0.3, 5))[0]
    assert grey[:, 0].abs().max() > 0.1
    assert grey[:, 1:].abs().max() < 1e-3
    red_green = torch.full((1, 3, 96, 96), 128.0)
    wave = waves(0.3, 5)[:, 0] - 128
    red_green[:, 0] += wave
    red_green[:, 1] -= wave
    seen = bank(red_green)[0]
    assert seen[:, 1].abs().max() > 0.1
    assert seen[:, [0, 2]].abs().max() < 1e-3


def test_distances_are_nothing_for_the_same_and_one_for_a_blank():
    bank = FilterBank()
    torch.manual_seed(0)
    noise = bank(torch.rand(2, 3, 96, 96) * 255)
    blank = bank(torch.full((2, 3, 96, 96), 90.0))
    for distance in (response_distance, energy_distance):
        assert distance(noise, noise).abs().max() < 1e-6
        assert distance(blank, noise).tolist() == pytest.approx([1, 1], abs=0.15)


def test_weak_lines_everywhere_are_not_a_few_strong_ones():
    """Of equal mean and deviation of the responses, as near as halves of a picture allow, only the spread differs."""
    bank = FilterBank()
    few = waves(0, 4.5, amplitude=60)
    few[..., 48:, :] = 128
    all_over = waves(0, 4.5, amplitude=60 / math.sqrt(2))
    drawn, weak = bank(few), bank(all_over)
    assert energy_distance(weak[:1], drawn[:1]) > 0.2
    moved = bank(few.flip(2))
    assert energy_distance(moved[:1], drawn[:1]) < 0.02
