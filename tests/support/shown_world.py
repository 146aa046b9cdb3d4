"""A database in which every page of the console has something to show: good, bad, new, and long past."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from support.console_site import drawn
from support.console_world import World
from support.toy import write_clip

CAMERAS = ("car-park", "loading-dock", "north-gate", "south-gate")
EVENT = "event of the car park"
#: The cameras' configuration.
WRITTEN = """\
cameras:
  car-park:
    url: rtsp://10.0.0.22/stream1
    rules:
      lines: {exit: {points: [[0.3, 0.9], [0.3, 0.2]]}}
      zones: {door: {points: [[0.4, 0.4], [0.8, 0.4], [0.8, 0.9], [0.4, 0.9]], loiter_s: 20}}
  loading-dock: {url: rtsp://10.0.0.23/stream1}
  north-gate: {url: rtsp://admin:hunter2@10.0.0.21/stream1}
  south-gate: {url: rtsp://10.0.0.24/stream1}
"""
OVERLOAD = (
    "overload: 3 of 4 cameras analyse 2.1 of 5.0 frames/s; the detector yolov8n-1 takes 180 ms for a frame, "
    "6.3 frames/s in all where 15.0 are due; what helps: a lower stream.fps, more instances of the detector"
)


def make_clip_files(folder: Path, start: float) -> dict[str, str]:
    """A clip of 10 s in which track 7 walks from left to right, and its event is at 6 s."""
    folder.mkdir(parents=True)
    video, thumbnail = folder / "clip.mp4", folder / "clip.jpg"
    write_clip(video, [], seconds=10.0)
    thumbnail.write_bytes(drawn("car-park", 30, 640, 360))
    frames = [
        [n / 10, [7], [500 * n // 10, 3000, 500 * n // 10 + 900, 7000], [900], [0]] for n in range(0, 100)
    ]
    event = {"kind": "enter", "place": "door", "track_id": 7, "item_class": "person"}
    event |= {"key": EVENT, "event_time": start + 6, "picture": "", "position_s": 6.0}
    told = {"version": 1, "classes": ["person"], "events": [event], "frames": frames}
    video.with_suffix(".json").write_text(json.dumps(told))
    return {"path": str(video), "thumbnail": str(thumbnail)}


def shown_world(url: str, folder: Path) -> World:
    """Four cameras, one of them away, with counts, events, a clip, alerts new and old, and a mute."""
    world, now = World(url), time.time()
    world.program("all", now + 3600)
    for index, name in enumerate(CAMERAS):
        # Heartbeats lie ahead, so that none is missed while this is looked at.
        status: dict[str, Any] = {"occupancy": {"door": 3}, "lines": ["exit"]} if index == 0 else {}
        status |= {"notices": [OVERLOAD], "warnings": ["the detector is too slow"]} if index == 1 else {}
        if index == 3:
            status = {"state": "offline", "message": "no answer for 42 s; trying again in 8 s"}
        world.camera(name, now + 3600, **status)
        first = now // 60 * 60 - 60 * 60
        for minute in range(61):
            lost = 20 <= minute < 32 or (index == 3 and minute > 40)
            share = 0.0 if lost else 0.5 if minute == 15 else min(1.0, (now - first - 60 * minute) / 60)
            seen = {"person": minute % 7 + 1, "car": minute % 4 + 1} if share else {}
            world.window(name, first + 60 * minute, share, **seen)
        world.event(name, "crossing", "exit", now - 90 - index, direction="forward")
        world.event(name, "enter", "door", now - 60 - index)
    world.clip("car-park", now - 66, events=[EVENT], **make_clip_files(folder / "clips", now - 66))
    world.alert("11", "car-park", now - 60, rule="night", events=[EVENT], kind="enter")
    world.alert("22", "north-gate", now - 300, rule="night", state="acknowledged", comment="seen twice")
    for number, state in enumerate(("false_alarm", "resolved", "passed")):
        world.alert(f"3{number}", "north-gate", now - 4000, rule="gates", state=state)
    world.mute("south-gate", "", now + 3600)
    return world
