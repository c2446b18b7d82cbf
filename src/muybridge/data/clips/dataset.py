"""Clips as training data, and their views in tests. Only the frames that are needed are decoded."""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from muybridge.counts import counted
from muybridge.data.clips.augmentation import AugmentationConfig, augment
from muybridge.data.clips.focus import focus_on_motion
from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.clips.sampling import (
    SamplingConfig,
    ViewConfig,
    closer,
    crop_views,
    sample_indices,
    sample_seconds,
    temporal_views,
)
from muybridge.data.clips.shards import is_member, on_disk
from muybridge.data.sampling import Draw
from muybridge.errors import BrokenMedia, InputError, OptionError
from muybridge.media.frame_folder import FrameFolder, pictures_in
from muybridge.media.video_reader import DEFAULT_RATE, FrameSource, VideoReader
from muybridge.progress import ProgressLine

Pictures = NDArray[np.uint8]
# Classes that become another one in the mirror.
_TELLS_SIDES = re.compile(r"(?<![a-z])(left|right|(anti|counter-?)?clockwise)(?![a-z])", re.IGNORECASE)
# A file that lacks no more than this share of its stated frames and time is whole: headers round.
_MAY_LACK = 0.1
# So many broken clips in a row are no accident.
_MOST_BROKEN = 100


@dataclass(frozen=True)
class BrokenClip:
    """A clip that cannot be read, and why."""

    entry: ClipEntry
    reason: str


def open_clip(path: Path) -> FrameSource:
    """A reader of a video file, or of a folder of frames."""
    return FrameFolder(pictures_in(path)) if path.is_dir() else VideoReader(path)


def read_clip(
    path: Path,
    config: SamplingConfig,
    *,
    start: float | None = None,
    end: float | None = None,
    random: np.random.Generator | None = None,
    view: float = 0.5,
    dense_rate: float = 0.0,
) -> Tensor:
    """Frames (T, 3, H, W) uint8 RGB of a clip, at the file's own size.

    Args:
        start, end: of the clip within the file, in seconds.
        random: for training; None for a test.
        view: where in the clip a test looks, 0 to 1.
        dense_rate: not 0 for the other look of `ViewConfig.dense_rate`.

    Raises:
        InputError: the file cannot be read.
    """
    with on_disk(path) as file, closing(open_clip(file)) as reader:
        first, last = clip_bounds(reader, path, start, end)
        if dense_rate:
            config, view = closer(config, dense_rate, last - first)
        if config.counts_frames:
            frames = _by_number(reader, config, first, last, random, view)
        else:
            seconds = sample_seconds(config, first, last, random=random, view=view)
            frames = [frame.image for frame in reader.frames_at_seconds([float(s) for s in seconds])]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def clip_bounds(reader: FrameSource, path: Path, start: float | None, end: float | None) -> tuple[float, float]:
    """Start and end of a clip within its file, in seconds; the end as the file states it, or as its frames do.

    Raises:
        BrokenMedia: the file ends before the clip begins.
    """
    return _within(_duration(reader), path, start, end)


def _within(duration: float, path: Path, start: float | None, end: float | None) -> tuple[float, float]:
    first = max(start or 0.0, 0.0)
    if first >= duration:
        raise BrokenMedia(
            f"{path} lasts {duration:.2f} s, but the clip begins at {first:.2f} s. Correct the list, or get the "
            "whole video"
        )
    return first, min(end if end is not None else duration, duration)


def _duration(reader: FrameSource) -> float:
    if reader.info.duration_seconds is not None or not isinstance(reader, VideoReader):
        return float(reader.info.duration_seconds or 0)
    return float(reader.timestamps()[-1] + 1 / (reader.info.average_rate or DEFAULT_RATE))


