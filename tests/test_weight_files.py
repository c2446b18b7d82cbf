"""Files of weights by others: what they claim is held against their size, and nothing of them is executed."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from muybridge.errors import MissingInput, ModelError, UnsafeModelFile
from muybridge.weight_files import describe_differences, read_layout, read_torch_file, read_weights

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module."])
def test_the_usual_wrappings_are_taken_off(tmp_path: Path, wrap, prefix: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap(OrderedDict((prefix + name, tensor) for name, tensor in STATE.items())), path)
    found = read_weights(path)
    assert found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_the_averaged_weights_are_preferred(tmp_path: Path) -> None:
    torch.save({"state_dict": {"x": torch.zeros(1)}, "state_dict_ema": {"x": torch.ones(1)}}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt")["x"] == 1


class Explosive:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_executed(tmp_path: Path, zipped: bool) -> None:
    path, trap = tmp_path / "w.pth", tmp_path / "trap"
    torch.save({"a": torch.zeros(1), "b": Explosive(trap)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafeModelFile, match=r"w\.pth was refused"):
        read_torch_file(path)
    assert not trap.exists()


def test_an_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    sound, bomb = tmp_path / "sound.pth", tmp_path / "bomb.pth"
    torch.save({"x": torch.zeros(1 << 20)}, sound)
    with zipfile.ZipFile(sound) as given, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in given.infolist():
            packed.writestr(entry.filename, given.read(entry))
    assert bomb.stat().st_size < 50_000
    with pytest.raises(ModelError, match="would unpack"):
        read_torch_file(bomb)
    assert read_torch_file(sound)["x"].shape == (1 << 20,)


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    torch.save({"x": {"y": [torch.zeros(1).expand(1 << 40)]}}, tmp_path / "wide.pth")
    with pytest.raises(ModelError, match=f"a tensor of {1 << 40} numbers"):
        read_torch_file(tmp_path / "wide.pth")
    with torch.device("meta"):
        torch.save({"x": torch.zeros(3)}, tmp_path / "meta.pth")
    with pytest.raises(ModelError, match="without plain numbers"):
        read_torch_file(tmp_path / "meta.pth")
    torch.save({"x": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    with pytest.raises(ModelError, match="without plain numbers"):
        read_torch_file(tmp_path / "sparse.pth")


def packed(path: Path, body: bytes, *, script: bool = False) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", body)
        archive.writestr("x/constants.pkl" if script else "x/version", b"\x80\x02)." if script else b"3\n")
        archive.writestr("x/data/0", b"1")
    return path


def doubled(depth: int) -> bytes:
    """What leaves a tuple of a tuple twice, of a tuple twice, ... on the stack: 2 to the power of depth in all."""
    return b")q\x00" + b"".join(b"0h%ch%c\x86q%c" % (n, n, n + 1) for n in range(depth))


OVER_FORTY = doubled(40)
BOMBS = {
    "tuple as a key": b"}" + OVER_FORTY + b"K\x01s",
    "tuple among keys": b"}(" + OVER_FORTY + b"K\x01u",
    "tuple in a dictionary": b"(" + OVER_FORTY + b"K\x01d",
    "tuple in an ordered dictionary": b"ccollections\nOrderedDict\n((" + OVER_FORTY + b"K\x01\x86ltR",
    "tuple in a set": b"cbuiltins\nset\n((" + OVER_FORTY + b"ltR",
    "tuple in an empty set": b"\x8f(" + OVER_FORTY + b"\x90",
    "bytes of a number": b"cbuiltins\nbytearray\n(\x8a\x05\x00\x00\x00\x00\x02tR",
    "bytes that are not there": b"\x96\x00\x00\x00\x00\x02\x00\x00\x00",
    "slow encoding": b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00idnatR",
}


@pytest.mark.parametrize("form", ["zip", "old", "script"])
@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_all_time_or_memory_is_refused(tmp_path: Path, name: str, form: str) -> None:
    body = b"\x80\x02" + BOMBS[name] + b"."
    path = tmp_path / "w.pth"
    if form == "old":
        torch.save(STATE, path, _use_new_zipfile_serialization=False)
        parts = path.read_bytes()
        assert parts.count(b"\x80\x02") >= 5
        fourth = [place for place in range(len(parts)) if parts.startswith(b"\x80\x02", place)][3]
        path.write_bytes(parts[:fourth] + body)
    else:
        packed(path, body, script=form == "script")
    with pytest.raises(ModelError) as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)


def test_doubled_is_what_it_says() -> None:
    value = pickle.loads(b"\x80\x02" + doubled(3) + b".")
    assert value == ((((), ()), ((), ())), (((), ()), ((), ())))


def test_what_is_no_state_dict_is_named(tmp_path: Path) -> None:
    for number, (value, says) in enumerate(
        ([torch.zeros(3), "holds a Tensor"], [[1, 2], "holds a list"], [{1: 2}, "holds a dict"], [None, "NoneType"])
    ):
        path = tmp_path / f"{number}.pth"
        torch.save(value, path)
        with pytest.raises(ModelError, match=says):
            read_torch_file(path)
    torch.save({"x": 3}, tmp_path / "no.pth")
    with pytest.raises(ModelError, match="x, which is no tensor"):
        read_weights(tmp_path / "no.pth")
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(ModelError, match="no tensors"):
        read_weights(tmp_path / "empty.pth")
    with pytest.raises(MissingInput):
        read_weights(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18), b"\x80\x02.", b"text", b"\0" * 99]
)
def test_what_is_no_torch_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"w\.pth") as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)


def test_a_layout_holds_shapes_and_types_and_no_memory(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, 3, dtype=torch.bfloat16), "n": torch.tensor(3)}, tmp_path / "f.safetensors")
    _, layout = read_layout(tmp_path / "f.safetensors")
    assert {name: (tuple(t.shape), t.dtype, t.is_meta) for name, t in layout.items()} == {
        "a": ((2, 3), torch.bfloat16, True),
        "n": ((), torch.int64, True),
    }


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float8_e4m3fn, torch.bool, torch.int32])
def test_numbers_that_no_model_has_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"odd": torch.zeros(2, dtype=dtype)}, tmp_path / "f.safetensors")
    with pytest.raises(ModelError, match=r"numbers in odd"):
        read_layout(tmp_path / "f.safetensors")


def test_a_header_of_many_megabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes((9 << 20).to_bytes(8, "little") + b" " * (9 << 20))
    with pytest.raises(ModelError, match="its header would have 9437184 bytes"):
        read_layout(path)


def test_differences_are_one_short_line() -> None:
    wanted = {"a": torch.zeros(2), "b": torch.zeros(3), "n": torch.tensor(0)}
    given = {"a": torch.zeros(2, 1), "c\n\x1b[2J": torch.zeros(1), "n": torch.tensor(0.0)}
    assert describe_differences(wanted, given) == (
        "missing b; unknown 'c\\n\\x1b[2J'; a is (2, 1) instead of (2,); n is of type torch.float32 instead of "
        "torch.int64"
    )
    assert describe_differences(wanted, wanted) == ""
    assert describe_differences({str(n): torch.zeros(1) for n in range(999)}, {}).endswith("; and 993 more")
