"""How well clips are recognized, and whether the order of their frames is read."""

import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.data.clips.dataset import check_clips, load_views
from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig
from muybridge.data.clips.splits import split_by_group
from muybridge.data.loading import Loader
from muybridge.errors import AnnotationError, ModelMismatch, OptionError
from muybridge.escapes import printable
from muybridge.evaluation.classification import (
    ClassificationReport,
    OrderReport,
    classification_report,
    frame_orders,
    most_confused,
)
from muybridge.evaluation.report_page import Facts, Part, Text, write_report_page
from muybridge.progress import progress_line
from muybridge.recognize.motion import MotionReadout, motion_of_clips
from muybridge.recognize.objective import to_probabilities
from muybridge.recognize.options import EvaluateConfig
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.report import confused_part, score_parts

HELD_OUT = "held-out"
_LONGEST_PATTERN = 200
_AS_THEY_ARE = "accuracy"
_SHOWN_CLIPS = 12


class ClipViews(Dataset[Tensor]):
    """The views of each clip that a test takes, always the same: uint8 (views, T, 3, H, W).

    Args:
        keep_bytes: read views are kept in memory up to this size, for sets that are measured again and again. Only
            without worker processes, which have a memory of their own.
    """

    def __init__(self, clips: ClipList, sampling: SamplingConfig, views: ViewConfig, *, keep_bytes: int = 0) -> None:
        self.clips, self.sampling, self.views = clips, sampling, views
        self._room = keep_bytes
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Tensor:
        if index in self._kept:
            return self._kept[index]
        entry = self.clips.entries[index]
        views = load_views(entry.path, self.sampling, self.views, start=entry.start_seconds, end=entry.end_seconds)
        if views.nbytes <= self._room:
            self._room -= views.nbytes
            self._kept[index] = views
        return views

    @property
    def num_bytes(self) -> int:
        """Size of all views together."""
        height, width = self.sampling.size
        return len(self) * self.views.count * self.sampling.frames * 3 * height * width

    def strip(self, index: int) -> NDArray[np.uint8]:
        """The middle view of a clip as pictures (T, H, W, 3)."""
        views = self.views
        middle = views.temporal // 2 * (views.spatial + views.focus) + views.spatial // 2
        return self[index][middle].permute(0, 2, 3, 1).numpy()


def truth_of(clips: ClipList) -> Tensor:
    """(N,) int64 columns; or (N, K) float32 of 0 and 1 where clips may have several labels."""
    return indicator(clips) if clips.multi_label else torch.tensor([entry.labels[0] for entry in clips.entries])


def indicator(clips: ClipList) -> Tensor:
    """(N, K) float32, 1 where a clip has the label."""
    table = torch.zeros(len(clips), len(clips.classes))
    for row, entry in zip(table, clips.entries, strict=True):
        row[list(entry.labels)] = 1
    return table


@torch.no_grad()
def predict(
    logits: Callable[[Tensor], Tensor],
    clips: ClipViews,
    *,
    multi_label: bool,
    each_frame: Callable[[Tensor], Tensor] | None = None,
    orders: bool = False,
    batch_size: int = 8,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Tensor]:
    """Probabilities (N, K) on the CPU, averaged over each clip's views, by order of frames.

    Args:
        logits: uint8 (B, T, 3, H, W), or what `each_frame` made of it, to (B, K).
        each_frame: what is done to each frame alone, whatever the order: once for all orders.
        orders: besides "accuracy", the clips as they are, also "shuffled", "reversed" and "single_frame".
        batch_size: clips at a time; each has as many views as `clips` takes.
    """
    collected: dict[str, list[Tensor]] = {}
    loader: Loader[Any] = Loader(
        clips, batch_size=batch_size, num_workers=workers, collate_fn=list, generator=torch.Generator()
    )
    with progress_line("evaluating", total=len(clips), unit="clips", quiet=quiet) as line:
        for number, read in enumerate(loader):
            batch = read if each_frame is None else [each_frame(views) for views in read]
            for name, ordered in _in_orders(batch, number * batch_size, orders=orders):
                frames = torch.cat(ordered)
                answers = to_probabilities(logits(frames), multi_label=multi_label)
                mean = torch.stack([part.mean(dim=0) for part in answers.split([len(v) for v in ordered])])
                collected.setdefault(name, []).append(mean.cpu())
            line.advance(len(batch))
    return {name: torch.cat(parts) for name, parts in collected.items()}