def _readable_until(reader: FrameSource, duration: float) -> float:
    """The stated end in seconds, or where the frames end in a file that was cut short; decodes nothing."""
    stated = reader.info.num_frames
    if not stated or not isinstance(reader, VideoReader):
        return duration
    times = reader.timestamps()
    there = float(times[-1] + 1 / (reader.info.average_rate or DEFAULT_RATE)) if times else 0.0
    # Both, since a variable rate may hold its last picture for long, and counts may be guessed from a rate.
    lacks_both = len(times) < (1 - _MAY_LACK) * stated and there < (1 - _MAY_LACK) * duration
    return there if lacks_both else duration


def _by_number(
    reader: FrameSource,
    config: SamplingConfig,
    first: float,
    last: float,
    random: np.random.Generator | None,
    view: float,
) -> list[Pictures]:
    if isinstance(reader, VideoReader):
        times = np.array([float(t) for t in reader.timestamps()])
    else:
        times = np.arange(reader.info.num_frames or 1) / float(reader.info.average_rate or DEFAULT_RATE)
    begin = int(np.searchsorted(times, first - 1e-6))
    count = max(1, int(np.searchsorted(times, last - 1e-6)) - begin)
    indices = sample_indices(config, min(begin, len(times) - 1), count, random=random, view=view)
    return [frame.image for frame in reader.frames_at_indices(indices.clip(max=len(times) - 1).tolist())]


def load_views(
    source: str | Path | Pictures | Tensor,
    config: SamplingConfig,
    views: ViewConfig | None = None,
    *,
    start: float | None = None,
    end: float | None = None,
) -> Tensor:
    """What a test sees of a clip: (views.count, T, 3, height, width) uint8, the same at every call; float32 with the
    authors' preprocessing, see `crop_views`.

    Args:
        source: a video file, a folder of frames, or frames (N, H, W, 3) uint8, which are taken to be evenly spread
            over the clip: T of them are picked, the last one again where there are fewer.
        start, end: of the clip within the file, in seconds.

    Raises:
        InputError: the file cannot be read, or an array is of another shape or type.
    """
    views = views or ViewConfig()
    found: list[Tensor] = []
    for place in temporal_views(views.temporal, preprocessing=config.preprocessing):
        if isinstance(source, str | Path):
            frames = read_clip(Path(source), config, start=start, end=end, view=place)
        else:
            frames = _pick(source, config, place)
        found += crop_views(frames, config, views.spatial)
        if views.focus:
            found += crop_views(focus_on_motion(frames), config)
    if views.dense_rate:
        if isinstance(source, str | Path):
            frames = read_clip(Path(source), config, start=start, end=end, dense_rate=views.dense_rate)
        else:
            frames = _pick(source, config, 0.0)  # how fast these were taken is not known
        found += crop_views(focus_on_motion(frames) if views.focus else frames, config)
    return torch.stack(found)


def _pick(source: Pictures | Tensor, config: SamplingConfig, view: float) -> Tensor:
    frames = as_frames(source)
    count = len(frames)
    if config.as_authors and config.counts_frames:
        chosen = sample_indices(config, 0, count, view=view)
    elif count <= config.frames:
        chosen = np.minimum(np.arange(config.frames), count - 1)
    elif config.counts_frames:
        chosen = sample_indices(config, 0, count, view=view)
    else:
        chosen = ((np.arange(config.frames) + view * 0.999) * count / config.frames).astype(np.int64)
    return frames[torch.from_numpy(chosen)].permute(0, 3, 1, 2)


def as_frames(frames: Pictures | Tensor) -> Tensor:
    """Frames (N, H, W, 3) uint8 as a tensor; of an array that runs backwards or may not be written, a copy.

    Raises:
        InputError: another shape or type, or no frame.
    """
    shape, dtype = getattr(frames, "shape", ()), getattr(frames, "dtype", type(frames).__name__)
    if len(shape) != 4 or shape[-1] != 3 or 0 in shape or str(dtype).removeprefix("torch.") != "uint8":
        raise InputError(
            f"a clip of frames must be (N, H, W, 3) uint8 RGB, got {tuple(shape)} {dtype}. Move its axes or convert"
        )
    return frames if isinstance(frames, Tensor) else torch.from_numpy(np.require(frames, requirements=["C", "W"]))


