"""The local HTTP server: loopback alone, reading alone, and only for browsers that mean this machine."""

from __future__ import annotations

import errno
import re
import socketserver
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from analysis.serve.site import TEXT, Answer, Site
from harness.records.errors import InputError

HOST = "127.0.0.1"
# A page elsewhere can let its own name lead to this machine; then the browser still sends that name. The
# port may be another one, as through a tunnel.
OWN_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
IDLE_SECONDS = 60.0
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache, private",
}


class Server(ThreadingHTTPServer):
    """Server of a site on the loopback address.

    Args:
        site: the pages.
        port: port to listen on; 0 takes a free one.

    Raises:
        InputError: the port is taken, or not for this user.
    """

    def __init__(self, site: Site, port: int = 0):
        self.site = site
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            why = "taken" if error.errno == errno.EADDRINUSE else "not for this user"
            raise InputError(
                f"port {port} is {why}: give another port, or 0 for a free one", "port"
            ) from error

    @property
    def address(self) -> str:
        """Address of the index."""
        return f"http://{HOST}:{self.server_port}/"

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of this machine, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of a bug; a browser that left early is none."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers to one browser."""

    server: Server
    server_version, sys_version = "scaling-harness", ""
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    error_message_format, error_content_type = "%(code)d %(message)s\n", TEXT

    def do_GET(self) -> None:
        """Send the answer, or say that the browser has it already."""
        names = self.headers.get_all("Host") or []
        if len(names) != 1 or not OWN_NAMES.fullmatch(names[0].strip()):
            self._send(Answer(b"this server is for this machine; type its address\n", TEXT, 403))
            return
        try:
            answer = self.server.site.answer(self.path)
        except Exception:
            self._send(Answer(b"this is a bug; the terminal shows it\n", TEXT, 500))
            raise
        if answer.status == 200 and self._has(answer.etag):
            self.send_response(304)
            self._end(answer)
            return
        self._send(answer)

    do_HEAD = do_GET

    def _refuse(self) -> None:
        # What follows the head is not read, so the connection cannot go on.
        self.close_connection = True
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self._end_with_body(Answer(b"this server only shows\n", TEXT, 405))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _has(self, etag: str) -> bool:
        """Return whether the browser names this content as what it has."""
        named = self.headers.get("If-None-Match", "").split(",")
        return any(each.strip().removeprefix("W/") in (etag, "*") for each in named)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self._end_with_body(answer)

    def _end_with_body(self, answer: Answer) -> None:
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self._end(answer)
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _end(self, answer: Answer) -> None:
        if answer.status == 200:
            self.send_header("ETag", answer.etag)
        self.send_header("Content-Security-Policy", answer.policy)
        self.end_headers()

    def end_headers(self) -> None:
        """End the head with what every answer says, those of the library too."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: pages ask every few seconds."""
