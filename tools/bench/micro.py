"""What single parts cost, without servers: rules a frame, the drift watch a frame, a batch of checkpoints.

    python tools/bench/micro.py rules --tracks 40 --places 4
    python tools/bench/micro.py drift --size 1920x1080
    python tools/bench/micro.py store --cameras 50 --url postgresql://…
    python tools/bench/micro.py privacy --size 1920x1080 --fps 25
    python tools/bench/micro.py clips --cameras 16
    python tools/bench/micro.py live --size 1280x720

Rules, drift and live pictures are measured in the thread's own processor time, so a busy machine matters
less; caches are shared all the same. A batch is one second of all cameras, in one transaction, straight into
the database and into the spool.
"""

import itertools
import json
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from sightline.analysis.chain import frame_at
from sightline.analysis.classes import ClassTable
from sightline.analysis.observer import Observation
from sightline.analysis.options import AnalysisOptions
from sightline.analysis.rules import Rules
from sightline.analysis.timebase import Timebase
from sightline.config import parse_config
from sightline.config.groups import ClipOptions
from sightline.config.zones import Line, Zone
from sightline.entities import (
    U8,
    CameraState,
    CameraStatus,
    Checkpoint,
    CountWindow,
    Detections,
    Event,
    EventKind,
    Frame,
    SourceWindow,
    Tracks,
    Variant,
)
from sightline.features.clips.clip_recorder import ClipRecorder
from sightline.features.clips.hidden_clip import Hiding, covered
from sightline.features.drift.drift_watch import DriftWatch
from sightline.features.live.painter import Painter, Scene
from sightline.simulation.scenes import truth
from sightline.simulation.scenes.encode import Coding, render
from sightline.simulation.scenes.spec import SceneSpec
from sightline.store.database import Store
from sightline.store.kinds import PendingRow, pending_row, rows_of
from sightline.store.spool import Spool
from sightline.video import blur, drawing
from sightline.video.live_encoder import CodedPicture, LiveEncoder
from sightline.video.packets import CodedPacket, CodedStream
from sightline.video.picture import YuvPicture, encode_jpeg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench import cameras

FPS = 10
BEGIN = 1.7e9
CLASSES = ClassTable([(0, "person"), (1, "car")])
WIDTH, HEIGHT = 0.04, 0.12  # of a walker
T = TypeVar("T")


def timed(work: Callable[[T], object], items: Iterable[T], clock: Callable[[], float]) -> str:
    """What ``work`` costs on each item: mean and percentiles in a line. Making the items costs nothing."""
    times_ms = []
    for item in items:
        began = clock()
        work(item)
        times_ms.append((clock() - began) * 1e3)
    p50, p99 = np.percentile(times_ms, [50, 99])
    return f"mean {np.mean(times_ms):.3f} ms, p50 {p50:.3f}, p99 {p99:.3f}"


def rules(arguments: Namespace) -> None:
    """Invented walks past lines, and as many zones of five corners."""
    count = arguments.places
    corners = ((0.05, 0.1), (0.3, 0.1), (0.35, 0.5), (0.2, 0.9), (0.05, 0.5))
    lines, zones = {}, {}
    for i in range(count):
        share = i / count
        lines[f"l{i}"] = Line(points=((0.1, 0.8 * share + 0.1), (0.9, 0.8 * share + 0.15)))
        points = tuple((x + 0.6 * share, y) for x, y in corners)
        zones[f"z{i}"] = Zone(points=points, loiter_s=3.0, max_occupancy=2)
    observer = Rules(AnalysisOptions("bench", lines=lines, zones=zones), CLASSES)
    tracks, events = walkers(arguments.tracks), list[object]()
    seen = observations(arguments.frames, lambda now: (frame_at(now), Detections.empty(), next(tracks)))
    told = timed(lambda item: events.extend(observer.observe(item)), seen, time.thread_time)
    state = len(json.dumps(observer.snapshot()))
    print(f"{len(events) / arguments.frames:.2f} events a frame: {told}; state {state} bytes")


