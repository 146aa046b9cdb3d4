"""Shadow models: same frames to both, never in the way of the live path; a planted regression is rejected."""

import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from sightline.analysis.pairing import PairCounts, pair_boxes, pair_events
from sightline.base.file_times import stamp
from sightline.cli.main import main
from sightline.config import Camera
from sightline.config.groups import Blurred, DriftOptions, PrivacyOptions, RulesOptions, ShadowOptions
from sightline.config.zones import Line
from sightline.entities import U8, Box, Detections, Event, EventKind, ModelInfo
from sightline.errors import DetectorUnavailable, ShadowError
from sightline.features.feature import FeatureContext
from sightline.features.kept_files import trim
from sightline.features.shadow import episode, promotion_rule
from sightline.features.shadow.episode import BLOCK, EpisodeSampler
from sightline.features.shadow.episode_comparison import ComparedEpisode, ComparedEpisodes, outcomes
from sightline.features.shadow.promotion_rule import CheckState, PromotionRule, Verdict
from sightline.features.shadow.shadow_observer import AWAY, BUSY, WAITING, Shadow
from sightline.models.export import exporter
from sightline.models.registry import audit_trail
from sightline.models.registry.operations import Versions
from sightline.models.registry.triton_admin import TritonAdmin
from sightline.serving import model_configs
from sightline.serving.server import TritonServer
from sightline.video.open_gate import OpenGate
from support import toy
from support.fakes import FakeDetector, GreyPicture, boxes, frame
from support.observations import Watched
from support.system import System
from support.waiting import until

START = time.time() // 3600 * 3600.0  # young enough to be kept
NAMES = ("person", "car")
LIVE = ModelInfo("detector", "live-1", NAMES, 192, 320, "fp32", 0.1)
NEW = replace(LIVE, name="detector-2", version="new-2")


# --- which frames --------------------------------------------------------------------------------------


