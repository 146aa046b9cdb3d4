"""A camera that tells its streams by ONVIF, as the documents have it."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OnvifCamera:
    """What a simulated camera tells, and by which requests it was asked."""

    def __init__(self) -> None:
        self.user, self.password = "admin", "hunter2"
        self.ahead = timedelta(hours=-7)  # its clock is wrong, as many are
        self.places = ["rtsp://192.168.1.2:8554/main", "rtsp://192.168.1.2:8554/sub?a=1&amp;b=2"]
        self.asked: list[str] = []
        self.extra = ""
        self.port = 0

    def answer(self, text: str) -> str | None:
        """Of a request; None: it is refused."""
        [what] = re.findall(r"<s:Body><(\w+)", text)
        self.asked.append(what)
        now = datetime.now(UTC) + self.ahead
        if what == "GetSystemDateAndTime":
            date = f"<Year>{now.year}</Year><Month>{now.month}</Month><Day>{now.day}</Day>"
            time = f"<Hour>{now.hour}</Hour><Minute>{now.minute}</Minute><Second>{now.second}</Second>"
            return f"<UTCDateTime><Time>{time}</Time><Date>{date}</Date></UTCDateTime>"
        if not self.is_signed(text, now):
            return None
        if what == "GetCapabilities":
            return f"<Capabilities><Media><XAddr>http://10.9.9.9:{self.port}/media</XAddr></Media></Capabilities>"
        if what == "GetProfiles":
            return "".join(f'<Profiles token="p{number}"/>' for number in range(len(self.places)))
        [number] = re.findall(r"<ProfileToken>p(\d)<", text)
        return f"<MediaUri><Uri>{self.places[int(number)]}</Uri></MediaUri>"

    def is_signed(self, text: str, now: datetime) -> bool:
        def part(name: str) -> str:
            return re.findall(rf"<{name}[^>]*>([^<]*)</{name}>", text)[0]

        created = datetime.strptime(part("Created"), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        digest = hashlib.sha1(
            base64.b64decode(part("Nonce")) + part("Created").encode() + self.password.encode()
        )
        fresh = abs(created - now) < timedelta(seconds=5)
        return fresh and (part("Username"), part("Password")) == (
            self.user,
            base64.b64encode(digest.digest()).decode(),
        )


@contextmanager
def onvif_camera() -> Iterator[OnvifCamera]:
    """At a port of its own."""
    camera = OnvifCamera()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = camera.answer(text)
            inside = camera.extra + '<Envelope xmlns="http://www.w3.org/2003/05/soap-envelope"><Body>'
            body = f"{inside}{found}</Body></Envelope>".encode()
            self.send_response(400 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    camera.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield camera
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
