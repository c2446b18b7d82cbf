"""The one training loop. Tasks differ by the objective, the data and the validation handed in.

draws ── data set ── batch ── objective.forward ── {"loss", ...} ── backward ── optimizer ── checkpoint
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from muybridge.counts import counted
from muybridge.data.loading import Loader
from muybridge.data.sampling import Draw, StepBatches
from muybridge.devices import is_out_of_memory, peak_memory_bytes
from muybridge.errors import TrainingError
from muybridge.progress import ProgressLine, progress_line
from muybridge.training.batches import num_items, split
from muybridge.training.checkpoint import (
    CHECKPOINT,
    Best,
    Checkpoint,
    are_moments,
    are_same_groups,
    damaged,
    differing_tensors,
    is_sound_state,
    of_another_version,
    read_checkpoint,
    write_checkpoint,
)
from muybridge.training.fit_config import FitConfig, learning_rate_at, learning_rate_of_batch, steps_of_epochs
from muybridge.training.history import HISTORY, History
from muybridge.training.lock import only_training_in
from muybridge.training.processes import set_up, start_processes


class Objective(Protocol):
    """What a task hands to `fit`: an `nn.Module` whose forward turns a batch into named scalars.

    The entry "loss" is minimised, the others are reported; each is a mean over the items of the batch. Where it is a
    mean over something else, `num_terms(batch)` says over how many, so that a batch that is split over rounds and
    processes weighs as one. Parameters without `requires_grad` are neither trained, nor sent between processes, nor
    saved in checkpoints.
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
        peak_memory_bytes: see `muybridge.devices`; None where the system does not tell.
    """

    step: int
    best_step: int
    metrics: Mapping[str, float]
    peak_memory_bytes: int | None


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
    settings: Mapping[str, Any] | None = None,
    memory_advice: str = "",
    validate_first: bool = False,
    sharded: Sequence[nn.Module] = (),
) -> FitResult:
    """Train `objective` in place and leave it holding the best weights (the last ones without a validation).

    Args:
        objective: see `Objective`.
        dataset: a map-style data set with a length, indexed by `Draw`.
        folder: receives `checkpoint.pt` (whole or not at all) and `history.jsonl`; of one training at a time.
        weights: (len(dataset),) draw frequencies, against class imbalance.
        resume: go on from the folder's checkpoint. On the CPU the run then equals an uninterrupted one bit for bit.
        accelerator: auto, cpu, cuda, cuda:1, mps. Processes that torchrun starts take a GPU each.
        settings: whatever else makes this run what it is, as JSON: model, data, sampling. A run resumes only where
            all of it is as it was.
        validate_first: measure before the first step too, where the objective is of use already.
        sharded: frozen parts of the objective that are spread over the processes, each gathered while it computes.
        memory_advice: what of the objective's own options saves memory, as a clause that goes on after "or".

    Raises:
        TrainingError: no data, nothing to train, a damaged checkpoint or one of another configuration or version, a
            folder that another training writes into, a loss that is not finite, or too little memory.
        OutputError: the folder cannot be written or the disk is full; the checkpoint before is kept.
        MissingExtra: TensorBoard is asked for and not installed.
    """
    count = len(cast(Any, dataset))
    if count == 0:
        raise TrainingError("there is nothing to train on: the data set is empty")
    config = config.of(count)
    fabric = start_processes(accelerator, config)
    module, wrapped = set_up(fabric, objective, config, sharded)
    run = _Run(fabric, module, wrapped, config, folder, validation, settings or {})
    if resume:
        run.load()
    if fabric.world_size > 1:  # or all processes would drop out the same features
        torch.manual_seed((config.seed << 40) + run.step * fabric.world_size + fabric.global_rank)
    batches = StepBatches(
        count,
        batch_size=config.batch_size,
        start=run.step,
        stop=config.steps,
        seed=config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        weights=weights,
    )
    loader: Loader[Any] = Loader(
        dataset,
        batch_sampler=cast(Any, batches),  # indexed by Draw, not by int: the loader hands on what the sampler yields
        num_workers=config.workers,
        collate_fn=collate,
        pin_memory=fabric.device.type == "cuda",
        generator=torch.Generator(),  # its own, or a resumed run would find torch's global one a draw further
    )
    quiet = not fabric.is_global_zero
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(only_training_in(folder))
            run.history = History(folder, after_step=run.step, tensorboard=config.tensorboard)
            stack.callback(run.history.close)
        line = stack.enter_context(progress_line(title, total=config.steps, unit="steps", done=run.step, quiet=quiet))
        if run.history is not None and run.history.num_damaged:
            line.note(f"left out: {counted(run.history.num_damaged, 'damaged line')} of {run.history.path}")
        try:
            if validate_first and not run.step:
                run.measure(line)
            if run.is_out_of_patience:
                line.note(f"had stopped early at step {run.step}, and is not trained on")
            else:
                run.train(fabric.setup_dataloaders(loader, use_distributed_sampler=False), line)
            return run.finish()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise _too_little_memory(run.step, config, memory_advice) from error


def check_resumable(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that `fit` would not go on from, before the work that comes before a training.

    Args:
        settings: of those that `fit` will be given, what is known by then.

    Raises:
        TrainingError: there is none, it is damaged, or of another configuration.
    """
    theirs = _flat(read_checkpoint(folder)["config"])
    ours = _flat(json.loads(json.dumps(settings, default=str)))
    _refuse_differing(folder, ours, theirs, names=ours)


