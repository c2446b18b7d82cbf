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

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]

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
_GAUSSIAN = np.array([0.0545, 0.2442, 0.4026, 0.2442, 0.0545], np.float32)  # deviation 1
# By so much more, what lies exactly at the rim of a direction has no share in it: many gradients of pictures do, and
# of what rounding leaves there, the root of a share is no longer small.
_ROUNDING = 2.0**-22
# Directions are looked at in one pixel in so many each way: their neighbours, in smooth maps, tell hardly more.
_EVERY = 2
# The camera's map is fitted to one pixel in so many each way, again and again, those that stray weighing less.
_FIT_STRIDE, _FIT_ROUNDS = 6, 8
_UPPER = np.triu_indices(3)
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
    grey_PHW: Tensor, flow_P2HW: Tensor, config: MotionConfig, *, faster: Tensor, camera_P32: Tensor | None = None
) -> Tensor:
    """(P, C + 1, h, w) float32, the mean over each cell; the last channel is how far its pixels move.

    Args:
        grey_PHW: the earlier frame of each pair, in [0, 255].
        flow_P2HW: where each of its pixels is in the later frame, x and y in pixels from where it was.
        faster: (P,) seconds between the frames of a pair, times `config.rate`.
        camera_P32: the affine map that is the camera's; None for that of the whole picture, by `affine_maps`.
    """
    maps = _array(affine_maps(flow_P2HW) if camera_P32 is None else camera_P32)
    grey = grey_PHW.numpy() if grey_PHW.dtype == torch.uint8 else _array(grey_PHW)
    # Pair after pair in the same memory, which stays in the processor's cache; and without threads, which in so
    # small pictures wait for each other longer than they work.
    height, width = flow_P2HW.shape[-2:]
    work = _CellWork(height, width, config)
    pairs = zip(grey, _array(flow_P2HW), maps, faster.tolist(), strict=True)
    cells = [work(grey, flow, camera, of_rate) for grey, flow, camera, of_rate in pairs]
    return torch.from_numpy(np.stack(cells))


def _affine_parts(map_32: Floats, height: int, width: int) -> tuple[Floats, Floats]:
    """What each column (2, 1, width) and each row (2, height, 1) adds to the flow of an affine map."""
    shift, across, down = map_32[:, :, None, None]
    return shift + across * _from_middle(width), down * _from_middle(height)[:, None]