class ClipDataset(Dataset[dict[str, Tensor]]):
    """Clips with random times and augmentation.

    An item is {"frames": (T, 3, height, width) uint8, "labels": () int64 or, with several labels a clip,
    (classes,) float32, "index": () int64}. Indexed by `Draw`, whose seed decides all that is random.

    A clip that cannot be read raises `InputError` with its name; see `check_clips` for finding such ones before. Of
    clips in shards, which nobody looks at before, the next one takes its place, with a warning that names it.

    Raises:
        OptionError: the augmentation mirrors clips of a class that tells left from right by its name, and does not
            say what becomes of it; or it names a class that there is not.

    With several labels a clip, it is shown backwards only where all of its labels are among those of `reverse`.

    Args:
        views: what a test will see: where it looks at clips in several ways, each draw looks in one of them.
    """

    def __init__(
        self,
        clips: ClipList,
        sampling: SamplingConfig,
        augmentation: AugmentationConfig | None = None,
        views: ViewConfig | None = None,
    ) -> None:
        self.clips, self.sampling = clips, sampling
        self.views = views or ViewConfig()
        self.augmentation = augmentation or AugmentationConfig()
        self._mirror = _mirrored_columns(clips.classes.names, self.augmentation)
        self._backwards = _reversed_columns(clips.classes.names, self.augmentation)

    def __len__(self) -> int:
        return len(self.clips.entries)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        random = np.random.default_rng(draw.seed)
        rate = self.views.dense_rate if self.views.dense_rate and random.random() < 1 / 3 else 0.0
        index, frames = self._read(draw.index, random, rate)
        entry = self.clips.entries[index]
        if self.views.focus and (rate or random.random() < 0.5):
            frames = focus_on_motion(frames)
        clip, mirrored = augment(frames, self.augmentation, self.sampling, random)
        labels = [self._mirror[label] for label in entry.labels] if mirrored else list(entry.labels)
        if labels and self._backwards and self._backwards.keys() >= set(labels) and random.random() < 0.5:
            clip, labels = clip.flip(0), [self._backwards[label] for label in labels]
        return {
            "frames": clip,
            "labels": encode_labels(labels, len(self.clips.classes), multi_label=self.clips.multi_label),
            "index": torch.tensor(index),
        }

    def as_tested(self, index: int) -> tuple[Tensor, Tensor]:
        """The views of a test of a clip, (V, T, 3, height, width) uint8, and the clip's labels as in an item."""

        def read(entry: ClipEntry) -> Tensor:
            start, end = entry.start_seconds, entry.end_seconds
            return load_views(entry.path, self.sampling, self.views, start=start, end=end)

        chosen, views = self._first_readable(index, read)
        labels = self.clips.entries[chosen].labels
        return views, encode_labels(labels, len(self.clips.classes), multi_label=self.clips.multi_label)

    def _read(self, index: int, random: np.random.Generator, rate: float) -> tuple[int, Tensor]:
        def read(entry: ClipEntry) -> Tensor:
            return read_clip(
                entry.path,
                self.sampling,
                start=entry.start_seconds,
                end=entry.end_seconds,
                random=random,
                dense_rate=rate,
            )

        return self._first_readable(index, read)

    def _first_readable(self, index: int, read: Callable[[ClipEntry], Tensor]) -> tuple[int, Tensor]:
        """The clip's frames, or in shards those of the next clip that can be read, and which one that is."""
        for further in range(len(self)):
            chosen = (index + further) % len(self)
            entry = self.clips.entries[chosen]
            try:
                return chosen, read(entry)
            except InputError as error:
                if not is_member(entry.path) or further + 1 == min(len(self), _MOST_BROKEN):
                    raise
                warnings.warn(f"{error}. The next clip takes its place", RuntimeWarning, stacklevel=2)
        raise AssertionError("a data set without clips is not drawn from")


