"""A verb whose files say what happens to them: tests of the engine need no model."""

import errno
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from muybridge.engine.rows import Label
from muybridge.engine.tasks import Outcome
from muybridge.errors import InputError, ModelError
from muybridge.media.outputs import output_error
from muybridge.media.sources import Source, expand_sources


@dataclass(frozen=True)
class ScriptedTask:
    """Files hold one word: fine, broken, killer (each time), killer-once, mistake, full, or slow.

    Attributes:
        notebook: folder of a diary, to which each try appends a line.
        loads: whether the model can be had.
    """

    notebook: Path
    loads: bool = True
    greeting: str = "hello"
    verb = "scripted"

    @property
    def diary(self) -> Path:
        return self.notebook / "diary"

    def find(self, names: Iterable[str]) -> list[Source]:
        return expand_sources(names)

    def load(self) -> "ScriptedTask":
        if not self.loads:
            raise ModelError("there is no such model")
        return self

    def __call__(self, source: Source, target: Path) -> Outcome:
        word = source.path.read_text().strip()
        tries = self.tried(source.path)
        with self.diary.open("a") as diary:
            diary.write(f"{source.path.name}\n")
        if word == "broken":
            raise InputError(f"{source.location} is broken")
        if word == "killer" or (word == "killer-once" and tries == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "mistake":
            raise ZeroDivisionError("a mistake of ours")
        if word == "full":
            error = OSError(errno.ENOSPC, "no space")
            raise output_error(target, error) from error
        if word == "slow":
            time.sleep(0.2)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(word)
        return Outcome([Label(0.0, 1.0, word, 0.5)], [target], ["a note"])

    def tried(self, path: Path) -> int:
        return self.diary.read_text().splitlines().count(path.name) if self.diary.exists() else 0


def write_files(folder: Path, words: Iterable[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, word in enumerate(words):
        (folder / f"{number}.mp4").write_text(word)
    return folder
