"""The one way a configuration changes: load → compare → plan → say it → apply it."""

import errno
import hashlib
import hmac
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from sightline.base.redact import redact
from sightline.config import Camera, Config, LoadedConfig
from sightline.config.groups import CameraOptions
from sightline.config.loader import parse_text, read_text
from sightline.config.option_group import Change, Effect, OptionGroup
from sightline.config.paths import named_paths
from sightline.config.secret_text import masked_text, unmasked_text, without_new_secrets
from sightline.config.yaml_edit import with_part
from sightline.config.yaml_text import forget_texts, parse_yaml, secrets_folder
from sightline.errors import ConfigChanged, ConfigError, ConfigErrors, SightlineError
from sightline.store.access_store import ConfigChange
from sightline.supervisor.config_history import difference, undone
from sightline.supervisor.sent_secrets import keeping

log = logging.getLogger(__name__)


class CameraStep(StrEnum):
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
    steps: Mapping[str, CameraStep]
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
        return lines + self.restart_lines()

    def restart_lines(self) -> list[str]:
        """What only a restart applies, in sentences."""
        return [f"{change}: needs a restart of the program" for change in self.needs_restart]


@dataclass(frozen=True, slots=True)
class Edit:
    """What a change of the text does, or did, without its secrets."""

    changes: list[str]  # in sentences
    cameras: list[str]  # to which something happens
    sections: list[str]  # at the top of the file, that differ from what is in force
    paths: list[str]  # options that name another file or folder of the machine than what is in force
    difference: str  # of the texts, as ``diff -u`` writes it
    version: str  # of the file afterwards


def make_plan(old: LoadedConfig, new: LoadedConfig, started: Config) -> Plan:
    """The way from ``old`` to ``new`` for a program that was started with ``started``."""

    def changes_since(options: Config, *, program: bool) -> list[Change]:
        """Those that only a restart of the program applies, or the others."""
        changes = options.changes_to(new.options, left_out=CameraOptions.model_fields)
        return [change for change in changes if (change.effect is Effect.PROGRAM) is program]

    changes = changes_since(old.options, program=False)
    reconnect_all = any(change.effect is Effect.CAMERA for change in changes)
    before, after = (
        {name: camera for name, camera in config.cameras.items() if camera.enabled} for config in (old, new)
    )
    steps: dict[str, CameraStep] = {}
    reasons: dict[str, str] = {}
    for name in [*after, *(name for name in before if name not in after)]:
        if name not in after:
            why = "misconfigured" if name in new.misconfigured else "not in the configuration"
            why = "enabled: false" if name in new.cameras else why
            steps[name], reasons[name] = CameraStep.STOP, f"stops: {why}"
        elif name not in before:
            steps[name], reasons[name] = CameraStep.START, "starts"
        else:
            own = tuple(before[name].changes_to(after[name], camera=name))
            changes += own
            if reconnect_all or any(change.effect is not Effect.HOT for change in own):
                steps[name] = CameraStep.RESTART
            elif own:
                steps[name] = CameraStep.UPDATE
    return Plan(new, steps, tuple(changes), reasons, tuple(changes_since(started, program=True)))


