"""HTTP connections that cannot use up the process's descriptors: few of them, and none for long."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 100
#: From the connection, or the end of the answer before, to the end of the answer.
REQUEST_TIMEOUT_S = 10.0


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, which by itself waits for ever for the end of a header and for a client that reads.

    A connection over :data:`MAX_CONNECTIONS` takes the place of the oldest one that waits for its request: so
    probes are still answered while another client holds connections open.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a new connection, at the cost of another one when there are too many."""
        super().connection_made(transport)
        self._restart_timer()
        if len(self.connections) > MAX_CONNECTIONS:
            others = (other for other in self.connections if isinstance(other, BoundedProtocol))
            idle = (other for other in others if other.is_idle)
            min(idle, key=lambda other: other.deadline_s, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, too."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def on_response_complete(self) -> None:
        """Give the next request as long."""
        super().on_response_complete()
        self._restart_timer()

    @property
    def is_idle(self) -> bool:
        """It has sent no whole request that is not answered yet."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def deadline_s(self) -> float:
        """On the loop's clock."""
        return self._timer.when() if self._timer is not None else 0.0

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.abort)
