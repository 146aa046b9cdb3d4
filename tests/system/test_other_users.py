"""What another user of this machine can open of a Sightline at work: nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sightline.inference.leftovers import PREFIX, SHM_FOLDER
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support import toy
from support.system import System

NOBODY = 65534
PASSWORD = "hunter2-of-the-door"
OPEN = f"""
import os, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
for path in sys.argv[1:]:
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, flags))
            print("OPENED", path)
        except PermissionError:
            pass
"""


@pytest.mark.triton
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_files_shared_memory_and_environments_are_closed(
    toy_triton: TritonServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sl-open-"))  # pytest's own folder is closed as a whole
    folder.chmod(0o755)
    clip = toy.write_clip(tmp_path / "clip.mp4", [toy.Passage(0, 6)], seconds=6)
    monkeypatch.setenv("SIGHTLINE_DOOR", PASSWORD)
    with RtspServer({"door": clip}) as server:
        url = server.url("door").replace("rtsp://", "rtsp://user:{SIGHTLINE_DOOR}@")
        with System(folder, {"door": {"url": url}}, triton_url=toy_triton.grpc_url) as system:
            system.until_state("door", "online")
            given = {folder / "config.yml", folder / "log"}  # the test's own
            files = {path for path in folder.rglob("*") if path.is_file()} - given
            segments = {*SHM_FOLDER.glob(f"{PREFIX}*")}
            assert folder / "sightline.db" in files
            assert segments
            environments = [Path(f"/proc/{worker.pid}/environ") for worker in system.workers()]
            assert environments
            assert not any(PASSWORD in path.read_text() for path in environments)
            command = [sys.executable, "-c", OPEN, *map(str, [*files, *segments, *environments])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stdout == ""
            for process in [system.process.pid, *(worker.pid for worker in system.workers())]:
                assert PASSWORD not in Path(f"/proc/{process}/cmdline").read_text()
            assert PASSWORD not in system.log() + system.get("/status")[1] + system.get("/metrics")[1]
    shutil.rmtree(folder)
