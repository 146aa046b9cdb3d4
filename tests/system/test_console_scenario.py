"""From the README alone, in one browser: the demo, a fifth camera, a zone, an alert with its clip, its count.

Each step is kept as a picture in artifacts/console/, with what was done in scenario.html there.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import pytest

from sightline.simulation.rtsp_server import free_port
from support.listeners import HookServer
from support.live_dom import (
    FIND,
    SHOTS,
    choose,
    click_new,
    elements,
    look,
    moves,
    press,
    saved,
    says,
    set_field,
    shot,
    tap,
    text_of,
    write,
)
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = [pytest.mark.browser, pytest.mark.triton, pytest.mark.rtsp, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
#: Kept between runs: scenes are drawn but once.
SCENES = ROOT / "artifacts" / "scenes"
WHOLE = ((0.02, 0.15), (0.98, 0.15), (0.98, 0.98), (0.02, 0.98))


@dataclass
class Recording:
    """What was done, one picture a step."""

    browser: Any
    steps: list[str] = field(default_factory=list)

    def step(self, caption: str) -> None:
        """Keep what is to be seen now."""
        name = f"scenario-{len(self.steps) + 1:02}"
        shot(self.browser, name)
        picture = f'<img src="{name}.png" width="960" alt="">'
        self.steps.append(f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>")
        page = '<!doctype html><meta charset="utf-8"><title>The console, step by step</title>'
        (SHOTS / "scenario.html").write_text(page + "".join(self.steps))


def readme_command() -> list[str]:
    """How the README says that the demo is started."""
    found = re.search(r"^make demo\b.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert found
    return shlex.split(found[0], comments=True)


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """What it prints until it is ready."""
    log = folder.with_suffix(".log")
    folder.mkdir()
    SCENES.mkdir(parents=True, exist_ok=True)
    (folder / "videos").symlink_to(SCENES)
    # The environment is there, or this would not run: it is not made anew.
    command = [*readme_command(), "-o", ".venv/.ready", f"ARGS=--folder {folder} --port {free_port()}"]
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    try:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "logs are in" in log.read_text()

        until(is_ready, 400)
        yield log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(60)
    assert "everything is stopped" in log.read_text()


def test_a_fifth_camera_an_alert_of_it_its_clip_and_its_count_without_leaving_the_browser(
    browser: Any, tmp_path: Path
) -> None:
    look(browser)
    recording, hook = Recording(browser), HookServer()
    with demo(tmp_path / "demo") as printed:
        browser.get(printed.partition("ready: open ")[2].split()[0])
        until(lambda: len(elements(browser, ".tile")) == 4 and moves(browser), 60)
        recording.step("The link of the demo signs in: four cameras, live.")
        [url] = re.findall(r"rtsp://\S+/NAME\b(?!-)", printed)
        add_camera(browser, recording, url.replace("NAME", "shop"))
        draw_zone(browser, recording)
        add_route(browser, recording, hook)
        add_rule(browser, recording)
        watch_the_clip(browser, recording)
        mark(browser, recording)
        find_in_counts(browser, recording)
        told = [body["alert"] for body in hook.bodies if body.get("transition") == "opened"]
    hook.close()
    assert {(alert["rule"], alert["source"]) for alert in told} == {("loiterers", "yard")}


def go(browser: Any, title: str) -> None:
    """By the navigation."""
    press(browser, title, css="[data-testid=stTopNavLink]")
    says(browser, title)


def add_camera(browser: Any, recording: Recording, url: str) -> None:
    go(browser, "Cameras")
    press(browser, "Add a camera")
    write(browser, "Name", "yard")
    write(browser, "URL", url)
    press(browser, "Test")
    until(lambda: "640 x 360" in text_of(browser), 60)
    recording.step("A fifth camera by its URL: “Test” shows what it sends.")
    press(browser, "Add")
    says(browser, "The difference in the file")
    recording.step("What adding it does, before it is saved.")
    press(browser, "Save")
    until(lambda: "camera=yard" in browser.current_url, 20)


def draw_zone(browser: Any, recording: Recording) -> None:
    until(lambda: [c for c in elements(browser, ".stage canvas") if int(c.get_attribute("width")) > 300], 90)
    click_new(browser, "New zone")
    for x, y in WHOLE:
        tap(browser, x, y)
    press(browser, "Finish")
    set_field(browser, "name", "doorway")
    set_field(browser, "loiter_s", "10")
    recording.step("A zone, drawn on the camera's own picture: who stays in it for 10 s loiters.")
    saved(browser)


def add_route(browser: Any, recording: Recording, hook: HookServer) -> None:
    go(browser, "Alerts")
    press(browser, "Routes", css="[role=tab]")
    press(browser, "Add a route")
    write(browser, "Name", "guards")
    choose(browser, "How people are told", "Webhook")
    write(browser, "URL", hook.url)
    recording.step("A route: a webhook, by which guards are told.")
    saved(browser)
    press(browser, "Test")
    until(lambda: "guards: the other side has taken the test." in text_of(browser), 40)
    assert hook.bodies
    recording.step("Its test arrives.")


def add_rule(browser: Any, recording: Recording) -> None:
    go(browser, "Cameras")
    write(browser, "Search", "yard")
    until(lambda: len(elements(browser, "[class*=st-key-open_]")) == 1, 20)
    press(browser, "Set up")
    press(browser, "Add an alert rule", css="a")
    write(browser, "Name", "loiterers")
    choose(browser, "What happens", "loitering")
    choose(browser, "Lines and zones", "doorway")
    choose(browser, "Told by", "guards")
    recording.step("A rule: who loiters in the zone is an alert, and the guards are told.")
    saved(browser)


def distance_s(browser: Any) -> float | None:
    """How far the clip of the yard is from its event; None: another one is shown, or none, or not yet."""
    seen = (
        FIND.replace("SELECTOR", "'.clip[data-event]'")
        + """
        const video = found[0]?.querySelector("video");
        const isShown = video?.currentSrc.includes("/cameras/yard/") && video.readyState >= 2;
        return isShown ? Math.abs(video.currentTime - found[0].dataset.event) : null;
    """
    )
    at: float | None = browser.execute_script(seen)
    return at


def watch_the_clip(browser: Any, recording: Recording) -> None:
    """Once there is one, it plays, and at the event's position the loiterer is marked."""
    go(browser, "Review")
    press(browser, "doorway", css=".queue .row", timeout_s=240)
    until(lambda: (at := distance_s(browser)) is not None and at < 0.5, 150)
    [clip] = elements(browser, ".clip")
    assert int(clip.get_attribute("data-boxes")) >= 1, "nobody is marked at the event"
    recording.step("The alert in Review: its clip plays at the event, who loiters is marked.")


def mark(browser: Any, recording: Recording) -> None:
    press(browser, "Acknowledge")
    rows = (
        FIND.replace("SELECTOR", "'.queue .row'") + "return found.map((row) => row.innerText).join('\\n\\n')"
    )

    def states() -> set[str]:
        """Of the alerts of the yard."""
        all_rows = str(browser.execute_script(rows)).split("\n\n")
        return {row.splitlines()[-1].strip() for row in all_rows if "doorway" in row}

    # Of one that is over by now, acknowledging is the last step.
    until(lambda: states() & {"acknowledged", "resolved"}, 20)
    recording.step("Acknowledged.")


def find_in_counts(browser: Any, recording: Recording) -> None:
    """Those who came into the zone."""
    go(browser, "Counts")
    choose(browser, "Cameras", "yard")
    press(browser, "Zone", css="[data-testid=stButtonGroup] button")
    until(lambda: re.search(r"doorway\s+[1-9]", text_of(browser)), 60)
    recording.step("And who was there, in Counts.")
