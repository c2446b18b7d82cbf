"""The page on this machine: what a browser is given, who is refused, how it ends."""

import contextlib
import http.client
import io
import socket
import struct
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from muybridge.errors import OptionError
from muybridge.media.frame_server import FrameServer

PATIENCE = 20.0


def grey(tone: int) -> np.ndarray:
    return np.full((48, 64, 3), tone, np.uint8)


@pytest.fixture
def server():
    with FrameServer("a <film>", 0) as server:
        yield server
    assert not [t for t in threading.enumerate() if t.name == "muybridge-server"]


def next_picture(answer) -> np.ndarray:
    """By the rules of multipart: boundary, headers, an empty line, so many bytes, a line's end."""
    assert answer.readline() == b"--muybridge-picture\r\n"
    headers = http.client.parse_headers(answer)
    assert headers["Content-Type"] == "image/jpeg"
    data = answer.read(int(headers["Content-Length"]))
    assert answer.readline() == b"\r\n"
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture)


def test_a_browser_gets_the_page_and_one_picture_after_another(server):
    with urllib.request.urlopen(server.address, timeout=PATIENCE) as answer:
        assert "a &lt;film&gt;" in answer.read().decode()
    server.show(grey(40))
    with urllib.request.urlopen(server.address + "stream", timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=muybridge-picture"
        for tone in (40, 90, 200):
            server.show(grey(tone))
            picture = next_picture(answer)
            while abs(int(picture[0, 0, 0]) - tone) > 3:  # the first may have been sent twice
                picture = next_picture(answer)
            assert picture.shape == (48, 64, 3)


def test_who_comes_late_gets_the_newest_alone(server):
    for tone in range(0, 250, 10):
        server.show(grey(tone))
    with urllib.request.urlopen(server.address + "stream", timeout=PATIENCE) as answer:
        assert abs(int(next_picture(answer)[0, 0, 0]) - 240) <= 3


@pytest.mark.parametrize(("path", "host", "code"), [("nothing", None, 404), ("", "evil.example", 403)])
def test_other_paths_and_other_hosts_are_refused(server, path, host, code):
    request = urllib.request.Request(server.address + path, headers={"Host": f"{host}:80"} if host else {})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENCE)
    assert refused.value.code == code
    refused.value.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:80", "127.0.0.1:8000"])
def test_this_machine_is_answered_by_each_of_its_names(server, host):
    request = urllib.request.Request(server.address, headers={"Host": host})  # browsers leave out port 80
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert b"/stream" in answer.read()


def test_it_listens_on_this_machine_alone(server):
    assert server._server.server_address[0] == "127.0.0.1"


def test_a_browser_that_watches_sees_the_end():
    with FrameServer("film", 0) as server:
        server.show(grey(40))
        answer = urllib.request.urlopen(server.address + "stream", timeout=PATIENCE)
        next_picture(answer)
    with answer:
        assert answer.read() == b""


def test_a_browser_that_leaves_disturbs_nobody(server):
    server.show(grey(10))
    with urllib.request.urlopen(server.address + "stream", timeout=PATIENCE) as answer:
        next_picture(answer)
    for tone in range(50):
        server.show(grey(tone))
    with urllib.request.urlopen(server.address + "stream", timeout=PATIENCE) as answer:
        assert abs(int(next_picture(answer)[0, 0, 0]) - 49) <= 3


@pytest.mark.parametrize(
    "asked", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2000, b"x" * 70_000]
)
def test_a_browser_that_resets_is_told_of_nowhere(asked, capfd):
    with FrameServer("film", 0) as server:
        port = int(server.address.rstrip("/").rpartition(":")[2])
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no goodbye
                with contextlib.suppress(ConnectionError):
                    client.sendall(asked)
        with urllib.request.urlopen(server.address, timeout=PATIENCE) as answer:
            assert b"/stream" in answer.read()
        for thread in threading.enumerate():
            if "process_request_thread" in thread.name:
                thread.join()
    assert capfd.readouterr().err == ""


def test_ports_that_cannot_be_had_are_refused(server):
    taken = int(server.address.rstrip("/").rpartition(":")[2])
    for port in (taken, -3, 70_000):
        with pytest.raises(OptionError, match=f"port {port} .*--serve"), FrameServer("film", port):
            pass
