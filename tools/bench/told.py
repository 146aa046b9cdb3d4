"""How soon people are told: from the moment in the scene to the alert that has arrived, by kind of event.

    python tools/bench/told.py --json artifacts/told.json             # four cameras for 15 minutes
    python tools/bench/told.py --length 60                            # a short look

Simulated cameras whose truth is known are played over RTSP and watched by the real Triton and ``sightline
run``. Every event makes an alert, which goes by e-mail to a real SMTP server and signed to a webhook; it has
arrived when both have it. The moment is a crossing's on the line, an entry's first step inside, a loiterer's
entry and his threshold, and the entry that exceeds an occupancy. ``ours`` is what passes from the frame after
which an event is certain. Lost are events in the database that were not told, doubled those told under two
keys; claims of what did not happen are counted and have no latency.
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
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from aiosmtpd.controller import Controller

from sightline.base.signals import stop_on_signals
from sightline.serving.server import TritonServer
from sightline.simulation.demo import SIMULATED, bundled_model, prepare_model
from sightline.simulation.rtsp_server import free_port
from sightline.simulation.selftest.evidence import ClaimedEvent, Evidence, scene_clock
from sightline.simulation.selftest.ground_truth import GroundTruth, Happening, SimulatedCamera, prepare
from sightline.simulation.selftest.runner import run_and_collect
from sightline.simulation.stack import progress

KINDS = ("enter", "crossing", "loiter", "occupancy")
WANTED = 200  # events of each kind, for a figure that means something
LOITER_S, MAX_OCCUPANCY = 4.0, 1
TOLERANCE_S = 1.5  # between an event and what it claims
LINK = "http://console.example"
Place = tuple[str, str, str, int]  # source, kind, place, track

say = progress("told")


@dataclass
class Arrivals:
    """When each alert came, by its id; filled by the servers' threads."""

    mail: dict[str, float] = field(default_factory=dict)
    hook: dict[str, float] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)


@contextlib.contextmanager
def receivers(arrivals: Arrivals) -> Iterator[dict[str, dict[str, str]]]:
    """A real SMTP server and a webhook's; gives the routes to them."""

    class SmtpHandler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  as called
            body = message_from_bytes(envelope.content, policy=policy.default).get_body(("plain", "html"))
            found = re.search(r"alert=([0-9a-f-]{36})", body.get_content() if body is not None else "")
            if found:
                arrivals.mail.setdefault(found.group(1), time.time())
            return "250 taken"

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            now, body = time.time(), json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if body["transition"] == "opened":
                arrivals.hook.setdefault(body["alert"]["alert_id"], now)
                arrivals.alerts[body["alert"]["alert_id"]] = body["alert"]
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


def moments(truth: GroundTruth) -> dict[tuple[str, str], list[float]]:
    """By kind and place, the scene's seconds at which something happens that is to be told."""
    happened: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for happening in truth.happenings:
        for kind, late_s in _told_as(happening):
            happened[kind, happening.place].append(happening.time_s + late_s)
    return {key: sorted(times) for key, times in happened.items()}


def _told_as(happening: Happening) -> list[tuple[str, float]]:
    if happening.what == "enter":
        return [("enter", 0.0), ("occupancy", 0.0), ("loiter", LOITER_S)]
    return [("crossing", 0.0)] if happening.what in ("forward", "backward") else []


