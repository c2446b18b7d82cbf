"""Ways to break a file. Each is a function of the sound bytes and of chance.

Those of `BYTES` break any file; those of `MODEL` know the safetensors format and muybridge's header in it.
"""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

# ---- any file ----


def truncated(data: bytes, chance: random.Random) -> bytes:
    """Cut short anywhere."""
    return data[: chance.randrange(len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    """A few bits are other than they were."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 4, 32, 256))):
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def flipped_early(data: bytes, chance: random.Random) -> bytes:
    """A few bits of the first kilobyte, where headers are."""
    return flipped(data[:1024], chance) + data[1024:]


def overwritten(data: bytes, chance: random.Random) -> bytes:
    """A stretch is zeros, ones or noise."""
    start = chance.randrange(len(data))
    length = min(len(data) - start, chance.choice((1, 8, 64, 4096, len(data))))
    filling = chance.choice((bytes(length), b"\xff" * length, chance.randbytes(length)))
    return data[:start] + filling + data[start + length :]


def shuffled(data: bytes, chance: random.Random) -> bytes:
    """Two stretches have changed places."""
    first, second, third = sorted(chance.randrange(len(data)) for _ in range(3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def repeated(data: bytes, chance: random.Random) -> bytes:
    """A stretch stands there twice, or a hundred times."""
    start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[start : min(end, start + 65536)] * chance.choice((1, 1, 100)) + data[end:]


def removed(data: bytes, chance: random.Random) -> bytes:
    """A stretch is missing."""
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.choice((1, 2, 16, 512, 65536)) :]


def replaced(data: bytes, chance: random.Random) -> bytes:
    """Something else altogether under the file's name."""
    return chance.choice((b"", b"\0", b"\n", b"{}", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", chance.randbytes(len(data))))


BYTES = (truncated, flipped, flipped_early, overwritten, shuffled, repeated, removed, replaced)

# ---- JSON ----

_HUGE = 10**4301
_STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 1.5, -0.0, 1e-320, 1e308, 2**31, 2**63, -(2**63), 2**64, 10**18, 10**400,
    "", "x", "\0", "\x1b[31m", "hf-hub:nobody/nothing", "local-dir:/", "../../x", "x" * 100_000, "é\ud800",
    [], {}, [[]], [None], [0], [-1, -1], [10**9] * 3, [1.5, 2.5, 3.5], ["x", "x"], {"x": 1}, [0] * 10_000,
)  # fmt: skip
# What has no form as a Python value: written into the text as it stands.
_STRANGE_TEXT = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "[" * 5000 + "]" * 5000, "'x'", "")
_HOSTILE_KEYS = ("pretrained_cfg", "cache_dir", "checkpoint_path", "url", "__class__", "img_size", "extra", "")
_MARK = "\ue000here\ue000"


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value in a nest of dicts and lists, its own first."""
    found = [at]
    if isinstance(value, dict):
        found += [place for key in value for place in _places(value[key], (*at, key))]
    elif isinstance(value, list):
        found += [place for number in range(min(len(value), 4)) for place in _places(value[number], (*at, number))]
    return found


def _put(value: Any, place: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not place:
        return change(value)
    value[place[0]] = _put(value[place[0]], place[1:], change)
    return value


def break_json(text: str, chance: random.Random) -> str:
    """One value of another type, range or form; one key too many, missing, twice, or by another name."""
    value = json.loads(text)
    place = chance.choice(_places(value))
    kind = chance.randrange(6)
    if kind == 0:
        return json.dumps(_put(value, place, lambda _: _MARK)).replace(
            f'"{_escaped()}"', chance.choice(_STRANGE_TEXT)
        )
    if kind == 1:
        return json.dumps(_put(value, place, lambda old: _near(old, chance)))
    if kind == 2:
        return json.dumps(_put(value, place, lambda _: chance.choice(_STRANGE)))
    dicts = [place for place in _places(value) if isinstance(_at(value, place), dict)]
    if not dicts:
        return json.dumps(chance.choice(_STRANGE))
    return _broken_keys(value, chance.choice(dicts), kind, chance)


def _broken_keys(value: Any, place: tuple[Any, ...], kind: int, chance: random.Random) -> str:
    keys = list(_at(value, place))
    if kind == 3 and keys:
        gone = chance.choice(keys)
        return json.dumps(_put(value, place, lambda old: {key: old[key] for key in old if key != gone}))
    if kind == 4 and keys:  # the same key again, with another value
        twice = chance.choice(keys)
        marked = json.dumps(_put(value, place, lambda old: {**old, _MARK: chance.choice(_STRANGE)}))
        return marked.replace(f'"{_escaped()}"', json.dumps(twice))
    extra = chance.choice((*_HOSTILE_KEYS, *keys)) + chance.choice(("", "", "_"))
    return json.dumps(_put(value, place, lambda old: {**old, extra: chance.choice(_STRANGE)}))


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def _escaped() -> str:
    return json.dumps(_MARK)[1:-1]


def _near(old: Any, chance: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, (int, float)):
        return chance.choice((old + 1, old - 1, -old, old * 2, old * 1000, old * 10**9, float(old), old / 3))
    if isinstance(old, str):
        return chance.choice((old + "x", old[:-1], old.upper(), old + "\n", old * 1000, "avg", "conv", "None"))
    if isinstance(old, list):
        return chance.choice((old[:-1], [*old, *old], old[::-1], old * 1000, [old]))
    return chance.choice(({}, [old], list(old or ())))


def json_values(data: bytes, chance: random.Random) -> bytes:
    """For files that are JSON."""
    return break_json(data.decode(), chance).encode(errors="surrogatepass")


# ---- safetensors ----


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors of a safetensors file."""
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict[str, Any] | str, tensors: bytes) -> bytes:
    """The inverse; the header may be text that is no JSON."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode(errors="surrogatepass")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


def header_fields(data: bytes, chance: random.Random) -> bytes:
    """muybridge's own header: one of its fields altered; it is written where the file keeps it."""
    header, tensors = split(data)
    metadata = header["__metadata__"]
    if "muybridge" in metadata:
        metadata["muybridge"] = break_json(metadata["muybridge"], chance)
    else:
        header["__metadata__"] = json.loads(break_json(json.dumps(metadata), random.Random(chance.randrange(9))))
    return joined(header, tensors)


def tensor_table(data: bytes, chance: random.Random) -> bytes:
    """The table of tensors: a name, type, shape or offset altered, added, missing or twice."""
    header, tensors = split(data)
    return joined(break_json(json.dumps(header), chance), tensors)


def one_tensor(data: bytes, chance: random.Random) -> bytes:
    """One tensor, in a file that is sound as safetensors: renamed, left out, twice, of another shape or type."""
    header, tensors = split(data)
    name = chance.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    kind = chance.randrange(5)
    if kind == 0:
        header[chance.choice((name + "x", "head.weight", "", "x" * 10_000, "__metadata__x"))] = header.pop(name)
    elif kind == 1:
        return _with_tensor(header, tensors, chance.choice(("extra", name + ".extra")), "F32", [2, 2], bytes(16))
    elif kind == 2:
        size = _size(entry)
        dtype = chance.choice([kind for kind in _BYTES if size % _BYTES[kind] == 0])
        header[name] = entry | {"dtype": dtype, "shape": [size // _BYTES[dtype]]}
    elif kind == 3:
        shape = entry["shape"]
        new = chance.choice((shape[::-1], [1, *shape], [*shape, 1], [_product(shape)]))
        header[name] = entry | {"shape": new}
    else:
        return _resized(header, tensors, name, chance)
    return joined(header, tensors)


def all_tensors_as(data: bytes, chance: random.Random) -> bytes:
    """Every tensor of one other type, with zeros or noise in it."""
    header, _ = split(data)
    dtype = chance.choice(list(_BYTES))
    start = 0
    for name, entry in header.items():
        if name != "__metadata__":
            size = _product(entry["shape"]) * _BYTES[dtype]
            header[name] = {"dtype": dtype, "shape": entry["shape"], "data_offsets": [start, start + size]}
            start += size
    return joined(header, bytes(start) if chance.random() < 0.5 else chance.randbytes(start))


def strange_numbers(data: bytes, chance: random.Random) -> bytes:
    """NaN, infinities, and numbers at the end of the range, in the tensors."""
    header, tensors = split(data)
    broken = bytearray(tensors)
    name = chance.choice([name for name in header if name != "__metadata__"])
    start, end = header[name]["data_offsets"]
    pattern = chance.choice((b"\xff\xff\xff\xff", b"\x00\x7c\x00\x7c", b"\xff\x7b\xff\x7b", b"\x00\x00\x80\x7f"))
    pattern = chance.choice((pattern, b"\xff\xff\x7f\x7f"))
    if end - start >= 4:
        at = start + (chance.randrange(end - start - 3) & ~3)
        stop = at + 4 if chance.random() < 0.5 else end
        broken[at:stop] = (pattern * ((stop - at) // 4 + 1))[: stop - at]
    return joined(header, bytes(broken))


def huge_header(data: bytes, chance: random.Random) -> bytes:
    """A length of the header that the file does not have, or a header of megabytes."""
    if chance.random() < 0.5:
        length = chance.choice((0, 1, 2**20, 10**8, 10**8 + 1, 2**31, 2**40, 2**63, 2**64 - 1))
        return struct.pack("<Q", length) + data[8:]
    header, tensors = split(data)
    size = chance.choice((10**5, 10**6, 2 * 10**7))
    filling = chance.choice(("[],", "{},", "0,", '"",'))
    header["__metadata__"]["muybridge"] = '{"x": [' + filling * (size // len(filling)) + "0]}"
    return joined(header, tensors)


# ---- torch files ----


def repacked(data: bytes, chance: random.Random) -> bytes:
    """A torch file whose pickle is altered in a sound archive, or whose archive is packed, or made to fill memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    except zipfile.BadZipFile:
        return flipped_early(data, chance)
    packing = zipfile.ZIP_STORED
    kind = chance.randrange(6)
    if kind == 0:
        packing = zipfile.ZIP_DEFLATED
    elif kind == 1:
        packing = zipfile.ZIP_DEFLATED
        entries[chance.choice([name for name in entries if "/data/" in name])] = bytes(1 << 28)
    elif kind == 2:
        del entries[chance.choice(list(entries))]
    else:
        name = next(name for name in entries if name.endswith("data.pkl"))
        entries[name] = chance.choice(BYTES)(entries[name], chance)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", packing, compresslevel=1) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return target.getvalue()


_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
    "U32": 4, "F32": 4, "F64": 8, "I64": 8, "U64": 8, "C64": 8,
}  # fmt: skip


def _size(entry: dict[str, Any]) -> int:
    return entry["data_offsets"][1] - entry["data_offsets"][0]


def _product(shape: list[int]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


def _with_tensor(
    header: dict[str, Any], tensors: bytes, name: str, dtype: str, shape: list[int], content: bytes
) -> bytes:
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [len(tensors), len(tensors) + len(content)]}
    return joined({**header, name: entry}, tensors + content)


def _resized(header: dict[str, Any], tensors: bytes, name: str, chance: random.Random) -> bytes:
    """A tensor left out, or with one row more or fewer, all others in their places."""
    parts = {key: tensors[slice(*entry["data_offsets"])] for key, entry in header.items() if key != "__metadata__"}
    shape = list(header[name]["shape"])
    if chance.random() < 0.4 or not shape or not shape[0]:
        del header[name]
    else:
        row = len(parts[name]) // shape[0]
        shape[0] = max(0, shape[0] + chance.choice((-shape[0], -1, 1)))
        header[name]["shape"] = shape
        parts[name] = (parts[name] + bytes(row))[: row * shape[0]]
    content = b""
    for key, entry in header.items():
        if key != "__metadata__":
            entry["data_offsets"] = [len(content), len(content) + len(parts[key])]
            content += parts[key]
    return joined(header, content)


# The header has the most to say, so it is altered most often.
MODEL = (
    header_fields, header_fields, header_fields, header_fields, header_fields, header_fields, tensor_table,
    one_tensor, one_tensor, all_tensors_as, strange_numbers, huge_header, truncated, flipped_early,
)  # fmt: skip
