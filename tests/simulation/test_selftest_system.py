"""The whole path against a scene whose truth is known, with the bundled detector."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sightline.base.processes import terminate
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.selftest import ground_truth
from sightline.simulation.selftest.evidence import gather
from sightline.simulation.selftest.figures import judge
from sightline.simulation.selftest.ground_truth import BEST_CAMERA, SimulatedCamera
from support.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.triton,
    pytest.mark.rtsp,
]
PART = SimulatedCamera(SceneSpec("street", 1, camera=BEST_CAMERA["street"]), 5.0, 20.0)
# Able to fail, not to be flaky where a busy machine drops frames: the real table is docs/scoreboard.md.
REQUIRED = {"crossing_recall": 0.5, "crossing_precision": 0.5, "crossing_any_class_recall": 0.6,
            "crossing_any_class_precision": 0.6, "count_error": 0.6, "zone_recall": "", "zone_precision": "",
            "occupancy_mae": 3, "dwell_error_s": "", "idf1": 0.5, "hota": 0.3, "map50": 0.6, "row_p50_s": 10,
            "row_p99_s": 20, "frames_lost": 0.4, "coverage": 0.6}  # fmt: skip


def test_the_scoreboard_passes_and_collapses_against_another_scenes_truth(tmp_path: Path) -> None:
    words = ["--seeds", "1", "--fps", "5", "--length", "20", "--folder", str(tmp_path)]
    words += [word for name, bound in REQUIRED.items() for word in ("--require", f"{name}={bound}")]
    command = [sys.executable, "-m", "sightline", "selftest", *words, "--json", str(tmp_path / "board.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "crossings found" in done.stdout
    board = json.loads((tmp_path / "board.json").read_text())
    assert board["failed"] == []
    # The same evidence, judged by what another scene's truth says: had the pipeline any other way to know
    # than the pictures, this would not fall.
    own = ground_truth.load(PART.truth(tmp_path / "videos"))
    other = ground_truth.work_out(SceneSpec("street", 2, camera=PART.spec.camera), PART.length_s)
    evidence = gather(PART, tmp_path / "run", f"sqlite:///{tmp_path / 'run' / 'sightline.db'}")
    right = judge([(PART.name, own, evidence)]).figures
    wrong = judge([(PART.name, other, evidence)]).figures
    for name in ("crossing_recall", "idf1", "map50"):
        assert (right[name] or 0) > 0.4
        assert (wrong[name] or 0) < (right[name] or 0) / 2


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    words = ["selftest", "--length", "300", "--folder", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen([sys.executable, "-m", "sightline", *words], stdout=log, stderr=log)
    try:
        until(lambda: "have to be made" in (tmp_path / "log").read_text(), 60)
        child.terminate()
        assert child.wait(60) == 130
    finally:
        terminate_if_running(child)
    assert "nothing is left running" in (tmp_path / "log").read_text()
    until(lambda: not processes_of(tmp_path), 20)


def terminate_if_running(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        terminate(child, 5.0)


def processes_of(folder: Path) -> list[int]:
    """Processes that name the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in text:
            found.append(int(path.parent.name))
    return found
