"""What the localization heads take in: actors of a whole batch, context maps, windows of a feature bank.

A batch of clips holds differing numbers of actors. They travel as one flat list; `Grouping` says which clip each
belongs to, so that no step needs a loop over clips or actors.

Shapes: B clips, N actors or M bank entries of all clips together, P the most of one clip, C channels, h x w
locations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from muybridge.errors import OptionError

MIN_CONTEXT_SIDE = 3  # what the unpadded 3x3 convolution of the heads needs


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which clip each item of a flat list belongs to; items of one clip lie together, clips in order.

    Attributes:
        clips: (N,) int64, ascending.
        slots: (N,) int64, place within the clip, from 0.
        num_clips: B, those without items included.
        most: P, items of the fullest clip.
    """

    clips: Tensor
    slots: Tensor
    num_clips: int
    most: int

    @classmethod
    def from_counts(cls, counts: Sequence[int]) -> "Grouping":
        """From the number of items of each clip."""
        amount = torch.tensor(counts, dtype=torch.int64)
        clips = torch.repeat_interleave(torch.arange(len(counts)), amount)
        slots = torch.arange(len(clips)) - (amount.cumsum(0) - amount)[clips]
        return cls(clips, slots, len(counts), max(counts, default=0))

    def __len__(self) -> int:
        return self.clips.shape[0]

    @property
    def is_full(self) -> bool:
        """Whether every clip holds equally many, so that a reshape separates them."""
        return len(self) == self.num_clips * self.most

    def to(self, device: torch.device | str) -> "Grouping":
        """The same grouping on another device."""
        return replace(self, clips=self.clips.to(device), slots=self.slots.to(device))

    def pad(self, items_N: Tensor) -> Tensor:
        """(N, ...) flat items to (B, max(P, 1), ...), zeros where a clip holds fewer than P."""
        if self.is_full and self.most:
            return items_N.unflatten(0, (self.num_clips, self.most))
        padded = items_N.new_zeros(self.num_clips, max(self.most, 1), *items_N.shape[1:])
        return padded.index_put((self.clips, self.slots), items_N)

    def unpad(self, padded_BP: Tensor) -> Tensor:
        """The inverse of `pad`."""
        if self.is_full and self.most:
            return padded_BP.flatten(0, 1)
        return padded_BP[self.clips, self.slots]


@dataclass(frozen=True, eq=False)
class Actors:
    """The people of a batch of clips.

    Attributes:
        boxes: (N, 4) float, x1 y1 x2 y2 as fractions of the (padded) frame's width and height.
        groups: which clip each is in.
    """

    boxes: Tensor
    groups: Grouping

    @classmethod
    def from_clips(cls, boxes: Sequence[Tensor]) -> "Actors":
        """From each clip's boxes, (n, 4) on the CPU, n from 0; boxes should be clipped to the frame beforehand.

        Raises:
            OptionError: a shape other than (n, 4), a coordinate that is not finite, or a reversed box.
        """
        for clip, each in enumerate(boxes):
            if each.ndim != 2 or each.shape[1] != 4:
                raise OptionError(
                    f"boxes[{clip}] has the shape {tuple(each.shape)}, not (actors, 4). "
                    "Give torch.empty(0, 4) for none."
                )
            if not bool(torch.isfinite(each).all()):
                raise OptionError(f"boxes[{clip}] holds NaN or infinite coordinates. Drop those boxes.")
            if bool((each[:, 2:] <= each[:, :2]).any()):
                raise OptionError(
                    f"boxes[{clip}] holds a box with x2 <= x1 or y2 <= y1. Give x1 y1 x2 y2, or drop it."
                )
        flat = torch.cat([each.float() for each in boxes]) if boxes else torch.empty(0, 4)
        return cls(flat, Grouping.from_counts([len(each) for each in boxes]))

    def __len__(self) -> int:
        return len(self.groups)

    def to(self, device: torch.device | str) -> "Actors":
        """The same actors on another device."""
        return Actors(self.boxes.to(device), self.groups.to(device))


@dataclass(frozen=True, eq=False)
class ContextMap:
    """What a trunk makes of a batch of clips.

    Attributes:
        features: (B, C, h, w).
        extents: (B, 2) int64 rows and columns from the top left that are not padding; None where all is content.
    """

    features: Tensor
    extents: Tensor | None = None


