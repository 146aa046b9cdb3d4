"""A wall display in a real browser: by its link, pictures and states alone, until the token ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from sightline.entities import Role
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import elements, moves, says, shot, tile_names
from support.people import ROOT
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
GROUPS = {"car-park": ["outside"], "loading-dock": ["outside"], "north-gate": ["inside"], "south-gate": []}
WRITTEN = "cameras:\n" + "".join(
    f"  {name}: {{url: rtsp://10.0.0.9/{name}, groups: {groups}}}\n" for name, groups in GROUPS.items()
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("wall")
    world, now = World(f"sqlite:///{folder}/sightline.db"), time.time()
    for name in GROUPS:
        offline = {"state": "offline", "message": "rtsp://10.0.0.9 refused"} if name == "loading-dock" else {}
        world.camera(name, now + 3600, **offline)
        world.event(name, "crossing", "door", now - 90, direction="forward")
    with console_site(world, folder, WRITTEN) as made:
        yield made


def hang_up(browser: Any, site: ConsoleSite, name: str, query: str = "", **token: Any) -> str:
    """Open the link of a new display in a browser that nobody is signed in in; the token."""
    secret = site.people.tokens.create(name, Role.DISPLAY, ROOT, days=3650, **token)
    browser.get(f"{site.url}/auth/sign_in.css")
    browser.delete_all_cookies()
    browser.get(f"{site.url}/auth/wall{query}#{secret}")
    until(lambda: "/live/pages/wall" in browser.current_url, 20)
    return secret


def test_a_display_shows_its_cameras_and_nothing_to_press(browser: Any, site: ConsoleSite) -> None:
    secret = hang_up(browser, site, "lobby")
    until(lambda: tile_names(browser) == sorted(GROUPS), 20)
    until(lambda: moves(browser), 20)
    assert secret not in browser.current_url
    assert browser.execute_script("return document.cookie") == ""
    assert not elements(browser, "button, a, input")
    labels = [tile.get_attribute("aria-label") for tile in elements(browser, ".tile")]
    assert next(label for label in labels if "offline" in label).startswith("loading-dock: offline.")
    assert "refused" not in browser.page_source, "why is not for everybody who passes by"
    shot(browser, "wall")
    for path in ("/", "/people", "/counts", "/?camera=north-gate"):
        browser.get(site.url + path)
        until(lambda: browser.current_url == f"{site.url}/live/pages/wall", 20)
    until(lambda: tile_names(browser) == sorted(GROUPS), 20)
    site.people.tokens.revoke("lobby", ROOT)
    says(browser, "link has ended. Ask an admin")
    assert not elements(browser, ".tile")
    shot(browser, "wall-ended")
    problems = [entry["message"] for entry in browser.get_log("browser")]
    assert [text for text in problems if "Content Security Policy" in text or "Error" in text] == []


def test_a_display_shows_a_group_and_no_camera_that_is_not_its_own(browser: Any, site: ConsoleSite) -> None:
    hang_up(browser, site, "outside", "?group=outside", cameras=["car-park", "north-gate"])
    until(lambda: tile_names(browser) == ["car-park"], 20)
    assert browser.current_url.endswith("?group=outside")
    hang_up(browser, site, "nothing", "?group=cellar")
    says(browser, "There is no camera here")


def test_whoever_is_signed_in_is_asked_before_the_browser_becomes_a_display(
    browser: Any, site: ConsoleSite
) -> None:
    secret = site.people.tokens.create("admins", Role.DISPLAY, ROOT, days=1)
    browser.get(f"{site.url}/auth/sign_in.css")
    browser.delete_all_cookies()
    site.sign_in(browser, "admin")
    browser.get(f"{site.url}/auth/wall#{secret}")
    says(browser, "You are signed in as admin")
    shot(browser, "wall-signed-in")
    browser.find_element("css selector", "#wall button").click()
    until(lambda: tile_names(browser) == sorted(GROUPS), 20)
    browser.get(f"{site.url}/auth/sign-in")  # and it is given back to people there
    until(lambda: browser.find_element("id", "sign-in").is_displayed(), 10)


def test_a_forged_link_says_what_to_do(browser: Any, site: ConsoleSite) -> None:
    browser.get(f"{site.url}/auth/sign_in.css")
    browser.delete_all_cookies()
    browser.get(f"{site.url}/auth/wall#slt_forged")
    says(browser, "this link no longer works; ask an admin for another one")
    shot(browser, "wall-forged")
