"""Who asks: by the cookie of a sign-in, a token, or the key of this user's own programs."""

from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest
from ipaddress import ip_address
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from sightline.access.accounts import Accounts
from sightline.access.rights import How, Person, own_user
from sightline.access.tokens import Tokens
from sightline.entities import Role

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIE, HOST_PREFIX = "sightline", "__Host-"  # of a sign-in; the prefix by TLS alone
ANYBODY = Person("anybody", Role.ADMIN, None, How.NOTHING)


class Visitors(Protocol):
    """Tells who somebody is."""

    def person_of(self, connection: HTTPConnection) -> Person | None:
        """Whoever sends a request; None: nobody who is known. It may block."""


class NobodyElse:
    """Where accounts are switched off: whoever asks from this machine may do everything, others nothing."""

    def person_of(self, connection: HTTPConnection) -> Person | None:
        """Anybody, from a loopback address."""
        return ANYBODY if is_from_here(connection) else None


@dataclass(frozen=True, slots=True)
class KnownPeople:
    """Where accounts are on."""

    accounts: Accounts
    tokens: Tokens
    key: str  # of programs of the user that runs this one, on this machine

    def person_of(self, connection: HTTPConnection) -> Person | None:
        """By a bearer's token or, without one, the cookie: of a sign-in, or of a wall display its token."""
        kind, _, secret = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            secret = secret.strip()
            if is_here(address_of(connection)) and compare_digest(secret.encode(), self.key.encode()):
                return own_user()
            return self.tokens.person_of(secret)
        if not (session := session_of(connection)):
            return None
        if connection.scope.get("method") not in SAFE and "origin" not in connection.headers:
            raise HTTPException(403, "Origin has to say which page asks; a program shows a token")
        if (display := self.tokens.person_of(session)) is not None:
            return display if display.role is Role.DISPLAY else None
        return self.accounts.person_of(session)


def address_of(connection: HTTPConnection) -> str:
    """Of the client, or of the one for which a trusted proxy asks."""
    return connection.client.host if connection.client else ""


def is_here(address: str) -> bool:
    """Whether it is a loopback address."""
    with suppress(ValueError):
        found = ip_address(address)
        return (getattr(found, "ipv4_mapped", None) or found).is_loopback
    return False


def is_from_here(connection: HTTPConnection) -> bool:
    """Whether it comes from this machine, and no proxy here, trusted or not, asks for somebody elsewhere."""
    others = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
    return all(map(is_here, (address_of(connection), *filter(None, map(str.strip, others)))))


def wants_page(connection: HTTPConnection) -> bool:
    """Whether a browser shows the answer to somebody."""
    return "text/html" in connection.headers.get("accept", "")


def is_secure(connection: HTTPConnection) -> bool:
    """Whether nobody on the way can read it, as far as is known here."""
    return connection.url.scheme in {"https", "wss"}


def cookie_name(connection: HTTPConnection, name: str = COOKIE) -> str:
    """With TLS one that browsers take from this host alone, and never without TLS."""
    return f"{HOST_PREFIX}{name}" if is_secure(connection) else name


def session_of(connection: HTTPConnection) -> str:
    """What the cookie of a sign-in holds; "" without one."""
    return connection.cookies.get(cookie_name(connection), "")
