"""A stand-in for MediaMTX: its documented paths, and the documented question before each answer."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ANSWER = "v=0\r\nanswer"
FILES = {
    "index.m3u8": b"#EXTM3U\nvideo1_stream.m3u8\n",
    "video1_stream.m3u8": b"#EXTM3U\n#EXTINF:2,\n1_seg7.mp4\n",
    "1_seg7.mp4": b"a part",
}


class MediaMtxStandIn:
    """Serves API, WebRTC and HLS at one port; a context manager.

    Attributes:
        ask_at: where it asks (``authHTTPAddress``).
        asked: what it has asked.
        paths: by name, the options that it was told.
        sessions: by its own id, those that read by WebRTC: path and query.
    """

    def __init__(self) -> None:
        self.ask_at = ""
        self.asked: list[dict[str, Any]] = []
        self.paths: dict[str, dict[str, Any]] = {}
        self.sessions: dict[str, tuple[str, str]] = {}
        self.offers: list[str] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stand_in.handle(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> MediaMtxStandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def options(self) -> dict[str, str]:
        return {"kind": "mediamtx", "url": self.url, "api_url": self.url, "hls_url": self.url}

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        status, media, data = self._answer(request, parts.path, parts.query, body)
        request.send_response(status)
        request.send_header("Content-Type", media)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _answer(
        self, request: BaseHTTPRequestHandler, path: str, query: str, body: bytes
    ) -> tuple[int, str, bytes]:
        is_api = path.startswith("/v3/")
        name, _, rest = path[1:].partition("/")
        webrtc = rest == "whep"
        session = str(uuid.uuid4()) if webrtc else None
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        question = {
            "ip": "127.0.0.1",
            "user": "",
            "password": "",
            "token": token,
            "action": "api" if is_api else "read",
            "path": "" if is_api else name,
            "protocol": "" if is_api else "webrtc" if webrtc else "hls",
            "id": session,
            "query": query,
        }
        if self.ask(question) >= 300:
            return 401, "application/json", b'{"error": "authentication error"}'
        if webrtc and session is not None:
            return self._read(name, query, session, request, body)
        return self._tell(path, body) if is_api else self._file(name, rest)

    def ask(self, question: dict[str, Any]) -> int:
        """The status of the answer to a question, as MediaMTX asks it."""
        self.asked.append(question)
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(self.ask_at, json.dumps(question).encode(), headers)
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def _read(
        self, name: str, query: str, session: str, request: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, str, bytes]:
        if request.headers["Content-Type"] != "application/sdp":
            return 400, "application/json", b"{}"
        if name not in self.paths:
            return 404, "application/json", b'{"error": "no stream is available on path"}'
        self.offers.append(body.decode())
        self.sessions[session] = (name, query)
        return 201, "application/sdp", ANSWER.encode()

    def _tell(self, path: str, body: bytes) -> tuple[int, str, bytes]:
        if match := re.fullmatch(r"/v3/config/paths/replace/([\w.-]+)", path):
            self.paths[match[1]] = json.loads(body)
            return 200, "application/json", b""
        if path == "/v3/webrtcsessions/list":
            items = [
                {"id": key, "path": name, "query": query} for key, (name, query) in self.sessions.items()
            ]
            return 200, "application/json", json.dumps({"itemCount": len(items), "items": items}).encode()
        if match := re.fullmatch(r"/v3/webrtcsessions/kick/([\w-]+)", path):
            return (200 if self.sessions.pop(match[1], None) else 404), "application/json", b""
        return 404, "application/json", b""

    def _file(self, name: str, file: str) -> tuple[int, str, bytes]:
        if name not in self.paths or file not in FILES:
            return 404, "text/plain", b""
        media = "application/vnd.apple.mpegurl" if file.endswith("m3u8") else "video/mp4"
        return 200, media, FILES[file]


def session_names(stand_in: MediaMtxStandIn) -> list[str]:
    """Our names of the sessions that it has."""
    return [parse_qs(query)["session"][0] for _, query in stand_in.sessions.values()]
