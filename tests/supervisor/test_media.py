"""Cameras' own video through our port: who gets it, and that the media server is asked by nobody else.

MediaMTX is a stand-in that asks us what MediaMTX's documentation says that it asks.
"""

from __future__ import annotations

import base64
import hmac
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from sightline.access.path_tokens import LIFE_S, PathTokens
from sightline.config import parse_config
from sightline.config.media_options import MediaOptions
from sightline.entities import Role
from sightline.supervisor import media_servers
from sightline.supervisor.http import media
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.media import MediaApi
from sightline.supervisor.media_servers import media_server_of
from support.front import Answer, known, served_door
from support.media_mtx import ANSWER, FILES, MediaMtxStandIn, session_names
from support.people import ROOT, People, people_of
from support.waiting import until

LINES = [
    *("v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:0"),
    *("a=recvonly", "a=rtpmap:96 H264/90000", "a=ice-ufrag:abcd", "a=ice-pwd:abcdefghabcdefghabcdefgh"),
    *("a=fingerprint:sha-256 AA:BB", "a=candidate:1 1 udp 2113937151 127.0.0.1 9 typ host"),
]
OFFER = "\r\n".join([*LINES, ""]).encode()
SDP = {"Content-Type": "application/sdp"}
CAMERAS: dict[str, Any] = {
    "gate": {"url": "rtsp://u:hunter2@h/main", "sub_url": "rtsp://u:hunter2@h/sub"},
    "yard": {"url": "rtsp://h/", "live": {"video": "main"}, "stream": {"rtsp_transport": "udp"}},
    "hall": {"url": "rtsp://h/", "privacy": {"blur": ["faces"]}},
    "dark": {"url": "rtsp://h/", "live": {"video": "off"}},
    "old": {"url": "http://h/"},
}


class World:
    """Cameras, people with a token for each, MediaMTX, and our port."""

    def __init__(self, people: People, parts: ExitStack, **options: Any) -> None:
        self.people, self.now = people, time.time()
        self.cameras = dict(parse_config({"allow": {"http": True}, "cameras": CAMERAS}).cameras)
        self.mtx = parts.enter_context(MediaMtxStandIn())
        self.tokens = PathTokens(lambda: self.now)
        chosen = MediaOptions.model_validate({**self.mtx.options, **options})
        server = media_server_of(chosen, self.tokens)
        api = MediaApi(chosen, self.cameras.__getitem__, lambda _: server, self.tokens, self._still)
        self.api = api
        self.door = Door(api.endpoints(), known(people))
        self.front = parts.enter_context(served_door(self.door))
        self.mtx.ask_at = f"{self.front.origin}/media/authorize"

    async def _still(self, call: Call) -> bool:
        return await self.door.still_allowed(call)

    def token(self, *cameras: str) -> str:
        return self.people.tokens.create(
            f"of-{'-'.join(cameras)}", Role.VIEWER, ROOT, days=1, cameras=cameras
        )

    def offer(self, camera: str, token: str) -> Answer:
        return self.front.ask(f"/live/{camera}/whep", "POST", OFFER, token=token, headers=SDP)

    def video(self, camera: str, token: str) -> dict[str, Any]:
        found: dict[str, Any] = self.front.ask(f"/api/v1/cameras/{camera}/video", token=token).json
        return found


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_of(f"sqlite:///{tmp_path}/all.db") as made:
        made.now = time.time()
        yield made


@pytest.fixture
def world(people: People) -> Iterator[World]:
    with ExitStack() as parts:
        yield World(people, parts)


def test_a_viewer_gets_an_answer_and_the_server_is_told_where_the_camera_is(world: World) -> None:
    token = world.token("gate", "yard")
    answer = world.offer("gate", token)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (
        201,
        ANSWER.encode(),
        "application/sdp",
    )
    assert world.mtx.offers == [OFFER.decode()]
    told = world.mtx.paths["gate"]
    assert (told["source"], told["sourceOnDemand"]) == ("rtsp://u:hunter2@h/sub", True)
    assert answer.headers["location"] == f"/live/gate/whep/{session_names(world.mtx)[0]}"
    world.offer("yard", token)
    assert world.mtx.paths["yard"]["rtspTransport"] == "udp"
    world.cameras["gate"] = parse_config(
        {"cameras": {"gate": {**CAMERAS["gate"], "live": {"video": "main"}}}}
    ).cameras["gate"]
    world.offer("gate", token)
    assert world.mtx.paths["gate"]["source"] == "rtsp://u:hunter2@h/main"


