"""Convolutional stages over large maps in tiles, with the same result as in one piece.

A tile is read with a halo as wide as the stage can see, and only its inner part is kept. At the picture's own edges
there is no halo, so the stage's padding acts there exactly as it does on the whole map. Statistics that span the
whole picture are never taken from a tile.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

Stage = Callable[..., Tensor]


@dataclass(frozen=True)
class Tile:
    """A part of a map, in input locations. Half-open ranges."""

    top: int
    bottom: int
    left: int
    right: int

    def times(self, scale: int) -> "Tile":
        """The same part of a map `scale` times as large."""
        return Tile(self.top * scale, self.bottom * scale, self.left * scale, self.right * scale)

    def with_halo(self, map_1CHW: Tensor, halo: int) -> Tensor:
        """This part of the map with up to `halo` more locations on every side that has them."""
        top, left = max(0, self.top - halo), max(0, self.left - halo)
        return map_1CHW[:, :, top : self.bottom + halo, left : self.right + halo]

    def of(self, map_1CHW: Tensor, stride: int) -> Tensor:
        """This part, without halo, of a map at 1 / stride the size."""
        rows, columns = (
            slice(a // stride, b // stride) for a, b in ((self.top, self.bottom), (self.left, self.right))
        )
        return map_1CHW[:, :, rows, columns]

    def inner(self, result_1CHW: Tensor, halo: int, stride: int = 1, scale: int = 1) -> Tensor:
        """What belongs to this tile in a stage's result on `with_halo`, at 1 / stride or scale times the size."""
        y, x = (min(halo, edge) * scale // stride for edge in (self.top, self.left))
        height, width = (self.bottom - self.top) * scale // stride, (self.right - self.left) * scale // stride
        return result_1CHW[:, :, y : y + height, x : x + width]


def tiles(height: int, width: int, side: int) -> Iterator[Tile]:
    """Cover height x width by tiles of at most `side`, row by row."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Tile(top, min(top + side, height), left, min(left + side, width))


def run_tiled(
    stage: Stage, map_1CHW: Tensor, *, side: int, halo: int, scale: int, beside: Tensor | None = None
) -> Tensor:
    """Apply `stage` to a map tile by tile.

    Args:
        stage: (1, C, H, W) to (1, C', H * scale, W * scale).
        map_1CHW: the whole input.
        side: side of a tile's kept part, in input locations.
        halo: how many input locations beyond its own the stage can see.
        beside: a second map of the output's size; the stage gets its part, halo included, as a second argument.

    Returns:
        The assembled output, allocated once.
    """
    H, W = map_1CHW.shape[2:]
    output: Tensor | None = None
    for tile in tiles(H, W, side):
        maps = [tile.with_halo(map_1CHW, halo)]
        if beside is not None:
            maps.append(tile.times(scale).with_halo(beside, halo * scale))
        part = tile.inner(stage(*maps), halo, scale=scale)
        if output is None:
            output = part.new_empty((1, part.shape[1], H * scale, W * scale))
        rows, columns = slice(tile.top * scale, tile.bottom * scale), slice(tile.left * scale, tile.right * scale)
        output[:, :, rows, columns] = part
    if output is None:
        raise ValueError(f"the map is empty: {tuple(map_1CHW.shape)}")
    return output


class RunningStatistics:
    """Mean and population deviation per channel of a map that is seen in parts, in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, part_1CHW: Tensor) -> None:
        """Take in one part of the map."""
        part = part_1CHW.double()
        self._count += part.shape[2] * part.shape[3]
        self._sum = self._sum + part.sum((2, 3), keepdim=True)
        self._squares = self._squares + part.square().sum((2, 3), keepdim=True)

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each (1, C, 1, 1) float32."""
        mean = torch.as_tensor(self._sum) / self._count
        variance = (torch.as_tensor(self._squares) / self._count - mean.square()).clamp_min(0)
        return mean.float(), variance.sqrt().float()
