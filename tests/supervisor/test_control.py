"""Control: what a changed file does, what is said about it, and that a broken one does nothing."""

from __future__ import annotations

import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.config import Config, load_config
from sightline.config.option_group import Effect
from sightline.config.yaml_edit import GONE
from sightline.errors import ConfigChanged, ConfigError, ServerError
from sightline.supervisor.control import CameraStep, Control, Plan

SQUARE = {"points": [[0, 0], [1, 0], [1, 1]]}
DOOR = {"url": "rtsp://h/door", "rules": {"zones": {"yard": SQUARE}}}
YARD = {"url": "rtsp://h/yard"}


class Recorder:
    """A supervisor that keeps the plans it is given."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def apply(self, plan: Plan) -> None:
        self.plans.append(plan)


class World:
    """A configuration file, its Control and a supervisor that only listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.raw: dict[str, object] = {"cameras": {"door": DOOR, "yard": YARD}}
        self.save()
        self.supervisor = Recorder()
        self.moves: list[int] = []
        self.control = Control(path, load_config(path), self.supervisor.apply, appliers={"http": self._move})

    def _move(self, options: Config) -> None:
        if options.http.port == 1:
            raise ServerError("cannot listen on 127.0.0.1:1 (Permission denied)")
        self.moves.append(options.http.port)

    def save(self, **changes: object) -> None:
        self.raw = {**self.raw, **changes}
        self.path.write_text(yaml.safe_dump(self.raw))

    def reload(self, **changes: object) -> Plan:
        self.save(**changes)
        self.control.reload("test")
        return self.supervisor.plans[-1]

    def last(self) -> tuple[str, list[str]]:
        last = self.control.state()["last"]
        return last["outcome"], last["changes"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "config.yml")


def test_an_unchanged_file_changes_nothing(world: World) -> None:
    plan = world.reload()
    assert (dict(plan.steps), plan.changes, plan.lines()) == ({}, (), [])


def test_a_moved_zone_is_an_update_of_its_camera_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    moved = {"points": [[0, 0], [0.5, 0], [1, 1]]}
    with caplog.at_level(logging.INFO):
        plan = world.reload(
            cameras={"door": {**DOOR, "rules": {"zones": {"yard": moved, "new": SQUARE}}}, "yard": YARD}
        )
    assert plan.steps == {"door": CameraStep.UPDATE}
    wanted = [
        "camera 'door', rules.zones.new added: applied at once",
        "camera 'door', rules.zones.yard changed: applied at once",
    ]
    assert world.last() == ("applied", wanted)
    assert [line for line in wanted if line not in caplog.text] == []
    json.dumps(world.control.state())


def test_what_the_stream_needs_reopens_the_camera(world: World) -> None:
    plan = world.reload(
        cameras={
            "door": {**DOOR, "stream": {"rtsp_transport": "udp"}, "track": {"confirm_s": 1}},
            "yard": {"url": "rtsp://u:hunter2@h/yard"},
        }
    )
    assert plan.steps == {"door": CameraStep.RESTART, "yard": CameraStep.RESTART}
    assert plan.lines() == [
        "camera 'door', stream.rtsp_transport tcp → udp: the camera reconnects",
        "camera 'door', track.confirm_s 0.5 → 1.0: applied at once",
        "camera 'yard', url changed: the camera reconnects",
    ]


def test_a_default_reaches_the_cameras_that_do_not_override_it(world: World) -> None:
    plan = world.reload(
        detect={"min_score": 0.4}, cameras={"door": DOOR, "yard": {**YARD, "detect": {"min_score": 0.25}}}
    )
    assert plan.steps == {"door": CameraStep.UPDATE}


def test_cameras_start_and_stop_with_the_reason(world: World) -> None:
    plan = world.reload(
        cameras={
            "door": {**DOOR, "enabled": False},
            "yard": {"url": "ftp://h/"},
            "gate": {"url": "rtsp://h/gate"},
        }
    )
    assert plan.steps == {"gate": CameraStep.START, "door": CameraStep.STOP, "yard": CameraStep.STOP}
    assert plan.lines() == [
        "camera 'gate' starts",
        "camera 'door' stops: enabled: false",
        "camera 'yard' stops: misconfigured",
    ]
    back = world.reload(cameras={"door": DOOR})
    assert back.steps == {"door": CameraStep.START, "gate": CameraStep.STOP}
    assert back.reasons["gate"] == "stops: not in the configuration"


