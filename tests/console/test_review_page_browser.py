"""The page Review in a real browser: clips that open at their event, and alerts dealt with by keyboard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from console.texts import CLIP_WORDS
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import elements, fits, opened, press, says, shot, text_of, texts
from support.shown_world import EVENT, make_clip_files
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("review")
    world, now = World(f"sqlite:///{folder}/sightline.db"), time.time()
    for name in ("car-park", "north-gate"):
        world.camera(name, now + 3600)
    world.clip("car-park", now - 66, events=[EVENT], **make_clip_files(folder / "clips", now - 66))
    world.alert("11", "car-park", now - 60, rule="night", events=[EVENT], kind="enter")
    world.clip("car-park", now - 306, events=["gone"], path=str(folder / "clips" / "deleted.mp4"))
    (folder / "clips" / "odd.mp4").write_bytes(b"no video")
    world.clip("north-gate", now - 36, events=["odd"], path=str(folder / "clips" / "odd.mp4"))
    world.alert("22", "car-park", now - 300, rule="night", events=["gone"])
    world.alert(
        "33",
        "north-gate",
        now - 30,
        rule="gates",
        events=["odd"],
        comment="seen <b>twice</b>",
        state="acknowledged",
    )
    for number, state in enumerate(("false_alarm", "resolved", "resolved", "passed")):
        world.alert(f"4{number}", "north-gate", now - 4000, rule="gates", state=state)
    with console_site(world, folder) as made:
        yield made


def test_the_queue_begins_with_what_is_new_and_its_clip_plays_at_the_event(
    browser: Any, site: ConsoleSite
) -> None:
    opened(browser, site, "operator", "/review", ".queue .row")
    rows = [row.splitlines() for row in texts(browser, ".queue .row")]
    assert {row[0] for row in rows} == {"Person entered door"}
    assert texts(browser, ".queue h3") == ["night · car-park", "gates · north-gate"]
    assert len(rows) == 6, "what nobody was told of is not looked through"
    assert elements(browser, ".row[aria-current]")[0] == elements(browser, ".row")[0]
    clip = until_found(browser, ".clip[data-event]")
    assert clip.get_attribute("data-event") == "6"
    video = elements(browser, "video")[0]
    until(lambda: browser.execute_script("return arguments[0].currentTime", video) > 4.6, 20)
    until(lambda: clip.get_attribute("data-boxes") == "1", 20)
    images = elements(browser, ".thumb img")
    assert [browser.execute_script("return arguments[0].naturalWidth", image) for image in images] == [640]
    text = text_of(browser)
    assert "gates" in text and "25 %" in text, "one of four alerts of the rule was false"
    shot(browser, "review")
    opened(browser, site, "operator", "/review", ".queue .row", width=390)
    assert fits(browser, 390)
    shot(browser, "review-390")


def until_found(browser: Any, css: str) -> Any:
    until(lambda: elements(browser, css), 30)
    return elements(browser, css)[0]


def test_a_clip_that_is_no_longer_there_is_told_from_one_that_cannot_be_played(
    browser: Any, site: ConsoleSite
) -> None:
    for alert, words in (("22", "gone"), ("33", "broken")):
        opened(browser, site, "viewer", f"/review?alert={alert}", ".clip .note")
        until(lambda: any(texts(browser, ".clip .note")), 20)
        assert texts(browser, ".clip .note") == [CLIP_WORDS[words]]


def test_a_viewer_looks_and_does_nothing(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "viewer", "/review", ".queue .row")
    says(browser, "Severity")
    assert "Acknowledge" not in text_of(browser)


def test_every_page_says_what_is_new_and_of_whose_cameras_it_may(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "guest", "/counts", ".alarm a")
    until(lambda: "New: Person entered door · car-park" in texts(browser, ".alarm a")[0], 20)
    until(lambda: browser.title.startswith("(2) "), 20)
    assert elements(browser, ".alarm")[0].get_attribute("aria-live") == "polite"
    shot(browser, "alarm")
    elements(browser, ".alarm a")[0].click()
    until(lambda: "/review" in browser.current_url, 20)
    until(lambda: len(elements(browser, ".queue .row")) == 2, 20)
    assert "north-gate" not in text_of(browser)


def test_alerts_are_dealt_with_by_keyboard(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "operator", "/review", ".queue .row")
    site.done.clear()
    body = browser.find_element("css selector", "body")
    says(browser, "Acknowledge")
    body.send_keys("a")
    until(lambda: said(site), 20)
    assert said(site)[0][:4] == ("change", "11", "acknowledged", "operator")
    until(lambda: "alert=22" in browser.current_url, 20)
    site.done.clear()
    time.sleep(1.0)
    body.send_keys("f")
    until(lambda: said(site), 20)
    assert said(site)[0][:4] == ("change", "22", "false_alarm", "operator")
    until(lambda: "alert=33" in browser.current_url, 20)
    says(browser, "seen <b>twice</b>")


def test_what_is_over_by_itself_is_acknowledged_too(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "operator", "/review?alert=42", ".queue .row")
    until(lambda: elements(browser, ".row[aria-current]"), 20)
    until(lambda: "over, unseen" in texts(browser, ".row[aria-current]")[0], 20)
    site.done.clear()
    press(browser, "Acknowledge")
    until(lambda: said(site), 20)
    assert said(site)[0][:4] == ("change", "42", "acknowledged", "operator")
    opened(browser, site, "operator", "/review?alert=41", ".queue .row")
    site.done.clear()
    press(browser, "False alarm")
    until(lambda: said(site), 20)
    assert said(site)[0][:4] == ("change", "41", "false_alarm", "operator")


def said(site: ConsoleSite) -> list[tuple[Any, ...]]:
    return [call for call in site.done if call[0] != "list"]
