"""Recognize: what happens in a clip, a video, a stream (ST-Adapter). Read `recognizer.py` first."""

from typing import TYPE_CHECKING

from muybridge.lazy import lazy_exports

if TYPE_CHECKING:
    from muybridge.recognize.recognizer import Prediction, Recognizer, RecognizerBank

__all__ = ["Prediction", "Recognizer", "RecognizerBank"]

__getattr__ = lazy_exports(
    __name__,
    {
        "Prediction": "muybridge.recognize.recognizer",
        "Recognizer": "muybridge.recognize.recognizer",
        "RecognizerBank": "muybridge.recognize.recognizer",
    },
)
