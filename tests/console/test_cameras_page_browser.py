"""The page Cameras in a real browser: cameras are added, zones drawn, and the file keeps its comments."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.entities import Role
from sightline.simulation.rtsp_server import RtspServer
from support.camera_world import make_clip
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import (
    click_new,
    elements,
    fits,
    opened,
    press,
    saved,
    says,
    set_field,
    shot,
    tap,
    text_of,
    texts,
    write,
)
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
WRITTEN = """\
# the yard's cameras, kept by Anna
allow: {files: true}
cameras:
  north-gate:  # over the door
    url: rtsp://admin:hunter2@10.0.0.21/stream1  # changed in May
    stream: {fps: 5}
    rules:
      lines:
        door: {points: [[0.3, 0.9], [0.3, 0.2]], classes: [person]}  # up: forward is to the left
      zones:
        hall:
          points: [[0.4, 0.4], [0.8, 0.4], [0.8, 0.9], [0.4, 0.9]]
          max_occupancy: 5  # as the fire brigade says
  car-park: {url: rtsp://10.0.0.22/stream1}
"""
WALK = [[0, 1000, 8000, 600, 2000], [12_000, 9000, 8000, 600, 2000]]  # to the right, below
CENTRE = """
const box = arguments[0].getBoundingClientRect();
return [box.x + box.width / 2, box.y + box.height / 2];
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "yard.mp4", 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cameras")


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    made = World(f"sqlite:///{folder}/sightline.db")
    for name in ("north-gate", "car-park"):
        made.camera(name, time.time() + 3600)
    return made


@pytest.fixture(scope="module")
def site(world: World, folder: Path) -> Iterator[ConsoleSite]:
    with console_site(world, folder, WRITTEN) as made:
        made.people.add("gatekeeper", Role.ENGINEER, cameras=frozenset({"car-park"}))
        yield made


@pytest.fixture(autouse=True)
def _as_written(site: ConsoleSite) -> None:
    site.config.chmod(0o600)


def labelled(browser: Any, label: str) -> list[Any]:
    return elements(browser, f'input[aria-label="{label}"]')


def cameras_of(site: ConsoleSite) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(site.config.read_text())["cameras"]
    return found


def test_a_camera_is_added_and_its_zone_drawn_and_the_files_comments_stay(
    browser: Any, site: ConsoleSite, clip: Path
) -> None:
    opened(browser, site, "engineer", "/cameras")
    says(browser, "Add a camera")
    assert "hunter2" not in browser.page_source
    shot(browser, "cameras")
    press(browser, "Add a camera")
    write(browser, "Name", "yard")
    write(browser, "URL", clip.as_uri())
    press(browser, "Test")
    says(browser, "h264, 320 x 240, 10.0 frames a second")
    until(lambda: elements(browser, 'img[alt="URL: what the camera sees"]'), 10)
    shot(browser, "cameras-add")
    press(browser, "Add")
    says(browser, "camera 'yard' starts")
    shot(browser, "cameras-review")
    press(browser, "Save")
    until(lambda: "camera=yard" in browser.current_url, 20)
    until(lambda: elements(browser, ".stage svg"), 20)
    until(lambda: [c for c in elements(browser, ".stage canvas") if c.get_attribute("width") == "1280"], 20)
    tell_apart = browser.execute_script(
        "return arguments[0].getContext('2d').getImageData(9, 9, 1, 1).data[0]",
        elements(browser, ".stage canvas")[0],
    )
    assert tell_apart > 60  # the camera's own picture lies below
    click_new(browser, "New zone")
    for point in ((0.2, 0.3), (0.6, 0.3), (0.6, 0.8), (0.2, 0.8)):
        tap(browser, *point)
    press(browser, "Finish")
    set_field(browser, "name", "stairs")
    set_field(browser, "loiter_s", "10")
    shot(browser, "cameras-zone")
    saved(browser)
    text = site.config.read_text()
    zone = cameras_of(site)["yard"]["rules"]["zones"]["stairs"]
    assert zone["loiter_s"] == 10
    near = [pytest.approx(point, abs=0.01) for point in ([0.2, 0.3], [0.6, 0.3], [0.6, 0.8], [0.2, 0.8])]
    assert zone["points"] == near
    for line in WRITTEN.splitlines():
        assert line in text  # every comment, and all else as it was written


@pytest.mark.rtsp
def test_a_cameras_other_stream_is_found_and_the_smaller_one_watched(
    browser: Any, site: ConsoleSite, tmp_path: Path
) -> None:
    large = make_clip(tmp_path / "large.mp4", 80, size=(1280, 720))
    small = make_clip(tmp_path / "small.mp4", 80, size=(640, 360))
    paths = {"Streaming/Channels/101": large, "Streaming/Channels/102": small}
    with RtspServer(paths) as camera:
        opened(browser, site, "engineer", "/cameras?add=1")
        write(browser, "Name", "dock")
        write(browser, "URL", camera.url("Streaming/Channels/101").replace("//", "//u:hunter2@"))
        press(browser, "Test")
        until(lambda: "Hikvision" in text_of(browser), 60)
        says(browser, "h264, 640 x 360")
        until(lambda: elements(browser, 'img[alt="Stream 2: what the camera sees"]'), 20)
        until(lambda: not elements(browser, "[data-testid=stSkeleton]"), 20)
        shot(browser, "cameras-streams")
        press(browser, "Use these")
    until(lambda: field_of(browser, "Smaller stream (optional)").endswith("/Streaming/Channels/102"), 20)
    assert "u:hunter2@127.0.0.1" in field_of(browser, "Smaller stream (optional)")
    assert field_of(browser, "URL").endswith("/Streaming/Channels/101")
    press(browser, "Add")
    says(browser, "camera 'dock' starts")
    press(browser, "Save")
    until(lambda: "dock" in cameras_of(site), 20)
    assert cameras_of(site)["dock"]["sub_url"].endswith("/Streaming/Channels/102")
    assert "hunter2" not in str(cameras_of(site)["dock"])


def field_of(browser: Any, label: str) -> str:
    [field] = labelled(browser, label)
    return str(field.get_attribute("value"))


def test_a_point_is_dragged_and_moved_by_keyboard_and_a_line_turned(browser: Any, site: ConsoleSite) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, site, "engineer", "/cameras?camera=north-gate")
    until(lambda: elements(browser, ".forward"), 20)
    until(lambda: [c for c in elements(browser, ".stage canvas") if c.get_attribute("width") == "1280"], 20)
    # The first point is the lower one: who goes to the left goes forward.
    [x, _] = browser.execute_script(CENTRE, elements(browser, ".line .forward")[0])
    [line_x, _] = browser.execute_script(CENTRE, elements(browser, ".line .shape")[0])
    assert x < line_x
    press(browser, "Zone hall")
    tap(browser, 0.8, 0.9, drag_to=(1.01, 0.95))
    handle = elements(browser, "[data-point='0']")[0]
    handle.send_keys(Keys.ARROW_LEFT)
    until(lambda: elements(browser, "[data-point='0']"), 5)
    elements(browser, "[data-point='0']")[0].send_keys(Keys.SHIFT, Keys.ARROW_UP)
    press(browser, "Line door")
    press(browser, "Swap in and out")
    [x, _] = browser.execute_script(CENTRE, elements(browser, ".line .forward")[0])
    assert x > line_x
    [new_zone] = [b for b in elements(browser, ".editor button") if b.text == "New zone"]
    new_zone.send_keys(Keys.ENTER)
    until(lambda: elements(browser, ".chosen.zone [data-point='3']"), 10)
    elements(browser, "[data-point='3']")[0].send_keys(Keys.DELETE)
    shot(browser, "cameras-one")
    saved(browser)
    rules = cameras_of(site)["north-gate"]["rules"]
    assert rules["zones"]["zone-1"] == {"points": [[0.35, 0.4], [0.65, 0.4], [0.65, 0.8]]}
    assert rules["lines"]["door"] == {"points": [[0.3, 0.2], [0.3, 0.9]], "classes": ["person"]}
    assert rules["zones"]["hall"]["points"][0] == pytest.approx([0.395, 0.36], abs=1e-6)
    assert rules["zones"]["hall"]["points"][2] == pytest.approx([1.01, 0.95], abs=0.005)  # outside
    text = site.config.read_text()
    for kept in (
        "# as the fire brigade says",
        "admin:hunter2@10.0.0.21",
        "# changed in May",
        "# over the door",
    ):
        assert kept in text


