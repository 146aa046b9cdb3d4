"""What a person may write in ``config.yml``."""

from sightline.config.camera import AllowOptions, Camera, CameraOptions, RtspTransport, StreamOptions
from sightline.config.database_options import DatabaseOptions
from sightline.config.http_options import HttpOptions
from sightline.config.loader import (
    Config,
    LoadedConfig,
    canary_camera,
    json_schema,
    load_config,
    parse_config,
    parse_text,
)
from sightline.config.triton_options import Transport, TritonOptions

__all__ = [
    "AllowOptions",
    "Camera",
    "CameraOptions",
    "Config",
    "DatabaseOptions",
    "HttpOptions",
    "LoadedConfig",
    "RtspTransport",
    "StreamOptions",
    "Transport",
    "TritonOptions",
    "canary_camera",
    "json_schema",
    "load_config",
    "parse_config",
    "parse_text",
]
