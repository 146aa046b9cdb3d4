"""Starts the GStreamer camera of ``gst_camera.py``, or skips where GStreamer is not installed."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.waiting import until


@dataclass(frozen=True)
class GstCamera:
    """A camera that runs, at rtsp://127.0.0.1:PORT/cam."""

    port: int
    output: Path

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self.output.read_text().count("client")


@contextlib.contextmanager
def gst_camera(video: Path, *words: str) -> Iterator[GstCamera]:
    """Serve ``video``, to each client from its beginning; ``words``: those of ``gst_camera.py``."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name("gst_camera.py")), str(video), *words]
    with tempfile.NamedTemporaryFile() as file:
        output = Path(file.name)
        try:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
        except OSError as error:
            pytest.skip(f"no system Python: {error}")
        try:
            until(lambda: "\n" in output.read_text() or process.poll() is not None, 20)
            if process.poll() is not None:
                pytest.skip("no GStreamer RTSP server (Debian: gir1.2-gst-rtsp-server-1.0 and plugins)")
            yield GstCamera(int(output.read_text().split()[0]), output)
        finally:
            process.kill()
            process.wait()
