"""Runs one mutant in a process with limits, and says how it ended.

The first process imports torch and the rest once and is forked for each mutant, which takes milliseconds. Nothing
of a mutant outlives its process.
"""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MB = 1 << 20
SECONDS = 30.0
_BACKSTOP = 8 << 30  # address space beyond which an allocation fails, so that no mutant takes the machine along
_POLL_SECONDS = 0.01

Mutator = Callable[[bytes, random.Random], bytes]
"""From a sound file's bytes to a broken one's. All chance comes from the second argument."""


@dataclass(frozen=True)
class Target:
    """A reader, and what it is given.

    Attributes:
        name: in the table.
        seed: writes one sound file, and whatever must lie beside it, into a folder, and returns the file's path.
            Several seeds take turns.
        mutators: take turns on the seed's bytes.
        run: reads the mutant: a command line, whose "{file}" stands for the mutant and "{folder}" for the folder of
            the seed, or a function of the mutant's path.
        memory: bytes that a mutant may take beyond what the imports took.
        seconds: that a mutant may work or wait, 30 if not said.
        most: mutants, where each takes long.
    """

    name: str
    seed: Callable[[Path], Path] | Sequence[Callable[[Path], Path]]
    mutators: Sequence[Mutator]
    run: Sequence[str] | Callable[[Path], object]
    memory: int = 3 << 30
    seconds: float = 0
    most: int | None = None

    @property
    def seeds(self) -> Sequence[Callable[[Path], Path]]:
        """All of them."""
        return [self.seed] if callable(self.seed) else self.seed


