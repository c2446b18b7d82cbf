"""The three verbs over many files say, and make, what they do for one file at a time; and so on either engine."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from muybridge.apps.cli import main
from muybridge.media.video_reader import VideoReader
from tests.apps.test_recognize_command import write_model, write_noise
from tests.apps.test_stylize_command import write_clip
from tests.engine.scripted import ScriptedTask, write_files
from tests.localize.localized_videos import noise_frames, small_localizer, write_frames
from tests.recognize.labelled_clips import write_backbone
from tests.stylize.conftest import model_file, smooth_picture  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.slow,
    # Ray warns of itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]
ENGINES = ("local", "ray")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return stopped.value.code


def rows_of(folder: str) -> list[dict]:
    return pq.read_table(Path(folder) / "results.parquet").drop(["seconds"]).to_pylist()


def test_recognize(folder, capsys):
    write_backbone(Path("vit.safetensors"))
    write_model(Path("model.safetensors"), Path("vit.safetensors"))
    for number in range(3):
        write_noise(Path(f"in/{number}.mp4"), 1.0 + number)
    Path("in/broken.mp4").write_text("broken")
    options = ["in", "--model", "model.safetensors", "--backbone-weights", "vit.safetensors", "--device", "cpu"]
    assert run("recognize", *options, "--format", "json") == 2
    one_by_one = json.loads(capsys.readouterr().out)
    for engine in ENGINES:
        pytest.importorskip("ray") if engine == "ray" else None
        assert run("recognize", *options, "--results", engine, "--engine", engine) == 2
    local = rows_of("local")
    assert [row["status"] for row in local] == ["done", "done", "done", "failed"]
    for row, answer in zip(local, one_by_one, strict=False):
        assert row["input"] == str(folder / answer["file"])
        spans = [{name: label[name] for name in ("start", "end", "label", "score")} for label in row["labels"]]
        assert spans == answer["spans"]
    assert rows_of("ray") == local


def test_stylize(folder, model_file):  # noqa: F811
    Image.fromarray(smooth_picture(48, 60, 1)).save("in/photo.png")
    Image.fromarray(smooth_picture(40, 40, 2)).save("painting.png")
    write_clip(Path("in/clip.mp4"))
    options = ["in", "--style", "painting.png", "--style-size", "32", "--model", str(model_file), "--device", "cpu"]
    assert run("stylize", *options, "-o", "plain") == 0
    assert run("stylize", *options, "--results", "many") == 0
    assert [row["outputs"] for row in rows_of("many")] == [["files/clip.mp4"], ["files/photo.png"]]
    # Two processes may round a sum otherwise, by a level; the encoder makes more of it.
    with Image.open("many/files/photo.png") as many, Image.open("plain/photo.png") as plain:
        assert np.abs(np.asarray(many, int) - np.asarray(plain, int)).max() <= 1
    films = []
    for painted in ("many/files/clip.mp4", "plain/clip.mp4"):
        with VideoReader(painted) as reader:
            films.append(np.stack([frame.image for frame in reader]).astype(int))
    many, plain = films
    assert many.shape == plain.shape == (8, 40, 56, 3)
    assert np.abs(many - plain).mean() < 1
    assert np.abs(many[:-1] - plain[1:]).mean() > 2  # which frame it is would be seen


def test_localize(folder):
    small_localizer().save("model.safetensors")
    write_frames(folder / "in" / "one.mp4", noise_frames(16, seed=1))
    options = ["in", "--model", "model.safetensors", "--device", "cpu", "--every", "500ms", "--threshold", "0.01"]
    assert run("localize", *options, "-o", "plain") == 0
    assert run("localize", *options, "--results", "many") == 0
    (row,) = rows_of("many")
    assert row["outputs"] == ["files/one.mp4", "files/one.json", "files/one.html"]
    assert Path("many/files/one.json").read_text() == Path("plain/one.json").read_text()


def test_ray_names_what_kills_its_worker_and_redoes_what_another_was_at(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from muybridge.engine.options import ManyFiles
    from muybridge.engine.run import run_many

    files = write_files(tmp_path / "in", ["fine", "killer", "killer-once", "mistake", "broken", "fine"])
    for engine in ENGINES:
        (tmp_path / engine).mkdir()
        task = ScriptedTask(tmp_path / engine)
        many = ManyFiles(results=tmp_path / f"{engine}-results", workers=2, engine=engine)
        assert run_many(task, [str(files)], many) == 2
    assert rows_of(str(tmp_path / "ray-results")) == rows_of(str(tmp_path / "local-results"))
    assert rows_of(str(tmp_path / "ray-results"))[1]["error"].startswith(f"{files}/1.mp4 ended its worker 2 times")


def test_a_ray_address_that_does_not_answer_is_told_in_one_line(tmp_path):
    pytest.importorskip("ray")
    from muybridge.engine.options import ManyFiles
    from muybridge.engine.run import run_many
    from muybridge.errors import OptionError

    files = write_files(tmp_path / "in", ["fine"])
    for address in ("ray://127.0.0.1:1", "127.0.0.1:1", "ray://127.0.0.1:x"):
        many = ManyFiles(results=tmp_path / "results", engine="ray", address=address)
        with pytest.raises(OptionError, match="no Ray cluster answers at --address"):
            run_many(ScriptedTask(tmp_path), [str(files)], many)
