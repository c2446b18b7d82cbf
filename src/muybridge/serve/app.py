"""The service as HTTP: what is asked, what is answered, who is let in, how much at once.

    POST /recognize   a film as the body                  JSON: spans, windows
    POST /localize    a film as the body                  JSON: key frames, people, spans
    POST /stylize     a picture or a film as the body     a PNG, or an MP4
    GET  /health, /metrics, /openapi.json

What goes wrong is JSON too: {"error": "one line"}.
"""

import asyncio
import http.client
import secrets
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, TypeVar

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muybridge import __version__
from muybridge.errors import MissingInput, MuybridgeError, OutputError
from muybridge.escapes import printable
from muybridge.localize.options import LocalizeConfig
from muybridge.recognize.windows import WindowConfig
from muybridge.serve.models import VERBS, Models, TooLargeError
from muybridge.serve.options import ServeConfig
from muybridge.stylize.options import StylizeConfig

T = TypeVar("T")
_PIECE = 1 << 20
_AWAY = 499  # as proxies count a client that went away; nobody is there to read it
_RETRY_SECONDS = "1"
_LONGEST_ERROR = 500

Optional = Annotated[str | None, Query(max_length=200)]


class Metrics:
    """What is counted, for Prometheus."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "muybridge_requests", "Requests by verb and status", ["verb", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "muybridge_request_seconds",
            "From the first byte of a request to its answer",
            ["verb"],
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=self.registry,
        )
        self.admitted = Gauge(
            "muybridge_admitted_requests", "Requests that wait or are worked on", registry=self.registry
        )
        self._batch = Histogram(
            "muybridge_batch_size",
            "Clips to recognize, or frames to find people in, that ran together",
            ["of"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )

    def observe_batch(self, of: str, size: int) -> None:
        """Count a batch of so many clips, or frames."""
        self._batch.labels(of).observe(size)


@dataclass(eq=False)
class _Gate:
    """How many requests are in the house, and how many may be."""

    most: int
    metrics: Metrics
    inside: int = 0

    @asynccontextmanager
    async def admitted(self) -> AsyncGenerator[None]:
        if self.inside >= self.most:
            raise HTTPException(429, "the queue is full. Come again", headers={"Retry-After": _RETRY_SECONDS})
        self.inside += 1
        self.metrics.admitted.set(self.inside)
        try:
            yield
        finally:
            self.inside -= 1
            self.metrics.admitted.set(self.inside)


class Service:
    """Answers requests with models.

    Args:
        models: loaded.
        config: limits, and whom to let in.
        secret: that clients have to know; None lets everybody in who reaches the service.
    """

    def __init__(self, models: Models, config: ServeConfig, metrics: Metrics, *, secret: str | None = None) -> None:
        self.models, self.config, self.metrics = models, config, metrics
        self._secret = secret
        self._gate = _Gate(config.limits.at_once + config.limits.queue, metrics)
        self._at_once = anyio.CapacityLimiter(config.limits.at_once)

    def check(self, request: Request) -> None:
        """Let in who knows the secret.

        Raises:
            HTTPException: 401.
        """
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self._secret is not None and not secrets.compare_digest(given, self._secret.encode()):
            raise HTTPException(401, "a token is needed", headers={"WWW-Authenticate": "Bearer"})

    async def answer(
        self, verb: str, request: Request, address: str | None, work: Callable[[Path, Path], T]
    ) -> tuple[T, Path]:
        """Take in an upload, and work on it when it is its turn.

        Args:
            work: from the uploaded file and a folder to write to.

        Returns:
            Its result, and the folder, which is the caller's to remove.

        Raises:
            HTTPException: what is wrong with the request.
        """
        with self.metrics.seconds.labels(verb).time():
            async with self._gate.admitted():
                folder = _new_folder()
                try:
                    path = folder / "upload"
                    await self._receive(request, address, path)
                    result = await anyio.to_thread.run_sync(partial(_told, work, path, folder), limiter=self._at_once)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
        return result, folder

    async def _receive(self, request: Request, address: str | None, path: Path) -> None:
        limits = self.config.limits
        most = int(limits.megabytes * 1e6)
        try:
            async with asyncio.timeout(limits.upload):
                if address is None:
                    await _write_body(request, path, most)
                elif not self.config.addresses:
                    raise HTTPException(403, "this service takes uploads alone, no addresses")
                else:
                    await anyio.to_thread.run_sync(_fetch, address, path, most, limits.upload, abandon_on_cancel=True)
        except TimeoutError as error:
            raise HTTPException(408, f"the upload took longer than {limits.upload:g} s") from error
        except ClientDisconnect as error:
            raise HTTPException(_AWAY, "the client went away before all was there") from error
        except OSError as error:
            raise HTTPException(507, "there is no space for the upload") from error


def _new_folder() -> Path:
    try:
        return Path(mkdtemp(prefix="muybridge-serve-"))
    except OSError as error:
        raise HTTPException(507, "there is no space for an upload") from error


async def _write_body(request: Request, path: Path, most: int) -> None:
    stated = request.headers.get("content-length", "0")
    if stated.isdecimal() and int(stated) > most:
        raise _too_much(most)
    received = 0
    async with await anyio.open_file(path, "wb") as file:
        async for piece in request.stream():
            received += len(piece)
            if received > most:
                raise _too_much(most)
            await file.write(piece)
    if not received:
        raise HTTPException(422, "the body is empty. Send a file as it is, such as with curl --data-binary @film.mp4")


def _too_much(most: int) -> HTTPException:
    return HTTPException(413, f"an upload may have {most / 1e6:g} MB here", headers={"Connection": "close"})


def _fetch(address: str, path: Path, most: int, seconds: float) -> None:
    """The file at an http or https address."""
    if not address.startswith(("http://", "https://")):
        raise HTTPException(422, "an address begins with http:// or https://")
    until = time.monotonic() + seconds
    try:
        with urllib.request.urlopen(address, timeout=seconds) as answer, path.open("wb") as file:
            while piece := answer.read1(_PIECE):
                if time.monotonic() > until:  # a server that sends a byte now and then, for a client that was told so
                    raise TimeoutError
                file.write(piece)
                if file.tell() > most:
                    raise _too_much(most)
    except (urllib.error.URLError, http.client.HTTPException, ValueError, ConnectionError) as error:
        raise HTTPException(422, printable(f"{address} cannot be fetched: {error}"[:_LONGEST_ERROR])) from error


def _told(work: Callable[[Path, Path], T], path: Path, folder: Path) -> T:
    """What is wrong becomes an answer that tells nothing of where uploads lie."""
    try:
        return work(path, folder)
    except MuybridgeError as error:
        status = 413 if isinstance(error, TooLargeError) else 404 if isinstance(error, MissingInput) else 422
        if isinstance(error, OutputError):
            status = 507
        text = str(error).replace(str(path), "the upload").replace(str(folder), "")
        raise HTTPException(status, printable(text)) from error


def create_app(models: Models, config: ServeConfig, metrics: Metrics | None = None) -> FastAPI:
    """The service's application, for any server of ASGI.

    Raises:
        OptionError: the token cannot be read.
    """
    metrics = metrics or Metrics()
    service = Service(models, config, metrics, secret=config.secret())
    # The library's own pages load scripts from elsewhere.
    app = FastAPI(title="muybridge", version=__version__, docs_url=None, redoc_url=None)
    if config.token is None:  # a page of somebody else's may have its own name point here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", config.host])
    _tell_errors(app)
    app.add_middleware(_Counted, metrics=metrics)
    _add_verbs(app, service)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "version": __version__, "models": models.names()}

    @app.get("/metrics", dependencies=[Depends(service.check)])
    async def metrics_page() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _add_verbs(app: FastAPI, service: Service) -> None:
    models, guarded = service.models, [Depends(service.check)]

    @app.post("/recognize", dependencies=guarded)
    async def recognize(
        request: Request,
        model: Optional = None,
        address: Optional = None,
        window: Annotated[float | None, Query(gt=0)] = None,
        step: Annotated[float | None, Query(gt=0)] = None,
        threshold: Annotated[float | None, Query(ge=0, le=1)] = None,
        top: Annotated[int, Query(ge=1, le=100)] = 5,
    ) -> JSONResponse:
        def work(path: Path, folder: Path) -> dict[str, Any]:
            del folder
            return models.recognize(
                path, model=model, windows=WindowConfig(window, step), threshold=threshold, top=top
            )

        return await _as_json(service, "recognize", request, address, work)

    @app.post("/localize", dependencies=guarded)
    async def localize(
        request: Request,
        model: Optional = None,
        address: Optional = None,
        every: Annotated[float, Query(gt=0)] = LocalizeConfig.every,
        threshold: Annotated[float, Query(ge=0, le=1)] = LocalizeConfig.threshold,
    ) -> JSONResponse:
        def work(path: Path, folder: Path) -> dict[str, Any]:
            del folder
            return models.localize(path, model=model, config=LocalizeConfig(every=every, threshold=threshold))

        return await _as_json(service, "localize", request, address, work)

    @app.post("/stylize", dependencies=guarded, response_class=FileResponse)
    async def stylize(
        request: Request,
        style: Annotated[str, Query(max_length=200)],
        model: Optional = None,
        address: Optional = None,
        strength: Annotated[float, Query(ge=0, le=1)] = StylizeConfig.strength,
        size: Annotated[int, Query(ge=0, le=4320)] = 0,
        keep_colors: bool = False,
    ) -> FileResponse:
        def work(path: Path, folder: Path) -> Path:
            config = StylizeConfig(strength=strength, size=size, keep_colors=keep_colors)
            return models.stylize(path, folder, model=model, style=style, config=config)

        painted, folder = await service.answer("stylize", request, address, work)
        return FileResponse(painted, background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True))


async def _as_json(
    service: Service,
    verb: str,
    request: Request,
    address: str | None,
    work: Callable[[Path, Path], dict[str, Any]],
) -> JSONResponse:
    told, folder = await service.answer(verb, request, address, work)
    shutil.rmtree(folder, ignore_errors=True)
    return JSONResponse(told)


def _tell_errors(app: FastAPI) -> None:
    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: StarletteHTTPException) -> JSONResponse:
        del request
        return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        first = error.errors()[0]
        return JSONResponse({"error": f"{first['loc'][-1]}: {first['msg']}"}, 422)


class _Counted:
    """Counts requests of the verbs by status, whoever answers them."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        verb = str(scope.get("path", "")).strip("/")

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(verb, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted if verb in VERBS else send)
