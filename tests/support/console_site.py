"""The real console as people start it, before a real HTTP port of the supervisor; its cameras are drawn."""

from __future__ import annotations

import itertools
import json
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from sightline.access.oidc import OidcClient
from sightline.camera.messages import AskFeature, LiveMessage, Message
from sightline.config.loader import load_config
from sightline.entities import PERSON_ROLES, CameraStatus, Event, Role, Variant
from sightline.errors import StoreUnavailable
from sightline.store.read.open_alerts import read_open_alerts
from sightline.store.read.queries import read_cameras
from sightline.store.read.readonly import Database
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Notice
from sightline.supervisor.config_history import ConfigHistory
from sightline.supervisor.control import CameraStep, Control, Plan
from sightline.supervisor.http.api_live import LiveApi
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.health_pages import HealthPages
from sightline.supervisor.http.own_programs import KEY_FILE
from sightline.supervisor.http.site import access_endpoints, api_endpoints
from sightline.supervisor.live_pictures import LivePictures
from sightline.supervisor.machine_watch import MachineFigures
from sightline.supervisor.sinks import SinkHealth
from sightline.video.picture import encode_jpeg
from support.console_world import World
from support.front import KEY, known, served_door
from support.people import People, people_of
from support.waiting import until


class DrawnCameras:
    """Cameras that show a box that moves, ten times a second while they are asked to; those of a database.

    They are a supervisor to what asks one; a test says what that says of itself.
    """

    beat_s = float("inf")

    def __init__(self, live: LivePictures, database: Database) -> None:
        self.shown = 0
        self.silent: set[str] = set()  # those that show nothing
        self.live = live
        self.said: tuple[Notice, ...] = ()
        self.going: tuple[Event, ...] = ()
        self.writer = WriterHealth(owns_database=True, owner="sightline on mill")
        self.sinks: list[SinkHealth] = []
        self.figures: MachineFigures | None = None
        self._newest: list[CameraStatus] = []
        self._wanted: dict[tuple[str, Variant], float] = {}
        self._database = database
        live.owner_of = self.owner_of
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def statuses(self) -> list[CameraStatus]:
        """Those of the database; while it is away, as they were."""
        with suppress(StoreUnavailable), self._database.reading() as connection:
            self._newest = read_cameras(connection, None)
        return self._newest

    def reports(self) -> dict[str, Any]:
        return {}

    def notices(self) -> tuple[Notice, ...]:
        return self.said

    def troubles(self) -> tuple[Event, ...]:
        return self.going

    def machine(self) -> MachineFigures | None:
        return self.figures

    def owner_of(self, camera: str) -> DrawnCameras:
        if camera not in {status.source for status in self.statuses()}:
            raise LookupError(camera)
        return self

    @property
    def watched(self) -> set[tuple[str, Variant]]:
        """What is asked for now."""
        return {key for key, until_s in list(self._wanted.items()) if until_s > time.monotonic()}

    def send(self, message: Message) -> None:
        assert isinstance(message, AskFeature)
        watch: Any = message.request
        for variant in watch.variants:
            self._wanted[message.camera, variant] = time.monotonic() + watch.seconds

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._database.close()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.wait(0.1):
                return
            for camera, variant in self.watched:
                if camera in self.silent:
                    continue
                self.shown += 1
                header = {"capture_time": time.time(), "media_s": number / 10}
                if variant is Variant.DETECTIONS:
                    self.live.take(LiveMessage(camera, variant, header, walking(camera, number)))
                    continue
                size = (1280, 720) if variant.value.startswith("large") else (640, 360)
                self.live.take(LiveMessage(camera, variant, header, drawn(camera, number, *size)))


