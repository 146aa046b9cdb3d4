"""How soon people are told: from the moment in the scene to the alert that has arrived, by kind of event.

    python tools/bench/told.py --json artifacts/told.json             # four cameras for 15 minutes
    python tools/bench/told.py --length 60                            # a short look

Simulated cameras whose truth is known are played over RTSP, over and over, and watched by the real Triton and
``sightline run``. Every event makes an alert, which goes by e-mail to a real SMTP server and signed to a
webhook; it has arrived when both have it. The moment is a crossing's on the line, an entry's first step
inside, a loiterer's entry and his threshold, and the entry that exceeds an occupancy. Since few zones are
exceeded often, each is there several times over, with a limit of its own each; only occupancy is told of the
copies.

``ours`` is what passes from the moment at which the frame was taken after which an event is certain: that
frame's way through encoder, RTSP, decoder and detector is in it. ``stages`` tells of the same time how long
each step of the way took (of the two ways to people, the slower one), and ``slowest`` which steps made the
events late that were told last. Lost are events in the database that were not told, doubled those told under
two keys; claims of what did not happen are counted, and have no latency from the scene.
"""

import contextlib
import json
import re
import sys
import threading
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from aiosmtpd.controller import Controller

from sightline.base.signals import stop_on_signals
from sightline.serving.server import TritonServer
from sightline.simulation.demo import SIMULATED, bundled_model, prepare_model
from sightline.simulation.rtsp_server import free_port
from sightline.simulation.scenes.scene_places import camera_places
from sightline.simulation.scenes.spec import SceneSpec
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence
from sightline.simulation.selftest.ground_truth import GroundTruth, Happening, SimulatedCamera, prepare
from sightline.simulation.selftest.runner import Play, run_and_collect
from sightline.simulation.stack import progress

KINDS = ("enter", "crossing", "loiter", "occupancy")
WANTED = 200  # events of each kind, for a figure that means something
LAP_S = 240.0
LOITER_S = 4.0
OVER = " over "  # between a zone's name and the occupancy that its copy must not exceed
LIMITS = {
    "crossing": (0, 1, 2, 3),
    "far pavement": (1, 2, 3, 4),
    "hall": (6, 7, 8, 9),
    "entrance": (0, 1, 2),
    "inside": (0, 1, 2, 3),
}
TOLERANCE_S = 1.5  # between an event and what it claims
LINK = "http://console.example"
#: Stations of an event, and what passes from one to the next.
STATIONS = ("certain", "tracked", "row", "notification", "sent", "received")
Way = tuple[float, float]  # when the other side was spoken to, and when it had everything

say = progress("told")


def places(spec: SceneSpec) -> dict[str, Any]:
    """``rules`` of a camera that sees the scene: who stays is a loiterer, and zones have their copies."""
    rules = camera_places(spec)
    for name, zone in list(rules["zones"].items()):
        for most in LIMITS.get(name, ()):
            rules["zones"][f"{name}{OVER}{most}"] = {**zone, "loiter_s": None, "max_occupancy": most}
        rules["zones"][name] = {**zone, "loiter_s": LOITER_S}
    return rules


@dataclass
class Arrivals:
    """When each alert came, by its id; filled by the servers' threads."""

    mail: dict[str, Way] = field(default_factory=dict)
    hook: dict[str, Way] = field(default_factory=dict)
    notified: dict[str, float] = field(default_factory=dict)  # as its notification says
    events: dict[str, list[str]] = field(default_factory=dict)  # the keys of those that it is about


