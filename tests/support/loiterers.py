"""People who stay in view for longer than they should: who is told of them, and what their clips show."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.base.geometry import iou_matrix
from sightline.config import TritonOptions
from sightline.entities import Detections, Frame
from sightline.errors import SourceError
from sightline.inference.client import TritonConnection
from sightline.simulation.rtsp_server import RtspServer, player
from sightline.video.source import Source
from support.camera_world import camera
from support.listeners import HookServer
from support.system import System
from support.waiting import until

ROOM = {"room": {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "classes": ["person"]}}


@dataclass(frozen=True)
class Stay:
    """A video, whom of it people are to be told of, and the server that looks at it."""

    video: Path
    seconds: float
    loiter_s: float
    entries_s: tuple[float, ...]  # second of the video at which each who stays for longer can first be seen
    triton_url: str


@dataclass(frozen=True)
class Told:
    """What one pass of a :class:`Stay` over RTSP has left."""

    stay: Stay
    alerts: list[dict[str, Any]]  # as they came to a webhook
    events: list[dict[str, Any]]
    clips: list[dict[str, Any]]

    def opened(self, rule: str) -> list[dict[str, Any]]:
        """The alerts of a rule of which somebody was told, in order."""
        opened = [body["alert"] for body in self.alerts if body["transition"] == "opened"]
        return sorted((alert for alert in opened if alert["rule"] == rule), key=lambda a: a["event_time"])

    def video_s(self, capture_time: float) -> float:
        """Second of the video. A clip is made of its own packets, so its first picture tells exactly."""
        clip = self.clips[0]
        [first] = _pictures(Path(clip["path"]), 1)
        with av.open(str(self.stay.video)) as source:
            same = (p.time for p in source.decode(video=0) if np.array_equal(p.to_ndarray(), first))
            begins_s = next(same, None)
        assert begins_s is not None, "the clip's first picture is none of the video's: was it encoded anew?"
        return begins_s + capture_time - _epoch(clip["start_time"])

    def clip_of(self, event: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The clip that shows an event, and the event's position in it."""
        wanted = [event["kind"], event["place"], str(event["track_id"])]
        clips = [c for c in self.clips for key in json.loads(c["events"]) if key.split("\x1f")[2:5] == wanted]
        [clip] = clips
        return clip, event["media_s"] - clip["media_start_s"]


def watch(folder: Path, stay: Stay) -> Told:
    """Play a video once, as a camera, into the whole program."""
    hook = HookServer()
    rule = {"routes": ["hook"], "cooldown_s": 0}
    rules = {
        "loiters": {"kinds": ["loiter"], **rule},
        "stays": {"kinds": ["enter"], "min_dwell_s": stay.loiter_s, **rule},
    }
    zones = {"room": {**ROOM["room"], "loiter_s": stay.loiter_s}}
    with (
        RtspServer({"door": player(stay.video, "--once")}) as rtsp,
        System(
            folder,
            {"door": {"url": rtsp.url("door"), "rules": {"zones": zones}}},
            triton_url=stay.triton_url,
            alerts={"rules": rules, "routes": {"hook": {"webhook": hook.url, "secret": "0123456789abcdef"}}},
            clips={"enabled": True, "folder": str(folder / "clips"), "pre_s": 2, "post_s": 1},
        ) as system,
    ):
        system.until_state("door", "online")
        until(lambda: system.camera("door").get("reconnects_total"), stay.seconds + 30, every_s=0.5)
        system.stop()
    hook.close()
    return Told(stay, hook.bodies, system.events("door"), system.rows("clips"))


def overlaps(told: Told, kind: str) -> list[float]:
    """Of each event of a kind: how well what the detector finds in the clip's frame meets the event's box."""
    connection = TritonConnection(TritonOptions(url=told.stay.triton_url), "proof")
    detector = connection.model()
    persons = [detector.connect().class_names.index("person")]
    found = []
    for event in (event for event in told.events if event["kind"] == kind):
        clip, position_s = told.clip_of(event)
        path = Path(clip["path"])
        frame = _frame_at(path, position_s)
        detections: Detections = detector.submit([frame])[0].result(20)
        boxes = detections.xyxy[np.isin(detections.class_ids, persons) & (detections.scores >= 0.25)]
        box = _box_of(path, event["track_id"], position_s)
        found.append(float(iou_matrix(boxes, box).max(initial=0.0)))
    connection.close()
    return found


def _frame_at(path: Path, position_s: float) -> Frame:
    """The frame of a clip nearest to a position."""
    source = Source(camera(path), realtime=False)
    source.open()
    nearest: Frame | None = None
    with contextlib.closing(source), contextlib.suppress(SourceError):
        for frame in source.frames():
            if nearest and abs(nearest.media_s - position_s) <= abs(frame.media_s - position_s):
                break
            nearest = frame
    assert nearest is not None, path
    return nearest


def _box_of(path: Path, track_id: int, position_s: float) -> Any:
    """A track's box in the frame at a position, by the sidecar; float32 [1, 4]."""
    frames = json.loads(path.with_suffix(".json").read_text())["frames"]
    _, ids, xyxy, *_ = min(frames, key=lambda frame: abs(frame[0] - position_s))
    return np.array(xyxy, np.float32).reshape(-1, 4)[[ids.index(track_id)]] / np.float32(10_000)


def _pictures(path: Path, count: int) -> list[Any]:
    with av.open(str(path)) as source:
        return [
            picture.to_ndarray() for picture, _ in zip(source.decode(video=0), range(count), strict=False)
        ]


def _epoch(stored: Any) -> float:
    """SQLite's text as epoch seconds."""
    from datetime import UTC, datetime

    return datetime.fromisoformat(stored).replace(tzinfo=UTC).timestamp()
