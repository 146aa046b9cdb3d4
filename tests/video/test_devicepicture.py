"""Pictures that stay on the GPU: their arithmetic against the host's scaler; and which decoder is taken.

The array module is the one seam: on a GPU it is CuPy, here numpy, with PyAV's own NV12 planes by DLPack.
"""

import ctypes
import logging
import sys

import av
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available
from av.video.reformatter import ColorRange, VideoReformatter

from sightline.base.cuda import has_gpu
from sightline.base.letterbox import fill_border
from sightline.config import parse_config
from sightline.errors import SharedMemoryError
from sightline.inference.segments import CudaSegment
from sightline.video.decoders import DecoderChoice
from sightline.video.device_picture import (
    CudaPicture,
    CupyArrays,
    DeviceScaler,
    _OnDefaultStream,
    area_weights,
)
from sightline.video.display import Display
from sightline.video.picture import YuvPicture
from support.fake_cuda import FakeCuda


class NumpyArrays:
    module = np

    def __init__(self, real=np.float32):
        self.real = real
        self.waits = 0

    def plane(self, plane):
        return np.from_dlpack(_OnDefaultStream(plane))

    def at(self, address, byte_size, device):
        return np.frombuffer((ctypes.c_uint8 * byte_size).from_address(address), np.uint8)

    def to_host(self, array):
        return array.copy()

    def wait(self):
        self.waits += 1


