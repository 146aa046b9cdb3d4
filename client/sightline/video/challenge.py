"""What a camera that refuses asks for: FFmpeg tells only that it was refused."""

import contextlib
import re
import socket
import ssl
import time
from urllib.parse import unquote, urlsplit

from sightline.config import Camera

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
MAX_BYTES, MAX_S = 65_536, 3.0
#: FFmpeg keeps the last digest challenge, and gives up without a word where it does not know its algorithm.
KNOWN = frozenset({"", "md5", "md5-sess"})


def why_refused(camera: Camera) -> str:
    """Why no credentials, or no usable ones, reached a camera that wants some; "" when they did."""
    parts = urlsplit(camera.source_url)
    if not parts.username:
        return "the camera wants a user name and a password, and its URL has none"
    if parts.password is None:
        return (
            "the camera wants a password, and its URL has a user name alone; an empty one is written USER:@"
        )
    digests = [c for c in _challenges(camera) if c.lower().startswith("digest ")]
    algorithms = ["".join(re.findall(r'algorithm\s*=\s*"?([\w-]+)', digest, re.I)[:1]) for digest in digests]
    if not algorithms or algorithms[-1].lower() in KNOWN:
        return ""
    cure = "set it to digest with MD5 there, or to basic"
    if any(algorithm.lower() in KNOWN for algorithm in algorithms):
        cure = "it offers MD5 too: switch the other one off there"
    return (
        f"the camera asks for digest authentication with {algorithms[-1]}; FFmpeg can answer MD5 only, "
        f"so the password was not sent; {cure}"
    )


def _challenges(camera: Camera) -> list[str]:
    """What follows ``WWW-Authenticate:`` when the camera is asked without credentials; [] if it says nothing.

    No account is locked by that: nobody signs in.
    """
    parts = urlsplit(camera.source_url)
    scheme, host = parts.scheme.lower(), unquote(parts.hostname or "")
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    if scheme.startswith("rtsp"):
        request = f"DESCRIBE {bare.geturl()} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    else:
        path = bare._replace(scheme="", netloc="", fragment="").geturl() or "/"
        request = f"GET {path} HTTP/1.1\r\nHost: {bare.netloc}\r\nConnection: close\r\n\r\n"
    answer, until_s = b"", time.monotonic() + MAX_S
    # It is asked for a better reason than "refused" alone; without an answer that stays the reason.
    with (
        contextlib.suppress(OSError, ValueError),
        socket.create_connection((host, parts.port or PORTS[scheme]), MAX_S) as plain,
        _secured(plain, camera, host) if scheme in {"rtsps", "https"} else plain as line,
    ):
        line.settimeout(MAX_S)
        line.sendall(request.encode())
        while b"\r\n\r\n" not in answer and len(answer) < MAX_BYTES and time.monotonic() < until_s:
            if not (data := line.recv(4096)):
                break
            answer += data
    headers = [line.partition(":") for line in answer.decode("latin-1").split("\r\n")]
    return [value.strip() for key, _, value in headers if key.lower() == "www-authenticate"]


def _secured(plain: socket.socket, camera: Camera, host: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=camera.stream.tls_ca_file)
    if not camera.stream.verify_tls:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname=host)
