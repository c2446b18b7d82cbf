"""`muybridge stage`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from muybridge.counts import counted
from muybridge.errors import OptionError
from muybridge.options import FLAT, PLAIN
from muybridge.stage import Scene, SceneSpec, clip_labels, num_siblings
from muybridge.stage.labels import Scenario

if TYPE_CHECKING:
    from muybridge.media.sources import Source

# A class that no seed gives must end in a message, not in an endless search.
_SEEDS_A_SCENE = 500
_MOST_SCENES = 1_000_000
# Measured while scenes are drawn.
_BYTES_A_PIXEL = 60


def stage(
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    layout: Literal["boxes", "classes"] = "boxes",
    scenes: Annotated[int, Parameter(alias="-n")] = 12,
    scenario: Scenario | None = None,
    only: list[str] | None = None,
    siblings: Annotated[bool, PLAIN] = False,
    actors: list[int] | None = None,
    scene: Annotated[SceneSpec, FLAT] = SceneSpec(),
    photos: list[str] | None = None,
    every: float = 1.0,
    min_visible: float = 0.15,
) -> None:
    """Write labelled videos of a procedural world, to train on, to test with, to learn the formats from.

    The same options give the same videos.

    Parameters
    ----------
    out
        The folder to write. Layout boxes: videos/NAME.mp4, cvat/NAME.xml with the boxes of every frame, ava.csv with
        those of every second, labels.pbtxt. Layout classes: CLASS/NAME.mp4.
    layout
        boxes, to train a localizer; classes, to train a recognizer.
    scenes
        How many; with --siblings, how many families of them. Clips of classes are spread evenly over the classes.
    scenario
        general: everyone improvises. action: one figure does one thing. reversal: things that differ in the
        direction of time alone. relation: what a figure is labelled follows from what another does. memory: it
        follows from a signal --delay seconds earlier. By default general for boxes and action for classes.
    only
        A class to write; may be repeated. By default all of the scenario's.
    siblings
        Write each scene with all those that differ from it in the hidden cause of the labels alone.
    actors
        Figures in a scene; repeated, the scenes take turns: --actors 1 --actors 5. By default 3.
    photos
        Pictures, folders or globs to take backgrounds from instead.
    every
        Step in seconds of the rows in ava.csv.
    min_visible
        Figures of which a smaller share can be seen are not annotated.
    """
    from muybridge.media.images import read_image
    from muybridge.media.video_writer import check_video_size
    from muybridge.memory import check_fits, main_memory_bytes
    from muybridge.progress import progress_line
    from muybridge.stage.export import export_class_folders, export_scenes

    kind = scenario or ("general" if layout == "boxes" else "action")
    first = replace(scene, scenario=kind, actors=(actors or [3])[0])
    check_fits(
        f"--width {scene.width} --height {scene.height}: a scene",
        needed=scene.width * scene.height * _BYTES_A_PIXEL,
        available=main_memory_bytes(),
        remedy="Choose less, such as 1920 and 1080",
    )
    check_video_size(out / "scene.mp4", scene.width, scene.height)
    specs = _choose(first, scenes, actors or [3], only or [], siblings=siblings, balanced=layout == "classes")
    photographs = [read_image(source.path).rgb for source in _pictures(photos)] if photos else []
    with progress_line("stage", total=len(specs), unit="scenes") as line:
        if layout == "classes":
            counts = export_class_folders(specs, out, photographs=photographs, on_scene=line.advance)
            _report(out, specs, ", ".join(f"{name} {counts[name]}" for name in sorted(counts)))
            return
        rows = export_scenes(
            specs,
            out,
            photographs=photographs,
            ava_every_seconds=every,
            min_visible=min_visible,
            on_scene=line.advance,
        )
    _report(out, specs, f"{counted(len(rows), 'row')} in ava.csv")


def _pictures(photos: list[str]) -> "list[Source]":
    """Those that were named; of a folder only its pictures, since it may hold films too."""
    from muybridge.media.sources import expand_sources

    pictures: list[Source] = []
    for name in photos:
        found = expand_sources([name])
        pictures += [source for source in found if source.kind == "image" or not Path(name).is_dir()]
    if not pictures:
        raise OptionError(f"--photos {photos[0]}: there are films in it and no pictures. Name some")
    return pictures


def _report(out: Path, specs: list[SceneSpec], what: str) -> None:
    seeds = [spec.seed for spec in specs]
    plural = "s" if len(specs) > 1 else ""
    print(f"{out}: {len(specs)} video{plural} (seeds {min(seeds)} to {max(seeds)}): {what}")  # noqa: T201


def _choose(
    first: SceneSpec, scenes: int, actors: list[int], only: list[str], *, siblings: bool, balanced: bool
) -> list[SceneSpec]:
    """The scenes to write: consecutive seeds, or those among them whose class is still wanted."""
    if not 1 <= scenes <= _MOST_SCENES:
        raise OptionError(f"--scenes {scenes}: write at least one, and at most {_MOST_SCENES:,} at a time")
    classes = clip_labels(first.scenario)
    unknown = [name for name in only if name not in classes]
    if unknown:
        known = f"choose from {', '.join(classes)}" if classes else "its clips have none; choose another scenario"
        raise OptionError(f"--only {unknown[0]!r} is no class of scenario {first.scenario!r}: {known}")
    wanted = list(dict.fromkeys(only or classes))
    # Siblings are of all classes together, so there is nothing to balance among them.
    if siblings or not wanted or not (only or balanced):
        families = [_nth(first, number, actors) for number in range(scenes)]
        count = num_siblings(first.scenario) if siblings else 1
        chosen = [replace(spec, sibling=number) for spec in families for number in range(count)]
        chosen = [spec for spec in chosen if not only or Scene(spec).label in only]
        if not chosen:
            raise OptionError(f"--only {only[0]!r}: none of these {scenes} and their siblings is one: more --scenes")
        return chosen
    quota = {name: scenes // len(wanted) + (place < scenes % len(wanted)) for place, name in enumerate(wanted)}
    return list(_of_classes(first, actors, quota))


def _nth(first: SceneSpec, number: int, actors: list[int]) -> SceneSpec:
    return replace(first, seed=first.seed + number, actors=actors[number % len(actors)])


def _of_classes(first: SceneSpec, actors: list[int], quota: dict[str, int]) -> Iterator[SceneSpec]:
    """Scenes of consecutive seeds whose class is wanted, until each has its number."""
    total = sum(quota.values())
    for number in range(total * _SEEDS_A_SCENE):
        spec = _nth(first, number, actors)
        label = Scene(spec).label
        if label is not None and quota.get(label, 0) > 0:
            quota[label] -= 1
            yield spec
        if not any(quota.values()):
            return
    missing = ", ".join(name for name, count in quota.items() if count)
    raise OptionError(f"{total * _SEEDS_A_SCENE} seeds gave too few scenes of {missing}: ask for fewer scenes")
