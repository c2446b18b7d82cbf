"""Which frames a clip is made of, read from files whose frames show their own numbers."""

import json
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from muybridge.data.clip_augmentation import AugmentationConfig, augment
from muybridge.data.clip_lists import ClipEntry, ClipList
from muybridge.data.clip_sampling import SamplingConfig, ViewConfig, crop_views, normalize, resize_to_cover
from muybridge.data.clips import ClipDataset, check_clips, load_views, read_clip
from muybridge.data.label_maps import LabelMap
from muybridge.data.sampling import Draw
from muybridge.errors import InputError, OptionError
from muybridge.progress import progress_line
from tests.media.numbered_clips import HEIGHT, WIDTH, number_in, write_clip

PLAIN = SamplingConfig(frames=4, rate=5.0, size=(HEIGHT, WIDTH))


def numbers(clip: torch.Tensor) -> list[int]:
    return [number_in(frame.permute(1, 2, 0).numpy()) for frame in clip]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """4 s at 25 frames a second."""
    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", 100)


@pytest.mark.parametrize("rate", [5, 25, 240])
def test_a_rate_means_the_same_time_whatever_the_files_own_rate(tmp_path, rate):
    path = write_clip(tmp_path / "clip.mp4", 2 * rate, rate=Fraction(rate))
    shown = numbers(read_clip(path, PLAIN))
    # The middle 0.8 s of 2 s, a frame each 0.2 s.
    assert shown == [int(round(t * rate, 6)) for t in (0.6, 0.8, 1.0, 1.2)]


def test_stride_counts_the_files_frames(film):
    assert numbers(read_clip(film, replace(PLAIN, stride=3))) == [45, 48, 51, 54]


def test_segments_take_the_middle_of_each_part_in_tests(film):
    assert numbers(read_clip(film, replace(PLAIN, mode="segments"))) == [12, 37, 62, 87]


def test_segments_take_any_frame_of_each_part_in_training(film):
    random = np.random.default_rng(0)
    drawn = [numbers(read_clip(film, replace(PLAIN, mode="segments"), random=random)) for _ in range(20)]
    for part in range(4):
        own = {clip[part] for clip in drawn}
        assert own <= set(range(25 * part, 25 * part + 25))
        assert len(own) > 8


@pytest.mark.parametrize("config", [PLAIN, replace(PLAIN, stride=5), replace(PLAIN, stride=5, rate=1.0)])
def test_training_draws_all_starts(film, config):
    random = np.random.default_rng(1)
    clips = [numbers(read_clip(film, config, random=random)) for _ in range(40)]
    assert all(np.diff(clip).tolist() == [5, 5, 5] for clip in clips)
    starts = [clip[0] for clip in clips]
    assert min(starts) < 15 < 65 < max(starts)
    assert max(starts) <= 84


@pytest.mark.parametrize("config", [PLAIN, replace(PLAIN, stride=5)])
@pytest.mark.parametrize("random", [None, np.random.default_rng(0)])
def test_a_clip_that_is_too_short_repeats_its_last_frame(tmp_path, config, random):
    path = write_clip(tmp_path / "short.mp4", 7)
    assert numbers(read_clip(path, config, random=random)) == [0, 5, 6, 6]


def test_bounds_within_a_file(film):
    assert numbers(read_clip(film, replace(PLAIN, mode="segments"), start=1.0, end=2.0)) == [28, 34, 40, 46]
    assert numbers(read_clip(film, replace(PLAIN, stride=2), start=3.0, end=3.2)) == [75, 77, 79, 79]
    with pytest.raises(InputError, match=r"lasts 4\.00 s, but the clip begins at 9\.00 s"):
        read_clip(film, PLAIN, start=9.0)


