"""From annotated videos to a localizer file and a report page."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.artifacts import check_model_file
from muybridge.counts import counted
from muybridge.data.annotations.files import read_annotated_videos, read_boxes
from muybridge.data.annotations.table import Annotations
from muybridge.data.clips.painting import PaintedClips, PaintingConfig
from muybridge.data.feature_bank import FeatureBank
from muybridge.data.label_maps import LabelMap, read_label_map
from muybridge.data.localization import (
    BankSpan,
    BoxesDataset,
    KeyFrame,
    KeyFrameSampling,
    add_detections,
    collate_boxes,
    key_frames,
)
from muybridge.devices import choose_device
from muybridge.errors import ModelMismatch, TrainingError
from muybridge.evaluation.report_page import Chart, Facts, Part, Text, write_report_page
from muybridge.localize.evaluate import Evaluation, Logits, evaluation_parts, logits_of, measure, open_banks
from muybridge.localize.localizer import Localizer
from muybridge.localize.model_file import LocalizerFile
from muybridge.localize.motion import PersonMotionReadout, train_person_motion
from muybridge.localize.objective import (
    BuiltLocalizer,
    LocalizerObjective,
    balance_actions,
    batch_logits,
    build_localizer,
    describe_localizer,
    load_localizer_state,
)
from muybridge.localize.options import SLOWFAST_TRUNKS, LocalizerConfig, LocalizerPlan
from muybridge.models.acar.head import ACARConfig, ACARHead
from muybridge.models.st_adapter.config import AdapterConfig
from muybridge.options import configuration
from muybridge.stylize.clip_painter import load_clip_painter, parse_augment
from muybridge.training.fit import FitResult, Validation, check_resumable, fit, is_main_process
from muybridge.training.history import read_history

_MEMORY_ADVICE = "fewer --frames, a smaller --short-side, or --precision bf16-mixed"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a training.

    Attributes:
        evaluation: on the held-out key frames; None where none were.
        fit: steps, and the memory taken.
        report: the page.
    """

    evaluation: Evaluation | None
    fit: FitResult
    report: Path


@dataclass(frozen=True, eq=False)
class _Data:
    """Key frames to train on and to measure on."""

    labels: LabelMap
    train: list[KeyFrame]
    held_out: list[KeyFrame]
    detections: Annotations | None
    banks: Mapping[str, FeatureBank] | None
    bank_model: str


def train(
    plan: LocalizerPlan,
    out: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    tell: Callable[[str], None] = print,
) -> Outcome:
    """Train and write the model file, and beside it NAME.html, the report, and NAME.training, the checkpoints.

    Args:
        resume: go on from the checkpoints of the same plan.
        tell: takes lines for the user.

    Raises:
        AnnotationError: annotations break their format, name an unknown class, a missing video, or a time past its
            end.
        TrainingError: nobody to train on, or what `fit` raises.
        ModelError, ModelMismatch: weights cannot be had, or do not fit.
    """
    check_model_file(out)
    folder = out.with_suffix(".training")
    painting = parse_augment(plan.augment)
    if resume:
        check_resumable(folder, _settings_of_plan(plan))
    tell = tell if is_main_process() else _say_nothing
    started = time.perf_counter()
    data = read_data(plan)
    people = sum(len(frame.boxes) for frame in data.train)
    tell(
        f"{counted(len(data.train), 'key frame')} with {counted(people, 'box')} to train on, "
        f"{len(data.held_out)} held out"
    )
    _tell_rare_classes(data, tell)
    torch.manual_seed(plan.config.seed)
    model = plan.model if plan.initialize is None else _like_the_start(plan.model, plan.initialize)
    built = build_localizer(_fitting_the_bank(model, data.banks), len(data.labels))
    if plan.initialize is not None:
        _start_from(built, plan.initialize)
    plan = _resolved(plan, built)
    described = describe_localizer(built)
    for line in described:
        tell(line)
    result = _fit(plan, data, built, painting, folder=folder, resume=resume, device=device)
    motion = _motion(plan, data, tell)
    span = None if plan.bank is None else plan.bank.span
    localizer = Localizer(
        built.network,
        built.config,
        data.labels,
        built.sampling,
        backbone=built.backbone,
        bank_span=span,
        bank_model=data.bank_model,
        device=device,
        motion=motion,
        provenance=_provenance(plan, data, result),
    )
    evaluation = None
    if data.held_out:
        evaluation = _measure(
            plan, data, logits_of(localizer), localizer.sampling, motion=motion, quiet=not is_main_process()
        )
        localizer.scores = evaluation.numbers()
    report = out.with_suffix(".html")
    if is_main_process():
        localizer.save(out)
        minutes = (time.perf_counter() - started) / 60
        parts = _report(plan, data, evaluation, result, folder, described, minutes)
        write_report_page(report, f"Localizer {out.stem}", parts, subtitle=f"trained on {plan.data.annotations}")
    return Outcome(evaluation, result, report)


