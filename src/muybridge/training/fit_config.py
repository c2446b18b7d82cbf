"""How long and how to train: numbers and the arithmetic on them."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from muybridge.errors import OptionError
from muybridge.options import BASIC, HIDDEN, MOST_AT_ONCE, MOST_READERS, PLAIN, RUN
from muybridge.schema import Within, require_within

_LEAST = {
    **dict.fromkeys(("batch_size", "accumulate", "save_every"), 1),
    **dict.fromkeys(("learning_rate", "workers", "validations", "validate_every", "patience", "clip_norm"), 0),
}
_LIMITS = {
    **dict.fromkeys(("batch_size", "accumulate"), Within(1, MOST_AT_ONCE)),
    "workers": Within(0, MOST_READERS),
}


@dataclass(frozen=True)
class FitConfig:
    """How long and how to train.

    Attributes:
        epochs: Passes over the training data.
        steps: Optimizer steps, in place of epochs.
        warmup: Share of the steps in which the learning rate rises.
        warmup_from: Share of the learning rate that it rises from.
        schedule: What it does then: it falls along half a cosine, is constant, or is divided by 10 twice near the
            end.
        milestones: shares of the steps at which "step" divides; by default those of ACAR-Net, 5.6 and 5.8 of 6 epochs
            (arXiv 2006.07976).
        batch_size: Clips or pictures of one step, over all processes and rounds together.
        optimizer: adamw, or sgd with Nesterov momentum.
        learning_rate: At its peak.
        weight_decay: On matrices, none on biases and norms; decoupled with adamw, added to the gradient with sgd.
        momentum: Of sgd.
        epsilon: Adam's.
        clip_norm: Largest gradient norm; 0 for any.
        accumulate: Rounds that one batch is split into, to save memory.
        precision: Number format of the forward pass; weights stay float32.
        compile: Compile the network first; pays in long runs.
        seed: Of the split, the order of the data, its augmentation, and new weights.
        validations: How often what is held out is measured on the way; the best weights are kept. 0 measures at the
            end only.
        validate_every: Steps between these measurements, in place of their number.
        patience: Stop after so many measurements without improvement; 0 never.
        workers: Processes that read data; 0 reads in the training process.
        save_every: Steps between checkpoints.
        tensorboard: Write TensorBoard's files too, into NAME.training/tensorboard.
    """

    epochs: Annotated[float, BASIC] = 30
    steps: int = 0
    warmup: float = 0.0
    warmup_from: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: Annotated[tuple[float, ...], HIDDEN] = (5.6 / 6, 5.8 / 6)
    batch_size: int = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    momentum: float = 0.9
    epsilon: Annotated[float, HIDDEN] = 1e-8
    clip_norm: float = 0.0
    accumulate: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: Annotated[bool, PLAIN] = False
    seed: int = 0
    validations: int = 0
    validate_every: int = 0
    patience: int = 0
    workers: Annotated[int, RUN] = 0
    save_every: Annotated[int, RUN] = 500
    tensorboard: Annotated[bool, RUN, PLAIN] = False

    def __post_init__(self) -> None:
        if not self.epochs > 0 or self.steps < 0:
            raise OptionError(f"epochs={self.epochs}, steps={self.steps} train nothing. Choose numbers above 0.")
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise OptionError(f"{name}={getattr(self, name)} is too small. Choose {least} or more.")
        require_within(self, _LIMITS)
        if not 0 < self.momentum < 1:
            raise OptionError(f"momentum={self.momentum} is out of range. Choose a number between 0 and 1, as 0.9.")
        if not 0 <= self.warmup <= 1:
            raise OptionError(f"warmup={self.warmup} is no share of the steps. Choose 0 to 1.")
        if not 0 <= self.warmup_from <= 1:
            raise OptionError(f"warmup_from={self.warmup_from} is no share of the learning rate. Choose 0 to 1.")
        if not all(0 <= share <= 1 for share in self.milestones):
            raise OptionError(f"milestones={self.milestones} are no shares of the steps. Choose 0 to 1 for each.")

    @property
    def warmup_steps(self) -> int:
        """Steps of linear warm-up, of a run whose steps are known."""
        return round(self.warmup * self.steps)

    def of(self, num_items: int) -> "FitConfig":
        """The configuration of a run over so many items: with its steps, and how many lie between validations.

        Raises:
            OptionError: no learning rate.
        """
        if not self.learning_rate > 0:
            raise OptionError(f"learning_rate={self.learning_rate} trains nothing. Choose a number above 0.")
        steps = self.steps or steps_of_epochs(self.epochs, num_items, self.batch_size)
        every = math.ceil(steps / self.validations) if self.validations else 0
        return replace(self, steps=steps, validate_every=self.validate_every or every)


@dataclass(frozen=True)
class ClipFitConfig(FitConfig):
    """What suits networks over clips."""

    warmup: float = 0.1
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    validations: int = 10
    workers: Annotated[int, RUN] = 2


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
