"""What the benchmark of live pictures makes of its runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.live import WITHOUT, figures


def run(core_ms: float, *, dropped: int = 0, seen: float = 0.0) -> dict[str, float]:
    return {"core_ms_per_s": core_ms, "seen_per_s": seen, "frames": 600, "dropped": dropped}


def test_each_run_is_compared_with_its_neighbours() -> None:
    runs = {
        "without": [run(30), run(32), run(90)],
        "idle": [run(33), run(32), run(99)],
        "watched": [run(113, seen=40), run(132, seen=40, dropped=18), run(179, seen=40)],
    }
    found = figures(runs)
    assert found["idle_ratio"] == pytest.approx(1.1)
    assert found["core_ms_per_viewer_frame"] == pytest.approx(2.0)
    assert found["dropped_share"] == pytest.approx(18 / 1818)


def test_the_program_to_compare_with_has_no_live_pictures(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    client = str(Path(__file__).parents[2] / "client")
    code = "from sightline.features import FEATURES; print(sorted(FEATURES))"
    environment = {"PYTHONPATH": f"{tmp_path}:{client}"}
    features = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert "live" not in features
    assert "clips" in features
