"""Short-lived leave to do one thing with one path of the media server; kept nowhere."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

LIFE_S = 60


class PathTokens:
    """Makes and checks tokens, with a key that nobody else has and that ends with the program.

    Args:
        clock: UTC epoch seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._key, self._clock = secrets.token_bytes(32), clock

    def make(self, action: str, path: str) -> str:
        """Leave for an action with a path, as the media server names both, for :data:`LIFE_S`."""
        return self._signed(int(self._clock()) + LIFE_S, action, path)

    def allows(self, token: str, action: str, path: str) -> bool:
        """Whether it was made here for just that, and not long ago."""
        expires = token.partition(".")[0]
        if not (expires.isascii() and expires.isdigit() and len(expires) < 12):
            return False
        signed = self._signed(int(expires), action, path)
        return hmac.compare_digest(token.encode(), signed.encode()) and self._clock() < int(expires)

    def _signed(self, expires: int, action: str, path: str) -> str:
        text = f"{expires}\n{action}\n{path}".encode()
        return f"{expires}.{hmac.new(self._key, text, hashlib.sha256).hexdigest()}"
