"""Exported recognizers give the same answers in other runtimes, for any batch; a file that does not is not kept."""

import json
import resource
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from muybridge.data.clips.sampling import SamplingConfig
from muybridge.data.label_maps import LabelMap
from muybridge.errors import MissingExtra, ModelError, OptionError, OutputError
from muybridge.models.st_adapter.video_vit import AdapterConfig, VideoViT
from muybridge.pretrained import load_backbone
from muybridge.recognize import export as recognizer_export
from muybridge.recognize.export import ExportReport, export_recognizer
from muybridge.recognize.motion import MotionReadout
from muybridge.recognize.recognizer import Recognizer
from tests.data.clips.drawn_motion import small_codebook

SAMPLING = SamplingConfig(frames=3, rate=5.0, size=(32, 48), mean=(0.2, 0.4, 0.6), std=(0.3, 0.2, 0.1))


@pytest.fixture(scope="module", params=["test_vit", "test_efficientnet"])
def recognizer(request: pytest.FixtureRequest) -> Recognizer:
    torch.manual_seed(0)
    backbone, identity = load_backbone(request.param, random=True)
    over_time = "mean" if request.param == "test_vit" else "change"
    model = VideoViT(backbone, 3, adapters=AdapterConfig(width=8), over_time=over_time)
    with torch.no_grad():
        for parameter in (*model.adapters.parameters(), *model.head.parameters()):
            parameter.normal_(std=0.3)
    labels = LabelMap(("run", "sit", "wave"), (0, 1, 2))
    motion = None
    if request.param == "test_vit":
        codebook = small_codebook()
        motion = MotionReadout(codebook, torch.ones(3, codebook.length), torch.zeros(3))
    return Recognizer(model, labels, SAMPLING, backbone=identity, device="cpu", motion=motion)


@pytest.fixture(scope="module")
def clips() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(7).integers(0, 256, (5, 3, 3, 32, 48), np.uint8))


@pytest.fixture(scope="module")
def exported(recognizer, clips, tmp_path_factory) -> ExportReport:
    before = recognizer.logits(clips)
    report = export_recognizer(recognizer, tmp_path_factory.mktemp("exported") / "model.pt2")
    assert torch.equal(recognizer.logits(clips), before)
    return report


def test_torch_export_gives_the_same_answers_for_another_batch(recognizer, clips, exported):
    facts = {"labels": "", "sampling": "", "without_motion": ""}
    program = torch.export.load(exported.path, extra_files=facts).module()
    logits, probabilities = program(clips)
    torch.testing.assert_close(logits, recognizer.logits(clips), rtol=0, atol=1e-4)
    torch.testing.assert_close(probabilities, recognizer.probabilities(clips), rtol=0, atol=1e-5)
    assert json.loads(facts["labels"]) == ["run", "sit", "wave"]
    assert json.loads(facts["sampling"])["frames"] == 3
    assert json.loads(facts["without_motion"]) == (recognizer.motion is not None)
    assert exported.largest_difference < 1e-4
    assert exported.size_bytes == exported.path.stat().st_size


@pytest.mark.slow
def test_onnx_runtime_gives_the_same_logits_for_another_batch(recognizer, clips, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    report = export_recognizer(recognizer, tmp_path / "model.onnx")
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    logits, probabilities = session.run(["logits", "probabilities"], {"frames": clips.numpy()})
    np.testing.assert_allclose(probabilities, recognizer.probabilities(clips).numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, recognizer.logits(clips).numpy(), rtol=0, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == ["run", "sit", "wave"]
    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert report.largest_difference < 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]  # the weights are inside


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_a_file_whose_logits_differ_is_not_kept(recognizer, exported, tmp_path, monkeypatch, error):
    write = recognizer_export._write_torch

    def spoilt(program, path, facts):
        run = write(program, path, facts)
        return lambda clips: (run(clips)[0] + (error if len(clips) == 3 else 0.0), None)

    monkeypatch.setattr(recognizer_export, "_program", lambda *_: torch.export.load(exported.path))
    monkeypatch.setattr(recognizer_export, "_write_torch", spoilt)
    with pytest.raises(ModelError, match=r"differ by (0\.01|inf)"):
        export_recognizer(recognizer, tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []
    if error == 0.01:
        assert export_recognizer(recognizer, tmp_path / "model.pt2", tolerance=0.1).largest_difference > 0.009


def test_only_known_suffixes(recognizer, tmp_path):
    with pytest.raises(OptionError, match=r"\.onnx or \.pt2"):
        export_recognizer(recognizer, tmp_path / "model.pb")


def test_without_the_extra_the_command_that_installs_it_is_named(recognizer, tmp_path, monkeypatch):
    monkeypatch.setattr(
        recognizer_export, "find_spec", lambda name: None if name == "onnxruntime" else find_spec(name)
    )
    with pytest.raises(MissingExtra, match=r"pip install 'muybridge\[onnx\]'"):
        export_recognizer(recognizer, tmp_path / "model.onnx")


def test_a_place_that_cannot_be_written_is_said_before_the_work(recognizer, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(recognizer_export, "_program", lambda *_: pytest.fail("work was done"))
    with pytest.raises(OutputError):
        export_recognizer(recognizer, tmp_path / "file" / "model.pt2")


def test_a_full_disk_is_one_line_for_either_form(recognizer, tmp_path):
    """The process lives on, and nothing is left; the limit on the size of files stands for the disk."""
    for name in ("model.pt2", "model.onnx") if find_spec("onnxscript") else ("model.pt2",):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            with pytest.raises(OutputError, match="the disk or quota is full"):
                export_recognizer(recognizer, tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list(tmp_path.iterdir()) == []
