"""What the user names, and where results go."""

import itertools
from pathlib import Path

import pytest
from PIL import Image

from muybridge.errors import MissingInput, OptionError
from muybridge.media.sources import clip_sources, expand_sources, film_name, natural_order, output_paths


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures in two levels, a clip, notes, and a hidden file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep er").mkdir(parents=True)
    for name in ("frame_10.png", "frame_2.png", "deep er/a b.JPG", ".hidden.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / "in" / name, format="PNG")
    (tmp_path / "in" / "clip.mov").write_bytes(b"x")
    (tmp_path / "in" / "notes.txt").write_text("x")
    return tmp_path


def test_a_folder_is_searched_through_in_natural_order(folder: Path) -> None:
    found = expand_sources([str(folder / "in")])
    assert [str(s.relative) for s in found] == ["clip.mov", "deep er/a b.JPG", "frame_2.png", "frame_10.png"]
    assert [s.kind for s in found] == ["video", "image", "image", "image"]


def test_natural_order() -> None:
    names = ["a1b10", "a1b9", "a01b2", "b", "a", "a²", "a1²2", "10", "9"]
    assert [p.name for p in sorted(map(Path, ["f10", "f9", "f100"]), key=natural_order)] == ["f9", "f10", "f100"]
    assert len(sorted(map(Path, names), key=natural_order)) == len(names)  # superscripts are no numbers


def test_globs_with_spaces_and_names_that_look_like_globs(folder: Path) -> None:
    assert [s.path.name for s in expand_sources(["in/deep er/*.JPG"])] == ["a b.JPG"]
    assert [s.path.name for s in expand_sources(["in/frame_*.png"])] == ["frame_2.png", "frame_10.png"]
    (folder / "odd[1].png").write_bytes((folder / "in/frame_2.png").read_bytes())
    assert [s.path.name for s in expand_sources(["odd[1].png"])] == ["odd[1].png"]


@pytest.mark.parametrize("name", ["gone.png", "in/*.webp", "i*", "empty"])
def test_what_leads_to_nothing_is_said(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(MissingInput):  # "i*" matches a folder alone
        expand_sources([name])


def test_phones_pictures_are_found(folder: Path) -> None:
    for name in ("a.heic", "b.HEIF", "c.hif", "d.jfif"):
        (folder / "in" / name).write_bytes(b"x")
    found = expand_sources([str(folder / "in")])
    assert {"a.heic", "b.HEIF", "c.hif", "d.jfif"} <= {str(s.relative) for s in found if s.kind == "image"}
    photos = [source for source in found if source.path.suffix in {".heic", ".jfif"}]
    targets = output_paths(photos, folder / "out", suffix_of_stem="painted")
    assert [target.name for target in targets] == ["a.png", "d.jfif"]


def test_a_name_too_long_for_any_folder(folder: Path) -> None:
    with pytest.raises(MissingInput, match=r"'x{100}\.\.\.' cannot be looked up: File name too long"):
        expand_sources(["x" * 5000])


def test_what_may_not_be_looked_at_is_left_to_its_reader(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_file = Path.is_file

    def refuse(path: Path) -> bool:
        if path.name == "clip.mov":
            raise PermissionError(13, "Permission denied")
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refuse)
    assert "clip.mov" in [str(s.relative) for s in expand_sources([str(folder / "in")])]


def test_a_picture_too_large_to_be_opened_ends_no_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    Image.new("RGB", (40, 40)).save(folder / "in" / "large.gif")
    assert "large.gif" in [str(s.relative) for s in expand_sources([str(folder / "in")])]


def test_kinds(folder: Path) -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 255)]
    frames[0].save(folder / "still.gif")
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "picture.dat").write_bytes((folder / "in/frame_2.png").read_bytes())
    names = ["still.gif", "moving.gif", "picture.dat", "in/notes.txt", "rtsp://camera/1", "/dev/video0"]
    assert [s.kind for s in expand_sources(names)] == ["image", "video", "image", "video", "stream", "stream"]


