"""What the watch for drift costs the live path, a frame, and what a kept picture costs its own thread.

python tools/bench/bench_drift.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation
from sightline.analysis.timebase import Timebase
from sightline.config import parse_config
from sightline.entities import ClockSource, Detections, Frame, Tracks
from sightline.features.drift import watch_of
from sightline.video import blur, jpeg
from sightline.video.picture import YuvPicture

CLASSES = ClassTable([(0, "person"), (1, "car")])


def made_picture(width: int, height: int) -> YuvPicture:
    """Noise, as a decoder gives it."""
    noise = np.random.default_rng(1).integers(16, 235, (height * 3 // 2, width), np.uint8)
    return YuvPicture(av.VideoFrame.from_ndarray(noise, "yuv420p"), VideoReformatter())


def made_detections(boxes: int) -> Detections:
    """Boxes of all scores from 0.1 on."""
    rng = np.random.default_rng(2)
    corners = rng.random((boxes, 4), np.float32) * 0.5
    corners[:, 2:] += corners[:, :2]
    scores = rng.uniform(0.1, 1.0, boxes).astype(np.float32)
    return Detections(corners, scores, rng.integers(0, 2, boxes).astype(np.int32))


def live_ms(frames: int, picture: YuvPicture, detections: Detections, *, consent: bool) -> list[float]:
    """Milliseconds of the processor that each frame takes of the main thread, at 10 frames a second."""
    with tempfile.TemporaryDirectory(prefix="sightline-drift-") as folder:
        cameras = {"gate": {"url": "rtsp://x/1", "drift": {"consent": consent, "folder": folder}}}
        watch = watch_of(parse_config({"cameras": cameras}).cameras["gate"])
        assert watch is not None
        spent, timebase = [], Timebase(max_gap_s=10.0)
        for index in range(frames):
            frame = Frame(picture, index, index / 10, 1e9 + index / 10, ClockSource.PTS, 0.0)
            moment = timebase.advance(frame.capture_time)
            seen = Observation(frame, detections, Tracks.empty(), CLASSES, moment)
            started = time.thread_time()
            watch.observe(seen)
            spent.append((time.thread_time() - started) * 1e3)
        watch.close()
    return spent


def kept_ms(picture: YuvPicture, detections: Detections) -> float:
    """Milliseconds of the processor for one picture: copied, blurred, encoded."""
    scaler, spent = VideoReformatter(), []
    names = [CLASSES.name(number) for number in detections.class_ids.tolist()]
    options = parse_config({}).options.drift
    for _ in range(5):
        started = time.process_time()
        copy = picture.copy_full_range(scaler)
        for area in blur.areas(options.blur, detections.xyxy, names):
            blur.cover(copy, area)
        jpeg.encode(copy)
        spent.append((time.process_time() - started) * 1e3)
    return float(np.median(spent))


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--boxes", type=int, default=20)
    parser.add_argument("--size", default="1920x1080", help="of the picture (default: 1920x1080)")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    picture, detections = made_picture(width, height), made_detections(options.boxes)
    found: dict[str, object] = {"size": options.size, "boxes": options.boxes, "frames": options.frames}
    for name, consent in (("signals", False), ("signals and samples", True)):
        spent = live_ms(options.frames, picture, detections, consent=consent)
        found[name] = {
            "mean_ms": round(float(np.mean(spent)), 4),
            "p50_ms": round(float(np.median(spent)), 4),
            "p99_ms": round(float(np.percentile(spent, 99)), 4),
        }
    found["kept_picture_ms"] = round(kept_ms(picture, detections), 1)
    text = json.dumps(found, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
