"""Plays cameras through the real path, once and in real time, and gathers what it left behind.

The parts are those of production: an RTSP server a camera, ``sightline run``, its database. Triton is given.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sightline.base.processes import spawn, terminate
from sightline.errors import ServerError
from sightline.features import track_log
from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.scenes.placing import TRACKING, camera_places
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence
from sightline.simulation.selftest.result_rows import read_counts, read_events, read_watched
from sightline.simulation.selftest.simulated_cameras import Interrupted, Part, Say
from sightline.store.read.readonly import Database

#: Between the moment a player has its line and its first frame: clients join meanwhile.
LEAD_S = 2.0
START_S = 180.0  # on a machine with more to do than it can
DAY_S = 86_400  # one window for the whole run: a track is counted once


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a play takes place.

    Attributes:
        folder: configuration, database, logs and kept tracks.
        triton_url: host:port of gRPC.
        videos: where the videos are kept.
        database_url: an empty database; None for SQLite in the folder.
        options: more keys of ``config.yml``.
    """

    folder: Path
    triton_url: str
    videos: Path
    database_url: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.folder / 'sightline.db'}"


def play(
    parts: Sequence[Part], setting: Setting, say: Say, stop: threading.Event | None = None
) -> dict[str, Evidence]:
    """Play every camera once, all at the same time; the evidence by camera.

    Raises:
        ServerError: a part of the path did not start, or ended.
        Interrupted: ``stop`` was set.
    """
    stop = stop or threading.Event()
    folder = setting.folder
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        servers = {part.name: stack.enter_context(_server(part, setting)) for part in parts}
        config = _write_config(parts, servers, setting)
        log = stack.enter_context((folder / "sightline.log").open("wb"))
        child = spawn([sys.executable, "-m", "sightline", "run", "-c", str(config)], log)
        stack.callback(terminate, child, 12.0)
        _watch(parts, servers, setting, say, lambda: _check(child, folder), stop)
    return {part.name: gather(part, setting) for part in parts}


def _server(part: Part, setting: Setting) -> RtspServer:
    """A camera that plays its video once, from the moment that its first client comes, and is gone then."""
    began = _began_path(part, setting)
    began.unlink(missing_ok=True)
    options = ["--once", "--began", str(began), "--lead", str(LEAD_S)]
    command = [sys.executable, "-m", "sightline.simulation.rtsp_player", *options]
    return RtspServer({part.name: [*command, str(part.video(setting.videos).resolve()), "{output}"]})


def _began_path(part: Part, setting: Setting) -> Path:
    return setting.folder.resolve() / f"{part.name}.began"


def _write_config(parts: Sequence[Part], servers: Mapping[str, RtspServer], setting: Setting) -> Path:
    folder = setting.folder.resolve()
    config = {
        "window_s": DAY_S,
        "triton": {"url": setting.triton_url},
        "database": {"url": setting.database, "spool_path": str(folder / "spool.db")},
        "http": {"port": 0},
        "keep_tracks": str(folder / "tracks"),
        "time_code": True,
        **TRACKING,
        **setting.options,
        "cameras": {
            part.name: {"url": servers[part.name].url(part.name), **camera_places(part.spec)}
            for part in parts
        },
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def _watch(
    parts: Sequence[Part],
    servers: Mapping[str, RtspServer],
    setting: Setting,
    say: Say,
    check: Any,
    stop: threading.Event,
) -> None:
    """Wait until every camera has played to its end."""
    length_s = max(part.length_s for part in parts)
    began_s = said_s = time.monotonic()
    while any(server.running for server in servers.values()):
        if stop.wait(0.2):
            raise Interrupted
        check()
        started = [part for part in parts if _began_path(part, setting).is_file()]
        now = time.monotonic()
        if len(started) < len(parts) and now - began_s > START_S:
            waiting = {part.name for part in parts} - {part.name for part in started}
            raise ServerError(
                f"nobody watches {', '.join(sorted(waiting))}; see {setting.folder}/sightline.log"
            )
        if now - began_s > START_S + length_s + 60:
            raise ServerError(f"a camera did not end within {length_s + 60:.0f} s of its start")
        if now - said_s > 10:
            said_s = now
            gone = f"{now - began_s:.0f} of about {length_s + 6:.0f} s"
            say(f"{len(started)} of {len(parts)} cameras play; {gone}")


def _check(child: Any, folder: Path) -> None:
    if child.poll() is not None:
        tail = (folder / "sightline.log").read_text(errors="replace").strip().splitlines()[-5:]
        raise ServerError(f"sightline run ended with {child.returncode}: {' / '.join(tail)}")


def gather(part: Part, setting: Setting) -> Evidence:
    """What a play left behind of one camera."""
    database = Database(setting.database)
    try:
        with database.reading() as connection:
            events: list[ClaimedEvent] = read_events(connection, part.name)
            counts = read_counts(connection, part.name)
            watched_s, dropped = read_watched(connection, part.name)
    finally:
        database.close()
    began = _began_path(part, setting)
    return Evidence(
        frames=tuple(track_log.read(setting.folder / "tracks", part.name)),
        events=tuple(events),
        counts=counts,
        watched_s=watched_s,
        dropped_frames=dropped,
        began_time=float(began.read_text()) if began.is_file() else None,
        fps=part.fps,
    )
