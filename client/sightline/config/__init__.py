"""What a person may write in ``config.yml``."""

from sightline.config.camera import Camera
from sightline.config.class_names import unknown_alert_classes, unknown_classes
from sightline.config.groups import Config, Transport, TritonOptions
from sightline.config.loader import (
    ConfigOutline,
    LoadedConfig,
    canary_camera,
    json_schema,
    load_config,
    load_outline,
    parse_config,
)
from sightline.config.paths import program_path_problems

__all__ = [
    "Camera",
    "Config",
    "ConfigOutline",
    "LoadedConfig",
    "Transport",
    "TritonOptions",
    "canary_camera",
    "json_schema",
    "load_config",
    "load_outline",
    "parse_config",
    "program_path_problems",
    "unknown_alert_classes",
    "unknown_classes",
]
