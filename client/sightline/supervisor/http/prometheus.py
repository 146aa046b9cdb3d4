"""``/metrics`` in Prometheus' conventions, made from the newest reports at each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from sightline.base.stats import BOUNDS_S, HistogramSnapshot
from sightline.camera.messages import Report
from sightline.entities import CameraState, CameraStatus, Figure
from sightline.store.writer import WriterHealth
from sightline.supervisor.sinks import SinkHealth

_EVERY = 4  # every fourth bound: neighbours differ by two, 21 buckets a histogram

_COUNTERS = (
    ("frames", "frames_total", "Frames detected and tracked."),
    ("dropped_frames", "dropped_total", "Frames that were due but got no detections."),
    ("gate_skipped_frames", "gate_skipped_total", "Frames left out by the FPS gate, on purpose."),
    ("decode_errors", "decode_errors_total", "Packets that could not be decoded."),
    ("reconnects", "reconnects_total", "Times the stream had to be opened again."),
)
_GAUGES = (
    ("fps", "fps", "Frames tracked a second, over the last seconds."),
    ("queue_depth", "queue_depth", "Frames waiting between decoder and detector."),
    ("window_coverage", "coverage", "Share of the open window watched so far."),
)


CANARY_HELP = "Accuracy of the canary's last laps against ground truth; docs/selftest.md says what it is."


class View(Protocol):
    """What the supervisor shows."""

    def statuses(self) -> list[CameraStatus]:
        """Newest status of each camera."""

    def reports(self) -> dict[str, Report]:
        """Newest report of each camera."""

    def restarts(self) -> dict[str, int]:
        """Worker restarts of each camera."""


Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class _SightlineCollector(Collector):
    def __init__(
        self, view: View, health: WriterHealth, canary: Mapping[str, float], sinks: Sequence[SinkHealth]
    ) -> None:
        self._view = view
        self._health = health
        self._canary = canary
        self._sinks = sinks

    def collect(self) -> Iterator[Family]:
        statuses = self._view.statuses()
        yield from _camera_values(statuses)
        yield _states(statuses)
        restarts = CounterMetricFamily("sightline_worker_restarts", "Worker restarts.", labels=["camera"])
        for name, count in self._view.restarts().items():
            restarts.add_metric([name], count)
        yield restarts
        reports = self._view.reports()
        yield _stages(reports)
        yield from _figures(reports)
        yield from _writer(self._health)
        yield from figure_families(_sink_figures(self._sinks))
        for name, value in self._canary.items():
            yield GaugeMetricFamily(f"sightline_canary_{name}", CANARY_HELP, value=value)


def render(
    view: View,
    health: WriterHealth,
    canary: Mapping[str, float] | None = None,
    sinks: Sequence[SinkHealth] = (),
) -> bytes:
    """The whole page, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_SightlineCollector(view, health, canary or {}, sinks))
    return generate_latest(registry)


def canary_figures(newest: Mapping[str, Any] | None) -> dict[str, float]:
    """The numbers of the canary's newest judgement."""
    if newest is None:
        return {}
    figures = {name: float(value) for name, value in newest["figures"].items() if value is not None}
    return figures | {"passes": float(newest["passes"]), "judged_timestamp_seconds": newest["judged_time"]}


def _camera_values(statuses: Sequence[CameraStatus]) -> Iterator[Family]:
    for name, field, text in _COUNTERS:
        counter = CounterMetricFamily(f"sightline_{name}", text, labels=["camera"])
        for status in statuses:
            counter.add_metric([status.source], float(getattr(status, field)))
        yield counter
    for name, field, text in _GAUGES:
        gauge = GaugeMetricFamily(f"sightline_{name}", text, labels=["camera"])
        for status in statuses:
            gauge.add_metric([status.source], float(getattr(status, field)))
        yield gauge
    last = GaugeMetricFamily(
        "sightline_last_frame_timestamp_seconds",
        "Capture time of the newest tracked frame.",
        labels=["camera"],
    )
    for status in statuses:
        if status.last_frame_time is not None:
            last.add_metric([status.source], status.last_frame_time)
    yield last