def observations(
    count: int, look: Callable[[float], tuple[Frame, Detections, Tracks]]
) -> Iterator[Observation]:
    """What is seen in ``count`` frames, from :data:`BEGIN` on."""
    timebase = Timebase(max_gap_s=10.0)
    for number in range(count):
        now = BEGIN + number / FPS
        yield Observation(*look(now), CLASSES, timebase.advance(now))


def walkers(count: int) -> Iterator[Tracks]:
    """Objects that walk, bounce off the edges, and are replaced by new ones every two seconds."""
    random = np.random.default_rng(0)
    ids, first = np.arange(1, count + 1), np.full(count, BEGIN)
    feet, speeds = random.uniform(0.1, 0.9, (count, 2)), random.normal(0, 0.03, (count, 2))
    for number in itertools.count():
        if number % (2 * FPS) == 0:  # a new identity; the rows are in order of age
            one = random.integers(count)
            order = np.append(np.delete(np.arange(count), one), one)
            feet, speeds, first = feet[order], speeds[order], first[order]
            ids = np.append(ids[order][:-1], ids.max() + 1)
            first[-1] = BEGIN + number / FPS
        feet = feet + speeds / FPS
        speeds[(feet < 0.05) | (feet > 0.95)] *= -1
        feet = np.clip(feet, 0.05, 0.95)
        x, y = (feet + random.normal(0, 0.001, feet.shape)).T
        boxes = np.stack([x - WIDTH / 2, y - HEIGHT, x + WIDTH / 2, y], axis=1).astype(np.float32)
        scores, classes = np.ones(count, np.float32), np.zeros(count, np.int32)
        yield Tracks(ids, boxes, scores, classes, first, np.ones(count, bool))


