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
    with _program("gst_camera.py", str(video), *words) as (_, output):
        yield GstCamera(int(output.read_text().split()[0]), output)


@contextlib.contextmanager
def gst_recorder(port: int, out: Path, *login: str) -> Iterator[subprocess.Popen[bytes]]:
    """A media server that records what is pushed to rtsp://127.0.0.1:PORT/boxes; login: user and password."""
    with _program("gst_recorder.py", str(port), str(out), *login) as (process, _):
        yield process


@contextlib.contextmanager
def _program(name: str, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """One of the programs for the system's Python, once it has printed its port, and what it prints."""
    command = ["/usr/bin/python3", str(Path(__file__).with_name(name)), *words]
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
            yield process, output
        finally:
            process.kill()
            process.wait()
