"""What holds cameras back: the cause that the figures show, its words, and when they are said."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from sightline.entities import CameraState, CameraStatus
from sightline.supervisor.bottlenecks import Bottlenecks, Cause, cause_of
from support.fake_workers import FakeClock

URL = "127.0.0.1:8001"
SLOW = {"stages_ms": {"infer": {"mean": 900.0}, "decode": {"mean": 4.0}}}
QUICK = {"stages_ms": {"infer": {"mean": 20.0}, "decode": {"mean": 4.0}}}


def status(name: str = "gate", *, fps: float = 5.0, due: float = 5.0, **figures: Any) -> CameraStatus:
    known = {"state": CameraState.ONLINE, "message": "", "model_version": "m-1", **QUICK, **figures}
    return CameraStatus(name, status_time=0.0, fps=fps, due_fps=due, **known)


class Watch:
    """Bottlenecks, and time that passes."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bottlenecks = Bottlenecks(self.clock)

    def see(self, seconds: int, *statuses: CameraStatus) -> list[str]:
        """The same figures for some seconds; what is said at their end."""
        for _ in range(seconds):
            self.clock.now += 1
            self.bottlenecks.look(statuses, URL)
        return [notice.text for notice in self.bottlenecks.notices]


@pytest.mark.parametrize(
    ("figures", "cause"),
    [
        ({}, None),
        ({"fps": 4.8}, None),
        ({"fps": 2.1, **SLOW}, Cause.DETECTOR),
        ({"fps": 0.0, **SLOW}, Cause.DETECTOR),  # every answer comes after the deadline
        ({"fps": 0.0, "stages_ms": {}}, Cause.DETECTOR),  # or none does
        ({"fps": 2.1, "decoder_busy": 0.99, **SLOW}, Cause.DETECTOR),  # it takes the decoder's processor
        ({"decoder_busy": 0.99}, Cause.DECODER),
        ({"fps": 2.1, "worker_busy": 0.97}, Cause.WORKER),
        ({"fps": 2.1, "worker_busy": 0.3}, Cause.BURSTS),
        ({"asked_fps": 10.0}, Cause.CAMERA),
        ({"asked_fps": 5.5}, None),  # of 5.5 some are not due
        ({"asked_fps": 10.0, "decoder_busy": 0.99}, Cause.DECODER),
        ({"detector_message": "refused"}, Cause.TRITON),
        ({"detector_message": "refused", "state": CameraState.OFFLINE}, Cause.TRITON),
        ({"detector_message": "refused", "state": CameraState.STOPPED}, None),
        ({"fps": 0.0, "state": CameraState.CONNECTING}, None),
        ({"fps": 0.0, "due": 0.0, "decoder_busy": 1.0}, None),  # nothing comes: no decoder at work
    ],
)
def test_the_cause_is_the_one_that_the_figures_show(figures: dict[str, Any], cause: Cause | None) -> None:
    assert cause_of(status(**figures)) is cause


def test_a_slow_detector_is_said_with_its_figures_and_a_cure() -> None:
    watch = Watch()
    held_back = [status(name, fps=2.0, **SLOW) for name in "abc"]
    others = [status("other"), status("old", model_version="m-0"), status("off", state=CameraState.STOPPED)]
    [text] = watch.see(20, *held_back, *others)
    assert text.startswith("overload: 3 of 5 cameras analyse 2.0 of 5.0 frames/s; the detector m-1 takes")
    assert "900 ms for a frame, 11.0 frames/s in all where 20.0 are due" in text
    assert "lower stream.fps" in text
    [notice] = watch.bottlenecks.notices
    assert (notice.cause, notice.cameras) == (Cause.DETECTOR, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"decoder_busy": 0.99}, "decoding takes 4 ms a frame and goes on 99% of the time"),
        ({"fps": 2.1, "worker_busy": 0.97}, "at work 97% of the time, while the detector takes 20 ms"),
        ({"fps": 2.1}, "1 of 1 cameras analyse 2.1 of 5.0 frames/s, though neither"),
        ({"asked_fps": 10.0}, "1 of 1 cameras send less than stream.fps asks for, 5.0 of 10.0 frames/s"),
        ({"fps": 0.0, "stages_ms": {}}, "takes more than triton.deadline_s for a frame"),
    ],
)
def test_other_causes_have_words_of_their_own(figures: dict[str, Any], words: str) -> None:
    [text] = Watch().see(20, status(**figures))
    assert words in text


