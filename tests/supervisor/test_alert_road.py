"""From an event to the people: real database, real servers, and what may die on the way."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import yaml

from sightline.config import LoadedConfig, load_config
from sightline.entities import Checkpoint, Event, EventEnd, EventKind
from sightline.errors import ConfigError
from sightline.simulation.rtsp_server import free_port
from sightline.store.writer import Writer
from sightline.supervisor.control import Control
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import make_sinks, wanted_by
from sightline.supervisor.sinks.alert_actions import alert_actions
from sightline.supervisor.sinks.alert_engine import AlertEngine
from sightline.supervisor.sinks.sink import DurableRunner
from support.listeners import HookServer, Mail
from support.waiting import until

KINDS = (EventKind.ENTER, EventKind.CROSSING, EventKind.LOITER, EventKind.OCCUPANCY)
SECRET = "0123456789abcdef"


def event(kind: EventKind, number: int = 1) -> Event:
    direction = {EventKind.OCCUPANCY: "above", EventKind.CROSSING: "forward"}.get(kind)
    value, now = (5.0 if direction == "above" else None), time.time()
    return Event(
        "gate", kind, "yard", number, "person", now, now, direction, value, first_time=100.0 + number
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Failures are retried at once.
    monkeypatch.setattr(DurableRunner.__init__, "__kwdefaults__", {"retry_s": (0.05, 0.2)})
    return tmp_path


def configure(folder: Path, rules: dict[str, Any] | None = None, **routes: dict[str, str]) -> LoadedConfig:
    every = {"kinds": [str(kind) for kind in KINDS], "routes": list(routes), "cooldown_s": 0}
    path = folder / "config.yml"
    values = {
        "cameras": {"gate": {"url": "rtsp://127.0.0.1:1/x"}},
        "database": {"url": f"sqlite:///{folder}/counts.db", "spool_path": str(folder / "spool.db")},
        "alerts": {"rules": {"every": every} if rules is None else rules, "routes": routes},
    }
    path.write_text(yaml.safe_dump(values))
    return load_config(path)


@contextlib.contextmanager
def running(config: LoadedConfig) -> Iterator[tuple[Writer, Hub]]:
    sinks = make_sinks(config.options)
    writer = Writer(config.options.database, flush_every_s=0.02, retry_s=(0.02, 0.1), sinks=wanted_by(sinks))
    hub = Hub(writer, sinks)
    try:
        yield writer, hub
    finally:
        hub.close()
        writer.close()


def ids_by_title(mail: Mail) -> dict[str, set[str]]:
    """By title, the ids of the alerts that the e-mails name."""
    ids = defaultdict(set)
    for message in mail.messages:
        body = message.get_body(("plain", "html"))
        assert body is not None
        ids[str(message["Subject"])].update(re.findall(r"alert ([0-9a-f]{8})\b", body.get_content()))
    return ids


def test_a_mail_server_that_was_down_gets_everything_once_it_is_back(folder: Path) -> None:
    mail = Mail(free_port())
    config = configure(folder, mail={"apprise": mail.url})
    with running(config) as (writer, hub):
        writer.put_results([event(kind) for kind in KINDS])
        until(lambda: hub.sinks()[1].failures > 2)
        assert not hub.sinks()[1].ok
        mail.start()
        try:
            until(lambda: len(mail.messages) == len(KINDS), 20)
            until(lambda: hub.sinks()[1].ok)
        finally:
            mail.stop()
    found = ids_by_title(mail)
    assert {title: len(ids) for title, ids in found.items()} == {f"{kind} yard at gate": 1 for kind in KINDS}


VICTIM = """
import os, signal, sys, time
from pathlib import Path
folder, point, tests = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
sys.path[:0] = [tests, str(Path(tests) / "supervisor")]
from sightline.config import load_config
from sightline.store.writer import Writer
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import make_sinks, wanted_by
from test_alert_road import KINDS, event

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def before(owner, name):
    setattr(owner, name, die)

def after(owner, name):
    real = getattr(owner, name)
    def call(*values):
        try:
            real(*values)
        finally:
            die()
    setattr(owner, name, call)

