"""Who is there: detectors of people, and tracks that say who is who from frame to frame."""

from typing import TYPE_CHECKING

from muybridge.lazy import lazy_exports

if TYPE_CHECKING:
    from muybridge.people.detector import Detections, Detector
    from muybridge.people.detectors import load_detector
    from muybridge.people.tracks import Tracker

__all__ = ["Detections", "Detector", "Tracker", "load_detector"]

__getattr__ = lazy_exports(
    __name__,
    {
        "Detections": "muybridge.people.detector",
        "Detector": "muybridge.people.detector",
        "Tracker": "muybridge.people.tracks",
        "load_detector": "muybridge.people.detectors",
    },
)
