"""``sightline check --live``: cameras, Triton and database tried, with real servers."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from sightline.cli import live_check, main
from sightline.cli.live_check import Attempt, attempts_of, outcomes
from sightline.config import LoadedConfig, parse_config
from sightline.errors import ConfigError, ServerError
from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer, find_go2rtc, free_port
from sightline.video import source
from sightline.video.clock import UtcClock
from support.brokers import Mosquitto
from support.camera_world import make_clip, make_sound
from support.fake_triton import FakeTriton
from support.gst import gst_camera
from support.listeners import HookServer, Mail
from support.media_server import MediaServer

PASSWORD = "pa55w0rd"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=150, fps=15)


@pytest.fixture(scope="module")
def server(clip: Path) -> Iterator[RtspServer]:
    try:
        find_go2rtc()
    except ServerError as error:
        pytest.skip(f"no RTSP server: {error}")
    other = make_clip(clip.with_name("other.mp4"), frames=60, codec="libx265", size=(160, 120))
    sound = make_sound(clip.with_name("sound.mp4"))
    with RtspServer({"cam": clip, "other": other, "sound": sound}) as server:
        yield server


def loaded(**options: Any) -> LoadedConfig:
    config = parse_config({"allow": {"files": True}, **options})
    assert not config.problems
    return config


def tried(config: LoadedConfig, part: str) -> list[str | ConfigError]:
    """What comes of the attempts of one part: camera, triton or database."""
    return list(outcomes([a for a in attempts_of(config, None) if a.key.startswith(part)]))


@pytest.mark.rtsp
def test_every_camera_is_told_in_a_line_with_its_cure(server: RtspServer, clip: Path, tmp_path: Path) -> None:
    with gst_camera(clip, "admin", PASSWORD) as guarded:
        urls = {
            "good": server.url("cam"),
            "hevc": server.url("other"),
            "sound": server.url("sound"),
            "locked": f"rtsp://admin:wr0ng-w0rd@127.0.0.1:{guarded.port}/cam",
            "nobody": f"rtsp://admin:{PASSWORD}@127.0.0.1:{free_port()}/cam",
            "away": "rtsp://127.0.0.1/",
        }
        config: dict[str, Any] = {
            "stream": {"fps": 30},
            "cameras": {name: {"url": url} for name, url in urls.items()},
            "triton": {"url": f"127.0.0.1:{free_port()}"},
            "database": {"url": f"postgresql://sightline:{PASSWORD}@127.0.0.1:{free_port()}/counts"},
        }
        config["cameras"]["away"]["enabled"] = False
        (tmp_path / "config.yml").write_text(yaml.safe_dump(config, sort_keys=False))
        command = [sys.executable, "-m", "sightline", "check", "--live", "--stills", "shots/today"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    good, hevc = done.stdout.splitlines()
    assert good.startswith(
        "camera 'good': ok: H.264 320x240, 15.0 frames a second (stream.fps asks for 30), "
    )
    assert "capture time from the camera's clock (RTCP), 0." in good
    assert hevc.startswith("camera 'hevc': ok: H.265 160x120, 10.0 frames a second")
    sound, locked, nobody, triton, database = done.stderr.splitlines()
    assert sound.startswith("camera 'sound', key 'url': the stream has no video")
    assert locked.startswith("camera 'locked', key 'url': the camera refused the credentials")
    assert "check user name and password" in locked
    assert nobody.startswith(
        "camera 'nobody', key 'url': cannot connect (Connection refused); check host and port"
    )
    assert triton.startswith(f"key 'triton.url': Triton at {config['triton']['url']}: ")
    assert "sightline triton serve" in triton
    assert database.startswith(
        "key 'database.url': The database cannot be read. OperationalError: connection"
    )
    assert "w0rd" not in done.stdout + done.stderr
    shots = tmp_path / "shots" / "today"
    assert sorted(path.name for path in shots.iterdir()) == ["good.jpg", "hevc.jpg"]
    assert stat.S_IMODE(shots.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in shots.iterdir()} == {0o600}
    with av.open(str(shots / "hevc.jpg")) as picture:
        assert (picture.streams.video[0].width, picture.streams.video[0].height) == (160, 120)


@pytest.mark.rtsp
def test_a_cameras_clock_that_is_off_is_told(server: RtspServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "UtcClock", lambda: UtcClock(wall=lambda: time.time() - 95))
    config = loaded(cameras={"cam": {"url": server.url("cam")}})
    [line] = tried(config, "url")
    assert isinstance(line, str)
    assert "capture time from the camera's clock, corrected: it is 9" in line
    assert "ahead of ours, more than stream.max_clock_skew_s (10); set its time server" in line


def test_one_that_hangs_is_given_up_and_the_others_are_told(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_check, "DEADLINE_S", 0.2)
    hanging = [Attempt(lambda: time.sleep(5) or "", "url", f"cam{i}") for i in range(3)]
    started_s = time.monotonic()
    *lost, last = outcomes([*hanging, Attempt(lambda: "well", "url")])
    for number, error in enumerate(lost):
        assert str(error).startswith(f"camera 'cam{number}', key 'url': gave nothing within 0.2 s; check ")
    assert last == "well"
    assert time.monotonic() - started_s < 2


def test_a_recording_is_tried_too(clip: Path) -> None:
    assert tried(loaded(cameras={"cam": {"url": str(clip)}}), "url") == [
        "camera 'cam': ok: H.264 320x240, 15.0 frames a second, times of the recording"
    ]


def test_classes_that_the_model_lacks_are_told_of_each_camera() -> None:
    cameras = {
        "a": {"url": "rtsp://h/"},
        "b": {"url": "rtsp://h/", "count": {"classes": ["Person", "person"]}},
    }
    with FakeTriton() as triton:
        [wrong] = tried(loaded(cameras=cameras, triton={"url": triton.url}), "triton")
        [right] = tried(loaded(cameras={"a": cameras["a"]}, triton={"url": triton.url}), "triton")
        rules = {"night": {"kinds": ["enter"], "classes": ["persn"]}}
        options = {"triton": {"url": triton.url}, "alerts": {"rules": rules}}
        [silent] = tried(loaded(cameras={"a": cameras["a"]}, **options), "triton")
    assert str(wrong).startswith("camera 'b', key 'count.classes': toy-1 has no class 'Person'")
    assert "did you mean 'person'" in str(wrong)
    assert str(silent).startswith("key 'alerts.rules.night.classes': toy-1 has no class 'persn'")
    assert right == (
        f"triton {triton.url}: ok: 'detector' is toy-1, fp32, network 64x96, over system; 1 classes: person"
    )


@pytest.mark.triton
def test_a_model_that_is_not_there_is_told_from_a_server_that_is_not(toy_triton: TritonServer) -> None:
    cameras = {"a": {"url": "rtsp://h/"}, "b": {"url": "rtsp://h/", "detect": {"model": "other"}}}
    good, missing = tried(loaded(cameras=cameras, triton={"url": toy_triton.grpc_url}), "triton")
    assert isinstance(good, str)
    assert "'detector' is" in good
    assert str(missing).startswith("key 'triton.model': Triton at ")
    assert "ready there: detector" in str(missing)


def test_a_database_that_is_not_there_yet_is_well_and_is_not_made(tmp_path: Path) -> None:
    cameras = {"a": {"url": "rtsp://h/"}}
    [line] = tried(loaded(cameras=cameras, database={"url": f"sqlite:///{tmp_path}/counts.db"}), "database")
    assert line == "database SQLite · counts.db: ok: not there yet; `sightline run` makes it"
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    database = {"url": f"sqlite:///{tmp_path}/file/counts.db"}  # in a file: not even root may
    [error] = tried(loaded(cameras=cameras, database=database), "database")
    assert str(error).startswith(f"key 'database.url': this user may not write {tmp_path}/file; ")


def test_where_annotated_video_goes_is_tried_and_told_of_camera_and_key() -> None:
    digest = 'Digest realm="r", nonce="n"'
    with (
        MediaServer(refuse={"DESCRIBE": 404}, challenges=(digest,)) as taking,
        MediaServer() as busy,
        MediaServer(refuse={"DESCRIBE": 401, "ANNOUNCE": 401}) as refusing,
        MediaServer(refuse={"DESCRIBE": 404, "ANNOUNCE": 400}) as choosy,
    ):
        targets = {"free": taking, "taken": busy, "locked": refusing, "choosy": choosy}
        urls = {name: f"rtsp://u:{PASSWORD}@127.0.0.1:{at.port}/{{camera}}" for name, at in targets.items()}
        urls["away"] = f"rtsp://u:{PASSWORD}@127.0.0.1:{free_port()}/a"
        off = {"off": {"url": "rtsp://h/", "enabled": False, "output": {"url": "rtsp://h/off"}}}
        cameras = {name: {"url": "rtsp://h/", "output": {"url": url}} for name, url in urls.items()} | off
        made = tried(loaded(cameras=cameras), "output")
    assert made[:2] == [
        "camera 'free': output.url: ok: takes libx264 video",
        "camera 'taken': output.url: ok: there is video already",
    ]
    assert taking.methods == [*["DESCRIBE"] * 2, *["ANNOUNCE"] * 2, "SETUP", "RECORD", "TEARDOWN"]
    assert (busy.methods, taking.packets) == (["DESCRIBE"], [])
    for problem, name, cure in zip(
        made[2:],
        ("locked", "choosy", "away"),
        ("refuses the video (401); name a user who may publish", "(ANNOUNCE: 400)", "(Connection refused)"),
        strict=True,
    ):
        assert isinstance(problem, ConfigError)
        assert (problem.camera, problem.key) == (name, "output.url")
        assert cure in problem.problem
        assert PASSWORD not in str(problem)


def test_an_encoder_that_does_not_start_is_told_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_check, "codec_for", lambda _: "h264_nvenc")
    with MediaServer(refuse={"DESCRIBE": 404}) as server:
        output = {"url": f"rtsp://127.0.0.1:{server.port}/a", "encoder": "h264_nvenc"}
        [problem] = tried(loaded(cameras={"gate": {"url": "rtsp://h/", "output": output}}), "output")
    assert isinstance(problem, ConfigError)
    assert (problem.camera, problem.key) == ("gate", "output.encoder")
    assert "h264_nvenc does not start" in problem.problem


def test_stills_ask_for_live(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--stills", str(tmp_path / "shots")]) == 1
    assert "--live" in capsys.readouterr().err
    assert not (tmp_path / "shots").exists()


def test_where_results_go_is_tried_and_nobody_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.base.logs.setup_logging", lambda _: None)  # of this process, for good
    mail, hook = Mail(free_port(), PASSWORD), HookServer()
    broker = Mosquitto(tmp_path)
    user, people = f"sightline:{PASSWORD}", "mode=insecure&to=a@example.org&from=b@example.org"
    routes = {
        "guards": {"apprise": f"mailto://{user}@127.0.0.1:{mail.port}?{people}"},
        "locked": {"apprise": f"mailto://sightline:wr0ng-w0rd@127.0.0.1:{mail.port}?{people}"},
        "typo": {"apprise": f"mailtoo://{user}@127.0.0.1"},
        "program": {"webhook": hook.url, "secret": PASSWORD},
        "nowhere": {"webhook": f"https://nowhere.invalid/{PASSWORD}", "secret": PASSWORD},
    }
    broken = f"127.0.0.1:{free_port()}"
    config = {
        "cameras": {"a": {"url": "rtsp://h/", "enabled": False}},
        "database": {"url": f"sqlite:///{tmp_path}/counts.db", "spool_path": f"{tmp_path}/spool.db"},
        "streams": {"mqtt": {"host": "127.0.0.1", "port": broker.port}, "kafka": {"servers": [broken]}},
        "uploads": {"url": f"file://{tmp_path}"},
        "alerts": {"routes": routes, "heartbeat": {"url": f"http://{broken}/{PASSWORD}"}},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    command = ["check", "-c", str(tmp_path / "config.yml")]
    assert main(command) == 1
    [typo] = capsys.readouterr().err.splitlines()
    assert typo.startswith("key 'alerts.routes.typo.apprise': is no URL that Apprise knows")
    mail.start()
    broker.start()
    try:
        assert main([*command, "--live"]) == 1
    finally:
        mail.stop()
        hook.close()
        broker.stop()
    written = capsys.readouterr()
    assert [line for line in written.out.splitlines() if not line.startswith("database")] == [
        "streams.mqtt: ok: MQTT 5",
        "uploads.url: ok: can be read",
        "alerts.routes.guards.apprise: ok: the mail server 127.0.0.1 has logged us in",
        "alerts.routes.program.webhook: ok: 127.0.0.1 can be reached",
    ]
    problems = dict(line.split("': ", 1) for line in written.err.splitlines())
    assert {key: text.rpartition("; ")[2].partition(":")[0] for key, text in problems.items()} == {
        "key 'streams.kafka": "nothing listens there",
        "key 'alerts.routes.locked.apprise": "check user name and password, and what they may do there",
        "key 'alerts.routes.typo.apprise": "see https",
        "key 'alerts.routes.nowhere.webhook": "the name does not resolve",
        "key 'alerts.heartbeat.url": "nothing listens there",
    }
    assert PASSWORD not in written.out + written.err and "w0rd" not in written.err
    assert (mail.messages, hook.requests) == ([], [])


def test_a_mail_password_that_would_go_out_in_clear_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"mailto://sender:{PASSWORD}@example.org?to=guards@example.org"
    routes = {"clear": {"apprise": url}, "safe": {"apprise": url.replace("mailto", "mailtos")}}
    config = {"cameras": {"a": {"url": "rtsp://h/"}}, "alerts": {"routes": routes}}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    assert main(["check", "-c", str(tmp_path / "config.yml")]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: alerts.routes.clear.apprise sends its password to example.org in clear")


def test_a_library_that_is_missing_is_a_mistake_of_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.base.extras.find_spec", lambda _: None)
    config = {"cameras": {"a": {"url": "rtsp://h/"}}, "streams": {"mqtt": {"host": "127.0.0.1"}}}
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    assert main(["check", "-c", str(tmp_path / "config.yml")]) == 1
    assert "key 'streams.mqtt': streams.mqtt needs paho-mqtt: pip install 'sightline[mqtt]'" in (
        capsys.readouterr().err
    )
