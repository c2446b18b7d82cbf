"""Lengths of time as people write them."""

from muybridge.errors import OptionError


def parse_seconds(option: str, text: str) -> float:
    """ "2", "2s" or "500ms" as seconds.

    Raises:
        OptionError: anything else; names the option.
    """
    number, factor = (text[:-2], 0.001) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        return float(number) * factor
    except ValueError as error:
        raise OptionError(f"{option} {text!r} is no length of time. Write such as 2s or 500ms") from error
