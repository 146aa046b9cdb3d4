"""config.yml: defaults, old keys, secrets, effects, and errors that name the camera and the key."""

import json
import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest import mock

import jsonschema
import pytest
from pydantic.fields import FieldInfo

from sightline.config import Camera, Config, json_schema, load_config, parse_config, yaml_text
from sightline.config.option_group import Effect, OptionGroup, effect_of
from sightline.errors import ConfigError, ConfigErrors

DOOR = {"door": {"url": "rtsp://10.0.0.9/live"}}


def test_a_camera_overrides_the_defaults() -> None:
    loaded = parse_config(
        {
            "stream": {"fps": 5, "stall_timeout_s": 3},
            "count": {"window_s": 30},
            "cameras": {**DOOR, "yard": {"url": "rtsp://h/", "stream": {"fps": 10}}},
        }
    )
    door, yard = loaded.cameras["door"], loaded.cameras["yard"]
    assert (door.stream.fps, yard.stream.fps) == (5, 10)
    assert (yard.stream.stall_timeout_s, yard.count.window_s) == (3, 30), "groups are laid over key by key"
    assert (loaded.problems, loaded.warnings) == ((), ())


IN, YARD = "rules.lines.in.points", "rules.zones.yard.points"
TRIANGLE = [[0.1, 0.1], [1.2, 0.1], [0.1, 0.9]]


def places(**values: object) -> dict[str, object]:
    return {"url": "rtsp://h/", "rules": values}


