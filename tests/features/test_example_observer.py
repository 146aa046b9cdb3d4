"""An observer of frames is one new file and one line of registration; its figures are shown."""

from __future__ import annotations

from typing import cast

import pytest

from examples import frame_counter
from sightline.camera import running_camera
from sightline.camera.messages import Report
from sightline.entities import CameraStatus
from sightline.features import FEATURES
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.http.health_pages import HealthPages
from sightline.supervisor.http.visitors import NobodyElse
from sightline.supervisor.live_pictures import LivePictures
from sightline.supervisor.supervisor import Supervisor
from support.front import served
from support.worker_rig import Rig

HEALTH = WriterHealth()


class Shown:
    """What a worker has reported, as the supervisor shows it."""

    beat_s = float("inf")

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self.live = LivePictures()

    def statuses(self) -> list[CameraStatus]:
        return [self._rig.latest("gate").status]

    def reports(self) -> dict[str, Report]:
        return {"gate": self._rig.latest("gate")}

    def notices(self) -> tuple[()]:
        return ()

    def troubles(self) -> tuple[()]:
        return ()

    def machine(self) -> None:
        return None

    def restarts(self) -> dict[str, int]:
        return {}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_camera, "FEATURES", {**FEATURES, "frame_counter": frame_counter.make})


def counted(rig: Rig) -> float:
    return sum(f.value for f in rig.latest("gate").figures if f.name == "frame_counter_frames_total")


def test_an_example_observer_is_one_file_and_one_line() -> None:
    with Rig() as rig:
        rig.add("gate")
        rig.until_frames("gate", 20)
        pages = HealthPages(cast(Supervisor, Shown(rig)), lambda: HEALTH)
        with served(pages.endpoints(), NobodyElse()) as front:
            page = front.ask("/metrics").body.decode()
            [camera] = front.ask("/status").json["cameras"]
    assert "# TYPE sightline_frame_counter_frames_total counter" in page
    assert 'sightline_frame_counter_frames_total{camera="gate",kind="busy"}' in page
    [busy] = [figure for figure in camera["figures"] if figure["labels"] == {"kind": "busy"}]
    assert busy["value"] > 0
    checkpoint = rig.latest("gate").checkpoint
    assert checkpoint is not None
    before = sum(checkpoint.resume["frame_counter"].values())
    assert before == rig.frames("gate")
    with Rig() as rig:  # a restart of the worker
        rig.add("gate", resume=checkpoint.resume)
        rig.until_frames("gate", 1)
        assert counted(rig) == before + rig.frames("gate")
