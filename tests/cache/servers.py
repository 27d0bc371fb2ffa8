"""A small HTTP server over a directory, with or without a password."""

from __future__ import annotations

import base64
import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Quiet(SimpleHTTPRequestHandler):
    expected = ""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self._may():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self._may():
            super().do_HEAD()

    def _may(self) -> bool:
        if not self.expected or self.headers.get("Authorization") == self.expected:
            return True
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="test"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False


@contextlib.contextmanager
def serving(directory: Path, *, user: str = "", password: str = "") -> Iterator[str]:
    """Serve a directory, and give HOST:PORT."""
    handler = type("Handler", (_Quiet,), {})
    if user:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        handler.expected = f"Basic {token}"
    made = functools.partial(handler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
