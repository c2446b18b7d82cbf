"""The style swap: each content location takes its best-matching style patch, exactly and cheaply.

Published as a convolution with the bank of all style patches, an arg max as a one-hot tensor, and a transposed
convolution (Chen & Schmidt 2016; Avatar-Net, arXiv 1805.03857, section 3.2). The same numbers come from far less
work, because the correlation of two k x k patches is a sum of k*k correlations of single locations:

    score(p, q) = sum over offsets d of  M(p + d, q + d),      M = content^T style, one matrix product of depth C

On maps flattened with their padding, p + d and q + d advance together, so the sum runs along diagonals of M and
separates into k steps of one column and k steps of one row:

             q ->                      A[i, j] = sum_x  M[i + x,      j + x]
        p  \\ .  .                      B[i, j] = sum_y  A[i + y * Wc, j + y * Ws]
        |   .  \\  .
        v   .  .  \\                    Wc, Ws: widths of the padded content and style maps

Shapes: C channels; (H, W) content map; (h, w) style map; k patch size; r = k // 2.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Window = Literal["box", "hann"]

# Bytes of the score block that is worked on at once. A block that stays in the second-level cache is about twice
# as fast on a CPU as one that does not; a GPU wants enough work to fill it.
_BLOCK_BYTES_CPU = 1 << 20
_BLOCK_BYTES_GPU = 256 << 20
_NORM_EPSILON = 1e-7


def check_patch_size(patch_size: int) -> None:
    """Raise ValueError unless `patch_size` is odd and positive."""
    if patch_size < 1 or patch_size % 2 == 0:
        raise ValueError(f"patch_size must be an odd number from 1 up, got {patch_size}")


def patch_norms(map_CHW: Tensor, patch_size: int) -> Tensor:
    """L2 norms of all k x k patches at stride 1 under zero padding, by a box sum of squares.

    Args:
        map_CHW: (C, H, W) float.

    Returns:
        (H, W) norms.
    """
    check_patch_size(patch_size)
    energy_11HW = map_CHW.square().sum(0)[None, None]
    box_11HW = F.avg_pool2d(energy_11HW, patch_size, stride=1, padding=patch_size // 2) * patch_size**2
    return box_11HW[0, 0].clamp_min(0).sqrt()


@dataclass(frozen=True, eq=False)
class MatchBonus:
    """An amount added to the score of one style location for each content location.

    It makes a decision stay with the style location that the same surface had in the previous frame.

    Attributes:
        indices_HW: int64 flat style locations (y * w + x) that are favoured.
        amount_HW: float bonus, in units of the normalised score; 0 where nothing is favoured.
    """

    indices_HW: Tensor
    amount_HW: Tensor


def match_patches(
    content_CHW: Tensor,
    style_Chw: Tensor,
    *,
    patch_size: int = 5,
    bonus: MatchBonus | None = None,
    step: int = 1,
) -> Tensor:
    """For each content location, the style location whose patch correlates best with the content's patch.

    Style patches are zero padded and divided by (their L2 norm + 1e-7); content is reflect padded. The content
    patch's norm cannot change an arg max and is left out, unless there is a `bonus`: then scores are cosines in
    [-1, 1], so that the bonus means the same everywhere.

    Args:
        content_CHW: (C, H, W) float, H and W > patch_size // 2.
        style_Chw: (C, h, w) float on the same device.
        step: match every `step`-th location of every `step`-th row, in a fraction of the time. Those between take
            the style's locations beside their neighbour's match, so that its piece goes on.

    Returns:
        (H, W) int64 flat style locations y * w + x.
    """
    check_patch_size(patch_size)
    radius = patch_size // 2
    size = content_CHW.shape[1:]
    H, W = (math.ceil(side / step) for side in size)
    h, w = style_Chw.shape[1:]
    padded_content = F.pad(content_CHW[None], (radius,) * 4, mode="reflect")[0]
    padded_style = F.pad(style_Chw, (radius,) * 4).flatten(1)
    scale_hw = 1 / (patch_norms(style_Chw, patch_size) + _NORM_EPSILON)
    content_scale_HW = None
    if bonus is not None:
        energy = padded_content.square().sum(0)[None, None]
        box = F.avg_pool2d(energy, patch_size, stride=1)[0, 0] * patch_size**2
        content_scale_HW = 1 / (box.clamp_min(0).sqrt() + _NORM_EPSILON)
    matches_HW = torch.empty((H, W), dtype=torch.int64, device=content_CHW.device)
    for rows in _row_blocks(H, padded_content.shape[2] * step, padded_style.shape[1], patch_size, content_CHW):
        block = padded_content[:, rows.start * step : (rows.stop - 1) * step + patch_size]
        score = (
            _diagonal_scores(block, padded_style, w + 2 * radius, patch_size, step)[:, :, :h, :w] * scale_hw
        ).flatten(2)
        if bonus is not None and content_scale_HW is not None:
            of_rows = slice(rows.start * step, (rows.stop - 1) * step + 1, step)
            score *= content_scale_HW[of_rows, ::step, None]
            amount_HW = bonus.amount_HW[of_rows, ::step, None].to(score)
            score.scatter_add_(2, bonus.indices_HW[of_rows, ::step, None], amount_HW)
        matches_HW[rows] = score.argmax(2)
    return _filled(matches_HW, size, (h, w), step) if step > 1 else matches_HW


def _filled(matches_HW: Tensor, size: Sequence[int], style_size: tuple[int, int], step: int) -> Tensor:
    """Matches of every `step`-th location, and beside them the locations beside."""
    h, w = style_size
    dense = matches_HW.repeat_interleave(step, 0).repeat_interleave(step, 1)[: size[0], : size[1]]
    down, right = (torch.arange(side, device=dense.device) % step for side in size)
    return (dense // w + down[:, None]).clamp_max(h - 1) * w + (dense % w + right).clamp_max(w - 1)


def _row_blocks(rows: int, padded_width: int, style_size: int, patch_size: int, like: Tensor) -> Iterator[slice]:
    """Slices of content rows whose score block, halo of patch_size - 1 rows included, fits the block size."""
    budget = _BLOCK_BYTES_CPU if like.device.type == "cpu" else _BLOCK_BYTES_GPU
    row_bytes = padded_width * style_size * like.element_size()
    # At least as many rows as the halo: below that, more than half of the work would be done twice.
    step = max(patch_size, budget // row_bytes - (patch_size - 1))
    step = math.ceil(rows / math.ceil(rows / step))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _diagonal_scores(block_CRW: Tensor, style_CN: Tensor, style_width: int, patch_size: int, step: int) -> Tensor:
    """Un-normalised patch scores of a padded content block against a padded, flattened style map.

    Returns:
        (rows, W, h, w) in which only the unpadded ranges of h and w are meaningful.
    """
    R, width = block_CRW.shape[1:]
    N, more = style_CN.shape[1], patch_size - 1
    M = (block_CRW.flatten(1).T @ style_CN).view(R, width, N)
    columns, rows = width - more, R - more
    # Along x content and style advance together, then along y.
    along_x = M[:, 0:columns:step, : N - more]
    for x in range(1, patch_size):
        part = M[:, x : x + columns : step, x : x + N - more]
        along_x = along_x + part if x == 1 else along_x.add_(part)
    most = N - more - more * style_width
    score = M.new_empty((len(range(0, rows, step)), along_x.shape[1], N))
    # The last few locations lack their diagonal; they are padding, which the caller cuts off.
    total = score[:, :, :most]
    total.copy_(along_x[0:rows:step, :, :most])
    for y in range(1, patch_size):
        total += along_x[y : y + rows : step, :, y * style_width : y * style_width + most]
    return score.view(*score.shape[:2], N // style_width, style_width)


def rebuild_from_matches(
    style_Chw: Tensor, matches_HW: Tensor, *, patch_size: int = 5, window: Window = "box"
) -> Tensor:
    """Put each matched style patch at its content location and average the overlaps by their true weights.

    At the border fewer patches overlap, and the sum of weights is lower there. Parts of a style patch that lie
    outside the style map are zeros, as in the zero-padded patch bank.

    Args:
        style_Chw: (C, h, w), un-normalised.
        matches_HW: (H, W) int64 flat style locations.
        window: weights of a patch's locations: all alike, as published, or falling off as a Hann window.

    Returns:
        (C, H, W).
    """
    check_patch_size(patch_size)
    radius = patch_size // 2
    C, h, w = style_Chw.shape
    H, W = matches_HW.shape
    # Row 0 of the table is the zero vector, for everything outside either map.
    table = torch.cat([style_Chw.new_zeros(1, C), style_Chw.flatten(1).T])
    y_HW, x_HW = matches_HW // w, matches_HW % w
    total = style_Chw.new_zeros(H * W, C)
    weights = window_weights(patch_size, window)
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            # What content location p receives from the patch centred at p - d: the style at match(p - d) + d.
            inside = (y_HW + dy >= 0) & (y_HW + dy < h) & (x_HW + dx >= 0) & (x_HW + dx < w)
            source = torch.where(inside, (y_HW + dy) * w + (x_HW + dx) + 1, 0)
            moved = torch.zeros_like(source)
            to_y, from_y = _overlap(H, dy)
            to_x, from_x = _overlap(W, dx)
            moved[to_y, to_x] = source[from_y, from_x]
            total.add_(table[moved.flatten()], alpha=weights[dy + radius] * weights[dx + radius])
    weight = overlap_weights(H, W, patch_size, window, device=style_Chw.device).to(total.dtype)
    return (total / weight.flatten()[:, None]).T.reshape(C, H, W)


def rebuild_finer(style_CHW: Tensor, matches_hw: Tensor, factor: int) -> Tensor:
    """A finer map of the style put at the content's locations by matches that were found on a coarser one.

    Each match brings the block of `factor` x `factor` values under it and the eight blocks around, weighted by a Hann
    window over the three, so that blocks fade into each other.

    Args:
        style_CHW: (C, h * factor, w * factor).
        matches_hw: int64 flat locations on the style's coarse map, y * w + x.

    Returns:
        (C, H * factor, W * factor) for matches of H x W.
    """
    C = style_CHW.shape[0]
    H, W = matches_hw.shape
    blocks_Nhw = F.pixel_unshuffle(style_CHW[None], factor)[0]
    h, w = blocks_Nhw.shape[1:]
    table = blocks_Nhw.flatten(1).T.reshape(h * w, C, -1)
    ramp = torch.hann_window(3 * factor + 1, periodic=False, dtype=style_CHW.dtype, device=style_CHW.device)
    ramp = (ramp[:-1] + ramp[1:]).view(3, factor) / 2  # at the middles of the values
    y_hw, x_hw = matches_hw // w, matches_hw % w
    total = style_CHW.new_zeros(H, W, C, factor * factor)
    weight = style_CHW.new_zeros(H, W, 1, factor * factor)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            (to_y, from_y), (to_x, from_x) = _overlap(H, dy), _overlap(W, dx)
            y, x = y_hw[from_y, from_x] + dy, x_hw[from_y, from_x] + dx
            # Beyond the style's edge its outermost block is repeated.
            source = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
            share = torch.outer(ramp[dy + 1], ramp[dx + 1]).flatten()
            weighted = (table * share).flatten(1)
            total[to_y, to_x] += weighted[source.flatten()].view(*source.shape, C, -1)
            weight[to_y, to_x] += share
    blocks = (total / weight).permute(2, 3, 0, 1).reshape(1, C * factor * factor, H, W)
    return F.pixel_shuffle(blocks, factor)[0]


def window_weights(patch_size: int, window: Window) -> list[float]:
    """The weights along one side of a patch; a patch's are their outer product."""
    if window == "box":
        return [1.0] * patch_size
    return [math.sin(math.pi * (i + 1) / (patch_size + 1)) ** 2 for i in range(patch_size)]


def overlap_weights(
    H: int, W: int, patch_size: int, window: Window = "box", *, device: torch.device | None = None
) -> Tensor:
    """(H, W) float64: the sum of weights that patches centred inside an H x W map give each location.

    With the box it is how many patches cover the location.
    """
    weights = window_weights(patch_size, window)

    def along(n: int) -> Tensor:
        total = torch.zeros(n, dtype=torch.float64, device=device)
        for offset, weight in enumerate(weights, start=-(patch_size // 2)):
            total[_overlap(n, offset)[0]] += weight
        return total

    return along(H)[:, None] * along(W)[None, :]


def _overlap(size: int, offset: int) -> tuple[slice, slice]:
    """(destination, source) slices of a map moved by `offset` within itself; empty where nothing stays inside."""
    if abs(offset) >= size:
        return slice(0, 0), slice(0, 0)
    if offset >= 0:
        return slice(offset, size), slice(0, size - offset)
    return slice(0, size + offset), slice(-offset, size)
