"""From frames and their flow to descriptors of small blocks of space and time.

    flow ── less the camera's ── histograms of directions in cells ── blocks of cells ── those that move

Four histograms a cell, those of dense trajectories (Wang et al. 2013, IJCV 103, section 3): of the gradients of the
picture (HOG: what is there), of the flow (HOF: where it goes), and of the gradients of the flow's two components
(MBH: how parts move against each other; Dalal et al. 2006). Blocks stand on a grid in place of along trajectories
(Uijlings et al. 2015), and of the flow an affine map, which is what a camera mostly does, is taken out before.

One letter an axis: P pairs of neighbouring frames, H x W pixels, h x w cells, S steps of time, C channels of a cell,
N blocks, L cells of a block, D numbers of a descriptor.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# To be raised with whatever changes the numbers: what was trained on others is then told apart.
VERSION = 1
DIRECTIONS = 8
# Channels of a cell by histogram; the flow's has one more, for what stands still.
HISTOGRAMS = {"hog": DIRECTIONS, "hof": DIRECTIONS + 1, "mbh_x": DIRECTIONS, "mbh_y": DIRECTIONS}
STEPS_OF_BLOCK, CELLS_DOWN, CELLS_ACROSS = 3, 2, 2
CELLS_OF_BLOCK = STEPS_OF_BLOCK * CELLS_DOWN * CELLS_ACROSS
SIZES = {name: channels * CELLS_OF_BLOCK for name, channels in HISTOGRAMS.items()}
LENGTH = sum(SIZES.values())
# Of a clip in which hardly anything moves, so many blocks that move most.
_LEAST_BLOCKS = 50
# A direction shares a vector with its neighbour up to this far from it.
_LOBE = math.cos(2 * math.pi / DIRECTIONS)
_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
_GAUSSIAN = (0.0545, 0.2442, 0.4026, 0.2442, 0.0545)  # deviation 1
# Directions are looked at in one pixel in so many each way: their neighbours, in smooth maps, tell hardly more.
_EVERY = 2
# The camera's map is fitted to one pixel in so many each way, again and again, those that stray weighing less.
_FIT_STRIDE, _FIT_ROUNDS = 6, 8
_FIT_LEAST = 0.1  # pixels off that say nothing


@dataclass(frozen=True)
class MotionConfig:
    """How closely motion is looked at. All speeds are in pixels of the scaled frames, at `rate`.

    Attributes:
        rate: frames a second, at most.
        short_side: of the frames, in pixels.
        cell: side of a cell, in pixels, an even number.
        step: pairs of frames whose histograms are averaged.
        still: pixels from frame to frame below which a place stands still.
        moves: mean of the same over a block from which on it counts.
        most_pairs: of a clip that are looked at; of a longer one the middle is taken.
        most_blocks: of a clip; of more, as many are taken at even distances.
    """

    rate: float = 25.0
    short_side: int = 160
    cell: int = 10
    step: int = 5
    still: float = 0.4
    moves: float = 0.25
    most_pairs: int = 150
    most_blocks: int = 1500

    @property
    def most_seconds(self) -> float:
        """How much of a clip is looked at."""
        return self.most_pairs / self.rate


def cell_histograms(
    grey_PHW: Tensor, flow_P2HW: Tensor, config: MotionConfig, *, faster: Tensor, camera_P2HW: Tensor | None = None
) -> Tensor:
    """(P, C + 1, h, w) float32, the mean over each cell; the last channel is how far its pixels move.

    Args:
        grey_PHW: the earlier frame of each pair, in [0, 255].
        flow_P2HW: where each of its pixels is in the later frame, x and y in pixels from where it was.
        faster: (P,) seconds between the frames of a pair, times `config.rate`.
        camera_P2HW: the part of the flow that is the camera's; None for what one affine map of the picture explains.
    """
    flow = flow_P2HW - (affine_part(flow_P2HW) if camera_P2HW is None else camera_P2HW)
    smooth = _smooth(flow)
    x, y = _some(flow)
    distance = _length(x, y) / faster[:, None, None]
    is_moving = (distance >= config.still).float()
    across, down = _some(smooth)
    channels = [
        _in_directions(*_gradients(grey_PHW)),
        _in_directions(across * is_moving, down * is_moving),
        1 - is_moving[:, None],
        _in_directions(*_gradients(smooth[:, 0])),
        _in_directions(*_gradients(smooth[:, 1])),
        distance[:, None],
    ]
    return torch.cat([F.avg_pool2d(each, config.cell // _EVERY) for each in channels], dim=1)


def affine_part(flow_P2HW: Tensor) -> Tensor:
    """The part of each flow that one affine map of the whole picture explains, (P, 2, H, W)."""
    return affine_flow(affine_maps(flow_P2HW), *flow_P2HW.shape[-2:])


def affine_flow(maps_P32: Tensor, height: int, width: int) -> Tensor:
    """The flow (P, 2, height, width) of affine maps, as `affine_maps` gives them."""
    places = _places(height, width).reshape(-1, 3)
    return (places @ maps_P32).mT.reshape(len(maps_P32), 2, height, width)


def affine_maps(flow_P2HW: Tensor) -> Tensor:
    """(P, 3, 2): of the affine map of each whole picture its shift x and y in the middle, how both grow from the left
    side to the right one, and from top to bottom, in pixels.

    Iteratively reweighted least squares: who walks through the picture does not follow the map, and weighs little.
    """
    height, width = flow_P2HW.shape[-2:]
    some = slice(min(_FIT_STRIDE, height, width) // 2, None, _FIT_STRIDE)
    at = _places(height, width)[some, some].reshape(-1, 3)
    seen = flow_P2HW[:, :, some, some].flatten(2).mT
    weight = torch.ones(seen.shape[:2])
    maps = torch.zeros(len(seen), 3, 2)
    for _ in range(_FIT_ROUNDS):
        weighted = at.mT * weight[:, None]
        maps = torch.linalg.solve(weighted @ at + 1e-6 * torch.eye(3), weighted @ seen)
        off = _length(*(seen - at @ maps).unbind(dim=-1))
        usual = 1.48 * off.median(dim=1, keepdim=True).values + _FIT_LEAST
        weight = (1 + (off / usual).square()).square().reciprocal()
    return maps


def _places(height: int, width: int) -> Tensor:
    """(H, W, 3): 1, x and y, from -1/2 to 1/2."""
    down, across = torch.linspace(-0.5, 0.5, height), torch.linspace(-0.5, 0.5, width)
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([torch.ones_like(x), x, y], dim=-1)


def blocks_that_move(cells_PChw: Tensor, config: MotionConfig) -> Tensor:
    """Descriptors (N, D) float32 of the blocks of a clip in which something moves, those of `HISTOGRAMS` in a row.

    Each histogram is the root of its channels' shares (Arandjelović and Zisserman 2012).

    Args:
        cells_PChw: as `cell_histograms` gives them, one pair or more. What is too short for a block is held.
    """
    pairs = len(cells_PChw)
    needed = config.step * STEPS_OF_BLOCK
    if pairs < needed:
        cells_PChw = cells_PChw[torch.arange(needed).clamp_max(pairs - 1)]
    steps = len(cells_PChw) // config.step
    cells = cells_PChw[: steps * config.step].unflatten(0, (steps, config.step)).mean(dim=1)
    cells = F.pad(cells, (0, max(0, CELLS_ACROSS - cells.shape[3]), 0, max(0, CELLS_DOWN - cells.shape[2])))
    of_blocks = cells.unfold(0, STEPS_OF_BLOCK, 1).unfold(2, CELLS_DOWN, 1).unfold(3, CELLS_ACROSS, 1)
    blocks_NCL = of_blocks.permute(0, 2, 3, 1, 4, 5, 6).flatten(4).flatten(0, 2)
    amount = blocks_NCL[:, -1].mean(dim=-1)
    chosen = (amount > config.moves).nonzero()[:, 0]
    if len(chosen) < _LEAST_BLOCKS:
        chosen = amount.topk(min(_LEAST_BLOCKS, len(amount))).indices.sort().values
    if len(chosen) > config.most_blocks:
        chosen = chosen[torch.linspace(0, len(chosen) - 1, config.most_blocks).round().long()]
    histograms = blocks_NCL[chosen, :-1].split(list(HISTOGRAMS.values()), dim=1)
    flat = [histogram.flatten(1) for histogram in histograms]
    return torch.cat([(each / (each.sum(dim=1, keepdim=True) + 1e-6)).sqrt() for each in flat], dim=1)


def _in_directions(x: Tensor, y: Tensor) -> Tensor:
    """(P, DIRECTIONS, H, W): how much of each vector points which way, shared by the two ways next to it."""
    angles = torch.arange(DIRECTIONS // 2) * (2 * math.pi / DIRECTIONS)
    cos, sin = (each.view(-1, 1, 1) / (1 - _LOBE) for each in (angles.cos(), angles.sin()))
    along = x[:, None] * cos + y[:, None] * sin
    least = _length(x, y)[:, None] * (_LOBE / (1 - _LOBE))
    # The other half of the ways is opposite to these.
    return torch.cat([(along - least).clamp_min_(0), (-along - least).clamp_min_(0)], dim=1)


def _length(x: Tensor, y: Tensor) -> Tensor:
    return (x.square() + y.square()).sqrt()


def mirrored(descriptors_ND: Tensor) -> Tensor:
    """The descriptors of the same clip seen in a mirror, left for right."""
    parts: list[Tensor] = []
    for name, part in zip(SIZES, descriptors_ND.split(list(SIZES.values()), dim=1), strict=True):
        cells = part.unflatten(1, (-1, STEPS_OF_BLOCK, CELLS_DOWN, CELLS_ACROSS)).flip(-1)
        # What points right points left. Of the flow across the sign turns too, so that what points up points down.
        half = DIRECTIONS if name == "mbh_x" else DIRECTIONS // 2
        turned = [(half - direction) % DIRECTIONS for direction in range(DIRECTIONS)]
        parts.append(cells[:, [*turned, *range(DIRECTIONS, cells.shape[1])]].flatten(1))
    return torch.cat(parts, dim=1)


def _some(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Of maps (P, 2, H, W) both, at the places whose directions are looked at."""
    x, y = maps[:, :, ::_EVERY, ::_EVERY].unbind(dim=1)
    return x, y


def _gradients(x_PHW: Tensor) -> tuple[Tensor, Tensor]:
    """Across and down, at the same places."""
    padded = F.pad(x_PHW[:, None], (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(padded, torch.stack([_SOBEL, _SOBEL.T])[:, None], stride=_EVERY).unbind(dim=1)
    return across, down


def _smooth(flow_P2HW: Tensor) -> Tensor:
    height, width = flow_P2HW.shape[-2:]
    maps = F.pad(flow_P2HW, (2, 2, 2, 2), mode="replicate")
    # Sums of shifted maps, which is many times faster than convolutions of so few channels.
    maps = sum((weight * maps[..., i : i + width] for i, weight in enumerate(_GAUSSIAN)), start=torch.zeros(()))
    return sum((weight * maps[..., i : i + height, :] for i, weight in enumerate(_GAUSSIAN)), start=torch.zeros(()))
