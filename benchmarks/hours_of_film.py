"""A film of hours, recognized, localized and stylized: does memory stay where it is, and time go with length?

    python benchmarks/hours_of_film.py recognize|localize|stylize [--hours 2] [--rate 1] [--width 96] [--height 64]

The film is a real clip, scaled down, with a tone, whose packets are repeated; nothing is encoded twice. Everything
lies in --folder. stylize is stopped at half of it, and gone on with by --resume.
"""

import argparse
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter

CLIP = Path("../shared/data/people/one-by-one-person-detection.mp4")
PIECE_SECONDS = 60


def write_film(folder: Path, clip: Path, hours: float, rate: int, size: tuple[int, int]) -> Path:
    film = folder / f"film-{hours:g}h-{rate}fps-{size[0]}x{size[1]}.mp4"
    if film.exists():
        return film
    folder.mkdir(parents=True, exist_ok=True)
    piece = folder / "piece.mp4"
    write_tone(folder / "tone.mka")
    with (
        VideoReader(clip, size=size) as reader,
        VideoWriter(
            piece, width=size[0], height=size[1], rate=Fraction(rate), tracks_from=folder / "tone.mka"
        ) as writer,
    ):
        length = reader.info.duration_seconds
        moments = [Fraction(number, rate) % length for number in range(PIECE_SECONDS * rate)]
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


class Memory:
    """Notes the memory of a process, until it ends."""

    def __init__(self, process: subprocess.Popen, every: float) -> None:
        self.curve: list[tuple[float, float]] = []
        self._process, self._every, self._start = process, every, time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        path = Path(f"/proc/{self._process.pid}/status")
        while self._process.poll() is None:
            try:
                line = next(line for line in path.read_text().splitlines() if line.startswith("VmRSS"))
                self.curve.append((time.monotonic() - self._start, int(line.split()[1]) / 1024))
            except (OSError, StopIteration):
                return
            time.sleep(self._every)

    def shown(self, points: int = 12) -> str:
        steps = max(1, len(self.curve) // points)
        return "  ".join(f"{seconds:.0f} s {megabytes:.0f} MB" for seconds, megabytes in self.curve[::steps])


def run(command: list[str], *, stop_at: Path | None = None) -> int:
    """Returns the exit code; -1 where it was stopped."""
    process = subprocess.Popen([sys.executable, "-m", "muybridge.apps.cli", *command], stdout=subprocess.DEVNULL)
    memory, start = Memory(process, 1.0), time.monotonic()
    while process.poll() is None:
        if stop_at is not None and stop_at.exists():
            process.send_signal(signal.SIGKILL)
        time.sleep(0.5)
    print(f"{' '.join(command[:1])}: {time.monotonic() - start:.0f} s, exit code {process.returncode}")
    print(f"memory: {memory.shown()}", flush=True)
    return process.returncode


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
    parser.add_argument("--rate", type=int, default=1)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--height", type=int, default=64)
    options = parser.parse_args()
    film = write_film(options.folder, options.clip, options.hours, options.rate, (options.width, options.height))
    if options.verb == "recognize":
        run(["recognize", str(film), "--window", "60s", "--step", "60s", "-o", str(options.folder / "spans.csv"),
             "--format", "csv"])  # fmt: skip
    elif options.verb == "localize":
        looks = ["--every", "60s", "--look-every", "20s"]
        run(["localize", str(film), *looks, "-o", str(options.folder / "localized.mp4")])
    else:
        target = options.folder / "painted.mp4"
        command = ["stylize", str(film), "--style", "ember", "--style-size", "64", "-o", str(target), "--resume"]
        half = round(options.hours * 30)
        run(command, stop_at=target.with_name(f"{target.name}.parts") / f"{half:05}.json")
        run(command)
        assert packets(target, "sound") == packets(film, "sound"), "the sound is not that of the film"
        with VideoReader(target) as painted, VideoReader(film) as original:
            assert painted.timestamps() == original.timestamps(), "times differ"
        print("times and sound are the film's")


if __name__ == "__main__":
    main()
