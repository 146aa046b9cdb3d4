"""Two networks on a video without labels: what they agree on, and a regression that nobody labelled."""

import json

import numpy as np
import onnx
import pytest
from onnx import helper

from sightline.analysis.pairing import pair_boxes
from sightline.cli import main
from sightline.entities import CountWindow, Detections, Event, EventKind
from sightline.models.evaluation.agreement import BoxAgreement, compare_counts, compare_events
from support.toy import CLASSES, Passage, write_clip, write_network

NAMES = (CLASSES, CLASSES)


def boxes(*rows):
    """Detections of (left, top, right, bottom, score, class)."""
    array = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(array[:, :4], array[:, 4], array[:, 5].astype(np.int32))


def test_boxes_are_paired_once_by_name_and_best_overlap():
    one = boxes((0, 0, 0.4, 0.4, 0.9, 0), (0.5, 0.5, 0.9, 0.9, 0.8, 0), (0, 0.5, 0.3, 0.9, 0.7, 1))
    other = boxes((0.02, 0, 0.42, 0.4, 0.6, 0), (0, 0, 0.4, 0.4, 0.5, 0), (0, 0.5, 0.3, 0.9, 0.7, 0))
    pairs = pair_boxes(one, other, NAMES, 0.25)
    assert (pairs.same.T.tolist(), pairs.renamed.T.tolist()) == ([[0, 1]], [[2, 2]])
    swapped = pair_boxes(one, other, (CLASSES, CLASSES[::-1]), 0.25)  # the names count, not the ids
    assert (swapped.same.T.tolist(), swapped.renamed.T.tolist()) == ([[2, 2]], [[0, 1]])


def test_a_score_that_sinks_is_a_shift_and_a_box_that_is_gone_is_missing():
    agreement = BoxAgreement()
    one = boxes((0, 0, 0.4, 0.4, 0.30, 0), (0.5, 0.5, 0.9, 0.9, 0.8, 1))
    agreement.add(one, boxes((0, 0, 0.4, 0.4, 0.20, 0)), NAMES, 0.25)
    said = agreement.describe()
    assert said["boxes"] == [2, 0]
    assert said["found_by_the_other"] == [0.5, 1.0]
    assert said["score_shift"]["mean"] == pytest.approx(-0.1)
    assert said["classes"]["car"] == {"boxes": [1, 0], "found_by_the_other": [0, 0]}
    assert agreement.missing == [pytest.approx(0.8)]


def test_counts_and_events_that_differ_are_named():
    first = (CountWindow("a", "car", 2, 0, 10), CountWindow("a", "car", 1, 10, 20))
    counts = compare_counts(first, first[:1])
    assert counts["totals"] == {"car": [3, 2]}
    assert counts["differing"] == [{"window_start": 10, "item_class": "car", "counts": [1, 0]}]

    def crossing(time, direction="forward"):
        return Event("a", EventKind.CROSSING, "gate", 1, "car", time, time, direction)

    events = compare_events([crossing(1.0), crossing(5.0)], [crossing(1.4), crossing(5.2, "backward")])
    assert [(each["what"], each["events"], each["both"]) for each in events["kinds"]] == [
        ("gate crossing backward car", [0, 1], 0),
        ("gate crossing forward car", [2, 1], 1),
    ]
    assert [(each["candidate"], each["event_time"]) for each in events["alone"]] == [(0, 5.0), (1, 5.2)]


def test_a_planted_regression_is_seen_in_boxes_counts_and_crossings(tmp_path):
    """The same network, but the new one's classes are swapped: nothing is labelled, and all of it shows."""
    old = write_network(tmp_path / "old.onnx")
    model = onnx.load(old)
    helper.set_model_props(model, {"names": str(list(CLASSES[::-1]))})
    onnx.save(model, tmp_path / "new.onnx")
    clip = write_clip(tmp_path / "site.mp4", [Passage(0, 3), Passage(3, 6)], seconds=6)
    config = tmp_path / "config.yml"
    config.write_text(
        "allow: {files: true}\nwindow_s: 10\ncameras:\n  site:\n"
        f"    url: {clip}\n    lines: {{gate: {{points: [[0.5, 1.2], [0.5, -0.2]]}}}}\n"
    )
    report = tmp_path / "report"
    arguments = ["--video", str(clip), "--shape", "192x320", "--report", str(report), "--pictures", "1"]
    arguments += ["--config", str(config), "--camera", "site"]
    assert main(["model", "evaluate", str(old), str(tmp_path / "new.onnx"), *arguments]) == 0
    (video,) = json.loads((report / "report.json").read_text())["videos"]
    assert video["frames"] == 60
    assert video["boxes"]["boxes"][0] == video["boxes"]["boxes"][1] > 30
    assert video["boxes"]["found_by_the_other"] == [0, 0]
    assert video["counts"]["totals"] == {"car": [0, 2], "person": [2, 0]}
    assert sorted(each["events"] for each in video["events"]["kinds"]) == [[0, 2], [2, 0]]
    text = (report / "report.md").read_text()
    assert "gate crossing" in text
    assert "old fp32 engine alone" in text
    for name in (*video["pictures"], "site-counts.png"):
        assert (report / name).stat().st_size > 1000
        assert f"]({name})" in text


def test_a_network_agrees_with_itself(tmp_path):
    network = write_network(tmp_path / "toy.onnx")
    clip = write_clip(tmp_path / "site.mp4", [Passage(0, 2)], seconds=2)
    report = tmp_path / "report"
    arguments = ["--video", str(clip), "--shape", "192x320", "--report", str(report), "--fps", "5"]
    assert main(["model", "evaluate", str(network), *arguments, "--precision", "fp32,fp32"]) == 0
    (video,) = json.loads((report / "report.json").read_text())["videos"]
    assert video["frames"] == 10
    assert video["boxes"]["found_by_the_other"] == [1, 1]
    assert video["boxes"]["mean_iou"] == pytest.approx(1)
    assert video["counts"]["differing"] == []


def test_one_candidate_agrees_with_nobody(tmp_path, capsys):
    network = write_network(tmp_path / "toy.onnx")
    wanted = ["--video", str(tmp_path / "x.mp4"), "--report", str(tmp_path), "--precision", "fp32"]
    assert main(["model", "evaluate", str(network), *wanted]) == 1
    assert "two networks" in capsys.readouterr().err
