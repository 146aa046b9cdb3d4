"""Signing in and out by the HTTP port: cookies, links, the identity provider, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from sightline.access.oidc import OidcClient
from sightline.access.rights import Right
from sightline.config.access_options import OidcOptions
from sightline.entities import Role
from sightline.supervisor.http.endpoint import Call, Endpoint
from sightline.supervisor.http.sign_in_pages import SignInPages
from support.front import KEY, Front, known, served
from support.identity_provider import CLIENT, SECRET, identity_provider
from support.people import PASSWORD, ROOT, People, people_of

OTHER = "another four words in a row"


def name_of(call: Call) -> dict[str, str]:
    """Who asks."""
    return {"name": call.caller.person.name if call.caller.person else "", "from": call.caller.address}


ASKED = [
    Endpoint("GET", "/engine", Right.SEE_METRICS, name_of, gives=dict[str, str]),
    Endpoint("POST", "/engine", Right.SEE_METRICS, name_of, gives=dict[str, str]),
]


@pytest.fixture
def people(tmp_path: Path) -> Iterator[People]:
    with people_of(f"sqlite:///{tmp_path}/people.db", attempts_per_address=5, attempts_per_name=5) as made:
        yield made


@pytest.fixture
def front(people: People) -> Iterator[Front]:
    with served([*SignInPages(people.accounts).endpoints(), *ASKED], known(people)) as made:
        yield made


def signed_in(front: Front, name: str = "anna", password: str = PASSWORD) -> str:
    answer = front.post("/auth/sign-in", {"name": name, "password": password})
    assert answer.status == 200, answer.body
    return answer.session


def test_a_sign_in_is_a_cookie_that_scripts_cannot_read_and_ends_with_signing_out(
    front: Front, people: People
) -> None:
    people.add(role=Role.OPERATOR)
    answer = front.post("/auth/sign-in", {"name": "ANNA", "password": PASSWORD})
    assert answer.json["person"] == {
        "name": "Anna",
        "role": "operator",
        "cameras": None,
        "how": "password",
        "must_change": False,
    }
    cookie = SimpleCookie(answer.headers["set-cookie"])["sightline"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "lax", "/")
    assert front.ask("/engine", session=answer.session).json["name"] == "Anna"
    assert front.ask("/auth/me", session=answer.session).json["person"]["role"] == "operator"
    gone = front.post("/auth/sign-out", session=answer.session)
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert front.ask("/engine", session=answer.session).status == 401
    assert front.ask("/auth/me", session=answer.session).json["person"] is None


def test_a_wrong_password_is_refused_and_many_are_put_off(front: Front, people: People) -> None:
    people.add()
    for _ in range(5):
        assert front.post("/auth/sign-in", {"name": "anna", "password": OTHER}).status == 401
    late = front.post("/auth/sign-in", {"name": "anna", "password": PASSWORD})
    assert (late.status, late.session) == (429, "")
    assert int(late.headers["retry-after"]) > 0


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example"}, {"Origin": "null"}])
def test_what_changes_something_by_cookie_needs_an_origin_that_is_ours(
    front: Front, people: People, headers: dict[str, str]
) -> None:
    people.add(role=Role.OPERATOR)
    cookie = {"Cookie": f"sightline={signed_in(front)}"}
    assert front.post("/engine", headers={**cookie, "Origin": front.origin}).status == 200
    assert front.post("/engine", headers={**cookie, **headers}).status == 403
    assert front.ask("/engine", headers=cookie).status == 200


def test_the_first_account_is_made_by_the_link_and_once(front: Front, people: People) -> None:
    link = people.accounts.make_set_up_link()
    sent = {"link": link, "name": "Anna", "password": "short"}
    assert front.post("/auth/set-up", sent).status == 400
    answer = front.post("/auth/set-up", {**sent, "password": PASSWORD})
    assert (answer.status, answer.json["person"]["role"]) == (200, "admin")
    assert front.post("/auth/set-up", {**sent, "name": "Bob", "password": PASSWORD}).status == 401


def test_the_demos_link_signs_in_once(front: Front, people: People) -> None:
    link = people.accounts.make_demo_link(Role.ADMIN)
    answer = front.post("/auth/link", {"link": link})
    assert front.ask("/engine", session=answer.session).json["name"] == "demo"
    assert front.post("/auth/link", {"link": link}).status == 401


def test_a_password_that_must_be_changed_comes_first(front: Front, people: People) -> None:
    people.add(role=Role.ADMIN, must_change=True)
    session = signed_in(front)
    refused = front.ask("/engine", session=session)
    assert (refused.status, refused.error) == (403, "change the password first")
    changed = front.post("/auth/password", {"password": PASSWORD, "new": OTHER}, session=session)
    assert changed.status == 200
    assert front.ask("/engine", session=session).status == 401  # the old sign-in has ended
    assert front.ask("/engine", session=changed.session).status == 200


def test_a_token_shows_who_a_program_is_until_it_is_revoked_or_expires(front: Front, people: People) -> None:
    token = people.tokens.create("prometheus", Role.OPERATOR, ROOT, days=1)
    assert front.ask("/engine", token=token).json["name"] == "token prometheus"
    assert front.post("/engine", token=token).status == 200
    assert front.ask("/engine", token=f"{token[:-1]}x").status == 401
    assert front.ask("/engine", token="").status == 401
    other = people.tokens.create("other", Role.OPERATOR, ROOT, days=1)
    people.tokens.revoke("other", ROOT)
    assert front.ask("/engine", token=other).status == 401
    people.now += 86_401
    assert front.ask("/engine", token=token).status == 401


def test_a_token_that_is_wrong_is_not_made_good_by_a_cookie(front: Front, people: People) -> None:
    people.add(role=Role.OPERATOR)
    session = signed_in(front)
    assert front.ask("/engine", token="slt_forged", session=session).status == 401


def test_this_users_programs_show_their_key(front: Front) -> None:
    assert front.ask("/engine", token=KEY).json["from"] == "127.0.0.1"


def test_that_key_is_none_from_another_machine(people: People) -> None:
    with served(ASKED, known(people), trusted_proxies=["127.0.0.0/8"]) as front:
        assert front.ask("/engine", token=KEY).status == 200
        assert front.ask("/engine", token=KEY, headers={"X-Forwarded-For": "192.0.2.7"}).status == 401


def test_only_a_proxy_that_is_trusted_tells_for_whom_it_asks(people: People) -> None:
    token = people.tokens.create("proxied", Role.OPERATOR, ROOT, days=1)
    told = {"X-Forwarded-For": "192.0.2.7, 198.51.100.9", "X-Forwarded-Proto": "https"}
    with served(ASKED, known(people)) as front:
        answer = front.ask("/engine", token=token, headers=told)
        assert (answer.json["from"], answer.headers["strict-transport-security"]) == ("127.0.0.1", None)
    with served(ASKED, known(people), trusted_proxies=["127.0.0.0/8"]) as front:
        answer = front.ask("/engine", token=token, headers=told)
        assert answer.json["from"] == "198.51.100.9"
        assert answer.headers["strict-transport-security"]


def test_behind_tls_the_cookie_is_for_this_host_and_secure(people: People) -> None:
    people.add()
    proto = {"X-Forwarded-Proto": "https"}
    pages = SignInPages(people.accounts).endpoints()
    with served(pages, known(people), trusted_proxies=["127.0.0.0/8"]) as front:
        sent = {"name": "anna", "password": PASSWORD}
        cookie = front.post("/auth/sign-in", sent, headers=proto).headers["set-cookie"]
    assert cookie.startswith("__Host-sightline=")
    assert "Secure" in cookie
    assert "Path=/;" in f"{cookie};"
    assert "Domain" not in cookie


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"name": "' + b"a" * 70_000 + b'"', 413),
        (b"no json", 400),
        (b"[" * 60_000, 400),
        (b'{"name": "anna"}', 422),
        (b'{"name": "anna", "password": 3}', 422),
        (b'{"name": "anna", "password": "secret-of-anna", "admin": true}', 422),
    ],
)
def test_what_is_sent_is_bounded_and_checked_and_not_repeated(front: Front, body: bytes, status: int) -> None:
    sent = requests.post(
        f"{front.origin}/auth/sign-in", body, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert sent.status_code == status
    assert "secret-of-anna" not in sent.text


def test_a_form_of_another_page_is_not_taken(front: Front, people: People) -> None:
    people.add()
    form = {"name": "anna", "password": PASSWORD}
    assert requests.post(f"{front.origin}/auth/sign-in", form, timeout=10).status_code == 415


def test_every_answer_has_the_headers_that_keep_pages_apart(front: Front) -> None:
    for path in ("/auth/sign-in", "/engine", "/nowhere", "/auth/me"):
        headers = front.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["server"] is None


def test_the_page_loads_only_what_its_policy_allows(front: Front) -> None:
    page = front.ask("/auth/sign-in").body.decode()
    assert not re.search(r"<script>|style=|\son\w+=", page)
    for path in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert front.ask(path).status == 200


def test_a_browser_gets_a_page_that_says_why_it_gets_nothing(front: Front, people: People) -> None:
    people.add(role=Role.VIEWER)
    wants = {"Accept": "text/html,*/*;q=0.8"}
    nobody = front.ask("/engine", headers=wants)
    assert (nobody.status, nobody.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert b'href="/auth/sign-in?next=/engine"' in nobody.body
    assert b"takes the role operator" in front.ask("/engine", session=signed_in(front), headers=wants).body
    strange = front.ask('/auth/<b>&"x', headers=wants)
    assert (strange.status, b"Not Found" in strange.body, b"<b>" in strange.body) == (404, True, False)
    assert front.ask("/engine").json["error"], "a program gets JSON"


def test_the_identity_providers_people_come_back_with_a_cookie(people: People) -> None:
    with identity_provider() as provider:
        groups = {"guards": {"role": "operator", "cameras": ["gate"]}}
        options = OidcOptions.model_validate(
            {"issuer": provider.issuer, "client_id": CLIENT, "client_secret": SECRET, "groups": groups}
        )
        pages = SignInPages(people.accounts, OidcClient(options)).endpoints()
        with served([*pages, *ASKED], known(people)) as front, requests.Session() as browser:
            answer = browser.get(f"{front.origin}/auth/oidc?next=/engine", timeout=20)
            assert (answer.status_code, answer.json()["name"]) == (200, "anna")
            assert urlsplit(answer.url).path == "/engine"
            forged = requests.get(
                f"{front.origin}/auth/oidc/callback?code=x&state=y", timeout=20, allow_redirects=False
            )
            assert (forged.status_code, "sightline" in forged.cookies) == (401, False)