def judge(played: Sequence[tuple[str, GroundTruth, Evidence]], arrivals: Arrivals) -> dict[str, Any]:
    """The figures by kind, and what was lost or told twice."""
    told: defaultdict[Place, list[str]] = defaultdict(list)
    alerts_of: defaultdict[str, set[str]] = defaultdict(set)  # by the key of an event
    for alert_id, alert in arrivals.alerts.items():
        for key in alert["events"]:
            _, source, kind, place, track, *_ = key.split("\x1f")
            told[source, kind, place, int(track)].append(alert_id)
            alerts_of[key].add(alert_id)
    late: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    lost, unmatched = 0, 0
    for name, truth, evidence in played:
        happened, scene_s = moments(truth), scene_clock(evidence.frames)
        for event in evidence.events:
            if event.kind not in KINDS or event.direction == "below":
                continue
            arrived = _arrival(event, told[name, event.kind, event.place, event.track_id], arrivals)
            if arrived is None:
                lost += 1
                continue
            moment = None if scene_s is None else _nearest(happened, event, scene_s(event.event_time))
            if moment is None or evidence.began_time is None:
                unmatched += 1
                continue
            ours_s = arrived - event.confirmed_time
            late[event.kind].append((arrived - (evidence.began_time + moment), ours_s))
    return {
        "kinds": {kind: _figures(late[kind]) for kind in KINDS},
        "lost": lost,
        "doubled": sum(len(ids) > 1 for ids in alerts_of.values()),
        "unmatched": unmatched,
    }


def _arrival(event: ClaimedEvent, alert_ids: Sequence[str], arrivals: Arrivals) -> float | None:
    """When the slower way had the alert of the event."""
    times = [
        max(arrivals.mail[alert_id], arrivals.hook[alert_id])
        for alert_id in alert_ids
        if alert_id in arrivals.mail
        and abs(arrivals.alerts[alert_id]["event_time"] - event.event_time) < 1e-3
    ]
    return min(times, default=None)


def _nearest(
    happened: Mapping[tuple[str, str], Sequence[float]], event: ClaimedEvent, time_s: float
) -> float | None:
    times = np.array(happened.get((event.kind, event.place), [np.inf]))
    nearest = float(times[np.abs(times - time_s).argmin()])
    return nearest if abs(nearest - time_s) <= TOLERANCE_S else None


def _figures(late: Sequence[tuple[float, float]]) -> dict[str, Any]:
    if not late:
        return {"events": 0, "p50_s": None, "p99_s": None, "ours_p99_s": None}
    whole, ours = np.array(late).T
    p50, p99 = np.percentile(whole, (50, 99))
    values = {"p50_s": p50, "p99_s": p99, "ours_p99_s": np.percentile(ours, 99)}
    return {"events": len(late), **{name: round(float(value), 3) for name, value in values.items()}}


def main() -> int:
    """Play, judge, keep the figures; 1 where something was lost or told twice."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=float, default=900.0, help="seconds (default: %(default)g)")
    parser.add_argument("--fps", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, default=Path("artifacts/told"))
    parser.add_argument("--json", type=Path, default=Path("artifacts/told.json"))
    arguments = parser.parse_args()
    stop, folder = stop_on_signals(), arguments.folder.resolve()
    cameras = [SimulatedCamera(spec, arguments.fps, arguments.length) for spec in SIMULATED.values()]
    prepare(cameras, folder / "videos", say, stop=stop)
    arrivals = Arrivals()
    with (
        receivers(arrivals) as routes,
        TritonServer(prepare_model(bundled_model(), folder), log_path=folder / "triton.log") as triton,
    ):
        rule = {"kinds": list(KINDS), "routes": list(routes), "cooldown_s": 0}
        alerts = {"routes": routes, "rules": {"all": rule}, "public_url": LINK}
        zone = {"loiter_s": LOITER_S, "max_occupancy": MAX_OCCUPANCY}
        played = run_and_collect(
            cameras, folder, triton.grpc_url, None, stop, sections={"alerts": alerts}, zone_options=zone
        )
    report = {"length_s": arguments.length, "fps": arguments.fps, "cameras": len(cameras)}
    report |= judge(played, arrivals)
    few = [kind for kind, figures in report["kinds"].items() if figures["events"] < WANTED]
    report["fewer_than_200"] = few
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=1))
    print(json.dumps(report, indent=1))
    return 1 if report["lost"] or report["doubled"] else 0


if __name__ == "__main__":
    sys.exit(main())
