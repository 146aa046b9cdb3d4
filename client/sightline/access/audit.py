"""Who did what: one function keeps it, in the same transaction as what was done where there is one."""

import logging
import time
from enum import StrEnum

from sightline.access.rights import Caller
from sightline.base.redact import harmless, redact
from sightline.errors import StoreError
from sightline.store.access_store import AccessRows, AccessStore, AuditEntry

log = logging.getLogger(__name__)

MAX_DETAIL = 1000  # characters


class Action(StrEnum):
    """What was done."""

    SIGN_IN = "sign_in"
    SIGN_OUT = "sign_out"
    SET_UP = "set_up"
    CHANGE_PASSWORD = "change_password"  # noqa: S105  no password
    INVITE = "invite"
    ADD_ACCOUNT = "add_account"
    CHANGE_ACCOUNT = "change_account"
    CREATE_TOKEN = "create_token"  # noqa: S105  no token
    REVOKE_TOKEN = "revoke_token"  # noqa: S105  no token
    CHANGE_CONFIG = "change_config"
    CHANGE_MODEL = "change_model"
    CHANGE_ALERT = "change_alert"
    MUTE = "mute"
    PROBE = "probe"
    TEST_ROUTE = "test_route"


def record(
    rows: AccessRows,
    action: Action,
    target: str,
    by: Caller,
    now: float,
    *,
    detail: str = "",
    refused: bool = False,
) -> None:
    """Keep who did what.

    Args:
        rows: the transaction in which it was done.
        action: what.
        target: to which account, token, camera or file.
        by: who, from where.
        now: UTC epoch seconds.
        detail: more, such as old and new values; no secret may be in it.
        refused: it was tried, and not done.
    """
    rows.add_entry(
        AuditEntry(
            time=now,
            who=by.name[:100],
            how=by.person.how if by.person else "",
            address=by.address[:64],
            action=action,
            target=harmless(target)[:255],
            outcome="refused" if refused else "done",
            detail=redact(harmless(detail))[:MAX_DETAIL],
        )
    )


def record_alone(
    store: AccessStore, action: Action, target: str, by: Caller, *, detail: str = "", refused: bool = False
) -> None:
    """As :func:`record`, in a transaction of its own: of what takes too long for one, or needs none."""
    with store.writing() as rows:
        record(rows, action, target, by, time.time(), detail=detail, refused=refused)


def record_done(
    store: AccessStore, action: Action, target: str, by: Caller, *, detail: str = "", refused: bool = False
) -> None:
    """As :func:`record_alone`, of what has ended by then: that it cannot be kept is only logged."""
    try:
        record_alone(store, action, target, by, detail=detail, refused=refused)
    except StoreError as error:
        log.warning("not in the audit: %s of %s by %s: %s", action, target, by.name, redact(error))
