"""From a camera to a verdict: samples to labellers and back, accuracy against a baseline, numbers alone."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sightline.base.file_times import stamp
from sightline.cli.feature_commands import ALARM
from sightline.cli.main import main
from sightline.entities import Checkpoint, DriftWindow
from sightline.errors import LabelError
from sightline.features.drift import hour_comparison, labelled_accuracy, labels
from sightline.features.drift.hourly_stats import BOXES_FROM, SCORE_BINS, SHARPNESS_FROM
from sightline.features.drift.labelled_accuracy import AccuracyRule, Labelled
from sightline.features.drift.samples import LEDGER
from sightline.serving.server import TritonServer
from sightline.store.database import Store
from support.stored import write
from support.system import System
from support.toy import BLUE, RED, Passage, write_clip

MONDAY = 1_795_392_000.0 // 604_800 * 604_800  # the beginning of a stretch of seven days
DAY_S = 86_400.0
ALL_TIME = (0.0, float("inf"))
Box = tuple[str, float, list[float]]  # class, score, left, top, right, bottom in shares
CLASSES = ["person", "car"]


def keep(folder: Path, camera: str, time: float, boxes: Sequence[Box], stratum: str = "plain-dim") -> None:
    """A sample as a worker writes it, its picture a few bytes."""
    place = folder / camera
    place.mkdir(parents=True, exist_ok=True)
    (place / LEDGER).write_text("{}")
    picture = f"{camera} {time} {stratum}".encode()
    found = {
        "camera": camera,
        "capture_time": time,
        "stratum": stratum,
        "width": 200,
        "height": 100,
        "sha256": hashlib.sha256(picture).hexdigest(),
        "blurred": [],
        "model_version": "toy-1",
        "class_names": CLASSES,
        "classes": [name for name, _, _ in boxes],
        "scores": [score for _, score, _ in boxes],
        "xyxy": [box for _, _, box in boxes],
    }
    stem = f"{stamp(time)}Z-{stratum}"
    (place / f"{stem}.jpg").write_bytes(picture)
    (place / f"{stem}.json").write_text(json.dumps(found))


def corrected(archive: Path, change: Any = None) -> dict[str, Any]:
    """The labels of an export, as a labeller gives them back."""
    with zipfile.ZipFile(archive) as file:
        coco = json.loads(file.read(labels.IN_ZIP))
    if change:
        change(coco)
    return coco


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, Path]:
    """Three pictures of one camera, exported."""
    for index in range(3):
        boxes = [("person", 0.9, [0.1, 0.2, 0.3, 0.8]), ("car", 0.15, [0.5, 0.5, 0.9, 0.9])]
        keep(tmp_path / "drift", "gate", MONDAY + index, boxes)
    chosen = labels.find(tmp_path / "drift", (), ALL_TIME)
    return labels.export(chosen, tmp_path / "week", None, 0.25)


# -- out and back -------------------------------------------------------------------------------------


def test_an_export_is_a_coco_set_with_the_detectors_boxes_marked(exported: tuple[Path, Path]) -> None:
    archive, _ = exported
    coco = corrected(archive)
    assert [item["name"] for item in coco["categories"]] == CLASSES
    assert {key: coco["annotations"][0][key] for key in ("bbox", "score", "predicted", "category_id")} == {
        "bbox": [20.0, 20.0, 40.0, 60.0],
        "score": 0.9,
        "predicted": True,
        "category_id": 1,
    }
    assert len(coco["annotations"]) == 3  # the weak boxes are not shown
    with zipfile.ZipFile(archive) as file:
        names = {f"images/{item['file_name']}" for item in coco["images"]}
        assert set(file.namelist()) == names | {labels.IN_ZIP}
        (file_path := archive.with_suffix(".coco.json")).write_bytes(file.read(labels.IN_ZIP))
    assert archive.stat().st_mode & 0o777 == 0o600
    from faster_coco_eval import COCO

    assert len(COCO(str(file_path)).getAnnIds(catIds=[1])) == 3


def test_labels_come_back_with_what_the_live_detector_had_found(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    archive, manifest = exported

    def change(coco: dict[str, Any]) -> None:
        for image in coco["images"]:  # a labelling program's own ids and names
            image["file_name"] = f"images/0f3a-{image['file_name']}"
        coco["categories"] = [{"id": 9, "name": "person"}]
        coco["annotations"] = [dict(item, category_id=9) for item in coco["annotations"][:2]]
        coco["annotations"][0]["bbox"] = [10, 10, 30, 30]

    back = tmp_path / "back.json"
    back.write_text(json.dumps(corrected(archive, change)))
    counts = labels.read_back(back, manifest, tmp_path / "set")
    assert counts == {"pictures": 3, "boxes": 2, "unchanged": 1}
    read = Labelled.read([tmp_path / "set"], tmp_path / "work")
    assert len(read.rows) == 6  # weak ones too: they belong to the figures
    assert read.rows[0][1:5] == pytest.approx([20, 20, 40, 60])
    assert read.data.images[0]["capture_time"] == MONDAY


def _swap_size(coco: dict[str, Any]) -> None:
    coco["images"][0]["width"] = 64


def _another_picture(coco: dict[str, Any]) -> None:
    coco["images"][0]["file_name"] = "gate_20261121T093015.250Z-plain-dim_0123456789abcdef.jpg"


def _another_class(coco: dict[str, Any]) -> None:
    coco["categories"].append({"id": 3, "name": "dog"})


def _no_area(coco: dict[str, Any]) -> None:
    coco["annotations"][0]["bbox"] = [1, 1, 0, 5]


def _outside(coco: dict[str, Any]) -> None:
    coco["annotations"][0]["bbox"] = [150, 1, 100, 5]


def _lost_picture(coco: dict[str, Any]) -> None:
    gone = coco["images"].pop()["id"]
    coco["annotations"] = [item for item in coco["annotations"] if item["image_id"] != gone]


def _twice(coco: dict[str, Any]) -> None:
    coco["images"].append({**coco["images"][0], "id": 77})


def _dangling(coco: dict[str, Any]) -> None:
    coco["annotations"][0]["image_id"] = 55


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_swap_size, "is 64x100, was sent as 200x100"),
        (_another_picture, "was not in this export"),
        (_another_class, "category 'dog' was not in this export; it had: person, car"),
        (_no_area, "has no area"),
        (_outside, "lies outside of the picture"),
        (_lost_picture, "1 pictures have not come back"),
        (_twice, "stands in the file twice"),
        (_dangling, "its image or its category is not in the file"),
        (lambda coco: coco.pop("annotations"), "has no list of annotations"),
    ],
)
def test_labels_that_do_not_fit_are_refused_by_name(
    exported: tuple[Path, Path], tmp_path: Path, change: Any, said: str
) -> None:
    archive, manifest = exported
    back = tmp_path / "back.json"
    back.write_text(json.dumps(corrected(archive, change)))
    with pytest.raises(LabelError, match=said):
        labels.read_back(back, manifest, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_pictures_that_come_back_must_be_those_that_were_sent(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    archive, manifest = exported
    assert labels.read_back(archive, manifest, tmp_path / "as sent")["pictures"] == 3
    tampered = tmp_path / "tampered.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tampered, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b"!" if name.endswith(".jpg") else b""))
    with pytest.raises(LabelError, match="is not the picture that was sent"):
        labels.read_back(tampered, manifest, tmp_path / "set")


def test_strata_are_exported_in_turn(tmp_path: Path) -> None:
    for index in range(20):
        keep(tmp_path, "gate", MONDAY + index, [], "plain-dim" if index < 18 else "weak-dark")
    keep(tmp_path, "yard", MONDAY, [], "none-dim")
    chosen = labels.choose(labels.find(tmp_path, (), ALL_TIME), 6)
    strata = [(item.record["camera"], item.stratum) for item in chosen]
    assert strata.count(("yard", "none-dim")) == 1
    assert strata.count(("gate", "weak-dark")) == 2
    assert len(chosen) == 6
    assert chosen == labels.choose(labels.find(tmp_path, (), ALL_TIME), 6)


# -- accuracy -----------------------------------------------------------------------------------------


def labelled_set(
    folder: Path,
    found: float,
    *,
    start: float = MONDAY,
    pictures: int = 60,
    camera: str = "gate",
    seed: int = 0,
) -> Path:
    """A set in which the detector found this share of two persons and a car in every picture."""
    rng = np.random.default_rng(seed)
    coco: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    coco["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    predictions = {}
    for index in range(pictures):
        name = f"{camera}_{start}_{index}.jpg"
        image = {"id": index, "file_name": name, "width": 200, "height": 100, "camera": camera}
        coco["images"].append(
            {**image, "capture_time": start + index, "stratum": "plain-dim", "model_version": "toy-1"}
        )
        made: dict[str, list[Any]] = {"classes": [], "scores": [], "xyxy": []}
        for place, class_name in enumerate(("person", "person", "car")):
            left = 0.05 + 0.3 * place
            box = [left * 200, 20.0, 40.0, 50.0]
            number = len(coco["annotations"]) + 1
            category = 1 + (class_name == "car")
            coco["annotations"].append(
                {
                    "id": number,
                    "image_id": index,
                    "category_id": category,
                    "bbox": box,
                    "area": 2000.0,
                    "iscrowd": 0,
                }
            )
            if rng.random() < found:
                made["classes"].append(class_name)
                made["scores"].append(float(rng.uniform(0.3, 0.95)))
                made["xyxy"].append([left, 0.2, left + 0.2, 0.7])
        predictions[name] = made
    folder.mkdir(parents=True)
    (folder / "annotations.json").write_text(json.dumps(coco))
    (folder / "predictions.json").write_text(json.dumps(predictions))
    return folder


@pytest.mark.parametrize(
    ("share", "verdict", "status"), [(0.9, "ok", 0), (0.88, "ok", 0), (0.6, "fallen", 3)]
)
def test_a_fall_raises_the_alarm_and_what_is_as_before_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: float, verdict: str, status: int
) -> None:
    base = labelled_set(tmp_path / "base", 0.9)
    now = labelled_set(tmp_path / "now", share, start=MONDAY + 30 * DAY_S, seed=1)
    kept, metrics = tmp_path / "found.json", tmp_path / "drift.prom"
    arguments = ["report", str(now), "--baseline", str(base), "--json", str(kept), "--metrics", str(metrics)]
    assert main(["drift", *arguments]) == status
    found = json.loads(kept.read_text())
    [period] = found["cameras"]["gate"]["periods"]
    moved = period["against_baseline"]
    assert moved["verdict"] == verdict
    assert moved["low"] < moved["difference"] < moved["high"]
    assert found["alarms"] == (["gate"] if status else [])
    assert ("drift alarm: gate: map50 is -0." in capsys.readouterr().err) == bool(status)
    assert f'sightline_drift_accuracy_alarm{{camera="gate"}} {1.0 if status else 0.0}' in metrics.read_text()


def test_a_fall_that_may_be_chance_asks_for_more_labels(tmp_path: Path) -> None:
    base = Labelled.read([labelled_set(tmp_path / "base", 0.9, pictures=12)], tmp_path / "work")
    now = Labelled.read([labelled_set(tmp_path / "now", 0.8, pictures=12, seed=3)], tmp_path / "work2")
    found = labelled_accuracy.compare(base, now, AccuracyRule(min_pictures=10, min_boxes=5))
    assert (found["verdict"], found["difference"] <= -0.03, found["high"] >= 0) == ("unsure", True, True)
    half = (found["high"] - found["low"]) / 2
    assert found["pictures_to_tell"] == pytest.approx(12 * (half / 0.03) ** 2, abs=2)
    assert found["pictures_to_tell"] > 100
    assert labelled_accuracy.compare(base, now, AccuracyRule())["verdict"] == "too few"


def test_each_camera_is_judged_by_itself_and_its_first_stretch_is_the_baseline(tmp_path: Path) -> None:
    sets = [
        labelled_set(
            tmp_path / f"{camera}{week}", share, start=MONDAY + week * 7 * DAY_S, camera=camera, seed=week
        )
        for camera, shares in (("gate", (0.9, 0.9, 0.9)), ("yard", (0.9, 0.5, 0.55)))
        for week, share in enumerate(shares)
    ]
    found = labelled_accuracy.report(Labelled.read(sets, tmp_path / "work"), None, 7, AccuracyRule())
    assert set(found["cameras"]) == {"(all)", "gate", "yard"}
    assert found["alarms"] == ["(all)", "yard"]
    yard = found["cameras"]["yard"]["periods"]
    assert [item.get("against_baseline", {}).get("verdict") for item in yard] == [None, "fallen", "fallen"]
    assert yard[0]["map50"] > yard[1]["map50"] + 0.2


def test_a_manifests_figure_can_be_the_baseline(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"measured_map": {"map50": 0.9, "map50_95": 0.9}}))
    now = labelled_set(tmp_path / "now", 0.6)
    assert main(["drift", "report", str(now), "--manifest", str(manifest)]) == ALARM
    manifest.write_text("{}")
    assert main(["drift", "report", str(now), "--manifest", str(manifest)]) == 1


def test_a_folder_that_is_no_set_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drift", "report", str(tmp_path)]) == 1
    assert f"{tmp_path} is no labelled set" in capsys.readouterr().err


# -- numbers without labels ---------------------------------------------------------------------------


def made_hours(days: int, *, luma: float = 0.5, score: float = 0.8, seed: int = 0) -> list[DriftWindow]:
    """Hours of a camera whose days are alike but for chance: light by the hour, scores around a mean."""
    rng = np.random.default_rng(seed)
    found = []
    for hour in range(days * 24):
        daylight = luma * (0.6 + 0.4 * np.cos((hour % 24 - 12) / 24 * 2 * np.pi))
        bright = np.clip(rng.normal(daylight, 0.1, 3600), 0, 0.999)
        scores = np.clip(rng.normal(score, 0.1, 400), 0, 0.999)
        per_frame = np.minimum(rng.poisson(1.5, 3600), len(BOXES_FROM))
        figures = {
            "weak": 10,
            "scores": np.bincount((scores * SCORE_BINS).astype(int), minlength=SCORE_BINS).tolist(),
            "per_frame": np.bincount(per_frame, minlength=len(BOXES_FROM) + 1).tolist(),
            "classes": {"person": 300 + int(rng.integers(20)), "car": 100},
            "luma": np.bincount((bright * 16).astype(int), minlength=16).tolist(),
            "sharpness": [0] * 5 + [100, 3000, 500] + [0] * (len(SHARPNESS_FROM) - 7),
        }
        start = MONDAY + hour * 3600
        found.append(DriftWindow("gate", start, start + 3600, "m-1", 36_000, 400, 3600, figures))
    return found


def later(days: int, made: Sequence[DriftWindow]) -> list[DriftWindow]:
    return [
        replace(
            hour, window_start=hour.window_start + days * DAY_S, window_end=hour.window_end + days * DAY_S
        )
        for hour in made
    ]


@pytest.mark.parametrize(
    ("change", "shifted"),
    [({}, set()), ({"luma": 0.2}, {"luma"}), ({"score": 0.5}, {"scores"})],
)
def test_numbers_that_shift_raise_the_alarm_and_ordinary_days_do_not(
    change: dict[str, float], shifted: set[str]
) -> None:
    found = hour_comparison.watch(
        made_hours(7) + later(7, made_hours(1, seed=1, **change)), hour_comparison.HourRule()
    )
    signals = found["cameras"]["gate"]["signals"]
    assert {name for name, item in signals.items() if item["verdict"] == "shifted"} == shifted
    assert found["alarms"] == [f"gate: {name}" for name in sorted(shifted)]
    assert all(item["hours_compared"] == 24 for item in signals.values())


def test_a_new_version_or_too_few_days_are_still_collecting() -> None:
    few = hour_comparison.watch(made_hours(2) + later(9, made_hours(1)), hour_comparison.HourRule())
    assert {item["verdict"] for item in few["cameras"]["gate"]["signals"].values()} == {"collecting"}
    switched = [replace(hour, model_version="m-2") for hour in later(7, made_hours(1, score=0.5))]
    found = hour_comparison.watch(made_hours(7) + switched, hour_comparison.HourRule())
    assert found["cameras"]["gate"]["model_version"] == "m-2"
    assert found["alarms"] == []


def test_the_distance_is_nought_for_the_same_and_one_for_nothing_in_common() -> None:
    one, other = np.array([0.5, 0.5, 0, 0]), np.array([0, 0, 0.3, 0.7])
    assert hour_comparison.jensen_shannon(one, one) == 0
    assert hour_comparison.jensen_shannon(one, other) == pytest.approx(1)


def test_the_command_reads_the_hours_of_the_database(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(database_url)
    shifted = made_hours(7) + later(7, made_hours(1, luma=0.2))
    write(store, [Checkpoint("gate", tuple(shifted), {})])
    store.close()
    metrics = tmp_path / "drift.prom"
    arguments = ["watch", "--database", database_url, "--metrics", str(metrics), "--history-days", "4000"]
    assert main(["drift", *arguments]) == ALARM
    assert 'sightline_drift_signal_alarm{camera="gate",signal="luma"} 1.0' in metrics.read_text()
    assert 'sightline_drift_signal_alarm{camera="gate",signal="scores"} 0.0' in metrics.read_text()
    assert "shifted" in capsys.readouterr().out
    assert main(["drift", "watch", "--database", f"sqlite:///{tmp_path}/none.db"]) == 1
    assert "none.db" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


# -- the whole way ------------------------------------------------------------------------------------


def seen_by_eye(picture: np.ndarray) -> list[tuple[str, list[int]]]:
    """What a labeller draws into an RGB picture [height, width, 3]: also what is too dark for the network."""
    found = []
    colours = picture.astype(int)
    for name, strong, others in (("person", 0, (1, 2)), ("car", 2, (0, 1))):
        mask = colours[:, :, strong] - np.maximum(*(colours[:, :, place] for place in others)) > 28
        rows, columns = np.flatnonzero(mask.sum(1) > 8), np.flatnonzero(mask.sum(0) > 8)
        if len(rows) and len(columns):
            found.append(
                (name, [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1])
            )
    return found


def label_by_eye(folder: Path, span: tuple[float, float], name: Path) -> Path:
    """Export a stretch, label it as a person would, and import it."""
    archive, manifest = labels.export(labels.find(folder, (), span), name, None, 0.25)
    coco = corrected(archive)
    coco["annotations"] = []
    with zipfile.ZipFile(archive) as file:
        for image in coco["images"]:
            with file.open(f"images/{image['file_name']}") as opened, av.open(opened) as container:
                picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
            for class_name, box in seen_by_eye(picture):
                number = len(coco["annotations"]) + 1
                category = CLASSES.index(class_name) + 1
                coco["annotations"].append(
                    {"id": number, "image_id": image["id"], "category_id": category, "bbox": box}
                )
    back = name.with_suffix(".corrected.json")
    back.write_text(json.dumps(coco))
    labels.read_back(back, manifest, name.with_suffix(".set"))
    return name.with_suffix(".set")


@pytest.mark.triton
def test_a_planted_fall_is_found_from_the_camera_to_the_exit_status(
    toy_triton: TritonServer, tmp_path: Path
) -> None:
    dusk = (80, 22, 22)  # too dark for the network, not for people
    passages = [
        Passage(5 * place, 5 * place + 5, RED if place % 2 else dusk if place >= 16 else BLUE)
        for place in range(24)
    ]
    clip = write_clip(tmp_path / "gate.mp4", passages, seconds=120, fps=5)
    options = {"url": str(clip), "count": {"classes": ["person"]}}
    sampled = {"consent": True, "every_s": 1, "per_stratum": 1000, "blur": []}
    cameras = {"gate": {**options, "drift": sampled}, "yard": options}
    defaults = {"folder": str(tmp_path / "drift")}
    with System(
        tmp_path,
        cameras,
        triton_url=toy_triton.grpc_url,
        arguments=("--until-end",),
        allow={"files": True},
        drift=defaults,
    ) as system:
        assert system.wait(250) == 0, system.log()
    assert sorted(path.name for path in (tmp_path / "drift").iterdir()) == ["gate"]  # nobody asked the yard
    frames = {row["source"]: 0 for row in system.rows("drift_windows")}
    for row in system.rows("drift_windows"):
        frames[row["source"]] += row["frames"]
    assert frames == {"gate": 600, "yard": 600}

    start = min(item.time for item in labels.find(tmp_path / "drift", (), ALL_TIME))
    spans = [(start + 40 * third, start + 40 * third + 38) for third in range(3)]
    first, second, third = (
        label_by_eye(tmp_path / "drift", span, tmp_path / f"third{place}") for place, span in enumerate(spans)
    )
    common = ["--baseline", str(first), "--min-pictures", "15"]
    assert main(["drift", "report", str(second), *common]) == 0
    assert main(["drift", "report", str(third), *common]) == ALARM
