"""Every endpoint, and docs/api.md's table of them: ``python tests/support/whole_api.py --write``."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from sightline.access.path_tokens import PathTokens
from sightline.access.rights import RIGHTS
from sightline.config.media_options import MediaOptions
from sightline.entities import Role
from sightline.errors import AccessError, SignInRefused
from sightline.supervisor.http.api_feed import FeedApi
from sightline.supervisor.http.api_live import LiveApi
from sightline.supervisor.http.endpoint import Endpoint
from sightline.supervisor.http.health_pages import HealthPages
from sightline.supervisor.http.media import MediaApi
from sightline.supervisor.http.openapi import with_openapi
from sightline.supervisor.http.site import access_endpoints, api_endpoints

BEGIN, END = "<!-- endpoints -->", "<!-- /endpoints -->"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
NOTHING = cast(Any, None)


class SilentProvider:
    """An identity provider that never answers."""

    def begin(self, *_: str) -> None:
        raise AccessError("the identity provider gives no usable answer")

    def complete(self, *_: Any) -> None:
        raise SignInRefused("this sign-in was not begun here")


def whole_api(  # noqa: PLR0917  as many parts as there are
    pages: HealthPages,
    supervisor: Any = NOTHING,
    control: Any = NOTHING,
    actions: Mapping[str, Callable[..., Any]] = NOTHING,
    database: Any = NOTHING,
    accounts: Any = NOTHING,
    tokens: Any = NOTHING,
    store: Any = NOTHING,
    live: Any = NOTHING,
    feed: Any = NOTHING,
) -> list[Endpoint]:
    """As the program has them, with an identity provider."""
    oidc = cast(Any, SilentProvider())
    api = api_endpoints(supervisor, control, actions, database, store)
    own = access_endpoints(accounts, tokens, store, oidc)
    media = MediaApi(MediaOptions(), dict[str, Any]().__getitem__, NOTHING, PathTokens(), NOTHING)
    seen = [*LiveApi(live, NOTHING).endpoints(), *FeedApi(feed, NOTHING).endpoints(), *media.endpoints()]
    return with_openapi([*own, *pages.endpoints(), *seen, *api])


def endpoints_table() -> str:
    titles = ["", "path", "what", "right", "of", "nobody", *Role]
    rows = [titles, ["---"] * len(titles)]
    for endpoint in sorted(whole_api(HealthPages(NOTHING, NOTHING)), key=lambda item: item.path):
        rule = RIGHTS[endpoint.right]
        least = -1 if rule.least is None else rule.least.rank
        ticks = ["✓" if rank >= least else "" for rank in range(-1, len(Role))]
        of = "" if not rule.of_camera else "each camera" if endpoint.each else "all cameras"
        of = "its camera" if endpoint.camera is not None else of
        words = [endpoint.method, f"`{endpoint.path}`", endpoint.summary, f"`{endpoint.right}`", of]
        rows.append([*words, *ticks])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    text = f"{before}{BEGIN}\n{endpoints_table()}\n{END}{rest.partition(END)[2]}"
    if "--write" in sys.argv:
        PAGE.write_text(text)
    else:
        sys.stdout.write(text)
