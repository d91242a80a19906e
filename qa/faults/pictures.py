"""A web server of photographs that now and then is too busy to answer."""

from __future__ import annotations

import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class PictureServer:
    """Serves the files of a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._seconds = self._busy_until = 0.0
        self._lock = threading.Lock()
        handler = partial(_Handler, pictures=self, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def be_busy(self, seconds: float) -> None:
        """Answer 503 for so long, from the next request on."""
        with self._lock:
            self._seconds = seconds

    def busy(self) -> bool:
        """Whether the request that came now is refused."""
        with self._lock:
            if self._seconds:
                self._busy_until, self._seconds = time.monotonic() + self._seconds, 0.0
            return time.monotonic() < self._busy_until

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, pictures: PictureServer, **options: Any) -> None:
        self._pictures = pictures
        super().__init__(*arguments, **options)

    def send_head(self) -> Any:
        if self._pictures.busy():
            self.send_error(503)
            return None
        return super().send_head()

    def log_message(self, *_: object) -> None:
        pass
