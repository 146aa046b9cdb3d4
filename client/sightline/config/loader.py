"""``config.yml``: what to watch, and how.

Groups at the top are defaults, and a camera overrides them key by key. Names are snake_case, times are
seconds. Secrets come in as ``{SIGHTLINE_…}`` placeholders, from the environment or from a file of that name
(any case) in ``/run/secrets``. A bad value of one camera is that camera's problem; the others run.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from sightline.base.redact import redact
from sightline.config.alert_names import idle_kinds, unknown_names
from sightline.config.camera import NEW_KEYS, Camera, output_problem, url_problem
from sightline.config.groups import SOURCE, AllowOptions, CameraOptions, Config, DatabaseOptions, HttpOptions
from sightline.config.option_group import OptionGroup
from sightline.config.paths import camera_path_problems, program_path_problems, upload_path_problems
from sightline.config.yaml_text import fill_secrets, parse_yaml, secrets_folder
from sightline.config.zones import Line, Zone
from sightline.errors import ConfigError, ConfigErrors

#: What other programs call what is part of the URL here.
_OF_URL = ("address", "host", "ip", "password", "rtsp_url", "source", "uri", "user", "username")
MAX_BYTES = 4_000_000
MAX_MISTAKES = 100  # of one camera, or of the top of the file; the others are only counted
_CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
#: Keys that mean something without a value; any other such key counts as not written.
_NULLABLE = {"model", "fps", "classes", "tls_ca_file", "hardware_decoder", "keep_tracks", "url", "sub_url"}
#: By kind of pydantic's error, what is said instead of its own words.
_TEXTS = {
    "string_type": "must be text; put it in quotes",
    "string_pattern_mismatch": "has a character that cannot stand there, such as a line break",
    "missing": "is required",
    "finite_number": "is infinite or not a number (.inf, .nan); write an ordinary number",
    "too_long": "has {actual_length} values, and at most {max_length} are allowed",
    "list_type": "must be a list, as [a, b]",
    "tuple_type": "must be a list, as [a, b]",
    "path_type": "must be a path, which is text; put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be a map of keys and their values",
    "model_type": "must be a map of keys and their values",
}
_Options = TypeVar("_Options", bound=OptionGroup)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can run."""

    options: Config  # everything but the cameras
    cameras: Mapping[str, Camera]  # those without mistakes, by name
    # the mistakes in the other cameras; each names its camera, and a camera may have several
    problems: tuple[ConfigError, ...] = ()
    warnings: tuple[str, ...] = ()  # keys that have new names, and what may be a slip

    @property
    def misconfigured(self) -> dict[str, str]:
        """By camera that cannot run: everything that is wrong with it, as whoever sees the camera is told."""
        texts: dict[str, list[str]] = {}
        for problem in self.problems:
            texts.setdefault(problem.camera or "", []).append(problem.told)
        return {name: "; ".join(lines) for name, lines in texts.items()}

    def cameras_of(self, detector: str) -> list[Camera]:
        """Those that are analysed by this detector."""
        default = self.options.triton.model
        return [camera for camera in self.cameras.values() if (camera.detect.model or default) == detector]


@dataclass(frozen=True, slots=True)
class ConfigOutline:
    """What leads to the program that runs with a configuration, and the names that stand in it."""

    database: DatabaseOptions
    http: HttpOptions
    cameras: tuple[str, ...]
    rules: tuple[str, ...]  # of alerts
    routes: tuple[str, ...]


