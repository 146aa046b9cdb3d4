"""Signing in at an identity provider: OpenID Connect, the code flow with PKCE, state and nonce.

:meth:`OidcClient.begin` gives the provider's address to go to and a cookie; the provider sends the browser
back, and :meth:`OidcClient.complete` makes an identity of what it brings. Nothing is kept in between: the
cookie is encrypted, and holds for ten minutes in this program.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwe import JWERegistry
from joserfc.jwk import KeySet, OctKey
from joserfc.jws import JWSRegistry

from sightline.access.accounts import MAX_NAME, OidcIdentity
from sightline.base.same_origin import LOOPBACK
from sightline.config.access_options import OidcGroup, OidcOptions
from sightline.errors import AccessError, SignInRefused

COOKIE_S = 600.0
LEEWAY_S = 60  # that the provider's clock may be off
METADATA_S = 3600.0
KEYS_S = 30.0  # so often, at most, keys are fetched anew for one that is not known
TIMEOUT_S = 10.0
AT_ONCE = 4  # wait for the provider; others are told to try again, and keep no thread
MAX_PATH = 1000  # characters; the cookie must stay below 4 kB
#: Signatures by a key of the provider's alone: neither none, nor one that our own secret could make.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_COOKIE = {"alg": "dir", "enc": "A256GCM"}


@dataclass(frozen=True, slots=True)
class OidcArrival:
    """Somebody who has come back from the provider, and the page from which it began."""

    identity: OidcIdentity
    next_path: str


class OidcClient:
    """A client of one identity provider; any thread may ask.

    Args:
        options: the provider, and what its groups may do.
        clock: UTC epoch seconds.
    """

    def __init__(self, options: OidcOptions, *, clock: Callable[[], float] = time.time) -> None:
        self._options, self._clock = options, clock
        self._key = OctKey.generate_key(256)
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._metadata: dict[str, Any] = {}
        self._metadata_time = self._keys_time = float("-inf")
        self._keys: KeySet | None = None

    def begin(self, redirect_uri: str, next_path: str = "/") -> tuple[str, str]:
        """The provider's address that the browser is sent to, and the cookie that it keeps meanwhile.

        Args:
            redirect_uri: where the provider sends it back to.
            next_path: the page to show afterwards; one of another site becomes "/".

        Raises:
            AccessError: the provider does not answer, or not as one.
        """
        claims = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        with self._turn(), _translated(), self._session(redirect_uri) as session:
            url, _ = session.create_authorization_url(
                self._provider()["authorization_endpoint"],
                state=claims["state"],
                nonce=claims["nonce"],
                code_verifier=claims["verifier"],
            )
        claims |= {"redirect_uri": redirect_uri, "next_path": _local(next_path)}
        expires = {"exp": int(self._clock() + COOKIE_S)}
        return url, jwt.encode(_COOKIE, {**claims, **expires}, self._key, registry=JWERegistry())

    def complete(self, query: Mapping[str, str], state_cookie: str) -> OidcArrival:
        """Who comes back from the provider.

        Args:
            query: of the address that the browser was sent back to.
            state_cookie: as :meth:`begin` gave it.

        Raises:
            SignInRefused: it was begun elsewhere or too long ago, the provider refuses, what it sends is not
                to be believed, or no group of the person has a role.
            AccessError: the provider does not answer, or not as one.
        """
        begun = self._begun(state_cookie)
        if not hmac.compare_digest(query.get("state", "").encode(), begun["state"].encode()):
            raise SignInRefused("this sign-in was not begun in this browser; begin anew")
        if query.get("iss", self._options.issuer) != self._options.issuer:
            raise SignInRefused("another identity provider has answered; begin anew")
        if "code" not in query:
            error = "".join(filter(str.isprintable, query.get("error", "no code")))[:100]
            raise SignInRefused(f"the identity provider refuses: {error}")
        with self._turn(), _translated(), self._session(begun["redirect_uri"]) as session:
            provider = self._provider()
            token = session.fetch_token(
                provider["token_endpoint"],
                grant_type="authorization_code",
                code=query["code"],
                code_verifier=begun["verifier"],
                redirect_uri=begun["redirect_uri"],
            )
            claims = self._claims(token, begun["nonce"])
            if self._options.groups_claim not in claims and "userinfo_endpoint" in provider:
                more = session.get(provider["userinfo_endpoint"]).json()
                if more.get("sub") != claims["sub"]:
                    raise SignInRefused("the identity provider tells of somebody else; begin anew")
                claims = {**more, **claims}
        return OidcArrival(self._identity(claims), begun["next_path"])

    def _begun(self, state_cookie: str) -> dict[str, Any]:
        """What the cookie holds."""
        try:
            claims: dict[str, Any] = jwt.decode(state_cookie, self._key, registry=JWERegistry()).claims
        except (JoseError, ValueError) as error:
            raise SignInRefused("this sign-in was not begun here; begin anew") from error
        if self._clock() >= claims["exp"]:
            raise SignInRefused("this sign-in has taken too long; begin anew")
        return claims

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(blocking=False):
            raise AccessError("the identity provider is slow to answer; try again in a moment")
        try:
            yield
        finally:
            self._turns.release()

    @contextmanager
    def _session(self, redirect_uri: str) -> Iterator[OAuth2Session]:
        options = self._options
        secret = options.client_secret.get_secret_value() if options.client_secret else None
        methods = self._provider().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        with OAuth2Session(
            client_id=options.client_id,
            client_secret=secret,
            token_endpoint_auth_method=method if secret else "none",
            scope=" ".join(options.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            default_timeout=TIMEOUT_S,
        ) as session:
            yield session

    def _provider(self) -> dict[str, Any]:
        """What the provider says of itself; asked once an hour."""
        issuer = self._options.issuer
        with self._lock:
            if self._clock() - self._metadata_time >= METADATA_S:
                metadata = _fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                if metadata.get("issuer") != issuer:
                    named = metadata.get("issuer")
                    raise AccessError(f"access.oidc.issuer: the provider calls itself {named!r}")
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _require_safe(name, metadata[name])
                self._metadata, self._metadata_time = metadata, self._clock()
            return self._metadata

    def _claims(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """What the ID token says, once it is believed."""
        required = ("sub", "exp", "iat", "nonce")
        options: dict[str, dict[str, Any]] = {name: {"essential": True} for name in required}
        options["iss"] = {"essential": True, "value": self._options.issuer}
        options["aud"] = {"essential": True, "value": self._options.client_id}
        known = {"nonce": nonce, "client_id": self._options.client_id, "access_token": token["access_token"]}
        id_token = token["id_token"]
        try:
            decoded = self._decoded(id_token)
        except InvalidKeyIdError:  # the provider has changed its keys, or it is forged
            self._forget_keys()
            decoded = self._decoded(id_token)
        claims = CodeIDToken(decoded.claims, decoded.header, options, known)
        claims.validate(now=int(self._clock()), leeway=LEEWAY_S)
        return dict(claims)

    def _decoded(self, id_token: str) -> jwt.Token:
        provider = self._provider()
        with self._lock:
            if self._keys is None:
                self._keys = KeySet.import_key_set(_fetch(provider["jwks_uri"]))
                self._keys_time = self._clock()
            keys = self._keys
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        return jwt.decode(id_token, keys, registry=registry)

    def _forget_keys(self) -> None:
        with self._lock:
            if self._clock() - self._keys_time >= KEYS_S:
                self._keys = None

    def _identity(self, claims: Mapping[str, Any]) -> OidcIdentity:
        """Who it is here: the highest role of the groups, and the cameras of the groups that give it."""
        groups = claims.get(self._options.groups_claim, ())
        names = {groups} if isinstance(groups, str) else {name for name in groups if isinstance(name, str)}
        given = [group for name, group in self._options.groups.items() if name in names]
        if not given:
            raise SignInRefused("none of your groups may use Sightline; ask an administrator")
        role = max((group.role for group in given), key=lambda role: role.rank)
        cameras = _cameras(group for group in given if group.role is role)
        texts = (claims.get(claim) for claim in ("preferred_username", "email", "name", "sub"))
        text = next(text for text in texts if isinstance(text, str) and text.strip())
        name = "".join(filter(str.isprintable, text)).strip()[:MAX_NAME]
        return OidcIdentity(f"{self._options.issuer} {claims['sub']}"[:512], name, role, cameras)


def _cameras(groups: Iterable[OidcGroup]) -> frozenset[str] | None:
    seen: set[str] = set()
    for group in groups:
        if group.cameras is None:
            return None
        seen |= group.cameras
    return frozenset(seen)


def _local(path: str) -> str:
    """A path of this site, or "/"; browsers take a backslash for a slash, and drop control characters."""
    is_local = path.isprintable() and path.startswith("/") and path[1:2] not in {"/", "\\"}
    return path if is_local and len(path) <= MAX_PATH else "/"


def _fetch(url: str) -> Any:
    answer = requests.get(url, timeout=TIMEOUT_S, headers={"Accept": "application/json"})
    answer.raise_for_status()
    return answer.json()


def _require_safe(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise AccessError(f"the identity provider's {name} does not begin with https://")


@contextmanager
def _translated() -> Iterator[None]:
    """The libraries' errors become ours; theirs could tell what a token or an answer holds."""
    try:
        yield
    except (JoseError, AuthlibBaseError) as error:
        reason = "".join(filter(str.isprintable, str(getattr(error, "error", ""))))[:100]
        raise SignInRefused(f"what the identity provider sends is not accepted ({reason})") from error
    except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError) as error:
        raise AccessError(f"the identity provider gives no usable answer ({type(error).__name__})") from error
