"""Figures in Prometheus' text format: ``/metrics``, and a file for its node exporter.

The text is written here: ``prometheus_client`` takes ten times as long, most of a second for the page of
200 cameras.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client.utils import floatToGoString

from sightline.base.stats import BOUNDS_S, Histogram
from sightline.entities import CameraState, Figure
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Cause
from sightline.supervisor.sinks import SinkHealth
from sightline.supervisor.supervisor import Supervisor

_EVERY = 4  # every fourth bound: neighbours differ by two, 21 buckets a histogram
_BOUNDS = (*(f"{bound:g}" for bound in BOUNDS_S[::_EVERY]), "+Inf")
_STAGES = "sightline_stage_seconds"
_number: Callable[[float], str] = floatToGoString
_CANARY_HELP = "Accuracy of the canary's last laps against ground truth; docs/selftest.md says what it is."

#: Of a camera's status: the metric, the field, and what it says.
_STATUS = (
    ("frames_total", "frames_total", "Frames detected and tracked."),
    ("dropped_frames_total", "dropped_total", "Frames that were due but got no detections."),
    ("gate_skipped_frames_total", "gate_skipped_total", "Frames left out by the FPS gate, on purpose."),
    ("decode_errors_total", "decode_errors_total", "Packets that could not be decoded."),
    ("reconnects_total", "reconnects_total", "Times the stream had to be opened again."),
    ("fps", "fps", "Frames tracked a second, over the last seconds."),
    ("due_fps", "due_fps", "Frames a second that were due, over the last seconds."),
    ("queue_depth", "queue_depth", "Frames waiting between decoder and detector."),
    ("window_coverage", "coverage", "Share of the open window watched so far."),
    ("last_frame_timestamp_seconds", "last_frame_time", "Capture time of the newest tracked frame."),
)
#: Of the writer's health: the metric, the field, and what it says.
_WRITER = (
    ("writer_alarm", "alarm", "1 when results are lost, or soon will be."),
    ("writer_pending_records", "pending_records", "Records in memory, waiting for the database."),
    ("writer_spooled_records", "spooled_records", "Records on disk while the database is away."),
    ("writer_spool_used_ratio", "spool_used", "Used share of database.spool_max_bytes."),
    ("writer_oldest_seconds", "oldest_age_s", "Age of the oldest record that waits."),
    ("writer_batch_seconds", "write_s", "Time of the last batch in the database."),
    ("writer_written_records_total", "written_records", "Records written to the database."),
    ("writer_failures_total", "failures", "Attempts to write that failed."),
    ("writer_dropped_records_total", "dropped_records", "Results lost because spool or memory was full."),
    (
        "writer_expired_records_total",
        "expired_rows",
        "Rows deleted, since they had been kept for long enough.",
    ),
    ("writer_rejected_records_total", "rejected_rows", "Records that the database will never take."),
    ("outbox_dropped_rows_total", "dropped_outbox_rows", "Rows that a sink did not take in time."),
)
_SINK = (
    ("up", "ok", "1 while the sink takes what it is given."),
    ("delivered_total", "delivered", "Messages or reports that the sink took."),
    ("failures_total", "failures", "Attempts that failed."),
    ("dropped_total", "dropped", "Reports that a newer one replaced."),
    ("given_up_total", "given_up", "Messages that the other side will never take."),
)


def text_of_figures(figures: Iterable[Figure]) -> bytes:
    """Figures as one family for each name."""
    families: dict[str, list[str]] = {}
    for figure in figures:
        name = f"sightline_{figure.name}"
        if (lines := families.get(name)) is None:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines = families[name] = [_heading(name, kind, figure.help)]
        labels = ",".join([f'{key}="{_escaped(figure.labels[key])}"' for key in sorted(figure.labels)])
        value = _number(figure.value)
        lines.append(f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n")
    return "".join(line for lines in families.values() for line in lines).encode()


def text_of_histograms(stages: Mapping[str, Mapping[str, Histogram]]) -> bytes:
    """The times of stages, by camera and stage, as one family of histograms."""
    lines = [_heading(_STAGES, "histogram", "Time of a frame in each stage; total is arrival to tracked.")]
    for name, histograms in stages.items():
        camera = f'camera="{_escaped(name)}"'
        for of_stage, histogram in histograms.items():
            stage = f'stage="{_escaped(of_stage)}"'
            begin, labels = f'{_STAGES}_bucket{{{camera},le="', f"{{{camera},{stage}}}"
            counts = [*accumulate(histogram.counts)]
            for bound, count in zip(_BOUNDS, (*counts[: len(BOUNDS_S) : _EVERY], counts[-1]), strict=True):
                number = f"{count}.0" if count < 1_000_000 else _number(count)  # which is slow
                lines.append(f'{begin}{bound}",{stage}}} {number}\n')
            lines.append(f"{_STAGES}_count{labels} {number}\n")
            lines.append(f"{_STAGES}_sum{labels} {_number(histogram.total_s)}\n")
    return "".join(lines).encode()


def _heading(name: str, kind: str, text: str) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _escaped(value: str) -> str:
    """A label's value as it stands between its quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def write_metrics_file(path: Path, figures: Iterable[Figure]) -> None:
    """Write a file for the node exporter's text-file collector, in one piece: it may read at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(text_of_figures(figures))
    draft.replace(path)


def metrics_page(
    cameras: Supervisor, writer: WriterHealth, judged: Mapping[str, Any] | None, sinks: Sequence[SinkHealth]
) -> bytes:
    """The whole page, made from the newest reports; ``judged`` is the canary's newest judgement."""
    figures = [*_camera_figures(cameras), *canary_figures(judged)]
    figures.append(
        Figure("writer_up", float(writer.state == "ok"), help="1 while results reach the database.")
    )
    owner = "1 while this program owns the database, 0 while another one does or may."
    figures.append(Figure("database_owner", float(writer.owns_database), help=owner))
    figures += (Figure(name, float(getattr(writer, field)), help=text) for name, field, text in _WRITER)
    figures += (
        Figure(f"sink_{name}", float(getattr(sink, field)), {"sink": sink.name}, text)
        for sink in sinks
        for name, field, text in _SINK
    )
    stages = {name: report.histograms for name, report in cameras.reports().items()}
    return text_of_figures(figures) + text_of_histograms(stages)