def stream(**values: object) -> dict[str, object]:
    return {"url": "rtsp://h/", "stream": values}


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("camera", "key", "text"),
    [
        (stream(fps="fast"), "stream.fps", "valid number"),
        (stream(fsp=5), "stream.fsp", "do you mean stream.fps?"),
        (stream(confirm_s=1), "stream.confirm_s", "do you mean track.confirm_s?"),
        (stream(blind_s=1), "stream.blind_s", "do you mean track.max_gap_s?"),
        ({"url": "rtsp://h/", "colour": 5}, "colour", "spelling"),
        ({"url": {"SIGHTLINE_URL": None}}, "url", "must stand in quotes"),
        ({"url": "rtsp://h/", "stream": 5}, "stream", "must be a map"),
        (stream(fps=-1), "stream.fps", "must be greater than 0"),
        ({"url": "rtsp://h/", "clips": {"folder": 5}}, "clips.folder", "must be a path, which is text"),
        ({"url": "rtsp://h/", "clips": {"enabled": 5}}, "clips.enabled", "must be true or false"),
        (stream(fps=True), "stream.fps", "is not true or false"),
        (stream(fps=float("nan")), "stream.fps", "not a number (.inf, .nan); write an ordinary number"),
        (stream(max_clock_skew_s=float("inf")), "stream.max_clock_skew_s", "is infinite or not a number"),
        (stream(stall_timeout_s=None), "stream.stall_timeout_s", "has no value"),
        ({"url": None}, "url", "has no value"),
        ({"url": 5}, "url", "must be text; put it in quotes"),
        ({"url": "rtsp://h/", "count": {"classes": "person"}}, "count.classes", "must be a list"),
        (
            {"url": "rtsp://h/", "count": {"classes": [5]}},
            "count.classes.0",
            "must be text; put it in quotes",
        ),
        ({"url": "rtsp://h/", "triton": {}}, "triton", "stands at the top of the file"),
        ({"url": "rtsp://h/", "password": "x"}, "password", "do you mean url?"),
        ({"url": "rtsp://h/", "name": "x"}, "name", "a camera's name is the key above it"),
        ({"url": ""}, "url", "is empty"),
        ({"url": "rtsp://10.0.0.256/live"}, "url", "no IP address"),
        (
            places(zones={"yard": {"points": TRIANGLE, "class": []}}),
            "rules.zones.yard.class",
            "zones.yard.classes?",
        ),
        (places(lines={"in": {"points": [[0, 1, 2], [1, 1]]}}), f"{IN}.0", "has 3 values, and at most 2"),
        ({"URL": "rtsp://h/", "url": "rtsp://h/"}, "URL", "do you mean url?"),
        ({"url": "rtsp://h/", "fps": "fast"}, "fps", "valid number"),
        ({"url": "rtsp://h/", "zones": {"a": {}}}, "zones.a.points", "required"),
        ({"url": "rtsp://h/", "fps": 5, "stream": {"fps": 6}}, "fps", "contradicts stream.fps"),
        ({"url": "rtsp://h/", "count": {"window_s": 7}}, "count.window_s", "divide a day"),
        ({"url": "rtsp:///live"}, "url", "no host"),
        ({"url": "ftp://h/x"}, "url", "scheme 'ftp'"),
        ({"url": "/videos/a.mp4"}, "url", "allow.files"),
        ({"url": "10.0.0.9:554/live"}, "url", "or write rtsp://HOST/PATH"),
        ({"url": "file://videos/a.mp4"}, "url", "names the host 'videos'"),
        ({"url": "rtsp://fe80::1:2/live"}, "url", "an IPv6 address stands in brackets"),
        ({"url": "rtsp://admin:ab[34@10.0.0.9/live"}, "url", "[ as %5B"),
        ({"url": "rtsp://admin:ab%cd@10.0.0.9/live"}, "url", "% is written %25"),
        ({"url": "http://h/x"}, "url", "allow.http"),
        ({"url": "rtsp://h:port/"}, "url", "not a URL"),
        ({"url": "rtsp://u:{SIGHTLINE_NO_SUCH}@h/"}, "url", "SIGHTLINE_NO_SUCH"),
        ({"url": "rtsp://u:${SIGHTLINE_NO_SUCH}@h/"}, "url", "without the $"),
        ({"url": "rtsp://u:{cam_pw}@h/"}, "url", "has braces"),
        ({"url": "rtsp://u:$SIGHTLINE_PW@h/"}, "url", "'$SIGHTLINE_PW' is no placeholder"),
        ({"url": "rtsp://u:%SIGHTLINE_PW%@h/"}, "url", "'%SIGHTLINE_PW' is no placeholder"),
        ({"url": "rtsp://u:{SIGHTLINE_PW@h/"}, "url", "'{SIGHTLINE_PW' is no placeholder"),
        ({"url": "rtsp://u:{sightline_pw}@h/"}, "url", "'{sightline_pw' is no placeholder"),
        ({"url": "rtsp://h/a\r\nX: y"}, "url", "control character"),
        ({"url": "rtsp://u%0d%0aX:p@h/"}, "url", "control character"),
        ({"url": "rt\nsp://h/a"}, "url", "control character"),
        ({"url": "rtsp://h/a b"}, "url", "%20"),
        ({"url": "rtsp://admin:ab#34@10.0.0.9/live"}, "url", "not a URL"),
        ({"url": "rtsp://admin:12#34@10.0.0.9/live"}, "url", "# as %23"),
        ({"url": "rtsp://admin:12/34@10.0.0.9/live"}, "url", "/ as %2F"),
        ({"url": "rtsp://admin:12?34@10.0.0.9/live"}, "url", "? as %3F"),
        ({}, "url", "required"),
        (
            places(lines={"in": {"points": [[0.1, 0.1]]}}),
            IN,
            "at least 2 points, has 1",
        ),
        (places(lines={"in": {"points": [[0.1, 0.1]] * 2}}), IN, "no length"),
        (
            places(lines={"in": {"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}}),
            IN,
            "crosses",
        ),
        (places(lines={"in": {"points": [[0, 0], [1, 1], [0.5, 0.5]]}}), IN, "crosses"),
        (places(lines={"in": {"points": [[0, 0], [640, 360]]}}), IN, "not pixels"),
        (places(lines={"in": {"points": [[0, 0], [1, "a"]]}}), "rules.lines.in.points.1.1", "valid number"),
        (places(lines={"in": {"points": [[0, 0], [1]]}}), "rules.lines.in.points.1.1", "required"),
        (places(lines={"in": {"points": [[0, 0], [1, float("nan")]]}}), f"{IN}.1.1", "an ordinary number"),
        (places(lines={"in": {"points": [[0, 0.2], [-0.1, 0.9]]}}), IN, "at or beyond the left edge"),
        (places(lines={"in": {"points": [[0, 1], [1, 1]]}}), IN, "at or beyond the bottom edge"),
        (places(lines={"in": [[0, 0], [1, 1]]}), "rules.lines.in", "must be a map"),
        (places(lines=[{"name": "in"}]), "rules.lines", "must be a map"),
        (places(zones={"yard": {"points": [[1.1, 0], [1.3, 0], [1.3, 1]]}}), YARD, "beyond the right edge"),
        (
            places(zones={"yard": {"points": TRIANGLE, "max_occupancy": False}}),
            "rules.zones.yard.max_occupancy",
            "is not true or false",
        ),
        (places(lines={"in": {}}), IN, "required"),
        (places(zones={"yard": {"points": [[0, 0], [1, 1]]}}), YARD, "at least 3"),
        (
            places(zones={"yard": {"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}}),
            YARD,
            "the polygon crosses itself",
        ),
        (
            places(zones={"yard": {"points": [[0, 0], [1, 0], [0.5, 0]]}}),
            YARD,
            "crosses",
        ),
        (
            places(zones={"yard": {"points": [[0, 0], [1, 0], [1, 1], [0, 0]]}}),
            YARD,
            "repeats",
        ),
        (
            places(zones={"yard": {"points": TRIANGLE, "loiter_s": 0}}),
            "rules.zones.yard.loiter_s",
            "greater than 0",
        ),
        (places(zones={"yard": {"points": TRIANGLE, "max": 3}}), "rules.zones.yard.max", "not a known key"),
        (places(zones={"": {"points": TRIANGLE}}), "rules.zones..[key]", "at least 1"),
        (
            places(zones={"a\u202eb": {"points": TRIANGLE}}),
            "rules.zones.a\u202eb.[key]",
            "cannot stand there",
        ),
        ("rtsp://h/", "url", "must be a map"),
    ],
)
def test_one_bad_camera_is_named_with_its_key_and_the_others_run(camera: object, key: str, text: str) -> None:
    loaded = parse_config({"cameras": {**DOOR, "bad": camera}})
    assert list(loaded.cameras) == ["door"]
    (problem,) = loaded.problems
    assert (problem.camera, problem.key) == ("bad", key)
    assert text in str(problem)
    assert "'bad'" in str(problem)


def test_a_bad_value_is_not_repeated_in_the_error() -> None:
    loaded = parse_config({"cameras": {"bad": {"url": ["rtsp://u:hunter2@h/"]}}})
    assert "hunter2" not in str(loaded.problems[0])


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"http": {"host": ""}}, "http.host"),
        ({"triton": {"url": "http://127.0.0.1:8001"}}, r"triton\.url.*must be HOST:PORT"),
        ({"triton": {"url": "127.0.0.1"}}, "must be HOST:PORT"),
        ({"triton": {"url": "127.0.0.1:99999"}}, "must be HOST:PORT"),
        ({"triton": {"url": "::1:8001"}}, "must be HOST:PORT"),
        ({"http": {"allowed_hosts": "example.org"}}, "must be a list"),
        ({"allow": True}, "must be a map"),
        ({"database": {"url": "postgresql://u:{db_pw}@h/x"}}, "has braces"),
        ({"database": {"url": "postgresql://u:hunter2@2@h/x"}}, "written %40"),
        ({"database": {"url": "sqlite:///:memory:"}}, "must be sqlite:///FILE"),
        ({"database": {"url": "postgresql://u:hunter2@h:port/x"}}, "port that is no number"),
        ({"database": {"url": "mysql://u:hunter2@h/x"}}, "must be sqlite:///FILE"),
        ({"database": {"url": "sightline.db"}}, "must be sqlite:///FILE"),
    ],
)
def test_addresses_of_the_wrong_form_are_refused(section: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text) as caught:
        parse_config(section)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///a.db",
        "sqlite:////var/lib/a b@c.db",
        "postgres://u:p/w?x#y:z@h/db",
        "postgresql+psycopg://u@[::1]:5432/db?sslmode=require",
        "postgresql://h1:5432,h2:5433/db",
        "postgresql:///db?host=/run/postgresql",
        "postgresql://h/db?application_name=a@b:c",
    ],
)
def test_addresses_of_databases_that_sqlalchemy_takes_are_taken(url: str) -> None:
    assert parse_config({"database": {"url": url}}).options.database.url.get_secret_value() == url


