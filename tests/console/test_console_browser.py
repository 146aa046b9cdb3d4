"""The console in a real browser: it loads, draws, refreshes in place, and complains of nothing.

Screenshots are kept in artifacts/console/ for people to look at; they are never committed.
"""

from __future__ import annotations

import functools
import http.server
import math
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import free_port
from sightline.supervisor.http.visitors import NobodyElse
from support.browser import chromium, fill_in
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.front import served
from support.live_dom import SHOTS, elements, fits, look, press, says, text_of, texts
from support.people import PASSWORD, People
from support.people import ROOT as ROOT_USER
from support.shown_world import OVERLOAD

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser

CHART = ".chart .plot svg"
# Streamlit asks below the page's own path first and then finds its server: its habit, not our error.
STREAMLITS_OWN = ("/_stcore/health", "/_stcore/host-config", "/favicon.ico")  # the last of the sign-in page
WAIT_S = 30.0


def until(found: Callable[[], Any], what: str) -> Any:
    """Wait for something of the browser; the page is drawn when the browser gets to it."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.2)
    raise AssertionError(f"not seen within {WAIT_S:.0f} s: {what}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(f"sqlite:///{tmp_path_factory.mktemp('console')}/sightline.db")
    now = time.time()
    made.program("all", now + 3600)
    names = ["north-gate", "car-park", "loading-dock", "south-gate"]
    for index, name in enumerate(names):
        bad: dict[str, Any] = {"notices": [OVERLOAD], "warnings": ["the detector is too slow"]}
        if index == 3:
            bad = {"state": "offline", "message": "no answer for 42 s; trying again in 8 s"}
        made.camera(name, now + 3600, **bad)  # ahead, so that no heartbeat is missed while this runs
        first = now // 60 * 60 - 60 * 60
        for minute in range(61):
            lost = 20 <= minute < 32 if index < 3 else minute > 40 or minute < 32
            share = 0.0 if lost else 0.5 if minute == 15 else min(1.0, (now - first - 60 * minute) / 60)
            busy = max(0, round(6 + 5 * math.sin(minute / 7 + index)))
            seen = {"person": busy, "car": busy // 2} if share and busy else {}
            made.window(name, first + 60 * minute, share, **seen)
    return made


@pytest.fixture(scope="module")
def site(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    with console_site(world, tmp_path_factory.mktemp("console-config")) as made:
        yield made


@pytest.fixture
def base_url(site: ConsoleSite) -> str:
    return site.url


@pytest.fixture
def people(site: ConsoleSite) -> People:
    return site.people


@pytest.fixture
def sign_in(browser: Any, site: ConsoleSite) -> Iterator[Callable[[str], None]]:
    """Signs somebody in, without the form."""
    yield lambda name: site.sign_in(browser, name)
    browser.delete_all_cookies()
    browser.get_log("browser")


def complaints(browser: Any) -> list[str]:
    bad = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    return [message for message in bad if not any(own in message for own in STREAMLITS_OWN)]


PAGES = [
    ("overview", "/overview", "table.sl tbody tr", 1),
    ("counts", "/counts", ".sl-legend", 2),
    ("health", "/health", ".sl-verdict", 0),
]


@pytest.mark.parametrize("screen", [(1440, 900, "light"), (390, 844, "dark")], ids=["desk", "phone"])
@pytest.mark.parametrize("page", PAGES, ids=[page[0] for page in PAGES])
def test_pages(
    browser: Any,
    base_url: str,
    sign_in: Any,
    page: tuple[str, str, str, int],
    screen: tuple[int, int, str],
) -> None:
    name, path, content, charts = page
    width, height, scheme = screen
    sign_in("admin")
    look(browser, width=width, height=height, scheme=scheme)
    browser.get(base_url + path)
    until(lambda: elements(browser, content), content)
    until(lambda: len(elements(browser, CHART)) >= charts, "charts")
    assert not elements(browser, "[data-testid=stException]")
    assert fits(browser, width), "the page scrolls sideways"
    if name == "overview":
        assert texts(browser, ".sl-notice") == [OVERLOAD[0].upper() + OVERLOAD[1:]]
        says(browser, "Owner: sightline on mill (process 7")
        bars = "return getComputedStyle([...document.querySelectorAll('.sl-spark .bars')].at(-1)).clipPath"
        assert browser.execute_script(bars).count("100%") >= 2 * 40, "one for each minute that was watched"
    time.sleep(1.0)  # fonts and charts settle, for the picture alone
    SHOTS.mkdir(parents=True, exist_ok=True)
    browser.save_screenshot(str(SHOTS / f"{name}-{width}x{height}-{scheme}.png"))
    assert complaints(browser) == []


def test_new_rows_appear_and_the_chart_stays(
    browser: Any, base_url: str, world: World, sign_in: Callable[[str], None]
) -> None:
    sign_in("viewer")
    look(browser, width=1440, height=900)
    browser.get(base_url + "/counts")
    until(lambda: elements(browser, CHART), "chart")
    legend = "return document.querySelector('.sl-legend')?.innerText || ''"
    until(lambda: "person" in browser.execute_script(legend), "legend")
    assert "truck" not in browser.execute_script(legend)
    # A node that is replaced loses its mark: a redrawn chart is a flicker.
    browser.execute_script(
        "const place = document.querySelector('.st-key-bar_chart'); place.dataset.mark = 'kept';"
        "window.gone = 0; new MutationObserver(() => { if (!place.isConnected) window.gone++; })"
        ".observe(document.body, {childList: true, subtree: true});"
    )
    plot = elements(browser, ".chart .plot")[0]
    world.window("north-gate", time.time() // 60 * 60 - 120, 1.0, truck=7)
    until(lambda: "truck" in browser.execute_script(legend), "the new class")
    kept = browser.execute_script("return document.querySelector('.st-key-bar_chart').dataset.mark")
    assert (kept, browser.execute_script("return window.gone")) == ("kept", 0)
    assert plot.is_displayed()
    assert complaints(browser) == []


def test_a_charts_table_opens_and_stays_open(
    browser: Any, base_url: str, sign_in: Callable[[str], None]
) -> None:
    sign_in("viewer")
    look(browser, width=1440, height=900)
    browser.get(base_url + "/overview")
    table = "[data-testid=stExpander] table.sl tbody tr"
    until(lambda: elements(browser, "[data-testid=stExpander] summary"), "what opens it")
    assert not elements(browser, table)
    press(browser, "As a table", css="[data-testid=stExpander] summary")
    until(lambda: len(elements(browser, table)) > 30, "a row for each minute")
    updated = texts(browser, ".sl-foot")
    until(lambda: texts(browser, ".sl-foot") not in ([], updated), "a refresh")
    assert len(elements(browser, table)) > 30
    assert complaints(browser) == []


def test_one_signs_in_is_led_back_and_signs_out(browser: Any, base_url: str, people: People) -> None:
    look(browser, height=800)
    browser.get(f"{base_url}/counts?a=b")
    until(lambda: browser.find_element("id", "sign-in").is_displayed(), "the form")
    assert "person" not in text_of(browser)
    fill_in(browser, "sign-in", name="operator", password=PASSWORD)
    until(lambda: elements(browser, ".sl-legend"), "the page that was asked for")
    assert browser.current_url == f"{base_url}/counts?a=b"
    assert people.audit()[-1].address == "127.0.0.1"
    press(browser, "operator")
    press(browser, "Sign out")
    until(lambda: "/auth/sign-in" in browser.current_url, "the sign-in")
    until(lambda: browser.find_element("id", "sign-in").is_displayed(), "the form")
    assert people.audit()[-1].action == "sign_out"
    browser.delete_all_cookies()
    browser.get_log("browser")


def test_an_open_page_ends_with_its_sign_in(
    browser: Any, base_url: str, people: People, sign_in: Callable[[str], None]
) -> None:
    people.add("leaver")
    sign_in("leaver")
    browser.get(f"{base_url}/overview")
    until(lambda: elements(browser, "table.sl tbody tr"), "the page")
    people.accounts.disable("leaver", ROOT_USER)
    until(lambda: "/auth/sign-in" in browser.current_url, "the sign-in")
    until(lambda: "no longer signed in" in text_of(browser), "why")
    assert "next=%2Foverview" in browser.current_url
    assert "north-gate" not in text_of(browser)


def everything(browser: Any) -> str:
    """What a page has, its charts too."""
    return str(browser.page_source) + "".join(texts(browser, ".chart"))


@pytest.mark.parametrize("name", ["viewer", "operator", "engineer", "admin", "guest"])
def test_each_role_sees_its_pages_and_its_cameras(
    browser: Any, base_url: str, sign_in: Callable[[str], None], name: str
) -> None:
    look(browser, height=800)
    sign_in(name)
    for page, path, content, _ in PAGES:
        browser.get(base_url + path)
        until(lambda content=content: elements(browser, content), f"{page} of {name}")
        until(lambda: "Updated" in text_of(browser), "the end of the page")
        is_engineer = name in {"engineer", "admin"}
        assert bool(elements(browser, "[href$='/models']")) == is_engineer
        if page == "overview":
            assert ("p99" in text_of(browser)) == is_engineer
            assert ("Owner: sightline" in text_of(browser)) == is_engineer
        if name != "guest":
            until(lambda: "north-gate" in everything(browser), page)
        assert ("north-gate" in everything(browser)) == (name != "guest"), page
        assert not elements(browser, "[data-testid=stException]")
    assert complaints(browser) == []


@pytest.fixture
def closed_url(base_url: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The console's address, and that of a page of another origin."""
    (tmp_path / "index.html").write_text("<title>evil</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield base_url, f"http://127.0.0.1:{other.server_port}/"
        other.shutdown()


OPEN_SOCKET = """
const done = arguments[arguments.length - 1];
const socket = new WebSocket(arguments[0], ["streamlit"]);
socket.onopen = () => done("open");
socket.onerror = () => done("refused");
"""


def test_a_foreign_page_in_the_same_browser_gets_nothing(
    browser: Any, closed_url: tuple[str, str], sign_in: Callable[[str], None]
) -> None:
    base_url, foreign = closed_url
    sign_in("admin")
    stream = f"{base_url.replace('http', 'ws')}/_stcore/stream"
    browser.get(base_url)
    assert browser.execute_async_script(OPEN_SOCKET, stream) == "open"
    browser.get(foreign)
    assert browser.title == "evil"
    assert browser.execute_async_script(OPEN_SOCKET, stream) == "refused"


@pytest.fixture
def rebound(tmp_path: Path) -> Iterator[Any]:
    """A browser to which evil.example is loopback: what DNS rebinding makes of it."""
    with chromium(tmp_path / "profile", "--host-resolver-rules=MAP evil.example 127.0.0.1") as driver:
        yield driver


def test_a_name_that_was_bound_to_loopback_afterwards_gets_nothing(rebound: Any, base_url: str) -> None:
    url = base_url.replace("127.0.0.1", "evil.example")
    rebound.get(url)
    assert "unknown Host" in rebound.page_source
    stream = f"{url.replace('http', 'ws')}/_stcore/stream"
    assert rebound.execute_async_script(OPEN_SOCKET, stream) == "refused"


POST = """
const [url, done] = arguments;
fetch(url, {method: "POST", mode: "no-cors", body: "{}"}).then(() => done("answered"), () => done("refused"));
"""


@pytest.mark.triton
def test_nor_does_it_of_the_status_port_and_of_triton(
    rebound: Any, toy_repository: Path, tmp_path: Path
) -> None:
    with (
        served([], NobodyElse()) as status,
        TritonServer(toy_repository, grpc_port=free_port(), log_path=tmp_path / "log") as triton,
    ):
        rebound.get(status.origin.replace("127.0.0.1", "evil.example") + "/metrics")
        assert "unknown Host" in rebound.page_source
        load = f"http://evil.example:{triton.grpc_port}/v2/repository/models/detector/load"
        assert rebound.execute_async_script(POST, load) == "refused"


def test_it_listens_on_loopback_and_to_no_other_names(site: ConsoleSite) -> None:
    listening = psutil.Process(site.pid).net_connections("inet")
    assert {item.laddr.ip for item in listening if item.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
    request = urllib.request.Request(f"{site.url}/", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=5)