def test_the_budget_holds_in_every_block_and_every_process_chooses_alike() -> None:
    def chosen(camera: str, seed: int = 0) -> list[int]:
        sampler = EpisodeSampler(camera, share=0.1, episode_s=10, seed=seed)
        slots = range(170_000_000, 170_000_000 + 3 * BLOCK)
        return [slot for slot in slots if sampler.interval_no(slot * 10.0) is not None]

    door = chosen("door")
    assert [sum(slot // BLOCK == block for slot in door) for block in (1_700_000, 1_700_001, 1_700_002)] == [
        10,
        10,
        10,
    ]
    assert door == chosen("door")
    assert door != chosen("yard")
    assert door != chosen("door", seed=1)


def test_an_interval_is_whole() -> None:
    sampler = EpisodeSampler("door", share=1, episode_s=10)
    assert {sampler.interval_no(START + index / 10) for index in range(100)} == {int(START // 10)}


# --- beside the live path ------------------------------------------------------------------------------


class FakeCandidate(FakeDetector):
    """A fake that can be connected to, and be away."""

    away = False
    closed = False

    def connect(self) -> ModelInfo:
        if self.away:
            raise DetectorUnavailable("nobody there")
        return NEW

    def close(self) -> None:
        self.closed = True


def found(class_id: int = 0, model: ModelInfo = LIVE) -> Detections:
    return replace(boxes([0.1, 0.2, 0.3, 0.8], class_id=class_id), model=model)


def camera(folder: Path, **options: object) -> Camera:
    values = {"model": "detector-2", "share": 1, "episode_s": 10, "folder": folder, **options}
    return Camera(name="door", url="rtsp://there/1", shadow=ShadowOptions(**values))


def shadow_of(
    camera: Camera,
    candidate: FakeCandidate,
    *,
    lossless: bool = False,
    is_busy: Callable[[], bool] = lambda: False,
) -> Shadow:
    return Shadow(
        FeatureContext(camera, None, "detector", lossless, is_busy, lambda _: candidate, OpenGate("", 1)),
        candidate,
    )


class NoisyPicture(GreyPicture):
    """Its neighbouring points differ."""

    def write_i420(self, out: U8, box: Box | None = None) -> None:
        out[:] = np.random.default_rng(0).integers(16, 235, out.shape, np.uint8)


def play(shadow: Shadow, count: int, *, first: int = 0, noisy: bool = False) -> None:
    seen = Watched(NAMES)
    for index in range(first, first + count):
        item = frame(index, START + index / 10, NoisyPicture(320, 180) if noisy else None)
        shadow.observe(seen(item, None, boxes([0.1, 0.2, 0.3, 0.8]), model_version=LIVE.version))


def episodes(folder: Path) -> list[tuple[episode.EpisodeHead, list[episode.PairedFrame]]]:
    return [episode.read(path) for path in sorted(folder.glob(f"*/*{episode.SUFFIX}"))]


def test_both_see_the_same_frames_and_an_interval_is_a_file(tmp_path: Path) -> None:
    candidate = FakeCandidate(lambda frame: found(1, NEW))
    shadow = shadow_of(camera(tmp_path), candidate, lossless=True)
    play(shadow, 200)
    shadow.close()
    assert candidate.closed
    kept = episodes(tmp_path)
    assert [(head.frames, head.void, len(pairs)) for head, pairs in kept] == [(100, "", 100)] * 2
    head, pairs = kept[0]
    assert (head.live_version, head.candidate_version) == ("live-1", "new-2")
    assert [pair.capture_time for pair in pairs] == [START + index / 10 for index in range(100)]
    assert {(pair.live.class_ids[0], pair.candidate.class_ids[0]) for pair in pairs} == {(0, 1)}
    assert pairs[0].live.xyxy[0] == pytest.approx([0.1, 0.2, 0.3, 0.8], abs=1e-4)


def test_the_live_path_never_waits_and_a_stretch_with_too_many_drops_is_void(tmp_path: Path) -> None:
    candidate = FakeCandidate(lambda frame: found(0, NEW), hold=True)
    shadow = shadow_of(camera(tmp_path), candidate)
    until(lambda: shadow._info)
    play(shadow, 100)  # returns, though nothing is answered
    assert shadow.mirrored <= WAITING + 1
    assert shadow.mirrored + shadow.dropped == 100
    fates = {figure.labels["fate"]: figure.value for figure in shadow.figures()}
    assert fates == {"mirrored": shadow.mirrored, "dropped": shadow.dropped}
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            if candidate._held:
                candidate.release()

    threading.Thread(target=answer, daemon=True).start()
    shadow.close()
    done.set()
    ((head, pairs),) = episodes(tmp_path)
    assert head.frames + sum(head.dropped.values()) == 100
    assert "had to be left out (the candidate is slower than the camera)" in head.void
    assert pairs == []


def test_nothing_is_mirrored_while_a_live_frame_waits_or_the_candidate_is_away(tmp_path: Path) -> None:
    candidate = FakeCandidate(lambda frame: found(0, NEW))
    shadow = shadow_of(camera(tmp_path / "busy"), candidate, is_busy=lambda: True)
    until(lambda: shadow._info)
    play(shadow, 50)
    shadow.close()
    assert candidate.frames == []
    candidate.away = True
    shadow = shadow_of(camera(tmp_path / "away"), candidate)
    play(shadow, 50)
    shadow.close()
    assert candidate.frames == []
    reasons = [head.dropped for name in ("busy", "away") for head, _ in episodes(tmp_path / name)]
    assert reasons == [{BUSY: 50}, {AWAY: 50}]


def test_a_candidate_that_goes_away_is_connected_to_again(tmp_path: Path) -> None:
    answers = iter([found(0, NEW), DetectorUnavailable("gone")])
    candidate = FakeCandidate(lambda frame: next(answers, found(0, NEW)))
    shadow = shadow_of(camera(tmp_path), candidate)
    until(lambda: shadow._info)
    play(shadow, 1)
    until(shadow._queue.empty)
    play(shadow, 1, first=1)
    until(lambda: shadow._info is None)
    until(lambda: shadow._info)
    shadow.close()
    ((head, _),) = episodes(tmp_path)
    assert (head.frames, head.dropped) == (1, {AWAY: 1})


def test_a_stretch_in_which_the_version_changes_is_void(tmp_path: Path) -> None:
    later = replace(NEW, version="new-3")
    candidate = FakeCandidate(lambda frame: found(0, NEW if frame.index < 50 else later))
    shadow = shadow_of(camera(tmp_path), candidate, lossless=True)
    play(shadow, 100)
    shadow.close()
    ((head, _),) = episodes(tmp_path)
    assert head.void == "another version served before its end"


def test_an_episode_during_which_the_options_change_is_void_and_the_next_has_the_new_ones(
    tmp_path: Path,
) -> None:
    shadow = shadow_of(camera(tmp_path), FakeCandidate(lambda frame: found(0, NEW)), lossless=True)
    play(shadow, 50)
    line = Line(points=((0.4, 0.1), (0.4, 0.9)))
    shadow.update(camera(tmp_path).model_copy(update={"rules": RulesOptions(lines={"gate": line})}))
    play(shadow, 150, first=50)
    shadow.close()
    (first, _), (second, _) = episodes(tmp_path)
    assert first.void == "the camera's options changed before its end"
    assert (second.void, list(second.options["lines"])) == ("", ["gate"])


@pytest.mark.parametrize("consent", [False, True])
def test_pictures_are_kept_by_consent_alone_and_few(tmp_path: Path, consent: bool) -> None:
    candidate = FakeCandidate(lambda frame: found(1, NEW))
    watched = camera(tmp_path).model_copy(update={"drift": DriftOptions(consent=consent)})
    shadow = shadow_of(watched, candidate, lossless=True)
    play(shadow, 100)
    shadow.close()
    pictures = sorted(tmp_path.glob("door/*.jpg"))
    ((head, _),) = episodes(tmp_path)
    assert len(pictures) == len(head.pictures) == (2 if consent else 0)
    if consent:
        assert pictures[0].read_bytes()[:2] == b"\xff\xd8"
        assert {stat.S_IMODE(path.stat().st_mode) for path in pictures} == {0o600}, "they show people"
        assert stat.S_IMODE(pictures[0].parent.stat().st_mode) == 0o700
        assert [picture["time"] for picture in head.pictures] == [START, START + 2], "not twice the same"
        assert head.pictures[0]["what"] == "person 0.90 is car 0.90"
        other = tmp_path / "door/holiday.jpg"
        other.touch()
        shadow_of(camera(tmp_path), candidate).close()  # consent is withdrawn
        assert list(tmp_path.glob("door/*.jpg")) == [other]


def test_what_privacy_names_is_covered_in_pictures_of_differences(tmp_path: Path) -> None:
    areas = {}
    for name, blur in (("hidden", (Blurred.PERSONS,)), ("plain", ())):
        watched = camera(tmp_path / name).model_copy(
            update={"drift": DriftOptions(consent=True, blur=()), "privacy": PrivacyOptions(blur=blur)}
        )
        shadow = shadow_of(watched, FakeCandidate(lambda frame: found(1, NEW)), lossless=True)
        play(shadow, 100, noisy=True)
        shadow.close()
        with av.open(str(min((tmp_path / name).glob("door/*.jpg")))) as file:
            picture = next(file.decode(video=0)).to_ndarray(format="gray")
        height, width = picture.shape[0], picture.shape[1] // 2
        inner = picture[round(0.3 * height) : round(0.7 * height), round(0.14 * width) : round(0.26 * width)]
        areas[name] = float(np.abs(np.diff(inner.astype(int), axis=1)).mean())
    assert areas["hidden"] < 10 < areas["plain"]


def test_the_folder_has_a_bound(tmp_path: Path) -> None:
    times = [time.time() - 3600 * hours for hours in range(10)]
    for age in times:
        (tmp_path / f"{stamp(age)}.jsonl.gz").write_bytes(b"x" * 60)
        (tmp_path / f"{stamp(age)}-1.jpg").write_bytes(b"x" * 40)
    assert trim(tmp_path, 0.3, 350) == (2, 5)
    assert {path.name[:19] for path in tmp_path.iterdir()} == {stamp(age) for age in times[:3]}
    assert len(list(tmp_path.iterdir())) == 6, "an episode and its pictures go together"


def test_a_file_that_is_no_episode_is_named(tmp_path: Path) -> None:
    (tmp_path / "door").mkdir()
    path = tmp_path / "door" / f"x{episode.SUFFIX}"
    path.write_bytes(b"no gzip")
    with pytest.raises(ShadowError, match="cannot be read"):
        episode.read(path)
    assert main(["shadow", "report", "--folder", str(tmp_path)]) == 1


# --- what differs --------------------------------------------------------------------------------------


def passing(class_id: int, *, frames: int = 60) -> list[tuple[float, Detections]]:
    """Somebody walks from left to right in six seconds."""
    walk = []
    for index in range(frames):
        left = 0.05 + 0.8 * index / frames
        walk.append((START + index / 10, boxes([left, 0.3, left + 0.1, 0.8], class_id=class_id)))
    return walk


def test_each_model_has_its_own_tracker_rules_and_windows() -> None:
    pairs = [
        episode.PairedFrame(time, live, new)
        for (time, live), (_, new) in zip(passing(0), passing(1), strict=True)
    ]
    door = Camera(
        name="door",
        url="rtsp://x/1",
        rules=RulesOptions(lines={"line": Line(points=((0.5, 0.1), (0.5, 1.0)))}),
    )
    head = episode.EpisodeHead(
        "door", START, 6, 60, {}, "", "detector", "live-1", "detector-2", "new-2", NAMES, NAMES, 1.0,
        door.shaping_options(),
    )  # fmt: skip
    live, new = outcomes(head, pairs)
    assert {name: count for (_, name), count in live.counts.items()} == {"person": 1}
    assert {name: count for (_, name), count in new.counts.items()} == {"car": 1}
    assert [event.item_class for event in live.events] == ["person"]
    assert [replace(event, item_class="person") for event in new.events] == list(live.events)
    same, again = outcomes(head, [replace(pair, candidate=pair.live) for pair in pairs])
    assert same == again == live, "both arms begin equal"
    tallies, differing = pair_events(live.events, new.events, 2.0)
    assert {key[-1]: (t.live, t.candidate, t.both) for key, t in tallies.items()} == {
        "person": (1, 0, 0),
        "car": (0, 1, 0),
    }
    assert [side for side, _ in differing] == [0, 1]


def test_events_near_in_time_are_one() -> None:
    event = Event("door", EventKind.CROSSING, "line", 1, "person", START, START, "forward")
    moved = [replace(event, event_time=START + shift) for shift in (1.5, 9.0)]
    tallies, differing = pair_events([event, replace(event, event_time=START + 6)], moved, 2.0)
    assert list(tallies.values()) == [PairCounts(2, 2, 1)]
    assert [(side, item.event_time - START) for side, item in differing] == [
        (0, 6.0),
        (1, 9.0),
    ]


def test_boxes_are_paired_by_overlap_and_class() -> None:
    live = boxes([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1])
    new = Detections(
        np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 0.98, 1], [0, 0.6, 0.2, 0.9]], np.float32),
        np.full(3, 0.9, np.float32),
        np.array([1, 0, 0], np.int32),
    )
    found = pair_boxes(live, new, (NAMES, NAMES), 0.25)
    assert found.same.tolist() == [[1], [1]]
    assert found.renamed.tolist() == [[0], [0]]
    assert (found.live_only.tolist(), found.candidate_only.tolist()) == ([], [2])
    assert found.weight == pytest.approx(1.8)


