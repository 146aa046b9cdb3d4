"""``access``: what a person may write there."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sightline.config.access_options import AccessOptions
from sightline.entities import Role

OIDC = {"issuer": "https://id.example.org", "client_id": "sightline", "groups": {"it": {"role": "admin"}}}


def test_groups_have_roles_and_the_secret_is_not_shown() -> None:
    options = AccessOptions.model_validate({"oidc": {**OIDC, "client_secret": "hidden-secret"}})
    assert options.oidc is not None
    assert options.oidc.groups["it"].role is Role.ADMIN
    assert "hidden-secret" not in f"{options} {options!r} {options.model_dump_json()}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://id.example.org"},
        {"issuer": "https://user:secret@id.example.org"},
        {"issuer": "https://id.example.org/?a=b"},
        {"issuer": "id.example.org"},
        {"groups": {}},
        {"groups": {"it": {"role": "king"}}},
        {"groups": {"it": {}}},
        {"client_id": ""},
    ],
)
def test_what_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    AccessOptions.model_validate({"oidc": OIDC})
    with pytest.raises(ValidationError):
        AccessOptions.model_validate({"oidc": {**OIDC, **wrong}})