def test_nobody_else_gets_one_and_the_media_server_does_not_hear_of_it(world: World) -> None:
    token = world.token("gate")
    assert [world.offer("gate", "").status, world.offer("gate", "slt_forged").status] == [401, 401]
    assert world.offer("yard", token).status == 403
    assert world.front.ask("/live/yard/hls/index.m3u8", token=token).status == 403
    assert world.front.ask("/api/v1/cameras/yard/video", token=token).status == 403
    assert world.offer("nowhere", world.token("nowhere")).status == 404
    assert world.mtx.asked == []


@pytest.mark.parametrize(
    ("camera", "why"), [("hall", "privacy.blur"), ("dark", "live.video off"), ("old", "RTSP")]
)
def test_a_camera_that_hides_something_has_no_video(world: World, camera: str, why: str) -> None:
    token = world.token(camera)
    shown = world.video(camera, token)
    assert (shown["whep"], shown["hls"]) == (None, None)
    assert why in shown["problem"]
    for answer in (
        world.offer(camera, token),
        world.front.ask(f"/live/{camera}/hls/index.m3u8", token=token),
    ):
        assert (answer.status, why in answer.error) == (404, True)
    assert world.mtx.asked == []


def test_hls_comes_through_our_port_and_nothing_else_does(world: World) -> None:
    token = world.token("gate")
    assert world.video("gate", token)["hls"] == "/live/gate/hls/index.m3u8"
    for name, data in FILES.items():
        answer = world.front.ask(f"/live/gate/hls/{name}?_HLS_msn=7&jwt=x", token=token)
        assert (answer.status, answer.body) == (200, data)
        assert world.mtx.asked[-1]["query"] == "_HLS_msn=7"
    assert answer.headers["content-type"] == "video/mp4"
    for name in ("other.mp4", "..%2f..%2fv3%2fpaths%2flist", "%2e%2e", "index.html", "whep"):
        assert world.front.ask(f"/live/gate/hls/{name}", token=token).status == 404
    assert {item["path"] for item in world.mtx.asked} == {"gate", ""}


def test_the_media_server_answers_nobody_but_us(world: World) -> None:
    world.offer("gate", world.token("gate"))
    paths = ("/gate/index.m3u8", "/v3/config/paths/list", "/v3/webrtcsessions/list")
    yards = world.tokens.make("read", "yard")
    of_both = world.token("gate", "yard")
    for path in paths:
        for token in ("", "nonsense", of_both, yards):
            request = urllib.request.Request(
                world.mtx.url + path, headers={"Authorization": f"Bearer {token}"}
            )
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(request, timeout=10)


#: What MediaMTX's documentation says that it sends, what its token is made for, and the answer.
QUESTIONS = [
    ({"action": "read", "protocol": "webrtc", "path": "gate"}, ("read", "gate"), 204),
    ({"action": "read", "protocol": "hls", "path": "gate"}, ("read", "gate"), 204),
    ({"action": "read", "protocol": "webrtc", "path": "yard"}, ("read", "gate"), 401),
    ({"action": "read", "protocol": "rtsp", "path": "gate"}, None, 401),
    ({"action": "publish", "protocol": "webrtc", "path": "gate"}, ("read", "gate"), 401),
    ({"action": "publish", "protocol": "rtsp", "path": "gate", "user": "u", "password": "p"}, None, 401),
    ({"action": "playback", "protocol": "", "path": "gate"}, ("read", "gate"), 401),
    ({"action": "api", "protocol": "", "path": ""}, ("api", ""), 204),
    ({"action": "api", "protocol": "", "path": ""}, ("read", "gate"), 401),
    ({"action": "pprof", "protocol": "", "path": ""}, ("api", ""), 401),
]


@pytest.mark.parametrize(("question", "made_for", "status"), QUESTIONS)
def test_its_documented_questions_are_answered(
    world: World, question: dict[str, str], made_for: tuple[str, str] | None, status: int
) -> None:
    token = world.tokens.make(*made_for) if made_for else ""
    plain = {"user": "", "password": "", "ip": "172.30.250.3", "query": "", "id": None}
    assert world.mtx.ask({**plain, **question, "token": token}) == status
    world.now += LIFE_S
    assert world.mtx.ask({**plain, **question, "token": token}) == 401


def test_a_viewer_who_leaves_ends_his_session_and_no_other(world: World) -> None:
    token = world.token("gate", "yard")
    mine, other = (world.offer(camera, token).headers["location"] for camera in ("gate", "yard"))
    assert len(world.mtx.sessions) == 2
    assert world.front.ask(other.replace("yard", "gate"), "DELETE", token=token).status == 404
    assert world.front.ask(mine, "DELETE", token=token).status == 204
    assert [name for name, _ in world.mtx.sessions.values()] == ["yard"]
    assert world.front.ask(mine, "DELETE", token=token).status == 404


