"""Who is in a frame: found by a detector and followed by a tracker, or given in a file."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.annotations.table import NO_PERSON, Annotations
from muybridge.devices import is_out_of_memory
from muybridge.errors import InputError, ModelError
from muybridge.models.boxes import clip_boxes_xyxy, has_area_xyxy
from muybridge.people.colours import colours_of
from muybridge.people.cuts import CutTest
from muybridge.people.detector import Detector
from muybridge.people.stillness import StillTest
from muybridge.people.tracks import Seen, Tracker

RGB = NDArray[np.uint8]
# A detector that fails so often in a row is broken; one that fails once met a frame it could not bear.
_MOST_FAILURES = 5


@dataclass(frozen=True, eq=False)
class Sighting:
    """Who is in a frame.

    Attributes:
        boxes: (n, 4) float32, x1 y1 x2 y2 as fractions of the frame, within it and with area.
        ids: (n,) int64, one a person.
        scores: (n,) float32.
        seen: what it rests on, boxes as fractions too, for those who can wait and tell better; None where waiting
            would tell no more.
    """

    boxes: NDArray[np.float32]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    seen: Seen | None = None


class PeopleSource(Protocol):
    """Asked about frames of one video, in order of time."""

    def look(self, image: RGB, seconds: float) -> Sighting | None:
        """Who is in this frame (H, W, 3) RGB; None where that could not be told."""
        ...

    @property
    def notes(self) -> list[str]:
        """What went wrong so far, in sentences for the user."""
        ...


def sound_boxes(
    boxes_xyxy: NDArray[np.floating], width: float, height: float
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Boxes in pixels to fractions, cut at the frame's edge; and which rows they were.

    Those that are reversed, lie outside, or are not finite are left out.
    """
    boxes = torch.from_numpy(np.asarray(boxes_xyxy, np.float32).reshape(-1, 4).copy())
    boxes = boxes / boxes.new_tensor([width, height, width, height])
    # A reversed box must not become sound by being cut.
    sound = has_area_xyxy(boxes)
    boxes = clip_boxes_xyxy(boxes)
    sound = (sound & has_area_xyxy(boxes)).numpy()
    return boxes.numpy()[sound], np.flatnonzero(sound)


@dataclass(frozen=True, eq=False)
class _Found:
    """What a detector says of a frame: (n, 4) xyxy in pixels, (n,), and (n, C) of `colours_of`."""

    pixels: NDArray[np.float32]
    scores: NDArray[np.float32]
    colours: NDArray[np.float64]


class DetectedPeople:
    """Found by a detector in each frame that it is shown, and followed from frame to frame.

    Args:
        min_score: nobody begins with a detection below it; who is followed already goes on with less.
        cuts: whether a cut in the film ends all that was followed.
        still: by which the detector is not asked again of a picture that is as it was when it was asked last; None
            asks it each time.

    Raises (on `look`):
        ModelError: the detector failed several times in a row.
    """

    def __init__(
        self,
        detector: Detector,
        tracker: Tracker,
        *,
        min_score: float,
        cuts: bool = True,
        still: StillTest | None = None,
    ) -> None:
        self._detector, self._tracker, self._min_score = detector, tracker, min_score
        self._cuts = CutTest() if cuts else None
        self._still = still
        self._found: _Found | None = None
        self._cut_seconds: list[float] = []
        self._failures: list[tuple[float, str]] = []
        self._in_a_row = 0

    @property
    def notes(self) -> list[str]:
        """See `PeopleSource`."""
        notes: list[str] = []
        if self._cut_seconds:
            count = len(self._cut_seconds)
            notes.append(
                f"{count} {'cut' if count == 1 else 'cuts'} in the film, the first at {self._cut_seconds[0]:.2f} s; "
                "people have new numbers after a cut"
            )
        if not self._failures:
            return notes
        seconds, reason = self._failures[0]
        return [
            *notes,
            f"the detector failed on {counted(len(self._failures), 'frame')}, first at {seconds:.2f} s ({reason}); "
            "people there are taken from the frames around",
        ]

    def look(self, image: RGB, seconds: float) -> Sighting | None:
        """See `PeopleSource`."""
        if self._still is None or not self._still(image, seconds) or self._found is None:
            self._found = self._detected(image, seconds)
        found = self._found
        if found is None:
            return None
        people = self._tracker.follow(
            found.pixels, found.scores, begin_score=self._min_score, seconds=seconds, colours=found.colours
        )
        height, width = image.shape[:2]
        boxes, rows = sound_boxes(people.boxes, width, height)
        seen = people.seen
        whole = np.array([width, height, width, height], np.float64)
        seen = replace(seen, boxes=(seen.boxes / whole).clip(0, 1).astype(np.float32))
        return Sighting(boxes, people.ids[rows], people.scores[rows].astype(np.float32), seen)

    def _detected(self, image: RGB, seconds: float) -> _Found | None:
        """What the detector says of a frame; None where it failed."""
        if self._cuts is not None and self._cuts(image):
            self._tracker.cut()
            self._cut_seconds.append(seconds)
        try:
            found = self._detector(image[None])[0]
        except (InputError, RuntimeError, ValueError) as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            self._failed(seconds, error)
            return None
        self._in_a_row = 0
        height, width = image.shape[:2]
        scores = np.asarray(found.scores, np.float32)
        boxes, rows = sound_boxes(np.asarray(found.boxes, np.float32), width, height)
        pixels = boxes * np.array([width, height, width, height], np.float32)
        return _Found(pixels, scores[rows], colours_of(image, pixels))

    def _failed(self, seconds: float, error: Exception) -> None:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        self._failures.append((seconds, reason))
        self._in_a_row += 1
        if self._in_a_row >= _MOST_FAILURES:
            raise ModelError(
                f"the detector failed on {self._in_a_row} frames in a row, last at {seconds:.2f} s: {reason}. "
                "Choose another --detector, or give --boxes"
            ) from error


