"""One camera's options, in groups; the same groups at the top of the file are every camera's defaults."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

from sightline.config.drift_options import DriftOptions
from sightline.config.old_keys import NEW_KEYS
from sightline.config.option_group import CAMERA, HOT, OptionGroup
from sightline.config.shadow_options import ShadowOptions
from sightline.config.track_log_options import TrackLogOptions
from sightline.config.zones import MAX_PLACES, Line, PlaceName, Zone

DAY_S = 86_400
#: Groups whose options shape what is counted.
SHAPING = ("stream", "detect", "track", "count", "rules")


class RtspTransport(StrEnum):
    """How RTP travels."""

    TCP = "tcp"
    UDP = "udp"


class StreamOptions(OptionGroup):
    """``stream``: how a camera's pictures are fetched and decoded."""

    fps: Annotated[float, Field(gt=0, le=120)] | None = Field(
        None,
        description="Frames a second to analyse, gated on media time; null takes every frame.",
        json_schema_extra=HOT,
    )
    rtsp_transport: RtspTransport = Field(
        RtspTransport.TCP, description="How RTP travels: tcp or udp.", json_schema_extra=CAMERA
    )
    verify_tls: bool = Field(
        True, description="rtsps and https: check the server's certificate.", json_schema_extra=CAMERA
    )
    tls_ca_file: Path | None = Field(
        None, description="rtsps: certificate authorities to trust (PEM).", json_schema_extra=CAMERA
    )
    open_timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        10.0, description="Give up opening a stream after this long.", json_schema_extra=CAMERA
    )
    stall_timeout_s: Annotated[float, Field(gt=0, le=60)] = Field(
        8.0, description="A stream that sends nothing for this long is reopened.", json_schema_extra=CAMERA
    )
    skip_non_reference: bool = Field(
        False,
        description="Do not decode frames that no other frame needs: cheaper, fewer frames.",
        json_schema_extra=CAMERA,
    )
    hardware_decoder: str | None = Field(
        None,
        description="auto (an NVIDIA GPU where there is one), cuda, vaapi, …; null decodes on the CPU.",
        json_schema_extra=CAMERA,
    )
    max_clock_skew_s: Annotated[float, Field(gt=0)] = Field(
        10.0,
        description="A camera clock that differs from ours by more than this is not believed.",
        json_schema_extra=CAMERA,
    )


class DetectOptions(OptionGroup):
    """``detect``: which detector, and which of its boxes are taken."""

    model: str | None = Field(
        None,
        description="Served detector of the camera; null: triton.model.",
        json_schema_extra=CAMERA,
    )
    min_score: Annotated[float, Field(ge=0, le=1)] = Field(
        0.25,
        description="A track starts only from a box with at least this score.",
        json_schema_extra=HOT,
    )
    dedupe_iou: Annotated[float, Field(gt=0, le=1)] = Field(
        0.6,
        description="A box that overlaps one of its class with a higher score by this IoU is a duplicate.",
        json_schema_extra=HOT,
    )


class TrackOptions(OptionGroup):
    """``track``: when a track counts, and when it ends."""

    confirm_s: Annotated[float, Field(ge=0, le=60)] = Field(
        0.5, description="A track counts once it has been seen for this long.", json_schema_extra=HOT
    )
    max_lost_s: Annotated[float, Field(gt=0, le=60)] = Field(
        3.0, description="A track not seen for this long, while watched, has ended.", json_schema_extra=HOT
    )
    max_gap_s: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="After a longer gap in the stream all tracks end.", json_schema_extra=HOT
    )


class CountOptions(OptionGroup):
    """``count``: what is counted, and in which windows."""

    window_s: Annotated[int, Field(ge=1, le=DAY_S)] = Field(
        60,
        description="Length of a counting window in seconds; a divisor of a day, aligned to UTC.",
        json_schema_extra=HOT,
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="Class names to count, as the model names them; null counts every class.",
        json_schema_extra=HOT,
    )

    @field_validator("window_s")
    @classmethod
    def _check_window(cls, window_s: int) -> int:
        if DAY_S % window_s:
            raise PydanticCustomError("window", f"{window_s} does not divide a day (86400 s)")
        return window_s


