"""Load as our own clients make it: real RTSP cameras through the real ``sightline run``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import av
import numpy as np

from load.parts import cores, cpu_s, parts_of, pss_mb
from load.pictures import get_json
from load.servers import Cpus, Target, pinned
from sightline.errors import ServerError
from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.stack import SightlineProcess, frame_rate

#: A step keeps up when it drops at most this share of the frames that were due.
DROPS = 0.01


@dataclass(frozen=True)
class Setup:
    """What stays the same over the steps of a load test.

    Attributes:
        settle_s: how long a step runs before it is measured.
        seconds: how long it is measured; percentiles are over the last 10 s, as ``/status`` gives them.
    """

    videos: Sequence[Path]
    folder: Path
    model: str = "detector"
    in_flight: int = 3
    transport: str = "system"
    settle_s: float = 6.0
    seconds: float = 20.0
    cpus: Cpus = None


@dataclass(frozen=True)
class Served:
    """One step as it was measured.

    Attributes:
        due: frames that passed the frame-rate gate: tracked or dropped.
        offered: due ÷ what cameras and fps ask for; less than 1 when cameras or decoders do not keep up.
        served_fps: frames tracked a second, by the clients' count; ``server_fps`` by the server's.
        latency_p50_ms: the median camera's, ``latency_p99_ms`` the worst camera's; arrival to tracked.
        core_ms: processor milliseconds by part for each frame that was tracked.
        cores: cores that each part kept busy.
        pss_mb: memory by part; workers are all of them together.
        decode_ms: the mean time of decoding a frame; ``pixels`` of such a frame.
        bytes_s: of one camera's stream, network.
        records_s: records written to the database for one camera.
    """

    cameras: int
    fps: float
    seconds: float
    due: int
    tracked: int
    dropped: int
    offered: float
    served_fps: float
    server_fps: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    core_ms: dict[str, float]
    cores: dict[str, float]
    pss_mb: dict[str, float]
    decode_ms: float
    pixels: int
    bytes_s: float
    records_s: float
    transport: str

    @property
    def kept_up(self) -> bool:
        """Whether the frames that were due were detected."""
        return self.dropped <= DROPS * self.due

    def as_json(self) -> dict[str, Any]:
        """For the report's JSON."""
        return {**asdict(self), "kept_up": self.kept_up}


class CameraLoad:
    """RTSP cameras and ``sightline run`` on them, at a server; a context manager. One thread calls it."""

    def __init__(self, setup: Setup, triton: Target, count: int, fps: float) -> None:
        self._setup, self._triton, self._fps = setup, triton, fps
        self._videos = {f"camera-{i + 1}": setup.videos[i % len(setup.videos)] for i in range(count)}
        self._rtsp = RtspServer(self._videos)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        setup = self._setup
        options = {"model": setup.model, "transport": setup.transport, "in_flight": setup.in_flight}
        with self._stack as stack, pinned(setup.cpus):
            stack.enter_context(self._rtsp)
            self._sightline = SightlineProcess(
                setup.folder,
                {name: {"url": self._rtsp.url(name)} for name in self._videos},
                triton={"url": self._triton.grpc_url, **options},
                options={"stream": {"fps": self._fps}},
            )
            stack.enter_context(self._sightline)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self) -> Served:
        """Wait until every camera is watched, let it settle, measure.

        Raises:
            ServerError: a camera does not come online, or a process has ended.
        """
        self._triton.check()
        self._sightline.wait_until_online()
        time.sleep(self._setup.settle_s)
        parts = parts_of(triton=self._triton.pid, sightline=self._sightline.pid, rtsp=self._rtsp.pid)
        before, used_before = self._snapshot(), cpu_s(parts)
        time.sleep(self._setup.seconds)
        used, after = cpu_s(parts), self._snapshot()
        return self._served(before, after, cores(used_before, used, after.at_s - before.at_s), pss_mb(parts))

    def _served(
        self, before: _Snapshot, after: _Snapshot, busy: dict[str, float], memory: dict[str, float]
    ) -> Served:
        seconds = after.at_s - before.at_s
        pairs = [(before.cameras[name], after.cameras[name]) for name in self._videos]
        tracked = sum(last["frames_total"] - first["frames_total"] for first, last in pairs)
        dropped = sum(last["dropped_total"] - first["dropped_total"] for first, last in pairs)
        served_fps = sum(frame_rate(*pair) for pair in pairs)
        due_fps = served_fps + sum(frame_rate(*pair, "dropped_total") for pair in pairs)
        ends = [last for _, last in pairs]
        return Served(
            cameras=len(pairs),
            fps=self._fps,
            seconds=round(seconds, 3),
            due=tracked + dropped,
            tracked=tracked,
            dropped=dropped,
            offered=round(due_fps / (len(pairs) * self._fps), 4),
            served_fps=round(served_fps, 3),
            server_fps=round((after.inferences - before.inferences) / seconds, 3),
            latency_p50_ms=_over(ends, "latency_p50_ms", np.median),
            latency_p99_ms=_over(ends, "latency_p99_ms", np.max),
            core_ms={name: round(value / served_fps * 1e3, 3) for name, value in busy.items() if served_fps},
            cores=busy,
            pss_mb=memory,
            decode_ms=round(float(np.mean([end["stages_ms"]["decode"]["mean"] for end in ends])), 3),
            pixels=round(np.mean([picture_pixels(video) for video in self._videos.values()])),
            bytes_s=round(np.mean([stream_bytes_s(video) for video in self._videos.values()])),
            records_s=round((after.records - before.records) / seconds / len(pairs), 3),
            transport=ends[0]["transport"],
        )

    def _snapshot(self) -> _Snapshot:
        self._triton.check()
        self._sightline.check()
        models = get_json(f"{self._triton.http_url}/v2/models/{self._setup.model}/stats")["model_stats"]
        return _Snapshot(
            time.monotonic(),
            sum(int(model["inference_count"]) for model in models),
            self._sightline.statuses(),
            self._sightline.metric("sightline_writer_written_records_total"),
        )


@dataclass(frozen=True)
class _Snapshot:
    at_s: float
    inferences: int
    cameras: dict[str, dict[str, Any]]
    records: float  # written to the database


def picture_pixels(video: Path) -> int:
    """Width times height of its frames."""
    with av.open(str(video)) as container:
        context = container.streams.video[0].codec_context
        return int(context.width * context.height)


def stream_bytes_s(video: Path) -> float:
    """Bytes a second of the video's packets; RTP adds a few percent."""
    total, end_s = 0, 0.0
    with av.open(str(video)) as container:
        for packet in container.demux(video=0):
            total += packet.size
            if packet.pts is not None and packet.time_base is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    if not end_s:
        raise ServerError(f"{video} has no times")
    return total / end_s


def _over(cameras: Sequence[Mapping[str, Any]], key: str, measure: Callable[..., Any]) -> float | None:
    values = [camera[key] for camera in cameras if camera.get(key) is not None]
    return round(float(measure(values)), 1) if values else None
