"""The service on a socket, from its start to its end."""

import socket
import sys

import uvicorn

from muybridge.errors import OptionError
from muybridge.escapes import printable
from muybridge.serve.app import Metrics, create_app
from muybridge.serve.models import Models
from muybridge.serve.options import ServeConfig


def listen(config: ServeConfig) -> socket.socket:
    """The socket of a service, before it has models to answer with.

    Raises:
        OptionError: the address or port cannot be used.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host.strip("[]"), config.port), family=family, backlog=2048)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        raise OptionError(f"host={config.host}, port={config.port} cannot be used: {why}. Choose another") from error


def run_service(listener: socket.socket, models: Models, config: ServeConfig, metrics: Metrics) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that were taken in by then are answered before this returns."""
    app = create_app(models, config, metrics)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(printable(f"muybridge: serving at http://{shown}:{port}"), file=sys.stderr, flush=True)  # noqa: T201
    # Access logs would tell who asked for what; proxies that want them write them.
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # what ended it, told on when all is answered
    finally:
        models.close()
