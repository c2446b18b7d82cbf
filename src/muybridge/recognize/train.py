"""From labelled clips to a recognizer file and a report page."""

import hashlib
import json
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.artifacts import check_model_file
from muybridge.devices import choose_device, peak_memory_bytes
from muybridge.errors import ModelMismatch, TrainingError
from muybridge.evaluation.report_page import write_report_page
from muybridge.models.backbones import BUILTIN_BACKBONES, fuse_attention
from muybridge.models.st_adapter.config import Readout
from muybridge.models.st_adapter.sets import load_trained_state
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import BUILT_IN_BACKBONE, BackboneIdentity
from muybridge.recognize.evaluate import ClipViews, Evaluation, evaluate_views, indicator
from muybridge.recognize.model_file import RecognizerFile
from muybridge.recognize.motion import LeftOut, MotionReadout, train_motion
from muybridge.recognize.objective import (
    RecognizerObjective,
    balance_classes,
    balance_draws,
    build_recognizer,
    describe_training,
    sampling_for,
    views_for,
)
from muybridge.recognize.options import RecognizerConfig, TrainingPlan
from muybridge.recognize.precision import autocast, frozen_in_half_precision
from muybridge.recognize.prefixes import SeenFeatures, fit_head
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.stacking import network_left_out, weighed
from muybridge.recognize.training_clips import TrainingClips, list_training_clips, look_at_clips
from muybridge.recognize.training_report import how_sure, memory_taken, provenance, training_report
from muybridge.recognize.training_set import KeptClips, TrainingSet
from muybridge.recognize.validation import KEPT_VIEWS_BYTES, readers_for, validation_on
from muybridge.stylize.clip_painter import parse_augment
from muybridge.training.fit import FitResult, Validation, check_resumable, fit, is_main_process
from muybridge.training.history import History
from muybridge.training.lock import only_training_in
from muybridge.weight_files import printable

_MEMORY_ADVICE = "fewer --frames, a smaller --size, fewer --blocks, or --gradient-checkpointing"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a training.

    Attributes:
        evaluation: on the held-out clips; None where none were.
        fit: steps, and the memory taken.
        report: the page.
    """

    evaluation: Evaluation | None
    fit: FitResult
    report: Path


def train(
    plan: TrainingPlan,
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
        TrainingError: fewer than two classes, a class without clips, or what `fit` raises.
        AnnotationError: a list breaks its format or names an unknown class.
        ModelError: the backbone's weights cannot be had, or `initialize` does not fit.
    """
    check_model_file(out)
    folder = out.with_suffix(".training")
    parse_augment(plan.augment)  # so that a mistake is told before anything is read
    start = None if plan.initialize is None else RecognizerFile.open(plan.initialize)
    if start is not None:
        plan = replace(plan, model=_as_in(start, plan.model))
    if resume:
        check_resumable(folder, _settings_of_plan(plan))
    tell = tell if is_main_process() else _say_nothing
    started = time.perf_counter()
    clips = list_training_clips(plan.data, plan.config.seed, tell)
    torch.manual_seed(plan.config.seed)
    network, identity = build_recognizer(plan.model, len(clips.train.classes))
    if start is not None:
        _start_from(start, network, identity)
    plan = plan.resolved(network.config, cast(Readout, network.readout))
    described = describe_training(network, identity)
    sampling = sampling_for(network.backbone, plan.sampling)
    look = views_for(plan.sampling)
    if plan.config.precision == "bf16-mixed" and choose_device(device).type == "cpu":
        fuse_attention(network.backbone, fused=False)
    with frozen_in_half_precision(network, plan):
        seen = TrainingSet(plan, clips.train, network, identity, sampling, look, choose_device(device), tell)
        keeping = seen.choose_keeping(folder)
        if resume and plan.model.method == "head" and keeping.is_somewhere:
            raise TrainingError(
                "a head alone is fitted at once, and there is nothing to go on from. Start without --resume"
            )
        clips = look_at_clips(clips, tell)
        for line in described:
            tell(line)
        motion, left_out = _motion(plan, clips, tell)
        views = ClipViews(clips.held_out, sampling, look, keep_bytes=KEPT_VIEWS_BYTES) if clips.held_out else None
        seen = replace(seen, clips=clips.train)
        dataset = seen.dataset(keeping)
        objective = _objective(seen)
        motion = _fit_head(seen, clips, objective, dataset, motion, left_out)
        result = _fit(plan, clips, objective, dataset, views, folder=folder, resume=resume, device=device)
    network.fold_standardization()
    tell(f"memory: {memory_taken(result)}")
    recognizer = Recognizer(
        network,
        clips.train.classes,
        sampling,
        backbone=identity,
        views=look,
        multi_label=clips.train.multi_label,
        device=device,
        provenance=provenance(plan, clips, result),
        motion=motion,
    )
    evaluation = None
    if views is not None:
        # Measured as the file will be used, which may be in another precision than training's.
        evaluation = evaluate_views(
            recognizer.logits_of,
            views,
            each_frame=recognizer.each_frame,
            orders=True,
            left_out=clips.left_out,
            workers=readers_for(views, plan.config),
            motion=motion,
            quiet=not is_main_process(),
        )
        recognizer.scores = evaluation.numbers()
        tell(how_sure(evaluation))
    report = out.with_suffix(".html")
    if is_main_process():
        recognizer.save(out)
        minutes = (time.perf_counter() - started) / 60
        parts = training_report(
            plan, clips, result, evaluation, views, folder=folder, described=described, minutes=minutes
        )
        write_report_page(report, f"Recognizer {out.stem}", parts, subtitle=f"trained on {plan.data.source}")
    return Outcome(evaluation, result, report)


