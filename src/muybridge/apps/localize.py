"""`muybridge localize`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from muybridge.escapes import printable

if TYPE_CHECKING:
    from muybridge.media.sources import Source

Format = Literal["ava", "coco", "cvat", "json", "mot"]
_Flag = Parameter(negative=())


def localize(
    inputs: Annotated[list[str], Parameter(negative=())],
    /,
    *,
    model: Annotated[str, Parameter(alias="-m")] = "people_actions",
    detector: str | None = None,
    boxes: Path | None = None,
    threshold: float = 0.5,
    min_score: float = 0.5,
    every: str = "1s",
    look_every: str = "200ms",
    actions: bool = True,
    scales: Annotated[list[int] | None, Parameter(negative=(), consume_multiple=True)] = None,
    flip: Annotated[bool, _Flag] = False,
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    format: Annotated[list[Format] | None, Parameter(negative=(), consume_multiple=True)] = None,
    video: bool = True,
    report: bool = True,
    bank_model: str | None = None,
    banks: Path | None = None,
    backbone_weights: Path | None = None,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
) -> int:
    """Say who does what, where and when: an annotated video, files for annotation tools, and a timeline a person.

    Parameters
    ----------
    inputs
        Videos, folders, globs, stream addresses, capture devices such as /dev/video0.
    model
        people_actions (built in, small, of a few everyday actions), a .safetensors file, or OWNER/NAME on the Hugging
        Face hub.
    detector
        What finds people: a name or file that `muybridge.people.detectors` knows; by default the built-in one.
    boxes
        A file of people's boxes in place of a detector: AVA CSV, MOT text, COCO or VIA JSON, CVAT XML.
    threshold
        Actions less probable are not shown.
    min_score
        Boxes that the detector is less sure of are not people.
    every
        Time from one key frame, where actions are worked out, to the next, such as 1s or 500ms.
    look_every
        Time from one look for people to the next, at most; between looks boxes move evenly.
    actions
        --no-actions finds and follows people only, and needs no model: their one class is person.
    scales
        See each clip at several sizes, told as pixels of the frame's short side, such as 224 256 320; slower, surer.
    flip
        See each clip mirrored too; not where classes tell left from right.
    out
        The annotated video for one input, a folder for several. By default it is beside the input, as
        NAME.localized.mp4. Files and the report page are named as it is.
    format
        Annotation files to write: ava, coco, cvat, json, mot; several at once if you like. By default json.
    video
        Write the annotated video.
    report
        Write the report page, an HTML file with a timeline for each person.
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
    from muybridge.apps.durations import parse_seconds
    from muybridge.data.annotations.files import read_boxes
    from muybridge.localize.files import LocalizeJob, localize_file
    from muybridge.localize.localizer import Localizer
    from muybridge.localize.stream import LocalizeConfig
    from muybridge.localize.video_localizer import PeopleLocalizer, VideoLocalizer
    from muybridge.localize.views import TestViews
    from muybridge.media.sources import expand_sources, output_paths

    config = LocalizeConfig(
        every=parse_seconds("--every", every),
        look_every=parse_seconds("--look-every", look_every),
        min_score=min_score,
        threshold=threshold if actions else 0.0,
    )
    sources = expand_sources(inputs)
    targets = output_paths(sources, out, suffix_of_stem="localized")
    videos = [source.path for source in sources if source.kind == "video"]
    given = None if boxes is None else read_boxes(boxes, videos, rename_lone=True)
    localizer: VideoLocalizer
    if actions:
        localizer = Localizer.from_pretrained(
            model,
            detector=detector,
            bank_writer=bank_model,
            device=device,
            backbone_weights=backbone_weights,
            precision=precision,
            views=TestViews(tuple(scales or ()), flip),
        )
    else:
        localizer = PeopleLocalizer(detector, device=device)
    if given is None:
        _ = localizer.detector  # a wrong name is told before the first video is read
    job = LocalizeJob(
        localizer, config, given, tuple(dict.fromkeys(format or ["json"])), video=video, report=report, banks=banks
    )

    def work(source: "Source", target: Path) -> list[str]:
        job.written.clear()
        notes = localize_file(job, source, target)
        for path in job.written:
            print(printable(str(path)))  # noqa: T201
        return notes

    return batch.run(sources, targets, work, say_targets=video)
