"""How much memory the machine has, so that what cannot fit is refused in a sentence instead of tried for an hour."""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

from muybridge.errors import MuybridgeError, OptionError

# Where Linux says what a container or a job may take.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
# Options of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@cache
def main_memory_bytes() -> int | None:
    """The machine's main memory, or what a container's limit leaves of it; None where the system does not tell."""
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such call on this system
        return None
    limits = [int(text) for path in _LIMITS if path.is_file() and (text := path.read_text().strip()).isdecimal()]
    return min([whole, *limits])


def check_fits(
    what: str,
    *,
    needed: float,
    available: int | None,
    remedy: str,
    error: type[MuybridgeError] = OptionError,
) -> None:
    """Refuse what needs more memory than there is.

    Args:
        what: the subject of the sentence, with the option that asks for it.
        needed: bytes, at least.
        available: bytes; None lets everything pass.
        remedy: what to do, as a sentence without its full stop.
        error: what is raised where it cannot fit: an option is too large, or an input.
    """
    if available is not None and needed > available:
        raise error(f"{what} needs {_amount(needed)} of memory, and there are {_amount(available)}. {remedy}")


def _amount(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.1f} GB"


def keep_freed_memory() -> None:
    """Let freed blocks of up to 256 MiB serve later requests, where the C library is glibc.

    It would give them back to the system and get others, page by page, which takes longer than most layers of a small
    network take to fill them. At most 512 MiB are held back so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 256 << 20)
        mallopt(_TRIM_THRESHOLD, 512 << 20)
