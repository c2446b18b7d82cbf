"""`muybridge recognize`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from muybridge.engine.options import MANY, ManyFiles
from muybridge.escapes import printable
from muybridge.options import FLAT, PLAIN
from muybridge.recognize.options import BUILT_IN, WindowConfig

if TYPE_CHECKING:
    from muybridge.media.sources import Source
    from muybridge.recognize.files import FileAnswer, RecognizeJob

Format = Literal["table", "json", "csv"]


def recognize(
    inputs: list[str] | None = None,
    /,
    *,
    model: str = "camera",
    top: int = 5,
    windows: Annotated[WindowConfig, FLAT] = WindowConfig(),
    threshold: float | None = None,
    format: Format = "table",
    out: Annotated[Path | None, Parameter(alias="-o")] = None,
    overlay: Path | None = None,
    shots: Annotated[bool, PLAIN] = False,
    backbone_weights: Path | None = None,
    batch_size: int = 8,
    device: str = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    many: Annotated[ManyFiles, FLAT, MANY] = ManyFiles(),
) -> int:
    """Say what happens in videos, and when.

    Parameters
    ----------
    inputs
        Videos, folders of videos or of frames, globs, stream addresses, capture devices such as /dev/video0, or 0
        for short. With --results also prefixes of object stores, such as s3://BUCKET/FOLDER.
    model
        camera (built in: what the camera does), actions (built in: what people do), a .safetensors file, or
        OWNER/NAME on the Hugging Face hub.
    top
        How many labels an answer names.
    threshold
        Spans whose label is less likely than this are left out; by default what the model's file says, mostly 0.
    format
        table for people, csv for spreadsheets, json with every window's scores.
    out
        A file to write the answers to, in place of the terminal; not for live sources.
    overlay
        A video to write, with the labels over the picture: a file for one input, a folder for several.
    shots
        Cut at shot boundaries first, which reads each video twice (pip install 'muybridge[shots]').
    backbone_weights
        File of the frozen image model's weights, where its name does not bring them,
        or timm to fetch the published ones.
    batch_size
        Windows that run through the model at once; lower it when memory runs out.
    device
        auto, cpu, cuda, cuda:1, mps.
    precision
        bfloat16 is about twice as fast on machines that know it.
    """
    from muybridge.apps import batch
    from muybridge.apps.batch import check_apart
    from muybridge.engine.inputs import named_inputs
    from muybridge.engine.run import run_many
    from muybridge.engine.tasks import RecognizeTask
    from muybridge.media.films import check_film
    from muybridge.media.outputs import check_writable
    from muybridge.media.sources import clip_sources, output_paths

    task = RecognizeTask(
        model=model,
        top=top,
        windows=windows,
        threshold=threshold,
        shots=shots,
        backbone_weights=backbone_weights,
        batch_size=batch_size,
        device=device,
        precision=precision,
        overlay=overlay is not None,
    )
    names = named_inputs(inputs or (), many.listed)
    if many.results is not None:
        _check_rows({"--out": out is not None, "--format": format != "table"})
        return run_many(task, names, many, out=overlay)
    sources = clip_sources(names)
    batch.check_live(sources, {"--out": out is not None, "--overlay": overlay is not None, "--shots": shots})
    if out is not None:
        check_writable(out)
        check_apart(out, [model, *(s.path for s in sources if s.kind != "stream"), *([overlay] if overlay else [])])
    overlays = output_paths(sources, overlay, suffix_of_stem="recognized") if overlay else [Path()] * len(sources)
    if overlay is not None:
        batch.check_targets(sources, overlays, films_only=True)
    batch.check_model(model, task=task.verb, built_in=BUILT_IN)
    answers: list[FileAnswer] = []

    def load() -> batch.Work:
        from muybridge.apps.recognize_output import write_answers
        from muybridge.recognize.files import recognize_file, write_overlay

        job = task.job()

        def work(source: "Source", target: Path) -> list[str]:
            if source.kind == "stream":
                return _follow(job, source, format)
            answer = recognize_file(job, source, keep_windows=overlay is not None or format == "json")
            lost = [] if overlay is None else write_overlay(answer, source, target, top=min(top, 3))
            answers.append(answer)
            if out is None and format == "table":
                write_answers([answer], format, None, top=top)
            return [*answer.notes, *lost]

        return work

    code = batch.run(sources, overlays, load, check=check_film, say_targets=overlay is not None)
    if answers and (out is not None or format != "table"):
        from muybridge.apps.recognize_output import write_answers

        write_answers(answers, format, out, top=top)
    if answers and out is not None:
        print(printable(str(out)))  # noqa: T201
    return code


def _check_rows(wanted: dict[str, bool]) -> None:
    from muybridge.errors import OptionError

    if option := next((name for name, given in wanted.items() if given), None):
        raise OptionError(f"with --results, answers are the rows of its table. Leave {option} out")


def _follow(job: "RecognizeJob", source: "Source", format: Format) -> list[str]:
    """A live source's answers, a line each: after every frame if the model can, else as soon as a window is over.
    Ctrl-C is its end.
    """
    from muybridge.apps.recognize_output import live_header, live_line
    from muybridge.media.video_reader import VideoReader
    from muybridge.recognize.files import recognize_stream

    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(source.location))
        print(live_header(format), end="", flush=True)  # noqa: T201
        every_frame = job.recognizer.is_causal and job.windows == WindowConfig()
        try:
            if every_frame:
                for answer in job.recognizer.stream(reader):
                    seconds = answer.seconds or 0.0
                    print(live_line(job, format, source, seconds, seconds, answer), end="", flush=True)  # noqa: T201
            else:
                for window in recognize_stream(job, source, reader, stack, quiet=True):
                    line = live_line(job, format, source, window.start, window.end, window.prediction)
                    print(line, end="", flush=True)  # noqa: T201
        except KeyboardInterrupt:
            pass
        return list(reader.notes)
