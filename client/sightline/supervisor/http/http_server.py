"""An HTTP port, the supervisor's or the console's: its socket, and connections that cannot use it up."""

import asyncio
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from sightline.config.groups import HttpOptions
from sightline.errors import ServerError
from sightline.supervisor.http.door import LONG

log = logging.getLogger(__name__)

App = Callable[..., Awaitable[None]]  # of ASGI
MAX_CONNECTIONS = 256  # more than may watch
#: From the connection, or the end of the answer before, to the end of the answer.
REQUEST_TIMEOUT_S = 10.0
#: An answer that may take longer goes on while its client reads something in this time.
LONG_TIMEOUT_S = 60.0
#: Between looks at whether the certificate's files have changed; the server ticks ten times a second.
RENEW_TICKS = 600
MAX_HANDSHAKES = MAX_CONNECTIONS
MAX_SAID_BYTES = 4096  # in a message of a WebSocket: nobody has to say anything
MAX_UNSENT_BYTES = 65_536  # what the system keeps of an answer: a slow viewer sees new pictures, and fewer
BIND_CURE = "set http.host to an address of this machine, and http.port to a free port"
CLOSE_S = 2.0  # a WebSocket that is closed has so long to read the rest, and to say that it is closed


class BoundedProtocol(H11Protocol):
    """HTTP connections that cannot use up the process's descriptors: few of them, and none for long.

    uvicorn's protocol by itself waits for ever for the end of a header and for a client that reads. A
    connection over :data:`MAX_CONNECTIONS` takes the place of one whose request has not wholly come, the
    oldest of whichever address has most: so others are still answered while a client holds connections open.
    """

    timer: asyncio.TimerHandle
    _drained = False  # the client has read on since the timer was set

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, at the cost of another one when there are too many."""
        super().connection_made(transport)
        self._set_timer(REQUEST_TIMEOUT_S)
        transport.set_write_buffer_limits(MAX_UNSENT_BYTES // 4)
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        others = [other for other in self.connections if isinstance(other, BoundedProtocol)]
        others = [other for other in others if not other.transport.is_closing()]
        if len(others) > MAX_CONNECTIONS:
            held = Counter(other.address for other in others)
            idle = (other for other in others if not other.is_served)
            first = min(idle, key=lambda other: (-held[other.address], other.timer.when()), default=self)
            first.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, too."""
        super().connection_lost(exc)
        self.timer.cancel()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Let a WebSocket have its time; it is pinged."""
        self.timer.cancel()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Give the next request as long."""
        super().on_response_complete()
        self.timer.cancel()
        self._set_timer(REQUEST_TIMEOUT_S)

    def resume_writing(self) -> None:
        """Note that the client reads on."""
        super().resume_writing()
        self._drained = True

    @property
    def is_served(self) -> bool:
        """Whether a whole request has come whose answer has not wholly gone."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    @property
    def is_long(self) -> bool:
        """Whether it is in the middle of an answer that may take long."""
        return self.is_served and bool(self.scope.get(LONG))

    @property
    def address(self) -> str:
        """From which it comes, be it a proxy's."""
        return self.client[0] if self.client else ""

    def _set_timer(self, seconds: float) -> None:
        self._drained = False
        self.timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """End what takes too long; an answer that may take long goes on while the client reads."""
        if self.is_long and (self._drained or not self.transport.get_write_buffer_size()):
            self._set_timer(LONG_TIMEOUT_S)
        else:
            self.transport.abort()


class BoundedSocket(WebSocketsSansIOProtocol):
    """WebSockets that end though their client reads nothing, and keep nothing for it.

    uvicorn's protocol by itself waits for ever for a client to read what is left, answers pings that are not
    waited for, and keeps parts of a message that are empty.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.close_timeout = CLOSE_S
        self._unread = 0  # bytes of answers to pings, since the client has read on

    def data_received(self, data: bytes) -> None:
        """Take what is said; not of a client that reads no answers."""
        before = self.transport.get_write_buffer_size()
        super().data_received(data)
        self._unread += self.transport.get_write_buffer_size() - before
        if self._unread > 4 * MAX_UNSENT_BYTES or len(self.frames) > MAX_SAID_BYTES:
            self.transport.abort()

    def resume_writing(self) -> None:
        """Note that the client reads on."""
        super().resume_writing()
        self._unread = 0

    def keepalive_timeout(self) -> None:
        """End a connection whose client does not answer."""
        super().keepalive_timeout()
        self.loop.call_later(self.close_timeout, self.transport.abort)

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """End the connection, whether the rest is read or not."""
        super().on_task_complete(task)
        self.loop.call_later(self.close_timeout, self.transport.abort)


class _Listener(socket.socket):
    """Accepts connections; those whose protocol has not begun are few, whoever makes them.

    asyncio tells nobody of a connection before its TLS handshake has ended, for which it waits a minute, nor
    before it has accepted all others that had come by then.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._waiting: list[tuple[socket.socket, str]] = []  # with the address from which it comes
        self.served: Callable[[], set[int]] = set  # descriptors of connections that have come further

    def accept(self) -> tuple[socket.socket, Any]:
        """Take one; over :data:`MAX_HANDSHAKES` the oldest of whichever address has most gives way."""
        connection, address = super().accept()
        self._waiting.append((connection, str(address[0])))
        if len(self._waiting) > MAX_HANDSHAKES:
            begun = {-1, *self.served()}
            self._waiting = [waiting for waiting in self._waiting if waiting[0].fileno() not in begun]
        if len(self._waiting) > MAX_HANDSHAKES:  # by one
            held = Counter(host for _, host in self._waiting)
            oldest = max(self._waiting, key=lambda waiting: held[waiting[1]])
            self._waiting.remove(oldest)
            with suppress(OSError):
                oldest[0].shutdown(socket.SHUT_RDWR)
        return connection, address


