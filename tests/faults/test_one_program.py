"""One program on a machine that is too small: refused passwords, other picture sizes, disks that fill up.

All of it happens to one ``sightline run``, so what one fault does to the others would show as well.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import psutil
import pytest

from sightline.serving.server import TritonServer
from sightline.simulation.rtsp_server import RtspServer
from support.disks import fill, small_disk, with_small_shm
from support.gst import GstCamera, gst_camera
from support.short_server import FORBIDDEN, ShortServer
from support.system import System, leftovers
from support.toy import Passage, write_clip
from support.waiting import until

pytestmark = [pytest.mark.long, pytest.mark.triton, pytest.mark.rtsp]

PASSWORD = "pa55&w0rd"
WRONG = PASSWORD.replace("pa55", "wr0ng")
SLOW_RETRY_S = 60
WINDOW_S = 2
#: Both of a person's ways through the picture, and so a crossing, an entry and an exit, in each size.
SIZES, PART_S = ((320, 192), (240, 320)), 4
RULES = {
    "lines": {"gate": {"points": [[0.4, 0.2], [0.4, 0.95]]}},
    "zones": {"right": {"points": [[0.6, 0.6], [1, 0.6], [1, 0.9], [0.6, 0.9]]}},
}


@dataclass(frozen=True)
class Machine:
    """The program, and the small things around it."""

    system: System
    camera: GstCamera  # that asks for a password
    barred: ShortServer  # that says 403
    disks: tuple[Path, Path]  # of the database, of the spool


@pytest.fixture(scope="module")
def machine(toy_triton: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    (folder / "aside").mkdir()
    standing = write_clip(folder / "standing.mp4", [Passage(0, 1e6)], seconds=5)
    minute = write_clip(folder / "minute.mp4", [], seconds=120, fps=5)
    with contextlib.ExitStack() as stack:
        disks = [stack.enter_context(small_disk(folder / name, "16m")) for name in ("data", "spool")]
        camera = stack.enter_context(gst_camera(minute, "admin", PASSWORD))
        barred = stack.enter_context(ShortServer(FORBIDDEN))
        served = {"standing": standing, "sizes": write_sizes(folder / "sizes.ts")}
        rtsp = stack.enter_context(RtspServer(served))
        gst = f"127.0.0.1:{camera.port}/cam"
        cameras: dict[str, dict[str, Any]] = {
            "standing": {"url": rtsp.url("standing")},
            "sizes": {"url": rtsp.url("sizes"), "rules": RULES},
            "right": {"url": f"rtsp://admin:{{SIGHTLINE_RIGHT}}@{gst}"},
            "wrong": {"url": f"rtsp://admin:{quote(WRONG, safe='')}@{gst}"},
            "barred": {"url": f"rtsp://admin:{quote(PASSWORD, safe='')}@{barred.host}/cam"},
        }
        system = System(
            folder,
            cameras,
            triton_url=toy_triton.grpc_url,
            database_url=f"sqlite:///{disks[0]}/sightline.db",
            prefix=with_small_shm("256k", toy_triton.folder, folder / "aside"),
            environment={"SIGHTLINE_RIGHT": PASSWORD},
            count={"window_s": WINDOW_S},
            database={
                "url": f"sqlite:///{disks[0]}/sightline.db",
                "spool_path": str(disks[1] / "spool.db"),
            },
        )
        stack.enter_context(system)
        yield Machine(system, camera, barred, (disks[0], disks[1]))
        assert system.stop() < 10
    assert leftovers() == []


def write_sizes(path: Path) -> Path:
    """One stream that changes its size: the same scene in each of the sizes, without a seam in time."""
    with av.open(str(path), "w") as sink:
        outer: av.VideoStream | None = None
        for number, size in enumerate(SIZES):
            scene = [Passage(0.5, 3)]
            part = write_clip(path.with_name(f"part{number}.ts"), scene, seconds=PART_S, size=size)
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                outer = outer or sink.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.pts is None or packet.dts is None or packet.time_base is None:
                        continue  # the last one, which is empty
                    shift = round(number * PART_S / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = outer
                    sink.mux(packet)
    return path


@pytest.mark.fault(4)
def test_refused_cameras_have_a_status_of_their_own_and_are_left_alone_for_a_minute(machine: Machine) -> None:
    system = machine.system
    system.until_state("right", "online")
    for name in ("wrong", "barred"):
        system.until_state(name, "unauthorized")
    connections = machine.camera.connections, machine.barred.connections
    time.sleep(8)  # a camera that is merely away is tried three times meanwhile
    assert (machine.camera.connections, machine.barred.connections) == connections, "cameras lock accounts"
    assert system.camera("right")["reconnects_total"] == 0
    retries = dict(re.findall(r"camera (\w+): .* refused .*; next try in (\d+) s", system.log()))
    assert set(retries) == {"wrong", "barred"}
    assert min(map(int, retries.values())) >= SLOW_RETRY_S


@pytest.mark.fault(4)
def test_no_password_is_to_be_seen_anywhere(machine: Machine) -> None:
    system = machine.system
    system.until_state("right", "online")
    for name in ("wrong", "barred"):
        system.until_state(name, "unauthorized")
    assert system.process is not None
    program = psutil.Process(system.process.pid)
    children = program.children(recursive=True)
    assert set(system.workers()) < set(children)
    seen = {f"{path} of the program": system.get(path)[1] for path in ("/status", "/metrics", "/healthz")}
    seen |= {f"arguments of {one}": str(one.cmdline()) for one in (program, *children)}
    seen |= {f"environment of {one}": str(one.environ()) for one in children}
    written = (path for path in system.folder.rglob("*") if path.is_file() and path.name != "config.yml")
    seen |= {str(path): path.read_bytes().decode(errors="replace") for path in written}
    assert {Path(name).name for name in seen} >= {"log", "sightline.db", "spool.db"}
    assert [name for name, text in seen.items() if re.search("w0rd|pa55|wr0ng", text)] == []


@pytest.mark.fault(7)
def test_lines_and_zones_are_in_their_place_after_another_resolution_mid_stream(machine: Machine) -> None:
    def times(kind: str) -> list[float]:
        events = machine.system.events("sizes")
        return [event["event_time"].timestamp() for event in events if event["kind"] == kind]

    until(lambda: len(times("leave")) >= 4, 40)
    assert machine.system.camera("sizes")["reconnects_total"] == 0, "the stream was opened anew instead"
    crossings, entries = times("crossing"), times("enter")
    assert [b - a for a, b in pairwise(crossings)] == pytest.approx([PART_S] * (len(crossings) - 1), abs=0.25)
    way_s = 2.5 * (0.6 - 0.4) / 0.8  # from the line to the zone
    steps = [b - a for a, b in zip(crossings, entries, strict=False)]
    assert steps == pytest.approx([way_s] * len(steps), abs=0.25)
    persons = sum(row["arrivals"] for row in machine.system.rows("count_windows") if row["source"] == "sizes")
    assert persons - len(entries) in {0, 1}, "a change of size counts nobody twice"


@pytest.mark.fault(19)
def test_too_little_shared_memory_is_said_with_the_number_and_costs_no_worker(machine: Machine) -> None:
    system = machine.system
    for name in ("standing", "sizes"):
        system.until_state(name, "online")
        system.until_frames(name, 10)
        status = system.camera(name)
        assert status["transport"] == "grpc"
        assert re.search(r"/dev/shm has no room for \d+\.\d MB .* enlarge it", status["transport_message"])
    assert len(re.findall("WARNING .* /dev/shm has no room for", system.log())) == len(system.workers())
    restarts = re.findall(r"^sightline_worker_restarts_total.* (.*)$", system.get("/metrics")[1], re.M)
    assert set(map(float, restarts)) == {0.0}, "a bus error, perhaps"


@pytest.mark.fault(21)
def test_full_disks_alarm_and_lose_nothing(machine: Machine) -> None:
    system, (data, spool) = machine.system, machine.disks

    def writer() -> dict[str, Any]:
        body = json.loads(system.get("/healthz")[1])
        return body["writer"] | {"problems": " ".join(body["problems"])}

    def watch(windows: int) -> None:
        system.until_frames("standing", windows * WINDOW_S * 10)
        assert system.camera("standing")["state"] == "online"

    system.until_state("standing", "online")
    watch(2)
    workers, began = system.workers(), time.time()
    no_data = fill(data)
    until(lambda: writer()["state"] == "spooling", 30)
    assert system.get("/healthz")[0] == 503
    assert "full" in writer()["problems"]
    watch(3)
    no_spool = fill(spool)
    until(lambda: writer()["state"] == "memory", 30)
    assert writer()["alarm"]
    watch(3)
    no_spool.unlink()
    until(lambda: not writer()["alarm"], 30)
    no_data.unlink()
    until(lambda: system.get("/healthz")[0] == 200 and not writer()["pending_records"], 30)
    ended = time.time()
    watch(2)
    assert system.workers() == workers
    assert writer()["dropped_records"] == 0
    check_windows(system, began, ended)


def check_windows(system: System, began: float, ended: float) -> None:
    """Every window of "standing" is there, watched as a whole, and saw the one person."""
    rows = {row["window_start"]: row for row in system.rows("source_windows") if row["source"] == "standing"}
    counts = {
        row["window_start"]: row["count"]
        for row in system.rows("count_windows")
        if row["source"] == "standing"
    }
    starts = range(int(began // WINDOW_S + 1) * WINDOW_S, int(ended // WINDOW_S) * WINDOW_S, WINDOW_S)
    names = [time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(start)) for start in starts]
    assert len(names) > 4
    assert [name for name in names if name not in rows] == [], f"lost; there are {list(rows)[:3]} …"
    assert min(rows[name]["coverage"] for name in names) > 0.9
    assert [counts.get(name) for name in names] == [1] * len(names)