def _motion(
    plan: TrainingPlan, clips: TrainingClips, tell: Callable[[str], None]
) -> tuple[MotionReadout | None, LeftOut | None]:
    if not plan.model.reads_motion:
        return None, None
    return train_motion(
        clips.train,
        indicator(clips.train),
        plan.data.balance,
        workers=plan.config.workers,
        quiet=not is_main_process(),
        tell=tell,
    )


def _draws(plan: TrainingPlan, clips: TrainingClips) -> Tensor | None:
    return balance_draws(indicator(clips.train)) if plan.data.balance == "draws" else None


def _objective(seen: TrainingSet) -> RecognizerObjective:
    plan, clips = seen.plan, seen.clips
    labels, multi_label = indicator(clips), clips.multi_label
    weigh = plan.data.balance == "loss"
    return RecognizerObjective(
        seen.network,
        seen.sampling,
        class_weights=balance_classes(labels, multi_label=multi_label) if weigh else None,
        multi_label=multi_label,
        label_smoothing=plan.config.label_smoothing,
    )


def _fit_head(
    seen: TrainingSet,
    clips: TrainingClips,
    objective: RecognizerObjective,
    dataset: Dataset[dict[str, Tensor]],
    motion: MotionReadout | None,
    left_out: LeftOut | None,
) -> MotionReadout | None:
    """Fit the network's head; motion and the network are then counted as clips left out say."""
    plan, network = seen.plan, seen.network
    if plan.spread:  # a network that is spread over processes is whole in none of them
        return motion
    objective.to(seen.device)
    with autocast(network, plan.config):
        features = fit_head(
            network, seen.as_in_test(dataset), seen.sampling, objective.loss, draws=_draws(plan, clips)
        )
    return None if motion is None else _weighed(plan, clips, objective, features, motion, left_out, seen.tell)


def _weighed(
    plan: TrainingPlan,
    clips: TrainingClips,
    objective: RecognizerObjective,
    seen: SeenFeatures,
    motion: MotionReadout,
    left_out: LeftOut | None,
    tell: Callable[[str], None],
) -> MotionReadout:
    """Of a network with adapters, the head that they start from says how much it counts."""
    if left_out is None:
        return motion
    if plan.model.method == "full":
        tell("network and motion count alike: no head on frozen blocks tells of a network that is trained throughout")
        return motion
    labels, draws = indicator(clips.train), _draws(plan, clips)
    network = network_left_out(
        seen,
        left_out,
        objective.loss,
        classes=len(clips.train.classes),
        looks=views_for(plan.sampling).count,
        multi_label=objective.multi_label,
        draws=draws,
    )
    class_weights = None if objective.class_weights is None else objective.class_weights.cpu()
    motion, weights = weighed(
        motion,
        left_out,
        network,
        labels,
        multi_label=objective.multi_label,
        class_weights=class_weights,
        draws=draws,
    )
    tell(f"on clips left out, the network is best counted {weights.network:.2f}, motion {weights.motion:.2f}")
    return motion