@pytest.mark.parametrize(
    "raw", [{"triton": {"url": 5}}, {"stream": {"fps": -1}, "cameras": DOOR}, {"cameras": ["x"]}]
)
def test_a_bad_global_value_stops(raw: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_config(raw)


def test_secrets_come_from_environment_or_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yaml_text, "SECRETS_FOLDER", tmp_path)
    monkeypatch.setenv("SIGHTLINE_USER", "admin")
    (tmp_path / "sightline_door_password").write_text("p@ss/w:rd\n")
    url = "rtsp://{SIGHTLINE_USER}:{SIGHTLINE_DOOR_PASSWORD}@h/"
    loaded = parse_config({"cameras": {"door": {"url": url}}})
    assert loaded.cameras["door"].source_url == "rtsp://admin:p%40ss%2Fw%3Ard@h/"
    assert "p@ss" not in repr(loaded)
    assert "p%40ss" not in repr(loaded)


def test_a_secret_that_cannot_be_read_is_told_and_line_ends_are_no_part_of_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(yaml_text, "SECRETS_FOLDER", tmp_path)
    monkeypatch.setenv("SIGHTLINE_GOOD", " hunter2\r\n")
    monkeypatch.setenv("SIGHTLINE_EMPTY", "\n")
    (tmp_path / "SIGHTLINE_ALSO").write_text("\ufeff hunter2 \r\n")
    (tmp_path / "SIGHTLINE_BAD").write_bytes(b"\xff\xfe")
    loaded = parse_config(
        {
            "cameras": {
                "good": {"url": "rtsp://u:{SIGHTLINE_GOOD}@h/"},
                "also": {"url": "rtsp://u:{SIGHTLINE_ALSO}@h/"},
                "bad": {"url": "rtsp://u:{SIGHTLINE_BAD}@h/"},
                "empty": {"url": "rtsp://u:{SIGHTLINE_EMPTY}@h/"},
            }
        }
    )
    assert {camera.source_url for camera in loaded.cameras.values()} == {"rtsp://u:hunter2@h/"}
    assert len(loaded.cameras) == 2
    assert "SIGHTLINE_BAD cannot be read (not UTF-8)" in str(loaded.problems[0])
    assert "{SIGHTLINE_EMPTY} is empty in the environment" in str(loaded.problems[1])


