"""`muybridge train recognizer`, `localizer` and `stylizer`: their options are the plans'."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from muybridge.localize.options import LocalizerPlan
from muybridge.options import BASIC, FLAT, PLAIN, RUN
from muybridge.recognize.options import TrainingPlan
from muybridge.stylize.options import StylizerPlan


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is not part of what a training is.

    Attributes:
        out: The model file to write, .safetensors. Checkpoints go into a folder beside it, NAME.training.
        resume: Go on from the checkpoint, with the same options.
        config: A file with options by their names, YAML, or a model file, whose training is repeated. Options that
            are given here too come before those in it.
        device: auto, cpu, cuda, mps.
    """

    out: Annotated[Path, BASIC, Parameter(alias="-o")]
    resume: Annotated[bool, BASIC, PLAIN] = False
    config: Annotated[Path | None, BASIC] = None
    device: Annotated[str, RUN] = "auto"


def train_recognizer(plan: Annotated[TrainingPlan, FLAT], run: Annotated[Run, FLAT]) -> None:
    """Teach an image model what happens in clips: one folder of clips a class, one command, one file.

    Beside the file, NAME.html is a report and NAME.training holds checkpoints.
    """
    from muybridge.recognize.train import train

    outcome = train(plan, run.out, resume=run.resume, device=run.device)
    _say(run.out, outcome.evaluation.numbers() if outcome.evaluation else {}, outcome.report)


def train_localizer(plan: Annotated[LocalizerPlan, FLAT], run: Annotated[Run, FLAT]) -> None:
    """Teach a model who does what in videos: annotated videos, one command, one file.

    Beside the file, NAME.html is a report and NAME.training holds checkpoints.
    """
    from muybridge.localize.train import train

    outcome = train(plan, run.out, resume=run.resume, device=run.device)
    _say(run.out, outcome.evaluation.numbers() if outcome.evaluation else {}, outcome.report)


def train_stylizer(plan: Annotated[StylizerPlan, FLAT], run: Annotated[Run, FLAT]) -> None:
    """Train Avatar-Net's decoder to reconstruct photographs, as in section 3.4 of the paper."""
    from muybridge.stylize.train import train

    _say(run.out, train(plan, run.out, resume=run.resume, device=run.device))


def _say(out: Path, numbers: Mapping[str, float], report: Path | None = None) -> None:
    from muybridge.training.fit import is_main_process

    if not is_main_process():  # or each of the processes that train together would say it
        return
    scores = ", ".join(f"{name} {value:.3f}" for name, value in numbers.items())
    print(f"{out}: {scores}" if scores else out)  # noqa: T201
    if report is not None:
        print(f"report: {report}")  # noqa: T201
