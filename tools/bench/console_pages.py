"""How soon the console's pages are useful in a browser, and how much memory it takes meanwhile.

The console is the real one, `sightline console`, at whose pages it is always a moment of the generated
database; before each visit it forgets the figures that it has read. What it asks stands in for a running
program: its accounts, rights and API are real, and the cameras all do well. Chromium opens each page by its
address, as whoever sees all cameras and as somebody who sees three.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from sightline.access.accounts import Accounts
from sightline.access.passwords import Passwords
from sightline.camera.messages import AskFeature, LiveMessage, Message
from sightline.config.access_options import AccessOptions
from sightline.config.loader import load_config
from sightline.entities import CameraStatus, Event, Role, Variant
from sightline.simulation.rtsp_server import free_port
from sightline.store.access_store import AccessStore
from sightline.store.read.readonly import Database
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Notice
from sightline.supervisor.control import Control
from sightline.supervisor.control_socket import socket_folder
from sightline.supervisor.http.api_live import LiveApi
from sightline.supervisor.http.endpoint import Call
from sightline.supervisor.http.health_pages import HealthPages
from sightline.supervisor.http.http_server import HttpServer
from sightline.supervisor.http.site import Site, api_endpoints
from sightline.supervisor.http.visitors import COOKIE
from sightline.supervisor.live_pictures import LivePictures
from sightline.supervisor.machine_watch import MachineFigures
from sightline.video.picture import encode_jpeg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from bench.console_rows import CLASSES, END, LINES, NAMES, PASSWORD, PEOPLE, ZONES, statuses

ROOT = Path(__file__).resolve().parents[2]
CONSOLE = ROOT / "streamlit_app"
VISITS = 3  # of each page by each person, after one that is not counted
WAIT_S = 60
VERSIONS = 5  # of the network
PICTURES_HZ = 2.0  # of each camera that is watched
_WIDTH, _HEIGHT = 1280, 1000
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    f"--window-size={_WIDTH},{_HEIGHT}",
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the console, and how it is seen that its figures are there."""

    path: str  # of its address
    figures: str  # CSS
    least: int  # of those, for whoever sees all cameras
    charts: int = 0
    of_cameras: bool = False  # each camera has one of the figures
    admins: bool = False  # not for somebody who may only look


PAGES: Mapping[str, Page] = {  # by title
    "Live": Page("", ".tile", 16, of_cameras=True),
    "Review": Page("review", ".queue .row", 1),
    "Overview": Page("overview", "table.sl tbody tr", 50, charts=1, of_cameras=True),
    "Counts": Page("counts", ".sl-tiles .sl-tile", 3, charts=1),
    "Events": Page("events", ".queue .row", 1),
    "Cameras": Page("cameras", "[class*=st-key-open_] button", 10, of_cameras=True, admins=True),
    "Alerts": Page("alerts", "[class*=st-key-rule_] button", 1),
    "Health": Page("health", "table.sl tbody tr", 50, of_cameras=True),
    "People": Page("people", "[class*=st-key-change_] button", 1, admins=True),
    "Models": Page("models", "table.sl tbody tr", VERSIONS, admins=True),
}
#: Milliseconds from the navigation on until the figures are drawn, and all that the page has: Streamlit is at
#: rest, or the page's last line, which those that refresh themselves have, is there.
_DRAWN = """
const [title, selector, least, charts, done] = arguments;
const count = (node, css) => {
  let found = 0;
  for (const child of node.querySelectorAll("*")) {
    if (child.matches(css)) found += 1;
    if (child.shadowRoot) found += count(child.shadowRoot, css);
  }
  return found;
};
const look = () => {
  const state = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState;
  const ended = state === "notRunning" || document.querySelector(".sl-foot");
  const waits = document.querySelector("[data-testid=stSkeleton], [data-testid=stSpinner]");
  const heading = document.querySelector(".sl-title")?.innerText ?? "";
  // The last two walk over the whole page, so they come last.
  const has = (css, least) => !least || count(document, css) >= least;
  if (ended && !waits && heading.includes(title) && has(".chart .plot svg", charts) && has(selector, least))
    done(performance.now());
  else setTimeout(look, 20);
};
look();
"""


