"""Every endpoint tried as everybody: who is let in, and that nobody sees another camera by it."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest
from pyarrow import parquet

from sightline.access.rights import RIGHTS, Right
from sightline.entities import PERSON_ROLES, AlertState, Checkpoint, CountWindow, Role, SourceWindow
from sightline.errors import RepositoryError
from sightline.models.registry import audit_trail
from sightline.store.database import Store
from sightline.store.read.downloads import as_csv, as_parquet
from sightline.store.read.history import read_count_table
from sightline.store.read.spans import Span
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import WEBSOCKET, Call, Endpoint
from support.front import KEY, Answer, Front, known, served
from support.model_shelf import put_version, serve_version
from support.people import PASSWORD, ROOT, People, people_of
from support.shop import GATE, YARD, Shop, ask, closed, shop_of
from support.stored import write
from support.whole_api import BEGIN, END, PAGE, endpoints_table

REFUSALS = re.compile("sign in, or show a token|this takes (the role|somebody)|this camera is not one")


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_of(f"sqlite:///{tmp_path}/all.db", attempts_per_address=1000, attempts_per_name=1000) as made:
        for name, cameras in (("of-gate", [GATE]), ("of-yard", [YARD]), ("of-all", None)):
            for role in PERSON_ROLES:
                made.add(f"{role}-{name}", role, cameras=cameras)
        yield made


@pytest.fixture
def shop(people: People, tmp_path: Path) -> Iterator[Shop]:
    with shop_of(people, tmp_path) as made:
        yield made


@pytest.fixture
def front(shop: Shop) -> Front:
    return shop.front


def is_let_in(answer: Answer) -> bool:
    """Whether the handler was reached, whatever it said; of a WebSocket, whether it was opened."""
    is_socket = answer.status in {101, 403} and not answer.body
    return (
        answer.status == 101
        if is_socket
        else not (answer.status in {401, 403} and REFUSALS.search(answer.error))
    )


def may(endpoint: Endpoint, role: Role | None, cameras: frozenset[str] | None) -> bool:
    rule = RIGHTS[endpoint.right]
    if rule.least is None:
        return True
    if role is None or role.rank < rule.least.rank:
        return False
    return (
        not rule.of_camera
        or cameras is None
        or endpoint.each
        or (endpoint.camera is not None and GATE in cameras)
    )


def test_every_endpoint_lets_in_whom_the_table_says(front: Front, shop: Shop) -> None:
    wrong = []
    assert sum(endpoint.method == WEBSOCKET for endpoint in shop.endpoints) == 2
    sights = {"gate": frozenset({GATE}), "yard": frozenset({YARD}), "all": None}
    askers: dict[str, tuple[str, Role | None, frozenset[str] | None]] = {"nobody": ("", None, None)}
    for role, (name, cameras) in itertools.product(Role, sights.items()):
        who = f"{role} of {name}"
        token = shop.people.tokens.create(who, role, ROOT, days=1, cameras=cameras)
        askers[who] = (token, role, cameras)
    for endpoint, (who, (token, role, cameras)) in itertools.product(shop.endpoints, askers.items()):
        answer = ask(front, endpoint, token=token)
        if is_let_in(answer) is not may(endpoint, role, cameras):
            wrong.append((endpoint.method, endpoint.path, who, answer.status))
    assert wrong == []


def test_who_does_not_see_all_cameras_is_not_told_where_files_lie(shop: Shop, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for version in (1, 2):
        put_version(models, version)
        serve_version(models, version)
    (models / "yolo" / "1" / "manifest.json").write_text("{")
    shadow = f"shadow: {{model: detector-2, folder: {tmp_path}/shadow}}"
    text = shop.config_path.read_text()
    shop.config_path.write_text(text.replace("{url: rtsp://h/}", f"{{url: rtsp://h/, {shadow}}}"))
    shop.control.reload("test")
    with suppress(RepositoryError), audit_trail.operation(models, "switch"):
        raise RepositoryError(f"{models} is full")
    sees_all, sees_some = (
        shop.people.tokens.create(str(cameras), Role.ENGINEER, ROOT, days=1, cameras=cameras)
        for cameras in (None, [GATE, YARD])
    )
    told = shop.front.ask("/api/v1/models", token=sees_all).json
    assert str(models) in told["repository"]
    assert [bool(item["folder"]) for item in told["shadows"]] == [True]

    def tells_of_files() -> list[str]:
        gets = [item for item in shop.endpoints if item.method == "GET"]
        answers = {item.path: ask(shop.front, item, token=sees_some) for item in gets}
        assert answers["/api/v1/models"].status == answers["/api/v1/cameras/{camera}/config"].status == 200
        return [path for path, answer in answers.items() if str(tmp_path).encode() in answer.body]

    assert tells_of_files() == []
    headers = {"If-Match": shop.control.masked()[1], "Content-Type": "application/json"}
    path, body = f"/api/v1/cameras/{GATE}/config", {"value": {"url": "rtsp://h/", "fsp": 5}}
    refused = shop.front.ask(path, "PUT", body, token=sees_some, headers=headers)
    assert (
        refused.error == "config.yml:4: camera 'gate', key 'fsp': is not a known key; do you mean stream.fps?"
    )
    (models / "yolo").rename(models / "gone")
    shop.config_path.write_text(text.replace("'rtsp://u:hunter2@h/'", "'rtsp://u:hunter2@h/', fsp: 5"))
    shop.control.reload("test")
    assert shop.control.config.misconfigured[GATE].startswith("config.yml:4: camera 'gate', key 'fsp'")
    assert tells_of_files() == []


def test_what_was_sent_steers_nothing_where_it_is_told_again(shop: Shop) -> None:
    token = shop.people.tokens.create("all", Role.ADMIN, ROOT, days=1)
    evil, hebrew = "a\u202eb\x1b[2J", "\u05e9\u05dc\u05d5\u05dd"
    answer = shop.front.ask(
        f"/api/v1/alerts/alert-{GATE}", "POST", {"comment": f"{evil}\r\n{hebrew}"}, token=token
    )
    assert answer.status == 200
    assert shop.done[-1] == (f"alert-{GATE}", f"ab[2J\n{hebrew}")
    shop.front.ask(f"/api/v1/alerts/alert-{GATE}", "POST", {"comment": "\u202e"}, token=token)
    assert len(shop.done) == 1, "there is nothing in it"
    shop.front.ask("/api/v1/routes/a%E2%80%AEb%1B/test", "POST", {}, token=token)
    details = [(entry.target, entry.detail) for entry in shop.people.audit()]
    assert (f"alert-{GATE}", f"camera '{GATE}', ab[2J\n{hebrew}") in details
    assert ("ab", "") in details
    for path in ("alerts", "cameras", "config", "shadows", "live"):
        refused = shop.front.ask(f"/api/v1/{path}/{quote(evil)}", token=token)
        assert refused.error.isprintable() and refused.status in {404, 405}, path


def test_a_wall_display_opens_its_wall_and_nothing_else(front: Front, shop: Shop) -> None:
    """With the token as programs show it, and as the browser does in which its link was opened."""
    token = shop.people.tokens.create("lobby", Role.DISPLAY, ROOT, days=3650, cameras=[GATE])
    opened = front.post("/auth/wall", {"link": token})
    assert (opened.status, opened.session) == (200, token)
    assert {"HttpOnly", "SameSite=lax"} <= set(opened.headers["set-cookie"].split("; "))
    mine = {("GET", "/live/grid.mjpg"), ("GET", "/api/v1/wall")}
    own_words = {"/auth/me", "/auth/wall", "/auth/sign-out"}
    for endpoint, who in itertools.product(shop.endpoints, ({"token": token}, {"session": token})):
        answer, nobody = ask(front, endpoint, **who), ask(front, endpoint)
        if endpoint in closed(shop.endpoints):
            assert is_let_in(answer) is ((endpoint.method, endpoint.path) in mine), endpoint.path
        elif endpoint.path not in own_words:
            assert (answer.status, answer.body) == (nobody.status, nobody.body), endpoint.path
    assert [(entry["name"], entry["state"]) for entry in front.ask("/api/v1/wall", token=token).json] == [
        (GATE, "silent")
    ]
    assert front.ask(f"/live/grid.mjpg?camera={YARD}", session=token).status == 403
    assert front.ask(f"/live/grid.mjpg?camera={YARD}&camera={GATE}", session=token).status == 403
    shop.people.tokens.revoke("lobby", ROOT)
    assert front.ask("/api/v1/wall", session=token).status == 401
    assert front.post("/auth/wall", {"link": token}).status == 401


def test_no_other_token_signs_a_browser_in(front: Front, shop: Shop) -> None:
    for role in PERSON_ROLES:
        token = shop.people.tokens.create(role, role, ROOT, days=1)
        assert front.post("/auth/wall", {"link": token}).status == 401
        for endpoint in closed(shop.endpoints):
            assert not is_let_in(ask(front, endpoint, session=token)), endpoint.path


def test_a_token_that_is_forged_expired_or_revoked_opens_nothing(front: Front, shop: Shop) -> None:
    people = shop.people
    revoked, expired = (people.tokens.create(name, Role.ADMIN, ROOT, days=1) for name in ("r", "e"))
    people.tokens.revoke("r", ROOT)
    people.now += 86_401
    forged = f"{expired[:-1]}{'A' if expired[-1] != 'A' else 'B'}"
    beginning = revoked[:-8]
    for endpoint in shop.endpoints:
        for token in (revoked, expired, forged, beginning, f"{KEY}!", "slt_", "slt_\xff"):
            answer, nobody = ask(front, endpoint, token=token), ask(front, endpoint)
            assert answer.status == nobody.status, endpoint.path
            if endpoint in closed(shop.endpoints):
                assert not is_let_in(answer), endpoint.path
            elif endpoint.method == "GET":
                assert answer.body == nobody.body, endpoint.path


def test_a_sign_in_that_has_ended_opens_nothing(front: Front, shop: Shop) -> None:
    session = shop.people.session("admin-of-all")
    seen = [item for item in closed(shop.endpoints) if item.method in {"GET", WEBSOCKET}]
    assert all(is_let_in(ask(front, item, session=session)) for item in seen)
    shop.people.accounts.set_role("admin-of-all", Role.VIEWER, ROOT)
    for endpoint in closed(shop.endpoints):
        assert ask(front, endpoint, session=session).status in {401, 403}, endpoint.path
        assert not is_let_in(ask(front, endpoint, session=session)), endpoint.path


def test_who_has_to_change_the_password_may_do_nothing_else(front: Front, shop: Shop) -> None:
    shop.people.accounts.set_password("admin-of-all", PASSWORD, ROOT, must_change=True)
    session = shop.people.session("admin-of-all")
    for endpoint in closed(shop.endpoints):
        answer = ask(front, endpoint, session=session)
        if endpoint.right is Right.CHANGE_PASSWORD:
            assert is_let_in(answer)
        else:
            assert answer.status == 403, endpoint.path
            assert endpoint.method == WEBSOCKET or answer.error == "change the password first"


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://127.0.0.1:1", "http://[evil"]
)
def test_a_page_of_another_site_changes_nothing_and_opens_no_socket(
    front: Front, shop: Shop, origin: str | None
) -> None:
    cookie = {"Cookie": f"sightline={shop.people.session('admin-of-all')}"}
    before = shop.people.audit()
    for endpoint in closed(shop.endpoints):
        if endpoint.method != "GET":
            answer = ask(front, endpoint, headers={**cookie, **({"Origin": origin} if origin else {})})
            assert answer.status == 403, endpoint.path
    assert (shop.done, shop.plans, shop.people.audit()) == ([], [], before)


def test_nobody_sees_another_camera_by_any_answer(front: Front, shop: Shop) -> None:
    shown = []
    for endpoint in shop.endpoints:
        rule = RIGHTS[endpoint.right]
        if endpoint.method == "GET" and (rule.of_camera or rule.least is None):
            answer = ask(front, endpoint, session=shop.people.session("engineer-of-yard"))
            assert not re.search(rf"\b{GATE}\b", answer.body.decode()), endpoint.path
            if answer.status == 200 and YARD in answer.body.decode():
                shown.append(endpoint.path)
    wanted = ("cameras", "counts", "events", "alerts", "clips", "views")
    assert {f"/api/v1/{name}" for name in wanted} <= {*shown}
    asked_for = front.ask(f"/api/v1/events?camera={GATE}", session=shop.people.session("engineer-of-yard"))
    assert asked_for.status == 403


def test_what_a_viewer_may_not_do_is_not_done(front: Front, shop: Shop) -> None:
    for name in ("viewer-of-all", "admin-of-yard"):
        session = shop.people.session(name)
        for endpoint in shop.endpoints:
            seen = name.startswith("viewer") and endpoint.right is Right.SEE_LIVE
            if endpoint.method in {"GET", WEBSOCKET} or seen:
                continue
            if RIGHTS[endpoint.right].of_camera:
                assert ask(front, endpoint, session=session).status == 403
    assert shop.done == []


def test_an_alert_knows_who_acknowledged_it_and_the_audit_too(front: Front, shop: Shop) -> None:
    session = shop.people.session("operator-of-gate")
    assert front.post("/api/v1/alerts/alert-gate", {"state": "acknowledged"}, session=session).status == 200
    assert shop.done == [("alert-gate", AlertState.ACKNOWLEDGED, "operator-of-gate", "")]
    entry = shop.people.audit()[-1]
    assert (entry.action, entry.who, entry.target, entry.address) == (
        "change_alert", "operator-of-gate", "alert-gate", "127.0.0.1",
    )  # fmt: skip
    assert front.post("/api/v1/alerts/alert-gone", {"state": "resolved"}, session=session).status == 404


def test_files_of_clips_are_given_in_ranges_and_only_from_their_folder(
    front: Front, shop: Shop, tmp_path: Path
) -> None:
    session = shop.people.session("viewer-of-gate")
    [clip] = front.ask("/api/v1/clips", session=session).json
    part = front.ask(clip["video"], session=session, headers={"Range": "bytes=2-4"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert front.ask(clip["thumbnail"], session=session).body == b"picture"
    assert clip["h264"] is None
    assert front.ask(clip["video"].replace("/video", "/h264"), session=session).status == 404
    (tmp_path / GATE / "clip.mp4").unlink()
    (tmp_path / GATE / "clip.mp4").symlink_to("/etc/passwd")
    assert front.ask(clip["video"], session=session).status == 404


def test_counts_come_with_what_was_watched(front: Front, shop: Shop) -> None:
    query = "?start=1790000000&end=1790003600&step_s=60&camera=gate"
    answer = front.ask(f"/api/v1/counts{query}", session=shop.people.session("viewer-of-gate")).json
    assert [(item["source"], item["count"]) for item in answer["counts"]] == [(GATE, 3)]
    assert [(item["source"], item["watched_s"]) for item in answer["watched"]] == [(GATE, 60.0)]


@pytest.mark.parametrize(
    ("step_s", "zone"), [(1200, "UTC"), (3600, "Asia/Kolkata"), (86_400, "Europe/Berlin")]
)
def test_the_figures_of_the_api_are_those_of_table_csv_and_parquet(
    front: Front, shop: Shop, step_s: int, zone: str
) -> None:
    start, end = 1_790_035_200.0, 1_790_035_200.0 + 3 * 86_400
    rows: list[Any] = []
    for number in range(3 * 72):
        times = (start + 1200 * number, start + 1200 * (number + 1))
        rows.append(SourceWindow(GATE, *times, 0.5 if number % 7 else 0.0, 5.0, 0, "pts", "1", "0"))
        for at, name in enumerate(("person", "car")):
            count = (number * 7 + at * 3) % 5
            rows.append(CountWindow(GATE, name, count, *times, count // 2))
    with closing(Store(shop.people.url)) as store:
        store.open()
        write(store, [Checkpoint(GATE, tuple(rows), {})])
        for _ in range(60):  # some of it; the rest is read from windows
            store.roll_up()
    query = f"?start={start}&end={end}&step_s={step_s}&zone={zone}&camera=gate"
    answer = front.ask(f"/api/v1/counts{query}", session=shop.people.session("viewer-of-gate")).json
    span = Span.over(start, end, step_s, ZoneInfo(zone))
    with shop.database.reading() as connection:
        lines = read_count_table(connection, frozenset({GATE}), span, [GATE], end + 86_400)
    table = [asdict(line) for line in lines if line.count]
    columns = ["window_start", "item_class", "count", "arrivals"]
    told = csv.DictReader(io.StringIO(as_csv(table, columns).decode()))
    stored = parquet.read_table(io.BytesIO(as_parquet(table, columns))).to_pylist()
    figures = [
        (item["bucket"], item["item_class"], item["count"], item["arrivals"]) for item in answer["counts"]
    ]
    assert len(figures) > 5
    assert figures == [(row["window_start"].timestamp(), *list(row.values())[1:]) for row in stored]
    assert [tuple(map(str, figure[1:])) for figure in figures] == [
        tuple(list(row.values())[1:]) for row in told
    ]


def test_the_configuration_is_changed_without_seeing_its_secrets(front: Front, shop: Shop) -> None:
    session = shop.people.session("engineer-of-all")
    read = front.ask("/api/v1/config", session=session).json
    assert "hunter2" not in read["text"]
    text = read["text"].replace("rtsp://h/", "rtsp://w:passw0rd@h/yard")
    sent = {"text": text, "try_only": True}
    match = {"If-Match": f'"{read["version"]}"'}
    tried = front.ask("/api/v1/config", "PUT", sent, session=session, headers=match).json
    assert (tried["changes"], shop.plans) == (["camera 'yard', url changed: the camera reconnects"], [])
    done = front.ask("/api/v1/config", "PUT", {"text": text}, session=session, headers=match)
    assert (done.status, len(shop.plans)) == (200, 1)
    assert "+" in done.json["difference"]
    assert not {"hunter2", "passw0rd"} & set(re.findall(r"\w+", done.body.decode()))
    urls = {name: camera.source_url for name, camera in shop.control.config.cameras.items()}
    assert urls == {GATE: "rtsp://u:hunter2@h/", YARD: "rtsp://w:passw0rd@h/yard"}
    late = front.ask("/api/v1/config", "PUT", {"text": text}, session=session, headers=match)
    assert late.status == 412
    assert front.ask("/api/v1/config", "PUT", {"text": text}, session=session).status == 428
    entry = shop.people.audit()[-1]
    assert (entry.action, entry.who, entry.detail) == (
        "change_config",
        "engineer-of-all",
        "camera 'yard', url changed: the camera reconnects",
    )
    part = front.ask("/api/v1/cameras/gate/config", session=shop.people.session("engineer-of-gate")).json
    assert (part["written"], part["problems"], part["read_only"]) == ({"url": "rtsp://***@h/"}, [], False)
    shop.config_path.chmod(0o444)
    read = front.ask("/api/v1/config", session=session).json
    assert read["read_only"]
    match = {"If-Match": read["version"]}
    sent = {"text": read["text"] + "log_level: debug\n"}
    refused = front.ask("/api/v1/config", "PUT", sent, session=session, headers=match)
    assert (refused.status, "it is read-only" in refused.error) == (422, True)
    assert (part["options"]["url"], part["options"]["stream"]["stall_timeout_s"]) == ("**********", 8.0)


def test_who_sees_some_cameras_changes_those_and_no_others(front: Front, shop: Shop) -> None:
    session = shop.people.session("engineer-of-gate")
    path = "/api/v1/cameras/{}/config"

    def put(camera: str, value: Any, **more: Any) -> Answer:
        match = {"If-Match": front.ask(path.format(GATE), session=session).json["version"]}
        body = {"value": value, **more}
        return front.ask(path.format(camera), "PUT", body, session=session, headers=match)

    gate = front.ask(path.format(GATE), session=session).json["written"]
    tried = put(GATE, {**gate, "enabled": False}, try_only=True)
    assert (tried.status, tried.json["cameras"], shop.plans) == (200, [GATE], [])
    assert YARD not in tried.body.decode(), "a line beside those that change"
    assert put(GATE, {**gate, "enabled": False}).status == 200
    assert not shop.control.config.cameras[GATE].enabled
    assert shop.control.config.cameras[GATE].source_url == "rtsp://u:hunter2@h/"
    for camera in (YARD, "new"):
        assert put(camera, {"url": "rtsp://h/"}).status == 403
    assert put(GATE, {**gate, "stream": {"fps": -1}}).status == 422
    text = shop.config_path.read_text()
    shop.config_path.write_text(text.replace("rtsp://h/}", "rtsp://h/, enabled: false}"))
    assert put(GATE, gate).status == 403, "the other camera would stop by it"


def test_a_camera_is_added_and_removed_and_its_history_undone(front: Front, shop: Shop) -> None:
    session, path = shop.people.session("engineer-of-all"), "/api/v1/cameras/roof/config"

    def send(path: str, method: str, body: Any = None) -> Answer:
        version = front.ask("/api/v1/config", session=session).json["version"]
        return front.ask(path, method, body, session=session, headers={"If-Match": version})

    assert front.ask(path, session=session).status == 404
    assert send(path, "PUT", {"value": {"url": "rtsp://w:passw0rd@h/roof"}}).status == 200
    assert shop.control.config.cameras["roof"].source_url == "rtsp://w:passw0rd@h/roof"
    assert "passw0rd" not in shop.config_path.read_text()
    assert send(path, "DELETE").json["changes"] == ["camera 'roof' stops: not in the configuration"]
    assert send(path, "DELETE").status == 404
    removed, added = front.ask("/api/v1/changes", session=session).json
    assert (removed["who"], added["changes"]) == ("engineer-of-all", ["camera 'roof' starts"])
    assert not re.search("passw0rd|hunter2", json.dumps([removed, added]))
    assert send(f"/api/v1/changes/{removed['change_id']}/undo", "POST").status == 200
    assert shop.control.config.cameras["roof"].source_url == "rtsp://w:passw0rd@h/roof"
    for number in (99, 1 << 70):
        assert send(f"/api/v1/changes/{number}/undo", "POST").status == 404
    targets = [entry.target for entry in shop.people.audit() if entry.action == "change_config"]
    assert targets == ["cameras.roof", "cameras.roof", f"change {removed['change_id']}"]


def test_a_section_is_changed_without_its_neighbours(front: Front, shop: Shop) -> None:
    session, path = shop.people.session("engineer-of-all"), "/api/v1/config/alerts"
    part = front.ask(path, session=session).json
    assert (part["written"], part["options"]["rules"]) == (None, {})
    value = {"routes": {"hook": {"webhook": "https://h/secret-of-ours", "secret": "secret-of-ours" * 3}}}
    match = {"If-Match": part["version"]}
    done = front.ask(path, "PUT", {"value": value}, session=session, headers=match).json
    assert done["sections"] == ["alerts"]
    assert "secret-of-ours" not in json.dumps(done) + shop.config_path.read_text()
    assert shop.control.config.options.alerts.routes["hook"].webhook is not None
    part = front.ask(path, session=session).json
    assert front.ask(path, "DELETE", session=session, headers={"If-Match": part["version"]}).status == 200
    assert not shop.control.config.options.alerts.routes
    assert front.ask("/api/v1/config/cameras", session=session).status == 404


def test_rules_are_told_of_the_cameras_that_one_sees_and_nothing_secret_of_routes(
    front: Front, shop: Shop
) -> None:
    alerts = {
        "routes": {"hook": {"webhook": "https://h/T0KENT0KEN", "secret": "T0KENT0KEN"}},
        "rules": {
            "both": {"kinds": ["enter"], "cameras": [GATE, YARD], "routes": ["hook"]},
            "all": {"kinds": ["crossing"]},
            "gates": {"kinds": ["enter"], "cameras": [GATE]},
        },
    }
    shop.control.write(f"{shop.config_path.read_text()}alerts: {json.dumps(alerts)}\n", "test")

    def rules(name: str) -> tuple[dict[str, Any], str]:
        answer = front.ask("/api/v1/rules", session=shop.people.session(name))
        assert b"T0KEN" not in answer.body
        return answer.json, answer.body.decode()

    seen, text = rules("viewer-of-yard")
    assert [*seen["rules"]] == ["both", "all"] and seen["rules"]["both"]["cameras"] == [YARD]
    assert not re.search(rf"\b{GATE}\b", text) and seen["warnings"] == []
    seen, _ = rules("viewer-of-all")
    assert (len(seen["rules"]), seen["routes"]) == (3, {"hook": "webhook"})
    [warning] = [one for one in seen["warnings"] if ".gates." in one]
    assert "nobody is ever told of enter: no zone is there" in warning


def test_what_would_make_an_admin_is_an_admins_to_change(front: Front, shop: Shop) -> None:
    for name, status in (("engineer-of-all", 403), ("admin-of-all", 200)):
        session = shop.people.session(name)
        read = front.ask("/api/v1/config", session=session).json
        for section in ("access: {enabled: false}", "allow: {files: true}", "http: {host: 0.0.0.0}"):
            sent = {"text": f"{read['text']}{section}\n", "try_only": name.startswith("admin")}
            match = {"If-Match": read["version"]}
            answer = front.ask("/api/v1/config", "PUT", sent, session=session, headers=match)
            assert answer.status == status, answer.body
    assert shop.plans == []


@pytest.mark.parametrize(
    "options",
    [
        {"drift": {"folder": "/srv"}},
        {"clips": {"folder": "/srv"}},
        {"track_log": {"folder": "/srv"}},
        {"stream": {"tls_ca_file": "/etc/shadow"}},
        {"enabled": False, "view": {"folder": "/srv"}},
    ],
    ids=str,
)
def test_where_files_lie_is_an_admins_to_change(front: Front, shop: Shop, options: dict[str, Any]) -> None:
    """An engineer of one camera had every picture and JSON file of a folder deleted, or any folder closed."""
    path = "/api/v1/cameras/{}/config"
    for name, status in (("engineer-of-gate", 403), ("engineer-of-all", 403), ("admin-of-all", 200)):
        session = shop.people.session(name)
        read = front.ask(path.format(GATE), session=session).json
        match = {"If-Match": read["version"]}
        for camera, written in ((GATE, read["written"]), ("new", {"url": "rtsp://h/"})):
            if camera == GATE or name.endswith("all"):
                body = {"value": {**written, **options}, "try_only": True}
                answer = front.ask(path.format(camera), "PUT", body, session=session, headers=match)
                assert answer.status == status, answer.body
    [[group, [key]]] = [[group, [*keys]] for group, keys in options.items() if group != "enabled"]
    assert answer.json["paths"] == [f"new: {group}.{key}"]


@pytest.mark.parametrize(
    ("section", "value"),
    [("uploads", {"url": "file:///srv"}), ("models", {"repository": "/srv"}), ("canary", {"folder": "/srv"})],
)
def test_folders_of_the_program_are_an_admins_to_change(
    front: Front, shop: Shop, section: str, value: dict[str, Any]
) -> None:
    session, path = shop.people.session("engineer-of-all"), f"/api/v1/config/{section}"
    match = {"If-Match": front.ask(path, session=session).json["version"]}
    answer = front.ask(path, "PUT", {"value": value}, session=session, headers=match)
    assert answer.status == 403, answer.body
    [key] = value
    assert f"{section}.{key}" in answer.json["error"]
    assert shop.plans == []


def test_a_probe_tries_what_a_camera_may_have_and_nothing_else(front: Front, shop: Shop) -> None:
    session = shop.people.session("engineer-of-all")
    for url in ("file:///etc/passwd", "/etc/passwd", "http://10.0.0.1/", "gopher://x"):
        answer = front.post("/api/v1/probe", {"url": url}, session=session)
        assert (answer.status, "key 'url'" in answer.error) == (422, True)
    refused = front.post("/api/v1/probe", {"url": "rtsp://u:secret@127.0.0.1:9/"}, session=session)
    assert refused.status == 422
    assert "secret" not in refused.error
    assert [entry.target for entry in shop.people.audit() if entry.action == "probe"] == [
        "rtsp://***@127.0.0.1:9/"
    ]


def test_people_and_tokens_are_managed_and_hashes_shown_to_nobody(front: Front, shop: Shop) -> None:
    session = shop.people.session("admin-of-all")
    made = front.post(
        "/api/v1/people", {"name": "Zoe", "password": PASSWORD, "cameras": [GATE]}, session=session
    )
    assert (made.json["cameras"], made.json["must_change"]) == ([GATE], True)
    changed = front.ask("/api/v1/people/zoe", "PUT", {"role": "operator", "cameras": None}, session=session)
    assert (changed.json["role"], changed.json["cameras"]) == ("operator", None)
    assert (
        front.ask("/api/v1/people/zoe", "PUT", {"enabled": False}, session=session).json["enabled"] is False
    )
    token = front.post("/api/v1/tokens", {"name": "t", "role": "viewer"}, session=session).json["token"]
    assert front.ask("/api/v1/cameras", token=token).status == 200
    assert front.ask("/api/v1/tokens/t", "DELETE", session=session).status == 204
    assert front.ask("/api/v1/cameras", token=token).status == 401
    texts = [front.ask(f"/api/v1/{name}", session=session).body for name in ("people", "tokens", "audit")]
    assert not any(b"argon2" in text or b"hash" in text for text in texts)
    assert front.ask("/api/v1/people/admin-of-all", "PUT", {"role": "viewer"}, session=session).status == 200


def test_sockets_are_refused_before_they_are_accepted(people: People) -> None:
    told: list[str] = []

    async def handler(socket: Any, call: Call) -> None:
        told.append(call.camera or "")
        await socket.accept()
        await socket.close()

    endpoint = Endpoint(WEBSOCKET, "/ws/{camera}", Right.SEE_LIVE, handler, camera="camera")
    door = Door([endpoint], known(people))
    token = people.tokens.create("s", Role.VIEWER, ROOT, days=1, cameras=[GATE])

    def first_answer(camera: str, *headers: tuple[bytes, bytes]) -> str:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "websocket", "path": f"/ws/{camera}", "query_string": b"", "headers": list(headers),
            "scheme": "ws", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "subprotocols": [],
        }  # fmt: skip
        asyncio.run(door(scope, receive, send))
        return str(sent[0]["type"])

    bearer = (b"authorization", f"Bearer {token}".encode())
    assert first_answer(GATE, bearer) == "websocket.accept"
    assert first_answer(YARD, bearer) == first_answer(GATE) == "websocket.close"
    session = people.session("viewer-of-gate")
    cookie = (b"cookie", f"sightline={session}".encode())
    assert first_answer(GATE, cookie) == "websocket.close"  # no page says that it is ours
    assert first_answer(GATE, cookie, (b"origin", b"http://127.0.0.1:2")) == "websocket.accept"
    assert told == [GATE, GATE]


def test_what_stays_open_ends_with_the_right_to_it(people: People) -> None:
    calls: list[Call] = []
    endpoint = Endpoint("GET", "/long/{camera}", Right.SEE_LIVE, calls.append, camera="camera")
    session = people.session("operator-of-gate")
    with served([endpoint], known(people)) as front:
        assert front.ask(f"/long/{GATE}", session=session).status == 204
    door = Door([endpoint], known(people))
    assert asyncio.run(door.still_allowed(calls[0]))
    people.accounts.set_cameras("operator-of-gate", [YARD], ROOT)
    assert not asyncio.run(door.still_allowed(calls[0]))


def test_the_description_names_every_endpoint_and_what_it_takes(front: Front, shop: Shop) -> None:
    described = front.ask("/api/v1/openapi.json").json
    over_http = [item for item in shop.endpoints if item.method != WEBSOCKET]
    paths = {re.sub(r"\{(\w+):\w+\}", r"{\1}", item.path) for item in over_http}
    assert set(described["paths"]) == paths
    text = json.dumps(described)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= set(described["components"]["schemas"])
    sign_in = described["paths"]["/auth/sign-in"]["post"]
    assert sign_in["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("PasswordSignIn")
    assert all(item.summary for item in shop.endpoints)


def test_the_description_says_which_changes_need_a_version(front: Front, shop: Shop) -> None:
    described, session = front.ask("/api/v1/openapi.json").json["paths"], shop.people.session("admin-of-all")
    needing = []
    for endpoint in shop.endpoints:
        if endpoint.takes and "try_only" in endpoint.takes.model_fields:
            path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
            parameters = described[path][endpoint.method.lower()].get("parameters", ())
            named = [item for item in parameters if item["name"] == "If-Match"]
            assert all(item["in"] == "header" and item["required"] for item in named)
            needing += [endpoint.method for _ in named]
            refused = {404, 428} if named else {422}  # 404: of what is not there
            assert ask(front, endpoint, session=session).status in refused, (endpoint.method, path)
    assert sorted(needing) == ["DELETE", "DELETE", "POST", "PUT", "PUT", "PUT"]


def test_an_event_names_itself_as_the_clip_that_shows_it_does(front: Front, shop: Shop) -> None:
    session = shop.people.session("viewer-of-gate")
    [event] = front.ask(f"/api/v1/events?camera={GATE}&kind=enter", session=session).json
    [clip] = front.ask(f"/api/v1/clips?camera={GATE}", session=session).json
    assert clip["events"] == [event["key"]]
    assert event["media_s"] == clip["media_start_s"]


@pytest.mark.parametrize(
    ("who", "path", "why"),
    [
        ("viewer-of-yard", f"/api/v1/cameras/{GATE}", "this camera is not one of those that you see"),
        ("viewer-of-yard", "/api/v1/cameras/none", "this camera is not one of those that you see"),
        ("viewer-of-yard", "/api/v1/events?camera=none", "camera 'none' is not one of those that you see"),
        ("viewer-of-all", f"/api/v1/cameras/{GATE}/config", "this takes the role engineer; yours is viewer"),
        ("engineer-of-yard", "/api/v1/config", "this takes somebody who sees the camera that it is about"),
        ("viewer-of-all", "/api/v1/events?limitt=2", "limitt: is not known here"),
        ("viewer-of-all", "/api/v1/counts", "give start, and end, so that 1000 buckets of step_s"),
    ],
)
def test_what_is_refused_says_why(front: Front, shop: Shop, who: str, path: str, why: str) -> None:
    assert front.ask(path, session=shop.people.session(who)).error.startswith(why)


def test_who_may_not_see_an_alerts_camera_is_not_told_which_it_is(front: Front, shop: Shop) -> None:
    session, body = shop.people.session("operator-of-yard"), {"state": "acknowledged"}
    answer = front.ask(f"/api/v1/alerts/alert-{GATE}", "POST", body, session=session)
    assert answer.status == 403 and "this takes somebody who sees the camera" in answer.error


def test_the_example_of_the_docs_works(front: Front, shop: Shop) -> None:
    token = shop.people.tokens.create("reports", Role.VIEWER, ROOT, days=1, cameras=[GATE])
    [path] = re.findall(r"'http://127\.0\.0\.1:8080(/[^']*)'", PAGE.read_text())
    answer = front.ask(path, token=token)
    assert answer.status == 200
    [shown] = [line for line in PAGE.read_text().splitlines() if line.startswith('{"edges"')]
    assert answer.json["counts"] == json.loads(shown.partition('"counts":')[2].partition(',"watched"')[0])


def test_the_table_of_the_docs_is_that_of_the_endpoints() -> None:
    text = PAGE.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == endpoints_table(), (
        "python tests/support/whole_api.py --write"
    )
