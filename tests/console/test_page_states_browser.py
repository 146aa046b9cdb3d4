"""What each page says where there is nothing to show yet: a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.pages import PAGES, ConsolePage
from console.texts import CONSOLE_AWAY, CONSOLE_AWAY_REMEDY, NOT_OPENED, OPENING_SLOWLY
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import elements, opened, says, shot, text_of
from support.page_checks import until_drawn
from support.waiting import until

pytestmark = pytest.mark.browser
#: What says that something is not there: a state of its own, or a line in its place.
SAYS = ".sl-state h2, [data-testid=stAlert], [data-testid=stCaptionContainer], .sl-caption"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    """As it is on the first day."""
    folder = tmp_path_factory.mktemp("empty")
    with console_site(World(f"sqlite:///{folder}/sightline.db"), folder) as made:
        yield made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_a_page_without_anything_to_show_says_what_to_do(
    browser: Any, empty: ConsoleSite, page: ConsolePage
) -> None:
    opened(browser, empty, "admin", f"/{page.path}")
    until_drawn(browser)
    assert not elements(browser, "[data-testid=stException]")
    assert elements(browser, SAYS), text_of(browser)
    shot(browser, f"empty-{page.title.lower()}")


@pytest.mark.parametrize(
    "path", [page.path for page in PAGES if page.title in {"Live", "Overview", "Counts"}]
)
def test_the_first_day_leads_to_the_first_camera(browser: Any, empty: ConsoleSite, path: str) -> None:
    opened(browser, empty, "engineer", f"/{path}")
    until(lambda: elements(browser, ".sl-state a"), 20)
    elements(browser, ".sl-state a")[0].click()
    until(lambda: elements(browser, 'input[aria-label="URL"]'), 20)
    opened(browser, empty, "viewer", f"/{path}")
    says(browser, "There is no camera yet.")
    assert not elements(browser, ".sl-state a")


def test_a_page_that_has_lost_a_script_says_so_and_loads_again(browser: Any, empty: ConsoleSite) -> None:
    """It said for ever that it was opening: React, which takes that away, had not come."""
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    try:
        for script in ("index", "react-dom"):
            browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": [f"*/static/js/{script}.*"]})
            opened(browser, empty, "viewer", "/", ".opening")
            says(browser, NOT_OPENED)
    finally:
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    says(browser, "There is no camera yet.")


def test_a_page_that_opens_slowly_says_so(browser: Any, empty: ConsoleSite) -> None:
    hurry = """const wait = window.setTimeout, told = window.told = [];
    window.setTimeout = (what, ms) => wait(what, ms === 20000 ? 300 : ms);
    new MutationObserver(() => told.push(document.querySelector(".opening")?.textContent))
      .observe(document, { subtree: true, childList: true });"""
    opened(browser, empty, "viewer", "/health")
    slow = {"offline": False, "latency": 1000, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    hurried = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": hurry})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        browser.get(f"{empty.url}/")
    finally:
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow | {"latency": 0})
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", hurried)
    says(browser, "There is no camera yet.")
    assert OPENING_SLOWLY in browser.execute_script("return told")


def test_a_page_whose_console_is_gone_says_so_in_our_words(browser: Any, tmp_path: Path) -> None:
    with console_site(World(f"sqlite:///{tmp_path}/sightline.db"), tmp_path) as made:
        opened(browser, made, "viewer", "/", ".sl-state")
    says(browser, CONSOLE_AWAY)
    says(browser, CONSOLE_AWAY_REMEDY)
    assert "Streamlit" not in text_of(browser)
    shot(browser, "console-away")
