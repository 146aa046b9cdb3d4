"""What the tracker saw, kept and read back; the time code of a decoded picture."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from sightline.entities import ClockSource, Frame, Tracks
from sightline.errors import TrackLogError
from sightline.features import track_log
from sightline.features.track_log import TrackLog
from sightline.video import timecode
from sightline.video.picture import YuvPicture
from sightline.video.timecode import TimeCode
from support.fakes import boxes, frame
from support.observations import Watched

NAMES = ("person", "car")
TRACKS = Tracks(
    ids=np.array([7], np.int64),
    xyxy=np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
    scores=np.array([0.9], np.float32),
    class_ids=np.array([1], np.int32),
    first_times=np.array([1e9]),
    confirmed=np.array([True]),
)


def test_a_frame_is_read_back_as_it_was_kept(tmp_path: Path) -> None:
    log = TrackLog(tmp_path, "gate", 1_000_000)
    found = boxes((0.1, 0.2, 0.3, 0.41), (0.5, 0.5, 0.6, 0.6), score=0.654, class_id=1)
    seen = Watched(NAMES)
    log.observe(seen(frame(0, 1_700_000_000.25), TRACKS, found))
    log.observe(seen(frame(1, 1_700_000_000.35)))
    log.close()
    first, second = track_log.read(tmp_path, "gate")
    assert (first.capture_time, first.class_names, first.scene_s) == (1_700_000_000.25, NAMES, None)
    assert np.allclose(first.xyxy, found.xyxy, atol=1e-4)
    assert np.allclose(first.scores, 0.654, atol=1e-3)
    assert (first.ids.tolist(), first.track_class_ids.tolist(), first.confirmed.tolist()) == (
        [7],
        [1],
        [True],
    )
    assert np.allclose(first.track_xyxy, TRACKS.xyxy, atol=1e-4)
    assert (len(second.xyxy), len(second.ids)) == (0, 0)


def test_files_stay_within_their_bound_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    log, seen = TrackLog(tmp_path, "gate", 20_000), Watched(NAMES)
    for index in range(400):
        log.observe(seen(frame(index, 1e9 + index), TRACKS, boxes((0.1, 0.2, 0.3, 0.4))))
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 21_000
    times = [item.capture_time for item in track_log.read(tmp_path, "gate")]
    assert times == list(np.arange(times[0], 1e9 + 400))
    assert all(item.class_names == NAMES for item in track_log.read(tmp_path, "gate"))
    again = TrackLog(tmp_path, "gate", 20_000)  # after a restart
    again.observe(Watched(["dog"])(frame(0, 2e9), TRACKS, boxes((0.1, 0.2, 0.3, 0.4))))
    again.close()
    with track_log.paths(tmp_path, "gate")[0].open("a") as file:
        file.write('{"time": 3')
    *_, last = track_log.read(tmp_path, "gate")
    assert (last.capture_time, last.class_names) == (2e9, ("dog",))


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "gate.jsonl").write_text("{}\n")
    with pytest.raises(TrackLogError, match=r"gate\.jsonl, line 1"):
        list(track_log.read(tmp_path, "gate"))


def test_a_folder_that_cannot_be_written_costs_frames_but_not_the_camera(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = TrackLog(tmp_path / "file", "gate", 1_000_000)
    seen = Watched(NAMES)
    log.observe(seen(frame(0, 1e9), TRACKS))
    log.observe(seen(frame(1, 1e9), TRACKS))
    assert [(figure.name, figure.value) for figure in log.figures()] == [("track_log_lost_frames_total", 2)]


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "nv12"])
def test_the_time_code_is_read_from_the_decoded_picture(tmp_path: Path, kind: str) -> None:
    picture = np.full((362, 642), 90, np.uint8)  # rows are padded in the decoder's memory
    timecode.draw(picture, TimeCode(61_234, 5_000))
    rgb = np.repeat(picture[..., None], 3, axis=2)
    decoded = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=kind)
    item = Frame(YuvPicture(decoded, VideoReformatter()), 0, 0.0, 1_700_000_000.0, ClockSource.PTS, 0.0)
    log = TrackLog(tmp_path, "gate", 1_000_000, time_code=True)
    log.observe(Watched(NAMES)(item))
    log.close()
    (found,) = track_log.read(tmp_path, "gate")
    assert found.scene_s == 61.234
    assert found.due_time is not None
    assert round(found.due_time * 1000) % timecode.WRAP_MS == 5_000


def test_a_worker_imports_nothing_that_draws_pictures() -> None:
    code = "import sightline.camera.worker, sys; "
    code += "print({'cv2', 'sightline.simulation.scenes.render'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_half_a_millisecond_does_not_change_the_time_that_stood_in_the_picture() -> None:
    for tenths in range(100):
        due = track_log._due_time(5_000, 1_795_704_848 + tenths / 1e4)
        assert round(due * 1000) % timecode.WRAP_MS == 5_000
