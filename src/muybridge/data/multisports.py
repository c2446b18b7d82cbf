"""MultiSports: published as a pickle, which is refused; read from its JSON twin (see `muybridge.data.tubes`)."""

from pathlib import Path

from muybridge.data.tubes import TubeSet, read_tubes

RATE_FPS = 25.0


def read_multisports(path: str | Path) -> TubeSet:
    """Tubes of 66 fine-grained actions in videos of 25 frames a second; errors as of `read_tubes`."""
    return read_tubes(path, rate_fps=RATE_FPS)
