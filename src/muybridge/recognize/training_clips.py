"""Which clips a recognizer is trained on and which are held out, and which of them cannot be read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from muybridge.counts import counted
from muybridge.data.clips.dataset import check_clips
from muybridge.data.clips.lists import ClipEntry, ClipList, read_clip_list
from muybridge.data.clips.splits import split_by_group
from muybridge.data.label_maps import read_label_map
from muybridge.errors import TrainingError
from muybridge.progress import progress_line
from muybridge.recognize.options import ClipData
from muybridge.training.fit import is_main_process


@dataclass(frozen=True, eq=False)
class TrainingClips:
    """Clips by what is done with them.

    Attributes:
        source: where they are listed.
        train: trained on.
        held_out: measured on; None where none are.
        left_out: cannot be read; none before clips were looked at.
        fingerprint, held_out_fingerprint: by which the data, and what was held out of it, is known again.
    """

    source: Path
    train: ClipList
    held_out: ClipList | None
    left_out: tuple[ClipEntry, ...]
    fingerprint: str
    held_out_fingerprint: str | None


def list_training_clips(data: ClipData, seed: int, tell: Callable[[str], None]) -> TrainingClips:
    """Read the list of clips and hold some out; no clip is opened.

    Args:
        seed: of what is held out, where the data does not say.
        tell: takes lines for the user.

    Raises:
        TrainingError: nothing to train on, or fewer than two classes.
        AnnotationError: a list breaks its format or names an unknown class.
    """
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
    return TrainingClips(data.source, whole, held_out, (), fingerprint, held_out_fingerprint)


def look_at_clips(listed: TrainingClips, tell: Callable[[str], None]) -> TrainingClips:
    """Open each clip, and leave out those that cannot be read.

    Args:
        tell: takes lines for the user.

    Raises:
        TrainingError: a class without clips.
        InputError: hardly any clip can be read.
    """
    held_out = listed.held_out
    total = len(listed.train) + len(held_out or ())
    with progress_line("looking at clips", total=total, unit="clips", quiet=not is_main_process()) as line:
        train, left_out = check_clips(listed.train, line, pass_shards=True)
        if held_out is not None:
            held_out, also_left_out = check_clips(held_out, line)
            left_out = [*left_out, *also_left_out]
    _require_clips_of_each_class(train, listed.source)
    tell(
        f"{counted(len(train), 'clip')} of {counted(len(train.classes), 'class')} to train on, "
        f"{len(held_out or ())} held out"
    )
    return replace(listed, train=train, held_out=held_out, left_out=tuple(left_out))


def _require_two_classes(clips: ClipList, source: Path) -> None:
    if len(clips.classes) < 2 and not clips.multi_label:
        raise TrainingError(
            f"{source} has one class, {clips.classes.names[0]!r}, and nothing to tell it from. Add clips of a second"
        )


def _require_clips_of_each_class(clips: ClipList, source: Path) -> None:
    empty = [name for name, count in zip(clips.classes.names, clips.class_counts(), strict=True) if not count]
    if empty:
        raise TrainingError(
            f"{source}: no clip to train on is left of {len(empty)} of {counted(len(clips.classes), 'class')}: "
            f"{', '.join(empty[:10])}{', ...' if len(empty) > 10 else ''}. Add clips of them, or take the classes out"
        )
