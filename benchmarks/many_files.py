"""Runs over many files: killed and gone on with, on both engines, against the plain loop, and how they grow.

    python benchmarks/many_files.py survive [--engine local ray]   a worker, and the run itself, are killed midway
    python benchmarks/many_files.py compare [--engine local ray]   engines against one file after another
    python benchmarks/many_files.py grow [--counts 50 500 5000]    files of a few bytes

Files are short pieces of ../shared/data/clips, one in twenty of them broken. What is done with them is --verb:
recognize by the built-in model of the camera, or, without a model, brightness, which reads each film and tells how
bright it is. There are --count files. Everything lies in --folder.
"""

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pyarrow.parquet as pq

from muybridge.engine.options import ManyFiles
from muybridge.engine.rows import Label
from muybridge.engine.run import run_many
from muybridge.engine.tasks import Outcome, RecognizeTask, Task
from muybridge.errors import InputError
from muybridge.media.sources import Source, expand_sources
from muybridge.media.video_reader import VideoReader
from muybridge.media.video_writer import VideoWriter

CLIPS = Path("../shared/data/clips")
BROKEN = 20  # one in so many
WIDTH, HEIGHT, FRAMES = 64, 48, 8


@dataclass(frozen=True)
class Brightness:
    """No model: the label of a film is how bright it is; that of another file its first letter.

    Attributes:
        films: whether files are films.
    """

    films: bool = True
    verb = "brightness"

    def find(self, names: Iterable[str]) -> list[Source]:
        return expand_sources(names)

    def load(self) -> "Brightness":
        return self

    def __call__(self, source: Source, target: Path) -> Outcome:
        if not self.films:
            return Outcome([Label(0.0, 1.0, source.path.read_bytes()[:1].decode(), 1.0)])
        with VideoReader(source.path) as reader:
            bright = [float(frame.image.mean()) for frame in reader]
            return Outcome([Label(0.0, 1.0, "bright", round(sum(bright) / len(bright), 3))], notes=list(reader.notes))


TASKS: dict[str, Task] = {"recognize": RecognizeTask(top=1), "brightness": Brightness()}


