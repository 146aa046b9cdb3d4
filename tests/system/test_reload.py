"""The configuration of a running Sightline changes: by SIGHUP, for better or worse."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System
from support.toy import Passage, write_clip
from support.waiting import until


def last_change(system: System) -> dict[str, Any]:
    body = system.get("/status")[1]
    return json.loads(body)["config"]["last"] if body else {}


@pytest.mark.fault(24)
@pytest.mark.fault(29)
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
        before = last_change(system)["time"]
        system.reload()
        until(lambda: last_change(system).get("time", before) != before)
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


def test_a_moved_zone_reaches_the_rules_within_a_second_and_the_camera_stays_connected(
    tmp_path: Path, toy_triton: TritonServer
) -> None:
    elsewhere = {"points": [[0.6, 0.5], [1, 0.5], [1, 1], [0.6, 1]]}
    here = {"points": [[0, 0.5], [0.3, 0.5], [0.3, 1], [0, 1]]}
    clip = write_clip(tmp_path / "standing.mp4", [Passage(0, 1e6)], seconds=5)  # one person stands for ever
    with RtspServer({"standing": clip}) as rtsp:
        door = {"url": rtsp.url("standing")}
        with System(
            tmp_path,
            {"door": {**door, "rules": {"zones": {"yard": elsewhere}}}},
            triton_url=toy_triton.grpc_url,
        ) as system:
            system.until_state("door", "online")
            until(lambda: system.counts("door") == {"person": 1})
            assert system.events("door") == []
            system.write_config({"door": {**door, "rules": {"zones": {"yard": here}}}})
            reconnects = system.camera("door")["reconnects_total"]
            asked_time = time.time()
            system.reload()
            until(lambda: system.events("door"))
            (event,) = system.events("door")
            assert (event["kind"], event["place"]) == ("enter", "yard")
            assert -0.5 < event["event_time"].timestamp() - asked_time < 1.0
            assert last_change(system)["changes"] == [
                "camera 'door', rules.zones.yard changed: applied at once"
            ]
            system.until_frames("door", 10)
            assert system.camera("door")["reconnects_total"] == reconnects
            system.stop()
            assert system.counts("door") == {"person": 1}, "the same person as before"
