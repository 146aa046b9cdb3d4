"""The console's gate and proxy before pages of a test's own: all of the console but Streamlit."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from console.console_options import SupervisorPort, port_of
from console.gate import Gate
from sightline.base.same_origin import SameOrigin
from sightline.supervisor.http.own_programs import KEY_FILE
from support.front import KEY, Front
from support.waiting import until


def port_of_front(front: Front, folder: Path) -> SupervisorPort:
    """As a console of the same user knows it: the key lies in the folder."""
    (folder / KEY_FILE).write_text(KEY)
    host, port = front.address
    return port_of(front.server._options.model_copy(update={"host": host, "port": port}), folder)


@contextmanager
def running_console(port: SupervisorPort, pages: Any, *, proxies: str = "") -> Iterator[str]:
    """Its URL."""
    app = SameOrigin(Gate(pages, lambda: port), ["console.example"])
    config = uvicorn.Config(
        app,
        ws="websockets-sansio",
        forwarded_allow_ips=proxies,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        thread = threading.Thread(target=lambda: server.run(sockets=[listening]), daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
