"""The supervisor's HTTP port: what it says, and that no client can use it up."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from sightline.camera.messages import Report
from sightline.cli import main
from sightline.config.groups import HttpOptions
from sightline.entities import CameraState, CameraStatus, Event, EventKind, Figure, Variant
from sightline.errors import ServerError
from sightline.simulation.rtsp_server import free_port
from sightline.store.spooled_store import WriterHealth
from sightline.supervisor.bottlenecks import Cause, Notice
from sightline.supervisor.http import http_server
from sightline.supervisor.http.health_pages import HealthPages
from sightline.supervisor.http.http_server import HttpServer
from sightline.supervisor.http.own_programs import fetch_own, own_key
from sightline.supervisor.http.visitors import NobodyElse
from sightline.supervisor.live_pictures import LivePictures
from sightline.supervisor.sinks import SinkHealth
from sightline.supervisor.supervisor import Supervisor
from support.certificates import make_certificate
from support.front import served
from support.waiting import until

HEALTH = WriterHealth(
    owns_database=True,
    state="ok",
    alarm=False,
    pending_records=0,
    spooled_records=0,
    oldest_age_s=0.0,
    dropped_records=0,
    rejected_rows=0,
    dropped_outbox_rows=0,
    written_records=5,
    failures=0,
    last_success_time=100.0,
    write_s=0.01,
    last_error="",
)


FIGURES = (
    Figure("things_seen_total", 3, {"kind": "cat"}, "Things."),
    Figure("mood", 0.5, help="Of the observer."),
)
FAILING = SinkHealth("alerts", ok=False, delivered=1, failures=2, dropped=0, last_error="refused", given_up=3)


class FakeSupervisor:
    """Shows what a test puts in."""

    beat_s = float("inf")

    def __init__(self) -> None:
        self.cameras = [CameraStatus("gate", CameraState.ONLINE, "", 100.0)]
        self.said: tuple[Notice, ...] = ()
        self.going: tuple[Event, ...] = ()
        self.live = LivePictures()

    def statuses(self) -> list[CameraStatus]:
        return self.cameras

    def reports(self) -> dict[str, Report]:
        return {status.source: Report(status, None, {}, figures=FIGURES) for status in self.cameras}

    def notices(self) -> tuple[Notice, ...]:
        return self.said

    def troubles(self) -> tuple[Event, ...]:
        return self.going

    def machine(self) -> None:
        return None

    def restarts(self) -> dict[str, int]:
        return {"gate": 1}


@pytest.fixture
def supervisor() -> FakeSupervisor:
    return FakeSupervisor()


@pytest.fixture
def health() -> list[WriterHealth]:
    """What the writer says of itself; a test puts something else there."""
    return [HEALTH]


@pytest.fixture
def server(supervisor: FakeSupervisor, health: list[WriterHealth]) -> Iterator[HttpServer]:
    pages = HealthPages(cast(Supervisor, supervisor), lambda: health[0], sinks=lambda: [FAILING])
    with served(pages.endpoints(), NobodyElse()) as front:
        yield front.server


def get(server: HttpServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(server.url + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(server._socket.getsockname(), timeout=10)


# -- what it says -----------------------------------------------------------------------------------------


def test_ready_once_every_camera_has_its_detector(server: HttpServer, supervisor: FakeSupervisor) -> None:
    assert get(server, "/readyz")[0] == 200
    supervisor.cameras.append(CameraStatus("yard", CameraState.STARTING, "", 100.0))
    status, body = get(server, "/readyz")
    assert (status, json.loads(body)["waiting"]) == (503, {"yard": "starting"})
    supervisor.cameras.clear()  # before the supervisor has begun
    assert get(server, "/readyz")[0] == 503


def test_health_is_that_of_the_writer_and_the_main_loop(
    server: HttpServer, supervisor: FakeSupervisor, health: list[WriterHealth]
) -> None:
    status, body = get(server, "/healthz")
    assert (status, json.loads(body)["sinks"][0]["last_error"]) == (
        200,
        "refused",
    )  # shown, and no fault of ours
    supervisor.beat_s = 0.0
    health[0] = replace(HEALTH, state="spooling", last_error="locked")
    status, body = get(server, "/healthz")
    assert status == 503
    assert [problem[:12] for problem in json.loads(body)["problems"]] == ["the supervis", "results do n"]


def test_an_overload_is_said_and_measured_and_no_reason_to_be_restarted(
    server: HttpServer, supervisor: FakeSupervisor
) -> None:
    gauge = 'sightline_held_back_cameras{cause="detector"}'
    assert f"{gauge} 0.0" in get(server, "/metrics")[1]
    supervisor.said = (
        Notice(Cause.DETECTOR, "overload: 2 of 3", 100.0, ("gate", "yard")),
        Notice(Cause.DETECTOR, "overload: 1 of 3", 100.0, ("door",)),
        Notice(Cause.CAMERA, "sends less", 100.0, ("roof",)),
    )
    status, body = get(server, "/readyz")
    assert (status, json.loads(body)["notices"][0]) == (200, "overload: 2 of 3")
    page = get(server, "/metrics")[1]
    assert f"{gauge} 3.0" in page
    assert 'sightline_held_back_cameras{cause="camera"} 1.0' in page
    assert json.loads(get(server, "/status")[1])["notices"][2]["cameras"] == ["roof"]


def test_the_status_command_says_notices_and_who_owns_the_database(
    server: HttpServer,
    supervisor: FakeSupervisor,
    health: list[WriterHealth],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    supervisor.said = (Notice(Cause.TRITON, "waiting for Triton at h:1 since", 100.0, ("gate",)),)
    path, port = tmp_path / "config.yml", server.url.rpartition(":")[2]
    database = f"database: {{spool_path: {tmp_path / 'spool.db'}}}"
    path.write_text(f"http: {{port: {port}}}\n{database}\ncameras: {{gate: {{url: rtsp://h/}}}}\n")
    owner = "sightline on there (process 7, since 08:00)"
    for state, words in (("standby", "stand-by"), ("ok", "results: ok")):
        health[0] = replace(HEALTH, state=state, owner=owner)
        assert main(["status", "-c", str(path)]) == 0
        out = capsys.readouterr().out
        assert "\nwaiting for Triton at h:1 since\n" in out
        assert f"\n{words}; owner: {owner}\n" in out


def test_the_status_names_what_limits_since_when_and_what_to_do(
    server: HttpServer, supervisor: FakeSupervisor, health: list[WriterHealth]
) -> None:
    health[0] = replace(HEALTH, write_s=0.01)
    assert json.loads(get(server, "/status")[1])["limits"] == []
    supervisor.cameras.append(CameraStatus("yard", CameraState.OFFLINE, "no answer", 100.0))
    offline = Event("yard", EventKind.CAMERA_OFFLINE, "", 0, "", 90.0, 95.0, first_time=90.0)
    supervisor.going = (offline,)
    status = json.loads(get(server, "/status")[1])
    [limit] = status["limits"]
    assert (limit["limiter"], limit["cameras"], limit["since"]) == ("camera", ["yard"], 90.0)
    assert limit["text"] == "Camera yard is not answering."
    assert status["troubles"] == [
        {"kind": "camera_offline", "source": "yard", "place": "", "since": 90.0, "value": None}
    ]
    assert status["machine"] is None


def test_figures_of_observers_and_sinks_are_metrics_and_status(server: HttpServer) -> None:
    _, page = get(server, "/metrics")
    for line in (
        "# HELP sightline_things_seen_total Things.",
        "# TYPE sightline_things_seen_total counter",
        'sightline_things_seen_total{camera="gate",kind="cat"} 3.0',
        'sightline_mood{camera="gate"} 0.5',
        'sightline_sink_failures_total{sink="alerts"} 2.0',
        'sightline_sink_up{sink="alerts"} 0.0',
        'sightline_worker_restarts_total{camera="gate"} 1.0',
    ):
        assert line in page
    assert json.loads(get(server, "/status")[1])["cameras"][0]["figures"] == [
        {"name": "things_seen_total", "labels": {"kind": "cat"}, "value": 3},
        {"name": "mood", "labels": {}, "value": 0.5},
    ]


def test_who_watches_a_camera_now_is_a_metric_and_in_the_status(
    server: HttpServer, supervisor: FakeSupervisor
) -> None:
    gauge, live = 'sightline_live_viewers{camera="gate"}', supervisor.live
    assert f"{gauge} 0.0" in get(server, "/metrics")[1]

    async def watch() -> None:
        variants = (Variant.SMALL, Variant.SMALL, Variant.DETECTIONS)
        watching = [asyncio.ensure_future(anext(live.watch("gate", variant))) for variant in variants]
        await asyncio.sleep(0)
        assert f"{gauge} 3.0" in await asyncio.to_thread(lambda: get(server, "/metrics")[1])
        [camera] = json.loads(await asyncio.to_thread(lambda: get(server, "/status")[1]))["cameras"]
        assert camera["viewers"] == 3
        for one in watching:
            one.cancel()
        await asyncio.wait(watching)

    asyncio.run(watch())
    assert f"{gauge} 0.0" in get(server, "/metrics")[1]


# -- that no client can use it up -------------------------------------------------------------------------


def test_a_header_that_does_not_end_is_given_up(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.3)
    with connect(server) as silent, connect(server) as slow:
        slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        assert_closed(silent)
        assert_closed(slow)
    with connect(server) as second:  # whose second request does not end
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\n")
        assert b"200 OK" in second.recv(65_536)
        assert_closed(second)


def assert_closed(client: socket.socket) -> None:
    try:
        while client.recv(65_536):
            pass
    except ConnectionResetError:
        pass


def test_a_client_that_is_too_slow_to_read_is_given_up(
    server: HttpServer, supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT_S", 0.5)
    many = [CameraStatus(f"camera {n}", CameraState.ONLINE, "x" * 2000, 100.0) for n in range(5000)]
    supervisor.cameras = many  # more than the sockets hold
    with connect(server) as reader:
        reader.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: bool(server._server.server_state.connections), timeout_s=5)
        until(lambda: not server._server.server_state.connections, timeout_s=20)


# -- another address -------------------------------------------------------------------------------------


def test_it_moves_to_another_port_or_goes_on_at_the_old_one(server: HttpServer) -> None:
    old = server.url
    server.move(HttpOptions(host="127.0.0.1", port=(port := free_port())))
    assert server.url == f"http://127.0.0.1:{port}"
    until(lambda: server._server.started)
    assert get(server, "/status")[0] == 200
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{old}/status", timeout=5)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ServerError, match="cannot listen"):
        server.move(HttpOptions(host="127.0.0.1", port=taken.getsockname()[1]))
    until(lambda: server._server.started)
    assert server.url == f"http://127.0.0.1:{port}"
    assert get(server, "/status")[0] == 200


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost"])
def test_it_is_asked_where_it_listens(server: HttpServer, host: str) -> None:
    options = HttpOptions(host=host, port=free_port())
    server.move(options)
    until(lambda: server._server.started)
    for url in (f"http://{options.address}", server.url):
        assert urllib.request.urlopen(f"{url}/status", timeout=5).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "prometheus.lan"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "127.0.0.1@evil.example"}, 403),
        ({"Host": "[evil"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "prometheus.lan", "Origin": "https://prometheus.lan"}, 200),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
def test_other_peoples_pages_are_refused(server: HttpServer, headers: dict[str, str], status: int) -> None:
    server.move(HttpOptions(port=free_port(), allowed_hosts=["Prometheus.lan"]))
    host, port = server.url.removeprefix("http://").split(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        assert (answer.status, b"sightline" in answer.read()) == (status, status == 200)


# -- TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    return make_certificate(tmp_path)


def test_with_a_certificate_it_speaks_tls_and_its_own_programs_trust_it_alone(
    server: HttpServer, certificate: dict[str, str], tmp_path: Path
) -> None:
    options = HttpOptions.model_validate({"port": free_port(), **certificate})
    server.move(options)
    until(lambda: server._server.started)
    assert server.url == f"https://127.0.0.1:{options.port}"
    assert json.loads(fetch_own(options, tmp_path, "/status"))["cameras"]
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"{server.url}/status", timeout=5)
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(server.url.replace("https", "http") + "/healthz", timeout=5)


def test_a_renewed_certificate_is_taken_and_one_that_cannot_be_used_is_not(
    server: HttpServer,
    certificate: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(http_server, "RENEW_TICKS", 1)
    options = HttpOptions.model_validate({"port": free_port(), **certificate})
    server.move(options)
    until(lambda: server._server.started)
    first = ssl.get_server_certificate((options.host, options.port))
    make_certificate(Path(certificate["tls_cert"]).parent)
    until(lambda: ssl.get_server_certificate((options.host, options.port)) != first, 5)
    second = ssl.get_server_certificate((options.host, options.port))
    assert second == Path(certificate["tls_cert"]).read_text()
    Path(certificate["tls_cert"]).write_text("half of one")
    until(lambda: "the old one serves on" in caplog.text, 5)
    assert ssl.get_server_certificate((options.host, options.port)) == second


@pytest.mark.parametrize("broken", ["not there", "no certificate", "another key"])
def test_a_certificate_that_cannot_be_used_changes_nothing(
    server: HttpServer, certificate: dict[str, str], tmp_path: Path, broken: str
) -> None:
    if broken == "not there":
        certificate["tls_cert"] = str(tmp_path / "gone.pem")
    elif broken == "no certificate":
        Path(certificate["tls_cert"]).write_text("nothing")
    else:
        generated = ["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"]
        subprocess.run([*generated, certificate["tls_key"]], check=True, capture_output=True)
    with pytest.raises(ServerError, match=r"http\.tls_cert"):
        server.move(HttpOptions.model_validate({"port": free_port(), **certificate}))
    assert get(server, "/healthz")[0] == 200


def test_certificate_and_key_are_given_together() -> None:
    with pytest.raises(ValueError, match="together"):
        HttpOptions(tls_cert=Path("cert.pem"))
    with pytest.raises(ValueError, match="network"):
        HttpOptions(trusted_proxies=["10.0.0.0/99"])


# -- its own user's programs ------------------------------------------------------------------------------


def test_the_key_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "spool.db.control"
    key = own_key(folder)
    assert own_key(folder) == key
    assert len(key) > 40
    assert (folder.stat().st_mode & 0o777, (folder / "key").stat().st_mode & 0o777) == (0o700, 0o600)
    folder.chmod(0o755)
    with pytest.raises(ServerError, match="not this user's alone"):
        own_key(folder)
