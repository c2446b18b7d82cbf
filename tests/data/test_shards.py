"""Clips in tar shards: what webdataset writes, from strangers too, drawn once an epoch and nothing unpacked."""

import io
import json
import tarfile
from fractions import Fraction
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
import webdataset
from torch.utils.data import DataLoader
from webdataset.tariterators import group_by_keys, tar_file_expander

from muybridge.data.clips.dataset import ClipDataset, check_clips, read_clip
from muybridge.data.clips.lists import read_clip_list
from muybridge.data.clips.sampling import SamplingConfig
from muybridge.data.clips.shards import on_disk, rows_of_shards
from muybridge.data.sampling import StepBatches
from muybridge.errors import AnnotationError, BrokenMedia, InputError, MissingInput
from muybridge.media.video_writer import VideoWriter

SAMPLING = SamplingConfig(frames=2, size=(16, 16))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[bytes]:
    """Twelve films, each of one shade of grey."""
    folder = tmp_path_factory.mktemp("clips")
    made: list[bytes] = []
    for number in range(12):
        path = folder / f"{number}.mp4"
        with VideoWriter(path, width=32, height=32, rate=Fraction(25)) as writer:
            for _ in range(6):
                writer.write(np.full((32, 32, 3), 20 * number, np.uint8))
        made.append(path.read_bytes())
    return made


def write_shards(folder: Path, clips: list[bytes], per_shard: int = 5, name: str = "clips") -> None:
    folder.mkdir(exist_ok=True)
    for first in range(0, len(clips), per_shard):
        with webdataset.TarWriter(str(folder / f"{name}-{first // per_shard:06}.tar")) as writer:
            for number in range(first, min(first + per_shard, len(clips))):
                label = {"label": ("dark", "light")[number % 2], "group": f"camera {number // 3}"}
                writer.write({"__key__": f"{number:04}", "mp4": clips[number], "json": label})


