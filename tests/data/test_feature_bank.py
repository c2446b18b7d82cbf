"""The feature bank: windows against plain lists, file against stream, and files that are not what they should be."""

import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from muybridge.data.feature_bank import FeatureBank, FeatureBankWriter, StreamFeatureBank
from muybridge.errors import MissingInput, ModelError, ModelMismatch, OptionError, OutputError
from muybridge.models.acar.actors import Actors, BankWindow, ContextMap
from muybridge.models.acar.head import ACARConfig, ACARHead

SHAPE = (3, 2, 5)  # 30 numbers: an odd count of entries leaves the file's next part unaligned without padding


def key_frames(seconds=30, step=1.0, seed=0):
    """(time, maps, boxes) of key frames with 0 to 3 people."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for index in range(seconds):
        people = int(torch.randint(0, 4, (), generator=generator))
        maps = torch.randn(people, *SHAPE, generator=generator).half().float()
        frames.append((index * step, maps, torch.rand(people, 4, generator=generator)))
    return frames


def written(path, frames, **names):
    with FeatureBankWriter(path, **({"model": "m", "video": "v"} | names)) as writer:
        for frame in frames:
            writer.append(*frame)
    return path


def expected_window(frames, time, before, after):
    inside = [frame for frame in frames if time - before <= frame[0] <= time + after]
    times = [frame[0] for frame in inside for _ in range(len(frame[1]))]
    maps = [frame[1] for frame in inside] or [torch.empty(0, *SHAPE)]
    boxes = [frame[2] for frame in inside] or [torch.empty(0, 4)]
    return torch.cat(maps), torch.tensor(times, dtype=torch.float64), torch.cat(boxes)


def assert_same(entries, expected):
    maps, times, boxes = expected
    assert entries.maps.dtype == torch.float16
    assert torch.equal(entries.maps.float(), maps)
    assert torch.equal(entries.times, times)
    assert torch.equal(entries.boxes, boxes)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("before", "after"), [(10, 10), (2, 0), (0, 0), (100, 100)])
def test_windows_of_a_file(tmp_path, seed, before, after):
    frames = key_frames(seed=seed)
    bank = FeatureBank(written(tmp_path / "bank.safetensors", frames))
    assert len(bank) == sum(len(frame[1]) for frame in frames)
    for time in (0.0, 0.5, 7.0, 15.0, 29.0, 45.0, -50.0):
        entries = bank.window(time, before=before, after=after)
        assert_same(entries, expected_window(frames, time, before, after))


def test_an_independent_reader_opens_the_file(tmp_path):
    frames = key_frames(7)
    tensors = load_file(written(tmp_path / "bank.safetensors", frames))
    assert torch.equal(tensors["maps"].float(), torch.cat([frame[1] for frame in frames]))
    assert torch.equal(tensors["boxes"], torch.cat([frame[2] for frame in frames]))
    content = (tmp_path / "bank.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    assert json.loads(content[8 : 8 + size])["__metadata__"]["video"] == "v"


def test_a_stream_that_lags_reads_what_the_file_holds(tmp_path):
    frames = key_frames(40)
    bank = FeatureBank(written(tmp_path / "bank.safetensors", frames))
    stream = StreamFeatureBank(capacity=21 * 3)
    for index, frame in enumerate(frames):
        stream.append(*frame)
        if index >= 10:
            time = frames[index - 10][0]
            from_file, from_stream = bank.window(time), stream.window(time)
            assert torch.equal(from_file.maps, from_stream.maps)
            assert torch.equal(from_file.times, from_stream.times)
            assert torch.equal(from_file.boxes, from_stream.boxes)
            assert stream.forgotten_until < time - 10


def test_a_stream_without_lag_reads_what_has_been(tmp_path):
    frames = key_frames(25)
    bank = FeatureBank(written(tmp_path / "bank.safetensors", frames))
    stream = StreamFeatureBank(capacity=100)
    for frame in frames:
        stream.append(*frame)
        assert torch.equal(stream.window(frame[0]).maps, bank.window(frame[0], after=0).maps)


def test_a_full_ring_says_what_it_forgot():
    stream = StreamFeatureBank(capacity=4)
    for second in range(5):
        stream.append(second, torch.full((2, *SHAPE), float(second)), torch.zeros(2, 4))
    assert len(stream) == 4
    assert stream.window(4).times.tolist() == [3, 3, 4, 4]
    assert stream.window(4).maps[:, 0, 0, 0].tolist() == [3, 3, 4, 4]
    assert stream.forgotten_until == 2
    with pytest.raises(OptionError, match="capacity=4"):
        stream.append(5, torch.zeros(5, *SHAPE), torch.zeros(5, 4))


def test_file_and_stream_give_the_same_actions(tmp_path):
    """The bank of one head, read in a window by a second one."""
    torch.manual_seed(0)
    config = ACARConfig(6, 5, 7, 4, 2, 3, 3)
    first, second = ACARHead(config).eval(), ACARHead(config).eval()
    grid = first.map_grid((5, 7))
    stream = StreamFeatureBank(capacity=64)
    with torch.inference_mode():
        with FeatureBankWriter(tmp_path / "b", model="first", video="v") as writer:
            for second_of_video in range(6):
                boxes = torch.tensor([[0.1, 0.1, 0.5, 0.9], [0.4, 0.2, 0.9, 0.8]])[: second_of_video % 3]
                context, actors = ContextMap(torch.randn(1, 6, 5, 7)), Actors.from_clips([boxes])
                maps = first.first_order(context, actors).maps
                writer.append(second_of_video, maps, boxes)
                stream.append(second_of_video, maps, boxes)
        readers = FeatureBank(tmp_path / "b", model="first"), stream
        windows = [BankWindow.from_clips([reader.window(5, before=3, after=0).maps], grid) for reader in readers]
        logits = [second(context, actors, window) for window in windows]
        assert len(windows[0].groups) == 5  # 2, 0, 1 and 2 people
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], second(context, actors))


def test_a_video_without_people(tmp_path):
    frames = [(float(t), torch.empty(0, *SHAPE), torch.empty(0, 4)) for t in range(3)]
    bank = FeatureBank(written(tmp_path / "bank.safetensors", frames))
    assert len(bank) == 0
    assert bank.window(1).maps.shape == (0, *SHAPE)
    stream = StreamFeatureBank()
    stream.append(*frames[0])
    assert stream.window(0).maps.shape == (0, *SHAPE)
    with pytest.raises(OptionError, match="Append"):
        StreamFeatureBank().window(0)


def test_a_bank_goes_to_worker_processes(tmp_path):
    frames = key_frames(5)
    bank = pickle.loads(pickle.dumps(FeatureBank(written(tmp_path / "bank.safetensors", frames))))
    assert_same(bank.window(2), expected_window(frames, 2, 10, 10))


def test_beyond_float16_stays_finite():
    stream = StreamFeatureBank(capacity=1)
    stream.append(0, torch.full((1, *SHAPE), 1e6), torch.zeros(1, 4))
    assert stream.window(0).maps.isfinite().all()


def test_the_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "bank.safetensors"
    with pytest.raises(RuntimeError, match="stopped"), FeatureBankWriter(path, model="m", video="v") as writer:
        writer.append(*key_frames(1)[0])
        raise RuntimeError("stopped midway")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OptionError, match="Nothing was appended"), FeatureBankWriter(path, model="m", video="v"):
        pass
    assert list(tmp_path.iterdir()) == []
    written(path, key_frames(2))
    written(path, key_frames(9))
    assert len(FeatureBank(path).window(0, before=0, after=99)) == sum(len(frame[1]) for frame in key_frames(9))
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"), FeatureBankWriter(path / "no", model="m", video="v"):
        pass


def test_files_that_are_no_bank_of_this_model(tmp_path):
    path = written(tmp_path / "bank.safetensors", key_frames(5), model="first")
    FeatureBank(path, model="first")
    with pytest.raises(ModelMismatch, match="'first', not 'second'"):
        FeatureBank(path, model="second")
    with pytest.raises(MissingInput, match="no feature bank"):
        FeatureBank(tmp_path / "nothing")
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes()[:-5])
    other = tmp_path / "other"
    save_file({"maps": torch.zeros(2)}, other)
    text = tmp_path / "text"
    text.write_text("not a bank at all")
    for broken in (cut, other, text):
        with pytest.raises(ModelError, match=str(broken)):
            FeatureBank(broken)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ((0.5, torch.zeros(1, *SHAPE), torch.zeros(1, 4)), "not before"),
        ((float("nan"), torch.zeros(1, *SHAPE), torch.zeros(1, 4)), "not before"),
        ((2.0, torch.zeros(1, 3, 4, 4), torch.zeros(1, 4)), "one frame size"),
        ((2.0, torch.zeros(2, *SHAPE), torch.zeros(1, 4)), "same people"),
    ],
    ids=["back in time", "no time", "shape", "boxes"],
)
def test_key_frames_that_do_not_fit_are_refused(tmp_path, frame, says):
    stream = StreamFeatureBank()
    with FeatureBankWriter(tmp_path / "bank", model="m", video="v") as writer:
        for bank in (writer, stream):
            bank.append(1.0, torch.zeros(1, *SHAPE), torch.zeros(1, 4))
            with pytest.raises(OptionError, match=says):
                bank.append(*frame)
    assert len(FeatureBank(tmp_path / "bank")) == len(stream) == 1


def test_names_and_capacities_have_bounds(tmp_path):
    with pytest.raises(OptionError, match="Shorten"):
        FeatureBankWriter(tmp_path / "bank", model="m" * 2000, video="v")
    with pytest.raises(OptionError, match="keeps nothing"):
        StreamFeatureBank(capacity=0)
