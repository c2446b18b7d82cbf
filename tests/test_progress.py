"""Progress away from a terminal: plain lines, rate and remaining time."""

import pytest

from muybridge import progress
from muybridge.progress import progress_line


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_seldom_and_at_the_end(clock, capsys):
    with progress_line("film.mp4", total=100, unit="frames") as line:
        for _ in range(100):
            clock[0] += 0.25
            line.advance(detail="loss 3")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0] == "film.mp4: 40/100 frames, 4.00 frames/s, 0:15 left, loss 3"
    assert lines[-1].startswith("film.mp4: 100/100 frames")


def test_a_resumed_run_does_not_boast(clock, capsys):
    with progress_line("training", total=1000, unit="steps", done=990) as line:
        for _ in range(10):
            clock[0] += 100
            line.advance()
    assert "991/1000 steps, 100.0 s/step, 15:00 left" in capsys.readouterr().err


def test_an_unknown_total_shows_no_end(clock, capsys):
    with progress_line("camera", total=None, unit="frames") as line:
        clock[0] += 11
        line.advance(22)
    assert capsys.readouterr().err == "camera: 22 frames, 2.00 frames/s\n"


def test_quiet_is_silent(clock, capsys):
    with progress_line("film.mp4", total=1, unit="frames", quiet=True) as line:
        clock[0] += 60
        line.advance()
        line.note("nothing")
    assert capsys.readouterr().err == ""
