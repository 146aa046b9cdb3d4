"""A clip once more as H.264: its frames and their times, what is drawn, what stops it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sightline.video import transcoder
from sightline.video.clip_file import finish
from sightline.video.transcoder import transcode
from support.camera_world import make_clip
from support.disks import fill, small_disk
from support.numbered import SQUARE_PX, numbered_clip, numbers_by_time


def finished(video: Path) -> Path:
    """The file that a clip becomes."""
    path = video.with_name("clip.mp4")
    assert finish(video, path) is not None
    return path


@pytest.mark.parametrize(("codec", "bframes"), [("libx264", 2), ("libx265", 0), ("libx265", 3)])
def test_each_frame_keeps_its_time(tmp_path: Path, codec: str, bframes: int) -> None:
    source = finished(numbered_clip(tmp_path / "v.mp4", 60, codec=codec, bframes=bframes, gop=20))
    copy = tmp_path / "copy.mp4"
    made = transcode(source, copy)
    assert numbers_by_time(copy) == numbers_by_time(source)
    assert (made.codec, made.seconds, made.bytes) == ("h264", pytest.approx(5.9), copy.stat().st_size)
    content = copy.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "copy.mp4", "v.mp4"]


def test_times_that_no_rate_explains_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.3, 0.301, 1.7, 4.0, 4.04]
    source = finished(make_clip(tmp_path / "v.mp4", len(times), times=times, codec="libx265"))
    transcode(source, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        assert [frame.time for frame in copy.decode(video=0)] == pytest.approx(times, abs=1e-3)


def test_what_is_drawn_is_seen_and_nothing_else_changes(tmp_path: Path) -> None:
    source = finished(numbered_clip(tmp_path / "v.mp4", 20, codec="libx265"))
    positions: list[float] = []

    def draw(picture: Any, position_s: float) -> None:
        positions.append(position_s)
        picture[100:140, 60:120] = 235

    transcode(source, tmp_path / "copy.mp4", draw=draw)
    assert positions == pytest.approx([number / 10 for number in range(20)], abs=1e-3)
    assert numbers_by_time(tmp_path / "copy.mp4") == numbers_by_time(source)
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        luma = next(copy.decode(video=0)).to_ndarray(format="gray").astype(int)
    assert luma[105:135, 65:115].min() > 220
    assert abs(np.median(luma[150:, :]) - 128) < 3
    assert SQUARE_PX < 100  # the numbers were not drawn over


def test_it_is_written_as_it_is_shown(tmp_path: Path) -> None:
    source = finished(
        make_clip(tmp_path / "v.mp4", 5, turn=(90, False, False), pixel_aspect=(2, 1), codec="libx265")
    )
    transcode(source, tmp_path / "copy.mp4")
    with av.open(str(tmp_path / "copy.mp4")) as copy:
        frame = next(copy.decode(video=0))
    assert (frame.width, frame.height, frame.rotation) == (240, 640, 0)


def test_no_video_and_a_full_disk_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"text\.mp4 cannot be transcoded"):
        transcode(tmp_path / "text.mp4", tmp_path / "copy.mp4")
    with pytest.raises(OSError, match="No such file"):
        transcode(tmp_path / "gone.mp4", tmp_path / "copy.mp4")
    source = finished(numbered_clip(tmp_path / "v.mp4", 40, noise=60))
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        with pytest.raises(OSError, match="space"):
            transcode(source, disk / "copy.mp4")
        assert not list(disk.glob("copy*"))
    assert not list(tmp_path.glob("copy*"))


def test_one_at_a_time_behind_everything_else() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    threads = {transcoder.submit(threading.get_native_id).result(5) for _ in range(3)}
    nice = transcoder.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result(5)
    assert (len(threads), nice) == (1, max(own, transcoder.NICE))
    assert os.getpriority(os.PRIO_PROCESS, 0) == own
