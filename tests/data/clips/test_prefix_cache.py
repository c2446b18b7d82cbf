"""Cached prefixes: exact, found again, and never mistaken for another clip's, sampling's or backbone's."""

import errno
import io
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from muybridge.data.clips.dataset import load_views
from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.clips.prefix_cache import CachedClips, PrefixCache, PrefixIdentity
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, normalize
from muybridge.data.label_maps import LabelMap
from muybridge.data.sampling import Draw
from muybridge.errors import InputError, OptionError, OutputError
from muybridge.models.backbones import backbone_hash
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from tests.media.numbered_clips import write_clip

SAMPLING = SamplingConfig(frames=3, rate=5.0, size=(32, 48))


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> ClipList:
    folder = tmp_path_factory.mktemp("clips")
    paths = [write_clip(folder / f"{i}.mp4", 30 + 5 * i) for i in range(3)]
    entries = [ClipEntry(path, (i % 2,), str(i)) for i, path in enumerate(paths)]
    return ClipList((*entries, ClipEntry(paths[0], (1,), "cut", 0.4, 1.0)), LabelMap(("a", "b"), (0, 1)))


@pytest.fixture(scope="module")
def model() -> VideoViT:
    torch.manual_seed(0)
    network = VideoViT(load_backbone("test_vit", random=True)[0], 2, adapters=AdapterConfig(width=8, blocks=3))
    with torch.no_grad():
        for parameter in network.adapters.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.3)
    return network.eval()


def prefix_of(model: VideoViT):
    return lambda frames: model.forward_prefix(normalize(frames, SAMPLING))


def identity_of(model: VideoViT) -> PrefixIdentity:
    return PrefixIdentity(backbone_hash(model.backbone), model.first_adapted_block, SAMPLING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_from_the_cache_is_exact(clips, model, tmp_path, dtype):
    cache = PrefixCache(tmp_path, replace(identity_of(model), dtype=dtype))
    assert cache.fill(clips, lambda frames: prefix_of(model)(frames).to(dtype), batch_size=3) == 4
    data = CachedClips(clips, cache)
    for index, entry in enumerate(clips.entries):
        item = data[Draw(index, 5)]
        frames = load_views(entry.path, SAMPLING, start=entry.start_seconds, end=entry.end_seconds)
        wanted = prefix_of(model)(frames)[0].to(dtype)
        assert item["prefix"].dtype == dtype
        torch.testing.assert_close(item["prefix"], wanted, rtol=0, atol=1e-5 if dtype == torch.float32 else 0.05)
        assert int(item["labels"]) == entry.labels[0]
        if dtype == torch.float32:
            with torch.no_grad():
                through = model.forward_from_prefix(item["prefix"][None], SAMPLING.size)
                whole = model(normalize(frames, SAMPLING))
            torch.testing.assert_close(through, whole, rtol=0, atol=1e-5)


def test_what_is_there_is_not_worked_out_again(clips, model, tmp_path):
    cache = PrefixCache(tmp_path, identity_of(model), views=ViewConfig(temporal=2))
    assert cache.fill(clips, prefix_of(model)) == 8
    again = PrefixCache(tmp_path, identity_of(model), views=ViewConfig(temporal=2))
    assert again.fill(clips, lambda _: pytest.fail("worked out again")) == 0


def test_another_backbone_sampling_depth_or_file_is_another_entry(clips, model, tmp_path):
    identity = identity_of(model)
    first = clips.entries[0]
    others = [
        replace(identity, backbone_hash="0" * 64),
        replace(identity, blocks=identity.blocks + 1),
        replace(identity, sampling=replace(SAMPLING, rate=6.0)),
        replace(identity, dtype=torch.float16),
    ]
    paths = {PrefixCache(tmp_path, other).path(first, 0) for other in (identity, *others)}
    assert len(paths) == 5
    cache = PrefixCache(tmp_path, identity)
    assert cache.path(first, 0) != cache.path(clips.entries[3], 0)  # the same file, other bounds
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(first.path.read_bytes())
    assert cache.path(replace(first, path=copy), 0) == cache.path(first, 0)  # the same bytes elsewhere
    copy.write_bytes(first.path.read_bytes() + b"0")
    assert PrefixCache(tmp_path, identity).path(replace(first, path=copy), 0) != cache.path(first, 0)


def test_several_places_in_time_are_drawn(clips, model, tmp_path):
    cache = PrefixCache(tmp_path, identity_of(model), views=ViewConfig(temporal=3))
    cache.fill(clips, prefix_of(model))
    data = CachedClips(clips, cache)
    drawn = {tuple(data[Draw(2, seed)]["prefix"].flatten()[:9].tolist()) for seed in range(20)}
    assert len(drawn) == 3


def test_every_view_of_a_test_is_cached(clips, model, tmp_path):
    views = ViewConfig(focus=True, dense_rate=6.0)
    cache = PrefixCache(tmp_path, identity_of(model), views=views)
    assert cache.fill(clips, prefix_of(model), batch_size=2) == 3 * len(clips)
    data = CachedClips(clips, cache)
    for entry, (prefixes, labels) in zip(clips.entries, data.seen(9), strict=True):
        frames = load_views(entry.path, SAMPLING, views, start=entry.start_seconds, end=entry.end_seconds)
        torch.testing.assert_close(prefixes, prefix_of(model)(frames), rtol=0, atol=1e-5)
        assert labels.tolist() == [entry.labels[0]] * 3
    assert len(next(iter(data.seen(2)))[0]) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "longer", "header"])
