"""A route of alerts as a form, and what is to stand in the file for it; secrets are never shown."""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import streamlit as st
import yaml

from console.config_review import Edits
from sightline.config.alerts import WAYS, AlertPicture, AlertRoute, Severity
from sightline.config.yaml_edit import GONE

MAIL, WEBHOOK, PAGERDUTY, SERVICE, TEXT = "E-mail", "Webhook", "PagerDuty", "Another service", "YAML"
KINDS = (MAIL, WEBHOOK, PAGERDUTY, SERVICE, TEXT)
#: What a route is, by the key that it has in the file.
WAY_NAMES = {"apprise": "e-mail or another service", "webhook": "webhook", "pagerduty": "PagerDuty"}
SECURITY = {"STARTTLS": "starttls", "TLS": "ssl", "none": "insecure"}
SERVICES = (
    "A URL of Apprise, such as ntfys://TOPIC, slack://TOKEN/#CHANNEL, tgram://TOKEN/CHAT or "
    "mqtts://USER:PASSWORD@HOST/TOPIC; appriseit.com/services lists them."
)
MASKED = "Addresses and keys are masked: left as they stand here, they stay what they are."
OTHER_KEYS = ("min_severity", "timeout_s", "picture")
_FIELDS = AlertRoute.model_fields
DEFAULTS = {name: _FIELDS[name].default for name in OTHER_KEYS}


def mail_url(server: str, security: str, people: str, sender: str, user: str, password: str) -> str:
    """A URL of Apprise; ``server`` HOST or HOST:PORT, ``people`` with commas between them."""
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "") + "@" if user else ""
    query = {"to": ",".join(people.replace(",", " ").split()), "from": sender, "mode": SECURITY[security]}
    scheme = "mailto" if security == "none" else "mailtos"
    return f"{scheme}://{login}{server}?{urlencode({k: v for k, v in query.items() if v}, safe='@,')}"


