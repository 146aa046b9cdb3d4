"""Servers that are told of alerts: HTTP and SMTP, real ones, on loopback."""

import email.policy
import json
import ssl
import threading
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


class HookServer:
    """An HTTP server that remembers what it is sent, and answers as it is told."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []  # then 202
        self.body = b"no"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((dict(self.headers), body))
                code, headers = outer.answers.pop(0) if outer.answers else (202, {})
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]


class Mail:
    """An SMTP server that keeps what it is sent; it can be away, and come back.

    Args:
        port: of loopback.
        password: that everybody needs; empty: nobody.
        tls: certificate and key with which it offers STARTTLS; None: it does not.

    Attributes:
        refusals: what is said to some recipients, by address; by "picture", to e-mails with one.
    """

    def __init__(self, port: int, password: str = "", tls: tuple[Path, Path] | None = None) -> None:
        self.messages: list[EmailMessage] = []
        self.refusals: dict[str, str] = {}
        self.told: list[str] = []  # recipients of e-mails, one after the other
        self.sessions: list[Session] = []  # one for each connection over which e-mails came
        self.port = port
        people = "to=guards@example.org&from=sightline@example.org"
        self.url = f"mailto://127.0.0.1:{port}?mode={'starttls' if tls else 'insecure'}&{people}"
        options: dict[str, Any] = {}
        if password:
            options |= {
                "authenticator": lambda *given: AuthResult(
                    success=given[4].password == password.encode(), handled=False
                ),
                "auth_require_tls": False,
            }
        if tls:
            options["tls_context"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            options["tls_context"].load_cert_chain(*tls)
        self._options = options
        self._controller: Controller | None = None

    async def handle_RCPT(  # noqa: N802  aiosmtpd calls it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refusals:
            return self.refusals[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  aiosmtpd calls it
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if session not in self.sessions:
            self.sessions.append(session)
        content = envelope.content or b""
        data = content if isinstance(content, bytes) else content.encode()
        message = email.message_from_bytes(data, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        if "picture" in self.refusals and [*message.iter_attachments()]:
            return self.refusals["picture"]
        self.told += envelope.rcpt_tos
        self.messages.append(message)
        return "250 OK"

    def start(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, **self._options)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None
