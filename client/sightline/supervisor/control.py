"""The one way a configuration changes: load → compare → plan → say it → apply it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from sightline.base.redact import redact
from sightline.config.changes import Change, Effect, camera_changes, program_changes
from sightline.config.loader import Camera, Config, LoadedConfig, load_config
from sightline.errors import ConfigError

log = logging.getLogger(__name__)


class Step(StrEnum):
    """What becomes of a camera when a plan is applied."""

    START = "start"
    UPDATE = "update"  # its new options are used from the next frame on; nothing is opened anew
    RESTART = "restart"  # its stream is opened anew; tracks, visits and counts go on from the resume state
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Plan:
    """The way from one configuration to another.

    Attributes:
        config: what is to be in force afterwards; its ``options`` may hold program-wide values that only
            a restart applies (``needs_restart``).
        steps: by camera, for those that something happens to.
        changes: every option that differs, of cameras that run before and after, and of the program.
        reasons: by camera that starts or stops, why.
        needs_restart: options that differ from those the program started with, and that it cannot change.
    """

    config: LoadedConfig
    steps: Mapping[str, Step]
    changes: tuple[Change, ...]
    reasons: Mapping[str, str]
    needs_restart: tuple[Change, ...]

    def lines(self) -> list[str]:
        """The plan in sentences, one a change."""
        lines = [f"camera {name!r} {why}" for name, why in self.reasons.items()]
        for change in self.changes:
            if change.effect is Effect.HOT:
                lines.append(f"{change}: applied at once")
            elif change.effect is Effect.CAMERA:
                lines.append(f"{change}: {'the camera reconnects' if change.camera else 'all reconnect'}")
        return lines + [f"{change}: needs a restart of the program" for change in self.needs_restart]


class Applies(Protocol):
    """The part of the supervisor that Control uses."""

    def apply(self, plan: Plan) -> None:
        """Ask for a plan to be carried out, after all that were asked for before. Any thread may call it."""


def make_plan(old: LoadedConfig, new: LoadedConfig, started: Config) -> Plan:
    """The way from ``old`` to ``new`` for a program that was started with ``started``."""
    changes = [
        change for change in program_changes(old.options, new.options) if change.effect is not Effect.PROGRAM
    ]
    reconnect_all = any(change.effect is Effect.CAMERA for change in changes)
    before, after = _enabled(old), _enabled(new)
    steps: dict[str, Step] = {}
    reasons: dict[str, str] = {}
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in after:
            steps[name], reasons[name] = Step.STOP, f"stops: {_why_stopped(name, new)}"
        elif name not in before:
            steps[name], reasons[name] = Step.START, "starts"
        else:
            own = camera_changes(before[name], after[name])
            changes += own
            if reconnect_all or any(change.effect is not Effect.HOT for change in own):
                steps[name] = Step.RESTART
            elif own:
                steps[name] = Step.UPDATE
    needs_restart = tuple(
        change for change in program_changes(started, new.options) if change.effect is Effect.PROGRAM
    )
    return Plan(new, steps, tuple(changes), reasons, needs_restart)


class Control:
    """Owns the configuration in force. Any thread may call every method.

    Args:
        path: the configuration file.
        config: what the program was started with.
        supervisor: what carries plans out.
        complete: adds what is not in the file: the canary's camera.
    """

    def __init__(
        self,
        path: Path,
        config: LoadedConfig,
        supervisor: Applies,
        complete: Callable[[LoadedConfig], LoadedConfig] = lambda config: config,
    ) -> None:
        self._path = path
        self._config = config
        self._started = config.options
        self._supervisor = supervisor
        self._complete = complete
        self._lock = threading.Lock()
        self._last: dict[str, Any] = {
            "time": time.time(), "by": "start", "outcome": "applied", "changes": []
        }  # fmt: skip
        self._needs_restart: list[str] = []

    def reload(self, by: str) -> None:
        """Read the file again and apply what changed; a file that cannot be used changes nothing.

        Args:
            by: who asked, for the log and the status.
        """
        with self._lock:
            try:
                plan = self.propose(self._complete(load_config(self._path)))
            except ConfigError as error:
                log.error("configuration (by %s): %s; nothing was changed", by, redact(error))
                self._record(by, "refused", [redact(error)])
                return
            self._apply(plan, by)

    def propose(self, config: LoadedConfig) -> Plan:
        """What applying ``config`` would do; nothing is done."""
        return make_plan(self._config, config, self._started)

    def state(self) -> dict[str, Any]:
        """For /status, JSON-able: the last change, and what waits for a restart of the program."""
        return {"last": dict(self._last), "needs_restart": list(self._needs_restart)}

    def _apply(self, plan: Plan, by: str) -> None:
        lines = plan.lines()
        for line in lines or ["nothing changes"]:
            log.info("configuration (by %s): %s", by, redact(line))
        for change in plan.changes:
            if change.key == "log_level":
                logging.getLogger().setLevel(plan.config.options.log_level.upper())
        self._supervisor.apply(plan)
        self._config = plan.config
        self._needs_restart = [f"{change}: needs a restart of the program" for change in plan.needs_restart]
        self._record(by, "applied", [redact(line) for line in lines])

    def _record(self, by: str, outcome: str, lines: list[str]) -> None:
        self._last = {"time": time.time(), "by": by, "outcome": outcome, "changes": lines}


def _enabled(config: LoadedConfig) -> dict[str, Camera]:
    return {name: camera for name, camera in config.cameras.items() if camera.enabled}


def _why_stopped(name: str, config: LoadedConfig) -> str:
    if name in config.cameras:
        return "enabled: false"
    if any(problem.camera == name for problem in config.problems):
        return "misconfigured"
    return "not in the configuration"
