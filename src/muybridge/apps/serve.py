"""`muybridge serve`."""

import sys
from pathlib import Path
from typing import Annotated

from muybridge.options import FLAT, LIST
from muybridge.serve.options import ServeConfig


def serve(
    *,
    model: Annotated[list[str], LIST],
    style: Annotated[list[Path] | None, LIST] = None,
    config: Annotated[ServeConfig, FLAT] = ServeConfig(),
    device: str = "auto",
) -> int:
    """Answer over HTTP: what happens in a film, who does what in it, a picture or film painted.

    POST a file as it is to /recognize, /localize or /stylize. SIGTERM or Ctrl-C ends it when all that was taken in is
    answered.

    Parameters
    ----------
    model
        Models to serve, of any of the three: .safetensors files, or built-in ones: camera, actions, people_actions,
        builtin (paints). The first of a kind answers where a request names none.
    style
        Pictures and saved styles that requests may name, by their files' names without suffix, beside the built-in
        ones.
    device
        auto, cpu, cuda, cuda:1, mps.
    """
    from muybridge.errors import MissingExtra

    try:
        from muybridge.serve.app import Metrics
        from muybridge.serve.server import listen, run_service
    except ImportError as error:
        raise MissingExtra("muybridge serve", extra="serve") from error
    from muybridge.serve.models import Models

    config.secret()  # what is wrong with it, and with the port, is told before models are loaded
    metrics = Metrics()
    with listen(config) as listener:
        models = Models.load(model, config.limits, styles=style or (), device=device, observe=metrics.observe_batch)
        run_service(listener, models, config, metrics)
    print("muybridge: all requests are answered", file=sys.stderr)  # noqa: T201
    return 0
