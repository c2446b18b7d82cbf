"""The commands of localizing, typed as a user types them."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from muybridge.apps.cli import main
from muybridge.data.annotations.ava import write_ava
from muybridge.data.annotations.mot import read_mot, write_mot
from muybridge.data.label_maps import write_label_map
from muybridge.media.video_reader import VideoReader
from muybridge.options import parse_seconds
from tests.localize.localized_videos import (
    LABELS,
    SIZE,
    annotations_of,
    noise_frames,
    small_localizer,
    two_people,
    write_frames,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two videos of 1.6 s, their annotations, labels and a model; also the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    for seed, name in enumerate(("one", "two")):
        write_frames(tmp_path / "videos" / f"{name}.mp4", noise_frames(16, seed=seed))
    from muybridge.data.annotations.files import join_annotations

    write_ava("truth.csv", join_annotations([two_people(name, [0.0, 1.0]) for name in ("one", "two")]))
    write_label_map("labels.pbtxt", LABELS)
    small_localizer().save("model.safetensors")
    return tmp_path


def run(command: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    return stopped.value.code


def test_a_folder_is_localized_into_a_folder(folder, capsys) -> None:
    options = "--boxes truth.csv --every 500ms --format ava cvat -o out --device cpu"
    code = run(f"localize videos --model model.safetensors {options}")
    assert code == 0
    said = capsys.readouterr().out.split()
    expected = [f"out/{name}{suffix}" for name in ("one", "two") for suffix in (".csv", ".xml", ".html", ".mp4")]
    assert said == expected
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(
        e.removeprefix("out/") for e in expected
    )


def test_a_broken_video_among_others_costs_only_itself(folder, capsys) -> None:
    (folder / "videos" / "broken.mp4").write_bytes(b"not a video")
    code = run("localize videos -m model.safetensors --boxes truth.csv --no-video --no-report --device cpu")
    said = capsys.readouterr()
    assert code == 2
    assert "skipped" in said.err
    assert said.out.split() == ["videos/one.localized.json", "videos/two.localized.json"]


def test_people_alone_need_no_model(folder, capsys) -> None:
    options = "--no-actions --boxes truth.csv --every 500ms --format coco json cvat mot --no-video --device cpu"
    assert run(f"localize videos/one.mp4 {options} -o out.mp4") == 0
    assert len(capsys.readouterr().out.split()) == 5
    content = json.loads((folder / "out.json").read_text())
    assert content["labels"] == ["person"]
    assert {(span["person"], span["label"]) for span in content["spans"]} == {(0, "person"), (1, "person")}
    coco = json.loads((folder / "out.coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == ["person"]
    assert coco["annotations"]


def film_and_frames(film: Path, frames: Path, count: int) -> None:
    """A film of 25 frames a second, and the very pictures that it decodes to, in a folder."""
    film.parent.mkdir(exist_ok=True)
    write_frames(film, noise_frames(count, rate=25), rate=25)
    frames.mkdir(parents=True)
    with VideoReader(film) as reader:
        for frame in reader:
            Image.fromarray(frame.image).save(frames / f"{frame.index}.png")  # 9 comes before 10


def test_a_folder_of_frames_is_a_film_of_25_frames_a_second(folder, capsys) -> None:
    film_and_frames(folder / "film" / "walk.mp4", folder / "walk", 30)
    write_mot(
        "walk.txt", two_people("walk", [frame / 25 for frame in range(30)]).in_pixels({"walk": SIZE}), rate_fps=25
    )
    options = "--every 400ms --boxes walk.txt -m model.safetensors --threshold 0 --device cpu --no-report"
    assert run(f"localize film/walk.mp4 {options} -o film.mp4") == 0
    assert run(f"localize walk {options} --attention --format json mot") == 0
    assert capsys.readouterr().out.split()[2:] == [
        "walk.localized.json",
        "walk.localized.txt",
        "walk.localized.attention.0.jpg",
        "walk.localized.attention.1.jpg",
        "walk.localized.mp4",
    ]
    film, found = (json.loads((folder / name).read_text()) for name in ("film.json", "walk.localized.json"))
    assert {name: found[name] for name in ("video", "rate", "seconds", "width")} == {
        "video": "walk",
        "rate": 25,
        "seconds": 1.2,
        "width": 96,
    }
    assert found["people"] == film["people"] == [{"id": person, "seen": [[0, 1.2]]} for person in (0, 1)]
    assert [key["seconds"] for key in found["key_frames"]] == [0, 0.4, 0.8]
    assert found["key_frames"] == film["key_frames"]  # the pictures are the film's, pixel for pixel
    rows = read_mot(folder / "walk.localized.txt", rate_fps=25)
    assert sorted({round(25 * seconds) for seconds in rows.time_seconds}) == list(range(30))
    with VideoReader(folder / "walk.localized.mp4") as reader:
        assert len(list(reader)) == 30


def test_folders_of_frames_have_their_whole_names(folder) -> None:
    (folder / "boxes").mkdir()
    for name, left in (("walk.1", 0.1), ("walk.2", 0.5)):
        film_and_frames(folder / "film" / "walk.mp4", folder / "frames" / name, 3)
        boxes = annotations_of([(name, 0.0, (left, 0.25, left + 0.25, 0.75), 3, 1)])
        write_mot(folder / "boxes" / f"{name}.txt", boxes.in_pixels({name: SIZE}), rate_fps=25)
    assert run("localize frames --boxes boxes --no-actions --no-video --no-report -o out --device cpu") == 0
    for name, left in (("walk.1", 0.1 * 96), ("walk.2", 0.5 * 96)):
        found = json.loads((folder / "out" / "frames" / f"{name}.json").read_text())
        assert found["video"] == name
        assert found["key_frames"][0]["people"][0]["box_xyxy"] == pytest.approx([left, 16, left + 24, 48], abs=0.01)


def test_the_bank_of_a_folder_of_frames_is_that_of_its_film(folder, capsys, monkeypatch) -> None:
    film_and_frames(folder / "film" / "walk.mp4", folder / "walk", 20)
    write_ava("walk.csv", two_people("walk", [0.0, 0.4]))
    options = "--boxes ../walk.csv --every 400ms -m ../model.safetensors --device cpu"
    monkeypatch.chdir(folder / "walk")
    assert run(f"write-bank . {options} -o ../banks") == 0
    assert run(f"write-bank ../film/walk.mp4 {options} -o ../same") == 0
    banks = [load_file(folder / name / "walk.safetensors") for name in ("banks", "same")]
    assert banks[0].keys() == banks[1].keys()
    assert all(torch.equal(banks[0][name], banks[1][name]) for name in banks[0])
    assert max(tensor.numel() for tensor in banks[0].values()) > 0
    capsys.readouterr()
    assert run(f"write-bank /dev/video0 {options} -o ../banks") == 2
    assert "/dev/video0 is live, and its bank is kept while it is localized" in capsys.readouterr().err


def test_what_the_head_looks_at_is_a_picture_a_person(folder, capsys) -> None:
    options = "--boxes truth.csv --no-video --no-report --attention --device cpu -o out.mp4"
    assert run(f"localize videos/one.mp4 -m model.safetensors {options}") == 0
    assert capsys.readouterr().out.split() == ["out.json", "out.attention.0.jpg", "out.attention.1.jpg"]
    for person in (0, 1):
        with Image.open(folder / f"out.attention.{person}.jpg") as picture:
            assert picture.width == 96


def test_a_model_without_relations_has_no_attention_to_show(folder, capsys) -> None:
    small_localizer(head="baseline").save("alone.safetensors")
    before = sorted(path.name for path in folder.iterdir())
    for options, word in (("-m alone.safetensors", "each person alone"), ("--no-actions", "Leave --no-actions out")):
        assert run(f"localize videos/one.mp4 {options} --attention --boxes truth.csv -o out.mp4") == 2
        said = capsys.readouterr().err.strip()
        assert word in said and len(said.splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_several_views_of_each_clip(folder, capsys) -> None:
    shared = "--scales 48 64 --flip --device cpu"
    assert run(f"localize videos/one.mp4 -m model.safetensors --boxes truth.csv --no-video {shared}") == 0
    assert (folder / "videos" / "one.localized.json").is_file()
    measure = f"evaluate localizer truth.csv --videos videos -m model.safetensors --report page.html {shared}"
    assert run(measure) == 0
    assert "48, 64, each mirrored too" in (folder / "page.html").read_text()


def test_training_by_sgd_with_the_published_schedule(folder, capsys) -> None:
    options = "--optimizer sgd --schedule step --warmup-from 0.125 --momentum 0.9 --learning-rate 0.064"
    options += " --weight-decay 1e-7 --steps 2 --workers 0 --device cpu --batch-size 2 --frames 4 --short-side 64"
    command = f"train localizer truth.csv --videos videos --labels labels.pbtxt --held-out 0 {options}"
    assert run(f"{command} --warmup 0.5 -o sgd.safetensors") == 0
    rows = [json.loads(line) for line in (folder / "sgd.training" / "history.jsonl").read_text().splitlines()]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.008, 0.064])


def test_training_measuring_and_a_bank_from_the_command_line(folder, capsys) -> None:
    shared = "--videos videos --labels labels.pbtxt --steps 1 --workers 0 --device cpu --batch-size 2"
    shared += " --frames 4 --short-side 64"
    assert run(f"train localizer truth.csv -o first.safetensors {shared}") == 0
    assert "frame_mAP" in capsys.readouterr().out
    bank = "write-bank videos -m first.safetensors --boxes truth.csv -o banks --device cpu"
    assert run(bank) == 0
    assert capsys.readouterr().out.split() == ["banks/one.safetensors", "banks/two.safetensors"]
    second = "train localizer truth.csv -o second.safetensors --banks banks --bank-after 0s"
    assert run(f"{second} {shared}") == 0
    capsys.readouterr()
    measure = "evaluate localizer truth.csv --videos videos -m second.safetensors --banks banks --device cpu"
    assert run(f"{measure} -o scores.json --report page.html --predictions p.csv") == 0
    assert "frame-mAP" in capsys.readouterr().out
    scores = json.loads((folder / "scores.json").read_text())
    assert 0 <= scores["frame_mAP"] <= 1
    assert scores["frames"]["protocol"] == "ava-2019"
    # The CSV scores the same without model and video.
    assert run("evaluate ava --truth truth.csv --predictions p.csv --labels labels.pbtxt --json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["mean_average_precision"] == pytest.approx(scores["frame_mAP"])
    assert run("localize videos/one.mp4 -m second.safetensors --boxes truth.csv --device cpu") == 2
    assert "--bank-model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("localize videos -m none.safetensors --boxes truth.csv", "none.safetensors"),
        ("localize videos -m model.safetensors --boxes none.csv", "none.csv"),
        ("localize videos -m model.safetensors --boxes truth.csv --every fast", "--every"),
        ("localize videos -m model.safetensors --boxes truth.csv --threshold 3", "threshold"),
        ("localize videos -m model.safetensors --detector nobody", "nobody"),
        ("localize nowhere -m model.safetensors --boxes truth.csv", "nowhere"),
        ("train localizer truth.csv --videos labels --labels labels.pbtxt -o m.safetensors", "no folder of videos"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, arguments, told) -> None:
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_lengths_of_time() -> None:
    assert [parse_seconds(text) for text in ("2", "2s", "500ms", "0.5s")] == [2, 2, 0.5, 0.5]
    with pytest.raises(ValueError, match="'soon' is no length of time"):
        parse_seconds("soon")
