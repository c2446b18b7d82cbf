"""Runs over many files: each has one row, whatever happens to workers, to the run, to the disk."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from muybridge.engine.options import ManyFiles
from muybridge.engine.results import opened
from muybridge.engine.run import run_many
from muybridge.errors import MissingExtra, MuybridgeError, OptionError, OutputError
from tests.engine.scripted import ScriptedTask, write_files


def rows_of(folder: Path) -> dict[str, dict]:
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    assert len(rows) == len({row["input"] for row in rows})
    return {Path(row["input"]).stem: row for row in rows}


@pytest.fixture
def task(tmp_path) -> ScriptedTask:
    return ScriptedTask(tmp_path)


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


def test_each_file_has_a_row_and_what_was_made_of_it(tmp_path, task, results, capsys):
    files = write_files(tmp_path / "in", ["fine", "broken", "fine"])
    assert run_many(task, [str(files)], ManyFiles(results=results, workers=2)) == 2
    rows = rows_of(results)
    assert {name: row["status"] for name, row in rows.items()} == {"0": "done", "1": "failed", "2": "done"}
    assert rows["1"]["error"] == f"{files}/1.mp4 is broken"
    assert rows["0"]["labels"] == [{"start": 0.0, "end": 1.0, "label": "fine", "score": 0.5, "person": None}]
    assert rows["0"]["outputs"] == ["files/0.mp4"] and (results / "files/0.mp4").read_text() == "fine"
    assert rows["0"]["notes"] == ["a note"] and rows["0"]["error"] is None
    printed = capsys.readouterr()
    assert printed.out == f"{results}/results.parquet\n"
    assert "1.mp4 is broken" in printed.err and "1 of 3 inputs failed" in printed.err


def test_threads_share_one_model_and_tell_the_same(tmp_path, results):
    files = write_files(tmp_path / "in", ["fine", "broken", "slow", "fine", "slow"])
    for engine in ("local", "threads"):
        (tmp_path / engine).mkdir()
        many = ManyFiles(results=results / engine, workers=3, engine=engine)
        assert run_many(ScriptedTask(tmp_path / engine), [str(files)], many) == 2
    local, threads = (
        pq.read_table(results / engine / "results.parquet").drop(["seconds"]) for engine in ("local", "threads")
    )
    assert threads.to_pylist() == local.to_pylist()
    write_files(files, ["fine", "broken", "slow", "fine", "slow", "full"])
    with pytest.raises(MuybridgeError, match="the disk or quota is full"):
        run_many(ScriptedTask(tmp_path / "threads"), [str(files)], many)


def test_extras_that_are_missing_are_named(tmp_path, task, results, monkeypatch):
    files = write_files(tmp_path / "in", ["fine"])
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"muybridge\[ray\]"):
        run_many(task, [str(files)], ManyFiles(results=results, engine="ray"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"muybridge\[parquet\]"):
        run_many(task, [str(files)], ManyFiles(results=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_run_goes_on_and_does_nothing_twice(tmp_path, task, results):
    files = write_files(tmp_path / "in", ["fine", "broken"])
    run_many(task, [str(files)], ManyFiles(results=results))
    write_files(files, ["fine", "fine", "fine"])  # the broken one is mended, one is new
    run_many(task, [str(files)], ManyFiles(results=results))
    assert Counter(task.diary.read_text().split()) == {"0.mp4": 1, "1.mp4": 1, "2.mp4": 1}
    assert rows_of(results)["1"]["status"] == "failed"
    assert run_many(task, [str(files)], ManyFiles(results=results, retry_failed=True)) == 0
    assert Counter(task.diary.read_text().split()) == {"0.mp4": 1, "1.mp4": 2, "2.mp4": 1}
    assert {row["status"] for row in rows_of(results).values()} == {"done"}


def test_a_file_that_kills_its_worker_is_tried_twice_and_named(tmp_path, task, results, capfd):
    files = write_files(tmp_path / "in", ["fine", "killer", "killer-once", "mistake", "fine"])
    assert run_many(task, [str(files)], ManyFiles(results=results, workers=2)) == 2
    rows = rows_of(results)
    assert [name for name, row in rows.items() if row["status"] == "failed"] == ["1", "3"]
    assert rows["1"]["error"].startswith(f"{files}/1.mp4 ended its worker 2 times")
    tries = Counter(task.diary.read_text().split())
    assert tries == {"0.mp4": 1, "1.mp4": 2, "2.mp4": 2, "3.mp4": 2, "4.mp4": 1}
    assert "ZeroDivisionError: a mistake of ours" in capfd.readouterr().err


def test_a_model_that_cannot_be_had_ends_the_run_in_one_line(tmp_path, results):
    files = write_files(tmp_path / "in", ["fine"])
    with pytest.raises(MuybridgeError, match="there is no such model"):
        run_many(ScriptedTask(tmp_path, loads=False), [str(files)], ManyFiles(results=results))


def test_a_full_disk_ends_the_run_and_what_was_done_is_kept(tmp_path, task, results, capsys):
    files = write_files(tmp_path / "in", ["fine", "full", "fine"])
    with pytest.raises(MuybridgeError, match="the disk or quota is full"):
        run_many(task, [str(files)], ManyFiles(results=results))
    assert list(rows_of(results)) == ["0"]
    assert "2 of 3 inputs left: the same command goes on" in capsys.readouterr().err
    write_files(files, ["fine", "fine", "fine"])
    assert run_many(task, [str(files)], ManyFiles(results=results)) == 0
    assert len(rows_of(results)) == 3


def test_no_space_for_the_rows_themselves(tmp_path, results):
    code = f"""
