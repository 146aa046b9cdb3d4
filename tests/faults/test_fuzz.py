"""Whatever a file, a URL, a camera's clock or a model's names hold: an error of ours, or a right result.

In ``make test-faults`` each of these takes some seconds. ``SIGHTLINE_FUZZ_S`` is for how long each goes on
instead, as in ``make soak``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sightline.analysis.chain import CameraAnalysis
from sightline.analysis.options import analysis_options
from sightline.analysis.timebase import Timebase
from sightline.base.redact import redact
from sightline.config import Camera, Config, LoadedConfig, load_config, parse_config
from sightline.entities import CameraState, CameraStatus, CountWindow, Event, EventKind, SourceWindow
from sightline.errors import ConfigError, SourceError, StoreError
from sightline.store.database import Store
from sightline.store.dialects import parse_url
from sightline.store.kinds import KINDS, PendingRow, pending_row
from sightline.store.spool import Spool
from sightline.store.tables import OutboxRow, table_of
from sightline.video import container
from sightline.video.clock import MAX_EARLY_S, MAX_LATE_S, CaptureClock, FpsGate, UtcClock
from sightline.video.timeline import PtsStep, RecordedTimes, Timeline

FUZZ_S = float(os.environ.get("SIGHTLINE_FUZZ_S", "0"))
EXAMPLES = 150
#: What grows with the square of its input takes minutes, and the largest files seconds where it is slow.
MAX_S, MAX_KB = 5.0, 200_000
EXAMPLE = Path(__file__).resolve().parents[2] / "config.example.yml"

pytestmark = pytest.mark.timeout(300 + FUZZ_S)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most some seconds of processor time and 200 MB."""
    started_s, peak_kb = time.thread_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.thread_time() - started_s < MAX_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kb < MAX_KB


def fuzz(check: Callable[..., None], **values: SearchStrategy[Any]) -> None:
    """Try ``check`` with many values."""
    options = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    run, until_s = options(given(**values)(bounded()(check))), time.monotonic() + FUZZ_S
    run()
    while time.monotonic() < until_s:
        run()


# -- the configuration --------------------------------------------------------------------------------------