def tar_of(path: Path, *members: tuple[str | tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def shade(frames: torch.Tensor) -> int:
    return round(float(frames.float().mean()) / 20)


def test_what_webdataset_writes_is_read_as_its_own_reader_does(tmp_path, clips):
    write_shards(tmp_path / "set", clips)
    found = read_clip_list(tmp_path / "set")["all"]
    theirs: list[dict] = []
    for shard in sorted((tmp_path / "set").iterdir()):
        with shard.open("rb") as stream:
            theirs += group_by_keys(tar_file_expander([{"url": shard.name, "stream": stream}]))
    expected = [(sample["mp4"], json.loads(sample["json"])) for sample in theirs]
    assert len(found) == len(expected) == 12
    for entry, (film, said) in zip(found.entries, expected, strict=True):
        with on_disk(entry.path) as copy:
            assert copy.read_bytes() == film
        assert not copy.exists()
        assert [found.classes.names[label] for label in entry.labels] == [said["label"]]
        assert entry.group == said["group"]


def test_an_epoch_of_two_ranks_and_their_workers_is_each_clip_once_and_goes_on_in_the_middle(tmp_path, clips):
    write_shards(tmp_path / "set", clips)
    dataset = ClipDataset(read_clip_list(tmp_path / "set")["all"], SAMPLING)

    def drawn(rank: int, start: int) -> list[list[int]]:
        batches = StepBatches(12, batch_size=4, start=start, stop=6, seed=5, rank=rank, world_size=2)
        loader = DataLoader(dataset, batch_sampler=batches, num_workers=2)
        return [[shade(clip) for clip in batch["frames"]] for batch in loader]

    ranks = [drawn(rank, 0) for rank in (0, 1)]
    for epoch in (slice(0, 3), slice(3, 6)):
        seen = [clip for rank in ranks for batch in rank[epoch] for clip in batch]
        assert sorted(seen) == list(range(12))
    assert [drawn(rank, 4) for rank in (0, 1)] == [rank[4:] for rank in ranks]


def test_shards_at_an_address(tmp_path, clips):
    write_shards(tmp_path / "set", clips[:4], per_shard=2, name="train")
    write_shards(tmp_path / "set", clips[4:6], name="val")
    store = fsspec.filesystem("memory")
    store.put(str(tmp_path / "set") + "/", "/bucket/", recursive=True)
    splits = read_clip_list(Path("memory://bucket/*.tar"))
    assert {name: len(found) for name, found in splits.items()} == {"train": 4, "val": 2}
    shades = [shade(read_clip(entry.path, SAMPLING)) for entry in splits["train"].entries]
    assert shades == [0, 1, 2, 3]
    assert len(read_clip_list(Path("memory://bucket/train-{000000..000001}.tar"))["train"]) == 4
    with pytest.raises(MissingInput, match="memory://nowhere"):
        read_clip_list(Path("memory://nowhere"))
    with pytest.raises(InputError, match="no-such-protocol://x"):
        read_clip_list(Path("no-such-protocol://x"))


def test_labels_of_each_kind(tmp_path, clips):
    film = clips[0]
    tar_of(
        tmp_path / "a.tar",
        ("jump/1.mp4", film),
        ("x/2.mp4", film),
        ("x/2.cls", b"run"),
        ("x/3.seg.mp4", film),
        ("x/3.txt", b"jump | wave\n"),
        ("x/4.json", b'{"labels": ["run", "wave"], "group": "g"}'),
        ("x/4.mp4", film),
    )
    found = read_clip_list(tmp_path / "a.tar")["all"]
    names = [tuple(found.classes.names[label] for label in entry.labels) for entry in found.entries]
    assert names == [("jump",), ("run",), ("jump", "wave"), ("run", "wave")]


@pytest.mark.parametrize(
    "name",
    [
        "../../evil/x.mp4",
        "/etc/evil/x.mp4",
        "evil/a\\..\\..\\x.mp4",
        "evil/\x1b[2Jx.mp4",
        "evil/" + "n" * 300 + ".mp4",
    ],
)
def test_no_path_of_a_member_is_used_as_a_path_on_disk(tmp_path, clips, name, monkeypatch):
    shard = tar_of(tmp_path / "a.tar", (name, clips[3]))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    (entry,) = read_clip_list(shard)["all"].entries
    assert ".." not in entry.path.parts
    with on_disk(entry.path) as copy:
        assert copy.parent == tmp_path / "scratch"
        assert copy.name.startswith("muybridge-")
    assert shade(read_clip(entry.path, SAMPLING)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "scratch"]
    assert not list((tmp_path / "scratch").iterdir())


def test_links_devices_and_holes_are_passed_over(tmp_path, clips):
    members: list[tuple[tarfile.TarInfo, bytes]] = []
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
    for number, kind in enumerate(kinds):
        info = tarfile.TarInfo(f"c/{number}.mp4")
        info.type, info.linkname = kind, "/etc/passwd"
        members.append((info, b""))
    hollow = tarfile.TarInfo("c/hollow.cls")
    hollow.type = tarfile.GNUTYPE_SPARSE
    shard = tar_of(tmp_path / "a.tar", *members, (hollow, b""), ("c/whole.mp4", clips[1]))
    (entry,) = read_clip_list(shard)["all"].entries
    assert shade(read_clip(entry.path, SAMPLING)) == 1


def test_a_shard_that_is_cut_short_gives_what_is_there_and_is_named(tmp_path, clips):
    write_shards(tmp_path / "set", clips, per_shard=6)
    first, second = sorted((tmp_path / "set").iterdir())
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    found = read_clip_list(tmp_path / "set")["all"]
    assert 6 < len(found) < 12
    assert any(first.name in note and "cut short" in note for note in found.notes)
    second.write_bytes(second.read_bytes()[:512])  # after the headers were read
    with pytest.raises(BrokenMedia, match="cut short by the end of the shard"):
        read_clip(found.entries[-1].path, SAMPLING)


@pytest.mark.parametrize("data", [b"", b"no tar" * 400, b"\x1f\x8b" + b"z" * 600, b"\0" * 10240])
def test_what_is_no_shard_is_named(tmp_path, data):
    (tmp_path / "bad.tar").write_bytes(data)
    with pytest.raises(AnnotationError, match=r"bad\.tar"):
        read_clip_list(tmp_path / "bad.tar")


@pytest.mark.parametrize("said", [b"[" * 60_000, b'{"label": 1.5}', b'{"label": null}', b"\xff", b"[]", b"7", b"{}"])
def test_a_label_that_cannot_be_read_leaves_its_clip_out(tmp_path, clips, said):
    shard = tar_of(tmp_path / "a.tar", ("1.mp4", clips[0]), ("1.json", said), ("2.mp4", clips[1]), ("2.cls", b"b"))
    found = read_clip_list(shard)["all"]
    assert [entry.path.name for entry in found.entries] == ["2.mp4"]
    assert "the label of 1" in found.notes[0]


def test_a_broken_clip_is_named_and_the_next_takes_its_place(tmp_path, clips):
    shard = tar_of(tmp_path / "a.tar", ("c/1.mp4", b"no film"), ("c/2.mp4", clips[5]), ("d/3.mp4", clips[6]))
    found = read_clip_list(shard)["all"]
    assert len(check_clips(found, pass_shards=True)[0]) == 3
    assert len(check_clips(found)[0]) == 2
    dataset = ClipDataset(found, SAMPLING)
    (draws,) = StepBatches(3, batch_size=3, start=0, stop=1, seed=0)
    with pytest.warns(RuntimeWarning, match=r"a\.tar: 1\.mp4 cannot be opened as a video"):
        items = [dataset[draw] for draw in draws]
    assert sorted(shade(item["frames"]) for item in items) == [5, 5, 6]
    assert {int(item["index"]) for item in items} == {1, 2}


def test_the_address_of_a_file_is_that_file(tmp_path, clips):
    shard = tar_of(tmp_path / "s.tar", ("run/a.mp4", clips[0]))
    (row,), notes = rows_of_shards(Path(f"file://{shard}"))
    assert not notes
    with on_disk(row.path) as path:
        assert path.read_bytes() == clips[0]


def test_a_header_that_asks_for_gigabytes_gets_none(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    with (tmp_path / "s.tar").open("wb") as file:
        file.write(info.tobuf(format=tarfile.GNU_FORMAT))
        file.truncate((4 << 30) + 1024)
    rows, notes = rows_of_shards(tmp_path / "s.tar")
    assert not rows and "header of 4294967296 bytes" in notes[0]
