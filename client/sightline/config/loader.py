"""``config.yml``: what to watch, and how.

Global values are defaults and a camera overrides them. Names are snake_case, times are seconds.
Secrets come in as ``{SIGHTLINE_…}`` placeholders, from the environment or from a file of that name (any
case) in ``/run/secrets``. A bad value of one camera is that camera's problem; the others run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from sightline.config.canary_options import SOURCE, CanaryOptions
from sightline.config.drift_options import DriftOptions
from sightline.config.shadow_options import ShadowOptions
from sightline.config.zones import MAX_PLACES, Line, PlaceName, Zone
from sightline.errors import ConfigError

SECRETS_FOLDER = Path("/run/secrets")
DAY_S = 86_400
_PLACEHOLDER = re.compile(r"\{(SIGHTLINE_[A-Z0-9_]+)\}")
_CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


_NOT_SHAPING = {"url", "sub_url", "enabled", "keep_tracks", "keep_tracks_max_bytes", "time_code"}
_NOT_SHAPING |= {"drift", "shadow"}


class RtspTransport(StrEnum):
    """How RTP travels."""

    TCP = "tcp"
    UDP = "udp"


class Transport(StrEnum):
    """How pictures reach Triton."""

    AUTO = "auto"  # cuda, else system, else grpc: the first that client and server can share
    CUDA = "cuda"
    SYSTEM = "system"
    GRPC = "grpc"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraOptions(_Strict):
    """Values that may stand at the top as defaults and in a camera as its own."""

    model: str | None = Field(None, description="Served detector of the camera; null: triton.model.")
    fps: Annotated[float, Field(gt=0, le=120)] | None = Field(
        None, description="Frames a second to analyse, gated on media time; null takes every frame."
    )
    classes: tuple[str, ...] | None = Field(
        None, description="Class names to count, as the model names them; null counts every class."
    )
    min_score: Annotated[float, Field(ge=0, le=1)] = Field(
        0.25, description="A track starts only from a box with at least this score."
    )
    second_box_overlap: Annotated[float, Field(gt=0, le=1)] = Field(
        0.6,
        description="A box that overlaps a surer one of its class by this (IoU) is the same object again.",
    )
    window_s: Annotated[int, Field(ge=1, le=DAY_S)] = Field(
        60, description="Length of a counting window in seconds; a divisor of a day, aligned to UTC."
    )
    confirm_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.5, description="A track counts once it has been seen for this long."
    )
    lost_s: Annotated[float, Field(gt=0, le=60)] = Field(
        3.0, description="A track not seen for this long, while watched, has ended."
    )
    blind_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="After a longer gap in the stream everybody in view is somebody new."
    )
    rtsp_transport: RtspTransport = Field(RtspTransport.TCP, description="How RTP travels: tcp or udp.")
    verify_tls: bool = Field(True, description="rtsps and https: check the server's certificate.")
    tls_ca_file: Path | None = Field(None, description="rtsps: certificate authorities to trust (PEM).")
    open_timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        10.0, description="Give up opening a stream after this long."
    )
    stall_timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        8.0, description="A stream that sends nothing for this long is reopened."
    )
    skip_non_reference: bool = Field(
        False, description="Do not decode frames that no other frame needs: cheaper, fewer frames."
    )
    hardware_decoder: str | None = Field(
        None,
        description="auto (an NVIDIA GPU where there is one), cuda, vaapi, …; null decodes on the CPU.",
    )
    max_clock_skew_s: Annotated[float, Field(gt=0)] = Field(
        10.0, description="A camera clock further off than this from ours is not believed."
    )
    keep_tracks: Path | None = Field(
        None, description="Folder for what the tracker saw, frame by frame; null keeps nothing."
    )
    keep_tracks_max_bytes: Annotated[int, Field(ge=100_000)] = Field(
        200_000_000, description="Bound of a camera's kept tracks; the older half goes first."
    )
    time_code: bool = Field(
        False, description="Read the time code of a simulated camera's pictures into the kept tracks."
    )
    lines: Annotated[dict[PlaceName, Line], Field(max_length=MAX_PLACES)] = Field(
        default_factory=dict, description="Lines by name; who crosses one makes an event."
    )
    zones: Annotated[dict[PlaceName, Zone], Field(max_length=MAX_PLACES)] = Field(
        default_factory=dict, description="Zones by name; who enters, leaves or stays makes an event."
    )
    drift: DriftOptions = Field(
        DriftOptions(),
        description="Numbers and, by consent, pictures that tell whether the detector gets worse.",
    )
    shadow: ShadowOptions = Field(
        ShadowOptions(), description="A candidate that sees a sample of the live frames, for comparison."
    )


class Camera(CameraOptions):
    """One camera, defaults filled in."""

    name: str
    url: SecretStr = Field(description="rtsp(s)://…; http(s)://… or a file where the config allows it.")
    sub_url: SecretStr | None = Field(None, description="The camera's smaller stream; preferred when given.")
    enabled: bool = Field(True, description="False: keep the entry, do not run it.")

    @property
    def source_url(self) -> str:
        """The URL to open, with its credentials: for the source alone, never for a text."""
        return (self.sub_url or self.url).get_secret_value()

    @property
    def config_hash(self) -> str:
        """SHA-256 (first 16 hex digits) of what shapes this camera's counts; URLs are left out."""
        dumped = self.model_dump(mode="json", exclude=_NOT_SHAPING)
        shaping = {key: value for key, value in dumped.items() if value != {}}  # as before there were places
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


