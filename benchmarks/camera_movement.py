"""How well camera movement is told in real videos: `camera_windows.csv`, labelled by eye (see `camera_windows.md`).

    python benchmarks/camera_movement.py --data ../shared/data [--model camera] [--classical] [--picture FILE.svg]

Prints top-1 over the windows whose label is certain and over all of them, a table per class, and the confusion. Of a
recognizer that looks at motion too, also what its network and its motion say each alone.
`--classical` adds the reference: points tracked by OpenCV from frame to frame, a similarity transform fitted to them
(Shi and Tomasi 1994; Lucas and Kanade 1981; RANSAC), summed over the window; the component that moves the picture
most is the answer, and none of them above `STILL` is a static camera. It sees up to `RATE` frames a second, the
recognizer the few that its file asks for. `--model none` leaves the recognizer out.
"""

import argparse
import csv
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from muybridge.data.clips.dataset import load_views
from muybridge.data.clips.motion import motion_of_clip
from muybridge.evaluation.classification import ClassificationReport, classification_report
from muybridge.media.frame_folder import FrameFolder, pictures_in
from muybridge.media.outputs import atomic_output
from muybridge.media.video_reader import VideoReader
from muybridge.recognize.recognizer import Recognizer
from muybridge.stage.camera import CAMERA_MOVES

WINDOWS = Path(__file__).with_name("camera_windows.csv")
SHORT_SIDE = 180
RATE = 15
# Root mean square way of the picture over a window, in its widths, below which the camera counts as static. Half of
# the slowest pan that the stage makes; not fitted to the labels.
STILL = 0.03


@dataclass(frozen=True)
class Window:
    """One labelled stretch of a video."""

    video: str
    start: float
    end: float
    label: str
    certain: bool

    @property
    def name(self) -> str:
        return f"{self.video} {self.start:g}-{self.end:g} s"


def read_windows(path: Path) -> list[Window]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    windows = [
        Window(
            row["video"], float(row["start_seconds"]), float(row["end_seconds"]), row["label"], row["certain"] == "1"
        )
        for row in rows
    ]
    unknown = {w.label for w in windows} - set(CAMERA_MOVES)
    if unknown:
        raise SystemExit(f"{path} has labels that are no move: {', '.join(sorted(unknown))}")
    return windows


# --- the two that answer: each gives probabilities of the moves ---


def recognizer_scores(recognizer: Recognizer, data: Path, windows: Sequence[Window]) -> dict[str, torch.Tensor]:
    """(N, 9) float32, what users get from the same stretch: the file's own sampling, views and motion; and apart from
    each other what network and motion say."""
    columns = [recognizer.labels.names.index(move) for move in CAMERA_MOVES]
    rows = []
    for window in windows:
        clip = load_views(
            data / window.video, recognizer.sampling, recognizer.views, start=window.start, end=window.end
        )
        rows.append(recognizer.probabilities(clip).mean(dim=0))
    network, motion = torch.stack(rows), recognizer.motion
    if motion is None:
        return {"recognizer": network[:, columns]}
    looks = [motion_of_clip(data / w.video, motion.codebook, start=w.start, end=w.end) for w in windows]
    vectors = torch.stack(looks)
    both = motion.joined(network, vectors, multi_label=False)
    alone = motion.joined(torch.full_like(network, 1 / network.shape[1]), vectors, multi_label=False)
    scores = {"recognizer": both, "network alone": network, "motion alone": alone}
    return {name: rows[:, columns] for name, rows in scores.items()}


def classical_scores(data: Path, windows: Sequence[Window]) -> torch.Tensor:
    """(N, 9) float32: the way of each move, in widths of the picture, `STILL` for none, as shares of one."""
    cv2.setNumThreads(1)
    rows = [moves_of(window_frames(data / w.video, w.start, w.end)) for w in windows]
    scores = torch.tensor(rows, dtype=torch.float32)
    return scores / scores.sum(dim=1, keepdim=True)


def window_frames(path: Path, start: float, end: float) -> list[NDArray[np.uint8]]:
    """Grey frames of a window, `SHORT_SIDE` pixels high or wide."""
    source = (
        FrameFolder(pictures_in(path), short_side=SHORT_SIDE)
        if path.is_dir()
        else VideoReader(path, short_side=SHORT_SIDE)
    )
    with source as reader:
        frames = reader.frames_at_seconds([float(t) for t in np.arange(start, end - 1e-6, 1 / RATE)])
    return [np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)) for frame in frames]


def moves_of(frames: Sequence[NDArray[np.uint8]]) -> list[float]:
    """How far each of `CAMERA_MOVES` moves the picture, as a root mean square over it, in its widths."""
    height, width = frames[0].shape
    total = np.zeros(4)
    for before, after in itertools.pairwise(frames):
        step = similarity(before, after)
        if step is not None:
            total += step
    right, down, growth, clockwise = total
    # Mean square distance from the centre of a rectangle, in widths.
    radius = float(np.sqrt((1 + (height / width) ** 2) / 12))
    down *= height / width
    pairs = (right, down, growth * radius, clockwise * radius)  # to the right is pan left, down is tilt up
    ways = [STILL, *(max(0.0, sign * way) for way in pairs for sign in (1, -1))]
    return [float(way) for way in ways]


