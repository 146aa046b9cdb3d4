"""Load as our own clients make it: real RTSP cameras through the real ``sightline run``."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import av
import yaml

from load.parts import cores, cpu_s, parts_of, pss_mb
from load.pictures import get_json
from load.servers import Cpus, Target, pinned
from sightline.base.processes import spawn, terminate
from sightline.errors import ServerError
from sightline.simulation.rtsp_server import RtspServer, free_port

ONLINE_S = 180.0  # five programs start at once, on a machine that may be busy
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


class Cameras:
    """So many cameras at a server, and ``sightline run`` on them; a context manager.

    One thread calls it.
    """

    def __init__(self, setup: Setup, triton: Target, count: int, fps: float) -> None:
        self._setup, self._triton, self._fps = setup, triton, fps
        self._videos = {f"camera-{i + 1}": setup.videos[i % len(setup.videos)] for i in range(count)}
        self._base = ""
        self._stack = contextlib.ExitStack()
        self._child: subprocess.Popen[bytes] | None = None
        self._rtsp: RtspServer | None = None

    def __enter__(self) -> Self:
        with self._stack as stack, pinned(self._setup.cpus):
            self._rtsp = stack.enter_context(RtspServer(self._videos))
            config = self._write_config(self._rtsp)
            log = stack.enter_context((self._setup.folder / "sightline.log").open("ab"))
            self._child = spawn([sys.executable, "-m", "sightline", "run", "-c", str(config)], log)
            stack.callback(terminate, self._child, 12.0)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def measure(self) -> Served:
        """Wait until every camera is watched, let it settle, measure.

        Raises:
            ServerError: a camera does not come online, or something has ended.
        """
        self._await_online()
        time.sleep(self._setup.settle_s)
        parts = parts_of(
            self._triton.pid, self._child.pid if self._child else 0, self._rtsp.pid if self._rtsp else 0
        )
        before, used_before = self._snapshot(), cpu_s(parts)
        time.sleep(self._setup.seconds)
        used, after = cpu_s(parts), self._snapshot()
        seconds = after["at_s"] - before["at_s"]
        return self._served(before, after, cores(used_before, used, seconds), pss_mb(parts))

    def _served(
        self, before: dict[str, Any], after: dict[str, Any], busy: dict[str, float], memory: dict[str, float]
    ) -> Served:
        seconds, first, last = after["at_s"] - before["at_s"], before["cameras"], after["cameras"]
        tracked = sum(last[name]["frames_total"] - first[name]["frames_total"] for name in self._videos)
        dropped = sum(last[name]["dropped_total"] - first[name]["dropped_total"] for name in self._videos)
        due_fps = sum(
            _rate(first[name], last[name], "frames_total") + _rate(first[name], last[name], "dropped_total")
            for name in self._videos
        )
        served_fps = sum(_rate(first[name], last[name], "frames_total") for name in self._videos)
        return Served(
            cameras=len(self._videos),
            fps=self._fps,
            seconds=round(seconds, 3),
            due=tracked + dropped,
            tracked=tracked,
            dropped=dropped,
            offered=round(due_fps / (len(self._videos) * self._fps), 4),
            served_fps=round(served_fps, 3),
            server_fps=round((after["inferences"] - before["inferences"]) / seconds, 3),
            latency_p50_ms=_over(last.values(), "latency_p50_ms", statistics.median),
            latency_p99_ms=_over(last.values(), "latency_p99_ms", max),
            core_ms={name: round(value / served_fps * 1e3, 3) for name, value in busy.items()}
            if served_fps
            else {},
            cores=busy,
            pss_mb=memory,
            decode_ms=round(
                statistics.mean(camera["stages_ms"]["decode"]["mean"] for camera in last.values()), 3
            ),
            pixels=round(statistics.mean(map(picture_pixels, self._videos.values()))),
            bytes_s=round(statistics.mean(map(stream_bytes_s, self._videos.values()))),
            records_s=round((after["records"] - before["records"]) / seconds / len(self._videos), 3),
            transport=last[next(iter(self._videos))]["transport"],
        )

    def _await_online(self) -> None:
        deadline = time.monotonic() + ONLINE_S
        while waiting := self._not_yet():
            self._check()
            if time.monotonic() > deadline:
                raise ServerError(
                    f"no frames within {ONLINE_S:g} s from {', '.join(waiting)}: {self._log_end()}"
                )
            time.sleep(0.2)

    def _not_yet(self) -> list[str]:
        """The cameras of which no frame has been tracked."""
        try:
            cameras = self._statuses()
        except ServerError:
            return list(self._videos)  # it is starting
        return [name for name in self._videos if not cameras.get(name, {}).get("frames_total")]

    def _check(self) -> None:
        self._triton.check()
        if self._child is None or self._child.poll() is not None:
            raise ServerError(f"sightline has ended: {self._log_end()}")

    def _log_end(self) -> str:
        return (self._setup.folder / "sightline.log").read_text(errors="replace")[-1500:]

    def _statuses(self) -> dict[str, dict[str, Any]]:
        return {item["source"]: item for item in get_json(f"{self._base}/status")["cameras"]}

    def _snapshot(self) -> dict[str, Any]:
        self._check()
        statistics_ = get_json(f"{self._triton.http_url}/v2/models/{self._setup.model}/stats")["model_stats"]
        at_s = time.monotonic()
        return {
            "at_s": at_s,
            "inferences": sum(int(item["inference_count"]) for item in statistics_),
            "cameras": self._statuses(),
            "records": self._written(),
        }

    def _written(self) -> float:
        with urllib.request.urlopen(f"{self._base}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        name = "sightline_writer_written_records_total "
        return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    def _write_config(self, rtsp: RtspServer) -> Path:
        folder, port = self._setup.folder, free_port()
        self._base = f"http://127.0.0.1:{port}"
        options = {
            "url": self._triton.grpc_url,
            "model": self._setup.model,
            "transport": self._setup.transport,
        }
        config = {
            "stream": {"fps": self._fps},
            "triton": {**options, "in_flight": self._setup.in_flight},
            "database": {"url": f"sqlite:///{folder / 'load.db'}", "spool_path": str(folder / "spool.db")},
            "http": {"port": port},
            "cameras": {name: {"url": rtsp.url(name)} for name in self._videos},
        }
        path = folder / "config.yml"
        path.write_text(yaml.safe_dump(config))
        return path


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


def _rate(first: dict[str, Any], last: dict[str, Any], what: str) -> float:
    """A counter's rate by the worker's own clock: its reports are up to a second old."""
    seconds = last["status_time"] - first["status_time"]
    return (last[what] - first[what]) / seconds if seconds > 0 else 0.0


def _over(cameras: Any, key: str, how: Any) -> float | None:
    values = [camera[key] for camera in cameras if camera.get(key) is not None]
    return round(how(values), 1) if values else None
