"""Times the ways to take 16 frames, evenly spread, out of a 10 s clip of 1280x720.

    python benchmarks/read_video.py [--repeats 5] [--frames 16]

Prints milliseconds (medians; elapsed, and of processor time, which other work on the machine disturbs less) for a key
frame every 250 and every 30 frames, and by processor time how many times as fast as decoding and converting
everything. All ways must find the same frames.

    read on   one pass from the start to the last wanted frame; only wanted frames are converted
    seek each to the key frame before every wanted frame
    reader    VideoReader: reads on, unless the index tells of a key frame before the next wanted one
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from muybridge.media.video_reader import VideoReader

RATE = 25
Images = list[NDArray[np.uint8]]


def make_clip(path: Path, gop: int) -> None:
    """Ten seconds of a texture that drifts, with some noise: about as hard to decode as a filmed scene."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (60, 120, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=RATE, options={"preset": "veryfast", "x264-params": "scenecut=0"}
        )
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.codec_context.gop_size = gop
        for index in range(10 * RATE):
            view = texture[index // 2 : index // 2 + 720, 2 * index : 2 * index + 1280]
            noise = rng.integers(0, 12, (720, 1280, 1), dtype=np.uint8)
            image = np.clip(view.astype(np.int16) + noise, 0, 255).astype(np.uint8)
            container.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def everything(path: Path, wanted: Sequence[Fraction]) -> Images:
    with VideoReader(path) as reader:
        frames = {frame.pts_seconds: frame.image for frame in reader}
    return [frames[seconds] for seconds in wanted]


def read_on(path: Path, wanted: Sequence[Fraction]) -> Images:
    images: Images = []
    with VideoReader(path) as reader:
        for seconds, frame in reader._timed():
            if seconds in wanted:
                images.append(reader._to_rgb(frame))
            if len(images) == len(wanted):
                break
    return images


def seek_each(path: Path, wanted: Sequence[Fraction]) -> Images:
    with VideoReader(path) as reader:
        return [reader.frames_at_seconds([seconds])[0].image for seconds in wanted]


def reader(path: Path, wanted: Sequence[Fraction]) -> Images:
    with VideoReader(path) as source:
        return [frame.image for frame in source.frames_at_seconds(wanted)]


WAYS: dict[str, Callable[[Path, Sequence[Fraction]], Images]] = {
    "everything": everything,
    "read on": read_on,
    "seek each": seek_each,
    "reader": reader,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()
    wanted = [Fraction((2 * n + 1) * 10 * RATE // (2 * options.frames), RATE) for n in range(options.frames)]
    with tempfile.TemporaryDirectory() as folder:
        for gop in (250, 30):
            path = Path(folder) / f"gop_{gop}.mp4"
            make_clip(path, gop)
            truth = everything(path, wanted)
            seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
            for _ in range(options.repeats):
                for name, way in WAYS.items():
                    start, start_cpu = time.perf_counter(), time.process_time()
                    images = way(path, wanted)
                    seconds[name].append((time.perf_counter() - start, time.process_time() - start_cpu))
                    assert all(np.array_equal(a, b) for a, b in zip(images, truth, strict=True)), name
            elapsed = {name: statistics.median(pair[0] for pair in pairs) for name, pairs in seconds.items()}
            cpu = {name: statistics.median(pair[1] for pair in pairs) for name, pairs in seconds.items()}
            print(f"a key frame every {gop} frames")
            for name in WAYS:
                ratio = cpu["everything"] / cpu[name]
                print(f"  {name:10} {elapsed[name] * 1000:8.0f} ms   {cpu[name] * 1000:8.0f} ms cpu   {ratio:5.2f}x")


if __name__ == "__main__":
    main()
