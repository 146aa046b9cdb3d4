"""The console's gate and proxy before pages of a test's own: all of the console but Streamlit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from console.console_options import SupervisorPort, port_of
from console.console_port import MAX_SAID_BYTES
from console.gate import Gate
from sightline.base.same_origin import SameOrigin
from sightline.config.groups import HttpOptions
from sightline.supervisor.http.http_server import HttpServer
from sightline.supervisor.http.own_programs import KEY_FILE
from support.front import KEY, Front, started


def port_of_front(front: Front, folder: Path) -> SupervisorPort:
    """As a console of the same user knows it: the key lies in the folder."""
    (folder / KEY_FILE).write_text(KEY)
    host, port = front.address
    return port_of(front.server._options.model_copy(update={"host": host, "port": port}), folder)


@contextmanager
def running_console(port: SupervisorPort, pages: Any, *, proxies: Sequence[str] = ()) -> Iterator[str]:
    """Its URL."""
    app = SameOrigin(Gate(pages, lambda: port), ["console.example"])
    options = HttpOptions(port=0, trusted_proxies=list(proxies))
    with started(HttpServer(options, lambda _: app, ws_max_size=MAX_SAID_BYTES)) as server:
        yield server.url
