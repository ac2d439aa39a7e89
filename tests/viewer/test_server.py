from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from hvit_cli.errors import PixelError, UsageError
from hvit_cli.viewer.pixels import SlidePixels
from hvit_cli.viewer.scene import Scene
from hvit_cli.viewer.server import ViewerServer, new_key
from hvit_cli.viewer.site import Site

KEY = "k" * 22


def ask(
    server: ViewerServer, path: str, method: str = "GET", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    with closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.data = answer.read()  # type: ignore[attr-defined]
        return answer


def send(server: ViewerServer, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_it_listens_on_this_machine_alone(server: ViewerServer) -> None:
    assert server._server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.port}/{KEY}/"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # No packet is sent: this only asks which address would be used.
        probe.connect(("192.0.2.1", 9))
        own = probe.getsockname()[0]
    if own.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection((own, server.port), timeout=5)


def test_answers_carry_what_keeps_other_pages_out(server: ViewerServer) -> None:
    answer = ask(server, f"/{KEY}/")
    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Python" not in answer.headers["Server"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9000", "127.0.0.1:1"])
def test_its_own_names_are_answered_through_a_tunnel_too(server: ViewerServer, host: str) -> None:
    assert ask(server, f"/{KEY}/", Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "example.com:80",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "localhost:80:80",
        "localhost:x",
        "user@localhost",
        "[::1]",
        "",
        "0.0.0.0",
    ],
)
def test_other_names_are_refused(server: ViewerServer, host: str) -> None:
    answer = ask(server, f"/{KEY}/", Host=host)
    assert answer.status == 421
    assert b"<html" not in answer.data  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "NONE"])
def test_nothing_but_reading_is_offered(server: ViewerServer, method: str) -> None:
    answer = ask(server, f"/{KEY}/", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_head_is_get_without_a_body(server: ViewerServer) -> None:
    got, headed = ask(server, f"/{KEY}/page.js"), ask(server, f"/{KEY}/page.js", "HEAD")
    assert headed.status == 200
    assert headed.headers["Content-Length"] == got.headers["Content-Length"]
    assert headed.data == b""  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path", ["/", "/etc/passwd", f"/{KEY}/../../etc/passwd", f"/{KEY}/%2e%2e%2fserver.py"]
)
def test_unknown_paths_are_not_found(server: ViewerServer, path: str) -> None:
    answer = ask(server, path)
    assert answer.status == 404
    assert answer.data == b"nothing is here\n"  # type: ignore[attr-defined]


HOST = b"Host: localhost\r\n"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"414"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 500 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", b"505"),
        (b"GET / nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"421"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", b"421"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nabcde", b"400"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
        (b"GET http://evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else value,
)
def test_nonsense_is_refused_and_the_next_is_served(
    server: ViewerServer, raw: bytes, status: bytes
) -> None:
    answer = send(server, raw)
    assert answer.split(b" ", 2)[1] == status
    assert ask(server, f"/{KEY}/").status == 200


def test_a_connection_that_says_nothing_or_half_harms_nobody(server: ViewerServer) -> None:
    quiet = socket.create_connection(("127.0.0.1", server.port))
    half = socket.create_connection(("127.0.0.1", server.port))
    half.sendall(b"GET /")
    gone = socket.create_connection(("127.0.0.1", server.port))
    gone.sendall(f"GET /{KEY}/openseadragon.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    gone.close()
    assert ask(server, f"/{KEY}/").status == 200
    quiet.close()
    half.close()


def test_many_at_a_time_get_the_bytes_that_one_gets(server: ViewerServer) -> None:
    paths = [f"/{KEY}/slide/3/{c}_{r}.jpg" for c in range(6) for r in range(4)]
    paths += [f"/{KEY}/map/plain-attention-region/rank/all/2/{c}_0.png" for c in range(3)]
    paths += [f"/{KEY}/marks/unseen/2/{c}_1.png" for c in range(3)]
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda path: ask(server, path), paths * 4))
    assert {answer.status for answer in answers} == {200}
    for path, *same in zip(paths, *(answers[i * 30 : i * 30 + 30] for i in range(4)), strict=True):
        alone = ask(server, path)
        assert all(a.data == alone.data for a in same)  # type: ignore[attr-defined]


@pytest.fixture
def damaged(scene: Scene, pixels: SlidePixels) -> Iterator[ViewerServer]:
    class Damaged(SlidePixels):
        def read(self, tile: object) -> object:  # type: ignore[override]
            raise PixelError("pixels cannot be decoded", where="/secret/folder/slide.tiff")

    serving = ViewerServer(Site(KEY, scene, Damaged(pixels._open_one)))
    yield serving
    serving.close()


def test_pixels_that_cannot_be_decoded_are_an_error_and_no_white_tile(
    damaged: ViewerServer, caplog: pytest.LogCaptureFixture
) -> None:
    answer = ask(damaged, f"/{KEY}/slide/3/0_0.jpg")
    assert answer.status == 500
    assert b"secret" not in answer.data  # type: ignore[attr-defined]
    assert "pixels cannot be decoded" in caplog.text
    assert ask(damaged, f"/{KEY}/map/plain-attention-region/rank/all/2/0_0.png").status == 200


def test_a_port_that_is_taken_is_one_line(server: ViewerServer, site: Site) -> None:
    with pytest.raises(UsageError, match=f"found {server.port}"):
        ViewerServer(site, port=server.port)


def test_keys_are_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert min(map(len, keys)) >= 20
