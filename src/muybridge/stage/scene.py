"""A scene of the stage: from a specification to frames with exactly known boxes, tracks and actions.

    SceneSpec ──> plan (who does what: scenarios.py) ──> joints, outlines at any times (timeline, skeleton, figures,
    props) ──> painted frames with masks (render) ──> Frame, Clip

Everything follows from the specification: the same one gives the same pixels, on one version of NumPy and Pillow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from PIL import Image

from muybridge.data.label_maps import LabelMap
from muybridge.errors import OptionError
from muybridge.options import HIDDEN
from muybridge.stage.backgrounds import (
    BACKGROUND_KINDS,
    BackgroundKind,
    choose_background,
    draw_background,
    fit_photograph,
)
from muybridge.stage.labels import SCENARIOS, Scenario, num_siblings, stage_labels
from muybridge.stage.render import Layer, contact_shadow, paint_frame
from muybridge.stage.scenarios import ANSWER_SECONDS, FLASH_SECONDS, Layout, Plan, make_plan
from muybridge.stage.skeleton import JOINT, Floats
from muybridge.stage.timeline import Span

RGB = NDArray[np.uint8]
EYE_HEIGHT = 1.4  # metres above the floor that the camera stands
NEAR_DISTANCE = 5.0  # metres at which a figure has the height that figure_share says
GROUND = 0.88  # share of the picture's height at which the floor lies at that distance
WALL_DISTANCE = 9.5  # metres at which the background's floor ends
LONGEST_SECONDS = 86_400  # of a scene: a day
_CHUNK = 32  # frames whose geometry is worked out together


def _rate(_: Any, tokens: Any) -> Fraction:
    return Fraction(str(float(tokens[0].value)))


_RATE = Parameter(converter=_rate, metavar="FLOAT", show_default=lambda rate: f"{float(rate)}")


@dataclass(frozen=True)
class SceneSpec:
    """All that decides a scene.

    Attributes:
        seed: Of the first scene; another seed is another scene. For a test set, begin above the last seed that the
            report of the training set names.
        scenario: "general": everyone improvises. "action": one figure does one thing, any of the catalogue.
            "reversal": the same with actions that have a time reversal. "relation": labels that depend on what
            another figure does. "memory": labels that depend on a signal long ago.
        sibling: which of the scenes that differ only in the hidden cause of their labels; see `num_siblings`.
        actors: number of figures; relation needs 2, action, reversal and memory need 1.
        width: Pixels, 16 or more.
        height: Pixels, 16 or more.
        rate: Frames per second.
        duration_seconds: Length of a video in seconds; memory scenes need four seconds more than their delay.
        figure_share: Height of a grown figure that stands in front, as a share of the picture's height.
        background: Kind of place; photographs given to the scene take precedence.
        shake: How far a hand-held camera strays, as a share of the height; 0 is a tripod.
        grain: Sensor noise, standard deviation in grey levels.
        shadows: Shadows on the floor.
        separation: relation scenes: gap between the cause and the watchers' boxes, as a share of the width.
        delay_seconds: Seconds from a signal to the answer in memory scenes.
        period_seconds: memory scenes: from a signal to the next; None is three delays.
    """

    seed: int = 0
    scenario: Annotated[Scenario, HIDDEN] = "general"
    sibling: Annotated[int, HIDDEN] = 0
    actors: Annotated[int, HIDDEN] = 3
    width: int = 256
    height: int = 144
    rate: Annotated[Fraction, _RATE] = Fraction(25)
    duration_seconds: Annotated[float, Parameter(name="--seconds")] = 4.0
    figure_share: float = 0.6
    background: BackgroundKind | Literal["any"] = "any"
    shake: float = 0.0
    grain: float = 0.0
    shadows: bool = True
    separation: Annotated[float, HIDDEN] = 0.05
    delay_seconds: Annotated[float, Parameter(name="--delay")] = 8.0
    period_seconds: Annotated[float | None, HIDDEN] = None

    def __post_init__(self) -> None:
        fewest = {"general": 0, "action": 1, "reversal": 1, "relation": 2, "memory": 1}
        rules = [
            (self.scenario in SCENARIOS, f"scenario={self.scenario!r} is unknown: choose "
             f"from {', '.join(SCENARIOS)}"),
            (self.background in ("any", *BACKGROUND_KINDS), f"background={self.background!r} is unknown: choose "
             f"'any' or one of {', '.join(BACKGROUND_KINDS)}"),
            (self.seed >= 0, f"seed={self.seed} is negative: choose 0 or more"),
            (self.actors >= fewest.get(self.scenario, 0), f"actors={self.actors} is too few for scenario "
             f"{self.scenario!r}: it needs {fewest.get(self.scenario, 0)} or more"),
            (self.actors <= 254, f"actors={self.actors} is more than the masks can tell apart: choose at most 254"),
            (min(self.width, self.height) >= 16, f"width={self.width}, height={self.height} is too small: both must "
             "be 16 or more"),
            (0 < self.rate <= 1000, f"rate={self.rate} is no frame rate: choose a number above 0, 1000 at most"),
            (self.duration_seconds <= LONGEST_SECONDS, f"duration_seconds={self.duration_seconds} is no "
             f"length: choose a number of seconds, {LONGEST_SECONDS} at most"),
            (self.duration_seconds * self.rate >= 1, f"duration_seconds={self.duration_seconds} is shorter than one "
             f"frame at {self.rate} frames per second"),
            (0.05 <= self.figure_share <= 1, f"figure_share={self.figure_share} must be in [0.05, 1]"),
            (0 <= self.shake <= 0.2, f"shake={self.shake} must be in [0, 0.2]"),
            (0 <= self.grain <= 64, f"grain={self.grain} must be in [0, 64]"),
            (0 <= self.separation <= 0.5, f"separation={self.separation} must be in [0, 0.5]"),
        ]  # fmt: skip
        for holds, message in rules:
            if not holds:
                raise OptionError(message)
        if not 0 <= self.sibling < num_siblings(self.scenario):
            raise OptionError(f"sibling={self.sibling} does not exist: {self.scenario!r} scenes have siblings 0 to "
                              f"{num_siblings(self.scenario) - 1}")  # fmt: skip
        if self.scenario == "memory":
            self._check_memory()

    def _check_memory(self) -> None:
        shortest = self.delay_seconds + ANSWER_SECONDS + 2
        if not self.delay_seconds >= FLASH_SECONDS:
            raise OptionError(f"delay_seconds={self.delay_seconds} is shorter than the flash: choose at least "
                              f"{FLASH_SECONDS:g}")  # fmt: skip
        if self.period < self.delay_seconds + ANSWER_SECONDS:
            raise OptionError(f"period_seconds={self.period_seconds} would bring the next signal before the answer: "
                              f"choose at least {self.delay_seconds + ANSWER_SECONDS:g}")  # fmt: skip
        if self.duration_seconds < shortest:
            raise OptionError(f"duration_seconds={self.duration_seconds} leaves no time for an answer: choose at "
                              f"least {shortest:g}")  # fmt: skip

    @property
    def num_frames(self) -> int:
        return int(Fraction(self.duration_seconds).limit_denominator(1_000_000) * self.rate)

    @property
    def period(self) -> float:
        """Seconds from one signal of a memory scene to the next."""
        return 3 * self.delay_seconds if self.period_seconds is None else self.period_seconds


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame and what is true of it. N counts the figures that are in the picture at all.

    Attributes:
        index: from 0.
        seconds: time of the frame.
        pixels: (H, W, 3) uint8 RGB.
        boxes_xyxy: (N, 4) float32 pixels; edges of the tightest box around all pixels that the figure's shape
            touches, as if nobody stood before it, cut at the picture's edge.
        visible: (N,) float32, share of the figure's pixels in the picture that nothing covers.
        track_ids: (N,) int64.
        actions: (N, C) bool, columns as in `Scene.labels`.
        owners: (H, W) uint8, the track id plus 1 of the figure that a pixel belongs to for the most part, else 0.
    """

    index: int
    seconds: float
    pixels: RGB
    boxes_xyxy: NDArray[np.float32]
    visible: NDArray[np.float32]
    track_ids: NDArray[np.int64]
    actions: NDArray[np.bool_]
    owners: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Clip:
    """Consecutive or strided frames as arrays, for A figures that the scene has, in the picture or not.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        boxes_xyxy: (T, A, 4) float32 pixels, zeros where absent.
        present: (T, A) bool.
        visible: (T, A) float32.
        actions: (T, A, C) bool.
        label: the class of the whole clip, if its scenario has one.
    """

    frames: RGB
    boxes_xyxy: NDArray[np.float32]
    present: NDArray[np.bool_]
    visible: NDArray[np.float32]
    actions: NDArray[np.bool_]
    label: str | None


