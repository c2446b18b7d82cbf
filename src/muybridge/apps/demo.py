"""`muybridge demo`: what the three tasks do, as one page of pictures, films and timelines, made offline.

photographs, a scene of the stage, the user's film ── the very commands that the page shows ── exhibits ── page
"""

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from muybridge.apps.demo_page import (
    Bar,
    Exhibit,
    Facts,
    Film,
    Pictures,
    Slider,
    Timeline,
    person_hex,
    write_demo_page,
)
from muybridge.errors import InputError, OptionError, OutputError

_PICTURES = Path(__file__).parents[1] / "pictures"
_PAGE = "index.html"
_STYLES = ("woodcut", "glass", "marble", "meadow", "ember", "collage")
_STRENGTHS = (0.3, 0.6, 1.0)
_MOVES = (("rocket.jpg", "tilt up"), ("coffee.jpg", "zoom in"), ("chelsea.jpg", "pan left"), ("coffee.jpg", "roll right"))  # fmt: skip  # noqa: E501
_STAGE_SEED = 4  # chosen by looking


def demo(
    video: Path | None = None,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")] = Path("demo"),
    seconds: float = 15.0,
    size: int = 360,
) -> None:
    """Make a page that shows what muybridge does, on a scene of its own and on your film.

    Parameters
    ----------
    video
        A film of your own; its beginning is recognized, localized and painted.
    out
        The folder of the page, index.html.
    seconds
        How much of your film is shown.
    size
        Its short side in pixels; larger takes longer.
    """
    if seconds <= 0 or size < 64:
        raise OptionError(f"--seconds {seconds:g} --size {size}: choose more than 0 seconds, and 64 pixels or more")
    _check_free(out)
    beside = out.with_name(f".{out.name}.{os.getpid()}.partial")
    source = None if video is None else video.expanduser().resolve()
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot make {beside.parent}/: {error.strerror}. Name another folder with -o") from error
    try:
        with contextlib.chdir(beside):
            exhibits = [*_stage(), *_camera()] if source is None else [*_own(source, seconds, size), *_stage()]
            exhibits += _gallery()
            write_demo_page(Path(_PAGE), "muybridge", _LEAD, exhibits)
        if out.exists():
            shutil.rmtree(out)
        beside.rename(out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(f"\nDone. Open {(out / _PAGE).resolve()}")  # noqa: T201


_LEAD = (
    "Image models, taken to video: what happens in a film, who does what in it, and the film as a painting. "
    "Everything below was made by the commands beside it."
)


def _check_free(out: Path) -> None:
    """Only a folder that a demo made before is replaced."""
    page = out / _PAGE
    ours = page.is_file() and 'content="muybridge demo"' in page.read_text(encoding="utf-8", errors="replace")
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there and is no page of a demo. Name another folder with -o")


def _run(commands: Sequence[str]) -> None:
    """Run what the page will show.

    Raises:
        SystemExit: a command failed, and has said why.
    """
    from muybridge.apps.cli import main as command_line

    for command in commands:
        print(f"$ {command}", flush=True)  # noqa: T201
        try:
            command_line(shlex.split(command)[1:])
        except SystemExit as ended:
            if ended.code:
                raise


def _stage() -> list[Exhibit]:
    """A scene with everybody's true boxes and actions."""
    from muybridge.media.box_overlays import BoxLabel, draw_people
    from muybridge.media.video_writer import VideoWriter
    from muybridge.stage import Scene, SceneSpec
    from muybridge.stage.export import scene_name

    spec = SceneSpec(
        seed=_STAGE_SEED, scenario="general", actors=4, width=640, height=360, rate=Fraction(25), duration_seconds=6.0
    )
    commands = [
        f"muybridge stage --out scene --scenes 1 --seed {spec.seed} --actors {spec.actors} "
        f"--width {spec.width} --height {spec.height} --seconds {spec.duration_seconds:g}"
    ]
    _run(commands)
    scene, name = Scene(spec), scene_name(spec)
    with VideoWriter("stage.mp4", width=spec.width, height=spec.height, rate=spec.rate, crf=21) as writer:
        for frame in scene:
            people = [
                BoxLabel(
                    tuple(box),
                    person,
                    [(name, 1.0) for name, does in zip(scene.labels.names, actions, strict=True) if does],
                )
                for box, person, actions, seen in zip(
                    frame.boxes_xyxy.tolist(),
                    frame.track_ids.tolist(),
                    frame.actions.tolist(),
                    frame.visible.tolist(),
                    strict=True,
                )
                if seen > 0.15
            ]
            writer.write(draw_people(frame.pixels, people))
    bars = [
        Bar(f"person {span.track_id}", span.start_seconds, span.end_seconds, span.action, person_hex(span.track_id))
        for span in scene.spans()
    ]
    text = (
        "A procedural world of articulated figures, with the true box of everybody in every frame and the true label "
        "of everything they do: to train on, to test with, to learn the formats from."
    )
    caption = "What each figure does. Bars of one figure may overlap: one can walk and wave."
    files = [f"scene/videos/{name}.mp4", f"scene/cvat/{name}.xml", "scene/ava.csv", "scene/labels.pbtxt"]
    parts = [Film("stage.mp4", "Boxes and actions are the truth, not a guess."), Timeline(caption, bars, 6.0)]
    return [Exhibit("A scene of the stage", text, parts, commands, files)]


def _camera() -> list[Exhibit]:
    """Four known moves over shipped photographs, and what the built-in recognizer says of them."""
    from muybridge.media.images import read_image
    from muybridge.media.video_writer import VideoWriter
    from muybridge.stage.camera import CameraClipConfig, camera_clip

    rate, length = 20, 40
    config = CameraClipConfig(frames=length, height=240, width=320, movers=0, travel=(0.35, 0.5), zoom=(1.5, 1.7), roll=(22, 32))  # fmt: skip  # noqa: E501
    with VideoWriter("camera.mp4", width=config.width, height=config.height, rate=Fraction(rate), crf=20) as writer:
        for seed, (picture, move) in enumerate(_MOVES):
            for frame in camera_clip(read_image(_PICTURES / picture).rgb, move=move, seed=seed, config=config):
                writer.write(frame)
    shot = length / rate
    truth = [Bar("the crop's move", shot * i, shot * (i + 1), move, "#6b7785") for i, (_, move) in enumerate(_MOVES)]
    commands = [
        "muybridge recognize camera.mp4 --window 2s --step 2s --format json --out camera.json "
        "--overlay camera.recognized.mp4"
    ]
    _run(commands)
    text = (
        "A crop moves over photographs; stills cannot tell these moves from their opposites. The built-in "
        "recognizer, small adapters in a frozen image model, reads them from time."
    )
    bars = truth + _spans(Path("camera.json"), "recognized")
    parts = [
        Film("camera.recognized.mp4", "The film with what was recognized."),
        Timeline("What the crop does, and what was recognized.", bars, shot * len(_MOVES)),
    ]
    return [Exhibit("What the camera does", text, parts, commands, ["camera.json"])]


def _spans(path: Path, row: str = "") -> list[Bar]:
    """Bars of what `muybridge recognize --format json` wrote: one row, or one for each label."""
    (answer,) = json.loads(path.read_text(encoding="utf-8"))
    return [
        Bar(row or span["label"], span["start"], span["end"], f"{span['label']} {span['score']:.2f}")
        for span in answer["spans"]
    ]


def _own(source: Path, seconds: float, size: int) -> list[Exhibit]:
    """The user's film: recognized, localized, watched and painted."""
    end = _shorten(source, Path("film.mp4"), seconds, size)
    shown = f"The first {end:.0f} seconds of {source.name}, at {size} lines" if end >= seconds - 0.5 else source.name
    return [_recognized(shown, end), _localized(shown, end), *_painted_film(end)]


def _shorten(source: Path, target: Path, seconds: float, size: int) -> float:
    """Write the film's beginning, its short side `size` pixels at most; returns its length in seconds.

    Raises:
        InputError: it cannot be read, is a picture, or is empty.
    """
    from muybridge.media.sources import expand_sources
    from muybridge.media.video_reader import DEFAULT_RATE, VideoReader
    from muybridge.media.video_writer import VideoWriter

    if expand_sources([str(source)])[0].kind != "video":
        raise InputError(f"{source} is no film. Give a video; `muybridge stylize` paints pictures")
    with VideoReader(source) as probe:
        info = probe.info
    small = min(size, info.width, info.height)
    scale = small / min(info.width, info.height)
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width, info.height))
    last = Fraction(0)
    rate = info.average_rate or DEFAULT_RATE
    with (
        VideoReader(source, size=(width, height)) as reader,
        VideoWriter(target, width=width, height=height, rate=rate, crf=20) as writer,
    ):
        for frame in reader:
            if frame.pts_seconds >= seconds:
                break
            writer.write(frame.image, frame.pts_seconds)
            last = frame.pts_seconds
    return float(last + 1 / rate)


