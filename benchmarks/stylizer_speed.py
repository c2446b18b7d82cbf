"""Where the time of painting a video goes, stage by stage, and what overlapping reading and writing brings.

    python benchmarks/stylizer_speed.py [--sizes 512x288 1280x720] [--frames 8]

The clip is drawn by code: a moving crop of a texture. Stages are timed one after another; "overlapped" is the real
path, in which a reader and a writer thread work beside the model. Frames/s depend on the machine; shares and ratios
are what to read.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from muybridge.data.textures import draw_texture
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter
from muybridge.models.avatar_net.network import (
    Decoration,
    StyleCode,
    fit_whitening,
    fusion_targets,
    recolour,
    swap,
    transfer_skips,
)
from muybridge.stylize.files import PaintJob, StylesAtSize, paint_file
from muybridge.stylize.pictures import padded
from muybridge.stylize.stylizer import StylizeConfig, Stylizer
from muybridge.stylize.temporal import TemporalCarry, TemporalConfig


def make_clip(path: Path, width: int, height: int, frames: int) -> None:
    texture = draw_texture("strokes", seed=3, size=max(width, height) + 4 * frames)
    with VideoWriter(path, width=width, height=height, rate=Fraction(25)) as writer:
        for i in range(frames):
            writer.write(np.ascontiguousarray(texture[2 * i : 2 * i + height, 3 * i : 3 * i + width]))


@torch.inference_mode()
def stages(stylizer: Stylizer, clip: Path, out: Path, motion: str) -> dict[str, float]:
    """Median seconds a frame of each stage, one after another."""
    config = StylizeConfig()
    network, how = stylizer.network, Decoration(1.0, config.interpolation, config.patch_size, config.detail)
    code: StyleCode | None = None
    carry = TemporalCarry(TemporalConfig(motion=motion))
    times: dict[str, list[float]] = defaultdict(list)
    clock = time.process_time()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.process_time()
        times[name].append(now - clock)
        clock = now

    with (
        VideoReader(clip) as reader,
        VideoWriter(out, width=reader.info.width, height=reader.info.height, rate=Fraction(25)) as writer,
    ):
        frames = iter(reader)
        while True:
            clock = time.process_time()
            frame = next(frames, None)
            if frame is None:
                break
            lap("read")
            picture = padded(stylizer._tensor(frame.image))
            if code is None:
                code = stylizer.encode_style("ember", size=config.side_of_styles(*picture.shape[:1:-1])).code
                lap("style")
            content = network.encode(picture)
            lap("encode")
            carry.begin(picture, content)
            lap("motion")
            whitened = fit_whitening(content.z, "zca", code.floor, code.softness).forward(content.z)
            swapped = carry.carry_features(0, swap(whitened, code, how.patch_size, carry.carry_matches(0)))
            z = recolour(content.z, whitened, swapped.features, code, how)
            lap("decorate")
            styles = [(1.0, code)]
            skips = transfer_skips(content.skips, styles, how, [swapped.matches], network.joints)
            lap("skips")
            painted = network.decode(z, fusion_targets(content.statistics, styles, how), skips)
            lap("decode")
            image = carry.carry_picture(painted)[0].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()
            lap("blend")
            writer.write(np.ascontiguousarray(image))
            lap("write")
    return {name: statistics.median(values) for name, values in times.items()}


def overlapped(stylizer: Stylizer, clip: Path, out: Path, frames: int, motion: str) -> float:
    """Seconds a frame of the real path, from file to file."""
    config = StylizeConfig()
    styles = StylesAtSize(stylizer, ["ember"], config)
    job = PaintJob(stylizer, styles, [1.0], [], config, TemporalConfig(motion=motion))
    start = time.perf_counter()
    paint_file(job, Source(str(clip), "video", Path(clip.name)), out, quiet=True)
    return (time.perf_counter() - start) / frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["512x288", "1280x720"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--motion", default="auto")
    args = parser.parse_args()
    stylizer = Stylizer.from_pretrained(device="cpu")
    for size in args.sizes:
        width, height = (int(side) for side in size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            clip, out = Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
            make_clip(clip, width, height, args.frames)
            parts = stages(stylizer, clip, out, args.motion)
            whole = statistics.median(
                overlapped(stylizer, clip, out, args.frames, args.motion) for _ in range(args.repeats)
            )
        total = sum(parts.values())
        shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
        print(f"{size}: {1 / whole:.2f} frames/s; {shares}; overlapped takes {whole / total:.2f} of the sum")


if __name__ == "__main__":
    main()
