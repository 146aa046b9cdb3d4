"""All that is told to is away for two minutes while the program dies again and again: nothing is lost."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from sightline.entities import KEY_SEPARATOR
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer, free_port
from support.brokers import KafkaReader, Listener, Mosquitto, kafka_cluster
from support.listeners import Mail
from support.system import System
from support.toy import BLUE, Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.triton, pytest.mark.rtsp, pytest.mark.timeout(600)]

KINDS = ("enter", "leave", "crossing", "loiter", "occupancy", "camera_offline")
RULES = {
    "lines": {"gate": {"points": [[0.5, 0.2], [0.5, 0.95]]}},
    "zones": {
        "yard": {
            "points": [[0.25, 0.5], [0.7, 0.5], [0.7, 1], [0.25, 1]],
            "loiter_s": 2,
            "max_occupancy": 1,
        }
    },
}
WALKS = [Passage(0.5, 6.5), Passage(1.9, 7.9, BLUE)]
KILLS = 3
SILENT_S = 5.0  # an end is written a while after it
NAMES = ("source", "kind", "place", "track_id", "first_time", "ordinal")  # what an event's key is made of


@pytest.mark.fault(18)
@pytest.mark.fault(26)
@pytest.mark.parametrize("outage_s", [0, pytest.param(120, marks=pytest.mark.long)])
def test_everything_arrives_in_order_and_under_one_key(
    tmp_path: Path, toy_triton: TritonServer, outage_s: float
) -> None:
    video = write_clip(tmp_path / "walks.mp4", WALKS, seconds=9)
    mail, broker = Mail(free_port()), Mosquitto(tmp_path)
    mail.start()
    broker.start()
    listener = Listener(broker, "sightline/+/events")
    every = {"kinds": list(KINDS), "routes": ["mail"], "cooldown_s": 0}
    with (
        kafka_cluster() as (address, cluster),
        RtspServer({"door": video}) as rtsp,
        RtspServer({"side": video}) as other,
        System(
            tmp_path,
            {"door": {"url": rtsp.url("door")}, "side": {"url": other.url("side")}},
            triton_url=toy_triton.grpc_url,
            rules=RULES,
            alerts={"rules": {"every": every}, "routes": {"mail": {"apprise": mail.url}}},
            streams={"mqtt": {"host": "127.0.0.1", "port": broker.port}, "kafka": {"servers": [address]}},
        ) as system,
    ):
        until(lambda: len(mail.messages) > 3 and len(listener.messages) > 3, 90)
        began = time.time()
        mail.stop()
        broker.kill()
        cluster.send_signal(signal.SIGSTOP)
        other.stop()
        until(lambda: system.troubles("camera_offline", "side"), 60, every_s=0.5)
        for number in range(1, KILLS + 1):
            until(lambda share=number / (KILLS + 1): time.time() >= began + share * outage_s, outage_s + 1)
            until_events(system, time.time())
            system.kill()
            system.start()
        until(lambda: time.time() >= began + outage_s, outage_s + 1)
        until(lambda: {str(e["kind"]) for e in events(system) if e["confirmed"] > began} >= set(KINDS), 60)
        before = time.time()
        assert not [m for m in mail.messages if "camera_offline" in str(m["Subject"])], "it was away"
        mail.start()
        broker.start()
        cluster.send_signal(signal.SIGCONT)
        until(lambda: notified(system, before) <= told(mail), 120, every_s=0.5)
        reader = KafkaReader(address, "sightline.events")
        wanted = spans(system, before)
        until(lambda: spans_of(text for _, text in list(listener.messages)) >= wanted, 60, every_s=0.5)
        until(lambda: spans_of(message.value() for message in reader.read()) >= wanted, 60)
        system.stop()
        reader.close()
    check_alerts(system, mail, before)
    check_events(system)
    for bodies in ([text for _, text in listener.messages], [m.value() for m in reader.messages]):
        check_order(list(map(json.loads, bodies)))
    listener.close()
    mail.stop()
    broker.stop()


def until_events(system: System, since: float) -> None:
    """Wait for something that has happened since then, so that a kill falls among events."""
    until(lambda: any(event["confirmed"] > since for event in events(system)), 60, every_s=0.1)


def events(system: System) -> list[dict[str, Any]]:
    """Rows of events, with their keys, and when they became certain in epoch seconds."""
    rows = system.rows("events")
    for row in rows:
        row["confirmed"] = epoch(row["confirmed_time"])
        row["key"] = KEY_SEPARATOR.join(["event", *(str(row[name]) for name in NAMES)])
    return rows


def epoch(stored: str) -> float:
    """SQLite's text as epoch seconds."""
    return datetime.fromisoformat(stored).replace(tzinfo=UTC).timestamp()