def _recognized(shown: str, end: float) -> Exhibit:
    commands = ["muybridge recognize film.mp4 --window 2s --format json --out camera.json"]
    _run(commands)
    bars = sorted(_spans(Path("camera.json")), key=lambda bar: bar.row)
    text = f"{shown}. The built-in recognizer says what the camera does, over time."
    parts = [Film("film.mp4", shown), Timeline("What the camera does.", bars, end)]
    return Exhibit("Recognized", text, parts, commands, ["camera.json"])


def _localized(shown: str, end: float) -> Exhibit:
    commands = ["muybridge localize film.mp4 -o people.mp4 --format json cvat"]
    _run(commands)
    found: dict[str, Any] = json.loads(Path("people.json").read_text(encoding="utf-8"))
    seen: dict[int, list[float]] = {}
    for key in found["key_frames"]:
        for person in key["people"]:
            seen.setdefault(person["id"], []).append(key["seconds"])
    longest = sorted(sorted(seen, key=lambda person: -len(seen[person]))[:12])
    bars: list[Bar] = []
    for person in longest:
        row, colour = f"person {person}", person_hex(person)
        bars += [Bar(row, start, stop, "", colour + "66") for start, stop in _stretches(seen[person], end)]
        bars += [
            Bar(row, span["start"], span["end"], f"{span['label']} {span['score']:.2f}", colour)
            for span in found["spans"]
            if span["person"] == person
        ]
    most = max((len(key["people"]) for key in found["key_frames"]), default=0)
    facts = Facts((("people", str(len(seen))), ("most at once", str(most)), ("frames asked", str(len(found["key_frames"])))))  # fmt: skip  # noqa: E501
    text = (
        f"{shown}. People are found and followed, and each is asked what they do. Where no action is probable, none "
        "is written."
        if seen
        else f"{shown}. Nobody was found in it."
    )
    left_out = (
        f" {len(seen) - len(longest)} who were there for less are left out." if len(seen) > len(longest) else ""
    )
    caption = f"Pale: in the picture. Full: does something.{left_out}"
    timeline = [Timeline(caption, bars, end)] if bars else []
    parts = [Film("people.mp4", "Boxes, tracks and actions."), facts, *timeline]
    return Exhibit("Localized", text, parts, commands, ["people.html", "people.json", "people.xml"])