@contextlib.contextmanager
def receivers(arrivals: Arrivals) -> Iterator[dict[str, dict[str, str]]]:
    """A real SMTP server and a webhook's; gives the routes to them."""

    class SmtpHandler:
        async def handle_MAIL(  # noqa: N802  as called
            self, _server: Any, session: Any, envelope: Any, address: str, _options: Any
        ) -> str:
            session.began, envelope.mail_from = time.time(), address
            return "250 go on"

        async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            now = time.time()
            body = message_from_bytes(envelope.content, policy=policy.default).get_body(("plain", "html"))
            found = re.search(r"alert=([0-9a-f-]{36})", body.get_content() if body is not None else "")
            if found:
                arrivals.mail.setdefault(found.group(1), (session.began, now))
            return "250 taken"

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            began = time.time()
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["transition"] == "opened":
                alert_id = body["alert"]["alert_id"]
                arrivals.hook.setdefault(alert_id, (began, time.time()))
                arrivals.notified[alert_id] = datetime.fromisoformat(body["time"]).timestamp()
                arrivals.events[alert_id] = body["alert"]["events"]
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    mailbox = Controller(SmtpHandler(), hostname="127.0.0.1", port=free_port())
    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    mailbox.start()
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    try:
        people = "from=sightline@example.org&to=guards@example.org&mode=insecure"
        yield {
            "mail": {"apprise": f"mailto://127.0.0.1:{mailbox.port}/?{people}"},
            "hook": {"webhook": f"http://127.0.0.1:{hook.server_port}/", "secret": "told"},
        }
    finally:
        mailbox.stop()
        hook.shutdown()
        hook.server_close()


@dataclass(frozen=True, slots=True)
class Told:
    """An event that people were told of, and when it passed each of :data:`STATIONS` (UTC epoch seconds)."""

    kind: str
    happened: float | None  # the moment in the scene; None: nothing of the kind is near
    times: tuple[float, ...]

    @property
    def ours_s(self) -> float:
        """From the frame that made it certain until people had it."""
        return self.times[-1] - self.times[0]

    @property
    def steps_s(self) -> dict[str, float]:
        """What passed from each station to the next."""
        steps = zip(pairwise(STATIONS), pairwise(self.times), strict=True)
        return {f"{a} to {b}": after - before for (a, b), (before, after) in steps}


class Laps:
    """A camera whose video is played over and over: when its pictures were due, by their capture times.

    Args:
        truth: of one lap.
        evidence: what the pipeline wrote of all laps.
        began_time: UTC epoch seconds at which the first lap's second 0 was due.
    """

    def __init__(self, truth: GroundTruth, evidence: Evidence, began_time: float) -> None:
        self._began_time, self._lap_s = began_time, truth.length_s
        read = [(f.capture_time, f.scene_s, f.tracked_time) for f in evidence.frames if f.scene_s is not None]
        self._captured, self._scene_s, self._tracked = np.array(read or np.empty((0, 3))).T
        self._happened: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for happening in truth.happenings:
            for kind, late_s in _told_as(happening):
                self._happened[kind, happening.place].append(happening.time_s + late_s)

    def due(self, capture_time: float) -> float:
        """When the picture was due to be taken that has this capture time."""
        nearest = self._nearest(capture_time)
        scene_s = float(self._scene_s[nearest] + capture_time - self._captured[nearest])
        laps = round((capture_time - self._began_time - scene_s) / self._lap_s)
        return self._began_time + laps * self._lap_s + scene_s

    def tracked(self, capture_time: float) -> float:
        """When the tracks of that picture were known."""
        return float(self._tracked[self._nearest(capture_time)])

    def happened(self, event: ClaimedEvent) -> float | None:
        """The moment that the event is about; None where nothing of the kind is near."""
        due = self.due(event.event_time)
        lap_began = due - (due - self._began_time) % self._lap_s
        times = self._happened.get((event.kind, event.place.partition(OVER)[0]), [np.inf])
        near = np.array(times) + lap_began
        nearest = float(near[np.abs(near - due).argmin()])
        return nearest if abs(nearest - due) <= TOLERANCE_S else None

    def _nearest(self, capture_time: float) -> int:
        return int(np.abs(self._captured - capture_time).argmin())


def _told_as(happening: Happening) -> list[tuple[str, float]]:
    if happening.what == "enter":
        return [("enter", 0.0), ("occupancy", 0.0), ("loiter", LOITER_S)]
    return [("crossing", 0.0)] if happening.what in ("forward", "backward") else []


