"""Load as our own clients make it: real RTSP cameras through the real ``sightline run``."""

import argparse
import contextlib
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from load.servers import Target, cpu_s, inference_count, parts_of, pinned, pss_mb
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

        def read() -> tuple[float, int, float, list[dict[str, Any]]]:
            triton.check()
            sightline.check()
            now, inferences, statuses = time.monotonic(), inference_count(triton), sightline.statuses()
            records = sightline.metric("sightline_writer_written_records_total")
            return now, inferences, records, [statuses[name] for name in cameras]

        triton.check()
        sightline.wait_until_online()
        time.sleep(options.settle)
        parts = parts_of(triton=triton.pid, sightline=sightline.pid, rtsp=rtsp.pid)
        (begin_s, inferences, records, before), used = read(), cpu_s(parts)
        time.sleep(options.seconds)
        used_after, (end_s, inferences_after, records_after, after) = cpu_s(parts), read()
        memory, seconds = pss_mb(parts), end_s - begin_s
    busy: dict[str, float] = defaultdict(float)  # cores, by part
    for key, spent_s in used_after.items():
        busy[key[0]] += (spent_s - used.get(key, 0.0)) / seconds
    pairs = list(zip(before, after, strict=True))
    tracked = sum(last["frames_total"] - first["frames_total"] for first, last in pairs)
    dropped = sum(last["dropped_total"] - first["dropped_total"] for first, last in pairs)
    served_fps = sum(frame_rate(*pair) for pair in pairs)
    due_fps = served_fps + sum(frame_rate(*pair, "dropped_total") for pair in pairs)
    latency_ms = {
        key: [value for one in after if (value := one.get(f"latency_{key}_ms")) is not None]
        for key in ("p50", "p99")
    }
    sizes, p99_ms = [stream_size(video) for video in videos], max(latency_ms["p99"], default=None)
    return {
        "cameras": len(videos),
        "fps": fps,
        "seconds": round(seconds, 3),
        "due": tracked + dropped,
        "tracked": tracked,
        "dropped": dropped,
        "kept_up": kept_up(tracked, dropped, p99_ms, options.p99_ms),
        "offered": round(due_fps / (len(videos) * fps), 4),
        "served_fps": round(served_fps, 3),
        "server_fps": round((inferences_after - inferences) / seconds, 3),
        "latency_p50_ms": round(statistics.median(latency_ms["p50"]), 1) if latency_ms["p50"] else None,
        "latency_p99_ms": None if p99_ms is None else round(p99_ms, 1),
        "core_ms": {name: round(value / served_fps * 1e3, 3) for name, value in busy.items() if served_fps},
        "cores": {name: round(value, 4) for name, value in busy.items()},
        "pss_mb": memory,
        "decode_ms": round(statistics.mean(one["stages_ms"]["decode"]["mean"] for one in after), 3),
        "pixels": round(statistics.mean(pixels for pixels, _ in sizes)),
        "bytes_s": round(statistics.mean(bytes_s for _, bytes_s in sizes)),
        "records_s": round((records_after - records) / seconds / len(videos), 3),
        "transport": after[0]["transport"],
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