def test_a_session_ends_with_the_token_it_was_asked_for_by(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "ASK_S", 0.1)
    token = world.token("gate")
    world.offer("gate", token)
    world.offer("yard", world.token("yard"))
    time.sleep(0.5)
    assert len(world.mtx.sessions) == 2
    world.people.tokens.revoke("of-gate", ROOT)
    until(lambda: [name for name, _ in world.mtx.sessions.values()] == ["yard"], 5)
    world.mtx.sessions.clear()
    until(lambda: not world.api._sessions, 5)


def test_a_session_ends_when_its_camera_begins_to_hide_something(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "ASK_S", 0.1)
    world.offer("gate", world.token("gate"))
    world.cameras["gate"] = world.cameras["gate"].model_copy(
        update={"privacy": world.cameras["hall"].privacy}
    )
    until(lambda: not world.mtx.sessions, 5)
    until(lambda: not world.api._sessions, 5)


def test_one_person_has_a_quarter_of_the_sessions_at_most(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "MAX_SESSIONS", 8)
    with ExitStack() as parts:
        world = World(people, parts)
        token, other = world.token("gate"), world.token("gate", "yard")
        first, *rest = [world.offer("gate", token) for _ in range(3)]
        assert [answer.status for answer in (first, *rest)] == [201, 201, 429]
        assert "may have 2 open at once" in rest[-1].error
        assert world.offer("gate", other).status == 201
        assert world.front.ask(first.headers["location"], "DELETE", token=token).status == 204
        assert [world.offer("gate", token).status for _ in range(2)] == [201, 429]


def test_not_too_many_watch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MAX_SESSIONS", 1)
    token = world.token("gate")
    assert [world.offer("gate", token).status for _ in range(2)] == [201, 503]


def test_a_media_server_that_is_away_is_said_and_holds_nothing_up(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(media_servers, "TIMEOUT_S", 0.5)
    token = world.token("gate")
    world.mtx.__exit__()
    answer = world.offer("gate", token)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "the media server does not answer" in caplog.text
    assert "hunter2" not in caplog.text + answer.error


def test_without_a_media_server_there_is_no_video(people: People) -> None:
    with ExitStack() as parts:
        world = World(people, parts, url=None, api_url=None)
        token = world.token("gate")
        assert world.video("gate", token)["problem"] == "there is no media server: media.url is not set"
        assert world.offer("gate", token).status == 404


def test_a_viewer_gets_a_password_for_the_relay_that_ends(people: People) -> None:
    turn = {"urls": ["turn:t.example:3478"], "secret": "shared", "valid_s": 600}
    with ExitStack() as parts:
        world = World(people, parts, turn=turn, stun_urls=["stun:s.example:3478"])
        stun, relay = world.video("gate", world.token("gate"))["ice_servers"]
    assert stun == {"urls": ["stun:s.example:3478"], "username": None, "credential": None}
    assert relay["urls"] == ["turn:t.example:3478"]
    expires, _, name = relay["username"].partition(":")
    assert (abs(int(expires) - time.time() - 600) < 5, name) == (True, "token%20of-gate")
    # As coturn checks it (use-auth-secret): HMAC-SHA1 of the user's name with the shared secret.
    password = base64.b64encode(hmac.new(b"shared", relay["username"].encode(), sha1).digest())
    assert relay["credential"] == password.decode()


def test_what_is_no_offer_is_refused(world: World) -> None:
    token = world.token("gate")
    ask = world.front.ask
    assert ask("/live/gate/whep", "POST", b"{}", token=token).status == 415
    assert ask("/live/gate/whep", "POST", b"\xff", token=token, headers=SDP).status == 400
    assert ask("/live/gate/whep", "POST", token=token, headers=SDP).status == 422
    assert ask("/live/gate/whep", "POST", b"x" * 70_000, token=token, headers=SDP).status == 413


@pytest.mark.parametrize(
    "part", ["v=", "m=", "a=mid", "a=rtpmap", "a=ice-ufrag", "a=ice-pwd", "a=fingerprint"]
)
def test_what_is_no_offer_of_a_browser_does_not_reach_the_media_server(world: World, part: str) -> None:
    """A few such offers a second ended go2rtc, and with it every camera of the demo."""
    token = world.people.tokens.create("t", Role.VIEWER, ROOT, days=1)
    kept = [line for line in LINES if not line.startswith(part)]
    for lines in (
        kept,
        [*LINES, *9 * LINES[4:]],
        [*LINES, "m=audio 9 UDP/TLS/RTP/SAVPF 0"],
        [*LINES, "a=candidate:x"],
    ):
        sent = "\r\n".join([*lines, ""]).encode()
        assert world.front.ask("/live/gate/whep", "POST", sent, token=token, headers=SDP).status == 422
    assert world.mtx.offers == []
    assert world.mtx.asked == []
