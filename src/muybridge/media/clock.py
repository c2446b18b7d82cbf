"""Times of transport and program streams, whose clock may start anew within a file.

Joined files, restarted recordings and films on discs count again from some number in the middle. Left as they are,
such pictures would all be shown within one moment after the seam.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

# As FFmpeg's own command line has it: a step back, or a step ahead that no recording makes.
_STEP_BACK = Fraction(1, 10)
_STEP_AHEAD = Fraction(10)
_FORMATS = frozenset({"mpegts", "mpeg"})


@dataclass
class _Track:
    """Where one track stands: the number of its stretch, and times in seconds as the file counts them."""

    stretch: int
    decoded: Fraction
    end: Fraction


class ContinuousClock:
    """Puts the stretches of such a file one after another; packets of any other file stay as they are.

    All tracks are shifted alike, so that sound stays with its picture. For the same shifts everywhere, every reader
    of a file hands over the packets of all its `tracks`, in order.
    """

    def __init__(self, container: InputContainer) -> None:
        self.is_needed = container.format.name in _FORMATS
        self.tracks = [*container.streams.video, *container.streams.audio]
        self._shifts = [Fraction(0)]
        self._by_track: dict[int, _Track] = {}

    def set_right(self, packet: "av.Packet[Any]") -> None:
        """Shift the packet's times onto the one clock of the film."""
        if not self.is_needed or packet.dts is None:
            return
        decoded = packet.dts * packet.time_base
        end = decoded + (packet.duration or 0) * packet.time_base
        track = self._by_track.get(packet.stream_index)
        if track is None:
            track = self._by_track[packet.stream_index] = _Track(len(self._shifts) - 1, decoded, end)
        elif decoded < track.decoded - _STEP_BACK or decoded > track.end + _STEP_AHEAD:
            self._enter_next_stretch(track, decoded)
        track.decoded, track.end = decoded, end
        shift = round(self._shifts[track.stretch] / packet.time_base)
        packet.dts += shift
        if packet.pts is not None:
            packet.pts += shift

    def _enter_next_stretch(self, track: _Track, decoded: Fraction) -> None:
        expected = track.end + self._shifts[track.stretch]
        track.stretch += 1
        if track.stretch < len(self._shifts):
            # Another track came to the seam first. Its shift holds here too, unless it speaks of another seam.
            if abs(decoded + self._shifts[track.stretch] - expected) <= _STEP_AHEAD:
                return
            track.stretch = len(self._shifts)
        # No track of the stretch before may reach beyond the seam.
        before = [t.end + self._shifts[t.stretch] for t in self._by_track.values() if t.stretch == track.stretch - 1]
        self._shifts.append(max([expected, *before]) - decoded)
