"""``config.yml``: what to watch, and how.

Groups at the top are defaults, and a camera overrides them key by key. Names are snake_case, times are
seconds. Secrets come in as ``{SIGHTLINE_…}`` placeholders, from the environment or from a file of that name
(any case) in ``/run/secrets``. A bad value of one camera is that camera's problem; the others run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from sightline.config.camera import AllowOptions, Camera, CameraOptions, url_problem
from sightline.config.canary_options import SOURCE, CanaryOptions
from sightline.config.database_options import DatabaseOptions
from sightline.config.http_options import HttpOptions
from sightline.config.old_keys import NEW_KEYS, NULLABLE
from sightline.config.option_group import HOT, PROGRAM, OptionGroup
from sightline.config.secrets import SecretFiller
from sightline.config.triton_options import TritonOptions
from sightline.config.yaml_text import parse_yaml
from sightline.errors import ConfigError, ConfigErrors

_CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_Options = TypeVar("_Options", bound=OptionGroup)


class Config(CameraOptions):
    """The whole file but its cameras. :func:`load_config` returns the checked form."""

    triton: TritonOptions = Field(TritonOptions(), description="Where the detectors are served.")
    database: DatabaseOptions = Field(DatabaseOptions(), description="Where results go.")
    http: HttpOptions = Field(HttpOptions(), description="Health, status and metrics.")
    allow: AllowOptions = Field(AllowOptions(), description="What a camera's url may be.")
    canary: CanaryOptions = Field(
        CanaryOptions(), description="A simulated camera beside the real ones, judged all the time."
    )
    cameras_per_worker: Annotated[int, Field(ge=1, le=256)] = Field(
        16, description="Cameras that share one process.", json_schema_extra=PROGRAM
    )
    open_limit: Annotated[int, Field(ge=1)] = Field(
        8, description="Cameras that may be opening at once.", json_schema_extra=HOT
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="How much to log.", json_schema_extra=HOT
    )


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can run.

    Attributes:
        options: everything but the cameras.
        cameras: those without mistakes, by name.
        problems: the mistakes in the other cameras; each names its camera, and a camera may have several.
        warnings: keys that have new names.
    """

    options: Config
    cameras: Mapping[str, Camera]
    problems: tuple[ConfigError, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def misconfigured(self) -> dict[str, str]:
        """By camera that cannot run: everything that is wrong with it."""
        texts: dict[str, list[str]] = {}
        for problem in self.problems:
            texts.setdefault(problem.camera or "", []).append(str(problem))
        return {name: "; ".join(lines) for name, lines in texts.items()}


def load_config(path: Path) -> LoadedConfig:
    """Read and check a ``config.yml``.

    Raises:
        ConfigError: the file cannot be read, or a value outside the cameras is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}); give -c FILE") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(str(path), f"line {line}: is not UTF-8; save the file as UTF-8") from error
    return parse_text(text, str(path))


def parse_text(text: str, name: str = "config.yml") -> LoadedConfig:
    """Check the text of a configuration; ``name`` stands in errors.

    Raises:
        ConfigError: see :func:`load_config`.
    """
    return parse_config(parse_yaml(text, name))


def parse_config(raw: Mapping[str, Any]) -> LoadedConfig:
    """Check an already parsed configuration.

    Raises:
        ConfigError: a value outside the cameras is wrong; a :class:`ConfigErrors` where there are several
            mistakes, those of the cameras included.
    """
    top = _Level({key: value for key, value in raw.items() if key != "cameras"}, CameraOptions())
    options = top.validate(Config) or top.sound_options()
    if options.drift.consent:
        top.add("drift.consent", "is given camera by camera: write it into those that may be kept")
    named = raw.get("cameras") or {}
    if not isinstance(named, dict):
        top.add("cameras", "must be a map of camera names")
        named = {}
    cameras: dict[str, Camera] = {}
    problems: list[ConfigError] = []
    warnings = list(top.warnings)
    for name, value in named.items():
        level = _Level(value, options, str(name))
        camera = _check_camera(level, options.allow)
        if camera is not None and not level.problems:
            cameras[camera.name] = camera
        problems += level.problems
        warnings += level.warnings
    if top.problems:
        raise ConfigErrors.of([*top.problems, *problems])
    return LoadedConfig(options, cameras, tuple(problems), tuple(warnings))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``config.yml``, for editors."""
    schema = Config.model_json_schema()
    camera = Camera.model_json_schema()
    definitions = {**schema.get("$defs", {}), **camera.pop("$defs", {})}
    camera["properties"].pop("name")
    camera["required"] = ["url"]
    schema["$defs"] = {**definitions, "Camera": camera}
    schema["properties"]["cameras"] = {
        "type": "object",
        "description": "Cameras by name; each may override the groups above, key by key.",
        "additionalProperties": {"$ref": "#/$defs/Camera"},
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def canary_camera(options: Config, own: Mapping[str, Any]) -> Camera:
    """The canary's camera: plain defaults but for ``own``; what is set for others does not concern it."""
    return Camera.model_validate({"count": {"window_s": options.count.window_s}, **own, "name": SOURCE})


def _check_camera(level: _Level, allow: AllowOptions) -> Camera | None:
    name = level.raw["name"] = level.camera or ""
    if not _CAMERA_NAME.fullmatch(name):
        level.add("cameras", "a name is 1 to 63 letters, digits, '_', '.' or '-'")
    elif name == SOURCE:
        level.add("cameras", "is the canary's name; choose another")
    camera = level.validate(Camera)
    for key in ("url", "sub_url"):
        url = level.raw.get(key)
        if isinstance(url, str) and (problem := url_problem(url, allow)):
            level.add(key, problem)
    return camera


class _Level:
    """The top of the file or one camera on its way from raw values to options; gathers its mistakes.

    Args:
        written: as it stands in the file; a group or a place without a value counts as not written.
        defaults: what its groups are laid over, key by key.
        camera: its name; None at the top.
    """

    def __init__(self, written: Any, defaults: CameraOptions, camera: str | None = None) -> None:
        self.camera = camera
        self.raw: dict[str, Any] = {}
        self.problems: list[ConfigError] = []
        self.warnings: list[str] = []
        self._old_keys: dict[str, str] = {}  # in use here, by new key
        self._mistaken: set[str] = set()  # keys of this level that pydantic refuses
        if not isinstance(written, dict):
            self.add("url", "the camera must be a map with at least a url")
            return
        filler = SecretFiller()
        filled = filler.fill(
            {key: value for key, value in written.items() if value is not None or key in NULLABLE}
        )
        for key, problem in filler.problems:
            self.add(key, problem)
        self._regroup(filled)
        for group in CameraOptions.model_fields:
            own, outer = self.raw.get(group, {}), getattr(defaults, group)
            if isinstance(own, dict):
                kept = {key: value for key, value in own.items() if value is not None or group != "rules"}
                self.raw[group] = {**dict(outer), **kept}

    def add(self, key: str, problem: str) -> None:
        """Note a mistake, unless something is known to be wrong with the key already."""
        for new, old in self._old_keys.items():
            if key == new or key.startswith(f"{new}."):
                key = old + key.removeprefix(new)
        if all(known.key != key for known in self.problems):
            self.problems.append(ConfigError(key, problem, camera=self.camera))

    def validate(self, model: type[_Options]) -> _Options | None:
        """The options, or None when there are mistakes; pydantic's are noted in our words.

        The input is left out of them, since it may be a secret.
        """
        try:
            return model.model_validate(self.raw)
        except ValidationError as error:
            for item in error.errors(include_input=False, include_url=False):
                self._mistaken.add(str(item["loc"][0]) if item["loc"] else "")
                key = ".".join(str(part) for part in item["loc"])
                unknown = item["type"] == "extra_forbidden"
                self.add(key, _unknown_key(key, model) if unknown else item["msg"])
        return None

    def sound_options(self) -> Config:
        """The top without the sections that have mistakes, so that the cameras can be checked as well."""
        raw = {key: value for key, value in self.raw.items() if key not in self._mistaken}
        if "allow" in self._mistaken:
            raw["allow"] = AllowOptions(files=True, http=True)
        return Config.model_validate(raw)

    def _regroup(self, filled: dict[str, Any]) -> None:
        """Move old keys into their groups."""
        self.raw = {key: value for key, value in filled.items() if key not in NEW_KEYS}
        where = f"camera {self.camera!r}, " if self.camera else ""
        for old in [key for key in filled if key in NEW_KEYS]:
            group, key = NEW_KEYS[old]
            section = self.raw.get(group, {})
            if not isinstance(section, dict):
                continue  # the group itself is refused
            if key in section and section[key] != filled[old]:
                self.add(old, f"contradicts {group}.{key}; remove {old}, the old name")
                continue
            self.raw[group] = {**section, key: filled[old]}
            self._old_keys[f"{group}.{key}"] = old
            self.warnings.append(f"{where}key {old!r} is now {group}.{key}; the next release reads only that")


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    """What to do about a key that does not exist: the nearest spelling, in whatever group."""
    known = {old: ".".join(new) for old, new in NEW_KEYS.items()}
    for name, path in _paths(model):
        known.setdefault(name, path)
    near = difflib.get_close_matches(key.rsplit(".", 1)[-1], known, 1, 0.65)
    return f"is not a known key; {f'do you mean {known[near[0]]}?' if near else 'check its spelling'}"


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key below ``model``, with its dotted path."""
    for name, field in model.model_fields.items():
        yield name, prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _paths(field.annotation, f"{prefix}{name}.")
