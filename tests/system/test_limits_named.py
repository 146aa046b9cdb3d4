"""What limits, as a real program names it: nothing, one camera, the database, and nothing again."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System
from support.toy import Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.mark.fault(1)
def test_the_bottleneck_of_a_real_program_is_named(tmp_path: Path, toy_triton: TritonServer) -> None:
    clip = write_clip(tmp_path / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    with RtspServer({"door": clip}) as door, RtspServer({"side": clip}) as side:
        stream: dict[str, Any] = {"stream": {"stall_timeout_s": 4, "fps": 5}}
        cameras = {"door": {"url": door.url("door"), **stream}, "side": {"url": side.url("side"), **stream}}
        with System(tmp_path, cameras, triton_url=toy_triton.grpc_url) as system:

            def limits() -> list[tuple[str, list[str]]]:
                body = system.get("/status")[1]
                found = json.loads(body)["limits"] if body else []
                return [(limit["limiter"], limit["cameras"]) for limit in found]

            for name in cameras:
                system.until_state(name, "online")
            until(lambda: not limits(), 30, every_s=0.5)
            for _ in range(12):  # states begin after eight seconds
                time.sleep(1)
                assert limits() == []
            status = json.loads(system.get("/status")[1])
            assert status["machine"]["cores"] >= 1
            assert status["machine"]["disks"][0]["holds"] == ["the database", "results that wait"]
            assert status["cameras"][0]["batch_size"] >= 1
            side.stop()
            until(lambda: limits() == [("camera", ["side"])], 60, every_s=0.5)
            side.start()
            until(lambda: not limits(), 60, every_s=0.5)
            with closing(sqlite3.connect(tmp_path / "sightline.db", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                until(lambda: limits()[:1] == [("database_away", [])], 30, every_s=0.5)
                other.execute("ROLLBACK")
            until(lambda: not limits(), 30, every_s=0.5)
            system.stop()
