"""What is read of a clip's frames: compared with NumPy, and with what reversal and stillness must do to it."""

import numpy as np
import pytest
import torch
from torch import nn

from muybridge.errors import OptionError
from muybridge.models.st_adapter.over_time import Standardization, check_over_time, summarize


@pytest.mark.parametrize("frames", [2, 5, 8])
def test_change_is_six_summaries_of_roots(frames: int) -> None:
    x = torch.randn(3, frames, 4, dtype=torch.float64)
    norm = nn.LayerNorm(4).double()
    mean, difference, middle, deviation, largest, steps = (
        part.detach() for part in summarize(x, "change", norm).split(4, dim=-1)
    )
    plain = summarize(x, "mean", norm).detach().numpy()
    np.testing.assert_allclose(plain, norm(x.mean(1)).detach().numpy())
    roots = np.sign(x.numpy()) * np.sqrt(np.abs(x.numpy()))
    near = {"atol": 0.025, "rtol": 0}  # roots are a little flatter, for a finite slope at 0
    np.testing.assert_allclose(mean, np.sign(plain) * np.sqrt(np.abs(plain)), **near)
    np.testing.assert_allclose(
        difference, roots[:, (frames + 1) // 2 :].mean(1) - roots[:, : frames // 2].mean(1), **near
    )
    quarter = frames // 4
    np.testing.assert_allclose(middle, roots[:, quarter : frames - quarter].mean(1) - roots.mean(1), **near)
    np.testing.assert_allclose(deviation, roots.std(1), **near)
    np.testing.assert_allclose(largest, roots.max(1), **near)
    np.testing.assert_allclose(steps, np.abs(np.diff(roots, axis=1)).mean(1), **near)


def test_reversal_turns_the_difference_and_a_still_clip_has_no_change() -> None:
    x = torch.randn(2, 6, 4)
    there, back = (summarize(clip, "change", nn.Identity()).split(4, dim=-1) for clip in (x, x.flip(1)))
    torch.testing.assert_close(back[0], there[0])
    torch.testing.assert_close(back[1], -there[1])
    torch.testing.assert_close(back[2:], there[2:])
    for still in (x[:, :1], x[:, :1].expand(-1, 6, -1)):
        _, difference, middle, deviation, _, steps = summarize(still, "change", nn.Identity()).split(4, dim=-1)
        torch.testing.assert_close(difference, torch.zeros(2, 4))
        torch.testing.assert_close(deviation, torch.zeros(2, 4), rtol=0, atol=1e-4)
        for part in (middle, steps):
            torch.testing.assert_close(part, torch.zeros(2, 4), rtol=0, atol=1e-6)


def test_the_slope_is_finite_where_nothing_changes() -> None:
    x = torch.zeros(1, 4, 3, requires_grad=True)
    summarize(x, "change", nn.Identity()).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_folded_head_gives_the_same_logits() -> None:
    features = torch.randn(50, 6) * torch.tensor([1, 10, 0.1, 5, 1, 1]) + 3
    head, standardization = nn.Linear(6, 3), Standardization(features)
    before = head(standardization(features))
    torch.testing.assert_close(standardization(features).std(0, correction=0), torch.ones(6), rtol=0.02, atol=0)
    standardization.fold_into(head)
    torch.testing.assert_close(head(features), before, rtol=1e-4, atol=1e-4)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(OptionError, match="over_time='max'"):
        check_over_time("max")
