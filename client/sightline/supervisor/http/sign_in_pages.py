"""Signing in and out in a browser: by password, by a link, or at an identity provider."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response

from sightline.access.accounts import Accounts, SignedIn
from sightline.access.rights import Person, Right
from sightline.supervisor.http.endpoint import Call, Endpoint, Taken
from sightline.supervisor.http.visitors import cookie_name, is_secure, session_of

if TYPE_CHECKING:
    from sightline.access.oidc import OidcClient

CALLBACK = "/auth/oidc/callback"
_STATE = "sightline-oidc"  # the cookie that the browser keeps while it is at the provider
_STATE_S = 600
_MAX_TEXT = 1024  # characters; those who check names and passwords are stricter
PAGES = Path(__file__).parent / "pages"


class PasswordSignIn(Taken):
    """Name and password."""

    name: str = Field(max_length=_MAX_TEXT)
    password: str = Field(max_length=_MAX_TEXT)


class SetUp(PasswordSignIn):
    """The first account, by the link that the terminal has shown."""

    link: str = Field(max_length=_MAX_TEXT)


class LinkSignIn(Taken):
    """The demo's link."""

    link: str = Field(max_length=_MAX_TEXT)


class AcceptedInvitation(LinkSignIn):
    """An invitation, and the password that the account is to have."""

    password: str = Field(max_length=_MAX_TEXT)


class NewPassword(Taken):
    """The password as it is, and another one."""

    password: str = Field(max_length=_MAX_TEXT)
    new: str = Field(max_length=_MAX_TEXT)


class BeginSignIn(Taken):
    """Where to go afterwards: a path of this site."""

    next: str = Field("/", max_length=_MAX_TEXT)


class SignInPages:
    """What a browser asks for before it is signed in, and to end that.

    Args:
        accounts: who signs in.
        oidc: the identity provider, if there is one.
    """

    def __init__(self, accounts: Accounts, oidc: "OidcClient | None" = None) -> None:
        self._accounts, self._oidc = accounts, oidc

    def endpoints(self) -> list[Endpoint]:
        """All of them; a right is asked for to change the password alone."""
        page = partial(Endpoint, "GET", right=Right.SIGN_IN, media="text/html")
        file = partial(page_file, what="A part of the page at which people sign in.")
        change = partial(Endpoint, "POST", right=Right.SIGN_IN, media="application/json")
        forms = ("/auth/sign-in", "/auth/set-up", "/auth/link", "/auth/invitation")
        return [
            *(file(path, "sign_in.html", "text/html") for path in forms),
            file("/auth/sign_in.js", "sign_in.js", "text/javascript"),
            file("/auth/sign_in.css", "sign_in.css", "text/css"),
            file("/auth/sign_in.svg", "sign_in.svg", "image/svg+xml"),
            Endpoint("GET", "/auth/me", Right.SIGN_IN, self._me, media="application/json"),
            change("/auth/sign-in", handler=self._sign_in, takes=PasswordSignIn),
            change("/auth/set-up", handler=self._set_up, takes=SetUp),
            change("/auth/link", handler=self._sign_in_by_link, takes=LinkSignIn),
            change("/auth/invitation", handler=self._accept, takes=AcceptedInvitation),
            change("/auth/sign-out", handler=self._sign_out),
            Endpoint(
                "POST",
                "/auth/password",
                Right.CHANGE_PASSWORD,
                self._change_password,
                takes=NewPassword,
                media="application/json",
            ),
            *([page("/auth/oidc", handler=self._begin, takes=BeginSignIn)] if self._oidc else ()),
            *([page(CALLBACK, handler=self._complete)] if self._oidc else ()),
        ]

    def _me(self, call: Call) -> Response:
        """Who is signed in here, and which ways there are."""
        person = call.caller.person
        return JSONResponse({"person": person and shown(person), "oidc": self._oidc is not None})

    def _sign_in(self, call: Call) -> Response:
        """Sign in by name and password."""
        taken, caller = call.taken, call.caller
        return _signed_in(call, self._accounts.sign_in(taken.name, taken.password, caller.address))

    def _set_up(self, call: Call) -> Response:
        """Make the first account, an admin's, and sign it in."""
        taken, address = call.taken, call.caller.address
        return _signed_in(call, self._accounts.set_up(taken.link, taken.name, taken.password, address))

    def _sign_in_by_link(self, call: Call) -> Response:
        """Sign in by the demo's link."""
        return _signed_in(call, self._accounts.sign_in_by_link(call.taken.link, call.caller.address))

    def _accept(self, call: Call) -> Response:
        """Give an account a password by an invitation, and sign in there."""
        taken, address = call.taken, call.caller.address
        return _signed_in(call, self._accounts.accept(taken.link, taken.password, address))

    def _sign_out(self, call: Call) -> Response:
        """End the sign-in."""
        session = session_of(call.connection)
        if session and call.caller.person is not None:  # nothing is written for strangers
            self._accounts.sign_out(session, call.caller.address)
        answer = JSONResponse({"person": None})
        keep_secret(answer, call.connection, "", 0)
        return answer

    def _change_password(self, call: Call) -> Response:
        """Change one's own password; every other sign-in of the account ends."""
        session, taken = session_of(call.connection), call.taken
        changed = self._accounts.change_password(session, taken.password, taken.new, call.caller.address)
        return _signed_in(call, changed)

    def _begin(self, call: Call) -> Response:
        """Go to the identity provider."""
        assert self._oidc is not None  # noqa: S101  else it is no endpoint
        redirect_uri = str(call.connection.base_url.replace(path=CALLBACK))
        url, state = self._oidc.begin(redirect_uri, call.taken.next)
        answer = RedirectResponse(url, 303)
        _set_cookie(answer, call.connection, cookie_name(call.connection, _STATE), state, _STATE_S)
        return answer

    def _complete(self, call: Call) -> Response:
        """Come back from the identity provider."""
        assert self._oidc is not None  # noqa: S101  else it is no endpoint
        name = cookie_name(call.connection, _STATE)
        arrival = self._oidc.complete(call.connection.query_params, call.connection.cookies.get(name, ""))
        signed_in = self._accounts.admit(arrival.identity, call.caller.address)
        answer = _with_session(RedirectResponse(arrival.next_path, 303), call.connection, signed_in)
        _set_cookie(answer, call.connection, name, "", 0)
        return answer


