"""The rows of the console's benchmark: fifty cameras of a town for ninety days, the same in every database.

Traffic follows the hours of the day and the days of the week, each camera busier or quieter than the next;
streams fail for some minutes, people cross lines in both directions, stand in zones, and set off alerts with
their clips. All is drawn from one seed, so SQLite and Postgres hold the same rows.

Hours up to the windows are drawn as hours; the hours of the windows, and all days, are summed from what they
are made of by the program's own code.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import Connection

from bench.generated_rows import Columns, filling, insert_columns, without_indexes
from sightline.access.accounts import Accounts
from sightline.access.audit import Action
from sightline.access.passwords import Passwords
from sightline.access.rights import Caller
from sightline.config.access_options import AccessOptions
from sightline.entities import (
    KEY_SEPARATOR,
    RULE_KINDS,
    STAGES,
    CameraState,
    CameraStatus,
    EventKind,
    Role,
    lasts,
)
from sightline.store import rollups
from sightline.store.access_store import MAX_CHANGES, AccessStore
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import pending_row
from sightline.store.rollups import DAY_S, HOUR_S

CAMERAS, DAYS, WINDOW_S, WINDOW_DAYS = 50, 90, 10, 2
CLASSES = ("person", "car", "bicycle", "bus", "truck")
END = datetime(2026, 6, 15, 10, 40, tzinfo=UTC).timestamp()  # now, on a Monday
HOUR = int(END) // HOUR_S * HOUR_S  # goes on: it has windows up to its end, and is not summed
WINDOWS_END = HOUR + HOUR_S
BEGIN, FIRST_WINDOW = HOUR - DAYS * DAY_S, WINDOWS_END - WINDOW_DAYS * DAY_S
EVENTS, ALERTS, PATHS, PATH_DAYS, AUDIT = CAMERAS * DAYS * 24 * 6, 20_000, 200_000, 14, 100_000
NAMES = tuple(f"camera{number:02}" for number in range(CAMERAS))
LINES, ZONES = ("door", "gate"), ("yard", "dock")
TROUBLES = tuple(sorted(frozenset(EventKind) - RULE_KINDS))
#: Who may sign in, as what, and which cameras they see.
PEOPLE = {"admin": (Role.ADMIN, None), "guest": (Role.VIEWER, frozenset(NAMES[3::20]))}
PASSWORD = "four words in a row"
_SEED = 14
_SHARES = np.array([0.45, 0.35, 0.1, 0.04, 0.06])  # of the classes
_MODELS = ("yolo/1", "yolo/2")  # the second one since two thirds of the days
_MODEL_CHANGE = BEGIN + 60 * DAY_S
#: By rule kind, what it is drawn from: its share of the events.
_KINDS = {
    EventKind.CROSSING: 0.6,
    EventKind.ENTER: 0.17,
    EventKind.LEAVE: 0.16,
    EventKind.LOITER: 0.05,
    EventKind.OCCUPANCY: 0.02,
}
_POINTS = [[0, 1000, 6000, 600, 1500], [6000, 5000, 6100, 620, 1520], [12_000, 9000, 6000, 600, 1500]]
_PATH_S = _POINTS[-1][0] / 1e3
_Array = np.ndarray[Any, np.dtype[Any]]


def generate(url: str) -> dict[str, int]:
    """Fill a new database; how many rows each table has."""
    store = Store(url)
    store.open()
    store.write_rows([pending_row(status, 1) for status in statuses()])
    store.close()
    tables = ("source_windows", "count_windows", "events", "alerts", "clips", "track_paths", "audit")
    with filling(url) as connection, without_indexes(connection, tables):
        _insert_windows(connection)
        _insert_hours(connection)
        _insert_happenings(connection)
        _insert_paths(connection)
        _insert_settings(connection)
    _sum(url)
    _add_people(url)
    with filling(url) as connection:  # whose end gathers statistics of it all
        names = (*tables, "count_rollups", "source_rollups", "event_rollups")
        return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) or 0 for name in names}


def statuses() -> list[CameraStatus]:
    """All cameras are well."""
    stages = {stage: {"mean": 3.0, "p50": 3.0, "p99": 9.0} for stage in STAGES}
    known: dict[str, Any] = {"fps": 5.0, "due_fps": 5.0, "latency_p50_ms": 61.0, "latency_p99_ms": 118.0}
    known |= {"transport": "system", "decoder": "cpu", "clock_source": "rtcp", "model_version": _MODELS[-1]}
    known |= {"batch_size": 4.0, "stages_ms": stages, "lines": LINES, "occupancy": {"yard": 2, "dock": 0}}
    beats = END + DAY_S  # ahead, so that none is missed while pages are looked at
    return [CameraStatus(name, CameraState.ONLINE, "", beats, END, **known) for name in NAMES]


# -- traffic ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traffic:
    """What goes by, and when it was not seen.

    Attributes:
        busy: of each camera, how its traffic compares with the others', 1 on average.
        gaps: by camera and hour since :data:`BEGIN`, first and last second that its stream was away; both 0
            in most.
    """

    busy: _Array
    gaps: _Array

    def per_hour(self, number: _Array) -> _Array:
        """Objects that arrive at a camera of average traffic in an hour that is so many after the first."""
        start = BEGIN // HOUR_S + number
        hour, weekend = start % 24, (start // 24 + 3) % 7 >= 5  # 1970 began on a Thursday
        day = 4 + 90 * np.exp(-(((hour - 8) / 2.2) ** 2)) + 110 * np.exp(-(((hour - 16) / 3.0) ** 2))
        curve: _Array = np.where(weekend, 0.6, 1.0) * day
        return curve


@cache
def traffic() -> Traffic:
    """Drawn once for both databases."""
    rng = np.random.default_rng(_SEED)
    busy = rng.lognormal(0.0, 0.5, CAMERAS)
    hours = (WINDOWS_END - BEGIN) // HOUR_S
    gaps = np.zeros((CAMERAS, hours, 2), np.int64)
    camera, hour = np.nonzero(rng.random((CAMERAS, hours)) < 0.02)
    begin = rng.integers(0, 300, len(camera)) * WINDOW_S
    gaps[camera, hour, 0] = begin
    gaps[camera, hour, 1] = np.minimum(begin + rng.integers(3, 180, len(camera)) * WINDOW_S, HOUR_S)
    return Traffic(busy / busy.mean(), gaps)


def _text_of(seconds: float) -> str:
    """A time as both databases read it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _ids(rng: np.random.Generator, number: int, time: float) -> list[str]:
    """UUIDs that rise with the time of a batch and within it, so that their index is made in order."""
    text = rng.bytes(8 * number).hex()
    return [f"{int(time):08x}{at:08x}{text[16 * at : 16 * at + 16]}" for at in range(number)]


