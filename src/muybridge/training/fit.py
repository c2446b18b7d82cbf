"""The one training loop. Tasks differ by the objective, the data and the validation handed in.

draws ── data set ── batch ── objective.forward ── {"loss", ...} ── backward ── optimizer ── checkpoint
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from muybridge.data.sampling import Draw, StepBatches
from muybridge.errors import TrainingError
from muybridge.progress import ProgressLine, progress_line

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.jsonl"


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


class Objective(Protocol):
    """What a task hands to `fit`: an `nn.Module` whose forward turns a batch into named scalars.

    The entry "loss" is minimised, the others are reported. Parameters without `requires_grad` are neither trained
    nor saved in checkpoints.
    """

    def __call__(self, batch: Any) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Validation:
    """A measurement on held-out data.

    Attributes:
        run: returns named numbers.
        key: the number that decides which weights are kept.
        larger_is_better: its direction.
    """

    run: Callable[[], Mapping[str, float]]
    key: str
    larger_is_better: bool = True

    def improves(self, new: float, best: float | None) -> bool:
        """Whether `new` is better than `best`."""
        return best is None or (new > best if self.larger_is_better else new < best)


@dataclass(frozen=True)
class FitResult:
    """What came of a run.

    Attributes:
        step: the last step done.
        best_step: the step whose weights the objective holds now.
        metrics: the validation of those weights; empty without a validation.
    """

    step: int
    best_step: int
    metrics: Mapping[str, float]


def fit(
    objective: nn.Module,
    dataset: Dataset[Any],
    config: FitConfig,
    *,
    folder: Path,
    validation: Validation | None = None,
    weights: Tensor | None = None,
    resume: bool = False,
    collate: Callable[[list[Any]], Any] | None = None,
    accelerator: str = "auto",
    title: str = "training",
) -> FitResult:
    """Train `objective` in place and leave it holding the best weights (the last ones without a validation).

    Args:
        objective: see `Objective`.
        dataset: a map-style data set with a length, indexed by `Draw`.
        folder: receives `checkpoint.pt` (whole or not at all) and `history.jsonl`.
        weights: (len(dataset),) draw frequencies, against class imbalance.
        resume: go on from the folder's checkpoint. On the CPU the run then equals an uninterrupted one bit for bit.
        accelerator: as Fabric names them: auto, cpu, cuda, mps.

    Raises:
        TrainingError: no data, nothing to train, a checkpoint of another configuration, or a loss that is not finite.
    """
    num_items = len(cast(Any, dataset))
    if num_items == 0:
        raise TrainingError("there is nothing to train on: the data set is empty")
    fabric = Fabric(
        accelerator=accelerator, devices="auto" if "WORLD_SIZE" in os.environ else 1, precision=config.precision
    )
    if "WORLD_SIZE" in os.environ:
        fabric.launch()
    fabric.seed_everything(config.seed, verbose=False)
    optimizer = _optimizer(objective, config)
    module, wrapped = fabric.setup(objective, optimizer)
    run = _Run(fabric, module, wrapped, config, folder, validation)
    if resume:
        run.load()
    elif fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HISTORY).unlink(missing_ok=True)
    batches = StepBatches(
        num_items,
        batch_size=config.batch_size,
        start=run.step,
        stop=config.steps,
        seed=config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        weights=weights,
    )
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch_sampler=cast(Any, batches),  # indexed by Draw, not by int: the loader hands on what the sampler yields
        num_workers=config.workers,
        collate_fn=collate,
        generator=torch.Generator(),  # its own, or a resumed run would find torch's global one a draw further
    )
    quiet = not fabric.is_global_zero
    with progress_line(title, total=config.steps, unit="steps", done=run.step, quiet=quiet) as line:
        run.train(fabric.setup_dataloaders(loader, use_distributed_sampler=False), line)
    return run.finish()


def _optimizer(objective: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    trained = [p for p in objective.parameters() if p.requires_grad]
    if not trained:
        raise TrainingError("there is nothing to train: every parameter is frozen")
    matrices = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, eps=config.epsilon)


def learning_rate_at(step: int, config: FitConfig) -> float:
    """Linear warm-up from 0, then constant, or half a cosine to 0 at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * step / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


