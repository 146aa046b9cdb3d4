"""One camera with its defaults filled in, and what its URL may be."""

import hashlib
import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr

from sightline.config.groups import BRACES, AllowOptions, Blurred, CameraOptions
from sightline.config.option_group import Effect, OptionGroup, hot, matching, reopens

#: Groups whose options shape what is counted.
SHAPING = ("stream", "detect", "track", "count", "rules")
HTTP = ("http", "https")
SCHEMES = ("rtsp", "rtsps", *HTTP)
_RENAMED = {
    "second_box_overlap": ("detect", "dedupe_iou"),
    "lost_s": ("track", "max_lost_s"),
    "blind_s": ("track", "max_gap_s"),
    "keep_tracks": ("track_log", "folder"),
    "keep_tracks_max_bytes": ("track_log", "max_bytes"),
}
_MOVED = {
    "stream": (
        *("fps", "rtsp_transport", "verify_tls", "tls_ca_file", "open_timeout_s", "stall_timeout_s"),
        *("skip_non_reference", "hardware_decoder", "max_clock_skew_s"),
    ),
    "detect": ("model", "min_score"),
    "track": ("confirm_s",),
    "count": ("classes", "window_s"),
    "track_log": ("time_code",),
    "rules": ("lines", "zones"),
}
#: The flat keys of the first release, accepted with a warning until the next one: group and key of each now.
NEW_KEYS = _RENAMED | {key: (group, key) for group, keys in _MOVED.items() for key in keys}
_NOT_PRINTED = r"\x00-\x1f\x7f"
GroupName = Annotated[
    str,
    matching(
        rf"[^\s{_NOT_PRINTED}]([^{_NOT_PRINTED}]{{0,38}}[^\s{_NOT_PRINTED}])?",
        "is 1 to 40 characters, without spaces at its ends",
    ),
]


class Camera(CameraOptions):
    """One camera, defaults filled in."""

    name: str = Field(json_schema_extra={"effect": Effect.CAMERA.value})
    url: SecretStr = reopens(..., "rtsp(s)://…; http(s)://… or a file where the config allows it.")
    sub_url: SecretStr | None = reopens(None, "The camera's smaller stream; preferred when given.")
    enabled: bool = reopens(True, "False: keep the entry, do not run it.")
    groups: tuple[GroupName, ...] = hot((), "With which others it is shown, as a floor's.", max_length=16)

    @property
    def source_url(self) -> str:
        """The URL to open, with its credentials: for the source alone, never for a text."""
        url = (self.sub_url or self.url).get_secret_value()
        scheme, colon, rest = url.partition("://")
        # FFmpeg knows schemes in small letters only, and the zone of an IPv6 address only as it is.
        rest = re.sub(r"^([^/]*\[[^]/]*)%25", r"\1%", rest)
        return f"{scheme.lower()}{colon}{rest}" if colon else url

    @property
    def output_url(self) -> str:
        """Where its annotated video goes, with credentials: for what pushes it alone; "": nowhere."""
        url = self.output.url
        return url.get_secret_value().replace("{camera}", self.name) if url else ""

    @property
    def wants_sound(self) -> bool:
        """Whether the sound of that stream is taken too: clips are made of it."""
        return self.clips.enabled and self.clips.audio and not self.has_clip_stream

    @property
    def has_clip_stream(self) -> bool:
        """Whether clips are made of another stream than that, the main one."""
        return self.clips.enabled and self.clips.stream == "main" and self.sub_url is not None

    @property
    def video_url(self) -> str:
        """The URL of the stream that viewers see as it is, with its credentials: for the media server."""
        shown = self.model_copy(update={"sub_url": None}) if self.live.video == "main" else self
        return shown.source_url

    @property
    def video_problem(self) -> str:
        """Why nobody sees the camera's own video; "" where nothing is against it."""
        if self.privacy.blur:
            return "has privacy.blur: its video is shown with what that covers, and in no other way"
        if self.live.video == "off":
            return "has live.video off"
        if urlsplit(self.video_url).scheme not in SCHEMES[:2]:
            return "does not come by RTSP"
        return ""

    @property
    def file(self) -> Path | None:
        """The recording that it plays; None for a live camera."""
        parts = urlsplit(self.source_url)
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        return None if parts.scheme else Path(self.source_url)

    @property
    def sample_blur(self) -> tuple[Blurred, ...]:
        """What is blurred in pictures that are kept to look at the detector."""
        return tuple(dict.fromkeys((*self.drift.blur, *self.privacy.blur)))

    def shaping_options(self) -> dict[str, Any]:
        """What shapes this camera's counts, JSON-able.

        Stored rows and kept shadow episodes hold this form or its hash, so options of the first release keep
        their old keys here, and a later one is left out while it has its default.
        """
        old_keys = {place: old for old, place in NEW_KEYS.items()}
        shaping: dict[str, Any] = {}
        for group in SHAPING:
            options: OptionGroup = getattr(self, group)
            for key, value in options.model_dump(mode="json").items():
                if (group, key) in old_keys:
                    shaping[old_keys[group, key]] = value
                elif getattr(options, key) != type(options).model_fields[key].default:
                    shaping[f"{group}.{key}"] = value
        return shaping

    @property
    def config_hash(self) -> str:
        """SHA-256 (first 16 hex digits) of what shapes this camera's counts; URLs are left out."""
        shaping = {key: value for key, value in self.shaping_options().items() if value != {}}
        shaping["name"] = self.name
        return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:16]


