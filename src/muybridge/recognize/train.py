"""From labelled clips to a recognizer file and a report page."""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.artifacts import check_model_file
from muybridge.data.clips.dataset import ClipDataset, check_clips
from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.clips.painting import PaintedClips
from muybridge.data.clips.prefix_cache import CachedClips, PrefixCache, PrefixIdentity
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, normalize
from muybridge.data.clips.shards import is_member
from muybridge.data.clips.splits import split_by_group
from muybridge.data.label_maps import read_label_map
from muybridge.devices import choose_device, peak_memory_bytes
from muybridge.errors import ModelMismatch, OptionError, TrainingError
from muybridge.evaluation.classification import classification_report, wilson_interval
from muybridge.evaluation.report_page import Facts, Part, Text, write_report_page
from muybridge.models.backbones import BUILTIN_BACKBONES, fuse_attention
from muybridge.models.st_adapter.config import Readout
from muybridge.models.st_adapter.sets import load_trained_state
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.options import configuration
from muybridge.pretrained import BUILT_IN_BACKBONE, BackboneIdentity
from muybridge.progress import progress_line
from muybridge.recognize.evaluate import (
    ClipViews,
    Evaluation,
    confused_clips,
    evaluate_views,
    indicator,
    truth_of,
)
from muybridge.recognize.model_file import RecognizerFile
from muybridge.recognize.motion import train_motion
from muybridge.recognize.objective import (
    RecognizerObjective,
    balance_classes,
    balance_draws,
    build_recognizer,
    describe_training,
    sampling_for,
    to_probabilities,
    views_for,
)
from muybridge.recognize.options import ClipData, RecognizerConfig, TrainingPlan
from muybridge.recognize.prefixes import (
    KeptPrefixes,
    ReadClips,
    SeenClips,
    bytes_a_view,
    drawn_views,
    fit_head,
    keep_prefixes,
)
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.report import curve_parts, score_parts
from muybridge.stylize.clip_painter import load_clip_painter, parse_augment
from muybridge.training.checkpoint import require_checkpoint
from muybridge.training.fit import FitConfig, FitResult, Validation, fit, is_main_process
from muybridge.training.history import History, read_history
from muybridge.training.lock import only_training_in
from muybridge.weight_files import printable

# Held-out clips are read once and kept where they take no more than this.
_KEPT_BYTES = 1 << 29
# What the frozen blocks make of the training clips is kept where it takes no more than this.
_KEPT_PREFIX_BYTES = 2 << 30
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


