"""A real video whose truth is known, and a real network: not in the repository, so tests may be skipped."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SIGHTLINE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
VIDEO = SHARED / "videos" / "one-by-one-person-detection.mp4"
NETWORK = Path(os.environ.get("SIGHTLINE_NETWORK", SHARED / "models" / "yolov8n.onnx"))  # or a .pt
#: Second at which each of the six persons can first be seen, by eye, and the last.
SEEN_S = ((6.0, 19.6), (22.7, 44.7), (50.1, 69.8), (74.5, 86.9), (92.1, 119.9), (123.4, 136.0))
NEEDS_SHARED = pytest.mark.skipif(
    not VIDEO.is_file() or not NETWORK.is_file(),
    reason=f"no {VIDEO.name} and no {NETWORK.name} in {SHARED}: set SIGHTLINE_SHARED to a folder with both",
)
