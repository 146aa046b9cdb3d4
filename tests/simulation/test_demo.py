"""What the demo makes of its options."""

import contextlib
import subprocess
import threading
from pathlib import Path

import av
import pytest

from sightline.cli import build_parser
from sightline.config import Camera
from sightline.config.alert_names import idle_kinds, unknown_names
from sightline.config.alerts import AlertOptions
from sightline.config.groups import DatabaseOptions
from sightline.errors import ServerError
from sightline.simulation import demo
from sightline.simulation.demo import SIMULATED, alert_rules, boxes_streams, occupy, prepare_show
from sightline.simulation.rtsp_server import RtspServer, free_port
from sightline.simulation.scenes.scene_places import camera_places
from sightline.simulation.stack import SightlineProcess
from sightline.supervisor.control_socket import socket_folder
from sightline.supervisor.http.own_programs import own_key
from support.camera_world import make_clip
from support.fake_triton import FakeTriton


def show(tmp_path: Path, *words: str) -> dict[str, dict[str, object]]:
    shown = prepare_show(build_parser().parse_args(["demo", *words]), tmp_path, threading.Event())
    assert shown is not None
    return shown[0]


def test_one_camera_for_one_clip_with_the_line_asked_for(tmp_path: Path) -> None:
    clip, network = tmp_path / "clip.mp4", tmp_path / "n.onnx"
    clip.touch()
    network.touch()
    words = ("--video", str(clip), "--model", str(network))
    rules = {"lines": {"line": {"points": [[0.5, 0.0], [0.5, 1.0]]}}}
    assert show(tmp_path, *words, "--line", "0.5,0,0.5,1") == {"camera-1": {"url": clip, "rules": rules}}
    assert len(show(tmp_path, *words, *words)) == 2
    assert len(show(tmp_path, *words, "--cameras", "3")) == 3
    with pytest.raises(ServerError, match="needs a --video"):
        show(tmp_path, "--line", "0.5,0,0.5,1")


def test_alert_rules_are_for_the_cameras_that_have_their_places_and_tell_nobody_outside() -> None:
    cameras = {name: {"rules": camera_places(spec)} for name, spec in SIMULATED.items()}
    rules = alert_rules(cameras)
    assert {name: rule["cameras"] for name, rule in rules.items()} == {
        "loitering": ["shop"],
        "forbidden_area": ["factory"],
        "crossing_the_street": ["street", "street-dusk"],
    }
    options = AlertOptions.model_validate({"rules": rules})
    assert not any(rule.routes for rule in options.rules.values())
    shown = {
        name: Camera.model_validate({"name": name, "url": "rtsp://h/", **keys})
        for name, keys in cameras.items()
    }
    assert [*unknown_names(options.rules, shown, ()), *idle_kinds(options.rules, shown, ())] == []
    line = {"camera-1": {"rules": {"lines": {"line": {"points": [[0.5, 0.0], [0.5, 1.0]]}}}}}
    assert [*alert_rules(line)] == ["line"]
    assert alert_rules({"camera-1": {}}) == {}


@pytest.mark.parametrize("line", ["1,2", "a,b,c,d", "100,20,300,20", "0.5,0.5,0.5,0.5"])
def test_a_line_that_is_none_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["demo", "--line", line])
    assert "four numbers in 0..1" in capsys.readouterr().err


def test_a_network_is_exported_once_and_again_when_the_skeleton_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports: list[list[str]] = []

    def export(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        exports.append(command)
        (tmp_path / "model_repository").mkdir()
        return subprocess.CompletedProcess(command, 0)

    skeleton, network = tmp_path / "skeleton", tmp_path / "n.onnx"
    skeleton.mkdir()
    network.touch()
    (skeleton / "config.pbtxt").write_text("queue")
    monkeypatch.setattr(demo.subprocess, "run", export)
    monkeypatch.setattr(demo, "resource", lambda _: skeleton)
    for made in (1, 1):
        demo.prepare_model(network, tmp_path)
        assert len(exports) == made
    (skeleton / "cpu.served.pbtxt").write_text("made of it")
    demo.prepare_model(network, tmp_path)
    assert len(exports) == 1
    (skeleton / "config.pbtxt").write_text("another queue")
    demo.prepare_model(network, tmp_path)
    assert len(exports) == 2


def test_a_folder_in_use_is_refused_and_free_again_afterwards(tmp_path: Path) -> None:
    with contextlib.ExitStack() as first:
        occupy(tmp_path, first)
        with contextlib.ExitStack() as second, pytest.raises(ServerError, match="another demo runs in"):
            occupy(tmp_path, second)
    with contextlib.ExitStack() as third:
        occupy(tmp_path, third)


@pytest.mark.rtsp
def test_players_get_the_boxes_of_its_cameras_from_go2rtc(tmp_path: Path) -> None:
    port, control = free_port(), socket_folder(DatabaseOptions(spool_path=tmp_path / "spool.db"))
    streams = {"gate": make_clip(tmp_path / "gate.mp4", 600)} | boxes_streams(
        ["gate"], port, own_key(control)
    )
    with FakeTriton() as triton, RtspServer(streams) as rtsp:
        triton.answer = lambda _: [(0.3, 0.3, 0.5, 0.7)]
        keys = {"url": rtsp.url("gate")}
        served = {"url": triton.url, "transport": "grpc"}
        with SightlineProcess(
            tmp_path, {"gate": keys}, triton=served, options={"http": {"port": port}}
        ) as run:
            run.wait_until_online()
            with av.open(
                rtsp.url("gate-boxes"), options={"rtsp_transport": "tcp"}, timeout=(30, 20)
            ) as played:
                pictures = [picture for picture, _ in zip(played.decode(video=0), range(5), strict=False)]
            assert run.statuses()["gate"]["state"] == "online"
    v = pictures[-1].to_ndarray(format="yuv420p").reshape(-1)[320 * 240 * 5 // 4 :]
    assert (v < 90).sum() > 50, "no box is drawn"
