"""Load as our own clients make it: real RTSP cameras through the real ``sightline run``."""

import argparse
import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av

from load.servers import Part, Target, cpu_s, inference_count, parts_of, pinned, pss_mb
from sightline.errors import ServerError
from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.stack import SightlineProcess, frame_rate

#: A step keeps up when it drops at most this share of the frames that were due, and is soon enough.
DROPS = 0.01


def serve_cameras(
    options: argparse.Namespace, triton: Target, videos: Sequence[Path], fps: float, folder: Path
) -> dict[str, Any]:
    """Play a camera each of the videos, wait until all are watched, let them settle, and measure.

    Args:
        options: of load_test.py: ``transport``, ``hardware_decoder``, ``in_flight``, ``settle``, ``seconds``,
            ``p99_ms``, ``client_cpus``.
        triton: the server.
        videos: one for each camera.
        fps: frames a second that a camera asks for.
        folder: of ``sightline run``.

    Returns:
        ``due``: frames that passed the frame-rate gate, ``tracked`` or ``dropped``; ``kept_up``.
        ``offered``: due ÷ what cameras and fps ask for; less than 1 when cameras or decoders do not keep up.
        ``served_fps``: frames tracked a second, by the clients' count; ``server_fps`` by the server's.
        ``latency_p50_ms``: the median camera's, ``latency_p99_ms``: the worst camera's; arrival to tracked,
        over the last 10 s, as ``/status`` gives them.
        ``core_ms``: processor milliseconds by part for each frame that was tracked; ``cores`` that each part
        kept busy; ``pss_mb``: memory by part; workers are all of them together.
        ``decode_ms``: the mean time of decoding a frame; ``pixels`` of such a frame.
        ``bytes_s``: of one camera's stream, network; ``records_s``: written to the database for one camera.

    Raises:
        ServerError: a camera does not come online, or a process has ended.
    """
    cameras = {f"camera-{number}": video for number, video in enumerate(videos, 1)}
    served = {"url": triton.grpc_url, "transport": options.transport, "in_flight": options.in_flight}
    with contextlib.ExitStack() as stack:
        with pinned(options.client_cpus):
            rtsp = stack.enter_context(RtspServer(cameras))
            urls = {name: {"url": rtsp.url(name)} for name in cameras}
            stream = {"stream": {"fps": fps, "hardware_decoder": options.hardware_decoder}}
            sightline = stack.enter_context(SightlineProcess(folder, urls, triton=served, options=stream))

        triton.check()
        sightline.wait_until_online()
        time.sleep(options.settle)
        parts = parts_of(triton=triton.pid, sightline=sightline.pid, rtsp=rtsp.pid)
        first = _read(triton, sightline, parts)
        time.sleep(options.seconds)
        last = _read(triton, sightline, parts)
        memory = pss_mb(parts)
    tracked, dropped = (
        sum(after[key] - before[key] for before, after in zip(first.cameras, last.cameras, strict=True))
        for key in ("frames_total", "dropped_total")
    )
    sizes, seconds = [stream_size(video) for video in videos], last.time_s - first.time_s
    latency = _latency(last)
    return {
        "cameras": len(videos),
        "fps": fps,
        "seconds": round(seconds, 3),
        "due": tracked + dropped,
        "tracked": tracked,
        "dropped": dropped,
        "server_fps": round((last.inferences - first.inferences) / seconds, 3),
        **_rates(first, last, fps),
        **latency,
        "kept_up": kept_up(tracked, dropped, latency["latency_p99_ms"], options.p99_ms),
        "pss_mb": memory,
        "decode_ms": round(statistics.mean(one["stages_ms"]["decode"]["mean"] for one in last.cameras), 3),
        "pixels": round(statistics.mean(pixels for pixels, _ in sizes)),
        "bytes_s": round(statistics.mean(bytes_s for _, bytes_s in sizes)),
        "records_s": round((last.records - first.records) / seconds / len(videos), 3),
        "transport": last.cameras[0]["transport"],
    }


class _Reading(NamedTuple):
    """Counters of every part at one moment, on the monotonic clock."""

    time_s: float
    cpu_s: dict[tuple[str, int], float]  # by part and process
    inferences: int  # that the server has answered
    records: float  # written to the database
    cameras: list[dict[str, Any]]  # their statuses


def _read(triton: Target, sightline: SightlineProcess, parts: Sequence[Part]) -> _Reading:
    triton.check()
    sightline.check()
    now, used, inferences = time.monotonic(), cpu_s(parts), inference_count(triton)
    records = sightline.metric("sightline_writer_written_records_total")
    cameras = [status for _, status in sorted(sightline.statuses().items())]
    return _Reading(now, used, inferences, records, cameras)


def _rates(first: _Reading, last: _Reading, fps: float) -> dict[str, Any]:
    """Frames a second between two readings, and what a frame took of the processors."""
    seconds, pairs = last.time_s - first.time_s, list(zip(first.cameras, last.cameras, strict=True))
    served_fps = sum(frame_rate(*pair) for pair in pairs)
    due_fps = served_fps + sum(frame_rate(*pair, "dropped_total") for pair in pairs)
    busy: dict[str, float] = defaultdict(float)  # cores, by part
    for key, used_s in last.cpu_s.items():
        busy[key[0]] += (used_s - first.cpu_s.get(key, 0.0)) / seconds
    return {
        "offered": round(due_fps / (len(pairs) * fps), 4),
        "served_fps": round(served_fps, 3),
        "core_ms": {name: round(cores / served_fps * 1e3, 3) for name, cores in busy.items() if served_fps},
        "cores": {name: round(cores, 4) for name, cores in busy.items()},
    }


def _latency(reading: _Reading) -> dict[str, float | None]:
    """The median camera's median and the worst camera's 99th percentile; None while there are none."""
    p50, p99 = (
        [value for one in reading.cameras if (value := one.get(f"latency_{key}_ms")) is not None]
        for key in ("p50", "p99")
    )
    return {
        "latency_p50_ms": round(statistics.median(p50), 1) if p50 else None,
        "latency_p99_ms": round(max(p99), 1) if p99 else None,
    }


def kept_up(tracked: int, dropped: int, p99_ms: float | None, bound_ms: float) -> bool:
    """Whether the frames that were due were detected, and soon enough: 99 % of them within the bound."""
    return dropped <= DROPS * (tracked + dropped) and p99_ms is not None and p99_ms <= bound_ms


def stream_size(video: Path) -> tuple[int, float]:
    """Pixels of a video's frames, and bytes a second of its packets; RTP adds a few percent to these."""
    total, end_s = 0, 0.0
    with av.open(str(video)) as container:
        context = container.streams.video[0].codec_context
        for packet in container.demux(video=0):
            total += packet.size
            if packet.pts is not None and packet.time_base is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if not end_s:
            raise ServerError(f"{video} has no times")
        return int(context.width * context.height), total / end_s