class WellCameras:
    """To the HTTP port a supervisor, of cameras that all do well; they show a grey road to whoever looks."""

    beat_s = float("inf")

    def __init__(self, live: LivePictures) -> None:
        self.live = live
        live.owner_of = self.owner_of
        self._statuses = statuses()
        self._wanted: dict[tuple[str, Variant], float] = {}
        self._pictures = {large: _road(*size) for large, size in ((False, (640, 360)), (True, (1280, 720)))}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)
        self._thread.start()

    def statuses(self) -> list[CameraStatus]:
        """Of all of them."""
        return self._statuses

    def reports(self) -> Mapping[str, Any]:
        """No worker tells anything."""
        return {}

    def notices(self) -> tuple[Notice, ...]:
        """There is nothing to say."""
        return ()

    def troubles(self) -> tuple[Event, ...]:
        """Nothing goes on."""
        return ()

    def machine(self) -> MachineFigures:
        """An idle one."""
        return MachineFigures(2, 0.5, (), ())

    def owner_of(self, camera: str) -> "WellCameras":
        """What shows a camera; LookupError: there is none of that name."""
        if camera not in NAMES:
            raise LookupError(camera)
        return self

    def send(self, message: Message) -> None:
        """Show a camera for some seconds."""
        assert isinstance(message, AskFeature)
        watch: Any = message.request
        for variant in watch.variants:
            self._wanted[message.camera, variant] = time.monotonic() + watch.seconds

    def close(self) -> None:
        """Show nothing any more."""
        self._stop.set()
        self._thread.join(5)

    def _show(self) -> None:
        while not self._stop.wait(1 / PICTURES_HZ):
            for (camera, variant), until_s in list(self._wanted.items()):
                if until_s > time.monotonic() and variant is not Variant.DETECTIONS:
                    picture = self._pictures[variant.value.startswith("large")]
                    self.live.take(LiveMessage(camera, variant, {"capture_time": time.time()}, picture))


