"""The service over real HTTP on this machine: answers, limits, many clients, clients that go away, the end."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from muybridge.apps.cli import main
from muybridge.errors import MissingInput, OptionError
from muybridge.escapes import printable
from muybridge.localize.localizer import Localizer
from muybridge.localize.options import LocalizeConfig
from muybridge.media.sources import Source
from muybridge.media.video_reader import VideoReader
from muybridge.people.detector import DetectionFailed, Detections
from muybridge.recognize.files import RecognizeJob, recognize_file
from muybridge.recognize.recognizer import Recognizer
from muybridge.recognize.windows import WindowConfig
from muybridge.serve.app import Metrics, create_app
from muybridge.serve.batching import SharedDetector, SharedRecognizer
from muybridge.serve.models import Models, verb_of
from muybridge.serve.options import Limits, ServeConfig
from muybridge.serve.server import http_server
from muybridge.stylize.stylizer import Stylizer
from tests.apps.test_recognize_command import write_model, write_noise
from tests.localize.localized_videos import noise_frames, small_localizer, write_frames
from tests.recognize.labelled_clips import write_backbone
from tests.stylize.conftest import model_file, smooth_picture  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    write_backbone(folder / "vit.safetensors")
    write_model(folder / "verbs.safetensors", folder / "vit.safetensors")
    for number in range(4):
        write_noise(folder / f"{number}.mp4", 1.0 + number)
    small_localizer().save(folder / "people.safetensors")
    write_frames(folder / "people.mp4", noise_frames(16, seed=1))
    Image.fromarray(smooth_picture(48, 60, 1)).save(folder / "photo.png")
    Image.fromarray(smooth_picture(40, 40, 2)).save(folder / "painting.png")
    return folder


@pytest.fixture(scope="module")
def recognizer(folder) -> Recognizer:
    return Recognizer.from_pretrained(
        folder / "verbs.safetensors", backbone_weights=folder / "vit.safetensors", device="cpu"
    )


@contextmanager
def serving(models: Models, app=None, **options):
    """A running service; gives its port and metrics."""
    metrics = Metrics()
    app = app or create_app(models, ServeConfig(limits=models.limits, **options), metrics)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = http_server(app, models.limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield SimpleNamespace(port=listener.getsockname()[1], metrics=metrics)
        finally:
            server.should_exit = True
            thread.join()


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    finally:
        connection.close()


def error_of(answer: tuple[int, bytes, dict[str, str]]) -> tuple[int, str]:
    return answer[0], json.loads(answer[1])["error"]


def told_alone(recognizer: Recognizer, path: Path) -> list[dict]:
    answer = recognize_file(
        RecognizeJob(recognizer, WindowConfig()), Source(str(path), "video", Path("x")), quiet=True
    )
    return [
        {
            "start": round(s.start, 3),
            "end": round(s.end, 3),
            "label": s.label,
            "score": pytest.approx(s.score, abs=2e-4),
        }
        for s in answer.spans
    ]


@pytest.fixture
def models(recognizer):
    shared = SharedRecognizer(recognizer)
    yield Models(Limits(), {"verbs": shared})
    shared.close()


def test_many_clients_at_once_get_what_each_gets_alone(folder, recognizer):
    sizes: list[int] = []
    models = Models(Limits(at_once=8, queue=100), {"verbs": SharedRecognizer(recognizer, observe=sizes.append)})
    expected = [told_alone(recognizer, folder / f"{number}.mp4") for number in range(4)]
    films = [(folder / f"{number}.mp4").read_bytes() for number in range(4)]
    with serving(models) as service, ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(lambda i: ask(service.port, "/recognize", films[i % 4]), range(100)))
        page = ask(service.port, "/metrics")[1].decode()
    models.close()
    assert [status for status, *_ in answers] == [200] * 100
    for number, (_, body, _) in enumerate(answers):
        assert json.loads(body)["spans"] == expected[number % 4]
    assert max(sizes) > 4  # more windows than any one of the films has
    assert 'muybridge_requests_total{status="200",verb="recognize"} 100.0' in page
    assert "muybridge_admitted_requests 0.0" in page


class BrightPlaces:
    """Finds one person in each frame, where it is brightest; a black frame it cannot bear."""

    classes = ("person",)

    def __init__(self, go: threading.Event) -> None:
        self.go, self.sizes = go, list[int]()

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        assert self.go.wait(60)
        self.sizes.append(len(frames))
        if not frames.reshape(len(frames), -1).any(axis=1).all():
            raise DetectionFailed("it is dark")
        return [self.look(frame) for frame in frames]

    @staticmethod
    def look(frame: np.ndarray) -> Detections:
        y, x = np.unravel_index(frame.sum(axis=2).argmax(), frame.shape[:2])
        return Detections(np.array([[x, y, x + 1, y + 1]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))


def test_frames_of_many_films_are_looked_at_together_and_answered_as_alone():
    go, random = threading.Event(), np.random.default_rng(0)
    frames = [random.integers(1, 256, (1, *((6, 8) if n % 5 else (8, 6)), 3), np.uint8) for n in range(40)]
    frames[7][:] = 0
    detector = BrightPlaces(go)
    shared, begun = SharedDetector(detector), list[int]()

    def look(frame: np.ndarray) -> list[Detections]:
        begun.append(1)
        return shared(frame)

    with ThreadPoolExecutor(40) as clients:
        answers = [clients.submit(look, frame) for frame in frames]
        while len(begun) < 40:
            time.sleep(0.01)
        time.sleep(0.1)  # the last one is about to wait
        go.set()
        for number, (frame, answer) in enumerate(zip(frames, answers, strict=True)):
            if number == 7:
                with pytest.raises(DetectionFailed, match="it is dark"):
                    answer.result()
            else:
                (found,) = answer.result()
                assert np.array_equal(found.boxes, BrightPlaces.look(frame[0]).boxes), number
    shared.close()
    assert 1 < max(detector.sizes) <= 16


def test_what_it_serves_is_told(models):
    with serving(models) as service:
        status, body, _ = ask(service.port, "/health")
        assert status == 200 and json.loads(body)["models"] == {"recognize": ["verbs"]}
        assert "/recognize" in json.loads(ask(service.port, "/openapi.json")[1])["paths"]
        assert ask(service.port, "/docs")[0] == 404
        assert error_of(ask(service.port, "/localize", b"x"))[0] == 404


@pytest.fixture
def uploads(tmp_path, monkeypatch) -> Path:
    """Where uploads lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_picture_that_is_painted_is_the_one_that_the_library_paints(folder, model_file, uploads):  # noqa: F811
    models = Models.load([str(model_file)], Limits(megapixels=0.1), styles=[folder / "painting.png"], device="cpu")
    stylizer = Stylizer.from_pretrained(model_file, device="cpu")
    with serving(models) as service:
        photo = (folder / "photo.png").read_bytes()
        status, body, headers = ask(service.port, "/stylize?style=painting&strength=0.5", photo)
        assert (status, headers["content-type"]) == (200, "image/png")
        (folder / "answer.png").write_bytes(body)
        with Image.open(folder / "answer.png") as picture:
            expected = stylizer(
                folder / "photo.png", [stylizer.encode_style(str(folder / "painting.png"))], strength=0.5
            )
            assert np.array_equal(np.asarray(picture.convert("RGB")), expected)
        status, body, headers = ask(service.port, "/stylize?style=painting", (folder / "0.mp4").read_bytes())
        assert (status, headers["content-type"]) == (200, "video/mp4")
        (folder / "answer.mp4").write_bytes(body)
        with VideoReader(folder / "answer.mp4") as painted, VideoReader(folder / "0.mp4") as film:
            assert painted.timestamps() == film.timestamps()
        for style in ("../photo", str(folder / "painting.png"), "/etc/passwd"):  # no path is ever looked up
            code, error = error_of(ask(service.port, f"/stylize?style={style}", photo))
            assert code == 422 and "there is no style" in error
        large = folder / "large.png"
        Image.new("RGB", (400, 300)).save(large)
        assert error_of(ask(service.port, "/stylize?style=painting", large.read_bytes()))[0] == 413
        for broken in (photo[:8] + b"x" * 100, photo[:30], photo[: len(photo) // 2], b"\xff\xd8\xff" + b"x" * 100):
            code, error = error_of(ask(service.port, "/stylize?style=painting", broken))
            assert code == 422 and error.startswith("the upload is a damaged picture"), error
    assert not list(uploads.iterdir())


def test_people_are_localized_as_the_library_does(folder):
    told: list[tuple[str, int]] = []
    models = Models.load(
        [str(folder / "people.safetensors")], Limits(), device="cpu", observe=lambda *batch: told.append(batch)
    )
    alone = Localizer.from_pretrained(folder / "people.safetensors", device="cpu")(folder / "people.mp4", every=0.5)
    with serving(models) as service, ThreadPoolExecutor(8) as clients:
        film = (folder / "people.mp4").read_bytes()
        answers = list(clients.map(lambda _: ask(service.port, "/localize?every=0.5", film), range(8)))
    models.close()
    expected = json.loads(json.dumps(alone.to_json(threshold=LocalizeConfig.threshold)))
    for status, body, _ in answers:
        assert status == 200
        answer = json.loads(body)
        assert (answer["width"], answer["height"], answer["labels"]) == (96, 64, ["stand", "walk", "carry"])
        assert answer["key_frames"] == expected["key_frames"] and answer["spans"] == expected["spans"]
    assert {of for of, _ in told} == {"frames"} and max(size for _, size in told) > 1


def test_uploads_that_are_refused(folder, recognizer):
    film = (folder / "3.mp4").read_bytes()
    limits = Limits(megabytes=1, seconds=3.5, megapixels=0.01)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{folder}/0.mp4\n#EXT-X-ENDLIST\n".encode()
    concat = f"ffconcat version 1.0\nfile '{folder}/0.mp4'\n".encode()
    with serving(Models(limits, {"verbs": recognizer})) as service:
        for body, path, code, why in (
            (b"", "", 422, "the body is empty"),
            (b"no film", "", 422, "the upload cannot be opened as a video"),
            (playlist, "", 422, "the upload cannot be opened as a video"),
            (concat, "", 422, "the upload cannot be opened as a video"),
            (b"x" * 1_000_001, "", 413, "an upload may have 1 MB"),
            (film, "", 413, "a film may last 3.5 s"),
            (film, "?model=other", 422, "there is no model 'other'"),
            (film, "?window=0", 422, "window: Input should be greater than 0"),
            (film, "?window=1e-9", 422, "window"),
            (film, "?address=http://127.0.0.1:1/x", 403, "uploads alone"),
        ):
            status, error = error_of(ask(service.port, f"/recognize{path}", body))
            assert (status, error.count("\n")) == (code, 0) and why in error, (path, error)
            assert "muybridge-serve" not in error and str(folder) not in error


def test_a_header_that_lies_about_its_length_is_not_believed(folder, recognizer):
    film = bytearray((folder / "3.mp4").read_bytes())
    for atom in (b"mvhd", b"tkhd", b"mdhd"):  # 4 s; the length that each states is made a tenth
        place = film.index(atom) + (24 if atom == b"tkhd" else 20)
        stated = int.from_bytes(film[place : place + 4], "big")
        film[place : place + 4] = (stated // 10).to_bytes(4, "big")
    with serving(Models(Limits(seconds=2), {"verbs": recognizer})) as service:
        assert error_of(ask(service.port, "/recognize", bytes(film)))[0] == 413


class Slow(SharedRecognizer):
    """Waits before it answers."""

    def __init__(self, recognizer: Recognizer, go: threading.Event) -> None:
        super().__init__(recognizer)
        self._go = go

    def probabilities_of(self, seen, *, batch_size=16):
        assert self._go.wait(60)
        return super().probabilities_of(seen, batch_size=batch_size)


def test_a_full_queue_tells_to_come_again_and_loses_nobody(folder, recognizer):
    go, film = threading.Event(), (folder / "0.mp4").read_bytes()
    slow = Slow(recognizer, go)
    with serving(Models(Limits(at_once=1, queue=2), {"verbs": slow})) as service, ThreadPoolExecutor(8) as clients:
        first = [clients.submit(ask, service.port, "/recognize", film) for _ in range(3)]
        while "muybridge_admitted_requests 3.0" not in ask(service.port, "/metrics")[1].decode():
            time.sleep(0.01)
        status, body, headers = ask(service.port, "/recognize", film)
        assert (status, json.loads(body)) == (429, {"error": "the queue is full. Come again"})
        assert headers["retry-after"] == "1"
        go.set()
        assert [answer.result()[0] for answer in first] == [200, 200, 200]
        assert ask(service.port, "/recognize", film)[0] == 200
    slow.close()


@contextmanager
def half_sent(port: int, film: bytes):
    """A connection on which half of an upload has come."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = f"POST /recognize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(film)}\r\n\r\n"
        client.sendall(head.encode() + film[: len(film) // 2])
        yield client


def test_half_a_file_takes_no_place_for_long(folder, recognizer, uploads):
    film = (folder / "0.mp4").read_bytes()
    with serving(Models(Limits(at_once=1, queue=0, upload=0.5), {"verbs": recognizer})) as service:
        with half_sent(service.port, film):
            while "muybridge_admitted_requests 1.0" not in ask(service.port, "/metrics")[1].decode():
                time.sleep(0.01)
            assert ask(service.port, "/recognize", film)[0] == 429
        while "muybridge_admitted_requests 0.0" not in ask(service.port, "/metrics")[1].decode():  # it went away
            time.sleep(0.01)
        with half_sent(service.port, film) as client:  # it stays, and says nothing more
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        assert ask(service.port, "/recognize", film)[0] == 200
        # A file that ends in its middle, sent as if it were whole.
        status, body, _ = ask(service.port, "/recognize", film[: len(film) // 2])
        assert status == 422 or json.loads(body)["notes"]
    assert not list(uploads.iterdir())


HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.mark.parametrize(
    "owed", [b"", b"GET /hea", HEALTH + b"\r\n" + b"GET /hea", HEALTH + b"Content-Length: 1000\r\n\r\nhalf"]
)
@pytest.mark.parametrize("dripping", [False, True])
def test_half_a_request_is_not_waited_for_for_ever(monkeypatch, owed, dripping):
    monkeypatch.setattr("muybridge.serve.server._PATIENCE_SECONDS", 0.5)
    with serving(Models(Limits(), {})) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(owed)
        client.settimeout(0.1 if dripping else 30)
        answer = b""
        for _ in range(300):
            try:
                piece = client.recv(1 << 16)
                if not piece:
                    break
                answer += piece
            except TimeoutError:
                assert dripping
                client.sendall(b"x" if owed else b"")  # a letter at a time is no more of a request
            except ConnectionError:
                break
        else:
            pytest.fail("the connection is still there")
        assert answer.count(b"200 OK") == owed.count(b"Host")


def test_who_takes_nothing_of_an_answer_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("muybridge.serve.server._PATIENCE_SECONDS", 0.5)
    ended = threading.Event()

    async def large(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    models = Models(Limits(), {})
    with serving(models, large) as service, socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(HEALTH + b"\r\n")
        assert ended.wait(60)


def test_many_connections_that_say_nothing_keep_nobody_out(monkeypatch):
    monkeypatch.setattr("muybridge.serve.server._MORE_CONNECTIONS", 7)
    with serving(Models(Limits(at_once=1, queue=0), {})) as service, ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", service.port))) for _ in range(50)]
        for client in clients:
            with suppress(ConnectionError):
                client.sendall(b"GET /hea")
        for _ in range(3):
            assert ask(service.port, "/health")[0] == 200
        for client in clients[:42]:
            client.settimeout(60)
            with suppress(ConnectionError):
                assert client.recv(1) == b""


def test_only_who_knows_the_secret_is_let_in(folder, models, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-secret-of-some-length\n")
    film = (folder / "0.mp4").read_bytes()
    with serving(models, token=token) as service:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer sécret".encode().decode("latin-1")},
        ):
            assert error_of(ask(service.port, "/recognize", film, **headers))[0] == 401
            assert ask(service.port, "/metrics", **headers)[0] == 401
        assert ask(service.port, "/recognize", film, Authorization="Bearer a-secret-of-some-length")[0] == 200
        assert ask(service.port, "/health")[0] == 200


def test_a_page_of_somebody_else_whose_name_points_here_is_not_answered(models):
    with serving(models) as service:
        assert ask(service.port, "/health", Host="evil.example")[0] == 400
        assert ask(service.port, "/health", Host=f"localhost:{service.port}")[0] == 200


def test_addresses_are_fetched_where_it_is_allowed(folder, models):
    with serving(models) as files, serving(models, addresses=True) as service:
        for address, code, why in (
            ("file:///etc/passwd", 422, "begins with http"),
            (f"http://127.0.0.1:{files.port}/nothing", 422, "cannot be fetched: HTTP Error 404"),
            ("http://127.0.0.1:1/x", 422, "cannot be fetched"),
            (f"http://127.0.0.1:{files.port}/health", 422, "cannot be opened as a video"),
            ("http://127.0.0.1:a/", 422, "cannot be fetched"),
            ("http://127.0.0.1:99999999/", 422, "cannot be fetched"),
            ("http://127.0.0.1/a%20b", 422, "cannot be fetched"),
            ("http://127.0.0.1/%0D%0AX:1", 422, "cannot be fetched"),
            ("http://[::1/", 422, "cannot be fetched"),
            ("http://%C3%A9..x/%C3%A9", 422, "cannot be fetched"),
        ):
            status, error = error_of(ask(service.port, f"/recognize?address={address}", b""))
            assert status == code and why in error and printable(error) == error


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage \x00\x1b\r\n\r\n" + b"g" * 100_000,
        b"HTTP/1.1 200 OK\r\nLong: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
        b"HTTP/1.1 404 " + b"a" * 60_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:a/\r\n\r\n",
    ],
)
def test_an_address_that_answers_nonsense_is_told_in_one_line(models, answer):
    with serving(models, addresses=True) as service, socket.create_server(("127.0.0.1", 0)) as other:

        def answer_once() -> None:
            client, _ = other.accept()
            with client, suppress(ConnectionError):
                client.recv(1 << 16)
                client.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        address = f"http://127.0.0.1:{other.getsockname()[1]}/x"
        status, error = error_of(ask(service.port, f"/recognize?address={address}", b""))
        thread.join()
        assert status == 422 and "cannot be fetched" in error and len(error) < 1000 and printable(error) == error


def test_an_address_that_drips_is_left(recognizer):
    models = Models(Limits(upload=0.5), {"verbs": recognizer})
    left = threading.Event()
    with serving(models, addresses=True) as service, socket.create_server(("127.0.0.1", 0)) as other:

        def drip() -> None:
            client, _ = other.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                try:
                    for _ in range(200):
                        client.sendall(b"x")
                        time.sleep(0.1)
                except ConnectionError:
                    left.set()

        thread = threading.Thread(target=drip)
        thread.start()
        address = f"http://127.0.0.1:{other.getsockname()[1]}/x"
        assert error_of(ask(service.port, f"/recognize?address={address}", b""))[0] == 408
        thread.join()
    assert left.is_set()


def test_options_that_are_refused(tmp_path):
    for host in ("0.0.0.0", "192.168.1.2", "::", "example.org"):
        with pytest.raises(OptionError, match="--token FILE"):
            ServeConfig(host=host)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        ServeConfig(host=host)
    short = tmp_path / "short"
    short.write_text("short")
    assert ServeConfig(host="0.0.0.0", token=short).host == "0.0.0.0"
    for token, why in ((short, "at least 16"), (tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(OptionError, match=why):
            ServeConfig(token=token).secret()
    for wrong in ({"megabytes": 0}, {"seconds": float("inf")}, {"queue": -1}, {"at_once": 0}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            Limits(**wrong)
    with pytest.raises(OptionError, match="65535"):
        ServeConfig(port=70000)


def test_what_a_model_is_for(folder, model_file):  # noqa: F811
    assert verb_of("camera") == "recognize" and verb_of("people_actions") == "localize"
    assert verb_of(str(model_file)) == "stylize" and verb_of(str(folder / "people.safetensors")) == "localize"
    with pytest.raises(MissingInput):
        verb_of("nosuch")
    with pytest.raises(OptionError, match="Add --model builtin"):
        Models.load([str(folder / "people.safetensors")], Limits(), styles=[folder / "painting.png"], device="cpu")


def test_a_port_that_is_taken_is_told_in_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as stopped:
        main(["serve", "--model", "camera", "--port", str(taken.getsockname()[1])])
    assert stopped.value.code == 2
    assert "cannot be used: Address already in use" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_answers_what_it_took_in_before_it_ends(folder):
    film = (folder / "3.mp4").read_bytes()
    command = [sys.executable, "-m", "muybridge.apps.cli", "serve", "--model", "camera", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        port = int(re.search(r":(\d+)$", process.stderr.readline().strip())[1])
        with half_sent(port, film) as client:
            while "muybridge_admitted_requests 1.0" not in ask(port, "/metrics")[1].decode():
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:  # nobody else is taken in
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                except OSError:
                    break
                time.sleep(0.05)
            client.sendall(film[len(film) // 2 :])
            answer = b""
            while piece := client.recv(1 << 16):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"spans"' in answer
        assert process.wait(60) == 0
        assert "all requests are answered" in process.stderr.read()
