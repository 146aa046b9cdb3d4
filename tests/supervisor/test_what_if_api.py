"""What other lines and zones would have made of kept tracks, asked for by the API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sightline.entities import Checkpoint, Role, TrackPath
from sightline.store.database import Store
from sightline.supervisor.http import api_what_if
from support.people import people_of
from support.shop import GATE, YARD, Shop, shop_of
from support.stored import write

PATH = f"/api/v1/cameras/{GATE}/what-if"
DOOR = {"points": [[0.5, 0.9], [0.5, 0.1]]}  # up: forward is to the left
WIDE = {"points": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]}
NARROW = {"points": [[0.4, 0.1], [0.6, 0.1], [0.6, 0.9], [0.4, 0.9]]}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with people_of(f"sqlite:///{tmp_path}/people.db") as people, shop_of(people, tmp_path) as made:
        people.add("engineer", Role.ENGINEER)
        people.add("operator", Role.OPERATOR)
        people.add("yards", Role.ENGINEER, cameras=frozenset({YARD}))
        yield made


def keep_tracks(shop: Shop, number: int, camera: str = GATE) -> None:
    """Ten seconds each, from the left to the right."""
    now = time.time()
    points = tuple((1000 * second, 1000 + 800 * second, 6000, 600, 2000) for second in range(11))
    paths = tuple(
        TrackPath(camera, track, begun, begun, begun + 10, "person", 0.6, points, ())
        for track in range(1, number + 1)
        for begun in [now - 60 * track]
    )
    with closing(Store(shop.people.url)) as store:
        store.open()
        write(store, [Checkpoint(camera, paths, {})], [])


def ask(shop: Shop, rules: dict[str, Any], who: str = "engineer", **more: Any) -> Any:
    written = {"url": "rtsp://***@h/", "rules": rules}
    return shop.front.post(PATH, {"value": written, **more}, session=shop.people.session(who))


def rows_of(answer: Any) -> dict[tuple[str, str, str | None], tuple[int, int]]:
    return {
        (change["place"], change["kind"], change["direction"]): (change["before"], change["after"])
        for change in answer.json["places"]
    }


def test_what_a_line_and_other_seconds_would_have_told_is_counted_by_place_with_examples(shop: Shop) -> None:
    keep_tracks(shop, 30)
    session = shop.people.session("engineer")
    part = shop.front.ask(f"/api/v1/cameras/{GATE}/config", session=session).json
    rules = {"zones": {"hall": {**WIDE, "loiter_s": 20}}}
    put = {"value": {**part["written"], "rules": rules}}
    match = {"If-Match": part["version"]}
    shop.front.ask(f"/api/v1/cameras/{GATE}/config", "PUT", put, session=session, headers=match)
    before = shop.config_path.read_text(), len(shop.plans)

    answer = ask(shop, {"lines": {"door": DOOR}, "zones": {"hall": {**WIDE, "loiter_s": 5}}})
    assert answer.status == 200, answer.body
    told = rows_of(answer)
    assert told["door", "crossing", "backward"] == (0, 30)
    assert told["hall", "loiter", None] == (0, 30)
    assert told["hall", "enter", None] == (30, 30)
    assert (answer.json["tracks"], answer.json["note"]) == (30, "")
    examples = {change["kind"]: change["examples"] for change in answer.json["places"]}
    assert (len(examples["crossing"]), examples["enter"]) == (api_what_if.MAX_EXAMPLES, [])
    newest = examples["crossing"][0]
    assert (newest["added"], newest["item_class"], newest["track_id"]) == (True, "person", 1)
    assert newest["way"][0] == [0.1, 0.6]
    assert (shop.config_path.read_text(), len(shop.plans)) == before, "nothing was changed"

    gone = ask(shop, {"zones": {"hall": {**WIDE, "loiter_s": 20, "classes": ["car"]}}})
    assert rows_of(gone)["hall", "enter", None] == (30, 0)
    [enter] = [change for change in gone.json["places"] if change["kind"] == "enter"]
    assert not any(example["added"] for example in enter["examples"])


def test_too_few_and_none_and_tracks_that_are_not_kept_are_said_so(shop: Shop) -> None:
    assert "No track was kept in the last 24 h" in ask(shop, {"lines": {"door": DOOR}}).json["note"]
    keep_tracks(shop, 3)
    few = ask(shop, {"lines": {"door": DOOR}}).json
    assert (few["tracks"], few["note"]) == (
        3,
        "Only 3 tracks were kept in the last 24 h: too few to rely on.",
    )
    assert ask(shop, {"lines": {"door": DOOR}}, hours=0.01).json["tracks"] == 0


def test_a_comparison_that_takes_too_long_ends_and_says_what_to_do(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_tracks(shop, 30)
    monkeypatch.setattr(api_what_if, "PLAY_S", 0.0)
    answer = ask(shop, {"lines": {"door": DOOR}})
    assert (answer.status, "take fewer hours" in answer.error) == (503, True)


def test_a_mistake_is_named_and_others_may_not_ask(shop: Shop) -> None:
    wrong = ask(shop, {"lines": {"door": {"points": [[3, 3], [4, 4]]}}})
    assert (wrong.status, "camera 'gate'" in wrong.error) == (422, True)
    assert ask(shop, {}, "operator").status == 403
    assert ask(shop, {}, "yards").status == 403
    nowhere = shop.front.post(
        "/api/v1/cameras/nowhere/what-if", {"value": {}}, session=shop.people.session("engineer")
    )
    assert nowhere.status == 404


def test_narrower_is_less(shop: Shop) -> None:
    keep_tracks(shop, 25)
    told = rows_of(ask(shop, {"zones": {"hall": {**NARROW, "loiter_s": 5}}}))
    assert ("hall", "loiter", None) not in told
    assert told["hall", "enter", None] == (0, 25)
