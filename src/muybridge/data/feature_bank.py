"""The actor-context feature bank: what a trained localizer saw around a moment (arXiv 2006.07976, section 3.4).

A first model writes the first-order actor-context maps of every key frame of a video, once; a second one attends to
those of a window of time, some 10 s to each side. The authors released neither the bank nor its format. The
choices here are ours: float16, ordered by time, one safetensors file a video, of which only the window asked for is
read; for a stream, a ring buffer that is read the same way.

    maps   (M, C, h, w) float16     times  (M,) float64 seconds     boxes  (M, 4) float32, fractions of the frame
"""

import json
import math
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, cast

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from muybridge.counts import counted
from muybridge.data.text_files import is_file
from muybridge.errors import MissingInput, ModelError, ModelMismatch, OptionError
from muybridge.media.outputs import atomic_output, output_error
from muybridge.models.acar.actors import within_window
from muybridge.schema import build
from muybridge.weight_files import describe_differences, read_layout

FORMAT = "muybridge.feature-bank.1"
_HEADER_BYTES = 8192  # reserved, so that maps go straight to the file before their number is known
_LONGEST_NAME = 1024


@dataclass(frozen=True, eq=False)
class BankEntries:
    """People of several key frames, ordered by time.

    Attributes:
        maps: (m, C, h, w) float16, on the CPU or where the ring buffer lies.
        times: (m,) float64 seconds from the video's start, ascending.
        boxes: (m, 4) float32, x1 y1 x2 y2 as fractions of the frame.
    """

    maps: Tensor
    times: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return self.maps.shape[0]


class FeatureBankReader(Protocol):
    """What a file and a stream have in common."""

    def window(self, time_seconds: float, *, before: float = 10.0, after: float = 10.0) -> BankEntries:
        """The entries in the closed interval [time - before, time + after]."""
        ...


