"""Pictures of scenes: repeatable, true to the id buffer, with a time code that survives encoding."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from sightline.simulation.rtsp_server import RtspServer
from sightline.simulation.scenes.__main__ import build_parser, main
from sightline.simulation.scenes.encode import Coding, cached, live_command, options_of, pictures
from sightline.simulation.scenes.scene import painter, samples, world_of
from sightline.simulation.scenes.spec import SCENES, SceneSpec
from sightline.simulation.scenes.world import Snapshot
from sightline.video import timecode
from sightline.video.timecode import TimeCode

SMALL = {"width": 320, "height": 180}


@pytest.mark.parametrize("scene", SCENES)
def test_pictures_are_the_same_for_one_seed(scene: str) -> None:
    spec = SceneSpec(scene, seed=3, **SMALL)
    other = SceneSpec(scene, seed=4, **SMALL)
    first, second, third = (next(pictures(s, 10, start_s=2.0))[1] for s in (spec, spec, other))
    assert first.shape == (180, 320, 3)
    assert (first == second).all()
    assert (first != third).any()
    assert first.std() > 20  # there is something to see


def test_everybody_the_truth_sees_changes_the_picture_there() -> None:
    spec = SceneSpec(seed=8, **SMALL)
    (sample,) = samples(spec, 1, 1.0, start_s=1.0)
    nobody = painter(spec)(Snapshot(1.0, (), world_of(spec).at(1.0).signal))
    change = np.abs(sample.picture.astype(int) - nobody.astype(int)).max(axis=2) > 12
    seen = sample.truth
    checked = 0
    for (x0, y0, x1, y1), hidden in zip(seen.visible_xyxy.astype(int), seen.occlusion, strict=True):
        if hidden < 0.3 and (x1 - x0) * (y1 - y0) > 60:
            assert change[y0:y1, x0:x1].mean() > 0.25
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize(("light", "weather"), [("dusk", "rain"), ("night", "clear"), ("night", "rain")])
def test_every_light_and_weather_is_drawn(light: str, weather: str) -> None:
    spec = SceneSpec("street", 1, light, weather, 1, 160, 90)
    picture = painter(spec)(world_of(spec).at(0.0))
    assert 15 < picture.mean() < 125
    assert picture.std() > 8


@pytest.mark.parametrize("width", [320, 640, 1280, 1920])
def test_a_time_code_is_read_back(width: int) -> None:
    picture = np.full((width * 9 // 16, width, 3), 120, np.uint8)
    timecode.draw(picture, TimeCode(123_456_789, 4_000_000_001))
    assert timecode.read(picture) == TimeCode(123_456_789, 4_000_000_001)


def test_a_damaged_time_code_is_none_not_a_wrong_time() -> None:
    picture = np.full((360, 640), 120, np.uint8)
    assert timecode.read(picture) is None
    timecode.draw(picture, TimeCode(5000))
    picture[344:352, 80:88] = 255 - picture[344:352, 80:88]
    assert timecode.read(picture) is None


@pytest.mark.parametrize(
    ("codec", "bitrate", "b_frames"),
    [("libx264", 400_000, 0), ("libx264", 1_500_000, 3), ("libx265", 300_000, 0)],
)
def test_a_time_code_survives_encoding(codec: str, bitrate: int, b_frames: int) -> None:
    random = np.random.default_rng(0)
    scene = random.integers(0, 255, (45, 80, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as sink:
        stream = sink.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 640, 360, "yuv420p", bitrate
        stream.options = {"preset": "veryfast", "bf": str(b_frames), "x265-params": "log-level=none"}
        for i in range(30):
            picture = np.clip(np.roll(scene, i * 3, axis=1) + random.normal(0, 3, scene.shape), 0, 255)
            coded = picture.astype(np.uint8)
            timecode.draw(coded, TimeCode(i * 100, 77 + i))
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(coded, format="rgb24")))
        sink.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        codes = [timecode.read(f.to_ndarray(format="gray")) for f in source.decode(video=0)]
    assert codes == [TimeCode(i * 100, 77 + i) for i in range(30)]


def test_a_cached_file_is_rendered_once_and_holds_every_time(tmp_path: Path) -> None:
    spec, coding = SceneSpec("shop", 2, **SMALL), Coding(fps=5, gop=5, b_frames=2)
    path = cached(spec, coding, 2.0, tmp_path)
    stamp = path.stat().st_mtime_ns
    assert cached(spec, coding, 2.0, tmp_path).stat().st_mtime_ns == stamp
    with av.open(str(path)) as source:
        codes = [timecode.read(f.to_ndarray(format="gray")) for f in source.decode(video=0)]
    assert codes == [TimeCode(i * 200) for i in range(10)]


def test_the_command_line_takes_back_what_it_gives() -> None:
    spec = SceneSpec("factory", 9, "night", "rain", 2, 320, 180)
    coding = Coding("h265", 12.5, 25, 800_000, 2, "fast")
    args = build_parser().parse_args(["stream", *options_of(spec, coding), "rtsp://127.0.0.1/x"])
    assert (args.scene, args.seed, args.light, args.codec, args.fps) == ("factory", 9, "night", "h265", 12.5)
    with pytest.raises(SystemExit):
        build_parser().parse_args(["render", "--width", "321", "x.mp4"])


def test_the_truth_command_writes_its_files(tmp_path: Path) -> None:
    words = ["truth", "--scene", "shop", "--length", "1", "--fps", "5", "--width", "320", "--height", "180"]
    assert main([*words, str(tmp_path / "t")]) == 0
    assert {p.name for p in (tmp_path / "t").iterdir()} >= {"run.json", "frames.jsonl", "coco.json", "mot"}


@pytest.fixture(scope="module")
def server() -> Iterator[RtspServer]:
    spec = SceneSpec("street", 3, **SMALL)
    with RtspServer({"live": live_command(spec, Coding(fps=5, gop=5))}) as served:
        yield served


@pytest.mark.rtsp
def test_a_live_camera_is_decodable_and_its_time_counts_up(server: RtspServer) -> None:
    with av.open(server.url("live"), options={"rtsp_transport": "tcp"}, timeout=(30, 10)) as source:
        codes = []
        for frame in source.decode(video=0):
            codes.append(timecode.read(frame.to_ndarray(format="gray")))
            if len(codes) == 12:
                break
    assert all(code is not None for code in codes)
    times = [code.scene_ms for code in codes if code]
    assert times == sorted(set(times))
    assert all(
        code.utc_ms - code.scene_ms == codes[0].utc_ms - codes[0].scene_ms
        for code in codes
        if code and codes[0]
    )
