"""Moments of real clips that the built-in localizer is trained on, and what its frozen image model makes of them.

    clips, films ── people by a detector ── moments ── maps of the frozen trunk ── kept, a file a video

Clips of one action give their middle; films are looked at once or twice a second, and their people are followed;
scenes of sports give the moments that `sports_people.tsv` names. `localizer_labels.py` says who does what there.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from muybridge.data.localization import KeyFrameSampling, normalize_clips, scaled_picture
from muybridge.localize.video_localizer import PeopleLocalizer
from muybridge.media.outputs import atomic_output
from muybridge.media.video_reader import VideoReader
from muybridge.models.acar.image_trunk import ImageTrunk, over_time
from muybridge.people.detector import Detector

Floats = NDArray[np.float32]
RGB = NDArray[np.uint8]
SURE = 0.4  # boxes that the detector is less sure of are not people
PLACES = {"jhmdb": (0.5,), "dark_actions": (0.5,), "weizmann": (0.5,)}
STILL = ("golf", "shoot_bow", "shoot_gun", "clap", "pour", "wave", "brush_hair", "throw")
SPORTS = ("ucf24", "volleyball")
_VOLLEYBALL_RATE = 25.0  # pictures a second
FAR = {"jhmdb": ("walk", "run", *STILL), "dark_actions": ("walk", "run"), "weizmann": ("walk", "run")}


@dataclass(frozen=True)
class Video:
    """A clip or film of a set.

    Attributes:
        name: under the folder of data; with the set it is the key of labels.
        group: films, people or sequences that must not be on both sides of a split.
        action: what the set says of the whole clip; empty for films.
        far: whether the clip is seen at half its size, within a plain frame, as people farther away are.
        seconds: the moments, of a scene of sports or where others than those of `PLACES` are wanted.
    """

    set: str
    name: str
    group: str
    action: str = ""
    far: bool = False
    seconds: tuple[float, ...] = ()


def videos(data: Path) -> Iterator[Video]:
    """All that there are; people who walk, run, stand and sit once more from afar."""
    for video in _near(data):
        yield video
        if video.action.lower() in FAR.get(video.set, ()):
            yield replace(video, far=True)


def _near(data: Path) -> Iterator[Video]:
    with (data / "clips/jhmdb/train.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            yield Video("jhmdb", f"clips/jhmdb/train/{row['clip']}", row["group"], row["class"])
    for path in _under(data, "clips/dark_actions/*/*/*"):
        yield Video("dark_actions", path, Path(path).stem, path.split("/")[-2])
    for path in _under(data, "clips/weizmann/*/*"):
        yield Video("weizmann", path, Path(path).stem.split("_")[0], path.split("/")[-2])
    for path in _under(data, "clips/ut_interaction/*/*"):
        yield Video("ut_interaction", path, Path(path).stem[:5], path.split("/")[-2])
    for path in _under(data, "clips/falls/*/*/*"):
        yield Video("falls", path, path.split("/")[2])
    for path in (*_under(data, "people/*"), *_under(data, "misc/*")):
        yield Video(path.split("/")[0], path, path)
    for path, seconds in _sports().items():
        kind, name = path.split("/")[1:]
        group = "one hall" if kind == "volleyball" else "_".join(name.split("_")[1:3])  # v_CLASS_GROUP_CLIP.mp4
        yield Video(kind, path, group, seconds=seconds)


@cache
def _sports() -> dict[str, tuple[float, ...]]:
    """Scenes of sports, and their moments in order."""
    found: dict[str, set[float]] = {}
    with Path(__file__).with_name("sports_people.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["film"], set()).add(float(row["seconds"]))
    return {film: tuple(sorted(seconds)) for film, seconds in found.items()}


def _under(data: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(data)) for path in data.glob(pattern) if path.is_file())


@dataclass(frozen=True, eq=False)
class Kept:
    """What is kept of a video.

    Attributes:
        seconds: (M,) of its moments.
        fine, coarse: for each, (3 C, h, w) float16 of `over_time`, at strides 16 and 32.
        boxes: for each, (n, 4) fractions of the frame.
        scores: for each, (n,) of the detector.
        people: for each, (n,) identities, of clips the place in the list.
        moving: for each, (n,) how much the picture changes in the box.
        pictures: for each, (h, w, 3) uint8, small.
    """

    seconds: NDArray[np.float64]
    fine: list[Tensor]
    coarse: list[Tensor]
    boxes: list[Floats]
    scores: list[Floats]
    people: list[NDArray[np.int64]]
    moving: list[Floats]
    pictures: list[RGB]


class Frames:
    """All frames of a short film at the trunk's size, by their times."""

    def __init__(self, path: Path, sampling: KeyFrameSampling, *, far: bool = False) -> None:
        self.sampling = sampling
        self.times: list[float] = []
        self.small: list[Tensor] = []
        self._path = path
        for time, image in pictures_of(path):
            image = from_afar(image) if far else image
            height, width = image.shape[:2]
            self.times.append(time)
            self.small.append(scaled_picture(image, sampling.size(width, height)))

    def clip(self, seconds: float) -> Tensor:
        """(T, 3, h, w) uint8 around a moment, as `KeyClips` gives it."""
        return torch.stack([self.small[self.place(time)] for time in self.sampling.seconds(seconds)])

    def place(self, seconds: float) -> int:
        """The frame on display then."""
        return max(0, int(np.searchsorted(self.times, seconds + 1e-6, side="right")) - 1)

    def originals(self, seconds: list[float]) -> list[RGB]:
        """Frames at their own size."""
        wanted = [self.place(each) for each in seconds]
        found = {place: image for place, (_, image) in enumerate(pictures_of(self._path)) if place in wanted}
        return [found[place] for place in wanted]


