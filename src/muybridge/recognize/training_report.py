"""What is told of a recognizer's training: to the user, in the model file, and on the report page."""

import json
from pathlib import Path
from typing import Any

from muybridge.counts import counted
from muybridge.evaluation.classification import wilson_interval
from muybridge.evaluation.report_page import Facts, Part, Text
from muybridge.options import configuration
from muybridge.recognize.evaluate import ClipViews, Evaluation, confused_clips
from muybridge.recognize.options import TrainingPlan
from muybridge.recognize.report import curve_parts, score_parts
from muybridge.recognize.training_clips import TrainingClips
from muybridge.training.fit import FitResult
from muybridge.training.history import read_history


def how_sure(evaluation: Evaluation) -> str:
    """How many were right, and what that says of all such clips."""
    if evaluation.clips.multi_label:
        return f"measured on {counted(len(evaluation.clips), 'held-out clip')}"
    right, count = round(evaluation.report.accuracy * len(evaluation.clips)), len(evaluation.clips)
    low, high = wilson_interval(right, count)
    return (
        f"right in {right} of {counted(count, 'held-out clip')}, {right / count:.0%}: with 95 % confidence between "
        f"{low:.0%} and {high:.0%} of such clips"
    )


def provenance(plan: TrainingPlan, clips: TrainingClips, result: FitResult) -> dict[str, Any]:
    """As JSON, what the model file says of its training."""
    facts = {
        "clips": len(clips.train),
        "left_out": len(clips.left_out),
        "data_fingerprint": clips.fingerprint,
        "held_out_fingerprint": clips.held_out_fingerprint,
        "held_out": plan.data.held_out,
        "split_seed": plan.config.seed,
        "group_pattern": plan.data.group_pattern,
        "steps": result.step,
        "best_step": result.best_step,
        "scores_on": "held-out clips" + (", by which the best step was chosen too" if result.step else ""),
        "configuration": configuration(plan, folders=False),
    }
    return json.loads(json.dumps(facts))


def memory_taken(result: FitResult) -> str:
    """At its peak, in words."""
    if result.peak_memory_bytes is None:
        return "not known on this system"
    return f"{result.peak_memory_bytes / 1e9:.2f} GB at the peak"


def training_report(
    plan: TrainingPlan,
    clips: TrainingClips,
    result: FitResult,
    evaluation: Evaluation | None,
    views: ClipViews | None,
    *,
    folder: Path,
    described: list[str],
    minutes: float,
) -> list[Part]:
    """The parts of the report page.

    Args:
        folder: holds the history of the run.
        described: the network, in lines.
        minutes: since the training began.
    """
    facts = [
        ("training clips", str(len(clips.train))),
        ("held-out clips", str(len(clips.held_out or ()))),
        ("steps", f"{result.step}, best {result.best_step}"),
        ("minutes", f"{minutes:.1f}"),
        ("memory", memory_taken(result)),
    ]
    texts = {
        "Network": described,
        "Configuration": [f"{name}: {json.dumps(value)}" for name, value in configuration(plan).items()],
        "Clips that cannot be read": [str(entry.path) for entry in clips.left_out],
    }
    return [
        *(score_parts(evaluation.report, evaluation.order) if evaluation else []),
        *curve_parts(read_history(folder)),
        *(confused_clips(evaluation, views) if evaluation and views else []),
        Facts("Run", facts),
        *(Text(title, lines) for title, lines in texts.items() if lines),
    ]
