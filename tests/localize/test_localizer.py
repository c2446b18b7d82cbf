"""The localizer: from a video to people's actions, and to a file and back."""

import numpy as np
import pytest
import torch

from muybridge.artifacts import load_artifact
from muybridge.data.annotations.table import Annotations
from muybridge.data.feature_bank import FeatureBank
from muybridge.data.label_maps import LabelMap
from muybridge.data.localization import BankSpan, key_frames
from muybridge.data.video_files import video_file
from muybridge.errors import InputError, MissingInput, ModelError, ModelMismatch, OptionError, UnsafeModelFile
from muybridge.localize.evaluate import logits_of, predict_key_frames
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import LocalizeConfig
from muybridge.models.acar.actors import Actors
from muybridge.models.acar.checkpoint import convert_checkpoint, infer_configs
from muybridge.models.acar.head import ACARHead, ACARNet
from muybridge.models.acar.loss import action_probabilities
from muybridge.models.acar.slowfast import SlowFast
from muybridge.people.sightings import DetectedPeople
from muybridge.people.tracks import Tracker
from tests.localize.localized_videos import (
    LABELS,
    MovingPeople,
    noise_frames,
    small_localizer,
    two_people,
    write_frames,
)
from tests.models.acar.test_checkpoint import FIRST, authors_backbone, authors_head, saved

TRUNKS = ("slowfast", "muybridge_vit")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("video") / "yard.mp4", noise_frames(32))


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("head", ["acar", "baseline"])
def test_saved_and_loaded_it_says_the_same(trunk, head, tmp_path) -> None:
    localizer = small_localizer(trunk=trunk, head=head)
    localizer.save(tmp_path / "model.safetensors")
    again = Localizer.from_pretrained(tmp_path / "model.safetensors", device="cpu")
    clip = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    boxes = MovingPeople(5).boxes_at(0)
    np.testing.assert_array_equal(localizer.actions(clip, boxes), again.actions(clip, boxes))
    assert (again.labels, again.sampling, again.backbone) == (LABELS, localizer.sampling, localizer.backbone)
    assert again.fingerprint == localizer.fingerprint != small_localizer(trunk=trunk, head=head, seed=1).fingerprint


def test_the_file_holds_nothing_of_the_frozen_image_model(tmp_path) -> None:
    localizer = small_localizer(trunk="muybridge_vit")
    localizer.save(tmp_path / "model.safetensors")
    artifact = load_artifact(tmp_path / "model.safetensors", task="localize")
    assert not [name for name in artifact.tensors if "backbone" in name]
    assert artifact.contract["backbone"]["name"] == "muybridge_vit"
    trained = {name for name, p in localizer.network.named_parameters() if p.requires_grad}
    assert trained <= artifact.tensors.keys()


def test_poses_exclude_each_other_and_other_actions_do_not() -> None:
    clip = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    actions = small_localizer().actions(clip, MovingPeople(6).boxes_at(0))
    np.testing.assert_allclose(actions[:, :2].sum(1), 1, rtol=1e-5)
    assert not np.allclose(actions.sum(1), 1)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_reading_on_and_seeking_lead_to_the_same_actions(trunk, video) -> None:
    localizer = small_localizer(trunk=trunk)
    seconds = [0.0, 1.0, 2.0, 3.0]
    result = localizer(video, boxes=two_people("yard", seconds), every=1.0)
    truth = key_frames(two_people("yard", seconds), LABELS, {"yard": video_file(video)})
    expected = predict_key_frames(logits_of(localizer), truth, LABELS, localizer.sampling, quiet=True)
    assert [key.seconds for key in result.key_frames] == seconds
    for key, frame, actions in zip(result.key_frames, truth, expected, strict=True):
        np.testing.assert_allclose(key.people.boxes, frame.boxes, atol=1e-6)
        assert key.people.ids.tolist() == frame.people.tolist()
        np.testing.assert_allclose(key.people.actions, actions, atol=2e-3)
    spread = np.ptp(np.stack(expected), axis=0)
    assert spread.max() > 0.02, "the key frames' answers must differ for this test to say anything"


def test_a_stream_says_what_a_file_says(video) -> None:
    localizer = small_localizer()
    frames = noise_frames(32)
    streamed = list(localizer.stream(frames, people=MovingPeople(), every=1.0))
    assert [each.frame.index for each in streamed] == list(range(32))
    clip = torch.stack([torch.from_numpy(frames[i].image).permute(2, 0, 1) for i in (16, 18, 20, 22)])
    expected = localizer.actions(clip, MovingPeople().boxes_at(2.0))
    np.testing.assert_allclose(streamed[21].people.actions, expected, atol=1e-6)