def walking(camera: str, number: int) -> bytes:
    """What is tracked where :func:`drawn` has its box."""
    left = number / 60 % 1
    walker = {"id": number // 60, "box": [left, 0.4, left + 1 / 12, 0.65], "score": 0.9}
    walker |= {"class": "person", "confirmed": True}
    return json.dumps({"camera": camera, "objects": [walker], "zones": {}, "lines": {}}).encode()


def drawn(camera: str, number: int, width: int, height: int) -> bytes:
    """A JPEG: a road of its camera's own grey, and a light box on its way from left to right."""
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    shade = 60 + sum(camera.encode()) % 60
    picture[:height] = np.linspace(shade + 70, shade, height, dtype=np.uint8)[:, None]
    left, top = number * width // 60 % width, height * 2 // 5
    picture[top : top + height // 4, left : left + width // 12] = 220
    return encode_jpeg(picture, 6)


@dataclass
class ConsoleSite:
    """All of it."""

    url: str  # of the console
    people: People
    cameras: DrawnCameras
    config: Path  # the cameras' configuration, which the API changes
    pid: int  # of the console
    done: list[tuple[Any, ...]] = field(default_factory=list)  # what was asked of the program's alerts

    def sign_in(self, browser: Any, name: str) -> None:
        """Without the form."""
        browser.get(f"{self.url}/auth/sign_in.css")
        browser.add_cookie({"name": "sightline", "value": self.people.session(name), "path": "/"})


@contextmanager
def console_site(
    world: World,
    folder: Path,
    written: str = "cameras: {}\n",
    certificate: Mapping[str, str] = MappingProxyType({}),
    oidc: OidcClient | None = None,
) -> Iterator[ConsoleSite]:
    """One person of each role is called as the role; ``guest`` is an operator of camera car-park alone.

    ``written`` is the cameras' configuration; a camera that is added to it shows pictures at once.
    """
    url = world.engine.url.render_as_string(hide_password=False)
    live, database, done = LivePictures(), Database(url), []

    def doing(name: str) -> Callable[..., Any]:
        def do(*values: Any) -> Any:
            done.append((name, *values))
            return []

        return do

    def change(alert_id: str, **values: Any) -> dict[str, Any]:
        done.append(("change", alert_id, *values.values()))
        told = {name: value for name, value in values.items() if value}
        # As the writer does: not in the transaction of the one who asks, who writes the audit.
        threading.Thread(target=world.set_alert, args=(alert_id,), kwargs=told).start()
        with database.reading() as connection:
            return {**asdict(read_open_alerts(connection, None, 0.0, alert_id).alerts[0]), **told}

    def mute(camera: str, rule: str, until: float, who: str) -> None:
        done.append(("mute", camera, rule, until, who))
        threading.Thread(target=world.mute, args=(camera, rule, until, who)).start()

    def test(route: str) -> str:
        done.append(("test", route))
        return "" if route != "broken" else "Connection refused; is the server there?"

    actions = {"list": doing("list"), "mute": mute, "test": test}
    actions["comment"] = lambda alert_id, text: change(alert_id, comment=text)
    actions["set_state"] = lambda alert_id, state, who, comment: change(
        alert_id, state=state, who=who, comment=comment
    )
    with people_of(url) as people, closing(DrawnCameras(live, Database(url))) as cameras, closing(database):
        for role in PERSON_ROLES:
            people.add(role.value, role)
        people.add("guest", Role.OPERATOR, cameras=frozenset({"car-park"}))
        cameras_path = folder / "cameras.yml"
        places = f"clips: {{folder: '{folder}/clips'}}\nmodels: {{repository: '{folder}/models'}}\n"
        cameras_path.write_text(places + written)

        def apply(plan: Plan) -> None:
            for name, step in plan.steps.items():
                if step is CameraStep.START:
                    world.camera(name, time.time() + 3600)

        history = ConfigHistory(people.store)
        control = Control(cameras_path, load_config(cameras_path), apply, keep=history.keep)
        doors: list[Door] = []

        async def still_allowed(call: Call) -> bool:
            return await doors[0].still_allowed(call)

        pages = HealthPages(cast(Any, cameras), lambda: cameras.writer, sinks=lambda: cameras.sinks)
        endpoints = [
            *pages.endpoints(),
            *access_endpoints(people.accounts, people.tokens, people.store, oidc),
            *LiveApi(live, still_allowed).endpoints(),
            *api_endpoints(cast(Any, cameras), control, actions, database, people.store),
        ]
        doors.append(Door(endpoints, known(people), KEY))
        with served_door(doors[0], **certificate) as front:
            commands = folder / "spool.db.control"
            commands.mkdir(mode=0o700)
            (commands / KEY_FILE).write_text(KEY)
            config = folder / "config.yml"
            config.write_text(
                f"database: {{url: '{url}', spool_path: {folder / 'spool.db'}}}\n"
                f"http: {json.dumps({'port': front.address[1], **certificate})}\n"
            )
            with started_console(config, *(["--tls"] if certificate else [])) as (address, pid):
                yield ConsoleSite(address, people, cameras, cameras_path, pid, done)


@contextmanager
def started_console(config: Path, *options: str) -> Iterator[tuple[str, int]]:
    """Its URL, as soon as it answers, and its process."""
    command = [sys.executable, "-m", "sightline", "console", "--config", str(config), "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        until(lambda: is_healthy(url), 60)
        yield url, server.pid
    finally:
        server.terminate()
        server.communicate(timeout=15)


def is_healthy(url: str) -> bool:
    """Whether a console answers there."""
    unchecked = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2, context=unchecked) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