@dataclass(frozen=True, eq=False)
class _Clips:
    """Clips to train on and to measure on, those that cannot be read, and how the data is known again."""

    train: ClipList
    held_out: ClipList | None
    left_out: tuple[ClipEntry, ...]
    fingerprint: str
    held_out_fingerprint: str | None


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
    if resume:
        require_checkpoint(folder)
    parse_augment(plan.augment)  # so that a mistake is told before anything is read
    start = None if plan.initialize is None else RecognizerFile.open(plan.initialize)
    if start is not None:
        plan = replace(plan, model=_as_in(start, plan.model))
    tell = tell if is_main_process() else _say_nothing
    started = time.perf_counter()
    clips = _read_clips(plan.data, plan.config.seed, tell)
    torch.manual_seed(plan.config.seed)
    network, identity = build_recognizer(plan.model, len(clips.train.classes))
    if start is not None:
        _start_from(start, network, identity)
    plan = plan.resolved(network.config, cast(Readout, network.readout))
    described = describe_training(network, identity)
    for line in described:
        tell(line)
    sampling = sampling_for(network.backbone, plan.sampling)
    look = views_for(plan.sampling)
    views = ClipViews(clips.held_out, sampling, look, keep_bytes=_KEPT_BYTES) if clips.held_out else None
    if plan.config.precision == "bf16-mixed" and choose_device(device).type == "cpu":
        fuse_attention(network.backbone, fused=False)
    with _frozen_in_half_precision(network, plan):
        dataset = _dataset(plan, clips.train, network, identity, sampling, look, folder, choose_device(device), tell)
        result = _fit(plan, clips, network, dataset, sampling, views, folder=folder, resume=resume, device=device)
    network.fold_standardization()
    motion = None
    if plan.model.reads_motion:
        motion = train_motion(
            clips.train,
            indicator(clips.train),
            plan.data.balance,
            workers=plan.config.workers,
            quiet=not is_main_process(),
        )
    tell(f"memory: {_memory(result)}")
    recognizer = Recognizer(
        network,
        clips.train.classes,
        sampling,
        backbone=identity,
        views=look,
        multi_label=clips.train.multi_label,
        device=device,
        provenance=_provenance(plan, clips, result),
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
            workers=_readers(views, plan.config),
            motion=motion,
            quiet=not is_main_process(),
        )
        recognizer.scores = evaluation.numbers()
        tell(_how_sure(evaluation))
    report = out.with_suffix(".html")
    if is_main_process():
        recognizer.save(out)
        facts = [
            ("training clips", str(len(clips.train))),
            ("held-out clips", str(len(clips.held_out or ()))),
            ("steps", f"{result.step}, best {result.best_step}"),
            ("minutes", f"{(time.perf_counter() - started) / 60:.1f}"),
            ("memory", _memory(result)),
        ]
        texts = {
            "Network": described,
            "Configuration": [f"{name}: {json.dumps(value)}" for name, value in configuration(plan).items()],
            "Clips that cannot be read": [str(entry.path) for entry in clips.left_out],
        }
        parts: list[Part] = [
            *(score_parts(evaluation.report, evaluation.order) if evaluation else []),
            *curve_parts(read_history(folder)),
            *(confused_clips(evaluation, views) if evaluation and views else []),
            Facts("Run", facts),
            *(Text(title, lines) for title, lines in texts.items() if lines),
        ]
        write_report_page(report, f"Recognizer {out.stem}", parts, subtitle=f"trained on {plan.data.source}")
    return Outcome(evaluation, result, report)


def _fit(
    plan: TrainingPlan,
    clips: _Clips,
    network: VideoViT,
    dataset: Dataset[dict[str, Tensor]],
    sampling: SamplingConfig,
    views: ClipViews | None,
    *,
    folder: Path,
    resume: bool,
    device: str,
) -> FitResult:
    labels, multi_label, balance = indicator(clips.train), clips.train.multi_label, plan.data.balance
    draws = balance_draws(labels) if balance == "draws" else None
    objective = RecognizerObjective(
        network,
        sampling,
        class_weights=balance_classes(labels, multi_label=multi_label) if balance == "loss" else None,
        multi_label=multi_label,
        label_smoothing=plan.config.label_smoothing,
    )
    alone = plan.model.method == "head" and isinstance(dataset, KeptPrefixes | CachedClips)
    if alone and resume:
        raise TrainingError(
            "a head alone is fitted at once, and there is nothing to go on from. Start without --resume"
        )
    fitted = not plan.spread  # a network that is spread over processes is whole in none of them
    if fitted:
        objective.to(choose_device(device))
        with _autocast(network, plan.config):
            seen = _to_fit_to(dataset, plan, clips, network, sampling)
            fit_head(network, seen, sampling, objective.loss, draws=draws)
    validation = None if views is None else _validation(network, sampling, views, plan)
    if alone:
        return _measured(network, validation, plan, folder)
    with _frozen_head(network) if fitted and plan.model.method == "adapters" else nullcontext():
        return fit(
            objective,
            dataset,
            plan.config,
            folder=folder,
            validation=validation,
            validate_first=fitted,
            weights=draws,
            resume=resume,
            accelerator=device if device == "auto" else str(choose_device(device)),
            title="recognizer",
            settings=_settings(plan, clips),
            memory_advice=_MEMORY_ADVICE,
            sharded=network.spread_blocks() if plan.spread else (),
        )