config = load_config(folder / "config.yml").options
sinks = make_sinks(config)
engine, route = sinks[:2]
writer = Writer(config.database, sinks=wanted_by(sinks))
put = writer.put_results
points = {
    "the event is written": lambda: before(engine, "deliver"),
    "the alert is made": lambda: after(writer, "put_results"),
    "the alert is written": lambda: after(engine, "deliver"),
    "the notification is written": lambda: before(route, "deliver"),
    "the first is sent or fails": lambda: after(route, "send"),
    "all are sent or fail": lambda: after(route, "deliver"),
}
points[point]()
hub = Hub(writer, sinks)
put([event(kind) for kind in KINDS])
time.sleep(30)
"""
POINTS = re.findall(r'^    "(.*)": lambda', VICTIM, re.MULTILINE)


def kill_at(folder: Path, point: str) -> None:
    command = [sys.executable, "-c", VICTIM, str(folder), point, str(Path(__file__).parents[1])]
    assert subprocess.run(command, check=False, timeout=60).returncode == -9


@pytest.mark.parametrize("point", POINTS)
def test_kill_9_wherever_it_hits_every_alert_arrives_under_one_key(folder: Path, point: str) -> None:
    server = HookServer()
    config = configure(folder, hook={"webhook": server.url, "secret": SECRET})
    kill_at(folder, point)
    with running(config):
        until(lambda: {body["alert"]["kind"] for body in server.bodies} == set(KINDS), 30)
        time.sleep(0.5)  # for what would come under a second key
    server.close()
    keys = defaultdict(set)
    for body in server.bodies:
        keys[body["alert"]["kind"]].add((body["key"], body["transition"]))
    assert {kind: len(found) for kind, found in keys.items()} == dict.fromkeys(KINDS, 1)
    assert {transition for found in keys.values() for _, transition in found} == {"opened"}


def test_mail_server_down_and_the_program_killed_meanwhile(folder: Path) -> None:
    mail = Mail(free_port())
    config = configure(folder, mail={"apprise": mail.url})
    kill_at(folder, "the first is sent or fails")
    mail.start()
    try:
        with running(config):
            until(lambda: len(ids_by_title(mail)) == len(KINDS), 30)
            time.sleep(0.5)
    finally:
        mail.stop()
    assert {title: len(ids) for title, ids in ids_by_title(mail).items()} == {
        f"{kind} yard at gate": 1 for kind in KINDS
    }


def test_a_killed_program_ends_what_the_one_before_had_opened(folder: Path) -> None:
    server = HookServer()
    config = configure(folder, hook={"webhook": server.url, "secret": SECRET})
    visit = event(EventKind.ENTER)
    with running(config) as (writer, _):
        writer.put(Checkpoint("gate", (visit,), {}))
        until(lambda: server.requests)
    with running(config) as (writer, _):
        writer.put(Checkpoint("gate", (EventEnd(visit, visit.event_time + 30),), {}))
        until(lambda: len(server.requests) == 2)
    server.close()
    assert [body["transition"] for body in server.bodies] == ["opened", "resolved"]
    assert len({body["alert"]["alert_id"] for body in server.bodies}) == 1
    assert server.bodies[1]["alert"]["end_time"] == visit.event_time + 30


def test_rules_change_while_the_program_runs(folder: Path) -> None:
    server = HookServer()
    hook = {"webhook": server.url, "secret": SECRET}
    config = configure(folder, {}, hook=hook)
    with running(config) as (writer, hub):
        control = Control(folder / "config.yml", config, lambda plan: None, appliers={"alerts": hub.update})
        writer.put_results([event(EventKind.ENTER, 1)])
        until(lambda: not writer.health().pending_records)
        configure(folder, {"new": {"kinds": ["crossing"], "routes": ["hook"]}}, hook=hook)
        control.reload("test")
        assert control.state()["last"]["changes"] == ["alerts.rules.new added: applied at once"]
        writer.put_results([event(EventKind.ENTER, 2), event(EventKind.CROSSING)])
        until(lambda: server.requests)
        configure(folder, {})
        control.reload("test")
        writer.put_results([event(EventKind.CROSSING, 3)])
        until(lambda: not writer.health().pending_records)
        time.sleep(0.3)
    server.close()
    assert [body["alert"]["rule"] for body in server.bodies] == ["new"]


def test_routes_come_change_and_go_while_the_program_runs(folder: Path) -> None:
    first, second = HookServer(), HookServer()
    rules = {"every": {"kinds": ["crossing"], "routes": ["hook"], "cooldown_s": 0}}
    config = configure(folder, {})
    with running(config) as (writer, hub):
        control = Control(folder / "config.yml", config, lambda plan: None, appliers={"alerts": hub.update})
        test = alert_actions(hub.running)["test"]

        def change(rules: dict[str, Any], **routes: dict[str, str]) -> None:
            configure(folder, rules, **routes)
            control.reload("test")
            assert not control.state()["needs_restart"]

        with pytest.raises(LookupError, match="there is no route hook; there are: none"):
            test("hook")
        change(rules, hook={"webhook": first.url, "secret": SECRET})
        assert test("hook") == ""
        writer.put_results([event(EventKind.CROSSING, 1)])
        until(lambda: len(first.requests) == 2)
        [route] = [sink for sink in hub.running() if sink.name == "route:hook"]
        change({}, hook={"webhook": first.url, "secret": SECRET})
        assert route in hub.running(), "one that stays as it is goes on"
        change(rules, hook={"webhook": second.url, "secret": SECRET})
        writer.put_results([event(EventKind.CROSSING, 2)])
        until(lambda: second.requests)
        change({})
        assert [sink.name for sink in hub.sinks() if sink.name.startswith("route:")] == []
        until(lambda: not [one for one in threading.enumerate() if one.name == "sink-route:hook"])
    for server in (first, second):
        server.close()
    assert [body["transition"] for body in first.bodies] == ["test", "opened"]
    assert [body["alert"]["events"] for body in second.bodies] == [[ANY]]


def test_what_a_route_could_not_deliver_is_told_where_it_leads_now(folder: Path) -> None:
    server = HookServer()
    hook = {"webhook": f"http://127.0.0.1:{free_port()}/", "secret": SECRET}
    config = configure(folder, hook=hook)
    with running(config) as (writer, hub):
        control = Control(folder / "config.yml", config, lambda plan: None, appliers={"alerts": hub.update})
        writer.put_results([event(EventKind.CROSSING)])
        until(lambda: [sink for sink in hub.sinks() if sink.failures])
        configure(folder, hook={**hook, "webhook": server.url})
        control.reload("test")
        until(lambda: server.requests)
    server.close()
    assert [body["transition"] for body in server.bodies] == ["opened"]


def test_a_route_that_cannot_be_changes_nothing(folder: Path) -> None:
    pytest.importorskip("apprise", reason="the library of the extra alerts is not installed")
    config = configure(folder, {})
    text = (folder / "config.yml").read_text()
    with running(config) as (_, hub):
        control = Control(folder / "config.yml", config, lambda plan: None, appliers={"alerts": hub.update})
        configure(folder, {}, typo={"apprise": "no-such-service://x"})
        changed = (folder / "config.yml").read_text()
        (folder / "config.yml").write_text(text)
        with pytest.raises(ConfigError, match=r"alerts\.routes\.typo\.apprise.*no URL that Apprise knows"):
            control.write(changed, "test")
        assert (folder / "config.yml").read_text() == text
        assert not control.config.options.alerts.routes
        assert not [sink for sink in hub.sinks() if sink.name == "route:typo"]


def test_nothing_of_a_route_stands_in_the_status(folder: Path) -> None:
    config = configure(
        folder,
        hook={"webhook": "http://127.0.0.1:1/T0KENT0KEN", "secret": "T0KENT0KEN"},
        mail={"apprise": "json://user:T0KENT0KEN@127.0.0.1:1/T0KENT0KEN"},
    )
    with running(config) as (writer, hub):
        writer.put_results([event(EventKind.ENTER)])
        until(lambda: all(sink.failures for sink in hub.sinks() if sink.name.startswith("route:")))
        assert "T0KEN" not in json.dumps([sink.last_error for sink in hub.sinks()])
        assert {sink.name for sink in hub.sinks() if sink.last_error} == {"route:hook", "route:mail"}


def test_while_the_database_is_away_alerts_are_told_from_the_spool(folder: Path) -> None:
    server = HookServer()
    config = configure(folder, hook={"webhook": server.url, "secret": SECRET})
    with running(config) as (writer, _):
        writer.put_results([event(EventKind.ENTER)])
        until(lambda: server.requests)
        database = folder / "counts.db"
        database.rename(folder / "away.db")
        database.mkdir()
        until(lambda: writer.health().state == "spooling")
        writer.put_results([event(EventKind.LOITER)])
        until(lambda: len(server.requests) == 2)
        database.rmdir()
        (folder / "away.db").rename(database)
        until(lambda: writer.health().state == "ok")
        time.sleep(0.3)
    server.close()
    assert [body["alert"]["kind"] for body in server.bodies] == ["enter", "loiter"]


def test_an_alert_says_which_route_has_given_something_up(folder: Path) -> None:
    server = HookServer()
    server.answers = [(422, {})]
    config = configure(folder, hook={"webhook": server.url, "secret": SECRET})
    with running(config) as (writer, hub):
        writer.put_results([event(EventKind.CROSSING), event(EventKind.ENTER)])
        until(lambda: len(server.requests) == 2)
        until(lambda: not writer.health().pending_records)
        [route] = [sink for sink in hub.sinks() if sink.name == "route:hook"]
        assert (route.ok, route.given_up, route.gave_up_ago_s is not None) == (True, 1, True)
    again = make_sinks(config.options)[0]
    assert isinstance(again, AlertEngine)
    refused = {body["alert"]["alert_id"] for body in server.bodies[:1]}
    assert {alert.alert_id for alert in again.alerts() if alert.failed_routes == ("hook",)} == refused
    assert [alert.failed_routes for alert in again.alerts() if alert.alert_id not in refused] == [()]
    server.close()
