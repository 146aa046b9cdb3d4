"""The console's logic, through Streamlit's own test harness and without it."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from pyarrow import parquet

from support.console_world import World

pytest.importorskip("streamlit", reason="the console's packages are not installed")

APP = Path(__file__).parents[2] / "streamlit_app" / "pages.py"

import streamlit as st  # noqa: E402
from streamlit.testing.v1 import AppTest  # noqa: E402
from streamlit.util import calc_hash  # noqa: E402

from console import charts, grid, happenings, session, stage_times, texts, theme  # noqa: E402
from console.api import Api, ApiRefused, SupervisorAway  # noqa: E402
from console.charts import Bars  # noqa: E402
from console.console_options import console_options  # noqa: E402
from console.count_figures import (  # noqa: E402
    CountChoice,
    read_figures,
    read_rows,
    read_series,
    read_week_before,
)
from console.grid import Cover  # noqa: E402
from console.pages import counts_page as counts  # noqa: E402
from console.pages import events_page as events  # noqa: E402
from console.pages import health_page as health  # noqa: E402
from console.pages import overview_page as overview  # noqa: E402
from console.pages import people_page  # noqa: E402
from console.viewer import Viewer  # noqa: E402
from sightline.access.rights import How, Person  # noqa: E402
from sightline.config.recording_options import RecordingOptions  # noqa: E402
from sightline.entities import SERVER_STAGES, STAGES, Role  # noqa: E402
from sightline.store import migrations, rollups  # noqa: E402
from sightline.store.read.coverage import KnownTime  # noqa: E402
from sightline.store.read.event_search import EventSearch  # noqa: E402
from sightline.store.read.history import HeatCell  # noqa: E402
from sightline.store.read.queries import Watched, read_cameras  # noqa: E402
from sightline.store.read.readonly import Condition, Database, DatabaseState  # noqa: E402
from sightline.store.read.spans import Span  # noqa: E402
from sightline.store.spooled_store import WriterHealth  # noqa: E402
from sightline.store.tables import EventRow  # noqa: E402
from sightline.supervisor.http.visitors import ANYBODY  # noqa: E402
from sightline.supervisor.sinks import SinkHealth  # noqa: E402
from sightline.supervisor.sinks.clip_retention import UPLOADS, ClipRetention  # noqa: E402
from sightline.supervisor.sinks.clip_sweep import ClipSweep  # noqa: E402

T0 = datetime(2026, 11, 20, 12, 0, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")
ASKED = Api.person  # of the supervisor


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """The harness puts the app in the place of ``__main__``; processes started later would run it again."""
    ours = sys.modules["__main__"]
    st.cache_data.clear()  # figures of another test's database
    yield
    sys.modules["__main__"] = ours


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Person | None], None]:
    """Says who looks: an admin, until it says otherwise."""

    def say(person: Person | None) -> None:
        monkeypatch.setattr(Api, "person", lambda _: person)

    say(ANYBODY)
    return say


def person(role: Role = Role.VIEWER, *cameras: str) -> Person:
    return Person("anna", role, frozenset(cameras), How.PASSWORD)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/console.db"


@pytest.fixture
def world(url: str) -> World:
    now = time.time()
    made = World(url)
    made.camera("gate", now)
    made.camera("yard", now, state="offline", message="no answer from rtsp://admin:hunter2@10.0.0.9 for 42 s")
    made.camera("<b>roof</b>", now - 60)
    first = now // 60 * 60 - 600
    for minute in range(11):
        share = min(1.0, (now - first - 60 * minute) / 60)
        seen = {"person": 1} if minute < 5 else {}
        made.window("gate", first + 60 * minute, share, person=5, car=2)
        made.window("yard", first + 60 * minute, share if minute < 5 else 0.0, **seen)
    return made


@pytest.fixture
def open_app(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    def start(page: str = "overview", database: str = url) -> AppTest:
        monkeypatch.setenv("SIGHTLINE_DATABASE_URL", database)
        app = AppTest.from_file(str(APP), default_timeout=60)
        app.run()
        if page:
            app._page_hash = calc_hash(page)  # switch_page knows files only
            app.run()
        assert not app.exception, app.exception
        return app

    return start


def html(app: AppTest) -> str:
    return "\n".join(str(element.proto.body) for element in app.get("html"))


def charts_of(app: AppTest) -> list[Any]:
    """The charts on a page."""
    return [
        part for part in app.get("bidi_component") if part.proto.component_name.endswith("sightline_chart")
    ]


# Who looks


def test_nobody_gets_anything_but_the_way_to_the_sign_in(
    world: World, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    must_change = replace(person(Role.ADMIN), cameras=None, must_change=True)
    for nobody in (None, must_change):
        looks(nobody)
        for page in ("", "overview", "counts", "events", "health", "models"):
            text = html(open_app(page))
            assert "/auth/sign-in?ended=1&next=" in text
            assert "gate" not in text
            assert "SQLite" not in text


@pytest.mark.parametrize("page", ["overview", "counts", "events"])
def test_a_page_tells_of_the_viewers_cameras_alone(
    world: World, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None], page: str
) -> None:
    world.program("all", time.time())
    for source in ("gate", "yard", ""):
        world.event(source, "crossing", "door", time.time() - 60, direction="forward")
    looks(person(Role.ENGINEER, "gate"))
    app = open_app(page)
    shown = html(app) + "".join(str(item.value) for item in app.dataframe)
    options = [option for choice in app.multiselect for option in choice.options]
    assert "gate" in shown
    assert "yard" not in shown
    assert "yard" not in options
    assert "Sightline" not in options
    assert "mill" not in shown, "the program is not one of the viewer's cameras"


def test_a_viewer_of_no_camera_sees_none(
    world: World, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    looks(person(Role.VIEWER))
    assert "None of your cameras is running" in html(open_app())


def test_engineers_words_are_for_engineers_until_somebody_asks_for_them(
    world: World, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    looks(person(Role.OPERATOR, "gate"))
    app = open_app()
    words = ("p99", "Model", "Via", "Drops")
    assert [word for word in words if word in html(app)] == []
    app.toggle(key="engineer").set_value(True).run()
    assert [word for word in words if word in html(app)] == list(words)


def test_a_page_ends_with_the_sign_in_also_while_it_is_open(
    world: World, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    looks(person(Role.OPERATOR, "gate"))
    app = open_app("counts")
    looks(None)
    app.multiselect(key="counts_cameras").select("gate").run()
    assert "/auth/sign-in?ended=1&next=" in html(app)
    assert "gate" not in html(app)


def test_a_file_is_made_for_those_who_are_still_here_alone(looks: Callable[[Person | None], None]) -> None:
    asked = Api(console_options().supervisor, "", "", secure=False)
    viewer = Viewer(person(Role.VIEWER, "gate"), asked, cast(Database, None), BERLIN, None)
    looks(viewer.person)
    assert theme._made_for(viewer, str.encode, "CSV") == b"CSV"
    for other in (None, person(Role.VIEWER, "yard")):
        looks(other)
        with pytest.raises(PermissionError):
            theme._made_for(viewer, str.encode, "CSV")


@pytest.mark.parametrize(
    "text",
    ["![](http://h/p.png)", "[in](http://h)", ":red[x]", "$x$", "<img src=x>", "`x`", "a_b*c~d", "x\\[y]"],
)
def test_what_others_have_written_is_no_markdown(text: str) -> None:
    shown = texts.plain(text)
    assert all(shown[at - 1] == "\\" for at, mark in enumerate(shown) if mark in "![<`$:_*~")
    assert re.sub(r"\\(.)", r"\1", shown) == text


def test_what_others_have_written_neither_turns_nor_steers_what_is_shown() -> None:
    """What is in the database already, by whatever way it came there."""
    for shown in (texts.safe("a\u202egnp.b\x1b[2J"), texts.plain("a\u202egnp.b\x1b[2J").replace("\\", "")):
        assert shown == "agnp.b[2J"


def test_labels_and_messages_are_markdown_and_not_html() -> None:
    """An image or a link in somebody's name was loaded and shown where an admin read of them."""
    takes = r"\.(?:markdown|caption|info|warning|error|success|toast|button|popover|expander)\("
    for path in APP.parent.rglob("*.py"):
        found = re.findall(rf"(?<!theme){takes}[^\n]*\bsafe\(", path.read_text())
        assert not found, (path.name, found)


