"""How soon people are told, judged on evidence made up for it; the whole run is the tool itself."""

from __future__ import annotations

import smtplib
import urllib.request
from dataclasses import replace

import numpy as np
import pytest

from bench.told import Arrivals, judge, places, receivers
from sightline.config import parse_config
from sightline.features.track_log import TrackedFrame
from sightline.simulation.demo import SIMULATED
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence
from sightline.simulation.selftest.ground_truth import GroundTruth, Happening

BEGAN, LAP_S = 1_800_000_000.0, 10.0
NOBODY = np.zeros((0, 4), np.float32)
NOTHING = np.zeros(0, np.int64)
TRUTH = GroundTruth(SceneSpec(), LAP_S, (Happening(4.0, "hall", "enter", "person", 1),), ())


def evidence(*events: ClaimedEvent, laps: int = 3) -> Evidence:
    """Frames whose capture time is 0.1 s early, whose tracks are known 0.3 s after they were due."""
    frames = []
    for number in range(round(laps * LAP_S * 5)):
        due, scene_s = BEGAN + number / 5, number / 5 % LAP_S
        nobody = (NOBODY, NOTHING, NOTHING, NOTHING, NOBODY, NOTHING, NOTHING)
        times = due - 0.1, number / 5, due + 0.3, scene_s, None
        frames.append(TrackedFrame(*times, ("person",), *nobody))
    return Evidence(tuple(frames), events, {}, laps * LAP_S, 0, BEGAN, 5.0)


def entered(at: float, key: str, *, place: str = "hall") -> ClaimedEvent:
    """Seen 0.2 s too late; certain a second later, and a row 0.05 s after its tracks were known."""
    time = BEGAN + at - 0.1
    kind = "occupancy" if " over " in place else "enter"
    direction = "above" if kind == "occupancy" else None
    row = BEGAN + at + 1.0 + 0.3 + 0.05
    return ClaimedEvent(kind, place, direction, "person", 1, time + 0.2, row, time + 1.0, key=key)


def arrive(arrivals: Arrivals, alert_id: str, key: str, row: float) -> None:
    arrivals.notified[alert_id] = row + 0.01
    arrivals.hook[alert_id] = row + 0.02, row + 0.03
    arrivals.mail[alert_id] = row + 0.04, row + 0.09
    arrivals.events[alert_id] = [key]


def test_every_step_of_the_way_is_told_in_whichever_lap() -> None:
    events = [entered(4.0, "a"), entered(14.0, "b"), entered(24.0, "c", place="hall over 6")]
    arrivals = Arrivals()
    for event in events:
        arrive(arrivals, f"alert of {event.key}", event.key, event.created_at)
    figures = judge([("cam", TRUTH, evidence(*events))], arrivals)
    assert (figures["lost"], figures["doubled"], figures["unmatched"]) == (0, 0, 0)
    enter = figures["kinds"]["enter"]
    assert (enter["events"], figures["kinds"]["occupancy"]["events"]) == (2, 1)
    assert (enter["p99_s"], enter["certain_p50_s"], enter["ours_p99_s"]) == pytest.approx((1.44, 1.0, 0.44))
    steps = {name: figure["p50_s"] for name, figure in figures["stages"].items()}
    assert list(steps.values()) == pytest.approx([0.3, 0.05, 0.01, 0.03, 0.05])
    assert figures["slowest"][0]["sent to received"] == pytest.approx(0.05)


def test_what_was_not_told_is_lost_and_what_did_not_happen_has_no_latency() -> None:
    told, untold, invented = entered(4.0, "a"), entered(14.0, "b"), entered(8.0, "c")
    copy = replace(entered(4.0, "d"), place="hall over 6")  # of the copies only occupancy is told
    arrivals = Arrivals()
    for event in (told, invented):
        arrive(arrivals, event.key, event.key, event.created_at)
    arrive(arrivals, "again", told.key, told.created_at)
    arrive(arrivals, "half", untold.key, untold.created_at)
    del arrivals.mail["half"]
    figures = judge([("cam", TRUTH, evidence(told, untold, invented, copy))], arrivals)
    assert (figures["lost"], figures["doubled"], figures["unmatched"]) == (1, 1, 1)
    assert figures["kinds"]["enter"]["events"] == 1


def test_the_servers_take_what_a_program_sends() -> None:
    arrivals = Arrivals()
    alert_id = "5c0e6a3a-0000-5000-8000-000000000000"
    with receivers(arrivals) as routes:
        port = int(routes["mail"]["apprise"].split(":")[2].split("/")[0])
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("a@example.org", ["b@example.org"], f"Subject: x\r\n\r\n?alert={alert_id}\r\n")
        body = (
            b'{"transition": "opened", "time": "2026-01-01T00:00:00+00:00", '
            b'"alert": {"alert_id": "' + alert_id.encode() + b'", "events": ["key"]}}'
        )
        with urllib.request.urlopen(routes["hook"]["webhook"], body, timeout=5):
            pass
    assert arrivals.events == {alert_id: ["key"]}
    assert arrivals.hook.keys() == arrivals.mail.keys() == arrivals.notified.keys() == {alert_id}


@pytest.mark.parametrize("scene", SIMULATED)
def test_zones_have_copies_of_which_only_occupancy_is_asked(scene: str) -> None:
    rules = places(SIMULATED[scene])
    camera = parse_config({"cameras": {"a": {"url": "rtsp://127.0.0.1/a", "rules": rules}}}).cameras["a"]
    copies = {name: zone for name, zone in camera.rules.zones.items() if " over " in name}
    assert len(copies) > len(camera.rules.zones) / 2
    assert all(zone.loiter_s is None and zone.max_occupancy is not None for zone in copies.values())
