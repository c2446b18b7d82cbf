"""JHMDB: tubes from the JSON twin of the circulating pickle (see `muybridge.data.tubes`), and its own split lists.

The data set itself ships puppet masks as MATLAB files, from which that pickle's boxes were made.
"""

from pathlib import Path

from muybridge.data.label_maps import read_text
from muybridge.data.tubes import TubeSet, read_tubes
from muybridge.errors import AnnotationError, MissingInput, OptionError

# The clips' nominal rate; they were cut frame by frame.
RATE_FPS = 25.0


def read_jhmdb(path: str | Path) -> TubeSet:
    """Tubes of 21 actions, one person a clip; errors as of `read_tubes`."""
    return read_tubes(path, rate_fps=RATE_FPS)


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
                raise AnnotationError(f"{path}, line {line}: {text!r}. Expected a clip and 1 (training) or 2 (test).")
            parts[part].append(f"{path.name.removesuffix(ending)}/{Path(name.strip()).stem}")
    return tuple(parts["1"]), tuple(parts["2"])
