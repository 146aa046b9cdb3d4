"""Starts the GStreamer camera of ``gst_camera.py``, or skips where GStreamer is not installed."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def gst_camera(video: Path, *login: str) -> Iterator[int]:
    """Serve ``video`` at rtsp://127.0.0.1:PORT/cam; ``login`` (user, password) is asked for. Gives PORT."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name("gst_camera.py")), str(video), *login]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        pytest.skip(f"no system Python: {error}")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.skip("no GStreamer RTSP server (Debian: gir1.2-gst-rtsp-server-1.0 and gstreamer plugins)")
        yield int(line)
    finally:
        process.kill()
        process.communicate()
