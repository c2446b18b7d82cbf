"""How the people move whom the recipes of the localizer look at, kept in a file a video.

Vectors of `muybridge.data.person_motion`, of each person also as seen in a mirror. Windows are of one size, and so a
clip seen from afar has those of the clip as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from localizer_labels import Moment
from localizer_moments import Floats, Kept, Video, kept_file, pictures_of
from torch import Tensor

from muybridge.data.person_motion import AFTER, PersonMotion, person_motion_hash
from muybridge.media.outputs import atomic_output
from muybridge.media.video_reader import Frame
from muybridge.pretrained import built_in_codebook

Moving = Mapping[int, Tensor]  # by the place of the moment: (n, 2, M) float16, own and in a mirror


def motion_of_moments(video: Video, kept: Kept, moments: Sequence[Moment], data: Path, out: Path) -> Moving:
    """Of everybody in some moments of a video; kept under `out`."""
    near, boxes = replace(video, far=False), {moment.place: moment.boxes for moment in moments}
    if video.far:
        boxes = {place: (each - 0.25) * 2 for place, each in boxes.items()}
    return motion_of(kept_file(out / "motion", near), near, kept, boxes, data)


def motion_of(path: Path, video: Video, kept: Kept, boxes: Mapping[int, Floats], data: Path) -> Moving:
    """Of people with boxes (n, 4), by the place of their moment; read from a file, or worked out and kept there."""
    own = person_motion_hash(built_in_codebook())
    if path.exists():
        with np.load(path) as file:
            if str(file["hash"]) == own and all(f"{place}" in file for place in boxes):
                return {place: torch.from_numpy(file[f"{place}"]) for place in boxes}
    asked = {place: (float(kept.seconds[place]), each) for place, each in boxes.items()}
    found = watched_motion(data / video.name, asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as beside, beside.open("wb") as file:
        arrays = {"hash": np.array(own), **{f"{place}": each.numpy() for place, each in found.items()}}
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
    return found


def watched_motion(film: Path, asked: Mapping[int, tuple[float, Floats]]) -> Moving:
    """Of people with boxes (n, 4) at moments in seconds, by their places."""
    motion = PersonMotion(built_in_codebook())
    waiting = sorted(asked, key=lambda place: asked[place][0])
    found: dict[int, Tensor] = {}

    def answer(until: float) -> None:
        while waiting and asked[waiting[0]][0] + AFTER < until:
            seconds, boxes = asked[waiting[0]]
            found[waiting.pop(0)] = motion.of(boxes, seconds, in_mirror=True).transpose(0, 1).half()

    for number, (seconds, picture) in enumerate(pictures_of(film)):
        answer(seconds)
        if not waiting:
            break
        motion.see(Frame(picture, Fraction(seconds).limit_denominator(1_000_000), number))
        motion.forget(asked[waiting[0]][0])
    answer(float("inf"))
    return found
