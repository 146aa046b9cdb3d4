"""What may be written under ``alerts``, and what is said of slips."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sightline.config import json_schema, parse_config
from sightline.config.alerts import AlertOptions, AlertRoute, AlertRule
from sightline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SQUARE = [[0, 0], [1, 0], [1, 1]]
CAMERAS = {
    "gate": {
        "url": "rtsp://h/",
        "count": {"classes": ["person", "car"]},
        "rules": {"zones": {"yard": {"points": SQUARE, "classes": ["person"]}}},
    },
    "door": {
        "url": "rtsp://h/",
        "count": {"classes": ["dog"]},
        "rules": {"zones": {"step": {"points": SQUARE}}},
    },
}


def alerts(**rule: Any) -> dict[str, Any]:
    return {"cameras": CAMERAS, "alerts": {"rules": {"night": {"kinds": ["enter"], **rule}}}}


@pytest.mark.parametrize(
    ("rule", "warnings"),
    [
        ({}, []),
        ({"cameras": ["gate"], "places": ["yard"], "classes": ["person"]}, []),
        ({"cameras": ["sightline-canary"]}, []),
        ({"cameras": ["gaet"]}, ["alerts.rules.night.cameras names 'gaet'", "do you mean 'gate'?"]),
        ({"places": ["yrad"]}, ["alerts.rules.night.places names 'yrad'", "do you mean 'yard'?"]),
        ({"cameras": ["door"], "places": ["yard"]}, ["places names 'yard'", "there are: step"]),
        ({"places": ["yard"], "classes": ["car"]}, ["classes names 'car'", "there are: person"]),
        ({"classes": ["perosn"]}, ["classes names 'perosn'", "do you mean 'person'?"]),
        ({"kinds": ["crossing"], "places": ["yard"]}, ["told of crossing: no line is there; add one"]),
        ({"kinds": ["crossing"]}, ["told of crossing: no line is there"]),
        ({"kinds": ["crossing", "enter"]}, []),
        ({"kinds": ["enter", "loiter"], "places": ["yard"]}, ["told of loiter: no zone with loiter_s"]),
        ({"kinds": ["occupancy"]}, ["told of occupancy: no zone with max_occupancy"]),
        ({"kinds": ["occupancy"], "classes": ["person"]}, ["told of occupancy: it has no class"]),
        ({"kinds": ["camera_offline"], "cameras": ["gate"]}, []),
        ({"kinds": ["camera_offline"], "places": ["yard"]}, ["told of camera_offline: it has no place"]),
        ({"kinds": ["camera_offline"], "classes": ["car"]}, ["told of camera_offline: it has no class"]),
        ({"kinds": ["triton_away"], "cameras": ["gate"]}, ["told of triton_away: it is of the program"]),
        ({"kinds": ["delivery_failed"], "places": ["mqtt"]}, []),
        ({"kinds": ["leave"], "min_dwell_s": 5}, ["night.min_dwell_s holds for none of its kinds"]),
        ({"kinds": ["enter", "leave"], "min_dwell_s": 5}, []),
        ({"min_count": 5}, ["night.min_count holds for occupancy alone"]),
    ],
)
def test_names_of_nothing_are_warned_of_with_the_nearest(rule: dict[str, Any], warnings: list[str]) -> None:
    text = "\n".join(parse_config(alerts(**rule)).warnings)
    assert bool(text) is bool(warnings)
    assert [part for part in warnings if part not in text] == []


def test_what_a_camera_with_mistakes_has_is_not_known() -> None:
    raw = alerts(cameras=["gate", "wrong"], places=["somewhere"], classes=["bird"])
    raw["cameras"] = {**CAMERAS, "wrong": {"url": "ftp://h/"}}
    assert parse_config(raw).warnings == ()


def test_classes_of_a_camera_that_counts_all_are_the_models() -> None:
    raw = alerts(classes=["zebra"])
    raw["cameras"] = {"all": {"url": "rtsp://h/", "rules": {"zones": {"yard": {"points": SQUARE}}}}}
    assert parse_config(raw).warnings == ()


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ({"rules": {"a": {"kinds": ["enter"], "message": "{camera:99999999999}"}}}, "no formats"),
        ({"rules": {"a": {"kinds": ["enter"], "message": "{camera!r}"}}}, "no formats"),
        ({"rules": {"a": {"kinds": ["enter"], "message": "{camera.name}"}}}, "no field"),
        ({"rules": {"a": {"kinds": ["enter"], "schedule": {"begin": 22}}}}, "HH:MM"),
        ({"rules": {"a": {"kinds": ["enter"], "schedule": {"begin": "24:01"}}}}, "HH:MM"),
        ({"rules": {"a": {"kinds": ["enter"], "schedule": {"begin": "22"}}}}, "HH:MM"),
        ({"rules": {"a": {"kinds": ["enter"], "routes": ["b"]}}}, "names the route b"),
        ({"public_url": "cameras.example.org"}, "http"),
        ({"heartbeat": {"url": "ftp://h/T0KEN"}}, "http"),
        ({"routes": {"a": {"webhook": "http://u:T0KEN@h/", "secret": "T0KEN"}}}, "without a user"),
        ({"routes": {"a": {"webhook": "T0KEN", "secret": "T0KEN"}}}, "http"),
        ({"routes": {"a": {"apprise": "json://T0KEN", "pagerduty": "T0KEN"}}}, "one of"),
        ({"routes": {"a": {"webhook": "http://h/T0KEN\x7f", "secret": "T0KEN"}}}, "%XX"),
        ({"routes": {"a": {"webhook": "http://h/T0KEN T0KEN", "secret": "T0KEN"}}}, "%XX"),
        ({"routes": {"a": {"webhook": "http://h/T0KEN", "secret": ""}}}, "secret must not be empty"),
        ({"routes": {"a": {"pagerduty": " "}}}, "pagerduty must not be empty"),
        ({"timezone": "Europe/Nowhere"}, "time zone"),
        ({"rules": {"a": {"kinds": ["enter"], "cameras": []}}}, "rules.a.cameras.* is empty.*leave it out"),
        ({"rules": {"a": {"kinds": ["enter"], "places": []}}}, "rules.a.places.* is empty"),
        ({"rules": {"a": {"kinds": ["enter"], "classes": []}}}, "rules.a.classes.* is empty"),
        ({"rules": {"a": {"kinds": ["enter"], "quiet": {"days": []}}}}, "rules.a.quiet.days.* is empty"),
        ({"rules": {"Night": {"kinds": ["enter"]}}}, "rules.Night.*small letters"),
    ],
)
def test_mistakes_are_told_without_secrets(group: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as error:
        parse_config({"cameras": CAMERAS, "alerts": group})
    assert "T0KEN" not in str(error.value)


@pytest.mark.parametrize(
    ("begin", "minutes"), [("22:00", 1320), (1320, 1320), ("6:05", 365), ("24:00", 1440), (0, 0)]
)
def test_a_time_of_day_as_text_and_as_yaml_reads_it(begin: Any, minutes: int) -> None:
    raw = alerts(schedule={"begin": begin})
    schedule = parse_config(raw).options.alerts.rules["night"].schedule
    assert schedule is not None and schedule.begin == minutes
    jsonschema.validate(raw, json_schema())


def test_what_is_secret_in_a_url_is_each_of_its_parts() -> None:
    route = AlertRoute.model_validate({"apprise": "slack://Tok%41en/Second/x?to=Third3"})
    assert set(route.secrets) >= {"slack://Tok%41en/Second/x?to=Third3", "TokAen", "Second", "Third3"}
    mail = "mailtos://sender:T0KEN@example.org?smtp=mail.example.org&to=guards@example.org&pass=Another"
    assert set(AlertRoute.model_validate({"apprise": mail}).secrets) == {mail, "sender", "T0KEN", "Another"}
    assert "T0KEN" not in repr(AlertOptions.model_validate({"routes": {"a": {"pagerduty": "T0KEN"}}}))


def test_the_examples_load(monkeypatch: pytest.MonkeyPatch) -> None:
    page, sample = ((ROOT / name).read_text() for name in ("docs/alerts.md", "config.example.yml"))
    for name in re.findall(r"\{(SIGHTLINE_\w+)\}", page + sample):
        monkeypatch.setenv(name, "x")
    [first, *_] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    section = sample[sample.index("alerts:") : sample.index("canary:")]
    section = re.sub(r"(?m)^  (routes|rules): \{\}.*\n", "", section)
    written = yaml.safe_load(re.sub(r"(?m)^  # ", "  ", section))
    assert set(written["alerts"]["rules"]["night"]) == set(AlertRule.model_fields), "the sample is the manual"
    for raw in (yaml.safe_load(first), written):
        assert parse_config({"cameras": CAMERAS, **raw}).options.alerts.rules
