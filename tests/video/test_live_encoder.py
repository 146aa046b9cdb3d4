"""Live H.264: each picture at its capture time, key frames often enough, and what RTP and MPEG-TS carry."""

from __future__ import annotations

import io
import struct
import time
from pathlib import Path

import av
import numpy as np
import pytest

from sightline.entities import U8
from sightline.video import live_encoder
from sightline.video.live_encoder import CLOCK_HZ, KEY_EVERY_S, LiveEncoder, codec_for

T0 = 1_700_000_000.25
NTP_EPOCH_S = 2_208_988_800


def picture(level: int, width: int = 320, height: int = 180) -> U8:
    out = np.full((height * 3 // 2, width), 128, np.uint8)
    out[:height] = level
    return out


def encoder() -> LiveEncoder:
    return LiveEncoder("mpegts", 320, 180, fps=10, codec="libx264", begins=T0)


def test_a_player_sees_every_picture_at_its_capture_time() -> None:
    times = [T0, T0 + 0.1, T0 + 0.11, T0 + 0.5, T0 + 3.0, T0 + 3.2]
    video = encoder()
    coded = [video.encode(picture(40 + 30 * at), time) for at, time in enumerate(times)]
    video.close()
    data = b"".join(piece for one in coded if one for piece in one.pieces)
    with av.open(io.BytesIO(data), format="mpegts") as played:
        [stream] = played.streams
        frames = list(played.decode(stream))
        assert stream.codec_context.name == "h264"
    assert len(frames) == len(times)
    for at, (frame, taken) in enumerate(zip(frames, times, strict=True)):
        assert frame.pts is not None
        assert (frame.pts - round(taken * CLOCK_HZ)) % (1 << 33) in {0, 1, (1 << 33) - 1}
        assert abs(float(frame.to_ndarray()[:180].mean()) - (40 + 30 * at)) < 2
    assert int(frames[0].color_range) == 1
    assert int(frames[0].colorspace) in {5, 6}, "a player would take it for BT.709"


def test_every_picture_comes_out_at_once_and_key_frames_come_in_time_whatever_the_rate() -> None:
    for step_s in (0.04, 0.5):
        video, keys = encoder(), []
        for at in range(round(7 / step_s)):
            coded = video.encode(picture(at % 200), T0 + at * step_s)
            assert coded is not None
            assert coded.pieces
            keys += [at * step_s] if coded.is_key else []
        video.close()
        assert keys[0] == 0
        assert [keys[n + 1] - keys[n] for n in range(3)] == pytest.approx([KEY_EVERY_S] * 3, abs=step_s)


def test_a_stream_may_begin_with_any_key_frame() -> None:
    video = encoder()
    coded = [video.encode(picture(at), T0 + at / 10) for at in range(50)]
    video.close()
    second_key = [at for at, one in enumerate(coded) if one and one.is_key][1]
    data = b"".join(piece for one in coded[second_key:] if one for piece in one.pieces)
    with av.open(io.BytesIO(data), format="mpegts") as played:
        assert len(list(played.decode(video=0))) == 50 - second_key


def test_a_picture_that_is_not_after_the_last_is_left_out() -> None:
    video = encoder()
    assert video.encode(picture(50), T0)
    assert video.encode(picture(50), T0) is None
    assert video.encode(picture(50), T0 - 1) is None
    assert video.encode(picture(50), T0 + 0.1)
    video.close()


def test_rtp_packets_fit_a_network_and_sender_reports_tell_capture_times() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (270, 320), np.uint8)
    now = time.time() - 1.5
    video = LiveEncoder("rtp", 320, 180, fps=10, codec="libx264", begins=now)
    coded = video.encode(noise, now)
    assert coded is not None
    video.close()
    reports = [piece for piece in coded.pieces if piece[1] == 200]
    media = [piece for piece in coded.pieces if piece[1] & 127 == 96]
    assert len(reports) + len(media) == len(coded.pieces)
    assert len(media) > 10
    assert max(map(len, coded.pieces)) <= live_encoder.RTP_BYTES
    [first_stamp] = {struct.unpack_from("!I", piece, 4)[0] for piece in media}
    seconds, fraction, stamp = struct.unpack_from("!III", reports[0], 8)
    reported = seconds - NTP_EPOCH_S + fraction / (1 << 32)
    lag_s = ((stamp - first_stamp + (1 << 31)) % (1 << 32) - (1 << 31)) / CLOCK_HZ
    assert reported - lag_s == pytest.approx(now, abs=0.002)
    sps, pps = video.parameter_sets
    assert (sps[0] & 31, pps[0] & 31) == (7, 8)


def test_the_processor_encodes_where_the_gpu_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codec_for("h264_nvenc") == "h264_nvenc"
    for has_gpu, starts, codec in (
        (False, True, "libx264"),
        (True, False, "libx264"),
        (True, True, "h264_nvenc"),
    ):
        codec_for.cache_clear()
        monkeypatch.setattr(live_encoder, "has_gpu", lambda has_gpu=has_gpu: has_gpu)
        monkeypatch.setattr(live_encoder, "_starts", lambda _, starts=starts: starts)
        assert codec_for("auto") == codec
    codec_for.cache_clear()
    monkeypatch.undo()
    if not Path("/dev/nvidia0").exists():
        assert not live_encoder._starts("h264_nvenc")
        assert live_encoder._starts("libx264")
        with pytest.raises(ValueError, match="h264_nvenc does not start"):
            LiveEncoder("rtp", 320, 180, fps=10, codec="h264_nvenc", begins=T0)