class _Server(uvicorn.Server):
    """Takes a certificate whose files have changed, for connections from then on."""

    _stamp: tuple[int, ...] = ()

    async def on_tick(self, counter: int) -> bool:
        """Now and then, too."""
        if self.config.ssl is not None and counter % RENEW_TICKS == 0:
            self._renew(self.config.ssl)
        return await super().on_tick(counter)

    def _renew(self, context: ssl.SSLContext) -> None:
        certificate, key = Path(str(self.config.ssl_certfile)), Path(str(self.config.ssl_keyfile))
        try:
            before, self._stamp = self._stamp, (certificate.stat().st_mtime_ns, key.stat().st_mtime_ns)
            if before and before != self._stamp:
                for each in (_new_context(), context):  # one that fails leaves the other as it is
                    each.load_cert_chain(certificate, key, password="")
                log.info("HTTP: the certificate is renewed")
        except (OSError, ValueError) as error:
            log.error("HTTP: the renewed certificate cannot be used, the old one serves on: %s", error)

    def descriptors(self) -> set[int]:
        """Of all connections whose protocol has begun."""
        transports = (connection.transport for connection in list(self.server_state.connections))
        # One that has just closed under TLS has no socket any more, and would end the accept of another.
        sockets = (transport.get_extra_info("socket") for transport in transports)
        return {one.fileno() for one in sockets if one is not None}

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what may take long; the rest has a second."""
        for connection in list(self.server_state.connections):
            if isinstance(connection, BoundedProtocol) and connection.is_long:
                connection.transport.abort()
        await super().shutdown(sockets)


class HttpServer:
    """Serves an application, from a thread of its own or from the one that calls :meth:`run`.

    Making it binds the port.

    Args:
        options: the address.
        app_at: gives what answers at an address.
        bind_cure: how a port that cannot be had is helped.
        settings: of uvicorn, where they are others than the supervisor's.

    Raises:
        ServerError: the port is taken, the address is not ours, or the certificate cannot be used.
    """

    def __init__(
        self,
        options: HttpOptions,
        app_at: Callable[[HttpOptions], App],
        *,
        bind_cure: str = BIND_CURE,
        **settings: Any,
    ) -> None:
        self._app_at, self._bind_cure, self._settings = app_at, bind_cure, settings
        self._listen(options)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return self._options.model_copy(update={"host": host, "port": port}).url

    @property
    def has_started(self) -> bool:
        """Whether it serves, or has served."""
        return self._server.started

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def run(self) -> None:
        """Serve until a signal comes, or :meth:`stop` is called elsewhere."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Stop serving and wait."""
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        self._socket.close()

    def move(self, options: HttpOptions) -> None:
        """Serve at another address from now on, or go on at the old one.

        Raises:
            ServerError: the port is taken, the address is not ours, or the certificate cannot be used.
        """
        _require_certificate(options)
        self.stop()
        try:
            self._listen(options)
        except ServerError:
            self._listen(self._options)
            raise
        finally:
            self.start()

    def _listen(self, options: HttpOptions) -> None:
        _require_certificate(options)
        self._socket = _Listener(socket.AF_INET6 if ":" in options.host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((options.host, options.port))
            self._socket.listen(64)
        except OSError as error:
            self._socket.close()
            where = f"{options.host}:{options.port}"
            problem = f"cannot listen on {where} ({error.strerror}); {self._bind_cure}"
            raise ServerError(problem) from error
        settings: dict[str, Any] = {"lifespan": "off", "ws_max_size": MAX_SAID_BYTES, **self._settings}
        config = uvicorn.Config(
            self._app_at(options),
            loop="asyncio",  # others accept connections past the socket's own method
            http=BoundedProtocol,
            ws=BoundedSocket,
            ws_per_message_deflate=False,
            ssl_certfile=options.tls_cert,
            ssl_keyfile=options.tls_key,
            proxy_headers=bool(options.trusted_proxies),
            forwarded_allow_ips=options.trusted_proxies,
            server_header=False,
            limit_concurrency=3 * MAX_CONNECTIONS,  # WebSockets, of which each kind has its own bound, too
            log_config=None,
            log_level="error",  # no line for each client that sends nonsense
            access_log=False,
            timeout_graceful_shutdown=1,
            **settings,
        )
        self._options, self._server = options, _Server(config)
        self._socket.served = self._server.descriptors
        self._thread = threading.Thread(target=self.run, name="http", daemon=True)


def _new_context() -> ssl.SSLContext:
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


def _require_certificate(options: HttpOptions) -> None:
    """Raise :class:`ServerError` unless its files, if there are any, can be used."""
    if options.tls_cert is not None:
        try:
            _new_context().load_cert_chain(options.tls_cert, options.tls_key, password="")
        except (OSError, ValueError) as error:  # what is wrong with the files is an OSError, too
            cure = "http.tls_cert names a certificate with its chain, http.tls_key its key without a password"
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise ServerError(f"TLS cannot be offered ({reason}); {cure}") from error
