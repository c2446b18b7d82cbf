"""Decoded frames to the 8-bit RGB that screens show: matrix, range, and HDR brought down to BT.709."""

from functools import cache
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from muybridge.stages import staged

UInt8 = NDArray[np.uint8]
Floats = NDArray[np.float32]

# swscale's fast paths darken every round trip through yuv420p by more than one level of 255; these do not.
COLOR_CONVERSION = (
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
# Of ITU-T H.273, table 3.
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}

# swscale puts white at 255 * 256 when it makes 16 bits of what is stored in limited range.
_WHITE_OF_16_BITS = 255 * 256
# ITU-R BT.2408: a white page, to which a graded SDR picture's white corresponds, and the peak that HLG is made for.
_REFERENCE_WHITE_NITS = 203.0
_PEAK_NITS = 1000.0
# Up to this share of reference white nothing changes; above, highlights up to the peak are compressed.
_KNEE = 0.8
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886
_TABLE = 1 << 16
# As much as stays in a processor's cache, which is about twice as fast as whole pictures.
_ROWS_AT_ONCE = 16
_LUMINANCE_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
# ITU-R BT.2087, the inverse of its equation M2: linear BT.2020 to linear BT.709.
_TO_709 = np.array(
    [[1.660491, -0.587641, -0.072850], [-0.124550, 1.132900, -0.008349], [-0.018151, -0.100579, 1.118730]], np.float32
)


class RgbConverter:
    """Frames of one film to RGB at one size.

    Args:
        interpolation: how they are scaled.

    Raises:
        av.error.FFmpegError, ValueError: on a pixel format that cannot be converted.
    """

    def __init__(self, interpolation: int = COLOR_CONVERSION) -> None:
        self._reformatter = VideoReformatter()
        self._interpolation = interpolation

    @staged("converting")
    def __call__(self, frame: VideoFrame, width: int, height: int) -> UInt8:
        """(height, width, 3) uint8, in the orientation in which it is stored."""
        transfer = HDR_TRANSFERS.get(int(frame.color_trc))
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="rgb48le" if transfer else "rgb24",
            src_colorspace=_source_colorspace(frame),
            interpolation=self._interpolation,
        ).to_ndarray()
        return _to_sdr(cast(NDArray[np.uint16], converted), transfer) if transfer else cast(UInt8, converted)


def has_transparency(frame: VideoFrame) -> bool:
    """Whether any pixel of it is not opaque."""
    if not any(component.is_alpha for component in frame.format.components):
        return False
    return bool((frame.reformat(format="rgba").to_ndarray()[..., 3] < 255).any())


def _source_colorspace(frame: VideoFrame) -> Colorspace:
    """The matrix that a player would use: the stated one, else BT.709 from 720 lines up, as is the convention."""
    stated = {1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M}
    stated |= {9: Colorspace.BT2020, 10: Colorspace.BT2020}
    default = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return stated.get(int(frame.colorspace), default)


def _to_sdr(signal: NDArray[np.uint16], transfer: str) -> UInt8:
    """(H, W, 3) BT.2020 of either transfer to BT.709: white of 203 nits stays white, up to the knee all is exact."""
    out = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        red, green, blue = (_light_of(transfer)[signal[rows, :, channel]] for channel in range(3))
        factor: Floats | np.float32 = np.float32(_PEAK_NITS / _REFERENCE_WHITE_NITS)
        if transfer == "HLG":  # BT.2100: the system gamma of 1.2 works on luminance
            luminance = _LUMINANCE_2020[0] * red + _LUMINANCE_2020[1] * green + _LUMINANCE_2020[2] * blue
            factor = factor * _power(luminance, 0.2)
        shown = [np.maximum((a * red + b * green + c * blue) * factor, 0) for a, b, c in _TO_709]
        brightest = np.maximum(np.maximum(shown[0], shown[1]), shown[2])
        softer = _compressed(brightest) / np.maximum(brightest, np.float32(1e-6))
        for channel, light in enumerate(shown):
            out[rows, :, channel] = _power(np.minimum(light * softer, 1), 1 / _DISPLAY_GAMMA) * 255 + np.float32(0.5)
    return out


def _power(values: Floats, exponent: float) -> Floats:
    """Of values in [0, 1], from a table that is dense enough near 0 for the steepest of the curves here."""
    return _powers(exponent)[(np.sqrt(values) * np.float32(_TABLE - 1) + np.float32(0.5)).astype(np.intp)]


@cache
def _powers(exponent: float) -> Floats:
    return ((np.arange(_TABLE) / (_TABLE - 1)) ** (2 * exponent)).astype(np.float32)


def _compressed(light: Floats) -> Floats:
    """Straight up to the knee, then a hyperbola that leaves it with the same slope and meets 1 at the peak."""
    peak = _PEAK_NITS / _REFERENCE_WHITE_NITS
    a = -(_KNEE**2) * (peak - 1) / (_KNEE**2 - 2 * _KNEE + peak)
    b = (_KNEE**2 - 2 * _KNEE * peak + peak) / (peak - 1)
    scale = (b * b + 2 * b * _KNEE + _KNEE**2) / (b - a)
    bent = np.float32(scale) * (light + np.float32(a)) / np.maximum(light + np.float32(b), np.float32(1e-6))
    return np.where(light <= _KNEE, light, bent)


@cache
def _light_of(transfer: str) -> Floats:
    """(65536,) by 16-bit signal: display light for PQ, scene light for HLG, 1 at the peak of 1,000 nits."""
    signal = np.minimum(np.arange(65536) / _WHITE_OF_16_BITS, 1.0)
    if transfer == "PQ":  # ITU-R BT.2100, table 4
        m1, m2 = 2610 / 16384, 2523 / 4096 * 128
        c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        root = signal ** (1 / m2)
        nits = 10_000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
        return (nits / _PEAK_NITS).astype(np.float32)
    a = 0.17883277  # table 5
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)
