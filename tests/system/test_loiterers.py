"""Who stays too long is told once, with the pictures that show it; simulated, and on a real video."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from support.browser import chromium, play
from support.loiterers import Stay, Told, overlaps, watch
from support.real_video import NEEDS_SHARED, SEEN_S, VIDEO
from support.toy import BLUE, Passage, write_clip

pytestmark = [pytest.mark.triton, pytest.mark.rtsp, pytest.mark.timeout(600)]

STAYS = [
    Passage(1, 3),
    Passage(5, 9),
    Passage(10, 14, BLUE),
    Passage(15, 17),
    Passage(19, 23),
    Passage(25, 29),
]
#: A pass takes half a minute, so its three tests stand together: with the browser's.
SIMULATED = pytest.param("simulated", marks=pytest.mark.browser)
REAL = pytest.param("real", marks=[pytest.mark.long, pytest.mark.alone, NEEDS_SHARED])


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "real":
        entries = tuple(first for first, last in SEEN_S if last - first > 15)
        url = request.getfixturevalue("yolo_triton").grpc_url
        return watch(folder, Stay(VIDEO, 139.4, 15, entries, url))
    url = request.getfixturevalue("toy_triton").grpc_url
    return watch(folder, Stay(write_clip(folder / "stays.mp4", STAYS, seconds=33), 33, 3, (5, 19, 25), url))


@pytest.mark.parametrize("told", [SIMULATED, REAL], indirect=True)
def test_three_stay_too_long_and_each_is_told_once_since_the_entry(told: Told) -> None:
    entries = pytest.approx(told.stay.entries_s, abs=1.0)
    loiters, stays = told.opened("loiters"), told.opened("stays")
    assert [told.video_s(alert["event_time"]) - told.stay.loiter_s for alert in loiters] == entries
    assert [told.video_s(alert["event_time"]) for alert in stays] == entries
    assert len({alert["alert_id"] for alert in (*loiters, *stays)}) == 6
    assert [clip["state"] for clip in told.clips] == ["finished"] * len(told.clips)


@pytest.mark.parametrize("told", [SIMULATED, REAL], indirect=True)
@pytest.mark.parametrize("kind", ["enter", "loiter"])
def test_the_frame_at_the_events_position_shows_the_person(told: Told, kind: str) -> None:
    found = overlaps(told, kind)
    assert len(found) == sum(event["kind"] == kind for event in told.events) >= 3
    assert min(found) >= 0.5, found


@pytest.mark.parametrize("told", [SIMULATED, REAL], indirect=True)
def test_its_clip_plays_in_a_browser_and_shows_the_frame_of_the_event(told: Told, tmp_path: Path) -> None:
    events = [event for event in told.events if event["kind"] == "loiter"]
    with chromium(tmp_path) as browser:
        for event in events:
            clip, position_s = told.clip_of(event)
            seen = play(browser, Path(clip["path"]), position_s)
            assert (seen["error"], seen["readyState"]) == (None, 4)
            assert seen["played_s"] > 0.3
            assert seen["shown_s"] == pytest.approx(position_s, abs=0.11), "the frame that is then on show"
            with av.open(clip["path"]) as source:
                [stream] = source.streams
                assert seen["size"] == [stream.width, stream.height]
                assert seen["seconds"] == pytest.approx(float(stream.duration * stream.time_base), abs=0.1)
