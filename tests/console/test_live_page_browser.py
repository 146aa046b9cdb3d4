"""The page Live in a real browser: pictures that move, one camera, and what each role may do with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sightline.entities import Variant
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import FIND, elements, opened, press, shot, text_of
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
NAMES = ["car-park", "loading-dock", "north-gate", "south-gate"]
#: What each canvas shows, as a number.
SUMS = f"""
{FIND.replace("SELECTOR", "'canvas'")}
return found.map((canvas) => {{
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] * (i % 997);
  return sum;
}});
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
    with console_site(world, folder) as made:
        yield made


def move(browser: Any) -> bool:
    before = browser.execute_script(SUMS)
    time.sleep(0.6)
    return len([1 for a, b in zip(before, browser.execute_script(SUMS), strict=False) if a != b]) > 0


@pytest.mark.parametrize("width", [1280, 390])
def test_every_camera_is_a_tile_with_a_picture_that_moves_and_its_state(
    browser: Any, site: ConsoleSite, width: int
) -> None:
    opened(browser, site, "viewer", "/", "canvas", width=width)
    until(lambda: len(elements(browser, ".tile")) == 4, 20)
    until(lambda: move(browser), 20)
    labels = [tile.get_attribute("aria-label") for tile in elements(browser, ".tile")]
    assert sorted(label.partition(":")[0] for label in labels) == NAMES
    assert any("offline" in label for label in labels)
    assert any("hall 3" in label for label in labels)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    shot(browser, f"live-{width}")


def test_one_click_leads_to_one_camera_and_back(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "operator", "/", "canvas")
    until(lambda: len(elements(browser, ".tile")) == 4, 20)
    named = {tile.get_attribute("aria-label").partition(":")[0]: tile for tile in elements(browser, ".tile")}
    named["north-gate"].click()
    until(lambda: "camera=north-gate" in browser.current_url, 20)
    until(lambda: move(browser), 20)
    until(lambda: "Last events" in text_of(browser), 20)
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
    until(lambda: "Mute alerts" in text_of(browser), 20)
    press(browser, "Mute alerts")
    until(lambda: "15 min" in text_of(browser), 10)
    press(browser, "15 min")
    until(lambda: site.done, 10)
    [(what, camera, rule, until_s, who)] = site.done
    assert (what, camera, rule, who) == ("mute", "car-park", "", "operator")
    assert until_s == pytest.approx(time.time() + 900, abs=60)
    opened(browser, site, "viewer", "/?camera=car-park", "canvas")
    until(lambda: "Still picture" in text_of(browser), 20)
    assert "Mute alerts" not in text_of(browser)


def test_of_other_cameras_nothing_is_told(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "guest", "/", "canvas")
    until(
        lambda: [tile.get_attribute("aria-label")[:8] for tile in elements(browser, ".tile")] == ["car-park"],
        20,
    )
    browser.get(f"{site.url}/?camera=north-gate")
    until(lambda: "not one of yours" in text_of(browser), 20)
    assert "crossed" not in text_of(browser)


def test_the_wall_is_pictures_alone_and_is_left_again(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "viewer", "/?wall=1", "canvas")
    until(lambda: len(elements(browser, ".tiles.wall .tile")) == 4, 20)
    until(lambda: move(browser), 20)
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