def _to_fit_to(
    dataset: Dataset[Any], plan: TrainingPlan, clips: _Clips, network: VideoViT, sampling: SamplingConfig
) -> SeenClips:
    """The training clips as a test sees them: what is kept of them, else read once for this."""
    if isinstance(dataset, KeptPrefixes | CachedClips):
        return dataset
    read = ClipDataset(clips.train, sampling, plan.augmentation, views_for(plan.sampling))
    return ReadClips(network, read, device=network.head.weight.device, workers=plan.config.workers)


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


_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def _autocast(network: VideoViT, config: FitConfig) -> torch.autocast:
    """The precision of training, where the network is."""
    dtype = _HALF.get(config.precision)
    return torch.autocast(network.head.weight.device.type, dtype, enabled=dtype is not None)


@contextmanager
def _frozen_in_half_precision(network: VideoViT, plan: TrainingPlan) -> Generator[None]:
    """As in the paper, where precision is mixed: a frozen backbone in half precision while the rest is trained.

    Autocast alone would keep its weights in float32 and convert them at every step. One that is spread over processes
    stays in half precision: whole, it would fit nowhere.
    """
    dtype = _HALF.get(plan.config.precision)
    if dtype is None or network.train_backbone:
        yield
        return
    if plan.spread:
        network.backbone.to(dtype)
        yield
        return
    exact = {name: tensor.to("cpu", copy=True) for name, tensor in network.backbone.state_dict().items()}
    network.backbone.to(dtype)
    try:
        yield
    finally:
        network.backbone.float().load_state_dict(exact)


