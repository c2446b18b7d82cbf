"""Processes that read: whoever asks to end, and whatever breaks, is told of in the one that started them."""

import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from muybridge.data.loading import Loader
from muybridge.errors import BrokenMedia

ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Items:
    def __init__(self, act):
        self.act = act

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.act(index)
        return index


@pytest.mark.parametrize("how", ENDING)
def test_a_process_that_reads_is_not_ended_by_what_ends_its_group(how):
    loader = Loader(Items(lambda index: os.kill(os.getpid(), how)), num_workers=2, batch_size=None)
    assert list(loader) == [0, 1, 2, 3]


@pytest.mark.parametrize("when", ["before", "after_in_parent", "after_in_child"])
def test_a_signal_while_processes_start_is_neither_lost_nor_told_with_a_traceback(when):
    """At a fork Python calls what is registered for it, and swallows what is raised there."""
    script = f"""
import os, signal, threading, time
from muybridge.data.loading import Loader
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()  # may take a signal in the main one's place
signal.signal(signal.SIGTERM, signal.default_int_handler)
main = os.getpid()
os.register_at_fork({when}=lambda: os.kill(main, signal.SIGTERM))
try:
    list(Loader(range(100_000), num_workers=2, batch_size=None))
    print("lost")
except KeyboardInterrupt:
    print("ended")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


def test_who_is_ended_while_it_fetches_a_tensor_hears_nothing_of_the_process_that_read_it():
    """Which serves one after the other, so that the second that is let in finds the first one's end told."""
    script = """
from multiprocessing import current_process, resource_sharer
from multiprocessing.connection import Client
import torch
from muybridge.data.loading import Loader

def ended_after_dialling(ident):
    address, _ = ident
    for _ in range(2):
        Client(address, authkey=current_process().authkey).close()
    raise KeyboardInterrupt

resource_sharer._ResourceSharer.get_connection = staticmethod(ended_after_dialling)
try:
    list(Loader(torch.zeros(100, 3), num_workers=1, batch_size=None))
    print("lost")
except KeyboardInterrupt:
    print("ended")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("ended\n", "", 0)


def test_a_process_that_reads_ends_when_the_one_that_started_it_says_so():
    """As torch does at exit with those that nobody has told to stop."""
    iterator = iter(Loader(range(100), num_workers=1, batch_size=None))
    assert next(iterator) == 0
    [process] = multiprocessing.active_children()
    process.terminate()
    process.join(timeout=60)
    assert process.exitcode == 0


def test_handlers_and_blocked_signals_are_as_they_were():
    handlers = [signal.getsignal(number) for number in ENDING]
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    iterator = iter(Loader(range(4), num_workers=1, batch_size=None))
    assert next(iterator) == 0
    assert [signal.getsignal(number) for number in ENDING] == handlers
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked


def broken(index):
    if index == 2:
        raise BrokenMedia("film: two.mp4 is damaged. Copy it again")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_ours_has_its_own_words_alone(workers):
    seen = []
    with pytest.raises(BrokenMedia) as caught:
        seen.extend(Loader(Items(broken), num_workers=workers, batch_size=None))
    assert str(caught.value) == "film: two.mp4 is damaged. Copy it again"


def mistaken(index):
    raise ZeroDivisionError


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError, match="in mistaken"):
        list(Loader(Items(mistaken), num_workers=1, batch_size=None))