def test_views_in_time_and_space(tmp_path):
    path = write_clip(tmp_path / "wide.mp4", 100, size=(144, 48))
    config = replace(PLAIN, size=(48, 48))
    views = load_views(path, config, ViewConfig(temporal=3, spatial=3))
    assert views.shape == (9, 4, 3, 48, 48)
    whole = [read_clip(path, config, view=view) for view in (0.0, 0.5, 1.0)]
    for number, view in enumerate(views):
        left = (0, 48, 96)[number % 3]
        torch.testing.assert_close(view, whole[number // 3][..., left : left + 48], rtol=0, atol=0)
    assert [numbers(clip)[0] for clip in whole] == [0, 40, 80]


def test_frames_in_memory_are_spread_over_the_clip():
    frames = np.zeros((32, 48, 72, 3), np.uint8)
    frames += np.arange(32, dtype=np.uint8)[:, None, None, None]
    assert load_views(frames, PLAIN)[0, :, 0, 0, 0].tolist() == [3, 11, 19, 27]
    assert load_views(frames[:2], PLAIN)[0, :, 0, 0, 0].tolist() == [0, 1, 1, 1]
    with pytest.raises(InputError, match="uint8 RGB"):
        load_views(frames.transpose(0, 3, 1, 2), PLAIN)


def test_portrait_video_fills_the_crop(tmp_path):
    path = write_clip(tmp_path / "portrait.mp4", 20, size=(48, 96))
    config = replace(PLAIN, size=(32, 64))
    assert resize_to_cover(read_clip(path, config), config).shape[-2:] == (128, 64)
    assert load_views(path, config, ViewConfig(spatial=3)).shape == (3, 4, 3, 32, 64)


def test_a_video_stored_on_its_side_is_turned(tmp_path):
    path = write_clip(tmp_path / "turned.mp4", 20, rotation=90)
    assert read_clip(path, PLAIN).shape == (4, 3, WIDTH, HEIGHT)


def test_normalisation_matches_the_formula():
    frames = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    config = replace(PLAIN, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    for channel, (mean, std) in enumerate(((0.1, 0.5), (0.2, 0.25), (0.3, 2.0))):
        wanted = (frames[:, channel].double() / 255 - mean) / std
        torch.testing.assert_close(normalize(frames, config)[:, channel].double(), wanted, rtol=0, atol=1e-6)


def test_the_contract_survives_json():
    config = SamplingConfig(frames=3, mode="segments", size=(96, 128), stride=None)
    assert SamplingConfig.from_json(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 0},
        {"rate": 0.0},
        {"stride": 0},
        {"mode": "sparse"},
        {"interpolation": "magic"},
        {"resize_short_side": 9},
    ],
)
def test_settings_out_of_range_name_themselves(change):
    with pytest.raises(OptionError, match=next(iter(change))):
        replace(PLAIN, **change)


# ---- augmentation ----


def moving_square() -> torch.Tensor:
    clip = torch.zeros(4, 3, 60, 80, dtype=torch.uint8)
    clip[:, :, 20:40, 30:50] = 200
    return clip


@pytest.mark.parametrize("crop", ["jitter", "random_resized"])
def test_all_frames_get_the_same_operations(crop):
    config = AugmentationConfig(crop=crop, flip=True, rand_augment=4, color=0.5)
    sampling = replace(PLAIN, size=(48, 48))
    results = []
    for seed in range(30):
        clip, _ = augment(moving_square(), config, sampling, np.random.default_rng(seed))
        assert clip.shape == (4, 3, 48, 48)
        assert clip.dtype == torch.uint8
        for frame in clip[1:]:  # the frames were equal, so they still are
            torch.testing.assert_close(frame, clip[0], rtol=0, atol=0)
        results.append(clip)
    assert len({tuple(clip.flatten().tolist()) for clip in results}) > 20


def test_augmentation_repeats_with_its_seed_and_leaves_the_global_generator():
    config = AugmentationConfig(rand_augment=2, color=0.4, flip=True)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again = (augment(moving_square(), config, PLAIN, np.random.default_rng(3))[0] for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)


def test_a_random_crop_is_what_torch_makes_of_that_part():
    frames = torch.randint(0, 256, (2, 3, 60, 80), dtype=torch.uint8)
    sampling = replace(PLAIN, size=(60, 80))
    clip, mirrored = augment(frames, AugmentationConfig(crop="center"), sampling, np.random.default_rng(0))
    torch.testing.assert_close(clip, frames, rtol=0, atol=0)
    assert not mirrored
    torch.testing.assert_close(crop_views(frames, sampling)[0], frames, rtol=0, atol=0)


def test_labels_that_tell_left_from_right_change_in_the_mirror(tmp_path):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2] = 255
    for number in range(4):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    names = LabelMap(("pan left", "pan right", "static"), (0, 1, 2))
    clips = ClipList((ClipEntry(tmp_path, (0,), "a"), ClipEntry(tmp_path, (2,), "b")), names)
    swapped = {"pan left": "pan right", "pan right": "pan left"}
    data = ClipDataset(clips, PLAIN, AugmentationConfig(crop="center", flip=True, flipped_labels=swapped))
    seen = set()
    for seed in range(12):
        item = data[Draw(0, seed)]
        mirrored = bool(item["frames"][0, 0, 0, 0] == 0)
        assert int(item["labels"]) == (1 if mirrored else 0)
        seen.add(int(item["labels"]))
        assert int(data[Draw(1, seed)]["labels"]) == 2
    assert seen == {0, 1}


