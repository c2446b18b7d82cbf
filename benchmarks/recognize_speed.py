"""Recognizing a film against decoding it alone, and a causal stream against the bare image model.

    python benchmarks/recognize_speed.py [--model actions] [--rounds 5] [--seconds 20] [--threads 2]

The film is the first stretch of VIDEO (by default made: a photograph that a camera pans over), encoded anew at each
size at 25 frames a second. Both take turns, `--rounds` times; medians. Wall time counts what a user waits for; the
processor's time beside it does not mind what else the machine does.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from muybridge.media.images import read_image, resize_image
from muybridge.media.sources import expand_sources
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.models.st_adapter.config import AdapterConfig
from muybridge.models.st_adapter.stream import CausalStream
from muybridge.models.st_adapter.video_vit import VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize.files import RecognizeJob, recognize_file
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.windows import WindowConfig

SIZES = ((320, 240), (1280, 720))
RATE = 25
WINDOW = 8
PHOTO = Path(__file__).parents[1] / "src" / "muybridge" / "pictures" / "coffee.jpg"


def pan(width: int, height: int, seconds: float) -> list[np.ndarray]:
    """A photograph, three times as wide as the picture, that the camera passes over."""
    photo = resize_image(read_image(PHOTO).rgb, 3 * width, height)
    starts = np.linspace(0, 2 * width, round(seconds * RATE)).round().astype(int)
    return [np.ascontiguousarray(photo[:, start : start + width]) for start in starts]


def film(folder: Path, video: Path | None, width: int, height: int, seconds: float) -> Path:
    target = folder / f"{width}x{height}.mp4"
    with VideoWriter(target, width=width, height=height, rate=RATE) as writer:
        if video is None:
            for number, picture in enumerate(pan(width, height, seconds)):
                writer.write(picture, number / RATE)
        else:
            with VideoReader(video) as reader:
                for number, frame in enumerate(reader):
                    if number == round(seconds * RATE):
                        break
                    writer.write(resize_image(frame.image, width, height), number / RATE)
    return target


def turns(rounds: int, works: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    """Median seconds by the clock and of the processor, of each work."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            clock, processor = time.perf_counter(), time.process_time()
            work()
            if turn:  # the first one warms up
                taken[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return {name: tuple(map(statistics.median, zip(*pairs, strict=True))) for name, pairs in taken.items()}  # pyright: ignore[reportReturnType]


def decode(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


def films(args: argparse.Namespace) -> None:
    job = RecognizeJob(Recognizer.from_pretrained(args.model, device="cpu"), WindowConfig())
    print(f"{args.model}, {args.threads} threads, {args.seconds:g} s of film at {RATE} frames a second")
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            path = film(Path(folder), args.video, width, height, args.seconds)
            (source,) = expand_sources([str(path)])
            works = {
                "decode": lambda path=path: decode(path),
                "recognize": lambda source=source: recognize_file(job, source, keep_windows=False, quiet=True),
            }
            taken = turns(args.rounds, works)
            clock, processor = (taken["recognize"][i] / taken["decode"][i] for i in (0, 1))
            print(
                f"{width}x{height}: recognizing takes {clock:.2f} of decoding by the clock, {processor:.2f} of its "
                f"processor time, and is {args.seconds / taken['recognize'][0]:.1f} times as fast as the film plays"
            )


def stream(args: argparse.Namespace) -> None:
    backbone, _ = load_backbone()
    model = VideoViT(backbone, 10, adapters=AdapterConfig(causal=True), over_time="change").eval()
    for adapters in model.adapters.parameters():
        torch.nn.init.normal_(adapters, std=0.01)
    live, image = CausalStream(model, WINDOW), torch.randn(1, 3, 224, 224)
    bare, _ = load_backbone()
    bare.eval()
    with torch.inference_mode():
        works = {
            "bare": lambda: [bare(image) for _ in range(20)],
            "stream": lambda: [live(image) for _ in range(20)],
        }
        taken = turns(args.rounds, works)
    clock, processor = (taken["stream"][i] / taken["bare"][i] for i in (0, 1))
    print(f"stream: a frame takes {clock:.2f} of the bare image model by the clock, {processor:.2f} of the processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="actions")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    films(args)
    stream(args)


if __name__ == "__main__":
    main()
