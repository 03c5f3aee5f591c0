"""A server in this process on a free port, and raw questions to it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.serve.server import Server
from analysis.serve.site import Site


@dataclass(frozen=True)
class Reply:
    """What a server said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Pages:
    """A running server."""

    address: str
    port: int

    def ask(self, path: str, method: str = "GET", host: str | None = None, **headers: str) -> Reply:
        """Send one request as it is: no client tidies the path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", f"127.0.0.1:{self.port}" if host is None else host)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        finally:
            connection.close()


@contextmanager
def served(root: Path) -> Iterator[Pages]:
    """Serve a folder inside a `with` block."""
    with Server(Site(root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield Pages(server.address, server.server_port)
        finally:
            server.shutdown()
            thread.join()