class GivenPeople:
    """Boxes from annotations of one video, such as another program's tracks.

    Between the times that the annotations know, boxes of one person move evenly; a person is not carried over a gap
    of more than one and a half of the annotations' own steps. Without person ids, boxes are tracked first.

    Args:
        annotations: of one video, boxes normalised, or in pixels with its size known.
        min_score: boxes scored below it do not count.
        tracker: for boxes without ids.
    """

    def __init__(self, annotations: Annotations, *, min_score: float, tracker: Tracker) -> None:
        annotations = annotations.normalised()
        scores = np.ones(len(annotations)) if annotations.score is None else annotations.score
        kept = np.flatnonzero(scores >= min_score)
        boxes, sound = sound_boxes(annotations.boxes_xyxy[kept], 1, 1)
        kept = kept[sound]
        times, scores = annotations.time_seconds[kept], scores[kept].astype(np.float32)
        people = np.full(len(annotations), NO_PERSON) if annotations.person is None else annotations.person
        # A person with several actions has a row for each.
        keys = np.concatenate([times[:, None], people[kept][:, None], boxes], axis=1)
        rows = np.sort(np.unique(keys, axis=0, return_index=True)[1])
        rows = rows[np.argsort(times[rows], kind="stable")]
        times, boxes, scores, people = times[rows], boxes[rows], scores[rows], people[kept][rows]
        distinct = np.unique(times)
        if (people == NO_PERSON).any():
            people = people.copy()
            # A person's shape counts for the tracker, where the frame's is known.
            size = next(iter(annotations.frame_sizes.values()), (1, 1))
            pixels = boxes * np.array([*size, *size], np.float32)
            for time in distinct.tolist():
                now = times == time
                people[now] = tracker.update(pixels[now], scores[now], seconds=time)
        self._step = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 1.0
        self._tracks: dict[int, tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]] = {}
        for person in np.unique(people).tolist():
            mine = people == person
            self._tracks[person] = times[mine], boxes[mine], scores[mine]
        self._span = (times.min(initial=np.inf), times.max(initial=-np.inf))

    @property
    def notes(self) -> list[str]:
        """See `PeopleSource`."""
        return [] if self._tracks else ["the file of boxes holds none for this video"]

    def look(self, image: RGB, seconds: float) -> Sighting | None:
        """See `PeopleSource`; the image is not looked at."""
        del image
        found = [(person, self._at(track, seconds)) for person, track in self._tracks.items()]
        here = [(person, box_and_score) for person, box_and_score in found if box_and_score is not None]
        return Sighting(
            np.array([box for _, (box, _) in here], np.float32).reshape(-1, 4),
            np.array([person for person, _ in here], np.int64),
            np.array([score for _, (_, score) in here], np.float32),
        )

    def _at(
        self, track: tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]], seconds: float
    ) -> tuple[NDArray[np.float32], float] | None:
        times, boxes, scores = track
        after = int(np.searchsorted(times, seconds))
        if 0 < after < len(times) and times[after] - times[after - 1] <= 1.5 * self._step + 1e-6:
            share = (seconds - times[after - 1]) / (times[after] - times[after - 1])
            return (boxes[after - 1] * (1 - share) + boxes[after] * share).astype(np.float32), float(
                scores[after - 1]
            )
        nearest = min((i for i in (after - 1, after) if 0 <= i < len(times)), key=lambda i: abs(times[i] - seconds))
        if abs(times[nearest] - seconds) > self._step / 2 + 1e-6:
            return None
        return boxes[nearest], float(scores[nearest])