def canary_figures(newest: Mapping[str, Any] | None) -> list[Figure]:
    """The numbers of the canary's newest judgement."""
    if newest is None:
        return []
    values = {"passes": newest["passes"], "judged_timestamp_seconds": newest["judged_time"]}
    values |= {name: value for name, value in newest["figures"].items() if value is not None}
    figures = [Figure(f"canary_{name}", float(value), help=_CANARY_HELP) for name, value in values.items()]
    return figures + [
        Figure(f"canary_event_{name}", float(value), {"kind": kind}, _CANARY_HELP)
        for kind, latencies in newest["latencies"].items()
        for name, value in latencies.items()
        if value is not None
    ]


def _camera_figures(supervisor: Supervisor) -> Iterator[Figure]:
    notices, text = supervisor.notices(), "Cameras that are held back, by cause; /status says it in words."
    for cause in Cause:
        held_back = sum(len(notice.cameras) for notice in notices if notice.cause is cause)
        yield Figure("held_back_cameras", held_back, {"cause": cause}, text)
    viewers = supervisor.live.viewers
    for status in supervisor.statuses():
        camera = {"camera": status.source}
        yield Figure("live_viewers", viewers[status.source], camera, "Who watches it live now.")
        for name, field, text in _STATUS:
            if (value := getattr(status, field)) is not None:
                yield Figure(name, float(value), camera, text)
        for state in CameraState:
            is_state = float(status.state is state)
            yield Figure("camera_state", is_state, {**camera, "state": state}, "1 for the state it is in.")
    for name, count in supervisor.restarts().items():
        yield Figure("worker_restarts_total", count, {"camera": name}, "Worker restarts.")
    for name, report in supervisor.reports().items():
        for figure in report.figures:
            yield replace(figure, labels={"camera": name, **figure.labels})
