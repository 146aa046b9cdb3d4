"""The supervisor's HTTP API, asked as whoever looks at a page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from time import monotonic
from typing import Any
from urllib.parse import urlencode

from console.console_options import SupervisorPort
from console.texts import AWAY, AWAY_REMEDY, DATABASE_AWAY, DATABASE_AWAY_REMEDY
from sightline.access.rights import How, Person
from sightline.entities import Role
from sightline.errors import SightlineError
from sightline.supervisor.http.visitors import ANYBODY, COOKIE, HOST_PREFIX, is_here

#: For so long at most it is believed who somebody is.
FRESH_S = 3.0
TIMEOUT_S = 10.0
WHO_S = 4.0  # to say who somebody is: every page waits for it
SECURE_COOKIE = f"{HOST_PREFIX}{COOKIE}"
_MAX_SESSION = 512  # characters; ours are shorter


class SupervisorAway(SightlineError):
    """The supervisor does not answer.

    Attributes:
        problem: in one line, for whoever looks.
        remedy: what to do about it, in one sentence.
    """

    problem, remedy = AWAY, AWAY_REMEDY


class AccountsAway(SupervisorAway):
    """It answers, but cannot say who somebody is: its database is away."""

    problem, remedy = DATABASE_AWAY, DATABASE_AWAY_REMEDY


class ApiRefused(SightlineError):
    """The API says no; the text is its own.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Api:
    """The API for one viewer."""

    supervisor: SupervisorPort
    cookie: str  # of the sign-in, as a header; "": none
    address: str  # of the browser
    secure: bool  # the browser asks by TLS

    @staticmethod
    def of(supervisor: SupervisorPort, cookies: Mapping[str, str], address: str) -> "Api":
        """The API as a browser with these cookies, at this address, asks it."""
        secure = SECURE_COOKIE in cookies  # a browser keeps that one with TLS alone
        name = SECURE_COOKIE if secure else COOKIE
        session = cookies.get(name, "")
        is_one = 0 < len(session) <= _MAX_SESSION
        return Api(supervisor, f"{name}={session}" if is_one else "", address, secure)

    def get(self, path: str, **query: Any) -> Any:
        """What is at a path; a sequence in the query stands for several values."""
        return self.ask("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path)

    def post(self, path: str, body: Any = None, *, timeout_s: float = TIMEOUT_S) -> Any:
        """Do something."""
        return self.ask("POST", path, body, timeout_s=timeout_s)

    def ask(
        self, method: str, path: str, body: Any = None, *, version: str = "", timeout_s: float = TIMEOUT_S
    ) -> Any:
        """The answer's JSON; None where it is empty.

        With ``version`` something is changed only if it is still that one (412 otherwise).

        Raises:
            ApiRefused: it is no success.
            SupervisorAway: there is none within ``timeout_s``.
        """
        port = self.supervisor
        sent = {"Cookie": self.cookie} if self.cookie else {}
        sent |= {"Origin": port.url, **port.on_behalf_of(self.address, secure=self.secure)}
        if version:
            sent["If-Match"] = f'"{version}"'
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        connection = HTTPConnection(port.host, port.port, timeout=timeout_s)
        try:
            if port.certificate is not None:
                connection = HTTPSConnection(port.host, port.port, timeout=timeout_s, context=port.tls)
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            raise SupervisorAway(f"{port.url} does not answer ({error})") from error
        finally:
            connection.close()
        try:
            given = json.loads(text) if text else None
        except ValueError:
            given = None
        if status >= 400:
            told = given.get("error") if isinstance(given, dict) else None
            raise ApiRefused(status, told or f"the answer is {status}")
        return given

    def person(self) -> Person | None:
        """Whoever looks, as the supervisor says, asked anew after :data:`FRESH_S`; None: nobody it knows.

        Raises:
            SupervisorAway: it cannot be asked.
        """
        return _person(self, int(monotonic() / FRESH_S))

    def sign_out(self) -> None:
        """End the sign-in, here and now."""
        self.post("/auth/sign-out")
        _person.cache_clear()


@lru_cache(maxsize=1024)
def _person(api: Api, period: int) -> Person | None:
    del period
    try:
        found = api.ask("GET", "/auth/me", timeout_s=WHO_S)["person"]
    except ApiRefused as refused:
        if refused.status == 404:  # accounts are switched off: whoever sits here may do everything
            return ANYBODY if is_here(api.address) else None
        kind = AccountsAway if refused.status == 503 else SupervisorAway
        raise kind(f"it cannot be told who is signed in: {refused}") from refused
    if found is None:
        return None
    cameras = None if found["cameras"] is None else frozenset(found["cameras"])
    return Person(found["name"], Role(found["role"]), cameras, How(found["how"]), found["must_change"])


def accounts_are_off(supervisor: SupervisorPort) -> bool:
    """Whether the supervisor asks nobody who they are.

    Raises:
        SupervisorAway: it cannot be asked.
    """
    return Api(supervisor, "", "127.0.0.1", secure=False).person() is ANYBODY