def shown(person: Person) -> dict[str, Any]:
    """Somebody, as they are told of themselves."""
    cameras = None if person.cameras is None else sorted(person.cameras)
    return {
        "name": person.name,
        "role": person.role,
        "cameras": cameras,
        "how": person.how,
        "must_change": person.must_change,
    }


def page_file(path: str, names: str, media: str, what: str) -> Endpoint:
    """What gives everybody a file of the pages, or several as one; ``what`` it is, in one line."""
    content = b"\n".join((PAGES / name).read_bytes() for name in names.split())

    async def give(_: Call) -> Response:
        return Response(content, media_type=media)

    give.__doc__ = what
    return Endpoint("GET", path, Right.SIGN_IN, give, media=media)


def _signed_in(call: Call, signed_in: SignedIn) -> Response:
    answer = JSONResponse({"person": shown(signed_in.person)})
    return _with_session(answer, call.connection, signed_in)


def _with_session(answer: Response, connection: HTTPConnection, signed_in: SignedIn) -> Response:
    age_s = max(1, int(signed_in.expires_at - time.time()))
    keep_secret(answer, connection, signed_in.session, age_s)
    return answer


def keep_secret(answer: Response, connection: HTTPConnection, secret: str, age_s: int) -> None:
    """Let the browser show a secret from now on, for so long."""
    _set_cookie(answer, connection, cookie_name(connection), secret, age_s)


def _set_cookie(answer: Response, connection: HTTPConnection, name: str, value: str, age_s: int) -> None:
    """Lax: the identity provider's redirect brings it along; what changes something asks for Origin too."""
    secure = is_secure(connection)
    answer.set_cookie(name, value, max_age=age_s, path="/", secure=secure, httponly=True, samesite="lax")
