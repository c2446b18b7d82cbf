"""Stylize: a picture or a video painted in the style of any image (Avatar-Net). Read `stylizer.py` first."""

from typing import TYPE_CHECKING

from muybridge.lazy import lazy_exports

if TYPE_CHECKING:
    from muybridge.stylize.stylizer import Style, StylizeConfig, Stylizer
    from muybridge.stylize.temporal import TemporalConfig

__all__ = ["Style", "StylizeConfig", "Stylizer", "TemporalConfig"]

__getattr__ = lazy_exports(
    __name__,
    {
        "Style": "muybridge.stylize.stylizer",
        "StylizeConfig": "muybridge.stylize.stylizer",
        "Stylizer": "muybridge.stylize.stylizer",
        "TemporalConfig": "muybridge.stylize.temporal",
    },
)
