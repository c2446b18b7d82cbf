"""Which frames a clip is made of, read from files whose frames show their own numbers."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from muybridge.data.clips.augmentation import AugmentationConfig
from muybridge.data.clips.dataset import ClipDataset, as_frames, check_clips, load_views, read_clip
from muybridge.data.clips.focus import focus_on_motion
from muybridge.data.clips.lists import ClipEntry, ClipList
from muybridge.data.clips.sampling import SamplingConfig, ViewConfig, crop_views, resize_to_cover
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
def test_a_short_clip_is_padded_with_its_last_frame_in_tests_and_the_last_sampled_one_in_training(tmp_path, config):
    path = write_clip(tmp_path / "short.mp4", 7)
    assert numbers(read_clip(path, config)) == [0, 5, 6, 6]
    assert numbers(read_clip(path, config, random=np.random.default_rng(0))) == [0, 5, 5, 5]


def test_padding_stays_within_the_clips_bounds(film):
    assert numbers(read_clip(film, PLAIN, start=1.0, end=1.5)) == [25, 30, 35, 37]
    assert numbers(read_clip(film, PLAIN, start=1.0, end=1.4)) == [25, 30, 34, 34]  # 1.4 s shows the frame after it


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


@pytest.mark.parametrize(("frames", "second_look"), [(60, [24, 27, 30, 33]), (150, [0, 37, 75, 112])])
def test_a_second_look_is_at_neighbouring_frames_of_short_clips_and_between_the_first_s_of_long_ones(
    tmp_path, frames, second_look
):
    # At 30 frames a second: 2 s, and 5 s.
    path = write_clip(tmp_path / "clip.mp4", frames, rate=Fraction(30))
    config = SamplingConfig(frames=4, mode="segments", size=(32, 48))
    seen = read_clip(path, config, dense_rate=10.0)
    assert numbers(seen) == second_look
    views = load_views(path, config, ViewConfig(dense_rate=10.0))
    assert torch.equal(views[1], crop_views(seen, config)[0])
    assert torch.equal(views[0], load_views(path, config)[0])


def test_the_focus_stands_behind_each_place_s_crops_and_is_what_the_last_look_sees(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 60, rate=Fraction(30))
    config = SamplingConfig(frames=4, mode="segments", size=(32, 48))
    views = load_views(path, config, ViewConfig(spatial=3, focus=True, dense_rate=10.0))
    assert len(views) == ViewConfig(spatial=3, focus=True, dense_rate=10.0).count == 5
    frames, closer = read_clip(path, config), read_clip(path, config, dense_rate=10.0)
    assert torch.equal(views[1], crop_views(frames, config)[0])
    assert torch.equal(views[3], crop_views(focus_on_motion(frames), config)[0])
    assert torch.equal(views[4], crop_views(focus_on_motion(closer), config)[0])


def test_training_draws_each_way_to_look(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", 60, rate=Fraction(30))
    clips = ClipList((ClipEntry(path, (0,), "a"),), LabelMap(("a", "b"), (0, 1)))
    config = replace(PLAIN, mode="segments")
    data = ClipDataset(clips, config, AugmentationConfig(crop="center"), ViewConfig(dense_rate=10.0))
    drawn = [numbers(data[Draw(0, seed)]["frames"]) for seed in range(20)]
    dense = [clip for clip in drawn if clip[-1] - clip[0] == 9]
    assert 2 < len(dense) < 14 and all(clip[-1] - clip[0] > 15 for clip in drawn if clip not in dense)
    focused = ClipDataset(clips, config, AugmentationConfig(crop="center"), ViewConfig(focus=True))
    whole = ClipDataset(clips, config, AugmentationConfig(crop="center"))
    same = [torch.equal(focused[Draw(0, n)]["frames"], whole[Draw(0, n)]["frames"]) for n in range(20)]
    assert len(same) - sum(same) > 0


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


# ---- the data set ----


def test_classes_that_are_reversals_are_shown_backwards_as_each_other(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * number, np.uint8)).save(tmp_path / f"{number}.png")
    spread = replace(PLAIN, frames=4, mode="segments")
    names = LabelMap(("sit down", "stand up", "walk"), (0, 1, 2))
    entries = (ClipEntry(tmp_path, (0,), "a"), ClipEntry(tmp_path, (1,), "b"), ClipEntry(tmp_path, (2,), "c"))
    how = AugmentationConfig(crop="center", reverse=("sit down=stand up",))
    data = ClipDataset(ClipList(entries, names), spread, how)
    for place, backwards_label in ((0, 1), (1, 0)):
        seen = []
        for seed in range(40):
            item = data[Draw(place, seed)]
            backwards = bool(item["frames"][0].float().mean() > item["frames"][-1].float().mean())
            assert int(item["labels"]) == (backwards_label if backwards else place)
            seen.append(backwards)
        assert 10 <= sum(seen) <= 30
    for seed in range(12):
        item = data[Draw(2, seed)]
        assert item["frames"][0].float().mean() < item["frames"][-1].float().mean() and int(item["labels"]) == 2
    # Of a clip with several labels, all must have a reversal.
    several = ClipList((ClipEntry(tmp_path, (0, 2), "a"), ClipEntry(tmp_path, (0, 1), "b")), names, multi_label=True)
    data = ClipDataset(several, spread, how)
    assert all(data[Draw(0, seed)]["labels"].tolist() == [1, 0, 1] for seed in range(12))
    assert all(data[Draw(1, seed)]["labels"].tolist() == [1, 1, 0] for seed in range(12))
    with pytest.raises(OptionError, match="reverse names 'jump'"):
        ClipDataset(several, spread, AugmentationConfig(reverse=("jump=walk",)))


def test_labels_that_tell_left_from_right_change_in_the_mirror(tmp_path):
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, : WIDTH // 2] = 255
    for number in range(4):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    names = LabelMap(("pan left", "pan right", "static"), (0, 1, 2))
    clips = ClipList((ClipEntry(tmp_path, (0,), "a"), ClipEntry(tmp_path, (2,), "b")), names)
    data = ClipDataset(clips, PLAIN, AugmentationConfig(crop="center", flip=True, mirror=("pan left=pan right",)))
    seen = set()
    for seed in range(12):
        item = data[Draw(0, seed)]
        mirrored = bool(item["frames"][0, 0, 0, 0] == 0)
        assert int(item["labels"]) == (1 if mirrored else 0)
        seen.add(int(item["labels"]))
        assert int(data[Draw(1, seed)]["labels"]) == 2
    assert seen == {0, 1}


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
    assert "left out: 4 of 11 clips, which cannot be read" in told


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_file_that_was_cut_short_is_left_out_where_the_clip_needs_what_is_gone(tmp_path, capsys, name):
    path = write_clip(tmp_path / name, 100, faststart=name.endswith("mp4"), options={"crf": "1"})
    entries = (
        ClipEntry(path, (0,), "whole"),
        ClipEntry(path, (1,), "begin", end_seconds=0.4),
        ClipEntry(path, (1,), "end", start_seconds=3.0),
    )
    clips = ClipList(entries, LabelMap(("a", "b"), (0, 1)))
    assert check_clips(clips) == (clips, [])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with progress_line("looking", total=3, unit="clips") as line:
        kept, broken = check_clips(clips, line)
    assert [entry.group for entry in kept.entries] == ["begin"]
    assert [entry.group for entry in broken] == ["whole", "end"]
    assert "is cut short: it should last 4.0" in capsys.readouterr().err.replace("\n", " ")


def test_a_last_picture_that_is_held_for_long_is_no_cut(tmp_path):
    pts = [*range(20), 200]
    path = write_clip(tmp_path / "held.mp4", 21, pts=pts, time_base=Fraction(1, 25))
    clips = ClipList((ClipEntry(path, (0,), "a"),), LabelMap(("a",), (0,)))
    assert check_clips(clips) == (clips, [])


def test_mirrors_that_would_make_labels_wrong_are_refused(film):
    entries = (ClipEntry(film, (0,), "a"),)
    sided = ClipList(entries, LabelMap(("pan left", "pan right", "static"), (0, 1, 2)))
    with pytest.raises(OptionError, match="'pan left' the wrong way round"):
        ClipDataset(sided, PLAIN, AugmentationConfig(flip=True))
    with pytest.raises(OptionError, match="'pan lefft', which is no class"):
        ClipDataset(sided, PLAIN, AugmentationConfig(flip=True, mirror=("pan lefft=pan right",)))
    assert len(ClipDataset(sided, PLAIN, AugmentationConfig(flip=True, mirror=("pan left=pan right",)))) == 1
    plain = ClipList(entries, LabelMap(("bright", "cleft", "outright"), (0, 1, 2)))
    assert len(ClipDataset(plain, PLAIN, AugmentationConfig(flip=True))) == 1


def test_items_repeat_with_their_draw_and_differ_with_its_seed(film):
    data = ClipDataset(ClipList((ClipEntry(film, (0,), "a"),), LabelMap(("a",), (0,))), PLAIN)
    first, again, other = (data[Draw(0, seed)]["frames"] for seed in (4, 4, 5))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert numbers(first) != numbers(other)


def test_not_one_clip_can_be_read(tmp_path):
    clips = ClipList((ClipEntry(tmp_path / "gone.mp4", (0,), "a"),), LabelMap(("a",), (0,)))
    with pytest.raises(InputError, match="none of 1 clip can be read"):
        check_clips(clips)


def test_real_clips_of_every_kind_can_be_sampled(real_data):
    config = SamplingConfig(frames=8, rate=4.0, size=(112, 112))
    for name in ("clips/dark_actions/train/Jump/Jump_11_1.mp4", "clips/signs/again.mkv", "misc/var_fps_video.mp4"):
        views = load_views(real_data / name, config, ViewConfig(temporal=2, spatial=3))
        assert views.shape == (6, 8, 3, 112, 112)
        assert views.float().std() > 5


def test_arrays_may_lie_backwards_in_memory_or_be_read_only():
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    assert torch.equal(as_frames(frames[::-1, ..., ::-1]), torch.from_numpy(frames).flip(0, 3))
    frames.flags.writeable = False  # a warning is an error here
    assert torch.equal(as_frames(frames), torch.from_numpy(frames.copy()))


@pytest.mark.parametrize(
    "frames",
    [
        None,
        [np.zeros((4, 5, 3), np.uint8)],
        np.zeros((2, 4, 5, 3), object),
        np.zeros((2, 4, 5, 3), np.float32),
        np.zeros((2, 0, 5, 3), np.uint8),
        torch.zeros(2, 3, 4, 5, dtype=torch.uint8),
    ],
    ids=["nothing", "list", "objects", "floats", "no rows", "channels first"],
)
def test_what_is_no_array_of_frames_is_refused(frames):
    with pytest.raises(InputError, match=r"must be \(N, H, W, 3\) uint8 RGB"):
        as_frames(frames)
