"""Which item is drawn at which training step, as pure arithmetic, so that a resumed run draws the same ones."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler


@dataclass(frozen=True)
class Draw:
    """One item of one batch.

    Attributes:
        index: item of the data set.
        seed: for this item's augmentation; differs at every draw, equal again when a run is repeated or resumed.
    """

    index: int
    seed: int


class StepBatches(Sampler[list[Draw]]):
    """The batches of steps `start` to `stop`, in shuffled passes over all items.

    Depends only on its arguments, never on what was drawn before. With several processes, each gets its share of
    every batch: positions rank, rank + world_size, ...

    Args:
        num_items: length of the data set.
        batch_size: items of one step over all processes together.
        weights: (num_items,) relative frequencies for drawing with replacement; None draws each item once a pass.
    """

    def __init__(
        self,
        num_items: int,
        *,
        batch_size: int,
        start: int,
        stop: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        weights: torch.Tensor | None = None,
    ) -> None:
        self.num_items, self.batch_size = num_items, batch_size
        self.start, self.stop, self.seed = start, stop, seed
        self.rank, self.world_size = rank, world_size
        self.weights = weights

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[Draw]]:
        order, order_pass = torch.empty(0, dtype=torch.int64), -1
        for step in range(self.start, self.stop):
            batch: list[Draw] = []
            for position in range(self.rank, self.batch_size, self.world_size):
                serial = step * self.batch_size + position
                this_pass, place = divmod(serial, self.num_items)
                if this_pass != order_pass:
                    order, order_pass = self._order(this_pass), this_pass
                batch.append(Draw(int(order[place]), (self.seed << 40) + serial))
            yield batch

    def _order(self, this_pass: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed((self.seed << 32) + this_pass)
        if self.weights is None:
            return torch.randperm(self.num_items, generator=generator)
        return torch.multinomial(self.weights, self.num_items, replacement=True, generator=generator)
