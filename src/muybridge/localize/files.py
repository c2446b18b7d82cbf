"""From a video to an annotated video, annotation files and a report page: reading, drawing and writing overlap."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from muybridge.counts import counted
from muybridge.data.annotations.ava import write_ava
from muybridge.data.annotations.coco import write_coco
from muybridge.data.annotations.cvat import write_cvat
from muybridge.data.annotations.mot import write_mot
from muybridge.data.annotations.table import Annotations
from muybridge.data.feature_bank import FeatureBank, FeatureBankReader
from muybridge.data.label_maps import LabelMap
from muybridge.data.video_files import video_file
from muybridge.errors import InputError, OptionError
from muybridge.evaluation.report_page import write_report_page
from muybridge.localize.report import report_parts
from muybridge.localize.results import LocalizeResult, People
from muybridge.localize.steady import SteadyActions
from muybridge.localize.stream import LocalizeConfig, LocalizedFrame
from muybridge.localize.video_localizer import PERSON, VideoLocalizer
from muybridge.media.box_overlays import BoxLabel, PeopleDrawer
from muybridge.media.films import open_film, refuse_picture
from muybridge.media.images import write_image
from muybridge.media.outputs import atomic_output, check_writable
from muybridge.media.pipeline import BackgroundWriter, prefetch
from muybridge.media.sources import Source
from muybridge.media.video_writer import rewriting
from muybridge.progress import progress_line

if TYPE_CHECKING:
    from muybridge.localize.localizer import Localizer

RGB = NDArray[np.uint8]
Format = Literal["ava", "coco", "cvat", "json", "mot"]
SUFFIXES: Mapping[Format, str] = {"ava": ".csv", "coco": ".coco.json", "cvat": ".xml", "json": ".json", "mot": ".txt"}
_THUMBNAIL_SIDE = 120
_THUMBNAIL_MARGIN = 0.1  # of the box's height


@dataclass(frozen=True, eq=False)
class LocalizeJob:
    """What is the same for every input of a batch.

    Attributes:
        boxes: who is where, by the videos' names; None lets the detector find out.
        formats: annotation files to write beside the video.
        top: most actions of a person that are drawn; files hold all.
        video: whether the annotated video is written.
        report: whether the report page is written.
        attention: whether a picture of each person is written, of whom the head looks at, which must relate people.
        banks: folder of feature banks, named as the videos; None writes a bank first, where the model reads one.
    """

    localizer: VideoLocalizer
    config: LocalizeConfig
    boxes: Annotations | None = None
    formats: tuple[Format, ...] = ("json",)
    top: int = 1
    video: bool = True
    report: bool = True
    banks: Path | None = None
    attention: bool = False
    written: list[Path] = field(default_factory=list[Path])


def localize_file(job: LocalizeJob, source: Source, target: Path, *, quiet: bool = False) -> list[str]:
    """`localize_video`, without what is in it; returns what was lost or guessed, in sentences for the user."""
    return localize_video(job, source, target, quiet=quiet)[1]


def localize_video(
    job: LocalizeJob, source: Source, target: Path, *, quiet: bool = False
) -> tuple[LocalizeResult, list[str]]:
    """Read a video and write who does what in it.

    The annotated video is `target`, with the source's times and sound; annotation files and the report page are named
    as it is, with suffixes of their own. Nothing appears before all is known; a live stream that the user ends with
    Ctrl-C is kept up to then.

    Returns:
        What is in it, and what was lost or guessed, in sentences for the user.

    Raises:
        InputError, OptionError, OutputError: see `muybridge.errors`. Nothing half-written is left.
    """
    _check_source(job, source)
    check_writable(target)
    with ExitStack() as stack:
        reader = stack.enter_context(open_film(source.location))
        name = source.name
        boxes = None if job.boxes is None else boxes_of(job.boxes, name, reader.info.width, reader.info.height)
        bank = _bank(job, source, name, boxes, stack)
        run = job.localizer.run(job.localizer.people(boxes, job.config), job.config, bank=bank)
        total = reader.info.num_frames if source.kind == "video" else None
        line = stack.enter_context(progress_line(source.relative.name, total=total, unit="frames", quiet=quiet))
        frames = prefetch(reader, depth=2)
        stack.callback(frames.close)
        thumbnails: dict[int, RGB] = {}
        labels = job.localizer.labels
        steady = SteadyActions(labels, threshold=job.config.threshold, top=job.top)
        drawer = PeopleDrawer()
        writer = None
        if job.video:
            size = reader.info.width, reader.info.height
            writer = stack.enter_context(rewriting(target, source.location, reader.info, size=size))

        def finish(localized: LocalizedFrame) -> None:
            _keep_thumbnails(thumbnails, localized)
            if writer is not None:
                image = draw_localized(localized, steady, labels, drawer)
                writer.write(image, localized.frame.pts_seconds, localized.frame.duration_seconds)
            line.advance()

        with BackgroundWriter(finish, depth=2) as background:
            try:
                for localized in run.walk(frames):
                    background.put(localized)
            except KeyboardInterrupt:
                if source.kind != "stream":
                    raise
                if writer is not None:
                    writer.cut_short()
        result = job.localizer.result(run, reader, name, job.config)
    write_results(job, result, target, thumbnails)
    notes = [*result.notes, *(writer.notes if writer is not None else [])]
    return result, notes + _write_attention(job, source, result, target)


def _check_source(job: LocalizeJob, source: Source) -> None:
    refuse_picture(source)
    if job.attention and source.kind != "video":
        raise OptionError(f"{source.location} cannot be read a second time, as --attention needs. Give a file")


def _write_attention(job: LocalizeJob, source: Source, result: LocalizeResult, target: Path) -> list[str]:
    if not job.attention:
        return []
    from muybridge.localize.attention import attention_pictures
    from muybridge.localize.localizer import Localizer

    assert isinstance(job.localizer, Localizer)
    count = 0
    for picture in attention_pictures(job.localizer, source.path, result):
        path = target.with_name(f"{target.stem}.attention.{picture.person}.jpg")
        write_image(path, picture.image)
        job.written.append(path)
        count += 1
    return [] if count else ["nobody was seen together with others, so that there is no attention to show"]


def boxes_of(boxes: Annotations, name: str, width: int, height: int) -> Annotations:
    """The rows of one video, whatever folder or suffix the file of boxes names it with.

    Raises:
        InputError: the file names other videos only, or none.
    """
    matching = [name] if name in boxes.videos else [video for video in boxes.videos if Path(video).stem == name]
    if not matching:
        more = ", ..." if len(boxes.videos) > 5 else ""
        raise InputError(
            f"the file of boxes has none for {name!r}. It names {', '.join(boxes.videos[:5]) or 'no video'}{more}"
        )
    mine = boxes.of_video(matching[0])
    return mine.normalised(dict.fromkeys(mine.videos, (width, height)))


def _bank(
    job: LocalizeJob, source: Source, name: str, boxes: Annotations | None, stack: ExitStack
) -> FeatureBankReader | None:
    localizer = job.localizer
    if localizer.bank_span is None:
        return None
    if job.banks is not None:
        return FeatureBank(job.banks / f"{name}.safetensors", model=localizer.bank_model)
    if source.kind == "stream":
        return None  # written on the way
    if localizer.bank_writer is None:
        raise OptionError("this model reads a feature bank. Give --bank-model, the model that writes it, or --banks")
    from tempfile import TemporaryDirectory

    path = Path(stack.enter_context(TemporaryDirectory())) / "bank.safetensors"
    localizer.bank_writer.write_bank(source.path, path, boxes=boxes, config=job.config)
    return FeatureBank(path, model=localizer.bank_model)


def bank_file(
    localizer: "Localizer", source: Source, target: Path, *, boxes: Annotations | None, config: LocalizeConfig
) -> list[str]:
    """Write the feature bank of a video; returns how many entries it has, in a sentence for the user.

    Args:
        boxes: who is where, by the videos' names; None lets the detector find out.
    """
    check_writable(target)
    if boxes is not None:
        file = video_file(source.path)
        boxes = boxes_of(boxes, source.name, file.width, file.height)
    count = localizer.write_bank(source.path, target, boxes=boxes, config=config)
    return [counted(count, "entry", "entries")]


def labels_of(people: People, steady: SteadyActions, labels: LabelMap, width: int, height: int) -> list[BoxLabel]:
    """People as they are drawn, with the actions that are shown now, likeliest first."""
    return [
        BoxLabel((left, top, right, bottom), person, [(labels.names[i], float(actions[i])) for i in columns])
        for (left, top, right, bottom), person, actions, columns in zip(
            people.pixel_boxes(width, height).tolist(),
            people.ids.tolist(),
            people.actions,
            steady.shown(people),
            strict=True,
        )
    ]


def draw_localized(localized: LocalizedFrame, steady: SteadyActions, labels: LabelMap, drawer: PeopleDrawer) -> RGB:
    """The frame with its people drawn on it, (H, W, 3) uint8; frames come in order."""
    image = localized.frame.image
    height, width = image.shape[:2]
    return drawer.draw(image, labels_of(localized.people, steady, labels, width, height))


def _keep_thumbnails(thumbnails: dict[int, RGB], localized: LocalizedFrame) -> None:
    """A small picture of everybody, anew whenever they come clearly nearer; with a margin, as boxes may cut heads."""
    people, image = localized.people, localized.frame.image
    height, width = image.shape[:2]
    for person, box in zip(people.ids.tolist(), people.pixel_boxes(width, height).tolist(), strict=True):
        margin = _THUMBNAIL_MARGIN * (box[3] - box[1])
        left, top = (max(0, min(round(box[i] - margin), size - 1)) for i, size in enumerate((width, height)))
        crop = image[top : max(round(box[3] + margin), top + 1), left : max(round(box[2] + margin), left + 1)]
        step = max(1, max(crop.shape[:2]) // _THUMBNAIL_SIDE)
        small = crop[::step, ::step]
        if person not in thumbnails or (small.size > 2 * thumbnails[person].size):
            thumbnails[person] = small.copy()


def write_results(job: LocalizeJob, result: LocalizeResult, target: Path, thumbnails: dict[int, RGB]) -> None:
    """Annotation files and the report page, named as `target` with suffixes of their own.

    Raises:
        OutputError: one cannot be written.
    """
    threshold = job.config.threshold
    for kind in job.formats:
        path = target.with_name(target.stem + SUFFIXES[kind])
        write_result(path, result, kind, threshold=threshold)
        job.written.append(path)
    if job.report:
        page = target.with_suffix(".html")
        parts = report_parts(result, thumbnails, threshold=threshold, film=target.name if job.video else "")
        what = "Who is" if result.labels == PERSON else "Who does what"
        write_report_page(page, f"{what} in {result.video}", parts)
        job.written.append(page)


def write_result(path: Path, result: LocalizeResult, kind: Format, *, threshold: float) -> None:
    """One annotation file.

    AVA, COCO and JSON hold key frames, CVAT and MOT every frame. AVA holds all classes with their scores, since
    evaluators rank them, and for that all their decimals; MOT holds none; the others those from `threshold` on.

    Raises:
        OutputError: it cannot be written.
    """
    if kind == "ava":
        rows = result.annotations()
        write_ava(path, rows, eighth="score" if len(rows) else None)
    elif kind == "coco":
        write_coco(path, result.annotations(threshold=threshold).in_pixels(), result.labels)
    elif kind == "cvat":
        write_cvat(path, result.tracks(threshold=threshold), rate_fps=result.rate, labels=result.labels)
    elif kind == "mot":
        write_mot(path, result.tracks(threshold=2.0), rate_fps=result.rate)
    else:
        text = json.dumps(result.to_json(threshold=threshold), indent=1, ensure_ascii=False)
        with atomic_output(path) as beside:
            # A file name that is no UTF-8 has halves of pairs, which are written as JSON has them.
            beside.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
