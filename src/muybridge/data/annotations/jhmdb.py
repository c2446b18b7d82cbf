"""JHMDB: its puppet masks; the JSON twin of the circulating pickle (`tubes.py`); its split lists.

The masks are MATLAB files, read with scipy: pip install 'muybridge[mat]'.
"""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muybridge.data.annotations.table import AnnotationRows
from muybridge.data.annotations.tubes import TubeSet, read_tubes
from muybridge.data.label_maps import LabelMap
from muybridge.data.text_files import read_text, shown
from muybridge.errors import AnnotationError, MissingExtra, MissingInput, OptionError
from muybridge.media.outputs import is_folder

# The clips' nominal rate; they were cut frame by frame.
RATE_FPS = 25.0


def read_jhmdb(path: str | Path) -> TubeSet:
    """Tubes of 21 actions, one person a clip, from the published `puppet_mask` folder or from the JSON form.

    Of a folder, each ACTION/CLIP/puppet_mask.mat (`part_mask`, height x width x frames) becomes the boxes around its
    mask, edges as continuous coordinates: a mask of one pixel is a box of one by one. Frames with an empty mask have
    no box. Videos are named ACTION/CLIP.

    Raises:
        MissingInput: no such file, or a folder without masks.
        MissingExtra: a folder, and scipy is not installed.
        AnnotationError: a pickle, or a file breaks its format.
    """
    path = Path(path)
    if not is_folder(path):
        return read_tubes(path, rate_fps=RATE_FPS)
    files = sorted(path.rglob("puppet_mask.mat"))
    if not files:
        raise MissingInput(f"{path} holds no puppet_mask.mat. Name the folder of the published puppet masks.")
    actions = sorted({file.parent.parent.name for file in files})
    rows = AnnotationRows("pixel")
    for file in files:
        name = f"{file.parent.parent.name}/{file.parent.name}"
        masks = _read_masks(file)
        rows.frame_sizes[name] = (masks.shape[1], masks.shape[0])
        for frame in range(masks.shape[2]):
            rows_hit, columns_hit = (np.flatnonzero(masks[:, :, frame].any(axis=axis)) for axis in (1, 0))
            if len(rows_hit):
                box = (columns_hit[0], rows_hit[0], columns_hit[-1] + 1, rows_hit[-1] + 1)
                rows.add(name, frame / RATE_FPS, box, label=actions.index(file.parent.parent.name), person=0)
    return TubeSet(rows.annotations(), LabelMap(tuple(actions), tuple(range(len(actions)))))


def _read_masks(path: Path) -> NDArray[np.bool_]:
    """(height, width, frames) bool of one MATLAB file; nothing in such a file is executed."""
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError as error:
        raise MissingExtra("Reading MATLAB files", extra="mat") from error
    try:
        masks = loadmat(path, variable_names=["part_mask"]).get("part_mask")
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise AnnotationError(f"{path}: not a MATLAB file of version 5 to 7: {error}. Download it again.") from error
    if masks is None or masks.ndim not in (2, 3) or masks.dtype.kind not in "buif":
        raise AnnotationError(f"{path}: no array 'part_mask' of height x width x frames. Download it again.")
    return np.atleast_3d(masks) != 0


def read_jhmdb_split(folder: str | Path, *, split: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test clips of a split as `action/clip` without suffix.

    Args:
        folder: the published `splits`, with one `ACTION_test_splitN.txt` an action, of lines `clip.avi 1` (training)
            or `clip.avi 2` (test).
        split: 1, 2 or 3.

    Raises:
        OptionError: no such split.
        MissingInput: the folder has no list of it.
        AnnotationError: a line breaks the format.
    """
    if split not in (1, 2, 3):
        raise OptionError(f"split is {split}. JHMDB has 1, 2 and 3.")
    ending = f"_test_split{split}.txt"
    lists = sorted(Path(folder).glob(f"*{ending}"))
    if not lists:
        raise MissingInput(f"{folder} holds no *{ending}. Name JHMDB's folder 'splits'.")
    parts: dict[str, list[str]] = {"1": [], "2": []}
    for path in lists:
        for line, text in enumerate(read_text(path).splitlines(), start=1):
            name, _, part = text.strip().rpartition(" ")
            if not text.strip():
                continue
            if part not in parts or not name:
                raise AnnotationError(
                    f"{path}, line {line}: {shown(text)}. Expected a clip and 1 (training) or 2 (test)."
                )
            parts[part].append(f"{path.name.removesuffix(ending)}/{Path(name.strip()).stem}")
    return tuple(parts["1"]), tuple(parts["2"])
