from __future__ import annotations

import contextlib
import itertools
import time

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from sightline.entities import ClockSource
from sightline.errors import SourceEnded, SourceUnreachable
from sightline.video.picture import YuvPicture
from sightline.video.source import Source
from support.camera_world import HEIGHT, WIDTH, camera, make_clip, picture_at


def collect(source):
    frames = []
    with contextlib.suppress(SourceEnded):
        for frame in source.frames():
            frames.append(frame)
    return frames


def run_file(path, *, realtime=False, **options):
    source = Source(camera(path, **options), realtime=realtime)
    source.open()
    frames = collect(source)
    source.close()
    return frames, source


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=50, fps=10)


def test_a_file_gives_every_frame_with_recorded_times(clip):
    frames, source = run_file(clip)
    assert [frame.index for frame in frames] == list(range(50))
    assert source.packets == 50
    assert all(
        b.capture_time - a.capture_time == pytest.approx(0.1, abs=1e-5) for a, b in itertools.pairwise(frames)
    )
    assert {frame.clock_source for frame in frames} == {ClockSource.PTS}


def test_the_gate_keeps_the_rate_and_counts(clip):
    frames, source = run_file(clip, fps=5)
    assert len(frames) == 25
    assert source.gate_skipped == 25
    assert [round(frame.media_s, 3) for frame in frames[:3]] == [0.0, 0.2, 0.4]


def test_b_frames_come_in_the_order_of_display(tmp_path):
    # fault 10
    path = make_clip(tmp_path / "b.mp4", frames=40, bframes=3, gop=40)
    with av.open(str(path)) as container:
        dts_order = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert dts_order != sorted(dts_order)  # there are B-frames in it
    frames, source = run_file(path)
    assert [round(frame.media_s, 3) for frame in frames] == [n / 10 for n in range(40)]
    assert source.stray_frames == 0


def test_time_comes_from_pts_when_the_frame_rate_varies(tmp_path):
    # fault 10
    times = [0.0, 0.1, 0.2, 0.7, 0.75, 0.8, 2.5, 2.6, 3.0, 3.04]
    frames, _ = run_file(make_clip(tmp_path / "vfr.mp4", frames=10, times=times))
    assert [frame.media_s for frame in frames] == pytest.approx(times)
    start = frames[0].capture_time
    assert [frame.capture_time - start for frame in frames] == pytest.approx(times, abs=1e-5)


def test_non_reference_frames_are_skipped_by_option(tmp_path):
    path = make_clip(tmp_path / "b.mp4", frames=40, bframes=3, gop=40)
    frames, _ = run_file(path, skip_non_reference=True)
    assert 5 <= len(frames) < 40


def test_hardware_that_is_not_there_falls_back_with_a_warning(clip, caplog):
    frames, _ = run_file(clip, hardware_decoder="no-such-device")
    assert len(frames) == 50
    assert len([r for r in caplog.records if "decoder cpu: no no-such-device" in r.message]) == 1


def test_a_file_in_real_time_takes_its_time_and_can_be_aborted(clip):
    source = Source(camera(clip), realtime=True)
    source.open()
    received = []
    for frame in source.frames():
        received.append(frame.received_s)
        if len(received) == 6:
            source.abort()
    source.close()
    assert len(received) == 6
    assert received[-1] - received[0] > 0.3


def test_a_picture_of_the_right_size_is_copied_exactly(tmp_path):
    path = make_clip(tmp_path / "lossless.mp4", frames=1)
    with av.open(str(path)) as container:
        decoded = next(container.decode(video=0))
    out = np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)
    YuvPicture(decoded, VideoReformatter()).write_i420(out)
    assert np.array_equal(out, decoded.to_ndarray(format="yuv420p"))


@pytest.mark.parametrize("width", [318, 322, 334])
def test_padded_lines_are_handled(width):
    picture = picture_at(3, width, 200)
    frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
    out = np.zeros_like(picture)
    YuvPicture(frame, VideoReformatter()).write_i420(out)
    assert np.array_equal(out, picture)


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 360), (96, 250)])
def test_a_picture_scales_to_any_even_size(clip, width, height):
    frames, _ = run_file(clip, fps=1)
    out = np.zeros((height * 3 // 2, width), np.uint8)
    for frame in frames:
        frame.picture.write_i420(out)
        assert out[:height].max() > 190  # the bright square
        assert abs(int(out[height:].mean()) - 128) < 4  # grey stays grey


def test_a_full_range_camera_comes_out_in_limited_range():
    full = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    full[: HEIGHT // 2], full[HEIGHT // 2 : HEIGHT] = 0, 255
    frame = av.VideoFrame.from_ndarray(full, format="yuvj420p")
    for height, width in ((HEIGHT, WIDTH), (HEIGHT // 2, WIDTH // 2)):
        out = np.zeros((height * 3 // 2, width), np.uint8)
        YuvPicture(frame, VideoReformatter()).write_i420(out)
        assert abs(int(out[0, 0]) - 16) <= 1
        assert abs(int(out[height - 1, 0]) - 235) <= 1
        assert abs(int(out[height:].mean()) - 128) <= 1


@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p", "yuv444p"])
def test_other_pixel_formats_are_converted(tmp_path, pix_fmt):
    frames, _ = run_file(make_clip(tmp_path / "clip.mp4", frames=3, pix_fmt=pix_fmt))
    out = np.zeros((HEIGHT * 3 // 2, WIDTH), np.uint8)
    frames[0].picture.write_i420(out)
    difference = out[:HEIGHT].astype(int) - picture_at(0)[:HEIGHT]
    assert abs(difference).mean() < 4


@pytest.mark.parametrize("shape", [(361, 320), (360, 321), (362, 320)])
def test_a_buffer_of_another_shape_is_refused(shape):
    frame = av.VideoFrame.from_ndarray(picture_at(0), format="yuv420p")
    with pytest.raises(ValueError, match="out must be"):
        YuvPicture(frame, VideoReformatter()).write_i420(np.zeros(shape, np.uint8))


def test_another_rate_passes_from_the_next_frame_on(clip):
    source = Source(camera(clip, fps=5), realtime=False)
    source.open()
    times = []
    with contextlib.suppress(SourceEnded):
        for frame in source.frames():
            times.append(round(frame.media_s, 3))
            if len(times) == 5:
                source.change_fps(None)
    source.close()
    assert times[:5] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert times[6:10] == [1.1, 1.2, 1.3, 1.4]


def test_a_source_that_is_opened_again_starts_anew_but_time_and_counters_go_on(clip):
    source, openings = Source(camera(clip, fps=5), realtime=False), []
    for number in (1, 2):
        source.open()
        openings.append(collect(source))
        source.close()
        assert (source.packets, source.gate_skipped) == (50 * number, 25 * number)
    first, second = openings
    assert [frame.index for frame in first] == [frame.index for frame in second] == list(range(25))
    assert [frame.media_s for frame in first] == [frame.media_s for frame in second]
    assert second[0].capture_time > first[-1].capture_time


def test_a_source_says_what_ffmpeg_is_at_and_until_when(clip, monkeypatch):
    source = Source(camera(clip, open_timeout_s=0.05, stall_timeout_s=0.05), realtime=False)
    said = []

    def open_slowly(*_):
        time.sleep(0.15)
        said.append(source.call)
        raise SourceUnreachable("at last")

    assert source.call is None
    monkeypatch.setattr("sightline.video.container.open_container", open_slowly)
    with pytest.raises(SourceUnreachable):
        source.open()
    assert said[0][0] == "opening"
    assert -0.15 < said[0][1] - time.monotonic() < 0
    assert source.call is None, "it has returned"