# -- windows and hours --------------------------------------------------------------------------------------


def _insert_windows(connection: Connection) -> None:
    rng = np.random.default_rng(_SEED)
    for hour in range(FIRST_WINDOW, WINDOWS_END, HOUR_S):
        insert_columns(connection, "source_windows", _source_windows(rng, hour))
        insert_columns(connection, "count_windows", _count_windows(rng, hour))


def _is_away(hour: int) -> _Array:
    """Of the windows of an hour, by window and camera: whether the stream was away."""
    begin, end = np.moveaxis(traffic().gaps[:, (hour - BEGIN) // HOUR_S], -1, 0)
    second = np.arange(0, HOUR_S, WINDOW_S)[:, None]
    away: _Array = (second >= begin) & (second < end)
    return away


def _window_times(hour: int, each: _Array) -> dict[str, list[str]]:
    """Start and end of the windows by their numbers in the hour."""
    edges = [_text_of(hour + at) for at in range(0, HOUR_S + 1, WINDOW_S)]
    return {
        "window_start": [edges[at] for at in each],
        "window_end": [edges[at + 1] for at in each],
    }


def _source_windows(rng: np.random.Generator, hour: int) -> Columns:
    away = _is_away(hour).ravel()
    window, camera = np.divmod(np.arange(len(away)), CAMERAS)
    coverage = np.where(rng.random(len(away)) < 0.01, rng.uniform(0.3, 0.95, len(away)).round(3), 1.0)
    coverage[away] = 0.0
    seen = ~away
    return {
        "source": [NAMES[at] for at in camera],
        **_window_times(hour, window),
        "coverage": coverage.tolist(),
        "effective_fps": np.where(seen, 5.0, 0.0).tolist(),
        "dropped_frames": (rng.poisson(0.02, len(away)) * seen).tolist(),
        "clock_source": ["rtcp" if one else "" for one in seen],
        "model_version": [_MODELS[-1] if one else "" for one in seen],
        "config_hash": [_config_of(at, hour) if one else "" for at, one in zip(camera, seen, strict=True)],
    }


def _count_windows(rng: np.random.Generator, hour: int) -> Columns:
    """Something of every class stands before every camera; what arrives follows the day."""
    seen = ~np.repeat(_is_away(hour).ravel(), len(CLASSES))
    of_all = traffic().per_hour(np.array([(hour - BEGIN) // HOUR_S]))[0] * traffic().busy[:, None] * _SHARES
    shape = (HOUR_S // WINDOW_S, CAMERAS, len(CLASSES))
    arrivals = rng.poisson(of_all * WINDOW_S / HOUR_S, shape).ravel()[seen]
    count = arrivals + 1 + rng.poisson(0.3, len(arrivals))
    number = np.flatnonzero(seen)
    times = _window_times(hour, number // (CAMERAS * len(CLASSES)))
    return {
        "id": _ids(rng, len(number), hour),
        "source": [NAMES[at] for at in number // len(CLASSES) % CAMERAS],
        "item_class": [CLASSES[at] for at in number % len(CLASSES)],
        "count": count.tolist(),
        **times,
        "created_at": times["window_end"],
        "arrivals": arrivals.tolist(),
    }


@cache
def _config_of(camera: int, hour: int) -> str:
    """Of which configuration an hour is: each camera's was changed twice."""
    changes = [BEGIN + (20 + camera) * DAY_S, BEGIN + (70 + camera % 20) * DAY_S]
    return f"{sum(hour >= change for change in changes):016x}"


def _insert_hours(connection: Connection) -> None:
    """Those before the windows."""
    rng = np.random.default_rng(_SEED + 1)
    hours = np.arange((FIRST_WINDOW - BEGIN) // HOUR_S)
    starts = [_text_of(BEGIN + int(at) * HOUR_S) for at in hours]
    away_s = (traffic().gaps[:, : len(hours), 1] - traffic().gaps[:, : len(hours), 0]).T  # by hour and camera
    hour, camera = (axis.ravel() for axis in np.indices(away_s.shape))
    seconds = [BEGIN + int(at) * HOUR_S for at in hour]
    columns: Columns = {
        "source": [NAMES[at] for at in camera],
        "period_s": [HOUR_S] * len(hour),
        "period_start": [starts[at] for at in hour],
        "watched_s": (HOUR_S - away_s.ravel()).astype(float).tolist(),
        "dropped_frames": rng.poisson(7, len(hour)).tolist(),
        "longest_window_s": [float(WINDOW_S)] * len(hour),
        "model_version": [_MODELS[at >= _MODEL_CHANGE] for at in seconds],
        "config_hash": [_config_of(int(at), start) for at, start in zip(camera, seconds, strict=True)],
    }
    insert_columns(connection, "source_rollups", columns)
    share = 1 - away_s[..., None] / HOUR_S
    expected = traffic().per_hour(hours)[:, None, None] * traffic().busy[:, None] * _SHARES * share
    arrivals = rng.poisson(expected).ravel()
    hour, camera, item_class = (axis.ravel() for axis in np.indices(expected.shape))
    columns = {
        "source": [NAMES[at] for at in camera],
        "period_s": [HOUR_S] * len(hour),
        "period_start": [starts[at] for at in hour],
        "item_class": [CLASSES[at] for at in item_class],
        "count": (arrivals + 1 + rng.poisson(0.3, len(arrivals))).tolist(),
        "arrivals": arrivals.tolist(),
        "blind_s": [0.0] * len(hour),
    }
    insert_columns(connection, "count_rollups", columns)


# -- events, alerts, clips ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AlertedEvent:
    """An event, as far as alerts and clips are made of it."""

    source: str
    kind: str
    place: str
    item_class: str
    time: float
    media_s: float
    key: str


def _moments(rng: np.random.Generator, number: int, begin: float, end: float) -> tuple[_Array, _Array]:
    """Cameras, by their numbers, and times in [begin, end), in their order, as dense as traffic is."""
    hours = np.arange((begin - BEGIN) // HOUR_S, -(-(end - BEGIN) // HOUR_S))
    weight = traffic().per_hour(hours)
    hour = hours[np.searchsorted(np.cumsum(weight) / weight.sum(), rng.random(number))]
    time = np.sort(np.clip(BEGIN + (hour + rng.random(number)) * HOUR_S, begin, end - 1))
    return rng.choice(CAMERAS, number, p=traffic().busy / CAMERAS), time.round(3)


def _insert_happenings(connection: Connection) -> None:
    rng = np.random.default_rng(_SEED + 2)
    alarming: list[AlertedEvent] = []
    camera, time = _moments(rng, EVENTS, BEGIN, END)
    kinds = rng.choice(len(_KINDS), EVENTS, p=[*_KINDS.values()])
    at_once = 50_000
    step = EVENTS // ALERTS
    for first in range(0, EVENTS, at_once):
        part = slice(first, first + at_once)
        columns = _events(rng, first, camera[part], time[part], kinds[part])
        insert_columns(connection, "events", columns)
        alarming += _alarming(columns, time[part], step)
    insert_columns(connection, "events", _troubles(rng))
    rollups.sum_events(connection)
    insert_columns(connection, "alerts", _alerts(rng, alarming))
    insert_columns(connection, "clips", _clips(alarming))
    changes = sa.text("UPDATE database_identity SET last_change = (SELECT max(change_number) FROM events)")
    connection.execute(changes)


def _events(
    rng: np.random.Generator, first: int, camera: _Array, time: _Array, kinds: _Array
) -> dict[str, list[Any]]:
    """What rules saw; the newest visits go on."""
    names, number = [*_KINDS], len(time)
    kind = [names[at] for at in kinds]
    second, forward = rng.random(number) < 0.4, rng.random(number) < 0.55
    item = rng.choice(len(CLASSES), number, p=_SHARES)
    texts = [_text_of(at) for at in time]
    lasted = rng.exponential(60.0, number)
    ends = [
        _text_of(at + length) if lasts(name, None) and at + length < END else None
        for name, at, length in zip(kind, time, lasted, strict=True)
    ]
    is_line = kinds == names.index(EventKind.CROSSING)
    has_track = kinds != names.index(EventKind.OCCUPANCY)
    place = rng.uniform(0.1, 0.9, (2, number)).round(4).tolist()
    dwell = (EventKind.LEAVE, EventKind.LOITER)
    return {
        "id": _ids(rng, number, time[0]),
        "source": [NAMES[at] for at in camera],
        "kind": [name.value for name in kind],
        "place": [
            (LINES if line else ZONES)[at] for line, at in zip(is_line, second.astype(int), strict=True)
        ],
        "item_class": [CLASSES[at] if track else "" for at, track in zip(item, has_track, strict=True)],
        "track_id": (np.arange(first, first + number) * has_track).tolist(),
        "event_time": texts,
        "direction": [
            ("forward" if way else "backward") if line else None
            for line, way in zip(is_line, forward, strict=True)
        ],
        "value": [
            round(length, 2) if name in dwell else None for name, length in zip(kind, lasted, strict=True)
        ],
        "x": place[0],
        "y": place[1],
        "unseen": (rng.random(number) < 0.02).astype(int).tolist(),
        "end_time": ends,
        "media_s": (time - BEGIN).round(3).tolist(),
        "first_time": (time - 2.0).round(3).tolist(),
        "ordinal": [0] * number,
        "confirmed_time": texts,
        "created_at": texts,
        "change_number": (time * 1e6).astype(np.int64).tolist(),
    }


def _alarming(columns: dict[str, list[Any]], time: _Array, step: int) -> Iterator[AlertedEvent]:
    """Each ``step``-th event, with the key by which alerts and clips name it."""
    for at in range(0, len(time), step):
        values = {name: column[at] for name, column in columns.items()}
        names = [values[name] for name in ("source", "kind", "place", "track_id", "first_time", "ordinal")]
        key = KEY_SEPARATOR.join(map(str, ("event", *names)))
        yield AlertedEvent(
            source=values["source"],
            kind=values["kind"],
            place=values["place"],
            item_class=values["item_class"],
            time=float(time[at]),
            media_s=values["media_s"],
            key=key,
        )


def _troubles(rng: np.random.Generator) -> dict[str, list[Any]]:
    """Of cameras that were away, of their views, and of the program itself; some a day."""
    camera, hour = np.nonzero(traffic().gaps[..., 1])
    begin, end = (BEGIN + hour * HOUR_S + traffic().gaps[camera, hour, at] for at in (0, 1))
    past = end < END
    camera, begin, end = camera[past], begin[past], end[past]
    number = len(begin)
    kind = np.where(rng.random(number) < 0.8, EventKind.CAMERA_OFFLINE.value, rng.choice(TROUBLES, number))
    own = (EventKind.TRITON_AWAY, EventKind.DATABASE_AWAY, EventKind.SPOOL_FILLING, EventKind.DELIVERY_FAILED)
    begun, ended = ([_text_of(at) for at in times] for times in (begin, end))
    nothing: list[Any] = [None] * number
    return {
        "id": _ids(rng, number, END),
        "source": ["" if name in own else NAMES[at] for name, at in zip(kind, camera, strict=True)],
        "kind": kind.tolist(),
        "place": [""] * number,
        "item_class": [""] * number,
        "track_id": [0] * number,
        "event_time": begun,
        **dict.fromkeys(("direction", "value", "x", "y", "media_s"), nothing),
        "unseen": [0] * number,
        "end_time": [
            None if name == EventKind.CLOCK_STEP else at for name, at in zip(kind, ended, strict=True)
        ],
        "first_time": begin.astype(float).tolist(),
        "ordinal": [0] * number,
        "confirmed_time": begun,
        "created_at": begun,
        "change_number": (end * 1_000_000).tolist(),
    }


def _alerts(rng: np.random.Generator, alarming: Sequence[AlertedEvent]) -> dict[str, list[Any]]:
    """Of the last hours many are new; of the others one in six was false."""
    number = len(alarming)
    state = np.where(rng.random(number) < 0.17, "false_alarm", "resolved").astype(object)
    state[-200:] = rng.choice(["new", "acknowledged"], 200, p=[0.4, 0.6])
    times = [_text_of(one.time) for one in alarming]
    ends = [_text_of(one.time + 30) for one in alarming]
    return {
        "alert_id": [
            f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}" for one in _ids(rng, number, END)
        ],
        "rule": [f"{one.kind}_{one.place}" for one in alarming],
        **{
            name: [getattr(one, name) for one in alarming]
            for name in ("source", "kind", "place", "item_class")
        },
        "severity": ["warning"] * number,
        "state": state.tolist(),
        **dict.fromkeys(("event_time", "opened_time"), times),
        **dict.fromkeys(("changed_time", "end_time"), ends),
        "count": (1 + rng.poisson(0.4, number)).tolist(),
        **dict.fromkeys(("muted", "escalated"), [0] * number),
        **dict.fromkeys(("notifications", "told"), [1] * number),
        "who": ["" if one == "new" else "anna" for one in state],
        "comment": [""] * number,
        "events": [json.dumps([one.key]) for one in alarming],
        **dict.fromkeys(("open_events", "failed_routes"), ["[]"] * number),
        "change_number": [int(one.time * 1e6) for one in alarming],
    }


def _clips(alarming: Sequence[AlertedEvent]) -> dict[str, list[Any]]:
    """Of each alert's event from five seconds before it on."""
    by_key = {(one.source, one.time): one for one in alarming}  # two of one moment are in one
    clips, number = [*by_key.values()], len(by_key)
    return {
        "source": [one.source for one in clips],
        "start_time": [_text_of(one.time - 5) for one in clips],
        "end_time": [_text_of(one.time + 15) for one in clips],
        "media_start_s": [one.media_s - 5 for one in clips],
        "state": ["finished"] * number,
        **{
            name: [f"clips/{at}.{end}" for at in range(number)]
            for name, end in (("path", "mp4"), ("thumbnail", "jpg"))
        },
        "codec": ["h264"] * number,
        "bytes": [1_000_000] * number,
        "truncated": [0] * number,
        "events": [json.dumps([one.key]) for one in clips],
        **dict.fromkeys(("url", "h264_path"), [""] * number),
    }


def _insert_paths(connection: Connection) -> None:
    rng = np.random.default_rng(_SEED + 3)
    camera, time = _moments(rng, PATHS, END - PATH_DAYS * DAY_S, END)
    texts = [_text_of(at) for at in time]
    item = rng.choice(len(CLASSES), PATHS, p=_SHARES)
    place = rng.choice(len(LINES + ZONES), PATHS)
    places = [json.dumps([name]) for name in LINES + ZONES]
    columns: Columns = {
        "source": [NAMES[at] for at in camera],
        "start_time": texts,
        "track_id": [*range(PATHS)],
        "first_time": texts,
        "end_time": [_text_of(at + _PATH_S) for at in time],
        "item_class": [CLASSES[at] for at in item],
        "score": [0.8] * PATHS,
        "points": [json.dumps(_POINTS)] * PATHS,
        "places": [places[at] for at in place],
    }
    insert_columns(connection, "track_paths", columns)


def _insert_settings(connection: Connection) -> None:
    """What people did, how the configuration was changed meanwhile, and what the cameras' views are."""
    rng = np.random.default_rng(_SEED + 4)
    actions = [action.value for action in Action]
    columns: Columns = {
        "time": [_text_of(at) for at in np.sort(rng.uniform(BEGIN, END, AUDIT))],
        "who": [f"person{at}" for at in rng.integers(0, 30, AUDIT)],
        "how": ["password"] * AUDIT,
        "address": ["192.0.2.1"] * AUDIT,
        "action": [actions[at] for at in rng.integers(0, len(actions), AUDIT)],
        "target": [NAMES[at] for at in rng.integers(0, CAMERAS, AUDIT)],
        "outcome": ["done"] * AUDIT,
        "detail": [""] * AUDIT,
    }
    insert_columns(connection, "audit", columns)
    texts = [_settings(number) for number in range(MAX_CHANGES + 1)]
    columns = {
        "time": [_text_of(at) for at in np.linspace(BEGIN, END, MAX_CHANGES, endpoint=False)],
        "who": ["anna"] * MAX_CHANGES,
        "changes": [f"camera {NAMES[number % CAMERAS]!r}: another score" for number in range(MAX_CHANGES)],
        "before": texts[:-1],
        "after": texts[1:],
    }
    insert_columns(connection, "config_changes", columns)
    columns = {
        "source": NAMES,
        "state": ["in_place"] * CAMERAS,
        "since": [_text_of(BEGIN)] * CAMERAS,
        "fits": [1] * CAMERAS,
        "lights": ["{}"] * CAMERAS,
    }
    insert_columns(connection, "camera_views", columns)


def _settings(changes: int) -> str:
    """The configuration after so many changes, each of one camera, in a line of YAML."""
    each = (
        f"{name}: {{url: rtsp://{name}/1, detect: {{min_score: {0.25 + changes // CAMERAS / 100:g}}}}}"
        if number < changes % CAMERAS
        else f"{name}: {{url: rtsp://{name}/1, detect: {{min_score: 0.25}}}}"
        for number, name in enumerate(NAMES)
    )
    return f"cameras: {{{', '.join(each)}}}"


def _add_people(url: str) -> None:
    with closing(AccessStore(url)) as store:
        accounts = Accounts(store, AccessOptions(), Passwords())
        for name, (role, cameras) in PEOPLE.items():
            accounts.add(name, role, PASSWORD, Caller(None), cameras=cameras)


def _sum(url: str) -> None:
    """Hours of the windows, and all days, as the writer sums them; then the hour that goes on is not yet."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    periods = [(DAY_S, BEGIN // DAY_S + day) for day in range(DAYS + 1)]
    periods += [(HOUR_S, number) for number in range(FIRST_WINDOW // HOUR_S, HOUR // HOUR_S)]
    with engine.begin() as connection:
        rollups.note_periods(connection, {(name, *period) for name in NAMES for period in periods})
    while True:
        with engine.begin() as connection:
            if not rollups.roll_up(connection, 10):
                break
    going_on = {(name, length_s, HOUR // length_s) for name in NAMES for length_s in rollups.PERIODS_S}
    with engine.begin() as connection:
        rollups.note_periods(connection, going_on)
    engine.dispose()