def _cached(
    plan: TrainingPlan,
    folder: Path,
    clips: ClipList,
    network: VideoViT,
    identity: BackboneIdentity,
    sampling: SamplingConfig,
    views: ViewConfig,
    device: torch.device,
    tell: Callable[[str], None],
) -> CachedClips:
    """The training clips from a folder of what the frozen blocks make of them, worked out where it is missing."""
    if network.first_trained_block == 0:
        raise OptionError(
            f"--cache has nothing to keep: all {network.depth} blocks are trained or adapted. Give --blocks "
            "with fewer, or --method head"
        )
    # A head's features follow from how they were read as well.
    pooled = network.readout if network.config is None else ""
    dtype = _HALF.get(plan.config.precision, torch.float32)
    about = PrefixIdentity(identity.hash, network.first_trained_block, sampling, dtype, pooled)
    views = replace(views, temporal=plan.cache_views)
    cache = PrefixCache(folder, about, views=views)

    def compute(frames: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return network.forward_prefix(normalize(frames.to(device), sampling)).to(dtype)

    network.to(device).eval()
    with progress_line("filling the cache", total=len(clips), unit="clips", quiet=not is_main_process()) as line:
        made = cache.fill(clips, compute, line=line)
    tell(f"cache: {made} of {len(clips) * views.count} views worked out, the others found in {folder}")
    return CachedClips(clips, cache)


def _read_clips(data: ClipData, seed: int, tell: Callable[[str], None]) -> _Clips:
    classes = None if data.labels is None else read_label_map(data.labels)
    splits = read_clip_list(data.source, labels=classes, root=data.root, group_pattern=data.group_pattern)
    for note in next(iter(splits.values())).notes:
        tell(note)
    whole = splits.get("train") or splits.get("all")
    if whole is None:
        raise TrainingError(f"{data.source} has only {', '.join(splits)}, and nothing to train on. Add train")
    fingerprint = whole.fingerprint()
    held_out = next((splits[name] for name in ("val", "test") if name in splits), None)
    if held_out is None and data.held_out:
        whole, held_out = split_by_group(whole, fraction=data.held_out, seed=seed)
    held_out_fingerprint = None if held_out is None else held_out.fingerprint()
    _require_two_classes(whole, data.source)
    total = len(whole) + len(held_out or ())
    with progress_line("looking at clips", total=total, unit="clips", quiet=not is_main_process()) as line:
        whole, left_out = check_clips(whole, line, pass_shards=True)
        if held_out is not None:
            held_out, also_left_out = check_clips(held_out, line)
            left_out = [*left_out, *also_left_out]
    _require_clips_of_each_class(whole, data.source)
    tell(f"{len(whole)} clips of {len(whole.classes)} classes to train on, {len(held_out or ())} held out")
    return _Clips(whole, held_out, tuple(left_out), fingerprint, held_out_fingerprint)


def _require_two_classes(clips: ClipList, source: Path) -> None:
    if len(clips.classes) < 2 and not clips.multi_label:
        raise TrainingError(
            f"{source} has one class, {clips.classes.names[0]!r}, and nothing to tell it from. Add clips of a second"
        )


def _require_clips_of_each_class(clips: ClipList, source: Path) -> None:
    empty = [name for name, count in zip(clips.classes.names, clips.class_counts(), strict=True) if not count]
    if empty:
        raise TrainingError(
            f"{source}: no clip to train on is left of {len(empty)} of {len(clips.classes)} classes: "
            f"{', '.join(empty[:10])}{', ...' if len(empty) > 10 else ''}. Add clips of them, or take the classes out"
        )


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
    load_trained_state(network, start.network_tensors(), head="keep")


def _dataset(
    plan: TrainingPlan,
    clips: ClipList,
    network: VideoViT,
    identity: BackboneIdentity,
    sampling: SamplingConfig,
    views: ViewConfig,
    folder: Path,
    device: torch.device,
    tell: Callable[[str], None],
) -> Dataset[dict[str, Tensor]]:
    """The training clips, as far as can be with the frozen blocks' work done: in memory, else on disk."""
    read = ClipDataset(clips, sampling, plan.augmentation, views)
    painting = parse_augment(plan.augment)
    if painting is not None:
        return PaintedClips(read, load_clip_painter(painting))
    cache = plan.cache
    if cache is None and _can_be_kept(plan, network) and not is_member(clips.entries[0].path):
        needed = _bytes_of_views(plan, read, network, device)
        if needed <= _KEPT_PREFIX_BYTES:
            return _kept(plan, read, network, device)
        cache = _room_on_disk(folder / "cache", needed, tell)
    if cache is None:
        return read
    return _cached(plan, cache, clips, network, identity, sampling, views, device, tell)


def _can_be_kept(plan: TrainingPlan, network: VideoViT) -> bool:
    """Whether there are frozen blocks, and nothing that must be done to frames at each pass."""
    varied_each_time = plan.augmentation.rand_augment or plan.augmentation.color
    wanted = plan.keep_views != 0 and not plan.spread
    return bool(wanted and network.first_trained_block and not varied_each_time)


def _bytes_of_views(plan: TrainingPlan, dataset: ClipDataset, network: VideoViT, device: torch.device) -> int:
    """What the frozen blocks make of the views of a test of all training clips."""
    with _autocast(network, plan.config):
        return dataset.views.count * bytes_a_view(network, dataset, device=device)


def _kept(plan: TrainingPlan, dataset: ClipDataset, network: VideoViT, device: torch.device) -> KeptPrefixes:
    """What the frozen blocks make of the training clips, in memory: as many drawn views as fit."""
    a_view = _bytes_of_views(plan, dataset, network, device) // dataset.views.count
    quiet = not is_main_process()
    with (
        progress_line("reading clips", total=len(dataset), unit="clips", quiet=quiet) as line,
        _autocast(network, plan.config),
    ):
        return keep_prefixes(
            network,
            dataset,
            drawn=min(drawn_views(plan.keep_views, len(dataset)), _KEPT_PREFIX_BYTES // a_view - dataset.views.count),
            seed=plan.config.seed,
            device=device,
            workers=plan.config.workers,
            line=line,
        )


def _room_on_disk(folder: Path, needed: int, tell: Callable[[str], None]) -> Path | None:
    """A folder for what memory does not carry, unless it would take most of what the disk has left."""
    folder.mkdir(parents=True, exist_ok=True)
    # A cache keeps numbers of 32 bits.
    needed, free = 2 * needed, disk_usage(folder).free
    about = f"what the frozen blocks make of so many clips takes {needed / 1e9:.1f} GB"
    if needed > free / 2:
        tell(f"{about}, too much for memory and disk; clips are read at each pass")
        return None
    tell(f"{about}, and is kept in {folder}")
    return folder


def _how_sure(evaluation: Evaluation) -> str:
    """How many were right, and what that says of all such clips."""
    if evaluation.clips.multi_label:
        return f"measured on {len(evaluation.clips)} held-out clips"
    right, count = round(evaluation.report.accuracy * len(evaluation.clips)), len(evaluation.clips)
    low, high = wilson_interval(right, count)
    return (
        f"right in {right} of {count} held-out clips, {right / count:.0%}: with 95 % confidence between "
        f"{low:.0%} and {high:.0%} of such clips"
    )


def _validation(
    network: VideoViT,
    sampling: SamplingConfig,
    views: ClipViews,
    plan: TrainingPlan,
) -> Validation:
    """Measures on the held-out clips, of which what the frozen blocks make is kept where it is little."""
    config = plan.config
    key = "mAP" if views.clips.multi_label else "top1"
    device = network.head.weight.device
    held_out = ClipDataset(views.clips, sampling, plan.augmentation, views.views)

    def is_small() -> bool:
        """Of very many clips those held out are too much to keep beside the others."""
        with _autocast(network, config):
            a_view = bytes_a_view(network, held_out, device=device)
        return views.views.count * a_view <= _KEPT_PREFIX_BYTES // 4

    if network.first_trained_block and not plan.spread and is_small():
        with _autocast(network, config):
            kept_views = keep_prefixes(network, held_out, drawn=0, seed=0, device=device, workers=config.workers)
        prefixes = kept_views.prefixes.flatten(0, 1)
        truth, names, multi_label = truth_of(views.clips), views.clips.classes.names, views.clips.multi_label

        def run_kept() -> Mapping[str, float]:
            here = network.head.weight.device  # by then moved
            with torch.no_grad(), _autocast(network, config):
                parts = [
                    network.forward_from_prefix(part.float().to(here), sampling.size) for part in prefixes.split(16)
                ]
            probabilities = to_probabilities(torch.cat(parts), multi_label=multi_label)
            of_clips = probabilities.unflatten(0, kept_views.prefixes.shape[:2]).mean(dim=0)
            return classification_report(of_clips.cpu(), truth, names).numbers

        return Validation(run_kept, key)

    def logits(frames: Tensor) -> Tensor:
        here = network.head.weight.device  # by then moved
        with _autocast(network, config):
            return network(normalize(frames.to(here), sampling))

    def run() -> Mapping[str, float]:
        return evaluate_views(logits, views, workers=_readers(views, config), quiet=True).report.numbers

    return Validation(run, key)


def _readers(views: ClipViews, config: FitConfig) -> int:
    """Processes that read held-out clips: none where all of them are kept in memory after the first time."""
    return 0 if views.num_bytes <= _KEPT_BYTES else config.workers


def _settings(plan: TrainingPlan, clips: _Clips) -> dict[str, Any]:
    """As JSON, what a resumed run must share, beside the numbers of the loop itself."""
    listing = [(e.path, e.labels, e.start_seconds, e.end_seconds) for e in clips.train.entries]
    fingerprint = hashlib.sha256(json.dumps(listing, default=str).encode()).hexdigest()[:16]
    settings = {
        **asdict(replace(plan, cache=None, cache_views=plan.cache_views if plan.cache is not None else 0)),
        "config": None,  # the loop's own
        "clips": len(listing),
        "listing": fingerprint,
    }
    del settings["spread"]  # changes where the weights lie, not the run
    return json.loads(json.dumps(settings, default=str))


def _provenance(plan: TrainingPlan, clips: _Clips, result: FitResult) -> dict[str, Any]:
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


def _memory(result: FitResult) -> str:
    if result.peak_memory_bytes is None:
        return "not known on this system"
    return f"{result.peak_memory_bytes / 1e9:.2f} GB at the peak"


def _say_nothing(line: str) -> None:
    del line
