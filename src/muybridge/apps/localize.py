"""`muybridge localize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from muybridge.engine.options import MANY, ManyFiles
from muybridge.escapes import printable
from muybridge.localize.options import BUILT_IN, ONE_VIEW, LocalizeConfig, TestViews
from muybridge.options import FLAT, LIST, PLAIN

if TYPE_CHECKING:
    from muybridge.media.sources import Source

Format = Literal["ava", "coco", "cvat", "json", "mot"]


def localize(
    inputs: list[str] | None = None,
    /,
    *,
    model: Annotated[str, Parameter(alias="-m")] = "people_actions",
    detector: str | None = None,
    boxes: Path | None = None,
    config: Annotated[LocalizeConfig, FLAT] = LocalizeConfig(),
    actions: bool = True,
    views: Annotated[TestViews, FLAT] = ONE_VIEW,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    format: Annotated[list[Format] | None, LIST] = None,
    top: int = 1,
    video: bool = True,
    report: bool = True,
    attention: Annotated[bool, PLAIN] = False,
    bank_model: str | None = None,
    banks: Path | None = None,
    backbone_weights: Path | None = None,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    many: Annotated[ManyFiles, FLAT, MANY] = ManyFiles(),
) -> int:
    """Say who does what, where and when: an annotated video, files for annotation tools, and a timeline a person.

    Parameters
    ----------
    inputs
        Videos, folders of videos or of frames, globs, stream addresses, capture devices such as /dev/video0, or 0
        for short. With --results also prefixes of object stores, such as s3://BUCKET/FOLDER.
    model
        people_actions (built in, small, 37 poses and actions), a .safetensors file, or OWNER/NAME on the Hugging Face
        hub.
    detector
        What finds people: a name or file that `muybridge.people.detectors` knows; by default the built-in one.
    boxes
        A file of people's boxes in place of a detector: AVA CSV, MOT text, COCO or VIA JSON, CVAT XML.
    actions
        --no-actions finds and follows people only, and needs no model: their one class is person.
    out
        The annotated video for one input, a folder for several. By default it is beside the input, as
        NAME.localized.mp4, with --results in its folder. Files and the report page are named as it is.
    format
        Annotation files to write: ava, coco, cvat, json, mot; several at once if you like. By default json.
    top
        Most actions of a person that are drawn; the files hold all.
    video
        Write the annotated video.
    report
        Write the report page, an HTML file with a timeline for each person.
    attention
        Write a picture of each person at the moment of their surest action, NAME.attention.PERSON.jpg: where in the
        scene other people count for them. For models that relate people, trained with --head acar.
    bank_model
        For a model that reads a feature bank: the model that writes it.
    banks
        For such a model: a folder of banks written before by `muybridge write-bank`.
    backbone_weights
        File of the image model's weights, where its name does not bring them,
        or timm to fetch the published ones.
    device
        auto, cpu, cuda, cuda:1, mps.
    precision
        bfloat16 is about twice as fast on machines that know it.
    """
    from muybridge.apps import batch
    from muybridge.engine.inputs import named_inputs
    from muybridge.engine.run import run_many
    from muybridge.engine.tasks import LocalizeTask
    from muybridge.errors import OptionError
    from muybridge.media.films import check_film
    from muybridge.media.sources import clip_sources, output_paths

    task = LocalizeTask(
        model=model,
        detector=detector,
        config=config,
        actions=actions,
        views=views,
        format=tuple(dict.fromkeys(format or ["json"])),
        top=top,
        video=video,
        report=report,
        attention=attention,
        bank_model=bank_model,
        banks=banks,
        backbone_weights=backbone_weights,
        device=device,
        precision=precision,
    )
    names = named_inputs(inputs or (), many.listed)
    if many.results is not None:
        if boxes is not None:
            raise OptionError("--boxes tells of single videos. Leave --results out, or let a --detector find people")
        return run_many(task, names, many, out=out)
    sources = clip_sources(names)
    batch.check_live(sources, {"--attention": attention})
    targets = output_paths(sources, out, suffix_of_stem="localized")
    if video:
        batch.check_targets(sources, targets, films_only=True)
    for name in (model, bank_model) if actions else ():
        if name is not None:
            batch.check_model(name, task=task.verb, built_in=BUILT_IN)

    def load() -> batch.Work:
        from muybridge.data.annotations.files import read_boxes
        from muybridge.localize.files import localize_file

        videos = [source.path for source in sources if source.kind == "video"]
        job = task.job(None if boxes is None else read_boxes(boxes, videos, rename_lone=True))

        def work(source: "Source", target: Path) -> list[str]:
            job.written.clear()
            notes = localize_file(job, source, target)
            for path in job.written:
                print(printable(str(path)))  # noqa: T201
            return notes

        return work

    return batch.run(sources, targets, load, check=check_film, say_targets=video)