# --- the rule ------------------------------------------------------------------------------------------

HEAD = episode.EpisodeHead(
    "door", START, 30, 300, {}, "", "detector", "live-1", "detector-2", "new-2", NAMES, NAMES, 1.0, {}
)


def decided(counts: list[tuple[int, int]], rule: PromotionRule, *, void: int = 0) -> promotion_rule.Decision:
    """The decision after episodes with so many persons by the live model and by the candidate."""
    good = [
        ComparedEpisode(
            path=Path("x"),
            head=HEAD,
            windows={(START, "person"): PairCounts(live, new, min(live, new))},
            events={("crossing", "line", "forward", "person"): PairCounts(live, new, min(live, new))},
            differing=[],
            boxes=PairCounts(),
            iou=0.0,
            scores=((), ()),
        )
        for live, new in counts
    ]
    collected = ComparedEpisodes(HEAD, good, [HEAD] * void, 0)
    return promotion_rule.decide(collected, rule)


@pytest.mark.parametrize(
    ("counts", "void", "verdict", "reason"),
    [
        ([(5, 5)] * 60, 0, Verdict.PROMOTE, "checks hold"),
        ([(5, 5), (5, 4), (4, 5)] * 40, 0, Verdict.PROMOTE, "checks hold"),
        ([(5, 5)] * 30, 0, Verdict.WAIT, "30 of 50 episodes"),
        ([(1, 1)] * 60, 0, Verdict.WAIT, "60 of 200 objects"),
        ([(5, 5)] * 60, 61, Verdict.WAIT, "no room for a shadow"),
        ([(5, 3)] * 60, 0, Verdict.REJECT, "count of person: live 300, candidate 180"),
        ([(5, 8)] * 60, 0, Verdict.REJECT, "count of person"),
        ([(5, 3)] * 5, 0, Verdict.WAIT, "5 of 10 episodes that a rejection takes"),
        ([(9, 1), (1, 9)] * 30, 0, Verdict.REJECT, "crossings agree"),  # the sums alone say nothing
        ([(20, 20), (1, 4), (9, 6), (2, 2)] * 15, 0, Verdict.WAIT, "open"),
        ([(1, 0)] * 8 + [(0, 0)] * 60, 0, Verdict.REJECT, "live 8, candidate 0"),
    ],
)
def test_the_rule(counts: list[tuple[int, int]], void: int, verdict: Verdict, reason: str) -> None:
    decision = decided(counts, PromotionRule(), void=void)
    assert decision.verdict is verdict, decision.reasons
    assert reason in "; ".join(decision.reasons)


