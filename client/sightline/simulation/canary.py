"""The canary: a simulated camera beside the real ones, judged all the time (``docs/selftest.md``).

A process of its own (:mod:`canary_judge`) serves the scene on loopback and judges each pass; here
it is started, watched and stopped, its camera is put among the others, and its newest judgement is read.
Nothing of it can hurt the real cameras but the frames a second that it takes from the detector.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sightline.base.backoff import Backoff
from sightline.base.processes import spawn, terminate
from sightline.config import LoadedConfig, canary_camera
from sightline.config.groups import SOURCE, CanaryOptions
from sightline.simulation.rtsp_server import free_port
from sightline.simulation.scenes.scene_places import DETECT, camera_places
from sightline.simulation.selftest.ground_truth import camera_of_options

log = logging.getLogger(__name__)

STOP_S = 8.0


class Canary:
    """Owns the canary's process. ``start`` and ``stop`` by one thread; ``newest`` by any."""

    def __init__(self, options: CanaryOptions, database_url: str) -> None:
        self._options = options
        self._database_url = database_url
        self._folder = options.folder.resolve()
        self._port = free_port()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, name="canary", daemon=True)

    def start(self) -> None:
        """Start its process, and another whenever that one ends."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (self._folder / "canary.json", self._folder / "began"):
            old.unlink(missing_ok=True)
        self._thread.start()

    def stop(self) -> None:
        """End it and wait."""
        self._stop.set()
        self._thread.join()

    def join(self, config: LoadedConfig) -> LoadedConfig:
        """The configuration with the canary's camera in it."""
        camera = camera_of_options(self._options)
        own: dict[str, Any] = {
            "url": f"rtsp://127.0.0.1:{self._port}/{SOURCE}",
            "track_log": {"folder": str(self._folder / "tracks"), "max_bytes": 40_000_000, "time_code": True},
            "detect": {**DETECT, "model": self._options.model},
            "rules": camera_places(camera.spec),
        }
        return replace(config, cameras={**config.cameras, SOURCE: canary_camera(config.options, own)})

    def newest(self) -> Mapping[str, Any] | None:
        """The newest judgement; None before the first pass is over."""
        path = self._folder / "canary.json"
        judgement: dict[str, Any] | None = json.loads(path.read_bytes()) if path.is_file() else None
        return judgement

    def _keep_running(self) -> None:
        backoff = Backoff(1.0, 60.0)
        words = [str(self._folder), str(self._port), self._options.model_dump_json()]
        command = [sys.executable, "-m", "sightline.simulation.selftest.canary_judge", *words]
        while not self._stop.is_set():
            with (self._folder / "canary.log").open("ab") as output:
                child = spawn(command, output, first_line=self._database_url)
            while child.poll() is None and not self._stop.wait(0.5):
                pass
            if self._stop.is_set():
                terminate(child, STOP_S)
                return
            delay_s = backoff.next_delay_s()
            log.error("the canary ended with %s; next try in %.0f s", child.returncode, delay_s)
            self._stop.wait(delay_s)
