"""Counts in sentences: one clip, two clips."""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number and what it counts, such as "1 clip", "0 clips" or "2 boxes".

    Args:
        plural: where it is not the singular and s, or es after a hiss.
    """
    hisses = singular.endswith(("s", "x", "ch", "sh"))
    return f"{number} {singular if number == 1 else plural or singular + ('es' if hisses else 's')}"