def judge(played: Sequence[tuple[str, GroundTruth, Evidence]], arrivals: Arrivals) -> dict[str, Any]:
    """The figures by kind and stage, and what was lost or told twice."""
    alerts_of: defaultdict[str, list[str]] = defaultdict(list)  # by the key of an event
    for alert_id, keys in arrivals.events.items():
        for key in keys:
            alerts_of[key].append(alert_id)
    told: list[Told] = []
    lost = 0
    for _, truth, evidence in played:
        laps = Laps(truth, evidence, evidence.began_time or 0.0)
        for event in filter(_is_told, evidence.events):
            ids = [alert_id for alert_id in alerts_of[event.key] if alert_id in arrivals.mail]
            lost += not ids
            told += [_told(event, laps, ids[0], arrivals)] if ids else []
    return {
        "kinds": {kind: _of_kind([one for one in told if one.kind == kind]) for kind in KINDS},
        "stages": {step: _quantiles([one.steps_s[step] for one in told]) for step in _STEPS},
        "slowest": [
            {"kind": one.kind, "ours": round(one.ours_s, 3)} | _rounded(one.steps_s)
            for one in sorted(told, key=lambda one: -one.ours_s)[:10]
        ],
        "lost": lost,
        "doubled": sum(len(ids) > 1 for ids in alerts_of.values()),
        "unmatched": sum(one.happened is None for one in told),
    }


_STEPS = tuple(f"{a} to {b}" for a, b in pairwise(STATIONS))


def _is_told(event: ClaimedEvent) -> bool:
    """Whether a rule of ours is about the event."""
    if event.kind == "occupancy":
        return event.direction == "above"
    return event.kind in KINDS and OVER not in event.place


def _told(event: ClaimedEvent, laps: Laps, alert_id: str, arrivals: Arrivals) -> Told:
    way = max(arrivals.mail[alert_id], arrivals.hook[alert_id], key=lambda way: way[1])
    known = (laps.due(event.confirmed_time), laps.tracked(event.confirmed_time), event.created_at)
    return Told(event.kind, laps.happened(event), (*known, arrivals.notified[alert_id], *way))


def _of_kind(told: Sequence[Told]) -> dict[str, Any]:
    whole = [one.times[-1] - one.happened for one in told if one.happened is not None]
    figures: dict[str, Any] = {"events": len(whole), **_quantiles(whole)}
    certain = [one.times[0] - one.happened for one in told if one.happened is not None]
    for name, values in (("certain", certain), ("ours", [one.ours_s for one in told])):
        figures |= {f"{name}_{share}": value for share, value in _quantiles(values).items()}
    return figures


def _quantiles(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"p50_s": None, "p99_s": None}
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50_s": round(float(p50), 3), "p99_s": round(float(p99), 3)}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def main() -> int:
    """Play, judge, keep the figures; 1 where something was lost or told twice."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=float, default=900.0, help="seconds (default: %(default)g)")
    parser.add_argument(
        "--lap", type=float, help=f"seconds until videos start over (default: {LAP_S:g}, or LENGTH)"
    )
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, default=Path("artifacts/told"))
    parser.add_argument("--json", type=Path, default=Path("artifacts/told.json"))
    arguments = parser.parse_args()
    stop, folder = stop_on_signals(), arguments.folder.resolve()
    lap_s = arguments.lap or min(LAP_S, arguments.length)
    cameras = [SimulatedCamera(spec, arguments.fps, lap_s) for spec in SIMULATED.values()]
    prepare(cameras, folder / "videos", say, stop=stop)
    arrivals = Arrivals()
    with (
        receivers(arrivals) as routes,
        TritonServer(prepare_model(bundled_model(), folder), log_path=folder / "triton.log") as triton,
    ):
        told = {"routes": list(routes), "cooldown_s": 0}
        known = sorted(
            {place for one in cameras for kind in camera_places(one.spec).values() for place in kind}
        )
        rules = {
            "places": {"kinds": list(KINDS[:-1]), "places": known, **told},
            "occupancy": {"kinds": ["occupancy"], **told},
        }
        alerts = {"routes": routes, "rules": rules, "public_url": LINK}
        play = Play({"alerts": alerts}, places, arguments.length)
        played = run_and_collect(cameras, folder, triton.grpc_url, None, stop, play)
    report = {"length_s": arguments.length, "lap_s": lap_s, "fps": arguments.fps, "cameras": len(cameras)}
    report |= judge(played, arrivals)
    report["fewer_than_200"] = [k for k, figures in report["kinds"].items() if figures["events"] < WANTED]
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if report["lost"] or report["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
