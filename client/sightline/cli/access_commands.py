"""``sightline user`` and ``sightline token``: who may sign in, and which programs may ask.

They write the database themselves, whether Sightline runs or not; what they change holds at once. A password
is asked for, or is the first line of the standard input; it is never an argument, which others could read.
"""

import argparse
import getpass
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sightline.cli.parsers import (
    add_command,
    add_config_option,
    add_group,
    parse_day,
    parse_number,
    require_name,
)
from sightline.config import ConfigOutline, load_outline
from sightline.entities import PERSON_ROLES, Role
from sightline.errors import SightlineError

if TYPE_CHECKING:
    from sightline.access.accounts import Accounts
    from sightline.access.rights import Caller
    from sightline.access.tokens import Tokens
    from sightline.store.access_store import Account

ALL_CAMERAS = "only these cameras, or none at all where none is named (default: all)"


def add_to(commands: Any) -> None:
    """Add the commands to the parser's subcommands."""
    named, cameras, expiry, json_too = (argparse.ArgumentParser(add_help=False) for _ in range(4))
    named.add_argument("name", metavar="NAME", help="of the account, in any capitals")
    cameras.add_argument("--cameras", nargs="*", metavar="CAMERA", help=ALL_CAMERAS)
    text = "closed from then on, UTC: 2026-11-20"
    expiry.add_argument("--expires", type=parse_day, metavar="DAY", help=text)
    json_too.add_argument("--json", action="store_true", help="print JSON")
    text = "who may sign in, as what, and what of"
    users = add_group(commands, "user", text)
    must = argparse.ArgumentParser(add_help=False)
    must.add_argument("--must-change", action="store_true", help="the password, at the next sign-in")
    parser = add_config_option(add_command(users, _user_add, named, cameras, expiry, must))
    _add_role_option(parser, PERSON_ROLES)
    add_config_option(add_command(users, _user_list, json_too))
    add_config_option(add_command(users, _user_passwd, named, must))
    add_config_option(add_command(users, _user_disable, named))
    add_config_option(add_command(users, _user_enable, named, expiry))
    add_config_option(add_command(users, _user_role, named)).add_argument("role", choices=PERSON_ROLES)
    parser = add_config_option(add_command(users, _user_cameras, named))
    parser.add_argument("cameras", nargs="*", metavar="CAMERA", help="none: no camera at all")
    parser.add_argument("--all", action="store_true", help="all, also those to come")
    tokens = add_group(commands, "token", "with what programs show who they are")
    parser = add_config_option(add_command(tokens, _token_create, cameras))
    _add_role_option(parser, tuple(Role))
    parser.add_argument("name", metavar="NAME", help="what the token is for")
    text = "it works for so long (default: %(default)g)"
    parser.add_argument("--days", type=parse_number(3650), default=365.0, help=text)
    add_config_option(add_command(tokens, _token_list, json_too))
    add_config_option(add_command(tokens, _token_revoke)).add_argument("name", help="its name or id")


def _add_role_option(parser: argparse.ArgumentParser, roles: Sequence[Role]) -> None:
    parser.add_argument("--role", choices=roles, default=Role.VIEWER, help="default: %(default)s")


def _user_add(arguments: argparse.Namespace) -> None:
    """Make an account; its password is asked for, or read from the standard input."""
    with _opened(arguments) as access:
        account = access.accounts.add(
            arguments.name,
            Role(arguments.role),
            _new_password(),
            access.caller,
            cameras=access.cameras(arguments.cameras),
            expires_at=arguments.expires,
            must_change=arguments.must_change,
        )
    print(f"{account.name}: {account.role}, {_seen(account.cameras)}")


def _user_list(arguments: argparse.Namespace) -> None:
    """List the accounts."""
    with _opened(arguments) as access:
        accounts = access.accounts.everybody()
    if arguments.json:
        _print_json(accounts, "password_hash", "account")
        return
    row = "{:24} {:9} {:12} {:10} {}"
    print(row.format("name", "role", "state", "expires", "cameras"))
    for account in accounts:
        print(
            row.format(
                account.name, account.role, _state(account), _day(account.expires_at), _seen(account.cameras)
            )
        )


def _user_passwd(arguments: argparse.Namespace) -> None:
    """Give an account another password and unlock it; whoever is signed in there has to sign in again."""
    with _opened(arguments) as access:
        access.accounts.set_password(
            arguments.name, _new_password(), access.caller, must_change=arguments.must_change
        )
    print(f"{arguments.name}: the password is changed")