class Control:
    """Owns the configuration in force. Any thread may call every method.

    Args:
        path: the configuration file.
        config: what the program was started with.
        apply: asks the supervisor to carry a plan out, after all that it was asked for before.
        complete: adds what is not in the file: the canary's camera.
        appliers: by top-level key, what applies a hot change of it; the supervisor applies all others.
        keep: is given each change of the file, without its secrets.
    """

    def __init__(
        self,
        path: Path,
        config: LoadedConfig,
        apply: Callable[[Plan], None],
        complete: Callable[[LoadedConfig], LoadedConfig] = lambda config: config,
        appliers: Mapping[str, Callable[[Config], None]] | None = None,
        keep: Callable[[ConfigChange], None] = lambda change: None,
    ) -> None:
        self._path = path
        self._config = config
        self._started = config.options
        self._apply = apply
        self._complete = complete
        self._appliers, self._keep = appliers or {}, keep
        self._lock = threading.Lock()
        self._version_key = os.urandom(32)
        self._shown = masked_text(read_text(path), str(path))
        forget_texts()
        self._record("start", "applied", [])
        self._needs_restart: list[str] = []

    def reload(self, by: str) -> None:
        """Read the file again and apply what changed; a file that cannot be used changes nothing.

        ``by`` says who asked, for the log and the status.
        """
        with self._lock:
            try:
                text = read_text(self._path)
                self._change(self._parsed(text), by, text)
            except SightlineError as error:
                log.error("configuration (by %s): %s; nothing was changed", by, redact(error))
                self._record(by, "refused", redact(error).splitlines())
            except Exception as error:
                self._record(by, "refused", [redact(f"{type(error).__name__}: {error}")])
                raise

    def write(self, text: str, by: str) -> Plan:
        """Check a new text of the whole file, replace the file by it, and apply what changed.

        Raises:
            ConfigError: the text has a mistake, in whatever camera, or the file cannot be written.
            SightlineError: a change cannot be applied: a port is taken. Nothing was changed then either.
        """
        with self._lock:
            return self._write(text, by)

    def masked(self) -> tuple[str, str]:
        """The text of the file without its secrets, and its version, by which :meth:`edit` knows it again.

        Raises:
            ConfigError: the file cannot be read.
        """
        text = read_text(self._path)
        return masked_text(text, str(self._path)), self._version(text)

    def edit(self, text: str, by: str, version: str, *, try_only: bool = False) -> Edit:
        """As :meth:`write`, for somebody who does not see secrets: what is masked stays as it is.

        Secrets that are sent are kept in files beside the configuration, which gets placeholders.

        Args:
            text: of the whole file.
            by: who asks.
            version: of the text that was changed, as :meth:`masked` gave it.
            try_only: check it and tell what it would do.

        Raises:
            ConfigChanged: the file is another one by now.
            ConfigError, SightlineError: as :meth:`write`; or what is masked cannot be told any more.
        """
        with self._lock:
            return self._edit(text, self._text_of(version), by, try_only)

    @property
    def is_read_only(self) -> bool:
        """Whether the file cannot be changed here."""
        path = self._path.resolve()
        return not _is_writable(path) or not os.access(path.parent, os.W_OK)

    def part(self, *path: str) -> tuple[Any, str]:
        """What stands in the file under these keys without its secrets (None: nothing), and the version."""
        text, version = self.masked()
        return _written(text, str(self._path), path), version

    def edit_part(
        self, path: Sequence[str], value: Any, by: str, version: str, *, try_only: bool = False
    ) -> Edit:
        """As :meth:`edit`, of what stands under some keys; all else stays as it is written, comments too.

        ``value`` may be :data:`sightline.config.yaml_edit.GONE`: nothing is to stand there.
        """
        with self._lock:
            name, old = str(self._path), self._text_of(version)
            return self._edit(with_part(masked_text(old, name), name, path, value), old, by, try_only)

    def undo(self, change: ConfigChange, by: str, version: str, *, try_only: bool = False) -> Edit:
        """As :meth:`edit`, of what a change of this file changed; what others have changed since stays.

        Raises:
            ConfigError: that has been changed again since.
        """
        with self._lock:
            name, old = str(self._path), self._text_of(version)
            text = undone(change, masked_text(old, name))
            if text is None:
                raise ConfigError("", "has been changed there again since; change it by hand", place=name)
            return self._edit(text, old, by, try_only, earlier=change.before)

    def _text_of(self, version: str) -> str:
        """The file's text, if it is of that version."""
        text = read_text(self._path)
        if not hmac.compare_digest(self._version(text).encode(), version.encode()):
            problem = "has changed since it was read; read it again"
            raise ConfigChanged("", problem, place=str(self._path))
        return text

    def _edit(self, text: str, old: str, by: str, try_only: bool, earlier: str = "") -> Edit:
        name = str(self._path)
        whole = unmasked_text(text, old, name, earlier)
        known = self._problems(old)
        config = self._checked(whole, known)
        kept, secrets = without_new_secrets(whole, old, name)
        new, now = config.options, self._config.options
        paths = _changed_paths(self._config, config)
        sections = [name for name in Config.model_fields if getattr(new, name) != getattr(now, name)]
        if try_only:
            plan = make_plan(self._config, self._complete(config), self._started)
        else:
            with keeping(secrets, secrets_folder(self._path), self._path.resolve()):
                plan = self._write(kept, by, known)
        lines, cameras = [redact(line) for line in plan.lines()], [*plan.steps]
        seen = difference(masked_text(old, name), masked_text(kept, name))
        return Edit(lines, cameras, sections, paths, seen, self._version(old if try_only else kept))

    def _write(self, text: str, by: str, known: Iterable[ConfigError] = ()) -> Plan:
        config = self._checked(text, known)
        return self._change(config, by, text, save=lambda: _replace_file(self._path.resolve(), text))

    def _checked(self, text: str, known: Iterable[ConfigError] = ()) -> LoadedConfig:
        """What a text says, if it has no other mistakes in its cameras than those that are known."""
        config, before = self._parsed(text), {(item.camera, item.key, item.problem) for item in known}
        if problems := [
            item for item in config.problems if (item.camera, item.key, item.problem) not in before
        ]:
            raise ConfigErrors.of(problems)
        return config

    def _problems(self, text: str) -> Sequence[ConfigError]:
        try:
            return self._parsed(text).problems
        except ConfigError as error:
            return error.problems

    def _parsed(self, text: str) -> LoadedConfig:
        return parse_text(text, str(self._path), secrets=secrets_folder(self._path))

    def _version(self, text: str) -> str:
        """What tells this text from others, and nothing about its secrets to whoever tries passwords."""
        return hashlib.blake2b(text.encode(), key=self._version_key, digest_size=16).hexdigest()

    def set_enabled(self, camera: str, enabled: bool, by: str) -> None:
        """Switch a camera on or off, in the file too; what else has changed there is left for a reload.

        Raises:
            ConfigError: there is no such camera, it has a mistake, or the file cannot be changed.
        """
        with self._lock:
            options = self._config.cameras.get(camera)
            if options is None:
                problems = [problem for problem in self._config.problems if problem.camera == camera]
                raise ConfigErrors.of(problems or [ConfigError("cameras", f"has no {camera!r}")])
            path = self._path.resolve()
            before = read_text(path)
            if options.enabled is enabled and _is_enabled_in(before, str(path), camera) == enabled:
                return
            text = with_part(before, str(path), ("cameras", camera, "enabled"), enabled)
            if options.enabled is enabled:  # the file alone says otherwise, and is not loaded yet
                _replace_file(path, text)
                log.info("configuration (by %s): camera %r: the file says enabled: %s", by, camera, enabled)
                self._keep_change(by, [], text)
                return
            cameras = {**self._config.cameras, camera: options.model_copy(update={"enabled": enabled})}
            config = replace(self._config, cameras=cameras, warnings=())
            self._change(config, by, text, save=lambda: _replace_file(path, text))

    @property
    def config(self) -> LoadedConfig:
        """What is in force."""
        return self._config

    @property
    def shown(self) -> str:
        """The text of the file as it was used last, without its secrets."""
        return self._shown

    def camera_with(self, camera: str, value: Any) -> Camera:
        """A camera's options if this stood in the file; nothing is changed.

        Raises:
            ConfigError: it has a mistake, or what is masked cannot be told.
        """
        name, old = str(self._path), read_text(self._path)
        text = with_part(masked_text(old, name), name, ("cameras", camera), value)
        config = self._checked(unmasked_text(text, old, name), self._problems(old))
        if camera not in config.cameras:
            raise ConfigErrors.of([item for item in config.problems if item.camera == camera])
        return config.cameras[camera]

    def is_enabled(self, camera: str) -> bool:
        """Whether a camera is to run; one that has mistakes is not."""
        options = self._config.cameras.get(camera)
        return options is not None and options.enabled

    def state(self) -> dict[str, Any]:
        """For /status, JSON-able: the last change, and what waits for a restart of the program."""
        return {"last": dict(self._last), "needs_restart": list(self._needs_restart)}

    def _change(
        self, config: LoadedConfig, by: str, text: str, save: Callable[[], None] = lambda: None
    ) -> Plan:
        plan = make_plan(self._config, self._complete(config), self._started)
        for warning in plan.config.warnings:
            log.warning("configuration: %s", warning)
        lines = [redact(line) for line in plan.lines()]
        for line in lines or ["nothing changes"]:
            log.info("configuration (by %s): %s", by, line)
        self._apply_here(self._config, plan.config)
        try:
            save()
        except ConfigError:
            self._apply_here(plan.config, self._config)
            raise
        self._apply(plan)
        self._config = plan.config
        self._needs_restart = [redact(line) for line in plan.restart_lines()]
        self._record(by, "applied", lines)
        self._keep_change(by, lines, text)
        return plan

    def _keep_change(self, by: str, lines: Iterable[str], text: str) -> None:
        before, self._shown = self._shown, masked_text(text, str(self._path))
        forget_texts()
        if before != self._shown:
            now, changes = time.time(), "\n".join(lines)
            self._keep(
                ConfigChange(time=now, who=by[:100], changes=changes, before=before, after=self._shown)
            )

    def _apply_here(self, old: LoadedConfig, new: LoadedConfig) -> None:
        for key, apply in self._appliers.items():
            if getattr(new.options, key) != getattr(old.options, key):
                apply(new.options)

    def _record(self, by: str, outcome: str, lines: list[str]) -> None:
        self._last = {"time": time.time(), "by": by, "outcome": outcome, "changes": lines}


