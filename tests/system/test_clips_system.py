"""Clips with real parts: RTSP server, Triton, database; and a worker that is killed while one grows."""

import json
import signal
from pathlib import Path

import av
import numpy as np
import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.system import System
from support.toy import BLUE, Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp]

GATE = {"gate": {"points": [[0.4, 0.2], [0.4, 0.95]]}}
#: One after the other, with 2 s between: a clip for each.
WALKS = [Passage(1, 3), Passage(9, 11, BLUE), Passage(17, 19)]


def middle_at(path: str, position_s: float) -> float:
    """Where in the width the middle of the rectangle is, in the frame nearest to a position."""
    with av.open(path) as source:
        frame = min(source.decode(video=0), key=lambda frame: abs(frame.time - position_s))
    rgb = frame.to_ndarray(format="rgb24").astype(int)
    coloured = np.abs(rgb[:, :, 0] - rgb[:, :, 2]) > 80
    return float(np.nonzero(coloured)[1].mean() / rgb.shape[1])


def test_each_event_has_its_clip_though_the_worker_is_killed(
    tmp_path: Path, toy_triton: TritonServer
) -> None:
    video = write_clip(tmp_path / "walks.mp4", WALKS, seconds=24)
    with (
        RtspServer({"cam": video}) as server,
        System(
            tmp_path,
            {"cam": {"url": server.url("cam"), "rules": {"lines": GATE}}},
            triton_url=toy_triton.grpc_url,
            clips={"enabled": True, "folder": str(tmp_path / "clips"), "pre_s": 1, "post_s": 2},
        ) as system,
    ):
        states = lambda: [row["state"] for row in system.rows("clips")]  # noqa: E731
        until(lambda: "recording" in states(), 60)
        [victim] = system.workers()
        victim.send_signal(signal.SIGKILL)
        until(lambda: states().count("finished") >= 2, 90)
        system.stop()
        events = system.events("cam")
        clips = system.rows("clips")
    assert [clip["state"] for clip in clips] == ["finished"] * len(clips)  # one that grew at the end as well
    assert [bool(clip["truncated"]) for clip in clips] == [True] + [False] * (len(clips) - 1)
    media = {str(event["event_time"].timestamp()): event["media_s"] for event in events}
    for clip in clips:
        sidecar = json.loads(Path(clip["path"]).with_suffix(".json").read_text())
        [event] = sidecar["events"]
        assert json.loads(clip["events"]) == [event["key"]]
        position_s = media.pop(str(round(event["event_time"], 6))) - clip["media_start_s"]
        assert position_s == pytest.approx(event["position_s"], abs=1e-3)
        assert middle_at(clip["path"], position_s) == pytest.approx(0.4, abs=0.04)
        assert Path(clip["thumbnail"]).is_file()
    assert media == {}  # no event without a clip
