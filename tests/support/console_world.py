"""A database with cameras, counts and gaps, for the tests of the console."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlmodel import Session, SQLModel

from sightline.store import migrations, rollups
from sightline.store.dialects import parse_url
from sightline.store.tables import (
    AlertRow,
    CameraRow,
    CameraViewRow,
    ClipRow,
    CountRollupRow,
    CountWindowRow,
    DriftWindowRow,
    EventRow,
    LeaseRow,
    MuteRow,
    SourceRollupRow,
    SourceWindowRow,
    TrackPathRow,
)

STAGES = {"receive": 0.4, "decode": 3.1, "queue": 1.9, "infer": 27.0, "track": 0.4, "total": 36.0}


def utc(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)


class World:
    """Writes what the supervisor would write."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
        with self.engine.begin() as connection:
            migrations.migrate(connection, lambda _found: None)

    def camera(
        self, source: str, heartbeat: float, *, state: str = "online", message: str = "", **status: object
    ) -> None:
        known = {
            "fps": 9.9,
            "frames_total": 1000,
            "dropped_total": 4,
            "latency_p50_ms": 61.0,
            "latency_p99_ms": 118.0,
            "transport": "system",
            "clock_source": "rtcp",
            "model_version": "yolov8n-1",
            "stages_ms": {stage: {"mean": ms, "p50": ms, "p99": 2 * ms} for stage, ms in STAGES.items()},
        }
        with Session(self.engine) as session:
            session.merge(
                CameraRow(
                    source=source,
                    state=state,
                    message=message,
                    heartbeat=utc(heartbeat),
                    last_frame_time=utc(heartbeat - 0.2),
                    status={**known, **status},
                    resume={},
                )
            )
            session.commit()

    def window(
        self,
        source: str,
        start: float,
        coverage: float,
        *,
        length: float = 60.0,
        arrivals: int | str | None = "all",
        seen: Mapping[str, float] | None = None,
        **counts: int,
    ) -> None:
        """A source window and the counts in it, by class; all of them arrive unless ``arrivals`` says so.

        ``seen``: the coverage of classes that the model lacked.
        """
        times = {"window_start": utc(start), "window_end": utc(start + length)}
        with Session(self.engine) as session:
            session.merge(
                SourceWindowRow(
                    source=source,
                    **times,
                    coverage=coverage,
                    effective_fps=10.0,
                    dropped_frames=1,
                    clock_source="rtcp",
                    model_version="yolov8n-1",
                    config_hash="ab",
                )
            )
            for name, count in counts.items():
                session.add(
                    CountWindowRow(
                        id=uuid.uuid4(),
                        source=source,
                        item_class=name,
                        count=count,
                        arrivals=count if arrivals == "all" else arrivals,
                        coverage=(seen or {}).get(name),
                        **times,
                        created_at=utc(start + length),
                    )
                )
            session.flush()
            rollups.every_period(session.connection())
            session.commit()

    def program(self, scope: str, heartbeat: float, *, held: bool = True, **values: object) -> None:
        """A program that owns the database, or waits for its end."""
        program = {"host": "mill", "pid": 7, "since": "2026-11-20 08:00:00 UTC", "address": "", "boot": ""}
        program |= {"pid_namespace": "", "started": "", **values}
        with Session(self.engine) as session:
            row = {"owner": "", "fence": 1, "held": held, "program": program}
            session.merge(LeaseRow(scope=scope, expires_at=utc(heartbeat), **row))
            session.commit()

    def event(self, source: str, kind: str, place: str, time: float, **values: object) -> None:
        """Something that a rule saw."""
        known = {"item_class": "person", "track_id": 1, "unseen": False, **values}
        with Session(self.engine) as session:
            session.add(
                EventRow(
                    id=uuid.uuid4(),
                    source=source,
                    kind=kind,
                    place=place,
                    event_time=utc(time),
                    confirmed_time=utc(time + 0.5),
                    created_at=utc(time + 1),
                    **known,
                )
            )
            session.commit()
        with self.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM event_rollups"))
            rollups.sum_events(connection)

    def hours(self, source: str, start: float, hours: Sequence[tuple[str, str, int]]) -> None:
        """Hours one after the other, wholly watched: model, configuration, and how many persons."""
        for number, (model, config, count) in enumerate(hours):
            begun = utc(start // 3600 * 3600 + number * 3600)
            key = {"source": source, "period_s": 3600, "period_start": begun}
            seconds = {"watched_s": 3600.0, "dropped_frames": 0, "longest_window_s": 60.0}
            self._add(SourceRollupRow(**key, **seconds, model_version=model, config_hash=config))
            if count:
                self._add(CountRollupRow(**key, item_class="person", count=count, arrivals=count))

    def path(self, source: str, start: float, **values: object) -> None:
        """Where a track has been for twelve seconds."""
        points = [[0, 1000, 6000, 600, 1500], [12_000, 9000, 6000, 600, 1500]]
        known = {"track_id": 1, "item_class": "person", "score": 0.8, "points": points, "places": ["door"]}
        times = {"start_time": utc(start), "first_time": utc(start), "end_time": utc(start + 12)}
        self._add(TrackPathRow(source=source, **times, **{**known, **values}))

    def alert(self, alert_id: str, source: str, opened: float, **values: object) -> None:
        """What a rule made of events."""
        known = {
            "rule": "intrusion",
            "kind": "enter",
            "place": "door",
            "item_class": "person",
            "state": "new",
        }
        known |= {"severity": "warning", "who": "", "comment": ""}
        counts = {"count": 1, "notifications": 1, "told": 1, "muted": False, "escalated": False}
        times = dict.fromkeys(("event_time", "opened_time", "changed_time"), utc(opened))
        self._add(AlertRow(alert_id=alert_id, source=source, **{**known, **counts, **times, **values}))

    def set_alert(self, alert_id: str, **values: object) -> None:
        """What people make of it."""
        with Session(self.engine) as session:
            row = session.get_one(AlertRow, alert_id)
            for name, value in values.items():
                setattr(row, name, value)
            session.commit()

    def mute(self, source: str, rule: str, until: float, who: str = "anna") -> None:
        """Nobody is told of it."""
        self._add(MuteRow(source=source, rule=rule, until=utc(until), who=who))

    def clip(self, source: str, start: float, **values: object) -> None:
        """The video around events."""
        known = {
            "state": "finished",
            "path": "",
            "thumbnail": "",
            "codec": "h264",
            "url": "",
            "h264_path": "",
        }
        known |= {"media_start_s": 0.0, "bytes": 1000, "truncated": False, "events": []}
        times = {"start_time": utc(start), "end_time": utc(start + 10)}
        self._add(ClipRow(source=source, **times, **{**known, **values}))

    def drift_hour(self, source: str, start: float) -> None:
        """Numbers of the drift watch."""
        times = {"window_start": utc(start), "window_end": utc(start + 3600)}
        figures = {"frames": 1, "boxes": 1, "pictures": 1, "figures": {}}
        self._add(DriftWindowRow(source=source, model_version="m", **times, **figures))

    def view(self, source: str, since: float, **values: object) -> None:
        """A camera that shows what it was set up to show, unless ``values`` say otherwise."""
        known = {"state": "in_place", "fits": True, "lights": {}}
        self._add(CameraViewRow(source=source, since=utc(since), **{**known, **values}))

    def _add(self, row: SQLModel) -> None:
        with Session(self.engine) as session:
            session.merge(row)
            session.commit()
