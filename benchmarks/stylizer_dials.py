"""What the dials of a stylizer trade: structure and style against strength and detail, as a table and a picture.

    python benchmarks/stylizer_dials.py --data ../shared/data --peers runs/peers [--model builtin] [--every 4]
        [--picture docs/pictures/stylize_dials.svg]

Judged as in `stylizer_judge.py`, which says what the peers are: medians over every Nth of its pairs; lower is better.
Each dial is turned alone, the other at its default.
"""

import argparse
import statistics
from pathlib import Path

import torch
from stylizer_judge import SIZE, Judge, judged_pairs
from stylizer_quality import load

from muybridge.media.images import read_image
from muybridge.progress import progress_line
from muybridge.stylize.options import StylizeConfig
from muybridge.stylize.stylizer import Stylizer

DIALS = {
    "strength": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "detail": (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.76, 0.8, 0.9, 1.0),
}
COLOURS = {"structure": "#1f6f8b", "style": "#c8553d"}
Curve = list[tuple[float, dict[str, float]]]


def turn(model: str, pairs: list[tuple[Path, Path]], judge: Judge) -> tuple[dict[str, Curve], dict[str, float]]:
    """Medians at each position of each dial, and of MicroAST's pictures of these pairs where there are any."""
    stylizer = Stylizer.from_pretrained(model, device="cpu")
    scores = {(dial, value): [] for dial, values in DIALS.items() for value in values}
    peer = []
    with progress_line("dials", total=len(pairs) * len(scores), unit="pictures") as line:
        for photo_path, style_path in pairs:
            photo, painting = load(photo_path, SIZE), load(style_path, SIZE)
            style, of_style, of_photo = (
                stylizer.encode_style(painting, size=SIZE),
                judge.see(painting),
                judge.see(photo),
            )
            for (dial, value), found in scores.items():
                found.append(judge.compare(of_photo, of_style, judge.see(stylizer(photo, style, **{dial: value}))))
                line.advance()
            shared = photo_path.parents[2] / "peers" / "microast" / f"{photo_path.stem}__{style_path.stem}.jpg"
            if shared.is_file():
                painted = read_image(shared).rgb
                cut = judge.see(photo[: painted.shape[0], : painted.shape[1]])
                peer.append(judge.compare(cut, of_style, judge.see(painted)))
    curves: dict[str, Curve] = {dial: [] for dial in DIALS}
    for (dial, value), found in scores.items():
        curves[dial].append((value, medians(found)))
    return curves, medians(peer) if peer else {}


def medians(scores: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(score[key] for score in scores) for key in COLOURS}


def draw(curves: dict[str, Curve], peer: dict[str, float], out: Path) -> None:
    """A panel a dial, both measures over it; broken lines are MicroAST's."""
    width, height, left, top = 320, 220, 44, 28
    tops = {"structure": 0.2, "style": 1.0}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {(width + left) * len(curves) + 60} '
        f'{height + 2 * top + 24}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (dial, curve) in enumerate(curves.items()):
        x0 = left + number * (width + left)
        parts.append(f'<rect x="{x0}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>')
        for tick in (0, 0.25, 0.5, 0.75, 1):
            x = x0 + tick * width
            parts.append(f'<text x="{x:.0f}" y="{top + height + 14}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{x0 + width / 2:.0f}" y="{top + height + 30}" text-anchor="middle">{dial}</text>')
        for line, (measure, colour) in enumerate(COLOURS.items()):

            def y(value: float, most: float = tops[measure]) -> float:
                return top + height * (1 - min(value / most, 1))

            points = " ".join(f"{x0 + at * width:.1f},{y(found[measure]):.1f}" for at, found in curve)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            if peer:
                level = y(peer[measure])
                parts.append(
                    f'<line x1="{x0}" x2="{x0 + width}" y1="{level:.1f}" y2="{level:.1f}" stroke="{colour}" '
                    'stroke-dasharray="4 3"/>'
                )
            if number == 0:
                label = f"{measure}, 0 to {tops[measure]:g}"
                parts.append(f'<text x="{x0 + line * 130}" y="{top - 10}" fill="{colour}">{label}</text>')
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peers", type=Path, default=Path("runs/peers"))
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--every", type=int, default=4, help="judge every Nth pair only")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pairs = judged_pairs(args.data, args.every)
    curves, peer = turn(args.model, pairs, Judge.of(args.peers, args.data))
    defaults = StylizeConfig()
    print(f"{len(pairs)} pairs; the other dial at strength {defaults.strength:g}, detail {defaults.detail:g}")
    for dial, curve in curves.items():
        print(dial.ljust(10), *(f"{value:7g}" for value, _ in curve))
        for measure in COLOURS:
            print(f"  {measure}".ljust(10), *(f"{found[measure]:7.3f}" for _, found in curve))
    if peer:
        print("MicroAST".ljust(10), *(f"{measure} {value:.3f}" for measure, value in peer.items()))
    if args.picture:
        draw(curves, peer, args.picture)


if __name__ == "__main__":
    main()
