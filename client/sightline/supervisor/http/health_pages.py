"""Health, readiness, status and metrics of the program as pages."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse, Response

from sightline.access.rights import Right
from sightline.entities import CameraState
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.http.endpoint import Call, Endpoint
from sightline.supervisor.http.prometheus import metrics_page
from sightline.supervisor.sinks import SinkHealth
from sightline.supervisor.supervisor import Supervisor
from sightline.supervisor.what_limits import SystemState, limits_of

#: The supervisor's main loop beats five times a second; starting or stopping a camera may take seconds.
BEAT_LIMIT_S = 30.0


class HealthPages:
    """How one supervisor does; reads, never writes.

    Args:
        supervisor: whose cameras are shown.
        writer_health: how writing goes.
        canary: the canary's newest judgement.
        config: the last change of the configuration, and what waits for a restart.
        sinks: how the sinks do.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        writer_health: Callable[[], WriterHealth],
        canary: Callable[[], Mapping[str, Any] | None] = lambda: None,
        config: Callable[[], Mapping[str, Any] | None] = lambda: None,
        sinks: Callable[[], Sequence[SinkHealth]] = tuple,
    ) -> None:
        self._supervisor = supervisor
        self.writer_health = writer_health
        self._canary = canary
        self._config_state = config
        self._sinks = sinks

    def endpoints(self) -> list[Endpoint]:
        """The pages."""
        return [
            Endpoint("GET", "/healthz", Right.SEE_HEALTH, self._healthz, media="application/json"),
            Endpoint("GET", "/readyz", Right.SEE_HEALTH, self._readyz, media="application/json"),
            Endpoint("GET", "/metrics", Right.SEE_METRICS, self._metrics, media="text/plain"),
            *(
                Endpoint("GET", path, Right.SEE_STATUS, self._status, each=True, media="application/json")
                for path in ("/status", "/api/v1/status")
            ),
        ]

    def problems(self) -> list[str]:
        """What makes /healthz say 503. Any thread may call it."""
        health, problems = self.writer_health(), []
        if time.monotonic() - self._supervisor.beat_s > BEAT_LIMIT_S:
            problems.append("the supervisor's main loop stands still")
        if health.state not in {"ok", "standby"}:
            problems.append(f"results do not reach the database ({health.state}): {health.last_error}")
        return problems

    async def _healthz(self, call: Call) -> Response:
        """Whether results reach the database, and the main loop goes on; who sees all is told why not."""
        health, problems = self.writer_health(), self.problems()
        status = 503 if problems else 200
        if not call.may(Right.SEE_STATUS):
            return JSONResponse({"ok": not problems}, status)
        sinks = [asdict(sink) for sink in self._sinks()]  # theirs are no fault of ours
        body = {"ok": not problems, "problems": problems, "writer": asdict(health), "sinks": sinks}
        return JSONResponse(body, status)

    async def _readyz(self, call: Call) -> Response:
        """Whether every camera has its detector; who sees all is told which have not."""
        statuses = self._supervisor.statuses()
        waiting = {
            camera.source: camera.detector_message or camera.state
            for camera in statuses
            if camera.detector_message or camera.state is CameraState.STARTING
        }
        writer = self.writer_health()
        if not writer.owns_database:
            database = f"{writer.state}: {writer.last_error or 'the lease is not renewed'}"
        else:
            database = "ok"
        # There are no statuses until the supervisor has begun.
        ready = bool(statuses) and not waiting and writer.owns_database
        status = 200 if ready else 503
        if not call.may(Right.SEE_STATUS):
            return JSONResponse({"ready": ready}, status)
        # An overload does not make the program less ready: a restart would be no cure.
        notices = [notice.text for notice in self._supervisor.notices()]
        body = {"ready": ready, "waiting": waiting, "database": database, "notices": notices}
        return JSONResponse(body, status)

    def _status(self, call: Call) -> Response:
        """State and figures of every camera that one sees; who sees all is told of the program as well."""
        reports, viewers = self._supervisor.reports(), self._supervisor.live.viewers
        statuses = [status for status in self._supervisor.statuses() if call.sees(status.source)]
        troubles = [event for event in self._supervisor.troubles() if call.sees(event.source or None)]
        cameras = []
        for status in statuses:
            figures = [
                {"name": figure.name, "labels": dict(figure.labels), "value": figure.value}
                for figure in (reports[status.source].figures if status.source in reports else ())
            ]
            cameras.append({**asdict(status), "figures": figures, "viewers": viewers[status.source]})
        notices = self._supervisor.notices()
        told = [
            {"kind": event.kind, "source": event.source, "place": event.place}
            | {"since": event.event_time, "value": event.value}
            for event in troubles
        ]
        sees_all = call.sees(None)  # notices and errors may name other cameras
        writer = self.writer_health() if sees_all else None
        machine = self._supervisor.machine() if sees_all else None
        limits = limits_of(SystemState(statuses, notices, troubles, writer, machine.disks if machine else ()))
        body: dict[str, Any] = {
            "cameras": cameras,
            "troubles": told,
            "limits": [asdict(limit) for limit in limits],
        }
        if writer is None:
            return JSONResponse(body)
        body |= {
            "notices": [asdict(notice) for notice in notices],
            "writer": asdict(writer),
            "sinks": [asdict(sink) for sink in self._sinks()],
            "machine": machine and asdict(machine),
            "canary": self._canary(),
            "config": self._config_state(),
        }
        return JSONResponse(body)

    def _metrics(self, _: Call) -> Response:
        """Figures for Prometheus."""
        page = metrics_page(self._supervisor, self.writer_health(), self._canary(), self._sinks())
        return Response(page, media_type="text/plain; version=0.0.4; charset=utf-8")
