"""Cameras that are dead in five ways, the names of some asked of servers that do not answer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.toy import Passage, write_clip

MINUTES = float(os.environ.get("SIGHTLINE_DEAD_MINUTES", "1"))  # ten in `make soak`
TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench" / "dead_cameras.py"


def run(folder: Path, *arguments: str) -> dict[str, object]:
    command = [sys.executable, str(TOOL), *arguments, "--json", str(folder / "report.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200 + 60 * MINUTES, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, object] = json.loads((folder / "report.json").read_bytes())
    return report


@pytest.mark.fault(2, 3, 27, 28)
@pytest.mark.long
@pytest.mark.rtsp
@pytest.mark.timeout(300 + 60 * MINUTES)
def test_a_good_camera_among_sixty_dead_ones_is_online_and_stays_so(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", [Passage(0, 1e6)], seconds=5)
    report = run(tmp_path, "--minutes", str(MINUTES), "--video", str(clip))
    assert report["told"] == 60  # the status says of each why


@pytest.mark.fault(29)
@pytest.mark.long
def test_two_hundred_dead_cameras_start_and_stop(tmp_path: Path) -> None:
    run(tmp_path, "--cameras", "200", "--good", "0", "--minutes", "0")
