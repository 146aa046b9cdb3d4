"""A camera's streams are found from one URL: real RTSP servers, and a camera that tells by ONVIF."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sightline.entities import Role
from sightline.errors import SourceUnauthorized
from sightline.simulation.rtsp_server import RtspServer
from sightline.supervisor.http.api_tries import TriedUrl, TriesApi
from sightline.video import onvif
from support.camera_world import make_clip
from support.onvif_camera import onvif_camera
from support.people import people_of
from support.shop import Shop, shop_of

pytestmark = pytest.mark.rtsp


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RtspServer]:
    folder = tmp_path_factory.mktemp("clips")
    large = make_clip(folder / "large.mp4", 80, size=(1280, 720))
    small = make_clip(folder / "small.mp4", 80, size=(640, 360))
    tiny = make_clip(folder / "tiny.mp4", 80, size=(320, 180))
    names = {"Streaming/Channels/101": large, "Streaming/Channels/102": small, "Streaming/Channels/103": tiny}
    with RtspServer({**names, "one": large, "two": small}) as server:
        yield server


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with people_of(f"sqlite:///{folder}/people.db") as people, shop_of(people, folder) as made:
        people.add("engineer", Role.ENGINEER)
        yield made


def test_the_smaller_one_is_offered_to_be_watched_and_the_larger_as_main_stream(
    shop: Shop, camera: RtspServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onvif, "PORTS", (9,))
    session = shop.people.session("engineer")
    url = camera.url("Streaming/Channels/101").replace("rtsp://", "rtsp://u:hunter2@")
    answer = shop.front.post("/api/v1/probe/streams", {"url": url}, session=session)
    assert answer.status == 200, answer.body
    found = answer.json
    sizes = [(item["stream"]["width"], item["stream"]["height"]) for item in found["streams"]]
    assert (found["how"], sizes) == ("Hikvision", [(1280, 720), (640, 360), (320, 180)])
    assert (found["main"], found["analysis"]) == (0, 1), "320 pixels are too few"
    assert [item["url"] for item in found["streams"]] == [
        "",
        camera.url("Streaming/Channels/102"),
        camera.url("Streaming/Channels/103"),
    ]
    assert all(item["stream"]["picture"] and item["stream"]["fps"] for item in found["streams"])
    assert b"hunter2" not in answer.body
    entry = shop.people.audit()[-1]
    assert (entry.action, "hunter2" in entry.target) == ("probe", False)


def test_what_a_camera_tells_itself_comes_before_what_its_maker_is_known_for(
    shop: Shop, camera: RtspServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with onvif_camera() as told:
        monkeypatch.setattr(onvif, "PORTS", (told.port,))
        told.places = [f"rtsp://10.0.0.1:{camera.port}/{name}" for name in ("one", "nowhere", "two")]
        url = camera.url("two").replace("rtsp://", "rtsp://admin:hunter2@")
        session = shop.people.session("engineer")
        found = shop.front.post("/api/v1/probe/streams", {"url": url}, session=session).json
    sizes = [item["stream"]["width"] for item in found["streams"]]
    assert (found["how"], sizes, found["main"], found["analysis"]) == ("onvif", [640, 1280], 1, 0)


def test_a_camera_of_which_nothing_is_known_has_one_stream(
    shop: Shop, camera: RtspServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onvif, "PORTS", (9,))
    session = shop.people.session("engineer")
    found = shop.front.post("/api/v1/probe/streams", {"url": camera.url("one")}, session=session).json
    assert (found["how"], len(found["streams"]), found["main"], found["analysis"]) == ("", 1, 0, 0)
    refused = shop.front.post("/api/v1/probe/streams", {"url": "rtsp://u:p@127.0.0.1:9/"}, session=session)
    assert refused.status == 422


def test_a_camera_that_refuses_a_guess_is_asked_no_further(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look(_: TriesApi, url: str, timeout_s: float) -> TriedUrl:
        asked.append(url.rpartition("@")[2])
        if len(asked) == 2:
            raise SourceUnauthorized("refused")
        return TriedUrl("h264", 1280, 720, 10.0, 0, "")

    monkeypatch.setattr(TriesApi, "_look", look)
    monkeypatch.setattr(onvif, "PORTS", (9,))
    session = shop.people.session("engineer")
    sent = {"url": "rtsp://u:p@127.0.0.1/Streaming/Channels/101"}
    found = shop.front.post("/api/v1/probe/streams", sent, session=session).json
    assert len(found["streams"]) == 1
    assert asked == ["127.0.0.1/Streaming/Channels/101", "127.0.0.1/Streaming/Channels/102"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://10.0.0.1/", "gopher://x"])
def test_only_what_a_camera_may_have_is_tried(shop: Shop, url: str) -> None:
    session = shop.people.session("engineer")
    assert shop.front.post("/api/v1/probe/streams", {"url": url}, session=session).status == 422