class _Run:
    """The state of one run: what a checkpoint holds, and how a step changes it."""

    def __init__(
        self,
        fabric: Fabric,
        module: Any,
        optimizer: Any,
        config: FitConfig,
        folder: Path,
        validation: Validation | None,
    ) -> None:
        self.fabric, self.module, self.optimizer = fabric, module, optimizer
        self.config, self.folder, self.validation = config, folder, validation
        self.step = 0
        self.best: dict[str, Any] | None = None
        self.validations_since_best = 0
        self.validated_at = -1

    def train(self, loader: Any, line: ProgressLine) -> None:
        for batch in loader:
            losses = self._train_step(batch)
            self.step += 1
            line.advance(detail=f"loss {losses['loss']:.4g}")
            self._record({"step": self.step, **losses})
            due = self.config.validate_every and self.step % self.config.validate_every == 0
            if due and self._validate(line):
                line.note(
                    f"stopped early at step {self.step}: {self.config.patience} validations without improvement"
                )
                break
            if self.step % self.config.save_every == 0:
                self.save()

    def _train_step(self, batch: Any) -> dict[str, float]:
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        rounds = _split(batch, self.config.accumulate)
        sums: dict[str, float] = {}
        for number, part in enumerate(rounds):
            with self.fabric.no_backward_sync(self.module, enabled=number < len(rounds) - 1):
                losses: dict[str, Tensor] = self.module(part)
                self.fabric.backward(losses["loss"] / len(rounds))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / len(rounds)
        if not math.isfinite(sums["loss"]):
            raise TrainingError(
                f"the loss became {sums['loss']} at step {self.step}. Lower --learning-rate, or set --clip-norm 1"
            )
        if self.config.clip_norm:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sums

    def _validate(self, line: ProgressLine | None) -> bool:
        """Measure, keep the best weights, and say whether patience is exhausted."""
        if self.validation is None:
            return False
        self.validated_at = self.step
        self.module.eval()
        rng = torch.get_rng_state()
        metrics = dict(self.validation.run())
        torch.set_rng_state(rng)  # validating more or less often must not change the training
        if line is not None:
            line.note(f"step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
        self._record({"step": self.step, "validation": metrics})
        best = self.best["metrics"][self.validation.key] if self.best else None
        if self.validation.improves(metrics[self.validation.key], best):
            state = {name: value.cpu().clone() for name, value in self._trained_state().items()}
            self.best = {"step": self.step, "metrics": metrics, "state": state}
            self.validations_since_best = 0
        else:
            self.validations_since_best += 1
        return bool(self.config.patience) and self.validations_since_best >= self.config.patience

    def finish(self) -> FitResult:
        if self.validated_at != self.step:
            self._validate(None)
        self.save()
        if self.best is None:
            return FitResult(self.step, self.step, {})
        self.module.load_state_dict(self.best["state"], strict=False)
        return FitResult(self.step, self.best["step"], self.best["metrics"])

    def _trained_state(self) -> dict[str, Tensor]:
        """Trained parameters and all buffers that a state dict holds; frozen parameters are left out."""
        frozen = {name for name, p in self.module.named_parameters() if not p.requires_grad}
        frozen = {name.removeprefix("_forward_module.") for name in frozen}
        state: dict[str, Tensor] = self.module.state_dict()
        return {name: value for name, value in state.items() if name not in frozen}

    def save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        checkpoint = {
            "step": self.step,
            "config": asdict(self.config),
            "state": self._trained_state(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "best": self.best,
            "validations_since_best": self.validations_since_best,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / (CHECKPOINT + ".partial")
        torch.save(checkpoint, beside)
        beside.replace(self.folder / CHECKPOINT)

    def load(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.is_file():
            raise TrainingError(f"cannot resume: there is no {path}. Start without --resume")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        ours = asdict(self.config)
        # A run may be made longer, save more often or read with more processes; all else would be another run.
        free = {"steps", "save_every", "workers"} if self.config.schedule == "constant" else {"save_every", "workers"}
        theirs: dict[str, Any] = checkpoint["config"]
        differing = [
            f"{k} was {theirs.get(k)!r}, now {v!r}" for k, v in ours.items() if theirs.get(k) != v and k not in free
        ]
        if differing:
            raise TrainingError(f"cannot resume {path} with another configuration: {'; '.join(differing)}")
        self.module.load_state_dict(checkpoint["state"], strict=False)
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        torch.set_rng_state(checkpoint["rng"])
        self.step, self.best = checkpoint["step"], checkpoint["best"]
        self.validations_since_best = checkpoint["validations_since_best"]

    def _record(self, row: Mapping[str, Any]) -> None:
        if self.fabric.is_global_zero:
            with (self.folder / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def _split(batch: Any, rounds: int) -> list[Any]:
    """A batch (tensor, or tuple, list or dict of tensors) cut into equal parts along its first axis."""
    if rounds == 1:
        return [batch]
    if isinstance(batch, Tensor):
        return list(batch.chunk(rounds))
    if isinstance(batch, Mapping):
        parts = {key: _split(value, rounds) for key, value in cast(Mapping[str, Any], batch).items()}
        return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
    return [tuple(values) for values in zip(*(_split(part, rounds) for part in batch), strict=True)]


__all__ = ["Draw", "FitConfig", "FitResult", "Objective", "Validation", "fit", "learning_rate_at"]
