"""The page People in a real browser: accounts, tokens and the audit, for admins alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sightline.entities import PERSON_ROLES, Role
from sightline.errors import SignInRefused
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import elements, fits, opened, press, says, shot, text_of
from support.people import HOME, PASSWORD, ROOT
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
WRITTEN = """\
cameras:
  car-park: {url: rtsp://10.0.0.9/1, groups: [outside]}
  north-gate: {url: rtsp://10.0.0.9/2}
"""
OTHER = "another four words in a row"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("people")
    world = World(f"sqlite:///{folder}/sightline.db")
    for name in ("car-park", "north-gate"):
        world.camera(name, time.time() + 3600)
    with console_site(world, folder, WRITTEN) as made:
        made.people.now = time.time()
        yield made


def steadily(do: Callable[[], object]) -> None:
    """Until it is done: an element that was found may be drawn anew meanwhile."""
    from selenium.common import exceptions  # not everywhere

    def is_done() -> bool:
        try:
            do()
        except (exceptions.WebDriverException, LookupError, StopIteration):
            return False
        return True

    until(is_done, 20)


def write(browser: Any, label: str, value: str) -> None:
    from selenium.webdriver.common.keys import Keys

    field = f'input[aria-label="{label}"]'
    steadily(lambda: elements(browser, field)[-1].send_keys(Keys.CONTROL, "a", Keys.NULL, value, Keys.TAB))


def choose(browser: Any, label: str, option: str) -> None:
    """In a select box."""

    def pick() -> None:
        if not elements(browser, '[role="option"]'):
            elements(browser, f'input[aria-label*="{label}"]')[-1].click()
        next(one for one in elements(browser, '[role="option"]') if option in one.text).click()

    steadily(pick)


def open_dialog(browser: Any, label: str) -> None:
    """By a button; it is pressed again where the page was just drawn anew under the pointer."""

    def is_open() -> bool:
        if not elements(browser, '[role="dialog"]'):
            press(browser, label)
            time.sleep(1.5)
        return bool(elements(browser, '[role="dialog"]'))

    until(is_open, 40)


def code(browser: Any) -> str:
    """What is shown once."""
    script = "return [...document.querySelectorAll('[role=dialog] code')].at(-1)?.innerText ?? ''"
    until(lambda: browser.execute_script(script), 20)
    return str(browser.execute_script(script)).strip()


def leave(browser: Any) -> None:
    button = '[role="dialog"] button[aria-label="Close"]'
    steadily(lambda: [elements(browser, button)[-1].click()])
    until(lambda: not elements(browser, '[role="dialog"]'), 10)


@pytest.mark.parametrize("role", [role for role in PERSON_ROLES if role is not Role.ADMIN])
def test_the_page_is_for_admins_alone(browser: Any, site: ConsoleSite, role: Role) -> None:
    opened(browser, site, role, "/people")
    says(browser, "This page is not for your role.")
    assert "Add a person" not in text_of(browser)
    assert "sees pictures" not in text_of(browser)


def test_a_person_is_invited_signs_in_by_the_link_and_is_changed(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "admin", "/people")
    says(browser, "Add a person")
    says(browser, "guest")
    shot(browser, "people")
    open_dialog(browser, "Add a person")
    write(browser, "Name", "Anna")
    choose(browser, "Role", "operator")
    shot(browser, "people-add")
    press(browser, "Add")
    says(browser, "Pass this link on to Anna.")
    link = code(browser)
    assert link.startswith(f"{site.url}/auth/invitation?next=/#")
    shot(browser, "people-invited")
    leave(browser)
    says(browser, "There is no password yet")
    [anna] = [account for account in site.people.accounts.everybody() if account.name == "Anna"]
    assert (anna.role, anna.cameras, anna.password_hash) == (Role.OPERATOR, None, "")

    browser.delete_all_cookies()
    browser.get(link)
    until(lambda: browser.find_element("id", "invitation").is_displayed(), 10)
    shot(browser, "people-invitation")
    browser.find_element("css selector", "#invitation input").send_keys(PASSWORD)
    browser.find_element("css selector", "#invitation button").click()
    until(
        lambda: browser.current_url.startswith(f"{site.url}/?") or browser.current_url == f"{site.url}/", 20
    )
    says(browser, "Anna")
    session = site.people.accounts.sign_in("anna", PASSWORD, HOME).session

    opened(browser, site, "admin", "/people")
    write(browser, "Search", "anna")
    until(lambda: "guest" not in text_of(browser), 10)
    open_dialog(browser, "Change")
    says(browser, "Every change signs Anna out.")
    choose(browser, "Role", "engineer")
    shot(browser, "people-change")
    press(browser, "Save")
    says(browser, "Anna is changed.")
    assert site.people.accounts.find("anna").role is Role.ENGINEER
    assert site.people.accounts.person_of(session) is None
    open_dialog(browser, "Change")
    press(browser, "Close the account")
    says(browser, "Nobody can sign in here.")
    with pytest.raises(SignInRefused):
        site.people.accounts.sign_in("anna", PASSWORD, HOME)


def test_the_last_admin_is_told_to_make_another_one_first(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "admin", "/people")
    write(browser, "Search", "admin")
    until(lambda: "guest" not in text_of(browser), 10)
    open_dialog(browser, "Change")
    press(browser, "Close the account")
    says(browser, "is the last admin; make another one first")
    shot(browser, "people-last-admin")
    assert site.people.accounts.find("admin").enabled


def test_somebody_is_signed_out_everywhere(browser: Any, site: ConsoleSite) -> None:
    session = site.people.session("guest")
    opened(browser, site, "admin", "/people")
    write(browser, "Search", "guest")
    until(lambda: "engineer" not in text_of(browser), 10)
    open_dialog(browser, "Change")
    press(browser, "Sign out everywhere")
    says(browser, "guest is signed out everywhere.")
    assert site.people.accounts.person_of(session) is None


def test_a_displays_link_and_a_programs_token_are_shown_once_and_revoked(
    browser: Any, site: ConsoleSite
) -> None:
    opened(browser, site, "admin", "/people")
    press(browser, "Tokens and displays")
    says(browser, "There is no token that works.")
    open_dialog(browser, "Make a token")
    write(browser, "Name", "lobby")
    shot(browser, "people-display")
    press(browser, "Make it")
    link = code(browser)
    assert link.startswith(f"{site.url}/auth/wall#slt_")
    shot(browser, "people-display-link")
    leave(browser)
    says(browser, "Shows pictures on a wall, and nothing else.")
    assert link.partition("#")[2] not in browser.page_source
    person = site.people.tokens.person_of(link.partition("#")[2])
    assert person is not None
    assert (person.name, person.role, person.cameras) == ("token lobby", Role.DISPLAY, None)
    open_dialog(browser, "Make a token")
    press(browser, "A program")
    write(browser, "Name", "reports")
    press(browser, "Make it")
    secret = code(browser)
    leave(browser)
    person = site.people.tokens.person_of(secret)
    assert person is not None
    assert (person.name, person.role) == ("token reports", Role.VIEWER)
    says(browser, "reports")
    shot(browser, "people-tokens")
    press(browser, "Revoke", 0)  # the newest stands first
    press(browser, "Revoke reports")
    says(browser, "Token reports is revoked.")
    assert site.people.tokens.person_of(secret) is None
    assert site.people.tokens.person_of(link.partition("#")[2])


def test_the_audit_is_searched_and_turned_over(browser: Any, site: ConsoleSite) -> None:
    for number in range(60):
        site.people.accounts.set_cameras("guest", [f"camera-{number:02}"], ROOT)
    site.people.accounts.set_cameras("guest", ["car-park"], ROOT)
    opened(browser, site, "admin", "/people")
    press(browser, "Audit")
    says(browser, "change account")
    shot(browser, "people-audit")
    write(browser, "Camera or text", "camera-")
    until(lambda: "camera-59" in text_of(browser) and "car-park" not in text_of(browser), 20)
    assert "camera-09" not in text_of(browser)
    press(browser, "Older")
    says(browser, "camera-09")
    assert "camera-59" not in text_of(browser)
    press(browser, "Newer")
    says(browser, "camera-59")
    write(browser, "Who", "nobody-like-that")
    says(browser, "Nothing was done that is like that.")


def test_on_a_phone_nothing_is_cut_off(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "admin", "/people", width=390)
    says(browser, "Add a person")
    says(browser, "guest")
    assert fits(browser, 390)
    shot(browser, "people-390")
    press(browser, "Audit")
    says(browser, "sign in")
    assert fits(browser, 390)
    shot(browser, "people-audit-390")
