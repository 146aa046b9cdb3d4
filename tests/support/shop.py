"""Two cameras with everything that can be seen of them, behind a real port; and every endpoint asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from sightline.access.rights import RIGHTS
from sightline.config import load_config
from sightline.entities import (
    Alert,
    AlertState,
    CameraState,
    CameraStatus,
    CameraView,
    Checkpoint,
    Clip,
    ClipState,
    CountWindow,
    Event,
    EventKind,
    Mute,
    SourceWindow,
)
from sightline.store.database import Store
from sightline.store.read.readonly import Database
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.config_history import ConfigHistory
from sightline.supervisor.control import Control, Plan
from sightline.supervisor.http.endpoint import WEBSOCKET, Endpoint
from sightline.supervisor.http.event_feed import EventFeed
from sightline.supervisor.http.health_pages import HealthPages
from sightline.supervisor.live_pictures import LivePictures
from support.front import Answer, Front, known, served
from support.people import PASSWORD, People
from support.stored import write
from support.whole_api import whole_api

GATE, YARD = "gate", "yard"
START = 1_790_000_000.5


def alert_of(camera: str) -> Alert:
    return Alert(
        f"alert-{camera}", "night", camera, "enter", f"{camera}-zone", "person", None, "warning",
        AlertState.NEW, START, START, START,
    )  # fmt: skip


class Shop:
    """Two cameras with everything that can be seen of them."""

    def __init__(self, people: People, folder: Path) -> None:
        self.people, self.done = people, []
        self.front: Front
        self.config_path = path = folder / "config.yml"
        path.write_text(
            f"clips: {{folder: {folder}}}\nmodels: {{repository: {folder}/models}}\ncameras:\n"
            f"  {GATE}: {{url: 'rtsp://u:hunter2@h/'}}\n  {YARD}: {{url: rtsp://h/}}\n"
        )
        self.plans: list[Plan] = []
        history = ConfigHistory(people.store)
        self.control = Control(path, load_config(path), self.plans.append, keep=history.keep)
        self.alerts = [alert_of(camera) for camera in (GATE, YARD)]
        self._fill(folder)
        self.database = Database(people.url)
        self.live = LivePictures()
        self.live.owner_of = {}.__getitem__  # no camera runs: who is let in is told so
        self.endpoints = whole_api(
            HealthPages(cast(Any, self), WriterHealth),
            self,
            self.control,
            {
                "list": lambda: [asdict(alert) for alert in self.alerts],
                "set_state": self._set_state,
                "comment": self._set_state,
                "mute": lambda *values: self.done.append(values),
                "test": lambda route: f"tested {route}",
            },
            self.database,
            people.accounts,
            people.tokens,
            people.store,
            self.live,
            EventFeed(self.database, lambda: False),
        )

    def _fill(self, folder: Path) -> None:
        rows: list[Any] = [Mute("", "", 4e9)]
        for camera, alert in zip((GATE, YARD), self.alerts, strict=True):
            place = f"{camera}-zone"
            event = Event(
                camera, EventKind.ENTER, place, 7, "person", START, START, first_time=START, media_s=0.0
            )
            path = folder / camera / "clip.mp4"
            path.parent.mkdir()
            for suffix, text in ((".mp4", b"0123456789"), (".jpg", b"picture"), (".json", b"{}")):
                path.with_suffix(suffix).write_bytes(text)
            rows += [
                alert,
                Mute(camera, "", 4e9),
                CountWindow(camera, "person", 3, 1_790_000_040.0, 1_790_000_100.0, 3),
                SourceWindow(camera, 1_790_000_040.0, 1_790_000_100.0, 1.0, 5.0, 0, "pts", "1", "0"),
                CameraView(camera, "in_place", START, True, {"day": START}),
                event,
                Clip(
                    camera,
                    START,
                    START + 9,
                    0.0,
                    ClipState.FINISHED,
                    str(path),
                    str(path.with_suffix(".jpg")),
                    "h264",
                    10,
                    False,
                    (event.key,),
                ),
            ]
        with closing(Store(self.people.url)) as store:
            store.open()
            write(store, [Checkpoint(camera, tuple(rows), {}) for camera in (GATE, YARD)], self.statuses())

    def _set_state(self, alert_id: str, *values: Any) -> dict[str, Any]:
        self.done.append((alert_id, *values))
        return asdict(next(alert for alert in self.alerts if alert.alert_id == alert_id))

    # as a supervisor

    beat_s = float("inf")

    def statuses(self) -> list[CameraStatus]:
        return [CameraStatus(name, CameraState.ONLINE, f"{name} is well", START) for name in (GATE, YARD)]

    def reports(self) -> dict[str, Any]:
        return {}

    def notices(self) -> tuple[()]:
        return ()

    def troubles(self) -> tuple[Event, ...]:
        kind = EventKind.CAMERA_OFFLINE
        return tuple(Event(name, kind, "", 0, "", START, START, first_time=START) for name in (GATE, YARD))

    def machine(self) -> None:
        return None

    def restarts(self) -> dict[str, int]:
        return {}


@contextmanager
def shop_of(people: People, folder: Path) -> Iterator[Shop]:
    """Those of an empty folder."""
    shop = Shop(people, folder)
    with closing(shop.database), served(shop.endpoints, known(people)) as shop.front:
        yield shop


#: What is sent where something is; what is not here is sent without.
BODIES: dict[str, Any] = {
    "POST /auth/sign-in": {"name": "nobody-there", "password": PASSWORD},
    "POST /auth/set-up": {"link": "x", "name": "x", "password": PASSWORD},
    "POST /auth/link": {"link": "x"},
    "POST /auth/wall": {"link": "x"},
    "POST /auth/invitation": {"link": "x", "password": PASSWORD},
    "POST /auth/password": {"password": "wrong", "new": PASSWORD},
    "POST /api/v1/people": {"name": "new", "password": PASSWORD, "cameras": [YARD]},
    "PUT /api/v1/people/{name}": {"enabled": True},
    "POST /api/v1/tokens": {"name": "new"},
    "POST /api/v1/alerts/{alert}": {"state": "acknowledged", "comment": "seen"},
    "POST /api/v1/mutes": {"camera": GATE, "until": 4e9},
    "POST /api/v1/probe": {"url": "gopher://nowhere"},
    "POST /api/v1/probe/streams": {"url": "gopher://nowhere"},
    "POST /api/v1/cameras/{camera}/what-if": {"value": {"url": "rtsp://h/"}},
    "PUT /api/v1/config": {"text": "cameras: {}"},
    "PUT /api/v1/config/{section}": {"value": "info"},
    "PUT /api/v1/cameras/{camera}/config": {"value": {"url": "rtsp://h/"}},
    "POST /live/{camera}/whep": b"v=0",
    "POST /api/v1/models/{detector}/switch": {"version": 1},
    "POST /media/authorize": {"action": "read", "path": GATE},
}
QUERIES = {
    "/api/v1/counts": "?start=1790000000&end=1790003600",
    "/auth/oidc": "?next=/",
    "/live/grid.mjpg": "?camera=nowhere",
    "/ws/detections": f"?camera={GATE}",
}
VALUES = {
    "camera": GATE, "alert": f"alert-{GATE}", "start_time": repr(START), "file": "video",
    "name": "viewer-of-yard", "token": "nothing", "route": "guards", "section": "log_level", "change": "1",
    "session": "nothing", "detector": "detector", "model": "detector-2",
}  # fmt: skip


def ask(front: Front, endpoint: Endpoint, **who: Any) -> Answer:
    """About the camera ``gate``, where an endpoint is about one."""
    path = re.sub(r"\{(\w+)(:\w+)?\}", lambda match: VALUES[match[1]], endpoint.path)
    path += QUERIES.get(endpoint.path, "")
    if endpoint.method == WEBSOCKET:
        return front.shake_hands(path, **who)
    body = BODIES.get(f"{endpoint.method} {endpoint.path}")
    headers = {**({} if body is None else {"Content-Type": endpoint.sent}), **who.pop("headers", {})}
    return front.ask(path, endpoint.method, body, headers=headers, **who)


def closed(endpoints: list[Endpoint]) -> list[Endpoint]:
    """Those that are not for everybody."""
    return [item for item in endpoints if RIGHTS[item.right].least is not None]