def test_three_hundred_people(video) -> None:
    localizer = small_localizer()
    people = MovingPeople(300)
    boxes = np.tile([0.1, 0.2, 0.3, 0.8], (300, 1)).astype(np.float32)
    boxes[:, [0, 2]] += np.linspace(0, 0.6, 300, dtype=np.float32)[:, None]
    people.boxes_at = lambda seconds: boxes
    found = list(localizer.stream(noise_frames(12), people=people, every=0.5))
    assert found[5].people.actions.shape == (300, 3)
    assert np.isfinite(found[5].people.actions).all()


def test_nobody(video) -> None:
    nobody = two_people("yard", [])
    result = small_localizer()(video, boxes=nobody)
    assert len(result.key_frames) == 4
    assert result.ids == []
    assert result.spans(threshold=0.0) == []
    assert len(result.annotations()) == 0
    assert len(result.annotations().empty_time_seconds) == 4


# --- detectors ---


class Answers:
    """A detector that gives one answer a call, or fails as the answer says."""

    classes = ("person",)

    def __init__(self, *answers) -> None:
        self.answers = list(answers)

    def __call__(self, frames):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        boxes = np.array(answer, np.float32).reshape(-1, 4)
        scores = np.full(len(boxes), 0.9, np.float32)
        return [type("Found", (), {"boxes": boxes, "scores": scores})()]


def looked(*answers, count=1, min_score=0.5):
    source = DetectedPeople(Answers(*answers), Tracker(rate=5), min_score=min_score)
    image = np.zeros((64, 96, 3), np.uint8)
    return source, [source.look(image, i / 5) for i in range(count)]


def test_boxes_outside_reversed_or_not_numbers_are_left_out() -> None:
    nan = float("nan")
    _, (sighting,) = looked(
        [
            (10, 10, 40, 60),
            (-20, -5, 30, 80),  # sticks out on three sides
            (200, 10, 240, 60),  # outside
            (40, 10, 10, 60),  # reversed
            (nan, 10, 40, 60),
            (150, 10, -30, 60),  # reversed, and would look sound if it were cut first
            (20, 20, 20, 40),  # no width
        ]
    )
    pixels = sighting.boxes * [96, 64, 96, 64]
    np.testing.assert_allclose(pixels, [(10, 10, 40, 60), (0, 0, 30, 64)], atol=1e-4)


@pytest.mark.parametrize("error", [RuntimeError("bad frame"), ValueError("bad shape"), InputError("bad answer")])
def test_a_detector_may_fail_on_a_frame(error) -> None:
    good = [(10, 10, 40, 60)]
    source, found = looked(good, error, good, count=3)
    assert found[1] is None
    assert found[0].ids.tolist() == found[2].ids.tolist()
    assert "1 frame," in source.notes[0]
    assert str(error) in source.notes[0]


def test_a_detector_that_always_fails_is_an_error() -> None:
    with pytest.raises(ModelError, match="in a row"):
        looked(RuntimeError("broken"), count=10)


def test_a_whole_video_survives_a_frame_that_the_detector_does_not(video) -> None:
    good = [(10, 10, 40, 60)]
    localizer = small_localizer(detector=Answers(*[good] * 3, RuntimeError("bad frame"), good))
    result = localizer(video)
    assert result.ids == result.key_frames[0].people.ids.tolist()
    assert "failed on 1 frame, first at 0.60 s" in result.notes[-1]


# --- feature banks ---


@pytest.fixture(scope="module")
def banked(video, tmp_path_factory):
    """The model that writes, its bank of the video, and boxes."""
    writer = small_localizer(seed=5)
    path = tmp_path_factory.mktemp("banks") / "yard.safetensors"
    boxes = two_people("yard", [0.0, 1.0, 2.0, 3.0])
    count = writer.write_bank(video, path, boxes=boxes, every=1.0)
    assert count == 8
    return writer, path, boxes


def reader(writer: Localizer, span: BankSpan, **options) -> Localizer:
    return small_localizer(seed=6, bank_span=span, bank_model=writer.fingerprint, **options)


