"""muybridge takes image models to video: recognize, localize and stylize what moves."""

__version__ = "0.1.0"
