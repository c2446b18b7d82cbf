"""Whether a file ends before what its own structure says is its end. Reads headers alone, no pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# So many boxes or chunks at the top are looked at, as of a film in fragments of a second over a day.
_MOST_BOXES = 100_000
_SYNC = 0x47


def is_cut_short(path: Path) -> bool:
    """True where bytes are missing at the end of an mp4 (in fragments or not), mkv, webm, avi or transport stream.

    False also where the file does not tell.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(400)
        for is_kind, lacks_bytes in _KINDS:
            if is_kind(head):
                return lacks_bytes(file, head, size)
    return False


def _lacks_boxes(file: BinaryIO, head: bytes, size: int) -> bool:
    """ISO 14496-12: boxes of a 32-bit size and a name; 1 stands for a 64-bit size, 0 for all that is left."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        header = file.read(16)
        if len(header) < 8 or not header[4:8].isalnum():
            return False
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:
            return False
        place += length
        if place > size:
            return True
    return False


def _lacks_chunks(file: BinaryIO, head: bytes, size: int) -> bool:
    """RIFF: a name and a 32-bit size; large files hold several, one after another."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        header = file.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] != b"RIFF" or length == 0:
            return False
        place += 8 + length
        if place > size:
            return True
    return False


def _lacks_of_segment(file: BinaryIO, head: bytes, size: int) -> bool:
    """Matroska: the EBML header, then one segment that holds all else; all ones stand for an unknown size."""
    place = 4
    length, taken = _variable_integer(head, place)
    place += taken + length
    file.seek(place)
    segment = file.read(16)
    if length < 0 or segment[:4] != b"\x18\x53\x80\x67":
        return False
    length, taken = _variable_integer(segment, 4)
    return length >= 0 and place + 4 + taken + length > size


def _variable_integer(content: bytes, place: int) -> tuple[int, int]:
    """(value, bytes taken); -1 for an unknown or broken one."""
    first = content[place] if place < len(content) else 0
    taken = 9 - first.bit_length()
    if taken > 8 or place + taken > len(content):
        return -1, 0
    mask = (1 << (7 * taken)) - 1
    value = int.from_bytes(content[place : place + taken], "big") & mask
    return (-1 if value == mask else value), taken


def _lacks_of_packet(file: BinaryIO, head: bytes, size: int) -> bool:
    """Transport streams: packets of 188 bytes, on discs with 4 before each."""
    return size % _packet_size(head) != 0


def _packet_size(head: bytes) -> int:
    for packet, first in ((188, 0), (192, 4)):
        if len(head) > first + packet and head[first] == head[first + packet] == _SYNC:
            return packet
    return 0


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, bytes, int], bool]], ...] = (
    (lambda head: head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp"), _lacks_boxes),
    (lambda head: head[:4] == b"RIFF", _lacks_chunks),
    (lambda head: head[:4] == b"\x1a\x45\xdf\xa3", _lacks_of_segment),
    (lambda head: _packet_size(head) > 0, _lacks_of_packet),
)
