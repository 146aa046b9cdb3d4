"""Other streams of a camera: by what its maker's URLs are like, and by what it tells by ONVIF."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sightline.video import onvif
from sightline.video.onvif import onvif_streams
from sightline.video.stream_patterns import other_streams
from support.onvif_camera import OnvifCamera, onvif_camera

HOST = "rtsp://u:p%40ss@10.0.0.9:554"


@pytest.mark.parametrize(
    ("maker", "known", "others"),
    [
        ("Hikvision", "/Streaming/Channels/101", ["/Streaming/Channels/102", "/Streaming/Channels/103"]),
        ("Hikvision", "/ISAPI/Streaming/channels/1602?x=1", ["/ISAPI/Streaming/channels/1601?x=1"]),
        ("Hikvision", "/h264/ch1/main/av_stream", ["/h264/ch1/sub/av_stream"]),
        ("Dahua", "/cam/realmonitor?channel=1&subtype=0", ["/cam/realmonitor?channel=1&subtype=1"]),
        ("Dahua", "/cam/realmonitor?channel=2&subtype=1&x=y", ["/cam/realmonitor?channel=2&subtype=0&x=y"]),
        ("Axis", "/axis-media/media.amp", ["/axis-media/media.amp?resolution=640x360"]),
        ("Axis", "/axis-media/media.amp?resolution=320x240", ["/axis-media/media.amp"]),
        ("Reolink", "/h264Preview_01_main", ["/h264Preview_01_sub"]),
        ("Reolink", "/h265Preview_01_main", ["/h264Preview_01_sub", "/h265Preview_01_sub"]),
        ("Reolink", "/Preview_02_sub", ["/Preview_02_main"]),
        ("UniFi", "/s0", ["/s1", "/s2"]),
        ("UniFi", "/5c1a2b3c4d5e6f70_0", ["/5c1a2b3c4d5e6f70_1", "/5c1a2b3c4d5e6f70_2"]),
        ("TP-Link", "/stream1", ["/stream2"]),
        ("", "/Gr4tK0dvWmXe9aXb?enableSrtp", []),
        ("", "", []),
    ],
)
def test_the_other_streams_of_a_makers_camera(maker: str, known: str, others: list[str]) -> None:
    name, found = other_streams(HOST + known)
    assert name == maker
    assert {HOST + other for other in others} <= set(found)
    assert HOST + known not in found
    assert len(found) <= 3


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnvifCamera]:
    with onvif_camera() as made:
        monkeypatch.setattr(onvif, "PORTS", (9, made.port))  # the first one is closed
        yield made


def test_a_camera_tells_its_streams_though_its_clock_is_wrong(camera: OnvifCamera) -> None:
    assert onvif_streams("rtsp://admin:hunter2@127.0.0.1:554/anything") == [
        "rtsp://admin:hunter2@127.0.0.1:8554/main",
        "rtsp://admin:hunter2@127.0.0.1:8554/sub?a=1&b=2",
    ], "at the host that is known, whatever the camera says"
    assert camera.asked == ["GetSystemDateAndTime", "GetCapabilities", "GetProfiles", *["GetStreamUri"] * 2]


def test_a_wrong_password_is_shown_once_and_tells_nothing(camera: OnvifCamera) -> None:
    assert onvif_streams("rtsp://admin:wrong@127.0.0.1/") == []
    assert camera.asked == ["GetSystemDateAndTime", "GetCapabilities"]


def test_what_would_be_less_safe_or_is_no_answer_is_not_taken(camera: OnvifCamera) -> None:
    assert onvif_streams("rtsps://admin:hunter2@127.0.0.1/") == []
    camera.extra = '<!DOCTYPE a [<!ENTITY b "cccccccccc">]>'
    assert onvif_streams("rtsp://admin:hunter2@127.0.0.1/") == []


def test_a_camera_without_onvif_is_left_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onvif, "PORTS", (9,))
    assert onvif_streams("rtsp://admin:hunter2@127.0.0.1/") == []
