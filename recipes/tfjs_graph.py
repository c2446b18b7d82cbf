"""A graph model of TensorFlow.js as a function of tensors: the operations that convolutional detectors are made of.

    graph = TfjsGraph(Path("models/centernet.json"))
    (heat,) = graph({"tower_0/images": pixels}, ["tower_0/keypoints"])

The JSON holds nodes with names, operations and inputs, the file beside it the weights one after another, here in
float32 or float16. Arrays keep the layout of the graph, (N, H, W, C). Where the graph resizes to a size, a factor is
taken instead, 2 or what `enlarge` says for the node, so that pictures of any size can be given.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_DTYPES = {"float16": np.float16, "float32": np.float32, "int32": np.int32, "bool": np.bool_}


class TfjsGraph:
    """See the module's first lines.

    Attributes:
        nodes: by name, as in the file.
        weights: by name.
    """

    def __init__(self, path: Path, *, enlarge: Mapping[str, float] | None = None) -> None:
        model = json.loads(path.read_text())
        self.nodes: dict[str, Any] = {node["name"]: node for node in model["modelTopology"]["node"]}
        (group,) = model["weightsManifest"]
        self.weights = _weights(
            group["weights"], b"".join((path.parent / name).read_bytes() for name in group["paths"])
        )
        self.enlarge = enlarge or {}

    @torch.inference_mode()
    def __call__(self, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> list[Tensor]:
        """The tensors of some nodes ("NAME", or "NAME:1" for the second of several)."""
        done: dict[str, Any] = {**self.weights, **inputs}
        for name in outputs:
            self._visit(name, done)
        return [_part(done, name) for name in outputs]

    def _visit(self, name: str, done: dict[str, Any]) -> None:
        waiting = [name.split(":")[0]]
        while waiting:
            name = waiting[-1]
            if name in done:
                waiting.pop()
                continue
            node = self.nodes[name]
            needed = [each for each in node.get("input", []) if not each.startswith("^")]
            missing = [each.split(":")[0] for each in needed if each.split(":")[0] not in done]
            if missing:
                waiting += missing
                continue
            done[name] = self._run(node, [_part(done, each) for each in needed])

    def _run(self, node: Any, x: list[Any]) -> Any:
        operation, attributes = node["op"], node.get("attr", {})
        if "Conv2" in operation:
            return _convolution(operation, attributes, x)
        if operation == "ResizeBilinear":
            return _resized(x[0], self.enlarge.get(node["name"], 2.0), attributes)
        if operation in _PLAIN:
            return _PLAIN[operation](x, attributes)
        raise NotImplementedError(f"{node['name']}: operation {operation}")


def _weights(entries: list[Any], data: bytes) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    place = 0
    for entry in entries:
        stored = entry.get("quantization", entry)["dtype"]
        count = int(np.prod(entry["shape"], dtype=int))
        values = np.frombuffer(data, _DTYPES[stored], count, place)
        place += values.nbytes
        wanted = np.float32 if entry["dtype"] == "float32" else values.dtype
        found[entry["name"]] = torch.from_numpy(values.astype(wanted).reshape(entry["shape"]))
    if place != len(data):
        raise ValueError(f"{len(data)} bytes of weights, of which {place} are told of")
    return found


def _part(done: Mapping[str, Any], name: str) -> Any:
    base, _, number = name.partition(":")
    value = done[base]
    return value[int(number or 0)] if isinstance(value, tuple) else value


def _text(attributes: Any, name: str) -> str:
    return base64.b64decode(attributes[name]["s"]).decode() if name in attributes else ""


def _integers(attributes: Any, name: str) -> list[int]:
    return [int(each) for each in attributes[name]["list"]["i"]]


def _filled_up(x: Tensor, sides: Sequence[int], strides: Sequence[int], value: float = 0.0) -> Tensor:
    """ "SAME" of TensorFlow: what is missing is added, the larger half at the end."""
    both: list[int] = []
    for size, side, stride in zip(x.shape[-2:], sides, strides, strict=True):
        missing = max((-(-size // stride) - 1) * stride + side - size, 0)
        both = [missing // 2, missing - missing // 2, *both]
    return F.pad(x, both, value=value)


def _convolution(operation: str, attributes: Any, x: list[Any]) -> Tensor:
    image, kernel, rest = x[0].permute(0, 3, 1, 2), x[1], x[2:]
    if "Depthwise" in operation:
        groups = kernel.shape[2]
        kernel = kernel.permute(2, 3, 0, 1).reshape(-1, 1, *kernel.shape[:2])
    else:
        kernel = kernel.permute(3, 2, 0, 1)
        groups = image.shape[1] // kernel.shape[1]
    strides = _integers(attributes, "strides")[1:3]
    if _text(attributes, "padding") == "SAME":
        image = _filled_up(image, kernel.shape[2:], strides)
    y = F.conv2d(image, kernel, None, strides, groups=groups).permute(0, 2, 3, 1)
    for fused in attributes.get("fused_ops", {}).get("list", {}).get("s", []):
        name = base64.b64decode(fused).decode()
        y = y + rest.pop(0) if name == "BiasAdd" else _PLAIN[name]([y], attributes)
    return y


def _resized(x: Tensor, factor: float, attributes: Any) -> Tensor:
    x = x.permute(0, 3, 1, 2)
    size = [round(side * factor) for side in x.shape[-2:]]
    if attributes.get("half_pixel_centers", {}).get("b", False):
        return F.interpolate(x, size, mode="bilinear").permute(0, 2, 3, 1)
    # The first TensorFlow's: a pixel's corner, not its middle, stays where it is.
    for axis, length in ((2, size[0]), (3, size[1])):
        place = torch.arange(length) / factor
        low = place.floor().long()
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        share = (place - low).view([-1 if each == axis else 1 for each in range(4)])
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    return x.permute(0, 2, 3, 1)


def _padded(x: list[Any], attributes: Any) -> Tensor:
    del attributes
    both = [side for pair in reversed(x[1].tolist()) for side in pair]
    return F.pad(x[0], both, value=float(x[2]) if len(x) > 2 else 0.0)


def _max_pooled(x: list[Any], attributes: Any) -> Tensor:
    side, stride = _integers(attributes, "ksize")[1:3], _integers(attributes, "strides")[1:3]
    image = x[0].permute(0, 3, 1, 2)
    if _text(attributes, "padding") == "SAME":
        image = _filled_up(image, side, stride, value=-torch.inf)
    return F.max_pool2d(image, side, stride).permute(0, 2, 3, 1)


_PLAIN: dict[str, Any] = {
    "Identity": lambda x, a: x[0],
    "Add": lambda x, a: x[0] + x[1],
    "AddV2": lambda x, a: x[0] + x[1],
    "Mul": lambda x, a: x[0] * x[1],
    "Sub": lambda x, a: x[0] - x[1],
    "Relu": lambda x, a: F.relu(x[0]),
    "Relu6": lambda x, a: F.relu6(x[0]),
    "LeakyRelu": lambda x, a: F.leaky_relu(x[0], float(a["alpha"]["f"])),
    "Sigmoid": lambda x, a: x[0].sigmoid(),
    "Mean": lambda x, a: x[0].mean(x[1].reshape(-1).tolist(), keepdim=bool(a["keep_dims"]["b"])),
    "ConcatV2": lambda x, a: torch.cat(x[:-1], int(x[-1])),
    "Transpose": lambda x, a: x[0].permute(x[1].tolist()),
    "SplitV": lambda x, a: torch.split(x[0], x[1].tolist(), int(x[2])),
    "Pad": _padded,
    "PadV2": _padded,
    "MaxPool": _max_pooled,
}
