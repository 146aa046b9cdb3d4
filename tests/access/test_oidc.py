"""Signing in at an identity provider: a small one, on loopback; and all that is not believed of it."""

from __future__ import annotations

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import RSAKey

from sightline.access import oidc
from sightline.access.oidc import OidcArrival, OidcClient
from sightline.config.access_options import OidcOptions
from sightline.entities import Role
from sightline.errors import AccessError, SignInRefused
from support.identity_provider import CLIENT, SECRET, IdentityProvider, identity_provider, unsigned
from support.waiting import until

HERE = "http://127.0.0.1:8080/signed-in"
GROUPS = {
    "guards": {"role": "operator", "cameras": ["gate"]},
    "night guards": {"role": "operator", "cameras": ["yard"]},
    "it": {"role": "engineer"},
    "visitors": {"role": "viewer"},
}


@dataclass
class Site:
    """A program that knows a provider, and a browser."""

    provider: IdentityProvider
    now: float = field(default_factory=time.time)
    more: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client = self.new_client()

    def new_client(self, **more: Any) -> OidcClient:
        values = {"client_id": CLIENT, "client_secret": SECRET, "groups": GROUPS, **more}
        options = OidcOptions.model_validate({"issuer": self.provider.issuer, **values})
        return OidcClient(options, clock=lambda: self.now)

    def go(self, url: str) -> dict[str, str]:
        """What the provider sends the browser back with."""
        answer = requests.get(url, allow_redirects=False, timeout=10)
        target = answer.headers["location"]
        assert target.startswith(HERE)
        return dict(parse_qsl(urlsplit(target).query))

    def sign_in(self, next_path: str = "/") -> OidcArrival:
        url, cookie = self.client.begin(HERE, next_path)
        return self.client.complete(self.go(url), cookie)

    def refused(self) -> str:
        with pytest.raises(SignInRefused) as error:
            self.sign_in()
        return str(error.value)


@pytest.fixture
def site() -> Iterator[Site]:
    with identity_provider() as provider:
        yield Site(provider)


def test_a_person_of_the_provider_signs_in(site: Site) -> None:
    arrival = site.sign_in("/live?camera=gate")
    identity = arrival.identity
    assert arrival.next_path == "/live?camera=gate"
    assert (identity.subject, identity.name) == (f"{site.provider.issuer} 1", "anna")
    assert (identity.role, identity.cameras) == (Role.OPERATOR, {"gate"})
    site.sign_in()
    assert site.provider.asked == ["configuration", "keys"]  # not each time


def test_a_provider_that_wants_the_secret_in_the_form_gets_it_there(site: Site) -> None:
    site.provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    site.sign_in()


# -- what groups give ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "role", "cameras"),
    [
        (["guards", "night guards"], Role.OPERATOR, {"gate", "yard"}),
        (["guards", "visitors"], Role.OPERATOR, {"gate"}),  # not an operator of all that a visitor sees
        (["guards", "it", "others"], Role.ENGINEER, None),
        ("visitors", Role.VIEWER, None),
    ],
)
def test_the_highest_role_counts_with_the_cameras_of_its_groups(
    site: Site, groups: Any, role: Role, cameras: Any
) -> None:
    site.provider.claims["groups"] = groups
    identity = site.sign_in().identity
    assert (identity.role, identity.cameras) == (role, cameras)


@pytest.mark.parametrize("groups", [[], ["others"], [7], "Guards", {}])
def test_who_is_in_none_of_the_groups_is_refused(site: Site, groups: Any) -> None:
    site.provider.claims["groups"] = groups
    assert "none of your groups" in site.refused()


def test_groups_may_stand_in_the_userinfo_of_the_same_person(site: Site) -> None:
    del site.provider.claims["groups"]
    assert "none of your groups" in site.refused()
    site.provider.metadata = {"userinfo_endpoint": f"{site.provider.issuer}/userinfo"}
    site.provider.userinfo = {"sub": "1", "groups": ["it"], "preferred_username": "somebody else"}
    site.client = site.new_client()
    identity = site.sign_in().identity
    assert (identity.role, identity.name) == (Role.ENGINEER, "anna")
    site.provider.userinfo["sub"] = "2"
    assert "somebody else" in site.refused()


