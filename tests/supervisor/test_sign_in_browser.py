"""The pages at which people sign in, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.entities import Role
from sightline.supervisor.http.sign_in_pages import SignInPages
from support.browser import chromium, fill_in
from support.front import Front, known, served
from support.live_dom import text_of
from support.people import PASSWORD, People
from support.waiting import until

pytestmark = pytest.mark.browser
OTHER = "another four words in a row"


@pytest.fixture
def front(people: People) -> Iterator[Front]:
    with served(SignInPages(people.accounts).endpoints(), known(people)) as made:
        yield made


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with chromium(tmp_path / "profile") as driver:
        yield driver


def until_told(browser: Any, text: str) -> None:
    until(lambda: text in browser.find_element("id", "text").text, 10)


def test_the_first_account_is_made_and_its_password_changed_and_signs_out_and_in(
    browser: Any, front: Front, people: People
) -> None:
    link = people.accounts.make_set_up_link()
    browser.get(f"{front.origin}/auth/set-up#{link}")
    fill_in(browser, "set-up", name="Anna", password=PASSWORD)
    until_told(browser, "Signed in as Anna (admin).")
    assert str(link) not in browser.current_url
    fill_in(browser, "sign-out")
    until_told(browser, "Signed out.")
    fill_in(browser, "sign-in", name="anna", password=OTHER)
    until_told(browser, "name or password are wrong")
    people.now += 60.0
    fill_in(browser, "sign-in", name="anna", password=PASSWORD)
    until_told(browser, "Signed in as Anna (admin).")
    fill_in(browser, "password", password=PASSWORD, new=OTHER)
    until(lambda: "change_password" in [entry.action for entry in people.audit()], 10)
    assert browser.execute_script("return document.cookie") == ""
    assert [
        entry for entry in browser.get_log("browser") if "Content Security Policy" in entry["message"]
    ] == []


def test_the_demos_link_goes_on_to_where_it_says_and_to_no_other_site(
    browser: Any, front: Front, people: People
) -> None:
    for path, ends_at in (("/auth/me", "/auth/me"), ("//evil.example/", "/auth/link?next=//evil.example/")):
        link = people.accounts.make_demo_link(Role.ADMIN)
        browser.get(f"{front.origin}/auth/link?next={path}#{link}")
        until(lambda: "demo" in text_of(browser), 10)
        assert browser.current_url == f"{front.origin}{ends_at}"
        browser.delete_all_cookies()