def _mirrored_columns(names: Sequence[str], augmentation: AugmentationConfig) -> list[int]:
    """Which column each class becomes in the mirror."""
    if not augmentation.flip:
        return list(range(len(names)))
    swapped = augmentation.mirrored_labels
    _check_known(swapped, names, "mirror")
    sided = [name for name in names if _TELLS_SIDES.search(name) and name not in swapped]
    if sided:
        raise OptionError(
            f"flip=True would show the class {sided[0]!r} the wrong way round. Say in mirror which class it "
            "becomes in the mirror (itself, if none), or leave flip off"
        )
    return [names.index(swapped.get(name, name)) for name in names]


def _reversed_columns(names: Sequence[str], augmentation: AugmentationConfig) -> dict[int, int]:
    """Which column a class becomes when it runs backwards; those that are not reversed are left out."""
    swapped = augmentation.reversed_labels
    _check_known(swapped, names, "reverse")
    return {names.index(name): names.index(other) for name, other in swapped.items()}


def _check_known(labels: Iterable[str], names: Sequence[str], option: str) -> None:
    for name in labels:
        if name not in names:
            raise OptionError(
                f"{option} names {name!r}, which is no class of {', '.join(names[:5])}"
                f"{', ...' if len(names) > 5 else ''}. Correct the name"
            )


def encode_labels(labels: Sequence[int], classes: int, *, multi_label: bool) -> Tensor:
    """() int64, or (classes,) float32 of 0 and 1 where clips may have several labels."""
    if not multi_label:
        return torch.tensor(labels[0])
    row = torch.zeros(classes)
    row[list(labels)] = 1
    return row


def check_clips(
    clips: ClipList, line: ProgressLine | None = None, *, pass_shards: bool = False
) -> tuple[ClipList, list[ClipEntry]]:
    """Open every clip: those that can be read, and those that cannot, each named in a note with the reason.

    A file is opened once, its first frame decoded, and its packets counted, which finds files that were cut short.
    Damage in the middle of a file shows only when all of it is decoded, and is not looked for.

    Args:
        pass_shards: take clips in shards as sound, which may be more than anybody wants to read twice.

    Raises:
        InputError: not a single clip can be read.
    """
    kept: list[ClipEntry] = []
    broken: list[BrokenClip] = []
    looked_at: dict[Path, _Extent | InputError] = {}
    for entry in clips.entries:
        try:
            if not (pass_shards and is_member(entry.path)):
                _require_readable(entry, looked_at)
            kept.append(entry)
        except InputError as error:
            broken.append(BrokenClip(entry, str(error)))
            if line is not None:
                line.note(f"left out: {error}")
        if line is not None:
            line.advance()
    if not kept:
        reason = f", beginning with: {broken[0].reason}" if broken else ""
        raise InputError(f"none of {counted(len(broken), 'clip')} can be read{reason}")
    if broken and line is not None:
        line.note(f"left out: {len(broken)} of {len(clips.entries)} clips, which cannot be read")
    return replace(clips, entries=tuple(kept)), [clip.entry for clip in broken]


@dataclass(frozen=True)
class _Extent:
    """How long a file says it is, and until when its frames are there, in seconds."""

    duration: float
    readable_until: float


def _require_readable(entry: ClipEntry, looked_at: dict[Path, _Extent | InputError]) -> None:
    if entry.path not in looked_at:
        try:
            looked_at[entry.path] = _look_at(entry.path)
        except InputError as error:
            looked_at[entry.path] = error
    extent = looked_at[entry.path]
    if isinstance(extent, InputError):
        raise extent
    _, end = _within(extent.duration, entry.path, entry.start_seconds, entry.end_seconds)
    if end > extent.readable_until:
        raise BrokenMedia(
            f"{entry.path} is cut short: it should last {extent.duration:.2f} s and ends at "
            f"{extent.readable_until:.2f} s. Copy or download it again"
        )


def _look_at(path: Path) -> _Extent:
    with on_disk(path) as file, closing(open_clip(file)) as reader:
        duration = _duration(reader)
        return _Extent(duration, _readable_until(reader, duration))