def read_data(plan: LocalizerPlan) -> _Data:
    """The key frames of a plan, split, with confident detections beside the true boxes that are trained on."""
    data = plan.data
    labels = read_label_map(data.labels)
    annotations, files = read_annotated_videos(data.annotations, labels, data.videos)
    frames = key_frames(annotations, labels, files, min_step_seconds=data.every_seconds)
    if data.validation is not None:
        other, other_files = read_annotated_videos(data.validation, labels, data.videos)
        held_out = key_frames(other, labels, other_files, min_step_seconds=data.every_seconds)
        files = {**files, **other_files}
    else:
        frames, held_out = split_key_frames(frames, fraction=data.held_out, seed=plan.config.seed)
    detections = None
    if data.boxes is not None:
        detections = read_boxes(data.boxes, [file.path for file in files.values()])
        frames = add_detections(frames, detections, min_score=data.train_score)
    # A clip without anybody teaches nothing.
    frames = [frame for frame in frames if len(frame.boxes)]
    if not frames:
        raise TrainingError(f"{data.annotations} has no box to train on. Annotate people, or lower --held-out")
    banks, bank_model = None, ""
    if plan.bank is not None:
        banks = open_banks(plan.bank.folder, files, None)
        models = sorted({bank.model for bank in banks.values()})
        if len(models) > 1:
            raise ModelMismatch(f"{plan.bank.folder} holds banks of {len(models)} models. Write all with one model")
        bank_model = models[0]
    return _Data(labels, frames, held_out, detections, banks, bank_model)


def split_key_frames(
    frames: Sequence[KeyFrame], *, fraction: float, seed: int
) -> tuple[list[KeyFrame], list[KeyFrame]]:
    """Key frames to train on and to measure on: whole videos, or of a lone video its end.

    Between the two parts of a lone video, clips overlap by up to their length, so that its figure flatters.
    """
    videos = sorted({frame.video for frame in frames})
    if not fraction or not frames:
        return list(frames), []
    if len(videos) == 1:
        cut = max(1, round(len(frames) * (1 - fraction)))
        return list(frames[:cut]), list(frames[cut:])
    count = min(max(1, round(len(videos) * fraction)), len(videos) - 1)
    chosen = {videos[i] for i in np.random.default_rng(seed).permutation(len(videos))[:count].tolist()}
    return [f for f in frames if f.video not in chosen], [f for f in frames if f.video in chosen]


def _fitting_the_bank(model: LocalizerConfig, banks: Mapping[str, FeatureBank] | None) -> LocalizerConfig:
    """The model with as many channels in its relations as the banks' maps have, which it attends to."""
    if not banks or model.head == "baseline":
        return model
    name, bank = next(iter(banks.items()))
    channels = bank.window(0.0, before=0.0, after=0.0).maps.shape[1]
    if model.hidden not in (0, channels):
        raise ModelMismatch(
            f"hidden={model.hidden}, but the bank of {name!r} has maps of {channels} channels. Leave --hidden out"
        )
    return replace(model, hidden=channels)