def test_a_name_is_made_of_what_the_provider_tells(site: Site) -> None:
    site.provider.claims["preferred_username"] = " an\x00na\n<b>" + "x" * 100
    assert site.sign_in().identity.name == "anna<b>" + "x" * 57
    del site.provider.claims["preferred_username"]
    site.provider.claims["email"] = "anna@example.org"
    assert site.sign_in().identity.name == "anna@example.org"
    site.provider.claims["email"] = ["no", "text"]
    assert site.sign_in().identity.name == "1"


# -- what is not believed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("iss", "https://other.example.org"),
        ("iss", None),
        ("aud", "another client"),
        ("aud", ["another client"]),
        ("aud", None),
        ("nonce", "another"),
        ("nonce", None),
        ("exp", 1_000_000_000),
        ("exp", None),
        ("exp", "never"),
        ("iat", None),
        ("nbf", 4_000_000_000),
        ("azp", "another client"),
        ("at_hash", "of another access token"),
        ("sub", None),
        ("sub", 7),
    ],
)
def test_a_token_that_says_anything_else_is_refused(site: Site, claim: str, value: Any) -> None:
    site.provider.bend = lambda claims: {
        name: text for name, text in {**claims, claim: value}.items() if text is not None
    }
    assert "not accepted" in site.refused()


def test_a_token_for_others_too_must_name_us_as_the_one_that_asked(site: Site) -> None:
    site.provider.bend = lambda claims: {**claims, "aud": [CLIENT, "another client"]}
    assert "not accepted" in site.refused()
    site.provider.bend = lambda claims: {**claims, "aud": [CLIENT, "another client"], "azp": CLIENT}
    site.sign_in()


def test_a_token_for_another_client_is_refused_though_we_asked_for_it(site: Site) -> None:
    site.provider.bend = lambda claims: {**claims, "aud": "another client", "azp": CLIENT}
    assert "not accepted" in site.refused()


def test_a_token_that_nobody_signed_is_refused(site: Site) -> None:
    site.provider.sign = unsigned
    assert "not accepted" in site.refused()


@pytest.mark.parametrize("secret", [SECRET.encode(), b""])
def test_a_token_signed_with_a_secret_that_is_not_the_providers_alone_is_refused(
    site: Site, secret: bytes
) -> None:
    """With the client's secret; or with the provider's public key, which everybody knows."""
    known = secret or site.provider.key.as_pem(private=False)

    def sign(claims: dict[str, Any]) -> str:
        header = {"alg": "HS256", "kid": site.provider.key.kid}
        parts = (json.dumps(part).encode() for part in (header, claims))
        text = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(known, text, "sha256")).rstrip(b"=")
        return (text + b"." + signature).decode()

    site.provider.sign = sign
    assert "unsupported_algorithm" in site.refused()


def test_a_token_signed_with_another_key_of_the_same_name_is_refused(site: Site) -> None:
    other = RSAKey.generate_key(2048)
    site.provider.sign = lambda claims: jwt.encode(
        {"alg": "RS256", "kid": site.provider.key.kid}, claims, other
    )
    assert "bad_signature" in site.refused()


def test_the_providers_keys_may_change(site: Site) -> None:
    site.sign_in()
    site.provider.new_key()
    site.now += 31
    site.sign_in()
    assert site.provider.asked == ["configuration", "keys", "keys"]


def test_unknown_keys_do_not_make_us_ask_again_and_again(site: Site) -> None:
    site.sign_in()
    other = RSAKey.generate_key(2048, auto_kid=True)
    site.provider.sign = lambda claims: jwt.encode({"alg": "RS256", "kid": other.kid}, claims, other)
    for _ in range(3):
        assert "not accepted" in site.refused()
    assert site.provider.asked == ["configuration", "keys"]


# -- the way there and back ---------------------------------------------------------------------------