def _fit(
    plan: TrainingPlan,
    clips: TrainingClips,
    objective: RecognizerObjective,
    dataset: Dataset[dict[str, Tensor]],
    views: ClipViews | None,
    *,
    folder: Path,
    resume: bool,
    device: str,
) -> FitResult:
    network, sampling = objective.model, objective.sampling
    fitted = not plan.spread
    validation = None if views is None else validation_on(network, sampling, views, plan)
    if plan.model.method == "head" and isinstance(dataset, KeptClips):
        return _measured(network, validation, plan, folder)
    with _frozen_head(network) if fitted and plan.model.method == "adapters" else nullcontext():
        return fit(
            objective,
            dataset,
            plan.config,
            folder=folder,
            validation=validation,
            validate_first=fitted,
            weights=_draws(plan, clips),
            resume=resume,
            accelerator=device if device == "auto" else str(choose_device(device)),
            title="recognizer",
            settings=_settings(plan, clips),
            memory_advice=_MEMORY_ADVICE,
            sharded=network.spread_blocks() if plan.spread else (),
        )


@contextmanager
def _frozen_head(network: VideoViT) -> Generator[None]:
    """A head at the minimum of its loss stays there while adapters move: steps would fit it more closely to the clips
    at hand, all of which it has seen, and less to others."""
    network.head.requires_grad_(False)
    try:
        yield
    finally:
        network.head.requires_grad_()


def _measured(network: VideoViT, validation: Validation | None, plan: TrainingPlan, folder: Path) -> FitResult:
    """Of a head at the minimum of its loss, which no step makes better."""
    network.eval()
    metrics = {} if validation is None else dict(validation.run())
    if is_main_process():
        with only_training_in(folder):
            history = History(folder, tensorboard=plan.config.tensorboard)
            if metrics:
                history.record({"step": 0, "validation": metrics})
            history.close()
    return FitResult(0, 0, metrics, peak_memory_bytes(network.head.weight.device))


def _as_in(start: RecognizerFile, model: RecognizerConfig) -> RecognizerConfig:
    """The built-in backbone and the adapters of the file, and how they were read, where the plan leaves them open."""
    if model.backbone == BUILT_IN_BACKBONE and start.backbone.name in BUILTIN_BACKBONES:
        model = replace(model, backbone=start.backbone.name)
    adapters = start.architecture.adapters
    if model.method != "adapters" or model.adapters is not None or adapters is None:
        return model
    readout = start.architecture.readout if model.readout == "auto" else model.readout
    return replace(model, adapters=adapters, readout=readout)


def _start_from(start: RecognizerFile, network: VideoViT, identity: BackboneIdentity) -> None:
    theirs = start.backbone
    if not start.trains_backbone and theirs.hash != identity.hash:
        raise ModelMismatch(
            f"the recognizer to start from stands on backbone {printable(theirs.name)!r} of hash "
            f"{printable(theirs.hash[:12])}, not on {identity.name!r} of hash {identity.hash[:12]}. Choose the same "
            "--backbone"
        )
    tensors, _ = start.trained()
    load_trained_state(network, tensors, head="keep")


def _settings(plan: TrainingPlan, clips: TrainingClips) -> dict[str, Any]:
    """As JSON, what a resumed run must share, beside the numbers of the loop itself."""
    listing = [(e.path, e.labels, e.start_seconds, e.end_seconds) for e in clips.train.entries]
    fingerprint = hashlib.sha256(json.dumps(listing, default=str).encode()).hexdigest()[:16]
    settings = {**_described(plan), "clips": len(listing), "listing": fingerprint}
    return json.loads(json.dumps(settings, default=str))


def _settings_of_plan(plan: TrainingPlan) -> dict[str, Any]:
    """Those of them that are known before clips are listed and the network is built."""
    settings = _described(plan)
    del settings["model"]["adapters"], settings["model"]["readout"], settings["augmentation"]["crop"]
    return settings


def _described(plan: TrainingPlan) -> dict[str, Any]:
    settings = asdict(replace(plan, cache=None, cache_views=plan.cache_views if plan.cache is not None else 0))
    settings["config"] = None  # the loop's own
    del settings["spread"]  # changes where the weights lie, not the run
    return settings


def _say_nothing(line: str) -> None:
    del line
