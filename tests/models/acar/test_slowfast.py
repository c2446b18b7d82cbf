"""SlowFast: published sizes and shapes, frame rules, and the arithmetic of its pathways."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from muybridge.errors import OptionError
from muybridge.models.acar.slowfast import SlowFast, slow_frame_indices
from muybridge.models.acar.slowfast_config import SLOWFAST_R50, SLOWFAST_R101, SLOWFAST_SMALL, SlowFastConfig

TINY = SlowFastConfig(blocks=(1, 1, 1, 1), width=8, fast_ratio=4, frames=8)


@pytest.mark.parametrize(
    ("config", "millions"), [(SLOWFAST_R50, 33.64), (SLOWFAST_R101, 61.90)], ids=["R-50", "R-101"]
)
def test_published_number_of_parameters(config, millions):
    with torch.device("meta"):
        model = SlowFast(config)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize("config", [SLOWFAST_R50, SLOWFAST_R101], ids=["R-50", "R-101"])
def test_published_output_shapes(config):
    with torch.device("meta"):
        model = SlowFast(config).eval()
        frames = torch.empty(2, 32, 3, 256, 464)
        slow, fast = model.pathways(frames)
        context = model(frames)
    assert slow.shape == (2, 2048, 8, 16, 29)
    assert fast.shape == (2, 256, 32, 16, 29)
    assert context.shape == (2, 2304, 16, 29)
    assert model.context_channels == 2304


def test_slow_frames_of_both_variants():
    assert slow_frame_indices(32, 4, "span") == [0, 4, 8, 13, 17, 22, 26, 31]
    assert slow_frame_indices(32, 4, "stride") == [0, 4, 8, 12, 16, 20, 24, 28]


@pytest.mark.parametrize("frames", [4, 8, 12, 16, 24, 32, 48, 64, 128])
def test_spanning_frames_follow_the_published_formula(frames):
    assert slow_frame_indices(frames, 4, "span") == torch.linspace(0, frames - 1, frames // 4).long().tolist()


def test_frames_must_divide_by_alpha():
    with pytest.raises(OptionError, match="Give 8 or 12 frames"):
        slow_frame_indices(10, 4, "span")
    assert len(slow_frame_indices(12, 4, "span")) == 3
    with pytest.raises(OptionError, match="alpha"):
        SlowFast(TINY)(torch.zeros(1, 6, 3, 32, 32))


@pytest.mark.parametrize(
    "options", [{"width": 30}, {"lateral_kernel": 4}, {"frames": 30}], ids=["width", "lateral", "frames"]
)
def test_configuration_refuses_what_cannot_be_built(options):
    with pytest.raises(OptionError, match="Choose"):
        SlowFastConfig(**options)


def test_published_preprocessing():
    white = torch.full((1, 2, 3, 4, 4), 255, dtype=torch.uint8)
    first = SlowFast(SlowFastConfig(blocks=(1, 1, 1, 1), width=8)).normalize(white)
    assert torch.allclose(first, torch.full_like(first, (1 - 0.45) / 0.225))
    with torch.device("meta"):
        config = SLOWFAST_R101
    second = SlowFast(SlowFastConfig(blocks=(1, 1, 1, 1), width=8, mean=config.mean, std=config.std)).normalize(white)
    expected = torch.tensor([(255 - m) / s for m, s in zip(config.mean, config.std, strict=True)])
    assert torch.allclose(second, expected.view(3, 1, 1).expand_as(second))


def _norm(x, norm):
    shape = (1, -1, 1, 1, 1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return x * scale.view(shape) + (norm.bias - norm.running_mean * scale).view(shape)


def _block(x, block, frames, stride, dilation):
    pad = (dilation, dilation)
    out = F.relu(_norm(F.conv3d(x, block.conv1.weight, padding=(frames // 2, 0, 0)), block.norm1))
    out = F.conv3d(out, block.conv2.weight, stride=(1, stride, stride), padding=(0, *pad), dilation=(1, *pad))
    out = _norm(F.conv3d(F.relu(_norm(out, block.norm2)), block.conv3.weight), block.norm3)
    if len(block.shortcut):
        x = _norm(F.conv3d(x, block.shortcut.conv.weight, stride=(1, stride, stride)), block.shortcut.norm)
    return F.relu(out + x)


def _reference(model, video_B3THW, slow_frames):
    """The two pathways as the published description orders them: the fast one first, then the slow one."""
    strides, dilations = (1, 2, 2, 1), (1, 1, 1, 2)

    def stem(x, pathway):
        span = pathway.stem.conv.kernel_size[0]
        x = F.conv3d(x, pathway.stem.conv.weight, stride=(1, 2, 2), padding=(span // 2, 3, 3))
        return F.max_pool3d(F.relu(_norm(x, pathway.stem.norm)), (1, 3, 3), (1, 2, 2), (0, 1, 1))

    def side(x, lateral):
        conv = lateral[0]
        x = F.conv3d(x, conv.weight, stride=(4, 1, 1), padding=(conv.kernel_size[0] // 2, 0, 0))
        return F.relu(_norm(x, lateral[1])) if len(lateral) > 1 else x

    fast, sides = stem(video_B3THW, model.fast), []
    for i in range(4):
        sides.append(side(fast, model.laterals[i]))
        for j, block in enumerate(model.fast.stages[i]):
            fast = _block(fast, block, 3, strides[i] if j == 0 else 1, dilations[i])
    slow = stem(video_B3THW[:, :, slow_frames], model.slow)
    for i in range(4):
        slow = torch.cat([slow, sides[i]], dim=1)
        for j, block in enumerate(model.slow.stages[i]):
            slow = _block(slow, block, 3 if i >= 2 else 1, strides[i] if j == 0 else 1, dilations[i])
    return slow, fast


@pytest.mark.parametrize("lateral", ["conv-norm-relu", "conv"])
def test_against_a_step_by_step_reference(lateral):
    torch.manual_seed(0)
    rule, span = ("span", 7) if lateral != "conv" else ("stride", 5)
    config = SlowFastConfig(
        blocks=(1, 2, 1, 2),
        width=8,
        fast_ratio=4,
        frames=8,
        lateral=lateral,
        lateral_kernel=span,
        slow_frames=rule,
    )
    model = SlowFast(config).double().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    frames = torch.randn(2, 8, 3, 40, 33, dtype=torch.float64)
    slow, fast = _reference(model, frames.transpose(1, 2), [0, 7] if rule == "span" else [0, 4])
    ours = model.pathways(frames)
    assert torch.allclose(ours.slow, slow, rtol=1e-10)
    assert torch.allclose(ours.fast, fast, rtol=1e-10)
    assert torch.allclose(model(frames), torch.cat([slow.mean(2), fast.mean(2)], 1), rtol=1e-10)


def test_frozen_norms_keep_their_statistics_and_still_learn():
    model = SlowFast(TINY).freeze_norms()
    model.train()
    assert model.training
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(2, 8, 3, 32, 32)).square().mean().backward()
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    assert model.slow.stages[3][0].norm3.weight.grad.abs().sum() > 0

    moving = SlowFast(TINY).train()
    moving(torch.randn(2, 8, 3, 32, 32))
    assert not torch.equal(moving.fast.stem.norm.running_mean, before["fast.stem.norm.running_mean"])


def test_small_model_trains_and_runs_in_bfloat16():
    torch.manual_seed(0)
    model = SlowFast(SLOWFAST_SMALL)
    assert sum(p.numel() for p in model.parameters()) < 1e6
    frames = torch.randn(1, 16, 3, 48, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context = model(frames)
    assert context.shape == (1, 640, 3, 4)
    context.float().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_compiles_as_one_graph():
    model = SlowFast(TINY).eval()
    frames = torch.randn(1, 8, 3, 32, 32)
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(frames), model(frames))


def test_gradients_over_time_in_bfloat16_are_those_of_float64():
    """Each convolution of a network, for clips with fewer frames than it spans and for others."""
    torch.manual_seed(0)
    spanning = {
        m.kernel_size: m for m in SlowFast(TINY).modules() if isinstance(m, nn.Conv3d) and m.kernel_size[0] > 1
    }
    assert {kernel[0] for kernel in spanning} == {3, 5, 7}
    for conv in spanning.values():
        for frames in (1, 2, 4, 8):
            clip = torch.randn(2, conv.in_channels, frames, 12, 12)
            exact = copy.deepcopy(conv).double()
            exact(clip.double()).square().sum().backward()
            conv.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                conv(clip).float().square().sum().backward()
            error = (conv.weight.grad.double() - exact.weight.grad).norm() / exact.weight.grad.norm()
            assert error < 0.02, (conv, frames)
