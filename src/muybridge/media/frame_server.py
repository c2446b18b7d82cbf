"""A page on this machine that shows one picture after another, for where there is no screen.

The newest picture goes to each browser as fast as that browser takes it (JPEGs in one answer without an end,
multipart/x-mixed-replace, which all browsers show); what came in between is left out. Nobody but this machine is
answered: the server listens on 127.0.0.1, and refuses requests that name another host, as a page of somebody else's
does that had its own name point here. From another machine: `ssh -L PORT:127.0.0.1:PORT machine`.
"""

import contextlib
import html
import io
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from muybridge.errors import OptionError
from muybridge.media.newest_frame import Newest

RGB = NDArray[np.uint8]
_HOST = "127.0.0.1"
_BOUNDARY = "muybridge-picture"
_QUALITY = 85
# A browser that takes nothing for so long is given up.
_PATIENCE_SECONDS = 10.0
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ margin: 0; background: #111; display: grid; place-items: center; min-height: 100vh }}
img {{ max-width: 100vw; max-height: 100vh }}</style>
<img src="/stream" alt="{title}">
"""


class FrameServer:
    """Serves from `with` to its end.

    Args:
        title: of the page.
        port: 0 takes any that is free.

    Raises (on entering):
        OptionError: the port is no number from 0 to 65535, or taken.
    """

    def __init__(self, title: str, port: int) -> None:
        self._title, self._port = title, port
        self._newest: Newest[RGB] = Newest()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{_HOST}:{self._port}/"

    def __enter__(self) -> "FrameServer":
        page, newest = _PAGE.format(title=html.escape(self._title)).encode(), self._newest

        class Handler(_Handler):
            pass

        Handler.page, Handler.newest = page, newest
        try:
            self._server = ThreadingHTTPServer((_HOST, self._port), Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not from 0 to 65535"
            raise OptionError(f"port {self._port} cannot be used ({reason}). Choose another for --serve") from error
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="muybridge-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._newest.end()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def show(self, image: RGB) -> None:
        """Put up a picture (H, W, 3) in place of the one before; it is not changed afterwards."""
        self._newest.put(image, 0.0)


class _Handler(BaseHTTPRequestHandler):
    """Answers for the page and its picture."""

    page: bytes
    newest: Newest[RGB]
    timeout = _PATIENCE_SECONDS

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):  # the browser went away
            super().handle()

    def do_GET(self) -> None:
        if self.headers.get("Host", "").partition(":")[0] not in (_HOST, "localhost"):  # no port where it is 80
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(self.page)))
            self.end_headers()
            self.wfile.write(self.page)
        elif self.path == "/stream":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _stream(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        number = 0
        while (arrival := self.newest.wait(number)) is not None:
            number = arrival.number
            picture = _jpeg(arrival.value)
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: requests are nobody's concern."""


def _jpeg(image: RGB) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
