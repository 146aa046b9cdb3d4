"""Events and alerts by WebSocket, over the real port: who is told what, resumed, bounded, ended in time."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import websockets
import websockets.sync.client

from sightline.config.groups import HttpOptions
from sightline.entities import Alert, AlertState, Event, EventEnd, EventKind, Role
from sightline.errors import StoreUnavailable
from sightline.store.database import Store
from sightline.store.kinds import pending_row
from sightline.store.read.readonly import Database
from sightline.supervisor.http import api_feed, event_feed, http_server, open_socket
from sightline.supervisor.http.api_feed import FeedApi
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.event_feed import EventFeed
from sightline.supervisor.http.feed_message import feed_schema
from sightline.supervisor.http.visitors import NobodyElse, Visitors
from support.front import Front, known, served_door
from support.people import ROOT, People
from support.stored import read_rows
from support.waiting import until

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "schemas" / "feed.v1.json"
T0 = 1_790_000_000.0
ENTER = Event("gate", EventKind.ENTER, "yard", 1, "person", T0, T0, first_time=T0)
ALERT = Alert(
    "alert-1", "night", "gate", "enter", "yard", "person", None, "warning", AlertState.NEW, T0, T0, T0
)  # fmt: skip
Message = dict[str, Any]


class Results:
    """A database that is written to, and can be away."""

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.store.open()
        self.database = Database(url, timeout_s=10.0)
        self.away = self.spooled = False
        self.readings = 0
        self.feed = EventFeed(self, lambda: self.spooled)  # type: ignore[arg-type]
        self.store.on_change = self.feed.notice
        self._ordinals = iter(range(10**6))

    @contextmanager
    def reading(self) -> Iterator[Any]:
        if self.away:
            raise StoreUnavailable("away")
        self.readings += 1
        with self.database.reading() as connection:
            yield connection

    def write(self, *entities: Any) -> None:
        self.store.write_rows([pending_row(entity, 1) for entity in entities])

    def happen(self, number: int = 1, source: str = "gate") -> list[int]:
        """So many events; their ordinals."""
        made = [replace(ENTER, source=source, ordinal=next(self._ordinals)) for _ in range(number)]
        self.write(*made)
        return [event.ordinal for event in made]

    def close(self) -> None:
        self.store.close()
        self.database.close()


@pytest.fixture
def results(database_url: str) -> Iterator[Results]:
    with closing(Results(database_url)) as made:
        yield made


@dataclass(frozen=True)
class World:
    front: Front

    def open(
        self, after: str = "", token: str = "", headers: Mapping[str, str] | None = None
    ) -> websockets.sync.client.ClientConnection:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.front.origin.replace('http', 'ws')}/ws/events{f'?after={after}' if after else ''}"
        return websockets.sync.client.connect(
            url, additional_headers={**sent, **(headers or {})}, open_timeout=10
        )


@contextmanager
def world_of(results: Results, visitors: Visitors | None = None) -> Iterator[World]:
    async def still_allowed(call: Call) -> bool:
        return await door.still_allowed(call)

    door = Door(FeedApi(results.feed, still_allowed).endpoints(), visitors or NobodyElse())
    with served_door(door) as front:
        yield World(front)


@pytest.fixture
def world(results: Results) -> Iterator[World]:
    with world_of(results) as made:
        yield made


def messages(connection: websockets.sync.client.ClientConnection, count: int) -> list[Message]:
    return [json.loads(connection.recv(timeout=20)) for _ in range(count)]


def ordinals(results: Results, found: list[Message]) -> list[int]:
    """Which events they tell of, by their places in the database."""
    url = str(results.store._engine.url.render_as_string(hide_password=False))
    rows = {str(row["id"]).replace("-", ""): row["ordinal"] for row in read_rows(url, "events")}
    return [rows[message["event"]["id"].replace("-", "")] for message in found]


# -- what is told -----------------------------------------------------------------------------------------


def test_the_schema_of_the_documents_is_that_of_the_messages() -> None:
    cure = "sightline schema --stream feed > docs/schemas/feed.v1.json"
    assert json.loads(SCHEMA_FILE.read_text()) == feed_schema(), cure


def test_events_and_alerts_come_as_they_change(world: World, results: Results) -> None:
    results.happen()
    with world.open() as reader:
        [start] = messages(reader, 1)
        assert (start["type"], start["resumed"]) == ("start", False)
        visit = replace(ENTER, track_id=9)
        results.write(visit, ALERT)
        results.write(EventEnd(visit, T0 + 5), replace(ALERT, state=AlertState.RESOLVED))
        found = messages(reader, 2)
        while len(found) < 4:  # both changes of each, or the newest of one that came while it read
            with suppress(TimeoutError):
                found.append(json.loads(reader.recv(timeout=1.0)))
                continue
            break
    schema = json.loads(SCHEMA_FILE.read_text())
    for message in (start, *found):
        jsonschema.validate(message, schema)
    newest = {message["type"]: message for message in found}
    assert newest["event"]["event"]["end_time"] == T0 + 5
    assert newest["alert"]["alert"]["state"] == "resolved"
    assert [int(message["id"]) for message in found] == sorted(int(message["id"]) for message in found)


def test_who_comes_back_is_told_what_was_missed_and_nothing_twice(world: World, results: Results) -> None:
    seen: list[int] = []
    with world.open() as reader:
        [last] = messages(reader, 1)
    for _ in range(4):
        missed = results.happen(7)
        with world.open(last["id"]) as reader:
            assert messages(reader, 1)[0]["resumed"]
            late = results.happen(3)
            found = messages(reader, 5)  # and breaks off in the middle
            last = found[-1]
            seen += ordinals(results, found)
        with world.open(last["id"]) as reader:
            found = messages(reader, 6)[1:]
            last = found[-1]
            seen += ordinals(results, found)
        assert seen[-10:] == missed + late


@pytest.mark.parametrize("after", ["0", str(10**18)])
def test_who_has_missed_too_much_begins_anew_and_is_told_so(
    world: World, results: Results, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setattr(event_feed, "MAX_BEHIND", 2)
    results.happen(3)
    with world.open(after) as reader:
        assert messages(reader, 1)[0]["resumed"] is False
        made = results.happen()
        assert ordinals(results, messages(reader, 1)) == made


def test_everything_is_told_after_nothing(world: World, results: Results) -> None:
    made = results.happen(3)
    with world.open("0") as reader:
        start, *found = messages(reader, 4)
    assert (start["resumed"], ordinals(results, found)) == (True, made)


@pytest.mark.parametrize("after", ["-1", "x", "1.5", str(1 << 63)])
def test_an_id_that_is_no_number_is_refused(world: World, after: str) -> None:
    with pytest.raises(websockets.InvalidStatus, match="403"):
        world.open(after)


# -- the database -----------------------------------------------------------------------------------------


def test_a_database_that_is_away_is_told_and_what_was_missed_comes(
    world: World, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "POLL_S", 0.1)
    with world.open() as reader:
        messages(reader, 1)
        results.away = True
        [told] = messages(reader, 1)
        assert (told["type"], told["answers"]) == ("database", False)
        made = results.happen(3)
        with world.open(told["id"]) as late, world.open() as later:  # they come while it is away
            assert messages(late, 1)[0]["answers"] is False
            start, told = messages(later, 2)
            assert (start["resumed"], told["answers"]) == (False, False)
            results.away = False
            back, *found = messages(reader, 4)
            assert (back["answers"], ordinals(results, found)) == (True, made)
            assert [item["type"] for item in messages(late, 2)] == ["start", "database"]
            assert ordinals(results, messages(late, 3)) == made
            back, *found = messages(later, 4)
            assert (back["answers"], ordinals(results, found)) == (True, made)
        results.spooled = True  # it can be read, and nothing is written there
        assert messages(reader, 1)[0]["answers"] is False


def test_a_commit_wakes_the_readers(world: World, results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "POLL_S", 30.0)
    with world.open() as reader:
        messages(reader, 1)
        for _ in range(5):
            began_s = time.monotonic()
            results.happen()
            messages(reader, 1)
            assert time.monotonic() - began_s < 10.0


def test_what_another_program_writes_comes_too(
    world: World, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "POLL_S", 0.1)
    results.store.on_change = lambda: None
    with world.open() as reader:
        messages(reader, 1)
        results.happen()
        messages(reader, 1)


def test_many_readers_cost_one_reading(
    world: World, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "POLL_S", 30.0)
    with ExitStack() as stack:
        readers = [stack.enter_context(world.open()) for _ in range(40)]
        for reader in readers:
            messages(reader, 1)
        before = results.readings
        results.happen(5)
        for reader in readers:
            assert len(messages(reader, 5)) == 5
        assert results.readings - before <= 2
    until(lambda: results.feed._reading is None)
    before = results.readings
    results.happen()
    time.sleep(0.2)
    assert results.readings == before, "nobody follows"


def test_a_quiet_connection_says_that_it_lives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "POLL_S", 0.1)
    monkeypatch.setattr(event_feed, "ALIVE_S", 0.3)
    with world.open() as reader:
        assert [message["type"] for message in messages(reader, 3)] == ["start", "alive", "alive"]


# -- slow ones --------------------------------------------------------------------------------------------


def test_a_slow_reader_reads_on_from_the_database_and_costs_no_queue(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"MAX_KEPT": 20, "PAGE": 30, "AT_HAND": 5, "POLL_S": 0.05}.items():
        monkeypatch.setattr(event_feed, name, value)

    async def follow() -> None:
        slow, quick = (results.feed.follow(None, lambda _: True) for _ in range(2))
        assert [json.loads(await anext(one))["type"] for one in (slow, quick)] == ["start", "start"]
        made: list[int] = []
        for _ in range(10):
            made += results.happen(25)
            await asyncio.sleep(0.02)
        found = [json.loads(await anext(quick)) for _ in made]
        reading = results.feed._reading
        assert reading is not None
        assert len(reading._kept) <= 20
        assert reading._begins > int(found[0]["id"])
        late = [json.loads(await anext(slow)) for _ in made]
        assert [item["id"] for item in late] == [item["id"] for item in found]
        assert ordinals(results, late) == made
        for one in (slow, quick):
            await one.aclose()
        assert results.feed._reading is None

    asyncio.run(follow())


def test_too_many_are_told_to_come_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_feed, "MAX_READERS", 1)
    with world.open() as first:
        messages(first, 1)
        with world.open() as second, pytest.raises(websockets.ConnectionClosed) as closed:
            messages(second, 1)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013


# -- who may ----------------------------------------------------------------------------------------------


def test_one_is_told_of_the_cameras_that_one_sees(results: Results, people: People) -> None:
    tokens = {
        name: people.tokens.create(name, Role.VIEWER, ROOT, days=1, cameras=cameras)
        for name, cameras in (("gate", ["gate"]), ("none", []), ("all", None))
    }
    with world_of(results, known(people)) as world:
        for token in ("", "slt_forged"):
            with pytest.raises(websockets.InvalidStatus, match="403"):
                world.open(token=token)
        with ExitStack() as stack:
            readers = {name: stack.enter_context(world.open(token=token)) for name, token in tokens.items()}
            ids = {name: messages(reader, 1)[0]["id"] for name, reader in readers.items()}
            results.write(
                replace(ENTER, source="yard"),
                replace(ENTER, source="", kind=EventKind.CAMERA_OFFLINE, track_id=0),
                replace(ALERT, alert_id="alert-2", source="yard"),
                replace(ALERT, alert_id="alert-3", source=""),
                ENTER,
                ALERT,
            )
            assert len(messages(readers["all"], 6)) == 6
            found = messages(readers["gate"], 2)
            assert {(item.get("event") or item["alert"])["source"] for item in found} == {"gate"}
            with pytest.raises(TimeoutError):
                readers["none"].recv(timeout=0.5)
        with world.open(ids["gate"], tokens["gate"]) as again:
            assert [item["type"] for item in messages(again, 3)] == ["start", "event", "alert"]
            with pytest.raises(TimeoutError):
                again.recv(timeout=0.5)


def test_one_person_follows_a_quarter_of_all_times_at_most(
    results: Results, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_feed, "MAX_READERS", 8)
    greedy, other = (people.tokens.create(name, Role.VIEWER, ROOT, days=1) for name in ("greedy", "other"))
    with world_of(results, known(people)) as world, ExitStack() as stack:
        for token in (greedy, greedy, other):
            messages(stack.enter_context(world.open(token=token)), 1)
        with world.open(token=greedy) as third, pytest.raises(websockets.ConnectionClosed) as closed:
            messages(third, 1)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:10]) == (1013, "one person")


@pytest.mark.parametrize("end", ["token", "role", "sign-out"])
def test_it_is_closed_soon_after_the_right_has_ended(
    results: Results, people: People, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(open_socket, "ASK_S", 0.2)
    people.add("Anna", Role.OPERATOR)
    session, token = people.session(), people.tokens.create("t", Role.VIEWER, ROOT, days=1)
    with world_of(results, known(people)) as world:
        cookie = {"Cookie": f"sightline={session}", "Origin": world.front.origin}
        with world.open(token=token) if end == "token" else world.open(headers=cookie) as reader:
            messages(reader, 1)
            time.sleep(0.5)
            if end == "token":
                people.tokens.revoke("t", ROOT)
            elif end == "role":
                people.accounts.set_role("Anna", Role.VIEWER, ROOT)
            else:
                people.accounts.sign_out(session)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                messages(reader, 1)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        until(lambda: results.feed._reading is None, 5)


def deaf_client(world: World, token: str) -> socket.socket:
    """A WebSocket whose client never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(world.front.address)
    head = (
        "GET /ws/events HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Authorization: Bearer {token}",
    )  # fmt: skip
    client.sendall("\r\n".join([*head, "", ""]).encode())
    return client