def told(mail: Mail) -> set[tuple[str, str]]:
    """Id and step of the alerts that e-mails are about."""
    found = set()
    for message in mail.messages:
        body = message.get_body(("plain", "html"))
        assert body is not None
        [alert] = re.findall(r"alert ([0-9a-f]{8})\b", body.get_content())
        found.add((alert, "resolved" if str(message["Subject"]).startswith("resolved: ") else "opened"))
    return found


def notified(system: System, before: float) -> set[tuple[str, str]]:
    """The same of what the program has to tell."""
    rows = system.rows("notifications")
    return {(r["alert_id"][:8], r["transition"]) for r in rows if epoch(r["notification_time"]) < before}


def spans(system: System, before: float) -> set[tuple[str, bool]]:
    """Each event that had been written by then, and its end, if that had."""
    found = {(row["key"], False) for row in events(system) if row["confirmed"] < before - 1}
    ends = {row["key"]: epoch(row["end_time"]) for row in events(system) if row["end_time"]}
    return found | {(key, True) for key, end in ends.items() if end < before - SILENT_S}


def spans_of(bodies: Iterable[str | bytes]) -> set[tuple[str, bool]]:
    """The same of messages; an end says that there was a beginning."""
    found = set()
    for body in map(json.loads, bodies):
        key = KEY_SEPARATOR.join(map(unquote, body["key"].split("/")))
        found |= {(key, False), (key, body["end_time"] is not None)}
    return found


def check_alerts(system: System, mail: Mail, before: float) -> None:
    """Each event has one alert, which was told, and nobody was told of another."""
    alerts_of: dict[str, list[str]] = defaultdict(list)
    for row in system.rows("alerts"):
        [key] = json.loads(row["events"])
        alerts_of[key].append(row["alert_id"][:8])
    assert [key for key, alerts in alerts_of.items() if len(alerts) > 1] == []
    wanted = {e["key"]: e for e in events(system) if e["kind"] in KINDS and e["direction"] != "below"}
    opened = {alert for alert, step in told(mail) if step == "opened"}
    assert opened <= {alerts_of[key][0] for key in wanted if key in alerts_of}
    early = [key for key, event in wanted.items() if event["confirmed"] < before - 1]
    assert [key for key in early if not set(alerts_of[key]) & opened] == []


def check_events(system: System) -> None:
    """Nothing has happened under two keys: in the scene there is a second between any two of a kind."""
    times = defaultdict(list)
    for row in events(system):
        names = ("source", "kind", "place", "item_class", "direction")
        times[tuple(row[name] for name in names)].append(epoch(row["event_time"]))
    for what, found in times.items():
        assert all(later - earlier > 1 for earlier, later in pairwise(sorted(found))), what


def check_order(messages: list[dict[str, Any]]) -> None:
    """In the order in which each camera's results were written; what came twice was the same."""
    first: dict[str, dict[tuple[str, int], dict[str, Any]]] = defaultdict(dict)
    for message in messages:
        item = message["key"], message["sequence"]
        assert first[message["source"]].setdefault(item, message) == message
    assert set(first) >= {"door", "side"}
    for source, items in first.items():
        sequences = [sequence for _, sequence in items]
        assert sequences == sorted(sequences), source
