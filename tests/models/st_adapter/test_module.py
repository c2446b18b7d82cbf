"""The adapter by itself: its convolution, its frequency branch, its numbers."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from muybridge.errors import OptionError
from muybridge.models.st_adapter.frequency import FrequencyBranch, fourier_matrices
from muybridge.models.st_adapter.module import AdapterConfig, SpatioTemporalAdapter
from muybridge.models.st_adapter.temporal_conv import (
    DepthwiseConv,
    conv2d_over_time,
    depthwise_conv,
    shifted_multiply_adds,
)


def naive_depthwise(x: Tensor, weight: Tensor, bias: Tensor, before: int, after: int) -> Tensor:
    """Correlation with zero padding, one number at a time, float64."""
    weight, bias = weight.detach(), bias.detach()
    B, T, H, W, A = x.shape
    kt, kh, kw = weight.shape[2:]
    frames = T + before + after - kt + 1
    out = torch.zeros(B, frames, H, W, A, dtype=torch.float64)
    for b, t, y, x_, a in itertools.product(range(B), range(frames), range(H), range(W), range(A)):
        total = float(bias[a])
        for i, j, k in itertools.product(range(kt), range(kh), range(kw)):
            source = (t + i - before, y + j - kh // 2, x_ + k - kw // 2)
            if all(0 <= s < size for s, size in zip(source, (T, H, W), strict=True)):
                total += float(x[b, source[0], source[1], source[2], a]) * float(weight[a, 0, i, j, k])
        out[b, t, y, x_, a] = total
    return out


@pytest.mark.parametrize(
    ("kernel", "padding"),
    [
        ((3, 1, 1), (1, 1)),
        ((3, 1, 1), (2, 0)),
        ((3, 1, 1), (0, 0)),
        ((2, 1, 1), (1, 0)),
        ((5, 1, 1), (2, 2)),
        ((1, 1, 1), (0, 0)),
        ((3, 3, 3), (1, 1)),
        ((3, 3, 3), (2, 0)),
        ((3, 3, 1), (0, 0)),
        ((5, 1, 3), (2, 2)),
    ],
)
def test_depthwise_convolution_equals_naive_loop(kernel: tuple[int, int, int], padding: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 2, 3, dtype=torch.float64)
    weight, bias = torch.randn(3, 1, *kernel, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    expected = naive_depthwise(x, weight, bias, *padding)
    torch.testing.assert_close(depthwise_conv(x, weight, bias, time_padding=padding), expected)
    if kernel[1:] == (1, 1):
        for implementation in (conv2d_over_time, shifted_multiply_adds):
            out = implementation(x.flatten(2, 3), weight[:, :, :, 0, 0], bias, padding)
            torch.testing.assert_close(out, expected.flatten(2, 3))


@pytest.mark.parametrize("kernel", [(3, 1, 1), (3, 3, 3)])
def test_depthwise_convolution_differentiates(kernel: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    shapes = ((1, 2, 1, 2, 1), (1, 1, *kernel), (1,))
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(lambda x, w, b: depthwise_conv(x, w, b, time_padding=(1, 1)), inputs)


def test_history_stands_in_for_the_zeros_before_a_clip() -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv(4, (3, 1, 1), causal=True)
    torch.nn.init.normal_(conv.weight)
    x = torch.randn(2, 6, 2, 3, 4)
    whole = conv(x)
    torch.testing.assert_close(conv(x[:, 4:], history=x[:, 2:4]), whole[:, 4:])


@pytest.mark.parametrize("frames", [1, 2, 3, 8, 13])
def test_fourier_matrices_are_the_real_fft(frames: int) -> None:
    signal = torch.randn(frames, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    forward, inverse = fourier_matrices(frames, signal)
    spectrum = np.fft.rfft(signal.numpy(), axis=0)
    expected = torch.from_numpy(np.concatenate([spectrum.real, spectrum.imag]))
    torch.testing.assert_close(forward @ signal, expected)
    torch.testing.assert_close(inverse @ expected, signal)


@pytest.mark.parametrize("frames", [1, 5, 8])
def test_frequency_branch_equals_numpy_fft_and_naive_filter(frames: int) -> None:
    torch.manual_seed(0)
    branch = FrequencyBranch(2, (3, 1, 3), scales=(1, 2, 4)).double()
    for parameter in branch.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, frames, 2, 3, 2, dtype=torch.float64)
    windows = {1: [1], 5: [5, 3, 2], 8: [8, 4, 2]}[frames]
    total = np.zeros(x.shape)
    for window in windows:
        missing = -frames % window
        padded = np.concatenate([x.numpy(), np.repeat(x.numpy()[:, -1:], missing, axis=1)], axis=1)
        for start in range(0, frames + missing, window):
            spectrum = np.fft.rfft(padded[:, start : start + window], axis=1)
            parts = torch.from_numpy(np.concatenate([spectrum.real, spectrum.imag], axis=-1))
            filtered = naive_depthwise(parts, branch.filter.weight, branch.filter.bias, 1, 1).numpy()
            back = np.fft.irfft(filtered[..., :2] + 1j * filtered[..., 2:], n=window, axis=1)
            total[:, start : start + window] += back[:, : frames - start]
    torch.testing.assert_close(branch(x), torch.from_numpy(total / len(windows)))


@pytest.mark.parametrize(
    "config",
    [
        AdapterConfig(width=6),
        AdapterConfig(width=6, kernel=(3, 3, 3)),
        AdapterConfig(width=6, causal=True),
        AdapterConfig(width=6, activation="gelu"),
        AdapterConfig(width=7, frequency_scales=(1, 2)),
    ],
)
def test_adapter_starts_at_zero_and_never_writes_into_its_input(config: AdapterConfig) -> None:
    torch.manual_seed(0)
    adapter = SpatioTemporalAdapter(5, config)
    x = torch.randn(2, 4, 3, 2, 5)
    before = x.clone()
    assert not adapter(x).any()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    assert adapter(x).shape == x.shape
    assert adapter(x).abs().min() > 0
    assert torch.equal(x, before)


def test_adapter_equals_its_formula_with_conv3d() -> None:
    """Linear down, Conv3d over (B, A, T, H, W), activation, Linear up."""
    torch.manual_seed(0)
    adapter = SpatioTemporalAdapter(5, AdapterConfig(width=4, kernel=(3, 3, 3), activation="relu")).double()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    conv = torch.nn.Conv3d(4, 4, 3, padding=1, groups=4).double()
    conv.load_state_dict(adapter.conv.state_dict())
    x = torch.randn(2, 4, 3, 2, 5, dtype=torch.float64)
    features = conv((x @ adapter.down.weight.T + adapter.down.bias).permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
    expected = features.clamp(min=0) @ adapter.up.weight.T + adapter.up.bias
    torch.testing.assert_close(adapter(x), expected)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"width": -1}, "width=-1"),
        ({"kernel": (3, 2, 1)}, r"kernel=\(3, 2, 1\)"),
        ({"kernel": (2, 1, 1)}, r"kernel=\(2, 1, 1\)"),
        ({"kernel": (3, 1)}, r"kernel=\(3, 1\)"),
        ({"placement": "attention"}, "placement='attention'"),
        ({"activation": "swish"}, "activation='swish'"),
        ({"blocks": 0}, "blocks=0"),
        ({"frequency_scales": (0,)}, r"frequency_scales=\(0,\)"),
        ({"frequency_scales": (1, 2), "causal": True}, "causal=True"),
        ({"frequency_scales": (1, 2), "width": 1}, "width=1"),
    ],
)
def test_wrong_numbers_are_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        AdapterConfig(**values)  # pyright: ignore[reportArgumentType]


def test_an_even_kernel_is_fine_once_causal() -> None:
    AdapterConfig(kernel=(2, 1, 1), causal=True)