def write_clips(folder: Path, count: int, different: int = 25) -> Path:
    """Small pieces of real clips under many names; broken ones are empty, cut, or text."""
    clips = folder / f"clips{count}"
    if clips.exists():
        return clips
    sources = sorted(CLIPS.rglob("*.mp4")) + sorted(CLIPS.rglob("*.avi"))
    clips.mkdir(parents=True)
    pieces = list[bytes]()
    for source in random.Random(0).sample(sources, different):
        with VideoReader(source, size=(WIDTH, HEIGHT)) as reader:
            writer = VideoWriter(clips / "piece.mp4", width=WIDTH, height=HEIGHT, rate=Fraction(10))
            with writer:
                for frame, _ in zip(reader, range(FRAMES), strict=False):
                    writer.write(frame.image)
        pieces.append((clips / "piece.mp4").read_bytes())
    (clips / "piece.mp4").unlink()
    for number in range(count):
        piece = pieces[number % different]
        broken = (b"", piece[: len(piece) // 3], b"no film\n")[number // BROKEN % 3]
        (clips / f"{number}.mp4").write_bytes(broken if number % BROKEN == 7 else piece)
    return clips


def rows_of(results: Path) -> list[dict]:
    return pq.read_table(results / "results.parquet").drop(["seconds"]).to_pylist()


def start(verb: str, clips: Path, results: Path, engine: str) -> subprocess.Popen:
    """The run, in a process of its own."""
    many = ["--folder", str(results), "--clips", str(clips), "--engine", engine, "--verb", verb]
    return subprocess.Popen([sys.executable, __file__, "run", *many], stderr=subprocess.DEVNULL)


def children_of(process: int) -> list[int]:
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def workers_of(process: int) -> list[int]:
    """Processes below this one that hold a model: spawned by Python, or actors of Ray."""
    found = []
    for child in children_of(process):
        line = Path(f"/proc/{child}/cmdline").read_bytes()
        if line.startswith(b"ray::MapWorker") or (b"spawn_main" in line and b"resource_tracker" not in line):
            found.append(child)
        found += workers_of(child)
    return found


def recorded(results: Path) -> list[str]:
    path = results / "rows.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line["input"] for line in lines if "input" in line]


def say(text: str) -> None:
    print(text, flush=True)


def survive(folder: Path, count: int, engine: str, verb: str) -> list[dict]:
    """Returns the rows."""
    clips, results = write_clips(folder, count), folder / f"survive-{engine}-{verb}-{time.time_ns()}"
    begin = time.monotonic()
    run = start(verb, clips, results, engine)
    while len(recorded(results)) < count // 4:
        time.sleep(0.02)
    workers = workers_of(run.pid)
    os.kill(workers[0], signal.SIGKILL)
    say(
        f"{engine}: after {len(recorded(results))} rows one of {len(workers)} workers was killed "
        f"({time.monotonic() - begin:.0f} s)"
    )
    while len(recorded(results)) < count // 2:
        time.sleep(0.02)
    run.kill()
    run.wait()
    before = recorded(results)
    say(f"{engine}: after {len(before)} rows the run was killed ({time.monotonic() - begin:.0f} s)")
    code = start(verb, clips, results, engine).wait()
    after, rows = recorded(results), rows_of(results)
    twice = [name for name, times in Counter(after).items() if times > 1]
    status = Counter(row["status"] for row in rows)
    lost = {str(path.absolute()) for path in clips.iterdir()} - {row["input"] for row in rows}
    say(
        f"{engine}: gone on with: exit code {code}, {time.monotonic() - begin:.0f} s in all, {status['done']} done, "
        f"{status['failed']} failed, {len(lost)} lost, {len(twice)} done twice"
    )
    assert not lost and len(rows) == count and status["failed"] == len(range(7, count, BROKEN)), "a file is lost"
    assert not twice and after[: len(before)] == before, "a file was done twice"
    return rows


def survive_on(folder: Path, count: int, engines: list[str], verb: str) -> None:
    first, *others = [survive(folder, count, engine, verb) for engine in engines]
    assert all(other == first for other in others), "engines tell other rows"
    if others:
        say(f"the rows of {' and '.join(engines)} are equal, but for the seconds")


def processor_seconds() -> float:
    """Of this process and of those that it started and that ended: other load on the machine does not count."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def compare(folder: Path, count: int, engines: list[str], verb: str) -> None:
    clips, task = write_clips(folder, count), TASKS[verb]
    work, plain = task.load(), list[list[tuple]]()
    begin = processor_seconds()
    for source in expand_sources([str(clips)]):
        try:
            labels = work(source, Path()).labels
            plain.append([(label.start, label.end, label.label, label.score) for label in labels])
        except InputError:
            plain.append([])
    say(f"plain loop: {(processor_seconds() - begin) / count * 1000:.2f} ms of processor a file, without loading")
    for engine in engines:
        results, few = (folder / f"compare-{engine}-{time.time_ns()}" for _ in range(2))
        begin = processor_seconds()
        run_many(task, [str(clips / "0.mp4")], ManyFiles(results=few, engine=engine))
        middle = processor_seconds()
        run_many(task, [str(clips)], ManyFiles(results=results, engine=engine))
        start_up, whole = middle - begin, processor_seconds() - middle
        say(
            f"{engine}, one worker: {(whole - start_up) / (count - 1) * 1000:.2f} ms of processor a file, "
            f"after {start_up:.1f} s for a run of one"
        )
        keys = ("start", "end", "label", "score")
        table = pq.read_table(results / "results.parquet").to_pylist()
        same = [[tuple(label[key] for key in keys) for label in row["labels"]] for row in table]
        assert same == plain, f"{engine} tells other labels than the plain loop"


def grow(folder: Path, counts: list[int]) -> None:
    say("files | processor, all processes | each more file | run: peak MB | a worker: peak MB")
    before: tuple[int, float] | None = None
    for count in counts:
        files = folder / f"tiny{count}"
        if not files.exists():
            files.mkdir(parents=True)
            for number in range(count):
                (files / f"{number}.mp4").write_bytes(b"x")
        answer = subprocess.run(
            [sys.executable, __file__, "one", "--folder", str(folder), "--count", str(count)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        told = json.loads(answer.stdout.splitlines()[-1])
        each = "" if before is None else f"{(told['seconds'] - before[1]) / (count - before[0]) * 1000:.2f} ms"
        say(f"{count} | {told['seconds']:.2f} s | {each} | {told['run']:.0f} | {told['workers']:.0f}")
        before = count, told["seconds"]


def one(folder: Path, count: int) -> None:
    results = folder / f"grow-{count}-{time.time_ns()}"
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    run_many(Brightness(films=False), [str(folder / f"tiny{count}")], ManyFiles(results=results, workers=2))
    assert len(rows_of(results)) == count
    own, theirs = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps({"seconds": processor_seconds(), "run": own, "workers": theirs}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("survive", "compare", "grow", "one", "run"))
    parser.add_argument("--folder", type=Path, default=Path("runs/many-files"))
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--engine", nargs="+", default=["local"])
    parser.add_argument("--verb", choices=tuple(TASKS), default="recognize")
    options = parser.parse_args()
    if options.what == "survive":
        survive_on(options.folder, options.count, options.engine, options.verb)
    elif options.what == "compare":
        compare(options.folder, options.count, options.engine, options.verb)
    elif options.what == "grow":
        grow(options.folder, options.counts)
    elif options.what == "one":
        one(options.folder, options.count)
    else:  # the run that `survive` kills
        many = ManyFiles(results=options.folder, workers=2, engine=options.engine[0])
        sys.exit(run_many(TASKS[options.verb], [str(options.clips)], many))
