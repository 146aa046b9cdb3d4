"""Rules and routes of alerts between forms and the file, and hours in words."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.route_form import mail_url, route_edits, text_edits
from console.rule_form import DEFAULTS, Choices, rule_as_written, rule_edits, rule_in_words, zones_in_words
from console.rule_form import rule_name as named
from console.week_hours import example_of, hours_in_words, hours_of, week_grid
from sightline.config.alerts import AlertOptions, AlertRule
from sightline.config.yaml_edit import GONE

BERLIN = ZoneInfo("Europe/Berlin")


def told(**values: Any) -> dict[str, Any]:
    """A rule as the API tells it."""
    return dict(AlertRule.model_validate({"kinds": ["loiter"], **values}).model_dump(mode="json"))


def test_a_rule_that_nobody_has_changed_changes_nothing() -> None:
    hours = {"days": ["sat", "sun"], "begin": "00:30", "end": "24:00"}
    before = rule_as_written(told(quiet=hours, cooldown_s=30, escalate_after_s=60, escalate_to=["hook"]))
    assert before["quiet"] == hours
    assert rule_edits("night", before, dict(before)) == {}


def test_only_what_differs_is_written_and_a_default_is_left_out() -> None:
    before = rule_as_written(told(cameras=["gate"], min_dwell_s=5))
    after = {**before, "cameras": None, "severity": "error", "min_dwell_s": 0}
    edits = {("rules", "night", "cameras"): GONE, ("rules", "night", "min_dwell_s"): GONE}
    assert rule_edits("night", before, after) == edits | {("rules", "night", "severity"): "error"}
    new = rule_edits("night", None, {**rule_as_written(DEFAULTS), "kinds": ["enter"], "routes": ["hook"]})
    assert new == {("rules", "night"): {"kinds": ["enter"], "routes": ["hook"]}}


@pytest.mark.parametrize(
    ("text", "name"),
    [("Loitering in the yard", "loitering_in_the_yard"), ("2 gates!", "gates"), ("Ärger", "rger"), ("7", "")],
)
def test_names_of_people_become_names_of_the_file(text: str, name: str) -> None:
    assert named(text) == name


def test_a_rule_is_told_in_a_sentence() -> None:
    rule = rule_as_written(told(classes=["person"], cameras=["gate"], places=["yard"], routes=["guards"]))
    sentence = "When a person stays too long in a zone (loitering) at yard, on gate: told by guards."
    assert rule_in_words(rule) == sentence
    offline = rule_as_written(told(kinds=["camera_offline"], schedule={"days": ["sat"]}))
    sentence = "When a camera is offline, on any camera, on Saturday, all day: shown in Review."
    assert rule_in_words(offline) == sentence


def test_zones_of_a_rule_say_after_how_long_somebody_loiters() -> None:
    places = {"gate": {"yard": {"loiter_s": 90.0}, "door": {}}, "hall": {"yard": {"loiter_s": 5}}}
    choices = Choices(places, (), ())
    assert zones_in_words(rule_as_written(told(cameras=["gate"])), choices) == "yard on gate after 90 s"
    assert zones_in_words(rule_as_written(told(cameras=["gate"], places=["door"])), choices) == ""
    assert zones_in_words(rule_as_written(told()), choices).count("after") == 2


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ({}, "every day, all day"),
        ({"begin": "22:00", "end": "06:00"}, "every day from 22:00 to 06:00 of the next day"),
        (
            {"days": ["fri", "mon", "tue", "wed", "thu"], "end": "07:30"},
            "on Monday to Friday from 00:00 to 07:30",
        ),
        ({"days": ["sun", "sat"], "begin": "8:00"}, "on Saturday and Sunday from 08:00 to 24:00"),
    ],
)
def test_hours_in_words(written: dict[str, Any], words: str) -> None:
    assert hours_in_words(hours_of(written)) == words


@pytest.mark.parametrize(
    ("now", "example"),
    [
        (
            "2026-11-27T21:00",
            "It is silent next from Friday, 27 November, 22:00 until Saturday, 28 November, 06:00.",
        ),
        ("2026-11-28T05:59", "It is silent now, until Saturday, 28 November, 06:00."),
        (
            "2026-11-28T06:00",
            "It is silent next from Friday, 4 December, 22:00 until Saturday, 5 December, 06:00.",
        ),
    ],
)
def test_an_example_says_when_it_is_silent(now: str, example: str) -> None:
    hours = hours_of({"days": ["fri"], "begin": "22:00", "end": "06:00"})
    assert (
        example_of(hours, datetime.fromisoformat(now).replace(tzinfo=BERLIN).timestamp(), BERLIN) == example
    )


def test_hours_that_are_always_are_said_to_be_so() -> None:
    assert example_of(hours_of({}), 1_790_000_000, BERLIN) == "It is always silent."


def test_a_night_is_drawn_at_the_end_of_its_day_and_at_the_begin_of_the_next() -> None:
    grid = week_grid(
        [("night", hours_of({"days": ["mon"], "begin": "18:00", "end": "06:00"})), ("<b>", None)]
    )
    assert grid.count("<i ") == 2
    assert "left:75.00%;width:25.00%" in grid and "left:0.00%;width:25.00%" in grid
    assert "night: silent on Monday from 18:00 to 06:00 of the next day" in grid
    assert "<span>&lt;b&gt;</span>" in grid and "silent never" in grid


def hook(**values: Any) -> dict[str, Any]:
    """A route as the API tells it: what is secret is masked."""
    route = {"webhook": "https://h/x", "secret": "0123456789", **values}
    options = AlertOptions.model_validate({"routes": {"hook": route}})
    found: dict[str, Any] = json.loads(options.model_dump_json())["routes"]["hook"]
    return found


def test_of_a_route_written_as_yaml_only_what_differs_is_another_and_what_is_masked_stays() -> None:
    written = {"webhook": "https://***", "secret": "***", "min_severity": "error"}
    assert text_edits("hook", written, dict(written)) == {}
    assert text_edits("hook", written, {"webhook": "https://***", "secret": "n3w", "timeout_s": 5}) == {
        ("routes", "hook", "secret"): "n3w",
        ("routes", "hook", "timeout_s"): 5,
        ("routes", "hook", "min_severity"): GONE,
    }
    assert text_edits("hook", None, {"pagerduty": "key"}) == {("routes", "hook"): {"pagerduty": "key"}}


def test_a_route_keeps_its_secrets_unless_it_is_led_elsewhere() -> None:
    before = hook()
    others = {"min_severity": "info", "timeout_s": 10.0, "picture": None}
    assert route_edits("hook", before, others) == {}
    after = {**others, "min_severity": "error"}
    assert route_edits("hook", before, after) == {("routes", "hook", "min_severity"): "error"}
    assert route_edits("hook", before, {**others, "pagerduty": "key"}) == {
        ("routes", "hook", "webhook"): GONE,
        ("routes", "hook", "secret"): GONE,
        ("routes", "hook", "pagerduty"): "key",
    }
    assert route_edits("hook", None, {**others, "webhook": "https://h/x", "secret": "s3cret"}) == {
        ("routes", "hook"): {"webhook": "https://h/x", "secret": "s3cret"}
    }


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            ("mail.example.org", "STARTTLS", "u@example.org", "p@ss/w:rd"),
            ("mail.example.org", 587, "starttls"),
        ),
        (("mail.example.org:2465", "TLS", "anna", "pass"), ("mail.example.org", 2465, "ssl")),
        (("127.0.0.1:2525", "none", "", ""), ("127.0.0.1", 2525, "insecure")),
    ],
)
def test_what_is_asked_for_e_mail_is_what_apprise_understands(
    given: tuple[str, str, str, str], wanted: tuple[str, int, str]
) -> None:
    apprise = pytest.importorskip("apprise", reason="the library of the extra alerts is not installed")
    server, security, user, password = given
    url = mail_url(server, security, "a@example.org, b@example.org", "s@example.org", user, password)
    service = apprise.Apprise.instantiate(url)
    assert (service.smtp_host, service.port, service.secure_mode) == wanted
    assert (service.user or "", service.password or "") == (user, password)
    assert sorted(address for _, address in service.targets) == ["a@example.org", "b@example.org"]
    assert service.from_addr[1] == "s@example.org"
