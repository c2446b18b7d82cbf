"""`muybridge stylize`."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from muybridge.engine.options import MANY, ManyFiles
from muybridge.errors import OptionError
from muybridge.options import FLAT, PLAIN, Seconds
from muybridge.stylize.options import (
    BUILT_IN,
    PeopleOptions,
    StylizeConfig,
    TemporalConfig,
    check_preview,
    check_segments,
)

_PEOPLE = Parameter(group="People", negative=())


def stylize(
    inputs: list[str] | None = None,
    /,
    *,
    style: Annotated[list[str], Parameter(alias="-s")],
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    config: Annotated[StylizeConfig, FLAT] = StylizeConfig(),
    mask: list[str] | None = None,
    people: Annotated[PeopleOptions, FLAT, _PEOPLE] = PeopleOptions(),
    model: str = "builtin",
    encoder_weights: Path | None = None,
    device: str = "auto",
    temporal: bool = True,
    carried: Annotated[TemporalConfig, FLAT] = TemporalConfig(),
    resume: Annotated[bool, PLAIN] = False,
    preview: Seconds = 0.0,
    many: Annotated[ManyFiles, FLAT, MANY] = ManyFiles(),
) -> int:
    """Paint pictures and videos in the style of any image.

    Parameters
    ----------
    inputs
        Pictures, videos, folders, globs, stream addresses; mixed as you like. With --results also prefixes of object
        stores, such as s3://BUCKET/FOLDER.
    style
        A picture to take the style from, a built-in style (see `muybridge styles`), or a saved style. Several mix;
        PICTURE=WEIGHT sets the shares.
    out
        A file for one input, a folder for several. By default the result is beside the input, as NAME.stylized; with
        --results in its folder.
    mask
        A picture or video, white where to paint. One for all styles together, or one a style in their order. What
        no mask covers stays the photograph.
    model
        builtin, a .safetensors file, or OWNER/NAME on the Hugging Face hub.
    encoder_weights
        For a model trained on torchvision's VGG-19: that encoder's file, or vgg19 to fetch it.
    device
        auto, cpu, cuda, cuda:1, mps.
    temporal
        Keep a video steady by carrying each frame's painting to the next along the motion.
    resume
        Paint films in segments of a minute, which are kept in NAME.parts beside the result until it is there; the
        same command goes on with them.
    preview
        Of each film paint only the frame at every so many seconds, and write them as one picture, NAME.preview.jpg;
        0 paints all.
    """
    from muybridge.apps import batch
    from muybridge.engine.inputs import named_inputs
    from muybridge.engine.run import run_many
    from muybridge.engine.tasks import StylizeTask
    from muybridge.media.sources import expand_sources, output_paths

    task = StylizeTask(
        style=tuple(style),
        config=config,
        mask=tuple(mask or ()),
        people=people,
        model=model,
        encoder_weights=encoder_weights,
        device=device,
        temporal=temporal,
        carried=carried,
        resume=resume,
    )
    names = named_inputs(inputs or (), many.listed)
    if preview and (resume or many.results is not None):
        raise OptionError("--preview is one picture at once: leave out --resume and --results")
    if many.results is not None:
        return run_many(task, names, many, out=out)
    sources = expand_sources(names)
    videos = [source.path for source in sources if source.kind == "video"]
    targets = output_paths(sources, out, suffix_of_stem="preview" if preview else "stylized")
    if preview:
        targets = [_sheet(path) for path in targets]
        for source in sources:
            check_preview(source)
    else:
        batch.check_targets(sources, targets)
    if resume:
        for source, target in zip(sources, targets, strict=True):
            check_segments(source, target)
    task.check_styles()
    batch.check_model(model, task=task.verb, built_in=BUILT_IN)

    def load() -> batch.Work:
        if preview:
            from muybridge.stylize.preview import paint_preview

            return partial(paint_preview, task.job(videos), every_seconds=preview)
        from muybridge.stylize.segments import paint

        return partial(paint, task.job(videos))

    return batch.run(sources, targets, load)


def _sheet(result: Path) -> Path:
    """Where a film's pictures go, whose painting would go to `result`."""
    return result if result.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"} else result.with_suffix(".jpg")


def styles() -> None:
    """List the built-in styles."""
    from muybridge.stylize.styles import BUILT_IN_STYLES

    print("\n".join(f"{name:12} {about}" for name, (_, _, about) in BUILT_IN_STYLES.items()))  # noqa: T201
