"""What MediaMTX is told so that it records the cameras of a configuration."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import yaml

from sightline.config.camera import Camera
from sightline.config.recording_options import RecordingOptions

PLAYBACK_PORT, API_PORT = 9996, 9997
SERVERS = ("rtsp", "rtmp", "hls", "webrtc", "srt", "metrics", "pprof")  # that nobody needs here


def recorder_yaml(cameras: Iterable[Camera], options: RecordingOptions, folder: str) -> str:
    """MediaMTX's configuration, with the cameras' credentials: a secret.

    The main stream of each camera is recorded; disabled ones are left out, and what does not come by RTSP.

    Args:
        cameras: all of them.
        options: how long recordings stay.
        folder: where they are kept.
    """
    paths: dict[str, Any] = {}
    for camera in cameras:
        source = camera.model_copy(update={"sub_url": None}).source_url
        if camera.enabled and urlsplit(source).scheme in {"rtsp", "rtsps"}:
            paths[camera.name] = {"source": source, "rtspTransport": camera.stream.rtsp_transport}
    recorder: dict[str, Any] = {
        "logLevel": "info",
        **dict.fromkeys(SERVERS, False),
        "api": True,
        "apiAddress": f"127.0.0.1:{API_PORT}",
        "playback": True,
        "playbackAddress": f":{PLAYBACK_PORT}",
        "authMethod": "internal",
        "authInternalUsers": [
            {
                "user": "reader",
                "pass": "",
                "permissions": [{"action": "playback"}],
            },  # MTX_AUTHINTERNALUSERS_0_PASS
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
