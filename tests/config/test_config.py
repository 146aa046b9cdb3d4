"""config.yml: defaults, secrets, and errors that name the camera and the key."""

import json
import pickle
from pathlib import Path

import jsonschema
import pytest

from sightline.config import loader
from sightline.config.loader import Config, json_schema, load_config, parse_config
from sightline.errors import ConfigError

DOOR = {"door": {"url": "rtsp://10.0.0.9/live"}}


def test_a_camera_overrides_the_defaults() -> None:
    loaded = parse_config(
        {"fps": 5, "window_s": 30, "cameras": {**DOOR, "yard": {"url": "rtsp://h/", "fps": 10}}}
    )
    assert (loaded.cameras["door"].fps, loaded.cameras["yard"].fps) == (5, 10)
    assert loaded.cameras["yard"].window_s == 30
    assert loaded.problems == ()


TRIANGLE = [[0.1, 0.1], [1.2, 0.1], [0.1, 0.9]]


def places(**values: object) -> dict[str, object]:
    return {"url": "rtsp://h/", **values}


@pytest.mark.parametrize(
    ("camera", "key", "text"),
    [
        ({"url": "rtsp://h/", "fps": "fast"}, "fps", "valid number"),
        ({"url": "rtsp://h/", "fsp": 5}, "fsp", "spelling"),
        ({"url": "rtsp://h/", "window_s": 7}, "window_s", "divide a day"),
        ({"url": "rtsp:///live"}, "url", "no host"),
        ({"url": "ftp://h/x"}, "url", "scheme 'ftp'"),
        ({"url": "/videos/a.mp4"}, "url", "allow.files"),
        ({"url": "http://h/x"}, "url", "allow.http"),
        ({"url": "rtsp://h:port/"}, "url", "not a URL"),
        ({"url": "rtsp://u:{SIGHTLINE_NO_SUCH}@h/"}, "url", "SIGHTLINE_NO_SUCH"),
        ({"fps": 5}, "url", "required"),
        (places(lines={"in": {"points": [[0.1, 0.1]]}}), "lines.in.points", "at least 2 points, found 1"),
        (places(lines={"in": {"points": [[0.1, 0.1]] * 2}}), "lines.in.points", "no length"),
        (places(lines={"in": {"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}}), "lines.in.points", "crosses"),
        (places(lines={"in": {"points": [[0, 0], [1, 1], [0.5, 0.5]]}}), "lines.in.points", "crosses"),
        (places(lines={"in": {"points": [[0, 0], [640, 360]]}}), "lines.in.points", "not pixels"),
        (places(lines={"in": {"points": [[0, 0], [1, "a"]]}}), "lines.in.points.1.1", "valid number"),
        (places(lines={"in": {"points": [[0, 0], [1]]}}), "lines.in.points.1.1", "required"),
        (places(lines={"in": {"points": [[0, 0], [1, float("nan")]]}}), "lines.in.points", "outside"),
        (places(lines={"in": {}}), "lines.in.points", "required"),
        (places(zones={"yard": {"points": [[0, 0], [1, 1]]}}), "zones.yard.points", "at least 3"),
        (
            places(zones={"yard": {"points": [[0, 0], [1, 1], [1, 0], [0, 1]]}}),
            "zones.yard.points",
            "the polygon crosses itself",
        ),
        (places(zones={"yard": {"points": [[0, 0], [1, 0], [0.5, 0]]}}), "zones.yard.points", "crosses"),
        (
            places(zones={"yard": {"points": [[0, 0], [1, 0], [1, 1], [0, 0]]}}),
            "zones.yard.points",
            "repeats",
        ),
        (
            places(zones={"yard": {"points": TRIANGLE, "loiter_s": 0}}),
            "zones.yard.loiter_s",
            "greater than 0",
        ),
        (places(zones={"yard": {"points": TRIANGLE, "max": 3}}), "zones.yard.max", "spelling"),
        (places(zones={"": {"points": TRIANGLE}}), "zones..[key]", "at least 1"),
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


@pytest.mark.parametrize("raw", [{"triton": {"url": 5}}, {"fps": -1, "cameras": DOOR}, {"cameras": ["x"]}])
def test_a_bad_global_value_stops(raw: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_config(raw)


def test_secrets_come_from_environment_or_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader, "SECRETS_FOLDER", tmp_path)
    monkeypatch.setenv("SIGHTLINE_USER", "admin")
    (tmp_path / "sightline_door_password").write_text("p@ss/w:rd\n")
    url = "rtsp://{SIGHTLINE_USER}:{SIGHTLINE_DOOR_PASSWORD}@h/"
    loaded = parse_config({"cameras": {"door": {"url": url}}})
    assert loaded.cameras["door"].source_url == "rtsp://admin:p%40ss%2Fw%3Ard@h/"
    assert "p@ss" not in repr(loaded)
    assert "p%40ss" not in repr(loaded)


def test_a_secret_may_be_a_whole_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_DATABASE", "postgresql://u:p@h/db")
    loaded = parse_config({"database": {"url": "{SIGHTLINE_DATABASE}"}, "cameras": DOOR})
    assert loaded.options.database.url.get_secret_value() == "postgresql://u:p@h/db"


def test_the_sub_stream_is_preferred() -> None:
    loaded = parse_config({"cameras": {"door": {"url": "rtsp://h/main", "sub_url": "rtsp://h/sub"}}})
    assert loaded.cameras["door"].source_url == "rtsp://h/sub"


def test_the_hash_follows_what_shapes_counts_and_not_the_url() -> None:
    def hash_of(**values: object) -> str:
        return parse_config({"cameras": {"door": {"url": "rtsp://h/", **values}}}).cameras["door"].config_hash

    assert hash_of() == hash_of(url="rtsp://other/")
    assert hash_of() != hash_of(confirm_s=1)


@pytest.mark.parametrize("text", ["cameras: [", "- a\n- b\n", "text"])
def test_a_broken_file_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yml"):
        load_config(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "missing.yml")


def test_the_schema_accepts_what_the_program_accepts() -> None:
    schema = json_schema()
    json.dumps(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"fps": 5, "cameras": DOOR}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cameras": {"door": {"url": "rtsp://h/", "fsp": 5}}}, schema)


def test_every_option_is_described() -> None:
    described = {**Config.model_fields, **loader.Camera.model_fields, **loader.TritonOptions.model_fields}
    nested = {"triton", "database", "http", "allow", "name"}
    assert [name for name, field in described.items() if not field.description and name not in nested] == []


def test_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("fps", "is wrong", camera="door")))
    assert (error.camera, error.key, str(error)) == ("door", "fps", "camera 'door', key 'fps': is wrong")


def test_lines_and_zones_are_defaults_that_a_camera_replaces_and_that_shape_the_hash() -> None:
    zones = {"yard": {"points": TRIANGLE, "loiter_s": 5}}
    raw = {
        "zones": zones,
        "cameras": {
            "plain": places(),
            "other": places(zones={"yard": {"points": TRIANGLE}}),
            "none": places(zones={}),
        },
    }
    cameras = parse_config(raw).cameras
    assert cameras["plain"].zones["yard"].loiter_s == 5
    assert cameras["other"].zones["yard"].points[1] == (1.2, 0.1)
    assert len({camera.config_hash for camera in cameras.values()}) == 3
    assert pickle.loads(pickle.dumps(cameras["plain"])).zones == cameras["plain"].zones
    jsonschema.validate(raw, json_schema())
    with pytest.raises(ConfigError, match=r"zones\.yard\.points"):
        parse_config({"zones": {"yard": {"points": [[0, 0]]}}, "cameras": {}})
