import pytest

from sightline.base import resources
from sightline.base.resources import cache_folder
from sightline.errors import SightlineError
from sightline.simulation import rtsp_server
from support.numbered import numbered_clip


def test_a_checkout_and_a_wheel_have_their_resources_in_different_places(monkeypatch, tmp_path):
    assert resources.resource("models/sightline.onnx").is_file()
    assert resources.resource("streamlit_app/pages.py").is_file()
    bundle = tmp_path / "_bundle"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "sightline.onnx").touch()
    monkeypatch.setattr(resources, "BUNDLE", bundle)
    assert resources.resource("models/sightline.onnx") == bundle / "models" / "sightline.onnx"
    with pytest.raises(SightlineError, match="streamlit_app is missing; install the wheel again"):
        resources.resource("streamlit_app")


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("SIGHTLINE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sightline"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sightline"
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"


def test_fetched_programs_and_copied_videos_are_kept_in_the_one_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rtsp_server, "_encode", lambda video, fps, copy: copy.write_bytes(b"video"))
    numbered_clip(tmp_path / "video.mp4", 1)
    copy = rtsp_server.copy_at_fps(tmp_path / "video.mp4", 5)
    assert copy.parent == tmp_path / "own" / "clips"
    program = tmp_path / "own" / f"go2rtc-{rtsp_server.VERSION}" / "go2rtc"
    program.parent.mkdir(parents=True)
    program.touch()
    assert rtsp_server.find_go2rtc() == program
