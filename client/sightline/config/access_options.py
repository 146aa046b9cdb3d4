"""``access``: who may sign in, for how long, and how an identity provider's groups become roles."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

from sightline.base.same_origin import LOOPBACK
from sightline.config.option_group import OptionGroup, hot, restarts
from sightline.entities import PERSON_ROLES, Role


def _check_issuer(url: str) -> str:
    parts = urlsplit(url)
    if parts.username is not None or parts.query or parts.fragment or not parts.hostname:
        raise PydanticCustomError("issuer", "must be https://HOST/…, as the provider writes it")
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise PydanticCustomError("issuer", "must begin with https://; http:// is for this machine alone")
    return url


def _check_role(role: Role) -> Role:
    if role not in PERSON_ROLES:
        raise PydanticCustomError("role", f"must be one of {', '.join(PERSON_ROLES)}")
    return role


class OidcGroup(OptionGroup):
    """What a group of the identity provider may do."""

    role: Annotated[Role, AfterValidator(_check_role)] = hot(..., "viewer, operator, engineer or admin.")
    cameras: frozenset[str] | None = hot(None, "Cameras that its people see; null: all.")


class OidcOptions(OptionGroup):
    """``access.oidc``: people of an identity provider (OpenID Connect)."""

    issuer: Annotated[str, AfterValidator(_check_issuer)] = restarts(..., "The provider, as it names itself.")
    client_id: str = restarts(..., "This program, as the provider knows it.", min_length=1)
    client_secret: SecretStr | None = restarts(None, "Its secret; null: a public client.")
    scopes: tuple[str, ...] = restarts(("openid", "profile", "email"), "What the provider is asked for.")
    groups_claim: str = restarts("groups", "The claim that names a person's groups.", min_length=1)
    groups: dict[str, OidcGroup] = restarts(..., "Roles and cameras by group.", min_length=1)


class AccessOptions(OptionGroup):
    """``access``: who may look, and do what."""

    enabled: bool = restarts(True, "Ask who it is; false: whoever asks from this machine is an admin.")
    idle_s: float = hot(8 * 3600, "A sign-in that is not used for so long ends.", ge=60, le=31 * 86_400)
    max_s: float = hot(7 * 86_400, "A sign-in ends after this long.", ge=60, le=366 * 86_400)
    lock_after: int = hot(5, "Wrong passwords in a row that lock an account.", ge=2, le=100)
    lock_s: float = hot(30, "For so long; each further one doubles it.", ge=1, le=86_400)
    max_lock_s: float = hot(900, "But never for longer than this.", ge=1, le=86_400)
    attempts_per_address: int = hot(20, "Attempts to sign in a minute, of one address.", ge=1, le=10_000)
    attempts_per_name: int = hot(10, "And with one name.", ge=1, le=10_000)
    oidc: OidcOptions | None = restarts(None, "An identity provider; null: none.")
