"""Clips of many clients, run through the model as one batch: whatever waits when the model is free."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future

import torch
from torch import Tensor

from muybridge.recognize.recognizer import Recognizer

_Job = tuple[Tensor, "Future[Tensor]"]


class Batcher:
    """Calls `answer` with as many clips as wait, from a thread of its own.

    Args:
        answer: of clips (B, ...) gives rows (B, K).
        most: clips of a batch, but for a single request that has more.
        observe: told the size of each batch.
    """

    def __init__(
        self, answer: Callable[[Tensor], Tensor], *, most: int = 16, observe: Callable[[int], object] = lambda _: None
    ) -> None:
        self._answer, self._most, self._observe = answer, most, observe
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="muybridge-batches", daemon=True)
        self._thread.start()

    def __call__(self, clips: Tensor) -> Tensor:
        """The rows of these clips, as alone; from any thread."""
        future: Future[Tensor] = Future()
        self._jobs.put((clips, future))
        return future.result()

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
            sizes = [len(clips) for clips, _ in jobs]
            self._observe(sum(sizes))
            try:
                rows = self._answer(torch.cat([clips for clips, _ in jobs])).split(sizes)
            except Exception as error:  # noqa: BLE001 - raised in each caller
                for _, future in jobs:
                    future.set_exception(error)
            else:
                for (_, future), mine in zip(jobs, rows, strict=True):
                    future.set_result(mine)

    def _waiting(self, first: _Job) -> tuple[list[_Job], _Job | None, bool]:
        """A batch; a job that did not fit into it; whether more may come."""
        jobs, count = [first], len(first[0])
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, None, True
            if job is None:
                return jobs, None, False
            if count + len(job[0]) > self._most:
                return jobs, job, True
            jobs.append(job)
            count += len(job[0])


class SharedRecognizer(Recognizer):
    """A recognizer whose clips run in batches with those of others who ask.

    Args:
        recognizer: whose model it is.
        observe: told the size of each batch.
    """

    def __init__(self, recognizer: Recognizer, *, observe: Callable[[int], object] = lambda _: None) -> None:
        self.__dict__.update(recognizer.__dict__)
        self._batcher = Batcher(recognizer.probabilities, observe=observe)

    def probabilities(self, frames: Tensor, *, batch_size: int = 16) -> Tensor:
        """See `Recognizer.probabilities`."""
        return torch.cat([self._batcher(part) for part in frames.split(batch_size)])

    def close(self) -> None:
        """End its thread."""
        self._batcher.close()
