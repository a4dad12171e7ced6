"""A small web server that misbehaves on request."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Fault = Callable[["Handler", bytes], None]


@dataclass
class Site:
    """What the server has and does.

    Attributes:
        url: its address, with a closing slash.
        pages: path -> body.
        ranges: answer Range requests with 206.
        validator: the ETag it sends, if any.
        faults: path -> what to do instead of answering, used up one a request.
        seen: (path, Range header, If-Range header) of each request.
    """

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    validator: str | None = '"v1"'
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site, path = self.site, self.path.lstrip("/")
        site.seen.append((path, self.headers.get("Range"), self.headers.get("If-Range")))
        body = site.pages.get(path)
        if site.faults.get(path):
            site.faults[path].pop(0)(self, body or b"")
            return
        if body is None:
            self.answer(404, b"nothing here")
            return
        wanted = self.headers.get("Range")
        current = self.headers.get("If-Range") in (None, site.validator)
        if wanted and site.ranges and current:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.answer(416, b"", {"Content-Range": f"bytes */{len(body)}"})
                return
            span = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.answer(206, body[start:], {"Content-Range": span})
            return
        self.answer(200, body)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None) -> None:
        self.send_response(status)
        if self.site.validator:
            self.send_header("ETag", self.site.validator)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Be silent about clients that hang up, as they do when they have seen enough."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # a machine behind a proxy must not ask it for this server
    site = Site()
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"site": site}))
    site.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()