def url_problem(url: str, allow: AllowOptions) -> str:
    """What is wrong with a camera's URL, and the cure; "" when nothing is."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        _ = parts.port  # raises on a port that is no number
    except ValueError:
        return (
            "is not a URL; in a password write / as %2F, ? as %3F, # as %23, [ as %5B; "
            "a port is a number up to 65535; an IPv6 address stands in brackets, as rtsp://[::1]/live"
        )
    # FFmpeg sends a URL as it is, and what it decodes of it too: a line break would begin a header.
    controls = any(char < " " or char == "\x7f" for char in unquote(url))
    if not url:
        return "is empty; write rtsp://HOST/PATH"
    if scheme in {"", "file"}:
        if host not in {None, "localhost"}:
            return f"names the host {host!r}; a file is written file:///FOLDER/FILE or as a path"
        if not allow.files:
            return "is a file's path; set allow.files: true to allow files, or write rtsp://HOST/PATH"
        return "has a control character; remove it" if controls else ""
    late_at = ":" in parts.netloc and "@" not in parts.netloc and "@" in url
    at_cure = "in a password write / as %2F, ? as %3F, # as %23; else @ as %40"
    unsendable = controls or any(char.isspace() for char in url)
    number = re.fullmatch(r"[\d.]+", host or "") and not _is_address(host or "")
    problems = (
        (unsendable, "has a space or a control character; a space is written %20, and no other may be there"),
        ("\ufffd" in unquote(url), "has a % that begins no character; in a password % is written %25"),
        ("{" in url or "}" in url, BRACES),
        (late_at, f"has an '@' behind its host; {at_cure}"),
        (scheme not in SCHEMES, f"scheme {scheme!r} is not one of {', '.join(SCHEMES)}, file"),
        (scheme in HTTP and not allow.http, f"{scheme} is not allowed; set allow.http: true to allow it"),
        (not host, f"names no host after {scheme}://"),
        (number, f"{host} is no IP address: it has four numbers up to 255"),
    )
    return next((text for wrong, text in problems if wrong), "")


def output_problem(url: str) -> str:
    """What is wrong with the URL to which annotated video goes; "" when nothing is."""
    scheme = urlsplit(url).scheme.lower() if "://" in url else ""
    if scheme not in {"rtsp", "rtsps"}:
        return "is no address to push to; write rtsp://USER:PASSWORD@HOST/PATH, or rtsps"
    return url_problem(url, AllowOptions())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
