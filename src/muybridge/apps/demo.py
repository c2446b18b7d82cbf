"""`make demo`: the main job, offline, with what ships in the package.

python -m muybridge.apps.demo FOLDER [PICTURE_OR_VIDEO]
"""

import sys
from pathlib import Path

from muybridge.apps.cli import main as command_line

_PICTURES = Path(__file__).parents[1] / "pictures"
_STYLES = ("ember", "glass", "woodcut", "comic")


def main(folder: Path, subject: Path | None = None) -> int:
    """Paint a photograph, or the user's own file, in a few built-in styles; returns the exit code.

    Args:
        folder: receives the paintings and, for a picture, a sheet of all of them.
        subject: a picture or video; by default a photograph that ships with muybridge.
    """
    subject = subject or _PICTURES / "chelsea.jpg"
    made: list[Path] = []
    for style in _STYLES:
        target = folder / f"{subject.stem}-{style}{_suffix(subject)}"
        print(f"$ muybridge stylize {subject} --style {style} -o {target}", flush=True)  # noqa: T201
        try:
            command_line(["stylize", str(subject), "--style", style, "-o", str(target)])
        except SystemExit as ended:
            if ended.code:
                return int(ended.code)
        made.append(target)
    if _suffix(subject) != ".mp4":
        made.append(_sheet(subject, made, folder / f"{subject.stem}-sheet.png"))
    print(f"\nDone. Look at {made[-1].resolve()}")  # noqa: T201
    return 0


def _suffix(subject: Path) -> str:
    from muybridge.media.sources import expand_sources

    return ".mp4" if expand_sources([str(subject)])[0].kind == "video" else ".png"


def _sheet(subject: Path, paintings: list[Path], target: Path) -> Path:
    """The photograph and its paintings side by side."""
    import numpy as np

    from muybridge.media.images import read_image, write_image

    pictures = [read_image(path).rgb for path in (subject, *paintings)]
    gap = np.full((pictures[0].shape[0], 8, 3), 255, np.uint8)
    row = [part for picture in pictures for part in (picture, gap)][:-1]
    write_image(target, np.concatenate(row, axis=1))
    return target


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
