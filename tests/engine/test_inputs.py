"""Folders, globs, lists and prefixes of stores become single inputs, each once."""

import zipfile
from pathlib import Path

import fsspec
import pytest

from muybridge.engine.inputs import find_sources, local_copy, named_inputs
from muybridge.errors import BrokenMedia, InputError, MissingInput, OptionError
from muybridge.media.sources import expand_sources


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.mp4", "in/b 2.mp4", "in/b 10.mp4", "in/deep/c.mkv", "in/notes.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return tmp_path


def found(*names: str) -> list[str]:
    return [source.location for source in find_sources(names, expand_sources)]


def test_each_file_is_one_input_however_often_it_is_named(folder):
    everything = [str(folder / "in" / name) for name in ("a.mp4", "b 2.mp4", "b 10.mp4", "deep/c.mkv")]
    assert found("in", "in/*.mp4", "./in/a.mp4", str(folder / "in/a.mp4")) == everything


def test_a_list_names_files_from_its_own_folder(folder):
    listed = folder / "in" / "list.txt"
    listed.write_text(f"# clips\n\na.mp4\n  deep/c.mkv  \n{folder}/in/b 2.mp4\n")
    assert found(*named_inputs([], listed)) == [str(folder / "in" / n) for n in ("a.mp4", "deep/c.mkv", "b 2.mp4")]
    assert len(named_inputs(["in"], listed)) == 4


@pytest.mark.parametrize(
    "line", ["s3://bucket/a.mp4", "http://host/a.mp4", "file:///etc/passwd", "a\0b", "/dev/video0"]
)
def test_a_list_fetches_and_opens_nothing_but_files(folder, line):
    (folder / "list.txt").write_text(f"in/a.mp4\n{line}\n")
    with pytest.raises(InputError, match=r"list\.txt, line 2"):
        named_inputs([], folder / "list.txt")


def test_lists_that_are_none(folder):
    with pytest.raises(MissingInput, match="no list"):
        named_inputs([], folder / "nowhere.txt")
    (folder / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        named_inputs([], folder / "list.txt")
    with pytest.raises(InputError, match="cannot be read"):
        named_inputs([], folder / "in")
    with pytest.raises(MissingInput, match="no input is named"):
        named_inputs([], None)


def test_a_prefix_of_a_store(folder):
    store = fsspec.filesystem("memory")
    for name in ("/bucket/x/a.mp4", "/bucket/x/deep/b.png", "/bucket/x/readme.md", "/bucket/y/c.mp4"):
        store.pipe_file(name, name.encode())
    sources = find_sources(["memory://bucket/x"], expand_sources)
    assert [(source.location, source.kind, str(source.relative)) for source in sources] == [
        ("memory:///bucket/x/a.mp4", "video", "a.mp4"),
        ("memory:///bucket/x/deep/b.png", "image", "deep/b.png"),
    ]
    with local_copy(sources[0]) as copied:
        assert copied.path.read_bytes() == b"/bucket/x/a.mp4" and copied.path.suffix == ".mp4"
    assert not copied.path.exists()
    assert found("memory://bucket/*/*.mp4") == ["memory:///bucket/x/a.mp4", "memory:///bucket/y/c.mp4"]
    assert found("memory://bucket/y/c.mp4") == ["memory:///bucket/y/c.mp4"]


def test_an_archive_is_a_store_too(folder):
    with zipfile.ZipFile("clips.zip", "w") as archive:
        archive.writestr("d/a.mp4", "first")
        archive.writestr("d/b.mp4", "second")
        archive.writestr("../../escape.mp4", "third")
    sources = find_sources([f"zip://::{folder}/clips.zip"], expand_sources)
    assert sorted(str(source.relative) for source in sources) == ["d/a.mp4", "d/b.mp4", "escape.mp4"]
    with local_copy(next(source for source in sources if source.relative.stem == "b")) as copied:
        assert copied.path.read_text() == "second"


def test_what_is_said_of_a_copy_names_its_address(folder):
    fsspec.filesystem("memory").pipe_file("/bucket/z/a.mp4", b"x")
    (source,) = find_sources(["memory://bucket/z"], expand_sources)
    with pytest.raises(BrokenMedia, match=r"^memory:///bucket/z/a\.mp4 is broken$"), local_copy(source) as copied:
        raise BrokenMedia(f"{copied.location} is broken")
    fsspec.filesystem("memory").rm("/bucket/z/a.mp4")
    with pytest.raises(InputError, match=r"memory:///bucket/z/a\.mp4 cannot be fetched"), local_copy(source):
        pass


def test_stores_that_cannot_be_had(folder):
    for name, why in (
        ("nosuch://bucket/x", "cannot be reached"),
        ("memory://nothing/here", "no pictures and no videos"),
        (f"zip://::{folder}/in/a.mp4", "zip"),
    ):
        with pytest.raises(InputError, match=why):
            found(name)
    with pytest.raises(OptionError, match="live"):
        found("rtsp://camera/1")
