"""Scenes as files: videos with boxes and actions in AVA and CVAT form, or one folder of clips a class.

FOLDER/videos/NAME.mp4     every scene
FOLDER/cvat/NAME.xml       its boxes in every frame, CVAT for video 1.1
FOLDER/ava.csv             boxes of all scenes at whole multiples of a step, with track ids
FOLDER/labels.pbtxt        the label map, with its exclusive groups
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from muybridge.data.annotations.ava import write_ava
from muybridge.data.annotations.cvat import write_cvat
from muybridge.data.annotations.table import AnnotationRows, Annotations
from muybridge.data.label_maps import LabelMap, write_label_map
from muybridge.errors import OptionError
from muybridge.media.video_writer import VideoWriter
from muybridge.stage.labels import clip_labels, stage_labels
from muybridge.stage.scene import RGB, Frame, Scene, SceneSpec


def scene_name(spec: SceneSpec) -> str:
    """A file name without suffix that tells a scene from others of the same size: scenario, seed and sibling."""
    return f"{spec.scenario}-{spec.seed:05d}-{spec.sibling}"


def export_scenes(
    specs: Sequence[SceneSpec],
    folder: str | Path,
    *,
    photographs: Sequence[RGB] = (),
    ava_every_seconds: float = 1.0,
    min_visible: float = 0.15,
    on_scene: Callable[[], object] | None = None,
) -> Annotations:
    """Writes scenes as videos with annotations, laid out as this module's head shows.

    Args:
        specs: of scenarios that share one label map, no two of the same name.
        folder: made if need be.
        photographs: backgrounds, see `Scene`.
        ava_every_seconds: step of the rows in ava.csv; the first is at 0.
        min_visible: figures of which less can be seen are not annotated.
        on_scene: called when a scene is written.

    Returns:
        What ava.csv holds, in pixels.

    Raises:
        OptionError: label maps differ, a name is there twice, a step that is not positive, `min_visible` outside
            [0, 1], nothing to write.
        OutputError: a file cannot be written; those finished before stay.
    """
    folder = Path(folder)
    labels = _shared_labels(specs)
    if not 0 < ava_every_seconds < float("inf"):
        raise OptionError(f"ava_every_seconds={ava_every_seconds} is no step: choose a positive number of seconds")
    if not 0 <= min_visible <= 1:
        raise OptionError(f"min_visible={min_visible} is no share: choose 0 (everybody) to 1 (whom nothing covers)")
    names = [scene_name(spec) for spec in specs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise OptionError(f"two scenes would be written as {repeated[0]!r}: give them different seeds")
    sizes = {name: (spec.width, spec.height) for name, spec in zip(names, specs, strict=True)}
    ava = AnnotationRows("pixel", dict(sizes))
    for name, spec in zip(names, specs, strict=True):
        scene = Scene(spec, photographs)
        # More often than every frame there is nothing to tell.
        steps = np.arange(0, len(scene) / float(spec.rate), max(ava_every_seconds, 0.5 / float(spec.rate)))
        sampled = {round(step * float(spec.rate)) for step in steps.tolist()}
        tracks = AnnotationRows("pixel", {name: sizes[name]})
        with _video(scene, folder / "videos" / f"{name}.mp4") as video:
            for frame in scene:
                video.write(frame.pixels)
                _add(tracks, name, frame, labels, min_visible)
                if frame.index in sampled and not _add(ava, name, frame, labels, min_visible):
                    ava.add_empty(name, frame.seconds)
        write_cvat(folder / "cvat" / f"{name}.xml", tracks.annotations(), rate_fps=float(spec.rate), labels=labels)
        if on_scene:
            on_scene()
    annotations = ava.annotations()
    write_ava(folder / "ava.csv", annotations.normalised())
    write_label_map(folder / "labels.pbtxt", labels)
    return annotations


def export_class_folders(
    specs: Sequence[SceneSpec],
    folder: str | Path,
    *,
    photographs: Sequence[RGB] = (),
    on_scene: Callable[[], object] | None = None,
) -> dict[str, int]:
    """Writes each scene as FOLDER/CLASS/NAME.mp4, the layout that recognizers are trained from.

    Args:
        specs: of any scenario but "general", whose clips as a whole have no class.
        folder: made if need be.
        photographs: backgrounds, see `Scene`.
        on_scene: called when a scene is written.

    Returns:
        How many clips each class got.

    Raises:
        OptionError: a general scene, or nothing to write.
        OutputError: a file cannot be written; those finished before stay.
    """
    if not specs:
        raise OptionError("specs is empty: give at least one scene to write")
    counts: dict[str, int] = {}
    for spec in specs:
        if not clip_labels(spec.scenario):
            raise OptionError(f"clips of scenario {spec.scenario!r} have no class: choose another scenario")
    for spec in specs:
        scene = Scene(spec, photographs)
        label = scene.label
        assert label is not None
        with _video(scene, Path(folder) / label / f"{scene_name(spec)}.mp4") as video:
            for frame in scene:
                video.write(frame.pixels)
        counts[label] = counts.get(label, 0) + 1
        if on_scene:
            on_scene()
    return counts


def _video(scene: Scene, path: Path) -> VideoWriter:
    spec = scene.spec
    return VideoWriter(path, width=spec.width, height=spec.height, rate=spec.rate, reproducible=True)


def _shared_labels(specs: Sequence[SceneSpec]) -> LabelMap:
    maps = {stage_labels(spec.scenario) for spec in specs}
    if not maps:
        raise OptionError("specs is empty: give at least one scene to write")
    if len(maps) > 1:
        raise OptionError("the scenarios have different label maps: write relation and memory scenes apart")
    return maps.pop()


def _add(rows: AnnotationRows, name: str, frame: Frame, labels: LabelMap, min_visible: float) -> bool:
    """Adds a row for each action of each figure that can be seen; False where there is none."""
    seen = np.flatnonzero(frame.visible >= min_visible)
    for row in seen.tolist():
        box, person = frame.boxes_xyxy[row].tolist(), int(frame.track_ids[row])
        for column in np.flatnonzero(frame.actions[row]).tolist():
            rows.add(name, frame.seconds, box, label=labels.ids[column], person=person)
    return len(seen) > 0