def pictures_of(path: Path) -> Iterator[tuple[float, RGB]]:
    """Time and picture of each frame of a film, or of a folder of numbered pictures."""
    if path.is_dir():
        for number, file in enumerate(sorted(path.glob("*.jpg"))):
            yield number / _VOLLEYBALL_RATE, np.asarray(Image.open(file).convert("RGB"))
        return
    with VideoReader(path) as reader:
        for frame in reader:
            yield float(frame.pts_seconds), frame.image


def watched(video: Video, data: Path, trunk: ImageTrunk, sampling: KeyFrameSampling, detector: Detector) -> Kept:
    """Find the people of a video's moments and run the trunk."""
    path = data / video.name
    frames = Frames(path, sampling, far=video.far)
    if video.set in (*PLACES, *SPORTS):
        shares = () if video.seconds else PLACES.get(video.set, ())
        seconds = [*video.seconds, *(frames.times[int(share * len(frames.times))] for share in shares)]
        pictures = frames.originals(seconds)
        found = [_found(picture, detector) for picture in pictures]
        if video.far:
            pictures = [from_afar(picture) for picture in pictures]
            found = [(boxes / 2 + 0.25, scores, people) for boxes, scores, people in found]
    else:
        every = 1.0 if frames.times[-1] > 6 else 0.5
        followed = video.set in ("people", "misc")
        looks = 0.2 if followed else every
        keys = PeopleLocalizer(detector, device="cpu")(path, every=every, look_every=looks, min_score=SURE).key_frames
        if video.set == "ut_interaction":  # what happens, happens in the middle
            keys = [key for key in keys if 0.27 <= key.seconds / frames.times[-1] <= 0.76]
        seconds = [key.seconds for key in keys]
        pictures = frames.originals(seconds)
        found = [(key.people.boxes, key.people.scores, key.people.ids) for key in keys]
    kept = Kept(np.array(seconds), [], [], [], [], [], [], [])
    for moment, picture, (boxes, scores, people) in zip(seconds, pictures, found, strict=True):
        clip = frames.clip(moment)
        fine, coarse = maps_of(clip, trunk, sampling)
        kept.fine.append(fine)
        kept.coarse.append(coarse)
        kept.boxes.append(boxes)
        kept.scores.append(scores)
        kept.people.append(people)
        kept.moving.append(_moving(clip, boxes))
        scale = 240 / picture.shape[0]
        small = scaled_picture(picture, (round(picture.shape[1] * scale), 240))
        kept.pictures.append(small.permute(1, 2, 0).numpy())
    return kept


