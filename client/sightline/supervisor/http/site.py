"""All that the HTTP port offers, and who is let in."""

import logging
import secrets
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.access.accounts import Accounts
from sightline.access.passwords import Passwords
from sightline.access.tokens import Tokens
from sightline.base.extras import require_extra
from sightline.config import Config
from sightline.errors import ServerError, StoreError
from sightline.store.access_store import AccessStore
from sightline.store.read.readonly import Database
from sightline.supervisor.audited_commands import (
    Command,
    audited_commands,
    audited_reload,
    audited_switch,
)
from sightline.supervisor.config_history import ConfigHistory
from sightline.supervisor.control import Control
from sightline.supervisor.http.api_alerts import AlertsApi
from sightline.supervisor.http.api_config import ConfigApi
from sightline.supervisor.http.api_models import ModelsApi
from sightline.supervisor.http.api_people import PeopleApi
from sightline.supervisor.http.api_reading import ReadingApi
from sightline.supervisor.http.api_tries import TriesApi
from sightline.supervisor.http.api_wall import WallApi, WallDoor
from sightline.supervisor.http.api_what_if import WhatIfApi
from sightline.supervisor.http.door import Door
from sightline.supervisor.http.endpoint import Endpoint
from sightline.supervisor.http.openapi import with_openapi
from sightline.supervisor.http.own_programs import own_key
from sightline.supervisor.http.sign_in_pages import SignInPages
from sightline.supervisor.http.visitors import KnownPeople, NobodyElse
from sightline.supervisor.sinks.mqtt_sink import BY
from sightline.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from sightline.access.oidc import OidcClient

log = logging.getLogger(__name__)

ASK_AGAIN_S = 5.0  # whether there is an account, while the database does not answer


def api_endpoints(
    supervisor: Supervisor,
    control: Control,
    actions: Mapping[str, Callable[..., Any]],
    database: Database,
    store: AccessStore,
) -> list[Endpoint]:
    """The API, but for people.

    Args:
        supervisor: whose cameras they are.
        control: of the configuration.
        actions: what the running program does with alerts, by name.
        database: where results are.
        store: where it is kept who did what.
    """
    parts = (
        ReadingApi(supervisor, database, control),
        AlertsApi(actions, database, store),
        ConfigApi(control, store),
        ModelsApi(supervisor, control, store),
        TriesApi(store, control),
        WhatIfApi(control, database),
        WallApi(supervisor, control),
    )
    return [endpoint for part in parts for endpoint in part.endpoints()]


def access_endpoints(
    accounts: Accounts, tokens: Tokens, store: AccessStore, oidc: "OidcClient | None" = None
) -> list[Endpoint]:
    """What there is where accounts are on: signing in, people, tokens, and who did what."""
    parts = (SignInPages(accounts, oidc), WallDoor(tokens), PeopleApi(accounts, tokens, store))
    return [endpoint for part in parts for endpoint in part.endpoints()]


class Site:
    """Accounts, the door before everything, and the history of the configuration.

    Args:
        options: as the program was started.
        store: of accounts.
        database: where results are; closed with the store.
        endpoints: what there is besides accounts.
        folder: of the program's commands: where its own user's key lies.

    Raises:
        SightlineError: an identity provider is configured, and its library is not installed.
    """

    def __init__(
        self,
        options: Config,
        store: AccessStore,
        database: Database,
        endpoints: Iterable[Endpoint],
        folder: Path,
    ) -> None:
        self._store, self._database = store, database
        self.history = ConfigHistory(store)
        self._accounts: Accounts | None = None
        self._stop = threading.Event()
        self._greeting: threading.Thread | None = None
        try:
            key = own_key(folder)
        except ServerError as error:
            log.error("%s; `sightline status` and the console are not let in", error)
            key = secrets.token_urlsafe(32)  # nobody's
        if not options.access.enabled:
            log.warning("access.enabled is false: whoever asks from this machine may see and do everything")
            self.door = Door(with_openapi(endpoints), NobodyElse(), key)
            return
        self._accounts = Accounts(store, options.access, Passwords())
        oidc = None
        if options.access.oidc is not None:
            require_extra("authlib", "access.oidc needs Authlib", "oidc")
            from sightline.access.oidc import OidcClient  # noqa: PLC0415  an extra

            oidc = OidcClient(options.access.oidc)
        tokens = Tokens(store)
        own = access_endpoints(self._accounts, tokens, store, oidc)
        people = KnownPeople(self._accounts, tokens, key)
        self.door = Door(with_openapi([*own, *endpoints]), people, key)

    def update(self, options: Config) -> None:
        """Go by other options of ``access`` from now on."""
        if self._accounts is not None:
            self._accounts.update(options.access)

    def start(self, url: str, config: str) -> None:
        """While there is no account, tell on the terminal by which link of ``url`` the first one is made.

        Without a terminal it is only told that there is none: a log is read by others. ``config`` is the
        text of the configuration without its secrets, of which the history may not know yet.
        """
        self.history.catch_up(config)
        if self._accounts is not None:
            self._greeting = threading.Thread(
                target=self._greet, args=(self._accounts, url), name="greeting", daemon=True
            )
            self._greeting.start()

    def _greet(self, accounts: Accounts, url: str) -> None:
        """As soon as the database answers."""
        while not self._stop.is_set():
            try:
                link = accounts.make_set_up_link()
                break
            except StoreError:
                self._stop.wait(ASK_AGAIN_S)
        else:
            return
        if link is not None and sys.stderr.isatty():
            sys.stderr.write("\nNobody has an account yet. Make the first one, within an hour:\n")
            sys.stderr.write(f"    {url}/auth/set-up#{link}\n\n")
        elif link is not None:
            log.warning("nobody has an account yet; `sightline user add NAME --role admin` makes one")

    def commands(self, actions: Mapping[str, Command]) -> dict[str, Command]:
        """What this program's user can ask for by commands, kept in the audit."""
        return audited_commands(actions, self._store)

    def switch(self, set_enabled: Command) -> Command:
        """What switches cameras by messages of the broker, kept in the audit."""
        return audited_switch(set_enabled, self._store, BY)

    def reload(self, control: Control) -> None:
        """Read the configuration again, kept in the audit."""
        audited_reload(control, self._store)

    def close(self) -> None:
        """Stop, and close what reads and writes the database."""
        self._stop.set()
        if self._greeting is not None:
            self._greeting.join(timeout=1.0)
        self._store.close()
        self._database.close()