def route_edits(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Edits:
    """What is to be another in the file; ``before`` None: the route is new.

    Without an address in ``after`` it leads where it led.
    """
    if before is None:
        return {("routes", name): {key: value for key, value in after.items() if value != DEFAULTS.get(key)}}
    edits: dict[tuple[str, ...], Any] = {
        ("routes", name, key): GONE if after[key] == DEFAULTS[key] else after[key]
        for key in OTHER_KEYS
        if after[key] != before[key]
    }
    where = {key: after[key] for key in (*WAYS, "secret") if key in after}
    if where:
        gone = (key for key in (*WAYS, "secret") if before[key] is not None and key not in where)
        edits |= {("routes", name, key): GONE for key in gone}
        edits |= {("routes", name, key): value for key, value in where.items()}
    return edits


def text_edits(name: str, written: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Edits:
    """What is to be another in the file, of a route that was written as YAML; None: the route is new.

    A secret that still stands there masked stays what it is.
    """
    if written is None:
        return {("routes", name): dict(after)}
    keys = [*after, *(key for key in written if key not in after)]
    differs = (key for key in keys if key not in written or key not in after or written[key] != after[key])
    return {("routes", name, key): after.get(key, GONE) for key in differs}


def route_form(
    name: str, before: Mapping[str, Any] | None, written: Mapping[str, Any] | None, key: str
) -> Edits:
    """Ask for all of a route; what is to be another in the file. Empty: nothing, or something is missing.

    Args:
        name: of the route.
        before: all of its options as they are, its secrets masked; None: it is new.
        written: what stands in the file for it, masked in the same way; None: nothing.
        key: of this form's fields.
    """
    is_new = before is None
    kind = st.selectbox(
        "How people are told" if is_new else "Lead it elsewhere, or edit its YAML",
        KINDS,
        0 if is_new else None,
        key=f"{key}_kind",
        placeholder="It leads where it leads now; addresses and keys are never shown.",
    )
    if kind == TEXT:
        values = _ask_text(key, written)
        return {} if values is None else text_edits(name, written, values)
    values = _ask_fields(kind, before, key)
    return {} if values is None else route_edits(name, before, values)


def _ask_fields(kind: str | None, before: Mapping[str, Any] | None, key: str) -> dict[str, Any] | None:
    """Each option by a field of its own; None: something is missing."""
    where = _ASKED[kind](key) if kind else {}
    given = before or DEFAULTS
    way = next((name for name in WAYS if name in (where or {})), None)
    way = way or next((name for name in WAYS if given.get(name) is not None), None)
    others = _ask_others(given, way, key)
    return None if where is None else {**where, **others}


def _ask_others(given: Mapping[str, Any], way: str | None, key: str) -> dict[str, Any]:
    pictures = [AlertPicture.NONE.value]
    pictures += [AlertPicture.ATTACHED.value] if way != "pagerduty" else []
    pictures += [AlertPicture.PATH.value] if way == "webhook" else []
    severity, picture, patience = st.columns(3, gap="medium")
    least = severity.segmented_control(
        "Told from this severity on",
        [one.value for one in Severity],
        default=str(given["min_severity"]),
        key=f"{key}_severity",
        required=True,
    )
    shown = given["picture"] if given["picture"] in pictures else None
    with_picture = picture.selectbox(
        "The event's picture",
        pictures,
        None if shown is None else pictures.index(shown),
        key=f"{key}_picture_{way}",
        placeholder="as usual",
    )
    seconds = patience.number_input(
        "Wait for an answer (seconds)",
        1.0,
        60.0,
        max(1.0, float(given["timeout_s"])),
        step=1.0,
        format="%g",
        key=f"{key}_timeout",
    )
    stays = seconds == max(1.0, float(given["timeout_s"]))
    return {
        "min_severity": least,
        "timeout_s": given["timeout_s"] if stays else seconds,
        "picture": with_picture,
    }


def _ask_mail(key: str) -> dict[str, Any] | None:
    people = st.text_input("To", key=f"{key}_to", placeholder="guards@example.org, duty@example.org").strip()
    left, right = st.columns(2, gap="medium")
    server = left.text_input("Mail server", key=f"{key}_server", placeholder="mail.example.org:587").strip()
    security = right.segmented_control(
        "Encryption", [*SECURITY], default="STARTTLS", key=f"{key}_security", required=True
    )
    left, right = st.columns(2, gap="medium")  # another row, so that on a phone all stay in this order
    user = left.text_input("User", key=f"{key}_user", autocomplete="off").strip()
    password = right.text_input("Password", key=f"{key}_password", type="password", autocomplete="off")
    sender = st.text_input("From", key=f"{key}_from", placeholder="sightline@example.org").strip()
    if not (people and server):
        return None
    return {"apprise": mail_url(server, security, people, sender, user, password)}


def _ask_webhook(key: str) -> dict[str, Any] | None:
    url = st.text_input("URL", key=f"{key}_url", placeholder="https://example.org/hook").strip()
    made = st.session_state.setdefault(f"{key}_made", secrets.token_urlsafe(24))
    secret = st.text_input(
        "Signing key",
        made,
        key=f"{key}_secret",
        help="The other side checks our signature (HMAC-SHA256) with it.",
    ).strip()
    st.caption("Give this key to the other side now: it is not shown again.")
    return {"webhook": url, "secret": secret} if url and secret else None


def _ask_pagerduty(key: str) -> dict[str, Any] | None:
    text = "Of a service with Events API v2."
    value = st.text_input("Routing key", key=f"{key}_pagerduty", type="password", help=text).strip()
    return {"pagerduty": value} if value else None


def _ask_service(key: str) -> dict[str, Any] | None:
    value = st.text_input(
        "Service URL", key=f"{key}_service", placeholder="ntfys://TOPIC", help=SERVICES
    ).strip()
    return {"apprise": value} if value else None


def _ask_text(key: str, written: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A route with all its keys, as the file has it."""
    text = st.text_area(
        "YAML of the route",
        yaml.safe_dump(dict(written), sort_keys=False, allow_unicode=True) if written else "",
        key=f"{key}_text",
        height=180,
        placeholder='apprise: "ntfys://TOPIC"\nmin_severity: error',
    )
    if written:
        st.caption(MASKED)
    try:
        values = yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError:
        values = text
    if values is not None and not isinstance(values, dict):
        st.error(
            "This is no YAML of a route; write a line “key: value” for each key.", icon=":material/error:"
        )
        return None
    return values or None


_ASKED = {MAIL: _ask_mail, WEBHOOK: _ask_webhook, PAGERDUTY: _ask_pagerduty, SERVICE: _ask_service}
