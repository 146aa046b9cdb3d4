"""Passwords: argon2id, a length and no other rule, and work that is bounded whatever is asked."""

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from sightline.errors import AccessError, TooManyAttempts

MIN_LENGTH = 12
MAX_LENGTH = 256
#: 64 MiB, two passes, one thread: some 0.1 s of a core. Hashes carry their parameters, so these may change.
HASHER = PasswordHasher(time_cost=2, memory_cost=64 * 1024, parallelism=1)
AT_ONCE = 2
WAIT_S = 5.0


class Passwords:
    """Makes and compares hashes, a few at once; any thread may ask.

    Args:
        hasher: the parameters of new hashes.
        at_once: so many are computed at a time, at most.
        wait_s: for one's turn; after that it is :class:`TooManyAttempts`.
    """

    def __init__(
        self, hasher: PasswordHasher = HASHER, *, at_once: int = AT_ONCE, wait_s: float = WAIT_S
    ) -> None:
        self._hasher = hasher
        self._turns = threading.BoundedSemaphore(at_once)
        self._wait_s = wait_s
        self._nobodys = hasher.hash("of no account")

    def hash(self, password: str) -> str:
        """A salted hash, with its parameters."""
        with self._turn():
            return self._hasher.hash(_bytes(password))

    def verify(self, hashed: str, password: str) -> bool:
        """Whether it is the password; of no hash ("") it is not, after as much work."""
        with self._turn():
            try:
                self._hasher.verify(hashed or self._nobodys, _bytes(password))
            except VerifyMismatchError:
                return False
        return hashed != ""

    def is_outdated(self, hashed: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(hashed)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self._wait_s):
            raise TooManyAttempts(self._wait_s)
        try:
            yield
        finally:
            self._turns.release()


def require_good(password: str, name: str) -> None:
    """Raise :class:`AccessError` unless it may be the password of the account of that name."""
    if not MIN_LENGTH <= len(_normal(password)) <= MAX_LENGTH:
        rule = f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters; a few words in a row will do"
        raise AccessError(rule)
    if _normal(password).casefold() == _normal(name).casefold():
        raise AccessError("a password must not be the account's name; choose another")


def _normal(password: str) -> str:
    """The same for all ways in which keyboards write the same characters."""
    return unicodedata.normalize("NFKC", password)


def _bytes(password: str) -> bytes:
    normal = _normal(password)
    return normal.encode("utf-8", "surrogatepass") if len(normal) <= MAX_LENGTH else b""
