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
        learning_rate: the peak.
        weight_decay: none on biases, norms and other vectors; decoupled with AdamW, added to the gradient with SGD.
        optimizer: AdamW, or SGD with Nesterov momentum.
        epsilon: Adam's epsilon.
        momentum: SGD's.
        warmup_steps: steps of linear warm-up.
        warmup_from: share of the peak that the warm-up starts from.
        schedule: what the learning rate does after the warm-up; "step" divides it by 10 at each of the milestones.
        milestones: as shares of the steps; by default those of ACAR-Net, 5.6 and 5.8 of 6 epochs (arXiv 2006.07976).
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
    optimizer: Literal["adamw", "sgd"] = "adamw"
    epsilon: float = 1e-8
    momentum: float = 0.9
    warmup_steps: int = 0
    warmup_from: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: tuple[float, ...] = (5.6 / 6, 5.8 / 6)
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
        if not 0 < self.momentum < 1:
            raise OptionError(f"momentum={self.momentum} is out of range. Choose a number between 0 and 1, as 0.9.")
        if not 0 <= self.warmup_from <= 1:
            raise OptionError(f"warmup_from={self.warmup_from} is no share of the learning rate. Choose 0 to 1.")
        if not all(0 <= share <= 1 for share in self.milestones):
            raise OptionError(f"milestones={self.milestones} are no shares of the steps. Choose 0 to 1 for each.")
        if self.warmup_steps > self.steps:
            raise OptionError(f"warmup_steps={self.warmup_steps} is more than the {self.steps} steps. Choose fewer.")


def steps_of_epochs(epochs: float, num_items: int, batch_size: int) -> int:
    """Steps in which each item is drawn `epochs` times on average; at least one."""
    return max(1, math.ceil(epochs * num_items / batch_size))


def learning_rate_of_batch(per_256: float, batch_size: int) -> float:
    """The linear scaling rule: papers give learning rates per 256 items of a batch."""
    return per_256 * batch_size / 256


def learning_rate_at(step: int, config: FitConfig) -> float:
    """Linear warm-up, then constant, divided by 10 at milestones, or half a cosine to 0 at the last step."""
    if step < config.warmup_steps:
        share = config.warmup_from + (1 - config.warmup_from) * step / config.warmup_steps
        return config.learning_rate * share
    if config.schedule == "step":
        passed = sum(step >= share * config.steps for share in config.milestones)
        return config.learning_rate * 0.1**passed
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
