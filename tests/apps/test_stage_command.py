"""`muybridge stage`: what lies in the folders, read by csv, PyAV and Pillow; what repeats, what is refused."""

import csv
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from muybridge.apps.cli import main

SMALL = ["--width", "64", "--height", "36", "--rate", "4", "--seconds", "2"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["stage", *arguments, *(option for option in SMALL if not set(arguments) & set(SMALL[::2]))])
    return stopped.value.code


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files_below(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


def test_boxes_layout_sizes_rate_and_turns_of_actors(capsys):
    arguments = ["-n", "3", "--actors", "1", "--actors", "4", "--seed", "7", "--every", "0.5", "--min-visible", "0"]
    assert run("-o", "out", *arguments) == 0
    assert "3 videos (seeds 7 to 9)" in capsys.readouterr().out
    names = [f"general-0000{seed}-0" for seed in (7, 8, 9)]
    expected = ["ava.csv", "labels.pbtxt", *(f"cvat/{n}.xml" for n in names), *(f"videos/{n}.mp4" for n in names)]
    assert files_below("out") == sorted(expected)
    assert frames_of(Path("out/videos/general-00008-0.mp4")).shape == (8, 36, 64, 3)
    with Path("out/ava.csv").open() as file:
        rows = list(csv.reader(file))
    people = {name: {row[7] for row in rows if row[0] == name and len(row) == 8} for name in names}
    assert [len(people[name]) <= limit for name, limit in zip(names, (1, 4, 1), strict=True)] == [True] * 3
    assert len(people[names[1]]) > 1
    assert {row[1] for row in rows} == {"0000", "0.5", "0001", "1.5"}


def test_the_same_options_give_the_same_files_and_another_seed_others():
    for out, seed in (("one", "0"), ("again", "0"), ("other", "1")):
        assert run("-o", out, "-n", "1", "--seed", seed) == 0
    one, again = Path("one"), Path("again")
    assert files_below("one") == files_below("again")
    for name in ("ava.csv", "labels.pbtxt", "cvat/general-00000-0.xml"):
        assert (one / name).read_bytes() == (again / name).read_bytes()
    video = "videos/general-00000-0.mp4"
    assert np.array_equal(frames_of(one / video), frames_of(again / video))
    assert not np.array_equal(frames_of(one / video), frames_of(Path("other/videos/general-00001-0.mp4")))


def test_class_folders_are_even(capsys):
    arguments = ["--layout", "classes", "--only", "wave", "--only", "walk", "-n", "5", "--actors", "1"]
    assert run("-o", "out", *arguments) == 0
    counts = {path.name: len(list(path.iterdir())) for path in Path("out").iterdir()}
    assert counts == {"wave": 3, "walk": 2}
    assert "walk 2, wave 3" in capsys.readouterr().out


def test_siblings_agree_where_the_cause_is_not_seen():
    assert run("-o", "out", "--scenario", "relation", "--siblings", "-n", "1", "--actors", "3") == 0
    clips = [frames_of(path) for path in sorted(Path("out/videos").iterdir())]
    assert len(clips) == 4
    labels = Path("out/labels.pbtxt").read_text()
    assert len(re.findall(r'exclusive_group: "0"', labels)) == labels.count("item {")
    with Path("out/ava.csv").open() as file:
        rows = [row for row in csv.reader(file) if row[1] == "0000" and row[7] == "1"]
    assert len({tuple(row[2:6]) for row in rows}) == 1 and len({row[6] for row in rows}) == 4


def test_photographs_as_backgrounds():
    red = np.zeros((36, 64, 3), np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save("red.png")
    assert run("-o", "out", "-n", "1", "--actors", "0", "--photos", "red.png", "--no-shadows") == 0
    mean = frames_of(Path("out/videos/general-00000-0.mp4")).mean(axis=(0, 1, 2))
    assert mean[0] > 150 and mean[1] < 30 and mean[2] < 30


def test_a_folder_of_photographs_may_hold_films_too(capsys):
    Path("holiday").mkdir()
    assert run("-o", "films", "-n", "1", "--actors", "0", "--seconds", "0.5") == 0
    film = Path("films/videos/general-00000-0.mp4").rename("holiday/film.mp4")
    assert run("-o", "out", "-n", "1", "--photos", "holiday") == 2
    assert "no pictures" in capsys.readouterr().err
    Image.new("RGB", (64, 36), (200, 0, 0)).save("holiday/red.png")
    assert run("-o", "out", "-n", "1", "--actors", "0", "--photos", "holiday", "--no-shadows") == 0
    assert run("-o", "other", "-n", "1", "--photos", str(film)) == 2  # a film that is named is a mistake


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-n", "0"], "--scenes 0"),
        (["-n", "1000000000"], "at most 1,000,000"),
        (["--width", "100000", "--height", "100000"], "needs 600 GB of memory"),
        (["--width", "20000", "--height", "16"], "a side has 1 to 16384"),
        (["--only", "walk"], "'walk' is no class of scenario 'general'"),
        (["--layout", "classes", "--only", "fly"], "choose from stand, sit"),
        (["--layout", "classes", "--scenario", "general"], "no class"),
        (["--scenario", "relation", "--actors", "1"], "actors=1 is too few"),
        (["--scenario", "memory"], "leaves no time"),
        (["--actors", "-1"], "actors=-1"),
        (["--rate", "0"], "rate=0"),
        (["--photos", "nowhere.jpg"], "nowhere.jpg"),
        (["--every", "0"], "ava_every_seconds=0"),
        (["--every", "nan"], "ava_every_seconds=nan"),
        (["--min-visible", "2"], "min_visible=2"),
        (["--seconds", "inf"], "duration_seconds=inf"),
        (["--seconds", "1e300"], "86400 at most"),
        (["--scenario", "action", "--siblings", "-n", "1", "--only", "clap"], "more --scenes"),
        (["--scenario", "comedy"], "comedy"),
    ],
)
def test_mistakes_write_nothing(arguments, says, capsys):
    assert run("-o", "out", *arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err + printed.out and "Traceback" not in printed.err
    assert not Path("out").exists()