def test_triton_reconnects_everything(world: World) -> None:
    plan = world.reload(triton={"url": "other:8001"})
    assert plan.steps == {"door": CameraStep.RESTART, "yard": CameraStep.RESTART}
    assert plan.lines() == ["triton.url 127.0.0.1:8001 → other:8001: all reconnect"]


def test_what_needs_a_restart_is_said_by_name_until_it_is_taken_back(world: World) -> None:
    plan = world.reload(
        database={"url": "postgresql://u:hunter2@db/x"}, canary={"enabled": True}, cameras_per_worker=4
    )
    assert dict(plan.steps) == {}
    assert world.control.state()["needs_restart"] == [
        "database.url changed: needs a restart of the program",
        "canary.enabled false → true: needs a restart of the program",
        "cameras_per_worker 16 → 4: needs a restart of the program",
    ]
    world.reload(open_limit=3)
    assert len(world.control.state()["needs_restart"]) == 3, "still, after a change of something else"
    world.reload(database={}, canary={}, cameras_per_worker=16)
    assert world.control.state()["needs_restart"] == []


def test_hot_options_of_the_program_are_applied_here_or_by_the_supervisor(world: World) -> None:
    plan = world.reload(open_limit=3, log_level="debug", http={"port": 8081})
    assert {change.key: change.effect for change in plan.changes} == {
        "http.port": Effect.HOT,
        "open_limit": Effect.HOT,
        "log_level": Effect.HOT,
    }
    assert world.moves == [8081]


def test_a_change_that_cannot_be_applied_changes_nothing(world: World) -> None:
    world.save(http={"port": 1}, cameras={"door": DOOR})
    world.control.reload("test")
    assert world.supervisor.plans == []
    outcome, lines = world.last()
    assert outcome == "refused"
    assert "cannot listen" in lines[0]
    assert world.reload(http={"port": 2}).steps == {"yard": CameraStep.STOP}, "compared with what is in force"


