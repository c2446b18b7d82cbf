"""The service on a socket, from its start to its end."""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from muybridge.errors import OptionError
from muybridge.escapes import printable
from muybridge.serve.app import Metrics, create_app
from muybridge.serve.models import Models
from muybridge.serve.options import Limits, ServeConfig

# A client that owes a request, or takes nothing of its answer, for so long is given up.
_PATIENCE_SECONDS = 20.0
# Connections beside those of requests that are worked on or wait.
_MORE_CONNECTIONS = 1024


class _GuardedHTTP(H11Protocol):
    """A connection that nobody keeps for nothing: while the client owes something it has a deadline, and where there
    are too many, the one goes whose client has owed longest. The library limits neither."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            owing = {
                each: each._deadline.when()
                for each in self.connections
                if isinstance(each, _GuardedHTTP) and each._deadline is not None
            }
            if owing:
                min(owing, key=owing.__getitem__)._give_up()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._watch()

    def _watch(self) -> None:
        is_idle = not self.cycle or self.cycle.response_complete
        owes = self in self.connections and (is_idle or self.flow.write_paused)
        if owes and self._deadline is None:
            self._deadline = self.loop.call_later(_PATIENCE_SECONDS, self._give_up)
        elif not owes and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self.connections.discard(self)
        self.transport.abort()
        self._watch()


def http_server(app: ASGIApp, limits: Limits) -> uvicorn.Server:
    """A server for an application, which no client can stop others from reaching."""
    # Uploads and films need files too, and so do connections that are taken up but not looked at yet.
    connections = min(limits.at_once + limits.queue + _MORE_CONNECTIONS, _open_files() // 3)
    # Access logs would tell who asked for what; proxies that want them write them.
    config = uvicorn.Config(
        app, http=_GuardedHTTP, ws="none", limit_concurrency=connections, backlog=max(1, connections // 4),
        log_level="warning", access_log=False, server_header=False,
    )  # fmt: skip
    return uvicorn.Server(config)


def _open_files() -> int:
    """How many this process may have open."""
    if sys.platform == "win32":
        return 8192
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else most


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
    server = http_server(app, config.limits)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass  # what ended it, told on when all is answered
    finally:
        models.close()
