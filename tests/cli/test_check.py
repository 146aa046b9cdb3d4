"""``sightline check``: every mistake in one run, on standard error, with an exit status."""

from pathlib import Path

import pytest

from sightline.cli import main


def check(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    path.write_text(text)
    status = main(["check", "-c", str(path)])
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


def test_mistakes_at_the_top_do_not_hide_those_of_the_cameras(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "triton: {in_flight: 99}\nopen_limit: 0\n"
        "cameras:\n  a: {url: rtsp://h/, fsp: 5}\n  b: {url: 'ftp://u:hunter2@h/'}\n  c: {url: rtsp://h/}\n"
    )
    status, out, err = check(tmp_path / "config.yml", text, capsys)
    assert (status, out) == (1, [])
    assert [line.removeprefix(str(tmp_path)).split(": ")[:2] for line in err] == [
        ["/config.yml:1", "key 'triton.in_flight'"],
        ["/config.yml:2", "key 'open_limit'"],
        ["/config.yml:4", "camera 'a', key 'fsp'"],
        ["/config.yml:5", "camera 'b', key 'url'"],
    ]
    assert "do you mean stream.fps?" in err[2]
    assert "hunter2" not in " ".join(err)


def test_old_keys_are_warned_of_and_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = check(tmp_path / "config.yml", "cameras:\n  a: {url: rtsp://h/, lost_s: 5}\n", capsys)
    assert (status, out) == (0, ["camera 'a': ok"])
    assert err == [
        "warning: camera 'a', key 'lost_s' is now track.max_lost_s; the next release reads only that"
    ]


def test_a_folder_for_uploads_that_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"cameras:\n  a: {{url: rtsp://h/}}\nuploads: {{url: 'file://{tmp_path}/a%20b'}}\n"
    status, _, err = check(tmp_path / "config.yml", text, capsys)
    assert status == 1
    assert [line for line in err if "uploads.url" in line and "/a b' is not there" in line] == err
    (tmp_path / "a b").mkdir()
    status, _, err = check(tmp_path / "config.yml", text, capsys)
    assert [line for line in err if "is not there" in line] == []


def test_a_file_without_cameras_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = check(tmp_path / "config.yml", "stream: {fps: 5}\n", capsys)
    assert status == 1
    assert err == ["key 'cameras': names no camera; add one with a url"]


def test_files_and_folders_that_are_none_are_told_with_the_other_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "file").touch()
    text = (
        "open_limit: 0\nallow: {files: true}\n"
        "database: {url: 'sqlite:///FOLDER', spool_path: FOLDER/file/spool.db}\n"
        "cameras:\n"
        "  a: {url: FOLDER/missing.mp4, track_log: {folder: FOLDER/file}}\n"
        "  b: {url: 'file://FOLDER/loop.mp4'}\n"
        "  c: {url: FOLDER, stream: {tls_ca_file: FOLDER/none.pem}}\n"
        "  d: {url: FOLDER/file}\n"
        "  e: {url: rtsp://h/, stream: {fps: 0}}\n"
        "  f: {url: FOLDER/missing.mp4, enabled: no}\n"
    )
    status, _, err = check(tmp_path / "config.yml", text.replace("FOLDER", str(tmp_path)), capsys)
    assert status == 1
    status, out, _ = check(
        tmp_path / "config.yml", text.replace("open_limit: 0", "").replace("FOLDER", str(tmp_path)), capsys
    )
    assert (status, out) == (1, ["camera 'd': ok", "camera 'f': ok"])
    file = "; name a file that is there"
    assert [line.replace(str(tmp_path), "FOLDER").removeprefix("FOLDER/config.yml:") for line in err] == [
        "1: key 'open_limit': must be greater than or equal to 1",
        "9: camera 'e', key 'stream.fps': must be greater than 0",
        "3: key 'database.url': 'FOLDER' is a folder; name a file",
        "3: key 'database.spool_path': 'FOLDER/file' is no folder; name another",
        f"5: camera 'a', key 'url': 'FOLDER/missing.mp4' cannot be read (No such file or directory){file}",
        "5: camera 'a', key 'track_log.folder': 'FOLDER/file' is no folder; name another",
        "6: camera 'b', key 'url': 'FOLDER/loop.mp4' cannot be read "
        f"(Too many levels of symbolic links){file}",
        f"7: camera 'c', key 'url': 'FOLDER' is a folder{file}",
        f"7: camera 'c', key 'stream.tls_ca_file': 'FOLDER/none.pem' cannot be read "
        f"(No such file or directory){file}",
    ]


def test_a_program_whose_database_cannot_be_a_file_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"database: {{url: 'sqlite:///{tmp_path}'}}\ncameras:\n  a: {{url: rtsp://127.0.0.1:9/}}\n"
    )
    assert main(["run", "-c", str(config)]) != 0
    assert (
        capsys.readouterr().err == f"sightline: key 'database.url': '{tmp_path}' is a folder; name a file\n"
    )
