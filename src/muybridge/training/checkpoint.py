"""The file that a run goes on from: written whole or not at all, and read only if all of it is sound."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from muybridge.errors import TrainingError
from muybridge.media.outputs import atomic_output
from muybridge.weight_files import read_torch_file

CHECKPOINT = "checkpoint.pt"


class Best(TypedDict):
    """The best validation so far: its step, its numbers, and the trained tensors by name."""

    step: int
    metrics: dict[str, float]
    state: dict[str, Tensor]


class Checkpoint(TypedDict):
    """All that a run needs to go on as if it had never stopped."""

    step: int
    config: dict[str, Any]
    state: dict[str, Tensor]
    optimizer: dict[str, Any]
    rng: Tensor
    best: Best | None
    validations_since_best: int


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint. Where that fails, the one before is still there.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    with atomic_output(folder / CHECKPOINT) as beside, beside.open("wb") as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            # torch hides behind it what the system said, such as of a full disk.
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def read_checkpoint(folder: Path) -> Checkpoint:
    """The folder's checkpoint; of a file whose bytes are not those that were written, nothing is used.

    Raises:
        TrainingError: there is none, it is damaged, or of another version.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise TrainingError(f"cannot resume: there is no {path}. Start without --resume")
    try:
        with zipfile.ZipFile(path) as archive:
            spoilt = archive.testzip()
        found: Any = None if spoilt else read_torch_file(path)
    except Exception as error:  # broken bytes make these readers raise whatever they like
        raise damaged(folder) from error
    lacking = sorted(Checkpoint.__required_keys__ - found.keys()) if _has_begun(found) else []
    if lacking:
        raise of_another_version(folder, f"it lacks {', '.join(lacking)}")
    if not _is_checkpoint(found):
        raise damaged(folder)
    return cast(Checkpoint, found)


def is_sound_state(found: Any) -> bool:
    """Whether these are tensors by name, and hold numbers."""
    return isinstance(found, dict) and all(
        isinstance(value, Tensor) and bool(value.isfinite().all()) for value in cast("dict[Any, Any]", found).values()
    )


def differing_tensors(found: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that one of two sets lacks, or has in another shape or number format."""
    about = [{name: (value.shape, value.dtype) for name, value in state.items()} for state in (found, ours)]
    return sorted({str(name) for name, _ in about[0].items() ^ about[1].items()})


def are_same_groups(found: Any, ours: list[dict[str, Any]]) -> bool:
    """Whether an optimizer's groups of parameters are ours, apart from the learning rate, which each step sets."""
    return len(found) == len(ours) and all(
        theirs.get(name, value) == value
        for theirs, group in zip(found, ours, strict=True)
        for name, value in group.items()
        if name != "lr"
    )


def are_moments(found: Any, parameter: Tensor, names: set[str], *, step: int) -> bool:
    """Whether what an optimizer keeps of a parameter is what its next step needs, after so many."""
    return (
        isinstance(found, dict)
        and found.keys() == names
        and all(
            isinstance(value, Tensor)
            and value.shape == (torch.Size([]) if name == "step" else parameter.shape)
            and bool(value.isfinite().all())
            and (name not in ("step", "exp_avg_sq") or not bool((value < 0).any()))
            and (name != "step" or bool(value <= step))
            for name, value in cast("dict[str, Any]", found).items()
        )
    )


def of_another_version(folder: Path, what: str) -> TrainingError:
    """What is said of a sound checkpoint whose training was not this one, though told to be.

    Args:
        what: differs, as a clause.
    """
    return TrainingError(
        f"cannot resume: {folder / CHECKPOINT} is of another version of muybridge, or was altered: {what}. Go on "
        "with the version that wrote it, or start without --resume"
    )


def damaged(folder: Path) -> TrainingError:
    """What is said of a checkpoint that no run has written so."""
    return TrainingError(
        f"cannot resume: {folder / CHECKPOINT} is damaged or no checkpoint. Put back a copy, or start without"
        " --resume"
    )


def _has_begun(found: Any) -> bool:
    """Whether this holds what checkpoints of every version do."""
    return isinstance(found, dict) and {"step", "config", "state", "optimizer"} <= found.keys()


def _is_checkpoint(found: Any) -> bool:
    kinds: Mapping[str, type] = {
        "step": int,
        "config": dict,
        "state": dict,
        "optimizer": dict,
        "rng": Tensor,
        "validations_since_best": int,
    }
    if not isinstance(found, dict) or not _are(cast("dict[str, Any]", found), kinds):
        return False
    best = found.get("best", "absent")
    if best is not None and not (
        isinstance(best, dict) and _are(best, {"step": int, "metrics": dict, "state": dict})
    ):
        return False
    last = found["config"].get("steps")
    return type(last) is int and 0 <= found["step"] <= last and found["validations_since_best"] >= 0


def _are(found: Mapping[str, Any], kinds: Mapping[str, type]) -> bool:
    # A bool is an int to isinstance, but no count.
    return all(isinstance(found.get(name), kind) and type(found[name]) is not bool for name, kind in kinds.items())