def test_results_never_meet_nor_leave_the_folder_nor_replace_an_input(folder: Path) -> None:
    (folder / "in" / "clip.avi").write_bytes(b"x")
    names = ["in", "in/clip.mov", "in/frame_2.png", "rtsp://camera/../1", "in/*.png", "./in/../in/clip.avi"]
    for count in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, count):
            sources = expand_sources(chosen)
            for out in (None, folder / "out"):
                results = output_paths(sources, out, suffix_of_stem="styled")
                assert len(results) == len(set(results)) == len(sources)
                assert not {r.resolve() for r in results} & {s.path.resolve() for s in sources if s.kind != "stream"}
                if out is not None:
                    assert all(r.resolve().is_relative_to(out.resolve()) for r in results)


def test_names_of_results(folder: Path) -> None:
    sources = expand_sources(["in/clip.mov", "in/frame_2.png"])
    beside = output_paths(sources, None, suffix_of_stem="styled")
    assert [str(path) for path in beside] == ["in/clip.styled.mp4", "in/frame_2.styled.png"]
    kept = output_paths(expand_sources(["in"]), Path("out"), suffix_of_stem="styled")
    assert Path("out/deep er/a b.jpg") in kept
    assert output_paths(sources[:1], Path("x/y.mkv"), suffix_of_stem="s") == [Path("x/y.mkv")]


def test_a_folder_of_frames_gives_results_its_whole_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("clip.1", "clip.2"):
        (folder / "clips" / name).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(folder / "clips" / name / "0.png")
    sources = clip_sources(["clips"])
    assert [source.name for source in sources] == ["clip.1", "clip.2"] == [film_name(s.path) for s in sources]
    beside = output_paths(sources, None, suffix_of_stem="seen")
    assert [str(path) for path in beside] == ["clips/clip.1.seen.mp4", "clips/clip.2.seen.mp4"]
    apart = output_paths(sources, Path("out"), suffix_of_stem="seen")
    assert [str(path) for path in apart] == ["out/clips/clip.1.mp4", "out/clips/clip.2.mp4"]
    assert film_name(Path("in/clip.mov")) == expand_sources(["in/clip.mov"])[0].name == "clip"
    monkeypatch.chdir(folder / "clips" / "clip.1")
    for name in (".", "../clip.1/../clip.1", "../../clips/clip.2/../clip.1/."):
        (source,) = clip_sources([name])
        assert source.name == film_name(Path(name)) == "clip.1"
        (target,) = output_paths([source], None, suffix_of_stem="seen")
        assert target.resolve() == folder.resolve() / "clips" / "clip.1.seen.mp4"


def test_refusals(folder: Path) -> None:
    both = expand_sources(["in/clip.mov", "in/frame_2.png"])
    with pytest.raises(OptionError, match="one file"):
        output_paths(both, Path("one.mp4"), suffix_of_stem="s")
    with pytest.raises(OptionError, match="replace"):
        output_paths(both[1:], folder / "in", suffix_of_stem="s")
    (folder / "in" / "clip.mp4").write_bytes(b"x")
    neighbours = expand_sources(["in/clip.mov", "in/clip.mp4"])
    with pytest.raises(OptionError, match="replace"):  # the mov's result would be the other input
        output_paths(neighbours[:1] + neighbours[1:], folder / "in", suffix_of_stem="s")


def test_a_number_in_a_name_stays_the_name(tmp_path: Path) -> None:
    names = ["a/scene-1.png", "b/scene-1.png", "b/scene-2.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    sources = expand_sources([str(tmp_path / name) for name in names])
    results = output_paths(sources, tmp_path / "out", suffix_of_stem="s")
    assert [path.name for path in results] == ["scene-1.png", "scene-1-2.png", "scene-2.png"]