import resource, signal, sys
from pathlib import Path
from muybridge.engine.options import ManyFiles
from muybridge.engine.run import run_many
from muybridge.errors import OutputError
from tests.engine.scripted import ScriptedTask
if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
    try:
        run_many(ScriptedTask(Path({str(tmp_path)!r})), [{str(tmp_path / "in")!r}],
                 ManyFiles(results=Path({str(results)!r})))
    except OutputError as error:
        print(error)
"""
    files = write_files(tmp_path / "in", ["fine"] * 6)
    script = tmp_path / "limited.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
    )  # fmt: skip
    assert done.stdout.count("\n") == 1 and "the disk or quota is full" in done.stdout, done.stderr
    assert 0 < (results / "rows.jsonl").stat().st_size <= 700
    task = ScriptedTask(tmp_path)
    assert run_many(task, [str(files)], ManyFiles(results=results)) == 0
    assert len(rows_of(results)) == 6


def test_the_folder_of_another_run_is_refused(tmp_path, task, results):
    files = write_files(tmp_path / "in", ["fine"])
    run_many(task, [str(files)], ManyFiles(results=results))
    with pytest.raises(OptionError, match="another run: it differs in --greeting"):
        run_many(ScriptedTask(task.notebook, greeting="good day"), [str(files)], ManyFiles(results=results))
    with pytest.raises(OptionError, match="another run, of 'scripted'"), opened(results, "stylize", {}):
        pass
    with pytest.raises(OptionError, match=r"holds other files, such as 0\.mp4"):
        run_many(task, [str(files)], ManyFiles(results=files))
    with pytest.raises(OptionError, match="is a file"):
        run_many(task, [str(files)], ManyFiles(results=files / "0.mp4"))
    for text in ("[]", "{", "[" * 200_000, '{"verb": "scripted", "options": 3}'):
        (results / "run.json").write_text(text)
        with pytest.raises(OptionError, match="does not tell which run"):
            run_many(task, [str(files)], ManyFiles(results=results))


def test_an_option_that_is_a_file_counts_by_what_is_in_it(tmp_path):
    model = tmp_path / "model.safetensors"
    for text, is_same in (("one", True), ("one", True), ("other", False)):
        model.write_text(text)
        if is_same:
            with opened(tmp_path / "results", "recognize", {"model": str(model), "device": text}):
                pass
        else:
            with (
                pytest.raises(OptionError, match="--model"),
                opened(tmp_path / "results", "recognize", {"model": model}),
            ):
                pass


def test_two_runs_on_one_folder(tmp_path, task, results):
    files = write_files(tmp_path / "in", ["fine"])
    with opened(results, "scripted", {}), pytest.raises(OptionError, match="another run is at work"):
        run_many(task, [str(files)], ManyFiles(results=results))


def test_a_line_that_was_half_written_is_cut_off_and_its_file_done_again(tmp_path, task, results):
    files = write_files(tmp_path / "in", ["fine", "fine"])
    run_many(task, [str(files)], ManyFiles(results=results))
    journal = results / "rows.jsonl"
    journal.write_bytes(journal.read_bytes()[:-20])
    run_many(task, [str(files)], ManyFiles(results=results))
    assert [json.loads(line)["input"] for line in journal.read_text().splitlines()] == [
        f"{files}/0.mp4", f"{files}/1.mp4"
    ]  # fmt: skip
    assert len(rows_of(results)) == 2
    sound = journal.read_text().splitlines()[0]
    values = json.loads(sound)
    label = values["labels"][0]
    altered = [
        b"no row", b"{}", b"[]", b"null", b'{"died": 1}', b'{"died": [1]}', "é".encode(), b"\xff", b"[" * 10_000,
        *(
            json.dumps(values | {name: value}).encode()
            for name, wrong in {
                "input": [None, 3, ["x"]], "status": ["undone", []], "error": [7, []], "target": [None, 1],
                "seconds": ["1", True, float("nan"), 1e300, {}], "outputs": ["x", [1]], "notes": [3, {}],
                "labels": ["x", {}, [7], [[]], [{}], [label | {"extra": 1}], [label | {"person": 2**70}],
                           [label | {"start": "0"}], [label | {"label": 3}], [label | {"score": 10**400}]],
                "extra": [1],
            }.items()
            for value in wrong
        ),
    ]  # fmt: skip
    diary, table = task.diary.read_text(), (results / "results.parquet").read_bytes()
    write_files(files, ["fine", "fine", "fine"])
    for line in altered:
        journal.write_bytes(sound.encode() + b"\n" + line + b"\n")
        with pytest.raises(OutputError, match=r"rows\.jsonl, line 2 is damaged"):
            run_many(task, [str(files)], ManyFiles(results=results))
    assert task.diary.read_text() == diary  # before any work
    assert (results / "results.parquet").read_bytes() == table


def test_a_table_that_cannot_be_written_is_told_before_the_work(tmp_path, task, results):
    files = write_files(tmp_path / "in", ["fine"])
    run_many(task, [str(files)], ManyFiles(results=results))
    diary = task.diary.read_text()
    (results / "results.parquet").unlink()
    (results / "results.parquet").mkdir()
    write_files(files, ["fine", "fine"])
    with pytest.raises(OutputError, match="it is a folder"):
        run_many(task, [str(files)], ManyFiles(results=results))
    assert task.diary.read_text() == diary


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_of_in_one_line(tmp_path, task, results, capsys, monkeypatch, number):
    def refuse(file: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    files = write_files(tmp_path / "in", ["fine"])
    assert run_many(task, [str(files)], ManyFiles(results=results)) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "locks" in line]
    assert told == [
        f"muybridge: note: {results} lies where there are no locks. See to it that no other run writes there"
    ]
    monkeypatch.undo()
    assert run_many(task, [str(files)], ManyFiles(results=results)) == 0  # nothing is left that would keep it out
    assert "locks" not in capsys.readouterr().err


def test_names_of_files_that_are_no_text_are_kept(tmp_path, task, results):
    files = write_files(tmp_path / os.fsdecode(b"\xff"), ["fine"])
    for _ in range(2):
        assert run_many(task, [str(files)], ManyFiles(results=results)) == 0
    assert len(task.diary.read_text().splitlines()) == 1


@pytest.mark.parametrize("name", [".lock", "run.json", "rows.jsonl", "results.parquet", "files", "files/0.mp4"])
def test_a_folder_that_leads_out_of_itself_is_refused(tmp_path, task, results, name):
    files = write_files(tmp_path / "in", ["fine"])
    run_many(task, [str(files)], ManyFiles(results=results))
    write_files(files, ["fine", "fine"])
    for text in ("a line\nanother without an end", ""):
        path, victim = results / name, tmp_path / "victim"
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        victim.write_text(text)
        path.symlink_to(tmp_path if name == "files" else victim)
        with pytest.raises(OptionError, match=f"{name} is a link"):
            run_many(task, [str(files)], ManyFiles(results=results))
        assert victim.read_text() == text and not (tmp_path / "1.mp4").exists()
    path.unlink()
    os.mkfifo(path)  # who opens one waits until somebody writes to it
    with pytest.raises(OptionError, match=f"{name} is a link or a device"):
        run_many(task, [str(files)], ManyFiles(results=results))


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path, task, results):
    files = write_files(tmp_path / "in", ["slow"] * 30)
    code = f"""
