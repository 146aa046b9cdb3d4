"""``sightline snapshot``: one picture of a camera as the analysis sees it, with its places drawn."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import yaml

from support.camera_world import make_clip
from support.fake_triton import FakeTriton
from support.numbered import numbered_clip


def snapshot(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sightline", "snapshot", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration with a recording that is shown upright, its pixels twice as wide as high."""
    make_clip(tmp_path / "turned.mp4", frames=3, turn=(90, False, False), pixel_aspect=(2, 1))
    door = {"Türe 出口": {"points": [[0.5, 0.9], [0.5, 0.1]]}}
    cameras = {
        "gate": {"url": "turned.mp4", "rules": {"lines": door}},
        "gone": {"url": "gone.mp4"},
        "wrong": {"url": "turned.mp4", "stream": {"fps": -1}},
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump({"allow": {"files": True}, "cameras": cameras}))
    return tmp_path


def pixels(path: Path) -> np.ndarray:
    """RGB [height, width, 3]."""
    with av.open(str(path)) as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24").astype(int)


def test_a_picture_is_as_the_analysis_sees_it_and_the_line_is_drawn_where_it_counts(folder: Path) -> None:
    plain, drawn = snapshot(folder, "gate", "plain.jpg"), snapshot(folder, "gate", "drawn.jpg", "--draw")
    assert (plain.returncode, drawn.returncode) == (0, 0), plain.stderr + drawn.stderr
    assert plain.stdout.startswith("plain.jpg: camera 'gate' at 20")
    assert plain.stdout.endswith(", 240x640\n")
    assert stat.S_IMODE((folder / "plain.jpg").stat().st_mode) == 0o600
    before, after = pixels(folder / "plain.jpg"), pixels(folder / "drawn.jpg")
    assert before.shape == after.shape == (640, 240, 3)
    red, green, blue = after[160, 120]  # on the line
    assert red > 200 and green > 150 and blue < 80
    assert np.ptp(before[160, 120]) < 20
    yellow = np.abs(after - before).max(axis=2) > 60
    assert yellow[320, 85:120].any()  # it goes up, so in is to its left
    assert not yellow[320, 130:160].any()
    assert yellow[560:590, 90:150].sum() > 100  # its name, at its beginning


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gaet", "out.jpg"), "key 'cameras': has no 'gaet'; it has gate, gone"),
        (("wrong", "out.jpg"), "camera 'wrong', key 'stream.fps': "),
        (("gone", "out.jpg"), "camera 'gone', key 'url': there is nothing at this path"),
        (("gate", "out.png"), "out.png: the picture is a JPEG; give a name that ends in .jpg"),
        (("gate", "nowhere/out.jpg"), "No such file or directory"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    folder: Path, words: tuple[str, ...], said: str
) -> None:
    done = snapshot(folder, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list(folder.rglob("out*"))


def test_only_drawing_needs_opencv(folder: Path) -> None:
    program = (
        "import sys; sys.modules['cv2'] = None; from sightline.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "snapshot", "gate"]
    plain, drawn = (
        subprocess.run(
            [*command, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        for words in (["plain.jpg"], ["drawn.jpg", "--draw"])
    )
    assert (plain.returncode, drawn.returncode) == (0, 1)
    assert drawn.stderr == "sightline: drawing needs OpenCV: pip install 'sightline[draw]'\n"


def test_what_privacy_names_is_covered_or_no_picture_is_shown(tmp_path: Path) -> None:
    numbered_clip(tmp_path / "cam.mp4", 3, noise=100)
    plain = {"url": "cam.mp4"}
    cameras = {"plain": plain, "gate": plain | {"privacy": {"blur": ["faces", "persons"]}}}
    cameras["yard"] = plain | {"privacy": {"blur": ["plates"]}}

    def steps(name: str) -> float:
        """The mean step between neighbouring points."""
        return float(np.abs(np.diff(pixels(tmp_path / name)[20:220], axis=1)).mean())

    with FakeTriton() as triton:
        raw = {"allow": {"files": True}, "triton": {"url": triton.url}, "cameras": cameras}
        (tmp_path / "config.yml").write_text(yaml.safe_dump(raw))
        triton.answer = lambda _: [(0, 0, 1, 1)]
        for name in ("plain", "gate"):
            done = snapshot(tmp_path, name, f"{name}.jpg")
            assert done.returncode == 0, done.stderr
        assert steps("gate.jpg") < 0.2 * steps("plain.jpg")
        unknown = snapshot(tmp_path, "yard", "yard.jpg")
        check = [sys.executable, "-m", "sightline", "check", "--live", "--stills", "stills"]
        subprocess.run(check, cwd=tmp_path, capture_output=True, timeout=60, check=False)
        assert steps("stills/gate.jpg") < 0.2 * steps("stills/plain.jpg")
    away = snapshot(tmp_path, "gate", "away.jpg")
    assert (unknown.returncode, away.returncode) == (1, 1)
    assert "'yard', key 'privacy.blur': no picture can be shown: blur: plates: none of" in unknown.stderr
    assert "'gate', key 'privacy.blur': nothing says what to cover in a picture" in away.stderr
    assert {path.name for path in tmp_path.rglob("*.jpg")} == {"gate.jpg", "plain.jpg"}