def test_what_is_rare_is_not_judged() -> None:
    decision = decided([(1, 0), (0, 1)] * 3 + [(0, 0)] * 50, PromotionRule(objects=0))
    assert {check.state for check in decision.checks} == {CheckState.FEW}
    assert decision.verdict is Verdict.PROMOTE


# --- the whole -----------------------------------------------------------------------------------------

REGRESSION, GOOD = 2, 3
NICE = 5
PASSAGES = [
    toy.Passage(0.5 + 2.5 * i, 2.5 + 2.5 * i, toy.BLUE if i % 3 == 2 else toy.RED) for i in range(16)
]  # 11 persons, 5 cars


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, TritonServer]]:
    """The toy network serves; beside it one with its classes swapped, and one that is a little off."""
    folder = tmp_path_factory.mktemp("shadow")
    repository = folder / "model_repository"
    for name, options in (("live", {}), ("swapped", {"swapped": True}), ("good", {"noise": 0.01})):
        network = toy.write_network(folder / f"{name}.onnx", **options)
        exporter.export_network(exporter.ExportOptions(network, repository, shape=(192, 320)))
    model_configs.choose(repository, "detector", 1)
    with TritonServer(repository, log_path=folder / "log") as server:
        with TritonAdmin(server.grpc_url) as control:
            for version in (REGRESSION, GOOD):
                Versions(repository, control, "a test").load(version, nice=NICE)
        yield repository, server


