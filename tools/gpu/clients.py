"""Sightline's own clients against a served detector, as fast as they are answered."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sightline.base.cuda import Cuda
from sightline.base.geometry import fit_size
from sightline.base.letterbox import letterbox_i420, letterboxed
from sightline.config import Camera, Transport, TritonOptions, parse_config
from sightline.entities import U8, Box, ClockSource, Detections, Frame
from sightline.errors import DetectorError, SharedMemoryError, SourceEnded, SourceError
from sightline.inference.client import ServedDetector, TritonConnection
from sightline.video.decoders import DecoderChoice
from sightline.video.source import Source

WARM_UP_S = 1.0
ANSWER_S = 30.0
PICTURES = 8
PICTURE_STEP = 10  # frames of the video from one picture to the next


@dataclass(frozen=True, slots=True)
class Load:
    """What one client does.

    Attributes:
        number: of the client; its slots are named after it.
        url: host:port of gRPC.
        transport: how pictures reach the server.
        on_gpu: ready pictures lie in the GPU's memory, as NVDEC leaves them.
        video: where pictures come from; None: they are noise.
        decodes: the video is decoded and scaled, again and again; else some pictures are ready in memory.
        seconds: of measuring, after the warm-up.
        in_flight: requests in flight.
    """

    number: int
    url: str
    transport: str
    on_gpu: bool
    video: Path | None
    decodes: bool
    seconds: float
    in_flight: int


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
        self._cuda = cuda
        self._address = cuda.allocate(pixels.nbytes)
        cuda.copy(self._address, pixels.ctypes.data, pixels.nbytes)

    def write_device(
        self, address: int, rows: int, width: int, device: int, box: Box, *, border: bool
    ) -> None:
        """Copy it from device to device."""
        self._cuda.copy(address, self._address, rows * width)


def measure(load: Load, clients: int) -> dict[str, Any]:
    """Several clients at once, a process each.

    Returns:
        ``fps`` of all together, ``p50_ms`` and ``p99_ms`` of all answers, ``transport`` and ``decoder`` that
        were used; or ``problem``: why nothing could be measured.
    """
    loads = [replace(load, number=number) for number in range(clients)]
    with ProcessPoolExecutor(clients, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(run_client, loads))
    problems = sorted({one["problem"] for one in found if "problem" in one})
    if problems:
        return {"problem": "; ".join(problems)}
    latencies_ms = np.concatenate([one["latencies_s"] for one in found]) * 1000
    if not len(latencies_ms):
        return {"problem": "no answer within the time"}
    return {
        "fps": round(sum(len(one["latencies_s"]) / one["seconds"] for one in found), 2),
        "p50_ms": round(float(np.percentile(latencies_ms, 50)), 3),
        "p99_ms": round(float(np.percentile(latencies_ms, 99)), 3),
        "frames": len(latencies_ms),
        "transport": found[0]["transport"],
        "decoder": found[0]["decoder"],
    }


def run_client(load: Load) -> dict[str, Any]:
    """One client, in its own process."""
    options = TritonOptions(
        url=load.url, transport=Transport(load.transport), in_flight=load.in_flight, deadline_s=ANSWER_S
    )
    connection = TritonConnection(options, f"proof{load.number}")
    detector = connection.model()
    try:
        info = detector.connect()
        frames = _Frames(load, (info.network_height, info.network_width))
        latencies_s, seconds = _run(detector, iter(frames), load)
    except (DetectorError, SharedMemoryError, SourceError) as error:
        return {"problem": str(error)}
    finally:
        connection.close()
    return {
        "latencies_s": latencies_s,
        "seconds": seconds,
        "transport": str(detector.transport or load.transport),
        "decoder": frames.decoder,
    }


def answers(load: Load, count: int) -> list[Detections]:
    """What the server finds in the first ready pictures, one after the other; in this process.

    Raises:
        DetectorError: it does not answer.
        SharedMemoryError: the transport cannot be used.
    """
    options = TritonOptions(
        url=load.url, transport=Transport(load.transport), in_flight=1, deadline_s=ANSWER_S
    )
    with TritonConnection(options, "proof") as connection:
        detector = connection.model()
        info = detector.connect()
        frames = iter(_Frames(load, (info.network_height, info.network_width)))
        return [detector.submit([next(frames)])[0].result(ANSWER_S) for _ in range(count)]


def ready_pictures(network: tuple[int, int], video: Path | None, seed: int = 0) -> list[U8]:
    """I420 pictures uint8 [3/2·height, width] of a network's size, grey around them: of a video, else noise.

    Args:
        network: height and width of its input.
        video: pictures are taken from it at equal distances.
        seed: of the noise, and the place of the first picture.
    """
    if video is None:
        width, height = fit_size(1920, 1080, network[1], network[0])
        rng = np.random.default_rng(seed)
        noise = rng.integers(16, 236, (PICTURES, height * 3 // 2, width), np.uint8)
        return [letterbox_i420(picture, network)[0] for picture in noise]
    pictures: list[U8] = []
    source = Source(_camera(video, None), realtime=False)
    source.open()
    try:
        for frame in source.frames():
            if frame.index % PICTURE_STEP == seed % PICTURE_STEP:
                pictures.append(letterboxed(frame.picture, network)[0])
            if len(pictures) == PICTURES:
                break
    except SourceEnded:
        pass
    finally:
        source.close()
    if not pictures:
        raise SourceError(f"{video} has no pictures")
    return pictures


def _camera(video: Path | None, hardware_decoder: str | None) -> Camera:
    camera = {"url": str(video), "stream": {"hardware_decoder": hardware_decoder}}
    return parse_config({"allow": {"files": True}, "cameras": {"proof": camera}}).cameras["proof"]


def _run(detector: ServedDetector, frames: Iterator[Frame], load: Load) -> tuple[list[float], float]:
    """Latencies of the answers after the warm-up, and the seconds in which they came."""
    waiting: deque[tuple[float, Future[Any]]] = deque()
    latencies_s: list[float] = []
    begin = time.perf_counter() + min(WARM_UP_S, load.seconds)
    end = begin + load.seconds
    for frame in frames:
        now = time.perf_counter()
        if now >= end:
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
    return latencies_s, load.seconds


class _Frames:
    """Frames without end: ready ones, or those of the video."""

    def __init__(self, load: Load, network: tuple[int, int]) -> None:
        self._load = load
        self._network = network
        self.decoder = ""

    def __iter__(self) -> Iterator[Frame]:
        return self._decoded() if self._load.decodes else self._ready()

    def _ready(self) -> Iterator[Frame]:
        pictures = ready_pictures(self._network, self._load.video, self._load.number)
        cuda = Cuda() if self._load.on_gpu else None
        ready = [ReadyOnGpu(one, cuda) if cuda else ReadyPicture(one) for one in pictures]
        for index in itertools.count():
            now = time.monotonic()
            yield Frame(ready[index % len(ready)], index, now, time.time(), ClockSource.ARRIVAL, now)

    def _decoded(self) -> Iterator[Frame]:
        camera = _camera(self._load.video, "auto")
        decoder = DecoderChoice(camera)
        while True:
            source = Source(camera, realtime=False, decoder=decoder)
            source.open()
            try:
                for frame in source.frames():
                    self.decoder = decoder.used
                    yield frame
            except SourceEnded:
                continue
            finally:
                source.close()
