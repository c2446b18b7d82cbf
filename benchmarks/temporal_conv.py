"""Times the ways to convolve depthwise over time, forward and backward, on an adapter's features.

    python benchmarks/temporal_conv.py [--device cpu] [--threads 1] [--clips 2] [--frames 8] [--patches 14]

Prints milliseconds (median) and how many times as fast as Conv3d on a permuted copy. Every result is compared with
that one's first.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from muybridge.bench.references import conv3d_on_copy
from muybridge.models.st_adapter.temporal_conv import conv2d_over_time, depthwise_conv, shifted_multiply_adds

Convolution = Callable[[Tensor, Tensor, Tensor], Tensor]


def conv3d_channels_last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    x = x.permute(0, 4, 1, 2, 3)
    return F.conv3d(x, weight, bias, padding=padding, groups=len(bias)).permute(0, 2, 3, 4, 1)


def conv1d_per_patch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    B, T, H, W, A = x.shape
    rows = x.permute(0, 2, 3, 4, 1).reshape(B * H * W, A, T)
    out = F.conv1d(rows, weight[:, :, :, 0, 0], bias, padding=weight.shape[2] // 2, groups=A)
    return out.reshape(B, H, W, A, T).permute(0, 4, 1, 2, 3)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    past = weight.shape[2] // 2
    return conv2d_over_time(x.flatten(2, 3), weight[:, :, :, 0, 0], bias, (past, past)).reshape(x.shape)


def shifted(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    past = weight.shape[2] // 2
    return shifted_multiply_adds(x.flatten(2, 3), weight[:, :, :, 0, 0], bias, (past, past)).reshape(x.shape)


def chosen(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    past = weight.shape[2] // 2
    return depthwise_conv(x, weight, bias, time_padding=(past, past))


TEMPORAL: dict[str, Convolution] = {
    "conv3d, permuted copy": conv3d_on_copy,
    "conv3d, channels last": conv3d_channels_last,
    "conv1d a patch": conv1d_per_patch,
    "shifted multiply-adds": shifted,
    "conv2d over (T, HW)": conv2d,
    "chosen": chosen,
}
SPATIO_TEMPORAL: dict[str, Convolution] = {
    "conv3d, permuted copy": conv3d_on_copy,
    "conv3d, channels last": conv3d_channels_last,
    "chosen: conv2d a tap": chosen,
}


def milliseconds(run: Callable[[], object], device: str, repeats: int) -> float:
    # One thread is timed by the processor time it used, which a busy machine disturbs less than wall time.
    clock = time.process_time if device == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    times: list[float] = []
    for _ in range(repeats + 1):
        start = clock()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(clock() - start)
    return 1e3 * statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--patches", type=int, default=14, help="a side")
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = (args.clips, args.frames, args.patches, args.patches, args.width)
    for kernel, ways in (((3, 1, 1), TEMPORAL), ((3, 3, 3), SPATIO_TEMPORAL)):
        for dtype in (torch.float32, torch.bfloat16):
            compare(kernel, ways, dtype, shape, args.device, args.repeats)


def compare(
    kernel: tuple[int, int, int],
    ways: dict[str, Convolution],
    dtype: torch.dtype,
    shape: tuple[int, ...],
    device: str,
    repeats: int,
) -> None:
    torch.manual_seed(0)
    x, gradient = (torch.randn(shape, device=device, dtype=dtype) for _ in range(2))
    weight = torch.randn(shape[-1], 1, *kernel, device=device, dtype=dtype)
    bias = torch.randn(shape[-1], device=device, dtype=dtype)
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]
    print(f"\nkernel {kernel}, features {shape}, {dtype}, {device}, {torch.get_num_threads()} threads")
    reference = conv3d_on_copy(*inputs).detach()
    baseline = 0.0
    for name, way in ways.items():
        torch.testing.assert_close(
            way(*inputs).detach(), reference, rtol=5e-2, atol=2e-1 if dtype.itemsize == 2 else 1e-4
        )
        with torch.no_grad():
            forward = milliseconds(lambda way=way: way(*inputs), device, repeats)
        both = milliseconds(lambda way=way: torch.autograd.grad(way(*inputs), inputs, gradient), device, repeats)
        baseline = baseline or both
        print(f"{name:24s} forward {forward:8.2f} ms   forward + backward {both:8.2f} ms   {baseline / both:6.1f}x")


if __name__ == "__main__":
    main()