@pytest.mark.parametrize("text", ["cameras: [", "open_limit: 0\nlog_level: loud\ncameras: {}\n", None])
def test_a_file_that_cannot_be_used_changes_nothing(
    world: World, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    world.path.unlink()
    if text is not None:
        world.path.write_text(text)
    world.control.reload("test")
    assert world.supervisor.plans == []
    outcome, lines = world.last()
    assert outcome == "refused"
    assert len(lines) == (2 if text and "loud" in text else 1)
    assert "nothing was changed" in caplog.text
    world.save()
    assert world.reload(cameras={"door": DOOR}).steps == {"yard": CameraStep.STOP}


# -- a new text ------------------------------------------------------------------------------------------


def test_a_new_text_replaces_the_file_and_is_applied(world: World) -> None:
    old = world.path.read_text()
    world.path.chmod(0o640)
    text = yaml.safe_dump({"cameras": {"door": DOOR}}) + "# a comment\n"
    plan = world.control.write(text, "anna")
    assert plan.steps == {"yard": CameraStep.STOP}
    assert world.supervisor.plans == [plan]
    assert world.path.read_text() == text
    assert stat.S_IMODE(world.path.stat().st_mode) == 0o640
    assert world.path.with_name("config.yml.bak").read_text() == old
    assert sorted(path.name for path in world.path.parent.iterdir()) == ["config.yml", "config.yml.bak"]
    assert world.control.state()["last"]["by"] == "anna"


def test_a_new_text_with_a_mistake_is_refused_whole(world: World) -> None:
    old = world.path.read_text()
    with pytest.raises(ConfigError, match=r"camera 'door', key 'stream\.fps'"):
        world.control.write(
            yaml.safe_dump({"cameras": {"door": {**DOOR, "stream": {"fps": 0}}, "yard": YARD}}), "anna"
        )
    assert world.path.read_text() == old
    assert world.supervisor.plans == []


def test_a_file_that_cannot_be_written_leaves_everything_as_it_was(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old = world.path.read_text()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        world.control.write(yaml.safe_dump({"http": {"port": 5}, "cameras": {"door": DOOR}}), "anna")
    assert world.moves == [5, 8080], "back at the old port"
    assert [path.name for path in world.path.parent.iterdir()] == ["config.yml"]
    assert world.path.read_text() == old
    assert world.supervisor.plans == []


# -- cameras switched on and off --------------------------------------------------------------------------

COMMENTED = """\
# the site's cameras
cameras:
  door:          # the front
    url: rtsp://h/door   # its main stream
  yard: {url: "rtsp://h/yard", enabled: true}   # behind
log_level: info
"""


def switched(path: Path, text: str, camera: str = "door") -> str:
    """The file's text once a camera in it has been switched off, or on if it was off."""
    path.write_bytes(text.encode())
    config = load_config(path)
    enabled = config.cameras[camera].enabled
    Control(path, config, lambda _: None).set_enabled(camera, not enabled, "anna")
    assert load_config(path).cameras[camera].enabled is not enabled
    return path.read_bytes().decode()


def test_a_camera_is_switched_off_and_on_and_the_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(COMMENTED)
    supervisor = Recorder()
    control = Control(path, load_config(path), supervisor.apply)
    control.set_enabled("door", False, "anna")
    off = COMMENTED.replace("# its main stream\n", "# its main stream\n    enabled: false\n")
    assert path.read_text() == off
    assert supervisor.plans[-1].steps == {"door": CameraStep.STOP}
    last = control.state()["last"]
    assert (last["by"], last["changes"]) == ("anna", ["camera 'door' stops: enabled: false"])
    control.set_enabled("door", False, "anna")
    assert len(supervisor.plans) == 1, "it was off already"
    control.set_enabled("door", True, "anna")
    assert path.read_text() == off.replace("enabled: false", "enabled: true")
    assert supervisor.plans[-1].steps == {"door": CameraStep.START}
    control.set_enabled("yard", False, "anna")
    assert 'yard: {url: "rtsp://h/yard", enabled: false}   # behind' in path.read_text()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("cameras: {door: {url: 'rtsp://h/'}}", "cameras: {door: {url: 'rtsp://h/', enabled: false}}"),
        (
            "\ufeffcameras:\r\n  door:\r\n    url: rtsp://h/\r\n",
            "\ufeffcameras:\r\n  door:\r\n    url: rtsp://h/\r\n    enabled: false\r\n",
        ),
        (
            "cameras:\n  door:\n    'enabled': 'true' # yes\n    url: rtsp://h/",
            "cameras:\n  door:\n    'enabled': false # yes\n    url: rtsp://h/",
        ),
        (
            "cameras:\n  yard: &y\n    url: rtsp://h/\n  door:\n    <<: *y\n",
            "cameras:\n  yard: &y\n    url: rtsp://h/\n  door:\n    <<: *y\n    enabled: false\n",
        ),
        (
            "cameras:\n  door:\n    url: rtsp://h/\n    enabled: false\n",
            "cameras:\n  door:\n    url: rtsp://h/\n    enabled: true\n",
        ),
    ],
)
def test_the_rest_of_the_file_stays_as_it_was(tmp_path: Path, text: str, wanted: str) -> None:
    assert switched(tmp_path / "config.yml", text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "cameras:\n  yard: &y {url: 'rtsp://h/'}\n  door: *y\n",
        "cameras:\n  yard: &y {url: 'rtsp://h/'}\n  door: {<<: *y}\n",
        "cameras:\n  yard: {url: 'rtsp://h/', enabled: &on true}\n  door: {enabled: *on, url: 'rtsp://h/'}\n",
    ],
)
@pytest.mark.parametrize("camera", ["door", "yard"])
def test_what_several_cameras_share_is_changed_for_one_or_not_at_all(
    tmp_path: Path, text: str, camera: str
) -> None:
    path = tmp_path / "config.yml"
    try:
        switched(path, text, camera)
    except ConfigError as error:
        assert (error.key, "by hand" in str(error)) == (f"cameras.{camera}.enabled", True)
        assert path.read_text() == text
    else:
        cameras = load_config(path).cameras
        assert [name for name, item in cameras.items() if not item.enabled] == [camera]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_switch_that_changes_nothing_now_mends_a_file_that_says_otherwise(
    world: World, enabled: bool
) -> None:
    world.reload(cameras={"door": {**DOOR, "enabled": enabled}, "yard": YARD})
    world.save(cameras={"door": {**DOOR, "enabled": not enabled}, "yard": YARD})
    world.control.set_enabled("door", enabled, "anna")
    assert load_config(world.path).cameras["door"].enabled is enabled
    assert len(world.supervisor.plans) == 1, "it runs, or does not, as it did"
    before = world.path.read_text()
    world.control.set_enabled("yard", True, "anna")
    assert world.path.read_text() == before
    world.save(cameras={"door": DOOR})
    with pytest.raises(ConfigError, match=r"'cameras\.yard': is not in the file"):
        world.control.set_enabled("yard", True, "anna")


