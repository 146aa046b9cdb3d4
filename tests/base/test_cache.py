from sightline.base.cache import cache_folder
from sightline.simulation import recoded, rtsp_server


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
    monkeypatch.setattr(recoded, "_encode", lambda video, fps, copy: copy.write_bytes(b"video"))
    (tmp_path / "video.mp4").write_bytes(b"video")
    copy = recoded.copy_at_fps(tmp_path / "video.mp4", 5)
    assert copy.parent == tmp_path / "own" / "clips"
    program = tmp_path / "own" / f"go2rtc-{rtsp_server.VERSION}" / "go2rtc"
    program.parent.mkdir(parents=True)
    program.touch()
    assert rtsp_server.find_go2rtc() == program
