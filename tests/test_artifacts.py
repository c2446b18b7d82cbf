"""Model files: what they say, and what is refused."""

import pickle

import pytest
import torch

from muybridge.artifacts import Artifact, find_model, load_artifact
from muybridge.errors import MissingInput, ModelError, ModelMismatch, OutputError, UnsafeModelFile

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "deep" / "model.safetensors"
    Artifact("stylize", {"widths": [1, 2]}, TENSORS, {"seed": 3}, {"psnr": 25.5}, {"labels": ["x"]}).save(path)
    return path


def test_round_trip(saved):
    artifact = load_artifact(saved, task="stylize")
    assert artifact.architecture == {"widths": [1, 2]}
    assert (artifact.provenance, artifact.scores) == ({"seed": 3}, {"psnr": 25.5})
    assert artifact.contract == {"labels": ["x"]}
    assert all(torch.equal(artifact.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model.safetensors"]


def test_another_task_is_refused(saved):
    with pytest.raises(ModelMismatch, match="'stylize', but 'recognize'"):
        load_artifact(saved, task="recognize")


class Explosive:
    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("dump", ["torch", "torch-legacy", "pickle"])
def test_a_pickle_is_refused_and_not_executed(tmp_path, dump):
    path, trap = tmp_path / "model.safetensors", tmp_path / "trap"
    if dump == "pickle":
        path.write_bytes(pickle.dumps(Explosive(trap)))
    else:
        torch.save(Explosive(trap), path, _use_new_zipfile_serialization=dump == "torch")
    with pytest.raises(UnsafeModelFile, match="refused"):
        load_artifact(path, task="stylize")
    assert not trap.exists()


def test_no_length_of_header_looks_like_a_pickle(tmp_path):
    path, lengths = tmp_path / "model.safetensors", set()
    for letters in range(600, 1500, 4):
        Artifact("stylize", {}, {"x": torch.zeros(1)}, provenance={"note": "n" * letters}).save(path)
        lengths.add(path.read_bytes()[:2])
        load_artifact(path, task="stylize")
    assert {b"\x80\x03", b"\x80\x04", b"\x80\x05"} <= lengths  # those that pickles begin with


def test_nan_weights_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    Artifact("stylize", {}, {"a": torch.tensor([1.0, float("nan")])}).save(path)
    with pytest.raises(ModelError, match="NaN or infinity in a"):
        load_artifact(path, task="stylize")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_garbage_is_refused(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a readable safetensors"):
        load_artifact(path, task="stylize")


def test_a_truncated_file_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-8])
    with pytest.raises(ModelError, match="not a readable safetensors"):
        load_artifact(saved, task="stylize")


def test_plain_safetensors_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "plain.safetensors")
    with pytest.raises(ModelError, match="not the header"):
        load_artifact(tmp_path / "plain.safetensors", task="stylize")


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("muybridge.artifacts.FORMAT", 99)
    Artifact("stylize", {}, TENSORS).save(tmp_path / "new.safetensors")
    monkeypatch.undo()
    with pytest.raises(ModelError, match="pip install -U"):
        load_artifact(tmp_path / "new.safetensors", task="stylize")


def test_models_are_found_by_name_path_or_not(saved):
    assert find_model("builtin", built_in={"builtin": "x.safetensors"}, task="stylize").name == "x.safetensors"
    assert find_model(saved, built_in={}, task="stylize") == saved
    with pytest.raises(MissingInput, match="OWNER/NAME"):
        find_model("nothing.safetensors", built_in={"builtin": "x"}, task="stylize")


def test_the_hub_that_cannot_be_reached_is_one_line():
    with pytest.raises(ModelError) as caught:
        find_model("nobody/nothing-of-the-kind", built_in={}, task="stylize")
    assert "\n" not in str(caught.value)


def test_an_unwritable_place_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        Artifact("stylize", {}, TENSORS).save(tmp_path / "file" / "model.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