def test_a_bank_holds_what_the_writer_saw(video, banked) -> None:
    writer, path, boxes = banked
    entries = FeatureBank(path, model=writer.fingerprint).window(2.0, before=0, after=0)
    frame = key_frames(boxes, LABELS, {"yard": video_file(video)})[2]
    from muybridge.data.localization import read_key_clip

    clip = read_key_clip(frame.file, writer.sampling.seconds(2.0), (96, 64))
    torch.testing.assert_close(entries.maps.float(), writer.first_order(clip, frame.boxes), atol=2e-3, rtol=2e-3)


def test_a_bank_changes_the_answer_as_a_window_of_it_does(video, banked) -> None:
    writer, path, boxes = banked
    bank = FeatureBank(path)
    wide, narrow = reader(writer, BankSpan(2.0, 2.0)), reader(writer, BankSpan(0.0, 0.0))
    one = wide(video, boxes=boxes, bank=bank)
    other = narrow(video, boxes=boxes, bank=bank)
    clip_time = one.key_frames[1]
    assert not np.allclose(clip_time.people.actions, other.key_frames[1].people.actions, atol=1e-4)
    frame = key_frames(boxes, LABELS, {"yard": video_file(video)})[1]
    expected = predict_key_frames(
        logits_of(wide), [frame], LABELS, wide.sampling, banks={"yard": bank}, span=wide.bank_span, quiet=True
    )[0]
    np.testing.assert_allclose(clip_time.people.actions, expected, atol=2e-3)


def test_a_stream_writes_its_bank_on_the_way(video, banked) -> None:
    writer, path, boxes = banked
    model = reader(writer, BankSpan(2.0, 0.0), bank_writer=writer)
    on_the_way = model(video, boxes=boxes)
    from_file = model(video, boxes=boxes, bank=FeatureBank(path))
    for one, other in zip(on_the_way.key_frames, from_file.key_frames, strict=True):
        np.testing.assert_allclose(one.people.actions, other.people.actions, atol=1e-5)


def test_a_bank_by_another_model_is_refused(video, banked) -> None:
    writer, path, _ = banked
    other = small_localizer(seed=9)
    with pytest.raises(ModelMismatch, match="was written by model"):
        FeatureBank(path, model=other.fingerprint)
    with pytest.raises(ModelMismatch, match=writer.fingerprint):
        reader(writer, BankSpan(), bank_writer=other)


def test_a_video_without_people_has_an_empty_bank(video, banked, tmp_path) -> None:
    writer, _, boxes = banked
    path = tmp_path / "nobody.safetensors"
    assert writer.write_bank(video, path, boxes=two_people("yard", [])) == 0
    model = reader(writer, BankSpan(2.0, 2.0))
    result = model(video, boxes=boxes, bank=FeatureBank(path, model=writer.fingerprint))
    assert np.isfinite(result.key_frames[0].people.actions).all()


def test_a_model_that_reads_a_bank_asks_for_one(video, banked) -> None:
    writer, path, boxes = banked
    with pytest.raises(OptionError, match="--bank-model"):
        reader(writer, BankSpan())(video, boxes=boxes)
    with pytest.raises(OptionError, match="without a feature bank"):
        small_localizer()(video, boxes=boxes, bank=FeatureBank(path))
    with pytest.raises(OptionError, match="baseline head"):
        small_localizer(head="baseline").write_bank(video, path.with_name("other.safetensors"), boxes=boxes)
    assert not path.with_name("other.safetensors").exists()


def test_the_span_of_a_bank_is_part_of_the_file(banked, tmp_path) -> None:
    writer, _, _ = banked
    writer.save(tmp_path / "writer.safetensors")
    reader(writer, BankSpan(4.0, 0.5)).save(tmp_path / "reader.safetensors")
    again = Localizer.from_pretrained(
        tmp_path / "reader.safetensors", bank_writer=tmp_path / "writer.safetensors", device="cpu"
    )
    assert again.bank_span == BankSpan(4.0, 0.5)
    assert again.bank_writer is not None
    assert again.bank_writer.fingerprint == writer.fingerprint


# --- what cannot be ---


def test_mistakes_are_told(tmp_path, video) -> None:
    localizer = small_localizer()
    with pytest.raises(MissingInput):
        Localizer.from_pretrained(tmp_path / "none.safetensors")
    with pytest.raises(OptionError, match="evry"):
        localizer(video, boxes=two_people("yard", [0.0]), evry=1.0)
    with pytest.raises(ModelMismatch, match="2 labels"):
        Localizer(localizer.network, localizer.config, LabelMap(("a", "b"), (0, 1)), localizer.sampling)
    with pytest.raises(MissingInput):
        localizer(tmp_path / "none.mp4", boxes=two_people("yard", [0.0]))


