"""Clips and frames of many clients, run through a model as one batch: whatever waits when the model is free.

Clips to recognize, and frames to find people in, gain by it. What else a request needs is a batch already,
as the frames around a key frame are, or is made of that request alone, as a painting is.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

import torch
from torch import Tensor

from muybridge.people.detector import RGB, Detections, Detector
from muybridge.recognize.recognizer import Recognizer

R = TypeVar("R", bound="Tensor | list[Detections]")
Observe = Callable[[int], object]
_MOST_CLIPS = 16


@dataclass(frozen=True, eq=False)
class _Job(Generic[R]):
    items: Tensor
    answer: "Future[R]" = field(default_factory=lambda: Future())


class Batcher(Generic[R]):
    """Calls `answer` with as many items as wait, from a thread of its own.

    Args:
        answer: of items (B, ...) gives B answers.
        most: items of a batch, but for a single request that has more.
        observe: told the size of each batch.
    """

    def __init__(
        self, answer: Callable[[Tensor], R], *, most: int = _MOST_CLIPS, observe: Observe = lambda _: None
    ) -> None:
        self._answer, self._most, self._observe = answer, most, observe
        self._jobs: queue.SimpleQueue[_Job[R] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="muybridge-batches", daemon=True)
        self._thread.start()

    def __call__(self, items: Tensor) -> R:
        """The answers to these items, as alone; from any thread."""
        job = _Job[R](items)
        self._jobs.put(job)
        return job.answer.result()

    def close(self) -> None:
        """End the thread, when all that waits is answered."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open, kept = True, None
        while is_open or kept is not None:
            first = kept or self._jobs.get()
            if first is None:
                return
            jobs, kept, is_open = self._waiting(first)
            self._do(jobs)

    def _do(self, jobs: Sequence[_Job[R]]) -> None:
        sizes = [len(job.items) for job in jobs]
        self._observe(sum(sizes))
        try:
            answers = self._answer(torch.cat([job.items for job in jobs]))
        except Exception as error:  # noqa: BLE001 - raised in the caller
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for job in jobs:  # one client's frame that a model cannot bear is no other's
                self._do([job])
            return
        start = 0
        for job, size in zip(jobs, sizes, strict=True):
            job.answer.set_result(cast(R, answers[start : start + size]))
            start += size

    def _waiting(self, first: _Job[R]) -> tuple[list[_Job[R]], _Job[R] | None, bool]:
        """A batch; a job that does not fit into it; whether more may come."""
        jobs, count = [first], len(first.items)
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, None, True
            if job is None:
                return jobs, None, False
            if count + len(job.items) > self._most or job.items.shape[1:] != first.items.shape[1:]:
                return jobs, job, True
            jobs.append(job)
            count += len(job.items)


class SharedRecognizer(Recognizer):
    """A recognizer whose clips run in batches with those of others who ask.

    Args:
        recognizer: whose model it is.
        observe: told the number of clips of each batch.
    """

    def __init__(self, recognizer: Recognizer, *, observe: Observe = lambda _: None) -> None:
        self.__dict__.update(recognizer.__dict__)
        # Clients have different numbers of frames to look at; here each is a clip of its own.
        self._frames = Batcher(recognizer.each_frame, most=_MOST_CLIPS * self.sampling.frames)
        self._clips = Batcher(recognizer.probabilities_of, most=_MOST_CLIPS, observe=observe)

    def each_frame(self, frames: Tensor) -> Tensor:
        """See `Recognizer.each_frame`."""
        if self.model.train_backbone:
            return frames
        return self._frames(frames.flatten(0, 1)[:, None]).squeeze(1).unflatten(0, frames.shape[:2])

    def probabilities_of(self, seen: Tensor, *, batch_size: int = _MOST_CLIPS) -> Tensor:
        """See `Recognizer.probabilities_of`."""
        return torch.cat([self._clips(part) for part in seen.split(batch_size)])

    def probabilities(self, frames: Tensor, *, batch_size: int = _MOST_CLIPS) -> Tensor:
        """See `Recognizer.probabilities`."""
        parts = frames.split(batch_size)
        return torch.cat([self.probabilities_of(self.each_frame(part), batch_size=batch_size) for part in parts])

    def close(self) -> None:
        """End its threads."""
        self._frames.close()
        self._clips.close()


class SharedDetector:
    """A detector that looks at frames of several films at once, where they have one size.

    Args:
        detector: that looks.
        observe: told the size of each batch.
    """

    def __init__(self, detector: Detector, *, observe: Observe = lambda _: None) -> None:
        self.classes = detector.classes
        self._batcher = Batcher(lambda frames: detector(frames.numpy()), observe=observe)

    def __call__(self, frames: RGB) -> list[Detections]:
        """See `muybridge.people.detector.Detector`."""
        return self._batcher(torch.from_numpy(frames))

    def close(self) -> None:
        """End its thread."""
        self._batcher.close()
