"""The view guard: what is told of a camera that is covered, frozen, out of focus or turned."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import yaml
from av.codec import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from bench import view_bench as bench
from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.observer import Doubt, Observer
from sightline.analysis.options import analysis_options
from sightline.base.stats import StageTimes
from sightline.base.threads import Bell
from sightline.camera.pipeline import Pipeline
from sightline.cli import main
from sightline.config import parse_config
from sightline.entities import STAGES, U8, CameraView, Checkpoint, Detections
from sightline.features.feature import FeatureContext
from sightline.features.view import moved_places
from sightline.features.view.stillness import STILL_S
from sightline.features.view.view_guard import ADOPTED_S, ViewGuard, make
from sightline.simulation.scenes.spec import SceneSpec
from sightline.store.database import Store
from sightline.store.read.camera_views import read_camera_views
from sightline.store.read.readonly import reading_from
from sightline.video.mailbox import Mailbox
from sightline.video.open_gate import OpenGate
from support.fakes import FakeDetector, boxes, step
from support.stored import read_rows, write

T0 = bench.T0
TURN = 0.1  # of the picture's width


@pytest.fixture(scope="module")
def film() -> bench.Film:
    return bench.Film(SceneSpec("street", seed=3, width=320, height=180))


@pytest.fixture(scope="module")
def street(film: bench.Film) -> U8:
    """A street in which nobody goes, without noise."""
    return film.picture(0.0)


@pytest.fixture(scope="module")
def turned(film: bench.Film) -> U8:
    """The same street from a camera that was turned."""
    return film.picture(0.0, TURN)


def coded(pictures: Iterable[U8], *, fps: int, gop: int, rate: int) -> Iterator[VideoFrame]:
    """Pictures as a camera's coder, whose rate is bounded, and a decoder make them."""
    coder, decoder = CodecContext.create("libx264", "w"), CodecContext.create("h264", "r")
    assert isinstance(coder, VideoCodecContext)
    assert isinstance(decoder, VideoCodecContext)
    coder.width, coder.height, coder.pix_fmt, coder.gop_size = 320, 180, "yuv420p", gop
    coder.time_base, coder.framerate, coder.bit_rate = Fraction(1, fps), Fraction(fps), rate
    coder.options = {"preset": "ultrafast", "tune": "zerolatency", "maxrate": str(rate), "bufsize": str(rate)}
    for number, picture in enumerate(pictures):
        frame = bench.decoded(picture)
        frame.pts = number
        for packet in coder.encode(frame):
            yield from decoder.decode(packet)


class Camera:
    """A still scene before a guard: a picture every three seconds, with the noise of a sensor."""

    def __init__(self, folder: Path, picture: U8, rules: Any = bench.RULES, **view: Any) -> None:
        self.watch = bench.GuardOnFilm(folder, rules, **view)
        self.picture, self.time = picture, T0

    def show(self, seconds: float, picture: U8 | None = None, *, noise: float = 1.5, keys: int = 1) -> None:
        """So much of it; ``keys``: key frames between two pictures."""
        shown = self.picture if picture is None else picture
        for _ in range(round(seconds / 3)):
            still = bench.noisy(shown, noise, self.time) if noise else shown
            self.watch.see(still, self.time, keys_seen=round((self.time - T0) / 3) * keys)
            self.time += 3

    def learn(self, noise: float = 1.5) -> Camera:
        self.show(60, noise=noise)
        assert self.watch.rows[-1].state == "in_place"
        return self

    def restart(self) -> Camera:
        """Another guard goes on from the snapshot, as a new worker does."""
        self.watch.guard.close()
        state = json.loads(json.dumps(self.watch.guard.snapshot()))
        self.watch.guard = ViewGuard(self.watch.camera, state)
        return self

    @property
    def told(self) -> list[tuple[str, float]]:
        return self.watch.told

    @property
    def guard(self) -> ViewGuard:
        return self.watch.guard

    @property
    def row(self) -> CameraView:
        return self.watch.rows[-1]