def test_options_may_come_as_a_config(video) -> None:
    boxes: Annotations = two_people("yard", [0.0, 1.0])
    localizer = small_localizer()
    one = localizer(video, boxes=boxes, config=LocalizeConfig(every=2.0))
    assert [key.seconds for key in one.key_frames] == [0.0, 2.0]
    with pytest.raises(OptionError, match="both given"):
        localizer(video, boxes=boxes, config=LocalizeConfig(), every=1.0)


def test_probabilities_are_those_of_the_loss(video) -> None:
    localizer = small_localizer()
    clip = torch.randint(0, 256, (4, 3, 64, 96), dtype=torch.uint8)
    boxes = MovingPeople(2).boxes_at(0)
    from muybridge.data.localization import normalize_clips
    from muybridge.models.acar.actors import Actors

    frames = normalize_clips(clip[None], localizer.sampling, [(64, 96)])
    with torch.no_grad():
        logits = localizer.network(frames, Actors.from_clips([torch.from_numpy(boxes)]))
    expected = action_probabilities(logits, LABELS.exclusive).numpy()
    np.testing.assert_allclose(localizer.actions(clip, boxes), expected, atol=1e-6)


def test_a_checkpoint_of_the_authors_becomes_a_model_file(tmp_path) -> None:
    torch.manual_seed(0)
    state = saved(authors_backbone(**FIRST), authors_head(2, 3), parallel="once")
    torch.save(state, tmp_path / "theirs.pth")
    labels = LabelMap(tuple("abcde"), tuple(range(5)), ((0, 1, 2),))
    localizer = Localizer.from_authors_checkpoint(tmp_path / "theirs.pth", labels, device="cpu")
    assert (localizer.sampling.frames, localizer.sampling.rate, localizer.sampling.short_side) == (32, 15.0, 256)
    np.testing.assert_allclose(localizer.sampling.mean, 0.45, atol=1e-9)
    clip = torch.randint(0, 256, (32, 3, 64, 80), dtype=torch.uint8)
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0.4, 0.1, 0.9, 0.8]], np.float32)
    trunk_config, head_config = infer_configs(state)
    parts = convert_checkpoint(state, trunk_config, head_config)
    trunk, head = SlowFast(trunk_config).eval(), ACARHead(head_config).eval()
    trunk.load_state_dict(parts.trunk)
    head.load_state_dict(parts.head)
    with torch.no_grad():
        pixels = (clip[None].float() / 255 - 0.45) / 0.225
        logits = ACARNet(trunk, head)(pixels, Actors.from_clips([torch.from_numpy(boxes)]))
    expected = torch.cat([logits[:, :3].softmax(1), logits[:, 3:].sigmoid()], dim=1)
    found = localizer.actions(clip, boxes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    localizer.save(tmp_path / "ours.safetensors")
    again = Localizer.from_pretrained(tmp_path / "ours.safetensors", device="cpu")
    np.testing.assert_array_equal(again.actions(clip, boxes), found)


def test_checkpoints_that_do_not_fit_are_refused(tmp_path) -> None:
    state = saved(authors_backbone(**FIRST), authors_head(1, 1), parallel="no")
    torch.save(state, tmp_path / "whole.pth")
    with pytest.raises(ModelMismatch, match="2 labels"):
        Localizer.from_authors_checkpoint(tmp_path / "whole.pth", ["a", "b"])
    torch.save(state["state_dict"] | {"head.extra.weight": torch.zeros(2)}, tmp_path / "more.pth")
    with pytest.raises(ModelMismatch, match=r"unused: head\.extra\.weight"):
        Localizer.from_authors_checkpoint(tmp_path / "more.pth", list("abcde"))
    torch.save(authors_backbone(**FIRST), tmp_path / "trunk.pth")
    with pytest.raises(ModelMismatch, match="without a head"):
        Localizer.from_authors_checkpoint(tmp_path / "trunk.pth", list("abcde"))
    torch.save({"state_dict": LabelMap(("a",), (0,))}, tmp_path / "code.pth")
    with pytest.raises(UnsafeModelFile):
        Localizer.from_authors_checkpoint(tmp_path / "code.pth", ["a"])
    with pytest.raises(MissingInput):
        Localizer.from_authors_checkpoint(tmp_path / "none.pth", ["a"])
