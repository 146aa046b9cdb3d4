"""The supervisor's HTTP port: health, readiness, status and metrics."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sightline.config.groups import HttpOptions
from sightline.entities import CameraState
from sightline.errors import ServerError
from sightline.store.writer import WriterHealth
from sightline.supervisor.http import prometheus
from sightline.supervisor.http.bounded_protocol import MAX_CONNECTIONS, BoundedProtocol
from sightline.supervisor.sinks import SinkHealth
from sightline.supervisor.supervisor import Supervisor

#: The supervisor's main loop beats five times a second; starting or stopping a camera may take seconds.
BEAT_LIMIT_S = 30.0


class HttpServer:
    """Serves one supervisor from a thread of its own; reads, never writes."""

    def __init__(
        self,
        options: HttpOptions,
        supervisor: Supervisor,
        writer_health: Callable[[], WriterHealth],
        canary: Callable[[], Mapping[str, Any] | None] | None = None,
        config: Callable[[], Mapping[str, Any] | None] | None = None,
        sinks: Callable[[], Sequence[SinkHealth]] = tuple,
    ) -> None:
        """Bind the port.

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
        self._supervisor = supervisor
        self._writer_health = writer_health
        self._canary = canary or _nothing
        self._config_state = config or _nothing
        self._sinks = sinks
        routes = [
            Route(path, handler)
            for path, handler in (
                ("/healthz", self._healthz),
                ("/readyz", self._readyz),
                ("/status", self._status),
                ("/metrics", self._metrics),
            )
        ]
        self._app = Starlette(routes=routes)
        self._options = options
        self._listen(options)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

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
        self._socket = _bind(options)
        config = uvicorn.Config(
            self._app,
            http=BoundedProtocol,
            ws="none",
            limit_concurrency=2 * MAX_CONNECTIONS,
            log_config=None,
            log_level="error",  # no line for each client that sends nonsense
            access_log=False,
            lifespan="off",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )

    def _healthz(self, _: Request) -> Response:
        health = self._writer_health()
        problems = []
        if time.monotonic() - self._supervisor.beat_s > BEAT_LIMIT_S:
            problems.append("the supervisor's main loop stands still")
        if health.state != "ok":
            problems.append(f"results do not reach the database ({health.state}): {health.last_error}")
        body = {
            "ok": not problems,
            "problems": problems,
            "writer": dataclasses.asdict(health),
            "sinks": [dataclasses.asdict(sink) for sink in self._sinks()],  # theirs are no fault of ours
        }
        return JSONResponse(body, status_code=503 if problems else 200)

    def _readyz(self, _: Request) -> Response:
        statuses = self._supervisor.statuses()
        waiting = {
            status.source: status.detector_message or status.state
            for status in statuses
            if status.detector_message or status.state is CameraState.STARTING
        }
        ready = bool(statuses) and not waiting  # there are none until the supervisor has begun
        return JSONResponse({"ready": ready, "waiting": waiting}, status_code=200 if ready else 503)

    def _status(self, _: Request) -> Response:
        reports = self._supervisor.reports()
        cameras = []
        for status in self._supervisor.statuses():
            report = reports.get(status.source)
            figures = [
                {"name": figure.name, "labels": dict(figure.labels), "value": figure.value}
                for figure in (report.figures if report else ())
            ]
            cameras.append({**dataclasses.asdict(status), "figures": figures})
        return JSONResponse(
            {
                "cameras": cameras,
                "writer": dataclasses.asdict(self._writer_health()),
                "sinks": [dataclasses.asdict(sink) for sink in self._sinks()],
                "canary": self._canary(),
                "config": self._config_state(),
            }
        )

    def _metrics(self, _: Request) -> Response:
        canary = prometheus.canary_figures(self._canary())
        page = prometheus.render(self._supervisor, self._writer_health(), canary, self._sinks())
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")


def _nothing() -> None:
    return None


def _bind(options: HttpOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((options.host, options.port))
        server.listen(64)
    except OSError as error:
        server.close()
        raise ServerError(
            f"cannot listen on {options.host}:{options.port} ({error.strerror}); set http.port to a free port"
        ) from error
    return server