@dataclass(frozen=True)
class Outcome:
    """How a mutant ended.

    Attributes:
        kind: "read" or "refused"; any other word is a fault.
        detail: the line it was refused with, or the traceback's last lines.
        seconds: it took.
        memory: bytes at its peak, beyond those of the imports.
        mutant: which it was: target, number, mutator.
    """

    kind: str
    detail: str
    seconds: float
    memory: int
    mutant: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether it ended as no file may."""
        return self.kind not in ("read", "refused")


@dataclass
class _Watch:
    """What a process did that reading a file does not need. Set up in the child, and asked at its end."""

    folder: Path
    seen: list[str] = field(default_factory=list)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
            if event == "socket.connect" and getattr(arguments[0], "family", None) == socket.AF_UNIX:
                return
            self.seen.append(f"network: {event} {arguments[1:] or arguments}")
            raise OSError("the network is refused here")
        if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "pickle.find_class"):
            self.seen.append(f"executed: {event} {str(arguments)[:200]}")
        elif event == "open" and isinstance(arguments[0], (str, bytes)) and _writes(arguments):
            path = Path(os.fsdecode(arguments[0])).absolute()
            if not path.is_relative_to(self.folder) and not path.is_relative_to("/dev"):
                self.seen.append(f"wrote: {path}")


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def run_mutant(target: Target, mutant: Path, seed_folder: Path) -> Outcome:
    """Read one mutant in a forked process; its folder is the process's working folder."""
    folder = mutant.parent
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(target, mutant, seed_folder)
    # Of the child and not of this process: pages of libraries are counted only when the child touches them.
    before = _resident(child)
    killed = ""
    waited, last = 0.0, started
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        now = time.monotonic()
        waited, last = waited + (0 if _is_runnable(child) else now - last), now
        if not killed:
            if waited + _processor_seconds(child) > (target.seconds or SECONDS):
                killed = "hang"
            elif _resident(child) - before > target.memory:
                killed = "memory"
            if killed:
                os.kill(child, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    seconds, memory = time.monotonic() - started, max(0, usage.ru_maxrss * 1024 - before)
    printed = (folder / ".stderr").read_text(errors="replace").strip()
    if killed or memory > target.memory:
        return Outcome(killed or "memory", printed[-500:], seconds, memory)
    report_path = folder / ".report"
    if not os.WIFEXITED(status) or not report_path.exists():
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
        return Outcome("crash", f"{how}: {printed[-500:]}", seconds, memory)
    kind, detail = _judge(json.loads(report_path.read_text()), printed)
    return Outcome(kind, detail, seconds, memory)


def _judge(report: dict[str, Any], printed: str) -> tuple[str, str]:
    if report["seen"]:
        return report["seen"][0].partition(":")[0], "; ".join(report["seen"])
    if report["traceback"]:
        return "traceback", report["traceback"]
    if "Traceback (most recent call last)" in printed:
        return "traceback", printed[-1500:]
    if report["code"] == 0:
        return "read", ""
    if report["code"] == 2:
        lines = printed.splitlines()
        last = [line for line in lines if line.startswith("muybridge: ")]
        if len(last) == 1 and lines[-1] == last[0]:
            return "refused", last[0]
        return "untidy", f"exit 2 with {len(last)} lines of what is wrong, of {len(lines)} printed: {printed[-500:]}"
    return "crash", f"exit {report['code']}: {printed[-500:]}"


def _in_child(target: Target, mutant: Path, seed_folder: Path) -> None:
    """Never returns."""
    code, trace = 0, ""
    folder = mutant.parent
    watch = _Watch(folder)
    try:
        os.setsid()
        os.environ["TORTURE_SEED"] = str(seed_folder)  # for functions, which get the mutant's path alone
        os.chdir(folder)
        for stream, name in ((1, ".stdout"), (2, ".stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        limit = _address_space() + _BACKSTOP
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME"):
            os.environ[name] = str(folder)
        tempfile.tempdir = str(folder)
        sys.addaudithook(watch.hook)
        _run(target, mutant, seed_folder)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  all that gets out is the finding
        trace = "".join(traceback.format_exc()[-2500:])
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    seen = list(watch.seen)
    (folder / ".report").write_text(json.dumps({"code": code, "traceback": trace, "seen": seen}))
    os._exit(0)


def _run(target: Target, mutant: Path, seed_folder: Path) -> None:
    from muybridge.apps.cli import main
    from muybridge.errors import MuybridgeError

    if not callable(target.run):
        main([part.format(file=mutant, folder=seed_folder) for part in target.run])
        return
    try:
        target.run(mutant)
    except MuybridgeError as error:
        print(f"muybridge: {error}", file=sys.stderr)
        sys.exit(2)


def _resident(process: int | str = "self") -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def _is_runnable(process: int) -> bool:
    """Whether a thread of it would go on if it had a processor: on a busy machine, waiting for one is no hang."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return any(_stat(thread)[0] in "RD" for thread in Path(f"/proc/{process}/task").iterdir())
    return False


def _processor_seconds(process: int) -> float:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = _stat(Path(f"/proc/{process}"))
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _stat(process: Path) -> list[str]:
    """What the system knows of a process or thread, from its state on: its name before it may hold blanks."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def torture(target: Target, count: int, *, seed: int, keep: Path | None = None) -> Iterator[Outcome]:
    """The outcomes of `count` mutants, the sound files first, which must be read.

    Args:
        seed: with the target's name and the mutant's number, all chance follows from it.
        keep: a folder where mutants that are faults are copied to.
    """
    with tempfile.TemporaryDirectory(prefix="torture.") as temporary:
        sound: list[Path] = []
        for number, make in enumerate(target.seeds):
            folder = Path(temporary) / f"seed{number}"
            folder.mkdir()
            sound.append(_made(make, folder))
        for number in range(-len(sound), count if target.most is None else min(count, target.most)):
            if number < 0:
                origin = sound[number]
                name, data = f"{target.name}, the sound file {origin.name}", origin.read_bytes()
            else:
                origin, data, name = _mutant(target, sound, number, seed)
            folder = Path(temporary) / "mutant"
            folder.mkdir()
            path = folder / origin.name
            path.write_bytes(data)
            outcome = run_mutant(target, path, origin.parent)
            if number < 0 and outcome.kind != "read":
                outcome = Outcome("no sound seed", f"{outcome.kind}: {outcome.detail}", 0, 0)
            if outcome.is_fault and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)  # as it was given
                shutil.copy(path, keep / f"{target.name.replace(' ', '-')}-{number:05d}{path.suffix}")
            shutil.rmtree(folder)
            yield Outcome(outcome.kind, outcome.detail, outcome.seconds, outcome.memory, name)


def _made(make: Callable[[Path], Path], folder: Path) -> Path:
    """The seed, made in a process of its own, so that no threads or caches of its making are inherited."""
    answer = folder / ".made"
    child = os.fork()
    if child == 0:
        try:
            answer.write_text(str(make(folder)))
        except BaseException:  # noqa: BLE001  os._exit would not print it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)
    if not answer.exists():
        raise RuntimeError(f"the seed {getattr(make, '__name__', make)} cannot be made: see above")
    return Path(answer.read_text())


def _mutant(target: Target, sound: Sequence[Path], number: int, seed: int) -> tuple[Path, bytes, str]:
    chance = random.Random(f"{seed} {target.name} {number}")
    origin = sound[number % len(sound)]
    mutator = target.mutators[number // len(sound) % len(target.mutators)]
    name = f"{target.name} {number}, {getattr(mutator, '__name__', mutator)}"
    return origin, mutator(origin.read_bytes(), chance), name
