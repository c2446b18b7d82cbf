"""Results are whole, under names that nobody could have prepared."""

import os
from pathlib import Path

import pytest

from muybridge.apps.batch import check_apart
from muybridge.errors import OutputError
from muybridge.media.outputs import atomic_output, check_writable, name_beside
from muybridge.media.sources import Source, output_paths


def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    with atomic_output(tmp_path / "out.txt") as beside:
        beside.write_text("whole")
    assert (tmp_path / "out.txt").stat().st_mode == ordinary.stat().st_mode
    assert (tmp_path / "out.txt").read_text() == "whole"


def test_temporary_names_cannot_be_guessed(tmp_path: Path) -> None:
    names = {name_beside(tmp_path / "film.mp4").name for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith(".film.") and name.endswith(".mp4") for name in names)


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    (tmp_path / ".out.guessed.partial.txt").symlink_to(victim)
    with pytest.raises(OutputError, match=r"out\.txt"), atomic_output(tmp_path / "out.txt"):
        pass
    assert victim.read_text() == "precious"


def test_a_link_in_the_place_of_the_result_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "out.txt").symlink_to(victim)
    with atomic_output(tmp_path / "out.txt") as beside:
        beside.write_text("new")
    assert victim.read_text() == "precious"
    assert (tmp_path / "out.txt").read_text() == "new"


def test_what_was_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "out.txt", list[tuple[str, bool]]()

    def noted(handle: int) -> None:
        seen.append((str(Path(f"/proc/self/fd/{handle}").readlink()), path.exists()))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the system does not tell the names of open files")
    monkeypatch.setattr(os, "fsync", noted)
    with atomic_output(path) as beside:
        beside.write_text("whole")
        name = str(beside)
    assert seen == [(name, False), (str(tmp_path), True)]


@pytest.mark.parametrize("name", ["x" * 250 + ".txt", "ü" * 120 + ".txt", "a" * 100 + ".b" * 60])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    with atomic_output(tmp_path / name) as beside:
        beside.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_that_goes_away_meanwhile_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "disk" / "out.txt"
    with pytest.raises(OutputError, match=r"cannot write .*out\.txt"), atomic_output(path) as beside:
        beside.unlink()
        path.parent.rmdir()
    assert list(tmp_path.iterdir()) == []


def test_a_device_is_no_result(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(OutputError, match="device"):
            check_writable(path)


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "y" * 5000 + "/out.mp4", "loop/out.csv", "loop"])
def test_a_name_that_leads_nowhere_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "film.mp4").write_bytes(b"film")
    out = tmp_path / name
    check_apart(out, [tmp_path / "film.mp4"])
    source = Source(str(tmp_path / "film.mp4"), "video", Path("film.mp4"))
    (place,) = output_paths([source], out, suffix_of_stem="new")
    if name == "loop":  # a link is replaced
        place = out
        with atomic_output(place) as beside:
            beside.write_bytes(b"new")
        assert place.read_bytes() == b"new" and not place.is_symlink()
    else:
        with pytest.raises(OutputError) as caught, atomic_output(place):
            pytest.fail("nothing can be written there")
        assert "\n" not in str(caught.value)
