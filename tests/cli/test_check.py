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
    assert [line.split(":")[0] for line in err] == [
        "key 'triton.in_flight'",
        "key 'open_limit'",
        "camera 'a', key 'fsp'",
        "camera 'b', key 'url'",
    ]
    assert "do you mean stream.fps?" in err[2]
    assert "hunter2" not in " ".join(err)


def test_old_keys_are_warned_of_and_do_not_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = check(tmp_path / "config.yml", "cameras:\n  a: {url: rtsp://h/, lost_s: 5}\n", capsys)
    assert (status, out) == (0, ["camera 'a': ok"])
    assert err == [
        "warning: camera 'a', key 'lost_s' is now track.max_lost_s; the next release reads only that"
    ]


def test_a_file_without_cameras_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = check(tmp_path / "config.yml", "stream: {fps: 5}\n", capsys)
    assert status == 1
    assert err == ["key 'cameras': names no camera; add one with a url"]
