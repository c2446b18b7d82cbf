"""Readers that do what no reader may, for the test that the torture harness sees it. Run as a script, it prints how
each of them ended, as JSON."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from torture import harness, seeds
from torture.harness import MB, Target, torture
from torture.mutators import joined, split

import muybridge.recognize.recognizer  # noqa: F401  the children inherit it
from muybridge.errors import ModelError


def sound(folder: Path) -> Path:
    """Any file."""
    (folder / "file.bin").write_bytes(b"sound")
    return folder / "file.bin"


def broken(data: bytes, chance: object) -> bytes:
    """Always the same."""
    del data, chance
    return b"broken"


def only_broken(act: Callable[[], object]) -> Callable[[Path], None]:
    """A reader that acts when the file is not sound."""

    def read(path: Path) -> None:
        if path.read_bytes() != b"sound":
            act()

    return read


def refuse() -> None:
    raise ModelError("file.bin is broken. Copy it again")


def refuse_in_two_lines() -> None:
    sys.stderr.write("muybridge: one thing\n")
    raise ModelError("and another")


def leave_in_silence() -> None:
    sys.exit(2)


def fail() -> None:
    raise ValueError("unforeseen")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(60)


def take_memory() -> None:
    time.sleep(len(bytearray(os.urandom(1) * (300 * MB))) * 0)


def connect() -> None:
    socket.create_connection(("192.0.2.1", 80), timeout=1)


def write_elsewhere() -> None:
    Path(tempfile.gettempdir()).parent.joinpath("elsewhere").write_text("x")


def start_a_program() -> None:
    subprocess.run(["true"], check=True)


def unpickle() -> None:
    pickle.loads(pickle.dumps(Fraction(1, 3)))


ACTS = (
    refuse, refuse_in_two_lines, leave_in_silence, fail, crash, hang, take_memory, connect, write_elsewhere,
    start_a_program, unpickle,
)  # fmt: skip


def oversized(data: bytes, chance: object) -> bytes:
    """A small recognizer's file that asks for an image model of 100 GB."""
    del chance
    header, tensors = split(data)
    about = json.loads(header["__metadata__"]["muybridge"])
    about["architecture"]["backbone_options"] = {"embed_dim": 8192, "depth": 128, "num_heads": 64}
    header["__metadata__"]["muybridge"] = json.dumps(about)
    return joined(header, tensors)


def main() -> None:
    harness.SECONDS = 3
    ends: dict[str, list[object]] = {}
    for act in ACTS:
        target = Target(act.__name__, sound, (broken,), only_broken(act), memory=100 * MB)
        first, second = torture(target, 1, seed=0)
        ends[act.__name__] = [first.kind, second.kind, second.detail]
    harness.SECONDS = 60
    command = ("recognize", "{folder}/film.mp4", "--device", "cpu", "--model", "{file}")
    first, second = torture(Target("recognizer", seeds.recognizer, (oversized,), command, memory=500 * MB), 1, seed=0)
    ends["oversized"] = [first.kind, second.kind, second.detail]
    sys.stdout.write(json.dumps(ends))


if __name__ == "__main__":
    main()