def similarity(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """How the picture went on: right, down (in widths and heights), log of its growth, radians clockwise."""
    points = cv2.goodFeaturesToTrack(before, 200, 0.003, 8)
    if points is None or len(points) < 8:
        return None
    options = {"winSize": (21, 21), "maxLevel": 5}
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, points, np.zeros_like(points), **options)
    back, _, _ = cv2.calcOpticalFlowPyrLK(after, before, there, np.zeros_like(points), **options)
    kept = (found.ravel() == 1) & (np.abs(back - points).reshape(-1, 2).max(axis=1) < 1)
    if kept.sum() < 8:
        return None
    height, width = before.shape
    centre = np.array([width / 2, height / 2], np.float32)
    start, end = (p.reshape(-1, 2)[kept] - centre for p in (points, there))
    matrix, _ = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=1.5)
    if matrix is None:
        return None
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    turn = np.arctan2(matrix[1, 0], matrix[0, 0])
    return np.array([matrix[0, 2] / width, matrix[1, 2] / height, np.log(scale), turn])


# --- what is printed and drawn ---


def report_of(
    scores: torch.Tensor, windows: Sequence[Window], chosen: Callable[[Window], bool]
) -> ClassificationReport:
    rows = [i for i, window in enumerate(windows) if chosen(window)]
    truth = torch.tensor([CAMERA_MOVES.index(windows[i].label) for i in rows])
    return classification_report(scores[rows], truth, CAMERA_MOVES)


def print_answers(name: str, scores: torch.Tensor, windows: Sequence[Window]) -> ClassificationReport:
    certain = report_of(scores, windows, lambda w: w.certain)
    everything = report_of(scores, windows, lambda w: True)
    print(f"\n## {name}\n")
    print(f"top-1: {certain.accuracy:.1%} of the {sum(w.certain for w in windows)} certain windows, ", end="")
    print(f"{everything.accuracy:.1%} of all {len(windows)}; ", end="")
    print(f"mean over the classes, certain: {certain.numbers['mean_class_accuracy']:.1%}\n")
    print("| move | certain windows | recognized | mostly taken for |\n| --- | ---: | ---: | --- |")
    for row in certain.classes:
        print(f"| {row.name} | {row.clips} | {f'{row.score:.0%}' if row.clips else 'none'} | {row.taken_for} |")
    assert certain.confusion is not None  # one label a window
    print("\nConfusion of the certain windows; a row is the label, a column the answer.\n")
    print("| | " + " | ".join(CAMERA_MOVES) + " |\n| --- |" + " ---: |" * len(CAMERA_MOVES))
    for move, counts in zip(CAMERA_MOVES, certain.confusion.tolist(), strict=True):
        print(f"| {move} | " + " | ".join(str(n) if n else "" for n in counts) + " |")
    return certain


def print_errors(scores: torch.Tensor, windows: Sequence[Window]) -> None:
    print("\nWindows answered otherwise than labelled:\n")
    for window, row in zip(windows, scores, strict=True):
        answer = CAMERA_MOVES[int(row.argmax())]
        if answer != window.label:
            doubt = "" if window.certain else " (label uncertain)"
            print(f"- {window.name}: {window.label}{doubt}, answered {answer} at {float(row.max()):.2f}")


def confusion_svg(reports: dict[str, ClassificationReport]) -> str:
    """Confusion matrices side by side; a cell is darker the larger its share of its row."""
    cell, left, top, gap = 46, 92, 110, 30
    panel = left + cell * len(CAMERA_MOVES) + gap
    height = top + cell * len(CAMERA_MOVES) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {panel * len(reports)} {height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, report) in enumerate(reports.items()):
        x0 = panel * number + left
        title = f"{name}: {report.accuracy:.1%} of certain windows"
        parts.append(f'<text x="{x0}" y="22" font-size="16" font-weight="bold">{escape(title)}</text>')
        assert report.confusion is not None
        for r, (move, counts) in enumerate(zip(CAMERA_MOVES, report.confusion.tolist(), strict=True)):
            y = top + r * cell
            parts.append(f'<text x="{x0 - 8}" y="{y + cell / 2 + 4}" text-anchor="end">{move}</text>')
            tx = x0 + r * cell + cell / 2 + 4
            parts.append(f'<text transform="translate({tx},{top - 8}) rotate(-60)">{move}</text>')
            for c, count in enumerate(counts):
                share = count / max(1, sum(counts))
                grey = round(245 - 200 * share)
                parts.append(
                    f'<rect x="{x0 + c * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" '
                    f'fill="rgb({grey},{grey + (255 - grey) // 3},255)"/>'
                )
                if count:
                    ink = "white" if share > 0.6 else "black"
                    parts.append(
                        f'<text x="{x0 + c * cell + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle" '
                        f'fill="{ink}">{count}</text>'
                    )
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--windows", type=Path, default=WINDOWS)
    parser.add_argument("--model", default="camera", help="a recognizer of camera movement; none to leave it out")
    parser.add_argument("--classical", action="store_true", help="add the classical estimate")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the confusion")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args()
    if args.model == "none" and not args.classical:
        parser.error("--model none leaves nothing to measure without --classical")
    windows = read_windows(args.windows)
    missing = sorted({w.video for w in windows if not (args.data / w.video).exists()})
    if missing:
        raise SystemExit(f"{args.data} lacks {', '.join(missing)}")
    scores: dict[str, torch.Tensor] = {}
    if args.model != "none":
        scores |= recognizer_scores(Recognizer.from_pretrained(args.model), args.data, windows)
    if args.classical:
        scores["similarity transform"] = classical_scores(args.data, windows)
    reports = {name: print_answers(name, rows, windows) for name, rows in scores.items()}
    for name, rows in scores.items():
        print(f"\n### {name}", end="")
        print_errors(rows, windows)
    if args.picture:
        with atomic_output(args.picture) as partial:
            partial.write_text(confusion_svg(reports), encoding="utf-8")
    if args.json:
        figures = {name: dict(report.numbers) for name, report in reports.items()}
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
