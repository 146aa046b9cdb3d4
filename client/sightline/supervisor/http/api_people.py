"""The API for people, tokens, and who did what: for admins."""

import time
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from sightline.access.accounts import INVITATION_S, Accounts
from sightline.access.audit import Action
from sightline.access.rights import Right
from sightline.access.tokens import MAX_NAME, Tokens
from sightline.entities import Role
from sightline.store.access_store import AccessStore, Account, ApiToken, AuditEntry, AuditFilter
from sightline.supervisor.http.endpoint import LAST, Call, Endpoint, Taken

_Cameras = frozenset[str] | None


class NewPerson(Taken):
    """An account to be made."""

    name: str = Field(max_length=256)
    password: str | None = Field(None, max_length=1024, description="Null: it is given by an invitation.")
    role: Role = Role.VIEWER
    cameras: _Cameras = Field(None, description="Null: all.")
    expires_at: float | None = Field(None, ge=0, le=LAST)
    must_change: bool = Field(True, description="The password, at the first sign-in.")


class ChangedPerson(Taken):
    """What is to be another of an account; what is left out stays."""

    role: Role | None = None
    cameras: _Cameras = Field(None, description="Null: all.")
    enabled: bool | None = None
    expires_at: float | None = Field(None, ge=0, le=LAST, description="With enabled: true; null: never.")
    password: str | None = Field(None, max_length=1024, description="To be changed at the next sign-in.")


class NewToken(Taken):
    """A token to be made."""

    name: str = Field(max_length=MAX_NAME)
    role: Role = Role.VIEWER
    cameras: _Cameras = Field(None, description="Null: all.")
    days: float = Field(365.0, gt=0, le=3650)


class AuditQuery(Taken):
    """Which entries of the audit."""

    limit: int = Field(100, ge=1, le=1000)
    before: int | None = Field(None, ge=0, lt=1 << 63, description="An entry_id: only older ones.")
    who: str = Field("", max_length=100, description="Stands in the name of who did it.")
    action: Action | None = None
    about: str = Field("", max_length=255, description="Stands in the target or the detail: a camera.")
    start: float = Field(0.0, ge=0, le=LAST, description="UTC epoch seconds.")
    end: float | None = Field(None, ge=0, le=LAST, description="The first moment after it; null: now.")


@dataclass(frozen=True, slots=True)
class ShownPerson:
    """An account, without its password's hash."""

    name: str
    role: Role
    cameras: list[str] | None  # null: all
    enabled: bool
    must_change: bool
    expires_at: float | None
    locked_until: float | None
    created_at: float
    of_provider: bool  # the identity provider's, which says what it may
    has_password: bool
    seen_at: float | None  # as far as is kept


