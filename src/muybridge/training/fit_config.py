"""How long and how to train: numbers and the arithmetic on them."""

import math
from dataclasses import dataclass
from typing import Literal

from muybridge.errors import OptionError


@dataclass(frozen=True)
class FitConfig:
    """How long and how to train.

    Attributes:
        steps: optimizer steps.
        batch_size: items of one step, over all processes and accumulation rounds together.
        learning_rate: peak learning rate of Adam.
        weight_decay: decoupled weight decay; none on biases, norms and other vectors.
        epsilon: Adam's epsilon.
        warmup_steps: steps of linear warm-up from 0.
        schedule: what the learning rate does after the warm-up.
        accumulate: rounds that one batch is split into, to save memory.
        clip_norm: largest gradient norm; 0 clips nothing.
        precision: number format of the forward pass; weights stay float32.
        workers: processes that read data; 0 reads in the training process.
        seed: of the order of the data, its augmentation, and the objective's own draws.
        save_every: steps between checkpoints.
        validate_every: steps between validations; 0 validates at the end only.
        patience: validations without improvement after which training stops; 0 never stops early.
        compile: compile the objective's forward pass, which pays in long runs.
        tensorboard: write TensorBoard's files too, into the folder's sub-folder `tensorboard`.
    """

    steps: int = 10_000
    batch_size: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    accumulate: int = 1
    clip_norm: float = 0.0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: int = 0
    seed: int = 0
    save_every: int = 500
    validate_every: int = 0
    patience: int = 0
    compile: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("accumulate", 1), ("save_every", 1), ("workers", 0)):
            if getattr(self, name) < least:
                raise OptionError(f"{name}={getattr(self, name)} is too small. Choose {least} or more.")
        if not self.learning_rate > 0:
            raise OptionError(f"learning_rate={self.learning_rate} trains nothing. Choose a number above 0.")
        if self.warmup_steps > self.steps:
            raise OptionError(f"warmup_steps={self.warmup_steps} is more than the {self.steps} steps. Choose fewer.")


def steps_of_epochs(epochs: float, num_items: int, batch_size: int) -> int:
    """Steps in which each item is drawn `epochs` times on average; at least one."""
    return max(1, math.ceil(epochs * num_items / batch_size))


def learning_rate_of_batch(per_256: float, batch_size: int) -> float:
    """The linear scaling rule: papers give learning rates per 256 items of a batch."""
    return per_256 * batch_size / 256


def learning_rate_at(step: int, config: FitConfig) -> float:
    """Linear warm-up from 0, then constant, or half a cosine to 0 at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