def _tell_rare_classes(data: _Data, tell: Callable[[str], None]) -> None:
    counts = np.sum([frame.targets.sum(0) for frame in data.train], axis=0)
    unseen = [name for name, count in zip(data.labels.names, counts.tolist(), strict=True) if not count]
    if unseen:
        more = ", ..." if len(unseen) > 8 else ""
        tell(
            f"never shown in training: {', '.join(unseen[:8])}{more}, {len(unseen)} of "
            f"{counted(len(data.labels), 'class')}"
        )


def _like_the_start(model: LocalizerConfig, localizer: str | Path) -> LocalizerConfig:
    """The model with the adapters, head and clips of the file that training starts from, where it stands on the same
    kind of trunk; numbers that were asked for stay."""
    start = LocalizerFile.open(localizer)
    theirs, sampling = start.config, start.sampling
    if (theirs.slowfast is not None) != (model.trunk in SLOWFAST_TRUNKS):
        return model
    if theirs.slowfast is None:
        own = AdapterConfig(width=model.adapter_width) if model.adapter_width else model.adapters
        clips = {name: getattr(model, name) or getattr(sampling, name) for name in ("frames", "rate", "short_side")}
        own = own if theirs.context == "last" else None  # which has none
        model = replace(model, context=theirs.context, adapters=own or theirs.adapters, adapter_width=None, **clips)
    margin = model.roi_margin or theirs.head.roi_margin
    model = replace(model, roi_margin=margin, head_bias=theirs.head.bias)
    if isinstance(theirs.head, ACARConfig) and model.head == "acar":
        head = theirs.head
        sizes = {name: getattr(model, name) or getattr(head, name) for name in ("reduced", "hidden")}
        model = replace(model, depth=head.depth, output_kernel=head.output_kernel, **sizes)
    return model


def _resolved(plan: LocalizerPlan, built: BuiltLocalizer) -> LocalizerPlan:
    """With the numbers that the network chose for itself."""
    numbers = {name: getattr(built.sampling, name) for name in ("frames", "rate", "short_side")}
    head = built.config.head
    if isinstance(head, ACARConfig):
        numbers |= {name: getattr(head, name) for name in ("reduced", "hidden", "depth", "output_kernel")}
    return replace(plan, model=replace(plan.model, **numbers))


def _start_from(built: BuiltLocalizer, localizer: str | Path) -> None:
    start = LocalizerFile.open(localizer)
    theirs, ours = start.backbone, built.backbone
    if (theirs is None) != (ours is None) or (theirs and ours and theirs.hash != ours.hash):
        raise ModelMismatch(f"{localizer} stands on another trunk. Choose the same --trunk")
    load_localizer_state(built.network, start.trained()[0], source=str(localizer), classes=False)


def _fit(
    plan: LocalizerPlan,
    data: _Data,
    built: BuiltLocalizer,
    painting: PaintingConfig | None,
    *,
    folder: Path,
    resume: bool,
    device: str,
) -> FitResult:
    if data.banks is not None and not isinstance(built.network.head, ACARHead):
        raise TrainingError("the baseline head does not read a feature bank. Leave the bank out, or use --head acar")
    objective = LocalizerObjective(
        built.network,
        built.sampling,
        exclusive=data.labels.exclusive,
        focal_gamma=plan.focal_gamma,
        class_weights=balance_actions(_targets(data)) if plan.data.balance else None,
    )
    span = None if plan.bank is None else plan.bank.span
    dataset: Dataset[dict[str, Tensor]] = BoxesDataset(
        data.train, built.sampling, plan.augmentation, banks=data.banks, span=span
    )
    if painting is not None:
        dataset = PaintedClips(dataset, load_clip_painter(painting))
    return fit(
        objective,
        dataset,
        plan.config,
        folder=folder,
        validation=_validation(plan, data, built) if data.held_out else None,
        resume=resume,
        collate=collate_boxes,
        accelerator="auto" if device == "auto" else choose_device(device).type,
        title="localizer",
        settings=_settings(plan, data),
        memory_advice=_MEMORY_ADVICE,
    )