def test_a_secret_may_be_a_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_DATABASE", "postgresql://u:p@h/db")
    loaded = parse_config({"database": {"url": "{SIGHTLINE_DATABASE}"}, "cameras": DOOR})
    assert loaded.options.database.url.get_secret_value() == "postgresql://u:p@h/db"


def test_the_sub_stream_is_preferred() -> None:
    loaded = parse_config({"cameras": {"door": {"url": "rtsp://h/main", "sub_url": "rtsp://h/sub"}}})
    assert loaded.cameras["door"].source_url == "rtsp://h/sub"


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ("outside", "must be a list"),
        ([" outside"], "without spaces at its ends"),
        (["a\nb"], "is 1 to 40 characters"),
        (["x" * 41], "is 1 to 40 characters"),
        ([""], "is 1 to 40 characters"),
        ([f"group {number}" for number in range(17)], "at most 16"),
    ],
)
def test_groups_that_will_not_do(groups: object, problem: str) -> None:
    loaded = parse_config({"cameras": {"door": {"url": "rtsp://h/", "groups": groups}}})
    [error] = loaded.problems
    assert (error.camera, error.key.partition(".")[0]) == ("door", "groups")
    assert problem in error.problem


def test_groups_are_changed_without_opening_the_camera_anew() -> None:
    before, after = (
        parse_config({"cameras": {"door": {"url": "rtsp://h/", "groups": groups}}}).cameras["door"]
        for groups in ([], ["ground floor", "Außen 1"])
    )
    [change] = before.changes_to(after, camera="door")
    assert (change.effect, str(change)) == (
        Effect.HOT,
        "camera 'door', groups [] → [ground floor, Außen 1]",
    )


