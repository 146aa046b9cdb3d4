"""mAP through the real server: every step of the way costs accuracy, and together they may cost little."""

import os
from pathlib import Path

import numpy as np
import pytest

from sightline.config import Transport
from sightline.entities import Detections
from sightline.errors import EvaluationError
from sightline.models.evaluation.cocoset import CocoSet, to_rows
from sightline.models.evaluation.comparison import evaluate

SHARED = Path(os.environ.get("SIGHTLINE_SHARED", Path(__file__).resolve().parents[3] / "shared"))
#: Measured with the same weights outside of Sightline: RGB, no I420, NMS and letterbox by the reference.
REFERENCE_MAP50_95 = 0.462


def test_boxes_become_rows_in_pixels_of_the_picture():
    detections = Detections(
        np.array([[0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1]], np.float32),
        np.array([0.5, 0.25], np.float32),
        np.array([1, 0], np.int32),
    )
    image = {"id": 9, "width": 640, "height": 480}
    rows = list(to_rows(image, detections, ("unheard of", "car"), {"car": 3}))
    assert rows == [[9, 160.0, 240.0, 320.0, 240.0, 0.5, 3]]


def test_a_folder_without_a_set_is_refused(tmp_path):
    with pytest.raises(EvaluationError, match="no COCO set"):
        CocoSet.read(tmp_path)


@pytest.mark.slow
@pytest.mark.triton
@pytest.mark.parametrize("ensemble", [False, True], ids=["one process", "ensemble"])
def test_served_map_is_the_reference(ensemble):
    network, folder = SHARED / "models" / "yolov8n.onnx", SHARED / "coco128"
    if not (network.is_file() and folder.is_dir()):
        pytest.skip("models/yolov8n.onnx and coco128 of the shared folder are not here")
    data = CocoSet.read(folder)
    result = evaluate(network, data, (640, 640), Transport.SYSTEM, ensemble=ensemble)
    assert result["transport"] == "system"
    assert result["images"] == 128
    assert result["map50_95"] == pytest.approx(REFERENCE_MAP50_95, abs=0.01), result