def test_one_that_does_not_read_is_cut_off_with_the_right_too(
    results: Results, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_socket, "ASK_S", 0.2)
    monkeypatch.setattr(open_socket, "CLOSE_S", 0.2)
    monkeypatch.setattr(http_server, "CLOSE_S", 0.2)
    token = people.tokens.create("t", Role.VIEWER, ROOT, days=1)
    with world_of(results, known(people)) as world, closing(deaf_client(world, token)):
        until(lambda: results.feed._reading is not None)
        for batch in range(20):
            long = replace(ALERT, comment="x" * 5000)
            results.write(*(replace(long, alert_id=f"{batch}-{number}") for number in range(20)))
        [protocol] = world.front.connections
        until(lambda: not protocol.writable.is_set(), 10)  # it waits
        assert protocol.transport.get_write_buffer_size() < 200_000
        people.tokens.revoke("t", ROOT)
        until(lambda: not world.front.connections, 10)
        assert results.feed._reading is None


@pytest.mark.parametrize("wild", ["pings", "parts"])
def test_a_client_that_makes_work_and_reads_nothing_is_cut_off(
    results: Results, people: People, wild: str
) -> None:
    token = people.tokens.create("t", Role.VIEWER, ROOT, days=1)
    frame = {"pings": b"\x89\xfd" + bytes(4) + bytes(125), "parts": b"\x00\x80" + bytes(4)}[wild]
    with world_of(results, known(people)) as world, closing(deaf_client(world, token)) as client:
        until(lambda: results.feed._reading is not None)
        if wild == "parts":
            client.sendall(b"\x01\x80" + bytes(4))
        with suppress(OSError):
            for _ in range(2000):
                client.sendall(frame * 100)
        until(lambda: not world.front.connections, 10)


def test_the_feed_goes_on_at_another_port(results: Results) -> None:
    with world_of(results) as world:
        with world.open() as reader:
            [last] = messages(reader, 1)
        with world.open() as reader:
            messages(reader, 1)
            world.front.server.move(HttpOptions(port=0))
            with pytest.raises(websockets.ConnectionClosed):
                messages(reader, 1)
        until(lambda: world.front.server._server.started)
        made = results.happen(2)
        with world.open(last["id"]) as reader:
            assert ordinals(results, messages(reader, 3)[1:]) == made
