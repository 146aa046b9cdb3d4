"""Which decoder a camera's stream gets, and why not a better one.

``hardware_decoder: auto`` takes, of these, the first that works: NVDEC whose pictures stay on the GPU, NVDEC
whose pictures are copied to the host, the CPU.
"""

import logging
from collections.abc import Callable
from typing import Any

import av
from av.codec import CodecContext
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from sightline.base.cuda import has_gpu
from sightline.config import Camera
from sightline.entities import Picture
from sightline.errors import SharedMemoryError
from sightline.video.device_picture import FORMATS, CudaPicture, CupyArrays, DeviceScaler
from sightline.video.display import AS_DECODED, Display
from sightline.video.picture import YuvPicture

log = logging.getLogger(__name__)

AUTO, CUDA, CPU = "auto", "cuda", "cpu"
#: Formats that hardware decoders give, on their device or copied from it; those of the CPU are planar.
_BY_HARDWARE = FORMATS | {CUDA}
#: FFmpeg's decoder joins the CUDA context of the thread, which CuPy has made. Its own way to share one, the
#: primary context, it refuses when somebody else made that with other flags, as CuPy and the CUDA runtime do.
_SAME_CONTEXT: dict[str, Any] = {"options": {"primary_ctx": "0", "current_ctx": "1"}, "is_hw_owned": True}
#: What PyAV raises when a device cannot be opened.
_REFUSED = (av.FFmpegError, ValueError, NotImplementedError)
#: Devices with which a probe has succeeded, with the scaler's context or without.
_WORKS: set[tuple[str, bool]] = set()


class DecoderChoice:
    """A camera's decoder, over all openings of its stream.

    The decode thread calls it. The main thread reads :attr:`used`, and the pictures' scaler.
    """

    def __init__(self, camera: Camera, *, make_arrays: Callable[[], CupyArrays] = CupyArrays) -> None:
        self._camera = camera
        self._make_arrays = make_arrays
        self._scaler = VideoReformatter()
        self._device: DeviceScaler | None = None
        self._asked = camera.stream.hardware_decoder
        self._logged = ""
        self.used = CPU  # and after a colon why it is not the one asked for; for the status

    def accelerator(self) -> HWAccel | None:
        """What to open the next stream with; None for the CPU."""
        self.used = CPU
        if self._asked is None:
            return None
        if self._asked == AUTO and not has_gpu():
            self._choose(f"{CPU}: no NVIDIA driver here")
            return None
        device = CUDA if self._asked == AUTO else self._asked
        if problem := _problem(device):
            self._choose(f"{CPU}: no {device} decoder ({problem})")
            return None
        self.used = device
        if device == CUDA and self._device is None:  # can pictures be scaled there?
            try:
                self._device = DeviceScaler(self._make_arrays())
            except SharedMemoryError as error:
                self._choose(f"{CUDA}: pictures go through the host, {error}")
        if device == CUDA and self._device is not None:
            problem = _problem(device, same_context=True)
            if not problem:
                return HWAccel(device, allow_software_fallback=True, **_SAME_CONTEXT)
            self._choose(f"{CUDA}: pictures go through the host, {problem}")
        return HWAccel(device, allow_software_fallback=True)

    def picture(self, frame: VideoFrame, display: Display = AS_DECODED) -> Picture:
        """A decoded frame as a picture, where it is."""
        device = self.used.split(":")[0]
        if device != CPU and frame.format.name not in _BY_HARDWARE:
            self._choose(f"{CPU}: the {device} decoder does not take this stream")
        if self._device is not None and frame.format.name == CUDA:
            if frame.sw_format is not None and frame.sw_format.name in FORMATS:
                return CudaPicture(frame, self._scaler, self._device, display)
            self._choose(f"{CUDA}: pictures go through the host, {frame.sw_format} is not scaled on the GPU")
        return YuvPicture(frame, self._scaler, display)

    def _choose(self, used: str) -> None:
        """Once, not at every opening: a camera may come and go for weeks."""
        self.used = used
        if used != self._logged:
            self._logged = used
            level = logging.INFO if self._asked == AUTO and not has_gpu() else logging.WARNING
            log.log(level, "camera %s: decoder %s", self._camera.name, used)


def _problem(device: str, *, same_context: bool = False) -> str:
    """Why ``device`` cannot decode so; empty when it can.

    A probe makes a context on the device and ends it, so what works is not tried again in this process.
    """
    if (device, same_context) in _WORKS:
        return ""
    try:
        if device not in hwdevices_available():
            raise ValueError(f"known here: {', '.join(hwdevices_available())}")
        CodecContext.create("h264", "r", HWAccel(device, **_SAME_CONTEXT if same_context else {}))
    except _REFUSED as error:
        return str(error)
    _WORKS.add((device, same_context))
    return ""