def test_the_hash_follows_what_shapes_counts_and_not_the_url() -> None:
    def hash_of(**values: object) -> str:
        return parse_config({"cameras": {"door": {"url": "rtsp://h/", **values}}}).cameras["door"].config_hash

    assert hash_of() == hash_of(url="rtsp://other/") == hash_of(track_log={"folder": "/tmp/x"})
    assert hash_of() == hash_of(groups=["outside"])
    assert hash_of() != hash_of(track={"confirm_s": 1})


FLAT = {
    "fps": 5, "classes": ["person"], "second_box_overlap": 0.5, "lost_s": 4, "blind_s": 20,
    "tls_ca_file": "/etc/ca.pem", "lines": {"in": {"points": [[0, 0], [1, 1]]}},
}  # fmt: skip
FLAT_DOOR = {
    "url": "rtsp://h/", "hardware_decoder": "auto", "window_s": 300, "keep_tracks": "/tmp/x",
    "zones": {"yard": {"points": TRIANGLE, "loiter_s": 5}}, "model": "detector-2", "drift": {"consent": True},
}  # fmt: skip
GROUPED = {
    "stream": {"fps": 5, "tls_ca_file": "/etc/ca.pem"},
    "detect": {"dedupe_iou": 0.5},
    "track": {"max_lost_s": 4, "max_gap_s": 20},
    "count": {"classes": ["person"]},
    "rules": {"lines": FLAT["lines"]},
}
GROUPED_DOOR = {
    "url": "rtsp://h/",
    "stream": {"hardware_decoder": "auto"},
    "detect": {"model": "detector-2"},
    "count": {"window_s": 300},
    "track_log": {"folder": "/tmp/x"},
    "rules": {"zones": FLAT_DOOR["zones"]},
    "drift": {"consent": True},
}


def test_the_keys_of_the_first_release_are_accepted_with_a_warning_each() -> None:
    old = parse_config({**FLAT, "cameras": {"door": FLAT_DOOR}})
    new = parse_config({**GROUPED, "cameras": {"door": GROUPED_DOOR}})
    assert old.cameras == new.cameras
    assert new.warnings == old.problems == ()
    assert len(old.warnings) == 12
    assert old.warnings[3].startswith("key 'lost_s' is now track.max_lost_s")
    assert old.warnings[7].startswith("camera 'door', key 'hardware_decoder' is now stream.hardware_decoder")


def test_the_hashes_of_rows_that_the_first_release_stored_still_hold() -> None:
    plain = parse_config({"cameras": DOOR | {"door": {"url": "rtsp://h/"}}})
    assert plain.cameras["door"].config_hash == "f0b9dda1cbe287f1"
    grouped = parse_config({**GROUPED, "cameras": {"door": GROUPED_DOOR}})
    assert grouped.cameras["door"].config_hash == "48955b21378747b3"


def test_an_old_key_beside_the_same_new_one_is_only_warned_of() -> None:
    loaded = parse_config({"fps": 5, "stream": {"fps": 5}, "cameras": DOOR})
    assert (loaded.cameras["door"].stream.fps, len(loaded.warnings)) == (5, 1)
    with pytest.raises(ConfigError, match=r"'fps': contradicts stream\.fps"):
        parse_config({"fps": 5, "stream": {"fps": 6}, "cameras": DOOR})


def test_every_mistake_is_told_in_one_run() -> None:
    with pytest.raises(ConfigErrors) as caught:
        parse_config(
            {
                "triton": {"in_flight": 99, "urll": "x"},
                "http": {"port": "{SIGHTLINE_NO_SUCH_PORT}"},
                "cameras": {
                    **DOOR,
                    "bad": {"url": "ftp://h/", "track": {"confirm_s": -1}, "stream": {"fps": 0}},
                    "worse": {"url": "{SIGHTLINE_NO_SUCH_URL}"},
                },
            }
        )
    assert [(problem.camera, problem.key) for problem in caught.value.problems] == [
        (None, "http.port"),
        (None, "triton.in_flight"),
        (None, "triton.urll"),
        ("bad", "stream.fps"),
        ("bad", "track.confirm_s"),
        ("bad", "url"),
        ("worse", "url"),
    ]
    assert str(caught.value).count("\n") == 6
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_a_camera_with_several_mistakes_is_one_misconfigured_camera() -> None:
    loaded = parse_config({"cameras": {"bad": {"url": "ftp://h/", "stream": {"fps": 0}}}})
    assert len(loaded.problems) == 2
    assert list(loaded.misconfigured) == ["bad"]
    assert "stream.fps" in loaded.misconfigured["bad"]
    assert "scheme 'ftp'" in loaded.misconfigured["bad"]