def test_what_else_has_changed_in_the_file_waits_for_a_reload(world: World) -> None:
    world.save(log_level="debug", cameras={"door": DOOR, "yard": {**YARD, "sub_url": "rtsp://h/2"}})
    world.control.set_enabled("door", False, "anna")
    [plan] = world.supervisor.plans
    assert (plan.steps, plan.changes) == ({"door": CameraStep.STOP}, ())
    world.control.reload("test")
    plan = world.supervisor.plans[-1]
    assert plan.steps == {"yard": CameraStep.RESTART}
    assert {change.key for change in plan.changes} == {"log_level", "sub_url"}
    assert not plan.config.cameras["door"].enabled


def test_a_camera_that_cannot_be_switched_is_named_with_the_reason(world: World) -> None:
    world.reload(cameras={"door": {**DOOR, "stream": {"fps": 0}}, "yard": YARD})
    with pytest.raises(ConfigError, match=r"camera 'door', key 'stream\.fps'"):
        world.control.set_enabled("door", False, "anna")
    with pytest.raises(ConfigError, match="has no 'gate'"):
        world.control.set_enabled("gate", False, "anna")
    world.save(cameras={"gate": YARD})
    with pytest.raises(ConfigError, match=r"'cameras\.yard': is not in the file"):
        world.control.set_enabled("yard", False, "anna")
    world.path.write_text("cameras: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        world.control.set_enabled("yard", False, "anna")


def test_a_read_only_file_is_told_and_the_camera_runs_on(world: World) -> None:
    world.path.chmod(0o444)
    old = world.path.read_text()
    with pytest.raises(ConfigError, match=r"config\.yml: cannot be written \(it is read-only\)"):
        world.control.set_enabled("door", False, "anna")
    assert (world.path.read_text(), world.supervisor.plans) == (old, [])
    assert [path.name for path in world.path.parent.iterdir()] == ["config.yml"]


# -- by people who do not see secrets ----------------------------------------------------------------------


def test_secrets_that_are_sent_are_files_of_the_owner_and_go_when_nothing_names_them(world: World) -> None:
    folder = world.path.with_name("config.yml.secrets")

    def edit(before: str, after: str) -> None:
        text, version = world.control.masked()
        assert before in text
        world.control.edit(text.replace(before, after), "anna", version)

    edit("rtsp://h/yard", "rtsp://u:hunter2@h/yard")
    [first] = folder.iterdir()
    assert (first.read_text(), stat.S_IMODE(first.stat().st_mode)) == ("hunter2", 0o600)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "hunter2" not in world.path.read_text()
    assert load_config(world.path).cameras["yard"].source_url == "rtsp://u:hunter2@h/yard"
    edit(f"{{{first.name}}}", "hunter3")
    assert first.exists(), "the copy of before names it"
    edit("rtsp://h/door", "rtsp://h/door2")
    assert [path.read_text() for path in folder.iterdir()] == ["hunter3"]


def test_an_edit_that_cannot_be_applied_leaves_no_secret_behind(world: World) -> None:
    text, version = world.control.masked()
    text = text.replace("rtsp://h/yard", "rtsp://u:hunter2@h/yard")
    with pytest.raises(ServerError):
        world.control.edit(text + "http: {port: 1}\n", "anna", version)
    folder = world.path.with_name("config.yml.secrets")
    assert (list(folder.iterdir()), world.supervisor.plans) == ([], [])
    with pytest.raises(ConfigError, match="fps"):
        world.control.edit(text + "stream: {fps: -1}\n", "anna", version)
    assert list(folder.iterdir()) == []


def test_an_edit_of_another_version_is_refused_and_one_that_is_tried_changes_nothing(world: World) -> None:
    text, version = world.control.masked()
    before = world.path.read_text()
    tried = world.control.edit(text.replace("h/yard", "h/other"), "anna", version, try_only=True)
    assert tried.changes == ["camera 'yard', url changed: the camera reconnects"]
    assert "+    url: rtsp://h/other\n" in tried.difference
    assert (world.path.read_text(), world.supervisor.plans) == (before, [])
    world.save(log_level="debug")
    with pytest.raises(ConfigChanged):
        world.control.edit(text, "anna", version)


def test_a_part_is_changed_and_all_else_stays_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(COMMENTED.replace("rtsp://h/door", "rtsp://u:hunter2@h/door"))
    control = Control(path, load_config(path), lambda _: None)
    door, version = control.part("cameras", "door")
    assert door == {"url": "rtsp://***@h/door"}
    places = {"zones": {"step": {"points": [[0, 0], [1, 0], [1, 1]]}}}
    edit = control.edit_part(("cameras", "door"), {**door, **places}, "anna", version)
    assert (edit.cameras, edit.sections) == (["door"], [])
    added = "    zones:\n      step: {points: [[0, 0], [1, 0], [1, 1]]}\n"
    assert path.read_text() == COMMENTED.replace("rtsp://h/door", "rtsp://u:hunter2@h/door").replace(
        "# its main stream\n", f"# its main stream\n{added}"
    )
    with pytest.raises(ConfigChanged):
        control.edit_part(("cameras", "door"), GONE, "anna", version)
    gone = control.edit_part(("cameras", "door"), GONE, "anna", edit.version)
    assert gone.changes == ["camera 'door' stops: not in the configuration"]
    assert "door" not in path.read_text()


def test_a_mistake_that_was_there_before_stops_no_change_of_another_camera(world: World) -> None:
    world.reload(cameras={"door": {**DOOR, "stream": {"fps": 0}}, "yard": YARD})
    yard, version = world.control.part("cameras", "yard")
    world.control.edit_part(("cameras", "yard"), {**yard, "enabled": False}, "anna", version)
    assert world.supervisor.plans[-1].steps == {"yard": CameraStep.STOP}
    _, version = world.control.part("cameras", "yard")
    for options in ({**yard, "stream": {"fps": 0}}, {**yard, "zones": 3}):
        with pytest.raises(ConfigError, match="camera 'yard'"):
            world.control.edit_part(("cameras", "yard"), options, "anna", version)


def test_every_change_of_the_file_is_kept_and_can_be_undone_alone(tmp_path: Path) -> None:
    path, kept = tmp_path / "config.yml", []
    path.write_text(COMMENTED.replace("rtsp://h/door", "rtsp://u:hunter2@h/door"))
    control = Control(path, load_config(path), lambda _: None, keep=kept.append)
    control.set_enabled("yard", False, "MQTT")
    path.write_text(path.read_text().replace("log_level: info", "log_level: debug"))
    control.reload("SIGHUP")
    control.reload("SIGHUP")
    _, version = control.masked()
    control.edit_part(("cameras", "door", "stream"), {"fps": 5}, "anna", version)
    assert [(change.who, change.changes.partition(":")[0]) for change in kept] == [
        ("MQTT", "camera 'yard' stops"),
        ("SIGHUP", "log_level info → debug"),
        ("anna", "camera 'door', stream.fps null → 5.0"),
    ]
    assert not any("hunter2" in change.before + change.after for change in kept)
    _, version = control.masked()
    tried = control.undo(kept[0], "zoe", version, try_only=True)
    assert (tried.changes, len(kept)) == (["camera 'yard' starts"], 3)
    control.undo(kept[0], "zoe", version)
    loaded = load_config(path)
    assert loaded.cameras["yard"].enabled
    assert (loaded.options.log_level, loaded.cameras["door"].stream.fps) == ("debug", 5)
    assert loaded.cameras["door"].source_url == "rtsp://u:hunter2@h/door"
    _, version = control.masked()
    with pytest.raises(ConfigError, match="changed there again since"):
        control.undo(kept[0], "zoe", version)


def test_a_placeholder_that_was_there_may_come_back_and_a_masked_secret_may_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTLINE_READER", "hunter2")
    kept: list[Any] = []
    urls = ("rtsp://u:{SIGHTLINE_READER}@h/door", "rtsp://u:hunter3@h/yard")
    world.save(cameras={name: {"url": url} for name, url in zip(("door", "yard"), urls, strict=True)})
    control = Control(world.path, load_config(world.path), lambda _: None, keep=kept.append)
    for name in ("door", "yard"):
        _, version = control.masked()
        control.edit_part(("cameras", name, "url"), "rtsp://other/", "anna", version)
    _, version = control.masked()
    control.undo(kept[0], "anna", version)
    assert load_config(world.path).cameras["door"].source_url == "rtsp://u:hunter2@h/door"
    _, version = control.masked()
    with pytest.raises(ConfigError, match=r"cameras\.yard\.url.*is masked; write it again"):
        control.undo(kept[1], "anna", version)


def test_a_version_tells_nothing_about_secrets_to_those_who_try_passwords(world: World) -> None:
    again = Control(world.path, load_config(world.path), world.supervisor.apply)
    assert again.masked()[0] == world.control.masked()[0]
    assert again.masked()[1] != world.control.masked()[1]
