"""muybridge takes image models to video: recognize, localize and stylize what moves."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muybridge.tasks.stylize import Style, StylizeConfig, Stylizer

__version__ = "0.1.0"
__all__ = ["Style", "StylizeConfig", "Stylizer", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported on first use: torch takes seconds, and the command line's help must not wait for it.
    if name in {"Style", "StylizeConfig", "Stylizer"}:
        from muybridge.tasks import stylize

        return getattr(stylize, name)
    raise AttributeError(f"module 'muybridge' has no attribute {name!r}")