#: Seven levels of nine aliases each: five million values.
BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cameras: [", ":1: is not YAML"),
        ("- a\n- b\n", "must be a map"),
        ("text", "must be a map"),
        ("cameras:\n  a: {url: x}\n  b: {url: x}\n  a: {url: y}\n", ":4: 'a' stands here and in line 2"),
        ("cameras:\n  a:\n    rules: {}\n    rules: {}\n", ":4: 'rules' stands here and in line 3"),
        ("cameras:\n  ? [a]\n  : {url: x}\n", ":2: a key must be text"),
        ("cameras:\n  a:\n    url:\u00a0rtsp://h/\n", ":3: has the character '\\\\xa0', that of a word"),
        ("cameras:\n  a: {url: \u201crtsp://h/\u201d}\n", ":2: has the character '\u201c'"),
        ("cameras:\n\ta: {url: x}\n", ":2: is not YAML: .*; write spaces, not tabs"),
        ("cameras: {}\n---\ncameras: {}\n", ":2: is not YAML: expected a single document"),
        ("cameras:\n  a: {url: 'x}\n  b: {url: x}\n", ":2: is not YAML: .*is a quote.* missing there"),
        ("cameras:\n  a: {url: rtsp://[::1]/}\n", ":2: is not YAML: .*is a quote.* missing there"),
        ("cameras:\n  a: !env X\n", ":2: is not YAML: could not determine a constructor"),
        ("cameras:\n  a: {url: !!timestamp x}\n", ":2: is not YAML: could not determine a constructor"),
        ("cameras:\n  a: {url: !!bool x}\n", "a value that YAML cannot read"),
        ("cameras:\n  a: {url: !!int ''}\n", "a value that YAML cannot read"),
        ("cameras:\n  a: {url: x}\n# \x1b\n", r":3: has a character that no text has \(#x001b\)"),
        ("a: &a [*a]\n", "nested too deeply, or an alias contains itself"),
        ("a: " + "[" * 2000, "nested too deeply"),
        ("day: " + "9" * 5000, ":1: has a text of more than"),
        (BOMB, "more than 100000 values"),
    ],
)  # fmt: skip
def test_a_broken_file_is_told_with_place_and_cure(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:"), "as any other mistake: the file, and its line"


def test_names_and_values_are_what_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "count: {window_s: 0600, classes: [on, no, 1:30, 2024-13-45]}\nstream: {fps: 1e1}\n"
        + "cameras:\n"
        + "".join(
            f"  {name}: {{url: rtsp://h/, enabled: no}}\n" for name in ("on", "5", "2024-13-45", "null")
        )
    )
    cameras = load_config(path).cameras
    assert list(cameras) == ["on", "5", "2024-13-45", "null"]
    assert not cameras["on"].enabled
    assert (cameras["on"].count.window_s, cameras["on"].stream.fps) == (600, 10)
    assert cameras["on"].count.classes == ("on", "no", "1:30", "2024-13-45")
    path.write_text("count: {classes: [feu\u00a0rouge]}\ncameras:\n  a: {url: rtsp://h/}\n")
    assert load_config(path).cameras["a"].count.classes == ("feu\u00a0rouge",)
    path.write_text("cameras:\n  a: {url: rtsp://h/, stream: {fps: on}, count: {window_s: 1:00}}\n")
    assert [problem.key for problem in load_config(path).problems] == ["stream.fps", "count.window_s"]