def _stretches(seconds: Sequence[float], end: float) -> list[tuple[float, float]]:
    """Times of key frames, joined where they follow each other."""
    times = sorted(seconds)
    step = min((b - a for a, b in pairwise(times)), default=1.0)
    joined: list[list[float]] = []
    for time in times:
        if joined and time - joined[-1][1] <= step * 1.01:
            joined[-1][1] = time
        else:
            joined.append([time, time])
    return [(max(0.0, start - step / 2), min(end, stop + step / 2)) for start, stop in joined]


def _painted_film(end: float) -> list[Exhibit]:
    """A few seconds from the film's middle, and one picture in several styles and strengths."""
    from muybridge.media.images import write_image
    from muybridge.media.video_reader import VideoReader
    from muybridge.media.video_writer import VideoWriter

    start, length = max(0.0, end / 2 - 1.5), 3.0
    with VideoReader("film.mp4") as reader:
        info, kept = reader.info, False
        rate = info.average_rate or Fraction(25)
        with VideoWriter("excerpt.mp4", width=info.width, height=info.height, rate=rate, crf=18) as writer:
            for frame in reader:
                seconds = float(frame.pts_seconds)
                if start <= seconds < start + length:
                    writer.write(frame.image, frame.pts_seconds - Fraction(start))
                    if not kept:
                        write_image(Path("still.png"), frame.image)
                        kept = True
    commands = ["muybridge stylize excerpt.mp4 --style woodcut --strength 0.8 --size 240 -o painted.mp4"]
    _run(commands)
    text = "Three seconds of it, painted in one pass and steady from frame to frame, and a frame in other styles."
    exhibit = _paintings("Painted", text, "still.png", styles=_STYLES[1:4])
    parts = [Film("painted.mp4", "Style woodcut, drawn by code as all of the built-in ones."), *exhibit.parts]
    return [Exhibit(exhibit.title, text, parts, [*commands, *exhibit.commands], ["excerpt.mp4"])]


def _gallery() -> list[Exhibit]:
    """A shipped photograph in built-in styles, and one of them in several strengths."""
    shutil.copyfile(_PICTURES / "chelsea.jpg", "chelsea.jpg")
    text = "One model paints in the style of any image. These styles are drawn by code: nobody's paintings."
    return [_paintings("A gallery", text, "chelsea.jpg", styles=_STYLES)]


def _paintings(title: str, text: str, picture: str, *, styles: Sequence[str]) -> Exhibit:
    stem = Path(picture).stem
    first = styles[0]
    named = [(f"{stem}-{style}.png", style, 1.0) for style in styles]
    weaker = [(f"{stem}-{first}-{100 * strength:.0f}.png", first, strength) for strength in _STRENGTHS[:-1]]
    commands = [
        f"muybridge stylize {picture} --style {style}{'' if strength == 1 else f' --strength {strength:g}'} -o {name}"
        for name, style, strength in [*named, *weaker]
    ]
    _run(commands)
    parts = [
        Slider(picture, named[0][0], f"Before and after: {first}. Move the line."),
        Pictures([(name, style) for name, style, _ in named[1:]]),
        Pictures([(name, f"{style}, strength {strength:g}") for name, style, strength in [*weaker, named[0]]]),
    ]
    return Exhibit(title, text, parts, commands)
