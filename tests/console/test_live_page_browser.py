"""The page Live in a real browser: pictures that move, one camera, and what each role may do with it."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sightline.entities import Variant
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import elements, fits, moves, opened, press, says, shot, text_of, tile_names
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
WAITS = "waiting for a picture …"
NAMES = ["car-park", "loading-dock", "north-gate", "south-gate"]
SEARCH = 'input[aria-label="Search"]'
WRITTEN = """\
cameras:
  car-park: {url: rtsp://10.0.0.9/1, groups: [outside, east]}
  loading-dock: {url: rtsp://10.0.0.9/2, groups: [outside]}
  north-gate: {url: rtsp://10.0.0.9/3}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("live")
    world, now = World(f"sqlite:///{folder}/sightline.db"), time.time()
    for index, name in enumerate(NAMES):
        bad: dict[str, Any] = {"occupancy": {"hall": 3}} if name == "north-gate" else {}
        if index == 3:
            bad = {"state": "offline", "message": "no answer for 42 s; trying again in 8 s"}
        world.camera(name, now + 3600, **bad)
        world.window(name, now // 60 * 60 - 60, 1.0, person=5 + index)
        world.event(name, "crossing", "door", now - 90, direction="forward")
    with console_site(world, folder, WRITTEN) as made:
        yield made


@pytest.mark.parametrize("width", [1280, 390])
def test_every_camera_is_a_tile_with_a_picture_that_moves_and_its_state(
    browser: Any, site: ConsoleSite, width: int
) -> None:
    opened(browser, site, "viewer", "/", "canvas", width=width)
    until(lambda: len(elements(browser, ".tile")) == 4, 20)
    until(lambda: moves(browser), 20)
    labels = [tile.get_attribute("aria-label") for tile in elements(browser, ".tile")]
    assert sorted(label.partition(":")[0] for label in labels) == NAMES
    assert any("offline" in label for label in labels)
    assert any("3 in hall" in label for label in labels)
    assert fits(browser, width)
    shot(browser, f"live-{width}")


def test_cameras_out_of_view_are_not_asked_for_and_a_change_of_state_is_said(
    browser: Any, site: ConsoleSite
) -> None:
    def widths() -> list[int]:
        return [int(canvas.get_dom_attribute("width") or 0) for canvas in elements(browser, ".tile canvas")]

    opened(browser, site, "viewer", "/", "canvas", width=390, height=600)
    until(lambda: widths() and widths()[0] > 0, 20)
    assert widths()[-1] == 0, "what is below the window is not drawn"
    browser.execute_script("arguments[0].scrollIntoView()", elements(browser, ".tile")[-1])
    until(lambda: widths()[-1] > 0, 20)
    world = World(site.people.url)
    for state in ("offline", "online"):
        world.camera("car-park", time.time() + 3600, state=state)
        until(lambda state=state: f"car-park: {state}." in told(browser, ".news"), 20)


def test_a_tile_says_that_it_waits_until_its_own_camera_shows_something(
    browser: Any, site: ConsoleSite
) -> None:
    """Another camera's first picture opened the stream, and the tile was dark without a word."""

    def waits() -> dict[str, bool]:
        shown = "return arguments[0].checkVisibility() && arguments[0].innerText"
        tiles = {
            tile.get_attribute("aria-label").partition(":")[0]: tile for tile in elements(browser, ".tile")
        }
        return {
            name: browser.execute_script(shown, tile.find_element("css selector", ".waits")) == WAITS
            for name, tile in tiles.items()
        }

    site.cameras.silent.add("north-gate")
    try:
        opened(browser, site, "operator", "/", "canvas")
        until(lambda: moves(browser), 20)
        until(lambda: waits()["north-gate"] and not waits()["car-park"], 20)
    finally:
        site.cameras.silent.clear()
    until(lambda: not waits()["north-gate"], 20)


def test_one_click_leads_to_one_camera_and_back(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "operator", "/", "canvas")
    until(lambda: len(elements(browser, ".tile")) == 4, 20)
    named = {tile.get_attribute("aria-label").partition(":")[0]: tile for tile in elements(browser, ".tile")}
    named["north-gate"].click()
    until(lambda: "camera=north-gate" in browser.current_url, 20)
    until(lambda: moves(browser), 20)
    says(browser, "Last events")
    text = text_of(browser)
    assert "In hall" in text
    assert "Person crossed door forward" in text
    assert ("north-gate", Variant.LARGE_OVERLAY) in site.cameras.watched
    shot(browser, "live-one")
    press(browser, "Next")
    until(lambda: "camera=south-gate" in browser.current_url, 20)
    press(browser, "All cameras")
    until(lambda: len(elements(browser, ".tile")) == 4, 20)
    assert "camera=" not in browser.current_url


def test_an_operator_mutes_and_a_viewer_cannot(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "operator", "/?camera=car-park", "canvas")
    says(browser, "Mute alerts")
    press(browser, "Mute alerts")
    until(lambda: "15 min" in text_of(browser), 10)
    press(browser, "15 min")
    until(lambda: site.done, 10)
    [(what, camera, rule, until_s, who)] = site.done
    assert (what, camera, rule, who) == ("mute", "car-park", "", "operator")
    assert until_s == pytest.approx(time.time() + 900, abs=60)
    opened(browser, site, "viewer", "/?camera=car-park", "canvas")
    says(browser, "Still picture")
    assert "Mute alerts" not in text_of(browser)


def test_of_other_cameras_nothing_is_told(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "guest", "/", "canvas")
    until(
        lambda: [tile.get_attribute("aria-label")[:8] for tile in elements(browser, ".tile")] == ["car-park"],
        20,
    )
    browser.get(f"{site.url}/?camera=north-gate")
    says(browser, "not one of yours")
    assert "crossed" not in text_of(browser)


def test_the_wall_is_pictures_alone_and_is_left_again(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "viewer", "/?wall=1", "canvas")
    until(lambda: len(elements(browser, ".tiles.wall .tile")) == 4, 20)
    until(lambda: moves(browser), 20)
    shot(browser, "live-wall")
    [wall] = elements(browser, ".tiles.wall")
    assert wall.size["width"] >= 1270
    browser.find_element("css selector", "body").send_keys("\ue00c")  # Escape
    until(lambda: "wall" not in browser.current_url, 20)


def test_nobody_watching_costs_nothing(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "viewer", "/", "canvas")
    until(lambda: site.cameras.watched, 20)
    browser.get(f"{site.url}/overview")
    until(lambda: not site.cameras.watched, 30)


def test_a_group_and_a_search_stay_in_the_address_and_on_the_way_through_its_cameras(
    browser: Any, site: ConsoleSite
) -> None:
    opened(browser, site, "operator", "/?group=outside", "canvas")
    until(lambda: tile_names(browser) == ["car-park", "loading-dock"], 20)
    shot(browser, "live-group")
    elements(browser, ".tile")[0].click()
    until(lambda: "camera=car-park" in browser.current_url, 20)
    for name in ("loading-dock", "car-park"):
        press(browser, "Next")
        until(lambda name=name: f"camera={name}" in browser.current_url, 20)
    press(browser, "All cameras")
    until(lambda: tile_names(browser) == ["car-park", "loading-dock"], 20)
    assert "group=outside" in browser.current_url
    until(lambda: [one for one in elements(browser, SEARCH) if one.is_displayed()], 20)
    shot(browser, "live-group-again")
    next(one for one in elements(browser, SEARCH) if one.is_displayed()).send_keys("dock\t")
    until(lambda: tile_names(browser) == ["loading-dock"], 20)
    assert "search=dock" in browser.current_url
    browser.get(browser.current_url)  # what somebody is sent
    until(lambda: tile_names(browser) == ["loading-dock"], 20)
    press(browser, "Wall")
    until(lambda: len(elements(browser, ".tiles.wall .tile")) == 1, 20)
    assert {"wall=1", "group=outside", "search=dock"} <= set(browser.current_url.partition("?")[2].split("&"))


def test_groups_of_cameras_that_one_does_not_see_are_not_told(browser: Any, site: ConsoleSite) -> None:
    site.people.add("gatekeeper", cameras=frozenset({"north-gate"}))
    opened(browser, site, "gatekeeper", "/?group=outside", "canvas")
    until(lambda: tile_names(browser) == ["north-gate"], 20)
    assert "outside" not in text_of(browser)
    assert "Group" not in text_of(browser)


def test_engineers_find_the_way_to_a_cameras_lines(browser: Any, site: ConsoleSite) -> None:
    for name, may in (("operator", False), ("engineer", True)):
        opened(browser, site, name, "/?camera=car-park", "canvas")
        says(browser, "Still picture")
        until(lambda may=may: ("Set up" in text_of(browser)) is may, 10)


def test_who_watches_too_much_is_told(browser: Any, site: ConsoleSite) -> None:
    cookie = {"Cookie": f"sightline={site.people.session('viewer')}"}
    with ExitStack() as stack:
        grid = "&".join(f"camera={name}" for name in NAMES)
        request = urllib.request.Request(f"{site.url}/live/grid.mjpg?{grid}", headers=cookie)
        for _ in range(12):
            stack.enter_context(urllib.request.urlopen(request))
        opened(browser, site, "viewer", "/")
        until(lambda: "one person may have 50 open at once" in told(browser), 20)
        shot(browser, "live-too-many")


def told(browser: Any, where: str = ".told") -> str:
    texts = (element.get_attribute("textContent") for element in elements(browser, where))
    return " ".join(texts)
