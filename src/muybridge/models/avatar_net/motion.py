"""Motion between two frames from the content features themselves, and what to do with motion.

A flow is (2, H, W) float32: x and y displacement in pixels of its own grid, from each location of the later frame to
where that surface was in the earlier one. So `warp(earlier, flow)` looks like the later frame.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_OCCLUSION_RELATIVE = 0.01
_OCCLUSION_ABSOLUTE = 0.5
_REFINEMENTS = 3
_DAMPING = 1e-2  # in units of the features' variance: keeps areas without structure from drifting


def warp(map_CHW: Tensor, flow_2HW: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Look up a (C, H, W) map at each location plus its flow; beyond the border the border's value."""
    H, W = flow_2HW.shape[1:]
    y, x = torch.meshgrid(
        torch.arange(H, device=flow_2HW.device), torch.arange(W, device=flow_2HW.device), indexing="ij"
    )
    # grid_sample's corners-aligned coordinates run from -1 to 1 over the centres of the first and last location.
    grid = torch.stack([(x + flow_2HW[0]) * 2 / max(W - 1, 1) - 1, (y + flow_2HW[1]) * 2 / max(H - 1, 1) - 1], -1)
    return F.grid_sample(map_CHW[None], grid[None], mode=mode, padding_mode="border", align_corners=True)[0]


def resize_flow(flow_2HW: Tensor, height: int, width: int) -> Tensor:
    """The same motion on another grid: interpolated, and its displacements scaled."""
    H, W = flow_2HW.shape[1:]
    resized = F.interpolate(flow_2HW[None], (height, width), mode="bilinear", align_corners=False)[0]
    return resized * torch.tensor([width / W, height / H], device=flow_2HW.device).view(2, 1, 1)


def visibility(backward_2HW: Tensor, forward_2HW: Tensor) -> Tensor:
    """Where the flow can be believed: (H, W) in {0, 1}, 0 where a surface was hidden or outside in the earlier frame.

    Forward-backward check of Sundaram et al. 2010: going back and forth must lead home, within a tolerance of
    1 % of the squared motion plus half a squared pixel.

    Args:
        backward_2HW: from the later frame to the earlier.
        forward_2HW: from the earlier frame to the later.
    """
    returned = warp(forward_2HW, backward_2HW)
    gap = (backward_2HW + returned).square().sum(0)
    allowed = _OCCLUSION_RELATIVE * (backward_2HW.square().sum(0) + returned.square().sum(0)) + _OCCLUSION_ABSOLUTE
    H, W = gap.shape
    y, x = torch.meshgrid(torch.arange(H, device=gap.device), torch.arange(W, device=gap.device), indexing="ij")
    landing_x, landing_y = x + backward_2HW[0], y + backward_2HW[1]
    inside = (landing_x >= 0) & (landing_x <= W - 1) & (landing_y >= 0) & (landing_y <= H - 1)
    return ((gap <= allowed) & inside).float()


def feature_flow(
    later: Sequence[Tensor], earlier: Sequence[Tensor], *, radii: Sequence[int] = (4, 2, 2), window: int = 5
) -> Tensor:
    """Flow by matching encoder features coarse to fine; needs no optical flow library.

    At the coarsest level every displacement within the radius is tried; each finer level refines the upsampled
    result. A match is the smallest squared difference of features summed over a window; least squares on the slopes
    of the features gives the fraction of a location.

    Args:
        later, earlier: feature maps (1, C, H, W) of the two frames, coarsest first; each level twice as fine as the
            one before.
        radii: search radius at each level, in locations of that level.
        window: odd side of the summed window.

    Returns:
        (2, H, W) on the finest level's grid.
    """
    flow: Tensor | None = None
    for a, b, radius in zip(later, earlier, radii, strict=True):
        scale = torch.cat([a, b]).float().std(dim=(0, 2, 3), keepdim=True) + 1e-6
        a_CHW, b_CHW = (a / scale)[0].float(), (b / scale)[0].float()
        H, W = a_CHW.shape[1:]
        start = torch.zeros(2, H, W, device=a.device) if flow is None else resize_flow(flow, H, W)
        flow = _median(start + _search(a_CHW, warp(b_CHW, start), radius, window))
        for _ in range(_REFINEMENTS):
            flow = _refine(a_CHW, b_CHW, flow, window)
    if flow is None:
        raise ValueError("feature_flow needs at least one level")
    return flow


def _search(a_CHW: Tensor, b_CHW: Tensor, radius: int, window: int) -> Tensor:
    """Best whole displacement within the radius: (2, H, W)."""
    side = 2 * radius + 1
    H, W = a_CHW.shape[1:]
    padded = F.pad(b_CHW[None], (radius,) * 4, mode="replicate")[0]
    shifted = (padded[:, dy : dy + H, dx : dx + W] for dy in range(side) for dx in range(side))
    costs = [(a_CHW - candidate).square().mean(0) for candidate in shifted]
    volume = F.avg_pool2d(torch.stack(costs)[None], window, 1, window // 2, count_include_pad=False)[0]
    # Between equal matches the shortest displacement is right: still areas must stay still.
    offsets = torch.arange(side, device=a_CHW.device) - radius
    length = offsets[:, None].square() + offsets[None, :].square()
    volume = volume + 1e-3 * length.flatten()[:, None, None]
    best = volume.argmin(0)
    return torch.stack([best % side - radius, best // side - radius]).float()


def _refine(a_CHW: Tensor, b_CHW: Tensor, flow_2HW: Tensor, window: int) -> Tensor:
    """One Gauss-Newton step on the summed squared difference (Lucas & Kanade 1981); identical maps stay still."""
    warped = warp(b_CHW, flow_2HW)
    padded = F.pad(warped[None], (1,) * 4, mode="replicate")[0]
    slope_x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2
    slope_y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2
    residual = a_CHW - warped
    products = (slope_x * slope_x, slope_x * slope_y, slope_y * slope_y, slope_x * residual, slope_y * residual)
    sums = torch.stack([product.mean(0) for product in products])
    xx, xy, yy, xr, yr = F.avg_pool2d(sums[None], window, 1, window // 2, count_include_pad=False)[0]
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    step = torch.stack([yy * xr - xy * yr, xx * yr - xy * xr]) / determinant
    return flow_2HW + step.clamp(-1, 1)


def _median(flow_2HW: Tensor) -> Tensor:
    """3x3 median of each component: removes single wrong matches, keeps motion boundaries."""
    padded = F.pad(flow_2HW[None], (1,) * 4, mode="replicate")
    return F.unfold(padded.transpose(0, 1), 3).view(2, 9, *flow_2HW.shape[1:]).median(1).values
