"""What happens to a run and not to a file: it is killed and resumed, its disk is full, threads share a model.

A scenario is a target like others: its file holds dice, which the mutator throws, and its reader plays them. What
goes wrong is an exception, and so a fault.
"""

import contextlib
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muybridge.apps.cli import main
from muybridge.training.checkpoint import CHECKPOINT
from torture import seeds

_COLORS = ((230, 20, 20), (20, 20, 230))


def dice(data: bytes, chance: random.Random) -> bytes:
    """Thrown anew."""
    del data
    return str(chance.randrange(1 << 32)).encode()


def _thrown(path: Path) -> random.Random:
    return random.Random(path.read_text())


# ---- killed and resumed ----


def clips(folder: Path) -> Path:
    """Dice beside two classes of short clips, told by their colour, and what an unharmed training makes of them."""
    from fractions import Fraction

    from muybridge.media.video_writer import VideoWriter

    chance = np.random.default_rng(0)
    for name, color in zip(("blue", "red"), _COLORS, strict=True):
        (folder / "clips" / name).mkdir(parents=True)
        for number in range(4):
            with VideoWriter(
                folder / "clips" / name / f"{number}.mp4", width=48, height=40, rate=Fraction(8)
            ) as film:
                for frame in range(6):
                    picture = chance.integers(60, 120, (40, 48, 3)).astype(np.uint8)
                    picture[:22, 2 * frame : 2 * frame + 26] = color
                    film.write(picture)
    _train(folder, folder / "whole.safetensors")
    (folder / "dice.txt").write_text("0")
    return folder / "dice.txt"


def _train(data: Path, out: Path, *, resume: bool = False) -> None:
    command = (
        f"train recognizer {data / 'clips'} --out {out} --backbone muybridge_vit --blocks 2 --width 4 --frames 2 "
        "--size 32 --steps 6 --batch-size 4 --save-every 2 --validations 0 --held-out 0 --precision 32-true "
        "--device cpu --seed 3 --workers 0"
    )
    with contextlib.suppress(SystemExit), _quiet():
        main([*command.split(), *(["--resume"] if resume else [])])


@contextlib.contextmanager
def _quiet() -> Any:
    """Progress goes nowhere, what went wrong does not."""
    with contextlib.redirect_stdout(open(os.devnull, "w")):  # noqa: PTH123  closed with the process
        yield


def kill_and_resume(path: Path) -> None:
    """A training that is killed a few times at any moment, and resumed, writes the file of one that was not."""
    chance = _thrown(path)
    data = Path(os.environ["TORTURE_SEED"])
    out = path.parent / "resumed.safetensors"
    for attempt in range(chance.randint(1, 3)):
        child = os.fork()
        if child == 0:
            try:
                _train(data, out, resume=attempt > 0)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, 6))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if out.exists():
            break
    if not out.exists():  # killed before its first checkpoint, a training has nothing to go on from
        _train(data, out, resume=(out.with_suffix(".training") / CHECKPOINT).exists())
    kept, found = (data / "whole.safetensors").read_bytes(), out.read_bytes()
    if kept != found:
        raise AssertionError(f"the resumed training wrote another file: {len(found)} bytes instead of {len(kept)}")
    strays = sorted(p.name for p in path.parent.iterdir() if ".partial" in p.name or ".probe" in p.name)
    if strays:
        raise AssertionError(f"left behind: {strays}")


# ---- full disk ----


def commands(folder: Path) -> Path:
    """Dice beside a film, a picture and a style."""
    seeds.film(folder)
    seeds.style(folder)
    (folder / "dice.txt").write_text("0")
    return folder / "dice.txt"


_WRITERS = (
    "stylize {data}/picture.png --model {data}/stylizer.safetensors --style {data}/picture.png --style-size 48 "
    "--device cpu -o {out}/painted.png",
    "stylize {data}/film.mp4 --model {data}/stylizer.safetensors --style {data}/picture.png --style-size 48 "
    "--device cpu -o {out}/painted.mp4",
    "recognize {data}/film.mp4 --device cpu --format json -o {out}/answer.json",
    "recognize {data}/film.mp4 --device cpu --overlay {out}/labelled.mp4 --format json -o {out}/answer.json",
    "localize {data}/film.mp4 --no-actions --device cpu -o {out}/people.mp4",
)


