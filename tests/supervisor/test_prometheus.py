"""The text that Prometheus reads: the same, byte for byte, as its own library would write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate

import pytest
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from sightline.base.stats import BOUNDS_S, Histogram
from sightline.entities import Figure
from sightline.supervisor.http.prometheus import text_of_figures, text_of_histograms

NAMES = ("gate", 'the "back" yard', r"C:\cams\1", "two\nlines", r"\n is no line", "", "Tür, {links}")


class Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


def histogram_of(*seconds: float, times: int = 1) -> Histogram:
    histogram = Histogram()
    for value in seconds:
        histogram.observe(value)
    return Histogram([count * times for count in histogram.counts], histogram.total_s * times)


HISTOGRAMS = {
    "none": histogram_of(),
    "one": histogram_of(0.02),
    "all": histogram_of(*BOUNDS_S, 0.0, 1e6),
    "as many as are written in full": histogram_of(0.001, times=999_999),
    "one more": histogram_of(0.001, times=1_000_000),
    "millions": histogram_of(0.001, 0.3, 1e6, times=12_345_678),
}


def by_the_library(stages: Mapping[str, Mapping[str, Histogram]]) -> bytes:
    """The page as it was written before Sightline wrote it itself."""
    text = "Time of a frame in each stage; total is arrival to tracked."
    family = HistogramMetricFamily("sightline_stage_seconds", text, labels=["camera", "stage"])
    for name, histograms in stages.items():
        for stage, histogram in histograms.items():
            sums = list(zip(BOUNDS_S, accumulate(histogram.counts), strict=False))[::4]
            buckets = [(f"{bound:g}", float(count)) for bound, count in sums]
            buckets.append(("+Inf", float(histogram.count)))
            family.add_metric([name, stage], buckets=buckets, sum_value=histogram.total_s)
    return generate_latest(Families([family]))


def test_histograms_are_written_as_the_library_writes_them() -> None:
    stages = {name: {**HISTOGRAMS, name: HISTOGRAMS["one"]} for name in NAMES}
    text = text_of_histograms(stages)
    assert text == by_the_library(stages)
    (family,) = text_string_to_metric_families(text.decode())
    assert family.type == "histogram"
    assert {sample.labels["camera"] for sample in family.samples} == set(NAMES)
    counts = {s.labels["stage"]: s.value for s in family.samples if s.name == "sightline_stage_seconds_count"}
    assert counts == {name: one.count for name, one in HISTOGRAMS.items()} | dict.fromkeys(NAMES, 1)


def test_no_histogram_is_an_empty_family() -> None:
    assert text_of_histograms({}) == by_the_library({})


@pytest.mark.parametrize(
    "value", [0, 3, -1.5, 0.1, 1e-7, 999_999, 1_000_000, 1.8e9, 1e22, float("inf"), float("nan")]
)
def test_figures_are_written_as_the_library_writes_them(value: float) -> None:
    text = 'What "it" is,\nand C:\\.'
    counter = CounterMetricFamily("sightline_seen_total", text, labels=["of", "camera"])
    gauge, plain = (
        GaugeMetricFamily("sightline_mood", "", labels=["camera"]),
        GaugeMetricFamily("sightline_up", "Is."),
    )
    figures = [Figure("up", value, help="Is.")]
    plain.add_metric([], value)
    for name in NAMES:
        figures += (
            Figure("seen_total", value, {"of": "cat", "camera": name}, text),
            Figure("mood", value, {"camera": name}),
        )
        counter.add_metric(["cat", name], value)
        gauge.add_metric([name], value)
    page = text_of_figures(figures)
    assert page == generate_latest(Families([plain, counter, gauge]))
    families = {family.name: family for family in text_string_to_metric_families(page.decode())}
    assert [sample.labels["camera"] for sample in families["sightline_mood"].samples] == list(NAMES)


def test_labels_keep_their_values_whatever_their_order() -> None:
    figures = [
        Figure("seen", 1, {"kind": "cat", "side": "left"}),
        Figure("seen", 2, {"side": "right", "kind": "dog"}),
    ]
    (family,) = text_string_to_metric_families(text_of_figures(figures).decode())
    assert [sample.labels for sample in family.samples] == [
        {"kind": "cat", "side": "left"},
        {"kind": "dog", "side": "right"},
    ]
