"""What each page says where there is nothing to show yet: a sentence, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.pages import PAGES, ConsolePage
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
