"""What a shadow costs the live path: the arithmetic, on invented frames."""

from types import SimpleNamespace

import pytest

from bench import shadow_bench
from sightline.features.shadow.episode import EpisodeSampler


def frames(seconds):
    """Five a second from a moment on; one behind a mirrored frame takes 20 ms more than the usual 50."""
    sampler = EpisodeSampler(shadow_bench.CAMERA, share=shadow_bench.SHARE, episode_s=2.0)
    times = [1_700_000_000 + i / 5 for i in range(5 * seconds)]
    extra = [0.0] + [0.02 * (sampler.interval_no(time) is not None) for time in times]
    return [
        SimpleNamespace(capture_time=time, tracked_time=time + 0.05 + more)
        for time, more in zip(times, extra, strict=False)
    ]


def test_blocks_without_both_kinds_of_frames_do_not_count():
    report = shadow_bench.summarise(frames(120), 2.0)
    assert 0 < report["blocks"] < 120 / 8 + 1
    assert report["latency_mean_ms"]["ratio"] == pytest.approx(70 / 50, rel=0.01)
    assert report["latency_mean_ms"]["interval_95"] == pytest.approx([1.4, 1.4], rel=0.01)


def test_a_run_that_is_too_short_says_so():
    with pytest.raises(SystemExit, match="--seconds"):
        shadow_bench.summarise(frames(1), 2.0)