def load_outline(path: Path, *keys: str) -> ConfigOutline:
    """Read these alone, so that no secret is needed: of ``database`` where its spool is, and its ``keys``.

    Raises:
        ConfigError: the file cannot be read, or one of these is wrong.
    """
    parsed = parse_yaml(read_text(path), str(path))

    def section(value: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else {}

    written = {key: value for key, value in parsed.values.items() if key in {"database", "http"}}
    if isinstance(database := written.get("database"), dict):
        written["database"] = {key: database[key] for key in ("spool_path", *keys) if key in database}
    top = _Level(written, CameraOptions())
    options = top.validate(Config)
    if options is None or top.problems:
        raise ConfigErrors.of(
            [
                ConfigError(problem.key, problem.problem, place=f"{path}:{parsed.line(problem.key)}")
                for problem in top.problems
            ]
        )
    alerts = section(parsed.values.get("alerts"))
    names = (parsed.values.get("cameras"), alerts.get("rules"), alerts.get("routes"))
    return ConfigOutline(options.database, options.http, *(tuple(section(value)) for value in names))


def load_config(path: Path, *, on_disk: bool = False) -> LoadedConfig:
    """Read and check a ``config.yml``; ``on_disk``: and the files and folders that it names.

    Raises:
        ConfigError: the file cannot be read, or a value outside the cameras is wrong.
    """
    return parse_text(read_text(path), str(path), on_disk=on_disk, secrets=secrets_folder(path))


def read_text(path: Path) -> str:
    """The text of a configuration, as it stands in the file.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); give -c FILE"
        raise ConfigError("", problem, place=str(path)) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError("", "is not UTF-8; save the file as UTF-8", place=f"{path}:{line}") from error
    if len(data) > MAX_BYTES:
        problem = f"is larger than {MAX_BYTES} bytes; is it a configuration?"
        raise ConfigError("", problem, place=str(path))
    return text


def parse_text(
    text: str, name: str = "config.yml", *, on_disk: bool = False, secrets: Path | None = None
) -> LoadedConfig:
    """Check the text of a configuration, as :func:`load_config`; ``name`` stands in errors.

    ``secrets`` is a folder of them, which is looked into last.
    """
    parsed = parse_yaml(text, name)

    def placed(problem: ConfigError) -> ConfigError:
        path = f"cameras.{problem.camera}.{problem.key}" if problem.camera else problem.key
        return ConfigError(problem.key, problem.problem, problem.camera, f"{name}:{parsed.line(path)}")

    try:
        loaded = parse_config(parsed.values, on_disk=on_disk, secrets=secrets)
    except ConfigError as error:
        raise ConfigErrors.of([*parsed.problems, *map(placed, error.problems)]) from error
    problems = tuple(map(placed, loaded.problems))
    if parsed.problems:
        raise ConfigErrors.of([*parsed.problems, *problems])
    return replace(loaded, problems=problems)


def parse_config(
    raw: Mapping[str, Any], *, on_disk: bool = False, secrets: Path | None = None
) -> LoadedConfig:
    """Check an already parsed configuration; ``on_disk``: and the files and folders that it names.

    ``secrets`` is a folder of them, which is looked into last.

    Raises:
        ConfigError: a value outside the cameras is wrong; a :class:`ConfigErrors` where there are several
            mistakes, those of the cameras included.
    """
    options_at_top = {key: value for key, value in raw.items() if key != "cameras"}
    top = _Level(options_at_top, CameraOptions(), secrets=secrets)
    options = top.validate(Config)
    if options is None:  # without the sections that have mistakes, the cameras can be checked as well
        sound = {key: value for key, value in top.raw.items() if key not in top.mistaken}
        if "allow" in top.mistaken:
            sound["allow"] = AllowOptions(files=True, http=True)
        options = Config.model_validate(sound)
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
        # A URL that has lost its key is no name, and may hold a password.
        level = _Level(value, options, re.sub(r"(?s)://.*", "://***", str(name)), secrets)
        camera = level.validate_camera(options.allow)
        if camera is not None and not level.problems:
            cameras[camera.name] = camera
        problems += level.problems
        warnings += level.warnings
    problems += _same_outputs(cameras)
    if on_disk:
        problems += [*program_path_problems(options), *upload_path_problems(options)]
        problems += camera_path_problems(cameras)
    wrong = {problem.camera for problem in problems}
    cameras = {name: camera for name, camera in cameras.items() if name not in wrong}
    by_lowered = {name.lower(): name for name in reversed(cameras)}
    warnings += [
        f"cameras {by_lowered[name.lower()]!r} and {name!r} differ in capitals only; is that meant?"
        for name in cameras
        if by_lowered[name.lower()] != name
    ]
    if top.problems:
        raise ConfigErrors.of([*top.problems, *problems])
    broken = {problem.camera for problem in problems if problem.camera}
    warnings += unknown_names(options.alerts.rules, cameras, broken)
    warnings += idle_kinds(options.alerts.rules, cameras, broken)
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


class _Level:
    """The top of the file or one camera on its way from raw values to options; gathers its mistakes.

    Args:
        written: as it stands in the file; a group or a place without a value counts as not written.
        defaults: what its groups are laid over, key by key.
        camera: its name; None at the top.
        secrets: a folder of them, which is looked into last.
    """

    def __init__(
        self,
        written: Any,
        defaults: CameraOptions,
        camera: str | None = None,
        secrets: Path | None = None,
    ) -> None:
        self.camera = camera
        self.raw: dict[str, Any] = {}
        self.problems: list[ConfigError] = []
        self.warnings: list[str] = []
        self._wrong_keys: set[str] = set()
        self.mistaken: set[str] = set()  # keys of this level that pydantic refuses
        self._old_keys: dict[str, str] = {}  # in use here, by new key
        if not isinstance(written, dict):
            self.add("url", "the camera must be a map with at least a url; does each colon have its space?")
            return
        filled = {key: value for key, value in written.items() if value is not None or key in _NULLABLE}
        filled = fill_secrets(filled, "", self.add, secrets)
        self.raw = {key: value for key, value in filled.items() if key not in NEW_KEYS}
        for old in [key for key in filled if key in NEW_KEYS]:
            self._regroup(old, filled[old])
        for group in CameraOptions.model_fields:
            own, outer = self.raw.get(group, {}), getattr(defaults, group)
            if isinstance(own, dict):
                self.raw[group] = {**dict(outer), **(_written_places(own) if group == "rules" else own)}

    def _regroup(self, old: str, value: Any) -> None:
        """Move the value of an old key into its group."""
        group, key = NEW_KEYS[old]
        section = self.raw.get(group, {})
        if not isinstance(section, dict):
            return  # the group itself is refused
        if key in section and section[key] != value:
            self.add(old, f"contradicts {group}.{key}; remove {old}, the old name")
            return
        self.raw[group] = {**section, key: value}
        self._old_keys[f"{group}.{key}"] = old
        where = f"camera {self.camera!r}, " if self.camera else ""
        self.warnings.append(f"{where}key {old!r} is now {group}.{key}; the next release reads only that")

    def add(self, key: str, problem: str) -> None:
        """Note a mistake, unless something is known to be wrong with the key already."""
        for new, old in self._old_keys.items():
            if key == new or key.startswith(f"{new}."):
                key = old + key.removeprefix(new)
        key = redact(key)
        if key not in self._wrong_keys:
            self._wrong_keys.add(key)
            self.problems.append(ConfigError(key, problem, camera=self.camera))

    def validate(self, model: type[_Options]) -> _Options | None:
        """The options, or None when there are mistakes; pydantic's are noted in our words.

        The input is not in them, since it may be a secret.
        """
        try:
            return model.model_validate(self.raw)
        except ValidationError as error:
            mistakes = error.errors(include_url=False)
            self.mistaken.update(str(item["loc"][0]) if item["loc"] else "" for item in mistakes)
            # Of a list whose only value is wrong pydantic says as well that it is too short: it is not.
            inside = {item["loc"][:depth] for item in mistakes for depth in range(len(item["loc"]))}
            mistakes = [x for x in mistakes if x["type"] != "too_short" or x["loc"] not in inside]
            for item in mistakes[:MAX_MISTAKES]:
                key = ".".join(str(part) for part in item["loc"])
                text = _TEXTS.get(item["type"], "{msg}").format(**item, **item.get("ctx", {}))
                text = text.replace("Input should be", "must be", 1)
                if item["type"] == "extra_forbidden":
                    text = _unknown_key(key, model)
                elif item["type"] != "missing" and item["input"] is None:
                    text = "has no value; write one, or remove the key"
                self.add(key, text)
            if more := len(mistakes[MAX_MISTAKES:]):
                self.add("…", f"{more} more mistakes are not listed; mend these first")
        return None

    def validate_camera(self, allow: AllowOptions) -> Camera | None:
        """The camera, with its name and URLs checked, or None."""
        if "name" in self.raw:
            self.add("name", "a camera's name is the key above it; remove this one")
        name = self.raw["name"] = self.camera or ""
        if not _CAMERA_NAME.fullmatch(name):
            self.add("cameras", "a name is 1 to 63 letters, digits, '_', '.' or '-'; first a letter or digit")
        elif name == SOURCE:
            self.add("cameras", "is the canary's name; choose another")
        camera = self.validate(Camera)
        for key in ("url", "sub_url"):
            url = self.raw.get(key)
            if isinstance(url, str) and (problem := url_problem(url, allow)):
                self.add(key, problem)
        if camera is not None and camera.output_url and (problem := output_problem(camera.output_url)):
            self.add("output.url", problem)
        return camera


def _same_outputs(cameras: Mapping[str, Camera]) -> Iterator[ConfigError]:
    """Cameras whose annotated video goes where another's goes already."""
    first: dict[str, str] = {}
    for name, camera in cameras.items():
        if camera.output_url and first.setdefault(camera.output_url, name) != name:
            problem = f"is that of camera {first[camera.output_url]!r}, too; write {{camera}} for the name"
            yield ConfigError("output.url", problem, name)


def _written_places(rules: Mapping[str, Any]) -> dict[str, Any]:
    """``rules`` without the maps and the places that have no value."""
    return {
        key: {name: place for name, place in places.items() if place is not None}
        if isinstance(places, dict)
        else places
        for key, places in rules.items()
        if places is not None
    }


def _unknown_key(key: str, model: type[BaseModel]) -> str:
    """What to do about a key that does not exist: the nearest spelling, of its neighbours or in any group."""
    *above, last = key.lower().split(".")
    places: dict[str, type[BaseModel]] = {"lines": Line, "zones": Zone}
    if len(above) > 2 and (place := places.get(above[1])):
        known = {name: ".".join([*above, name]) for name in place.model_fields}
    else:
        known = dict.fromkeys(_OF_URL, "url") if model is Camera else {"cameras": "cameras"}
        known |= {old: ".".join(new) for old, new in NEW_KEYS.items()}
        for name, path in sorted(_paths(model), key=lambda item: item[1].count(".")):  # the nearest first
            known.setdefault(name, path)
    if model is Camera and key in Config.model_fields:
        return "stands at the top of the file, not in a camera"
    near = difflib.get_close_matches(last, known, 1, 0.65)
    return f"is not a known key; {f'do you mean {known[near[0]]}?' if near else 'check its spelling'}"


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key below ``model``, with its dotted path."""
    for name, field in model.model_fields.items():
        yield name, prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _paths(field.annotation, f"{prefix}{name}.")