def test_the_name_of_whoever_looks_loads_nothing(
    world: World, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    name = "![x](http://h/p.png)"
    looks(replace(person(Role.VIEWER, "gate"), name=name))
    labels = [block.proto.popover.label for block in open_app().get("popover")]
    assert texts.plain(name) in labels, labels


def test_while_the_supervisor_is_away_no_page_is_shown(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: Api) -> None:
        raise SupervisorAway("http://127.0.0.1:8080 does not answer (refused)")

    monkeypatch.setattr(Api, "person", away)
    text = html(open_app())
    assert "Sightline does not answer." in text
    assert "gate" not in text


def test_while_nobody_can_tell_who_looks_the_database_is_named_and_not_sightline(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ApiRefused(503, "the database does not answer; try again")

    monkeypatch.setattr(Api, "person", ASKED)
    monkeypatch.setattr(Api, "ask", refuse)
    text = html(open_app())
    assert texts.DATABASE_AWAY in text
    assert "sightline run" not in text


def test_a_database_that_went_away_is_told_on_every_page_and_what_was_typed_stays(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise ApiRefused(503, "the database does not answer; try again")

    world.alert("11", "gate", time.time() - 60, rule="night")
    condition = Condition(DatabaseState.UNREACHABLE, "refused")
    told = [f"{texts.NO_NEWS} {condition.problem} {condition.remedy}"]
    app = open_app("review")
    assert not app.warning
    with monkeypatch.context() as patch:
        app.text_input[0].input("a fox")
        patch.setattr(Api, "post", away)
        next(button for button in app.button if button.label == "Add").click().run()
        patch.setattr(Database, "condition", lambda _: condition)
        app.run()
        assert [warning.value for warning in app.warning] == told
        assert not app.text_input
        monkeypatch.setattr(Api, "get", away)
        people = open_app("people")  # asks the API alone
        assert [warning.value for warning in people.warning] == told
    app.run()
    assert not app.warning
    assert app.text_input[0].value == "a fox"


def test_the_alert_that_is_shown_stays_and_keys_are_its_own(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is pressed before another one is drawn must not be done to that one."""
    told: list[str] = []
    world.alert("11", "gate", time.time() - 60, rule="night")
    app = open_app("review")
    button = next(button for button in app.button if button.label == "Acknowledge")
    world.alert("12", "yard", time.time() - 1, rule="day")
    app.run()
    assert [own.key for own in app.button if own.label == "Acknowledge"] == [button.key]
    monkeypatch.setattr(Api, "post", lambda _, path, given: told.append(path))
    monkeypatch.setattr(st, "rerun", lambda **_: None)  # the harness runs whole pages only
    button.click().run()
    assert told == ["/api/v1/alerts/11"]
    app.query_params["alert"] = "12"
    app.run()
    assert button.key not in [own.key for own in app.button if own.label == "Acknowledge"]


def test_a_comment_stays_in_its_field_until_it_is_kept(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, str]] = []

    def away(*_: object) -> None:
        raise SupervisorAway("http://127.0.0.1:8080 does not answer (refused)")

    world.alert("11", "gate", time.time() - 60, rule="night")
    app = open_app("review")
    app.text_input[0].input("a fox")
    monkeypatch.setattr(Api, "post", away)
    next(button for button in app.button if button.label == "Add").click().run()
    assert "does not answer" in "".join(str(error.value) for error in app.error)
    assert app.text_input[0].value == "a fox"
    monkeypatch.setattr(Api, "post", lambda _, path, given: kept.append(given))
    monkeypatch.setattr(st, "rerun", lambda **_: None)  # the harness runs whole pages only
    next(button for button in app.button if button.label == "Add").click().run()
    app.run()
    assert kept == [{"comment": "a fox"}]
    assert app.text_input[0].value == ""


def test_signing_out_leads_to_the_sign_in(
    world: World,
    open_app: Callable[..., AppTest],
    looks: Callable[[Person | None], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks(person(Role.VIEWER, "gate"))
    monkeypatch.setattr(Api, "sign_out", lambda _: looks(None))
    app = open_app()
    app.button(key="sign_out").click().run()
    assert "/auth/sign-in?ended=1&next=" in html(app)


# Overview


def test_overview_shows_trouble_first_and_no_secret(world: World, open_app: Callable[..., AppTest]) -> None:
    text = html(open_app())
    body = text[text.index("<tbody>") :]
    assert body.index("roof") < body.index("yard") < body.index("gate")
    assert "no heartbeat" in body
    assert "hunter2" not in text
    assert "<b>roof" not in text
    assert "1 <small>of 3</small>" in text


def test_overview_says_once_what_holds_cameras_back(url: str, open_app: Callable[..., AppTest]) -> None:
    world, now = World(url), time.time()
    overload = "overload: 2 of 3 cameras analyse 2.1 of 5.0 frames/s; the detector <m> takes 180 ms"
    for name, at, said in (("gate", now - 1, overload.replace("2.1", "1.9")), ("yard", now, overload)):
        world.camera(name, at, message="too slow", warnings=["too slow"], notices=[said])
    world.camera("roof", now - 60, notices=["waiting for Triton at h:1"])
    text = html(open_app())
    assert "cameras analyse 1.9" not in text, "the camera that was written last knows it best"
    assert text.count("2 of 3 cameras analyse 2.1 of 5.0 frames/s; the detector &lt;m&gt; takes 180 ms") == 1
    assert "waiting for Triton" not in text, "said by a program that is silent"
    assert text.count("too slow") == 2


def test_an_operator_is_told_what_it_means_and_not_why(
    url: str, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    world, now = World(url), time.time()
    for name in ("gate", "yard"):
        world.camera(name, now, notices=["overload: the detector takes 180 ms"])
    world.camera("roof", now, notices=["waiting for Triton at h:1"], detector_message="refused")
    looks(Person("olga", Role.OPERATOR, None, How.PASSWORD))
    text = html(open_app())
    assert texts.CANNOT_COUNT.format("1 of 3 cameras") in text
    assert texts.HELD_BACK.format("2 of 3 cameras") in text
    assert "overload" not in text
    assert "Triton" not in text


@pytest.mark.parametrize(
    ("age", "held", "words"),
    [
        (0, True, "Owner: sightline on mill (process 7, since 2026-11-20 08:00:00 UTC)"),
        (60, True, "No program owns the database; the last was sightline on mill (process 7"),
        (0, False, "No program owns the database; the last was sightline on mill (process 7"),
    ],
)
def test_overview_names_the_owner_and_its_stand_by(
    world: World, open_app: Callable[..., AppTest], age: float, held: bool, words: str
) -> None:
    world.program("all", time.time() - age, held=held)
    world.program("stand-by loft 9", time.time(), held=False, host="loft", pid=9)
    world.program("stand-by attic 3", time.time() - 60, held=False, host="attic", pid=3)
    text = html(open_app())
    assert words in text
    assert "Stand-by: sightline on loft (process 9" in text
    assert "attic" not in text


def test_overview_without_cameras(url: str, open_app: Callable[..., AppTest]) -> None:
    World(url)
    assert "There is no camera yet" in html(open_app())


def test_tiles_and_last_hour_are_of_one_moment(world: World, open_app: Callable[..., AppTest]) -> None:
    def figures() -> tuple[int, int]:
        text = html(open_app())
        tile, legend = (
            re.search(pattern, text) for pattern in (r"Person today</div>.*?>(\d+)<", r"person <b>(\d+)<")
        )
        assert tile and legend
        return int(tile[1]), int(legend[1])

    overview.read_totals.clear()  # type: ignore[attr-defined]
    before = figures()
    world.window("yard", time.time() // 60 * 60, 1.0, person=9)
    after = figures()
    assert after[1] - after[0] == before[1] - before[0]  # 0 unless it is just after midnight


@pytest.mark.parametrize(
    ("zone", "today"), [("UTC", 4), ("Europe/Berlin", 6), ("America/New_York", 14), ("Asia/Kolkata", 14)]
)
def test_today_begins_at_the_viewers_midnight(
    url: str, monkeypatch: pytest.MonkeyPatch, zone: str, today: int
) -> None:
    made, noon = World(url), T0 - 86_400
    made.camera("gate", noon)
    for hour, count in ((6.5, 8), (11.5, 2), (12.5, 4)):  # UTC: 18:30, 23:30, 0:30
        made.window("gate", noon + 3600 * hour, 1.0, person=count)
    with made.engine.begin() as connection:
        rollups.roll_up(connection, 1000)
    monkeypatch.setattr(overview, "now", lambda: noon + 3600 * 13)  # 1:00
    overview.read_totals.clear()  # type: ignore[attr-defined]
    with closing(Database(url)) as database:
        totals = overview.read_totals(database, zone, 60, ("gate",), None)
    assert totals.by_class == {"person": today}


def report(state: str = "online", age: float = 0.0, **status: Any) -> Any:
    from sightline.entities import CameraState, CameraStatus

    return CameraStatus("gate", CameraState(state), "", T0 - age, **status)


def test_a_misconfigured_camera_keeps_its_cause_and_one_with_warnings_is_not_green() -> None:
    [wrong] = overview.camera_rows([replace(report("misconfigured", 500), message="key 'url': bad")], {}, T0)
    assert (wrong.word, wrong.message) == ("misconfigured", "key 'url': bad")
    [odd] = overview.camera_rows([report(warnings=("no class 'Person'",))], {}, T0)
    assert (odd.tone, odd.is_live) == ("warn", True)


def test_a_stale_heartbeat_overrules_the_row() -> None:
    [line] = overview.camera_rows([report("online", 11)], {}, T0)
    assert (line.word, line.tone) == ("no heartbeat", "bad")
    [line] = overview.camera_rows([report("online", 9)], {}, T0)
    assert (line.word, line.tone) == ("online", "good")
    [line] = overview.camera_rows([report("stopped", 99)], {}, T0)
    assert line.word == "stopped"


@pytest.mark.parametrize(
    ("watched_s", "passed_s", "expected"),
    [(15, 15, 1.0), (12, 15, 1.0), (15, 35, 0.5), (1, 3, 1.0), (0, 3, None), (0, 10, 0.0)],
)
def test_coverage_of_the_open_window_is_of_its_past(
    watched_s: float, passed_s: float, expected: float | None
) -> None:
    from sightline.entities import SourceWindow

    window = SourceWindow("gate", T0 - passed_s, T0 - passed_s + 60, watched_s / 60, 10, 0, "pts", "", "")
    [line] = overview.camera_rows([report()], {"gate": window}, T0)
    assert line.coverage == pytest.approx(expected)
    [line] = overview.camera_rows(
        [report("stopped", 11)], {"gate": replace(window, window_start=T0 - 30)}, T0
    )
    assert (line.word, line.coverage) == ("stopped", None)  # nobody watches what has passed since


# Gaps are not zeros


def rows(*seconds: float, source: str = "gate") -> list[Watched]:
    return [Watched(source, T0 + 60 * i, value, 0, 60.0) for i, value in enumerate(seconds) if value >= 0]


def known(until: float, *sources: str) -> dict[str, KnownTime]:
    return dict.fromkeys(sources or ("gate",), KnownTime(T0, until))


def test_buckets_tell_watched_partly_and_not() -> None:
    span = Span.over(T0, T0 + 300, 60)
    found = grid.cover_buckets(span, rows(60, 30, 0, -1, 60), ["gate"], known(T0 + 1000), T0 + 1000)
    assert [bucket.cover for bucket in found] == [
        Cover.WATCHED,
        Cover.PARTLY,
        Cover.NOT,  # stored as not watched
        Cover.NOT,  # not stored at all
        Cover.WATCHED,
    ]
    assert grid.uncovered_s(found) == 150
    assert grid.runs(found)[2] == (T0 + 120, T0 + 240, Cover.NOT)


def test_two_cameras_of_which_one_looked() -> None:
    span = Span.over(T0, T0 + 60, 60)
    both = known(T0 + 1000, "gate", "yard")
    [bucket] = grid.cover_buckets(span, rows(60), ["gate", "yard"], both, T0 + 1000)
    assert (bucket.cover, bucket.coverage) == (Cover.PARTLY, 0.5)


def test_the_open_bucket_is_judged_by_what_has_passed() -> None:
    span = Span.over(T0, T0 + 120, 60)
    now = T0 + 80
    found = grid.cover_buckets(span, rows(60, 18), ["gate"], known(now - 2), now)
    assert [bucket.cover for bucket in found] == [Cover.WATCHED, Cover.WATCHED]
    assert found[1].end == now
    found = grid.cover_buckets(span, rows(60, 2), ["gate"], known(now - 2), now)
    assert found[1].cover is Cover.PARTLY
    found = grid.cover_buckets(span, rows(60), ["gate"], known(T0 + 60), T0 + 61)
    assert found[1].cover is Cover.FUTURE  # nothing can have been written yet
    found = grid.cover_buckets(span, rows(60), ["gate"], known(T0 + 59), T0 + 59)
    assert found[1].cover is Cover.FUTURE


def with_table(app: AppTest, key: str) -> AppTest:
    """With a chart's table opened."""
    app.session_state[f"table_{key}"] = True
    return app.run()


@pytest.mark.parametrize("page", ["counts", "overview"])
def test_a_gap_of_each_camera_is_told_alike_by_tile_legend_and_table(
    url: str, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    """Four cameras that lack 4 s each, in a window that has long been over: 16 of 240 camera seconds."""
    made, names = World(url), ("dock", "gate", "roof", "yard")
    for module in (overview, counts, session):
        monkeypatch.setattr(module, "now", lambda: T0 + 90)
    for name in names:
        made.camera(name, T0 + 90)
        made.window(name, T0, 56 / 60, person=1)
        made.window(name, T0 + 60, 27 / 60)  # of the open one the last seconds are not written yet
    overview.read_totals.clear()  # type: ignore[attr-defined]
    text = html(open_app(page))
    assert "5 % of all cameras' time not watched" in text
    if page == "overview":
        assert re.search(r"Not watched today</div>.*?>16 s<.*?>5 % of all cameras' time<", text)
        assert "all of it" not in text
    else:
        assert re.search(r"Watched</div>.*?>95 %<.*?>16 s not watched: there may have been more<", text)
        assert "all of it was watched" not in text
        text = html(with_table(open_app("counts"), "coverage"))
        rows = re.findall(r"<td[^>]*>(?:dock|gate|roof|yard)</td><td[^>]*>(.*?)</td><td[^>]*>(.*?)<", text)
        assert rows == [("95 %", "4 s")] * 4


def test_what_is_not_written_yet_is_no_gap_on_any_page(
    url: str, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = World(url)
    for module in (overview, counts, session):
        monkeypatch.setattr(module, "now", lambda: T0 + 90)
    made.camera("gate", T0 + 90)
    made.window("gate", T0, 1.0, person=1)
    made.window("gate", T0 + 60, 27 / 60)
    overview.read_totals.clear()  # type: ignore[attr-defined]
    for page in ("counts", "overview"):
        assert "0 % of all cameras' time not watched" in html(open_app(page))
    assert re.search(r"Not watched today</div>.*?>0 s<", html(open_app("overview")))
    text = html(open_app("counts"))
    assert re.search(r"Watched</div>.*?>100 %<.*?>all of it was watched<", text)
    choice = chosen(Span.over(T0, T0 + 120, 60), "gate")
    with Database(url).reading() as connection:
        assert [row["coverage"] for row in read_rows(connection, choice, T0 + 90)] == [1.0, 1.0]


def boxes_of(chart: charts.Chart, look: str, colour: str) -> list[charts.Box]:
    """What is drawn with a look."""
    shapes = [shape for shape in chart.shapes if (shape.look, shape.colour) == (look, colour)]
    return [box for shape in shapes for box in shape.boxes]


def test_each_bar_is_told_in_words() -> None:
    span = Span.over(T0, T0 + 120, 60)
    buckets = grid.cover_buckets(span, rows(60, 0), ["gate"], known(T0 + 1000), T0 + 1000)
    before = {T0: 5}
    bars = Bars(span, BERLIN, buckets, {T0: {"car": 3}}, {"car": "#123456"}, before, [(T0 + 60, "m2: gate")])
    cells = [HeatCell(0, 9, 12, 4.0), HeatCell(0, 10, 0, 0.0)]
    drawn = charts.count_chart(bars), charts.heat_chart(cells)
    told = ["; ".join(map(": ".join, spot.told.items())) for chart in drawn for spot in chart.spots]
    assert told == [
        "time: 20 Nov 13:00 to 20 Nov 13:01; counts: car 3; watched: watched, 100 %; a week before: 5",
        "time: 20 Nov 13:01 to 20 Nov 13:02; counts: unknown: not watched; watched: not watched, 0 %; "
        "a week before: not known; changed: m2: gate",
        "time: Monday 09:00 to 10:00; objects an hour: 3.0; counted: 12 in 4.0 h",
        "time: Monday 10:00 to 11:00; objects an hour: unknown: not watched",
    ]
    assert drawn[0].spots[0].utc == "20 Nov 12:00 to 20 Nov 12:01"


def test_a_gap_is_hatched_and_a_zero_is_a_line() -> None:
    span = Span.over(T0, T0 + 240, 60)
    buckets = grid.cover_buckets(span, rows(60, 60, 0, 30), ["gate"], known(T0 + 1000), T0 + 1000)
    bars = Bars(span, BERLIN, buckets, {T0: {"car": 3}}, {"car": "#123456"}, marks=[(T0 + 60, "m2: gate")])
    chart = charts.count_chart(bars)
    limit = chart.y.ends[1]
    assert boxes_of(chart, "fill", "#123456") == [(pytest.approx(T0 + 4.8), pytest.approx(T0 + 55.2), 0, 3)]
    assert boxes_of(chart, "hatch", charts.HATCH) == [(T0 + 120, T0 + 180, 0, limit)]
    assert boxes_of(chart, "fill", charts.PART) == [(T0 + 180, T0 + 240, 0, limit)]
    assert boxes_of(chart, "line", charts.ZERO) == [(T0, T0 + 120, 0, 0)], "none where nobody looked"
    assert boxes_of(chart, "line", charts.PART) == [(T0 + 180, T0 + 240, 0, 0)]
    assert boxes_of(chart, "line", charts.MARK) == [(T0 + 60, T0 + 60, 0, limit)]
    assert [spot.told["counts"] for spot in chart.spots] == ["car 3", "0", "unknown: not watched", "0"]


def test_bars_stand_on_each_other_and_the_week_before_is_dashed() -> None:
    span = Span.over(T0, T0 + 120, 60)
    buckets = grid.cover_buckets(span, rows(60, 60), ["gate"], known(T0 + 1000), T0 + 1000)
    counts = {T0: {"car": 3, "bus": 2}, T0 + 60: {"bus": None}}
    bars = Bars(span, BERLIN, buckets, counts, {"car": "#111111", "bus": "#222222"}, {T0: 9, T0 + 900: 4})
    chart = charts.count_chart(bars)
    assert [box[2:] for box in boxes_of(chart, "fill", "#111111")] == [(0, 3)]
    assert [box[2:] for box in boxes_of(chart, "fill", "#222222")] == [(3, 5)]
    assert boxes_of(chart, "dashed", charts.BEFORE) == [(T0, T0 + 60, 9, 9)]
    assert chart.y.ends == (0, pytest.approx(9.72))
    assert chart.y.ticks == [(0, "0"), (2, "2"), (4, "4"), (6, "6"), (8, "8")]


@pytest.mark.parametrize(
    ("limit", "labels"),
    [
        (1.0, ["0", "1"]),
        (12, ["0", "5", "10"]),
        (5.9, ["0", "1", "2", "3", "4", "5"]),
        (59_000, ["0", "10k", "20k", "30k", "40k", "50k"]),
        (12.5e6, ["0", "5M", "10M"]),
    ],
)
def test_numbers_of_an_axis_are_round(limit: float, labels: list[str]) -> None:
    assert [label for _, label in charts.number_ticks(limit)] == labels


def test_an_empty_chart_can_be_drawn() -> None:
    span = Span.over(T0, T0 + 240, 60)
    buckets = grid.cover_buckets(span, rows(60, 60, 60, 60), ["gate"], known(T0 + 1000), T0 + 1000)
    [zero] = charts.count_chart(Bars(span, BERLIN, buckets, {}, {})).data()["shapes"]
    assert (zero["look"], zero["boxes"]) == ("line", [(T0, T0 + 240, 0, 0)])
    chart = charts.coverage_chart({"gate": buckets}, span, BERLIN)
    assert [spot.told["cover"] for spot in chart.spots] == ["watched"]
    assert boxes_of(chart, "hatch", charts.HATCH) == []


def test_time_labels_are_the_zones() -> None:
    ticks = charts.time_ticks(Span.over(T0, T0 + 3600, 60, BERLIN), BERLIN)
    assert next(iter(ticks.values())) == "13:00"
    days = charts.time_ticks(Span.over(T0, T0 + 30 * 86400, 86400, BERLIN), BERLIN)
    assert "23 Nov" in days.values()
    assert len(days) <= 13


# Ranges


def test_resolutions_are_never_finer_than_windows_nor_too_many() -> None:
    assert grid.steps_for(3600, 60) == [60, 300, 900, 3600]
    assert grid.steps_for(900, 900) == [900]
    assert grid.steps_for(86400, 900) == [900, 3600, 86400]
    assert grid.steps_for(400 * 86400, 60) == [86400, 604800]
    assert grid.default_step(86400, grid.steps_for(86400, 60)) == 3600
    assert grid.default_step(6 * 3600, grid.steps_for(6 * 3600, 10)) == 300


def test_custom_ranges_are_in_the_viewers_zone() -> None:
    day = date(2026, 11, 20)
    found = grid.custom_range(day, clock_time(13, 0), day, clock_time(14, 0), BERLIN)
    assert found == (T0, T0 + 3600)
    assert "after it starts" in str(grid.custom_range(day, clock_time(1), day, clock_time(1), BERLIN))
    later = date(2029, 1, 1)
    assert "at most" in str(grid.custom_range(day, clock_time(1), later, clock_time(1), BERLIN))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.996, "99.6 %"), (0.9999, "99.9 %"), (1.0, "100 %")],
)
def test_percent_never_rounds_up_to_all(value: float, text: str) -> None:
    assert texts.percent(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "never"), (0.44, "0.4 s"), (59, "59 s"), (7380, "2 h 3 min"), (90000, "1 d 1 h")],
)
def test_ages(seconds: float | None, text: str) -> None:
    assert texts.age(seconds) == text


# Counts page


def test_counts_filters_survive_a_refresh(world: World, open_app: Callable[..., AppTest]) -> None:
    app = open_app("counts")
    assert "person <b>60" in html(app)
    app.multiselect(key="counts_cameras").select("gate").run()
    app.multiselect(key="counts_classes").select("car").run()
    text = html(app)
    assert "car <b>22" in text
    assert "person <b>" not in text
    app.run()  # a refresh
    assert app.multiselect(key="counts_cameras").value == ["gate"]
    assert "person <b>" not in html(app)
    assert len(charts_of(app)) == 2


def test_counts_shapes(world: World, open_app: Callable[..., AppTest]) -> None:
    app = open_app("counts")
    app.segmented_control(key="counts_by").set_value("Camera").run()
    assert "gate <b>77" in html(app)
    for by in ("Zone", "Line", "Direction"):
        app.segmented_control(key="counts_by").set_value(by).run()
        assert not app.exception
    app.segmented_control(key="counts_by").set_value("Camera").run()
    app.segmented_control(key="counts_shape").set_value("Each camera").run()
    assert len(charts_of(app)) == 3
    app.segmented_control(key="counts_shape").set_value("Table").run()
    assert list(app.dataframe[0].value.columns)[:3] == ["window_start", "window_end", "source"]
    app.segmented_control(key="counts_range").set_value("Custom").run()
    app.date_input(key="counts_from_day").set_value(date(2030, 1, 1)).run()
    assert "after it starts" in app.warning[0].value
    app.date_input(key="counts_from_day").set_value(date(2026, 1, 1))
    app.date_input(key="counts_to_day").set_value(date(2026, 1, 31)).run()
    assert not app.exception
    assert not app.exception


@pytest.mark.parametrize("step_s", [60, 300])
def test_files_have_a_line_for_what_was_watched_and_for_what_was_not(
    world: World, url: str, step_s: int
) -> None:
    now = time.time()
    choice = chosen(Span.over(now - 900, now, step_s), "gate", "yard")
    found = list(csv.DictReader(io.StringIO(counts.make_file(Database(url), choice, "CSV").decode())))
    assert [*found[0]] == [
        *("source", "item_class", "count", "window_start", "window_end", "arrivals", "coverage")
    ]
    assert all(row["window_start"].endswith("+00:00") for row in found)
    assert sum(int(row["count"] or 0) for row in found if row["item_class"] == "person") == 60
    not_watched = [row for row in found if float(row["coverage"]) == 0]
    assert not_watched
    assert all(row["count"] == "" for row in not_watched)


def chosen(span: Span, *sources: str, by: str = "Class") -> CountChoice:
    return CountChoice(None, span, sources, (), by)


@pytest.mark.parametrize("step_s", [60, 300])
def test_a_class_that_the_model_lacks_was_not_seen_and_is_no_zero(
    url: str, open_app: Callable[..., AppTest], step_s: int
) -> None:
    made, now = World(url), time.time()
    made.camera("dock", now)
    start = now // 300 * 300 - 300
    for minute in range(5):
        counted = {"person": 2} if minute == 1 else {}
        made.window("dock", start + 60 * minute, 1.0, seen={"forklift": 0.0}, forklift=0, **counted)
    choice = chosen(Span.over(start, start + 300, step_s), "dock")
    found = list(csv.DictReader(io.StringIO(counts.make_file(Database(url), choice, "CSV").decode())))
    shown = {(row["item_class"], row["count"], row["arrivals"], float(row["coverage"])) for row in found}
    others = {("", "0", "0", 1.0)} if step_s == 60 else set()
    assert shown == {("forklift", "", "", 0.0), ("person", "2", "2", 1.0), *others}
    app = open_app("counts")
    assert any(texts.plain("forklift (dock)") in caption.value for caption in app.caption)
    assert "forklift <b>" not in html(app)


def test_lines_and_zones_are_told_of_where_there_are_any(
    world: World, open_app: Callable[..., AppTest]
) -> None:
    now = time.time()
    assert "Lines and zones" not in html(open_app())
    world.camera("gate", now + 60, lines=["door", "ramp"], occupancy={"yard": 3})  # drawing takes its time
    world.camera("<b>roof</b>", now - 60, occupancy={"deck": 2})
    for direction in ("forward", "forward", "forward", "backward"):
        world.event("gate", "crossing", "door", now - 5, direction=direction)
    overview.read_totals.clear()  # type: ignore[attr-defined]
    for page in ("overview", "counts"):
        text = html(open_app(page))
        start = text.index("Lines and zones")
        cells = re.findall(r"<td[^>]*>(.*?)</td>", text[start : text.index("</table>", start)])
        assert [cells[i : i + 6] for i in range(0, len(cells), 6)] == [
            ["gate", "door", "3", "1", "+2", ""],
            ["gate", "ramp", "0", "0", "0", ""],
            ["&lt;b&gt;roof&lt;/b&gt;", "deck", "", "", "", "unknown"],  # it is not heard of
            ["gate", "yard", "", "", "", "3"],
        ]


def test_many_lines_and_zones_are_shown_once_they_are_asked_for(
    world: World, open_app: Callable[..., AppTest]
) -> None:
    world.camera("gate", time.time(), lines=[f"line {number}" for number in range(theme.MAX_PLACES + 1)])
    overview.read_totals.clear()  # type: ignore[attr-defined]
    app = open_app()
    assert f"Lines and zones: {theme.MAX_PLACES + 1}" in [expander.label for expander in app.expander]
    assert "line 3" not in html(app)
    app.session_state["places"] = True
    assert "line 3" in html(app.run())


def test_an_hour_of_a_camera_is_one_shape_for_each_kind() -> None:
    span = Span.over(T0, T0 + 240, 60)
    buckets = grid.cover_buckets(span, rows(60, 0, 30, 60), ["gate"], known(T0 + 1000), T0 + 1000)
    drawn = overview._spark(buckets, {T0: 4, T0 + 180: 2}, span)
    shapes = dict(re.findall(r'<i class="(.*?)" style="clip-path:polygon\((.*?)\)"></i>', drawn))
    assert {kind: shape.count("%,") // 4 + 1 for kind, shape in shapes.items()} == {
        **{"zero": 2, "sl-hatch": 1, "part": 1},
        "bars": 2,
    }
    assert shapes["sl-hatch"] == "25.0% 100%,25.0% 0%,50.0% 0%,50.0% 100%"
    assert shapes["bars"].startswith("0.0% 100%,0.0% 8%,21.0% 8%,21.0% 100%,75.0% 100%,75.0% 54%")


def test_what_an_earlier_release_wrote_is_unknown_and_an_object_in_two_bars_is_one(
    url: str, open_app: Callable[..., AppTest]
) -> None:
    made, now = World(url), time.time()
    made.camera("gate", now)
    minutes = [now // 60 * 60 - 60 * back for back in (4, 3, 2)]
    for number, start in enumerate(minutes):
        made.window("gate", start, 1.0, person=6, arrivals=6 if number == 0 else 1)
    assert "person <b>8" in html(open_app("counts"))
    made.window("gate", now // 60 * 60 - 60, 1.0, person=7, arrivals=None)
    st.cache_data.clear()
    assert "person <b>unknown" in html(open_app("counts"))
    choice = chosen(Span.over(minutes[0], now, 60), "gate")
    found = list(csv.DictReader(io.StringIO(counts.make_file(Database(url), choice, "CSV").decode())))
    shown = [(row["count"], row["arrivals"]) for row in found if row["item_class"]]
    assert shown == [("6", "6"), ("6", "1"), ("6", "1"), ("7", "")]


# Health page: the rest of it is in test_health_page_browser.py


@pytest.fixture
def told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program tells of the cameras that the database has."""

    def get(_: Api, path: str) -> Any:
        assert path == "/api/v1/status"
        with closing(Database(url)) as database, database.reading() as connection:
            cameras = [asdict(status) for status in read_cameras(connection, None)]
        return {"cameras": cameras, "limits": [], "troubles": []}

    monkeypatch.setattr(Api, "get", get)


def test_stage_times_stand_beside_their_budgets(
    world: World, told: None, open_app: Callable[..., AppTest]
) -> None:
    slow = {stage: {"mean": 1.0, "p50": 1.0, "p99": 2.0} for stage in STAGES}
    world.camera("slow", time.time(), stages_ms=slow | {"infer": {"mean": 40.0, "p50": 40.0, "p99": 930.0}})
    app = open_app("health")
    text = html(app)
    assert "queue wait" in text
    assert re.search(r'data-h="infer"><b class="bad">930<', text)  # over its budget
    assert re.search(r'<td [^>]*class="num heat" data-h="infer">54<', text)  # within
    assert re.search(r'data-h="infer">250<', text)
    assert re.search(r'data-h="wait for packet">' + texts.DASH, text)  # a wait has no budget
    app.segmented_control(key="health_figure").set_value("mean").run()
    assert ">27<" in html(app)


def test_what_does_not_answer_is_said(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def get(*_: Any) -> Any:
        raise SupervisorAway("http://127.0.0.1:8080 does not answer")

    monkeypatch.setattr(Api, "get", get)
    app = open_app("health")
    assert [error.value for error in app.error] == [
        f"{texts.AWAY} {texts.plain('http://127.0.0.1:8080 does not answer')}"
    ]


@pytest.mark.parametrize("engineer", [True, False])
def test_what_results_go_to_has_names_and_what_tidies_clips_is_told_only_where_it_cannot(
    engineer: bool,
) -> None:
    viewer: Any = SimpleNamespace(engineer=engineer)
    sinks = [SinkHealth(sink.name, True, 0, 0, 0, "") for sink in (ClipRetention, ClipSweep)]
    sinks += [SinkHealth(name, True, 7, 0, 0, "") for name in ("alerts", "route:guards", UPLOADS)]

    def shown() -> list[str]:
        status = health.ProgramStatus([], [], [], sinks=sinks)
        table = health.results_table(status, WriterHealth(owns_database=True), viewer, T0)
        return re.findall(r"<tr[^>]*><td[^>]*>(.*?)</td>", table)

    assert shown() == ["Database", "Alerts", "Alerts by guards", "Copies of clips"]
    sinks[0] = replace(sinks[0], ok=False, failures=3, last_error="Permission denied")
    assert shown()[:2] == ["Database", "Deleting old clips"]
    assert texts.trouble_words("delivery_failed", ClipRetention.name) == "Old clips could not be deleted"
    assert texts.trouble_words("delivery_failed", "mqtt") == "Messages could not be delivered"


def test_the_wait_for_a_packet_is_no_work_and_every_stage_stands_in_its_place() -> None:
    stages = {stage: {"mean": 1.0, "p50": 1.0, "p99": 2.0} for stage in (*STAGES, *SERVER_STAGES, "polish")}
    status = report(stages_ms=stages | {"receive": {"mean": 195.0, "p50": 199.0, "p99": 210.0}})
    order = stage_times.stage_order([status])
    assert order == [*STAGES[:6], *SERVER_STAGES, *STAGES[6:], "polish"]
    work = stage_times.work_stages(order)
    assert work == ["decode", "queue", "scale", "write", "infer", "track", "rules", "windows", "polish"]


def test_the_wait_for_a_packet_is_shown_beside_the_work(
    url: str, told: None, open_app: Callable[..., AppTest]
) -> None:
    stages = {stage: {"mean": 1.0, "p50": 1.0, "p99": 2.0} for stage in STAGES}
    slow = {"receive": {"mean": 195.0, "p50": 199.0, "p99": 210.0}}
    World(url).camera("gate", time.time(), stages_ms=stages | slow)
    text = html(open_app("health"))
    [legend] = re.findall(r'<div class="sl-legend">.*?</div>', text)
    assert "rules" in legend
    assert "wait for packet" not in legend
    assert "receive" not in legend
    assert re.search(r'data-h="wait for packet">210<', text)  # shown, but not tinted as work


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ({}, "rtcp"),
        ({"clock_offset_s": -0.034, "clock_drift_ppm": 12.4}, "rtcp -0.03 s +12 ppm"),
        (
            {"clock_source": "rtcp_corrected", "clock_offset_s": 3600.0, "clock_drift_ppm": -180.0},
            "rtcp_corrected +3600.00 s -180 ppm",
        ),
        ({"clock_source": "<b>", "clock_offset_s": 0.0}, "&lt;b&gt; +0.00 s"),
        ({"clock_source": ""}, texts.DASH),
    ],
)
def test_how_far_a_cameras_clock_is_off(
    figures: dict[str, Any], shown: str, url: str, told: None, open_app: Callable[..., AppTest]
) -> None:
    World(url).camera("gate", time.time(), **figures)
    assert re.search(rf'data-h="clock"><small>{re.escape(shown)}</small>', html(open_app("health")))


# States of the database


def test_states_recover_by_themselves(url: str, open_app: Callable[..., AppTest]) -> None:
    app = open_app()
    assert "is not there yet" in html(app)
    path = Path(url.removeprefix("sqlite:///"))
    path.touch()
    assert "no tables yet" in html(app.run())
    World(url).camera("gate", time.time())
    assert "gate" in html(app.run())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA journal_mode=DELETE")
    holder.execute("BEGIN EXCLUSIVE")
    assert "locked" in html(app.run())
    holder.execute("COMMIT")
    holder.close()
    assert "gate" in html(app.run())


def test_a_database_of_another_revision_is_not_called_ready(
    world: World, url: str, open_app: Callable[..., AppTest]
) -> None:
    path = url.removeprefix("sqlite:///")
    older = migrations.known()[1]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = ?", (older,))
    text = html(open_app())
    assert "from an older Sightline" in text
    assert "it migrates the database" in text
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = 'of-tomorrow'")
    text = html(open_app("counts"))
    assert "Upgrade this program" in text
    assert "of-tomorrow" in text


@pytest.mark.parametrize("wrong", ["mysql://root:hunter2@db/x", "nonsense:hunter2"])
def test_a_wrong_url_is_said_without_its_secret(open_app: Callable[..., AppTest], wrong: str) -> None:
    text = html(open_app(database=wrong))
    assert "URL cannot be used" in text
    assert "hunter2" not in text


def test_the_database_of_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, world: World
) -> None:
    monkeypatch.delenv("SIGHTLINE_DATABASE_URL", raising=False)
    config = tmp_path / "config.yml"
    config.write_text(f"database:\n  url: {url}\n")
    monkeypatch.setattr(sys, "argv", ["pages.py", "--config", str(config)])
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    app._page_hash = calc_hash("overview")  # switch_page knows files only
    app.run()
    assert "gate" in html(app)
    world.event("gate", "crossing", "door", time.time() - 60, direction="forward")
    link = "http://h/get?path={camera}&start={start}&duration={seconds}"
    config.write_text(f"database:\n  url: {url}\nrecording:\n  url: {link}\n")
    app._page_hash = calc_hash("events")
    app.run()
    [played] = [button.proto.url for button in app.get("link_button") if "duration" in button.proto.url]
    assert re.fullmatch(r"http://h/get\?path=gate&start=20[^&]+Z&duration=30.0", played)
    options = console_options().recording
    wanted = EventSearch((time.time() - 600, time.time() + 60), ("gate",))
    made = events.make_file(Database(url), None, wanted, options, "CSV")
    [row] = csv.DictReader(io.StringIO(made.decode()))
    assert row["recording"] == played
    config.write_text("database:\n  uri: typo\n")
    assert "configuration cannot be used" in html(app.run())


def test_a_long_range_is_read_once(
    world: World, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = time.time()
    monkeypatch.setattr(counts, "now", lambda: at)  # it is read again with the next minute
    app = open_app("counts")
    app.segmented_control(key="counts_range").set_value("Custom").run()
    day = datetime.now(UTC).date()
    app.date_input(key="counts_from_day").set_value(day - timedelta(days=9))
    app.date_input(key="counts_to_day").set_value(day + timedelta(days=1)).run()
    assert "person <b>60" in html(app)
    monkeypatch.setattr(counts, "read_figures", None)  # would fail if it were called again
    assert "person <b>60" in html(app.run())
    monkeypatch.setattr(counts, "MAX_WINDOWS", 1000)
    app.selectbox(key="counts_step").set_value(900).run()
    assert "too much to sum" in app.warning[0].value


def test_a_resolution_can_be_written(world: World, open_app: Callable[..., AppTest]) -> None:
    assert grid.typed_step("10 min", 86_400, 60) == 600
    assert grid.typed_step(" 2 Hours", 86_400, 60) == 7200
    assert grid.typed_step("3 days", 90 * 86_400, 60) == 3 * 86_400
    assert "multiple" in str(grid.typed_step("90 s", 3600, 60))
    assert "more than" in str(grid.typed_step("1 min", 90 * 86_400, 60))
    for nonsense in ("", "soon", "0 min", "-1 h", "1e9 h"):
        assert "Write a resolution" in str(grid.typed_step(nonsense, 3600, 60))


def test_time_before_a_camera_began_is_not_blamed_on_it(url: str, open_app: Callable[..., AppTest]) -> None:
    made, now = World(url), time.time()
    begun = now // 60 * 60 - 600
    made.camera("gate", now)
    for minute in range(11):
        made.window("gate", begun + 60 * minute, min(1.0, (now - begun - 60 * minute) / 60), person=1)
    span = Span.over(now - 3600, now, 60)
    with closing(Database(url)) as database, database.reading() as connection:
        figures = read_figures(connection, chosen(span, "gate"), now)
    covers = [bucket.cover for bucket in figures.together]
    assert covers.count(Cover.WATCHED) >= 10
    assert not {Cover.NOT, Cover.PARTLY} & {*covers}
    assert set(covers[:40]) == {Cover.BEFORE}
    assert figures.coverage > 0.9
    text = html(open_app("counts"))
    assert "all of it was watched" in text
    assert re.search(r"Began in this range: gate \d+ \w+ \d\d:\d\d", text)


def test_the_week_before_is_compared_by_the_bars_that_are_over(
    url: str, open_app: Callable[..., AppTest]
) -> None:
    made, now = World(url), time.time()
    hour = now // 3600 * 3600
    made.camera("gate", now)
    for back, count in ((1, 6), (2, 6), (169, 3), (170, 5)):  # hours; 169 is one hour and a week
        made.window("gate", hour - back * 3600, 1.0, length=3600.0, person=count)
    made.window("gate", hour, 1.0, length=3600.0, person=90)  # goes on
    span = Span.over(hour - 7200, now, 3600)
    with closing(Database(url)) as database, database.reading() as connection:
        over = span.before(now)
        assert over is not None
        choice = chosen(span, "gate")
        before = read_week_before(connection, choice, over, read_series(connection, choice, span))
    assert before is not None
    assert (before.now, before.then) == (12, 8)
    assert before.buckets == {hour - 7200: 5, hour - 3600: 3}
    app = open_app("counts")
    app.segmented_control(key="counts_range").set_value("6 h").run()
    app.selectbox(key="counts_step").set_value(3600).run()
    assert re.search(r"A week before</div>.*?>8 <small>\+50 % now", html(app))


def test_changes_of_model_and_settings_are_said_and_engineers_read_which(
    url: str, open_app: Callable[..., AppTest], looks: Callable[[Person | None], None]
) -> None:
    made, now = World(url), time.time()
    made.camera("gate", now)
    story = [("m/1", "a"), ("m/1", "a"), ("m/2", "b"), ("m/2", "b")]
    made.hours("gate", now - 5 * 3600, [(model, config, 3) for model, config in story])
    for role, words in ((Role.OPERATOR, ""), (Role.ENGINEER, " (m/1 → m/2)")):
        looks(person(role, "gate"))
        app = open_app("counts")
        app.segmented_control(key="counts_range").set_value("24 h").run()
        assert f"another model counts{words}: gate" in html(app)
        assert ("m/2" in html(app)) is bool(words)


def test_a_bar_leads_to_its_events_and_tracks(world: World, open_app: Callable[..., AppTest]) -> None:
    start = time.time() // 60 * 60 - 240
    world.event("gate", "enter", "door", start + 5)
    world.event("gate", "enter", "wicket", start + 65)
    world.path("gate", start + 3, track_id=41)
    app = open_app("counts")
    assert "Press a bar of the chart" in html(app)
    app.selectbox(key="counts_bar").set_value(start).run()
    text = html(app)
    assert "Person entered door · gate" in text
    assert [row["title"] for row in listed(app)] == ["Person entered door · gate"]
    assert "There is no clip of it." in text
    app.segmented_control(key="counts_behind").set_value("Tracks").run()
    assert "person 41 · gate" in html(app)
    assert not app.exception


def test_the_hours_of_the_week_have_a_table_and_say_what_was_not_watched(
    world: World, open_app: Callable[..., AppTest]
) -> None:
    monday = time.time() // 604_800 * 604_800 + 4 * 86_400 - 604_800  # at midnight UTC
    app = open_app("counts")
    app.segmented_control(key="counts_shape").set_value("Hours of the week").run()
    assert "Nothing was watched in this range." in html(app), "no hour is over"
    world.hours("gate", monday + 9 * 3600, [("m", "c", 12), ("m", "c", 0)])
    assert ">09:00</td>" not in html(app.run()), "a browser takes long over tables"
    text = html(with_table(app, "heat"))
    [nine] = re.findall(r">09:00</td><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)<", text)
    assert nine == ("12.0", "unknown")
    assert re.search(r">10:00</td><td[^>]*>0.0<", text), "watched, and nothing passed"


# Events


def test_events_without_any_say_what_to_configure(world: World, open_app: Callable[..., AppTest]) -> None:
    text = html(open_app("events"))
    assert "Nothing like that happened in this range." in text
    assert "lines and zones" in text


def listed(app: AppTest) -> list[dict[str, Any]]:
    """The rows of the list of events."""
    [queue] = [e for e in app.get("bidi_component") if e.proto.component_name == "sightline_alert_queue"]
    rows: list[dict[str, Any]] = json.loads(queue.proto.json)["rows"]
    return rows


def test_the_event_that_the_address_names_is_shown_however_old_it_is(
    world: World, url: str, open_app: Callable[..., AppTest]
) -> None:
    now = time.time()
    world.event("yard", "leave", "bay", now - 3 * 86_400)
    world.event("gate", "crossing", "door", now - 60, direction="forward")
    with world.engine.connect() as connection:
        [old] = connection.execute(sa.select(EventRow.id).where(EventRow.place == "bay")).scalars()
    app = open_app("events")
    app.query_params["event"] = str(old)
    assert "Person left bay · yard" in html(app.run())
    assert [row["title"] for row in listed(app)] == ["Person crossed door forward · gate"]
    app.text_input(key="events_text").set_value("gate").run()
    assert "Person left bay · yard" not in html(app), "another search shows what it finds"


def test_troubles_of_the_program_are_events_too_and_go_on_until_they_end(
    world: World, open_app: Callable[..., AppTest]
) -> None:
    now, trouble = time.time(), {"item_class": "", "track_id": 0}
    end = datetime.fromtimestamp(now - 60, UTC)
    world.event("", "database_away", "", now - 20, **trouble)
    world.event("yard", "camera_offline", "", now - 90, end_time=end, **trouble)
    first, second = listed(open_app("events"))
    assert (first["title"], second["title"]) == ("Database away · Sightline", "Camera offline · yard")
    assert "goes on" in first["note"]
    assert "until " in second["note"]


def test_events_are_searched_and_filtered_and_come_page_by_page(
    world: World, url: str, open_app: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for minute, direction in ((1, "forward"), (1, "forward"), (9, "backward")):
        world.event("gate", "crossing", "=door", now - 60 * minute, direction=direction, x=0.5, y=0.5)
    world.event("yard", "leave", "<i>bay</i>", now - 30, value=12.34, unseen=True)
    world.event("yard", "occupancy", "<i>bay</i>", now - 3500, value=6.0, direction="above", track_id=0)
    app = open_app("events")
    titles = [row["title"] for row in listed(app)]
    assert titles[0] == "Person left <i>bay</i> · yard"
    assert titles[1:4] == [
        *("Person crossed =door forward · gate", "Person crossed =door forward · gate"),
        "Person crossed =door backward · gate",
    ]
    assert "there for 12 s · not seen itself" in listed(app)[0]["note"]
    assert "6 present" in listed(app)[4]["note"]
    assert "<i>bay" not in html(app)
    app.text_input(key="events_text").set_value(" BAY").run()
    assert len(listed(app)) == 2
    app.text_input(key="events_text").set_value("").run()
    app.multiselect(key="events_directions").set_value(["backward"]).run()
    assert len(listed(app)) == 1
    app.multiselect(key="events_directions").set_value([]).run()
    monkeypatch.setattr(events, "PAGE_ROWS", 2)
    app.run()
    pages = [[row["id"] for row in listed(app)]]
    for _ in range(2):
        app.button(key="to_older").click().run()
        pages.append([row["id"] for row in listed(app)])
    assert [len(page) for page in pages] == [2, 2, 1]
    assert len({name for page in pages for name in page}) == 5
    assert app.button(key="to_older").disabled
    app.button(key="to_newer").click().run()
    assert [row["id"] for row in listed(app)] == pages[1]
    app.multiselect(key="events_kinds").set_value(["leave"]).run()
    assert [row["title"] for row in listed(app)] == titles[:1], "another search begins with its first page"
    wanted = EventSearch((now - 600, now + 60), ("gate", "yard"))
    made = events.make_file(Database(url), None, wanted, RecordingOptions(), "CSV")
    rows = list(csv.DictReader(io.StringIO(made.decode())))
    assert [row["kind"] for row in rows] == ["leave", "crossing", "crossing", "crossing"]
    assert "recording" not in rows[0]
    assert rows[1]["place"] == "'=door"  # text for a spreadsheet, too, and no formula
    assert datetime.fromisoformat(rows[0]["event_time"]).timestamp() == pytest.approx(now - 30, abs=1e-3)
    stored = events.make_file(Database(url), None, wanted, RecordingOptions(), "Parquet")
    assert [row["kind"] for row in parquet.read_table(io.BytesIO(stored)).to_pylist()] == [
        row["kind"] for row in rows
    ]


def test_all_that_is_known_of_an_event_has_a_name() -> None:
    viewer = SimpleNamespace(engineer=True, clock=lambda _: "12:00:47")
    moment = datetime.fromtimestamp(T0, UTC)
    row = {"source": "gate", "place": "yard", "item_class": "person", "track_id": 7, "unseen": True}
    row |= {"event_time": moment, "confirmed_time": moment, "end_time": moment, "direction": None}
    left = happenings.facts_of(cast(Any, viewer), row | {"kind": "leave", "value": 47.0})
    entered = happenings.facts_of(cast(Any, viewer), row | {"kind": "enter", "value": None})
    assert all(left) and left["Measured"] == "there for 47 s"
    assert (entered["Lasted"], entered["Measured"]) == ("until 12:00:47", "")
    assert entered["Passage"].startswith("not seen itself")


def test_whoever_signed_in_without_a_password_is_no_longer_invited() -> None:
    person = {"enabled": True, "expires_at": None, "locked_until": None, "must_change": False}
    person |= {"has_password": False, "of_provider": False}
    states = [
        people_page.state_of(cast(Any, None), person | {"seen_at": seen_at}, T0)[0] for seen_at in (None, T0)
    ]
    assert states == ["invited", "open"]
