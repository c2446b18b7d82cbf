"""What the head looks at: the right person's, at the right place of the frame."""

import numpy as np
import pytest
import torch

from muybridge.errors import OptionError
from muybridge.localize.attention import attention_pictures, draw_attention, over_frame
from muybridge.localize.results import LocalizeResult, People
from muybridge.models.acar.actors import Actors, ContextMap
from tests.localize.localized_videos import LABELS, noise_frames, small_localizer, two_people, write_frames

BOXES = np.array([(0.05, 0.2, 0.3, 0.9), (0.4, 0.3, 0.6, 0.95), (0.7, 0.1, 0.95, 0.6)], np.float32)


def people(scores=(0.9, 0.9, 0.9)) -> People:
    unknown = np.zeros((3, len(LABELS)), np.float32)
    return People(BOXES, np.array([4, 7, 9]), np.array(scores, np.float32), unknown)


def clip() -> torch.Tensor:
    return torch.from_numpy(np.stack([frame.image for frame in noise_frames(4)])).permute(0, 3, 1, 2)


def test_shares_are_those_of_the_head_by_person() -> None:
    localizer = small_localizer()
    shares, grid = localizer.attention_of(people(), clip())
    head = localizer.network.head
    with torch.no_grad():
        context = localizer.network.context(localizer._input(clip()))
        single = [
            head.double().first_order(
                ContextMap(context.features.double()), Actors.from_clips([torch.from_numpy(box[None])])
            )
            for box in BOXES
        ]
        # A person's map is the same whoever else is there; their shares follow from all maps at one place.
        query, key, _ = head.hr2o[0].qkv(torch.cat([each.maps for each in single])).chunk(3, dim=1)
    assert grid == tuple(context.features.shape[-2:])
    assert shares.shape == (3, 3, *head.map_grid(grid))
    for y in range(shares.shape[2]):
        for x in range(shares.shape[3]):
            score = query[:, :, y, x].numpy() @ key[:, :, y, x].numpy().T / np.sqrt(head.config.hidden)
            expected = np.exp(score) / np.exp(score).sum(1, keepdims=True)
            np.testing.assert_allclose(shares[:, :, y, x], expected, rtol=1e-3)
    assert np.ptp(shares) > 1e-3


def test_who_is_not_shown_to_the_network_has_no_share() -> None:
    shares, _ = small_localizer(actor_score=0.5).attention_of(people((0.9, 0.2, 0.9)), clip())
    assert not shares[1].any() and not shares[:, 1].any()
    np.testing.assert_allclose(shares[[0, 2]].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(("cell", "pixel"), [((1, 2), (70, 110)), ((0, 0), (30, 30)), ((3, 5), (150, 230))])
def test_a_place_of_the_map_lies_over_what_it_is_made_of(cell, pixel) -> None:
    # A context map of 9 x 13 cells of 20 pixels: a place lies in the middle of its cell 2 i + 1, the next one 40 on.
    flat = np.zeros((4, 6))
    flat[cell] = 1.0
    heat = over_frame(flat, (9, 13), (260, 180))
    assert heat.shape == (180, 260)
    row, column = pixel
    down, right = (40 if row < 90 else -40), (40 if column < 130 else -40)
    assert heat[row, column] == pytest.approx(1, abs=0.03)
    assert heat[row + down // 2, column] == pytest.approx(0.5, abs=0.03) == heat[row, column + right // 2]
    assert heat[row + down, column] == pytest.approx(0, abs=0.03) == heat[row, column + right]
    np.testing.assert_allclose(over_frame(np.full((4, 6), 0.3), (9, 13), (260, 180)), 0.3)


def test_a_picture_is_hot_where_others_count_and_grey_elsewhere() -> None:
    frame = np.full((180, 260, 3), (60, 120, 60), np.uint8)
    shares = np.zeros((3, 4, 6))
    shares[0] = 1.0
    shares[0, :, 4:], shares[1, :, 4:] = 0.2, 0.8
    drawn = draw_attention(frame, people(), 0, shares, (9, 13), title="a person")
    assert drawn.shape[1:] == (260, 3) and drawn.shape[0] > 180
    cold, hot = drawn[175, 6].astype(int), drawn[175, 250].astype(int)
    assert abs(cold[0] - cold[1]) < 40  # the frame without most of its colour
    assert hot[0] > cold[0] + 80 and hot[0] > hot[2] + 80


def run(localizer, tmp_path, rows) -> tuple[str, LocalizeResult]:
    video = write_frames(tmp_path / "yard.mp4", noise_frames(16))
    return str(video), localizer(video, boxes=rows, every=0.5)


def test_everybody_has_one_picture_at_the_moment_of_their_surest_action(tmp_path) -> None:
    localizer = small_localizer()
    video, result = run(localizer, tmp_path, two_people("yard", [0.0, 0.5, 1.0, 1.5]))
    pictures = list(attention_pictures(localizer, video, result))
    assert sorted(each.person for each in pictures) == [0, 1]
    for each in pictures:
        sure = {
            key.seconds: float(key.people.actions[key.people.ids.tolist().index(each.person)].max())
            for key in result.key_frames
        }
        assert sure[each.seconds] == max(sure.values())
        assert each.image.shape[1] == 96 and each.image.dtype == np.uint8


def test_who_is_alone_has_no_picture(tmp_path) -> None:
    localizer = small_localizer()
    rows = two_people("yard", [0.0, 0.5, 1.0, 1.5])
    video, result = run(localizer, tmp_path, rows.select(rows.person == 0))
    assert result.ids == [0] and list(attention_pictures(localizer, video, result)) == []


def test_the_head_that_looks_at_each_alone_is_refused() -> None:
    with pytest.raises(OptionError, match="looks at each person alone"):
        small_localizer(head="baseline").attention_of(people(), clip())
