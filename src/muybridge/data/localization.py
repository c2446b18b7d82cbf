"""Key frames of annotated videos as training data: the clip around a moment, who is in it and what they do.

    annotations ── key frames: video, time, boxes, targets ── (and detections that overlap them)
        └─ draw ── clip, read from the raw video around the key frame ── jitter, flip, scale ── padded batch

Frames are read from the video as it is; no folder of pictures is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as pictures

from muybridge.counts import counted
from muybridge.data.annotations.table import NO_LABEL, Annotations
from muybridge.data.feature_bank import FeatureBank
from muybridge.data.label_maps import LabelMap
from muybridge.data.options import BankSpan, BoxAugmentation, Preprocessing
from muybridge.data.sampling import Draw
from muybridge.data.video_files import VideoFile
from muybridge.errors import AnnotationError, InputError, OptionError
from muybridge.media.video_reader import VideoReader
from muybridge.models.boxes import clip_boxes_xyxy, flip_boxes_xyxy, has_area_xyxy, jitter_boxes_xyxy

Floats = NDArray[np.float32]
RGB = tuple[float, float, float]
# Frames a second that the authors' code brings every film to.
AUTHORS_RATE = 30.0
# Longer frames would become clips of gigabytes; the longest walls of screens are about 30 times as wide as high.
_MOST_ASPECT = 40


@dataclass(frozen=True)
class KeyFrameSampling:
    """What a localizer is shown around a key frame; part of every localizer's file.

    Attributes:
        frames: T, frames of a clip.
        rate: frames a second, whatever the file's own rate. The key frame is frame T // 2.
        short_side: pixels the frame's shorter side is scaled to; nothing is cropped.
        multiple: both sides are rounded to a multiple of this many pixels, which image transformers need.
        mean: subtracted from RGB in [0, 1].
        std: RGB is divided by it afterwards.
        preprocessing: "own", or "authors": the arithmetic of the code that ACAR-Net's authors released, for models
            that were trained by it. Films are brought to 30 frames a second, each frame to the nearest place, and
            pictures scaled by Pillow's bilinear filter, the longer side rounded down.
    """

    frames: int = 32
    rate: float = 15.0
    short_side: int = 256
    multiple: int = 1
    mean: RGB = (0.45, 0.45, 0.45)
    std: RGB = (0.225, 0.225, 0.225)
    preprocessing: Preprocessing = "own"

    def __post_init__(self) -> None:
        for name in ("mean", "std"):  # JSON hands lists back
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("frames", "short_side", "multiple"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name}={getattr(self, name)} is too small. Choose 1 or more.")
        if not self.rate > 0:
            raise OptionError(f"rate={self.rate} is no number of frames a second. Choose one above 0, such as 15.")
        if self.preprocessing not in ("own", "authors"):
            raise OptionError(f"preprocessing={self.preprocessing!r} is unknown. Choose one of: own, authors.")

    @property
    def as_authors(self) -> bool:
        """Whether the arithmetic is that of the authors' code."""
        return self.preprocessing == "authors"

    @property
    def seconds_ahead(self) -> float:
        """How far a clip reaches beyond its key frame."""
        later = 0.5 / AUTHORS_RATE if self.as_authors else 0.0
        return (self.frames - 1 - self.frames // 2) / self.rate + later

    def seconds(self, key_seconds: float) -> NDArray[np.float64]:
        """Times (T,) of the frames around a key frame; those before the start or after the end repeat the edge."""
        around = (np.arange(self.frames) - self.frames // 2) / self.rate
        if not self.as_authors:
            return key_seconds + around
        places = np.round((key_seconds + around) * AUTHORS_RATE)
        # A place shows the last frame that is nearer to it than to the next: the one on display just before midway.
        return (places + 0.5) / AUTHORS_RATE - 1e-5

    def size(self, width: int, height: int, *, scale: float = 1.0) -> tuple[int, int]:
        """(width, height) that frames of this size are scaled to.

        Raises:
            InputError: they are so thin that a clip of them would exhaust memory.
        """
        if max(width, height) > _MOST_ASPECT * min(width, height):
            raise InputError(
                f"frames of {width}x{height} are more than {_MOST_ASPECT} times as long as wide: nobody can be told "
                "apart in them. Cut them first"
            )
        step = self.multiple
        if self.as_authors:
            short = round(self.short_side * scale)
            columns, rows = (side * short // min(width, height) // step * step for side in (width, height))
            return max(step, columns), max(step, rows)
        factor = self.short_side * scale / min(width, height)
        return max(step, round(width * factor / step) * step), max(step, round(height * factor / step) * step)


def scaled_picture(
    image: NDArray[np.uint8], size: tuple[int, int], *, preprocessing: Preprocessing = "own"
) -> Tensor:
    """(H, W, 3) uint8 to (3, height, width) uint8 of `size`, (width, height)."""
    same = (image.shape[1], image.shape[0]) == size
    if preprocessing == "authors" and not same:
        # A copy, since torch takes no array that may not be written.
        image = np.array(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
        same = True
    picture = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if same:
        return picture
    return pictures.resize(picture, [size[1], size[0]], InterpolationMode.BICUBIC, antialias=True)


def normalize_clips(frames_BT3HW: Tensor, sampling: KeyFrameSampling, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Clips uint8 to float32 input of a trunk, on their own device, padding set to zero.

    Args:
        sizes: each clip's height and width before padding.
    """
    mean, std = (
        torch.tensor(values, device=frames_BT3HW.device).view(3, 1, 1) for values in (sampling.mean, sampling.std)
    )
    normalized = (frames_BT3HW.float() / 255 - mean) / std
    for clip, (height, width) in zip(normalized, sizes, strict=True):
        clip[..., height:, :] = 0
        clip[..., width:] = 0
    return normalized


@dataclass(frozen=True, eq=False)
class KeyFrame:
    """One moment of one video.

    Attributes:
        video: the annotations' name of it.
        file: where it is.
        seconds: from its start.
        boxes: (n, 4) float32, x1 y1 x2 y2 as fractions of the frame, within it and with area.
        targets: (n, K) float32 of 0 and 1; zeros for someone who does none of the classes.
        people: (n,) int64 identities, -1 where they are not known.
    """

    video: str
    file: VideoFile
    seconds: float
    boxes: Floats
    targets: Floats
    people: NDArray[np.int64]


def key_frames(
    annotations: Annotations, labels: LabelMap, files: Mapping[str, VideoFile], *, min_step_seconds: float = 0.0
) -> list[KeyFrame]:
    """The annotated moments of all videos, in order.

    Boxes are cut at the frame's edge; those that lie outside or have no area are left out, even where a moment then
    has nobody.

    Args:
        files: by the annotations' names of the videos, see `find_videos`.
        min_step_seconds: moments closer than this to the one before are passed over, where every frame is annotated.

    Raises:
        AnnotationError: a time after a video's end, an unknown class, a video without a file.
    """
    used = annotations.label != NO_LABEL
    column = np.full(len(annotations), -1)
    column[used] = labels.columns(annotations.label[used])
    sizes = {name: (file.width, file.height) for name, file in files.items()}
    boxes_xyxy = annotations.normalised(sizes).boxes_xyxy
    people = np.full(len(annotations), -1, np.int64) if annotations.person is None else annotations.person
    found: list[KeyFrame] = []
    empty = set(zip(annotations.empty_video.tolist(), annotations.empty_time_seconds.tolist(), strict=True))
    moments = _moments(annotations) | {moment: [] for moment in empty}
    last: tuple[int, float] | None = None
    for (video, seconds), rows in sorted(moments.items()):
        name = annotations.videos[video]
        file = files.get(name)
        if file is None:
            raise AnnotationError(f"There is no file for the video {name!r}. Put it into the folder of videos.")
        if file.duration_seconds is not None and not 0 <= seconds <= file.duration_seconds:
            raise AnnotationError(
                f"{name!r} is annotated at {seconds:.2f} s, but {file.path} lasts {file.duration_seconds:.2f} s. "
                "Correct the time, or give the video that was annotated."
            )
        if last is not None and last[0] == video and seconds - last[1] < min_step_seconds - 1e-6:
            continue
        last = (video, seconds)
        mine = np.array(rows, np.intp)
        found.append(_key_frame(name, file, seconds, mine, boxes_xyxy, column, people, len(labels)))
    return found


def _moments(annotations: Annotations) -> dict[tuple[int, float], list[int]]:
    moments: dict[tuple[int, float], list[int]] = {}
    for row, moment in enumerate(
        zip(annotations.video.tolist(), annotations.time_seconds.round(6).tolist(), strict=True)
    ):
        moments.setdefault(moment, []).append(row)
    return moments


def _key_frame(
    name: str,
    file: VideoFile,
    seconds: float,
    rows: NDArray[np.intp],
    boxes_xyxy: NDArray[np.float64],
    column: NDArray[np.int64],
    people: NDArray[np.int64],
    num_classes: int,
) -> KeyFrame:
    """Rows of one person, one a class, become one box with several targets."""
    boxes = torch.from_numpy(boxes_xyxy[rows].astype(np.float32))
    boxes = clip_boxes_xyxy(boxes)
    rows, boxes = rows[has_area_xyxy(boxes).numpy()], boxes[has_area_xyxy(boxes)].numpy()
    keys = np.concatenate([people[rows][:, None].astype(np.float64), boxes.astype(np.float64)], axis=1)
    first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)[1:]
    targets = np.zeros((len(first), num_classes), np.float32)
    doing = column[rows] >= 0
    targets[inverse.reshape(-1)[doing], column[rows][doing]] = 1
    return KeyFrame(name, file, seconds, boxes[first], targets, people[rows][first])


def add_detections(
    frames: Sequence[KeyFrame], detections: Annotations, *, min_score: float = 0.9, min_iou: float = 0.5
) -> list[KeyFrame]:
    """Key frames with confident detections beside the true boxes, so that a head learns from both.

    A detection has the targets of the true box that it overlaps most, from `min_iou` on; others are left out, since
    nobody knows what they do. That rule is ours; the published training uses detections from a score of 0.9.

    Args:
        detections: with scores; in the same videos, by name.

    Raises:
        AnnotationError: no scores, or none of them is of a key frame.
    """
    result: list[KeyFrame] = []
    found = detected_boxes(frames, detections, min_score=min_score)
    if frames and not any(map(len, found)):
        raise AnnotationError(f"{why_none_detected(frames, detections, min_score=min_score)}. Correct the boxes.")
    for frame, boxes in zip(frames, found, strict=True):
        if not len(boxes) or not len(frame.boxes):
            result.append(frame)
            continue
        from torchvision.ops import box_iou

        best, place = box_iou(torch.from_numpy(boxes), torch.from_numpy(frame.boxes)).max(1)
        kept, place = (best >= min_iou).numpy(), place.numpy()
        result.append(
            replace(
                frame,
                boxes=np.concatenate([frame.boxes, boxes[kept]]),
                targets=np.concatenate([frame.targets, frame.targets[place[kept]]]),
                people=np.concatenate([frame.people, frame.people[place[kept]]]),
            )
        )
    return result


def detected_boxes(frames: Sequence[KeyFrame], detections: Annotations, *, min_score: float) -> list[Floats]:
    """The detections of each key frame, (n, 4) float32 fractions within the frame.

    Raises:
        AnnotationError: no scores.
    """
    if detections.score is None:
        raise AnnotationError("The detections have no scores, so confident ones cannot be chosen. Give each one.")
    sizes = {frame.video: (frame.file.width, frame.file.height) for frame in frames}
    chosen = detections.select(detections.score >= min_score)
    known = [name in sizes for name in chosen.videos]
    chosen = chosen.select(np.array(known, bool)[chosen.video] if len(chosen) else np.zeros(0, bool))
    boxes = torch.from_numpy(chosen.normalised(sizes).boxes_xyxy.astype(np.float32))
    boxes = clip_boxes_xyxy(boxes)
    sound = has_area_xyxy(boxes).numpy()
    rows: dict[tuple[str, float], list[int]] = {}
    for row in np.flatnonzero(sound).tolist():
        key = (chosen.videos[chosen.video[row]], round(float(chosen.time_seconds[row]), 6))
        rows.setdefault(key, []).append(row)
    found = [boxes.numpy()[rows.get((frame.video, round(frame.seconds, 6)), [])] for frame in frames]
    # A file that gives a row for each action of a person gives their box several times.
    return [each[np.sort(np.unique(each, axis=0, return_index=True)[1])] for each in found]


def why_none_detected(frames: Sequence[KeyFrame], detections: Annotations, *, min_score: float) -> str:
    """What was compared with what, in a sentence, where `detected_boxes` gives none at any key frame."""
    count = len(detections)
    if detections.score is None or not count or detections.score.max() < min_score:
        best = "" if detections.score is None or not count else f"; the highest score is {detections.score.max():g}"
        return f"no box is scored {min_score:g} or more, of {count}{best}"
    chosen = detections.select(detections.score >= min_score)
    videos = {frame.video for frame in frames}
    both = sorted(videos & {chosen.videos[index] for index in np.unique(chosen.video).tolist()})
    if not both:
        return (
            f"none of {counted(len(chosen), 'box')} is of an annotated video: annotated are "
            f"{', '.join(map(repr, sorted(videos)[:3]))}, the boxes are of {', '.join(map(repr, chosen.videos[:3]))}"
        )
    seconds = sorted(frame.seconds for frame in frames if frame.video == both[0])
    times = chosen.of_video(both[0]).time_seconds
    return (
        f"none of {counted(len(chosen), 'box')} lies at a key frame and in the frame: {both[0]!r} has key frames "
        f"at {seconds[0]:g} to {seconds[-1]:g} s, boxes at {times.min():g} to {times.max():g} s"
    )


def read_key_clip(
    file: VideoFile, seconds: NDArray[np.float64], size: tuple[int, int], *, preprocessing: Preprocessing = "own"
) -> Tensor:
    """Frames (T, 3, height, width) uint8 RGB on display at these times.

    Args:
        size: (width, height) to scale to.
        preprocessing: "own" scales while reading, which is the quickest; see `KeyFrameSampling`.

    Raises:
        InputError: the file cannot be read.
    """
    wanted = [Fraction(s).limit_denominator(1_000_000) for s in seconds.tolist()]
    with VideoReader(file.path, size=None if preprocessing == "authors" else size) as reader:
        frames = [frame.image for frame in reader.frames_at_seconds(wanted)]
    return torch.stack([scaled_picture(image, size, preprocessing=preprocessing) for image in frames])


NO_AUGMENTATION = BoxAugmentation(jitter=0.0, flip=False, scales=(1.0, 1.0))


class BoxesDataset(Dataset[dict[str, Tensor]]):
    """Clips around key frames, their boxes and targets. Indexed by `Draw`, whose seed decides all that is random.

    An item is {"frames": (T, 3, height, width) uint8, "boxes": (n, 4) float32 fractions, "targets": (n, K) float32,
    "index": () int64} and, with banks, {"bank": (m, C, h, w) float16}. Sizes differ from item to item:
    `collate_boxes` makes batches of them.

    Args:
        frames: whose boxes count.
        banks: by name of video; every video must have one.
        span: what is read of them. A mirrored clip reads mirrored maps, which is close to, but not quite, what the
            bank's model would have made of the mirrored video.

    Raises:
        AnnotationError: a video without a bank.
    """

    def __init__(
        self,
        frames: Sequence[KeyFrame],
        sampling: KeyFrameSampling,
        augmentation: BoxAugmentation = NO_AUGMENTATION,
        *,
        banks: Mapping[str, FeatureBank] | None = None,
        span: BankSpan | None = None,
    ) -> None:
        self.frames, self.sampling, self.augmentation = list(frames), sampling, augmentation
        self.banks, self.span = banks, span or BankSpan()
        lacking = sorted({f.video for f in frames} - set(banks)) if banks is not None else []
        if lacking:
            raise AnnotationError(f"There is no feature bank of the video {lacking[0]!r}. Write it with write-bank.")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, draw: Draw) -> dict[str, Tensor]:
        frame, how = self.frames[draw.index], self.augmentation
        random = np.random.default_rng(draw.seed)
        scale = float(random.uniform(*how.scales))
        size = self.sampling.size(frame.file.width, frame.file.height, scale=scale)
        times = self.sampling.seconds(frame.seconds)
        clip = read_key_clip(frame.file, times, size, preprocessing=self.sampling.preprocessing)
        boxes = torch.from_numpy(frame.boxes)
        if how.jitter:
            generator = torch.Generator().manual_seed(int(random.integers(2**62)))
            boxes = jitter_boxes_xyxy(boxes, how.jitter, generator=generator)
        mirrored = how.flip and bool(random.random() < 0.5)
        item = {
            "frames": clip.flip(-1) if mirrored else clip,
            "boxes": flip_boxes_xyxy(boxes) if mirrored else boxes,
            "targets": torch.from_numpy(frame.targets),
            "index": torch.tensor(draw.index),
        }
        if self.banks is not None:
            maps = self.banks[frame.video].window(frame.seconds, before=self.span.before, after=self.span.after).maps
            item["bank"] = maps.flip(-1) if mirrored else maps
        return item


def collate_boxes(items: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of B items of a `BoxesDataset`, in which everything has B along its first axis.

    Returns:
        "frames" (B, T, 3, H, W) uint8, padded at the right and bottom; "sizes" (B, 2) int64 height and width before
        padding; "boxes" (B, P, 4) float32 fractions of the padded frame; "targets" (B, P, K); "present" (B, P) bool;
        "index" (B,); with banks "bank" (B, M, C, h, w) float16, "in_bank" (B, M) bool and "bank_grid" (B, 2) int64,
        rows and columns before padding.
    """
    sizes = torch.tensor([tuple(item["frames"].shape[-2:]) for item in items])
    height, width = (int(side) for side in sizes.amax(0))
    clips = [item["frames"] for item in items]
    frames = [F.pad(clip, (0, width - clip.shape[-1], 0, height - clip.shape[-2])) for clip in clips]
    share = torch.stack([sizes[:, 1] / width, sizes[:, 0] / height], dim=1).repeat(1, 2)
    batch = {
        "frames": torch.stack(frames),
        "sizes": sizes,
        "boxes": _padded([item["boxes"] for item in items]) * share[:, None],
        "targets": _padded([item["targets"] for item in items]),
        "present": _padded([torch.ones(len(item["boxes"]), dtype=torch.bool) for item in items]),
        "index": torch.stack([item["index"] for item in items]),
    }
    if "bank" in items[0]:
        batch["bank"] = _padded([item["bank"] for item in items])
        batch["bank_grid"] = torch.tensor([tuple(item["bank"].shape[-2:]) for item in items])
        batch["in_bank"] = _padded([torch.ones(len(item["bank"]), dtype=torch.bool) for item in items])
    return batch


def _padded(parts: Sequence[Tensor]) -> Tensor:
    """One tensor of all, each axis as long as the longest and at least 1, zeros at its end."""
    most = [max(1, *sides) for sides in zip(*(part.shape for part in parts), strict=True)]
    padding = [
        [side for axis in range(part.ndim - 1, -1, -1) for side in (0, most[axis] - part.shape[axis])]
        for part in parts
    ]
    return torch.stack([F.pad(part, pad) for part, pad in zip(parts, padding, strict=True)])
