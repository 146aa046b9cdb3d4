"""``sightline alerts``: beside a running program, and with its database alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from sightline.cli import main
from sightline.config import load_config
from sightline.entities import Event, EventKind
from sightline.simulation.rtsp_server import free_port
from sightline.store.writer import Writer
from sightline.supervisor.control_socket import socket_folder, taking_commands
from sightline.supervisor.hub import Hub
from sightline.supervisor.sinks import make_sinks, wanted_by
from sightline.supervisor.sinks.alert_actions import alert_actions
from support.listeners import HookServer, Mail
from support.waiting import until


def event(number: int) -> Event:
    now = time.time()
    return Event("gate", EventKind.CROSSING, "line", number, "person", now, now, "forward", first_time=now)


class Site:
    """A configuration, a webhook server, and a program that runs or does not."""

    def __init__(self, folder: Path) -> None:
        self.hook, self.mail = HookServer(), Mail(free_port(), "hunter2hunter2")
        self.path = folder / "config.yml"
        routes = {
            "hook": {"webhook": self.hook.url, "secret": "0123456789"},
            "dead": {"webhook": "http://127.0.0.1:1/", "secret": "0123456789"},
            "nowhere": {"webhook": "https://nowhere.invalid/", "secret": "0123456789"},
            "plain": {"webhook": self.hook.url.replace("http:", "https:"), "secret": "0123456789"},
            "locked": {"apprise": self.mail.url.replace("//", "//us:wr0ng-w0rd@")},
        }
        rule = {"kinds": ["crossing"], "routes": ["hook"], "cooldown_s": 0}
        values = {
            "cameras": {"gate": {"url": "rtsp://127.0.0.1:1/x"}},
            "database": {"url": f"sqlite:///{folder}/counts.db", "spool_path": str(folder / "spool.db")},
            "alerts": {"rules": {"night": rule}, "routes": routes},
        }
        self.path.write_text(yaml.safe_dump(values))
        self.options = load_config(self.path).options

    @contextmanager
    def running(self) -> Iterator[Writer]:
        sinks = make_sinks(self.options)
        writer = Writer(self.options.database, flush_every_s=0.02, sinks=wanted_by(sinks))
        hub = Hub(writer, sinks)
        try:
            with taking_commands(socket_folder(self.options.database), alert_actions(hub.running)):
                yield writer
        finally:
            hub.close()
            writer.close()

    def call(self, *words: str) -> int:
        return main(["alerts", words[0], "-c", str(self.path), *words[1:]])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.hook.close()


def listed(site: Site, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert site.call("list", "--json", *words) == 0
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)
    return found


def test_alerts_are_listed_and_answered_while_it_runs_and_listed_afterwards(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with site.running() as writer:
        writer.put_results([event(1), event(2)])
        until(lambda: len(site.hook.requests) == 2)
        one, other = (alert["alert_id"] for alert in listed(site, capsys))
        assert site.call("ack", one[:8], "--comment", "a \u202e\x1b[2Jfox\nאא") == 0
        assert site.call("false", other) == 0
        capsys.readouterr()
        assert site.call("list") == 0
        out = capsys.readouterr().out
        assert (
            one[:8] in out
            and "acknowledged" in out
            and "crossing line at gate" in out
            and "a [2Jfox אא\n" in out
        )
        assert other[:8] not in out, "closed"
        until(lambda: len(site.hook.requests) == 4)
        assert site.call("resolve", one) == 0
        assert site.call("ack", one) == 1
        assert "is resolved already" in capsys.readouterr().err
        assert site.call("ack", "00000000") == 1
        assert "there is no alert 00000000" in capsys.readouterr().err
        assert site.call("ack", "a\u202e\x1bb") == 1
        assert "there is no alert ab\n" in capsys.readouterr().err
        assert site.call("false", "") == 1
        assert "write the first characters" in capsys.readouterr().err
    assert listed(site, capsys) == []
    states = {alert["alert_id"]: alert["state"] for alert in listed(site, capsys, "--all")}
    assert states == {one: "resolved", other: "false_alarm"}


def test_a_camera_is_muted_and_told_of_again(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.running() as writer:
        assert site.call("mute", "--camera", "gate", "--hours", "2") == 0
        assert "camera gate: muted until " in capsys.readouterr().out
        writer.put_results([event(1)])
        until(lambda: len(listed(site, capsys)) == 1)
        assert site.call("unmute", "--camera", "gate") == 0
        writer.put_results([event(2)])
        until(lambda: site.hook.requests)
    assert [body["alert"]["muted"] for body in site.hook.bodies] == [False]
    assert [alert["muted"] for alert in listed(site, capsys)] == [False, True]


def test_what_still_mutes_is_told_and_listed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.running():
        assert site.call("mutes") == 0
        assert capsys.readouterr().out == "nothing is muted\n"
        assert site.call("mute", "--all", "--hours", "3") == 0
        assert site.call("mute", "--rule", "night", "--camera", "gate") == 0
        everything, one = capsys.readouterr().out.splitlines()
        assert everything.startswith("all: muted until ")
        assert one.startswith("rule night of camera gate: muted until ")
        assert site.call("mutes") == 0
        assert capsys.readouterr().out.splitlines() == [everything, one]
        assert site.call("unmute", "--camera", "gate") == 0
        told, *others = capsys.readouterr().out.splitlines()
        assert told == "camera gate: this mute is lifted; of its alerts are still muted by others:"
        assert others == [f"  {everything}", f"  {one}"]
    assert site.call("mutes") == 0
    assert capsys.readouterr().out.splitlines() == [everything, one], "nothing runs: from the database"
    with site.running():
        for words in (("--all",), ("--rule", "night", "--camera", "gate")):
            assert site.call("unmute", *words) == 0
        assert capsys.readouterr().out.endswith("rule night of camera gate: no longer muted\n")


def test_commands_to_the_running_program_need_no_secret(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    values = yaml.safe_load(site.path.read_text())
    values["cameras"]["gate"]["url"] = values["alerts"]["routes"]["dead"]["webhook"] = "{SIGHTLINE_NOT_SET}"
    values["database"]["url"] = "postgresql://us:{SIGHTLINE_NOT_SET}@h/x"
    with site.running():
        site.path.write_text(yaml.safe_dump(values))
        for words in (("list",), ("mute", "--camera", "gate"), ("mutes",), ("test", "hook")):
            assert site.call(*words) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert site.call("list") == 1, "now the database is asked"
    assert "config.yml:" in (problem := capsys.readouterr().err) and "database.url" in problem
    assert problem.count("SIGHTLINE_NOT_SET") == 1


def test_hours_that_are_no_number_are_told_as_such(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for hours in ("x", "0", "nan", "9000"):
        with pytest.raises(SystemExit):
            site.call("mute", "--all", "--hours", hours)
        assert "a number is needed, more than 0 and at most 8784" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("mute",), "say which"),
        (("mute", "--camera", "gaet"), "do you mean 'gate'?"),
        (("mute", "--rule", "nigth"), "do you mean 'night'?"),
        (("test", "hok"), "do you mean 'hook'?"),
        (("ack", "1234"), "nothing runs"),
        (("test", "hook"), "nothing runs"),
        (("list",), "not there yet"),
    ],
)
def test_slips_are_told(
    site: Site, words: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.call(*words) == 1
    assert problem in capsys.readouterr().err


def test_a_test_goes_the_road_of_every_alert(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with site.running():
        assert site.call("test", "hook") == 0
        assert "has taken the test" in capsys.readouterr().out
        assert [body["transition"] for body in site.hook.bodies] == ["test"]
        assert site.call("test", "dead") == 1
        assert "Connection refused; nothing listens there: check host" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("route", "reason", "cure"),
    [
        ("nowhere", "(?:not known|resolution)", "the name does not resolve"),
        ("plain", "SSL", "the two sides do not agree on TLS"),
        ("locked", "535", "check user name and password"),
    ],
)
def test_a_test_that_fails_says_why_and_what_to_do_and_is_over(
    site: Site, route: str, reason: str, cure: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.mail.start()
    try:
        with site.running():
            for _ in range(2):  # at once: what has failed holds up nothing
                assert site.call("test", route) == 1
                written = capsys.readouterr()
                assert written.out == "" and "w0rd" not in written.err
                assert re.match(rf"sightline: route {route}: .*{reason}.*; {cure}", written.err)
    finally:
        site.mail.stop()
    assert (site.hook.requests, site.mail.messages) == ([], [])


def test_an_alert_that_was_given_up_is_marked_in_the_list(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.hook.answers = [(422, {})]
    with site.running() as writer:
        writer.put_results([event(1)])
        until(lambda: any(alert["failed_routes"] for alert in listed(site, capsys)))
        assert site.call("list") == 0
        assert "not told by hook" in capsys.readouterr().out
