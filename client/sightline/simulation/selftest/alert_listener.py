"""A webhook that the self-test's own alerts go to, so that it is known when people would have been told."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sightline.entities import RULE_KINDS


class AlertListener:
    """What has come; its server's threads write.

    Attributes:
        times: by the key of an event, when its alert was received (UTC epoch seconds).
        options: ``alerts`` of a configuration whose events are all told here.
    """

    def __init__(self, port: int) -> None:
        self.times: dict[str, float] = {}
        rule = {"kinds": sorted(map(str, RULE_KINDS)), "routes": ["selftest"], "cooldown_s": 0}
        route = {"webhook": f"http://127.0.0.1:{port}/", "secret": "selftest"}
        self.options: dict[str, Any] = {"routes": {"selftest": route}, "rules": {"all": rule}}

    def take(self, body: dict[str, Any]) -> None:
        """Take note of an alert that was opened."""
        if body["transition"] == "opened":
            for key in body["alert"]["events"]:
                self.times.setdefault(key, time.time())


@contextlib.contextmanager
def listening() -> Iterator[AlertListener]:
    """A server on loopback, until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            listener.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener = AlertListener(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield listener
    finally:
        server.shutdown()
        server.server_close()
