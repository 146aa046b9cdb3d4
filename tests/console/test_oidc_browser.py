"""People of an identity provider in a real browser, at the console's address."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.access.oidc import OidcClient
from sightline.config.access_options import OidcOptions
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.identity_provider import CLIENT, SECRET, IdentityProvider, identity_provider
from support.live_dom import elements, press, says, shot, text_of, tile_names
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
GROUPS = {"guards": {"role": "operator", "cameras": ["car-park"]}}


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as made:
        yield made


@pytest.fixture
def site(provider: IdentityProvider, tmp_path: Path) -> Iterator[ConsoleSite]:
    world = World(f"sqlite:///{tmp_path}/sightline.db")
    for name in ("car-park", "north-gate"):
        world.camera(name, time.time() + 3600)
    known = {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET, "groups": GROUPS}
    with console_site(world, tmp_path, oidc=OidcClient(OidcOptions.model_validate(known))) as made:
        yield made


def begin(browser: Any, site: ConsoleSite, path: str) -> None:
    """Go to a page, and from the sign-in to the provider, which knows the browser and sends it back."""
    browser.delete_all_cookies()
    browser.get(site.url + path)
    press(browser, "Sign in with your organisation", css="a#oidc")


def test_a_person_of_the_provider_gets_the_page_and_the_cameras_of_their_groups(
    browser: Any, site: ConsoleSite
) -> None:
    begin(browser, site, "/counts?a=b")
    until(lambda: browser.current_url == f"{site.url}/counts?a=b", 30)
    browser.get(site.url)
    until(lambda: tile_names(browser) == ["car-park"], 30)
    row = site.people.audit()[-1]
    assert (row.who, row.how, row.address) == ("anna", "oidc", "127.0.0.1")
    press(browser, "anna")
    press(browser, "Sign out")
    until(lambda: "/auth/sign-in" in browser.current_url, 20)
    until(lambda: elements(browser, "a#oidc:not([hidden])"), 20)


def test_who_is_refused_reads_why_and_comes_back_to_the_sign_in(
    browser: Any, site: ConsoleSite, provider: IdentityProvider
) -> None:
    provider.claims["groups"] = ["visitors"]
    begin(browser, site, "/counts")
    says(browser, "None of your groups may use Sightline")
    shot(browser, "oidc-refused")
    assert "{" not in text_of(browser), "a page, and not what a program gets"
    press(browser, "Sign in", css="main a")
    until(lambda: elements(browser, "#sign-in:not([hidden])"), 20)


def test_a_provider_that_is_away_is_said_to_be(
    browser: Any, site: ConsoleSite, provider: IdentityProvider
) -> None:
    provider.stop()
    begin(browser, site, "/counts")
    says(browser, "identity provider")
    assert "{" not in text_of(browser)