def test_the_status_of_each_camera_says_it_while_it_lasts() -> None:
    watch = Watch()
    slow, good = status("slow", fps=2.1, message="odd", warnings=("odd",), **SLOW), status("good")
    [text] = watch.see(20, slow, good)
    said = watch.bottlenecks.annotate(slow)
    own = "overload: 2.1 of 5.0 frames/s are analysed: the detector is too slow"
    assert (said.warnings, said.message, said.notices) == (("odd", own), f"odd; {own}", (text,))
    assert watch.bottlenecks.annotate(good) is good
    stopped = status("slow", state=CameraState.STOPPED)
    assert watch.bottlenecks.annotate(stopped) is stopped


def test_it_begins_and_ends_slowly_and_the_log_says_both_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch()
    slow, nearly, good = (status(fps=fps, **SLOW) for fps in (2.1, 4.6, 5.0))
    for _ in range(5):
        assert watch.see(7, slow) == [], "a few seconds are no state"
        watch.see(1, good)
    assert len(watch.see(9, slow)) == 1
    for _ in range(5):  # it recovers for moments, and nearly: it lasts
        assert len(watch.see(14, good)) == 1
        assert len(watch.see(2, nearly)) == 1
    assert len(caplog.messages) == 1
    assert watch.see(16, good) == []
    assert len(caplog.messages) == 2
    assert caplog.messages[1].startswith("the overload of the detector m-1 is over, after 1")
    assert watch.bottlenecks.annotate(good) is good


def test_the_figures_told_are_those_by_which_it_was_found_though_newer_ones_are_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = Watch()
    watch.see(12, status("a", fps=2.1, **SLOW), status("b"))
    [text] = watch.see(14, status("a", fps=5.0), status("b"))
    assert "1 of 2 cameras analyse 2.1 of 5.0 frames/s" in text
    assert "900 ms for a frame, 7.1 frames/s in all where 10.0 are due" in text
    assert "2.1 of 5.0 frames/s" in watch.bottlenecks.annotate(status("a")).message
    [text] = watch.see(1, status("a", fps=3.0, **SLOW), status("b"))
    assert "3.0 of 5.0 frames/s" in text, "the newest that show it are told"
    # Of another camera that is held back later the log tells what is so then.
    watch.see(40, status("a", fps=3.0, **SLOW), status("b", fps=4.0, **SLOW))
    assert "2 of 2 cameras analyse 3.5 of 5.0 frames/s" in caplog.messages[-1]


def test_a_state_that_lasts_is_logged_again_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    Watch().see(1900, status(fps=2.1, **SLOW))
    assert len(caplog.messages) == 4


def test_a_state_that_spreads_is_logged_again_but_not_for_every_camera(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch, slow = Watch(), [status(name, fps=2.1, **SLOW) for name in "abc"]
    watch.see(12, slow[0], status("b"), status("c"))
    watch.see(12, *slow[:2], status("c"))
    watch.see(60, *slow)
    assert [message[:26] for message in caplog.messages] == [
        "overload: 1 of 3 cameras a",
        "overload: 3 of 3 cameras a",
    ]


def test_triton_is_waited_for_in_words_after_five_seconds_and_then_every_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    watch = Watch()
    waiting = status(state=CameraState.CONNECTING, detector_message="refused", model_version="")
    assert watch.see(5, waiting) == []
    [text] = watch.see(2, waiting)
    assert caplog.messages == [text]
    assert text.startswith(f"waiting for Triton at {URL} since 20")
    assert "1 of 1 cameras have no detector (refused); start it (`sightline triton serve`), load" in text
    watch.see(118, waiting)
    assert len(caplog.messages) == 2
    watch.see(3, waiting)
    assert caplog.messages == [text] * 3, "and it is the same moment since which it waits"
    assert watch.see(1, status()) == []
    assert caplog.messages[3].startswith(f"no camera waits for Triton at {URL} any more, after 12")


def test_a_camera_that_is_lost_meanwhile_is_not_called_slow() -> None:
    watch = Watch()
    watch.see(20, status(fps=1.0, **SLOW))
    lost = status(state=CameraState.OFFLINE, fps=1.0, **SLOW)
    assert watch.bottlenecks.annotate(lost) is lost, "not even before the next look"
    assert watch.see(1, lost) == []


def test_a_camera_that_has_left_is_not_spoken_of() -> None:
    watch = Watch()
    assert len(watch.see(20, status("a", fps=1.0, **SLOW), status("b"))) == 1
    assert watch.see(1, status("b")) == []