def test_mistakes_in_keys_and_in_values_are_told_together_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "triton: {model: a, model: b}\n"
        "cameras:\n"
        "  a:\n"
        "    url: ftp://h/\n"
        "    rules:\n"
        "      lines:\n"
        "        d: {points: [[0, 0], [1, 1]]}\n"
        "        d: {points: [[0, 0]]}\n"
        "  b: {url: rtsp://h/}\n"
        "  b:\n"
        "    url: rtsp://h/2\n"
        "    stream: {fps: fast}\n"
    )
    with pytest.raises(ConfigErrors) as caught:
        load_config(path)
    assert [str(problem).replace(str(path), "FILE").split(": ", 1) for problem in caught.value.problems] == [
        ["FILE:1", "'model' stands here and in line 1; remove one of them"],
        ["FILE:8", "'d' stands here and in line 7; remove one of them"],
        ["FILE:10", "'b' stands here and in line 9; remove one of them"],
        ["FILE:8", "camera 'a', key 'rules.lines.d.points': needs at least 2 points, has 1"],
        ["FILE:4", "camera 'a', key 'url': scheme 'ftp' is not one of rtsp, rtsps, http, https, file"],
        ["FILE:12", mock.ANY],
    ]


@pytest.mark.parametrize(
    "written",
    [
        {"alerts": {"rules": {"night": {"kinds": ["entr"]}}}},
        {"clips": {"kinds": ["entr"]}},
        {"cameras": {"door": {"url": "rtsp://h/", "clips": {"kinds": ["entr"]}}}},
    ],
)
def test_a_list_whose_only_value_is_wrong_is_not_called_empty_as_well(written: dict[str, object]) -> None:
    try:
        problems = parse_config({"cameras": DOOR, **written}).problems
    except ConfigError as error:
        problems = error.problems
    [problem] = problems
    assert problem.key.endswith("kinds.0")
    assert "'crossing', 'enter'" in problem.problem


def test_kinds_of_events_that_have_no_clips_are_refused() -> None:
    raw = {"url": "rtsp://h/", "clips": {"kinds": ["enter", "camera_offline"]}}
    [problem] = parse_config({"cameras": {"door": raw}}).problems
    assert (problem.key, "has no clips" in problem.problem) == ("clips.kinds.1", True)


def test_a_name_that_begins_with_a_mark_is_told_why() -> None:
    [problem] = parse_config({"cameras": {"_door": {"url": "rtsp://h/"}}}).problems
    assert "first a letter or digit" in problem.problem


def test_cameras_that_differ_in_capitals_only_are_asked_about() -> None:
    loaded = parse_config({"cameras": {"Door": {"url": "rtsp://h/a"}, **DOOR}})
    assert list(loaded.cameras) == ["Door", "door"]
    assert loaded.warnings == ("cameras 'Door' and 'door' differ in capitals only; is that meant?",)


@pytest.mark.parametrize(
    ("written", "opened"),
    [
        ("RTSP://U:P@H/Live", "rtsp://U:P@H/Live"),
        ("rtsp://u:a%25b@[fe80::1%25eth0]:554/live%25", "rtsp://u:a%25b@[fe80::1%eth0]:554/live%25"),
        ("rtsp://u:a%5B%25b@h/live", "rtsp://u:a%5B%25b@h/live"),
    ],
)
def test_schemes_and_zones_are_written_as_ffmpeg_takes_them(written: str, opened: str) -> None:
    assert parse_config({"cameras": {"door": {"url": written}}}).cameras["door"].source_url == opened


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "missing.yml")
    (tmp_path / "latin1.yml").write_bytes(b"cameras:\n  front: # Eingang T\xfcr\n")
    with pytest.raises(ConfigError, match=":2: is not UTF-8"):
        load_config(tmp_path / "latin1.yml")


def test_a_merged_map_is_not_a_repeated_key(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "cameras:\n"
        "  a: &a\n    url: rtsp://h/a\n    stream: {fps: 5}\n"
        "  b: &b\n    <<: *a\n    url: rtsp://h/b\n"
        "  c:\n    <<: *b\n    url: rtsp://h/c\n"
    )
    cameras = load_config(path).cameras
    assert [(camera.source_url, camera.stream.fps) for camera in cameras.values()] == [
        ("rtsp://h/a", 5), ("rtsp://h/b", 5), ("rtsp://h/c", 5)
    ]  # fmt: skip