class TritonOptions(_Strict):
    """Where the detector is served."""

    url: str = Field("127.0.0.1:8001", description="host:port of Triton's gRPC.")
    model: str = Field("detector", description="Served detector of every camera that names none.")
    transport: Transport = Field(Transport.AUTO, description="How pictures reach Triton.")
    deadline_s: Annotated[float, Field(gt=0, le=60)] = Field(
        2.0, description="A frame without an answer after this long is dropped."
    )
    in_flight: Annotated[int, Field(ge=1, le=8)] = Field(
        3, description="Requests in flight for a camera; one more than the engine works on at once."
    )
    priority: Annotated[int, Field(ge=0, le=2)] = Field(0, description="Triton's queue priority; 0: default.")


class DatabaseOptions(_Strict):
    """Where results go."""

    url: SecretStr = Field(
        SecretStr("sqlite:///sightline.db"), description="sqlite:///FILE or postgresql://USER:…@HOST/NAME."
    )
    spool_path: Path = Field(
        Path("sightline-spool.db"), description="Keeps results on disk while the database is away."
    )
    spool_max_bytes: Annotated[int, Field(ge=1_000_000)] = Field(
        256_000_000, description="Bound of that file; when full, the oldest windows are dropped and counted."
    )


class HttpOptions(_Strict):
    """Health, metrics and live results."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(8080, description="Port; 0 picks a free one.")


class AllowOptions(_Strict):
    """What camera URLs may be besides rtsp and rtsps."""

    files: bool = Field(False, description="Allow paths and file:// URLs.")
    http: bool = Field(False, description="Allow http:// and https:// URLs.")


class Config(CameraOptions):
    """The whole file, as written; cameras still raw. :func:`load_config` gives the checked form."""

    triton: TritonOptions = TritonOptions()
    database: DatabaseOptions = DatabaseOptions()
    http: HttpOptions = HttpOptions()
    allow: AllowOptions = AllowOptions()
    canary: CanaryOptions = Field(
        CanaryOptions(), description="A simulated camera beside the real ones, judged all the time."
    )
    open_limit: Annotated[int, Field(ge=1)] = Field(8, description="Cameras that may be opening at once.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much to log.")
    cameras: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Cameras by name; each may override the defaults above."
    )


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can run, and what is wrong with the cameras that cannot."""

    options: Config
    cameras: Mapping[str, Camera]
    problems: tuple[ConfigError, ...]  # each names its camera