class FeatureBankWriter:
    """Writes the bank of one video; the file appears whole when the `with` block ends well, or not at all.

    Args:
        path: the file to write; one that is there is replaced.
        model: fingerprint of the model that made the maps.
        video: name of the video, for the record.

    Raises:
        OptionError: a name is longer than 1,024 characters.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path | str, *, model: str, video: str) -> None:
        for what, name in (("model", model), ("video", video)):
            if len(name) > _LONGEST_NAME:
                raise OptionError(f"{what} is {len(name)} characters long; {_LONGEST_NAME} are allowed. Shorten it.")
        self.path = Path(path)
        self._names = {"model": model, "video": video}
        self._shape: tuple[int, ...] | None = None
        self._times: list[float] = []
        self._boxes: list[np.ndarray] = []
        self._file: IO[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> "FeatureBankWriter":
        with ExitStack() as stack:
            beside = stack.enter_context(atomic_output(self.path))
            self._file = stack.enter_context(beside.open("wb"))
            self._file.seek(_HEADER_BYTES)
            self._stack = stack.pop_all()
        return self

    def append(self, time_seconds: float, maps: Tensor, boxes: Tensor) -> None:
        """Add the people of one key frame.

        Args:
            time_seconds: not before the last one added.
            maps: (n, C, h, w), any floating type; n may be 0.
            boxes: (n, 4).

        Raises:
            OptionError: times go back, or shapes do not fit.
            OutputError: the file cannot be written.
        """
        stored, places = _checked(time_seconds, maps, boxes, self._shape, self._times[-1] if self._times else None)
        self._shape = tuple(stored.shape[1:])
        try:
            self._open_file().write(np.ascontiguousarray(stored.cpu().numpy()).tobytes())
        except OSError as error:
            raise output_error(self.path, error) from error
        self._times += [time_seconds] * len(stored)
        self._boxes.append(places.cpu().numpy())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._open_file(), None
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish(file)

    def _finish(self, file: IO[bytes]) -> None:
        if self._shape is None:
            raise OptionError("Nothing was appended to the bank. Append every key frame, also those without people.")
        amount = len(self._times)
        used = 2 * amount * math.prod(self._shape)
        gap = -used % 8  # the times that follow are read in place, which needs them aligned
        layout: dict[str, tuple[str, list[int], bytes | None, int]] = {
            "maps": ("F16", [amount, *self._shape], None, used),
            "padding": ("U8", [gap], bytes(gap), gap),
            "times": ("F64", [amount], np.array(self._times, dtype="<f8").tobytes(), 8 * amount),
            "boxes": ("F32", [amount, 4], np.concatenate(self._boxes).astype("<f4").tobytes(), 16 * amount),
        }
        header: dict[str, object] = {"__metadata__": {"format": FORMAT, **self._names}}
        start = 0
        for name, (kind, shape, content, size) in layout.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
            start += size
            if content is not None:
                file.write(content)
        text = json.dumps(header).encode()
        file.seek(0)
        file.write(struct.pack("<Q", _HEADER_BYTES - 8) + text.ljust(_HEADER_BYTES - 8))

    def _open_file(self) -> IO[bytes]:
        if self._file is None:
            raise ValueError("A FeatureBankWriter is used inside a with block.")
        return self._file


@dataclass(frozen=True)
class _Header:
    format: str
    model: str
    video: str


class FeatureBank:
    """The bank of one video, read from its file a window at a time. It may be handed to worker processes.

    Args:
        path: what `FeatureBankWriter` wrote.
        model: fingerprint that the bank must carry; None takes any.

    Raises:
        MissingInput: there is no such file.
        ModelError: the file is no feature bank, or is cut short.
        ModelMismatch: another model wrote it.
    """

    def __init__(self, path: Path | str, *, model: str | None = None) -> None:
        self.path = Path(path)
        if not is_file(self.path):
            raise MissingInput(f"There is no feature bank at {self.path}. Write it with the first model.")
        metadata, layout = read_layout(self.path)
        if metadata.get("format") != FORMAT:
            raise ModelError(f"{self.path} is no feature bank ({FORMAT}). Write it with the first model.")
        header = build(_Header, metadata, source=str(self.path))
        maps = layout.get("maps", torch.empty(0))
        amount, axes = maps.shape[0], maps.ndim
        if axes != 4 or 0 in maps.shape[1:] or maps.dtype != torch.float16:
            raise ModelError(f"{self.path} holds no maps (people, channels, rows, columns). Write it again.")
        wanted = {
            "maps": maps,
            "times": torch.empty(amount, device="meta"),
            "boxes": torch.empty(amount, 4, device="meta"),
        }
        problems = describe_differences(wanted, {name: each for name, each in layout.items() if name != "padding"})
        if problems:
            raise ModelError(f"{self.path} is no feature bank: {problems}. Write it again.")
        with safe_open(self.path, framework="pt") as file:
            self._times = cast(Tensor, file.get_tensor("times")).double().clone()
        if not self._times.isfinite().all() or (self._times.diff() < 0).any():
            raise ModelError(f"{self.path} holds times that are not in order. Write it again.")
        self._shape = tuple(maps.shape[1:])
        self.model, self.video = header.model, header.video
        if model is not None and model != self.model:
            raise ModelMismatch(
                f"{self.path} was written by model '{self.model}', not '{model}'. "
                f"Write the bank again with '{model}'."
            )

    def __len__(self) -> int:
        return len(self._times)

    def window(self, time_seconds: float, *, before: float = 10.0, after: float = 10.0) -> BankEntries:
        """The entries in the closed interval [time - before, time + after]; only they are read."""
        chosen = within_window(self._times, time_seconds, before=before, after=after).nonzero()[:, 0]
        if len(chosen) == 0:
            return BankEntries(torch.empty(0, *self._shape, dtype=torch.float16), self._times[:0], torch.empty(0, 4))
        first, end = int(chosen[0]), int(chosen[-1]) + 1
        with safe_open(self.path, framework="pt") as file:
            maps, boxes = file.get_slice("maps")[first:end], file.get_slice("boxes")[first:end]
        if not (maps.isfinite().all() and boxes.isfinite().all()):
            raise ModelError(f"{self.path} holds NaN or infinity. Write it again.")
        return BankEntries(maps, self._times[first:end], boxes)


class StreamFeatureBank:
    """A ring buffer that is read like `FeatureBank`, for a video without end.

    Until `after` seconds have passed, a window misses what is still to come; a localizer that may lag by so much
    reads exactly what it would from a file.

    Args:
        capacity: entries kept; the oldest give way. 21 s at one key frame a second with 40 people are 840.

    Attributes:
        forgotten_until: time of the latest entry that gave way; windows that reach back to it are incomplete.
    """

    def __init__(self, *, capacity: int = 840) -> None:
        if capacity < 1:
            raise OptionError(f"capacity={capacity} keeps nothing. Choose the people of a window's key frames.")
        self.capacity = capacity
        self.forgotten_until = -math.inf
        self._maps: Tensor | None = None
        self._times = torch.empty(capacity, dtype=torch.float64)
        self._boxes = torch.empty(capacity, 4)
        self._written = 0
        self._latest: float | None = None

    def __len__(self) -> int:
        return min(self._written, self.capacity)

    def append(self, time_seconds: float, maps: Tensor, boxes: Tensor) -> None:
        """Add the people of one key frame; arguments and errors as for `FeatureBankWriter.append`."""
        shape = None if self._maps is None else tuple(self._maps.shape[1:])
        stored, places = _checked(time_seconds, maps, boxes, shape, self._latest)
        if len(stored) > self.capacity:
            raise OptionError(
                f"A key frame of {counted(len(stored), 'person', 'people')} does not fit into "
                f"capacity={self.capacity}. Choose more."
            )
        self._latest = time_seconds
        if self._maps is None:
            self._maps = stored.new_empty(self.capacity, *stored.shape[1:])
        slots = (self._written + torch.arange(len(stored))) % self.capacity
        overwritten = slots[self._written + torch.arange(len(stored)) >= self.capacity]
        if len(overwritten):
            self.forgotten_until = float(self._times[overwritten].max())
        self._maps[slots.to(self._maps.device)] = stored
        self._times[slots] = time_seconds
        self._boxes[slots] = places.cpu()
        self._written += len(stored)

    def window(self, time_seconds: float, *, before: float = 10.0, after: float = 10.0) -> BankEntries:
        """The entries in the closed interval [time - before, time + after] that are there by now.

        Raises:
            OptionError: nothing was appended yet, so that the shape of maps is not known.
        """
        if self._maps is None:
            raise OptionError("The stream's bank is empty. Append the current key frame before reading its window.")
        oldest_first = (torch.arange(max(self._written - self.capacity, 0), self._written)) % self.capacity
        inside = within_window(self._times[oldest_first], time_seconds, before=before, after=after)
        chosen = oldest_first[inside]
        return BankEntries(self._maps[chosen.to(self._maps.device)], self._times[chosen], self._boxes[chosen])


def _checked(
    time_seconds: float, maps: Tensor, boxes: Tensor, shape: tuple[int, ...] | None, latest: float | None
) -> tuple[Tensor, Tensor]:
    """What is stored of one key frame: float16 maps and float32 boxes."""
    if not math.isfinite(time_seconds) or (latest is not None and time_seconds < latest):
        raise OptionError(
            f"time_seconds={time_seconds} must be a time not before the last one, {latest}. Append frames in order."
        )
    if maps.ndim != 4 or boxes.shape != (len(maps), 4):
        raise OptionError(
            f"maps {tuple(maps.shape)} and boxes {tuple(boxes.shape)} must be (n, C, h, w) and (n, 4). "
            "Give the first-order maps and the boxes of the same people."
        )
    if shape is not None and tuple(maps.shape[1:]) != shape:
        raise OptionError(
            f"maps are {tuple(maps.shape[1:])}, those before were {shape}. Read the whole video at one frame size."
        )
    # Beyond float16's range an entry would become infinite, and attention to it NaN.
    limit = torch.finfo(torch.float16).max
    return maps.detach().clamp(-limit, limit).to(torch.float16), boxes.detach().float()
