"""The stylizer that painting is tested with."""

from tests.stylize.conftest import model_file, painting, photo, stylizer

__all__ = ["model_file", "painting", "photo", "stylizer"]
