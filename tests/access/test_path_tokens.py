"""Leave for one path of the media server, for a minute."""

from __future__ import annotations

import pytest

from sightline.access.path_tokens import LIFE_S, PathTokens


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_token_is_for_one_thing_and_a_minute(clock: Clock) -> None:
    tokens = PathTokens(clock)
    token = tokens.make("read", "gate")
    assert tokens.allows(token, "read", "gate")
    assert not tokens.allows(token, "read", "yard")
    assert not tokens.allows(token, "publish", "gate")
    clock.now += LIFE_S - 1
    assert tokens.allows(token, "read", "gate")
    clock.now += 1
    assert not tokens.allows(token, "read", "gate")


def test_a_token_cannot_be_made_longer_or_elsewhere(clock: Clock) -> None:
    tokens = PathTokens(clock)
    expires, _, signed = tokens.make("read", "gate").partition(".")
    longer = f"{int(expires) + 1}.{signed}"
    others = PathTokens(clock).make("read", "gate")
    assert not any(
        tokens.allows(token, "read", "gate")
        for token in (
            longer,
            others,
            "",
            ".",
            signed,
            f"-1.{signed}",
            f"²3.{signed}",
            f"{expires}.ä",
            "9" * 5000,
        )
    )