def _user_disable(arguments: argparse.Namespace) -> None:
    """Close an account; whoever is signed in there no longer is."""
    with _opened(arguments) as access:
        access.accounts.disable(arguments.name, access.caller)
    print(f"{arguments.name}: closed")


def _user_enable(arguments: argparse.Namespace) -> None:
    """Open an account that was closed, locked, or has expired."""
    with _opened(arguments) as access:
        access.accounts.enable(arguments.name, access.caller, expires_at=arguments.expires)
    print(f"{arguments.name}: open")


def _user_role(arguments: argparse.Namespace) -> None:
    """Give an account another role."""
    with _opened(arguments) as access:
        access.accounts.set_role(arguments.name, Role(arguments.role), access.caller)
    print(f"{arguments.name}: {arguments.role}")


def _user_cameras(arguments: argparse.Namespace) -> None:
    """Say which cameras an account sees."""
    if arguments.all and arguments.cameras:
        raise SightlineError("give cameras or --all, not both")
    with _opened(arguments) as access:
        cameras = access.cameras(None if arguments.all else arguments.cameras)
        access.accounts.set_cameras(arguments.name, cameras, access.caller)
    print(f"{arguments.name}: {_seen(cameras)}")


def _token_create(arguments: argparse.Namespace) -> None:
    """Make a token and print it, this once."""
    with _opened(arguments) as access:
        token = access.tokens.create(
            arguments.name,
            Role(arguments.role),
            access.caller,
            days=arguments.days,
            cameras=access.cameras(arguments.cameras),
        )
    print("shown only now; keep it where others cannot read it", file=sys.stderr)
    if arguments.role == Role.DISPLAY:
        print("the display opens the console's address with /auth/wall#TOKEN behind it", file=sys.stderr)
    print(token)


def _token_list(arguments: argparse.Namespace) -> None:
    """List the tokens, without what they are."""
    with _opened(arguments) as access:
        tokens = access.tokens.all_tokens()
    if arguments.json:
        _print_json(tokens, "token_hash")
        return
    row = "{:8} {:24} {:9} {:10} {:10} {}"
    print(row.format("id", "name", "role", "until", "last used", "cameras"))
    for token in tokens:
        expired = token.expires_at is not None and token.expires_at <= time.time()
        until = "revoked" if token.revoked_at else "expired" if expired else _day(token.expires_at)
        used = _day(token.used_at) or "never"
        print(row.format(token.token_id, token.name, token.role, until, used, _seen(token.cameras)))


def _token_revoke(arguments: argparse.Namespace) -> None:
    """End a token at once."""
    with _opened(arguments) as access:
        access.tokens.revoke(arguments.name, access.caller)
    print(f"{arguments.name}: revoked")


@dataclass(frozen=True, slots=True)
class _Access:
    """What the commands work with."""

    accounts: "Accounts"
    tokens: "Tokens"
    caller: "Caller"
    config: ConfigOutline

    def cameras(self, names: list[str] | None) -> frozenset[str] | None:
        """The cameras, each of which must be one of the configuration's."""
        for name in names or ():
            require_name("camera", name, self.config.cameras)
        return None if names is None else frozenset(names)


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[_Access]:
    from sightline.access.accounts import Accounts
    from sightline.access.passwords import Passwords
    from sightline.access.rights import Caller, own_user
    from sightline.access.tokens import Tokens
    from sightline.config.access_options import AccessOptions
    from sightline.store.access_store import open_access_store

    os.umask(0o077)  # a database that is made here is for nobody else
    config = load_outline(arguments.config, "url")
    store = open_access_store(config.database.url.get_secret_value())
    try:
        operator = Caller(own_user())
        accounts = Accounts(store, AccessOptions(), Passwords())
        yield _Access(accounts, Tokens(store), operator, config)
    finally:
        store.close()


def _new_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Again: ") != password:
        raise SightlineError("these were two passwords; nothing is changed")
    return password


def _state(account: "Account") -> str:
    now = time.time()
    if not account.enabled:
        return "closed"
    if account.expires_at is not None and account.expires_at <= now:
        return "expired"
    if account.locked_until is not None and account.locked_until > now:
        return "locked"
    return "must change" if account.must_change else "open"


def _seen(cameras: frozenset[str] | None) -> str:
    return "all cameras" if cameras is None else ", ".join(sorted(cameras)) or "no camera"


def _day(time: float | None) -> str:
    return "" if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def _print_json(rows: list[Any], *left_out: str) -> None:
    values = ({key: value for key, value in asdict(row).items() if key not in left_out} for row in rows)
    print(json.dumps(list(values), indent=2, default=sorted))