WRONG: dict[str, tuple[str, Callable[[U8, float], U8]]] = {
    name: told for name, told in bench.MUST_BE_TOLD.items() if name not in {*bench.TURNS, "frozen"}
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_within_a_minute_and_ends(tmp_path: Path, street: U8, name: str) -> None:
    kind, change = WRONG[name]
    camera = Camera(tmp_path, street).learn()
    begun = camera.time
    for _ in range(30):
        camera.show(3, change(street, camera.time), noise=0)
    [(told, when)] = camera.told
    assert (told, when - begun <= 60) == (kind, True)
    [figure] = [figure for figure in camera.guard.figures() if figure.trouble == kind]
    assert (figure.value, figure.since) == (1, begun)
    assert (camera.row.state, camera.row.fits, camera.row.proposal) == (kind, True, None)
    assert camera.guard.problem()
    over = camera.time
    camera.show(30)
    assert camera.told[1:] == [("", pytest.approx(over + 12, abs=3))]
    assert (camera.guard.problem(), camera.row.state) == ("", "in_place")


def test_a_turned_camera_is_told_with_its_places_where_they_are_now(
    tmp_path: Path, film: bench.Film, street: U8, turned: U8
) -> None:
    camera = Camera(tmp_path, street).learn()
    begun = camera.time
    camera.show(90, turned)
    [(told, when)] = camera.told
    assert (told, when - begun <= 60) == ("view_moved", True)
    assert (camera.row.state, camera.row.fits) == ("view_moved", False)
    proposal = camera.row.proposal
    assert proposal is not None
    truth = bench.warp_of(film.camera(), film.camera(TURN))
    for group, name in (("zones", "yard"), ("lines", "door")):
        wanted = bench._mapped(truth, np.array(bench.RULES[group][name]["points"]))
        assert np.abs(np.array(proposal["rules"][group][name]["points"]) - wanted).max() < 0.012
    text = yaml.safe_load(proposal["text"])["cameras"]["gate"]
    checked = parse_config({"cameras": {"gate": {"url": "rtsp://x/1", **text}}})
    assert (checked.problems, proposal["gone"]) == ((), [])
    assert checked.cameras["gate"].rules.zones.keys() == {"yard"}
    camera.show(30)
    assert [kind for kind, _ in camera.told] == ["view_moved", ""], "it was turned back"
    assert camera.row.fits


def test_a_camera_that_hangs_askew_is_told(tmp_path: Path, film: bench.Film, street: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.show(90, film.picture(0.0, 0.0, 5.0))
    assert [kind for kind, _ in camera.told] == ["view_moved"]
    proposal = camera.row.proposal
    assert proposal is not None
    points = np.array(bench.RULES["zones"]["yard"]["points"])
    truth = bench.warp_of(film.camera(), film.camera(0.0, 5.0))
    found = bench._mapped(np.array(proposal["warp"]), points)
    assert np.abs(found - bench._mapped(truth, points)).max() < 0.012


def test_without_opencv_a_shift_is_proposed(
    tmp_path: Path, street: U8, turned: U8, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moved_places, "find_spec", lambda name: None)
    camera = Camera(tmp_path, street).learn()
    camera.show(60, turned)
    assert camera.row.proposal is not None
    [across, _, _], *_ = camera.row.proposal["warp"]
    assert (across, camera.row.proposal["warp"][0][2]) == (1, pytest.approx(-TURN, abs=0.02))


def test_places_out_of_sight_are_named(tmp_path: Path) -> None:
    rules = (
        parse_config({"cameras": {"gate": {"url": "rtsp://x/1", "rules": bench.RULES}}}).cameras["gate"].rules
    )
    away = np.array([[1, 0, 0.55], [0, 1, 0], [0, 0, 1.0]])
    assert moved_places.moved_places("gate", rules, away)["gone"] == ["door", "yard"]
    behind = np.array([[1, 0, 0], [0, 1, 0], [0, 2, -1.5]])
    assert moved_places.moved_places("gate", rules, behind)["gone"] == ["door", "yard"]


def test_a_frozen_picture_is_told_and_a_quiet_night_is_not(tmp_path: Path, street: U8) -> None:
    quiet = Camera(tmp_path / "a", street).learn(0.3)
    quiet.show(900, noise=0.3)
    assert quiet.told == []
    camera = Camera(tmp_path / "b", street).learn()
    begun = camera.time
    clock = street.copy()
    for number in range(20):  # a clock in the corner goes on
        clock[2:14, 4:60] = number * 10
        camera.show(3, clock, noise=0)
    [(told, when)] = camera.told
    assert (told, when - begun <= 60) == ("view_frozen", True)
    assert camera.guard.doubt == Doubt(begun, certain=True), "from the first of the same pictures on"


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_picture_that_is_coded_anew_is_told_from_a_still_one(
    tmp_path: Path, street: U8, frozen: bool
) -> None:
    """The coder's rate control makes other pictures of the same one, again and again."""
    watch, begun, end = bench.GuardOnFilm(tmp_path, bench.RULES), 150, 220
    stuck = bench.noisy(street, 1.5, 0.5)
    pictures = (
        stuck if frozen and number >= 10 * begun else bench.noisy(street, 1.5, number)
        for number in range(10 * end)
    )
    keys = 0
    for number, picture in enumerate(coded(pictures, fps=10, gop=50, rate=400_000)):
        keys += bool(picture.key_frame)
        if number % 30 == 0:
            watch.see_decoded(picture, T0 + number / 10, keys)
    assert [kind for kind, _ in watch.told] == (["view_frozen"] if frozen else [])
    assert all(when - T0 - begun <= 60 for _, when in watch.told)


def test_what_is_not_sent_anew_is_not_frozen_yet(tmp_path: Path, street: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.show(STILL_S - 30, noise=0, keys=0)
    assert camera.told == [], "a coder that skips all blocks until its next key frame"
    camera.show(60, noise=0, keys=0)
    assert [kind for kind, _ in camera.told] == ["view_frozen"]


def test_a_black_picture_is_not_frozen(tmp_path: Path) -> None:
    camera = Camera(tmp_path, np.full((180, 320, 3), 3, np.uint8))
    camera.show(1200, noise=0)
    assert (camera.told, camera.row.state) == ([], "learning")


@pytest.mark.parametrize("name", sorted(set(bench.MUST_NOT) - {"fog"}))
def test_what_is_harmless_is_not_told(tmp_path: Path, street: U8, name: str) -> None:
    camera, change = Camera(tmp_path, street).learn(), bench.MUST_NOT[name]
    begun = camera.time
    for _ in range(40):
        camera.show(3, change(street, camera.time - begun), noise=1.0)
    assert camera.told == []


def test_a_trouble_survives_its_worker(tmp_path: Path, street: U8, turned: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    begun = camera.time
    camera.show(60, turned)
    camera.restart()
    [figure] = [figure for figure in camera.guard.figures() if figure.name == "view_moved"]
    assert (figure.value, figure.since) == (1, begun), "before the first frame"
    assert camera.guard.doubt is not None
    camera.show(60, turned)
    assert [kind for kind, _ in camera.told] == ["view_moved"]
    camera.show(30)
    assert [kind for kind, _ in camera.told] == ["view_moved", ""], "the reference was kept"


def test_a_state_or_a_file_that_cannot_be_used_begins_anew(
    tmp_path: Path, street: U8, caplog: pytest.LogCaptureFixture
) -> None:
    camera = Camera(tmp_path, street).learn().restart()
    assert camera.guard._references.views
    (tmp_path / "gate.npz").write_bytes(b"PK nothing")
    camera.watch.guard = ViewGuard(camera.watch.camera, {"told": "view_eaten", "since": "x"})
    assert not camera.guard._references.views
    assert "what is known of its view begins anew" in caplog.text
    assert "its reference view begins anew" in caplog.text
    camera.learn()


def test_another_stream_has_another_view(tmp_path: Path, street: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.guard.close()
    moved = parse_config(
        {"cameras": {"gate": {"url": "rtsp://x/2", "view": {"folder": str(tmp_path)}}}}
    ).cameras["gate"]
    assert not ViewGuard(moved, camera.guard.snapshot())._references.views
    renamed = moved.model_copy(update={"url": type(moved.url)("rtsp://user:new@x/1")})
    assert ViewGuard(renamed, camera.guard.snapshot())._references.views, (
        "another password is the same stream"
    )


def test_who_draws_the_places_anew_accepts_the_view(tmp_path: Path, street: U8, turned: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.show(60, turned)
    proposal = camera.row.proposal
    assert proposal is not None
    rules = yaml.safe_load(proposal["text"])["cameras"]["gate"]["rules"]
    options = camera.watch.camera
    other = options.model_copy(update={"count": options.count.model_copy(update={"window_s": 10})})
    camera.guard.update(other)
    camera.show(30, turned)
    assert camera.row.state == "view_moved", "what is counted says nothing of where"
    camera.guard.update(options.model_copy(update={"rules": type(options.rules).model_validate(rules)}))
    camera.show(60, turned)
    assert [kind for kind, _ in camera.told] == ["view_moved", ""]
    assert (camera.row.state, camera.row.fits, camera.row.proposal) == ("in_place", True, None)
    camera.show(60)
    assert camera.told[-1][0] == "view_moved", "the new view is the reference now"


def test_a_word_accepts_the_view_also_over_a_restart(tmp_path: Path, street: U8, turned: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.show(60, turned)
    options = camera.watch.camera
    camera.watch.camera = options.model_copy(
        update={"view": options.view.model_copy(update={"accepted": "2026-11-29"})}
    )
    camera.restart()
    camera.show(60, turned)
    assert (camera.row.state, camera.told[-1][0]) == ("in_place", "")


def test_without_places_the_view_is_what_it_is(tmp_path: Path, street: U8, turned: U8) -> None:
    camera = Camera(tmp_path, street, rules=None).learn()
    camera.show(60, turned)
    assert camera.told[-1][0] == "view_moved"
    assert (camera.guard.doubt, camera.row.fits) == (None, True), "nothing is counted wrong"
    camera.show(ADOPTED_S, turned)
    assert (camera.told[-1][0], camera.row.state) == ("", "in_place")


def test_kinds_that_are_not_wanted_are_not_told(tmp_path: Path, street: U8, turned: U8) -> None:
    camera = Camera(tmp_path, street, kinds=["view_covered"]).learn()
    camera.show(120, turned)
    assert (camera.told, camera.guard.doubt) == ([], None)
    camera.show(60, bench.capped(street, 0.0))
    assert [kind for kind, _ in camera.told] == ["view_covered"]


def test_who_stands_there_does_not_get_into_the_reference(tmp_path: Path, street: U8) -> None:
    occupied, where = street.copy(), (slice(60, 140), slice(120, 180))
    occupied[where] = 255
    found = boxes((120 / 320, 60 / 180, 180 / 320, 140 / 180), score=0.05)
    camera = Camera(tmp_path, occupied)
    for number in range(40):
        picture = bench.noisy(occupied, 1.0, number)
        camera.watch.see(picture, T0 + 3 * number, found=found)
    camera.guard.close()
    [path] = tmp_path.iterdir()
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(tmp_path.stat().st_mode)) == (0o600, 0o700)
    with np.load(path) as kept:
        grey = kept["grey0"]
    assert grey.shape == (90, 160)
    assert (grey[30:70, 60:90] == 0).all()
    assert (grey > 0).mean() > 0.7


def test_who_passes_undetected_fades(tmp_path: Path, street: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    passer = street.copy()
    passer[60:140, 120:150] = 255
    camera.show(9, passer)
    camera.show(300)
    view = next(iter(camera.guard._references.views.values()))
    wanted = Camera(tmp_path / "b", street).learn()
    alone = next(iter(wanted.guard._references.views.values()))
    assert np.abs(view.grey - alone.grey)[30:70, 60:75].max() < 12


def no_candidate(model: str) -> NoReturn:
    raise AssertionError(f"a view asks for {model}")


def made(camera: Any) -> Observer | None:
    return make(FeatureContext(camera, None, "detector", False, lambda: False, no_candidate, OpenGate("", 1)))


def test_switched_off_no_picture_is_kept(tmp_path: Path, street: U8) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.guard.close()
    assert [path.name for path in tmp_path.iterdir()] == ["gate.npz"]
    options = camera.watch.camera
    off = options.model_copy(update={"view": options.view.model_copy(update={"enabled": False})})
    assert made(off) is None
    assert list(tmp_path.iterdir()) == []
    assert isinstance(made(options), ViewGuard)


def test_a_folder_that_cannot_be_written_is_said_and_the_guard_goes_on(tmp_path: Path, street: U8) -> None:
    (tmp_path / "file").write_text("")
    camera = Camera(tmp_path / "file" / "views", street)
    camera.show(60)
    assert "its reference view cannot be kept: Not a directory" in camera.guard.problem()
    camera.show(60, bench.capped(street, 0.0))
    assert camera.told[-1][0] == "view_covered"


def test_files_of_cameras_that_have_gone_go_too(tmp_path: Path, street: U8) -> None:
    old, young = tmp_path / "old.npz", tmp_path / "young.npz"
    for path in (old, young):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    Camera(tmp_path, street).learn()
    assert {path.name for path in tmp_path.iterdir()} == {"young.npz", "gate.npz"}


def test_the_state_is_read_back_from_the_database_and_printed(
    tmp_path: Path, database_url: str, street: U8, turned: U8, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = Camera(tmp_path, street).learn()
    camera.show(60, turned)
    store = Store(database_url)
    store.open()
    write(store, [Checkpoint("gate", tuple(camera.watch.rows), {})])
    assert len(read_rows(database_url, "camera_views")) == 1
    with reading_from(database_url) as connection:
        assert read_camera_views(connection, None) == [camera.row]
        assert read_camera_views(connection, frozenset({"yard"})) == []
    config = tmp_path / "config.yml"
    config.write_text(f"database: {{url: '{database_url}'}}\ncameras: {{gate: {{url: rtsp://x/1}}}}\n")
    assert main(["camera", "views", "-c", str(config)]) == 0
    printed = capsys.readouterr().out
    assert "view_moved" in printed
    proposal = camera.row.proposal
    assert proposal is not None
    assert proposal["text"] in printed


def test_time_that_is_covered_is_not_watched(tmp_path: Path, street: U8) -> None:
    """From the decoder's picture to the window's coverage."""
    watch = bench.GuardOnFilm(tmp_path, bench.RULES)
    options = replace(analysis_options(watch.camera), window_s=60)
    analysis = CameraAnalysis(options)
    pipeline = Pipeline(Mailbox(lossless=True, size=1000), analysis, StageTimes(STAGES), Bell())
    pipeline.observers.append(watch.guard)
    detector = FakeDetector(lambda frame: Detections.empty())
    start = T0 // 60 * 60
    coverage: dict[float, float] = {}
    for number in range(360):
        covered = 180 <= number < 300
        picture = bench.capped(street, number) if covered else bench.noisy(street, 1.5, number)
        pipeline.mailbox.put(bench.frame_of(bench.decoded(picture), number, start + number, number))
        step(pipeline, detector)
        _, windows = analysis.rows()
        coverage |= {row.window_start - start: row.coverage for row in windows}
    assert [round(coverage[at], 2) for at in (60, 120)] == [1, 1]
    assert coverage[180] < 0.06, "up to the first look"
    assert coverage[240] == 0
    assert 0.6 < coverage[300] < 0.9, "it is watched again once it is certain"


@pytest.mark.parametrize("light", ["day", "dusk", "night"])
@pytest.mark.long
@pytest.mark.timeout(900)  # 1,200 pictures are drawn, and three of these may run at once
def test_an_hour_of_unchanged_view_is_not_told(tmp_path: Path, light: Any) -> None:
    film = bench.Film(SceneSpec("street", seed=3, light=light, width=320, height=180))
    watched = bench.WatchedFilm(film, bench.GuardOnFilm(tmp_path, bench.RULES))
    watched.run(3600)
    assert (watched.watch.told, watched.watch.looks) == ([], 1200)
    assert watched.watch.rows[-1].state == "in_place"
