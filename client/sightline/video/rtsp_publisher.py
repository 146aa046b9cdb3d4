"""Publishing H.264 to a media server by RTSP (ANNOUNCE, SETUP, RECORD), all of it in one TCP connection.

FFmpeg's own would hold the interpreter's lock while it connects and asks: a media server that does not answer
would stop every camera of the process.
"""

import base64
import contextlib
import hashlib
import secrets
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

from sightline.errors import OutputError, OutputRefused
from sightline.video.challenge import PORTS

IO_S = 4.0  # for each answer, and for what is sent to be taken
GOODBYE_S = 0.5
BUFFER_BYTES = 1 << 18  # that the kernel may keep: what is in it comes late
MAX_ANSWER_BYTES = 65_536
_HASHES = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}  # the better first
_RTCP = range(200, 208)  # second byte of such packets
_REFUSED = {401, 403}
_SDP = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=Sightline
c=IN IP4 0.0.0.0
t=0 0
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1; profile-level-id={profile}; sprop-parameter-sets={sps},{pps}
a=control:trackID=0
"""


class RtspPublisher:
    """A stream that is published. One thread uses it; any may call :meth:`abort`.

    Args:
        url: ``rtsp(s)://USER:PASSWORD@HOST/PATH``. No text that comes from here has the user or the password.
        ca_file: authorities to trust, for rtsps; None: the system's.
    """

    def __init__(self, url: str, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        self._scheme, self._host = parts.scheme.lower(), unquote(parts.hostname or "")
        self._port = parts.port or PORTS[self._scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._ca_file = ca_file
        self._challenge = self._session = ""
        self._asked = 0
        self._line: socket.socket | None = None

    def has_video(self) -> bool:
        """Whether the media server shows us video there, of whomever; :meth:`close` it afterwards.

        Raises:
            OutputError: it cannot be reached, or does not answer within :data:`IO_S`.
        """
        try:
            self._connect()
            self._ask("DESCRIBE", self._url, {"Accept": "application/sdp"})
        except OutputError:  # there is none, or none for us
            return False
        except (OSError, ValueError) as error:
            raise self._trouble(error) from error
        return True

    def start(self, parameter_sets: tuple[bytes, bytes]) -> None:
        """Connect and announce a stream with these SPS and PPS; :meth:`close` it whatever comes of it.

        Raises:
            OutputError: it cannot be reached, does not answer within :data:`IO_S`, or says no.
        """
        sps, pps = (base64.b64encode(unit).decode() for unit in parameter_sets)
        sdp = _SDP.format(profile=parameter_sets[0][1:4].hex(), sps=sps, pps=pps).replace("\n", "\r\n")
        try:
            self._connect()
            self._ask("ANNOUNCE", self._url, {"Content-Type": "application/sdp"}, sdp.encode())
            transport = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"
            answer = self._ask("SETUP", f"{self._url}/trackID=0", {"Transport": transport})
            self._session = answer.get("session", "").partition(";")[0]
            self._ask("RECORD", self._url, {"Range": "npt=0.000-"})
        except (OSError, ValueError) as error:
            raise self._trouble(error) from error

    def send(self, packets: Iterable[bytes]) -> None:
        """Send RTP and RTCP packets, each of the parts of a picture.

        Raises:
            OutputError: the media server has gone, or does not take them within :data:`IO_S`.
        """
        framed = (struct.pack("!cBH", b"$", one[1] in _RTCP, len(one)) + one for one in packets)
        try:
            if self._line is None:
                raise ConnectionAbortedError("closed")
            self._line.sendall(b"".join(framed))
            self._heed(self._line)
        except (OSError, ValueError) as error:
            raise self._trouble(error) from error

    def abort(self) -> None:
        """Make whatever is under way fail now; :meth:`close` it all the same."""
        if self._line is not None:
            with contextlib.suppress(OSError, ValueError):
                self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye, as far as the other side hears it."""
        line, self._line = self._line, None
        if line is None:
            return
        with contextlib.suppress(OSError, ValueError), line:
            line.settimeout(GOODBYE_S)
            if self._session:
                line.sendall(self._request("TEARDOWN", self._url, {}))

    def _connect(self) -> None:
        line = self._line = socket.create_connection((self._host, self._port), IO_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        if self._scheme == "rtsps":
            context = ssl.create_default_context(cafile=self._ca_file)
            self._line = context.wrap_socket(line, server_hostname=self._host)

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> dict[str, str]:
        """The headers of the answer, by their names in small letters; the second try has the password."""
        status, answer, challenges = self._exchange(method, url, headers, body)
        if status == 401 and self._user and challenges:
            self._challenge = max(challenges, key=_strength)
            status, answer, challenges = self._exchange(method, url, headers, body)
        if status in _REFUSED:
            lacks = "" if self._user else ", and output.url has no user and password"
            raise OutputRefused(f"{self._where} refuses the video ({status}{lacks})")
        if status != 200:
            raise OutputError(f"{self._where} does not take the video ({method}: {status})")
        return answer

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], list[str]]:
        """Status, headers and challenges of the answer to one request."""
        assert self._line is not None  # noqa: S101  it is opened before anything is asked
        self._line.sendall(self._request(method, url, headers, body))
        answer = b""
        while b"\r\n\r\n" not in answer:
            data = self._line.recv(4096)
            if not data or len(answer) > MAX_ANSWER_BYTES:
                raise ConnectionAbortedError("no answer of RTSP")
            answer += data
        head, _, rest = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(key.strip().lower(), value.strip()) for key, _, value in (x.partition(":") for x in lines)]
        fields, words = dict(pairs), first.split()
        if len(words) < 2 or not words[0].startswith("RTSP/"):
            raise ConnectionAbortedError("no answer of RTSP")
        missing = min(int(fields.get("content-length", "0")), MAX_ANSWER_BYTES) - len(rest)
        while missing > 0 and (data := self._line.recv(missing)):
            missing -= len(data)
        return int(words[1]), fields, [value for key, value in pairs if key == "www-authenticate"]

    def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        self._asked += 1
        fields = {"CSeq": str(self._asked), "User-Agent": "Sightline", **headers}
        if self._session:
            fields["Session"] = self._session
        if self._challenge:
            fields["Authorization"] = _authorization(self._challenge, self._user, self._password, method, url)
        if body:
            fields["Content-Length"] = str(len(body))
        lines = (f"{name}: {value}\r\n" for name, value in fields.items())
        return f"{method} {url} RTSP/1.0\r\n{''.join(lines)}\r\n".encode() + body

    def _heed(self, line: socket.socket) -> None:
        """Read what the server says meanwhile, receiver reports, so that it can go on; notice its end."""
        line.settimeout(0)
        try:
            if not line.recv(MAX_ANSWER_BYTES):
                raise ConnectionAbortedError("it has ended the connection")
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        finally:
            line.settimeout(IO_S)

    @property
    def _where(self) -> str:
        return f"the media server {self._host}:{self._port}"

    def _trouble(self, error: Exception) -> OutputError:
        if isinstance(error, TimeoutError):
            return OutputError(f"{self._where} has not answered, or taken video, for {IO_S:g} s")
        reason = getattr(error, "strerror", None) or error
        return OutputError(f"{self._where} cannot be reached ({reason})")