def test_a_mirror_that_goes_one_way_is_refused():
    with pytest.raises(OptionError, match="Give both"):
        AugmentationConfig(flipped_labels={"pan left": "pan right"})


# ---- the data set ----


def test_several_labels_become_a_row(film):
    clips = ClipList((ClipEntry(film, (0, 2), "a"),), LabelMap(("a", "b", "c"), (0, 1, 2)), multi_label=True)
    assert ClipDataset(clips, PLAIN)[Draw(0, 0)]["labels"].tolist() == [1.0, 0.0, 1.0]


def test_broken_clips_are_named_counted_and_left_out(film, tmp_path, capsys):
    names = LabelMap(("a", "b"), (0, 1))
    empty, torn, gone = tmp_path / "empty.mp4", tmp_path / "torn.mp4", tmp_path / "gone.mp4"
    empty.write_bytes(b"")
    torn.write_bytes(film.read_bytes()[:200])
    late = ClipEntry(film, (0,), "late", start_seconds=100.0)
    entries = [ClipEntry(film, (0,), f"{i}") for i in range(7)]
    entries[3:3] = [ClipEntry(path, (1,), path.name) for path in (empty, torn, gone)]
    clips = ClipList((*entries, late), names)
    with progress_line("looking", total=len(clips), unit="clips") as line:
        kept, broken = check_clips(clips, line)
    assert [entry.path for entry in kept.entries] == [film] * 7
    assert [entry.path for entry in broken] == [empty, torn, gone, film]
    told = capsys.readouterr().err
    for path in (empty, torn, gone):
        assert str(path) in told
    assert "4 of 11 clips cannot be read" in told


def test_not_one_clip_can_be_read(tmp_path):
    clips = ClipList((ClipEntry(tmp_path / "gone.mp4", (0,), "a"),), LabelMap(("a",), (0,)))
    with pytest.raises(InputError, match="none of the 1 clips"):
        check_clips(clips)


def test_real_clips_of_every_kind_can_be_sampled(real_data):
    config = SamplingConfig(frames=8, rate=4.0, size=(112, 112))
    for name in ("clips/dark_actions/train/Jump/Jump_11_1.mp4", "clips/signs/again.mkv", "misc/var_fps_video.mp4"):
        views = load_views(real_data / name, config, ViewConfig(temporal=2, spatial=3))
        assert views.shape == (6, 8, 3, 112, 112)
        assert views.float().std() > 5