def _changed_paths(old: LoadedConfig, new: LoadedConfig) -> list[str]:
    """The options that name another file or folder of the machine than before; of a new camera: its own."""
    groups: list[tuple[str, Iterable[str], OptionGroup, OptionGroup]] = [
        ("", Config.model_fields, old.options, new.options)
    ]
    for name, camera in new.cameras.items():
        groups.append((f"{name}: ", CameraOptions.model_fields, old.cameras.get(name, new.options), camera))
    changed = []
    for whose, names, was, now in groups:
        before, after = dict(named_paths(was, names)), dict(named_paths(now, names))
        keys = (key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        changed += [f"{whose}{key}" for key in sorted(keys)]
    return changed


def _written(text: str, name: str, path: Iterable[str]) -> Any:
    """What stands in a file under these keys; None: nothing."""
    value: Any = parse_yaml(text, name).values
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _is_enabled_in(text: str, name: str, camera: str) -> Any:
    """What a file says of a camera, as it stands there; None: nothing of it."""
    own = _written(text, name, ("cameras", camera))
    if not isinstance(own, dict):
        return None
    return True if (written := own.get("enabled")) is None else written


def _is_writable(path: Path) -> bool:
    """Whether somebody may write it; whoever may write its folder could replace it even so."""
    return not path.exists() or bool(path.stat().st_mode & 0o222)


def _replace_file(path: Path, text: str) -> None:
    """Replace a file as a whole, even if the power fails meanwhile; what it held stays beside it as ``.bak``.

    Raises:
        ConfigError: it cannot be written.
    """
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    try:
        if not _is_writable(path):
            raise PermissionError(errno.EACCES, "it is read-only")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            owner = path.stat()
            if os.geteuid() == 0:  # the program may run as the file's owner next time
                os.chown(new, owner.st_uid, owner.st_gid)
            new.chmod(stat.S_IMODE(owner.st_mode))
            shutil.copy2(path, old)
            old.replace(path.with_name(f"{path.name}.bak"))  # that one is never half written either
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        for part in (new, old):
            part.unlink(missing_ok=True)
        problem = f"cannot be written ({error.strerror}); nothing was changed"
        raise ConfigError("", problem, place=str(path)) from error
