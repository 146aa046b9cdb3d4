"""The configuration of a running Sightline changes: by SIGHUP, for better or worse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.system import System
from support.waiting import until


def last_change(system: System) -> dict[str, Any]:
    body = system.get("/status")[1]
    return json.loads(body)["config"]["last"] if body else {}


def test_no_file_however_broken_makes_the_program_deaf(tmp_path: Path) -> None:
    cameras = {"gone": {"url": "rtsp://127.0.0.1:1/x"}}
    with System(tmp_path, cameras, triton_url="127.0.0.1:1") as system:
        system.until_state("gone", "offline")
        path = tmp_path / "config.yml"
        for broken in (b"cameras: [", b"# T\xfcr\n", b"a: &a [*a]\n", b"x: 2024-13-45\n", b"\x00", None):
            before = last_change(system)["time"]
            path.unlink()
            if broken is not None:
                path.write_bytes(broken)
            system.reload()
            until(lambda before=before: last_change(system).get("time", before) != before)
            assert last_change(system)["outcome"] == "refused"
        path.mkdir()  # an error that nobody has thought of
        system.reload()
        path.rmdir()
        system.options = {**system.options, "log_level": "debug", "cameras_per_worker": 3}
        system.write_config(cameras)
        system.reload()
        until(lambda: last_change(system)["outcome"] == "applied")
        shown = subprocess.run(
            [sys.executable, "-m", "sightline", "status", "-c", str(path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "log_level info → debug: applied at once" in shown
        assert "cameras_per_worker 16 → 3: needs a restart of the program" in shown
        assert system.stop() < 10
