from __future__ import annotations

import contextlib
import itertools
import re
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from sightline.entities import ClockSource
from sightline.errors import SourceEnded, SourceUnreachable, SourceUnusable
from sightline.video.picture import YuvPicture, encode_jpeg
from sightline.video.source import Source
from support.camera_world import HEIGHT, WIDTH, camera, make_clip, make_sound, picture_at


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


def remux(path, target, bend=None):
    """The clip's packets in another file, their bytes through ``bend``."""
    with av.open(str(path)) as clip, av.open(str(target), "w") as sink:
        stream = sink.add_stream_from_template(clip.streams.video[0])
        bare = av.BitStreamFilterContext("null" if bend else "h264_mp4toannexb", clip.streams.video[0])
        packets = [bent for packet in clip.demux(video=0) if packet.size for bent in bare.filter(packet)]
        for packet in packets:
            bent = av.Packet(bend(bytes(packet))) if bend else packet
            bent.pts, bent.dts, bent.time_base = packet.pts, packet.dts, packet.time_base
            bent.stream = stream
            sink.mux(bent)
    return target


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


@pytest.mark.parametrize("fps", [None, 5])
def test_a_file_goes_on_after_a_frame_as_if_it_had_not_been_interrupted(tmp_path, fps):
    path = make_clip(tmp_path / "b.mp4", frames=40, bframes=3, gop=40)
    whole, _ = run_file(path, fps=fps)
    last = whole[len(whole) // 3]
    source = Source(camera(path, fps=fps), realtime=False)
    source.go_on(last.media_s, last.capture_time)
    source.open()
    rest = collect(source)
    source.close()
    wanted = whole[last.index + 1 :]
    assert [(frame.index, frame.media_s) for frame in rest] == [(f.index, f.media_s) for f in wanted]
    assert [frame.capture_time for frame in rest] == pytest.approx([f.capture_time for f in wanted], abs=1e-6)


@pytest.mark.fault(10)
def test_b_frames_come_in_the_order_of_display(tmp_path):
    # fault 10
    path = make_clip(tmp_path / "b.mp4", frames=40, bframes=3, gop=40)
    with av.open(str(path)) as container:
        dts_order = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert dts_order != sorted(dts_order)  # there are B-frames in it
    frames, source = run_file(path)
    assert [round(frame.media_s, 3) for frame in frames] == [n / 10 for n in range(40)]
    assert source.stray_frames == 0


@pytest.mark.fault(10)
def test_time_comes_from_pts_when_the_frame_rate_varies(tmp_path):
    # fault 10
    times = [0.0, 0.1, 0.2, 0.7, 0.75, 0.8, 2.5, 2.6, 3.0, 3.04]
    frames, _ = run_file(make_clip(tmp_path / "vfr.mp4", frames=10, times=times))
    assert [frame.media_s for frame in frames] == pytest.approx(times)
    start = frames[0].capture_time
    assert [frame.capture_time - start for frame in frames] == pytest.approx(times, abs=1e-5)


def test_frames_without_times_are_numbered(tmp_path):
    # raw H.264, as recorders export it, and one whose times are out of order, as AVI keeps them
    path = make_clip(tmp_path / "b.mp4", frames=40, bframes=3, gop=40)
    frames, _ = run_file(remux(path, tmp_path / "raw.h264"))
    assert [round(frame.media_s, 3) for frame in frames] == [n / 10 for n in range(40)]
    assert [round(frame.capture_time - frames[0].capture_time, 3) for frame in frames[::10]] == [0, 1, 2, 3]
    assert {frame.clock_source for frame in frames} == {ClockSource.PTS}


def test_times_out_of_order_lose_no_frame(tmp_path):
    path = make_clip(tmp_path / "b.mp4", frames=40, bframes=3, gop=40)
    frames, source = run_file(remux(path, tmp_path / "b.avi"), fps=None)
    with av.open(str(tmp_path / "b.avi")) as container:
        given = [frame.pts for frame in container.decode(video=0)]
    assert given != sorted(given)  # as in the field
    assert len(frames) == 40
    assert source.stray_frames == 0
    assert frames[-1].capture_time - frames[0].capture_time == pytest.approx(3.9, abs=0.31)
    assert len(run_file(tmp_path / "b.avi", fps=5)[0]) == pytest.approx(20, abs=1)


def test_what_lies_between_two_scenes_of_a_recording_is_time(tmp_path):
    times = [n / 10 + 60 * (n >= 10) for n in range(20)]
    frames, _ = run_file(make_clip(tmp_path / "gap.mp4", frames=20, times=times))
    start = frames[0].capture_time
    assert [frame.capture_time - start for frame in frames] == pytest.approx(times, abs=1e-5)


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
@pytest.mark.parametrize("start_s", [0.0, 70_000.0, 95_442.0])  # MPEG-TS wraps at 95,443.7 s
def test_where_a_recordings_times_begin_does_not_matter(tmp_path, suffix, start_s):
    frames, _ = run_file(make_clip(tmp_path / f"late.{suffix}", frames=40, start_s=start_s, bframes=2))
    assert len(frames) == 40
    start = frames[0].capture_time
    assert [frame.capture_time - start for frame in frames] == pytest.approx(
        [n / 10 for n in range(40)], abs=0.0015
    )


def with_cover(path, target, *, only=False):
    """The clip behind a cover picture, as edited films carry one; ``only``: a picture and sound."""
    sound = make_sound(target.with_suffix(".aac.mp4"), seconds=1)
    with av.open(str(path)) as clip, av.open(str(sound)) as noise, av.open(str(target), "w") as sink:
        cover = sink.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 240, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        source = noise.streams.audio[0] if only else clip.streams.video[0]
        stream = sink.add_stream_from_template(source)
        frame = av.VideoFrame.from_ndarray(picture_at(30), format="yuv420p").reformat(format="yuvj420p")
        frame.pts = 0
        sink.mux(cover.encode(frame))
        sink.mux(cover.encode(None))
        for packet in (noise if only else clip).demux(source):
            if packet.size:
                packet.stream = stream
                sink.mux(packet)
    film = target.read_bytes()
    at, picture = film.index(b"moov") + 4, film.index(b"udta") - 4  # what describes the picture goes first
    end = picture + int.from_bytes(film[picture : picture + 4], "big")
    target.write_bytes(film[:at] + film[picture:end] + film[at:picture] + film[end:])
    with av.open(str(target)) as container:
        assert container.streams.video[0].disposition & av.stream.Disposition.attached_pic
    return target


def test_a_cover_picture_is_not_the_video(clip, tmp_path):
    frames, _ = run_file(with_cover(clip, tmp_path / "cover.mp4"))
    assert len(frames) == 50


def test_a_cover_picture_and_sound_are_no_video(clip, tmp_path):
    with pytest.raises(SourceUnusable, match=r"no video \(found: audio, cover picture\)"):
        run_file(with_cover(clip, tmp_path / "cover.mp4", only=True))


def test_the_default_stream_is_the_video(clip, tmp_path):
    other = make_clip(tmp_path / "other.mp4", frames=20, size=(640, 360))
    with av.open(str(tmp_path / "two.mkv"), "w") as sink:
        readers = [av.open(str(path)) for path in (other, clip)]
        streams = [sink.add_stream_from_template(reader.streams.video[0]) for reader in readers]
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for reader, stream in zip(readers, streams, strict=True):
            for packet in reader.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    sink.mux(packet)
            reader.close()
    frames, _ = run_file(tmp_path / "two.mkv")
    assert (len(frames), frames[0].picture.width) == (50, 320)


def test_of_two_default_streams_the_thumbnails_are_not_the_video(clip, tmp_path):
    with av.open(str(clip)) as reader, av.open(str(tmp_path / "thumbs.mp4"), "w") as sink:
        small = sink.add_stream("mjpeg", rate=1)
        small.width, small.height, small.pix_fmt = 160, 120, "yuvj420p"
        stream = sink.add_stream_from_template(reader.streams.video[0])
        small.disposition = stream.disposition = av.stream.Disposition.default
        frame = av.VideoFrame.from_ndarray(picture_at(0), format="yuv420p").reformat(160, 120, "yuvj420p")
        for number in range(5):
            frame.pts, frame.time_base = number, Fraction(1, 1)
            sink.mux(small.encode(frame))
        for packet in reader.demux(video=0):
            if packet.size:
                packet.stream = stream
                sink.mux(packet)
    frames, _ = run_file(tmp_path / "thumbs.mp4")
    assert (len(frames), frames[0].picture.width) == (50, 320)


@pytest.mark.parametrize(
    ("name", "make", "text"),
    [
        ("zero.mp4", lambda path: path.touch(), "is empty, cut off, or no recording"),
        ("text.mp4", lambda path: path.write_text("hello\n" * 1000), "is empty, cut off, or no recording"),
        (
            "cut.mp4",
            lambda path: path.write_bytes(path.with_name("whole.mp4").read_bytes()[:-900]),
            "cut off",
        ),
        ("one.jpg", lambda path: path.write_bytes(one_jpeg()), "is empty, cut off, or no recording"),
        ("loop.mp4", lambda path: path.symlink_to(path), "cannot be opened"),
        ("whole.mp4/inside.mp4", lambda _: None, "cannot be opened"),
        ("tiny.mkv", lambda path: make_clip(path, frames=2, size=(8, 8), codec="ffv1"), "smaller than 16"),
    ],
)
def test_a_file_that_is_no_recording_is_never_tried_for_ever(tmp_path, name, make, text):
    make_clip(tmp_path / "whole.mp4", frames=5)
    make(tmp_path / name)
    with pytest.raises(SourceUnusable, match=text):
        source = Source(camera(tmp_path / name), realtime=False)
        source.open()
        next(source.frames())
    source.close()


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "flv", "ts", "mov"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_recording_that_was_cut_off_is_not_taken_for_a_whole_one(tmp_path, suffix, cut, caplog):
    path = make_clip(tmp_path / f"long.{suffix}", frames=60, fps=5, start_s=2, size=(640, 480))
    if suffix in {"mp4", "mov"}:
        bare = tmp_path / f"fast.{suffix}"
        with av.open(str(path)) as clip, av.open(str(bare), "w", options={"movflags": "faststart"}) as sink:
            stream = sink.add_stream_from_template(clip.streams.video[0])
            for packet in clip.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    sink.mux(packet)
        path = bare
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 10] if cut else whole)
    frames, _ = run_file(path)
    assert (len(frames) == 60) is not cut
    said = [record.getMessage() for record in caplog.records if "could be read" in record.message]
    assert len(said) == (cut and suffix != "ts"), "a transport stream does not say how long it is"
    assert all(re.search(r"of the file's 1[24] s only [2-5] could", text) for text in said)


def one_jpeg() -> bytes:
    return encode_jpeg(picture_at(0))


def test_a_file_of_which_nothing_decodes_is_an_error(tmp_path):
    path = make_clip(tmp_path / "clip.mp4", frames=30)
    spoilt = remux(path, tmp_path / "spoilt.mp4", lambda data: data[:5] + bytes(len(data) - 5))
    with pytest.raises(SourceUnusable, match="could be decoded"):
        source = Source(camera(spoilt), realtime=False)
        source.open()
        list(source.frames())
    source.close()


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
    assert source.waited_s > 0.3, "a decoder that keeps up waits"
    hurried = Source(camera(clip), realtime=False)
    hurried.open()
    assert len([*zip(range(40), hurried.frames(), strict=False)]) == 40
    hurried.close()
    assert hurried.waited_s < 0.1


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
