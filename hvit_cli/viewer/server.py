"""A web server for one person on one machine: 127.0.0.1, reading only, known addresses only."""

from __future__ import annotations

import logging
import secrets
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from hvit_cli.errors import HvitError, UsageError
from hvit_cli.viewer.site import TEXT, Answer, Site

_LOG = logging.getLogger(__name__)

HOST = "127.0.0.1"
# Names under which the page may be asked for, with any port, so that an SSH tunnel works. A web
# page elsewhere whose name was made to point at 127.0.0.1 sends its own name.
_NAMES = {"127.0.0.1", "localhost"}
_IDLE_SECONDS = 60

# The one rule of style that OpenSeadragon 6.1.1 writes into the page, for touch screens.
_ITS_STYLE = "sha256-9xTiqzfwFaL2SGb1rmr8gysEwVVjIvqWAgmZgqFqpEE="

_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' '{_ITS_STYLE}'; "
        "img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # Patients' tissue does not belong into a browser's files.
    "Cache-Control": "no-store",
}


class ViewerServer:
    """Serves one site until it is closed.

    Args:
        site: What is served.
        port: The port; 0 takes a free one.

    Raises:
        UsageError: The port is taken or not allowed.
    """

    def __init__(self, site: Site, *, port: int = 0) -> None:
        self.site = site
        try:
            self._server = _Server((HOST, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"the port cannot be listened on ({error.strerror})",
                where="--port",
                found=port,
                hint="another port, or none for any that is free",
            ) from error
        self._server.site, self._server.said = site, set()
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://{HOST}:{self.port}/{self.site.key}/"

    def wait(self) -> None:
        """Returns when the server is closed, or with KeyboardInterrupt."""
        # Without a timeout a signal would wait for the lock on some systems.
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """Stops listening, and releases the slide."""
        self._server.shutdown()
        self._server.server_close()
        self.site.pixels.close()


def new_key() -> str:
    """A prefix nobody guesses."""
    return secrets.token_urlsafe(16)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A connection kept open by a browser must not keep the command from ending.
    block_on_close = False
    request_queue_size = 128
    site: Site
    said: set[str]

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's
        """Logs what kept a request from being answered."""
        error = sys.exception()
        # A browser that has moved on drops what it asked for; anything else is a bug.
        expected = isinstance(error, ConnectionError | TimeoutError)
        _LOG.log(logging.DEBUG if expected else logging.ERROR, "%r", error, exc_info=not expected)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "hvit"
    sys_version = ""
    timeout = _IDLE_SECONDS
    server: _Server

    def do_GET(self) -> None:
        """Answers a request."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answers a request with headers alone."""
        self._answer()

    def _answer(self) -> None:
        if not self._is_from_here():
            self._send(HTTPStatus.MISDIRECTED_REQUEST, _text("this server has another name"))
            return
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._send(HTTPStatus.BAD_REQUEST, _text("a question has no body here"))
            return
        try:
            answer = self.server.site.answer(self.path)
        except HvitError as error:
            # A damaged place is asked for again at every zoom: it is said once.
            if str(error) not in self.server.said:
                self.server.said.add(str(error))
                _LOG.warning("%s", error)
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, _text("these pixels cannot be decoded"))
            return
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, _text("nothing is here"))
            return
        self._send(HTTPStatus.OK, answer)

    def _is_from_here(self) -> bool:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1:
            return False
        name, colon, port = hosts[0].strip().lower().partition(":")
        return name in _NAMES and (not colon or port.isdecimal())

    def _send(self, status: HTTPStatus, answer: Answer) -> None:
        self.send_response(status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what the standard library refuses: overlong, malformed, another method."""
        del message, explain
        self.close_connection = True
        # The library takes what it could not read for HTTP/0.9, which has no headers.
        self.request_version = self.protocol_version
        # The library calls a method that is not offered unheard of, which is the server's fault.
        asked = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else code
        self._send(HTTPStatus(asked), _text("this is not understood here"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing on stderr; with -v nothing either: addresses hold the key."""


def _text(words: str) -> Answer:
    return Answer(TEXT, f"{words}\n".encode())
