"""How the camera moved within a clip, and the clip as a camera at rest would have filmed it.

    pictures ── phase correlation of neighbours, people left out ── shifts ── pictures laid over the key picture

Only shifts are told: what pans, tilts and shakes of a hand mostly are. A picture pair in which a shift explains
little (a cut, a zoom, nothing but a person in view) counts as not moved.
"""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

Floats = NDArray[np.float64]
_SIDE = 112  # the shorter side of the pictures that are compared, at most
_MOST = 0.4  # of a side: further shifts leave too little in common
_EXPLAINS = 0.8  # what is left of the difference of two pictures when the shift is true, at most
_SMOOTH, _ROUGH = 1.0, 4.0  # pixels; only what lies between is compared: neither noise nor light
_AROUND = 8  # pixels around people that are left out too, since smoothing carries them there
_NOTHING = 0.5  # of 255: pictures that differ less on the whole show no movement


def camera_shifts(clip_T3HW: Tensor, key: int, people: NDArray[np.floating]) -> Floats:
    """(T, 2) pixels right and down by which the scene lies elsewhere in each picture than in the key picture.

    Args:
        clip_T3HW: uint8 pictures of one clip.
        key: place of the key picture.
        people: (T, n, 4) xyxy, as fractions, in each picture: what moves by itself.
    """
    grey = clip_T3HW.float().mean(1)
    factor = max(1, min(grey.shape[-2:]) // _SIDE)
    small = torch.nn.functional.avg_pool2d(grey[:, None], factor)[:, 0].double().numpy()
    banded = [gaussian_filter(each, _SMOOTH) - gaussian_filter(each, _ROUGH) for each in small]
    weights = [_window(small.shape[1], small.shape[2], each) for each in people]
    both = [np.minimum(a, b) for a, b in itertools.pairwise(weights)]
    steps = [_step(a, b, weight) for (a, b), weight in zip(itertools.pairwise(banded), both, strict=True)]
    places = np.concatenate([np.zeros((1, 2)), np.cumsum(np.array(steps).reshape(-1, 2), axis=0)])
    return (places - places[key]) * factor


def steadied(clip_T3HW: Tensor, shifts: Floats, key: int) -> Tensor:
    """The clip with every picture moved back by its shift, in whole pixels; at the key picture's place.

    What a picture does not show is taken from its neighbour on the key picture's side, as if nothing moved there.
    """
    steady = clip_T3HW.clone()
    count, _, height, width = clip_T3HW.shape
    for place in [*range(key + 1, count), *range(key - 1, -1, -1)]:
        right, down = np.rint(shifts[place]).astype(int).tolist()
        towards_key = steady[place - 1 if place > key else place + 1]
        steady[place] = towards_key
        rows = slice(max(0, -down), min(height, height - down))
        columns = slice(max(0, -right), min(width, width - right))
        if rows.start < rows.stop and columns.start < columns.stop:
            steady[place][:, rows, columns] = clip_T3HW[
                place, :, rows.start + down : rows.stop + down, columns.start + right : columns.stop + right
            ]
    return steady


def _window(height: int, width: int, people: NDArray[np.floating]) -> Floats:
    """Of weights, 0 at the edges and on people."""
    weight = np.ones((height, width))
    boxes = np.asarray(people).reshape(-1, 4) * [width, height, width, height]
    for left, top, right, bottom in (boxes + np.array([-1, -1, 1, 1]) * _AROUND).round().astype(int).tolist():
        weight[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = 0
    return weight * np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])


def _step(one: Floats, other: Floats, weight: Floats) -> tuple[float, float]:
    """Pixels right and down by which the scene lies elsewhere in the other picture."""
    height, width = one.shape
    spectra = [np.fft.rfft2(each * weight) for each in (one, other)]
    cross = np.conj(spectra[0]) * spectra[1]
    peak = np.fft.irfft2(cross / (np.abs(cross) + 1e-9), s=(height, width))
    peak = gaussian_filter(peak, 0.7, mode="wrap")
    down, right = np.unravel_index(int(peak.argmax()), peak.shape)
    offsets = [_between(peak[:, right], int(down)), _between(peak[down], int(right))]
    down, right = (int(each) - size * (each > size // 2) for each, size in ((down, height), (right, width)))
    if abs(down) > _MOST * height or abs(right) > _MOST * width or down == right == 0:
        return 0.0, 0.0
    still = _left(one, other, weight, 0, 0)
    if still < _NOTHING or _left(one, other, weight, right, down) > _EXPLAINS * still:
        return 0.0, 0.0
    return right + offsets[1], down + offsets[0]


def _between(line: Floats, place: int) -> float:
    """Where between its neighbours the peak of a line that goes round lies, -0.5 to 0.5."""
    before, here, after = line[place - 1], line[place], line[(place + 1) % len(line)]
    bend = before - 2 * here + after
    return 0.0 if bend >= 0 else float(np.clip((before - after) / (2 * bend), -0.5, 0.5))


def _left(one: Floats, other: Floats, weight: Floats, right: int, down: int) -> float:
    """Mean difference of the two where they overlap after a shift, people left out."""
    height, width = one.shape
    here = np.s_[max(0, -down) : min(height, height - down), max(0, -right) : min(width, width - right)]
    there = np.s_[max(0, down) : min(height, height + down), max(0, right) : min(width, width + right)]
    weights = weight[here] * weight[there]
    return float((np.abs(one[here] - other[there]) * weights).sum() / max(1e-9, weights.sum()))
