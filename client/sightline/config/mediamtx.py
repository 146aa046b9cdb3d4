"""What MediaMTX is told so that it records the cameras of a configuration."""

import secrets
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import yaml

from sightline.base.same_origin import LOOPBACK
from sightline.config.camera import Camera
from sightline.config.recording_options import RecordingOptions

PLAYBACK, API_PORT = "127.0.0.1:9996", 9997
_HERE = {f"[{name}]" if ":" in name else name for name in LOOPBACK}
SERVERS = ("rtsp", "rtmp", "hls", "webrtc", "srt", "metrics", "pprof")  # that nobody needs here


def why_not_recorded(camera: Camera, *, uncovered: bool = False) -> str:
    """Why a camera is left out; empty: it is not.

    Args:
        camera: which.
        uncovered: what ``privacy`` covers elsewhere may be recorded as it is.
    """
    if not camera.enabled:
        return "it is disabled"
    if urlsplit(_main_url(camera)).scheme not in {"rtsp", "rtsps"}:
        return "it does not come by RTSP"
    if camera.privacy.blur and not uncovered:
        return "nothing would be blurred, which its privacy asks for; --uncovered records it all the same"
    return ""


def _main_url(camera: Camera) -> str:
    return camera.model_copy(update={"sub_url": None}).source_url


def recorder_yaml(
    cameras: Iterable[Camera], options: RecordingOptions, folder: str, playback: str = PLAYBACK
) -> str:
    """MediaMTX's configuration, with the cameras' credentials: a secret.

    On loopback, recordings are played without a password, by this machine alone; elsewhere with one that is
    made here, unless MTX_AUTHINTERNALUSERS_0_PASS says another.

    Args:
        cameras: those that are recorded, by their main streams.
        options: how long recordings stay.
        folder: where they are kept.
        playback: address and port at which they are played.
    """
    paths = {
        camera.name: {"source": _main_url(camera), "rtspTransport": camera.stream.rtsp_transport}
        for camera in cameras
    }
    is_here = playback.rpartition(":")[0] in _HERE
    recorder: dict[str, Any] = {
        "logLevel": "info",
        **dict.fromkeys(SERVERS, False),
        "api": True,
        "apiAddress": f"127.0.0.1:{API_PORT}",
        "playback": True,
        "playbackAddress": playback,
        "authMethod": "internal",
        "authInternalUsers": [
            {
                "user": "any" if is_here else "reader",
                "pass": "" if is_here else secrets.token_urlsafe(24),
                "ips": ["127.0.0.1", "::1"] if is_here else [],
                "permissions": [{"action": "playback"}],
            },
            {"user": "any", "ips": ["127.0.0.1"], "permissions": [{"action": "api"}]},  # the health check
        ],
        "pathDefaults": {
            "record": True,
            "recordPath": f"{folder}/%path/%Y-%m-%d_%H-%M-%S-%f",
            "recordFormat": "fmp4",
            "recordPartDuration": "1s",
            "recordSegmentDuration": "1h",
            "recordDeleteAfter": f"{max(1, round(24 * options.keep_days))}h",
        },
        "paths": paths,
    }
    return yaml.safe_dump(recorder, sort_keys=False)
