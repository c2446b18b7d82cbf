"""Key frames, their clips and boxes, against videos in which a white person walks over black ground."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from muybridge.data.annotations.table import NO_LABEL, AnnotationRows
from muybridge.data.localization import (
    NO_AUGMENTATION,
    BoxAugmentation,
    BoxesDataset,
    KeyFrameSampling,
    add_detections,
    collate_boxes,
    detected_boxes,
    key_frames,
    normalize_clips,
    read_key_clip,
)
from muybridge.data.sampling import Draw
from muybridge.data.video_files import VideoFile, find_videos, video_file
from muybridge.errors import AnnotationError, InputError, MissingInput, OptionError
from muybridge.media.video_writer import VideoWriter
from tests.localize.localized_videos import LABELS, annotations_of
from tests.media.numbered_clips import HEIGHT, number_in, write_clip

SAMPLING = KeyFrameSampling(frames=4, rate=5.0, short_side=48)


def white_box(seconds: float) -> tuple[float, float, float, float]:
    """Where the white person is, as fractions of the frame."""
    left = 0.1 + 0.1 * seconds
    return (left, 0.25, left + 0.25, 0.75)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """walk.mp4: 4 s of the white person, 160x96; count.mp4: numbered frames at 25 a second."""
    folder = tmp_path_factory.mktemp("videos")
    with VideoWriter(folder / "walk.mp4", width=160, height=96, rate=Fraction(10), crf=4) as writer:
        for index in range(40):
            image = np.zeros((96, 160, 3), np.uint8)
            left, top, right, bottom = (white_box(index / 10) * np.array([160, 96, 160, 96])).round().astype(int)
            image[top:bottom, left:right] = 255
            writer.write(image)
    write_clip(folder / "count.mp4", 80)
    return folder


@pytest.fixture(scope="module")
def walk(folder) -> VideoFile:
    return video_file(folder / "walk.mp4")


def frames_of(walk, seconds=(0.5, 1.0, 2.5)):
    rows = [("walk", t, white_box(t), 7, 0) for t in seconds]
    return key_frames(annotations_of(rows), LABELS, {"walk": walk})


# --- key frames ---


def test_rows_of_one_person_become_one_box_with_several_targets(walk) -> None:
    box = (0.1, 0.2, 0.3, 0.9)
    rows = [("walk", 1.0, box, 7, 2), ("walk", 1.0, box, 12, 2), ("walk", 1.0, (0.5, 0.2, 0.7, 0.9), 3, 5)]
    (frame,) = key_frames(annotations_of(rows), LABELS, {"walk": walk})
    assert {int(p): t.tolist() for p, t in zip(frame.people, frame.targets, strict=True)} == {
        2: [0, 1, 1],
        5: [1, 0, 0],
    }


def test_a_box_without_action_is_someone_who_does_nothing(walk) -> None:
    (frame,) = key_frames(annotations_of([("walk", 1.0, (0, 0, 1, 1), NO_LABEL, 0)]), LABELS, {"walk": walk})
    assert frame.targets.tolist() == [[0, 0, 0]]


def test_boxes_are_cut_at_the_edge_and_dropped_outside(walk) -> None:
    rows = [
        ("walk", 1.0, (-0.2, 0.1, 0.3, 1.4), 3, 0),
        ("walk", 1.0, (1.1, 0.1, 1.3, 0.4), 3, 1),
        ("walk", 1.0, (0.5, 0.5, 0.5, 0.9), 3, 2),
        ("walk", 2.0, (-0.5, 0.1, -0.1, 0.4), 3, 0),
    ]
    one, other = key_frames(annotations_of(rows), LABELS, {"walk": walk})
    np.testing.assert_allclose(one.boxes, [(0, 0.1, 0.3, 1)], atol=1e-6)
    assert len(other.boxes) == 0


def test_dense_annotations_are_thinned(walk) -> None:
    frames = frames_of(walk, np.arange(40) / 10)
    assert len(frames) == 40
    rows = [("walk", t, white_box(t), 7, 0) for t in (np.arange(40) / 10).tolist()]
    thin = key_frames(annotations_of(rows), LABELS, {"walk": walk}, min_step_seconds=0.5)
    assert [f.seconds for f in thin] == pytest.approx(np.arange(8) / 2)


def test_a_time_past_the_end_is_named(walk) -> None:
    with pytest.raises(AnnotationError, match=r"annotated at 9\.00 s, but .*walk\.mp4 lasts 4\.00 s"):
        frames_of(walk, (1.0, 9.0))


def test_an_unknown_class_is_named(walk) -> None:
    with pytest.raises(AnnotationError, match="class id 99 is not in the label map"):
        key_frames(annotations_of([("walk", 1.0, (0, 0, 1, 1), 99, 0)]), LABELS, {"walk": walk})


def test_a_video_that_is_missing_is_named(folder, walk) -> None:
    with pytest.raises(AnnotationError, match=r"lacks 1 of the 2 annotated videos: 'gone'"):
        find_videos(["walk", "gone"], folder)
    with pytest.raises(AnnotationError, match="no file for the video 'walk'"):
        key_frames(annotations_of([("walk", 1.0, (0, 0, 1, 1), 3, 0)]), LABELS, {})
    with pytest.raises(MissingInput):
        find_videos(["walk"], folder / "nowhere")


def test_videos_are_found_by_name_suffix_or_folder(folder) -> None:
    found = find_videos(["walk", "count.mp4"], folder)
    assert (found["walk"].width, found["walk"].height, found["walk"].rate) == (160, 96, 10.0)
    assert found["count.mp4"].path == folder / "count.mp4"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("walk", 1.5, (0, 0, 1, 1), 0.9), "'walk' has key frames at 1 to 2 s, boxes at 1.5 to 1.5 s"),
        (("walk.mp4", 1.0, (0, 0, 1, 1), 0.9), "annotated are 'walk', the boxes are of 'walk.mp4'"),
        (("walk", 1.0, (0, 0, 1, 1), 0.3), "no box is scored 0.5 or more, of 1; the highest score is 0.3"),
    ],
)
def test_detections_that_meet_no_key_frame_are_named(walk, row, message) -> None:
    frames = frames_of(walk, (1.0, 2.0))
    rows = AnnotationRows("normalised")
    rows.add(*row[:3], score=row[3])
    with pytest.raises(AnnotationError, match=message):
        add_detections(frames, rows.annotations(), min_score=0.5)


def test_two_files_of_one_name_are_not_guessed_between(folder, tmp_path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "walk.mp4").write_bytes((folder / "walk.mp4").read_bytes())
    with pytest.raises(AnnotationError, match="could be"):
        find_videos(["walk"], tmp_path)
    assert find_videos(["a/walk"], tmp_path)["a/walk"].path == tmp_path / "a" / "walk.mp4"


# --- detections ---


def test_detections_have_the_targets_of_the_box_they_overlap_most(walk) -> None:
    rows = [("walk", 1.0, (0.1, 0.1, 0.3, 0.9), 3, 0), ("walk", 1.0, (0.25, 0.1, 0.45, 0.9), 7, 1)]
    frames = key_frames(annotations_of(rows), LABELS, {"walk": walk})
    boxes = [(0.11, 0.1, 0.31, 0.9), (0.26, 0.12, 0.45, 0.9), (0.6, 0.1, 0.8, 0.9), (0.1, 0.1, 0.3, 0.9)]
    found = annotations_of([("walk", 1.0, box, NO_LABEL, -1) for box in boxes], scores=[0.95, 0.92, 0.99, 0.5])
    (frame,) = add_detections(frames, found, min_score=0.9)
    assert len(frame.boxes) == 4  # the third overlaps nobody, the fourth is unsure
    np.testing.assert_allclose(frame.boxes[2:], boxes[:2], atol=1e-6)
    assert frame.targets[2:].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_detections_need_scores(walk) -> None:
    with pytest.raises(AnnotationError, match="scores"):
        detected_boxes(frames_of(walk), annotations_of([("walk", 1.0, (0, 0, 1, 1), 3, 0)]), min_score=0.5)


# --- clips ---


def test_clips_are_read_around_the_key_frame_and_repeat_the_edge(folder) -> None:
    file = video_file(folder / "count.mp4")
    size = SAMPLING.size(file.width, file.height)
    for key in (0.1, 1.0, 3.15):
        wanted = SAMPLING.seconds(key)
        clip = read_key_clip(file, wanted, size)
        numbers = [number_in(frame.permute(1, 2, 0).numpy()) for frame in clip]
        expected = [min(max(int(np.floor(t * 25 + 1e-6)), 0), 79) for t in wanted]
        assert numbers == expected
    assert clip.shape == (4, 3, HEIGHT, 72)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_stay_on_their_person_through_flip_and_scale(walk, seed) -> None:
    frames = frames_of(walk)
    data = BoxesDataset(frames, SAMPLING, BoxAugmentation(jitter=0.0, flip=True, scales=(0.7, 1.5)))
    for index in range(len(frames)):
        item = data[Draw(index, seed * 10 + index)]
        key = item["frames"][SAMPLING.frames // 2].float().mean(0)
        height, width = key.shape
        left, top, right, bottom = (item["boxes"][0] * torch.tensor([width, height, width, height])).round().int()
        inside = key[top + 2 : bottom - 2, left + 2 : right - 2]
        outside = key.clone()
        outside[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = 0
        assert inside.mean() > 240
        assert outside.mean() < 5


def test_flip_and_scale_happen_and_repeat_with_the_seed(walk) -> None:
    data = BoxesDataset(frames_of(walk), SAMPLING, BoxAugmentation(scales=(0.7, 1.5)))
    items = [data[Draw(0, seed)] for seed in range(12)]
    assert len({tuple(item["frames"].shape) for item in items}) > 3
    lefts = torch.stack([item["boxes"][0, 0] for item in items])
    assert (lefts < 0.3).any()
    assert (lefts > 0.4).any()
    again = data[Draw(0, 3)]
    assert all(torch.equal(again[name], items[3][name]) for name in again)


def test_jitter_moves_each_side_by_at_most_its_share(walk) -> None:
    frames = frames_of(walk)
    still = BoxesDataset(frames, SAMPLING, NO_AUGMENTATION)[Draw(0, 0)]["boxes"][0]
    moved = BoxesDataset(frames, SAMPLING, BoxAugmentation(jitter=0.1, flip=False, scales=(1, 1)))
    shifts = torch.stack([moved[Draw(0, seed)]["boxes"][0] - still for seed in range(20)])
    limit = 0.1 * torch.tensor([0.25, 0.5, 0.25, 0.5])
    assert (shifts.abs() <= limit + 1e-6).all()
    assert (shifts.abs().amax(0) > 0.5 * limit).all()


def test_sizes_keep_the_aspect_as_far_as_the_multiple_lets_them() -> None:
    assert KeyFrameSampling(short_side=256).size(1920, 1080) == (455, 256)
    assert KeyFrameSampling(short_side=112, multiple=16).size(426, 240) == (192, 112)
    assert KeyFrameSampling(short_side=112, multiple=16).size(240, 426) == (112, 192)


@pytest.mark.parametrize("options", [{"frames": 0}, {"rate": 0.0}, {"short_side": 0}])
def test_sampling_that_shows_nothing_is_refused(options) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        KeyFrameSampling(**options)


# --- batches ---


def test_a_batch_holds_every_item_where_its_boxes_say(walk, folder) -> None:
    frames = frames_of(walk)
    data = BoxesDataset(frames, SAMPLING, BoxAugmentation(jitter=0.0, flip=False, scales=(0.6, 1.6)))
    items = [data[Draw(i, i)] for i in range(3)]
    batch = collate_boxes(items)
    height, width = batch["frames"].shape[-2:]
    for row, item in enumerate(items):
        h, w = item["frames"].shape[-2:]
        assert batch["sizes"][row].tolist() == [h, w]
        assert torch.equal(batch["frames"][row, :, :, :h, :w], item["frames"])
        pixels = batch["boxes"][row, 0] * torch.tensor([width, height, width, height])
        torch.testing.assert_close(pixels, item["boxes"][0] * torch.tensor([w, h, w, h]))
        assert batch["present"][row].tolist() == [True]


def test_padding_is_zero_for_the_network() -> None:
    frames = torch.randint(0, 256, (2, 4, 3, 10, 12), dtype=torch.uint8)
    normalized = normalize_clips(frames, SAMPLING, [(10, 12), (7, 9)])
    assert (normalized[1, ..., 7:, :] == 0).all()
    assert (normalized[1, ..., 9:] == 0).all()
    expected = (frames[1, 2, 1, 6, 8].double() / 255 - 0.45) / 0.225
    assert normalized[1, 2, 1, 6, 8].item() == pytest.approx(expected.item(), abs=1e-6)


def test_clips_with_no_one_and_with_many_share_a_batch() -> None:
    items = [
        {
            "frames": torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
            "boxes": torch.rand(count, 4),
            "targets": torch.ones(count, 3),
            "index": torch.tensor(count),
        }
        for count in (0, 5, 2)
    ]
    batch = collate_boxes(items)
    assert batch["present"].sum(1).tolist() == [0, 5, 2]
    assert batch["boxes"].shape == (3, 5, 4)
    torch.testing.assert_close(batch["boxes"][2, :2], items[2]["boxes"])


def test_a_thread_of_pixels_is_no_frame():
    sampling = KeyFrameSampling(short_side=64)
    assert sampling.size(4000, 100) == (2560, 64)
    with pytest.raises(
        InputError, match=r"frames of 16384x2 are more than 40 times as long as wide.* Cut them first"
    ):
        sampling.size(16384, 2)
