"""Clips with real parts: RTSP server, Triton, database; and a worker that is killed while one grows."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from sightline.entities import EventKind
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer, player
from sightline.supervisor.troubles import HOLD_S
from support.disks import fill, small_disk
from support.listeners import HookServer
from support.s3 import S3Server
from support.sounding import tones_in, with_tones
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


class Kept:
    """A program that keeps clips of a looped scene on a small disk, and copies them to a store."""

    def __init__(self, folder: Path, disk: Path, url: str, triton: TritonServer) -> None:
        self.hook, self.store = HookServer(), S3Server()
        kinds = ["upload_failed", "clips_failed", "camera_offline"]
        self.system = System(
            folder,
            {"cam": {"url": url, "rules": {"lines": GATE}}},
            triton_url=triton.grpc_url,
            clips={"enabled": True, "folder": str(disk / "clips"), "pre_s": 1, "post_s": 3},
            uploads=self.store.values(),
            alerts={
                "rules": {"all": {"kinds": kinds, "routes": ["hook"], "cooldown_s": 0}},
                "routes": {"hook": {"webhook": self.hook.url, "secret": "0123456789abcdef"}},
            },
        )
        self._analysed = self._dropped = 0

    def clips(self, state: str = "finished", *, uploaded: bool | None = None) -> list[str]:
        """When those begin that are in a state."""
        rows = [row for row in self.system.rows("clips") if row["state"] == state]
        return [row["start_time"] for row in rows if uploaded in {None, bool(row["url"])}]

    def until_more(self, count: int, *, uploaded: bool) -> None:
        before = len(self.clips(uploaded=uploaded))
        until(lambda: len(self.clips(uploaded=uploaded)) >= before + count, 60, every_s=0.2)

    def told(self) -> list[tuple[str, str]]:
        """Which troubles people were told of, and of which ends."""
        return [(body["alert"]["kind"], body["transition"]) for body in self.hook.bodies]

    def watch(self) -> None:
        """From now on frames count."""
        status = self.system.camera("cam")
        self._analysed, self._dropped = status["frames_total"], status["dropped_total"]

    def check_frames(self) -> None:
        """The camera went on: all frames were analysed, but for the few that a busy machine costs."""
        status = self.system.camera("cam")
        assert status["state"] == "online"
        analysed = status["frames_total"] - self._analysed
        assert analysed > 0
        assert status["dropped_total"] - self._dropped <= 0.02 * analysed

    def check_store(self) -> None:
        """Every finished clip is there, whole, and was put there once; the stop may have ended one more."""
        rows = self.system.rows("clips")
        files = {Path(row["path"]).name: Path(row["path"]).read_bytes() for row in rows if row["path"]}
        uploaded = {Path(row["url"]).name for row in rows if row["url"]}
        assert set(files) - uploaded <= {max(files)}
        videos = {
            Path(name).name: content for name, content in self.store.objects().items() if name.endswith("mp4")
        }
        assert videos == {name: files[name] for name in uploaded}
        assert set(self.store.puts().values()) == {1}


@pytest.fixture
def kept(tmp_path: Path, toy_triton: TritonServer) -> Iterator[Kept]:
    video = write_clip(tmp_path / "walks.mp4", [Passage(1, 3)], seconds=8)
    with (
        small_disk(tmp_path / "disk", "32m") as disk,
        RtspServer({"cam": video}) as server,
    ):
        made = Kept(tmp_path, disk, server.url("cam"), toy_triton)
        with made.system:
            made.until_more(1, uploaded=True)
            made.watch()
            yield made
        made.hook.close()
        made.store.stop()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("outage_s", [5, pytest.param(65, marks=pytest.mark.long)])
def test_a_store_that_is_down_is_told_and_gets_each_clip_once_it_is_back(kept: Kept, outage_s: float) -> None:
    kept.store.stop()
    began = time.monotonic()
    kept.until_more(2, uploaded=False)
    if outage_s > HOLD_S[EventKind.UPLOAD_FAILED][0]:
        until(lambda: kept.told() == [("upload_failed", "opened")], 90)
    until(lambda: time.monotonic() > began + outage_s, outage_s)
    kept.store.restart()
    until(lambda: not kept.clips(uploaded=False), 90, every_s=0.2)
    kept.check_frames()
    if kept.told():
        until(lambda: kept.told() == [("upload_failed", "opened"), ("upload_failed", "resolved")], 20)
    kept.system.stop()
    assert {row["state"] for row in kept.system.rows("clips")} == {"finished"}
    kept.check_store()


@pytest.mark.fault(21)
def test_a_full_disk_is_told_once_and_loses_no_clip_that_had_begun(kept: Kept, tmp_path: Path) -> None:
    until(lambda: kept.clips("recording"), every_s=0.02)
    filler, [promised] = fill(tmp_path / "disk"), kept.clips("recording")
    until(lambda: kept.told() == [("clips_failed", "opened")], 30)
    kept.check_frames()
    kept.system.kill()
    kept.system.start()
    kept.system.until_state("cam", "online")
    kept.watch()
    time.sleep(HOLD_S[EventKind.CLIPS_FAILED][1] + 3)  # an alert for the same trouble would be there
    kept.check_frames()
    filler.unlink()
    until(lambda: kept.told() == [("clips_failed", "opened"), ("clips_failed", "resolved")], 40)
    kept.until_more(2, uploaded=True)
    kept.system.stop()
    [row] = [row for row in kept.system.rows("clips") if row["start_time"] == promised]
    assert (row["state"], bool(row["truncated"])) == ("finished", True)
    kept.check_store()


def test_clips_of_the_main_stream_have_sound_and_a_copy(tmp_path: Path, toy_triton: TritonServer) -> None:
    """Both streams show the same, so that the analysed one tells what the other's frame must show."""
    quiet = {"x265-params": "log-level=none"}
    silent = write_clip(tmp_path / "silent.mp4", WALKS[:2], seconds=16, codec="libx265", options=quiet)
    video = with_tones(silent, tmp_path / "walks.mp4", "aac")
    clips = {"enabled": True, "folder": str(tmp_path / "clips"), "pre_s": 1, "post_s": 2}
    with RtspServer({"cam": player(video, "--sound")}) as server:
        url = server.url("cam")
        cameras = {"cam": {"url": url, "sub_url": url, "rules": {"lines": GATE}}}
        clips |= {"stream": "main", "audio": True, "h264_copy": True}
        with System(tmp_path, cameras, triton_url=toy_triton.grpc_url, clips=clips) as system:
            until(lambda: [row["state"] for row in system.rows("clips")].count("finished") >= 3, 120)
            metrics = system.get("/metrics")[1]
            system.stop()
            events, rows = system.events("cam"), system.rows("clips")
    assert re.search(r'^sightline_clips_main_online\{camera="cam"\} 1', metrics, re.MULTILINE)
    assert re.search(r'^sightline_clips_fell_back_total\{camera="cam"\} [01]', metrics, re.MULTILINE)
    media = {str(event["event_time"].timestamp()): event["media_s"] for event in events}
    finished = [row for row in rows if row["state"] == "finished" and not row["truncated"]]
    assert len(finished) >= 3
    for clip in finished[1:3]:  # the first may have been before the main stream was there
        sidecar = json.loads(Path(clip["path"]).with_suffix(".json").read_text())
        [event] = sidecar["events"]
        position_s = media[str(round(event["event_time"], 6))] - clip["media_start_s"]
        assert clip["codec"] == "hevc"
        for path in (clip["path"], clip["h264_path"]):
            assert middle_at(path, position_s) == pytest.approx(0.4, abs=0.04)
            assert len(tones_in(path)) >= 2
