"""The API's answers about cameras, counts, events and clips. Times are UTC epoch seconds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator
from starlette.responses import FileResponse, Response

from sightline.access.rights import Right
from sightline.entities import CameraStatus, CameraView, Clip, EventKind
from sightline.store.read.camera_views import read_camera_views
from sightline.store.read.coverage import Covered, read_known
from sightline.store.read.kept_clips import event_key, read_clip, read_clips
from sightline.store.read.queries import (
    CountSum,
    read_counts,
    read_events,
    read_source_names,
    read_watched,
)
from sightline.store.read.readonly import Database
from sightline.store.read.seen import seen
from sightline.store.read.spans import WEEK_S, Span
from sightline.store.tables import with_epochs
from sightline.supervisor.control import Control
from sightline.supervisor.http.endpoint import LAST, Call, Endpoint, Taken, not_seen, not_there
from sightline.supervisor.supervisor import Supervisor

MAX_BUCKETS = 1000
MAX_ROWS = 1000
_FILES = {"video": "video/mp4", "h264": "video/mp4", "thumbnail": "image/jpeg", "tracks": "application/json"}


class OfCameras(Taken):
    """Of which cameras and of which time."""

    camera: tuple[str, ...] = Field((), max_length=1000, description="Names; none: all that one sees.")
    start: float = Field(0.0, ge=0, le=LAST, description="UTC epoch seconds.")
    end: float | None = Field(None, ge=0, le=LAST, description="The first moment after it; null: now.")

    @property
    def until(self) -> float:
        """The end."""
        return time.time() + 1.0 if self.end is None else self.end


class CountsQuery(OfCameras):
    """Which counts, in which buckets."""

    step_s: int = Field(
        3600, ge=1, le=WEEK_S, description="Length of a bucket; 86400 and 604800: days and weeks of the zone."
    )
    zone: str = Field("UTC", description="The time zone in which buckets begin at round times.")

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("is no time zone, as Europe/Berlin") from None
        return zone

    @model_validator(mode="after")
    def _check_span(self) -> "CountsQuery":
        if not 0 < self.until - self.start <= MAX_BUCKETS * self.step_s:
            raise ValueError(
                f"give start, and end, so that {MAX_BUCKETS} buckets of step_s ({self.step_s} s) reach"
            )
        return self


class EventsQuery(OfCameras):
    """Which events."""

    kind: tuple[EventKind, ...] = Field((), description="Kinds; none: all.")
    limit: int = Field(100, ge=1, le=MAX_ROWS)


class ClipsQuery(OfCameras):
    """Which clips, by when they began."""

    limit: int = Field(100, ge=1, le=MAX_ROWS)


@dataclass(frozen=True, slots=True)
class WatchedBucket:
    """How much of one bucket one camera watched; a bucket without one was not watched."""

    source: str
    bucket: float
    watched_s: float
    dropped_frames: int
    longest_window_s: float
    expected_s: float  # that have passed since the camera began, as far as they can be judged
    coverage: float  # 0..1 of them, as the console and its files show it


@dataclass(frozen=True, slots=True)
class CountsAnswer:
    """Counts by bucket, camera and class, and how much of each bucket was watched."""

    edges: tuple[float, ...]  # beginning of every bucket, and the end of the last
    counts: list[CountSum]
    watched: list[WatchedBucket]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the database has it; docs/rules.md says what it means."""

    id: str
    key: str  # as which clips and alerts name it
    source: str  # the camera; empty: the program itself
    kind: str
    place: str
    track_id: int
    item_class: str
    event_time: float
    confirmed_time: float
    end_time: float | None  # null: it goes on, or was a moment
    media_s: float | None  # its place in a clip is at media_s - media_start_s; null: no stream was open
    direction: str | None
    value: float | None
    x: float | None
    y: float | None
    unseen: bool


@dataclass(frozen=True, slots=True)
class StoredClip:
    """A clip, and where its files are asked for; null: there is none."""

    source: str
    start_time: float
    end_time: float
    media_start_s: float
    state: str
    codec: str
    bytes: int
    truncated: bool
    events: tuple[str, ...]  # keys of each
    video: str | None
    h264: str | None
    thumbnail: str | None
    tracks: str | None
    uploaded_to: str


