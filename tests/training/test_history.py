"""The record of a run: what is kept when it goes on, and what is asked for and not installed."""

import builtins

import pytest

from muybridge.errors import MissingExtra
from muybridge.training.history import History, read_history


def test_rows_come_back_in_order(tmp_path):
    history = History(tmp_path / "run")
    rows = [{"step": 1, "loss": 0.5}, {"step": 1, "validation": {"top1": 0.25}}, {"step": 2, "loss": 0.25}]
    for row in rows:
        history.record(row)
    assert read_history(tmp_path / "run") == rows


def test_a_resumed_run_drops_what_followed_its_checkpoint_even_a_line_cut_off(tmp_path):
    history = History(tmp_path)
    for step in range(1, 6):
        history.record({"step": step, "loss": 1.0})
    with history.path.open("a") as file:
        file.write('{"step": 6, "lo')
    history = History(tmp_path, after_step=3)
    history.record({"step": 4, "loss": 2.0})
    assert [(row["step"], row["loss"]) for row in read_history(tmp_path)] == [(1, 1), (2, 1), (3, 1), (4, 2)]


def test_damaged_lines_are_left_out_and_counted(tmp_path):
    rows = [b'{"step": 1, "loss": 0.5}', b'{"step": 2, "loss": NaN}']
    broken = [b"{", b"\xff\xfe", b"[1]", b'{"loss": 1}', b'{"step": "1"}', b'{"step": 1, "loss": "x"}', b"9" * 5000]
    (tmp_path / "history.jsonl").write_bytes(b"\n".join([rows[0], *broken, rows[1], b""]))
    history = History(tmp_path, after_step=2)
    assert history.num_damaged == len(broken)
    assert [row["step"] for row in read_history(tmp_path)] == [1, 2]


def test_a_new_run_starts_an_empty_record(tmp_path):
    History(tmp_path).record({"step": 1})
    History(tmp_path)
    assert read_history(tmp_path) == []
    assert read_history(tmp_path / "nowhere") == []


def test_tensorboard_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    real_import = builtins.__import__

    def without_tensorboard(name, *arguments, **options):
        if name == "torch.utils.tensorboard":
            raise ModuleNotFoundError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_tensorboard)
    with pytest.raises(MissingExtra, match=r"muybridge\[log\]"):
        History(tmp_path, tensorboard=True)