def test_an_answer_to_what_was_not_begun_here_is_refused(site: Site) -> None:
    url, cookie = site.client.begin(HERE)
    _, others = site.client.begin(HERE)
    query = site.go(url)
    for state_cookie in (others, "", "nonsense", cookie[:-2], "é"):
        with pytest.raises(SignInRefused):
            site.client.complete(query, state_cookie)
    for changed in ({"state": "another"}, {"state": ""}, {"state": "é"}):
        with pytest.raises(SignInRefused, match="in this browser"):
            site.client.complete({**query, **changed}, cookie)
    with pytest.raises(SignInRefused, match="another identity provider"):
        site.client.complete({**query, "iss": "https://other.example.org"}, cookie)
    with pytest.raises(SignInRefused, match="begun here"):
        site.new_client().complete(query, cookie)  # of another program
    site.client.complete({**query, "iss": site.provider.issuer}, cookie)
    with pytest.raises(SignInRefused, match="invalid_grant"):
        site.client.complete(query, cookie)  # a code works once


def test_a_code_that_was_intercepted_does_not_work_in_another_browser(site: Site) -> None:
    stolen = site.go(site.client.begin(HERE)[0])
    url, cookie = site.client.begin(HERE)
    own = site.go(url)
    with pytest.raises(SignInRefused, match="invalid_grant"):
        site.client.complete({**own, "code": stolen["code"]}, cookie)


def test_what_takes_longer_than_ten_minutes_begins_anew(site: Site) -> None:
    url, cookie = site.client.begin(HERE)
    query = site.go(url)
    site.now += 600
    with pytest.raises(SignInRefused, match="too long"):
        site.client.complete(query, cookie)


def test_the_cookie_tells_nothing(site: Site) -> None:
    url, cookie = site.client.begin(HERE)
    query = dict(parse_qsl(urlsplit(url).query))
    assert not any(secret in cookie for secret in (query["state"], query["nonce"]))
    assert len(cookie) < 4000


def test_the_providers_refusal_is_told(site: Site) -> None:
    url, cookie = site.client.begin(HERE)
    state = site.go(url)["state"]
    with pytest.raises(SignInRefused, match=r"refuses: access_denied$"):
        site.client.complete({"state": state, "error": "access_\ndenied"}, cookie)
    with pytest.raises(SignInRefused, match="no code"):
        site.client.complete({"state": state}, cookie)


@pytest.mark.parametrize(
    "path",
    ["//evil.example.org", "/\\evil.example.org", "https://evil.example.org", "", "/a\nb", "/" + "a" * 1000],
)
def test_nobody_is_sent_on_to_another_site(site: Site, path: str) -> None:
    assert site.sign_in(path).next_path == "/"


def test_a_provider_that_is_away_or_another_one_is_told(site: Site) -> None:
    away = site.new_client(issuer="http://127.0.0.1:1")
    with pytest.raises(AccessError, match="no usable answer") as error:
        away.begin(HERE)
    assert not isinstance(error.value, SignInRefused)
    site.provider.metadata = {"issuer": "https://other.example.org"}
    with pytest.raises(AccessError, match="calls itself"):
        site.new_client().begin(HERE)
    site.provider.metadata = {"token_endpoint": "http://other.example.org/token"}
    with pytest.raises(AccessError, match="https"):
        site.new_client().begin(HERE)


def test_a_provider_that_is_slow_keeps_a_few_waiting_and_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, asked = threading.Event(), threading.Event()

    def fetch(url: str) -> Any:
        asked.set()
        answers.wait(30)
        return requests.get(url, timeout=10).json()

    monkeypatch.setattr(oidc, "_fetch", fetch)
    with ThreadPoolExecutor(oidc.AT_ONCE) as pool:
        waiting = [pool.submit(site.client.begin, HERE) for _ in range(oidc.AT_ONCE)]
        assert asked.wait(30)
        until(lambda: not site.client._turns._value)
        with pytest.raises(AccessError, match="try again"):
            site.client.begin(HERE)
        answers.set()
        assert all(done.result(30)[0].startswith("http") for done in waiting)
    assert site.sign_in().identity.name


def test_what_is_no_provider_is_told(site: Site) -> None:
    site.provider.metadata = {"jwks_uri": 7}
    with pytest.raises(AccessError):
        site.new_client().begin(HERE)
    with pytest.raises(AccessError, match="no usable answer"):
        site.new_client(issuer=f"{site.provider.issuer}/nothing").begin(HERE)
    site.provider.metadata = {}
    site.provider.sign = lambda _: "nonsense"
    site.client = site.new_client()
    assert "not accepted" in site.refused()
