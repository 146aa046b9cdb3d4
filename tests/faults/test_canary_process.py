"""The canary's own process: where it cannot run the cameras do, and one that dies is replaced."""

from pathlib import Path

import psutil
import pytest

from sightline.config.groups import CanaryOptions
from sightline.simulation.canary import Canary
from support.system import System
from support.waiting import until


@pytest.mark.fault(24)
def test_a_folder_that_cannot_be_written_ends_no_camera(tmp_path: Path) -> None:
    folder = Path("/proc/canary")  # not even root makes a folder there
    canary = {"enabled": True, "folder": str(folder)}
    cameras = {"gone": {"url": "rtsp://127.0.0.1:1/x"}}
    with System(tmp_path, cameras, triton_url="127.0.0.1:1", canary=canary) as system:
        system.until_state("gone", "offline")
        until(lambda: "the canary cannot start" in system.log(), 20)
        assert "canary.folder must be writable" in system.log()
        assert system.stop() < 10


@pytest.mark.fault(24)
def test_its_process_is_replaced_when_it_dies_and_ends_with_its_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def process() -> psutil.Process | None:
        running = psutil.process_iter(["cmdline"])  # None of one that has ended
        return next((one for one in running if str(tmp_path) in (one.info["cmdline"] or ())), None)

    canary = Canary(CanaryOptions(enabled=True, folder=tmp_path), f"sqlite:///{tmp_path / 'x.db'}")
    canary.start()
    try:
        until(lambda: process() is not None, 20)
        first = process()
        assert first is not None
        first.kill()
        until(lambda: (now := process()) is not None and now.pid != first.pid, 20)
        assert "the canary ended with -9" in caplog.text
    finally:
        canary.stop()
    assert process() is None