def affine_maps(flow_P2HW: Tensor) -> Tensor:
    """(P, 3, 2): of the affine map of each whole picture its shift x and y in the middle, how both grow from the left
    side to the right one, and from top to bottom, in pixels.

    Iteratively reweighted least squares: who walks through the picture does not follow the map, and weighs little.
    """
    pairs, _, height, width = flow_P2HW.shape
    some = slice(min(_FIT_STRIDE, height, width) // 2, None, _FIT_STRIDE)
    y, x = np.meshgrid(_from_middle(height)[some], _from_middle(width)[some], indexing="ij")
    at = np.stack([np.ones_like(x), x, y]).reshape(3, -1)
    products = np.stack([at[i] * at[j] for i, j in zip(*_UPPER, strict=True)], axis=1)
    seen = _array(flow_P2HW)[:, :, some, some].reshape(pairs, 2, -1).mT
    middle = (at.shape[1] - 1) // 2
    weight, maps = np.ones((pairs, at.shape[1]), np.float32), np.zeros((pairs, 3, 2), np.float32)
    left = np.zeros((pairs, 3, 3))
    for _ in range(_FIT_ROUNDS):
        left[:, _UPPER[0], _UPPER[1]] = left[:, _UPPER[1], _UPPER[0]] = (weight[:, None] @ products)[:, 0]
        right = (at @ (weight[:, :, None] * seen)).astype(np.float64)
        maps = np.linalg.solve(left + 1e-6 * np.eye(3), right).astype(np.float32)
        off = _length(*np.moveaxis(seen - at.T @ maps, 2, 0))
        usual = np.float32(1.48) * np.partition(off, middle)[:, middle, None] + np.float32(_FIT_LEAST)
        weight = 1 / np.square(1 + np.square(off / usual))
    return torch.from_numpy(maps)


def _from_middle(length: int) -> Floats:
    """Where pixels of a side are, from -1/2 to 1/2."""
    return np.linspace(-0.5, 0.5, length, dtype=np.float32)


def _array(numbers: Tensor) -> Floats:
    return numbers.float().numpy()


def _smooth(picture: Floats) -> Floats:
    smooth = cv2.sepFilter2D(picture, cv2.CV_32F, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth, np.float32)


def _length(x: Floats, y: Floats) -> Floats:
    squares = np.square(x)
    squares += np.square(y)
    return np.sqrt(squares, out=squares)


class _CellWork:
    """Cells of pairs of pictures of one size, one pair after the other in the same memory.

    Inside, h x w are the places that are looked at, of which each cell has `side` x `side`.
    """

    def __init__(self, height: int, width: int, config: MotionConfig) -> None:
        self._still, self._side = config.still, config.cell // _EVERY
        self._rows, self._columns = (-(-length // _EVERY) // self._side for length in (height, width))
        h, w = self._rows * self._side, self._columns * self._side
        self._some = np.s_[: h * _EVERY : _EVERY, : w * _EVERY : _EVERY]
        self._rest = np.empty((2, height, width), np.float32)
        # Across and down, of the histograms side by side.
        self._vectors = np.empty((2, h, len(HISTOGRAMS), w), np.float32)
        self._scratch = np.empty((4, h, len(HISTOGRAMS), w), np.float32)
        self._sums = np.empty((DIRECTIONS, self._rows, len(HISTOGRAMS), w), np.float32)

    def __call__(self, grey: NDArray[np.uint8] | Floats, flow: Floats, camera: Floats, faster: float) -> Floats:
        """(C + 1, rows, columns) from grey (H, W), flow (2, H, W) and the camera's map (3, 2)."""
        of_columns, of_rows = _affine_parts(camera, *grey.shape)
        rest = np.subtract(flow, of_columns, out=self._rest)
        rest -= of_rows
        distance = _length(*(part[self._some] for part in rest)) / np.float32(faster)
        is_moving = distance >= self._still
        smooth = [_smooth(part) for part in rest]
        for axis, across_and_down in enumerate(self._vectors):
            hog, hof, *mbh = np.moveaxis(across_and_down, 1, 0)
            hog[:] = self._gradient(grey, axis)
            np.multiply(smooth[axis][self._some], is_moving, out=hof)
            for part, component in zip(mbh, smooth, strict=True):
                part[:] = self._gradient(component, axis)
        hog, hof, mbh_x, mbh_y = np.moveaxis(self._in_directions(), 2, 0)
        others = np.stack([~is_moving, distance], axis=1, dtype=np.float32)
        still, far = np.moveaxis(self._means(self._sums_down(others)), 1, 0)
        return np.concatenate([hog, hof, still[None], mbh_x, mbh_y, far[None]])

    def _gradient(self, picture: NDArray[np.uint8] | Floats, axis: int) -> Floats:
        """Across (0) or down (1), at the places that are looked at."""
        found = cv2.Sobel(picture, cv2.CV_32F, 1 - axis, axis, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(found, np.float32)[self._some]

    def _in_directions(self) -> Floats:
        """(DIRECTIONS, rows, histograms, columns): how much of the vectors of a cell points which way, each shared
        by the two ways next to it."""
        (x, y), slanting, least, opposite, part = self._vectors, *self._scratch
        np.square(x, out=least)
        least += np.square(y, out=part)
        np.sqrt(least, out=least)
        least *= np.float32(_LOBE * (1 + _ROUNDING))
        np.negative(least, out=opposite)
        for way in range(DIRECTIONS // 2):
            along = (x, slanting, y, slanting)[way]
            if along is slanting:
                (np.add if way == 1 else np.subtract)(y, x, out=slanting)
                slanting *= np.float32(math.sqrt(0.5))
            np.maximum(along, least, out=part)
            part -= least
            self._sums_down(part, out=self._sums[way])
            np.minimum(along, opposite, out=part)
            np.subtract(opposite, part, out=part)
            self._sums_down(part, out=self._sums[way + DIRECTIONS // 2])
        return self._means(self._sums) / np.float32(1 - _LOBE)

    def _sums_down(self, places: Floats, out: Floats | None = None) -> Floats:
        """(rows, ..., w) from (h, ..., w)."""
        return np.add.reduce(places.reshape(self._rows, self._side, *places.shape[1:]), axis=1, out=out)

    def _means(self, sums: Floats) -> Floats:
        """(..., columns) of all places of a cell, from the sums of its columns (..., w)."""
        total = sum((sums[..., place :: self._side] for place in range(self._side)), start=np.float32(0))
        return np.asarray(total, np.float32) / np.float32(self._side**2)


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
    numbers = torch.arange(cells[:, 0].numel()).view(cells[:, 0].shape)
    cells_of_NL, moving_NL = (_in_blocks(each) for each in (numbers, cells[:, -1]))
    amount = moving_NL.mean(dim=-1)
    chosen = (amount > config.moves).nonzero()[:, 0]
    if len(chosen) < _LEAST_BLOCKS:
        chosen = amount.topk(min(_LEAST_BLOCKS, len(amount))).indices.sort().values
    if len(chosen) > config.most_blocks:
        chosen = chosen[torch.linspace(0, len(chosen) - 1, config.most_blocks).round().long()]
    # Of those chosen alone, which are few as a rule.
    rows = cells[:, :-1].permute(0, 2, 3, 1).flatten(0, 2)
    blocks_NCL = rows[cells_of_NL[chosen].flatten()].unflatten(0, (-1, CELLS_OF_BLOCK)).mT
    flat = [histogram.flatten(1) for histogram in blocks_NCL.split(list(HISTOGRAMS.values()), dim=1)]
    return torch.cat([(each / (each.sum(dim=1, keepdim=True) + 1e-6)).sqrt() for each in flat], dim=1)


def _in_blocks(of_cells_Shw: Tensor) -> Tensor:
    """(N, L): what is said of cells, for all blocks."""
    blocks = of_cells_Shw.unfold(0, STEPS_OF_BLOCK, 1).unfold(1, CELLS_DOWN, 1).unfold(2, CELLS_ACROSS, 1)
    return blocks.flatten(3).flatten(0, 2)


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
