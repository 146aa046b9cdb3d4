"""A camera that is away while the program dies is one trouble, and no visit outlives what saw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System
from support.toy import Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp, pytest.mark.long, pytest.mark.timeout(300)]

HERE = {"here": {"points": [[0, 0.5], [0.3, 0.5], [0.3, 1], [0, 1]]}}


@pytest.mark.fault(1)
@pytest.mark.fault(18)
def test_troubles_and_visits_end_whatever_dies_and_leaves(tmp_path: Path, toy_triton: TritonServer) -> None:
    clip = write_clip(tmp_path / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    with RtspServer({"door": clip, "side": clip}) as rtsp:
        options: dict[str, Any] = {"stream": {"stall_timeout_s": 4}, "rules": {"zones": HERE}}
        cameras = {name: {"url": rtsp.url(name), **options} for name in ("door", "side")}
        with System(tmp_path, cameras, triton_url=toy_triton.grpc_url) as system:

            def offline(name: str) -> list[dict[str, Any]]:
                return system.troubles("camera_offline", name)

            def of_side() -> list[dict[str, Any]]:
                return [*offline("side"), *system.events("side")]

            until(lambda: system.events("door") and system.events("side"), 60.0, every_s=0.2)
            assert offline("door") == []
            rtsp.stop()
            until(lambda: offline("door") and offline("side"), 60.0, every_s=0.2)
            system.kill()
            system.write_config({"door": cameras["door"]})
            rtsp.start()
            system.start()
            system.until_state("door", "online")
            until(lambda: all(row["end_time"] for row in offline("door")), 60.0, every_s=0.2)
            until(lambda: all(row["end_time"] for row in of_side()), every_s=0.2)
            system.stop()
        assert len(of_side()) >= 2
        assert len(offline("door")) == len(offline("side")) == 1, "the kill has not made two of it"
        for row in [*offline("door"), *of_side()]:
            assert row["event_time"] <= row["end_time"]