def is_main_process() -> bool:
    """False in all but one of the processes that torchrun starts; only this one may write and print."""
    return os.environ.get("RANK", "0") == "0"


def _too_little_memory(step: int, config: FitConfig, advice: str) -> TrainingError:
    part = math.ceil(config.batch_size / config.accumulate)
    remedies: list[str] = []
    if part > 1:
        remedies.append(
            f"--accumulate {config.accumulate * 2}, which splits each batch of {config.batch_size} further"
        )
    if config.precision == "32-true":
        remedies.append("--precision bf16-mixed")
    remedies += [advice] if advice else []
    remedy = ", or ".join(remedies) or "smaller inputs"
    return TrainingError(f"out of memory at step {step} with {counted(part, 'item')} at a time. Try {remedy}")


# What torch's optimizers keep of each parameter.
_MOMENTS = {"adamw": {"step", "exp_avg", "exp_avg_sq"}, "sgd": {"momentum_buffer"}}


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
        settings: Mapping[str, Any],
    ) -> None:
        self.fabric, self.module, self.optimizer = fabric, module, optimizer
        self.config, self.folder, self.validation = config, folder, validation
        self.settings = settings
        self.history: History | None = None
        self.step = 0
        self.best: Best | None = None
        self.validations_since_best = 0
        self.validated_at = -1

    def train(self, loader: Any, line: ProgressLine) -> None:
        for batch in loader:
            losses = self._train_step(batch)
            rate = learning_rate_at(self.step, self.config)
            self.step += 1
            line.advance(detail=f"loss {losses['loss']:.4g}")
            self._record({"step": self.step, **losses, "learning_rate": rate})
            due = self.config.validate_every and self.step % self.config.validate_every == 0
            if due and self._validate(line):
                line.note(
                    f"stopped early at step {self.step}: "
                    f"{counted(self.config.patience, 'validation')} without improvement"
                )
                break
            if self.step % self.config.save_every == 0:
                self.save()

    def measure(self, line: ProgressLine) -> None:
        """Validate at the start, so that training never ends below it."""
        self._validate(line)

    def _train_step(self, batch: Any) -> dict[str, float]:
        self.module.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.config)
        rounds = split(batch, self.config.accumulate)
        sums: dict[str, float] = {}
        for number, (part, share) in enumerate(zip(rounds, self._shares(rounds), strict=True)):
            with self.fabric.no_backward_sync(self.module, enabled=number < len(rounds) - 1):
                losses: dict[str, Tensor] = self.module(part)
                self.fabric.backward(losses["loss"] * share)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * share
        sums = self._over_processes(sums)
        if not math.isfinite(sums["loss"]):
            raise TrainingError(
                f"the loss became {sums['loss']} at step {self.step}. Lower --learning-rate, or set --clip-norm 1"
            )
        if self.config.clip_norm:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sums

    def _shares(self, rounds: Sequence[Any]) -> list[float]:
        """What each part of a batch weighs in the mean over the batch of all processes, times their number.

        Gradients are averaged over processes, which divides by their number again.
        """
        num_terms = getattr(self.module.module, "num_terms", num_items)
        counts = torch.tensor([float(num_terms(part)) for part in rounds], device=self.fabric.device)
        total = counts.sum()
        if self.fabric.world_size > 1:
            total = cast(Tensor, self.fabric.all_reduce(total, reduce_op="mean"))
        return (counts / total.clamp_min(1 / self.fabric.world_size)).tolist()

    def _over_processes(self, values: dict[str, float]) -> dict[str, float]:
        """Means of all processes, in each of them, so that they decide alike."""
        if self.fabric.world_size == 1:
            return values
        stacked = torch.tensor(list(values.values()), device=self.fabric.device)
        means = cast(Tensor, self.fabric.all_reduce(stacked, reduce_op="mean"))
        return dict(zip(values, means.tolist(), strict=True))

    def _validate(self, line: ProgressLine | None) -> bool:
        """Measure, keep the best weights, and say whether patience is exhausted."""
        if self.validation is None:
            return False
        self.validated_at = self.step
        self.module.eval()
        rng = torch.get_rng_state()
        # The first process decides for all: rounding alone could make one of them stop before the others.
        metrics = self.fabric.broadcast(dict(self.validation.run()))
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
        return self.is_out_of_patience

    @property
    def is_out_of_patience(self) -> bool:
        """Whether so many measurements brought no improvement that the run is over."""
        return bool(self.config.patience) and self.validations_since_best >= self.config.patience

    def finish(self) -> FitResult:
        if self.validated_at != self.step:
            self._validate(None)
        self.save()
        peak = peak_memory_bytes(self.fabric.device)
        if self.best is None:
            return FitResult(self.step, self.step, {}, peak)
        self.module.load_state_dict(self.best["state"], strict=False)
        return FitResult(self.step, self.best["step"], self.best["metrics"], peak)

    def _trained_state(self) -> dict[str, Tensor]:
        """Trained parameters and all buffers that a state dict holds; frozen parameters are left out."""
        # The objective itself: around it are Fabric's wrapper and, with several processes, DDP's.
        frozen = {name for name, p in self.module.module.named_parameters() if not p.requires_grad}
        state: dict[str, Tensor] = self.module.state_dict()
        return {name: value for name, value in state.items() if name not in frozen}

    def save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        checkpoint: Checkpoint = {
            "step": self.step,
            "config": self._described(),
            "state": self._trained_state(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "best": self.best,
            "validations_since_best": self.validations_since_best,
        }
        write_checkpoint(self.folder, checkpoint)

    def load(self) -> None:
        checkpoint = read_checkpoint(self.folder)
        # A checkpoint older than an option was made with its default.
        defaults = json.loads(json.dumps(asdict(FitConfig())))
        ours, theirs = _flat(self._described()), _flat(defaults | checkpoint["config"])
        # A run may be made longer, save more often or read with more processes; all else would be another run.
        free = {"save_every", "workers", "tensorboard", "epochs", "validations"}  # the last two are told in steps too
        free |= {"steps"} if self.config.schedule == "constant" else set()
        _refuse_differing(self.folder, ours, theirs, names=(ours.keys() | theirs.keys()) - free)
        self._take(checkpoint)

    def _take(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this configuration."""
        ours, best = self._trained_state(), checkpoint["best"]
        for state in (checkpoint["state"], *([] if best is None else [best["state"]])):
            if not is_sound_state(state):
                raise damaged(self.folder)
            if others := differing_tensors(state, ours):
                shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
                raise of_another_version(self.folder, f"what it trains and what is trained here differ in {shown}")
        if best is not None and self.validation is not None and self.validation.key not in best["metrics"]:
            raise of_another_version(self.folder, f"it was not measured by {self.validation.key}")
        groups: list[dict[str, Any]] = self.optimizer.state_dict()["param_groups"]
        try:
            if not are_same_groups(checkpoint["optimizer"]["param_groups"], groups):
                raise of_another_version(self.folder, "its optimizer has other numbers")
            self.module.load_state_dict(checkpoint["state"], strict=False)
            self.optimizer.load_state_dict(checkpoint["optimizer"] | {"param_groups": groups})
            torch.set_rng_state(checkpoint["rng"])
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise damaged(self.folder) from error
        moments: Mapping[Any, Any] = self.optimizer.state
        if bool(checkpoint["step"]) != bool(moments) or not all(
            are_moments(found, parameter, _MOMENTS[self.config.optimizer], step=checkpoint["step"])
            for parameter, found in moments.items()
        ):
            raise damaged(self.folder)
        self.step, self.best = checkpoint["step"], best
        self.validations_since_best = checkpoint["validations_since_best"]

    def _described(self) -> dict[str, Any]:
        """The configuration and settings as JSON has them, where tuples are lists."""
        return json.loads(json.dumps(asdict(self.config) | dict(self.settings), default=str))

    def _record(self, row: Mapping[str, Any]) -> None:
        if self.history is not None:
            self.history.record(row)


def _refuse_differing(
    folder: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any], *, names: Iterable[str]
) -> None:
    """Refuse to go on where one of these options is not what it was."""

    def shown(options: Mapping[str, Any], name: str) -> str:
        return repr(options[name]) if name in options else "not an option"

    differing = [
        f"{name} was {shown(theirs, name)}, now {shown(ours, name)}"
        for name in sorted(names)
        if name not in theirs or name not in ours or theirs[name] != ours[name]
    ]
    if differing:
        raise TrainingError(
            f"cannot resume {folder / CHECKPOINT} with another configuration: {'; '.join(differing)}. Give the "
            "options as they were, or start without --resume"
        )


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(cast(Mapping[str, Any], value), f"{above}{name}.")
        else:
            flat[f"{above}{name}"] = value
    return flat


__all__ = [
    "HISTORY",
    "Draw",
    "FitConfig",
    "FitResult",
    "Objective",
    "Validation",
    "check_resumable",
    "fit",
    "is_main_process",
    "learning_rate_at",
    "learning_rate_of_batch",
    "steps_of_epochs",
]