def test_a_stream_and_its_classes_are_changed(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/cameras?camera=car-park", ".stage svg")
    [stream] = [tab for tab in elements(browser, "[role=tab]") if "Stream" in tab.text]
    stream.click()
    until(lambda: any(b.is_displayed() for b in labelled(browser, "Classes that are counted")), 20)
    write(browser, "Classes that are counted", "person, car")
    press(browser, "What would have changed?")
    says(browser, "nothing can be told")
    shot(browser, "cameras-stream")
    saved(browser)
    assert cameras_of(site)["car-park"]["count"] == {"classes": ["person", "car"]}
    assert cameras_of(site)["car-park"]["url"] == "rtsp://10.0.0.22/stream1"


def test_the_second_of_two_is_shown_what_the_first_did_and_both_changes_stay(
    browser: Any, site: ConsoleSite
) -> None:
    opened(browser, site, "engineer", "/cameras?camera=north-gate")
    until(lambda: elements(browser, ".place"), 20)
    press(browser, "Zone hall")
    set_field(browser, "loiter_s", "30")
    press(browser, "Review and save")
    says(browser, "The difference in the file")
    site.config.write_text(site.config.read_text().replace("max_occupancy: 5 ", "max_occupancy: 7 "))
    press(browser, "Save")
    says(browser, "changed a moment ago")
    says(browser, "Somebody else has changed this meanwhile")
    says(browser, "max_occupancy: 7")
    assert "loiter_s" not in site.config.read_text().partition("car-park")[0]
    shot(browser, "cameras-two")
    press(browser, "Save")
    until(lambda: "loiter_s" in cameras_of(site)["north-gate"]["rules"]["zones"]["hall"], 20)
    hall = cameras_of(site)["north-gate"]["rules"]["zones"]["hall"]
    assert (hall["loiter_s"], hall["max_occupancy"]) == (30, 7)


def test_tracks_lie_under_the_drawing_and_can_be_hidden(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/cameras?camera=north-gate", ".stage svg")
    until(lambda: elements(browser, ".tracks[data-count='1']"), 20)
    time.sleep(3)
    inked = """
    const [canvas] = arguments;
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let at = 3; at < data.length; at += 4) inked += data[at] > 0;
    return inked;
    """
    [tracks] = elements(browser, ".stage .tracks")
    assert browser.execute_script(inked, tracks) > 200, "a trail, and where the person stands now"
    shot(browser, "cameras-tracks")
    press(browser, "Tracks")
    assert not tracks.is_displayed()
    press(browser, "Tracks")
    until(lambda: elements(browser, ".tracks[data-count='1']"), 20)


def test_a_place_is_drawn_mended_and_told_by_keyboard_alone(browser: Any, site: ConsoleSite) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def said() -> str:
        return texts(browser, ".said")[0]

    def keys(*sent: str) -> None:
        chain = ActionChains(browser)
        for key in sent:
            chain.send_keys(key)
        chain.perform()

    opened(browser, site, "engineer", "/cameras?camera=north-gate", ".stage svg")
    until(lambda: [b for b in elements(browser, ".editor button") if b.text == "New line"], 20)
    [new_line] = [b for b in elements(browser, ".editor button") if b.text == "New line"]
    new_line.send_keys(Keys.ENTER)
    until(lambda: "lies in the middle, with 2 points" in said(), 10)
    keys(Keys.ARROW_UP)
    until(lambda: "Point 1 is at 30 %" in said(), 5)
    keys(Keys.INSERT)
    until(lambda: "Point 2 is put at 50 %" in said(), 5)
    keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    until(lambda: "Point 2 is at 50 %" in said(), 5)
    shot(browser, "cameras-keyboard")
    keys(Keys.DELETE)
    until(lambda: "Point 2 is taken away; 2 are left" in said(), 5)
    keys(Keys.DELETE)
    until(lambda: "2 points at least" in said(), 5)
    [label] = {e.get_attribute("aria-label") for e in elements(browser, "[data-point='0']")}
    assert "Point 1 of line-1" in label
    assert "Insert puts one after it" in label


def test_what_would_have_changed_is_shown_before_it_is_saved(
    browser: Any, site: ConsoleSite, world: World
) -> None:
    now = time.time()
    for number in range(40):
        points = [[0, 1000, 8000, 600, 2000], [12_000 + 500 * number, 9000, 8000 - 60 * number, 600, 2000]]
        world.path("north-gate", now - 900 - 300 * number, track_id=100 + number, points=points, places=[])
    opened(browser, site, "engineer", "/cameras?camera=north-gate", ".place")
    press(browser, "Zone hall")
    set_field(browser, "loiter_s", "8")
    press(browser, "What would have changed?")
    says(browser, "40 tracks since")
    says(browser, "loiterings 0 →")
    until(lambda: elements(browser, ".played.added"), 20)
    assert not elements(browser, ".played.gone")
    shot(browser, "cameras-what-if")
    set_field(browser, "loiter_s", "9000")
    until(lambda: "40 tracks since" not in text_of(browser), 20)
    until(lambda: not elements(browser, ".played"), 20)
    set_field(browser, "classes", "car")
    press(browser, "What would have changed?")
    until(lambda: entries_gone(browser) == 40, 20)
    until(lambda: elements(browser, ".played.gone"), 20)
    assert "9000" not in site.config.read_text()


def test_a_dark_page_on_a_phone_is_as_clear(browser: Any, site: ConsoleSite, world: World) -> None:
    world.path("north-gate", time.time() - 900, track_id=7, points=WALK, places=[])
    opened(browser, site, "engineer", "/cameras?camera=north-gate", ".place", width=390, scheme="dark")
    press(browser, "Line door")
    press(browser, "Swap in and out")
    until(lambda: elements(browser, ".tracks[data-count='1']"), 20)
    shot(browser, "cameras-390-dark")
    press(browser, "What would have changed?")
    says(browser, "crossings in")
    [table] = elements(browser, "table.sl")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
    shot(browser, "cameras-what-if-390-dark")
    assert fits(browser, 390)


def entries_gone(browser: Any) -> int:
    found = re.search(r"entries (\d+) → (\d+)", text_of(browser))
    return int(found[1]) - int(found[2]) if found else 0


def test_what_is_proposed_for_a_camera_that_was_turned_is_looked_at_and_taken(
    browser: Any, site: ConsoleSite, world: World
) -> None:
    rules = {
        "lines": {"door": {"points": [[0.42, 0.2], [0.42, 0.9]]}},
        "zones": {"hall": {"points": [[0.5, 0.4], [0.9, 0.4], [0.9, 0.9], [0.5, 0.9]]}},
    }
    proposal = {"rules": rules, "gone": ["stairs"], "text": "", "warp": [], "agreement": 0.8}
    world.view("north-gate", time.time(), state="view_moved", fits=False, proposal=proposal)
    opened(browser, site, "engineer", "/cameras?camera=north-gate", ".proposed")
    says(browser, "Out of sight now: stairs")
    shot(browser, "cameras-proposal")
    press(browser, "It is right as it is")
    says(browser, "view.accepted")
    browser.refresh()
    until(lambda: elements(browser, ".proposed"), 30)
    press(browser, "Use the proposal")
    saved(browser)
    hall = cameras_of(site)["north-gate"]["rules"]["zones"]["hall"]
    assert hall["points"] == rules["zones"]["hall"]["points"]
    assert "# as the fire brigade says" in site.config.read_text()
    world.view("north-gate", time.time())


def test_what_was_done_is_undone(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "engineer", "/cameras?camera=car-park")
    press(browser, "Switch off")
    says(browser, "stops: enabled: false")
    press(browser, "Save")
    until(lambda: cameras_of(site)["car-park"].get("enabled") is False, 20)
    press(browser, "All cameras")
    says(browser, "switched off")
    until(lambda: not elements(browser, ".editor"), 20)  # it has an Undo too
    browser.find_element("css selector", "[data-testid=stExpander] summary").click()
    says(browser, "engineer: camera 'car-park' stops")
    press(browser, "Undo", at=0)
    shot(browser, "cameras-undo")
    says(browser, "camera 'car-park' starts")
    press(browser, "Save")
    until(lambda: "enabled" not in cameras_of(site)["car-park"], 20)


def test_what_needs_a_restart_is_said_before_it_is_saved(browser: Any, site: ConsoleSite) -> None:
    url = f"{site.url}/api/v1/config/cameras_per_worker"
    session = {"Cookie": f"sightline={site.people.session('admin')}", "Origin": site.url}

    def ask(method: str, body: Any = None, **headers: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        sent = {**session, "Content-Type": "application/json", **headers}
        with urllib.request.urlopen(urllib.request.Request(url, data, sent, method=method)) as answer:
            return json.load(answer)

    done = ask("PUT", {"value": 3}, **{"If-Match": ask("GET")["version"]})
    ask("DELETE", {}, **{"If-Match": done["version"]})
    opened(browser, site, "engineer", "/cameras", "[data-testid=stExpander] summary")
    browser.find_element("css selector", "[data-testid=stExpander] summary").click()
    says(browser, "needs a restart of the program")
    press(browser, "Undo", at=0)
    says(browser, "Before it is saved")
    until(lambda: [b for b in elements(browser, ".sl-notice b.warn") if b.text == "later"], 20)
    shot(browser, "cameras-restart")
    assert "cameras_per_worker" not in site.config.read_text()


def test_a_read_only_file_is_said_to_be_so(browser: Any, site: ConsoleSite) -> None:
    site.config.chmod(0o400)
    opened(browser, site, "engineer", "/cameras?camera=car-park")
    says(browser, "read-only")
    until(lambda: [b for b in elements(browser, "button:disabled") if "Remove" in b.text], 20)
    until(lambda: elements(browser, ".stage svg"), 20)
    assert not [b for b in elements(browser, ".editor button") if b.is_displayed() and b.text == "New zone"]


@pytest.mark.parametrize("name", ["viewer", "operator"])
def test_who_may_not_see_the_configuration_sees_none_of_it(
    browser: Any, site: ConsoleSite, name: str
) -> None:
    opened(browser, site, name, "/cameras")
    says(browser, "not for your role")
    assert "10.0.0.21" not in browser.page_source


def test_an_engineer_of_one_camera_sees_that_one(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "gatekeeper", "/cameras", width=390)
    says(browser, "car-park")
    assert "north-gate" not in text_of(browser)
    assert "Add a camera" not in text_of(browser)
    browser.get(f"{site.url}/cameras?camera=north-gate")
    says(browser, "not one of yours")
    browser.get(f"{site.url}/cameras?camera=car-park")
    until(lambda: elements(browser, ".stage svg"), 20)
    assert fits(browser, 390)
    shot(browser, "cameras-390")


def test_a_camera_is_taken_out_of_the_file(browser: Any, site: ConsoleSite) -> None:
    opened(browser, site, "admin", "/cameras?camera=car-park")
    says(browser, "online")
    press(browser, "Remove")
    says(browser, "stops: not in the configuration")
    assert "car-park" in cameras_of(site)
    press(browser, "Save")
    until(lambda: "car-park" not in cameras_of(site), 20)
    until(lambda: "camera=" not in browser.current_url, 20)
    says(browser, "north-gate")
    assert "10.0.0.22" not in text_of(browser)