def _states(statuses: Sequence[CameraStatus]) -> Family:
    family = GaugeMetricFamily(
        "sightline_camera_state", "1 for the state it is in.", labels=["camera", "state"]
    )
    for status in statuses:
        for state in CameraState:
            family.add_metric([status.source, state], float(status.state is state))
    return family


def _stages(reports: dict[str, Report]) -> Family:
    family = HistogramMetricFamily(
        "sightline_stage_seconds",
        "Time of a frame in each stage; total is arrival to tracked.",
        labels=["camera", "stage"],
    )
    for name, report in reports.items():
        for stage, snapshot in report.histograms.items():
            family.add_metric([name, stage], buckets=_buckets(snapshot), sum_value=snapshot.total_s)
    return family


def figure_families(figures: Iterable[Figure]) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    """Figures as one family for each name; which names there are is the observers' affair."""
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for figure in figures:
        if figure.name not in families:
            kind = CounterMetricFamily if figure.name.endswith("_total") else GaugeMetricFamily
            families[figure.name] = kind(f"sightline_{figure.name}", figure.help, labels=list(figure.labels))
        families[figure.name].add_metric(list(figure.labels.values()), figure.value)
    yield from families.values()


def _figures(reports: Mapping[str, Report]) -> Iterator[Family]:
    """What the observers of frames say about their work."""
    return figure_families(
        replace(figure, labels={"camera": camera, **figure.labels})
        for camera, report in reports.items()
        for figure in report.figures
    )


def _sink_figures(sinks: Sequence[SinkHealth]) -> Iterator[Figure]:
    for sink in sinks:
        label = {"sink": sink.name}
        yield Figure("sink_up", float(sink.ok), label, "1 while the sink takes what it is given.")
        yield Figure("sink_delivered_total", sink.delivered, label, "Messages or reports that the sink took.")
        yield Figure("sink_failures_total", sink.failures, label, "Attempts that failed.")
        yield Figure("sink_dropped_total", sink.dropped, label, "Reports that a newer one replaced.")


def _buckets(snapshot: HistogramSnapshot) -> list[tuple[str, float]]:
    buckets, seen = [], 0
    for index, (bound, count) in enumerate(zip(BOUNDS_S, snapshot.counts, strict=False)):
        seen += count
        if index % _EVERY == 0:
            buckets.append((f"{bound:g}", float(seen)))
    return [*buckets, ("+Inf", float(snapshot.count))]


def _writer(health: WriterHealth) -> Iterator[Family]:
    for name, value, text in (
        ("writer_up", float(health.state == "ok"), "1 while results reach the database."),
        ("writer_alarm", float(health.alarm), "1 when results are lost, or soon will be."),
        ("writer_pending_records", health.pending_records, "Records in memory, waiting for the database."),
        ("writer_spooled_records", health.spooled_records, "Records on disk while the database is away."),
        ("writer_oldest_seconds", health.oldest_age_s, "Age of the oldest record that waits."),
        ("writer_batch_seconds", health.write_s, "Time of the last batch in the database."),
    ):
        yield GaugeMetricFamily(f"sightline_{name}", text, value=value)
    for name, value, text in (
        ("writer_written_records", health.written_records, "Records written to the database."),
        ("writer_failures", health.failures, "Attempts to write that failed."),
        ("writer_dropped_records", health.dropped_records, "Results lost because spool or memory was full."),
        ("writer_rejected_records", health.rejected_rows, "Records that the database will never take."),
        ("outbox_dropped_rows", health.dropped_outbox_rows, "Rows that a sink did not take in time."),
    ):
        yield CounterMetricFamily(f"sightline_{name}", text, value=value)
