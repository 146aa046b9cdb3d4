"""Versions over the API: what there is, what a switch would do, that it is done apart, and who it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightline.base.processes import apart
from sightline.entities import Role
from sightline.errors import AdminError, ServerError
from sightline.models.registry import audit_trail
from sightline.serving import model_configs
from sightline.simulation.rtsp_server import free_port
from sightline.supervisor.http import api_models
from support.front import Answer
from support.model_shelf import put_version, serve_version
from support.people import ROOT, People
from support.shop import GATE, YARD, Shop, shop_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three versions, of which the second serves after the first; one is retired."""
    made = tmp_path / "models"
    put_version(made, 1)
    measured = {"map50_95": 0.412, "map50": 0.61, "images": 128}
    put_version(made, 2, "person", "car", "bus", measured_map=measured)
    put_version(made, 3, "person", "lorry", network_width=640)
    put_version(made, 4)
    (made / "yolo" / "4").rename(made / "yolo" / ".retired-4")
    serve_version(made, 1)
    serve_version(made, 2)
    return made


@pytest.fixture
def shop(people: People, tmp_path: Path, folder: Path) -> Iterator[Shop]:
    with shop_of(people, tmp_path) as made:
        yield made


class Asker:
    """Asks as somebody of a role."""

    def __init__(self, shop: Shop, role: Role = Role.ENGINEER, cameras: frozenset[str] | None = None) -> None:
        self._shop = shop
        self._token = shop.people.tokens.create(f"{role} {cameras}", role, ROOT, days=1, cameras=cameras)

    def get(self, path: str = "/api/v1/models") -> Answer:
        return self._shop.front.ask(path, token=self._token)

    def post(self, path: str, **body: Any) -> Answer:
        return self._shop.front.ask(f"/api/v1/models/detector/{path}", "POST", body, token=self._token)


def test_versions_are_told_with_their_figures_and_who_uses_them(shop: Shop) -> None:
    told = Asker(shop).get().json
    assert told["problem"] == ""
    assert [(item["version"], item["retired"]) for item in told["versions"]] == [
        (4, True),
        (3, False),
        (2, False),
        (1, False),
    ]
    second = told["versions"][2]
    assert (second["classes"], second["width"], second["precision"]) == (
        ["person", "car", "bus"],
        320,
        "fp16",
    )
    assert (second["measured"]["map50_95"], second["source_sha256"][-1]) == (0.412, "2")
    [use] = told["detectors"]
    assert (use["detector"], use["version"], use["earlier"], use["cameras"]) == (
        "detector",
        2,
        1,
        [GATE, YARD],
    )
    assert [entry["version"] for entry in told["history"]] == [2, 1]


def test_who_sees_some_cameras_is_told_of_those_and_switches_nothing(shop: Shop) -> None:
    some, operator = Asker(shop, cameras=frozenset({GATE})), Asker(shop, Role.OPERATOR)
    answer = some.get()
    assert answer.json["detectors"][0]["cameras"] == [GATE]
    assert YARD not in answer.body.decode()
    for asker in (some, operator):
        for path, body in (("switch", {"version": 1}), ("rollback", {})):
            assert asker.post(path, try_only=True, **body).status == 403
    assert operator.get().status == 403


def test_what_a_switch_would_do_is_told_and_not_done(shop: Shop, folder: Path) -> None:
    asker = Asker(shop)
    plan = asker.post("switch", version=3, try_only=True).json
    assert (plan["version"]["version"], plan["previous"]["version"], plan["done"]) == (3, 2, False)
    assert (plan["gained"], plan["lost"], plan["cameras"]) == (["lorry"], ["car", "bus"], [GATE, YARD])
    assert plan["lacking"] == []
    back = asker.post("rollback", try_only=True).json
    assert (back["version"]["version"], back["lost"]) == (1, ["bus"])
    assert model_configs.active(folder) == 2