class ReadingApi:
    """What may be read.

    Args:
        supervisor: whose cameras they are.
        database: where results are.
        control: of the configuration: it names the folders of clips.
    """

    def __init__(self, supervisor: Supervisor, database: Database, control: Control) -> None:
        self._supervisor, self._database, self._control = supervisor, database, control

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        get, each = partial(Endpoint, "GET"), partial(Endpoint, "GET", each=True)
        cameras, one = "/api/v1/cameras", "/api/v1/cameras/{camera}"
        file = f"{one}/clips/{{start_time:float}}/{{file}}"
        video: dict[str, Any] = {"camera": "camera", "media": "video/mp4", "long": True}
        return [
            each(cameras, Right.SEE_STATUS, self._cameras, gives=list[CameraStatus]),
            get(one, Right.SEE_STATUS, self._camera, camera="camera", gives=CameraStatus),
            each("/api/v1/counts", Right.SEE_COUNTS, self._counts, takes=CountsQuery, gives=CountsAnswer),
            each(
                "/api/v1/events", Right.SEE_EVENTS, self._events, takes=EventsQuery, gives=list[StoredEvent]
            ),
            each("/api/v1/clips", Right.SEE_CLIPS, self._clips, takes=ClipsQuery, gives=list[StoredClip]),
            get(file, Right.SEE_CLIPS, self._clip_file, **video),
            each("/api/v1/views", Right.SEE_STATUS, self._views, gives=list[CameraView]),
        ]

    def _cameras(self, call: Call) -> list[CameraStatus]:
        """The cameras and how each does."""
        return [status for status in self._supervisor.statuses() if call.sees(status.source)]

    def _camera(self, call: Call) -> CameraStatus:
        """How one camera does."""
        for status in self._supervisor.statuses():
            if status.source == call.camera:
                return status
        raise not_there(f"camera {call.camera!r}")

    def _counts(self, call: Call) -> CountsAnswer:
        """Distinct objects by bucket, camera and class."""
        query: CountsQuery = call.taken
        span = Span.over(query.start, query.until, query.step_s, ZoneInfo(query.zone))
        sources, now = self._sources(call), time.time()
        with self._database.reading() as connection:
            known = read_known(connection, call.cameras, sources, now)
            counts = read_counts(connection, call.cameras, span, sources)
            watched = read_watched(connection, call.cameras, span, sources)
        shares, ends = [], dict(pairwise(span.edges))
        for row in watched:
            between = row.bucket, ends[row.bucket]
            covered = Covered.of(between, row.watched_s, known.get(row.source), now)
            shares.append(
                WatchedBucket(**asdict(row), expected_s=covered.expected_s, coverage=covered.share())
            )
        return CountsAnswer(span.edges, counts, shares)

    def _events(self, call: Call) -> list[StoredEvent]:
        """Events of cameras and, for who sees all, of the program; newest first."""
        query: EventsQuery = call.taken
        sources = [*self._sources(call), *([""] if call.sees(None) and not query.camera else [])]
        span = (query.start, query.until)
        with self._database.reading() as connection:
            rows = read_events(connection, call.cameras, span, sources, kinds=query.kind, limit=query.limit)
        return [stored_event(with_epochs(row)) for row in rows]

    def _clips(self, call: Call) -> list[StoredClip]:
        """Clips, newest first."""
        query: ClipsQuery = call.taken
        span = (query.start, query.until)
        with self._database.reading() as connection:
            clips = read_clips(connection, call.cameras, span, self._sources(call), query.limit)
        return [_shown(clip) for clip in clips]

    def _clip_file(self, call: Call) -> Response:
        """A clip's `video`, its copy `h264`, its `thumbnail` or its `tracks`; ranges can be asked for."""
        name, start_time = call.connection.path_params["file"], call.connection.path_params["start_time"]
        with self._database.reading() as connection:
            clip = read_clip(connection, call.cameras, call.camera or "", min(start_time, LAST))
        path = _paths(clip).get(name) if clip else None
        if path is None or not (path := path.resolve()).is_file() or not self._is_in_a_folder(path):
            raise not_there(f"such file of a clip of camera {call.camera!r}")
        return FileResponse(path, media_type=_FILES[name])

    def _views(self, call: Call) -> list[CameraView]:
        """Whether cameras show what they were set up to show; where the places of moved ones are."""
        with self._database.reading() as connection:
            return read_camera_views(connection, call.cameras)

    def _is_in_a_folder(self, path: Path) -> bool:
        """Whether it is in one that clips are kept in: rows name files, and may be another program's."""
        config = self._control.config
        folders = {config.options.clips.folder, *(item.clips.folder for item in config.cameras.values())}
        return any(path.is_relative_to(folder.resolve()) for folder in folders)

    def _sources(self, call: Call) -> Sequence[str]:
        """The cameras asked for, or all that one sees, also of those that no longer run.

        Raises:
            HTTPException: one that is asked for is not seen.
        """
        asked: tuple[str, ...] = call.taken.camera
        if unseen := [name for name in asked if not call.sees(name)]:
            raise not_seen(unseen[0])
        if asked:
            return asked
        running = seen(call.cameras, (status.source for status in self._supervisor.statuses()))
        with self._database.reading() as connection:
            return sorted({*running, *read_source_names(connection, call.cameras)})


def stored_event(columns: Mapping[str, Any]) -> StoredEvent:
    """An event of its columns, times as UTC epoch seconds."""
    values = {**columns, "id": str(columns["id"]), "key": event_key(columns)}
    return StoredEvent(**{name: values[name] for name in StoredEvent.__dataclass_fields__})


def _paths(clip: Clip) -> dict[str, Path]:
    """By what they are, the files of a clip that are here."""
    tracks = str(Path(clip.path).with_suffix(".json")) if clip.path else ""
    texts = {"video": clip.path, "h264": clip.h264_path, "thumbnail": clip.thumbnail, "tracks": tracks}
    return {name: Path(text) for name, text in texts.items() if text}


def _shown(clip: Clip) -> StoredClip:
    base = f"/api/v1/cameras/{clip.source}/clips/{clip.start_time!r}"
    links = {name: f"{base}/{name}" for name in _paths(clip)}
    return StoredClip(
        source=clip.source,
        start_time=clip.start_time,
        end_time=clip.end_time,
        media_start_s=clip.media_start_s,
        state=clip.state,
        codec=clip.codec,
        bytes=clip.bytes,
        truncated=clip.truncated,
        events=clip.events,
        video=links.get("video"),
        h264=links.get("h264"),
        thumbnail=links.get("thumbnail"),
        tracks=links.get("tracks"),
        uploaded_to=clip.url,
    )