def unpadded_extents(
    sizes: Sequence[tuple[int, int]], padded: tuple[int, int], grid: tuple[int, int]
) -> Tensor | None:
    """Rows and columns of a context map that hold content, where frames were padded at the right and bottom.

    Args:
        sizes: each clip's height and width in pixels before padding.
        padded: height and width in pixels after it.
        grid: rows and columns of the context map.

    Returns:
        (B, 2) int64, the grid's share of the unpadded pixels rounded up; None where nothing is padded.

    Raises:
        OptionError: a clip is larger than `padded`, or too small for the 3x3 convolution of the head.
    """
    if all(size == padded for size in sizes):
        return None
    extents: list[list[int]] = []
    for clip, size in enumerate(sizes):
        if not all(0 < side <= whole for side, whole in zip(size, padded, strict=True)):
            raise OptionError(f"sizes[{clip}]={size} must lie within the padded frame {padded}. Give pixels.")
        extent = [-(-cells * side // whole) for cells, side, whole in zip(grid, size, padded, strict=True)]
        if min(extent) < MIN_CONTEXT_SIDE:
            raise OptionError(
                f"sizes[{clip}]={size} leaves {extent[0]} x {extent[1]} locations of context; "
                f"{MIN_CONTEXT_SIDE} x {MIN_CONTEXT_SIDE} are needed. Use larger frames."
            )
        extents.append(extent)
    return torch.tensor(extents, dtype=torch.int64)


def extent_mask(extents_N2: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, 2) rows and columns kept from the top left to a mask (N, 1, h, w), true inside."""
    rows = torch.arange(grid[0], device=extents_N2.device) < extents_N2[:, :1]
    columns = torch.arange(grid[1], device=extents_N2.device) < extents_N2[:, 1:]
    return (rows[:, :, None] & columns[:, None, :])[:, None]


@dataclass(frozen=True, eq=False)
class BankWindow:
    """First-order actor-context maps around the key frame of each clip, read from a feature bank.

    Attributes:
        maps: (M, C, h, w), as `ACARHead.first_order` gives them.
        groups: for which clip of the batch each is read; a clip may have none.
        used: (M,) bool, entries to attend to; None for all.
    """

    maps: Tensor
    groups: Grouping
    used: Tensor | None = None

    @classmethod
    def from_clips(
        cls,
        maps: Sequence[Tensor],
        grid: tuple[int, int],
        *,
        extents: Sequence[tuple[int, int]] | None = None,
        used: Sequence[Tensor] | None = None,
    ) -> "BankWindow":
        """From each clip's entries, (m, C, rows, columns) each, m from 0.

        A bank holds maps at one scale; a clip read at another has its entries resized, bilinearly.

        Args:
            maps: one tensor a clip.
            grid: rows and columns of the current batch's first-order maps: `ACARHead.map_grid`.
            extents: rows and columns of each clip's first-order map that are not padding.
            used: (m,) bool for each clip: which of its entries count, as from `within_window`.
        """
        targets = extents or [grid] * len(maps)
        fitted = [_fit(each, target, grid) for each, target in zip(maps, targets, strict=True)]
        return cls(
            torch.cat(fitted),
            Grouping.from_counts([len(each) for each in maps]),
            None if used is None else torch.cat([*used]),
        )

    def to(self, device: torch.device | str) -> "BankWindow":
        """The same window on another device."""
        used = None if self.used is None else self.used.to(device)
        return BankWindow(self.maps.to(device), self.groups.to(device), used)


def _fit(maps_MChw: Tensor, target: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    if len(maps_MChw) == 0:
        return maps_MChw.new_zeros(0, maps_MChw.shape[1], *grid)
    if tuple(maps_MChw.shape[-2:]) != target:
        maps_MChw = F.interpolate(maps_MChw, size=target, mode="bilinear", align_corners=False)
    return F.pad(maps_MChw, (0, grid[1] - target[1], 0, grid[0] - target[0]))


def within_window(times_M: Tensor, now: float, *, before: float, after: float) -> Tensor:
    """Which entries lie in the closed window [now - before, now + after] seconds: (M,) bool.

    A microsecond of tolerance takes up the rounding of times that are sums of frame durations.
    """
    offset = times_M - now
    return (offset >= -before - 1e-6) & (offset <= after + 1e-6)
