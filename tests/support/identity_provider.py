"""A small OpenID provider on loopback: real keys, real HTTP, and answers that a test can bend."""

import hashlib
import json
import secrets
import socket
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "sightline", "the-secret-of-the-client"
Bend = Callable[[dict[str, Any]], dict[str, Any]]


def unsigned(claims: dict[str, Any]) -> str:
    """A token of the algorithm "none"."""
    parts = (json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims))
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


class IdentityProvider:
    """Knows one person, whose claims a test may change."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.issuer = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.claims: dict[str, Any] = {"sub": "1", "preferred_username": "anna", "groups": ["guards"]}
        self.userinfo: dict[str, Any] = {"sub": "1"}
        self.metadata: dict[str, Any] = {}
        self.bend: Bend = lambda claims: claims  # of the ID token, before it is signed
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self.new_key()
        pages: dict[str, Callable[[Request], Any]] = {
            "/.well-known/openid-configuration": self._configuration,
            "/authorize": self._authorize,
            "/token": self._token,
            "/keys": self._keys,
            "/userinfo": self._userinfo,
        }
        routes = [Route(path, page, methods=["GET", "POST"]) for path, page in pages.items()]
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def new_key(self) -> None:
        """Sign with another key, and tell only of that."""
        self.key = RSAKey.generate_key(2048, auto_kid=True)

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)

    def _configuration(self, _: Request) -> Response:
        self.asked.append("configuration")
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        urls = {name: f"{self.issuer}/{path}" for name, path in names.items()}
        return JSONResponse({"issuer": self.issuer, **urls, **self.metadata})

    def _authorize(self, request: Request) -> Response:
        query = dict(request.query_params)
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return RedirectResponse(
            f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        )

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        basic = b64decode(encoded).decode() if scheme == "Basic" else ""
        in_form = f"{form.get('client_id')}:{form.get('client_secret')}"
        asked = self._codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proven = urlsafe_b64encode(verifier).rstrip(b"=").decode()
        methods = self.metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        if (basic if methods == ["client_secret_basic"] else in_form) != f"{CLIENT}:{SECRET}":
            return JSONResponse({"error": "invalid_client"}, 401)
        if (
            asked is None
            or proven != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        id_token = self.sign(self.bend({**claims, **self.claims}))
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": id_token})

    def _keys(self, _: Request) -> Response:
        self.asked.append("keys")
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer access"
        return JSONResponse(self.userinfo)


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """One that runs meanwhile."""
    provider = IdentityProvider()
    try:
        yield provider
    finally:
        provider.stop()