def _road(width: int, height: int) -> bytes:
    picture = np.full((height * 3 // 2, width), 128, np.uint8)
    picture[:height] = np.linspace(160, 90, height, dtype=np.uint8)[:, None]
    return encode_jpeg(picture, 6)


# -- the program that the console asks --------------------------------------------------------------------


def config_text(url: str, folder: Path, port: int) -> str:
    """Fifty cameras with lines and zones, and rules of alerts."""
    lines = {name: {"points": [[0.3, 0.9], [0.3, 0.2]]} for name in LINES}
    zones = {name: {"points": [[0.4, 0.4], [0.8, 0.4], [0.8, 0.9], [0.4, 0.9]]} for name in ZONES}
    cameras = {name: {"url": f"rtsp://{name}/1", "rules": {"lines": lines, "zones": zones}} for name in NAMES}
    rules = {
        f"{kind}_{place}": {"kinds": [kind], "places": [place]}
        for kind in ("enter", "loiter")
        for place in ZONES
    }
    config = {
        "alerts": {"rules": rules},
        "database": {"url": url, "spool_path": str(folder / "spool.db")},
        "http": {"port": port},
        "models": {"repository": str(folder / "models")},
        "clips": {"folder": str(folder / "clips")},
        "cameras": cameras,
    }
    return json.dumps(config)


def write_versions(repository: Path) -> None:
    """Manifests of some versions of a network; the networks are not there."""
    known: dict[str, Any] = {"class_names": CLASSES, "head": "anchors", "output_shape": [9, 5040]}
    known |= {"network_height": 384, "network_width": 640, "precision": "fp16", "score_floor": 0.05}
    for version in range(1, VERSIONS + 1):
        place = repository / "yolo" / str(version)
        place.mkdir(parents=True)
        own = {"model_version": f"yolo/{version}", "source_sha256": f"{version:064x}", "measured_map": None}
        own |= {"exported_at": f"2026-0{version}-20T10:00:00+00:00"}
        (place / "manifest.json").write_text(json.dumps({**known, **own}))


@contextmanager
def program(url: str, folder: Path) -> Iterator[Path]:
    """The HTTP port of a program with this database; the path of its configuration."""
    path = folder / "config.yml"
    path.write_text(config_text(url, folder, free_port()))
    write_versions(folder / "models")
    config = load_config(path)
    database, store, live = Database(url), AccessStore(url), LivePictures()
    cameras: Any = WellCameras(live)

    async def still_allowed(call: Call) -> bool:
        return await site.door.still_allowed(call)

    control = Control(path, config, lambda _: None)
    pages = HealthPages(cameras, lambda: WriterHealth(owns_database=True, owner="sightline on mill"))
    actions: dict[str, Any] = {"list": lambda *_: []}
    endpoints = [
        *pages.endpoints(),
        *LiveApi(live, still_allowed).endpoints(),
        *api_endpoints(cameras, control, actions, database, store),
    ]
    site = Site(config.options, store, database, endpoints, socket_folder(config.options.database))
    server = HttpServer(config.options.http, site.door.at)
    server.start()
    try:
        yield path
    finally:
        server.stop()
        site.close()
        cameras.close()


# -- the console, and who looks at it -----------------------------------------------------------------------


@contextmanager
def started_console(config: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Its URL, and its process."""
    command = [sys.executable, __file__, "--config", str(config), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        words = server.stdout.readline().split()
        if not words:
            raise SystemExit("the console does not start; what it says stands above")
        yield words[-1], psutil.Process(server.pid)
    finally:
        server.terminate()
        server.communicate(timeout=30)


def serve() -> None:
    """`sightline console` at :data:`END`; it forgets figures that it has read at the signal USR1."""
    import streamlit as st

    sys.path.insert(0, str(CONSOLE))  # as the command does
    from console import viewer
    from sightline.cli import main as sightline

    started = time.time()
    viewer.now = lambda: END + time.time() - started
    signal.signal(signal.SIGUSR1, lambda *_: st.cache_data.clear())
    sys.argv[1:1] = ["console"]
    sys.exit(sightline())


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """Without a window, at its first page as soon as that is there."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.page_load_strategy = "eager"
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        raise SystemExit("pages are looked at in Chromium (Debian: chromium chromium-driver)")
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.set_script_timeout(WAIT_S)
    try:
        yield browser
    finally:
        browser.quit()


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody whose browser opens pages."""

    browser: Any
    url: str  # of the console
    console: psutil.Process
    cameras: int  # that they see

    def seconds_until_drawn(self, title: str) -> float:
        """Of a page whose figures the console has not read before."""
        page = PAGES[title]
        self.console.send_signal(signal.SIGUSR1)
        self.browser.get("about:blank")  # so that the page before asks for nothing any more
        time.sleep(0.5)
        self.browser.get(f"{self.url}/{page.path}")
        least = min(page.least, self.cameras) if page.of_cameras else page.least
        drawn_ms = self.browser.execute_async_script(_DRAWN, title, page.figures, least, page.charts)
        return float(drawn_ms) / 1e3

    def usual_seconds(self, title: str) -> float | None:
        """Of some visits, after one that is not counted; None: it was not drawn within :data:`WAIT_S`."""
        from selenium.common.exceptions import TimeoutException

        try:
            return round(median([self.seconds_until_drawn(title) for _ in range(VISITS + 1)][1:]), 2)
        except TimeoutException:
            return None


def show_pages(url: str, shots: Path | None = None) -> dict[str, Any]:
    """Seconds of each page to each person (None: more than :data:`WAIT_S`), and the console's megabytes.

    Args:
        url: of the generated database.
        shots: where a picture of each is kept.
    """
    useful_s: dict[str, float | None] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sl-console-")))
        config = stack.enter_context(program(url, folder))
        address, console = stack.enter_context(started_console(config))
        browser = stack.enter_context(chromium(folder / "profile"))
        accounts = Accounts(AccessStore(url), AccessOptions(), Passwords())
        for name in PEOPLE:
            signed_in = accounts.sign_in(name, PASSWORD, "127.0.0.1")
            browser.get(f"{address}/auth/sign_in.css")
            browser.delete_all_cookies()
            browser.add_cookie({"name": COOKIE, "value": signed_in.session, "path": "/"})
            person = signed_in.person
            visitor = Visitor(browser, address, console, len(person.cameras or NAMES))
            for title, page in PAGES.items():
                if page.admins and person.role is not Role.ADMIN:
                    continue
                key = title.lower() + ("" if person.cameras is None else ", of three cameras")
                useful_s[key] = visitor.usual_seconds(title)
                if shots is not None:
                    browser.save_screenshot(str(shots / f"{key}.png"))
        parts = [console, *console.children(recursive=True)]
        megabytes = sum(peak_mb(part.pid) for part in parts)
    return {"useful_s": useful_s, "memory_mb": round(megabytes)}


def peak_mb(pid: int) -> float:
    """The most that a process has had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    figures = dict(line.split(":", 1) for line in lines)
    return float(figures["VmHWM"].removesuffix("kB")) / 1e3


if __name__ == "__main__":
    serve()
