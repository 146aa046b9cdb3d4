"""Watch one good camera among many that are dead in five ways: it must be online soon and never be lost.

    python tools/bench/dead_cameras.py --cameras 61 --minutes 10 --json artifacts/dead_cameras.json

The dead ones refuse, accept and say nothing, ask for a password, have a name that does not resolve, or answer
with garbage. As root the names are asked of two servers that do not answer, in a mount namespace of its own.
Exits with 1 where a figure is not as it should be. ``--good 0`` measures what the
dead ones take alone, and with ``--minutes 0`` that they start and stop.
"""

import contextlib
import json
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where the other tools are
from load.servers import parts_of
from sightline.errors import ServerError
from sightline.serving.server import TritonServer
from sightline.simulation.demo import bundled_model, prepare_model
from sightline.simulation.rtsp_server import RtspServer, free_port
from sightline.simulation.stack import SightlineProcess

IN_NAMESPACE = "SIGHTLINE_DEAD_NAME_SERVERS"
ANSWERS = {
    "silent": b"",
    "denied": b'RTSP/1.0 401 Unauthorized\r\nCSeq: %d\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n',
    "garbage": bytes(range(256)) * 4,
}
WAYS = ("refusing", "silent", "denied", "unnamed", "garbage")


class DeadServer(socketserver.ThreadingTCPServer):
    """Accepts, reads, and gives every request the same answer."""

    daemon_threads, request_queue_size, block_on_close = True, 512, False

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        super().__init__(("127.0.0.1", 0), _DeadHandler)
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _DeadHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while self.request.recv(4096):
                number += 1
                answer: bytes = self.server.answer  # type: ignore[attr-defined]
                self.request.sendall(answer % number if b"%d" in answer else answer)


def main() -> int:
    """Run, judge, keep the figures."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=61, help="of which --good are good")
    parser.add_argument("--good", type=int, choices=(0, 1), default=1)
    parser.add_argument("--video", type=Path, help="what the good camera shows")
    parser.add_argument("--triton", help="address of a server (default: the embedded one for a good camera)")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--json", type=Path, default=Path("artifacts/dead_cameras.json"))
    arguments = parser.parse_args()
    if os.geteuid() == 0 and IN_NAMESPACE not in os.environ:
        return without_name_servers()
    if arguments.good and arguments.video is None:
        parser.error("the good camera needs --video FILE.mp4")
    report = measure(arguments)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))
    return 1 if report["problems"] else 0


def without_name_servers() -> int:
    """Run this program again where two name servers are known and neither answers."""
    with contextlib.ExitStack() as stack:
        mute = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)]
        lines = ""
        for i, server in enumerate(mute, 2):
            server.bind((f"127.0.0.{i}", 53))
            lines += f"nameserver 127.0.0.{i}\n"
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".conf"))
        file.write(lines)
        file.flush()
        script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, file.name, sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, IN_NAMESPACE: "1"}, check=False).returncode


def measure(arguments: Namespace) -> dict[str, Any]:
    """Start, watch and stop; the figures, and what is wrong with them."""
    with contextlib.ExitStack() as stack:
        ports = {way: stack.enter_context(DeadServer(text)).port for way, text in ANSWERS.items()}
        ports["refusing"] = free_port()
        hosts = {way: f"127.0.0.1:{port}" for way, port in ports.items()}
        hosts["unnamed"] = "camera.example.org"
        dead = [f"{WAYS[i % 5]}-{i}" for i in range(arguments.cameras - arguments.good)]
        cameras: dict[str, dict[str, Any]] = {
            name: {"url": f"rtsp://{hosts[name.split('-')[0]]}/{name}"} for name in dead
        }
        if arguments.good:
            rtsp = stack.enter_context(RtspServer({"good": arguments.video.resolve()}))
            cameras["good"] = {"url": rtsp.url("good"), "stream": {"fps": 2}}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sightline-dead-")))
        url = arguments.triton or "127.0.0.1:1"  # where none answers
        if arguments.good and not arguments.triton:
            repository = prepare_model(bundled_model(), folder)
            url = stack.enter_context(TritonServer(repository, log_path=folder / "triton.log")).grpc_url
        started_s = time.monotonic()
        with SightlineProcess(folder, cameras, triton={"url": url}) as sightline:
            report = watch(sightline, dead, arguments, started_s)
            stopping_s = time.monotonic()
        report["stop_s"] = round(time.monotonic() - stopping_s, 1)
    has_server = bool(arguments.good or arguments.triton)
    report["problems"] = [
        text
        for wrong, text in (
            (arguments.good and (report["online_after_s"] or 99) > 15, "the good camera was online late"),
            (report["lost"], "the good camera was lost"),
            (report["restarts"], "workers were restarted"),
            (not arguments.good and report["cores"] > 0.2, "dead cameras take more than 0.2 cores"),
            (report["ready"] != has_server, f"/readyz says {'' if report['ready'] else 'not '}ready"),
            (report["stop_s"] > 10, "SIGTERM took more than 10 s"),
        )
        if wrong
    ]
    return report


def watch(
    sightline: SightlineProcess, dead: list[str], arguments: Namespace, started_s: float
) -> dict[str, Any]:
    """Once a second until time is over; processor time is that of all processes after the first 30 s."""
    online_s: float | None = None
    lost, settled = 0, None
    statuses: dict[str, dict[str, Any]] = {}
    until_s = started_s + max(arguments.minutes * 60, 8.0)
    while time.monotonic() < until_s:
        time.sleep(1.0)
        sightline.check()
        with contextlib.suppress(ServerError):
            statuses = sightline.statuses()
        is_online = statuses.get("good", {}).get("state") == "online"
        if is_online and online_s is None:
            online_s = round(time.monotonic() - started_s, 1)
        lost += online_s is not None and not is_online
        if settled is None and time.monotonic() - started_s > 30:
            settled = time.monotonic(), processor_s(sightline.pid)
    now_s = time.monotonic()
    used = (processor_s(sightline.pid) - settled[1]) / (now_s - settled[0]) if settled else 0.0
    page = sightline.fetch("/metrics").splitlines()
    ready = False
    with contextlib.suppress(ServerError):  # 503
        ready = bool(json.loads(sightline.fetch("/readyz"))["ready"])
    return {
        "cameras": len(dead) + arguments.good,
        "seconds": round(now_s - started_s),
        "online_after_s": online_s,
        "lost": lost,
        "restarts": sum(float(line.split()[-1]) for line in page if "worker_restarts_total{" in line),
        "cores": round(used, 3),
        "ready": ready,
        "told": sum(bool(statuses.get(name, {}).get("message")) for name in dead),
    }


def processor_s(pid: int) -> float:
    """Processor time of all its processes so far."""
    return sum(sum(process.cpu_times()[:2]) for _, process in parts_of(sightline=pid))


if __name__ == "__main__":
    sys.exit(main())
