"""Publishing by RTSP: what is asked, how one signs in, and every way in which a media server may fail."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline.errors import OutputError, OutputRefused
from sightline.video import rtsp_publisher
from sightline.video.rtsp_publisher import RtspPublisher
from support.certificates import tls_files
from support.media_server import MediaServer, fields_of
from support.waiting import until

SETS = (b"\x67\x42\xc0\x1f\x01", b"\x68\xce")
RTP, RTCP = b"\x80\x60" + b"m" * 50, b"\x80\xc8" + b"r" * 26
SECRET = "p%40ss-w%3Ard"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_publisher, "IO_S", 1.0)


@pytest.fixture
def server() -> Iterator[MediaServer]:
    with MediaServer() as made:
        yield made


def url(server: MediaServer, login: str = "") -> str:
    return f"rtsp://{login}127.0.0.1:{server.port}/gate%20boxes"


def published(address: str, ca_file: Path | None = None) -> RtspPublisher:
    publisher = RtspPublisher(address, ca_file)
    try:
        publisher.start(SETS)
    except OutputError:
        publisher.close()
        raise
    return publisher


def test_a_stream_is_announced_recorded_and_torn_down(server: MediaServer) -> None:
    publisher = published(url(server))
    publisher.send([RTP, RTCP])
    publisher.send([RTP])
    publisher.close()
    publisher.close()
    until(lambda: server.ended, 5)
    assert server.methods == ["ANNOUNCE", "SETUP", "RECORD", "TEARDOWN"]
    assert [one[1] for one in server.requests] == [
        url(server),
        f"{url(server)}/trackID=0",
        *[url(server)] * 2,
    ]
    assert [one[2]["CSeq"] for one in server.requests] == ["1", "2", "3", "4"]
    assert server.packets == [(0, RTP), (1, RTCP), (0, RTP)]
    sdp = server.requests[0][3]
    assert "m=video 0 RTP/AVP 96\r\n" in sdp
    assert f"profile-level-id=42c01f; sprop-parameter-sets={base64.b64encode(SETS[0]).decode()}," in sdp
    assert [one[2].get("Session") for one in server.requests] == [None, None, "4711", "4711"]


@pytest.mark.parametrize(
    ("challenges", "algorithm"),
    [
        (('Digest realm="a, b", nonce="n1"',), "md5"),
        (('Basic realm="x"', 'Digest realm="a, b", nonce="n1", algorithm="MD5", opaque="o"'), "md5"),
        (('Digest realm="r", nonce="n1"', 'Digest realm="r", nonce="n2", algorithm="SHA-256"'), "sha256"),
        (('Digest realm="r", nonce="n2", algorithm=SHA-256, qop="auth,auth-int"',), "sha256"),
    ],
)
def test_the_password_is_shown_by_the_best_way_that_is_offered(
    challenges: tuple[str, ...], algorithm: str
) -> None:
    with MediaServer(challenges=challenges) as server:
        published(url(server, f"cam:{SECRET}@")).close()
        until(lambda: server.ended, 5)
    assert server.methods == ["ANNOUNCE", "ANNOUNCE", "SETUP", "RECORD", "TEARDOWN"]
    for method, address, headers, _ in server.requests[1:]:
        said = fields_of(headers["Authorization"])
        assert "@" not in address

        def digest(*words: str) -> str:
            return hashlib.new(algorithm, ":".join(words).encode()).hexdigest()

        realm = challenges[-1].partition('realm="')[2].partition('"')[0]
        between = ["00000001", said["cnonce"], "auth"] if "qop" in said else []
        nonce = "n2" if algorithm == "sha256" else "n1"
        first = digest("cam", realm, "p@ss-w:rd")
        assert said["response"] == digest(first, nonce, *between, digest(method, address))


def test_basic_is_taken_where_nothing_else_is_known() -> None:
    with MediaServer(challenges=('Digest realm="r", nonce="n", algorithm="XX"', 'Basic realm="x"')) as server:
        published(url(server, f"cam:{SECRET}@")).close()
    shown = server.requests[1][2]["Authorization"]
    assert shown == f"Basic {base64.b64encode(b'cam:p@ss-w:rd').decode()}"


def test_who_is_refused_is_told_so_and_the_password_is_in_no_text() -> None:
    for status, login in ((401, f"cam:{SECRET}@"), (403, f"cam:{SECRET}@"), (401, "")):
        with MediaServer(refuse={"ANNOUNCE": status}) as server:
            with pytest.raises(OutputRefused, match=f"refuses the video \\({status}") as refused:
                published(url(server, login))
            assert ("has no user and password" in str(refused.value)) is not login
            until(lambda server=server: server.ended, 5)
        cause = f"{refused.value!r} {refused.value.__cause__!r}"
        assert "ss-w" not in cause
        assert "cam" not in cause


@pytest.mark.parametrize("method", ["ANNOUNCE", "SETUP", "RECORD"])
def test_a_server_that_says_no_is_left(method: str) -> None:
    with MediaServer(refuse={method: 404}) as server:
        with pytest.raises(OutputError, match=f"{method}: 404"):
            published(url(server))
        until(lambda: server.ended, 5)


def test_a_server_that_is_not_there_or_answers_nothing_is_given_up_in_time(server: MediaServer) -> None:
    server.answers_nothing = True
    began_s = time.monotonic()
    with pytest.raises(OutputError, match="has not answered"):
        published(url(server))
    assert time.monotonic() - began_s < 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OutputError, match=f"127.0.0.1:{port} cannot be reached \\(Connection refused"):
        published(f"rtsp://127.0.0.1:{port}/x")
    with pytest.raises(OutputError, match="cannot be reached"):
        published("rtsp://no-such-host.invalid/x")


def test_a_server_that_ends_is_noticed_with_the_next_packets(server: MediaServer) -> None:
    publisher = published(url(server))
    publisher.send([RTP])
    server.hang_up()

    def lost() -> bool:
        try:
            publisher.send([RTP])
        except OutputError:
            return True
        return False

    until(lost, 5)
    publisher.close()


def test_a_server_that_reads_nothing_is_waited_for_and_can_be_left_at_once(server: MediaServer) -> None:
    publisher = published(url(server))
    server.reads_nothing = True
    many = [b"\x80\x60" + bytes(1398)] * 4000
    began_s = time.monotonic()
    with pytest.raises(OutputError, match="for 1 s"):
        publisher.send(many)
    assert 0.9 < time.monotonic() - began_s < 3
    publisher.close()
    server.reads_nothing = False
    publisher = published(url(server))
    server.reads_nothing = True
    threading.Timer(0.2, publisher.abort).start()
    began_s = time.monotonic()
    with pytest.raises(OutputError):
        publisher.send(many)
    assert time.monotonic() - began_s < 0.9
    publisher.close()


def test_with_tls_the_server_is_the_one_that_is_trusted(tmp_path: Path) -> None:
    certificate, key = tls_files(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with MediaServer(tls=context) as server:
        address = f"rtsps://localhost:{server.port}/boxes"
        with pytest.raises(OutputError, match="certificate verify failed"):
            published(address)
        publisher = published(address, certificate)
        for _ in range(3):
            publisher.send([RTP, RTCP])
        publisher.close()
        until(lambda: len(server.packets) == 6, 5)
        server.hang_up()
    assert server.methods == ["ANNOUNCE", "SETUP", "RECORD", "TEARDOWN"]
