"""TorchScript archives: all tensors, and nothing that they could run."""

import io
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from muybridge.errors import ModelError, UnsafeModelFile
from muybridge.torchscript import is_torchscript, read_torchscript
from muybridge.weight_files import read_torch_file

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Module()
        self.visual.conv1 = nn.Conv2d(3, 4, 2, bias=False).half()
        self.visual.ln = nn.ModuleList([nn.LayerNorm(4), nn.LayerNorm(4)])
        self.visual.class_embedding = nn.Parameter(torch.randn(4))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.logit_scale = nn.Parameter(torch.tensor(2.5))
        self.transposed = nn.Parameter(torch.randn(3, 5).T)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.visual.conv1(x.half()).float() * self.logit_scale + self.transposed.sum()


@pytest.fixture
def archive(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = Tower()
    path = tmp_path / "clip.pt"
    torch.jit.save(torch.jit.trace(model, torch.ones(1, 3, 4, 4)), path)
    return path, model.state_dict()


def test_all_tensors_are_those_of_the_model(archive: tuple[Path, dict[str, torch.Tensor]]) -> None:
    path, expected = archive
    found = read_torchscript(path)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name
        assert found[name].is_contiguous(), name
    assert read_torch_file(path).keys() == expected.keys()


def test_files_of_torch_save_are_no_torchscript(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(b"PK\x03\x04 nothing")
    assert not is_torchscript(tmp_path / "a.pt")
    assert not is_torchscript(tmp_path / "b.pt")


def with_record(path: Path, name: str, content: bytes | None, *, packed: bool = False) -> Path:
    """A copy of an archive in which one record is another, or is missing."""
    other = path.with_name("altered.pt")
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w", kind) as target:
        for entry in source.namelist():
            if entry != f"clip/{name}":
                target.writestr(entry, source.read(entry))
            elif content is not None:
                target.writestr(entry, content)
    return other


class Attack:
    """Calls what it was made with when it is unpickled."""

    def __init__(self, call: object, argument: str) -> None:
        self.call, self.argument = call, argument

    def __reduce__(self) -> tuple[object, tuple[str]]:  # type: ignore[override]
        return self.call, (self.argument,)


@pytest.mark.parametrize("call", [os.system, eval, exec, getattr, shutil.rmtree, torch.load, io.open, print])
def test_a_name_of_something_that_could_be_called_is_refused(archive, tmp_path, call) -> None:
    touched = tmp_path / "touched"
    path = with_record(archive[0], "data.pkl", pickle.dumps(Attack(call, f"touch {touched}"), protocol=2))
    with pytest.raises(UnsafeModelFile, match="refused, not run"):
        read_torchscript(path)
    assert not touched.exists()


@pytest.mark.parametrize("name", ["torch._utils _rebuild_tensor_v2", "__torch__ M", "torch FloatStorage"])
@pytest.mark.parametrize("state", [{"held": {}}, (None, {"__defaults__": (1,)}), (None, {"__code__": 1})])
def test_what_the_reader_hands_out_cannot_be_altered(archive, name: str, state: object) -> None:
    """A pickle may put attributes into anything that it has named, a function of ours too."""
    good, expected = archive
    name = name.replace(" ", "\n")
    body = pickle.PROTO + b"\x02" + pickle.GLOBAL + name.encode() + b"\n"
    body += pickle.dumps(state, protocol=2)[2:-1] + pickle.BUILD + pickle.STOP
    with pytest.raises((UnsafeModelFile, ModelError)):
        read_torchscript(with_record(good, "data.pkl", body))
    assert torch.equal(read_torchscript(good)["logit_scale"], expected["logit_scale"])


@pytest.mark.parametrize(
    ("record", "content"),
    [
        ("data/0", b""),
        ("data/0", b"\0" * 2),
        ("data/0", None),
        ("byteorder", b"big"),
        ("data.pkl", b""),
        ("data.pkl", b"\x80\x02N."),
        ("data.pkl", b"\x80\x02" + b"(" * 50_000 + b"t" * 50_000 + b"."),
        ("data.pkl", pickle.dumps(OrderedDict(a=1), protocol=2)),
    ],
)
def test_damaged_archives_are_told_in_one_line(archive, record: str, content: bytes | None) -> None:
    with pytest.raises(ModelError) as error:
        read_torchscript(with_record(archive[0], record, content))
    assert "\n" not in str(error.value)


def test_records_that_would_unpack_to_more_are_not_unpacked(archive) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_torchscript(with_record(archive[0], "none", None, packed=True))


def test_a_module_that_was_never_told_what_it_holds_is_empty(archive) -> None:
    body = b"\x80\x02c__torch__\nM\n)\x81."
    with pytest.raises(ModelError, match="without tensors"):
        read_torchscript(with_record(archive[0], "data.pkl", body))


def test_one_storage_seen_many_times_takes_no_more_than_a_few(tmp_path: Path) -> None:
    side = 100_000
    length = b"J" + struct.pack("<i", side)
    storage = b"(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + length + b"tQ"
    view = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + length + b"\x85K\x01\x85tR"

    def archive_of(views: int) -> Path:
        held = b"".join(b"X\x03\x00\x00\x00%03d" % number + view for number in range(views))
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02c__torch__\nM\n)\x81}(" + held + b"ub.")
            archive.writestr("x/constants.pkl", b"\x80\x02).")
            archive.writestr("x/data/0", bytes(side))
        return tmp_path / "w.pt"

    assert [tensor.shape for tensor in read_torchscript(archive_of(3)).values()] == [(side,)] * 3
    with pytest.raises(ModelError, match="damaged"):
        read_torchscript(archive_of(9))


@pytest.mark.parametrize("seed", range(4))
def test_altered_bytes_never_lead_to_a_traceback(archive, seed: int) -> None:
    random = np.random.default_rng(seed)
    with zipfile.ZipFile(archive[0]) as source:
        data = source.read("clip/data.pkl")
    for _ in range(60):
        altered = bytearray(data)
        for place in random.integers(0, len(data), 1 + int(random.integers(8))):
            altered[place] = int(random.integers(256))
        try:
            read_torchscript(with_record(archive[0], "data.pkl", bytes(altered)))
        except ModelError as error:
            assert "\n" not in str(error)