@pytest.mark.triton
def test_on_a_cpu_the_candidate_gives_way_to_the_live_path(served: tuple[Path, TritonServer]) -> None:
    """Its engine's threads have been made nicer than the server's own."""
    stubs = [p for p in psutil.Process().children(recursive=True) if "python_backend_stub" in p.name()]
    mine = psutil.Process().nice()
    tasks = [path for stub in stubs for path in Path(f"/proc/{stub.pid}/task").iterdir()]
    nice = [int(path.joinpath("stat").read_text().rpartition(")")[2].split()[16]) for path in tasks]
    candidates = 2
    assert sum(value == mine + NICE for value in nice) > candidates * len(os.sched_getaffinity(0))
    assert mine in nice, "the live detector's have not"


@pytest.mark.triton
def test_a_planted_regression_is_rejected_and_a_good_candidate_is_promoted(
    served: tuple[Path, TritonServer], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository, server = served
    clip = toy.write_clip(tmp_path / "clip.mp4", PASSAGES, seconds=41)
    watched = {
        "url": str(clip),
        "rules": {
            "lines": {"line": {"points": [[0.4, 0.1], [0.4, 1.0]]}},
            "zones": {"right": {"points": [[0.6, 0], [1, 0], [1, 1], [0.6, 1]]}},
        },
        "drift": {"consent": True, "folder": str(tmp_path / "drift")},
    }
    cameras = {
        "bad": {**watched, "shadow": {"model": f"detector-{REGRESSION}"}},
        "good": {**watched, "shadow": {"model": f"detector-{GOOD}"}},
    }
    common = {"share": 1, "episode_s": 5, "folder": str(tmp_path / "shadow")}
    system = System(
        tmp_path, cameras, triton_url=server.grpc_url, arguments=("--until-end",), allow={"files": True},
        shadow=common, count={"window_s": 10},
    )  # fmt: skip
    with system:
        assert system.wait(120) == 0, system.log()
    truth = {"person": 11, "car": 5}
    assert system.arrivals("bad") == system.arrivals("good") == truth, "the live path is as without a shadow"
    rule = ["--episodes", "6", "--objects", "12", "--reject-episodes", "6", "--min-count", "5"]
    where = ["--folder", str(tmp_path / "shadow"), "--repository", str(repository), "--url", server.grpc_url]

    page = tmp_path / "report.html"
    arguments = ["decide", *where, *rule, "--apply"]
    assert main(["shadow", *arguments, "--model", f"detector-{REGRESSION}", "--html", str(page)]) == 3
    said = capsys.readouterr().out
    assert "crossings agree" in said
    assert "person 1.00 is car 1.00" in said
    assert "data:image/jpeg" in page.read_text()
    with TritonAdmin(server.grpc_url) as control:
        assert control.ready("detector") == [1], "the regression never served"
        assert not control.ready(f"detector-{REGRESSION}")
        promote = ["shadow", *arguments, "--model", f"detector-{GOOD}", "--json"]
        config = tmp_path / "yard.yml"
        config.write_text("cameras: {yard: {url: rtsp://h/, count: {classes: [person, forklift]}}}")
        assert main([*promote, "-c", str(config)]) == 1
        assert "camera 'yard', key 'count.classes': " in (refusal := capsys.readouterr().err)
        assert "has no class 'forklift'" in refusal
        assert control.ready("detector") == [1]
        assert main([*promote, "-c", str(config), "--force"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert control.ready("detector") == [GOOD]
    assert report["verdict"] == "promote"
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert states["count of person"] == states["crossings agree"] == "holds"
    assert report["tables"]["Windows that differ"] == []
    done = [entry for entry in audit_trail.read(repository) if entry["result"] == "ok"][-2:]
    assert [(entry["action"], entry["version"]) for entry in done] == [
        ("retire", REGRESSION),
        ("switch", GOOD),
    ]
    assert all(entry["why"].startswith("shadow, ") for entry in done)