def full_disk(path: Path) -> None:
    """A command for whose files there is no room ends in one line and leaves nothing half-written."""
    chance = _thrown(path)
    out = path.parent / "out"
    command = chance.choice(_WRITERS).format(data=os.environ["TORTURE_SEED"], out=out)
    room = chance.choice((0, 1, 40, 300, 2000, 9000, 1 << 30))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What is printed is no file for which room is wanting; it comes through a pipe that a thread empties.
    with _piped() as printed:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        code: object = 0
        try:
            main(command.split())
        except SystemExit as end:
            code = end.code
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = [line for line in printed if line.startswith("muybridge: ") or "cannot write" in line]
    left = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) if out.exists() else []
    hidden = [name for name in left if name.rpartition("/")[2].startswith(".")]
    if hidden or (code == 2 and not told) or code not in (0, 2):
        raise AssertionError(f"{command} with room for {room}: code {code}, left {left}, said {printed[-5:]}")


@contextlib.contextmanager
def _piped() -> Any:
    """What is written to standard error in the block, by line, once the block has ended."""
    reading, writing = os.pipe()
    lines: list[str] = []

    def drain() -> None:
        with os.fdopen(reading, errors="replace") as pipe:
            lines.extend(line.rstrip("\n") for line in pipe)

    thread = threading.Thread(target=drain)
    thread.start()
    stream = sys.stderr
    stream.flush()
    before = os.dup(2)
    os.dup2(writing, 2)
    os.close(writing)
    # A stream of its own: one that was opened on a file asks where in it it stands, which a pipe cannot say.
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    try:
        yield lines
    finally:
        sys.stderr.close()
        sys.stderr = stream
        os.dup2(before, 2)
        os.close(before)
        thread.join()


# ---- threads ----


def models(folder: Path) -> Path:
    """Dice beside a model of each verb and what it reads."""
    seeds.recognizer(folder)
    seeds.adapter_localizer(folder)
    seeds.stylizer(folder)
    (folder / "dice.txt").write_text("0")
    return folder / "dice.txt"


def threads(path: Path) -> None:
    """One model asked from eight threads answers each as it does alone, to the bit."""
    from muybridge.localize.localizer import Localizer
    from muybridge.recognize.recognizer import Recognizer
    from muybridge.stylize.stylizer import Stylizer

    chance = _thrown(path)
    data = Path(os.environ["TORTURE_SEED"])
    numbers = np.random.default_rng(chance.randrange(1 << 32))
    kind = chance.randrange(3)
    ask: Callable[[Any], Any]
    if kind == 0:
        recognizer = Recognizer.from_pretrained(data / "recognizer.safetensors", device="cpu")
        inputs: Sequence[Any] = [_noise(numbers, 2 + number % 3, 40) for number in range(8)]

        def ask(clip: Any) -> Any:
            return recognizer(clip).probabilities.numpy()
    elif kind == 1:
        localizer = Localizer.from_pretrained(data / "localizer.safetensors", device="cpu")
        people = np.array([[0.1, 0.2, 0.6, 0.9], [0.4, 0.1, 0.9, 0.8]], np.float32)
        inputs = [_noise(numbers, 4, 96 + 16 * (number % 3)).transpose(0, 3, 1, 2) for number in range(8)]

        def ask(clip: Any) -> Any:
            import torch

            return localizer.actions(torch.from_numpy(clip), people)
    else:
        stylizer = Stylizer.from_pretrained(data / "stylizer.safetensors", device="cpu")
        inputs = [_noise(numbers, 1, 40 + 8 * (number % 3))[0] for number in range(8)]

        def ask(picture: Any) -> Any:
            return stylizer(picture, inputs[0], style_size=32, patch_size=3)

    alone = [ask(each) for each in inputs]
    found: list[Any] = [None] * len(inputs)

    def answer(number: int) -> None:
        found[number] = ask(inputs[number])

    crowd = [threading.Thread(target=answer, args=(number,)) for number in range(len(inputs))]
    sys.setswitchinterval(1e-5)
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    wrong = [number for number, (one, other) in enumerate(zip(alone, found, strict=True)) if not _same(one, other)]
    if wrong:
        raise AssertionError(f"scenario {kind}: {len(wrong)} of {len(inputs)} answers differ in threads")


def _noise(numbers: np.random.Generator, frames: int, side: int) -> Any:
    return numbers.integers(0, 256, (frames, side, side, 3), np.uint8)


def _same(one: Any, other: Any) -> bool:
    return other is not None and np.array_equal(one, other)
