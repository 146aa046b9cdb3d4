"""Segments: room, names, and leftovers of crashed owners."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sightline.errors import SharedMemoryError
from sightline.inference.leftovers import is_abandoned, remove_abandoned, segment_prefix
from sightline.inference.segments import SystemSegment

NAME = "sightline-camera-a-1"


def test_what_is_written_is_in_the_file_and_slots_have_no_gaps(tmp_path: Path) -> None:
    segment = SystemSegment(NAME, 2, (6, 4), folder=tmp_path)
    segment.view(1)[:] = 7
    assert np.fromfile(tmp_path / NAME, np.uint8).tolist() == [0] * 24 + [7] * 24
    segment.close()
    assert not list(tmp_path.iterdir())


def test_a_view_outlives_its_segment(tmp_path: Path) -> None:
    segment = SystemSegment(NAME, 1, (6, 4), folder=tmp_path)
    view = segment.view(0)
    segment.close()
    view[:] = 1
    assert view.sum() == 24


def test_a_full_folder_is_an_error_with_the_number_needed(tmp_path: Path) -> None:
    rows = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize // 1024 + (1 << 20)
    with pytest.raises(SharedMemoryError, match=r"no room for .* MB .*shm_size"):
        SystemSegment(NAME, 1, (rows, 1024), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_killed_owner_leaves_an_abandoned_segment_and_a_live_one_does_not(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from sightline.inference.segments import SystemSegment\n"
        "s = SystemSegment('sightline-camera-a-1', 1, (6, 4), folder=Path(sys.argv[1])); "
        "print('made', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "made\n"
        assert not is_abandoned(NAME, tmp_path)
        assert remove_abandoned(folder=tmp_path) == []
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert is_abandoned(NAME, tmp_path)
    assert remove_abandoned(folder=tmp_path) == [NAME]
    assert not list(tmp_path.iterdir())


def test_owners_with_similar_names_share_no_prefix() -> None:
    prefixes = {segment_prefix(name) for name in ("door", "door-", "door.", "door_", "d" * 63, "d" * 62)}
    assert len(prefixes) == 6
    assert not any(a != b and a.startswith(b) for a in prefixes for b in prefixes)