#: What stands in YAML where a value is expected, and is none, or too much of one.
VALUES = re.findall(
    r"\S+",
    r"""null ~ yes 0 -1 1e400 .inf -.inf .nan 1:30 0x_ 0b_ 1_0 0o7 ' " | > % [] {} [[]] - *a !x [1,a] ü 🎥
    2024-01-01 2024-13-45 2024-01-01T25:00:00 0001-01-01T00:00:00+99:99
    {a:{}} {[a]:b} &a[*a] "\0" "\ud800" "\U00110000" "\x7f" "\n"
    rtsp://u:p@h/ rtsp://[::1 postgresql://u:p@h:x/d sqlite:////x {SIGHTLINE_FUZZ} ${SIGHTLINE_FUZZ}
    [[0,0],[1,1]] [[0,0],[1,.nan]] [[0.1,0.1]]""",
)
VALUES += [
    "",
    "{? a : b}",
    "- a",
    "<<: *a",
    "&a [*a]",
    "&a {a: *a}",
    "\ufeff",
    "\u2028",
    "{a: {}}",
    "{[a]: b}",
]
VALUES += ["!!int x", "!!bool x", "!!timestamp x", "!!binary x", "!!set {a}", "!!pairs [a: 1]", "!!str [1]"]
VALUES += ["x" * 5000, "9" * 5000, "x" * 300, "9" * 2900, f"[[0, 0], [{'9' * 500}, 1]]"]
VALUES += [piece * 40 for piece in ("[", "{a: ", "- ", "? ")]
KEYS = sorted({line.split(":")[0].strip(" #") for line in EXAMPLE.read_text().splitlines() if ":" in line})
TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
SNIPPETS = st.one_of(
    st.sampled_from(VALUES),
    st.builds("{}: {}\n".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
    st.builds("\n  {}: &a {{{}: {}}}\n".format, *[st.sampled_from(KEYS)] * 2, st.sampled_from(VALUES)),
    st.builds("\n{}<<: [*a, *a, *a]\n".format, st.sampled_from(["", "  ", "    "])),
    TEXTS,
)
#: Place, how much of the old text goes (-1: to the end of the line), and what comes instead.
CHANGES = st.tuples(st.floats(0, 1), st.integers(-3, 60), SNIPPETS)


def mutated(changes: list[tuple[float, int, str]], tail: bytes) -> bytes:
    """The sample with pieces of it replaced."""
    text = EXAMPLE.read_text(encoding="utf-8")
    for place, gone, new in changes:
        at = round(place * len(text))
        end = text.find("\n", at) if gone < 0 else at + gone
        text = text[:at] + new + text[max(end, at) :]
    return text.encode("utf-8", "surrogatepass") + tail


def in_braces(items: dict[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"


def tree(depth: int) -> SearchStrategy[str]:
    """YAML in flow style: known keys and any values, nested at random."""
    values = st.one_of(st.sampled_from(VALUES), st.just("{}"))
    if not depth:
        return values
    keys = st.sampled_from([*KEYS, "a", "x-y", "'<<'", '"\\ud800"'])
    maps = st.dictionaries(keys, tree(depth - 1), max_size=5).map(in_braces)
    return st.one_of(
        values, maps, maps, st.lists(values, max_size=4).map(lambda items: f"[{', '.join(items)}]")
    )


def read(path: Path, data: bytes) -> Sequence[ConfigError]:
    """Load a file: each mistake names its place and says what to do, and what is accepted can be used."""
    path.write_bytes(data)
    try:
        loaded = load_config(path, on_disk=True)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = loaded.problems
        use(loaded)
    for problem in problems:
        assert problem.problem
        if not problem.key:
            whole = ("must be a map", "holds more", "is nested too deeply", "is larger")
            assert problem.place.startswith(f"{path}:") or problem.problem.startswith(whole)
        told = str(problem)
        told.encode()
        assert len(told) < 10_000
        assert "\n" not in told
    return problems


def use(loaded: LoadedConfig) -> None:
    """What the program does with a configuration before anything is connected."""
    for camera in loaded.cameras.values():
        json.dumps(camera.shaping_options(), allow_nan=False).encode()
        assert camera.config_hash
        CameraAnalysis(analysis_options(camera))
        list(camera.changes_to(Camera(name="a", url="rtsp://h/")))
    list(Config().changes_to(loaded.options))
    loaded.options.triton.url.encode()
    try:
        parse_url(loaded.options.database.url.get_secret_value())
    except StoreError as error:
        assert "must be sqlite" in str(error)


@pytest.mark.fault(30)
def test_no_file_brings_the_loader_down(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"

    def check(changes: list[tuple[float, int, str]], tail: bytes) -> None:
        read(path, mutated(changes, tail))

    fuzz(
        check,
        changes=st.lists(CHANGES, min_size=1, max_size=6),
        tail=st.just(b"") | st.binary(max_size=8),
    )


@pytest.mark.fault(30)
def test_no_value_brings_the_loader_down(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"

    def check(top: str, cameras: list[tuple[str, str]]) -> None:
        named = ", ".join(f"{name}: {value}" for name, value in cameras)
        inside = top.removeprefix("{").removesuffix("}") if top.startswith("{") else ""
        read(path, f"{{cameras: {{first: &a {{url: 'rtsp://h/'}}, {named}}}, {inside}}}".encode())

    names = st.sampled_from(["door", "a b", '"\\0"', "x" * 70, "*a"])
    fuzz(check, top=tree(3), cameras=st.lists(st.tuples(names, tree(4)), max_size=3))


#: Eight levels of nine merges each of the one before.
BOMB = "a: &a {k: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}\n" for a, b in itertools.pairwise("abcdefghi")
)
MANY = f"a: &a {in_braces({f'k{i}': '1' for i in range(3000)})}\nb:\n" + "- {<<: *a}\n" * 1000


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "'i': is not a known key"),
        (MANY, ":36: holds more than"),
        ("".join(f"unknown{i}: 1\n" for i in range(5000)), "4900 more mistakes"),
        ("count: {window_s: " + "9" * 2900 + "}\n", "count.window_s"),
        ("stream: {fps: " + "9" * 2900 + "}\n", "stream.fps"),
        ("stream: {max_clock_skew_s: .nan}\n", "is infinite or not a number"),
        ("a: x" + "x" * 4000, ":1: has a text of more than"),
        ("a: !!bool x\n", ":1: has a value that YAML cannot read"),
        ('a:\n- "\\0"\n', ":2: has a line break or control character"),
        ('a:\n- "\\ud800"\n', ":2: has a line break or control character"),
        ("\n\nname: \x07", ":3: has a character that no text has"),
        ('\na: "\\U00110000"', ":2: is not YAML"),
        ("x" * 5_000_000, "is larger than"),
        (f"database: {{spool_path: {'x' * 300}}}", "is longer than a name may be"),
        (f"database: {{url: 'sqlite:///{'x' * 300}/a.db'}}", "is longer than a name may be"),
    ],
    ids=range(15),
)
def test_what_was_found_in_files(tmp_path: Path, text: str, problem: str) -> None:
    with bounded():
        told = "\n".join(map(str, read(tmp_path / "config.yml", text.encode())))
    assert re.search(problem, told)


# -- URLs ---------------------------------------------------------------------------------------------------

#: What must not come through, with anything between.
SECRET_ENDS = ("S3CR", "E7S")
SIGNS = st.sampled_from("a1:@'\"/?#%[]{}()<>,;&=+!$*|\\^`~.-_ \t\xa0\u2028ü🎥")
SECRETS = st.text(SIGNS | st.characters(), max_size=8).map(lambda text: text.join(SECRET_ENDS))
HOSTS = st.sampled_from(["h", "10.0.0.9:554", "[::1]", "a..b", "ü.example", "h:0", "h:99999", "x" * 70, ""])
PATHS = st.sampled_from(
    ["", "/", "/live@2", "/a b", "/%00", "/{x}", "/a'b", "?x=1", "#f", "/user=a_password="]
)
PARAMETERS = ("password", "pwd", "token", "access_token", "api_key", "auth", "USER", "usr", "secret", "sig")


@st.composite
def urls(draw: Callable[[Any], Any]) -> str:
    """A camera's URL with a secret in its user info, in a parameter, or in its path."""
    scheme = draw(st.sampled_from(["rtsp", "RTSPS", "http", "https", "file", "rt\tsp", "ftp", "x" * 30]))
    secret, host, path = draw(SECRETS), draw(HOSTS), draw(PATHS)
    if draw(st.booleans()):  # a parameter ends at these
        value = f"{draw(st.sampled_from(PARAMETERS))}={re.sub('[&;#]', '', secret)}"
        return f"{scheme}://{host}{path}{draw(st.sampled_from(['?', '?a=b&', '/', '/x;', '/x_']))}{value}"
    user = draw(st.sampled_from(["admin:", ":", ""]))
    # A slash is a part of the user info only where nothing else can be meant.
    secret = re.sub("@" if user else "[/?#@]", "", secret)
    return f"{scheme}://{user}{secret}@{host}{path}"


def never_resolve(host: str, *_: Any) -> None:
    host.encode("idna")
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


@pytest.mark.fault(30)
def test_no_url_tells_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", never_resolve)

    def check(url: str) -> None:
        raw = {"allow": {"files": True, "http": True}, "cameras": {"door": {"url": url}, url: None}}
        loaded = parse_config(raw)
        texts = [repr(loaded), *map(str, loaded.problems), *loaded.misconfigured]
        for camera in loaded.cameras.values():
            texts.append(str(camera))
            try:
                container.check_name(camera)
            except SourceError as error:
                texts.append(str(error))
            json.dumps(container._options(camera, 1.0))
            if container.is_file(url):
                continue  # a path has no secret
            forms = (url, f"'{url}'", f'"{url}"', f"<{url}>", f"({url}),", f"{{'url': {url!r}, 'x': 1}}")
            texts += [redact(f"opening {form} failed") for form in forms]
        for text in texts:
            assert not any(end in text for end in SECRET_ENDS), text

    fuzz(check, url=urls())


@pytest.mark.fault(30)
def test_any_text_is_redacted_in_time() -> None:
    pieces = st.sampled_from(["rtsp://", "a", "://", ":", "@", "'", "password=", "-", "=", " ", "u:p@h"])

    def check(piece: str, other: str, times: int) -> None:
        for text in ((piece + other) * times, piece * times + other * times):
            assert len(redact(text)) <= 2 * len(text) + 10

    fuzz(check, piece=pieces, other=pieces, times=st.integers(1, 3000))


# -- time ---------------------------------------------------------------------------------------------------

STEPS_S = st.one_of(
    st.floats(0.001, 0.2), st.sampled_from([0.001, 0.04, 0.1, 5.0, 30.0, 3600.0]), st.floats(0.001, 1e5)
)
ODD_S = [None, math.nan, math.inf, -math.inf, 0.0, -1.0, 1e300, -1e300, 2.0**63, -(2.0**63), 9.9e9, 95443.7]
TIMES_S = st.one_of(st.sampled_from(ODD_S), st.floats(allow_nan=True), st.floats(-1e6, 1e6))
#: Of each frame: how much later it arrives, how much later it is stamped, and what is stamped else.
MEDIA = st.lists(st.tuples(STEPS_S, st.none() | STEPS_S, TIMES_S), min_size=1, max_size=150)
#: What a wall clock is set by.
SETS_S = st.lists(st.sampled_from([0.0] * 20 + [3600.0, -3600.0, -0.3, 0.3]), min_size=150, max_size=150)


def stamps(media: list[tuple[float, float | None, float | None]]) -> Iterator[tuple[float | None, float]]:
    """Media time, and seconds to the arrival from that of the frame before."""
    media_s = 0.0
    for wait_s, step_s, odd_s in media:
        media_s += step_s or 0.0
        yield (odd_s if step_s is None else media_s), wait_s


class Hands:
    """A wall clock, which may be set, and a monotonic clock."""

    wall_s, monotonic_s = 1.7e9, 500.0

    def clock(self) -> UtcClock:
        return UtcClock(lambda: self.wall_s, lambda: self.monotonic_s)


@pytest.mark.fault(6, 23)
def test_whatever_a_camera_stamps_capture_time_rises_and_stays_near_arrival() -> None:
    def check(media: list[Any], sets_s: list[float], camera_time: float | None) -> None:
        hands = Hands()
        utc = hands.clock()
        clock, timeline, gate = CaptureClock(utc), Timeline(), FpsGate(5.0)
        by_arrival, last = False, -math.inf
        for (media_s, wait_s), set_s in zip(stamps(media), sets_s, strict=False):
            hands.monotonic_s += wait_s
            hands.wall_s += wait_s + set_s
            received_s = hands.monotonic_s
            step = timeline.step(media_s, received_s)
            if step is PtsStep.STRAY:
                continue
            if step is PtsStep.JUMP or by_arrival != (step is PtsStep.UNTIMED):
                by_arrival = step is PtsStep.UNTIMED
                clock.restart()
                gate.restart()
            if by_arrival or media_s is None:
                assert by_arrival
                gate.passes(received_s)
                captured, _ = clock.stamp_arrival(received_s)
            else:
                gate.passes(media_s)
                captured, _ = clock.stamp_live(media_s, received_s, camera_time)
            arrived = utc.now()
            assert captured > last
            assert arrived - MAX_LATE_S - 0.01 <= captured <= arrived + MAX_EARLY_S + 0.2
            last = captured

    # A camera's clock that is believed may be off by max_clock_skew_s; these are never believed.
    fuzz(check, media=MEDIA, sets_s=SETS_S, camera_time=st.sampled_from([None, 0.0, 9e12, -9e12]))


@pytest.mark.fault(6)
def test_whatever_a_file_stamps_its_time_rises() -> None:
    def check(media: list[Any], dts: list[float | None], period_s: float) -> None:
        times, clock = RecordedTimes(period_s), CaptureClock(Hands().clock())
        pairs = zip(stamps(media), itertools.cycle(dts), strict=False)
        risen = [times.next(pts_s, dts_s) for (pts_s, _), dts_s in pairs]
        captured = [clock.stamp_recorded(time_s)[0] for time_s in risen]
        assert all(math.isfinite(time_s) for time_s in risen)
        assert all(a < b for a, b in itertools.pairwise(risen))
        assert all(a < b for a, b in itertools.pairwise(captured))

    fuzz(check, media=MEDIA, dts=st.lists(TIMES_S, min_size=1, max_size=20), period_s=st.floats(1 / 240, 1.0))


@pytest.mark.fault(6, 23)
def test_whatever_comes_watched_time_never_goes_back() -> None:
    def check(times: list[float], cut: int, max_gap_s: float) -> None:
        timebase, watched_s = Timebase(max_gap_s), 0.0
        for number, capture_time in enumerate(times):
            if number == cut:
                state = json.loads(json.dumps(timebase.snapshot()))
                timebase, watched_s = Timebase(max_gap_s, state), 0.0
            moment = timebase.advance(capture_time)
            assert min(moment.step_s, moment.elapsed_s) >= 0
            assert moment.usual_s > 0
            assert moment.watched_s >= watched_s
            assert moment.covered[1] <= capture_time
            watched_s = moment.watched_s

    times = st.lists(st.floats(0, 4e9) | st.sampled_from([1e9, 1e9 + 0.1, 1e9 + 0.2, 1e9 + 60]), max_size=60)
    fuzz(check, times=times, cut=st.integers(0, 60), max_gap_s=st.floats(0.001, 3600))


# -- keys of rows -------------------------------------------------------------------------------------------

#: Names that differ where it is easily overlooked.
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=()), min_size=1, max_size=6),
    st.builds("{}{}".format, st.sampled_from(["x" * 99, "x" * 100, "x" * 254, "🎥" * 255, "person"]), TEXTS),
    st.sampled_from(["a", "a\x00", "a\x1fb", "a\ud800", "a\udfff", "a\ufffd", "a\\ud800", "A", "a ", ""]),
    st.sampled_from(["a\u0301", "\xe1"]),
)


