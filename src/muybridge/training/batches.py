"""Batches as tasks make them: a tensor, or tuples, lists and dicts of these, items along the first axis."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor


def num_items(batch: Any) -> int:
    """Length along the first axis of a batch as `split` takes it."""
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    return len(batch)


def split(batch: Any, rounds: int) -> list[Any]:
    """A batch (tensor, or tuple, list or dict of tensors) cut into equal parts along its first axis."""
    if rounds == 1:
        return [batch]
    if isinstance(batch, Tensor):
        return list(batch.chunk(rounds))
    if isinstance(batch, Mapping):
        parts = {key: split(value, rounds) for key, value in cast(Mapping[str, Any], batch).items()}
        return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
    return [tuple(values) for values in zip(*(split(part, rounds) for part in batch), strict=True)]
