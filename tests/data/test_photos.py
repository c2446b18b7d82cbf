"""Random crops: seeded, of the asked size, and really parts of the picture."""

import warnings

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from muybridge.data.loading import Loader
from muybridge.data.photos import CropConfig, PhotoCrops, find_photographs, random_crop, recolour
from muybridge.data.sampling import Draw
from muybridge.errors import InputError


@pytest.fixture
def ramp(tmp_path):
    """A picture whose red is x and whose green is y."""
    y, x = np.mgrid[0:120, 0:200]
    rgb = np.stack([x, y, np.full_like(x, 77)], -1).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "ramp.png")
    return tmp_path / "ramp.png"


def test_a_crop_is_a_part_of_the_scaled_picture(ramp):
    config = CropConfig(short_side=(60, 60), crop=40)  # half size: a crop spans 80 pixels of the picture
    with Image.open(ramp) as picture:
        crop = random_crop(picture, config, np.random.default_rng(0))
    assert crop.shape == (3, 40, 40) and crop.dtype == torch.float32
    assert torch.all((crop[2] - 77).abs() <= 1)
    across, down = crop[0].diff(dim=1)[:, 2:-2], crop[1].diff(dim=0)[2:-2]
    assert across.abs().mean() == pytest.approx(2, abs=0.1)
    assert down.mean() == pytest.approx(2, abs=0.1)
    assert (across > 0).all() or (across < 0).all()  # mirrored or not, as a whole


def test_crops_stay_inside(ramp):
    config = CropConfig(short_side=(60, 90), crop=56)
    with Image.open(ramp) as picture:
        for seed in range(30):
            crop = random_crop(picture, config, np.random.default_rng(seed))
            assert crop[0].max() <= 200 and crop[1].max() <= 120


def test_items_depend_on_the_draw_alone(ramp):
    config = CropConfig(short_side=(60, 60), crop=40)
    photos = PhotoCrops([ramp, ramp], config, texture_seeds=16)
    first = photos[Draw(0, 11)]
    other = photos[Draw(1, 12)]
    again = PhotoCrops([ramp, ramp], config, texture_seeds=16)[Draw(0, 11)]
    assert all(torch.equal(first[name], again[name]) for name in ("photo", "style"))
    assert not torch.equal(first["photo"], other["photo"])
    assert set(PhotoCrops([ramp], config)[Draw(0, 1)]) == {"photo"}


def test_more_photographs_than_memory_holds_are_decoded_each_time(ramp, monkeypatch):
    config, draws = CropConfig(short_side=(60, 60), crop=40), [Draw(index % 3, index) for index in range(9)]
    kept = PhotoCrops([ramp] * 3, config)
    expected = [kept[draw]["photo"] for draw in draws]
    monkeypatch.setattr("muybridge.data.photos._MOST_KEPT_BYTES", 2 * 60 * 100 * 3)  # of two, at the size of crops
    few = PhotoCrops([ramp] * 3, config)
    assert all(torch.equal(few[draw]["photo"], crop) for draw, crop in zip(draws, expected, strict=True))
    assert (len(kept._pictures), len(few._pictures)) == (3, 2)


def test_photographs_of_shards_are_those_of_files(ramp, tmp_path):
    (tmp_path / "shards").mkdir()
    with webdataset.TarWriter(str(tmp_path / "shards" / "photos-000000.tar")) as writer:
        for number in range(3):
            picture = Image.fromarray(np.roll(np.asarray(Image.open(ramp)), 20 * number, axis=1))
            picture.save(tmp_path / f"{number}.png")
            data = (tmp_path / f"{number}.png").read_bytes()
            writer.write({"__key__": f"{number:03}", "png": data, "json": {"caption": "not looked at"}})
        writer.write({"__key__": "003", "txt": "nor this"})
    config, files = CropConfig(short_side=(60, 60), crop=40), [tmp_path / f"{number}.png" for number in range(3)]
    members = find_photographs([str(tmp_path / "shards")])
    assert len(members) == 3
    of_files, of_shards = (PhotoCrops(paths, config) for paths in (files, members))
    for index in range(3):
        assert torch.equal(of_files[Draw(index, 5)]["photo"], of_shards[Draw(index, 5)]["photo"])
    assert find_photographs([str(tmp_path / "shards" / "photos-000000.tar"), str(files[1])]) == [*members, files[1]]


def test_a_shard_that_is_cut_short_is_warned_of(ramp, tmp_path):
    with webdataset.TarWriter(str(tmp_path / "photos.tar")) as writer:
        for number in range(3):
            writer.write({"__key__": f"{number:03}", "png": ramp.read_bytes()})
    whole = (tmp_path / "photos.tar").read_bytes()
    (tmp_path / "photos.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(RuntimeWarning, match="photos.tar cannot be read to its end"):
        assert len(find_photographs([str(tmp_path / "photos.tar")])) < 3


@pytest.mark.parametrize("name", ["text.jpg", "empty.png", "cut.png"])
def test_a_photograph_that_cannot_be_read_is_named(ramp, tmp_path, name):
    content = {"text.jpg": b"hello", "empty.png": b"", "cut.png": ramp.read_bytes()[:200]}[name]
    (tmp_path / name).write_bytes(content)
    config = CropConfig(short_side=(60, 60), crop=40)
    photos = PhotoCrops([ramp, tmp_path / name, tmp_path / name], config)
    with pytest.warns(RuntimeWarning, match=f"left out: .*{name}") as told:
        items = [photos[Draw(index, 7)]["photo"] for index in (0, 1, 2, 1, 2)]
    assert len(told) == 2  # each once
    assert all(torch.equal(item, items[0]) for item in items)  # of the one that can be read
    none = PhotoCrops([tmp_path / name], config)
    with pytest.warns(RuntimeWarning), pytest.raises(InputError, match=f"none of the 1 photograph can.*{name}"):
        none[Draw(0, 1)]
    with pytest.raises(InputError, match="none of the 1 photograph can be read"):
        none[Draw(0, 1)]


def test_processes_share_what_they_found_unreadable(ramp, tmp_path):
    (tmp_path / "text.jpg").write_bytes(b"hello")
    photos = PhotoCrops([tmp_path / "text.jpg", ramp], CropConfig(short_side=(60, 60), crop=40))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(list(Loader(photos, sampler=[Draw(0, 1)], num_workers=1, batch_size=None))) == 1
        warnings.simplefilter("error")
        photos[Draw(0, 1)]  # known from the other process, and not named again


def test_recoloured_pixels_stay_in_range():
    pixels = torch.rand(3, 8, 8) * 255
    for seed in range(20):
        changed = recolour(pixels, np.random.default_rng(seed))
        assert changed.min() >= 0 and changed.max() <= 255


def test_photographs_beside_a_shard_count_too(ramp, tmp_path):
    (tmp_path / "photos").mkdir()
    with webdataset.TarWriter(str(tmp_path / "photos" / "more.tar")) as writer:
        writer.write({"__key__": "000", "png": ramp.read_bytes()})
    shard = tmp_path / "photos" / "more.tar"
    assert len(find_photographs([str(tmp_path / "photos")])) == 1
    (tmp_path / "photos" / "0.png").write_bytes(ramp.read_bytes())
    assert find_photographs([str(tmp_path / "photos")]) == [
        *find_photographs([str(shard)]),
        tmp_path / "photos/0.png",
    ]