def load_config(path: Path) -> LoadedConfig:
    """Read and check a ``config.yml``.

    Raises:
        ConfigError: the file cannot be read, or a value outside the cameras is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror}); give -c FILE") from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise ConfigError(str(path), f"is not YAML{line}: {getattr(error, 'problem', error)}") from error
    if not isinstance(raw, dict):
        raise ConfigError(str(path), "must be a map with a key 'cameras'")
    return parse_config(raw)


def parse_config(raw: Mapping[str, Any]) -> LoadedConfig:
    """Check an already parsed configuration.

    Raises:
        ConfigError: a value outside the cameras is wrong.
    """
    top = {key: value for key, value in raw.items() if key != "cameras"}
    named = raw.get("cameras") or {}
    if not isinstance(named, dict):
        raise ConfigError("cameras", "must be a map of camera names")
    try:
        options = Config.model_validate(_fill_secrets(top))
    except ValidationError as error:
        raise _config_errors(error)[0] from None
    _check_window(options.window_s, None)
    if options.drift.consent:
        raise ConfigError("drift.consent", "is given camera by camera: write it into those that may be kept")
    defaults = {key: getattr(options, key) for key in CameraOptions.model_fields}
    cameras: dict[str, Camera] = {}
    problems: list[ConfigError] = []
    for name, value in named.items():
        try:
            cameras[str(name)] = _parse_camera(str(name), value, defaults, options.allow)
        except ConfigError as problem:
            problems.append(problem)
    raw_cameras: dict[str, dict[str, Any]] = {
        str(name): {} for name in named
    }  # what was written may hold secrets: keep the names
    return LoadedConfig(options.model_copy(update={"cameras": raw_cameras}), cameras, tuple(problems))


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``config.yml``, for editors."""
    schema = Config.model_json_schema()
    camera = Camera.model_json_schema()
    definitions = {**schema.get("$defs", {}), **camera.pop("$defs", {})}
    camera["properties"].pop("name")
    camera["required"] = ["url"]
    schema["$defs"] = {**definitions, "Camera": camera}
    schema["properties"]["cameras"]["additionalProperties"] = {"$ref": "#/$defs/Camera"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _parse_camera(name: str, value: Any, defaults: Mapping[str, Any], allow: AllowOptions) -> Camera:
    if not _CAMERA_NAME.fullmatch(name):
        raise ConfigError("cameras", "a name is 1 to 63 letters, digits, '_', '.' or '-'", camera=name)
    if name == SOURCE:
        raise ConfigError("cameras", "is the canary's name; choose another", camera=name)
    if not isinstance(value, dict):
        raise ConfigError("url", "the camera must be a map with at least a url", camera=name)
    own = _fill_secrets(value, camera=name)
    for key in ("drift", "shadow"):  # a camera's keys are laid over those at the top
        if isinstance(own.get(key), dict):
            own[key] = {**defaults[key].model_dump(), **own[key]}
    try:
        camera = Camera.model_validate({**defaults, **own, "name": name})
    except ValidationError as error:
        raise _config_errors(error, camera=name)[0] from None
    _check_window(camera.window_s, name)
    _check_url("url", camera.url.get_secret_value(), allow, name)
    if camera.sub_url is not None:
        _check_url("sub_url", camera.sub_url.get_secret_value(), allow, name)
    return camera


def canary_camera(options: Config, own: Mapping[str, Any]) -> Camera:
    """The canary's camera: plain defaults but for ``own``; what is set for others does not concern it."""
    value = {"window_s": options.window_s, **own, "name": SOURCE}
    return Camera.model_validate(value)


def _check_window(window_s: int, camera: str | None) -> None:
    if DAY_S % window_s:
        raise ConfigError("window_s", f"{window_s} does not divide a day (86400 s)", camera=camera)


def _check_url(key: str, url: str, allow: AllowOptions, camera: str) -> None:
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        raise ConfigError(key, "is not a URL (is a special character unescaped?)", camera=camera) from None
    if scheme in {"rtsp", "rtsps"} or (scheme in {"http", "https"} and allow.http):
        if not host:
            raise ConfigError(key, f"names no host after {scheme}://", camera=camera)
    elif scheme in {"http", "https"}:
        raise ConfigError(key, f"{scheme} is not allowed; set allow.http: true to allow it", camera=camera)
    elif scheme in {"", "file"}:
        if not allow.files:
            raise ConfigError(
                key, "files are not allowed; set allow.files: true to allow them", camera=camera
            )
    else:
        raise ConfigError(
            key, f"scheme {scheme!r} is not one of rtsp, rtsps, http, https, file", camera=camera
        )


def _fill_secrets(value: Any, *, key: str = "", camera: str | None = None) -> Any:
    """``value`` with every placeholder replaced; inside URLs the secret is percent-encoded."""
    if isinstance(value, dict):
        return {
            name: _fill_secrets(item, key=f"{key}.{name}" if key else str(name), camera=camera)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_fill_secrets(item, key=key, camera=camera) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        secret = _read_secret(match[1])
        if secret is None:
            problem = f"{{{match[1]}}} is neither in the environment nor in {SECRETS_FOLDER}"
            raise ConfigError(key, problem, camera=camera)
        # The whole value may be one placeholder that holds a complete URL; then it is taken as it is.
        return quote(secret, safe="") if "://" in value else secret

    return _PLACEHOLDER.sub(fill, value)


def _read_secret(name: str) -> str | None:
    if name in os.environ:
        return os.environ[name]
    for candidate in (name, name.lower()):
        path = SECRETS_FOLDER / candidate
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
    return None


def _config_errors(error: ValidationError, *, camera: str | None = None) -> list[ConfigError]:
    """Pydantic's findings in our words; the input is left out, since it may be a secret."""
    found = []
    for item in error.errors(include_input=False, include_url=False):
        key = ".".join(str(part) for part in item["loc"]) or "cameras"
        unknown = item["type"] == "extra_forbidden"
        problem = "is not a known key; check its spelling" if unknown else item["msg"]
        found.append(ConfigError(key, problem, camera=camera))
    return found