@dataclass(frozen=True)
class ActionSpan:
    """An action of one figure from start to end in seconds (half open)."""

    track_id: int
    action: str
    start_seconds: float
    end_seconds: float


class Scene:
    """Frames with their truth, in order by iteration or at any indices.

    Args:
        spec: decides everything.
        photographs: (H, W, 3) uint8 RGB arrays, one of which becomes the background.
    """

    def __init__(self, spec: SceneSpec, photographs: Sequence[RGB] = ()) -> None:
        self.spec = spec
        self.labels: LabelMap = stage_labels(spec.scenario)
        self._focal = spec.figure_share * spec.height / 1.7 * NEAR_DISTANCE
        self._horizon = GROUND * spec.height - EYE_HEIGHT * self._focal / NEAR_DISTANCE
        layout = Layout(
            spec.actors, spec.num_frames / float(spec.rate), spec.width / (2 * self._focal), spec.separation,
            spec.delay_seconds, spec.period,
        )  # fmt: skip
        self._duration = layout.duration
        self._plan: Plan = make_plan(spec.scenario, layout, self._random(0), self._random(1), spec.sibling)
        self._margin = int(np.ceil(2 * spec.shake * spec.height))
        self._background = self._draw_background(photographs)
        self._shake = self._random(3).uniform(0, 2 * np.pi, (2, 3)), self._random(3).uniform(0.4, 3.0, (2, 3))

    def _random(self, stream: int) -> np.random.Generator:
        """Separate streams, so that what is drawn for one purpose never shifts another's draws."""
        return np.random.default_rng([self.spec.seed, stream])

    def _draw_background(self, photographs: Sequence[RGB]) -> Image.Image:
        random = self._random(2)
        size = self.spec.width + 2 * self._margin, self.spec.height + 2 * self._margin
        chosen = choose_background(random, self.spec.background, photographs)
        if not isinstance(chosen, str):
            return fit_photograph(chosen, size)
        floor = self._horizon + EYE_HEIGHT * self._focal / WALL_DISTANCE + self._margin
        return draw_background(chosen, size, float(np.clip(floor / size[1], 0.1, 0.95)), random)

    def __len__(self) -> int:
        return self.spec.num_frames

    @property
    def label(self) -> str | None:
        """The class of the whole clip, if the scenario has one."""
        return self._plan.label

    @property
    def num_actors(self) -> int:
        return len(self._plan.actors)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def __getitem__(self, index: int) -> Frame:
        return next(self.frames([range(len(self))[index]]))

    def frames(self, indices: Sequence[int] | None = None) -> Iterator[Frame]:
        """Frames at these indices in this order, or all.

        Raises:
            OptionError: for an index outside the scene.
        """
        wanted = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise OptionError(f"indices must lie in [0, {len(self)}), got {wanted.min()} to {wanted.max()}")
        for start in range(0, len(wanted), _CHUNK):
            yield from self._render(wanted[start : start + _CHUNK])

    def clip(self, indices: Sequence[int] | None = None) -> Clip:
        """Frames at these indices, or all, as arrays."""
        frames = list(self.frames(indices))
        count, actors = len(frames), self.num_actors
        boxes, visible = np.zeros((count, actors, 4), np.float32), np.zeros((count, actors), np.float32)
        present, actions = np.zeros((count, actors), bool), np.zeros((count, actors, len(self.labels)), bool)
        for t, frame in enumerate(frames):
            boxes[t, frame.track_ids], visible[t, frame.track_ids] = frame.boxes_xyxy, frame.visible
            present[t, frame.track_ids], actions[t, frame.track_ids] = True, frame.actions
        pixels = np.stack([frame.pixels for frame in frames]) if frames else np.zeros(
            (0, self.spec.height, self.spec.width, 3), np.uint8)  # fmt: skip
        return Clip(pixels, boxes, present, visible, actions, self.label)

    def spans(self) -> list[ActionSpan]:
        """Everything everybody does, cut to the scene's duration, ordered by figure and time."""
        result: list[ActionSpan] = []
        for actor in self._plan.actors:
            result += [self._span(actor.track_id, part, name) for part, name in actor.spans()]
        inside = [part for part in result if part.end_seconds > part.start_seconds]
        return sorted(inside, key=lambda part: (part.track_id, part.start_seconds))

    def _span(self, track_id: int, part: Span, name: str) -> ActionSpan:
        start, end = part.start, part.end
        if self._plan.backwards:
            # The last frame shows the plan's time 0.
            last = self._duration - 1 / float(self.spec.rate)
            start, end = last - end, last - start if start > 0 else self._duration
        return ActionSpan(track_id, name, max(0.0, start), min(self._duration, end))

    def _seconds(self, indices: NDArray[np.int64]) -> Floats:
        """Times of the plan at frame indices; a plan that runs backwards meets the same times in opposite order."""
        if self._plan.backwards:
            indices = len(self) - 1 - indices
        return indices / float(self.spec.rate)

    def _on_screen(self, x: Floats, distance: Floats, drift: Floats) -> tuple[Floats, Floats]:
        """Floor places (T,), (T,) in metres to pixels (T, 2) and pixels in a metre (T,)."""
        scale = self._focal / np.maximum(distance, 0.5)
        ground = self._horizon + EYE_HEIGHT * scale
        return np.stack([self.spec.width / 2 + x * scale, ground], -1) + drift, scale

    def _drift(self, seconds: Floats) -> Floats:
        """How far the picture has moved by the camera's shake, (T, 2) pixels, at most 2 * shake * height."""
        phase, speed = self._shake
        waves = np.sin(2 * np.pi * seconds[:, None, None] * speed + phase) * (0.5, 0.3, 0.2)
        return 2 * self.spec.shake * self.spec.height * waves.sum(axis=2) * 0.99

    def _layers(self, seconds: Floats, drift: Floats) -> tuple[list[Layer], list[list[tuple[float, float, float]]]]:
        """Outlines of everybody and everything at T times, and the contact shadows (x, y, width) of each time."""
        layers: list[Layer] = []
        shadows: list[list[tuple[float, float, float]]] = [[] for _ in seconds]
        for actor in self._plan.actors:
            place, _ = actor.whereabouts(seconds)
            joints = actor.joints(seconds)
            origin, scale = self._on_screen(place[:, 0], place[:, 1], drift)
            layers.append(Layer(actor.figure.outlines(joints, origin, scale), place[:, 1], actor.track_id))
            feet = joints[:, [JOINT[name] for name in ("pelvis", "ankle_l", "ankle_r", "head")]]
            low = np.where(feet[..., 1] < 0.45, feet[..., 0], joints[:, [JOINT["pelvis"]], 0])
            middle, width = (low.max(1) + low.min(1)) / 2, 0.5 + 0.9 * np.ptp(low, axis=1)
            for t in range(len(seconds)):
                shadows[t].append((origin[t, 0] + middle[t] * scale[t], origin[t, 1], width[t] * scale[t]))
        for prop in self._plan.props:
            where = prop.whereabouts(seconds)
            origin, scale = self._on_screen(where.place[:, 0], where.place[:, 2], drift)
            layers.append(Layer(prop.outlines(seconds, where, origin, scale), where.place[:, 2] - where.nearer, None))
        return layers, shadows

    def _render(self, indices: NDArray[np.int64]) -> Iterator[Frame]:
        seconds = self._seconds(indices)
        drift = self._drift(seconds)
        layers, shadows = self._layers(seconds, drift)
        light = None if self._plan.light is None else self._plan.light(seconds)
        for t, index in enumerate(indices.tolist()):
            canvas = self._backdrop(drift[t])
            if self.spec.shadows:
                for shadow in shadows[t]:
                    contact_shadow(canvas, *shadow)
            painted = paint_frame(canvas, layers, t)
            if light is not None and light[1][t] > 0:
                red, green, blue = light[0][t].astype(int).tolist()
                canvas = Image.blend(canvas, Image.new("RGB", canvas.size, (red, green, blue)), float(light[1][t]))
            pixels = np.array(canvas)
            if self.spec.grain:
                pixels = self._grained(pixels, round(seconds[t] * float(self.spec.rate)))
            actions = self._actions(painted.track_ids, float(seconds[t]))
            yield Frame(index, index / float(self.spec.rate), pixels, painted.boxes, painted.visible,
                        painted.track_ids, actions, painted.owners)  # fmt: skip

    def _backdrop(self, drift: Floats) -> Image.Image:
        if not self._margin:
            return self._background.copy()
        left, top = self._margin - drift
        box = (left, top, left + self.spec.width, top + self.spec.height)
        return self._background.resize((self.spec.width, self.spec.height), Image.Resampling.BILINEAR, box=box)

    def _grained(self, pixels: RGB, moment: int) -> RGB:
        noise = np.random.default_rng([self.spec.seed, 4, moment]).standard_normal(pixels.shape, np.float32)
        return np.clip(pixels + noise * np.float32(self.spec.grain) + 0.5, 0, 255).astype(np.uint8)

    def _actions(self, track_ids: NDArray[np.int64], second: float) -> NDArray[np.bool_]:
        """(N, C) truth at a time of the plan; of labels that exclude each other the later named one holds."""
        actions = np.zeros((len(track_ids), len(self.labels)), bool)
        for row, track_id in enumerate(track_ids.tolist()):
            for name in self._plan.actors[track_id].doing(second):
                column = self.labels.names.index(name)
                for group in self.labels.exclusive:
                    if column in group:
                        actions[row, list(group)] = False
                actions[row, column] = True
        return actions
