"""Every page of the navigation in a real browser: for whoever may see it, and for everybody's eyes and hands.

A page that is added to the navigation is asked all of this without a line here, but for one in ``DEEDS``.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("streamlit", reason="the console's packages are not installed")

from console.pages import PAGES, ConsolePage
from console.texts import NOT_YOURS
from sightline.access.rights import How, Person, Right, allowed, allowed_for_some
from sightline.entities import Role
from support.console_site import ConsoleSite, console_site
from support.live_dom import elements, look, shot, text_of, texts
from support.page_checks import (
    NARROW,
    WIDE,
    axe_findings,
    axe_source,
    everything_in,
    sideways,
    tab_problems,
    until_drawn,
)
from support.shown_world import WRITTEN, shown_world
from support.waiting import until

BY_TITLE = {page.title: f"/{page.path}" for page in PAGES}
#: Besides the navigation's: parts of pages, and what is shown to nobody in particular.
PARTS = {
    "One camera": "/?camera=car-park",
    "Wall": "/?wall=1",
    "Lines and zones": "/cameras?camera=car-park",
    "New camera": "/cameras?add=1",
    "New rule": "/alerts?add=rule",
    "New route": "/alerts?add=route",
    "Sign in": "/auth/sign-in",
}
EVERYWHERE = BY_TITLE | PARTS
#: What axe finds in Streamlit itself: by rule and a part of the place, and why it stays.
STREAMLITS_FINDINGS = {
    ("color-contrast", 'span[aria-hidden="true"] > '): "the label of a field that is disabled may be faint",
}
#: What of Streamlit has no visible focus, or cannot be reached, by a part of its markup, and why it stays.
STREAMLITS_FOCUS: dict[str, str] = {}


@dataclass(frozen=True)
class Deed:
    """Something that is done on a page by those who may: where, with which right, and the control's label."""

    address: str
    right: Right
    label: str


#: By a page's path, what is done on it; None: it is looked at alone. Every page has its line.
DEEDS: dict[str, Deed | None] = {
    "": Deed("/?camera=car-park", Right.MUTE, "Mute alerts"),
    "review": Deed("/review?alert=11", Right.ACKNOWLEDGE, "Acknowledge"),
    "overview": None,
    "counts": None,
    "events": None,
    "cameras": Deed("/cameras?camera=car-park", Right.WRITE_CONFIG, "Switch off"),
    "alerts": Deed("/alerts", Right.WRITE_CONFIG, "Add a rule"),
    "health": None,
    "models": None,  # whoever sees it may switch
    "people": Deed("/people", Right.MANAGE_PEOPLE, "Add a person"),
}
GUEST = Person("guest", Role.OPERATOR, frozenset({"car-park"}), How.PASSWORD)
ROLES = [role for role in Role if role.rank >= Role.VIEWER.rank]
PEOPLE = {GUEST.name: GUEST} | {role.value: Person(role.value, role, None, How.PASSWORD) for role in ROLES}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("every")
    world = shown_world(f"sqlite:///{folder}/sightline.db", folder)
    with console_site(world, folder, WRITTEN) as made:
        yield made


def go(browser: Any, site: ConsoleSite, name: str, address: str, *, width: int = WIDE) -> None:
    """As somebody, "" nobody, to a page, until it stands still."""
    look(browser, width=width)
    browser.delete_all_cookies()
    if name:
        site.sign_in(browser, name)
    browser.get(site.url + address)
    until_drawn(browser)


# -- for all who use it -------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("title", EVERYWHERE)
def test_everybody_can_use_it(browser: Any, site: ConsoleSite, title: str) -> None:
    """By axe, without scrolling sideways, and with Tab alone.

    Colours depend on the theme and the layout on the width, so two of the four combinations show all that
    axe can find; what scrolls is looked for in one theme at both widths.
    """
    source, problems = axe_source(), []

    def see(scheme: str, width: int) -> None:
        look(browser, width=width, scheme=scheme)
        until_drawn(browser)
        shot(browser, f"every-{title.lower().replace(' ', '-')}-{scheme}-{width}")

    go(browser, site, "" if title == "Sign in" else "admin", EVERYWHERE[title])
    for scheme, width in (("light", WIDE), ("dark", NARROW)):
        see(scheme, width)
        found = axe_findings(browser, source, STREAMLITS_FINDINGS) + sideways(browser)
        problems += [f"{scheme}, {width} px: {problem}" for problem in found]
    see("dark", WIDE)
    problems += tab_problems(browser, STREAMLITS_FOCUS)
    assert not problems, "\n\n".join(problems)


# -- for those who may --------------------------------------------------------------------------------------


def test_what_is_done_on_each_page_is_known_here() -> None:
    assert not {page.path for page in PAGES} - set(DEEDS), "a new page needs its line in DEEDS"


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_whoever_is_not_signed_in_gets_none_of_a_page(site: ConsoleSite, page: ConsolePage) -> None:
    request = urllib.request.Request(f"{site.url}/{page.path}", headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert "/auth/sign-in?next=" in answer.url
        assert "car-park" not in answer.read().decode()


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
@pytest.mark.parametrize("person", PEOPLE.values(), ids=PEOPLE)
def test_each_role_sees_and_does_what_the_table_of_rights_says(
    browser: Any, site: ConsoleSite, person: Person, page: ConsolePage
) -> None:
    go(browser, site, person.name, f"/{page.path}", width=1920)  # room for all of the navigation
    is_theirs = allowed_for_some(person, page.right)
    until(lambda: (NOT_YOURS in text_of(browser)) is not is_theirs, 20)
    is_shown = is_theirs and (not page.engineers or person.role.rank >= Role.ENGINEER.rank)
    links = [link.get_attribute("href") for link in elements(browser, "[data-testid=stTopNavLink]")]
    assert (f"{site.url}/{page.path}" in links) == is_shown, links
    assert not elements(browser, "[data-testid=stException]")
    whole = everything_in(browser)
    assert "hunter2" not in whole
    if not is_theirs:
        assert "loading-dock" not in whole
    if person.cameras is not None:
        assert "north-gate" not in whole
        assert "south-gate" not in whole
    if (deed := DEEDS[page.path]) is None:
        return
    if deed.address != f"/{page.path}":
        go(browser, site, person.name, deed.address, width=1920)
    labels = texts(browser, "button")
    may = is_theirs and allowed(person, deed.right, "car-park")
    assert any(deed.label in label for label in labels) == may, labels
