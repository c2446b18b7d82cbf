"""`muybridge watch`."""

import gc
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from muybridge.escapes import printable
from muybridge.localize.options import BUILT_IN as LOCALIZERS
from muybridge.localize.options import LocalizeConfig
from muybridge.models.avatar_net.config import MIN_SIDE
from muybridge.options import FLAT, PLAIN, TIME, Seconds
from muybridge.recognize.options import BUILT_IN as RECOGNIZERS
from muybridge.recognize.options import WindowConfig
from muybridge.stylize.options import StylizeConfig, TemporalConfig

if TYPE_CHECKING:
    from muybridge.localize.localizer import Localizer
    from muybridge.media.sources import Source

# Short side of styles for a picture painted in full size.
_STYLE_SIDE = 512
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class WatchLocalizeConfig(LocalizeConfig):
    """What suits a live picture."""

    look_every: Seconds = 0.1


def watch(
    input: str,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    show: bool | None = None,
    serve: int | None = None,
    model: str = "camera",
    labels: bool = True,
    people: bool = True,
    actions: bool = True,
    localizer: str | None = None,
    detector: str | None = None,
    style: Annotated[list[str] | None, Parameter(alias="-s")] = None,
    strength: float = 1.0,
    temporal: bool = True,
    paint_size: int = 240,
    size: int = 480,
    top: int = 3,
    windows: Annotated[WindowConfig, FLAT] = WindowConfig(),
    localize: Annotated[WatchLocalizeConfig, FLAT] = WatchLocalizeConfig(),
    speed: float | None = None,
    seconds: Annotated[float | None, TIME] = None,
    every_frame: Annotated[bool, PLAIN] = False,
    backbone_weights: Path | None = None,
    device: str = "auto",
    precision: Precision = "float32",
) -> int:
    """Watch a camera or a film with people, what they do and what happens over the picture, painted if you like.

    What is slow skips frames and never falls behind; a line says how many and how late. q, Esc, closing the window
    or Ctrl-C ends it, and a file that was being written is kept.

    Parameters
    ----------
    input
        A video, a folder of frames, a stream address, a capture device such as /dev/video0, or 0 for short.
    out
        A video to write, .mp4, .mov or .mkv, without sound.
    show
        Open a window; the default where no file is written and no page served.
    serve
        Port of a page with the picture, for this machine alone; for where there is no screen.
    model
        Says what happens: camera (built in: what the camera does), a .safetensors file of a recognizer, or
        OWNER/NAME on the Hugging Face hub.
    labels
        Say what happens.
    people
        Look for people and follow them.
    actions
        Say what each person does.
    localizer
        A .safetensors file, or OWNER/NAME on the Hugging Face hub; by default the built-in one.
    detector
        What finds people: a name or file that `muybridge.people.detectors` knows; by default the built-in one.
    style
        Paint the picture: a picture, a built-in style (see `muybridge styles`), or a saved style. Several mix evenly.
    strength
        Of the painting, from 0, the photograph, to 1, the style alone.
    temporal
        Keep the painting steady by carrying it along the motion, which takes longer.
    paint_size
        Short side in pixels at which is painted; the painting is enlarged to --size. 0 paints at that size, which
        takes longer with its square.
    size
        Short side in pixels that larger frames are scaled down to; 0 keeps their own.
    top
        How many labels of what happens are drawn.
    speed
        Of a film: 1 is its own, 0.5 half of it. A camera or stream is taken as it comes, unless this is given.
    seconds
        Stop after so much of the source, such as 30s.
    every_frame
        Leave no frame of a film out, however long it takes.
    backbone_weights
        File of the image model's weights of --model, where its name does not bring them,
        or timm to fetch the published ones.
    device
        auto, cpu, cuda, cuda:1, mps.
    precision
        bfloat16 is about twice as fast on machines that know it; for --model and --localizer.
    """
    from muybridge.errors import OptionError

    if localizer is not None and not (people and actions):
        raise OptionError("--localizer says what people do: leave out --no-people and --no-actions")
    stylize = StylizeConfig(strength=strength, size=paint_size, style_size=_style_size(paint_size, size))
    is_shown = (out is None and serve is None) if show is None else show
    if out is None and serve is None and not is_shown:
        raise OptionError("with --no-show there is nobody to watch. Name a file with -o, or a port with --serve")
    if is_shown:
        from muybridge.media.window import check_screen

        check_screen()

    from muybridge.apps.batch import check_live, check_model
    from muybridge.media.films import check_film

    source = _one_source(input, out)
    check_live([source], {"--every-frame": every_frame})
    check_film(source)
    if labels:
        check_model(model, task="recognize", built_in=RECOGNIZERS)
    if localizer is not None:
        check_model(localizer, task="localize", built_in=LOCALIZERS)

    from muybridge.people.detectors import load_detector
    from muybridge.recognize.recognizer import Recognizer
    from muybridge.stylize.stylizer import Stylizer
    from muybridge.watch.files import WatchJob, watch_source

    stylizer = Stylizer.from_pretrained(device=device) if style else None
    recognizer = (
        Recognizer.from_pretrained(model, device=device, backbone_weights=backbone_weights, precision=precision)
        if labels
        else None
    )
    job = WatchJob(
        recognizer=recognizer,
        detector=load_detector(detector or "person", device=device) if people else None,
        localizer=_localizer(localizer, device, precision) if people and actions else None,
        stylizer=stylizer,
        styles=[stylizer.encode_style(name, size=stylize.style_size) for name in style or ()] if stylizer else [],
        stylize=stylize,
        temporal=TemporalConfig() if temporal else None,
        windows=windows,
        localize=localize,
        top=top,
        size=size,
        speed=speed,
        seconds=seconds,
        every_frame=every_frame,
    )
    # What was imported lives to the end. Looking through it for garbage would stop the picture now and then, and take
    # seconds at the end.
    gc.freeze()
    for note in watch_source(job, source, out=out, show=is_shown, port=serve):
        print(f"muybridge: {printable(note)}", file=sys.stderr, flush=True)  # noqa: T201
    if out is not None:
        print(printable(str(out)))  # noqa: T201
    return 0


def _one_source(name: str, out: Path | None) -> "Source":
    """The input; refused where it is several, or the file to write."""
    from muybridge.errors import OptionError
    from muybridge.media.sources import clip_sources, output_paths
    from muybridge.media.video_writer import check_video_suffix

    sources = clip_sources([name])
    if len(sources) > 1:
        raise OptionError(f"{name} names {len(sources)} videos, and one can be watched at a time. Name one")
    if out is not None:
        check_video_suffix(out)
        output_paths(sources, out, suffix_of_stem="watched")
    return sources[0]


def _localizer(name: str | None, device: str, precision: Precision) -> "Localizer":
    """The one that was named, else the built-in one."""
    from muybridge.localize.localizer import Localizer

    return Localizer.from_pretrained(name or next(iter(LOCALIZERS)), device=device, precision=precision)


def _style_size(paint_size: int, size: int) -> int:
    """Strokes keep their size in the picture, however small it is painted."""
    return max(MIN_SIDE, _STYLE_SIDE * paint_size // size) if 0 < paint_size < size else _STYLE_SIDE
