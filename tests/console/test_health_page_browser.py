"""The page Health in a real browser: all well, a camera or the database away, a GPU and none; each role."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.base.machine import Gpu
from sightline.entities import Event, EventKind
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Cause, Notice
from sightline.supervisor.machine_watch import DiskRoom, MachineFigures
from sightline.supervisor.sinks import SinkHealth
from support.console_site import ConsoleSite, console_site
from support.console_world import World, utc
from support.live_dom import elements, fits, opened, says, shot, text_of
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
GB = 1_000_000_000
NAMES = ["car-park", "loading-dock", "north-gate", "south-gate"]
DISKS = (DiskRoom(("clips", "the database"), "/data", 212 * GB, 480 * GB),)
ENGINEERS_WORDS = ("p99", "p50", "batch", "spool", "Triton", "transport")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made, now = World(f"sqlite:///{tmp_path_factory.mktemp('health')}/sightline.db"), time.time()
    for name in NAMES:
        made.camera(name, now + 7200, fps=5.0, due_fps=5.0, batch_size=2.4, worker_busy=0.2)
    away = {"track_id": 0, "item_class": ""}
    made.event("south-gate", "camera_offline", "", now - 7000, end_time=utc(now - 6820), **away)
    made.event("", "database_away", "", now - 9000, end_time=utc(now - 8950), **away)
    return made


@pytest.fixture(scope="module")
def site(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    with console_site(world, tmp_path_factory.mktemp("health-site")) as made:
        yield made


@pytest.fixture(autouse=True)
def well(site: ConsoleSite, world: World) -> None:
    """All is well when a test begins."""
    program = site.cameras
    program.said = program.going = ()
    program.writer = WriterHealth(owns_database=True, write_s=0.004, last_success_time=time.time())
    program.sinks = [SinkHealth("mqtt", True, 1200, 0, 0, ""), SinkHealth("alerts", True, 12, 0, 0, "")]
    program.figures = MachineFigures(8, 1.4, (), DISKS)
    world.camera("south-gate", time.time() + 7200, fps=5.0, due_fps=5.0, batch_size=2.4)


def trouble(kind: EventKind, source: str, since: float, place: str = "") -> Event:
    return Event(source, kind, place, 0, "", since, since + 15, first_time=since)


def words(browser: Any) -> list[str]:
    """Of each state, in one step: the page is drawn anew every few seconds."""
    found = "[...document.querySelectorAll('table.sl .sl-state-word')].map((word) => word.innerText.trim())"
    return list(browser.execute_script(f"return {found}"))


def titles(browser: Any) -> list[str]:
    found = "[...document.querySelectorAll('.sl-verdict time')].map((time) => time.title)"
    return list(browser.execute_script(f"return {found}"))


@pytest.mark.parametrize("width", [1280, 390])
def test_where_all_is_well_that_is_said_in_plain_words(browser: Any, site: ConsoleSite, width: int) -> None:
    opened(browser, site, "operator", "/health", ".sl-verdict.is-good", width=width)
    says(browser, "Nothing limits.")
    says(browser, "All 4 cameras are watched.")
    says(browser, "212.0 of 480 GB free")
    says(browser, "Did not answer")
    text = text_of(browser)
    assert not [word for word in ENGINEERS_WORDS if word.lower() in text.lower()]
    assert elements(browser, ".sl-verdict [role=status]")
    assert fits(browser, width)
    shot(browser, f"health-{width}")


def test_a_camera_that_is_away_is_named_with_since_when_and_what_to_do(
    browser: Any, site: ConsoleSite, world: World
) -> None:
    message = "no answer from rtsp://admin:hunter2@10.0.0.9 for 42 s"
    world.camera("south-gate", time.time() + 7200, state="offline", message=message)
    opened(browser, site, "operator", "/health", ".sl-verdict.is-warn")
    says(browser, "Something has just gone wrong")  # for some seconds it may be nothing
    says(browser, "south-gate: offline. 3 of 4 cameras are watched.")
    site.cameras.going = (trouble(EventKind.CAMERA_OFFLINE, "south-gate", time.time() - 754),)
    says(browser, "Camera south-gate is not answering.")
    says(browser, "for 12 min")
    says(browser, "What to do: Look at power, cable and network of the camera")
    assert titles(browser)[0].endswith("UTC")
    assert "hunter2" not in browser.page_source
    assert words(browser)[:4] == ["offline", "online", "online", "online"]
    shot(browser, "health-camera")
    opened(browser, site, "guest", "/health", ".sl-verdict.is-good")
    says(browser, "The camera is watched.")
    assert "south-gate" not in browser.page_source
    assert "Database" not in text_of(browser)
    shot(browser, "health-guest")


def test_several_limits_stand_in_order_and_the_engineer_sees_the_figures(
    browser: Any, site: ConsoleSite
) -> None:
    detail = "overload: 3 of 4 cameras analyse 2.1 of 5.0 frames/s; the detector yolov8n-1 takes 930 ms"
    site.cameras.said = (Notice(Cause.DETECTOR, detail, time.time() - 300, tuple(NAMES[:3])),)
    site.cameras.going = (trouble(EventKind.DELIVERY_FAILED, "", time.time() - 4000, "mqtt"),)
    site.cameras.sinks[0] = SinkHealth("mqtt", False, 12, 88, 0, "connection refused")
    site.cameras.figures = MachineFigures(16, 3.2, (Gpu("NVIDIA L4", 0.97, 6 * GB, 24 * GB, 71.0),), DISKS)
    opened(browser, site, "engineer", "/health", ".sl-verdict.is-bad")
    says(browser, "3 of 4 cameras (car-park, loading-dock, north-gate) are analysed too seldom")
    says(browser, detail)
    says(browser, "“mqtt” takes no messages")
    says(browser, "connection refused")
    says(browser, "busy 97 %")
    says(browser, "Budget")
    until(lambda: elements(browser, ".chart .plot svg"), 20)
    # 54 ms of p99 in infer are within its budget, and none of the stages is over.
    assert not elements(browser, ".sl-over")
    shot(browser, "health-engineer")
    browser.execute_script("document.querySelector('[data-testid=stMain]').scrollTo(0, 1e6)")
    shot(browser, "health-engineer-below")


def test_while_the_database_is_away_the_page_says_so_and_shows_the_rest(
    browser: Any, site: ConsoleSite, world: World
) -> None:
    file = Path(str(world.engine.url.database))
    site.cameras.statuses()
    away = WriterHealth(
        owns_database=True,
        state="spooling",
        database_away=True,
        spooled_records=4210,
        spool_used=0.12,
        oldest_age_s=95.0,
        last_error="unable to open database file",
        last_success_time=time.time() - 95,
    )
    opened(browser, site, "operator", "/health", ".sl-verdict.is-good")
    says(browser, "All 4 cameras are watched.")
    file.rename(file.with_suffix(".gone"))
    try:
        site.cameras.writer = away
        site.cameras.going = (trouble(EventKind.DATABASE_AWAY, "", time.time() - 95),)
        says(browser, "The database does not answer; results wait on this machine's disk")
        says(browser, "12% is used")
        says(browser, "does not take results")
        says(browser, "What has been cannot be told")
        assert "4\u202f210" in text_of(browser)
        shot(browser, "health-database")
    finally:
        file.with_suffix(".gone").rename(file)
    site.cameras.writer = WriterHealth(owns_database=True, last_success_time=time.time())
    site.cameras.going = ()
    says(browser, "Nothing limits.")


def test_without_a_gpu_that_is_said(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/health", ".sl-verdict")
    says(browser, "No NVIDIA GPU on this machine")
    says(browser, "8 cores, load 1.4")
    says(browser, "Triton queue")
    assert "Of a detector on the processor Triton does not time the computing" in text_of(browser)


@pytest.mark.parametrize("name", ["viewer", "operator", "engineer", "admin"])
def test_each_role_has_the_page(browser: Any, site: ConsoleSite, name: str) -> None:
    opened(browser, site, name, "/health", ".sl-verdict")
    says(browser, "Updated")
    assert ("p50 / p99" in text_of(browser)) == (name in {"engineer", "admin"})
    assert not elements(browser, "[data-testid=stException]")


def test_nobody_who_is_signed_out_is_told_anything(browser: Any, site: ConsoleSite) -> None:
    browser.delete_all_cookies()
    browser.get(f"{site.url}/health")
    until(lambda: "/auth/sign-in" in browser.current_url, 20)
    assert "south-gate" not in browser.page_source
