"""A camera's own video with boxes over it, in a real browser; everything is real but the detector.

The camera's pictures have a time code, and a bright bar that goes to and fro, which the detector finds.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from threading import Thread
from typing import Any

import av
import numpy as np
import pytest

from sightline.access.path_tokens import PathTokens
from sightline.config import parse_config
from sightline.config.media_options import MediaOptions
from sightline.entities import Role
from sightline.simulation.rtsp_server import RtspServer
from sightline.supervisor.fork_server import ForkedWorkers
from sightline.supervisor.http.api_live import LiveApi
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.media import MediaApi
from sightline.supervisor.http.sign_in_pages import SignInPages
from sightline.supervisor.media_servers import media_server_of
from sightline.supervisor.supervisor import Supervisor
from sightline.video import timecode
from support.browser import chromium
from support.fake_triton import NETWORK, FakeTriton
from support.front import known, served_door
from support.people import ROOT, People, people_of
from support.running_hub import running
from support.waiting import until

WIDTH, HEIGHT, FPS = 640, 360, 15
PERIOD_S = 8.0  # of the bar, there and back
SECONDS = 24  # of the loop: whole periods
BAR = 0.1  # of the width
FROM, WAY = 0.1, 0.7  # where the bar begins at its leftmost, and how far it goes
FRAME_S = 1 / FPS
#: How far the bar goes in a frame, in shares of the width.
STEP = 2 * WAY / PERIOD_S * FRAME_S
#: From one turn to the next: for how long the tracker has to learn of it, and what lies between two messages.
LEG_S, LEARNS_S, BETWEEN_S = PERIOD_S / 2, 1.8, 0.3


def bar_left(seconds: float) -> float:
    """Where the bar begins, in shares of the width."""
    phase = seconds / PERIOD_S % 1.0
    return FROM + WAY * (2 * phase if phase < 0.5 else 2 - 2 * phase)


def make_video(path: Path) -> Path:
    noise = np.random.default_rng(1).integers(20, 60, (HEIGHT, WIDTH), np.uint8)
    with av.open(str(path), "w") as sink:
        video = sink.add_stream("libx264", rate=FPS, options={"bf": "0", "preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.gop_size = FPS
        for index in range(SECONDS * FPS):
            picture = noise.copy()
            left = round(bar_left(index / FPS) * WIDTH)
            picture[80:280, left : left + round(BAR * WIDTH)] = 235
            timecode.draw(picture, timecode.TimeCode(round(1000 * index / FPS)))
            frame = av.VideoFrame.from_ndarray(np.stack([picture] * 3, axis=2), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            sink.mux(video.encode(frame))
        sink.mux(video.encode(None))
    return path


def find_bar(picture: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The box of the bar in the network's input; its edges to a fraction of a pixel."""
    height, width = NETWORK
    rows = picture[height // 3 : height // 2].astype(float).mean(axis=0)
    share = ((rows - 45) / (225 - 45)).clip(0, 1)
    share[share < 0.15] = 0
    if share.sum() < 3:
        return []
    middle = float((share * (np.arange(width) + 0.5)).sum() / share.sum())
    half = float(share.sum()) / 2
    return [((middle - half) / width, 0.3, (middle + half) / width, 0.7)]


#: Frames as they are shown: their time code's pixels, and the boxes that are drawn over them.
_SAMPLE = """
const [count, done] = arguments;
const video = document.getElementById("video");
const strip = new OffscreenCanvas(640, 16).getContext("2d", { willReadFrequently: true });
const samples = [];
const take = ({ detail }) => {
  let shown;
  try { shown = new VideoFrame(video); } catch { return; } // the very first
  const isNext = Math.abs(shown.timestamp / 1e6 - detail.frame.mediaTime) > 1e-3; // on a busy machine
  if (!isNext) strip.drawImage(shown, 0, video.videoHeight - 16, 640, 16, 0, 0, 640, 16);
  shown.close();
  if (isNext) return;
  const grey = strip.getImageData(0, 0, 640, 16).data.filter((_, index) => index % 4 === 1);
  const code = btoa(String.fromCharCode(...grey));
  samples.push({ code, boxes: detail.objects && detail.objects.map((object) => object.box) });
  if (samples.length < count) return;
  video.removeEventListener("overlay", take);
  const overlay = document.getElementById("overlay");
  const drawn = overlay.getContext("2d").getImageData(0, 0, overlay.width, overlay.height).data.some(Boolean);
  done({ samples, drawn, size: [video.videoWidth, video.videoHeight] });
};
video.addEventListener("overlay", take);
"""


class World:
    """A camera that is seen and one that hides something, their supervisor, go2rtc, and our port."""

    def __init__(self, folder: Path, parts: ExitStack, people: People) -> None:
        self.people = people
        triton = parts.enter_context(FakeTriton())
        triton.answer = find_bar
        video = make_video(folder / "bar.mp4")
        rtsp = parts.enter_context(RtspServer(dict.fromkeys(("gate", "hall"), video), media=True))
        hub = parts.enter_context(running(folder))
        config = parse_config(
            {
                "triton": {"url": triton.url, "transport": "grpc"},
                "log_level": "error",
                "media": rtsp.media,
                "cameras": {
                    "gate": {"url": rtsp.url("gate")},
                    "hall": {"url": rtsp.url("hall"), "privacy": {"blur": ["persons"]}},
                },
            }
        )
        assert not config.problems
        forked = ForkedWorkers(hub.live.take)
        parts.callback(forked.close)
        self.supervisor = Supervisor(config, hub, start_worker=forked.start)
        thread = Thread(target=self.supervisor.run)
        thread.start()
        parts.callback(thread.join)
        parts.callback(self.supervisor.stop)
        tokens = PathTokens()
        server = media_server_of(MediaOptions.model_validate(rtsp.media), tokens)
        media = MediaApi(
            config.options.media, config.cameras.__getitem__, lambda _: server, tokens, self._still_allowed
        )
        live = LiveApi(hub.live, self._still_allowed)
        pages = SignInPages(people.accounts)
        self.door = Door([*live.endpoints(), *media.endpoints(), *pages.endpoints()], known(people))
        self.front = parts.enter_context(served_door(self.door))
        until(lambda: all(status.frames_total > 5 for status in self.supervisor.statuses()), 60)

    async def _still_allowed(self, call: Call) -> bool:
        return await self.door.still_allowed(call)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("video")
    with ExitStack() as parts:
        people = parts.enter_context(people_of(f"sqlite:///{folder}/all.db"))
        people.add("Anna", Role.VIEWER)
        yield World(folder, parts, people)


@pytest.fixture
def browser(world: World, tmp_path: Path) -> Iterator[Any]:
    with chromium(tmp_path / "profile") as driver:
        driver.set_script_timeout(60)
        driver.get(f"{world.front.origin}/auth/sign-in")
        driver.add_cookie({"name": "sightline", "value": world.people.session()})
        yield driver


def text_of(browser: Any) -> str:
    return str(browser.find_element("id", "text").text)


@pytest.mark.rtsp
@pytest.mark.browser
def test_boxes_fit_the_video_to_within_a_frame(world: World, browser: Any) -> None:
    browser.get(f"{world.front.origin}/live/gate")
    deadline_s = time.monotonic() + 40
    while True:
        seen = browser.execute_async_script(_SAMPLE, 120)
        with_boxes = [sample for sample in seen["samples"] if sample["boxes"]]
        if len(with_boxes) >= 114 or time.monotonic() > deadline_s:
            break
    assert len(with_boxes) >= 114, f"{len(with_boxes)} of 120 frames have boxes; {text_of(browser)}"
    assert (seen["drawn"], seen["size"]) == (True, [WIDTH, HEIGHT])
    frames_off = []  # by how many frames a box is ahead of its picture
    for sample in with_boxes:
        strip = np.frombuffer(base64.b64decode(sample["code"]), np.uint8).reshape(16, WIDTH)
        code = timecode.read(strip)
        assert code is not None
        [[left, _, right, _]] = sample["boxes"]
        seconds = code.scene_ms / 1000
        if LEARNS_S <= seconds % LEG_S <= LEG_S - BETWEEN_S:
            way = math.copysign(STEP, bar_left(seconds) - bar_left(seconds - FRAME_S))
            frames_off.append(((left + right) / 2 - bar_left(seconds) - BAR / 2) / way)
    assert len(frames_off) >= 40
    assert np.abs(frames_off).max() < 0.5, np.round(frames_off, 2)
    lines = [line for line in browser.get_log("browser") if "favicon" not in line["message"]]
    problems = [line for line in lines if line["level"] == "SEVERE"]
    assert problems == []


@pytest.mark.rtsp
@pytest.mark.browser
def test_a_camera_that_hides_something_shows_pictures_that_are_covered(world: World, browser: Any) -> None:
    browser.get(f"{world.front.origin}/live/hall")
    until(
        lambda: browser.execute_script("return document.getElementById('pictures').naturalWidth") == WIDTH, 20
    )
    assert "privacy.blur" in text_of(browser)
    assert not browser.find_element("id", "video").is_displayed()


@pytest.mark.rtsp
@pytest.mark.browser
def test_a_page_ends_its_video_with_the_sign_in_and_asks_strangers_to_sign_in(
    world: World, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.supervisor.http.api_live.ASK_S", 0.3)
    browser.get(f"{world.front.origin}/live/gate")
    browser.execute_async_script(_SAMPLE, 5)
    world.people.accounts.set_cameras("Anna", ["hall"], ROOT)
    until(lambda: "sign-in has ended" in text_of(browser), 10)
    assert not browser.find_element("id", "video").is_displayed()
    browser.get(f"{world.front.origin}/live/gate")
    until(lambda: browser.current_url.endswith("/auth/sign-in?next=%2Flive%2Fgate"), 10)
    world.people.accounts.set_cameras("Anna", None, ROOT)


@pytest.mark.rtsp
def test_hls_of_go2rtc_comes_through_our_port(world: World) -> None:
    token = world.people.tokens.create("player", Role.VIEWER, ROOT, days=1, cameras=["gate"])
    options = {"headers": f"Authorization: Bearer {token}\r\n"}
    with av.open(f"{world.front.origin}/live/gate/hls/index.m3u8", options=options, timeout=20) as stream:
        codes = [
            timecode.read(frame.to_ndarray(format="gray"))
            for frame, _ in zip(stream.decode(video=0), range(20), strict=False)
        ]
    assert all(codes)
    assert world.front.ask("/live/hall/hls/index.m3u8", token=token).status == 403
    played = world.front.ask("/live/gate/hls/index.m3u8", token=token).body.decode().splitlines()[-1]
    assert world.front.ask(f"/live/gate/hls/{played}", token=token).status == 200
    assert world.front.ask(f"/live/gate/hls/{played[:-1]}", token=token).status == 404