def _motion(plan: LocalizerPlan, data: _Data, tell: Callable[[str], None]) -> PersonMotionReadout | None:
    if not plan.model.motion:
        return None
    weights = balance_actions(_targets(data)) if plan.data.balance else None
    return train_person_motion(
        data.train,
        data.labels,
        class_weights=weights,
        in_mirror=plan.augmentation.flip,
        quiet=not is_main_process(),
        tell=tell,
    )


def _targets(data: _Data) -> Tensor:
    """(N, K) of all people who are trained on."""
    return torch.from_numpy(np.concatenate([frame.targets for frame in data.train]))


def _validation(plan: LocalizerPlan, data: _Data, built: BuiltLocalizer) -> Validation:
    def logits(batch: Mapping[str, Tensor]) -> Tensor:
        device = next(built.network.head.parameters()).device
        return batch_logits(built.network, built.sampling, {name: x.to(device) for name, x in batch.items()})

    def run() -> Mapping[str, float]:
        found = _measure(plan, data, logits, built.sampling, quiet=True)
        return {"frame_mAP": found.frames.mean_average_precision or 0.0}

    return Validation(run, "frame_mAP")


def _span(plan: LocalizerPlan) -> BankSpan | None:
    return None if plan.bank is None else plan.bank.span


def _measure(
    plan: LocalizerPlan,
    data: _Data,
    logits: Logits,
    sampling: KeyFrameSampling,
    *,
    motion: PersonMotionReadout | None = None,
    quiet: bool,
) -> Evaluation:
    return measure(
        logits,
        data.held_out,
        data.labels,
        sampling,
        detections=data.detections,
        min_score=plan.data.test_score,
        banks=data.banks,
        span=_span(plan),
        motion=motion,
        quiet=quiet,
    )


def _report(
    plan: LocalizerPlan,
    data: _Data,
    evaluation: Evaluation | None,
    result: FitResult,
    folder: Path,
    described: list[str],
    minutes: float,
) -> list[Part]:
    history = read_history(folder)
    steps = [row for row in history if "loss" in row]
    checks = [row for row in history if "validation" in row]
    frame_map = {"held out": [(row["step"], row["validation"]["frame_mAP"]) for row in checks]}
    facts = [
        ("key frames to train on", str(len(data.train))),
        ("held out", str(len(data.held_out))),
        ("steps", f"{result.step}, best {result.best_step}"),
        ("minutes", f"{minutes:.1f}"),
    ]
    return [
        *(evaluation_parts(evaluation, data.labels) if evaluation else []),
        Chart("Loss", {"loss": [(row["step"], row["loss"]) for row in steps]}),
        *([Chart("Frame-mAP", frame_map, y_range=(0, 1))] if checks else []),
        Facts("Run", facts),
        Text("Network", described),
        Text("Configuration", [f"{name}: {json.dumps(value)}" for name, value in configuration(plan).items()]),
    ]


def _settings(plan: LocalizerPlan, data: _Data) -> dict[str, Any]:
    """What a resumed run must share, beside the numbers of the loop itself."""
    return {
        **asdict(plan),
        "config": None,  # the loop's own
        "key_frames": len(data.train),
        "bank_model": data.bank_model,
    }


def _settings_of_plan(plan: LocalizerPlan) -> dict[str, Any]:
    """Those of them that are known before anything is read; the model's other numbers may follow from data."""
    return {**asdict(plan), "config": None, "model": {"trunk": plan.model.trunk, "head": plan.model.head}}


def _provenance(plan: LocalizerPlan, data: _Data, result: FitResult) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "key_frames": len(data.train),
        "held_out": _videos(data.held_out),
        "steps": result.step,
        "best_step": result.best_step,
        "scores_on": "held-out key frames, by which the best step was chosen too",
        "configuration": configuration(plan, folders=False),
    }
    return json.loads(json.dumps(settings))


def _videos(frames: Sequence[KeyFrame]) -> list[str]:
    """Names of the videos of key frames."""
    return sorted({frame.video for frame in frames})


def _say_nothing(line: str) -> None:
    del line