class RulesOptions(OptionGroup):
    """``rules``: places in the picture where events are made."""

    lines: Annotated[dict[PlaceName, Line], Field(max_length=MAX_PLACES)] = Field(
        default_factory=dict,
        description="Lines by name; crossing one makes an event.",
        json_schema_extra=HOT,
    )
    zones: Annotated[dict[PlaceName, Zone], Field(max_length=MAX_PLACES)] = Field(
        default_factory=dict,
        description="Zones by name; entering, leaving or staying in one makes an event.",
        json_schema_extra=HOT,
    )


class CameraOptions(OptionGroup):
    """Groups that may stand at the top as defaults and in a camera as its own."""

    stream: StreamOptions = Field(StreamOptions(), description="Fetching and decoding pictures.")
    detect: DetectOptions = Field(DetectOptions(), description="The detector and its boxes.")
    track: TrackOptions = Field(TrackOptions(), description="When tracks count and when they end.")
    count: CountOptions = Field(CountOptions(), description="What is counted, in which windows.")
    rules: RulesOptions = Field(RulesOptions(), description="Lines and zones that make events.")
    track_log: TrackLogOptions = Field(TrackLogOptions(), description="Tracks kept frame by frame.")
    drift: DriftOptions = Field(
        DriftOptions(),
        description="Numbers and, by consent, pictures that tell whether the detector gets worse.",
    )
    shadow: ShadowOptions = Field(
        ShadowOptions(), description="A candidate that sees a sample of the live frames, for comparison."
    )


class Camera(CameraOptions):
    """One camera, defaults filled in."""

    name: str = Field(json_schema_extra=CAMERA)
    url: SecretStr = Field(
        description="rtsp(s)://…; http(s)://… or a file where the config allows it.",
        json_schema_extra=CAMERA,
    )
    sub_url: SecretStr | None = Field(
        None,
        description="The camera's smaller stream; preferred when given.",
        json_schema_extra=CAMERA,
    )
    enabled: bool = Field(True, description="False: keep the entry, do not run it.", json_schema_extra=CAMERA)

    @property
    def source_url(self) -> str:
        """The URL to open, with its credentials: for the source alone, never for a text."""
        return (self.sub_url or self.url).get_secret_value()

    def shaping_options(self) -> dict[str, Any]:
        """What shapes this camera's counts, JSON-able.

        Stored rows and kept shadow episodes hold this form or its hash, so options of the first release keep
        their old keys here, and a later one is left out while it has its default.
        """
        old_keys = {place: old for old, place in NEW_KEYS.items()}
        shaping = {}
        for group in SHAPING:
            options: OptionGroup = getattr(self, group)
            defaults = type(options)().model_dump(mode="json")
            for key, value in options.model_dump(mode="json").items():
                old = old_keys.get((group, key))
                if old is not None:
                    shaping[old] = value
                elif value != defaults[key]:
                    shaping[f"{group}.{key}"] = value
        return shaping

    @property
    def config_hash(self) -> str:
        """SHA-256 (first 16 hex digits) of what shapes this camera's counts; URLs are left out."""
        shaping = {key: value for key, value in self.shaping_options().items() if value != {}}
        shaping["name"] = self.name
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


class AllowOptions(OptionGroup):
    """``allow``: what camera URLs may be besides rtsp and rtsps."""

    files: bool = Field(False, description="Allow paths and file:// URLs.", json_schema_extra=HOT)
    http: bool = Field(False, description="Allow http:// and https:// URLs.", json_schema_extra=HOT)


def url_problem(url: str, allow: AllowOptions) -> str:
    """What is wrong with a camera's URL, and the cure; "" when nothing is."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        return "is not a URL (is a special character unescaped?)"
    problem = ""
    if scheme in {"", "file"}:
        if not allow.files:
            problem = "files are not allowed; set allow.files: true to allow them"
    elif "{" in url or "}" in url:
        problem = "has braces; a placeholder is written {SIGHTLINE_NAME}, in capitals"
    elif ":" in parts.netloc and "@" not in parts.netloc and "@" in url:
        problem = (
            "has an '@' behind its host; in a password write / as %2F, ? as %3F, # as %23; else @ as %40"
        )
    elif scheme not in {"rtsp", "rtsps", "http", "https"}:
        problem = f"scheme {scheme!r} is not one of rtsp, rtsps, http, https, file"
    elif scheme in {"http", "https"} and not allow.http:
        problem = f"{scheme} is not allowed; set allow.http: true to allow it"
    elif not host:
        problem = f"names no host after {scheme}://"
    return problem
