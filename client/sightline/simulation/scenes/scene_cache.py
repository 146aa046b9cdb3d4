"""Scenes as cameras of an RTSP server: live, or from a file rendered once."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import asdict, fields
from pathlib import Path

from sightline.simulation.scenes.encode import Coding, render
from sightline.simulation.scenes.spec import SceneSpec

VERSION = 2  # of the pictures: raise it when they change, so that old files are not used


def live_command(spec: SceneSpec, coding: Coding) -> list[str]:
    """What :class:`RtspServer` runs for a camera that is drawn while it is watched."""
    return [
        sys.executable,
        "-m",
        "sightline.simulation.scenes",
        "stream",
        *options_of(spec, coding),
        "{output}",
    ]


def cache_path(spec: SceneSpec, coding: Coding, length_s: float, folder: Path) -> Path:
    """Where in a folder the scene's video is, or will be."""
    what = repr((VERSION, sorted(asdict(spec).items()), sorted(asdict(coding).items()), length_s))
    return folder / f"{spec.scene}-{spec.seed}-{hashlib.sha256(what.encode()).hexdigest()[:16]}.mp4"


def cached(spec: SceneSpec, coding: Coding, length_s: float, folder: Path) -> Path:
    """The scene as a video file in a folder, rendered on first use; the server loops such a file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = cache_path(spec, coding, length_s, folder)
    if not path.is_file():
        render(spec, coding, length_s, path)
    return path


def render_command(spec: SceneSpec, coding: Coding, length_s: float, path: Path) -> list[str]:
    """The program that renders a scene into a file."""
    options = [*options_of(spec, coding), "--length", str(length_s)]
    return [sys.executable, "-m", "sightline.simulation.scenes", "render", *options, str(path)]


def options_of(spec: SceneSpec, coding: Coding) -> list[str]:
    """The command-line options that stand for a spec and a coding."""
    words = []
    for part in (spec, coding):
        for field in fields(part):
            words += [f"--{field.name.replace('_', '-')}", f"{getattr(part, field.name)}"]
    return words