def test_damaged_entries_are_made_anew(clips, model, tmp_path, damage):
    cache = PrefixCache(tmp_path, identity_of(model))
    cache.fill(clips, prefix_of(model))
    path = cache.path(clips.entries[1], 0)
    sound = path.read_bytes()
    broken = {
        "cut": sound[:-700],
        "flipped": sound[:2000] + bytes([sound[2000] ^ 1]) + sound[2001:],
        "empty": b"",
        "longer": sound + b"\0",
        "header": sound.replace(b"'shape': (3,", b"'shape': (9,"),
    }[damage]
    assert broken != sound
    path.write_bytes(broken)
    with pytest.raises(InputError, match="is damaged or gone") as caught:
        cache.read(clips.entries[1], 0)
    assert str(path) in str(caught.value)
    assert PrefixCache(tmp_path, identity_of(model)).fill(clips, prefix_of(model)) == 1
    assert path.read_bytes() == sound


def npy(array, **changes) -> bytes:
    """A file of numpy's; changes are told in its header in place of the truth."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, np.lib.format.header_data_from_array_1_0(array) | changes)
    return content.getvalue() + array.tobytes()


def zipped() -> bytes:
    content = io.BytesIO()
    np.savez(content, a=np.zeros((3, 2, 2), np.float32))
    return content.getvalue()


SMALL = np.zeros((3, 2, 2), np.float32)
FORGED = {
    "nothing": b"",
    "junk": b"junk",
    "a cut header": npy(SMALL)[:40],
    "more numbers than there are": npy(SMALL, shape=(100_000_000_000,)),
    "sides below 0": npy(SMALL, shape=(-3, -4, 1)),
    "other numbers": npy(SMALL.astype(np.float64)),
    "objects": npy(np.zeros(4, np.int64), descr="|O"),
    "a header that does not end": b"\x93NUMPY\x01\x00\x04\x00((((",
    "a zip": zipped(),
}


@pytest.mark.parametrize("content", FORGED.values(), ids=FORGED)
def test_forged_entries_are_made_anew(clips, model, tmp_path, content):
    cache = PrefixCache(tmp_path, identity_of(model))
    cache.fill(clips, prefix_of(model))
    path = cache.path(clips.entries[1], 0)
    sound = path.read_bytes()
    # Of what was written the checksum is that of the name, then of all before: so is this one.
    assert zlib.crc32(path.name.encode() + sound[:-4]).to_bytes(4, "little") == sound[-4:]
    path.write_bytes(content + zlib.crc32(path.name.encode() + content).to_bytes(4, "little"))
    with pytest.raises(InputError, match="is damaged or gone"):
        cache.read(clips.entries[1], 0)
    assert cache.fill(clips, prefix_of(model)) == 1
    assert path.read_bytes() == sound


def test_four_zero_bytes_and_another_clips_file_are_made_anew(clips, model, tmp_path):
    cache = PrefixCache(tmp_path, identity_of(model))
    cache.fill(clips, prefix_of(model))
    first, second, third = (cache.path(entry, 0) for entry in clips.entries[:3])
    sound = [path.read_bytes() for path in (first, second, third)]
    first.write_bytes(sound[1])
    second.write_bytes(sound[0])
    third.write_bytes(b"\0\0\0\0")
    assert cache.fill(clips, prefix_of(model)) == 3
    assert [path.read_bytes() for path in (first, second, third)] == sound


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_folder_that_takes_nothing_more_is_one_line_with_its_own_remedy(
    clips, model, tmp_path, monkeypatch, number
):
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    cache = PrefixCache(tmp_path, identity_of(model))
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OutputError) as refused:
        cache.fill(clips, prefix_of(model))
    assert str(refused.value) == (
        f"the cache folder {tmp_path} cannot be written ({os.strerror(number)}). Free some space, or choose another "
        "with --cache"
    )
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_settings_out_of_range(model, tmp_path):
    with pytest.raises(OptionError, match="float64"):
        PrefixCache(tmp_path, replace(identity_of(model), dtype=torch.float64))