@torch.no_grad()
def maps_of(clip_T3HW: Tensor, trunk: ImageTrunk, sampling: KeyFrameSampling) -> tuple[Tensor, Tensor]:
    """Both maps over time, float16, as `ImageTrunk` joins them."""
    size = (clip_T3HW.shape[-2], clip_T3HW.shape[-1])
    normalized = normalize_clips(clip_T3HW[None], sampling, [size])[0]
    fine, coarse = (torch.cat(maps) for maps in zip(*map(trunk.tower.two_scales, normalized.split(2)), strict=True))
    return over_time(fine[None])[0].half(), over_time(coarse[None])[0].half()


def from_afar(image: RGB) -> RGB:
    """A frame in the middle of one twice as wide and high, whose edges go on."""
    height, width = image.shape[:2]
    across, along = (height // 2, height - height // 2), (width // 2, width - width // 2)
    return np.pad(image, (across, along, (0, 0)), mode="edge")


def _found(picture: RGB, detector: Detector) -> tuple[Floats, Floats, NDArray[np.int64]]:
    seen = detector(np.ascontiguousarray(picture)[None])[0]
    height, width = picture.shape[:2]
    boxes = (seen.boxes / np.array([width, height, width, height], np.float32)).clip(0, 1)
    sure = (seen.scores >= SURE) & (boxes[:, 2:] > boxes[:, :2] + 0.01).all(1)
    return boxes[sure], seen.scores[sure], np.arange(int(sure.sum()))


def _moving(clip_T3HW: Tensor, boxes: Floats) -> Floats:
    """Mean change from frame to frame in each box, in shares of the largest in the frame."""
    change = (clip_T3HW[1:].float() - clip_T3HW[:-1].float()).abs().mean((0, 1)).numpy()
    height, width = change.shape
    found: list[float] = []
    for left, top, right, bottom in (boxes * np.array([width, height, width, height])).round().astype(int).tolist():
        found.append(float(change[top : max(bottom, top + 1), left : max(right, left + 1)].mean()))
    return np.array(found, np.float32) / max([*found, 1e-6])


def save(path: Path, kept: Kept) -> None:
    """Whole or not at all."""
    arrays: dict[str, NDArray[np.generic]] = {"seconds": kept.seconds}
    for place in range(len(kept.seconds)):
        for name in ("boxes", "scores", "people", "moving", "pictures"):
            arrays[f"{name}.{place}"] = getattr(kept, name)[place]
        for name in ("fine", "coarse"):
            arrays[f"{name}.{place}"] = getattr(kept, name)[place].numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]


def load(path: Path, *, maps: bool = True) -> Kept:
    """The inverse; without maps it is quick."""
    with np.load(path) as file:
        places = range(len(file["seconds"]))
        lists: Mapping[str, list[NDArray[np.generic]]] = {
            name: [file[f"{name}.{place}"] for place in places]
            for name in ("boxes", "scores", "people", "moving", "pictures")
        }
        fine, coarse = (
            [torch.from_numpy(file[f"{name}.{place}"]) for place in places] if maps else []
            for name in ("fine", "coarse")
        )
        return Kept(file["seconds"], fine, coarse, **lists)  # pyright: ignore[reportArgumentType]


def kept_file(folder: Path, video: Video) -> Path:
    """Where a video's is kept."""
    return folder / f"{video.name.replace('/', '__')}{'.far' if video.far else ''}.npz"
