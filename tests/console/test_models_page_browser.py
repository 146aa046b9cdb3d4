"""The page Models in a real browser: versions, who uses them, and what a switch does; each role."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.errors import AdminError
from sightline.models.registry.repository import earlier_version
from sightline.serving import model_configs
from sightline.supervisor.http import api_models
from support.console_site import ConsoleSite, console_site
from support.console_world import World
from support.live_dom import elements, fits, opened, press, says, shot
from support.model_shelf import put_version, serve_version
from support.waiting import until

pytest.importorskip("streamlit", reason="the console's packages are not installed")
pytestmark = pytest.mark.browser
WRITTEN = """\
cameras:
  north-gate: {url: rtsp://10.0.0.21/, shadow: {model: detector-3}}
  car-park: {url: rtsp://10.0.0.22/, count: {classes: [person, car]}}
"""
REPORT = {
    "verdict": "wait",
    "reasons": ["12 of 50 episodes", "count of car: live 40, candidate 44; bound ±10%: open"],
    "episodes": 12,
    "objects": 140,
    "candidate": {"model": "detector-3", "version": "street-3-0a1b2c3d4e5f"},
    "live": {"model": "detector", "version": "street-2-0a1b2c3d4e5f"},
    "tables": {
        "Checks": [{"check": "count of car", "live": 40, "candidate": 44, "state": "open"}],
        "Events": [],
    },
    "pictures": [{"file": "/secret/place.jpg", "what": "x"}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models-site")


@pytest.fixture(scope="module")
def site(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    world = World(f"sqlite:///{tmp_path_factory.mktemp('models')}/sightline.db")
    for name in ("north-gate", "car-park"):
        world.camera(name, time.time() + 3600, model_version="street-2-0a1b2c3d4e5f")
    models = folder / "models"
    put_version(models, 1)
    measured = {"map50_95": 0.4123, "map50": 0.6101, "images": 128}
    put_version(models, 2, "person", "car", "bus", measured_map=measured)
    put_version(models, 3, "person", "lorry", network_width=640, network_height=384)
    serve_version(models, 1)
    serve_version(models, 2)
    with console_site(world, folder, WRITTEN) as made:
        yield made


@pytest.fixture
def triton(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """In place of what is done apart: a switch succeeds, unless the list says otherwise."""
    fails: list[Any] = []
    models = folder / "models"

    def do(function: str, *values: Any, nice: int = 0) -> Any:
        if function == api_models._REPORT:
            return REPORT
        if fails:
            raise fails[0]
        _, _, _, _, operation, *given = values
        serve_version(models, given[0] if operation == "switch" else earlier_version(models, "detector") or 0)
        return None

    monkeypatch.setattr(api_models, "apart", do)
    yield fails
    if model_configs.active(models) != 2:
        serve_version(models, 2)


@pytest.mark.parametrize("width", [1280, 390])
def test_versions_stand_with_their_figures_and_their_cameras(
    browser: Any, site: ConsoleSite, width: int
) -> None:
    opened(browser, site, "engineer", "/models", "table.sl", width=width)
    says(browser, "detector: version 2")
    says(browser, "north-gate, car-park")
    says(browser, "mAP 0.412, mAP50 0.610 on 128 pictures")
    says(browser, "serves as detector")
    says(browser, "640 x 384")
    says(browser, "Roll back to version 1")
    assert fits(browser, width)
    shot(browser, f"models-{width}")


def test_a_switch_says_what_becomes_of_running_counts_and_is_done_on_a_second_word(
    browser: Any, site: ConsoleSite, folder: Path, triton: list[Any]
) -> None:
    opened(browser, site, "engineer", "/models", "table.sl")
    press(browser, "Roll back to version 1")
    says(browser, "is to serve version 1 in place of version 2")
    says(browser, "Counts go on.")
    says(browser, "These classes are no longer seen.")
    assert model_configs.active(folder / "models") == 2
    shot(browser, "models-plan")
    press(browser, "Switch", at=-1)
    until(lambda: model_configs.active(folder / "models") == 1, 20)
    says(browser, "detector: version 1")
    entry = site.people.audit()[-1]
    assert (entry.who, entry.action, entry.target, entry.outcome) == (
        "engineer",
        "change_model",
        "detector",
        "done",
    )


def test_a_version_that_lacks_counted_classes_needs_a_word_more(
    browser: Any, site: ConsoleSite, folder: Path, triton: list[Any]
) -> None:
    opened(browser, site, "engineer", "/models", "table.sl")
    press(browser, "Switch …")  # the newest one is chosen
    says(browser, "Cameras count classes that this version lacks.")
    says(browser, "car-park")
    shot(browser, "models-lacking")
    assert [b for b in elements(browser, "button:disabled") if b.text == "Switch"]
    [box] = [item for item in elements(browser, "label") if "Switch all the same" in item.text]
    box.click()
    until(lambda: not [b for b in elements(browser, "button:disabled") if b.text == "Switch"], 20)
    triton.append(AdminError("Triton at 127.0.0.1:8001: the version gives boxes that are none"))
    press(browser, "Switch", at=-1)
    says(browser, "the version gives boxes that are none")
    assert model_configs.active(folder / "models") == 2
    assert site.people.audit()[-1].outcome == "refused"


def test_a_shadows_report_is_made_when_asked_for(browser: Any, site: ConsoleSite, triton: list[Any]) -> None:
    opened(browser, site, "engineer", "/models", "table.sl")
    says(browser, "beside north-gate")
    press(browser, "Make the report")
    says(browser, "Too little has been seen to decide.")
    says(browser, "12 of 50 episodes")
    assert "/secret/" not in browser.page_source
    shot(browser, "models-shadow")


@pytest.mark.parametrize("name", ["viewer", "operator", "guest"])
def test_who_may_not_see_the_configuration_sees_no_versions(
    browser: Any, site: ConsoleSite, name: str
) -> None:
    opened(browser, site, name, "/models")
    says(browser, "not for your role")
    assert "street-2" not in browser.page_source


def test_nobody_who_is_signed_out_is_told_anything(browser: Any, site: ConsoleSite) -> None:
    browser.delete_all_cookies()
    browser.get(f"{site.url}/models")
    until(lambda: "/auth/sign-in" in browser.current_url, 20)