from pathlib import Path
from muybridge.engine.options import ManyFiles
from muybridge.engine.run import run_many
from tests.engine.scripted import ScriptedTask
if __name__ == "__main__":
    many = ManyFiles(results=Path({str(results)!r}), workers=2)
    run_many(ScriptedTask(Path({str(tmp_path)!r})), [{str(files)!r}], many)
"""
    script = tmp_path / "run.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    with subprocess.Popen([sys.executable, str(script)], cwd=root, env=environment, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (task.diary.exists() and len(task.diary.read_text().split()) > 5):
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGKILL)
    recorded = {Path(json.loads(line)["input"]).name for line in (results / "rows.jsonl").read_text().splitlines()}
    assert 0 < len(recorded) < 30
    before = Counter(task.diary.read_text().split())
    assert run_many(task, [str(files)], ManyFiles(results=results, workers=2)) == 0
    assert len(rows_of(results)) == 30
    tries = Counter(task.diary.read_text().split())
    assert all(tries[name] == before[name] for name in recorded)
    assert sum(tries.values()) <= 32  # the two that were being done when the run was killed


def test_options_that_need_a_table_say_so():
    for wrong, why in (
        ({"workers": 2}, "--workers"),
        ({"engine": "ray"}, "--engine"),
        ({"retry_failed": True}, "--retry"),
    ):
        with pytest.raises(OptionError, match=f"{why}.*--results"):
            ManyFiles(**wrong)
    with pytest.raises(OptionError, match="Add --engine ray"):
        ManyFiles(results=Path("x"), address="auto")
    with pytest.raises(OptionError, match="workers=0"):
        ManyFiles(results=Path("x"), workers=0)
    with pytest.raises(OptionError, match=r"workers=257 is out of range\. Choose 1 to 256"):
        ManyFiles(results=Path("x"), workers=257)
    assert ManyFiles(results=Path("x"), workers=257, engine="ray").workers == 257  # a cluster has many machines
