"""A film of hours, recognized, localized and stylized: does memory stay where it is, and time go with length?

    python benchmarks/hours_of_film.py recognize|localize|stylize [--hours 2] [--rate 1] [--width 96] [--height 64]

The film is a real clip, scaled down, with a tone, whose packets are repeated; nothing is encoded twice. Everything
lies in --folder. stylize is stopped at half of it, and gone on with by --resume.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import av
import numpy as np

from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter

CLIP = Path("../shared/data/people/one-by-one-person-detection.mp4")
PIECE_SECONDS = 60
PARTS = 4


def write_film(folder: Path, clip: Path, hours: float, rate: Fraction, size: tuple[int, int]) -> Path:
    film = folder / f"film-{hours:g}h-{float(rate):g}fps-{size[0]}x{size[1]}.mp4"
    if film.exists():
        return film
    folder.mkdir(parents=True, exist_ok=True)
    piece = folder / "piece.mp4"
    write_tone(folder / "tone.mka")
    with (
        VideoReader(clip, size=size) as reader,
        VideoWriter(piece, width=size[0], height=size[1], rate=rate, tracks_from=folder / "tone.mka") as writer,
    ):
        length = reader.info.duration_seconds
        moments = [number / rate % length for number in range(int(PIECE_SECONDS * rate))]
        for frame in reader.frames_at_seconds(moments):
            writer.write(frame.image)
    repeat(piece, film, round(hours * 3600 / PIECE_SECONDS))
    return film


def write_tone(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        tone = (np.sin(np.arange(16000 * PIECE_SECONDS) / 9) * 8000).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        sound.rate = 16000
        for frame in av.AudioResampler(format="fltp", layout="mono", rate=16000, frame_size=1024).resample(sound):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def repeat(piece: Path, film: Path, times: int) -> None:
    """The packets of a film, one time after another."""
    with av.open(str(film), "w") as output:
        with av.open(str(piece)) as first:
            streams = [output.add_stream_from_template(stream) for stream in first.streams]
        for number in range(times):
            with av.open(str(piece)) as source:
                for packet in source.demux():
                    if not packet.size:
                        continue
                    shift = round(Fraction(number * PIECE_SECONDS) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[packet.stream_index]
                    output.mux_one(packet)


@dataclass(frozen=True)
class Moment:
    """A process when it told how far it is.

    Attributes:
        frames: of the film, that are done.
        processor: seconds, of all its threads.
        megabytes: that it holds.
    """

    frames: int
    processor: float
    megabytes: float


def run(command: list[str], *, stop_at: Path | None = None) -> list[Moment]:
    """The moments at which the command told of its progress; it is killed when `stop_at` is there."""
    moments, start = list[Moment](), time.monotonic()
    command = [sys.executable, "-m", "muybridge.apps.cli", *command]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if told := re.search(r": (\d+)/\d+ frames", line):
                moments.append(Moment(int(told[1]), *used_by(process.pid)))
            else:
                print(line, end="")
            if stop_at is not None and stop_at.exists():
                process.kill()
                break
        else:
            assert process.wait() == 0, f"exit code {process.returncode}"
    how = "ended" if process.returncode == 0 else "killed"
    print(f"{command[3]}: {how} after {time.monotonic() - start:.0f} s, at frame {moments[-1].frames}", flush=True)
    return moments


def used_by(process: int) -> tuple[float, float]:
    """Seconds of processor, and megabytes."""
    folder = Path(f"/proc/{process}")
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), int(line.split()[1]) / 1024


def tell(runs: list[list[Moment]], frames: int, hours: float, points: int = 12) -> None:
    """Memory along the film, and what a minute of each quarter of it takes; loading is left out."""
    moments = [moment for moments in runs for moment in moments]
    steps = max(1, len(moments) // points)
    curve = (f"{moment.frames / frames * hours:.2f} h {moment.megabytes:.0f} MB" for moment in moments[::steps])
    print("memory: " + ", ".join(curve))
    parts = [(0.0, 0)] * PARTS
    for moments in runs:
        for before, after in pairwise(moments):
            part = min(PARTS - 1, (before.frames + after.frames) * PARTS // (2 * frames))
            seconds, done = parts[part]
            parts[part] = seconds + after.processor - before.processor, done + after.frames - before.frames
    each = [seconds / done * frames / (hours * 60) for seconds, done in parts if done]
    shown = ", ".join(f"{seconds:.2f}" for seconds in each)
    print(f"processor seconds a minute of film, along it: {shown}; most over least {max(each) / min(each):.2f}")


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0] if kind == "video" else container.streams.audio[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("recognize", "localize", "stylize"))
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--folder", type=Path, default=Path("runs/hours-of-film"))
    parser.add_argument("--hours", type=float, default=2)
    parser.add_argument("--rate", type=Fraction, default=Fraction(1), help="frames a second, such as 1 or 1/4")
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--height", type=int, default=64)
    options = parser.parse_args()
    film = write_film(options.folder, options.clip, options.hours, options.rate, (options.width, options.height))
    frames = round(options.hours * 3600 * options.rate)
    if options.verb == "recognize":
        windows = ["--window", "10s", "--step", "10s"]
        runs = [run(["recognize", str(film), *windows, "-o", str(options.folder / "spans.csv"), "--format", "csv"])]
    elif options.verb == "localize":
        looks = ["--every", "20s", "--look-every", "10s"]
        runs = [run(["localize", str(film), *looks, "-o", str(options.folder / "localized.mp4")])]
    else:
        runs = stylize(film, options.folder / "painted.mp4", options.hours)
    tell(runs, frames, options.hours)


def stylize(film: Path, target: Path, hours: float) -> list[list[Moment]]:
    """Killed in the middle, and gone on with."""
    command = ["stylize", str(film), "--style", "ember", "--style-size", "64", "-o", str(target), "--resume"]
    parts = target.with_name(f"{target.name}.parts")
    first = run(command, stop_at=parts / f"{round(hours * 30):05}.json")
    whole = [path.with_suffix(".mp4") for path in sorted(parts.glob("[0-9]*.json"))]
    encoded = list(chain.from_iterable(packets(path, "video") for path in whole))
    second = run(command)
    print(f"{len(whole)} segments were there, {len(encoded)} frames")
    assert second[0].frames >= len(encoded), "it began anew"
    assert packets(target, "video")[: len(encoded)] == encoded, "the segments were encoded again"
    assert packets(target, "sound") == packets(film, "sound"), "the sound is not that of the film"
    with VideoReader(target) as painted, VideoReader(film) as original:
        assert painted.timestamps() == original.timestamps(), "times differ"
        print(f"joined: {float(painted.info.duration_seconds):.0f} s; times and sound are the film's")
    return [first, second]


if __name__ == "__main__":
    main()
