"""What the benchmark of live pictures makes of its runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.live import WITHOUT, figures


def run(core_ms: float, *, frames: int = 600, dropped: int = 0, seen: int = 0) -> dict[str, float]:
    return {"core_ms_per_frame": core_ms, "frames": frames, "dropped": dropped, "seen": seen}


def test_each_run_is_compared_with_its_neighbours() -> None:
    runs = {
        "without": [run(3.0), run(3.2), run(9.0)],
        "idle": [run(3.3), run(3.2), run(9.9)],
        "watched": [run(7.3, seen=1200), run(7.4, seen=1200, dropped=18), run(13.9, seen=1200)],
    }
    found = figures(runs)
    assert found["idle_ratio"] == pytest.approx(1.1)
    assert found["core_ms_per_viewer_frame"] == pytest.approx(2.0)
    assert found["dropped_share"] == pytest.approx(18 / 1818)


def test_viewers_who_see_nothing_divide_by_nothing() -> None:
    found = figures({"without": [run(3.0)], "idle": [run(3.0)], "watched": [run(3.0)]})
    assert found == {"dropped_share": 0.0, "core_ms_per_viewer_frame": 0.0, "idle_ratio": 1.0}


def test_the_program_to_compare_with_has_no_live_pictures(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    client = str(Path(__file__).parents[2] / "client")
    code = "from sightline.features import FEATURES; print(sorted(FEATURES))"
    environment = {"PYTHONPATH": f"{tmp_path}:{client}"}
    features = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert "live" not in features
    assert "clips" in features
