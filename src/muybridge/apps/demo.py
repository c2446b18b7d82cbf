"""`muybridge demo`: what the three tasks do, as one page of pictures, films and timelines, made offline.

photographs, a scene of the stage, the user's film ── the very commands that the page shows ── exhibits ── page
"""

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
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
from muybridge.errors import InputError, MissingInput, OptionError, OutputError
from muybridge.media.outputs import name_beside

_PICTURES = Path(__file__).parents[1] / "pictures"
_PAGE = "index.html"
_STYLES = ("woodcut", "ember", "meadow", "marble", "glass", "collage")
_STRENGTHS = (0.3, 0.6, 1.0)
_MOVES = (("rocket.jpg", "tilt up"), ("coffee.jpg", "zoom in"), ("chelsea.jpg", "pan left"), ("coffee.jpg", "roll right"))  # fmt: skip  # noqa: E501
_STRIP_FRAMES, _STRIP_HEIGHT = 6, 120
_MOST_RATE = 30  # frames a second of a user's film; more would take longer and show no more
_MOST_ASPECT = 2
_FILM_STYLE, _FILM_STRENGTH, _PAINTED_SECONDS = "woodcut", 0.8, 2.0
_STAGE_SECONDS = 6.0
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
    out = out.expanduser().absolute()
    _check_free(out)
    beside = name_beside(out)
    source = None if video is None else video.expanduser().resolve()
    try:
        beside.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot make {beside.parent}/: {error.strerror}. Name another folder with -o") from error
    try:
        with contextlib.chdir(beside):
            exhibits = [] if source is None else _own(source, seconds, size)
            exhibits += [_stage(), _camera()]
            if source is None:
                exhibits += [_painted_stage()]
            exhibits += [_gallery()]
            write_demo_page(Path(_PAGE), "muybridge", _LEAD, exhibits)
        _put(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    print(f"\nDone. Open {out / _PAGE}")  # noqa: T201


_LEAD = (
    "Image models, taken to video: what happens in a film, who does what in it, and the film as a painting. "
    "Each result below was made on this machine, offline, by the command beneath it."
)


def _check_free(out: Path) -> None:
    """Only a folder that a demo made before is replaced."""
    page = out / _PAGE
    ours = page.is_file() and 'content="muybridge demo"' in page.read_text(encoding="utf-8", errors="replace")
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there and is no page of a demo. Name another folder with -o")


def _put(made: Path, out: Path) -> None:
    """Put the new page in the old one's place, which comes back should that fail."""
    old = made.with_suffix(".old")
    try:
        if out.exists():
            out.rename(old)
        made.rename(out)
    except OSError as error:
        if old.exists():
            old.rename(out)
        raise OutputError(f"cannot put the page in {out}/: {error.strerror}. Name another folder with -o") from error
    shutil.rmtree(old, ignore_errors=True)


def _film(file: str, caption: str) -> Film:
    """A film with what stands for it until it plays: a picture, and some frames in a row."""
    import numpy as np

    from muybridge.evaluation.report_page import Strip
    from muybridge.media.images import write_image
    from muybridge.media.video_reader import VideoReader

    with VideoReader(file) as reader:
        end = float(reader.info.duration_seconds or 0)
        middle = [end * (2 * place + 1) / (2 * _STRIP_FRAMES) for place in range(_STRIP_FRAMES)]
        frames = np.stack([frame.image for frame in reader.frames_at_seconds(middle)])
    poster = f"{Path(file).stem}.poster.jpg"
    write_image(Path(poster), frames[_STRIP_FRAMES // 2])
    height, width = frames.shape[1:3]
    return Film(file, caption, poster, Strip("", frames, height=_STRIP_HEIGHT).picture, width, height)


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


def _stage() -> Exhibit:
    """A scene with everybody's true boxes and actions."""
    from muybridge.media.box_overlays import BoxLabel, PeopleDrawer
    from muybridge.media.video_writer import VideoWriter
    from muybridge.stage import Scene, SceneSpec
    from muybridge.stage.export import scene_name

    spec = SceneSpec(
        seed=_STAGE_SEED,
        scenario="general",
        actors=4,
        width=640,
        height=360,
        rate=Fraction(25),
        duration_seconds=_STAGE_SECONDS,
    )
    commands = [
        f"muybridge stage --out scene --scenes 1 --seed {spec.seed} --actors {spec.actors} "
        f"--width {spec.width} --height {spec.height} --seconds {spec.duration_seconds:g}"
    ]
    _run(commands)
    scene, name, drawer = Scene(spec), scene_name(spec), PeopleDrawer()
    with VideoWriter("stage.mp4", width=spec.width, height=spec.height, rate=spec.rate, crf=21) as writer:
        for frame in scene:
            people = [
                BoxLabel(
                    tuple(box),
                    person,
                    [(name, None) for name, does in zip(scene.labels.names, actions, strict=True) if does],
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
            writer.write(drawer.draw(frame.pixels, people))
    bars = _joined(
        Bar(f"person {span.track_id}", span.start_seconds, span.end_seconds, span.action, person_hex(span.track_id))
        for span in scene.spans()
    )
    text = (
        "A procedural world of articulated figures, with the true box of everybody in every frame and the true label "
        "of everything they do: to train on, to test with, to learn the formats from."
    )
    caption = "What each figure does; one can walk and wave at once. A click goes there in the film."
    files = [f"scene/videos/{name}.mp4", f"scene/cvat/{name}.xml", "scene/ava.csv", "scene/labels.pbtxt"]
    parts = [
        _film("stage.mp4", "Boxes and actions are the truth, not a guess."),
        Timeline(caption, bars, _STAGE_SECONDS),
    ]
    prepared = "stage.mp4 above is the video that it wrote, with the boxes and actions of its files drawn on it."
    return Exhibit("A scene of the stage", text, parts, commands, files, prepared)


def _joined(bars: Iterable[Bar]) -> list[Bar]:
    """Those of one row and text as one, where they follow each other; bars come in order of time."""
    found: list[Bar] = []
    for bar in bars:
        place = next(
            (i for i, b in enumerate(found) if (b.row, b.text) == (bar.row, bar.text) and bar.start <= b.end + 1e-6),
            None,
        )
        if place is None:
            found.append(bar)
        else:
            found[place] = replace(found[place], end=max(found[place].end, bar.end))
    return found


def _camera() -> Exhibit:
    """Four known moves over shipped photographs, and what the built-in recognizer says of them."""
    from muybridge.media.images import read_image
    from muybridge.media.video_writer import VideoWriter
    from muybridge.stage.camera import CameraClipConfig, camera_clip

    rate, length = 20, 40
    config = CameraClipConfig(frames=length, height=360, width=480, movers=0, travel=(0.35, 0.5), zoom=(1.5, 1.7), roll=(22, 32))  # fmt: skip  # noqa: E501
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
        _film("camera.recognized.mp4", "The film with what was recognized."),
        Timeline("What the crop does, and what was recognized.", bars, shot * len(_MOVES)),
    ]
    prepared = "camera.mp4 is the crop's path over four shots of three photographs."
    return Exhibit("What the camera does", text, parts, commands, ["camera.mp4", "camera.json"], prepared)


def _spans(path: Path, row: str = "") -> list[Bar]:
    """Bars of what `muybridge recognize --format json` wrote: one row, or one for each label."""
    (answer,) = json.loads(path.read_text(encoding="utf-8"))
    return [
        Bar(row or span["label"], span["start"], span["end"], f"{span['label']} {span['score']:.2f}")
        for span in answer["spans"]
    ]


def _own(source: Path, seconds: float, size: int) -> list[Exhibit]:
    """The user's film: recognized, localized, watched and painted."""
    shown, end = _shorten(source, Path("film.mp4"), seconds, size)
    text = "Two seconds of it, painted in one pass and steady from frame to frame; and one frame in other styles."
    return [_recognized(shown, end), _localized(shown, end), _painted_film("Painted", text, Path("film.mp4"), end)]


def _shorten(source: Path, target: Path, seconds: float, size: int) -> tuple[str, float]:
    """Write the film's beginning, small enough to be quick; returns what was kept, in words, and its seconds.

    Raises:
        InputError: it cannot be read, is a picture, or is empty.
    """
    from muybridge.media.sources import expand_sources
    from muybridge.media.video_reader import DEFAULT_RATE, VideoReader
    from muybridge.media.video_writer import VideoWriter

    if not source.is_file():
        raise MissingInput(f"there is no file {source}. Name a film of your own")
    if expand_sources([str(source)])[0].kind != "video":
        raise InputError(f"{source} is no film. Give a video; `muybridge stylize` paints pictures")
    with VideoReader(source) as probe:
        info = probe.info
    scale = min(1.0, size / min(info.width, info.height), _MOST_ASPECT * size / max(info.width, info.height))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (info.width, info.height))
    rate = min(info.average_rate or DEFAULT_RATE, Fraction(_MOST_RATE))
    last, ended = Fraction(-1), True
    with (
        VideoReader(source, size=(width, height)) as reader,
        VideoWriter(target, width=width, height=height, rate=rate, crf=20) as writer,
    ):
        for frame in reader:
            if frame.pts_seconds >= seconds:
                ended = False
                break
            # A little less than a frame's time, since many files round theirs.
            if last < 0 or frame.pts_seconds - last > Fraction(98, 100 * _MOST_RATE):
                writer.write(frame.image, frame.pts_seconds)
                last = frame.pts_seconds
    part = source.name if ended else f"The first {seconds:g} seconds of {source.name}"
    end = min(float(last + 1 / rate), seconds)
    return ". ".join([f"{part}, at {width} x {height}", *(note.rstrip(".") for note in reader.notes)]), end


def _recognized(shown: str, end: float) -> Exhibit:
    commands = ["muybridge recognize film.mp4 --window 2s --format json --out camera.json"]
    _run(commands)
    bars = sorted(_spans(Path("camera.json")), key=lambda bar: bar.row)
    text = f"{shown}. The built-in recognizer says what the camera does, over time."
    parts = [_film("film.mp4", shown), Timeline("What the camera does.", bars, end)]
    return Exhibit("Recognized", text, parts, commands, ["camera.json"])


def _localized(shown: str, end: float) -> Exhibit:
    commands = ["muybridge localize film.mp4 -o people.mp4 --format json cvat"]
    _run(commands)
    found: dict[str, Any] = json.loads(Path("people.json").read_text(encoding="utf-8"))
    seen: dict[int, list[list[float]]] = {person["id"]: person["seen"] for person in found["people"]}
    longest = sorted(sorted(seen, key=lambda person: -sum(stop - start for start, stop in seen[person]))[:12])
    bars: list[Bar] = []
    for person in longest:
        row, colour = f"person {person}", person_hex(person)
        bars += [Bar(row, start, stop, "", colour + "66") for start, stop in seen[person]]
        bars += [
            Bar(row, span["start"], span["end"], f"{span['label']} {span['score']:.2f}", colour)
            for span in found["spans"]
            if span["person"] == person
        ]
    most = max((len(key["people"]) for key in found["key_frames"]), default=0)
    facts = Facts((("people", str(len(seen))), ("most at once", str(most)), ("key frames", str(len(found["key_frames"])))))  # fmt: skip  # noqa: E501
    text = (
        f"{shown}. People are found and followed, and each is asked what they do. An action is "
        "written where it is more probable than not, and stays over the film until it is clearly over."
        if seen
        else f"{shown}. Nobody was found in it."
    )
    left_out = (
        f" {len(seen) - len(longest)} who were there for less are left out." if len(seen) > len(longest) else ""
    )
    caption = f"Pale: in the picture. Full: does something.{left_out}"
    timeline = [Timeline(caption, bars, end)] if bars else []
    parts = [_film("people.mp4", "Boxes, tracks and actions."), facts, *timeline]
    return Exhibit("Localized", text, parts, commands, ["people.html", "people.json", "people.xml"])


def _painted_stage() -> Exhibit:
    text = (
        "Two seconds of the scene, painted in one pass and steady from frame to frame; and a frame in other styles."
    )
    (video,) = Path("scene/videos").glob("*.mp4")
    return _painted_film("A film, painted", text, video, _STAGE_SECONDS)


def _painted_film(title: str, text: str, film: Path, end: float) -> Exhibit:
    """A few seconds from the film's middle, and one picture in several styles and strengths."""
    from muybridge.media.images import write_image
    from muybridge.media.video_reader import DEFAULT_RATE, VideoReader
    from muybridge.media.video_writer import VideoWriter

    start = max(0.0, (end - _PAINTED_SECONDS) / 2)
    with VideoReader(film) as reader:
        info = reader.info
        # The frame on display at the start, so that there is one in slow films too.
        kept = reader.frames_at_seconds([start])
        first = kept[0].pts_seconds
        kept += [f for f in reader if first < f.pts_seconds < start + _PAINTED_SECONDS]
    rate = info.average_rate or DEFAULT_RATE
    with VideoWriter("excerpt.mp4", width=info.width, height=info.height, rate=rate, crf=18) as writer:
        for frame in kept:
            writer.write(frame.image, frame.pts_seconds - first)
    write_image(Path("still.png"), kept[0].image)
    how = f"--style {_FILM_STYLE} --strength {_FILM_STRENGTH} --size 300"
    commands = [f"muybridge stylize excerpt.mp4 {how} -o painted.mp4"]
    _run(commands)
    paintings = _paintings(title, text, "still.png", "a frame of the film, painted", styles=_STYLES[1:4])
    parts = [
        _film(
            "painted.mp4",
            f"In style {_FILM_STYLE}, strength {_FILM_STRENGTH}. All built-in styles are drawn by code.",
        ),
        *paintings.parts,
    ]
    prepared = (
        f"excerpt.mp4 holds {start:.1f} to {min(end, start + _PAINTED_SECONDS):.1f} s, still.png its first frame."
    )
    return Exhibit(title, text, parts, [*commands, *paintings.commands], ["excerpt.mp4"], prepared)


def _gallery() -> Exhibit:
    """A shipped photograph in built-in styles, and one of them in several strengths."""
    shutil.copyfile(_PICTURES / "chelsea.jpg", "chelsea.jpg")
    text = "One model paints in the style of any image. These styles are drawn by code: nobody's paintings."
    return _paintings("A gallery", text, "chelsea.jpg", "a cat, painted", styles=_STYLES)


def _paintings(title: str, text: str, picture: str, subject: str, *, styles: Sequence[str]) -> Exhibit:
    """The first style in all strengths, the others in full."""
    stem, first = Path(picture).stem, styles[0]
    strong = [(f"{stem}-{style}.png", style, 1.0) for style in styles]
    weaker = [(f"{stem}-{first}-{100 * strength:.0f}.png", first, strength) for strength in _STRENGTHS[:-1]]
    commands = [
        f"muybridge stylize {picture} --style {style}{'' if strength == 1 else f' --strength {strength:g}'} -o {name}"
        for name, style, strength in [*strong, *weaker]
    ]
    _run(commands)
    parts = [
        Slider(picture, weaker[-1][0], f"Before and after: {first}, strength {weaker[-1][2]:g}. Move the line."),
        Pictures(
            subject, [(name, f"{style}, strength {strength:g}") for name, style, strength in [*weaker, strong[0]]]
        ),
        Pictures(subject, [(name, style) for name, style, _ in strong[1:]]),
    ]
    return Exhibit(title, text, parts, commands)