def drift(arguments: Namespace) -> None:
    """The drift watch, a frame of the main thread at 10 frames a second; a kept picture of its own thread."""
    width, height = (int(side) for side in arguments.size.split("x"))
    random = np.random.default_rng(1)
    noise = random.integers(16, 235, (height * 3 // 2, width), np.uint8)
    picture = YuvPicture(av.VideoFrame.from_ndarray(noise, "yuv420p"), VideoReformatter())
    xyxy = random.random((arguments.boxes, 4), np.float32) * 0.5
    xyxy[:, 2:] += xyxy[:, :2]
    scores = random.uniform(0.1, 1.0, arguments.boxes).astype(np.float32)
    detections = Detections(xyxy, scores, random.integers(0, 2, arguments.boxes).astype(np.int32))
    for name, consent in (("signals", False), ("signals and samples", True)):
        with tempfile.TemporaryDirectory(prefix="sightline-drift-") as folder:
            camera = {"url": "rtsp://x/1", "drift": {"consent": consent, "folder": folder}}
            gate = parse_config({"cameras": {"gate": camera}}).cameras["gate"]
            watch = DriftWatch("gate", gate.drift, gate.detect.min_score)
            seen = observations(
                arguments.frames,
                lambda now: (replace(frame_at(now), picture=picture), detections, Tracks.empty()),
            )
            print(f"{name}: {timed(watch.observe, seen, time.thread_time)}")
            watch.close()
    options = parse_config({}).options.drift
    names = [CLASSES.name(number) for number in detections.class_ids.tolist()]

    def keep(_: int) -> None:
        copy = picture.copy_full_range()
        blur.hide(copy, options.blur, detections.xyxy, names)
        encode_jpeg(copy)

    print(f"a kept picture: {timed(keep, range(5), time.process_time)}")


def privacy(arguments: Namespace) -> None:
    """A clip of the street, coded again with every box covered: processor seconds for a second of video."""
    width, height = (int(side) for side in arguments.size.split("x"))
    spec = SceneSpec(width=width, height=height)
    with tempfile.TemporaryDirectory(prefix="sightline-privacy-") as folder:
        video = Path(folder) / "clip.mp4"
        render(spec, Coding(arguments.codec, arguments.fps), arguments.seconds, video)
        size = np.array([width, height] * 2)
        frames = [
            (frame.time_s, [(i, *box) for i, box in zip(frame.ids, frame.full_xyxy / size, strict=True)])
            for frame in truth.frames(spec, 5, arguments.seconds)
        ]
        started_s = time.process_time()
        if covered(video, video.with_name("covered.mp4"), Hiding(), frames) is None:
            raise SystemExit("nothing came of it")
        spent_s = time.process_time() - started_s
        print(f"{spent_s / arguments.seconds:.3f} s of a core for a second of video")


def clips(arguments: Namespace) -> None:
    """Cameras at 5 frames/s in real time: clips off, on without an event, with one that goes on; in turn."""
    with tempfile.TemporaryDirectory(prefix="sightline-clips-") as folder:
        with av.open(str(cameras.write_clip(Path(folder) / "camera.mp4"))) as source:
            stream = CodedStream.of(source.streams.video[0])
            coded = [CodedPacket.of(packet, stream) for packet in source.demux(video=0) if packet.size]
        packets = [packet for packet in coded if packet is not None]
        for _ in range(arguments.rounds):
            for number, word in enumerate(("off", "idle", "recording")):
                place = Path(tempfile.mkdtemp(dir=folder))
                options = ClipOptions(enabled=True, folder=place, max_s=3600)
                recorders = [ClipRecorder(f"c{i}", options) for i in range(arguments.cameras * (number > 0))]
                spent_ms = play_clips(recorders, packets, arguments, has_event=number == 2)
                print(f"{word:10} {spent_ms:.3f} ms of processor time a frame", flush=True)


def play_clips(
    recorders: list[ClipRecorder], packets: list[CodedPacket], arguments: Namespace, *, has_event: bool
) -> float:
    """Show each camera's frames when they are due; milliseconds a frame, the first two seconds left out."""
    fps, xyxy, ids = cameras.FPS, np.zeros((8, 4), np.float32), np.arange(8)
    tracks = Tracks(
        ids, xyxy, np.ones(8, np.float32), np.zeros(8, np.int32), np.full(8, BEGIN), np.ones(8, bool)
    )
    picture = YuvPicture(av.VideoFrame(cameras.WIDTH, cameras.HEIGHT, "yuv420p"), VideoReformatter())
    timebases = [Timebase(max_gap_s=10.0) for _ in range(arguments.cameras)]
    started_s, spent_s, ticked_s = time.monotonic(), time.process_time(), 0.0
    for number in range(arguments.seconds * fps):
        if number == 2 * fps:
            spent_s = time.process_time()
        media_s = number / fps
        packet = packets[number % len(packets)].at(media_s)
        for at, timebase in enumerate(timebases):
            time.sleep(max(0.0, started_s + media_s + at / arguments.cameras / fps - time.monotonic()))
            frame = replace(frame_at(BEGIN + media_s), media_s=media_s, picture=picture)
            seen = Observation(frame, Detections.empty(), tracks, CLASSES, timebase.advance(BEGIN + media_s))
            if has_event and number == 5:
                values = (EventKind.ENTER, "all", 1, "person", frame.capture_time, frame.capture_time)
                event = Event(f"c{at}", *values, media_s=media_s, first_time=BEGIN, ordinal=1)
                seen = replace(seen, results=[event])
            for recorder in recorders[at : at + 1]:
                recorder.packet(packet)
                recorder.observe(seen)
            if time.monotonic() - ticked_s > 0.25:
                ticked_s = time.monotonic()
                for recorder in recorders:
                    recorder.tick(frame.capture_time, silent=False)
    spent_s = time.process_time() - spent_s
    for recorder in recorders:
        recorder.close()
    frames: int = (arguments.seconds - 2) * fps * arguments.cameras
    return 1e3 * spent_s / frames


def live(arguments: Namespace) -> None:
    """A picture of the street with its overlay, and what becomes of it: JPEG, or annotated video."""
    width, height = (int(side) for side in arguments.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="sightline-live-") as folder:
        video = Path(folder) / "street.mp4"
        render(SceneSpec(width=width, height=height), Coding(fps=FPS), 10, video)
        with av.open(str(video)) as source:
            pictures = [YuvPicture(one, VideoReformatter()) for one in source.decode(video=0)]
    line, zone = {"points": [[0.1, 0.6], [0.9, 0.65]]}, {"points": [[0, 0.5], [0.4, 0.5], [0.5, 1], [0, 1]]}
    places = {"lines": {"one": line, "two": line}, "zones": {"one": zone, "two": zone}}
    gate = parse_config({"cameras": {"gate": {"url": "rtsp://x/1", "rules": places}}}).cameras["gate"]
    tracks, shown = walkers(arguments.boxes), itertools.cycle(pictures)
    seen = observations(
        arguments.frames,
        lambda now: (replace(frame_at(now), picture=next(shown)), Detections.empty(), next(tracks)),
    )
    side = gate.output.side_px if width > Variant.SMALL.side_px else Variant.SMALL.side_px
    painter, drawn = Painter(gate), list[tuple[float, U8]]()

    def overlay(one: Observation) -> None:
        scene = Scene(one, one.frame.picture, (), (), {"one": 1, "two": 0}, {})  # type: ignore[arg-type]
        drawn.append((one.frame.capture_time, painter.overlay(scene, side)))

    print(f"overlay: {timed(overlay, seen, time.thread_time)}")
    jpeg = timed(lambda one: drawing.to_jpeg(drawing.to_bgr(one[1])), drawn, time.thread_time)
    print(f"JPEG: {jpeg}")
    encoder = LiveEncoder("rtp", width, height, fps=FPS, codec="libx264", begins=BEGIN)
    coded: list[CodedPicture | None] = []
    video_cost = timed(lambda one: coded.append(encoder.encode(one[1], one[0])), drawn, time.thread_time)
    kbit_s = sum(len(piece) for one in coded if one for piece in one.pieces) * 8e-3 * FPS / len(coded)
    print(f"H.264: {video_cost}; {kbit_s:.0f} kbit/s")
    encoder.close()


def store(arguments: Namespace) -> None:
    """Batches into a new SQLite file, other databases, and the spool."""
    with tempfile.TemporaryDirectory() as folder:
        for url in [f"sqlite:///{folder}/bench.db", *(arguments.url or []), "spool"]:
            place = Spool(Path(folder) / "spool.db", 256_000_000) if url == "spool" else Store(url)
            write = place.put if isinstance(place, Spool) else place.write_rows
            batches = (batch_of(arguments.cameras, second) for second in range(arguments.seconds))
            print(f"{url.split(':', 1)[0]:12} {timed(write, batches, time.perf_counter)}")
            place.close()


def batch_of(cameras: int, second: int) -> list[PendingRow]:
    """One second of all cameras: three classes, a source row, resume state of 20 tracks, a status."""
    start = second // 60 * 60.0
    tracks = {str(i): ["person", True, 123.456789 + i] for i in range(20)}
    rows: list[PendingRow] = []
    for i in range(cameras):
        name = f"camera{i}"
        counts = [CountWindow(name, item, second, start, start + 60) for item in ("person", "car", "dog")]
        window = SourceWindow(name, start, start + 60, 0.5, 10.0, 0, "rtcp", "yolo/1", "0123456789abcdef")
        rows += rows_of(Checkpoint(name, (*counts, window), {"tracks": tracks}), second + 1)
        rows.append(pending_row(CameraStatus(name, CameraState.ONLINE, "", float(second)), second + 1))
    return rows


def main() -> None:
    """Measure one part and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True, metavar="PART")
    for measure, values in (
        (rules, {"tracks": 40, "places": 4, "frames": 3000}),
        (drift, {"frames": 10_000, "boxes": 20, "size": "1920x1080"}),
        (privacy, {"size": "640x360", "codec": "h264", "fps": 25, "seconds": 4}),
        (live, {"size": "640x360", "boxes": 8, "frames": 300}),
        (clips, {"cameras": 16, "seconds": 12, "rounds": 2}),
        (store, {"cameras": 50, "seconds": 120}),
    ):
        part = parts.add_parser(measure.__name__, help=measure.__doc__)
        part.set_defaults(measure=measure)
        for name, value in values.items():
            part.add_argument(f"--{name}", type=type(value), default=value, help="default: %(default)s")
    part.add_argument("--url", action="append", help="a database besides a new SQLite file; repeatable")
    arguments = parser.parse_args()
    arguments.measure(arguments)


if __name__ == "__main__":
    main()