@dataclass(frozen=True, slots=True)
class ShownToken:
    """A token, without what it is."""

    token_id: str
    name: str
    role: Role
    cameras: list[str] | None  # null: all
    created_by: str
    created_at: float
    expires_at: float
    used_at: float | None
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """What makes a link, shown this once: it is /auth/invitation with this behind a #."""

    link: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token, shown this once."""

    token: str


class PeopleApi:
    """Who may sign in, which programs may ask, and what was done.

    Args:
        accounts: the people.
        tokens: of programs.
        store: the audit's.
    """

    def __init__(self, accounts: Accounts, tokens: Tokens, store: AccessStore) -> None:
        self._accounts, self._tokens, self._store = accounts, tokens, store

    def endpoints(self) -> list[Endpoint]:
        """All of them."""
        people, manage = "/api/v1/people", Right.MANAGE_PEOPLE
        tokens, audit = "/api/v1/tokens", "/api/v1/audit"
        one = f"{people}/{{name}}"
        return [
            Endpoint("GET", people, manage, self._people, gives=list[ShownPerson]),
            Endpoint("POST", people, manage, self._add, takes=NewPerson, gives=ShownPerson),
            Endpoint("PUT", one, manage, self._change, takes=ChangedPerson, gives=ShownPerson),
            Endpoint("POST", f"{one}/invitation", manage, self._invite, gives=Invitation),
            Endpoint("DELETE", f"{one}/sign-ins", manage, self._end_sign_ins),
            Endpoint("GET", tokens, manage, self._all_tokens, gives=list[ShownToken]),
            Endpoint("POST", tokens, manage, self._make_token, takes=NewToken, gives=MadeToken),
            Endpoint("DELETE", f"{tokens}/{{token}}", manage, self._revoke),
            Endpoint("GET", audit, Right.SEE_AUDIT, self._audit, takes=AuditQuery, gives=list[AuditEntry]),
        ]

    def _people(self, _: Call) -> list[ShownPerson]:
        """All accounts, by name."""
        seen = self._accounts.last_seen()
        return [_shown_person(item, seen.get(item.account)) for item in self._accounts.everybody()]

    def _add(self, call: Call) -> ShownPerson:
        """Make an account."""
        taken: NewPerson = call.taken
        return _shown_person(
            self._accounts.add(
                taken.name,
                taken.role,
                taken.password,
                call.caller,
                cameras=taken.cameras,
                expires_at=taken.expires_at,
                must_change=taken.must_change,
            )
        )

    def _change(self, call: Call) -> ShownPerson:
        """Change an account: role, cameras, password; close it or open it. All its sign-ins end."""
        taken: ChangedPerson = call.taken
        name, by, accounts = call.connection.path_params["name"], call.caller, self._accounts
        if taken.role is not None:
            accounts.set_role(name, taken.role, by)
        if "cameras" in taken.model_fields_set:
            accounts.set_cameras(name, taken.cameras, by)
        if taken.password is not None:
            accounts.set_password(name, taken.password, by, must_change=True)
        if taken.enabled is False:
            accounts.disable(name, by)
        elif taken.enabled:
            accounts.enable(name, by, expires_at=taken.expires_at)
        return _shown_person(accounts.find(name))

    def _invite(self, call: Call) -> Invitation:
        """Make a link by which somebody gives their account a password, once, within three days."""
        link = self._accounts.invite(call.connection.path_params["name"], call.caller)
        return Invitation(link, time.time() + INVITATION_S)

    def _end_sign_ins(self, call: Call) -> None:
        """Sign somebody out everywhere."""
        self._accounts.end_sign_ins(call.connection.path_params["name"], call.caller)

    def _all_tokens(self, _: Call) -> list[ShownToken]:
        """All tokens, the oldest first, without what they are."""
        return [_shown_token(token) for token in self._tokens.all_tokens()]

    def _make_token(self, call: Call) -> MadeToken:
        """Make a token; it is shown this once."""
        taken: NewToken = call.taken
        return MadeToken(
            self._tokens.create(taken.name, taken.role, call.caller, days=taken.days, cameras=taken.cameras)
        )

    def _revoke(self, call: Call) -> None:
        """End a token, by its name or id."""
        self._tokens.revoke(call.connection.path_params["token"], call.caller)

    def _audit(self, call: Call) -> list[AuditEntry]:
        """Who did what, the newest first."""
        taken: AuditQuery = call.taken
        wanted = AuditFilter(
            who=taken.who,
            action=taken.action or "",
            about=taken.about,
            start=taken.start,
            end=taken.end,
        )
        with self._store.reading() as rows:
            return rows.entries(taken.limit, before=taken.before, wanted=wanted)


def _shown_person(account: Account, seen_at: float | None = None) -> ShownPerson:
    values: dict[str, Any] = {
        name: getattr(account, name)
        for name in ("name", "role", "enabled", "must_change", "expires_at", "locked_until", "created_at")
    }
    return ShownPerson(
        **values,
        cameras=_sorted(account.cameras),
        of_provider=account.subject is not None,
        has_password=account.password_hash != "",
        seen_at=seen_at,
    )


def _shown_token(token: ApiToken) -> ShownToken:
    names = set(ShownToken.__dataclass_fields__) - {"cameras"}
    return ShownToken(**{name: getattr(token, name) for name in names}, cameras=_sorted(token.cameras))


def _sorted(cameras: frozenset[str] | None) -> list[str] | None:
    return None if cameras is None else sorted(cameras)