def nv12(height, width, *, seed=0, full=False, kind="nv12"):
    """A frame with smooth and with sharp places, as a decoder on a GPU lays it out."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(16, 236, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    rgb = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]
    rgb[height // 3 : height // 2, :, 0] = np.linspace(0, 255, width).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), "rgb24")
    found = frame.reformat(format=kind, dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG)
    found.color_range = ColorRange.JPEG if full else ColorRange.MPEG
    return found


def both(frame, height, width, real=np.float32):
    """The same picture by the host's scaler and by the array code: uint8 [3/2·height, width] each."""
    host, device = (np.zeros((height * 3 // 2, width), np.uint8) for _ in range(2))
    YuvPicture(frame, VideoReformatter()).write_i420(host)
    CudaPicture(frame, VideoReformatter(), DeviceScaler(NumpyArrays(real))).write_i420(device)
    return host.astype(int), device.astype(int)


@pytest.mark.parametrize("display", [Display(True, True), Display(False, True, True, 2.0)])
def test_a_picture_that_is_turned_and_stretched_is_the_same_on_the_gpu(display):
    frame = nv12(96, 160)
    host, device = (np.zeros((160 * 3 // 2, 160), np.uint8) for _ in range(2))
    box = (0, 0, 96, 160) if display.transposed else (0, 0, 160, 48)
    YuvPicture(frame, VideoReformatter(), display).write_i420(host, box)
    CudaPicture(frame, VideoReformatter(), DeviceScaler(NumpyArrays()), display).write_i420(device, box)
    assert host.any()
    assert abs(host.astype(int) - device).max() <= 2


@pytest.mark.parametrize("real", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("source", "target"),
    [((216, 384), (108, 192)), ((216, 384), (180, 320)), ((240, 320), (144, 192)), ((144, 256), (144, 256))],
)
def test_the_array_code_scales_as_the_hosts_scaler_does(source, target, real):
    host, device = both(nv12(*source), *target, real)
    assert np.abs(host - device).max() <= 3  # grey levels; the host rounds between rows and columns
    assert np.abs(host - device).mean() < 0.5


def test_full_range_becomes_limited_range_and_sixteen_bits_become_eight():
    host, device = both(nv12(144, 256, full=True), 72, 128)
    assert np.abs(host - device).max() <= 3
    frame = nv12(144, 256, kind="p010le")
    device = np.zeros((108, 128), np.uint8)
    CudaPicture(frame, VideoReformatter(), DeviceScaler(NumpyArrays())).write_i420(device)
    host, _ = both(nv12(144, 256), 72, 128)
    assert np.abs(host - device.astype(int)).max() <= 3


def test_what_people_and_measures_see_of_a_picture_is_fetched():
    frame = nv12(144, 256)
    host = YuvPicture(frame, VideoReformatter())
    device = CudaPicture(frame, VideoReformatter(), DeviceScaler(NumpyArrays()))
    np.testing.assert_array_equal(device.luma(), host.luma())
    assert (
        CudaPicture(nv12(16, 16, kind="p010le"), VideoReformatter(), DeviceScaler(NumpyArrays())).luma()
        is None
    )


@pytest.mark.parametrize(("source", "target"), [(6, 3), (10, 4), (1920, 640), (7, 7), (639, 640)])
def test_every_target_pixel_is_an_average(source, target):
    weights = area_weights(source, target)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(weights.sum(axis=0), target / source, atol=1e-5)  # no source pixel counts more
    assert weights.min() >= 0


def test_a_picture_on_the_gpu_is_scaled_into_its_slot_without_the_host(tmp_path, monkeypatch):
    runtime, arrays = FakeCuda(), NumpyArrays()
    monkeypatch.setattr("sightline.base.cuda.import_module", lambda _: runtime)
    segment = CudaSegment("name", 3, (144, 128), folder=tmp_path)
    picture = CudaPicture(nv12(144, 256), VideoReformatter(), DeviceScaler(arrays))
    box = (0, 12, 128, 72)
    picture.write_device(segment.address(1), 144, 128, 0, box, border=True)
    assert runtime.copies == []
    assert arrays.waits == 1
    assert picture.scale_s > 0
    wanted = np.zeros((144, 128), np.uint8)
    fill_border(wanted, box)
    picture.write_i420(wanted, box)
    slots = [ctypes.string_at(segment.address(slot), 144 * 128) for slot in range(3)]
    assert slots[1] == wanted.tobytes()
    assert wanted[0, 0] == 114
    assert not any(slots[0] + slots[2])
    segment.close()


# --- which decoder ------------------------------------------------------------------------------------


def camera(decoder):
    found = parse_config(
        {"cameras": {"gate": {"url": "rtsp://host/a", "stream": {"hardware_decoder": decoder}}}}
    )
    return found.cameras["gate"]


def test_auto_without_a_gpu_is_the_cpu_and_the_status_says_why(caplog):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    decoders = DecoderChoice(camera("auto"))
    with caplog.at_level(logging.INFO):
        assert [decoders.accelerator() for _ in range(3)] == [None] * 3
    assert decoders.used == "cpu: no NVIDIA driver here"
    said = [record.message for record in caplog.records]
    assert said == ["camera gate: decoder cpu: no NVIDIA driver here"]
    assert DecoderChoice(camera(None)).accelerator() is None


def test_nvdec_without_its_driver_falls_back_and_says_so_once(caplog):
    if has_gpu():
        pytest.skip("this machine has a GPU")
    if "cuda" not in hwdevices_available():
        pytest.skip("this FFmpeg has no NVDEC")
    decoders = DecoderChoice(camera("cuda"))
    assert [decoders.accelerator() for _ in range(2)] == [None, None]
    assert decoders.used.startswith("cpu: no cuda decoder (")
    ours = [record for record in caplog.records if record.name.startswith("sightline")]
    assert len(ours) == 1  # FFmpeg says more where its log is on


@pytest.fixture
def with_nvdec(monkeypatch):
    """As if this machine had the decoder; no frame can be decoded by it."""
    monkeypatch.setattr("sightline.video.decoders._WORKS", set())
    monkeypatch.setattr("sightline.video.decoders.CodecContext.create", lambda *_: None)
    monkeypatch.setattr("sightline.video.decoders.has_gpu", lambda: True)
    monkeypatch.setattr("sightline.video.decoders.hwdevices_available", lambda: ["cuda", "vaapi"])


def test_pictures_stay_on_the_gpu_where_they_can_be_scaled_there(with_nvdec):
    decoders = DecoderChoice(camera("auto"), make_arrays=NumpyArrays)
    accelerator = decoders.accelerator()
    assert accelerator.is_hw_owned
    assert decoders.used == "cuda"


def test_the_gpu_is_probed_once_not_at_every_opening(with_nvdec, monkeypatch):
    probes = []
    monkeypatch.setattr("sightline.video.decoders.CodecContext.create", lambda *_: probes.append(1))
    for _ in range(2):
        decoders = DecoderChoice(camera("auto"), make_arrays=NumpyArrays)
        assert all(decoders.accelerator().is_hw_owned for _ in range(3))
    assert len(probes) == 2  # with a context of its own, and with that of the scaler


def test_where_the_context_cannot_be_shared_pictures_go_through_the_host(with_nvdec, monkeypatch, caplog):
    """As FFmpeg did on the first card that this ran on: then no stream could be opened at all."""

    def refuse(_codec, _mode, accelerator):
        if accelerator.is_hw_owned:
            raise av.error.OSError(95, "Operation not supported")

    monkeypatch.setattr("sightline.video.decoders.CodecContext.create", refuse)
    decoders = DecoderChoice(camera("auto"), make_arrays=NumpyArrays)
    assert [decoders.accelerator().is_hw_owned for _ in range(2)] == [False, False]
    assert decoders.used.startswith("cuda: pictures go through the host, ")
    assert "Operation not supported" in decoders.used
    assert len(caplog.records) == 1


def test_without_cupy_pictures_go_through_the_host_and_the_status_says_why(with_nvdec, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy", None)
    decoders = DecoderChoice(camera("auto"))
    assert [decoders.accelerator().is_hw_owned for _ in range(2)] == [False, False]
    assert decoders.used.startswith("cuda: pictures go through the host, CuPy cannot be used")
    assert len(caplog.records) == 1
    assert isinstance(decoders.picture(nv12(16, 16)), YuvPicture)
    with pytest.raises(SharedMemoryError, match="CuPy cannot be used"):
        CupyArrays()


def test_a_stream_that_the_gpus_decoder_refuses_is_told_by_its_frames(with_nvdec, caplog):
    decoders = DecoderChoice(camera("cuda"), make_arrays=NumpyArrays)
    decoders.accelerator()
    planar = nv12(16, 16, kind="yuv420p")
    assert all(isinstance(decoders.picture(planar), YuvPicture) for _ in range(3))
    assert decoders.used == "cpu: the cuda decoder does not take this stream"
    assert len(caplog.records) == 1
