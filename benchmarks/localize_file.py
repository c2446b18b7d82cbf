"""From a video to its annotated video: the share of time in each stage, and what overlapping the stages saves.

    python benchmarks/localize_file.py VIDEO --model FILE [--boxes FILE | --detector NAME] [--seconds 10]

Stages are timed in the processor time of the thread that runs them, so that waiting does not count; what FFmpeg does
in threads of its own, for reading and writing, does not count either. The same work is
done twice, one stage after another and with reading, drawing and writing in threads beside the model, as
`muybridge localize` does; both wall times are of this run.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar
from unittest.mock import patch

import torch

from muybridge.data.annotations.files import read_boxes
from muybridge.data.person_motion import PersonMotion
from muybridge.localize.files import boxes_of, draw_localized
from muybridge.localize.localizer import Localizer
from muybridge.localize.steady import SteadyActions
from muybridge.localize.stream import LocalizeConfig, LocalizedFrame
from muybridge.media.box_overlays import PeopleDrawer
from muybridge.media.pipeline import BackgroundWriter, prefetch
from muybridge.media.video_reader import DEFAULT_RATE, Frame, VideoReader
from muybridge.media.video_writer import VideoWriter

T = TypeVar("T")
STAGES = ("read", "look for people", "scale and hold frames", "motion", "actions", "draw", "write")


class Stopwatch:
    """Processor time of the calling thread, by stage; a stage within another is not counted twice."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def timed(self, stage: str, work: Callable[..., T], *, within: str | None = None) -> Callable[..., T]:
        def wrapped(*arguments: object, **options: object) -> T:
            start = time.thread_time()
            try:
                return work(*arguments, **options)
            finally:
                spent = time.thread_time() - start
                self.seconds[stage] += spent
                if within is not None:
                    self.seconds[within] -= spent

        return wrapped

    def items(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        iterator = iter(items)
        step = self.timed(stage, lambda: next(iterator, None))
        while (item := step()) is not None:
            yield item


def first_seconds(frames: Iterable[Frame], seconds: float) -> Iterator[Frame]:
    for frame in frames:
        if frame.pts_seconds > seconds:
            return
        yield frame


def once(
    options: argparse.Namespace, localizer: Localizer, target: Path, *, overlapped: bool
) -> tuple[float, Stopwatch]:
    watch = Stopwatch()
    config = LocalizeConfig(every=options.every, look_every=options.look_every, min_score=options.min_score)
    model = "scale and hold frames"
    of = watch.timed("motion", PersonMotion.of, within=model)
    with VideoReader(options.video) as reader, patch.object(PersonMotion, "of", of):
        info = reader.info
        boxes = None
        if options.boxes:
            boxes = boxes_of(read_boxes(options.boxes, [options.video]), options.video.stem, info.width, info.height)
        people = localizer.people(boxes, config)
        people.look = watch.timed("look for people", people.look, within=model)
        run = localizer.run(people, config, keep=False)
        run._answer = watch.timed("actions", run._answer, within=model)
        draw = watch.timed("draw", draw_localized)
        steady = SteadyActions(localizer.labels, threshold=config.threshold, top=1)
        drawer = PeopleDrawer()
        start = time.perf_counter()
        with VideoWriter(
            target, width=info.width, height=info.height, rate=info.average_rate or DEFAULT_RATE
        ) as writer:
            write = watch.timed("write", writer.write)

            def finish(localized: LocalizedFrame) -> None:
                write(draw(localized, steady, localizer.labels, drawer), localized.frame.pts_seconds)

            frames = first_seconds(watch.items("read", reader), options.seconds)
            if overlapped:
                source = prefetch(frames, depth=2)
                with BackgroundWriter(finish, depth=2) as background:
                    for localized in watch.items(model, run.walk(source)):
                        background.put(localized)
            else:
                # A frame read is within the step of the walk that asked for it.
                source = watch.items("read", first_seconds(reader, options.seconds))
                for localized in watch.items(model, run.walk(source)):
                    finish(localized)
                watch.seconds[model] -= watch.seconds["read"]
        return time.perf_counter() - start, watch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--boxes", type=Path)
    parser.add_argument("--detector")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=1.0)
    parser.add_argument("--look-every", type=float, default=0.2)
    parser.add_argument("--min-score", type=float, default=0.35)
    options = parser.parse_args()
    localizer = Localizer.from_pretrained(options.model, detector=options.detector, device="cpu")
    print(f"{torch.get_num_threads()} threads of torch, trunk of {localizer.sampling.frames} frames at "
          f"{localizer.sampling.short_side} pixels")  # fmt: skip
    walls: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for overlapped in (False, True):
            wall, watch = once(options, localizer, Path(folder) / "out.mp4", overlapped=overlapped)
            walls.append(wall)
            total = sum(watch.seconds.values())
            print(f"{'overlapped' if overlapped else 'one after another'}: {wall:.2f} s of wall time")
            for stage in STAGES:
                print(f"  {stage:<22} {watch.seconds[stage]:6.2f} s  {100 * watch.seconds[stage] / total:5.1f} %")
    print(f"overlapping takes {walls[1] / walls[0]:.2f} of the time of one after another")


if __name__ == "__main__":
    main()