def test_a_switch_is_done_apart_and_kept_as_its_makers(
    shop: Shop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[tuple[Any, ...]] = []
    monkeypatch.setattr(api_models, "apart", lambda *values, **_: done.append(values))
    asker = Asker(shop)
    assert asker.post("switch", version=3, why="better at night").json["done"] is True
    assert asker.post("rollback").json["version"]["version"] == 1
    name = "token engineer None"
    place = (api_models._OPERATE, folder, "127.0.0.1:8001", name)
    assert done == [
        (*place, "better at night", "switch", 3, "detector"),
        (*place, "", "rollback", "detector"),
    ]
    entries = [entry for entry in shop.people.audit() if entry.action == "change_model"]
    assert [(entry.who, entry.target, entry.outcome, entry.detail) for entry in entries] == [
        (
            name,
            "detector",
            "done",
            "switch to street-3-0a1b2c3d4e5f after street-2-0a1b2c3d4e5f: better at night",
        ),
        (name, "detector", "done", "rollback to street-1-0a1b2c3d4e5f after street-2-0a1b2c3d4e5f"),
    ]


def test_a_reason_with_line_breaks_of_other_kinds_is_one_line_of_the_audit_trail(
    shop: Shop, folder: Path
) -> None:
    with audit_trail.operation(folder, "switch", why="a\u2028b\x85c"):
        pass
    told = Asker(shop).get().json["history"]
    assert [entry["result"] for entry in told[:2]] == ["ok", "started"]


def test_a_version_that_lacks_what_cameras_count_is_refused_unless_forced(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    monkeypatch.setattr(api_models, "apart", lambda *values, **_: done.append(values))
    text = shop.config_path.read_text()
    shop.config_path.write_text(text.replace("{url: rtsp://h/}", "{url: rtsp://h/, count: {classes: [car]}}"))
    shop.control.reload("test")
    answer = Asker(shop).post("switch", version=3)
    assert (answer.status, done) == (409, [])
    assert YARD in answer.error
    assert "car" in answer.error
    assert Asker(shop, Role.ADMIN).post("switch", version=3, force=True).status == 200


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"version": 9}, 409, "version 9 is not in"),
        ({"version": 4}, 409, "version 4 is retired"),
        ({"version": 0}, 422, "version"),
        ({}, 422, "version"),
    ],
)
def test_what_cannot_serve_is_refused_at_once(shop: Shop, body: Any, status: int, words: str) -> None:
    answer = Asker(shop).post("switch", **body)
    assert (answer.status, words in answer.error) == (status, True)


def test_without_a_triton_the_old_version_stays_and_the_audit_says_that_it_failed(
    shop: Shop, folder: Path
) -> None:
    shop.config_path.write_text(f"triton: {{url: '127.0.0.1:{free_port()}'}}\n{shop.config_path.read_text()}")
    shop.control.reload("test")
    answer = Asker(shop).post("rollback")
    assert answer.status == 422
    assert "sightline triton serve" in answer.error
    assert model_configs.active(folder) == 2
    outcomes = [entry.outcome for entry in shop.people.audit() if entry.action == "change_model"]
    assert outcomes == ["refused"]
    last = audit_trail.read(folder)[-1]
    assert (last["action"], last["result"], last["operator"]) == ("rollback", "failed", "token engineer None")


def test_a_folder_that_is_no_repository_is_said_with_what_to_do(shop: Shop, folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    asker = Asker(shop)
    told = asker.get().json
    assert "models.repository" in told["problem"]
    assert (told["versions"], told["detectors"]) == ([], [])
    assert asker.post("rollback").status == 422


def test_a_shadow_is_judged_apart_and_only_one_that_cameras_have(shop: Shop) -> None:
    folder = shop.config_path.parent / "shadow"
    camera = f"{{url: rtsp://h/, shadow: {{model: detector-3, folder: {folder}}}}}"
    text = shop.config_path.read_text()
    shop.config_path.write_text(text.replace("{url: rtsp://h/}", camera))
    shop.control.reload("test")
    asker = Asker(shop)
    [shadow] = asker.get().json["shadows"]
    assert (shadow["model"], shadow["cameras"]) == ("detector-3", [YARD])
    answer = asker.get("/api/v1/shadows/detector-3")
    assert (answer.status, "holds no episode" in answer.error) == (422, True)
    assert asker.get("/api/v1/shadows/detector-9").status == 404


# -- processes of their own -------------------------------------------------------------------------------


def test_what_is_called_apart_runs_elsewhere_and_its_errors_come_back() -> None:
    assert apart("os:getpid") != os.getpid()
    assert apart("json:dumps", {"a": 1}, nice=1) == json.dumps({"a": 1})
    with pytest.raises(AdminError, match="HOST:PORT"):
        apart("sightline.models.registry.triton_admin:TritonAdmin", "no address")
    with pytest.raises(ServerError, match="abort ended without an answer"):
        apart("os:abort")