def test_what_is_left_empty_counts_as_not_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "triton:\nstream:\nrules:\n  zones: {yard: }\n"
        "  lines: {in: {points: [[0, 0], [1, 1]]}}\n"
        "cameras:\n  front:\n    url: rtsp://10.0.0.1/a\n    rules:\n      lines:\n    track:\n"
    )
    loaded = load_config(path)
    assert list(loaded.cameras["front"].rules.lines) == ["in"]
    assert loaded.cameras["front"].rules.zones == {}


def test_the_schema_accepts_what_the_program_accepts() -> None:
    schema = json_schema()
    json.dumps(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"stream": {"fps": 5}, "cameras": DOOR}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cameras": {"door": stream(fsp=5)}}, schema)


def fields(model: type[OptionGroup], prefix: str = "") -> Iterator[tuple[str, FieldInfo, bool]]:
    """Every option below ``model``: path, field, and whether it is a group of options itself."""
    for name, field in model.model_fields.items():
        group = field.annotation
        is_group = isinstance(group, type) and issubclass(group, OptionGroup)
        yield prefix + name, field, is_group
        if is_group:
            yield from fields(group, f"{prefix}{name}.")


OPTIONS = [*fields(Config), *fields(Camera)]


def test_every_option_is_described() -> None:
    assert [path for path, field, _ in OPTIONS if not field.description and path != "name"] == []


def test_every_option_declares_what_applying_it_takes() -> None:
    assert [path for path, field, is_group in OPTIONS if (effect_of(field) is None) != is_group] == []


def test_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("fps", "is wrong", camera="door")))
    assert (error.camera, error.key, str(error)) == ("door", "fps", "camera 'door', key 'fps': is wrong")


def test_lines_and_zones_are_defaults_that_a_camera_replaces_and_that_shape_the_hash() -> None:
    zones = {"yard": {"points": TRIANGLE, "loiter_s": 5}}
    raw = {
        "rules": {"zones": zones},
        "cameras": {
            "plain": places(),
            "other": places(zones={"yard": {"points": TRIANGLE}}),
            "none": places(zones={}),
        },
    }
    cameras = parse_config(raw).cameras
    assert cameras["plain"].rules.zones["yard"].loiter_s == 5
    assert cameras["other"].rules.zones["yard"].points[1] == (1.2, 0.1)
    assert len({camera.config_hash for camera in cameras.values()}) == 3
    assert pickle.loads(pickle.dumps(cameras["plain"])).rules == cameras["plain"].rules
    jsonschema.validate(raw, json_schema())
    with pytest.raises(ConfigError, match=r"rules\.zones\.yard\.points"):
        parse_config({"rules": {"zones": {"yard": {"points": [[0, 0]]}}}, "cameras": {}})


# -- annotated video ---------------------------------------------------------------------------------------


def test_annotated_video_of_each_camera_goes_to_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_PUBLISHER", "p@ss")
    output = {"url": "rtsp://publisher:{SIGHTLINE_PUBLISHER}@media:8554/{camera}-boxes"}
    cameras = {name: {"url": "rtsp://h/"} for name in ("gate", "yard")}
    loaded = parse_config({"output": output, "cameras": cameras})
    assert not loaded.problems
    assert loaded.cameras["yard"].output_url == "rtsp://publisher:p%40ss@media:8554/yard-boxes"
    assert parse_config({"cameras": cameras}).cameras["gate"].output_url == ""
    same = {"url": "rtsp://media:8554/boxes"}
    [problem] = parse_config({"output": same, "cameras": cameras}).problems
    assert (problem.camera, problem.key) == ("yard", "output.url")
    assert "that of camera 'gate', too; write {camera}" in problem.problem


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://media/boxes", "no address to push to; write rtsp://"),
        ("boxes.mp4", "no address to push to"),
        ("rtsp://publisher:p/w@media/boxes", "in a password write / as %2F"),
        ("rtsp://media/{cam}", "has braces"),
    ],
)
def test_annotated_video_goes_by_rtsp_alone(url: str, text: str) -> None:
    [problem] = parse_config({"cameras": {"gate": {"url": "rtsp://h/", "output": {"url": url}}}}).problems
    assert (problem.camera, problem.key) == ("gate", "output.url")
    assert text in problem.problem