def rows_of(tuples: set[tuple[str, str, int]]) -> list[PendingRow]:
    """A count and an event of each source, name and number; a window and a status of each source."""
    rows, start = [], 1e9
    for number, (source, name, track_id) in enumerate(sorted(tuples)):
        end = start + 10 * track_id + 10
        entities: list[Any] = [
            CountWindow(source, name, number, start, end),
            Event(source, EventKind.ENTER, name, track_id, name, start + 1, start + 1, first_time=start),
            SourceWindow(source, start, start + 10, 1.0, 5.0, 0, "pts", name, name),
            CameraStatus(source, CameraState.ONLINE, name, start, warnings=(name,), occupancy={name: 1}),
        ]
        rows += [pending_row(entity, number + 1) for entity in entities]
    return rows


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.open()
    yield store
    store.close()


@pytest.mark.fault(30)
def test_whatever_things_are_called_their_rows_are_kept_apart(store: Store, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 100_000_000)

    def check(tuples: set[tuple[str, str, int]]) -> None:
        rows, sources = rows_of(tuples), {source for source, _, _ in tuples}
        assert [row.key for row in rows] == [row.key for row in rows_of(tuples)]
        by_kind: dict[str, dict[str, PendingRow]] = {}
        for row in rows:
            by_kind.setdefault(row.kind.name, {})[row.key] = row
        numbers = {name: len(kept) for name, kept in by_kind.items()}
        assert set(map(numbers.get, ("count", "event"))) == {len(tuples)}
        assert set(map(numbers.get, ("window", "status"))) == {len(sources)}
        spool.put(replace(row, sinks=("s",) if row.kind.urgent else ()) for row in rows)
        kept = spool.oldest(100_000, -1)
        newest = {row.key: json.dumps(dict(row.values)) for row in rows}
        assert {row.key: json.dumps(dict(row.values)) for row in kept} == newest
        spool.remove_up_to(len(tuples) + 1)
        store.write_rows(kept)
        assert store.rejected_rows == 0
        check_stored(store._engine, by_kind)

    fuzz(check, tuples=st.sets(st.tuples(NAMES, NAMES, st.integers(0, 2)), min_size=1, max_size=12))
    spool.close()


def check_stored(engine: sa.Engine, by_kind: dict[str, dict[str, PendingRow]]) -> None:
    """Each row is in its table once, under the names of its key; then the tables are emptied."""
    with engine.begin() as connection:
        for name, rows in by_kind.items():
            kind = KINDS[name]
            names = [
                key for key in kind.key if isinstance(kind.table.c.get(key, sa.Column()).type, sa.String)
            ]
            stored = connection.execute(sa.select(*(kind.table.c[key] for key in names)))
            expected = (tuple(str(row.values[key]) for key in names) for row in rows.values())
            assert sorted(map(tuple, stored)) == sorted(expected)
            connection.execute(sa.delete(kind.table))
        outbox = table_of(OutboxRow)
        assert set(connection.execute(sa.select(outbox.c.key)).scalars()) == set(by_kind["event"])
        connection.execute(sa.delete(outbox))
