"""A server on loopback that answers known requests byte for byte, and remembers what it was asked.

Covers: real HTTP through the standard library's server, in a thread.
Leaves to others: broken HTTP.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes back. A 204 has no body, nor a length."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"


Respond = Callable[[Asked], Answer]


class Server(ThreadingHTTPServer):
    """A client that has gone is no error of the test that happens to run when its thread notices."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass
class AnsweringServer:
    """What a test sees of the server. `answers` may be changed while it runs."""

    answers: dict[tuple[str, str], Answer | Respond]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        found = self.answers.get((asked.method, asked.path), Answer(b"no such path", 404, "text/plain"))
        return found if isinstance(found, Answer) else found(asked)


@contextmanager
def answering(answers: dict[tuple[str, str], Answer | Respond]) -> Iterator[AnsweringServer]:
    """Answer what is in `answers`, by method and path with its query; anything else with 404."""
    known = AnsweringServer(answers)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = known.answer(Asked(self.command, self.path, headers, self.rfile.read(length)))
            self.send_response(answer.status)
            if answer.status != 204:
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
