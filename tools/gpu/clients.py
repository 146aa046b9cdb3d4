"""Sightline's own clients against a served detector, as fast as they are answered."""

import contextlib
import itertools
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np

from sightline.base.cuda import Cuda, has_gpu
from sightline.base.geometry import fit_size
from sightline.base.letterbox import letterbox_i420, letterboxed
from sightline.config import Transport, TritonOptions, parse_config
from sightline.entities import U8, Box, ClockSource, Detections, Frame
from sightline.errors import DetectorError, SharedMemoryError, SourceEnded, SourceError
from sightline.inference.client import TritonConnection
from sightline.video.picture import YuvPicture
from sightline.video.source import Source

WARM_UP_S = 1.0
ANSWER_S = 30.0
NO_GPU = "not measured: no NVIDIA driver here"


@dataclass(frozen=True, slots=True)
class Load:
    """What one client does."""

    url: str  # host:port of gRPC
    transport: str  # how pictures reach the server
    on_gpu: bool  # ready pictures lie in the GPU's memory, as NVDEC leaves them
    video: Path | None  # where pictures come from; None: they are noise
    seconds: float  # of measuring, after the warm-up
    in_flight: int  # requests in flight
    # the video is decoded and scaled, again and again; else some pictures are ready in memory
    decodes: bool = False
    number: int = 0  # of the client; its slots are named after it

    def connect(self) -> TritonConnection:
        """A connection to the server."""
        options = {"url": self.url, "transport": Transport(self.transport), "in_flight": self.in_flight}
        return TritonConnection(TritonOptions(**options, deadline_s=ANSWER_S), f"proof{self.number}")


class ReadyPicture:
    """A picture that has the network's size already."""

    scale_s = 0.0

    def __init__(self, pixels: U8) -> None:
        self._pixels = pixels
        self.height, self.width = pixels.shape[0] * 2 // 3, pixels.shape[1]

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        """Copy it."""
        out[:] = self._pixels


class ReadyOnGpu(ReadyPicture):
    """The same in the memory of the GPU."""

    def __init__(self, pixels: U8, cuda: Cuda) -> None:
        super().__init__(pixels)
        self._cuda, self._address = cuda, cuda.allocate(pixels.nbytes)
        cuda.copy(self._address, pixels.ctypes.data, pixels.nbytes)

    def write_device(
        self, address: int, rows: int, width: int, device: int, box: Box, *, border: bool
    ) -> None:
        """Copy it from device to device."""
        self._cuda.copy(address, self._address, rows * width)


def measure(load: Load, clients: int) -> dict[str, Any]:
    """Several clients at once, a process each; without a GPU, CUDA's transport is not tried.

    Gives ``fps`` of all together, ``p50_ms`` and ``p99_ms`` of all answers, the ``transport`` and ``decoder``
    that were used; or ``problem``: why nothing could be measured.
    """
    if load.transport == "cuda" and not has_gpu():
        return {"problem": NO_GPU}
    loads = [replace(load, number=number) for number in range(clients)]
    with ProcessPoolExecutor(clients, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(run_client, loads))
    problems = sorted({one["problem"] for one in results if "problem" in one})
    if problems:
        return {"problem": "; ".join(problems)}
    latencies_ms = np.concatenate([one["latencies_s"] for one in results]) * 1000
    if not len(latencies_ms):
        return {"problem": "no answer within the time"}
    p50, p99 = np.percentile(latencies_ms, (50, 99)).round(3).tolist()
    figures = {"fps": round(len(latencies_ms) / load.seconds, 2), "p50_ms": p50, "p99_ms": p99}
    used = {key: results[0][key] for key in ("transport", "decoder")}
    return {**figures, "frames": len(latencies_ms), **used}


def run_client(load: Load) -> dict[str, Any]:
    """One client, in its own process: latencies of the answers after the warm-up."""
    said = {"url": str(load.video), "stream": {"hardware_decoder": "auto"}}
    camera = parse_config({"allow": {"files": True}, "cameras": {"proof": said}}).cameras["proof"]
    source = Source(camera, realtime=False)
    connection = load.connect()
    detector = connection.model()
    waiting: deque[tuple[float, Future[Any]]] = deque()
    latencies_s: list[float] = []
    try:
        info = detector.connect()
        size = info.network_height, info.network_width
        frames = decoded_frames(source) if load.decodes else ready_frames(load, size)
        begin = time.perf_counter() + min(WARM_UP_S, load.seconds)
        end = begin + load.seconds
        for frame in frames:
            if (now := time.perf_counter()) >= end:
                break
            waiting.append((now, detector.submit([frame])[0]))
            if len(waiting) >= load.in_flight:
                sent, future = waiting.popleft()
                future.result(ANSWER_S)
                answered = time.perf_counter()
                if begin <= answered < end:
                    latencies_s.append(answered - sent)
        for _, future in waiting:
            future.result(ANSWER_S)
    except (DetectorError, SharedMemoryError, SourceError) as error:
        return {"problem": str(error)}
    finally:
        connection.close()
    transport = str(detector.transport or load.transport)
    used = {"transport": transport, "decoder": source.decoder.used if load.decodes else ""}
    return {"latencies_s": latencies_s, **used}


def answers(load: Load, count: int) -> list[Detections]:
    """What the server finds in the first ready pictures, one after the other; in this process."""
    if load.transport == "cuda" and not has_gpu():
        raise SharedMemoryError(NO_GPU)
    with load.connect() as connection:
        detector = connection.model()
        info = detector.connect()
        frames = ready_frames(load, (info.network_height, info.network_width))
        return [detector.submit([next(frames)])[0].result(ANSWER_S) for _ in range(count)]


def ready_pictures(
    network: tuple[int, int], video: Path | None, seed: int = 0, *, count: int = 8, step: int = 10
) -> list[U8]:
    """I420 pictures uint8 [3/2·height, width] of a network's size, grey around them: of a video, else noise.

    At most ``count``, and every ``step``-th frame of the video; ``seed`` is that of the noise, and the place
    of the first picture.
    """
    if video is None:
        width, height = fit_size(1920, 1080, network[1], network[0])
        noise = np.random.default_rng(seed).integers(16, 236, (count, height * 3 // 2, width), np.uint8)
        return [letterbox_i420(picture, network)[0] for picture in noise]
    scaler = av.video.reformatter.VideoReformatter()
    with av.open(str(video)) as container:
        frames = itertools.islice(container.decode(video=0), seed % step, count * step, step)
        pictures = [letterboxed(YuvPicture(frame, scaler), network)[0] for frame in frames]
    if not pictures:
        raise SourceError(f"{video} has no pictures")
    return pictures


def ready_frames(load: Load, network: tuple[int, int]) -> Iterator[Frame]:
    """Frames of ready pictures, without end."""
    pictures = ready_pictures(network, load.video, load.number)
    cuda = Cuda() if load.on_gpu else None
    ready = [ReadyOnGpu(one, cuda) if cuda else ReadyPicture(one) for one in pictures]
    for index in itertools.count():
        now = time.monotonic()
        yield Frame(ready[index % len(ready)], index, now, time.time(), ClockSource.ARRIVAL, now)


def decoded_frames(source: Source) -> Iterator[Frame]:
    """Frames of the video, again and again."""
    while True:
        source.open()
        with contextlib.closing(source), contextlib.suppress(SourceEnded):
            yield from source.frames()