def _strength(challenge: str) -> int:
    """Of several ways to sign in the best is taken; 0: unknown."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "digest":
        algorithm = parse_keqv_list(parse_http_list(rest)).get("algorithm", "MD5").upper()
        return len(_HASHES) - list(_HASHES).index(algorithm) + 1 if algorithm in _HASHES else 0
    return int(scheme.lower() == "basic")


def _authorization(challenge: str, user: str, password: str, method: str, url: str) -> str:
    """The answer to a challenge: Digest (RFC 7616, RFC 2069) or Basic."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() != "digest":
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    asked = parse_keqv_list(parse_http_list(rest))
    algorithm = asked.get("algorithm", "MD5")
    hashed = _HASHES.get(algorithm.upper(), hashlib.md5)

    def digest(*parts: str) -> str:
        return hashed(":".join(parts).encode()).hexdigest()

    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": url}
    secret, what = digest(user, realm, password), digest(method, url)
    bare = ""
    if "auth" in asked.get("qop", "").replace(" ", "").split(","):
        cnonce = secrets.token_hex(8)
        fields |= {"cnonce": cnonce, "response": digest(secret, nonce, "00000001", cnonce, "auth", what)}
        bare = ", qop=auth, nc=00000001"
    else:
        fields["response"] = digest(secret, nonce, what)
    for name in ("opaque", "algorithm"):
        fields |= {name: asked[name]} if name in asked else {}
    return "Digest " + ", ".join(f'{name}="{value}"' for name, value in fields.items()) + bare
