"""Flicker of painted video: frame by frame, carried along feature motion, and along optical flow.

    python benchmarks/temporal.py --data ../shared/data [--video OUT.mp4]

Warping error as Lai et al. 2018 measure it: the painted frame t-1 is warped to t with the flow of the *input* video
(OpenCV's DIS, both directions), and the squared difference to the painted frame t, in [0, 1], is averaged where the
flow is consistent both ways. The same from t-10 to t, or as far back as a shorter sequence goes, tells what
stays. Errors are given as shares of the frame-by-frame ones, beside the style distance of `stylizer_quality.py` as a
share of the frame-by-frame distance: painting everything grey would have no flicker.
"""

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))
from distilled_vgg import DistilledVGG

from muybridge.media.images import read_image, resize_image
from muybridge.media.optical_flow import DISOpticalFlow
from muybridge.media.video_reader import Frame
from muybridge.media.video_writer import VideoWriter
from muybridge.models.avatar_net.motion import visibility, warp
from muybridge.progress import progress_line
from muybridge.stylize.objective import style_distance
from muybridge.stylize.stylizer import Stylizer
from muybridge.stylize.temporal import TemporalConfig

LONG_GAP = 10
STYLES = ("starry_night.jpg", "la_muse.jpg", "candy.jpg", "mosaic.jpg")


def load_frames(folder: Path, short_side: int, limit: int) -> list[Frame]:
    frames = []
    for i, path in enumerate(sorted(folder.glob("*.png"))[:limit]):
        rgb = read_image(path).rgb
        scale = short_side / min(rgb.shape[:2])
        rgb = resize_image(rgb, round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
        frames.append(Frame(rgb, Fraction(i, 12), i))
    return frames


def flows(frames: list[Frame], gap: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each frame but the first `gap`: the flow to the one `gap` before, and where it is consistent."""
    dis = DISOpticalFlow()
    result = []
    for before, after in zip(frames, frames[gap:], strict=False):
        backward = torch.from_numpy(dis(after.image, before.image))
        forward = torch.from_numpy(dis(before.image, after.image))
        result.append((backward, visibility(backward, forward)))
    return result


def warping_error(painted: list[np.ndarray], along: list[tuple[torch.Tensor, torch.Tensor]], gap: int) -> float:
    tensors = [torch.from_numpy(p).permute(2, 0, 1).float() / 255 for p in painted]
    errors = [
        float(((now - warp(before, flow)).square().mean(0) * mask).sum() / mask.sum())
        for before, now, (flow, mask) in zip(tensors, tensors[gap:], along, strict=False)
    ]
    return float(np.mean(errors))


def style_error(teacher: DistilledVGG, painted: list[np.ndarray], style: np.ndarray) -> float:
    def levels(rgb: np.ndarray) -> list[torch.Tensor]:
        return teacher(torch.from_numpy(rgb).permute(2, 0, 1)[None].float())

    of_style = levels(style)
    return float(
        np.mean([sum(float(style_distance(a, b)) for a, b in zip(levels(p), of_style, strict=True)) for p in painted])
    )


def side_by_side(columns: list[list[np.ndarray]], out: Path) -> None:
    height, width = columns[0][0].shape[:2]
    with VideoWriter(out, width=(width * len(columns)) // 2 * 2, height=height // 2 * 2, rate=Fraction(12)) as writer:
        for row in zip(*columns, strict=True):
            joined = np.concatenate(row, axis=1)
            writer.write(np.ascontiguousarray(joined[: height // 2 * 2, : joined.shape[1] // 2 * 2]))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--short-side", type=int, default=256)
    parser.add_argument("--frames", type=int, default=14)
    parser.add_argument("--sequences", nargs="+", default=["sintel", "tennis"])
    parser.add_argument("--styles", nargs="+", default=list(STYLES))
    parser.add_argument("--match-bonus", type=float, default=TemporalConfig.match_bonus)
    parser.add_argument("--feature-share", type=float, default=TemporalConfig.feature_share)
    parser.add_argument("--picture-share", type=float, default=TemporalConfig.picture_share)
    parser.add_argument("--video", type=Path, help="also write the three side by side, in the first style")
    args = parser.parse_args()
    stylizer = Stylizer.from_pretrained(args.model)
    teacher = DistilledVGG(args.data / "weights" / "vgg19_distilled").eval()
    shares = {
        "match_bonus": args.match_bonus,
        "feature_share": args.feature_share,
        "picture_share": args.picture_share,
    }
    ways = {"alone": None} | {motion: TemporalConfig(motion=motion, **shares) for motion in ("features", "dis")}
    for sequence in args.sequences:
        frames = load_frames(args.data / "sequences" / sequence, args.short_side, args.frames)
        long = min(LONG_GAP, len(frames) - 1)
        along = {gap: flows(frames, gap) for gap in (1, long)}
        found = {way: [] for way in ways}
        total = len(args.styles) * len(ways) * len(frames)
        with progress_line(sequence, total=total, unit="frames") as line:
            for number, name in enumerate(args.styles):
                picture = read_image(args.data / "styles" / name).rgb
                style = stylizer.encode_style(picture, size=args.short_side)
                columns = []
                for way, temporal in ways.items():
                    painted = []
                    for frame in stylizer.stream(frames, style, temporal=temporal):
                        painted.append(frame.image)
                        line.advance()
                    columns.append(painted)
                    errors = [warping_error(painted, along[gap], gap) for gap in (1, long)]
                    found[way].append((*errors, style_error(teacher, painted, picture)))
                if args.video and number == 0:
                    side_by_side(columns, args.video.with_stem(f"{args.video.stem}-{sequence}"))
        alone = np.array(found["alone"])
        for way in ways:
            relative = np.median(np.array(found[way]) / alone, axis=0)
            print(
                json.dumps(
                    {
                        "sequence": sequence,
                        "way": way,
                        "warping_error": round(float(np.mean(np.array(found[way])[:, 0])), 6),
                        "of_frame_by_frame": round(float(relative[0]), 3),
                        f"over_{long}_of_frame_by_frame": round(float(relative[1]), 3),
                        "style_distance_of_frame_by_frame": round(float(relative[2]), 3),
                    }
                )
            )


if __name__ == "__main__":
    main()