def _in_orders(batch: Sequence[Tensor], first: int, *, orders: bool) -> Iterator[tuple[str, list[Tensor]]]:
    """Views (V, T, ...) of each clip with their frames in each order; `first` is the number of the first clip."""
    yield _AS_THEY_ARE, list(batch)
    if not orders:
        return
    of_clip = [frame_orders(views.shape[1], seed=first + i) for i, views in enumerate(batch)]
    for name in of_clip[0]:
        yield name, [views[:, order[name]] for views, order in zip(batch, of_clip, strict=True)]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        report: numbers, classes and confusion.
        order: None where it was not asked for.
        probabilities: (N, K), averaged over views.
        truth: (N,) int64, or (N, K) where clips may have several labels.
        clips: the N clips.
        left_out: clips that cannot be read.
    """

    report: ClassificationReport
    order: OrderReport | None
    probabilities: Tensor = field(repr=False)
    truth: Tensor = field(repr=False)
    clips: ClipList = field(repr=False)
    left_out: tuple[ClipEntry, ...] = ()

    def numbers(self) -> dict[str, float]:
        """All measured numbers by name."""
        order = {} if self.order is None else asdict(self.order) | {"order_gap": self.order.order_gap}
        return {**self.report.numbers, **{name: value for name, value in order.items() if name != "accuracy"}}


def evaluate_views(
    logits: Callable[[Tensor], Tensor],
    views: ClipViews,
    *,
    each_frame: Callable[[Tensor], Tensor] | None = None,
    orders: bool = False,
    batch_size: int = 8,
    workers: int = 0,
    left_out: Sequence[ClipEntry] = (),
    motion: MotionReadout | None = None,
    quiet: bool = False,
) -> Evaluation:
    """Measure `logits` on clips; arguments as `predict` takes them.

    Args:
        motion: has its say in the answers. What is told of the order of frames is of the network alone.
    """
    clips = views.clips
    names, truth = clips.classes.names, truth_of(clips)
    answers = predict(
        logits,
        views,
        multi_label=clips.multi_label,
        each_frame=each_frame,
        orders=orders,
        batch_size=batch_size,
        workers=workers,
        quiet=quiet,
    )
    reports = {name: classification_report(p, truth, names) for name, p in answers.items()}
    order = OrderReport(**{name: report.accuracy for name, report in reports.items()}) if orders else None
    if motion is not None:
        (vectors,) = motion_of_clips(clips, motion.codebook, workers=workers, quiet=quiet)
        seen = answers[_AS_THEY_ARE]
        answers[_AS_THEY_ARE] = motion.joined(seen, vectors.float(), multi_label=clips.multi_label)
        reports[_AS_THEY_ARE] = classification_report(answers[_AS_THEY_ARE], truth, names)
    return Evaluation(reports[_AS_THEY_ARE], order, answers[_AS_THEY_ARE], truth, clips, tuple(left_out))


def confused_clips(evaluation: Evaluation, views: ClipViews) -> list[Part]:
    """Film strips of the clips that were confused most."""
    return confused_part(
        most_confused(evaluation.probabilities, evaluation.truth, _SHOWN_CLIPS),
        evaluation.clips.classes.names,
        lambda i: evaluation.clips.entries[i].path.name,
        views.strip,
    )


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Measure a model file on labelled clips.

    Raises:
        ModelMismatch: the model is for another task, or its backbone is not the one it was trained on.
        AnnotationError: the data names a class that the model does not know.
        OptionError: no such split.
    """
    model, data = config.model, config.data
    recognizer = Recognizer.from_pretrained(model, device=config.device, backbone_weights=config.backbone_weights)
    same_groups = recognizer.provenance.get("group_pattern") == config.group_pattern
    if config.split == HELD_OUT and not same_groups:
        raise OptionError(_other_groups(recognizer.provenance.get("group_pattern"), model))
    splits = read_clip_list(data, labels=recognizer.labels, root=config.root, group_pattern=config.group_pattern)
    clips, note = _choose_split(splits, config.split, recognizer.provenance, data, same_groups=same_groups)
    if note is not None:
        warnings.warn(note, stacklevel=2)
    if clips.multi_label and not recognizer.multi_label:
        raise ModelMismatch(f"{model} gives each clip one label, but {data} has clips with several or none")
    clips = replace(clips, multi_label=recognizer.multi_label)
    with progress_line("looking at clips", total=len(clips), unit="clips") as line:
        clips, left_out = check_clips(clips, line)
    own = recognizer.views
    views = replace(
        own,
        temporal=own.temporal if config.temporal_views is None else config.temporal_views,
        spatial=own.spatial if config.spatial_views is None else config.spatial_views,
    )
    views_of_clips = ClipViews(clips, recognizer.sampling, views)
    evaluation = evaluate_views(
        recognizer.logits_of,
        views_of_clips,
        each_frame=recognizer.each_frame,
        orders=config.order,
        batch_size=config.batch_size,
        workers=config.workers,
        left_out=left_out,
        motion=recognizer.motion,
    )
    if config.report is not None:
        about = [("model", model), ("clips", str(len(clips))), ("left out", str(len(left_out)))]
        broken = [Text("Clips that cannot be read", [str(e.path) for e in left_out])] if left_out else []
        parts = [
            *score_parts(evaluation.report, evaluation.order),
            *confused_clips(evaluation, views_of_clips),
            Facts("Measured on", about),
            *([Text("About these clips", [note])] if note is not None else []),
            *broken,
        ]
        write_report_page(config.report, f"How well {Path(model).name} recognizes {data.name}", parts)
    return evaluation


