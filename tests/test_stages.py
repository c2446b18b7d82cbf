"""Stages as a listener hears of them, and as nobody does."""

import threading
from contextlib import closing

import pytest

from muybridge.stages import listening, stage, staged


class Heard:
    """What was entered and left, in order, with a letter for the thread."""

    def __init__(self):
        self.words, self.threads = [], {}

    def say(self, word):
        letter = self.threads.setdefault(threading.get_ident(), "abc"[len(self.threads)])
        self.words.append(f"{letter} {word}")

    def enter(self, name):
        self.say(name)

    def leave(self):
        self.say(".")


@staged("counting")
def count(last):
    """Numbers."""
    for number in range(last):
        with stage("thinking"):
            pass
        yield number


@staged("adding")
def total(numbers):
    return sum(numbers)


def test_nobody_listens():
    assert total(count(4)) == 6
    assert (count.__name__, count.__doc__) == ("count", "Numbers.")


def test_a_generator_is_in_its_stage_only_while_it_works():
    heard = Heard()
    with listening(heard), closing(count(2)) as numbers:
        for number in numbers:
            heard.say(number)
    an_item = ["counting", "thinking", ".", "."]
    assert heard.words == [f"a {word}" for word in (*an_item, 0, *an_item, 1, "counting", ".")]
    assert total([1]) == 1 and len(heard.words) == 12  # nothing was heard after that


def test_a_generator_that_is_left_early_is_closed():
    closed = []

    @staged("counting")
    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with listening(Heard()), closing(endless()) as numbers:
        next(numbers)
        assert not closed
    assert closed


def test_a_stage_that_fails_is_left():
    heard = Heard()
    with listening(heard):
        with pytest.raises(TypeError):
            total(["no number"])
        with pytest.raises(ZeroDivisionError), stage("dividing"):
            _ = 1 / 0
    assert heard.words == ["a adding", "a .", "a dividing", "a ."]


def test_other_threads_are_heard_too():
    heard = Heard()
    with listening(heard), stage("waiting"):
        other = threading.Thread(target=total, args=([1, 2],))
        other.start()
        other.join()
    assert heard.words == ["a waiting", "b adding", "b .", "a ."]


def test_the_listener_of_before_listens_again():
    first, second = Heard(), Heard()
    with listening(first):
        with listening(second):
            total([])
        with stage("after"):
            pass
    assert (first.words, second.words) == (["a after", "a ."], ["a adding", "a ."])
