"""The supervisor's HTTP port: health, readiness, status and metrics."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from sightline.base.same_origin import SameOrigin
from sightline.config.groups import HttpOptions
from sightline.entities import CameraState
from sightline.errors import ServerError
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.http.prometheus import metrics_page
from sightline.supervisor.sinks import SinkHealth
from sightline.supervisor.supervisor import Supervisor

#: The supervisor's main loop beats five times a second; starting or stopping a camera may take seconds.
BEAT_LIMIT_S = 30.0
MAX_CONNECTIONS = 100
#: From the connection, or the end of the answer before, to the end of the answer.
REQUEST_TIMEOUT_S = 10.0


class BoundedProtocol(H11Protocol):
    """HTTP connections that cannot use up the process's descriptors: few of them, and none for long.

    uvicorn's protocol by itself waits for ever for the end of a header and for a client that reads. A
    connection over :data:`MAX_CONNECTIONS` takes the place of the oldest one that waits for its request: so
    probes are still answered while another client holds connections open.
    """

    timer: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, at the cost of another one when there are too many."""
        super().connection_made(transport)
        self.timer = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)
        others = [other for other in self.connections if isinstance(other, BoundedProtocol)]
        others = [other for other in others if not other.transport.is_closing()]
        if len(others) > MAX_CONNECTIONS:
            idle = (other for other in others if other.cycle is None or other.cycle.response_complete)
            min(idle, key=lambda other: other.timer.when(), default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, too."""
        super().connection_lost(exc)
        self.timer.cancel()

    def on_response_complete(self) -> None:
        """Give the next request as long."""
        super().on_response_complete()
        self.timer.cancel()
        self.timer = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)


class HttpServer:
    """Serves one supervisor from a thread of its own; reads, never writes.

    Making it binds the port.

    Args:
        options: the address.
        supervisor: whose cameras are shown.
        writer_health: how writing goes.
        canary: the canary's newest judgement.
        config: the last change of the configuration, and what waits for a restart.
        sinks: how the sinks do.

    Raises:
        ServerError: the port is taken or the address is not ours.
    """

    def __init__(
        self,
        options: HttpOptions,
        supervisor: Supervisor,
        writer_health: Callable[[], WriterHealth],
        canary: Callable[[], Mapping[str, Any] | None] = lambda: None,
        config: Callable[[], Mapping[str, Any] | None] = lambda: None,
        sinks: Callable[[], Sequence[SinkHealth]] = tuple,
    ) -> None:
        self._supervisor = supervisor
        self._writer_health = writer_health
        self._canary = canary
        self._config_state = config
        self._sinks = sinks
        pages = {"/healthz": self._healthz, "/readyz": self._readyz}
        pages |= {"/status": self._status, "/metrics": self._metrics}
        self._app = Starlette(routes=[Route(path, handler) for path, handler in pages.items()])
        self._options = options
        self._listen(options)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{HttpOptions(host=host, port=port).address}"

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and wait."""
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        self._socket.close()

    def move(self, options: HttpOptions) -> None:
        """Serve at another address from now on, or go on at the old one.

        Raises:
            ServerError: the port is taken or the address is not ours.
        """
        self.stop()
        try:
            self._listen(options)
            self._options = options
        except ServerError:
            self._listen(self._options)
            raise
        finally:
            self.start()

    def _listen(self, options: HttpOptions) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((options.host, options.port))
            self._socket.listen(64)
        except OSError as error:
            self._socket.close()
            where = f"{options.host}:{options.port}"
            cure = "set http.host to an address of this machine, and http.port to a free port"
            problem = f"cannot listen on {where} ({error.strerror}); {cure}"
            raise ServerError(problem) from error
        config = uvicorn.Config(
            SameOrigin(self._app, options.allowed_hosts),
            http=BoundedProtocol,
            ws="none",
            limit_concurrency=2 * MAX_CONNECTIONS,
            log_config=None,
            log_level="error",  # no line for each client that sends nonsense
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        sockets = [self._socket]
        self._thread = threading.Thread(
            target=lambda: self._server.run(sockets=sockets), name="http", daemon=True
        )

    def problems(self) -> list[str]:
        """What makes /healthz say 503. Any thread may call it."""
        health, problems = self._writer_health(), []
        if time.monotonic() - self._supervisor.beat_s > BEAT_LIMIT_S:
            problems.append("the supervisor's main loop stands still")
        if health.state not in {"ok", "standby"}:
            problems.append(f"results do not reach the database ({health.state}): {health.last_error}")
        return problems

    def _healthz(self, _: Request) -> Response:
        health, problems = self._writer_health(), self.problems()
        sinks = [asdict(sink) for sink in self._sinks()]  # theirs are no fault of ours
        body = {"ok": not problems, "problems": problems, "writer": asdict(health), "sinks": sinks}
        return JSONResponse(body, status_code=503 if problems else 200)

    def _readyz(self, _: Request) -> Response:
        statuses = self._supervisor.statuses()
        waiting = {
            status.source: status.detector_message or status.state
            for status in statuses
            if status.detector_message or status.state is CameraState.STARTING
        }
        writer = self._writer_health()
        if not writer.owns_database:
            database = f"{writer.state}: {writer.last_error or 'the lease is not renewed'}"
        else:
            database = "ok"
        # There are no statuses until the supervisor has begun.
        ready = bool(statuses) and not waiting and writer.owns_database
        # An overload does not make the program less ready: a restart would be no cure.
        notices = [notice.text for notice in self._supervisor.notices()]
        body = {"ready": ready, "waiting": waiting, "database": database, "notices": notices}
        return JSONResponse(body, status_code=200 if ready else 503)

    def _status(self, _: Request) -> Response:
        reports = self._supervisor.reports()
        cameras = []
        for status in self._supervisor.statuses():
            figures = [
                {"name": figure.name, "labels": dict(figure.labels), "value": figure.value}
                for figure in (reports[status.source].figures if status.source in reports else ())
            ]
            cameras.append({**asdict(status), "figures": figures})
        body = {
            "cameras": cameras,
            "notices": [asdict(notice) for notice in self._supervisor.notices()],
            "writer": asdict(self._writer_health()),
            "sinks": [asdict(sink) for sink in self._sinks()],
            "canary": self._canary(),
            "config": self._config_state(),
        }
        return JSONResponse(body)

    def _metrics(self, _: Request) -> Response:
        page = metrics_page(self._supervisor, self._writer_health(), self._canary(), self._sinks())
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")