def _other_groups(pattern: object, model: str) -> str:
    """Why clips cannot be parted as in a model's training, whose pattern of groups is `pattern`."""
    if pattern is None:
        return f"{model} was trained without a --group-pattern. Leave it out, or choose another --split"
    if not isinstance(pattern, str) or len(pattern) > _LONGEST_PATTERN or printable(pattern) != pattern:
        return f"{model}: its provenance.group_pattern is no regular expression. Choose another --split"
    return (
        f"{model} says that it was trained with a --group-pattern. It is not taken from there, since a stranger's "
        f"may never come to an end. If you trust it, give it: --group-pattern {shlex.quote(pattern)}"
    )


def _choose_split(
    splits: Mapping[str, ClipList],
    wanted: str | None,
    provenance: Mapping[str, object],
    data: Path,
    *,
    same_groups: bool,
) -> tuple[ClipList, str | None]:
    """The clips to measure, and what is to be known of them where the model was trained on this data."""
    names = ", ".join(splits)
    trained = next((name for name in ("train", "all") if name in splits), None)
    is_known = trained is not None and splits[trained].fingerprint() == provenance.get("data_fingerprint")
    holds_out = trained == "all" and bool(provenance.get("held_out"))
    note = drawn = None
    if wanted is None:
        wanted = next(name for name in ("test", "val", "all", *splits) if name in splits)
        if wanted == "all" and is_known and holds_out and same_groups:
            # The same clips in other folders, or said to be of other sources, may be parted otherwise, or not at all.
            with suppress(AnnotationError):
                drawn = _held_out(splits, provenance)
            if drawn is not None and drawn.fingerprint() == provenance.get("held_out_fingerprint"):
                # A head that is fitted takes no steps, of which one could be chosen.
                chosen = "" if provenance.get("steps") == 0 else ", by which its best step was chosen too"
                return drawn, (
                    f"the model was trained on {data}: measured are the clips that were held out then{chosen} "
                    "(--split all measures all)"
                )
    if is_known and wanted == trained:
        note = (
            f"the model was trained on {'most of ' if holds_out else ''}these clips; how good it is on others, they "
            "do not tell" + (f" (--split {HELD_OUT} measures those that were held out)" if holds_out else "")
        )
    if wanted in splits:
        return splits[wanted], note
    if wanted != HELD_OUT:
        raise OptionError(f"split={wanted!r} is not one of {data}, which has: {names}. Choose one, or {HELD_OUT}")
    drawn = _held_out(splits, provenance)
    if drawn is None:
        raise OptionError(
            f"split={HELD_OUT!r} is for data without splits of its own, and a model that held clips out of it; "
            f"{data} has: {names}"
        )
    if is_known and drawn.fingerprint() != provenance.get("held_out_fingerprint", drawn.fingerprint()):
        note = (
            "the model was trained on most of these clips: in the training they lay in other folders, or were said "
            "to be of other sources, and other clips were held out. Give the data as it was given then"
        )
    return drawn, note


def _held_out(splits: Mapping[str, ClipList], provenance: Mapping[str, object]) -> ClipList | None:
    """The part that the model's training held out of undivided data; None where it says of none."""
    whole = splits.get("all") or splits.get("train")
    fraction, seed = provenance.get("held_out"), provenance.get("split_seed")
    if whole is None or not isinstance(fraction, float) or not 0 < fraction < 1 or type(seed) is not int or seed < 0:
        return None
    return split_by_group(whole, fraction=fraction, seed=seed)[1]
