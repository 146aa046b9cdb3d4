"""What the demo makes of its options."""

import contextlib
import subprocess
import threading
from pathlib import Path
from typing import Any

import av
import pytest
import yaml

from sightline.cli import build_parser
from sightline.config import Camera
from sightline.config.alert_names import idle_kinds, unknown_names
from sightline.config.alerts import AlertOptions
from sightline.config.groups import DatabaseOptions
from sightline.config.yaml_edit import GONE, with_part
from sightline.errors import ServerError
from sightline.simulation import demo
from sightline.simulation.demo import (
    SIMULATED,
    DemoSightline,
    alert_rules,
    boxes_streams,
    occupy,
    prepare_show,
)
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


def start(
    folder: Path,
    port: int,
    fps: float = 5.0,
    cameras: tuple[str, ...] = ("street", "shop"),
    *,
    reset: bool = False,
) -> dict[str, Any]:
    """What stands in the configuration once the demo has written it, with parts that listen at ``port``."""
    keys = {name: {"url": f"rtsp://127.0.0.1:{port}/{name}", "detect": {"nms": 0.5}} for name in cameras}
    options = {
        "triton": {"url": f"127.0.0.1:{port + 1}"},
        "http": {"port": port + 2},
        "stream": {"fps": fps},
        "alerts": {"rules": {"line": {"kinds": ["crossing"]}}},
    }
    process = DemoSightline(folder, keys, options, reset=reset)
    assert process.url == f"http://127.0.0.1:{port + 2}"
    values: dict[str, Any] = yaml.safe_load(process.config_path.read_text())
    assert process.cameras == tuple(values["cameras"])
    return values


def edit(folder: Path, *parts: tuple[tuple[str, ...], Any]) -> None:
    """As the console changes the file."""
    path = folder / "config.yml"
    for keys, value in parts:
        path.write_text(with_part(path.read_text(), "config.yml", keys, value))


def test_what_people_have_changed_holds_at_the_next_start_and_its_parts_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path, 7000)
    assert start(tmp_path, 7100)["triton"] == {"url": "127.0.0.1:7101"}
    assert "as it was changed" not in capsys.readouterr().out
    zone = {"zones": {"door": {"points": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]}}}
    edit(
        tmp_path,
        (("cameras", "fifth"), {"url": "rtsp://127.0.0.1:7100/street"}),
        (("cameras", "real"), {"url": "rtsp://10.0.0.9/main"}),
        (("cameras", "street", "rules"), zone),
        (("cameras", "shop", "detect"), GONE),
        (("alerts", "routes"), {"hook": {"pagerduty": "key"}}),
        (("alerts", "rules", "line"), GONE),
        (("http", "allowed_hosts"), ["mill"]),
        (("triton", "url"), "elsewhere:1"),
    )
    path = tmp_path / "config.yml"
    path.write_text(f"# ours\n{path.read_text()}")
    for port in (7200, 7300):
        kept = start(tmp_path, port, fps=10.0)
        assert kept["cameras"] == {
            "street": {"url": f"rtsp://127.0.0.1:{port}/street", "detect": {"nms": 0.5}, "rules": zone},
            "shop": {"url": f"rtsp://127.0.0.1:{port}/shop"},
            "fifth": {"url": f"rtsp://127.0.0.1:{port}/street"},
            "real": {"url": "rtsp://10.0.0.9/main"},
        }
        assert kept["alerts"] == {"rules": {}, "routes": {"hook": {"pagerduty": "key"}}}
        assert kept["stream"] == {"fps": 10.0}, "what the options change, and nobody else, is changed"
        assert kept["http"] == {"port": port + 2, "allowed_hosts": ["mill"]}
        assert kept["triton"] == {"url": f"127.0.0.1:{port + 1}"}
        assert path.read_text().startswith("# ours\n")
        said = capsys.readouterr().out
        assert said.count("as it was changed; --reset-config starts from the original one") == 1
    edit(tmp_path, (("stream", "fps"), 7))
    assert start(tmp_path, 7400, fps=5.0)["stream"] == {"fps": 7}, "people's change holds"
    reset = start(tmp_path, 7500, reset=True)
    assert [*reset["cameras"]] == ["street", "shop"]
    assert reset["alerts"] == {"rules": {"line": {"kinds": ["crossing"]}}}
    assert start(tmp_path, 7600)["cameras"]["street"]["url"] == "rtsp://127.0.0.1:7600/street"


def test_cameras_whose_video_is_not_shown_any_more_go_and_new_ones_come(tmp_path: Path) -> None:
    start(tmp_path, 7000)
    edit(tmp_path, (("cameras", "fifth"), {"url": "rtsp://127.0.0.1:7000/shop"}))
    edit(tmp_path, (("cameras", "shop", "enabled"), False))
    edit(tmp_path, (("cameras", "real"), {"url": "rtsp://10.0.0.9/main"}))
    assert [*start(tmp_path, 7100, cameras=("street", "factory"))["cameras"]] == ["street", "real", "factory"]


def test_a_changed_configuration_that_cannot_be_used_is_told_with_the_way_out(tmp_path: Path) -> None:
    start(tmp_path, 7000)
    (tmp_path / "config.yml").write_text("cameras: [")
    with pytest.raises(ServerError, match=r"config\.yml.*--reset-config"):
        start(tmp_path, 7100)
    assert (tmp_path / "config.yml").read_text() == "cameras: ["
    assert [*start(tmp_path, 7200, reset=True)["cameras"]] == ["street", "shop"]


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
