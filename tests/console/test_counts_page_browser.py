"""The pages Counts and Events in a real browser, as each role: charts, what is behind a bar, files, clips."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.entities import Event, EventKind
from support.console_site import ConsoleSite, console_site, drawn
from support.console_world import World
from support.live_dom import elements, fits, opened, press, says, shot, text_of, texts
from support.toy import write_clip
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
CAMERAS = ("north-gate", "car-park", "loading-dock")
WEEK_S = 604_800
HOURS = 9 * 24  # a day, and the same of the week before
CHART = ".chart .plot[aria-label] svg"
SCREENS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def begun() -> float:
    return time.time() // 3600 * 3600


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, begun: float) -> Iterator[ConsoleSite]:
    folder = tmp_path_factory.mktemp("counts")
    world, now = World(f"sqlite:///{folder}/sightline.db"), time.time()
    story: list[tuple[str, str, int]] = []
    for hour in range(HOURS):
        at = begun - (HOURS - hour) * 3600
        busy = max(
            0,
            round(14 + 12 * math.sin((at % 86_400) / 86_400 * 2 * math.pi - 2) - 6 * (at % WEEK_S < 172_800)),
        )
        story.append(("yolo/2" if hour > HOURS - 9 else "yolo/1", "a" if hour < HOURS - 15 else "b", busy))
    for index, name in enumerate(CAMERAS):
        lines, inside = (["door"], {"yard": 3}) if index == 1 else ([], {})
        world.camera(name, now + 3600, lines=lines, occupancy=inside)
        # The dock was not watched for a while, and began fourteen hours ago.
        kept = story[-14:] if index == 2 else story
        world.hours(name, begun - len(kept) * 3600, kept[: -6 if index == 2 else None])
        if index == 2:
            world.hours(name, begun - 3 * 3600, kept[-3:])
        minutes = max(1, int(now - begun) // 60)
        for minute in range(minutes):
            world.window(name, begun + 60 * minute, 1.0, person=2, car=minute % 3)
    files = folder / "clips"
    files.mkdir()
    video, thumbnail = files / "clip.mp4", files / "clip.jpg"
    write_clip(video, [], seconds=10.0)
    thumbnail.write_bytes(drawn("car-park", 30, 640, 360))
    at = begun - 1800.0
    seen = Event("car-park", EventKind.CROSSING, "door", 7, "person", at, at, "forward", first_time=at - 4)
    world.clip("car-park", at - 5, events=[seen.key], path=str(video), thumbnail=str(thumbnail))
    shown = {"track_id": 7, "first_time": at - 4, "ordinal": 0, "x": 0.5, "y": 0.5}
    world.event("car-park", "crossing", "door", at, direction="forward", **shown)
    for number in range(12):
        way = "forward" if number % 3 else "backward"
        world.event(
            "car-park", "crossing", "door", at - 60 - 95 * number, direction=way, track_id=10 + number
        )
    world.event("north-gate", "enter", "yard", begun - 2000, end_time=None, unseen=True)
    world.event("", "database_away", "", begun - 1700, item_class="", track_id=0)
    for number in range(4):
        world.path("car-park", at - 6 + number, track_id=7 + number)
    with console_site(world, folder) as made:
        yield made


def is_right(browser: Any, width: int) -> None:
    assert not elements(browser, "[data-testid=stException]")
    assert fits(browser, width)


def choose_range(browser: Any, label: str) -> None:
    """A range of the page, whose charts are drawn again."""
    press(browser, label, 0)
    until(lambda: elements(browser, CHART), 30)


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_counts_show_a_day_with_its_gaps_changes_and_the_week_before(
    browser: Any, site: ConsoleSite, width: int, scheme: str
) -> None:
    opened(browser, site, "operator", "/counts", CHART, width=width, scheme=scheme)
    choose_range(browser, "24 h")
    words = ["A week before", "another model counts", "Began in this range: loading-dock"]
    words.append("not watched: there may have been more")
    until(lambda: all(word in text_of(browser) for word in words), 30)
    assert "yolo" not in text_of(browser), "an operator reads no version"
    is_right(browser, width)
    shot(browser, f"counts-{width}-{scheme}")
    press(browser, "Hours of the week", 0)
    until(lambda: "Objects by the hour of the week" in text_of(browser), 30)
    until(lambda: elements(browser, CHART), 30)
    is_right(browser, width)
    shot(browser, f"counts-heat-{width}-{scheme}")


def test_from_a_bar_to_its_events_and_their_clips(browser: Any, site: ConsoleSite, begun: float) -> None:
    opened(browser, site, "operator", "/counts", CHART)
    choose_range(browser, "6 h")
    press(browser, "Direction", 0)
    until(lambda: "car-park · door · forward" in text_of(browser), 30)
    # The last bar with crossings is pressed where its column lies, whatever its height.
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    [plot] = elements(browser, ".chart .plot.picks")
    plot.send_keys(Keys.END)

    def is_one_with_crossings() -> bool:
        told = str(plot.get_attribute("aria-valuetext"))
        return "forward" in told or bool(plot.send_keys(Keys.ARROW_LEFT))

    until(is_one_with_crossings, 30)

    def shows_events() -> bool:
        """Pressed again where a refresh of the page came just then."""
        if not elements(browser, ".queue .row"):
            plot.send_keys(Keys.HOME, Keys.END)
            until(is_one_with_crossings, 30)
            [column] = elements(browser, ".chart .spot")
            ActionChains(browser).move_to_element(column).click().perform()
        return bool(elements(browser, ".queue .row"))

    until(shows_events, 60, every_s=15.0)
    until(lambda: "Person crossed door" in texts(browser, ".queue .row")[0], 20)
    shot(browser, "counts-behind-a-bar")
    rows = [row for row in elements(browser, ".queue .row") if "clip" in row.text.splitlines()[-1:]]
    if rows:
        rows[0].click()
    until(lambda: elements(browser, ".clip video"), 30)
    press(browser, "Tracks", 0)
    until(lambda: "Person 10 · car-park" in texts(browser, ".queue")[0], 30)
    shot(browser, "counts-tracks-behind-a-bar")


@pytest.mark.parametrize("name", ["viewer", "guest", "engineer", "admin"])
def test_each_role_sees_its_own_cameras_counts(browser: Any, site: ConsoleSite, name: str) -> None:
    opened(browser, site, name, "/counts", CHART)
    choose_range(browser, "24 h")
    press(browser, "Camera", 0)
    legend = "return document.querySelector('.sl-legend')?.innerText ?? ''"  # in one step: it is drawn anew
    until(lambda: "car-park" in browser.execute_script(legend), 30)
    assert ("north-gate" in text_of(browser)) is (name != "guest")
    assert ("yolo/2" in text_of(browser)) is (name in {"engineer", "admin"})
    press(browser, "Table", -1)
    until(lambda: elements(browser, "[data-testid=stDownloadButton]"), 30)
    assert [b.text.strip().split()[-1] for b in elements(browser, "[data-testid=stDownloadButton]")] == [
        "CSV",
        "Parquet",
    ]
    is_right(browser, 1280)
    shot(browser, f"counts-table-{name}")


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_events_are_searched_and_one_plays(browser: Any, site: ConsoleSite, width: int, scheme: str) -> None:
    opened(browser, site, "operator", "/events", ".sl-title", width=width, scheme=scheme)
    press(browser, "6 h", 0)
    until(lambda: len(elements(browser, ".queue .row")) >= 14, 30)
    rows = elements(browser, ".queue .row")
    assert any("not seen itself" in row.text for row in rows)
    assert "UTC" in rows[0].get_attribute("title")
    next(row for row in rows if row.text.splitlines()[-1] == "clip").click()
    until(lambda: elements(browser, ".clip video"), 30)
    until(lambda: "event=" in browser.current_url, 20)
    is_right(browser, width)
    shot(browser, f"events-{width}-{scheme}")


@pytest.mark.parametrize("name", ["viewer", "guest", "admin"])
def test_each_role_sees_its_own_events(browser: Any, site: ConsoleSite, name: str) -> None:
    opened(browser, site, name, "/events", ".sl-title")
    press(browser, "6 h", 0)
    until(lambda: elements(browser, ".queue .row"), 30)
    told = "\n".join(texts(browser, ".queue .row"))
    assert ("north-gate" in told) is (name != "guest")
    assert ("Database away" in told) is (name != "guest"), "the program is nobody's camera"


@pytest.mark.parametrize("path", ["/counts", "/events", "/overview"])
def test_signed_out_nothing_is_shown(browser: Any, site: ConsoleSite, path: str) -> None:
    browser.delete_all_cookies()
    browser.get(site.url + path)
    until(lambda: "/auth/sign-in" in browser.current_url, 30)
    assert "car-park" not in text_of(browser)


def test_overview_on_a_desk_and_a_phone(browser: Any, site: ConsoleSite, tmp_path: Path) -> None:
    for width, scheme in SCREENS:
        opened(browser, site, "operator", "/overview", CHART, width=width, scheme=scheme)
        says(browser, "min ago")
        is_right(browser, width)
        shot(browser, f"overview-{width}-{scheme}")
