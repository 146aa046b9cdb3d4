"""The page Alerts in a real browser: rules, routes, quiet hours and mutes, as each role sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sightline.supervisor.sinks import SinkHealth
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import choose, elements, fits, opened, press, saved, says, shot, text_of, write
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
WRITTEN = """\
cameras:
  car-park:
    url: rtsp://10.0.0.22/stream1
    rules:
      lines: {ramp: {points: [[0.1, 0.5], [0.9, 0.5]]}}
      zones: {bays: {points: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], loiter_s: 10}}
  north-gate:
    url: rtsp://10.0.0.21/stream1
    rules:
      zones: {door: {points: [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], classes: [person]}}
alerts:  # agreed with the guards
  timezone: Europe/Berlin
  routes:
    broken: {webhook: https://hooks.example.org/T0KENT0KEN, secret: T0KENT0KENT0KEN}
    guards: {apprise: "mailtos://u:T0KENT0KEN@mail.example.org?to=guards@example.org", min_severity: warning}
  rules:
    intrusion: {cameras: [north-gate], kinds: [enter], places: [door], routes: [guards, broken]}
    weekend:  # nobody is there
      kinds: [crossing, camera_offline]
      severity: error
      quiet: {days: [sat, sun], begin: "18:00", end: "08:00"}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("alerts")
    world, now = World(f"sqlite:///{folder}/sightline.db"), time.time()
    for name in ("car-park", "north-gate"):
        world.camera(name, now + 3600)
    for number, state in enumerate(("false_alarm", "resolved", "resolved", "new")):
        world.alert(f"1{number}", "north-gate", now - 86_400 * number, state=state)
    world.mute("north-gate", "intrusion", now + 7200)
    with console_site(world, folder, WRITTEN) as made:
        made.cameras.sinks = [
            SinkHealth("route:broken", False, 0, 3, 0, "Connection refused"),
            SinkHealth("route:guards", True, 7, 0, 0, ""),
        ]
        yield made


@pytest.fixture(autouse=True)
def _as_written(site: ConsoleSite) -> None:
    site.config.chmod(0o600)


def alerts_of(site: ConsoleSite) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(site.config.read_text())["alerts"]
    return found


def tab(browser: Any, label: str) -> None:
    until(lambda: [one for one in elements(browser, "[role=tab]") if one.text == label], 20)
    [one] = [one for one in elements(browser, "[role=tab]") if one.text == label]
    one.click()


def test_an_engineer_sees_rules_with_their_record_and_nothing_secret(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/alerts")
    says(browser, "When anything enters a zone at door, on north-gate: told by guards, broken.")
    says(browser, "4 alerts in 30 days, 25 % false alarms, 1 open")
    says(browser, "no alert in 30 days")
    shot(browser, "alerts-rules")
    tab(browser, "Routes")
    says(browser, "does not deliver")
    says(browser, "webhook · from info on · tells of intrusion")
    shot(browser, "alerts-routes")
    tab(browser, "Quiet hours")
    says(browser, "weekend is silent on Saturday and Sunday from 18:00 to 08:00 of the next day")
    shot(browser, "alerts-quiet")
    assert "T0KEN" not in browser.page_source


def test_a_webhook_is_added_and_a_rule_that_tells_by_it_and_comments_stay(
    browser: Any, site: ConsoleSite
) -> None:
    opened(browser, site, "engineer", "/alerts?tab=Routes")
    press(browser, "Add a route")
    write(browser, "Name", "Night desk")
    says(browser, "In the file it is called night_desk.")
    choose(browser, "How people are told", "Webhook")
    write(browser, "URL", "https://hooks.example.org/s3cr3tpath")
    shot(browser, "alerts-route-add")
    press(browser, "Review and save")
    says(browser, "alerts.routes.night_desk added: applied at once")
    assert "s3cr3tpath" not in text_of(browser)
    shot(browser, "alerts-route-review")
    press(browser, "Save")
    until(lambda: "night_desk" in alerts_of(site)["routes"], 20)
    says(browser, "no rule uses it")
    press(browser, "Test", at=2)
    says(browser, "night_desk: the other side has taken the test.")
    assert ("test", "night_desk") in site.done
    opened(browser, site, "engineer", "/alerts?add=rule&camera=car-park&kind=loiter")
    says(browser, "Loitering: bays on car-park after 10 s.")
    write(browser, "Name", "Loitering at the bays")
    choose(browser, "Lines and zones", "bays")
    choose(browser, "Told by", "night_desk")
    shot(browser, "alerts-rule-add")
    saved(browser)
    until(lambda: "loitering_at_the_bays" in alerts_of(site)["rules"], 20)
    assert alerts_of(site)["rules"]["loitering_at_the_bays"] == {
        "cameras": ["car-park"],
        "kinds": ["loiter"],
        "places": ["bays"],
        "routes": ["night_desk"],
    }
    says(browser, "stays too long in a zone (loitering) at bays, on car-park: told by night_desk.")
    text = site.config.read_text()
    assert "# agreed with the guards" in text and "# nobody is there" in text
    assert "s3cr3tpath" not in text


def test_a_rule_is_changed_and_the_second_of_two_is_shown_what_the_first_did(
    browser: Any, site: ConsoleSite
) -> None:
    opened(browser, site, "admin", "/alerts?rule=intrusion")
    says(browser, "Remove")
    write(browser, "Group repeats within (seconds)", "120")
    press(browser, "critical")
    press(browser, "Review and save")
    says(browser, "The difference in the file")
    shot(browser, "alerts-rule-edit")
    site.config.write_text(site.config.read_text().replace("places: [door]", "classes: [person]"))
    press(browser, "Save")
    says(browser, "Somebody else has changed this meanwhile")
    assert "cooldown_s" not in site.config.read_text()
    press(browser, "Save")
    until(lambda: "cooldown_s" in site.config.read_text(), 20)
    rule = alerts_of(site)["rules"]["intrusion"]
    assert (rule["cooldown_s"], rule["severity"], rule["classes"]) == (120, "critical", ["person"])
    assert "places" not in rule


@pytest.mark.parametrize("width", [1280, 390])
def test_the_yaml_of_a_route_is_edited_and_its_address_and_comments_stay(
    browser: Any, site: ConsoleSite, width: int
) -> None:
    from selenium.webdriver.common.keys import Keys  # not everywhere

    opened(browser, site, "engineer", "/alerts?route=guards", width=width)
    press(browser, "", css="input[aria-label*='edit its YAML']")
    press(browser, "YAML", css="[role=option]")
    until(lambda: elements(browser, "textarea"), 20)
    [area] = elements(browser, "textarea")
    text = area.get_attribute("value")
    assert "apprise:" in text and "T0KEN" not in text
    until(lambda: not elements(browser, "input[aria-label='Wait for an answer (seconds)']"), 20)
    shot(browser, f"alerts-route-yaml-{width}")
    assert fits(browser, width)
    area.send_keys(f"timeout_s: {width / 100}{Keys.CONTROL}{Keys.ENTER}")
    saved(browser)
    until(lambda: alerts_of(site)["routes"]["guards"].get("timeout_s") == width / 100, 20)
    route = alerts_of(site)["routes"]["guards"]
    assert "T0KENT0KEN@mail.example.org" in route["apprise"]
    assert route["min_severity"] == "warning"
    assert "# agreed with the guards" in site.config.read_text()


def test_a_route_that_is_taken_away_goes_out_of_its_rules_too(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/alerts?route=broken")
    press(browser, "Remove")
    says(browser, "alerts.routes.broken removed: applied at once")
    press(browser, "Save")
    until(lambda: "broken" not in alerts_of(site)["routes"], 20)
    assert alerts_of(site)["rules"]["intrusion"]["routes"] == ["guards"]


def test_quiet_hours_are_set_for_some_rules_at_once(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/alerts?tab=Quiet+hours")
    says(browser, "Set quiet hours")
    choose(browser, "Of these rules", "intrusion")
    saved(browser)
    until(lambda: "quiet" in alerts_of(site)["rules"]["intrusion"], 20)
    assert alerts_of(site)["rules"]["intrusion"]["quiet"] == {"begin": "22:00", "end": "06:00"}
    says(browser, "intrusion is critical, and told all the same.")


def test_mutes_are_shown_with_who_set_them_and_set_and_lifted(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "operator", "/alerts?tab=Mutes")
    says(browser, "north-gate, intrusion")
    says(browser, "by anna")
    shot(browser, "alerts-mutes")
    site.done.clear()
    press(browser, "Lift")
    until(lambda: ("mute", "north-gate", "intrusion", 0.0, "operator") in site.done, 20)
    says(browser, "Nothing is muted.")
    press(browser, "Mute", at=-1)
    says(browser, "all cameras, all rules")
    says(browser, "by operator")
    [(_, camera, rule, until_, who)] = [call for call in site.done if call[0] == "mute" and call[3]]
    assert (camera, rule, who) == ("", "", "operator")
    assert until_ == pytest.approx(time.time() + 3600, abs=60)
    press(browser, "Lift")
    says(browser, "Nothing is muted.")


@pytest.mark.parametrize("name", ["viewer", "operator"])
def test_who_is_no_engineer_sees_the_rules_and_is_told_who_may_change_them(
    browser: Any, site: ConsoleSite, name: str
) -> None:
    opened(browser, site, name, "/alerts", width=390)
    says(browser, "An engineer who sees all cameras can change them.")
    says(browser, "weekend")
    assert "Add a rule" not in text_of(browser)
    shot(browser, f"alerts-{name}-390")
    assert fits(browser, 390)
    press(browser, "Show", at=0)
    says(browser, "What happens")
    assert "Review and save" not in text_of(browser)
    until(lambda: elements(browser, "input[aria-label='Group repeats within (seconds)']:disabled"), 20)
    browser.get(f"{site.url}/alerts?route=guards")
    says(browser, "All routes")
    assert "T0KEN" not in browser.page_source


def test_a_guest_sees_the_rules_of_their_own_camera(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "guest", "/alerts")
    says(browser, "weekend")
    assert "intrusion" not in text_of(browser) and "north-gate" not in text_of(browser)


def test_a_read_only_file_is_said_to_be_so(browser: Any, site: ConsoleSite) -> None:
    site.config.chmod(0o400)
    opened(browser, site, "engineer", "/alerts")
    says(browser, "read-only")
    says(browser, "weekend")
    assert "Add a rule" not in text_of(browser)


def test_a_dark_page_is_as_clear(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/alerts?tab=Quiet+hours", scheme="dark")
    says(browser, "is silent")
    shot(browser, "alerts-dark")
    opened(browser, site, "engineer", "/alerts?rule=weekend", scheme="dark")
    says(browser, "What happens")
    shot(browser, "alerts-rule-dark")
