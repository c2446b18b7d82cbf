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
    coherence: float = 0.0,
) -> Tensor:
    """For each content location, the style location whose patch correlates best with the content's patch.

    Style patches are zero padded and divided by (their L2 norm + 1e-7); content is reflect padded. The content
    patch's norm cannot change an arg max and is left out, unless there is a `bonus` or `coherence`: then scores are
    cosines in [-1, 1], so that what is added to them means the same everywhere.

    Args:
        content_CHW: (C, H, W) float, H and W > patch_size // 2.
        style_Chw: (C, h, w) float on the same device.
        step: match every `step`-th location of every `step`-th row with such locations of the style, in a small
            fraction of the time. Those between take the style's locations beside their neighbour's match, so that
            its piece goes on.
        coherence: added to the score of a style location for each of the three matches in the row above, left,
            straight and right, that goes on there. In a flat part of the content nearly all scores are alike: with
            this, larger pieces of the style come to stand there, and not one small piece again and again.

    Returns:
        (H, W) int64 flat style locations y * w + x.
    """
    check_patch_size(patch_size)
    radius = patch_size // 2
    size, style_size = content_CHW.shape[1:], style_Chw.shape[1:]
    H, W, h, w = (math.ceil(side / step) for side in (*size, *style_size))
    padded_content = F.pad(content_CHW[None], (radius,) * 4, mode="reflect")[0]
    contents = _phases(padded_content, (H, W), patch_size, step)
    styles = _phases(F.pad(style_Chw, (radius,) * 4), (h, w), patch_size, step)
    scale_hw = 1 / (patch_norms(style_Chw, patch_size)[::step, ::step] + _NORM_EPSILON)
    content_scale_HW = None
    if bonus is not None or coherence:
        energy = padded_content.square().sum(0)[None, None]
        box = F.avg_pool2d(energy, patch_size, stride=1)[0, 0] * patch_size**2
        content_scale_HW = 1 / (box[::step, ::step].clamp_min(0).sqrt() + _NORM_EPSILON)
    if bonus is not None:
        y, x = bonus.indices_HW // style_size[1], bonus.indices_HW % style_size[1]
        bonus = MatchBonus((y // step * w + x // step)[::step, ::step], bonus.amount_HW[::step, ::step])
    matches_HW = torch.empty((H, W), dtype=torch.int64, device=content_CHW.device)
    row_bytes = contents[0].shape[2] * styles[0][0].numel() * content_CHW.element_size()
    for rows in _row_blocks(H, row_bytes, contents[0].shape[1] - H, content_CHW.device):
        score = content_CHW.new_zeros(len(range(H)[rows]), W, h, w)
        for content, style in zip(contents, styles, strict=True):
            taps = (content.shape[1] - H + 1, content.shape[2] - W + 1)
            block = content[:, rows.start : rows.stop + taps[0] - 1]
            score += _diagonal_scores(block, style, taps)[:, :, :h, :w]
        score = (score * scale_hw).flatten(2)
        if content_scale_HW is not None:
            score *= content_scale_HW[rows, :, None]
        if bonus is not None:
            score.scatter_add_(2, bonus.indices_HW[rows, :, None], bonus.amount_HW[rows, :, None].to(score))
        if not coherence:
            matches_HW[rows] = score.argmax(2)
            continue
        for row, of_row in enumerate(score, start=rows.start):
            if row > 0:
                _favour_going_on(of_row, matches_HW[row - 1], w, coherence)
            matches_HW[row] = of_row.argmax(1)
    return matches_HW if step == 1 else _filled(matches_HW, size, style_size, step)


def _favour_going_on(score_WN: Tensor, above_W: Tensor, style_width: int, amount: float) -> None:
    """Add `amount` where a style location lies to a match of the row above as the content's locations lie."""
    W, N = score_WN.shape
    for aside in (-1, 0, 1):
        columns = torch.arange(max(0, -aside), min(W, W - aside), device=score_WN.device)
        above = above_W[columns + aside]
        across = above % style_width - aside
        on = above + style_width - aside
        inside = (on < N) & (across >= 0) & (across < style_width)
        score_WN[columns[inside], on[inside]] += amount


def _phases(padded_CHW: Tensor, size: tuple[int, int], patch_size: int, step: int) -> list[Tensor]:
    """Every `step`-th location, from each of the step * step starts at which a patch has some.

    Patches `step` apart then lie one apart in each of the parts, of which they cover as much as the part has more
    than `size`.
    """
    parts: list[Tensor] = []
    for y in range(min(step, patch_size)):
        for x in range(min(step, patch_size)):
            rows, columns = (n - 1 + len(range(a, patch_size, step)) for n, a in zip(size, (y, x), strict=True))
            parts.append(padded_CHW[:, y::step, x::step][:, :rows, :columns])
    return parts


def _filled(matches_HW: Tensor, size: Sequence[int], style_size: Sequence[int], step: int) -> Tensor:
    """Matches among every `step`-th location, for every location: beside one another where the content's are."""
    h, w = style_size
    of_each = matches_HW.repeat_interleave(step, 0).repeat_interleave(step, 1)[: size[0], : size[1]]
    down, right = (torch.arange(side, device=of_each.device) % step for side in size)
    across = math.ceil(w / step)
    y, x = of_each // across * step + down[:, None], of_each % across * step + right
    return y.clamp_max(h - 1) * w + x.clamp_max(w - 1)


def _row_blocks(rows: int, row_bytes: int, halo: int, device: torch.device) -> Iterator[slice]:
    """Slices of content rows whose score block, `halo` further rows included, fits the block size."""
    budget = _BLOCK_BYTES_CPU if device.type == "cpu" else _BLOCK_BYTES_GPU
    # At least as many rows as the halo: below that, more than half of the work would be done twice.
    step = max(halo + 1, budget // row_bytes - halo)
    step = math.ceil(rows / math.ceil(rows / step))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _diagonal_scores(block_CRW: Tensor, style_Chw: Tensor, taps: tuple[int, int]) -> Tensor:
    """Un-normalised scores of patches of `taps` rows and columns; block and style are padded.

    Returns:
        (rows, W, h, w) in which only the ranges of h and w that the style has without its padding are meaningful.
    """
    R, width = block_CRW.shape[1:]
    h, w = style_Chw.shape[1:]
    N, more_rows, more = h * w, taps[0] - 1, taps[1] - 1
    M = (block_CRW.flatten(1).T @ style_Chw.flatten(1)).view(R, width, N)
    columns, rows = width - more, R - more_rows
    # Along x content and style advance together, then along y.
    along_x = M[:, :columns, : N - more]
    for x in range(1, more + 1):
        part = M[:, x : x + columns, x : x + N - more]
        along_x = along_x + part if x == 1 else along_x.add_(part)
    most = N - more - more_rows * w
    score = M.new_empty((rows, columns, N))
    # The last few locations lack their diagonal; they are padding, which the caller cuts off.
    total = score[:, :, :most]
    total.copy_(along_x[:rows, :, :most])
    for y in range(1, more_rows + 1):
        total += along_x[y : y + rows, :, y * w : y * w + most]
    return score.view(rows, columns, h, w)


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


@dataclass(frozen=True, eq=False)
class Squares:
    """A fine map of a style, cut for `put_squares`: once for any number of pictures.

    Attributes:
        table: (rows * columns, side * side, C), quarters of the squares, from half a side before the first match.
        columns: of the table.
        across: locations beside one another on the style's coarse map.
        factor: locations of the fine map for one of the coarse.
        step: between matches, in locations of the coarse map.
    """

    table: Tensor
    columns: int
    across: int
    factor: int
    step: int


def cut_squares(style_CHW: Tensor, factor: int, step: int = 1) -> Squares:
    """Cut a style's fine map (C, h * factor, w * factor); see `rebuild_finer`."""
    C, high, wide = style_CHW.shape
    side = factor * step
    rows, columns = (-(-n // side) + 1 for n in (high, wide))
    after = (columns * side - side // 2 - wide, rows * side - side // 2 - high)
    edged = _edged(style_CHW, side // 2, after)
    table = edged.view(C, rows, side, columns, side).permute(1, 3, 2, 4, 0).reshape(rows * columns, side * side, C)
    return Squares(table, columns, wide // factor, factor, step)


def put_squares(squares: Squares, matches_hw: Tensor) -> Tensor:
    """Squares at the content's locations; see `rebuild_finer`."""
    table, columns, step = squares.table, squares.columns, squares.step
    side, C = squares.factor * step, table.shape[2]
    H, W = matches_hw.shape
    ramp = torch.hann_window(4 * side + 1, periodic=False, dtype=table.dtype, device=table.device)
    rise = ramp[1 : 2 * side : 2]  # at the middles of the values
    fall = 1 - rise
    own = matches_hw[::step, ::step]
    y_hw, x_hw = own // squares.across // step, own % squares.across // step
    down, right = (torch.arange(n + 1, device=own.device) for n in own.shape)
    weighted: list[Tensor] = []
    index: list[Tensor] = []
    for from_y, share_y in ((0, rise), (1, fall)):
        for from_x, share_x in ((0, rise), (1, fall)):
            weighted.append((table * torch.outer(share_y, share_x).view(1, -1, 1)).flatten(1))
            # At the edge the outermost match goes on, in place of one from beyond.
            y, x = (down - from_y).clamp(0, own.shape[0] - 1), (right - from_x).clamp(0, own.shape[1] - 1)
            row = y_hw[y][:, x] + (down - y)[:, None]
            column = x_hw[y][:, x] + right - x
            index.append((row * columns + column).flatten() + len(index) * len(table))
    blended = F.embedding_bag(torch.stack(index, 1), torch.cat(weighted), mode="sum")
    blocks = blended.view(len(down), len(right), side, side, C).permute(0, 2, 1, 3, 4)
    whole = blocks.reshape(1, len(down) * side, len(right) * side, C)
    half = side // 2
    bottom, end = half + H * squares.factor, half + W * squares.factor
    return whole[:, half:bottom, half:end].permute(0, 3, 1, 2)


def rebuild_finer(style_CHW: Tensor, matches_hw: Tensor, factor: int, step: int = 1) -> Tensor:
    """A finer map of the style put at the content's locations by matches that were found on a coarser one.

    Each match of every `step`-th location brings a square of the style twice as long as the matches are apart, under
    a Hann window, so that each value is blended of four.

    Args:
        style_CHW: (C, h * factor, w * factor).
        matches_hw: int64 flat locations on the style's coarse map, y * w + x.

    Returns:
        (1, C, H * factor, W * factor), channels last, for matches of H x W.
    """
    return put_squares(cut_squares(style_CHW, factor, step), matches_hw)


def _edged(map_CHW: Tensor, before: int, after: tuple[int, int]) -> Tensor:
    """A map with its outermost values repeated `before` it and (right, below) after it, however far."""
    H, W = map_CHW.shape[1:]
    rows = torch.arange(-before, H + after[1], device=map_CHW.device).clamp(0, H - 1)
    columns = torch.arange(-before, W + after[0], device=map_CHW.device).clamp(0, W - 1)
    return map_CHW[:, rows][:, :, columns]


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
